"""Checks for the exercises of notebook 05: what goes into a UNet, and what comes out of it."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ldmlib.check.core import Case, Verdict, find_fault, judge_cases, verdict
from ldmlib.networks.unet import TIME_SCALE, UNet, UNetConfig, time_embedding
from ldmlib.rng import seeded

PUZZLE = UNetConfig(in_channels=4, channels=(32, 64, 128), blocks=2, heads=4)
PUZZLE_SIZE = 64


def embedding(answer: Callable[[Tensor, int], Tensor]) -> Verdict:
    """Exercise 1: ``embedding(t, dim)``, (n,) -> (n, dim), sines first, then cosines."""
    return judge_cases(
        answer,
        [_embedding_case([0.02, 0.1, 0.9], 8), _embedding_case([0.3, 0.7, 0.05, 1.0], 12)],
        right="fast waves tell near times apart, slow waves tell far ones apart.",
    )


def _embedding_case(times: list[float], dim: int) -> Case:
    t, half = torch.tensor(times), dim // 2
    fastest = "fastest frequency 1, each next one smaller: exp(-ln(10000) * i / (dim / 2))."
    mistakes = {
        "t is not scaled: multiply it by 1000 first, or .1 and .9 look almost alike.": _waves(
            t, dim, scale=1.0
        ),
        "these angles were turned into degrees or out of them; `torch.sin` takes radians, so use "
        "1000 * t * frequency as it is.": lambda value: any(
            torch.allclose(value, _waves(t, dim, TIME_SCALE * factor), atol=0.02)
            for factor in (math.pi / 180, 180 / math.pi)
        ),
        "only sines: half of the numbers must be cosines, or two times that a sine does not tell "
        "apart stay alike.": lambda value: _is_all_sines(value, t, dim),
        "half of it is missing: put sines and cosines side by side with `torch.cat(..., dim=1)`, "
        "so that there are `dim` numbers.": lambda value: value.shape == (len(t), half),
        "the cosines come first: this course puts the sines first.": _waves(t, dim).roll(half, 1),
        "sines and cosines alternate: right in the first paper, but here all sines come first.": (
            _waves(t, dim).unflatten(1, (2, half)).transpose(1, 2).flatten(1)
        ),
        "the frequencies run from slow to fast: the sign in the exponent is missing. Start with "
        + fastest: _waves(t, dim, frequency=_frequencies(dim).flip(0)),
        "the frequencies are wrong: the i is divided by dim instead of dim / 2. Take " + fastest: (
            _waves(t, dim, frequency=10_000 ** -(torch.arange(half) / dim))
        ),
        "the frequencies are wrong: a factor 2 pi crept in. Take " + fastest: _waves(
            t, dim, TIME_SCALE * 2 * math.pi
        ),
    }
    mistakes |= {
        "the last frequency should stay above 1 / 10000: divide i by dim / 2, not by "
        "dim / 2 - 1.": _waves(t, dim, frequency=10_000 ** -(torch.arange(half) / (half - 1))),
        "the frequencies count from 1: the fastest one belongs to i = 0.": _waves(
            t, dim, frequency=10_000 ** -((torch.arange(half) + 1) / half)
        ),
    }
    return Case(time_embedding(t, dim), mistakes, (t, dim), "the embedding", 1e-3)


def _frequencies(dim: int) -> Tensor:
    return torch.exp(-math.log(10_000) * torch.arange(dim // 2) / (dim // 2))


def _waves(
    t: Tensor, dim: int, scale: float = TIME_SCALE, frequency: Tensor | None = None
) -> Tensor:
    angle = scale * t[:, None] * (_frequencies(dim) if frequency is None else frequency)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _is_all_sines(value: Tensor, t: Tensor, dim: int) -> bool:
    """Sines alone: at half of the frequencies, at these twice, or at `dim` different ones."""
    sines = _waves(t, dim)[:, : dim // 2]
    many = _waves(t, 2 * dim)[:, :dim]
    wrong = (sines, torch.cat([sines, sines], dim=1), many)
    return any(value.shape == w.shape and torch.allclose(value, w, atol=1e-3) for w in wrong)


def shapes(answer: Mapping[str, object]) -> Verdict:
    """Exercise 2: ``skips``, ``middle`` and ``last_block`` of the UNet `PUZZLE`."""
    if not isinstance(answer, Mapping):
        return verdict(f"the answer should be the dictionary of the cell above, not {answer!r}.")
    truth = puzzle_shapes()
    mistakes = _shape_mistakes()
    for part, value in truth.items():
        fault = find_fault(answer.get(part), value, mistakes[part], name=f"`{part}`")
        if fault:
            return verdict(fault)
    return verdict(None, "you can read a UNet from its configuration alone.")


@torch.no_grad()
def puzzle_shapes() -> dict[str, object]:
    """The true answers, taken from the network itself."""
    net = UNet(PUZZLE)
    seen: dict[str, tuple[int, ...]] = {}
    net.middle.register_forward_pre_hook(lambda _, x: seen.update(middle=tuple(x[0].shape[1:])))
    net.up[-1].register_forward_pre_hook(lambda _, x: seen.update(last=tuple(x[0].shape[1:])))
    net(torch.zeros(1, PUZZLE.in_channels, PUZZLE_SIZE, PUZZLE_SIZE), torch.zeros(1))
    return {"skips": 1 + len(net.down), "middle": seen["middle"], "last_block": seen["last"][0]}


def _shape_mistakes() -> dict[str, dict[str, object]]:
    return {
        "skips": {
            "`skips`: the stem's output is kept too, before the first block.": 8,
            "`skips`: the two layers that halve the picture leave a skip too.": 7,
            "`skips`: count the stem's output and the two halvings too, not the blocks alone.": 6,
            "`skips`: this is one a level; every layer on the way down leaves one.": 3,
            "`skips`: follow the way down, and count every layer whose output is kept for the way "
            "up.": lambda v: int(v) >= 0,
        },
        "middle": {
            "`middle`: one halving too many. Three levels have only two halvings between them.": (
                (128, 8, 8)
            ),
            "`middle`: this is the size of the second level; halve once more.": (128, 32, 32),
            "`middle`: the size is right, but the lowest level has the width of the last entry "
            "of `channels`.": lambda v: tuple(v)[1:] == (16, 16) and v[0] != 128,
            "`middle`: the batch is left out here: (channels, height, width).": lambda v: (
                len(v) == 4
            ),
            "`middle`: channels come first: (channels, height, width).": (16, 16, 128),
            "`middle`: three numbers are asked for, (channels, height, width).": lambda v: (
                not isinstance(v, (tuple, list)) or len(v) != 3
            ),
            "`middle`: the width of the lowest level comes from `channels`, its size from the "
            "picture's 64 pixels and the halvings on the way: count those again.": lambda v: (
                len(v) == 3
            ),
        },
        "last_block": {
            "`last_block`: this is what comes up from below; the skip that is laid beside it (the "
            "stem's output) has channels too.": 32,
            "`last_block`: not 64 + 32: the layer that doubles the size has already brought the "
            "channels down to 32.": 96,
            "`last_block`: skips are laid beside the input (`torch.cat`), so channels add up, 32 "
            "from below and 32 from the stem.": lambda v: v not in (32, 64, 96),
        },
    }


def film(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 3: ``film(h, scale, shift)`` for h (n, c, H, W), scale and shift (n, c)."""
    return judge_cases(  # first all sizes are alike, so that a wrong axis is no error
        answer,
        [_film_case(5, 4, 4, 4, 4), _film_case(15, 2, 3, 5, 4)],
        right="one scale and one shift a picture and channel, and scale = 0 changes nothing.",
    )


