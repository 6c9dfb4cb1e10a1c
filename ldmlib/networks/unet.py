"""The denoiser: a UNet that is told how noisy its input is and, if wished, what to draw.

    x_t (n, C, H, W) --> down: blocks, halve --> middle --> up: blocks, double --> (n, C, H, W)
                              |______________ skips ______________|
    t (n,)  --> sinusoidal embedding --> MLP --.
    cond (n,) class labels --> embedding ------+--> scale and shift in every block
    cond (n, L) words --> text encoder --> summary (as a class), and vectors that the middle and the
                          blocks on the way up read by cross-attention

After Ronneberger et al. (arXiv 1505.04597) and DDPM (2006.11239, appendix B).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.networks.layers import (
    Attention,
    PlainUpsample,
    ResBlock,
    Upsample,
    group_norm,
    zero_init,
)
from ldmlib.networks.text import TextBlock, TextEncoder

TIME_SCALE = 1000.0  # t in [0, 1] is spread to 0..1000 before the sines, as in the papers' tables


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a `UNet`.

    Args:
        in_channels: channels of the input: of x_t, and of what stands beside it, if anything.
        channels: width of each level; every further level halves height and width.
        blocks: residual blocks a level.
        heads: attention heads at the lowest level; 0 leaves attention out.
        num_classes: number of class labels; 0 for an unconditional network.
        dropout: share of features dropped inside the blocks while training.
        vocabulary: number of tokens of a text model (`ldmlib.networks.text`), 0 for none.
        text_length, text_width: most tokens of a prompt; length of a word's vector.
        portable: 0, or the number of groups of all norms, together with the plain enlarging that
            other libraries have: slower, but they can load it (`ldmlib.export.diffusers_folder`).
        out_channels: channels of x_t and of the output, where these are fewer than come in
            (`ldmlib.applications.editing.conditioning`); 0 for as many.
    """

    in_channels: int = 4
    channels: tuple[int, ...] = (96, 192)
    blocks: int = 2
    heads: int = 4
    num_classes: int = 0
    dropout: float = 0.0
    vocabulary: int = 0
    text_length: int = 24
    text_width: int = 128
    portable: int = 0
    out_channels: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if not self.channels or min(self.channels) < 1 or self.blocks < 1:
            raise ValueError(f"a UNet needs at least one level and one block, not {self}")
        if self.heads and self.channels[-1] % self.heads:
            raise ValueError(f"{self.channels[-1]} channels do not divide by {self.heads} heads")
        if self.vocabulary and (self.num_classes or not self.heads):
            raise ValueError("a text model has no classes, and needs at least one attention head")
        if self.portable and any(c % self.portable for c in self.channels):
            raise ValueError(f"{self.channels} channels do not divide into {self.portable} groups")
        if not 0 <= self.out_channels <= self.in_channels:
            raise ValueError(f"{self.out_channels} channels go out, but {self.in_channels} come in")

    @property
    def beside(self) -> int:
        """How many input channels are not x_t's own, but of an image beside it (`conditioning`)."""
        return self.in_channels - self.out_channels if self.out_channels else 0

    @property
    def embedding(self) -> int:
        """Length of the vector that carries time and class into the blocks."""
        return 2 * self.channels[-1]


def time_embedding(t: Tensor, dim: int) -> Tensor:
    """Sines and cosines of t at `dim` / 2 frequencies: (n,) -> (n, dim) (arXiv 1706.03762).

    t in [0, 1] is multiplied by 1000 first; else .1 and .9 would look alike.
    """
    half = dim // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angle = TIME_SCALE * t[:, None].float() * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


Words = tuple[Tensor, Tensor] | tuple[()]  # vectors and mask; nothing without text


class Middle(nn.Module):
    """Block, attention, block at the lowest resolution."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        shape = channels, channels, config.embedding, config.dropout, config.portable
        before, after = ResBlock(*shape), ResBlock(*shape)
        if config.vocabulary:
            attention = text_block(channels, config)
        elif config.heads:
            attention = Attention(channels, config.heads, config.portable)
        else:
            attention = nn.Identity()
        # in the order of the path: notebook 05 copies its own network's weights one by one
        self.before, self.attention, self.after = before, attention, after

    def forward(self, x: Tensor, embedding: Tensor, words: Words = ()) -> Tensor:
        return self.after(self.attention(self.before(x, embedding), *words), embedding)


def text_block(channels: int, config: UNetConfig) -> TextBlock:
    """The block that reads the prompt, with heads of the lowest level's number."""
    return TextBlock(channels, config.heads, config.text_width, config.portable)


