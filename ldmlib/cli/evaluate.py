"""``ldm evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ldmlib.cli.app import app
from ldmlib.cli.options import (
    Data,
    Guidance,
    Precision,
    PrecisionOption,
    Seed,
    check_asked,
    load_model,
)
from ldmlib.cli.sample import sample_with_bar

if TYPE_CHECKING:
    from ldmlib.evaluation import Evaluator, Report
    from ldmlib.image_data import ImageData
    from ldmlib.latent import LatentDiffusion

MOST_DRAWN = 10_000  # pictures that are drawn from a model unless --n says otherwise


@app.command()
def evaluate(
    source: Annotated[str, typer.Argument(help="folder of a model, bundled name, or .npz file")],
    data: Data = "mnist",
    n: Annotated[int | None, typer.Option(help="pictures to draw from a model")] = None,
    steps: Annotated[int | None, typer.Option(help="steps of the sampler")] = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    precision: PrecisionOption = Precision.float32,
) -> None:
    """Score a model or a file of pictures: FID with n, the floor at that n, and the excess over it.

    Of a model as many pictures are drawn as there are real ones held out, 10,000 at most. Real
    pictures that a model was trained on are never taken for held-out ones, even if others have been
    added since.
    """
    check_asked(None, steps, guidance)
    if source.lower().endswith(".npz"):
        report = report_on_file(source, data)
    else:
        ldm = load_model(source, precision)
        report = report_on_model(ldm, data, n, steps, guidance, seed)
    print(report)
    at = "" if report.floor_n is None else f", both at n = {report.floor_n:,}"
    print(f"excess     {report.excess:8.2f}   FID - floor{at}; 0 is as close as real pictures are")


def report_on_file(source: str, data: str) -> Report:
    """The report on the pictures of an .npz file."""
    from ldmlib.data import KNOWN, from_npz
    from ldmlib.evaluation import evaluator_for
    from ldmlib.images import from_uint8, pad_to

    file = from_npz(source)
    print(f"Read {source}: {file!r}.")
    judge = evaluator_for(data, file.size)
    images, real = file.images, judge.train_data
    if data in KNOWN and (file.size, real.size) == (28, 32) and real.channels == file.channels:
        images = pad_to(images, 32, 0)
        print(f"The pictures of 28 x 28 get a black border up to 32 x 32, as those of {data} have.")
    elif file.size != real.size:
        print(f"Compared at {real.size} x {real.size}: the file's pictures are resized to it.")
    else:
        print(f"Compared at {real.size} x {real.size}.")
    judge.check(len(images), images.shape[1])
    say_copies(file, judge)
    labels = file.labels
    if labels is not None and file.classes != real.classes[: file.num_classes]:
        print(f"The file's {file.num_classes} classes are not those of {real.name}: not compared.")
        labels = None
    return judge.report(from_uint8(images), labels)


def report_on_model(
    ldm: LatentDiffusion,
    data: str,
    n: int | None,
    steps: int | None,
    guidance: float | None,
    seed: int,
) -> Report:
    """The report on pictures that are drawn from a model."""
    from ldmlib.evaluation import evaluator_for

    judge = evaluator_for(data, ldm.config.size, ldm.config.data)
    n = min(MOST_DRAWN, len(judge.held_out)) if n is None else n
    judge.check(n, ldm.config.autoencoder.channels)
    say_data(ldm, judge)
    labels = ldm.draw_labels(n, seed)
    pictures = sample_with_bar(ldm, n, labels, steps, guidance, seed)
    same_classes = ldm.config.classes == judge.train_data.classes
    return judge.report(pictures, labels if same_classes else None)


def say_data(ldm: LatentDiffusion, judge: Evaluator) -> None:
    """Say what the model is compared with, and whether that is what it was trained on."""
    record, real = ldm.config.data, judge.train_data
    size = f"{real.size} x {real.size}"
    print(
        f"Compared with {real.name}: {len(real):,} training and {len(judge.held_out):,} held-out "
        f"pictures at {size}."
    )
    if record is None:
        print("The model does not say what it was trained on: it may have seen held-out pictures.")
    elif record.sha256 == real.sha256:
        return
    elif (record.name, record.classes) == (real.name, real.classes):
        print(
            f"The pictures have changed since the training ({record.count:,} then, {len(real):,} "
            "now): none that the model was trained on counts as held out."
        )
    else:
        print(f"The model was trained on other pictures: {record}.")


def say_copies(file: ImageData, judge: Evaluator) -> None:
    """Say how many pictures are copies of others, as scores hardly count then."""
    for data, name in ((file, "the file's"), (judge.train_data, "the real")):
        if data.copies > 0.01 * len(data):
            print(
                f"Of {name} {len(data):,} pictures only {len(data) - data.copies:,} differ, the "
                "others are copies: scores are made for pictures that all differ."
            )
