"""Laws of `ldmlib.rng`: draws repeat, do not depend on the batch, and have the right law."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ldmlib.rng import Shard, even_uniform, per_sample_generators, rand, randn_like, seeded


def shape(n: int, *rest: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(n, *rest, dtype=dtype)


DRAWS = {
    "randn_like": lambda n, g: randn_like(shape(n, 2, 3), g),
    "rand": rand,
    "even_uniform": even_uniform,
}
each_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@each_draw
def test_same_numbers_same_draws(draw) -> None:
    assert torch.equal(draw(8, seeded(3, 5)), draw(8, seeded(3, 5)))
    generator = seeded(3, 5)
    assert not torch.equal(draw(8, generator), draw(8, generator))


def test_other_numbers_other_draws() -> None:
    keys = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (-1,)]
    keys += [(seed, step) for seed in range(2, 30) for step in range(2, 30)]
    first = {float(torch.rand((), generator=seeded(*key), dtype=torch.float64)) for key in keys}
    assert len(first) == len(keys)


@each_draw
def test_each_sample_has_its_own_generator(draw) -> None:
    """Law 18: sample i is the same for every batch size and start."""
    whole = draw(7, per_sample_generators(1, 7))
    parts = [draw(n, per_sample_generators(1, n, start)) for start, n in [(0, 1), (1, 4), (5, 2)]]
    assert torch.equal(whole, torch.cat(parts))
    assert len(whole.flatten(1).unique(dim=0) if whole.ndim > 1 else whole.unique()) == 7
    assert not torch.equal(whole, draw(7, per_sample_generators(2, 7)))


@each_draw
def test_shards_together_are_one_process(draw) -> None:
    whole = draw(12, seeded(4))
    parts = [draw(4, Shard(seeded(4), index, 3)) for index in range(3)]
    assert torch.equal(whole, torch.cat(parts))


@each_draw
def test_shards_stay_in_step(draw) -> None:
    """Every process uses up as many numbers as the others, so the second draw fits again."""
    alone = seeded(4)
    draw(12, alone)
    shards = [Shard(seeded(4), index, 3) for index in range(3)]
    for shard in shards:
        draw(4, shard)
    assert torch.equal(draw(12, alone), torch.cat([draw(4, shard) for shard in shards]))


def test_without_a_generator_the_global_one_is_used() -> None:
    torch.manual_seed(0)
    first = randn_like(shape(3, 2))
    torch.manual_seed(0)
    assert torch.equal(randn_like(shape(3, 2)), first)


def test_a_generator_leaves_the_global_one_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    per_sample_generators(0, 3), randn_like(shape(2, 2), seeded(1)), even_uniform(4, seeded(1))
    assert torch.equal(torch.rand(1), expected)


def test_noise_follows_shape_and_type_with_the_same_values() -> None:
    single = randn_like(shape(4, 3), seeded(0))
    double = randn_like(shape(4, 3, dtype=torch.float64), seeded(0))
    assert double.dtype == torch.float64 and torch.equal(double, single.double())


@pytest.mark.parametrize("kind", ["one for all", "one each"])
def test_noise_is_standard_normal_and_independent(kind: str) -> None:
    n, d = 2000, 50
    generator = seeded(0) if kind == "one for all" else per_sample_generators(0, n)
    x = randn_like(shape(n, d, dtype=torch.float64), generator)
    standard_error = (n * d) ** -0.5
    assert abs(x.mean()) < 5 * standard_error
    assert abs(x.var() - 1) < 5 * 2**0.5 * standard_error
    assert abs((x[1:] * x[:-1]).mean()) < 5 * standard_error  # neighbours in the batch
    assert abs((x[:, 1:] * x[:, :-1]).mean()) < 5 * standard_error


def test_even_uniform_puts_one_in_each_stratum() -> None:
    u = even_uniform(100, seeded(0))
    assert u.dtype == torch.float64 and u.shape == (100,)
    assert (u * 100).floor().sort().values.tolist() == list(range(100))
    assert not torch.equal(u, u.sort().values)  # shuffled: pictures do not keep their times


def test_even_uniform_is_uniform_at_every_place() -> None:
    draws = torch.stack([even_uniform(4, seeded(seed)) for seed in range(4000)])
    expected = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    distance = (draws.sort(0).values - expected[:, None]).abs().amax(0)  # Kolmogorov-Smirnov
    assert (distance < 1.95 / 4000**0.5).all()  # a wrong law passes once in a thousand
    assert draws.min() >= 0 and draws.max() < 1


def test_rand_is_uniform() -> None:
    u = rand(4000, seeded(0)).double().sort().values
    expected = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    assert u[0] >= 0 and u[-1] < 1 and (u - expected).abs().max() < 1.95 / 4000**0.5


def test_a_wrong_number_of_generators_is_named() -> None:
    with pytest.raises(ValueError, match="2 generators for 3 samples: give one each"):
        randn_like(shape(3, 2), per_sample_generators(0, 2))
