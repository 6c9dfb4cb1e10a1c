"""Pictures of a size that the networks cannot halve: every part of the library pads and crops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import tiny
from ldmlib.applications.editing.conditioning import conditioned, train_conditioned
from ldmlib.applications.editing.edits import (
    from_noise,
    image_to_image,
    inpaint,
    invert,
    super_resolve,
)
from ldmlib.export.diffusers_folder import from_diffusers, to_diffusers
from ldmlib.export.onnx import DecoderGraph, EncoderGraph, facts, graphs
from ldmlib.gan.train import build, latent_recipe
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.distillation import distil, teacher_pairs
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.unet import UNetConfig
from ldmlib.training.config import TrainConfig
from ldmlib.widgets.film import film_frames

SIZE, CANVAS = 10, 16
X = tiny.pictures(3, size=SIZE)
SHORT = TrainConfig(steps=1, batch_size=2, precision="float32")


def model(portable: int = 0, widths: tuple[int, ...] = (8,), **options) -> LatentDiffusion:
    """Pictures (1, 10, 10) on a canvas of 16 x 16: latents (2, 8, 8), or pixels."""
    first = AutoencoderConfig(latent_channels=2, widths=widths, portable=portable)
    net = UNetConfig(first.latent_channels, (8, 16), 1, heads=2, num_classes=2, portable=portable)
    config = LatentDiffusionConfig(first, net, size=SIZE, canvas=CANVAS, classes=("a", "b"),
                                   steps=2, **options)  # fmt: skip
    return tiny.randomised(LatentDiffusion(config)).eval()


MODEL = model()


@pytest.mark.parametrize("widths", [(8,), ()])
def test_edits_keep_the_size(widths: tuple[int, ...]) -> None:
    ldm = model(widths=widths)
    for strength in (0.0, 0.5, 1.0):
        assert image_to_image(ldm, X, strength, labels=0).shape == X.shape
    assert from_noise(ldm, invert(ldm, X, labels=0, steps=2), labels=0, steps=2).shape == X.shape
    anew = image_to_image(ldm, X, 1.0, labels=0, seed=3)
    torch.testing.assert_close(anew, ldm.sample(3, 0, seed=3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("corner", [0, 4, SIZE - 1])
def test_a_hole_is_drawn_where_the_mask_is(corner: int) -> None:
    mask = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    mask[..., corner:, corner:] = True
    drawn = inpaint(MODEL, X, mask, labels=0, steps=3)
    changed = (drawn != X).any(1, keepdim=True)
    assert not (changed & ~mask).any() and changed[..., corner:, corner:].float().mean() > 0.9


def test_a_hole_at_the_edge_reaches_into_the_padding() -> None:
    """What lies outside the picture is copied from its edge, which is not known there."""
    mask = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    mask[..., :2, :] = True
    ours = MODEL.config.padded(mask)
    assert ours[..., :5, :].all() and not ours[..., 5:, :].any()


@pytest.mark.parametrize("kind", [{"enlarges": 5}, {"fills_holes": True}])
def test_models_that_are_shown_something_are_trained_and_used(kind: dict) -> None:
    ldm = conditioned(MODEL, **kind)
    train_conditioned(ldm, X, None, SHORT, progress=False)
    if "enlarges" in kind:
        assert super_resolve(ldm, tiny.pictures(2, size=5)).shape == (2, 1, SIZE, SIZE)
    else:
        mask = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
        mask[..., 3:6, 3:6] = True
        drawn = inpaint(ldm, X, mask)
        assert torch.equal(drawn[~mask.expand_as(X)], X[~mask.expand_as(X)])


def test_a_student_draws_the_same_size() -> None:
    pairs = teacher_pairs(MODEL, 4)
    student, _ = distil(MODEL, pairs, SHORT, progress=False)
    assert pairs.x0.shape == (4, 2, 8, 8) and student.sample(2, steps=1).shape == (2, 1, SIZE, SIZE)


def test_exported_networks_pad_and_crop_too() -> None:
    z = tiny.noise(3, *MODEL.latent_shape)
    torch.testing.assert_close(EncoderGraph(MODEL)(X), MODEL.encode(X))
    torch.testing.assert_close(DecoderGraph(MODEL)(z), MODEL.decode(z))
    for graph, example in graphs(MODEL).values():
        assert graph(*example).shape[0] == 2
    assert facts(MODEL, {}, None)["picture_shape"] == [1, SIZE, SIZE]


@pytest.mark.parametrize("widths", [(8, 16), ()])
def test_a_diffusers_folder_and_back(widths: tuple[int, ...], tmp_path) -> None:
    ldm = model(portable=8, widths=widths)
    to_diffusers(ldm, tmp_path / "folder")
    back = from_diffusers(tmp_path / "folder", "cpu")
    assert back.config == ldm.config
    assert tiny.differences(back.encode(X), ldm.encode(X), tolerance=1e-5) == []


def test_a_film_shows_it() -> None:
    frames = list(film_frames(MODEL, 2, [0, 1], None, 2, 0, None))
    assert len(frames) == 3 and all(frame.startswith(b"\x89PNG") for frame in frames)


def test_a_gan_does_not_pad() -> None:
    with pytest.raises(ValueError, match="on a canvas of 16"):
        build(latent_recipe(), MODEL)
    assert replace(MODEL.config, canvas=0).padded_size == SIZE
