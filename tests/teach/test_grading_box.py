"""The box of one exercise: nothing outside of it changes, and no submission stops a class."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ldmlib.teach import grading
from ldmlib.teach.grading import box, folders, session, submission
from ldmlib.teach.grading.notebook import Cell, read_cells, title_of, which

SECONDS = 120
RIGHT = "def variance(alpha, sigma, v):\n    return alpha**2 * v + sigma**2"
CHECK = "check.variance(variance)"
needs_walls = pytest.mark.skipif(not box.cover().has_walls, reason="this system lends no walls")


def notebook(*cells: str):
    """The small course's notebook with these cells before the check."""
    tags = {"metadata": {"tags": ["exercise"]}}
    return new_notebook(cells=[
        new_markdown_cell("# 99 · A small course"),
        new_markdown_cell("### Exercise 1: the variance"),
        *(new_code_cell(cell, **tags) for cell in cells),
        new_code_cell(CHECK, metadata={"tags": ["check"]}),
    ])  # fmt: skip


@pytest.fixture(scope="module")
def masters(tmp_path_factory):
    """A course of one notebook with one exercise."""
    folder = tmp_path_factory.mktemp("course")
    course = notebook("def variance(alpha, sigma, v):\n    return ...")
    course.cells.insert(1, new_code_cell("from ldmlib.check import forward as check"))
    nbformat.write(course, folder / "99_small.ipynb")
    return grading.load_masters(folder)


@pytest.fixture
def answered(monkeypatch):
    """In place of the process: every exercise is passed."""
    monkeypatch.setattr(submission, "ask", lambda *_: {"passed": True, "message": "Right."})


def hand_in(folder: Path, *cells: str, name: str = "ada.ipynb") -> Path:
    nbformat.write(notebook(*cells), folder / name)
    return folder / name


# --------------------------------------------------------------------------- walls
# Each tries to change the folder `outside`, or something of the system's.
ATTACKS = r"""
import ctypes, mmap, os, sqlite3, sys
import numpy, safetensors.torch, torch
libc = ctypes.CDLL(None)
place = outside.encode()

def child(code):
    import _posixsubprocess
    ends = os.pipe()
    _posixsubprocess.fork_exec([sys.executable.encode(), b"-c", code.encode()],
        [sys.executable.encode()], True, (ends[1],), None, None, -1, -1, -1, -1, -1, -1, *ends,
        *MORE)

def forked():
    if libc.fork() == 0:
        libc.unlink(place + b"/notes.txt")
        libc._exit(0)
    libc.wait(None)

def script():
    net = torch.jit.script(torch.nn.Linear(1, 1))
    torch.jit.save(net, outside + "/notes.txt")

ATTACKS = [
    lambda: torch.save(1, outside + "/notes.txt"),
    script,
    lambda: safetensors.torch.save_file({"a": torch.ones(1)}, outside + "/new.safetensors"),
    lambda: torch.from_file(outside + "/notes.txt", shared=True, size=1).fill_(7),
    lambda: sqlite3.connect(outside + "/new.db").execute("create table t (x)"),
    lambda: os.mknod(outside + "/node"),
    lambda: os.mkfifo(outside + "/pipe"),
    lambda: os.setxattr(outside + "/notes.txt", "user.mine", b"1"),
    lambda: libc.creat(place + b"/created", 0o600),
    lambda: libc.unlink(place + b"/notes.txt"),
    lambda: libc.rename(place + b"/notes.txt", place + b"/moved"),
    lambda: libc.chmod(place + b"/notes.txt", 0),
    lambda: libc.truncate(place + b"/notes.txt", 0),
    lambda: libc.symlink(b"/", place + b"/link"),
    lambda: libc.creat(b"/dev/shm/ldm-grade-left-behind", 0o600),
    lambda: libc.creat(b"/var/tmp/ldm-grade-left-behind", 0o600),
    lambda: libc.system(b"rm -rf " + place),
    forked,
    lambda: child("import shutil; shutil.rmtree(%r)" % outside),
    # take the walls down, in new namespaces of one's own, too
    lambda: libc.mount(b"none", b"/", None, ctypes.c_ulong(4096 | 32), None),
    lambda: libc.umount2(b"/dev", 2),
    lambda: libc.unshare(0x10000000 | 0x20000),
    lambda: libc.mount(b"none", b"/", None, ctypes.c_ulong(4096 | 32), None),
    lambda: libc.umount2(b"/dev", 2),
    lambda: libc.umount2(b"/tmp", 2),
    lambda: libc.unlink(place + b"/notes.txt"),
]
for attack in ATTACKS:
    try:
        attack()
    except Exception:
        pass
assert set(os.listdir("/dev")) == set(
    "fd full null random shm stderr stdin stdout urandom zero".split()), os.listdir("/dev")
assert os.path.exists(outside) is not HIDDEN
assert not libc.creat(b"/dev/null", 0o600) == -1, "what no wall should keep out"
torch.save(torch.ones(3), "mine.pt")
assert torch.load("mine.pt").sum() == 3 and os.path.exists("notes.txt")
"""


