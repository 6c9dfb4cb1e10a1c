"""Notebooks as lists of cells, and the exercises of a course notebook.

Only JSON is read, and nothing is believed: whatever was handed in becomes cells or a `ValueError`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ldmlib.storage.places import PathLike
from ldmlib.teach.grading.magics import cleaned
from ldmlib.teach.grading.names import bound, read

LARGEST_FILE = 50_000_000  # bytes; outputs full of pictures take a few million
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
COURSE = Path(__file__).resolve().parents[3] / "notebooks"


@dataclass(frozen=True)
class Cell:
    """A cell's kind ("code", "markdown", ...), source and tags."""

    kind: str
    source: str
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Master:
    """A notebook of the course: where it lies, and its cells."""

    path: Path
    cells: list[Cell]


@dataclass(frozen=True)
class Exercise:
    """A title, the names that the reader must define, and the check cell ("" for none)."""

    title: str
    names: tuple[str, ...]
    check: str


def read_cells(path: PathLike) -> list[Cell]:
    """The cells of a notebook file, of format 2 or later, in UTF-8, UTF-16 or UTF-32.

    Raises:
        ValueError: it is missing, too large, or not a notebook; the message says which.
        OSError: it cannot be read.
    """
    path = Path(path)
    if not path.is_file():  # a pipe, for one, would never end
        raise ValueError(f"expected a notebook, but {path.name} is {_kind(path)}")
    with open(path, "rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        size = path.stat().st_size / 1e6
        raise ValueError(f"{path.name} has {size:.0f} MB: clear its outputs, save it again")
    try:
        content = json.loads(data)  # finds out which UTF it is
        if "cells" not in content and "worksheets" in content:
            return _old_cells(content)
        return [_cell(cell) for cell in content["cells"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path.name} is not a notebook: {_why(data)}") from error


def _kind(path: Path) -> str:
    """What is there in place of a file, and what to do."""
    if path.is_dir():
        return f"a folder, name the notebooks in it: `ldm grade {path / '*.ipynb'}`"
    return "not a regular file" if path.exists() else "not there"


def _why(data: bytes) -> str:
    """What a file is that is no notebook, as far as its first bytes tell, and what to ask for."""
    start = data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "it is empty. Ask for it again"
    if start.startswith((b"<!doctype", b"<html")):
        return "it is a web page. Ask for the .ipynb file itself"
    if b"\n<<<<<<< " in data and b"\n>>>>>>> " in data:
        return "it holds a merge conflict of git (<<<<<<<). Ask for it again"
    if start.startswith(b"{"):
        return "it was cut off or damaged. Ask for it again"
    return "ask for the file that Jupyter or Colab saves as .ipynb"


def _cell(cell: dict) -> Cell:
    metadata = cell.get("metadata", {})
    tags = (metadata if metadata is not None else {}).get("tags")
    return Cell(str(cell["cell_type"]), _text(cell["source"]), frozenset(map(str, tags or ())))


def _text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def _old_cells(content: dict) -> list[Cell]:
    """The cells of formats 2 and 3, where code is called input, and a heading is a kind of cell."""
    cells = []
    for cell in (cell for sheet in content["worksheets"] for cell in sheet["cells"]):
        kind, text = cell["cell_type"], _text(cell["input" if "input" in cell else "source"])
        if kind == "heading":
            kind, text = "markdown", "#" * int(cell.get("level", 1)) + " " + text
        cells.append(_cell({**cell, "cell_type": kind, "source": text}))
    return cells


def code(cells: list[Cell]) -> list[str]:
    """Sources of the code cells, as Python: without the lines that only a notebook understands."""
    return [cleaned(_composed(cell.source)) for cell in cells if cell.kind == "code"]


def _sources(cells: list[Cell]) -> set[str]:
    """Code as it stands: what was handed in is parsed in the worker's process only."""
    return {_composed(cell.source) for cell in cells if cell.kind == "code"}


def _composed(text: str) -> str:
    """The text without what editors change on their own: how accents and line ends are stored."""
    return unicodedata.normalize("NFC", text).replace("\r\n", "\n").lstrip("\n\ufeff").rstrip()


def title_of(cells: list[Cell]) -> str:
    """The first heading of a notebook, "" where there is none."""
    texts = (cell.source for cell in cells if cell.kind == "markdown")
    found = (HEADING.search(text) for text in texts)
    return next((_composed(match[1].strip()) for match in found if match), "")


def exercises(master: list[Cell]) -> list[Exercise]:
    """The exercises of a course notebook: cells tagged `exercise`, each with its `check` cell."""
    found, heading = [], ""
    for cell, after in zip(master, [*master, Cell("", "")][1:], strict=True):
        if cell.kind == "markdown":
            heading = (HEADING.findall(cell.source) or [heading])[-1]
        if "exercise" in cell.tags:
            names, check = bound(cell.source), after.source if "check" in after.tags else ""
            asked = names & read(check) if check else names
            title = heading.removeprefix("Exercise ").replace("$", "")
            found.append(Exercise(title, tuple(sorted(asked)), check))
    return found


def load_masters(folder: PathLike | None = None) -> dict[str, Master]:
    """The course's notebooks in `folder`, by name; without it, those of the checkout.

    Raises:
        FileNotFoundError: the folder holds no notebook with exercises.
    """
    place = COURSE if folder is None else Path(folder).resolve()
    notebooks = [Master(path, read_cells(path)) for path in sorted(place.glob("*.ipynb"))]
    masters = {master.path.stem: master for master in notebooks if exercises(master.cells)}
    if not masters:
        raise FileNotFoundError(
            f"no course notebook with exercises in {place}: grading needs the originals, so name "
            "their folder, `notebooks` of the course's repository, with --master FOLDER"
        )
    return masters


def which(cells: list[Cell], masters: dict[str, Master]) -> str:
    """The name of the course notebook that `cells` come from: by title, else by cells in common.

    Raises:
        ValueError: there is none.
    """
    titles = {title_of(master.cells): name for name, master in masters.items()}
    if (title := title_of(cells)) in titles:
        return titles[title]
    sources = {name: _sources(master.cells) for name, master in masters.items()}
    everywhere = set.intersection(*sources.values()) if len(sources) > 1 else set()
    handed_in = _sources(cells) - everywhere
    shared = {name: len(handed_in & its) for name, its in sources.items()}
    best = max(shared, key=shared.get)
    if shared[best] == 0:
        raise ValueError("not one of the course's notebooks: its title and its cells are unknown")
    return best
