"""``ldm evaluate``: like is compared with like, and what was trained on is not held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import tiny
from ldmlib.autoencoder import AutoencoderConfig
from ldmlib.data import load_parts, mnist
from ldmlib.data_record import DataRecord
from ldmlib.latent import LatentDiffusion
from ldmlib.latent_config import LatentDiffusionConfig
from ldmlib.unet import UNetConfig


def discs(n: int, size: int = 32) -> np.ndarray:
    """Coloured discs on white, uint8 (n, size, size, 3)."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    images = np.full((n, size, size, 3), 255, np.uint8)
    for image in images:
        x, y = rng.integers(size // 4, 3 * size // 4, 2)
        image[(columns - x) ** 2 + (rows - y) ** 2 < (size / 6) ** 2] = rng.integers(0, 255, 3)
    return images


@pytest.fixture
def folder(tmp_path):
    """230 pictures of 64 x 64 in a folder, and the same at 32 x 32 in an .npz file."""
    path = tmp_path / "discs"
    path.mkdir()
    images = discs(230, 64)
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / f"{i}.png")
    halved = load_parts(path, 32)
    small = np.concatenate([part.images.permute(0, 2, 3, 1).numpy() for part in halved[:2]])
    np.savez(tmp_path / "small.npz", images=small)
    return path


def value(printed: str, word: str) -> float:
    return float(next(x for x in printed.splitlines() if x.startswith(word)).split()[1])


def test_pictures_are_compared_at_one_size(ldm, folder, tmp_path) -> None:
    """The folder's own pictures, made smaller: they score as what they are."""
    code, printed = ldm("evaluate", tmp_path / "small.npz", "--data", folder)
    assert code == 0 and "Compared at 32 x 32" in printed
    assert value(printed, "FID") < 2 * value(printed, "floor")
    excess = float(printed.split("excess")[1].split()[0])
    assert excess < value(printed, "floor")


def test_digits_of_28_pixels_get_the_border_that_mnist_has(ldm, tmp_path) -> None:
    digits = mnist("test").random_subset(300, 0)
    images, scores = digits.images[:, 0].numpy(), []
    np.savez(tmp_path / "32.npz", images=images, labels=digits.labels.numpy())
    np.savez(tmp_path / "28.npz", images=images[:, 2:30, 2:30], labels=digits.labels.numpy())
    for size in (32, 28):
        code, printed = ldm("evaluate", tmp_path / f"{size}.npz", "--data", "mnist")
        assert code == 0
        scores.append(printed[printed.index("FID") :])
    assert scores[0] == scores[1] and "black border up to 32 x 32" in printed


def test_pictures_that_repeat_are_said_to(ldm, tmp_path) -> None:
    np.savez(tmp_path / "real.npz", images=discs(260))
    np.savez(tmp_path / "ten.npz", images=discs(10)[np.arange(260) % 10])
    np.savez(tmp_path / "same.npz", images=discs(1)[np.zeros(260, int)])
    for name, said in (("ten", "only 10 are different"), ("same", "all are the same")):
        code, printed = ldm("evaluate", tmp_path / f"{name}.npz", "--data", tmp_path / "real.npz")
        assert code == 0 and f"Of the file's 260 pictures {said}" in printed
        assert "nan" not in printed.lower()
    code, _ = ldm("evaluate", tmp_path / "real.npz", "--data", tmp_path / "ten.npz")
    assert "held-out pictures that differ" in code and "copies" in code
    code, _ = ldm("evaluate", tmp_path / "real.npz", "--data", tmp_path / "same.npz")
    assert "of 260 pictures 1 differ" in code


def trained_on(path, folder, size: int = 32) -> LatentDiffusion:
    """An untrained model that says it was trained on the pictures of a folder."""
    train, held_out, key = load_parts(folder, size)
    first = AutoencoderConfig(channels=3, latent_channels=2, widths=(8,))
    config = LatentDiffusionConfig(first, UNetConfig(2, (8, 16), 1, heads=2), size=size, steps=1)
    config = replace(config, data=DataRecord.of(train, held_out, key))
    model = tiny.randomised(LatentDiffusion(config))
    model.save_pretrained(path)
    return model


def test_nothing_that_was_trained_on_is_held_out_after_pictures_were_added(
    ldm, folder, tmp_path, monkeypatch
) -> None:
    from ldmlib import evaluation

    trained_on(tmp_path / "m", folder)
    seen = set(load_parts(folder, 32)[0].keys.tolist())
    for i, image in enumerate(discs(260, 64)[230:]):
        Image.fromarray(image).save(folder / f"added{i}.png")
    judges = []
    inner = evaluation.evaluator_of

    def noted(train, held_out, cache=True):
        judges.append(held_out)
        return inner(train, held_out, cache)

    monkeypatch.setattr(evaluation, "evaluator_of", noted)
    code, printed = ldm("evaluate", tmp_path / "m", "--data", folder)
    assert code == 0 and "have changed since the training" in printed
    assert len(judges[0]) >= 20 and not seen & set(judges[0].keys.tolist())


def test_a_model_and_other_data_are_said_to_be_two(ldm, folder, tmp_path) -> None:
    trained_on(tmp_path / "m", folder)
    code, printed = ldm("evaluate", tmp_path / "m", "--data", folder)
    assert code == 0 and "trained on discs" in printed and "other pictures" not in printed
    np.savez(tmp_path / "else.npz", images=255 - discs(260))
    code, printed = ldm("evaluate", tmp_path / "m", "--data", tmp_path / "else.npz")
    assert code == 0 and "The model was trained on other pictures: discs" in printed
