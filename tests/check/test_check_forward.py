"""The checks of notebooks 00 and 04, and what all share: every mistake has its own words."""

from __future__ import annotations

import math

import pytest
import torch

from ldmlib.check import core, forward, start
from ldmlib.check.core import Verdict
from ldmlib.data import mnist
from ldmlib.diffusion.process import Diffusion


def said(capsys: pytest.CaptureFixture, check, *args) -> str:
    """What a check printed; its answer must agree with the first word."""
    right = check(*args)
    printed = capsys.readouterr().out.strip()
    assert printed.startswith("Right" if right else "Not yet: ")
    assert isinstance(right, Verdict)
    return printed


# --------------------------------------------------------------------------- core
X = torch.tensor([1.0, 2.0, 4.0])
MISTAKES = {"squared": (X**2).mean(), "negative": lambda value: value < 0}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x.mean(), "Right: good."),
        (lambda x: x.mean().double(), "Right: good."),
        (7 / 3, "needs your function itself"),
        (None, "not filled in yet"),
        (..., "not filled in yet"),
        (lambda x: None, "not filled in yet"),
        (lambda x: (x, ...), "not filled in yet"),
        (lambda x: (x**2).mean(), "squared"),
        (lambda x: -x.mean(), "negative"),
        (lambda x: x, "shape (), but has (3,)"),
        (lambda x: x.mean() / 0 * 0, "NaN"),
        (lambda x: x.mean() + 1, "should be 2.333, but is 3.333"),
        (lambda x: x.mean() > 0, "holds torch.bool"),
        (lambda x: "two", "should be 2.333, but is 'two'"),
        (lambda x: object(), "but is a object"),
        (lambda: 1, "your code stopped with TypeError"),
        (lambda x: x @ x.new_zeros(5), "RuntimeError"),
        (lambda x: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda x: x.add_(1).mean() - 1, "Right: good."),
    ],
)
def test_judge_finds_words_for_everything(answer, words: str, capsys) -> None:
    printed = said(
        capsys, lambda a: core.judge(a, X.mean(), MISTAKES, args=(X,), right="good."), answer
    )
    assert words in printed
    assert torch.equal(X, torch.tensor([1.0, 2.0, 4.0])), "the reader's code got a copy"


@pytest.mark.parametrize(
    ("answer", "truth", "words"),
    [
        ((1, 2.0), (1, 2.0), "Right"),
        ((1, 2.0), (1, 3.0), "part 2 of the answer should be 3"),
        ((1,), (1, 3.0), "should have 2 parts, but has 1"),
        ("flow", "flow", "Right"),
        ("eps", "flow", "should be 'flow', but is 'eps'"),
        (True, True, "Right"),
        (1, True, "torch.bool"),
        (torch.tensor([1, 2]), torch.tensor([1.5, 2.0]), "should hold torch.float32"),
        (torch.arange(6.0), torch.zeros(6), "[0, 0, 0, 0, ...], but is [0, 1, 2, 3, ...]"),
        ([[1.0, 2.0], [3.0]], 1.0, "but is a list"),
    ],
)
def test_judge_compares_values_of_every_kind(answer, truth, words: str, capsys) -> None:
    assert words in said(capsys, core.judge, answer, truth)


def test_the_readers_line_is_named(capsys) -> None:
    def wrong(x):
        y = x + 1
        return y.a

    assert "at the line `return y.a` with" in said(
        capsys, lambda a: core.judge(a, 1.0, args=(X,)), wrong
    )


def test_not_implemented_is_not_filled_in() -> None:
    def stub(x):
        raise NotImplementedError

    assert "not filled in" in core.find_fault(stub, 1.0, args=(X,))


# --------------------------------------------------------------------------- notebook 04
def curves(s, t, schedule):
    (a_s, a_t), (s_s, s_t) = schedule.alpha_sigma(torch.tensor([s, t], dtype=torch.float64))
    return a_s, s_s, a_t, s_t, a_t / a_s


