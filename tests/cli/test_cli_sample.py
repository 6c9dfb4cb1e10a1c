"""``ldm sample``: classes by name, one precision, the same pictures whatever else is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tiny
from ldmlib.cli import options
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.unet import UNetConfig


def model_of(folder, *classes: str):
    """A model of 8 x 8 pictures with these classes, untrained, in a folder."""
    first = AutoencoderConfig(latent_channels=2, widths=(8,))
    unet = UNetConfig(2, (8, 16), 1, heads=2, num_classes=len(classes))
    config = LatentDiffusionConfig(first, unet, size=8, classes=classes, steps=2)
    tiny.randomised(LatentDiffusion(config)).save_pretrained(folder)
    return folder


def labels_in(path) -> list[int]:
    return np.load(path)["labels"].tolist()


@pytest.mark.parametrize(
    ("asked", "labels"),
    [("dog", [1, 1, 1]), ("eel,cat", [2, 0, 2]), ("EEL", [2, 2, 2]), ("2", [2, 2, 2]),
     ('"red, round",0', [3, 0, 3]), ("red, round", [3, 3, 3]),
     ("Red, Round ", [3, 3, 3]), (" dog , cat", [1, 0, 1]), ("cafe\u0301", [4, 4, 4])],
)  # fmt: skip
def test_classes_are_asked_by_name_or_number(ldm, asked, labels, tmp_path) -> None:
    model_of(tmp_path / "m", "cat", "dog", "eel", "red, round", "caf\u00e9")
    out = tmp_path / "a.npz"
    code, printed = ldm("sample", tmp_path / "m", "--n", 3, "--out", out, "--labels", asked)
    assert code == 0 and labels_in(out) == labels
    assert np.load(out)["classes"].tolist()[:2] == ["cat", "dog"]
    assert "5 classes: 0 cat, 1 dog, 2 eel" in printed.splitlines()[0]


def test_folders_called_by_numbers_are_asked_by_these(ldm, tmp_path) -> None:
    model_of(tmp_path / "m", *map(str, range(1, 13)))
    out = tmp_path / "a.npz"
    code, printed = ldm("sample", tmp_path / "m", "--n", 2, "--out", out, "--labels", "12,1")
    assert code == 0 and labels_in(out) == [11, 0]
    assert "--labels 12 is the class of that name, number 11" in printed
    code, _ = ldm("sample", tmp_path / "m", "--n", 2, "--out", out, "--labels", "0")
    assert "there is no class '0' among 12 classes: 0 '1', 1 '2'" in code


def test_an_unknown_class_is_named_with_the_known_ones(ldm, tmp_path) -> None:
    model_of(tmp_path / "m", "cat", "dog")
    code, _ = ldm("sample", tmp_path / "m", "--out", tmp_path / "a.npz", "--labels", "dgo")
    assert "no class 'dgo' among 2 classes: 0 cat, 1 dog; did you mean 'dog'?" in code


def config_of(*classes: str, **more: object) -> LatentDiffusionConfig:
    first = AutoencoderConfig(latent_channels=2, widths=(8,))
    unet = UNetConfig(2, (8, 16), 1, heads=2, num_classes=len(classes))
    return LatentDiffusionConfig(first, unet, size=8, classes=classes, steps=2, **more)


def test_names_work_in_python_too() -> None:
    model = tiny.randomised(LatentDiffusion(config_of("cat", "dog"))).eval()
    assert torch.equal(model.sample(2, "dog"), model.sample(2, 1))
    assert torch.equal(model.sample(3, ["cat", 1, "any"]), model.sample(3, [0, 1, -1]))
    for names in (np.array(["dog", "cat"]), ("dog", "cat"), np.array([1, 0])):
        assert model.config.labels(names, 2).tolist() == [1, 0]
    state = next(iter(model.film(2, "dog")))
    assert torch.equal(state.x, next(iter(model.film(2, 1))).x)
    for wrong in (True, [True, False], [0.5, 1.0], {"cat": 1}, [None, 1]):
        with pytest.raises(TypeError, match="labels: expected"):
            model.sample(2, wrong)


@pytest.mark.parametrize(
    ("classes", "asked", "number"),
    [
        (("01", "02", "10"), "1", 0),  # folders are called so to be sorted
        (("01", "02", "10"), "010", 2),
        (tuple("0123"), "03", 3),
        (("5", "cat"), "5", 0),
        (("5", "cat"), "1", 1),  # not all are numbers: a number that is no name counts classes
        (("any", "cat"), "any", 0),
        (("cat ", "cat"), "cat ", 0),
        (("cat ", "cat"), "cat", 1),
        (("Cat", "cat"), "cat", 1),
        (("stra\u00dfe", "b"), "STRASSE", 0),
    ],
)
def test_the_name_that_is_nearest_is_meant(classes, asked, number) -> None:
    assert config_of(*classes).class_number(asked) == number


@pytest.mark.parametrize(
    ("classes", "asked", "said"),
    [
        (("cat", "Dog"), "DGO", "did you mean 'Dog'"),
        (("Cat", "cAt"), "cat", "did you mean"),  # either
        (("1", "2", "3"), "0", "no class '0' among 3 classes"),
        (("cat", "dog"), "2", "no class '2' among 2 classes"),
        (("cat", "dog"), "1.0", "no class '1.0'"),
        (("cat", "dog"), "-2", "no class '-2'"),
    ],
)
def test_classes_that_do_not_exist_are_never_drawn(classes, asked, said) -> None:
    with pytest.raises(ValueError, match=said):
        config_of(*classes).labels(asked, 1)


@pytest.mark.parametrize("text", ["", " ", "cat,", ",cat", "cat,,dog", "cat\ndog", "\n"])
def test_a_list_of_classes_that_is_none_is_named(text) -> None:
    with pytest.raises(ValueError, match="--labels|no class"):
        options.parsed_labels(text, config_of("cat", "dog"), 2)


def test_a_class_that_no_picture_was_learned_of_is_refused() -> None:
    config = config_of("cat", "dog", "eel", class_weights=(0.5, 0.0, 0.5))
    assert config.labels(["cat", "eel", "any"], 3).tolist() == [0, 2, -1]
    for labels in ("dog", 1, [0, 1]):
        with pytest.raises(ValueError, match="no picture of class 'dog', so it cannot draw it"):
            config.labels(labels, 2)


@pytest.mark.parametrize("guidance", [float("nan"), float("inf"), 1e39, -1e39])
def test_guidance_that_does_not_fit_into_float32_is_named(guidance) -> None:
    model = LatentDiffusion(config_of("cat"))
    with pytest.raises(ValueError, match="guidance is a number, 1 for none and 1,000 at most"):
        model.sample(1, 0, guidance=guidance)


def test_an_unknown_precision_is_not_taken_for_float32() -> None:
    model = LatentDiffusion(config_of("cat"))
    model.precision = "fp16"
    with pytest.raises(ValueError, match="precision is float32 or bfloat16, not 'fp16'"):
        model.sample(1)


def test_what_cannot_be_is_named_before_a_model_is_looked_for(ldm, tmp_path) -> None:
    words = ("sample", tmp_path / "nothing", "--out", tmp_path / "a.png", "--spacing", "leading")
    for steps, said in ((1001, "at most 1,000 steps"), (10**6, "at most 100,000 steps")):
        code, _ = ldm(*words, "--steps", steps)
        assert said in code
    code, _ = ldm(*words, "--steps", 1000)
    assert "neither a bundled model" in code


def test_the_first_line_says_what_a_model_does(ldm, tmp_path) -> None:
    for name, does in (("mnist_enlarges", "enlarges 8 x 8 to"), ("mnist_fills_holes", "fills")):
        _, printed = ldm("sample", name, "--n", 1, "--out", tmp_path / "a.png")
        assert printed.startswith(f"Loaded {name}: {does}") and "float32 on the CPU" in printed


def test_the_number_of_pictures_changes_no_picture(ldm, tmp_path) -> None:
    model_of(tmp_path / "m", "cat", "dog")
    images = []
    for n in (999, 1000):
        out = tmp_path / f"{n}.npz"
        code, printed = ldm("sample", tmp_path / "m", "--n", n, "--out", out, "--steps", 1)
        assert code == 0 and "computes in float32 on the CPU" in printed
        images.append(np.load(out)["images"].astype(int))
    assert np.abs(images[0] - images[1][:999]).max() <= 1


def test_the_precision_is_asked_for_and_said(ldm, tmp_path) -> None:
    model_of(tmp_path / "m", "cat")
    words = ("sample", tmp_path / "m", "--n", 2, "--out", tmp_path / "a.npz")
    code, printed = ldm(*words, "--precision", "bfloat16")
    assert code == 0 and "computes in bfloat16" in printed


@pytest.mark.parametrize("name", ["a.PNG", "a.NPZ"])
def test_endings_in_capitals_are_endings(ldm, name, tmp_path) -> None:
    model_of(tmp_path / "m", "cat")
    code, _ = ldm("sample", tmp_path / "m", "--n", 2, "--out", tmp_path / name)
    assert code == 0 and (tmp_path / name).is_file()


def test_the_home_folder_is_written_out_once(ldm, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model_of(tmp_path / "m", "cat")
    code, _ = ldm("sample", "~/m", "--n", 2, "--out", "~/a.png")
    assert code == 0 and (tmp_path / "a.png").is_file() and not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--n", "-3"), "1 or more"),
        (("--n", "100000000000"), "GB of memory"),
        (("--steps", "-1"), "at least 1 step"),
        (("--guidance", "nan"), "--guidance is a number"),
        (("--guidance", "-1"), "0 to 1,000, 1 for none, not -1.0"),
        (("--guidance", "1e39"), "0 to 1,000"),
        (("--guidance", "inf"), "--guidance is a number"),
        (("--sampler", "ddim", "--spacing", "leading", "--steps", "2000"), "at most 1,000 steps"),
        (("--steps", "1000000000"), "at most 100,000 steps"),
    ],
)
def test_impossible_numbers_end_in_a_sentence(ldm, options, said, tmp_path) -> None:
    model_of(tmp_path / "m", "cat")
    code, _ = ldm("sample", tmp_path / "m", "--out", tmp_path / "a.png", *options)
    assert str(code).startswith("ldm: ") and said in code and not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "CUDA 0", "xpu:0", "meta"])
def test_a_device_that_is_not_there_is_named(ldm, name, monkeypatch) -> None:
    monkeypatch.setenv("LDMLIB_DEVICE", name)
    code, _ = ldm("info")
    assert all(known in code for known in ("cpu", "cuda, or cuda:1", "mps"))
    assert code.startswith(f"ldm: LDMLIB_DEVICE is set to '{name.lower()}'") and "cpu" in code


def test_spaces_and_capitals_in_a_device_do_not_matter(ldm, monkeypatch) -> None:
    monkeypatch.setenv("LDMLIB_DEVICE", " CPU ")
    code, printed = ldm("info")
    assert code == 0 and "computes on the CPU" in printed


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"n": 2.0}, TypeError, "n is the number of pictures, a whole number, not 2.0"),
        ({"n": "2"}, TypeError, "not '2'"),
        ({"n": True}, TypeError, "not True"),
        ({"n": 0}, ValueError, "1 or more, not 0"),
        ({"n": 2, "batch_size": 0}, ValueError, "batch_size is the number of pictures at a time"),
        ({"n": 2, "batch_size": -5}, ValueError, "1 or more, not -5"),
        ({"n": 2, "batch_size": 1.5}, TypeError, "batch_size"),
    ],
)
def test_numbers_of_pictures_are_whole(options, error, said) -> None:
    model = LatentDiffusion(config_of("cat"))
    assert model.sample(np.int64(2), "cat", steps=np.int32(1)).shape == (2, 1, 8, 8)
    with pytest.raises(error, match=said):
        model.sample(**options)
