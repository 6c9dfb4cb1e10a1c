"""Retrain every bundled weight: ``python -m ldmlib.bundled`` (``make weights``).

The same functions as in the notebooks, with more steps. Interrupted runs go on where they stopped;
their checkpoints are in ``runs/weights``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from ldmlib.bundled.editing import conditioned_model
from ldmlib.bundled.emoji import describe_classifier, matcher, text_model
from ldmlib.bundled.model_cards import classifier_card, describe, model_card, trained
from ldmlib.data import load, mnist
from ldmlib.data.emoji_set import emoji_kinds
from ldmlib.data.record import DataRecord
from ldmlib.evaluation.evaluator import mnist_evaluator
from ldmlib.evaluation.features import accuracy
from ldmlib.gan.train import BUNDLED_RECIPES, build, train_gan
from ldmlib.images import save_png
from ldmlib.latent import recipes
from ldmlib.latent.model import LatentDiffusion
from ldmlib.latent.recipes import Recipe
from ldmlib.latent.stages import train_latent_diffusion
from ldmlib.networks.classifier import ClassifierConfig, bundled_classifier, save_classifier
from ldmlib.runtime import has_bfloat16
from ldmlib.storage.files import asset, load_checkpoint
from ldmlib.training.classifier import train_classifier

RUNS = Path("runs/weights")
CLASSIFIERS = {  # name: config, steps, seed, data, background
    "mnist_features": (ClassifierConfig(), 2400, 0, mnist, -1.0),
    "mnist_perceptual": (ClassifierConfig(widths=(16, 32, 64), features=64), 1200, 1, mnist, -1.0),
    "emoji_perceptual": (ClassifierConfig(3, 98, (24, 48, 96), 96), 1500, 1, emoji_kinds, 1.0),
}

DIFFUSION_RECIPES = {
    "mnist": recipes.mnist_bundled,
    "mnist_pixels": recipes.mnist_pixels_bundled,
}
KINDS = {"mnist": "latent diffusion model", "mnist_pixels": "diffusion model on the pixels"}


def classifier(name: str) -> None:
    """Train one of the bundled classifiers and put it among the assets."""
    config, steps, seed, data, background = CLASSIFIERS[name]
    folder = RUNS / name
    resume = (folder / "checkpoint.pt").is_file()
    state = train_classifier(data(), config, steps, seed, background, folder=folder, resume=resume)
    if state.interrupted:
        raise KeyboardInterrupt
    share = accuracy(state.model, *data("test").as_tensors())
    print(f"{name}: {share:.2%} of the test pictures named rightly")
    target = asset("weights") / name
    facts = {"accuracy": share, "steps": steps, "seed": seed}
    facts |= trained(target, round(state.history[-1]["seconds"]))
    save_classifier(state.model, target, **facts)
    if name.startswith("emoji"):
        describe_classifier(target, name, config, facts)
    else:
        describe(target, classifier_card(name, config, facts))


def diffusion_model(name: str) -> None:
    """Train one of the bundled diffusion models, score it, and put it among the assets."""
    folder, target = RUNS / name, asset("weights") / name
    recipe = DIFFUSION_RECIPES[name]()
    model = train_latent_diffusion(
        mnist(), load("mnist", "test"), recipe, folder, resume=folder.is_dir(),
        evaluator=mnist_evaluator(), perceptual=bundled_classifier("mnist_perceptual"),
    )  # fmt: skip
    model.precision = "bfloat16" if has_bfloat16(model.device) else "float32"
    labels = model.draw_labels(10_000, seed=0)
    report = mnist_evaluator().report(model.sample(10_000, labels, seed=0), labels)
    agreement = guided_agreement(model)
    facts = {
        "recipe": f"ldmlib.latent.recipes.{DIFFUSION_RECIPES[name].__name__}",
        "seed": recipe.training.seed, **trained(target, round(float(_seconds(folder)))),
        "fid": report.fid.value, "floor": report.floor,
        "n": report.n, "agreement_at_guidance_1.5": agreement,
    }  # fmt: skip
    model.config = replace(model.config, facts=facts)
    about = f"{name}\n\nClass-conditional {KINDS[name]} of handwritten digits, 32 x 32, grey."
    limits = """Digits only, in MNIST's style. Some samples are no digit at all. More guidance
