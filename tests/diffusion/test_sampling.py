"""Laws of `diffusion.guidance`: exact on data that are known, equal to diffusers, repeatable."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ldmlib.diffusion import samplers as samplers_module
from ldmlib.diffusion.guidance import clipped, predictor
from ldmlib.diffusion.process import Diffusion, Prediction
from ldmlib.diffusion.samplers import (
    SAMPLERS,
    Predict,
    ddim,
    dpmpp_2m,
    get_sampler,
    heun,
    initial_noise,
    probability_flow,
    sample,
)
from ldmlib.diffusion.schedule import NAMES, Schedule
from ldmlib.diffusion.spacing import time_grid
from ldmlib.probability.exact_denoisers import ExactDenoiser
from ldmlib.probability.mixtures import GaussianMixture, ring
from ldmlib.rng import per_sample_generators, randn_like, seeded

PRESERVING = ("linear", "scaled_linear", "cosine")
DETERMINISTIC = ("ddim", "euler", "heun", "dpmpp_2m")
M, S = 0.7, 0.4  # mean and standard deviation of the Gaussian data
FIRST_ORDER = ("ddim", "euler")
UNEVEN = torch.tensor([1.0, 0.93, 0.7, 0.65, 0.31, 0.3, 0.07, 0.0], dtype=torch.float64)

schedules = pytest.mark.parametrize("schedule", NAMES)
samplers = pytest.mark.parametrize("sampler", SAMPLERS)
deterministic = pytest.mark.parametrize("sampler", DETERMINISTIC)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return randn_like(torch.empty(*shape, dtype=torch.float64), seeded(seed))


def levels(schedule: str, t: Tensor | float) -> tuple[float, float]:
    alpha, sigma = Schedule(schedule).alpha_sigma(torch.as_tensor(t, dtype=torch.float64))
    return float(alpha), float(sigma)


def gaussian(schedule: str, m: float = M, s: float = S) -> Predict:
    """The exact answer for data N(m, s^2): x0_hat = E[x_0 | x_t], a straight line in x_t."""

    def predict(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = levels(schedule, t)
        assert sigma > 0, "asked at zero noise, where nothing is left to predict"
        x0 = m + alpha * s**2 / (alpha**2 * s**2 + sigma**2) * (x - alpha * m)
        return Prediction(x0, (x - alpha * x0) / sigma)

    return predict


def final_law(
    monkeypatch, predict: Predict, sampler: str, times: Tensor, schedule: str
) -> tuple[float, float]:
    """Mean and variance of the result for x_1 ~ N(0, 1), without drawing anything.

    Everything is affine: x = b + a x_1 + sum_j c_j noise_j. Row 0 starts at 0, row 1 at 1, and
    row j + 2 starts at 0 and gets a noise of 1 in draw j only. That gives b, a and every c_j.
    """
    draws = iter(range(len(times)))

    def impulse(x: Tensor, generator: object) -> Tensor:
        return torch.zeros_like(x).index_fill_(0, torch.tensor([next(draws) + 2]), 1.0)

    monkeypatch.setattr(samplers_module, "randn_like", impulse)
    start = torch.zeros(len(times) + 1, 1, dtype=torch.float64)
    start[1] = 1
    end = sample(predict, start, times, Schedule(schedule), sampler=sampler)[:, 0]
    return float(end[0]), float(((end[1:] - end[0]) ** 2).sum())


# The grid and the start


def test_time_grid_goes_from_noise_to_exactly_zero() -> None:
    for steps in (1, 7, 50, 1000):
        times = time_grid(steps)
        assert times.dtype == torch.float64 and len(times) == steps + 1
        assert (times[0], times[-1]) == (1, 0)
        torch.testing.assert_close(times.diff(), torch.full((steps,), -1 / steps).double())
    assert time_grid(4, first=0.6)[0] == 0.6
    for name in NAMES:
        assert float(Schedule(name).sigma(time_grid(3)[-1])) == 0


def test_a_grid_of_1000_visits_every_step_of_the_table() -> None:
    """Law 6: step numbers 999 and 0 are both sampled; t = 0 itself is only arrived at."""
    seen = []

    def predict(x: Tensor, t: Tensor) -> Prediction:
        seen.append(round(float(t) * 1000) - 1)
        return gaussian("linear")(x, t)

    sample(predict, normal(1, 1), time_grid(1000), Schedule("linear"))
    assert seen == list(range(999, -1, -1))


@schedules
@pytest.mark.filterwarnings("ignore:schedule 'scaled_linear'")
def test_start_has_the_variance_that_training_ended_with(schedule: str) -> None:
    x0 = normal(100_000, 1)
    one = torch.tensor(1.0, dtype=torch.float64)
    trained = Diffusion(schedule, "x0").add_noise(x0, normal(100_000, 1, seed=1), one)
    start = initial_noise(x0, Schedule(schedule), seeded(2))
    assert abs(float(start.var() / trained.var()) - 1) < 5 * (4 / 100_000) ** 0.5
    assert torch.equal(start, initial_noise(x0, Schedule(schedule), seeded(2)))


def test_a_picture_left_at_the_end_of_the_schedule_is_warned_of() -> None:
    """Law 2: Stable Diffusion's schedule leaves .068 of the picture at t = 1."""
    with pytest.warns(UserWarning, match=r"'scaled_linear' ends with alpha\(1\) = 0.068"):
        initial_noise(normal(1, 1), Schedule("scaled_linear"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("linear", "cosine", "flow"):
            initial_noise(normal(1, 1), Schedule(name))


# Exact on Gaussian data


def ddpm_law(schedule: str, steps: int, start_variance: float = 1.0) -> tuple[float, float]:
    """Mean and variance of DDPM's chain, from equations 6 and 7 of arXiv 2006.11239."""
    bars = [1.0, *Schedule(schedule).table(steps)["alpha_bar"].tolist()]
    mean, variance = 0.0, start_variance
    for bar, before in zip(bars[:0:-1], bars[-2::-1], strict=True):
        beta = 1 - bar / before
        on_x0 = before**0.5 * beta / (1 - bar)
        on_x = (1 - beta) ** 0.5 * (1 - before) / (1 - bar)
        gain = bar**0.5 * S**2 / (bar * S**2 + 1 - bar)  # x0_hat = M + gain (x - sqrt(bar) M)
        slope = on_x + on_x0 * gain
        mean = slope * mean + on_x0 * (M - gain * bar**0.5 * M)
        variance = slope**2 * variance + (1 - before) / (1 - bar) * beta
    return mean, variance


@pytest.mark.parametrize("schedule", PRESERVING)
@pytest.mark.parametrize("steps", [1, 10, 200])
def test_ddpm_has_the_closed_form_law(monkeypatch, schedule: str, steps: int) -> None:
    found = final_law(monkeypatch, gaussian(schedule), "ddpm", time_grid(steps), schedule)
    assert found == pytest.approx(ddpm_law(schedule, steps), rel=1e-8, abs=1e-10)


def test_ddpm_with_all_steps_reproduces_the_data(monkeypatch) -> None:
    mean, variance = final_law(monkeypatch, gaussian("linear"), "ddpm", time_grid(1000), "linear")
    assert mean == pytest.approx(M, abs=1e-4) and variance == pytest.approx(S**2, rel=0.02)


@pytest.mark.parametrize("schedule", ["cosine", "flow"])
def test_ddpm_converges_in_law_at_first_order(monkeypatch, schedule: str) -> None:
    """Twice the steps, half the error of the variance, whatever the schedule."""
    errors = []
    for steps in (200, 400):
        law = final_law(monkeypatch, gaussian(schedule), "ddpm", time_grid(steps), schedule)
        errors.append(abs(law[1] - S**2))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.15)


def test_ddpm_with_real_noise_has_that_law() -> None:
    n, steps, schedule = 100_000, 20, Schedule("linear")
    end = sample(gaussian("linear"), normal(n, 1), time_grid(steps), schedule, seeded(1), "ddpm")
    mean, variance = ddpm_law("linear", steps)
    assert abs(float(end.mean()) - mean) < 5 * (variance / n) ** 0.5
    assert abs(float(end.var()) / variance - 1) < 5 * (2 / n) ** 0.5


@schedules
def test_ddim_with_eta_1_draws_from_the_posterior(schedule: str) -> None:
    """DDIM(eta = 1) is DDPM: x_s = mean of q(x_s | x_t, x0_hat) + its std times noise."""
    process, predict, x = Diffusion(schedule, "x0"), gaussian(schedule), normal(4, 1)
    states = ddim(predict, x, UNEVEN, Schedule(schedule), seeded(1), eta=1.0)
    generator = seeded(1)
    for t, s, state in zip(UNEVEN[:-2], UNEVEN[1:-1], states, strict=False):
        posterior = process.posterior(predict(x, t).x0, x, s, t)
        x = posterior.mean + posterior.std * randn_like(x, generator)
        torch.testing.assert_close(state.x, x, rtol=1e-8, atol=1e-8)
        x = state.x


@schedules
def test_eta_between_keeps_the_variance_of_each_level(schedule: str) -> None:
    """For one data point c every eta gives x_s ~ N(alpha_s c, sigma_s^2) (2010.02502, lemma 1)."""
    n, predict = 50_000, gaussian(schedule, s=0.0)
    alpha, sigma = levels(schedule, 1.0)
    start = alpha * M + sigma * normal(n, 1)
    for eta in (0.0, 0.5, 1.0):
        for state in ddim(predict, start, UNEVEN[:-1], Schedule(schedule), seeded(2), eta=eta):
            alpha, sigma = levels(schedule, state.t)
            assert abs(float(state.x.mean()) - alpha * M) < 5 * sigma / n**0.5
            assert abs(float(state.x.var()) / sigma**2 - 1) < 5 * (2 / n) ** 0.5


@pytest.mark.parametrize("schedule", PRESERVING)
def test_ddim_is_euler_in_variance_exploding_coordinates(schedule: str) -> None:
    """With u = x / alpha and r = sigma / alpha: u <- u + (r_s - r_t) eps_hat (2010.02502, 4.3)."""
    predict, x = gaussian(schedule), normal(5, 1)
    alpha, sigma = levels(schedule, 1.0)
    u = x / alpha
    for t, state in zip(UNEVEN[:-1], ddim(predict, x, UNEVEN, Schedule(schedule)), strict=True):
        alpha_s, sigma_s = levels(schedule, state.t)
        u = u + (sigma_s / alpha_s - sigma / alpha) * predict(alpha * u, t).eps
        torch.testing.assert_close(state.x, alpha_s * u, rtol=1e-7, atol=1e-7)
        alpha, sigma = alpha_s, sigma_s


@schedules
def test_euler_along_the_straight_line_is_ddim(schedule: str) -> None:
    x, curves = normal(5, 1), Schedule(schedule)
    pairs = (sample(gaussian(schedule), x, UNEVEN, curves, sampler=s) for s in ("euler", "ddim"))
    torch.testing.assert_close(*pairs, rtol=1e-9, atol=1e-9)


def test_flow_steps_are_the_papers() -> None:
    """Euler and Heun for dx/dt = v(x, t), v = eps_hat - x0_hat, written with v only."""
    predict, x = gaussian("flow"), normal(5, 1)

    def v(x: Tensor, t: Tensor) -> Tensor:
        x0, eps = predict(x, t)
        return eps - x0

    euler_x, heun_x = x, x
    for t, s in zip(UNEVEN[:-1], UNEVEN[1:], strict=True):
        euler_x = euler_x + (s - t) * v(euler_x, t)
        slope, ahead = v(heun_x, t), heun_x + (s - t) * v(heun_x, t)
        heun_x = ahead if s == 0 else heun_x + (s - t) / 2 * (slope + v(ahead, s))
    for name, expected in (("euler", euler_x), ("heun", heun_x)):
        found = sample(predict, x, UNEVEN, Schedule("flow"), sampler=name)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


# Steps and their order


@schedules
@deterministic
def test_a_single_data_point_is_reached_along_the_exact_line(schedule: str, sampler: str) -> None:
    """Law 13: any list of times will do; each state is alpha c + sigma eps at its own time."""
    alpha, sigma = levels(schedule, 1.0)
    eps = normal(5, 1)
    start = alpha * M + sigma * eps
    states = list(SAMPLERS[sampler](gaussian(schedule, s=0.0), start, UNEVEN, Schedule(schedule)))
    assert [state.t for state in states] == UNEVEN[1:].tolist()
    for state in states:
        alpha, sigma = levels(schedule, state.t)
        torch.testing.assert_close(state.x, alpha * M + sigma * eps, rtol=1e-8, atol=1e-8)


@pytest.fixture(scope="module")
def on_a_mixture() -> Callable[..., Tensor]:
    """Run a sampler with the exact denoiser of five modes, all from the same 32 points."""
    mixture, start = ring(5, std=0.35), normal(32, 2)

    def run(sampler: str, times: Tensor, schedule: str = "flow", dtype=torch.float64) -> Tensor:
        curves = Schedule(schedule)
        cast = GaussianMixture(
            *(x.to(dtype) for x in (mixture.means, mixture.covs, mixture.weights))
        )
        predict = predictor(Diffusion(schedule, "x0"), ExactDenoiser(cast, curves))
        scale = sum(levels(schedule, times[0]))
        return sample(predict, scale * start.to(dtype), times, curves, seeded(1), sampler)

    return run


@pytest.fixture(scope="module")
def truth(on_a_mixture) -> Tensor:
    return on_a_mixture("heun", time_grid(320))


@pytest.mark.parametrize(("sampler", "ratio"), [("ddim", 2), ("euler", 2), ("heun", 4)])
def test_order_of_convergence(on_a_mixture, truth: Tensor, sampler: str, ratio: int) -> None:
    """Law 14: half the step, half the error (first order) or a quarter of it (second order)."""
    errors = [
        float((on_a_mixture(sampler, time_grid(n)) - truth).norm(dim=1).mean())
        for n in (10, 20, 40)
    ]
    assert errors[0] / errors[1] == pytest.approx(ratio, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(ratio, rel=0.1)


def part_of_the_way(n: int) -> Tensor:
    """n equal steps in log(alpha / sigma) of the flow, from t = .9 to t = .05."""
    first, last = (torch.tensor(t, dtype=torch.float64).logit() for t in (0.9, 0.05))
    return torch.linspace(first, last, n + 1, dtype=torch.float64).sigmoid()


@pytest.mark.parametrize(
    ("sampler", "ratio"), [("ddim", 2), ("euler", 2), ("heun", 4), ("dpmpp_2m", 4)]
)
def test_order_of_convergence_between_the_ends(on_a_mixture, sampler: str, ratio: int) -> None:
    """Where log(alpha / sigma) is finite at both ends, DPM-Solver++(2M) has its full order, too."""
    truth = on_a_mixture("heun", part_of_the_way(320))
    errors = [
        float((on_a_mixture(sampler, part_of_the_way(n)) - truth).norm(dim=1).mean())
        for n in (20, 40, 80)
    ]
    assert errors[0] / errors[1] == pytest.approx(ratio, rel=0.12)
    assert errors[1] / errors[2] == pytest.approx(ratio, rel=0.12)


def test_dpm_solver_over_the_whole_way(on_a_mixture, truth: Tensor) -> None:
    """From t = 1 to 0 log(alpha / sigma) is infinite at both ends, which costs a logarithm: an
    eighth of the step leaves much less than DDIM's eighth of the error, if not a 64th."""
    errors = [
        float((on_a_mixture("dpmpp_2m", time_grid(n)) - truth).norm(dim=1).mean()) for n in (10, 80)
    ]
    assert 20 < errors[0] / errors[1] < 70


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m"])
def test_second_order_needs_fewer_looks_than_first(on_a_mixture, truth: Tensor, name: str) -> None:
    looks, steps = 15, {"heun": 8, "dpmpp_2m": 15}[name]
    error = float((on_a_mixture(name, time_grid(steps)) - truth).norm(dim=1).mean())
    first = float((on_a_mixture("ddim", time_grid(looks)) - truth).norm(dim=1).mean())
    assert error < first / 2


def test_second_order_by_hand() -> None:
    """DPM-Solver++(2M) as the paper writes it (2211.01095, algorithm 2), with h, r and exp(-h)."""
    times = torch.tensor([0.9, 0.7, 0.45, 0.3, 0.2], dtype=torch.float64)
    predict, curves, x = gaussian("cosine"), Schedule("cosine"), normal(5, 1)
    alpha, sigma = curves.alpha_sigma(times)
    lam = (alpha / sigma).log()
    states = list(dpmpp_2m(predict, x, times, curves))
    looks = [predict(x, times[0]).x0]
    h = float(lam[1] - lam[0])
    x = sigma[1] / sigma[0] * x - alpha[1] * math.expm1(-h) * looks[0]
    torch.testing.assert_close(states[0].x, x, rtol=1e-9, atol=1e-9)
    for i in range(2, len(times)):
        looks.append(predict(x, times[i - 1]).x0)
        h, before = float(lam[i] - lam[i - 1]), float(lam[i - 1] - lam[i - 2])
        r = before / h
        data = (1 + 1 / (2 * r)) * looks[-1] - 1 / (2 * r) * looks[-2]
        x = sigma[i] / sigma[i - 1] * x - alpha[i] * math.expm1(-h) * data
        torch.testing.assert_close(states[i - 1].x, x, rtol=1e-9, atol=1e-9)


# The equation that they solve


@schedules
def test_the_flow_carries_the_density(schedule: str) -> None:
    """Continuity: d/dt log p_t + div u + u . grad log p_t = 0 for u = dx/dt, on a mixture."""
    mixture, curves, t, h = ring(3, std=0.3), Schedule(schedule), 0.3505, 1e-5
    predict = predictor(Diffusion(schedule, "x0"), ExactDenoiser(mixture, curves))
    x = normal(20, 2).requires_grad_()
    velocity = probability_flow(predict, x, t, curves)
    divergence = sum(
        torch.autograd.grad(velocity[:, i].sum(), x, retain_graph=True)[0][:, i] for i in (0, 1)
    )
    at = [mixture.noised(*levels(schedule, t + d)) for d in (-h, 0, h)]
    change = (at[2].log_prob(x) - at[0].log_prob(x)) / (2 * h)
    rest = change + divergence + (velocity * at[1].score(x)).sum(1)
    torch.testing.assert_close(rest, torch.zeros_like(rest), rtol=0, atol=1e-4)
    assert velocity.abs().mean() > 0.1 and change.abs().mean() > 0.1


@deterministic
def test_samplers_without_noise_solve_that_equation(on_a_mixture, sampler: str) -> None:
    """Classical Runge-Kutta on dx/dt, against each sampler with many steps, from .9 to .1."""
    mixture, curves = ring(5, std=0.35), Schedule("flow")
    predict = predictor(Diffusion("flow", "x0"), ExactDenoiser(mixture, curves))
    times, x = torch.linspace(0.9, 0.1, 41, dtype=torch.float64), normal(32, 2)
    for t, s in zip(times[:-1], times[1:], strict=True):
        h, middle = s - t, (t + s) / 2
        a = probability_flow(predict, x, t, curves)
        b = probability_flow(predict, x + h / 2 * a, middle, curves)
        c = probability_flow(predict, x + h / 2 * b, middle, curves)
        d = probability_flow(predict, x + h * c, s, curves)
        x = x + h / 6 * (a + 2 * b + 2 * c + d)
    found = on_a_mixture(sampler, torch.linspace(0.9, 0.1, 161, dtype=torch.float64))
    torch.testing.assert_close(found, x, rtol=0, atol=2e-2 if sampler in FIRST_ORDER else 5e-4)


def same_ratio(schedule: str, flow_times: Tensor) -> Tensor:
    """The times at which `schedule` has the noise-to-picture ratio of flow, found by halving."""
    low, high = torch.zeros_like(flow_times), torch.ones_like(flow_times)
    for _ in range(60):
        middle = (low + high) / 2
        alpha, sigma = Schedule(schedule).alpha_sigma(middle)
        above = sigma / (alpha + sigma) > flow_times
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return torch.where(flow_times == 0, 0.0, middle)


@deterministic
@pytest.mark.parametrize("schedule", PRESERVING)
def test_schedules_are_only_clocks(on_a_mixture, sampler: str, schedule: str) -> None:
    """Visiting the same ratios of noise to picture, every schedule takes the same path."""
    times = time_grid(9, first=0.9)
    found = on_a_mixture(sampler, same_ratio(schedule, times), schedule)
    torch.testing.assert_close(found, on_a_mixture(sampler, times), rtol=0, atol=1e-8)


@samplers
@schedules
def test_float32_and_float64_agree(on_a_mixture, sampler: str, schedule: str) -> None:
    double = on_a_mixture(sampler, time_grid(30), schedule)
    single = on_a_mixture(sampler, time_grid(30), schedule, torch.float32)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-3)


@samplers
@schedules
def test_no_noise_and_no_question_at_the_last_step(sampler: str, schedule: str) -> None:
    """Law 15: x at t = 0 is x0_hat itself. (`gaussian` fails when it is asked at sigma = 0.)"""
    states = list(SAMPLERS[sampler](gaussian(schedule), normal(4, 1), UNEVEN, Schedule(schedule)))
    assert torch.allclose(states[-1].x, states[-1].x0, rtol=1e-12, atol=1e-12)
    assert states[-1].t == 0 and all(state.x.isfinite().all() for state in states)


@samplers
def test_states_count_evaluations_and_leave_the_start_alone(sampler: str) -> None:
    calls, start = [], normal(3, 1)
    untouched = start.clone()

    def predict(x: Tensor, t: Tensor) -> Prediction:
        calls.append(float(t))
        return gaussian("cosine")(x, t)

    counts = []
    for state in SAMPLERS[sampler](predict, start, time_grid(6), Schedule("cosine"), seeded(0)):
        assert state.evaluations == len(calls)
        counts.append(state.evaluations)
    assert counts[-1] == (11 if sampler == "heun" else 6) and torch.equal(start, untouched)
    last = sample(gaussian("cosine"), start, time_grid(6), Schedule("cosine"), seeded(0), sampler)
    assert torch.equal(last, state.x)


# Equal to diffusers


def network(schedule: str) -> Callable[[Tensor, int], Tensor]:
    """A fixed function of x and of the step number, in the place of an eps-network."""

    def output(x: Tensor, i: int) -> Tensor:
        alpha, sigma = levels(schedule, (i + 1) / 1000)
        return sigma * x + 0.2 * alpha * torch.tanh(3 * x)

    return output


STEP_LISTS = {
    "even": [900, 700, 500, 300, 100],  # step T // n each
    "from 999 to 0": [999, 777, 555, 333, 111, 0],
    "uneven": [999, 940, 500, 499, 20, 3],
}
BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
RANGES = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}
KINDS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}


