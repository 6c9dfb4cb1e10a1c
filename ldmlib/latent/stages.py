"""The two stages of a latent diffusion model: functions that train them by a recipe.

The notebooks call these functions, ``make weights`` calls them with more steps, and ``ldm train``
calls them with settings chosen from the reader's own pictures (`ldmlib.latent.recipes`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ldmlib.data import ImageData
from ldmlib.data.names import counted
from ldmlib.data.record import DataRecord, described
from ldmlib.evaluation.evaluator import FEWEST_HELD_OUT, Evaluator, evaluator_of
from ldmlib.evaluation.metrics import psnr
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import BUNDLED, LatentDiffusion
from ldmlib.latent.recipes import Recipe, size_step
from ldmlib.latent.run_record import (
    STAGES,
    check_folder,
    check_record,
    is_finished,
    recorded_precisions,
)
from ldmlib.networks.autoencoder import Autoencoder
from ldmlib.networks.unet import UNet
from ldmlib.runtime import Runtime, device_name
from ldmlib.storage.files import check_writable
from ldmlib.storage.places import expanded
from ldmlib.storage.wrappers import load_plain
from ldmlib.training.autoencoder_loss import AutoencoderLoss
from ldmlib.training.config import TrainState
from ldmlib.training.denoising import DenoisingObjective
from ldmlib.training.run import CHECKPOINT, alone_in, choose_precision, main_only, train
from ldmlib.training.run_folder import shown

# --------------------------------------------------------------------------- classifier


# --------------------------------------------------------------------------- latent diffusion


def train_autoencoder(
    x: Tensor, recipe: Recipe, perceptual: nn.Module | None = None, **options: object
) -> TrainState:
    """First stage: train an `Autoencoder` on pictures (n, C, H, W); options go to `fit`."""
    torch.manual_seed(recipe.autoencoder_training.seed)
    model = Autoencoder(recipe.autoencoder)
    loss = AutoencoderLoss(recipe.autoencoder_loss, perceptual, recipe.autoencoder.channels)
    return train(model, loss, (x, None), recipe.autoencoder_training, **options)


def config_of(
    data: ImageData, recipe: Recipe, record: DataRecord | None = None
) -> LatentDiffusionConfig:
    """The config of the model that `recipe` makes of `data`."""
    counts = torch.ones(0)
    if data.labels is not None:
        counts = torch.bincount(data.labels, minlength=data.num_classes).double()
    canvas = canvas_of(data.size, recipe)
    return LatentDiffusionConfig(
        autoencoder=recipe.autoencoder,
        unet=recipe.unet,
        diffusion=recipe.diffusion,
        size=data.size,
        canvas=canvas if canvas != data.size else 0,
        classes=data.classes if data.labels is not None else (),
        class_weights=tuple((counts / counts.sum()).tolist()),
        guidance=recipe.guidance,
        guidance_interval=recipe.guidance_interval,
        data=record,
    )


def assemble(
    data: ImageData, autoencoder: nn.Module, recipe: Recipe, record: DataRecord | None = None
) -> LatentDiffusion:
    """A `LatentDiffusion` with a trained autoencoder and a denoiser that knows nothing yet."""
    torch.manual_seed(recipe.training.seed)
    model = LatentDiffusion(config_of(data, recipe, record))
    load_plain(model.autoencoder, autoencoder.state_dict(), "autoencoder")
    return model


def train_denoiser(
    model: LatentDiffusion, z: Tensor, y: Tensor | None, recipe: Recipe, **options: object
) -> TrainState:
    """Second stage: train `model.denoiser` on scaled latents; the averaged weights end in it."""
    objective = DenoisingObjective(recipe.diffusion, recipe.label_dropout)
    state = train(model.denoiser, objective, (z, y), recipe.training, **options)
    load_plain(model.denoiser, state.ema.state_dict(), "denoiser")
    model.eval()
    return state


# --------------------------------------------------------------------------- whole trainings


def canvas_of(size: int, recipe: Recipe) -> int:
    """`size`, or the next larger side that the networks can halve: pictures are padded to it."""
    step = size_step(recipe)
    return -(-size // step) * step


def check_fits(data: ImageData, recipe: Recipe) -> None:
    """Find out before the first step what would stop the last one.

    Raises:
        ValueError: pictures of other channels or classes than the recipe is for.
    """
    if data.channels != recipe.autoencoder.channels:
        raise ValueError(
            f"{data.name}: the recipe is for pictures with {recipe.autoencoder.channels} channels, "
            f"these have {data.channels}"
        )
    if data.num_classes > recipe.unet.num_classes:
        raise ValueError(
            f"{data.name}: labels of {data.num_classes} classes, but the recipe's UNet knows "
            f"{recipe.unet.num_classes}; set UNetConfig(num_classes=...)"
        )


def reconstruction_report(
    model: LatentDiffusion, evaluator: Evaluator | None, held_out: ImageData
) -> dict:
    """How well the first stage gives held-out pictures back.

    Returns:
        ``psnr`` in dB (values in [-1, 1], so the peak is 2); and, with an evaluator, ``rfid`` with
        its ``floor`` at the same n: no denoiser can score below it.
    """
    x, _ = held_out.as_tensors()
    x_hat = model.decode(model.encode(x)).cpu()
    report = {"n": len(x), "psnr": psnr(x_hat, x)}
    if evaluator is not None:
        report |= {"rfid": evaluator.fid(x_hat), "floor": evaluator.floor(len(x))}
    return report


def describe_reconstruction(report: dict) -> str:
    """One sentence or two for the reader, with a warning where the first stage caps the result."""
    pictures = counted(report["n"], "held-out picture comes", "held-out pictures come")
    text = f"First stage: {pictures} back with PSNR {report['psnr']:.1f} dB"
    if "rfid" in report:
        text += f", reconstruction FID {report['rfid']:.2f} (real pictures: {report['floor']:.2f})"
        capped = report["rfid"] > 3 * report["floor"] + 1e-9
    else:
        capped = report["psnr"] < 20
    if capped:
        text += (
            ".\nWARNING: this caps the result: no denoiser can mend what the first stage "
            "blurs. Train it longer (--first-stage-steps), or keep more in the latents"
        )
    return text + "."


def train_latent_diffusion(
    data: ImageData,
    held_out: ImageData,
    recipe: Recipe,
    folder: str | Path,
    resume: bool = False,
    evaluator: Evaluator | None = None,
    perceptual: nn.Module | None = None,
    largest_key: int | None = None,
) -> LatentDiffusion:
    """Both stages with checkpoints in `folder`, the model saved there at the end.

    What is trained on what is written to ``run.json`` before the first step (`run_record`). With
    `resume`, a stage that is done is loaded and one that was interrupted goes on; where all is
    done, nothing is written. Pictures that the networks cannot halve often enough are padded.

    Args:
        largest_key: how `data` and `held_out` were divided, see `data.load_parts`; the model
            remembers it.

    Raises:
        FileExistsError: the folder holds a model or a run already, and `resume` is off; or there
            is a model but nothing to resume from.
        ValueError: data that do not fit the recipe; with `resume`, other data or settings than the
            run began with.
        OSError: a folder that cannot be written, or that another process is training in.
        KeyboardInterrupt: stopped in the first stage, before there is anything to sample from.
    """
    folder, runtime = expanded(folder), Runtime.current()
    check_fits(data, recipe)
    check_writable(folder / "config.json")
    record = DataRecord.of(data, held_out, largest_key)
    say = print if runtime.is_main else _silent
    say(described(data, held_out))
    with alone_in(folder, runtime):
        main_only(runtime, lambda: check_folder(folder, resume))
        recipe = _precision_of_run(recipe, data, folder, runtime)
        config = config_of(data, recipe, record)
        main_only(runtime, lambda: check_record(folder, config, recipe, perceptual))
        stages = [recipe.autoencoder_training, recipe.training][not recipe.autoencoder.widths :]
        if resume and is_finished(folder, [stage.steps for stage in stages]):
            say(f"The run in {folder_name(folder)} is finished; nothing is left to do.")
            return LatentDiffusion.from_pretrained(folder, runtime.device)
        say(_plan(config, recipe, folder, runtime))
        return _both_stages(data, held_out, recipe, folder, evaluator, perceptual, record, runtime)


def _silent(*_: object) -> None:
    """Stands for `print` on all processes but the main one."""


def folder_name(folder: Path) -> str:
    """How a run's folder is called in printed commands."""
    return shown(folder, BUNDLED)


