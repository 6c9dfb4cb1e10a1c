"""Grading: right answers pass, wrong ones are named, and no submission harms but itself."""

from __future__ import annotations

import ast
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import classroom
import notebooks as tool
from ldmlib.check import core, start
from ldmlib.data import mnist
from ldmlib.images import from_uint8
from ldmlib.teach import grading
from ldmlib.teach.grading import box, context, magics, names, worker
from ldmlib.teach.grading.notebook import COURSE, Cell, exercises, read_cells, which
from ldmlib.teach.grading.submission import BY_HAND, printable

TWINS = sorted(path.stem for path in (tool.NOTEBOOKS / "py").glob("*.py"))
TITLE, IMPORT = "# 99 · A small course", "from ldmlib.check import forward as check"
STUB = "def variance(alpha, sigma, v):\n    return ..."
RIGHT = "def variance(alpha, sigma, v):\n    return alpha**2 * v + sigma**2"
CHECK = "check.variance(variance)"
SECONDS = 120  # a busy machine takes its time to start Python


def notebook(answer: str, *more: str, title: str = TITLE, master: bool = False):
    """The small course with this answer, and more cells before it."""
    exercise = {"metadata": {"tags": ["exercise"] if master else []}}
    check = {"metadata": {"tags": ["check"] if master else []}}
    return new_notebook(cells=[
        new_markdown_cell(f"{title}\n\nwords"),
        new_code_cell(IMPORT),
        *map(new_code_cell, more),
        new_markdown_cell("### Exercise 1: the variance of $x_t$"),
        new_code_cell(answer, **exercise),
        new_code_cell(CHECK, **check),
    ])  # fmt: skip


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A folder with the small course's original."""
    folder = tmp_path_factory.mktemp("course")
    nbformat.write(notebook(STUB, master=True), folder / "99_small.ipynb")
    return folder


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """A folder with the real course, as the twins describe it."""
    folder = tmp_path_factory.mktemp("originals")
    for name in TWINS:
        nbformat.write(tool.read_twin(name), folder / f"{name}.ipynb")
    return folder


@pytest.fixture
def hand_in(tmp_path: Path, course: Path):
    """Grade one answer to the small course's exercise: its only result."""

    def grade(answer: str, *more: str, seconds: float = SECONDS) -> grading.Result:
        folder = tmp_path / "handed in"
        folder.mkdir(exist_ok=True)
        (folder / "notes.txt").write_text("keep me")
        nbformat.write(notebook(answer, *more), folder / "ada.ipynb")
        before = (folder / "ada.ipynb").read_bytes()
        (result,) = grading.grade(folder / "ada.ipynb", grading.load_masters(course), seconds)
        assert sorted(path.name for path in folder.iterdir()) == ["ada.ipynb", "notes.txt"]
        assert (folder / "notes.txt").read_text() == "keep me"
        assert (folder / "ada.ipynb").read_bytes() == before
        return result

    return grade


# --------------------------------------------------------------------------- reading
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a notebook: it is empty"),
        (b" <!DOCTYPE html><html>", "not a notebook: it is a web page"),
        (b'{"cells": [\n<<<<<<< HEAD\n3\n=======\n4\n>>>>>>> main\n]}', "a merge conflict of git"),
        (b'{"cells": [{"cell_type": "co', "it was cut off or damaged"),
        (b"\x89PNG\r\n\x00\xff", "not a notebook"),
        (b"[1, 2]", "not a notebook"),
        (b'{"cells": 3}', "not a notebook"),
        (b'{"cells": [7]}', "not a notebook"),
        (b'{"cells": [{"cell_type": "code", "source": 5}]}', "not a notebook"),
        (b'{"cells": [{"cell_type": "code", "source": "", "metadata": []}]}', "not a notebook"),
        (b"[" * 200_000, "not a notebook"),
        (b'{"cells": []}', "not one of the course's notebooks"),
        (b'{"cells": [{"cell_type": "markdown", "source": ["# Other"]}]}', "not one of"),
    ],
    ids=range(13),
)
def test_what_is_no_notebook_of_the_course_is_one_row(content, words, tmp_path, course) -> None:
    (tmp_path / "odd.ipynb").write_bytes(content)
    (result,) = grading.grade(tmp_path / "odd.ipynb", grading.load_masters(course))
    assert not result.passed and not result.exercise and words in result.message
    assert "not graded" in grading.table([result])


