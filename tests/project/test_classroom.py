"""Exercises follow one convention; the copies for students and teacher follow from it."""

from __future__ import annotations

import ast
import copy
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

import classroom
import notebooks as tool
from ldmlib.teach.grading.context import needed, pieces
from ldmlib.teach.grading.names import read

TWINS = sorted(path.stem for path in (tool.NOTEBOOKS / "py").glob("*.py"))
CHECKS = Path(tool.ROOT, "ldmlib", "check")
MASTERS = {name: tool.read_twin(name) for name in TWINS}
RUN_WHOLE = ("00_start_here", "04_forward_diffusion")  # the others train networks
each_twin = pytest.mark.parametrize("name", TWINS)
each_of_part_one = pytest.mark.parametrize("name", [name for name in TWINS if name < "08"])


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if tag in tags(cell)]


def exercises(notebook: NotebookNode) -> list[list[NotebookNode]]:
    """For each exercise: its heading, its stub, and the cells up to the next heading."""
    parts: list[list[NotebookNode]] = []
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if "exercise" in tags(cell):
            parts.append([before, cell])
        elif parts:
            parts[-1].append(cell)
    for part in parts:
        ends = [i for i, c in enumerate(part) if i > 1 and re.search("^##", c.source, re.M)]
        del part[(ends or [len(part)])[0] :]
    return parts


def calls(source: str) -> list[ast.Call]:
    """The calls ``check.something(...)`` that stand at the top level of a cell."""
    values = [s.value for s in ast.parse(source).body if isinstance(s, ast.Expr)]
    return [v for v in values if isinstance(v, ast.Call) and ast.unparse(v).startswith("check.")]


def texts(part: list[NotebookNode]) -> str:
    return "\n".join(cell.source for cell in part if cell.cell_type == "markdown")


# --------------------------------------------------------------------------- the convention
@each_of_part_one
def test_there_are_two_to_four_exercises_and_one_is_open(name: str) -> None:
    assert 2 <= len(exercises(MASTERS[name])) <= 4
    headings = re.findall("^### (.*)$", "\n".join(c.source for c in MASTERS[name].cells), re.M)
    numbered = [h for h in headings if h.startswith("Exercise ")]
    assert [h.split(":")[0] for h in numbered] == [
        f"Exercise {i + 1}" for i in range(len(exercises(MASTERS[name])))
    ]
    assert [h for h in headings if "esign your own" in h]


@each_twin
def test_an_exercise_is_a_stub_a_check_two_hints_and_solutions(name: str) -> None:
    for heading, stub, *rest in exercises(MASTERS[name]):
        assert "### Exercise " in heading.source, stub.source
        assert "..." in stub.source and not calls(stub.source)
        checked = "check" in tags(rest[0])
        assert checked or "design your own" in heading.source, "only the open exercise has none"
        solutions = [cell for cell in rest if "solution" in tags(cell)]
        assert solutions and not [cell for cell in solutions if "nbval-skip" in tags(cell)]
        for summary in ("Hint 1", "Solution", *["Hint 2"] * (name < "08")):
            assert texts(rest).count(f"<details><summary>{summary}</summary>") == 1, stub.source
        if checked:
            asked = [call.func.attr for call in calls(rest[0].source)]
            assert len(ast.parse(rest[0].source).body) == len(asked), "nothing but check calls"
            solved = [call.func.attr for cell in solutions for call in calls(cell.source)]
            assert solved == asked


@each_twin
def test_every_check_cell_belongs_to_an_exercise(name: str) -> None:
    cells = MASTERS[name].cells
    for before, cell in zip(cells, cells[1:], strict=False):
        assert "check" not in tags(cell) or "exercise" in tags(before), cell.source


@each_twin
def test_notes_for_the_teacher_are_hidden_on_the_site(name: str) -> None:
    for cell in tagged(MASTERS[name], "teacher"):
        assert "remove-cell" in tags(cell), "the tag that MyST-NB leaves a cell out for"


def said_by_checks() -> str:
    """All texts in the library's checks, one after another."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in CHECKS.glob("*.py")]
    constants = [node.value for tree in trees for node in ast.walk(tree)
                 if isinstance(node, ast.Constant) and isinstance(node.value, str)]  # fmt: skip
    return "\n".join(constants)


@each_of_part_one
def test_the_teachers_notes_quote_what_checks_say(name: str) -> None:
    notes = [
        cell.source for cell in tagged(MASTERS[name], "teacher") if "| exercise |" in cell.source
    ]
    assert len(notes) == 1
    rows = re.findall(r"^\| (\d): .*\|$", notes[0], re.M)
    assert rows == [str(i + 1) for i in range(len(exercises(MASTERS[name])))]
    quoted = re.findall(r'"([^"]+)" \|$', notes[0], re.M)
    assert len(quoted) == len(tagged(MASTERS[name], "check"))
    for words in quoted:
        assert words in said_by_checks()


# --------------------------------------------------------------------------- what they run to
def run_slice(notebook: NotebookNode, call: ast.Call) -> bool:
    """Evaluate a check with only those statements of a notebook that it needs."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    source = ast.unparse(call)
    names: dict[str, object] = {}
    for piece in needed(pieces(sources, set(sources)), read(source)):
        exec(piece.source, names)
    return bool(eval(source, names))


