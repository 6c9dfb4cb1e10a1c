"""The command ``ldm``: train, sample and score latent diffusion models from a terminal."""

from __future__ import annotations

import sys
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    help="Latent diffusion models, small enough to read and fast enough for a laptop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

WHICH_MODEL = "folder of a model, or a bundled name (`ldm info` lists them)"
Data = Annotated[
    str, typer.Option(help="mnist, fashion_mnist, ..., a folder of pictures, or an .npz file")
]
Seed = Annotated[int, typer.Option(help="same seed, same result")]
Guidance = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="1 none, above 1 more typical; default: the model's own"),
]


MANY = 1000  # pictures from which on sampling goes to bfloat16, twice as fast, where there is any


class Sampler(str, Enum):
    """Names of the samplers, for --sampler."""

    ddpm = "ddpm"
    ddim = "ddim"
    euler = "euler"
    heun = "heun"
    dpmpp_2m = "dpmpp_2m"


class Spacing(str, Enum):
    """Names of the step spacings, for --spacing."""

    trailing = "trailing"
    linspace = "linspace"
    leading = "leading"
    karras = "karras"


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


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help=WHICH_MODEL)],
    out: Annotated[Path, typer.Option(help="FILE.png (a grid) or FILE.npz (images, labels)")],
    n: Annotated[int, typer.Option(help="how many pictures")] = 64,
    labels: Annotated[Optional[str], typer.Option(help="class, or classes: 3 or 0,1,2")] = None,  # noqa: UP045
    steps: Annotated[Optional[int], typer.Option(help="steps of the sampler")] = None,  # noqa: UP045
    prompt: Annotated[Optional[str], typer.Option(help='words, such as "red apple"')] = None,  # noqa: UP045
    style: Annotated[Optional[str], typer.Option(help="twemoji, noto or fluent")] = None,  # noqa: UP045
    guidance: Guidance = None,
    sampler: Annotated[Optional[Sampler], typer.Option(help="how to step")] = None,  # noqa: UP045
    spacing: Annotated[Spacing, typer.Option(help="which times to step to")] = Spacing.trailing,
    seed: Seed = 0,
) -> None:
    """Draw pictures from a model, of classes (--labels) or from words (--prompt)."""
    from ldmlib.files import check_writable
    from ldmlib.images import save_npz, save_png
    from ldmlib.latent import LatentDiffusion
    from ldmlib.runtime import best_device

    _check_count(n)
    if out.suffix not in (".png", ".npz"):
        raise ValueError(f"--out must end in .png or .npz, not {out.name!r}")
    check_writable(out)
    prompt = _words(prompt, style, labels)
    ldm = LatentDiffusion.from_pretrained(model, best_device())
    chosen = _labels(labels, n)
    if chosen is None and prompt is None:
        chosen = ldm.draw_labels(n, seed)
    asked = {} if prompt is None else {"prompt": prompt}
    ldm.condition(1, None, **asked)  # a prompt that cannot be read is named before the bar begins
    how = {"sampler": sampler.value if sampler else None, "spacing": spacing.value, **asked}
    pictures = _sample_with_bar(ldm, n, chosen, steps, guidance, seed, **how)
    if out.suffix == ".png":
        save_png(pictures, out)
    else:  # a class left open (-1) is no label
        save_npz(out, pictures, None if chosen is None or bool((chosen < 0).any()) else chosen)
    print(f"{n} picture{'s' * (n > 1)} in {out}")


def _words(prompt: str | None, style: str | None, labels: str | None) -> str | None:
    """The prompt with its style; None if there is none."""
    from ldmlib.emoji import with_style

    if prompt is not None and labels is not None:
        raise ValueError("--labels and --prompt are two ways to ask: give one of them")
    if style is not None and prompt is None:
        raise ValueError('--style needs words to draw: --prompt "red apple"')
    return None if prompt is None else with_style(prompt, style)


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


def _sample_with_bar(ldm, n: int, labels, steps, guidance, seed: int, part=250, **how):
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
            pictures.append(ldm.sample(count, chosen, steps, guidance, seed, start=start, **how))
            bar.update(count)
    return torch.cat(pictures)


