"""Sampling: from noise to data, with labels and guidance.

    predict = predictor(diffusion, denoiser, labels, guidance=1.5)
    x = initial_noise(torch.empty(16, 4, 8, 8), schedule, generator)
    x = sample(predict, x, time_grid(8), schedule, sampler="heun")

`ldmlib.diffusion.samplers` holds the ways to step, `ldmlib.diffusion.spacing` the times to step to.

    x at t = 1 --> [ ask for x0_hat, eps_hat; recombine them at a lower noise level ] --> x at t = 0
"""

from __future__ import annotations

import torch
from torch import Tensor

from ldmlib.diffusion.process import Denoiser, Diffusion, Prediction
from ldmlib.diffusion.samplers import (
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
from ldmlib.diffusion.schedule import Schedule
from ldmlib.diffusion.spacing import SPACINGS, spaced_times, time_grid

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
    "predictor",
    "probability_flow",
    "spaced_times",
    "time_grid",
]


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
