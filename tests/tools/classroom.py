"""From the notebooks: copies for students and for the teacher, in build/student and build/teacher.

    python tests/tools/classroom.py [FOLDER]     FOLDER in place of build

A student's copy has no solutions, no notes for the teacher and no outputs; the teacher's has all of
them, and says at its top what the notebook takes. Both are made from what is stored in notebooks/.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor
from nbformat import NotebookNode

from notebooks import NOTEBOOKS, ROOT, TIMINGS, number_cells

HIDDEN_TAGS = {"solution", "teacher"}
SOLUTION = re.compile(r"<details>\s*<summary>Solution</summary>.*?</details>\s*", re.DOTALL)


def student_copy(notebook: NotebookNode) -> NotebookNode:
    """The notebook without solutions, notes for the teacher, outputs and states of widgets."""
    student = copy.deepcopy(notebook)
    for preprocessor in (
        TagRemovePreprocessor(remove_cell_tags=HIDDEN_TAGS),
        ClearOutputPreprocessor(),
    ):
        student, _ = preprocessor.preprocess(student, {})
    for cell in student.cells:
        if cell.cell_type == "markdown":
            cell.source = without_solution(cell.source)
    student.cells = [cell for cell in student.cells if cell.source.strip()]
    student.metadata.pop("widgets", None)
    return student


def without_solution(text: str) -> str:
    """Markdown without its folded solutions; other text is left as it is."""
    return SOLUTION.sub("", text).rstrip() if SOLUTION.search(text) else text


def teacher_copy(notebook: NotebookNode, timing: dict[str, int] | None) -> NotebookNode:
    """The whole notebook, with what it takes to run written below its title."""
    teacher = copy.deepcopy(notebook)
    took = "Nobody has measured yet how long all cells take: `make notebooks` does."
    if timing:
        took = (
            f"All cells together took {timing['seconds']} s and {timing['peak_memory_mb']} MB on 2 "
            "CPU cores when this copy was measured."
        )
    graded = sum("check" in cell.metadata.get("tags", []) for cell in teacher.cells)
    note = nbformat.v4.new_markdown_cell(
        f"**For the teacher.** {took} "
        f"{graded} exercises have a check; notes stand below the exercises. `make student` has "
        "made the copy for students, without notes and solutions.",
        metadata={"tags": ["teacher"]},
    )
    teacher.cells.insert(1, note)
    number_cells(teacher)
    return teacher


def build(folder: Path) -> list[Path]:
    """Write both sets anew; returns the files."""
    timings = json.loads(TIMINGS.read_text(encoding="utf-8"))
    made = []
    for kind in ("student", "teacher"):
        shutil.rmtree(folder / kind, ignore_errors=True)
        (folder / kind).mkdir(parents=True)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        student, teacher = student_copy(notebook), teacher_copy(notebook, timings.get(path.stem))
        for kind, of_kind in (("student", student), ("teacher", teacher)):
            made.append(folder / kind / path.name)
            nbformat.write(of_kind, made[-1])
    return made


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build"
    files = build(target)
    print(f"{len(files) // 2} notebooks for students in {target / 'student'}")
    print(f"{len(files) // 2} notebooks for the teacher in {target / 'teacher'}")
