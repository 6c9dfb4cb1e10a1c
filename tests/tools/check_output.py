"""What an exercise check says to an answer, for the tests of the checks."""

from __future__ import annotations

import pytest

from ldmlib.check.core import Verdict


def said(capsys: pytest.CaptureFixture, check, answer) -> str:
    """What a check printed; its answer must agree with the first word."""
    right = check(answer)
    printed = capsys.readouterr().out.strip()
    assert printed.startswith("Right" if right else "Not yet: ")
    assert isinstance(right, Verdict)
    return printed
