"""A denoiser that is shown something beside the noise: a small picture, or a picture with a hole.

    x_t         (n, c, h, w) --.
                                +--> UNet, c + k channels in, c out --> (n, c, h, w)
    what is shown (n, k, h, w) --'

What is shown is as high and wide as a latent, and the same at all times (arXiv 2112.10752):

| model         | is shown                                  | k     | section |
|---------------|-------------------------------------------|-------|---------|
| `enlarges`    | the latent of the small picture, enlarged | c     | 4.4     |
| `fills_holes` | the latent of the patched picture, a mask | c + 1 | 4.5     |

    model = conditioned(LatentDiffusion.from_pretrained("mnist"), enlarges=8)
    train_conditioned(model, x, y, TrainConfig(steps=1000))     # then editing.super_resolve
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ldmlib.diffusion.process import Denoiser
from ldmlib.images import check_images, resize
from ldmlib.latent.model import LatentDiffusion
from ldmlib.rng import Generator, rand, seeded
from ldmlib.storage.wrappers import load_plain, plain_names
from ldmlib.training.config import TrainConfig, TrainState
from ldmlib.training.denoising import DenoisingObjective
from ldmlib.training.run import train

STEM = "denoiser.stem.weight"


# --------------------------------------------------------------------------- masks
def check_mask(mask: Tensor, n: int, size: int) -> Tensor:
    """Return `mask` unchanged if it is bool (n, 1, size, size) or (1, 1, size, size).

    True is to be drawn anew, False is kept.

    Raises:
        TypeError, ValueError: another type or shape.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        came = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(
            f"mask: expected torch.bool, True where to draw anew, got {came}; use mask > 0.5"
        )
    if mask.ndim != 4 or mask.shape[0] not in (1, n) or mask.shape[1:] != (1, size, size):
        raise ValueError(
            f"mask: expected shape (1, 1, {size}, {size}), or ({n}, 1, {size}, {size}) for a mask "
            f"for each picture, got {tuple(mask.shape)}"
        )
    return mask


def latent_mask(mask: Tensor, factor: int) -> Tensor:
    """bool (n, 1, H, W) -> (n, 1, H/f, W/f): drawn anew as soon as one of its f x f pixels is."""
    return F.max_pool2d(mask.float(), factor) > 0


def patched(x: Tensor, mask: Tensor) -> Tensor:
    """Fill the holes of pictures (n, C, H, W) smoothly; what stood there leaves no trace.

    From the edge inwards, each pixel becomes the mean of its neighbours that are known by then.
    Where nothing is known at all, grey (0) is put.
    """
    known = (~mask).to(x).expand(len(x), 1, -1, -1)
    filled = torch.where(mask, 0.0, x)
    for _ in range(max(x.shape[2:])):
        if bool((known > 0).all()):
            break
        share = F.avg_pool2d(known, 3, 1, 1)
        mean = F.avg_pool2d(filled, 3, 1, 1) / share.clamp(min=1e-6)
        filled = torch.where(known > 0, filled, torch.where(share > 0, mean, 0.0))
        known = (share > 0).to(x)
    return filled


