"""The reader's own pictures: a folder of picture files, or a NumPy file."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldmlib import images as im
from ldmlib.files import PathLike
from ldmlib.image_data import ImageData, resize_uint8

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
SIZES = (128, 64, 32)  # what `from_folder` chooses from
SMALLEST = 16  # pixels; anything below is not enlarged unless asked for
NOT_NPZ = (ValueError, TypeError, AttributeError)  # NumPy's answers to other kinds of files


def from_folder(path: PathLike, size: int | None = None, limit: int | None = None) -> ImageData:
    """Your own pictures: every png, jpg, webp, bmp and gif in a folder and the folders in it.

    Each is cropped to its central square and resized. Transparent parts become white. If all
    pictures lie in at least two sub-folders, these are the classes. All grey pictures give C = 1.

    Args:
        size: pixels; default: 128, 64 or 32, the largest not above the median shorter side
            (pictures of 16 to 31 pixels are enlarged to 32).
        limit: read only so many, taken evenly from the sorted list.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder.
        ValueError: fewer than two readable pictures, or too small ones.
    """
    folder = Path(path).expanduser()
    files = _thin_out(_picture_files(folder), limit)
    side = _fitting_size(files, folder) if size is None else im.check_size(size)
    images, kept = _read_all(files, side)
    if len(kept) < 2:
        raise ValueError(
            f"{folder}: expected at least 2 pictures to learn from, found {len(files)} and could "
            f"read {len(kept)}; add some ({', '.join(sorted(SUFFIXES))})"
        )
    labels, classes = _folder_labels(folder, kept)
    grey = bool((images[:, :1] == images).all())
    return ImageData(images[:, :1] if grey else images, labels, classes, folder.resolve().name)


def _picture_files(folder: Path) -> list[Path]:
    if not folder.exists():
        raise FileNotFoundError(f"expected a folder of pictures at {folder}, found nothing there")
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder of pictures, but {folder} is a file")
    found = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
    inside = [(path, path.relative_to(folder).parts) for path in found]
    return [p for p, parts in inside if not any(x.startswith((".", "__MACOSX")) for x in parts)]


def _thin_out(files: list[Path], limit: int | None) -> list[Path]:
    if limit is None or limit >= len(files):
        return files
    return [files[i * len(files) // limit] for i in range(limit)]


def _fitting_size(files: list[Path], folder: Path) -> int:
    """The largest of SIZES that does not enlarge the typical picture, from up to 500 headers."""
    sides = []
    for file in _thin_out(files, 500):
        try:
            with Image.open(file) as picture:
                sides.append(min(picture.size))
        except Exception:  # reported when it is read
            continue
    typical = int(np.median(sides)) if sides else SIZES[-1]
    if typical < SMALLEST:
        raise ValueError(
            f"{folder}: pictures of {typical} pixels are too small, expected {SMALLEST} or more; "
            "pass size= to enlarge them all the same"
        )
    return next((size for size in SIZES if size <= typical), SIZES[-1])


def _read_all(files: list[Path], size: int) -> tuple[Tensor, list[Path]]:
    """Readable pictures as uint8 (n, 3, size, size), and their paths; warns about the others."""
    from tqdm.auto import tqdm

    images, kept, skipped = [torch.empty(0, 3, size, size, dtype=torch.uint8)], [], []
    for file in tqdm(files, desc="reading pictures", disable=len(files) <= 1000):
        try:
            images.append(resize_uint8(im.center_crop(im.read_picture(file)), size))
            kept.append(file)
        except Exception as error:  # decoders raise errors of many kinds
            skipped.append(f"{file.name} ({error})")
    if skipped:
        names = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        warnings.warn(f"skipped {len(skipped)} unreadable pictures: {names}", stacklevel=3)
    return torch.cat(images), kept


def _folder_labels(folder: Path, files: list[Path]) -> tuple[Tensor | None, tuple[str, ...]]:
    parts = [file.relative_to(folder).parts for file in files]
    classes = sorted({part[0] for part in parts})
    if len(classes) < 2 or min(map(len, parts)) < 2:
        return None, ()
    return torch.tensor([classes.index(part[0]) for part in parts]), tuple(classes)


def from_npz(path: PathLike, size: int | None = None) -> ImageData:
    """Pictures from a NumPy file: uint8 `images` (n, H, W, C) or (n, H, W), optional `labels` (n,).

    (n, C, H, W) is accepted where it can mean nothing else. Pictures that are not square are
    cropped to the central square; C = 4 (with opacity) is laid on white. Never unpickles.

    Args:
        size: resize to so many pixels; None keeps the size.

    Raises:
        FileNotFoundError: no such file.
        TypeError, ValueError: no .npz file, no such key, another type, shape or number of labels.
    """
    file = Path(path).expanduser()
    arrays = _npz_arrays(file)
    if "images" not in arrays:
        raise ValueError(f"{file}: expected the key 'images', found {sorted(arrays) or 'nothing'}")
    images = im.center_crop(_as_nchw(arrays["images"], file))
    images = im.over_white(images) if images.shape[1] == 4 else images
    images = images if size is None else resize_uint8(images, size)
    return ImageData(images, arrays.get("labels"), name=file.stem)


def _npz_arrays(file: Path) -> dict[str, np.ndarray | None]:
    """The arrays `images` and `labels`; of the others only the names, with nothing read."""
    if not file.is_file():
        raise FileNotFoundError(f"expected a .npz file at {file}, found no such file")
    try:
        with open(file, "rb") as handle, np.load(handle, allow_pickle=False) as archive:
            return {k: archive[k] if k in ("images", "labels") else None for k in archive.files}
    except (*NOT_NPZ, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{file}: expected plain arrays saved by numpy.savez, found a damaged or other file "
            f"({error})"
        ) from error


def _as_nchw(array: np.ndarray, file: Path) -> Tensor:
    if array.dtype != np.uint8:
        span = f" from {array.min():.4g} to {array.max():.4g}" if array.size else ""
        raise TypeError(
            f"{file}: expected uint8 images, got {array.dtype}{span}; convert them: x * 255 for "
            "0..1 or (x + 1) * 127.5 for -1..1, then .round().astype('uint8')"
        )
    images = torch.from_numpy(array)
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in im.CHANNELS:
        return images.permute(0, 3, 1, 2)
    if images.ndim == 4 and images.shape[1] in im.CHANNELS:
        return images
    shape = tuple(images.shape)
    raise ValueError(f"{file}: expected images (n, H, W, C) with C = 1, 3 or 4, got shape {shape}")
