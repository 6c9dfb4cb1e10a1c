"""The command line as a user meets it: real runs on tiny data, each mistake in one sentence."""

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldmlib import cli, data
from ldmlib.diffusion.samplers import SAMPLERS
from ldmlib.diffusion.spacing import SPACINGS
from ldmlib.images import to_uint8
from ldmlib.latent import recipes, stages
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.latent.recipes import Recipe
from ldmlib.latent.stages import canvas_of, check_fits, config_of, train_latent_diffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.unet import UNetConfig
from ldmlib.training.autoencoder_loss import AutoencoderLoss
from ldmlib.training.config import TrainConfig
from ldmlib.training.denoising import DenoisingObjective


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
    """The recipe that the data ask for, with small networks.

    The precision is given: measured anew, it might be another one after an interruption.
    """
    chosen = recipes.for_data

    def smaller(*args):
        from dataclasses import replace

        recipe = chosen(*args)
        auto = replace(recipe.autoencoder, widths=(8,) * len(recipe.autoencoder.widths))
        return replace(
            recipe,
            autoencoder=auto,
            unet=replace(recipe.unet, channels=(8, 16)),
            autoencoder_training=replace(recipe.autoencoder_training, precision="float32"),
            training=replace(recipe.training, precision="float32"),
        )

    monkeypatch.setattr(recipes, "for_data", smaller)


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
    code, _ = train(ldm, folder, out, "--resume")  # all done
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


def test_every_sampler_and_spacing_has_its_word(ldm, tmp_path):
    assert [name.value for name in cli.Sampler] == list(SAMPLERS)
    assert [name.value for name in cli.Spacing] == list(SPACINGS)
    options = ("--n", 2, "--labels", 3, "--steps", 2, "--sampler", "dpmpp_2m")
    for spacing in ("trailing", "leading"):
        out = tmp_path / f"{spacing}.npz"
        code, _ = ldm("sample", "mnist", "--out", out, *options, "--spacing", spacing)
        assert code == 0
    found = [np.load(path)["images"] for path in sorted(tmp_path.glob("*.npz"))]
    assert len(found) == 2 and np.abs(found[0].astype(int) - found[1]).max() > 10


