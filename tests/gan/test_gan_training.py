"""Laws of `ldmlib.gan.train`: the game under `training.fit`, and its recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny
from ldmlib.gan import train
from ldmlib.gan.model import BUNDLED, GanConfig, Generator, PlayersConfig
from ldmlib.gan.train import (
    BUNDLED_RECIPES,
    GanLoss,
    GanLossConfig,
    GanRecipe,
    build,
    latent_recipe,
    pixel_recipe,
    train_gan,
)
from ldmlib.latent.model import LatentDiffusion
from ldmlib.storage.files import load_checkpoint, save_checkpoint
from ldmlib.training.config import TrainConfig, learning_rate
from ldmlib.training.run import fit

PLAYERS = PlayersConfig(size=8, noise=5, widths=(16, 8), judge_widths=(8, 16), spectral=True)
TRAINING = TrainConfig(
    steps=6, batch_size=8, betas=(0.0, 0.99), ema=0.9, precision="float32", log_every=1,
    checkpoint_every=3,
)  # fmt: skip
RECIPE = GanRecipe(PLAYERS, GanLossConfig(), TRAINING)


def state_of(network: torch.nn.Module) -> dict:
    return {k: v.clone() for k, v in network.state_dict().items()}


def loss_of(config: GanLossConfig = GanLossConfig()) -> GanLoss:  # noqa: B008
    torch.manual_seed(1)
    return GanLoss(config, PLAYERS, TRAINING)


@pytest.mark.parametrize("config", [GanLossConfig(), GanLossConfig("hinge", r1=0.0)])
def test_each_turn_moves_one_network(config: GanLossConfig) -> None:
    """Law 24, in the objective: weights, gradients and buffers."""
    torch.manual_seed(0)
    generator, loss = Generator(PLAYERS), loss_of(config)
    x = tiny.pictures(8)
    before = state_of(loss.discriminator)
    value, parts = loss(generator, x, None, torch.Generator().manual_seed(0), 0)
    value.backward()
    assert not tiny.differences(before, state_of(loss.discriminator))
    assert all(p.grad is None for p in loss.discriminator.parameters())
    assert all(p.grad is not None for p in generator.parameters())
    assert 0 <= float(parts["caught"]) <= 1
    before = state_of(generator), [p.grad.clone() for p in generator.parameters()]
    loss.after_step(x)
    assert not tiny.differences(before[0], state_of(generator))
    assert all(
        torch.equal(p.grad, g) for p, g in zip(generator.parameters(), before[1], strict=True)
    )
    assert loss.fakes == [] and loss.discriminator[1].parametrizations.weight.original.grad.any()


def test_noise_is_fresh_in_every_step() -> None:
    """One noise for all training is the ninth bug of notebook 02."""
    torch.manual_seed(0)
    loss, generator = loss_of(), Generator(PLAYERS).eval()
    for step in (0, 1):
        loss(generator, tiny.pictures(4), None, torch.Generator().manual_seed(step), step)
    first, second = loss.fakes
    assert not torch.allclose(first, second)


def test_the_penalty_comes_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(train, "discriminator_step", lambda *args: given.append(args[-1]))
    loss = loss_of(GanLossConfig(r1=0.5, r1_every=4))
    torch.manual_seed(0)
    generator = Generator(PLAYERS)
    for step in range(9):
        loss(generator, tiny.pictures(4), None, torch.Generator().manual_seed(step), step)
        loss.after_step(tiny.pictures(4))
    assert given == [2.0, 0, 0, 0, 2.0, 0, 0, 0, 2.0]


def test_both_players_slow_down_together() -> None:
    loss = loss_of()
    torch.manual_seed(0)
    generator = Generator(PLAYERS)
    for step in (0, 3, 5):
        loss(generator, tiny.pictures(4), None, torch.Generator().manual_seed(step), step)
        loss.after_step(tiny.pictures(4))
        rate = loss.optimizer.param_groups[0]["lr"]
        assert rate / loss.config.discriminator_lr == pytest.approx(
            learning_rate(step, TRAINING) / TRAINING.lr
        )


def final(folder: Path | None = None, resume: bool = False, stop: int | None = None, **changes):
    """The last state of a run, and its objective; with `stop`, left after that many steps."""
    torch.manual_seed(0)
    model, loss = Generator(PLAYERS), loss_of()
    config = replace(TRAINING, **changes)
    run = fit(model, loss, (tiny.pictures(40), None), config, folder=folder, resume=resume,
              progress=False)  # fmt: skip
    for state in run:
        if state.step == stop:
            break
    return state, loss


def test_stop_and_resume_equals_no_stop(tmp_path: Path) -> None:
    """Law 27, with the opponent and its optimiser: bit for bit."""
    whole, loss = final()
    final(tmp_path, stop=3)
    resumed, other = final(tmp_path, resume=True)
    assert not tiny.differences(state_of(whole.ema), state_of(resumed.ema))
    assert not tiny.differences(loss.checkpoint_state(), other.checkpoint_state())
    kept = [{k: v for k, v in h.items() if k != "seconds"} for h in whole.history]
    again = [{k: v for k, v in h.items() if k != "seconds"} for h in resumed.history]
    assert kept == again


def test_checkpoints_from_before_a_setting_existed_are_read_with_its_default(
    tmp_path: Path,
) -> None:
    final(tmp_path, stop=3, betas=(0.9, 0.99))
    path = tmp_path / "checkpoint.pt"
    saved = load_checkpoint(path)
    del saved["config"]["betas"]
    save_checkpoint(path, saved)
    state, _ = final(tmp_path, resume=True, betas=(0.9, 0.99))
    assert state.step == TRAINING.steps
    save_checkpoint(path, saved)
    with pytest.raises(ValueError, match=r"betas: \(0.9, 0.99\) there, \(0.0, 0.99\) here"):
        final(tmp_path, resume=True)


def test_a_batch_in_parts_plays_with_as_many_fakes() -> None:
    state, loss = final(accumulate=2, steps=1)
    assert state.step == 1 and loss.fakes == []


def test_training_leaves_the_average_in_the_gan() -> None:
    gan = build(RECIPE)
    before = state_of(gan.generator)
    state = train_gan(gan, tiny.pictures(40), RECIPE, progress=False)
    assert gan.generator is state.ema and not gan.generator.training
    assert tiny.differences(before, state_of(gan.generator))
    assert gan.sample(3).shape == (3, 1, 8, 8)
    assert {"loss", "caught", "seconds"} <= state.history[-1].keys()


def test_bad_pictures_do_not_enter_the_game() -> None:
    with pytest.raises(ValueError, match="-1"):
        train_gan(build(RECIPE), 3 * tiny.pictures(8) + 4, RECIPE, progress=False)


def test_the_game_learns_a_flat_picture() -> None:
    """Grey pictures of one brightness: the simplest thing to forge."""
    x = torch.full((64, 1, 8, 8), 0.5)
    training = replace(TRAINING, steps=150, batch_size=16, lr=2e-3)
    gan = build(replace(RECIPE, training=training))
    train_gan(gan, x, replace(RECIPE, training=training), progress=False)
    assert abs(float(gan.sample(32).mean()) - 0.5) < 0.25


def test_a_latent_gan_takes_over_the_first_stage() -> None:
    ldm = LatentDiffusion.from_pretrained("mnist")
    gan = build(latent_recipe(), ldm)
    x = tiny.pictures(2, size=32)
    torch.testing.assert_close(gan.encode(x), ldm.encode(x))
    z = gan.encode(x)
    torch.testing.assert_close(gan.decode(z), ldm.decode(z))
    assert gan.sample(2).shape == (2, 1, 32, 32)


def test_recipes_of_the_bundled_models() -> None:
    assert tuple(BUNDLED_RECIPES) == BUNDLED
    for make in BUNDLED_RECIPES.values():
        recipe = make()
        assert recipe.training.betas[0] == 0 and (recipe.players.spectral or recipe.loss.r1)
    assert GanConfig(pixel_recipe().players).size == 32
