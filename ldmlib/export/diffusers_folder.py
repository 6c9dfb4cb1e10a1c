"""A `LatentDiffusion` in the files of diffusers, and back: `to_diffusers`, `from_diffusers`.

    unet/             UNet2DModel; UNet2DConditionModel for a model that is asked in words
    vae/              AutoencoderKL; none for a model of pixels
    scheduler/        FlowMatchEulerDiscreteScheduler, or DDIMScheduler
    ldmlib/           config, text encoder, scale: what diffusers has no place for
    model_index.json  the parts; DiffusionPipeline knows how to draw only pixels without classes

Nothing here imports diffusers. Its version 0.30 reads UNets whose last level is twice as wide as
the first; for others it takes 0.32. Where the two libraries differ, the weights make up for it:

- Their clock counts from 0: step i is our t = (i + 1) / 1000, which turns the first layer of the
  time embedding (`interchange_names.later`). Flow matching counts as we do, in 1000 t.
- Our latents are scaled channel by channel: the scale is in ``quant_conv`` and ``post_quant_conv``.
- In UNet2DModel ``attention_head_dim`` is the width of a head; in UNet2DConditionModel it is the
  number of heads. GroupNorm's eps is 1e-5 in a UNet, 1e-6 in AutoencoderKL and before readers.
- The open class (-1 here) is the last row of the class table there. Prompts are read here:
  ``words, counts = model.denoiser.read(tokens, n)`` are ``encoder_hidden_states`` and
  ``encoder_attention_mask``, and ``words[:, 0]`` is ``class_labels``.
- `sample` keeps x0_hat of pixels inside [-1, 1]; of their schedulers only DDIM's does so, and with
  ``use_clipped_model_output=True`` in the way of `sampling.clipped`. Pictures of ``vae.decode``
  are not clamped yet.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ldmlib.export.diffusers_names import (
    State,
    later,
    renamed,
    renamed_back,
    scale_layers,
    stage_names,
    unet_names,
    unscaled,
)
from ldmlib.export.diffusers_settings import (
    DEFAULTS,
    Settings,
    check_portable,
    check_settings,
    diffusion_of,
    scheduler_settings,
    stage_config,
    stage_settings,
    unet_config,
    unet_settings,
)
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.autoencoder import Autoencoder, AutoencoderConfig
from ldmlib.networks.unet import UNet, UNetConfig
from ldmlib.runtime import InterruptFlag, best_device
from ldmlib.storage.config_values import check_values
from ldmlib.storage.files import load_json, load_tensors, save_json, save_tensors
from ldmlib.storage.places import expanded
from ldmlib.storage.saved_models import CONFIG, build, read_config, save_pair
from ldmlib.storage.temporaries import sweep, temporary_beside
from ldmlib.storage.wrappers import plain_names

THEIR_WEIGHTS = "diffusion_pytorch_model.safetensors"
OWN = "ldmlib"
WRITTEN = {"unet", "vae", "scheduler", OWN, "model_index.json"}
CLOCK = "time_embedding.linear_1.weight"
CLASSES = "class_embedding.weight"
LEAVE, ENTER = ("encoder.conv_out.weight", "encoder.conv_out.bias"), "decoder.conv_in.weight"
NEEDED = {"unet": (CLOCK,), "vae": (*LEAVE, ENTER)}


def to_diffusers(model: LatentDiffusion, folder: str | Path) -> None:
    """Write a model as a folder that diffusers loads; see the table above for what is where.

    Raises:
        ValueError, OSError: see `write_folder`.
    """
    write_folder(folder, model.config, plain_names(model.state_dict()))


def from_diffusers(folder: str | Path, device: str | torch.device | None = None) -> LatentDiffusion:
    """The model of such a folder, or of one from elsewhere if it has this library's layers.

    It goes to `device`, or to a GPU if there is one, in evaluation mode.

    Raises:
        FileNotFoundError, ValueError: see `read_folder`.
    """
    config, state = read_folder(folder)
    model = build(lambda: LatentDiffusion(config), state, "diffusers folder")
    return model.to(device or best_device()).eval()


# --------------------------------------------------------------------------- write
def write_folder(folder: str | Path, config: LatentDiffusionConfig, state: State) -> None:
    """Write a model's config and `state_dict`; an earlier such folder is replaced as a whole.

    Raises:
        ValueError: diffusers has no such layers, or no such scheduler; the message says which
            config it has them for.
        FileExistsError: the folder holds other things, too.
        OSError: it cannot be written, or the disk is full; an earlier folder is as it was.
    """
    check_portable(config.unet, config.autoencoder)
    pixels = not config.autoencoder.widths
    scheduler = scheduler_settings(config.diffusion, pixels)
    side = config.padded_size // config.autoencoder.factor
    state = {key: value.detach().float().cpu() for key, value in state.items()}
    parts = {"unet": (unet_settings(config.unet, side), _their_unet(config, state))}
    if not pixels:
        weights = renamed(_part(state, "autoencoder."), stage_names(config.autoencoder))
        weights |= scale_layers(state["latent_mean"], state["latent_std"])
        parts["vae"] = stage_settings(config.autoencoder, config.padded_size), weights
    own = {k: v for k, v in state.items() if k.startswith(("latent_", "denoiser.text."))}
    with _new_folder(folder) as new:
        for name, (settings, weights) in parts.items():
            save_tensors(new / name / THEIR_WEIGHTS, weights, {"format": "pt"})
            save_json(new / name / CONFIG, settings)
        save_json(new / "scheduler" / "scheduler_config.json", scheduler)
        save_pair(new / OWN, own, asdict(config))
        classes = {name: settings["_class_name"] for name, (settings, _) in parts.items()}
        classes["scheduler"] = scheduler["_class_name"]
        index = {name: ["diffusers", kind] for name, kind in classes.items()}
        drawn_there = pixels and parts["unet"][0].get("num_class_embeds", 0) is None
        kind = "DDPMPipeline" if drawn_there else "LatentDiffusion"
        save_json(new / "model_index.json", {"_class_name": kind, **index})


def _part(state: State, prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _their_unet(config: LatentDiffusionConfig, state: State) -> dict[str, Tensor]:
    weights = renamed(_part(state, "denoiser."), unet_names(config.unet))
    weights[CLOCK] = later(weights[CLOCK], _first_step(config))
    return weights


def _first_step(config: LatentDiffusionConfig) -> int:
    """Our 1000 t at their step 0."""
    return 0 if config.diffusion.schedule == "flow" else 1


@contextmanager
def _new_folder(folder: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` that takes its place at the end, if all went well."""
    target = Path(os.path.realpath(expanded(folder)))
    if target.exists() and (others := {path.name for path in target.iterdir()} - WRITTEN):
        raise FileExistsError(
            f"{target} holds {', '.join(sorted(others)[:5])}, too, and would be replaced as a "
            "whole: name a new folder"
        )
    sweep(target, "new.")
    if target.exists():  # else an export that was killed has left the earlier folder there
        sweep(target, "old.")
    new, old = (temporary_beside(target, mark) for mark in ("new.", "old."))
    new.mkdir(parents=True)
    try:
        yield new
        with InterruptFlag() as interrupt:
            if target.exists():
                os.replace(target, old)
            try:
                os.replace(new, target)
            except OSError:
                if old.exists():
                    os.replace(old, target)
                raise
            shutil.rmtree(old, ignore_errors=True)
        if interrupt.raised:
            raise KeyboardInterrupt
    finally:
        shutil.rmtree(new, ignore_errors=True)


