"""Data sets by name: MNIST and emoji inside the library, torchvision's sets, your own pictures.

All of them become an `ImageData` (in `ldmlib.data.dataset`); `load` finds any of them by its name
or its path. Your own pictures are read by `ldmlib.data.own_pictures`.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ldmlib import images as im
from ldmlib.data.dataset import ImageData
from ldmlib.data.emoji_set import emoji
from ldmlib.data.names import clash, counted, did_you_mean, printable, some
from ldmlib.data.own_pictures import folder_parts, from_folder, from_npz, npz_parts
from ldmlib.data.picture_folders import SUFFIXES
from ldmlib.storage.files import asset
from ldmlib.storage.places import PathLike, cache_folder, expanded


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
    folder = expanded(root) if root else cache_folder("LDMLIB_DATA", "data")
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


KNOWN: dict[str, Callable[..., ImageData]] = {
    "mnist": mnist,
    "emoji": emoji,
    "fashion_mnist": fashion_mnist,
    "kmnist": kmnist,
    "cifar10": cifar10,
    "svhn": svhn,
}


ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"}


def load(source: PathLike, split: str = "train", size: int | None = None) -> ImageData:
    """A data set by its name ("mnist"), a folder of pictures, or a .npz file.

    A folder with parts called train and test (or val), and a file with arrays such as x_train and
    x_test, have a split, too. Of all others every picture comes back, whatever `split` is.

    A plain name means a bundled set before it means a folder: write "./emoji" for your folder.

    Raises:
        ValueError: neither a known name nor a folder or .npz file; the message lists the names.
    """
    if source in KNOWN:
        _warn_of(clash(source, KNOWN, "data set"))
        return _bundled(source, split, size)
    _check_split(split)
    train, held_out = _own_parts(source, size)
    return train if held_out is None or split == "train" else held_out


def _bundled(name: str, split: str, size: int | None) -> ImageData:
    data = KNOWN[name](split)
    return data if size is None else data.resized(size)


def _own_parts(source: PathLike, size: int | None) -> tuple[ImageData, ImageData | None]:
    """Your own pictures to learn from, and the held-out ones if they are kept apart."""
    path = _own_path(source)
    parts = npz_parts if path.suffix.lower() == ".npz" and not path.is_dir() else folder_parts
    return parts(path, size)


def _own_path(source: PathLike) -> Path:
    """The folder or .npz file that `source` names.

    Raises:
        ValueError: there is none.
    """
    if not os.fspath(source):
        raise ValueError("expected the name of a data set or a path, got an empty text")
    path = expanded(source)
    guess = did_you_mean(source, KNOWN)
    if path.is_dir():
        if str(source) not in KNOWN and str(source).casefold() in KNOWN:
            _warn_of(f"{source} is read as a folder; the bundled set is {str(source).casefold()!r}")
        return path
    if path.suffix.lower() == ".npz":
        return path
    there = (
        f"it is a file of another kind{_hint(path)}"
        if path.exists()
        else (f"there is no such folder{'; ' * bool(guess)}{guess}")
    )
    if "://" in str(source):
        there = "addresses are not downloaded from, so fetch the files first"
    raise ValueError(
        f"unknown data {printable(source)!r}: expected {', '.join(KNOWN)}, or a folder of "
        f"pictures, or a .npz file; {there}"
    )


def _hint(path: Path) -> str:
    """What to do with a file that is neither a folder nor an .npz file."""
    suffix = path.suffix.lower()
    if suffix in ARCHIVES:
        return ": unpack it and give the folder"
    if suffix in SUFFIXES:
        return ": a single picture is not enough, give the folder that it lies in"
    if suffix in (".npy", ".pt", ".pth", ".mat", ".h5", ".hdf5", ".parquet", ".pkl"):
        return ": save its pictures with numpy.savez('pictures.npz', images=array, labels=labels)"
    return ""


def _warn_of(sentence: str | None) -> None:
    if sentence:
        warnings.warn(sentence, stacklevel=3)


def load_pair(source: PathLike, size: int | None = None) -> tuple[ImageData, ImageData]:
    """Training pictures and held-out ones, by name, folder or .npz file: see `load_parts`."""
    return load_parts(source, size)[:2]


def load_parts(
    source: PathLike, size: int | None = None, largest_key: int | None = None
) -> tuple[ImageData, ImageData, int | None]:
    """Training pictures, held-out ones, and the key that divides them (None for an official split).

    Named sets have an official test split, and so have folders with parts called train and test,
    and files with x_train and x_test. Of other sets about every tenth picture, chosen by its
    content (`ImageData.split_by_content`), is held out: `ldm train` does not see them, `ldm
    evaluate` needs them.

    Args:
        largest_key: a model's own division, to repeat it (`DataRecord.largest_held_out_key`). It
            counts even if the pictures have been given parts since then, as the model learned from
            some of each.

    Raises:
        ValueError: fewer than 2 pictures.
    """
    if source in KNOWN:
        _warn_of(clash(source, KNOWN, "data set"))
        return _bundled(source, "train", size), _bundled(source, "test", size), None
    path = _own_path(source)
    if largest_key is None:
        train, held_out = _own_parts(path, size)
        if held_out is not None:
            _warn_of_copies(train, held_out)
            return train, held_out, None
    else:
        train = (from_folder if path.is_dir() else from_npz)(path, size)
    if len(train) < 2:
        raise ValueError(
            f"{printable(source)}: a model needs at least 2 pictures, one to learn from and one "
            f"to check with; found {len(train)}"
        )
    held_out, train, largest_key = train.split_by_content(0.1, largest_key)
    _warn_of_unseen(train)
    return train, held_out, largest_key


def _warn_of_unseen(train: ImageData) -> None:
    """A class of few pictures, or of copies of one, can be held out as a whole."""
    counts = [] if train.labels is None else train.labels.bincount(minlength=train.num_classes)
    unseen = [name for name, n in zip(train.classes, counts, strict=True) if n == 0]
    if unseen:
        classes = counted(len(unseen), "class", "classes")
        _warn_of(
            f"{train.name}: all pictures of {classes} are held out ({some(unseen, 5)}), so that "
            "nothing is learned from them; add more pictures that differ"
        )


def _warn_of_copies(train: ImageData, held_out: ImageData) -> None:
    """Held-out pictures that the model learns from say nothing about others."""
    both = int(torch.isin(held_out.keys, train.keys).sum())
    if both:
        _warn_of(
            f"{train.name}: {counted(both, 'held-out picture')} of {len(held_out):,} can be found "
            "among the pictures to learn from, too; scores will look better than they are"
        )
