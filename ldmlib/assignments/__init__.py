"""Two assignments and an exam whose numbers follow from a student's name, each with its key.

    sheet = assignments.make("1", "ada")                      # the same name, the same sheet
    assignments.save(sheet, "ada-1.json")                     # what the student gets
    assignments.save(sheet, "ada-1-key.json", key=True)       # with the answers, for the teacher
    assignments.mark(sheet, {"1a": 0.31, ...})                # points for each question

Every answer is computed here, from the same functions that the course teaches; none is written
down. The code is public, so whoever knows the name can print the key. A `secret` word of the
teacher's goes into the numbers too, and then only the teacher can.
"""

from ldmlib.assignments import exam, first, second
from ldmlib.assignments.sheet import Draw, Marked, Question, Sheet, load_answers, mark, save

MAKERS = {"1": first.make, "2": second.make, "exam": exam.make}

__all__ = ["Draw", "MAKERS", "Marked", "Question", "Sheet", "load_answers", "make", "mark", "save"]


def make(name: str, student: str, secret: str = "") -> Sheet:
    """The sheet of this student: assignment "1" or "2", or "exam".

    Args:
        student: name or number; spaces around it and capitals do not matter.
        secret: a word that only the teacher knows.

    Raises:
        ValueError: an unknown assignment, or no student.
    """
    if name not in MAKERS:
        raise ValueError(f"the assignments are {', '.join(MAKERS)}, not {name!r}")
    student = " ".join(student.split())
    if not student:
        raise ValueError("name a student, with --student: the numbers follow from the name")
    return MAKERS[name](student, Draw(name, student.casefold(), secret))
