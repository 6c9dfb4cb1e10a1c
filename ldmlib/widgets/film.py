"""The sampler's steps to drag through, from noise to pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import ipywidgets
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from ldmlib.diffusion.samplers import initial_noise
from ldmlib.images import grid
from ldmlib.latent.model import LatentDiffusion
from ldmlib.rng import per_sample_generators
from ldmlib.widgets.drawing import imshow, png


def denoising_film(
    model: LatentDiffusion,
    labels: Sequence[int] = (3,),
    steps: int | None = None,
    seed: int = 0,
    guidance: float | None = None,
) -> ipywidgets.VBox:
    """A slider through the sampler's steps: the latent, what it decodes to, and the model's guess.

    The frames are made once, before the widget is returned; dragging only shows them.

    Args:
        labels: the classes to draw, a column each (how many pictures, if the model has none).
        steps, guidance: of the sampler; the model's own when left out.

    Returns:
        box whose children are the row of play button and slider, and the picture.
    """
    classes = list(labels) if model.config.classes else None
    frames = list(film_frames(model, len(labels), classes, None, steps, seed, guidance))
    last = len(frames) - 1
    play = ipywidgets.Play(value=last, min=0, max=last, interval=500)
    slider = ipywidgets.IntSlider(value=last, min=0, max=last, description="step")
    image = ipywidgets.Image(format="png", value=frames[last])
    image.layout = ipywidgets.Layout(max_width="100%", align_self="flex-start")  # not stretched

    def show(change: dict) -> None:
        image.value = frames[change["new"]]

    slider.observe(show, names="value")
    ipywidgets.jslink((play, "value"), (slider, "value"))
    return ipywidgets.VBox([ipywidgets.HBox([play, slider]), image])


def film_frames(
    model: LatentDiffusion,
    n: int,
    labels: list[int] | None,
    prompt: str | None,
    steps: int | None,
    seed: int,
    guidance: float | None,
) -> Iterator[bytes]:
    """A PNG of the pure noise, then one after each step of the sampler; n pictures a column each.

    Asked with labels, a prompt, or neither, as in `LatentDiffusion.sample`.
    """
    cond = model.condition(n, labels, prompt)
    cond = None if cond is None else cond.to(model.device)
    guess = model.predictor(cond, guidance)
    states = model.film(n, labels, steps, guidance, seed, prompt=prompt)
    noise = initial_noise(
        torch.empty(n, *model.latent_shape, device=model.device),
        model.diffusion.curves,
        per_sample_generators(seed, n),
    )
    drawing = _FilmDrawing(n)
    stages = [(noise, 1.0), *((state.x, state.t) for state in states)]
    for step, (x, t) in enumerate(stages):
        x0 = guess(x, torch.tensor(t)).x0 if t > 0 else x
        rows = (_tiled(x, model.config.size), model.decode(x).cpu(), model.decode(x0).cpu())
        yield drawing.png(rows, f"step {step} of {len(stages) - 1}, t = {t:.2f}")


class _FilmDrawing:
    """Three rows: latents, decoded x_t, decoded x0_hat."""

    NAMES = ("latent $x_t$", "decoded $x_t$", r"decoded guess $\hat x_0$")

    def __init__(self, n: int) -> None:
        width, left = 0.9 * n + 1.5, 1.5
        self.figure = Figure(figsize=(max(width, 3.4), 3.0), dpi=90)
        self.axes = self.figure.subplots(3, 1)
        self.figure.subplots_adjust(
            left=left / max(width, 3.4), right=0.99, bottom=0.01, top=0.9, hspace=0.06
        )

    def png(self, rows: Sequence[Tensor], title: str) -> bytes:
        for ax, row, name in zip(self.axes, rows, self.NAMES, strict=True):
            ax.clear()
            imshow(ax, grid(row, columns=len(row)))
            ax.set_anchor("W")
            ax.text(-0.02, 0.5, name, transform=ax.transAxes, ha="right", va="center", fontsize=9)
        self.axes[0].set_title(title, fontsize=10, loc="left")
        return png(self.figure)


def _tiled(z: Tensor, size: int) -> Tensor:
    """Latents (n, c, h, w) as grey pictures (n, 1, size, size), a tile for each channel.

    Grey is 0, black and white are -3 and 3.
    """
    n, c, h, w = z.shape
    side = math.ceil(math.sqrt(c))
    tiles = z.new_zeros(n, side * side, h, w)
    tiles[:, :c] = z / 3
    sheet = tiles.reshape(n, side, side, h, w).transpose(2, 3).reshape(n, 1, side * h, side * w)
    return F.interpolate(sheet, size=(size, size)).clamp(-1, 1).cpu()
