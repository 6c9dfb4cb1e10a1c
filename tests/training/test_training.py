"""Laws of `ldmlib.training.run` and `ldmlib.runtime`: nothing that happens to a run changes it."""

from __future__ import annotations

import errno
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import tiny
from ldmlib import runtime
from ldmlib.runtime import InterruptFlag, Runtime, pick_precision
from ldmlib.storage.files import load_checkpoint
from ldmlib.storage.wrappers import plain_names
from ldmlib.training import run as run_module
from ldmlib.training.config import TrainConfig, ema_decay, learning_rate
from ldmlib.training.loop import batch_indices, make_ema
from ldmlib.training.run import fit, main_only, train
from two_processes import run as run_both
from two_processes import without_seconds

TOOLS = Path(__file__).parents[1] / "tools"
CPU = Runtime("cpu")
CONFIG = TrainConfig(
    steps=9, batch_size=6, precision="float32", log_every=4, checkpoint_every=3, ema=0.9
)
X, Y = tiny.pictures(20), tiny.labels(20)


def denoiser_run(seed: int = 0):
    """Model, objective and data of a denoiser with dropout."""
    return tiny.unet(seed, dropout=0.3), tiny.denoising(), (X, Y)


def autoencoder_run(seed: int = 0):
    """Model, objective and data of an autoencoder with discriminator."""
    return tiny.autoencoder(seed), tiny.autoencoder_loss(seed), (X, None)


def go(parts, config: TrainConfig = CONFIG, function=train, **options):
    """`fit` or `train` on the CPU, quietly."""
    return function(*parts, config, runtime=CPU, progress=False, **options)


def saved(folder: Path) -> dict:
    """The checkpoint of a folder, less its times."""
    state = load_checkpoint(folder / "checkpoint.pt")
    return {**state, "history": without_seconds(state["history"]), "seconds": 0.0}


