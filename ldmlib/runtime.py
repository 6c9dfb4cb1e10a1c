"""Where training runs: device, precision, several processes, and a polite Ctrl-C."""

from __future__ import annotations

import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import torch
from torch import nn

GIB = 2**30


def best_device() -> torch.device:
    """$LDMLIB_DEVICE if that is set; else CUDA if there is one, Apple's GPU, or the CPU.

    Raises:
        ValueError: LDMLIB_DEVICE names no device, or one that this machine does not have.
    """
    wished = os.environ.get("LDMLIB_DEVICE", "").strip().lower()
    if wished:
        return _named_device(wished)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _named_device(name: str) -> torch.device:
    """The device of that name, if it is one and this machine has it."""
    try:
        device = torch.device(name)
        if device.type == "meta":  # it has shapes only: nothing would be computed
            raise NotImplementedError("meta holds no numbers")
        torch.empty(0, device=device)  # an unknown kind, a driver or a card that is missing
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        here = ["cpu", *gpus, *["mps"] * torch.backends.mps.is_available()]
        raise ValueError(
            f"LDMLIB_DEVICE is set to {name!r}, which cannot be used on this machine. It may be "
            f"{' or '.join(here)} here (elsewhere also cuda, or cuda:1 for the second GPU, or mps "
            "for Apple's GPU). Leave it unset, and the best device is chosen"
        ) from error
    return device


class Runtime:
    """One process by itself; `AcceleratedRuntime` is one of several.

    Attributes: `device`, `index` of this process, `count` of processes.
    """

    index, count = 0, 1

    def __init__(self, device: torch.device | str | None = None) -> None:
        self.device = torch.device(device) if device else best_device()

    @staticmethod
    def current() -> Runtime:
        """Alone, or one of several when ``accelerate launch`` (or torchrun) started us."""
        return AcceleratedRuntime() if int(os.environ.get("WORLD_SIZE", 1)) > 1 else Runtime()

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and draws the progress bar."""
        return self.index == 0

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model to call in the forward pass; several processes average its gradients."""
        return model

    def mean(self, value):
        """Mean of a number or a tensor over all processes."""
        return value

    @contextmanager
    def step_context(self, generator: torch.Generator, precision: str) -> Iterator[None]:
        """Forward pass of one step: dropout from `generator`, autocast if wished."""
        devices = [self.device] if self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices),
            torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            torch.manual_seed(generator.initial_seed())
            yield


class AcceleratedRuntime(Runtime):
    """One of several processes or GPUs, through Hugging Face accelerate."""

    def __init__(self) -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ImportError(
                "several processes need accelerate: pip install accelerate"
            ) from error
        self.accelerator = Accelerator()
        self.device = self.accelerator.device
        self.index, self.count = self.accelerator.process_index, self.accelerator.num_processes

    def prepare(self, model: nn.Module) -> nn.Module:
        return self.accelerator.prepare_model(model)

    def mean(self, value):
        total = torch.as_tensor(value, device=self.device, dtype=torch.float32)
        mean = self.accelerator.reduce(total, "mean")
        return mean if isinstance(value, torch.Tensor) else float(mean)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies in bfloat16; whether it gains anything must be measured.

    Emulation does not count: on a processor with AVX-512 but without bfloat16 instructions torch
    emulates them, and a model then draws three times more slowly than in float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        # PyTorch's own questions to the processor; old releases lack some of them.
        asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name)() for name in asked if hasattr(torch.cpu, name))
    try:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()  # on Arm it asks the processor
    except (AttributeError, RuntimeError):  # PyTorch without oneDNN
        return False


def pick_precision(run: Callable[[str], None], device: torch.device, repeats: int = 5) -> str:
    """``bfloat16`` if the hardware has it and `run` is measured clearly faster with it.

    Clearly means that it takes at most four fifths of the time. The two take turns, and the fastest
    run of each counts, so that other programs slow both down alike.
    """
    if not has_bfloat16(device):
        return "float32"
    names = ("float32", "bfloat16")
    for precision in names:
        run(precision)  # warm up
    seconds = [{name: _seconds(run, name, device) for name in names} for _ in range(repeats)]
    best = {name: min(turn[name] for turn in seconds) for name in names}
    return "bfloat16" if best["bfloat16"] < 0.8 * best["float32"] else "float32"


def _seconds(run: Callable[[str], None], precision: str, device: torch.device) -> float:
    start = perf_counter()
    run(precision)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def device_name(device: torch.device) -> str:
    """What to call a device in a sentence."""
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        return f"a GPU ({gpu.name}, {gpu.total_memory / GIB:.0f} GB)"
    return "Apple's GPU" if device.type == "mps" else "the CPU"


class InterruptFlag:
    """``with InterruptFlag() as flag``: the first Ctrl-C only sets ``flag.raised``.

    A second Ctrl-C interrupts at once. Outside the main thread it does nothing.
    """

    def __enter__(self) -> InterruptFlag:
        self.raised = False
        self.active = threading.current_thread() is threading.main_thread()
        if self.active:
            self.previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, *_: object) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True

    def __exit__(self, *_: object) -> None:
        if self.active:
            signal.signal(signal.SIGINT, self.previous)
