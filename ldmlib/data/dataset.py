"""A data set of pictures: 8-bit in memory, handed out as float32 in [-1, 1].

A few tens of thousands of small pictures fit in memory easily, and training is fastest from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ldmlib import images as im

MOST_CLASSES = 100_000  # unnamed ones; larger labels are something else, such as identity numbers


@dataclass(frozen=True)
class Origin:
    """Where pictures came from and what was done to them, for the line that says what was read.

    Attributes:
        width, height: of the typical picture before it was cropped and resized.
        alike: whether all pictures had that size.
        enlarged: pictures whose shorter side was below the side they have now.
        left_out: picture files that could not be read, or lie outside of the class folders.
    """

    width: int
    height: int
    alike: bool = True
    enlarged: int = 0
    left_out: int = 0


class ImageData(Dataset):
    """Square pictures in memory, with or without class labels.

    Attributes:
        images: uint8 (N, C, H, H).
        labels: int64 (N,), or None.
        classes: a name for each label; empty without labels.
        name: for messages and reports.
        keys: int64 (N,), a number that follows from each picture's content (`content_keys`), as it
            was before any cropping and resizing if the reader of the pictures passed them on.
        origin: the pictures' sizes as they were read; None if they were never changed.

    Raises:
        TypeError, ValueError: pictures are not uint8, not square or none; labels or keys do not
            fit.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | Sequence[int] | None = None,
        classes: Sequence[str] = (),
        name: str = "images",
        keys: Tensor | None = None,
        origin: Origin | None = None,
    ) -> None:
        _check_storage(images, name)
        if keys is not None and tuple(keys.shape) != (len(images),):
            shape = tuple(keys.shape)
            raise ValueError(
                f"{name}: expected a key for each picture, ({len(images)},), got {shape}"
            )
        self.images, self.name, self._keys = images.contiguous(), name, keys
        self.origin = origin
        self.labels = im.check_labels(
            labels, len(classes) or None, len(images), what=f"labels of {name}"
        )
        known = 0 if self.labels is None else int(self.labels.max()) + 1
        if not classes and known > MOST_CLASSES:
            raise ValueError(
                f"labels of {name}: expected class numbers 0, 1, 2, ..., got {known - 1}; "
                "number the classes from 0 without gaps"
            )
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

    @property
    def keys(self) -> Tensor:
        if self._keys is None:  # made when first asked for: most uses never do
            self._keys = content_keys(self.images)
        return self._keys

    @property
    def copies(self) -> int:
        """How many pictures are copies of an earlier one, by their `keys`."""
        return len(self) - len(self.keys.unique())

    @property
    def sha256(self) -> str:
        """A hash of everything that a training sees: pictures, their order, labels and classes."""
        digest = hashlib.sha256(repr((tuple(self.images.shape), self.classes)).encode())
        digest.update(self.images.cpu().numpy())
        if self.labels is not None:
            digest.update(self.labels.cpu().numpy())
        return digest.hexdigest()

    def as_tensors(self) -> tuple[Tensor, Tensor | None]:
        """All pictures as float32 (N, C, H, H) in [-1, 1], and the labels int64 (N,) or None."""
        return im.from_uint8(self.images), self.labels

    def subset(self, indices: Tensor | Sequence[int]) -> ImageData:
        """The pictures at `indices`, in that order (a boolean mask works too).

        Raises:
            TypeError: indices are not whole numbers.
            IndexError: a number or a mask that does not fit the number of pictures.
            ValueError: no picture is left.
        """
        picked = _checked_indices(indices, len(self), self.name)
        labels = None if self.labels is None else self.labels[picked]
        keys = None if self._keys is None else self._keys[picked]
        images = self.images[picked]
        return ImageData(images, labels, self.classes, self.name, keys, self.origin)

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

    def split_by_content(
        self, fraction: float, largest_key: int | None = None
    ) -> tuple[ImageData, ImageData, int]:
        """Held-out pictures, the others, and the largest key of a held-out one.

        The pictures with the smallest `keys` are held out, about `fraction` of them. So a picture
        stays on its side when others are added or removed, and copies of one picture stay together.

        Args:
            largest_key: what an earlier call returned, to divide these pictures as it did.

        Raises:
            ValueError: one of the parts would be empty, as the pictures are all the same.
        """
        given = largest_key is not None
        if largest_key is None:
            count = max(1, round(fraction * len(self)))
            different = self.keys.unique()
            largest_key = int(self.keys.sort().values[count - 1])
            if largest_key == int(different[-1]) and len(different) > 1:
                largest_key = int(different[-2])  # many copies of one picture
        chosen = self.keys <= largest_key
        if bool(chosen.all()) or not bool(chosen.any()):
            why = (
                f"the division of an earlier training puts all of these {len(self):,} pictures "
                "on one side; are they other pictures than those?"
                if given
                else f"all {len(self):,} pictures are the same, so that they cannot be divided "
                "into some to learn from and others to check with; add other pictures"
            )
            raise ValueError(f"{self.name}: {why}")
        return self.subset(chosen), self.subset(~chosen), largest_key

    def resized(self, size: int) -> ImageData:
        """The same pictures at `size` x `size`, through `images.resize`."""
        images = resize_uint8(self.images, size)
        return ImageData(images, self.labels, self.classes, self.name, self.keys, self.origin)


def _check_storage(images: Tensor, name: str) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        came = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"{name}: expected a uint8 tensor, got {came}; see images.to_uint8")
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        shape = tuple(images.shape)
        raise ValueError(f"{name}: expected square pictures (N, C, H, H), got shape {shape}")
    if images.numel() == 0:
        raise ValueError(f"{name}: expected at least one picture, got none")


def content_keys(images: Tensor) -> Tensor:
    """For each picture (N, C, H, W), uint8 or int32, a number that follows from its content.

    It lies between 0 and 2^63 - 1: the first bits of SHA-256 over shape and values, so that equal
    pictures have equal numbers, and different ones practically never do.
    """
    begun = hashlib.sha256(repr(tuple(images.shape[1:])).encode())
    keys = []
    for picture in images.cpu().contiguous().numpy():
        digest = begun.copy()
        digest.update(picture)
        keys.append(int.from_bytes(digest.digest()[:8], "big") >> 1)
    return torch.tensor(keys)


def _checked_indices(indices: Tensor | Sequence[int], n: int, name: str) -> Tensor:
    """Places as int64 (m,), or a mask as bool (n,)."""
    picked = torch.as_tensor(indices).reshape(-1)
    if picked.dtype == torch.bool:
        if len(picked) != n:
            raise IndexError(f"{name}: expected a mask for {n} pictures, got {len(picked)} values")
        return picked
    if picked.is_complex() or (picked.is_floating_point() and len(picked)):
        raise TypeError(f"{name}: expected whole numbers as indices, got {picked.dtype}")
    picked = picked.long()
    outside = picked[(picked < -n) | (picked >= n)]
    if len(outside):
        raise IndexError(f"{name}: expected indices from 0 to {n - 1}, got {int(outside[0])}")
    return picked


def _shuffled(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def resize_uint8(images: Tensor, size: int) -> Tensor:
    """uint8 (N, C, H, W) -> uint8 (N, C, size, size), a part at a time to save memory.

    Raises:
        ValueError: `size` is not positive.
    """
    if images.shape[-1] == size:
        return images
    parts = images.split(1024)
    return torch.cat([im.to_uint8(im.resize(im.from_uint8(part), size)) for part in parts])
