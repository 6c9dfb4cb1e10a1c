"""Which cells of a submission are run: those that gave the answer its value when it was checked."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from ldmlib.teach.grading import magics, names, worker
from ldmlib.teach.grading.context import needed, until_check

BROKEN = "undefined_name + 1"


@pytest.fixture(autouse=True)
def _own_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the worker puts in place of IPython's shell is taken away again after each test."""
    import IPython.core.getipython

    for module in (IPython, IPython.core.getipython):
        monkeypatch.setattr(module, "get_ipython", module.get_ipython)


GLOBAL = "def set_it():\n    global d\n    d = 4"

# Cells in order; together they make `d` equal to 4 when `check.d(d)` is evaluated.
WAYS = {
    "in place": ["d = {}", "d['a'] = 4", "d = d['a']"],
    "in place last": ["d = [0]", "d[0] = 4", "check.d(d[0])", "d = d[0]"],
    "method": ["e = []", "e.append(4)", "d = e[-1]"],
    "alias": ["e = []", "f = e", "e.append(4)", "d = f[0]"],
    "in place in a loop": ["e = {}", "for k in range(2):\n    e[k] = 2 * k + 2", "d = e[1]"],
    "by PyTorch": ["import torch\nt = torch.ones(1)", "torch.nn.init.constant_(t, 4)",
                   "d = int(t)"],
    "setattr": ["class A: pass", "setattr(A, 'x', 4)", "d = A.x"],
    "attribute": ["class A: pass", "a = A()\na.x = 4", "d = a.x"],
    "attribute of a function": ["def f():\n    return f.k", "f.k = 4", "d = f()"],
    "method put in": ["class N: pass", "def forward(self):\n    return 4",
                      "N.forward = forward", "d = N().forward()"],
    "augmented": ["d = 1", "d += 3"],
    "maybe": ["d = 4", "if False:\n    d = 2"],
    "global": [GLOBAL, "set_it()"],
    "global in one cell": [f"{GLOBAL}\nset_it()"],
    "global by way of another": [GLOBAL, "def again():\n    set_it()", "again()"],
    "filled by a function": ["e = {}", "def fill():\n    e['a'] = 4", "fill()", "d = e['a']"],
    "star": ["from math import *", "d = int(sqrt(16))"],
    "star hides a builtin": ["from math import *", "d = 4 * isinstance(pow(2, 2), float)"],
    "star that fails": [f"from math import *\n{BROKEN}", "d = len('four')"],
    "globals": ["globals()['d'] = 4"],
    "exec": ["exec('d = 4')"],
    "scratch below": ["d = 4", "check.d(d)", "d = 3"],
    "scratch below in the cell": ["d = 4\ncheck.d(d)\nd = 3"],
    "check changed": ["d = 4", "assert check.d(d), 'no'", "d = 3"],
    "answer below the check": ["check.d(d)", "d = 4"],
    "check twice": ["d = 3", "check.d(d)", "d = 4", "check.d(d)", "d = 5"],
    "no check": ["d = 3", "d = 4"],
    "first try broken": [f"def d():\n    return 3\n{BROKEN}", "def f():\n    return 4", "d = f()"],
    "first try of the function": [f"def f():\n    return 3\nf()\n{BROKEN}",
                                  "def f():\n    return 4\nf()", "d = f()"],
    "helper changed later": ["k = 4", "def f():\n    return k", "d = f()", "k = 5"],
    "helper changed before": ["k = 3", "def f():\n    return k", "k = 4", "d = f()"],
    "helper below": ["def f():\n    return g()", "def g():\n    return 4", "d = f()"],
    "default": ["k = 4\ndef f(x=k):\n    return x", "k = 5", "d = f()"],
    "decorator": ["def twice(g):\n    return lambda: 2 * g()", "@twice\ndef f():\n    return 2",
                  "d = f()"],
    "data class": ["from dataclasses import dataclass", "@dataclass\nclass A:\n    x: int = 4",
                   "d = A().x"],
    "walrus": ["print(d := 4)"],
    "type hint": ["d: int = 4"],
    "unpacked": ["a, (b, *c) = 1, (2, 4)", "d = c[0]"],
    "with": ["import contextlib", "with contextlib.nullcontext(4) as d:\n    pass"],
    "try": ["try:\n    d = 1 / 0\nexcept ZeroDivisionError:\n    d = 4"],
    "match": ["match 3:\n    case 3:\n        d = 4"],
    "deleted": ["d = 3", "del d", "d = 4"],
    "ligature": ["\ufb01 = 4", "d = fi"],
    "await": ["async def f():\n    return 4", "d = await f()"],
    "async": ["async def g():\n    yield 4", "d = [i async for i in g()][0]"],
    "time": ["%%time\nd = 4"],
    "capture": ["%%capture out\nd = 4", f"%%bash\n{BROKEN}"],
    "time of a line": ["x = 1\n%time d = 4"],
    "help": ["d = 4\nprint?"],
    "shell": ["files = !ls", "!rm -rf ~", "d = 4 + len(files)"],
    "shell by import": ["from IPython import get_ipython\n"
                        "get_ipython().run_line_magic('pylab', 'inline')\nd = 4"],
    "shell object": ["get_ipython().system('ls')\nd = 4\nget_ipython().user_ns['d'] = 4"],
    "file of a cell": ["%%writefile four.py\ndef f():\n    return 4", "from four import f",
                       "d = f()"],
    "file that is run": ["%%writefile five.py\nk = 4", "%run five.py", "d = k"],
}  # fmt: skip


