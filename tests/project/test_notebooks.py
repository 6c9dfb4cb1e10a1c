"""Stored notebooks are complete, clean and equal to their py twins; that they run, nbval tests."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

import clean_outputs
import notebooks as tool

NOTEBOOKS = sorted(tool.NOTEBOOKS.glob("*.ipynb"))
TWINS = sorted((tool.NOTEBOOKS / "py").glob("*.py"))
LARGEST_FILE = 2_000_000
LONGEST_CELL = 25
CHECKED = "nbval-check-output"
ABSOLUTE_PATH = re.compile(
    clean_outputs.PATH_START
    + r"/(home|root|tmp|Users|work|workspace|content)"
    + clean_outputs.PATH_END
)
# {role}`text`, ```{directive}, :::{directive} and (label)=; code in backticks is taken out first.
CODE_SPAN = re.compile(r"(?<![`}])`[^`\n]+`")
MYST = re.compile(r"\{[a-z][\w:+-]*\}`|^\s*(```+|:::+|~~~+)\s*\{|^\([\w-]+\)=\s*$", re.MULTILINE)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    """The notebook as it is stored."""
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[NotebookNode]:
    """The code cells that hold something."""
    return [cell for cell in read(path).cells if cell.cell_type == "code" and cell.source.strip()]


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def stored_texts(node: object) -> list[str]:
    """Every text in the outputs but pictures."""
    texts: list[str] = []
    clean_outputs.map_text(copy.deepcopy(node), lambda text: texts.append(text) or text)
    return texts


def test_there_are_notebooks_and_each_has_a_twin() -> None:
    assert NOTEBOOKS
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in TWINS]


@each_notebook
def test_notebook_and_twin_agree(path: Path) -> None:
    def content(notebook: NotebookNode) -> list[tuple[str, str, list[str]]]:
        return [(cell.cell_type, cell.source, tags(cell)) for cell in notebook.cells]

    assert content(read(path)) == content(tool.read_twin(path.stem)), (
        f"notebooks/py/{path.stem}.py is the source: run `make notebooks NB={path.stem}`"
    )


@each_notebook
def test_first_cell_is_a_title(path: Path) -> None:
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


@each_notebook
def test_every_code_cell_was_run(path: Path) -> None:
    not_run = [
        cell.source
        for cell in code_cells(path)
        if cell.execution_count is None and "nbval-skip" not in tags(cell)
    ]
    assert not not_run


@each_notebook
def test_no_errors_are_stored_but_asked_for(path: Path) -> None:
    for cell in code_cells(path):
        if "raises-exception" not in tags(cell):
            assert all(output.output_type != "error" for output in cell.outputs), cell.source


@each_notebook
def test_checked_cells_carry_text_to_compare(path: Path) -> None:
    checked = [cell for cell in code_cells(path) if CHECKED in tags(cell)]
    assert checked, f"no cell is tagged {CHECKED}"
    for cell in checked:
        kinds = {output.output_type for output in cell.outputs}
        assert kinds & {"stream", "execute_result"}, cell.source


@each_notebook
def test_outputs_name_no_folders_of_one_machine(path: Path) -> None:
    notebook = read(path)
    stored = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    texts = stored_texts([stored, notebook.metadata.get("widgets", {})])
    assert not [text for text in texts if ABSOLUTE_PATH.search(text)]


@each_notebook
def test_stored_outputs_have_no_noise(path: Path) -> None:
    notebook = read(path)
    before = json.dumps(notebook)
    clean_outputs.remove_noise(notebook)
    assert json.dumps(notebook) == before, f"run `make notebooks NB={path.stem}`"


@each_notebook
def test_file_is_small(path: Path) -> None:
    assert path.stat().st_size < LARGEST_FILE


@each_notebook
def test_code_cells_are_short(path: Path) -> None:
    for cell in code_cells(path):
        lines = cell.source.splitlines()
        code = [line for line in lines if not line.startswith(("import ", "from "))]
        assert len(code) <= LONGEST_CELL, cell.source


@each_notebook
def test_markdown_reads_well_without_sphinx(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            assert not MYST.search(CODE_SPAN.sub("", cell.source)), cell.source


@pytest.mark.parametrize(
    ("text", "is_myst"),
    [
        ("see {doc}`other`", True),
        ("```{note}\nhello\n```", True),
        (":::{tip}\nhello\n:::", True),
        ("(a-label)=\n# Title", True),
        ("```python\nx = {1: 2}\n```", False),
        ("```mermaid\ngraph LR\n```", False),
        ("the f-string `f'{a}'` and `{a}/{b}`, and $\\mathcal{N}(0, I)$", False),
    ],
)
def test_myst_is_recognised(text: str, is_myst: bool) -> None:
    assert bool(MYST.search(CODE_SPAN.sub("", text))) == is_myst


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (f"{tool.ROOT}/ldmlib/data.py:3: UserWarning", "./ldmlib/data.py:3: UserWarning"),
        (f"saved in '{tool.ROOT}'", "saved in '.'"),
        (f"\x1b[32m{clean_outputs.HOME}/runs\x1b[0m", "\x1b[32m~/runs\x1b[0m"),
        (f"AAA{tool.ROOT}/AAA", f"AAA{tool.ROOT}/AAA"),
        (f"{tempfile.gettempdir()}/ipykernel_12/345.py:1: Warning", "<cell>:1: Warning"),
        ("<function f at 0x7f3a2b>", "<function f at 0x0>"),
        ("a rooted tree, and 3/4", "a rooted tree, and 3/4"),
    ],
)
def test_folders_and_addresses_are_replaced(text: str, cleaned: str) -> None:
    assert clean_outputs.plain_text(text) == cleaned


@pytest.mark.parametrize("home", ["/", None])
def test_a_user_without_a_home_folder_can_clean_outputs(home: str | None) -> None:
    """The tool is loaded anew, as such a user; a lone slash is no home folder."""
    code = (
        "import os\n"
        f"os.path.expanduser = lambda path: {home!r} or path\n"
        "import clean_outputs\n"
        "print(clean_outputs.plain_text('3 / 4'))"
    )
    folder = Path(clean_outputs.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.stdout == "3 / 4\n", done.stderr


@pytest.mark.parametrize(
    ("printed", "left"),
    [
        (" 40%|##   | 4/10 [00:01<00:02,  2.9it/s]\r100%|#####| 10/10 [00:03<00:00]\n", None),
        ("\r4it [00:01,  2.1it/s]", None),
        ("loss: 100%|##| 3/3 [00:00<00:00]\nUserWarning: mind this", "UserWarning: mind this"),
        ("UserWarning: 40% of it\n", "UserWarning: 40% of it\n"),
    ],
    ids=["with total", "without total", "before a warning", "no bar"],
)
def test_progress_bars_are_left_out(printed: str, left: str | None) -> None:
    output = nbformat.v4.new_output("stream", name="stderr", text=printed)
    kept = clean_outputs.clean_outputs([output])
    assert (kept[0].text if kept else None) == left


def test_only_widgets_that_are_shown_are_kept_and_numbered() -> None:
    """A slider with its layout and a link stay, in the order of their making; a loose one goes."""

    def model(name: str, **state: object) -> dict:
        return {"model_name": name, "state": state}

    layout, slider, link, box, text = (digit * 32 for digit in "fedcb")
    state = {
        layout: model("LayoutModel"),
        slider: model("IntSliderModel", layout=f"IPY_MODEL_{layout}", value=3),
        link: model("LinkModel", source=[f"IPY_MODEL_{slider}", "value"]),
        box: model("HBoxModel", children=[f"IPY_MODEL_{text}"]),
        text: model("HTMLModel"),
    }
    cell = nbformat.v4.new_code_cell("slider", execution_count=1)
    view = {clean_outputs.WIDGET_VIEW: {"model_id": slider, "version_major": 2, "version_minor": 0}}
    cell.outputs = [nbformat.v4.new_output("display_data", data=view)]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata["widgets"] = {clean_outputs.WIDGET_STATE: {"state": state}}
    notebook = nbformat.from_dict(notebook)
    clean_outputs.remove_noise(notebook)
    kept = notebook.metadata["widgets"][clean_outputs.WIDGET_STATE]["state"]
    names = [widget["model_name"] for widget in kept.values()]
    assert names == ["LayoutModel", "IntSliderModel", "LinkModel"]
    assert [int(number, 16) for number in kept] == [1, 2, 3]
    assert notebook.cells[0].outputs[0].data[clean_outputs.WIDGET_VIEW]["model_id"] == f"{2:032x}"
