"""The report on this machine is one sentence and true."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from ldmlib import __version__, environment


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
