"""Settings of every model of the course, and settings chosen from the reader's own pictures."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from ldmlib.autoencoder import AutoencoderConfig, AutoencoderLossConfig
from ldmlib.features import RandomFeatures, bundled_classifier
from ldmlib.image_data import ImageData
from ldmlib.recipes import Recipe
from ldmlib.training import TrainConfig
from ldmlib.unet import UNetConfig


def mnist_notebook(seed: int = 0) -> Recipe:
    """Notebook 06: both stages from scratch within 4 minutes on 2 CPU cores."""
    return Recipe(
        autoencoder=AutoencoderConfig(latent_channels=4, widths=(32, 64)),
        autoencoder_loss=AutoencoderLossConfig("l2", kl=0.1, perceptual=0.05),
        autoencoder_training=TrainConfig(steps=500, batch_size=64, lr=4e-3, ema=0.99, seed=seed),
        unet=UNetConfig(in_channels=4, channels=(48, 96), blocks=1, num_classes=10),
        training=TrainConfig(steps=1400, batch_size=128, lr=3e-3, ema=0.99, seed=seed),
    )


def mnist_bundled(seed: int = 0) -> Recipe:
    """The bundled model: the notebook's code with a larger denoiser and more steps."""
    short = mnist_notebook(seed)
    return replace(
        short,
        autoencoder_training=replace(short.autoencoder_training, steps=4000, lr=3e-3, ema=0.999),
        unet=replace(short.unet, channels=(64, 128)),
        training=replace(short.training, steps=10_000, lr=2e-3, ema=0.999),
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

    Grey 32-pixel pictures get the digits' recipe. Colour needs room for hue and texture: twelve
    latent channels instead of four, a wider autoencoder, and no KL term to speak of, as a blurred
    first stage cannot be mended later. Larger pictures get another level, so that latents stay
    8 x 8 to 16 x 16.
    """
    colour = data.channels == 3
    widths = (48, 96) if colour else (32, 64)
    widths = widths + (widths[-1],) * (data.size >= 128)
    latent = 12 if colour else 4
    batch_size = min(batch_size, len(data))
    return Recipe(
        autoencoder=AutoencoderConfig(data.channels, latent, widths),
        autoencoder_loss=AutoencoderLossConfig("l1", kl=0.02, perceptual=0.1),
        autoencoder_training=TrainConfig(
            steps=first_stage_steps or 3000, batch_size=min(64, batch_size), lr=2e-3, ema=0.995,
            seed=seed,
        ),
        unet=UNetConfig(in_channels=latent, channels=(64, 128), num_classes=data.num_classes),
        training=TrainConfig(
            steps=steps or 6000, batch_size=batch_size, lr=2e-3, ema=0.999, seed=seed
        ),
    )  # fmt: skip


def perceptual_for(data: ImageData) -> nn.Module:
    """The network whose features the first stage is held to: digits have one of their own."""
    if data.name.startswith("mnist"):
        return bundled_classifier("mnist_perceptual")
    return RandomFeatures(data.channels, seed=1)
