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
import re
import shutil
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

from ldmlib.storage.places import PathLike, expanded
from ldmlib.storage.temporaries import sweep, temporary_beside

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
LARGEST_JSON = 64 * 2**20  # bytes
# Number formats by their names in safetensors files, as far as PyTorch computes with them.
DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}
ANOTHER = "use an earlier one, or remove it to begin that training anew"


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, else it is removed.

    Any error inside the block, KeyboardInterrupt included, leaves an earlier `path` untouched.
    Missing folders are made. A link is followed: the file it points to is replaced. What an earlier
    save of the same file left behind when it was killed is removed (`ldmlib.storage.temporaries`).

    Raises:
        IsADirectoryError, NotADirectoryError, PermissionError: see `check_writable`.
        OSError: no space is left; the message says what was being saved and how much is free.
    """
    target = check_writable(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target)
    temporary = temporary_beside(target)
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
    target = Path(os.path.realpath(expanded(path)))
    if os.path.isdir(target):
        raise IsADirectoryError(f"cannot save to {target}: it is a folder; name a file in it")
    nearest = next(parent for parent in target.parents if os.path.exists(parent))
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
    path = expanded(path)
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
    """Read a dictionary from JSON, in UTF-8, UTF-16 or UTF-32, with a byte-order mark or without.

    Raises:
        FileNotFoundError: there is no such file; the message lists what its folder holds.
        ValueError: it is not JSON, not a dictionary, or larger than any that is written here.
    """
    path = _existing_file(path, "a JSON file")
    if (size := path.stat().st_size) > LARGEST_JSON:
        raise ValueError(
            f"{path} has {size:,} bytes; a JSON file of this library has at most {LARGEST_JSON:,}: "
            "is it another file?"
        )
    try:
        content = json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError(f"{path}: lists are nested too deeply in it; save it anew") from error
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
        ValueError: the hash is another one, or the file is cut short, not safetensors, or of a
            number format that PyTorch doesn't have.
    """
    path = _existing_file(path, "a safetensors file")
    if sha256 is not None:
        check_sha256(path, sha256)  # before a file of any size is taken into memory
    described = tensor_shapes(path)
    data = path.read_bytes()
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError) as error:
        raise ValueError(_not_safetensors(path, error)) from error
    if tensors.keys() != described.keys():
        raise ValueError(f"{path} was changed while it was read: load it again")
    return tensors


def tensor_shapes(path: PathLike) -> dict[str, Tensor]:
    """What a safetensors file says that it holds: tensors without content, on the device `meta`.

    Only the beginning of the file is read, so this costs no memory, whatever the file's size.

    Raises:
        FileNotFoundError, ValueError: as for `load_tensors`.
    """
    path = _existing_file(path, "a safetensors file")
    try:
        with safetensors.safe_open(path, "pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            described = {key: (part.get_shape(), part.get_dtype()) for key, part in slices.items()}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(_not_safetensors(path, error)) from error
    if strange := sorted({kind for _, kind in described.values()} - DTYPES.keys()):
        raise ValueError(
            f"{path} holds numbers of the format {', '.join(strange)}, which PyTorch can't read; "
            f"known are {', '.join(DTYPES)}. Save it again in one of these"
        )
    return {
        key: torch.empty(shape, dtype=DTYPES[kind], device="meta")
        for key, (shape, kind) in described.items()
    }


def check_sha256(path: PathLike, sha256: str) -> None:
    """Compare a file's hash with the expected one; the file is read piece by piece.

    Raises:
        ValueError: it is another one; or what is expected is not 64 hexadecimal digits.
    """
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"a SHA-256 is 64 hexadecimal digits, not {_brief(sha256)}")
    if (came := sha256_of(path)) != sha256.lower():
        raise ValueError(
            f"{path}: expected SHA-256 {sha256}, found {came} ({os.path.getsize(path):,} bytes). "
            "The file was changed or cut short, or belongs to another config: fetch or save it "
            "again"
        )


def _not_safetensors(path: Path, error: Exception) -> str:
    kind = f"({path.stat().st_size:,} bytes) is cut short or not a safetensors file"
    return f"{path} {kind} ({_brief(error)}): fetch or save it again"


def _brief(value: object) -> str:
    text = str(value) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy `tensors` into `module`; names and shapes must agree exactly.

    Args:
        what: whose weights these are ("autoencoder"), for the message.

    Raises:
        ValueError: see `check_fits`; `module` is unchanged.
    """
    check_fits(module, tensors, what)
    module.load_state_dict(dict(tensors), strict=True)


def check_fits(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Compare names, shapes and kinds of `tensors` with a module's own; both may be on `meta`.

    Raises:
        ValueError: keys are missing or unexpected, or tensors have another shape, or hold another
            kind of numbers: whole or complex ones where real ones belong.
    """
    own = module.state_dict()
    if not isinstance(tensors, Mapping):
        raise ValueError(f"{what}: expected weights by name, found a {type(tensors).__name__}")
    both = [k for k in own if k in tensors]
    strange = [k for k in both if not isinstance(tensors[k], Tensor)]
    both = [k for k in both if k not in strange]
    shapes = [k for k in both if own[k].shape != tensors[k].shape]
    kinds = [k for k in both if not _same_kind(own[k], tensors[k])]
    problems = [
        _some("missing", [k for k in own if k not in tensors]),
        _some("unexpected", [str(k) for k in tensors if k not in own]),
        _some("no tensor", strange),
        _some("wrong shape", [f"{k} {_shape(tensors[k])} for {_shape(own[k])}" for k in shapes]),
        _some("wrong kind", [f"{k} {tensors[k].dtype} for {own[k].dtype}" for k in kinds]),
    ]
    if any(problems):
        raise ValueError(
            f"{what}: the checkpoint is from another architecture: "
            f"{'; '.join(filter(None, problems))}. Build the model from the config saved with it"
        )


def _same_kind(own: Tensor, other: Tensor) -> bool:
    """Whether copying keeps the numbers' meaning. Earlier versions saved counters as float16."""
    return own.dtype == other.dtype or other.is_floating_point()


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

    What a killed save of it left behind is removed.

    Raises:
        FileNotFoundError: there is no such file; the message lists what its folder holds.
        ValueError: the file is cut short, is no checkpoint, or holds more than tensors and values.
    """
    path = _existing_file(path, "a checkpoint")
    sweep(Path(os.path.realpath(path)))
    if not _is_archive(path):
        size = f"{path.stat().st_size:,} bytes"
        raise ValueError(f"{path} ({size}) is cut short or not a checkpoint: {ANOTHER}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = "holds more than tensors and plain values; not loaded, as that could run code"
        raise ValueError(f"{path} {refused}. {_first_line(error)}") from error
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # a damaged file can stop the reader anywhere, with any error
        raise ValueError(f"{path} is damaged ({_first_line(error)}): {ANOTHER}") from error


def _is_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # of its end, some of which is there
        return False


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
    path = Path(str(resources.files("ldmlib"))).joinpath("assets", *parts)
    if not path.exists():
        raise FileNotFoundError(f"no {'/'.join(parts)} in the library's assets; {_nearest(path)}")
    return path
