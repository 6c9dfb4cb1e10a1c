"""Checks of notebook 04: variances, times, one step forward, the step back."""

from collections.abc import Callable
from typing import Any

import torch

from ldmlib.check.core import Case, Verdict, judge_cases, same
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.schedule import Schedule


def variance(answer: Callable[[float, float, float], Any]) -> Verdict:
    """``answer(alpha, sigma, v)``: variance of x_t where x_0 has variance v."""
    return judge_cases(
        answer,
        [_variance_case(0.8, 0.5, 0.4), _variance_case(0.3, 0.9, 1.7)],
        right="alpha^2 v + sigma^2. With v = 1 and a variance-preserving schedule it stays 1.",
    )


def _variance_case(alpha: float, sigma: float, v: float) -> Case:
    mistakes = {
        "v is missing: the picture has variance v, and that is 1 only for scaled data.": alpha**2
        + sigma**2,
        "v belongs to the picture alone: the noise has variance 1.": (alpha**2 + sigma**2) * v,
        "the noise keeps its own variance: v belongs to the other part.": alpha**2 + sigma**2 * v,
        "standard deviations do not add up, variances do: square before you add.": (
            lambda a: (
                abs(float(a) - (alpha * v**0.5 + sigma)) < 1e-4
                or abs(float(a) - (alpha * v**0.5 + sigma) ** 2) < 1e-4
            )
        ),
        "that is the standard deviation; its square is asked for.": (alpha**2 * v + sigma**2)
        ** 0.5,
        "that is only the noise: what is left of the picture varies too.": sigma**2,
        "that is only the picture: the noise varies too.": alpha**2 * v,
        "a factor comes out of a variance squared: alpha is there without its square.": alpha * v
        + sigma**2,
        "a factor comes out of a variance squared: sigma is there without its square.": alpha**2 * v
        + sigma,
        "neither factor is squared, but a factor comes out of a variance squared.": alpha * v
        + sigma,
        "picture and noise are independent: there is no cross term.": (
            lambda a: (
                min(
                    abs(float(a) - (alpha**2 * v + sigma**2 + 2 * alpha * sigma * size))
                    for size in (1, v, v**0.5)
                )
                < 1e-4
            )
        ),
        "the square belongs to each part, before they are added.": (alpha * v + sigma) ** 2,
        "v is a variance already: do not square it.": alpha**2 * v**2 + sigma**2,
        "variances of independent parts are added, not subtracted.": alpha**2 * v - sigma**2,
    }
    name = f"the variance for alpha = {alpha}, sigma = {sigma}, v = {v}"
    return Case(alpha**2 * v + sigma**2, mistakes, (alpha, sigma, v), name)


def time_of_snr(answer: Callable[[float], Any]) -> Verdict:
    """``answer(snr)``: the time at which the flow schedule has this signal-to-noise ratio."""
    return judge_cases(  # at SNR = 1 several mistakes give the right answer
        answer,
        [_snr_case(4.0), _snr_case(0.25)],
        right="t = 1 / (1 + sqrt(SNR)): 1/2 where picture and noise are equally strong.",
    )


def _snr_case(snr: float) -> Case:
    root = snr**0.5
    mistakes = {
        "the SNR is the square of alpha / sigma: a root is missing.": 1 / (1 + snr),
        "that is alpha = 1 - t at this SNR (or the ratio is upside down).": root / (1 + root),
        "that is for alpha^2 + sigma^2 = 1; here alpha + sigma = 1.": (1 / (1 + snr)) ** 0.5,
        "the SNR was squared; it is a square already, so take its root.": 1 / (1 + snr**2),
        "that is sigma / alpha: alpha + sigma = 1 is not used yet.": 1 / root,
        "that is alpha / sigma: alpha + sigma = 1 is not used yet.": root,
        "a time lies between 0 and 1.": lambda t: not 0 <= t <= 1,
    }
    return Case(1 / (1 + root), mistakes, (snr,), f"the time of SNR {snr:g}")


def one_step(answer: Callable[[float, float, Schedule], Any]) -> Verdict:
    """``answer(s, t, schedule)``: (factor, variance) of the step forward from time s to time t."""
    return judge_cases(
        answer,
        [
            _step_case("flow", 0.3, 0.6),
            _step_case("cosine", 0.3, 0.6),
            _step_case("flow", 0.2, 0.9),
        ],
        right="r = alpha(t) / alpha(s), and what noise is missing after shrinking.",
    )


