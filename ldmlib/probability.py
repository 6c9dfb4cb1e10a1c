"""Distributions whose every question has an exact answer: the oracles of the course.

A Gaussian mixture stays a Gaussian mixture when noise is added, so its density, its score and the
best possible denoiser are formulas. Tests and notebooks hold learned models against them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ldmlib.rng import Generator, randn_like
from ldmlib.schedule import Schedule, per_image


@dataclass(frozen=True)
class GaussianMixture:
    """sum_k w_k N(mean_k, cov_k) in d dimensions; with one component, a Gaussian.

    Args:
        means: (k, d).
        covs: (k, d, d), symmetric and positive definite.
        weights: (k,), positive, summing to 1.

    Raises:
        ValueError: shapes that do not fit, weights that do not sum to 1, or a covariance that is
            not positive definite.
    """

    means: Tensor
    covs: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        if self.means.ndim != 2:
            raise ValueError(f"means must be (k, d), not {tuple(self.means.shape)}")
        k, d = self.means.shape
        if self.covs.shape != (k, d, d) or self.weights.shape != (k,):
            raise ValueError(
                f"{k} means in {d} dimensions need covs ({k}, {d}, {d}) and weights ({k},), not "
                f"{tuple(self.covs.shape)} and {tuple(self.weights.shape)}"
            )
        total = float(self.weights.sum())
        if not (abs(total - 1) < 1e-5 and bool((self.weights >= 0).all())):
            raise ValueError(f"weights must be positive and sum to 1; they sum to {total:.6g}")
        if int(torch.linalg.cholesky_ex(self.covs).info.abs().max()) or not torch.allclose(
            self.covs, self.covs.mT
        ):
            raise ValueError(
                "every covariance must be symmetric and positive definite (all eigenvalues above 0)"
            )

    @classmethod
    def isotropic(cls, means: Tensor, std: float, weights: Tensor | None = None):
        """Round components of equal spread `std` around `means` (k, d)."""
        k, d = means.shape
        covs = std**2 * torch.eye(d, dtype=means.dtype).repeat(k, 1, 1)
        return cls(means, covs, means.new_full((k,), 1 / k) if weights is None else weights)

    @property
    def dim(self) -> int:
        """Number of dimensions d."""
        return self.means.shape[1]

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws, (n, d)."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = randn_like(self.means[k], generator)
        return self.means[k] + (torch.linalg.cholesky(self.covs)[k] @ noise[..., None])[..., 0]

    def component_log_prob(self, x: Tensor) -> Tensor:
        """log(w_k N(x; mean_k, cov_k)) for x (n, d): (n, k)."""
        self._check(x)
        cholesky = torch.linalg.cholesky(self.covs)  # (k, d, d)
        difference = (x[:, None] - self.means)[..., None]  # (n, k, d, 1)
        whitened = torch.linalg.solve_triangular(cholesky, difference, upper=False)[..., 0]
        log_det = 2 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.dim * math.log(2 * math.pi)
        return self.weights.log() - 0.5 * ((whitened**2).sum(-1) + log_det + constant)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats for x (n, d): (n,)."""
        return self.component_log_prob(x).logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(component | x), (n, k): Bayes' rule."""
        return self.component_log_prob(x).softmax(1)

    def score(self, x: Tensor) -> Tensor:
        """grad_x log p(x), (n, d): responsibilities times each Gaussian's pull to its mean."""
        self._check(x)
        pull = torch.linalg.solve(self.covs, (self.means - x[:, None])[..., None])[..., 0]
        return (self.responsibilities(x)[..., None] * pull).sum(1)

    def noised(self, alpha: float, sigma: float) -> GaussianMixture:
        """The distribution of x_t = alpha x_0 + sigma eps: again a mixture."""
        eye = torch.eye(self.dim, dtype=self.means.dtype)
        return GaussianMixture(
            alpha * self.means, alpha**2 * self.covs + sigma**2 * eye, self.weights
        )

    def denoise(self, x_t: Tensor, alpha: float, sigma: float) -> Tensor:
        """E[x_0 | x_t], (n, d): the best denoiser (Tweedie's formula, arXiv 2011.13456).

        Component by component, so that alpha = 0 (pure noise) is no exception.
        """
        self._check(x_t)
        noised = self.noised(alpha, sigma)
        pull = torch.linalg.solve(noised.covs, (x_t[:, None] - noised.means)[..., None])
        means = self.means + alpha * (self.covs @ pull)[..., 0]  # (n, k, d)
        return (noised.responsibilities(x_t)[..., None] * means).sum(1)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"points must be (n, {self.dim}), not {tuple(x.shape)}")


@dataclass(frozen=True)
class ExactDenoiser:
    """A mixture as a denoiser under the library's contract, of parametrisation ``x0``.

    ``ExactDenoiser(mixture, schedule)(x_t, t, cond=None) -> E[x_0 | x_t]``.
    """

    mixture: GaussianMixture
    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        times, index = t.unique(return_inverse=True)
        out = torch.empty_like(x_t)
        for i, time in enumerate(times):
            alpha, sigma = map(float, self.schedule.alpha_sigma(time.double()))
            chosen = index == i
            out[chosen] = self.mixture.denoise(x_t[chosen], alpha, sigma)
        return out


@dataclass(frozen=True)
class IdealDenoiser:
    """The best denoiser of a finite data set (n, ...): it knows nothing but its points.

    E[x_0 | x_t] is the mean of the points, weighted by how likely each became x_t; sampling with
    it reproduces the training set (arXiv 2206.00364, appendix B.3). Parametrisation ``x0``.
    """

    data: Tensor
    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        alpha, sigma = self.schedule.alpha_sigma(t.double())
        alpha, sigma = per_image(alpha, x_t), per_image(sigma, x_t).clamp(min=1e-6)
        points = self.data.flatten(1).to(x_t)
        x, a, s = x_t.flatten(1), alpha.flatten(1), sigma.flatten(1)
        # |x - a y|^2 without its part that is the same for all points y
        distance = a**2 * (points**2).sum(1) - 2 * a * (x @ points.T)
        weights = (-distance / (2 * s**2)).softmax(1)
        return (weights @ points).reshape(x_t.shape)


def langevin(score, x: Tensor, step: float, steps: int, generator: Generator = None) -> Tensor:
    """Walk uphill on log p with noise: x + step * score(x) + sqrt(2 step) * noise, repeated."""
    for _ in range(steps):
        x = x + step * score(x) + math.sqrt(2 * step) * randn_like(x, generator)
    return x


# --------------------------------------------------------------------------- ready mixtures
def ring(modes: int = 8, radius: float = 1.0, std: float = 0.05) -> GaussianMixture:
    """Equal round modes on a circle, in 2-D."""
    angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    return GaussianMixture.isotropic(means, std)


def moons(modes: int = 16, std: float = 0.08) -> GaussianMixture:
    """Two half circles that reach into one another, in 2-D, as chains of round modes."""
    angle = torch.linspace(0, math.pi, modes // 2, dtype=torch.float64)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    return GaussianMixture.isotropic(torch.cat([upper, -upper]), std)


def spiral(modes: int = 24, std: float = 0.05) -> GaussianMixture:
    """One and a half turns of a spiral, in 2-D, as a chain of round modes."""
    turn = torch.linspace(0.3, 1.0, modes, dtype=torch.float64)
    angle = 3 * math.pi * turn
    means = 1.2 * turn[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return GaussianMixture.isotropic(means, std)
