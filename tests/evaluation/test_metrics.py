"""Laws of `evaluation.metrics`: closed forms, equality with torchmetrics, honest uncertainty."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import tiny
from ldmlib.evaluation import metrics
from ldmlib.evaluation.metrics import (
    bootstrap,
    fid,
    gaussian_frechet,
    inception_score,
    kid,
    label_agreement,
    memorisation,
    nearest_distance,
    precision_recall,
    real_floor,
)


def normal(n: int, d: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    """Features of a Gaussian, float64."""
    return tiny.noise(n, d, seed=seed).double() + shift


def covariance(d: int, seed: int) -> Tensor:
    root = normal(d, d, seed)
    return root @ root.T / d + 0.1 * torch.eye(d).double()


class Same(nn.Module):
    """torchmetrics' feature network, where the features are there already."""

    num_features = 6

    def forward(self, x: Tensor) -> Tensor:
        return x


# Frechet distance


def test_frechet_distance_of_gaussians_in_closed_form() -> None:
    """Law 30."""
    mean, cov = normal(1, 6)[0], covariance(6, 1)
    assert gaussian_frechet(mean, cov, mean, cov) == pytest.approx(0, abs=1e-9)
    assert gaussian_frechet(mean, cov, mean + 3, cov) == pytest.approx(6 * 9)
    spread = torch.tensor([1.0, 4.0, 9.0]).double()
    other = torch.tensor([4.0, 4.0, 1.0]).double()
    expected = ((spread.sqrt() - other.sqrt()) ** 2).sum().item()
    zero = torch.zeros(3).double()
    got = gaussian_frechet(zero, spread.diag(), zero, other.diag())
    assert got == pytest.approx(expected)
    turn = torch.linalg.qr(normal(3, 3))[0]  # a common rotation changes nothing
    rotated = (turn @ c.diag() @ turn.T for c in (spread, other))
    first, second = rotated
    assert gaussian_frechet(zero, first, zero, second) == pytest.approx(expected)


def test_frechet_distance_equals_scipys_matrix_root() -> None:
    import scipy.linalg

    a, b = covariance(6, 1), covariance(6, 2)
    root = scipy.linalg.sqrtm((a @ b).numpy())
    expected = float(a.trace() + b.trace() - 2 * root.real.trace())
    zero = torch.zeros(6).double()
    assert gaussian_frechet(zero, a, zero, b) == pytest.approx(expected, rel=1e-8)
    assert gaussian_frechet(zero, b, zero, a) == pytest.approx(expected, rel=1e-8)
    flat = torch.zeros(6, 6).double()  # a collapsed set has no covariance
    assert gaussian_frechet(zero, flat, zero, b) == pytest.approx(float(b.trace()))


def test_fid_is_a_squared_distance() -> None:
    a, b = normal(500, 6), normal(400, 6, seed=1) @ covariance(6, 3)
    assert fid(a, a) == pytest.approx(0, abs=1e-9)
    assert fid(a, b) == pytest.approx(fid(b, a)) and fid(a, b) > 0.1
    assert fid(a, a + 2) == pytest.approx(6 * 4)
    assert fid(a.float(), b.float()) == pytest.approx(fid(a, b), rel=1e-5)


def test_fid_equals_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    a, b = normal(300, 6), normal(200, 6, seed=1, shift=0.3) @ covariance(6, 3)
    theirs = FrechetInceptionDistance(feature=Same()).set_dtype(torch.float64)
    theirs.update(a, real=True), theirs.update(b, real=False)
    assert fid(a, b) == pytest.approx(theirs.compute().item(), rel=1e-6)


def test_fid_falls_with_n_on_equal_distributions() -> None:
    """Law 31: about as 1/n, so scores at different n must not be compared."""
    reference = normal(20_000, 16)
    scores = [sum(fid(normal(n, 16, seed), reference) for seed in (1, 2, 3)) for n in (200, 800)]
    assert 3 < scores[0] / scores[1] < 5
    assert scores[1] > 0


@pytest.mark.parametrize("score", [fid, kid, precision_recall])
def test_bad_features_are_named(score) -> None:
    a = normal(50, 6)
    nan = a.clone()
    nan[3, 2] = math.nan
    for bad in (nan, a / 0, a[0], a[None]):
        with pytest.raises(ValueError, match=r"be finite|shape \(n, d\)"):
            score(a, bad)
    with pytest.raises(ValueError, match="two networks: 6 and 5"):
        score(a, a[:, :5])


