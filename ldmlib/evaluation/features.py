"""A small picture classifier, and the features it sees with.

Two jobs in the course need a network that looks at pictures: scores such as FID compare features
of real and generated pictures, and the autoencoder's perceptual loss compares features of a
picture and its reconstruction. Two separately trained networks do them, so that no model is
judged by the network that trained it.
"""

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
