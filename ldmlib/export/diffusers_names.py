"""What diffusers calls our layers: weights there and back.

Its `UNet2DModel` and `UNet2DConditionModel` are our portable `UNet`, its `AutoencoderKL` is our
portable `Autoencoder`. How their settings are called: `ldmlib.export.diffusers_settings`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ldmlib.networks.autoencoder import Autoencoder, AutoencoderConfig
from ldmlib.networks.layers import Attention, PlainUpsample, ResBlock
from ldmlib.networks.plain_autoencoder import PlainDownsample
from ldmlib.networks.text import TextBlock
from ldmlib.networks.unet import UNet, UNetConfig

State = Mapping[str, Tensor]
Names = dict[str, tuple[str, ...]]  # a layer of ours: its layer there, or three: queries, keys, ...

PARTS: dict[type, Mapping[str, str | tuple[str, ...]]] = {  # of a block: our names and theirs
    ResBlock: {
        "norm1": "norm1", "conv1": "conv1", "condition": "time_emb_proj",
        "norm2": "norm2", "conv2": "conv2", "shortcut": "conv_shortcut",
    },
    Attention: {"norm": "group_norm", "qkv": ("to_q", "to_k", "to_v"), "out": "to_out.0"},
    TextBlock: {
        "norm": "norm", "enter": "proj_in", "leave": "proj_out",
        **{f"norms.{i}": f"transformer_blocks.0.norm{i + 1}" for i in range(3)},
        **{f"{ours}.{part}": f"transformer_blocks.0.{theirs}.{name}"
           for ours, theirs in (("looking", "attn1"), ("reading", "attn2"))
           for part, name in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"),
                              ("out", "to_out.0"))},
        "widen": "transformer_blocks.0.ff.net.0.proj", "narrow": "transformer_blocks.0.ff.net.2",
    },
    nn.Conv2d: {"": "conv"}, PlainDownsample: {"conv": "conv"}, PlainUpsample: {"1": "conv"},
}  # fmt: skip
MATRICES = ("to_q", "to_k", "to_v", "to_out.0")  # matrices there, 1 x 1 convolutions here
FORMERLY = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


# --------------------------------------------------------------------------- names of layers
def _block(ours: str, layer: nn.Module, theirs: str) -> Names:
    """The names of a block's layers."""
    found: Names = {}
    for part, other in PARTS[type(layer)].items():
        others = (other,) if isinstance(other, str) else other
        found[f"{ours}.{part}".rstrip(".")] = tuple(f"{theirs}.{name}" for name in others)
    return found


def _levels(layers: Iterable[tuple[str, nn.Module]], side: str) -> Names:
    """Of the way down or up: a level ends with what halves or doubles the size."""
    names: Names = {}
    level = place = 0
    for ours, layer in layers:
        if isinstance(layer, ResBlock):
            names |= _block(ours, layer, f"{side}_blocks.{level}.resnets.{place}")
            place += 1
        else:
            names |= _block(ours, layer, f"{side}_blocks.{level}.{side}samplers.0")
            level, place = level + 1, 0
    return names


def _middle(layers: Iterable[tuple[str, nn.Module]]) -> Names:
    """Of block, attention if there is any, block."""
    (before, first), (between, attention), (after, last) = layers
    names = _block(before, first, "mid_block.resnets.0")
    names |= _block(after, last, "mid_block.resnets.1")
    if not isinstance(attention, nn.Identity):
        names |= _block(between, attention, "mid_block.attentions.0")
    return names


def unet_names(config: UNetConfig) -> Names:
    """The layers of a portable UNet, apart from its text encoder."""
    with torch.device("meta"):
        unet = UNet(config)
    names = {
        "time.0": ("time_embedding.linear_1",), "time.2": ("time_embedding.linear_2",),
        "classes": ("class_embedding",), "summary": ("class_embedding",),
        "stem": ("conv_in",), "norm": ("conv_norm_out",), "head": ("conv_out",),
    }  # fmt: skip
    for side in ("down", "up"):
        layers = getattr(unet, side)
        names |= _levels(((f"{side}.{i}", layer) for i, layer in enumerate(layers)), side)
    names |= _middle((f"middle.{name}", getattr(unet.middle, name))
                     for name in ("before", "attention", "after"))  # fmt: skip
    for place, reader in unet.readers.items() if config.vocabulary else ():
        follows = names[f"up.{place.removeprefix('up')}.norm1"][0].removesuffix(".norm1")
        names |= _block(f"readers.{place}", reader, follows.replace("resnets", "attentions"))
    return names


def stage_names(config: AutoencoderConfig) -> Names:
    """The layers of a portable first stage."""
    with torch.device("meta"):
        stage = Autoencoder(config)
    names: Names = {}
    for part, side in (("encoder", "down"), ("decoder", "up")):
        layers = [(str(i), layer) for i, layer in enumerate(getattr(stage, part))]
        first, *body, norm, _, head = layers
        middle, levels = (body[-3:], body[:-3]) if side == "down" else (body[:3], body[3:])
        found = {first[0]: ("conv_in",), norm[0]: ("conv_norm_out",), head[0]: ("conv_out",)}
        found |= _levels(levels, side) | _middle(middle)
        names |= {f"{part}.{k}": tuple(f"{part}.{n}" for n in v) for k, v in found.items()}
    return names