@each_twin
def test_an_untouched_stub_is_no_error_and_not_filled_in(name: str, capsys) -> None:
    student = classroom.student_copy(MASTERS[name])
    for cell in tagged(student, "check"):
        for call in calls(cell.source):
            assert not run_slice(student, call)
            assert "not filled in yet" in capsys.readouterr().out, cell.source


@each_twin
def test_the_solutions_pass(name: str, capsys) -> None:
    for cell in tagged(MASTERS[name], "solution"):
        for call in calls(cell.source):
            assert run_slice(MASTERS[name], call), capsys.readouterr().out


# --------------------------------------------------------------------------- copies
@each_twin
def test_the_students_copy_is_the_master_without_some_cells(name: str) -> None:
    master = copy.deepcopy(MASTERS[name])
    student = classroom.student_copy(MASTERS[name])
    assert MASTERS[name] == master, "the master is left as it was"
    kept = [c for c in master.cells if not classroom.HIDDEN_TAGS & set(tags(c))]
    expected = [c for c in kept if classroom.without_solution(c.source).strip()]
    assert len(student.cells) == len(expected)
    for mine, theirs in zip(student.cells, expected, strict=True):
        assert (mine.cell_type, mine.id, tags(mine)) == (theirs.cell_type, theirs.id, tags(theirs))
        if mine.source != theirs.source:
            assert mine.cell_type == "markdown"
            assert theirs.source.startswith(mine.source), "only the solution at its end is gone"
    nbformat.validate(student)


@each_twin
def test_nothing_of_a_solution_is_left(name: str) -> None:
    written = json.dumps(classroom.student_copy(MASTERS[name]), ensure_ascii=False)
    assert "_solution" not in written and "Solution</summary>" not in written
    assert "For the teacher" not in written
    for tag in classroom.HIDDEN_TAGS:
        assert not tagged(classroom.student_copy(MASTERS[name]), tag)


def test_only_folded_solutions_are_cut_from_text() -> None:
    def folded(title: str) -> str:
        return f"<details><summary>{title}</summary>\n\nword\n\n</details>"

    text = "\n\n".join(["Before.", *map(folded, ("Hint 1", "Solution", "Answer")), "After.\n"])
    cut = classroom.without_solution(text)
    assert cut == "\n\n".join(["Before.", folded("Hint 1"), folded("Answer"), "After."])
    assert classroom.without_solution("Solution: none\n") == "Solution: none\n"


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two notebooks, one output in each, and their timings."""
    timings = {}
    for name in RUN_WHOLE:
        notebook = copy.deepcopy(MASTERS[name])
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
        cell.outputs, cell.execution_count = (
            [nbformat.v4.new_output("stream", text="printed before")],
            1,
        )
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        timings[name] = {"seconds": 17, "peak_memory_mb": 230}
    (tmp_path / "timings.json").write_text(json.dumps(timings))
    monkeypatch.setattr(classroom, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(classroom, "TIMINGS", tmp_path / "timings.json")
    return tmp_path


def test_both_sets_are_written_anew(stored: Path) -> None:
    (stored / "build" / "student").mkdir(parents=True)
    (stored / "build" / "student" / "old.ipynb").write_text("left from an earlier run")
    made = {
        path.relative_to(stored / "build").as_posix() for path in classroom.build(stored / "build")
    }
    there = {
        p.relative_to(stored / "build").as_posix() for p in (stored / "build").rglob("*.ipynb")
    }
    assert (
        made == there == {f"{kind}/{n}.ipynb" for kind in ("student", "teacher") for n in RUN_WHOLE}
    )


def test_the_teachers_copy_is_whole_and_says_what_it_takes(stored: Path) -> None:
    classroom.build(stored / "build")
    for name in RUN_WHOLE:
        master = nbformat.read(stored / f"{name}.ipynb", as_version=4)
        teacher = nbformat.read(stored / "build" / "teacher" / f"{name}.ipynb", as_version=4)
        note = teacher.cells.pop(1)
        assert "teacher" in tags(note) and "17 s and 230 MB" in note.source
        assert [(c.source, tags(c)) for c in teacher.cells] == [
            (c.source, tags(c)) for c in master.cells
        ]
        assert (
            "printed before" in json.dumps(teacher)
            and teacher.cells[0].source == master.cells[0].source
        )
        student = nbformat.read(stored / "build" / "student" / f"{name}.ipynb", as_version=4)
        assert "printed before" not in json.dumps(student)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN_WHOLE)
def test_an_untouched_students_copy_runs_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    student = classroom.student_copy(MASTERS[name])
    NotebookClient(
        student, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    checks = tagged(student, "check")
    assert checks
    for cell in checks:
        assert "not filled in yet" in cell.outputs[0].text
