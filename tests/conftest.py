"""What every test starts with."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are cached in the test's own folder, never in the reader's."""
    monkeypatch.setenv("LDMLIB_CACHE", str(tmp_path / "cache"))
