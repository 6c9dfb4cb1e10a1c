"""Data sets: digits and emoji that come with the library, torchvision's, and your own pictures."""

from ldmlib.data.dataset import ImageData
from ldmlib.data.emoji_set import emoji
from ldmlib.data.own_pictures import from_folder, from_npz
from ldmlib.data.sets import (
    KNOWN,
    cifar10,
    fashion_mnist,
    from_torchvision,
    kmnist,
    load,
    load_pair,
    load_parts,
    mnist,
    svhn,
)

__all__ = [
    "ImageData",
    "KNOWN",
    "cifar10",
    "emoji",
    "fashion_mnist",
    "from_folder",
    "from_npz",
    "from_torchvision",
    "kmnist",
    "load",
    "load_pair",
    "load_parts",
    "mnist",
    "svhn",
]
