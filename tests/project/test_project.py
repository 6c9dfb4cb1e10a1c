"""The house is in order: packages, licences, imports, sizes, and the set-up script's sentences."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement

import setup_env

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ldmlib"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# A room, which is a module or a package of them, imports only rooms of the levels before its own.
# Within a level only the foundations import one another, in this order.
LEVELS = (
    ("rng", "runtime", "storage", "images", "environment"),
    ("data", "networks", "diffusion"),
    ("training", "evaluation", "probability", "plotting"),
    ("latent",),
    ("gan", "export", "applications", "widgets", "check"),
    ("teach", "bundled"),
    ("cli",),
)
ORDER = tuple(room for level in LEVELS for room in level)
# For the reader only: nothing else in the library imports these.
READERS_MODULES = {"plotting", "widgets", "check"}
ENTRY_MODULES = {"__init__", "__main__"}
# `import ldmlib` stays quick, and works where these are missing.
NOT_IMPORTED_AT_ONCE = ("matplotlib", "ipywidgets", "scipy", "torchvision")
LONGEST_MODULE = 400

TOP_LEVEL = {
    *("README.md", "LICENSE", "LICENSE-TEXT", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("pyproject.toml", "environment.yml", "Makefile", ".gitignore", ".gitattributes"),
    *("ldmlib", "notebooks", "tests", "book", ".ci", ".github"),
}

CONDA_NAMES = {"torch": "pytorch"}
NOT_ON_CONDA = {"smalldiffusion"}
CONDA_ONLY = {"pip": "", "python": PROJECT["requires-python"]}


def requirements() -> list[Requirement]:
    """All requirements of pyproject.toml, for whatever Python, without the extra that only
    gathers the others."""
    extras = PROJECT["optional-dependencies"]
    named = [text for extra, texts in extras.items() if extra != "all" for text in texts]
    return [Requirement(text) for text in PROJECT["dependencies"] + named]


def room(path: Path) -> str:
    """The room that a file of the library belongs to: its own name, or its package's."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


each_module = pytest.mark.parametrize(
    "path",
    sorted(PACKAGE.rglob("*.py")),
    ids=lambda path: path.relative_to(PACKAGE).with_suffix("").as_posix(),
)


def imported_rooms(path: Path) -> set[str]:
    """The other rooms of the library that a file imports, wherever in the file it does so."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            source = ".".join([*package, *filter(None, [node.module])])
            names |= {source} | {f"{source}.{alias.name}" for alias in node.names}
    inside = {name.split(".")[1] for name in names if name.startswith("ldmlib.")}
    rooms = {room(other) for other in PACKAGE.rglob("*.py")}
    return inside & rooms - {room(path)}


def test_requirements_have_a_lower_bound_and_no_other() -> None:
    for requirement in requirements():
        assert [bound.operator for bound in requirement.specifier] == [">="], str(requirement)


def test_one_lower_bound_a_package() -> None:
    bounds = {(requirement.name, str(requirement.specifier)) for requirement in requirements()}
    names = [name for name, _ in bounds]
    assert len(names) == len(set(names)), "a package has different bounds in two extras"


def test_extra_all_gathers_the_others() -> None:
    extras = PROJECT["optional-dependencies"]
    assert Requirement(extras["all"][0]).extras == set(extras) - {"all"}


def test_environment_yml_equals_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *packages, pip = environment["dependencies"]
    found = {(item := Requirement(text)).name: str(item.specifier) for text in packages}
    expected = {
        CONDA_NAMES.get(item.name, item.name): str(item.specifier)
        for item in requirements()
        if item.name not in NOT_ON_CONDA
    }
    assert found == expected | CONDA_ONLY
    assert environment["channels"] == ["conda-forge"]
    assert pip == {"pip": ["-e .[all]"]}


def test_the_wheel_holds_every_module_and_asset(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(PACKAGE, source / "ldmlib", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, source)
    files = [path for path in (source / "ldmlib").rglob("*") if path.is_file()]
    expected = {path.relative_to(source).as_posix() for path in files}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("ldmlib-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if name.startswith("ldmlib/")} == expected
    assert {Path(name).name for name in names if "licenses/" in name} == {"LICENSE", "LICENSE-TEXT"}


@pytest.mark.parametrize(
    "folder", sorted((PACKAGE / "assets" / "weights").iterdir()), ids=lambda p: p.name
)
def test_bundled_weights_have_card_and_licence(folder: Path) -> None:
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    facts = facts.get("facts", facts)
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith(f"# Model card: {folder.name}\n")
    assert f"seed {facts['seed']}" in card
    written = {"accuracy": ".2%", "fid": ".2f", "retrieval": ".1%", "scores": ".4g"}
    scores = [(facts[key], form) for key, form in written.items() if key in facts]
    assert scores
    for some, form in scores:
        for score in some.values() if isinstance(some, dict) else [some]:
            assert f"{score:{form}}" in card
    data = "emoji" if folder.name.startswith("emoji") else "mnist"
    licence = PACKAGE / "assets" / "data" / data / "LICENSE.txt"
    assert (folder / "LICENSE.txt").read_bytes() == licence.read_bytes()


OWN_MODULES = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"ldmlib"}
PYPI_NAMES = {"yaml": "pyyaml", "PIL": "pillow", "IPython": "ipython", "myst_nb": "myst-nb"}


def imported_packages(path: Path) -> set[str]:
    """First parts of what a file imports, as they are spelled on PyPI."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    names -= OWN_MODULES | set(sys.stdlib_module_names)
    return {PYPI_NAMES.get(name, name) for name in names}


