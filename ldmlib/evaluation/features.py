"""What a network of `ldmlib.networks.classifier` sees in pictures: features, classes, accuracy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ldmlib.images import check_images
from ldmlib.networks.batches import in_batches
from ldmlib.networks.classifier import Classifier


def extract(network: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features (n, d) and class probabilities (n, k) of pictures, float64.

    Raises:
        ValueError: pictures of the wrong shape or outside [-1, 1].
    """
    check_images(x, channels=network.config.channels)
    device, classes = next(network.parameters()).device, network.config.num_classes
    both = in_batches(lambda part: torch.cat(network.look(part.to(device)), 1).cpu(), x).double()
    features, logits = both[:, :-classes], both[:, -classes:]
    return features, logits.softmax(1)


def accuracy(network: nn.Module, x: Tensor, labels: Tensor) -> float:
    """Share of pictures that the classifier names rightly."""
    return float((in_batches(network, x).argmax(1) == labels).double().mean())
