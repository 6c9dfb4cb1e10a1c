"""Checks of notebook 10: a merge of the tokenizer, attention with a mask, first places."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldmlib.check.core import Case, Verdict, judge_cases
from ldmlib.rng import seeded


def merge(answer: Callable[..., Any]) -> Verdict:
    """``answer(pieces, pair)``: the list of pieces in which every `pair` has become one."""
    cases = [
        _merge_case(["b", "a", "n", "a", "n", "a "], ("a", "n"), ["b", "an", "an", "a "]),
        _merge_case(["a", "a", "a"], ("a", "a"), ["aa", "a"]),
        _merge_case(["t", "o"], ("o", "t"), ["t", "o"]),
        _merge_case(
            ["ban", "n", "an", "nx", "an", "n"], ("an", "n"), ["ban", "n", "an", "nx", "ann"]
        ),
        _merge_case(["s"], ("s", "s"), ["s"]),
    ]
    return judge_cases(
        answer, cases, right="frequent neighbours become one, and words become tokens."
    )


def _merge_case(pieces: list[str], pair: tuple[str, str], truth: list[str]) -> Case:
    glued = "".join(pair)
    places = [i for i in range(len(pieces) - 1) if (*pieces[i : i + 2],) == pair]
    mistakes: dict[str, Any] = {}
    if places:
        first = places[0]
        inside = [i + 1 for i in places]
        mistakes = {
            "only the first place is merged: go on to the end of the list.": [
                *pieces[:first], glued, *pieces[first + 2 :],
            ],
            "the merged piece stands there and its second half as well: skip two pieces.": [
                *pieces[:first], glued, *pieces[first + 1 :],
            ],
            "every place is merged, and the second half of each is left behind it: after a merge, "
            "go on two pieces further.": [
                glued if i in places else piece for i, piece in enumerate(pieces)
            ],
            "the pair is dropped: put the two, joined, in its place.": [
                *pieces[:first], *pieces[first + 2 :],
            ],
            "overlapping pairs are all merged, so that one piece is used twice: go from left to "
            "right, and behind a merge go on with the next piece that is still free.": [
                glued if i in places else piece
                for i, piece in enumerate(pieces) if i in places or i not in inside
            ],
            "nothing was merged.": pieces,
        }  # fmt: skip
    mistakes |= {
        "a pair has an order: (o, t) is not t, o.": lambda value: value in (["to"], ["ot"]),
        "return a list of pieces, not one string.": lambda value: isinstance(value, str),
        "a piece was merged twice: after a merge go on behind it.": ["aa", "aa"],
        "three became one: a merge joins two pieces, and what it made is not merged again in the "
        "same round.": ["aaa"],
        "the merge goes from right to left: begin at the left end.": ["a", "aa"],
        "the last piece is lost: the loop ends too early.": truth[:-1],
        "letters were compared, not pieces: join the pair only where two whole pieces equal it.": (
            lambda value: "".join(value) == "".join(truth) and len(value) != len(truth)
        ),
        "spaces belong to the pieces: do not join the list to a text and split it again.": (
            lambda value: "".join(value).replace(" ", "") == "".join(truth).replace(" ", "")
        ),
    }
    return Case(truth, mistakes, (pieces, pair), "the list")


def attention(answer: Callable[..., Any]) -> Verdict:
    """``answer(q, k, v, counts)``: (P, d), (T, d), (T, d), bool (T,) -> (P, d)."""
    return judge_cases(
        answer,
        [
            _attention_case(5, 4, [True, True, False]),
            _attention_case(3, 6, [True] * 3 + [False] * 2),
        ],
        right="each position asks, the words answer, and padding is silent.",
    )


def _attention_case(positions: int, d: int, kept: list[bool]) -> Case:
    counts = torch.tensor(kept)
    rows = (positions, len(kept), len(kept))
    q, k, v = (
        torch.randn(n, d, generator=seeded(10, 10 * d + i), dtype=torch.float64)
        for i, n in enumerate(rows)
    )
    logits = q @ k.T / d**0.5

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
        "divide by the root of d, the width, not by the root of the number of words.": masked(
            q @ k.T / len(kept) ** 0.5
        ).softmax(1)
        @ v,
        "a small logit is not silence: set it to -inf.": torch.where(counts, logits, -1.0)
        .double()
        .softmax(1)
        @ v,
        "divide the logits by the root of d, do not multiply.": masked(logits * d).softmax(1) @ v,
        "the softmax is missing: logits are no weights yet.": lambda value: (
            torch.allclose(value, (logits * counts) @ v) or torch.allclose(value, logits @ v)
        ),
        "divide by the root of d, not by d.": masked(q @ k.T / d).softmax(1) @ v,
        "the softmax runs over the positions: run it over the words, for each position.": (
            lambda value: (
                torch.allclose(value[:, :1], (logits.softmax(0) @ v)[:, :1])
                or torch.allclose(value[:, :1], (masked(logits).softmax(0).nan_to_num() @ v)[:, :1])
            )
        ),
        "that is the answer of the keys: mix the values v.": masked(logits).softmax(1) @ k,
        "these are the weights: multiply them by the values.": masked(logits).softmax(1),
    }
    return Case(masked(logits).softmax(1) @ v, mistakes, (q, k, v, counts), "the mixture")


def first_places(answer: Callable[..., Any]) -> Verdict:
    """``answer(fits)``: share of pictures (rows) whose own caption (same column) fits best."""
    four = [[5.0, 1, 2, 0], [3, 2, 9, 1], [0, 9, 8, 1], [9, 1, 9, 9.5]]
    five = [[1.0, 2, 0, 0, 0], [0, 3, 1, 1, 1], [4, 0, 6, 0, 2], [0, 1, 0, 5, 4], [0, 0, 0, 0, 1]]
    right = "guessing would be right once in as many as there are captions."
    return judge_cases(answer, [_places_case(four), _places_case(five)], right=right)


def _places_case(rows: list[list[float]]) -> Case:
    fits = torch.tensor(rows).double()
    hits = fits.argmax(1) == torch.arange(len(fits))
    truth = float(hits.double().mean())
    mistakes = {
        "a count, not a share: divide by the number of pictures.": int(hits.sum()),
        "`//` divides whole numbers and drops the rest: use `/`.": lambda value: (
            float(value) == 0 and not value.is_floating_point()
        ),
        "that is a percentage: a share lies between 0 and 1.": 100 * truth,
        "that asks the captions for their best picture: look along each row.": float(
            (fits.argmax(0) == torch.arange(len(fits))).double().mean()
        ),
        "places count from 0: compare with torch.arange(n), which begins there.": float(
            (fits.argmax(1) == torch.arange(1, len(fits) + 1)).double().mean()
        ),
        "that counts the misses: take the hits.": lambda value: float(value) in (0.75, 1 - truth),
        "that is the mean fit of the right captions: count first places.": float(
            fits.diagonal().mean()
        ),
        "those are the places themselves: compare them with 0, 1, 2, ...": fits.argmax(1),
        "one yes or no for each picture: take their mean.": hits,
    }
    return Case(truth, mistakes, (fits,), "the share")
