"""``ldm train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ldmlib.cli.app import app
from ldmlib.cli.options import Data, Seed


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="folder for the model and its checkpoints")],
    steps: Annotated[int | None, typer.Option(help="steps of the denoiser")] = None,
    first_stage_steps: Annotated[int | None, typer.Option(help="of the autoencoder")] = None,
    size: Annotated[int | None, typer.Option(help="resize pictures to this side")] = None,
    batch_size: Annotated[int, typer.Option(help="pictures a step")] = 128,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the run stopped")] = False,
) -> None:
    """Train a latent diffusion model: first the autoencoder, then the denoiser."""
    from ldmlib import presets
    from ldmlib.data import load_pair
    from ldmlib.recipes import train_latent_diffusion

    pictures, held_out = load_pair(data, size)
    side = presets.fitting_size(pictures) if size is None else pictures.size
    if side != pictures.size:
        print(f"Pictures of {pictures.size} pixels a side are enlarged to {side}.")
        pictures, held_out = pictures.resized(side), held_out.resized(side)
    recipe = presets.for_data(pictures, steps, first_stage_steps, batch_size, seed)
    perceptual = presets.perceptual_for(pictures)
    try:
        train_latent_diffusion(pictures, held_out, recipe, out, resume, perceptual=perceptual)
    except KeyboardInterrupt:
        sys.exit("ldm: stopped. What is written so far is whole; --resume goes on from it.")
