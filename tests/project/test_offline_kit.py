"""The USB folder: what is in it installs without a network, and what is missing is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import kit_wheels
import offline_kit

PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "{name}"
version = "1.0"
dependencies = [{needs}]
[tool.setuptools]
py-modules = ["{name}"]
"""


def tiny_wheel(folder: Path, name: str, needs: str = "") -> Path:
    """A wheel of a package with one empty module, built without a network."""
    source = folder / f"source-{name}"
    source.mkdir()
    (source / "pyproject.toml").write_text(PROJECT.format(name=name, needs=needs))
    (source / f"{name}.py").write_text(f"import {needs.strip(chr(34))}\n" if needs else "")
    built = folder / "built"
    kit_wheels.pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
                   "-w", str(built), str(source))  # fmt: skip
    (wheel,) = built.glob(f"{name}-*.whl")
    return wheel


@pytest.fixture
def without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip looks nowhere but into a folder with two tiny wheels, one of which needs the other."""
    tiny_wheel(tmp_path, "tinypart")
    folder = tiny_wheel(tmp_path, "tinywhole", '"tinypart"').parent
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small course: a notebook with its twin, a site."""
    root = tmp_path / "course"
    for name in ("notebooks/00.ipynb", "notebooks/py/00.py", "book/_build/html/index.html"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    monkeypatch.setattr(offline_kit, "ROOT", root)
    return root


def test_what_a_wheel_needs_comes_with_it(without_network: Path, tmp_path: Path) -> None:
    kit_wheels.fetch(["tinywhole"], tmp_path / "wheels", None, None)
    names = {path.name.split("-")[0] for path in (tmp_path / "wheels").iterdir()}
    assert names == {"tinywhole", "tinypart"}


@pytest.mark.slow
def test_a_new_environment_installs_from_the_kit_alone(
    without_network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    kit_wheels.fetch(["tinywhole"], tmp_path / "kit" / "wheels", None, None)
    shutil.rmtree(without_network)
    offline_kit.check(tmp_path / "kit", "tinywhole", "tinywhole")
    assert "installs from" in capsys.readouterr().out
    (part,) = (tmp_path / "kit" / "wheels").glob("tinypart-*")
    part.unlink()
    with pytest.raises(kit_wheels.KitError, match="does not install.*"):
        offline_kit.check(tmp_path / "kit", "tinywhole", "tinywhole")


def test_ldmlibs_own_wheel_is_built_without_a_trace_in_the_project(tmp_path: Path) -> None:
    before = {path.name for path in kit_wheels.ROOT.iterdir()}
    wheel = kit_wheels.own_wheel(tmp_path)
    assert {path.name for path in kit_wheels.ROOT.iterdir()} == before
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"ldmlib/latent/model.py", "ldmlib/assets/weights/mnist/config.json"} <= names


def test_the_kit_takes_notebooks_and_site_and_says_what_is_not_there(
    course: Path, tmp_path: Path
) -> None:
    absent = offline_kit.take_along(tmp_path / "kit")
    assert [line.split(":")[0] for line in absent] == ["notebooks with solutions", "no slides"]
    files = {path.relative_to(tmp_path / "kit").as_posix()
             for path in (tmp_path / "kit").rglob("*") if path.is_file()}  # fmt: skip
    assert files == {"notebooks/00.ipynb", "site/index.html"}


def test_students_copies_are_preferred(course: Path, tmp_path: Path) -> None:
    (course / "build" / "student").mkdir(parents=True)
    (course / "build" / "student" / "00.ipynb").write_text("without solutions")
    absent = offline_kit.take_along(tmp_path / "kit")
    assert [line.split(":")[0] for line in absent] == ["no slides"]
    assert (tmp_path / "kit" / "notebooks" / "00.ipynb").read_text() == "without solutions"


def test_the_whole_kit_in_small(
    without_network: Path, course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """`make`, with a tiny wheel for the course's own."""
    monkeypatch.setattr(
        offline_kit, "own_wheel", lambda folder: tiny_wheel(tmp_path / "own", "ldmtiny")
    )
    (tmp_path / "own").mkdir()
    fetched = []
    monkeypatch.setattr(offline_kit, "fetch", lambda *rest: (fetched.append(rest),
                        kit_wheels.fetch(["tinywhole"], rest[1], None, None)))  # fmt: skip
    out = tmp_path / "build" / "offline-kit"
    offline_kit.make(out, None, None, zipped=True)
    said = capsys.readouterr().out
    assert "wheels" in said and "notebooks" in said and "`make slides` was not run" in said
    assert fetched[0][0][0].endswith(".whl[lab]")
    readme = (out / "README.txt").read_text()
    assert '--no-index --find-links wheels "ldmlib[lab]"' in readme
    assert "--directory site" in readme and f"Python {offline_kit.this_python()}" in readme
    with zipfile.ZipFile(out.with_suffix(".zip")) as archive:
        assert archive.testzip() is None
        packed = {name for name in archive.namelist()}
    files = {f"offline-kit/{path.relative_to(out).as_posix()}"
             for path in out.rglob("*") if path.is_file()}  # fmt: skip
    assert packed == files
    assert not list(out.parent.glob("*.tmp"))


def test_commands_of_a_windows_kit_are_those_of_windows(tmp_path: Path) -> None:
    offline_kit.write_readme(tmp_path, "ldmlib[lab]", "windows", "3.12")
    text = (tmp_path / "README.txt").read_text()
    assert "py -m venv course" in text and "course\\Scripts\\pip install" in text


def test_the_course_asks_for_what_pyproject_asks_for() -> None:
    names = {requirement.split(">")[0] for requirement in kit_wheels.whole_course()}
    assert {"torch", "numpy", "jupyterlab", "torchvision"} <= names


# --------------------------------------------------------------------------- what can be missing
def test_no_space_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2e9))
    with pytest.raises(kit_wheels.KitError, match=r"needs about 8 GB.* has 2\.0 GB free.*--out"):
        kit_wheels.check_space(tmp_path / "not" / "yet", 8)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("WARNING: Retrying after NewConnectionError\nERROR: No such", "network is missing"),
        ("error: Failed to fetch: error sending request for url", "network is missing"),
        ("ERROR: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for torch", "(ERROR: No matching distribution"),
    ],
)
def test_failures_end_in_one_sentence(said: str, sentence: str) -> None:
    assert sentence in kit_wheels.explain(said)


def test_no_network_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's own words, with an index that nobody serves."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(kit_wheels.KitError, match="network is missing"):
        kit_wheels.fetch(["packaging-of-nobody"], tmp_path, None, None)


def test_another_system_needs_uv_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *args, **more: None)
    with pytest.raises(kit_wheels.KitError, match="pip install uv"):
        kit_wheels.resolve(["packaging"], "windows", "3.12")


def test_checking_a_kit_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, offline_kit.__file__, "--check", "--out", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1 and "run `make offline-kit` first" in run.stderr
    assert "Traceback" not in run.stderr