@pytest.mark.parametrize("n", [2, 6])
def test_fid_needs_more_samples_than_features(n: int) -> None:
    with pytest.raises(ValueError, match=f"more than 6 samples.*{n} and 50.*kid"):
        fid(normal(n, 6), normal(50, 6))
    assert math.isfinite(fid(normal(7, 6), normal(50, 6)))
    with pytest.raises(ValueError, match="at least 2"):
        kid(normal(1, 6), normal(50, 6))
    with pytest.raises(ValueError, match="more than k = 3"):
        precision_recall(normal(3, 6), normal(50, 6))


# Kernel distance


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_kid_equals_torchmetrics() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    a, b = normal(60, 6), normal(60, 6, seed=1, shift=0.3)
    theirs = KernelInceptionDistance(feature=Same(), subsets=3, subset_size=60)
    theirs.update(a, real=True), theirs.update(b, real=False)
    assert kid(a, b) == pytest.approx(theirs.compute()[0].item(), rel=1e-5)


def test_kid_is_zero_on_average_and_may_be_negative() -> None:
    """Law 32."""
    scores = torch.tensor([
        kid(normal(100, 4, 2 * s), normal(100, 4, 2 * s + 1), repeats=1) for s in range(200)
    ])  # fmt: skip
    error = float(scores.std()) / math.sqrt(len(scores))
    assert abs(float(scores.mean())) < 3 * error and (scores < 0).float().mean() > 0.2
    assert kid(normal(100, 4), normal(100, 4, 1, shift=0.5)) > 10 * float(scores.std())


def test_kid_does_not_depend_on_n_on_average() -> None:
    reference = normal(2000, 4, seed=99)
    few = [kid(normal(50, 4, s, shift=0.5), reference) for s in range(60)]
    many = kid(normal(2000, 4, 100, shift=0.5), reference, subset=2000, repeats=1)
    assert sum(few) / 60 == pytest.approx(many, rel=0.15)
    assert kid(reference, reference, subset=50, seed=1) == kid(reference, reference, 50, seed=1)


# By class


