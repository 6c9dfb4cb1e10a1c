"""Settings of a training run, its state, and the two curves that change over its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import nn

LR_SCHEDULES = ("cosine", "one_cycle", "constant")


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Args:
        steps: updates of the weights.
        batch_size: images an update, over all processes together.
        lr: largest learning rate.
        lr_schedule: ``cosine`` (warm-up, then down to 0), ``one_cycle`` (a slow rise over 30 % of
            the steps, then down to 0), ``constant`` (warm-up only).
        warmup: share of a cycle's steps in which the rate rises from 0; ``one_cycle`` has its own.
        cycles: times that the rate starts again, over equal parts of the steps.
        weight_decay: of AdamW.
        betas: of AdamW, memory of the gradients' mean and square; a GAN wants (0, ...).
        ema: decay of the averaged weights; 0 for none.
        clip: largest gradient norm.
        accumulate: parts in which a batch is worked off, to save memory.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 where it is measured faster.
        seed: of data order, noise and times.
        log_every: steps between entries of the history.
        checkpoint_every: steps between checkpoints, if there is a folder.
    """

    steps: int = 1000
    batch_size: int = 128
    lr: float = 2e-3
    lr_schedule: str = "cosine"
    warmup: float = 0.05
    cycles: int = 1
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    ema: float = 0.999
    clip: float = 1.0
    accumulate: int = 1
    precision: str = "auto"
    seed: int = 0
    log_every: int = 20
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "accumulate",
            "cycles",
            "log_every",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size {self.batch_size} does not divide into {self.accumulate} equal parts"
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is a decay from 0 (no average) to below 1, not {self.ema}")
        if self.steps % self.cycles:
            raise ValueError(f"{self.steps} steps do not divide into {self.cycles} equal cycles")
        if self.lr_schedule not in LR_SCHEDULES:
            known = ", ".join(map(repr, LR_SCHEDULES))
            raise ValueError(f"lr_schedule is one of {known}, not {self.lr_schedule!r}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(
                f"precision is 'auto', 'float32' or 'bfloat16', not {self.precision!r}"
            )


@dataclass
class TrainState:
    """What `fit` yields after every step, when weights, EMA and history are up to date."""

    model: nn.Module
    ema: nn.Module
    step: int = 0
    loss: float = math.nan
    history: list[dict[str, float]] = field(default_factory=list)
    precision: str = "float32"
    interrupted: bool = False
    device: torch.device = torch.device("cpu")  # where the steps were made


def learning_rate(step: int, config: TrainConfig) -> float:
    """Rate of step 0, 1, ...; each cycle rises and falls anew.

    ``cosine`` (1608.03983): linear warm-up, then half a cosine down to 0. ``one_cycle``
    (1708.07120): half a cosine up from lr / 25 over 30 % of the steps, half a cosine down to 0.
    """
    length = config.steps // config.cycles
    step = step % length
    one_cycle = config.lr_schedule == "one_cycle"
    warmup = max(1, round((0.3 if one_cycle else config.warmup) * length))
    if step < warmup and one_cycle:
        return config.lr * (1 - (1 - 1 / 25) * half_cosine(step / warmup))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.lr_schedule == "constant":
        return config.lr
    return config.lr * half_cosine((step - warmup) / max(1, length - warmup))


def half_cosine(progress: float) -> float:
    """From 1 at progress 0 to 0 at progress 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def ema_decay(updates: int, decay: float) -> float:
    """Decay of the average after so many updates: it warms up, min(decay, (1+k)/(10+k))."""
    return min(decay, (1 + updates) / (10 + updates))