@pytest.mark.parametrize("cells", WAYS.values(), ids=WAYS)
def test_an_answer_is_what_the_check_saw(cells, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    cells = [magics.cleaned(cell) for cell in [*cells, BROKEN]]
    known = {"check.d(d)"}
    notebook, limit = until_check(cells, known, "check.d(d)")
    answer = needed(notebook, ["d"], limit)
    found = worker.namespace(answer)
    found["check"] = MagicMock()
    assert worker.run(answer, found, ["d"])["d"] == 4


def test_the_courses_own_stub_gives_way_to_an_answer_below_the_check() -> None:
    cells = ["d = ...", "check.d(d)", "d = 4", "check.other(d)"]
    notebook, limit = until_check(cells, {"d = ...", "check.d(d)"}, "check.d(d)")
    assert [piece.source for piece in needed(notebook, ["d"], limit)] == ["d = 4"]
    notebook, limit = until_check(cells, set(cells), "check.d(d)")
    assert [piece.source for piece in needed(notebook, ["d"], limit)] == ["d = ..."]


def test_the_courses_own_training_is_not_run_for_what_it_changes() -> None:
    cells = ["model = build()", "model.fit(data)", "train(model)", "d = model"]
    notebook, limit = until_check(cells, set(cells), "check.d(d)")
    wanted = ["model = build()", "d = model"]
    assert [piece.source for piece in needed(notebook, ["d"], limit)] == wanted


def test_what_is_missing_is_named_with_the_reason() -> None:
    piece = until_check(["from nowhere import *"], set(), "check.d(d)")[0]
    with pytest.raises(worker.Stopped, match="No module named 'nowhere'"):
        worker.run(needed(piece, ["d"]), {}, ["d"])
    with pytest.raises(worker.Stopped, match="nothing in it is called d, e"):
        worker.run([], {}, ["d", "e"])


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("a[0] = b[1]", "a"),
        ("a.b.c['x'] += 1", "a"),
        ("del a[0]", "a"),
        ("a.b.append(c)", "a"),
        ("x = a.pop()", ""),
        ("print(a)", ""),
        ("def f():\n    a[0] = 1", ""),
        ("with t.no_grad():\n    w.data[0] = 1", "w"),
        ("random.shuffle(a)", "a random"),
    ],
)
def test_changes_in_place_are_seen(source: str, changes: str) -> None:
    assert names.changed(source) == set(changes.split())
