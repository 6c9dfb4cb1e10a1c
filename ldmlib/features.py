"""A small picture classifier, and the features it sees with.

Two jobs in the course need a network that looks at pictures: scores such as FID compare features
of real and generated pictures, and the autoencoder's perceptual loss compares features of a
picture and its reconstruction. Two separately trained networks do them, so that no model is
judged by the network that trained it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.files import asset, load_into, load_json, load_tensors, save_json, save_tensors, sha256_of
from ldmlib.images import check_images


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
        self.project = nn.Linear(width * 16, config.features)
        self.head = nn.Linear(config.features, config.num_classes)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """What each stage sees before its pooling: one (n, width, h, w) tensor a stage."""
        maps = []
        for stage in self.stages:
            x = stage(F.max_pool2d(x, 2) if maps else x)  # the first stage halves by its stride
            maps.append(x)
        return maps

    def features(self, x: Tensor) -> Tensor:
        """The last layer before the decision: (n, features), not negative."""
        last = F.adaptive_max_pool2d(self.feature_maps(x)[-1], 4)
        return F.relu(self.project(last.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (n, num_classes)."""
        return self.head(F.dropout(self.features(x), 0.3, self.training))


@torch.no_grad()
def in_batches(function, x: Tensor, batch_size: int = 500) -> Tensor:
    """Apply `function` to x in batches, without gradients, and join the results."""
    return torch.cat([function(part) for part in x.split(batch_size)])


def extract(network: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features (n, d) and class probabilities (n, k) of pictures, float64.

    Raises:
        ValueError: pictures of the wrong shape or outside [-1, 1].
    """
    check_images(x, channels=network.config.channels)
    device = next(network.parameters()).device
    features = in_batches(lambda part: network.features(part.to(device)).cpu(), x)
    with torch.no_grad():
        probabilities = network.head(features.to(device)).softmax(1).cpu()
    return features.double(), probabilities.double()


def save_classifier(network: Classifier, folder: str | Path, **facts: object) -> None:
    """Write ``model.safetensors`` and ``config.json`` (config, the weights' hash, facts)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / "model.safetensors", network.state_dict())
    digest = sha256_of(folder / "model.safetensors")
    save_json(folder / "config.json", {**asdict(network.config), "sha256": digest, **facts})


def load_classifier(folder: str | Path) -> Classifier:
    """Read a classifier written by `save_classifier`; evaluation mode, no gradients.

    Raises:
        FileNotFoundError, ValueError: files missing, cut short, or with another hash.
    """
    config = load_json(Path(folder) / "config.json")
    known = {k: config[k] for k in ClassifierConfig.__dataclass_fields__}
    network = Classifier(ClassifierConfig(**known))
    tensors = load_tensors(Path(folder) / "model.safetensors", sha256=config["sha256"])
    load_into(network, tensors, "classifier")
    return network.eval().requires_grad_(False)


@lru_cache
def bundled_classifier(name: str = "mnist_features") -> Classifier:
    """A classifier that comes with the library.

    ``mnist_features`` is for scores (`ldmlib.metrics`), ``mnist_perceptual`` for the
    autoencoder's loss.
    """
    return load_classifier(asset("weights", name))


def accuracy(network: nn.Module, x: Tensor, labels: Tensor) -> float:
    """Share of pictures that the classifier names rightly."""
    return float((in_batches(network, x).argmax(1) == labels).double().mean())
