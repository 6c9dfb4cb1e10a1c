"""Words become tokens: byte-pair encoding (arXiv 1508.07909)."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

END = " "  # ends the last piece of a word, so that "car " and the "car" of "carrot" are two


ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789,.'!?:&-"


def words_of(prompt: str) -> list[str]:
    """Lower-case words and signs of a prompt; accents are taken off.

    Raises:
        TypeError: not a string.
        ValueError: letters or signs that the alphabet does not have.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt is a string, not {type(prompt).__name__}: {prompt!r}")
    plain = unicodedata.normalize("NFKD", prompt.lower())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    if strange := sorted(set(plain) - set(ALPHABET) - set(" \t\n")):
        raise ValueError(
            f"prompt {prompt!r}: {' '.join(strange)} cannot be read; use the letters a to z, "
            "figures and simple punctuation"
        )
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", plain)


def _letters(word: str) -> tuple[str, ...]:
    return (*word[:-1], word[-1] + END)


def _merged(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The same pieces with every occurrence of `pair` made one."""
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return tuple(merged)


@dataclass(frozen=True)
class Tokenizer:
    """Byte-pair encoding: frequent neighbours become one token, again and again (1508.07909).

    Args:
        merges: the pairs in the order in which they were learned.
        length: the most tokens of a prompt; shorter ones are filled up with -1.
    """

    merges: tuple[tuple[str, str], ...] = ()
    length: int = 24

    def __post_init__(self) -> None:
        object.__setattr__(self, "merges", tuple(tuple(pair) for pair in self.merges))

    @classmethod
    def learn(cls, texts: Iterable[str], merges: int = 1000, length: int = 24) -> Tokenizer:
        """Learn at most so many merges from texts; pairs that occur only once are left alone."""
        counts = Counter(word for text in texts for word in words_of(text))
        pieces = {word: _letters(word) for word in counts}
        pairs: Counter[tuple[str, str]] = Counter()

        def count(word: str, sign: int) -> None:
            for pair in zip(pieces[word], pieces[word][1:], strict=False):
                pairs[pair] += sign * counts[word]

        for word in counts:
            count(word, 1)
        learned: list[tuple[str, str]] = []
        while len(learned) < merges and pairs:
            best = max(pairs, key=lambda pair: (pairs[pair], pair))
            if pairs[best] < 2:
                break
            learned.append(best)
            for word in [w for w, parts in pieces.items() if best[0] in parts and best[1] in parts]:
                count(word, -1)
                pieces[word] = _merged(pieces[word], best)
                count(word, 1)
        return cls(tuple(learned), length)

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Every token and its number: letters, letters that end a word, then what was merged."""
        tokens = [*ALPHABET, *(c + END for c in ALPHABET), *("".join(p) for p in self.merges)]
        return {token: i for i, token in enumerate(dict.fromkeys(tokens))}

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        return {pair: i for i, pair in enumerate(self.merges)}

    def __len__(self) -> int:
        return len(self.vocabulary)

    def pieces(self, prompt: str) -> list[str]:
        """The tokens of a prompt as text: merges are applied in the order of learning."""
        found: list[str] = []
        for word in words_of(prompt):
            parts = _letters(word)
            while len(parts) > 1:
                pairs = zip(parts, parts[1:], strict=False)
                best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self.merges)))
                if best not in self._ranks:
                    break
                parts = _merged(parts, best)
            found += parts
        return found

    def __call__(self, prompts: str | list[str]) -> Tensor:
        """Token ids, int64 (n, length), -1 where there is no token.

        Raises:
            ValueError: a prompt of more tokens than `length`, or with unknown letters.
        """
        prompts = [prompts] if isinstance(prompts, str) else prompts
        ids = torch.full((len(prompts), self.length), -1)
        for row, prompt in zip(ids, prompts, strict=True):
            found = [self.vocabulary[piece] for piece in self.pieces(prompt)]
            if len(found) > self.length:
                raise ValueError(
                    f"prompt {prompt!r} has {len(found)} tokens, the model reads {self.length}: "
                    "say it in fewer words"
                )
            row[: len(found)] = torch.tensor(found, dtype=torch.long)
        return ids

    def decode(self, ids: Tensor) -> list[str]:
        """Prompts of token ids (n, L)."""
        tokens = list(self.vocabulary)
        joined = ("".join(tokens[i] for i in row.tolist() if i >= 0) for row in ids)
        return [prompt.strip().replace(" ,", ",") for prompt in joined]
