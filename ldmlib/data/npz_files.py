"""NumPy's .npz files with pictures: which of their arrays are pictures, which are labels.

A file is read as a zip archive of arrays. Headers are looked at before any array is read, so that a
file that declares more than it holds, or more than fits in memory, is refused at once.
"""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from ldmlib import images as im
from ldmlib.data.names import in_natural_order, is_unicode, printable, some
from ldmlib.data.picture_folders import HELD_OUT, TRAIN

MOST_BYTES = 16 * 2**30  # of one array; as float32, which training needs, it takes four times that
IMAGE_KEYS = ("images", "image", "imgs", "img", "pictures", "pixels", "samples", "data", "x")
LABEL_KEYS = ("labels", "label", "targets", "target", "classes", "class", "category", "y")
NAME_KEYS = ("classes", "class_names", "label_names", "names")  # of the classes, in their order
UNNAMED = {"arr_0": "images", "arr_1": "labels"}  # np.savez without names
NOT_NPZ = (ValueError, TypeError, AttributeError, OSError, EOFError, RuntimeError, KeyError)
NOT_NPZ += (zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True)
class Header:
    """Shape and type of an array that has not been read."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def like_pictures(self) -> bool:
        return len(self.shape) in (3, 4) and self.dtype.kind in "biuf"

    def like_labels(self, n: int) -> bool:
        return len(self.shape) in (1, 2) and self.shape[0] == n and self.dtype.kind in "biufUS"


@dataclass(frozen=True)
class NpzPart:
    """One part of a file: pictures uint8 (n, C, H, W), their class numbers (n,), class names."""

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...] = ()


def read_npz(file: Path) -> tuple[NpzPart, NpzPart | None]:
    """The pictures of a file, and the held-out ones if it keeps such apart (x_train, x_test).

    Pictures are `images`, or else under another usual name; labels likewise. Never unpickles.

    Raises:
        FileNotFoundError: no such file.
        TypeError, ValueError: it is no .npz file, holds no pictures, or they or their labels are of
            another type, shape or number than expected.
    """
    if not file.is_file():
        raise FileNotFoundError(f"expected a .npz file at {printable(file)}, found no such file")
    try:
        with zipfile.ZipFile(file) as archive:
            headers = {key: _header(archive, key) for key in _keys(archive)}
            if not headers:
                holds = some((info.filename for info in archive.infolist()), 3) or "nothing"
                raise ValueError(f"found nothing to read in it, it holds {holds}")
            arrays, names = _chosen(archive, headers, printable(file))
    except _Unfit as error:
        raise ValueError(f"{printable(file)}: {error}") from None
    except NOT_NPZ as error:
        if file.open("rb").read(6) == b"\x93NUMPY":
            raise ValueError(
                f"{printable(file)}: expected an .npz file, found a single array (.npy), a damaged "
                "or other file; save it with numpy.savez('pictures.npz', images=array)"
            ) from error
        raise ValueError(
            f"{printable(file)}: expected plain arrays saved by numpy.savez, found a damaged or "
            f"other file ({error})"
        ) from error
    return _as_parts(arrays, names, printable(file))


class _Unfit(ValueError):
    """The file is an .npz, but not one of pictures: the message is complete."""


def _keys(archive: zipfile.ZipFile) -> list[str]:
    return [name[:-4] for name in archive.namelist() if name.endswith(".npy")]


def _header(archive: zipfile.ZipFile, key: str) -> Header:
    """Read shape and type, and compare the size that they declare with what the archive holds."""
    info = archive.getinfo(f"{key}.npy")
    with archive.open(info) as handle:
        version = npy.read_magic(handle)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"array {key!r} has a format that pictures never need, {version}")
        shape, _, dtype = read(handle)
        start = handle.tell()
    declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if not dtype.hasobject and declared != info.file_size - start:
        raise _Unfit(
            f"the array {key!r} declares {declared:,} bytes, but the file holds "
            f"{info.file_size - start:,}: it is damaged; save it again"
        )
    return Header(shape, dtype)


def _read(archive: zipfile.ZipFile, headers: dict[str, Header], key: str) -> np.ndarray:
    header = headers[key]
    size = int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
    if size > MOST_BYTES:
        raise _Unfit(
            f"the array {key!r} of shape {header.shape} would take {size / 2**30:,.0f} GiB of "
            f"memory, more than the {MOST_BYTES / 2**30:.0f} GiB that are allowed; save fewer or "
            "smaller pictures"
        )
    if header.dtype.hasobject:
        raise _Unfit(
            f"expected plain arrays, but {key!r} holds Python objects, which are not read, as that "
            "could run code; save it with .astype(str), or stack pictures of one size to uint8"
        )
    with archive.open(f"{key}.npy") as handle:
        return npy.read_array(handle, allow_pickle=False)


def _role(key: str) -> tuple[frozenset[str], str | None]:
    """Words for a part in the name of an array, and what it holds: {"train"}, "images" for x_train.

    No words if it belongs to no part, None if the name does not say what it holds.
    """
    if key in UNNAMED:
        return frozenset(), UNNAMED[key]
    glued = re.fullmatch("([xy])(train|test|val|valid)", key.lower())  # xtrain is x_train
    words = list(glued.groups()) if glued else re.findall("[a-z]+", key.lower())
    part = frozenset(words) & (TRAIN | HELD_OUT)
    rest = "_".join(word for word in words if word not in part)
    return part, "images" if rest in IMAGE_KEYS else "labels" if rest in LABEL_KEYS else None


def _chosen(
    archive: zipfile.ZipFile, headers: dict[str, Header], name: str
) -> tuple[list[list[tuple[np.ndarray, np.ndarray | None]]], tuple[str, ...]]:
    """Arrays to learn from, and held-out ones: lists of (pictures, labels); and class names."""
    pairs = [[(key, _labels_of(headers, key, name)) for key in part] for part in _parts(headers)]
    used = [key for part in pairs for pair in part for key in pair if key]
    if set(used) - {"images", "labels"}:
        sides = ["; ".join(_taken(*pair) for pair in part) for part in pairs]
        _warn(f"{name}: {'. Held out: '.join(sides)}")
    arrays = [
        [tuple(key and _read(archive, headers, key) for key in pair) for pair in part]
        for part in pairs
    ]
    return arrays, _class_names(archive, headers, used)


def _taken(images: str, labels: str | None) -> str:
    named = f", labels from {printable(labels)!r}" if labels else ", no labels"
    return f"pictures are taken from {printable(images)!r}{named}"


def _class_names(archive: zipfile.ZipFile, headers: dict, used: list[str]) -> tuple[str, ...]:
    for key in NAME_KEYS:
        if key in headers and key not in used and headers[key].dtype.kind == "U":
            return tuple(str(name) for name in _read(archive, headers, key).reshape(-1))
    return ()


def _parts(headers: dict[str, Header]) -> list[list[str]]:
    """The keys of the pictures: one list, or two if some of them are held out."""
    if "images" in headers:
        return [["images"]]
    found: dict[str | None, list[str]] = {None: [], "train": [], "test": []}
    for key, header in headers.items():
        part, role = _role(key)
        if role == "images" and (header.like_pictures or key in UNNAMED):
            found["train" if part & TRAIN else "test" if part else None].append(key)
    train = found[None] or found["train"] or found["test"]
    if len(train) == 1:
        apart = found["test"] if train == found["train"] else []
        return [train, apart] if apart else [train]
    like = [key for key, header in headers.items() if header.like_pictures]
    if len(like) == 1:
        return [like]
    raise _Unfit(
        f"expected the key 'images', found {sorted(map(printable, headers))}; call the array of "
        "pictures so"
    )


def _labels_of(headers: dict[str, Header], images: str, name: str) -> str | None:
    """The key of the labels that belong to an array of pictures, None if there is no clear one."""
    part, _ = _role(images)
    if not part and "labels" in headers:
        return "labels"
    n = (headers[images].shape or (0,))[0]
    alike = [key for key in headers if key != images and _role(key) == (part, "labels")]
    fitting = [key for key, header in headers.items() if key != images and header.like_labels(n)]
    named = [key for key in fitting if key in alike or key == "labels"]
    if len(named) == 1:
        return named[0]
    unused = named or alike or [key for key in fitting if not _role(key)[0]]
    if unused:
        _warn(
            f"{name}: {some(unused, 9)} not used; if it holds the classes, call it 'labels' and "
            "give it one for each picture"
        )
    return None


def _as_parts(
    arrays: list[list[tuple[np.ndarray, np.ndarray | None]]], names: tuple[str, ...], name: str
) -> tuple[NpzPart, NpzPart | None]:
    images = [[_as_nchw(x, name) for x, _ in part] for part in arrays]
    shapes = {tuple(x.shape[1:]) for part in images for x in part}
    if len(shapes) > 1:
        raise ValueError(f"{name}: its parts differ in the size of their pictures, {shapes}")
    plain = [[None if y is None else _plain(y, len(x), name) for x, y in part] for part in arrays]
    joined = [None if any(y is None for y in p) else np.concatenate(p) for p in plain]
    labels, classes = class_numbers(joined, name, names)
    parts = [
        NpzPart(torch.cat(x), y, classes if y is not None else ())
        for x, y in zip(images, labels, strict=True)
    ]
    return parts[0], parts[1] if len(parts) > 1 else None


def _as_nchw(array: np.ndarray, name: str) -> Tensor:
    images = torch.from_numpy(_as_uint8(array, name))
    shape = tuple(images.shape)
    if images.ndim == 3 and (shape[2] not in (3, 4) or shape[1] in (3, 4)):
        return images[:, None]
    if images.ndim == 4 and shape[3] in im.CHANNELS:
        return images.permute(0, 3, 1, 2)
    if images.ndim == 4 and shape[1] in im.CHANNELS:
        return images
    hints = {2: "; flat rows need array.reshape(n, H, W) or (n, C, H, W) first"}
    if images.ndim == 3:
        hints[3] = "; it looks like one picture, and a set needs array[None]"
    if images.ndim == 4 and shape[2] in (1, 3) and shape[0] == shape[1]:
        hints[4] = "; it looks like (H, W, C, n): use array.transpose(3, 0, 1, 2)"
    raise ValueError(
        f"{name}: expected images (n, H, W, C) with C = 1, 3 or 4, got shape {shape}"
        f"{hints.get(images.ndim, '')}"
    )


def _as_uint8(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    kind, low, high = array.dtype.kind, 0, 0
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.size and kind in "iuf":
        low, high = array.min(), array.max()
    if kind in "iu" and low >= 0 and 1 < high <= 255:
        return array.astype(np.uint8)
    span = f" from {low:.4g} to {high:.4g}" if array.size and kind in "iuf" else ""
    how = "x * 255 for 0..1 or (x + 1) * 127.5 for -1..1, then .round().astype('uint8')"
    if kind in "iu" and high > 255:
        full = 2 ** int(high).bit_length() - 1
        how = f"(x * (255 / {full})).round().astype('uint8') if {full:,} is white"
    elif kind == "f" and low >= 0 and 1 < high <= 255:
        how = "x.round().astype('uint8')"
    elif span and not (np.isfinite(low) and np.isfinite(high)):
        how = "first find out where the values that are no numbers come from"
    if kind not in "iuf":
        got = "text" if kind in "US" else str(array.dtype)
        raise TypeError(f"{name}: expected uint8 images, got {got}; these are no pixels")
    raise TypeError(f"{name}: expected uint8 images, got {array.dtype}{span}; convert them: {how}")


def _plain(labels: np.ndarray, n: int, name: str) -> np.ndarray:
    """One label for each of n pictures, int64 or text: columns and one-hot rows become plain."""
    if labels.shape[:1] == (n,) and labels.size == n:
        labels = labels.reshape(n)
    if labels.ndim == 2 and len(labels) == n and labels.dtype.kind in "biuf":
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all()):
            raise ValueError(
                f"labels of {name}: expected one a picture, ({n},), or one-hot rows, got "
                f"{labels.shape} with rows that do not consist of a single 1 and zeros"
            )
        return labels.argmax(1)
    if labels.shape != (n,):
        raise ValueError(f"labels of {name}: expected one a picture, ({n},), got {labels.shape}")
    if labels.dtype.kind == "S":
        labels = np.array([value.decode("utf-8", "surrogateescape") for value in labels.tolist()])
    if labels.dtype.kind == "U":
        return labels
    if labels.dtype.kind not in "biuf" or not np.array_equal(labels, np.floor(labels)):
        raise TypeError(f"labels of {name}: expected whole numbers or names, got {labels.dtype}")
    return labels.astype(np.int64)


def class_numbers(
    parts: Sequence[np.ndarray | None], name: str, names: Sequence[str] = ()
) -> tuple[list[Tensor | None], tuple[str, ...]]:
    """Labels of several parts, as class numbers 0, 1, 2, ... that mean the same in all of them.

    Only classes that occur are classes, unless they have names. Text and numbers that begin at 1 or
    have gaps become the names of the classes.

    Raises:
        ValueError: some labels are negative, or a name is not text.
    """
    known = [part for part in parts if part is not None]
    if not known:
        return list(parts), ()
    values = np.unique(np.concatenate(known))
    if values.dtype.kind == "U":
        texts = list(map(str, values))
        if not all(map(is_unicode, texts)):
            odd = next(text for text in texts if not is_unicode(text))
            raise ValueError(f"labels of {name}: the class {printable(odd)} is not UTF-8 text")
        order = in_natural_order(texts)
        classes = tuple(map(printable, order))
    else:
        if _without_labels(np.concatenate(known), name):
            return [None] * len(parts), ()
        order, classes = values.tolist(), tuple(map(str, values.tolist()))
        if values[-1] == len(values) - 1:
            classes = ()
        if len(names) > values[-1]:
            order, classes = list(range(len(names))), tuple(names)
    number = {value: i for i, value in enumerate(order)}
    _warn_of_numbers(order, classes, sum(map(len, known)), name)
    return [
        None if part is None else torch.tensor([number[value] for value in part.tolist()])
        for part in parts
    ], classes


def _without_labels(values: np.ndarray, name: str) -> bool:
    """Whether all labels are -1, which means none; single ones cannot be understood."""
    negative = values[values < 0]
    if len(negative) == len(values) and (values == -1).all():
        _warn(f"{name}: all labels are -1, which is read as no labels at all")
        return True
    if len(negative):
        raise ValueError(
            f"labels of {name}: expected class numbers of 0 or more, got {negative[0]} "
            f"({len(negative):,} of {len(values):,} are negative). If -1 stands for a class, count "
            "from 0; if it means that there is no label, leave those pictures out"
        )
    return False


def _warn_of_numbers(order: list, classes: tuple[str, ...], n: int, name: str) -> None:
    if len(order) > max(100, n // 2):
        _warn(
            f"{name}: {n:,} pictures have {len(order):,} different labels; if these are no "
            "classes, leave them out"
        )
    elif classes and isinstance(order[0], int) and order != list(range(len(order))):
        _warn(
            f"{name}: the labels are not 0, 1, 2, ... without gaps; the {len(order):,} that occur "
            f"become the names of the classes ({some(map(str, order), 9)})"
        )


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=5)
