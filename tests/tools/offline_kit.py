"""A folder for a USB stick: everything that a room without internet needs.

    python tests/tools/offline_kit.py                     for systems like this one
    python tests/tools/offline_kit.py --system windows --python 3.12
    python tests/tools/offline_kit.py --check             install from it, without a network

build/offline-kit holds wheels, notebooks, the site, the decks and a README with the commands;
build/offline-kit.zip is the same in one file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from kit_wheels import (
    ROOT,
    SYSTEMS,
    KitError,
    check_space,
    explain,
    fetch,
    own_wheel,
    this_python,
    this_system,
    whole_course,
)

OUT = ROOT / "build" / "offline-kit"
# What the kit takes along where it is there: folder in the kit -> the first that exists.
TAKEN = {
    "notebooks": ("build/student", "notebooks"),
    "site": ("book/_build/html",),
    "slides": ("build/slides",),
}
MAKE = {"site": "make book", "slides": "make slides", "notebooks": "make student"}
LEFT_OUT = {"notebooks": ("py", "timings.json", ".*", "__pycache__", "runs", "data")}
# PyTorch for Linux comes with its GPU libraries.
FOR_WHEELS_GB, FOR_ZIP = {"linux": 8, "windows": 2, "macos": 2}, 1.1
README = """\
The course, without internet
============================

For {system}, Python {python}. Copy this folder to your disk. Then, in it:

    {python_command} -m venv course
    {bin}pip install --no-index --find-links wheels "{requirement}"
    {bin}jupyter lab notebooks

The first two take some minutes, once. The third starts the course; the next time it is enough.
{more}"""
SITE = """
The site, with every notebook's outputs, needs no install but Python:

    {python_command} -m http.server --directory site

and then the address http://127.0.0.1:8000 in a browser.
"""


# --------------------------------------------------------------------------- the rest
def take_along(out: Path) -> list[str]:
    """Copy notebooks, site and decks; returns what is not there and how to make it."""
    absent = []
    for folder, sources in TAKEN.items():
        found = next((ROOT / one for one in sources if any((ROOT / one).glob("*.*"))), None)
        if folder == "notebooks" and found == ROOT / "notebooks" or found is None:
            what = "notebooks with solutions" if folder == "notebooks" else f"no {folder}"
            absent.append(f"{what}: `{MAKE[folder]}` was not run")
        if found is not None:
            ignored = shutil.ignore_patterns(*LEFT_OUT.get(folder, (".*",)))
            shutil.copytree(found, out / folder, ignore=ignored, dirs_exist_ok=True)
    return absent


def write_readme(out: Path, requirement: str, system: str, python: str) -> None:
    """The commands for the students."""
    windows = system == "windows"
    words = {
        "system": system,
        "python": python,
        "python_command": "py" if windows else "python3",
        "bin": "course\\Scripts\\" if windows else "course/bin/",
        "requirement": requirement,
    }
    more = SITE.format(**words) if (out / "site").is_dir() else ""
    text = README.format(**words, more=more)
    (out / "README.txt").write_text(text, encoding="utf-8")


def pack(out: Path) -> Path:
    """The folder as one .zip beside it; wheels are stored as they are, for they are packed."""
    target, part = out.with_suffix(".zip"), out.with_suffix(".zip.tmp")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            for path in sorted(path for path in out.rglob("*") if path.is_file()):
                way = zipfile.ZIP_STORED if path.suffix == ".whl" else zipfile.ZIP_DEFLATED
                archive.write(path, Path(out.name) / path.relative_to(out), way)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def size(folder: Path) -> int:
    """Bytes in a folder or file."""
    files = [folder] if folder.is_file() else folder.rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


def describe(out: Path) -> str:
    """How large the kit is, and what it holds."""
    lines = [f"{out}: {size(out) / 1e6:,.0f} MB"]
    for part in sorted(out.iterdir()):
        count = sum(path.is_file() for path in part.rglob("*")) if part.is_dir() else 1
        lines.append(f"  {part.name:12} {size(part) / 1e6:8,.1f} MB, {count} files")
    largest = sorted((out / "wheels").glob("*.whl"), key=size, reverse=True)[:3]
    named = ", ".join(f"{path.name.split('-')[0]} {size(path) / 1e6:,.0f} MB" for path in largest)
    return "\n".join([*lines, f"  largest wheels: {named}"])


# --------------------------------------------------------------------------- trying it
def check(out: Path, requirement: str, imported: str) -> None:
    """Install from the kit alone into a new environment, and import something there."""
    if not any((out / "wheels").glob("*.whl")):
        raise KitError(f"There is no kit in {out} yet: run `make offline-kit` first.")
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-index"]
        # Settings of this machine, such as a mirror, must not help.
        own = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        own["PIP_CONFIG_FILE"] = os.devnull
        install += ["--isolated", "--find-links", str(out / "wheels"), requirement]
        for command in (install, [str(python), "-c", f"import {imported}"]):
            run = subprocess.run(command, env=own, cwd=folder, capture_output=True, text=True)
            if run.returncode:
                sys.stderr.write(run.stderr)
                raise KitError(f"The kit does not install: {run.stderr.strip().splitlines()[-1]}")
    print(f"{requirement} installs from {out / 'wheels'} without a network.")


def make(out: Path, system: str | None, python: str | None, zipped: bool) -> None:
    """The whole kit."""
    check_space(out, FOR_WHEELS_GB[system or this_system()])
    shutil.rmtree(out, ignore_errors=True)
    wheels = out / "wheels"
    wheels.mkdir(parents=True)
    wheel = own_wheel(wheels)
    native = system is None and python is None
    fetch([f"{wheel}[lab]"] if native else whole_course(), wheels, system, python)
    absent = take_along(out)
    write_readme(out, "ldmlib[lab]", system or this_system(), python or this_python())
    print(describe(out))
    for line in absent:
        print(f"  {line}")
    if zipped:
        check_space(out, FOR_ZIP * size(out) / 1e9)
        print(f"{pack(out)}: the same in one file")


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the kit")
    parser.add_argument("--system", choices=SYSTEMS, help="of the students; this one without it")
    parser.add_argument("--python", help="the students' Python, such as 3.12")
    parser.add_argument("--no-zip", action="store_true", help="only the folder")
    parser.add_argument(
        "--check", action="store_true", help="install from the kit, without network"
    )
    args = parser.parse_args()
    try:
        if args.check:
            check(args.out, "ldmlib[lab]", "ldmlib, jupyterlab, torchvision")
        else:
            make(args.out, args.system, args.python, not args.no_zip)
    except KitError as error:
        sys.exit(f"offline-kit: {error}")
    except OSError as error:
        sys.exit(f"offline-kit: {explain(str(error))} ({error})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
