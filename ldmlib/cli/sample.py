"""``ldm sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldmlib.cli.app import app
from ldmlib.cli.options import (
    WHICH_MODEL,
    Guidance,
    Sampler,
    Seed,
    Spacing,
    check_count,
    parsed_labels,
    styled_prompt,
)

MANY = 1000  # pictures from which on sampling goes to bfloat16, twice as fast, where there is any


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help=WHICH_MODEL)],
    out: Annotated[Path, typer.Option(help="FILE.png (a grid) or FILE.npz (images, labels)")],
    n: Annotated[int, typer.Option(help="how many pictures")] = 64,
    labels: Annotated[str | None, typer.Option(help="class, or classes: 3 or 0,1,2")] = None,
    steps: Annotated[int | None, typer.Option(help="steps of the sampler")] = None,
    prompt: Annotated[str | None, typer.Option(help='words, such as "red apple"')] = None,
    style: Annotated[str | None, typer.Option(help="twemoji, noto or fluent")] = None,
    guidance: Guidance = None,
    sampler: Annotated[Sampler | None, typer.Option(help="how to step")] = None,
    spacing: Annotated[Spacing, typer.Option(help="which times to step to")] = Spacing.trailing,
    seed: Seed = 0,
) -> None:
    """Draw pictures from a model, of classes (--labels) or from words (--prompt)."""
    from ldmlib.files import check_writable
    from ldmlib.images import save_npz, save_png
    from ldmlib.latent import LatentDiffusion
    from ldmlib.runtime import best_device

    check_count(n)
    if out.suffix not in (".png", ".npz"):
        raise ValueError(f"--out must end in .png or .npz, not {out.name!r}")
    check_writable(out)
    prompt = styled_prompt(prompt, style, labels)
    ldm = LatentDiffusion.from_pretrained(model, best_device())
    chosen = parsed_labels(labels, n)
    if chosen is None and prompt is None:
        chosen = ldm.draw_labels(n, seed)
    asked = {} if prompt is None else {"prompt": prompt}
    ldm.condition(1, None, **asked)  # a prompt that cannot be read is named before the bar begins
    how = {"sampler": sampler.value if sampler else None, "spacing": spacing.value, **asked}
    pictures = sample_with_bar(ldm, n, chosen, steps, guidance, seed, **how)
    if out.suffix == ".png":
        save_png(pictures, out)
    else:  # a class left open (-1) is no label
        save_npz(out, pictures, None if chosen is None or bool((chosen < 0).any()) else chosen)
    print(f"{n} picture{'s' * (n > 1)} in {out}")


def sample_with_bar(ldm, n: int, labels, steps, guidance, seed: int, part=250, **how):
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
