"""Fewer steps by other pairs: short lines, straight walks, and a student of a latent diffusion.

    pairs = teacher_pairs(teacher, 4096)     # noises, and what the teacher makes of them
    student, state = distil(teacher, pairs)  # learns the straight lines between the two
    student.sample(10, steps=1)

Flow matching pairs a picture with any noise (arXiv 2210.02747): the lines cross, the curves that
follow bend, and one step ends at a mean. Pairs that a teacher made do not cross (reflow, arXiv
2209.03003), or hardly, and with them the same loss teaches the same map in a few straight steps.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ldmlib.diffusion.samplers import Sampler, initial_noise, sample
from ldmlib.diffusion.schedule import per_image
from ldmlib.diffusion.spacing import time_grid
from ldmlib.latent.model import LatentDiffusion
from ldmlib.rng import Generator, even_uniform, per_sample_generators
from ldmlib.storage.wrappers import load_plain
from ldmlib.training.config import TrainConfig, TrainState
from ldmlib.training.run import train

# --------------------------------------------------------------------------- pairs by themselves


def straightness(stages: Tensor, times: Tensor) -> float:
    """How much walks bend: mean squared difference from the velocity of a straight one.

    The integral S of arXiv 2209.03003, section 2, along a walk in pieces; 0 where every piece has
    the velocity of the whole, so that one step ends where many do.

    Args:
        stages: (n + 1, points, ...), the places at each of `times`, first and last included.
        times: (n + 1,), falling, as `time_grid` gives them.

    Raises:
        ValueError: fewer than two stages, or not one for each time.
    """
    if len(stages) != len(times) or len(times) < 2:
        raise ValueError(f"{len(stages)} stages for {len(times)} times: give 2 or more, one each")
    lengths = per_image((times[:-1] - times[1:]), stages)
    pieces = (stages[:-1] - stages[1:]) / lengths
    whole = (stages[0] - stages[-1]) / float(times[0] - times[-1])
    squared = ((pieces - whole) ** 2).flatten(2).sum(2).mean(1)
    return float((squared * lengths.flatten()).sum())


def sinkhorn(x0: Tensor, noise: Tensor, blur: float = 0.02, rounds: int = 30) -> Tensor:
    """How much of each noise goes to each point so that lines are short: (m, m), sums of 1.

    Entropic optimal transport (arXiv 1306.0895): exp(-cost / blur), rows and columns scaled in
    turn, the columns last.

    Args:
        x0, noise: (m, ...), compared by squared distance.
        blur: the smaller, the sharper the choice; in units of the mean cost.
    """
    cost = torch.cdist(x0.flatten(1), noise.flatten(1)) ** 2
    table = -cost / (blur * cost.mean())
    for _ in range(rounds):
        table = table - table.logsumexp(-1, keepdim=True)
        table = table - table.logsumexp(-2, keepdim=True)
    return table.exp()


def couple(x0: Tensor, noise: Tensor, batch_size: int, generator: Generator = None) -> Tensor:
    """Noises (n, ...) in an order that makes lines to x0 short, batch by batch (2302.00482).

    For each point a noise of its own batch is drawn by `sinkhorn`'s table: all are used about as
    often, not each exactly once. A batch of 1 leaves chance to its own.
    """
    drawn = []
    for points, noises in zip(x0.split(batch_size), noise.split(batch_size), strict=True):
        table = sinkhorn(points, noises)
        drawn.append(noises[torch.multinomial(table, 1, generator=generator)[:, 0]])
    return torch.cat(drawn)


# --------------------------------------------------------------------------- a student
@dataclass(frozen=True)
class Pairs:
    """Noises, the latents that a teacher made of them, both (n, c, h, w), and labels (n,)."""

    noise: Tensor
    x0: Tensor
    labels: Tensor | None = None


def teacher_pairs(
    teacher: LatentDiffusion,
    n: int,
    labels: Tensor | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    *,
    sampler: str | Sampler | None = None,
    batch_size: int = 256,
) -> Pairs:
    """What the teacher makes of n noises; arguments as in `LatentDiffusion.sample`.

    Guidance is baked in: the student learns the guided result and will not ask twice.

    Raises:
        ValueError: a teacher whose noise is not the flow's (its student could not start from it).
    """
    if (teacher.diffusion.schedule, teacher.diffusion.parametrisation) != ("flow", "flow"):
        raise ValueError(
            "a student starts from its teacher's weights and learns straight lines: the teacher "
            f"must be of schedule and parametrisation 'flow', not {teacher.diffusion.schedule!r} "
            f"and {teacher.diffusion.parametrisation!r}"
        )
    config, curves = teacher.config, teacher.diffusion.curves
    labels = teacher.draw_labels(n, seed) if labels is None else labels
    times = time_grid(config.steps if steps is None else steps)
    like = torch.empty(n, *teacher.latent_shape)
    noise = initial_noise(like, curves, per_sample_generators(seed, n))
    results = []
    for first in range(0, n, batch_size):
        part = slice(first, first + batch_size)
        predict = teacher.predictor(None if labels is None else labels[part], guidance)
        results.append(
            sample(predict, noise[part], times, curves, sampler=sampler or config.sampler)
        )
    return Pairs(noise, torch.cat(results), labels)


@dataclass(frozen=True)
class PairLoss:
    """Flow matching on pairs, at the times at which a student of few steps is asked (2209.03003).

    An objective for `training.fit`; its data are the pairs in one tensor (n, 2, c, h, w).

    Args:
        times: at which to train: 1 is the first step of every student.
        shares: of the batch at each of them.
    """

    times: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)
    shares: tuple[float, ...] = (0.5, 0.16, 0.18, 0.16)

    def __post_init__(self) -> None:
        if len(self.times) != len(self.shares) or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"one share for each time, together 1, not {self.shares}")

    def draw_times(self, n: int, generator: Generator = None) -> Tensor:
        """(n,) times, each as often as its share says, in any order."""
        ends = torch.tensor(self.shares, dtype=torch.float64).cumsum(0)[:-1]
        return torch.tensor(self.times)[torch.bucketize(even_uniform(n, generator), ends)]

    def __call__(self, model, pairs: Tensor, y: Tensor | None, generator: Generator, step: int):
        noise, x0 = pairs.unbind(1)
        t = self.draw_times(len(pairs), generator).to(x0)
        x_t = torch.lerp(x0, noise, per_image(t, x0))
        return ((model(x_t, t, y).float() - (noise - x0)) ** 2).mean()


def distil(
    teacher: LatentDiffusion,
    pairs: Pairs,
    config: TrainConfig = TrainConfig(steps=400, lr=1e-3, ema=0.98),  # noqa: B008
    loss: PairLoss = PairLoss(),  # noqa: B008
    **options: object,
) -> tuple[LatentDiffusion, TrainState]:
    """A student for 1, 2 or 4 steps of Euler, starting from the teacher's weights.

    The teacher stays as it is; options go to `training.fit`. The student's guidance is 1: what the
    teacher's did is in the pairs.
    """
    student = deepcopy(teacher)
    student.config = replace(
        teacher.config, sampler="euler", steps=4, guidance=1.0, guidance_interval=(0.0, 1.0)
    )
    both = torch.stack([pairs.noise, pairs.x0], 1)
    state = train(student.denoiser, loss, (both, pairs.labels), config, **options)
    load_plain(student.denoiser, state.ema.state_dict(), "denoiser")
    return student.eval(), state