def right_step(s, t, schedule):
    a_s, s_s, a_t, s_t, r = curves(s, t, schedule)
    return r, s_t**2 - r**2 * s_s**2


def step(rule):
    return lambda s, t, schedule: rule(*curves(s, t, schedule))


def mean(rule):
    """rule(x0, x_t, alpha_s, sigma_s, sigma_t, r, added variance)."""

    def answer(x0, x_t, s, t, schedule):
        a_s, s_s, a_t, s_t, r = curves(s, t, schedule)
        return rule(x0, x_t, a_s, s_s, s_t, r, s_t**2 - r**2 * s_s**2)

    return answer


CASES = [
    (forward.variance, lambda a, s, v: a**2 * v + s**2, "Right: alpha^2 v"),
    (forward.variance, lambda a, s, v: (a**2 * v + s**2) ** 0.5, "standard deviation"),
    (forward.variance, lambda a, s, v: s**2, "only the noise"),
    (forward.variance, lambda a, s, v: a**2 * v, "only the picture"),
    (forward.variance, lambda a, s, v: a * v + s**2, "alpha is there without"),
    (forward.variance, lambda a, s, v: a**2 * v + s, "sigma is there without"),
    (forward.variance, lambda a, s, v: a * v + s, "neither factor"),
    (forward.variance, lambda a, s, v: a**2 * v**2 + s**2, "variance already"),
    (forward.variance, lambda a, s, v: a**2 * v - s**2, "added, not subtracted"),
    (forward.time_of_snr, lambda q: 1 / (1 + math.sqrt(q)), "Right: t = 1"),
    (forward.time_of_snr, lambda q: 1 / (1 + q), "root is missing"),
    (forward.time_of_snr, lambda q: math.sqrt(q) / (1 + math.sqrt(q)), "upside down"),
    (forward.time_of_snr, lambda q: 1 / math.sqrt(1 + q), "alpha^2 + sigma^2 = 1"),
    (forward.time_of_snr, lambda q: 0.41, "the time of SNR 4 should be 0.3333"),
    (forward.time_of_snr, lambda q: 1 + q, "between 0 and 1"),
    (forward.one_step, right_step, "Right: r = alpha(t)"),
    (forward.one_step, step(lambda A, S, a, s, r: (r, (s**2 - r**2 * S**2) ** 0.5)), "square it"),
    (forward.one_step, step(lambda A, S, a, s, r: (s**2 - r**2 * S**2, r)), "other order"),
    (forward.one_step, step(lambda A, S, a, s, r: (r, s**2 - S**2)), "shrinks by the factor"),
    (forward.one_step, step(lambda A, S, a, s, r: (r, s**2 - r * S**2)), "squared as well"),
    (forward.one_step, step(lambda A, S, a, s, r: (r, 1 - r**2)), "the flow schedule is another"),
    (forward.one_step, step(lambda A, S, a, s, r: (a, s**2)), "jump from time 0"),
    (forward.one_step, step(lambda A, S, a, s, r: (1 / r, s**2)), "upside down"),
    (forward.one_step, step(lambda A, S, a, s, r: (0.5, S**2 - s**2)), "negative"),
    (forward.one_step, step(lambda A, S, a, s, r: r), "should have 2 parts"),
    (
        forward.posterior_mean,
        mean(lambda x, y, A, S, s, r, v: (r * S**2 * y + A * v * x) / s**2),
        "Right: a mean of two",
    ),
    (forward.posterior_mean, mean(lambda x, y, A, *_: A * x), "ignores what x_t says"),
    (forward.posterior_mean, mean(lambda x, y, A, S, s, r, v: y / r), "ignores x_0"),
    (
        forward.posterior_mean,
        mean(lambda x, y, A, S, s, r, v: (r * v * y + A * S**2 * x) / s**2),
        "swapped",
    ),
    (
        forward.posterior_mean,
        mean(lambda x, y, A, S, s, r, v: (r * S**2 * y + v * x) / s**2),
        "multiply it by alpha(s)",
    ),
    (
        forward.posterior_mean,
        mean(lambda x, y, A, S, s, r, v: r * S**2 * y + A * v * x),
        "divide by sigma(t)^2",
    ),
    (
        forward.posterior_mean,
        mean(lambda x, y, A, S, s, r, v: (r * S * y + A * v**0.5 * x) / s),
        "precisions are made of variances",
    ),
    (forward.posterior_mean, mean(lambda x, *_: x.mean()), "should have shape (1, 3)"),
    (forward.step_time, lambda i, steps: (i + 1) / steps, "Right: (i + 1) / T"),
    (forward.step_time, lambda i, steps: i / steps, "off by one: step 0"),
    (forward.step_time, lambda i, steps: i / (steps - 1), "the last step is right"),
    (forward.step_time, lambda i, steps: 0.3, "step 2 of 5 should be 0.6"),
    (forward.step_time, lambda i, steps: 1 - i / steps, "backwards"),
    (forward.step_time, lambda i, steps: i + 1, "number of steps"),
    (forward.step_time, lambda i, steps: (i + 2) / steps, "off by one the other way"),
]


