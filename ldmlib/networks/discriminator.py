"""The patch discriminator: a network that tells real pictures from reconstructions."""

from __future__ import annotations

from torch import Tensor, nn

from ldmlib.networks.layers import group_norm


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches, not the whole picture (arXiv 1611.07004, section 3.2.2).

    (n, C, H, W) pictures -> (n, 1, H/4, W/4) logits, high where a patch looks real.
    """

    def __init__(self, channels: int = 1, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            group_norm(2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
