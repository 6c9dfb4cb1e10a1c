"""From a file that was handed in to results."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from ldmlib.storage.places import PathLike
from ldmlib.teach.grading.box import ask
from ldmlib.teach.grading.notebook import Cell, Master, exercises, read_cells, which

SECONDS = 60.0  # for one exercise
MOST_SECONDS = 86_400.0
BY_HAND = "there is no check: to be read by the teacher."


@dataclass(frozen=True)
class Result:
    """One exercise of one submission. `passed` is None where no check decides.

    A file that cannot be graded has one result, with an empty `exercise` and `passed` False.
    """

    submission: str
    notebook: str
    exercise: str
    passed: bool | None
    message: str


def check_seconds(seconds: float) -> None:
    """Raise a ValueError unless `seconds` can be a time limit."""
    if not (math.isfinite(seconds) and 0 < seconds <= MOST_SECONDS):
        raise ValueError(
            f"--timeout is a number of seconds above 0 and at most {MOST_SECONDS:.0f} (a day), "
            f"such as 60, not {seconds:g}"
        )


def grade(path: PathLike, masters: dict[str, Master], seconds: float = SECONDS) -> Iterator[Result]:
    """Results of one submission, exercise by exercise, as they come.

    Whatever is wrong with this submission becomes a result, never an error.

    Args:
        path: the notebook that was handed in; it is never changed, whatever is in it.
        masters: the course's notebooks, from `load_masters`.
        seconds: time limit of one exercise, the start of Python included.

    Raises:
        ValueError: `seconds` is no time limit.
    """
    check_seconds(seconds)
    name = shown(str(path))
    try:
        cells = read_cells(path)
        notebook = which(cells, masters)
    except Exception as error:
        yield Result(name, "", "", False, printable(_said(error)))
        return
    handed_in, master = _plain(cells), masters[notebook]
    for number, exercise in enumerate(exercises(master.cells)):
        passed, said = None, BY_HAND
        if exercise.check:
            job = {"submission": handed_in, "master": _plain(master.cells), "exercise": number}
            try:
                answer = ask(job, Path(path), seconds)
            except Exception as error:  # a full disk, no more processes: the next one may go well
                answer = {"passed": None, "message": f"not graded: {_said(error)}"}
            passed, said = answer["passed"], str(answer["message"])
            passed = passed if passed is None else bool(passed)
        yield Result(name, notebook, exercise.title, passed, printable(said))


def _plain(cells: list[Cell]) -> list[tuple[str, str, list[str]]]:
    """Cells as JSON takes them."""
    return [(kind, source, sorted(tags)) for kind, source, tags in map(astuple, cells)]


def _said(error: Exception) -> str:
    """An error in words: Python's own are named, since their texts alone say little."""
    text = str(error)
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"


def printable(text: str) -> str:
    """The text on one line, without characters that would steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shown(name: str) -> str:
    """A file's name on one line: what would steer a terminal is written as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
