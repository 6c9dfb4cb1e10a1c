"""Noise schedules: how much of the picture and how much noise is left at time t.

Everywhere in this library ``x_t = alpha(t) * x_0 + sigma(t) * eps`` with ``eps ~ N(0, I)``, and
``t`` runs from 0 (the clean picture) to 1 (noise). A schedule is nothing but the two curves
``alpha`` and ``sigma``; DDPM, its cosine variant, Stable Diffusion and flow matching differ only
in these. The T-step tables of the papers are the same curves read at ``t = (i + 1) / T``.

| name            | alpha(t)^2 = abar(t)                      | source                             |
|-----------------|-------------------------------------------|------------------------------------|
| `linear`        | beta from 1e-4 to 0.02                    | DDPM, arXiv 2006.11239, section 4  |
| `scaled_linear` | sqrt(beta) from sqrt(.00085) to sqrt(.012)| LDM, arXiv 2112.10752              |
| `cosine`        | cos^2 of (t + .008) / 1.008 * pi / 2      | arXiv 2102.09672, equation 17      |
| `flow`          | alpha = 1 - t, sigma = t                  | arXiv 2210.02747, equation 20-22   |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

REFERENCE_STEPS = 1000  # the papers' tables have 1000 steps; the curve through them is the schedule


def linear_betas(first: float = 1e-4, last: float = 0.02, steps: int = REFERENCE_STEPS) -> Tensor:
    """Variances added at each DDPM step, shape (steps,), float64 (arXiv 2006.11239)."""
    return torch.linspace(first, last, steps, dtype=torch.float64)


def scaled_linear_betas(first: float = 0.00085, last: float = 0.012) -> Tensor:
    """Betas whose square roots are linear, as in latent diffusion (arXiv 2112.10752)."""
    return linear_betas(first**0.5, last**0.5) ** 2


def cosine_betas(offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """Betas of the cosine curve, none above `largest` (arXiv 2102.09672, equation 17)."""
    t = torch.linspace(0, 1, REFERENCE_STEPS + 1, dtype=torch.float64)
    abar = torch.cos((t + offset) / (1 + offset) * torch.pi / 2) ** 2
    return (1 - abar[1:] / abar[:-1]).clamp(max=largest)


_BETAS = {"linear": linear_betas, "scaled_linear": scaled_linear_betas, "cosine": cosine_betas}
NAMES = (*_BETAS, "flow")


@lru_cache
def _log_alpha_bar(name: str) -> Tensor:
    """log abar at t = 0, 1/1000, ..., 1: shape (1001,), float64, starting at 0."""
    return torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-_BETAS[name]()).cumsum(0)])


def _interpolate(table: Tensor, t: Tensor) -> Tensor:
    """Read a table given at equal distances on [0, 1] between its entries, linearly."""
    table = table.to(t.device)
    position = t * (len(table) - 1)
    left = position.floor().long().clamp(0, len(table) - 2)
    return torch.lerp(table[left], table[left + 1], position - left)


@dataclass(frozen=True)
class Schedule:
    """The pair of curves (alpha, sigma) of one noise schedule.

    Args:
        name: one of ``linear``, ``scaled_linear``, ``cosine``, ``flow``.

    Raises:
        ValueError: unknown name, or a time outside [0, 1].
    """

    name: str = "flow"

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"unknown schedule {self.name!r}; known are {', '.join(NAMES)}")

    def alpha_sigma(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Both curves at time(s) `t`: two tensors of t's shape, computed in float64, cast last.

        Noise at time t is ``alpha * x_0 + sigma * eps``. For all but `flow`,
        ``alpha^2 + sigma^2 = 1`` (variance preserving).
        """
        t = torch.as_tensor(t)
        dtype = t.dtype if t.is_floating_point() else torch.get_default_dtype()
        time = t.double()
        if not bool(((time >= 0) & (time <= 1)).all()):
            raise ValueError(
                f"t must lie in [0, 1] (0 clean, 1 noise), but came as {time.min():g} to "
                f"{time.max():g}; a step number i of T steps is the time (i + 1) / T"
            )
        if self.name == "flow":
            return (1 - time).to(dtype), time.to(dtype)
        log_abar = _interpolate(_log_alpha_bar(self.name), time)
        return (log_abar / 2).exp().to(dtype), (0.0 - torch.expm1(log_abar)).sqrt().to(dtype)

    def alpha(self, t: Tensor | float) -> Tensor:
        """How much of the clean picture is left at time `t`; 1 at t = 0, falling."""
        return self.alpha_sigma(t)[0]

    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise at time `t`; 0 at t = 0, rising."""
        return self.alpha_sigma(t)[1]

    def snr(self, t: Tensor | float) -> Tensor:
        """Signal-to-noise ratio alpha^2 / sigma^2 (arXiv 2107.00630); infinite at t = 0."""
        alpha, sigma = self.alpha_sigma(t)
        return (alpha / sigma) ** 2

    def log_snr(self, t: Tensor | float) -> Tensor:
        """log(alpha^2 / sigma^2), falling with `t`; +inf at t = 0."""
        return self.snr(t).log()

    @property
    def terminal_alpha(self) -> float:
        """alpha(1): the share of the picture that the noisiest state still holds; ideally 0.

        0.0064 for `linear`, 0.068 for `scaled_linear`, below 1e-4 for `cosine`, 0 for `flow`.
        """
        return float(self.alpha(torch.tensor(1.0, dtype=torch.float64)))

    def table(self, steps: int = REFERENCE_STEPS) -> dict[str, Tensor]:
        """The T-step table of the papers: this curve read at ``t = (i + 1) / T``.

        Returns:
            float64 tensors of shape (steps,): ``t``, ``alpha_bar``, ``alpha`` (= 1 - beta),
            ``beta``. ``alpha_bar[-1]`` does not depend on `steps`.
        """
        if steps < 1:
            raise ValueError(f"a table needs at least 1 step, not {steps}")
        t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        alpha_bar = self.alpha(t) ** 2
        before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
        alpha = alpha_bar / before
        return {"t": t, "alpha_bar": alpha_bar, "alpha": alpha, "beta": 1 - alpha}


def per_image(coefficient: Tensor, x: Tensor) -> Tensor:
    """Give one number per image, shape (n,) or (), the trailing 1s to multiply x, (n, ...)."""
    return coefficient.reshape(-1, *[1] * (x.ndim - 1)).to(x)
