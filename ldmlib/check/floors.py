"""How a floor of FID was drawn, found out by small sets on which only the right way is exact."""

from collections.abc import Callable

import torch
from torch import Tensor

from ldmlib.check.core import attempt
from ldmlib.evaluation.metrics import fid
from ldmlib.rng import seeded

CALLS = 36  # of the reader's function, to tell a mean of draws from their smallest
DRAWS = 150  # of ours, to know mean and spread of one draw

REPLACED = (
    "samples are drawn with replacement, so some come twice: a model's pictures are all different. "
    "Take the first n places of a torch.randperm."
)
SWAPPED = (
    "the two sets have changed places: draw n samples from held_out, and compare them with the "
    "whole reference."
)
BOTH_SMALL = (
    "both sets have n samples here. The model's pictures are compared with the whole reference, so "
    "the floor must be too."
)
SMALLEST = (
    "that is the smallest of several draws: a floor is what a perfect model scores on average. "
    "Take their mean."
)
LARGEST = "that is the largest of several draws: take their mean."


def value(answer: Callable, reference: Tensor, held_out: Tensor, n: int) -> float | None:
    """What the reader's function answers, always with the same seed; None where it cannot."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        came, fault = attempt(answer, reference, held_out, n)
    try:
        number = float(came)
    except (TypeError, ValueError, RuntimeError):
        return None
    return number if not fault and torch.tensor(number).isfinite() else None


def fault(answer: Callable) -> str | None:
    """What is wrong with the way in which n samples are chosen and scores combined, or None."""
    return _set_fault(answer) or _mean_fault(answer)


def _sets(reference: int, held_out: int) -> tuple[Tensor, Tensor]:
    generator = seeded(7, 31)
    first = torch.randn(reference, 3, generator=generator).double()
    return first, torch.randn(held_out, 3, generator=generator).double() + 3


def _is_exact(answer: Callable, reference: Tensor, held_out: Tensor, n: int) -> bool | None:
    """Does the answer compare the two sets as they are? None where it gives no number."""
    came = value(answer, reference, held_out, n)
    truth = float(fid(held_out, reference))
    return None if came is None else abs(came - truth) < 1e-4 * truth


def _set_fault(answer: Callable) -> str | None:
    """Where n is the size of a set, a draw without replacement is that whole set."""
    if _is_exact(answer, *_sets(40, 60), 40):
        return SWAPPED
    sets = _sets(200, 60)
    if _is_exact(answer, *sets, 60) is not False:
        return None  # right, or an answer that cannot draw all of them at once
    if _is_exact(lambda *args: answer(*args) ** 2, *sets, 60):
        return "that is the root of the FID: leave the root out."
    return BOTH_SMALL if _is_exact(answer, *_sets(60, 60), 60) else REPLACED


def _mean_fault(answer: Callable) -> str | None:
    """Is the mean of many answers that of single draws, or does each answer pick one of them?"""
    reference, held_out = _sets(200, 120)
    orders = [torch.randperm(len(held_out), generator=seeded(7, 40 + i)) for i in range(DRAWS)]
    single = torch.tensor([float(fid(held_out[order[:30]], reference)) for order in orders])
    came = [value(answer, reference, held_out[order], 30) for order in orders[:CALLS]]
    numbers = [number for number in came if number is not None]
    if len(numbers) < CALLS:
        return None
    off = (torch.tensor(numbers).mean() - single.mean()) / single.std()
    if off < -0.7:
        return SMALLEST
    return LARGEST if off > 0.7 else None
