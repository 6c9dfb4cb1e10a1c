"""Laws of `latent.model`: sampling that repeats, latents of unit variance, files to trust."""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

import tiny
from ldmlib.data import emoji, mnist
from ldmlib.data.record import DataRecord
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.samplers import dpmpp_2m
from ldmlib.diffusion.spacing import SPACINGS, spaced_times
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import BUNDLED, LatentDiffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.unet import UNetConfig
from ldmlib.storage.files import asset, load_json, sha256_of
from ldmlib.storage.saved_models import WEIGHTS, save_pair

CLASSES = ("left", "right", "up")


def tiny_model(seed: int = 0, widths: tuple[int, ...] = (8,), classes=CLASSES, **options):
    """Pictures (1, 8, 8), latents (2, 4, 4), random weights, an arbitrary latent scale."""
    first = AutoencoderConfig(latent_channels=2, widths=widths)
    net = UNetConfig(first.latent_channels, (8, 16), 1, heads=2, num_classes=len(classes))
    config = LatentDiffusionConfig(first, net, size=8, classes=classes, steps=2, **options)
    model = tiny.randomised(LatentDiffusion(config), seed)
    channels = first.latent_channels
    model.latent_mean.copy_(tiny.noise(1, channels, 1, 1, seed=8))
    model.latent_std.copy_(0.5 + tiny.noise(1, channels, 1, 1, seed=9).abs())
    return model.eval()


MODEL = tiny_model()

# Sizes that the networks cannot halve


def padded_model(widths: tuple[int, ...] = (8,), **options) -> LatentDiffusion:
    """Pictures (1, 7, 7) on a canvas of 8 x 8."""
    model = tiny_model(widths=widths, **options)
    model.config = replace(model.config, size=7, canvas=8)
    return model


@pytest.mark.parametrize("widths", [(8,), ()])
def test_pictures_are_padded_and_cropped_inside(widths: tuple[int, ...], tmp_path: Path) -> None:
    model, x = padded_model(widths), tiny.pictures(3, size=7)
    wide = model.config.padded(x)
    assert wide.shape == (3, 1, 8, 8) and torch.equal(wide[..., :7, :7], x)
    assert torch.equal(wide[..., 7, :7], x[..., 6, :])  # the edge is repeated
    assert torch.equal(model.config.cropped(wide), x)
    plain = tiny_model(widths=widths)
    assert torch.equal(model.encode(x), plain.encode(wide))
    assert torch.equal(model.decode(model.encode(x)), plain.decode(plain.encode(wide))[..., :7, :7])
    assert torch.equal(model.sample(2, seed=3), plain.sample(2, seed=3)[..., :7, :7])
    model.save_pretrained(tmp_path)
    loaded = LatentDiffusion.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert torch.equal(loaded.sample(2, seed=3), model.sample(2, seed=3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.bool])
def test_anything_can_be_padded_in_the_middle(dtype: torch.dtype) -> None:
    config = replace(MODEL.config, size=4, canvas=8)
    x = (tiny.noise(2, 1, 4, 4) > 0).to(dtype)
    wide = config.padded(x)
    assert wide.dtype == dtype and wide.shape == (2, 1, 8, 8)
    assert torch.equal(wide[..., 2:6, 2:6], x) and torch.equal(config.cropped(wide), x)


def test_a_canvas_is_not_smaller_than_the_pictures() -> None:
    with pytest.raises(ValueError, match="canvas 4 is smaller than the pictures of size 8"):
        replace(MODEL.config, canvas=4)


# Weights of other kinds and in wrappers


@pytest.mark.parametrize("convert", ["half", "bfloat16", "double"])
def test_weights_may_be_of_any_float_type(convert: str, tmp_path: Path) -> None:
    model, x = getattr(tiny_model(), convert)(), tiny.pictures(3)
    z, t = MODEL.encode(x), torch.tensor([0.9, 0.5, 0.1])
    close = {"atol": 0.15, "rtol": 0.1}
    torch.testing.assert_close(model.encode(x), z, **close)
    torch.testing.assert_close(model.decode(z), MODEL.decode(z), **close)
    labels = torch.tensor([0, 1, 2])
    torch.testing.assert_close(model.denoise(z, t, labels), MODEL.denoise(z, t, labels), **close)
    torch.testing.assert_close(model.encode(x.double()), z, **close)
    assert model.sample(2, 0, seed=1).dtype == torch.float32
    model.save_pretrained(tmp_path)
    loaded = LatentDiffusion.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded.decode(z), MODEL.decode(z), **close)


