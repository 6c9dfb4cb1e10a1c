"""The reader's own pictures: a folder of picture files, or a NumPy file."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldmlib import images as im
from ldmlib.data.dataset import ImageData, Origin, content_keys, resize_uint8
from ldmlib.data.names import counted, in_natural_order, printable, some
from ldmlib.data.npz_files import NpzPart, read_npz
from ldmlib.data.picture_folders import SUFFIXES, Layout, find_pictures, kinds
from ldmlib.storage.places import PathLike, expanded

__all__ = ["SUFFIXES", "folder_parts", "from_folder", "from_npz", "npz_parts"]

SIZES = (128, 64, 32)  # what `from_folder` chooses from
SMALLEST = 16  # pixels; anything below is not enlarged unless asked for
DARK = 64  # of 255: a set whose brightest value is below was hardly meant to look like that


@dataclass
class _Pictures:
    """Pictures as they are read: uint8 (n, C, s, s), keys (n,), and what is known about each."""

    images: Tensor
    keys: Tensor
    layout: Layout
    sides: list[tuple[int, int]]  # width and height before they were cropped and resized
    left_out: int = 0


def from_folder(path: PathLike, size: int | None = None, limit: int | None = None) -> ImageData:
    """Your own pictures: every png, jpg, webp, gif, tif, ... in a folder and the folders in it.

    Each is cropped to its central square and resized. Transparent parts become white. All grey
    pictures give C = 1. Classes are the folders on the first level that has more than one, in
    natural order (1, 2, 10); a few pictures beside them are left out. Folders called train, val or
    test are parts and no classes: here all parts are returned together (see `folder_parts`).

    Args:
        size: pixels; default: 128, 64 or 32, the largest not above the median shorter side
            (pictures of 16 to 31 pixels are enlarged to 32).
        limit: read only so many, taken evenly from the sorted list.

    Raises:
        FileNotFoundError, NotADirectoryError, PermissionError: no such folder, or a closed one.
        ValueError: fewer than two readable pictures, too small ones, or a class folder whose name
            is not text.
    """
    folder = expanded(path)
    read = _read_folder(folder, size, limit)
    return _as_data(read, folder, range(len(read.images)))


def folder_parts(
    path: PathLike, size: int | None = None, limit: int | None = None
) -> tuple[ImageData, ImageData | None]:
    """A folder's pictures to learn from, and its held-out ones; None if it does not divide them.

    To learn from are the pictures in a folder called train or training. Those in val, valid,
    validation, dev, eval, test or testing are held out, all of them. Capitals do not matter, and
    these folders may also lie inside each class folder. Arguments and errors: see `from_folder`.
    """
    folder = expanded(path)
    read = _read_folder(folder, size, limit)
    held_out = read.layout.held_out
    if held_out is None or len(set(held_out)) < 2:
        return _as_data(read, folder, range(len(read.images))), None
    apart = [i for i, held in enumerate(held_out) if held]
    train = [i for i, held in enumerate(held_out) if not held]
    return _as_data(read, folder, train), _as_data(read, folder, apart)


def _read_folder(folder: Path, size: int | None, limit: int | None) -> _Pictures:
    layout = find_pictures(folder)
    layout = layout.picked(_thin_out(list(range(len(layout.files))), limit))
    side = _fitting_size(layout.files, folder) if size is None else im.check_size(size)
    read = _read_all(layout, side, folder)
    found, kept = len(layout.files), len(read.images)
    if kept < 2:
        others = f"; it also holds {kinds(layout.others)}" if layout.others else ""
        unpack = (
            " (unpack archives first)"
            if {".zip", ".tar", ".gz", ".tgz"} & set(layout.others)
            else ""
        )
        raise ValueError(
            f"{printable(folder)}: expected at least 2 pictures to learn from, found {found} and "
            f"could read {kept}{others}{unpack}; add some ({', '.join(sorted(SUFFIXES))})"
        )
    grey = bool((read.images[:, :1] == read.images).all())
    read.images = read.images[:, :1] if grey else read.images
    _warn_of_darkness(read.images, printable(folder))
    return read


def _thin_out(files: list, limit: int | None) -> list:
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
            f"{printable(folder)}: pictures of {typical} pixels are too small, expected {SMALLEST} "
            "or more; pass size= to enlarge them all the same"
        )
    return next((size for size in SIZES if size <= typical), SIZES[-1])


def _read_all(layout: Layout, size: int, folder: Path) -> _Pictures:
    """All readable pictures as RGB; warns about the others."""
    from tqdm.auto import tqdm

    files = layout.files
    quiet = len(files) <= 1000 or sys.stderr is None
    images, keys = [torch.empty(0, 3, size, size, dtype=torch.uint8)], []
    kept, sides, skipped, deep = [], [], [], {}
    for i, file in enumerate(tqdm(files, desc="reading pictures", disable=quiet)):
        try:
            array = im.decode(file)
            picture = im.scaled(array)
            small = _fitted(picture, size)
        except Exception as error:  # decoders raise errors of many kinds
            skipped.append((file, error))
            continue
        if array.ndim == 2:
            deep[len(kept)] = int(array.max())
            picture = torch.from_numpy(array)[None, None]  # the key follows from all 16 bits
        images.append(small)
        keys.append(content_keys(picture))
        sides.append((picture.shape[3], picture.shape[2]))
        kept.append(i)
    _warn_of_skipped(skipped, printable(folder))
    read = _Pictures(
        torch.cat(images),
        torch.cat([torch.empty(0, dtype=torch.long), *keys]),
        layout.picked(kept),
        sides,
        len(skipped) + layout.left_out,
    )
    _brighten(read, deep, printable(folder))
    _warn_of_lost_classes(layout, read.layout, printable(folder))
    return read


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=4)


def _fitted(picture: Tensor, size: int) -> Tensor:
    return resize_uint8(im.center_crop(picture), size)


def _brighten(read: _Pictures, deep: dict[int, int], name: str) -> None:
    """Read pictures of 16 bits that use fewer again, all with the same number as white."""
    white = im.white_of(max(deep.values(), default=0))
    dark = [value for value in deep.values() if 0 < value <= im.WHITE[-2]]
    if not dark:
        return
    count = counted(len(dark), "picture")
    found = f"{name}: in {count} of 16 bits no value is above {max(dark):,} of 65,535"
    if white == im.WHITE[-1]:
        _warn(
            f"{found}. This is kept and looks nearly black, as other pictures of 16 bits here are "
            "brighter; if fewer bits are meant, save the dark ones as 8-bit pictures"
        )
        return
    for i in deep:
        picture = im.scaled(im.decode(read.layout.files[i]), white)
        read.images[i] = _fitted(picture, read.images.shape[-1])[0]
    _warn(f"{found}, as if they held {white.bit_length()} bits: {white:,} is taken for white")


def _warn_of_skipped(skipped: list[tuple[Path, Exception]], name: str) -> None:
    if not skipped:
        return
    shown = [f"{printable(file.name)} ({_reason(error, file)})" for file, error in skipped[:3]]
    more = ", ..." if len(skipped) > 3 else ""
    suffixes = Counter(file.suffix.lower() for file, _ in skipped)
    heif = suffixes[".heic"] + suffixes[".heif"]
    hint = "; convert .heic to .jpg, or install pillow-heif and register it" if heif else ""
    _warn(
        f"{name}: skipped {len(skipped):,} unreadable pictures ({kinds(suffixes)}): "
        f"{', '.join(shown)}{more}{hint}",
    )


def _reason(error: Exception, file: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error) or type(error).__name__
    return "no picture" if "cannot identify" in text else printable(text.replace(str(file), "it"))


def _warn_of_lost_classes(found: Layout, kept: Layout, name: str) -> None:
    lost = {label for label in found.classes if label is not None} - set(kept.classes)
    if lost:
        _warn(
            f"{name}: no picture of {counted(len(lost), 'class', 'classes')} can be read "
            f"({some(in_natural_order(lost), 5)}); the model will not know of it"
        )


def _warn_of_darkness(images: Tensor, name: str) -> None:
    brightest = int(images.max())
    if 0 < brightest < DARK:
        _warn(
            f"{name}: the brightest value in all pictures is {brightest} of 255, so that they are "
            "nearly black; numbers of 0 and 1, or of 12 bits saved as 16, look like that: scale "
            "them to 0 ... 255 and save them again",
        )


def _as_data(read: _Pictures, folder: Path, places: range | list[int]) -> ImageData:
    """Some of the pictures as a data set; labels only if each of them has a class."""
    places = list(places)
    names = in_natural_order({name for name in read.layout.classes if name is not None})
    classes = [read.layout.classes[i] for i in places]
    known = len(names) > 1 and None not in classes
    if len(names) > 1 and not known:
        _warn(
            f"{printable(folder)}: {counted(classes.count(None), 'picture')} of {len(classes):,} "
            "in a held-out part lie in no class folder of the training part, so that this part is "
            "read without classes",
        )
    number = {name: i for i, name in enumerate(names)}
    every = len(places) == len(read.images)
    return ImageData(
        read.images if every else read.images[places],
        torch.tensor([number[name] for name in classes]) if known else None,
        names if known else (),
        printable(folder.resolve().name),
        read.keys if every else read.keys[places],
        _origin([read.sides[i] for i in places], read.images.shape[-1], read.left_out),
    )


def _origin(sides: list[tuple[int, int]], size: int, left_out: int) -> Origin:
    typical = np.median(np.array(sides), axis=0).astype(int).tolist()
    enlarged = sum(min(side) < size for side in sides)
    return Origin(*typical, alike=len(set(sides)) == 1, enlarged=enlarged, left_out=left_out)


def from_npz(path: PathLike, size: int | None = None) -> ImageData:
    """Pictures from a NumPy file: uint8 `images` (n, H, W, C) or (n, H, W), optional `labels` (n,).

    (n, C, H, W) is accepted where it can mean nothing else. Pictures that are not square are
    cropped to the central square; C = 4 (with opacity) is laid on white. Arrays under other usual
    names (x and y, data and targets, arr_0 and arr_1) are found, too; labels may be one-hot rows,
    text or any whole numbers. Parts such as x_train and x_test are returned together (see
    `npz_parts`). Never unpickles.

    Args:
        size: resize to so many pixels; None keeps the size.

    Raises:
        FileNotFoundError: no such file.
        TypeError, ValueError: no .npz file, no pictures in it, another type, shape or number of
            labels, or more than fits in memory.
    """
    file = expanded(path)
    train, held_out = read_npz(file)
    if held_out is not None:
        labelled = train.labels is not None and held_out.labels is not None
        labels = torch.cat([train.labels, held_out.labels]) if labelled else None
        images = torch.cat([train.images, held_out.images])
        train = NpzPart(images, labels, train.classes if labelled else ())
    return _part_as_data(train, file, size)


def npz_parts(path: PathLike, size: int | None = None) -> tuple[ImageData, ImageData | None]:
    """A file's pictures to learn from, and its held-out ones (x_test, val_images) if it has such.

    Arguments and errors: see `from_npz`.
    """
    file = expanded(path)
    train, held_out = read_npz(file)
    apart = None if held_out is None else _part_as_data(held_out, file, size)
    return _part_as_data(train, file, size), apart


def _part_as_data(part: NpzPart, file: Path, size: int | None) -> ImageData:
    name = printable(file.stem)
    if not len(part.images):
        raise ValueError(f"{name}: expected at least one picture, got none")
    keys = content_keys(part.images)
    height, width = part.images.shape[2:]
    images = im.center_crop(part.images)
    images = im.over_white(images) if images.shape[1] == 4 else images
    images = images if size is None else resize_uint8(images, im.check_size(size))
    _warn_of_darkness(images, printable(file))
    side = images.shape[-1]
    origin = Origin(width, height, True, len(images) * (min(height, width) < side))
    return ImageData(images, part.labels, part.classes, name, keys, origin)
