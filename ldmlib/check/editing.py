"""Checks of notebook 11: PSNR, the times of an edit, a drawn hole put into a picture."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldmlib.check.core import Case, Verdict, judge_cases
from ldmlib.rng import seeded


def psnr(answer: Callable[..., Any]) -> Verdict:
    """``answer(a, b)``: decibels between pictures in [-1, 1], whose peak is 2."""
    return judge_cases(
        answer,
        [_psnr_case(1, 0.1, (3, 1, 4, 4)), _psnr_case(21, 0.4, (2, 3, 5, 4))],
        right="10 dB more are a tenth of the mean square error.",
    )


def _psnr_case(seed: int, noise: float, shape: tuple[int, ...]) -> Case:
    a = torch.rand(shape, generator=seeded(11, seed), dtype=torch.float64) * 2 - 1
    width = noise * torch.arange(1, shape[0] + 1)[:, None, None, None]  # no picture like another
    b = (a + width * torch.randn(a.shape, generator=seeded(11, seed + 1), dtype=a.dtype)).clamp(
        -1, 1
    )
    square = (a - b).square()
    mean = square.mean()
    truth = 10 * torch.log10(4 / mean)
    mistakes = {
        "the peak is 2 here: pictures go from -1 to 1, so take 2^2 = 4 over the mean square.": (
            10 * torch.log10(1 / mean)
        ),
        "the peak is squared as well: 2^2 = 4.": 10 * torch.log10(2 / mean),
        "upside down: the peak stands above, the error below.": -truth,
        "decibels are 10 times the logarithm to base 10, not to base e.": 10 * torch.log(4 / mean),
        "the factor 10 is missing: decibels are tenths of a bel.": truth / 10,
        "20 goes with the root of the mean square, 10 with the mean square itself.": 2 * truth,
        "that is the mean of |a - b|: square the differences.": (
            10 * torch.log10(4 / (a - b).abs().mean())
        ),
        "that is the mean square error: go on to decibels.": mean,
        "take the sum over all pixels' squares as a mean: divide by how many there are.": (
            10 * torch.log10(4 / square.sum())
        ),
    }
    each = 10 * torch.log10(4 / square.flatten(1).mean(1))
    mistakes |= {
        "that is the mean of each picture's PSNR: take the mean square error over all pixels of "
        "all pictures first, and its logarithm once.": each.mean(),
        "one PSNR for each picture came: here one mean square error over all of them is asked "
        "for.": each,
        "one number for each pixel is left: take the mean before the logarithm.": (
            lambda value: value.shape == a.shape
        ),
        "the mean comes after the logarithm: average the squares first.": (
            10 * torch.log10(4 / square)
        ).mean(),
        "the mean square is not the variance: a constant error counts, too.": lambda value: any(
            abs(float(value) - float(10 * torch.log10(4 / (a - b).var(correction=k)))) < 1e-4
            for k in (0, 1)
        ),
        "decibels are made with log10, not with log2.": 10 * torch.log2(4 / mean),
        "with 20 log10 the peak is 2, not 2^2.": 20 * torch.log10(4 / mean.sqrt()),
        "10 log10 goes with the mean square error, 20 log10 with its root.": (
            10 * torch.log10(4 / mean.sqrt())
        ),
        "the peak is that of the range, 2, not what these pictures happen to span.": (
            10 * torch.log10((a.max() - a.min()) ** 2 / mean)
        ),
        "that is the root of the mean square error: go on to decibels.": mean.sqrt(),
        "the peak is 2 here, not 255: these pictures are not stored in bytes.": (
            10 * torch.log10(255**2 / mean)
        ),
    }
    return Case(truth, mistakes, (a, b), "the PSNR")


def times_of_edit(answer: Callable[..., Any]) -> Verdict:
    """``answer(times, strength)``: `strength`, then the times of the grid below it."""
    times = torch.linspace(1, 0, 6, dtype=torch.float64)
    return judge_cases(
        answer,
        [_times_case(times, 0.5), _times_case(times, 0.6), _times_case(times**2, 0.7)],
        right="noise is added at the first time, and that is the first to be removed.",
    )


def _times_case(times: Tensor, strength: float) -> Case:
    below = times[times < strength - 1e-9]
    first = times.new_tensor([strength])
    mistakes = {
        "that is the whole grid: an edit begins at the time `strength`.": times,
        "the picture gets the noise of time `strength`, so the walk begins there: put it "
        "first.": below,
        "the walk begins with more noise than was added: leave out the times above "
        "`strength`.": torch.cat([times[times > strength - 1e-9][-1:], below]),
        "the first time is there twice: a step of length 0.": torch.cat([first, first, below]),
        "those are the times above `strength`: of them nothing is left to do.": (
            times[times > strength - 1e-9]
        ),
        "times rise: a sampler walks from noise to 0.": torch.cat([first, below]).flip(0),
        "the walk stops before 0: a rest of the noise stays in the picture.": (
            torch.cat([first, below])[:-1]
        ),
        "as many times as the whole grid, squeezed into the rest: here the grid's own times "
        "are asked for.": lambda value: (
            isinstance(value, Tensor) and len(value) == len(times) and float(value[-1]) == 0
        ),
        "`strength` comes first: it is the largest of the times.": torch.cat([below, first]),
        "the times are spread evenly anew: take those of the grid that lie below.": torch.linspace(
            strength, 0, len(below) + 1, dtype=torch.float64
        ),
        "those are the times above `strength`: take the ones below.": torch.cat(
            [first, times[times > strength + 1e-9]]
        ),
        "those are shares of the grid counted from the wrong end: little strength is little "
        "noise, the *end* of the grid.": lambda value: (
            isinstance(value, Tensor) and abs(float(value[0]) - 1) < 1e-9
        ),
    }
    truth = torch.cat([first, below])
    return Case(truth, mistakes, (times, strength), f"the times for strength {strength}")


def paste(answer: Callable[..., Any]) -> Verdict:
    """``answer(x, drawn, mask)``: `drawn` where the mask is True, x bit for bit elsewhere."""
    return judge_cases(
        answer,
        [_paste_case(3, (2, 1, 4, 4), 1), _paste_case(13, (3, 3, 5, 6), 2)],
        right="what was known is known bit for bit.",
    )


def _paste_case(seed: int, shape: tuple[int, ...], top: int) -> Case:
    x, drawn = (torch.randn(shape, generator=seeded(11, seed + i)) for i in range(2))
    drawn[0, 0, 0, 0] = torch.nan  # a network's accident, outside of the hole
    mask = torch.zeros(1, 1, *shape[2:], dtype=torch.bool)
    mask[..., top : top + 2, 2:] = True
    known = ~mask[0, 0]

    def second(wrong: Tensor) -> Callable[[Tensor], bool]:
        """Recognises a mistake by the second picture: NaN equals nothing."""
        return lambda value: value.shape == x.shape and torch.equal(value[1], wrong[1])

    mistakes = {
        "the mask is turned round: True is where to draw.": second(torch.where(mask, x, drawn)),
        "nothing was put in: that is the picture as it was.": second(x),
        "the known pixels are lost: that is what was drawn, all of it.": second(drawn),
        "a product with 0 is not nothing: 0 times NaN is NaN. Use torch.where.": lambda value: bool(
            torch.isnan(value).any()
        ),
        "known pixels are not kept bit for bit: do not mix, choose.": lambda value: (
            value.shape == x.shape and not torch.equal(value[..., known], x[..., known])
        ),
        "the hole is not what was drawn.": lambda value: value.shape == x.shape,
    }
    return Case(torch.where(mask, drawn, x), mistakes, (x, drawn, mask), "the picture", 0.0)
