"""Sheets that come back: whatever the editor and the keyboard, what is meant is read."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from ldmlib.teach import assignments
from ldmlib.teach.assignments.handed_in import load_sheet, report
from ldmlib.teach.assignments.reading import name_key, read_number, read_word, same_name, tidy
from ldmlib.teach.assignments.sheet import Draw, Question, Sheet

QUESTIONS = (
    Question("1a", "How probable is x = 0.3?", 2, 0.61, "Bayes."),
    Question("1b", "And x = 0.7?", 2, -1.25, "Bayes again."),
    Question("2", "How many of 9?", 3, 7, "Count.", True),
    Question("3", "Which one? (a) this; (b) that.", 1, "b", "That."),
    Question("4", "Draw it.", 10, None, "A drawing."),
)


def sheet(student: str = "José", secret: str = "cobalt", name: str = "1") -> Sheet:
    stamp = Draw(name, name_key(student), secret).stamp
    return Sheet(name, "A title", student, QUESTIONS, {"draws": [0.1]}, stamp=stamp)


def handed_in(folder: Path, answers: object, of: Sheet | None = None, **more: object) -> Path:
    content = (of or sheet()).content() | {"answers": answers} | more
    content = {key: value for key, value in content.items() if value is not None}
    path = folder / "sheet.json"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    return path


RIGHT = {"1a": 0.61, "1b": -1.25, "2": 7, "3": "b", "4": None}


def points(path: Path, of: Sheet | None = None) -> str:
    return report(of or sheet(), path)[-1]


# --------------------------------------------------------------------------- numbers and words
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0,61", 0.61), (" 0.61 ", 0.61), ("61 %", 0.61), ("61%", 0.61), ("61,0 %", 0.61),
        ("1 234,5", 1234.5), ("1\u00a0234,5", 1234.5), ("1\u202f234.5", 1234.5),
        ("1.234,5", 1234.5), ("1,234.5", 1234.5), ("1'234.5", 1234.5), ("1’234,5", 1234.5),
        ("1,234,567", 1234567.0), ("1.234.567", 1234567.0), ("1,234", 1.234), ("0,123", 0.123),
        ("1.2e-3", 0.0012), ("1,2e-3", 0.0012), ("1,2E-3", 0.0012), ("1.2·10^-3", 0.0012),
        ("1.2 × 10⁻³", 0.0012), ("1,2*10**-3", 0.0012), ("\u22120.61", -0.61), ("–0,61", -0.61),
        ("- 0,61", -0.61), ("+0,61", 0.61), ("3/4", 0.75), ("-3/4", -0.75), ("1 3/4", 1.75),
        ("½", 0.5), ("1½", 1.5), ("3⁄4", 0.75), ("０．６１", 0.61), ("٠٫٦١", 0.61), (",61", 0.61),
        (".61", 0.61), ("≈ 0.61", 0.61), ("x_s = 0,61", 0.61),
        ("p(1|x) ≈ 61 %", 0.61), ("ca. 0.61", 0.61), ("KL=0.61", 0.61), ("x = 3", 3.0),
        ("0.61 nats", 0.61), ("'0.61'", 0.61), ("0,61.", 0.61),
        ("\ufeff0.61\u200b", 0.61), ("7", 7.0), ("7,0", 7.0), (7, 7.0), ([0.5], 0.5),
        (["0,5"], 0.5), (1e-3, 1e-3),
    ],
)  # fmt: skip
def test_a_number_is_read_as_it_is_meant(text: object, number: float) -> None:
    assert read_number(text).value == pytest.approx(number, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    ["two", "", ",", "1.2.3", "12 34",
     "1,23,4", "0.6 or 0.7", "2 pi", "1/0", "3 4/5/6", "nan", "inf",
     "1e999", "0x10", "--1", "1 2/3/4", "61 %%", "x <= 3", "a = 3 or 4", "x = 3, y = 4",
     "-0.5 = x", True, None, {}, [], [1, 2], [[1]],
     float("inf"), 10**400, "9" * 500],
)  # fmt: skip
def test_what_is_no_number_is_not_guessed(text: object) -> None:
    assert read_number(text).value is None


def test_what_is_verbatim_is_not_repeated_and_a_lone_comma_is_explained() -> None:
    assert not read_number("0.61").said and not read_number(0.61).said
    assert read_number("0,61").said == "read as 0.61"
    assert read_number("1,234").said == "read as 1.234, with a decimal comma"


@pytest.mark.parametrize("text", ["b", " B ", "(b)", "b)", "B.", "ｂ", '"b"', "“b”", ["b"]])
def test_a_letter_is_read_through_its_decoration(text: object) -> None:
    assert read_word(text) == "b"


def test_names_are_compared_as_people_read_them() -> None:
    for other in ("Jose\u0301", " JOSÉ ", "jose\u0301", "José\u200b", "\ufeffJosé", "Ｊｏｓé"):
        assert same_name("José", other), other
    assert not same_name("José", "Jose") and same_name("Ada  B", "ada b")
    assert same_name("Straße", "STRASSE")


def test_a_name_from_a_command_line_without_utf_8_is_the_same_name() -> None:
    raw = "José".encode().decode("ascii", "surrogateescape")
    assert same_name(raw, "José") and tidy(raw) == "José"
    assert name_key("a\ud800b") == "a?b"


def test_one_name_gives_one_sheet_however_it_is_typed() -> None:
    typed = [unicodedata.normalize(form, "José  García ") for form in ("NFC", "NFD", "NFKD")]
    made = [assignments.make("exam", name, "cobalt") for name in typed]
    assert len({m.stamp for m in made}) == len({m.student for m in made}) == 1
    assert made[0].questions == made[1].questions
    assert (
        assignments.make(" Exam", "ada").questions[0]
        == assignments.make("exam", "Ada").questions[0]
    )


def test_plain_names_keep_their_numbers() -> None:
    assert Draw("1", name_key(" Ada  LOVELACE"), "").seed == Draw("1", "ada lovelace", "").seed
    assert Draw("1", "ada", "cobalt").seed == 262722506295673


# --------------------------------------------------------------------------- marks
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.61, "right"), ("0.61", "right"), ("0,61", "right: '0,61' (read as 0.61)"),
        ("0,55", "'0,55' (read as 0.55) is not right"), (0.55, "0.55 is not right"),
        ("two", "'two' cannot be read as a number: look at it yourself"), ("...", "no answer"),
        ("a\x1b[2Jb\nc", "'a\\x1b[2Jb\\nc' cannot be read as a number: look at it yourself"),
    ],
)  # fmt: skip
def test_the_report_shows_what_was_read(value: object, said: str) -> None:
    marked = assignments.mark(sheet(), {"1a": value})
    assert marked[0].said.replace("'0.61' ", "") == said


def test_the_first_line_says_which_sheet_and_how_much_of_it_is_answered(tmp_path: Path) -> None:
    path = handed_in(tmp_path, RIGHT | {"1b": " "})
    lines = report(sheet(), path)
    assert lines[0] == f"Assignment 1 for José: 5 questions, 18 points; {path} answers 3 of 5"
    assert lines[-1] == "José: 6 of 18 points"


def test_a_name_like_question_2_is_the_number_of_the_question(tmp_path: Path) -> None:
    path = handed_in(tmp_path, {"Question 2": 7, "Q1a": 0.61, "1b": None, "3": None, "4": None})
    assert points(path) == "José: 5 of 18 points"


def test_answers_that_were_filled_in_are_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "sheet.json"
    for key in (False, False, True, True, False):  # an empty sheet and a key are made anew
        assignments.save(sheet(), path, key)
    handed_in(tmp_path, RIGHT)
    before = path.read_bytes()
    for key in (False, True):
        with pytest.raises(FileExistsError, match=r"answers in it \(1a, 1b, 2, \.\.\.\)"):
            assignments.save(sheet(), path, key)
    assert path.read_bytes() == before


# --------------------------------------------------------------------------- whose sheet
def test_another_students_sheet_is_refused(tmp_path: Path) -> None:
    path = handed_in(tmp_path, RIGHT)
    with pytest.raises(ValueError, match="is the sheet of 'José', not of 'bob'"):
        report(sheet("bob"), path)
    assert points(path, sheet(" JOSE\u0301")).endswith(": 8 of 18 points")


def test_another_assignment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sheet of assignment '1', not of 'exam'"):
        report(sheet(name="exam"), handed_in(tmp_path, RIGHT))


def test_another_secret_is_refused_by_the_stamp_or_else_by_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="made with another --secret"):
        report(sheet(secret="zinc"), handed_in(tmp_path, RIGHT))
    texts = sheet().content()["questions"] | {"1b": "(2 points) And x = 0.9?"}
    old = handed_in(tmp_path, RIGHT, sheet=None, questions=texts)
    with pytest.raises(ValueError, match="other numbers in question 1b"):
        report(sheet(), old)


def test_what_a_file_does_not_say_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "bare.json"
    path.write_text(json.dumps({"answers": RIGHT}))
    lines = report(sheet(), path)
    notes = " ".join(line for line in lines if line.startswith("note: "))
    for words in ("of which assignment", "whose it is", "with which --secret"):
        assert words in notes
    assert lines[-1] == "José: 8 of 18 points"
    assert "the key itself" in " ".join(report(sheet(), handed_in(tmp_path, RIGHT, key={})))


def test_missing_and_unknown_questions_are_named(tmp_path: Path) -> None:
    answers = {"1A": 0.61, " 1b)": -1.25, "33": "b", "2": 7}
    lines = "\n".join(report(sheet(), handed_in(tmp_path, answers)))
    assert "the answer to '1A' was taken for 1a" in lines
    assert "there is no question '33', its answer does not count; did you mean 3?" in lines
    assert "no place for the answer to 3, 4" in lines
    assert "José: 7 of 18 points" in lines


def test_two_answers_to_one_question_are_refused(tmp_path: Path) -> None:
    path = handed_in(tmp_path, RIGHT)
    path.write_text(path.read_text("utf-8").replace('"1b": -1.25', '"1a": 0.7'), "utf-8")
    with pytest.raises(ValueError, match="'1a' stands there twice"):
        load_sheet(path)


# --------------------------------------------------------------------------- files
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_every_editors_file_is_read(encoding: str, ends: str, tmp_path: Path) -> None:
    path = handed_in(tmp_path, RIGHT)
    path.write_bytes(path.read_text("utf-8").replace("\n", ends).encode(encoding))
    assert points(path) == "José: 8 of 18 points"


@pytest.mark.parametrize(
    ("was", "typed"),
    [
        ("0.61,", "0,61,"), ("0.61,", "61 %,"), ("0.61,", ".61,"), ("0.61,", "61/100,"),
        ("0.61,", "“0,61”,"), ('"b",', "B,"), ("null", "null,"), ("-1.25", "\u22121,25"),
    ],
)  # fmt: skip
def test_values_without_quotes_are_read(was: str, typed: str, tmp_path: Path) -> None:
    path = handed_in(tmp_path, RIGHT)
    assert was in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace(was, typed), "utf-8")
    assert points(path) == "José: 8 of 18 points"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a sheet"), (b"# A title\n", "not a sheet"), (b"[1, 2]", "no `answers`"),
        (b'{"answers": [1]}', "no `answers`"), (b"PK\x03\x04\x00\xff", "not a sheet"),
        (b"[" * 100_000, "not a sheet"), (b'{"answers": {"1a": 0.5 "1b": 2}}', "line 1"),
    ],
)  # fmt: skip
def test_what_is_no_sheet_is_refused_in_a_sentence(content: bytes, words: str, tmp_path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        load_sheet(path)


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"hand in the \.json sheet"):
        load_sheet(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_sheet(tmp_path / "none.json")