class Line(nn.Module):
    """One weight a and a buffer: the smallest model."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(()))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        self.calls += 1
        return self.a * x


def slope(model, x, y, generator, step):
    """Squared error of the line y = 2 x."""
    return ((model(x) - 2 * x) ** 2).mean()


# Stop and resume


@pytest.mark.parametrize("make", [denoiser_run, autoencoder_run])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_stop_and_resume_equals_uninterrupted(make, accumulate: int, tmp_path: Path) -> None:
    """Law 27, bit for bit, with dropout, discriminator, and other initial weights."""
    config = replace(CONFIG, accumulate=accumulate)
    go(make(), config, folder=tmp_path / "whole")
    for state in go(make(), config, fit, folder=tmp_path / "parts"):
        if state.step == 6:  # in the middle of an entry of the history
            break
    torch.manual_seed(123)  # the machine's own random state must not matter
    state = go(make(seed=5), config, folder=tmp_path / "parts", resume=True)
    assert state.step == CONFIG.steps
    whole, parts = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    assert set(whole) > {"model", "ema", "optimizer", "objective", "history", "recent", "step"}
    assert tiny.differences(whole, parts) == []


def test_the_checkpoint_holds_discriminator_and_optimisers(tmp_path: Path) -> None:
    parts = autoencoder_run()
    go(parts, folder=tmp_path)
    state = saved(tmp_path)
    assert set(state["objective"]) == {"discriminator", "optimizer"}
    assert state["objective"]["optimizer"]["state"] and state["optimizer"]["state"]
    assert tiny.differences(state["objective"], parts[1].checkpoint_state()) == []


def test_a_finished_run_resumes_to_its_end(tmp_path: Path) -> None:
    first = go(denoiser_run(), folder=tmp_path)
    states = list(go(denoiser_run(seed=3), function=fit, folder=tmp_path, resume=True))
    assert [s.step for s in states] == [CONFIG.steps]
    assert tiny.differences(first.ema.state_dict(), states[0].ema.state_dict()) == []
    assert without_seconds(states[0].history) == without_seconds(first.history)


def test_resume_names_what_differs(tmp_path: Path) -> None:
    go(denoiser_run(), folder=tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    other = replace(CONFIG, lr=0.5, steps=10, log_every=1)
    message = r"steps: 9 there, 10 here; lr: 0.002 there, 0.5 here\)"  # log_every may differ
    with pytest.raises(ValueError, match=message):
        go(denoiser_run(), other, folder=tmp_path, resume=True)
    go(denoiser_run(), replace(CONFIG, log_every=1), folder=tmp_path, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_resume_refuses_what_is_no_checkpoint_of_this_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="resume needs the folder"):
        go(denoiser_run(), resume=True)
    with pytest.raises(FileNotFoundError, match="checkpoint"):
        go(denoiser_run(), folder=tmp_path, resume=True)
    go(denoiser_run(), folder=tmp_path)
    with pytest.raises(ValueError, match="another architecture"):
        go((tiny.unet(channels=(8, 24)), *denoiser_run()[1:]), folder=tmp_path, resume=True)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cut short"):
        go(denoiser_run(), folder=tmp_path, resume=True)


@pytest.mark.parametrize("content", [[1, 2], {"weight": torch.zeros(2)}])
def test_resume_refuses_a_file_of_something_else(content, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="no checkpoint of a training run.*remove it"):
        go(denoiser_run(), folder=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (X[:18], Y[:18], "20 pictures there, 18 here"),
        (tiny.pictures(20, seed=1), Y, "20 of 20 pictures differ"),
        (X.flip(0), Y.flip(0), "the same pictures, in another order"),
        (X, Y.flip(0), "the same pictures with other labels"),
        (X, None, "labels there, none here"),
    ],
)
def test_resume_refuses_other_data(x, y, said: str, tmp_path: Path) -> None:
    go(denoiser_run(), folder=tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    model, objective, _ = denoiser_run()
    with pytest.raises(ValueError, match=rf"other data \({said}\); resume with the same"):
        go((model, objective, (x, y)), folder=tmp_path, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_resume_takes_data_that_another_machine_has_rounded(tmp_path: Path) -> None:
    go(denoiser_run(), folder=tmp_path)
    model, objective, _ = denoiser_run()
    rounded = X.bfloat16().float()
    assert go((model, objective, (rounded, Y)), folder=tmp_path, resume=True).step == CONFIG.steps


def test_a_checkpoint_that_knows_no_data_is_taken_with_a_remark(tmp_path: Path, capsys) -> None:
    go(denoiser_run(), folder=tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt")
    del state["data"]
    torch.save(state, tmp_path / "checkpoint.pt")
    go(denoiser_run(), folder=tmp_path, resume=True)
    assert "does not say what it was trained on" in capsys.readouterr().out


def test_a_folder_is_locked_while_it_is_trained_in(tmp_path: Path) -> None:
    """By another process, as one process may train again where its own loop was left."""
    states = go(denoiser_run(), function=fit, folder=tmp_path / "run")
    next(states)
    code = (
        "import sys\nfrom ldmlib.training.run_folder import locked\nwith locked(sys.argv[1]): pass"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(TOOLS.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert f"in use: process {os.getpid()} on {socket.gethostname()}" in done.stderr
    next(go(denoiser_run(), function=fit, folder=tmp_path / "run"))
    states.close()
    assert os.listdir(tmp_path) == []  # nothing was saved, and nothing is left


@pytest.mark.parametrize("fails", [True, False])
def test_the_other_processes_learn_that_the_main_one_refused(fails: bool) -> None:
    class Other(Runtime):
        index, count = 1, 2

        def mean(self, value):
            return (value + float(fails)) / 2

    if fails:
        with pytest.raises(ValueError, match="main process has ended"):
            main_only(Other("cpu"), lambda: pytest.fail("not the main process"))
    else:
        main_only(Other("cpu"), lambda: pytest.fail("not the main process"))


# Wrappers


def compiled(model: nn.Module) -> nn.Module:
    """As `torch.compile` wraps it, without a compiler."""
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "averaged": AveragedModel,
    "both": lambda model: compiled(nn.DataParallel(model)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@torch.compiler.set_stance("force_eager")  # as wrapped, but nothing is compiled
def test_checkpoints_do_not_depend_on_wrappers(wrap, tmp_path: Path) -> None:
    go(denoiser_run(), folder=tmp_path / "plain")
    model, objective, data = denoiser_run()
    for state in go((wrap(model), objective, data), function=fit, folder=tmp_path / "wrapped"):
        if state.step == 6:
            break
    names = saved(tmp_path / "plain")["model"].keys()
    assert saved(tmp_path / "wrapped")["model"].keys() == names
    go(denoiser_run(seed=1), folder=tmp_path / "wrapped", resume=True)
    assert tiny.differences(saved(tmp_path / "plain"), saved(tmp_path / "wrapped")) == []
    model, objective, data = denoiser_run(seed=2)
    state = go((wrapped := wrap(model), objective, data), folder=tmp_path / "plain", resume=True)
    assert state.step == CONFIG.steps
    weights = plain_names(wrapped.state_dict())
    assert tiny.differences(saved(tmp_path / "plain")["model"], weights) == []


# Interrupts


def interrupting(objective, at: int):
    """The objective, with a Ctrl-C in the middle of step `at`."""

    def inner(model, x, y, generator, step):
        if step == at:
            signal.raise_signal(signal.SIGINT)
        return objective(model, x, y, generator, step)

    return inner


def test_ctrl_c_leaves_a_usable_model_and_a_checkpoint(tmp_path: Path, capsys) -> None:
    handler = signal.getsignal(signal.SIGINT)
    go(denoiser_run(), folder=tmp_path / "whole")
    model, objective, data = denoiser_run()
    state = go((model, interrupting(objective, 4), data), folder=tmp_path / "parts")
    assert state.interrupted and state.step == 5  # the step in progress was finished
    assert "after step 5" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is handler
    assert state.model(X[:1], torch.rand(1)).isfinite().all()
    assert tiny.differences(saved(tmp_path / "parts")["model"], model.state_dict()) == []
    state = go(denoiser_run(seed=1), folder=tmp_path / "parts", resume=True)
    assert not state.interrupted
    assert tiny.differences(saved(tmp_path / "whole"), saved(tmp_path / "parts")) == []


def test_ctrl_c_between_two_steps(tmp_path: Path) -> None:
    """While the reader's own code runs, a picture being drawn, say: one more step, then the end."""
    for state in go(denoiser_run(), function=fit, folder=tmp_path):
        if state.step == 4:
            signal.raise_signal(signal.SIGINT)
    assert state.interrupted and state.step == saved(tmp_path)["step"] == 5


