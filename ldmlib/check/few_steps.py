"""Checks of notebook 09: a pair of flow matching, two steps in one, the noise target as EDM."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldmlib.check.core import Case, Verdict, judge_cases, same
from ldmlib.rng import seeded


def _numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=seeded(9, seed), dtype=torch.float64)


def flow_pair(answer: Callable[..., Any]) -> Verdict:
    """``answer(x0, eps, t)``: the place x_t on the line, and the velocity to learn there."""
    right = "a place on the line, and the line's own velocity: the same at every place of it."
    return judge_cases(answer, [_pair_case(1, 0.3), _pair_case(11, 0.8)], right=right)


def _pair_case(seed: int, t: float) -> Case:
    x0, eps = _numbers(5, seed=seed), _numbers(5, seed=seed + 1)
    x_t, velocity = (1 - t) * x0 + t * eps, eps - x0
    mistakes = {
        "the velocity points from the noise to the picture, but t grows towards the noise: turn "
        "it round.": (x_t, -velocity),
        "the shares are swapped: at t = 0 x_t is the picture, at t = 1 the noise.": (
            t * x0 + (1 - t) * eps,
            velocity,
        ),
        "the shares and the velocity are turned round: here t = 0 is the picture.": (
            t * x0 + (1 - t) * eps,
            -velocity,
        ),
        "the second part is the noise, the target `eps`: the velocity is dx_t/dt.": (x_t, eps),
        "the second part is the picture, the target `x0`: the velocity is dx_t/dt.": (x_t, x0),
        "the second part is the way walked so far, x_t - x0: a velocity is that divided by t.": (
            x_t,
            x_t - x0,
        ),
        "the second part is the way that is left, eps - x_t: a velocity is that divided by "
        "1 - t.": (x_t, eps - x_t),
        "the velocity is not divided by t: the line is walked in a time of 1.": (
            x_t,
            velocity / t,
        ),
        "the share of the picture is missing: it falls as 1 - t.": (x0 + t * eps, velocity),
        "the shares are those of a variance-preserving schedule: here they sum to 1.": (
            (1 - t**2) ** 0.5 * x0 + t * eps,
            velocity,
        ),
        "return the two apart, as a pair.": lambda value: (
            isinstance(value, Tensor) and value.numel() == 2 * x0.numel()
        ),
        "those are shares whose squares sum to 1 (variance preserving): on a straight line the "
        "shares themselves do.": ((1 - t) ** 0.5 * x0 + t**0.5 * eps, velocity),
        "only one of the two: return x_t and the velocity.": lambda value: (
            isinstance(value, Tensor) and value.shape == x0.shape
        ),
    }
    mistakes["the two are in the other order: first the place x_t, then the velocity."] = (
        velocity,
        x_t,
    )
    return Case((x_t, velocity), mistakes, (x0, eps, t), "(x_t, velocity)")


def two_in_one(answer: Callable[..., Any]) -> Verdict:
    """``answer(u, x, t, h)``: the velocity that leads in one step of h where two of h / 2 end."""
    right = "two looks of the teacher, told to the student as one."
    return judge_cases(answer, [_two_case(3, 0.75, 0.5), _two_case(13, 0.9, 0.2)], right=right)


def _two_case(seed: int, t: float, h: float) -> Case:
    x = _numbers(5, seed=seed)

    def u(x: Tensor, t: float) -> Tensor:
        return (1 + t) * torch.sin(2 * x) + t**2

    first = u(x, t)
    middle = x - h / 2 * first
    second = u(middle, t - h / 2)
    end = middle - h / 2 * second
    uphill = x + h / 2 * first
    mistakes = {
        "that is where the two steps end: the velocity is the way there divided by h.": end,
        "that is the way, x - end: a velocity is the way divided by the time h.": x - end,
        "the velocity has the wrong sign: it points along growing t, so it is (x - end) / h.": (
            end - x
        )
        / h,
        "that is the first look only: one plain step, nothing is distilled.": first,
        "that is the second look only: the way is made of both.": second,
        "the second look is at x: look at the place that the first step leads to.": (
            first + u(x, t - h / 2)
        )
        / 2,
        "the second look is at the old time: after the first step it is t - h / 2.": (
            first + u(middle, t)
        )
        / 2,
        "each of the two steps is h long: they have to share h.": lambda value: (
            torch.allclose(value, first + u(x - h * first, t - h))
            or torch.allclose(value, (first + u(x - h * first, t - h)) / 2)
        ),
        "the way is divided by h / 2, but it took the time h.": 2 * (x - end) / h,
        "the steps go towards more noise: x - h / 2 u, as t falls.": (first + u(uphill, t - h / 2))
        / 2,
    }
    return Case((x - end) / h, mistakes, (u, x, t, h), "the velocity")


def noise_family(answer: Callable[..., Any]) -> Verdict:
    """``answer(sigma)``: (c_skip, c_out, c_in) of a network that answers with the noise."""
    right = (
        "the noise target is of the family, too; at large sigma its c_out makes every error large."
    )
    return judge_cases(answer, [_family_case(0.75), _family_case(2.5)], right=right)


def _family_case(sigma: float) -> Case:
    total = (1 + sigma**2) ** 0.5
    mistakes = {
        "c_out has the wrong sign: the noise is taken away, x - sigma eps.": (
            1.0,
            sigma,
            1 / total,
        ),
        "c_out is the noise's strength, sigma, not its square.": (1.0, -(sigma**2), 1 / total),
        "c_out is the noise's strength, sigma, not 1 over it.": (1.0, -1 / sigma, 1 / total),
        "the order is c_skip, c_out, c_in.": lambda value: (
            len(value) == 3
            and not same(value, (1.0, -sigma, 1 / total))
            and all(any(same(v, w) for v in value) for w in (1.0, -sigma, 1 / total))
        ),
        "c_skip: all of x stays, and the noise is taken from it.": lambda value: (
            not same(value[0], 1.0) and same(value[1], -sigma)
        ),
        "that is the target `x0`, which needs no x beside the answer: here the answer is the "
        "noise.": lambda value: same(value[:2], (0.0, 1.0)),
        "those are EDM's own: this network answers with the noise alone.": (
            1 / total**2,
            sigma / total,
            1 / total,
        ),
        "those are the flow's: this network answers with the noise alone.": (
            1 / (1 + sigma),
            -sigma / (1 + sigma),
            1 / (1 + sigma),
        ),
        "c_in: x has variance 1 + sigma^2, so it is divided by the root of that.": lambda value: (
            len(value) == 3 and same(value[:2], (1.0, -sigma))
        ),
    }
    return Case((1.0, -sigma, 1 / total), mistakes, (sigma,), "(c_skip, c_out, c_in)")
