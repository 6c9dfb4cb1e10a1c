"""The inside of a training run: one step, and what a checkpoint holds; `training` runs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ldmlib.rng import Shard, seeded
from ldmlib.runtime import Runtime
from ldmlib.storage.files import ANOTHER, load_checkpoint, save_checkpoint
from ldmlib.storage.wrappers import load_plain, plain_names
from ldmlib.training.config import TrainConfig, TrainState, ema_decay, learning_rate
from ldmlib.training.fingerprint import data_differences, fingerprint


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


class Loop:
    """One training run: everything that changes from step to step, and how it is saved."""

    def __init__(self, model, objective, data, config: TrainConfig, runtime: Runtime) -> None:
        self.config, self.runtime, self.objective = config, runtime, objective
        self.data = data
        self.home = next(model.parameters()).device
        model.to(runtime.device).train()
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.lr, weight_decay=config.weight_decay, betas=config.betas
        )
        self.averaged = make_ema(model, config.ema) if config.ema else None
        ema = self.averaged.module if self.averaged else model
        precision = "float32" if config.precision == "auto" else config.precision
        self.state = TrainState(model, ema, precision=precision, device=runtime.device)
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

    def bring_home(self) -> None:
        """Return model and average to where the model came from: a training leaves no trace."""
        for network in (self.state.model, self.state.ema):
            network.to(self.home)

    # ----- checkpoints
    def save(self, path: Path) -> None:
        """Write everything needed to go on, in one atomic file (main process only)."""
        if not self.runtime.is_main:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(path, {
            "model": plain_names(self.state.model.state_dict()),
            "ema": _state_of_average(self.averaged) if self.averaged else {},
            "optimizer": self.optimizer.state_dict(),
            "objective": _state_of(self.objective),
            "step": self.state.step, "history": self.state.history, "recent": self.recent,
            "precision": self.state.precision, "seconds": self.seconds,
            "config": asdict(self.config), "data": self.fingerprint,
        })  # fmt: skip

    @cached_property
    def fingerprint(self) -> dict:
        """What a checkpoint remembers of the data."""
        return fingerprint(*self.data)

    def load(self, path: Path) -> None:
        """Take everything back from `path`; configuration and data must be the same.

        Wrappers of the model (`torch.compile`, say) may be others. A checkpoint of an earlier
        version of this library, which does not remember its data, is taken with a remark.
        """
        saved = load_checkpoint(path)
        if not isinstance(saved, dict) or "config" not in saved:
            raise ValueError(f"{path} is no checkpoint of a training run: {ANOTHER}")
        now, then = asdict(self.config), {**asdict(TrainConfig()), **saved["config"]}
        then["precision"] = saved["precision"] if now["precision"] != "auto" else "auto"
        other = [
            f"{k}: {then[k]} there, {v} here"
            for k, v in now.items()
            if then[k] != v and not k.endswith("_every")
        ]
        if other:
            raise ValueError(
                f"{path} was written with another configuration ({'; '.join(other)}); "
                "resume with the same one, or start anew in another folder"
            )
        self._check_data(path, saved.get("data"))
        load_plain(self.state.model, saved["model"], "model")
        if self.averaged:
            load_plain(self.averaged.module, saved["ema"], "averaged model")
            self.averaged.n_averaged.copy_(saved["ema"]["n_averaged"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["objective"]:
            self.objective.load_checkpoint_state(saved["objective"])
        self.state.step, self.state.history = saved["step"], saved["history"]
        self.state.precision, self.seconds = saved["precision"], saved["seconds"]
        self.recent = saved["recent"]

    def _check_data(self, path: Path, then: dict | None) -> None:
        if then is None:
            if self.runtime.is_main:
                print(f"{path} does not say what it was trained on, so that was not compared.")
        elif other := data_differences(then, self.fingerprint):
            raise ValueError(
                f"{path} was written in a training on other data ({other}); resume with the same "
                "data, or start anew in another folder"
            )


def trial_step(
    model: nn.Module, objective, data, config: TrainConfig, runtime: Runtime
) -> Callable[[str], None]:
    """A function that runs forward and backward once in a given precision, on a copy."""
    model, objective, (x, y) = deepcopy(model).to(runtime.device), copy(objective), data
    part = max(1, config.batch_size // (config.accumulate * runtime.count))
    chosen = batch_indices(0, len(x), part, config.seed)
    bx = x[chosen].to(runtime.device, torch.float32)
    by = None if y is None else y[chosen].to(runtime.device)

    def run(precision: str) -> None:
        generator = seeded(config.seed, 2, 0)
        with runtime.step_context(seeded(config.seed, 3, 0), precision):
            loss, _ = _as_pair(objective(model, bx, by, generator, 0))
        loss.backward()

    return run


def _as_pair(result) -> tuple[Tensor, dict[str, Tensor]]:
    return result if isinstance(result, tuple) else (result, {})


def _state_of_average(averaged: AveragedModel) -> dict[str, Tensor]:
    """The names of `AveragedModel.state_dict` for a model without wrappers."""
    weights = plain_names(averaged.module.state_dict())
    return {"n_averaged": averaged.n_averaged, **{f"module.{k}": v for k, v in weights.items()}}


def _state_of(objective) -> dict:
    return objective.checkpoint_state() if hasattr(objective, "checkpoint_state") else {}
