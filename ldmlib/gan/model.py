"""A GAN of pictures or of latents, in one pass from noise: two small networks, one thing to use.

    gan = Gan.from_pretrained("mnist_gan")          # or "mnist_latent_gan"
    pictures = gan.sample(16)                       # (16, 1, 32, 32) in [-1, 1]

`ldmlib.gan.train` plays the game. What is kept of it is the generator.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ldmlib.data.record import DataRecord
from ldmlib.images import check_images
from ldmlib.networks.autoencoder import Autoencoder, AutoencoderConfig
from ldmlib.networks.batches import in_batches
from ldmlib.networks.layers import Upsample
from ldmlib.rng import per_sample_generators, randn_like
from ldmlib.runtime import best_device
from ldmlib.storage.saved_models import load_pair, model_folder, save_pair

BUNDLED = ("mnist_gan", "mnist_latent_gan")


# --------------------------------------------------------------------------- the two networks
@dataclass(frozen=True)
class PlayersConfig:
    """Shape of a `Generator` and of the `Discriminator` that plays against it.

    Args:
        channels, size: of what is generated, (channels, size, size).
        noise: length of z.
        widths: of the generator, from its smallest map to its largest; each is twice as large.
        judge_widths: of the discriminator, from its largest map to its smallest.
        fold: that many pixels in each direction are folded into channels at the picture's end of
            both networks, so that no convolution runs at full size; 1 for none.
        bounded: a tanh at the generator's end, for pictures; latents have no bounds.
        spectral: spectral norm in the discriminator (arXiv 1802.05957).
    """

    channels: int = 1
    size: int = 32
    noise: int = 64
    widths: tuple[int, ...] = (128, 64, 32)
    judge_widths: tuple[int, ...] = (32, 64, 128)
    fold: int = 2
    bounded: bool = True
    spectral: bool = False

    def __post_init__(self) -> None:
        for name in ("widths", "judge_widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            halvings = len(getattr(self, name)) - 1
            if halvings < 0 or self.size % (self.fold * 2**halvings):
                raise ValueError(
                    f"size {self.size} does not divide by fold {self.fold} and the {halvings} "
                    f"halvings of {name} {getattr(self, name)}"
                )

    def smallest(self, widths: tuple[int, ...]) -> int:
        """Height and width of the smallest map."""
        return self.size // self.fold // 2 ** (len(widths) - 1)


class Generator(nn.Sequential):
    """z (n, noise), standard normal -> (n, C, H, W); the plan of DCGAN (arXiv 1511.06434).

    A linear layer paints a small map, each level doubles it, the last one unfolds channels into
    pixels. BatchNorm is for training; in evaluation mode a picture does not see its neighbours.
    """

    def __init__(self, config: PlayersConfig) -> None:
        side, width = config.smallest(config.widths), config.widths[0]
        layers: list[nn.Module] = [
            nn.Linear(config.noise, width * side**2),
            nn.Unflatten(1, (width, side, side)),
        ]
        for level_width in config.widths[1:]:
            layers += [nn.BatchNorm2d(width), nn.ReLU(), Upsample(width, level_width)]
            width = level_width
        head = nn.Conv2d(width, config.channels * config.fold**2, 3, padding=1)
        layers += [nn.BatchNorm2d(width), nn.ReLU(), head, nn.PixelShuffle(config.fold)]
        super().__init__(*layers, nn.Tanh() if config.bounded else nn.Identity())
        self.config = config

    def forward(self, z: Tensor) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.config.noise:
            raise ValueError(f"z must be (n, {self.config.noise}), not {tuple(z.shape)}")
        return super().forward(z).float()


class Discriminator(nn.Sequential):
    """(n, C, H, W) -> (n,) logits, high for real: strided convolutions, no normalisation of maps.

    One number for each picture, without a second axis: (n, 1) logits against (n,) targets would
    be compared all with all.
    """

    def __init__(self, config: PlayersConfig) -> None:
        norm = spectral_norm if config.spectral else nn.Identity()
        width = config.judge_widths[0]
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(config.fold),
            norm(nn.Conv2d(config.channels * config.fold**2, width, 3, padding=1)),
            nn.LeakyReLU(0.2),
        ]
        for level_width in config.judge_widths[1:]:
            layers += [norm(nn.Conv2d(width, level_width, 4, 2, 1)), nn.LeakyReLU(0.2)]
            width = level_width
        head = norm(nn.Linear(width * config.smallest(config.judge_widths) ** 2, 1))
        super().__init__(*layers, nn.Flatten(), head)
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        shape = (self.config.channels, self.config.size, self.config.size)
        if x.shape[1:] != shape:
            raise ValueError(f"expected {('n', *shape)}, not {tuple(x.shape)}".replace("'", ""))
        return super().forward(x)[:, 0].float()


# --------------------------------------------------------------------------- one thing to use
@dataclass(frozen=True)
class GanConfig:
    """Everything that rebuilds a `Gan` apart from its weights.

    Args:
        players: shape of the networks; what they see are latents.
        autoencoder: where the game is played. ``widths=()``: on the pixels themselves.
        facts: anything worth keeping (seed, seconds, scores).
        data: what the GAN was trained on; None if that was not recorded.
    """

    players: PlayersConfig = field(default_factory=PlayersConfig)
    autoencoder: AutoencoderConfig = field(default_factory=lambda: AutoencoderConfig(widths=()))
    facts: dict = field(default_factory=dict)
    data: DataRecord | None = None

    @property
    def size(self) -> int:
        """Height and width of the pictures."""
        return self.players.size * self.autoencoder.factor

    @classmethod
    def from_dict(cls, values: dict) -> GanConfig:
        """The inverse of `dataclasses.asdict`, for what was read from ``config.json``."""
        players = PlayersConfig(**values["players"])
        record = DataRecord.from_dict(values["data"]) if values.get("data") else None
        stage = AutoencoderConfig(**values["autoencoder"])
        return cls(players, stage, values["facts"], record)


class Gan(nn.Module):
    """A generator, and the first stage whose latents it makes (for a pixel GAN: none)."""

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config.players)
        self.autoencoder = Autoencoder(config.autoencoder)
        channels = config.autoencoder.latent_channels
        self.register_buffer("latent_mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(1, channels, 1, 1))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.latent_mean.device

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """What the game is played with, for pictures (n, C, H, W) in [-1, 1]: scaled latents, or
        the pictures themselves.

        Raises:
            TypeError, ValueError: wrong dtype, shape or range.
        """
        check_images(x, channels=self.config.autoencoder.channels, size=self.config.size)

        def scaled(part: Tensor) -> Tensor:
            z = self.autoencoder.encode(part.to(self.device)).mode()
            return ((z - self.latent_mean) / self.latent_std).to(part.device)

        return in_batches(scaled, x)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Pictures (n, C, H, W) in [-1, 1]: the inverse of `encode`."""

        def pictures(part: Tensor) -> Tensor:
            unscaled = part.to(self.device) * self.latent_std + self.latent_mean
            return self.autoencoder.decode(unscaled).clamp(-1, 1).to(part.device)

        return in_batches(pictures, z)

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0, start: int = 0) -> Tensor:
        """Pictures start .. start + n - 1 of a seed, (n, C, H, W) in [-1, 1], on the CPU.

        Picture i is the same (up to rounding) for every n and start.
        """
        if n < 1:
            raise ValueError(f"n is the number of pictures, 1 or more, not {n}")
        was_training = self.training
        self.eval()
        wanted = torch.empty(n, self.config.players.noise, device=self.device)
        noise = randn_like(wanted, per_sample_generators(seed, n, start))
        pictures = self.decode(in_batches(self.generator, noise)).cpu()
        self.train(was_training)
        return pictures

    # ----- files
    def save_pretrained(self, folder: str | Path, half: bool = False) -> None:
        """Write ``model.safetensors`` and ``config.json`` with its hash: both or none.

        With `half`, weights are rounded to float16; they are float32 again when loaded.
        """
        save_pair(folder, self.state_dict(), asdict(self.config), half)

    @classmethod
    def from_pretrained(cls, source: str | Path, device: str | torch.device | None = None) -> Gan:
        """A bundled model by name or one from a folder; evaluation mode.

        It goes to `device`, or to a GPU if there is one (`runtime.best_device`).

        Raises:
            FileNotFoundError: no such name or folder (the message lists the bundled names).
            ValueError: files cut short, of another architecture or with another hash.
        """
        folder = model_folder(source, BUNDLED, "GAN")
        model = load_pair(folder, GanConfig, cls, "GAN")
        return model.to(device or best_device()).eval()
