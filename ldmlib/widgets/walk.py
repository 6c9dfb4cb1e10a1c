"""A digit to drag through its principal components."""

from __future__ import annotations

import ipywidgets
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from ldmlib.probability.pca import PCA
from ldmlib.widgets.drawing import imshow, pixels, png

FURTHEST = 4.0
DOTS = 1500


def latent_walk(
    pca: PCA,
    points: Tensor,
    labels: Tensor,
    start: Tensor | None = None,
    sliders: int = 4,
) -> ipywidgets.VBox:
    """A slider for each of the first components: where we are among the digits, and what it draws.

    Args:
        points: (n, k), encoded pictures, to draw the map; labels: (n,), their classes.
        start: (k,), where the walk begins; 0, the average picture, when left out.

    Returns:
        box whose children are the box of sliders and the picture.

    Raises:
        ValueError: points or start of another size than the latent space, or less than 2 of it.
    """
    here = torch.zeros(pca.dims) if start is None else start.detach().float().clone()
    if points.shape[1:] != (pca.dims,) or here.shape != (pca.dims,) or pca.dims < 2:
        raise ValueError(
            f"points must be (n, {pca.dims}) and start ({pca.dims},), with 2 or more dimensions; "
            f"they are {tuple(points.shape)} and {tuple(here.shape)}"
        )
    drawing = _WalkDrawing(pca, points, labels)
    moved = [
        ipywidgets.FloatSlider(
            value=float(here[i].clamp(-FURTHEST, FURTHEST)),
            min=-FURTHEST,
            max=FURTHEST,
            step=0.1,
            description=f"z{i + 1}",
        )
        for i in range(min(sliders, pca.dims))
    ]

    def position() -> Tensor:
        z = here.clone()
        z[: len(moved)] = torch.tensor([slider.value for slider in moved])
        return z

    image = ipywidgets.Image(format="png", value=drawing.png(position()))

    def redraw(_change: object) -> None:
        image.value = drawing.png(position())

    for slider in moved:
        slider.observe(redraw, names="value")
    columns = [ipywidgets.VBox(moved[i : i + 2]) for i in range(0, len(moved), 2)]
    return ipywidgets.VBox([ipywidgets.HBox(columns), image])


class _WalkDrawing:
    """The map of the first two components at the left, the decoded picture at the right."""

    def __init__(self, pca: PCA, points: Tensor, labels: Tensor) -> None:
        self.pca = pca
        self.figure = Figure(figsize=(7.5, 3.6), dpi=80)
        left, self.right = self.figure.subplots(1, 2, width_ratios=(1.15, 1))
        self.figure.subplots_adjust(left=0.08, right=0.99, bottom=0.14, top=0.92, wspace=0.05)
        some, names = points[:DOTS].cpu(), labels[:DOTS].cpu()
        for k in names.unique().tolist():
            dots = some[names == k]
            left.plot(
                dots[:, 0], dots[:, 1], ".", color=colormaps["tab10"](k % 10), ms=3, label=str(k)
            )
        left.legend(ncols=1, fontsize=7, loc="center left", markerscale=3, handletextpad=0.1)
        (self.dot,) = left.plot([0], [0], "k+", markersize=16, markeredgewidth=3)
        left.set(
            xlim=(-FURTHEST - 0.9, FURTHEST), ylim=(-FURTHEST, FURTHEST), xlabel="z1", ylabel="z2"
        )
        self.shown = imshow(self.right, pca.mean)

    def png(self, z: Tensor) -> bytes:
        """The drawing for a place (k,)."""
        self.dot.set_data([float(z[0])], [float(z[1])])
        self.shown.set_data(pixels(self.pca.decode(z[None])[0].float()))
        self.right.set_title(f"decoded, {float(z.norm()):.1f} from the centre", fontsize=10)
        return png(self.figure)