def test_missing_files_folders_and_giants_are_rows_too(tmp_path, course, monkeypatch) -> None:
    masters = grading.load_masters(course)
    (missing,) = grading.grade(tmp_path / "nowhere.ipynb", masters)
    assert "not there" in missing.message
    (folder,) = grading.grade(tmp_path, masters)
    assert "name the notebooks in it" in folder.message
    monkeypatch.setattr("ldmlib.teach.grading.notebook.LARGEST_FILE", 10)
    (giant,) = grading.grade(course / "99_small.ipynb", masters)
    assert "clear its outputs" in giant.message


def test_a_notebook_is_known_by_title_or_else_by_its_cells(originals: Path) -> None:
    masters = grading.load_masters(originals)
    assert list(masters) == TWINS
    for name, master in masters.items():
        assert which(master.cells, masters) == name
        renamed = [Cell("markdown", "# My own title"), *master.cells[1:]]
        assert which(renamed, masters) == name
    with pytest.raises(ValueError, match="not one of the course's notebooks"):
        which([cell for cell in masters[TWINS[0]].cells if "setup" in cell.tags], masters)


def test_every_exercise_of_the_course_is_found(originals: Path) -> None:
    for name, master in grading.load_masters(originals).items():
        notebook = tool.read_twin(name)
        found = exercises(master.cells)
        assert len(found) == sum("exercise" in c.metadata.get("tags", []) for c in notebook.cells)
        assert len([e for e in found if e.check]) == sum(
            "check" in c.metadata.get("tags", []) for c in notebook.cells
        )
        assert [e.title.split(":")[0] for e in found] == [str(i + 1) for i in range(len(found))]
        assert all(e.names for e in found)


def test_the_originals_are_looked_for_in_the_folder_of_the_course() -> None:
    assert tool.NOTEBOOKS.resolve() == COURSE


def test_grading_without_the_originals_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--master FOLDER"):
        grading.load_masters(tmp_path)


# --------------------------------------------------------------------------- what must run
def sliced(cells: list[str], names: set[str], known=()) -> list[str]:
    return [piece.source for piece in context.needed(context.pieces(cells, known), names)]


def test_only_what_the_answer_needs_is_run() -> None:
    cells = [
        "import math\nimport torch\nmodel = 1\ntrain(model)",
        "x = math.pi\nx = 2",
        "y = model + x",
    ]
    assert sliced(cells, {"y"}, cells) == ["model = 1", "x = 2", "y = model + x"]
    assert sliced(cells, {"y"}) == cells, "cells that are not the course's are taken whole"
    assert sliced(cells, {"unknown"}) == []


@pytest.mark.parametrize(
    ("cells", "names", "expected"),
    [
        (["a = 1", "def f():\n    return a", "a = 2"], {"f"}, 2),
        (["def f():\n    return g()", "def g():\n    return 1"], {"f"}, 2),
        (["a = 1", "def f(a):\n    return a"], {"f"}, 1),
        (["a = 1", "a = a + 1", "a = a * 2"], {"a"}, 3),
        (["from math import pi as a", "class C:\n    b = a"], {"C"}, 2),
        (["a = [1]", "b = [i for i in a]"], {"b"}, 2),
        (["i = 5", "b = [i for i in range(3)]"], {"b"}, 1),
        (["i = 5", "b = {i: [j for j in range(i)] for i in range(3)}", "c = i"], {"c"}, 2),
        (["for i in range(3):\n    x = i"], {"x"}, 1),
        (["def f(x:\n    return x"], {"f"}, 1),
    ],
)
def test_names_are_followed_as_python_does(cells, names, expected) -> None:
    assert len(sliced(cells, names)) == expected


