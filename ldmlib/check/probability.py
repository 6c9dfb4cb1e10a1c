"""Checks of notebook 01: the score, an average and its error, a posterior on a grid, an ELBO."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from ldmlib.check.core import Case, Verdict, judge_cases, same
from ldmlib.probability.mixtures import GaussianMixture


def score(answer: Callable[[Tensor, Tensor, Tensor, Tensor], Any]) -> Verdict:
    """``answer(x, means, stds, weights)``: score of a mixture in one dimension, (n,)."""
    x = [-1.5, -0.2, 0.4, 1.0, 3.0]
    cases = [
        _score_case(x, [-1.0, 1.2], [0.5, 0.9], [0.3, 0.7]),
        _score_case(x[1:], [0.4, -0.8, 2.0], [1.1, 0.6, 0.7], [0.5, 0.2, 0.3]),
    ]
    right = "every component pulls to its mean, and the posterior says whose pull counts."
    return judge_cases(answer, cases, right=right)


def _score_case(*numbers: list[float]) -> Case:
    x, means, stds, weights = (torch.tensor(v, dtype=torch.float64) for v in numbers)
    mixture = GaussianMixture(means[:, None], stds[:, None, None] ** 2, weights)
    truth, density = mixture.score(x[:, None])[:, 0], mixture.log_prob(x[:, None]).exp()
    posterior = mixture.responsibilities(x[:, None])
    away = means - x[:, None]
    likely = Normal(means, stds).log_prob(x[:, None]).softmax(1)
    mistakes = {
        "your score has the sign of the energy's gradient: it points downhill. "
        "Left of a mean the density rises, so the score is positive there.": -truth,
        "divide by the variance, std^2, not by the standard deviation.": (
            posterior * away / stds
        ).sum(1),
        "that is the slope of p itself; the score is the slope of log p: divide by p.": truth
        * density,
        "that is the log density; the score is its slope.": density.log(),
        "that is the density; the score is the slope of its logarithm.": density,
        "a slope of log p is asked for, not of p(x | k): weigh the pulls by p(k | x).": (
            away / stds**2
        ).sum(1),
        "each pull counts by p(k | x), not by the prior weight p(k): use Bayes' rule.": (
            weights * away / stds**2
        ).sum(1),
        "the posterior must contain the weights: p(k) times p(x | k).": (
            likely * away / stds**2
        ).sum(1),
        "the pulls are not divided by anything: a narrow bump pulls harder, by 1 / std^2.": (
            posterior * away
        ).sum(1),
        "these are the pulls of each component: weight them by p(k | x) and add up over k.": (
            lambda a: a.shape == away.shape
        ),
    }
    return Case(truth, mistakes, (x, means, stds, weights), "the score")


def estimate(answer: Callable[[Tensor], Any]) -> Verdict:
    """``answer(values)``: mean, variance of one draw, standard error of the mean."""
    cases = [_estimate_case([1.0, 4.0, 2.0, 8.0, 5.0, 3.0]), _estimate_case([-2.0, 0.5, 1.0, 7.5])]
    return judge_cases(answer, cases, right="mean, variance of one draw, and sqrt(variance / n).")


def _estimate_case(draws: list[float]) -> Case:
    values = torch.tensor(draws, dtype=torch.float64)
    n, mean, variance = len(values), values.mean(), values.var()
    error = (variance / n).sqrt()
    square, biased = (values**2).mean(), values.var(correction=0)

    def part(i: int, wrong: Tensor) -> Callable[[Any], bool]:
        return lambda a: abs(float(a[i]) - float(wrong)) < 1e-4

    mistakes = {
        "the first number should be the mean; yours is the sum: divide by n.": part(0, mean * n),
        "variance and error are in the other order: first the variance of one draw.": (
            lambda a: same(a[1], error) and same(a[2], variance)
        ),
        "your variance is the standard deviation: did you forget to square?": part(
            1, variance.sqrt()
        ),
        "your variance is the mean square: subtract the mean first.": part(1, square),
        "your variance divides by n; with the mean taken from the same draws, divide by n - 1.": (
            part(1, biased)
        ),
        "that is the variance of the mean, asked was the variance of one draw.": part(
            1, variance / n
        ),
        "your variance is a sum: divide it by n - 1.": part(1, variance * (n - 1)),
        "your error is the spread of one draw; a mean of n draws is better by sqrt(n).": part(
            2, variance.sqrt()
        ),
        "your error is a variance: the root is missing.": part(2, variance / n),
        "you divided the spread by n: the variance is divided by n, the spread by sqrt(n).": part(
            2, variance.sqrt() / n
        ),
        "you divided the variance by n twice.": part(2, variance / n**2),
        "the n - 1 belongs to the variance; the error divides that variance by n.": part(
            2, (variance / (n - 1)).sqrt()
        ),
        "that is half of a 95 % interval: the standard error itself, without 1.96.": part(
            2, 1.96 * error
        ),
        "that is the median, not the mean.": part(0, values.quantile(0.5)),
        "the error comes from a variance with n - 1.": part(2, (biased / n).sqrt()),
        "an error grows with the spread and falls with n, yours is negative.": lambda a: a[2] < 0,
    }
    name = "the answer (mean, variance, error)"
    return Case((mean, variance, error), mistakes, (values,), name)


def posterior(answer: Callable[[Tensor, Tensor, Tensor], Any]) -> Verdict:
    """``answer(z, prior, likelihood)``: the posterior density on an even grid."""
    cases = [_posterior_case(4.0, 0.3), _posterior_case(3.0, -1.1)]
    return judge_cases(answer, cases, right="prior times likelihood, divided by the evidence.")


def _posterior_case(end: float, seen: float) -> Case:
    z = torch.linspace(-end, end, 81, dtype=torch.float64)
    prior = 0.4 * Normal(-1.0, 0.6).log_prob(z).exp() + 0.6 * Normal(1.5, 0.5).log_prob(z).exp()
    likelihood, width = Normal(0.6 * z, 0.8).log_prob(torch.tensor(seen)).exp(), z[1] - z[0]
    joint = prior * likelihood
    truth = joint / (joint.sum() * width)
    mistakes = {
        "not normalised: its area is p(x), not 1. Divide by it.": joint,
        "that sums to 1, but a density has area 1: the sum times the distance of grid points.": (
            joint / joint.sum()
        ),
        "you multiplied by the distance of grid points where a division belongs.": joint
        / joint.sum()
        * width,
        "that is the likelihood made to area 1: the prior is missing.": likelihood
        / (likelihood.sum() * width),
        "that is the prior: what was seen must change the belief.": prior,
        "the two are multiplied, not added.": (prior + likelihood)
        / ((prior + likelihood).sum() * width),
        "the evidence is an area as well, but that of prior times likelihood.": joint
        / (likelihood.sum() * width),
        "the largest value is 1; it is the area that must be 1.": joint / joint.max(),
        "that is p(x), one number: the posterior is a density over the grid.": (
            lambda a: a.numel() == 1
        ),
        "that is a logarithm: a density is never negative.": lambda a: bool((a < 0).any()),
        "the area below it is not 1: the sum times the distance of the grid points must be.": (
            lambda a: a.shape == z.shape and abs(float(a.sum() * width) - 1) > 0.01
        ),
    }
    return Case(truth, mistakes, (z, prior, likelihood), "the posterior", 1e-3)


def elbo(answer: Callable[[float, float, float, float], Any]) -> Verdict:
    """``answer(x, m, v, s)``: ELBO of z ~ N(0, 1), x = z + s eps, for the guess N(m, v)."""
    cases = [_elbo_case(1.3, 0.4, 0.3, 0.7), _elbo_case(-0.5, 0.2, 1.7, 1.2)]
    right = "fit minus price. It is below log p(x) for every guess."
    return judge_cases(answer, cases, right=right)


def _elbo_case(x: float, m: float, v: float, s: float) -> Case:
    distance, constant = (x - m) ** 2, 0.5 * math.log(2 * math.pi * s**2)
    fit = -(distance + v) / (2 * s**2) - constant
    kl = 0.5 * (m**2 + v - 1 - math.log(v))
    evidence = -(x**2) / (2 * (1 + s**2)) - 0.5 * math.log(2 * math.pi * (1 + s**2))
    mistakes = {
        "the KL has the wrong sign: it is a price, so subtract it.": fit + kl,
        "that is the fit alone: the price, KL(q || N(0, 1)), is missing.": fit,
        "that is minus the ELBO: a loss, and asked was the bound.": kl - fit,
        "the KL is the other way round: KL(q || prior), draws from q.": fit
        - 0.5 * ((1 + m**2) / v - 1 + math.log(v)),
        "z scatters around m: E[(x - z)^2] = (x - m)^2 + v.": -distance / (2 * s**2)
        - constant
        - kl,
        "the constant of log p(x | z) is missing, -log(2 pi s^2) / 2.": fit + constant - kl,
        "you took v for a standard deviation; it is a variance already.": -(distance + v**2)
        / (2 * s**2)
        - constant
        - 0.5 * (m**2 + v**2 - 1 - 2 * math.log(v)),
        "in the KL, v is a variance: -log v, not -2 log v.": fit
        - 0.5 * (m**2 + v - 1 - 2 * math.log(v)),
        "the square of s is missing: s is a standard deviation.": -(distance + v) / (2 * s)
        - 0.5 * math.log(2 * math.pi * s)
        - kl,
        "the half in front of the squares is missing.": -(distance + v) / s**2 - constant - kl,
        "the half in front of log(2 pi s^2) is missing.": fit - constant - kl,
        "the -1 in the KL is missing: two equal Gaussians must give 0.": fit - kl - 0.5,
        "m enters the KL squared.": fit - 0.5 * (m + v - 1 - math.log(v)),
        "x - m enters squared.": -(x - m + v) / (2 * s**2) - constant - kl,
        "take the natural logarithm, not the one to base 10.": lambda a: (
            abs(float(a) - (fit - 0.5 * (m**2 + v - 1 - math.log10(v)))) < 1e-4
        ),
        "that is log p(x) itself, which here is known; asked was its bound.": evidence,
        "the half in front of the KL is missing.": fit - 2 * kl,
    }
    name = f"the ELBO for x = {x}, m = {m}, v = {v}, s = {s}"
    return Case(fit - kl, mistakes, (x, m, v, s), name)
