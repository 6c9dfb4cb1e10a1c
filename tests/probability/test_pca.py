"""Laws of `ldmlib.probability.pca`: the best linear encoder, and the digits in it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ldmlib.probability.pca import PCA, PCADigits, digits_in_pca
from ldmlib.rng import randn_like, seeded


def normal(*shape: int, seed: int = 0) -> Tensor:
    return randn_like(torch.empty(*shape, dtype=torch.float64), seeded(seed))


def pictures(n: int = 60, seed: int = 0) -> Tensor:
    """(n, 2, 3, 4) numbers, some directions wider than others, the mean away from 0."""
    return (normal(n, 24, seed=seed) @ normal(24, 24, seed=9) + 3).reshape(n, 2, 3, 4)


def test_equals_the_singular_value_decomposition() -> None:
    x = pictures()
    pca, flat = PCA.fit(x, 7), (x - x.mean(0)).flatten(1)
    _, singular, directions = torch.linalg.svd(flat, full_matrices=False)
    torch.testing.assert_close(pca.stds, singular[:7] / 59**0.5)
    overlap = pca.components.flatten(1) @ directions[:7].T
    torch.testing.assert_close(overlap.abs(), torch.eye(7, dtype=torch.float64))
    assert (pca.components.flatten(1).sum(1) >= 0).all()


def test_latents_are_white() -> None:
    z = PCA.fit(pictures(), 7).encode(pictures())
    torch.testing.assert_close(z.mean(0), torch.zeros_like(z[0]))
    torch.testing.assert_close(z.T.cov(), torch.eye(7, dtype=torch.float64))


def test_there_and_back() -> None:
    x, z = pictures(), normal(5, 7)
    torch.testing.assert_close(PCA.fit(x, 24).decode(PCA.fit(x, 24).encode(x)), x)
    pca = PCA.fit(x, 7)
    torch.testing.assert_close(pca.encode(pca.decode(z)), z)


@pytest.mark.parametrize("dims", [1, 7, 24])
def test_what_is_lost_is_the_variance_left_out(dims: int) -> None:
    """sum |x - x_hat|^2 = (1 - explained) sum |x - mean|^2, on the fitted pictures."""
    x = pictures()
    pca = PCA.fit(x, 24).first(dims)
    lost = ((pca.decode(pca.encode(x)) - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    torch.testing.assert_close(lost, 1 - pca.explained()[-1], atol=1e-9, rtol=1e-9)


def test_no_other_directions_lose_less() -> None:
    x = pictures()
    best, flat = PCA.fit(x, 5), (x - x.mean(0)).flatten(1)
    least = ((best.decode(best.encode(x)) - x) ** 2).sum()
    for seed in range(10):
        nearby = best.components.flatten(1).T + 0.1 * normal(24, 5, seed=seed)
        other, _ = torch.linalg.qr(nearby)
        assert ((flat @ other @ other.T - flat) ** 2).sum() > least


def test_the_first_of_many_are_few() -> None:
    many, few = PCA.fit(pictures(), 20).first(4), PCA.fit(pictures(), 4)
    assert many.dims == few.dims == 4
    for a, b in zip(
        (many.mean, many.components, many.stds), (few.mean, few.components, few.stds), strict=True
    ):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(many.explained(), few.explained())


def test_float32_stays_float32() -> None:
    pca, exact = PCA.fit(pictures().float(), 5), PCA.fit(pictures(), 5)
    assert pca.stds.dtype == pca.decode(torch.zeros(1, 5)).dtype == torch.float32
    torch.testing.assert_close(pca.stds.double(), exact.stds, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda pca: PCA.fit(pictures(), 0), "have 1 to 24 directions, not 0"),
        (lambda pca: PCA.fit(pictures(), 25), "have 1 to 24 directions, not 25"),
        (lambda pca: PCA.fit(pictures(6), 6), "6 pictures .* 1 to 5 directions, not 6"),
        (lambda pca: PCA.fit(torch.ones(9, 1, 2, 2), 2), "do not vary in 2 directions"),
        (lambda pca: pca.first(0), "1 to 3 directions to keep, not 0"),
        (lambda pca: pca.first(4), "1 to 3 directions to keep, not 4"),
        (lambda pca: pca.encode(torch.ones(5, 1, 3, 4)), r"must be \(n, \*\(2, 3, 4\)\), not"),
        (lambda pca: pca.decode(torch.ones(5, 2)), r"latents must be \(n, 3\), not \(5, 2\)"),
        (lambda pca: pca.decode(torch.ones(3)), r"latents must be \(n, 3\), not \(3,\)"),
    ],
)
def test_bad_input_is_refused(ask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(PCA.fit(pictures(), 3))


@pytest.fixture(scope="module")
def digits() -> PCADigits:
    return digits_in_pca(dims=6, n=3000)


def test_digits_are_measured_class_by_class(digits: PCADigits) -> None:
    mixture, _, points, labels = digits
    assert points.shape == (3000, 6) and points.dtype == torch.float64
    for k in (0, 1, 9):
        group = points[labels == k]
        assert float(mixture.weights[k]) == pytest.approx(len(group) / 3000)
        torch.testing.assert_close(mixture.means[k], group.mean(0))
        torch.testing.assert_close(mixture.covs[k], group.T.cov(correction=0))


def test_digits_together_are_white(digits: PCADigits) -> None:
    mean, cov = digits.mixture.moments()
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
    torch.testing.assert_close(cov, torch.eye(6, dtype=torch.float64), atol=1e-3, rtol=0)


def test_component_k_is_digit_k(digits: PCADigits) -> None:
    """The posterior of the Gaussians names far more digits rightly than chance, 1 in 10."""
    named = digits.mixture.responsibilities(digits.points).argmax(1)
    assert (named == digits.labels).double().mean() > 0.6


def test_digits_decode_to_pictures(digits: PCADigits) -> None:
    assert digits.pca.decode(digits.points[:4]).shape == (4, 1, 32, 32)


def test_digits_in_the_plane_and_on_a_line() -> None:
    plane, line = digits_in_pca(2, 1000), digits_in_pca(1, 1000)
    assert plane.mixture.dim == 2 and line.mixture.dim == 1
    torch.testing.assert_close(plane.points[:, :1], line.points, rtol=1e-4, atol=1e-4)
