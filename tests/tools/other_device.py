"""A GPU that is none: tensors that say they live elsewhere, and an error where the two sides mix.

    with other_device() as device:
        layer = nn.Linear(2, 3).to(device)
        layer(torch.zeros(1, 2))              # MixedDevices: what a GPU would refuse, too

Values stay in main memory, wrapped in a tensor whose `device` is another one. Whatever computes
with wrapped tensors gives wrapped ones; only `.to`, `.cpu` and `copy_` lead from one side to the
other, and single numbers, of shape (), go with both.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pytest import MonkeyPatch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")  # a name that every PyTorch knows; here the values are real
CROSSING = ("aten::_to_copy", "aten::copy_")


class MixedDevices(RuntimeError):
    """An operation got tensors of both sides."""


class Elsewhere(Tensor):
    """A tensor that says it lives on `DEVICE`; `inside` holds its values."""

    @staticmethod
    def __new__(cls, inside: Tensor) -> Elsewhere:
        options = {"dtype": inside.dtype, "device": DEVICE, "requires_grad": inside.requires_grad}
        layout = {"strides": inside.stride(), "storage_offset": inside.storage_offset()}
        return Tensor._make_wrapper_subclass(cls, inside.size(), **layout, **options)

    def __init__(self, inside: Tensor) -> None:
        self.inside = inside

    def __tensor_flatten__(self):
        return ["inside"], None

    @staticmethod
    def __tensor_unflatten__(parts, _context, _size, _stride) -> Elsewhere:
        return Elsewhere(parts["inside"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl


class Watch(TorchDispatchMode):
    """Sees every operation, also those that make new tensors there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def compute(func, args: tuple, kwargs: dict):
    """Run an operation on the values, and wrap what belongs to the other side."""
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    there = any(isinstance(x, Elsewhere) for x in tensors)
    crossing = func._schema.name in CROSSING
    here = [tuple(x.shape) for x in tensors if not isinstance(x, Elsewhere) and x.ndim]
    if there and here and not crossing:
        raise MixedDevices(f"{func} got tensors of both devices; on the CPU: {here}")
    wanted = kwargs.get("device")
    if wanted is not None:
        there = torch.device(wanted).type == DEVICE.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif crossing:  # the result is where the first one is
        there = isinstance(tensors[0], Elsewhere)
    result = func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs))
    if not there:
        return result
    return return_and_correct_aliasing(func, args, kwargs, tree_map(wrap, result))


def unwrap(x):
    return x.inside if isinstance(x, Elsewhere) else x


def wrap(x):
    return Elsewhere(x) if isinstance(x, Tensor) else x


@contextmanager
def other_device() -> Iterator[torch.device]:
    """Inside the block there is one more device, and `ldmlib.runtime.best_device` chooses it."""
    with (
        MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        swapped_parameters(),
        Watch(),
    ):
        warnings.filterwarnings("ignore", ".*copying from a non-meta parameter.*")  # not true here
        patch.setenv("LDMLIB_DEVICE", str(DEVICE))
        patch.setattr("ldmlib.runtime._named_device", torch.device)  # which refuses a real "meta"
        for name in ("autocast", "is_autocast_enabled"):  # no half precision there
            patch.setattr(torch, name, on_cpu(getattr(torch, name)))
        for name in ("tensor", "as_tensor"):  # else they would make a tensor without values
            patch.setattr(torch, name, then_moved(getattr(torch, name)))
        yield DEVICE


@contextmanager
def swapped_parameters() -> Iterator[None]:
    """`Module.to` keeps its parameters the same objects, as it does between a CPU and a GPU."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def on_cpu(function):
    """The function with the CPU's name in place of the other device's."""
    return lambda kind, *args, **options: function(
        "cpu" if kind == DEVICE.type else kind, *args, **options
    )


def then_moved(function):
    """The function that makes a tensor on the CPU first, and moves it to the device asked for."""

    def inner(*args, device=None, **options):
        made = function(*args, **options)
        return made if device is None else made.to(device)

    return inner
