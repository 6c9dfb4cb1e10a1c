"""A whole class: one submission after the other, each printed and saved when it is graded."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ldmlib.storage.files import check_writable
from ldmlib.storage.places import PathLike
from ldmlib.teach.grading.box import cover
from ldmlib.teach.grading.notebook import Master, load_masters, read_cells, which
from ldmlib.teach.grading.report import save_csv, show, table
from ldmlib.teach.grading.submission import SECONDS, Result, check_seconds, grade, shown

GAP = (
    "Careful: this system lends no read-only view of its files, so a submission whose code writes "
    "files outside of Python (torch.save, a compiled library) could change yours. Grade on Linux, "
    "in a virtual machine, or under an account that owns nothing."
)


def grade_class(
    files: Sequence[PathLike],
    master: PathLike | None = None,
    seconds: float = SECONDS,
    csv: PathLike | None = None,
) -> list[Result]:
    """Grade notebooks that were handed in: prints a table of each, and returns all results.

    Args:
        files: the notebooks.
        master: the folder of the course's notebooks; without it, that of the checkout.
        seconds: time limit of one exercise.
        csv: a file for the results. It is saved after each submission, and when the run is
            interrupted, so that what is graded is kept.

    Raises:
        ValueError: no time limit, or `csv` is one of the submissions.
        FileNotFoundError: `master` holds no notebook of the course.
        OSError: `csv` cannot be written.
    """
    check_seconds(seconds)
    if csv is not None:
        _check_csv(Path(csv), files)
    masters = load_masters(master)
    show(opening(files, masters))
    if not cover().has_walls:
        print(f"ldm: {GAP}", file=sys.stderr)
    results: list[Result] = []
    failed: OSError | None = None
    for file in files:
        first = len(results)
        try:
            for result in grade(file, masters, seconds):
                results.append(result)
            show(table(results[first:]))
        finally:
            failed = _save(csv, results)
    if failed is not None:
        raise failed
    return results


def _check_csv(csv: Path, files: Sequence[PathLike]) -> None:
    """Refuse a file for the results that is one of the submissions, or cannot be written."""
    same = any(os.path.realpath(csv) == os.path.realpath(file) for file in files)
    if same or csv.suffix.lower() == ".ipynb":
        raise ValueError(
            f"--csv is the file that the results are written to, not a notebook: {shown(str(csv))} "
            "would be overwritten. Write `--csv class.csv`"
        )
    check_writable(csv)


def _save(csv: PathLike | None, results: Sequence[Result]) -> OSError | None:
    """Save what is graded so far; an error is printed and returned, as grading can go on."""
    if csv is None:
        return None
    try:
        save_csv(csv, results)
    except OSError as error:
        show(f"Not saved for now: {error}")
        return error
    return None


def opening(files: Sequence[PathLike], masters: dict[str, Master]) -> str:
    """One line that says what is read: how many files are notebooks of which course."""
    known = [name for file in files if (name := _known(file, masters))]
    first = next(iter(masters.values()))
    return (
        f"{len(files)} {'file' if len(files) == 1 else 'files'} handed in, {len(known)} of them "
        f"recognised as notebooks of the course ({', '.join(sorted(set(known))) or 'none'}); "
        f"{len(masters)} originals in {shown(str(first.path.parent))}"
    )


def _known(file: PathLike, masters: dict[str, Master]) -> str | None:
    """Which notebook of the course a file is; None for none."""
    try:
        return which(read_cells(file), masters)
    except Exception:  # it gets a row that says so
        return None
