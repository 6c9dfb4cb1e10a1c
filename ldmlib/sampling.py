"""Samplers: from noise to pictures, step by step.

Each sampler is a generator with one signature,

    for state in ddim(predict, x, times, schedule, generator): ...

where ``predict(x_t, t) -> Prediction(x0, eps)``. They see the two estimates and the schedule,
never a network. `sample` runs one to its end.

    x at t = 1 --> [ ask for x0_hat, eps_hat; recombine them at a lower noise level ] --> x at t = 0
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ldmlib.diffusion import Denoiser, Diffusion, Prediction
from ldmlib.rng import Generator, randn_like
from ldmlib.schedule import Schedule

Predict = Callable[[Tensor, Tensor], Prediction]
TERMINAL_TOLERANCE = 0.02  # alpha(1) above it: training never saw the pure noise we start from


@dataclass
class SampleState:
    """What a sampler yields after each step: x at time t, and the x0 it aimed at.

    `evaluations` counts the calls of `predict` so far.
    """

    x: Tensor
    t: float
    x0: Tensor
    evaluations: int


def time_grid(steps: int, first: float = 1.0) -> Tensor:
    """``steps + 1`` times from `first` down to 0 at equal distances, float64.

    Raises:
        ValueError: fewer than 1 step.
    """
    if steps < 1:
        raise ValueError(f"sampling needs at least 1 step, not {steps}")
    return torch.linspace(first, 0, steps + 1, dtype=torch.float64)


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
    diffusion: Diffusion, denoiser: Denoiser, cond: Tensor | None = None, guidance: float = 1.0
) -> Predict:
    """Bind network, labels and classifier-free guidance into ``predict(x, t)`` (2207.12598).

    The output is ``uncond + guidance * (cond - uncond)``: 0 draws anything, 1 is the conditional
    model, above 1 overshoots towards the class (and no longer samples p(x | c)).

    Raises:
        ValueError: guidance other than 1 without labels.
    """
    if cond is None and guidance != 1:
        raise ValueError(
            f"guidance {guidance} needs labels to guide towards; leave it at 1 "
            "for an unconditional model"
        )

    def guided(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        if cond is None or guidance == 1:
            return denoiser(x, t, cond)
        if guidance == 0:
            return denoiser(x, t, torch.full_like(cond, -1))
        both = torch.cat([cond, torch.full_like(cond, -1)])
        with_label, without = denoiser(torch.cat([x, x]), t.repeat(2), both).chunk(2)
        return without + guidance * (with_label - without)

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


# --------------------------------------------------------------------------- samplers
def ddpm(
    predict: Predict, x: Tensor, times: Tensor, schedule: Schedule, generator: Generator = None
) -> Iterator[SampleState]:
    """Ancestral sampling: draw from q(x_s | x_t, x0_hat) (arXiv 2006.11239, algorithm 2)."""
    return ddim(predict, x, times, schedule, generator, eta=1.0)


def ddim(
    predict: Predict,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    generator: Generator = None,
    eta: float = 0.0,
) -> Iterator[SampleState]:
    """DDIM (arXiv 2010.02502, equations 12 and 16): eta = 0 adds no noise, 1 is DDPM.

    x_s = alpha_s x0_hat + sqrt(sigma_s^2 - tau^2) eps_hat + tau * noise
    """
    for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        x0, eps = predict(x, t)
        tau = eta * posterior_std(schedule, s, t)
        alpha_s, sigma_s = map(float, schedule.alpha_sigma(s))
        x = alpha_s * x0 + max(sigma_s**2 - tau**2, 0.0) ** 0.5 * eps
        if tau > 0:
            x = x + tau * randn_like(x, generator)
        yield SampleState(x, float(s), x0, i + 1)


def posterior_std(schedule: Schedule, s: Tensor, t: Tensor) -> float:
    """Standard deviation of q(x_s | x_t, x_0), s < t (arXiv 2006.11239, equation 7)."""
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule.alpha_sigma(s), schedule.alpha_sigma(t)
    added = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    return float(sigma_s * added.clamp(min=0).sqrt() / sigma_t)


def euler(
    predict: Predict, x: Tensor, times: Tensor, schedule: Schedule, generator: Generator = None
) -> Iterator[SampleState]:
    """Euler steps along the flow (arXiv 2210.02747).

    In straight-line coordinates y = x / (alpha + sigma), r = sigma / (alpha + sigma), every
    schedule is the flow y = (1 - r) x0 + r eps, so dy/dr = eps_hat - x0_hat. The step is DDIM's.
    """
    for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        x0, eps = predict(x, t)
        (scale_t, r_t), (scale_s, r_s) = _straight(schedule, t), _straight(schedule, s)
        x = scale_s * (x / scale_t + (r_s - r_t) * (eps - x0))
        yield SampleState(x, float(s), x0, i + 1)


def heun(
    predict: Predict, x: Tensor, times: Tensor, schedule: Schedule, generator: Generator = None
) -> Iterator[SampleState]:
    """Heun's second-order steps along the flow (after arXiv 2206.00364, algorithm 1).

    An Euler step, a second look at its end, then the mean of both slopes; the last step, down to
    zero noise, is Euler's. ``n`` steps cost ``2 n - 1`` evaluations.
    """
    calls = 0
    for t, s in zip(times[:-1], times[1:], strict=True):
        x0, eps = predict(x, t)
        (scale_t, r_t), (scale_s, r_s) = _straight(schedule, t), _straight(schedule, s)
        slope, calls = eps - x0, calls + 1
        end = scale_s * (x / scale_t + (r_s - r_t) * slope)
        if s > 0:
            x0, eps = predict(end, s)
            slope, calls = (slope + eps - x0) / 2, calls + 1
            end = scale_s * (x / scale_t + (r_s - r_t) * slope)
        x = end
        yield SampleState(x, float(s), x0, calls)


def _straight(schedule: Schedule, t: Tensor) -> tuple[float, float]:
    """alpha + sigma, and sigma / (alpha + sigma)."""
    alpha, sigma = map(float, schedule.alpha_sigma(t))
    return alpha + sigma, sigma / (alpha + sigma)


SAMPLERS = {"ddpm": ddpm, "ddim": ddim, "euler": euler, "heun": heun}


def get_sampler(name: str) -> Callable[..., Iterator[SampleState]]:
    """A sampler by its name; an unknown name lists the known ones."""
    if name not in SAMPLERS:
        raise ValueError(f"unknown sampler {name!r}; known are {', '.join(SAMPLERS)}")
    return SAMPLERS[name]


@torch.no_grad()
def sample(
    predict: Predict,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    generator: Generator = None,
    sampler: str = "ddim",
) -> Tensor:
    """Run a sampler to its end; returns x at t = 0, shape of x."""
    for state in get_sampler(sampler)(predict, x, times, schedule, generator):
        x = state.x
    return x
