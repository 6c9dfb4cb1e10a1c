"""Each typical wrong answer of notebook 06 gets its own message, the right one passes."""

import pytest
import torch

from ldmlib.check import training as check

CASES = [
    (check.label_dropout, lambda y, u, p: torch.where(u < p, -1, y), [
        ("turn the comparison round", lambda y, u, p: torch.where(u < p, y, -1)),
        ("null label is -1", lambda y, u, p: torch.where(u < p, 0, y)),
        ("not <=", lambda y, u, p: torch.where(u <= p, -1, y)),
        ("one by one", lambda y, u, p: torch.full_like(y, -1)),
        ("keep its length", lambda y, u, p: y[u >= p]),
    ]),
    (check.guidance, lambda c, u, w: u + w * (c - u), [
        ("exchanged", lambda c, u, w: c + w * (u - c)),
        ("start from cond", lambda c, u, w: c + w * (c - u)),
        ("points away", lambda c, u, w: u + w * (u - c)),
        ("sum to 1", lambda c, u, w: u + w * c),
        ("count w that way", lambda c, u, w: (1 + w) * c - w * u),
    ]),
    (check.ema, lambda a, w, d: d * a + (1 - d) * w, [
        ("share of the *old average*", lambda a, w, d: (1 - d) * a + d * w),
        ("more than 1", lambda a, w, d: d * a + w),
        ("plain mean", lambda a, w, d: (a + w) / 2),
        ("stay as it was", lambda a, w, d: a),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("check_it, right, _", CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_the_right_answer_passes(check_it, right, _, capsys):
    assert check_it(right)
    assert capsys.readouterr().out.startswith("Right")


@pytest.mark.parametrize(
    "check_it, message, wrong",
    [(c, message, wrong) for c, _, wrongs in CASES for message, wrong in wrongs],
)
def test_each_mistake_is_named(check_it, message, wrong, capsys):
    assert not check_it(wrong)
    assert message in capsys.readouterr().out


@pytest.mark.parametrize("check_it", [c for c, _, _ in CASES])
def test_untouched_stubs_and_crashes_become_words(check_it, capsys):
    assert not check_it(lambda *args: ...)
    assert "not filled in yet" in capsys.readouterr().out
    assert not check_it(lambda *args: args[0] / None)
    assert capsys.readouterr().out.startswith("Not yet")
