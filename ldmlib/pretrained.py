"""A model's two files, ``model.safetensors`` and ``config.json``: both new or both as before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ldmlib.files import atomic_path, save_json, save_tensors, sha256_of
from ldmlib.runtime import InterruptFlag

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_pair(
    folder: str | Path, tensors: Mapping[str, Tensor], config: dict[str, Any], half: bool = False
) -> None:
    """Write the weights, and the config with the weights' hash.

    A full disk, an error or Ctrl-C leave an earlier pair as it was: neither file is replaced before
    both are written, and a Ctrl-C waits until both are.

    Args:
        half: round weights to float16.

    Raises:
        OSError: the folder cannot be written, or is full.
        KeyboardInterrupt: Ctrl-C came meanwhile; the files are saved.
    """
    folder = Path(folder)
    kept = {k: v.half() if half else v for k, v in tensors.items()}
    with (
        InterruptFlag() as interrupt,
        atomic_path(folder / CONFIG) as new_config,
        atomic_path(folder / WEIGHTS) as new_weights,  # takes its place first, the config last
    ):
        save_tensors(new_weights, kept)
        save_json(new_config, {**config, "sha256": sha256_of(new_weights)})
    if interrupt.raised:
        raise KeyboardInterrupt
