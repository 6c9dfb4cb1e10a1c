"""What the command ``ldm`` does before and after its commands."""

from __future__ import annotations

import io
import sys
import warnings

import pytest

from ldmlib.cli.app import print_any_text, show_warnings_as_sentences


def test_warnings_read_as_sentences(capsys: pytest.CaptureFixture, monkeypatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        show_warnings_as_sentences()
        warnings.warn("one picture was left out", stacklevel=1)
        assert capsys.readouterr() == ("", "ldm: warning: one picture was left out\n")
        monkeypatch.setattr(sys, "stderr", None)
        warnings.warn("nobody hears this", stacklevel=1)


def test_any_class_name_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setattr(sys, "stderr", None)
    print_any_text()
    print("caf\u00e9")
    narrow.flush()
    assert narrow.buffer.getvalue().strip() == rb"caf\xe9"
