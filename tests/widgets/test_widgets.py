"""Widgets redraw when moved, quickly, without a kernel, and nothing piles up."""

from __future__ import annotations

import functools
import gc
import io
import itertools
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

import tiny
from ldmlib import widgets
from ldmlib.data.dataset import ImageData
from ldmlib.diffusion.schedule import NAMES
from ldmlib.evaluation import metrics
from ldmlib.evaluation.evaluator import Evaluator
from ldmlib.images import to_uint8
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.unet import UNetConfig
from ldmlib.probability.mixtures import GaussianMixture, ring
from ldmlib.probability.pca import PCA
from ldmlib.rng import seeded
from ldmlib.widgets import film as film_module
from ldmlib.widgets import guidance as guidance_module
from ldmlib.widgets import mixtures, posterior, scores, walk

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


def explorer() -> tuple[ipywidgets.SelectionSlider, ipywidgets.FloatSlider, ipywidgets.Image]:
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


def test_film_shows_prepared_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is shown nothing is drawn any more."""
    slider, image = film()
    monkeypatch.setattr(film_module, "png", None)
    slider.value = 1
    first = image.value
    slider.value = 2
    slider.value = 1
    assert image.value == first


def test_film_depends_on_seed_and_guidance_and_repeats() -> None:
    last = film(seed=0)[1].value
    assert film(seed=0)[1].value == last
    assert film(seed=1)[1].value != last
    assert film(seed=0, guidance=3.0)[1].value != last


def test_film_ends_where_sample_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of the last frame are the pictures of `sample`, and nothing is left to guess."""
    shown = []
    monkeypatch.setattr(film_module._FilmDrawing, "png", lambda _, rows, title: shown.append(rows))
    net = model()
    frames = list(film_module.film_frames(net, 2, [1, 2], None, STEPS, 5, 1.0))
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


# The explorers

LATENTS = seeded(0)
POINTS, NAMES_OF_POINTS = torch.randn(50, 5, generator=LATENTS), torch.arange(50) % 10
SPACE = PCA.fit(torch.randn(40, 1, 8, 8, generator=LATENTS), 5)


def guidance(**options) -> ipywidgets.VBox:
    """The guidance explorer of a tiny untrained model, among 30 random latents."""
    net = model()
    latents = torch.randn(30, *net.latent_shape, generator=seeded(1))
    return widgets.guidance_explorer(net, latents, torch.arange(30) % 3, label=1, n=2, **options)


@functools.cache
def tiny_evaluator() -> Evaluator:
    """Eight features of pictures of 8 x 8: 60 to train on, 40 held out."""
    x = torch.rand(100, 1, 8, 8, generator=seeded(2)) * 2 - 1
    data = [ImageData(to_uint8(part), None, "noise") for part in (x[:60], x[60:])]
    return Evaluator(*data, tiny.classifier(), "tiny", cache=False)


def fid(n: int = 20) -> ipywidgets.VBox:
    """The FID explorer of n held-out pictures."""
    return widgets.fid_explorer(tiny_evaluator(), HELD_OUT[:n])


HELD_OUT = torch.rand(40, 1, 8, 8, generator=seeded(3)) * 2 - 1
EXPLORERS = {
    "schedule": lambda: widgets.schedule_explorer(PICTURE),
    "mixture": widgets.mixture_explorer,
    "posterior": widgets.posterior_explorer,
    "walk": lambda: widgets.latent_walk(SPACE, POINTS, NAMES_OF_POINTS),
    "guidance": guidance,
    "fid": fid,
}


