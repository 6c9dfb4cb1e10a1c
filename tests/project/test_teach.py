"""The teacher's pages keep their promises: minutes, links, quotations, made parts, decks."""

from __future__ import annotations

import ast
import importlib
import json
import re
from functools import cache
from pathlib import Path

import jupytext
import pytest

import slides
import teach
from book_project import BOOK, ROOT, read_toc, toc_pages
from slide_blocks import HEADING, anchor

TEACH = BOOK / "teach"
LESSONS = [TEACH / f"lesson-{number}.md" for number in range(1, 9)]
PARTS = ["Minutes", "Board", "Predict first", "Misconceptions", "Homework"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CHECK = re.compile(r"`check\.(\w+)\.(\w+)`")
NUMBER = re.compile(r"-?\d+\.\d+")
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
each_page = pytest.mark.parametrize("path", sorted(TEACH.glob("*.md")), ids=lambda path: path.stem)


def part(path: Path, name: str) -> str:
    """What stands below a heading of a page."""
    return path.read_text(encoding="utf-8").split(f"## {name}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The rows of a table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[2:]]
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in cells]


@cache
def places(file: Path) -> set[str]:
    """The places of a page or a notebook that a link may name."""
    twin = ROOT / "notebooks" / "py" / f"{file.stem}.py"
    if file.suffix == ".ipynb":
        cells = jupytext.read(twin).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = file.read_text(encoding="utf-8")
    found = (HEADING.match(line) for line in text.splitlines())
    return {anchor(heading[2]) for heading in found if heading and len(heading[1]) <= 3}


# --------------------------------------------------------------------------- lesson plans
@each_lesson
def test_a_plan_has_all_its_parts(path: Path) -> None:
    found = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert found == PARTS
    assert len(rows(part(path, "Predict first"))) >= 5
    assert len(rows(part(path, "Misconceptions"))) >= 5
    assert len(re.findall(r"^\d\. ", part(path, "Homework"), re.MULTILINE)) >= 3
    assert "```mermaid" in part(path, "Board") or "```text" in part(path, "Board")


@each_lesson
def test_the_minutes_of_a_lesson_are_ninety(path: Path) -> None:
    minutes = [int(row[0]) for row in rows(part(path, "Minutes"))]
    assert sum(minutes) == 90 and min(minutes) >= 5


@each_page
def test_every_link_leads_to_a_file_and_a_place_in_it(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" in target or target == "grading.md":
            continue
        name, _, place = target.partition("#")
        file = (path.parent / name).resolve()
        assert file.is_file(), target
        assert not place or place in places(file), target


@each_lesson
def test_every_misconception_is_tied_to_where_it_shows(path: Path) -> None:
    for said, where, _ in rows(part(path, "Misconceptions")):
        links = LINK.findall(where)
        assert links and all("#" in link for link in links), said


def sentences(module: str) -> str:
    """All texts that a module of checks holds, spaces evened out."""
    tree = ast.parse((ROOT / "ldmlib" / "check" / f"{module}.py").read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return " ".join(" ".join(text.split()) for text in texts if isinstance(text, str))


@each_lesson
def test_what_a_check_is_quoted_with_is_what_it_says(path: Path) -> None:
    quoted = 0
    for _, where, says in rows(part(path, "Misconceptions")):
        for module, name in CHECK.findall(where):
            assert hasattr(importlib.import_module(f"ldmlib.check.{module}"), name), where
            assert re.fullmatch(r'".+"', says), f"quote what {module}.{name} says, not {says}"
            assert says.strip('"') in sentences(module), says
            quoted += 1
    assert quoted >= 2


def test_every_notebook_of_part_one_is_taught() -> None:
    taught = {Path(one.partition("#")[0]).stem for path in LESSONS
              for one in LINK.findall(part(path, "Minutes")) if "notebooks/" in one}  # fmt: skip
    assert taught == {path.stem for path in (ROOT / "notebooks" / "py").glob("0[0-7]_*.py")}


# --------------------------------------------------------------------------- the site, the decks
def test_every_page_for_teachers_is_in_the_table_of_contents() -> None:
    listed = {page for page in toc_pages(read_toc()) if page.startswith("book/teach/")}
    assert {f"book/teach/{path.stem}" for path in TEACH.glob("*.md")} == listed


def test_the_decks_follow_the_plans() -> None:
    table = slides.read_table()
    assert list(table) == [path.stem for path in LESSONS]
    for path in LESSONS:
        links = [one for one in LINK.findall(part(path, "Minutes")) if "ipynb#" in one]
        planned = {Path(one.partition("#")[0]).stem + "#" + one.partition("#")[2] for one in links}
        shown = {entry["section"] for entry in table[path.stem]}
        assert planned - shown <= {"02_gan_recap#the-generator-s-gradient"}  # inside #the-game


def test_keys_are_said_to_be_public() -> None:
    for name in ("index", "assignment-1", "assignment-2", "exam"):
        assert "public" in (TEACH / f"{name}.md").read_text(encoding="utf-8")


# --------------------------------------------------------------------------- made parts
def alike(a: str, b: str) -> bool:
    """The same words, and numbers that differ in the last digit at most."""
    if NUMBER.sub("#", a) != NUMBER.sub("#", b):
        return False
    pairs = zip(NUMBER.findall(a), NUMBER.findall(b), strict=True)
    return all(abs(float(x) - float(y)) <= 2e-3 * max(1, abs(float(y))) for x, y in pairs)


@pytest.mark.parametrize(
    "name", ["assignment-1", "exam", pytest.param("assignment-2", marks=pytest.mark.slow)]
)
def test_made_parts_are_fresh(name: str) -> None:
    page = TEACH / f"{name}.md"
    assert page in teach.made_pages()
    told = "run `python tests/tools/teach.py`"
    assert alike(teach.renewed(page), page.read_text(encoding="utf-8")), told


def test_rubrics_add_up_to_the_points_of_their_question() -> None:
    from ldmlib.teach import assignments

    question = next(q for q in assignments.make("1", "ada").questions if q.name == "9")
    table = (TEACH / "assignment-1.md").read_text("utf-8").split("Question 9 is marked")[1]
    assert sum(map(int, re.findall(r"^\| [^|]+\((\d+)\)", table, re.MULTILINE))) == question.points
    table = (TEACH / "assignment-2.md").read_text("utf-8").split("## Rubric")[1]
    assert sum(map(int, re.findall(r"^\| [^|]+\((\d+)\)", table, re.MULTILINE))) == 20


def test_points_in_the_keys_of_the_exam_add_up() -> None:
    from ldmlib.teach import assignments

    sheet = assignments.make("exam", "ada")
    assert sheet.points == 80
    drawing = next(q for q in sheet.questions if q.text.startswith("Draw the two"))
    assert sum(map(int, re.findall(r" (\d+)[;.]", drawing.key))) == drawing.points
    assert json.dumps(sheet.content(key=True))
