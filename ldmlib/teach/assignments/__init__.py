"""Two assignments and an exam whose numbers follow from a student's name, each with its key.

    sheet = assignments.make("1", "ada")                      # the same name, the same sheet
    assignments.save(sheet, "ada-1.json")                     # what the student gets
    assignments.save(sheet, "ada-1-key.json", key=True)       # with the answers, for the teacher
    assignments.mark(sheet, {"1a": 0.31, ...})                # points for each question
    assignments.report(sheet, "returned/ada-1.json")          # a filled-in sheet, line by line

Every answer is computed here, from the same functions that the course teaches; none is written
down. The code is public, so whoever knows the name can print the key. A `secret` word of the
teacher's goes into the numbers too, and then only the teacher can.
"""

import dataclasses
import unicodedata

from ldmlib.teach.assignments import exam, first, second
from ldmlib.teach.assignments.handed_in import load_answers, report
from ldmlib.teach.assignments.reading import decoded, name_key, tidy
from ldmlib.teach.assignments.sheet import Draw, Marked, Question, Sheet, mark, save

MAKERS = {"1": first.make, "2": second.make, "exam": exam.make}

__all__ = [
    "MAKERS",
    "Draw",
    "Marked",
    "Question",
    "Sheet",
    "load_answers",
    "make",
    "mark",
    "report",
    "save",
]


def make(name: str, student: str, secret: str = "") -> Sheet:
    """The sheet of this student: assignment "1" or "2", or "exam".

    Args:
        student: name or number; spaces, capitals and the way in which accents are stored do not
            matter.
        secret: a word that only the teacher knows; capitals and spaces matter.

    Raises:
        ValueError: an unknown assignment, or no student.
    """
    key = name_key(name)
    if key not in MAKERS:
        raise ValueError(f"the assignments are {', '.join(MAKERS)}, not {name!r}")
    student = tidy(student)
    if not name_key(student):
        raise ValueError("name a student, with --student: the numbers follow from the name")
    draw = Draw(key, name_key(student), unicodedata.normalize("NFC", decoded(secret)))
    return dataclasses.replace(MAKERS[key](student, draw), stamp=draw.stamp)
