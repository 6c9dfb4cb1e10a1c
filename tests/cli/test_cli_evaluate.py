"""``ldm evaluate``: like is compared with like, and what was trained on is not held out."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from ldmlib.cli.evaluate import as_large_as_real, excess_line, labels_of_real
from ldmlib.data import load_parts, mnist
from ldmlib.data.record import DataRecord
from ldmlib.evaluation import evaluator
from ldmlib.evaluation.evaluator import Evaluator, Report, evaluator_for, evaluator_of
from ldmlib.evaluation.metrics import Interval
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.networks.unet import UNetConfig


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


def test_digits_of_28_pixels_get_the_border_that_mnist_has(ldm, tmp_path, monkeypatch) -> None:
    some = mnist().random_subset(400, 0), mnist("test").random_subset(150, 1)
    judge = Evaluator(*some, bundled_classifier(), "mnist_features")
    monkeypatch.setattr(evaluator, "mnist_evaluator", lambda: judge)
    digits = mnist("test").random_subset(150, 0)
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
    for name, said in (
        ("ten", "Only 10 of the file's 260 pictures are different"),
        ("same", "All of the file's 260 pictures are the same"),
    ):
        code, printed = ldm("evaluate", tmp_path / f"{name}.npz", "--data", tmp_path / "real.npz")
        assert code == 0 and said in printed
        assert "nan" not in printed.lower()
    code, _ = ldm("evaluate", tmp_path / "real.npz", "--data", tmp_path / "ten.npz")
    assert "only 1 of the 26 here is different" in code and "copies" in code
    code, _ = ldm("evaluate", tmp_path / "real.npz", "--data", tmp_path / "same.npz")
    assert "all 260 pictures are the same" in code


def trained_on(path, folder, size: int = 32) -> LatentDiffusion:
    """An untrained model that says it was trained on the pictures of a folder."""
    train, held_out, key = load_parts(folder, size)
    first = AutoencoderConfig(channels=3, latent_channels=2, widths=(8,))
    config = LatentDiffusionConfig(first, UNetConfig(2, (8, 16), 1, heads=2), size=size, steps=1)
    config = replace(config, data=DataRecord.of(train, held_out, key))
    model = tiny.randomised(LatentDiffusion(config))
    model.save_pretrained(path)
    return model


@pytest.mark.parametrize("renamed", [False, True])
def test_nothing_that_was_trained_on_is_held_out_after_pictures_were_added(
    ldm, folder, tmp_path, monkeypatch, renamed
) -> None:
    trained_on(tmp_path / "m", folder)
    seen = set(load_parts(folder, 32)[0].keys.tolist())
    for i, image in enumerate(discs(260, 64)[230:]):
        Image.fromarray(image).save(folder / f"added{i}.png")
    folder = folder.rename(tmp_path / "moved") if renamed else folder
    judges = []
    inner = evaluator_of

    def noted(train, held_out, cache=True):
        judges.append(held_out)
        return inner(train, held_out, cache)

    monkeypatch.setattr(evaluator, "evaluator_of", noted)
    code, printed = ldm("evaluate", tmp_path / "m", "--data", folder)
    said = "trained on other pictures: discs" if renamed else "have changed since the training"
    assert code == 0 and said in printed
    assert len(judges[0]) >= 20 and not seen & set(judges[0].keys.tolist())


def test_a_model_and_other_data_are_said_to_be_two(ldm, folder, tmp_path) -> None:
    trained_on(tmp_path / "m", folder)
    code, printed = ldm("evaluate", tmp_path / "m", "--data", folder)
    assert code == 0 and "trained on discs" in printed and "other pictures" not in printed
    np.savez(tmp_path / "else.npz", images=255 - discs(260))
    code, printed = ldm("evaluate", tmp_path / "m", "--data", tmp_path / "else.npz")
    assert code == 0 and "The model was trained on other pictures: discs" in printed


def test_a_folder_of_another_name_is_still_what_the_model_was_trained_on(
    ldm, folder, tmp_path
) -> None:
    trained_on(tmp_path / "m", folder)
    folder = folder.rename(tmp_path / "moved")
    code, printed = ldm("evaluate", tmp_path / "m", "--data", folder)
    assert code == 0 and "other pictures" not in printed and "have changed" not in printed


def test_a_model_is_compared_at_its_own_size(ldm, folder, tmp_path, monkeypatch) -> None:
    """Pictures of 64 x 64 are made smaller, and enlarged only as they were for the training."""
    monkeypatch.setattr(evaluator, "evaluator_of", lambda train, held_out: train.size)
    for size, at in ((96, 64), (64, 64), (32, 32)):
        assert evaluator_for(str(folder), size) == at
        assert evaluator_for(str(folder), size, enlarge=True) == size

    def stop(train, held_out):
        raise ValueError(f"read at {train.size}")

    monkeypatch.setattr(evaluator, "evaluator_of", stop)
    trained_on(tmp_path / "m", folder, 96)
    code, _ = ldm("evaluate", tmp_path / "m", "--data", folder)
    assert code == "ldm: read at 96"


def of_size(size: int, classes=(), seen: int = 10) -> SimpleNamespace:
    """As much of an evaluator as says what pictures are compared with."""
    network = SimpleNamespace(config=SimpleNamespace(num_classes=seen))
    return SimpleNamespace(
        train_data=SimpleNamespace(size=size, classes=classes, name="real"), network=network
    )


def test_only_sets_that_got_a_border_give_one(capsys) -> None:
    x = torch.full((2, 1, 28, 28), 0.5)
    for name in ("mnist", "fashion_mnist", "kmnist"):
        padded = as_large_as_real(x, of_size(32), name)
        assert torch.equal(padded[..., 2:30, 2:30], x) and bool((padded[..., :2, :] == -1).all())
    assert "28 x 28 get a black border up to 32 x 32" in capsys.readouterr().out
    for name in ("emoji", "cifar10", "a/folder"):
        assert as_large_as_real(x, of_size(32), name).min() > 0.4
    assert "28 x 28 are resized" in capsys.readouterr().out


def test_labels_are_compared_by_the_names_of_their_classes(capsys) -> None:
    judge, labels = of_size(32, ("cat", "dog", "eel")), torch.tensor([0, 1, 1])
    for classes, numbers in ((("dog", "cat"), [1, 0, 0]), (("cat", "dog", "eel"), [0, 1, 1])):
        assert labels_of_real(labels, classes, judge).tolist() == numbers
    assert not capsys.readouterr().out
    assert labels_of_real(labels, ("cat", "cow"), judge) is None
    assert "other classes than those of real" in capsys.readouterr().out
    assert labels_of_real(labels, ("cat",), of_size(32, ("cat",), seen=1)) is None
    assert labels_of_real(None, (), judge) is None and not capsys.readouterr().out


@pytest.mark.parametrize(
    "option", [("--n", 50), ("--steps", 3), ("--guidance", 2), ("--precision", "bfloat16")]
)
def test_a_file_is_not_scored_with_options_for_drawing(ldm, tmp_path, option) -> None:
    np.savez(tmp_path / "a.npz", images=discs(30))
    code, _ = ldm("evaluate", tmp_path / "a.npz", *option)
    assert code.startswith("ldm: ") and "say how a model draws" in code


def test_a_model_that_draws_one_picture_only_is_said_to(ldm, folder, tmp_path, monkeypatch) -> None:
    trained_on(tmp_path / "m", folder)
    code, _ = ldm("evaluate", tmp_path / "m", "--data", folder, "--n", 10**11)
    assert code.startswith("ldm: ") and "GB of memory" in code
    monkeypatch.setattr(LatentDiffusion, "sample", lambda *a, **k: torch.zeros(a[1], 3, 32, 32))
    code, printed = ldm("evaluate", tmp_path / "m", "--data", folder)
    assert code == 0 and "All of the model's 23 pictures are the same" in printed
    assert "nan" not in printed and "inf" not in printed.replace("information", "")


def test_the_excess_has_the_interval_of_the_fid() -> None:
    scores = (0.0, 1.0, 1.0, 1.0, 1.0, None, "all", "some")
    line = excess_line(Report(100, Interval(5.0, 4.0, 6.5), 3.0, *scores))
    assert line.split()[:2] == ["excess", "2.00"] and "95 % interval 1.00 to 3.50" in line
    fewer = Report(100, Interval(5.0, 4.0, 6.5), 3.0, *scores, floor_n=50, fid_at_floor_n=5.5)
    line = excess_line(fewer)
    assert line.split()[1] == "2.50" and "both at n = 50" in line and "interval" not in line
    without = str(Report(100, Interval(5.0, 4.0, 6.5), 0.0, *scores))
    assert "the floor is 0" in without and "inf" not in without and "nan" not in without
