"""Distributions whose every question has an exact answer: the oracles of the course.

A Gaussian mixture stays a Gaussian mixture when noise is added, so its density, its score and the
best possible denoiser are formulas. Tests and notebooks hold learned models against them.

    mixture = ring(8)
    x = mixture.sample(1000, seeded(0))
    mixture.log_prob(x), mixture.score(x), mixture.responsibilities(x)
    mixture.noised(0.8, 0.6).score(x), mixture.denoise(x, 0.8, 0.6)

A distribution here is anything with ``sample(n, generator)`` and ``log_prob(x)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ldmlib.rng import randn_like


@dataclass(frozen=True)
class GaussianMixture:
    """sum_k w_k N(mean_k, cov_k) in d dimensions; with one component, a Gaussian.

    Args:
        means: (k, d).
        covs: (k, d, d), symmetric and positive definite.
        weights: (k,), not negative, summing to 1.

    Raises:
        ValueError: shapes or dtypes that do not fit, means that are not finite, weights that are
            negative or do not sum to 1, or a covariance that is not positive definite.
    """

    means: Tensor
    covs: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or self.means.numel() == 0:
            raise ValueError(f"means must be (k, d), none of it 0, not {tuple(self.means.shape)}")
        k, d = self.means.shape
        if self.covs.shape != (k, d, d) or self.weights.shape != (k,):
            raise ValueError(
                f"{k} means in {d} dimensions need covs ({k}, {d}, {d}) and weights ({k},), not "
                f"{tuple(self.covs.shape)} and {tuple(self.weights.shape)}"
            )
        dtypes = {self.means.dtype, self.covs.dtype, self.weights.dtype}
        if len(dtypes) > 1 or not self.means.is_floating_point():
            raise ValueError(f"all must be of one floating dtype, not {sorted(map(str, dtypes))}")
        if not bool(self.means.isfinite().all()):
            raise ValueError("means must be finite numbers, but one is infinite or not a number")
        least, total = float(self.weights.min()), float(self.weights.sum())
        if not (abs(total - 1) < 1e-5 and least >= 0):
            found = f"the sum is {total:.6g}, the least {least:.6g}"
            raise ValueError(f"weights must sum to 1, and none may be negative; {found}")
        failed = torch.linalg.cholesky_ex(self.covs).info != 0
        symmetric = torch.isclose(self.covs, self.covs.mT).flatten(1).all(1)
        if bool((failed | ~symmetric).any()):
            raise ValueError(
                "every covariance must be symmetric and positive definite (eigenvalues above 0); "
                f"number {int((failed | ~symmetric).nonzero()[0])} is not"
            )

    @classmethod
    def gaussian(cls, mean: Tensor, cov: Tensor) -> GaussianMixture:
        """One Gaussian of mean (d,) and covariance (d, d)."""
        return cls(mean[None], cov[None], mean.new_ones(1))

    @classmethod
    def isotropic(cls, means: Tensor, std: float, weights: Tensor | None = None) -> GaussianMixture:
        """Round components of equal spread `std` around `means` (k, d)."""
        if not std > 0:
            raise ValueError(f"std must be above 0, not {std}")
        k, d = len(means), means.shape[-1]
        covs = std**2 * torch.eye(d, dtype=means.dtype).repeat(k, 1, 1)
        return cls(means, covs, means.new_full((k,), 1 / max(k, 1)) if weights is None else weights)

    @property
    def dim(self) -> int:
        """Number of dimensions d."""
        return self.means.shape[1]

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d): spread within the components, and between them."""
        mean = self.weights @ self.means
        off = self.means - mean
        between = off[:, :, None] * off[:, None]
        return mean, (self.weights[:, None, None] * (self.covs + between)).sum(0)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws, (n, d)."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = randn_like(self.means[k], generator)
        return self.means[k] + (torch.linalg.cholesky(self.covs)[k] @ noise[..., None])[..., 0]

    def component_log_prob(self, x: Tensor) -> Tensor:
        """log(w_k N(x; mean_k, cov_k)) for x (n, d): (n, k)."""
        self._check(x)
        cholesky = torch.linalg.cholesky(self.covs)  # (k, d, d)
        difference = (x[:, None] - self.means).permute(1, 2, 0)  # (k, d, n)
        whitened = torch.linalg.solve_triangular(cholesky, difference, upper=False)
        log_det = 2 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.dim * math.log(2 * math.pi)
        return self.weights.log() - 0.5 * ((whitened**2).sum(1).T + log_det + constant)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats for x (n, d): (n,)."""
        return self.component_log_prob(x).logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(component | x), (n, k): Bayes' rule, the posterior over the components."""
        return self.component_log_prob(x).softmax(1)

    def score(self, x: Tensor) -> Tensor:
        """grad_x log p(x), (n, d): responsibilities times each Gaussian's pull to its mean."""
        self._check(x)
        return (self.responsibilities(x)[..., None] * self._pull(x)).sum(1)

    def noised(self, alpha: float, sigma: float) -> GaussianMixture:
        """The distribution of x_t = alpha x_0 + sigma eps: again a mixture."""
        covs = alpha**2 * self.covs + sigma**2 * torch.eye(self.dim).to(self.means)
        return GaussianMixture(alpha * self.means, covs, self.weights)

    def denoise(self, x_t: Tensor, alpha: float, sigma: float) -> Tensor:
        """E[x_0 | x_t], (n, d): the best denoiser (Tweedie's formula, arXiv 2011.13456).

        Component by component, so that alpha = 0 (pure noise) is no exception.
        """
        self._check(x_t)
        noised = self.noised(alpha, sigma)
        shift = torch.einsum("kij,nkj->nki", self.covs, noised._pull(x_t))
        means = self.means - alpha * shift  # (n, k, d)
        return (noised.responsibilities(x_t)[..., None] * means).sum(1)

    def _pull(self, x: Tensor) -> Tensor:
        """cov_k^-1 (mean_k - x), (n, k, d): the score of each component alone."""
        difference = (self.means - x[:, None]).permute(1, 2, 0)  # (k, d, n)
        return torch.linalg.solve(self.covs, difference).permute(2, 0, 1)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"points must be (n, {self.dim}), not {tuple(x.shape)}")


# --------------------------------------------------------------------------- averages and KL


# --------------------------------------------------------------------------- walking on the score


# --------------------------------------------------------------------------- ready mixtures
def ring(modes: int = 8, radius: float = 1.0, std: float = 0.05) -> GaussianMixture:
    """Equal round modes on a circle, in 2-D."""
    angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / max(modes, 1))
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    return GaussianMixture.isotropic(means, std)


def moons(modes: int = 16, std: float = 0.08) -> GaussianMixture:
    """Two half circles that reach into one another, in 2-D; `modes`, an even number, in a row."""
    if modes % 2:
        raise ValueError(f"modes are split between two moons: an even number, not {modes}")
    angle = torch.linspace(0, math.pi, modes // 2, dtype=torch.float64)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    return GaussianMixture.isotropic(torch.cat([upper, -upper]), std)


def spiral(modes: int = 24, std: float = 0.05) -> GaussianMixture:
    """One and a half turns of a spiral, in 2-D, as a chain of round modes."""
    turn = torch.linspace(0.3, 1.0, modes, dtype=torch.float64)
    angle = 3 * math.pi * turn
    means = 1.2 * turn[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return GaussianMixture.isotropic(means, std)
