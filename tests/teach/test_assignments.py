"""Sheets from names: repeatable, different, solved by their own key and by no other."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from ldmlib import cli
from ldmlib.evaluation.evaluator import mnist_evaluator
from ldmlib.images import from_uint8
from ldmlib.probability.mixtures import GaussianMixture
from ldmlib.teach import assignments
from ldmlib.teach.assignments import second
from ldmlib.teach.assignments.sheet import Draw, Question

QUICK = ("1", "exam")
STUDENTS = ("ada", "grace", "emmy", "4711")
each_quick = pytest.mark.parametrize("name", QUICK)


def key_of(sheet: assignments.Sheet) -> dict:
    """The key as it comes back from a file."""
    return json.loads(json.dumps(sheet.content(key=True)))["answers"]


def points(sheet: assignments.Sheet, answers: dict) -> int:
    """What these answers are worth."""
    return sum(marked.points for marked in assignments.mark(sheet, answers))


def most(sheet: assignments.Sheet) -> int:
    """The points that need no person to be given."""
    return sum(question.points for question in sheet.questions if question.answer is not None)


# --------------------------------------------------------------------------- from a name
@each_quick
def test_the_same_name_gives_the_same_sheet_and_another_name_another(name: str) -> None:
    sheets = [assignments.make(name, student) for student in (*STUDENTS, "  Ada ")]
    assert sheets[0].questions == sheets[-1].questions and sheets[0].data == sheets[-1].data
    texts = {tuple(q.text for q in sheet.questions) for sheet in sheets}
    keys = {json.dumps(key_of(sheet)) for sheet in sheets}
    assert len(texts) == len(keys) == len(STUDENTS)


@each_quick
def test_a_secret_word_makes_other_numbers(name: str) -> None:
    known, hidden = (assignments.make(name, "ada", word) for word in ("", "cobalt"))
    assert known.questions != hidden.questions
    assert points(hidden, key_of(known)) < most(hidden)
    assert "cobalt" not in json.dumps(hidden.content(key=True)) + hidden.markdown()


@each_quick
def test_a_key_solves_its_own_sheet_and_no_other(name: str) -> None:
    sheets = [assignments.make(name, student) for student in STUDENTS]
    for sheet in sheets:
        for other in sheets:
            got = points(sheet, key_of(other))
            assert got == most(sheet) if other is sheet else got < 0.7 * most(sheet)


@each_quick
def test_the_sheet_without_key_holds_no_answer(name: str) -> None:
    sheet = assignments.make(name, "ada")
    assert set(sheet.content()["answers"].values()) == {None} and "key" not in sheet.content()
    assert not [q.key for q in sheet.questions if q.key in sheet.markdown()]
    assert all(q.key in sheet.markdown(key=True) for q in sheet.questions)


@each_quick
def test_answers_are_numbers_that_a_calculator_can_show(name: str) -> None:
    for student in STUDENTS:
        for q in assignments.make(name, student).questions:
            if isinstance(q.answer, float):
                assert math.isfinite(q.answer) and abs(q.answer) < 1000, q


def test_an_unknown_assignment_and_a_nameless_student_are_refused() -> None:
    with pytest.raises(ValueError, match="the assignments are 1, 2, exam"):
        assignments.make("3", "ada")
    with pytest.raises(ValueError, match="name a student"):
        assignments.make("1", "  ")


# --------------------------------------------------------------------------- draws and marks
def test_drawn_numbers_stay_in_their_range_and_are_rounded() -> None:
    draw = Draw("any", "words")
    numbers = [draw.number(-1, 2) for _ in range(300)]
    assert min(numbers) >= -1 and max(numbers) <= 2 and len(set(numbers)) > 20
    assert all(round(v, 1) == v for v in numbers)
    assert {draw.whole(3, 5) for _ in range(100)} == {3, 4, 5}
    assert sorted(draw.shuffled("abcd")) == list("abcd")


@pytest.mark.parametrize(
    ("answer", "exact", "value", "right"),
    [
        (2.0, False, 2.01, True),
        (2.0, False, "2.01", True),
        (2.0, False, 2.1, False),
        (0.001, False, 0.003, True),
        (-2.0, False, 2.0, False),
        (7, True, 7.0, True),
        (7, True, 6.99, False),
        ("copied", False, " Copied ", True),
        ("copied", False, "blurred", False),
        (2.0, False, "two", False),
        (2.0, False, None, False),
        (2.0, False, float("nan"), False),
        (2.0, False, [2.0], True),
        (2.0, False, [2.0, 2.0], False),
        (1.0, False, True, False),
        (2.0, False, 10**400, False),
        (0.61, False, "0,61", True),
        (0.61, False, "61 %", True),
        ("b", False, "(B)", True),
    ],
)
def test_rounding_is_forgiven_and_nothing_else(answer, exact, value, right) -> None:
    assert Question("1", "?", 1, answer, "", exact).right(value) == right


def test_what_a_person_must_mark_is_left_to_the_person() -> None:
    (marked,) = [m for m in assignments.mark(assignments.make("1", "ada"), {}) if m.name == "9"]
    assert marked.points == 0 and "rubric" in marked.said


# --------------------------------------------------------------------------- keys are true
def test_the_posterior_and_the_score_by_hand() -> None:
    sheet = assignments.make("1", "ada")
    w, m, s = (torch.tensor(sheet.data[k]).double() for k in ("weights", "means", "stds"))
    x = float(sheet.questions[0].text.split("x = ")[1].split(". ")[0])
    joint = w * torch.exp(-((x - m) ** 2) / (2 * s**2)) / s
    share = joint / joint.sum()
    assert sheet.questions[0].right(float(share[0]))
    assert sheet.questions[1].right(float((share * (m - x) / s**2).sum()))


def test_the_bound_of_the_key_is_fit_minus_price() -> None:
    for student in STUDENTS:
        question = next(q for q in assignments.make("1", student).questions if q.name == "4")
        words = question.text.replace(",", "").replace("?", "").split()
        s, x = float(words[words.index("+") + 1]), float(words[words.index("see") + 3])
        m, v = (float(words[words.index(k) + 1].rstrip(".")) for k in ("mean", "variance"))
        fit = -((x - m) ** 2 + v) / (2 * s**2) - 0.5 * math.log(2 * math.pi * s**2)
        price = 0.5 * (m**2 + v - 1 - math.log(v))
        assert question.answer == pytest.approx(fit - price, abs=1e-9)


def test_the_best_guess_is_the_mean_of_many_points_that_were_noised_there() -> None:
    sheet = assignments.make("1", "ada")
    question = next(q for q in sheet.questions if q.name == "8")
    t = float(question.text.split("t = ")[1].split(" ")[0])
    x_t = float(question.text.split("x_t = ")[1].split(". ")[0])
    w, m, s = (torch.tensor(sheet.data[k]).double() for k in ("weights", "means", "stds"))
    mixture = GaussianMixture(m[:, None], s[:, None, None] ** 2, w)
    torch.manual_seed(0)
    x0 = mixture.sample(2_000_000)[:, 0]
    seen = (1 - t) * x0 + t * torch.randn(len(x0))
    near = x0[(seen - x_t).abs() < 0.02]
    assert (
        abs(float(near.mean()) - question.answer) < 5 * float(near.std()) / len(near) ** 0.5 + 0.02
    )


# --------------------------------------------------------------------------- files, command line
def test_what_is_filled_in_comes_back_and_is_marked(tmp_path, monkeypatch, capsys) -> None:
    def ldm(*arguments: object) -> tuple[object, str]:
        monkeypatch.setattr("sys.argv", ["ldm", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, capsys.readouterr().out

    file = tmp_path / "ada.json"
    assert ldm("assignment", "exam", "--student", "ada", "--out", file)[0] == 0
    sheet = json.loads(file.read_text())
    code, said = ldm("assignment", "exam", "--student", "ada", "--mark", file)
    assert code == 0 and "ada: 0 of 80 points" in said
    assert said.startswith(f"Exam for ada: 18 questions, 80 points; {file} answers 0 of 18\n")
    sheet["answers"] = key_of(assignments.make("exam", "ada"))
    file.write_text(json.dumps(sheet))
    code, said = ldm("assignment", "exam", "--student", "ada", "--mark", file)
    assert f"ada: {most(assignments.make('exam', 'ada'))} of 80 points" in said
    code, said = ldm("assignment", "exam", "--student", "bob", "--mark", file)
    assert "is the sheet of 'ada', not of 'bob'" in code and not said
    code, said = ldm("assignment", "exam", "--student", "ada", "--mark", file, "--out", file)
    assert "without --out and --key" in code and not said
    code, said = ldm("assignment", "exam", "--student", "ada", "--out", file)
    assert "would be lost" in code and not said
    code, said = ldm("assignment", "exam", "--student", "ada", "--key")
    assert said == assignments.make("exam", "ada").markdown(key=True)
    code, _ = ldm("assignment", "1", "--student", "ada", "--out", tmp_path / "ada.docx")
    assert code.startswith("ldm: ") and ".json or .md" in code
    (tmp_path / "other.json").write_text("{}")
    code, _ = ldm("assignment", "1", "--student", "ada", "--mark", tmp_path / "other.json")
    assert code.startswith("ldm: ") and "no `answers`" in code


# --------------------------------------------------------------------------- assignment 2
def facts(**more: object) -> dict:
    """Facts as a sheet draws them."""
    return {"forgotten": 3, "different": 11, "width": 0.8, "seed": 5} | more


def test_each_set_is_what_it_is_said_to_be() -> None:
    sets = {kind: maker(facts()) for kind, maker in second.MAKERS.items()}
    assert all(x.shape == (second.N, 1, 32, 32) and x.dtype == torch.uint8 for x in sets.values())
    assert len(sets["collapsed"].flatten(1).unique(dim=0)) == 11
    train = {picture.numpy().tobytes() for picture in second.mnist("train").images}
    assert all(picture.numpy().tobytes() in train for picture in sets["copied"])
    test = second.mnist("test")
    kept = {p.numpy().tobytes() for p in test.images[test.labels != 3]}
    assert all(picture.numpy().tobytes() in kept for picture in sets["forgetful"])
    plain = second._test_digits(facts(), 1).float()
    assert sets["blurred"].float().diff(dim=3).abs().mean() < 0.8 * plain.diff(dim=3).abs().mean()


@pytest.mark.slow
def test_five_sets_can_be_told_apart_by_scores_and_the_key_knows_them(tmp_path) -> None:
    sheet = assignments.make("2", "ada")
    assignments.save(sheet, tmp_path / "ada.json")
    with np.load(tmp_path / "ada.npz") as stored:
        sets = {letter: torch.from_numpy(stored[letter])[:, None] for letter in stored}
    assert sorted(sets) == list(second.LETTERS)
    evaluator, key = mnist_evaluator(), key_of(sheet)
    assert points(sheet, key) == most(sheet) > points(sheet, key_of(assignments.make("2", "bob")))
    kinds = {key[f"1{letter}"]: x for letter, x in sets.items()}
    for letter, x in sets.items():
        assert key[f"2{letter}"] == pytest.approx(evaluator.fid(from_uint8(x)), rel=1e-3)
    fids = {kind: evaluator.fid(from_uint8(x)) for kind, x in kinds.items()}
    assert fids["honest"] < 2 * key["3"]
    assert min(fids["blurred"], fids["collapsed"], fids["forgetful"]) > fids["honest"]
    seen = evaluator.features(from_uint8(kinds["forgetful"]))[1].argmax(1)
    assert int(seen.bincount(minlength=10).argmin()) == key["4a"]
    assert len(kinds["collapsed"].flatten(1).unique(dim=0)) == key["4b"]
