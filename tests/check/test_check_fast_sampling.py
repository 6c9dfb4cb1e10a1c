"""The checks of notebook 08: the right answer passes, each mistake is named in its own words."""

from __future__ import annotations

import pytest
import torch

from check_output import said
from ldmlib.check import fast_sampling as check
from ldmlib.diffusion.samplers import ddim, dpmpp_2m, heun
from ldmlib.diffusion.schedule import Schedule
from ldmlib.diffusion.spacing import karras, time_of_ratio


@pytest.mark.parametrize("name", ["ddim_step", "heun_step", "aim", "karras"])
@pytest.mark.parametrize("answer", [..., None, lambda *args: ...])
def test_a_stub_is_not_filled_in(name: str, answer, capsys) -> None:
    assert "not filled in yet" in said(capsys, getattr(check, name), answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, p, a, n, b, m: b * p + m / n * (x - a * p), "Right"),
        (lambda x, p, a, n, b, m: b * p + n * (x - a * p) / n, "at s it is sigma_s"),
        (lambda x, p, a, n, b, m: a * p + m * (x - a * p) / n, "at s it is alpha_s"),
        (lambda x, p, a, n, b, m: b * p + m * (x - a * p), "divide by sigma_t"),
        (lambda x, p, a, n, b, m: b * p + m * (x - p) / n, "subtract that"),
        (lambda x, p, a, n, b, m: b * p + m**2 * (x - a * p) / n, "no square here"),
        (lambda x, p, a, n, b, m: b * p + m * x, "x_t itself is not the noise"),
        (lambda x, p, a, n, b, m: b * p, "sigma_s eps is missing"),
        (lambda x, p, a, n, b, m: x, "nothing was recombined"),
        (lambda x, p, a, n, b, m: b * p + m * torch.randn_like(x), "x_s should be"),
    ],
)
def test_ddim_step(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.ddim_step, answer)


def euler(u, x, t, s):
    return x + (s - t) * u(x, t)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda u, x, t, s: x + (s - t) * (u(x, t) + u(euler(u, x, t, s), s)) / 2, "Right"),
        (euler, "Euler's step"),
        (lambda u, x, t, s: x + (s - t) * (u(x, t) + u(x, s)) / 2, "second look is at x"),
        (lambda u, x, t, s: x + (s - t) * (u(x, t) + u(euler(u, x, t, s), t)) / 2, "old time"),
        (lambda u, x, t, s: x + (s - t) * (u(x, t) + u(euler(u, x, t, s), s)), "take their mean"),
        (lambda u, x, t, s: x + (s - t) * u(euler(u, x, t, s), s), "only the second"),
        (lambda u, x, t, s: euler(u, x, t, s) + (s - t) / 2 * (u(x, t) + u(euler(u, x, t, s), s)),
         "begin again at x"),
        (lambda u, x, t, s: x + (s - t) * u(euler(u, x, t, (t + s) / 2), (t + s) / 2), "midpoint"),
        (lambda u, x, t, s: x + (t - s) / 2 * (u(x, t) + u(x + (t - s) * u(x, t), s)), "below t"),
        (lambda u, x, t, s: x, "no step was made"),
        (lambda u, x, t, s: x + 7, "x_s should be"),
    ],
)  # fmt: skip
def test_heun_step(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.heun_step, answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x0, last, h, g: (1 + h / g / 2) * x0 - h / g / 2 * last, "Right"),
        (lambda x0, last, h, g: x0 + h / g * (x0 - last), "the end of the step"),
        (lambda x0, last, h, g: x0 + g / h / 2 * (x0 - last), "upside down"),
        (lambda x0, last, h, g: x0 + (x0 - last) / 2, "equal steps"),
        (lambda x0, last, h, g: x0 + h / g / 2 * (last - x0), "wrong way round"),
        (lambda x0, last, h, g: last + h / g / 2 * (x0 - last), "begins at this look"),
        (lambda x0, last, h, g: x0 + h / 2 * (x0 - last), "division is missing"),
        (lambda x0, last, h, g: (x0 + last) / 2, "behind us"),
        (lambda x0, last, h, g: x0, "DDIM's aim"),
        (lambda x0, last, h, g: last, "the aim should be"),
    ],
)
def test_aim(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.aim, answer)


