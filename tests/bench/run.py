"""``make bench``: measure the recipe, its peers and its growth; print tables, keep the numbers.

    python tests/bench/run.py [--seconds 190] [--limit 1800] [recipe] [race] [growth]

Every contender of the race runs in a process of its own, so that peak memory is its own. Results
go to ``results.json`` and ``race.png`` beside this file, section by section.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import torch

from ldmlib.bundled.model_cards import machine
from ldmlib.bundled.weights import guided_agreement
from ldmlib.data import mnist
from ldmlib.evaluation.evaluator import mnist_evaluator
from ldmlib.evaluation.metrics import kid
from ldmlib.images import save_png
from ldmlib.latent import recipes
from ldmlib.latent.model import LatentDiffusion
from ldmlib.latent.stages import assemble, train_autoencoder, train_denoiser
from ldmlib.networks.autoencoder import Autoencoder
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.networks.unet import UNet
from ldmlib.rng import seeded
from ldmlib.runtime import has_bfloat16
from ldmlib.storage.files import load_json, save_json
from ldmlib.training.config import TrainConfig
from ldmlib.training.denoising import DenoisingObjective
from ldmlib.training.run import fit

HERE = Path(__file__).parent
SAMPLES = Path("runs/bench")
RACE_N = 1000  # pictures a score in the race: the slow samplers must finish, too


def main() -> None:
    """Run the sections asked for, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", default=[], help="recipe, race, growth")
    parser.add_argument("--seconds", type=float, default=190, help="training time in the race")
    parser.add_argument("--limit", type=float, default=1800, help="seconds to wait for FID 50")
    parser.add_argument("--contender", action="append", help="only this one of the race")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(options.worker, options.seconds, options.limit)))
        return
    path = HERE / "results.json"
    results = load_json(path) if path.is_file() else {}
    results["machine"] = machine()
    for section in options.sections or ["recipe", "race", "growth"]:
        runner = {"recipe": recipe, "race": race, "growth": growth}[section]
        results[section] = runner(options)
        save_json(path, results)
        print_table(section, results[section])
    if "race" in results:
        draw(results["race"])


# --------------------------------------------------------------------------- the recipe's targets
def recipe(options) -> list[dict]:
    """The notebook's training from scratch, and the bundled model: scores at n = 10,000."""
    rows = [notebook_row(), bundled_row()]
    return rows


def notebook_row() -> dict:
    """Train as notebook 06 does."""
    digits, settings = mnist(), recipes.mnist_notebook()
    x, y = digits.as_tensors()
    start = perf_counter()
    first = train_autoencoder(x, settings, bundled_classifier("mnist_perceptual"))
    middle = perf_counter()
    model = assemble(digits, first.ema, settings)
    z = model.fit_latent_scale(x)
    train_denoiser(model, z, y, settings)
    seconds = {"first_stage_s": middle - start, "second_stage_s": perf_counter() - middle}
    return {"model": "notebook", **seconds, **scored(model)}


def bundled_row() -> dict:
    """The bundled model, with the time a fresh process needs for its first picture."""
    code = (
        "from ldmlib import LatentDiffusion as L; L.from_pretrained('mnist').sample(20, steps=10)"
    )
    start = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    first_picture = perf_counter() - start
    model = LatentDiffusion.from_pretrained("mnist")
    return {"model": "bundled", "first_picture_s": first_picture, **scored(model)}


def scored(model: LatentDiffusion, n: int = 10_000) -> dict:
    """FID and its company at n = 10,000, and how long the pictures took."""
    labels = model.draw_labels(n, 0)
    model.precision = "bfloat16" if has_bfloat16(model.device) else "float32"
    start = perf_counter()
    pictures = model.sample(n, labels, seed=0)
    seconds = perf_counter() - start
    report = mnist_evaluator().report(pictures, labels)
    print(report)
    return {
        "sampling_10000_s": seconds, "fid": report.fid.value, "floor": report.floor,
        "ratio": report.ratio, "kid": report.kid, "recall": report.recall,
        "floor_recall": report.floor_recall, "precision": report.precision,
        "agreement": report.agreement, "agreement_at_1.5": guided_agreement(model),
    }  # fmt: skip


# --------------------------------------------------------------------------- the race
def race(options) -> list[dict]:
    """Every contender for the same seconds, in a process of its own.

    One that is done is kept in ``race_so_far.json``: an interrupted race goes on after it.
    """
    from contenders import CONTENDERS

    limits = ["--seconds", str(options.seconds), "--limit", str(options.limit)]
    path = HERE / "race_so_far.json"
    done = load_json(path) if path.is_file() else {}
    for name in options.contender or CONTENDERS:
        before = done.get(name, {})
        if before.get("seconds") == options.seconds and before["limit"] >= options.limit:
            continue
        print(f"-- {name}", flush=True)
        command = [sys.executable, __file__, "--worker", name, *limits]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if ran.returncode:
            done[name] = {"contender": name, "failed": True}
            continue
        done[name] = json.loads(ran.stdout.strip().splitlines()[-1])
        save_json(path, done)
        print_table("so far", list(done.values()))
    rows = [done[name] for name in CONTENDERS if name in done]
    if len(rows) == len(CONTENDERS):
        path.unlink(missing_ok=True)
    return rows