makes digits cleaner and less varied."""
    card = model_card(about, how_made(recipe, model, agreement), report, facts, limits)
    put(target, model, card)
    print(report)


def how_made(recipe: Recipe, model: LatentDiffusion, agreement: float) -> dict[str, str]:
    """The model card's lines about both stages and the sampler."""
    first, second, config = recipe.autoencoder_training, recipe.training, model.config
    lines = {
        "First stage": f"{recipe.autoencoder}, trained with {recipe.autoencoder_loss}\n"
        f"  for {first.steps} steps of batch {first.batch_size}.",
        "Denoiser": f"{recipe.unet}, {recipe.diffusion}\n"
        f"  for {second.steps} steps of batch {second.batch_size}.",
        "Sampler": f"{config.sampler}, {config.steps} steps, guidance {config.guidance:g} "
        f"for {config.guidance_interval[0]:g} <= t <= {config.guidance_interval[1]:g}.\n"
        f"  At guidance 1.5 the classifier sees the asked label in {agreement:.1%} of 2,000.",
    }
    if not recipe.autoencoder.widths:
        lines["First stage"] = "none: the diffusion runs on the pixels."
    return lines


def gan(name: str) -> None:
    """Train one of the bundled GANs, score it, and put it among the assets."""
    folder, target, recipe = RUNS / name, asset("weights") / name, BUNDLED_RECIPES[name]()
    latent = name == "mnist_latent_gan"
    model = build(recipe, LatentDiffusion.from_pretrained("mnist") if latent else None)
    x, _ = mnist().as_tensors()
    resume = (folder / "checkpoint.pt").is_file()
    state = train_gan(model, x, recipe, folder=folder, resume=resume)
    if state.interrupted:
        raise KeyboardInterrupt
    report = mnist_evaluator().report(model.sample(10_000))
    facts = {
        "recipe": f"ldmlib.gan.train.{BUNDLED_RECIPES[name].__name__}",
        "seed": recipe.training.seed, **trained(target, round(state.history[-1]["seconds"])),
        "fid": report.fid.value, "floor": report.floor, "n": report.n,
    }  # fmt: skip
    record = DataRecord.of(mnist(), mnist("test"))
    model.config = replace(model.config, facts=facts, data=record)
    training = recipe.training
    made = {
        "Networks": f"{recipe.players}; only the generator is kept.",
        "Game": f"{recipe.loss}, lr {training.lr}\n"
        f"  for {training.steps} rounds of batch {training.batch_size}.",
    }
    if latent:
        made["First stage"] = "encoder and decoder of the bundled model `mnist`, unchanged."
    where = "latents (4, 8, 8)" if latent else "pixels"
    about = f"{name}\n\nGAN of handwritten digits, 32 x 32, grey, played on {where}; no labels."
    limits = """Digits only, in MNIST's style; the digit cannot be chosen. Some samples are no digit
at all, and some ways of writing are missing: compare recall with that of real pictures."""
    put(target, model, model_card(about, made, report, facts, limits))
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
    """Seconds that the trainings took, from their checkpoints' histories."""
    return sum(load_checkpoint(path)["seconds"] for path in folder.glob("*/checkpoint.pt"))


def put(target: Path, model, card: str) -> None:
    """Weights in half precision, card and licence, among the assets."""
    model.save_pretrained(target, half=True)
    describe(target, card)


BUILDERS: dict[str, Callable[[], None]] = {
    "mnist_features": lambda: classifier("mnist_features"),
    "mnist_perceptual": lambda: classifier("mnist_perceptual"),
    "mnist": lambda: diffusion_model("mnist"),
    "mnist_pixels": lambda: diffusion_model("mnist_pixels"),
    "mnist_gan": lambda: gan("mnist_gan"),
    "mnist_latent_gan": lambda: gan("mnist_latent_gan"),
    "emoji_perceptual": lambda: classifier("emoji_perceptual"),
    "emoji_matcher": lambda: matcher(RUNS),
    "emoji": lambda: text_model(RUNS),
    "mnist_enlarges": lambda: conditioned_model("mnist_enlarges", RUNS),
    "mnist_fills_holes": lambda: conditioned_model("mnist_fills_holes", RUNS),
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
