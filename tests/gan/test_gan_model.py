"""Laws of `ldmlib.gan.model`: shapes, ranges, repeatable samples, files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import tiny
from ldmlib.evaluation.evaluator import mnist_evaluator
from ldmlib.gan.model import BUNDLED, Discriminator, Gan, GanConfig, Generator, PlayersConfig
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.batches import in_batches
from ldmlib.networks.layers import count_parameters
from ldmlib.storage.files import asset

PIXELS = PlayersConfig(size=8, noise=5, widths=(16, 8), judge_widths=(8, 16))
LATENTS = PlayersConfig(2, 4, 5, (16, 8), (8, 16), fold=1, bounded=False)


def gan(latent: bool = False, seed: int = 0) -> Gan:
    """A GAN of 8 x 8 pictures, random down to its running means and its latent scale."""
    torch.manual_seed(seed)
    first = AutoencoderConfig(latent_channels=2, widths=(8,)) if latent else None
    config = GanConfig(LATENTS, first) if first else GanConfig(PIXELS)
    model = Gan(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    if latent:
        model.latent_mean.normal_()
        model.latent_std.uniform_(0.5, 2)
    return model.eval()


both = pytest.mark.parametrize("latent", [False, True], ids=["pixels", "latents"])


@pytest.mark.parametrize(
    "config",
    [
        PIXELS,
        LATENTS,
        PlayersConfig(),
        PlayersConfig(3, 16, 7, (8,), (8, 16, 16)),
        replace(PIXELS, spectral=True),
    ],
    ids=["pixels", "latents", "default", "colour", "spectral norm"],
)
def test_players_fit_each_other(config: PlayersConfig) -> None:
    torch.manual_seed(0)
    generator, judge = Generator(config), Discriminator(config)
    pictures = generator(torch.randn(3, config.noise))
    assert pictures.shape == (3, config.channels, config.size, config.size)
    assert judge(pictures).shape == (3,)
    if config.bounded:
        assert pictures.abs().max() <= 1


def test_latents_have_no_bounds() -> None:
    generator = Generator(LATENTS)
    nn.init.constant_(generator[-3].bias, 7.0)
    assert generator(torch.randn(4, 5)).max() > 2


def test_spectral_norm_bounds_every_layer_of_the_judge() -> None:
    torch.manual_seed(0)
    judge = Discriminator(replace(PIXELS, spectral=True))
    for layer in judge:
        if hasattr(layer, "weight"):
            nn.init.normal_(layer.parametrizations.weight.original, std=3.0)
    for _ in range(50):
        judge(tiny.pictures(2))
    norms = [
        torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        for layer in judge
        if hasattr(layer, "weight")
    ]
    assert len(norms) == 3 and all(float(n.detach()) == pytest.approx(1, abs=0.02) for n in norms)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"z must be \(n, 5\), not \(2, 6\)"):
        Generator(PIXELS)(torch.zeros(2, 6))
    with pytest.raises(ValueError, match=r"expected \(n, 1, 8, 8\), not \(2, 1, 9, 8\)"):
        Discriminator(PIXELS)(torch.zeros(2, 1, 9, 8))
    for options in ({"size": 10}, {"widths": ()}, {"judge_widths": (8, 8, 8, 8)}):
        with pytest.raises(ValueError, match="does not divide by fold"):
            replace(PIXELS, **options)


def test_pictures_are_checked_at_the_door() -> None:
    for wrong in (2 * tiny.pictures(2) + 3, tiny.pictures(2, size=16), tiny.pictures(2, 3)):
        with pytest.raises(ValueError):
            gan().encode(wrong)
    with pytest.raises(TypeError):
        gan().encode(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


@both
def test_samples_are_pictures_and_do_not_depend_on_the_batch(latent: bool) -> None:
    model = gan(latent)
    pictures = model.sample(7, seed=3)
    assert pictures.shape == (7, 1, 8, 8) and pictures.abs().max() <= 1
    torch.testing.assert_close(model.sample(1, seed=3, start=5), pictures[5:6], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.sample(3, seed=3, start=2), pictures[2:5], atol=1e-5, rtol=0)
    assert not torch.allclose(model.sample(7, seed=4), pictures)
    with pytest.raises(ValueError, match="1 or more, not 0"):
        model.sample(0)


def test_sampling_leaves_the_model_as_it_was() -> None:
    model = gan().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    pictures = model.sample(4)
    assert model.training and model.generator.training and not pictures.requires_grad
    assert not tiny.differences(before, dict(model.state_dict()))


def test_encode_and_decode_on_pixels_do_nothing() -> None:
    x = tiny.pictures(3)
    assert torch.equal(gan().encode(x), x) and torch.equal(gan().decode(x), x)


def test_latents_are_scaled_and_unscaled() -> None:
    model, x = gan(latent=True), tiny.pictures(3)
    z = model.encode(x)
    assert z.shape == (3, 2, 4, 4)
    plain = model.autoencoder.encode(x).mode()
    torch.testing.assert_close(z * model.latent_std + model.latent_mean, plain)
    torch.testing.assert_close(model.decode(z), model.autoencoder.decode(plain).clamp(-1, 1))


# --------------------------------------------------------------------------- files
@both
@pytest.mark.parametrize("half", [False, True])
def test_saved_and_loaded_is_the_same(latent: bool, half: bool, tmp_path: Path) -> None:
    model = gan(latent)
    model.config = replace(model.config, facts={"seed": 3})
    model.save_pretrained(tmp_path, half)
    back = Gan.from_pretrained(tmp_path)
    assert back.config == model.config and not back.training
    tolerance = 2e-2 if half else 0
    torch.testing.assert_close(back.sample(3), model.sample(3), atol=tolerance, rtol=0)
    assert next(back.parameters()).dtype == torch.float32


def test_a_broken_or_foreign_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="mnist_gan, mnist_latent_gan"):
        Gan.from_pretrained("cifar")
    gan().save_pretrained(tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    good_config, good_weights = config.read_text(), weights.read_bytes()
    weights.write_bytes(good_weights[:-8])
    with pytest.raises(ValueError, match="changed or cut short"):
        Gan.from_pretrained(tmp_path)
    weights.write_bytes(good_weights)
    values = json.loads(good_config)
    values["players"]["widths"] = [24, 8]
    config.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="from another architecture"):
        Gan.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not describe a Gan"):
        Gan.from_pretrained(asset("weights", "mnist"))


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_models_draw_digits(name: str) -> None:
    """The classifier's certainty says little (it is sure of static, too): classes and FID do."""
    model, evaluator = Gan.from_pretrained(name), mnist_evaluator()
    pictures = model.sample(1000)
    drawn = in_batches(evaluator.network, pictures).argmax(1).bincount(minlength=10)
    assert drawn.min() > 20
    assert evaluator.fid(pictures) < 20 * evaluator.floor(1000)
    facts = model.config.facts
    assert facts["n"] == 10_000 and facts["floor"] < facts["fid"] < 60 * facts["floor"]


def test_the_bundled_files_are_small_and_explained() -> None:
    folders = [asset("weights", name) for name in BUNDLED]
    assert sum((folder / "model.safetensors").stat().st_size for folder in folders) < 2.5e6
    for folder in folders:
        card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))["facts"]
        wanted = ("CC BY-SA 3.0", f"FID {facts['fid']:15.2f}", f"floor {facts['floor']:13.2f}")
        for words in (*wanted, "n = 10,000", "Limits", facts["commit"], f"seed {facts['seed']}"):
            assert words in card, words
        assert (folder / "LICENSE.txt").is_file()


def test_only_the_generator_is_kept() -> None:
    pixel = Gan.from_pretrained("mnist_gan")
    assert count_parameters(pixel) == count_parameters(pixel.generator)
