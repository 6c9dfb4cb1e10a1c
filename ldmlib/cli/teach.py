"""``ldm assignment`` and ``ldm grade``, for teachers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ldmlib.cli.app import app


@app.command()
def assignment(
    name: Annotated[str, typer.Argument(help="1, 2 or exam")],
    student: Annotated[str, typer.Option(help="name or number: the numbers follow from it")],
    out: Annotated[Path | None, typer.Option(help="FILE.json or FILE.md")] = None,
    key: Annotated[bool, typer.Option("--key", help="with the answers, for the teacher")] = False,
    secret: Annotated[str, typer.Option(help="a word of the teacher's that goes in, too")] = "",
    mark: Annotated[Path | None, typer.Option(help="a filled-in sheet, to be marked")] = None,
) -> None:
    """Write a student's own assignment or exam, its key, or the points of what came back."""
    from ldmlib.teach import assignments

    if mark is not None and (out is not None or key):
        raise ValueError(
            "--mark prints the points of a filled-in sheet, so it goes without --out and --key"
        )
    sheet = assignments.make(name, student, secret)
    if mark is not None:
        print("\n".join(assignments.report(sheet, mark)))
    elif out is not None:
        saved = assignments.save(sheet, out, key)
        print(f"{sheet.line}\n{' and '.join(map(str, saved))}")
    else:
        print(sheet.line, file=sys.stderr)  # what is printed can be kept as a file
        print(sheet.markdown(key), end="")


@app.command()
def grade(
    files: Annotated[list[Path], typer.Argument(help="notebooks that were handed in")],
    csv: Annotated[Path | None, typer.Option(help="FILE.csv for the whole class")] = None,
    timeout: Annotated[float, typer.Option(help="seconds that one exercise may take")] = 60,
    master: Annotated[Path | None, typer.Option(help="folder of the course's notebooks")] = None,
) -> None:
    """Run the exercises of notebooks that were handed in, and say which are passed."""
    from ldmlib.teach import grading

    grading.grade_class(files, master, timeout, csv)
