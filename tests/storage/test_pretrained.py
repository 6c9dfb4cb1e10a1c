"""Laws of `ldmlib.storage.saved_models`: weights and config belong together, whatever happens."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import nn

import tiny
from ldmlib.gan.model import Gan, GanConfig, PlayersConfig
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.classifier import (
    Classifier,
    ClassifierConfig,
    load_classifier,
    save_classifier,
)
from ldmlib.networks.unet import UNetConfig
from ldmlib.storage.files import load_json, load_tensors, save_json
from ldmlib.storage.saved_models import CONFIG, WEIGHTS, build, load_pair, save_pair


def save(folder: Path, value: float, **options) -> None:
    save_pair(folder, {"a": torch.full((3,), value)}, {"value": value}, **options)


def load(folder: Path) -> float:
    """The value that both files agree on; a hash that does not fit raises."""
    config = load_json(folder / CONFIG)
    tensor = load_tensors(folder / WEIGHTS, sha256=config["sha256"])["a"]
    assert os.listdir(folder) in ([CONFIG, WEIGHTS], [WEIGHTS, CONFIG])
    assert tensor.tolist() == [config["value"]] * 3
    return config["value"]


def test_round_trip_and_half(tmp_path: Path) -> None:
    save(tmp_path / "deep" / "er", 1.0)
    assert load(tmp_path / "deep" / "er") == 1.0
    save(tmp_path / "deep" / "er", 2.0, half=True)
    assert load_tensors(tmp_path / "deep" / "er" / WEIGHTS)["a"].dtype == torch.float16


@pytest.mark.parametrize("writes", [0, 1])
def test_a_disk_full_before_either_file_keeps_the_earlier_pair(
    writes: int, tmp_path: Path, monkeypatch
) -> None:
    save(tmp_path, 1.0)
    inner, done = Path.write_bytes, []

    def filling(path: Path, data: bytes) -> int:
        if len(done) == writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(path)
        return inner(path, data)

    monkeypatch.setattr(Path, "write_bytes", filling)
    with pytest.raises(OSError, match="no space left.*the earlier file is intact"):
        save(tmp_path, 2.0)
    assert load(tmp_path) == 1.0


@pytest.mark.parametrize("at", range(4))
def test_ctrl_c_at_any_replacement_waits_for_the_other_file(
    at: int, tmp_path: Path, monkeypatch
) -> None:
    save(tmp_path, 1.0)
    inner, done = os.replace, []

    def interrupted(source: Path, target: Path) -> None:
        inner(source, target)
        if len(done) == at:
            signal.raise_signal(signal.SIGINT)
        done.append(target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2.0)
    assert load(tmp_path) == 2.0


# --------------------------------------------------------------------------- reading
def latent_model() -> LatentDiffusion:
    first = AutoencoderConfig(latent_channels=2, widths=(8,))
    net = UNetConfig(2, (8, 16), 1, heads=2, num_classes=3)
    return LatentDiffusion(LatentDiffusionConfig(first, net, size=8, classes=("a", "b", "c")))


def gan() -> Gan:
    return Gan(GanConfig(PlayersConfig(size=8, widths=(8, 8), judge_widths=(8, 8))))


HUGE = [900_000, 900_000]
# A small model, its settings, its class, and what makes its settings those of a huge one.
MODELS = {
    "latent": (latent_model, LatentDiffusionConfig, LatentDiffusion, ("unet", "channels")),
    "gan": (gan, GanConfig, Gan, ("players", "widths")),
    "classifier": (tiny.classifier, ClassifierConfig, Classifier, ("widths",)),
}
each_model = pytest.mark.parametrize(
    ("make", "kind", "model", "widths"), MODELS.values(), ids=MODELS
)


class Built(list):
    """Devices on which a model was built; a build that would take memory is seen here."""

    def of(self, model: type) -> Callable:
        def build(config):
            self.append(torch.empty(0).device.type)
            return model(config)

        return build


def change(folder: Path, **values) -> None:
    save_json(folder / CONFIG, {**load_json(folder / CONFIG), **values})


@each_model
def test_a_model_comes_back(make, kind, model, widths, tmp_path: Path, recwarn) -> None:
    saved, built = tiny.randomised(make()), Built()
    save_pair(tmp_path, saved.state_dict(), asdict(saved.config))
    loaded = load_pair(tmp_path, kind, built.of(model), "model")
    assert loaded.config == saved.config and built == ["meta", "cpu"]
    for key, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)
    assert not [one for one in recwarn if "sha256" in str(one.message)]


@each_model
def test_another_architecture_is_known_before_memory_is_taken(
    make, kind, model, widths: tuple[str, ...], tmp_path: Path
) -> None:
    config, built = asdict(make().config), Built()
    save_pair(tmp_path, make().state_dict(), config)
    *part, name = widths
    change(tmp_path, **({part[0]: {**config[part[0]], name: HUGE}} if part else {name: HUGE}))
    with pytest.raises(ValueError, match=r"another architecture.*900000.*Build the model"):
        load_pair(tmp_path, kind, built.of(model), "model")
    assert built == ["meta"]


def test_settings_that_build_nothing_are_named_with_their_file(tmp_path: Path) -> None:
    save_classifier(tiny.classifier(), tmp_path)
    change(tmp_path, widths=[])
    with pytest.raises(ValueError, match=r"classifier: the checkpoint is from another arch"):
        load_classifier(tmp_path)
    latent_model().save_pretrained(tmp_path)
    unet = load_json(tmp_path / CONFIG)["unet"]
    change(tmp_path, unet={**unet, "dropout": 1.5})
    with pytest.raises(ValueError, match=r"config\.json: .* can't be built .*dropout probability"):
        LatentDiffusion.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"layer can't be built from these settings: .*negative"):
        build(lambda: nn.Linear(-1, 2), {}, "layer")
    with pytest.raises(ValueError, match=r"layer: .*another architecture.*weight 2x3 for 2x\d+"):
        build(lambda: nn.Linear(10**9, 2), nn.Linear(3, 2).state_dict(), "layer")


@pytest.mark.parametrize("value", [5, "", "abc", ["0" * 64], True, "0" * 64])
def test_a_hash_that_is_none_or_another(value: object, tmp_path: Path) -> None:
    save_classifier(tiny.classifier(), tmp_path)
    change(tmp_path, sha256=value)
    with pytest.raises(ValueError, match="SHA-256|sha256: expected 64 hexadecimal digits"):
        load_classifier(tmp_path)


def test_without_a_hash_it_is_said_that_nothing_was_checked(tmp_path: Path) -> None:
    save_classifier(tiny.classifier(), tmp_path)
    for values in ({}, {"sha256": None}):
        config = {k: v for k, v in load_json(tmp_path / CONFIG).items() if k != "sha256"}
        save_json(tmp_path / CONFIG, {**config, **values})
        with pytest.warns(
            UserWarning, match=r"config\.json holds no sha256, so nothing has"
        ) as own:
            load_classifier(tmp_path)
        assert len(own) == 1 and own[0].filename == __file__


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a"]}, "1 classes have names, but the denoiser knows 3"),
        ({"class_weights": [1.0]}, "class_weights: 1 shares for"),
        ({"class_weights": [0, 0, 0]}, "class_weights: 3 shares for 3 classes, or all 0"),
        ({"tokenizer": {"merges": []}}, "tokens, but the denoiser has a vocabulary of 0"),
    ],
)
def test_parts_that_contradict_each_other(changes: dict, message: str, tmp_path: Path) -> None:
    latent_model().save_pretrained(tmp_path)
    assert LatentDiffusion.from_pretrained(tmp_path).config.classes == ("a", "b", "c")
    change(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        LatentDiffusion.from_pretrained(tmp_path)


def test_a_classifier_is_saved_as_a_pair_too(tmp_path: Path, monkeypatch) -> None:
    save_classifier(tiny.classifier(), tmp_path, accuracy=0.5)
    before = (tmp_path / WEIGHTS).read_bytes(), (tmp_path / CONFIG).read_bytes()
    monkeypatch.setattr("ldmlib.storage.saved_models.save_json", lambda *_: pytest.fail("stopped"))
    with pytest.raises(pytest.fail.Exception):
        save_classifier(tiny.randomised(tiny.classifier()), tmp_path, accuracy=0.6)
    assert before == ((tmp_path / WEIGHTS).read_bytes(), (tmp_path / CONFIG).read_bytes())


def test_counters_are_not_rounded(tmp_path: Path) -> None:
    tensors = {"steps": torch.tensor(100_003), "a": torch.ones(2)}
    save_pair(tmp_path, tensors, {}, half=True)
    saved = load_tensors(tmp_path / WEIGHTS)
    assert int(saved["steps"]) == 100_003 and saved["a"].dtype == torch.float16
