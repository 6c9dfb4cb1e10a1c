"""Retrain every bundled weight: ``python -m ldmlib.weights`` (``make weights``).

The same functions as in the notebooks, with more steps. Interrupted runs go on where they stopped;
their checkpoints are in ``runs/weights``.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import torch

from ldmlib import presets, recipes
from ldmlib.data import load, mnist
from ldmlib.evaluation import Report, mnist_evaluator
from ldmlib.features import ClassifierConfig, accuracy, bundled_classifier, save_classifier
from ldmlib.files import asset, load_checkpoint, save_bytes
from ldmlib.images import save_png
from ldmlib.latent import LatentDiffusion
from ldmlib.runtime import has_bfloat16

RUNS = Path("runs/weights")
CLASSIFIERS = {  # name: config, steps, seed
    "mnist_features": (ClassifierConfig(), 2400, 0),
    "mnist_perceptual": (ClassifierConfig(widths=(16, 32, 64), features=64), 1200, 1),
}


def classifier(name: str) -> None:
    """Train one of the bundled classifiers and put it among the assets."""
    config, steps, seed = CLASSIFIERS[name]
    folder = RUNS / name
    resume = (folder / "checkpoint.pt").is_file()
    state = recipes.train_classifier(mnist(), config, steps, seed, folder=folder, resume=resume)
    if state.interrupted:
        raise KeyboardInterrupt
    share = accuracy(state.model, *mnist("test").as_tensors())
    print(f"{name}: {share:.2%} of the test digits named rightly")
    save_classifier(state.model, asset("weights") / name, accuracy=share, steps=steps, seed=seed)


def mnist_model(name: str = "mnist") -> None:
    """Train the bundled latent diffusion model, score it, and put it among the assets."""
    folder, target = RUNS / name, asset("weights") / name
    recipe = presets.mnist_bundled()
    model = recipes.train_latent_diffusion(
        mnist(), load("mnist", "test"), recipe, folder, resume=folder.is_dir(),
        evaluator=mnist_evaluator(), perceptual=bundled_classifier("mnist_perceptual"),
    )  # fmt: skip
    model.precision = "bfloat16" if has_bfloat16(model.device) else "float32"
    labels = model.draw_labels(10_000, seed=0)
    report = mnist_evaluator().report(model.sample(10_000, labels, seed=0), labels)
    guided = guided_agreement(model)
    facts = {
        "recipe": "ldmlib.presets.mnist_bundled", "seed": recipe.training.seed,
        "seconds": round(float(_seconds(folder))), "machine": machine(), "commit": commit(),
        "fid": report.fid.value, "floor": report.floor, "n": report.n,
        "agreement_at_guidance_1.5": guided,
    }  # fmt: skip
    model.config = replace(model.config, facts=facts)
    model.save_pretrained(target, half=True)
    card = model_card(name, model, recipe, report, facts)
    save_bytes(target / "MODEL_CARD.md", card.encode())
    copyfile(asset("data", "mnist", "LICENSE.txt"), target / "LICENSE.txt")
    print(report)


def readme_pictures(folder: Path = Path("book/_static")) -> None:
    """Draw the README's two pictures with the bundled model: digits, and a denoising film."""
    model = LatentDiffusion.from_pretrained("mnist")
    save_png(model.sample(60, torch.arange(60) % 10, seed=0), folder / "samples.png", columns=20)
    states = list(model.film(8, torch.arange(8), steps=12, seed=0, sampler="ddim"))
    frames = torch.stack([model.decode(state.x) for state in states], 1).flatten(0, 1)
    save_png(frames, folder / "film.png", columns=len(states))


def guided_agreement(model: LatentDiffusion, n: int = 2000) -> float:
    """Share of n digits drawn at guidance 1.5 that the classifier takes for what was asked."""
    labels = torch.arange(n) % len(model.config.classes)
    network = bundled_classifier()
    return accuracy(network, model.sample(n, labels, guidance=1.5, seed=1), labels)


def _seconds(folder: Path) -> float:
    """Seconds that both trainings took, from their checkpoints' histories."""
    stages = [
        load_checkpoint(folder / s / "checkpoint.pt") for s in ("first_stage", "second_stage")
    ]
    return sum(stage["seconds"] for stage in stages)


def machine() -> str:
    """Processor family and cores, for the model card."""
    return f"{torch.get_num_threads()} CPU cores ({platform.machine()}, torch {torch.__version__})"


def commit() -> str:
    """Short hash of the code that trained, or 'unknown' outside a git checkout."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def model_card(name: str, model, recipe, report: Report, facts: dict) -> str:
    """The text that lies beside the weights: what they are, how good, and where they end."""
    return f"""# Model card: {name}

Class-conditional latent diffusion model of handwritten digits, 32 x 32, grey, for teaching.

- **Data:** MNIST, 60,000 training pictures, CC BY-SA 3.0 (see LICENSE.txt).
- **Licence of the weights:** CC BY-SA 3.0, as the data they were made from.
- **First stage:** {recipe.autoencoder}, trained with {recipe.autoencoder_loss}
  for {recipe.autoencoder_training.steps} steps of batch {recipe.autoencoder_training.batch_size}.
- **Denoiser:** {recipe.unet}, {recipe.diffusion}
  for {recipe.training.steps} steps of batch {recipe.training.batch_size}.
- **Training:** {facts["seconds"] / 60:.0f} minutes on {facts["machine"]}, seed {facts["seed"]},
  commit {facts["commit"]}; `make weights` repeats it.
- **Sampler:** {model.config.sampler}, {model.config.steps} steps, no guidance.

## Score

Own features (`mnist_features`), training split as reference, official test split as floor:

```
{report}
agreement with the asked label at guidance 1.5: {facts["agreement_at_guidance_1.5"]:.1%}
```

## Limits

Digits only, in MNIST's style. Some samples are no digit at all. Guidance above 1 makes digits
cleaner and less varied. The scores compare only with the same features, n and reference.
"""


BUILDERS: dict[str, Callable[[], None]] = {
    "mnist_features": lambda: classifier("mnist_features"),
    "mnist_perceptual": lambda: classifier("mnist_perceptual"),
    "mnist": mnist_model,
    "pictures": readme_pictures,
}


def main() -> None:
    """Train what is named, or everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all of them")
    names = parser.parse_args().names or list(BUILDERS)
    unknown = [name for name in names if name not in BUILDERS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; known are {', '.join(BUILDERS)}")
    for name in names:
        print(f"== {name}")
        BUILDERS[name]()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on from the checkpoint") from None
