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
    check_memory,
    load_model,
)
from ldmlib.cli.sample import sample_with_bar

if TYPE_CHECKING:
    from torch import Tensor

    from ldmlib.evaluation.evaluator import Evaluator, Report
    from ldmlib.latent.model import LatentDiffusion

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

    A model draws as many pictures as there are real ones held out, at most 10,000. Real pictures
    that a model was trained on never count as held out, even if others have been added since.
    """
    check_asked(None, steps, guidance)
    if source.lower().endswith(".npz"):
        if (n, steps, guidance, seed, precision) != (None, None, None, 0, Precision.float32):
            raise ValueError(
                "--n, --steps, --guidance, --seed and --precision say how a model draws; the "
                "pictures of a file are scored as they are, all of them"
            )
        report = report_on_file(source, data)
    else:
        ldm = load_model(source, precision)
        report = report_on_model(ldm, data, n, steps, guidance, seed)
    print(report)
    print(excess_line(report))


def excess_line(report: Report) -> str:
    """FID minus floor, with the interval that the FID has where both are at one n."""
    if report.floor_n is None:
        low, high = (value - report.floor for value in (report.fid.low, report.fid.high))
        more = f"95 % interval {low:.2f} to {high:.2f}; FID - floor"
    else:
        more = f"FID - floor, both at n = {report.floor_n:,}"
    return f"excess     {report.excess:8.2f}   {more}, 0 is as close as real pictures are"


def report_on_file(source: str, data: str) -> Report:
    """The report on the pictures of an .npz file."""
    from ldmlib.data import from_npz
    from ldmlib.data.names import counted
    from ldmlib.data.record import colour, listed
    from ldmlib.evaluation.evaluator import evaluator_for
    from ldmlib.images import from_uint8

    file = from_npz(source)
    print(
        f"Read {source}: {counted(len(file), colour(file.channels) + ' picture')} of {file.size} x "
        f"{file.size}; {listed(file.classes)}."
    )
    judge = evaluator_for(data, file.size)
    judge.check(len(file), file.channels)
    pictures = as_large_as_real(from_uint8(file.images), judge, data)
    say_copies(file.keys, "file's", judge)
    return judge.report(pictures, labels_of_real(file.labels, file.classes, judge))


def report_on_model(
    ldm: LatentDiffusion,
    data: str,
    n: int | None,
    steps: int | None,
    guidance: float | None,
    seed: int,
) -> Report:
    """The report on pictures that are drawn from a model."""
    from ldmlib.data.dataset import content_keys
    from ldmlib.evaluation.evaluator import evaluator_for
    from ldmlib.images import to_uint8

    judge = evaluator_for(data, ldm.config.size, ldm.config.data, enlarge=True)
    n = min(MOST_DRAWN, len(judge.held_out)) if n is None else n
    judge.check(n, ldm.config.autoencoder.channels)
    check_memory(ldm, n)
    say_data(ldm, judge)
    labels = ldm.draw_labels(n, seed)
    drawn = sample_with_bar(ldm, n, labels, steps, guidance, seed)
    pictures = as_large_as_real(drawn, judge, data)
    say_copies(content_keys(to_uint8(drawn)), "model's", judge)
    return judge.report(pictures, labels_of_real(labels, ldm.config.classes, judge))


def as_large_as_real(x: Tensor, judge: Evaluator, data: str) -> Tensor:
    """Pictures (n, C, H, W) in [-1, 1] at the size of the real ones; says what was done."""
    from ldmlib.evaluation.evaluator import borders
    from ldmlib.images import pad_to, resize

    came, size = x.shape[-1], judge.train_data.size
    if borders(data, came):
        print(
            f"The pictures of {came} x {came} get a black border up to {size} x {size}, as those "
            f"of {data} have."
        )
        return pad_to(x, size, -1.0)
    changed = f": the pictures of {came} x {came} are resized to it" if came != size else ""
    print(f"Compared at {size} x {size}{changed}.")
    return resize(x, size)


def labels_of_real(
    labels: Tensor | None, classes: tuple[str, ...], judge: Evaluator
) -> Tensor | None:
    """Labels (n,) of classes as numbers of the real pictures' classes, matched by their names.

    None where a class is no class of these; then it says that no agreement is reported.
    """
    import torch

    real = judge.train_data
    if labels is None or judge.network.config.num_classes < 2:  # no classifier to agree with
        return None
    if set(classes) <= set(real.classes):
        return torch.tensor([real.classes.index(name) for name in classes])[labels]
    print(
        f"The labels mean other classes than those of {real.name}, so that no agreement is "
        "reported."
    )
    return None


def say_data(ldm: LatentDiffusion, judge: Evaluator) -> None:
    """Say what the model is compared with, and whether that is what it was trained on."""
    record, real = ldm.config.data, judge.train_data
    print(
        f"Compared with {real.name}: {len(real):,} training and {len(judge.held_out):,} held-out "
        "pictures."
    )
    if record is None:
        print("The model does not say what it was trained on: it may have seen held-out pictures.")
    elif record.sha256 == real.sha256:
        return
    elif (record.name, record.classes) == (real.name, real.classes):
        kept = ": none that the model was trained on counts as held out"
        print(
            f"The pictures have changed since the training ({record.count:,} then, {len(real):,} "
            f"now){'' if record.largest_held_out_key is None else kept}."
        )
    else:
        print(f"The model was trained on other pictures: {record}.")


def say_copies(keys: Tensor, whose: str, judge: Evaluator) -> None:
    """Say how many pictures are copies of others, as scores hardly count then.

    Args:
        keys: of the pictures that are judged, see `image_data.content_keys`.
        whose: they are.
    """
    for those, owner in ((keys, whose), (judge.train_data.keys, "real")):
        total, different = len(those), len(those.unique())
        if total - different > 0.01 * total:
            found = f"Only {different:,} of the {owner} {total:,} pictures are different"
            if different == 1:
                found = f"All of the {owner} {total:,} pictures are the same"
            print(f"{found}; scores assume that there are no copies, and say little about these.")