def theirs_and_ours(monkeypatch, scheduler, timesteps, schedule, kind, sampler, **step) -> tuple:
    """The same network, noise and times through a scheduler of diffusers and a sampler of ours."""
    scheduler.alphas_cumprod = Schedule(schedule).table()["alpha_bar"]  # theirs, in float64
    output, start, generator = network(schedule), normal(3, 1, 4, 4), seeded(5)
    x = start
    for i in timesteps:
        x = scheduler.step(output(x, i), i, x, generator=generator, **step).prev_sample
    monkeypatch.setattr(  # diffusers draws in the type of x
        samplers_module, "randn_like", lambda x, g: torch.randn(x.shape, generator=g, dtype=x.dtype)
    )
    times = torch.tensor([*((i + 1) / 1000 for i in timesteps), 0], dtype=torch.float64)
    denoiser = lambda x, t, cond: output(x, round(float(t[0]) * 1000) - 1)  # noqa: E731
    predict = predictor(Diffusion(schedule, kind), denoiser)
    for state in sampler(predict, start, times, Schedule(schedule), seeded(5)):
        ours = state.x
    return x, ours


@pytest.mark.parametrize("schedule", PRESERVING)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", STEP_LISTS)
def test_ddpm_equals_diffusers(monkeypatch, schedule: str, kind: str, steps: str) -> None:
    from diffusers.schedulers import DDPMScheduler

    scheduler = DDPMScheduler(
        1000, beta_schedule=BETAS[schedule], prediction_type=KINDS[kind], clip_sample=False
    )
    scheduler.set_timesteps(timesteps=STEP_LISTS[steps])
    arguments = (scheduler, STEP_LISTS[steps], schedule, kind, SAMPLERS["ddpm"])
    theirs, ours = theirs_and_ours(monkeypatch, *arguments)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("schedule", PRESERVING)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_equals_diffusers(monkeypatch, schedule: str, kind: str, eta: float) -> None:
    from diffusers.schedulers import DDIMScheduler

    scheduler = DDIMScheduler(
        1000, beta_schedule=BETAS[schedule], prediction_type=KINDS[kind], clip_sample=False
    )
    scheduler.set_timesteps(5)  # 800, 600, 400, 200, 0: its steps know only T // n

    def run(*arguments):
        return ddim(*arguments, eta=eta)

    timesteps = scheduler.timesteps.tolist()
    arguments = (scheduler, timesteps, schedule, kind, run)
    theirs, ours = theirs_and_ours(monkeypatch, *arguments, eta=eta)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