def _step_case(name: str, s: float, t: float) -> Case:
    schedule = Schedule(name)
    (alpha_s, alpha_t), (sigma_s, sigma_t) = _pairs(schedule, s, t)
    r = alpha_t / alpha_s
    v = sigma_t**2 - r**2 * sigma_s**2
    mistakes = {
        "the factor is right, but the second number is the standard deviation: square it.": (
            r,
            v**0.5,
        ),
        "the two numbers are right, but in the other order: first the factor.": (v, r),
        "the noise that x_s already holds shrinks by the factor too: "
        "sigma(t)^2 - r^2 sigma(s)^2.": (r, sigma_t**2 - sigma_s**2),
        "in the variance, the factor is squared as well.": (r, sigma_t**2 - r * sigma_s**2),
        "standard deviations are subtracted; the variances are what adds up.": (
            lambda a: (
                same(a, (r, sigma_t - r * sigma_s)) or same(a, (r, (sigma_t - r * sigma_s) ** 2))
            )
        ),
        "1 - r^2 holds only where alpha^2 + sigma^2 = 1; the flow schedule is another.": (
            r,
            1 - r**2,
        ),
        "that is the jump from time 0 to t; the step starts at s.": (alpha_t, sigma_t**2),
        "the factor is upside down: x_s must shrink.": lambda a: abs(a[0] - 1 / r) < 1e-3,
        "the variance is negative.": lambda a: a[1] < 0,
    }
    return Case((r, v), mistakes, (s, t, schedule), f"the step from {s} to {t} of {name!r}")


def posterior_mean(answer: Callable[..., Any]) -> Verdict:
    """``answer(x0, x_t, s, t, schedule)``: mean of q(x_s | x_t, x_0)."""
    return judge_cases(
        answer,
        [_posterior_case("cosine", 0.4, 0.7), _posterior_case("flow", 0.3, 0.8)],
        right="a mean of two opinions, each weighted by its precision.",
    )


def _posterior_case(name: str, s: float, t: float) -> Case:
    schedule = Schedule(name)
    (alpha_s, alpha_t), (sigma_s, sigma_t) = _pairs(schedule, s, t)
    r = alpha_t / alpha_s
    added = sigma_t**2 - r**2 * sigma_s**2
    x0, x_t = torch.tensor([[-1.0, 0.5, 2.0]]), torch.tensor([[0.3, -0.7, 1.5]])
    times = torch.tensor([s]), torch.tensor([t])
    truth = Diffusion(name, "v").posterior(x0, x_t, *times).mean
    mistakes = {
        "that is a step of DDIM, which keeps the noise of x_t. The mean of q(x_s | x_t, x_0) knows "
        "that part of that noise came after time s.": alpha_s * x0
        + sigma_s * (x_t - alpha_t * x0) / sigma_t,
        "that is alpha(s) x_0: it ignores what x_t says.": alpha_s * x0,
        "that undoes the shrinking, x_t / r, but ignores x_0.": x_t / r,
        "the factor r is missing in front of x_t: x_t is a shrunk x_s.": (
            sigma_s**2 * x_t + alpha_s * added * x0
        )
        / sigma_t**2,
        "that is the sum of both opinions: weight them, so that it becomes a mean.": x_t / r
        + alpha_s * x0,
        "both opinions count alike; the one with less variance counts for more.": (
            x_t / r + alpha_s * x0
        )
        / 2,
        "x_0 and x_t have changed places.": (r * sigma_s**2 * x0 + alpha_s * added * x_t)
        / sigma_t**2,
        "the weights are swapped: x_t counts for more the more noise x_s holds, sigma(s)^2.": (
            r * added * x_t + alpha_s * sigma_s**2 * x0
        )
        / sigma_t**2,
        "x_0 enters at the size it has at time s: multiply it by alpha(s).": (
            r * sigma_s**2 * x_t + added * x0
        )
        / sigma_t**2,
        "divided by sigma(t): what the weights sum to is its square.": (
            r * sigma_s**2 * x_t + alpha_s * added * x0
        )
        / sigma_t,
        "that is the plain mean of x_0 and x_t: each counts by its precision.": (x0 + x_t) / 2,
        "the weights do not sum to one: divide by sigma(t)^2.": r * sigma_s**2 * x_t
        + alpha_s * added * x0,
        "those are standard deviations; precisions are made of variances.": (
            r * sigma_s * x_t + alpha_s * added**0.5 * x0
        )
        / sigma_t,
    }
    return Case(truth, mistakes, (x0, x_t, s, t, schedule), "the posterior's mean")


def step_time(answer: Callable[[int, int], Any]) -> Verdict:
    """``answer(i, T)``: the time of step i = 0 .. T-1 of a table of T steps."""
    return judge_cases(
        answer,
        [_time_case(2, 5), _time_case(0, 10), _time_case(9, 10)],
        right="(i + 1) / T: the first step adds a little noise, the last one is t = 1.",
    )


def _time_case(i: int, steps: int) -> Case:
    mistakes = {
        "off by one: step 0 would be the clean picture, and pure noise would never come.": i
        / steps,
        "the last step is right, but step 0 is the clean picture: nothing to learn there.": i
        / (steps - 1),
        "that runs backwards: here t = 1 is noise.": 1 - i / steps,
        "`//` divides whole numbers and drops the rest: use `/`.": (i + 1) // steps,
        "that is a number of steps, not a time in [0, 1].": i + 1,
        "off by one the other way: t leaves [0, 1].": (i + 2) / steps,
    }
    return Case((i + 1) / steps, mistakes, (i, steps), f"the time of step {i} of {steps}")


def _pairs(schedule: Schedule, s: float, t: float) -> tuple[list[float], list[float]]:
    alpha, sigma = schedule.alpha_sigma(torch.tensor([s, t], dtype=torch.float64))
    return alpha.tolist(), sigma.tolist()
