"""Masks from files, as other tools write them: white, True or transparent is to be drawn anew."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ldmlib import images as im
from ldmlib.applications.editing.conditioning import check_mask
from ldmlib.data.names import printable
from ldmlib.data.picture_folders import SUFFIXES
from ldmlib.storage.places import expanded

MOST_GREY = 0.05  # share of a mask that may be neither black nor white: soft edges
FEW = 0.002  # share of white below which a mask is worth a second look
ARRAYS = (".npy", ".npz")
BROKEN = (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error)
MASK_KEYS = ("mask", "masks", "images")  # in an .npz file of several arrays


class GivenMask(NamedTuple):
    """A mask as it came: brightness 0 to 255, float32 (n, 1, H, W), and the name of its file.

    `note` says how it was read, where more than one way was possible.
    """

    brightness: Tensor
    name: str
    note: str = ""


def read_mask(path: Path) -> GivenMask:
    """A picture, or an array of bool, 0 and 1, or 0 to 255: (H, W), or (n, H, W) for n pictures.

    A picture that is transparent in places is read as other tools mean it: what is transparent is
    to be drawn anew, unless everything visible is white. Then what is visible is.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds no mask.
    """
    path = expanded(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name the file of a mask in it")
    if not path.is_file():
        raise FileNotFoundError(f"expected a mask at {path}, found no such file")
    values, note = (_array(path), "") if path.suffix.lower() in ARRAYS else _picture(path)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
        raise ValueError(
            f"{path}: a mask holds False and True, 0 and 1, or 0 to 255; this one holds values "
            f"from {values.min():.4g} to {values.max():.4g}"
        )
    if values.max() == 1:
        values, note = 255 * values, f"{path.name} has the values 0 and 1: 1 is taken for white."
    return GivenMask(torch.from_numpy(values)[:, None], path.name, note)


def _picture(path: Path) -> tuple[np.ndarray, str]:
    """Brightness of a picture file, float32 (1, H, W), and how it was read."""
    try:
        array = im.decode(path)
    except Exception as error:  # decoders raise errors of many kinds
        known = ", ".join(sorted({*SUFFIXES, *ARRAYS}))
        raise ValueError(f"{path}: no picture that can be read ({known}): {error}") from error
    if array.ndim == 2:  # 16 bits, of which some tools use only the lowest
        return (array / (257 if array.max() > 255 else 1)).astype(np.float32)[None], ""
    brightness, opacity = array[..., :3].mean(2), array[..., 3] / 255
    visible = brightness[opacity >= 0.5]
    if 0 < visible.size < brightness.size and visible.min() > 191:
        note = f"{path.name} is white on a transparent ground: what is white is drawn anew."
        return (brightness * opacity).astype(np.float32)[None], note
    return (brightness * opacity + 255 * (1 - opacity)).astype(np.float32)[None], ""


def _array(path: Path) -> np.ndarray:
    """The mask of a NumPy file, float32 (n, H, W)."""
    try:
        with open(path, "rb") as file:
            found = np.load(file, allow_pickle=False)
            names = {} if isinstance(found, np.ndarray) else dict.fromkeys(found.files)
            key = _key(list(names)) if names else None
            array = found if isinstance(found, np.ndarray) else found[key] if key else None
    except (*BROKEN, MemoryError) as error:
        raise ValueError(f"{path}: no NumPy file that can be read: {error}") from error
    if array is None:
        held = ", ".join(map(printable, names)) or "nothing"
        raise ValueError(f"{path}: expected an array called 'mask', found {held}")
    shape = array.shape
    if array.ndim == 4 and 1 in (shape[1], shape[3]):
        array = array[:, 0] if shape[1] == 1 else array[..., 0]
    elif array.ndim == 3 and shape[2] == 1 and shape[0] > 1:
        array = array[..., 0]
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or not array.size or array.dtype.kind not in "buif":
        raise ValueError(
            f"{path}: expected a mask (H, W), or (n, H, W) for n pictures, of bool or numbers, got "
            f"{array.dtype} of shape {shape}"
        )
    return (array * 255 if array.dtype == bool else array).astype(np.float32)


def _key(keys: list[str]) -> str | None:
    known = [key for key in MASK_KEYS if key in keys]
    return known[0] if known else keys[0] if len(keys) == 1 else None


def fit_mask(mask: GivenMask, pictures: Tensor, size: int) -> Tensor:
    """bool (1 or n, 1, size, size) of a mask for pictures (n, C, H, W) as they came.

    It is cropped as they are; where several of its pixels become one, any white one counts.

    Raises:
        ValueError: another size or number than the pictures', not black and white, nothing white.
    """
    brightness, name, note = mask
    if note:
        print(note)
    n, (height, width) = len(pictures), pictures.shape[2:]
    if len(brightness) not in (1, n) or brightness.shape[2:] != (height, width):
        came = f"{brightness.shape[3]} x {brightness.shape[2]}"
        several = f"{len(brightness)} masks of " if len(brightness) > 1 else ""
        each = f" (one for all or {n}, one for each)" if n > 1 else ""
        raise ValueError(
            f"{name}: a mask is as large as the picture to edit, {width} x {height} pixels{each}, "
            f"not {several}{came}"
        )
    between = float(((brightness > 64) & (brightness < 191)).float().mean())
    if between > MOST_GREY:
        raise ValueError(
            f"{name}: a mask is white where to draw anew and black where to keep; {between:.0%} "
            "of this picture is neither"
        )
    white = im.center_crop(brightness > 127)
    _say_share(mask, white)
    return check_mask(F.adaptive_max_pool2d(white.float(), size) > 0, n, size)


def _say_share(mask: GivenMask, white: Tensor) -> None:
    """Refuse a mask without white, and name one that is white everywhere or hardly anywhere."""
    brightness, name, _ = mask
    empty = [i for i, one in enumerate(white) if not bool(one.any())]
    if empty:
        one = brightness[empty[0]]
        why = f"black everywhere (its brightest value is {float(one.max()):.0f} of 255)"
        if bool((one > 127).any()):
            why = "white only at the sides, which are cropped"
        which = f"mask {empty[0] + 1} of {len(white)}" if len(white) > 1 else "the mask"
        raise ValueError(
            f"{name}: {which} is {why}, so nothing would be drawn anew; paint white what should be"
        )
    share = float(white.float().mean())
    if share == 1:
        print(f"{name} is white everywhere: the whole picture is drawn anew.")
    elif share < FEW:
        print(f"{name}: only {int(white.sum()):,} of {white.numel():,} pixels are white.")
