"""Two bumps to move: their density, and the score that belongs to it."""

from __future__ import annotations

import ipywidgets
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ldmlib.plotting import COLOURS
from ldmlib.probability.mixtures import GaussianMixture
from ldmlib.widgets.drawing import png

START = {"mean 1": -1.5, "spread 1": 0.6, "mean 2": 1.5, "spread 2": 0.6, "weight 1": 0.5}
RANGES = {"mean": (-4.0, 4.0, 0.1), "spread": (0.2, 2.0, 0.05), "weight": (0.02, 0.98, 0.02)}
WIDEST = 5.0


def two_bumps(values: dict[str, float]) -> GaussianMixture:
    """The mixture that slider values (named as in `START`) describe, in one dimension, float64."""

    def pair(name: str) -> Tensor:
        return torch.tensor([values[f"{name} 1"], values[f"{name} 2"]], dtype=torch.float64)

    w = values["weight 1"]
    weights = torch.tensor([w, 1 - w], dtype=torch.float64)
    return GaussianMixture(pair("mean")[:, None], pair("spread")[:, None, None] ** 2, weights)


def mixture_explorer(**start: float) -> ipywidgets.VBox:
    """Five sliders for a mixture of two Gaussians; its density and its score are drawn anew.

    Args:
        start: where sliders begin, such as ``mean_1=-1.0, spread_2=0.3, weight_1=0.8``.

    Returns:
        box whose children are the box of sliders and the picture.
    """
    values = START | {name.replace("_", " "): float(value) for name, value in start.items()}
    if unknown := set(values) - set(START):
        known = ", ".join(name.replace(" ", "_") for name in START)
        raise ValueError(f"no slider {sorted(unknown)[0]!r}; known are {known}")
    drawing = _MixtureDrawing()
    sliders = {}
    for name, value in values.items():
        low, high, step = RANGES[name.split()[0]]
        sliders[name] = ipywidgets.FloatSlider(
            value=value, min=low, max=high, step=step, description=name
        )
    image = ipywidgets.Image(format="png", value=drawing.png(two_bumps(values)))

    def redraw(_change: object) -> None:
        now = {name: slider.value for name, slider in sliders.items()}
        image.value = drawing.png(two_bumps(now))

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    columns = [ipywidgets.VBox(list(sliders.values())[i : i + 2]) for i in (0, 2, 4)]
    return ipywidgets.VBox([ipywidgets.HBox(columns), image])


class _MixtureDrawing:
    """Density above, score below; the lines are moved, not made anew."""

    def __init__(self) -> None:
        self.x = torch.linspace(-WIDEST, WIDEST, 301, dtype=torch.float64)[:, None]
        self.figure = Figure(figsize=(7.5, 3.8), dpi=80)
        self.above, below = self.figure.subplots(2, 1, sharex=True)
        self.figure.subplots_adjust(left=0.09, right=0.99, bottom=0.12, top=0.97, hspace=0.1)
        self.parts = [
            self.above.plot([], [], style, color=COLOURS[i + 1], linewidth=1)[0]
            for i, style in enumerate(("--", "-."))
        ]
        (self.density,) = self.above.plot([], [], color=COLOURS[0], linewidth=2)
        (self.score,) = below.plot([], [], color=COLOURS[0], linewidth=2)
        (self.rests,) = below.plot([], [], "o", color=COLOURS[1], label="score 0: a top or a pass")
        below.axhline(0, color="0.6", linewidth=1)
        below.legend(loc="upper right", fontsize=8)
        self.above.set(ylabel="density", xlim=(-WIDEST, WIDEST))
        below.set(ylabel="score", xlabel="x", ylim=(-10, 10))

    def png(self, mixture: GaussianMixture) -> bytes:
        """The drawing for a mixture of two."""
        x, parts = self.x[:, 0], mixture.component_log_prob(self.x).exp()
        for line, part in zip(self.parts, parts.T, strict=True):
            line.set_data(x, part)
        density, score = parts.sum(1), mixture.score(self.x)[:, 0]
        self.density.set_data(x, density)
        self.above.set_ylim(0, 1.1 * float(density.max()))
        self.score.set_data(x, score)
        turns = x[1:][(score[1:] > 0) != (score[:-1] > 0)]
        self.rests.set_data(turns, torch.zeros_like(turns))
        return png(self.figure)