def first_times(scheduler, schedule: str) -> Tensor:
    """The list of steps that a scheduler of diffusers walks, as our times."""
    steps = list(dict.fromkeys(scheduler.timesteps.tolist()))  # Heun's names each of them twice
    return torch.tensor([*((i + 1) / 1000 for i in steps), 0], dtype=torch.float64)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", STEP_LISTS)
def test_heun_in_exploding_coordinates_equals_diffusers(
    schedule: str, kind: str, steps: str
) -> None:
    """Step by step: theirs holds u = x / alpha, and looks twice at each level but the first."""
    from diffusers.schedulers import HeunDiscreteScheduler

    scheduler = HeunDiscreteScheduler(
        1000, beta_schedule=BETAS[schedule], prediction_type=KINDS[kind],
        beta_start=RANGES[schedule][0], beta_end=RANGES[schedule][1],
    )  # fmt: skip
    scheduler.alphas_cumprod = Schedule(schedule).table()["alpha_bar"]
    scheduler.set_timesteps(timesteps=STEP_LISTS[steps])
    output, start = network(schedule), normal(3, 1, 4, 4)
    times = first_times(scheduler, schedule)
    u, theirs = start / levels(schedule, times[0])[0], []
    for t in scheduler.timesteps:
        looked = output(scheduler.scale_model_input(u, t), int(t))
        u = scheduler.step(looked, t, u).prev_sample
        if scheduler.state_in_first_order:
            theirs.append(u)
    theirs.append(u)  # the last step is of first order
    denoiser = lambda x, t, cond: output(x, round(float(t[0]) * 1000) - 1)  # noqa: E731
    predict = predictor(Diffusion(schedule, kind), denoiser)
    states = list(heun(predict, start, times, Schedule(schedule), exploding=True))
    assert len(states) == len(STEP_LISTS[steps])
    for state, u in zip(states, theirs, strict=True):
        alpha, _ = levels(schedule, state.t)
        torch.testing.assert_close(state.x, alpha * u, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "cosine"])
