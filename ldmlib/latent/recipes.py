"""Settings of every model of the course, and settings chosen from the reader's own pictures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import nn

from ldmlib.data.dataset import ImageData
from ldmlib.diffusion.process import Diffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.networks.unet import UNetConfig
from ldmlib.training.autoencoder_loss import AutoencoderLossConfig
from ldmlib.training.config import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """Everything about one latent diffusion model: both networks, both losses, both trainings."""

    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    autoencoder_loss: AutoencoderLossConfig = field(default_factory=AutoencoderLossConfig)
    autoencoder_training: TrainConfig = field(default_factory=TrainConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    diffusion: Diffusion = field(default_factory=Diffusion)
    training: TrainConfig = field(default_factory=TrainConfig)
    label_dropout: float = 0.1
    guidance: float = 1.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)


def size_step(recipe: Recipe) -> int:
    """What the networks see has a side that is a multiple of it: both halve it, again and again."""
    return recipe.autoencoder.factor * 2 ** (len(recipe.unet.channels) - 1)


def mnist_notebook(seed: int = 0) -> Recipe:
    """Notebook 06: both stages from scratch, in minutes on 2 CPU cores.

    A model that had so little time gains most from guidance in the middle of the way (2404.07724).
    """
    return Recipe(
        autoencoder=AutoencoderConfig(latent_channels=4, widths=(32, 64)),
        autoencoder_loss=AutoencoderLossConfig("l2", kl=0.1, perceptual=0.05),
        autoencoder_training=TrainConfig(steps=450, batch_size=64, lr=4e-3, ema=0.99, seed=seed),
        unet=UNetConfig(in_channels=4, channels=(48, 96), blocks=1, num_classes=10),
        training=TrainConfig(steps=900, batch_size=128, lr=3e-3, ema=0.99, seed=seed),
        guidance=2.5,
        guidance_interval=(0.3, 0.7),
    )


def mnist_bundled(seed: int = 0) -> Recipe:
    """The bundled model: the notebook's code with a larger denoiser and more steps.

    Guidance in the middle of the way only (2404.07724): its weight and its interval are the best
    by FID of a dozen that were tried at n = 10,000.
    """
    short = mnist_notebook(seed)
    return replace(
        short,
        autoencoder_training=replace(short.autoencoder_training, steps=4000, lr=3e-3, ema=0.999),
        unet=replace(short.unet, channels=(64, 128)),
        training=replace(short.training, steps=30_000, cycles=3, lr=2e-3, ema=0.999),
        guidance=1.75,
        guidance_interval=(0.3, 0.7),
    )


def mnist_vae(seed: int = 0) -> Recipe:
    """A VAE to draw from, without a denoiser: heavier KL, a latent of 64 numbers (notebook 07)."""
    return Recipe(
        autoencoder=AutoencoderConfig(latent_channels=4, widths=(16, 32, 64)),
        autoencoder_loss=AutoencoderLossConfig("l2", kl=2.0, perceptual=0.0),
        autoencoder_training=TrainConfig(steps=800, batch_size=32, lr=3e-3, ema=0.98, seed=seed),
    )


def mnist_pixels(steps: int = 1000, seed: int = 0) -> Recipe:
    """Diffusion on the pixels themselves: no first stage, the same kind of UNet, a level more."""
    return Recipe(
        autoencoder=AutoencoderConfig(channels=1, widths=()),
        unet=UNetConfig(in_channels=1, channels=(32, 64, 128), blocks=1, num_classes=10),
        training=TrainConfig(steps=steps, batch_size=128, lr=2e-3, ema=0.99, seed=seed),
    )


def mnist_pixels_bundled(seed: int = 0) -> Recipe:
    """The bundled pixel diffusion: narrower than `mnist_pixels`, to fit into half an hour."""
    longer = mnist_pixels(steps=1500, seed=seed)
    return replace(longer, unet=replace(longer.unet, channels=(24, 48, 96)))


def mnist_shown(seed: int = 0) -> Recipe:
    """Denoiser of the two bundled models that are shown something (`conditioning`, notebook 11).

    No labels: a damaged digit does not come with its name. The first stage is the bundled one.
    """
    short = mnist_notebook(seed)
    return replace(
        short,
        unet=replace(short.unet, num_classes=0),
        training=replace(short.training, steps=4000, ema=0.998),
        guidance=1.0,
        guidance_interval=(0.0, 1.0),
    )


def emoji(vocabulary: int, seed: int = 0) -> Recipe:
    """The bundled text-to-image model (notebook 10): colour, f = 4, words by cross-attention.

    Both networks have the layers of other libraries, so that the model can be handed over
    (`ldmlib.export.diffusers_folder`).
    """
    return Recipe(
        autoencoder=AutoencoderConfig(3, 6, (32, 48, 96), portable=16),
        autoencoder_loss=AutoencoderLossConfig(
            "l1", kl=0.02, perceptual=0.1, adversarial=0.3, adversarial_start=1000
        ),
        autoencoder_training=TrainConfig(steps=1600, batch_size=32, lr=2e-3, ema=0.997, seed=seed),
        unet=UNetConfig(6, (64, 128), 1, 4, vocabulary=vocabulary, text_width=128, portable=16),
        training=TrainConfig(
            steps=13_500, cycles=3, batch_size=64, lr=1.5e-3, ema=0.998, seed=seed
        ),
        guidance=3.0,
    )


def for_data(
    data: ImageData,
    steps: int | None = None,
    first_stage_steps: int | None = None,
    batch_size: int = 128,
    seed: int = 0,
) -> Recipe:
    """Settings for any set of pictures, from what the data are: the defaults of ``ldm train``.

    Digits get the digits' recipe. Other pictures have texture, and what the first stage blurs no
    denoiser can mend: their latents keep a third of the numbers (f = 2 at 32 pixels) instead of a
    twelfth, the light KL is lighter, and each doubling of the size adds a level, so that latents
    stay 16 x 16.
    """
    steps = 5000 if steps is None else steps
    first_stage_steps = 2000 if first_stage_steps is None else first_stage_steps
    few = 2 ** (len(data).bit_length() - 1)  # a power of 2, which processes share evenly
    batch_size = min(batch_size, few)
    digits = mnist_notebook(seed)
    training = replace(digits.training, batch_size=batch_size, ema=0.999, lr=2e-3)
    first = replace(digits.autoencoder_training, batch_size=min(64, batch_size), ema=0.995)
    if is_mnist(data):
        return replace(
            digits,
            autoencoder_training=replace(first, steps=first_stage_steps),
            training=replace(training, steps=steps),
        )
    levels = max(1, (data.size // 16).bit_length() - 1)
    latent = 4 if data.channels == 3 else 2
    return Recipe(
        autoencoder=AutoencoderConfig(data.channels, latent, (64, 96, 128)[:levels]),
        autoencoder_loss=AutoencoderLossConfig("l2", kl=0.02, perceptual=0.0),
        autoencoder_training=replace(first, steps=first_stage_steps),
        unet=UNetConfig(latent, channels=(32, 64, 128), blocks=1, num_classes=data.num_classes),
        training=replace(training, steps=steps),
    )


def is_mnist(data: ImageData) -> bool:
    """Whether these are the library's own digits; pictures of yours may be called mnist, too."""
    return data.name in ("mnist train", "mnist test") and data.channels == 1


def perceptual_for(data: ImageData) -> nn.Module | None:
    """The network whose features the first stage is held to: digits have one of their own."""
    return bundled_classifier("mnist_perceptual") if is_mnist(data) else None
