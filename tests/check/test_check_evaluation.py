"""The checks of notebook 07 accept the truth and name every usual mistake; they never raise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ldmlib.check import evaluation as check
from ldmlib.evaluation import metrics


def said(capsys: pytest.CaptureFixture, check_it: Callable, answer: object) -> tuple[bool, str]:
    result = check_it(answer)
    return result, capsys.readouterr().out


FRECHET_WRONG = {
    "no cross term": (lambda a, s, b, r: (a - b) ** 2 + s**2 + r**2, "cross term"),
    "variances": (lambda a, s, b, r: (a - b) ** 2 + (s**2 - r**2) ** 2, "variances"),
    "variances plain": (lambda a, s, b, r: (a - b) ** 2 + abs(s**2 - r**2), "variances"),
    "mean not squared": (lambda a, s, b, r: abs(a - b) + (s - r) ** 2, "means is not squared"),
    "signed mean": (lambda a, s, b, r: (a - b) + (s - r) ** 2, "means is not squared"),
    "std not squared": (lambda a, s, b, r: (a - b) ** 2 + abs(s - r), "deviations is not squared"),
    "only means": (lambda a, s, b, r: (a - b) ** 2, "only the means"),
    "only widths": (lambda a, s, b, r: (s - r) ** 2, "only the widths"),
    "root": (lambda a, s, b, r: ((a - b) ** 2 + (s - r) ** 2) ** 0.5, "distance itself"),
}


@pytest.mark.parametrize(("answer", "words"), FRECHET_WRONG.values(), ids=FRECHET_WRONG.keys())
def test_frechet_names_the_mistake(answer, words, capsys) -> None:
    result, text = said(capsys, check.frechet_1d, answer)
    assert not result and text.startswith("Not yet") and words in text


def test_frechet_accepts_two_ways_of_writing_it(capsys) -> None:
    for answer in (
        lambda a, s, b, r: (a - b) ** 2 + (s - r) ** 2,
        lambda a, s, b, r: torch.tensor((a - b) ** 2 + s**2 + r**2 - 2 * (s**2 * r**2) ** 0.5),
    ):
        assert said(capsys, check.frechet_1d, answer)[0]


def random_floor(repeats: int, seed: int) -> Callable:
    def floor(reference, held_out, n):
        generator = torch.Generator().manual_seed(seed)
        orders = [torch.randperm(len(held_out), generator=generator)[:n] for _ in range(repeats)]
        return sum(metrics.fid(held_out[order], reference) for order in orders) / repeats

    return floor


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("repeats", [5, 10])
def test_floor_accepts_honest_draws(repeats, seed, capsys) -> None:
    assert said(capsys, check.floor, random_floor(repeats, seed))[0]


def test_floor_accepts_the_librarys_own(capsys) -> None:
    assert said(capsys, check.floor, metrics.real_floor)[0]


def _draw(features, n):
    return features[torch.randperm(len(features))[:n]]


FLOOR_WRONG = {
    "all": (lambda r, h, n: metrics.fid(h, r), "depends on n"),
    "itself": (
        lambda r, h, n: sum(metrics.fid(_draw(r, n), r) for _ in range(8)) / 8,
        "compare it with itself",
    ),
    "first": (lambda r, h, n: metrics.fid(h[:n], r), "first n"),
    "last": (lambda r, h, n: metrics.fid(h[-n:], r), "last n"),
    "n against n": (
        lambda r, h, n: sum(metrics.fid(_draw(h, n), _draw(r, n)) for _ in range(8)) / 8,
        "whole reference",
    ),
    "zero": (lambda r, h, n: metrics.fid(r, r), "equal sets is 0"),
    "list": (lambda r, h, n: [1.0, 2.0], "one number"),
    "nonsense": (lambda r, h, n: 1000.0, "same result for every input"),
}


@pytest.mark.parametrize(("answer", "words"), FLOOR_WRONG.values(), ids=FLOOR_WRONG.keys())
def test_floor_names_the_mistake(answer, words, capsys) -> None:
    torch.manual_seed(0)
    result, text = said(capsys, check.floor, answer)
    assert not result and text.startswith("Not yet") and words in text


def kl(p, q):
    return (p * (p / q).log()).sum(1)


def mean0(p):
    return p.mean(0, keepdim=True)


def entropy(p):
    return -(p * p.log()).sum(1)


INCEPTION_WRONG = {
    "logits": (lambda z: kl(z, mean0(z)).mean().exp(), "logits went in"),
    "wrong axis": (lambda z: kl(z.softmax(0), mean0(z.softmax(0))).mean().exp(), "each row"),
    "no exp": (lambda z: kl(z.softmax(1), mean0(z.softmax(1))).mean(), "exponential"),
    "reversed": (lambda z: kl(mean0(z.softmax(1)), z.softmax(1)).mean().exp(), "wrong way round"),
    "reversed, no exp": (lambda z: kl(mean0(z.softmax(1)), z.softmax(1)).mean(), "and the exp"),
    "exp first": (lambda z: kl(z.softmax(1), mean0(z.softmax(1))).exp().mean(), "wrong order"),
    "sum": (lambda z: kl(z.softmax(1), mean0(z.softmax(1))).sum().exp(), "take the mean"),
    "no mean": (lambda z: kl(z.softmax(1), mean0(z.softmax(1))).exp(), "one score for each"),
    "marginal only": (lambda z: entropy(mean0(z.softmax(1))).mean().exp(), "how certain"),
    "conditional only": (lambda z: entropy(z.softmax(1)).mean().exp(), "how varied"),
}


@pytest.mark.parametrize(("answer", "words"), INCEPTION_WRONG.values(), ids=INCEPTION_WRONG.keys())
def test_inception_names_the_mistake(answer, words, capsys) -> None:
    result, text = said(capsys, check.inception, answer)
    assert not result and text.startswith("Not yet") and words in text


def test_inception_accepts_the_truth(capsys) -> None:
    def written_out(logits):
        p = logits.softmax(1)
        return kl(p, mean0(p)).mean().exp()

    assert said(capsys, check.inception, written_out)[0]
    assert said(capsys, check.inception, lambda z: metrics.inception_score(z.softmax(1), 1))[0]


@pytest.mark.parametrize("check_it", [check.frechet_1d, check.floor, check.inception])
def test_stubs_and_errors_become_words(check_it, capsys) -> None:
    result, text = said(capsys, check_it, lambda *args: ...)
    assert not result and "not filled in yet" in text
    assert "not filled in yet" in said(capsys, check_it, lambda *args: None)[1]
    result, text = said(capsys, check_it, lambda *args: undefined_name)  # noqa: F821
    assert not result and "NameError" in text
    assert not said(capsys, check_it, lambda *args: "a word")[0]