def test_inception_score_has_its_bounds() -> None:
    """Law 34."""
    sure = torch.eye(10).repeat(50, 1)
    assert inception_score(sure) == pytest.approx(10)
    assert inception_score(torch.eye(10)[[3]].repeat(50, 1)) == pytest.approx(1)
    assert inception_score(torch.full((50, 10), 0.1)) == pytest.approx(1)
    mixed = (3 * normal(500, 10)).softmax(1)
    assert 1 < inception_score(mixed) < 10


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore`", "ignore:std\\(\\)")
def test_inception_score_equals_torchmetrics() -> None:
    from torchmetrics.image.inception import InceptionScore

    logits = 2 * normal(200, 6)
    theirs = InceptionScore(feature=Same(), splits=1)
    theirs.update(logits)
    expected = theirs.compute()[0].item()
    assert inception_score(logits.softmax(1), splits=1) == pytest.approx(expected, rel=1e-6)


def test_inception_score_wants_probabilities_and_enough_of_them() -> None:
    logits = normal(50, 6)
    for bad in (logits, logits.abs(), logits.softmax(1)[0], logits * math.nan):
        with pytest.raises(ValueError, match="softmax"):
            inception_score(bad)
    with pytest.raises(ValueError, match="9 samples cannot be split into 10"):
        inception_score(torch.eye(9))


def test_label_agreement_is_the_share() -> None:
    assert label_agreement(torch.eye(4), torch.tensor([0, 1, 0, 0])) == 0.5


# Manifolds


def test_precision_and_recall_of_equal_sets() -> None:
    precision, recall = precision_recall(normal(800, 3), normal(800, 3, seed=1))
    assert precision > 0.9 and recall > 0.9
    same = normal(100, 3)
    assert precision_recall(same, same) == (1.0, 1.0)


def test_a_collapsed_generator_is_precise_but_recalls_nothing() -> None:
    """Law 33, and its mirror image: a generator of everything."""
    real = normal(500, 3)
    collapsed = real[:1] + 0.01 * normal(500, 3, seed=1)
    precision, recall = precision_recall(real, collapsed)
    assert precision > 0.99 and recall < 0.05
    wide = 10 * normal(500, 3, seed=2)
    precision, recall = precision_recall(real, wide)
    assert precision < 0.3 and recall > 0.5
    assert precision_recall(real, real + 100) == (0.0, 0.0)
    swapped = precision_recall(collapsed, real)
    assert swapped == precision_recall(real, collapsed)[::-1]


def test_precision_counts_by_the_definition() -> None:
    real, fake = normal(60, 2).float(), normal(70, 2, seed=1, shift=0.7).float()
    radii = torch.cdist(real, real).sort(1).values[:, 3]
    inside = [any((f - r).norm() <= s for r, s in zip(real, radii)) for f in fake]  # noqa: B905
    assert precision_recall(real, fake, k=3)[0] == pytest.approx(sum(inside) / 70, abs=1e-6)


def test_memorisation_tells_copies_from_fresh_samples() -> None:
    """Law 36."""
    train, held_out, fresh = (normal(1500, 6, seed) for seed in range(3))
    assert memorisation(fresh, held_out, train) == pytest.approx(1, abs=0.1)
    assert memorisation(train[:500], held_out, train) < 0.01
    near = train[:500] + 0.05 * normal(500, 6, seed=4)
    assert memorisation(near, held_out, train) < 0.3
    distances = nearest_distance(fresh[:7], train, chunk=3)
    expected = torch.cdist(fresh[:7], train).min(1).values.float()
    torch.testing.assert_close(distances, expected, atol=1e-4, rtol=1e-4)


# Uncertainty


def mean_gap(a: Tensor, b: Tensor) -> float:
    return float(a.mean() - b.mean())


def test_the_interval_covers_the_truth() -> None:
    """Of 100 intervals at 90 %, about 90 hold the true value."""
    b = torch.zeros(10, 1).double()
    intervals = [bootstrap(mean_gap, normal(40, 1, s, shift=1.0), b, 100, 0.9) for s in range(100)]
    held = sum(i.low <= 1.0 <= i.high for i in intervals)
    assert 80 <= held <= 98
    assert all(i.low <= i.value <= i.high for i in intervals)


def test_the_interval_of_fid_covers_its_mean_at_that_n() -> None:
    reference = normal(5000, 4, seed=1000)
    truth = sum(fid(normal(200, 4, s, shift=0.5), reference) for s in range(200, 300)) / 100
    intervals = [bootstrap(fid, normal(200, 4, s, shift=0.5), reference, 40) for s in range(20)]
    assert sum(i.low <= truth <= i.high for i in intervals) >= 15
    again = bootstrap(fid, normal(200, 4, 0, shift=0.5), reference, 40)
    assert again == intervals[0] and again.low >= 0


def test_the_floor_is_what_real_samples_score() -> None:
    reference, held_out = normal(5000, 4), normal(2000, 4, seed=1)
    assert real_floor(reference, held_out, 2000) == pytest.approx(fid(held_out, reference))
    floors = [real_floor(reference, held_out, n) for n in (100, 400, 2000)]
    assert floors == sorted(floors, reverse=True) and floors[0] > 5 * floors[2]
    assert real_floor(reference, held_out, 100) == floors[0]
    with pytest.raises(ValueError, match="needs as many held-out samples; there are 2000"):
        real_floor(reference, held_out, 2001)


def test_the_floor_draws_at_random() -> None:
    """The first half of a sorted set would be easier than the whole."""
    reference = normal(4000, 1)
    held_out = normal(1000, 1, seed=1).sort(0).values
    assert real_floor(reference, held_out, 500) < 0.1 < metrics.fid(held_out[:500], reference)


# Pixels


def test_psnr_in_decibels() -> None:
    """The peak is 2, from black to white: a difference of .2 everywhere is a tenth of it."""
    x = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 1.6 - 1
    assert metrics.psnr(x, x + 0.2) == pytest.approx(20, abs=1e-5)
    assert metrics.psnr(x, x + 0.02) == pytest.approx(40, abs=1e-4)
    assert metrics.psnr(x, x) == float("inf")
    one_of_two = torch.cat([x[:1], x[:1] + 0.2]), x[:1].expand(2, -1, -1, -1)
    assert metrics.psnr(*one_of_two) == pytest.approx(20 + 10 * math.log10(2), abs=1e-5)
    with pytest.raises(ValueError, match="one shape"):
        metrics.psnr(x, x[:1])