@pytest.mark.parametrize(("check", "answer", "words"), CASES)
def test_checks_of_04(check, answer, words: str, capsys) -> None:
    assert words in said(capsys, check, answer)


@pytest.mark.parametrize("check", sorted({case[0] for case in CASES}, key=lambda c: c.__name__))
@pytest.mark.parametrize("stub", [None, ..., lambda *args: ..., lambda *args: None])
def test_untouched_stubs_of_04(check, stub, capsys) -> None:
    assert "not filled in yet" in said(capsys, check, stub)


@pytest.mark.parametrize("check", sorted({case[0] for case in CASES}, key=lambda c: c.__name__))
def test_broken_answers_of_04(check, capsys) -> None:
    assert "your code stopped" in said(capsys, check, lambda *args: args[0] + "a")


def test_the_right_posterior_mean_is_the_librarys(capsys) -> None:
    def answer(x0, x_t, s, t, schedule):
        s, t = torch.tensor([s]), torch.tensor([t])
        return Diffusion(schedule.name, "v").posterior(x0, x_t, s, t).mean

    assert said(capsys, forward.posterior_mean, answer).startswith("Right")


# --------------------------------------------------------------------------- notebook 00
@pytest.fixture(scope="module")
def digits() -> dict[int, torch.Tensor]:
    """One clear test picture of each digit (the first few of the test set are)."""
    x, y = mnist("test").as_tensors()
    return {d: x[y == d][1] for d in range(10)}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2026", "Right: that reads 2026."),
        ("6202", "backwards"),
        ("2222", "the same digit everywhere"),
        ("2062", "another order"),
        ("2025", "if the labels are right, try another seed"),
        ("20", "should be 4 pictures, but there are 2"),
    ],
)
def test_reading_a_row(row: str, words: str, digits, capsys) -> None:
    pictures = torch.stack([digits[int(d)] for d in row])
    assert words in said(capsys, start.reads, pictures, "2026")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "not filled in yet"),
        (..., "not filled in yet"),
        ([2, 0, 2, 6], "should be pictures, but is of type list"),
        (torch.full((4, 1, 32, 32), 7.0), "[-1, 1]"),
        (torch.zeros(4, 32, 32), "your pictures"),
    ],
)
def test_reading_something_else(answer, words: str, capsys) -> None:
    assert words in said(capsys, start.reads, answer, "2026")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (19, "Right: 2 x 10 - 1."),
        (10, "looks twice"),
        (20, "the last step"),
        (21, "one too many"),
        (9, "more than that"),
        (50, "more than two looks in every step"),
        (15, "that is not it"),
        ("19", "leave out the quotes"),
        (..., "not filled in yet"),
    ],
)
def test_counting_calls(answer, words: str, capsys) -> None:
    assert words in said(capsys, start.evaluations, answer, 10)
