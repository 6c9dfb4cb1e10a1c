"""The checks of notebook 09: the right answer passes, each mistake is named in its own words."""

from __future__ import annotations

import pytest
import torch

from check_output import said
from ldmlib.check import few_steps as check
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.schedule import Schedule


@pytest.mark.parametrize("name", ["flow_pair", "two_in_one", "noise_family"])
@pytest.mark.parametrize("answer", [..., None, lambda *args: ...])
def test_a_stub_is_not_filled_in(name: str, answer, capsys) -> None:
    assert "not filled in yet" in said(capsys, getattr(check, name), answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, e, t: (x + t * (e - x), e - x), "Right"),
        (lambda x, e, t: (x + t * (e - x), x - e), "turn it round"),
        (lambda x, e, t: (e + t * (x - e), e - x), "the shares are swapped"),
        (lambda x, e, t: (e + t * (x - e), x - e), "shares and the velocity are turned round"),
        (lambda x, e, t: (x + t * (e - x), e), "is the noise, the target"),
        (lambda x, e, t: (x + t * (e - x), x), "is the picture, the target"),
        (lambda x, e, t: (x + t * (e - x), t * (e - x)), "divided by t."),
        (lambda x, e, t: (x + t * (e - x), (1 - t) * (e - x)), "divided by 1 - t"),
        (lambda x, e, t: ((1 - t) ** 0.5 * x + t**0.5 * e, e - x), "variance preserving"),
        (lambda x, e, t: x + t * (e - x), "only one of the two"),
        (lambda x, e, t: (x, 2 * e), "(x_t, velocity) should be"),
    ],
)
def test_flow_pair(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.flow_pair, answer)


def step(u, x, t, h):
    return x - h * u(x, t)


def two(u, x, t, h):
    return step(u, step(u, x, t, h / 2), t - h / 2, h / 2)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda u, x, t, h: (u(x, t) + u(step(u, x, t, h / 2), t - h / 2)) / 2, "Right"),
        (two, "where the two steps end"),
        (lambda u, x, t, h: x - two(u, x, t, h), "the way divided by the time h"),
        (lambda u, x, t, h: (two(u, x, t, h) - x) / h, "wrong sign"),
        (lambda u, x, t, h: u(x, t), "first look only"),
        (lambda u, x, t, h: u(step(u, x, t, h / 2), t - h / 2), "second look only"),
        (lambda u, x, t, h: (u(x, t) + u(x, t - h / 2)) / 2, "the second look is at x"),
        (lambda u, x, t, h: (u(x, t) + u(step(u, x, t, h / 2), t)) / 2, "at the old time"),
        (lambda u, x, t, h: (x - step(u, step(u, x, t, h), t - h, h)) / h, "have to share h"),
        (lambda u, x, t, h: (x - step(u, step(u, x, t, h), t - h, h)) / (2 * h), "share h"),
        (lambda u, x, t, h: (x - two(u, x, t, h)) / (h / 2), "divided by h / 2"),
        (lambda u, x, t, h: (u(x, t) + u(step(u, x, t, -h / 2), t - h / 2)) / 2, "more noise"),
        (lambda u, x, t, h: x, "the velocity should be"),
    ],
)
def test_two_in_one(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.two_in_one, answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda s: (1, -s, (1 + s * s) ** -0.5), "Right"),
        (lambda s: (torch.tensor(1.0), torch.tensor(-s), (1 + s * s) ** -0.5), "Right"),
        (lambda s: (1, s, (1 + s * s) ** -0.5), "wrong sign"),
        (lambda s: (1, -s * s, (1 + s * s) ** -0.5), "not its square"),
        (lambda s: (1 / (1 + s), -s, (1 + s * s) ** -0.5), "all of x stays"),
        (lambda s: (0, 1, (1 + s * s) ** -0.5), "the target `x0`"),
        (lambda s: (1 / (1 + s * s), s / (1 + s * s) ** 0.5, (1 + s * s) ** -0.5), "EDM's own"),
        (lambda s: (1 / (1 + s), -s / (1 + s), 1 / (1 + s)), "those are the flow's"),
        (lambda s: (1, -s, 1), "the root of that"),
        (lambda s: (1, -s, 1 / (1 + s * s)), "the root of that"),
        (lambda s: (2, 3, 4), "part 1 of (c_skip, c_out, c_in) should be 1"),
        (lambda s: (1, -s), "should have 3 parts"),
    ],
)
def test_noise_family(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.noise_family, answer)


def test_the_right_answers_are_the_librarys(capsys) -> None:
    """What the checks call right is what `ldmlib.diffusion.process` does."""
    process = Diffusion("flow", "flow")

    def pair(x0, eps, t):
        """The loss's own input and target, caught on the way."""
        caught = []
        zero = lambda x, t, cond: caught.append(x) or torch.zeros_like(x)  # noqa: E731
        squared = process.loss(zero, x0[:, None], t=torch.full((5,), t).double(), eps=eps[:, None])
        assert torch.allclose(squared.double(), (eps - x0) ** 2)
        return caught[0][:, 0], eps - x0

    assert check.flow_pair(pair)

    def family(sigma):
        """c_skip and c_out read off a prediction of the noise, at the level of `linear`."""
        curves = Schedule("linear")
        times = torch.linspace(0, 1, 100_001, dtype=torch.float64)
        alpha, at = curves.alpha_sigma(times)
        t = times[(at / alpha - sigma).abs().argmin()]
        say = lambda answer: lambda x, t, cond: torch.full_like(x, answer)  # noqa: E731
        x = torch.ones(1, 1, dtype=torch.float64) * curves.alpha(t)  # x_t of x = 1
        skip = Diffusion("linear", "eps").predict(say(0.0), x, t).x0
        out = Diffusion("linear", "eps").predict(say(1.0), x, t).x0 - skip
        return skip[0, 0], out[0, 0], curves.alpha(t)

    assert check.noise_family(family)
    assert capsys.readouterr().out.count("Right") == 2
