"""Notebooks as lists of cells, and the exercises of a course notebook.

Only JSON is read, and nothing is believed: whatever was handed in becomes cells or a `ValueError`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ldmlib.files import PathLike
from ldmlib.grading.context import bound, cleaned, read

LARGEST_FILE = 50_000_000  # bytes; outputs full of pictures take a few million
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
COURSE = Path(__file__).resolve().parents[2] / "notebooks"


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
    """The cells of a notebook file.

    Raises:
        ValueError: it is missing, too large, or not a notebook; the message says which.
    """
    path = Path(path)
    if not path.is_file():
        kind = "a folder, name the notebooks in it" if path.is_dir() else "not there"
        raise ValueError(f"expected a notebook, but {path.name} is {kind}")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(f"{path.name} has {size / 1e6:.0f} MB: clear its outputs, save it again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [_cell(cell) for cell in content["cells"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        kind = type(error).__name__
        raise ValueError(f"{path.name} is not a notebook ({kind}): save it as .ipynb") from error


def _cell(cell: dict) -> Cell:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    tags = cell.get("metadata", {}).get("tags", [])
    return Cell(str(cell["cell_type"]), text, frozenset(map(str, tags)))


def code(cells: list[Cell]) -> list[str]:
    """Sources of the code cells, as Python: without the lines that only a notebook understands."""
    return [cleaned(cell.source) for cell in cells if cell.kind == "code"]


def _sources(cells: list[Cell]) -> set[str]:
    """Code as it stands: what was handed in is parsed in the worker's process only."""
    return {cell.source for cell in cells if cell.kind == "code"}


def title_of(cells: list[Cell]) -> str:
    """The first heading of a notebook, "" where there is none."""
    texts = (cell.source for cell in cells if cell.kind == "markdown")
    found = (HEADING.search(text) for text in texts)
    return next((match[1].strip() for match in found if match), "")


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
