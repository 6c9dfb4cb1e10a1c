"""The adversarial game: discriminator and losses, used by the GAN recap and the autoencoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.layers import group_norm


def discriminator_loss(real: Tensor, fake: Tensor, kind: str = "hinge") -> Tensor:
    """What the discriminator minimises, from its logits on real and fake pictures; a number.

    ``hinge``: mean relu(1 - real) + mean relu(1 + fake), halved (arXiv 1705.02894);
    ``non_saturating``: binary cross-entropy with labels 1 and 0, halved (1406.2661).
    """
    if kind == "hinge":
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
    if kind == "non_saturating":
        return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
    raise ValueError(f"kind is 'hinge' or 'non_saturating', not {kind!r}")


def generator_loss(fake: Tensor, kind: str = "hinge") -> Tensor:
    """What the generator minimises, from the discriminator's logits on its pictures; a number.

    ``hinge``: minus the mean logit; ``non_saturating``: -log D(G(z)), whose gradient does not
    vanish while the discriminator wins (1406.2661, section 3).
    """
    if kind == "hinge":
        return -fake.mean()
    if kind == "non_saturating":
        return F.softplus(-fake).mean()
    raise ValueError(f"kind is 'hinge' or 'non_saturating', not {kind!r}")


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches, not the whole picture (arXiv 1611.07004, section 3.2.2).

    (n, C, H, W) pictures -> (n, 1, H/4, W/4) logits, high where a patch looks real.
    """

    def __init__(self, channels: int = 1, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            group_norm(2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """``with frozen(d): ...``: gradients flow through d to its input, but not into its weights."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def discriminator_step(
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    kind: str = "hinge",
) -> float:
    """One update of the discriminator; the generator's weights and gradients stay untouched.

    Args:
        real, fake: pictures (n, C, H, W); `fake` is detached here.

    Returns:
        the loss before the update.
    """
    loss = discriminator_loss(discriminator(real), discriminator(fake.detach()), kind)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach())
