"""The denoiser: a UNet that is told how noisy its input is and, if wished, what to draw.

    x_t (n, C, H, W) --> down: blocks, halve --> middle --> up: blocks, double --> (n, C, H, W)
                              |______________ skips ______________|
    t (n,)  --> sinusoidal embedding --> MLP --.
    cond (n,) class labels --> embedding ------+--> scale and shift in every block

After Ronneberger et al. (arXiv 1505.04597) and DDPM (2006.11239, appendix B).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.layers import Attention, ResBlock, Upsample, group_norm, zero_init

TIME_SCALE = 1000.0  # t in [0, 1] is spread to 0..1000 before the sines, as in the papers' tables


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a `UNet`.

    Args:
        in_channels: channels of x_t and of the output.
        channels: width of each level; every further level halves height and width.
        blocks: residual blocks a level.
        heads: attention heads at the lowest level; 0 leaves attention out.
        num_classes: number of class labels; 0 for an unconditional network.
        dropout: share of features dropped inside the blocks while training.
    """

    in_channels: int = 4
    channels: tuple[int, ...] = (96, 192)
    blocks: int = 2
    heads: int = 4
    num_classes: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if not self.channels or min(self.channels) < 1 or self.blocks < 1:
            raise ValueError(f"a UNet needs at least one level and one block, not {self}")
        if self.heads and self.channels[-1] % self.heads:
            raise ValueError(f"{self.channels[-1]} channels do not divide by {self.heads} heads")

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


class Middle(nn.Module):
    """Block, attention, block at the lowest resolution."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.before = ResBlock(channels, channels, config.embedding, config.dropout)
        self.attention = Attention(channels, config.heads) if config.heads else nn.Identity()
        self.after = ResBlock(channels, channels, config.embedding, config.dropout)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.after(self.attention(self.before(x, embedding)), embedding)


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
        self.stem = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, width = [widths[0]], widths[0]
        for level, level_width in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
            for _ in range(config.blocks):
                self.down.append(ResBlock(width, level_width, embedding, config.dropout))
                width = level_width
                skips.append(width)
        self.middle = Middle(width, config)
        for level, level_width in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                block = ResBlock(width + skips.pop(), level_width, embedding, config.dropout)
                self.up.append(block)
                width = level_width
            if level:
                self.up.append(Upsample(width, widths[level - 1]))
                width = widths[level - 1]
        self.norm = group_norm(width)
        self.head = zero_init(nn.Conv2d(width, config.in_channels, 3, padding=1))

    @property
    def factor(self) -> int:
        """Height and width of the input must be multiples of this."""
        return 2 ** (len(self.config.channels) - 1)

    def embed(self, t: Tensor, cond: Tensor | None) -> Tensor:
        """Time (n,) and class labels (n,), -1 or None for the null class -> (n, embedding)."""
        embedding = self.time(time_embedding(t, self.config.channels[0]).to(self.stem.weight))
        if self.config.num_classes:
            if cond is None:
                cond = torch.full((len(t),), -1, device=t.device)
            embedding = embedding + self.classes(cond % (self.config.num_classes + 1))
        return F.silu(embedding)

    def _check(self, x: Tensor, t: Tensor, cond: Tensor | None) -> None:
        channels, factor = self.config.in_channels, self.factor
        if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(
                f"x_t must be (n, {channels}, H, W) with H and W multiples of {factor}, "
                f"not {tuple(x.shape)}"
            )
        if t.shape != (len(x),):
            raise ValueError(
                f"t must hold one time for each of {len(x)} images, shape "
                f"({len(x)},), not {tuple(t.shape)}"
            )
        if cond is None:
            return
        if not self.config.num_classes:
            raise ValueError("this UNet is unconditional (num_classes = 0): leave cond out")
        if cond.shape != (len(x),) or cond.is_floating_point():
            raise ValueError(
                f"cond must hold one whole-number class label an image, shape "
                f"({len(x)},), not {cond.dtype} {tuple(cond.shape)}"
            )
        if bool(((cond < -1) | (cond >= self.config.num_classes)).any()):
            raise ValueError(
                f"class labels are 0 to {self.config.num_classes - 1}, or -1 for the "
                f"null class, not {cond.min()} to {cond.max()}"
            )

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """(n, C, H, W) noisy input, (n,) times in [0, 1], (n,) labels -> (n, C, H, W)."""
        self._check(x, t, cond)
        embedding = self.embed(t, cond)
        h = self.stem(x)
        skips = [h]
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, ResBlock) else layer(h)
            skips.append(h)
        h = self.middle(h, embedding)
        for layer in self.up:
            if isinstance(layer, ResBlock):
                h = layer(torch.cat([h, skips.pop()], dim=1), embedding)
            else:
                h = layer(h)
        return self.head(F.silu(self.norm(h)))
