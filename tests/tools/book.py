"""The site: fetch what its pages load, write its generated pages, build it, serve it.

python tests/tools/book.py build               book/_build/html from stored outputs
python tests/tools/book.py serve [--port N]    on this machine only; prints the address
python tests/tools/book.py tables              only the pages made from data
python tests/tools/book.py repo OWNER/NAME     another repository, everywhere at once
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import http.server
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import book_frames
import book_tables
from book_project import BOOK, BUILD, ROOT, repository

HTML = BUILD / "html"
STATIC = BOOK / "_static"
VENDOR = STATIC / "vendor"
MODULES = BOOK / "node_modules"
# What is copied from where in node_modules: folder under vendor -> (source, patterns).
COPIED = {
    "mathjax": ("mathjax", ["tex-chtml.js", "core.js", "loader.js", "startup.js", "LICENSE"]),
    "mathjax/a11y": ("mathjax/a11y", ["**/*"]),
    "mathjax/input": ("mathjax/input", ["**/*"]),
    "mathjax/sre": ("mathjax/sre", ["**/*"]),
    "mathjax/ui": ("mathjax/ui", ["**/*"]),
    "mathjax/mathjax-newcm-font": ("@mathjax/mathjax-newcm-font", ["chtml.js", "chtml/**/*"]),
    "mermaid": ("mermaid/dist", ["mermaid.esm.min.mjs", "chunks/mermaid.esm.min/*.mjs"]),
    "html-manager": (
        "@jupyter-widgets/html-manager/dist",
        ["embed.js", "embed.js.LICENSE.txt", "*.woff", "*.woff2", "*.ttf", "*.eot", "*.svg"],
    ),
    "onnxruntime-web": (
        "onnxruntime-web/dist",
        ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"],
    ),
}
WITHOUT_NPM = (
    "The browser's libraries are not here, because npm is missing or could not install them: the "
    "site is built all the same, but its pages load MathJax, mermaid and the widgets from a CDN, "
    "and the page that draws digits in the browser stays without its engine."
)
EXPORT = ["-m", "ldmlib.export.onnx", "--out", "book/_static/live/model"]


def lock_hash() -> str:
    """What the lock file asks for, as a short hash."""
    return hashlib.sha256((BOOK / "package-lock.json").read_bytes()).hexdigest()[:16]


def npm_installed(dev: bool) -> bool:
    """Whether node_modules holds what the lock file asks for, with its `dev` part or without."""
    stamp = MODULES / "installed.txt"
    return stamp.is_file() and stamp.read_text() in {f"{lock_hash()} dev", f"{lock_hash()} {dev}"}


def npm_install(dev: bool = False) -> bool:
    """Install book/package-lock.json into book/node_modules; False if npm cannot."""
    if npm_installed(dev):
        return True
    npm = shutil.which("npm")
    if npm is None:
        return False
    print("Installing what the site's pages load (npm ci): the first time takes a minute ...")
    command = [npm, "ci", "--loglevel=error", *([] if dev else ["--omit=dev"])]
    if subprocess.run(command, cwd=BOOK, stdout=subprocess.DEVNULL).returncode != 0:
        return False
    (MODULES / "installed.txt").write_text(f"{lock_hash()} {'dev' if dev else False}")
    return True


def vendor_mark() -> str:
    """What vendor/complete.txt says if the folder is what lock file and COPIED ask for."""
    return f"{lock_hash()} {hashlib.sha256(repr(COPIED).encode()).hexdigest()[:8]}"


def vendored() -> bool:
    """Whether the browser's libraries are in book/_static/vendor already."""
    mark = VENDOR / "complete.txt"
    return mark.is_file() and mark.read_text() == vendor_mark()


def copy_vendor() -> None:
    """Copy the browser's libraries from node_modules into book/_static/vendor."""
    shutil.rmtree(VENDOR, ignore_errors=True)
    for folder, (source, patterns) in COPIED.items():
        start = MODULES / source
        for path in {path for pattern in patterns for path in start.glob(pattern)}:
            if path.is_file() and path.suffix != ".map":
                target = VENDOR / folder / path.relative_to(start)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    (VENDOR / "complete.txt").write_text(vendor_mark())


