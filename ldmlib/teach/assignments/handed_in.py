"""Sheets that come back: read in any encoding, known by student and assignment, then marked."""

from __future__ import annotations

import codecs
import difflib
import json
import re
from pathlib import Path
from typing import Any

from ldmlib.storage.places import PathLike
from ldmlib.teach.assignments.reading import name_key, same_name, tidy, written
from ldmlib.teach.assignments.sheet import Sheet, is_blank, mark

MOST_BYTES = 10 * 2**20
BOMS = {  # the longer ones first: UTF-32's begins like UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
HAND_IN = "hand in the .json sheet, filled in"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def report(sheet: Sheet, path: PathLike) -> list[str]:
    """The lines of a marked sheet: which sheet and file, what was odd, each question, the sum.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no filled-in sheet, or another one than `sheet`.
    """
    content = load_sheet(path)
    check_sheet(sheet, content, path)
    answers, notes = match_answers(sheet, content["answers"])
    filled = sum(not is_blank(answers.get(q.name)) for q in sheet.questions)
    lines = [f"{sheet.line}; {path} answers {filled} of {len(sheet.questions)}"]
    lines += [f"note: {note}" for note in [*doubts(sheet, content), *notes]]
    marked = mark(sheet, answers)
    lines += ["{:>4} {:>3} of {:<3} {}".format(*question) for question in marked]
    return [*lines, f"{sheet.student}: {sum(m.points for m in marked)} of {sheet.points} points"]


def load_answers(path: PathLike) -> dict[str, Any]:
    """The `answers` of a sheet that a student has filled in.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is no such sheet.
    """
    return load_sheet(path)["answers"]


def load_sheet(path: PathLike) -> dict[str, Any]:
    """A filled-in sheet; its `answers` are a dictionary.

    Byte-order marks, UTF-16, UTF-32 and Windows' line ends are read. Values that a student typed
    without quotes (0,61 or 3/4 or b) are read as text.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is no such sheet, or answers one question twice.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: {HAND_IN}")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} is too large for a sheet: {HAND_IN}")
    text = decode(path.read_bytes())
    try:
        content = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a sheet ({error}): {HAND_IN}") from error
    answers = content.get("answers") if isinstance(content, dict) else None
    if not isinstance(answers, dict):
        raise ValueError(f"{path} has no `answers`: {HAND_IN}")
    return content


def decode(data: bytes) -> str:
    """Text from bytes, by byte-order mark, by the zeros of UTF-16, as UTF-8, or as Windows-1252."""
    for bom, encoding in BOMS.items():
        if data.startswith(bom):
            return data.decode(encoding, errors="replace").lstrip("\ufeff")
    if data[1:2] == b"\0":
        return data.decode("utf-16-le", errors="replace")
    if data[:1] == b"\0":
        return data.decode("utf-16-be", errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _parsed(text: str) -> Any:
    """JSON, or JSON after the usual slips of a pen in the lines of the answers."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError:
        lines = [_mended(line) for line in text.splitlines()]
        mended = re.sub(r",(\s*[}\]])", r"\1", "\n".join(lines))  # a comma behind the last one
        try:
            return json.loads(mended, object_pairs_hook=_once)
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}: {lines[error.lineno - 1].strip()[:60]}" if lines else ""
            raise ValueError(f"{error.msg} at {where}" if where else "it is empty") from None


def _mended(line: str) -> str:
    """A line `"1a": 0,61,` with its value in quotes; other lines as they are."""
    straight = line.translate(dict.fromkeys(map(ord, "\u201c\u201d\u201e\u00ab\u00bb"), '"'))
    found = re.fullmatch(r'(\s*"[^"]{1,20}"\s*:\s*)([^"{}\[\]]+?)(\s*,?\s*)', straight)
    if found:
        try:
            json.loads(found[2])
        except ValueError:
            return f"{found[1]}{json.dumps(found[2])}{found[3]}"
        return straight
    return straight if re.fullmatch(r'\s*"[^"]*"\s*:\s*"[^"]*"\s*,?\s*', straight) else line


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dictionary; a name that stands there twice is an error, as one of the two would be lost."""
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _TwiceError(f"{', '.join(map(written, twice))} stands there twice: keep one of them")
    return dict(pairs)


class _TwiceError(ValueError):
    """A name that stands in a sheet twice."""


def check_sheet(sheet: Sheet, content: dict[str, Any], path: PathLike) -> None:
    """Is the file this very sheet, as far as it says so itself?

    Raises:
        ValueError: it is that of another student, assignment or secret.
    """
    name, student, stamp = (content.get(key) for key in ("assignment", "student", "sheet"))
    if name is not None and name_key(str(name)) != name_key(sheet.name):
        raise ValueError(
            f"{path} is a sheet of assignment {written(name)}, not of {sheet.name!r}: mark it as "
            "that one"
        )
    if student is not None and not same_name(str(student), sheet.student):
        raise ValueError(
            f"{path} is the sheet of {written(tidy(str(student)))}, not of {sheet.student!r}: mark "
            "it with that name, because each student has numbers of their own"
        )
    known = stamp is not None and bool(sheet.stamp)
    other = [] if known and stamp == sheet.stamp else _other_numbers(sheet, content)
    if (known and stamp != sheet.stamp) or other:
        which = f" (other numbers in question {other[0]})" if other else ""
        raise ValueError(
            f"{path} was made with another --secret or another version of ldmlib{which}: give the "
            "secret that the sheet was made with"
        )


def _other_numbers(sheet: Sheet, content: dict[str, Any]) -> list[str]:
    """The questions whose numbers in the file are not those of the sheet."""
    texts, own = content.get("questions"), sheet.content()["questions"]
    if not isinstance(texts, dict):
        return []
    return [
        name
        for name, text in own.items()
        if isinstance(texts.get(name), str) and NUMBER.findall(texts[name]) != NUMBER.findall(text)
    ]


def doubts(sheet: Sheet, content: dict[str, Any]) -> list[str]:
    """What cannot be known of a file, or is odd about it."""
    found = []
    if content.get("assignment") is None:
        found.append(f"the file does not say of which assignment it is; taken for {sheet.name!r}")
    if content.get("student") is None:
        found.append(f"the file does not say whose it is; taken for {sheet.student!r}")
    if content.get("sheet") is None:
        found.append("the file does not say with which --secret it was made")
    if "key" in content:
        found.append("the file is the key itself, with the answers filled in by `--key`")
    return found


def match_answers(sheet: Sheet, answers: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Answers by the names of the questions, and notes on names that are missing or unknown."""
    names = [question.name for question in sheet.questions]
    found = {name: value for name, value in answers.items() if name in names}
    notes = []
    for name, value in answers.items():
        if name in names:
            continue
        plain = re.sub(r"^(question|q)(?=[ .\d])[ .]*", "", name_key(name).strip(" ().:"))
        same = [one for one in names if name_key(one) == plain and is_blank(found.get(one))]
        if len(same) == 1:
            found[same[0]] = value
            notes.append(f"the answer to {written(name)} was taken for {same[0]}")
        else:
            close = difflib.get_close_matches(plain, names, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            notes.append(f"there is no question {written(name)}, its answer does not count{hint}")
    missing = [name for name in names if name not in found]
    if missing:
        notes.append(f"the file has no place for the answer to {', '.join(missing)}")
    return found, notes
