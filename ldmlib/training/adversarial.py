"""The adversarial game: losses, whose turn it is, and what the game would do at its best.

    generator      z (n, noise) -> x_hat, wants the discriminator to call x_hat real
    discriminator  x or x_hat   -> logit, high for real; D(x) = sigmoid(logit)

Used by the GAN recap, by `ldmlib.gan.model`, and by the autoencoder's patch-adversarial term.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


# --------------------------------------------------------------------------- losses
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
    vanish while the discriminator wins; ``saturating``: log(1 - D(G(z))), whose gradient does
    (1406.2661, section 3; for teaching).
    """
    if kind == "hinge":
        return -fake.mean()
    if kind == "non_saturating":
        return F.softplus(-fake).mean()
    if kind == "saturating":
        return -F.softplus(fake).mean()
    raise ValueError(f"kind is 'saturating', 'hinge' or 'non_saturating', not {kind!r}")


def r1_penalty(discriminator: nn.Module, real: Tensor) -> Tensor:
    """mean |grad_x logit(x)|^2 at real pictures (n, ...): how steep the judge is (1801.04406).

    A discriminator that is flat where the data are gives the generator no reason to run past them.
    """
    real = real.detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return (slope**2).flatten(1).sum(1).mean()


# --------------------------------------------------------------------------- the truth


# --------------------------------------------------------------------------- whose turn it is


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """``with frozen(d): ...``: gradients flow through d to its input, and d stays as it is.

    Weights take no gradient. Buffers (running means of BatchNorm, the vectors of spectral norm)
    may change inside the block, in a copy that is thrown away.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    buffers = [
        (module, name, buffer)
        for module in network.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    for parameter in parameters:
        parameter.requires_grad_(False)
    for module, name, buffer in buffers:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for module, name, buffer in buffers:
            setattr(module, name, buffer)


def discriminator_step(
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    kind: str = "hinge",
    r1: float = 0.0,
) -> float:
    """One update of the discriminator; the generator's weights and gradients stay untouched.

    Args:
        real, fake: pictures (n, C, H, W); `fake` is detached here.
        r1: weight of half the `r1_penalty`; 0 for none.

    Returns:
        the loss before the update, without the penalty.
    """
    logits = discriminator(real).float(), discriminator(fake.detach()).float()
    loss = discriminator_loss(*logits, kind)
    penalty = r1 / 2 * r1_penalty(discriminator, real) if r1 else 0.0
    optimizer.zero_grad(set_to_none=True)
    (loss + penalty).backward()
    optimizer.step()
    return float(loss.detach())


def generator_step(
    generator: nn.Module,
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    noise: Tensor,
    kind: str = "hinge",
) -> tuple[float, Tensor]:
    """One update of the generator; the discriminator's weights, gradients, buffers stay untouched.

    Args:
        noise: (n, ...), fresh for every step.

    Returns:
        the loss before the update, and the pictures it was measured on, detached.
    """
    fake = generator(noise)
    with frozen(discriminator):
        loss = generator_loss(discriminator(fake).float(), kind)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
    optimizer.step()
    return float(loss.detach()), fake.detach()


def train_step(
    generator: nn.Module,
    discriminator: nn.Module,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    real: Tensor,
    noise: Tensor,
    kind: str = "non_saturating",
    r1: float = 0.0,
) -> tuple[float, float]:
    """One round of the game: the generator's turn, then the discriminator's, on the same fakes.

    Args:
        optimizers: the generator's and the discriminator's.
        real, noise: (n, ...) each.

    Returns:
        both losses before the updates, generator first.
    """
    mine, his = optimizers
    loss, fake = generator_step(generator, discriminator, mine, noise, kind)
    return loss, discriminator_step(discriminator, his, real, fake, kind, r1)
