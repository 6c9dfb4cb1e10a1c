"""Samplers: each a generator that walks from noise to data, one state a step.

All have one signature,

    for state in ddim(predict, x, times, schedule, generator): ...

where ``predict(x_t, t) -> Prediction(x0, eps)``. They see the two estimates and the schedule,
never a network; the times may be any falling list (`ldmlib.diffusion.spacing`).

| name       | looks a step | order | draws noise | source            |
|------------|--------------|-------|-------------|-------------------|
| `ddpm`     | 1            | 1     | yes         | arXiv 2006.11239  |
| `ddim`     | 1            | 1     | where eta > 0 | arXiv 2010.02502 |
| `euler`    | 1            | 1     | no          | arXiv 2210.02747  |
| `heun`     | 2            | 2     | no          | arXiv 2206.00364  |
| `dpmpp_2m` | 1            | 2     | no          | arXiv 2211.01095  |

Order p: half the step divides the error by 2^p. Those without noise all solve one equation,
`probability_flow`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ldmlib.diffusion.process import Prediction
from ldmlib.diffusion.schedule import Schedule
from ldmlib.rng import Generator, randn_like

Predict = Callable[[Tensor, Tensor], Prediction]


@dataclass
class SampleState:
    """What a sampler yields after each step: x at time t, and the x0 it aimed at.

    `evaluations` counts the calls of `predict` so far.
    """

    x: Tensor
    t: float
    x0: Tensor
    evaluations: int


Sampler = Callable[..., Iterator[SampleState]]


# --------------------------------------------------------------------------- with noise
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
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is 0 (no noise) to 1 (DDPM's noise), not {eta}")
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


# --------------------------------------------------------------------------- without
def probability_flow(predict: Predict, x: Tensor, t: Tensor | float, schedule: Schedule) -> Tensor:
    """dx/dt of the probability-flow ODE, shape of x, at one time 0 < t < 1.

    alpha'(t) x0_hat + sigma'(t) eps_hat (arXiv 2011.13456, equation 13, in the two estimates).
    Points that follow it have the law of x_t at every t, and no noise is drawn. `ddim`, `euler`,
    `heun` and `dpmpp_2m` all solve it, in coordinates in which its curves are straighter.
    """
    t = torch.as_tensor(t, dtype=torch.float64)
    with torch.enable_grad():
        time = t.detach().clone().requires_grad_()
        alpha, sigma = schedule.alpha_sigma(time)
        alpha_rate = torch.autograd.grad(alpha, time, retain_graph=True)[0]
        sigma_rate = torch.autograd.grad(sigma, time)[0]
    x0, eps = predict(x, t)
    return float(alpha_rate) * x0 + float(sigma_rate) * eps


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
    predict: Predict,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    generator: Generator = None,
    exploding: bool = False,
) -> Iterator[SampleState]:
    """Heun's second-order steps along the flow (after arXiv 2206.00364, algorithm 1).

    An Euler step, a second look at its end, then the mean of both slopes; the last step, down to
    zero noise, is Euler's. ``n`` steps cost ``2 n - 1`` evaluations. The coordinates are `euler`'s;
    with `exploding` they are the paper's own, y = x / alpha and r = sigma / alpha, in which the
    slope is eps_hat; these need alpha > 0 at the first time.
    """
    at, slope_of = (_exploding, _noise) if exploding else (_straight, _velocity)
    calls = 0
    for t, s in zip(times[:-1], times[1:], strict=True):
        look = predict(x, t)
        (scale_t, r_t), (scale_s, r_s) = at(schedule, t), at(schedule, s)
        slope, calls = slope_of(look), calls + 1
        end = scale_s * (x / scale_t + (r_s - r_t) * slope)
        if s > 0:
            look = predict(end, s)
            slope, calls = (slope + slope_of(look)) / 2, calls + 1
            end = scale_s * (x / scale_t + (r_s - r_t) * slope)
        x = end
        yield SampleState(x, float(s), look.x0, calls)


def dpmpp_2m(
    predict: Predict, x: Tensor, times: Tensor, schedule: Schedule, generator: Generator = None
) -> Iterator[SampleState]:
    """DPM-Solver++(2M), second order at one look a step (arXiv 2211.01095, algorithm 2).

    DDIM's step, x_s = k x_t + (alpha_s - k alpha_t) aim with k = sigma_s / sigma_t, but it aims
    between: a line through this x0_hat and the last one, over log(alpha / sigma), is read in the
    middle of the step. The first step, and the last one, down to zero noise, aim at x0_hat itself.
    """
    last_x0, last_h = x, float("inf")
    for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        x0, _ = predict(x, t)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = _levels(schedule, t), _levels(schedule, s)
        h = float(schedule.log_snr(s) - schedule.log_snr(t)) / 2
        ahead = h / (2 * last_h) if i > 0 and s > 0 else 0.0
        aim = x0 + ahead * (x0 - last_x0)
        k = sigma_s / sigma_t
        x = k * x + (alpha_s - k * alpha_t) * aim
        last_x0, last_h = x0, h
        yield SampleState(x, float(s), aim, i + 1)


def _levels(schedule: Schedule, t: Tensor) -> tuple[float, float]:
    alpha, sigma = schedule.alpha_sigma(t)
    return float(alpha), float(sigma)


def _straight(schedule: Schedule, t: Tensor) -> tuple[float, float]:
    """alpha + sigma, and sigma / (alpha + sigma)."""
    alpha, sigma = _levels(schedule, t)
    return alpha + sigma, sigma / (alpha + sigma)


def _velocity(look: Prediction) -> Tensor:
    return look.eps - look.x0


def _exploding(schedule: Schedule, t: Tensor) -> tuple[float, float]:
    """alpha, and sigma / alpha."""
    alpha, sigma = _levels(schedule, t)
    if alpha == 0:
        raise ValueError(
            f"exploding coordinates divide by alpha, which is 0 at t = {float(t):g} of schedule "
            f"{schedule.name!r}: leave exploding=False, or begin at an earlier time"
        )
    return alpha, sigma / alpha


def _noise(look: Prediction) -> Tensor:
    return look.eps


SAMPLERS = {"ddpm": ddpm, "ddim": ddim, "euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}


def get_sampler(sampler: str | Sampler) -> Sampler:
    """A sampler by its name (an unknown one lists the known), or the reader's own, as it is."""
    if callable(sampler):
        return sampler
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; known are {', '.join(SAMPLERS)}")
    return SAMPLERS[sampler]


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
