"""RePaint: a model that was never shown a hole fills one (arXiv 2201.09865).

After each step the known part is put in with the noise of the time that the step led to. The model
then sees, at the next step, what its drawing has to fit; taking steps again lets it mend the seam.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.samplers import Predict, Sampler, sample
from ldmlib.diffusion.schedule import Schedule
from ldmlib.rng import Generator, randn_like


def places(steps: int, jump: int, repeats: int) -> list[int]:
    """Where in a grid of times RePaint is, one after the other: from 0 to `steps`.

    ``places(4, jump=1, repeats=2)`` is 0, 1, 2, 1, 2, 3, 2, 3, 4. It never goes back to place 0,
    where all may be noise, nor from the end, where none is left.

    Raises:
        ValueError: jump or repeats below 1.
    """
    if jump < 1 or repeats < 1:
        raise ValueError(f"jump and repeats are 1 or more, not {jump} and {repeats}")
    order = [0]
    for place in range(1, steps + 1):
        order.append(place)
        if jump < place < steps and (place - 1) % jump == 0:
            order += (repeats - 1) * list(range(place - jump, place + 1))
    return order


def led(
    predict: Predict,
    x: Tensor,
    known: Tensor,
    free: Tensor,
    times: Tensor,
    order: list[int],
    diffusion: Diffusion,
    generator: Generator = None,
    sampler: str | Sampler = "ddpm",
) -> Tensor:
    """Sample x, (n, c, h, w) at ``times[0]``, so that it agrees with `known` where it is not free.

    Args:
        known: clean latents, like x; free: bool (n, 1, h, w), True where the model draws.
        order: walk over the places of `times`, see `places`.
    """
    schedule = diffusion.curves
    for i, j in pairwise(order):
        if j < i:
            x = noisier(x, times[i], times[j], schedule, generator)
            continue
        x = sample(predict, x, times[[i, j]], schedule, generator, sampler)
        x = torch.where(free, x, diffusion.add_noise(known, randn_like(x, generator), times[j]))
    return x


def noisier(
    x: Tensor, s: Tensor, t: Tensor, schedule: Schedule, generator: Generator = None
) -> Tensor:
    """x at time s -> x at a later time t, with the noise in between: q(x_t | x_s)."""
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule.alpha_sigma(s), schedule.alpha_sigma(t)
    ratio = float(alpha_t / alpha_s)
    added = float(sigma_t) ** 2 - (ratio * float(sigma_s)) ** 2
    return ratio * x + max(added, 0.0) ** 0.5 * randn_like(x, generator)
