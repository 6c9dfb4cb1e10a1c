"""The denoiser's objective: the loss of the diffusion process, with label dropout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ldmlib.diffusion.process import Diffusion
from ldmlib.rng import Generator, rand


@dataclass(frozen=True)
class DenoisingObjective:
    """The second stage's loss; labels (n,) or tokens (n, L) are dropped now and then, so that
    guidance has a null class, or an empty prompt.

    An objective for `training.fit`.
    """

    diffusion: Diffusion
    label_dropout: float = 0.1

    def __call__(self, model, z: Tensor, y: Tensor | None, generator: Generator, step: int):
        if y is not None:
            dropped = (rand(len(z), generator) < self.label_dropout).to(y.device)
            y = torch.where(dropped.view(-1, *[1] * (y.ndim - 1)), -1, y)
        return self.diffusion.loss(model, z, y, generator=generator).mean()
