"""A small picture classifier, and random filters: networks whose features judge pictures.

Two jobs in the course need a network that looks at pictures: scores such as FID compare features
of real and generated pictures, and the autoencoder's perceptual loss compares features of a
picture and its reconstruction. Two separately trained networks do them, so that no model is
judged by the network that trained it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.networks.batches import in_batches
from ldmlib.rng import seeded
from ldmlib.storage.files import asset
from ldmlib.storage.saved_models import load_pair, save_pair


@dataclass(frozen=True)
class ClassifierConfig:
    """Shape of a `Classifier`: picture channels, classes, width of each stage, feature length."""

    channels: int = 1
    num_classes: int = 10
    widths: tuple[int, ...] = (32, 64, 128)
    features: int = 128

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))


class Classifier(nn.Module):
    """Convolutional classifier of (n, C, H, W) pictures in [-1, 1]; each stage halves H and W."""

    def __init__(self, config: ClassifierConfig = ClassifierConfig()) -> None:  # noqa: B008
        super().__init__()
        self.config = config
        self.stages, width = nn.ModuleList(), config.channels
        for i, stage_width in enumerate(config.widths):
            kernel = dict(kernel_size=4, stride=2) if i == 0 else dict(kernel_size=3)
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(width, stage_width, **kernel, padding=1, bias=False),
                    nn.BatchNorm2d(stage_width),
                    nn.ReLU(),
                    nn.Conv2d(stage_width, stage_width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(stage_width),
                    nn.ReLU(),
                )
            )
            width = stage_width
        self.widen = nn.Sequential(
            nn.Conv2d(width, config.features, 3, padding=1, bias=False),
            nn.BatchNorm2d(config.features),
            nn.ReLU(),
        )
        self.head = nn.Linear(config.features, config.num_classes)
        self.register_buffer("feature_mean", torch.zeros(width))
        self.register_buffer("feature_whitener", torch.eye(width))

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """What each stage sees before its pooling: one (n, width, h, w) tensor a stage."""
        maps = []
        for stage in self.stages:
            x = stage(F.max_pool2d(x, 2) if maps else x)  # the first stage halves by its stride
            maps.append(x)
        return maps

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, width) and logits (n, num_classes) in one pass."""
        last = self.feature_maps(x)[-1]
        features = (last.mean((2, 3)) - self.feature_mean) @ self.feature_whitener
        return features, self.head(self.widen(last).mean((2, 3)))

    def features(self, x: Tensor) -> Tensor:
        """The last stage's maps, averaged over the picture and whitened: (n, width).

        Raw features vary almost only between classes, and a distance of them would see little
        else. Whitened (mean 0, covariance I over the training set), every direction counts by how
        much real pictures vary in it.
        """
        return self.look(x)[0]

    def fit_whitening(self, x: Tensor) -> None:
        """Measure mean and covariance of the averaged maps over the training pictures x, once."""
        _set_whitening(self, x, lambda part: self.feature_maps(part)[-1].mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (n, num_classes)."""
        return self.look(x)[1]


class RandomFeatures(nn.Module):
    """A network that was never trained, for pictures that no classifier here knows.

    Random filters at three scales still tell textures, edges and colours apart: their mean and
    spread over the picture, mixed down to `features` numbers, make a usable yardstick
    (arXiv 1606.00021, 2002.09797). Same interface as `Classifier`, but it names no classes.
    """

    def __init__(self, channels: int, features: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.config = ClassifierConfig(channels, 1, (32, 64, 64), features)
        generator, width = seeded(seed, 9), channels
        self.filters = nn.ParameterList()
        for stage_width in self.config.widths:
            weight = torch.randn(stage_width, width, 3, 3, generator=generator)
            weight = weight - weight.mean((2, 3), keepdim=True) * (
                torch.arange(stage_width) % 4 > 0
            ).view(-1, 1, 1, 1)
            self.filters.append(weight / weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1))
            width = stage_width
        pooled = 2 * 4 * sum(self.config.widths)
        mix = torch.randn(pooled, features, generator=generator) / pooled**0.5
        self.mix = nn.Parameter(mix)
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_whitener", torch.eye(features))
        self.eval().requires_grad_(False)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """What each scale sees: one (n, width, h, w) tensor a scale."""
        maps = []
        for weight in self.filters:
            x = F.relu(F.conv2d(F.avg_pool2d(x, 2) if maps else x, weight, padding=1))
            maps.append(x)
        return maps

    def features(self, x: Tensor) -> Tensor:
        """Mean and spread of every filter in the picture's quarters, mixed and whitened."""
        return (self._mixed(x) - self.feature_mean) @ self.feature_whitener

    def fit_whitening(self, x: Tensor) -> None:
        """Measure mean and covariance of the mixed numbers over the training pictures x, once."""
        _set_whitening(self, x, self._mixed)

    def _mixed(self, x: Tensor) -> Tensor:
        pooled = []
        for m in self.feature_maps(x):
            mean = F.adaptive_avg_pool2d(m, 2)
            spread = (F.adaptive_avg_pool2d(m**2, 2) - mean**2).clamp(min=0).sqrt()
            pooled += [mean.flatten(1), spread.flatten(1)]
        return torch.cat(pooled, 1) @ self.mix

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, features), and one logit that is always 0: it knows no classes."""
        return self.features(x), x.new_zeros(len(x), 1)


def _set_whitening(network: nn.Module, x: Tensor, pool: Callable[[Tensor], Tensor]) -> None:
    """Set the buffers that turn numbers distributed as ``pool(x)``, (n, d), into white ones."""
    device = network.feature_mean.device
    pooled = in_batches(lambda part: pool(part.to(device)).cpu(), x).double()
    if len(pooled) < 2:
        raise ValueError("whitening needs at least 2 pictures to measure how they vary")
    values, vectors = torch.linalg.eigh(pooled.T.cov())
    largest = float(values.max())
    if largest <= 0:
        raise ValueError(
            f"the {len(pooled)} pictures all look the same to the network: scores need pictures "
            "that differ"
        )
    scale = values.clamp(min=1e-6 * largest).rsqrt()
    network.feature_mean.copy_(pooled.mean(0))
    network.feature_whitener.copy_(vectors * scale)


def save_classifier(network: Classifier, folder: str | Path, **facts: object) -> None:
    """Write ``model.safetensors`` and ``config.json`` (config, facts, hash): both or none."""
    save_pair(folder, network.state_dict(), {**asdict(network.config), **facts})


def load_classifier(folder: str | Path) -> Classifier:
    """Read a classifier written by `save_classifier`; evaluation mode, no gradients.

    Raises:
        FileNotFoundError, ValueError: files missing, cut short, or with another hash.
    """
    network = load_pair(folder, ClassifierConfig, Classifier, "classifier", more_allowed=True)
    return network.eval().requires_grad_(False)


@lru_cache
def bundled_classifier(name: str = "mnist_features") -> Classifier:
    """A classifier that comes with the library.

    ``mnist_features`` is for scores (`ldmlib.evaluation.metrics`), ``mnist_perceptual`` for the
    autoencoder's loss.
    """
    return load_classifier(asset("weights", name))
