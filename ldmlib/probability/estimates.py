"""Monte Carlo estimates, KL divergences and Langevin sampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ldmlib.probability.mixtures import GaussianMixture
from ldmlib.rng import Generator, randn_like


class Distribution(Protocol):
    """What `kl_monte_carlo` asks of its two arguments."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor: ...

    def log_prob(self, x: Tensor) -> Tensor: ...


class Estimate(NamedTuple):
    """A Monte Carlo average and its standard error."""

    value: Tensor
    error: Tensor


def monte_carlo(values: Tensor) -> Estimate:
    """Mean of independent values (n, ...) over n, and its standard error, std / sqrt(n).

    Raises:
        ValueError: fewer than 2 values.
    """
    if len(values) < 2:
        raise ValueError(f"a standard error needs at least 2 values, not {len(values)}")
    return Estimate(values.mean(0), values.std(0) / len(values) ** 0.5)


def kl_gaussians(q: GaussianMixture, p: GaussianMixture) -> Tensor:
    """KL(q || p) of two single Gaussians with any covariances, in nats, a scalar.

    (tr(P^-1 Q) + (m_p - m_q)^T P^-1 (m_p - m_q) - d + log det P - log det Q) / 2

    Raises:
        ValueError: different dimensions, or a mixture of several: for those there is no formula.
    """
    for name, one in (("q", q), ("p", p)):
        if len(one.weights) != 1:
            raise ValueError(
                f"{name} has {len(one.weights)} components; the formula is for one Gaussian each: "
                "use kl_monte_carlo"
            )
    if q.dim != p.dim:
        raise ValueError(f"q lives in {q.dim} dimensions, p in {p.dim}")
    factor_q, factor_p = torch.linalg.cholesky(q.covs[0]), torch.linalg.cholesky(p.covs[0])
    off = (p.means - q.means).T  # (d, 1)
    both = torch.linalg.solve_triangular(factor_p, torch.cat([factor_q, off], 1), upper=False)
    log_det = factor_p.diagonal().log().sum() - factor_q.diagonal().log().sum()
    return ((both**2).sum() - q.dim) / 2 + log_det


def kl_monte_carlo(
    q: Distribution, p: Distribution, n: int = 10_000, generator: torch.Generator | None = None
) -> Estimate:
    """KL(q || p) = E_q[log q(x) - log p(x)] in nats, from n draws of q, with its standard error."""
    x = q.sample(n, generator)
    return monte_carlo(q.log_prob(x) - p.log_prob(x))


def langevin(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    step: float,
    steps: int,
    generator: Generator = None,
) -> Tensor:
    """Walk uphill on log p with noise: x + step * score(x) + sqrt(2 step) * noise, repeated.

    Its law approaches p where `step` is small beside the narrowest variance of p, and only after
    steps enough to cross between separate modes (arXiv 1907.05600).
    """
    if not step > 0:
        raise ValueError(f"step must be above 0, not {step}")
    for _ in range(steps):
        slope = score(x)
        if slope.shape != x.shape:
            raise ValueError(f"score gave {tuple(slope.shape)} for points {tuple(x.shape)}")
        x = x + step * slope + math.sqrt(2 * step) * randn_like(x, generator)
    return x
