"""``ldm train`` where runs are stopped, repeated, mixed up or put into strange places."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldmlib.data.dataset import ImageData
from ldmlib.data.record import DataRecord
from ldmlib.latent import recipes, stages
from ldmlib.latent.model import LatentDiffusion
from ldmlib.latent.stages import train_latent_diffusion
from ldmlib.training import run
from ldmlib.training.run_folder import LOCK


def smaller(*arguments):
    """The recipe that the data ask for, with small networks."""
    recipe = CHOSEN(*arguments)
    stage = replace(recipe.autoencoder, widths=(8,) * len(recipe.autoencoder.widths))
    return replace(recipe, autoencoder=stage, unet=replace(recipe.unet, channels=(8, 16)))


CHOSEN = recipes.for_data


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Small networks, and a precision that does not depend on the clock."""
    monkeypatch.setattr(recipes, "for_data", smaller)
    monkeypatch.setattr(run, "pick_precision", lambda *_: "float32")


def draw(folder: Path, classes: str = "abc", n: int = 6, shade: int = 0, side: int = 32) -> Path:
    """A folder of `n` small pictures for each class."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            colour = (20 * number + shade, 10 * i, 40)
            Image.new("RGB", (side, side), colour).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def pictures(tmp_path):
    return draw(tmp_path / "pictures")


def train(ldm, data, out, *more):
    return ldm("train", "--data", data, f"--out={out}", "--steps", 2, "--first-stage-steps", 2,
               *more)  # fmt: skip


def written(folder: Path) -> dict:
    """Content and time of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


FILES = [
    *("config.json", "first_stage/checkpoint.pt", "model.safetensors", "run.json"),
    "second_stage/checkpoint.pt",
]


def test_a_run_says_first_what_it_read_and_where_it_goes(ldm, pictures, tmp_path) -> None:
    out = tmp_path / "my runs" / "one"
    code, printed = train(ldm, pictures, out)
    lines = printed.splitlines()
    assert code == 0
    assert lines[0].startswith("Read pictures: 16 RGB pictures of 32 x 32; 2 more held out;")
    assert lines[0].endswith("3 classes: 0 a, 1 b, 2 c.")
    assert lines[1] == (f"Training on the CPU in float32; checkpoints and the model go to '{out}'.")
    assert f"ldm sample '{out}' --out" in lines[-1]  # can be pasted as it is
    assert sorted(written(out)) == FILES  # and nothing else is left
    config = json.loads((out / "config.json").read_text())
    record = DataRecord.from_dict(config["data"])
    assert (record.count, record.held_out, record.classes) == (16, 2, ("a", "b", "c"))
    assert record.largest_held_out_key > 0 and len(record.sha256) == 64
    assert json.loads((out / "run.json").read_text())["model"]["data"] == config["data"]


def test_a_tilde_is_the_home_folder_everywhere(ldm, pictures, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert train(ldm, "~/pictures", "~/r")[0] == 0
    assert sorted(written(tmp_path / "r")) == FILES and not (tmp_path / "~").exists()
    before = written(tmp_path / "r")
    for more in ([], ["--seed", 9]):
        code, _ = train(ldm, "~/pictures", "~/r", *more)
        assert "already holds a run" in code and written(tmp_path / "r") == before
    assert LatentDiffusion.from_pretrained("~/r").config.classes == ("a", "b", "c")


def test_a_tilde_without_a_home_is_explained(ldm, pictures, monkeypatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", os.fspath)
    code, _ = train(ldm, pictures, "~/r")
    assert str(code).startswith("ldm: ") and "this user has none. Set HOME" in code


def test_a_finished_run_writes_nothing(ldm, pictures, tmp_path) -> None:
    out = tmp_path / "run"
    train(ldm, pictures, out)
    before = written(out)
    code, printed = train(ldm, pictures, out, "--resume")
    assert code == 0 and "is finished" in printed and "Model saved" not in printed
    assert written(out) == before


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda p: draw(p, "xyz", shade=100), "0 a, 1 b, 2 c there, 3 classes: 0 x, 1 y, 2 z here"),
        (lambda p: draw(p, "bcz"), "3 classes: 0 b, 1 c, 2 z here"),
        (lambda p: draw(p, shade=1), "16 training pictures and the same classes, but other"),
        (lambda p: draw(p, n=8), "16 training pictures there, 22 here"),
        (lambda p: draw(p, side=64), "of 32 x 32 there, RGB ones of 64 x 64 here"),
    ],
)
def test_other_data_are_refused_with_what_differs(ldm, pictures, tmp_path, other, said) -> None:
    out = tmp_path / "run"
    train(ldm, pictures, out)
    before = written(out)
    code, _ = train(ldm, other(tmp_path / "other" / "pictures"), out, "--resume")
    assert "other data" in code and said in code
    assert written(out) == before


