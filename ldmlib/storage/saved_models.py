"""A model's two files, ``model.safetensors`` and ``config.json``: both new or both as before.

Settings, hash and shapes are compared first. Memory is taken for a model only when all of it fits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ldmlib.runtime import InterruptFlag
from ldmlib.storage.config_values import from_values
from ldmlib.storage.files import (
    asset,
    atomic_path,
    check_fits,
    check_sha256,
    load_into,
    load_json,
    load_tensors,
    save_json,
    save_tensors,
    sha256_of,
    tensor_shapes,
)
from ldmlib.storage.places import PathLike, expanded
from ldmlib.storage.wrappers import plain_names

WEIGHTS, CONFIG = "model.safetensors", "config.json"
Model = TypeVar("Model", bound=nn.Module)


def save_pair(
    folder: PathLike, tensors: Mapping[str, Tensor], config: dict[str, Any], half: bool = False
) -> None:
    """Write the weights, and the config with the weights' hash.

    A full disk, an error or Ctrl-C leave an earlier pair as it was: neither file is replaced before
    both are written, and a Ctrl-C waits until both are. A wrapper around the model or a part of it
    (`torch.compile`, `DataParallel`) leaves no trace in the files.

    Args:
        half: round weights to float16; whole numbers, such as counters, stay as they are.

    Raises:
        OSError: the folder cannot be written, or is full.
        KeyboardInterrupt: Ctrl-C came meanwhile; the files are saved.
    """
    folder = expanded(folder)
    tensors = plain_names(tensors)
    kept = {k: v.half() if half and v.is_floating_point() else v for k, v in tensors.items()}
    with (
        InterruptFlag() as interrupt,
        atomic_path(folder / CONFIG) as new_config,
        atomic_path(folder / WEIGHTS) as new_weights,  # takes its place first, the config last
    ):
        save_tensors(new_weights, kept)
        save_json(new_config, {**config, "sha256": sha256_of(new_weights)})
    if interrupt.raised:
        raise KeyboardInterrupt


def model_folder(source: PathLike, bundled: Collection[str], what: str) -> Path:
    """The folder of a model: a bundled one by its name, or the reader's own.

    Warns where a bundled name is that of a folder of the reader's with a model in it, too.

    Args:
        bundled: names of the bundled models of this kind.
        what: this kind ("GAN"), for the message.

    Raises:
        FileNotFoundError: no such name or folder (the message lists the bundled names).
    """
    if source in bundled:
        if (Path(source) / CONFIG).is_file():
            warnings.warn(
                f"{source!r} means the bundled model; for your own in the folder {source} write "
                f"'./{source}'",
                stacklevel=3,
            )
        return asset("weights", str(source))
    folder = expanded(source)
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"{source} is neither a bundled {what} ({', '.join(bundled)}) nor a folder with "
            f"{CONFIG} and {WEIGHTS}, as save_pretrained writes them"
        )
    return folder


def load_pair(
    folder: PathLike,
    kind: type,
    make: Callable[[Any], Model],
    what: str,
    more_allowed: bool = False,
) -> Model:
    """The model that `save_pair` has written, on the CPU.

    Args:
        kind: dataclass of the model's settings, see `config_values.from_values`.
        make: builds the model from such settings.
        what: what it is ("latent diffusion model"), for messages.
        more_allowed: ``config.json`` may hold other settings beside those of `kind`.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: settings that describe no model, weights with another hash or of another
            architecture. All this is found before memory is taken for the model.
    """
    config, weights, sha256 = read_config(folder, kind, more_allowed)
    if sha256 is not None:
        check_sha256(weights, sha256)
    where = weights.with_name(CONFIG)
    shapes = plain_names(tensor_shapes(weights))
    check_fits(planned(lambda: make(config), f"{where}: {what}"), shapes, what)
    model = make(config)
    load_into(model, plain_names(load_tensors(weights)), what)
    return model


def read_config(
    folder: PathLike, kind: type, more_allowed: bool = False
) -> tuple[Any, Path, str | None]:
    """Settings of a model, the path of its weights, and their hash if one was kept.

    Raises:
        FileNotFoundError: there is no ``config.json``.
        ValueError: it does not describe such a model.
    """
    path = expanded(folder) / CONFIG
    values = load_json(path)
    sha256 = values.pop("sha256", None)
    try:
        config = from_values(kind, values, more_allowed)
        if sha256 is not None and not isinstance(sha256, str):
            raise ValueError(f"sha256: expected 64 hexadecimal digits, found {sha256!r:.60}")
    except (TypeError, ValueError) as error:
        name = kind.__name__.removesuffix("Config")
        raise ValueError(f"{path} does not describe a {name}: {error}") from error
    if sha256 is None:
        warnings.warn(
            f"{path} holds no sha256, so nothing has checked that {WEIGHTS} beside it is whole and "
            "belongs to it; saving the model again adds one",
            stacklevel=4,
        )
    return config, path.with_name(WEIGHTS), sha256


def planned(make: Callable[[], Model], what: str) -> Model:
    """The model without its weights, on the device `meta`: names and shapes, at no memory.

    Raises:
        ValueError: it can't be built, whatever the reason.
    """
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without elements
            return make()
    except Exception as error:  # settings from a file can break any layer in its own way
        raise ValueError(f"{what} can't be built from these settings: {error}") from error


def build(make: Callable[[], Model], tensors: Mapping[str, Tensor], what: str) -> Model:
    """A model with these weights; that they fit is known before memory is taken for it.

    Raises:
        ValueError: the model can't be built, or is another than that of the weights.
    """
    check_fits(planned(make, what), tensors, what)
    model = make()
    load_into(model, tensors, what)
    return model
