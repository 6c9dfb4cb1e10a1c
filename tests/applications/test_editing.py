"""Laws of `ldmlib.applications.editing.edits`, `conditioning`, `repaint`, and of ``ldm edit``."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import tiny
from ldmlib.applications.editing import conditioning
from ldmlib.applications.editing.edits import (
    INVERTIBLE,
    from_noise,
    image_to_image,
    inpaint,
    invert,
    noised,
    round_trip_error,
    slerp,
    super_resolve,
)
from ldmlib.bundled import editing
from ldmlib.bundled.editing import KINDS, beginner
from ldmlib.data import mnist
from ldmlib.diffusion import repaint
from ldmlib.diffusion.process import Diffusion, Prediction
from ldmlib.diffusion.samplers import SAMPLERS, sample
from ldmlib.diffusion.spacing import SPACINGS, cut, spaced_times
from ldmlib.evaluation.evaluator import mnist_evaluator
from ldmlib.evaluation.features import accuracy
from ldmlib.images import from_uint8, resize, save_png, to_uint8
from ldmlib.latent import recipes
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.networks.unet import UNet, UNetConfig
from ldmlib.probability.mixtures import GaussianMixture
from ldmlib.training.config import TrainConfig

CLASSES = ("left", "right", "up")


def tiny_model(seed: int = 0, widths: tuple[int, ...] = (8,), classes=CLASSES, **options):
    """Pictures (1, 8, 8), latents (2, 4, 4), random weights."""
    first = AutoencoderConfig(latent_channels=2, widths=widths)
    net = UNetConfig(first.latent_channels, (8, 16), 1, heads=2, num_classes=len(classes))
    config = LatentDiffusionConfig(first, net, size=8, classes=classes, steps=4, **options)
    model = tiny.randomised(LatentDiffusion(config), seed)
    model.fit_latent_scale(tiny.pictures(50))
    return model.eval()


MODEL = tiny_model()
PIXELS = tiny_model(widths=())
X = tiny.pictures(6, seed=4)
CENTRE = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
CENTRE[..., 2:5, 2:5] = True  # not aligned with the latent's cells of 2 x 2


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def count_questions(model: LatentDiffusion, monkeypatch) -> list[float]:
    """Times at which the network is asked from now on."""
    asked, forward = [], model.denoiser.forward

    def counted(x, t, cond=None):
        asked.append(float(t[0]))
        return forward(x, t, cond)

    monkeypatch.setattr(model.denoiser, "forward", counted)
    return asked


# Image to image


def test_strength_0_asks_no_network_and_1_is_plain_sampling(monkeypatch) -> None:
    """Law 20, both ends."""
    model = tiny_model()
    for sampler in ("ddpm", "heun"):
        found = image_to_image(model, X, 1.0, labels=[0, 1, 2] * 2, seed=3, sampler=sampler)
        assert torch.equal(found, model.sample(6, [0, 1, 2] * 2, seed=3, sampler=sampler))
    close(image_to_image(model, X, 1.0), model.sample(6, labels=-1))
    asked = count_questions(model, monkeypatch)
    assert torch.equal(image_to_image(model, X, 0.0, labels=1), model.decode(model.encode(X)))
    assert asked == []
    assert torch.equal(image_to_image(PIXELS, X, 0.0), X)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_strength_1_is_plain_sampling_on_every_grid(spacing: str) -> None:
    found = image_to_image(MODEL, X, 1.0, labels=0, spacing=spacing)
    assert torch.equal(found, MODEL.sample(6, 0, spacing=spacing))


def test_an_edit_takes_the_end_of_the_grid(monkeypatch) -> None:
    """The first look is at the level that noise was added for, whatever the grid."""
    model = tiny_model()
    asked = count_questions(model, monkeypatch)
    image_to_image(model, X, 0.6, steps=4, sampler="euler")
    assert asked == pytest.approx([0.6, 0.5, 0.25])
    asked.clear()
    image_to_image(model, X, 0.5, steps=4, sampler="euler")
    assert asked == pytest.approx([0.5, 0.25])
    grid = spaced_times("trailing", 4, model.diffusion.curves)
    assert cut(grid, 0).tolist() == [0.0] and torch.equal(cut(grid, 1), grid)


@pytest.mark.parametrize("schedule", ["flow", "cosine"])
def test_the_noise_added_is_that_of_the_first_level(schedule: str) -> None:
    model = tiny_model(diffusion=Diffusion(schedule, "v"))
    z = model.encode(X[:1]).expand(4000, -1, -1, -1)
    noisy = noised(model, z, 0.6, torch.Generator().manual_seed(0))
    alpha, sigma = model.diffusion.curves.alpha_sigma(0.6)
    torch.testing.assert_close(noisy.mean(0), alpha * z[0], atol=0.06, rtol=0)
    torch.testing.assert_close(noisy.std(0), sigma.expand_as(z[0]), atol=0.04, rtol=0)


def test_the_more_strength_the_less_is_kept() -> None:
    model = tiny.randomised(tiny_model(), seed=1, scale=0.05)  # gentle: it does not blow up noise
    model.fit_latent_scale(tiny.pictures(50))
    z = model.encode(X)
    kept = []
    for strength in (0.0, 0.2, 0.5, 0.8, 1.0):
        noisy = noised(model, z, strength, torch.Generator().manual_seed(0))
        edited = image_to_image(model, X, strength)
        assert edited.isfinite().all()
        kept.append(float(torch.corrcoef(torch.stack([noisy.flatten(), z.flatten()]))[0, 1]))
    assert kept == sorted(kept, reverse=True) and kept[0] == pytest.approx(1) and kept[-1] < 0.3


# Same seed, same result


EDITS = {
    "image_to_image": lambda x, **o: image_to_image(MODEL, x, 0.7, sampler="ddpm", **o),
    "inpaint": lambda x, **o: inpaint(MODEL, x, CENTRE, repeats=2, **{"steps": 4, **o}),
    "part of a hole": lambda x, **o: inpaint(MODEL, x, CENTRE, 0.6, **{"steps": 4, **o}),
    "super_resolve": lambda x, **o: super_resolve(ENLARGES, resize(x, 4), **o),
    "fill": lambda x, **o: inpaint(FILLS, x, CENTRE, **o),
    "invert": lambda x, **o: invert(MODEL, x, **{"steps": 3, **o}),
}
ENLARGES = tiny.randomised(conditioning.conditioned(MODEL, enlarges=4), seed=2).eval()
FILLS = tiny.randomised(conditioning.conditioned(MODEL, fills_holes=True), seed=3).eval()
each_edit = pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())


@each_edit
@pytest.mark.parametrize("guidance", [None, 2.0])
def test_picture_i_does_not_depend_on_its_neighbours(edit, guidance) -> None:
    """Law 18: neither on the batch, nor on where a run was cut."""
    how = {"labels": [0, 1, 2, 0, 1, 2], "seed": 5, "guidance": guidance}
    whole = edit(X, **how)
    assert torch.equal(edit(X, **how), whole)
    close(edit(X, **how, batch_size=4), whole)
    close(edit(X[4:], **{**how, "labels": [1, 2]}, start=4), whole[4:])
    close(edit(X[:1], **{**how, "labels": 0}), whole[:1])


@each_edit
def test_what_comes_out_is_what_was_promised(edit) -> None:
    MODEL.train()
    state = torch.get_rng_state()
    y = edit(X)
    assert torch.equal(torch.get_rng_state(), state) and MODEL.training
    MODEL.eval()
    assert y.dtype == torch.float32 and not y.requires_grad and y.isfinite().all()
    if edit is not EDITS["invert"]:
        assert y.shape == X.shape and y.abs().max() <= 1
        assert (edit(X, seed=9) - y).abs().max() > 1e-3
    else:
        assert y.shape == (6, *MODEL.latent_shape) and torch.equal(edit(X, seed=9), y)
    assert (edit(X, labels=1) - y).abs().max() > 1e-4  # it listens


# Inpainting


@pytest.mark.parametrize("model", [MODEL, PIXELS, FILLS], ids=["latents", "pixels", "trained"])
def test_known_pixels_are_bit_equal_and_hidden_ones_leave_no_trace(model) -> None:
    """Law 19; and a picture is not restored from what it is to be restored from."""
    masks = tiny.noise(6, 1, 8, 8) > 0.8
    y = inpaint(model, X, masks, steps=3)
    assert torch.equal(torch.where(masks, 0, y), torch.where(masks, 0, X))
    assert (y - X).abs()[masks].min() > 0
    spoilt = torch.where(masks, tiny.pictures(6, seed=77), X)
    assert torch.equal(inpaint(model, spoilt, masks, steps=3), y)
    changed = inpaint(model, spoilt, masks, 0.3, steps=3)
    if model is not FILLS:  # below strength 1 it is remembered
        assert (changed - inpaint(model, X, masks, 0.3, steps=3)).abs().max() > 1e-3


def test_an_empty_mask_keeps_all_and_a_full_one_draws_all() -> None:
    none, every = torch.zeros_like(CENTRE), torch.ones_like(CENTRE)
    assert torch.equal(inpaint(MODEL, X, none, steps=2), X)
    how = {"labels": 1, "sampler": "euler", "steps": 4}
    drawn = inpaint(MODEL, X, every, repeats=1, **how)
    close(drawn[:1], MODEL.sample(1, 1, 4, sampler="euler"))


def test_masks_shrink_so_that_no_hidden_pixel_counts_as_known() -> None:
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[0, 0, 3, 3] = mask[1, 0, 4, 7] = True
    small = conditioning.latent_mask(mask, 2)
    assert small.nonzero().tolist() == [[0, 0, 1, 1], [1, 0, 2, 3]]
    assert torch.equal(conditioning.latent_mask(mask, 1), mask)


def test_holes_are_patched_from_their_edge() -> None:
    ramp = torch.linspace(-1, 1, 9).expand(1, 2, 9, 9).contiguous()
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[..., 3:6, 3:6] = True
    spoilt = torch.where(mask, float("nan"), ramp)
    found = conditioning.patched(spoilt, mask)
    assert torch.equal(found[~mask.expand_as(found)], ramp[~mask.expand_as(found)])
    assert (found - ramp).abs().max() < 0.26  # no further off than the nearest known column
    assert torch.equal(conditioning.patched(spoilt, torch.ones_like(mask)), torch.zeros(1, 2, 9, 9))


def test_random_masks_are_boxes_of_many_sizes() -> None:
    masks = conditioning.random_masks(2000, 16, torch.Generator().manual_seed(0))
    shares = masks.float().mean((1, 2, 3))
    assert masks.shape == (2000, 1, 16, 16) and masks.dtype == torch.bool
    assert float((shares == 1).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert shares.min() > 0 and 0.2 < shares.median() < 0.5
    hidden = masks.float().mean((0, 1))
    assert hidden.min() > 0.15  # the corners, too
    torch.testing.assert_close(hidden, hidden.flip(0, 1), atol=0.06, rtol=0)
    tiny_masks = conditioning.random_masks(500, 4, torch.Generator().manual_seed(0))
    assert tiny_masks.flatten(1).any(1).all()


def test_the_middle_is_half_as_high_and_wide() -> None:
    mask = conditioning.centre_mask(8)
    assert mask.sum() == 16 and bool(mask[..., 2:6, 2:6].all())
    conditioning.check_mask(mask, 5, 8)


def test_places_of_repaint() -> None:
    assert repaint.places(4, 1, 2) == [0, 1, 2, 1, 2, 3, 2, 3, 4]
    assert repaint.places(3, 1, 1) == repaint.places(3, 5, 9) == [0, 1, 2, 3]
    assert repaint.places(0, 1, 3) == [0]
    for steps, jump, repeats in ((10, 2, 3), (7, 3, 4), (20, 1, 5)):
        order = repaint.places(steps, jump, repeats)
        assert order[0] == 0 and order[-1] == steps and order.count(steps) == order.count(0) == 1
        moves = [b - a for a, b in pairwise(order)]
        assert set(moves) == {1, -jump}
        assert moves.count(-jump) == (repeats - 1) * len(range(jump + 1, steps, jump))


@pytest.mark.parametrize("schedule", ["flow", "cosine", "linear"])
def test_going_back_up_adds_the_noise_in_between(schedule: str) -> None:
    """x_s made noisier has the law of x_t, as if noised in one jump."""
    diffusion = Diffusion(schedule, "v")
    s, t = torch.tensor([0.3, 0.7], dtype=torch.float64)
    x0, g = torch.full((20_000, 1, 1, 1), 1.5), torch.Generator().manual_seed(0)
    x_s = diffusion.add_noise(x0, torch.randn(x0.shape, generator=g), s)
    x_t = repaint.noisier(x_s, s, t, diffusion.curves, g)
    alpha, sigma = map(float, diffusion.curves.alpha_sigma(t))
    assert float(x_t.mean()) == pytest.approx(1.5 * alpha, abs=0.03)
    assert float(x_t.std()) == pytest.approx(sigma, abs=0.02)


def gaussian_pair(rho: float, schedule):
    """The ideal denoiser of two pixels, each N(0, 1), with that correlation; x is (n, 1, 1, 2)."""
    covariance = torch.tensor([[1, rho], [rho, 1]])

    def predict(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = map(float, schedule.alpha_sigma(t))
        gain = (
            alpha * covariance @ torch.linalg.inv(alpha**2 * covariance + sigma**2 * torch.eye(2))
        )
        x0 = x @ gain.T
        return Prediction(x0, (x - alpha * x0) / sigma)

    return predict


def led_pair(schedule_name: str, repeats: int, value: float = 1.0, n: int = 4000, steps=20):
    """What RePaint draws beside a pixel of that value, (n,)."""
    diffusion = Diffusion(schedule_name, "v")
    times, g = spaced_times("trailing", steps, diffusion.curves), torch.Generator().manual_seed(0)
    known = torch.tensor([value, 0.0]).expand(n, 1, 1, 2)
    free = torch.tensor([False, True]).view(1, 1, 1, 2)
    order = repaint.places(steps, 1, repeats)
    predict = gaussian_pair(0.9, diffusion.curves)
    start = torch.randn(n, 1, 1, 2, generator=g)
    x = repaint.led(predict, start, known, free, times, order, diffusion, g)
    assert torch.equal(x[..., 0], known[..., 0])  # the last level has no noise
    return x[..., 1].flatten()


@pytest.mark.parametrize("schedule", ["flow", "cosine"])
def test_repeats_bring_repaint_nearer_to_the_truth(schedule: str) -> None:
    """b given a = 1 is N(.9, .19) for two pixels with correlation .9."""
    errors = [abs(float(led_pair(schedule, r).mean()) - 0.9) for r in (1, 4, 12)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.1
    assert float(led_pair(schedule, 12).std()) == pytest.approx(0.19**0.5, abs=0.1)


def test_the_known_part_has_the_noise_of_the_time_it_is_looked_at() -> None:
    """Law 19: level after the step. A predictor that watches what it is given."""
    diffusion, seen = Diffusion(), {}
    exact = gaussian_pair(0.9, diffusion.curves)

    def predict(x: Tensor, t: Tensor) -> Prediction:
        if float(t) < 1:
            seen[round(float(t), 3)] = (float(x[..., 0].mean()), float(x[..., 0].std()))
        return exact(x, t)

    times = spaced_times("trailing", 5, diffusion.curves)
    known, free = torch.full((4000, 1, 1, 2), 2.0), torch.tensor([False, True]).view(1, 1, 1, 2)
    g = torch.Generator().manual_seed(0)
    start, order = torch.randn(4000, 1, 1, 2, generator=g), repaint.places(5, 1, 3)
    repaint.led(predict, start, known, free, times, order, diffusion, g)
    assert sorted(seen) == [0.2, 0.4, 0.6, 0.8]
    for t, (mean, std) in seen.items():
        assert mean == pytest.approx(2 * (1 - t), abs=0.06) and std == pytest.approx(t, abs=0.04)


# What a drawn detail costs


@pytest.mark.parametrize("k", [1, 2, 8])
def test_a_sample_costs_twice_the_square_error_of_the_mean(k: int) -> None:
    """Of a mixture seen through noise; the mean of k samples costs 1 + 1/k (arXiv 1711.06077)."""
    n, noise, std, means = 200_000, 0.6, 0.3, torch.tensor([-1.0, 0.5, 1.0], dtype=torch.float64)
    mixture, g = GaussianMixture.isotropic(means[:, None], std), torch.Generator().manual_seed(0)
    x = mixture.sample(n, g)
    y = x + noise * torch.randn(x.shape, generator=g, dtype=x.dtype)
    shares = mixture.noised(1.0, noise).responsibilities(y)
    which = torch.multinomial(shares, k, replacement=True, generator=g)
    pull, width = std**2 / (std**2 + noise**2), std * noise / (std**2 + noise**2) ** 0.5
    drawn = means[which] + pull * (y - means[which])
    drawn = drawn + width * torch.randn(drawn.shape, generator=g, dtype=x.dtype)
    least = (x - mixture.denoise(y, 1.0, noise)).square().mean()
    cost = (x[:, 0] - drawn.mean(1)).square().mean()
    assert float(cost / least) == pytest.approx(1 + 1 / k, rel=0.02)


# There and back


@pytest.mark.parametrize("sampler", INVERTIBLE)
def test_the_round_trip_error_falls_with_the_steps(sampler: str) -> None:
    how = {"labels": 1, "sampler": sampler}
    few, some, many = (
        float(round_trip_error(MODEL, X, steps=n, **how).mean()) for n in (3, 12, 48)
    )
    assert few > 2 * some > 2 * many > 0
    noise = invert(MODEL, X, steps=12, **how)
    back = from_noise(MODEL, noise, steps=12, **how)
    assert (back - MODEL.decode(MODEL.encode(X))).abs().mean() < 0.1
    assert round_trip_error(MODEL, X, steps=2, **how).shape == (6,)


def test_inversion_undoes_ideal_drawing() -> None:
    """Gaussian data with the exact denoiser: back at the noise that the data were drawn from."""
    schedule = Diffusion("cosine", "v").curves
    predict, noise = gaussian_pair(0.9, schedule), tiny.noise(200, 1, 1, 2)
    gaps = []
    for steps in (25, 50, 100):
        times = spaced_times("trailing", steps, schedule)
        x = sample(predict, noise, times, schedule, sampler="euler")
        # asked at t = 0 the predictor above divides by sigma = 0: begin a little later
        up = times.flip(0).clamp(min=1e-4)
        back = sample(predict, x, up, schedule, sampler="euler")
        gaps.append(float((back - noise).abs().mean()))
    assert gaps[0] > 1.7 * gaps[1] > 1.7**2 * gaps[2] and gaps[2] < 0.05


def test_noise_of_a_sample_leads_to_the_sample() -> None:
    noise = tiny.noise(3, *MODEL.latent_shape)
    drawn = from_noise(MODEL, noise, labels=2, steps=8, sampler="ddim")
    close(from_noise(MODEL, noise, labels=2, steps=8), drawn)  # euler takes ddim's steps
    with pytest.raises(ValueError, match=r"latents must be \(n, 2, h, w\)"):
        from_noise(MODEL, noise[:, :1])


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - set(INVERTIBLE)))
def test_not_every_sampler_can_go_back(sampler: str) -> None:
    with pytest.raises(ValueError, match=f"{sampler}.*euler and heun can"):
        invert(MODEL, X, sampler=sampler)


# The sphere


def test_slerp_reaches_its_ends_and_keeps_length() -> None:
    a, b = tiny.noise(5, 2, 4, 4), tiny.noise(5, 2, 4, 4, seed=1)
    b *= (a.flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).view(-1, 1, 1, 1)
    assert torch.equal(slerp(a, b, 0.0), a) and torch.equal(slerp(a, b, 1.0), b)
    length = a.flatten(1).norm(dim=1)
    for share in (0.2, 0.5, torch.linspace(0, 1, 5)):
        torch.testing.assert_close(slerp(a, b, share).flatten(1).norm(dim=1), length)
    straight = (a + b) / 2
    assert (straight.flatten(1).norm(dim=1) < 0.85 * length).all()
    torch.testing.assert_close(slerp(a, a, 0.3), a)
    each = slerp(a, b, torch.linspace(0, 1, 5))
    torch.testing.assert_close(each[1], slerp(a, b, 0.25)[1])


def test_slerp_moves_at_even_speed() -> None:
    """A quarter turn in the plane, in degrees."""
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    for share, degrees in ((0.25, 22.5), (0.5, 45.0), (1 / 3, 30.0)):
        [[x, y]] = slerp(a, b, share).tolist()
        assert np.degrees(np.arctan2(y, x)) == pytest.approx(degrees, abs=1e-4)


def test_slerp_names_what_has_no_shortest_way() -> None:
    a = tiny.noise(3, 8)
    for b in (-a, -2 * a):
        with pytest.raises(ValueError, match="opposite directions"):
            slerp(a, b, 0.5)
    with pytest.raises(ValueError, match="length 0"):
        slerp(a, torch.zeros_like(a), 0.5)
    with pytest.raises(ValueError, match="one shape"):
        slerp(a, a[:2], 0.5)
    with pytest.raises(ValueError, match=r"share is 0 \(a\) to 1 \(b\), not 1.5"):
        slerp(a, a, 1.5)


# Shown something beside the noise


@pytest.mark.parametrize("base", [MODEL, PIXELS], ids=["latents", "pixels"])
def test_a_new_conditioned_model_draws_what_its_base_draws(base) -> None:
    """Weights of the new channels are 0: nothing of the base is lost."""
    labels = [0, 1, 2] * 2
    expected = base.sample(6, labels, seed=2, guidance=1.5)
    small = super_resolve(
        conditioning.conditioned(base, enlarges=4),
        resize(X, 4),
        labels=labels,
        seed=2,
        guidance=1.5,
    )
    torch.testing.assert_close(small, expected, atol=1e-5, rtol=0)
    filled = inpaint(
        conditioning.conditioned(base, fills_holes=True), X, torch.ones_like(CENTRE),
        labels=labels, seed=2, guidance=1.5,
    )  # fmt: skip
    torch.testing.assert_close(filled, expected, atol=1e-5, rtol=0)


def test_training_and_use_share_one_resize() -> None:
    """Law 21: what a small picture is shown as does not depend on who made it small."""
    pairs = conditioning.training_pairs(ENLARGES, X)
    assert torch.equal(pairs[:, :2], ENLARGES.encode(X))
    assert torch.equal(pairs[:, 2:], conditioning.shown_small(ENLARGES, resize(X, 4)))
    holes = conditioning.training_pairs(FILLS, X, seed=1)
    assert holes.shape == (6, 5, 4, 4) and set(holes[:, 4].unique().tolist()) <= {0.0, 1.0}
    assert not torch.equal(conditioning.training_pairs(FILLS, X, seed=2)[:, 4], holes[:, 4])


def trained(kind: dict, x: Tensor, steps: int = 80) -> tuple[LatentDiffusion, list[float]]:
    base = tiny_model(widths=(), classes=())
    torch.manual_seed(0)
    base.denoiser = UNet(base.config.unet)
    model = conditioning.conditioned(base, **kind)
    config = TrainConfig(steps=steps, batch_size=32, lr=3e-3, ema=0.9, log_every=20, seed=0)
    copies = 4 if "fills_holes" in kind else 1
    state = conditioning.train_conditioned(model, x, None, config, copies=copies, progress=False)
    return model, [entry["loss"] for entry in state.history]


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())


def test_a_model_learns_to_enlarge() -> None:
    """Smooth pictures: the small one says nearly all, and must be fitted, not another one."""
    x, new = tiny.pictures(400), tiny.pictures(60, seed=9)
    model, losses = trained({"enlarges": 4}, x)
    assert losses[-1] < 0.5 * losses[0]
    y = super_resolve(model, resize(new, 4), steps=8)
    assert error(y, new) < 0.4 * error(y.roll(1, 0), new)
    assert error(resize(y, 4), resize(new, 4)) < 0.4 * error(
        resize(y.roll(1, 0), 4), resize(new, 4)
    )


def test_a_model_learns_to_fill_holes() -> None:
    x, new = tiny.pictures(400), tiny.pictures(60, seed=9)
    model, losses = trained({"fills_holes": True}, x)
    assert losses[-1] < losses[0]
    y = inpaint(model, new, CENTRE, steps=8)
    hole = CENTRE.expand_as(new)
    assert error(y[hole], new[hole]) < 0.5 * error(y.roll(1, 0)[hole], new[hole])
    assert torch.equal(y[~hole], new[~hole])


def test_a_conditioned_model_is_saved_and_loaded(tmp_path: Path) -> None:
    for name, model in (("small", ENLARGES), ("holes", FILLS)):
        model.save_pretrained(tmp_path / name)
        loaded = LatentDiffusion.from_pretrained(tmp_path / name)
        assert loaded.config == model.config
        assert tiny.differences(loaded.state_dict(), model.state_dict()) == []
    MODEL.save_pretrained(tmp_path / "plain")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    del config["enlarges"], config["fills_holes"], config["unet"]["out_channels"]
    (tmp_path / "plain" / "config.json").write_text(json.dumps(config))  # as older files are
    assert LatentDiffusion.from_pretrained(tmp_path / "plain").config == MODEL.config


def test_a_unet_may_take_more_than_it_gives() -> None:
    net = tiny.unet(in_channels=3, out_channels=1)
    assert net(tiny.noise(2, 3, 8, 8), torch.rand(2)).shape == (2, 1, 8, 8)
    assert net.config.beside == 2 and tiny.unet().config.beside == 0
    assert set(net.state_dict()) == set(tiny.unet().state_dict())
    with pytest.raises(ValueError, match=r"\(n, 3, H, W\).*2 of these beside x_t"):
        net(tiny.noise(2, 1, 8, 8), torch.rand(2))
    with pytest.raises(ValueError, match="4 channels go out, but 3 come in"):
        UNetConfig(in_channels=3, out_channels=4)


# Mistakes


FREE = tiny_model(classes=())
SMALL = resize(X, 4)


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda: image_to_image(MODEL, X, 1.5), ValueError, r"0 \(keep all\).*not 1.5"),
        (lambda: image_to_image(MODEL, X, -0.1), ValueError, "strength.*not -0.1"),
        (lambda: image_to_image(MODEL, X, float("nan")), ValueError, "strength.*not nan"),
        (lambda: image_to_image(MODEL, X, steps=0), ValueError, "at least 1 step, not 0"),
        (lambda: inpaint(MODEL, X, CENTRE, steps=0), ValueError, "at least 1 step, not 0"),
        (lambda: invert(MODEL, X, steps=0), ValueError, "at least 1 step, not 0"),
        (lambda: image_to_image(FREE, X, guidance=2.0), ValueError, "needs labels"),
        (lambda: image_to_image(FREE, X, labels=1), ValueError, "trained without labels"),
        (lambda: image_to_image(MODEL, X, prompt="a"), ValueError, "reads no prompts"),
        (lambda: image_to_image(MODEL, X, labels=[1]), ValueError, r"\(6,\)"),
        (lambda: image_to_image(MODEL, X[:, :, :4, :4]), ValueError, "images.resize"),
        (lambda: image_to_image(MODEL, to_uint8(X)), TypeError, "images.from_uint8"),
        (lambda: image_to_image(MODEL, X, step=3), TypeError, "step"),
        (lambda: inpaint(MODEL, X, CENTRE.float()), TypeError, "mask > 0.5"),
        (lambda: inpaint(MODEL, X, CENTRE[..., :4]), ValueError, r"\(1, 1, 8, 8\).*got"),
        (lambda: inpaint(MODEL, X, CENTRE.repeat(2, 1, 1, 1)), ValueError, r"\(6, 1, 8, 8"),
        (lambda: inpaint(MODEL, X, CENTRE[0]), ValueError, "mask: expected shape"),
        (lambda: inpaint(MODEL, X, CENTRE, repeats=0), ValueError, "1 or more"),
        (lambda: inpaint(ENLARGES, X, CENTRE), ValueError, "super_resolve"),
        (lambda: image_to_image(FILLS, X), ValueError, "fills holes.*inpaint"),
        (lambda: super_resolve(MODEL, SMALL), ValueError, "conditioning.conditioned"),
        (lambda: super_resolve(ENLARGES, X), ValueError, "resize.x, 4."),
        (lambda: conditioning.conditioned(MODEL), ValueError, "choose one"),
        (lambda: conditioning.conditioned(MODEL, 4, True), ValueError, "choose one"),
        (lambda: conditioning.conditioned(MODEL, 8), ValueError, "1 to 7, not 8"),
        (lambda: conditioning.conditioned(FILLS, 4), ValueError, "begin with a plain one"),
        (lambda: conditioning.training_pairs(MODEL, X), ValueError, "shown nothing"),
    ],
)  # fmt: skip
def test_mistakes_are_named(edit, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        edit()


# The command


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, Path]:
    """Folders of three models, a picture as large as they draw, and a mask for it."""
    for name, model in (("plain", MODEL), ("small", ENLARGES), ("holes", FILLS), ("free", FREE)):
        model.save_pretrained(tmp_path / name)
    save_png(X[:1], tmp_path / "x.png")
    Image.fromarray(CENTRE[0, 0].numpy().astype(np.uint8) * 255).save(tmp_path / "mask.png")
    grey = np.full((8, 8), 128, np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey[:5]).save(tmp_path / "low.png")
    (tmp_path / "text.png").write_text("not a picture")
    np.savez(tmp_path / "x.npz", images=to_uint8(X)[:, 0].numpy())
    return {path.name: path for path in tmp_path.iterdir()} | {"out": tmp_path / "out.png"}


def test_ldm_edit_redraws(ldm, saved) -> None:
    code, said = ldm("edit", saved["plain"], saved["x.png"], "--out", saved["out"], "--labels", 1)
    assert code == 0 and said.splitlines()[0].startswith(f"Loaded {saved['plain']}: grey pictures")
    assert said.splitlines()[1:] == [f"1 picture in {saved['out']}"]
    u = np.array(Image.open(saved["out"]))
    x = from_uint8(torch.from_numpy(np.array(Image.open(saved["x.png"])))[None, None])
    assert np.array_equal(u, to_uint8(image_to_image(MODEL, x, 0.6, labels=1))[0, 0])
    out = saved["out"].with_suffix(".npz")
    code, said = ldm(
        "edit", saved["plain"], saved["x.npz"], "--out", out, "--strength", 0, "--labels", "0,1"
    )
    assert code == 0 and "6 pictures" in said and np.load(out)["images"].shape == (6, 8, 8, 1)


@pytest.mark.parametrize("model", ["plain", "holes"])
def test_ldm_edit_keeps_what_is_black_in_the_mask(ldm, saved, model: str) -> None:
    words = ("edit", saved[model], saved["x.png"], "--mask", saved["mask.png"])
    code, _ = ldm(*words, "--out", saved["out"], "--steps", 3)
    old, new = (np.array(Image.open(saved[name])) for name in ("x.png", "out"))
    hole = CENTRE[0, 0].numpy()
    assert code == 0 and np.array_equal(new[~hole], old[~hole]) and (new != old)[hole].any()


def test_ldm_edit_enlarges(ldm, saved, tmp_path: Path) -> None:
    save_png(SMALL[:1], tmp_path / "s.png")
    code, said = ldm("edit", saved["small"], tmp_path / "s.png", "--out", saved["out"])
    assert code == 0 and Image.open(saved["out"]).size == (8, 8) and "resized" not in said


def test_ldm_edit_says_what_it_changes_first(ldm, saved, tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "c.png")
    hole = np.zeros((20, 30), np.uint8)
    hole[9, 14] = 255  # one pixel, in the middle
    Image.fromarray(hole).save(tmp_path / "m.png")
    words = ("edit", saved["plain"], tmp_path / "c.png", "--out", saved["out"], "--strength", 0)
    code, said = ldm(*words, "--mask", tmp_path / "m.png")
    assert code == 0
    assert "c.png is 30 x 20 pixels: cropped to the central square and resized to 8 x 8." in said
    assert "c.png is in colour, the model draws in grey" in said
    mask = saved["plain"].parent / "m.png"
    from ldmlib.applications.editing.mask_files import fit_mask, read_mask

    assert fit_mask(read_mask(mask), torch.zeros(1, 3, 20, 30), 8).sum() in (
        1,
        2,
        4,
    )  # it did not get lost


def test_ldm_edit_overwrites_nothing_that_it_reads(ldm, saved, tmp_path: Path) -> None:
    for name in ("own.png", "mask.png"):
        Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / name)
    before = (tmp_path / "own.png").read_bytes()
    words = ("edit", saved["plain"], tmp_path / "own.png", "--mask", tmp_path / "mask.png", "--out")
    for name in ("own.png", "mask.png"):
        code, _ = ldm(*words, tmp_path / name)
        assert str(code).startswith("ldm: ") and f"would overwrite {tmp_path / name}" in code
    assert (tmp_path / "own.png").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("plain", "x.png", "--strength", 1.5), "strength is 0 (keep all) to 1 (draw all anew)"),
        (("plain", "x.png", "--steps", 0), "at least 1 step"),
        (("plain", "x.png", "--labels", 7), "no class '7' among 3 classes: 0 left"),
        (("plain", "x.png", "--labels", "rihgt"), "did you mean 'right'?"),
        (("plain", "x.png", "--prompt", "red"), "reads no prompts"),
        (("plain", "x.png", "--style", "noto"), "--style needs words"),
        (("plain", "x.png", "--prompt", "a", "--style", "oil"), "unknown style 'oil'; known are"),
        (("plain", "x.png", "--prompt", "a", "--labels", 1), "give one of them"),
        (("free", "x.png", "--guidance", 2), "guidance 2.0 needs labels"),
        (("plain", "none.png"), "none.png, found no such file"),
        (("plain", "text.png"), "no picture that can be read"),
        (("plain", "x.png", "--mask", "low.png"), "8 x 8 pixels, not 8 x 5"),
        (("plain", "x.png", "--mask", "grey.png"), "100% of this picture is neither"),
        (("plain", "x.png", "--mask", "x.npz"), "not 6 masks of 8 x 8"),
        (("plain", "x.png", "--mask", "text.png"), "no picture that can be read"),
        (("holes", "x.png"), "say where with --mask"),
        (("small", "x.png", "--mask", "mask.png"), "neither --mask nor --strength"),
        (("nothing", "x.png"), "neither a bundled model"),
    ],
)  # fmt: skip
def test_ldm_edit_names_mistakes(ldm, saved, words, expected: str) -> None:
    there = saved["x.png"].parent
    files = [there / w if str(w).endswith((".png", ".npz")) else w for w in words[1:]]
    code, _ = ldm("edit", there / words[0], *files, "--out", saved["out"])
    assert str(code).startswith("ldm: ") and expected in str(code) and not saved["out"].exists()
    code, _ = ldm("edit", saved["plain"], saved["x.png"], "--out", there / "out.jpg")
    assert "must end in .png or .npz" in code


def test_a_prompt_that_is_too_long_is_named() -> None:
    from ldmlib.networks.tokenizer import Tokenizer

    tokenizer = Tokenizer.learn(["red apple", ", noto style"] * 5, merges=20, length=6)
    first = AutoencoderConfig(widths=())
    net = UNetConfig(
        1, (8, 16), 1, heads=2, vocabulary=len(tokenizer), text_length=6, text_width=32
    )
    config = LatentDiffusionConfig(first, net, size=8, tokenizer=tokenizer, styles=("noto",))
    model = tiny.randomised(LatentDiffusion(config)).eval()
    words = image_to_image(model, X, 1.0, prompt="red apple", steps=2)
    assert torch.equal(words, model.sample(6, prompt="red apple", steps=2))
    for prompt, message in (
        ("red apple " * 9, "long|most|tokens"),
        ("a, oil style", "style 'oil'"),
    ):
        with pytest.raises(ValueError, match=message):
            image_to_image(model, X, prompt=prompt)


# The bundled models that are shown something


@pytest.mark.parametrize("name", KINDS)
def test_a_beginner_has_the_bundled_first_stage(name: str) -> None:
    recipe = recipes.mnist_shown()
    model, bundled = beginner(name, recipe), LatentDiffusion.from_pretrained("mnist")
    assert tiny.differences(model.autoencoder.state_dict(), bundled.autoencoder.state_dict()) == []
    x = torch.ones(1, 1, 32, 32)
    assert torch.equal(model.encode(x), bundled.encode(x))
    assert not model.config.classes and model.config.guidance == 1
    z = tiny.noise(2, model.config.unet.in_channels, 8, 8)
    assert float(model.denoiser(z, torch.rand(2)).detach().abs().max()) == 0  # nothing learned


@pytest.mark.parametrize("name", KINDS)
def test_the_bundled_models_mend_digits(name: str) -> None:
    """Better than the model-free way, and a seed is a choice among many answers."""
    model = LatentDiffusion.from_pretrained(name)
    x, labels = (part[:200] for part in mnist("test").as_tensors())
    mask, network = conditioning.centre_mask(32), bundled_classifier()
    plain = resize(resize(x, 8), 32) if model.config.enlarges else conditioning.patched(x, mask)
    mended = editing.edited(model, x)
    assert accuracy(network, mended, labels) > accuracy(network, plain, labels) + 0.05
    assert mnist_evaluator().fid(mended) < mnist_evaluator().fid(plain) / 2
    facts = model.config.facts
    assert facts["recipe"] == "ldmlib.latent.recipes.mnist_shown" and facts["scores"]["n"] == 2000


# Masks and labels of files, as `ldm edit` reads them
def small_model(tmp_path) -> Path:
    first = AutoencoderConfig(latent_channels=2, widths=(8,))
    unet = UNetConfig(2, (8, 16), 1, heads=2, num_classes=2)
    config = LatentDiffusionConfig(first, unet, size=8, classes=("cat", "dog"), steps=2)
    tiny.randomised(LatentDiffusion(config)).save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def grey_file(path: Path, values) -> Path:
    Image.fromarray(np.asarray(values, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.eye(8), "values 0 and 1: 1 is taken for white"),
        (np.full((8, 8), 255), "white everywhere: the whole picture is drawn anew"),
    ],
)
def test_masks_of_other_kinds_are_read_and_said(ldm, tmp_path, mask, said) -> None:
    model, picture = small_model(tmp_path), grey_file(tmp_path / "p.png", np.full((8, 8), 200))
    mask = grey_file(tmp_path / "mask.png", mask)
    out = tmp_path / "a.npz"
    code, printed = ldm("edit", model, picture, "--mask", mask, "--out", out)
    assert code == 0 and said in printed and "Loaded" in printed
    assert not (np.load(out)["images"] == 200).all()


@pytest.mark.parametrize("brightest", [0, 40])
def test_a_mask_with_nothing_white_is_refused(ldm, tmp_path, brightest) -> None:
    model, picture = small_model(tmp_path), grey_file(tmp_path / "p.png", np.full((8, 8), 200))
    mask = grey_file(tmp_path / "mask.png", np.eye(8) * brightest)
    code, _ = ldm("edit", model, picture, "--mask", mask, "--out", tmp_path / "a.png")
    assert f"brightest value is {brightest} of 255" in code and "nothing would be drawn" in code
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(("asked", "labels"), [((), [1, 0]), (("--labels", "dog"), [1, 1])])
def test_labels_of_pictures_are_kept_or_replaced(ldm, tmp_path, asked, labels) -> None:
    images = np.full((2, 8, 8), 200, np.uint8)
    np.savez(tmp_path / "p.npz", images=images, labels=[1, 0])
    out = tmp_path / "a.NPZ"
    code, _ = ldm("edit", small_model(tmp_path), tmp_path / "p.npz", "--out", out, *asked)
    assert code == 0 and np.load(out)["labels"].tolist() == labels


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((".", "--out", "a.png"), "is a folder: name one picture in it"),
        (("nothing.png", "--out", "a.png"), "found no such file"),
        (("p.png", "--out", "a.png", "--strength", "nan"), "--strength is 0"),
        (("p.png", "--out", "a.png", "--strength", "2"), "--strength is 0"),
        (("p.png", "--out", "a.png", "--steps", "0"), "at least 1 step"),
        (("p.png", "--out", "a.jpg"), "must end in .png or .npz"),
    ],
)
def test_what_cannot_be_edited_is_said_before_a_model_is_loaded(
    ldm, tmp_path, monkeypatch, words, said
) -> None:
    monkeypatch.chdir(tmp_path)
    grey_file(tmp_path / "p.png", np.full((8, 8), 200))
    monkeypatch.setattr(LatentDiffusion, "from_pretrained", None)
    code, _ = ldm("edit", "mnist", *words)
    assert str(code).startswith("ldm: ") and said in code and not (tmp_path / "a.png").exists()
