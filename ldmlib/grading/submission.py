"""From a file that was handed in to results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ldmlib.files import PathLike
from ldmlib.grading.box import ask
from ldmlib.grading.notebook import Master, exercises, read_cells, which

SECONDS = 60.0  # for one exercise
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


def grade(path: PathLike, masters: dict[str, Master], seconds: float = SECONDS) -> Iterator[Result]:
    """Results of one submission, exercise by exercise, as they come.

    Args:
        path: the notebook that was handed in; it is never changed, whatever is in it.
        masters: the course's notebooks, from `load_masters`.
        seconds: time limit of one exercise, the start of Python included.
    """
    name = str(path)
    try:
        notebook = which(read_cells(path), masters)
    except (OSError, ValueError) as error:
        yield Result(name, "", "", False, printable(str(error)))
        return
    master = masters[notebook]
    for number, exercise in enumerate(exercises(master.cells)):
        passed, said = None, BY_HAND
        if exercise.check:
            job = {"submission": name, "master": str(master.path), "exercise": number}
            answer = ask(job, seconds)
            passed, said = bool(answer["passed"]), str(answer["message"])
        yield Result(name, notebook, exercise.title, passed, printable(said))


def printable(text: str) -> str:
    """The text on one line, without characters that would steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
