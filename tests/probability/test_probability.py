"""Laws of `probability.mixtures`: the oracles of the course, held against a second calculation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.samplers import initial_noise, sample
from ldmlib.diffusion.schedule import NAMES, Schedule
from ldmlib.diffusion.spacing import time_grid
from ldmlib.probability.estimates import kl_gaussians, kl_monte_carlo, langevin, monte_carlo
from ldmlib.probability.exact_denoisers import ExactDenoiser, IdealDenoiser
from ldmlib.probability.mixtures import GaussianMixture, moons, ring, spiral
from ldmlib.rng import randn_like, seeded


def normal(*shape: int, seed: int = 0) -> Tensor:
    return randn_like(torch.empty(*shape, dtype=torch.float64), seeded(seed))


def slanted(k: int = 4, d: int = 3) -> GaussianMixture:
    """Full covariances, unequal weights: nothing that symmetry could hide."""
    factor = 0.4 * normal(k, d, d, seed=1)
    covs = factor @ factor.mT + 0.1 * torch.eye(d, dtype=torch.float64)
    return GaussianMixture(normal(k, d, seed=2), covs, normal(k, seed=3).softmax(0))


def line() -> GaussianMixture:
    """In one dimension, where integrals are sums over a fine grid."""
    means = torch.tensor([[-1.0], [0.5], [1.5]], dtype=torch.float64)
    covs = torch.tensor([0.1, 0.3, 0.05], dtype=torch.float64).reshape(3, 1, 1)
    return GaussianMixture(means, covs, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))


MIXTURES = {
    "slanted": slanted(),
    "line": line(),
    "ring": ring(),
    "moons": moons(),
    "spiral": spiral(),
}
each = pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)


def moments(mixture: GaussianMixture) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of a mixture: the law of total variance."""
    w, means = mixture.weights, mixture.means
    mean = w @ means
    second = (w[:, None, None] * (mixture.covs + means[:, :, None] * means[:, None])).sum(0)
    return mean, second - mean[:, None] * mean


def assert_moments(x: Tensor, mixture: GaussianMixture, errors: float = 5) -> None:
    """Mean and covariance of draws x (n, d) lie within `errors` standard errors of the truth."""
    mean, cov = moments(mixture)
    off = x - mean
    products = off[:, :, None] * off[:, None]
    for draws, truth in ((x, mean), (products, cov)):
        assert ((draws.mean(0) - truth).abs() < errors * draws.std(0) / len(x) ** 0.5).all()


# The mixture


@each
def test_density_equals_torch_distributions(mixture: GaussianMixture) -> None:
    theirs = MixtureSameFamily(
        Categorical(mixture.weights), MultivariateNormal(mixture.means, mixture.covs)
    )
    x = normal(50, mixture.dim)
    torch.testing.assert_close(mixture.log_prob(x), theirs.log_prob(x), rtol=1e-9, atol=1e-9)


@each
def test_score_is_the_gradient_of_the_log_density(mixture: GaussianMixture) -> None:
    x = normal(50, mixture.dim).requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.log_prob(x).sum(), x)
    torch.testing.assert_close(mixture.score(x), gradient, rtol=1e-8, atol=1e-8)


@each
def test_responsibilities_are_bayes_rule(mixture: GaussianMixture) -> None:
    x = normal(50, mixture.dim)
    likelihood = MultivariateNormal(mixture.means, mixture.covs).log_prob(x[:, None]).exp()
    joint = mixture.weights * likelihood
    torch.testing.assert_close(
        mixture.responsibilities(x) * joint.sum(1, keepdim=True), joint, rtol=1e-8, atol=1e-300
    )


@each
def test_draws_have_the_mixtures_moments(mixture: GaussianMixture) -> None:
    x = mixture.sample(20_000, seeded(0))
    assert x.shape == (20_000, mixture.dim)
    assert_moments(x, mixture)
    assert torch.equal(x, mixture.sample(20_000, seeded(0)))


