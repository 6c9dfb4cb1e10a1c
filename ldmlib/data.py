"""Data sets: MNIST inside the library, torchvision's sets, and the reader's own pictures.

All of them become an `ImageData`: 8-bit pictures in memory, handed out as float32 in [-1, 1]. A few
tens of thousands of small pictures fit in memory easily, and training is fastest from there.
"""

from __future__ import annotations

import os
import socket
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from . import images as im
from .files import PathLike, asset

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
SIZES = (128, 64, 32)  # what `from_folder` chooses from
SMALLEST = 16  # pixels; anything below is not enlarged unless asked for
NOT_NPZ = (ValueError, TypeError, AttributeError)  # NumPy's answers to other kinds of files


class ImageData(Dataset):
    """Square pictures in memory, with or without class labels.

    Attributes:
        images: uint8 (N, C, H, H).
        labels: int64 (N,), or None.
        classes: a name for each label; empty without labels.
        name: for messages and reports.

    Raises:
        TypeError, ValueError: pictures are not uint8, not square or none; labels do not fit.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | Sequence[int] | None = None,
        classes: Sequence[str] = (),
        name: str = "images",
    ) -> None:
        _check_storage(images, name)
        self.images, self.name = images.contiguous(), name
        self.labels = im.check_labels(
            labels, len(classes) or None, len(images), what=f"labels of {name}"
        )
        known = 0 if self.labels is None else int(self.labels.max()) + 1
        self.classes = tuple(classes or map(str, range(known))) if known else ()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """Picture i as float32 (C, H, H) in [-1, 1] and its label, -1 where there are none."""
        label = -1 if self.labels is None else int(self.labels[i])
        return im.from_uint8(self.images[i]), label

    def __repr__(self) -> str:
        kind = {1: "grey", 3: "RGB"}.get(self.channels, f"{self.channels}-channel")
        classes = f"{self.num_classes} classes" if self.num_classes else "no labels"
        side = f"{self.size} x {self.size}"
        return f"ImageData({self.name!r}: {len(self):,} {kind} pictures of {side}, {classes})"

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.images.shape[2]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def as_tensors(self) -> tuple[Tensor, Tensor | None]:
        """All pictures as float32 (N, C, H, H) in [-1, 1], and the labels int64 (N,) or None."""
        return im.from_uint8(self.images), self.labels

    def subset(self, indices: Tensor | Sequence[int]) -> ImageData:
        """The pictures at `indices`, in that order (a boolean mask works too)."""
        picked = torch.as_tensor(indices)
        picked = picked if picked.dtype == torch.bool else picked.long()
        labels = None if self.labels is None else self.labels[picked]
        return ImageData(self.images[picked], labels, self.classes, self.name)

    def random_subset(self, n: int, seed: int) -> ImageData:
        """`n` different pictures, drawn at random.

        Raises:
            ValueError: `n` is not between 1 and the number of pictures.
        """
        if not 1 <= n <= len(self):
            raise ValueError(f"{self.name}: expected n from 1 to {len(self)}, got {n}")
        return self.subset(_shuffled(len(self), seed)[:n])

    def split(self, fraction: float, seed: int) -> tuple[ImageData, ImageData]:
        """Two disjoint random parts: `fraction` of the pictures, and all the others.

        Raises:
            ValueError: one of the parts would be empty.
        """
        first = round(fraction * len(self))
        if not 0 < first < len(self):
            raise ValueError(f"{self.name}: fraction {fraction} of {len(self)} leaves a part empty")
        order = _shuffled(len(self), seed)
        return self.subset(order[:first]), self.subset(order[first:])

    def resized(self, size: int) -> ImageData:
        """The same pictures at `size` x `size`, through `images.resize`."""
        return ImageData(_resized(self.images, size), self.labels, self.classes, self.name)


def _check_storage(images: Tensor, name: str) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        came = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"{name}: expected a uint8 tensor, got {came}; see images.to_uint8")
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        shape = tuple(images.shape)
        raise ValueError(f"{name}: expected square pictures (N, C, H, H), got shape {shape}")
    if images.numel() == 0:
        raise ValueError(f"{name}: expected at least one picture, got none")


def _shuffled(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def _resized(images: Tensor, size: int) -> Tensor:
    """uint8 (N, C, H, H) -> uint8 (N, C, size, size), a part at a time to save memory."""
    if images.shape[-1] == size:
        return images
    parts = images.split(1024)
    return torch.cat([im.to_uint8(im.resize(im.from_uint8(part), size)) for part in parts])


def _check_split(split: str) -> None:
    if split not in ("train", "test"):
        raise ValueError(f"expected split 'train' or 'test', got {split!r}")


@lru_cache
def _mnist_arrays(split: str) -> tuple[Tensor, Tensor]:
    with np.load(asset("data", "mnist", "mnist_full.npz"), allow_pickle=False) as file:
        arrays = file[f"{split}_images"], file[f"{split}_labels"]
    return torch.from_numpy(arrays[0])[:, None], torch.from_numpy(arrays[1])


def mnist(split: str = "train") -> ImageData:
    """Handwritten digits, all 60,000 ("train") or 10,000 ("test"), black border up to 32 x 32."""
    _check_split(split)
    images, labels = _mnist_arrays(split)
    return ImageData(im.pad_to(images, 32, 0), labels.long(), name=f"mnist {split}")


_GZIPPED = "{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz"
_TORCHVISION = {  # our name: torchvision's class, and where its files go below the root
    "fashion_mnist": ("FashionMNIST", f"FashionMNIST/raw/{_GZIPPED}"),
    "kmnist": ("KMNIST", f"KMNIST/raw/{_GZIPPED}"),
    "cifar10": ("CIFAR10", "cifar-10-python.tar.gz"),
    "svhn": ("SVHN", "{train,test}_32x32.mat"),
}


def fashion_mnist(split: str = "train", root: PathLike | None = None) -> ImageData:
    """Zalando's clothes, 10 classes, grey: see `from_torchvision`."""
    return from_torchvision("fashion_mnist", split, root)


