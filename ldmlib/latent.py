"""The latent diffusion model: autoencoder, denoiser and schedule as one thing to use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ldmlib.autoencoder import Autoencoder, AutoencoderConfig
from ldmlib.diffusion import Diffusion
from ldmlib.features import in_batches
from ldmlib.files import (
    asset,
    load_into,
    load_json,
    load_tensors,
    save_json,
    save_tensors,
    sha256_of,
)
from ldmlib.images import check_labels
from ldmlib.rng import per_sample_generators, seeded
from ldmlib.sampling import (
    SampleState,
    clipped,
    get_sampler,
    initial_noise,
    predictor,
    time_grid,
)
from ldmlib.unet import UNet, UNetConfig

BUNDLED = ("mnist",)
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class LatentDiffusionConfig:
    """Everything that rebuilds a `LatentDiffusion` apart from its weights.

    Args:
        size: height and width of the pictures.
        classes: names of the classes, empty for an unconditional model.
        class_weights: share of each class in the training data, for `sample(labels=None)`.
        sampler, steps: what `sample` uses when not told otherwise.
        facts: anything worth keeping (seed, seconds, scores).
    """

    autoencoder: AutoencoderConfig
    unet: UNetConfig
    diffusion: Diffusion = field(default_factory=Diffusion)
    size: int = 32
    classes: tuple[str, ...] = ()
    class_weights: tuple[float, ...] = ()
    sampler: str = "heun"
    steps: int = 5
    facts: dict = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: dict) -> LatentDiffusionConfig:
        """The inverse of `dataclasses.asdict`, for what was read from ``config.json``."""
        parts = {
            "autoencoder": AutoencoderConfig(**values["autoencoder"]),
            "unet": UNetConfig(**values["unet"]),
            "diffusion": Diffusion(**values["diffusion"]),
            "classes": tuple(values["classes"]),
            "class_weights": tuple(values["class_weights"]),
        }
        return cls(**{**values, **parts})


class LatentDiffusion(nn.Module):
    """Pictures from noise: a denoiser in the latent space of an autoencoder (2112.10752).

    Latents are scaled channel by channel to mean 0 and variance 1 on the training set before the
    denoiser sees them; `encode` and `decode` do and undo it.

    Attributes:
        precision: of sampling. ``float32``, or ``bfloat16``, which is about twice as fast where the
            hardware has it, and rounds: the same picture may then differ a little between batches.
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
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one latent."""
        side = self.config.size // self.config.autoencoder.factor
        return (self.config.autoencoder.latent_channels, side, side)

    # ----- pictures <-> latents
    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Scaled latents (n, c, h, w) of pictures (n, C, H, W) in [-1, 1]: posterior means."""
        z = in_batches(lambda part: self.autoencoder.encode(part.to(self.device)).mode(), x)
        return (z - self.latent_mean) / self.latent_std

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Pictures (n, C, H, W) in [-1, 1] of scaled latents (n, c, h, w)."""
        z = z.to(self.device) * self.latent_std + self.latent_mean
        with self._autocast():
            return in_batches(self.autoencoder.decode, z).clamp(-1, 1)

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
        return (z - self.latent_mean) / self.latent_std

    # ----- sampling
    def sample(
        self,
        n: int,
        labels: Tensor | list[int] | int | None = None,
        steps: int | None = None,
        guidance: float = 1.0,
        seed: int = 0,
        *,
        sampler: str | None = None,
        batch_size: int = 250,
        start: int = 0,
    ) -> Tensor:
        """Draw n pictures, (n, C, H, W) float32 in [-1, 1], on the CPU.

        Args:
            labels: a class for all or one for each; None draws them as often as in training
                (`draw_labels`); -1 leaves the class open.
            steps: steps of the sampler; more is slower and not always better.
            guidance: 1 samples p(x | label); above 1 is more typical and less varied.
            seed: picture i depends on the seed, its label and i, not on n or `batch_size`.
            start: number of the first picture, to draw a run in several calls.

        Raises:
            ValueError: n < 1, labels outside the classes, unknown sampler.
        """
        labels = self._labels(n, labels, seed, start)
        pictures = []
        for first in range(0, n, batch_size):
            part = None if labels is None else labels[first : first + batch_size]
            count = min(batch_size, n - first)
            *_, last = self.film(
                count, part, steps, guidance, seed, sampler=sampler, start=start + first
            )
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
        labels: Tensor | list[int] | int | None = None,
        steps: int | None = None,
        guidance: float = 1.0,
        seed: int = 0,
        *,
        sampler: str | None = None,
        start: int = 0,
    ) -> Iterator[SampleState]:
        """The states of `sample`, step by step, in the space of scaled latents."""
        run = get_sampler(sampler or self.config.sampler)
        times = time_grid(self.config.steps if steps is None else steps)
        labels = self._labels(n, labels, seed, start)
        labels = None if labels is None else labels.to(self.device)
        generator = per_sample_generators(seed, n, start)
        schedule = self.diffusion.curves
        noise = initial_noise(
            torch.empty(n, *self.latent_shape, device=self.device), schedule, generator
        )
        predict = predictor(self.diffusion, self.denoise, labels, guidance)
        if self.config.autoencoder.factor == 1:
            predict = clipped(predict, schedule)
        was_training = self.training
        self.eval()
        try:
            yield from run(predict, noise, times, schedule, generator)
        finally:
            self.train(was_training)

    def denoise(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The denoiser's output, float32, without gradients."""
        with torch.no_grad(), self._autocast():
            return self.denoiser(x, t, cond).float()

    def _autocast(self) -> torch.autocast:
        half = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def _labels(self, n: int, labels, seed: int, start: int) -> Tensor | None:
        if n < 1:
            raise ValueError(f"n is the number of pictures, 1 or more, not {n}")
        if labels is None:
            return self.draw_labels(n, seed, start)
        if not self.config.classes:
            raise ValueError("this model was trained without labels: leave labels out")
        labels = torch.as_tensor(labels)
        known = check_labels(torch.where(labels == -1, 0, labels), len(self.config.classes), n)
        return torch.where(labels == -1, -1, known)

    # ----- files
    def save_pretrained(self, folder: str | Path, half: bool = False) -> None:
        """Write ``model.safetensors``, then ``config.json`` with its hash, each atomically.

        With `half`, weights are rounded to float16: half the size, and three digits are plenty
        for drawing. They are float32 again when loaded.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {k: v.half() if half else v for k, v in self.state_dict().items()}
        save_tensors(folder / WEIGHTS, tensors)
        config = {**asdict(self.config), "sha256": sha256_of(folder / WEIGHTS)}
        save_json(folder / "config.json", config)

    @classmethod
    def from_pretrained(cls, source: str | Path, device: str | torch.device = "cpu"):
        """A bundled model by name (``"mnist"``) or one from a folder; evaluation mode.

        Raises:
            FileNotFoundError: no such name or folder (the message lists the bundled names).
            ValueError: files cut short, of another architecture or with another hash.
        """
        folder = asset("weights", source) if source in BUNDLED else Path(source)
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"{source} is neither a bundled model ({', '.join(BUNDLED)}) nor a folder with "
                "config.json and model.safetensors, as save_pretrained writes them"
            )
        values = load_json(folder / "config.json")
        digest = values.pop("sha256", None)
        try:
            model = cls(LatentDiffusionConfig.from_dict(values))
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{folder / 'config.json'} does not describe a LatentDiffusion: {error}"
            ) from error
        load_into(model, load_tensors(folder / WEIGHTS, sha256=digest), "latent diffusion model")
        return model.to(device).eval()
