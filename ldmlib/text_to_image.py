"""From words to pictures: the pairs to train on, a model to train, and a judge of what comes out.

The judge is a matcher (CLIP, arXiv 2103.00020): two networks that give a picture and its caption
nearly the same vector. It has never seen the held-out captions, and the model that it judges has
never seen the matcher.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.data_record import DataRecord
from ldmlib.emoji import STYLES, CaptionedData, with_style
from ldmlib.features import Classifier, ClassifierConfig, in_batches
from ldmlib.files import asset
from ldmlib.latent import LatentDiffusion
from ldmlib.latent_config import LatentDiffusionConfig
from ldmlib.places import expanded
from ldmlib.pretrained import load_pair, save_pair
from ldmlib.recipes import Recipe, random_shift, train_autoencoder, train_denoiser
from ldmlib.rng import Generator
from ldmlib.text import TextEncoder, Tokenizer, words_of
from ldmlib.training import TrainConfig, TrainState, train
from ldmlib.wrappers import load_plain

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
@dataclass(frozen=True)
class MatcherConfig:
    """Shape of a `Matcher`: what it reads, the picture network's widths, length of the vectors."""

    tokenizer: Tokenizer
    widths: tuple[int, ...] = (24, 48, 96)
    dim: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if isinstance(self.tokenizer, dict):
            object.__setattr__(self, "tokenizer", Tokenizer(**self.tokenizer))


class Matcher(nn.Module):
    """Pictures (n, 3, H, W) and prompts to vectors of length 1, (n, dim); near is alike.

    Its picture side has the interface of `features.Classifier` (`feature_maps`, `look`), so that
    the course's scores run on it.
    """

    def __init__(self, config: MatcherConfig) -> None:
        super().__init__()
        self.settings = config
        self.config = ClassifierConfig(3, config.dim, config.widths, config.dim)
        self.eye = Classifier(self.config)
        self.reader = TextEncoder(len(config.tokenizer), config.tokenizer.length, 128, layers=1)
        self.head = nn.Linear(128, config.dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def pictures(self, x: Tensor) -> Tensor:
        """Vectors of pictures (n, 3, H, W) in [-1, 1]."""
        return F.normalize(self.eye(x).float(), dim=1)

    def words(self, tokens: Tensor) -> Tensor:
        """Vectors of token ids (n, L)."""
        return F.normalize(self.head(self.reader(tokens)[0][:, 0]).float(), dim=1)

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whitened features for scores, and the vectors before they are made of length 1."""
        return self.eye.look(x)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Logits (n, n): how well each picture fits each prompt."""
        return self.log_scale.exp().clamp(max=100) * self.pictures(x) @ self.words(tokens).T


def matching_objective(model, x: Tensor, tokens: Tensor, generator: Generator, step: int) -> Tensor:
    """Cross-entropy both ways over the pairs of the batch (arXiv 2103.00020, section 2.3).

    Equal prompts in one batch (a caption in three styles, without its style) all count as right.
    """
    logits = model(random_shift(x, generator, background=WHITE), tokens)
    same = (tokens[:, None] == tokens[None]).all(-1).float()
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def train_matcher(
    data: CaptionedData, tokenizer: Tokenizer, steps: int = 2000, seed: int = 0, **options: object
) -> TrainState:
    """Train a `Matcher` on captioned pictures on white; options go to `training.fit`."""
    torch.manual_seed(seed)
    x, _ = data.pictures.as_tensors()
    picked, tokens = training_pairs(data, tokenizer)
    training = TrainConfig(
        steps=steps, batch_size=128, lr=2e-3, weight_decay=0.1, ema=0.0, seed=seed
    )
    model = Matcher(MatcherConfig(tokenizer))
    state = train(model, matching_objective, (x[picked], tokens), training, **options)
    model.eval().eye.fit_whitening(x)
    return state


@torch.no_grad()
def retrieval(
    matcher: Matcher, pictures: Tensor, prompts: list[str], among: int = 100, seed: int = 0
) -> float:
    """Share of pictures whose own prompt fits them best of `among` different prompts.

    Picture i belongs to prompt i; the others it has to beat are drawn from the list. Guessing is
    right 1 / `among` of the time.

    Raises:
        ValueError: not a prompt for each picture, or fewer different ones than `among`.
    """
    different = sorted(set(prompts))
    if len(prompts) != len(pictures) or len(different) < among:
        raise ValueError(
            f"expected a prompt for each of {len(pictures)} pictures and {among} different ones, "
            f"got {len(prompts)} prompts, {len(different)} of them different"
        )
    seen = in_batches(matcher.pictures, pictures)
    read = in_batches(matcher.words, matcher.settings.tokenizer(different))
    fits = seen @ read.T
    own = torch.tensor([different.index(prompt) for prompt in prompts])
    generator = torch.Generator().manual_seed(seed)
    wins = 0
    for i, mine in enumerate(own.tolist()):
        others = torch.randperm(len(different), generator=generator)
        others = others[others != mine][: among - 1]
        wins += bool(fits[i, mine] > fits[i, others].max())
    return wins / len(pictures)


def save_matcher(matcher: Matcher, folder: str | Path, **facts: object) -> None:
    """Write ``model.safetensors`` and ``config.json`` (config, the weights' hash, facts)."""
    save_pair(folder, matcher.state_dict(), {**asdict(matcher.settings), **facts}, half=True)


@lru_cache
def bundled_matcher(name: str = "emoji_matcher") -> Matcher:
    """The matcher that comes with the library; evaluation mode, no gradients."""
    folder = asset("weights", name)
    matcher = load_pair(folder, MatcherConfig, Matcher, "matcher", more_allowed=True)
    return matcher.eval().requires_grad_(False)
