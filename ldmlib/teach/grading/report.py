"""Results for people: a table of one submission, and a file of a class."""

from __future__ import annotations

import csv
import io
import shutil
import sys
import textwrap
from collections.abc import Sequence

from ldmlib.storage.files import save_bytes
from ldmlib.storage.places import PathLike
from ldmlib.teach.grading.submission import Result, printable, shown

COLUMNS = ("submission", "notebook", "exercise", "passed", "message")
WORDS = {True: "yes", False: "no", None: "by hand"}
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and wide ones


def table(results: Sequence[Result], width: int | None = None) -> str:
    """One submission's results, lines of at most `width` characters (default: the terminal's)."""
    width = width or shutil.get_terminal_size((100, 24)).columns
    first = results[0]
    name = shown(first.submission)
    if not first.exercise:
        return f"{name}: not graded, {printable(first.message)}"
    graded = [result for result in results if result.passed is not None]
    passed = sum(result.passed for result in graded)
    head = f"{name} ({first.notebook}): {passed} of {len(graded)} passed"
    rows = [("exercise", "passed", "message")]
    rows += [(r.exercise, WORDS[r.passed], printable(r.message)) for r in results]
    left = max(len(row[0]) for row in rows)
    return "\n".join([head, *(_row(row, left, width) for row in rows)])


def _row(row: tuple[str, str, str], left: int, width: int) -> str:
    start = f"  {row[0]:{left}}  {row[1]:7}  "
    room = max(width - len(start), 30)
    lines = textwrap.wrap(row[2], room) or [""]
    return start + ("\n" + " " * len(start)).join(lines)


def show(text: str) -> None:
    """Print, whatever the terminal can write: characters that it does not know become escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def save_csv(path: PathLike, results: Sequence[Result]) -> None:
    """Save results of a class, a row for each submission and exercise, atomically.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for r in results:
        row = (shown(r.submission), r.notebook, r.exercise, WORDS[r.passed], printable(r.message))
        writer.writerow([f"'{cell}" if cell.startswith(FORMULA) else cell for cell in row])
    known = "utf-8" if text.getvalue().isascii() else "utf-8-sig"  # Excel asks for the mark
    save_bytes(path, text.getvalue().encode(known, "backslashreplace"))
