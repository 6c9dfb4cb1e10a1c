"""What is known exactly about GANs: the best discriminator, and the modes that samples cover."""

from __future__ import annotations

import torch
from torch import Tensor

from ldmlib.probability.mixtures import GaussianMixture


def optimal_discriminator(p: GaussianMixture, q: GaussianMixture, x: Tensor) -> Tensor:
    """D*(x) = p(x) / (p(x) + q(x)) for real p and generated q, at x (n, d): (n,) in [0, 1].

    The best possible judge (1406.2661, proposition 1). Its logit is log p(x) - log q(x).
    """
    return (p.log_prob(x) - q.log_prob(x)).sigmoid()


def covered_modes(
    mixture: GaussianMixture, x: Tensor, radius: float = 4.0, share: float = 0.01
) -> tuple[int, float]:
    """How many modes of `mixture` are drawn by points x (n, d), and the share of good points.

    A point is good within `radius` standard deviations of a mode's mean (Mahalanobis distance);
    a mode is drawn if at least `share` of all points are good and nearest to it (as in 1606.03498
    and 1611.02163, with a share in place of a count).
    """
    if x.ndim != 2 or x.shape[1] != mixture.dim or len(x) == 0:
        raise ValueError(f"points must be (n, {mixture.dim}), n above 0, not {tuple(x.shape)}")
    difference = (x[:, None].to(mixture.means) - mixture.means)[..., None]
    whitened = torch.linalg.solve_triangular(
        torch.linalg.cholesky(mixture.covs), difference, upper=False
    )
    distance, nearest = whitened[..., 0].norm(dim=-1).min(1)
    good = distance < radius
    counts = nearest[good].bincount(minlength=len(mixture.means))
    return int((counts >= share * len(x)).sum()), float(good.double().mean())
