"""Which caption fits a picture: a matcher trained contrastively, and retrieval scores."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldmlib.applications.text_to_image.model import WHITE, training_pairs
from ldmlib.data.emoji_set import CaptionedData
from ldmlib.networks.batches import in_batches
from ldmlib.networks.classifier import Classifier, ClassifierConfig
from ldmlib.networks.text import TextEncoder
from ldmlib.networks.tokenizer import Tokenizer
from ldmlib.rng import Generator
from ldmlib.storage.files import asset
from ldmlib.storage.saved_models import load_pair, save_pair
from ldmlib.training.classifier import random_shift
from ldmlib.training.config import TrainConfig, TrainState
from ldmlib.training.run import train


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
