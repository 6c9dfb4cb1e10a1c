"""Principal components: the simplest latent space, and the digits in it as a Gaussian mixture.

pca = PCA.fit(x, dims=32)           # x: (n, C, H, W)
z = pca.encode(x)                   # (n, 32), every number with mean 0 and variance 1
pictures = pca.decode(z)            # (n, C, H, W), the best that 32 linear numbers can do
toy = digits_in_pca(dims=2)         # real digits as ten Gaussians: toy.mixture, toy.pca, ...
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ldmlib.data import mnist
from ldmlib.probability.mixtures import GaussianMixture


@dataclass(frozen=True)
class PCA:
    """An encoder and a decoder that are both linear: the directions in which pictures vary most.

    Args:
        mean: (C, H, W), the average picture.
        components: (k, C, H, W), orthonormal directions, the one of most variance first.
        stds: (k,), standard deviation of the pictures along each.
        total_variance: of all pixels together, also along directions that were left out.
    """

    mean: Tensor
    components: Tensor
    stds: Tensor
    total_variance: float

    @classmethod
    def fit(cls, x: Tensor, dims: int) -> PCA:
        """The `dims` directions of most variance of pictures x (n, C, H, W).

        A direction and its opposite are as good; taken is the one that makes pictures brighter.

        Raises:
            ValueError: more directions than the pictures have variance in, or fewer than 1.
        """
        mean = x.mean(0)
        flat = (x - mean).flatten(1)
        if not 1 <= dims <= min(len(x) - 1, flat.shape[1]):
            raise ValueError(
                f"{len(x)} pictures of {flat.shape[1]} numbers have 1 to "
                f"{min(len(x) - 1, flat.shape[1])} directions, not {dims}"
            )
        values, vectors = torch.linalg.eigh((flat.T @ flat).double() / (len(x) - 1))
        values, vectors = values.flip(0)[:dims], vectors.flip(1)[:, :dims].T
        if float(values[-1]) <= 1e-8 * float(values[0]):
            raise ValueError(f"the pictures do not vary in {dims} directions: ask for fewer")
        brighter = torch.where(vectors.sum(1, keepdim=True) < 0, -1.0, 1.0)  # of two signs, one
        components = (brighter * vectors).reshape(dims, *mean.shape)
        total = float((flat.double() ** 2).sum()) / (len(x) - 1)
        return cls(mean, components.to(x), values.sqrt().to(x), total)

    @property
    def dims(self) -> int:
        """How many numbers a picture becomes."""
        return len(self.stds)

    def first(self, dims: int) -> PCA:
        """The same with only its first `dims` directions."""
        if not 1 <= dims <= self.dims:
            raise ValueError(f"there are 1 to {self.dims} directions to keep, not {dims}")
        return replace(self, components=self.components[:dims], stds=self.stds[:dims])

    def encode(self, x: Tensor) -> Tensor:
        """Pictures (n, C, H, W) -> (n, k), of mean 0 and variance 1 on the fitted pictures."""
        if x.shape[1:] != self.mean.shape:
            raise ValueError(
                f"pictures must be (n, *{tuple(self.mean.shape)}), not {tuple(x.shape)}"
            )
        return (x - self.mean).flatten(1) @ self.components.flatten(1).T / self.stds

    def decode(self, z: Tensor) -> Tensor:
        """(n, k) -> pictures (n, C, H, W), unclipped: they may leave [-1, 1]."""
        if z.ndim != 2 or z.shape[1] != self.dims:
            raise ValueError(f"latents must be (n, {self.dims}), not {tuple(z.shape)}")
        flat = (z.to(self.stds) * self.stds) @ self.components.flatten(1)
        return self.mean + flat.reshape(-1, *self.mean.shape)

    def explained(self) -> Tensor:
        """(k,): share of all variance that the first 1, 2, ..., k directions hold."""
        return (self.stds**2).cumsum(0) / self.total_variance


class PCADigits(NamedTuple):
    """Real digits in a few numbers each.

    mixture: one Gaussian for each digit, component k being digit k, float64.
    pca: takes points back to pictures.
    points: (n, dims), float64, the digits that the Gaussians were measured on.
    labels: (n,), which digit each point is.
    """

    mixture: GaussianMixture
    pca: PCA
    points: Tensor
    labels: Tensor


def digits_in_pca(dims: int = 2, n: int = 10_000, seed: int = 0) -> PCADigits:
    """n of MNIST's training digits in `dims` principal components, and a Gaussian for each class.

    Weights, means and covariances are those of the classes, so the mixture has the mean (0) and
    the covariance (the identity) of the points.
    """
    x, labels = mnist("train").random_subset(n, seed).as_tensors()
    pca = PCA.fit(x, dims)
    points = pca.encode(x).double()
    groups = [points[labels == k] for k in range(10)]
    means = torch.stack([group.mean(0) for group in groups])
    covs = torch.stack([group.T.cov(correction=0).reshape(dims, dims) for group in groups])
    weights = torch.tensor([len(group) / n for group in groups], dtype=torch.float64)
    return PCADigits(GaussianMixture(means, covs, weights), pca, points, labels)