def levels(n, largest, smallest, rho=7.0):
    roots = torch.linspace(largest ** (1 / rho), smallest ** (1 / rho), n, dtype=torch.float64)
    return roots**rho


def ended(x):
    return torch.cat([x, x.new_zeros(1)])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n, a, b: ended(levels(n, a, b)), "Right"),
        (levels, "0, is missing"),
        (lambda n, a, b: ended(levels(n, a, b)).flip(0), "the levels rise"),
        (lambda n, a, b: ended(levels(n, b, a)), "rise before the 0"),
        (lambda n, a, b: ended(levels(n, a, b, rho=1)), "levels themselves have equal distances"),
        (lambda n, a, b: ended(levels(n, a, b, rho=1 / 7)), "not level^7"),
        (lambda n, a, b: ended(levels(n, a, b) ** (1 / 7)), "raise them"),
        (lambda n, a, b: ended(a * (b / a) ** torch.linspace(0, 1, n).double()), "another spacing"),
        (lambda n, a, b: ended(levels(n + 1, a, b)), "one level too many"),
        (lambda n, a, b: levels(n + 1, a, 0.0), "0 comes after it"),
        (lambda n, a, b: ended(levels(n, a, b, rho=5)), "another root than the 7th"),
        (lambda n, a, b: ended(levels(n, a, b)) + 1, "the list of levels should be"),
    ],
)
def test_karras(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.karras, answer)


def test_the_right_answers_are_the_librarys(capsys) -> None:
    """What the checks call right is what `diffusion.samplers` and `diffusion.spacing` do."""
    from ldmlib.diffusion.process import Prediction

    curves, (t, s) = Schedule("flow"), torch.tensor([0.9, 0.5], dtype=torch.float64)
    (a, b), (n, m) = curves.alpha(torch.stack([t, s])), curves.sigma(torch.stack([t, s]))

    def ours(x, x0, *levels):
        state = next(ddim(lambda x, t: Prediction(x0, (x - a * x0) / n), x, torch.stack([t, s]),
                          curves))  # fmt: skip
        alpha_t, sigma_t, alpha_s, sigma_s = levels
        eps = (x - a * x0) / n
        assert torch.allclose(state.x, b * x0 + m * eps)
        return alpha_s * x0 + sigma_s * (x - alpha_t * x0) / sigma_t

    assert check.ddim_step(ours)

    def stepped(u, x, t, s):  # a velocity u: eps - x0 = u, with x = (1 - t) x0 + t eps
        predict = lambda x, t: Prediction(x - t * u(x, t), x + (1 - t) * u(x, t))  # noqa: E731
        return next(heun(predict, x, torch.tensor([t, s], dtype=torch.float64), curves)).x

    assert check.heun_step(stepped)

    def read_off(x0, last_x0, h, last_h):
        """The aim of the second step, over times that lie h and last_h apart."""
        times = torch.tensor([-1.0, -1 + last_h, -1 + last_h + h], dtype=torch.float64)
        looks = iter([last_x0, x0])
        predict = lambda x, t: Prediction(next(looks), x)  # noqa: E731
        return list(dpmpp_2m(predict, x0, 1 - times.sigmoid(), curves))[1].x0

    assert check.aim(read_off)

    def levels_of(n, largest, smallest):
        """The library's first look is at t = 1 instead of at `largest`."""
        times = karras(n, curves, smallest=smallest, largest=largest)
        times[0] = time_of_ratio(curves, torch.tensor([largest]))[0]
        return curves.sigma(times) / curves.alpha(times)

    assert check.karras(levels_of)
    assert capsys.readouterr().out.count("Right") == 4
