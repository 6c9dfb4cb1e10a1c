"""Checks of notebook 00: a year written in digits, and the count of the network's calls."""

from typing import Any

import numpy as np
import torch

from ldmlib.check.core import NOT_FILLED, Verdict, judge, verdict
from ldmlib.images import check_images
from ldmlib.networks.classifier import bundled_classifier


def reads(answer: Any, digits: str) -> Verdict:
    """`answer`: generated pictures (n, 1, 32, 32) that a classifier should read as `digits`."""
    if answer is None or answer is ...:
        return verdict(NOT_FILLED)
    try:
        pictures = check_images(_as_pictures(answer), channels=1, size=32, what="your pictures")
    except (TypeError, ValueError) as error:
        return verdict(str(error))
    with torch.no_grad():
        seen = "".join(
            map(str, bundled_classifier("mnist_features")(pictures.float()).argmax(1).tolist())
        )
    mistakes = {
        "no value lies below 0: here pictures go from -1 (black) to 1, so hand them in as "
        "`model.sample` returns them.": lambda _: float(pictures.min()) >= 0,
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


def _as_pictures(answer: Any) -> torch.Tensor:
    """A tensor of pictures, also from an array or a list of pictures.

    Raises:
        TypeError: it holds no pictures.
    """
    parts = answer if isinstance(answer, (list, tuple)) else ()
    if parts and all(isinstance(one, torch.Tensor) for one in parts):
        return torch.cat([one if one.ndim == 4 else one[None] for one in parts])
    if isinstance(answer, np.ndarray) and answer.dtype.kind in "fiu":
        answer = torch.from_numpy(np.array(answer))
    if isinstance(answer, torch.Tensor):
        return answer
    what = f"the text {answer!r}" if isinstance(answer, str) else f"of type {type(answer).__name__}"
    if callable(answer):
        what = "a function, which has not been called"
    raise TypeError(
        f"the row should be pictures, but is {what}. Hand in what `model.sample(...)` returns; the "
        "digits go in as its labels."
    )


def evaluations(answer: Any, steps: int) -> Verdict:
    """`answer`: how often Heun's sampler asks the network in so many steps."""
    mistakes = {
        "Heun looks twice in each step: once at its start, once at its end.": steps,
        "almost: the last step, down to no noise, needs no second look.": 2 * steps,
        "one too many was added; think of the last step.": 2 * steps + 1,
        "every step but the last takes two looks, so there are more than that.": lambda n: (
            n < steps
        ),
        "a count is a whole number.": lambda n: float(n) != int(n),
        "that is more than two looks in every step.": lambda n: n > 2 * steps + 1,
        "that is not it: count the looks of one step, then see what is special about the last "
        "step.": lambda n: n >= steps,
    }
    right = f"2 x {steps} - 1."
    return judge(answer, 2 * steps - 1, mistakes, name="the number of calls", right=right)
