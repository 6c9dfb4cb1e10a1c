"""Laws of `ldmlib.networks.autoencoder`: the diagonal Gaussian, the shapes, and four loss terms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

import tiny
from ldmlib.networks.autoencoder import Autoencoder, AutoencoderConfig, DiagonalGaussian
from ldmlib.rng import seeded
from ldmlib.training.autoencoder_loss import (
    AutoencoderLoss,
    AutoencoderLossConfig,
    adaptive_weight,
    perceptual_distance,
)

MEAN, LOGVAR = tiny.noise(5, 2, 4, 4), tiny.noise(5, 2, 4, 4, seed=1)

# The diagonal Gaussian


def test_kl_of_the_prior_is_zero_and_else_positive() -> None:
    """Law 22."""
    zero = torch.zeros(3, 2, 4, 4)
    assert torch.equal(DiagonalGaussian(zero, zero).kl(), torch.zeros(3))
    assert (DiagonalGaussian(MEAN, LOGVAR).kl() > 0).all()


def test_kl_equals_torch_summed_over_each_image() -> None:
    q = DiagonalGaussian(MEAN, LOGVAR)
    expected = kl_divergence(Normal(q.mean, q.std), Normal(0.0, 1.0)).flatten(1).sum(1)
    assert q.kl().shape == (5,)
    torch.testing.assert_close(q.kl(), expected)


def test_kl_equals_monte_carlo() -> None:
    mean, logvar = torch.tensor([[[[1.5, -0.5]]]]), torch.tensor([[[[-1.0, 0.7]]]])
    q = DiagonalGaussian(*(x.expand(200_000, 1, 1, 2) for x in (mean, logvar)))
    z = q.sample(seeded(0))
    log_ratio = Normal(q.mean, q.std).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    estimate = log_ratio.flatten(1).sum(1)
    error = float(estimate.std()) / math.sqrt(len(z))
    assert float(estimate.mean()) == pytest.approx(float(q.kl()[0]), abs=4 * error)


def test_samples_have_the_law_they_claim() -> None:
    q = DiagonalGaussian(torch.full((50_000, 1, 1, 1), 3.0), torch.full((50_000, 1, 1, 1), -1.4))
    z = q.sample(seeded(0))
    assert float(z.mean()) == pytest.approx(3.0, abs=0.01)
    assert float(z.var()) == pytest.approx(math.exp(-1.4), rel=0.03)
    assert q.mode() is q.mean


def test_gradients_flow_through_the_sample() -> None:
    """z = mean + exp(logvar / 2) eps: dz/dmean = 1, dz/dlogvar = (z - mean) / 2."""
    mean, logvar = MEAN.clone().requires_grad_(), LOGVAR.clone().requires_grad_()
    z = DiagonalGaussian(mean, logvar).sample(seeded(0))
    z.sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones_like(mean))
    torch.testing.assert_close(logvar.grad, (z - mean).detach() / 2)


def test_samples_repeat_with_the_generator_and_extremes_stay_finite() -> None:
    q = DiagonalGaussian(MEAN, LOGVAR)
    assert torch.equal(q.sample(seeded(3)), q.sample(seeded(3)))
    assert not torch.equal(q.sample(seeded(3)), q.sample(seeded(4)))
    wild = DiagonalGaussian(MEAN, 1e6 * LOGVAR)
    assert wild.kl().isfinite().all() and wild.sample(seeded(0)).isfinite().all()


# Shapes


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("widths", "factor"), [((8,), 2), ((8, 12), 4), ((8, 8, 12), 8)])
def test_shapes(widths: tuple[int, ...], factor: int, channels: int) -> None:
    model = tiny.autoencoder(widths=widths, channels=channels, latent_channels=3)
    x = tiny.pictures(2, channels, 16)
    q = model.encode(x)
    assert model.config.factor == factor
    assert q.mean.shape == q.logvar.shape == (2, 3, 16 // factor, 16 // factor)
    assert model.decode(q.mode()).shape == x.shape
    x_hat, posterior = model(x, seeded(0))
    assert x_hat.shape == x.shape and posterior.kl().shape == (2,)
    oblong = tiny.pictures(1, channels, 16)[..., :8]
    assert model.decode(model.encode(oblong).mode()).shape == oblong.shape


def test_without_levels_the_first_stage_is_the_identity() -> None:
    model, x = Autoencoder(AutoencoderConfig(channels=3, widths=())), tiny.pictures(2, 3)
    assert model.config.factor == 1 and model.config.latent_channels == 3
    assert torch.equal(model.encode(x).mode(), x) and torch.equal(model.decode(x), x)
    torch.testing.assert_close(model(x, seeded(0))[0], x, atol=1e-5, rtol=0)
    assert list(model.parameters()) == []


def test_every_image_of_a_batch_is_alone() -> None:
    model, x = tiny.randomised(tiny.autoencoder()), tiny.pictures(5)
    whole = model.encode(x)
    torch.testing.assert_close(model.encode(x[1:2]).mean, whole.mean[1:2], atol=1e-5, rtol=1e-4)
    z = whole.mode()
    torch.testing.assert_close(model.decode(z[:3]), model.decode(z)[:3], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(2, 3, 8, 8), ValueError, "3 channels instead of 1"),
        (torch.zeros(2, 1, 9, 8), ValueError, "multiples of 2"),
        (torch.zeros(2, 8, 8), ValueError, "expected shape"),
        (torch.full((2, 1, 8, 8), 200.0), ValueError, "8-bit"),
        (torch.full((2, 1, 8, 8), math.nan), ValueError, "NaN"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), TypeError, "from_uint8"),
    ],
)
def test_bad_pictures_are_named(x, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        tiny.autoencoder().encode(x)


def test_bad_latents_are_named() -> None:
    for z in (torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4)):
        with pytest.raises(ValueError, match=r"latents must be \(n, 2, h, w\)"):
            tiny.autoencoder().decode(z)


# The loss


def test_terms_are_summed_over_an_image_and_averaged_over_the_batch() -> None:
    model, x = tiny.autoencoder(), tiny.pictures(6)
    for kind in ("l1", "l2"):
        loss = tiny.autoencoder_loss(reconstruction=kind, kl=0.3, perceptual=0.2, adversarial=0.0)
        total, parts = loss(model, x, None, seeded(1), 0)
        x_hat, posterior = model(x, seeded(1))
        error = (x_hat - x).abs() if kind == "l1" else (x_hat - x) ** 2
        torch.testing.assert_close(parts["reconstruction"], error.sum() / 6)
        torch.testing.assert_close(parts["kl"], posterior.kl().sum() / 6)
        perceptual = perceptual_distance(loss.features, x, x_hat).mean()
        expected = parts["reconstruction"] + 0.3 * parts["kl"] + 0.2 * 64 * perceptual
        torch.testing.assert_close(total, expected)
        assert set(parts) == {"reconstruction", "kl", "perceptual"}


def test_perceptual_distance_is_zero_only_for_the_same_picture() -> None:
    network, x = tiny.classifier(), tiny.pictures(6)
    assert torch.equal(perceptual_distance(network, x, x), torch.zeros(6))
    y = (x + 0.3 * tiny.noise(6, 1, 8, 8)).clamp(-1, 1).requires_grad_()
    distance = perceptual_distance(network, x, y)
    assert distance.shape == (6,) and (distance > 0).all()
    distance.sum().backward()
    assert y.grad.isfinite().all() and y.grad.abs().max() > 0


def judged(step: int = 5, **options):
    """Model, loss object and the loss of one batch with the discriminator in the game."""
    model, loss = tiny.autoencoder(), tiny.autoencoder_loss(**options)
    return model, loss, loss(model, tiny.pictures(6), None, seeded(1), step)


def test_the_discriminator_enters_late() -> None:
    for step, parts in ((1, 3), (2, 4)):
        model, loss, (_total, seen) = judged(step)
        before = [p.clone() for p in loss.discriminator.parameters()]
        assert len(seen) == parts
        loss.after_step(tiny.pictures(6))
        moved = [not torch.equal(a, b) for a, b in zip(before, loss.discriminator.parameters())]  # noqa: B905
        assert any(moved) is (step == 2)


def test_a_generator_step_leaves_the_discriminator_alone() -> None:
    """Law 24: neither its weights nor its gradients, though its verdict reaches the decoder."""
    model, loss, (total, _parts) = judged()
    loss.after_step(tiny.pictures(6))
    weights = [p.clone() for p in loss.discriminator.parameters()]
    gradients = [p.grad.clone() for p in loss.discriminator.parameters()]
    total, _parts = loss(model, tiny.pictures(6), None, seeded(2), 6)
    total.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    for p, weight, gradient in zip(
        loss.discriminator.parameters(), weights, gradients, strict=True
    ):
        assert torch.equal(p, weight) and torch.equal(p.grad, gradient) and p.requires_grad
    assert all(p.grad is not None for p in model.parameters())


def test_a_discriminator_step_leaves_the_autoencoder_alone() -> None:
    model, loss, (total, _parts) = judged()
    total.backward()
    kept = [(p.clone(), p.grad.clone()) for p in model.parameters()]
    loss.after_step(tiny.pictures(6))
    for (weight, gradient), p in zip(kept, model.parameters(), strict=True):
        assert torch.equal(p, weight) and torch.equal(p.grad, gradient)


def test_the_adversarial_term_reaches_the_gradient() -> None:
    gradients = []
    for weight in (0.5, 1.0, 2.0):
        model, _loss, (total, _parts) = judged(adversarial=weight)
        gradients.append(torch.autograd.grad(total, model.decoder.last_weight)[0])
    assert (gradients[1] - gradients[0]).norm() > 0.01 * gradients[0].norm()
    step = gradients[1] - gradients[0]
    torch.testing.assert_close(gradients[2] - gradients[1], 2 * step, atol=1e-2, rtol=1e-2)


def test_the_adaptive_weight_balances_gradients_at_the_last_layer() -> None:
    model, x = tiny.autoencoder(), tiny.pictures(4)
    x_hat, _posterior = model(x, seeded(0))
    wanted, given = ((x_hat - x) ** 2).sum(), 0.01 * x_hat.abs().sum()
    weight = adaptive_weight(wanted, given, model)
    lengths = [torch.autograd.grad(loss, model.decoder.last_weight, retain_graph=True)[0].norm()
               for loss in (wanted, weight * given)]  # fmt: skip
    torch.testing.assert_close(*lengths, rtol=0.01, atol=0)
    assert not weight.requires_grad
    nothing = adaptive_weight(wanted, 0 * x_hat.sum(), model)
    assert nothing.isfinite() and nothing <= 1e4
    assert all(p.grad is None for p in model.parameters())


def test_impossible_losses_are_named() -> None:
    with pytest.raises(ValueError, match="'l1' or 'l2'"):
        tiny.autoencoder_loss(reconstruction="l3")
    with pytest.raises(ValueError, match="needs a feature network"):
        AutoencoderLoss(AutoencoderLossConfig(perceptual=1.0))


def test_the_loss_teaches_the_autoencoder() -> None:
    model, x = tiny.autoencoder(blocks=1, latent_channels=4), tiny.pictures(16)
    loss = AutoencoderLoss(AutoencoderLossConfig(perceptual=0.0, kl=1e-3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    totals = []
    for step in range(60):
        total, _parts = loss(model, x, None, seeded(step), step)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.3 * totals[0]