@needs_walls
@pytest.mark.slow
@pytest.mark.parametrize("is_hidden", [True, False])
def test_nothing_outside_of_the_box_changes_whatever_a_cell_calls(
    is_hidden, masters, tmp_path, monkeypatch
) -> None:
    if not is_hidden:  # folders that Python needs stay in sight
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    outside = tmp_path / "handed in"
    outside.mkdir()
    (outside / "notes.txt").write_text("keep me")
    more = (0, None, None, None, None, -1, None) if sys.version_info < (3, 11) else ()
    needed = [Path(sys.prefix), Path(grading.__file__)]  # a project in /tmp stays in sight, too
    in_sight = any(Path("/tmp") in path.resolve().parents for path in needed)
    hidden = is_hidden and Path("/tmp") in outside.parents and not in_sight
    attack = f"outside, MORE, HIDDEN = {str(outside)!r}, {more!r}, {hidden}\n{ATTACKS}"
    before = hand_in(outside, f"{attack}\n{RIGHT}").read_bytes()
    (result,) = grading.grade(outside / "ada.ipynb", masters, SECONDS)
    assert result.passed, result.message
    assert sorted(p.name for p in outside.iterdir()) == ["ada.ipynb", "notes.txt"]
    assert (outside / "notes.txt").read_text() == "keep me"
    assert (outside / "notes.txt").stat().st_mode & 0o400
    assert (outside / "ada.ipynb").read_bytes() == before
    for shared in ("/dev/shm", "/var/tmp"):
        assert not (Path(shared) / "ldm-grade-left-behind").exists()


@needs_walls
def test_the_walls_stand_in_every_mount_and_the_box_is_limited() -> None:
    code = (
        "import os, sys; box = sys.argv[1]\n"
        "mounts = [line.split() for line in open('/proc/self/mountinfo')]\n"
        "print(*sorted({m[4] for m in mounts if m[5].startswith('rw')}))\n"
        "print(os.statvfs(box).f_blocks * os.statvfs(box).f_frsize, os.statvfs(box).f_files)\n"
        "open(box + '/work/notes.txt').read(); open(box + '/work/notes.txt', 'w').close()\n"
        "print([line.split()[1] for line in open('/proc/self/status') if 'CapEff' in line])"
    )
    scratch = box._scratch()
    (scratch / "box" / "work" / "notes.txt").write_text("keep me")
    command = box.cover().around(scratch, [sys.executable, "-c", code, str(scratch / "box")])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    writable, sizes, capabilities = done.stdout.splitlines()
    assert set(writable.split()) == {"/dev/shm", str(scratch / "box")}
    size, files = map(int, sizes.split())
    assert box.BOX_SIZE * 0.99 < size < box.BOX_SIZE * 1.01 and files <= box.BOX_FILES
    assert (scratch / "box" / "work" / "notes.txt").read_text() == "keep me"
    assert capabilities == "['0000000000000000']"
    folders.remove(scratch)
    assert not scratch.exists()


def test_a_system_that_lends_nothing_is_found_out_and_said(
    monkeypatch, masters, answered, tmp_path, capsys
) -> None:
    monkeypatch.setattr(box, "UNSHARE", ["false"])
    assert box.cover.__wrapped__() == box.Cover()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert box.cover.__wrapped__() == box.Cover()
    monkeypatch.setattr(session, "cover", box.Cover)
    master = next(iter(masters.values())).path.parent
    grading.grade_class([hand_in(tmp_path, RIGHT)] * 2, master)
    assert capsys.readouterr().err.count("lends no read-only view") == 1


def test_walls_that_do_not_hold_are_not_believed(monkeypatch) -> None:
    bare = box.Cover(("env",), has_walls=True)
    monkeypatch.setattr(box.Cover, "around", lambda self, scratch, command: command)
    assert not box._holds(bare) and box._holds(box.Cover(("env",)))


