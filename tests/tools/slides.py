"""Slides from the notebooks' own cells: one deck a lesson, build/slides/lesson-N.html.

    python tests/tools/slides.py [1 ...]     only some lessons; all of them without a number

book/teach/slides.yml says which sections; `slide_blocks.py` takes them apart, and nbconvert makes
reveal.js slides of them. The decks show stored outputs: nothing is run. They work without a
network, opened from the folder.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import yaml
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from traitlets.config import Config

import book
from book_project import BOOK, ROOT
from slide_blocks import NOTEBOOKS, Block, section_blocks

TEACH = BOOK / "teach"
OUT = ROOT / "build" / "slides"
TEMPLATE = ROOT / "tests" / "tools" / "slides_template"
# What is copied from where in node_modules: folder -> (source, patterns).
COPIED = {
    "reveal/dist": ("reveal.js/dist", ["reveal.js", "reveal.css", "reset.css", "plugin/notes.js"]),
    "mathjax": ("mathjax", ["startup.js", "core.js", "loader.js", "LICENSE"]),
    "mathjax/input": ("mathjax/input", ["tex.js", "tex/**/*"]),
    "mathjax/output": ("mathjax/output", ["chtml.js"]),
    "mathjax/mathjax-newcm-font": book.COPIED["mathjax/mathjax-newcm-font"],
    "mermaid": ("mermaid/dist", ["mermaid.min.js"]),
}
WITHOUT_NPM = (
    "The decks need reveal.js and MathJax, which npm installs from book/package-lock.json: install "
    "npm (it comes with Node.js), connect to a network once, and run `make slides` again."
)
FULL = 14  # lines on a slide


@dataclass
class Slide:
    """A title, what stands below it, and what the speaker sees."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def lines(self) -> float:
        """How full it is."""
        return sum(block.lines for block in self.blocks)


class SlidesError(Exception):
    """What is missing, and what to do about it."""


def read_table() -> dict[str, list[dict]]:
    """The sections of each lesson."""
    return yaml.safe_load((TEACH / "slides.yml").read_text(encoding="utf-8"))


# --------------------------------------------------------------------------- arranging
def arrange(blocks: list[Block]) -> list[Slide]:
    """Blocks onto slides: a question ends its slide, a picture comes with its explanation."""
    slides: list[Slide] = []
    for i, block in enumerate(blocks):
        if block.kind == "heading":
            slides.append(Slide(block.text))
        elif block.kind == "note":
            slides[-1].notes.append(block.text)
        else:
            before, after = blocks[i - 1], blocks[i + 1 : i + 2]
            apart = block.kind == "picture" and before.kind == "note"  # of something else
            if apart or not fits(slides[-1], block, after):
                slides.append(Slide(slides[-1].title))
            slides[-1].blocks.append(block)
    return [slide for slide in slides if slide.blocks]


def fits(slide: Slide, block: Block, after: list[Block]) -> bool:
    """Whether a block goes onto a slide, too; what leads to a formula goes with it."""
    kinds = [other.kind for other in slide.blocks]
    if "predict" in kinds or (block.kind == "predict" and {"picture", "explain"} & set(kinds)):
        return False
    if block.kind == "picture" and ("picture" in kinds or "explain" in kinds):
        return False
    leads = block.kind == "text" and bool(after) and after[0].kind == "formula"
    lines = block.lines + (after[0].lines if leads else 0)
    return not slide.blocks or slide.lines + lines <= FULL


# --------------------------------------------------------------------------- first and last slide
def plan_of(lesson: str) -> dict[str, str]:
    """Title, goal and homework of a lesson, from its plan."""
    text = (TEACH / f"{lesson}.md").read_text(encoding="utf-8")
    title = re.search(r"^# (.+)$", text, re.MULTILINE)[1]
    goal = re.search(r"\*\*Goal:\*\*(.+?)\n\n", text, re.DOTALL)[1]
    homework = text.split("## Homework")[1].strip()
    return {"title": title, "goal": " ".join(goal.split()), "homework": homework}


def without_links(text: str) -> str:
    """Markdown whose links are only their words: a deck stands by itself."""
    return re.sub(r"(?<!!)\[([^\]]+)\]\([^)]+\)", r"\1", text)


