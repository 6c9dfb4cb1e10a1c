"""Laws of `diffusion.schedule`: closed forms, the papers' tables, what holds at the ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ldmlib.diffusion.schedule import NAMES, Schedule, linear_betas, per_image

PRESERVING = ("linear", "scaled_linear", "cosine")  # alpha^2 + sigma^2 = 1
DIFFUSERS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
FIRST_AND_LAST_BETA = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012), "cosine": (0, 0)}

preserving = pytest.mark.parametrize("name", PRESERVING)
every = pytest.mark.parametrize("name", NAMES)


def betas_of_the_paper(name: str) -> np.ndarray:
    """The 1000 betas, written a second time: with NumPy, step by step, from the papers' words."""
    i = np.arange(1000)
    if name == "linear":
        return 1e-4 + (0.02 - 1e-4) * i / 999
    if name == "scaled_linear":
        return (np.sqrt(0.00085) + (np.sqrt(0.012) - np.sqrt(0.00085)) * i / 999) ** 2

    def curve(t: np.ndarray) -> np.ndarray:
        return np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2

    return np.minimum(1 - curve((i + 1) / 1000) / curve(i / 1000), 0.999)


def times(n: int = 1001) -> torch.Tensor:
    return torch.linspace(0, 1, n, dtype=torch.float64)


# Tables


