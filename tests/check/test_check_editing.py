"""The checks of notebook 11: the right answer passes, each mistake is named in its own words."""

from __future__ import annotations

import math

import pytest
import torch

from check_output import said
from ldmlib.check import editing as check
from ldmlib.diffusion.spacing import cut
from ldmlib.evaluation.metrics import psnr


@pytest.mark.parametrize("name", ["psnr", "times_of_edit", "paste"])
@pytest.mark.parametrize("answer", [..., None, lambda *args: ...])
def test_a_stub_is_not_filled_in(name: str, answer, capsys) -> None:
    assert "not filled in yet" in said(capsys, getattr(check, name), answer)


def mse(a, b):
    return (a - b).square().mean()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (psnr, "Right"),
        (lambda a, b: 10 * torch.log10(4 / mse(a, b)), "Right"),
        (lambda a, b: 20 * math.log10(2 / mse(a, b) ** 0.5), "Right"),
        (lambda a, b: 10 * torch.log10(1 / mse(a, b)), "the peak is 2"),
        (lambda a, b: 10 * torch.log10(2 / mse(a, b)), "squared as well"),
        (lambda a, b: 10 * torch.log10(mse(a, b) / 4), "upside down"),
        (lambda a, b: 10 * torch.log(4 / mse(a, b)), "base e"),
        (lambda a, b: torch.log10(4 / mse(a, b)), "factor 10"),
        (lambda a, b: 20 * torch.log10(4 / mse(a, b)), "20 goes with the root"),
        (lambda a, b: 10 * torch.log10(4 / (a - b).abs().mean()), "square the differences"),
        (mse, "go on to decibels"),
        (lambda a, b: 10 * torch.log10(4 / (a - b).square().sum()), "divide by how many"),
    ],
)
def test_psnr(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.psnr, answer)


def begun(times, strength):
    return torch.cat([times.new_tensor([strength]), times[times < strength - 1e-9]])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (cut, "Right"),
        (begun, "Right"),
        (lambda times, strength: times, "whole grid"),
        (lambda times, strength: times[times < strength - 1e-9], "put it first"),
        (lambda t, s: torch.cat([t[t > s][-1:], t[t < s - 1e-9]]), "more noise than was added"),
        (lambda t, s: torch.cat([t.new_tensor([s, s]), t[t < s - 1e-9]]), "there twice"),
        (lambda t, s: t[t > s - 1e-9], "nothing is left to do"),
        (lambda t, s: begun(t, s).flip(0), "noise to 0"),
        (lambda t, s: begun(t, s)[:-1], "stops before 0"),
        (lambda t, s: torch.linspace(s, 0, len(t), dtype=t.dtype), "squeezed"),
        (lambda t, s: t[: int(len(t) * s) + 1], "the *end* of the grid"),
    ],
)
def test_times_of_edit(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.times_of_edit, answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, drawn, mask: torch.where(mask, drawn, x), "Right"),
        (lambda x, drawn, mask: x.masked_scatter(mask.expand_as(x), drawn[mask.expand_as(x)]),
         "Right"),
        (lambda x, drawn, mask: torch.where(mask, x, drawn), "turned round"),
        (lambda x, drawn, mask: x, "nothing was put in"),
        (lambda x, drawn, mask: drawn, "known pixels are lost"),
        (lambda x, drawn, mask: x * ~mask + drawn * mask, "0 times NaN"),
        (lambda x, d, mask: torch.where(mask, d, 0.5 * x + 0.5 * x.roll(1)), "do not mix"),
        (lambda x, drawn, mask: torch.where(mask, 0.5 * drawn, x), "not what was drawn"),
    ],
)  # fmt: skip
def test_paste(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.paste, answer)