@each
def test_moments_are_the_law_of_total_variance(mixture: GaussianMixture) -> None:
    for found, expected in zip(mixture.moments(), moments(mixture), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_gaussian_is_a_mixture_of_one() -> None:
    cov = slanted().covs[0]
    one, x = GaussianMixture.gaussian(normal(3), cov), normal(20, 3, seed=1)
    theirs = MultivariateNormal(normal(3), cov)
    torch.testing.assert_close(one.log_prob(x), theirs.log_prob(x))
    torch.testing.assert_close(one.moments(), (normal(3), cov))


def test_draws_come_from_the_components_as_often_as_weighted() -> None:
    mixture = GaussianMixture.isotropic(
        torch.tensor([[-9.0], [0.0], [9.0]]), 0.1, torch.tensor([0.1, 0.2, 0.7])
    )
    counts = mixture.responsibilities(mixture.sample(10_000, seeded(0))).argmax(1).bincount()
    error = (mixture.weights * (1 - mixture.weights) / 10_000).sqrt()
    assert ((counts / 10_000 - mixture.weights).abs() < 5 * error).all()


def test_one_component_is_a_gaussian() -> None:
    gaussian = GaussianMixture.isotropic(torch.tensor([[0.3, -0.2]], dtype=torch.float64), 0.5)
    x = normal(20, 2)
    torch.testing.assert_close(gaussian.score(x), (gaussian.means[0] - x) / 0.25)


def test_ready_mixtures_have_their_shape() -> None:
    x = 1.5 * normal(30, 2)
    eighth = torch.tensor([[1.0, -1.0], [1.0, 1.0]], dtype=torch.float64) / 2**0.5
    torch.testing.assert_close(ring(8).log_prob(x @ eighth.T), ring(8).log_prob(x))
    torch.testing.assert_close(moons().log_prob(-x), moons().log_prob(x))
    radius = spiral().means.norm(dim=1)
    assert (radius.diff() > 0).all() and radius[-1] == pytest.approx(1.2)
    torch.testing.assert_close(ring(5, 2.0).means.norm(dim=1), torch.full((5,), 2.0).double())


# Noised


@each
@pytest.mark.parametrize("schedule", NAMES)
def test_noised_draws_have_the_law_of_the_noised_mixture(
    mixture: GaussianMixture, schedule: str
) -> None:
    x0, t = mixture.sample(20_000, seeded(0)), torch.tensor(0.4, dtype=torch.float64)
    x_t = Diffusion(schedule, "x0").add_noise(x0, randn_like(x0, seeded(1)), t)
    assert_moments(x_t, mixture.noised(*map(float, Schedule(schedule).alpha_sigma(t))))


GRID = torch.linspace(-5, 5, 4001, dtype=torch.float64)
LEVELS = [(0.9, 0.3), (0.5, 0.5), (0.1, 1.0)]


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_noised_density_is_the_convolution(alpha: float, sigma: float) -> None:
    x_t = normal(30, 1)
    prior = line().log_prob(GRID[:, None]).exp()
    forward = Normal(alpha * GRID, sigma).log_prob(x_t).exp()  # (30, grid)
    integral = (forward * prior).sum(1) * (GRID[1] - GRID[0])
    torch.testing.assert_close(line().noised(alpha, sigma).log_prob(x_t).exp(), integral)


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_best_denoiser_is_the_posterior_mean(alpha: float, sigma: float) -> None:
    """E[x_0 | x_t] by Bayes' rule on a grid: exact."""
    x_t = normal(30, 1)
    posterior = line().log_prob(GRID[:, None]) + Normal(alpha * GRID, sigma).log_prob(x_t)
    expected = posterior.softmax(1) @ GRID[:, None]
    torch.testing.assert_close(line().denoise(x_t, alpha, sigma), expected)


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS[:2])
def test_best_denoiser_equals_a_monte_carlo_posterior(alpha: float, sigma: float) -> None:
    x0, x_t = slanted().sample(100_000, seeded(0)), 0.5 * normal(5, 3, seed=5)
    weights = Normal(alpha * x0, sigma).log_prob(x_t[:, None]).sum(-1).softmax(1)
    expected = weights @ x0
    error = ((weights**2)[..., None] * (x0 - expected[:, None]) ** 2).sum(1).sqrt()
    assert ((slanted().denoise(x_t, alpha, sigma) - expected).abs() < 5 * error).all()
    assert error.max() < 0.05