# --------------------------------------------------------------------------- read
def read_folder(folder: str | Path) -> tuple[LatentDiffusionConfig, dict[str, Tensor]]:
    """Config and weights of a folder that `write_folder` or diffusers has written.

    Without ``ldmlib/`` in it the config is made from theirs; classes get numbers for names, and the
    open class the mean of all rows. Names and shapes of the weights are not checked yet.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: layers, a schedule or a text encoder that this library does not have, or
            settings that make no sense.
    """
    folder = expanded(folder)
    if not (folder / "unet" / CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder} has no unet/{CONFIG}: expected a folder as to_diffusers or "
            "save_pretrained of diffusers write it"
        )
    try:
        return _read(folder)
    except OSError:
        raise
    except ValueError as error:
        if str(folder) in str(error):
            raise
        raise ValueError(f"{folder}: {error}") from error
    except Exception as error:  # settings from elsewhere can break any layer in its own way
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"{folder} can't be read: its settings make no sense ({said})") from error


def _read(folder: Path) -> tuple[LatentDiffusionConfig, dict[str, Tensor]]:
    own = (folder / OWN / CONFIG).is_file()
    config, kept = _own(folder / OWN) if own else (_foreign(folder), {})
    side = config.padded_size // config.autoencoder.factor
    settings, weights = _load(folder / "unet", unet_settings(config.unet, side))
    if not own and CLASSES in weights:
        rows = weights[CLASSES]
        weights[CLASSES] = torch.cat([rows, rows.float().mean(0, keepdim=True).to(rows)])
    if settings.get("flip_sin_to_cos", True):  # cosines first: we have the sines first
        weights[CLOCK] = torch.cat(weights[CLOCK].chunk(2, dim=1)[::-1], dim=1)
    weights[CLOCK] = later(weights[CLOCK], -_first_step(config))
    with torch.device("meta"):
        denoiser, stage = UNet(config.unet), Autoencoder(config.autoencoder)
    ours = renamed_back(weights, unet_names(config.unet), denoiser)
    state = {f"denoiser.{key}": value for key, value in ours.items()} | kept
    if config.autoencoder.widths:
        expected = stage_settings(config.autoencoder, config.padded_size)
        settings, weights = _load(folder / "vae", expected)
        state |= unscaled(weights, kept, settings)
        ours = renamed_back(weights, stage_names(config.autoencoder), stage)
        state |= {f"autoencoder.{key}": value for key, value in ours.items()}
    elif not own:
        shape = (1, config.autoencoder.channels, 1, 1)
        state |= {"latent_mean": torch.zeros(shape), "latent_std": torch.ones(shape)}
    return config, state


