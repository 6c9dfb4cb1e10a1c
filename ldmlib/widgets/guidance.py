"""Guidance to turn up: the same noise at weight 1 and at yours, and how far that carries it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import ipywidgets
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ldmlib.images import grid
from ldmlib.latent.model import LatentDiffusion
from ldmlib.plotting import COLOURS
from ldmlib.widgets.drawing import imshow, pixels, png

SAMPLER, STEPS = "euler", 4  # few and cheap: a redraw should not be waited for
KEPT = 64  # drawings that are kept for when a slider comes back, the older ones are forgotten
STRONGEST = 8.0
FROM, TO, BINS = -1.5, 4.0, 44  # of the axis on which the pictures are placed


def guidance_explorer(
    model: LatentDiffusion,
    latents: Tensor,
    labels: Tensor,
    label: int = 3,
    weight: float = 1.0,
    seed: int = 0,
    n: int = 6,
) -> ipywidgets.VBox:
    """A class, a guidance weight and a seed: n pictures, beside the same noise at weight 1.

    Beside them, each picture's place on the line from the average latent (0) through the average
    latent of the class (1), among the places of real pictures. Guidance acts at every step here,
    not in the model's own interval only.

    Args:
        latents: (m, c, h, w), real pictures as `model.encode` gives them; labels: (m,), classes.
        label, weight, seed: where the controls begin; n: how many pictures.

    Returns:
        box whose children are the row of controls (class, w, seed) and the picture.

    Raises:
        ValueError: a model without classes, latents of another shape, a class without a picture.
    """
    places = _Places(model, latents, labels)
    drawn = lru_cache(maxsize=KEPT)(lambda *setting: _drawn(model, n, *setting))
    for each in range(len(model.config.classes)):
        drawn(each, 1.0, seed)  # now, so that another class need not be waited for
    drawing = _GuidanceDrawing(drawn(label, 1.0, seed)[1])
    classes = [(name, i) for i, name in enumerate(model.config.classes)]
    controls = (
        ipywidgets.SelectionSlider(options=classes, value=label, description="class"),
        ipywidgets.FloatSlider(value=weight, min=0, max=STRONGEST, step=0.5, description="w"),
        ipywidgets.IntSlider(value=seed, min=0, max=20, description="seed"),
    )

    def picture() -> bytes:
        label, weight, seed = (control.value for control in controls)
        name = model.config.classes[label]
        return drawing.png(name, weight, drawn(label, 1.0, seed), drawn(label, weight, seed),
                           places.of(label))  # fmt: skip

    image = ipywidgets.Image(format="png", value=picture())

    def redraw(_change: object) -> None:
        image.value = picture()

    for control in controls:
        control.observe(redraw, names="value")
    return ipywidgets.VBox([ipywidgets.HBox(controls), image])


def _drawn(
    model: LatentDiffusion, n: int, label: int, weight: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Latents (n, c, h, w) of n pictures, and the pictures (n, C, H, W)."""
    *_, last = model.film(n, [label] * n, STEPS, weight, seed, sampler=SAMPLER)
    return last.x.cpu(), model.decode(last.x).cpu()


Place = Callable[[Tensor], Tensor]


class _Places:
    """How far towards a class latents lie: 0 is the average of all, 1 the average of the class."""

    def __init__(self, model: LatentDiffusion, latents: Tensor, labels: Tensor) -> None:
        if not model.config.classes:
            raise ValueError("guidance needs a model that was trained with classes")
        if latents.shape != (len(labels), *model.latent_shape):
            raise ValueError(
                f"expected latents of shape {(len(labels), *model.latent_shape)}, one for each "
                f"label, not {tuple(latents.shape)}: use model.encode"
            )
        if absent := set(range(len(model.config.classes))) - set(labels.tolist()):
            raise ValueError(
                f"give some real pictures of every class: class {min(absent)} has none"
            )
        self.latents, self.labels = latents.detach().cpu().flatten(1), labels.cpu()
        self.middle = self.latents.mean(0)

    def of(self, label: int) -> tuple[Place, Tensor, Tensor]:
        """The function that places latents, and the places of real pictures: all, of the class."""
        own = self.latents[self.labels == label]
        way = own.mean(0) - self.middle

        def place(z: Tensor) -> Tensor:
            return (z.flatten(1) - self.middle) @ way / (way @ way)

        return place, place(self.latents), place(own)