def test_other_settings_are_refused_by_their_options(ldm, pictures, tmp_path) -> None:
    out = tmp_path / "run"
    train(ldm, pictures, out)
    before = written(out)
    (out / "model.safetensors").rename(tmp_path / "kept")  # not finished, then
    code, _ = train(ldm, pictures, out, "--resume", "--seed", 9, "--precision", "bfloat16")
    assert "--seed: 0 there, 9 here" in code and "--precision: float32 there, bfloat16" in code
    (tmp_path / "kept").rename(out / "model.safetensors")
    assert written(out) == before


def test_the_precision_is_chosen_once_for_the_run(ldm, pictures, tmp_path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(run, "pick_precision", lambda *_: asked.append(1) or "bfloat16")
    out = tmp_path / "run"
    code, printed = train(ldm, pictures, out)
    assert code == 0 and len(asked) == 1 and "Training on the CPU in bfloat16" in printed
    (out / "second_stage" / "checkpoint.pt").unlink()
    monkeypatch.setattr(run, "pick_precision", lambda *_: asked.append(1) or "float32")
    code, printed = train(ldm, pictures, out, "--resume")
    assert code == 0 and len(asked) == 1 and "in bfloat16" in printed
    code, printed = train(ldm, pictures, tmp_path / "given", "--precision", "float32")
    assert code == 0 and len(asked) == 1 and "in float32" in printed


def test_a_run_of_an_earlier_version_goes_on_with_a_remark(ldm, pictures, tmp_path) -> None:
    out = tmp_path / "run"
    train(ldm, pictures, out)
    model = (out / "model.safetensors").read_bytes()
    (out / "run.json").unlink()
    for stage in ("first_stage", "second_stage"):
        path = out / stage / "checkpoint.pt"
        state = torch.load(path)
        state["config"]["precision"] = "auto"
        del state["data"]
        torch.save(state, path)
    before = written(out)
    code, printed = train(ldm, pictures, out, "--resume")
    assert code == 0 and "earlier version" in printed and written(out) == before
    (out / "config.json").unlink()
    code, printed = train(ldm, pictures, out, "--resume")
    assert code == 0 and printed.count("does not say what it was trained on") == 2
    assert (out / "model.safetensors").read_bytes() == model


def test_a_model_without_checkpoints_is_not_trained_over(ldm, pictures, tmp_path) -> None:
    out = tmp_path / "run"
    train(ldm, pictures, out)
    shutil.rmtree(out / "first_stage"), shutil.rmtree(out / "second_stage")
    before = written(out)
    code, _ = train(ldm, pictures, out, "--resume")
    assert "no checkpoint to resume from" in code and written(out) == before


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "both", "second"])
def test_a_run_killed_while_it_saved_is_mended(ldm, pictures, tmp_path, missing) -> None:
    """Whatever the moment, resuming ends with the model of an uninterrupted run."""
    out = tmp_path / "run"
    train(ldm, pictures, out)
    whole = {name: (out / name).read_bytes() for name in FILES if "checkpoint" not in name}
    if missing == "second":  # killed between the stages
        shutil.rmtree(out / "second_stage")
    for name in ("config.json", "model.safetensors"):
        if missing in (name, "both", "second"):
            (out / name).unlink()
    code, printed = train(ldm, pictures, out, "--resume")
    assert code == 0 and "Model saved" in printed
    assert {name: (out / name).read_bytes() for name in whole} == whole


def test_the_model_of_an_interrupted_run_is_replaced_at_the_end(ldm, pictures, tmp_path) -> None:
    """Its files fit each other, but they are not the last step's."""
    out = tmp_path / "run"
    train(ldm, pictures, out)
    whole = (out / "model.safetensors").read_bytes()
    model = LatentDiffusion.from_pretrained(out)
    with torch.no_grad():
        model.denoiser.head.bias += 1
    model.save_pretrained(out)
    code, _ = train(ldm, pictures, out, "--resume")
    assert code == 0 and (out / "model.safetensors").read_bytes() == whole


