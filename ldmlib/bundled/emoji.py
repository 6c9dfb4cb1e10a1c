"""The bundled weights of notebook 10: how they are trained, scored and described."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ldmlib.applications.text_to_image import matching
from ldmlib.applications.text_to_image import model as t2i
from ldmlib.applications.text_to_image.matching import Matcher
from ldmlib.bundled.model_cards import describe, emoji_card, trained
from ldmlib.data.emoji_set import CaptionedData, captioned_emoji
from ldmlib.data.record import DataRecord
from ldmlib.evaluation import metrics
from ldmlib.evaluation.features import extract
from ldmlib.latent import recipes
from ldmlib.latent.model import LatentDiffusion
from ldmlib.latent.recipes import Recipe
from ldmlib.latent.stages import reconstruction_report
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.storage.files import asset, load_checkpoint

MATCHER_STEPS, MATCHER_SEED = 2000, 2


def describe_classifier(target: Path, name: str, config: object, facts: dict) -> None:
    """Card and licence of the classifier whose features the first stage is held to."""
    about = f"{name}\n\nClassifier of emoji, 32 x 32, in colour: 98 kinds; its features are used."
    made = {"Network": f"{config}.", "Steps": f"{facts['steps']} of batch 128."}
    scores = [
        f"{facts['accuracy']:.2%} of the held-out pictures are put into the right kind of 98."
    ]
    limits = "It has seen emoji on white and nothing else."
    describe(target, emoji_card(about, made, scores, facts, limits), "emoji")


def once_each(data: CaptionedData) -> tuple[list[str], list[int]]:
    """A prompt for each caption, in one of its styles, and the number of its picture."""
    prompts = data.prompts()
    first = {caption: i for i, caption in reversed(list(enumerate(data.captions)))}
    numbers = sorted(first.values())
    return [prompts[i] for i in numbers], numbers


def matcher(runs: Path) -> None:
    """Train the judge of text-to-image models and put it among the assets."""
    data, folder, target = (
        captioned_emoji(),
        runs / "emoji_matcher",
        asset("weights") / "emoji_matcher",
    )
    state = matching.train_matcher(
        data, t2i.emoji_tokenizer(data), MATCHER_STEPS, MATCHER_SEED,
        folder=folder, resume=(folder / "checkpoint.pt").is_file(),
    )  # fmt: skip
    if state.interrupted:
        raise KeyboardInterrupt
    scores = {}
    for name in ("train", "test"):
        some = captioned_emoji(name)
        prompts, numbers = once_each(some)
        real, _ = some.pictures.subset(numbers).as_tensors()
        scores[name] = matching.retrieval(state.model, real, prompts)
    facts = {"seed": MATCHER_SEED, "steps": MATCHER_STEPS, "retrieval": scores}
    facts |= trained(target, round(state.history[-1]["seconds"]))
    matching.save_matcher(state.model, target, facts=facts)
    about = "emoji_matcher\n\nGives an emoji and its caption nearly the same vector."
    made = {
        "Networks": f"widths {state.model.config.widths}, vectors of {state.model.settings.dim} "
        "numbers, a text encoder of one layer.",
        "Steps": f"{MATCHER_STEPS} of batch 128.",
    }
    lines = [
        f"right caption in the first place of 100, {words}: {scores[split]:.1%}"
        for split, words in (("train", "seen captions"), ("test", "held-out captions"))
    ]
    limits = "It judges emoji on white, and captions in their words; guessing would score 1 %."
    describe(target, emoji_card(about, made, lines, facts, limits), "emoji")
    print("\n".join(lines))


def text_model(runs: Path) -> None:
    """Train the text-to-image model, score it, and put it among the assets."""
    data, target = captioned_emoji(), asset("weights") / "emoji"
    tokenizer = t2i.emoji_tokenizer(data)
    recipe, folder = recipes.emoji(len(tokenizer)), runs / "emoji"
    judge = bundled_classifier("emoji_perceptual")
    record = DataRecord.of(data.pictures, captioned_emoji("test").pictures)
    model = t2i.train_text_model(data, tokenizer, recipe, folder, folder.is_dir(), judge, record)
    seconds = sum(load_checkpoint(path)["seconds"] for path in folder.glob("*/checkpoint.pt"))
    publish(model, recipe, target, trained(target, round(seconds)))


def publish(model: LatentDiffusion, recipe: Recipe, target: Path, made_by: dict) -> None:
    """Score a trained text-to-image model and save it with its card in `target`."""
    facts = {"recipe": "ldmlib.latent.recipes.emoji", "seed": recipe.training.seed, **made_by}
    scores = score(model, matching.bundled_matcher())
    model.config = replace(model.config, facts={**facts, "scores": scores})
    model.save_pretrained(target, half=True)
    first, second = recipe.autoencoder_training, recipe.training
    made = {
        "First stage": f"{recipe.autoencoder},\n  trained with {recipe.autoencoder_loss}\n"
        f"  for {first.steps} steps of batch {first.batch_size}.",
        "Denoiser": f"{recipe.unet},\n  {recipe.diffusion}\n"
        f"  for {second.steps} steps of batch {second.batch_size}.",
        "Sampler": f"{model.config.sampler}, {model.config.steps} steps, "
        f"guidance {model.config.guidance:g}.",
    }
    lines = [f"{name}: {value:.4g}" for name, value in scores.items()]
    about = "emoji\n\nText to image: emoji, 32 x 32, in colour, asked in words."
    limits = """It knows the captions of 1,659 emoji. Other words, and new pairs of known ones,
often fail. Small faces and letters blur."""
    describe(target, emoji_card(about, made, lines, facts, limits), "emoji")
    print("\n".join(lines))


@torch.no_grad()
def score(model: LatentDiffusion, judge: Matcher) -> dict[str, float]:
    """Retrieval of seen and held-out captions, FID with n and floor, memorisation, PSNR."""
    train, held_out = captioned_emoji("train"), captioned_emoji("test")
    reference = extract(judge, train.pictures.as_tensors()[0])[0]
    real = extract(judge, held_out.pictures.as_tensors()[0])[0]
    scores: dict[str, float] = {}
    for name, data in (("seen", train), ("held out", held_out)):
        prompts, _ = once_each(data)
        few = prompts[:: max(1, len(prompts) // 190)]
        pictures = model.sample(len(few), prompt=few, seed=6)
        scores[f"retrieval among 100, {name} captions"] = matching.retrieval(judge, pictures, few)
        seen = extract(judge, pictures)[0]
        scores[f"memorisation, {name} captions"] = metrics.memorisation(seen, real, reference)
        every = data.prompts()[:: len(data) // len(held_out)][: len(held_out)]
        drawn = extract(judge, model.sample(len(every), prompt=every, seed=7))[0]
        scores[f"FID (features of emoji_matcher), {name} captions"] = metrics.fid(drawn, reference)
    scores |= {
        "floor: FID of the real held-out pictures": metrics.fid(real, reference),
        "n of the three": float(len(held_out)),
        "PSNR of the first stage, held-out pictures": reconstruction_report(
            model, None, held_out.pictures
        )["psnr"],
    }
    return scores