def test_the_worker_is_told_the_same_on_every_machine(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LANG", "tr_TR.ISO-8859-9")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}lib{os.pathsep}")
    monkeypatch.setenv("PYTHONSTARTUP", "x.py")
    told = box._environment(tmp_path)
    assert told["LC_ALL"] == told["LANG"] == "C.UTF-8" and "PYTHONSTARTUP" not in told
    assert told["PYTHONPATH"] == f"{tmp_path}{os.pathsep}{os.path.abspath('lib')}"
    assert told["PYTHONHASHSEED"] == "0" and told["LDMLIB_DEVICE"] == "cpu"
    monkeypatch.setattr("site.getuserbase", lambda: 1 / 0 if None else {}["HOME"])
    assert box._environment(tmp_path)["PYTHONUSERBASE"] == str(tmp_path / "home")


@pytest.mark.slow
def test_a_worker_that_does_not_start_is_no_students_fault(masters, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(box, "cover", box.Cover)
    monkeypatch.setattr(box, "LIBRARY", tmp_path)
    monkeypatch.setattr(box, "SETTINGS", {"PYTHONPATH": str(tmp_path)})
    (tmp_path / "torch.py").write_text("raise ImportError('broken')")
    (tmp_path / "ldmlib").mkdir()
    (result,) = grading.grade(hand_in(tmp_path, RIGHT), masters, SECONDS)
    assert result.passed is None and "the grader's own process ended" in result.message


@pytest.mark.slow
@pytest.mark.parametrize("has_walls", [True, False])
def test_a_box_that_overflows_is_a_sentence(has_walls, masters, tmp_path, monkeypatch) -> None:
    if has_walls and not box.cover().has_walls:
        pytest.skip("this system lends no walls")
    if not has_walls:
        monkeypatch.setattr(box, "cover", box.Cover)
    flood = (
        "import time\nfor i in range(40):\n    with open(f'{i}.bin', 'wb') as file:\n"
        "        file.write(bytes(30_000_000))\ntime.sleep(60)"
    )
    (result,) = grading.grade(hand_in(tmp_path, f"{flood}\n{RIGHT}"), masters, SECONDS)
    assert result.passed is False
    assert ("No space left" if has_walls else "stopped, as it wrote") in result.message
    assert "200 MB" in result.message


# --------------------------------------------------------------------------- folders
def test_a_thousand_nested_folders_are_removed_and_weighed(tmp_path, monkeypatch) -> None:
    top = tmp_path / "top"
    top.mkdir()
    monkeypatch.chdir(top)
    for _ in range(1400):
        os.mkdir("n" * 50)
        os.chdir("n" * 50)
    Path("deep.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    (top / "closed").mkdir()
    (top / "closed" / "file").write_text("xyz")
    (top / "closed").chmod(0)
    (top / "link").symlink_to(tmp_path)
    assert folders.weigh(tmp_path / "nowhere") == (0, 0)
    assert folders.weigh(top)[1] > 50
    folders.remove(top)
    assert not top.exists() and tmp_path.exists()


def test_of_what_lies_beside_a_notebook_files_are_copied_with_limits(tmp_path, monkeypatch) -> None:
    given, target = tmp_path / "given", tmp_path / "target"
    given.mkdir()
    target.mkdir()
    (given / "data.csv").write_text("1,2")
    (given / "donne\u0301es.csv").write_text("3")  # as a Mac stores it
    (given / "other.IPYNB").write_text("{}")
    os.mkfifo(given / "pipe")
    (given / "dangling").symlink_to(given / "nowhere")
    (given / "loop").symlink_to(given / "loop")
    (given / "x.ipynb").mkdir()
    (given / os.fsdecode(b"latin\xe9.csv")).write_text("4")
    assert folders.copy_beside(given / "ada.ipynb", target) == ""
    wanted = {"data.csv", "donne\u0301es.csv", "donn\u00e9es.csv", os.fsdecode(b"latin\xe9.csv")}
    assert {path.name for path in target.iterdir()} == wanted
    with open(given / "big.bin", "wb") as file:
        file.truncate(10**12)
    left_out = folders.copy_beside(given / "ada.ipynb", target)
    assert left_out.startswith("1 of 4 files beside the notebook were left out")
    monkeypatch.setattr(folders, "MOST_FILES", 2)
    assert folders.copy_beside(given / "ada.ipynb", target).startswith("2 of 4 files")
    assert folders.copy_beside(tmp_path / "nowhere" / "ada.ipynb", target) == ""


def test_an_unreadable_file_beside_a_notebook_is_named(tmp_path, monkeypatch) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "secret.csv").write_text("1")

    def refuse(*_, **__):
        raise PermissionError("no")

    monkeypatch.setattr(shutil, "copyfile", refuse)
    said = folders.copy_beside(tmp_path / "given" / "ada.ipynb", tmp_path)
    assert said == "beside the notebook, this could not be read: secret.csv"


# --------------------------------------------------------------------------- reading
def content(**more) -> dict:
    cell = {"cell_type": "markdown", "source": ["# 99 · A small course"], "metadata": {}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell | more]}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_notebook_may_be_stored_in_any_utf(encoding: str, masters, tmp_path) -> None:
    text = json.dumps(content(), ensure_ascii=False)
    (tmp_path / "ada.ipynb").write_bytes(text.encode(encoding))
    assert which(read_cells(tmp_path / "ada.ipynb"), masters) == "99_small"