def _precision_of_run(recipe: Recipe, data: ImageData, folder: Path, runtime: Runtime) -> Recipe:
    """The recipe with a precision for each stage that leaves it open.

    It is that of the folder's run, if there is one, or what is measured to be faster for the
    denoiser, which takes most of the time.
    """
    stages = [recipe.autoencoder_training, recipe.training]
    if all(stage.precision != "auto" for stage in stages):
        return recipe
    chosen = recorded_precisions(folder)
    if chosen is None:
        torch.manual_seed(recipe.training.seed)
        side = canvas_of(data.size, recipe) // recipe.autoencoder.factor
        z = torch.randn(recipe.training.batch_size, recipe.autoencoder.latent_channels, side, side)
        y = None if data.labels is None else data.labels[torch.arange(len(z)) % len(data)]
        objective = DenoisingObjective(recipe.diffusion, recipe.label_dropout)
        model = UNet(recipe.unet)
        chosen = [choose_precision(model, objective, (z, y), recipe.training, runtime)] * 2
    return with_precision(recipe, *chosen)


def with_precision(recipe: Recipe, first_stage: str, second_stage: str) -> Recipe:
    """The recipe with these precisions where it leaves them open ("auto")."""
    first, second = (
        replace(stage, precision=precision) if stage.precision == "auto" else stage
        for stage, precision in [
            (recipe.autoencoder_training, first_stage),
            (recipe.training, second_stage),
        ]
    )
    return replace(recipe, autoencoder_training=first, training=second)