@each
@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_tweedie(mixture: GaussianMixture, alpha: float, sigma: float) -> None:
    """alpha E[x_0 | x_t] = x_t + sigma^2 grad log p_t(x_t) (arXiv 2011.13456)."""
    x_t = normal(50, mixture.dim)
    expected = (x_t + sigma**2 * mixture.noised(alpha, sigma).score(x_t)) / alpha
    torch.testing.assert_close(mixture.denoise(x_t, alpha, sigma), expected, rtol=1e-8, atol=1e-8)


@each
def test_denoising_at_both_ends(mixture: GaussianMixture) -> None:
    x = normal(50, mixture.dim)
    mean = (mixture.weights @ mixture.means).expand(50, -1)
    torch.testing.assert_close(mixture.denoise(x, 0.0, 1.0), mean)  # pure noise says nothing
    torch.testing.assert_close(mixture.denoise(x, 1.0, 0.0), x)  # no noise says all


def test_no_linear_correction_improves_the_best_denoiser() -> None:
    """Its error is uncorrelated with everything known: with 1 and with x_t."""
    mixture, alpha, sigma = slanted(), 0.7, 0.5
    x0 = mixture.sample(50_000, seeded(0))
    x_t = alpha * x0 + sigma * normal(50_000, 3, seed=9)
    error = x0 - mixture.denoise(x_t, alpha, sigma)
    for products in (error, error[:, :, None] * x_t[:, None]):
        assert (products.mean(0).abs() < 5 * products.std(0) / 50_000**0.5).all()


# Denoisers under the library's contract


@pytest.mark.parametrize("schedule", NAMES)
def test_exact_denoiser_takes_a_time_for_each_point(schedule: str) -> None:
    mixture, x = slanted(), normal(6, 3)
    t = torch.tensor([0.2, 0.9, 0.2, 0.0, 1.0, 0.5], dtype=torch.float64)
    found = ExactDenoiser(mixture, Schedule(schedule))(x, t)
    for i in range(6):
        alpha, sigma = map(float, Schedule(schedule).alpha_sigma(t[i]))
        torch.testing.assert_close(found[i : i + 1], mixture.denoise(x[i : i + 1], alpha, sigma))


def brute_force(points: Tensor, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """The posterior mean over a finite set, one point and one picture at a time."""
    means = []
    for picture in x:
        logs = torch.stack([-((picture - alpha * y) ** 2).sum() / (2 * sigma**2) for y in points])
        weights = (logs - logs.max()).exp()
        total = sum(w * y for w, y in zip(weights, points, strict=True))
        means.append(total / weights.sum())
    return torch.stack(means)


@pytest.mark.parametrize("schedule", NAMES)
@pytest.mark.parametrize("shape", [(2,), (1, 3, 3)])
def test_ideal_denoiser_equals_brute_force(schedule: str, shape: tuple) -> None:
    points, x = normal(7, *shape), normal(5, *shape, seed=1)
    t = torch.tensor([0.02, 0.3, 0.5, 0.8, 1.0], dtype=torch.float64)
    found = IdealDenoiser(points, Schedule(schedule))(x, t)
    for i in range(5):
        alpha, sigma = map(float, Schedule(schedule).alpha_sigma(t[i]))
        expected = brute_force(points, x[i : i + 1], alpha, sigma)
        torch.testing.assert_close(found[i : i + 1], expected, rtol=1e-8, atol=1e-8)


def test_ideal_denoiser_is_the_limit_of_narrow_mixtures() -> None:
    points, x = normal(7, 2), normal(5, 2, seed=1)
    schedule, t = Schedule("flow"), torch.full((5,), 0.4, dtype=torch.float64)
    narrow = ExactDenoiser(GaussianMixture.isotropic(points, 1e-4), schedule)
    torch.testing.assert_close(
        IdealDenoiser(points, schedule)(x, t), narrow(x, t), atol=1e-6, rtol=0
    )


def test_ideal_denoiser_at_both_ends() -> None:
    points = normal(7, 2)
    ideal = IdealDenoiser(points, Schedule("flow"))
    near = points + 0.01
    torch.testing.assert_close(ideal(near, torch.zeros(7, dtype=torch.float64)), points)
    ones = torch.ones(7, dtype=torch.float64)
    torch.testing.assert_close(ideal(near, ones), points.mean(0).expand(7, 2))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "flow"])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "heun"])