WRAPPERS = {
    "compiled": lambda network: torch.compile(network, backend="eager"),
    "parallel": torch.nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "both": lambda network: torch.nn.DataParallel(torch.compile(network, backend="eager")),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_leave_no_trace_in_files(wrap, tmp_path: Path) -> None:
    model = tiny_model()
    model.denoiser = wrap(model.denoiser)
    model.save_pretrained(tmp_path / "wrapped")
    MODEL.save_pretrained(tmp_path / "plain")
    files = [tmp_path / name / "model.safetensors" for name in ("wrapped", "plain")]
    assert files[0].read_bytes() == files[1].read_bytes()
    whole = torch.compile(tiny_model(), backend="eager")
    whole.save_pretrained(tmp_path / "whole")
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == files[1].read_bytes()


def test_files_with_the_names_of_wrappers_are_read(tmp_path: Path) -> None:
    """Earlier versions wrote them."""
    MODEL.save_pretrained(tmp_path)
    weights = {
        k.replace("denoiser.", "denoiser._orig_mod.module."): v
        for k, v in MODEL.state_dict().items()
    }
    weights["denoiser.n_averaged"] = torch.tensor(3)
    save_pair(tmp_path, weights, asdict(MODEL.config))
    loaded = LatentDiffusion.from_pretrained(tmp_path)
    assert tiny.differences(loaded.state_dict(), MODEL.state_dict()) == []


# Latents


def test_scaled_latents_have_unit_variance_in_each_channel() -> None:
    """Law 23, on the whole set, larger than one batch of the encoder."""
    model, x = tiny_model(), tiny.pictures(700)
    z = model.fit_latent_scale(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(model.encode(x), z)
    assert z.shape == (700, *model.latent_shape) == (700, 2, 4, 4)
    assert torch.equal(model.fit_latent_scale(x), z)  # the old scale does not leak into the new
    assert model.latent_std.flatten()[0] != model.latent_std.flatten()[1]


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 4, 4), (2, 3, 4, 4)])
def test_what_is_no_batch_of_latents_is_not_stretched_into_one(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"latents must be \(n, 2, h, w\), not"):
        MODEL.decode(torch.zeros(shape))


def test_decoding_undoes_the_scale() -> None:
    """decode(unscale(scale(z))) = decode(z)."""
    x = tiny.pictures(5)
    z = MODEL.autoencoder.encode(x).mode()
    expected = MODEL.autoencoder.decode(z).clamp(-1, 1)
    torch.testing.assert_close(MODEL.decode(MODEL.encode(x)), expected, atol=1e-5, rtol=1e-4)
    assert not MODEL.encode(x).requires_grad


def test_a_dead_channel_does_not_divide_by_zero() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.autoencoder.encoder[-1].weight.zero_()
    assert model.fit_latent_scale(tiny.pictures(5)).isfinite().all()


def test_pixels_are_their_own_latents() -> None:
    model, x = tiny_model(widths=()), tiny.pictures(6)
    z = model.fit_latent_scale(x)
    assert torch.equal(z, x) and torch.equal(model.decode(z), x)
    assert model.latent_shape == (1, 8, 8)
    last = list(model.film(3, labels=0))[-1]
    assert last.x0.abs().max() <= 1  # clipped on the way; latents never are
    assert model.sample(3).shape == (3, 1, 8, 8)


# Sampling


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "euler", "heun"])
def test_pictures_have_the_promised_shape_type_and_range(sampler: str) -> None:
    x = MODEL.sample(5, sampler=sampler)
    assert x.shape == (5, 1, 8, 8) and x.dtype == torch.float32 and x.device.type == "cpu"
    assert x.abs().max() <= 1 and x.isfinite().all() and not x.requires_grad
    assert (x[0] - x[1]).abs().max() > 0.01


def close(a, b) -> None:
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sampler", ["ddpm", "heun"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_picture_i_does_not_depend_on_its_neighbours(sampler: str, guidance: float) -> None:
    """Law 18: neither on n, nor on the batch size, nor on where a run was cut."""
    options = {"guidance": guidance, "sampler": sampler, "seed": 3}
    whole = MODEL.sample(7, **options)
    for n in (1, 2, 5):
        close(MODEL.sample(n, **options), whole[:n])
    close(MODEL.sample(7, batch_size=3, **options), whole)
    close(MODEL.sample(3, start=4, **options), whole[4:])
    close(MODEL.sample(1, start=6, **options), whole[6:])
    assert (MODEL.sample(7, **{**options, "seed": 4}) - whole).abs().max() > 0.01