def _film_case(seed: int, *shape: int) -> Case:
    generator = seeded(seed)
    h = torch.randn(shape, generator=generator)
    scale, shift = torch.randn(2, *shape[:2], generator=generator)
    s, b = scale[:, :, None, None], shift[:, :, None, None]
    mistakes = {
        "the picture is multiplied by scale instead of 1 + scale: with scale = 0 nothing would be "
        "left of it, and networks start near 0.": h * s + b,
        "wrong axis: without [:, :, None, None] PyTorch lines (n, c) up with height and width, and "
        "says nothing when the sizes happen to fit.": lambda v: torch.allclose(
            v, h * (1 + scale) + shift
        ),
        "wrong axis, and scale instead of 1 + scale.": lambda v: torch.allclose(
            v, h * scale + shift
        ),
        "wrong axis: [None, None] and [:, None] put the numbers elsewhere; one number belongs to "
        "each picture and channel: [:, :, None, None].": lambda v: any(
            torch.allclose(v, h * (1 + scale[i]) + shift[i])
            for i in ((None, None), (slice(None), None), (slice(None), None, slice(None), None))
        ),
        "scale and shift have changed places.": h * (1 + b) + s,
        "the shift comes last: here it is added first and then scaled too.": (h + b) * (1 + s),
        "the shift is missing.": h * (1 + s),
        "the scale is missing.": h + b,
        "the shift is taken away: add it.": h * (1 + s) - b,
        "divided instead of multiplied by 1 + scale.": h / (1 + s) + b,
    }
    return Case(h * (1 + s) + b, mistakes, (h, scale, shift), "film(h, scale, shift)")


def x0_from_v(answer: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Verdict:
    """Exercise 4: ``x0_from_v(v, x_t, alpha, sigma)`` where alpha^2 + sigma^2 = 1."""
    return judge_cases(
        answer,
        [_x0_case(6, [0.3, 0.6, 0.96]), _x0_case(16, [0.8, 0.1])],
        right="no division anywhere, so it works at alpha = 0 and at sigma = 0 alike.",
    )


def _x0_case(seed: int, alphas: list[float]) -> Case:
    generator = seeded(seed)
    x0, eps = torch.randn(2, len(alphas), 1, 4, 4, generator=generator, dtype=torch.float64)
    alpha = torch.tensor(alphas, dtype=torch.float64)[:, None, None, None]
    sigma = (1 - alpha**2).sqrt()
    x_t, v = alpha * x0 + sigma * eps, alpha * eps - sigma * x0
    mistakes = {
        "a sign: v points from the picture to the noise, so its share is taken away (minus).": (
            alpha * x_t + sigma * v
        ),
        "this is the noise, eps = sigma x_t + alpha v. For the picture, start from alpha x_t.": eps,
        "alpha and sigma have changed places: put v = alpha eps - sigma x_0 and x_t = alpha x_0 + "
        "sigma eps into your line and see what is left.": sigma * x_t - alpha * v,
        "this formula reads the output as noise, (x_t - sigma eps) / alpha; but v is not eps.": (
            (x_t - sigma * v) / alpha
        ),
        "this formula reads the output as the straight flow eps - x_0, which is v only where alpha "
        "+ sigma = 1.": lambda value: (
            torch.allclose(value, (x_t - sigma * v) / (alpha + sigma))
            or torch.allclose(value, x_t - sigma * v)
        ),
        "the sign of the whole is turned: this is -x_0.": -x0,
        "do not clip: the formula is exact, and latents leave [-1, 1].": x0.clamp(-1, 1),
        "no squares: alpha and sigma enter as they are.": alpha**2 * x_t - sigma**2 * v,
    }
    return Case(x0, mistakes, (v, x_t, alpha, sigma), "the picture")