def inside(box: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    """Every widget in a box, boxes included."""
    return [box, *(w for child in getattr(box, "children", ()) for w in inside(child))]


def sliders_and_image(box: ipywidgets.VBox) -> tuple[list, ipywidgets.Image]:
    found = inside(box)
    sliders = [w for w in found if isinstance(w, ipywidgets.FloatSlider)]
    (image,) = [w for w in found if isinstance(w, ipywidgets.Image)]
    return sliders, image


each_explorer = pytest.mark.parametrize("name", EXPLORERS)


@each_explorer
def test_every_slider_changes_the_picture_and_back(name: str) -> None:
    sliders, image = sliders_and_image(EXPLORERS[name]())
    first = image.value
    for slider in sliders:
        start = slider.value
        slider.value = start + (0.3 if start + 0.3 <= slider.max else -0.3)
        assert image.value != first
        slider.value = start
        assert image.value == first


@each_explorer
def test_every_place_of_every_slider_can_be_drawn(name: str) -> None:
    sliders, image = sliders_and_image(EXPLORERS[name]())
    for slider in sliders:
        for value in (slider.min, slider.max):
            slider.value = value
            assert pixels(image.value).std() > 0


@each_explorer
def test_a_redraw_is_little_more_than_saving_the_figure(name: str) -> None:
    """Nothing is made anew or computed at length: measured beside a bare figure's own PNG."""

    def seconds(act) -> float:
        times = []
        for value in (0.3, 0.4, 0.5, 0.6, 0.7):
            start = time.process_time()
            act(value)
            times.append(time.process_time() - start)
        return min(times)

    slider = sliders_and_image(EXPLORERS[name]())[0][0]
    figure = Figure(figsize=(9.6, 2.8), dpi=90)
    figure.subplots(1, 4)
    bare = seconds(lambda _: figure.savefig(io.BytesIO(), format="png"))
    assert seconds(lambda value: setattr(slider, "value", value)) < 4 * bare


def moved_by_hand(box: ipywidgets.VBox) -> list[ipywidgets.Widget]:
    """The controls of a widget."""
    kinds = (ipywidgets.FloatSlider, ipywidgets.IntSlider, ipywidgets.SelectionSlider)
    return [w for w in inside(box) if isinstance(w, kinds)]


def places(control: ipywidgets.Widget) -> list:
    """Some values of a control: of a slider four, of a choice all."""
    if hasattr(control, "options"):
        return [option[-1] if isinstance(option, tuple) else option for option in control.options]
    return [control.min + control.step * i for i in range(4)]


def empty_caches() -> None:
    """Empty matplotlib's own caches, of measured texts for example: they have a limit, no leak."""
    for thing in gc.get_objects():
        is_cache = isinstance(thing, functools._lru_cache_wrapper)
        if is_cache and str(thing.__module__).startswith("matplotlib"):
            thing.cache_clear()


def held() -> tuple[int, int, int]:
    """How many objects, tensors' bytes and figures there are."""
    empty_caches()
    for _ in range(3):  # what goes in one round may let go of more
        gc.collect()
    things = gc.get_objects()
    tensors = [thing for thing in things if type(thing) is torch.Tensor]
    return len(things), sum(t.nbytes for t in tensors), sum(type(t) is Figure for t in things)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EXPLORERS, "film"])
def test_a_hundred_changes_leave_nothing_behind(name: str) -> None:
    """Once every setting has been seen, objects, tensors and figures stay as many as they are.

    A leak grows with every hundred changes; what grows once belongs to Python and its libraries.
    """
    makers = {**EXPLORERS, "film": lambda: widgets.denoising_film(model(), [0, 2], steps=STEPS)}
    box, numbers = makers[name](), plt.get_fignums()
    settings = [(control, value) for control in moved_by_hand(box) for value in places(control)]

    def change(times: int) -> None:
        for control, value in itertools.islice(itertools.cycle(settings), times):
            control.value = value

    def growth() -> tuple[int, ...]:
        before = held()
        change(100)
        return tuple(after - earlier for after, earlier in zip(held(), before, strict=True))

    change(2 * len(settings))
    rounds = (growth() for _ in range(3))
    leaks = [grown for grown in itertools.takewhile(lambda g: g[0] > 20 or max(g[1:]) > 0, rounds)]
    assert len(leaks) < 3, f"objects, bytes of tensors and figures grew by {leaks}"
    assert plt.get_fignums() == numbers


