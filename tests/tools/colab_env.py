"""An environment like Colab's beside this one, and a notebook run in it as Colab's reader runs it.

Installed are the versions that Colab publishes and that a newer release would not replace unseen;
PyTorch, which is large, and whatever else `ldmlib` declares to need, are linked from the present
environment. `ldmlib` itself is left out: the notebooks' set-up cell brings it, from a wheel.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from packaging.requirements import Requirement

import clean_outputs

ROOT = Path(__file__).resolve().parents[2]
PINS = (
    "ipywidgets==7.7.1",
    "ipykernel==6.17.1",
    "ipython==7.34.0",
    "numpy==2.1.*",
    "matplotlib==3.10.*",
)
CHECKED = "nbval-check-output"
CELL_TIMEOUT = 900


class NotInstallable(RuntimeError):
    """Colab's versions cannot be had here; the message is pip's own."""


def make_environment(folder: Path) -> Path:
    """Make the environment in `folder`; returns its Python.

    Raises:
        NotInstallable: pip could not install the versions.
    """
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-compile"]
    done = subprocess.run([*pip, *PINS], capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstallable((errors or ["pip failed"])[-1])
    [site] = folder.glob("lib/python*/site-packages")
    for source in needed_files({one.name for one in distributions(path=[str(site)])}):
        if not (site / source.name).exists():
            (site / source.name).symlink_to(source)
    return python


def needed_files(there: set[str]) -> set[Path]:
    """Top folders and files of the packages that ldmlib requires, and that these require.

    there: names of packages that have their own version in the environment.
    """
    waiting, seen, found = ["ldmlib"], set(there), set()
    while waiting:
        one = distribution(waiting.pop())
        if one.name in seen:
            continue
        seen.add(one.name)
        waiting += [item.name for item in requirements(one)]
        if one.name != "ldmlib":
            tops = {path.parts[0] for path in one.files or ()} - {"..", "__pycache__"}
            found |= {Path(str(one.locate_file(top))) for top in tops}
    return {path for path in found if path.suffix != ".pth"}


def requirements(one: Distribution) -> list[Requirement]:
    """What a package asks for here, extras left out."""
    every = [Requirement(text) for text in one.requires or ()]
    return [item for item in every if not item.marker or item.marker.evaluate({"extra": ""})]


def build_wheel(folder: Path) -> Path:
    """ldmlib's wheel, built in `folder` from a copy of the sources."""
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(ROOT / "ldmlib", source / "ldmlib", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(source)], check=True)
    [wheel] = folder.glob("ldmlib-*.whl")
    return wheel


def run_alone(path: Path, python: Path, folder: Path, variables: dict[str, str]) -> NotebookNode:
    """Copy a notebook alone into `folder`, run it with that Python, and return it with outputs."""
    folder.mkdir()
    notebook = nbformat.read(shutil.copy(path, folder), as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(
            kernel_name="colab",
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(kernels(python, variables))]),
        ),
        timeout=CELL_TIMEOUT,
        resources={"metadata": {"path": str(folder)}},
        shutdown_kernel="immediate",
    )
    return client.execute(cleanup_kc=True)  # a manager of our own is not shut down otherwise


def kernels(python: Path, variables: dict[str, str]) -> Path:
    """A folder that describes one kernel, colab: that Python, with these environment variables."""
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    calm = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # else the old ipykernel warns of a debugger
    spec = {"argv": argv, "display_name": "Colab", "language": "python", "env": variables | calm}
    folder = python.parents[1] / "kernels"
    (folder / "colab").mkdir(parents=True, exist_ok=True)
    (folder / "colab" / "kernel.json").write_text(json.dumps(spec))
    return folder


def checked_texts(notebook: NotebookNode) -> dict[str, str]:
    """Source -> printed text and shown value of the cells whose outputs are compared."""
    cells = [cell for cell in notebook.cells if CHECKED in cell.metadata.get("tags", [])]
    return {cell.source: "".join(map(text_of, cell.outputs)) for cell in cells}


def text_of(output: NotebookNode) -> str:
    """The plain text of one output, errors and warnings left out."""
    if output.output_type == "stream":
        return clean_outputs.plain_text(output.text) if output.name == "stdout" else ""
    return clean_outputs.plain_text(output.get("data", {}).get("text/plain", ""))
