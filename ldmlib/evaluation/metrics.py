"""Scores: how close generated pictures are to real ones, and how sure one can be.

Every score here works on *features*, (n, d) float64, or class probabilities, (n, k), of two sets
of pictures; `ldmlib.evaluation.features.extract` makes both. `evaluate` prints the whole report.
Scores are comparable only with the same features, the same n and the same reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ldmlib.images import check_labels
from ldmlib.rng import seeded


def _check_features(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    for x in (a, b):
        if x.ndim != 2:
            raise ValueError(f"features must have the shape (n, d), not {tuple(x.shape)}")
        if not bool(torch.isfinite(x).all()):
            bad = int((~torch.isfinite(x)).any(1).sum())
            raise ValueError(f"features must be finite, but {bad} of {len(x)} rows are not")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features of two networks: {a.shape[1]} and {b.shape[1]} numbers each")
    return a.double(), b.double()


# --------------------------------------------------------------------------- pixels
def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures (n, C, H, W) in [-1, 1], over all their pixels.

    10 log10(2^2 / mean square): 2 is the distance of white and black.

    Raises:
        ValueError: other shapes.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"psnr compares pictures with their originals: one shape, not {tuple(a.shape)} and "
            f"{tuple(b.shape)}"
        )
    return float(10 * torch.log10(4 / (a.double() - b.double()).square().mean()))


# --------------------------------------------------------------------------- Frechet distance
def gaussian_frechet(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians (arXiv 1706.08500, eq. 6).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2), the root's trace through eigenvalues of
    symmetric matrices in float64.
    """
    values, vectors = torch.linalg.eigh(cov1.double())
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    inner = torch.linalg.eigvalsh(root @ cov2.double() @ root).clamp(min=0).sqrt().sum()
    distance = ((mean1 - mean2) ** 2).sum() + cov1.trace() + cov2.trace() - 2 * inner
    return max(0.0, float(distance))


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and unbiased covariance (d, d) of features (n, d)."""
    d = features.shape[1]
    return features.mean(0), features.T.cov().reshape(d, d)  # cov drops the axes for d = 1


def check_enough(n: int, m: int, features: int) -> None:
    """Raise `ValueError` if sets of n and m samples are too small for FID on so many features."""
    if min(n, m) <= features:
        raise ValueError(
            f"FID on {features} features needs more than {features} samples in both sets, got "
            f"{n} and {m}; draw more, or use kid, which is unbiased at any n"
        )


def fid(a: Tensor, b: Tensor) -> float:
    """Frechet distance of the Gaussians fitted to two sets of features (arXiv 1706.08500).

    It falls with n even for equal distributions: quote n, and the floor at that n.

    Raises:
        ValueError: fewer samples than features: the covariance would be singular.
    """
    a, b = _check_features(a, b)
    check_enough(len(a), len(b), a.shape[1])
    return gaussian_frechet(*moments(a), *moments(b))


# --------------------------------------------------------------------------- kernel distance
def kid(a: Tensor, b: Tensor, subset: int = 1000, repeats: int = 20, seed: int = 0) -> float:
    """Kernel distance: unbiased MMD^2 with k(x, y) = (x.y / d + 1)^3 (arXiv 1801.01401).

    Mean over `repeats` random subsets of `subset` samples; may be negative, 0 on average for
    equal distributions.
    """
    a, b = _check_features(a, b)
    size = min(subset, len(a), len(b))
    if size < 2:
        raise ValueError("KID needs at least 2 samples in both sets")
    generator = seeded(seed, 5)
    total = 0.0
    for _ in range(repeats):
        x = a[torch.randperm(len(a), generator=generator)[:size]]
        y = b[torch.randperm(len(b), generator=generator)[:size]]
        total += mmd2(x, y)
    return total / repeats


def mmd2(x: Tensor, y: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy of two sets of features, cubic kernel."""

    def kernel(u: Tensor, v: Tensor) -> Tensor:
        return (u @ v.T / u.shape[1] + 1) ** 3

    def mean_off_diagonal(k: Tensor) -> Tensor:
        n = len(k)
        return (k.sum() - k.trace()) / (n * (n - 1))

    within = mean_off_diagonal(kernel(x, x)) + mean_off_diagonal(kernel(y, y))
    return float(within - 2 * kernel(x, y).mean())


