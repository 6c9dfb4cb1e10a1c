"""The checks of notebook 01: the right answers pass, every usual mistake gets its own words."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from ldmlib.check import probability as check
from ldmlib.check.core import Verdict


def said(capsys: pytest.CaptureFixture, check, *args) -> str:
    """What a check printed; its answer must agree with the first word."""
    right = check(*args)
    printed = capsys.readouterr().out.strip()
    assert printed.startswith("Right" if right else "Not yet: ")
    assert isinstance(right, Verdict)
    return printed


def score(rule):
    """rule(posterior, away, stds, log_joint): parts (n, k) of a score."""

    def answer(x, means, stds, weights):
        log_joint = weights.log() + Normal(means, stds).log_prob(x[:, None])
        return rule(log_joint.softmax(1), means - x[:, None], stds, log_joint)

    return answer


def by_priors(x, means, stds, weights):
    return (weights * (means - x[:, None]) / stds**2).sum(1)


def by_likelihoods(x, means, stds, weights):
    away = means - x[:, None]
    return (Normal(means, stds).log_prob(x[:, None]).softmax(1) * away / stds**2).sum(1)


def density(x, means, stds, weights):
    return (weights * Normal(means, stds).log_prob(x[:, None]).exp()).sum(1)


def by_autograd(x, means, stds, weights):
    x = x.requires_grad_()
    return torch.autograd.grad(density(x, means, stds, weights).log().sum(), x)[0]


def slope_of_density(x, means, stds, weights):
    x = x.requires_grad_()
    return torch.autograd.grad(density(x, means, stds, weights).sum(), x)[0]


def log_density(x, means, stds, weights):
    return density(x, means, stds, weights).log()


def three(mean=1.0, variance=1.0, error=None):
    """Factors on the right mean and variance; `error(variance, n)` instead of the right one."""

    def answer(values):
        v, n = values.var(), len(values)
        return values.mean() * mean, v * variance, error(v, n) if error else (v / n).sqrt()

    return answer


def density_on_grid(rule):
    """rule(prior, likelihood, joint, width)."""
    return lambda z, p, like: rule(p, like, p * like, z[1] - z[0])


def parts(x, m, v, s):
    """Fit and KL of exercise 4."""
    fit = -((x - m) ** 2 + v) / (2 * s**2) - 0.5 * math.log(2 * math.pi * s**2)
    return fit, 0.5 * (m**2 + v - 1 - math.log(v))


def bound(rule):
    """rule(fit, kl)."""
    return lambda x, m, v, s: rule(*parts(x, m, v, s))


CASES = [
    (check.score, score(lambda r, a, s, j: (r * a / s**2).sum(1)), "Right: every component"),
    (check.score, by_autograd, "Right: every component"),
    (check.score, score(lambda r, a, s, j: -(r * a / s**2).sum(1)), "energy's gradient"),
    (check.score, score(lambda r, a, s, j: (r * a / s).sum(1)), "not by the standard deviation"),
    (check.score, score(lambda r, a, s, j: (r * a).sum(1)), "not divided by anything"),
    (check.score, score(lambda r, a, s, j: r * a / s**2), "add up over k"),
    (check.score, score(lambda r, a, s, j: a / s**2), "add up over k"),
    (check.score, slope_of_density, "slope of log p: divide by p"),
    (check.score, log_density, "that is the log density"),
    (check.score, by_priors, "not by the prior weight"),
    (check.score, by_likelihoods, "must contain the weights"),
    (check.score, lambda x, *_: x, "the score should be"),
    (check.estimate, three(), "Right: mean, variance"),
    (check.estimate, lambda x: torch.stack(three()(x)).tolist(), "Right: mean, variance"),
    (check.estimate, three(mean=6), "yours is the sum"),
    (check.estimate, lambda x: (x.mean(), x.std(), x.std() / 6**0.5), "did you forget to square"),
    (check.estimate, lambda x: (x.mean(), (x**2).mean(), x.std()), "subtract the mean first"),
    (
        check.estimate,
        lambda x: (x.mean(), x.var(correction=0), x.std(correction=0) / 6**0.5),
        "divide by n - 1",
    ),
    (check.estimate, three(variance=1 / 6), "variance of the mean"),
    (check.estimate, three(variance=5), "your variance is a sum"),
    (check.estimate, three(error=lambda v, n: v.sqrt()), "spread of one draw"),
    (check.estimate, three(error=lambda v, n: v / n), "the root is missing"),
    (check.estimate, three(error=lambda v, n: v.sqrt() / n), "spread by sqrt(n)"),
    (check.estimate, three(error=lambda v, n: v / n**2), "divided the variance by n twice"),
    (check.estimate, three(error=lambda v, n: (v * (n - 1)).sqrt() / n), "variance with n - 1"),
    (check.estimate, three(error=lambda v, n: -(v / n).sqrt()), "yours is negative"),
    (check.estimate, lambda x: x.mean(), "should have 3 parts, but has 1"),
    (check.estimate, lambda x: (x.mean(), x.var()), "should have 3 parts, but has 2"),
    (check.posterior, density_on_grid(lambda p, k, j, w: j / (j.sum() * w)), "Right: prior times"),
    (check.posterior, density_on_grid(lambda p, k, j, w: j), "not normalised"),
    (check.posterior, density_on_grid(lambda p, k, j, w: j / j.sum()), "sums to 1, but"),
    (check.posterior, density_on_grid(lambda p, k, j, w: j / j.sum() * w), "division belongs"),
    (check.posterior, density_on_grid(lambda p, k, j, w: k / k.sum() / w), "prior is missing"),
    (check.posterior, density_on_grid(lambda p, k, j, w: p), "must change the belief"),
    (
        check.posterior,
        density_on_grid(lambda p, k, j, w: (p + k) / ((p + k).sum() * w)),
        "multiplied, not added",
    ),
    (check.posterior, density_on_grid(lambda p, k, j, w: j / k.sum() / w), "but that of prior"),
    (check.posterior, density_on_grid(lambda p, k, j, w: j / j.max()), "largest value is 1"),
    (check.posterior, density_on_grid(lambda p, k, j, w: j.log()), "never negative"),
    (check.posterior, density_on_grid(lambda p, k, j, w: j.sum() * w), "that is p(x), one number"),
    (check.elbo, bound(lambda fit, kl: fit - kl), "Right: fit minus price"),
    (check.elbo, bound(lambda fit, kl: torch.tensor(fit - kl)), "Right: fit minus price"),
    (check.elbo, bound(lambda fit, kl: fit + kl), "KL has the wrong sign"),
    (check.elbo, bound(lambda fit, kl: fit), "that is the fit alone"),
    (check.elbo, bound(lambda fit, kl: kl - fit), "minus the ELBO"),
    (check.elbo, bound(lambda fit, kl: fit - 2 * kl), "half in front of the KL"),
    (
        check.elbo,
        lambda x, m, v, s: parts(x, m, v, s)[0] - 0.5 * ((1 + m**2) / v - 1 + math.log(v)),
        "other way round",
    ),
    (
        check.elbo,
        lambda x, m, v, s: bound(lambda f, k: f - k)(x, m, v, s) + v / (2 * s**2),
        "z scatters around m",
    ),
    (
        check.elbo,
        lambda x, m, v, s: (
            bound(lambda f, k: f - k)(x, m, v, s) + 0.5 * math.log(2 * math.pi * s**2)
        ),
        "constant of log p(x | z)",
    ),
    (
        check.elbo,
        lambda x, m, v, s: bound(lambda f, k: f - k)(x, m, v**2, s),
        "took v for a standard deviation",
    ),
    (
        check.elbo,
        lambda x, m, v, s: parts(x, m, v, s)[0] - 0.5 * (m**2 + v - 1 - 2 * math.log(v)),
        "-log v, not -2 log v",
    ),
    (
        check.elbo,
        lambda x, m, v, s: bound(lambda f, k: f - k)(x, m, v, s**0.5),
        "square of s is missing",
    ),
    (
        check.elbo,
        lambda x, m, v, s: float(Normal(0.0, (1 + s**2) ** 0.5).log_prob(torch.tensor(x))),
        "that is log p(x) itself",
    ),
    (check.elbo, lambda x, m, v, s: 1.0, "the ELBO for x = 1.3"),
]
CHECKS = [check.score, check.estimate, check.posterior, check.elbo]
each_check = pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)


@pytest.mark.parametrize(("check", "answer", "words"), CASES)
def test_every_answer_gets_its_words(check, answer, words: str, capsys) -> None:
    assert words in said(capsys, check, answer)


@each_check
def test_three_mistakes_or_more_are_known(check) -> None:
    words = {words for one, _, words in CASES if one is check and not words.startswith("Right")}
    assert len(words) >= 3


@each_check
@pytest.mark.parametrize("stub", [None, ..., lambda *args: ..., lambda *args: None])
def test_untouched_stubs(check, stub, capsys) -> None:
    assert "not filled in yet" in said(capsys, check, stub)


@each_check
def test_broken_answers(check, capsys) -> None:
    assert "your code stopped" in said(capsys, check, lambda *args: args[0] + "a")


def test_the_tightest_elbo_is_the_evidence() -> None:
    """The model of exercise 4: at the true posterior the right answer equals log p(x)."""
    x, s = 0.8, 0.6
    v = 1 / (1 + 1 / s**2)
    fit, kl = parts(x, v * x / s**2, v, s)
    assert fit - kl == pytest.approx(
        float(Normal(0.0, (1 + s**2) ** 0.5).log_prob(torch.tensor(x)))
    )
