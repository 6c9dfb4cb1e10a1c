"""Things to move: ipywidgets that show a schedule at work and a sampler's steps.

    schedule_explorer()                        # choose a schedule, drag t
    denoising_film(model, labels=[3, 7])       # drag through the steps from noise to digit

Each function returns a widget; a notebook shows it when it is the last line of a cell. Pictures are
drawn into PNG bytes by one figure that pyplot does not know, so nothing piles up in memory. Only
what ipywidgets 7 and 8 share is used.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence

import ipywidgets
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ldmlib.data import mnist
from ldmlib.images import grid, to_uint8
from ldmlib.latent import LatentDiffusion
from ldmlib.plotting import COLOURS, STYLES
from ldmlib.rng import per_sample_generators, randn_like, seeded
from ldmlib.sampling import initial_noise, predictor
from ldmlib.schedule import NAMES, Schedule

LARGEST_LOG_SNR = 12.0  # the curve is cut there: at t = 0 it is infinite


# --------------------------------------------------------------------------- noise schedules
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
    choice = ipywidgets.Dropdown(options=list(NAMES), value=schedule, description="schedule")
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
        _imshow(axes[2], picture).axes.set_title("$x_0$", fontsize=10)
        self.noised = _imshow(axes[3], picture)

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
        self.noised.set_data(_pixels(alpha * self.picture + sigma * self.eps))
        for reading, letter, value in zip(self.readings, ("alpha", "sigma"), here[:2], strict=True):
            reading.set_text(rf"$\{letter}$ = {float(value):.3f}")
        snr = math.inf if sigma == 0 else (alpha / sigma) ** 2
        self.noised_ax.set_title(f"$x_t$, SNR {_short(snr)}", fontsize=10)
        return _png(self.figure)

    @staticmethod
    def _curves(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_snr = schedule.log_snr(t).clamp(-LARGEST_LOG_SNR, LARGEST_LOG_SNR)
        return (*schedule.alpha_sigma(t), log_snr)


# --------------------------------------------------------------------------- the sampler's steps
def denoising_film(
    model: LatentDiffusion,
    labels: Sequence[int] = (3,),
    steps: int | None = None,
    seed: int = 0,
    guidance: float = 1.0,
) -> ipywidgets.VBox:
    """A slider through the sampler's steps: the latent, what it decodes to, and the model's guess.

    The frames are made once, before the widget is returned; dragging only shows them.

    Args:
        labels: the classes to draw, a column each (how many pictures, if the model has none).
        steps: of the model's sampler; its own default when left out.

    Returns:
        box whose children are the row of play button and slider, and the picture.
    """
    frames = list(_film_frames(model, list(labels), steps, seed, guidance))
    last = len(frames) - 1
    play = ipywidgets.Play(value=0, min=0, max=last, interval=500)
    slider = ipywidgets.IntSlider(value=last, min=0, max=last, description="step")
    image = ipywidgets.Image(format="png", value=frames[last])

    def show(change: dict) -> None:
        image.value = frames[change["new"]]

    slider.observe(show, names="value")
    ipywidgets.jslink((play, "value"), (slider, "value"))
    return ipywidgets.VBox([ipywidgets.HBox([play, slider]), image])


def _film_frames(
    model: LatentDiffusion, labels: list[int], steps: int | None, seed: int, guidance: float
) -> Iterator[bytes]:
    """A PNG of the pure noise, then one after each step of the sampler."""
    n, classes = len(labels), labels if model.config.classes else None
    cond = None if classes is None else torch.tensor(classes, device=model.device)
    guess = predictor(model.diffusion, model.denoise, cond, guidance)
    states = model.film(n, classes, steps, guidance, seed)
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
            _imshow(ax, grid(row, columns=len(row)))
            ax.set_anchor("W")
            ax.text(-0.02, 0.5, name, transform=ax.transAxes, ha="right", va="center", fontsize=9)
        self.axes[0].set_title(title, fontsize=10, loc="left")
        return _png(self.figure)


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


# --------------------------------------------------------------------------- drawing
def _pixels(x: Tensor):
    """(C, H, W) in any range -> uint8 array for imshow."""
    u = to_uint8(x.clamp(-1, 1))
    return (u[0] if len(u) == 1 else u.permute(1, 2, 0)).numpy()


def _imshow(ax: Axes, x: Tensor):
    ax.set_axis_off()
    return ax.imshow(_pixels(x), cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _short(value: float) -> str:
    if math.isinf(value):
        return "infinite"
    return f"{value:.3f}" if value < 1 else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
