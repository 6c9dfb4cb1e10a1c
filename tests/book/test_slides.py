"""The decks: made from the notebooks' own cells, and opened in headless Chromium, from the folder.

Where Chromium, node or npm's packages are missing the browser's part is skipped and says why; with
LDM_REQUIRE_BROWSER=1, as in .ci/run, that is a failure. LDM_SCREENSHOTS=folder keeps every slide.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import nbformat
import pytest

import book
import browser
import slide_blocks
import slides
from book_project import ROOT
from slide_blocks import Block

BROWSER = ROOT / "tests" / "tools" / "slides_browser.mjs"
READABLE = 22  # pixels of a slide that is 720 high: about 3 in 100 of the screen
LESSONS = list(slides.read_table())
each_lesson = pytest.mark.parametrize("lesson", LESSONS)


# --------------------------------------------------------------------------- taking apart
NOTEBOOK = """\
# Title

## 1. A section

The first words.

**Predict.** What then?

More words that nobody needs on a slide.

$$x = 1$$

**Explain.** Because.

<details><summary>Hint</summary>

Secret.

</details>

**Change.** Something else.

### Part

Below the part.

## 2. Another

Not this.
"""


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored notebook with one section of each kind of block."""
    cells = [nbformat.v4.new_markdown_cell(NOTEBOOK.split("## 2.")[0])]
    code = nbformat.v4.new_code_cell("def f():\n    return 1\n\nprint(f())")
    code.outputs = [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
    solution = nbformat.v4.new_markdown_cell("**Explain.** A solution.")
    solution.metadata["tags"] = ["solution"]
    cells += [code, solution, nbformat.v4.new_markdown_cell("## 2. Another\n\nNot this.")]
    whole = nbformat.v4.new_notebook(cells=cells)
    monkeypatch.setattr(slide_blocks, "read", lambda name: whole)


def kinds(blocks: list[Block]) -> list[str]:
    """What the blocks are."""
    return [block.kind for block in blocks]


def test_a_section_is_taken_apart(notebook: None) -> None:
    blocks = slide_blocks.section_blocks({"section": "any#a-section"})
    assert kinds(blocks) == ["heading", "text", "predict", "text", "formula", "explain", "note",
                             "heading", "text"]  # fmt: skip
    assert blocks[0].text == "A section"
    whole = "".join(block.text for block in blocks)
    assert "Secret" not in whole and "solution" not in whole and "Not this" not in whole


def test_listings_and_outputs_are_shown_where_the_table_asks_for_them(notebook: None) -> None:
    entry = {"section": "any#part", "code": ["def f"], "output": ["print(f"]}
    blocks = slide_blocks.section_blocks(entry)
    assert kinds(blocks) == ["heading", "text", "code", "output"]
    assert "def f():" in blocks[2].text and blocks[3].text == "```text\n1\n```"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"section": "any#nowhere"}, "no section #nowhere"),
        ({"section": "any#part", "code": ["def g"]}, "no cell of any#part holds 'def g'"),
        ({"section": "any#part", "leave": ["gone"]}, "holds 'gone'"),
    ],
)
def test_what_is_not_there_is_named(notebook: None, entry: dict, said: str) -> None:
    with pytest.raises(LookupError, match=re.escape(said)):
        slide_blocks.section_blocks(entry)


def test_a_question_stands_before_its_answer() -> None:
    """A slide with a question ends there: neither picture nor explanation beside it."""
    blocks = [Block("heading", "h"), Block("text", "t"), Block("predict", "?"), Block("picture"),
              Block("explain", "!"), Block("predict", "??"), Block("formula", "$$x$$")]  # fmt: skip
    made = slides.arrange(blocks)
    assert [kinds(slide.blocks) for slide in made] == [
        ["text", "predict"],
        ["picture", "explain"],
        ["predict"],
        ["formula"],
    ]
    assert {slide.title for slide in made} == {"h"}


