"""The quizzes: fair questions, an answer for every choice, and a form that needs no kernel."""

from __future__ import annotations

import ast
import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import ipywidgets
import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter

import clean_outputs
import notebooks as tool
from ldmlib import widgets
from ldmlib.storage.files import asset
from ldmlib.widgets.quiz import Quiz, as_html, as_text, questions, rich

NAMES = sorted(path.stem for path in (tool.NOTEBOOKS / "py").glob("*.py"))
FILES = sorted(asset("quiz").iterdir())
QUESTIONS = [(path.stem, question) for path in FILES for question in json.loads(path.read_text())]
MARKS = ("$", "`", "<", "\\")

each_name = pytest.mark.parametrize("name", NAMES)
each_question = pytest.mark.parametrize(("name", "question"), QUESTIONS)


def quiz_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells that carry the tag `quiz`."""
    return [cell for cell in notebook.cells if "quiz" in cell.metadata.get("tags", [])]


def place(question: dict) -> int:
    """Where the right choice of a question stands."""
    return [choice["right"] for choice in question["choices"]].index(True)


def parts(box: ipywidgets.VBox) -> list[tuple]:
    """Question, radio buttons and answer, for each question of a quiz."""
    return [one.children for one in box.children[1:]]


def chosen(buttons: ipywidgets.VBox) -> list[int]:
    """Which of a question's buttons are on."""
    return [i for i, button in enumerate(buttons.children) if button.index is not None]


# --------------------------------------------------------------------------- the questions
def test_every_notebook_has_a_quiz_and_every_quiz_a_notebook() -> None:
    assert [path.name for path in FILES] == [f"{name}.json" for name in NAMES]


@each_name
def test_each_quiz_has_three_questions(name: str) -> None:
    asked = questions(name)
    assert len(asked) == 3
    assert len({question["question"] for question in asked}) == 3


@each_question
def test_one_choice_is_right_and_all_can_be_told_apart(name: str, question: dict) -> None:
    choices = question["choices"]
    assert [choice["right"] for choice in choices].count(True) == 1
    assert 3 <= len(choices) <= 4
    assert len({choice["text"] for choice in choices}) == len(choices)


@each_question
def test_every_choice_has_its_reason(name: str, question: dict) -> None:
    for choice in question["choices"]:
        assert set(choice) == {"text", "right", "why"}
        assert len(choice["why"].split()) >= 8, "too short to explain anything"
        assert choice["why"].endswith(".")


def test_no_reason_is_given_twice() -> None:
    reasons = [choice["why"] for _, question in QUESTIONS for choice in question["choices"]]
    assert len(set(reasons)) == len(reasons)


@each_question
def test_choices_are_plain_text(name: str, question: dict) -> None:
    """A radio button draws no formulas and no code."""
    for choice in question["choices"]:
        assert not [mark for mark in MARKS if mark in choice["text"]]


@each_name
def test_the_right_choice_changes_its_place(name: str) -> None:
    assert len({place(question) for question in questions(name)}) > 1


def test_the_right_choice_is_not_known_by_its_place_or_length() -> None:
    places = Counter(place(question) for _, question in QUESTIONS)
    assert max(places.values()) < len(QUESTIONS) / 2
    lengths = [[len(choice["text"]) for choice in q["choices"]] for _, q in QUESTIONS]
    right = [some[place(q)] for some, (_, q) in zip(lengths, QUESTIONS, strict=True)]
    for extreme in (min, max):
        found = sum(extreme(some) == own for some, own in zip(lengths, right, strict=True))
        assert found < len(QUESTIONS) / 2


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no quiz '8_gan'; known are 00_start_here, .*07_"):
        widgets.quiz("8_gan")
    with pytest.raises(ValueError, match="no quiz '../data'"):
        widgets.quiz("../data")


# --------------------------------------------------------------------------- the widget
@each_name
def test_each_choice_is_answered_with_its_own_reason(name: str) -> None:
    box = widgets.quiz(name)
    for (_, buttons, answer), question in zip(parts(box), questions(name), strict=True):
        assert (chosen(buttons), answer.value) == ([], ""), "an answer before the choice"
        for i, choice in enumerate(question["choices"]):
            assert buttons.children[i].options == (choice["text"],)
            buttons.children[i].index = 0
            assert chosen(buttons) == [i]
            verdict = "Right:" if choice["right"] else "Not yet:"
            assert f"<b>{verdict}</b> {rich(choice['why'])}</div>" in answer.value


def test_a_choice_answers_its_own_question_only() -> None:
    (_, first, said), (_, second, also) = parts(widgets.quiz(NAMES[0]))[:2]
    first.children[0].index = 0
    before = said.value
    assert also.value == ""
    second.children[1].index = 0
    assert said.value == before


def test_a_wrong_choice_can_be_mended() -> None:
    question = questions(NAMES[0])[0]
    _, buttons, answer = parts(widgets.quiz(NAMES[0]))[0]
    right = place(question)
    buttons.children[(right + 1) % len(question["choices"])].index = 0
    wrong = answer.value
    buttons.children[right].index = 0
    assert "Not yet:" in wrong
    assert "Right:" in answer.value and "Not yet:" not in answer.value