@pytest.mark.parametrize(("option", "known"), [("--sampler", SAMPLERS), ("--spacing", SPACINGS)])
def test_unknown_samplers_and_spacings_name_the_known(option, known, tmp_path, monkeypatch, capsys):
    out = tmp_path / "a.png"
    words = ["ldm", "sample", "mnist", "--out", str(out), option, "best"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().err
    assert stop.value.code == 2 and all(name in said for name in known) and not out.exists()


def test_a_model_without_labels_cannot_be_guided(ldm, tmp_path):
    first = AutoencoderConfig(latent_channels=2, widths=(8,))
    config = LatentDiffusionConfig(first, UNetConfig(2, (8, 16), 1, heads=2), size=8)
    LatentDiffusion(config).save_pretrained(tmp_path / "free")
    words = ("sample", tmp_path / "free", "--out", tmp_path / "a.png", "--n", 2)
    code, _ = ldm(*words, "--guidance", 3)
    assert code.startswith("ldm: guidance 3.0 needs labels") and "unconditional model" in code
    code, _ = ldm(*words, "--guidance", 1)
    assert code == 0


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("sample", "mnits", "--out", "a.png"), "bundled model (mnist, mnist_pixels, emoji"),
        (("sample", "mnist_enlarges", "--out", "a.png"), "editing.super_resolve, or `ldm edit`"),
        (("sample", "mnist_fills_holes", "--out", "a.png"), "use editing.inpaint, or `ldm edit`"),
        (("sample", "mnist", "--out", "a.jpg"), "must end in .png or .npz"),
        (("sample", "mnist", "--out", "a.png", "--labels", "12"), "0 to 9"),
        (
            ("sample", "mnist", "--out", "a.png", "--labels", "three"),
            "no class 'three' among 10 classes: 0 to 9",
        ),
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


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("sample", "mnist", "--out", "file/a.png"), "is a file, not a folder"),
        (("evaluate", "mnist", "--data", "nowhere"), "unknown data"),
        (("evaluate", "mnist", "--data", "colours.npz"), "1 channels cannot be compared with"),
        (("evaluate", "mnist", "--data", "greys.npz", "--n", "0"), "got 0"),
        (("train", "--data", "colours.npz", "--out", "file"), "is a file, not a folder"),
        (("train", "--data", "colours.npz", "--out", "x", "--size", "0"), "1 or more, got 0"),
        (("train", "--data", "colours.npz", "--out", "x", "--steps", "0"), "steps: expected 1"),
        (("train", "--data", "greys.npz", "--out", "x", "--first-stage-steps", "0"), "1 or more"),
    ],
)
def test_mistakes_are_found_before_the_work(ldm, arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    for name, channels in (("colours", 3), ("greys", 1)):
        pixels = np.random.default_rng(0).integers(0, 256, (200, 16, 16, channels), np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=pixels)
    monkeypatch.setattr(LatentDiffusion, "sample", None)  # neither drawing
    monkeypatch.setattr(stages, "train", None)  # nor training begins
    code, _ = ldm(*arguments)
    assert str(code).startswith("ldm: ") and expected in code
    assert (tmp_path / "file").read_text() == "a file" and not (tmp_path / "x").exists()


@pytest.mark.parametrize("side, size", [(8, 8), (27, 32), (28, 32), (50, 56), (63, 64), (100, 112)])
def test_pictures_of_any_size_are_padded_to_what_the_networks_can_halve(side, size):
    for channels in (1, 3):
        pixels = torch.zeros(4, channels, side, side, dtype=torch.uint8)
        pictures = data.ImageData(pixels, name="mnist photos")  # a name is no kind of picture
        recipe = recipes.for_data(pictures)
        assert canvas_of(side, recipe) == size and recipes.perceptual_for(pictures) is None
        config = config_of(pictures, recipe)
        assert (config.size, config.padded_size) == (side, size)
        assert bool(config.canvas) == (side != size)
        check_fits(pictures, recipe)
        assert recipe.autoencoder.channels == channels
    digits = data.mnist("test")
    assert recipes.is_mnist(digits) and recipes.perceptual_for(digits) is not None


def test_a_recipe_for_other_data_is_refused_at_once(tmp_path):
    grey = data.ImageData(torch.zeros(6, 1, 32, 32, dtype=torch.uint8), torch.arange(6))
    colour = data.ImageData(torch.zeros(6, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="with 1 channels, these have 3"):
        train_latent_diffusion(colour, colour, recipes.for_data(grey), tmp_path)
    unlabelled = data.ImageData(grey.images)
    with pytest.raises(ValueError, match="labels of 6 classes, but the recipe's UNet knows 0"):
        train_latent_diffusion(grey, grey, recipes.for_data(unlabelled), tmp_path)
    assert not list(tmp_path.iterdir())


def test_npz_of_an_odd_size_through_every_command(ldm, tmp_path, small):
    pixels = np.random.default_rng(0).integers(0, 256, (210, 27, 27), np.uint8)
    np.savez(tmp_path / "own.npz", images=pixels, labels=np.arange(210) % 3)
    code, printed = train(ldm, tmp_path / "own.npz", tmp_path / "run")
    assert code == 0 and "padded to 28 x 28" in printed and "reconstruction FID" in printed
    # a class that is left open is no label, and the file says so by having none
    for labels, kept in (("1,2", [1, 2, 1]), ("-1", None)):
        out = tmp_path / "some.npz"
        code, _ = ldm("sample", tmp_path / "run", "--n", 3, "--out", out, "--labels", labels)
        assert code == 0 and np.load(out)["images"].shape == (3, 27, 27, 1)
        found = np.load(out)
        assert ("labels" in found) == bool(kept) and (not kept or found["labels"].tolist() == kept)
    code, printed = ldm("evaluate", tmp_path / "run", "--data", tmp_path / "own.npz")
    assert code == 0 and "n = 21 pictures" in printed and "at the same n" in printed


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

    inner, seen = AutoencoderLoss.__call__, []

    def call(self, *args):
        seen.append(1)
        if len(seen) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return inner(self, *args)

    monkeypatch.setattr(AutoencoderLoss, "__call__", call)


def test_a_loss_that_is_not_a_number_ends_in_one_sentence(
    ldm, folder, tmp_path, small, monkeypatch
):
    inner = DenoisingObjective.__call__

    def broken(self, *args):
        return inner(self, *args) * (float("nan") if args[-1] == 1 else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(DenoisingObjective, "__call__", broken)
        code, printed = train(ldm, folder, tmp_path / "run")
    assert "became nan at step 1" in code and "learning rate" in code and "PSNR" in printed
    assert (tmp_path / "run" / "first_stage" / "checkpoint.pt").is_file()
    assert not (tmp_path / "run" / "config.json").exists()
    code, _ = train(ldm, folder, tmp_path / "run", "--resume")
    assert code == 0


def test_nothing_written_earlier_is_lost(ldm, folder, tmp_path, small, monkeypatch):
    out = tmp_path / "run"
    train(ldm, folder, out)
    checkpoint = out / "second_stage" / "checkpoint.pt"
    whole, model = checkpoint.read_bytes(), (out / "model.safetensors").read_bytes()

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        code, printed = train(ldm, folder, out, "--resume")  # all done: nothing is written
        assert code == 0 and "is finished" in printed
        code, _ = ldm("sample", out, "--n", 2, "--steps", 1, "--out", tmp_path / "a.png")
        assert "no space left" in code and not (tmp_path / "a.png").exists()
    for damage, said in ((whole[: len(whole) // 2], "cut short"), (b"", "cut short")):
        checkpoint.write_bytes(damage)
        code, _ = train(ldm, folder, out, "--resume")
        assert said in code and "remove it to begin that training anew" in code
        assert (out / "model.safetensors").read_bytes() == model
        assert LatentDiffusion.from_pretrained(out).sample(1, steps=1).isfinite().all()
    checkpoint.unlink()  # as the message says
    code, _ = train(ldm, folder, out, "--resume")
    assert code == 0 and (out / "model.safetensors").read_bytes() == model


def test_what_the_data_are_decides_the_recipe():
    digits = data.mnist("test")
    assert recipes.for_data(digits).autoencoder.factor == 4
    for size, factor in ((32, 2), (64, 4), (128, 8)):
        rgb = data.ImageData(torch.zeros(8, 3, size, size, dtype=torch.uint8))
        recipe = recipes.for_data(rgb)
        assert recipe.autoencoder == AutoencoderConfig(3, 4, recipe.autoencoder.widths)
        assert recipe.autoencoder.factor == factor and recipe.training.batch_size == 8
        assert size // factor == 16 and recipe.unet.num_classes == 0


@pytest.mark.parametrize("n, batch", [(1, 1), (3, 2), (57, 32), (64, 64), (500, 128)])
def test_processes_can_share_the_batch_of_a_small_set(n, batch):
    pictures = data.ImageData(torch.zeros(n, 1, 16, 16, dtype=torch.uint8))
    recipe = recipes.for_data(pictures)
    assert recipe.training.batch_size == batch
    assert recipe.autoencoder_training.batch_size == min(64, batch)


def test_diffusion_on_pixels_has_no_first_stage(tmp_path):
    x = torch.rand(40, 1, 8, 8) * 2 - 1
    pictures = data.ImageData(to_uint8(x), torch.arange(40) % 2, ("a", "b"))
    recipe = Recipe(
        autoencoder=AutoencoderConfig(widths=()),
        unet=UNetConfig(1, channels=(8, 16), blocks=1, num_classes=2),
        training=TrainConfig(steps=2, batch_size=8),
        guidance=1.5,
        guidance_interval=(0.2, 0.8),
    )
    model = train_latent_diffusion(pictures, pictures, recipe, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["second_stage"]
    assert model.config.guidance == 1.5
    assert model.config.guidance_interval == (0.2, 0.8)
    assert torch.equal(model.decode(model.encode(x)).cpu(), x)


@pytest.mark.slow
def test_two_processes_train_the_model_of_one(tmp_path):
    """As `accelerate launch` starts them; nothing leaves this machine.

    The precision is given: each run measures for itself, and a busy machine may answer otherwise.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "own.npz", images=pixels)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = str(Path(cli.__file__).parents[2])
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "ACCELERATE_USE_CPU": "true",
                   "OMP_NUM_THREADS": "1", "PYTHONPATH": root}  # fmt: skip
    (tmp_path / "train.py").write_text(
        "from ldmlib import training\n"
        "training.pick_precision = lambda *_: 'float32'\n"
        "from ldmlib.cli import main\n"
        "main()\n"
    )
    where = ["--master_addr=127.0.0.1", f"--master_port={port}"]
    launch = {"one": [], "two": ["-m", "torch.distributed.run", "--nproc_per_node=2", *where]}
    arguments = ["--data", "own.npz", "--steps", "2", "--first-stage-steps", "2"]
    for name, how in launch.items():
        command = [sys.executable, *how, "train.py", "train", *arguments, "--out", name]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("Model saved in") == 1
    one, two = (LatentDiffusion.from_pretrained(tmp_path / name, "cpu") for name in launch)
    assert one.config == two.config
    for key, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[key], value, atol=5e-3, rtol=0)


def test_the_package_is_the_command(tmp_path):
    """`accelerate launch -m ldmlib` finds the command."""
    command = [sys.executable, "-m", "ldmlib", "train", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "--first-stage-steps" in done.stdout


def test_saved_config_rebuilds_the_model(ldm, folder, tmp_path, small):
    train(ldm, folder, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    model = LatentDiffusion.from_pretrained(tmp_path / "run")
    assert config["size"] == 32 and model.config.unet == UNetConfig(**config["unet"])
