"""Notebooks open in Colab from their first cell, and run there alone in an empty folder.

The slow part builds an environment with Colab's versions. `make test` runs the quick notebooks in
it; all of them with

    LDM_COLAB=all .venv/bin/python -m pytest tests/project/test_colab.py
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nbformat import NotebookNode

import book
import book_project
import colab_env
import notebooks as tool
from ldmlib import __version__, data
from ldmlib.latent import recipes
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.training.config import TrainConfig
from ldmlib.training.loop import Loop
from ldmlib.training.run import resumable

TWINS = sorted((tool.NOTEBOOKS / "py").glob("*.py"))
QUICK = ("00", "01", "04")
# Exists in ipywidgets 8 only, or turns Colab's own widget manager off.
NOT_IN_COLAB = re.compile(
    r"\b(?:TagsInput|ColorsInput|Stack|GridspecLayout|enable_custom_widget_manager)\b"
    r"|\.tooltip\b|\btitles=|\btooltip="
)
WIDGETS = sorted((tool.ROOT / "ldmlib" / "widgets").glob("*.py"))

each_twin = pytest.mark.parametrize("path", TWINS, ids=lambda path: path.stem)


def cells(path: Path) -> list[NotebookNode]:
    return tool.read_twin(path.stem).cells


def setup_source() -> str:
    """The set-up cell of the first notebook."""
    [cell] = [cell for cell in cells(TWINS[0]) if "setup" in cell.metadata.get("tags", [])]
    return cell.source


# --------------------------------------------------------------------------- in every notebook
@each_twin
def test_the_first_cell_opens_the_notebook_in_colab(path: Path) -> None:
    place = f"{book_project.repository()}/blob/main/notebooks/{path.stem}.ipynb"
    badge = f"[Open in Colab](https://colab.research.google.com/github/{place})"
    assert cells(path)[0].source.splitlines()[2] == badge


def test_another_repository_is_opened_and_installed_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebooks" / "py").mkdir(parents=True)
    shutil.copy(tool.ROOT / "pyproject.toml", tmp_path)
    twin = Path(shutil.copy(TWINS[0], tmp_path / "notebooks" / "py"))
    for module in (book, book_project):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    assert book.repo("ada/diffusion") == 0
    text = twin.read_text(encoding="utf-8")
    assert "/github/ada/diffusion/blob/main/notebooks/00" in text
    assert f'"git+https://github.com/ada/diffusion@v{__version__}"' in text


@each_twin
def test_the_set_up_cell_is_the_same_and_the_first_to_run(path: Path) -> None:
    first = next(cell for cell in cells(path) if cell.cell_type == "code")
    assert first.metadata.get("tags") == ["setup"] and first.source == setup_source()


@pytest.mark.parametrize("path", [*TWINS, *WIDGETS], ids=lambda path: path.stem)
def test_only_widgets_that_colab_has_are_used(path: Path) -> None:
    assert not NOT_IN_COLAB.findall(path.read_text(encoding="utf-8"))


# --------------------------------------------------------------------------- the set-up cell
def set_up(monkeypatch: pytest.MonkeyPatch, in_colab: bool, has_library: bool, code: int = 0):
    """Run the set-up cell in a described place; returns the commands that it started."""
    commands = []

    def run(command: list[str], **_) -> subprocess.CompletedProcess:
        commands.append(command)
        return subprocess.CompletedProcess(command, code, "", "ERROR: no such tag\n")

    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    if in_colab:
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    if not has_library:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", run)
    exec(setup_source(), {})
    return commands


@pytest.mark.parametrize("in_colab", [False, True])
def test_where_the_library_is_there_set_up_does_and_says_nothing(
    in_colab: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    assert set_up(monkeypatch, in_colab, has_library=True) == []
    assert capfd.readouterr() == ("", "")


def test_nothing_is_installed_outside_of_colab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ldmlib", None)
    with pytest.raises(ImportError, match=r"elsewhere, use `make lab`, or `pip install git\+"):
        set_up(monkeypatch, in_colab=False, has_library=False)


@pytest.mark.parametrize("wished", [None, "/some/where/ldmlib-0.1.0-py3-none-any.whl"])
def test_only_the_library_is_installed_and_nothing_is_upgraded(
    wished: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LDMLIB_SOURCE", raising=False)
    if wished:
        monkeypatch.setenv("LDMLIB_SOURCE", wished)
    commands = set_up(monkeypatch, in_colab=True, has_library=False)
    source = wished or f"git+{book_project.repository_url()}@v{__version__}"
    assert commands == [[sys.executable, "-m", "pip", "install", "-q", "--no-deps", source]]


def test_what_is_installed_is_the_version_that_the_notebooks_were_written_for() -> None:
    project = (tool.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{__version__}"\n' in project
    citation = (tool.ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation
    assert re.findall(r"@(v[\w.]+)", setup_source()) == [f"v{__version__}"]


def test_a_failed_pip_stops_the_notebook_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"could not install git\+.*\nERROR: no such tag"):
        set_up(monkeypatch, in_colab=True, has_library=False, code=1)


def test_a_failed_set_up_says_in_one_sentence_what_to_do(tmp_path: Path) -> None:
    """With the real pip, which finds no such wheel; then elsewhere, where no pip is started."""
    code = "import sys\nsys.modules['ldmlib'] = None\n" + setup_source()
    elsewhere = {**os.environ, "LDMLIB_SOURCE": str(tmp_path / "nothing.whl")}
    elsewhere.pop("COLAB_RELEASE_TAG", None)
    in_colab = elsewhere | {"COLAB_RELEASE_TAG": "release-colab"}
    failed, missing = (
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        for env in (in_colab, elsewhere)
    )
    assert failed.returncode == missing.returncode == 1
    _, _, reason = failed.stderr.partition("RuntimeError: pip could not install ")
    assert reason.count("nothing.whl") >= 2, "the sentence names it, and so do pip's own words"
    sentence = missing.stderr.strip().splitlines()[-1]
    assert sentence.startswith("ImportError: ldmlib cannot be imported (")
    assert "Disconnect and delete runtime" in sentence and "make lab" in sentence


def test_set_up_lets_threads_spin_briefly() -> None:
    """ldmlib sets it, so it must be loaded before torch."""
    code = f"{setup_source()}\nprint(os.environ['GOMP_SPINCOUNT'])"
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "30000"


# --------------------------------------------------------------------------- as in Colab
@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with Colab's versions."""
    try:
        return colab_env.make_environment(tmp_path_factory.mktemp("colab") / "env")
    except colab_env.NotInstallable as error:
        pytest.skip(f"Colab's versions cannot be installed here: {error}")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colab_env.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(tool.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_notebook_runs_alone_as_in_colab(
    path: Path, colab: Path, wheel: Path, tmp_path: Path
) -> None:
    if os.environ.get("LDM_COLAB") != "all" and not path.stem.startswith(QUICK):
        pytest.skip("a slow notebook: LDM_COLAB=all runs it, too")
    pip = [str(colab), "-m", "pip", "uninstall", "--quiet", "--yes", "ldmlib"]
    subprocess.run(pip, check=True, capture_output=True)
    variables = {"LDMLIB_SOURCE": str(wheel), "LDMLIB_CACHE": str(tmp_path / "cache")}
    variables["COLAB_RELEASE_TAG"] = "release-colab"
    alone = tmp_path / "empty"
    ran = colab_env.run_alone(path, colab, alone, variables)
    stored = tool.nbformat.read(path, as_version=4)
    assert colab_env.checked_texts(ran) == colab_env.checked_texts(stored)
    assert [file.name for file in alone.iterdir()] == [path.name], "it left files behind"


@pytest.mark.slow
def test_the_environment_is_colabs(colab: Path) -> None:
    code = "from importlib.metadata import version as v\nprint(*map(v, {}))"
    names = [pin.split("==")[0] for pin in colab_env.PINS]
    found = subprocess.run([str(colab), "-c", code.format(names)], capture_output=True, text=True)
    for pin, number in zip(colab_env.PINS, found.stdout.split(), strict=True):
        assert re.fullmatch(pin.split("==")[1].replace("*", r"\d+"), number), pin


# --------------------------------------------------------------------------- a lost runtime
class PowerCut(Exception):
    """The runtime is gone."""


TRAINING_CELLS = (
    "train_autoencoder(",
    "model = assemble(",
    "objective = ",
    "in fit(model.denoiser",
)


def tiny_notebook() -> dict:
    """Run the cells of notebook 06 that train, with few steps on few digits; their variables."""
    small = recipes.mnist_notebook()
    few = {"steps": 6, "batch_size": 8, "checkpoint_every": 2, "precision": "float32"}
    recipe = replace(
        small,
        autoencoder=replace(small.autoencoder, widths=(8, 8)),
        autoencoder_training=replace(small.autoencoder_training, **few),
        unet=replace(small.unet, channels=(8, 16)),
        training=replace(small.training, **few),
    )
    x, y = data.mnist("test").random_subset(40, seed=0).as_tensors()
    [path] = (path for path in TWINS if path.stem.startswith("06"))
    code = [cell.source for cell in cells(path) if cell.cell_type == "code"]
    names: dict = {}
    exec(next(source for source in code if "from ldmlib import" in source), names)
    names |= {"x": x, "y": y, "recipe": recipe, "digits": data.mnist("test").random_subset(40, 0)}
    names["perceptual"] = bundled_classifier("mnist_perceptual")
    for part in TRAINING_CELLS:
        exec(next(source for source in code if part in source), names)
    return names


def weights(names: dict) -> list:
    return [p.detach().clone() for p in names["state"].ema.parameters()]


def cut_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the power fail after so many training steps; returns the list of steps made."""
    made, run = [], Loop.run

    def counted(self, step, x, y):
        if len(made) == steps:
            raise PowerCut
        made.append(step)
        run(self, step, x, y)

    monkeypatch.setattr(Loop, "run", counted)
    return made


@pytest.mark.slow
def test_a_notebook_goes_on_after_a_lost_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = weights(tiny_notebook())
    assert not any(p for p in tmp_path.iterdir() if p.name != "cache"), "files without a wish"
    monkeypatch.setenv("LDMLIB_RUNS", str(tmp_path / "drive"))
    for steps in (5, 6):  # lost in the first stage, then in the second
        with monkeypatch.context() as patch:
            cut_after(steps, patch)
            with pytest.raises(PowerCut):
                tiny_notebook()
    with monkeypatch.context() as patch:
        made = cut_after(100, patch)
        resumed = weights(tiny_notebook())
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
    assert made == [4, 5], "the last run only made the steps after the checkpoint"
    with monkeypatch.context() as patch:
        cut_after(0, patch)  # everything is there already
        assert all(map(torch.equal, whole, weights(tiny_notebook())))


def test_checkpoints_are_kept_only_where_wished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config = TrainConfig(steps=10)
    assert resumable("a", config) == {}
    monkeypatch.setenv("LDMLIB_RUNS", str(tmp_path))
    options = resumable("a", config)
    assert options["folder"].parent == tmp_path and not options["resume"]
    assert resumable("a", replace(config, lr=0.1))["folder"] != options["folder"]
    assert capsys.readouterr().out == ""
    options["folder"].mkdir()
    (options["folder"] / "checkpoint.pt").touch()
    assert resumable("a", config) == {"folder": options["folder"], "resume": True}
    assert str(options["folder"]) in capsys.readouterr().out
