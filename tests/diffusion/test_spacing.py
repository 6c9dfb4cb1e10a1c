"""Laws of `diffusion.spacing`: grids that fall from noise to nothing, equal to diffusers' lists."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.samplers import SAMPLERS, sample
from ldmlib.diffusion.schedule import NAMES, Schedule
from ldmlib.diffusion.spacing import SPACINGS, karras, spaced_times, time_grid, time_of_ratio
from ldmlib.probability.exact_denoisers import ExactDenoiser
from ldmlib.probability.mixtures import ring
from ldmlib.rng import randn_like, seeded

spacings = pytest.mark.parametrize("spacing", SPACINGS)
schedules = pytest.mark.parametrize("schedule", NAMES)


def ratio(schedule: str, t: Tensor) -> Tensor:
    alpha, sigma = Schedule(schedule).alpha_sigma(t)
    return sigma / alpha


@spacings
@schedules
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 1000])
def test_grids_fall_from_noise_to_exactly_nothing(spacing: str, schedule: str, steps: int) -> None:
    times = spaced_times(spacing, steps, Schedule(schedule))
    assert times.dtype == torch.float64 and times.shape == (steps + 1,)
    assert bool((times.diff() < 0).all()) and times[-1] == 0
    assert float(Schedule(schedule).sigma(times[-1])) == 0


@schedules
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_the_first_look_is_at_the_noise_itself_but_for_leading(schedule: str, steps: int) -> None:
    """Law 6. `leading` begins where there should be some picture (arXiv 2305.08891)."""
    first = {name: float(spaced_times(name, steps, Schedule(schedule))[0]) for name in SPACINGS}
    assert first.pop("leading") == pytest.approx(1 - 1 / steps + 1 / 1000)
    assert set(first.values()) == {1.0}


@schedules
def test_trailing_is_the_even_grid(schedule: str) -> None:
    assert torch.equal(spaced_times("trailing", 7, Schedule(schedule)), time_grid(7))


@pytest.mark.parametrize("steps", [1, 5, 20, 50, 1000])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_even_spacings_equal_diffusers(spacing: str, steps: int) -> None:
    """Their step i of T = 1000 is our time (i + 1) / T; theirs are rounded to whole steps."""
    from diffusers.schedulers import DDIMScheduler

    if (spacing, steps) == ("linspace", 1):
        pytest.skip("theirs begins, and ends, at the first step of the table")
    scheduler = DDIMScheduler(1000, timestep_spacing=spacing, steps_offset=0)
    scheduler.set_timesteps(steps)
    theirs = (scheduler.timesteps.double() + 1) / 1000
    ours = spaced_times(spacing, steps, Schedule("linear"))[:-1]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.5001 / 1000)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear"])
@pytest.mark.parametrize("steps", [2, 5, 18])
def test_karras_levels_equal_diffusers(schedule: str, steps: int) -> None:
    from diffusers.schedulers import HeunDiscreteScheduler

    scheduler = HeunDiscreteScheduler(1000, use_karras_sigmas=True)
    scheduler.alphas_cumprod = Schedule(schedule).table()["alpha_bar"]
    scheduler.set_timesteps(steps)
    theirs = scheduler.sigmas.double().unique().flip(0)[:-1]
    ours = karras(steps, Schedule(schedule), smallest=float(theirs[-1]), largest=1e9)
    torch.testing.assert_close(ratio(schedule, ours[:-1]), theirs, rtol=1e-5, atol=1e-6)


@schedules
@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
def test_karras_is_even_in_the_root_of_the_ratio(schedule: str, rho: float) -> None:
    times = karras(12, Schedule(schedule), rho=rho, smallest=0.01, largest=10.0)
    roots = ratio(schedule, times[1:-1]) ** (1 / rho)  # the first look is at t = 1 in any case
    gaps = roots.diff()
    torch.testing.assert_close(gaps, gaps.mean().expand_as(gaps), rtol=1e-6, atol=1e-9)
    assert float(roots[-1] ** rho) == pytest.approx(0.01)


@schedules
def test_times_of_ratios_are_the_inverse(schedule: str) -> None:
    t = torch.linspace(0.001, 0.999, 97, dtype=torch.float64)
    torch.testing.assert_close(time_of_ratio(Schedule(schedule), ratio(schedule, t)), t)


@spacings
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("schedule", ["flow", "cosine"])
@pytest.mark.parametrize("steps", [1, 7, 60])
def test_samplers_finish_on_every_grid(
    spacing: str, sampler: str, schedule: str, steps: int
) -> None:
    """Laws 13 and 15: no NaN, and with many steps every grid ends on the ring."""
    curves, mixture = Schedule(schedule), ring(5, std=0.1)
    predict = predictor(Diffusion(schedule, "x0"), ExactDenoiser(mixture, curves))
    start = randn_like(torch.empty(40, 2, dtype=torch.float64), seeded(0))
    times = spaced_times(spacing, steps, curves)
    found = sample(predict, start, times, curves, seeded(1), sampler)
    assert bool(found.isfinite().all())
    if steps == 60:
        assert abs(float(found.norm(dim=1).mean()) - 1) < 0.1


@spacings
@pytest.mark.parametrize("steps", [0, -3])
def test_every_spacing_needs_a_step(spacing: str, steps: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 step, not {steps}"):
        spaced_times(spacing, steps, Schedule("flow"))


def test_unknown_spacings_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'even'; known are trailing, linspace, leading, karras"):
        spaced_times("even", 5, Schedule("flow"))


@spacings
def test_grids_at_the_ends_of_what_is_asked(spacing: str) -> None:
    """As many steps as the table has, one less, one more; and NumPy's whole numbers."""
    import numpy as np

    for steps in (1, 999, 1000, np.int64(7)):
        times = spaced_times(spacing, steps, Schedule("linear"))
        assert len(times) == steps + 1 and times[0] <= 1 and times[-1] == 0
        assert bool((times.diff() < 0).all())
    if spacing == "leading":
        with pytest.raises(ValueError, match="at most 1,000 steps, not 1,001"):
            spaced_times(spacing, 1001, Schedule("linear"))
    else:
        assert len(spaced_times(spacing, 1001, Schedule("linear"))) == 1002
    with pytest.raises(ValueError, match="steps, not 1,000,000"):
        spaced_times(spacing, 10**6, Schedule("linear"))
    for steps in (2.5, 5.0, float("nan"), "5", True, None):
        with pytest.raises(TypeError, match="whole number of steps"):
            spaced_times(spacing, steps, Schedule("linear"))
