"""Real pictures to spoil (blur, noise, less light, fewer kinds); the scores move along."""

from __future__ import annotations

from functools import lru_cache

import ipywidgets
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ldmlib.evaluation import metrics
from ldmlib.evaluation.evaluator import Evaluator
from ldmlib.images import grid
from ldmlib.plotting import COLOURS
from ldmlib.rng import randn_like, seeded
from ldmlib.widgets.drawing import imshow, pixels, png

SHOWN, COLUMNS = 18, 6
KEPT = 64  # features of that many settings are kept for when a slider comes back
SLIDERS = {  # name -> start, lowest, highest, step
    "blur": (0.0, 0.0, 2.0, 0.25),
    "noise": (0.0, 0.0, 0.5, 0.05),
    "light": (1.0, 0.1, 1.0, 0.1),
}
PANELS = {  # score -> the axis that it gets: scale, lowest, highest, ticks (few: quick to draw)
    "FID": ("log", 5.0, 1500.0, (10, 100, 1000)),
    "KID x 1000": ("symlog", -30.0, 300_000.0, (0, 10, 1000, 100_000)),
    "precision": ("linear", 0.0, 1.0, (0, 0.5, 1)),
    "recall": ("linear", 0.0, 1.0, (0, 0.5, 1)),
}


def spoil(
    x: Tensor, blur: float = 0.0, noise: float = 0.0, light: float = 1.0, kinds: int | None = None
) -> Tensor:
    """Pictures (n, C, H, W) in [-1, 1] that a worse generator might have made, in [-1, 1].

    Args:
        blur: width of the bell that smooths them, in pixels.
        noise: standard deviation of the noise on top, the same for every call.
        light: 1 leaves them as bright as they are, 0 makes them black.
        kinds: only the first `kinds` of them, again and again; all when left out.
    """
    x = (x + 1) * light
    if blur > 0:
        bell = torch.exp(-(torch.arange(-5.0, 6.0) ** 2) / (2 * blur**2))
        kernel = (torch.outer(bell, bell) / bell.sum() ** 2).expand(x.shape[1], 1, 11, 11)
        x = F.conv2d(x, kernel, padding=5, groups=x.shape[1])
    x = x - 1 + noise * randn_like(x, seeded(0, 10))
    return x.clamp(-1, 1)[torch.arange(len(x)) % (kinds or len(x))]


class Scorer:
    """FID, KID, precision and recall of n pictures, quickly; and what n real ones score.

    Args:
        evaluator: whose training split is the reference: all of it for FID, n of it elsewhere.
        n: number of pictures in every set.

    Raises:
        ValueError: fewer pictures than features, or than held-out ones for the floor.
    """

    def __init__(self, evaluator: Evaluator, n: int) -> None:
        some = evaluator.train[torch.randperm(len(evaluator.train), generator=seeded(0, 11))[:n]]
        metrics.fid(some, some)  # says what is wrong where n is too small
        self.real, self.moments = some, metrics.moments(evaluator.train)
        self.floor = {
            name: metrics.real_floor(
                evaluator.train, evaluator.held_out, n, lambda f, _, name=name: self(f)[name]
            )
            for name in PANELS
        }

    def __call__(self, features: Tensor) -> dict[str, float]:
        """The scores of features (n, d) by name."""
        precision, recall = metrics.precision_recall(self.real, features)
        return {
            "FID": metrics.gaussian_frechet(*metrics.moments(features), *self.moments),
            "KID x 1000": 1000 * metrics.mmd2(features, self.real),
            "precision": precision,
            "recall": recall,
        }


def fid_explorer(evaluator: Evaluator, pictures: Tensor) -> ipywidgets.VBox:
    """Sliders that spoil real pictures, and four scores of them beside what real pictures score.

    Args:
        evaluator: such as `mnist_evaluator()`.
        pictures: (n, C, H, W) in [-1, 1], real and held out; a few hundred redraw at once.

    Returns:
        box whose children are the sliders (blur, noise, light), the choice of how many
        different pictures there are, and the picture.

    Raises:
        ValueError: not more pictures than the evaluator has features.
    """
    n = len(pictures)
    scorer, drawing = Scorer(evaluator, n), _ScoresDrawing(pictures)
    features = lru_cache(maxsize=KEPT)(lambda *how: evaluator.features(spoil(pictures, *how))[0])
    controls = [
        ipywidgets.FloatSlider(value=start, min=low, max=high, step=step, description=name)
        for name, (start, low, high, step) in SLIDERS.items()
    ]
    halves = [n // 2**k for k in range(n.bit_length())]
    kinds = ipywidgets.SelectionSlider(options=halves, value=n, description="kinds")

    def picture() -> bytes:
        how = tuple(control.value for control in controls)
        seen = features(*how)[torch.arange(n) % kinds.value]
        shown = spoil(pictures[:SHOWN], *how, kinds=min(kinds.value, SHOWN))
        return drawing.png(shown, scorer(seen), scorer.floor)

    image = ipywidgets.Image(format="png", value=picture())

    def redraw(_change: object) -> None:
        image.value = picture()

    for control in (*controls, kinds):
        control.observe(redraw, names="value")
    rows = [ipywidgets.HBox(controls[:2]), ipywidgets.HBox([controls[2], kinds])]
    return ipywidgets.VBox([*rows, image])


class _ScoresDrawing:
    """Some of the pictures at the left; a bar for each score, with its floor, at the right."""

    def __init__(self, pictures: Tensor) -> None:
        self.figure = Figure(figsize=(9.6, 2.6), dpi=80)
        axes = self.figure.subplots(1, 5, width_ratios=(2.6, 1, 1, 1, 1))
        self.figure.subplots_adjust(left=0.01, right=0.995, bottom=0.06, top=0.82, wspace=0.55)
        self.shown = imshow(axes[0], grid(pictures[:SHOWN], COLUMNS))
        axes[0].set_title(f"some of the {len(pictures)} pictures", fontsize=10)
        self.axes = dict(zip(PANELS, axes[1:], strict=True))
        self.bars, self.lines = {}, {}
        for (name, (scale, low, high, ticks)), ax in zip(PANELS.items(), axes[1:], strict=True):
            ax.set_yscale(scale, **({"linthresh": 10} if scale == "symlog" else {}))
            ax.set(xlim=(-0.5, 0.5), ylim=(low, high), xticks=[])
            ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8)
            ax.minorticks_off()
            (self.bars[name],) = ax.bar([0], [1], 0.6, color=COLOURS[0])
            self.lines[name] = ax.axhline(1, color=COLOURS[1], linestyle="--")

    def png(self, pictures: Tensor, scores: dict[str, float], floor: dict[str, float]) -> bytes:
        """The drawing of some pictures and of all pictures' scores."""
        self.shown.set_data(pixels(grid(pictures, COLUMNS)))
        for name, ax in self.axes.items():
            self._move(name, ax, scores[name], floor[name])
        return png(self.figure)

    def _move(self, name: str, ax: Axes, score: float, floor: float) -> None:
        digits = 1 if name in ("FID", "KID x 1000") else 2
        self.bars[name].set_height(score)
        self.lines[name].set_ydata([floor, floor])
        title = f"{name}\n{score:,.{digits}f}  (real {floor:.{digits}f})"
        ax.set_title(title, fontsize=9)