def test_sampling_the_ideal_denoiser_lands_on_data(schedule: str, sampler: str) -> None:
    points, curves = normal(6, 1, 2, 2), Schedule(schedule)
    predict = predictor(Diffusion(schedule, "x0"), IdealDenoiser(points, curves))
    noise = initial_noise(torch.empty(60, 1, 2, 2, dtype=torch.float64), curves, seeded(2))
    found = sample(predict, noise, time_grid(60), curves, seeded(3), sampler)
    distance, nearest = torch.cdist(found.flatten(1), points.flatten(1)).min(1)
    assert distance.max() < 1e-3
    assert len(nearest.unique()) == 6  # all of them, not one favourite


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "euler", "heun"])
def test_sampling_the_exact_denoiser_gives_the_mixture(sampler: str) -> None:
    mixture, schedule = slanted(3, 2), Schedule("flow")
    predict = predictor(Diffusion("flow", "x0"), ExactDenoiser(mixture, schedule))
    noise = initial_noise(torch.empty(3000, 2, dtype=torch.float64), schedule, seeded(2))
    steps = {"ddpm": 250, "ddim": 250, "euler": 250, "heun": 60}[sampler]
    found = sample(predict, noise, time_grid(steps), schedule, seeded(3), sampler)
    assert_moments(found, mixture)
    likelihood, truth = mixture.log_prob(found), mixture.log_prob(mixture.sample(3000, seeded(4)))
    error = (likelihood.var() / 3000 + truth.var() / 3000).sqrt()
    assert abs(likelihood.mean() - truth.mean()) < 5 * error


# Averages and KL


def test_standard_error_is_the_scatter_of_means() -> None:
    draws = normal(2000, 50, 2) + torch.tensor([5.0, -1.0])
    means = draws.mean(1)
    value, error = monte_carlo(draws[0])
    assert value.shape == error.shape == (2,)
    torch.testing.assert_close(value, draws[0].mean(0))
    typical = torch.stack([monte_carlo(x).error ** 2 for x in draws]).mean(0).sqrt()
    torch.testing.assert_close(typical, means.std(0), rtol=5 * (2 * 2000) ** -0.5, atol=0)


@pytest.mark.parametrize("n", [0, 1])
def test_one_value_has_no_standard_error(n: int) -> None:
    with pytest.raises(ValueError, match=f"at least 2 values, not {n}"):
        monte_carlo(torch.ones(n))


def gaussians(d: int) -> tuple[GaussianMixture, GaussianMixture]:
    """Two slanted Gaussians in d dimensions."""
    both = slanted(2, d)
    return tuple(map(GaussianMixture.gaussian, both.means, both.covs))


@pytest.mark.parametrize("d", [1, 2, 5])
def test_kl_of_gaussians_equals_torch(d: int) -> None:
    q, p = gaussians(d)
    theirs = [MultivariateNormal(g.means[0], g.covs[0]) for g in (q, p)]
    torch.testing.assert_close(kl_gaussians(q, p), kl_divergence(*theirs))
    torch.testing.assert_close(kl_gaussians(p, q), kl_divergence(*theirs[::-1]))
    assert abs(float(kl_gaussians(q, q))) < 1e-12


def test_kl_by_draws_equals_the_formula() -> None:
    for q, p in (gaussians(3), gaussians(3)[::-1]):
        value, error = kl_monte_carlo(q, p, 50_000, seeded(0))
        assert abs(value - kl_gaussians(q, p)) < 5 * error < 0.2 * value


def test_kl_by_draws_equals_the_integral() -> None:
    """Between mixtures, where there is no formula: a sum over a fine grid."""
    q, p = line(), GaussianMixture(line().means + 0.3, 2 * line().covs, line().weights.flip(0))
    log_q, log_p = (m.log_prob(GRID[:, None]) for m in (q, p))
    integral = (log_q.exp() * (log_q - log_p)).sum() * (GRID[1] - GRID[0])
    value, error = kl_monte_carlo(q, p, 50_000, seeded(0))
    assert abs(value - integral) < 5 * error < 0.2 * value


