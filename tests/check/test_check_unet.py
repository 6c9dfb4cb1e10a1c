"""The checks of notebook 05 name every usual mistake, pass the truth, and never raise."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ldmlib.check import unet as check
from ldmlib.networks.unet import time_embedding


def says(capsys: pytest.CaptureFixture[str], result: bool) -> str:
    """What was printed; right answers begin with Right, wrong ones with Not yet."""
    printed = capsys.readouterr().out
    assert printed.startswith("Right: " if result else "Not yet: ")
    return printed


# --------------------------------------------------------------------------- time embedding
def waves(scale: float = 1000.0, base: float = 10_000.0, up: bool = False) -> Callable:
    """A time embedding with another scale of t, base or order of the frequencies."""

    def embedding(t: Tensor, dim: int) -> Tensor:
        frequency = base ** -(torch.arange(dim // 2) / (dim // 2))
        angle = scale * t[:, None] * (frequency.flip(0) if up else frequency)
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    return embedding


def only_sines(t: Tensor, dim: int) -> Tensor:
    return time_embedding(t, dim)[:, : dim // 2]


def sines_twice(t: Tensor, dim: int) -> Tensor:
    return only_sines(t, dim).repeat(1, 2)


def more_sines(t: Tensor, dim: int) -> Tensor:
    return only_sines(t, 2 * dim)


def only_cosines(t: Tensor, dim: int) -> Tensor:
    return time_embedding(t, dim)[:, dim // 2 :]


def cosines_first(t: Tensor, dim: int) -> Tensor:
    return time_embedding(t, dim).roll(dim // 2, 1)


def alternating(t: Tensor, dim: int) -> Tensor:
    return time_embedding(t, dim).reshape(-1, 2, dim // 2).transpose(1, 2).reshape(-1, dim)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (waves(scale=1.0), "not scaled"),
        (waves(scale=1000 * math.pi / 180), "degrees"),
        (waves(scale=1000 * 180 / math.pi), "degrees"),
        (only_sines, "only sines"),
        (sines_twice, "only sines"),
        (more_sines, "only sines"),
        (only_cosines, "half of it is missing"),
        (cosines_first, "cosines come first"),
        (alternating, "alternate"),
        (waves(up=True), "sign in the exponent"),
        (waves(base=100.0), "instead of dim / 2"),
        (waves(scale=2000 * math.pi), "2 pi"),
        (waves(base=5.0), "should be"),
        (lambda t, dim: torch.cat(t, dim), "your code stopped"),
        (lambda t, dim: None, "not filled in yet"),
        (lambda t, dim: ..., "not filled in yet"),
    ],
)
def test_embedding_names_the_mistake(capsys, answer: Callable, words: str) -> None:
    result = check.embedding(answer)
    assert not result
    assert words in says(capsys, result)


@pytest.mark.parametrize("answer", [time_embedding, waves()])
def test_embedding_passes_the_truth(capsys, answer: Callable) -> None:
    result = check.embedding(answer)
    says(capsys, result)
    assert result


# --------------------------------------------------------------------------- shapes
TRUE_SHAPES = {"skips": 9, "middle": (128, 16, 16), "last_block": 64}


def test_shapes_come_from_the_network() -> None:
    assert check.puzzle_shapes() == TRUE_SHAPES


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("skips", 8, "the stem's output is kept too"),
        ("skips", 7, "halve the picture"),
        ("skips", 6, "not the blocks alone"),
        ("skips", 3, "one a level"),
        ("skips", 11, "count every layer"),
        ("middle", (128, 8, 8), "one halving too many"),
        ("middle", (128, 32, 32), "halve once more"),
        ("middle", (64, 16, 16), "width of the last entry"),
        ("middle", (1, 128, 16, 16), "batch is left out"),
        ("middle", (16, 16, 128), "channels come first"),
        ("middle", "128", "three numbers are asked for"),
        ("middle", 128, "three numbers are asked for"),
        ("last_block", 32, "from below"),
        ("last_block", 96, "not 64 + 32"),
        ("last_block", 128, "add up"),
        ("skips", ..., "not filled in yet"),
        ("middle", ..., "not filled in yet"),
        ("last_block", None, "not filled in yet"),
    ],
)
def test_shapes_names_the_mistake(capsys, part: str, value: object, words: str) -> None:
    result = check.shapes({**TRUE_SHAPES, part: value})
    assert not result
    assert words in says(capsys, result)


@pytest.mark.parametrize("answer", [{}, 9, None, ...])
def test_shapes_without_a_dictionary_of_answers(capsys, answer: object) -> None:
    result = check.shapes(answer)
    says(capsys, result)
    assert not result


def test_shapes_passes_the_truth(capsys) -> None:
    result = check.shapes({**TRUE_SHAPES, "middle": [128, 16, 16]})
    says(capsys, result)
    assert result


# --------------------------------------------------------------------------- scale and shift
def right_film(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return h * (1 + scale[:, :, None, None]) + shift[:, :, None, None]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda h, s, b: right_film(h, s - 1, b), "instead of 1 + scale"),
        (lambda h, s, b: h * (1 + s) + b, "wrong axis"),
        (lambda h, s, b: h * s + b, "wrong axis, and scale"),
        (lambda h, s, b: h * (1 + s[None, None]) + b[None, None], "wrong axis"),
        (lambda h, s, b: h * (1 + s[:, None]) + b[:, None], "wrong axis"),
        (lambda h, s, b: h * (1 + s[:, None, :, None]) + b[:, None, :, None], "wrong axis"),
        (lambda h, s, b: right_film(h, b, s), "changed places"),
        (lambda h, s, b: right_film(h + b[:, :, None, None], s, 0 * b), "shift comes last"),
        (lambda h, s, b: right_film(h, s, 0 * b), "shift is missing"),
        (lambda h, s, b: h, "should be"),
        (lambda h, s, b: h.view(7), "your code stopped"),
        (lambda h, s, b: None, "not filled in yet"),
    ],
)
def test_film_names_the_mistake(capsys, answer: Callable, words: str) -> None:
    result = check.film(answer)
    assert not result
    assert words in says(capsys, result)


def test_film_passes_the_truth(capsys) -> None:
    result = check.film(right_film)
    says(capsys, result)
    assert result


# --------------------------------------------------------------------------- v
def from_v(v: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return alpha * x_t - sigma * v


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda v, x, a, s: a * x + s * v, "a sign"),
        (lambda v, x, a, s: s * x + a * v, "this is the noise"),
        (lambda v, x, a, s: s * x - a * v, "changed places"),
        (lambda v, x, a, s: (x - s * v) / a, "v is not eps"),
        (lambda v, x, a, s: (x - s * v) / (a + s), "straight flow"),
        (lambda v, x, a, s: x - s * v, "straight flow"),
        (lambda v, x, a, s: s * v - a * x, "-x_0"),
        (lambda v, x, a, s: x, "should be"),
        (lambda v, x, a, s: v / 0 * torch.zeros(3, 3), "your code stopped"),
        (lambda v, x, a, s: ..., "not filled in yet"),
    ],
)
def test_x0_from_v_names_the_mistake(capsys, answer: Callable, words: str) -> None:
    result = check.x0_from_v(answer)
    assert not result
    assert words in says(capsys, result)


def test_x0_from_v_passes_the_truth(capsys) -> None:
    result = check.x0_from_v(from_v)
    says(capsys, result)
    assert result