HOLD = """
import sys, time
from ldmlib.training.run_folder import locked
with locked(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_folder_in_training_is_refused_until_its_process_ends(ldm, pictures, tmp_path) -> None:
    out = tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": str(Path(stages.__file__).parents[2])}
    command = [sys.executable, "-c", HOLD, str(out)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    try:
        assert other.stdout.readline().strip() == b"locked"
        code, _ = train(ldm, pictures, out)
        assert f"in use: process {other.pid} on " in code
        assert [path.name for path in out.iterdir()] == [LOCK]
    finally:
        other.kill(), other.wait(), other.stdout.close()
    assert (out / LOCK).is_file()  # left behind, and in nobody's way
    assert train(ldm, pictures, out)[0] == 0
    assert sorted(written(out)) == FILES


def test_the_name_of_a_bundled_model_gets_a_dot(ldm, pictures, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed = train(ldm, pictures, "mnist")
    assert code == 0 and "ldm sample ./mnist --out samples.png" in printed


def test_odd_sizes_come_back_as_they_went_in(ldm, tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 30, 30), np.uint8)
    np.savez(tmp_path / "own.npz", images=pixels, labels=np.arange(24) % 3)
    code, printed = train(ldm, tmp_path / "own.npz", tmp_path / "run")
    assert code == 0 and "padded to 32 x 32" in printed
    model = LatentDiffusion.from_pretrained(tmp_path / "run")
    assert (model.config.size, model.config.canvas, model.latent_shape[1]) == (30, 32, 16)
    assert model.sample(2, steps=1).shape == (2, 1, 30, 30)
    code, printed = train(ldm, tmp_path / "own.npz", tmp_path / "28", "--size", 28)
    assert code == 0 and "padded" not in printed  # small networks can halve it
    mask = Image.fromarray(np.pad(np.full((20, 10), 255, np.uint8), ((0, 10), (0, 20))))
    mask.save(tmp_path / "mask.png")
    np.savez(tmp_path / "some.npz", images=pixels[:2])
    code, _ = ldm("edit", tmp_path / "run", tmp_path / "some.npz", "--mask", tmp_path / "mask.png",
                  "--steps", 2, "--out", tmp_path / "edited.npz")  # fmt: skip
    edited = np.load(tmp_path / "edited.npz")["images"][..., 0]
    changed = edited != pixels[:2]
    assert code == 0 and changed[:, :20, :10].any() and not changed[:, 20:].any()


@pytest.mark.parametrize("inside", ["", "runs", "a/runs"])
def test_results_do_not_go_among_the_pictures(ldm, pictures, inside) -> None:
    before = written(pictures)
    code, _ = train(ldm, pictures, pictures / inside)
    assert "lies in the folder of pictures" in code and written(pictures) == before


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        *(("--steps", "-1", "expected 1"), ("--batch-size", "0", "expected 1")),
        *(("--size", "-32", "1 or more, got -32"), ("--size", "1000000000", "4096 pixels")),
        *(("--seed", "-1", "from 0 to 2^63 - 1"), ("--first-stage-steps", "0", "expected 1")),
    ],
)
def test_impossible_numbers_are_refused_before_anything_is_read(
    ldm, tmp_path, option, value, said
) -> None:
    code, _ = ldm("train", "--data", tmp_path / "nowhere", "--out", tmp_path / "x", option, value)
    assert str(code).startswith(f"ldm: {option}: expected") and said in code
    assert not (tmp_path / "x").exists()


def test_ctrl_c_while_data_are_read_is_one_sentence(ldm, pictures, tmp_path, monkeypatch) -> None:
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ldmlib.data.load_parts", interrupted)
    code, _ = train(ldm, pictures, tmp_path / "run")
    assert code == "ldm: stopped. Nothing was written." and not (tmp_path / "run").exists()


def test_a_name_that_is_no_text_is_refused_before_the_first_step(tmp_path, monkeypatch) -> None:
    data = ImageData(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), [0, 1] * 4, ("caf\udce9", "the"))
    monkeypatch.setattr(stages, "train", None)
    with pytest.raises(ValueError, match="cannot be written as UTF-8"):
        train_latent_diffusion(data, data, smaller(data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_name_that_cannot_be_printed_stops_nothing(ldm, pictures, tmp_path, monkeypatch) -> None:
    (pictures / "a").rename(pictures / "\u56fe")
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", screen)
    code, _ = train(ldm, pictures, tmp_path / "run")
    screen.flush()
    assert code == 0 and rb"3 classes: 0 b, 1 c, 2 \u56fe." in screen.buffer.getvalue()