def test_kl_by_draws_takes_any_distribution() -> None:
    class Square:
        """Uniform on the unit square."""

        def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
            return torch.rand(n, 2, generator=generator)

        def log_prob(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x))

    wide = GaussianMixture.isotropic(torch.full((1, 2), 0.5), 1.0)
    value, error = kl_monte_carlo(Square(), wide, 20_000, seeded(0))
    assert abs(value - (math.log(2 * math.pi) + 1 / 12)) < 5 * error


def test_kl_has_gradients() -> None:
    """The formula and the draws pull mean and shape of q the same way."""
    p, mean = gaussians(2)[1], normal(2, seed=7).requires_grad_()
    shape = torch.eye(2, dtype=torch.float64).requires_grad_()
    gradients = []
    for kl in (kl_gaussians, lambda q, p: kl_monte_carlo(q, p, 100_000, seeded(0)).value):
        q = GaussianMixture.gaussian(mean, shape @ shape.T)
        by_mean, by_shape = torch.autograd.grad(kl(q, p), (mean, shape))
        gradients.append(torch.cat([by_mean[None], by_shape]))
    torch.testing.assert_close(*gradients, rtol=0.05, atol=0.05)


def test_the_gaussian_nearest_to_a_mixture_has_its_moments() -> None:
    """min_q KL(p || q): of small steps away from the moments, none comes nearer."""
    p, (mean, cov) = slanted(), slanted().moments()

    def cross_entropy(mean: Tensor, cov: Tensor) -> Tensor:
        """-E_p[log q], exactly: the part of KL(p || q) that depends on q."""
        parts = [
            kl_gaussians(GaussianMixture.gaussian(m, c), GaussianMixture.gaussian(mean, cov))
            - torch.logdet(c) / 2
            for m, c in zip(p.means, p.covs, strict=True)
        ]
        return p.weights @ torch.stack(parts)

    best = cross_entropy(mean, cov)
    for seed in range(20):
        step, factor = 0.05 * normal(3, seed=seed), 0.05 * normal(3, 3, seed=seed + 50)
        assert cross_entropy(mean + step, cov) > best
        assert cross_entropy(mean, cov + factor @ cov + cov @ factor.T) > best


def test_kl_asks_for_one_gaussian_each_of_one_dimension() -> None:
    with pytest.raises(ValueError, match="p has 8 components.*kl_monte_carlo"):
        kl_gaussians(gaussians(2)[0], ring())
    with pytest.raises(ValueError, match="q lives in 2 dimensions, p in 3"):
        kl_gaussians(gaussians(2)[0], gaussians(3)[0])
    with pytest.raises(ValueError, match=r"points must be \(n, 3\)"):
        kl_monte_carlo(gaussians(2)[0], gaussians(3)[0], 10, seeded(0))


# Langevin


def test_langevin_has_its_stationary_law() -> None:
    """Steps of size h on N(m, s^2) settle at variance s^2 / (1 - h / (2 s^2)), exactly."""
    m, s, h, n = 0.5, 0.7, 0.2, 50_000
    found = langevin(lambda x: (m - x) / s**2, normal(n, 1), h, 30, seeded(1))
    variance = s**2 / (1 - h / (2 * s**2))
    assert abs(found.mean() - m) < 5 * (variance / n) ** 0.5
    assert abs(found.var() / variance - 1) < 5 * (2 / n) ** 0.5


def test_langevin_approaches_the_mode_at_the_exact_rate() -> None:
    start = torch.full((50_000, 1), 8.0, dtype=torch.float64)
    found = langevin(lambda x: -x, start, 0.1, 10, seeded(0))
    assert float(found.mean()) == pytest.approx(8 * 0.9**10, abs=5 * 50_000**-0.5)


def test_langevin_leaves_a_mixture_as_it_is() -> None:
    mixture = GaussianMixture.isotropic(ring(4).means, 0.4)
    found = langevin(mixture.score, mixture.sample(10_000, seeded(0)), 0.002, 100, seeded(1))
    assert_moments(found, mixture)


# Bad input

