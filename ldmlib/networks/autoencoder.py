"""First stage of a latent diffusion model: pictures to small latents and back.

    x (n, C, H, W) --Encoder--> DiagonalGaussian over z (n, c, H/f, W/f) --Decoder--> x_hat

How it is trained: `ldmlib.training.autoencoder_loss`. No noise schedule is involved here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ldmlib.images import check_images
from ldmlib.networks.layers import ResBlock, Upsample, group_norm
from ldmlib.networks.plain_autoencoder import PlainDecoder, PlainEncoder
from ldmlib.rng import Generator, randn_like


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of an `Autoencoder`.

    Args:
        channels: channels of the pictures, 1 or 3.
        latent_channels: channels c of the latents.
        widths: width of each level; L levels make the factor f = 2^L. Empty: no first stage
            at all (f = 1), the latents are the pixels.
        blocks: residual blocks a level, in the encoder and in the decoder.
        portable: 0, or the number of groups of a first stage that other libraries can load, too
            (`ldmlib.networks.plain_autoencoder`): slower; L levels make f = 2^(L - 1) there.
    """

    channels: int = 1
    latent_channels: int = 4
    widths: tuple[int, ...] = (32, 64)
    blocks: int = 1
    portable: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if not self.widths:
            object.__setattr__(self, "latent_channels", self.channels)
        if self.portable and any(width % self.portable for width in self.widths):
            raise ValueError(f"widths {self.widths} do not divide into {self.portable} groups")

    @property
    def factor(self) -> int:
        """By how much height and width shrink."""
        return 2 ** (len(self.widths) - bool(self.portable and self.widths))


class DiagonalGaussian:
    """q(z | x): independent Gaussians with `mean` and `logvar`, both (n, c, h, w)."""

    def __init__(self, mean: Tensor, logvar: Tensor) -> None:
        self.mean, self.logvar = mean, logvar.clamp(-30.0, 20.0)

    @property
    def std(self) -> Tensor:
        """Standard deviation, exp(logvar / 2)."""
        return (self.logvar / 2).exp()

    def sample(self, generator: Generator = None) -> Tensor:
        """Reparameterised draw: mean + std * eps (arXiv 1312.6114, section 2.4)."""
        return self.mean + self.std * randn_like(self.mean, generator)

    def mode(self) -> Tensor:
        """The most likely z: the mean."""
        return self.mean

    def kl(self) -> Tensor:
        """KL(q(z|x) || N(0, I)) in nats, summed over each image's latents: (n,).

        1/2 sum(mean^2 + var - 1 - log var) (arXiv 1312.6114, appendix B).
        """
        terms = self.mean**2 + self.logvar.exp() - 1 - self.logvar
        return 0.5 * terms.flatten(1).sum(1)


class Encoder(nn.Sequential):
    """(n, C, H, W) pictures -> (n, 2c, H/f, W/f): mean and log-variance.

    The first halving only folds 2 x 2 pixels into channels, so that no convolution runs at
    full size: most of a plain encoder's time for nothing that digits need.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        width = config.widths[0]
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * config.channels, width, 3, padding=1),
        ]
        for level, level_width in enumerate(config.widths):
            if level:
                layers.append(nn.Conv2d(width, level_width, 3, stride=2, padding=1))
            layers += [ResBlock(level_width, level_width) for _ in range(config.blocks)]
            width = level_width
        head = nn.Conv2d(width, 2 * config.latent_channels, 3, padding=1)
        super().__init__(*layers, group_norm(width), nn.SiLU(), head)


class Decoder(nn.Sequential):
    """(n, c, h, w) latents -> (n, C, f h, f w) pictures; the last doubling unfolds channels."""

    def __init__(self, config: AutoencoderConfig) -> None:
        widths = config.widths[::-1]
        layers: list[nn.Module] = [nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)]
        for level, width in enumerate(widths):
            if level:
                layers.append(Upsample(widths[level - 1], width))
            layers += [ResBlock(width, width) for _ in range(config.blocks)]
        head = nn.Conv2d(widths[-1], 4 * config.channels, 3, padding=1)
        super().__init__(*layers, group_norm(widths[-1]), nn.SiLU(), head, nn.PixelShuffle(2))

    @property
    def last_weight(self) -> Tensor:
        """Weights of the last convolution, where loss terms are balanced."""
        return self[-2].weight


def _both(config: AutoencoderConfig) -> tuple[nn.Module, nn.Module]:
    if not config.portable:
        return Encoder(config), Decoder(config)
    shape = config.channels, config.latent_channels, config.widths, config.blocks, config.portable
    return PlainEncoder(*shape), PlainDecoder(*shape)


class Autoencoder(nn.Module):
    """Encoder and decoder; with ``widths=()`` both are the identity (pixel-space diffusion)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = _both(config) if config.widths else (None, None)

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """q(z | x) for pictures (n, C, H, W) in [-1, 1], H and W multiples of f.

        Raises:
            TypeError, ValueError: wrong dtype, shape or range.
        """
        check_images(x, channels=self.config.channels)
        if x.shape[2] % self.config.factor or x.shape[3] % self.config.factor:
            raise ValueError(
                f"height and width must be multiples of {self.config.factor}, got "
                f"{tuple(x.shape[2:])}; use images.resize or images.pad_to"
            )
        return self._encode(x)

    def _encode(self, x: Tensor) -> DiagonalGaussian:
        if self.encoder is None:
            return DiagonalGaussian(x, torch.full_like(x, -30.0))
        mean, logvar = self.encoder(x).float().chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar)

    def check_latents(self, z: Tensor) -> None:
        """Raise `ValueError` unless z is a batch of latents, (n, c, h, w)."""
        if z.ndim != 4 or z.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"latents must be (n, {self.config.latent_channels}, h, w), not {tuple(z.shape)}"
            )

    def decode(self, z: Tensor) -> Tensor:
        """Pictures (n, C, f h, f w) of latents (n, c, h, w); not clamped to [-1, 1]."""
        self.check_latents(z)
        return z if self.decoder is None else self.decoder(z).float()

    def forward(self, x: Tensor, generator: Generator = None) -> tuple[Tensor, DiagonalGaussian]:
        """Reconstruction from a sampled latent, and the posterior it came from."""
        posterior = self._encode(x)
        return self.decode(posterior.sample(generator)), posterior
