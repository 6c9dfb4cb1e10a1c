"""Networks, data and comparisons small enough that a test takes milliseconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ldmlib.diffusion.process import Diffusion
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.autoencoder import Autoencoder, AutoencoderConfig
from ldmlib.networks.classifier import Classifier, ClassifierConfig
from ldmlib.networks.tokenizer import Tokenizer
from ldmlib.networks.unet import UNet, UNetConfig
from ldmlib.training.autoencoder_loss import AutoencoderLoss, AutoencoderLossConfig
from ldmlib.training.denoising import DenoisingObjective

CLASSES = 3


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(n: int, channels: int = 1, size: int = 8, seed: int = 0) -> Tensor:
    """Smooth random pictures (n, channels, size, size) in [-1, 1]."""
    small = noise(n, channels, 2, 2, seed=seed).tanh()
    return nn.functional.interpolate(small, size=(size, size), mode="bilinear")


def labels(n: int) -> Tensor:
    """0, 1, 2, 0, 1, ..."""
    return torch.arange(n) % CLASSES


def randomised(model: nn.Module, seed: int = 0, scale: float = 0.2) -> nn.Module:
    """Give every parameter random values: layers that start at zero say something too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=generator))
    return model


def unet(seed: int = 0, **options) -> UNet:
    """A conditional denoiser of pictures with one channel."""
    torch.manual_seed(seed)
    return UNet(UNetConfig(**{
        "in_channels": 1, "channels": (8, 16), "blocks": 1, "heads": 2, "num_classes": CLASSES,
        **options,
    }))  # fmt: skip


def denoising() -> DenoisingObjective:
    """The denoiser's objective, with label dropout."""
    return DenoisingObjective(Diffusion(), label_dropout=0.3)


def autoencoder(seed: int = 0, **options) -> Autoencoder:
    """A first stage with f = 2."""
    torch.manual_seed(seed)
    return Autoencoder(AutoencoderConfig(**{"latent_channels": 2, "widths": (8,), **options}))


def autoencoder_loss(seed: int = 0, **options) -> AutoencoderLoss:
    """All four terms; the discriminator enters at step 2."""
    torch.manual_seed(seed)
    chosen = {"adversarial": 0.5, "adversarial_start": 2, **options}
    return AutoencoderLoss(AutoencoderLossConfig(**chosen), perceptual=classifier())


def classifier(seed: int = 0, channels: int = 1, features: int = 8) -> Classifier:
    """Untrained, in evaluation mode, with fixed weights and that many features."""
    torch.manual_seed(seed)
    network = Classifier(ClassifierConfig(channels, CLASSES, (8, features), 12))
    return network.eval().requires_grad_(False)


def differences(a, b, tolerance: float = 0.0, where: str = "") -> list[str]:
    """Where two nested structures of tensors and plain values differ; empty if nowhere."""
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{where}: keys {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [d for k in a for d in differences(a[k], b[k], tolerance, f"{where}.{k}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{where}: lengths {len(a)} and {len(b)}"]
        pairs = enumerate(zip(a, b, strict=True))
        return [d for i, (x, y) in pairs for d in differences(x, y, tolerance, f"{where}[{i}]")]
    if isinstance(a, Tensor):
        if a.shape != b.shape:
            return [f"{where}: shapes {tuple(a.shape)} and {tuple(b.shape)}"]
        gap = float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
        return [] if gap <= tolerance else [f"{where}: {gap:.2e}"]
    if isinstance(a, float):
        return [] if abs(a - b) <= tolerance * max(1.0, abs(a)) else [f"{where}: {a} and {b}"]
    return [] if a == b else [f"{where}: {a!r} and {b!r}"]


def text_model() -> LatentDiffusion:
    """A model that is asked in words: pictures (3, 8, 8), latents (2, 4, 4)."""
    tokenizer = Tokenizer.learn(["red apple", "red car", "noto style"], merges=30, length=16)
    first = AutoencoderConfig(channels=3, latent_channels=2, widths=(8,))
    net = UNetConfig(
        2, (8, 16), 1, heads=2, vocabulary=len(tokenizer), text_length=16, text_width=32
    )
    styles = ("noto", "fluent")
    config = LatentDiffusionConfig(first, net, size=8, steps=2, tokenizer=tokenizer, styles=styles)
    return randomised(LatentDiffusion(config)).eval()