class _GuidanceDrawing:
    """Two rows of pictures at the left; at the right, where they lie among real ones."""

    def __init__(self, pictures: Tensor) -> None:
        self.n, row = len(pictures), grid(pictures, columns=len(pictures))
        self.figure = Figure(figsize=(9.6, 2.8), dpi=80)
        parts = self.figure.add_gridspec(2, 2, hspace=0.3, wspace=0.06)
        self.figure.subplots_adjust(left=0.01, right=0.99, bottom=0.18, top=0.9)
        self.rows = [imshow(self.figure.add_subplot(parts[i, 0]), row) for i in range(2)]
        self.rows[0].axes.set_title("w = 1", fontsize=10, loc="left")
        self._draw_axis(self.figure.add_subplot(parts[:, 1]))

    def _draw_axis(self, ax: Axes) -> None:
        empty, edges = torch.zeros(BINS), torch.linspace(FROM, TO, BINS + 1)
        self.all = ax.stairs(empty, edges, fill=True, color="0.85", label="real, all")
        self.own = ax.stairs(empty, edges, color=COLOURS[0], linewidth=2, label="real, class")
        (self.ways,) = ax.plot([], [], color="0.5", linewidth=1)
        (self.before,) = ax.plot([], [], "o", color=COLOURS[1], label="drawn, w = 1")
        (self.after,) = ax.plot([], [], "^", color="black", label="drawn, your w")
        ax.set(xlim=(FROM, TO), ylim=(-0.6, 1.05), yticks=[])
        ax.legend(loc="upper right", fontsize=8, frameon=False)
        self.ax = ax

    def png(
        self,
        name: str,
        weight: float,
        before: tuple[Tensor, Tensor],
        after: tuple[Tensor, Tensor],
        places: tuple[Place, Tensor, Tensor],
    ) -> bytes:
        """The drawing of (latents, pictures) at weight 1 and at the weight, for a class's name."""
        for row, (_, pictures) in zip(self.rows, (before, after), strict=True):
            row.set_data(pixels(grid(pictures, columns=self.n)))
        self.rows[1].axes.set_title(f"w = {weight:g}", fontsize=10, loc="left")
        place, everyone, own = places
        self.all.set_data(_heights(everyone))
        self.own.set_data(_heights(own))
        past = self._move(place(before[0]), place(after[0]), own)
        average = float(place(after[0]).mean())
        self.ax.set_title(
            f"your w: on average at {average:.2f}; {past} of {self.n} past 95 % of real {name}s",
            fontsize=10,
        )
        self.ax.set_xlabel(f"place in latent space: 0 the average picture, 1 the average {name}")
        return png(self.figure)

    def _move(self, start: Tensor, end: Tensor, own: Tensor) -> int:
        """Put the dots at their places (n,); returns how many passed 95 % of the class."""
        a, b = start.clamp(FROM, TO), end.clamp(FROM, TO)
        self.before.set_data(a, torch.full_like(a, -0.18))
        self.after.set_data(b, torch.full_like(b, -0.42))
        ways = torch.stack([a, b, torch.full_like(a, torch.nan)], 1).flatten()
        self.ways.set_data(ways, torch.tensor([-0.18, -0.42, 0.0]).repeat(self.n))
        return int((end > own.quantile(0.95)).sum())


def _heights(places: Tensor) -> Tensor:
    """A histogram whose highest bin is 1."""
    counts = torch.histc(places, BINS, FROM, TO)
    return counts / counts.max().clamp(min=1)
