"""Laws of `diffusion.process`: noising, what the network predicts, and how its error is weighed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ldmlib.diffusion.process import (
    PARAMETRISATIONS,
    Diffusion,
    Parametrisation,
    min_snr_weight,
    score,
)
from ldmlib.diffusion.schedule import NAMES, Schedule
from ldmlib.rng import randn_like, seeded

PRESERVING = ("linear", "scaled_linear", "cosine")
ENDS_AND_BETWEEN = (0.0, 1e-4, 0.001, 0.3, 0.5, 0.7, 0.999, 1.0)

schedules = pytest.mark.parametrize("schedule", NAMES)
parametrisations = pytest.mark.parametrize("name", PARAMETRISATIONS)
ALLOWED = [(s, p) for s in NAMES for p in PARAMETRISATIONS if (s, p) != ("flow", "eps")]
allowed = pytest.mark.parametrize(("schedule", "name"), ALLOWED)


def double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def pictures(n: int = 5, seed: int = 0) -> Tensor:
    return randn_like(torch.empty(n, 2, 3, 3, dtype=torch.float64), seeded(seed)).tanh()


def noise_for(x: Tensor, seed: int = 1) -> Tensor:
    return randn_like(x, seeded(seed))


def diffusion(schedule: str, parametrisation: str = "x0", **options) -> Diffusion:
    return Diffusion(schedule, parametrisation, **options)


# Forward process


@schedules
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_noised_data_have_the_closed_form_mean_and_variance(schedule: str, t: float) -> None:
    """Law 1, for data N(m, s^2): mean alpha m and variance alpha^2 s^2 + sigma^2."""
    n, m, s = 200_000, 0.7, 0.4
    x0 = m + s * noise_for(torch.empty(n, 1, dtype=torch.float64), 2)
    x_t = diffusion(schedule).add_noise(x0, noise_for(x0), double(t))
    alpha, sigma = map(float, Schedule(schedule).alpha_sigma(double(t)))
    variance = alpha**2 * s**2 + sigma**2
    assert abs(float(x_t.mean()) - alpha * m) < 5 * (variance / n) ** 0.5
    assert abs(float(x_t.var()) - variance) < 5 * variance * (2 / n) ** 0.5


@schedules
def test_each_picture_is_noised_to_its_own_time(schedule: str) -> None:
    x0 = pictures(4)
    eps, t = noise_for(x0), torch.tensor([0.0, 0.2, 0.6, 1.0], dtype=torch.float64)
    together = diffusion(schedule).add_noise(x0, eps, t)
    for i in range(4):
        alone = diffusion(schedule).add_noise(x0[i : i + 1], eps[i : i + 1], t[i])
        assert torch.equal(together[i : i + 1], alone)
    assert torch.equal(together[0], x0[0])


@pytest.mark.parametrize("schedule", PRESERVING)
@pytest.mark.parametrize("steps", [10, 1000])
def test_one_jump_equals_many_steps_in_law(schedule: str, steps: int) -> None:
    """x <- sqrt(1 - beta) x + sqrt(beta) noise, repeated: the mean and variance of one jump."""
    table = Schedule(schedule).table(steps)
    mean, variance = 1.0, 0.0
    for i, beta in enumerate(table["beta"].tolist()):
        mean, variance = (1 - beta) ** 0.5 * mean, (1 - beta) * variance + beta
        alpha, sigma = map(float, Schedule(schedule).alpha_sigma(table["t"][i]))
        assert mean == pytest.approx(alpha, rel=1e-8)
        assert variance == pytest.approx(sigma**2, rel=1e-8)


def test_one_jump_equals_many_steps_with_real_noise() -> None:
    n, steps, schedule = 100_000, 10, Schedule("linear")
    generator, x = seeded(0), torch.full((n,), 0.8, dtype=torch.float64)
    for beta in schedule.table(steps)["beta"][:5]:
        x = (1 - beta).sqrt() * x + beta.sqrt() * randn_like(x, generator)
    alpha, sigma = map(float, schedule.alpha_sigma(0.5))
    assert abs(float(x.mean()) - 0.8 * alpha) < 5 * sigma / n**0.5
    assert abs(float(x.var()) / sigma**2 - 1) < 5 * (2 / n) ** 0.5


# The step back


@schedules
def test_posterior_is_bayes_rule(schedule: str) -> None:
    """q(x_s | x_t, x_0) from precisions: prior N(alpha_s x_0, sigma_s^2), likelihood of x_t."""
    x0, s, t = pictures(), double(0.35), double(0.4)
    x_t = noise_for(x0)
    (alpha_s, sigma_s), (alpha_t, sigma_t) = (Schedule(schedule).alpha_sigma(u) for u in (s, t))
    r = alpha_t / alpha_s
    step_variance = sigma_t**2 - r**2 * sigma_s**2
    precision = 1 / sigma_s**2 + r**2 / step_variance
    mean = (alpha_s * x0 / sigma_s**2 + r * x_t / step_variance) / precision
    posterior = diffusion(schedule).posterior(x0, x_t, s, t)
    torch.testing.assert_close(posterior.mean, mean, rtol=1e-9, atol=1e-12)
    assert float(posterior.std) == pytest.approx(float(precision**-0.5), rel=1e-9)


@pytest.mark.parametrize("schedule", PRESERVING)
def test_posterior_is_the_formula_of_ddpm(schedule: str) -> None:
    """arXiv 2006.11239, equations 6 and 7, in the symbols of the T-step table."""
    table, x0 = Schedule(schedule).table(), pictures()
    x_t = noise_for(x0)
    for i in (1, 2, 500, 998):
        bar, before, beta = table["alpha_bar"][i], table["alpha_bar"][i - 1], table["beta"][i]
        mean = before.sqrt() * beta / (1 - bar) * x0
        mean = mean + (1 - beta).sqrt() * (1 - before) / (1 - bar) * x_t
        posterior = diffusion(schedule).posterior(x0, x_t, table["t"][i - 1], table["t"][i])
        torch.testing.assert_close(posterior.mean, mean, rtol=1e-8, atol=1e-10)
        variance = float((1 - before) / (1 - bar) * beta)
        assert float(posterior.std) ** 2 == pytest.approx(variance, rel=1e-8)


@schedules
def test_stepping_back_undoes_stepping_forward_in_law(schedule: str) -> None:
    """E over x_t of q(x_s | x_t, x_0) is q(x_s | x_0), for every pair of times."""
    process, one = diffusion(schedule), torch.ones(1, 1, dtype=torch.float64)
    for s, t in [(0.0, 0.01), (0.1, 0.9), (0.5, 0.501), (0.0, 1.0), (0.999, 1.0)]:
        s, t = double(s), double(t)
        (alpha_s, sigma_s), (alpha_t, sigma_t) = (Schedule(schedule).alpha_sigma(u) for u in (s, t))
        at_mean = process.posterior(one, alpha_t * one, s, t)
        slope = (process.posterior(one, alpha_t + one, s, t).mean - at_mean.mean).item()
        assert at_mean.mean.item() == pytest.approx(float(alpha_s), abs=1e-9)
        variance = slope**2 * float(sigma_t) ** 2 + float(at_mean.std) ** 2
        assert variance == pytest.approx(float(sigma_s) ** 2, abs=1e-9)


# What the network predicts


@schedules
@parametrisations
@pytest.mark.parametrize("t", ENDS_AND_BETWEEN)
def test_target_and_noisy_picture_give_back_both(schedule: str, name: str, t: float) -> None:
    """Law 8: all targets say the same, at both ends too (where there is anything to say)."""
    x0 = pictures()
    eps, kind = noise_for(x0), Parametrisation(name)
    alpha, sigma = Schedule(schedule).alpha_sigma(double(t))
    x_t, target = alpha * x0 + sigma * eps, kind.target(x0, eps, alpha, sigma)
    if name == "eps" and alpha == 0:
        with pytest.raises(ValueError, match="zero signal .*use parametrisation 'v'"):
            kind.prediction(target, x_t, alpha, sigma)
        return
    found = kind.prediction(target, x_t, alpha, sigma)
    torch.testing.assert_close(found.x0, x0, rtol=0, atol=1e-9)
    if name == "x0" and sigma == 0:
        assert torch.equal(found.eps, torch.zeros_like(eps))  # nothing is known: the mean
    else:
        torch.testing.assert_close(found.eps, eps, rtol=0, atol=1e-9)


@parametrisations
def test_any_output_is_consistent_with_the_noisy_picture(name: str) -> None:
    """alpha x0_hat + sigma eps_hat = x_t, whatever the network says; and target() inverts it."""
    x_t, output = pictures(seed=3), pictures(seed=4)
    for schedule in NAMES:
        alpha, sigma = Schedule(schedule).alpha_sigma(double(0.6))
        x0, eps = Parametrisation(name).prediction(output, x_t, alpha, sigma)
        torch.testing.assert_close(alpha * x0 + sigma * eps, x_t)
        torch.testing.assert_close(Parametrisation(name).target(x0, eps, alpha, sigma), output)


def test_targets_are_the_papers() -> None:
    x0, eps = pictures(), noise_for(pictures())
    alpha, sigma = double(0.6), double(0.8)
    targets = {
        name: Parametrisation(name).target(x0, eps, alpha, sigma) for name in PARAMETRISATIONS
    }
    assert torch.equal(targets["eps"], eps) and torch.equal(targets["x0"], x0)
    angle = math.atan2(0.8, 0.6)  # v is the derivative of x along the circle (2202.00512)
    step = 1e-6
    ahead, behind = (math.cos(angle + d) * x0 + math.sin(angle + d) * eps for d in (step, -step))
    torch.testing.assert_close(targets["v"], (ahead - behind) / (2 * step), rtol=0, atol=1e-8)
    line = [(1 - t) * x0 + t * eps for t in (0.25, 0.75)]  # and flow along the line (2210.02747)
    torch.testing.assert_close(targets["flow"], (line[1] - line[0]) / 0.5)


@schedules
def test_score_is_the_gradient_of_the_noise_density(schedule: str) -> None:
    x0 = pictures()
    eps, (alpha, sigma) = noise_for(x0), Schedule(schedule).alpha_sigma(double(0.4))
    x_t = (alpha * x0 + sigma * eps).requires_grad_()
    log_q = -((x_t - alpha * x0) ** 2).sum() / (2 * sigma**2)
    (gradient,) = torch.autograd.grad(log_q, x_t)
    torch.testing.assert_close(score(eps, sigma), gradient, rtol=0, atol=1e-9)


@allowed
def test_predict_asks_the_network_at_each_pictures_time(schedule: str, name: str) -> None:
    process, x0 = diffusion(schedule, name), pictures(3)
    eps, t = noise_for(x0), torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    alpha, sigma = process.coefficients(t, x0)
    x_t, cond = alpha * x0 + sigma * eps, torch.arange(3)

    def perfect(x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        assert x is x_t and labels is cond and times.dtype == x.dtype and times.shape == (3,)
        assert torch.equal(times, t)
        return Parametrisation(name).target(x0, eps, alpha, sigma)

    found = process.predict(perfect, x_t, t, cond)
    torch.testing.assert_close(found.x0, x0)
    torch.testing.assert_close(found.eps, eps)


def test_predict_takes_one_time_for_all() -> None:
    process, x_t = diffusion("cosine", "v"), pictures(3)

    def network(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return x * t[:, None, None, None]

    for t in (0.4, double(0.4)):
        one = process.predict(network, x_t, t)
        many = process.predict(network, x_t, torch.full((3,), 0.4, dtype=torch.float64))
        assert torch.equal(one.x0, many.x0) and torch.equal(one.eps, many.eps)


# The loss


def exact(process: Diffusion, x0: Tensor, eps: Tensor, mistake: Tensor | float = 0.0):
    """A denoiser that knows the answer, except that its x0_hat is wrong by `mistake`."""

    def network(x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        alpha, sigma = process.coefficients(t, x_t)
        wrong_x0 = x0 + mistake
        wrong_eps = (x_t - alpha * wrong_x0) / sigma
        kind = Parametrisation(process.parametrisation)
        return kind.target(wrong_x0, wrong_eps, alpha, sigma)

    return network


@pytest.mark.parametrize("schedule", PRESERVING)
@parametrisations
def test_loss_is_zero_only_for_the_right_answer(schedule: str, name: str) -> None:
    process, x0 = diffusion(schedule, name), pictures()
    eps, t = noise_for(x0), torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    right = process.loss(exact(process, x0, eps), x0, t=t, eps=eps)
    wrong = process.loss(exact(process, x0, eps, 0.1), x0, t=t, eps=eps)
    assert right.shape == (5,) and right.max() < 1e-10 and (wrong > 1e-7).all()


@allowed
def test_loss_on_the_output_is_a_weighted_error_of_the_picture(schedule: str, name: str) -> None:
    """Law 11, for our targets: |output - target|^2 = w(t) |x0_hat - x0|^2, for any network."""
    process, x0 = diffusion(schedule, name), pictures()
    eps, t = noise_for(x0), torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    mistake = 0.1 * pictures(seed=7)
    alpha, sigma = Schedule(schedule).alpha_sigma(t)
    weights = {
        "eps": (alpha / sigma) ** 2,
        "x0": torch.ones_like(t),
        "v": ((alpha**2 + sigma**2) / sigma) ** 2,
        "flow": ((alpha + sigma) / sigma) ** 2,
    }
    found = process.loss(exact(process, x0, eps, mistake), x0, t=t, eps=eps)
    error = (mistake**2).flatten(1).mean(1)
    torch.testing.assert_close(found, weights[name] * error, rtol=1e-4, atol=1e-9)


@parametrisations
def test_loss_is_the_mean_square_over_each_picture(name: str) -> None:
    process, x0 = diffusion("linear", name), pictures()
    eps, t = noise_for(x0), torch.full((5,), 0.5, dtype=torch.float64)
    alpha, sigma = process.coefficients(t, x0)
    target = Parametrisation(name).target(x0, eps, alpha, sigma)
    seen = []

    def network(x_t: Tensor, times: Tensor, cond: Tensor | None = None) -> Tensor:
        seen.append((x_t, times, cond))
        return target + torch.arange(5.0, dtype=torch.float64).reshape(5, 1, 1, 1)

    cond = torch.arange(5)
    found = process.loss(network, x0, cond, t=t, eps=eps)
    torch.testing.assert_close(
        found, torch.arange(5.0, dtype=torch.float64) ** 2, atol=1e-5, rtol=0
    )
    x_t, times, labels = seen[0]
    torch.testing.assert_close(x_t, alpha * x0 + sigma * eps)
    assert torch.equal(times, t) and labels is cond


@parametrisations
def test_a_silent_network_loses_the_variance_of_the_target(name: str) -> None:
    """Law 10, with a UNet as it is born: its last layer is 0."""
    from ldmlib.networks.unet import UNet, UNetConfig

    process, x0 = diffusion("linear", name), pictures(64).float()
    eps, t = noise_for(x0), torch.full((64,), 0.3)
    network = UNet(UNetConfig(2, (8,), 1, 0))
    x0, eps = (torch.nn.functional.pad(x, (0, 1, 0, 1)) for x in (x0, eps))
    target = Parametrisation(name).target(x0, eps, *process.coefficients(t, x0))
    found = process.loss(network, x0, t=t, eps=eps).mean()
    torch.testing.assert_close(found, (target**2).mean())


@pytest.mark.parametrize("schedule", PRESERVING)
def test_min_snr_weighs_the_same_error_the_same_for_every_target(schedule: str) -> None:
    """Law 9: one denoiser, three ways to say it, one weighted loss: min(snr, 5) |x0 - x0_hat|^2."""
    x0 = pictures(6)
    eps, t = noise_for(x0), torch.tensor([0.02, 0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    mistake = 0.1 * pictures(6, seed=7)
    snr = Schedule(schedule).snr(t)
    expected = snr.clamp(max=5) * (mistake**2).flatten(1).mean(1)
    assert (snr > 5).any() and (snr < 5).any()
    for name in ("eps", "x0", "v"):
        process = diffusion(schedule, name, weighting="min_snr")
        loss = process.loss(exact(process, x0, eps, mistake), x0, t=t, eps=eps)
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-9)


def test_min_snr_is_the_papers_formula_and_finite_at_both_ends() -> None:
    snr = torch.tensor([0.0, 1e-30, 1e-4, 1.0, 5.0, 7.0, 1e8, math.inf], dtype=torch.float64)
    inside = snr[2:-1]
    formulas = {
        "eps": inside.clamp(max=3) / inside,
        "x0": inside.clamp(max=3),
        "v": inside.clamp(max=3) / (inside + 1),
    }
    for name, formula in formulas.items():
        weight = min_snr_weight(snr, name, gamma=3.0)
        assert weight.isfinite().all() and (weight >= 0).all()
        torch.testing.assert_close(weight[2:-1], formula)
        single = min_snr_weight(snr.float(), name)
        assert single.isfinite().all()
    assert float(min_snr_weight(torch.tensor(10.0), "x0")) == 5  # the default gamma


@allowed
def test_loss_is_finite_at_both_ends(schedule: str, name: str) -> None:
    x0, t = pictures(2).float(), torch.tensor([0.0, 1.0], dtype=torch.float64)
    for weighting in ("none", "min_snr") if name != "flow" else ("none",):
        process = diffusion(schedule, name, weighting=weighting)
        assert process.loss(lambda x, t, cond: x, x0, t=t, generator=seeded(0)).isfinite().all()


# Training times


def test_times_cover_everything_from_the_first_step_to_the_last() -> None:
    """Law 6: of T steps with n = T, each is trained once in every batch, 0 and T - 1 included."""
    t = diffusion("linear", "eps", time_sampling="uniform").sample_times(1000, seeded(0))
    assert t.dtype == torch.float64 and t.min() > 0 and t.max() < 1
    assert (t * 1000).floor().sort().values.tolist() == list(range(1000))


def test_logit_normal_times_have_their_law() -> None:
    t = diffusion("flow", "flow", time_sampling="logit_normal").sample_times(20_000, seeded(0))
    logit = torch.logit(t)
    assert t.min() > 0 and t.max() < 1
    assert abs(logit.mean()) < 1e-3 and abs(logit.var() - 1) < 1e-2
    quarters = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    torch.testing.assert_close(
        logit.quantile(quarters), torch.special.ndtri(quarters), atol=1e-3, rtol=0
    )


def test_loss_draws_from_its_generator_only() -> None:
    process, x0 = diffusion("flow", "flow"), pictures()
    first, again, other = (
        process.loss(lambda x, t, c: x, x0, generator=seeded(s)) for s in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


# Bad input


def test_pure_noise_with_eps_prediction_is_refused() -> None:
    """Law 2: at zero signal x_t is the noise, and the network would learn to copy its input."""
    with pytest.raises(ValueError, match="'flow' ends in pure noise .*use 'v', 'x0' or 'flow'"):
        Diffusion("flow", "eps")
    for schedule in PRESERVING:
        assert Diffusion(schedule, "eps").curves == Schedule(schedule)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "x", "parametrisation": "eps"}, "unknown schedule 'x'; known are linear"),
        ({"schedule": "x"}, "unknown schedule 'x'; known are linear"),
        ({"parametrisation": "noise"}, "'noise'; known are eps, x0, v, flow"),
        ({"time_sampling": "beta"}, "'uniform' or 'logit_normal', not 'beta'"),
        ({"weighting": "snr"}, "'none' or 'min_snr', not 'snr'"),
        ({"weighting": "min_snr"}, "for eps, x0 and v, not 'flow'"),
    ],
)
def test_unknown_names_are_refused_at_once(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Diffusion(**options)
