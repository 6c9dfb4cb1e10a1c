"""Pictures for the notebooks: grids, films, schedules, loss curves. Matplotlib lives only here.

Every function returns the figure's axes, takes pictures in [-1, 1], and uses line styles beside
colours, so that the figures read in grey and for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from ldmlib import images
from ldmlib.diffusion.schedule import NAMES, Schedule

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe-Ito
STYLES = ("-", "--", "-.", ":")


def _as_picture(x: Tensor):
    """(C, H, W) in [-1, 1] -> what imshow takes, and its colour map."""
    u = images.to_uint8(x.detach().cpu().float())
    return (u[0].numpy(), "gray") if len(u) == 1 else (u.permute(1, 2, 0).numpy(), None)


def show(
    x: Tensor,
    columns: int | None = None,
    title: str = "",
    ax: Axes | None = None,
    scale: float = 0.6,
) -> Axes:
    """A grid of pictures (n, C, H, W) in [-1, 1]."""
    columns = columns or min(len(x), 10)
    rows = -(-len(x) // columns)
    if ax is None:
        _, ax = plt.subplots(figsize=(scale * columns, scale * rows + (0.3 if title else 0)))
    picture, cmap = _as_picture(images.grid(x.detach().cpu(), columns))
    ax.imshow(picture, cmap=cmap, vmin=0, vmax=255, interpolation="nearest")
    ax.set_axis_off()
    ax.set_title(title, fontsize=10)
    return ax


def show_rows(
    rows: Mapping[str, Tensor], scale: float = 0.6, label_width: float = 1.6
) -> list[Axes]:
    """Several rows of pictures, each with its name at the left: {name: (n, C, H, W)}."""
    n = max(len(x) for x in rows.values())
    figure, axes = plt.subplots(
        len(rows), 1, squeeze=False, figsize=(label_width + scale * n, scale * len(rows))
    )
    for ax, (name, x) in zip(axes[:, 0], rows.items(), strict=True):
        show(x, columns=n, ax=ax)
        ax.text(-0.01, 0.5, name, transform=ax.transAxes, ha="right", va="center", fontsize=9)
    figure.subplots_adjust(
        left=label_width / (label_width + scale * n), right=1, bottom=0, top=1, hspace=0.06
    )
    return list(axes[:, 0])


def show_latents(z: Tensor, title: str = "", scale: float = 0.6) -> Axes:
    """Latents (n, c, h, w): a row for each channel, a column for each picture; grey is 0."""
    n, c, h, w = z.shape
    strip = z.detach().cpu().permute(1, 0, 2, 3).reshape(c * n, 1, h, w)
    return show((strip / 3).clamp(-1, 1), columns=n, title=title, scale=scale)


def film(frames: Sequence[Tensor], titles: Sequence[str], scale: float = 0.7) -> list[Axes]:
    """Stages of the same pictures side by side: frames of (n, C, H, W), a column each."""
    n = len(frames[0])
    figure, axes = plt.subplots(
        1, len(frames), squeeze=False, figsize=(scale * len(frames), scale * n + 0.3)
    )
    for ax, frame, title in zip(axes[0], frames, titles, strict=True):
        show(frame, columns=1, ax=ax)
        ax.set_title(title, fontsize=8)
    figure.subplots_adjust(wspace=0.04, left=0, right=1, bottom=0)
    return list(axes[0])


def loss_curve(
    histories: Mapping[str, list[dict]] | list[dict],
    key: str = "loss",
    against: str = "step",
    ax: Axes | None = None,
    log: bool = False,
) -> Axes:
    """Curves of ``state.history``: one, or several by name, against ``step`` or ``seconds``."""
    histories = histories if isinstance(histories, Mapping) else {"": histories}
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 3))
    for i, (name, history) in enumerate(histories.items()):
        points = [(h[against], h[key]) for h in history if key in h]
        ax.plot(*zip(*points, strict=True), STYLES[i % 4], color=COLOURS[i % 6], label=name)
    ax.set(xlabel=against, ylabel=key, yscale="log" if log else "linear")
    if any(histories):
        ax.legend()
    ax.grid(alpha=0.3)
    return ax


def schedules(names: Sequence[str] = NAMES) -> list[Axes]:
    """alpha, sigma and log SNR against t, for several schedules."""
    t = torch.linspace(0, 1, 401, dtype=torch.float64)
    _, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
    for i, name in enumerate(names):
        schedule = Schedule(name)
        alpha, sigma = schedule.alpha_sigma(t)
        curves = (alpha, sigma, schedule.log_snr(t).clamp(-12, 12))
        for ax, curve in zip(axes, curves, strict=True):
            ax.plot(t, curve, STYLES[i % 4], color=COLOURS[i], label=name)
    for ax, title in zip(
        axes, ("alpha(t): picture left", "sigma(t): noise", "log SNR"), strict=True
    ):
        ax.set(xlabel="t", title=title)
        ax.grid(alpha=0.3)
    axes[0].legend()
    return list(axes)
