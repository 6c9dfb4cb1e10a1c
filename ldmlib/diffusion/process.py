"""Diffusion itself: add noise, choose what the network predicts, and measure the error.

The one contract of the library is here. A *denoiser* is any callable

    output = denoiser(x_t, t, cond=None)

and a *parametrisation* says what the output means. `Diffusion.predict` turns it into the pair
``(x0_hat, eps_hat)``, and samplers see nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ldmlib.diffusion.schedule import Schedule, per_image
from ldmlib.rng import Generator, even_uniform, randn_like

Denoiser = Callable[..., Tensor]


class Prediction(NamedTuple):
    """What a denoiser says about x_t: the clean picture and the noise, same shape as x_t."""

    x0: Tensor
    eps: Tensor


# --------------------------------------------------------------------------- parametrisations
@dataclass(frozen=True)
class Parametrisation:
    """What the network is trained to output, given alpha and sigma of the noise level.

    | name   | target            | used by                            |
    |--------|-------------------|------------------------------------|
    | `eps`  | eps               | DDPM, arXiv 2006.11239             |
    | `x0`   | x_0               | denoising autoencoders             |
    | `v`    | alpha eps - sigma x_0 | arXiv 2202.00512, appendix D   |
    | `flow` | eps - x_0         | flow matching, arXiv 2210.02747    |
    """

    name: str = "flow"

    def __post_init__(self) -> None:
        if self.name not in PARAMETRISATIONS:
            known = ", ".join(PARAMETRISATIONS)
            raise ValueError(f"unknown parametrisation {self.name!r}; known are {known}")

    def target(self, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The tensor that the network should output for this x_0 and eps."""
        match self.name:
            case "eps":
                return eps
            case "x0":
                return x0
            case "v":
                return alpha * eps - sigma * x0
        return eps - x0

    def prediction(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
        """Solve ``x_t = alpha x0 + sigma eps`` together with the output's meaning.

        Where sigma = 0 an x0-prediction says nothing about the noise; its mean, 0, is returned.

        Raises:
            ValueError: an eps-prediction where alpha = 0: pure noise cannot tell the picture.
        """
        match self.name:
            case "eps":
                if not bool((alpha > 0).all()):
                    raise ValueError(
                        "eps-prediction at zero signal (alpha = 0): x_t is the noise itself and "
                        "says nothing of x_0; use parametrisation 'v', 'x0' or 'flow'"
                    )
                return Prediction((x_t - sigma * output) / alpha, output)
            case "x0":
                safe = torch.where(sigma > 0, sigma, torch.ones_like(sigma))
                eps = torch.where(sigma > 0, (x_t - alpha * output) / safe, torch.zeros_like(x_t))
                return Prediction(output, eps)
            case "v":
                scale = alpha**2 + sigma**2
                x0, eps = alpha * x_t - sigma * output, sigma * x_t + alpha * output
                return Prediction(x0 / scale, eps / scale)
        scale = alpha + sigma
        return Prediction((x_t - sigma * output) / scale, (x_t + alpha * output) / scale)


PARAMETRISATIONS = ("eps", "x0", "v", "flow")


def score(eps: Tensor, sigma: Tensor) -> Tensor:
    """grad log p_t(x_t) = -eps_hat / sigma (arXiv 2011.13456); sigma must be positive."""
    return -eps / sigma


def min_snr_weight(snr: Tensor, parametrisation: str, gamma: float = 5.0) -> Tensor:
    """Min-SNR-gamma loss weight of each noise level, shape of `snr` (arXiv 2303.09556).

    The same weighting of the picture's error, min(snr, gamma), written for the loss on each
    target; finite for snr = 0 and snr = infinity.
    """
    capped = snr.clamp(max=gamma)
    match parametrisation:
        case "x0":
            return capped
        case "eps":
            return torch.where(snr > 0, capped / snr.clamp(min=1e-20), torch.ones_like(snr))
        case "v":
            return capped / (snr + 1)
    raise ValueError(f"min-SNR weights are defined for eps, x0 and v, not {parametrisation!r}")


# --------------------------------------------------------------------------- the process
@dataclass(frozen=True)
class Posterior:
    """The Gaussian q(x_s | x_t, x_0), s < t: `mean` like x_t, `std` one number per image."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Diffusion:
    """A schedule and a parametrisation: everything about diffusion except the network.

    Args:
        schedule: name of the noise schedule (`ldmlib.diffusion.schedule`).
        parametrisation: what the network outputs: ``eps``, ``x0``, ``v`` or ``flow``.
        time_sampling: ``uniform``, or ``logit_normal`` (arXiv 2403.03206), which trains the
            middle noise levels more often.
        weighting: ``none`` or ``min_snr``.

    Raises:
        ValueError: unknown names, or eps-prediction with a schedule that ends in pure noise.
    """

    schedule: str = "flow"
    parametrisation: str = "flow"
    time_sampling: str = "logit_normal"
    weighting: str = "none"

    def __post_init__(self) -> None:
        Parametrisation(self.parametrisation)
        if self.time_sampling not in ("uniform", "logit_normal"):
            raise ValueError(
                f"time_sampling is 'uniform' or 'logit_normal', not {self.time_sampling!r}"
            )
        if self.weighting not in ("none", "min_snr"):
            raise ValueError(f"weighting is 'none' or 'min_snr', not {self.weighting!r}")
        if self.weighting == "min_snr":
            min_snr_weight(torch.ones(1), self.parametrisation)
        if self.curves.terminal_alpha == 0 and self.parametrisation == "eps":
            raise ValueError(
                f"schedule {self.schedule!r} ends in pure noise (alpha(1) = 0), where "
                "eps-prediction cannot recover the picture; use 'v', 'x0' or 'flow'"
            )

    @property
    def curves(self) -> Schedule:
        """The `Schedule` object."""
        return Schedule(self.schedule)

    def coefficients(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha(t) and sigma(t) for t of shape (n,) or (), ready to multiply x, (n, ...)."""
        alpha, sigma = self.curves.alpha_sigma(t.double())
        return per_image(alpha, x), per_image(sigma, x)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """q(x_t | x_0) in one jump: x_t = alpha(t) x_0 + sigma(t) eps (2006.11239, eq. 4)."""
        alpha, sigma = self.coefficients(t, x0)
        return alpha * x0 + sigma * eps

    def posterior(self, x0: Tensor, x_t: Tensor, s: Tensor, t: Tensor) -> Posterior:
        """q(x_s | x_t, x_0) for s < t: the step back, were x_0 known (2006.11239, eq. 6-7).

        Written for any schedule: with r = alpha(t) / alpha(s), going forward from s to t
        multiplies by r and adds noise of variance sigma(t)^2 - r^2 sigma(s)^2.
        """
        alpha_s, sigma_s = self.coefficients(s, x0)
        alpha_t, sigma_t = self.coefficients(t, x0)
        ratio = alpha_t / alpha_s
        added = sigma_t**2 - ratio**2 * sigma_s**2
        mean = (ratio * sigma_s**2 * x_t + alpha_s * added * x0) / sigma_t**2
        return Posterior(mean, sigma_s * added.clamp(min=0).sqrt() / sigma_t)

    def sample_times(self, n: int, generator: Generator = None) -> Tensor:
        """n training times in (0, 1), float64, spread evenly: one in each of n equal strata."""
        u = even_uniform(n, generator).clamp(1e-4, 1 - 1e-4)
        return torch.sigmoid(torch.special.ndtri(u)) if self.time_sampling != "uniform" else u

    def predict(self, denoiser: Denoiser, x_t: Tensor, t: Tensor, cond: Tensor | None = None):
        """Ask the network; returns `Prediction(x0, eps)`. t has shape (n,) or ()."""
        t = torch.as_tensor(t, dtype=torch.float64).expand(len(x_t))
        output = denoiser(x_t, t.to(x_t), cond)
        alpha, sigma = self.coefficients(t, x_t)
        return Parametrisation(self.parametrisation).prediction(output, x_t, alpha, sigma)

    def loss(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        cond: Tensor | None = None,
        t: Tensor | None = None,
        eps: Tensor | None = None,
        generator: Generator = None,
    ) -> Tensor:
        """Squared error of the network's output for each image, shape (n,), mean over pixels.

        `t` and `eps` are drawn when not given. E[loss] over eps and t is DDPM's L_simple
        (2006.11239, eq. 14) for ``eps``, or conditional flow matching (2210.02747, eq. 9).
        """
        t = self.sample_times(len(x0), generator) if t is None else t  # float64: stays on the CPU
        eps = randn_like(x0, generator) if eps is None else eps
        alpha, sigma = self.coefficients(t, x0)
        target = Parametrisation(self.parametrisation).target(x0, eps, alpha, sigma)
        output = denoiser(alpha * x0 + sigma * eps, t.to(x0), cond)
        error = ((output.float() - target) ** 2).flatten(1).mean(1)
        if self.weighting == "min_snr":
            error = error * min_snr_weight(self.curves.snr(t), self.parametrisation).to(error)
        return error