def test_every_package_that_is_imported_is_declared() -> None:
    declared = {requirement.name for requirement in requirements()}
    folders = (PACKAGE, ROOT / "tests", ROOT / "notebooks" / "py", ROOT / "book" / "_ext")
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    missing = {path.name: imported_packages(path) - declared for path in sources}
    assert not {name: packages for name, packages in missing.items() if packages}


def test_import_stays_light() -> None:
    code = f"import ldmlib, sys; print([m for m in {NOT_IMPORTED_AT_ONCE} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@each_module
def test_imports_go_one_way(path: Path) -> None:
    imported, name = imported_rooms(path), room(path)
    if name not in ENTRY_MODULES:
        assert name in ORDER, f"{name} has no place in LEVELS yet: give it one"
        level = next(i for i, rooms in enumerate(LEVELS) if name in rooms)
        earlier = {room for rooms in LEVELS[:level] for room in rooms}
        if level == 0:
            earlier = set(ORDER[: ORDER.index(name)])
        assert not imported - earlier, "these do not stand on a level before its own"
    if name not in READERS_MODULES:
        assert not imported & READERS_MODULES, "plotting, widgets and check are for the reader"


@each_module
def test_modules_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_MODULE


# --------------------------------------------------------------------------- what starts the rest
USES = re.compile(r"^\s*(?:- )?uses:\s*(\S+)(.*)$", re.MULTILINE)
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_and_say_their_version(path: Path) -> None:
    """A tag can be moved to other code overnight, a commit cannot."""
    found = USES.findall(path.read_text(encoding="utf-8"))
    assert found
    for action, comment in found:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r"  # v\d+\.\d+\.\d+", comment), f"{action} needs `  # vX.Y.Z`"


def test_one_commit_for_each_action() -> None:
    texts = [path.read_text(encoding="utf-8") for path in WORKFLOWS]
    pins = {found for text in texts for found in USES.findall(text)}
    assert len({action.split("@")[0] for action, _ in pins}) == len(pins)


def without_openmp_settings() -> dict[str, str]:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "MAKEFLAGS", "MAKELEVEL")
    return {key: value for key, value in os.environ.items() if key not in names}


SPINS = [
    ({}, "30000"),
    ({"GOMP_SPINCOUNT": "77"}, "77"),
    ({"OMP_WAIT_POLICY": "passive"}, ""),
]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(("variables", "spins"), SPINS, ids=str)
def test_make_hands_on_how_long_threads_spin(variables: dict, spins: str, tmp_path: Path) -> None:
    probe = tmp_path / "Makefile"
    probe.write_text(f"include {ROOT / 'Makefile'}\nprobe:\n\t@echo spins:$$GOMP_SPINCOUNT\n")
    command = ["make", "--silent", "-f", str(probe), "probe"]
    environment = without_openmp_settings() | variables
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"spins:{spins}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(("variables", "spins"), SPINS, ids=str)
def test_continuous_integration_hands_on_how_long_threads_spin(
    variables: dict, spins: str, tmp_path: Path
) -> None:
    """The script runs with a `make` and a `chromium` of our own, which only print."""
    for name in ("make", "chromium"):
        (tmp_path / name).write_text('#!/bin/sh\necho "$@ spins:$GOMP_SPINCOUNT"\n')
        (tmp_path / name).chmod(0o755)
    environment = without_openmp_settings() | variables
    environment["PATH"] = f"{tmp_path}{os.pathsep}{environment['PATH']}"
    command = ["bash", str(ROOT / ".ci" / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"test spins:{spins}"


def test_top_level_is_tidy() -> None:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    assert {name.split("/")[0] for name in listing.stdout.splitlines()} <= TOP_LEVEL


def test_setup_says_that_python_is_too_old() -> None:
    with pytest.raises(setup_env.SetupError, match=r"Python 3\.10 or newer is needed.* is 3\.9"):
        setup_env.check_python((3, 9, 18), "python3")


def test_setup_says_that_there_is_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1e9))
    with pytest.raises(setup_env.SetupError, match=r"needs about 8 GB, .* has 1\.0 GB free"):
        setup_env.check_space(str(tmp_path / "not" / "made" / "yet"))


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("Retrying after NewConnectionError\nERROR: No such package", "network is missing"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: broken wheel", "could not install the project (ERROR: broken wheel)"),
    ],
)
def test_setup_explains_what_pip_said(said: str, sentence: str) -> None:
    assert sentence in setup_env.explain(said)


def test_setup_installs_again_only_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = tmp_path / "stamp.txt"
    assert setup_env.read_stamp(str(stamp)) == set()
    stamp.write_text(f"{setup_env.fingerprint()}\nlab,test\n")
    assert setup_env.read_stamp(str(stamp)) == {"lab", "test"}
    monkeypatch.setattr(setup_env, "fingerprint", lambda: "another")
    assert setup_env.read_stamp(str(stamp)) == set()


def test_every_law_that_a_test_cites_is_listed() -> None:
    listed = set(re.findall(r"^(\d+)\. ", (ROOT / "tests" / "LAWS.md").read_text("utf-8"), re.M))
    for path in (ROOT / "tests").rglob("test_*.py"):
        cited = re.findall(r"\bLaws? (\d+)(?: and (\d+))?", path.read_text(encoding="utf-8"))
        assert {number for pair in cited for number in pair if number} <= listed, path.name
    assert listed == {str(number) for number in range(1, 37)}


def test_the_readme_shows_every_room() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("| folder of `ldmlib`")[1]
    rows = [row.split("|")[1] for row in table.split("\n\n")[0].splitlines()[2:]]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(ORDER)