EYE = torch.eye(2)
BAD = {
    "one axis": (torch.zeros(2), EYE[None], torch.ones(1), r"means must be \(k, d\), .*not \(2,\)"),
    "covs": (torch.zeros(1, 2), EYE, torch.ones(1), r"need covs \(1, 2, 2\) and .*not \(2, 2\)"),
    "weights": (torch.zeros(1, 2), EYE[None], torch.ones(2), r"weights \(1,\), not .* \(2,\)"),
    "sum": (torch.zeros(1, 2), EYE[None], torch.tensor([0.9]), "sum to 1.*the sum is 0.9,"),
    "negative": (torch.zeros(2, 2), EYE.repeat(2, 1, 1), torch.tensor([1.5, -0.5]), "least -0.5"),
    "not a number": (torch.zeros(1, 2), EYE[None], torch.tensor([math.nan]), "sum is nan"),
    "none": (torch.zeros(0, 2), EYE.repeat(0, 1, 1), torch.ones(0), r"not \(0, 2\)"),
    "nowhere": (torch.full((1, 2), math.nan), EYE[None], torch.ones(1), "means must be finite"),
    "indefinite": (torch.zeros(1, 2), -EYE[None], torch.ones(1), "positive definite.*number 0"),
    "second": (
        torch.zeros(2, 2),
        torch.stack([EYE, torch.tensor([[1.0, 2.0], [2.0, 1.0]])]),
        torch.tensor([0.5, 0.5]),
        "positive definite.*number 1 is not",
    ),
    "flat": (torch.zeros(1, 2), torch.ones(1, 2, 2), torch.ones(1), "positive definite"),
    "no number": (torch.zeros(1, 2), math.nan * EYE[None], torch.ones(1), "positive definite"),
    "two dtypes": (torch.zeros(1, 2).double(), EYE[None], torch.ones(1), "float32.*float64"),
    "whole numbers": (
        torch.zeros(1, 2).long(),
        EYE[None].long(),
        torch.ones(1).long(),
        "one floating dtype, not .*int64",
    ),
    "skew": (torch.zeros(1, 2), torch.tensor([[[1, 0.5], [0, 1]]]), torch.ones(1), "symmetric"),
}


@pytest.mark.parametrize(("means", "covs", "weights", "message"), BAD.values(), ids=BAD)
def test_bad_mixtures_are_refused(
    means: Tensor, covs: Tensor, weights: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianMixture(means, covs, weights)


ZERO, FLOW = torch.zeros(2, 3), Schedule("flow")
ASKED = {
    "spread": (lambda: ring(std=-0.1), "std must be above 0, not -0.1"),
    "no mode": (lambda: ring(0), r"means must be \(k, d\), .*not \(0, 2\)"),
    "one axis": (lambda: GaussianMixture.isotropic(torch.zeros(3), 1.0), r"\(k, d\), .*\(3,\)"),
    "odd moons": (lambda: moons(7), "an even number, not 7"),
    "step": (lambda: langevin(lambda x: -x, ZERO, 0.0, 1), "step must be above 0, not 0"),
    "flat score": (
        lambda: langevin(lambda x: -x[:, 0], torch.zeros(3, 3), 0.1, 1),
        r"score gave \(3,\) for points \(3, 3\)",
    ),
    "other data": (
        lambda: IdealDenoiser(torch.zeros(4, 5), FLOW)(ZERO, torch.rand(2)),
        r"data \(4, 5\) cannot denoise \(2, 3\)",
    ),
    "no data": (
        lambda: IdealDenoiser(torch.zeros(0, 3), FLOW)(ZERO, torch.rand(2)),
        r"data \(0, 3\) cannot denoise",
    ),
}


@pytest.mark.parametrize(("ask", "message"), ASKED.values(), ids=ASKED)
def test_impossible_wishes_are_named(ask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask()


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 1, 2)])
def test_points_of_another_shape_are_refused(shape: tuple) -> None:
    toy = ring()
    for ask in (toy.log_prob, toy.score, toy.responsibilities, lambda x: toy.denoise(x, 0.8, 0.6)):
        with pytest.raises(ValueError, match=r"points must be \(n, 2\), not"):
            ask(torch.zeros(shape, dtype=torch.float64))
