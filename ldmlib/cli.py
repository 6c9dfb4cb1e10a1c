"""The command ``ldm``: train, sample and score latent diffusion models from a terminal."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    help="Latent diffusion models, small enough to read and fast enough for a laptop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    str, typer.Option(help="mnist, fashion_mnist, ..., a folder of pictures, or an .npz file")
]
Seed = Annotated[int, typer.Option(help="same seed, same result")]


MANY = 1000  # pictures from which on sampling goes to bfloat16, twice as fast, where there is any


class Sampler(str, Enum):
    """Names of the samplers, for --sampler."""

    ddpm = "ddpm"
    ddim = "ddim"
    euler = "euler"
    heun = "heun"


@app.command()
def info() -> None:
    """Say what this machine has and which bundled models there are."""
    from ldmlib.environment import describe_environment
    from ldmlib.latent import BUNDLED

    print(describe_environment())
    print("bundled models: " + ", ".join(BUNDLED))


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="folder for the model and its checkpoints")],
    steps: Annotated[Optional[int], typer.Option(help="steps of the denoiser")] = None,  # noqa: UP045
    first_stage_steps: Annotated[Optional[int], typer.Option(help="of the autoencoder")] = None,  # noqa: UP045
    size: Annotated[Optional[int], typer.Option(help="resize pictures to this side")] = None,  # noqa: UP045
    batch_size: Annotated[int, typer.Option(help="pictures a step")] = 128,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the run stopped")] = False,
) -> None:
    """Train a latent diffusion model: first the autoencoder, then the denoiser."""
    from ldmlib import presets
    from ldmlib.data import load_pair
    from ldmlib.recipes import train_latent_diffusion

    pictures, held_out = load_pair(data, size)
    recipe = presets.for_data(pictures, steps, first_stage_steps, batch_size, seed)
    perceptual = presets.perceptual_for(pictures)
    try:
        train_latent_diffusion(pictures, held_out, recipe, out, resume, perceptual=perceptual)
    except KeyboardInterrupt:
        sys.exit("ldm: stopped. What is written so far is whole; --resume goes on from it.")


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="folder of a model, or a bundled name: mnist")],
    out: Annotated[Path, typer.Option(help="FILE.png (a grid) or FILE.npz (images, labels)")],
    n: Annotated[int, typer.Option(help="how many pictures")] = 64,
    labels: Annotated[Optional[str], typer.Option(help="class, or classes: 3 or 0,1,2")] = None,  # noqa: UP045
    steps: Annotated[Optional[int], typer.Option(help="steps of the sampler")] = None,  # noqa: UP045
    guidance: Annotated[float, typer.Option(help="1 none, above 1 more typical")] = 1.0,
    sampler: Annotated[Optional[Sampler], typer.Option(help="how to step")] = None,  # noqa: UP045
    seed: Seed = 0,
) -> None:
    """Draw pictures from a model."""
    from ldmlib.images import save_npz, save_png
    from ldmlib.latent import LatentDiffusion
    from ldmlib.runtime import best_device

    _check_count(n)
    if out.suffix not in (".png", ".npz"):
        raise ValueError(f"--out must end in .png or .npz, not {out.name!r}")
    ldm = LatentDiffusion.from_pretrained(model, best_device())
    chosen = _labels(labels, n)
    if chosen is None:
        chosen = ldm.draw_labels(n, seed)
    pictures = _sample_with_bar(
        ldm, n, chosen, steps, guidance, seed, sampler.value if sampler else None
    )
    if out.suffix == ".png":
        save_png(pictures, out)
    else:
        save_npz(out, pictures, chosen)
    print(f"{n} pictures in {out}")


def _check_count(n: int) -> None:
    if n < 1:
        raise ValueError(f"--n is the number of pictures, 1 or more, not {n}")


def _labels(text: str | None, n: int):
    """``"3"`` -> 3 for all; ``"0,1,2"`` -> these in turn, n in all; None -> None."""
    import torch

    if text is None:
        return None
    try:
        values = torch.tensor([int(part) for part in text.split(",")])
    except ValueError as error:
        raise ValueError(
            f"--labels takes whole numbers such as 3 or 0,1,2, not {text!r}"
        ) from error
    return values.repeat(-(-n // len(values)))[:n]


def _sample_with_bar(ldm, n: int, labels, steps, guidance: float, seed: int, sampler, part=250):
    """`LatentDiffusion.sample` with a progress bar; in bfloat16 where that pays."""
    import torch
    from tqdm.auto import tqdm

    from ldmlib.runtime import has_bfloat16

    if n >= MANY and has_bfloat16(ldm.device):
        ldm.precision = "bfloat16"
    pictures = []
    with tqdm(total=n, unit="picture") as bar:
        for start in range(0, n, part):
            count = min(part, n - start)
            chosen = None if labels is None else labels[start : start + count]
            pictures.append(
                ldm.sample(count, chosen, steps, guidance, seed, sampler=sampler, start=start)
            )
            bar.update(count)
    return torch.cat(pictures)


@app.command()
def evaluate(
    source: Annotated[str, typer.Argument(help="folder of a model, bundled name, or .npz file")],
    data: Data = "mnist",
    n: Annotated[int, typer.Option(help="pictures to draw from a model")] = 10_000,
    steps: Annotated[Optional[int], typer.Option(help="steps of the sampler")] = None,  # noqa: UP045
    guidance: Annotated[float, typer.Option(help="1 none")] = 1.0,
    seed: Seed = 0,
) -> None:
    """Score a model or a file of pictures: FID with n, the floor at that n, and their ratio."""
    from ldmlib.data import from_npz
    from ldmlib.evaluation import evaluator_for
    from ldmlib.latent import LatentDiffusion
    from ldmlib.runtime import best_device

    if source.endswith(".npz"):
        pictures, labels = from_npz(source).as_tensors()
    else:
        _check_count(n)
        ldm = LatentDiffusion.from_pretrained(source, best_device())
        labels = ldm.draw_labels(n, seed)
        pictures = _sample_with_bar(ldm, n, labels, steps, guidance, seed, None)
    print(evaluator_for(data).report(pictures, labels))


def main() -> None:
    """Run the command line; expected mistakes end in one clear sentence, not a traceback."""
    try:
        app()
    except (ValueError, TypeError, OSError, FloatingPointError, ImportError) as error:
        sys.exit(f"ldm: {error}")


if __name__ == "__main__":
    main()