def kmnist(split: str = "train", root: PathLike | None = None) -> ImageData:
    """Cursive Japanese letters, 10 classes, grey: see `from_torchvision`."""
    return from_torchvision("kmnist", split, root)


def cifar10(split: str = "train", root: PathLike | None = None) -> ImageData:
    """Animals and vehicles, 10 classes, RGB: see `from_torchvision`."""
    return from_torchvision("cifar10", split, root)


def svhn(split: str = "train", root: PathLike | None = None) -> ImageData:
    """House numbers, 10 classes, RGB (needs SciPy): see `from_torchvision`."""
    return from_torchvision("svhn", split, root)


def from_torchvision(name: str, split: str = "train", root: PathLike | None = None) -> ImageData:
    """A data set of torchvision as 32 x 32 pictures (28-pixel sets get a black border).

    Args:
        root: folder of the files; default: $LDMLIB_DATA, else ~/.cache/ldmlib/data.

    Raises:
        FileNotFoundError: not there and no download; the message says which files go where.
        ValueError: unknown name or split.
    """
    if name not in _TORCHVISION:
        raise ValueError(f"unknown data set {name!r}: expected one of {', '.join(_TORCHVISION)}")
    _check_split(split)
    folder = Path(root or os.environ.get("LDMLIB_DATA") or "~/.cache/ldmlib/data").expanduser()
    data = _open_or_download(name, split, folder)
    images = torch.as_tensor(data.data)
    if images.ndim == 3:
        images = im.pad_to(images[:, None], 32, 0)
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    labels = data.labels if name == "svhn" else data.targets
    classes = getattr(data, "classes", tuple("0123456789"))
    return ImageData(images, torch.as_tensor(labels), classes, f"{name} {split}")


def _open_or_download(name: str, split: str, folder: Path) -> Dataset:
    from torchvision import datasets

    class_name, files = _TORCHVISION[name]
    which = {"split": split} if name == "svhn" else {"train": split == "train"}
    make = partial(getattr(datasets, class_name), folder, **which)
    patience = socket.getdefaulttimeout()
    try:
        return make(download=False)
    except RuntimeError:  # not there yet
        socket.setdefaulttimeout(30)  # seconds without an answer: we are offline
    try:
        return make(download=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"{name}: not in {folder}, and the download failed ({str(error).strip()[-99:]}). "
            f"Go online, or put there {files}, or set LDMLIB_DATA to the folder that holds it"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)


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
    side = size or _fitting_size(files, folder)
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
            images.append(_resized(im.center_crop(im.read_picture(file)), size))
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
    images = images if size is None else _resized(images, size)
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


KNOWN: dict[str, Callable[..., ImageData]] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "kmnist": kmnist,
    "cifar10": cifar10,
    "svhn": svhn,
}


def load(source: PathLike, split: str = "train", size: int | None = None) -> ImageData:
    """A data set by its name ("mnist"), a folder of pictures, or a .npz file.

    Folders and files have no split: all of their pictures come back.

    Raises:
        ValueError: neither a known name nor a folder or .npz file; the message lists the names.
    """
    if source in KNOWN:
        data = KNOWN[source](split)
        return data if size is None else data.resized(size)
    path = Path(source).expanduser()
    if path.suffix.lower() == ".npz":
        return from_npz(path, size)
    if path.is_dir():
        return from_folder(path, size)
    there = "it is a file of another kind" if path.exists() else "there is no such folder"
    raise ValueError(
        f"unknown data {str(source)!r}: expected {', '.join(KNOWN)}, or a folder of pictures, "
        f"or a .npz file; {there}"
    )
