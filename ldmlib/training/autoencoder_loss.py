"""What a first stage is trained with: reconstruction, KL, perceptual and patch-adversarial terms.

After arXiv 2112.10752, section 3.1 and appendix G.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.networks.discriminator import PatchDiscriminator
from ldmlib.rng import Generator
from ldmlib.training.adversarial import discriminator_step, frozen, generator_loss


@dataclass(frozen=True)
class AutoencoderLossConfig:
    """Weights of the autoencoder's loss terms.

    Args:
        reconstruction: ``l1`` or ``l2``, summed over the pixels of an image.
        kl: weight of the KL term (sum per image, mean over the batch).
        perceptual: weight of the feature distance, 0 for none.
        adversarial: weight of the patch discriminator's term, 0 for none.
        adversarial_start: step at which the discriminator enters; late, when there is
            something to judge.
    """

    reconstruction: str = "l1"
    kl: float = 0.1
    perceptual: float = 1.0
    adversarial: float = 0.0
    adversarial_start: int = 500
    discriminator_lr: float = 1e-3


def perceptual_distance(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Squared distance of unit-length features at every position, (n,) (arXiv 1801.03924, eq. 1).

    Args:
        network: anything with ``feature_maps(x) -> list of (n, c, h, w)``; its weights are fixed.
    """
    distance = x.new_zeros(len(x))
    with torch.no_grad():
        targets = network.feature_maps(x)
    for a, b in zip(targets, network.feature_maps(y), strict=True):
        difference = F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)
        distance = distance + (difference**2).sum(1).flatten(1).mean(1)
    return distance


class AutoencoderLoss:
    """Reconstruction + KL + perceptual + patch-adversarial, each per image, mean over the batch.

    An objective for `training.fit`: called for the autoencoder's step, then `after_step` updates
    the discriminator. Its state travels in the checkpoints.
    """

    def __init__(
        self, config: AutoencoderLossConfig, perceptual: nn.Module | None = None, channels: int = 1
    ) -> None:
        if config.reconstruction not in ("l1", "l2"):
            raise ValueError(f"reconstruction is 'l1' or 'l2', not {config.reconstruction!r}")
        if config.perceptual and perceptual is None:
            raise ValueError("a perceptual weight needs a feature network: perceptual=...")
        self.config = config
        self.features = perceptual
        self.discriminator = PatchDiscriminator(channels) if config.adversarial else None
        self.trained = self.discriminator
        if self.discriminator is not None:
            self.optimizer = torch.optim.Adam(
                self.discriminator.parameters(), lr=config.discriminator_lr, betas=(0.5, 0.9)
            )
        self.fakes: list[Tensor] = []
        self.mean: Callable[[Tensor], Tensor] = lambda x: x  # over processes, see `prepare`

    def __call__(self, model, x: Tensor, _labels, generator: Generator, step: int):
        """Loss (scalar) and its parts, for one batch x (n, C, H, W)."""
        x_hat, posterior = model(x, generator)
        difference = (x_hat - x).flatten(1)
        per_pixel = difference.abs() if self.config.reconstruction == "l1" else difference**2
        parts = {"reconstruction": per_pixel.sum(1).mean(), "kl": posterior.kl().mean()}
        loss = parts["reconstruction"] + self.config.kl * parts["kl"]
        if self.config.perceptual:
            parts["perceptual"] = perceptual_distance(self.features, x, x_hat).mean()
            loss = loss + self.config.perceptual * x[0].numel() * parts["perceptual"]
        if self.discriminator is not None and step >= self.config.adversarial_start:
            with frozen(self.discriminator):
                parts["adversarial"] = generator_loss(self.discriminator(x_hat))
            weight = adaptive_weight(loss, parts["adversarial"], model, self.mean)
            loss = loss + self.config.adversarial * weight * parts["adversarial"]
            self.fakes = [*self.fakes, x_hat.detach()]
        return loss, parts

    def after_step(self, x: Tensor) -> None:
        """Update the discriminator on the batch that the autoencoder has just seen."""
        if self.fakes:
            discriminator_step(self.trained, self.optimizer, x, torch.cat(self.fakes))
            self.fakes = []

    def prepare(self, runtime) -> None:
        """Move to the runtime's device; let its processes share the discriminator's gradients."""
        self.mean, self.fakes = runtime.mean, []
        if self.features is not None:
            self.features = deepcopy(self.features).to(runtime.device)  # the caller's own stays
        if self.discriminator is not None:
            self.discriminator.to(runtime.device)
            self.trained = runtime.prepare(self.discriminator)

    def checkpoint_state(self) -> dict:
        """What `training.fit` saves beside the model: discriminator and its optimiser."""
        if self.discriminator is None:
            return {}
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_checkpoint_state(self, state: dict) -> None:
        """Take back what `checkpoint_state` gave."""
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])


def adaptive_weight(
    loss: Tensor,
    adversarial: Tensor,
    model: nn.Module,
    mean: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> Tensor:
    """Ratio of the two terms' gradient lengths at the last layer (arXiv 2012.09841, eq. 7).

    `mean` averages a gradient over the processes that share the batch. With `accumulate` each
    part of a batch has its own ratio.
    """
    weight = getattr(model, "module", model).decoder.last_weight
    (wanted,) = torch.autograd.grad(loss, weight, retain_graph=True)
    (given,) = torch.autograd.grad(adversarial, weight, retain_graph=True)
    wanted, given = mean(wanted), mean(given)
    return (wanted.norm() / (given.norm() + 1e-4)).clamp(max=1e4).detach()