def renamed(state: State, names: Names) -> dict[str, Tensor]:
    """Our weights under their names; what has no name there is left out."""
    found = {}
    for key, value in state.items():
        layer, kind = key.rpartition(".")[::2]
        theirs = names.get(layer, ())
        for name, part in zip(theirs, value.chunk(max(1, len(theirs))), strict=False):
            flat = part.ndim == 4 and name.endswith(MATRICES)
            found[f"{name}.{kind}"] = part.flatten(1) if flat else part
    return found


def renamed_back(theirs: State, names: Names, own: nn.Module) -> dict[str, Tensor]:
    """Their weights under our names, in the shapes of `own` where the size is right.

    What `own` does not have keeps their name, so that `files.load_into` can tell of it.
    """
    left, found = {_today(key): value for key, value in theirs.items()}, {}
    for key, like in own.state_dict().items():
        layer, kind = key.rpartition(".")[::2]
        keys = [f"{name}.{kind}" for name in names.get(layer, ())]
        if keys and all(k in left for k in keys):
            value = torch.cat([left.pop(k).float() for k in keys])
            found[key] = value.reshape(like.shape) if value.numel() == like.numel() else value
    return found | left


def _today(key: str) -> str:
    """The name of an attention's layer today: the first diffusers had others."""
    *path, layer, kind = key.split(".")
    inside = len(path) > 1 and path[-2] == "attentions"
    return ".".join([*path, FORMERLY.get(layer, layer) if inside else layer, kind])


# --------------------------------------------------------------------------- time
def later(weight: Tensor, steps: float) -> Tensor:
    """The time embedding's first layer for a clock that is `steps` of 1000 slow.

    ``later(W, d) @ embedding(t) = W @ embedding(t + d / 1000)``: sines and cosines of a sum are
    sums of both, so that W (out, dim) turns in the plane of each frequency; exact.
    """
    sines, cosines = weight.double().chunk(2, dim=1)
    half = sines.shape[1]
    angle = steps * torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float64) / half)
    turned = [sines * angle.cos() - cosines * angle.sin(),
              sines * angle.sin() + cosines * angle.cos()]  # fmt: skip
    return torch.cat(turned, dim=1).to(weight)


# --------------------------------------------------------------------------- scale
def scale_layers(mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """The 1 x 1 convolutions that scale latents after the encoder, and undo it before the decoder.

    They act on mean and log-variance: (mean - m) / s, and logvar - 2 log s.
    """
    m, s = mean.double().flatten(), std.double().flatten()
    layers = {
        "quant_conv.weight": torch.cat([1 / s, torch.ones_like(s)]).diag()[:, :, None, None],
        "quant_conv.bias": torch.cat([-m / s, -2 * s.log()]),
        "post_quant_conv.weight": s.diag()[:, :, None, None],
        "post_quant_conv.bias": m,
    }
    return {key: value.float() for key, value in layers.items()}


def unscaled(
    weights: dict[str, Tensor], kept: State, settings: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Take ``quant_conv`` and its like out of `weights`; returns the latents' mean and std.

    Our own layers, unchanged, leave no trace. Others go into their neighbours: encoder and decoder
    then speak of z + P^-1 p where post_quant_conv is P z + p, as zero padding forbids to move p
    into a convolution.
    """
    found = {key: weights.pop(key) for key in list(weights) if "quant_conv." in key}
    if kept and settings.get("scaling_factor") == 1:
        ours = scale_layers(kept["latent_mean"], kept["latent_std"])
        if all(k in found and torch.equal(found[k].float(), v) for k, v in ours.items()):
            return {}
    enter, leave = weights["decoder.conv_in.weight"], weights["encoder.conv_out.weight"]
    matrix, offset = _layer(found, "quant_conv", len(leave))
    back, start = _layer(found, "post_quant_conv", enter.shape[1])
    try:
        moved = torch.linalg.solve(back, start)
    except torch.linalg.LinAlgError as error:
        raise ValueError(
            "post_quant_conv of the first stage loses channels: ldmlib has no layer like it"
        ) from error
    bias = matrix @ weights["encoder.conv_out.bias"].double() + offset
    bias[: len(moved)] += moved
    weights |= {
        "encoder.conv_out.weight": torch.einsum("ij,jkhw->ikhw", matrix, leave.double()).float(),
        "encoder.conv_out.bias": bias.float(),
        "decoder.conv_in.weight": torch.einsum("ojhw,jc->ochw", enter.double(), back).float(),
    }
    mean = moved + (settings.get("shift_factor") or 0.0)
    std = torch.full_like(mean, 1 / settings.get("scaling_factor", 0.18215))
    return {
        "latent_mean": mean.view(1, -1, 1, 1).float(),
        "latent_std": std.view(1, -1, 1, 1).float(),
    }


def _layer(weights: State, name: str, size: int) -> tuple[Tensor, Tensor]:
    """Matrix and bias of a 1 x 1 convolution, float64; the identity if there is none."""
    if f"{name}.weight" not in weights:
        return torch.eye(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    return weights[f"{name}.weight"].double().flatten(1), weights[f"{name}.bias"].double()
