"""The bundled weights that notebook 11 edits digits with: how they are trained and scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ldmlib.applications.editing.conditioning import centre_mask, conditioned, train_conditioned
from ldmlib.applications.editing.edits import inpaint, super_resolve
from ldmlib.bundled.model_cards import describe, trained, written_card
from ldmlib.data import mnist
from ldmlib.data.record import DataRecord
from ldmlib.evaluation.evaluator import mnist_evaluator, restoration_scores
from ldmlib.images import resize
from ldmlib.latent import recipes
from ldmlib.latent.model import LatentDiffusion
from ldmlib.latent.recipes import Recipe
from ldmlib.storage.files import asset

SIDE = 8  # of the small pictures
KINDS = {"mnist_enlarges": {"enlarges": SIDE}, "mnist_fills_holes": {"fills_holes": True}}
COPIES = {"mnist_enlarges": 1, "mnist_fills_holes": 2}  # each with other holes
SCORED = 2000  # test pictures


def beginner(name: str, recipe: Recipe) -> LatentDiffusion:
    """A model to train: the bundled first stage, and a denoiser that knows nothing yet."""
    bundled = LatentDiffusion.from_pretrained("mnist")
    config = replace(
        bundled.config, unet=recipe.unet, classes=(), class_weights=(), facts={},
        guidance=recipe.guidance, guidance_interval=recipe.guidance_interval,
        data=DataRecord.of(mnist(), mnist("test")),
    )  # fmt: skip
    torch.manual_seed(recipe.training.seed)
    plain = LatentDiffusion(config)
    fresh, kept = plain.state_dict(), bundled.state_dict()
    plain.load_state_dict(
        {k: v if k.startswith("denoiser.") else kept[k] for k, v in fresh.items()}
    )
    return conditioned(plain, **KINDS[name])


def edited(model: LatentDiffusion, x: Tensor) -> Tensor:
    """Pictures made small and large again, or with their middle drawn anew."""
    if model.config.enlarges:
        return super_resolve(model, resize(x, model.config.enlarges))
    return inpaint(model, x, centre_mask(model.config.size))


def conditioned_model(name: str, runs: Path) -> None:
    """Train one of the two, score it, and put it among the assets."""
    recipe, folder, target = recipes.mnist_shown(), runs / name, asset("weights") / name
    x, _ = mnist().as_tensors()
    model = beginner(name, recipe)
    state = train_conditioned(
        model, x, None, recipe.training, copies=COPIES[name], folder=folder,
        resume=(folder / "checkpoint.pt").is_file(),
    )  # fmt: skip
    if state.interrupted:
        raise KeyboardInterrupt
    facts = {"recipe": "ldmlib.latent.recipes.mnist_shown", "seed": recipe.training.seed}
    facts |= trained(target, round(state.history[-1]["seconds"]))
    test, labels = mnist("test").as_tensors()
    scores = restoration_scores(
        mnist_evaluator(), edited(model, test[:SCORED]), test[:SCORED], labels[:SCORED]
    )
    model.config = replace(model.config, facts={**facts, "scores": scores})
    model.save_pretrained(target, half=True)
    does = f"Digits of {SIDE} x {SIDE} pixels become 32 x 32." if model.config.enlarges else (
        "Holes in digits, 32 x 32, are drawn anew."
    )  # fmt: skip
    made = {
        "First stage": "encoder and decoder of the bundled model `mnist`, unchanged.",
        "Denoiser": f"{model.config.unet}, {recipe.diffusion}\n"
        f"  for {recipe.training.steps} steps of batch {recipe.training.batch_size}.",
        "Sampler": f"{model.config.sampler}, {model.config.steps} steps, no labels.",
    }
    lines = [f"{key}: {value:.4g}" for key, value in scores.items()]
    limits = """What the picture does not hold is drawn, not found: another seed, other details, and
sometimes another digit. Digits in MNIST's style only."""
    card = written_card(f"{name}\n\n{does}", made, lines, facts, limits)
    describe(target, card)
    print("\n".join(lines))
