"""The contenders of the race: same data, same seconds, same evaluator, each in its usual form.

Every contender trains until the clock says stop (no contender knows how many steps it will get),
then samples. Learning rates are those of the respective library's own MNIST-size examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from time import perf_counter

import torch
from torch import Tensor, nn

from ldmlib.data import mnist
from ldmlib.latent import recipes
from ldmlib.latent.stages import assemble, train_autoencoder
from ldmlib.networks.autoencoder import Autoencoder
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.networks.layers import count_parameters
from ldmlib.rng import seeded
from ldmlib.training.config import ema_decay
from ldmlib.training.denoising import DenoisingObjective
from ldmlib.training.loop import batch_indices
from ldmlib.training.run import fit


class Contender:
    """Trains step by step, on request: `train` yields after every step."""

    steps = 0
    parameters = 0
    started = 0.0

    def train(self, seconds: float) -> Iterator[None]:
        """Train; the caller stops at `seconds`, which a schedule may use as its horizon."""
        raise NotImplementedError

    def sample(self, n: int) -> Tensor:
        """n digits, (n, 1, 32, 32) in [-1, 1]."""
        raise NotImplementedError


class OurLDM(Contender):
    """This course's model: the recipe of notebook 06, autoencoder included in the time."""

    def train(self, seconds: float) -> Iterator[None]:
        digits = mnist()
        x, y = digits.as_tensors()
        recipe = recipes.mnist_notebook()
        first = train_autoencoder(x, recipe, bundled_classifier("mnist_perceptual"), progress=False)
        self.model = assemble(digits, first.ema, recipe)
        z = self.model.fit_latent_scale(x)
        self.parameters = count_parameters(self.model)
        horizon = time_left_in_steps(self, z, y, recipe, seconds)
        config = replace(recipe.training, steps=max(20, horizon))
        objective = DenoisingObjective(recipe.diffusion, recipe.label_dropout)
        for state in fit(self.model.denoiser, objective, (z, y), config, progress=False):
            self.steps, self.ema = state.step, state.ema
            yield

    def sample(self, n: int) -> Tensor:
        self.model.denoiser.load_state_dict(self.ema.state_dict())
        return self.model.sample(n, seed=0)


def time_left_in_steps(contender: OurLDM, z: Tensor, y: Tensor, recipe, seconds: float) -> int:
    """How many steps fit into what is left of `seconds`: the cosine rate needs to know its end."""
    objective = DenoisingObjective(recipe.diffusion, recipe.label_dropout)
    trial, times = replace(recipe.training, steps=12), []
    network = deepcopy(contender.model.denoiser)
    for _ in fit(network, objective, (z, y), trial, progress=False):
        times.append(perf_counter())
    step_seconds = (times[-1] - times[4]) / (len(times) - 5)
    return int((seconds - (perf_counter() - contender.started)) / step_seconds)


class OurPixels(Contender):
    """This course's UNet on the pixels themselves, at a constant rate: it may train on and on."""

    def train(self, seconds: float) -> Iterator[None]:
        digits = mnist()
        recipe = recipes.mnist_pixels()
        self.model = assemble(digits, Autoencoder(recipe.autoencoder), recipe)
        self.average = deepcopy(self.model)
        self.parameters = count_parameters(self.model)
        objective = DenoisingObjective(recipe.diffusion, recipe.label_dropout)
        config = replace(recipe.training, steps=10**6, warmup=1e-4, lr_schedule="constant")
        data = digits.as_tensors()
        for state in fit(self.model.denoiser, objective, data, config, progress=False):
            self.steps, self.ema = state.step, state.ema
            yield

    def sample(self, n: int) -> Tensor:
        self.average.denoiser.load_state_dict(self.ema.state_dict())
        return self.average.sample(n, seed=0)


class _Peer(Contender):
    """A network of another library in a plain loop: AdamW, batch 128, EMA, float32."""

    lr = 1e-3

    def train(self, seconds: float) -> Iterator[None]:
        x, y = mnist().as_tensors()
        torch.manual_seed(0)
        self.network = self.build()
        self.average = deepcopy(self.network).eval()
        self.parameters = count_parameters(self.network)
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.lr)
        while True:
            chosen = batch_indices(self.steps, len(x), 128, seed=0)
            loss = self.loss(x[chosen], y[chosen], seeded(0, self.steps))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay = ema_decay(self.steps, 0.99)
            for slow, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                slow.data.lerp_(now.data, 1 - decay)
            self.steps += 1
            yield


class Diffusers(_Peer):
    """diffusers' UNet2DModel of the popular tutorial (32-64-64), DDPM schedule, DDIM sampling."""

    def build(self) -> nn.Module:
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

        self.schedule = DDPMScheduler(num_train_timesteps=1000)
        self.sampler = DDIMScheduler(num_train_timesteps=1000)
        return UNet2DModel(
            sample_size=32, in_channels=1, out_channels=1, layers_per_block=2,
            block_out_channels=(32, 64, 64), num_class_embeds=10,
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        )  # fmt: skip

    def loss(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(x.shape, generator=generator)
        t = torch.randint(0, 1000, (len(x),), generator=generator)
        output = self.network(self.schedule.add_noise(x, noise, t), t, y).sample
        return ((output - noise) ** 2).mean()

    @torch.no_grad()
    def sample(self, n: int, steps: int = 20) -> Tensor:
        self.sampler.set_timesteps(steps)
        pictures = []
        for part in torch.arange(n).split(250):
            x = torch.randn(len(part), 1, 32, 32, generator=seeded(1, int(part[0])))
            for t in self.sampler.timesteps:
                output = self.average(x, t, part % 10).sample
                x = self.sampler.step(output, t, x).prev_sample
            pictures.append(x.clamp(-1, 1))
        return torch.cat(pictures)


class SmallDiffusion(_Peer):
    """smalldiffusion's Unet as in its own example: scaled input, log-linear noise levels."""

    lr = 7e-4

    def build(self) -> nn.Module:
        from smalldiffusion import Scaled, ScheduleLogLinear
        from smalldiffusion.model_unet import Unet

        self.schedule = ScheduleLogLinear(sigma_min=0.01, sigma_max=20, N=800)
        return Scaled(Unet)(32, 1, 1, ch=32, ch_mult=(1, 2, 2), attn_resolutions=(8,))

    def loss(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        torch.manual_seed(generator.initial_seed())
        sigma = self.schedule.sample_batch(x).view(-1, 1, 1, 1)
        return type(self.network).get_loss(self.network, x, sigma, torch.randn_like(x))

    @torch.no_grad()
    def sample(self, n: int, steps: int = 20) -> Tensor:
        from smalldiffusion import samples

        torch.manual_seed(1)
        pictures = []
        for part in torch.arange(n).split(250):
            *_, last = samples(
                self.average, self.schedule.sample_sigmas(steps), gam=1.6, batchsize=len(part)
            )
            pictures.append(last.clamp(-1, 1).cpu())
        return torch.cat(pictures)


CONTENDERS = {
    "ldmlib latent": OurLDM,
    "ldmlib pixels": OurPixels,
    "diffusers UNet2DModel": Diffusers,
    "smalldiffusion Unet": SmallDiffusion,
}
