"""``ldm edit``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ldmlib.cli.app import app
from ldmlib.cli.options import (
    WHICH_MODEL,
    Guidance,
    LabelNames,
    Precision,
    PrecisionOption,
    Seed,
    check_asked,
    load_model,
    output_file,
    parsed_labels,
    styled_prompt,
)


@app.command()
def edit(
    model: Annotated[str, typer.Argument(help=WHICH_MODEL)],
    pictures: Annotated[Path, typer.Argument(help="a picture, or an .npz file of pictures")],
    out: Annotated[Path, typer.Option(help="FILE.png (a grid) or FILE.npz")],
    strength: Annotated[
        float | None,
        typer.Option(help="0 keep all, 1 draw all anew; default 0.6, with --mask 1"),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="picture, or .npy or .npz file: white (True) is drawn anew")
    ] = None,
    labels: LabelNames = None,
    prompt: Annotated[str | None, typer.Option(help='words, such as "red apple"')] = None,
    style: Annotated[str | None, typer.Option(help="twemoji, noto or fluent")] = None,
    steps: Annotated[int | None, typer.Option(help="steps of the sampler")] = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    precision: PrecisionOption = Precision.float32,
) -> None:
    """Redraw pictures: as a whole, a hole in them (--mask), or larger, if the model can."""
    from ldmlib.applications.editing.files import edit_file, read_given
    from ldmlib.applications.editing.mask_files import read_mask
    from ldmlib.storage.places import expanded

    check_asked(steps=steps, guidance=guidance, strength=strength)
    out = output_file(out)
    for read in (expanded(path) for path in (pictures, mask) if path is not None):
        if read.exists() and out.exists() and out.samefile(read):
            raise ValueError(
                f"--out {out} would overwrite {read}, which is read; name another file"
            )
    given = read_given(pictures)  # a file that cannot be read is named before the model is loaded
    hole = None if mask is None else read_mask(mask)
    how = {"prompt": styled_prompt(prompt, style, labels), "steps": steps, "guidance": guidance}
    ldm = load_model(model, precision)
    asked = None if labels is None else partial(parsed_labels, labels, ldm.config)
    edit_file(ldm, given, out, hole, strength, asked, seed=seed, **how)
