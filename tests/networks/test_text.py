"""Laws of `networks.text`: tokens come back as words, empty prompts count, attention is a mean."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tiny
from ldmlib.data.emoji_set import captioned_emoji, is_held_out, style_of, with_style
from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion
from ldmlib.networks.text import CrossAttention, TextBlock, TextEncoder
from ldmlib.networks.tokenizer import Tokenizer, words_of
from ldmlib.networks.unet import UNet, UNetConfig
from ldmlib.rng import seeded
from ldmlib.training.denoising import DenoisingObjective

TEXTS = ["red apple", "red car", "green apple", "red carrot", "green car"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.learn(TEXTS, merges=30, length=12)


def text_unet(tokenizer: Tokenizer, **options) -> UNet:
    torch.manual_seed(0)
    config = {"in_channels": 1, "channels": (8, 16), "blocks": 1, "heads": 2, "text_width": 32}
    return UNet(
        UNetConfig(**{**config, "vocabulary": len(tokenizer), "text_length": 12, **options})
    )


# Tokenizer


def test_words_are_lower_case_without_accents() -> None:
    assert words_of("Crème-Brûlée, 2 o'clock!") == [
        *("creme", "-", "brulee", ",", "2", "o", "'", "clock", "!")
    ]


def test_frequent_words_become_one_token_and_rare_ones_stay_in_pieces(tokenizer) -> None:
    assert tokenizer.pieces("red apple") == ["red ", "apple "]
    assert len(tokenizer.pieces("carrot")) > 1
    assert tokenizer.pieces("car") == ["car "]
    assert tokenizer.pieces("x") == ["x "]


def test_learning_takes_the_most_frequent_pair_first() -> None:
    """Counted by hand over the words, after every merge (arXiv 1508.07909, algorithm 1)."""
    learned = Tokenizer.learn(["aab aab ab"], merges=3).merges
    assert learned[0] == ("a", "b ")  # three times; a-a only twice
    assert learned[1] == ("a", "ab ")
    assert len(learned) == 2  # nothing is left that occurs twice


@pytest.mark.parametrize("prompt", ["red apple", "green carrot, so", "a zebra"])
def test_tokens_come_back_as_the_prompt(tokenizer, prompt: str) -> None:
    assert tokenizer.decode(tokenizer(prompt)) == [prompt]


def test_ids_are_padded_with_minus_one(tokenizer) -> None:
    ids = tokenizer(["red", ""])
    assert ids.shape == (2, 12) and ids.dtype == torch.int64
    assert (ids[0] >= 0).sum() == 1 and bool((ids[1] == -1).all())
    assert int(ids.max()) < len(tokenizer)


def test_a_saved_tokenizer_reads_the_same(tokenizer) -> None:
    again = Tokenizer(merges=[list(pair) for pair in tokenizer.merges], length=12)
    assert torch.equal(again("green carrot"), tokenizer("green carrot"))


@pytest.mark.parametrize(
    ("prompt", "error", "words"),
    [
        ("red " * 13, ValueError, "13 tokens, the model reads 12"),
        ("日本", ValueError, "cannot be read"),
        (7, TypeError, "a prompt is a string, not int"),
    ],
)
def test_bad_prompts_are_named(tokenizer, prompt, error, words: str) -> None:
    with pytest.raises(error, match=words):
        tokenizer([prompt])


# Text encoder


def test_padding_changes_nothing(tokenizer) -> None:
    encoder = tiny.randomised(TextEncoder(len(tokenizer), 12, 32)).eval()
    ids = tokenizer(["red apple"])
    long, counts = encoder(torch.cat([ids, tokenizer("green carrot, red car")]))
    short, _ = encoder(ids[:, :2])
    assert counts[0].sum() == 3  # start, red, apple
    torch.testing.assert_close(long[:1, :3], short, atol=1e-5, rtol=1e-5)


def test_the_order_of_words_counts(tokenizer) -> None:
    encoder = tiny.randomised(TextEncoder(len(tokenizer), 12, 32)).eval()
    vectors, _ = encoder(tokenizer(["red apple", "apple red"]))
    assert (vectors[0, 0] - vectors[1, 0]).abs().max() > 1e-3  # equal without places, to 1e-6


def test_the_empty_prompt_has_a_vector(tokenizer) -> None:
    encoder = TextEncoder(len(tokenizer), 12, 32)
    vectors, counts = encoder(torch.full((2, 12), -1))
    assert vectors.shape == (2, 1, 32) and bool(counts.all())


# Cross-attention


def test_cross_attention_equals_torch(tokenizer) -> None:
    ours = tiny.randomised(CrossAttention(8, 2, 8))
    x, words = tiny.noise(2, 5, 8), tiny.noise(2, 3, 8, seed=1)
    counts = torch.tensor([[True, True, False], [True, True, True]])
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        three = torch.cat([ours.query.weight, ours.key.weight, ours.value.weight])
        theirs.in_proj_weight.copy_(three)
        theirs.in_proj_bias.zero_()
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    expected, weights = theirs(
        x, words, words, key_padding_mask=~counts, average_attn_weights=False
    )
    torch.testing.assert_close(ours(x, words, counts), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.weights(x, words, counts), weights, atol=1e-5, rtol=1e-5)


def test_weights_sum_to_one_and_padding_gets_none() -> None:
    attention = tiny.randomised(CrossAttention(8, 2, 6))
    counts = torch.tensor([[True, False, False]])
    weights = attention.weights(tiny.noise(1, 4, 8), tiny.noise(1, 3, 6), counts)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 4))
    assert bool((weights[..., 1:] == 0).all())


def test_a_new_reader_adds_nothing() -> None:
    x = tiny.noise(2, 8, 3, 3)
    block = TextBlock(8, 2, 6)
    out = block(x, tiny.noise(2, 4, 6), torch.ones(2, 4, dtype=torch.bool))
    assert torch.equal(out, x)


# The denoiser


def test_the_denoiser_reads_the_prompt(tokenizer) -> None:
    unet = tiny.randomised(text_unet(tokenizer)).eval()
    x, t = tiny.noise(1, 1, 8, 8), torch.tensor([0.5])
    red, green = (unet(x, t, tokenizer(p)) for p in ("red apple", "green apple"))
    assert (red - green).abs().max() > 1e-3


def test_no_prompt_is_the_empty_prompt(tokenizer) -> None:
    unet = tiny.randomised(text_unet(tokenizer)).eval()
    x, t = tiny.noise(2, 1, 8, 8), torch.tensor([0.3, 0.8])
    torch.testing.assert_close(unet(x, t), unet(x, t, tokenizer(["", ""])))


@pytest.mark.parametrize("portable", [0, 4])
def test_guidance_takes_tokens_as_it_takes_labels(tokenizer, portable: int) -> None:
    unet = tiny.randomised(text_unet(tokenizer, portable=portable)).eval()
    x, tokens, t = tiny.noise(1, 1, 8, 8), tokenizer("red car"), torch.tensor([0.5])
    guided = predictor(Diffusion(), unet, tokens, guidance=2.0)(x, 0.5).x0
    with_text, without = unet(x, t, tokens), unet(x, t)
    expected = Diffusion().predict(lambda *_: without + 2 * (with_text - without), x, 0.5).x0
    torch.testing.assert_close(guided, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("cond", "words"),
    [
        (torch.zeros(2, dtype=torch.long), r"token ids of a prompt.*\(2, L\)"),
        (torch.zeros(2, 13, dtype=torch.long), "L up to 12"),
        (torch.zeros(2, 3), "whole numbers"),
        (torch.full((2, 3), 10_000), "token ids are 0 to"),
    ],
)
def test_other_conditions_are_named(tokenizer, cond: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        text_unet(tokenizer)(tiny.noise(2, 1, 8, 8), torch.zeros(2), cond)


def test_whole_prompts_are_dropped_in_training(tokenizer) -> None:
    seen = []

    def model(x, t, cond):
        seen.append(cond)
        return x

    tokens = tokenizer(["red car"] * 400)
    DenoisingObjective(Diffusion(), 0.25)(model, tiny.noise(400, 1, 4, 4), tokens, seeded(0), 0)
    empty = (seen[0] == -1).all(1)
    assert 0.18 < empty.double().mean() < 0.32
    assert torch.equal(seen[0][~empty], tokens[~empty])


# Emoji


def test_every_caption_is_in_one_split_only() -> None:
    train, test = captioned_emoji("train"), captioned_emoji("test")
    assert len(train) + len(test) == 5247
    assert not set(train.captions) & set(test.captions)
    assert 0.08 < len(test) / 5247 < 0.13
    assert all(is_held_out(c) for c in test.captions)


def test_pictures_belong_to_their_captions() -> None:
    """A red apple is red and a green one green, in all three styles."""
    data = captioned_emoji("train")
    for caption, channel in (("red apple", 0), ("green apple", 1)):
        numbers = data.where(caption=caption)
        assert sorted(data.styles[numbers].tolist()) == [0, 1, 2]
        x, _ = data.pictures.subset(numbers).as_tensors()
        middle = x[:, :, 8:24, 8:24].mean((2, 3))
        assert bool((middle.argmax(1) == channel).all())


def test_styles_by_name() -> None:
    assert with_style("red apple", "noto") == "red apple, noto style"
    assert with_style("red apple", None) == "red apple"
    assert style_of("Red Apple, Noto style") == "noto"
    assert style_of("red apple") is None
    with pytest.raises(ValueError, match="unknown style 'disney'; known are twemoji, noto, fluent"):
        style_of("a mouse, disney style")
    with pytest.raises(ValueError, match="expected split"):
        captioned_emoji("all")
