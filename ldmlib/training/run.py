"""The training loop: the same call on one CPU, one GPU or several processes.

    for state in fit(model, objective, (images, labels), TrainConfig(steps=2000)):
        ...                                   # look at state.step, state.loss, state.ema
    state = train(model, objective, data, TrainConfig(steps=2000), folder="runs/first")

Step k draws its batch and its noise from (seed, k) alone. So a run that is stopped and resumed
equals one that was not, several processes equal one, and a batch in parts equals the whole.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ldmlib.runtime import InterruptFlag, Runtime, device_name, pick_precision
from ldmlib.storage.files import load_checkpoint
from ldmlib.storage.places import expanded
from ldmlib.training.config import TrainConfig, TrainState, ema_decay, learning_rate
from ldmlib.training.loop import Loop, batch_indices, make_ema, trial_step
from ldmlib.training.run_folder import locked

__all__ = [
    "TrainConfig",
    "TrainState",
    "batch_indices",
    "choose_precision",
    "describe_speed",
    "ema_decay",
    "fit",
    "learning_rate",
    "make_ema",
    "resumable",
    "train",
]

BAR_SECONDS = 1.0  # between two movements of the bar: each is a message to the notebook
CHECKPOINT = "checkpoint.pt"
Objective = Callable[..., "Tensor | tuple[Tensor, dict[str, Tensor]]"]
Data = tuple[Tensor, Tensor | None]


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
        model: trained in place, on a GPU if there is one; then it goes back where it was.
        objective: ``objective(model, x, y, generator, step) -> loss`` or ``(loss, parts)``. It may
            have ``after_step(x)``, ``prepare(runtime)``, ``checkpoint_state()`` and
            ``load_checkpoint_state(state)``.
        data: pictures (or latents) and labels (or None), whole, in memory.
        folder: where checkpoints go; none are written without it. No other process can train
            there meanwhile.
        resume: go on from the folder's checkpoint, bit for bit.
        progress: show a bar.

    Raises:
        FloatingPointError: the loss is not a number; the weights of the step before remain.
        ValueError: no data, or a checkpoint of another configuration or of other data.
        FileNotFoundError: resume without a checkpoint.
        OSError: another process is training in the folder, or the folder cannot be written.

    Ctrl-C ends the run after the step in progress, with a checkpoint; `state.interrupted` is set.
    """
    x, y = data
    if len(x) == 0:
        raise ValueError("no training data: the first dimension of the pictures is 0")
    if y is not None and len(y) != len(x):
        raise ValueError(f"{len(x)} pictures but {len(y)} labels: give one to each")
    runtime = runtime or Runtime.current()
    folder = None if folder is None else expanded(folder)
    if resume and not _checkpoint(folder).is_file():
        load_checkpoint(_checkpoint(folder))  # says what is there instead
    with nullcontext() if folder is None else alone_in(folder, runtime):
        loop = Loop(model, objective, data, config, runtime)
        try:
            yield from _steps(loop, data, folder, resume, progress)
        finally:
            loop.bring_home()


def _steps(
    loop: Loop, data: Data, folder: str | Path | None, resume: bool, progress: bool
) -> Iterator[TrainState]:
    """The steps of `fit`, from the first or from the checkpoint's."""
    (x, y), config, runtime = data, loop.config, loop.runtime
    if resume:
        loop.load(_checkpoint(folder))
    elif config.precision == "auto":
        parts = loop.state.model, loop.objective, data, config, runtime
        loop.state.precision = choose_precision(*parts)
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
        mininterval=BAR_SECONDS,
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


def choose_precision(
    model: nn.Module, objective: Objective, data: Data, config: TrainConfig, runtime: Runtime
) -> str:
    """What ``precision="auto"`` becomes: measured on copies, the same on all processes."""
    picked = pick_precision(trial_step(model, objective, data, config, runtime), runtime.device)
    return "bfloat16" if runtime.mean(float(picked == "bfloat16")) > 0.5 else "float32"


@contextmanager
def alone_in(folder: Path, runtime: Runtime) -> Iterator[None]:
    """`run_folder.locked` for a training of one or several processes: the main one has the lock.

    Raises:
        OSError: see `locked`; with several processes, on each of them.
    """
    with ExitStack() as stack:
        main_only(runtime, lambda: stack.enter_context(locked(folder)))
        yield


def main_only(runtime: Runtime, action: Callable[[], object]) -> None:
    """Do something on the main process; if it fails there, all processes raise, and none waits.

    Raises:
        Exception: what `action` raised; ValueError on the other processes.
    """
    error = None
    if runtime.is_main:
        try:
            action()
        except Exception as raised:
            error = raised
    failed = runtime.mean(float(error is not None)) > 0
    if error is not None:
        raise error
    if failed:
        raise ValueError("the main process has ended this training; its message says why")


def train(*args, **kwargs) -> TrainState:
    """Run `fit` to its end and return the last state; same arguments."""
    [state] = deque(fit(*args, **kwargs), maxlen=1)
    if state.interrupted:
        print(f"Stopped after step {state.step}: the model is usable as it is.")
    return state


def _checkpoint(folder: str | Path | None) -> Path:
    if folder is None:
        raise ValueError("resume needs the folder with the checkpoint: folder=...")
    return Path(folder) / CHECKPOINT


def resumable(name: str, *settings: object) -> dict[str, object]:
    """Options of `fit` for a training that survives a lost runtime, if the reader wishes it.

    With $LDMLIB_RUNS set to a folder (on a mounted drive, say), checkpoints go there, and the same
    call goes on from them. Without it: {}, nothing is written, and every call starts anew.

    Args:
        name: of the training; its folder is called after it.
        settings: recipes, configs, networks, whatever is told apart by its `repr`: with other ones
            the training is another, in a folder of its own.
    """
    if not (root := os.environ.get("LDMLIB_RUNS")):
        return {}
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:8]
    folder = expanded(root) / f"{name}-{digest}"
    resume = _checkpoint(folder).is_file()
    if resume:
        print(f"{name} goes on from {folder} (delete that folder to start anew)")
    return {"folder": folder, "resume": resume}


def describe_speed(state: TrainState, objective: Objective, data: Data, config: TrainConfig) -> str:
    """Where steps were made and how precisely; on a GPU also what that gained, from a few steps."""
    words = f"on {device_name(state.device)} in {state.precision}"
    if state.device.type == "cpu":
        return words
    cpu, here = (
        _seconds_a_step(state.model, objective, data, config, device)
        for device in (torch.device("cpu"), state.device)
    )
    return f"{words}; a step is {cpu / here:.1f} times as fast as on this machine's CPU"


def _seconds_a_step(
    model: nn.Module, objective: Objective, data: Data, config: TrainConfig, device: torch.device
) -> float:
    """Seconds of the fastest of three steps on a device, made by copies after one to warm up."""
    config = replace(config, steps=4, cycles=1, log_every=1)
    copies = deepcopy((model, objective))
    state = train(*copies, data, config, progress=False, runtime=Runtime(device))
    ends = [entry["seconds"] for entry in state.history]
    return min(end - start for start, end in zip(ends, ends[1:], strict=False))
