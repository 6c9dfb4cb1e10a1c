"""A section of a stored notebook, taken apart: questions, formulas, pictures, explanations."""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
from docutils.nodes import make_id
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
HEADING = re.compile(r"^(#{1,6}) +(.+?)\s*$")
QUESTION = re.compile(r"\*\*(Predict|Question for the sliders)\.?\*\*")
EXPLAINED = re.compile(r"\*\*(Explain|What happened|Symptom|Cause|Cure)[.:]")
KEPT_APART = re.compile(r"\*\*(Change|Hint|Solution|In the library)\b")
HIDDEN_TAGS = {"solution", "teacher", "quiz", "exercise", "check"}
LINE = 84  # letters in a line of a slide
PICTURE_LINES = 9.5
CAPTION = 6  # lines of a text below a picture that are not too many


@dataclass
class Block:
    """One thing on a slide.

    Args:
        kind: heading, predict, explain, text, formula, table, diagram, code, output, picture; or
            note, for the speaker.
        text: Markdown.
        output: a stored output in its place.
    """

    kind: str
    text: str = ""
    output: NotebookNode | None = None

    @property
    def lines(self) -> float:
        """About how many lines of a slide it takes."""
        if self.kind in ("picture", "diagram"):
            return PICTURE_LINES
        if self.kind in ("code", "output"):
            return 0.8 * len(self.text.splitlines())
        if self.kind == "formula":
            return 3
        rows = [line for line in self.text.splitlines() if line.strip()]
        return 0.5 + sum(-(-len(line) // LINE) for line in rows)


def anchor(title: str) -> str:
    """The place of a heading on the site: as the site's builder makes it, formulas left out."""
    return make_id(re.sub(r"\$[^$]*\$", "", title.replace("`", "")))


@cache
def read(name: str) -> NotebookNode:
    """A stored notebook."""
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


# --------------------------------------------------------------------------- markdown
def markdown_blocks(source: str) -> list[str]:
    """Paragraphs, fences, tables and formulas of a cell, each as it stands; folded parts go."""
    source = re.sub(r"<details>.*?</details>", "", source, flags=re.DOTALL)
    parts = re.split(r"(^```.*?^```$|^\$\$.*?\$\$$)", source, flags=re.DOTALL | re.MULTILINE)
    found: list[str] = []
    for part in parts:
        whole = part.startswith(("```", "$$"))
        found += [part] if whole else re.split(r"\n\s*\n", part)
    return [block.strip("\n") for block in found if block.strip()]


def kind_of(block: str) -> str:
    """What a block of Markdown is, from how it begins."""
    if HEADING.match(block):
        return "heading"
    if block.startswith("```mermaid"):
        return "diagram"
    if block.startswith("```"):
        return "code"
    if block.startswith("$$"):
        return "formula"
    if block.lstrip().startswith("|"):
        return "table"
    if QUESTION.search(block):
        return "predict"
    if KEPT_APART.search(block):
        return "note"
    if EXPLAINED.search(block):
        return "explain"
    return "text"


def plain_title(title: str) -> str:
    """A heading without its number."""
    return re.sub(r"^\d+\.\s+", "", title)


def of_markdown(source: str) -> list[Block]:
    """The blocks of a cell of text; a heading may be followed by text without an empty line."""
    blocks = []
    for part in markdown_blocks(source):
        while found := HEADING.match(part.split("\n", 1)[0]):
            blocks.append(Block("heading", plain_title(found[2])))
            part = part.partition("\n")[2].strip("\n")
        if part.strip():
            blocks.append(Block(kind_of(part), part))
    return blocks


# --------------------------------------------------------------------------- code
def picture_of(cell: NotebookNode) -> list[Block]:
    """The stored pictures of a code cell, without the text that stands for them elsewhere."""
    pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
    return [Block("picture", "", only_png(output, cell.source)) for output in pictures]


def only_png(output: NotebookNode, source: str) -> NotebookNode:
    """The output with nothing but its picture, and with its size for the page."""
    png = output.data["image/png"]
    width, height = struct.unpack(">II", base64.b64decode(png[:64])[16:24])
    size = {"image/png": {"width": width, "height": height}}
    return nbformat.v4.new_output("display_data", {"image/png": png}, metadata=size)


def printed(cell: NotebookNode) -> str:
    """What a code cell printed."""
    return "".join(
        output.text for output in cell.outputs if output.get("name") == "stdout"
    ).rstrip()


def of_code(cell: NotebookNode, code: list[str], output: list[str]) -> list[Block]:
    """Pictures of a code cell; its listing and what it printed where the table asks for them."""
    blocks = []
    if any(word in cell.source for word in code):
        blocks.append(Block("code", f"```python\n{cell.source.strip()}\n```"))
    if any(word in cell.source for word in output):
        blocks.append(Block("output", f"```text\n{printed(cell)}\n```"))
    return blocks + picture_of(cell)


# --------------------------------------------------------------------------- a section
def section_cells(name: str, place: str) -> list[NotebookNode]:
    """The cells of a section, from its heading to the next one of its level or above."""
    level, found = 0, []
    for cell in read(name).cells:
        if cell.cell_type != "markdown":
            found += [cell] if level else []
            continue
        kept = []
        for line in cell.source.split("\n"):
            heading = HEADING.match(line)
            if heading and level and len(heading[1]) <= level:
                return [*found, nbformat.v4.new_markdown_cell("\n".join(kept))]
            if heading and not level and anchor(heading[2]) == place:
                level = len(heading[1])
            kept += [line] if level else []
        if kept:
            part = nbformat.v4.new_markdown_cell("\n".join(kept), metadata=cell.metadata)
            found.append(nbformat.from_dict(part))
    if not level:
        raise LookupError(f"{name} has no section #{place}")
    return found


def section_blocks(entry: dict) -> list[Block]:
    """The blocks of an entry of the table, with plain text in the speaker's notes.

    Raises:
        LookupError: a section, or a word of `code`, `output` or `leave`, is not there.
    """
    name, place = entry["section"].split("#")
    code, output, leave = (entry.get(key, []) for key in ("code", "output", "leave"))
    cells = section_cells(name, place)
    whole = "\n".join(cell.source for cell in cells)
    for word in (*code, *output, *leave):
        if word not in whole:
            raise LookupError(f"no cell of {entry['section']} holds {word!r}")
    blocks: list[Block] = []
    for cell in cells:
        if HIDDEN_TAGS & set(cell.metadata.get("tags", [])):
            continue
        text = cell.cell_type == "markdown"
        blocks += of_markdown(cell.source) if text else of_code(cell, code, output)
    return put_aside(blocks, leave)


def put_aside(blocks: list[Block], leave: list[str]) -> list[Block]:
    """Text goes to the notes, but for what stands below a heading or beside something shown."""
    shown = ("formula", "table", "diagram", "code")
    chosen = []
    for i, block in enumerate(blocks):
        before = blocks[i - 1].kind if i else ""
        after = blocks[i + 1].kind if i + 1 < len(blocks) else ""
        says = before in ("picture", "output") and block.lines <= CAPTION
        needed = before == "heading" or after in shown or says
        aside = block.kind == "text" and not needed
        if aside or any(word in block.text for word in leave):
            block = Block("note", "" if block.kind == "diagram" else block.text)
        chosen.append(block)
    return chosen
