"""Checks for notebook 07: scores of generated pictures."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldmlib.check import floors
from ldmlib.check.core import (
    CONSTANT,
    NOT_FILLED,
    NOTHING_RETURNED,
    Case,
    Verdict,
    attempt,
    judge_cases,
    verdict,
)
from ldmlib.evaluation.metrics import fid, inception_score
from ldmlib.rng import seeded


def frechet_1d(answer: Callable) -> Verdict:
    """``answer(mean1, std1, mean2, std2)``: squared Frechet distance of two Gaussians in 1-D."""
    right = "(m1 - m2)^2 + (s1 - s2)^2: how far the average point has to travel, squared."
    return judge_cases(
        answer, [_frechet_case(0.5, 1.5, 2.0, 0.4), _frechet_case(3.0, 0.7, -0.2, 2.2)], right=right
    )


def _frechet_case(m1: float, s1: float, m2: float, s2: float) -> Case:
    means, stds = (m1 - m2) ** 2, (s1 - s2) ** 2
    return Case(
        means + stds,
        {
            "the two differences are squared first and added then: here the sum is squared.": (
                lambda value: (
                    min(
                        abs(value - (m1 - m2 + s1 - s2) ** 2),
                        abs(value - (abs(m1 - m2) + abs(s1 - s2)) ** 2),
                    )
                    < 1e-4
                )
            ),
            "neither difference is squared.": abs(m1 - m2) + abs(s1 - s2),
            "the cross term is 2 s1 s2: the root of the product of variances is missing.": means
            + s1**2
            + s2**2
            - 2 * s1**2 * s2**2,
            "the second square is added, not subtracted.": means - stds,
            "the arguments come as mean, std, mean, std: compare the means, and the stds.": (
                m1 - s1
            )
            ** 2
            + (m2 - s2) ** 2,
            "the arguments are standard deviations already: no root of them.": means
            + (s1**0.5 - s2**0.5) ** 2,
            "the cross term is missing: s1^2 + s2^2 - 2 s1 s2, not s1^2 + s2^2 alone. Two equal "
            "Gaussians must be at distance 0.": means + s1**2 + s2**2,
            "you compare variances: take the difference of the standard deviations, then square "
            "it.": means + (s1**2 - s2**2) ** 2,
            "you compare variances, and without a square: the second term is "
            "(s1 - s2)^2.": lambda value: abs(value - means - abs(s1**2 - s2**2)) < 1e-4,
            "the difference of the means is not squared.": lambda value: (
                min(abs(value - stds - (m1 - m2)), abs(value - stds - (m2 - m1))) < 1e-4
            ),
            "the difference of the standard deviations is not squared.": lambda value: (
                abs(abs(value - means) - abs(s1 - s2)) < 1e-4
            ),
            "only the means are compared: two Gaussians of different width are not equal.": means,
            "only the widths are compared: a shift must count too.": stds,
            "that is the distance itself; FID is its square, so leave the last root out.": (
                means + stds
            )
            ** 0.5,
        },
        (m1, s1, m2, s2),
        "the distance",
    )


FLOOR_N = 80


def _floor_problem() -> tuple[Tensor, Tensor]:
    """Reference and held-out features; the latter shifted and sorted, so that mistakes show."""
    generator = seeded(7, 1)
    reference = torch.randn(3000, 16, generator=generator).double()
    held_out = torch.randn(2000, 16, generator=generator).double() + 0.2
    return reference, held_out[held_out[:, 0].argsort()]


def _band(values: list[float]) -> Callable[[float], bool]:
    """Recognises what lies among `values`, or nearly."""
    low, high = min(values), max(values)
    margin = 0.15 * (high - low) + 1e-6
    return lambda value: low - margin <= value <= high + margin


def _draws(features: Tensor, n: int, repeats: int = 40) -> list[Tensor]:
    orders = [torch.randperm(len(features), generator=seeded(3, i)) for i in range(repeats)]
    return [features[order[:n]] for order in orders]


def floor(answer: Callable) -> Verdict:
    """``answer(reference, held_out, n)``: FID of n random held-out samples; one draw or a mean."""
    if not callable(answer):
        empty = answer is None or answer is ...
        return verdict(NOT_FILLED if empty else "the check needs your function, not its result.")
    reference, held_out = _floor_problem()
    value, fault = attempt(answer, reference, held_out, FLOOR_N)
    if fault:
        return verdict(fault)
    if value is None or value is Ellipsis:
        return verdict(NOTHING_RETURNED if value is None else NOT_FILLED)
    number = _as_float(value)
    if number is None:
        return verdict("the floor is one number, a float; average over the draws.")
    unused = _unused_fault(answer, reference, held_out)
    fault = unused or _floor_fault(number, reference, held_out) or floors.fault(answer)
    return verdict(fault, "what the best possible model would score with so many pictures.")


def _unused_fault(answer: Callable, reference: Tensor, held_out: Tensor) -> str | None:
    """Which of the two sets does not matter? A set that is spread out must change the score."""
    near = floors.value(answer, reference, held_out, FLOOR_N)
    wide = floors.value(answer, 100 * reference, held_out, FLOOR_N)
    other = floors.value(answer, reference, 100 * held_out, FLOOR_N)
    if near is None or wide is None or other is None or near < 1e-6:
        return None
    without_reference, without_held_out = abs(wide - near) < 20, abs(other - near) < 20
    if without_reference and without_held_out:
        return CONSTANT
    if without_held_out:
        return (
            "you draw from the reference and compare it with itself. The floor asks for real "
            "samples that the reference does not hold: draw from held_out."
        )
    if not without_reference:
        return None
    return (
        "the reference is not used: two parts of held_out are compared. The model's pictures are "
        "compared with the whole reference, so the floor must be too."
    )


def _floor_fault(value: float, reference: Tensor, held_out: Tensor) -> str | None:
    honest = [fid(part, reference) for part in _draws(held_out, FLOOR_N)]
    wrong = {
        "that is the score of all held-out samples. The floor depends on n: draw n of them.": [
            fid(held_out, reference)
        ],
        "you take the first n instead of n at random. Files are seldom in random order (these are "
        "sorted): use torch.randperm.": [fid(held_out[:FLOOR_N], reference)],
        "you take the last n instead of n at random. Files are seldom in random order (these are "
        "sorted): use torch.randperm.": [fid(held_out[-FLOOR_N:], reference)],
        "that is the sum of several draws: divide it by how many there are.": [
            5 * score for score in honest
        ],
        "both sets have n samples here. The model's pictures are compared with the whole "
        "reference, so the floor must be too.": [
            fid(a, b)
            for a, b in zip(
                _draws(held_out, FLOOR_N), _draws(reference.flip(0), FLOOR_N), strict=True
            )
        ],
        "the distance of equal sets is 0, but a floor is not: compare held_out with reference.": [
            0.0
        ],
    }
    if _band(honest)(value):
        return None
    for message, values in wrong.items():
        if _band(values)(value):
            return message
    middle = sum(honest) / len(honest)
    return f"the floor should be near {middle:.2f} here, but is {value:.2f}."


def _as_float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def inception(answer: Callable) -> Verdict:
    """``answer(logits)``: Inception Score of logits (n, k) in one part, without splits."""
    return judge_cases(
        answer,
        [_inception_case(2, 200, 5), _inception_case(12, 60, 7)],
        right="1 when nothing is learned, the number of classes when all are seen, each surely.",
    )


def _inception_case(seed: int, n: int, classes: int) -> Case:
    logits = 2 * torch.randn(n, classes, generator=seeded(7, seed)).double()
    p = logits.softmax(1)
    marginal = p.mean(0, keepdim=True)
    kl = (p * (p / marginal).log()).sum(1)
    reversed_kl = (marginal * (marginal / p).log()).sum(1)
    entropy = -(p * p.log()).sum(1)
    marginal_entropy = -(marginal * marginal.log()).sum()
    other_axis = logits.softmax(0)
    return Case(
        inception_score(p, splits=1),
        {
            "the logarithm is to base 2, but exp undoes the natural one: use torch.log.": (
                kl.mean() / math.log(2)
            ).exp(),
            "the logarithm is to base 10, but exp undoes the natural one: use torch.log.": (
                kl.mean() / math.log(10)
            ).exp(),
            "the logarithm is the natural one, but 2 ** undoes log2: use exp.": 2 ** kl.mean(),
            "the marginal p(y) is the mean over the pictures, not 1 / classes.": (
                (p * (p * classes).log()).sum(1).mean().exp()
            ),
            "a sigmoid makes each number a probability of its own: the classes share a softmax.": (
                _score(logits.sigmoid())
            ),
            "the logarithms of a KL divergence are weighted by p(y|x).": (
                (p / marginal).log().sum(1).mean().exp()
            ),
            "the sum over the classes became a mean: a KL divergence is a sum over them.": (
                kl.mean() / classes
            ).exp(),
            "the sign in the exponent is wrong: the score is never below 1.": (-kl.mean()).exp(),
            "the logits went in as if they were probabilities: call logits.softmax(1) first (NaN "
            "comes from the logarithm of a negative number).": lambda value: _is_nan(value),
            "the softmax runs over the pictures: each row must sum to 1, so use "
            "softmax(1).": lambda value: any(abs(value - v) < 1e-4 for v in _scores_of(other_axis)),
            "you have the mean KL; the score is its exponential.": kl.mean(),
            "the KL is the wrong way round: p(y|x) log(p(y|x) / p(y)), weighted by "
            "p(y|x).": reversed_kl.mean().exp(),
            "the KL is the wrong way round, and the exponential is missing.": reversed_kl.mean(),
            "exponential and mean are in the wrong order: first the mean over pictures, then "
            "exp.": kl.exp().mean(),
            "that is the exponential of the sum over pictures; take the mean.": kl.sum().exp(),
            "one score for each picture came; take the mean over pictures before exp.": kl.exp(),
            "you left out how certain each picture is: the entropy of p(y|x) is to be "
            "subtracted.": marginal_entropy.exp(),
            "you left out how varied the pictures are: compare p(y|x) with the marginal "
            "p(y).": lambda value: (
                min(abs(value - entropy.mean().exp()), abs(value - (-entropy.mean()).exp())) < 1e-4
            ),
        },
        (logits,),
        "the score",
    )


def _score(p: Tensor) -> Tensor:
    return (p * (p / p.mean(0)).log()).sum(1).mean().exp()


def _is_nan(value: Any) -> bool:
    return bool(torch.as_tensor(value).isnan().any())


def _scores_of(p: Tensor) -> list[float]:
    marginal = p.mean(0, keepdim=True)
    kl = (p * (p / marginal).log()).sum(1).mean()
    over_sum = (p * (p / p.sum(0, keepdim=True)).log()).sum(1).mean()
    return [float(kl.exp()), float(over_sum.exp()), float(kl)]
