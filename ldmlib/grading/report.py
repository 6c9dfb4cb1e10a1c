"""Results for people: a table of one submission, and a file of a class."""

from __future__ import annotations

import csv
import io
import shutil
import textwrap
from collections.abc import Sequence

from ldmlib.files import PathLike, save_bytes
from ldmlib.grading.submission import Result

COLUMNS = ("submission", "notebook", "exercise", "passed", "message")
WORDS = {True: "yes", False: "no", None: "by hand"}


def table(results: Sequence[Result], width: int | None = None) -> str:
    """One submission's results, lines of at most `width` characters (default: the terminal's)."""
    width = width or shutil.get_terminal_size((100, 24)).columns
    first = results[0]
    if not first.exercise:
        return f"{first.submission}: not graded, {first.message}"
    graded = [result for result in results if result.passed is not None]
    passed = sum(result.passed for result in graded)
    head = f"{first.submission} ({first.notebook}): {passed} of {len(graded)} passed"
    rows = [("exercise", "passed", "message")]
    rows += [(result.exercise, WORDS[result.passed], result.message) for result in results]
    left = max(len(row[0]) for row in rows)
    return "\n".join([head, *(_row(row, left, width) for row in rows)])


def _row(row: tuple[str, str, str], left: int, width: int) -> str:
    start = f"  {row[0]:{left}}  {row[1]:7}  "
    room = max(width - len(start), 30)
    lines = textwrap.wrap(row[2], room) or [""]
    return start + ("\n" + " " * len(start)).join(lines)


def save_csv(path: PathLike, results: Sequence[Result]) -> None:
    """Save results of a class, a row for each submission and exercise, atomically."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for r in results:
        writer.writerow((r.submission, r.notebook, r.exercise, WORDS[r.passed], r.message))
    save_bytes(path, text.getvalue().encode())