def test_what_leads_to_a_formula_goes_with_it() -> None:
    """And a picture after a note is of something else."""
    lead, formula = Block("text", "word " * 50), Block("formula", "$$x$$")
    blocks = [
        Block("heading", "h"),
        Block("picture"),
        lead,
        formula,
        Block("note"),
        Block("picture"),
    ]
    made = slides.arrange(blocks)
    assert [kinds(slide.blocks) for slide in made] == [
        ["picture"],
        ["text", "formula"],
        ["picture"],
    ]


def test_a_full_slide_is_followed_by_another() -> None:
    long = Block("explain", "word " * 150)
    made = slides.arrange([Block("heading", "h"), long, long, Block("note", "n"), Block("picture")])
    assert [kinds(slide.blocks) for slide in made] == [["explain"], ["explain"], ["picture"]]
    assert made[1].notes == ["n"]


@each_lesson
def test_every_lesson_has_questions_pictures_and_explanations(lesson: str) -> None:
    made = [slide for entry in slides.read_table()[lesson]
            for slide in slides.arrange(slide_blocks.section_blocks(entry))]  # fmt: skip
    shown = [block.kind for slide in made for block in slide.blocks]
    assert shown.count("predict") >= 4 and shown.count("picture") >= 5
    assert sum(shown.count(kind) for kind in ("explain", "text", "table")) >= 5
    assert not [slide.title for slide in made if slide.lines > slides.FULL + 8]


def test_without_npm_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "npm_install", lambda: False)
    with pytest.raises(slides.SlidesError, match="install npm"):
        slides.build(LESSONS[:1])


def test_a_lesson_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["slides.py", "9"])
    with pytest.raises(SystemExit, match="no lesson-9, only lesson-1"):
        slides.main()


# --------------------------------------------------------------------------- in the browser
PURPOSE = "the decks are not opened in a browser"


@pytest.fixture(scope="module")
def node() -> str:
    """The path of node, with the packages of book/package-lock.json installed."""
    return browser.node_path(PURPOSE)


@pytest.fixture(scope="module")
def decks(node: str) -> list[Path]:
    """All decks, built now."""
    return slides.build(LESSONS)


@pytest.fixture(scope="module")
def seen(node: str, decks: list[Path]) -> dict[str, dict]:
    """What the browser saw in each deck, opened from the folder, without a server."""
    chromium = browser.chromium_path(PURPOSE)
    task = {"decks": [str(path) for path in decks], "modules": str(book.MODULES),
            "chromium": chromium, "shots": os.environ.get("LDM_SCREENSHOTS", "")}  # fmt: skip
    command = [node, str(BROWSER), json.dumps(task)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    return {Path(line["deck"]).stem: line for line in lines}


@pytest.mark.slow
def test_every_deck_opens_from_its_folder_without_error_or_network(seen: dict[str, dict]) -> None:
    assert list(seen) == LESSONS
    for name, deck in seen.items():
        assert deck["state"] == "ready", name
        assert not deck["errors"] and not deck["failed"] and not deck["external"], name


@pytest.mark.slow
def test_nothing_is_cut_off_and_all_can_be_read_from_the_last_row(seen: dict[str, dict]) -> None:
    for name, deck in seen.items():
        assert len(deck["slides"]) >= 15, name
        assert not [s for s in deck["slides"] if s["tooLong"] or s["letters"] < READABLE], name
        assert not [s for s in deck["slides"] if s["listing"] and s["listing"] < 15], name


@pytest.mark.slow
def test_pictures_formulas_and_diagrams_are_drawn(seen: dict[str, dict]) -> None:
    for name, deck in seen.items():
        shown = deck["slides"]
        assert sum(s["pictures"] for s in shown) >= 5, name
        assert not [s for s in shown if s["broken"] or s["small"]], name
        assert not [s for s in shown if s["rawMaths"] or s["wrongMaths"]], name
        assert not [s for s in shown if s["diagrams"] != s["diagramsDrawn"]], name
    assert sum(s["maths"] for deck in seen.values() for s in deck["slides"]) > 100
    assert sum(s["diagrams"] for deck in seen.values() for s in deck["slides"]) >= 1
