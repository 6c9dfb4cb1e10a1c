"""``ldm assignment`` and ``ldm grade``, for teachers."""

from __future__ import annotations

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
    from ldmlib import assignments

    sheet = assignments.make(name, student, secret)
    if mark is not None:
        marked = assignments.mark(sheet, assignments.load_answers(mark))
        for question in marked:
            print("{:>4} {:>3} of {:<3} {}".format(*question))
        print(f"{sheet.student}: {sum(m.points for m in marked)} of {sheet.points} points")
    elif out is not None:
        print(" and ".join(map(str, assignments.save(sheet, out, key))))
    else:
        print(sheet.markdown(key), end="")


@app.command()
def grade(
    files: Annotated[list[Path], typer.Argument(help="notebooks that were handed in")],
    csv: Annotated[Path | None, typer.Option(help="FILE.csv for the whole class")] = None,
    timeout: Annotated[float, typer.Option(help="seconds that one exercise may take")] = 60,
    master: Annotated[Path | None, typer.Option(help="folder of the course's notebooks")] = None,
) -> None:
    """Run the exercises of notebooks that were handed in, and say which are passed."""
    from ldmlib import grading

    if timeout <= 0:
        raise ValueError(f"--timeout is a number of seconds above 0, not {timeout:g}")
    results, masters = [], grading.load_masters(master)
    for file in files:
        of_this = list(grading.grade(file, masters, timeout))
        results += of_this
        print(grading.table(of_this), flush=True)
        if csv is not None:  # after each one, so that what is graded is kept
            grading.save_csv(csv, results)
