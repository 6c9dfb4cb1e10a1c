"""What every test starts with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import ldmlib  # noqa: F401  (before any test module loads torch: it sets GOMP_SPINCOUNT)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are cached in the test's own folder, never in the reader's."""
    monkeypatch.setenv("LDMLIB_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equalities are exact on the CPU; what a GPU does, test_gpu.py asks."""
    monkeypatch.setenv("LDMLIB_DEVICE", "cpu")
    monkeypatch.delenv("LDMLIB_RUNS", raising=False)


@pytest.fixture
def ldm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable:
    """Run ``ldm ARGS``: returns (exit code or message, what it printed)."""
    from ldmlib import cli

    def run(*arguments: object) -> tuple[object, str]:
        monkeypatch.setattr("sys.argv", ["ldm", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, capsys.readouterr().out

    return run
