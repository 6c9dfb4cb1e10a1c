"""Randomness that repeats: one generator for a batch, one for each sample, or one shared out.

Every random draw of the library goes through `randn_like` and `rand`. They accept

- a `torch.Generator`: one stream for the whole batch;
- a list of generators, one for each sample: sample i is then the same whatever the batch size;
- a `Shard`: several training processes that together draw what one process would have drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` equal parts of every draw from `generator`."""

    generator: torch.Generator
    index: int
    count: int


Generator = torch.Generator | list[torch.Generator] | Shard | None


def seeded(*numbers: int) -> torch.Generator:
    """A CPU generator for the numbers given (such as seed and step): other numbers, other draws."""
    state = 0
    for number in numbers:
        mixer = torch.Generator().manual_seed((state + number) % 2**63)
        state = int(torch.randint(2**62, (1,), generator=mixer))
    return torch.Generator().manual_seed(state)


def per_sample_generators(seed: int, n: int, start: int = 0) -> list[torch.Generator]:
    """One CPU generator for each of samples start .. start + n - 1 of a run.

    Sample i is then the same picture whatever the batch size and whoever its neighbours are.
    """
    offset = int(torch.randint(2**31, (1,), generator=seeded(seed)))
    return [torch.Generator().manual_seed((offset + start + i) % 2**32) for i in range(n)]


def _draw(draw, n: int, generator: Generator) -> Tensor:
    """Call ``draw(n, generator)`` as the kind of generator asks."""
    if isinstance(generator, list):
        if len(generator) != n:
            raise ValueError(f"{len(generator)} generators for {n} samples: give one each")
        return torch.cat([draw(1, g) for g in generator])
    if isinstance(generator, Shard):
        whole = draw(n * generator.count, generator.generator)
        return whole[generator.index * n : (generator.index + 1) * n]
    return draw(n, generator)


def randn_like(x: Tensor, generator: Generator = None) -> Tensor:
    """Standard normal noise of x's shape, drawn on the CPU so that every device sees the same."""
    shape = x.shape[1:]
    noise = _draw(lambda n, g: torch.randn((n, *shape), generator=g), len(x), generator)
    return noise.to(x)


def even_uniform(n: int, generator: Generator = None) -> Tensor:
    """n uniform numbers in (0, 1), shape (n,), float64, one in each of n equal strata, shuffled.

    Each is uniform by itself; together they cover the interval evenly, so that a loss averaged
    over them varies less from batch to batch (arXiv 2107.00630, appendix I.1).
    """

    def draw(n: int, g: torch.Generator | None) -> Tensor:
        offset = torch.rand(1, generator=g, dtype=torch.float64)
        u = (torch.arange(n, dtype=torch.float64) + offset) / n
        return u[torch.randperm(n, generator=g)]

    return _draw(draw, n, generator)


def rand(n: int, generator: Generator = None) -> Tensor:
    """n uniform numbers in [0, 1), shape (n,)."""
    return _draw(lambda n, g: torch.rand(n, generator=g), n, generator)
