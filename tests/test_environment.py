"""The report on this machine is one sentence and true."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ldmlib import __version__, environment

ROOT = Path(__file__).resolve().parents[1]


def test_one_sentence_with_the_versions() -> None:
    sentence = environment.describe_environment()
    assert sentence.endswith(".") and "\n" not in sentence and ". " not in sentence
    for fact in (__version__, platform.python_version(), torch.__version__, "CPU core", "bfloat16"):
        assert fact in sentence


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "READERS_PACKAGES", ("numpy", "no-such-package"))
    sentence = environment.describe_environment()
    assert sentence.endswith("missing for the notebooks: no-such-package.")
    assert "numpy" in sentence


def test_a_containers_limits_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CGROUP", tmp_path)
    free_cores, free_memory = environment.cores(), environment.memory_bytes()
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(f"{2**29}\n")
    assert environment.cores() == 1 <= free_cores
    assert environment.memory_bytes() == 2**29 < free_memory
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert (environment.cores(), environment.memory_bytes()) == (free_cores, free_memory)


def test_unknown_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "memory_bytes", lambda: None)
    assert "memory of unknown size" in environment.describe_environment()


# --------------------------------------------------------------------------- waiting threads
def run_python(code: str, **variables: str) -> subprocess.CompletedProcess:
    """Run code in a fresh Python that has inherited no setting of OpenMP's."""
    kept = {key: value for key, value in os.environ.items() if key not in environment.WAITING}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=ROOT, env=kept | variables, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize(
    ("variables", "spins"),
    [
        ({}, "30000"),
        ({"OMP_WAIT_POLICY": ""}, "30000"),
        ({"GOMP_SPINCOUNT": "77"}, "77"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ],
    ids=str,
)
def test_threads_spin_briefly_unless_the_user_says_otherwise(variables: dict, spins: str) -> None:
    code = "import ldmlib, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    assert run_python(code, **variables).stdout.strip() == spins


def test_nothing_is_claimed_once_openmp_is_loaded() -> None:
    code = "import sys; sys.modules['torch'] = sys; import ldmlib, os; print(*os.environ)"
    assert "GOMP_SPINCOUNT" not in run_python(code).stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch brings GNU's OpenMP on Linux only")
def test_the_openmp_of_pytorch_reads_the_setting() -> None:
    done = run_python("import ldmlib, torch", OMP_DISPLAY_ENV="verbose")
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("this PyTorch was built with another OpenMP")
    assert "GOMP_SPINCOUNT = '30000'" in done.stderr


def test_the_report_says_how_threads_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for name in environment.WAITING:
        monkeypatch.delenv(name, raising=False)
    assert "uses 3 threads (GOMP_SPINCOUNT is not set)" in environment.describe_environment()
    monkeypatch.setenv("GOMP_SPINCOUNT", "30000")
    assert "uses 3 threads (GOMP_SPINCOUNT=30000)" in environment.describe_environment()
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert "GOMP_SPINCOUNT=30000, OMP_WAIT_POLICY=passive)" in environment.describe_environment()
