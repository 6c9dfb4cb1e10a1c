"""Checks of notebook 08: a step of DDIM, a step of Heun, DPM-Solver++'s aim, Karras's levels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldmlib.check.core import Case, Verdict, judge_cases, same
from ldmlib.rng import seeded


def _numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=seeded(8, seed), dtype=torch.float64)


def ddim_step(answer: Callable[..., Any]) -> Verdict:
    """``answer(x_t, x0, alpha_t, sigma_t, alpha_s, sigma_s)``: x_s without fresh noise."""
    cases = [_ddim_case(1, 0.5, 0.8, 0.7, 0.4), _ddim_case(11, 0.3, 0.9, 0.9, 0.2)]
    right = "the same picture and the same noise, mixed as time s asks."
    return judge_cases(answer, cases, right=right)


def _ddim_case(seed: int, *levels: float) -> Case:
    alpha_t, sigma_t, alpha_s, sigma_s = levels
    x_t, x0 = _numbers(5, seed=seed), _numbers(5, seed=seed + 1)
    eps = (x_t - alpha_t * x0) / sigma_t
    mistakes = {
        "the noise keeps the strength that it has at t: at s it is sigma_s.": alpha_s * x0
        + sigma_t * eps,
        "the picture keeps the share that it has at t: at s it is alpha_s.": alpha_t * x0
        + sigma_s * eps,
        "x_t - alpha_t x0 is sigma_t eps, not eps: divide by sigma_t.": alpha_s * x0
        + sigma_s * (x_t - alpha_t * x0),
        "what x_t holds of the picture is alpha_t x0, not x0: subtract that.": alpha_s * x0
        + sigma_s * (x_t - x0) / sigma_t,
        "sigma is a standard deviation: no square here.": alpha_s * x0 + sigma_s**2 * eps,
        "x_t itself is not the noise: solve x_t = alpha_t x0 + sigma_t eps for eps.": alpha_s * x0
        + sigma_s * x_t,
        "that is the picture at time s without any noise: sigma_s eps is missing.": alpha_s * x0,
        "that is the picture itself: time s holds a little noise, too.": x0,
        "that is x_t again: nothing was recombined.": x_t,
        "t and s have changed places.": alpha_t * x0 + sigma_t * (x_t - alpha_s * x0) / sigma_s,
        "picture and noise have changed places.": sigma_s * x0 + alpha_s * eps,
        "that is the noise: mix it with the picture again.": eps,
        "the noise has the wrong sign: it is x_t - alpha_t x0, divided by sigma_t.": alpha_s * x0
        - sigma_s * eps,
    }
    return Case(alpha_s * x0 + sigma_s * eps, mistakes, (x_t, x0, *levels), "x_s")


def heun_step(answer: Callable[..., Any]) -> Verdict:
    """``answer(u, x, t, s)``: Heun's step along the slope u(x, t), from t to s < t."""
    right = "the mean of two slopes, the second one looked up where Euler's step ends."
    return judge_cases(answer, [_heun_case(3, 0.9, 0.5), _heun_case(13, 0.6, 0.3)], right=right)


def _heun_case(seed: int, t: float, s: float) -> Case:
    x = _numbers(5, seed=seed)

    def u(x: Tensor, t: float) -> Tensor:
        return (1 + t) * torch.sin(2 * x) + t**2

    first, end = u(x, t), x + (s - t) * u(x, t)
    middle = (t + s) / 2
    mistakes = {
        "that is Euler's step: look a second time, at its end.": end,
        "the second look is at x, but at time s: look where Euler's step ends.": x
        + (s - t) * (first + u(x, s)) / 2,
        "the second look is at Euler's end, but at the old time: there it is s.": x
        + (s - t) * (first + u(end, t)) / 2,
        "the two slopes are added: take their mean.": x + (s - t) * (first + u(end, s)),
        "only the second slope is used: take the mean of both.": x + (s - t) * u(end, s),
        "the mean of the slopes is applied at Euler's end: begin again at x.": end
        + (s - t) * (first + u(end, s)) / 2,
        "that is the mean slope: begin at x and go along it, for s - t.": (first + u(end, s)) / 2,
        "the slopes are subtracted: take their mean.": x + (s - t) * (first - u(end, s)) / 2,
        "s lies below t: the step is s - t, a negative number.": x
        + (t - s) * (first + u(end, s)) / 2,
        "that is x again: no step was made.": x,
        "that is the midpoint rule: of second order, too, but Heun looks at both ends.": x
        + (s - t) * u(x + (middle - t) * first, middle),
        "that goes towards more noise: s lies below t, so the step is s - t.": x
        + (t - s) * (first + u(x + (t - s) * first, s)) / 2,
    }
    return Case(x + (s - t) * (first + u(end, s)) / 2, mistakes, (u, x, t, s), "x_s")


