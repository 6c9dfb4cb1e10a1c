"""Denoisers that are known exactly: of a mixture, and of a finite set of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ldmlib.diffusion.schedule import Schedule, per_image
from ldmlib.probability.mixtures import GaussianMixture


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
        if x_t.shape[1:] != self.data.shape[1:] or len(self.data) == 0:
            raise ValueError(f"data {tuple(self.data.shape)} cannot denoise {tuple(x_t.shape)}")
        alpha, sigma = self.schedule.alpha_sigma(t.double())
        alpha, sigma = per_image(alpha, x_t), per_image(sigma, x_t).clamp(min=1e-6)
        points = self.data.flatten(1).to(x_t)
        x, a, s = x_t.flatten(1), alpha.flatten(1), sigma.flatten(1)
        # |x - a y|^2 without its part that is the same for all points y
        distance = a**2 * (points**2).sum(1) - 2 * a * (x @ points.T)
        weights = (-distance / (2 * s**2)).softmax(1)
        return (weights @ points).reshape(x_t.shape)
