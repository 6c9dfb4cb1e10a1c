"""The checks of notebook 10: the right answer passes, each mistake is named in its own words."""

from __future__ import annotations

import pytest
import torch

from check_output import said
from ldmlib.check import text as check
from ldmlib.networks.text import CrossAttention


@pytest.mark.parametrize("name", ["merge", "attention", "first_places"])
@pytest.mark.parametrize("answer", [..., None, lambda *args: ...])
def test_a_stub_is_not_filled_in(name: str, answer, capsys) -> None:
    assert "not filled in yet" in said(capsys, getattr(check, name), answer)


def merged(pieces, pair):
    done, i = [], 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            done.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            done.append(pieces[i])
            i += 1
    return done


def pairs_of(pieces):
    return list(zip(pieces, pieces[1:], strict=False))


def once(pieces, pair):
    for i in range(len(pieces) - 1):
        if tuple(pieces[i : i + 2]) == pair:
            return [*pieces[:i], "".join(pair), *pieces[i + 2 :]]
    return pieces


def keeps_the_second(pieces, pair):
    for i in range(len(pieces) - 1):
        if tuple(pieces[i : i + 2]) == pair:
            return [*pieces[:i], "".join(pair), *pieces[i + 1 :]]
    return pieces


def overlapping(pieces, pair):
    pairs = [tuple(pieces[i : i + 2]) == pair for i in range(len(pieces) - 1)]
    if not any(pairs):
        return pieces
    return ["".join(pair) for is_pair in pairs if is_pair] if all(pairs) else merged(pieces, pair)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (merged, "Right"),
        (once, "only the first place"),
        (keeps_the_second, "skip two pieces"),
        (overlapping, "used twice"),
        (lambda pieces, pair: "".join(pieces), "not one string"),
        (lambda pieces, pair: pieces, "nothing was merged"),
        (lambda pieces, pair: merged(pieces, pair) or merged(pieces, pair[::-1]), "Right"),
        (lambda p, pair: merged(p, pair if pair in pairs_of(p) else pair[::-1]), "has an order"),
    ],
)
def test_merge(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.merge, answer)


def right_attention(q, k, v, counts):
    logits = q @ k.T / q.shape[1] ** 0.5
    return logits.masked_fill(~counts, float("-inf")).softmax(-1) @ v


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (right_attention, "Right"),
        (lambda q, k, v, c: (q @ k.T / 2).softmax(-1) @ v, "padding is read"),
        (lambda q, k, v, c: ((q @ k.T / 2).softmax(-1) * c) @ v, "comes after the softmax"),
        (lambda q, k, v, c: right_attention(q, k, v, ~c), "turned round"),
        (lambda q, k, v, c: (q @ k.T / 2).masked_fill(~c, 0).softmax(-1) @ v, "is not silence"),
        (lambda q, k, v, c: right_attention(2 * q, k, v, c), "root of d: else they grow"),
        (lambda q, k, v, c: right_attention(q / 2, k, v, c), "not by d"),
        (lambda q, k, v, c: (q @ k.T / 2).softmax(0) @ v, "over the positions"),
        (lambda q, k, v, c: right_attention(q, k, k, c), "mix the values"),
        (lambda q, k, v, c: (q @ k.T / 2).masked_fill(~c, -torch.inf).softmax(-1), "the weights"),
    ],
)
def test_attention(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.attention, answer)


def test_the_answer_is_the_librarys_attention() -> None:
    ours = CrossAttention(4, 1, 4)
    with torch.no_grad():
        for layer in (ours.query, ours.key, ours.value, ours.out):
            layer.weight.copy_(torch.eye(4))
        ours.out.bias.zero_()
    q, words = torch.randn(1, 5, 4), torch.randn(1, 3, 4)
    counts = torch.tensor([[True, True, False]])
    expected = right_attention(q[0], words[0], words[0], counts[0])
    torch.testing.assert_close(ours(q, words, counts)[0], expected)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda f: (f.argmax(1) == torch.arange(len(f))).double().mean(), "Right"),
        (lambda f: (f.argmax(1) == torch.arange(len(f))).sum(), "a count"),
        (lambda f: (f.argmax(0) == torch.arange(len(f))).double().mean(), "along each row"),
        (lambda f: f.diagonal().mean(), "mean fit"),
        (lambda f: f.argmax(1), "compare them"),
        (lambda f: f.argmax(1) == torch.arange(len(f)), "take their mean"),
    ],
)
def test_first_places(answer, words: str, capsys) -> None:
    assert words in said(capsys, check.first_places, answer)
