"""What the command ``ldm`` does before and after its commands."""

from __future__ import annotations

import sys
import warnings

import pytest

from ldmlib.cli.app import show_warnings_as_sentences


def test_warnings_read_as_sentences(capsys: pytest.CaptureFixture, monkeypatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        show_warnings_as_sentences()
        warnings.warn("one picture was left out", stacklevel=1)
        assert capsys.readouterr() == ("", "ldm: warning: one picture was left out\n")
        monkeypatch.setattr(sys, "stderr", None)
        warnings.warn("nobody hears this", stacklevel=1)
