"""Laws of `ldmlib.gan`: the losses' closed forms, and who moves in whose turn."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import tiny
from ldmlib.gan import (
    PatchDiscriminator,
    discriminator_loss,
    discriminator_step,
    frozen,
    generator_loss,
)

REAL, FAKE = 2 * tiny.noise(500), 2 * tiny.noise(500, seed=1)


def test_hinge_losses_are_zero_beyond_the_margin() -> None:
    sure = torch.full((4,), 1.5)
    assert discriminator_loss(sure, -sure) == 0
    assert discriminator_loss(torch.zeros(4), torch.zeros(4)) == 1
    assert discriminator_loss(-sure, sure) == 2.5
    assert generator_loss(sure) == -1.5


def test_non_saturating_losses_are_cross_entropies() -> None:
    ones, kind = torch.ones(500), "non_saturating"
    real = F.binary_cross_entropy_with_logits(REAL, ones)
    fake = F.binary_cross_entropy_with_logits(FAKE, 0 * ones)
    torch.testing.assert_close(discriminator_loss(REAL, FAKE, kind), (real + fake) / 2)
    fooled = F.binary_cross_entropy_with_logits(FAKE, ones)
    torch.testing.assert_close(generator_loss(FAKE, kind), fooled)
    undecided = discriminator_loss(torch.zeros(4), torch.zeros(4), kind)
    assert undecided.item() == pytest.approx(math.log(2))


def test_the_generators_gradient_lives_where_the_discriminator_wins() -> None:
    """log(1 - D) would give exp(-20) here (1406.2661, section 3)."""
    for kind in ("hinge", "non_saturating"):
        logit = torch.tensor([-20.0], requires_grad=True)
        generator_loss(logit, kind).backward()
        assert logit.grad.item() == pytest.approx(-1.0)


@pytest.mark.parametrize("kind", ["hinge", "non_saturating"])
def test_the_discriminator_wants_real_above_fake(kind: str) -> None:
    real, fake = (torch.zeros(3, requires_grad=True) for _ in range(2))
    discriminator_loss(real, fake, kind).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()


def test_unknown_kinds_are_named() -> None:
    for call in (lambda: generator_loss(FAKE, "wgan"), lambda: discriminator_loss(REAL, FAKE, "x")):
        with pytest.raises(ValueError, match="'hinge' or 'non_saturating'"):
            call()


@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 16)])
def test_one_logit_a_patch(channels: int, size: int) -> None:
    torch.manual_seed(0)
    network, x = PatchDiscriminator(channels, width=8), tiny.pictures(5, channels, size)
    logits = network(x)
    assert logits.shape == (5, 1, size // 4, size // 4)
    torch.testing.assert_close(network(x[2:3]), logits[2:3], atol=1e-5, rtol=1e-4)


def test_frozen_lets_gradients_through_but_not_in() -> None:
    network, x = PatchDiscriminator(1, 8), tiny.pictures(2).requires_grad_()
    with frozen(network):
        network(x).sum().backward()
    assert x.grad.abs().max() > 0
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    network.layers[0].requires_grad_(False)
    with pytest.raises(RuntimeError), frozen(network):
        raise RuntimeError
    wishes = [p.requires_grad for p in network.parameters()]
    assert not any(wishes[:2]) and all(wishes[2:])  # as they were, after an error too


def test_a_discriminator_step_leaves_the_generator_alone() -> None:
    """Law 24, one half; the other half is the autoencoder's."""
    torch.manual_seed(0)
    generator, network = torch.nn.Conv2d(1, 1, 3, padding=1), PatchDiscriminator(1, 8)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    generator(tiny.pictures(4)).sum().backward()
    before = [(p.clone(), p.grad.clone()) for p in generator.parameters()]
    old = [p.clone() for p in network.parameters()]
    discriminator_step(network, optimizer, tiny.pictures(4), generator(tiny.pictures(4, seed=1)))
    for (weight, gradient), p in zip(before, generator.parameters(), strict=True):
        assert torch.equal(p, weight) and torch.equal(p.grad, gradient)
    assert not all(torch.equal(a, b) for a, b in zip(old, network.parameters(), strict=True))


def test_steps_teach_the_discriminator() -> None:
    torch.manual_seed(0)
    network, real = PatchDiscriminator(1, 8), tiny.pictures(16)
    fake = tiny.noise(16, 1, 8, 8).clamp(-1, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = [discriminator_step(network, optimizer, real, fake) for _ in range(30)]
    assert losses[-1] < 0.3 * losses[0]
