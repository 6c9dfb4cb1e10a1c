"""Laws of `networks.layers` and `networks.unet`: start at zero, know the time, take any batch."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from torch import nn

import tiny
from ldmlib.diffusion.process import Diffusion
from ldmlib.networks.layers import (
    Attention,
    ResBlock,
    Upsample,
    count_parameters,
    group_norm,
    zero_init,
)
from ldmlib.networks.unet import UNet, UNetConfig, time_embedding

# Layers


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 8, 12, 20, 32, 48, 96, 100, 130, 192, 256])
def test_group_norm_divides_the_channels(channels: int) -> None:
    layer = group_norm(channels)
    assert channels % layer.num_groups == 0
    assert layer.num_groups == 1 or channels // layer.num_groups >= 4
    out = layer(3 + 5 * tiny.noise(2, channels, 6, 6)).reshape(2, layer.num_groups, -1)
    torch.testing.assert_close(out.mean(2), torch.zeros(2, layer.num_groups), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(2, correction=0), torch.ones(2, layer.num_groups))


def test_group_norm_takes_maps_of_one_pixel() -> None:
    out = group_norm(8)(tiny.noise(1, 8, 1, 1))
    assert out.shape == (1, 8, 1, 1) and out.isfinite().all() and out.abs().max() > 0.1


def test_a_new_block_adds_nothing() -> None:
    x, embedding = tiny.noise(3, 8, 5, 5), tiny.noise(3, 7)
    assert torch.equal(ResBlock(8, 8, embedding=7)(x, embedding), x)
    assert torch.equal(ResBlock(8, 8)(x), x)
    assert torch.equal(Attention(8, 2)(x), x)
    wider = ResBlock(8, 12, embedding=7)
    assert torch.equal(wider(x, embedding), wider.shortcut(x))


def test_a_block_listens_to_its_embedding() -> None:
    block, x = tiny.randomised(ResBlock(8, 8, embedding=7)), tiny.noise(2, 8, 5, 5)
    one, other = block(x, tiny.noise(2, 7, seed=1)), block(x, tiny.noise(2, 7, seed=2))
    assert (one - other).abs().max() > 0.01


def test_attention_equals_torch_multihead_attention() -> None:
    ours, x = tiny.randomised(Attention(8, 2)), tiny.noise(3, 8, 4, 5)
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight[:, :, 0, 0])
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.weight.copy_(ours.out.weight[:, :, 0, 0])
        theirs.out_proj.bias.copy_(ours.out.bias)
    tokens = ours.norm(x).flatten(2).transpose(1, 2)
    expected = x + theirs(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-5)


def test_upsample_doubles_and_zero_init_silences() -> None:
    layer = Upsample(4, 4)
    assert layer(tiny.noise(1, 4, 3, 5)).shape == (1, 4, 6, 10)
    assert zero_init(layer)(tiny.noise(1, 4, 3, 5)).abs().max() == 0
    assert count_parameters(layer) == 4 * (4 * 4 * 9 + 4)
    assert count_parameters(layer.requires_grad_(False)) == 0


# Time


def test_time_is_spread_before_the_sines() -> None:
    early, late = time_embedding(torch.tensor([0.1, 0.9]), 64)
    assert (early - late).norm() > 0.5 * early.norm()
    near = time_embedding(torch.tensor([0.5, 0.501]), 64)
    assert 0.05 < (near[0] - near[1]).norm() < 2  # one of 1000 steps can be told from the next


def test_time_embedding_equals_diffusers() -> None:
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.linspace(0, 1, 11)
    theirs = get_timestep_embedding(1000 * t, 32, downscale_freq_shift=0)
    torch.testing.assert_close(time_embedding(t, 32), theirs, atol=1e-4, rtol=0)
    assert time_embedding(t.double(), 32).dtype == torch.float32


def test_the_unet_hears_time_and_class() -> None:
    net, x = tiny.randomised(tiny.unet()).eval(), tiny.noise(1, 1, 8, 8)
    with torch.no_grad():
        at = {(t, c): net(x, torch.tensor([t]), torch.tensor([c]))
              for t in (0.1, 0.9) for c in (-1, 0, 2)}  # fmt: skip
    keys = list(at)
    gaps = [(at[a] - at[b]).abs().max() for i, a in enumerate(keys) for b in keys[:i]]
    assert min(gaps) > 1e-3


# The first loss


@pytest.mark.parametrize("name", ["eps", "x0", "v", "flow"])
def test_the_first_loss_is_the_variance_of_the_target(name: str) -> None:
    """Law 10: the output is 0 exactly, so the loss is E |target|^2 and known in advance."""
    x0, eps = tiny.noise(64, 1, 8, 8), tiny.noise(64, 1, 8, 8, seed=1)
    diffusion = Diffusion("cosine", name, time_sampling="uniform")
    t = diffusion.sample_times(64, torch.Generator().manual_seed(0))
    net = tiny.unet()
    assert net(x0, t.float()).abs().max() == 0
    loss = diffusion.loss(net, x0, t=t, eps=eps).mean().item()
    assert loss == pytest.approx(2.0 if name == "flow" else 1.0, abs=0.1)


# Batches and shapes


@pytest.mark.parametrize("n", [1, 2, 5])
def test_every_image_of_a_batch_is_alone(n: int) -> None:
    net = tiny.randomised(tiny.unet())  # in training mode too: nothing looks across the batch
    x, t, y = tiny.noise(5, 1, 8, 8), torch.rand(5), tiny.labels(5)
    with torch.no_grad():
        whole = net(x, t, y)
        torch.testing.assert_close(net(x[:n], t[:n], y[:n]), whole[:n], atol=1e-5, rtol=1e-4)


def test_no_condition_is_the_null_class() -> None:
    net, x, t = tiny.randomised(tiny.unet()).eval(), tiny.noise(4, 1, 8, 8), torch.rand(4)
    null = net(x, t, torch.full((4,), -1))
    assert torch.equal(net(x, t), null) and torch.equal(net(x, t, None), null)
    assert not torch.equal(net(x, t, torch.full((4,), 2)), null)


@pytest.mark.parametrize(
    ("channels", "size"), [((8,), (1, 1)), ((8, 16), (2, 2)), ((8, 8, 16), (4, 8)), ((8,), (3, 5))]
)
def test_small_and_oblong_maps(channels: tuple[int, ...], size: tuple[int, int]) -> None:
    net = tiny.randomised(tiny.unet(channels=channels))
    out = net(tiny.noise(1, 1, *size), torch.rand(1))
    assert out.shape == (1, 1, *size) and out.isfinite().all()
    assert net.factor == 2 ** (len(channels) - 1)


def test_attention_is_at_the_lowest_resolution_only() -> None:
    net = tiny.unet(channels=(8, 8, 16))
    (attention,) = [m for m in net.modules() if isinstance(m, Attention)]
    seen = []
    attention.register_forward_hook(lambda _m, args, _out: seen.append(tuple(args[0].shape)))
    net(tiny.noise(2, 1, 16, 16), torch.rand(2))
    assert seen == [(2, 16, 4, 4)]
    assert not any(isinstance(m, Attention) for m in tiny.unet(heads=0).modules())


def test_every_weight_learns() -> None:
    net = tiny.randomised(tiny.unet(blocks=2))
    out = net(tiny.noise(8, 1, 8, 8), torch.rand(8), torch.tensor([-1, 0, 1, 2] * 2))
    out.square().mean().backward()
    silent = [k for k, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert silent == []


def test_dropout_is_off_in_evaluation() -> None:
    net, x, t = tiny.randomised(tiny.unet(dropout=0.5)), tiny.noise(2, 1, 8, 8), torch.rand(2)
    assert not torch.equal(net(x, t), net(x, t))
    net.eval()
    assert torch.equal(net(x, t), net(x, t))


def test_a_config_survives_json() -> None:
    config = tiny.unet().config
    again = UNetConfig(**json.loads(json.dumps(asdict(config))))
    assert again == config and UNet(again).state_dict().keys() == tiny.unet().state_dict().keys()


# Bad input

X, T = torch.zeros(2, 1, 8, 8), torch.rand(2)


@pytest.mark.parametrize(
    ("x", "t", "cond", "message"),
    [
        (torch.zeros(2, 3, 8, 8), T, None, "1, H, W"),
        (torch.zeros(2, 1, 7, 8), T, None, "multiples of 2"),
        (torch.zeros(1, 8, 8), T, None, "x_t must be"),
        (X, torch.rand(3), None, "one time for each of 2"),
        (X, torch.tensor(0.5), None, "one time for each"),
        (X, T, torch.tensor([0, 1, 2]), "one whole-number class label"),
        (X, T, torch.tensor([0.0, 1.0]), "torch.float32"),
        (X, T, torch.tensor([0, 3]), "0 to 2, or -1"),
        (X, T, torch.tensor([0, -2]), "not -2 to 0"),
    ],
)
def test_bad_input_is_named(x, t, cond, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.unet()(x, t, cond)


def test_an_unconditional_network_refuses_labels() -> None:
    with pytest.raises(ValueError, match="unconditional"):
        tiny.unet(num_classes=0)(X, T, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    "options", [{"channels": ()}, {"blocks": 0}, {"channels": (8, 0)}, {"channels": (8, 9)}]
)
def test_impossible_configs(options: dict) -> None:
    with pytest.raises(ValueError, match="UNet needs|do not divide"):
        tiny.unet(**options)