@preserving
def test_table_is_the_papers_table(name: str) -> None:
    table, betas = Schedule(name).table(), torch.from_numpy(betas_of_the_paper(name))
    torch.testing.assert_close(table["beta"], betas, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(table["alpha"], 1 - betas, rtol=1e-9, atol=0)
    torch.testing.assert_close(table["alpha_bar"], (1 - betas).cumprod(0), rtol=1e-9, atol=0)
    assert all(column.dtype == torch.float64 for column in table.values())


@preserving
def test_table_equals_diffusers(name: str) -> None:
    from diffusers.schedulers import DDIMScheduler, DDPMScheduler

    first, last = FIRST_AND_LAST_BETA[name]
    arguments = {"num_train_timesteps": 1000, "beta_schedule": DIFFUSERS[name]}
    arguments |= {"beta_start": first, "beta_end": last} if last else {}
    for scheduler in (DDPMScheduler(**arguments), DDIMScheduler(**arguments)):
        table = Schedule(name).table()
        for theirs, ours in (
            ("betas", "beta"),
            ("alphas", "alpha"),
            ("alphas_cumprod", "alpha_bar"),
        ):
            expected = getattr(scheduler, theirs)  # float32, hence the tolerance
            torch.testing.assert_close(table[ours].float(), expected, rtol=2e-5, atol=1e-7)


@preserving
@pytest.mark.parametrize("steps", [1, 7, 50, 1000, 4000])
def test_table_reads_the_curve_at_i_plus_1_over_T(name: str, steps: int) -> None:
    schedule, table = Schedule(name), Schedule(name).table(steps)
    for i in {0, steps // 2, steps - 1}:
        alpha = schedule.alpha(torch.tensor((i + 1) / steps, dtype=torch.float64))
        assert float(table["alpha_bar"][i]) == pytest.approx(float(alpha) ** 2, rel=1e-12)
    product = table["alpha"].cumprod(0)
    torch.testing.assert_close(product, table["alpha_bar"], rtol=1e-10, atol=0)


@every
def test_the_end_does_not_depend_on_the_number_of_steps(name: str) -> None:
    last = [float(Schedule(name).table(steps)["alpha_bar"][-1]) for steps in (1, 50, 1000)]
    assert last[0] == last[1] == last[2] == Schedule(name).terminal_alpha ** 2


def test_linear_betas_without_rescaling_leave_the_picture_visible() -> None:
    """The mistake that the law above excludes: 50 steps with the betas meant for 1000."""
    naive = float((1 - linear_betas(steps=50)).prod())
    assert naive == pytest.approx(0.60, abs=0.005)
    assert float(Schedule("linear").table(50)["alpha_bar"][-1]) < 1e-4


@pytest.mark.parametrize(
    ("name", "digits"), [("linear", "0.0064"), ("scaled_linear", "0.068"), ("flow", "0")]
)
def test_terminal_alpha_is_as_documented(name: str, digits: str) -> None:
    assert f"{Schedule(name).terminal_alpha:.2g}" == digits
    assert digits in Schedule.terminal_alpha.__doc__


def test_cosine_ends_below_the_documented_bound() -> None:
    assert 0 < Schedule("cosine").terminal_alpha < 1e-4


@every
def test_every_step_adds_noise_and_none_destroys_all(name: str) -> None:
    table = Schedule(name).table()
    bar, beta = table["alpha_bar"], table["beta"]
    assert (bar.diff() < 0).all() and bar[0] < 1
    inner = beta if name != "flow" else beta[:-1]
    assert (inner > 0).all() and (inner < 1).all()
    if name == "cosine":
        assert beta.max() == pytest.approx(0.999)


# Curves


@every
def test_curves_run_from_picture_to_noise(name: str) -> None:
    alpha, sigma = Schedule(name).alpha_sigma(times())
    assert (float(alpha[0]), float(sigma[0])) == (1, 0)
    assert (alpha.diff() < 0).all() and (sigma.diff() >= 0).all()
    assert (Schedule(name).log_snr(times()).diff()[1:] < 0).all()


@preserving
def test_variance_is_preserved(name: str) -> None:
    alpha, sigma = Schedule(name).alpha_sigma(times(997))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(997, dtype=torch.float64))


def test_flow_is_a_straight_line() -> None:
    t = times(11)
    alpha, sigma = Schedule("flow").alpha_sigma(t)
    assert torch.equal(alpha, 1 - t) and torch.equal(sigma, t)


@preserving
def test_between_the_steps_log_alpha_bar_is_linear(name: str) -> None:
    i = torch.arange(0, 1000, 37, dtype=torch.float64)
    left, middle, right = (Schedule(name).alpha((i + d) / 1000).log() for d in (0, 0.5, 1))
    torch.testing.assert_close(middle, (left + right) / 2, rtol=1e-9, atol=1e-12)


@every
def test_snr_is_alpha_over_sigma_squared(name: str) -> None:
    t = times(101)[1:]
    alpha, sigma = Schedule(name).alpha_sigma(t)
    torch.testing.assert_close(Schedule(name).snr(t), alpha**2 / sigma**2)
    torch.testing.assert_close(Schedule(name).log_snr(t), 2 * (alpha / sigma).log())
    assert float(Schedule(name).snr(0.0)) == float(Schedule(name).log_snr(0.0)) == float("inf")


@every
def test_computed_in_float64_and_cast_last(name: str) -> None:
    t = torch.rand(200, generator=torch.Generator().manual_seed(0))
    for precise, cast in zip(
        Schedule(name).alpha_sigma(t.double()), Schedule(name).alpha_sigma(t), strict=True
    ):
        assert cast.dtype == torch.float32 and precise.dtype == torch.float64
        assert torch.equal(cast, precise.float())
    first_beta = float(Schedule("linear").sigma(torch.tensor(0.001, dtype=torch.float64))) ** 2
    assert first_beta == pytest.approx(1e-4, rel=1e-12)  # 1 - abar would lose it to rounding


@every
def test_times_of_any_kind_and_shape(name: str) -> None:
    schedule = Schedule(name)
    for t in (0.5, torch.tensor(0.5), torch.full((2, 3), 0.5)):
        alpha, sigma = schedule.alpha_sigma(t)
        assert alpha.shape == sigma.shape == torch.as_tensor(t).shape
        assert torch.equal(alpha, schedule.alpha(t)) and torch.equal(sigma, schedule.sigma(t))
    assert float(schedule.alpha(1)) == pytest.approx(schedule.terminal_alpha, rel=1e-6)


def test_per_image_lines_numbers_up_with_pictures() -> None:
    x = torch.ones(3, 2, 4, 4)
    scaled = per_image(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), x) * x
    assert scaled.dtype == x.dtype and scaled.shape == x.shape
    assert scaled[:, 1, 2, 3].tolist() == [1, 2, 3]
    assert torch.equal(per_image(torch.tensor(2.0), x) * x, 2 * x)


# Bad input


@pytest.mark.parametrize("t", [-0.01, 1.01, 500, float("nan")])
def test_times_outside_are_named(t: float) -> None:
    with pytest.raises(ValueError, match=r"t must lie in \[0, 1\].*\(i \+ 1\) / T"):
        Schedule("linear").alpha_sigma(torch.tensor([0.5, t]))


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'quadratic'; known are linear, .*cosine, flow"):
        Schedule("quadratic")


def test_a_table_needs_a_step() -> None:
    with pytest.raises(ValueError, match="at least 1 step, not 0"):
        Schedule("linear").table(0)