@pytest.mark.parametrize("kind", ["v", "x0"])
@pytest.mark.parametrize(
    "steps", [[900, 700, 500, 300, 100], [999, 777, 555, 333, 111, 0], [999, 940, 500, 420, 20, 3]]
)
def test_dpm_solver_equals_diffusers(schedule: str, kind: str, steps: list[int]) -> None:
    """Step by step. (Theirs works in float32, so neighbours such as 500, 499 would amplify it.)"""
    from diffusers.schedulers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        1000, beta_schedule=BETAS[schedule], prediction_type=KINDS[kind],
        algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint",
    )  # fmt: skip
    scheduler.alphas_cumprod = Schedule(schedule).table()["alpha_bar"]
    scheduler.set_timesteps(timesteps=steps)
    output, x = network(schedule), normal(3, 1, 4, 4)
    denoiser = lambda x, t, cond: output(x, round(float(t[0]) * 1000) - 1)  # noqa: E731
    predict = predictor(Diffusion(schedule, kind), denoiser)
    ours = dpmpp_2m(predict, x, first_times(scheduler, schedule), Schedule(schedule))
    for t, state in zip(scheduler.timesteps, ours, strict=True):
        x = scheduler.step(output(x, int(t)), t, x).prev_sample
        torch.testing.assert_close(state.x, x.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m"])
def test_second_order_flow_steps_equal_diffusers(sampler: str) -> None:
    from diffusers.schedulers import DPMSolverMultistepScheduler, FlowMatchHeunDiscreteScheduler

    def velocity(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return torch.tanh(3 * x) * (1 + t.reshape(-1, 1, 1, 1))

    if sampler == "heun":
        scheduler = FlowMatchHeunDiscreteScheduler(1000, shift=3.0)
    else:
        scheduler = DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        )
    scheduler.set_timesteps(9)
    x = start = normal(3, 1, 4, 4).float()
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        x = scheduler.step(velocity(x, sigma.expand(3)), t, x).prev_sample
    times = scheduler.sigmas.double().unique().flip(0)  # Heun's names each of them twice
    predict = predictor(Diffusion("flow", "flow"), velocity)
    ours = sample(predict, start, times, Schedule("flow"), sampler=sampler)
    torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampler", ["euler", "ddim"])
def test_flow_steps_equal_diffusers(sampler: str) -> None:
    from diffusers.schedulers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(1000, shift=3.0)
    scheduler.set_timesteps(9)

    def velocity(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return torch.tanh(3 * x) * (1 + t.reshape(-1, 1, 1, 1))

    start = normal(3, 1, 4, 4).float()
    x = start
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        x = scheduler.step(velocity(x, sigma.expand(3)), t, x).prev_sample
    predict = predictor(Diffusion("flow", "flow"), velocity)
    ours = sample(predict, start, scheduler.sigmas.double(), Schedule("flow"), sampler=sampler)
    torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


# Clipping


def test_clipping_recomputes_the_noise() -> None:
    """Law 16: alpha x0_hat + sigma eps_hat is still x after the clip."""
    schedule, x = Schedule("cosine"), 3 * normal(50, 1)
    plain = predictor(Diffusion("cosine", "eps"), lambda x, t, cond: 0.3 * x)
    for t in UNEVEN[1:-1]:
        alpha, sigma = levels("cosine", t)
        before, after = plain(x, t), clipped(plain, schedule)(x, t)
        assert torch.equal(after.x0, before.x0.clamp(-1, 1))
        torch.testing.assert_close(alpha * after.x0 + sigma * after.eps, x)
        inside = before.x0.abs() <= 1
        torch.testing.assert_close(after.eps[inside], before.eps[inside])
        assert inside.any() and not torch.allclose(after.eps, before.eps)


def test_clipping_takes_other_bounds_and_survives_zero_noise() -> None:
    plain = predictor(Diffusion("flow", "flow"), lambda x, t, cond: 0.3 * x)
    x = 3 * normal(50, 1)
    found = clipped(plain, Schedule("flow"), -0.5, 2.0)(x, UNEVEN[-1])
    assert (found.x0.min(), found.x0.max()) == (-0.5, 2.0) and found.eps.isfinite().all()


@samplers
def test_clipped_results_are_pictures_and_others_are_left_alone(sampler: str) -> None:
    """Data around 3 lie outside [-1, 1]: as pixels they are clipped, as latents never."""
    schedule, predict, x = Schedule("flow"), gaussian("flow", m=3.0), normal(20, 1)
    latents = sample(predict, x, UNEVEN, schedule, seeded(0), sampler)
    pixels = sample(clipped(predict, schedule), x, UNEVEN, schedule, seeded(0), sampler)
    assert latents.mean() > 2.5 and latents.max() > 3
    assert pixels.abs().max() <= 1 and pixels.mean() > 0.9


# Guidance


class Labelled:
    """A network whose output depends on the label and on the channel; it notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        assert len(x) == len(t) == len(cond)
        self.asked.append(cond)
        channel = torch.arange(1.0, x.shape[1] + 1, dtype=x.dtype).reshape(1, -1, 1, 1)
        return (cond + 2.0).reshape(-1, 1, 1, 1) * channel * x.sin()


COND = torch.tensor([0, 3, -1, 5])


def guided_output(guidance: float) -> tuple[Tensor, Labelled]:
    asked = Labelled()
    predict = predictor(Diffusion("flow", "x0"), asked, COND, guidance)
    return predict(normal(4, 4, 2, 2), UNEVEN[2]).x0, asked


def test_guidance_1_is_the_conditional_model_exactly() -> None:
    x = normal(4, 4, 2, 2)
    found, asked = guided_output(1.0)
    assert torch.equal(found, Labelled()(x, torch.zeros(4), COND))
    assert len(asked.asked) == 1 and torch.equal(asked.asked[0], COND)


def test_guidance_0_is_the_unconditional_model_exactly() -> None:
    x, nothing = normal(4, 4, 2, 2), torch.full((4,), -1)
    found, asked = guided_output(0.0)
    assert torch.equal(found, Labelled()(x, torch.zeros(4), nothing))
    assert len(asked.asked) == 1 and torch.equal(asked.asked[0], nothing)


@pytest.mark.parametrize("guidance", [0.5, 1.5, 7.0, -1.0])
def test_guidance_is_linear_in_every_channel(guidance: float) -> None:
    found, asked = guided_output(guidance)
    with_label, without = guided_output(1.0)[0], guided_output(0.0)[0]
    torch.testing.assert_close(found, without + guidance * (with_label - without))
    assert len(asked.asked) == 1 and asked.asked[0].tolist() == [*COND.tolist(), -1, -1, -1, -1]
    torch.testing.assert_close(found[2], without[2])  # a label left open is not guided anywhere


@pytest.mark.parametrize(
    "t, acts", [(0.29, False), (0.3, True), (0.6, True), (0.9, True), (0.91, False)]
)
def test_guidance_acts_only_inside_its_interval(t: float, acts: bool) -> None:
    x, asked = normal(4, 4, 2, 2), Labelled()
    predict = predictor(Diffusion("flow", "x0"), asked, COND, 3.0, (0.3, 0.9))
    found = predict(x, torch.tensor(t)).x0
    torch.testing.assert_close(found, guided_output_at(x, t, 3.0 if acts else 1.0))
    assert len(asked.asked[0]) == (8 if acts else 4)  # what does not act costs nothing


def guided_output_at(x: Tensor, t: float, guidance: float) -> Tensor:
    return predictor(Diffusion("flow", "x0"), Labelled(), COND, guidance)(x, torch.tensor(t)).x0


def test_the_guidance_interval_holds_for_each_picture_of_a_batch() -> None:
    x, t = normal(4, 4, 2, 2), torch.tensor([0.2, 0.5, 0.8, 0.95])
    for guidance in (0.0, 3.0):
        predict = predictor(Diffusion("flow", "x0"), Labelled(), COND, guidance, (0.3, 0.9))
        found = predict(x, t).x0
        for i, time in enumerate(t.tolist()):
            alone = guided_output_at(x, time, guidance if 0.3 <= time <= 0.9 else 1.0)
            torch.testing.assert_close(found[i], alone[i])


@pytest.mark.parametrize("interval", [(0.9, 0.3), (-0.1, 0.5), (0.5, 1.1)])
def test_a_guidance_interval_outside_of_the_times_is_refused(interval) -> None:
    with pytest.raises(ValueError, match="0 <= low <= high <= 1"):
        predictor(Diffusion("flow", "x0"), Labelled(), COND, 2.0, interval)


def test_labels_are_never_dropped_while_sampling() -> None:
    asked = Labelled()
    predict = predictor(Diffusion("flow", "x0"), asked, COND, 2.0)
    sample(predict, normal(4, 4, 2, 2), time_grid(20), Schedule("flow"), sampler="ddim")
    assert len(asked.asked) == 20
    assert all(torch.equal(labels[:4], COND) for labels in asked.asked)


def test_guidance_works_for_points_as_for_pictures() -> None:
    def network(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return x * (cond[:, None] + 2)

    x = normal(4, 2)
    found = predictor(Diffusion("flow", "x0"), network, COND, 3.0)(x, UNEVEN[2]).x0
    torch.testing.assert_close(found, x * (1 + 3.0 * (COND[:, None] + 1)))


def test_guidance_above_1_does_not_sample_the_class(monkeypatch) -> None:
    """Law 17, exactly: p(x | c) = N(1, .5^2) and p(x) = N(0, 1).

    With w = 1 the samples have the class's law. With w = 3 they lie beyond it and vary less, and
    they do not have the law p(x) (p(x | c) / p(x))^w either, that is often said to be sampled.
    """
    data = {-1: (0.0, 1.0), 0: (1.0, 0.5)}

    def network(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        parts = [gaussian("flow", *data[int(c)])(x[i], t[i]).x0 for i, c in enumerate(cond)]
        return torch.stack(parts)

    def law(guidance: float) -> tuple[float, float]:
        """From the two rows that `final_law` needs when nothing is drawn."""
        predict = predictor(Diffusion("flow", "x0"), network, torch.zeros(2).long(), guidance)
        start = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        end = sample(predict, start, time_grid(100), Schedule("flow"), sampler="heun")
        return float(end[0]), abs(float(end[1] - end[0]))

    assert law(1.0) == pytest.approx(data[0], abs=1e-3)
    assert law(0.0) == pytest.approx(data[-1], abs=1e-3)
    mean, std = law(3.0)
    assert mean > 1.2 and std < 0.4
    precision = 3 / 0.5**2 - 2
    tilted = (3 * 1 / 0.5**2) / precision, precision**-0.5
    assert abs(mean - tilted[0]) > 0.02 or abs(std - tilted[1]) > 0.02


# Randomness


@samplers
@schedules
@pytest.mark.filterwarnings("ignore:schedule 'scaled_linear'")
def test_a_sample_does_not_depend_on_its_batch(sampler: str, schedule: str) -> None:
    """Law 18, bit for bit: one generator a sample."""
    curves = Schedule(schedule)

    def run(n: int, start: int) -> Tensor:
        generators = per_sample_generators(3, n, start)
        noise = initial_noise(torch.empty(n, 2, 3, 3), curves, generators)
        return sample(gaussian(schedule), noise, UNEVEN, curves, generators, sampler)

    whole = run(7, 0)
    assert torch.equal(whole, torch.cat([run(1, 0), run(4, 1), run(2, 5)]))
    assert len(whole.flatten(1).unique(dim=0)) == 7


@samplers
def test_a_generator_makes_runs_repeat(sampler: str) -> None:
    def run(seed: int) -> Tensor:
        start = torch.ones(3, 1, dtype=torch.float64)
        return sample(gaussian("flow"), start, UNEVEN, Schedule("flow"), seeded(seed), sampler)

    assert torch.equal(run(0), run(0))
    assert torch.equal(run(0), run(1)) == (sampler in DETERMINISTIC)


def test_sampling_keeps_no_graph() -> None:
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    predict = predictor(Diffusion("flow", "x0"), lambda x, t, cond: weight * x)
    assert not sample(predict, normal(2, 1), UNEVEN, Schedule("flow")).requires_grad
    *_, last = heun(predict, normal(2, 1), UNEVEN, Schedule("flow"))
    assert last.x.requires_grad  # the generators leave it open, for those who want gradients


# Bad input


@pytest.mark.parametrize("steps", [0, -3])
def test_a_grid_needs_a_step(steps: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 step, not {steps}"):
        time_grid(steps)


def test_unknown_samplers_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'plms'; known are ddpm, ddim, euler, heun, dpmpp_2m"):
        sample(gaussian("flow"), normal(1, 1), UNEVEN, Schedule("flow"), sampler="plms")


def test_a_sampler_of_ones_own_needs_no_name() -> None:
    half, x = partial(ddim, eta=0.5), normal(4, 1)
    run = (gaussian("flow"), x, UNEVEN, Schedule("flow"))
    *_, last = half(*run, seeded(0))
    assert get_sampler(half) is half
    assert torch.equal(sample(*run, seeded(0), sampler=half), last.x)


@pytest.mark.parametrize("eta", [-0.1, 1.5])
def test_eta_is_a_share(eta: float) -> None:
    with pytest.raises(ValueError, match=f"eta is 0 .* to 1 .*, not {eta}"):
        list(ddim(gaussian("flow"), normal(1, 1), UNEVEN, Schedule("flow"), eta=eta))


def test_exploding_coordinates_need_a_picture_in_the_noise() -> None:
    with pytest.raises(ValueError, match="alpha, which is 0 at t = 1 of schedule 'flow'"):
        list(heun(gaussian("flow"), normal(1, 1), UNEVEN, Schedule("flow"), exploding=True))


@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_guidance_without_labels_is_refused(guidance: float) -> None:
    with pytest.raises(ValueError, match=f"guidance {guidance} needs labels"):
        predictor(Diffusion("flow", "flow"), Labelled(), None, guidance)
