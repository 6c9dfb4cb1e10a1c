"""Notebooks from their py twins: notebooks/py/NN_name.py is the source, NN_name.ipynb is made.

    python tests/tools/notebooks.py run [06 ...]    execute, store outputs, note seconds and memory
    python tests/tools/notebooks.py pair [06 ...]   remake them; unchanged cells keep outputs
    python tests/tools/notebooks.py check           what tests/project/test_notebooks.py holds

Names may be shortened to their start; without names, all are meant. Outputs are stored without
progress bars, so a cell whose output is compared (tag `nbval-check-output`) must not draw one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

import ldmlib  # noqa: F401  (sets GOMP_SPINCOUNT, which the kernels inherit)
from clean_outputs import remove_noise

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
TIMINGS = NOTEBOOKS / "timings.json"
CELL_TIMEOUT = 900
SAME_TIMING = 0.1
KEPT_METADATA = ("tags", "mystnb")
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"},
}
# The kernel's own account of the most memory it held: kilobytes, but bytes on macOS.
PEAK_MEMORY = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
MEGABYTE = 2**20 if sys.platform == "darwin" else 2**10


def read_twin(name: str) -> NotebookNode:
    """The notebook that the py twin describes: sources and tags, no outputs."""
    notebook = jupytext.read(NOTEBOOKS / "py" / f"{name}.py")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in KEPT_METADATA if key in cell.metadata}
    number_cells(notebook)
    return notebook


def number_cells(notebook: NotebookNode) -> None:
    """Give each cell an id that follows from its source and survives changes around it."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        text = f"{cell.cell_type} {cell.source}"
        seen[text] = seen.get(text, 0) + 1
        cell.id = hashlib.sha256(f"{seen[text]} {text}".encode()).hexdigest()[:8]


def run(names: list[str]) -> int:
    """Execute and store notebooks; one that fails stays as it was. Returns how many failed."""
    failed = 0
    for name in names:
        print(f"{name}: running ...", flush=True)
        notebook = read_twin(name)
        try:
            seconds, megabytes = execute(notebook)
        except (CellExecutionError, DeadKernelError, TimeoutError) as error:
            print(f"{error}\n{name}: failed, the stored notebook is left as it was", flush=True)
            failed += 1
            continue
        remove_noise(notebook)
        nbformat.write(notebook, NOTEBOOKS / f"{name}.ipynb")
        note_timing(name, seconds, megabytes)
        print(f"{name}: {seconds:.0f} s, {megabytes:.0f} MB", flush=True)
    return failed


def execute(notebook: NotebookNode) -> tuple[float, float]:
    """Run all cells in a fresh kernel; returns its seconds and its peak megabytes."""
    notebook.cells.append(nbformat.v4.new_code_cell(PEAK_MEMORY))
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        shutdown_kernel="immediate",
        record_timing=False,
        coalesce_streams=True,
    )
    start = time.perf_counter()
    with client.setup_kernel():  # client.execute() would take Ctrl-C for a dead kernel
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    client.set_widgets_metadata()
    seconds = time.perf_counter() - start
    peak = notebook.cells.pop().outputs[0].text
    return seconds, int(peak) / MEGABYTE


def note_timing(name: str, seconds: float, megabytes: float) -> None:
    """Write one notebook's rounded figures into timings.json, unless they hardly changed."""
    timings = json.loads(TIMINGS.read_text()) if TIMINGS.is_file() else {}
    new = {"peak_memory_mb": round(megabytes / 10) * 10, "seconds": round(seconds)}
    old = timings.get(name, dict.fromkeys(new, 0))
    if any(abs(new[key] - old[key]) > max(2, SAME_TIMING * old[key]) for key in new):
        timings[name] = new
    TIMINGS.write_text(json.dumps(timings, indent=1, sort_keys=True) + "\n")


def pair(names: list[str]) -> int:
    """Remake notebooks from their twins; cells with the same source keep their outputs."""
    for name in names:
        notebook, path = read_twin(name), NOTEBOOKS / f"{name}.ipynb"
        old = nbformat.read(path, as_version=4) if path.is_file() else nbformat.v4.new_notebook()
        number_cells(old)
        kept = {cell.id: cell for cell in old.cells if cell.cell_type == "code"}
        for cell in notebook.cells:
            if cell.id in kept:
                cell.outputs = kept[cell.id].outputs
                cell.execution_count = kept[cell.id].execution_count
        if "widgets" in old.metadata:
            notebook.metadata["widgets"] = old.metadata["widgets"]
        remove_noise(notebook)
        nbformat.write(notebook, path)
        new = sum(cell.cell_type == "code" and cell.id not in kept for cell in notebook.cells)
        print(f"{name}: {new} code cells to run" if new else f"{name}: every cell kept its output")
    return 0


def check(names: list[str]) -> int:
    """Run tests/project/test_notebooks.py, which holds twins equal and outputs complete."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/project/test_notebooks.py"]
    return subprocess.run(command, cwd=ROOT).returncode


def chosen(beginnings: list[str]) -> list[str]:
    """The names of the twins that start with one of `beginnings`; all of them if there are none."""
    names = sorted(path.stem for path in (NOTEBOOKS / "py").glob("*.py"))
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in names):
            raise SystemExit(f"No notebook starts with {beginning!r}, only: {', '.join(names)}")
    return [name for name in names if not beginnings or name.startswith(tuple(beginnings))]


def main() -> int:
    """Do what the command line asks for; the exit status is 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["run", "pair", "check"])
    parser.add_argument("names", nargs="*", help="starts of names, such as 06; all without any")
    args = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # of cells cut short by Ctrl-C
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not the user's
    os.environ.pop("LDMLIB_RUNS", None)  # trainings start anew
    verb = {"run": run, "pair": pair, "check": check}[args.verb]
    return 1 if verb(chosen(args.names)) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted: the notebook that was running is left as it was.")