@pytest.mark.parametrize("more", [{"metadata": None}, {"metadata": {"tags": None}}])
def test_empty_metadata_are_no_fault(more: dict, tmp_path) -> None:
    (tmp_path / "ada.ipynb").write_text(json.dumps(content(**more)))
    assert read_cells(tmp_path / "ada.ipynb") == [Cell("markdown", "# 99 · A small course")]


@pytest.mark.parametrize("version", [2, 3])
def test_old_formats_are_read_as_nbformat_upgrades_them(version: int, tmp_path) -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": "A title", "metadata": {}},
        {"cell_type": "markdown", "source": "words", "metadata": {}},
        {"cell_type": "code", "input": "x = 1\ny = 2", "outputs": [], "language": "python",
         "collapsed": False, "metadata": {"tags": ["check"]}},
    ]  # fmt: skip
    old = {"nbformat": version, "nbformat_minor": 0, "metadata": {"name": ""},
           "worksheets": [{"cells": cells, "metadata": {}}]}  # fmt: skip
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps(old))
    upgraded = nbformat.reads(path.read_text(), as_version=4).cells
    found = read_cells(path)
    assert [(c.kind, c.source) for c in found] == [(c.cell_type, c.source) for c in upgraded]
    assert title_of(found) == "A title" and found[2].tags == {"check"}


def test_a_title_is_the_same_however_accents_are_stored() -> None:
    apart, together = Cell("markdown", "# 1 e\u0301t\u00e9 "), Cell("markdown", "# 1 \u00e9t\u00e9")
    assert title_of([apart]) == title_of([together])


# --------------------------------------------------------------------------- a class
def odd_files(folder: Path) -> list[Path]:
    """What people hand in."""
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "folder.ipynb").mkdir()
    (folder / "dangling.ipynb").symlink_to(folder / "nowhere")
    (folder / "loop.ipynb").symlink_to(folder / "loop.ipynb")
    (folder / "binary.ipynb").write_bytes(bytes(range(256)))
    names = ["=1+1.ipynb", "a\nb.ipynb", "\x1b[2Jc.ipynb", os.fsdecode(b"d\xe9.ipynb"), "~e.ipynb"]
    for name in names:
        hand_in(folder, RIGHT, name=name)
    return [*sorted(folder.iterdir()), Path("/dev/zero"), folder / ("f" * 300 + ".ipynb")]


def test_every_file_is_a_row_whatever_it_is(
    masters, answered, tmp_path, capsys, monkeypatch
) -> None:
    (tmp_path / "in").mkdir()
    files = odd_files(tmp_path / "in")
    master = next(iter(masters.values())).path.parent
    monkeypatch.chdir(tmp_path / "in")
    files = [file.relative_to(Path.cwd()) if tmp_path in file.parents else file for file in files]
    results = grading.grade_class(files, master, SECONDS, tmp_path / "class.csv")
    assert len(results) == len(files) and sum(r.passed for r in results) == 5
    printed = capsys.readouterr().out
    assert "12 files handed in, 5 of them recognised" in printed.splitlines()[0]
    assert "99_small" in printed.splitlines()[0] and "1 originals in" in printed.splitlines()[0]
    assert "\x1b" not in printed and not any(
        line.startswith("b.ipynb") for line in printed.splitlines()
    )
    assert "a\\nb.ipynb (99_small): 1 of 1 passed" in printed
    assert "folder, name the notebooks in it: `ldm grade" in printed
    text = (tmp_path / "class.csv").read_bytes().decode()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == len(files)
    names = {row["submission"] for row in rows}
    assert {"'=1+1.ipynb", "a\\nb.ipynb", "\\x1b[2Jc.ipynb", "d\\udce9.ipynb"} <= names


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\uff1d1"])
def test_nothing_in_a_csv_is_a_formula(text: str, tmp_path) -> None:
    grading.save_csv(tmp_path / "a.csv", [grading.Result(text, text, text, False, text)])
    row = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    assert all(cell.startswith("'") for cell in row if cell != "no")


