"""What diffusers calls our settings: each ``config.json`` there and back.

A folder from elsewhere is taken only if all that it asks for is what we would have written: then
its layers are ours (`check_settings`).
"""

from __future__ import annotations

from typing import Any

from ldmlib.diffusion.process import Diffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.unet import UNetConfig

Settings = dict[str, Any]

UNET_DEFAULTS = {  # what diffusers assumes where a config.json says nothing
    "in_channels": 3, "out_channels": 3, "center_input_sample": False,
    "time_embedding_type": "positional", "time_embedding_dim": None, "freq_shift": 0,
    "down_block_types": ["DownBlock2D"] + 3 * ["AttnDownBlock2D"],
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": 3 * ["AttnUpBlock2D"] + ["UpBlock2D"],
    "block_out_channels": [224, 448, 672, 896], "layers_per_block": 2,
    "mid_block_scale_factor": 1, "downsample_padding": 1, "downsample_type": "conv",
    "upsample_type": "conv", "act_fn": "silu", "attention_head_dim": 8, "norm_num_groups": 32,
    "attn_norm_num_groups": None, "norm_eps": 1e-5, "resnet_time_scale_shift": "default",
    "add_attention": True, "class_embed_type": None,
}  # fmt: skip
TEXT_DEFAULTS = {
    "in_channels": 4, "out_channels": 4, "center_input_sample": False, "freq_shift": 0,
    "down_block_types": 3 * ["CrossAttnDownBlock2D"] + ["DownBlock2D"],
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ["UpBlock2D"] + 3 * ["CrossAttnUpBlock2D"], "only_cross_attention": False,
    "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "downsample_padding": 1,
    "mid_block_scale_factor": 1, "act_fn": "silu", "norm_num_groups": 32, "norm_eps": 1e-5,
    "cross_attention_dim": 1280, "transformer_layers_per_block": 1, "attention_head_dim": 8,
    "class_embed_type": None, "resnet_time_scale_shift": "default",
    "resnet_out_scale_factor": 1.0, "time_embedding_type": "positional",
    "time_embedding_dim": None, "conv_in_kernel": 3, "conv_out_kernel": 3,
    "projection_class_embeddings_input_dim": None, "attention_type": "default",
}  # fmt: skip
STAGE_DEFAULTS = {
    "in_channels": 3, "out_channels": 3, "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"], "block_out_channels": [64], "layers_per_block": 1,
    "act_fn": "silu", "latent_channels": 4, "norm_num_groups": 32, "mid_block_add_attention": True,
}  # fmt: skip
DEFAULTS = {
    "UNet2DModel": UNET_DEFAULTS, "UNet2DConditionModel": TEXT_DEFAULTS,
    "AutoencoderKL": STAGE_DEFAULTS,
}  # fmt: skip
# These say nothing about the layers, or are read elsewhere, or the weights' shapes tell of them.
ELSEWHERE = {
    "sample_size", "dropout", "flip_sin_to_cos", "num_class_embeds", "num_train_timesteps",
    "scaling_factor", "shift_factor", "force_upcast", "use_quant_conv", "use_post_quant_conv",
    "addition_embed_type_num_heads",
}  # fmt: skip


def check_portable(unet: UNetConfig, autoencoder: AutoencoderConfig) -> None:
    """Raise `ValueError` for layers that only this library has."""
    if not unet.portable:
        raise ValueError(
            "diffusers cannot enlarge and normalise as this denoiser does: train one with "
            f"UNetConfig(channels={unet.channels}, portable=8), say"
        )
    if autoencoder.widths and not autoencoder.portable:
        raise ValueError(
            "diffusers cannot fold pixels into channels as this first stage does: train one with "
            f"AutoencoderConfig(widths={autoencoder.widths}, portable=8), say"
        )


def unet_settings(config: UNetConfig, side: int) -> Settings:
    """``config.json`` of a denoiser whose pictures or latents have that height and width."""
    levels, widths, text = len(config.channels), config.channels, bool(config.vocabulary)
    up = "CrossAttnUpBlock2D" if text else "UpBlock2D"
    shared = {
        "_class_name": "UNet2DConditionModel" if text else "UNet2DModel", "sample_size": side,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels or config.in_channels,
        "flip_sin_to_cos": False, "freq_shift": 0, "time_embedding_dim": config.embedding,
        "down_block_types": levels * ["DownBlock2D"], "up_block_types": levels * [up],
        "block_out_channels": list(widths), "layers_per_block": config.blocks,
        "dropout": config.dropout, "norm_num_groups": config.portable, "norm_eps": 1e-5,
        "resnet_time_scale_shift": "scale_shift",
    }  # fmt: skip
    if text:  # here `attention_head_dim` is the number of heads, there the width of one
        return shared | {
            "attention_head_dim": config.heads, "cross_attention_dim": config.text_width,
            "class_embed_type": "simple_projection",
            "projection_class_embeddings_input_dim": config.text_width,
        }  # fmt: skip
    return shared | {
        "attention_head_dim": widths[-1] // config.heads if config.heads else None,
        "attn_norm_num_groups": config.portable if config.heads else None,
        "add_attention": bool(config.heads),
        "num_class_embeds": config.num_classes + 1 if config.num_classes else None,
    }  # fmt: skip


def stage_settings(config: AutoencoderConfig, size: int) -> Settings:
    """``config.json`` of a first stage; the latents' scale is in its weights."""
    levels = len(config.widths)
    return {
        "_class_name": "AutoencoderKL", "sample_size": size, "scaling_factor": 1.0,
        "in_channels": config.channels, "out_channels": config.channels,
        "down_block_types": levels * ["DownEncoderBlock2D"],
        "up_block_types": levels * ["UpDecoderBlock2D"],
        "block_out_channels": list(config.widths), "layers_per_block": config.blocks,
        "latent_channels": config.latent_channels, "norm_num_groups": config.portable,
    }  # fmt: skip


