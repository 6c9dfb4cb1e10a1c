"""Step spacing: the times at which a sampler asks the network.

A grid for n steps has n + 1 times, float64, each below the one before it. At the first n of them
the network is asked; the last is 0, where no noise is left. A sampler takes the time of its next
step from this list, never from T // n. With T = 1000 (`schedule.REFERENCE_STEPS`):

| name       | where                                   | first look    | last look            |
|------------|-----------------------------------------|---------------|----------------------|
| `trailing` | equal distances in t                    | 1             | 1/n                  |
| `linspace` | equal distances in t, down to 1/T       | 1             | 1/T                  |
| `leading`  | equal distances in t, a step too low    | 1 - 1/n + 1/T | 1/T                  |
| `karras`   | equal distances in (sigma/alpha)^(1/7)  | 1             | sigma/alpha = 0.002  |

The first three are DDPM's tables as libraries cut them (arXiv 2305.08891, table 2). `leading` is
kept for comparison: the noise it starts from belongs to t = 1, where it never looks.
"""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor

from ldmlib.diffusion.schedule import REFERENCE_STEPS, Schedule

MOST_STEPS = 100_000  # hours for one picture; whoever asks for more has mistyped a number


def time_grid(steps: int, first: float = 1.0) -> Tensor:
    """``steps + 1`` times from `first` down to 0 at equal distances, float64.

    Raises:
        ValueError: fewer than 1 step.
    """
    _check_steps(steps)
    return torch.linspace(first, 0, steps + 1, dtype=torch.float64)


def trailing(steps: int, schedule: Schedule) -> Tensor:
    """1, 1 - 1/n, ..., 1/n, 0: `time_grid`, the same for every schedule (2305.08891)."""
    return time_grid(steps)


def linspace(steps: int, schedule: Schedule) -> Tensor:
    """From 1 to 1/T at equal distances, then 0: the last step is a small one."""
    _check_steps(steps)
    looks = torch.linspace(1, 1 / REFERENCE_STEPS, steps, dtype=torch.float64)
    return _and_zero(looks)


def leading(steps: int, schedule: Schedule) -> Tensor:
    """(n - 1)/n, ..., 1/n, 0, each a table's step later, then 0: the first look comes too low.

    Raises:
        ValueError: fewer than 1 step, or more than the table of times has (`REFERENCE_STEPS`).
    """
    _check_steps(steps)
    if steps > REFERENCE_STEPS:
        raise ValueError(
            f"leading spacing takes its times from a table of {REFERENCE_STEPS:,}, so it has at "
            f"most {REFERENCE_STEPS:,} steps, not {steps:,}; take fewer steps, or trailing spacing"
        )
    looks = torch.arange(steps - 1, -1, -1, dtype=torch.float64) / steps
    return _and_zero(looks + 1 / REFERENCE_STEPS)


def karras(
    steps: int,
    schedule: Schedule,
    rho: float = 7.0,
    smallest: float = 0.002,
    largest: float = 80.0,
) -> Tensor:
    """Dense where noise is weak: equal distances in (sigma / alpha)^(1/rho) (2206.00364, eq. 5).

    From `largest`, or the schedule's own largest if that is smaller, down to `smallest`; the first
    look is at t = 1 whatever `largest` is, for there the noise we start from belongs.
    """
    _check_steps(steps)
    alpha, sigma = map(float, schedule.alpha_sigma(torch.tensor(1.0, dtype=torch.float64)))
    largest = min(largest, sigma / alpha) if alpha > 0 else largest
    roots = [largest ** (1 / rho), smallest ** (1 / rho)]
    levels = torch.linspace(*roots, steps, dtype=torch.float64) ** rho
    looks = time_of_ratio(schedule, levels)
    looks[0] = 1
    return _and_zero(looks)


def time_of_ratio(schedule: Schedule, ratio: Tensor) -> Tensor:
    """The times t at which sigma(t) / alpha(t) is `ratio`, found by halving [0, 1]; float64."""
    ratio = ratio.double()
    low, high = torch.zeros_like(ratio), torch.ones_like(ratio)
    for _ in range(60):
        middle = (low + high) / 2
        alpha, sigma = schedule.alpha_sigma(middle)
        too_late = sigma > ratio * alpha
        low, high = torch.where(too_late, low, middle), torch.where(too_late, middle, high)
    return (low + high) / 2


def cut(times: Tensor, strength: float) -> Tensor:
    """The end of a grid, for an edit that begins at time `strength`: it, then the times below it.

    At 1 the grid itself, at 0 a single time: no step.

    Raises:
        ValueError: strength outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is 0 (keep all) to 1 (draw all anew), not {strength}")
    if strength == 1:
        return times
    return torch.cat([times.new_tensor([strength]), times[times < strength - 1e-9]])


def _and_zero(looks: Tensor) -> Tensor:
    return torch.cat([looks, looks.new_zeros(1)])


def check_whole(number: int, name: str, of: str) -> None:
    """Raise unless `number`, an argument called `name`, can be the number of something.

    Raises:
        TypeError, ValueError: no whole number, or less than 1.
    """
    if isinstance(number, bool) or not isinstance(number, Integral):  # NumPy's integers, too
        raise TypeError(f"{name} is the number of {of}, a whole number, not {number!r}")
    if number < 1:
        raise ValueError(f"{name} is the number of {of}, 1 or more, not {number}")


def _check_steps(steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, Integral):  # NumPy's integers, too
        raise TypeError(f"steps is the whole number of steps of the sampler, not {steps!r}")
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step, not {steps}")
    if steps > MOST_STEPS:
        raise ValueError(f"sampling takes at most {MOST_STEPS:,} steps, not {steps:,}")


SPACINGS = {"trailing": trailing, "linspace": linspace, "leading": leading, "karras": karras}


def spaced_times(spacing: str, steps: int, schedule: Schedule) -> Tensor:
    """The grid of a spacing by its name, (steps + 1,) float64, from noise to 0.

    Raises:
        ValueError: an unknown name (the message lists the known ones), or fewer than 1 step.
    """
    if spacing not in SPACINGS:
        raise ValueError(f"unknown spacing {spacing!r}; known are {', '.join(SPACINGS)}")
    return SPACINGS[spacing](steps, schedule)
