"""Models in the files of diffusers: the same numbers there, and all back again."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny
from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.samplers import ddim, euler
from ldmlib.diffusion.spacing import spaced_times
from ldmlib.export import diffusers_folder
from ldmlib.export.diffusers_folder import THEIR_WEIGHTS, from_diffusers, to_diffusers
from ldmlib.export.diffusers_settings import DEFAULTS, ELSEWHERE
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.plain_autoencoder import PlainDownsample
from ldmlib.networks.tokenizer import Tokenizer
from ldmlib.networks.unet import UNetConfig
from ldmlib.storage.files import load_json, load_tensors, save_json, save_tensors

TOKENIZER = Tokenizer.learn(["red apple", "green apple", "blue car"] * 3, merges=10, length=8)
PROMPTS = ["red apple", "", "blue car"]
TABLE = Diffusion("linear", "v")
SCALE = ([0.3, -1.0], [0.5, 3.0])  # of the latents, so that no two channels are alike
CLOSE = dict(atol=1e-5, rtol=0)


@pytest.fixture
def diffusers():
    return pytest.importorskip("diffusers", minversion="0.32")


def build(pixels=False, classes=0, text=False, diffusion=None, **unet) -> LatentDiffusion:
    """A tiny portable model in which every weight says something."""
    words = {"vocabulary": len(TOKENIZER), "text_length": 8, "text_width": 32} if text else {}
    shape = {"channels": (8, 16), "blocks": 1, "heads": 2, "portable": 4, **words, **unet}
    config = LatentDiffusionConfig(
        autoencoder=AutoencoderConfig(3, 2, () if pixels else (8, 16), portable=4),
        unet=UNetConfig(**{"in_channels": 3 if pixels else 2, "num_classes": classes, **shape}),
        diffusion=diffusion or Diffusion(),
        size=8 if pixels else 16,
        classes=tuple("abc"[:classes]),
        tokenizer=TOKENIZER if text else None,
        facts={"seed": 3},
    )
    model = tiny.randomised(LatentDiffusion(config)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "query" in name or "key" in name or "qkv" in name:
                weight.mul_(5)  # else attention looks everywhere alike, whatever its heads
    if not pixels:
        mean, std = (torch.tensor(numbers).view(1, 2, 1, 1) for numbers in SCALE)
        model.latent_mean.copy_(mean), model.latent_std.copy_(std)
    return model


KINDS = {
    "unconditional": {},
    "classes": {"classes": 3},
    "words": {"text": True, "blocks": 2},
    "no attention": {"heads": 0},
    "other widths": {"channels": (8, 8, 12), "blocks": 2, "heads": 3},
    "pixels": {"pixels": True, "classes": 3},
    "shown something": {"in_channels": 5, "out_channels": 2},
}


def cond_of(model: LatentDiffusion) -> Tensor | None:
    """What three pictures are asked with, the open class or empty prompt among it."""
    if model.config.tokenizer:
        return model.config.tokens(PROMPTS)
    return torch.tensor([0, 2, -1]) if model.config.classes else None


def asked(model: LatentDiffusion) -> dict[str, Tensor]:
    """The same in the arguments of diffusers."""
    cond = cond_of(model)
    if model.config.tokenizer:
        words, counts = model.denoiser.read(cond, len(cond))
        return {
            "encoder_hidden_states": words,
            "encoder_attention_mask": counts,
            "class_labels": words[:, 0],
        }
    return {"class_labels": cond % 4} if model.config.classes else {}


def load_unet(diffusers, folder: Path):
    """Their network, which must find all weights and no others."""
    kind = getattr(diffusers, load_json(folder / "unet" / "config.json")["_class_name"])
    unet, info = kind.from_pretrained(folder, subfolder="unet", output_loading_info=True)
    assert not any(info.values()), info
    return unet.eval()


def edit(path: Path, **changes: object) -> None:
    save_json(path, {**load_json(path), **changes})


@torch.no_grad()
def gap(diffusers, model: LatentDiffusion, folder: Path, step: float, late: int = 0) -> float:
    """The largest difference of the denoisers where their clock shows `step`."""
    x = tiny.noise(3, model.config.unet.in_channels, *model.latent_shape[1:])
    unet = load_unet(diffusers, folder)
    theirs = unet(x, torch.tensor(step), **asked(model)).sample
    ours = model.denoiser(x, torch.full((3,), (step + late) / 1000), cond_of(model))
    assert ours.std() > 0.05
    return float((theirs - ours).abs().max())


# --------------------------------------------------------------------------- equal there
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_denoisers_are_equal(diffusers, tmp_path: Path, kind: str) -> None:
    model = build(**KINDS[kind])
    to_diffusers(model, tmp_path / "out")
    for step in (0.0, 345.5, 1000.0):
        assert gap(diffusers, model, tmp_path / "out", step) < 1e-5


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "cosine"])
@pytest.mark.parametrize("step", [0, 500, 999])
def test_their_step_i_is_our_time_i_plus_1(diffusers, tmp_path: Path, schedule, step: int) -> None:
    model = build(classes=3, diffusion=Diffusion(schedule, "v"))
    to_diffusers(model, tmp_path / "out")
    assert gap(diffusers, model, tmp_path / "out", step, late=1) < 1e-5


def test_a_clock_that_is_a_step_slow_would_be_seen(diffusers, tmp_path: Path) -> None:
    model = build(classes=3, diffusion=TABLE)
    to_diffusers(model, tmp_path / "out")
    assert gap(diffusers, model, tmp_path / "out", 500, late=0) > 1e-4


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("unconditional", {"norm_eps": 1e-6}),
        ("unconditional", {"attention_head_dim": 2}),  # the number in the place of the width
        ("words", {"attention_head_dim": 8}),  # and the reverse
        ("unconditional", {"flip_sin_to_cos": True}),
        ("unconditional", {"freq_shift": 1}),
        ("words", {"norm_eps": 1e-6}),
    ],
)
def test_each_trap_would_be_seen(diffusers, tmp_path: Path, kind: str, wrong: dict) -> None:
    model = build(**KINDS[kind])
    with torch.no_grad():
        model.denoiser.stem.weight.mul_(0.02)  # faint: there eps is seen
        model.denoiser.stem.bias.zero_()
    to_diffusers(model, tmp_path / "out")
    assert gap(diffusers, model, tmp_path / "out", 400.0) < 1e-5
    edit(tmp_path / "out" / "unet" / "config.json", **wrong)
    assert gap(diffusers, model, tmp_path / "out", 400.0) > 1e-4


def stages(diffusers, model: LatentDiffusion, folder: Path, faint: float = 1.0) -> list:
    """Latents, their spread, and pictures of both first stages: pairs (theirs, ours)."""
    vae, info = diffusers.AutoencoderKL.from_pretrained(
        folder, subfolder="vae", output_loading_info=True
    )
    assert not any(info.values()), info
    x, z = faint * tiny.pictures(3, 3, 16), tiny.noise(3, *model.latent_shape)
    with torch.no_grad():
        there, here = vae.eval().encode(x).latent_dist, model.autoencoder.encode(x)
        pictures = model.autoencoder.decode(z * model.latent_std + model.latent_mean)
        assert pictures.std() > 0.1
        return [
            (there.mode(), model.encode(x)),
            (there.std, here.std / model.latent_std),
            (vae.decode(z).sample, pictures),
            (vae.decode(z).sample.clamp(-1, 1), model.decode(z)),
        ]


def test_first_stages_are_equal_with_the_scale_of_the_latents(diffusers, tmp_path: Path) -> None:
    model = build()
    to_diffusers(model, tmp_path / "out")
    for theirs, ours in stages(diffusers, model, tmp_path / "out"):
        torch.testing.assert_close(theirs, ours, **CLOSE)
    assert load_json(tmp_path / "out" / "vae" / "config.json")["scaling_factor"] == 1


def test_eps_of_a_first_stage_would_be_seen(diffusers, tmp_path: Path) -> None:
    model = build()
    with torch.no_grad():
        model.autoencoder.encoder[0].weight.mul_(0.02)
        model.autoencoder.encoder[0].bias.zero_()
    to_diffusers(model, tmp_path / "out")
    theirs, ours = stages(diffusers, model, tmp_path / "out", faint=0.1)[0]
    torch.testing.assert_close(theirs, ours, **CLOSE)
    for layer in model.autoencoder.modules():
        if isinstance(layer, torch.nn.GroupNorm):
            layer.eps = 1e-5
    theirs, ours = stages(diffusers, model, tmp_path / "out", faint=0.1)[0]
    assert (theirs - ours).abs().max() > 1e-4


def test_padding_of_a_first_stage_would_be_seen(diffusers, tmp_path: Path, monkeypatch) -> None:
    model = build()
    to_diffusers(model, tmp_path / "out")
    even = lambda self, x: self.conv(torch.nn.functional.pad(x, (1, 0, 1, 0)))  # noqa: E731
    monkeypatch.setattr(PlainDownsample, "forward", even)
    theirs, ours = stages(diffusers, model, tmp_path / "out")[0]
    assert (theirs - ours).abs().max() > 1e-3


# --------------------------------------------------------------------------- drawn there
@torch.no_grad()
def walk(diffusers, model: LatentDiffusion, folder: Path, x: Tensor, step=None, **times) -> list:
    """Every state of their loop with their scheduler."""
    unet, kind = load_unet(diffusers, folder), load_json(folder / "model_index.json")["scheduler"]
    scheduler = getattr(diffusers, kind[1]).from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(**times)
    states = []
    for t in scheduler.timesteps:
        output = unet(x, t, **asked(model)).sample
        x = scheduler.step(output, t, x, **(step or {})).prev_sample
        states.append(x)
    return states


@pytest.mark.parametrize("kind", ["unconditional", "classes", "words"])
@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
def test_flows_are_walked_alike(diffusers, tmp_path: Path, kind: str, spacing: str) -> None:
    model = build(**KINDS[kind])
    to_diffusers(model, tmp_path / "out")
    x, schedule = tiny.noise(3, *model.latent_shape), model.diffusion.curves
    times = spaced_times(spacing, 5, schedule)
    ours = euler(model.predictor(cond_of(model), 1.0), x, times, schedule)
    how = {"sigmas": times[:-1].tolist()} if spacing == "trailing" else {"num_inference_steps": 5}
    theirs = walk(diffusers, model, tmp_path / "out", x, **how)
    for there, here in zip(theirs, ours, strict=True):
        torch.testing.assert_close(there, here.x, **CLOSE)


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize(
    ("schedule", "kind"), [("linear", "v"), ("scaled_linear", "eps"), ("cosine", "x0")]
)
def test_tables_are_walked_alike(diffusers, tmp_path: Path, pixels, schedule, kind) -> None:
    model = build(pixels=pixels, classes=3, diffusion=Diffusion(schedule, kind))
    to_diffusers(model, tmp_path / "out")
    x, curves = tiny.noise(3, *model.latent_shape), model.diffusion.curves
    ours = ddim(
        model.predictor(cond_of(model), 1.0), x, spaced_times("trailing", 5, curves), curves
    )
    how = {"num_inference_steps": 5, "step": {"use_clipped_model_output": pixels}}
    for there, here in zip(walk(diffusers, model, tmp_path / "out", x, **how), ours, strict=True):
        torch.testing.assert_close(there, here.x, atol=1e-4, rtol=1e-5)


def test_their_pipeline_draws_pixels(diffusers, tmp_path: Path) -> None:
    model = build(pixels=True)
    to_diffusers(model, tmp_path / "out")
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(2, 3, 8, 8, generator=torch.manual_seed(1))
    there = pipeline(2, torch.manual_seed(1), num_inference_steps=4, output_type="np").images
    predict, curves = predictor(model.diffusion, model.denoise), model.diffusion.curves
    *_, last = euler(predict, noise, spaced_times("linspace", 4, curves), curves)
    here = (last.x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(torch.from_numpy(there), here, **CLOSE)


# --------------------------------------------------------------------------- back again
@pytest.mark.parametrize("kind", KINDS)
def test_all_comes_back(tmp_path: Path, monkeypatch, kind: str) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)  # neither way needs it
    model = build(**KINDS[kind])
    to_diffusers(model, tmp_path / "out")
    back = from_diffusers(tmp_path / "out")
    assert back.config == model.config and not back.training
    assert not tiny.differences(back.state_dict(), model.state_dict())


def test_a_slow_clock_comes_back_rounded(tmp_path: Path) -> None:
    model = build(diffusion=TABLE)
    to_diffusers(model, tmp_path / "out")
    back = from_diffusers(tmp_path / "out")
    assert not tiny.differences(back.state_dict(), model.state_dict(), tolerance=1e-7)


@pytest.mark.parametrize("kind", ["classes", "words"])
def test_what_diffusers_saves_again_comes_back(diffusers, tmp_path: Path, kind: str) -> None:
    model = build(**KINDS[kind])
    to_diffusers(model, tmp_path / "out")
    unet = load_unet(diffusers, tmp_path / "out")
    vae = diffusers.AutoencoderKL.from_pretrained(tmp_path / "out", subfolder="vae")
    with torch.no_grad():
        unet.conv_in.bias.add_(1)
        vae.quant_conv.weight.mul_(1.5), vae.post_quant_conv.bias.add_(0.3)
    unet.save_pretrained(tmp_path / "out" / "unet")
    vae.save_pretrained(tmp_path / "out" / "vae")
    back = from_diffusers(tmp_path / "out")
    torch.testing.assert_close(back.denoiser.stem.bias, model.denoiser.stem.bias + 1)
    for theirs, ours in stages(diffusers, back, tmp_path / "out"):
        torch.testing.assert_close(theirs, ours, **CLOSE)
    assert gap(diffusers, back, tmp_path / "out", 300.0) < 1e-5


# --------------------------------------------------------------------------- from elsewhere
def foreign(diffusers, folder: Path, classes: int | None = 3, vae: dict | None = None, **unet):
    """A model as diffusers builds it itself."""
    network = diffusers.UNet2DModel(**{
        "sample_size": 8, "in_channels": 2, "out_channels": 2, "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2,
        "layers_per_block": 1, "norm_num_groups": 4, "attn_norm_num_groups": 4,
        "resnet_time_scale_shift": "scale_shift", "num_class_embeds": classes, **unet,
    })  # fmt: skip
    stage = diffusers.AutoencoderKL(**{
        "block_out_channels": (8, 16), "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2, "latent_channels": 2, "norm_num_groups": 4,
        "scaling_factor": 0.7, "shift_factor": 0.2, **(vae or {}),
    })  # fmt: skip
    tiny.randomised(network).save_pretrained(folder / "unet")
    tiny.randomised(stage, seed=1).save_pretrained(folder / "vae")
    diffusers.DDPMScheduler(prediction_type="v_prediction").save_pretrained(folder / "scheduler")
    return network.eval(), stage.eval()


@pytest.mark.parametrize("quant", [True, False])
@torch.no_grad()
def test_a_model_from_elsewhere_says_the_same(diffusers, tmp_path: Path, quant: bool) -> None:
    how = {"use_quant_conv": quant, "use_post_quant_conv": quant}
    network, stage = foreign(diffusers, tmp_path / "in", vae=how)
    settings = load_json(tmp_path / "in" / "unet" / "config.json")
    assert settings.pop("flip_sin_to_cos")  # and so it is where nothing is said
    save_json(tmp_path / "in" / "unet" / "config.json", settings)
    model = from_diffusers(tmp_path / "in")
    assert model.diffusion == Diffusion("linear", "v", "uniform") and model.config.size == 16
    x, labels = tiny.noise(3, 2, 8, 8), torch.tensor([0, 1, 2])
    for step in (0, 500, 999):
        ours = model.denoiser(x, torch.full((3,), (step + 1) / 1000), labels)
        torch.testing.assert_close(ours, network(x, step, class_labels=labels).sample, **CLOSE)
    pictures, factor, shift = tiny.pictures(3, 3, 16), 0.7, 0.2
    latents = (stage.encode(pictures).latent_dist.mode() - shift) * factor
    torch.testing.assert_close(model.encode(pictures), latents, **CLOSE)
    there = stage.decode(x / factor + shift).sample.clamp(-1, 1)
    torch.testing.assert_close(model.decode(x), there, **CLOSE)


def test_the_open_class_of_a_model_from_elsewhere_is_the_mean(diffusers, tmp_path: Path) -> None:
    network, _ = foreign(diffusers, tmp_path / "in")
    rows = from_diffusers(tmp_path / "in").denoiser.classes.weight
    torch.testing.assert_close(rows[3], network.class_embedding.weight.mean(0))


def test_attention_under_its_former_names(diffusers, tmp_path: Path) -> None:
    foreign(diffusers, tmp_path / "in")
    path = tmp_path / "in" / "vae" / THEIR_WEIGHTS
    new = from_diffusers(tmp_path / "in").state_dict()
    weights = load_tensors(path)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for today, then in names.items():
        weights = {k.replace(today, then): v for k, v in weights.items()}
    assert not any("to_q" in key for key in weights)
    save_tensors(path, weights)
    old = from_diffusers(tmp_path / "in").state_dict()
    assert not tiny.differences(new, old)


@pytest.mark.parametrize(
    ("unet", "message"),
    [
        ({"resnet_time_scale_shift": "default"}, "resnet_time_scale_shift = 'default' instead of"),
        ({"down_block_types": ("DownBlock2D", "AttnDownBlock2D")}, "AttnDownBlock2D"),
        ({"norm_eps": 1e-6}, "norm_eps = 1e-06 instead of 1e-05"),
        ({"freq_shift": 1}, "freq_shift = 1"),
        ({"time_embedding_dim": 24}, "time_embedding_dim = 24 instead of 32"),
        ({"class_embed_type": "timestep", "num_class_embeds": None}, "class_embed_type"),
        ({"sample_size": None}, "sample_size is one number"),
        ({"in_channels": 4, "out_channels": 4}, "takes 4 channels, the first stage makes 2"),
    ],
)
def test_other_layers_are_named(diffusers, tmp_path: Path, unet: dict, message: str) -> None:
    foreign(diffusers, tmp_path / "in", **unet)
    with pytest.raises(ValueError, match=message):
        from_diffusers(tmp_path / "in")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta_end": 0.03}, "betas"),
        ({"beta_schedule": "sigmoid"}, "sigmoid"),
        ({"trained_betas": [0.1]}, "trained_betas"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ({"num_train_timesteps": 500}, "num_train_timesteps = 500"),
        ({"_class_name": "HeunDiscreteScheduler"}, "HeunDiscreteScheduler"),
    ],
)
def test_other_schedules_are_named(diffusers, tmp_path: Path, change, message: str) -> None:
    foreign(diffusers, tmp_path / "in")
    edit(tmp_path / "in" / "scheduler" / "scheduler_config.json", **change)
    with pytest.raises(ValueError, match=f"no such schedule: .*{message}"):
        from_diffusers(tmp_path / "in")


def test_a_text_encoder_from_elsewhere_is_refused(tmp_path: Path) -> None:
    to_diffusers(build(text=True), tmp_path / "out")
    (tmp_path / "out" / "ldmlib" / "config.json").unlink()
    with pytest.raises(ValueError, match="listens to a text encoder that ldmlib does not have"):
        from_diffusers(tmp_path / "out")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no unet/config.json: expected a folder"):
        from_diffusers(tmp_path)
    to_diffusers(build(), tmp_path / "out")
    (tmp_path / "out" / "vae" / THEIR_WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=THEIR_WEIGHTS):
        from_diffusers(tmp_path / "out")


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("unet", "time_embedding.linear_1.weight"),
        ("vae", "encoder.conv_out.weight"),
        ("vae", "decoder.conv_in.weight"),
        ("vae", "decoder.conv_in.bias"),
        ("unet", "mid_block.attentions.0.to_k.bias"),
    ],
)
def test_a_weight_that_is_missing(tmp_path: Path, part: str, key: str) -> None:
    to_diffusers(build(), tmp_path / "out")
    path = tmp_path / "out" / part / THEIR_WEIGHTS
    weights = load_tensors(path)
    del weights[key]
    save_tensors(path, weights)
    with pytest.raises(ValueError, match="is it complete|missing 1"):
        from_diffusers(tmp_path / "out")


def test_a_first_stage_that_loses_channels(diffusers, tmp_path: Path) -> None:
    foreign(diffusers, tmp_path / "in")
    path = tmp_path / "in" / "vae" / THEIR_WEIGHTS
    weights = load_tensors(path)
    weights["post_quant_conv.weight"].zero_()
    save_tensors(path, weights)
    with pytest.raises(ValueError, match="loses channels"):
        from_diffusers(tmp_path / "in")


def test_an_own_config_that_describes_nothing(tmp_path: Path) -> None:
    to_diffusers(build(), tmp_path / "out")
    edit(tmp_path / "out" / "ldmlib" / "config.json", unet={"layers": 3})
    with pytest.raises(ValueError, match="does not describe a LatentDiffusion"):
        from_diffusers(tmp_path / "out")


def test_weights_of_another_model(tmp_path: Path) -> None:
    to_diffusers(build(), tmp_path / "out")
    to_diffusers(build(channels=(8, 16), blocks=2), tmp_path / "other")
    (tmp_path / "other" / "unet" / THEIR_WEIGHTS).replace(tmp_path / "out" / "unet" / THEIR_WEIGHTS)
    with pytest.raises(ValueError, match="diffusers folder: .*another architecture"):
        from_diffusers(tmp_path / "out")


def test_defaults_are_those_of_diffusers(diffusers) -> None:
    for name, ours in DEFAULTS.items():
        parameters = inspect.signature(getattr(diffusers, name).__init__).parameters
        theirs = {key: p.default for key, p in parameters.items() if key != "self"}
        if name == "UNet2DModel":
            theirs.setdefault("mid_block_type", "UNetMidBlock2D")  # named since 0.33
        assert json.loads(json.dumps({key: theirs[key] for key in ours})) == ours
        silent = {key for key, value in theirs.items() if value} - ours.keys() - ELSEWHERE
        assert not silent, f"{name}: nothing checks {silent}"


# --------------------------------------------------------------------------- what cannot be written
@pytest.mark.parametrize("name", ["mnist", "mnist_pixels"])
def test_layers_that_only_we_have(tmp_path: Path, name: str) -> None:
    model = LatentDiffusion.from_pretrained(name)
    with pytest.raises(ValueError, match=r"UNetConfig\(channels=.*, portable="):
        to_diffusers(model, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_a_first_stage_that_only_we_have(tmp_path: Path) -> None:
    model = build()
    config = replace(model.config, autoencoder=AutoencoderConfig(3, 2, (8,)))
    with pytest.raises(ValueError, match=r"AutoencoderConfig\(widths=\(8,\), portable="):
        to_diffusers(LatentDiffusion(config), tmp_path / "out")


@pytest.mark.parametrize("diffusion", [Diffusion("flow", "v"), Diffusion("linear", "flow")])
def test_noise_that_no_scheduler_has(tmp_path: Path, diffusion: Diffusion) -> None:
    with pytest.raises(ValueError, match="no scheduler for schedule"):
        to_diffusers(build(diffusion=diffusion), tmp_path / "out")


def test_an_earlier_folder_is_replaced_or_left_whole(tmp_path: Path, monkeypatch) -> None:
    first, second = build(), build(classes=3)
    to_diffusers(first, tmp_path / "out")
    to_diffusers(second, tmp_path / "out")
    assert from_diffusers(tmp_path / "out").config == second.config

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(diffusers_folder, "save_pair", fail)
    with pytest.raises(OSError, match="no space left"):
        to_diffusers(first, tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setenv("LDMLIB_DEVICE", "cpu")
    assert from_diffusers(tmp_path / "out").config == second.config
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["out"]


def test_an_earlier_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch
) -> None:
    first, second, replace_file = build(), build(classes=3), diffusers_folder.os.replace
    to_diffusers(first, tmp_path / "out")

    def fail(source: Path, target: Path) -> None:
        if ".new." in Path(source).name and Path(source).is_dir():
            raise OSError("busy")
        replace_file(source, target)

    monkeypatch.setattr(diffusers_folder.os, "replace", fail)
    with pytest.raises(OSError, match="busy"):
        to_diffusers(second, tmp_path / "out")
    assert from_diffusers(tmp_path / "out").config == first.config
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["out"]


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(FileExistsError, match=r"thesis\.tex, too, and would be replaced"):
        to_diffusers(build(), tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years"


def test_clipping_is_said_for_pixels_only(tmp_path: Path) -> None:
    for pixels in (True, False):
        to_diffusers(build(pixels=pixels, diffusion=TABLE), tmp_path / f"{pixels}")
        settings = load_json(tmp_path / f"{pixels}" / "scheduler" / "scheduler_config.json")
        assert settings["clip_sample"] is pixels
        assert (tmp_path / f"{pixels}" / "vae").exists() is not pixels


def test_what_a_killed_export_left_goes_with_the_next(tmp_path: Path) -> None:
    """Half of a new folder goes; the earlier one only if another stands in its place."""
    for mark in ("new", "old"):
        (tmp_path / f".0123abcd.{mark}.out").mkdir()
        (tmp_path / f".0123abcd.{mark}.out" / "part").touch()
        os.utime(tmp_path / f".0123abcd.{mark}.out", (0, 0))
    to_diffusers(build(), tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == [".0123abcd.old.out", "out"]
    to_diffusers(build(), tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("part", ["unet", "vae"])
@pytest.mark.parametrize("value", [-32, 10**9, "x", None, [], {}], ids=repr)
def test_settings_from_elsewhere_that_make_no_sense(
    part: str, value: object, tmp_path: Path
) -> None:
    to_diffusers(build(), tmp_path)
    shutil.rmtree(tmp_path / "ldmlib")
    good = load_json(tmp_path / part / "config.json")
    for key in ("in_channels", "layers_per_block", "block_out_channels", "norm_num_groups"):
        edit(tmp_path / part / "config.json", **{key: value})
        with pytest.raises(ValueError, match=tmp_path.name):
            from_diffusers(tmp_path)
        save_json(tmp_path / part / "config.json", good)
