"""Weights under their own names, whatever their network is wrapped in.

`torch.compile`, `nn.DataParallel`, `DistributedDataParallel`, FSDP and `AveragedModel` keep the
network inside themselves and put a word before the names of its weights: ``stem.weight`` becomes
``_orig_mod.stem.weight`` or ``module.stem.weight``. Files of this library hold the plain names, so
that they can be loaded with or without such a wrapper.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ldmlib.storage.files import load_into

PREFIXES = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
COUNTER = "n_averaged"  # of AveragedModel, beside the weights


def plain_name(name: str) -> str:
    """The name of a weight without the words of its wrappers."""
    return ".".join(part for part in name.split(".") if part not in PREFIXES)


def plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as the network without its wrappers would name them."""
    return {
        plain_name(name): value for name, value in weights.items() if name.split(".")[-1] != COUNTER
    }


def load_plain(module: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Copy weights into a network; either of the two may be wrapped, or parts of them.

    Args:
        what: whose weights these are ("autoencoder"), for the message.

    Raises:
        ValueError: names or shapes do not fit; the network is unchanged.
    """
    own = {plain_name(name): name for name in module.state_dict()}
    counters = {k: v for k, v in module.state_dict().items() if k.split(".")[-1] == COUNTER}
    renamed = {own.get(name, name): value for name, value in plain_names(weights).items()}
    load_into(module, counters | renamed, what)
