"""Checks of notebook 00: a year written in digits, and the count of the network's calls."""

from typing import Any

import torch

from ldmlib.check.core import find_fault, judge, verdict
from ldmlib.features import bundled_classifier
from ldmlib.images import check_images


def reads(answer: Any, digits: str) -> bool:
    """`answer`: generated pictures (n, 1, 32, 32) that a classifier should read as `digits`."""
    if not isinstance(answer, torch.Tensor):
        return verdict(find_fault(answer, digits, name="the row of pictures"))
    try:
        pictures = check_images(answer, channels=1, size=32, what="your pictures")
    except (TypeError, ValueError) as error:
        return verdict(str(error))
    with torch.no_grad():
        seen = "".join(map(str, bundled_classifier("mnist_features")(pictures).argmax(1).tolist()))
    mistakes = {
        f"there should be {len(digits)} pictures, but there are {len(seen)}.": lambda s: (
            len(s) != len(digits)
        ),
        f"that reads {seen}, which is backwards.": digits[::-1],
        f"that reads {seen}: the same digit everywhere; give `labels` a list, one for each.": (
            lambda s: len(set(s)) == 1
        ),
        f"that reads {seen}: the right digits in another order.": lambda s: (
            sorted(s) == sorted(digits)
        ),
        f"that reads {seen}, not {digits}; if the labels are right, try another seed.": lambda s: (
            True
        ),
    }
    return judge(seen, digits, mistakes, right=f"that reads {digits}.")


def evaluations(answer: Any, steps: int) -> bool:
    """`answer`: how often Heun's sampler asks the network in so many steps."""
    mistakes = {
        "Heun looks twice in each step: once at its start, once at its end.": steps,
        "almost: the last step, down to no noise, needs no second look.": 2 * steps,
        "one too many was added; think of the last step.": 2 * steps + 1,
        "every step but the last takes two looks, so there are more than that.": lambda n: (
            n < steps
        ),
    }
    right = f"2 x {steps} - 1."
    return judge(answer, 2 * steps - 1, mistakes, name="the number of calls", right=right)
