"""The command line as a user meets it: real runs on tiny data, each mistake in one sentence."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ldmlib import cli, data, presets
from ldmlib.autoencoder import AutoencoderConfig
from ldmlib.latent import LatentDiffusion
from ldmlib.unet import UNetConfig


@pytest.fixture
def ldm(monkeypatch, capsys):
    """Run ``ldm ARGS``: returns (exit code or message, what it printed)."""

    def run(*arguments: object) -> tuple[object, str]:
        monkeypatch.setattr("sys.argv", ["ldm", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, capsys.readouterr().out

    return run


@pytest.fixture
def folder(tmp_path):
    """Twenty colour pictures with texture."""
    path = tmp_path / "pictures"
    path.mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        tile = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(tile).save(path / f"{i}.png")
    return path


@pytest.fixture
def small(monkeypatch):
    """The recipe that the data ask for, with small networks."""
    chosen = presets.for_data

    def smaller(*args):
        from dataclasses import replace

        recipe = chosen(*args)
        auto = replace(recipe.autoencoder, widths=(8,) * len(recipe.autoencoder.widths))
        return replace(recipe, autoencoder=auto, unet=replace(recipe.unet, channels=(8, 16)))

    monkeypatch.setattr(presets, "for_data", smaller)


def train(ldm, folder, out, *more):
    return ldm("train", "--data", folder, "--out", out, "--steps", 3, "--first-stage-steps", 3,
               *more)  # fmt: skip


def test_info_says_what_there_is(ldm):
    code, printed = ldm("info")
    assert code == 0 and "torch" in printed and "mnist" in printed


def test_train_sample_evaluate_on_a_folder_of_ones_own(ldm, folder, tmp_path, small):
    out = tmp_path / "run"
    code, printed = train(ldm, folder, out)
    assert code == 0 and "PSNR" in printed and "WARNING: this caps the result" in printed
    code, _ = ldm("sample", out, "--n", 6, "--out", tmp_path / "a.png", "--steps", 2)
    assert code == 0 and Image.open(tmp_path / "a.png").size[0] > 32
    code, _ = ldm("sample", out, "--n", 70, "--out", tmp_path / "a.npz", "--steps", 1)
    assert np.load(tmp_path / "a.npz")["images"].shape == (70, 32, 32, 3)
    code, _ = ldm("evaluate", tmp_path / "a.npz", "--data", folder)
    assert "at least 20 held-out pictures, and there are 2" in code


def test_a_second_run_into_the_same_folder_needs_resume(ldm, folder, tmp_path, small):
    out = tmp_path / "run"
    train(ldm, folder, out)
    before = (out / "model.safetensors").read_bytes()
    code, _ = train(ldm, folder, out)
    assert "already holds a run" in code and "--resume" in code
    code, _ = train(ldm, folder, out, "--resume")  # all done: loads, and saves the same model
    assert code == 0 and (out / "model.safetensors").read_bytes() == before


def test_sampled_labels_and_seed(ldm, tmp_path):
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for file, labels in zip(files, ("3", "3,8"), strict=True):
        code, _ = ldm("sample", "mnist", "--n", 4, "--out", file, "--labels", labels, "--steps", 2)
        assert code == 0
    a, b = (np.load(file) for file in files)
    assert a["labels"].tolist() == [3] * 4 and b["labels"].tolist() == [3, 8, 3, 8]
    assert a["images"].dtype == np.uint8 and a["images"].shape == (4, 32, 32, 1)
    assert np.abs(a["images"][0].astype(int) - b["images"][0]).max() <= 1  # same seed, same label


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("sample", "mnits", "--out", "a.png"), "bundled model (mnist)"),
        (("sample", "mnist", "--out", "a.jpg"), "must end in .png or .npz"),
        (("sample", "mnist", "--out", "a.png", "--labels", "12"), "0 to 9"),
        (("sample", "mnist", "--out", "a.png", "--labels", "three"), "whole numbers"),
        (("sample", "mnist", "--out", "a.png", "--steps", "0"), "at least 1 step"),
        (("sample", "mnist", "--out", "a.png", "--n", "0"), "1 or more"),
        (("train", "--data", "nowhere", "--out", "x"), "unknown data"),
        (("evaluate", "nothing.npz"), "nothing.npz"),
    ],
)
def test_mistakes_end_in_one_sentence(ldm, arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _ = ldm(*arguments)
    assert str(code).startswith("ldm: ") and expected in code and "Traceback" not in code
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


def test_one_picture_is_not_enough(ldm, tmp_path):
    np.savez(tmp_path / "one.npz", images=np.zeros((1, 32, 32, 3), np.uint8))
    code, _ = ldm("train", "--data", tmp_path / "one.npz", "--out", tmp_path / "run")
    assert "at least 2 pictures" in code


def test_ctrl_c_keeps_the_run_and_resume_ends_like_an_uninterrupted_one(
    ldm, folder, tmp_path, small, monkeypatch
):
    train(ldm, folder, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        code, _ = train(ldm, folder, tmp_path / "cut")
    assert "stopped" in code and "--resume" in code
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    code, _ = train(ldm, folder, tmp_path / "cut", "--resume")
    assert code == 0
    files = [tmp_path / run / "model.safetensors" for run in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


def stop_after(monkeypatch, steps: int) -> None:
    """Send this process Ctrl-C from inside a training step."""
    import os
    import signal

    from ldmlib import recipes

    inner, seen = recipes.AutoencoderLoss.__call__, []

    def call(self, *args):
        seen.append(1)
        if len(seen) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return inner(self, *args)

    monkeypatch.setattr(recipes.AutoencoderLoss, "__call__", call)


def test_what_the_data_are_decides_the_recipe():
    digits = data.mnist("test")
    assert presets.for_data(digits).autoencoder.factor == 4
    for size, factor in ((32, 2), (64, 4), (128, 8)):
        rgb = data.ImageData(torch.zeros(8, 3, size, size, dtype=torch.uint8))
        recipe = presets.for_data(rgb)
        assert recipe.autoencoder == AutoencoderConfig(3, 4, recipe.autoencoder.widths)
        assert recipe.autoencoder.factor == factor and recipe.training.batch_size == 8
        assert size // factor == 16 and recipe.unet.num_classes == 0


def test_saved_config_rebuilds_the_model(ldm, folder, tmp_path, small):
    train(ldm, folder, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    model = LatentDiffusion.from_pretrained(tmp_path / "run")
    assert config["size"] == 32 and model.config.unet == UNetConfig(**config["unet"])
