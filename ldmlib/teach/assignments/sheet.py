"""What a sheet of questions is: numbers drawn from a name, questions with answers, marks."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from ldmlib.storage.files import save_bytes, save_json
from ldmlib.storage.places import PathLike
from ldmlib.teach.assignments.reading import name_key, read_number, read_word, written

T = TypeVar("T")
RELATIVE, ABSOLUTE = 0.01, 0.005  # how far an answer may be off: rounding is forgiven
UNREAD = "cannot be read as a number: look at it yourself"


class Draw:
    """Numbers that follow from words: the same words give the same numbers on every machine.

    Attributes:
        seed: a whole number for generators that want one.
        stamp: eight characters by which a sheet made from the same words is known.
    """

    def __init__(self, *words: str) -> None:
        digest = hashlib.sha256("\n".join(words).encode()).digest()
        self.seed = int.from_bytes(digest[:6], "big")
        self.stamp = hashlib.sha256("\n".join(("sheet", *words)).encode()).hexdigest()[:8]
        self._random = random.Random(self.seed)

    def number(self, low: float, high: float, decimals: int = 1) -> float:
        """A number in [low, high], rounded, so that what is printed is what is meant."""
        return round(low + (high - low) * self._random.random(), decimals) + 0.0  # never -0.0

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def one_of(self, things: Sequence[T]) -> T:
        """One of some things."""
        return things[self.whole(0, len(things) - 1)]

    def shuffled(self, things: Sequence[T]) -> list[T]:
        """All of them, in some order."""
        return [thing for _, _, thing in sorted((self._random.random(), i, thing)
                                                for i, thing in enumerate(things))]  # fmt: skip


@dataclass(frozen=True)
class Question:
    """One question.

    Args:
        name: "1a", "7".
        text: what is asked, with the numbers of this student.
        points: for the right answer.
        answer: a number, a word, or None where a person marks it by the rubric.
        key: the way to the answer, for the teacher.
        exact: whole numbers must be hit; others may be off by one in a hundred.
    """

    name: str
    text: str
    points: int
    answer: float | str | None
    key: str
    exact: bool = False

    @property
    def worth(self) -> str:
        """ "(2 points)"."""
        return f"({self.points} point{'s' * (self.points != 1)})"

    def right(self, value: Any) -> bool:
        """Whether `value` is the answer; what cannot be read as one is not."""
        if isinstance(self.answer, str):
            return read_word(value) == name_key(self.answer)
        number = read_number(value).value
        if number is None or self.answer is None:
            return False
        off = abs(number - float(self.answer))
        return off <= (1e-6 if self.exact else max(ABSOLUTE, RELATIVE * abs(self.answer)))


@dataclass(frozen=True)
class Sheet:
    """The questions of one student.

    Args:
        name: "1", "2" or "exam".
        data: numbers that the questions speak of.
        pictures: uint8 (n, 1, H, W) for each name; saved beside the sheet, in one .npz file.
        stamp: follows from assignment, student and secret, see `Draw`.
    """

    name: str
    title: str
    student: str
    questions: tuple[Question, ...]
    data: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    stamp: str = ""

    @property
    def line(self) -> str:
        """Which sheet this is, in one line."""
        what = "exam" if self.name == "exam" else f"assignment {self.name}"
        whose = f"{what[0].upper()}{what[1:]} for {self.student}"
        return f"{whose}: {len(self.questions)} questions, {self.points} points"

    @property
    def points(self) -> int:
        """The most that can be had."""
        return sum(question.points for question in self.questions)

    def content(self, key: bool = False) -> dict[str, Any]:
        """The sheet as a dictionary; with `key`, the answers are filled in."""
        answers = {q.name: q.answer if key else None for q in self.questions}
        texts = {q.name: f"{q.worth} {q.text}" for q in self.questions}
        ways = {"key": {q.name: q.key for q in self.questions}} if key else {}
        head = {"assignment": self.name, "title": self.title, "student": self.student}
        head |= {"sheet": self.stamp} if self.stamp else {}
        return head | {"questions": texts, "data": dict(self.data), "answers": answers} | ways

    def markdown(self, key: bool = False) -> str:
        """The sheet to print; with `key`, each question is followed by its answer."""
        lines = [f"# {self.title}", "", f"Name: **{self.student}**. Points: {self.points}.", ""]
        for question in self.questions:
            lines += [f"**{question.name}** {question.worth} {question.text}", ""]
            if key:
                lines += [f"> {shown(question.answer)} {question.key}", ""]
        if self.data and not key:
            lines += [
                "## Numbers",
                "",
                *(f"- `{name}` = {value}" for name, value in self.data.items()),
            ]
        return "\n".join(lines).rstrip() + "\n"


def shown(answer: float | str | None) -> str:
    """An answer for a page: four digits of a number, a word, or that a person marks it."""
    if answer is None:
        return "*Marked by the rubric.*"
    return f"**{answer}**" if isinstance(answer, (str, int)) else f"**{answer:.4g}**"


def save(sheet: Sheet, path: PathLike, key: bool = False) -> list[Path]:
    """Write a sheet as .json (to be filled in) or .md (to be printed); returns what was written.

    Pictures go into an .npz file of the same name: one uint8 array (n, H, W) for each set.

    Raises:
        ValueError: another ending.
        FileExistsError: there is a sheet that somebody has filled in.
    """
    path = Path(path)
    if path.suffix not in (".json", ".md"):
        raise ValueError(f"--out must end in .json or .md, not {path.name!r}")
    if path.suffix == ".json":
        _check_unanswered(path)
        save_json(path, sheet.content(key))
    else:
        save_bytes(path, sheet.markdown(key).encode())
    if not sheet.pictures or key:
        return [path]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: x[:, 0].numpy() for name, x in sheet.pictures.items()})
    save_bytes(path.with_suffix(".npz"), buffer.getvalue())
    return [path, path.with_suffix(".npz")]


def _check_unanswered(path: Path) -> None:
    """Refuse to write over the answers of a student; a key, or anything else, is written anew."""
    try:
        content = json.loads(path.read_bytes())
        answers = {} if "key" in content else content["answers"]
        filled = [name for name, value in answers.items() if not is_blank(value)]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return
    if filled:
        raise FileExistsError(
            f"{path} has answers in it ({', '.join(filled[:3])}{', ...' * (len(filled) > 3)}), "
            "which would be lost: name another file with --out, or move this one first"
        )


# --------------------------------------------------------------------------- marks
class Marked(NamedTuple):
    """Points for one question, and why."""

    name: str
    points: int
    most: int
    said: str


def mark(sheet: Sheet, answers: Mapping[str, Any]) -> list[Marked]:
    """Points for each question; those for a person to mark get none here."""
    return [_mark(question, answers.get(question.name)) for question in sheet.questions]


def _mark(question: Question, value: Any) -> Marked:
    if question.answer is None:
        return Marked(question.name, 0, question.points, "to be marked by the rubric")
    if is_blank(value):
        return Marked(question.name, 0, question.points, "no answer")
    words, right = _reading(question, value), question.right(value)
    if right:
        said = f"right: {words}" if words != written(value) else "right"
        return Marked(question.name, question.points, question.points, said)
    said = words if words.endswith(UNREAD) else f"{words} is not right"
    return Marked(question.name, 0, question.points, said)


def _reading(question: Question, value: Any) -> str:
    """What was handed in and, where that is not the same, as what it was read."""
    if isinstance(question.answer, str):
        word = read_word(value)
        verbatim = isinstance(value, str) and value.strip().casefold() == word
        return str(value).strip() if verbatim else f"{written(value)} (read as {written(word)})"
    number, said = read_number(value)
    if number is None:
        return f"{written(value)} {UNREAD}"
    return f"{written(value)} ({said})" if said else written(value)


def is_blank(value: Any) -> bool:
    """Nothing was filled in: null, an empty text, or the dots of a stub."""
    return value is None or (isinstance(value, str) and value.strip(" .\u2026?-_") == "")
