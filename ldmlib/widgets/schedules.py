"""A schedule to choose and a time to drag."""

from __future__ import annotations

import math

import ipywidgets
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ldmlib.data import mnist
from ldmlib.diffusion.schedule import NAMES, Schedule
from ldmlib.plotting import COLOURS, STYLES
from ldmlib.rng import randn_like, seeded
from ldmlib.widgets.drawing import imshow, pixels, png

LARGEST_LOG_SNR = 12.0  # the curve is cut there: at t = 0 it is infinite


def schedule_explorer(
    picture: Tensor | None = None, schedule: str = "flow", seed: int = 0
) -> ipywidgets.VBox:
    """A schedule to choose and a time to drag: alpha, sigma, log SNR, and a picture noised at t.

    Args:
        picture: (C, H, W) in [-1, 1]; a digit of MNIST's test set when left out.
        schedule: the one to begin with.
        seed: of the noise, which stays the same for every t and schedule.

    Returns:
        box whose children are the choice of the schedule, the slider of t, and the picture.
    """
    picture = mnist("test")[0][0] if picture is None else picture
    drawing = _ScheduleDrawing(picture, randn_like(picture[None], seeded(seed))[0])
    choice = ipywidgets.SelectionSlider(  # arrow keys move it in JupyterLab, but not a Dropdown
        options=list(NAMES), value=schedule, description="schedule"
    )
    slider = ipywidgets.FloatSlider(
        value=0.5, min=0.0, max=1.0, step=0.01, description="t", continuous_update=True
    )
    image = ipywidgets.Image(format="png", value=drawing.png(schedule, 0.5))

    def redraw(_change: object) -> None:
        image.value = drawing.png(choice.value, slider.value)

    choice.observe(redraw, names="value")
    slider.observe(redraw, names="value")
    return ipywidgets.VBox([choice, slider, image])


class _ScheduleDrawing:
    """One figure whose lines and picture are moved, not made anew."""

    def __init__(self, picture: Tensor, eps: Tensor) -> None:
        self.picture, self.eps = picture, eps
        self.t = torch.linspace(0, 1, 201, dtype=torch.float64)
        self.figure = Figure(figsize=(9.6, 2.7), dpi=90)
        axes = self.figure.subplots(1, 4, width_ratios=(1.3, 1.3, 1, 1))
        self.figure.subplots_adjust(left=0.05, right=0.995, bottom=0.18, top=0.87, wspace=0.25)
        curves = ((r"$\alpha$", 0), (r"$\sigma$", 0), ("log SNR", 1))
        self.lines = [
            axes[k].plot([], [], STYLES[i], color=COLOURS[i], label=name)[0]
            for i, (name, k) in enumerate(curves)
        ]
        self.dots = [
            axes[k].plot([], [], "o", color=COLOURS[i])[0] for i, (_, k) in enumerate(curves)
        ]
        self.markers = [ax.axvline(0.5, color="0.6", linewidth=1, zorder=0) for ax in axes[:2]]
        axes[0].set(xlim=(0, 1), ylim=(-0.04, 1.04), xlabel="t")
        legend = axes[0].legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 0.97),
            ncols=2,
            frameon=False,
            handlelength=1.5,
            columnspacing=1.2,
        )
        self.readings = legend.get_texts()
        axes[1].set(xlim=(0, 1), ylim=(-LARGEST_LOG_SNR - 1, LARGEST_LOG_SNR + 1), xlabel="t")
        axes[1].set_title("log SNR", fontsize=10)
        self.noised_ax = axes[3]
        imshow(axes[2], picture).axes.set_title("$x_0$", fontsize=10)
        self.noised = imshow(axes[3], picture)

    def png(self, name: str, t: float) -> bytes:
        """The drawing for a schedule and a time."""
        schedule = Schedule(name)
        everywhere = self._curves(schedule, self.t)
        here = self._curves(schedule, torch.tensor(t, dtype=torch.float64))
        for line, dot, curve, value in zip(self.lines, self.dots, everywhere, here, strict=True):
            line.set_data(self.t, curve)
            dot.set_data([t], [value])
        for marker in self.markers:
            marker.set_xdata([t, t])
        alpha, sigma = float(here[0]), float(here[1])
        self.noised.set_data(pixels(alpha * self.picture + sigma * self.eps))
        for reading, letter, value in zip(self.readings, ("alpha", "sigma"), here[:2], strict=True):
            reading.set_text(rf"$\{letter}$ = {float(value):.3f}")
        snr = math.inf if sigma == 0 else (alpha / sigma) ** 2
        self.noised_ax.set_title(f"$x_t$, SNR {short(snr)}", fontsize=10)
        return png(self.figure)

    @staticmethod
    def _curves(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_snr = schedule.log_snr(t).clamp(-LARGEST_LOG_SNR, LARGEST_LOG_SNR)
        return (*schedule.alpha_sigma(t), log_snr)


def short(value: float) -> str:
    if math.isinf(value):
        return "infinite"
    return f"{value:.3f}" if value < 1 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
