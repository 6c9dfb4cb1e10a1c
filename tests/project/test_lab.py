"""Two notebooks in JupyterLab, started as `make lab` does, in headless Chromium, without a mouse.

All cells are run, a slider is moved, a quiz answered, an exercise done wrong and then right. Where
Chromium, node, npm's packages or make are missing this is skipped and says why; with
LDM_REQUIRE_BROWSER=1, as in .ci/run, that is a failure. Screenshots go to LDM_SCREENSHOTS.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

import book
import browser
from book_project import ROOT
from ldmlib.widgets.quiz import questions

pytest.importorskip("jupyterlab", reason="the lab extra is missing")
pytestmark = pytest.mark.slow

NOTEBOOKS = ROOT / "notebooks"
DRIVER = ROOT / "tests" / "tools" / "lab_browser.mjs"
PURPOSE = "JupyterLab is not opened in a browser"
TOKEN = "secret"
START_SECONDS = 120
# What is worked on in each notebook: the widget's cell and the exercise's stub by how they read,
# a wrong and the right answer, and a word of the sentence that the wrong one earns.
WORK = {
    "00_start_here": {
        "widget": "denoising_film(",
        "stub": "calls = ...",
        "answers": ("calls = 20", "calls = 19"),
        "mistake": "last step",
    },
    "04_forward_diffusion": {
        "widget": "schedule_explorer()",
        "stub": "def variance(",
        "answers": (
            "def variance(alpha, sigma, v):\n    return (alpha**2 * v + sigma**2) ** 0.5",
            "def variance(alpha, sigma, v):\n    return alpha**2 * v + sigma**2",
        ),
        "mistake": "standard deviation",
    },
}
# Lines on the console that are no fault of the course: a pattern, and why it is harmless.
HARMLESS: dict[str, str] = {}

each_notebook = pytest.mark.parametrize("name", WORK)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with copies of the notebooks as a reader opens them, but not yet numbered."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "notebooks").mkdir()
    for path in NOTEBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.execution_count = None
        nbformat.write(notebook, folder / "notebooks" / path.name)
    return folder


def lab_command(course: Path, port: int) -> list[str]:
    """The command with which `make lab` would start JupyterLab in a folder, at that port."""
    if shutil.which("make") is None:
        browser.missing(f"make is missing: {PURPOSE}")
    options = f"--no-browser --ServerApp.port={port} --IdentityProvider.token={TOKEN}"
    command = ["make", "-n", "--no-print-directory", "-C", str(course), "-f", ROOT / "Makefile"]
    command += ["lab", f"VENV={sys.prefix}", f"LAB_ARGS={options} --ServerApp.port_retries=0"]
    dry = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = dry.stdout.replace("\\\n", " ").strip().splitlines()
    assert "jupyterlab" in lines[-1], dry.stdout
    return shlex.split(lines[-1])


def free_port() -> int:
    """A port that nothing listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def own_folders(folder: Path) -> dict[str, str]:
    """The environment for a Jupyter that reads and writes no settings but in a folder."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    names += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "LDMLIB_CACHE")
    own = {name: str(folder / name.lower()) for name in names}
    return {**os.environ, **own, "JUPYTER_PREFER_ENV_PATH": "1"}


@pytest.fixture(scope="module")
def address(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab that shows the copies."""
    folder, port = tmp_path_factory.mktemp("jupyter"), free_port()
    with open(folder / "log.txt", "w") as log:
        command, environment = lab_command(course, port), own_folders(folder)
        lab = subprocess.Popen(command, cwd=course, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api", lab, folder / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        lab.terminate()
        lab.wait(60)


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    """Return when the address answers; fail with the log if the process ends before that."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


def tagged(name: str, tag: str, beginning: str = "", after: int = -1) -> int:
    """The number of the first cell that has the tag and begins so; fails where there is none."""
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    for number, cell in enumerate(cells):
        wanted = tag in cell.metadata.get("tags", []) and cell.source.startswith(beginning)
        if wanted and number > after:
            return number
    pytest.fail(f"{name} has no cell tagged {tag!r} that begins with {beginning!r}")


def task_for(name: str, widget: str, stub: str, answers: tuple[str, ...], **_: str) -> dict:
    """What lab_browser.mjs is asked to do with a notebook."""
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    shown = [i for i, c in enumerate(cells) if c.cell_type == "code" and widget in c.source]
    exercise = tagged(name, "exercise", stub)
    return {
        "notebook": f"notebooks/{name}.ipynb",
        "cells": len(cells),
        "slider": shown[0],
        "quiz": {"cell": tagged(name, "quiz"), "choices": len(questions(name)[0]["choices"])},
        "exercise": {
            "stub": exercise,
            "check": tagged(name, "check", after=exercise),
            "answers": answers,
        },
    }


@pytest.fixture(scope="module")
def visits(course: Path, request: pytest.FixtureRequest) -> dict[str, dict]:
    """What happened in each notebook."""
    task = {
        "modules": str(book.MODULES),
        "chromium": browser.chromium_path(PURPOSE),
        "token": TOKEN,
        "visits": [task_for(name, **work) for name, work in WORK.items()],
        "shots": os.environ.get("LDM_SCREENSHOTS", ""),
    }
    node = browser.node_path(PURPOSE)
    task["address"] = request.getfixturevalue("address")  # now that nothing is missing
    command = [node, str(DRIVER), json.dumps(task)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    return {Path(line["notebook"]).stem: line for line in lines}


@each_notebook
def test_every_cell_ran_and_was_saved(name: str, visits: dict[str, dict], course: Path) -> None:
    saved = nbformat.read(course / visits[name]["notebook"], as_version=4)
    for cell in saved.cells:
        if cell.cell_type == "code" and cell.source.strip():
            assert cell.execution_count, cell.source
            assert not [output for output in cell.outputs if output.output_type == "error"]


@each_notebook
def test_a_key_moves_the_slider_and_the_picture(name: str, visits: dict[str, dict]) -> None:
    slider = visits[name]["slider"]
    assert slider["tabs"] is not None, "Tab does not lead to the slider"
    assert slider["changed"] and slider["back"]


@each_notebook
def test_keys_answer_the_quiz(name: str, visits: dict[str, dict]) -> None:
    quiz, choices = visits[name]["quiz"], questions(name)[0]["choices"]
    assert quiz["tabs"] is not None, "Tab does not lead to the quiz"
    assert len(quiz["said"]) == len(choices)
    for said, choice in zip(quiz["said"], choices, strict=True):
        assert said.startswith("Right:" if choice["right"] else "Not yet:")


@each_notebook
def test_an_exercise_is_wrong_and_then_right(name: str, visits: dict[str, dict]) -> None:
    wrong, right = visits[name]["exercise"]
    assert wrong.startswith("Not yet:") and WORK[name]["mistake"] in wrong
    assert right.startswith("Right:")


@each_notebook
def test_the_console_has_no_errors(name: str, visits: dict[str, dict]) -> None:
    errors = visits[name]["errors"]
    assert not [e for e in errors if not any(re.search(known, e) for known in HARMLESS)]