@app.command()
def edit(
    model: Annotated[str, typer.Argument(help=WHICH_MODEL)],
    pictures: Annotated[Path, typer.Argument(help="a picture, or an .npz file of pictures")],
    out: Annotated[Path, typer.Option(help="FILE.png (a grid) or FILE.npz")],
    strength: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="0 keep all, 1 draw all anew; default 0.6, with --mask 1"),
    ] = None,
    mask: Annotated[Optional[Path], typer.Option(help="picture: white is drawn anew")] = None,  # noqa: UP045
    labels: Annotated[Optional[str], typer.Option(help="class, or classes: 3 or 0,1,2")] = None,  # noqa: UP045
    prompt: Annotated[Optional[str], typer.Option(help='words, such as "red apple"')] = None,  # noqa: UP045
    style: Annotated[Optional[str], typer.Option(help="twemoji, noto or fluent")] = None,  # noqa: UP045
    steps: Annotated[Optional[int], typer.Option(help="steps of the sampler")] = None,  # noqa: UP045
    guidance: Guidance = None,
    seed: Seed = 0,
) -> None:
    """Redraw pictures: as a whole, a hole in them (--mask), or larger, if the model can."""
    from ldmlib.edit_files import edit_file
    from ldmlib.latent import LatentDiffusion
    from ldmlib.runtime import best_device

    how = {"prompt": _words(prompt, style, labels), "steps": steps, "guidance": guidance}
    ldm = LatentDiffusion.from_pretrained(model, best_device())
    edit_file(
        ldm, pictures, out, mask, strength, labels and partial(_labels, labels), seed=seed, **how
    )


@app.command()
def evaluate(
    source: Annotated[str, typer.Argument(help="folder of a model, bundled name, or .npz file")],
    data: Data = "mnist",
    n: Annotated[Optional[int], typer.Option(help="pictures to draw from a model")] = None,  # noqa: UP045
    steps: Annotated[Optional[int], typer.Option(help="steps of the sampler")] = None,  # noqa: UP045
    guidance: Guidance = None,
    seed: Seed = 0,
) -> None:
    """Score a model or a file of pictures: FID with n, the floor at that n, and their ratio.

    Of a model as many pictures are drawn as there are real ones held out, 10,000 at most.
    """
    from ldmlib.data import from_npz
    from ldmlib.evaluation import evaluator_for
    from ldmlib.latent import LatentDiffusion
    from ldmlib.runtime import best_device

    if source.endswith(".npz"):
        pictures, labels = from_npz(source).as_tensors()
        judge = evaluator_for(data)
        judge.check(len(pictures), pictures.shape[1])
    else:
        ldm = LatentDiffusion.from_pretrained(source, best_device())
        judge = evaluator_for(data)
        n = min(10_000, len(judge.held_out)) if n is None else n
        judge.check(n, ldm.config.autoencoder.channels)
        labels = ldm.draw_labels(n, seed)
        pictures = _sample_with_bar(ldm, n, labels, steps, guidance, seed)
    print(judge.report(pictures, labels))


@app.command()
def assignment(
    name: Annotated[str, typer.Argument(help="1, 2 or exam")],
    student: Annotated[str, typer.Option(help="name or number: the numbers follow from it")],
    out: Annotated[Optional[Path], typer.Option(help="FILE.json or FILE.md")] = None,  # noqa: UP045
    key: Annotated[bool, typer.Option("--key", help="with the answers, for the teacher")] = False,
    secret: Annotated[str, typer.Option(help="a word of the teacher's that goes in, too")] = "",
    mark: Annotated[Optional[Path], typer.Option(help="a filled-in sheet, to be marked")] = None,  # noqa: UP045
) -> None:
    """Write a student's own assignment or exam, its key, or the points of what came back."""
    from ldmlib import assignments

    sheet = assignments.make(name, student, secret)
    if mark is not None:
        print("\n".join(assignments.report(sheet, mark)))
    elif out is not None:
        print(sheet.line)
        print(" and ".join(map(str, assignments.save(sheet, out, key))))
    else:
        print(sheet.line, file=sys.stderr)  # what is printed can be kept as a file
        print(sheet.markdown(key), end="")


@app.command()
def grade(
    files: Annotated[list[Path], typer.Argument(help="notebooks that were handed in")],
    csv: Annotated[Optional[Path], typer.Option(help="FILE.csv for the whole class")] = None,  # noqa: UP045
    timeout: Annotated[float, typer.Option(help="seconds that one exercise may take")] = 60,
    master: Annotated[Optional[Path], typer.Option(help="folder of the course's notebooks")] = None,  # noqa: UP045
) -> None:
    """Run the exercises of notebooks that were handed in, and say which are passed."""
    from ldmlib import grading

    if timeout <= 0:
        raise ValueError(f"--timeout is a number of seconds above 0, not {timeout:g}")
    results, masters = [], grading.load_masters(master)
    for file in files:
        of_this = list(grading.grade(file, masters, timeout))
        results += of_this
        print(grading.table(of_this), flush=True)
        if csv is not None:  # after each one, so that what is graded is kept
            grading.save_csv(csv, results)


def main() -> None:
    """Run the command line; expected mistakes end in one clear sentence, not a traceback."""
    try:
        app()
    except (ValueError, TypeError, OSError, FloatingPointError, ImportError) as error:
        sys.exit(f"ldm: {error}")


if __name__ == "__main__":
    main()
