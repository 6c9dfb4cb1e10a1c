"""Editing pictures with a model that was trained to draw them.

| function         | what it does                                  | source                     |
|------------------|-----------------------------------------------|----------------------------|
| `image_to_image` | add noise up to a time, take it off again     | SDEdit, arXiv 2108.01073   |
| `inpaint`        | draw the hole, keep the rest bit for bit      | RePaint, arXiv 2201.09865  |
| `super_resolve`  | draw a large picture that fits a small one    | arXiv 2112.10752, sec. 4.4 |
| `invert`         | the noise that a picture is drawn from        | DDIM, arXiv 2010.02502     |
| `slerp`          | from one noise to another, on the sphere      |                            |

Pictures come and go as (n, C, H, W) in [-1, 1]; what comes out is float32 on the CPU. All take the
options of `Options` by name, and picture i depends on the seed and i, not on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ldmlib.applications.editing.conditioning import (
    beside,
    check_mask,
    latent_mask,
    patched,
    shown_hole,
    shown_small,
)
from ldmlib.diffusion.repaint import led, places
from ldmlib.diffusion.samplers import Predict, Sampler, get_sampler, initial_noise, sample
from ldmlib.diffusion.schedule import Schedule, per_image
from ldmlib.diffusion.spacing import check_whole, cut, spaced_times
from ldmlib.images import check_images
from ldmlib.latent.config import Labels
from ldmlib.latent.model import LatentDiffusion
from ldmlib.rng import Generator, per_sample_generators, randn_like

Ask = Callable[..., Predict]  # ask(shown=None): what a sampler calls, of a part of the pictures
INVERTIBLE = ("euler", "heun")  # samplers whose steps can also be walked upwards


@dataclass(frozen=True)
class Options:
    """How to ask, and how to step: for every function here, as in `LatentDiffusion.sample`.

    Args:
        labels, prompt: one for all pictures or one for each, labels by number or name; None leaves
            open what is drawn.
        steps: of the grid from 1 to 0; an edit that begins at a later time takes its last ones.
        guidance: None is the model's own, if there are labels or a prompt.
        sampler, spacing: names (or a function); None is the function's own choice.
        start: number of the first picture, to edit a run in several calls.
        batch_size: pictures at a time.
    """

    labels: Labels | None = None
    prompt: str | list[str] | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    sampler: str | Sampler | None = None
    spacing: str = "trailing"
    start: int = 0
    batch_size: int = 250

    def times(self, model: LatentDiffusion, default: int | None = None) -> Tensor:
        """The grid of times, falling from 1 to 0."""
        steps = (default or model.config.steps) if self.steps is None else self.steps
        return spaced_times(self.spacing, steps, model.diffusion.curves)

    def stepper(self, model: LatentDiffusion, default: str | None = None) -> Sampler:
        """The sampler."""
        return get_sampler(self.sampler or default or model.config.sampler)

    def condition(self, model: LatentDiffusion, n: int) -> Tensor | None:
        """What n pictures are asked with."""
        if self.labels is None and self.prompt is None:
            return None
        return model.condition(n, self.labels, self.prompt, self.seed, self.start)


# --------------------------------------------------------------------------- edits
def image_to_image(
    model: LatentDiffusion, x: Tensor, strength: float = 0.6, **options: object
) -> Tensor:
    """Add noise up to the time t = `strength`, then draw from there.

    At 0 pictures only pass through the first stage, and no network is asked; at 1 nothing of them
    is left, and the result is that of `model.sample`.

    Raises:
        TypeError, ValueError: pictures, strength or options that do not fit the model.
    """
    how = Options(**options)
    _check(model, x)
    times, run, curves = cut(how.times(model), strength), how.stepper(model), _curves(model)

    def edit(part: slice, ask: Ask, generator: Generator) -> Tensor:
        z = model.encode(x[part])
        return sample(ask(), noised(model, z, strength, generator), times, curves, generator, run)

    return model.decode(_in_parts(model, len(x), how, edit))


def inpaint(
    model: LatentDiffusion,
    x: Tensor,
    mask: Tensor,
    strength: float = 1.0,
    *,
    jump: int = 1,
    repeats: int = 4,
    **options: object,
) -> Tensor:
    """Draw pictures anew where `mask` is True; all other pixels are bit-equal to x.

    A model that `fills_holes` is shown the picture with its hole. Any other is led (RePaint): after
    each step the known part is put in, with the noise of the time that the step led to; and each
    few steps are taken several times, so that both parts come to fit together.

    Args:
        mask: bool (n, 1, H, W) or (1, 1, H, W), True where to draw. One pixel makes its whole cell
            of the latent one that is drawn.
        strength: below 1, what stands in the hole is not forgotten but changed, see
            `image_to_image`.
        jump, repeats: steps that are taken again, and how often in all; 1 for once. Only where the
            model is led; there 20 steps of `ddpm` are the default.

    Raises:
        TypeError, ValueError: pictures, mask, strength or options that do not fit the model.
    """
    how, shown = Options(**options), model.config.fills_holes
    _check(model, x, "fills_holes" if shown else "")
    check_mask(mask, len(x), model.config.size)
    mask = mask.expand(len(x), -1, -1, -1).to(x.device)
    times = cut(how.times(model, None if shown else 20), strength)
    run, curves = how.stepper(model, None if shown else "ddpm"), _curves(model)
    order = places(len(times) - 1, jump, repeats)

    def edit(part: slice, ask: Ask, generator: Generator) -> Tensor:
        old, hole = x[part], mask[part]
        z = noised(model, model.encode(old), strength, generator)
        if shown:
            return sample(ask(shown_hole(model, old, hole)), z, times, curves, generator, run)
        where = latent_mask(model.config.padded(hole), model.config.autoencoder.factor)
        known = model.encode(patched(old, hole)), where
        return led(ask(), z, *known, times, order, model.diffusion, generator, run)

    return torch.where(
        mask.cpu(), model.decode(_in_parts(model, len(x), how, edit)), x.cpu().float()
    )


def super_resolve(model: LatentDiffusion, small: Tensor, **options: object) -> Tensor:
    """Large pictures (n, C, H, W) for small ones (n, C, s, s), by a model that `enlarges` them.

    Details that the small picture does not hold are drawn, not found: another seed, other details.

    Raises:
        TypeError, ValueError: another model, or pictures or options that do not fit it.
    """
    how = Options(**options)
    _check(model, small, "enlarges")
    times, run, curves = how.times(model), how.stepper(model), _curves(model)

    def edit(part: slice, ask: Ask, generator: Generator) -> Tensor:
        shown = shown_small(model, small[part])
        noise = initial_noise(shown, curves, generator)
        return sample(ask(shown), noise, times, curves, generator, run)

    return model.decode(_in_parts(model, len(small), how, edit))


# --------------------------------------------------------------------------- there and back
def invert(model: LatentDiffusion, x: Tensor, **options: object) -> Tensor:
    """The noise (n, c, h, w) from which the model draws x: the steps from 1 to 0, walked upwards.

    `from_noise` with the same options leads back, nearly: see `round_trip_error`. Default: 50 steps
    of `euler`, which are DDIM's. Nothing is drawn at random, so the seed makes no difference.

    Raises:
        TypeError, ValueError: pictures or options that do not fit; a sampler that cannot go back.
    """
    how = Options(**options)
    _check(model, x)
    if (how.sampler or "euler") not in INVERTIBLE:
        raise ValueError(
            f"sampler {how.sampler!r} cannot be walked upwards; {' and '.join(INVERTIBLE)} can "
            "(euler takes DDIM's steps)"
        )
    times, run = how.times(model, 50).flip(0), how.stepper(model, "euler")

    def edit(part: slice, ask: Ask, generator: Generator) -> Tensor:
        return sample(ask(), model.encode(x[part]), times, _curves(model), None, run)

    return _in_parts(model, len(x), how, edit)


def from_noise(model: LatentDiffusion, noise: Tensor, **options: object) -> Tensor:
    """Pictures drawn from given noise (n, c, h, w); default: as `invert`, 50 steps of `euler`."""
    return model.decode(_latents_of(model, noise, Options(**options))).cpu()


def round_trip_error(model: LatentDiffusion, x: Tensor, **options: object) -> Tensor:
    """How far `invert` and back leads from x: root mean square in the scaled latents, (n,)."""
    back = _latents_of(model, invert(model, x, **options), Options(**options))
    return (back - model.encode(x).cpu()).square().flatten(1).mean(1).sqrt()


def _latents_of(model: LatentDiffusion, noise: Tensor, how: Options) -> Tensor:
    _check_kind(model, "")
    model.autoencoder.check_latents(noise)
    times, run = how.times(model, 50), how.stepper(model, "euler")

    def edit(part: slice, ask: Ask, generator: Generator) -> Tensor:
        return sample(ask(), noise[part], times, _curves(model), generator, run)

    return _in_parts(model, len(noise), how, edit)


def slerp(a: Tensor, b: Tensor, share: float | Tensor) -> Tensor:
    """From a (share 0) to b (share 1), both (n, ...), along the great circle through them.

    The straight way leads through the inside of the sphere: half-way between two noises lies one
    with half the variance, which no sampler starts from. Here, length is kept.

    Raises:
        ValueError: other shapes, share outside [0, 1], length 0, opposite directions.
    """
    share = torch.as_tensor(share, dtype=torch.float64, device=a.device)
    if a.shape != b.shape or share.shape not in ((), (len(a),)):
        raise ValueError(
            f"a and b must have one shape, share one number or one for each of them, not "
            f"{tuple(a.shape)}, {tuple(b.shape)} and {tuple(share.shape)}"
        )
    if not bool(((share >= 0) & (share <= 1)).all()):
        raise ValueError(f"share is 0 (a) to 1 (b), not {share.tolist()}")
    flat = [v.double().flatten(1) for v in (a, b)]
    lengths = [v.norm(dim=1, keepdim=True) for v in flat]
    if min(float(length.min()) for length in lengths) == 0:
        raise ValueError("a vector of length 0 has no direction to turn from")
    u, v = (v / length for v, length in zip(flat, lengths, strict=True))
    angle = 2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))
    if bool((torch.pi - angle < 1e-6).any()):
        raise ValueError("a and b point in opposite directions: no way between them is shortest")
    near = angle < 1e-6  # then arc and chord are one
    sine = torch.where(near, 1.0, angle.sin())
    to_a = torch.where(near, 1 - share, ((1 - share) * angle).sin() / sine)
    to_b = torch.where(near, share, (share * angle).sin() / sine)
    return (per_image(to_a, a) * a + per_image(to_b, b) * b).to(a.dtype)


# --------------------------------------------------------------------------- parts
def noised(model: LatentDiffusion, z: Tensor, t: float, generator: Generator) -> Tensor:
    """Scaled latents z with the noise of time t; at 1 the noise that `sample` starts from."""
    if t == 1:
        return initial_noise(z, model.diffusion.curves, generator)
    return model.diffusion.add_noise(
        z, randn_like(z, generator), torch.tensor(t, dtype=torch.float64)
    )


@torch.no_grad()
def _in_parts(model: LatentDiffusion, n: int, how: Options, edit: Callable[..., Tensor]) -> Tensor:
    """Latents on the CPU that ``edit(part, ask, generators)`` makes of each part of n pictures."""
    check_whole(how.batch_size, "batch_size", "pictures at a time")
    cond, done, was_training = how.condition(model, n), [], model.training
    model.eval()
    try:
        for first in range(0, n, how.batch_size):
            part = slice(first, min(first + how.batch_size, n))
            generators = per_sample_generators(how.seed, part.stop - first, how.start + first)
            ask = partial(_ask, model, None if cond is None else cond[part], how.guidance)
            done.append(edit(part, ask, generators).cpu())
    finally:
        model.train(was_training)
    return torch.cat(done)


def _ask(model: LatentDiffusion, cond: Tensor | None, guidance, shown: Tensor | None = None):
    return model.predictor(cond, guidance, None if shown is None else beside(model.denoise, shown))


def _curves(model: LatentDiffusion) -> Schedule:
    return model.diffusion.curves


def _check(model: LatentDiffusion, x: Tensor, kind: str = "") -> None:
    """Raise unless the model is of that kind, and x are pictures for it."""
    _check_kind(model, kind)
    size = model.config.enlarges if kind == "enlarges" else model.config.size
    check_images(x, channels=model.config.autoencoder.channels, size=size, what="pictures")


def _check_kind(model: LatentDiffusion, kind: str) -> None:
    found = model.config.shown
    if found == kind:
        return
    can = {
        "": "draws from nothing; make one that enlarges with conditioning.conditioned",
        "enlarges": "enlarges small pictures, which is all it can do: super_resolve",
        "fills_holes": "fills holes, which is all it can do: inpaint",
    }
    raise ValueError(f"this model {can[found]}")
