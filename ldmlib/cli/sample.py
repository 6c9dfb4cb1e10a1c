"""``ldm sample``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ldmlib.cli.app import app
from ldmlib.cli.options import (
    WHICH_MODEL,
    Guidance,
    LabelNames,
    Precision,
    PrecisionOption,
    Sampler,
    Seed,
    Spacing,
    check_asked,
    check_memory,
    load_model,
    output_file,
    parsed_labels,
    styled_prompt,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ldmlib.latent.model import LatentDiffusion

AT_A_TIME = 250  # pictures between two movements of the bar


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help=WHICH_MODEL)],
    out: Annotated[
        Path, typer.Option(help="FILE.png (a grid) or FILE.npz (images, labels, classes)")
    ],
    n: Annotated[int, typer.Option(help="how many pictures")] = 64,
    labels: LabelNames = None,
    steps: Annotated[int | None, typer.Option(help="steps of the sampler")] = None,
    prompt: Annotated[str | None, typer.Option(help='words, such as "red apple"')] = None,
    style: Annotated[str | None, typer.Option(help="twemoji, noto or fluent")] = None,
    guidance: Guidance = None,
    sampler: Annotated[Sampler | None, typer.Option(help="how to step")] = None,
    spacing: Annotated[Spacing, typer.Option(help="which times to step to")] = Spacing.trailing,
    seed: Seed = 0,
    precision: PrecisionOption = Precision.float32,
) -> None:
    """Draw pictures from a model, of classes (--labels) or from words (--prompt).

    Picture i depends on the seed, its label and i. In float32 another --n, number of threads or
    batch size changes at most a few pixels in 100,000, by one grey level of 255; a GPU or another
    version of PyTorch rounds differently, too.
    """
    from ldmlib.data.names import counted
    from ldmlib.images import save_npz, save_png

    check_asked(n, steps, guidance, spacing=spacing)
    out = output_file(out)
    prompt = styled_prompt(prompt, style, labels)
    ldm = load_model(model, precision)
    check_memory(ldm, n)
    chosen = parsed_labels(labels, ldm.config, n)
    if chosen is None and prompt is None:
        chosen = ldm.draw_labels(n, seed)
    asked = {} if prompt is None else {"prompt": prompt}
    ldm.condition(1, None, **asked)  # a prompt that cannot be read is named before the bar begins
    how = {"sampler": sampler.value if sampler else None, "spacing": spacing.value, **asked}
    pictures = sample_with_bar(ldm, n, chosen, steps, guidance, seed, **how)
    if out.suffix.lower() == ".png":
        save_png(pictures, out)
    else:  # a class left open (-1) is no label
        is_open = chosen is None or bool((chosen < 0).any())
        save_npz(out, pictures, None if is_open else chosen, ldm.config.classes)
    print(f"{counted(n, 'picture')} in {out}")


def sample_with_bar(
    ldm: LatentDiffusion,
    n: int,
    labels: Tensor | None,
    steps: int | None,
    guidance: float | None,
    seed: int,
    **how: object,
) -> Tensor:
    """`LatentDiffusion.sample` with a progress bar."""
    import torch
    from tqdm.auto import tqdm

    pictures = []
    with tqdm(total=n, unit="picture") as bar:
        for start in range(0, n, AT_A_TIME):
            some = min(AT_A_TIME, n - start)
            chosen = None if labels is None else labels[start : start + some]
            pictures.append(ldm.sample(some, chosen, steps, guidance, seed, start=start, **how))
            bar.update(some)
    return torch.cat(pictures)
