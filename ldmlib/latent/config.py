"""Everything about a `LatentDiffusion` apart from its weights: what ``config.json`` holds."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ldmlib.data.emoji_set import style_of
from ldmlib.data.record import DataRecord, listed
from ldmlib.diffusion.process import Diffusion
from ldmlib.images import check_labels
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.tokenizer import Tokenizer
from ldmlib.networks.unet import UNetConfig

Labels = Tensor | Sequence[int | str] | int | str  # of classes, by number or by name
_NOT_PADDED = (torch.bool, torch.uint8, torch.float16)  # torch pads none of these everywhere


@dataclass(frozen=True)
class LatentDiffusionConfig:
    """Everything that rebuilds a `LatentDiffusion` apart from its weights.

    Args:
        size: height and width of the pictures.
        canvas: height and width of what the networks see, where they cannot halve `size` often
            enough: pictures are padded to it, and what is drawn is cropped. 0 if that is `size`.
        classes: names of the classes, empty for an unconditional model.
        class_weights: share of each class in the training data, for `sample(labels=None)`.
        tokenizer: of a model that is asked in words, else None.
        styles: words that may stand before "style" at the end of a prompt.
        sampler, steps, guidance: what `sample` uses when not told otherwise.
        guidance_interval: times t between which the model's own guidance acts (2404.07724).
        facts: anything worth keeping (seed, seconds, scores).
        data: what the model was trained on; None if that was not recorded.
        enlarges: side of the small pictures that a model for super-resolution is shown, or 0.
        fills_holes: whether the model was trained to be shown pictures with holes.
    """

    autoencoder: AutoencoderConfig
    unet: UNetConfig
    diffusion: Diffusion = field(default_factory=Diffusion)
    size: int = 32
    classes: tuple[str, ...] = ()
    class_weights: tuple[float, ...] = ()
    tokenizer: Tokenizer | None = None
    styles: tuple[str, ...] = ()
    sampler: str = "heun"
    steps: int = 5
    guidance: float = 1.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    facts: dict = field(default_factory=dict)
    data: DataRecord | None = None
    enlarges: int = 0
    fills_holes: bool = False
    canvas: int = 0

    def __post_init__(self) -> None:
        if self.canvas and self.canvas < self.size:
            raise ValueError(
                f"canvas {self.canvas} is smaller than the pictures of size {self.size} on it"
            )

    @property
    def padded_size(self) -> int:
        """Height and width of what the networks see."""
        return self.canvas or self.size

    def padded(self, x: Tensor) -> Tensor:
        """Pictures or masks (n, C, size, size) in the middle of a canvas, their edges repeated."""
        before, after = self._margins
        if not after:
            return x
        wide = F.pad(x.float() if x.dtype in _NOT_PADDED else x, [before, after] * 2, "replicate")
        return wide.to(x.dtype)

    def cropped(self, x: Tensor) -> Tensor:
        """The inverse of `padded`."""
        before, after = self._margins
        return x[..., before : x.shape[-2] - after, before : x.shape[-1] - after] if after else x

    @property
    def _margins(self) -> tuple[int, int]:
        both = self.padded_size - self.size
        return both // 2, both - both // 2

    @property
    def shown(self) -> str:
        """Field of what the model is shown beside the noise: enlarges, fills_holes, or ""."""
        return "enlarges" if self.enlarges else "fills_holes" * self.fills_holes

    @classmethod
    def from_dict(cls, values: dict) -> LatentDiffusionConfig:
        """The inverse of `dataclasses.asdict`, for what was read from ``config.json``."""
        parts = {
            "autoencoder": AutoencoderConfig(**values["autoencoder"]),
            "unet": UNetConfig(**values["unet"]),
            "diffusion": Diffusion(**values["diffusion"]),
            "classes": tuple(values["classes"]),
            "class_weights": tuple(values["class_weights"]),
            "tokenizer": Tokenizer(**words) if (words := values.get("tokenizer")) else None,
            "styles": tuple(values.get("styles", ())),
            "data": DataRecord.from_dict(record) if (record := values.get("data")) else None,
            "guidance_interval": tuple(values.get("guidance_interval", (0.0, 1.0))),
        }
        config = cls(**{**values, **parts})
        config.check_agreement()
        return config

    def check_agreement(self) -> None:
        """Raise a ValueError if the parts contradict each other: classes, their shares, words."""
        classes, known, shares = len(self.classes), self.unet.num_classes, self.class_weights
        if classes and classes != known:
            raise ValueError(f"{classes} classes have names, but the denoiser knows {known}")
        if shares and (len(shares) != classes or not sum(shares) > 0):
            raise ValueError(f"class_weights: {len(shares)} shares for {classes} classes, or all 0")
        words = len(self.tokenizer) if self.tokenizer else 0
        if words != self.unet.vocabulary:
            vocabulary = self.unet.vocabulary
            raise ValueError(f"{words} tokens, but the denoiser has a vocabulary of {vocabulary}")

    def tokens(self, prompts: list[str]) -> Tensor:
        """Token ids (n, L) of prompts.

        Raises:
            ValueError: the model is not asked in words, or a prompt is too long, cannot be read, or
                asks for a style that there is not.
        """
        if self.tokenizer is None:
            how = "it draws without being asked for anything: leave the prompt out"
            if self.classes:
                how = f"ask with labels, by name or number: {listed(self.classes)}"
            raise ValueError(f"this model reads no prompts; {how}")
        for prompt in prompts:
            style_of(prompt, self.styles)
        return self.tokenizer(prompts)

    def labels(self, labels: Labels, n: int) -> Tensor:
        """Class labels (n,) int64, one for all or one for each; -1 leaves the class open.

        Args:
            labels: numbers or names of classes, see `class_number`.

        Raises:
            TypeError: labels are neither whole numbers nor names.
            ValueError: the model has no classes, or not these, or learned nothing of one of them,
                or there are not n labels.
        """
        if self.tokenizer is not None:
            raise ValueError('this model is asked in words: prompt="red apple", not labels')
        if not self.classes:
            raise ValueError("this model was trained without labels: leave labels out")
        numbers = self._as_numbers(labels)
        if numbers.dtype == torch.bool:  # torch.where would make numbers of it
            return check_labels(numbers, len(self.classes), n)
        known = check_labels(torch.where(numbers == -1, 0, numbers), len(self.classes), n)
        known = torch.where(numbers == -1, -1, known)
        self._check_seen(known)
        return known

    def _as_numbers(self, labels: Labels) -> Tensor:
        if not isinstance(labels, (str, Tensor)) and hasattr(labels, "tolist"):
            labels = labels.tolist()  # NumPy's arrays, pandas' columns
        if isinstance(labels, str):
            labels = self.class_number(labels)
        elif isinstance(labels, (list, tuple)):
            labels = [self.class_number(x) if isinstance(x, str) else x for x in labels]
        try:
            return torch.as_tensor(labels)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"labels: expected numbers or names of classes, got {labels!r:.60}"
            ) from error

    def _check_seen(self, labels: Tensor) -> None:
        """Raise a ValueError if there were no pictures of one of the classes in the training."""
        unseen = [i for i, share in enumerate(self.class_weights) if share == 0]
        asked = [self.classes[i] for i in unseen if bool((labels == i).any())]
        if asked:
            raise ValueError(
                f"the model learned from no picture of class {asked[0]!r}, so it cannot draw it; "
                f"ask for another one of {listed(self.classes)}"
            )

    def class_number(self, name: str) -> int:
        """The number of a class by its name, or by its number as text; -1 for "any".

        The name as it is written comes first, so that of folders called 1 to 12 "2" is the folder
        2, not the class number 2. Capitals and Unicode form do not matter where no name is equal.

        Raises:
            ValueError: there is no such class; the message lists the classes.
        """
        named = self.number_of_name(name)
        if named is not None:
            return named
        name = name.strip()
        if name == "-1" or _folded(name) == "any":
            return -1
        if name.isdecimal() and int(name) < len(self.classes) and not self._numbered():
            return int(name)
        folded = {_folded(known): known for known in self.classes}
        close = difflib.get_close_matches(_folded(name), folded, 1) if not name.isdecimal() else []
        hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
        raise ValueError(f"there is no class {name!r} among {listed(self.classes)}{hint}")

    def number_of_name(self, name: str) -> int | None:
        """The number of the class that is called so, None if there is none or more than one.

        Capitals, Unicode form and spaces around it matter only where another name differs in
        nothing else. Of classes that all are called by numbers, "01" is "1".
        """
        for written in (name, name.strip()):
            if written in self.classes:
                return self.classes.index(written)
        same = _folded
        if name.strip().isdecimal() and self._numbered():
            same = int
        alike = [i for i, known in enumerate(self.classes) if same(known) == same(name)]
        return alike[0] if len(alike) == 1 else None

    def _numbered(self) -> bool:
        """Whether all classes have numbers as names, which then are what a number means."""
        return all(name.isdecimal() for name in self.classes)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())