# --------------------------------------------------------------------------- by class
def inception_score(probabilities: Tensor, splits: int = 10) -> float:
    """exp of the mean KL(p(y|x) || p(y)), mean over splits (arXiv 1606.03498).

    Between 1 and the number of classes.

    Raises:
        ValueError: not probabilities (logits, say), or fewer samples than splits.
    """
    p = probabilities.double()
    if (
        p.ndim != 2
        or bool((p < 0).any())
        or not torch.allclose(p.sum(1), torch.ones(len(p), dtype=p.dtype), atol=1e-4)
    ):
        raise ValueError(
            "expected class probabilities (n, k): not negative, each row summing to "
            "1; logits need .softmax(1) first"
        )
    if len(p) < splits:
        raise ValueError(f"{len(p)} samples cannot be split into {splits} parts")
    scores = []
    for part in p.chunk(splits):
        marginal = part.mean(0, keepdim=True)
        kl = (torch.special.xlogy(part, part) - torch.special.xlogy(part, marginal)).sum(1)
        scores.append(kl.mean().exp())
    return float(torch.stack(scores).mean())


def label_agreement(probabilities: Tensor, labels: Tensor) -> float:
    """Share of pictures in which the classifier sees the label that was asked for.

    Raises:
        TypeError, ValueError: labels are not one whole number a picture, each a known class.
    """
    labels = check_labels(labels.cpu(), probabilities.shape[1], len(probabilities))
    return float((probabilities.argmax(1) == labels).double().mean())


# --------------------------------------------------------------------------- manifolds
def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (arXiv 1904.06991).

    Precision: share of fake points within the k-th neighbour's distance of some real point.
    Recall: the same with the roles exchanged. Use equal numbers; they depend on n.
    """
    real, fake = _check_features(real, fake)
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"precision and recall need more than k = {k} samples in both sets")
    return _covered(fake, real, k), _covered(real, fake, k)


def _covered(points: Tensor, manifold: Tensor, k: int, chunk: int = 500) -> float:
    """Share of points that lie in a ball around some manifold point, as far as its k-th peer."""
    points, manifold = points.float(), manifold.float()
    radii = torch.cat(
        [
            torch.cdist(part, manifold).kthvalue(k + 1, dim=1).values
            for part in manifold.split(chunk)
        ]
    )
    inside = [(torch.cdist(part, manifold) <= radii).any(1) for part in points.split(chunk)]
    return float(torch.cat(inside).double().mean())


def nearest_distance(points: Tensor, reference: Tensor, chunk: int = 500) -> Tensor:
    """Distance of each point (n, d) to the nearest reference point, (n,)."""
    a, b = points.float(), reference.float()
    return torch.cat([torch.cdist(part, b).min(1).values for part in a.split(chunk)])


def memorisation(fake: Tensor, held_out: Tensor, train: Tensor) -> float | None:
    """Median distance of fake points to the training set over that of held-out real points.

    About 1 for honest samples; far below 1, the model repeats its training pictures. None where
    half of the held-out points are copies of training points, so that there is nothing to compare
    with.
    """
    honest = float(nearest_distance(held_out, train).median())
    return float(nearest_distance(fake, train).median()) / honest if honest > 0 else None


# --------------------------------------------------------------------------- uncertainty
@dataclass(frozen=True)
class Interval:
    """A score with the range that resampling gives it."""

    value: float
    low: float
    high: float


def bootstrap(
    score: Callable[[Tensor, Tensor], float],
    a: Tensor,
    b: Tensor,
    repeats: int = 50,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Basic bootstrap interval of ``score(a, b)``, resampling the rows of `a` (the fakes).

    Resampling with replacement itself raises a distance such as FID, by as much again as n samples
    instead of infinitely many do. The spread is therefore taken around the draws' own mean: the
    interval is one for the score at this n.
    """
    value, generator = score(a, b), seeded(seed, 6)
    draws = torch.tensor([
        score(a[torch.randint(len(a), (len(a),), generator=generator)], b) for _ in range(repeats)
    ])  # fmt: skip
    tail = (1 - level) / 2
    spread = draws - draws.mean()
    low, high = spread.quantile(torch.tensor([tail, 1 - tail])).tolist()
    return Interval(value, max(0.0, value - high), value - low)


def real_floor(
    reference: Tensor,
    held_out: Tensor,
    n: int,
    score: Callable[[Tensor, Tensor], float] = fid,
    repeats: int = 5,
    seed: int = 0,
) -> float:
    """What n *real* held-out samples score against the reference, mean over random draws.

    No model is expected below it; a score means little without it.

    Raises:
        ValueError: more samples asked for than there are.
    """
    if n > len(held_out):
        raise ValueError(
            f"the floor at n = {n} needs as many held-out samples; there are {len(held_out)}"
        )
    generator = seeded(seed, 7)
    repeats = 1 if n == len(held_out) else repeats
    draws = [
        held_out[torch.randperm(len(held_out), generator=generator)[:n]] for _ in range(repeats)
    ]
    return sum(score(draw, reference) for draw in draws) / repeats