class UNet(nn.Module):
    """Denoiser network: ``UNet(config)(x_t, t, cond) -> output`` of x_t's shape.

    The last layer starts at 0, so that the first loss is the variance of the target.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, embedding = config.channels, config.embedding
        self.time = nn.Sequential(
            nn.Linear(widths[0], embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        if config.num_classes:  # one row more: the null class, "draw anything"
            self.classes = nn.Embedding(config.num_classes + 1, embedding)
        if config.vocabulary:
            text = config.vocabulary, config.text_length, config.text_width
            self.text, self.summary = TextEncoder(*text), nn.Linear(config.text_width, embedding)
            self.readers = nn.ModuleDict()  # by the place of the block that each one follows
        self.stem = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, width = [widths[0]], widths[0]
        for level, level_width in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
            for _ in range(config.blocks):
                self._add("down", width, level_width)
                width = level_width
                skips.append(width)
        self.middle = Middle(width, config)
        for level, level_width in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                self._add("up", width + skips.pop(), level_width)
                width = level_width
            if level and config.portable:
                self.up.append(PlainUpsample(width))
            elif level:
                self.up.append(Upsample(width, widths[level - 1]))
                width = widths[level - 1]
        self.norm = group_norm(width, config.portable)
        self.head = zero_init(nn.Conv2d(width, config.in_channels - config.beside, 3, padding=1))

    def _add(self, side: str, c_in: int, c_out: int) -> None:
        """Append a residual block to `self.down` or `self.up`, and its reader if there is text."""
        config, layers = self.config, getattr(self, side)
        if config.vocabulary and side == "up":  # where the picture is made; on both: twice the time
            self.readers[f"{side}{len(layers)}"] = text_block(c_out, config)
        layers.append(ResBlock(c_in, c_out, config.embedding, config.dropout, config.portable))

    @property
    def factor(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 2 ** (len(self.config.channels) - 1)

    def read(self, cond: Tensor | None, n: int) -> Words:
        """Vectors and mask of n prompts (n, L), all empty for None; () if the UNet has no text."""
        if not self.config.vocabulary:
            return ()
        return self.text(
            torch.full((n, 1), -1, device=self.stem.weight.device) if cond is None else cond
        )

    def embed(self, t: Tensor, cond: Tensor | None, words: Words = ()) -> Tensor:
        """Time (n,) and class labels (n,), -1 or None for the null class -> (n, embedding)."""
        embedding = self.time(time_embedding(t, self.config.channels[0]).to(self.stem.weight))
        if self.config.num_classes:
            if cond is None:
                cond = torch.full((len(t),), -1, device=t.device)
            embedding = embedding + self.classes(cond % (self.config.num_classes + 1))
        if words:
            embedding = embedding + self.summary(words[0][:, 0])
        return F.silu(embedding)

    def _check(self, x: Tensor, t: Tensor, cond: Tensor | None) -> None:
        channels, factor = self.config.in_channels, self.factor
        if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % factor or x.shape[3] % factor:
            extra = f", {self.config.beside} of these beside x_t" if self.config.beside else ""
            raise ValueError(
                f"x_t must be (n, {channels}, H, W) with H and W multiples of {factor}{extra}, "
                f"not {tuple(x.shape)}"
            )
        if t.shape != (len(x),):
            raise ValueError(
                f"t must hold one time for each of {len(x)} images, shape "
                f"({len(x)},), not {tuple(t.shape)}"
            )
        if cond is not None and self.config.vocabulary:
            self._check_tokens(cond, len(x))
        elif cond is not None:
            self._check_labels(cond, len(x))

    def _check_tokens(self, cond: Tensor, n: int) -> None:
        most, size = self.config.text_length, self.config.vocabulary
        if cond.ndim != 2 or len(cond) != n or cond.shape[1] > most or cond.is_floating_point():
            raise ValueError(
                f"cond must hold the token ids of a prompt for each image, whole numbers ({n}, L) "
                f"with L up to {most}, not {cond.dtype} {tuple(cond.shape)}; see text.Tokenizer"
            )
        if bool(((cond < -1) | (cond >= size)).any()):
            raise ValueError(
                f"token ids are 0 to {size - 1}, or -1 for none, not {cond.min()} to {cond.max()}"
            )

    def _check_labels(self, cond: Tensor, n: int) -> None:
        if not self.config.num_classes:
            raise ValueError("this UNet is unconditional (num_classes = 0): leave cond out")
        if cond.shape != (n,) or cond.is_floating_point():
            raise ValueError(
                f"cond must hold one whole-number class label an image, shape "
                f"({n},), not {cond.dtype} {tuple(cond.shape)}"
            )
        if bool(((cond < -1) | (cond >= self.config.num_classes)).any()):
            raise ValueError(
                f"class labels are 0 to {self.config.num_classes - 1}, or -1 for the "
                f"null class, not {cond.min()} to {cond.max()}"
            )

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """x_t (n, C, H, W), times (n,) in [0, 1], labels (n,) or tokens (n, L) -> like x_t."""
        self._check(x, t, cond)
        words = self.read(cond, x.shape[0])  # not len(x): exports keep the batch free
        embedding = self.embed(t, cond, words)
        h = self.stem(x)
        skips = [h]
        for i in range(len(self.down)):
            h = self._through(f"down{i}", self.down[i], h, embedding, words)
            skips.append(h)
        h = self.middle(h, embedding, words)
        for i in range(len(self.up)):
            if isinstance(self.up[i], ResBlock):
                h = torch.cat([h, skips.pop()], dim=1)
            h = self._through(f"up{i}", self.up[i], h, embedding, words)
        return self.head(F.silu(self.norm(h)))

    def _through(
        self, place: str, layer: nn.Module, h: Tensor, embedding: Tensor, words: Words
    ) -> Tensor:
        """A layer, and after a block of a text model the reader at its place."""
        if not isinstance(layer, ResBlock):
            return layer(h)
        h = layer(h, embedding)
        return self.readers[place](h, *words) if words and place in self.readers else h
