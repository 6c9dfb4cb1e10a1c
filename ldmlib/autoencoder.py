"""First stage of a latent diffusion model: pictures to small latents and back.

    x (n, C, H, W) --Encoder--> DiagonalGaussian over z (n, c, H/f, W/f) --Decoder--> x_hat

Trained with reconstruction + perceptual + patch-adversarial + a light KL term (arXiv 2112.10752,
section 3.1 and appendix G); no noise schedule is involved here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.gan import PatchDiscriminator, discriminator_step, frozen, generator_loss
from ldmlib.images import check_images
from ldmlib.layers import ResBlock, Upsample, group_norm
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
    """

    channels: int = 1
    latent_channels: int = 4
    widths: tuple[int, ...] = (32, 64)
    blocks: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if not self.widths:
            object.__setattr__(self, "latent_channels", self.channels)

    @property
    def factor(self) -> int:
        """By how much height and width shrink."""
        return 2 ** len(self.widths)


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


class Autoencoder(nn.Module):
    """Encoder and decoder; with ``widths=()`` both are the identity (pixel-space diffusion)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config) if config.widths else None
        self.decoder = Decoder(config) if config.widths else None

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

    def decode(self, z: Tensor) -> Tensor:
        """Pictures (n, C, f h, f w) of latents (n, c, h, w); not clamped to [-1, 1]."""
        if z.ndim != 4 or z.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"latents must be (n, {self.config.latent_channels}, h, w), not {tuple(z.shape)}"
            )
        return z if self.decoder is None else self.decoder(z).float()

    def forward(self, x: Tensor, generator: Generator = None) -> tuple[Tensor, DiagonalGaussian]:
        """Reconstruction from a sampled latent, and the posterior it came from."""
        posterior = self._encode(x)
        return self.decode(posterior.sample(generator)), posterior


@dataclass(frozen=True)
class AutoencoderLossConfig:
    """Weights of the autoencoder's loss terms.

    Args:
        reconstruction: ``l1`` or ``l2``, summed over the pixels of an image.
        kl: weight of the KL term (sum per image, mean over the batch).
        perceptual: weight of the feature distance, 0 for none.
        adversarial: weight of the patch discriminator's term, 0 for none.
        adversarial_start: step at which the discriminator enters; late, when there is
            something to judge.
    """

    reconstruction: str = "l1"
    kl: float = 0.1
    perceptual: float = 1.0
    adversarial: float = 0.0
    adversarial_start: int = 500
    discriminator_lr: float = 1e-3


def perceptual_distance(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Squared distance of unit-length features at every position, (n,) (arXiv 1801.03924, eq. 1).

    Args:
        network: anything with ``feature_maps(x) -> list of (n, c, h, w)``; its weights are fixed.
    """
    distance = x.new_zeros(len(x))
    with torch.no_grad():
        targets = network.feature_maps(x)
    for a, b in zip(targets, network.feature_maps(y), strict=True):
        difference = F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)
        distance = distance + (difference**2).sum(1).flatten(1).mean(1)
    return distance


class AutoencoderLoss:
    """Reconstruction + KL + perceptual + patch-adversarial, each per image, mean over the batch.

    An objective for `training.fit`: called for the autoencoder's step, then `after_step` updates
    the discriminator. Its state travels in the checkpoints.
    """

    def __init__(
        self, config: AutoencoderLossConfig, perceptual: nn.Module | None = None, channels: int = 1
    ) -> None:
        if config.reconstruction not in ("l1", "l2"):
            raise ValueError(f"reconstruction is 'l1' or 'l2', not {config.reconstruction!r}")
        if config.perceptual and perceptual is None:
            raise ValueError("a perceptual weight needs a feature network: perceptual=...")
        self.config = config
        self.features = perceptual
        self.discriminator = PatchDiscriminator(channels) if config.adversarial else None
        self.trained = self.discriminator
        if self.discriminator is not None:
            self.optimizer = torch.optim.Adam(
                self.discriminator.parameters(), lr=config.discriminator_lr, betas=(0.5, 0.9)
            )
        self.fakes: list[Tensor] = []
        self.mean: Callable[[Tensor], Tensor] = lambda x: x  # over processes, see `prepare`

    def __call__(self, model, x: Tensor, _labels, generator: Generator, step: int):
        """Loss (scalar) and its parts, for one batch x (n, C, H, W)."""
        x_hat, posterior = model(x, generator)
        difference = (x_hat - x).flatten(1)
        per_pixel = difference.abs() if self.config.reconstruction == "l1" else difference**2
        parts = {"reconstruction": per_pixel.sum(1).mean(), "kl": posterior.kl().mean()}
        loss = parts["reconstruction"] + self.config.kl * parts["kl"]
        if self.config.perceptual:
            parts["perceptual"] = perceptual_distance(self.features, x, x_hat).mean()
            loss = loss + self.config.perceptual * x[0].numel() * parts["perceptual"]
        if self.discriminator is not None and step >= self.config.adversarial_start:
            with frozen(self.discriminator):
                parts["adversarial"] = generator_loss(self.discriminator(x_hat))
            weight = adaptive_weight(loss, parts["adversarial"], model, self.mean)
            loss = loss + self.config.adversarial * weight * parts["adversarial"]
            self.fakes = [*self.fakes, x_hat.detach()]
        return loss, parts

    def after_step(self, x: Tensor) -> None:
        """Update the discriminator on the batch that the autoencoder has just seen."""
        if self.fakes:
            discriminator_step(self.trained, self.optimizer, x, torch.cat(self.fakes))
            self.fakes = []

    def prepare(self, runtime) -> None:
        """Move to the runtime's device; let its processes share the discriminator's gradients."""
        self.mean, self.fakes = runtime.mean, []
        if self.features is not None:
            self.features.to(runtime.device)
        if self.discriminator is not None:
            self.discriminator.to(runtime.device)
            self.trained = runtime.prepare(self.discriminator)

    def checkpoint_state(self) -> dict:
        """What `training.fit` saves beside the model: discriminator and its optimiser."""
        if self.discriminator is None:
            return {}
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_checkpoint_state(self, state: dict) -> None:
        """Take back what `checkpoint_state` gave."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])


def adaptive_weight(
    loss: Tensor,
    adversarial: Tensor,
    model: nn.Module,
    mean: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> Tensor:
    """Ratio of the two terms' gradient lengths at the last layer (arXiv 2012.09841, eq. 7).

    `mean` averages a gradient over the processes that share the batch. With `accumulate` each
    part of a batch has its own ratio.
    """
    weight = getattr(model, "module", model).decoder.last_weight
    (wanted,) = torch.autograd.grad(loss, weight, retain_graph=True)
    (given,) = torch.autograd.grad(adversarial, weight, retain_graph=True)
    wanted, given = mean(wanted), mean(given)
    return (wanted.norm() / (given.norm() + 1e-4)).clamp(max=1e4).detach()