def _plan(config: LatentDiffusionConfig, recipe: Recipe, folder: Path, runtime: Runtime) -> str:
    """Where results go, where steps are made and how precisely; what happens to odd sizes."""
    stages = [recipe.autoencoder_training, recipe.training][not recipe.autoencoder.widths :]
    precisions = " and ".join(dict.fromkeys(stage.precision for stage in stages))
    text = (
        f"Training on {device_name(runtime.device)} in {precisions}; "
        f"checkpoints and the model go to {folder_name(folder)}"
    )
    if config.canvas:
        text += (
            f".\nInside, pictures are padded to {config.canvas} x {config.canvas}, which the "
            f"networks can halve; samples are {config.size} x {config.size}"
        )
    return text + "."


def _both_stages(
    data: ImageData,
    held_out: ImageData,
    recipe: Recipe,
    folder: Path,
    evaluator: Evaluator | None,
    perceptual: nn.Module | None,
    record: DataRecord,
    runtime: Runtime,
) -> LatentDiffusion:
    """The work of `train_latent_diffusion`; stages that have a checkpoint go on from it."""
    x, y = data.as_tensors()
    stages = [folder / stage for stage in STAGES]
    options = [dict(folder=f, resume=(f / CHECKPOINT).is_file()) for f in stages]
    if recipe.autoencoder.widths:
        wide = config_of(data, recipe).padded(x)
        state = train_autoencoder(wide, recipe, perceptual, runtime=runtime, **options[0])
        if state.interrupted:
            raise KeyboardInterrupt
        first = state.ema
    else:
        first = Autoencoder(recipe.autoencoder)  # diffusion on pixels: nothing to train
    model = assemble(data, first, recipe, record).to(runtime.device)
    z = model.fit_latent_scale(x)
    if runtime.is_main and recipe.autoencoder.widths:
        if evaluator is None and len(held_out) >= FEWEST_HELD_OUT:
            evaluator = evaluator_of(data, held_out)
        print(describe_reconstruction(reconstruction_report(model, evaluator, held_out)))
    state = train_denoiser(model, z, y, recipe, runtime=runtime, **options[1])
    if runtime.is_main:
        model.save_pretrained(folder)
        name = folder_name(folder)
        print(f"Model saved in {name}: ldm sample {name} --out samples.png")
        if state.interrupted:
            print("It was stopped early: --resume goes on from here.")
    return model