def aim(answer: Callable[..., Any]) -> Verdict:
    """``answer(x0, last_x0, h, last_h)``: the line through two looks, in the middle of the step."""
    right = "a straight line through two looks, read in the middle of the step."
    return judge_cases(answer, [_aim_case(4, 0.6, 0.4), _aim_case(14, 0.2, 0.5)], right=right)


def _aim_case(seed: int, h: float, last_h: float) -> Case:
    x0, last_x0 = _numbers(5, seed=seed), _numbers(5, seed=seed + 1)
    change = x0 - last_x0
    mistakes = {
        "that is the line at the end of the step: the middle is h / 2 away.": x0
        + h / last_h * change,
        "the line goes on for h / 2, measured in steps of last_h: the ratio is upside down.": x0
        + last_h / (2 * h) * change,
        "that assumes equal steps: the last one was last_h long, this one is h.": x0 + change / 2,
        "the change is the wrong way round: this look minus the last one.": x0
        - h / (2 * last_h) * change,
        "the line begins at this look, x0, not at the last one.": last_x0
        + h / (2 * last_h) * change,
        "a slope is the change divided by last_h: that division is missing.": x0 + h / 2 * change,
        "that is the mean of the two looks: it lies behind us, and the step goes ahead.": (
            x0 + last_x0
        )
        / 2,
        "that is the slope: begin at x0 and go along it, for h / 2.": change / last_h,
        "h / 2 was halved once more.": x0 + h / (4 * last_h) * change,
        "that is DDIM's aim: the last look is not used yet.": x0,
    }
    truth = x0 + h / (2 * last_h) * change
    return Case(truth, mistakes, (x0, last_x0, h, last_h), "the aim")


def karras(answer: Callable[..., Any]) -> Verdict:
    """``answer(n, largest, smallest)``: n levels, falling, even in the 7th root, then 0."""
    right = "a few large steps through strong noise, many small ones where noise is weak."
    return judge_cases(
        answer, [_karras_case(5, 80.0, 0.002), _karras_case(8, 20.0, 0.05)], right=right
    )


def _karras_case(n: int, largest: float, smallest: float) -> Case:
    share = torch.linspace(0, 1, n, dtype=torch.float64)

    def levels(rho: float) -> Tensor:
        first, last = largest ** (1 / rho), smallest ** (1 / rho)
        return (first + share * (last - first)) ** rho

    def and_zero(x: Tensor) -> Tensor:
        return torch.cat([x, x.new_zeros(1)])

    geometric = largest * (smallest / largest) ** share
    more = torch.linspace(largest ** (1 / 7), smallest ** (1 / 7), n + 1, dtype=torch.float64) ** 7
    mistakes = {
        "the last level, 0, is missing: the sampler would leave a little noise.": levels(7),
        "the levels rise: sampling begins with the most noise.": and_zero(levels(7)).flip(0),
        "the n levels rise before the 0: sampling begins with the most noise.": and_zero(
            levels(7).flip(0)
        ),
        "the levels themselves have equal distances: it is their 7th roots that should.": and_zero(
            levels(1)
        ),
        "the roots are upside down: level^(1/7) has equal distances, not level^7.": lambda value: (
            torch.allclose(value[: n - 1], levels(1 / 7)[: n - 1])
        ),
        "these are still the roots: raise them to the 7th power.": and_zero(levels(7) ** (1 / 7)),
        "the ratio of neighbours is constant: that is another spacing (the limit of rho "
        "without end).": and_zero(geometric),
        "one level too few: n levels, and then 0.": lambda value: len(value) < n + 1,
        "another root than the 7th was taken.": lambda value: any(
            same(value, and_zero(levels(rho))) for rho in (2, 3, 5, 6, 8, 9)
        ),
        "the n-th level should be `smallest`: divide i by n - 1, not by n.": and_zero(
            (largest ** (1 / 7) + torch.arange(n) / n * (smallest ** (1 / 7) - largest ** (1 / 7)))
            ** 7
        ),
        "one level too many: n levels, and then 0.": and_zero(more),
        "smallest should be the n-th level, and 0 comes after it.": torch.linspace(
            largest ** (1 / 7), 0, n + 1, dtype=torch.float64
        )
        ** 7,
    }
    args = (n, largest, smallest)
    return Case(and_zero(levels(7)), mistakes, args, "the list of levels", 1e-6)
