"""What all widgets draw with: pictures on axes, a figure as PNG bytes."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ldmlib.images import to_uint8


def pixels(x: Tensor):
    """(C, H, W) in any range -> uint8 array for imshow."""
    u = to_uint8(x.clamp(-1, 1))
    return (u[0] if len(u) == 1 else u.permute(1, 2, 0)).numpy()


def imshow(ax: Axes, x: Tensor):
    """Show a picture (C, H, W) without axes; returns matplotlib's image."""
    ax.set_axis_off()
    return ax.imshow(pixels(x), cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def png(figure: Figure) -> bytes:
    """The figure as it is now."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
