"""Settings of every model of the course, and settings chosen from the reader's own pictures."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from ldmlib.autoencoder import AutoencoderConfig, AutoencoderLossConfig
from ldmlib.features import bundled_classifier
from ldmlib.image_data import ImageData
from ldmlib.recipes import Recipe
from ldmlib.training import TrainConfig
from ldmlib.unet import UNetConfig


def mnist_notebook(seed: int = 0) -> Recipe:
    """Notebook 06: both stages from scratch within 4 minutes on 2 CPU cores."""
    return Recipe(
        autoencoder=AutoencoderConfig(latent_channels=4, widths=(32, 64)),
        autoencoder_loss=AutoencoderLossConfig("l2", kl=0.1, perceptual=0.05),
        autoencoder_training=TrainConfig(steps=450, batch_size=64, lr=4e-3, ema=0.99, seed=seed),
        unet=UNetConfig(in_channels=4, channels=(48, 96), blocks=1, num_classes=10),
        training=TrainConfig(steps=900, batch_size=128, lr=3e-3, ema=0.99, seed=seed),
    )


def mnist_bundled(seed: int = 0) -> Recipe:
    """The bundled model: the notebook's code with a larger denoiser and more steps."""
    short = mnist_notebook(seed)
    return replace(
        short,
        autoencoder_training=replace(short.autoencoder_training, steps=4000, lr=3e-3, ema=0.999),
        unet=replace(short.unet, channels=(64, 128)),
        training=replace(short.training, steps=20_000, cycles=2, lr=2e-3, ema=0.999),
    )


def mnist_pixels(steps: int = 1000, seed: int = 0) -> Recipe:
    """Diffusion on the pixels themselves: no first stage, the same kind of UNet, a level more."""
    return Recipe(
        autoencoder=AutoencoderConfig(channels=1, widths=()),
        unet=UNetConfig(in_channels=1, channels=(32, 64, 128), blocks=1, num_classes=10),
        training=TrainConfig(steps=steps, batch_size=128, lr=2e-3, ema=0.99, seed=seed),
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
    batch_size = min(batch_size, len(data))
    digits = mnist_notebook(seed)
    training = replace(digits.training, batch_size=batch_size, ema=0.999, lr=2e-3)
    first = replace(digits.autoencoder_training, batch_size=min(64, batch_size), ema=0.995)
    if data.name.startswith("mnist"):
        return replace(
            digits,
            autoencoder_training=replace(first, steps=first_stage_steps or 2000),
            training=replace(training, steps=steps or 5000),
        )
    levels = max(1, (data.size // 16).bit_length() - 1)
    latent = 4 if data.channels == 3 else 2
    return Recipe(
        autoencoder=AutoencoderConfig(data.channels, latent, (64, 96, 128)[:levels]),
        autoencoder_loss=AutoencoderLossConfig("l2", kl=0.02, perceptual=0.0),
        autoencoder_training=replace(first, steps=first_stage_steps or 2000),
        unet=UNetConfig(latent, channels=(32, 64, 128), blocks=1, num_classes=data.num_classes),
        training=replace(training, steps=steps or 5000),
    )


def perceptual_for(data: ImageData) -> nn.Module | None:
    """The network whose features the first stage is held to: digits have one of their own."""
    return bundled_classifier("mnist_perceptual") if data.name.startswith("mnist") else None
