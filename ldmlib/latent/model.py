"""The latent diffusion model: autoencoder, denoiser and schedule as one thing to use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from ldmlib.diffusion.guidance import clipped, predictor
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.samplers import Predict, Sampler, SampleState, get_sampler, initial_noise
from ldmlib.diffusion.spacing import check_whole, spaced_times
from ldmlib.latent.config import Labels, LatentDiffusionConfig
from ldmlib.networks.autoencoder import Autoencoder
from ldmlib.networks.batches import in_batches
from ldmlib.networks.unet import UNet
from ldmlib.rng import per_sample_generators, seeded
from ldmlib.runtime import best_device
from ldmlib.storage.saved_models import load_pair, model_folder, save_pair

BUNDLED = ("mnist", "mnist_pixels", "emoji", "mnist_enlarges", "mnist_fills_holes")
MOST_GUIDANCE = 1000  # far above it, numbers no longer fit into float32
PRECISIONS = ("float32", "bfloat16")


class LatentDiffusion(nn.Module):
    """Pictures from noise: a denoiser in the latent space of an autoencoder (2112.10752).

    Latents are scaled channel by channel to mean 0 and variance 1 on the training set before the
    denoiser sees them; `encode` and `decode` do and undo it. The model may be on a GPU: what
    `encode`, `decode` and `denoise` are given is taken there, and the result comes back.

    Attributes:
        precision: of sampling. ``float32``, or ``bfloat16``, which is 1.4 to 2 times as fast where
            the hardware has it, and rounds: about one pixel in six changes, by up to a fifth of the
            way from black to white.
    """

    precision = "float32"

    def __init__(self, config: LatentDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = Autoencoder(config.autoencoder)
        self.denoiser = UNet(config.unet)
        channels = config.autoencoder.latent_channels
        self.register_buffer("latent_mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(1, channels, 1, 1))

    @property
    def diffusion(self) -> Diffusion:
        """Schedule and parametrisation."""
        return self.config.diffusion

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.latent_mean.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are: float32, unless `half`, `bfloat16` or `double` was called."""
        return self.latent_mean.dtype

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one latent."""
        side = self.config.padded_size // self.config.autoencoder.factor
        return (self.config.autoencoder.latent_channels, side, side)

    # ----- pictures <-> latents
    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Scaled latents (n, c, h, w) of pictures (n, C, H, W) in [-1, 1]: posterior means.

        Both are float32, whatever the weights are (`half`, `double`).
        """

        def scaled(part: Tensor) -> Tensor:
            padded = self.config.padded(part.to(self.device, self.dtype))
            z = self.autoencoder.encode(padded).mode().to(self.dtype)
            return ((z - self.latent_mean) / self.latent_std).float().to(part.device)

        return in_batches(scaled, x)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Pictures (n, C, H, W) in [-1, 1] of scaled latents (n, c, h, w)."""
        self.autoencoder.check_latents(z)

        def pictures(part: Tensor) -> Tensor:
            unscaled = part.to(self.device, self.dtype) * self.latent_std + self.latent_mean
            x = self.config.cropped(self.autoencoder.decode(unscaled))
            return x.float().clamp(-1, 1).to(part.device)

        with self._autocast():
            return in_batches(pictures, z)

    @torch.no_grad()
    def fit_latent_scale(self, x: Tensor) -> Tensor:
        """Set the latents' mean and std, channel by channel, from all of x; returns `encode(x)`.

        With f = 1 (pixels) the scale stays 1, as pictures are in [-1, 1] by definition.
        """
        self.latent_mean.zero_(), self.latent_std.fill_(1.0)
        z = self.encode(x)
        if self.config.autoencoder.factor > 1:
            self.latent_mean.copy_(z.mean((0, 2, 3), keepdim=True))
            self.latent_std.copy_(z.std((0, 2, 3), keepdim=True).clamp(min=1e-6))
        return (z - self.latent_mean.to(z)) / self.latent_std.to(z)

    # ----- sampling
    def sample(
        self,
        n: int,
        labels: Labels | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        *,
        prompt: str | list[str] | None = None,
        sampler: str | Sampler | None = None,
        spacing: str = "trailing",
        batch_size: int = 250,
        start: int = 0,
    ) -> Tensor:
        """Draw n pictures, (n, C, H, W) float32 in [-1, 1], on the CPU.

        Args:
            labels: a class for all or one for each, by number or name; None draws them as often as
                in training (`draw_labels`); -1 or "any" leaves the class open.
            prompt: for a model that is asked in words, one for all or one for each; None draws
                anything.
            steps: steps of the sampler; more is slower and not always better.
            guidance: 1 samples p(x | label); above 1 is more typical and less varied, and takes
                two evaluations a time. A number acts at all times; None is the model's own
                guidance, which may act between two times only (`guidance_interval`).
            sampler, spacing: names in `ldmlib.diffusion.samplers` (or a function) and in
                `ldmlib.diffusion.spacing`.
            seed: picture i depends on the seed, its label and i, not on n or `batch_size`.
            start: number of the first picture, to draw a run in several calls.

        Raises:
            ValueError: n < 1, no steps, labels outside the classes, a prompt that cannot be read,
                unknown sampler or spacing, guidance of a model without labels, a model that is
                shown pictures (`conditioning`).
        """
        cond = self.condition(n, labels, prompt, seed, start)
        check_whole(batch_size, "batch_size", "pictures at a time")
        pictures = []
        for first in range(0, n, batch_size):
            part = None if cond is None else cond[first : first + batch_size]
            count = min(batch_size, n - first)
            how = {"sampler": sampler, "spacing": spacing, "start": start + first}
            *_, last = self._film(count, part, steps, guidance, seed, **how)
            pictures.append(self.decode(last.x).cpu())
        return torch.cat(pictures)

    def draw_labels(self, n: int, seed: int = 0, start: int = 0) -> Tensor | None:
        """The labels that ``sample(n, None, seed=seed)`` uses: (n,) int64, None without classes."""
        if not self.config.classes:
            return None
        weights = torch.tensor(self.config.class_weights or [1.0] * len(self.config.classes))
        generator, end = seeded(seed, 4), start + n
        many = max(2, end)  # for a single draw, torch.multinomial uses its generator otherwise
        return torch.multinomial(weights, many, replacement=True, generator=generator)[start:end]

    @torch.no_grad()
    def film(
        self,
        n: int,
        labels: Labels | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        *,
        prompt: str | list[str] | None = None,
        sampler: str | Sampler | None = None,
        spacing: str = "trailing",
        start: int = 0,
    ) -> Iterator[SampleState]:
        """The states of `sample`, step by step, in the space of scaled latents."""
        cond = self.condition(n, labels, prompt, seed, start)
        how = {"sampler": sampler, "spacing": spacing, "start": start}
        return self._film(n, cond, steps, guidance, seed, **how)

    @torch.no_grad()
    def _film(
        self, n: int, cond: Tensor | None, steps, guidance, seed: int, sampler, spacing, start: int
    ) -> Iterator[SampleState]:
        run = get_sampler(sampler or self.config.sampler)
        schedule = self.diffusion.curves
        times = spaced_times(spacing, self.config.steps if steps is None else steps, schedule)
        cond = None if cond is None else cond.to(self.device)
        generator = per_sample_generators(seed, n, start)
        like = torch.empty(n, *self.latent_shape, device=self.device)
        noise = initial_noise(like, schedule, generator)
        predict = self.predictor(cond, guidance)
        was_training = self.training
        self.eval()
        try:
            yield from run(predict, noise, times, schedule, generator)
        finally:
            self.train(was_training)

    def predictor(
        self, cond: Tensor | None = None, guidance: float | None = None, denoise=None
    ) -> Predict:
        """``predict(x, t)`` for the samplers, with labels (n,) or tokens (n, L), see `condition`.

        On pixels x0_hat is kept inside [-1, 1]; latents have no bounds. `denoise` is asked in place
        of the model's own, see `conditioning.beside`.
        """
        if denoise is None and self.config.shown:
            can = {"enlarges": "super_resolve", "fills_holes": "inpaint"}[self.config.shown]
            raise ValueError(f"this model is shown pictures: use editing.{can}, or `ldm edit`")
        interval = (0.0, 1.0)
        if guidance is None:
            guidance = 1.0 if cond is None else self.config.guidance
            interval = self.config.guidance_interval
        if not abs(guidance) <= MOST_GUIDANCE:  # nan and inf among them
            raise ValueError(
                f"guidance is a number, 1 for none and {MOST_GUIDANCE:,} at most, not {guidance}"
            )
        predict = predictor(self.diffusion, denoise or self.denoise, cond, guidance, interval)
        on_pixels = self.config.autoencoder.factor == 1
        return clipped(predict, self.diffusion.curves) if on_pixels else predict

    def denoise(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The denoiser's output, float32, without gradients."""
        cond = None if cond is None else cond.to(self.device)
        with torch.no_grad(), self._autocast():
            output = self.denoiser(x.to(self.device, self.dtype), t.to(self.device), cond)
        return output.float().to(x.device)

    def _autocast(self) -> torch.autocast:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision is {' or '.join(PRECISIONS)}, not {self.precision!r}; to draw with "
                "weights of another type, convert the model: model.half()"
            )
        half = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def condition(
        self, n: int, labels=None, prompt: str | list[str] | None = None, seed: int = 0, start=0
    ) -> Tensor | None:
        """What n pictures are asked with: labels (n,), tokens (n, L), or None. See `sample`.

        Raises:
            TypeError: n is no whole number.
            ValueError: n < 1, labels or prompts that the model does not know, or not n of them.
        """
        check_whole(n, "n", "pictures")
        if prompt is not None:
            prompts = [prompt] * n if isinstance(prompt, str) else list(prompt)
            if len(prompts) != n:
                raise ValueError(
                    f"{len(prompts)} prompts for {n} pictures: one for all or for each"
                )
            return self.config.tokens(prompts)
        if labels is None:
            return self.draw_labels(n, seed, start)
        return self.config.labels(labels, n)

    # ----- files
    def save_pretrained(self, folder: str | Path, half: bool = False) -> None:
        """Write ``model.safetensors`` and ``config.json`` with its hash: both or none.

        With `half`, weights are rounded to float16: half the size, and three digits are plenty
        for drawing. They are float32 again when loaded. A wrapper around a part of the model
        (`torch.compile`, `DataParallel`) leaves no trace in the files.
        """
        save_pair(folder, self.state_dict(), asdict(self.config), half)

    @classmethod
    def from_pretrained(cls, source: str | Path, device: str | torch.device | None = None):
        """A bundled model by name (``"mnist"``) or one from a folder; evaluation mode.

        It goes to `device`, or to a GPU if there is one (`runtime.best_device`).

        Raises:
            FileNotFoundError: no such name or folder (the message lists the bundled names).
            ValueError: files cut short, of another architecture or with another hash.
        """
        folder = model_folder(source, BUNDLED, "model")
        model = load_pair(folder, LatentDiffusionConfig, cls, "latent diffusion model")
        return model.to(device or best_device()).eval()