def complete(settings: Settings) -> Settings:
    """With what diffusers assumes for all that is not said."""
    full = {**DEFAULTS[settings["_class_name"]], **settings}
    if not full.get("time_embedding_dim"):
        full["time_embedding_dim"] = 4 * full["block_out_channels"][0]
    if not full.get("add_attention", True):
        full |= {"attention_head_dim": None, "attn_norm_num_groups": None}
    elif full.get("attention_head_dim", 0) is None:
        full["attention_head_dim"] = full["block_out_channels"][-1]
    return full


def check_settings(theirs: Settings, ours: Settings, where: object) -> None:
    """Raise `ValueError` if `theirs` asks for other layers than `ours`."""
    came, wanted = complete(theirs), complete(ours)
    problems = [
        f"{key} = {came[key]!r}" + (f" instead of {wanted[key]!r}" if wanted.get(key) else "")
        for key in sorted(came.keys() - ELSEWHERE)
        if (key == "_class_name" or key[0] != "_")
        and (came[key] or None) != (wanted.get(key) or None)
    ]
    if problems:
        raise ValueError(f"{where}: ldmlib has no such layers: {', '.join(problems)}")


def unet_config(theirs: Settings) -> UNetConfig:
    """The UNet of a foreign ``config.json``, as far as ours has words for it."""
    full = complete(theirs)
    channels, head = tuple(full["block_out_channels"]), full["attention_head_dim"]
    return UNetConfig(
        in_channels=full["in_channels"], channels=channels, blocks=full["layers_per_block"],
        heads=channels[-1] // head if full["add_attention"] else 0,
        num_classes=full.get("num_class_embeds") or 0, dropout=full.get("dropout", 0.0),
        portable=full["norm_num_groups"],
    )  # fmt: skip


def stage_config(theirs: Settings) -> AutoencoderConfig:
    """The first stage of a foreign ``config.json``."""
    full = complete(theirs)
    return AutoencoderConfig(
        channels=full["in_channels"], latent_channels=full["latent_channels"],
        widths=tuple(full["block_out_channels"]), blocks=full["layers_per_block"],
        portable=full["norm_num_groups"],
    )  # fmt: skip


# --------------------------------------------------------------------------- scheduler
BETAS = {  # name there, first beta, last beta
    "linear": ("linear", 1e-4, 0.02),
    "scaled_linear": ("scaled_linear", 0.00085, 0.012),
    "cosine": ("squaredcos_cap_v2", 1e-4, 0.02),  # its betas come from the cosine alone
}
PREDICTS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
FLOW = "FlowMatchEulerDiscreteScheduler"


def scheduler_settings(diffusion: Diffusion, pixels: bool) -> Settings:
    """``scheduler_config.json``; x0_hat is kept inside [-1, 1] for pixels, never for latents.

    Raises:
        ValueError: a schedule with a parametrisation that no scheduler there has.
    """
    flow = diffusion.schedule == "flow", diffusion.parametrisation == "flow"
    if all(flow):
        return {"_class_name": FLOW, "num_train_timesteps": 1000, "shift": 1.0}
    if any(flow):
        raise ValueError(
            f"diffusers has no scheduler for schedule {diffusion.schedule!r} with parametrisation "
            f"{diffusion.parametrisation!r}: train with Diffusion(schedule='flow', "
            "parametrisation='flow'), or with another of both"
        )
    name, first, last = BETAS[diffusion.schedule]
    return {
        "_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "beta_schedule": name,
        "beta_start": first, "beta_end": last, "timestep_spacing": "trailing",
        "prediction_type": PREDICTS[diffusion.parametrisation], "set_alpha_to_one": True,
        "clip_sample": pixels,
    }  # fmt: skip


def diffusion_of(theirs: Settings, where: object) -> Diffusion:
    """Schedule and parametrisation of a foreign ``scheduler_config.json``.

    How a scheduler spaces its steps belongs to sampling and is not read.

    Raises:
        ValueError: another scheduler than flow matching's, DDPM's or DDIM's, or another noise.
    """
    kind = theirs.get("_class_name")
    noise = (
        theirs.get("beta_schedule", "linear"),
        theirs.get("beta_start", 1e-4),
        theirs.get("beta_end", 0.02),
    )
    strange = [
        f"{key} = {theirs[key]!r}"
        for key in ("trained_betas", "rescale_betas_zero_snr", "invert_sigmas")
        if theirs.get(key)
    ]
    if theirs.get("num_train_timesteps", 1000) != 1000:
        strange.append(f"num_train_timesteps = {theirs['num_train_timesteps']}")
    if kind == FLOW and not strange:
        return Diffusion("flow", "flow")
    known = {name: ours for ours, (name, *_) in BETAS.items()}
    ours = known.get(noise[0])
    meant = theirs.get("prediction_type", "epsilon")
    if kind not in ("DDPMScheduler", "DDIMScheduler"):
        strange.append(f"_class_name = {kind!r}")
    elif ours is None or (ours != "cosine" and noise != BETAS[ours]):
        strange.append(f"betas {noise}")
    elif meant not in PREDICTS.values():
        strange.append(f"prediction_type = {meant!r}")
    if strange:
        raise ValueError(f"{where}: ldmlib has no such schedule: {', '.join(strange)}")
    return Diffusion(ours, {v: k for k, v in PREDICTS.items()}[meant], time_sampling="uniform")
