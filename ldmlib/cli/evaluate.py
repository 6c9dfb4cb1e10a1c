"""``ldm evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from ldmlib.cli.app import app
from ldmlib.cli.options import Data, Guidance, Seed
from ldmlib.cli.sample import sample_with_bar


@app.command()
def evaluate(
    source: Annotated[str, typer.Argument(help="folder of a model, bundled name, or .npz file")],
    data: Data = "mnist",
    n: Annotated[int | None, typer.Option(help="pictures to draw from a model")] = None,
    steps: Annotated[int | None, typer.Option(help="steps of the sampler")] = None,
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
        pictures = sample_with_bar(ldm, n, labels, steps, guidance, seed)
    print(judge.report(pictures, labels))
