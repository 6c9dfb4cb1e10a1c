"""Options that several commands share, and the reading of their values."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

WHICH_MODEL = "folder of a model, or a bundled name (`ldm info` lists them)"
Data = Annotated[
    str, typer.Option(help="mnist, fashion_mnist, ..., a folder of pictures, or an .npz file")
]
Seed = Annotated[int, typer.Option(help="same seed, same result")]
Guidance = Annotated[
    float | None,
    typer.Option(help="1 none, above 1 more typical; default: the model's own"),
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
    from ldmlib.emoji import with_style

    if prompt is not None and labels is not None:
        raise ValueError("--labels and --prompt are two ways to ask: give one of them")
    if style is not None and prompt is None:
        raise ValueError('--style needs words to draw: --prompt "red apple"')
    return None if prompt is None else with_style(prompt, style)


def check_count(n: int) -> None:
    if n < 1:
        raise ValueError(f"--n is the number of pictures, 1 or more, not {n}")


def parsed_labels(text: str | None, n: int):
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