def test_guidance_explorer_draws_what_the_model_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are `sample` at weight 1 and at the weight; without guidance they are one row."""
    shown = []
    monkeypatch.setattr(
        guidance_module._GuidanceDrawing, "png", lambda _, *drawn: shown.append(drawn) or b""
    )
    label, weight, seed = guidance().children[0].children
    label.value, weight.value, seed.value = 2, 3.0, 5
    name, strength, (_, before), (_, after), _ = shown[-1]
    options = {"steps": guidance_module.STEPS, "sampler": guidance_module.SAMPLER, "seed": 5}
    assert (name, strength) == ("c", 3.0)
    assert torch.equal(before, model().sample(2, 2, guidance=1.0, **options))
    assert torch.equal(after, model().sample(2, 2, guidance=3.0, **options))
    weight.value = 1.0
    assert torch.equal(shown[-1][2][1], shown[-1][3][1])


def test_guidance_explorer_measures_from_the_average_to_the_class() -> None:
    net, kinds = model(), torch.arange(30) % 3
    latents = torch.randn(30, *net.latent_shape, generator=seeded(1))
    latents += kinds.view(-1, 1, 1, 1)
    place, everyone, own = guidance_module._Places(net, latents, kinds).of(2)
    assert float(everyone.mean()) == pytest.approx(0, abs=1e-5)
    assert float(own.mean()) == pytest.approx(1, abs=1e-5)
    assert place(latents[:5]).shape == (5,)


def test_guidance_explorer_keeps_few_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """More settings than it keeps: the tensors stay as many as they are."""
    monkeypatch.setattr(guidance_module, "KEPT", 4)
    _, weight, _ = guidance().children[0].children
    kept = []
    for turn in range(2):
        for i in range(5):
            weight.value = 0.1 + i + turn / 2
        kept.append(held()[1])
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("classes", "shape", "labels", "message"),
    [
        (0, (5, 3, 4, 4), 5, "trained with classes"),
        (3, (5, 3, 4), 5, r"shape \(5, 3, 4, 4\), one for each label, not \(5, 3, 4\)"),
        (3, (2, 3, 4, 4), 2, "class 2 has none"),
    ],
)
def test_guidance_explorer_says_what_it_needs(classes, shape, labels, message) -> None:
    with pytest.raises(ValueError, match=message):
        widgets.guidance_explorer(model(classes), torch.zeros(shape), torch.arange(labels))


def test_fid_explorer_shows_the_library_s_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(scores._ScoresDrawing, "png", lambda _, *drawn: shown.append(drawn) or b"")
    box, evaluator = fid(), tiny_evaluator()
    blur, noise = box.children[0].children
    light, kinds = box.children[1].children
    blur.value, noise.value, light.value, kinds.value = 0.5, 0.1, 0.7, 5
    spoiled = scores.spoil(HELD_OUT[:20], 0.5, 0.1, 0.7, kinds=5)
    features, _ = evaluator.features(spoiled)
    found = shown[-1][1]
    assert found["FID"] == pytest.approx(metrics.fid(features, evaluator.train))
    some = scores.Scorer(evaluator, 20).real
    assert found["KID x 1000"] == pytest.approx(1000 * metrics.kid(features, some, repeats=1))
    real = metrics.precision_recall(some, features)
    assert (found["precision"], found["recall"]) == pytest.approx(real)
    assert len(evaluator.features(HELD_OUT[:20])[0]) == len(some)


def test_fid_explorer_s_floor_is_the_evaluator_s() -> None:
    evaluator = tiny_evaluator()
    floor = scores.Scorer(evaluator, 20).floor
    assert floor["FID"] == pytest.approx(evaluator.floor(20))
    assert 0 <= floor["precision"] <= 1 and 0 <= floor["recall"] <= 1


def test_fid_explorer_needs_more_pictures_than_features() -> None:
    with pytest.raises(ValueError, match="FID on 8 features needs more than 8 samples"):
        fid(8)


def test_spoiling_does_what_its_words_say() -> None:
    x = HELD_OUT[:20]
    torch.testing.assert_close(scores.spoil(x), x)
    assert torch.equal(scores.spoil(x, light=0.0), -torch.ones_like(x))
    assert torch.equal(scores.spoil(x, noise=0.3), scores.spoil(x, noise=0.3))
    assert torch.equal(scores.spoil(x, kinds=3), x[torch.arange(20) % 3])
    flat = torch.full((1, 3, 32, 32), 0.5)
    middle = scores.spoil(flat, blur=1.0)[..., 8:-8, 8:-8]
    torch.testing.assert_close(middle, flat[..., 8:-8, 8:-8])
    dot = -torch.ones(1, 1, 33, 33)
    dot[..., 16, 16] = 1
    spread = scores.spoil(dot, blur=1.5)[0, 0] + 1
    assert float(spread.sum()) == pytest.approx(2, rel=1e-3)
    row = spread.sum(0) / spread.sum()
    assert float((row * (torch.arange(33.0) - 16) ** 2).sum()) == pytest.approx(1.5**2, rel=0.02)


def test_mixture_explorer_draws_the_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(
        mixtures._MixtureDrawing, "png", lambda _, mixture: shown.append(mixture) or b""
    )
    box = widgets.mixture_explorer(mean_1=-1, spread_2=0.5, weight_1=0.8)
    sliders_and_image(box)[0][2].value = 2.0  # mean 2
    mixture = shown[-1]
    assert mixture.means[:, 0].tolist() == [-1.0, 2.0]
    assert mixture.weights.tolist() == pytest.approx([0.8, 0.2])
    assert mixture.covs.flatten().tolist() == pytest.approx([0.36, 0.25])


def test_mixture_explorer_marks_tops_and_passes() -> None:
    drawing = mixtures._MixtureDrawing()
    for apart, dots in ((2.0, 3), (0.4, 1)):
        drawing.png(mixtures.two_bumps(mixtures.START | {"mean 1": -apart, "mean 2": apart}))
        assert len(drawing.rests.get_xdata()) == dots


def test_mixture_explorer_knows_its_sliders() -> None:
    with pytest.raises(ValueError, match="no slider 'width 1'; known are mean_1, spread_1"):
        widgets.mixture_explorer(width_1=3)


def test_posterior_explorer_is_bayes_rule() -> None:
    """A Gaussian prior: mean x v / (v + s^2), evidence N(0, v + s^2)."""
    prior = GaussianMixture.isotropic(torch.zeros(1, 1).double(), 1.5)
    drawing = posterior._PosteriorDrawing(prior)
    drawing.png(x=1.0, noise=0.8)
    mean = float(drawing.mean.get_xdata()[0])
    assert mean == pytest.approx(2.25 / (2.25 + 0.64), abs=0.01)
    area = float(drawing.after.get_ydata().sum()) * float(drawing.z[1] - drawing.z[0])
    assert area == pytest.approx(1)
    assert drawing.ax.get_title().startswith("p(x) = 0.197")


def test_posterior_explorer_lives_on_a_line() -> None:
    with pytest.raises(ValueError, match="prior must live in 1 dimension, not 2"):
        widgets.posterior_explorer(ring())


def test_walk_starts_where_asked_and_moves_the_first_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = []
    monkeypatch.setattr(walk._WalkDrawing, "png", lambda _, z: shown.append(z) or b"")
    start = torch.tensor([0.5, -1.0, 0.2, 0.0, 3.0])
    box = widgets.latent_walk(SPACE, POINTS, NAMES_OF_POINTS, start, sliders=2)
    sliders, _ = sliders_and_image(box)
    sliders[1].value = 2.0
    assert len(sliders) == 2
    torch.testing.assert_close(shown[0], start)
    torch.testing.assert_close(shown[-1], torch.tensor([0.5, 2.0, 0.2, 0.0, 3.0]))


@pytest.mark.parametrize(
    ("points", "start"), [(POINTS[:, :3], None), (POINTS, POINTS[0, :3]), (POINTS[0], None)]
)
def test_walk_refuses_another_space(points, start) -> None:
    with pytest.raises(ValueError, match=r"points must be \(n, 5\) and start \(5,\)"):
        widgets.latent_walk(SPACE, points, NAMES_OF_POINTS, start)


def some_figures(n: int):
    for i in range(n):
        figure, ax = plt.subplots(figsize=(2, 2))
        ax.plot([0, i], [0, 1])
        yield figure


def test_animation_is_a_gif_of_all_figures() -> None:
    shown = widgets.animation(some_figures(4), seconds=0.2, pause=1.0)
    gif = Image.open(io.BytesIO(shown.data))
    assert gif.format == "GIF" and gif.n_frames == 4 and gif.info["loop"] == 0
    times = []
    for i in range(4):
        gif.seek(i)
        times.append(gif.info["duration"])
    assert times == [200, 200, 200, 1000]
    assert plt.get_fignums() == []


def test_animation_shows_one_figure_as_it_changes() -> None:
    def moving():
        figure, ax = plt.subplots(figsize=(2, 2))
        (line,) = ax.plot([0, 1], [0, 0])
        for height in (0.0, 0.02, 0.04):
            line.set_ydata([0, height])
            yield figure

    gif = Image.open(io.BytesIO(widgets.animation(moving()).data))
    frames = []
    for i in range(3):
        gif.seek(i)
        frames.append(gif.convert("RGB").tobytes())
    assert len(set(frames)) == 3


def test_animation_needs_a_figure() -> None:
    with pytest.raises(ValueError, match="at least one figure"):
        widgets.animation([])


def test_only_what_ipywidgets_7_and_8_share() -> None:
    boxes = [*explorer(), *film(), *(w for make in EXPLORERS.values() for w in inside(make()))]
    made = {type(w).__name__ for w in boxes}
    sliders = {"FloatSlider", "IntSlider", "SelectionSlider"}  # keys move them in JupyterLab
    assert made <= sliders | {"Image", "HBox", "VBox", "Play"}


# A prompt to type


def test_prompt_explorer_draws_what_is_typed() -> None:
    model = tiny.text_model()
    box = widgets.prompt_explorer(model, "red apple", n=2, steps=2)
    words, controls, said, image = box.children
    style, weight, seed, step = controls.children
    first = image.value
    assert step.max == 2 and weight.value == model.config.guidance
    words.value = "red car"
    assert image.value != first and said.value == ""
    words.value, last = "red apple", image.value
    assert image.value == first != last
    for control, value in ((style, "noto"), (weight, 3.0), (seed, 4), (step, 0)):
        before = image.value
        control.value = value
        assert image.value != before, control.description


def test_prompt_explorer_answers_a_prompt_that_cannot_be_read() -> None:
    box = widgets.prompt_explorer(tiny.text_model(), "red apple", n=1, steps=2)
    words, _, said, image = box.children
    before = image.value
    words.value = "жаба"
    assert "cannot be read" in said.value and image.value == before
    words.value = "red car"
    assert said.value == "" and image.value != before


def test_prompt_explorer_needs_a_model_that_reads() -> None:
    with pytest.raises(ValueError, match="reads no prompts"):
        widgets.prompt_explorer(model())
