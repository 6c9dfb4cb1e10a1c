"""Sampling: from noise to data, with labels and guidance.

    predict = predictor(diffusion, denoiser, labels, guidance=1.5)
    x = initial_noise(torch.empty(16, 4, 8, 8), schedule, generator)
    x = sample(predict, x, time_grid(8), schedule, sampler="heun")

`ldmlib.samplers` holds the ways to step, `ldmlib.spacing` the times to step to.

    x at t = 1 --> [ ask for x0_hat, eps_hat; recombine them at a lower noise level ] --> x at t = 0
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ldmlib.diffusion import Denoiser, Diffusion, Prediction
from ldmlib.rng import Generator, randn_like
from ldmlib.samplers import (
    SAMPLERS,
    Predict,
    Sampler,
    SampleState,
    ddim,
    ddpm,
    dpmpp_2m,
    euler,
    get_sampler,
    heun,
    probability_flow,
)
from ldmlib.schedule import Schedule
from ldmlib.spacing import SPACINGS, spaced_times, time_grid

__all__ = [
    "Predict",
    "SAMPLERS",
    "SPACINGS",
    "SampleState",
    "Sampler",
    "clipped",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "euler",
    "get_sampler",
    "heun",
    "initial_noise",
    "predictor",
    "probability_flow",
    "sample",
    "spaced_times",
    "time_grid",
]

TERMINAL_TOLERANCE = 0.02  # alpha(1) above it: training never saw the pure noise we start from


def initial_noise(like: Tensor, schedule: Schedule, generator: Generator = None) -> Tensor:
    """x_1 to start from: noise of the variance that unit-variance data have at t = 1.

    Warns where alpha(1) is above TERMINAL_TOLERANCE (arXiv 2305.08891): in training x_1 still held
    that share of the picture, such as its mean brightness; here it holds none.
    """
    if schedule.terminal_alpha > TERMINAL_TOLERANCE:
        warnings.warn(
            f"schedule {schedule.name!r} ends with alpha(1) = {schedule.terminal_alpha:.2g}, but "
            "sampling starts from pure noise, which training never saw: brightness may drift",
            stacklevel=2,
        )
    alpha, sigma = schedule.alpha_sigma(torch.tensor(1.0, dtype=torch.float64))
    return randn_like(like, generator) * float((alpha**2 + sigma**2).sqrt())


# --------------------------------------------------------------------------- what to ask
def predictor(
    diffusion: Diffusion,
    denoiser: Denoiser,
    cond: Tensor | None = None,
    guidance: float = 1.0,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Predict:
    """Bind network, labels and classifier-free guidance into ``predict(x, t)`` (2207.12598).

    The output is ``uncond + guidance * (cond - uncond)``: 0 draws anything, 1 is the conditional
    model, above 1 overshoots towards the class (and no longer samples p(x | c)). Outside of
    ``interval[0] <= t <= interval[1]`` guidance is 1 (2404.07724): early it costs variety, late it
    changes nothing but the time.

    Raises:
        ValueError: guidance other than 1 without labels; an interval outside of [0, 1].
    """
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"guidance interval must be 0 <= low <= high <= 1, not {interval}")
    if cond is None and guidance != 1:
        raise ValueError(
            f"guidance {guidance} needs labels to guide towards; leave it at 1 "
            "for an unconditional model"
        )

    def guided(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        acts = (t > low - 1e-6) & (t < high + 1e-6)
        if cond is None or guidance == 1 or not acts.any():
            return denoiser(x, t, cond)
        null = torch.full_like(cond, -1)
        if guidance == 0 and acts.all():
            return denoiser(x, t, null)
        both = torch.cat([cond, null])
        with_label, without = denoiser(torch.cat([x, x]), t.repeat(2), both).chunk(2)
        weight = torch.where(acts, guidance, 1.0).to(x).view(-1, *[1] * (x.ndim - 1))
        return without + weight * (with_label - without)

    def predict(x: Tensor, t: Tensor) -> Prediction:
        return diffusion.predict(guided, x, t, cond)

    return predict


def clipped(predict: Predict, schedule: Schedule, low: float = -1.0, high: float = 1.0) -> Predict:
    """Keep x0_hat inside [low, high] and recompute eps_hat from it; for pixels, never latents."""

    def inner(x: Tensor, t: Tensor) -> Prediction:
        x0, eps = predict(x, t)
        x0 = x0.clamp(low, high)
        alpha, sigma = schedule.alpha_sigma(torch.as_tensor(t, dtype=torch.float64))
        return Prediction(x0, (x - float(alpha) * x0) / float(sigma) if sigma > 0 else eps)

    return inner


# --------------------------------------------------------------------------- run
@torch.no_grad()
def sample(
    predict: Predict,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    generator: Generator = None,
    sampler: str | Sampler = "ddim",
) -> Tensor:
    """Run a sampler, by name or as a function, to its end; returns x at t = 0, shape of x."""
    for state in get_sampler(sampler)(predict, x, times, schedule, generator):
        x = state.x
    return x