def test_bfloat16_only_rounds() -> None:
    model = tiny_model()
    exact = model.sample(6)
    model.precision = "bfloat16"
    rounded = model.sample(6)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    assert (rounded - exact).abs().mean() < 0.02 < exact.std()
    assert model.decode(tiny.noise(2, *model.latent_shape)).dtype == torch.float32


def test_sampling_repeats_and_leaves_no_trace() -> None:
    model = tiny_model().train()
    torch.manual_seed(1)
    state, one = torch.get_rng_state(), model.sample(3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(model.sample(3), one)
    assert model.training
    next(model.film(3)).x.sum()  # a film that nobody watches to its end
    assert model.training


def test_steps_may_be_spaced_and_stepped_in_any_way() -> None:
    """Names and functions reach the sampler as they are, in `sample` as in `film`."""
    schedule, times = MODEL.diffusion.curves, set()
    for spacing in SPACINGS:
        found = [state.t for state in MODEL.film(2, 0, 4, spacing=spacing)]
        assert found == spaced_times(spacing, 4, schedule)[1:].tolist()
        times.add(tuple(found))
    assert len(times) == len(SPACINGS)
    named = MODEL.sample(2, 0, 4, sampler="dpmpp_2m", spacing="karras")
    close(MODEL.sample(2, 0, 4, sampler=dpmpp_2m, spacing="karras"), named)
    assert (named - MODEL.sample(2, 0, 4, sampler="dpmpp_2m")).abs().max() > 1e-4
    with pytest.raises(ValueError, match="unknown spacing 'even'"):
        MODEL.sample(2, 0, spacing="even")


def test_every_form_of_labels() -> None:
    same = MODEL.sample(4, labels=2)
    for form in ([2, 2, 2, 2], torch.tensor([2] * 4), torch.tensor(2)):
        assert torch.equal(MODEL.sample(4, labels=form), same)
    mixed = MODEL.sample(4, labels=[0, 2, -1, 2])
    close(mixed[[1, 3]], same[[1, 3]])
    assert (mixed[[0, 2]] - same[[0, 2]]).abs().amax((1, 2, 3)).min() > 1e-4
    close(MODEL.sample(4, labels=-1)[2], mixed[2])


def test_labels_that_are_drawn_are_told_and_frequent_as_in_training() -> None:
    model = tiny_model(class_weights=(0.7, 0.3, 0.0))
    drawn = model.draw_labels(4000, seed=1)
    shares = torch.bincount(drawn, minlength=3) / 4000
    assert shares[2] == 0 and float(shares[0]) == pytest.approx(0.7, abs=0.03)
    assert torch.equal(model.draw_labels(1000, seed=1, start=500), drawn[500:1500])
    close(model.sample(3, seed=1), model.sample(3, drawn[:3], seed=1))
    for seed in range(20):  # one label is the first of many
        assert torch.equal(model.draw_labels(1, seed), model.draw_labels(9, seed)[:1])
    assert tiny_model(classes=()).draw_labels(5) is None


def test_guidance_zero_is_the_open_class() -> None:
    close(MODEL.sample(3, labels=1, guidance=0.0), MODEL.sample(3, labels=-1))
    strong = MODEL.sample(3, labels=1, guidance=3.0)
    assert (strong - MODEL.sample(3, labels=1)).abs().max() > 1e-3


def test_a_model_may_have_its_own_guidance() -> None:
    model = tiny_model(guidance=3.0)
    close(model.sample(3, labels=1), MODEL.sample(3, labels=1, guidance=3.0))
    close(model.sample(3, labels=1, guidance=1.0), MODEL.sample(3, labels=1))


def test_a_models_guidance_acts_in_its_interval_only(tmp_path: Path) -> None:
    never = tiny_model(guidance=3.0, guidance_interval=(0.91, 0.99))  # between two of the times
    close(never.sample(3, labels=1, steps=5), MODEL.sample(3, labels=1, steps=5))
    some = tiny_model(guidance=3.0, guidance_interval=(0.3, 0.9))
    found = some.sample(3, labels=1, steps=5)
    for guidance in (1.0, 3.0):
        assert (found - MODEL.sample(3, labels=1, steps=5, guidance=guidance)).abs().max() > 1e-3
    some.save_pretrained(tmp_path)
    close(some.sample(3, labels=1, steps=5, guidance=3.0), MODEL.sample(3, 1, 5, guidance=3.0))
    back = LatentDiffusion.from_pretrained(tmp_path)
    assert back.config == some.config
    close(back.sample(3, labels=1, steps=5), found)


def test_a_film_ends_in_the_sample() -> None:
    states = list(MODEL.film(3, labels=[0, 1, 2], steps=4, seed=5))
    assert [s.t for s in states] == [0.75, 0.5, 0.25, 0.0]
    assert torch.equal(MODEL.decode(states[-1].x), MODEL.sample(3, [0, 1, 2], 4, seed=5))
    assert not states[-1].x.requires_grad
    assert torch.zeros(1, requires_grad=True).add(1).requires_grad  # gradients are on again


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "1 or more, not 0"),
        ({"n": 2, "labels": 3}, ValueError, "0 to 2"),
        ({"n": 2, "labels": [0, -2]}, ValueError, "0 to 2"),
        ({"n": 2, "labels": [0, 1, 2]}, ValueError, r"\(2,\)"),
        ({"n": 2, "labels": [0.5, 1.0]}, TypeError, "whole numbers"),
        ({"n": 2, "steps": 0}, ValueError, "at least 1 step"),
        ({"n": 2, "labels": 1, "guidance": float("nan")}, ValueError, "guidance is a number"),
        ({"n": 2, "sampler": "plms"}, ValueError, "known are ddpm, ddim, euler, heun"),
    ],
)
def test_bad_requests_are_named(options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        MODEL.sample(**options)


def test_an_unconditional_model_refuses_labels_and_guidance() -> None:
    model = tiny_model(classes=())
    assert model.sample(2).shape == (2, 1, 8, 8)
    with pytest.raises(ValueError, match="trained without labels"):
        model.sample(2, labels=1)
    with pytest.raises(ValueError, match="guidance"):
        model.sample(2, guidance=2.0)


# Files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    MODEL.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def trust(folder: Path) -> None:
    """Write the true hash of whatever weights are there."""
    change_config(folder, sha256=sha256_of(folder / WEIGHTS))


def test_saving_and_loading_keeps_every_bit(tmp_path: Path) -> None:
    diffusion = Diffusion("cosine", "v", "uniform", "min_snr")
    model = tiny_model(diffusion=diffusion, class_weights=(0.5, 0.3, 0.2), facts={"seed": 3})
    model.save_pretrained(tmp_path)
    loaded = LatentDiffusion.from_pretrained(tmp_path)
    assert loaded.config == model.config and not loaded.training
    assert tiny.differences(loaded.state_dict(), model.state_dict()) == []
    assert torch.equal(loaded.sample(3), model.sample(3))
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    loaded.save_pretrained(tmp_path)  # over the old one
    assert torch.equal(LatentDiffusion.from_pretrained(str(tmp_path)).sample(3), model.sample(3))


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    for source in ("minst", tmp_path, tmp_path / "nothing"):
        with pytest.raises(
            FileNotFoundError, match=r"bundled model \(mnist, mnist_pixels, emoji.*config.json"
        ):
            LatentDiffusion.from_pretrained(source)


def test_missing_files_are_named(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        LatentDiffusion.from_pretrained(folder)


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_weights_cut_short_are_refused(folder: Path, cut: int) -> None:
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:cut])
    with pytest.raises(ValueError, match="expected SHA-256"):
        LatentDiffusion.from_pretrained(folder)
    trust(folder)  # even where the hash agrees
    with pytest.raises(ValueError, match="cut short or not a safetensors file"):
        LatentDiffusion.from_pretrained(folder)


