"""Takes out of a notebook's outputs what would differ in the next run of the same code.

Progress bars, this machine's folders, memory addresses and the random ids of widgets go; pictures
and everything that a cell really prints stay.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# As tqdm draws them: "40%|####    | 4/10 [00:01<00:02, ...", without a total "4it [00:01, ...".
PROGRESS_BAR = re.compile(r"\d+%\|.*\||\d+\w* \[(\d+:)?\d\d:\d\d[,<]")
# No path starts after a character of base64 text, unless that ends a colour code.
PATH_START, PATH_END = r"(?:(?<![\w+/])|(?<=\dm))", r"(?![\w-])"
TEMPORARY = re.escape(tempfile.gettempdir())
# "~" for a user without a home folder. One whose home is "/", as in some containers, has no folder
# of their own either, and every slash would be taken for it.
HOME = os.path.expanduser("~").rstrip("/") or "~"
REPLACEMENTS = {
    re.compile(pattern): replacement
    for pattern, replacement in (
        (rf"{PATH_START}{TEMPORARY}/ipykernel_\d+/\d+\.py", "<cell>"),
        (rf"{PATH_START}{re.escape(str(ROOT))}{PATH_END}", "."),
        (rf"{PATH_START}{re.escape(HOME)}{PATH_END}", "~"),
        (rf"{PATH_START}{TEMPORARY}{PATH_END}", "$TMPDIR"),
        (r"\bat 0x[0-9a-fA-F]+", "at 0x0"),
    )
}


def remove_noise(notebook: NotebookNode) -> None:
    """Clean all outputs and the state of the widgets, in place; doing it twice changes nothing."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = clean_outputs(cell.outputs)
    widgets = notebook.metadata.get("widgets", {}).get(WIDGET_STATE)
    if widgets:
        for model in widgets["state"].values():
            if model["model_name"] == "OutputModel":
                model["state"]["outputs"] = clean_outputs(model["state"].get("outputs", []))
        widgets["state"] = used_widgets(map_text(widgets["state"], plain_text), notebook)
        renumber_widgets(notebook)
        if not widgets["state"]:
            del notebook.metadata["widgets"]


def clean_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs without progress bars, folders and addresses."""
    without_bars = [cleaned for output in outputs if (cleaned := without_progress(output))]
    for output in without_bars:
        if "text/html" in output.get("data", {}):  # a widget that works without a kernel, as that
            output["data"].pop(WIDGET_VIEW, None)
    return map_text(without_bars, plain_text)


def without_progress(output: NotebookNode) -> NotebookNode | None:
    """The output without progress bars; None if it was nothing else."""
    if output["output_type"] == "stream" and output["name"] == "stderr":
        lines = re.split(r"[\r\n]", output["text"].replace("\x1b[A", ""))
        output["text"] = "\n".join(line for line in lines if not PROGRESS_BAR.search(line))
        return output if output["text"].strip() else None
    data = output.get("data", {})
    is_bar = WIDGET_VIEW in data and PROGRESS_BAR.search(data.get("text/plain", ""))
    return None if is_bar else output


def plain_text(text: str) -> str:
    """The text with this machine's folders and memory addresses replaced."""
    for pattern, replacement in REPLACEMENTS.items():
        text = pattern.sub(replacement, text)
    return text


def map_text(node: object, change: Callable[[str], str]) -> object:
    """The JSON `node` with `change` applied to every text in it but pictures and buffers."""
    if isinstance(node, str):
        return change(node)
    if isinstance(node, list):
        return [map_text(item, change) for item in node]
    if isinstance(node, dict):
        for key in node:
            if key != "buffers" and (not key.startswith("image/") or key == "image/svg+xml"):
                node[key] = map_text(node[key], change)
    return node


def used_widgets(state: dict, notebook: NotebookNode) -> dict:
    """The widgets that a stored output shows, what they are made of, and the links between them."""

    def mentioned(node: object) -> set[str]:
        found = re.findall(r'IPY_MODEL_(\w+)|"model_id": "(\w+)"', json.dumps(node))
        return {part or view for part, view in found} & set(state)

    parts = {key: mentioned(model) for key, model in state.items()}
    links = {key for key, model in state.items() if "Link" in model["model_name"]}
    used: set[str] = set()
    more = mentioned(notebook.cells)
    while more:
        used |= more
        more = set().union(*(parts[key] for key in used))
        more = (more | {key for key in links if parts[key] <= used}) - used
    return {key: model for key, model in state.items() if key in used}


def renumber_widgets(notebook: NotebookNode) -> None:
    """Give the widgets, whose ids are random, numbers in the order in which they were made."""
    state = notebook.metadata["widgets"][WIDGET_STATE]["state"]
    if state:
        numbers = {old: f"{number:032x}" for number, old in enumerate(state, start=1)}
        pattern = re.compile("|".join(numbers))
        text = pattern.sub(lambda found: numbers[found[0]], json.dumps(notebook))
        notebook.update(nbformat.from_dict(json.loads(text)))
