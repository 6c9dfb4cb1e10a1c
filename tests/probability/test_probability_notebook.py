"""Every formula of notebook 01, held by the notebook's own functions on other numbers than there.

The functions are read from the py twin. Where the library has the same, they are held equal;
elsewhere a law is checked: an identity, an integral, a scatter of many trials.
"""

from __future__ import annotations

import ast
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.samplers import sample
from ldmlib.diffusion.schedule import Schedule
from ldmlib.diffusion.spacing import time_grid
from ldmlib.probability import pca
from ldmlib.probability.estimates import kl_gaussians, kl_monte_carlo, langevin, monte_carlo
from ldmlib.probability.exact_denoisers import ExactDenoiser
from ldmlib.probability.mixtures import GaussianMixture
from ldmlib.rng import randn_like, seeded

TWIN = Path(__file__).resolve().parents[2] / "notebooks/py/01_probability_and_latent_spaces.py"


def functions() -> SimpleNamespace:
    """The functions that notebook 01 defines, without running the rest of it."""
    tree = ast.parse(TWIN.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = {"torch": torch, "math": math, "seeded": seeded, "GaussianMixture": GaussianMixture}
    names |= {"w": torch.tensor([0.7, -1.1]).double(), "s": 0.5}  # of section 7
    exec(compile(tree, str(TWIN), "exec"), names)
    return SimpleNamespace(**names)


NB = functions()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return randn_like(torch.empty(*shape, dtype=torch.float64), seeded(seed))


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


MEANS, STDS = normal(3, seed=1), normal(3, seed=2).abs() + 0.2
WEIGHTS = normal(3, seed=3).softmax(0)
LINE = GaussianMixture(MEANS[:, None], STDS[:, None, None] ** 2, WEIGHTS)
X = torch.linspace(-3, 3, 41, dtype=torch.float64)
GRID = torch.linspace(-12, 12, 4801, dtype=torch.float64)
STEP = GRID[1] - GRID[0]


def slanted(k: int = 3) -> GaussianMixture:
    factor = 0.5 * normal(k, 2, 2, seed=4)
    covs = factor @ factor.mT + 0.1 * torch.eye(2, dtype=torch.float64)
    return GaussianMixture(normal(k, 2, seed=5), covs, normal(k, seed=6).softmax(0))


# Sections 1 to 4: densities, Bayes' rule, scores, Langevin


@pytest.mark.parametrize(("p", "n"), [(0.5, 100), (0.2, 400)])
def test_the_share_of_heads_scatters_by_the_formula(p: float, n: int) -> None:
    shares = (torch.rand(4000, n, generator=seeded(n)) < p).double().mean(1)
    assert float(shares.std()) == pytest.approx((p * (1 - p) / n) ** 0.5, rel=0.06)


def test_variance_is_mean_square_minus_squared_mean() -> None:
    x = normal(100) * 3 + 5
    torch.testing.assert_close(x.var(correction=0), (x**2).mean() - x.mean() ** 2)


def test_the_density_of_a_gaussian() -> None:
    theirs = Normal(1.3, 0.7).log_prob(X).exp()
    torch.testing.assert_close(NB.gaussian(X, 1.3, 0.49), theirs)


def test_bayes_rule() -> None:
    found = NB.bayes(X, MEANS, STDS**2, WEIGHTS)
    torch.testing.assert_close(found, LINE.responsibilities(X[:, None]))


def test_posterior_and_evidence_on_a_grid() -> None:
    """Prior N(0, 2) and noise of variance .5: evidence N(0, 2.5), posterior N(.8 x, .4)."""
    after, evidence = NB.believe(GRID, NB.gaussian(GRID, 0.0, 2.0), 1.1, 0.5**0.5)
    torch.testing.assert_close(evidence, NB.gaussian(number(1.1), 0.0, 2.5))
    torch.testing.assert_close(after, NB.gaussian(GRID, 0.88, 0.4))


def test_the_posterior_mean_is_what_the_denoiser_answers() -> None:
    """Section 2: x = z + noise is x_t with alpha = 1."""
    prior = LINE.log_prob(GRID[:, None]).exp()
    for x in (-1.0, 0.3, 2.0):
        after, _ = NB.believe(GRID, prior, x, 0.8)
        found = LINE.denoise(torch.tensor([[x]]).double(), 1.0, 0.8)[0, 0]
        torch.testing.assert_close((after * GRID).sum() * STEP, found)


def test_the_score_in_one_dimension() -> None:
    found = NB.naive_score(X, MEANS, STDS**2, WEIGHTS)
    torch.testing.assert_close(found, LINE.score(X[:, None])[:, 0])


def test_the_score_in_the_plane() -> None:
    m, x = slanted(), normal(50, 2)
    torch.testing.assert_close(NB.plane_score(x, m.means, m.covs, m.weights), m.score(x))


@pytest.mark.parametrize(("apart", "tops"), [(1.95, 1), (2.05, 2)])
def test_equal_bumps_merge_when_two_spreads_apart(apart: float, tops: int) -> None:
    means = torch.tensor([[-apart / 2], [apart / 2]]).double()
    uphill = GaussianMixture.isotropic(means, 1.0).score(GRID[2000:2801, None] + 1e-4)[:, 0] > 0
    assert int((uphill[1:] != uphill[:-1]).sum()) == 2 * tops - 1


def test_langevin_is_the_librarys_and_without_noise_ends_on_the_tops() -> None:
    m, start = slanted(), normal(200, 2)
    ours = NB.walk(m.score, start, 0.01, 20, noise=1, generator=seeded(1))
    theirs = langevin(m.score, start, 0.01, 20, seeded(1))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    still = NB.walk(m.score, start, 0.02, 4000, noise=0, generator=seeded(1))
    assert m.score(still).norm(dim=1).median() < 1e-6


@pytest.mark.parametrize("ratio", [0.1, 1.0, 1.6])
def test_too_long_steps_settle_too_wide(ratio: float) -> None:
    """Variance v / (1 - h / (2 v)); from h = 2 v on, none at all."""
    v, start = 0.3, torch.zeros(20_000, 1).double()
    found = langevin(lambda x: -x / v, start, ratio * v, 100, seeded(0)).var()
    assert float(found) == pytest.approx(v / (1 - ratio / 2), rel=0.06)
    exploded = langevin(lambda x: -x / v, start, 2.1 * v, 200, seeded(0)).var()
    assert exploded > 1e6


# Section 5: the sum over causes


def test_the_sum_over_causes_is_the_density_of_what_is_seen() -> None:
    seen = NB.bend(normal(200_000, seed=8)) + 0.4 * normal(200_000, seed=9)
    joint = NB.gaussian(X[:, None], NB.bend(GRID), 0.16) * NB.gaussian(GRID, 0.0, 1.0)
    marginal = joint.sum(1) * STEP
    width = float(X[1] - X[0])
    for i in (5, 12, 20, 33):
        share = ((seen - X[i]).abs() < width / 2).double().mean()
        assert float(share / width) == pytest.approx(float(marginal[i]), rel=0.06)


def test_an_estimate_and_its_error_are_the_librarys() -> None:
    for found, theirs in zip(NB.estimate(X**2), monte_carlo(X**2), strict=True):
        torch.testing.assert_close(found, theirs)


@pytest.mark.parametrize("n", [10, 40, 160])
def test_the_scatter_of_monte_carlo_is_the_standard_error(n: int) -> None:
    """Var[mean of n] = Var[one] / n, for the terms p(x | z) of the evidence."""
    terms = NB.gaussian(number(0.5), NB.bend(normal(4000, n, seed=n)), 0.16)
    one = NB.gaussian(number(0.5), NB.bend(GRID), 0.16)
    weights = NB.gaussian(GRID, 0.0, 1.0) * STEP
    variance = (weights * one**2).sum() - (weights * one).sum() ** 2
    assert float(terms.mean(1).std()) == pytest.approx(float((variance / n).sqrt()), rel=0.06)


# Sections 6 and 7: KL and ELBO


def test_kl_by_formula_and_by_draws() -> None:
    q, p = (GaussianMixture.gaussian(slanted().means[i], slanted().covs[i]) for i in (0, 1))
    torch.testing.assert_close(NB.kl_formula(q, p), kl_gaussians(q, p))
    value, error = NB.kl_by_draws(q, p, 20_000, seeded(0))
    assert abs(value - NB.kl_formula(q, p)) < 5 * error


def test_kl_in_one_dimension() -> None:
    m, v, m2, v2 = map(number, (0.3, 0.5, -1.0, 2.0))
    theirs = kl_divergence(Normal(m, v.sqrt()), Normal(m2, v2.sqrt()))
    torch.testing.assert_close(NB.kl_1d(m, v, m2, v2), theirs)


def test_fitting_both_ways_round() -> None:
    means, weights = torch.tensor([[-2.0, 0], [2, 0]]).double(), torch.tensor([0.7, 0.3]).double()
    p = GaussianMixture.isotropic(means, 0.5, weights)
    kl = kl_monte_carlo
    seeking = NB.fit(lambda q, g: kl(q, p, 200, g).value, steps=300)[-1]
    covering = NB.fit(lambda q, g: kl(p, q, 200, g).value, steps=300)[-1]
    torch.testing.assert_close(seeking.means[0], p.means[0], atol=0.2, rtol=0)
    torch.testing.assert_close(covering.means[0], p.moments()[0], atol=0.3, rtol=0)
    torch.testing.assert_close(covering.covs[0], p.moments()[1], atol=0.7, rtol=0)


def test_an_ellipse_lies_two_spreads_away() -> None:
    q = GaussianMixture.gaussian(slanted().means[0], slanted().covs[0])
    off = NB.ellipse(q).T - q.means
    distance = (off @ q.covs[0].inverse() * off).sum(1).sqrt()
    torch.testing.assert_close(distance, torch.full_like(distance, 2.0))


def evidence() -> MultivariateNormal:
    cov = torch.outer(NB.w, NB.w) + NB.s**2 * torch.eye(2).double()
    return MultivariateNormal(torch.zeros(2).double(), cov)


@pytest.mark.parametrize("guess", [(0.0, 1.0), (1.5, 0.2), (-2.0, 3.0)])
def test_elbo_plus_gap_is_the_log_evidence(guess: tuple) -> None:
    x, (m, v) = normal(2, seed=11), map(number, guess)
    gap = NB.kl_1d(m, v, *NB.true_posterior(x))
    assert gap > 0
    torch.testing.assert_close(NB.elbo(x, m, v) + gap, evidence().log_prob(x))


def test_the_posterior_of_the_line_is_bayes_rule_on_a_grid() -> None:
    x = normal(2, seed=12)
    likelihood = Normal(NB.w * GRID[:, None], NB.s).log_prob(x).sum(1).exp()
    joint = likelihood * NB.gaussian(GRID, 0.0, 1.0)
    torch.testing.assert_close(joint.sum() * STEP, evidence().log_prob(x).exp())
    found = NB.gaussian(GRID, *NB.true_posterior(x))
    torch.testing.assert_close(found, joint / (joint.sum() * STEP))


def test_the_first_part_of_the_elbo_is_an_expectation() -> None:
    x, m, v = normal(2, seed=13), number(0.4), number(0.3)
    q = NB.gaussian(GRID, m, v)
    logs = Normal(NB.w * GRID[:, None], NB.s).log_prob(x).sum(1)
    expected = (q * logs).sum() * STEP - NB.kl_1d(m, v, number(0.0), number(1.0))
    torch.testing.assert_close(NB.elbo(x, m, v), expected)


# Sections 8 and 9: PCA, noised mixtures, DDIM


def test_principal_components() -> None:
    x = normal(40, 1, 3, 4) @ normal(4, 4, seed=1)
    mean, directions, stds = NB.naive_pca(x.flatten(1), 5)
    theirs = pca.PCA.fit(x, 5)
    torch.testing.assert_close(stds, theirs.stds)
    ours = mean + (x.flatten(1) - mean) @ directions.T @ directions
    torch.testing.assert_close(ours, theirs.decode(theirs.encode(x)).flatten(1))
    torch.testing.assert_close(NB.lost(theirs, x), 1 - theirs.explained()[-1])


def test_halfway_in_a_linear_space_is_a_double_exposure() -> None:
    x = normal(40, 1, 3, 4)
    space = pca.PCA.fit(x, 5)
    a, b = space.encode(x[:1]), space.encode(x[1:2])
    halfway, both = space.decode((a + b) / 2), (space.decode(a) + space.decode(b)) / 2
    torch.testing.assert_close(halfway, both)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_tweedies_formula(t: float) -> None:
    x = normal(50, 2)
    torch.testing.assert_close(NB.best_guess(slanted(), x, t), slanted().denoise(x, 1 - t, t))


def test_a_noised_mixture_is_the_mixture_with_noise() -> None:
    """Means and covariances of alpha x_0 + sigma eps, by the formula shown."""
    m = slanted()
    found = m.noised(0.6, 0.4)
    torch.testing.assert_close(found.means, 0.6 * m.means)
    torch.testing.assert_close(found.covs, 0.36 * m.covs + 0.16 * torch.eye(2).double())
    x = 0.6 * m.sample(50_000, seeded(1)) + 0.4 * normal(50_000, 2, seed=2)
    gap = monte_carlo(found.log_prob(x))
    again = monte_carlo(found.log_prob(found.sample(50_000, seeded(3))))
    assert abs(gap.value - again.value) < 5 * (gap.error**2 + again.error**2).sqrt()


def test_ddim() -> None:
    noise, schedule = normal(100, 2), Schedule("flow")
    predict = predictor(Diffusion("flow", "x0"), ExactDenoiser(slanted(), schedule))
    theirs = sample(predict, noise, time_grid(15), schedule, sampler="ddim")
    torch.testing.assert_close(NB.naive_ddim(slanted(), noise, 15)[-1], theirs)


def test_diffusion_gets_the_shares_right_and_langevin_does_not() -> None:
    means = torch.tensor([[-3.0, 0], [3, 0]]).double()
    m = GaussianMixture.isotropic(means, 0.4, torch.tensor([0.9, 0.1]).double())
    ddim = NB.naive_ddim(m, normal(2000, 2), 40)[-1]
    walked = langevin(m.score, normal(2000, 2), 0.02, 300, seeded(1))
    shares = [float((x[:, 0] < 0).double().mean()) for x in (ddim, walked)]
    assert shares[0] == pytest.approx(0.9, abs=0.03)
    assert shares[1] < 0.75
