"""Building blocks that the autoencoder and the UNet share."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int, groups: int = 0) -> nn.GroupNorm:
    """GroupNorm with so many groups; 0: as many, up to 32, as leave 4 channels or more in each."""
    if not groups:
        groups = math.gcd(channels, 32)
        while groups > 1 and channels // groups < 4:
            groups //= 2
    return nn.GroupNorm(groups, channels)


def zero_init(layer: nn.Module) -> nn.Module:
    """Set a layer's weights and bias to 0: at first it adds nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ResBlock(nn.Module):
    """Two convolutions around a shortcut: (n, c_in, H, W) -> (n, c_out, H, W).

    With an `embedding` length, a vector (time and class) sets scale and shift between the two
    (arXiv 2105.05233, section 3.1); with 0 the block takes the picture alone.
    """

    def __init__(
        self, c_in: int, c_out: int, embedding: int = 0, dropout: float = 0.0, groups: int = 0
    ) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(c_in, groups), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.condition = nn.Linear(embedding, 2 * c_out) if embedding else None
        self.norm2, self.dropout = group_norm(c_out, groups), nn.Dropout(dropout)
        self.conv2 = zero_init(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.condition is not None:
            scale, shift = self.condition(embedding)[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Self-attention between all positions of the feature map (arXiv 1706.03762)."""

    def __init__(self, channels: int, heads: int, groups: int = 0) -> None:
        super().__init__()
        self.heads, self.norm = heads, group_norm(channels, groups)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, h * w)
        q, k, v = qkv.transpose(-1, -2).unbind(1)  # each (n, heads, positions, c / heads)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(-1, -2).reshape(n, c, h, w))


class Upsample(nn.Module):
    """Double height and width: (n, c_in, H, W) -> (n, c_out, 2H, 2W).

    The convolution runs at the small size and makes four channels for each that is wanted, which
    are unfolded into 2 x 2 pixels (arXiv 1609.05158): a quarter of the work of enlarging first.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, 4 * c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)


class PlainUpsample(nn.Sequential):
    """Double height and width the usual way: repeat every pixel, then smooth with a convolution.

    Four times the work of `Upsample`, but every other library has it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(channels, channels, 3, padding=1),
        )


def count_parameters(model: nn.Module) -> int:
    """Number of trainable numbers in a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
