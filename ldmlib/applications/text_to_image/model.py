"""From words to pictures: the pairs to train on, a model to train, and a judge of what comes out.

The judge is a matcher (CLIP, arXiv 2103.00020): two networks that give a picture and its caption
nearly the same vector. It has never seen the held-out captions, and the model that it judges has
never seen the matcher.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ldmlib.data.emoji_set import STYLES, CaptionedData, with_style
from ldmlib.data.record import DataRecord
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.latent.recipes import Recipe
from ldmlib.latent.stages import train_autoencoder, train_denoiser
from ldmlib.networks.tokenizer import Tokenizer, words_of
from ldmlib.storage.places import expanded
from ldmlib.storage.wrappers import load_plain

MERGES = 1000
WHITE = 1.0  # the emoji's background


# --------------------------------------------------------------------------- pairs
def emoji_tokenizer(data: CaptionedData, merges: int = MERGES, length: int = 24) -> Tokenizer:
    """The tokens of the training captions and of the styles' names."""
    styles = [with_style("", style) for style in STYLES]
    return Tokenizer.learn([*sorted(set(data.captions)), *styles * 20], merges, length)


def tag_prompt(tags: tuple[str, ...], style: str, most: int = 4) -> str:
    """A prompt from the first few tags that can be read: other words for the same thing."""
    readable = []
    for tag in tags:
        try:
            words_of(tag)
        except ValueError:
            continue
        readable.append(tag)
    return with_style(" ".join(readable[:most]), style)


def training_pairs(data: CaptionedData, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """Which picture, (m,), and which tokens, (m, L): three prompts for each picture.

    Its caption with the style, twice; the caption alone; and tags with the style, if they fit: so
    that style can be left out, and words can be others than the caption's.
    """
    pairs: list[tuple[int, str]] = []
    for i, prompt in enumerate(data.prompts()):
        style = STYLES[int(data.styles[i])]
        pairs += [(i, prompt), (i, prompt), (i, data.captions[i])]
        other = tag_prompt(data.tags[i], style)
        if len(tokenizer.pieces(other)) <= tokenizer.length:
            pairs.append((i, other))
    numbers, prompts = zip(*pairs, strict=True)
    return torch.tensor(numbers), tokenizer(list(prompts))


def assemble_text_model(
    data: CaptionedData,
    autoencoder: nn.Module,
    recipe: Recipe,
    tokenizer: Tokenizer,
    record: DataRecord | None = None,
) -> LatentDiffusion:
    """A `LatentDiffusion` that is asked in words, with a denoiser that knows nothing yet.

    `record` is what the model remembers of its data.

    Raises:
        ValueError: the recipe's UNet is for another vocabulary.
    """
    if recipe.unet.vocabulary != len(tokenizer):
        raise ValueError(
            f"the recipe's UNet has a vocabulary of {recipe.unet.vocabulary} tokens, "
            f"the tokenizer has {len(tokenizer)}: UNetConfig(vocabulary=len(tokenizer))"
        )
    torch.manual_seed(recipe.training.seed)
    model = LatentDiffusion(
        LatentDiffusionConfig(
            autoencoder=recipe.autoencoder,
            unet=recipe.unet,
            diffusion=recipe.diffusion,
            size=data.pictures.size,
            tokenizer=tokenizer,
            styles=STYLES,
            guidance=recipe.guidance,
            guidance_interval=recipe.guidance_interval,
            data=record,
        )
    )
    load_plain(model.autoencoder, autoencoder.state_dict(), "autoencoder")
    return model


def train_text_model(
    data: CaptionedData,
    tokenizer: Tokenizer,
    recipe: Recipe,
    folder: str | Path,
    resume: bool = False,
    perceptual: nn.Module | None = None,
    record: DataRecord | None = None,
) -> LatentDiffusion:
    """Both stages with checkpoints in `folder`; with `resume`, they go on from there.

    The model remembers the `record` of its data.

    Raises:
        ValueError: with `resume`, other data or settings than in the checkpoints.
        KeyboardInterrupt: stopped before the end; the checkpoints are whole.
    """
    folder, (x, _) = expanded(folder), data.pictures.as_tensors()
    stages = [folder / "first_stage", folder / "second_stage"]
    options = [dict(folder=f, resume=resume and (f / "checkpoint.pt").is_file()) for f in stages]
    first = train_autoencoder(x, recipe, perceptual, **options[0])
    if first.interrupted:
        raise KeyboardInterrupt
    model = assemble_text_model(data, first.ema, recipe, tokenizer, record)
    picked, tokens = training_pairs(data, tokenizer)
    z = model.fit_latent_scale(x)[picked]
    if train_denoiser(model, z, tokens, recipe, **options[1]).interrupted:
        raise KeyboardInterrupt
    return model


@torch.no_grad()
def attention_maps(model: LatentDiffusion, x: Tensor, t: float, tokens: Tensor) -> Tensor:
    """How much each place looks at each token, (n, 1 + L, h, w): sums to 1 over the tokens.

    Mean over heads and over the readers that work at the latents' own size; token 0 is the start,
    and tokens after the longest prompt are left out.

    Args:
        x: latents (n, c, h, w) at time t; tokens: (n, L) of `model.condition`.
    """
    n, _, h, w = x.shape
    seen: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        if inputs[0].shape[1] == h * w:
            seen.append(module.weights(*inputs).mean(1))

    readers = model.denoiser.readers.values()
    hooks = [reader.reading.register_forward_hook(look) for reader in readers]
    try:
        model.denoise(x, torch.full((n,), float(t)), tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(seen).mean(0).transpose(1, 2).reshape(n, -1, h, w).cpu()


# --------------------------------------------------------------------------- the judge