def test_a_second_ctrl_c_ends_at_once() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), InterruptFlag() as flag:
        signal.raise_signal(signal.SIGINT)
        assert flag.raised
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler


def test_training_works_outside_the_main_thread() -> None:
    steps = []
    thread = threading.Thread(
        target=lambda: steps.append(go((Line(), slope, (X, None))).step), daemon=True
    )
    thread.start()
    thread.join(60)
    assert steps == [CONFIG.steps]


# When it goes wrong


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_loss_stops_and_keeps_the_step_before(value: float, tmp_path: Path) -> None:
    model, objective, data = denoiser_run()

    def breaking(model, x, y, generator, step):
        return objective(model, x, y, generator, step) * (value if step == 5 else 1.0)

    kept = {}
    with pytest.raises(FloatingPointError, match=r"loss became .* step 5.*learning rate.*data"):
        for state in go((model, breaking, data), function=fit, folder=tmp_path):
            kept = {k: v.clone() for k, v in state.model.state_dict().items()}
            average = {k: v.clone() for k, v in state.ema.state_dict().items()}
    assert state.step == 5 and saved(tmp_path)["step"] == 3
    assert tiny.differences(kept, model.state_dict()) == []
    assert tiny.differences(average, state.ema.state_dict()) == []
    go(denoiser_run(), folder=tmp_path / "whole")
    go(denoiser_run(), folder=tmp_path, resume=True)  # mended: goes on from step 3
    assert tiny.differences(saved(tmp_path), saved(tmp_path / "whole")) == []