def work(name: str, seconds: float, limit: float) -> dict:
    """One contender: train, score after `seconds`, then go on until FID 50 or the limit."""
    from contenders import CONTENDERS

    contender = CONTENDERS[name]()
    contender.started = perf_counter()
    training = contender.train(seconds)
    run_until(training, contender.started, seconds)
    steps = contender.steps
    start = perf_counter()
    pictures = contender.sample(RACE_N)
    speed = RACE_N / (perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    save_png(pictures[:16], picture_of(name), columns=16)
    evaluator = mnist_evaluator()
    features, _ = evaluator.features(pictures)
    score = evaluator.fid(pictures)
    return {
        "contender": name, "seconds": seconds, "cores": torch.get_num_threads(),
        "steps": steps, "fid": score, "n": RACE_N,
        "floor": evaluator.floor(RACE_N), "kid": kid(features, evaluator.train),
        "images_per_s": speed, "parameters": contender.parameters,
        "peak_memory_mb": memory, "limit": limit,
        "fid_50": seconds_to_fid_50(contender, training, evaluator, seconds, score, limit),
    }  # fmt: skip


def picture_of(name: str) -> Path:
    """Where a contender's first pictures go, to be drawn beside its bar."""
    return SAMPLES / f"{name.replace(' ', '_')}.png"


def run_until(training, started: float, seconds: float) -> None:
    """Take training steps until the clock, counted from `started`, passes `seconds`."""
    for _ in training:
        if perf_counter() - started > seconds:
            return


def seconds_to_fid_50(contender, training, evaluator, seconds: float, score: float, limit: float):
    """Training seconds until FID <= 50, scored at `seconds` and at each doubling up to `limit`."""
    spent = seconds
    while score > 50 and spent < limit:
        start, more = perf_counter(), min(spent, limit - spent)
        run_until(training, start, more)
        spent += more
        score = evaluator.fid(contender.sample(RACE_N))
        print(f"FID {score:.1f} after {spent:.0f} s", file=sys.stderr, flush=True)
    return f"<= {spent:.0f} s" if score <= 50 else f"not within {spent / 60:.0f} minutes"


# --------------------------------------------------------------------------- growth
def growth(options) -> list[dict]:
    """Seconds a training step against picture size, in pixels and in f = 4 latents, batch 32."""
    rows = []
    for size in (32, 64, 128):
        row = {"size": size}
        for space, settings in (
            ("pixels", recipes.mnist_pixels()),
            ("latents", recipes.mnist_notebook()),
        ):
            factor = Autoencoder(settings.autoencoder).config.factor
            shape = (64, settings.unet.in_channels, size // factor, size // factor)
            row[f"{space}_s_per_step"] = step_seconds(
                settings, torch.randn(shape, generator=seeded(0))
            )
        rows.append({**row, "ratio": row["pixels_s_per_step"] / row["latents_s_per_step"]})
    return rows


def step_seconds(settings, z: torch.Tensor) -> float:
    """Median seconds of a training step at batch 32."""
    network = UNet(settings.unet)
    objective = DenoisingObjective(settings.diffusion)
    config = TrainConfig(steps=8, batch_size=32)
    labels, times = torch.zeros(len(z), dtype=torch.long), [perf_counter()]
    for _ in fit(network, objective, (z, labels), config, progress=False):
        times.append(perf_counter())
    steps = torch.tensor(times).diff()[2:]
    return float(steps.median())


# --------------------------------------------------------------------------- showing
def print_table(title: str, rows: list[dict]) -> None:
    """Rows of equal keys as an aligned table."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [keys] + [[_short(row.get(key, "")) for key in keys] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(keys))]
    print(f"\n{title}")
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print(flush=True)


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(rows: list[dict]) -> None:
    """The race: FID as bars against real digits' floor, and the first digits of each."""
    import matplotlib.pyplot as plt

    rows = [row for row in rows if not row.get("failed")]
    figure, (ax, *strips) = plt.subplots(
        1 + len(rows), figsize=(8, 5), height_ratios=[3] + [1] * len(rows), layout="constrained"
    )
    names = [f"{row['contender']}\n{row['steps']:,} steps" for row in rows]
    bars = ax.barh(names, [row["fid"] for row in rows], color="#0072B2")
    ax.bar_label(bars, fmt="%.0f", padding=3)
    ax.axvline(rows[0]["floor"], color="#D55E00", linestyle="--", label="floor: real digits")
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel=f"FID after {rows[0]['seconds']:.0f} s of training, n = {RACE_N}")
    ax.set_xlim(right=2 * max(row["fid"] for row in rows))
    ax.legend(loc="upper right", fontsize=8)
    for strip, row in zip(strips, rows, strict=True):
        strip.imshow(plt.imread(picture_of(row["contender"])), cmap="gray")
        strip.set_title(row["contender"], fontsize=8, loc="left")
        strip.set_axis_off()
    figure.savefig(HERE / "race.png", dpi=110)


if __name__ == "__main__":
    main()