@pytest.mark.parametrize(
    ("cell", "python"),
    [
        ("%pylab inline\nx = 1", "get_ipython().run_line_magic('pylab', 'inline')\nx = 1"),
        ("!rm -rf /\nx = 1", "get_ipython().system('rm -rf /')\nx = 1"),
        ("files = !ls", "files = get_ipython().getoutput('ls')"),
        ("%%time\nx = 1", "x = 1"),
        ("%%time\n%time x = 1\n%prun -l 5 -q y = 2", "x = 1\ny = 2"),
        ("%%capture out\nprint(1)\nx = 1", "out = None\nprint(1)\nx = 1"),
        ("%time x = await f()", "x = await f()"),
        (">>> x = 1\n>>> y = 2", "x = 1\ny = 2\n"),
        ("    x = 1\n    %time y = 2", "x = 1\ny = 2"),
        ("\ufeffx = 1\r\n", "x = 1\n"),
        ("x = (7\n % 2)", "x = (7\n % 2)"),
        ("def f(:\n  %x", "def f(:\n  pass"),
    ],
    ids=lambda value: value[:9] if "%" in value else "",
)
def test_what_only_notebooks_understand_becomes_python(cell: str, python: str) -> None:
    assert magics.cleaned(cell).strip() == python.strip()


def test_cells_that_run_nothing_define_nothing() -> None:
    for cell in ("%%bash\nx=1", "%%timeit\nx = 1", "%timeit x = 1", "print?", "??x", "%%html\n<b>"):
        assert not names.bound(magics.cleaned(cell)), cell


def test_without_ipython_the_lines_are_left_out(monkeypatch) -> None:
    monkeypatch.setattr(magics, "_transformed", lambda source: None)
    assert magics.cleaned("%matplotlib inline\nx = 1\n!rm -rf /\n") == "pass\nx = 1\npass\n"
    assert magics.cleaned("%%bash\nrm -rf /") == ""
    assert magics.cleaned("%%time\nx = 1\n") == "x = 1\n"
    assert magics.cleaned("%%capture\n%time x = 1\n!ls") == "x = 1\npass"


# --------------------------------------------------------------------------- right and wrong
def test_the_verdict_carries_its_words(capsys) -> None:
    verdict = core.judge(1, 2, {"one too few.": 1})
    assert verdict.said == capsys.readouterr().out.strip() == "Not yet: one too few."


@pytest.mark.slow
def test_a_right_answer_passes_and_a_wrong_one_is_named(hand_in) -> None:
    right = hand_in(RIGHT)
    assert right.passed is True and right.message.startswith("Right: alpha^2 v + sigma^2")
    wrong = hand_in(RIGHT.replace("alpha**2", "alpha"))
    assert wrong.passed is False and "alpha is there without its square" in wrong.message
    assert "not filled in yet" in hand_in(STUB).message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "more"),
    [
        ("def variance(a, s, v):\n    return square(a) * v + square(s)",
         ["def square(x):\n    return x**2"]),
        (f"{RIGHT}\n\n\n{CHECK}", []),
        ("from helpers import variance", ["%%writefile helpers.py\nnothing"]),
        ("import numpy as np\nvariance = lambda a, s, v: np.square(a) * v + np.square(s)", []),
        ("%matplotlib inline\n" + RIGHT, ["1 / 0", "raise SystemExit", "def broken(:"]),
    ],
    ids=["helper cell", "check in the cell", "helper file", "lambda", "broken cells elsewhere"],
)  # fmt: skip
def test_answers_may_be_written_in_many_ways(answer, more, tmp_path, course) -> None:
    (tmp_path / "helpers.py").write_text(RIGHT)
    nbformat.write(notebook(answer, *more), tmp_path / "ada.ipynb")
    (result,) = grading.grade(tmp_path / "ada.ipynb", grading.load_masters(course), SECONDS)
    assert result.passed, result.message


def solved(name: str):
    """A student's copy with the solutions in place of the stubs."""
    master, student = tool.read_twin(name), classroom.student_copy(tool.read_twin(name))
    by_check: dict[str, tuple[str, list[str]]] = {}
    for cell in master.cells:
        if "solution" in cell.metadata.get("tags", []) and "check." in cell.source:
            body = [
                s for s in ast.parse(cell.source).body if not ast.unparse(s).startswith("check.")
            ]
            calls = [
                s.value for s in ast.parse(cell.source).body if ast.unparse(s).startswith("check.")
            ]
            source = "\n\n\n".join(map(ast.unparse, body))
            for call in calls:
                by_check[call.func.attr] = (source, ast.unparse(call.args[0]))
    for cell, after in zip(student.cells, student.cells[1:], strict=False):
        if "check" in after.metadata.get("tags", []):
            lines = []
            for call in (s.value for s in ast.parse(after.source).body):
                source, answer = by_check[call.func.attr]
                lines += [source, f"{ast.unparse(call.args[0])} = {answer}"]
            cell.source = "\n\n\n".join(lines)
    return student


