"""Options that several commands share, and the reading of their values."""

from __future__ import annotations

import csv
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # PyTorch is imported when a command runs, so that --help answers at once
    from torch import Tensor

    from ldmlib.latent.config import LatentDiffusionConfig
    from ldmlib.latent.model import LatentDiffusion

WHICH_MODEL = "folder of a model, or a bundled name (`ldm info` lists them)"
Data = Annotated[
    str, typer.Option(help="mnist, fashion_mnist, ..., a folder of pictures, or an .npz file")
]
Seed = Annotated[
    int,
    typer.Option(
        help="same seed, same pictures: whatever --n, to within one of 255 grey levels in float32"
    ),
]
LabelNames = Annotated[
    str | None,
    typer.Option("--labels", help="classes, by name or number: cat or 0,1,2; any leaves it open"),
]
Guidance = Annotated[
    float | None,
    typer.Option(help="1 none, above 1 more typical; default: the model's own"),
]


class Precision(str, Enum):
    """Arithmetic of the network, for --precision."""

    float32 = "float32"
    bfloat16 = "bfloat16"


PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="bfloat16 is 1.4 to 2 times as fast where the processor has it, and slower where not; "
        "it changes about one pixel in six, by up to 50 of 255 grey levels",
    ),
]


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


def styled_prompt(prompt: str | None, style: str | None, labels: str | None) -> str | None:
    """The prompt with its style; None if there is none."""
    from ldmlib.data.emoji_set import with_style

    if prompt is not None and labels is not None:
        raise ValueError("--labels and --prompt are two ways to ask: give one of them")
    if style is not None and prompt is None:
        raise ValueError('--style needs words to draw: --prompt "red apple"')
    return None if prompt is None else with_style(prompt, style)


def check_asked(
    n: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    strength: float | None = None,
    spacing: Spacing = Spacing.trailing,
) -> None:
    """Find numbers that cannot be meant before anything is loaded; None stands for the default.

    Raises:
        ValueError: n or steps below 1, more steps than the spacing has, guidance or strength that
            is no number or out of range.
    """
    from ldmlib.diffusion.schedule import Schedule
    from ldmlib.diffusion.spacing import spaced_times
    from ldmlib.latent.model import MOST_GUIDANCE

    if n is not None and n < 1:
        raise ValueError(f"--n is the number of pictures, 1 or more, not {n}")
    if steps is not None and steps < 1:
        raise ValueError(f"--steps: the sampler needs at least 1 step, not {steps}")
    if steps is not None:
        spaced_times(spacing.value, steps, Schedule())
    if guidance is not None and not 0 <= guidance <= MOST_GUIDANCE:  # nan is outside, too
        raise ValueError(
            f"--guidance is a number from 0 to {MOST_GUIDANCE:,}, 1 for none, not {guidance}"
        )
    if strength is not None and not 0 <= strength <= 1:
        raise ValueError(f"--strength is 0 (keep all) to 1 (draw all anew), not {strength}")


def output_file(path: Path) -> Path:
    """The file that pictures go to, its home folder written out; nothing is made yet.

    Raises:
        ValueError: it ends in neither .png nor .npz.
        OSError: it cannot be written.
    """
    from ldmlib.storage.files import check_writable
    from ldmlib.storage.places import expanded

    path = expanded(path)
    if path.suffix.lower() not in (".png", ".npz"):
        raise ValueError(f"--out must end in .png or .npz, not {path.name!r}")
    check_writable(path)
    return path


def parsed_labels(text: str | None, config: LatentDiffusionConfig, n: int) -> Tensor | None:
    """``"3"`` -> 3 for all; ``"cat,dog"`` -> these in turn, n in all; None -> None.

    In a list a name with a comma in it stands in double quotes, as in a CSV file.

    Raises:
        ValueError: the model has no such class, or no classes.
    """
    import torch

    if text is None:
        return None
    names = [text] if config.number_of_name(text) is not None else _listed_names(text)
    values = torch.cat([config.labels(name, 1) for name in names])
    for name, value in zip(names, values.tolist(), strict=True):
        if name.strip().isdecimal() and int(name) != value:
            print(f"--labels {name.strip()} is the class of that name, number {value}.")
    return values.repeat(-(-n // len(values)))[:n]


def _listed_names(text: str) -> list[str]:
    try:
        names = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise ValueError(f"--labels {text!r} is no list of names: {error}") from error
    if not all(name.strip() for name in names) or not names:
        raise ValueError(
            "--labels takes classes with one comma between them, such as cat or 0,1,2, not "
            f"{text!r}"
        )
    return names


def describe_model(ldm: LatentDiffusion, source: str) -> str:
    """One line about a model that was loaded, so that a wrong one is seen at once."""
    from ldmlib.data.record import colour, listed
    from ldmlib.runtime import device_name, has_bfloat16

    config = ldm.config
    asked = "asked in words" if config.tokenizer is not None else listed(config.classes)
    data = "training data not recorded" if config.data is None else f"trained on {config.data.name}"
    emulated = ldm.precision == "bfloat16" and not has_bfloat16(ldm.device)
    does = f"enlarges {config.enlarges} x {config.enlarges} to " if config.enlarges else ""
    does = "fills holes in " if config.fills_holes else does
    return (
        f"Loaded {source}: {does}{colour(config.autoencoder.channels)} pictures of {config.size} x "
        f"{config.size}, {asked}; {data}; computes in {ldm.precision}"
        f"{' (emulated here, so slowly)' if emulated else ''} on {device_name(ldm.device)}."
    )


def load_model(source: str, precision: Precision) -> LatentDiffusion:
    """A model by its bundled name or its folder; says what was loaded."""
    from ldmlib.latent.model import LatentDiffusion
    from ldmlib.runtime import best_device

    ldm = LatentDiffusion.from_pretrained(source, best_device())
    ldm.precision = precision.value
    print(describe_model(ldm, source))
    return ldm


def check_memory(ldm: LatentDiffusion, n: int) -> None:
    """Refuse more pictures than this machine's memory holds: all are kept until the end.

    Raises:
        ValueError: so many do not fit; the message says how much memory they would take.
    """
    from ldmlib.environment import memory_bytes

    numbers = n * ldm.config.autoencoder.channels * ldm.config.size**2
    needed, there = 9 * numbers, memory_bytes()  # as float32 twice, and as 8 bits
    if there is not None and needed > there:
        raise ValueError(
            f"--n {n:,} pictures would take {needed / 2**30:,.0f} GB of memory, and this machine "
            f"has {there / 2**30:,.0f} GB; draw fewer, or several parts with other seeds"
        )