def test_nan_gradient_under_a_finite_loss_stops_too() -> None:
    def root(model, x, y, generator, step):
        loss = slope(model, x, y, generator, step)
        return loss + (0 * model.a).sqrt() if step == 2 else loss

    model = Line()
    with pytest.raises(FloatingPointError, match="gradient's length became nan at step 2"):
        go((model, root, (X, None)))
    assert model.a.isfinite()


def test_no_space_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    states = go(denoiser_run(), function=fit, folder=tmp_path)
    with pytest.raises(OSError, match="no space left.*earlier file is intact"):
        for state in states:
            if state.step == 4:
                monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["checkpoint.pt"]
    assert saved(tmp_path)["step"] == 3
    go(denoiser_run(), folder=tmp_path / "whole")
    go(denoiser_run(), folder=tmp_path, resume=True)
    assert tiny.differences(saved(tmp_path), saved(tmp_path / "whole")) == []


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0}, {"batch_size": 0}, {"accumulate": 0}, {"log_every": 0},
        {"checkpoint_every": 0}, {"accumulate": 4}, {"lr_schedule": "onecycle"},
        {"cycles": 7}, {"cycles": 0},
        {"precision": "float16"}, {"ema": 1.0},
    ],
)  # fmt: skip
def test_impossible_configs(options: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))}|equal parts"):
        replace(CONFIG, **options)


def test_data_are_checked() -> None:
    with pytest.raises(ValueError, match="no training data"):
        go((Line(), slope, (X[:0], None)))
    with pytest.raises(ValueError, match="20 pictures but 3 labels"):
        go((Line(), slope, (X, Y[:3])))


# The average of the weights


def test_ema_warms_up_averages_parameters_and_copies_buffers() -> None:
    """Law 26, against the recursion written out."""
    model, expected = Line(), None
    states = go((model, slope, (X, None)), replace(CONFIG, steps=30, ema=0.8), fit)
    for k, state in enumerate(states):
        now = model.a.item()
        decay = ema_decay(k, 0.8)
        expected = now if expected is None else decay * expected + (1 - decay) * now
        assert state.ema.a.item() == pytest.approx(expected, rel=1e-5)
        assert state.ema.calls.item() == model.calls.item() == k + 1
        assert not state.ema.training and state.model.training
    assert 0 < state.ema.a.item() < model.a.item()  # it lags behind


def test_ema_is_torchs_and_its_decay_grows_to_the_limit() -> None:
    assert isinstance(make_ema(Line(), 0.9), AveragedModel)
    decays = [ema_decay(k, 0.999) for k in range(20_000)]
    assert decays == sorted(decays) and decays[0] < 0.2 and decays[-1] == 0.999


def test_averaging_does_not_touch_the_training() -> None:
    with_average, without = go(denoiser_run()), go(denoiser_run(), replace(CONFIG, ema=0.0))
    assert without.ema is without.model
    assert with_average.ema is not with_average.model
    weights = with_average.model.state_dict()
    assert tiny.differences(weights, without.model.state_dict()) == []
    assert tiny.differences(weights, with_average.ema.state_dict()) != []


# Rate, order, parts


def test_learning_rate_warms_up_and_falls_as_half_a_cosine() -> None:
    config = TrainConfig(steps=1000, lr=0.1, warmup=0.1)
    rates = [learning_rate(s, config) for s in range(1000)]
    assert rates[:100] == sorted(rates[:100]) and rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[0] > 0 and max(rates) == rates[99] == rates[100] == pytest.approx(0.1)
    assert rates[550] == pytest.approx(0.05) and 0 < rates[-1] < 1e-5
    constant = replace(config, lr_schedule="constant")
    assert {learning_rate(s, constant) for s in range(100, 1000)} == {0.1}


def test_one_cycle_is_that_of_torch() -> None:
    config = TrainConfig(steps=1000, lr=0.1, lr_schedule="one_cycle")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=1000)
    for step in range(1000):
        assert learning_rate(step, config) == pytest.approx(theirs.get_last_lr()[0], abs=1e-3)
        optimizer.step()
        theirs.step()


