"""The training loop: the same call on one CPU, one GPU or several processes.

    for state in fit(model, objective, (images, labels), TrainConfig(steps=2000)):
        ...                                   # look at state.step, state.loss, state.ema
    state = train(model, objective, data, TrainConfig(steps=2000), folder="runs/first")

Step k draws its batch and its noise from (seed, k) alone. So a run that is stopped and resumed
equals one that was not, several processes equal one, and a batch in parts equals the whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor, nn
from tqdm.auto import tqdm

from ldmlib.loop import Loop, batch_indices, make_ema
from ldmlib.runtime import InterruptFlag, Runtime, pick_precision
from ldmlib.train_config import TrainConfig, TrainState, ema_decay, learning_rate

__all__ = [
    "TrainConfig",
    "TrainState",
    "batch_indices",
    "ema_decay",
    "fit",
    "learning_rate",
    "make_ema",
    "train",
]

BAR_SECONDS = 1.0  # between two movements of the bar: each is a message to the notebook
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
        model: trained in place.
        objective: ``objective(model, x, y, generator, step) -> loss`` or ``(loss, parts)``. It may
            have ``after_step(x)``, ``prepare(runtime)``, ``checkpoint_state()`` and
            ``load_checkpoint_state(state)``.
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
    loop = Loop(model, objective, config, runtime)
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