def test_changed_weights_have_another_hash(folder: Path) -> None:
    tiny_model(seed=1).save_pretrained(folder.parent / "other")
    (folder.parent / "other" / WEIGHTS).replace(folder / WEIGHTS)
    with pytest.raises(ValueError, match="SHA-256.*belongs to another config"):
        LatentDiffusion.from_pretrained(folder)


def test_another_architecture_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    change_config(folder, unet={**config["unet"], "channels": [8, 24]})
    with pytest.raises(ValueError, match="latent diffusion model.*another architecture"):
        LatentDiffusion.from_pretrained(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unet": {"depth": 3}}, "does not describe a LatentDiffusion.*depth"),
        ({"autoencoder": None}, "does not describe"),
        ({"sampler_name": "heun"}, "does not describe.*sampler_name"),
        ({"diffusion": {"schedule": "sigmoid"}}, "sigmoid"),
    ],
)
def test_a_config_of_something_else_is_refused(folder: Path, values: dict, message: str) -> None:
    change_config(folder, **values)
    with pytest.raises(ValueError, match=message):
        LatentDiffusion.from_pretrained(folder)


def test_a_config_without_a_part_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"sha256": config["sha256"]}))
    with pytest.raises(ValueError, match="does not describe a LatentDiffusion.*autoencoder"):
        LatentDiffusion.from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        LatentDiffusion.from_pretrained(folder)