def test_nothing_in_a_table_is_a_row_of_its_own() -> None:
    forged = grading.Result("a\n  2: x  yes", "99", "1: x", False, "no\x1b[31m\n  2: x  yes\u2028y")
    lines = grading.table([forged], width=200).splitlines()
    assert len(lines) == 3 and "\x1b" not in "".join(lines)


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan, 1e300])
def test_a_time_limit_is_a_number_of_seconds(seconds, ldm, tmp_path) -> None:
    said = ldm("grade", tmp_path / "a.ipynb", "--timeout", seconds)[0]
    assert "--timeout is a number of seconds above 0" in said and "Traceback" not in said
    with pytest.raises(ValueError, match="above 0"):
        list(grading.grade(tmp_path / "a.ipynb", {}, seconds))


def test_results_never_overwrite_a_submission(ldm, tmp_path) -> None:
    path = hand_in(tmp_path, RIGHT)
    before = path.read_bytes()
    assert "not a notebook" in ldm("grade", path, "--csv", path)[0]
    assert "class.csv" in ldm("grade", path, "--csv", tmp_path / "ben.ipynb")[0]
    shutil.copy(path, tmp_path / "c.txt")
    assert "not a notebook" in ldm("grade", tmp_path / "c.txt", "--csv", tmp_path / "c.txt")[0]
    assert path.read_bytes() == before == (tmp_path / "c.txt").read_bytes()


def test_an_interrupted_class_keeps_what_was_graded(masters, tmp_path, monkeypatch) -> None:
    answers = iter([{"passed": True, "message": "Right."}])

    def ask(*_):
        try:
            return next(answers)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(submission, "ask", ask)
    path = hand_in(tmp_path, RIGHT)
    master = next(iter(masters.values())).path.parent
    with pytest.raises(KeyboardInterrupt):
        grading.grade_class([path, path, path], master, SECONDS, tmp_path / "class.csv")
    assert len((tmp_path / "class.csv").read_text().splitlines()) == 2


def test_an_error_of_one_exercise_is_a_row_and_the_next_is_graded(
    masters, tmp_path, monkeypatch, capsys
) -> None:
    answers = iter([OSError(28, "No space left on device"), {"passed": True, "message": "Right."}])

    def ask(*_):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    saves = iter([OSError("the disk is gone"), None])
    monkeypatch.setattr(submission, "ask", ask)

    def save(*_):
        if error := next(saves):
            raise error

    monkeypatch.setattr(session, "save_csv", save)
    path = hand_in(tmp_path, RIGHT)
    master = next(iter(masters.values())).path.parent
    results = grading.grade_class([path, path], master, SECONDS, tmp_path / "class.csv")
    assert [r.passed for r in results] == [None, True]
    assert "not graded: OSError: [Errno 28] No space" in results[0].message
    assert "Not saved for now: the disk is gone" in capsys.readouterr().out


def test_any_terminal_can_show_a_table(capsys, monkeypatch) -> None:
    class Narrow:
        encoding = "ascii"

        def write(self, text: str) -> None:
            said.append(text.encode("ascii"))

        def flush(self) -> None:
            pass

    said: list[bytes] = []
    monkeypatch.setattr(sys, "stdout", Narrow())
    grading.report.show("σ² · é")
    assert b"\\u03c3" in b"".join(said)


# --------------------------------------------------------------------------- ways to answer
def test_answers_in_composed_and_decomposed_form_are_one() -> None:
    from ldmlib.teach.grading import worker

    assert worker._composed("e\u0301") == "\u00e9" and worker._composed(3) == 3
    assert isinstance(worker._composed(torch.ones(1)), torch.Tensor)