@pytest.mark.slow
@pytest.mark.parametrize("name", ["00_start_here", "03_vae", "04_forward_diffusion"])
def test_the_solutions_of_the_course_pass(name: str, originals: Path, tmp_path: Path) -> None:
    nbformat.write(solved(name), tmp_path / "solved.ipynb")
    results = list(grading.grade(tmp_path / "solved.ipynb", grading.load_masters(originals), 300))
    assert {result.notebook for result in results} == {name}
    assert not [result for result in results if result.passed is False]
    for result in results:
        assert result.passed or "design your own" in result.exercise


# --------------------------------------------------------------------------- harm
@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("import os\nos._exit(0)", "exit status 0"),
        ("import os\nos._exit(7)", "exit status 7"),
        ("import sys\nsys.exit()\n" + RIGHT, "SystemExit at the line"),
        ("n = input('n? ')\n" + RIGHT, "nobody answers `input()`"),
        (RIGHT + "\nraise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import ctypes\nctypes.string_at(0)", "ended before the check"),
        ("def variance(a, s, v):\n    import os\n    os._exit(1)", "exit status 1"),
        ("def variance(a, s, v):\n    raise SystemExit(3)", "the check stopped with SystemExit: 3"),
        ("x = bytearray(10**12)", "MemoryError"),
        ("x = [0]\nwhile True:\n    x += x", "MemoryError"),
        ("import torch\nx = torch.zeros(10**11)", "memory"),
        ("def variance(a, s, v):\n    return variance(a, s, v)", "RecursionError"),
        ("open('big', 'wb').write(bytes(10**9))", "File too large"),
        ("def variance(alpha, sigma, v:\n    pass", "SyntaxError: '(' was never closed at"),
        ("import nowhere_at_all", "nothing in it is called variance"),
        ("variance = undefined", "NameError: name 'undefined'"),
        (f"variance = {'-' * 100_000}1", ""),  # too deep for the parser of any Python
    ],
    ids=lambda value: value[:25] if "\n" in str(value) else str(value)[:12],
)
def test_crashes_and_floods_become_a_sentence(answer: str, words: str, hand_in) -> None:
    alone = "variance" in answer or "nowhere" in answer
    result = hand_in(answer if alone else f"{answer}\n{RIGHT}")
    assert result.passed is False and words in result.message


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        "while True:\n    pass\n" + RIGHT,
        "def variance(alpha, sigma, v):\n    while True:\n        pass",
        "def variance(alpha, sigma, v):\n    try:\n        while True:\n            pass\n"
        "    except BaseException:\n        return variance(alpha, sigma, v)",
    ],
    ids=["in the cell", "in the function", "catches all"],
)
def test_a_loop_without_end_is_stopped(answer: str, hand_in) -> None:
    result = hand_in(answer, seconds=20)
    assert result.passed is False and result.message.startswith("stopped after 20 seconds")


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [
        "print('x' * 300_000_000)\nimport os\nfor _ in range(3000):\n    os.write(1, bytes(10**5))",
        "import os, shutil\nos.remove('notes.txt')\nshutil.rmtree('.', ignore_errors=True)\n"
        "os.environ.clear()\nos.chdir('/')",
        "import builtins, threading, time\nbuiltins.print = builtins.bool = None\n"
        "threading.Thread(target=lambda: time.sleep(600)).start()",
    ],
    ids=["prints", "deletes", "disturbs"],
)
def test_what_a_cell_does_beside_the_answer_changes_nothing(cell: str, hand_in) -> None:
    result = hand_in(f"{cell}\n{RIGHT}")
    assert result.passed and result.message.startswith("Right"), result.message


@pytest.mark.slow
@pytest.mark.parametrize(
    "cheat",
    [
        "class check:\n    variance = staticmethod(lambda answer: True)",
        "import ldmlib.check.forward as f\nf.variance = f.judge = lambda *a, **k: True",
        "from ldmlib.check import core\ncore.verdict = lambda *a, **k: core.Verdict(True)\n"
        "core.same = lambda *a, **k: True\ncore.Verdict.__bool__ = lambda self: True",
        "import torch\ntorch.allclose = lambda *a, **k: True",
    ],
    ids=["name", "module", "core", "torch"],
)
def test_a_check_of_ones_own_does_not_count(cheat: str, hand_in) -> None:
    result = hand_in(f"{cheat}\ndef variance(alpha, sigma, v):\n    return alpha")
    assert result.passed is False and result.message.startswith("Not yet")


