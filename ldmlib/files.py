"""Files that are either complete or not there: atomic saving, and loading that runs no code.

All that the library writes goes through `atomic_path`: the new file is written beside the old one
and takes its place in one step at the end. Ctrl-C, an error or a full disk leave the earlier file
as it was. Weights are read with safetensors or `torch.load(weights_only=True)`: data, not code.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

PathLike = str | os.PathLike[str]
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
ANOTHER = "use an earlier one, or remove it to begin that training anew"


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, else it is removed.

    Any error inside the block, KeyboardInterrupt included, leaves an earlier `path` untouched.
    Missing folders are made. A link is followed: the file it points to is replaced.

    Raises:
        IsADirectoryError, NotADirectoryError, PermissionError: see `check_writable`.
        OSError: no space is left; the message says what was being saved and how much is free.
    """
    target = check_writable(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex[:8]}.{target.name}")
    try:
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, target)
    except OSError as error:
        if error.errno in DISK_FULL:
            temporary.unlink(missing_ok=True)  # first, so that the space it took counts as free
            raise OSError(error.errno, _disk_full_message(target)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: PathLike) -> Path:
    """Find out before the work that `path` can be written after it; nothing is made or changed.

    Returns:
        The absolute path, links followed.

    Raises:
        IsADirectoryError: `path` is a folder.
        NotADirectoryError: a folder on the way to it is a file.
        PermissionError: the folder may not be written.
    """
    target = Path(os.path.realpath(Path(path).expanduser()))
    if target.is_dir():
        raise IsADirectoryError(f"cannot save to {target}: it is a folder; name a file in it")
    nearest = next(parent for parent in target.parents if parent.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"cannot save to {target}: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK):
        raise PermissionError(f"cannot save to {target}: {nearest} may not be written")
    return target


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _disk_full_message(target: Path) -> str:
    free = shutil.disk_usage(target.parent).free / 2**20
    earlier = "the earlier file is intact" if target.exists() else "nothing was left behind"
    return (
        f"no space left while saving {target}: {free:.1f} MiB are free (or your quota is used up) "
        f"in {target.parent}; {earlier}. Free some space or save elsewhere"
    )


def save_bytes(path: PathLike, data: bytes) -> None:
    """Save bytes, atomically. Python's own writer is used, as others hide that a disk is full."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _existing_file(path: PathLike, what: str) -> Path:
    path = Path(path).expanduser()
    if path.is_dir():
        raise IsADirectoryError(f"expected {what} at {path}, found a folder; name the file in it")
    if not path.is_file():
        raise FileNotFoundError(f"expected {what} at {path}, found no such file; {_nearest(path)}")
    return path


def _nearest(path: Path) -> str:
    """What the nearest folder that exists holds, for messages about something missing."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    names = sorted(child.name for child in folder.iterdir())
    more = ", ..." if len(names) > 12 else ""
    return f"{folder} holds {', '.join(names[:12]) or 'nothing'}{more}"


def save_json(path: PathLike, content: dict[str, Any]) -> None:
    """Save a dictionary as readable JSON, atomically.

    Raises:
        TypeError: a value is not a number, text, bool, None, list or dictionary; nothing is saved.
    """
    save_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def load_json(path: PathLike) -> dict[str, Any]:
    """Read a dictionary from JSON.

    Raises:
        FileNotFoundError: there is no such file; the message lists what its folder holds.
        ValueError: it is not JSON, or not a dictionary.
    """
    path = _existing_file(path, "a JSON file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # broken JSON or broken text encoding
        raise ValueError(f"{path} is not valid JSON ({error}); save it anew") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(f"{path}: expected a JSON dictionary, found a {kind}; is it another file?")
    return content


def sha256_of(path: PathLike) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(_existing_file(path, "a file"), "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def save_tensors(
    path: PathLike, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Save named tensors (any shapes, any device) with safetensors, atomically."""
    plain = torch.contiguous_format
    own = {k: t.detach().cpu().clone(memory_format=plain) for k, t in tensors.items()}
    save_bytes(path, safetensors.torch.save(own, metadata))


def load_tensors(path: PathLike, sha256: str | None = None) -> dict[str, Tensor]:
    """Read tensors saved by `save_tensors`, on the CPU; with `sha256`, only a file with that hash.

    Raises:
        FileNotFoundError: there is no such file; the message lists what its folder holds.
        ValueError: the hash is another one, or the file is cut short or not safetensors.
    """
    data = _existing_file(path, "a safetensors file").read_bytes()
    came = hashlib.sha256(data).hexdigest()
    if sha256 is not None and came != sha256.lower():
        raise ValueError(
            f"{path}: expected SHA-256 {sha256}, found {came} ({len(data):,} bytes). The file was "
            "changed or cut short, or belongs to another config: fetch or save it again"
        )
    try:
        return safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        kind = f"({len(data):,} bytes) is cut short or not a safetensors file"
        raise ValueError(f"{path} {kind} ({error}): fetch or save it again") from error


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy `tensors` into `module`; names and shapes must agree exactly.

    Args:
        what: whose weights these are ("autoencoder"), for the message.

    Raises:
        ValueError: keys are missing, unexpected or of another shape; `module` is unchanged.
    """
    own = module.state_dict()
    wrong = [k for k in own if k in tensors and own[k].shape != tensors[k].shape]
    problems = [
        _some("missing", [k for k in own if k not in tensors]),
        _some("unexpected", [k for k in tensors if k not in own]),
        _some("wrong shape", [f"{k} {_shape(tensors[k])} for {_shape(own[k])}" for k in wrong]),
    ]
    if any(problems):
        raise ValueError(
            f"{what}: the checkpoint is from another architecture: "
            f"{'; '.join(filter(None, problems))}. Build the model from the config saved with it"
        )
    module.load_state_dict(dict(tensors), strict=True)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _some(label: str, names: list[str], shown: int = 3) -> str:
    """ "missing 5 (a, b, c, ...)", or nothing for no names."""
    more = ", ..." if len(names) > shown else ""
    return f"{label} {len(names)} ({', '.join(names[:shown])}{more})" if names else ""


def save_checkpoint(path: PathLike, state: dict[str, Any]) -> None:
    """Save tensors and plain values (numbers, text, lists, dictionaries), atomically.

    The bytes are read back before they replace an earlier checkpoint: what is saved can be loaded.

    Raises:
        TypeError: `state` holds something that `load_checkpoint` would refuse; nothing is written.
    """
    buffer = io.BytesIO()
    try:
        torch.save(state, buffer)
        buffer.seek(0)
        torch.load(buffer, map_location="cpu", weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError) as error:
        rule = "a checkpoint holds tensors and plain values only, so that loading runs no code"
        raise TypeError(f"not saved to {path}: {rule}. {_first_line(error)}") from error
    save_bytes(path, buffer.getvalue())


def load_checkpoint(path: PathLike) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, tensors on the CPU, without running any code.

    Raises:
        FileNotFoundError: there is no such file; the message lists what its folder holds.
        ValueError: the file is cut short, is no checkpoint, or holds more than tensors and values.
    """
    path = _existing_file(path, "a checkpoint")
    if not zipfile.is_zipfile(path):
        size = f"{path.stat().st_size:,} bytes"
        raise ValueError(f"{path} ({size}) is cut short or not a checkpoint: {ANOTHER}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = "holds more than tensors and plain values; not loaded, as that could run code"
        raise ValueError(f"{path} {refused}. {_first_line(error)}") from error
    except (RuntimeError, OSError, EOFError) as error:
        raise ValueError(f"{path} is damaged ({_first_line(error)}): {ANOTHER}") from error


def _first_line(error: Exception) -> str:
    """The line of PyTorch's long message that names the culprit, else its first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Unsupported" in line or "GLOBAL" in line]
    return (named or lines or [""])[0][:200]


def asset(*parts: str) -> Path:
    """Path of a file or folder that ships with the library: `asset("data", "mnist")`.

    Raises:
        FileNotFoundError: there is none; the message lists what the nearest folder holds.
    """
    path = Path(str(resources.files(__package__))).joinpath("assets", *parts)
    if not path.exists():
        raise FileNotFoundError(f"no {'/'.join(parts)} in the library's assets; {_nearest(path)}")
    return path