def test_right_and_wrong_differ_in_more_than_words() -> None:
    question = questions(NAMES[0])[0]
    _, buttons, answer = parts(widgets.quiz(NAMES[0]))[0]
    colours = {}
    for i, choice in enumerate(question["choices"]):
        buttons.children[i].index = 0
        colours.setdefault(choice["right"], set()).add(answer.value.split('"')[3])
    assert not colours[True] & colours[False]


# --------------------------------------------------------------------------- without a kernel
class Outline(HTMLParser):
    """What an HTML text holds: its elements, its words, and which elements stay open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.stack: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append((tag, dict(attrs)))
        if tag != "br":  # it has no end
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """It must be the one that was begun last."""
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect the words."""
        self.words += data


@each_name
def test_html_lets_every_choice_be_opened(name: str) -> None:
    asked = questions(name)
    page = Outline(as_html(asked))
    assert page.stack == []
    details = [attributes for tag, attributes in page.tags if tag == "details"]
    kinds = [choice["right"] for question in asked for choice in question["choices"]]
    assert [one["class"] == "right" for one in details] == kinds
    assert not [one for one in details if "open" in one], "an answer is shown before the choice"
    assert [tag for tag, _ in page.tags].count("summary") == len(details)
    for question in asked:
        assert Outline(rich(question["question"])).words in page.words
        for choice in question["choices"]:
            assert choice["text"] in page.words
            assert Outline(rich(choice["why"])).words in page.words


def test_html_needs_no_script_and_nothing_from_elsewhere() -> None:
    for name in NAMES:
        tags = Outline(as_html(questions(name))).tags
        assert "script" not in {tag for tag, _ in tags}
        assert not [attrs for _, attrs in tags if {"src", "href", "onclick", "style"} & set(attrs)]


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("if a < b & c", "if a &lt; b &amp; c"),
        ("call `f(x<1)` now", "call <code>f(x&lt;1)</code> now"),
        ("so $x_t$.", r'so <span class="math notranslate nohighlight">\(x_t\)</span>.'),
        ("5 $ is no formula", "5 $ is no formula"),
    ],
)
def test_code_and_formulas_are_marked(text: str, drawn: str) -> None:
    assert rich(text) == drawn


@each_name
def test_plain_text_asks_and_does_not_tell(name: str) -> None:
    asked = questions(name)
    text = as_text(asked)
    for number, question in enumerate(asked, 1):
        assert f"{number}. {question['question']}" in text
        assert all(choice["text"] in text for choice in question["choices"])
        assert not [choice for choice in question["choices"] if choice["why"] in text]


def test_a_notebook_gets_the_widget_the_html_and_the_text() -> None:
    box = widgets.quiz(NAMES[0])
    data, _ = DisplayFormatter().format(box)
    asked = questions(NAMES[0])
    assert data["text/html"] == as_html(asked)
    assert data["text/plain"] == as_text(asked)
    assert data[clean_outputs.WIDGET_VIEW]["model_id"] == box.model_id


def test_the_display_of_ipywidgets_7_does_not_come_in_between() -> None:
    """There, a method of this name shows the widget without its HTML."""

    class OldBox(ipywidgets.VBox):
        def _ipython_display_(self) -> None:
            raise AssertionError("the HTML is lost")

    class OldQuiz(Quiz, OldBox):
        pass

    data, _ = DisplayFormatter().format(OldQuiz(questions(NAMES[0])))
    assert "text/html" in data


# --------------------------------------------------------------------------- in the notebooks
@each_name
def test_the_notebook_asks_its_own_quiz(name: str) -> None:
    (cell,) = quiz_cells(tool.read_twin(name))
    call = ast.parse(cell.source).body[-1].value
    assert (call.func.id, [argument.value for argument in call.args]) == ("quiz", [name])


@each_name
def test_the_notebook_stores_the_questions_as_they_are_now(name: str) -> None:
    stored = nbformat.read(tool.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    (cell,) = quiz_cells(stored)
    (output,) = cell.outputs
    assert dict(output.data) == {
        "text/html": as_html(questions(name)),
        "text/plain": as_text(questions(name)),
    }, f"the quiz has changed: run `make notebooks NB={name}`"


@pytest.mark.slow
def test_a_stored_quiz_is_the_same_after_every_run(tmp_path: Path) -> None:
    stored = []
    for _ in range(2):
        source = f"from ldmlib.widgets import quiz\n\nquiz({NAMES[0]!r})"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, id="quiz")])
        tool.execute(notebook)
        clean_outputs.remove_noise(notebook)
        (output,) = notebook.cells[0].outputs
        assert set(output.data) == {"text/html", "text/plain"}
        assert "widgets" not in notebook.metadata
        stored.append(nbformat.writes(notebook))
    assert stored[0] == stored[1]