class Bomb:
    """What a malicious pickle looks like: loading it would call `print`."""

    def __reduce__(self):
        return (print, ("boom",))


@pytest.mark.parametrize("protocol", [0, 4, "torch"])
def test_a_pickle_in_place_of_weights_runs_no_code(folder: Path, protocol, capsys) -> None:
    weights = folder / WEIGHTS
    if protocol == "torch":
        torch.save({"latent_mean": Bomb()}, weights)
    else:
        weights.write_bytes(pickle.dumps(Bomb(), protocol))
    trust(folder)
    with pytest.raises(ValueError, match="not a safetensors file"):
        LatentDiffusion.from_pretrained(folder)
    assert "boom" not in capsys.readouterr().out


def test_a_header_that_lies_about_its_length_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", 2**40) + b"{}")
    trust(folder)
    with pytest.raises(ValueError, match="safetensors"):
        LatentDiffusion.from_pretrained(folder)


# Words


def test_prompts_choose_the_picture() -> None:
    model = tiny.text_model()
    red = model.sample(2, prompt="red apple", seed=1)
    assert red.shape == (2, 3, 8, 8)
    assert torch.equal(red, model.sample(2, prompt=["red apple", "red apple"], seed=1))
    assert not torch.allclose(red, model.sample(2, prompt="red car", seed=1))
    mixed = model.sample(2, prompt=["red car", "red apple"], seed=1)
    torch.testing.assert_close(mixed[1], red[1], atol=1e-5, rtol=1e-4)
    *_, last = model.film(2, prompt="red apple", seed=1)
    torch.testing.assert_close(model.decode(last.x), red, atol=1e-5, rtol=1e-4)


def test_no_prompt_is_the_empty_prompt_without_guidance() -> None:
    model = tiny.text_model()
    open_one = model.sample(2, seed=3)
    torch.testing.assert_close(open_one, model.sample(2, prompt="", seed=3), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="needs labels to guide towards"):
        model.sample(2, guidance=2.0)


def test_a_saved_text_model_reads_the_same(tmp_path: Path) -> None:
    model = tiny.text_model()
    model.save_pretrained(tmp_path)
    again = LatentDiffusion.from_pretrained(tmp_path, "cpu")
    assert again.config == model.config
    expected = model.sample(1, prompt="red apple, noto style")
    assert torch.equal(again.sample(1, prompt="red apple, noto style"), expected)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"prompt": "red " * 17}, "17 tokens, the model reads 16"),
        ({"prompt": "red apple, disney style"}, "unknown style 'disney'; known are noto, fluent"),
        ({"prompt": ["red", "car", "apple"]}, "3 prompts for 2 pictures"),
        ({"prompt": "жаба"}, "cannot be read"),
        ({"labels": 1}, "asked in words"),
    ],
)
def test_prompts_that_cannot_be_asked_are_named(asked: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny.text_model().sample(2, **asked)


def test_a_model_of_classes_reads_no_prompts() -> None:
    with pytest.raises(
        ValueError, match="reads no prompts; ask with labels, by name or number: 3 classes: 0 left"
    ):
        MODEL.sample(2, prompt="left")


# What a model remembers


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_models_say_what_they_were_trained_on(name: str) -> None:
    config = LatentDiffusionConfig.from_dict(
        {
            k: v
            for k, v in load_json(asset("weights", name) / "config.json").items()
            if k != "sha256"
        }
    )
    known = emoji if name == "emoji" else mnist
    assert config.data == DataRecord.of(known(), known("test"))
    assert config.data.name == ("emoji" if name == "emoji" else "mnist")


def test_a_model_without_a_record_of_its_data_is_read(tmp_path: Path) -> None:
    MODEL.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    for key in ("data", "canvas"):
        del values[key]
    (tmp_path / "config.json").write_text(json.dumps(values))
    loaded = LatentDiffusion.from_pretrained(tmp_path)
    assert loaded.config.data is None and loaded.config.padded_size == 8


def test_a_folder_with_the_name_of_a_bundled_model_is_mentioned(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    MODEL.save_pretrained(tmp_path / "mnist")
    with pytest.warns(UserWarning, match="write './mnist'"):
        bundled = LatentDiffusion.from_pretrained("mnist")
    assert bundled.config.size == 32
    assert LatentDiffusion.from_pretrained("./mnist").config == MODEL.config
    assert LatentDiffusion.from_pretrained(Path("mnist")).config == MODEL.config
