"""The usual encoder and decoder of latent diffusion, layer by layer as other libraries build them.

The course's own first stage (`ldmlib.networks.autoencoder`) folds pixels into channels and so never
works at full size, which on a laptop is most of the time. These two do, and have attention in the
middle: the layout of the KL autoencoder of arXiv 2112.10752, which diffusers calls AutoencoderKL,
so that weights can go there and back (`ldmlib.export.diffusers_folder`).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.networks.layers import Attention, PlainUpsample, ResBlock, group_norm

EPS = 1e-6  # of all norms here; PyTorch's own is 1e-5


class PlainDownsample(nn.Module):
    """Halve height and width; the border is added on the right and below only, as there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


def middle(width: int, groups: int) -> list[nn.Module]:
    """Block, attention with one head, block."""
    return [
        ResBlock(width, width, groups=groups),
        Attention(width, 1, groups),
        ResBlock(width, width, groups=groups),
    ]


def set_eps(stage: nn.Module) -> None:
    """Give all GroupNorms the eps that other libraries' first stages have."""
    for layer in stage.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.eps = EPS


class PlainEncoder(nn.Sequential):
    """(n, C, H, W) pictures -> (n, 2c, H/f, W/f): mean and log-variance; f = 2^(levels - 1)."""

    def __init__(
        self, channels: int, latent_channels: int, widths: tuple[int, ...], blocks: int, groups: int
    ) -> None:
        width = widths[0]
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        for level, level_width in enumerate(widths):
            if level:
                layers.append(PlainDownsample(width))
            for _ in range(blocks):
                layers.append(ResBlock(width, level_width, groups=groups))
                width = level_width
        layers += middle(width, groups)
        head = nn.Conv2d(width, 2 * latent_channels, 3, padding=1)
        super().__init__(*layers, group_norm(width, groups), nn.SiLU(), head)
        set_eps(self)


class PlainDecoder(nn.Sequential):
    """(n, c, h, w) latents -> (n, C, f h, f w) pictures, with one block a level more."""

    def __init__(
        self, channels: int, latent_channels: int, widths: tuple[int, ...], blocks: int, groups: int
    ) -> None:
        width = widths[-1]
        layers: list[nn.Module] = [nn.Conv2d(latent_channels, width, 3, padding=1)]
        layers += middle(width, groups)
        for level, level_width in enumerate(reversed(widths)):
            if level:
                layers.append(PlainUpsample(width))
            for _ in range(blocks + 1):
                layers.append(ResBlock(width, level_width, groups=groups))
                width = level_width
        head = nn.Conv2d(width, channels, 3, padding=1)
        super().__init__(*layers, group_norm(width, groups), nn.SiLU(), head)
        set_eps(self)

    @property
    def last_weight(self) -> Tensor:
        """Weights of the last convolution, where loss terms are balanced."""
        return self[-1].weight
