"""Widgets redraw when moved, quickly, without a kernel, and nothing piles up."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import time

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from ldmlib import widgets
from ldmlib.autoencoder import AutoencoderConfig
from ldmlib.latent import LatentDiffusion, LatentDiffusionConfig
from ldmlib.schedule import NAMES
from ldmlib.unet import UNetConfig

STEPS = 3
PICTURE = torch.linspace(-1, 1, 16 * 16).reshape(1, 16, 16)


def model(classes: int = 3, channels: int = 1) -> LatentDiffusion:
    """An untrained latent diffusion model of pictures of 16 x 16."""
    torch.manual_seed(0)
    config = LatentDiffusionConfig(
        AutoencoderConfig(channels=channels, latent_channels=3, widths=(8, 8)),
        UNetConfig(in_channels=3, channels=(8, 16), blocks=1, num_classes=classes),
        size=16,
        classes=tuple("abc"[:classes]),
    )
    built = LatentDiffusion(config).eval()
    for weight in built.denoiser.parameters():  # its last layer starts at zero: no film to see
        torch.nn.init.normal_(weight, std=0.1) if not weight.abs().any() else None
    return built


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def figures() -> int:
    gc.collect()
    return sum(type(thing) is Figure for thing in gc.get_objects())


def explorer() -> tuple[ipywidgets.Dropdown, ipywidgets.FloatSlider, ipywidgets.Image]:
    return widgets.schedule_explorer(PICTURE).children


def film(**options) -> tuple[ipywidgets.IntSlider, ipywidgets.Image]:
    row, image = widgets.denoising_film(model(), [0, 2], steps=STEPS, **options).children
    return row.children[1], image


def test_explorer_draws_every_schedule_and_time_anew() -> None:
    choice, slider, image = explorer()
    assert choice.options == NAMES or list(choice.options) == list(NAMES)
    seen = set()
    for name in NAMES:
        choice.value = name
        for t in (0.0, 0.3, 1.0):
            slider.value = t
            seen.add(image.value)
    assert len(seen) == 3 * len(NAMES)


def test_explorer_shows_what_the_sliders_say() -> None:
    """There and back again is the same picture: nothing stale is left, nothing is added."""
    choice, slider, image = explorer()
    first = image.value
    choice.value, slider.value = "linear", 0.9
    assert image.value != first
    choice.value, slider.value = "flow", 0.5
    assert image.value == first


def test_explorer_begins_with_a_digit() -> None:
    box = widgets.schedule_explorer(schedule="cosine")
    assert isinstance(box, ipywidgets.VBox)
    assert box.children[0].value == "cosine"
    assert pixels(box.children[2].value).std() > 0


def test_explorer_takes_colour() -> None:
    choice, slider, image = widgets.schedule_explorer(torch.rand(3, 8, 8)).children
    slider.value = 0.0
    assert pixels(image.value).ndim == 3


def test_redraw_takes_less_than_a_fifth_of_a_second() -> None:
    _, slider, _ = explorer()
    seconds = []
    for t in (0.1, 0.2, 0.3, 0.4, 0.6):
        start = time.process_time()
        slider.value = t
        seconds.append(time.process_time() - start)
    assert sorted(seconds)[2] < 0.2


@pytest.mark.parametrize("make", [explorer, film])
def test_moving_leaves_no_figures(make) -> None:
    *_, slider, image = make()
    figures_before, numbers_before = figures(), plt.get_fignums()
    sizes = []
    for _ in range(4):
        for value in (slider.min, slider.max):
            slider.value = value
        sizes.append(len(image.value))
    assert figures() <= figures_before
    assert plt.get_fignums() == numbers_before
    assert len(set(sizes)) == 1


def test_film_has_a_frame_for_the_noise_and_for_each_step() -> None:
    slider, image = film()
    assert (slider.min, slider.max, slider.value) == (0, STEPS, STEPS)
    seen = {image.value}
    for step in range(STEPS + 1):
        slider.value = step
        seen.add(image.value)
    assert len(seen) == STEPS + 1


def test_film_shows_prepared_frames() -> None:
    slider, image = film()
    slider.value = 1
    first = image.value
    slider.value = 2
    start = time.process_time()
    slider.value = 1
    assert time.process_time() - start < 0.05
    assert image.value == first


def test_film_depends_on_seed_and_guidance_and_repeats() -> None:
    last = film(seed=0)[1].value
    assert film(seed=0)[1].value == last
    assert film(seed=1)[1].value != last
    assert film(seed=0, guidance=3.0)[1].value != last


def test_film_ends_where_sample_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of the last frame are the pictures of `sample`, and nothing is left to guess."""
    shown = []
    monkeypatch.setattr(widgets._FilmDrawing, "png", lambda _, rows, title: shown.append(rows))
    net = model()
    frames = list(widgets._film_frames(net, [1, 2], STEPS, seed=5, guidance=1.0))
    assert len(frames) == STEPS + 1
    _, decoded, guess = shown[-1]
    assert torch.equal(decoded, net.sample(2, [1, 2], steps=STEPS, seed=5))
    assert torch.equal(guess, decoded)
    assert not torch.equal(shown[0][1], shown[0][2])
    assert all(row.shape == (2, 1, 16, 16) for row in shown[0])


def test_film_of_a_model_without_labels_and_in_colour() -> None:
    _, image = widgets.denoising_film(model(classes=0, channels=3), [0, 0], steps=2).children
    assert pixels(image.value).std() > 0


def test_import_needs_no_kernel() -> None:
    code = (
        "import ldmlib.widgets, sys, matplotlib;"
        "assert 'IPython' not in sys.modules or sys.modules['IPython'].get_ipython() is None;"
        "assert ldmlib.widgets.schedule_explorer().children[2].value[:4] == b'\\x89PNG'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_what_ipywidgets_7_and_8_share() -> None:
    made = {type(w).__name__ for w in (*explorer(), *film())}
    assert made <= {"Dropdown", "FloatSlider", "IntSlider", "Image", "HBox", "VBox", "Play"}