ACTS = (
    "open(outside, 'w')",
    "os.remove(outside)",
    "os.rename(outside, 'mine')",
    "os.rename('mine', outside)",
    "shutil.rmtree(os.path.dirname(outside))",
    "os.chmod(outside, 0)",
    "os.unlink('notes.txt', dir_fd=os.open(os.path.dirname(outside), os.O_RDONLY))",
    "os.symlink(os.path.dirname(outside), 'link') or open('link/notes.txt', 'a')",
    "socket.create_connection(('127.0.0.1', 9), timeout=5)",
    "urllib.request.urlopen('http://127.0.0.1:9/', timeout=5)",
    "subprocess.run(['true'])",
    "os.system('true')",
    "os.kill(os.getppid(), 9)",
    "os.fork()",
    "torch.save(1, outside)",
    "torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), f=outside)",
    "safetensors.torch.save_file({}, outside)",
    "sqlite3.connect(outside)",
)


@pytest.mark.slow
def test_doors_are_closed(hand_in, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # so it stays in sight
    outside = str(tmp_path / "handed in" / "notes.txt")
    lines = [
        "import os, shutil, socket, sqlite3, subprocess, urllib.error, urllib.request",
        "import safetensors.torch, torch",
        "sqlite3.connect(':memory:').execute('create table t (x)')",
        "torch.save(1, 'mine.pt')",
        f"outside, opened = {outside!r}, []",
        f"for act in {ACTS}:",
        "    try:",
        "        eval(act)",
        "        opened.append(act)",
        "    except (PermissionError, urllib.error.URLError) as error:",
        "        if 'the grader refuses' not in str(error):",
        "            opened.append((act, error))",
        "if opened:",
        "    raise RuntimeError(opened)",
    ]
    result = hand_in("\n".join([*lines, RIGHT]))
    assert result.passed, result.message


@pytest.mark.slow
def test_the_box_tells_nothing_of_the_grader_and_is_removed(hand_in, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TOKEN_OF_THE_TEACHER", "secret")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    told = "import os, tempfile\nassert 'TOKEN_OF_THE_TEACHER' not in os.environ\n"
    home = "assert os.path.expanduser('~').endswith('/box/home')\n"
    mine = "open(os.path.join(os.path.expanduser('~'), 'mine'), 'w').write('x')\n"
    temporary = "assert tempfile.mkdtemp().count('/box/tmp/')\n"
    result = hand_in(told + home + mine + temporary + RIGHT)
    assert result.passed, result.message
    assert not list(tmp_path.glob("ldm-grade-*"))


@pytest.mark.slow
def test_where_the_system_gives_no_cover_the_hook_refuses(hand_in, monkeypatch) -> None:
    monkeypatch.setattr(box, "cover", box.Cover)
    assert hand_in(RIGHT).passed
    result = hand_in(f"import socket\nsocket.socket().connect(('127.0.0.1', 9))\n{RIGHT}")
    assert "the grader refuses socket.connect" in result.message
    assert "exit status 7" in hand_in(f"import os\nos._exit(7)\n{RIGHT}").message


@pytest.mark.skipif(not box.cover().command, reason="this system lends no network namespace")
def test_with_cover_there_is_no_network_at_all() -> None:
    done = subprocess.run(
        [*box.cover().command, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True
    )
    names = {line.split(":")[0].strip() for line in done.stdout.splitlines() if ":" in line}
    assert names <= {"lo", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0"}


@pytest.mark.parametrize(
    ("code", "words"),
    [(-signal.SIGKILL, "too much memory"), (-signal.SIGSEGV, "Segmentation"), (3, "status 3")],
)
def test_endings_are_put_in_words(code: int, words: str) -> None:
    assert words in box._ending(code)


def test_an_answer_without_the_token_is_none() -> None:
    assert box._answer(b'{"passed": true, "message": "", "token": "t"}', "t")["passed"]
    for text in (b"", b"[]", b"{}", b'{"passed": true, "token": "other"}', b"\xff", b"[" * 99_999):
        assert box._answer(text, "t") is None


def test_what_a_submission_assigned_is_undone() -> None:
    before, real = worker._attributes(), core.verdict
    core.verdict = core.Verdict.__bool__ = None
    worker._restore(before)
    assert core.verdict is real and core.Verdict(True)


# --------------------------------------------------------------------------- a class
RESULTS = [
    grading.Result("a.ipynb", "04", "1: first", True, "Right: good."),
    grading.Result("a.ipynb", "04", "2: a longer title", False, "Not yet: " + "word " * 40),
    grading.Result("a.ipynb", "04", "3: open", None, "by the teacher."),
]


def test_the_table_counts_and_wraps() -> None:
    lines = grading.table(RESULTS, width=80).splitlines()
    assert lines[0] == "a.ipynb (04): 1 of 2 passed"
    assert max(map(len, lines)) <= 80 and len(lines) > 5
    assert "yes" in lines[2] and "no" in lines[3] and "by hand" in lines[-1]


def test_the_page_for_teachers_shows_such_a_table() -> None:
    name, file = "00_start_here", "handed_in/ada.ipynb"
    said = [start.reads(digits(), "2026").said, start.evaluations(20, 10).said, BY_HAND]
    titles = ("1: write a year", "2: count the work", "3: design your own")
    rows = zip(titles, (True, False, None), said, strict=True)
    table = grading.table([grading.Result(file, name, *row) for row in rows], width=100)
    page = (tool.ROOT / "book" / "teach" / "grading.md").read_text(encoding="utf-8")
    assert f"```\n{table}\n```" in page


def digits():
    """Four real digits that the reader of digits takes for 2026."""
    test = mnist("test")
    return from_uint8(torch.stack([test.images[test.labels == digit][0] for digit in (2, 0, 2, 6)]))


def test_csv_has_a_row_for_each_exercise(tmp_path: Path) -> None:
    grading.save_csv(tmp_path / "class.csv", RESULTS)
    with open(tmp_path / "class.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["passed"] for row in rows] == ["yes", "no", "by hand"]
    assert rows[0] == {"submission": "a.ipynb", "notebook": "04", "exercise": "1: first",
                       "passed": "yes", "message": "Right: good."}  # fmt: skip


def test_a_spreadsheet_is_told_how_the_letters_of_names_are_stored(tmp_path: Path) -> None:
    grading.save_csv(tmp_path / "class.csv", [grading.Result("Zoë.ipynb", "04", "1", True, "")])
    assert (tmp_path / "class.csv").read_bytes().startswith("\ufeffsub".encode())
    assert "Zoë" in (tmp_path / "class.csv").read_text(encoding="utf-8-sig")


def test_nothing_from_a_submission_steers_the_terminal() -> None:
    assert printable("a\x1b[2Jb\r\n\tc\u202e") == "a [2Jb c"


@pytest.mark.slow
def test_a_class_is_graded_whoever_is_in_it(ldm, course: Path, tmp_path: Path) -> None:
    answers = {"ada": RIGHT, "ben": f"import os\nos._exit(1)\n{RIGHT}", "cy": STUB, "eve": RIGHT}
    for name, answer in answers.items():
        nbformat.write(notebook(answer), tmp_path / f"{name}.ipynb")
    (tmp_path / "dan.ipynb").write_bytes(os.urandom(1000))
    files = sorted(tmp_path.glob("*.ipynb"))
    options = ("--master", course, "--csv", tmp_path / "class.csv", "--timeout", SECONDS)
    code, printed = ldm("grade", *files, *options)
    assert code in (0, None)
    rows = list(csv.DictReader((tmp_path / "class.csv").read_text(encoding="utf-8").splitlines()))
    assert {Path(r["submission"]).stem: r["passed"] for r in rows} == {
        "ada": "yes", "ben": "no", "cy": "no", "dan": "no", "eve": "yes"}  # fmt: skip
    assert printed.count("1 of 1 passed") == 2 and "dan.ipynb: not graded" in printed


def test_mistakes_of_the_teacher_are_one_sentence(ldm, tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": []}))
    assert "--master FOLDER" in ldm("grade", tmp_path / "a.ipynb", "--master", tmp_path)[0]
    assert "above 0" in ldm("grade", tmp_path / "a.ipynb", "--timeout", 0)[0]


def test_reading_a_notebook_keeps_its_tags(course: Path) -> None:
    cells = read_cells(course / "99_small.ipynb")
    assert [sorted(cell.tags) for cell in cells if cell.tags] == [["exercise"], ["check"]]
