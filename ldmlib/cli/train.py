"""``ldm train``."""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ldmlib.cli.app import app
from ldmlib.cli.options import Data, Seed

LARGEST = 4096  # pixels a side; pictures of that size would already need more memory than there is


class Precision(str, Enum):
    """Names of the precisions, for --precision."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="folder for the model and its checkpoints")],
    steps: Annotated[int | None, typer.Option(help="steps of the denoiser")] = None,
    first_stage_steps: Annotated[int | None, typer.Option(help="of the autoencoder")] = None,
    size: Annotated[int | None, typer.Option(help="resize pictures to this side")] = None,
    batch_size: Annotated[int, typer.Option(help="pictures a step")] = 128,
    seed: Seed = 0,
    precision: Annotated[
        Precision,
        typer.Option(help="auto measures once whether bfloat16 is faster here, and says so"),
    ] = Precision.auto,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the run stopped")] = False,
) -> None:
    """Train a latent diffusion model: first the autoencoder, then the denoiser."""
    _check_numbers(steps, first_stage_steps, size, batch_size, seed)
    begun = False
    try:
        from ldmlib.data import load_parts
        from ldmlib.latent import recipes
        from ldmlib.latent.stages import train_latent_diffusion, with_precision
        from ldmlib.storage.places import expanded

        out = expanded(out)
        _check_places(expanded(data), out)
        pictures, held_out, largest_key = load_parts(data, size)
        recipe = recipes.for_data(pictures, steps, first_stage_steps, batch_size, seed)
        recipe = with_precision(recipe, precision.value, precision.value)
        perceptual, begun = recipes.perceptual_for(pictures), True
        train_latent_diffusion(
            pictures,
            held_out,
            recipe,
            out,
            resume,
            perceptual=perceptual,
            largest_key=largest_key,
        )
    except KeyboardInterrupt:
        written = "What is written so far is whole; --resume goes on from it."
        sys.exit(f"ldm: stopped. {written if begun else 'Nothing was written.'}")


def _check_numbers(
    steps: int | None, first_stage_steps: int | None, size: int | None, batch_size: int, seed: int
) -> None:
    """Refuse impossible numbers before anything is read."""
    counts = {
        "--steps": steps,
        "--first-stage-steps": first_stage_steps,
        "--batch-size": batch_size,
    }
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name}: expected 1 or more, got {count}")
    if size is not None and not 1 <= size <= LARGEST:
        below = "1 or more" if size < 1 else f"{LARGEST} pixels a side at most"
        raise ValueError(f"--size: expected {below}, got {size}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"--seed: expected a number from 0 to 2^63 - 1, got {seed}")


def _check_places(data: Path, out: Path) -> None:
    """Refuse to train into the folder of pictures: what is saved there would become data."""
    here, pictures = (Path(os.path.realpath(path)) for path in (out, data))
    if data.is_dir() and (here == pictures or pictures in here.parents):
        raise ValueError(
            f"--out {out} lies in the folder of pictures {data}, where what is saved would be read "
            "as data the next time; choose a folder outside of it"
        )
