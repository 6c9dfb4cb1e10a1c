"""A few questions at the end of a notebook: every choice gets an answer of its own.

The questions are data, `ldmlib/assets/quiz/NAME.json`: a list of questions, each with its choices,
and of each choice whether it is right and why. A question and a why may hold `code` in backticks
and formulas between dollar signs; the choices are plain text.
"""

from __future__ import annotations

import html
import json
import re

import ipywidgets

from ldmlib.storage.files import asset

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# Long choices would be cut off; and the box of an answer takes its colours from any theme.
STYLE = """<style>
.ldm-quiz .widget-radio-box label { display: flex; flex-direction: row-reverse;
  justify-content: flex-end; align-items: baseline; height: auto; line-height: 1.4;
  white-space: normal; }
.ldm-quiz .widget-radio-box input { flex: none; height: auto; margin: 0 8px 0 0; top: 2px;
  position: relative; }
.ldm-quiz [role=alert] { border-left: 4px solid; padding-left: 8px; line-height: 1.4; }
</style>"""
COLOURS = {True: "#2e8b57", False: "#d2691e"}


def quiz(name: str) -> Quiz:
    """The questions of a notebook, to be answered by a click or by Tab and Space.

    Args:
        name: of the notebook, such as "03_vae".

    Returns:
        box whose children are the style of the box, and a box for each question: the question, the
        box of its radio buttons, and the answer to the button that was chosen last.

    Raises:
        ValueError: there is no such quiz; the message lists those that there are.
    """
    return Quiz(questions(name))


def questions(name: str) -> list[dict]:
    """The questions of a notebook, as its file has them: {"question", "choices"} each.

    A choice is {"text", "right", "why"}.

    Raises:
        ValueError: there is no such quiz; the message lists those that there are.
    """
    known = sorted(path.stem for path in asset("quiz").glob("*.json"))
    if name not in known:
        raise ValueError(f"no quiz {name!r}; known are {', '.join(known)}")
    return json.loads(asset("quiz", f"{name}.json").read_text(encoding="utf-8"))


class Quiz(ipywidgets.VBox):
    """The widget of `quiz`, which a page without a kernel shows as plain HTML."""

    _ipython_display_ = None  # in ipywidgets 7 it would show the widget alone

    def __init__(self, asked: list[dict]) -> None:
        self.asked = asked
        boxes = [_question_box(number, question) for number, question in enumerate(asked, 1)]
        style = ipywidgets.HTML(STYLE)
        style.layout.display = "none"  # it takes no room
        super().__init__([style, *boxes])
        self.add_class("ldm-quiz")

    def _repr_mimebundle_(self, **_options: object) -> dict[str, object]:
        """The widget; where there is none, HTML whose choices open; elsewhere, the questions."""
        return {
            "text/plain": as_text(self.asked),
            "text/html": as_html(self.asked),
            WIDGET_VIEW: self.get_view_spec(),
        }


def _question_box(number: int, question: dict) -> ipywidgets.VBox:
    """One question, its choices, and room for an answer.

    Each choice is a group by itself: in JupyterLab the arrow keys that move within a group walk to
    another cell instead, but Tab and Space reach every button.
    """
    choices = question["choices"]
    text = ipywidgets.HTMLMath(_numbered(number, question))
    buttons = [
        ipywidgets.RadioButtons(
            options=[choice["text"]], value=None, layout=ipywidgets.Layout(width="auto")
        )
        for choice in choices
    ]
    answer = ipywidgets.HTMLMath()

    def reply(change: dict) -> None:
        if change["new"] is None:  # another choice took its place
            return
        for button in buttons:
            if button is not change["owner"]:
                button.index = None
        choice = choices[buttons.index(change["owner"])]
        colour = COLOURS[choice["right"]]
        answer.value = f'<div role="alert" style="border-color: {colour}">{_answer(choice)}</div>'

    for button in buttons:
        button.observe(reply, names="index")
    margin = ipywidgets.Layout(margin="0 0 16px")
    return ipywidgets.VBox([text, ipywidgets.VBox(buttons), answer], layout=margin)


def as_html(asked: list[dict]) -> str:
    """HTML that needs no script: a choice is opened, and shows what is to be said about it."""
    parts = []
    for number, question in enumerate(asked, 1):
        parts.append(f'<div role="group" aria-label="Question {number}">')
        parts.append(f"<p>{_numbered(number, question)}</p>")
        for choice in question["choices"]:
            kind = "right" if choice["right"] else "wrong"
            summary = f"<summary>{html.escape(choice['text'])}</summary>"
            parts.append(f'<details class="{kind}">{summary}<p>{_answer(choice)}</p></details>')
        parts.append("<br></div>")
    return "\n".join(['<div class="ldm-quiz">', *parts, "</div>"])


def as_text(asked: list[dict]) -> str:
    """Questions and choices for a terminal, without the answers."""
    parts = []
    for number, question in enumerate(asked, 1):
        choices = [f"   - {choice['text']}" for choice in question["choices"]]
        parts.append("\n".join([f"{number}. {question['question']}", *choices]))
    return "\n\n".join(parts)


def _numbered(number: int, question: dict) -> str:
    return f"<b>{number}.</b> {rich(question['question'])}"


def _answer(choice: dict) -> str:
    return f"<b>{'Right:' if choice['right'] else 'Not yet:'}</b> {rich(choice['why'])}"


def rich(text: str) -> str:
    """Text as HTML, with `code` and $formulas$ marked so that pages and notebooks draw them."""
    parts = re.split(r"(`[^`]+`|\$[^$]+\$)", html.escape(text, quote=False))
    for i in range(1, len(parts), 2):
        inside = parts[i][1:-1]
        code = parts[i].startswith("`")
        formula = rf'<span class="math notranslate nohighlight">\({inside}\)</span>'
        parts[i] = f"<code>{inside}</code>" if code else formula
    return "".join(parts)
