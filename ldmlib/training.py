"""The training loop: the same call on one CPU, one GPU or several processes.

    for state in fit(model, objective, (images, labels), TrainConfig(steps=2000)):
        ...                                   # look at state.step, state.loss, state.ema
    state = train(model, objective, data, TrainConfig(steps=2000), folder="runs/first")

Step k draws its batch and its noise from (seed, k) alone. So a run that is stopped and resumed
equals one that was not, several processes equal one, and a batch in parts equals the whole.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from ldmlib.files import load_checkpoint, load_into, save_checkpoint
from ldmlib.rng import Shard, seeded
from ldmlib.runtime import InterruptFlag, Runtime, pick_precision

Objective = Callable[..., "Tensor | tuple[Tensor, dict[str, Tensor]]"]
Data = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Args:
        steps: updates of the weights.
        batch_size: images an update, over all processes together.
        lr: largest learning rate.
        lr_schedule: ``cosine`` (warm-up, then down to 0), ``constant`` (warm-up only).
        warmup: share of the steps in which the rate rises from 0.
        weight_decay: of AdamW.
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
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    accumulate: int = 1
    precision: str = "auto"
    seed: int = 0
    log_every: int = 20
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size {self.batch_size} does not divide into {self.accumulate} equal parts"
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is a decay from 0 (no average) to below 1, not {self.ema}")
        if self.lr_schedule not in ("cosine", "constant"):
            raise ValueError(f"lr_schedule is 'cosine' or 'constant', not {self.lr_schedule!r}")
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


def learning_rate(step: int, config: TrainConfig) -> float:
    """Rate of step 0, 1, ...: linear warm-up, then half a cosine down to 0 (1608.03983)."""
    warmup = max(1, round(config.warmup * config.steps))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.lr_schedule == "constant":
        return config.lr
    progress = (step - warmup) / max(1, config.steps - warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


def ema_decay(updates: int, decay: float) -> float:
    """Decay of the average after so many updates: it warms up, min(decay, (1+k)/(10+k))."""
    return min(decay, (1 + updates) / (10 + updates))


def make_ema(model: nn.Module, decay: float) -> AveragedModel:
    """Averaged copy of a model: parameters averaged with warm-up, buffers copied."""

    @torch.no_grad()
    def average(averaged: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
        torch._foreach_lerp_(averaged, current, 1 - ema_decay(int(updates), decay))

    return AveragedModel(model, multi_avg_fn=average).eval()


def batch_indices(step: int, n: int, batch_size: int, seed: int) -> Tensor:
    """Which of n images make up batch `step`: every image once an epoch, in a new order."""
    position = torch.arange(step * batch_size, (step + 1) * batch_size)
    epoch, offset = position // n, position % n
    chosen = torch.empty_like(position)
    for e in epoch.unique().tolist():
        order = torch.randperm(n, generator=seeded(seed, 1, e))
        chosen[epoch == e] = order[offset[epoch == e]]
    return chosen


def fit(
    model: nn.Module,
    objective: Objective,
    data: Data,
    config: TrainConfig = TrainConfig(),  # noqa: B008
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    runtime: Runtime | None = None,
) -> Iterator[TrainState]:
    """Train, yielding the state after every step.

    Args:
        model: trained in place.
        objective: ``objective(model, x, y, generator, step) -> loss`` or ``(loss, parts)``. It may
            have ``after_step(x)``, ``prepare(runtime)`` and a ``state_dict``.
        data: pictures (or latents) and labels (or None), whole, in memory.
        folder: where checkpoints go; none are written without it.
        resume: go on from the folder's checkpoint, bit for bit.
        progress: show a bar.

    Raises:
        FloatingPointError: the loss is not a number; the weights of the step before remain.
        ValueError: no data, or a checkpoint of another configuration.
        FileNotFoundError: resume without a checkpoint.

    Ctrl-C ends the run after the step in progress, with a checkpoint; `state.interrupted` is set.
    """
    x, y = data
    if len(x) == 0:
        raise ValueError("no training data: the first dimension of the pictures is 0")
    if y is not None and len(y) != len(x):
        raise ValueError(f"{len(x)} pictures but {len(y)} labels: give one to each")
    runtime = runtime or Runtime.current()
    loop = _Loop(model, objective, config, runtime)
    if resume:
        loop.load(_checkpoint(folder))
    elif config.precision == "auto":
        picked = pick_precision(loop.trial_step(x, y), runtime.device)
        agreed = runtime.mean(float(picked == "bfloat16")) > 0.5
        loop.state.precision = "bfloat16" if agreed else "float32"
    if loop.state.step >= config.steps:
        yield loop.state
        return
    steps = range(loop.state.step, config.steps)
    bar = tqdm(
        steps,
        initial=loop.state.step,
        total=config.steps,
        unit="step",
        smoothing=0.05,
        disable=not (progress and runtime.is_main),
    )
    with InterruptFlag() as interrupt:
        for step in bar:
            loop.run(step, x, y)
            bar.set_postfix(loss=f"{loop.running_loss():.4f}", refresh=False)
            stop = loop.state.interrupted = runtime.mean(float(interrupt.raised)) > 0
            last = loop.state.step == config.steps or stop
            if folder and (last or loop.state.step % config.checkpoint_every == 0):
                loop.save(_checkpoint(folder))
            yield loop.state
            if stop:
                break


def train(*args, **kwargs) -> TrainState:
    """Run `fit` to its end and return the last state; same arguments."""
    [state] = deque(fit(*args, **kwargs), maxlen=1)
    if state.interrupted:
        print(f"Stopped after step {state.step}: the model is usable as it is.")
    return state


def _checkpoint(folder: str | Path | None) -> Path:
    if folder is None:
        raise ValueError("resume needs the folder with the checkpoint: folder=...")
    return Path(folder) / "checkpoint.pt"


class _Loop:
    """One training run: everything that changes from step to step, and how it is saved."""

    def __init__(self, model, objective, config: TrainConfig, runtime: Runtime) -> None:
        self.config, self.runtime, self.objective = config, runtime, objective
        model.to(runtime.device).train()
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )
        self.averaged = make_ema(model, config.ema) if config.ema else None
        ema = self.averaged.module if self.averaged else model
        precision = "float32" if config.precision == "auto" else config.precision
        self.state = TrainState(model, ema, precision=precision)
        self.wrapped = runtime.prepare(model)
        if hasattr(objective, "prepare"):
            objective.prepare(runtime)
        self.seconds, self.recent = 0.0, []

    # ----- one step
    def run(self, step: int, x: Tensor, y: Tensor | None) -> None:
        """Forward, backward, update: then EMA, the objective's own update, the history."""
        start, c = perf_counter(), self.config
        lr = learning_rate(step, c)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        loss, parts, seen = self._gradients(step, x, y)
        if not math.isfinite(loss):
            self._explain_nan(step, "loss", loss)
        norm = float(nn.utils.clip_grad_norm_(self.state.model.parameters(), c.clip))
        if not math.isfinite(norm):
            self._explain_nan(step, "gradient's length", norm)
        self.optimizer.step()
        if self.averaged:
            self.averaged.update_parameters(self.state.model)
        if hasattr(self.objective, "after_step"):
            self.objective.after_step(seen)
        self.seconds += perf_counter() - start
        self._record(step + 1, loss, parts, lr)

    def _gradients(self, step: int, x: Tensor, y: Tensor | None):
        """Gradients of one whole batch, worked off in parts; the mean loss over all processes."""
        runtime, count = self.runtime, self.config.accumulate * self.runtime.count
        batch = batch_indices(step, len(x), self.config.batch_size, self.config.seed)
        if len(batch) % count:
            raise ValueError(
                f"batch_size {len(batch)} does not divide by the {count} parts of "
                "processes x accumulate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        total, logs, seen = 0.0, {}, []
        for part in range(self.config.accumulate):
            index = runtime.index * self.config.accumulate + part
            chosen = batch.chunk(count)[index]
            generator = seeded(self.config.seed, 2, step)
            shard = generator if count == 1 else Shard(generator, index, count)
            bx = x[chosen].to(runtime.device, torch.float32)
            by = None if y is None else y[chosen].to(runtime.device)
            with runtime.step_context(
                seeded(self.config.seed, 3, step, index), self.state.precision
            ):
                loss, parts = _as_pair(self.objective(self.wrapped, bx, by, shard, step))
            (loss / self.config.accumulate).backward()
            seen.append(bx)
            total += float(loss.detach()) / self.config.accumulate
            for name, value in parts.items():
                logs[name] = logs.get(name, 0.0) + float(value.detach()) / self.config.accumulate
        logs = {name: runtime.mean(value) for name, value in logs.items()}
        return runtime.mean(total), logs, torch.cat(seen)

    def _explain_nan(self, step: int, what: str, value: float) -> None:
        raise FloatingPointError(
            f"the {what} became {value} at step {step}. The weights are those of the step before, "
            "and the last checkpoint is untouched. Usual causes: a learning rate too high (try a "
            "third), data that are not finite or not scaled to about unit size, or a division by "
            "alpha or sigma = 0."
        )

    def _record(self, step: int, loss: float, parts: dict[str, float], lr: float) -> None:
        self.state.step, self.state.loss = step, loss
        self.recent.append({"loss": loss, **parts})
        if step % self.config.log_every == 0 or step == self.config.steps:
            keys = self.recent[-1].keys()
            mean = {k: sum(r.get(k, 0.0) for r in self.recent) / len(self.recent) for k in keys}
            self.state.history.append({"step": step, **mean, "lr": lr, "seconds": self.seconds})
            self.recent = []

    def running_loss(self) -> float:
        """Mean loss since the last entry of the history, or that entry's."""
        if self.recent:
            return sum(r["loss"] for r in self.recent) / len(self.recent)
        return self.state.history[-1]["loss"]

    def trial_step(self, x: Tensor, y: Tensor | None) -> Callable[[str], None]:
        """A function that runs forward and backward once in a given precision, on a copy."""
        model, objective = deepcopy(self.state.model), copy(self.objective)
        part = max(1, self.config.batch_size // (self.config.accumulate * self.runtime.count))
        chosen = batch_indices(0, len(x), part, self.config.seed)
        bx = x[chosen].to(self.runtime.device, torch.float32)
        by = None if y is None else y[chosen].to(self.runtime.device)

        def run(precision: str) -> None:
            generator = seeded(self.config.seed, 2, 0)
            with self.runtime.step_context(seeded(self.config.seed, 3, 0), precision):
                loss, _ = _as_pair(objective(model, bx, by, generator, 0))
            loss.backward()

        return run

    # ----- checkpoints
    def save(self, path: Path) -> None:
        """Write everything needed to go on, in one atomic file (main process only)."""
        if not self.runtime.is_main:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(path, {
            "model": self.state.model.state_dict(),
            "ema": self.averaged.state_dict() if self.averaged else {},
            "optimizer": self.optimizer.state_dict(),
            "objective": _state_of(self.objective),
            "step": self.state.step, "history": self.state.history, "recent": self.recent,
            "precision": self.state.precision, "seconds": self.seconds,
            "config": asdict(self.config),
        })  # fmt: skip

    def load(self, path: Path) -> None:
        """Take everything back from `path`; the configuration must be the same."""
        saved = load_checkpoint(path)
        now = asdict(self.config)
        other = [
            f"{k}: {saved['config'].get(k)} there, {v} here"
            for k, v in now.items()
            if saved["config"].get(k) != v and not k.endswith("_every")
        ]
        if other:
            raise ValueError(
                f"{path} was written with another configuration ({'; '.join(other)}); "
                "resume with the same one, or start anew in another folder"
            )
        load_into(self.state.model, saved["model"], "model")
        if self.averaged:
            self.averaged.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["objective"]:
            self.objective.load_checkpoint_state(saved["objective"])
        self.state.step, self.state.history = saved["step"], saved["history"]
        self.state.precision, self.seconds = saved["precision"], saved["seconds"]
        self.recent = saved["recent"]


def _as_pair(result) -> tuple[Tensor, dict[str, Tensor]]:
    return result if isinstance(result, tuple) else (result, {})


def _state_of(objective) -> dict:
    return objective.checkpoint_state() if hasattr(objective, "checkpoint_state") else {}