def centre_mask(size: int) -> Tensor:
    """Hides the middle, half as high and as wide as the picture: bool (1, 1, size, size)."""
    mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
    inside = slice(size // 4, size - size // 4)
    mask[..., inside, inside] = True
    return mask


def random_masks(n: int, size: int, generator: Generator = None) -> Tensor:
    """Masks to learn from, bool (n, 1, size, size): one to three boxes each, in one of ten all.

    A box is an eighth to three quarters of the side high and wide; its middle is anywhere, so that
    the pixels at the edge are hidden, too.
    """
    place, mask = torch.arange(size), torch.zeros(n, size, size, dtype=torch.bool)
    for chance in (1.0, 0.5, 0.5):
        u = torch.stack([rand(n, generator) for _ in range(5)], 1)
        length = (size * (0.125 + 0.625 * u[:, :2])).clamp(min=1)
        first = (size - 1) * u[:, 2:4] - length / 2
        inside = (place >= first[..., None]) & (place < (first + length)[..., None])
        box = inside[:, 0, :, None] & inside[:, 1, None, :]
        mask |= box & (u[:, 4] < chance)[:, None, None]
    return (mask | (rand(n, generator) < 0.1)[:, None, None])[:, None]


# --------------------------------------------------------------------------- what is shown
def shown_small(model: LatentDiffusion, small: Tensor) -> Tensor:
    """Latents (n, c, h, w) of small pictures (n, C, s, s), enlarged to the model's size."""
    return model.encode(resize(small, model.config.size))


def shown_hole(model: LatentDiffusion, x: Tensor, mask: Tensor) -> Tensor:
    """(n, c + 1, h, w): latents of pictures (n, C, H, W) with patched holes, and where these are.

    What stands in the holes makes no difference.
    """
    z = model.encode(patched(x, mask))
    where = latent_mask(model.config.padded(mask), model.config.autoencoder.factor)
    return torch.cat([z, where.to(z).expand(len(z), -1, -1, -1)], 1)


def beside(denoise: Denoiser, shown: Tensor) -> Denoiser:
    """A denoiser of x_t alone, made from one that wants `shown`, (n, k, h, w), beside it.

    Guidance asks for 2 n pictures at once; both halves are shown the same.
    """

    def inner(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        both = shown.repeat(len(x) // len(shown), 1, 1, 1)
        return denoise(torch.cat([x, both.to(x)], 1), t, cond)

    return inner


# --------------------------------------------------------------------------- training
def conditioned(
    base: LatentDiffusion, enlarges: int = 0, fills_holes: bool = False
) -> LatentDiffusion:
    """A model that can be shown something, and knows already what `base` knows.

    Its weights are the base's; those for the new channels are 0. So at first it draws what the base
    draws, whatever it is shown, and training only has to teach it to look.

    Args:
        enlarges: side of the small pictures, for a model for super-resolution.
        fills_holes: whether to make a model for inpainting.

    Raises:
        ValueError: neither or both, a side that is not smaller, a base that is shown something.
    """
    if bool(enlarges) == fills_holes:
        raise ValueError("a model enlarges small pictures or fills holes: choose one of the two")
    if enlarges and not 1 <= enlarges < base.config.size:
        raise ValueError(f"enlarges is a side of 1 to {base.config.size - 1}, not {enlarges}")
    if base.config.unet.beside:
        raise ValueError("this model is shown something already: begin with a plain one")
    channels = base.config.unet.in_channels
    width = 2 * channels + fills_holes
    unet = replace(base.config.unet, in_channels=width, out_channels=channels)
    config = replace(base.config, unet=unet, enlarges=enlarges, fills_holes=fills_holes, facts={})
    model, state = LatentDiffusion(config), plain_names(base.state_dict())
    state[STEM] = F.pad(state[STEM], (0, 0, 0, 0, 0, width - channels))
    model.load_state_dict(state)
    return model.to(base.device).eval()


@dataclass(frozen=True)
class BesideObjective:
    """The denoiser's loss on pairs (n, c + k, h, w): c channels to denoise, k to be shown.

    An objective for `training.fit`.
    """

    denoising: DenoisingObjective
    channels: int

    def __call__(self, model, pairs: Tensor, y: Tensor | None, generator: Generator, step: int):
        z, shown = pairs[:, : self.channels], pairs[:, self.channels :]
        return self.denoising(beside(model, shown), z, y, generator, step)


def training_pairs(model: LatentDiffusion, x: Tensor, seed: int = 0) -> Tensor:
    """Latents of pictures (n, C, H, W), and beside them what the model is shown of each.

    Small pictures are made by the one `images.resize`; holes are drawn by `random_masks`.
    """
    config = model.config
    check_images(x, channels=config.autoencoder.channels, size=config.size, what="pictures")
    if config.enlarges:
        shown = shown_small(model, resize(x, config.enlarges))
    elif config.fills_holes:
        shown = shown_hole(model, x, random_masks(len(x), config.size, seeded(seed, 5)))
    else:
        raise ValueError("this model is shown nothing: make one that is with `conditioned`")
    return torch.cat([model.encode(x), shown], 1)


def train_conditioned(
    model: LatentDiffusion,
    x: Tensor,
    y: Tensor | None,
    training: TrainConfig,
    *,
    copies: int = 1,
    label_dropout: float = 0.1,
    **options: object,
) -> TrainState:
    """Train a model of `conditioned` on pictures (n, C, H, W); the averaged weights end in it.

    Args:
        y: labels (n,), or tokens (n, L), or None.
        copies: how often each picture comes, each time with other holes.
        options: go to `training.fit`.
    """
    pairs = torch.cat([training_pairs(model, x, training.seed + i) for i in range(copies)])
    y = None if y is None else y.repeat(copies, *[1] * (y.ndim - 1))
    denoising = DenoisingObjective(model.diffusion, label_dropout)
    objective = BesideObjective(denoising, model.latent_shape[0])
    state = train(model.denoiser, objective, (pairs, y), training, **options)
    load_plain(model.denoiser, state.ema.state_dict(), "denoiser")
    model.eval()
    return state
