"""The process that runs one exercise of one submission; started by `box`, never imported by others.

It reads a job (JSON) from standard input, says that it is ready, closes the doors, runs the pieces
of the submission that the exercise needs and the course's check after them, and writes {"passed",
"message"} to what was its standard output. Whatever the submission prints goes nowhere.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import errno
import inspect
import json
import linecache
import math
import os
import sys
import traceback
import unicodedata
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch

from ldmlib.teach.grading import guard
from ldmlib.teach.grading.context import Piece, needed, pieces, until_check
from ldmlib.teach.grading.magics import Shell
from ldmlib.teach.grading.names import read
from ldmlib.teach.grading.notebook import Cell, code, exercises
from ldmlib.teach.grading.walls import BOX_SIZE

READY = b"ready\n"  # said before anything of the submission is looked at
LONGEST_MESSAGE = 600
KEPT = ("ldmlib", "torch", "builtins", "math")  # modules that a submission cannot change for good


class Stopped(Exception):
    """The submission's code stopped before the check; the message says how."""


def main() -> None:
    """Do the job, answer, and leave at once, whatever threads the submission started."""
    job, answers = json.loads(sys.stdin.readline()), _take_output()
    os.write(answers, READY)
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
    master = [Cell(*cell) for cell in job["master"]]
    exercise, known = exercises(master)[job["exercise"]], code(master)
    handed_in = code([Cell(*cell) for cell in job["submission"]])
    notebook, limit = until_check(handed_in, set(known), exercise.check)
    answer = needed(notebook, exercise.names, limit)
    own = needed(pieces(known, set(known)), read(exercise.check) - set(exercise.names))
    checks = run(own, {"get_ipython": Shell})
    before = _attributes()
    guard.close(job["folder"], job["seconds"], job["memory"])
    names = run(answer, namespace(answer), exercise.names)
    _restore(before)
    return judge(exercise.check, checks | {name: _composed(names[name]) for name in exercise.names})


def namespace(answer: Sequence[Piece]) -> dict[str, Any]:
    """What a cell of a notebook finds defined; `from IPython import get_ipython` finds it, too."""
    names: dict[str, Any] = {"__name__": "__main__", "display": _ignore}
    names["get_ipython"] = partial(Shell, names)
    if any("IPython" in piece.source for piece in answer):
        with suppress(ImportError):
            import IPython.core.getipython

            IPython.get_ipython = names["get_ipython"]
            IPython.core.getipython.get_ipython = names["get_ipython"]
    return names


def _ignore(*_: Any, **__: Any) -> None:
    """In place of IPython's `display`: nobody looks."""


def _composed(value: Any) -> Any:
    """The value; a string as one normal form, since keyboards and file systems differ in theirs."""
    return unicodedata.normalize("NFC", value) if type(value) is str else value


def run(sources: list[Piece], names: dict[str, Any], asked: Collection[str] = ()) -> dict[str, Any]:
    """Execute pieces in order in the namespace `names`, which is returned.

    A wild piece may fail: it is run on the chance that it defines something.

    Raises:
        Stopped: another piece raised something or was no Python, or a name that is asked for is
            missing afterwards; the message says where.
    """
    failed = None
    for number, piece in enumerate(sources):
        file = f"<cell {number}>"
        lines = piece.source.splitlines(keepends=True)
        linecache.cache[file] = (len(piece.source), None, lines, file)
        try:
            _execute(piece.source, file, names)
        except BaseException as error:
            stopped = Stopped(f"the notebook stopped before the check with {_said(error)}")
            if not piece.is_wild or not isinstance(error, Exception):
                raise stopped from None
            failed = failed or stopped
    if missing := [name for name in asked if name not in names]:
        raise failed or Stopped(f"nothing in it is called {', '.join(missing)}.")
    return names


def _execute(source: str, file: str, names: dict[str, Any]) -> None:
    """Run Python, which may `await` at its top level as in a notebook."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compiled = compile(source, file, "exec", flags=flags, dont_inherit=True)
    if compiled.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(compiled, names))
    else:
        exec(compiled, names)


def _ended(error: BaseException) -> str:
    return str(error) if isinstance(error, Stopped) else f"the check stopped with {_said(error)}"


def _said(error: BaseException) -> str:
    """An exception in words, with the line of the submission where it arose."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<cell")
    ]
    line = frames[-1].line if frames else getattr(error, "text", None)
    where = f" at the line `{line.strip()}`" if line else ""
    if getattr(error, "errno", None) == errno.ENOSPC:
        where += f" (the grader lets one exercise write {BOX_SIZE / 1e6:.0f} MB)"
    if isinstance(error, EOFError) and "input(" in (line or ""):
        return f"EOFError: nobody answers `input()` while it is graded{where}"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}{': ' * bool(text)}{text}{where}"


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
