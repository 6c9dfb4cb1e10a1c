"""Training a GAN: the game as an objective for `training.fit`, and the recipes of the course.

The generator is trained like every network here, with its average, checkpoints and resume; the
discriminator is part of the objective, as in the autoencoder's loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ldmlib.gan.model import Discriminator, Gan, GanConfig, PlayersConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.rng import Generator as Randomness
from ldmlib.rng import randn_like
from ldmlib.storage.wrappers import load_plain, plain_names
from ldmlib.training.adversarial import discriminator_step, frozen, generator_loss
from ldmlib.training.config import TrainConfig, TrainState, learning_rate
from ldmlib.training.run import train


# --------------------------------------------------------------------------- the game
@dataclass(frozen=True)
class GanLossConfig:
    """Rules of the game.

    Args:
        kind: of both losses, ``non_saturating`` or ``hinge``.
        r1: weight of the discriminator's gradient penalty, 0 for none.
        r1_every: steps between penalties; each counts that many times (arXiv 1912.04958, 2.2).
        discriminator_lr: its largest; it rises and falls with the generator's.
    """

    kind: str = "non_saturating"
    r1: float = 0.5
    r1_every: int = 8
    discriminator_lr: float = 1e-3


class GanLoss:
    """The game as an objective for `training.fit`: each step is a round.

    The call is the generator's turn; `after_step` updates the discriminator on the same fakes. Its
    state travels in the checkpoints. History: ``caught``, the share of fakes that are seen through.

    Args:
        training: of the generator. Both players slow down together: a judge that goes on learning
            while the forger's rate falls to 0 wins in the end.
    """

    def __init__(
        self, config: GanLossConfig, players: PlayersConfig, training: TrainConfig
    ) -> None:
        self.config, self.players, self.training = config, players, training
        self.discriminator = Discriminator(players)
        self.trained: nn.Module = self.discriminator
        self.optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=config.discriminator_lr, betas=(0.0, 0.99)
        )
        self.fakes: list[Tensor] = []
        self.step, self.half = 0, False

    def __call__(self, model, x: Tensor, _labels, generator: Randomness, step: int):
        """The generator's loss (scalar) for fresh noise, as much as there are pictures x."""
        noise = randn_like(x.new_empty(len(x), self.players.noise), generator)
        fake = model(noise)
        with frozen(self.discriminator):
            logits = self.discriminator(fake)
        self.fakes = [*self.fakes, fake.detach()]
        self.step, self.half = step, torch.is_autocast_enabled(x.device.type)
        caught = (logits < 0).float().mean()
        return generator_loss(logits, self.config.kind), {"caught": caught}

    def after_step(self, x: Tensor) -> None:
        """The discriminator's turn, on the real pictures x of this step."""
        share = learning_rate(self.step, self.training) / self.training.lr
        self.optimizer.param_groups[0]["lr"] = self.config.discriminator_lr * share
        due = self.config.r1 and self.step % self.config.r1_every == 0
        r1 = self.config.r1 * self.config.r1_every if due else 0.0
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half):
            fake = torch.cat(self.fakes)
            discriminator_step(self.trained, self.optimizer, x, fake, self.config.kind, r1)
        self.fakes = []

    def prepare(self, runtime) -> None:
        """Move to the runtime's device; let its processes share the discriminator's gradients."""
        self.discriminator.to(runtime.device)
        self.trained, self.fakes = runtime.prepare(self.discriminator), []

    def checkpoint_state(self) -> dict:
        """What `training.fit` saves beside the generator: discriminator and its optimiser."""
        return {
            "discriminator": plain_names(self.discriminator.state_dict()),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_checkpoint_state(self, state: dict) -> None:
        """Take back what `checkpoint_state` gave."""
        load_plain(self.discriminator, state["discriminator"], "discriminator")
        self.optimizer.load_state_dict(state["optimizer"])


# --------------------------------------------------------------------------- recipes
@dataclass(frozen=True)
class GanRecipe:
    """Everything about one GAN: both networks, the rules, the training."""

    players: PlayersConfig = field(default_factory=PlayersConfig)
    loss: GanLossConfig = field(default_factory=GanLossConfig)
    training: TrainConfig = field(default_factory=TrainConfig)


def pixel_recipe(steps: int = 2000, seed: int = 0) -> GanRecipe:
    """Digits, 32 x 32, within two minutes on 2 CPU cores.

    Two settings decide. The judge's gradient penalty: after 700 rounds FID (n = 2,000) is 81 with
    `r1` = 0.5, 103 with spectral norm and hinge losses, 290 with `r1` = 0.05. And optimisers that
    do not remember directions (beta_1 = 0), as the other player turns them around all the time:
    with the usual 0.9 there are no digits at all.
    """
    training = TrainConfig(
        steps,
        batch_size=32,
        lr=1e-3,
        weight_decay=0.0,
        betas=(0.0, 0.99),
        ema=0.99,
        seed=seed,
    )
    return GanRecipe(training=training)


def latent_recipe(steps: int = 2000, seed: int = 0) -> GanRecipe:
    """The same game on latents (4, 8, 8): smaller maps, two levels, no bounds.

    Latents hardly vary in many directions, so a judge tells forgeries apart easily: it pays more.
    """
    players = PlayersConfig(4, 8, 64, (128, 64), (64, 128, 256), fold=1, bounded=False)
    return replace(pixel_recipe(steps, seed), players=players, loss=GanLossConfig(r1=2.0))


def build(recipe: GanRecipe, first_stage: LatentDiffusion | None = None) -> Gan:
    """An untrained GAN; with `first_stage`, one of that model's scaled latents."""
    torch.manual_seed(recipe.training.seed)
    if first_stage is None:
        return Gan(GanConfig(recipe.players))
    if first_stage.config.canvas:
        raise ValueError(
            f"a GAN does not pad its pictures, and this first stage sees those of "
            f"{first_stage.config.size} x {first_stage.config.size} on a canvas of "
            f"{first_stage.config.canvas}; train one on pictures resized to that size"
        )
    gan = Gan(GanConfig(recipe.players, first_stage.config.autoencoder))
    load_plain(gan.autoencoder, first_stage.autoencoder.state_dict(), "first stage")
    gan.latent_mean.copy_(first_stage.latent_mean)
    gan.latent_std.copy_(first_stage.latent_std)
    return gan


def train_gan(gan: Gan, x: Tensor, recipe: GanRecipe, **options: object) -> TrainState:
    """Play the game on pictures x (n, C, H, W), or on their latents; options go to `fit`.

    At the end `gan` holds the averaged generator.
    """
    torch.manual_seed(recipe.training.seed)
    objective = GanLoss(recipe.loss, recipe.players, recipe.training)
    state = train(gan.generator, objective, (gan.encode(x), None), recipe.training, **options)
    gan.generator = state.ema
    return state


def mnist_gan() -> GanRecipe:
    """The bundled pixel GAN: the notebook's recipe with more rounds and a longer average."""
    return _longer(pixel_recipe(), 6000)


def mnist_latent_gan() -> GanRecipe:
    """The bundled latent GAN."""
    return _longer(latent_recipe(), 5000)


def _longer(recipe: GanRecipe, steps: int) -> GanRecipe:
    return replace(recipe, training=replace(recipe.training, steps=steps, ema=0.995))


BUNDLED_RECIPES = {"mnist_gan": mnist_gan, "mnist_latent_gan": mnist_latent_gan}
