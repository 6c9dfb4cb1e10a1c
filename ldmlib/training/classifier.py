"""Training of the small picture classifier that scores are built on."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ldmlib.data import ImageData
from ldmlib.networks.classifier import Classifier, ClassifierConfig
from ldmlib.rng import Generator, rand
from ldmlib.training.config import TrainConfig, TrainState
from ldmlib.training.run import train


def random_shift(
    x: Tensor, generator: Generator, pixels: int = 2, background: float = -1.0
) -> Tensor:
    """Move each picture (n, C, H, W) by up to `pixels` in both directions, zoom it by up to 10 %,
    and turn it by up to 10 degrees; the background, -1 or 1, moves in."""
    u = torch.stack([rand(len(x), generator) for _ in range(4)], 1).to(x) * 2 - 1
    angle, zoom = u[:, 0] * 0.17, 1 + 0.1 * u[:, 1]
    move = u[:, 2:] * 2 * pixels / x.shape[-1]
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    theta = torch.stack([cos, -sin, move[:, 0], sin, cos, move[:, 1]], 1).view(-1, 2, 3)
    field = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x - background, field, align_corners=False) + background


def classifier_objective(
    model, x: Tensor, y: Tensor, generator: Generator, step: int, background: float = -1.0
) -> Tensor:
    """Cross-entropy on shifted pictures.

    Labels are not smoothed: that would pull the features of a class into one point
    (arXiv 1906.02629), and features that forget how a digit is written make a blind score.
    """
    return F.cross_entropy(model(random_shift(x, generator, background=background)), y)


def train_classifier(
    data: ImageData,
    config: ClassifierConfig = ClassifierConfig(),  # noqa: B008
    steps: int = 3000,
    seed: int = 0,
    background: float = -1.0,
    **options: object,
) -> TrainState:
    """Train a `Classifier` on labelled pictures on black (-1) or white (1); options go to `fit`."""
    torch.manual_seed(seed)
    x, y = data.as_tensors()
    training = TrainConfig(steps=steps, lr=3e-3, weight_decay=0.01, ema=0.0, seed=seed)
    objective = partial(classifier_objective, background=background)
    state = train(Classifier(config), objective, (x, y), training, **options)
    state.model.eval().fit_whitening(x)
    return state