def sphinx(out: Path = HTML, builder: str = "html", options: tuple[str, ...] = ()) -> int:
    """Run Sphinx, warnings as errors, into `out`; returns its exit status."""
    command = [sys.executable, "-m", "sphinx", "-b", builder, "-W", "--keep-going", "-n", "-q"]
    command += ["-c", str(BOOK), "-d", str(out.parent / f"{out.name}-doctrees"), *options]
    return subprocess.run([*command, str(ROOT), str(out)], cwd=ROOT).returncode


def build() -> int:
    """Set up, generate, build; the exit status is Sphinx's."""
    start = time.perf_counter()
    if not vendored():
        if npm_install():
            copy_vendor()
        else:
            shutil.rmtree(VENDOR, ignore_errors=True)
            print(WITHOUT_NPM)
    book_tables.write_all()
    if subprocess.run([sys.executable, *EXPORT], cwd=ROOT).returncode:
        print("The live page stays without a model: its export failed, see above.")
    try:
        book_frames.make()
    except Exception as error:  # a page without moving sliders is better than no page
        print(f"The notebooks' sliders stay still: their frames could not be drawn ({error!r}).")
    shutil.rmtree(HTML / "_static", ignore_errors=True)  # Sphinx keeps what is there no more
    status = sphinx()
    if status == 0:
        print(f"{HTML.relative_to(ROOT)}: built in {time.perf_counter() - start:.0f} s")
        print("`make book-serve` shows it.")
    return status


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the built site, and says nothing about each request."""

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


def server(port: int = 0, folder: Path = HTML) -> http.server.ThreadingHTTPServer:
    """A server of the site on loopback; port 0 takes a free one."""
    handler = functools.partial(Handler, directory=str(folder))
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


def serve(port: int) -> int:
    """Serve until Ctrl-C."""
    if not (HTML / "index.html").is_file():
        print("There is no site yet: run `make book` first.")
        return 1
    try:
        site = server(port)
    except OSError:
        site = server()
    with site:
        print(
            f"The site is at http://127.0.0.1:{site.server_address[1]}/ (Ctrl-C ends)", flush=True
        )
        try:
            site.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def repo(name: str) -> int:
    """Replace the repository's OWNER/NAME in every tracked text file that names it."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        print(f"A repository is OWNER/NAME, such as make repo NAME=ada/diffusion, not {name!r}.")
        return 1
    old = repository()
    changed = [path for path in files_with(old) if replace_in(path, old, name)]
    for path in changed:
        print(path.relative_to(ROOT))
    print(f"{old} -> {name} in {len(changed)} files")
    return 0


def files_with(text: str) -> list[Path]:
    """The project's own text files that may name the repository."""
    kinds = (".py", ".md", ".ipynb", ".toml", ".cff", ".yml", ".js", ".mjs", ".html")
    own = ("ldmlib", "notebooks", "book", ".github")
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in own:
        for base, folders, names in os.walk(ROOT / folder):
            folders[:] = [f for f in folders if f not in ("node_modules", "_build", "vendor")]
            found += [Path(base) / name for name in names]
    texts = (path for path in found if path.suffix in kinds)
    return sorted(path for path in texts if text in path.read_text(encoding="utf-8"))


def replace_in(path: Path, old: str, new: str) -> bool:
    """Replace `old` by `new` in a file; True if that changed it."""
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(old, new), encoding="utf-8")
    return text != text.replace(old, new)


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["build", "serve", "tables", "links", "repo"])
    parser.add_argument("name", nargs="?", default="", help="OWNER/NAME, for repo")
    parser.add_argument("--port", type=int, default=8000, help="for serve; another if it is taken")
    args = parser.parse_args()
    if args.verb == "serve":
        return serve(args.port)
    if args.verb == "repo":
        return repo(args.name)
    if args.verb == "links":
        return sphinx(BUILD / "links", "linkcheck")
    return build() if args.verb == "build" else book_tables.write_all()


if __name__ == "__main__":
    sys.exit(main())
