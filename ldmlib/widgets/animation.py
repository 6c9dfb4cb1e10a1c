"""Figures one after another as a GIF: a picture that moves on pages without a kernel, too."""

from __future__ import annotations

import io
from collections.abc import Iterable

import matplotlib.pyplot as plt
from IPython.display import Image as Shown
from matplotlib.figure import Figure
from PIL import Image

from ldmlib.widgets.drawing import png

COLOURS_IN_A_GIF = 32


def animation(figures: Iterable[Figure], seconds: float = 0.25, pause: float = 1.5) -> Shown:
    """The figures, `seconds` each, the last one for `pause` seconds, then again from the start.

    A figure is drawn when its turn comes, and closed. One figure that is changed between the turns
    (by a generator that yields it again and again) draws faster than many.

    Raises:
        ValueError: no figures.
    """
    frames = []
    for figure in figures:
        figure.draw_without_rendering()  # lets a layout settle, or the first frame would jump
        frames.append(Image.open(io.BytesIO(png(figure))).convert("RGB"))
        plt.close(figure)
    if not frames:
        raise ValueError("an animation needs at least one figure")
    frames = _with_one_palette(frames)
    times = [round(1000 * seconds)] * (len(frames) - 1) + [round(1000 * pause)]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0, disposal=1
    )
    return Shown(data=buffer.getvalue(), format="gif")


def _with_one_palette(frames: list[Image.Image]) -> list[Image.Image]:
    """The frames in a few colours that all share: small, and nothing flickers."""
    sheet = Image.new("RGB", (frames[0].width, sum(frame.height for frame in frames)))
    for i, frame in enumerate(frames):
        sheet.paste(frame, (0, i * frame.height))
    palette = sheet.quantize(COLOURS_IN_A_GIF, method=Image.Quantize.MAXCOVERAGE)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
