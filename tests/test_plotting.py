"""Figures can be read in a dark theme, and by readers who see fewer colours."""

from __future__ import annotations

import base64
import io
import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from ldmlib import plotting, widgets

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
# What is left of linear RGB without one kind of cone (Machado et al. 2009, severity 1).
SIGHTS = {
    "all cones": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]),
    "tritanopia": np.array([
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ]),
}  # fmt: skip
TO_XYZ = np.array([
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
])  # fmt: skip
FAR_APART = 10.0  # in CIE Lab, told apart at a glance; 2.3 is just noticed side by side
LIGHT = 200  # of 255, on average along the border

each_sight = pytest.mark.parametrize("sight", SIGHTS)


def lab(colour: str, sight: str) -> np.ndarray:
    """A colour in CIE Lab, as somebody with that sight sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (SIGHTS[sight] @ linear).clip(0, 1)
    x, y, z = (TO_XYZ @ seen) / TO_XYZ.sum(1)
    f = np.array([v ** (1 / 3) if v > (6 / 29) ** 3 else v / (3 * (6 / 29) ** 2) + 4 / 29
                  for v in (x, y, z)])  # fmt: skip
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(a: str, b: str, sight: str) -> float:
    """How far two colours are apart for that sight, in CIE Lab."""
    return float(np.linalg.norm(lab(a, sight) - lab(b, sight)))


def test_lab_has_its_fixed_points() -> None:
    """White is L = 100 without colour for every sight, black is 0; grey stays grey."""
    for sight in SIGHTS:
        np.testing.assert_allclose(lab("white", sight), [100, 0, 0], atol=0.1)
        np.testing.assert_allclose(lab("black", sight), [0, 0, 0], atol=0.1)
        assert abs(lab("0.5", sight)[1:]).max() < 0.1


def test_red_and_green_are_nearer_without_red_or_green_cones() -> None:
    red, green = "#c04040", "#408040"
    whole = distance(red, green, "all cones")
    assert max(distance(red, green, s) for s in ("protanopia", "deuteranopia")) < whole / 2


@each_sight
def test_lines_of_one_style_differ_in_colour(sight: str) -> None:
    """Line i has colour i and style i modulo 4: those that share a style must differ by colour."""
    styles, colours = len(plotting.STYLES), plotting.COLOURS
    for (i, a), (j, b) in itertools.combinations(enumerate(colours), 2):
        if i % styles == j % styles:
            assert distance(a, b, sight) > FAR_APART, (a, b)


@each_sight
def test_the_first_colours_differ_even_without_styles(sight: str) -> None:
    """Dots and bars have no line style: the colours that are used for them differ alone."""
    for a, b in itertools.combinations(plotting.COLOURS[:3], 2):
        assert distance(a, b, sight) > FAR_APART, (a, b)


def test_neighbouring_lines_differ_in_style() -> None:
    histories = {str(k): [{"step": i, "loss": k + i} for i in range(3)] for k in range(4)}
    axes = [plotting.loss_curve(histories), *plotting.schedules()]
    for ax in axes:
        styles = [line.get_linestyle() for line in ax.get_lines()]
        assert len(set(styles)) == len(styles) > 1
    plt.close("all")


def check_light_ground(png: bytes, where: str) -> None:
    """Fail unless a picture is opaque, with a light border: then any page's colour will do."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
    assert pixels[..., 3].min() == 255, f"{where} is not opaque"
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert border[:, :3].mean() > LIGHT, f"{where} has a dark border"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pictures_of_notebooks_bring_their_own_light_ground(path: Path) -> None:
    """In JupyterLab's dark theme too, axes and words are dark on white."""
    count = 0
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        for output in cell.get("outputs", []):
            for kind in ("image/png", "image/gif"):
                if data := output.get("data", {}).get(kind):
                    check_light_ground(base64.b64decode(data), f"cell {number}")
                    count += 1
    assert count


def test_pictures_of_widgets_bring_their_own_light_ground() -> None:
    box = widgets.schedule_explorer(torch.zeros(1, 8, 8))
    check_light_ground(bytes(box.children[2].value), "the schedule explorer")
    check_light_ground(bytes(widgets.posterior_explorer().children[2].value), "the posterior")


def test_every_function_draws_on_a_light_ground() -> None:
    x = torch.zeros(2, 1, 8, 8)
    drawings = (
        lambda: plotting.show(x, title="two"),
        lambda: plotting.show_rows({"a": x, "b": x}),
        lambda: plotting.film([x, x], ["t = 1", "t = 0"]),
        lambda: plotting.schedules(),
    )
    for draw in drawings:
        draw()
        buffer = io.BytesIO()
        plt.savefig(buffer, format="png", bbox_inches="tight")  # as notebooks show it
        check_light_ground(buffer.getvalue(), "a drawing")
        plt.close("all")
