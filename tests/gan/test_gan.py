"""Laws of `ldmlib.training.adversarial`: closed forms of the game, and who moves in whose turn."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

import tiny
from ldmlib.gan.theory import covered_modes, optimal_discriminator
from ldmlib.networks.discriminator import PatchDiscriminator
from ldmlib.probability.mixtures import GaussianMixture, ring
from ldmlib.training.adversarial import (
    discriminator_loss,
    discriminator_step,
    frozen,
    generator_loss,
    generator_step,
    r1_penalty,
    train_step,
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


def test_slopes_of_both_losses_in_the_logit() -> None:
    """d log(1 - D) / dl = -D and d(-log D) / dl = -(1 - D), with D = sigmoid(l)."""
    logits = torch.linspace(-8, 8, 33, dtype=torch.float64)
    for kind, truth in (
        ("saturating", -logits.sigmoid()),
        ("non_saturating", logits.sigmoid() - 1),
    ):
        leaf = logits.clone().requires_grad_()
        (len(leaf) * generator_loss(leaf, kind)).backward()
        torch.testing.assert_close(leaf.grad, truth)


P = GaussianMixture.isotropic(torch.tensor([[-1.5], [1.5]]).double(), 0.6)
Q = GaussianMixture.isotropic(torch.tensor([[0.7]]).double(), 1.0)
GRID = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]


def test_the_best_judge_is_a_ratio_of_densities() -> None:
    real, forged = P.log_prob(GRID).exp(), Q.log_prob(GRID).exp()
    best = optimal_discriminator(P, Q, GRID)
    torch.testing.assert_close(best, real / (real + forged))
    torch.testing.assert_close(optimal_discriminator(P, P, GRID), torch.full_like(best, 0.5))
    torch.testing.assert_close(best + optimal_discriminator(Q, P, GRID), torch.ones_like(best))


def test_no_judge_beats_the_best_and_its_value_is_the_jensen_shannon_divergence() -> None:
    """V(D*) = 2 JSD - log 4, so the halved loss is log 2 - JSD; the loss has its minimum there."""
    width = float(GRID[1] - GRID[0])
    real, forged = P.log_prob(GRID).exp() * width, Q.log_prob(GRID).exp() * width
    mean = (real + forged) / 2
    jsd = 0.5 * (real * (real / mean).log() + forged * (forged / mean).log()).sum()
    best = optimal_discriminator(P, Q, GRID)
    value = (real * best.log() + forged * (1 - best).log()).sum()
    assert float(value) == pytest.approx(float(2 * jsd) - math.log(4), abs=1e-6)
    generator = torch.Generator().manual_seed(0)
    logits = [
        P.log_prob(x) - Q.log_prob(x)
        for x in (P.sample(100_000, generator), Q.sample(100_000, generator))
    ]
    at_best = discriminator_loss(*logits, "non_saturating")
    assert float(at_best) == pytest.approx(math.log(2) - float(jsd), abs=5e-3)
    for other in (0.7, 1.4):
        assert discriminator_loss(*(other * v for v in logits), "non_saturating") > at_best
        assert discriminator_loss(*(v + other - 1 for v in logits), "non_saturating") > at_best


def test_r1_is_the_squared_slope_at_real_pictures() -> None:
    x, weight = tiny.noise(5, 2, 3, 3), tiny.noise(18, seed=1)

    def judge(pictures):
        return (pictures.flatten(1) ** 2) @ weight

    truth = ((2 * x.flatten(1) * weight) ** 2).sum(1).mean()
    torch.testing.assert_close(r1_penalty(judge, x), truth)
    assert r1_penalty(lambda pictures: pictures.sum((1, 2, 3)), x) == pytest.approx(18)


def test_modes_of_a_mixture_are_covered_by_its_own_samples() -> None:
    truth = ring()
    own = truth.sample(4000, torch.Generator().manual_seed(0))
    modes, good = covered_modes(truth, own)
    assert modes == 8 and good == pytest.approx(1 - math.exp(-8), abs=2e-3)  # 4 std, in 2-D
    assert covered_modes(truth, own[own[:, 0] > 0.5])[0] == 3
    assert covered_modes(truth, torch.zeros(100, 2)) == (0, 0.0)
    one = truth.means[:1].repeat(99, 1)
    assert covered_modes(truth, torch.cat([one, truth.means[1:2]])) == (2, 1.0)
    assert covered_modes(truth, torch.cat([one.repeat(2, 1), truth.means[1:2]]))[0] == 1
    for points in (torch.zeros(4, 3), torch.zeros(0, 2)):
        with pytest.raises(ValueError, match=r"points must be \(n, 2\)"):
            covered_modes(truth, points)


def test_good_points_are_counted_in_each_modes_own_standard_deviations() -> None:
    long = torch.tensor([[[4.0, 0.0], [0.0, 0.01]]])
    mixture = GaussianMixture(torch.zeros(1, 2), long, torch.ones(1))
    assert covered_modes(mixture, torch.tensor([[7.0, 0.0]])) == (1, 1.0)
    assert covered_modes(mixture, torch.tensor([[0.0, 0.5]])) == (0, 0.0)


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


def players() -> tuple[nn.Module, nn.Module]:
    """A generator with BatchNorm, a discriminator with BatchNorm and spectral norm."""
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    first = spectral_norm(nn.Linear(4, 8))
    judge = nn.Sequential(first, nn.BatchNorm1d(8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    return generator, judge


def everything(network: nn.Module) -> list[torch.Tensor]:
    """Copies of all weights, buffers and gradients."""
    kept = [*network.parameters(), *network.buffers()]
    return [t.detach().clone() for t in kept] + [
        torch.zeros(0) if p.grad is None else p.grad.clone() for p in network.parameters()
    ]


def unchanged(network: nn.Module, before: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(everything(network), before, strict=True))


@pytest.mark.parametrize("kind", ["hinge", "non_saturating"])
def test_no_turn_leaves_a_trace_in_the_other_network(kind: str) -> None:
    """Law 24: weights, gradients, and the buffers of BatchNorm and of spectral norm."""
    generator, judge = players()
    adams = [torch.optim.Adam(net.parameters(), lr=1e-2) for net in (generator, judge)]
    real, noise = tiny.noise(16, 4), tiny.noise(16, 3, seed=1)
    train_step(generator, judge, tuple(adams), real, noise, kind)  # now all gradients exist
    before = everything(generator), everything(judge)
    _, fake = generator_step(generator, judge, adams[0], noise, kind)
    assert unchanged(judge, before[1]) and not unchanged(generator, before[0])
    assert not fake.requires_grad
    before = everything(generator)
    leaf = fake.requires_grad_()
    discriminator_step(judge, adams[1], real, leaf, kind, r1=0.5)
    assert unchanged(generator, before) and leaf.grad is None
    assert all(p.requires_grad for p in judge.parameters())


def test_frozen_spares_the_buffers_even_after_an_error() -> None:
    _, judge = players()
    before, pointers = everything(judge), [b.data_ptr() for b in judge.buffers()]
    with pytest.raises(RuntimeError), frozen(judge):
        judge(tiny.noise(16, 4))
        raise RuntimeError
    assert unchanged(judge, before)
    assert pointers == [b.data_ptr() for b in judge.buffers()]  # the very same tensors
    judge(tiny.noise(16, 4))
    assert not unchanged(judge, before)  # outside they do move


def test_one_round_is_the_two_turns_by_hand() -> None:
    """Against plain PyTorch with every precaution written out."""
    mine = [nn.Linear(3, 4), nn.Linear(4, 1)]
    his = copy.deepcopy(mine)
    real, noise = tiny.noise(8, 4), tiny.noise(8, 3, seed=1)
    sgds = [torch.optim.SGD(net.parameters(), lr=0.1) for net in mine]
    losses = train_step(*mine, tuple(sgds), real, noise, "non_saturating")
    generator, judge = his
    sgds = [torch.optim.SGD(net.parameters(), lr=0.1) for net in his]
    fake = generator(noise)
    first = F.binary_cross_entropy_with_logits(judge(fake), torch.ones(8, 1))
    first.backward()
    sgds[0].step()
    sgds[1].zero_grad()
    fake = fake.detach()
    second = (
        F.binary_cross_entropy_with_logits(judge(real), torch.ones(8, 1))
        + F.binary_cross_entropy_with_logits(judge(fake), torch.zeros(8, 1))
    ) / 2
    second.backward()
    sgds[1].step()
    assert losses == pytest.approx((first.item(), second.item()))
    for a, b in zip(mine, his, strict=True):
        torch.testing.assert_close(a.weight, b.weight)


def test_the_penalty_flattens_the_judge() -> None:
    slopes = {}
    for r1 in (0.0, 10.0):
        torch.manual_seed(0)
        judge, real = nn.Linear(4, 1), tiny.noise(64, 4) + 2
        adam = torch.optim.Adam(judge.parameters(), lr=1e-2)
        for _ in range(100):
            discriminator_step(judge, adam, real, tiny.noise(64, 4, seed=1), "hinge", r1)
        slopes[r1] = float(r1_penalty(judge, real).detach())
    assert slopes[10.0] < 0.2 * slopes[0.0]