# --------------------------------------------------------------------------- making
def deck(lesson: str, sections: list[dict]) -> NotebookNode:
    """The notebook that nbconvert turns into the slides of a lesson."""
    plan = plan_of(lesson)
    number, name = plan["title"].split(": ", 1)
    name, goal = (text[0].upper() + text[1:] for text in (name, plan["goal"]))
    cells = [markdown(f"# {name}\n\n{number} of 8\n\n{goal}", "slide")]
    for section in sections:
        for slide in arrange(section_blocks(section)):
            cells += slide_cells(slide)
    cells.append(markdown(f"## Homework\n\n{without_links(plan['homework'])}", "slide"))
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["title"] = plan["title"]
    return notebook


def markdown(text: str, slide_type: str, kind: str = "") -> NotebookNode:
    """A cell of text, marked for nbconvert."""
    cell = nbformat.v4.new_markdown_cell(without_links(text))
    cell.metadata = {"slideshow": {"slide_type": slide_type}, "tags": [kind] if kind else []}
    return nbformat.from_dict(cell)


def slide_cells(slide: Slide) -> list[NotebookNode]:
    """The cells of one slide."""
    cells = [markdown(f"## {slide.title}", "slide")]
    for block in slide.blocks:
        if block.output is None:
            cells.append(markdown(block.text, "-", block.kind))
            continue
        cell = nbformat.v4.new_code_cell("", outputs=[block.output])
        cell.metadata = nbformat.from_dict({"slideshow": {"slide_type": "-"}, "tags": [block.kind]})
        cells.append(cell)
    if notes := "\n\n".join(filter(None, slide.notes)):
        cells.append(markdown(notes, "notes"))
    return cells


def exporter() -> SlidesExporter:
    """nbconvert's slides, with libraries from the folder beside them and this course's look."""
    config = Config()
    config.TemplateExporter.exclude_input = True
    config.TemplateExporter.exclude_input_prompt = True
    config.TemplateExporter.exclude_output_prompt = True
    return SlidesExporter(
        config=config,
        extra_template_basedirs=[str(TEMPLATE.parent)],
        template_name=TEMPLATE.name,
        reveal_url_prefix="vendor/reveal",
        reveal_theme="deck",
    )


def copy_vendor() -> None:
    """What the decks load, beside them."""
    for folder, (source, patterns) in COPIED.items():
        start = book.MODULES / source
        for path in {path for pattern in patterns for path in start.glob(pattern)}:
            if path.is_file() and path.suffix != ".map":
                target = OUT / "vendor" / folder / path.relative_to(start)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    shutil.copyfile(TEMPLATE / "deck.js", OUT / "vendor" / "deck.js")
    theme = OUT / "vendor" / "reveal" / "dist" / "theme"
    theme.mkdir(exist_ok=True)
    shutil.copyfile(TEMPLATE / "deck.css", theme / "deck.css")


def build(lessons: list[str]) -> list[Path]:
    """Write the decks of these lessons; returns their files.

    Raises:
        SlidesError: npm is missing, or a section, listing or output that the table names is.
    """
    if not book.npm_install():
        raise SlidesError(WITHOUT_NPM)
    copy_vendor()
    table, made = read_table(), []
    for lesson in lessons:
        try:
            notebook = deck(lesson, table[lesson])
        except LookupError as error:
            raise SlidesError(f"book/teach/slides.yml, {lesson}: {error.args[0]}") from error
        html, _ = exporter().from_notebook_node(notebook, {"metadata": {"name": lesson}})
        made.append(OUT / f"{lesson}.html")
        made[-1].write_text(html, encoding="utf-8")
    return made


def main() -> int:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", type=int, help="numbers of lessons; all without any")
    args = parser.parse_args()
    known = read_table()
    wanted = [f"lesson-{number}" for number in args.lessons] or list(known)
    if unknown := [lesson for lesson in wanted if lesson not in known]:
        sys.exit(f"There is no {unknown[0]}, only {', '.join(known)}.")
    if not NOTEBOOKS.is_dir():
        sys.exit(f"{NOTEBOOKS} is missing: run this in the course's folder.")
    try:
        for path in build(wanted):
            print(path.relative_to(ROOT))
    except SlidesError as error:
        sys.exit(f"slides: {error}")
    print("Open one by a double click. F: full screen, ?: all keys.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