def _own(folder: Path) -> tuple[LatentDiffusionConfig, dict[str, Tensor]]:
    config, weights, sha256 = read_config(folder, LatentDiffusionConfig)
    return config, load_tensors(weights, sha256=sha256)


def _settings(folder: Path) -> Settings:
    settings = load_json(folder / CONFIG)
    if settings.get("_class_name") not in DEFAULTS:
        raise ValueError(
            f"{folder}: ldmlib has no {settings.get('_class_name')}; it has {', '.join(DEFAULTS)}"
        )
    return settings


def _load(folder: Path, expected: Settings) -> tuple[Settings, dict[str, Tensor]]:
    settings = _settings(folder)
    check_settings(settings, expected, folder)
    weights = load_tensors(folder / THEIR_WEIGHTS)
    if missing := [key for key in NEEDED[folder.name] if key not in weights]:
        raise ValueError(f"{folder / THEIR_WEIGHTS} has no {', '.join(missing)}: is it complete?")
    return settings, weights


def _foreign(folder: Path) -> LatentDiffusionConfig:
    """The config of a model that this library has not written."""
    unet = _settings(folder / "unet")
    if unet["_class_name"] != "UNet2DModel":
        raise ValueError(
            f"{folder}: this denoiser listens to a text encoder that ldmlib does not have; only "
            "UNet2DModel, alone or with classes, can be taken from elsewhere"
        )
    denoiser, side = unet_config(unet), unet.get("sample_size")
    check_values(UNetConfig, asdict(denoiser), f"{folder / 'unet'}")
    if not isinstance(side, int) or isinstance(side, bool) or side < 1:
        raise ValueError(f"{folder / 'unet'}: sample_size is one number here, not {side}")
    stage = AutoencoderConfig(channels=denoiser.in_channels, widths=())
    if (folder / "vae").is_dir():
        stage = stage_config(_settings(folder / "vae"))
        check_values(AutoencoderConfig, asdict(stage), f"{folder / 'vae'}")
    if denoiser.in_channels != stage.latent_channels:
        raise ValueError(
            f"{folder}: the denoiser takes {denoiser.in_channels} channels, the first stage makes "
            f"{stage.latent_channels}"
        )
    path = folder / "scheduler" / "scheduler_config.json"
    return LatentDiffusionConfig(
        autoencoder=stage,
        unet=denoiser,
        diffusion=diffusion_of(load_json(path), path),
        size=side * stage.factor,
        classes=tuple(map(str, range(denoiser.num_classes))),
        sampler="ddim",
        steps=50,
    )
