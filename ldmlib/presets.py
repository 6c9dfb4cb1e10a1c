"""Settings of every model of the course, and settings chosen from the reader's own pictures."""

from __future__ import annotations

from dataclasses import replace

from ldmlib.autoencoder import AutoencoderConfig, AutoencoderLossConfig
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
