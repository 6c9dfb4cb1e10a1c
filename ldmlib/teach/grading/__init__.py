"""Grade notebooks that were handed in: their exercise cells, judged by the course's own checks.

    for result in grade("handed_in/ada.ipynb", load_masters()):
        print(result.exercise, result.passed, result.message)

    read (notebook) --> slice (context) --> run in a process of its own (box, worker) --> report

Why not nbgrader or otter-grader: both are alive, but nbgrader 0.9.6 asks for Python 3.11, a
database and upper bounds on JupyterLab, and otter-grader 7.0 isolates submissions with Docker; here
the checks exist already, and a teacher's machine needs no more than a reader's.

It protects the teacher's machine: a submission can loop, crash, flood and delete what it likes, and
spoils its own row (`walls`, `guard`). It is no defence against somebody who sets out to cheat,
since answer and check share a process: read what surprises you.
"""

from ldmlib.teach.grading.notebook import load_masters
from ldmlib.teach.grading.report import save_csv, table
from ldmlib.teach.grading.session import grade_class
from ldmlib.teach.grading.submission import Result, grade

__all__ = ["Result", "grade", "grade_class", "load_masters", "save_csv", "table"]
