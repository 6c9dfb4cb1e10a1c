"""Emoji with captions, inside the library: three artists' pictures of the same 1,855 things.

5,247 pictures of 32 x 32 pixels on white, in three styles: ``twemoji`` (flat), ``noto`` (drawn) and
``fluent`` (rendered in 3-D). Their licences are beside the file (CC BY 4.0, Apache-2.0, MIT).
Captions are held out, not pictures: else a model would meet a held-out emoji in another style.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ldmlib.data.dataset import ImageData
from ldmlib.storage.files import asset

STYLES = ("twemoji", "noto", "fluent")
HELD_OUT = 10  # one caption in so many


@dataclass(frozen=True)
class CaptionedData:
    """Pictures, and what is in them, in words.

    Attributes:
        pictures: an `ImageData`; its labels are nine categories.
        kinds: the same with 98 finer ones.
        captions: of each picture, lower case.
        tags: of each picture, more words for the same thing.
        styles: number in `STYLES` of each picture, int64 (N,).
    """

    pictures: ImageData
    kinds: ImageData
    captions: tuple[str, ...]
    tags: tuple[tuple[str, ...], ...]
    styles: Tensor

    def __len__(self) -> int:
        return len(self.pictures)

    def prompts(self) -> list[str]:
        """Caption and style of each picture, as a prompt: ``"red apple, noto style"``."""
        return [
            with_style(caption, STYLES[style])
            for caption, style in zip(self.captions, self.styles.tolist(), strict=True)
        ]

    def where(self, *, caption: str | None = None, style: str | None = None) -> list[int]:
        """Numbers of the pictures with this caption, this style, or both."""
        number = None if style is None else STYLES.index(check_style(style))
        return [
            i
            for i, (c, s) in enumerate(zip(self.captions, self.styles.tolist(), strict=True))
            if caption in (None, c) and number in (None, s)
        ]


def check_style(style: str, styles: tuple[str, ...] = STYLES) -> str:
    """`style` itself, if there is one of that name; an unknown one lists the known."""
    if style not in styles:
        raise ValueError(f"unknown style {style!r}; known are {', '.join(styles) or 'none'}")
    return style


def with_style(caption: str, style: str | None) -> str:
    """``("red apple", "noto")`` -> ``"red apple, noto style"``; None leaves the style open."""
    return caption if style is None else f"{caption}, {check_style(style)} style"


def style_of(prompt: str, styles: tuple[str, ...] = STYLES) -> str | None:
    """The style that a prompt ends in, None if it names none.

    Raises:
        ValueError: the prompt asks for a style that there is not.
    """
    named = re.search(r",\s*(\S+)\s+style\s*$", prompt.lower())
    return check_style(named[1], styles) if named else None


@lru_cache
def _file() -> dict[str, np.ndarray]:
    with np.load(asset("data", "emoji", "emoji32.npz"), allow_pickle=False) as file:
        return dict(file)


def is_held_out(caption: str) -> bool:
    """Whether pictures with this caption belong to the test split: one caption in ten."""
    return hashlib.sha256(caption.encode()).digest()[0] % HELD_OUT == 0


@lru_cache
def captioned_emoji(split: str = "train") -> CaptionedData:
    """Pictures, captions, tags and styles of the training or the test split ("train", "test")."""
    if split not in ("train", "test"):
        raise ValueError(f"expected split 'train' or 'test', got {split!r}")
    file = _file()
    captions = [str(file["captions"][i]).strip() for i in file["caption_id"]]
    chosen = [i for i, c in enumerate(captions) if is_held_out(c) == (split == "test")]
    images = torch.from_numpy(file["images"][chosen]).permute(0, 3, 1, 2)

    def labelled(by: str) -> ImageData:
        labels = torch.from_numpy(file[by][chosen].astype(np.int64))
        return ImageData(images, labels, tuple(map(str, file[f"{by}_names"])), f"emoji {split}")

    tags = [tuple(str(text).lower().split("|")) for text in file["tags"]]
    return CaptionedData(
        labelled("category"),
        labelled("subcategory"),
        tuple(captions[i] for i in chosen),
        tuple(tags[file["caption_id"][i]] for i in chosen),
        torch.from_numpy(file["style"][chosen].astype(np.int64)),
    )


def emoji(split: str = "train") -> ImageData:
    """Emoji as pictures with nine categories as labels; with captions: `captioned_emoji`."""
    return captioned_emoji(split).pictures


def emoji_kinds(split: str = "train") -> ImageData:
    """The same pictures with 98 finer categories as labels ("food-fruit", "animal-bird", ...)."""
    return captioned_emoji(split).kinds