def test_each_cycle_starts_the_rate_anew() -> None:
    for name in ("cosine", "one_cycle"):
        one = TrainConfig(steps=100, lr_schedule=name)
        three = replace(one, steps=300, cycles=3)
        rates = [learning_rate(s, one) for s in range(100)]
        assert [learning_rate(s, three) for s in range(300)] == rates * 3


def test_the_rate_of_the_schedule_is_the_rate_used() -> None:
    config = replace(CONFIG, log_every=1)
    history = go((Line(), slope, (X, None)), config).history
    assert [e["lr"] for e in history] == [learning_rate(s, config) for s in range(CONFIG.steps)]


@pytest.mark.parametrize(("n", "batch"), [(20, 6), (7, 7), (5, 12), (1, 3), (8, 1)])
def test_every_image_once_an_epoch(n: int, batch: int) -> None:
    order = torch.cat([batch_indices(s, n, batch, seed=3) for s in range(6 * n)])
    epochs = order[: len(order) // n * n].reshape(-1, n)
    assert torch.equal(epochs.sort(1).values, torch.arange(n).expand_as(epochs))
    if n > 4:
        assert len({tuple(e.tolist()) for e in epochs}) > 2  # in a new order each time
    again = torch.cat([batch_indices(s, n, batch, seed=3) for s in range(6 * n)])
    assert torch.equal(order, again)


@pytest.mark.parametrize("accumulate", [2, 3, 6])
def test_parts_of_a_batch_equal_the_whole(accumulate: int) -> None:
    """Law 28: the same noise, times and label dropout, whatever the parts."""
    config = replace(CONFIG, lr=1e-3, clip=1e9)  # clipping would hide gradients of wrong length

    def outcome(parts: int) -> dict:
        state = go(
            (tiny.unet(heads=0), tiny.denoising(), (X, Y)), replace(config, accumulate=parts)
        )
        gradients = {k: p.grad for k, p in state.model.named_parameters()}
        return {"gradients": gradients, "weights": state.model.state_dict(),
                "ema": state.ema.state_dict(),
                "history": without_seconds(state.history)}  # fmt: skip

    assert tiny.differences(outcome(1), outcome(accumulate), tolerance=1e-4) == []


def test_the_discriminator_sees_the_whole_batch_of_parts() -> None:
    def trained(parts: int):
        loss = tiny.autoencoder_loss(adversarial=1e-9)  # the autoencoder itself hardly notices
        go((tiny.autoencoder(), loss, (X, None)), replace(CONFIG, accumulate=parts))
        return loss.checkpoint_state()["discriminator"]

    assert tiny.differences(trained(1), trained(3), tolerance=1e-4) == []


def test_the_history_holds_mean_losses() -> None:
    states = go(autoencoder_run(), replace(CONFIG, log_every=3), fit)
    losses = [state.loss for state in states]
    state = go(autoencoder_run(), replace(CONFIG, log_every=3))
    assert [e["step"] for e in state.history] == [3, 6, 9]
    for entry, three in zip(state.history, (losses[:3], losses[3:6], losses[6:]), strict=True):
        assert entry["loss"] == pytest.approx(sum(three) / 3)
    assert {"reconstruction", "kl", "perceptual", "adversarial", "lr"} < set(state.history[-1])


def test_gradients_are_clipped() -> None:
    for state in go((Line(), lambda *a: 1e4 * slope(*a), (X, None)), function=fit):
        assert state.model.a.grad.abs() <= CONFIG.clip * 1.0001


def test_training_leaves_the_global_random_state_alone() -> None:
    parts = denoiser_run()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = go(parts)
    assert torch.equal(torch.get_rng_state(), before)
    parts = denoiser_run()
    torch.manual_seed(8)
    assert tiny.differences(first.model.state_dict(), go(parts).model.state_dict()) == []


# Precision


def test_precision_is_chosen_once_and_kept(tmp_path: Path, monkeypatch) -> None:
    chosen = []

    def choose(run, device):
        chosen.append(run("bfloat16"))
        return "bfloat16"

    monkeypatch.setattr(run_module, "pick_precision", choose)
    config = replace(CONFIG, precision="auto")
    for state in go(denoiser_run(), config, fit, folder=tmp_path):
        if state.step == 3:
            break
    assert saved(tmp_path)["precision"] == state.precision == "bfloat16"
    state = go(denoiser_run(), config, folder=tmp_path, resume=True)
    assert state.precision == "bfloat16" and len(chosen) == 1
    assert {p.dtype for p in state.model.parameters()} == {torch.float32}
    bfloat16 = go(denoiser_run(), replace(CONFIG, precision="bfloat16"))
    assert tiny.differences(state.model.state_dict(), bfloat16.model.state_dict()) == []
    float32 = go(denoiser_run())
    assert tiny.differences(state.model.state_dict(), float32.model.state_dict()) != []


@pytest.mark.parametrize("make", [denoiser_run, autoencoder_run])
def test_trying_precisions_changes_nothing(make, monkeypatch) -> None:
    def choose(run, device):
        run("bfloat16"), run("float32")
        return "float32"

    monkeypatch.setattr(run_module, "pick_precision", choose)
    tried, plain = make(), make()
    if isinstance(tried[1], type(tiny.autoencoder_loss())):  # the trial has a discriminator too
        tried[1].config = plain[1].config = replace(tried[1].config, adversarial_start=0)
    go(tried, replace(CONFIG, precision="auto")), go(plain)
    assert tiny.differences(tried[0].state_dict(), plain[0].state_dict()) == []
    if hasattr(plain[1], "checkpoint_state"):
        states = [parts[1].checkpoint_state() for parts in (tried, plain)]
        assert tiny.differences(*states) == []


@pytest.mark.parametrize(
    ("has", "seconds", "expected"),
    [(True, 0.5, "bfloat16"), (True, 0.98, "float32"), (True, 2, "float32"),
     (False, 0.5, "float32")],
)  # fmt: skip
def test_bfloat16_only_where_it_is_faster(has, seconds, expected, monkeypatch) -> None:
    monkeypatch.setattr(runtime, "has_bfloat16", lambda device: has)
    monkeypatch.setattr(
        runtime, "_seconds", lambda run, name, device: 1.0 if name == "float32" else seconds
    )
    assert pick_precision(lambda precision: None, torch.device("cpu")) == expected


def test_a_slow_machine_does_not_choose_the_precision(monkeypatch) -> None:
    """The two take turns: whatever slows the first half of the runs down slows both alike."""
    calls = []

    def seconds(run, name, device):
        calls.append(name)
        busy = 3.0 if len(calls) <= 5 else 1.0
        return busy * (1.0 if name == "float32" else 0.9)

    monkeypatch.setattr(runtime, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(runtime, "_seconds", seconds)
    assert pick_precision(lambda precision: None, torch.device("cpu")) == "float32"
    assert calls == ["float32", "bfloat16"] * 5


# Several processes


def test_processes_must_share_the_batch_evenly() -> None:
    class Three(Runtime):
        count = 3

    with pytest.raises(ValueError, match="batch_size 8 does not divide by the 3 parts"):
        config = replace(CONFIG, batch_size=8)
        train(Line(), slope, (X, None), config, runtime=Three("cpu"), progress=False)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Law 28: a denoiser, and an autoencoder with discriminator; nothing leaves this machine."""
    script = [str(TOOLS / "two_processes.py"), str(tmp_path / "two.pt")]
    where = ["--nproc_per_node=2", "--master_addr=127.0.0.1", f"--master_port={free_port()}"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "ACCELERATE_USE_CPU": "true",
                   "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOOLS.parents[1])}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *where, *script],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    run_both(tmp_path / "one.pt", CPU)
    one, two = torch.load(tmp_path / "one.pt"), torch.load(tmp_path / "two.pt")
    assert (one.pop("processes"), two.pop("processes")) == (1, 2)
    assert tiny.differences(one, two, tolerance=1e-4) == []
