"""Checks of notebook 10: a merge of the tokenizer, attention with a mask, first places."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldmlib.check.core import find_fault, judge, verdict
from ldmlib.rng import seeded


def merge(answer: Callable[..., Any]) -> bool:
    """``answer(pieces, pair)``: the list of pieces in which every `pair` has become one."""
    cases = [
        (["b", "a", "n", "a", "n", "a "], ("a", "n"), ["b", "an", "an", "a "]),
        (["a", "a", "a"], ("a", "a"), ["aa", "a"]),
        (["t", "o"], ("o", "t"), ["t", "o"]),
    ]
    for pieces, pair, truth in cases:
        glued = "".join(pair)
        first = next((i for i in range(len(pieces) - 1) if (*pieces[i : i + 2],) == pair), None)
        mistakes: dict[str, Any] = {}
        if first is not None:
            mistakes = {
                "only the first place is merged: go on to the end of the list.": [
                    *pieces[:first], glued, *pieces[first + 2 :],
                ],
                "the merged piece stands there and its second half as well: skip two pieces.": [
                    *pieces[:first], glued, *pieces[first + 1 :],
                ],
                "the pair is dropped: put the two, joined, in its place.": [
                    *pieces[:first], *pieces[first + 2 :],
                ],
                "nothing was merged.": pieces,
            }  # fmt: skip
        mistakes |= {
            "a pair has an order: (o, t) is not t, o.": lambda value: value in (["to"], ["ot"]),
            "return a list of pieces, not one string.": lambda value: isinstance(value, str),
            "a piece was merged twice: after a merge go on behind it.": ["aa", "aa"],
        }
        fault = find_fault(answer, truth, mistakes, args=(list(pieces), pair), name="the list")
        if fault:
            return verdict(fault)
    return verdict(None, "frequent neighbours become one, and words become tokens.")


def attention(answer: Callable[..., Any]) -> bool:
    """``answer(q, k, v, counts)``: (P, d), (T, d), (T, d), bool (T,) -> (P, d)."""
    q, k, v = (torch.randn(n, 4, generator=seeded(10, n), dtype=torch.float64) for n in (5, 3, 6))
    v = v[:3]
    counts = torch.tensor([True, True, False])
    logits = q @ k.T / 2

    def masked(logits: Tensor) -> Tensor:
        return torch.where(counts, logits, -torch.inf)

    mistakes = {
        "padding is read, too: set its logits to -inf before the softmax.": logits.softmax(1) @ v,
        "the mask comes after the softmax: the weights of a row no longer sum to 1.": (
            logits.softmax(1) * counts
        )
        @ v,
        "the mask is turned round: `counts` is True where there is a word.": torch.where(
            counts, -torch.inf, logits
        ).softmax(1)
        @ v,
        "a logit of 0 is not silence: e^0 = 1. Use -inf.": torch.where(counts, logits, 0.0)
        .double()
        .softmax(1)
        @ v,
        "divide the logits by the root of d: else they grow with d, and the softmax hardens.": (
            masked(q @ k.T).softmax(1) @ v
        ),
        "divide by the root of d, not by d.": masked(q @ k.T / 4).softmax(1) @ v,
        "the softmax runs over the positions: run it over the words, for each position.": (
            lambda value: (
                torch.allclose(value[:, :1], (logits.softmax(0) @ v)[:, :1])
                or torch.allclose(value[:, :1], (masked(logits).softmax(0).nan_to_num() @ v)[:, :1])
            )
        ),
        "that is the answer of the keys: mix the values v.": masked(logits).softmax(1) @ k,
        "these are the weights: multiply them by the values.": masked(logits).softmax(1),
    }
    return judge(
        answer,
        masked(logits).softmax(1) @ v,
        mistakes,
        args=(q, k, v, counts),
        name="the mixture",
        right="each position asks, the words answer, and padding is silent.",
    )


def first_places(answer: Callable[..., Any]) -> bool:
    """``answer(fits)``: share of pictures (rows) whose own caption (same column) fits best."""
    fits = torch.tensor([[5.0, 1, 2, 0], [3, 2, 9, 1], [0, 9, 8, 1], [9, 1, 9, 9.5]]).double()
    mistakes = {
        "a count, not a share: divide by the number of pictures.": 2,
        "that asks the captions for their best picture: look along each row.": 0.25,
        "that counts the misses: take the hits.": lambda value: float(value) == 0.75,
        "that is the mean fit of the right captions: count first places.": float(
            fits.diagonal().mean()
        ),
        "those are the places themselves: compare them with 0, 1, 2, ...": fits.argmax(1),
        "one yes or no for each picture: take their mean.": fits.argmax(1) == torch.arange(4),
    }
    return judge(
        answer,
        0.5,
        mistakes,
        args=(fits,),
        name="the share",
        right="guessing would be right once in as many as there are captions.",
    )
