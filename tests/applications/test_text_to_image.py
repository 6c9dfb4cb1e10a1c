"""Laws of `applications.text_to_image`: honest pairs, a judge with known answers, maps of sum 1."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import tiny
from ldmlib.applications.text_to_image import matching
from ldmlib.applications.text_to_image import model as t2i
from ldmlib.data.emoji_set import STYLES, captioned_emoji
from ldmlib.latent import recipes
from ldmlib.latent.recipes import Recipe
from ldmlib.latent.stages import check_fits
from ldmlib.networks.autoencoder import Autoencoder, AutoencoderConfig
from ldmlib.networks.tokenizer import Tokenizer
from ldmlib.networks.unet import UNetConfig
from ldmlib.rng import seeded
from ldmlib.training.autoencoder_loss import AutoencoderLossConfig
from ldmlib.training.config import TrainConfig

DATA = captioned_emoji("train")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return t2i.emoji_tokenizer(DATA)


def tiny_recipe(vocabulary: int) -> Recipe:
    """Trainings of a few steps, for pictures of 32 x 32 pixels."""
    few = TrainConfig(steps=2, batch_size=4, precision="float32", checkpoint_every=1)
    return Recipe(
        autoencoder=AutoencoderConfig(3, 2, (4, 8), portable=4),
        autoencoder_loss=AutoencoderLossConfig("l1", perceptual=0.0),
        autoencoder_training=few,
        unet=UNetConfig(2, (8, 16), 1, 2, vocabulary=vocabulary, text_width=32, portable=4),
        training=few,
        guidance=2.0,
    )


# Pairs


def test_every_picture_has_its_own_prompts(tokenizer) -> None:
    picked, tokens = t2i.training_pairs(DATA, tokenizer)
    assert set(picked.tolist()) == set(range(len(DATA)))
    prompts = tokenizer.decode(tokens[:400])
    for i, prompt in zip(picked[:400].tolist(), prompts, strict=True):
        caption, style = DATA.captions[i], STYLES[int(DATA.styles[i])]
        tagged = prompt.endswith(f", {style} style") and prompt.split(",")[0] != caption
        assert prompt in (caption, f"{caption}, {style} style") or tagged


def test_held_out_captions_are_never_prompts(tokenizer) -> None:
    _, tokens = t2i.training_pairs(DATA, tokenizer)
    asked = {row for row in map(tuple, tokens.tolist())}
    held_out = captioned_emoji("test")
    prompts = sorted({*held_out.captions, *held_out.prompts()})
    assert not asked & {row for row in map(tuple, tokenizer(prompts).tolist())}


def test_tags_that_cannot_be_read_are_left_out() -> None:
    assert t2i.tag_prompt(("smile", ":d|", "日本", "joy"), "noto") == "smile joy, noto style"


def test_the_tokenizer_reads_every_caption_and_every_style(tokenizer) -> None:
    for data in (DATA, captioned_emoji("test")):
        assert tokenizer(sorted(set(data.prompts()))).shape[1] == 24
    assert tokenizer.pieces("sun, noto style")[-2:] == ["noto ", "style "]


# Models


def test_a_text_model_is_trained_stopped_and_resumed(tokenizer, tmp_path) -> None:
    few = replace(DATA, pictures=DATA.pictures.subset(range(12)), captions=DATA.captions[:12],
                  tags=DATA.tags[:12], styles=DATA.styles[:12])  # fmt: skip
    recipe = tiny_recipe(len(tokenizer))
    model = t2i.train_text_model(few, tokenizer, recipe, tmp_path)
    again = t2i.train_text_model(few, tokenizer, recipe, tmp_path, resume=True)
    asked = {"prompt": "grinning face, noto style", "seed": 1}
    first = model.sample(2, **asked)
    assert first.shape == (2, 3, 32, 32)
    assert torch.equal(first, again.sample(2, **asked))
    assert model.config.guidance == 2.0 and model.config.styles == STYLES


def test_another_vocabulary_is_named(tokenizer) -> None:
    recipe = tiny_recipe(len(tokenizer) + 1)
    with pytest.raises(ValueError, match=r"UNetConfig\(vocabulary=len\(tokenizer\)\)"):
        t2i.assemble_text_model(DATA, Autoencoder(recipe.autoencoder), recipe, tokenizer)


def test_the_preset_fits_the_emoji(tokenizer) -> None:
    recipe = recipes.emoji(len(tokenizer))
    check_fits(DATA.pictures.__class__(DATA.pictures.images[:2]), recipe)
    assert recipe.autoencoder.factor == 4


def test_attention_maps_are_shares(tokenizer) -> None:
    recipe = tiny_recipe(len(tokenizer))
    model = t2i.assemble_text_model(DATA, Autoencoder(recipe.autoencoder), recipe, tokenizer)
    tiny.randomised(model.denoiser)
    tokens = model.condition(2, prompt=["sun", "red apple, noto style"])
    maps = t2i.attention_maps(model, tiny.noise(2, 2, 8, 8), 0.5, tokens)
    assert maps.shape[0] == 2 and maps.shape[2:] == (8, 8)
    torch.testing.assert_close(maps.sum(1), torch.ones(2, 8, 8))
    used = int((tokens[0] >= 0).sum())
    assert bool((maps[0, 1 + used :] == 0).all()) and maps.shape[1] > 1 + used


# The judge


class Knows(torch.nn.Module):
    """A matcher with known answers: a picture's first pixel is the number of its prompt."""

    def __init__(self, prompts: list[str], wrong: set[int] = frozenset()) -> None:
        super().__init__()
        self.settings = self
        self.prompts, self.wrong = sorted(set(prompts)), wrong

    def tokenizer(self, prompts: list[str]) -> torch.Tensor:
        return torch.tensor([[self.prompts.index(p)] for p in prompts])

    def words(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.eye(len(self.prompts))[tokens[:, 0]]

    def pictures(self, x: torch.Tensor) -> torch.Tensor:
        numbers = x[:, 0, 0, 0].long()
        off = torch.tensor([n in self.wrong for n in numbers.tolist()]).long()
        return torch.eye(len(self.prompts))[(numbers + off) % len(self.prompts)]


@pytest.mark.parametrize(("wrong", "share"), [(set(), 1.0), ({0, 1, 2, 3, 4}, 0.5)])
def test_retrieval_counts_first_places(wrong: set[int], share: float) -> None:
    prompts = [f"thing {i}" for i in range(10)]
    x = torch.arange(10.0).view(10, 1, 1, 1).expand(10, 3, 4, 4)
    assert matching.retrieval(Knows(prompts, wrong), x, prompts, among=10) == share


def test_retrieval_of_a_blind_judge_is_chance() -> None:
    """Random vectors: one in ten, within four standard errors."""
    prompts = [f"thing {i}" for i in range(1000)]
    judge = Knows(prompts)
    judge.words = lambda tokens: torch.randn(len(tokens), 8, generator=seeded(1))
    judge.pictures = lambda x: torch.randn(len(x), 8, generator=seeded(int(x[0, 0, 0, 0])))
    x = torch.arange(1000.0).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    assert abs(matching.retrieval(judge, x, prompts, among=10) - 0.1) < 4 * (0.09 / 1000) ** 0.5


def test_retrieval_needs_prompts_to_choose_from() -> None:
    with pytest.raises(ValueError, match="100 different ones, got 3 prompts, 2 of them different"):
        matching.retrieval(Knows(["a", "b"]), torch.zeros(3, 3, 4, 4), ["a", "a", "b"])


def test_equal_prompts_in_a_batch_are_both_right(tokenizer) -> None:
    """Logits that cannot tell two equal prompts apart reach the lowest loss there is: log 2."""
    tokens = tokenizer(["sun", "sun"])
    x = tiny.pictures(2, channels=3, size=32)
    loss = matching.matching_objective(lambda x, tokens: torch.zeros(2, 2), x, tokens, seeded(0), 0)
    torch.testing.assert_close(loss, torch.tensor(2.0).log())
    apart = tokenizer(["sun", "owl"])
    sure = matching.matching_objective(lambda x, t: 50 * torch.eye(2), x, apart, seeded(0), 0)
    assert sure < 1e-6


def test_a_saved_matcher_sees_the_same(tokenizer, tmp_path, monkeypatch) -> None:
    torch.manual_seed(0)
    matcher = matching.Matcher(matching.MatcherConfig(tokenizer, widths=(4, 8, 8), dim=8)).eval()
    matching.save_matcher(matcher, tmp_path / "own", seed=0)
    monkeypatch.setattr(matching, "asset", lambda *parts: tmp_path / parts[-1])
    again = matching.bundled_matcher.__wrapped__("own")
    x = tiny.pictures(3, channels=3, size=32)
    torch.testing.assert_close(again.pictures(x), matcher.pictures(x), atol=0.02, rtol=0)
    assert again.settings == matcher.settings
    torch.testing.assert_close(again.pictures(x).norm(dim=1), torch.ones(3))
