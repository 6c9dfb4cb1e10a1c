"""The process that runs one exercise of one submission; started by `box`, never imported by others.

It reads a job (JSON) from standard input, closes the doors, runs the pieces of the submission that
the exercise needs and the course's check after them, and writes {"passed", "message"} to what was
its standard output. Whatever the submission prints goes nowhere.
"""

from __future__ import annotations

import ast
import builtins
import json
import linecache
import math
import os
import sys
import traceback
from typing import Any

import torch

from ldmlib.grading import guard
from ldmlib.grading.context import needed, pieces, read
from ldmlib.grading.notebook import code, exercises, read_cells

LONGEST_MESSAGE = 600
KEPT = ("ldmlib", "torch", "builtins", "math")  # modules that a submission cannot change for good


class Stopped(Exception):
    """The submission's code stopped before the check; the message says how."""


def main() -> None:
    """Do the job, answer, and leave at once, whatever threads the submission started."""
    job, answers = json.loads(sys.stdin.readline()), _take_output()
    try:
        answer = grade(job)
    except BaseException as error:  # the submission's own exit, too
        answer = {"passed": False, "message": _ended(error)}
    answer["message"] = " ".join(str(answer["message"]).split())[:LONGEST_MESSAGE]
    os.write(answers, json.dumps(answer | {"token": job["token"]}).encode())
    os._exit(0)


def _take_output() -> int:
    """Keep standard output for the answer, and send what is printed from now on nowhere."""
    answers, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    return answers


def grade(job: dict[str, Any]) -> dict[str, Any]:
    """Run one exercise: {"passed": bool, "message": what the check said}."""
    master = read_cells(job["master"])
    exercise = exercises(master)[job["exercise"]]
    handed_in = pieces(code(read_cells(job["submission"])), known=set(code(master)))
    answer = needed(handed_in, exercise.names)
    missing = set(exercise.names) - {name for piece in answer for name in piece.binds}
    if missing:
        return {"passed": False, "message": f"nothing in it is called {', '.join(missing)}."}
    own = needed(
        pieces(code(master), set(code(master))), read(exercise.check) - set(exercise.names)
    )
    checks = run([piece.source for piece in own], {})
    before = _attributes()
    guard.close(job["folder"], job["seconds"], job["memory"])
    names = run([piece.source for piece in answer], {"__name__": "__main__", "display": _ignore})
    _restore(before)
    return judge(exercise.check, checks | {name: names.get(name) for name in exercise.names})


def _ignore(*_: Any, **__: Any) -> None:
    """In place of IPython's `display`: nobody looks."""


def run(sources: list[str], names: dict[str, Any]) -> dict[str, Any]:
    """Execute sources in order in the namespace `names`, which is returned.

    Raises:
        Stopped: one of them raised something, or was no Python; the message says where.
    """
    for number, source in enumerate(sources):
        file = f"<cell {number}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        try:
            exec(compile(source, file, "exec", dont_inherit=True), names)
        except BaseException as error:
            raise Stopped(f"the notebook stopped before the check with {_said(error)}") from None
    return names


def _ended(error: BaseException) -> str:
    return str(error) if isinstance(error, Stopped) else f"the check stopped with {_said(error)}"


def _said(error: BaseException) -> str:
    """An exception in words, with the line of the submission where it arose."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<cell")
    ]
    line = frames[-1].line if frames else getattr(error, "text", None)
    where = f" at the line `{line.strip()}`" if line else ""
    return f"{type(error).__name__}: {error}{where}"


def judge(check: str, names: dict[str, Any]) -> dict[str, Any]:
    """Evaluate the check cell's statements; passed if all of its verdicts are true."""
    verdicts = []
    for statement in ast.parse(check).body:
        if isinstance(statement, ast.Expr):
            verdicts.append(
                eval(compile(ast.Expression(statement.value), "<check>", "eval"), names)
            )
        else:
            exec(compile(ast.Module([statement], []), "<check>", "exec"), names)
    wrong = [verdict for verdict in verdicts if not verdict]
    shown = wrong[:1] or verdicts
    return {"passed": not wrong, "message": " ".join(getattr(v, "said", str(v)) for v in shown)}


# --------------------------------------------------------------------------- what must not change
def _attributes() -> list[tuple[Any, dict[str, Any]]]:
    """The kept modules and the library's classes, each with its attributes."""
    modules = [m for name, m in list(sys.modules.items()) if name.split(".")[0] in KEPT]
    own = [value for m in modules if m.__name__.startswith("ldmlib") for value in vars(m).values()]
    owners = [builtins, math, torch, *modules, *(value for value in own if isinstance(value, type))]
    return [(owner, dict(vars(owner))) for owner in owners]


def _restore(before: list[tuple[Any, dict[str, Any]]]) -> None:
    """Undo what a submission assigned to attributes of these owners."""
    for owner, attributes in before:
        now = vars(owner)
        for name, value in attributes.items():
            if now.get(name) is not value:
                setattr(owner, name, value)


if __name__ == "__main__":
    main()
