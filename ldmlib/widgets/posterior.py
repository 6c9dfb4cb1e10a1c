"""One observation to move: what was believed before it, what it says, what is believed after it."""

from __future__ import annotations

import math

import ipywidgets
import torch
from matplotlib.figure import Figure

from ldmlib.plotting import COLOURS
from ldmlib.probability.mixtures import GaussianMixture
from ldmlib.widgets.drawing import png
from ldmlib.widgets.mixtures import two_bumps

WIDEST = 5.0


def posterior_explorer(
    prior: GaussianMixture | None = None, x: float = 0.6, noise: float = 1.0
) -> ipywidgets.VBox:
    """z comes from a prior, x = z + noise is seen: drag x and the noise, watch p(z | x).

    Args:
        prior: a mixture in one dimension; two bumps when left out.
        x, noise: where the sliders begin.

    Returns:
        box whose children are the slider of x, the slider of the noise, and the picture.

    Raises:
        ValueError: a prior in more than one dimension.
    """
    if prior is None:
        bumps = {"mean 1": -1.5, "spread 1": 0.5, "mean 2": 1.5, "spread 2": 0.5, "weight 1": 0.7}
        prior = two_bumps(bumps)
    if prior.dim != 1:
        raise ValueError(f"the prior must live in 1 dimension, not {prior.dim}")
    drawing = _PosteriorDrawing(prior)
    sliders = [
        ipywidgets.FloatSlider(value=x, min=-4.0, max=4.0, step=0.1, description="x"),
        ipywidgets.FloatSlider(value=noise, min=0.1, max=4.0, step=0.1, description="noise"),
    ]
    image = ipywidgets.Image(format="png", value=drawing.png(x, noise))

    def redraw(_change: object) -> None:
        image.value = drawing.png(*(slider.value for slider in sliders))

    for slider in sliders:
        slider.observe(redraw, names="value")
    return ipywidgets.VBox([*sliders, image])


class _PosteriorDrawing:
    """Prior, likelihood and posterior over z; the lines are moved, not made anew."""

    def __init__(self, prior: GaussianMixture) -> None:
        self.prior = prior
        self.z = torch.linspace(-WIDEST, WIDEST, 801, dtype=torch.float64)
        self.before = prior.log_prob(self.z[:, None]).to(self.z).exp()
        self.figure = Figure(figsize=(7.5, 3.0), dpi=80)
        self.ax = self.figure.subplots()
        self.figure.subplots_adjust(left=0.08, right=0.73, bottom=0.17, top=0.9)
        self.ax.fill_between(self.z, self.before, color="0.85", label="prior p(z)")
        (self.says,) = self.ax.plot([], [], "--", color=COLOURS[1], label="likelihood p(x | z)")
        (self.after,) = self.ax.plot(
            [], [], color=COLOURS[0], linewidth=2, label="posterior p(z | x)"
        )
        self.mean = self.ax.axvline(0, color=COLOURS[2], linestyle=":", label="posterior mean")
        self.ax.set(xlim=(-WIDEST, WIDEST), xlabel="z", ylabel="density")
        self.ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9, frameon=False)

    def png(self, x: float, noise: float) -> bytes:
        """The drawing for an observation x = z + noise * N(0, 1)."""
        likelihood = (-0.5 * ((x - self.z) / noise) ** 2).exp() / (noise * math.sqrt(2 * math.pi))
        joint, width = self.before * likelihood, float(self.z[1] - self.z[0])
        evidence = float(joint.sum()) * width
        after = joint / evidence
        mean = float((after * self.z).sum()) * width
        self.says.set_data(self.z, likelihood)
        self.after.set_data(self.z, after)
        self.mean.set_xdata([mean, mean])
        self.ax.set_ylim(0, 1.1 * float(torch.stack([after, self.before, likelihood]).max()))
        self.ax.set_title(f"p(x) = {evidence:.3f}, posterior mean {mean:.2f}", fontsize=10)
        return png(self.figure)
