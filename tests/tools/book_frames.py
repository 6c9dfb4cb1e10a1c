"""Pictures of the notebooks' widgets at many settings: sliders that work on a page without Python.

`make book` drives the real widgets of ldmlib, one setting after the other, and keeps what their
picture shows as WebP files in book/_static/frames, with a manifest for each page. site.js shows
them where the notebook shows the widget. Nothing is made anew while widgets and weights stay.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from book_project import BOOK, ROOT, source_of

FRAMES = BOOK / "_static" / "frames"
MARK = FRAMES / "made_from.txt"
LARGEST_PAGE = 1_000_000
SOURCES = (
    *("ldmlib/widgets/*.py", "ldmlib/assets/weights/mnist/*"),
    *("ldmlib/assets/weights/mnist_features/*", "tests/tools/book_frames.py"),
)


def film():
    """Notebook 00: from noise to digits."""
    from ldmlib import LatentDiffusion
    from ldmlib.widgets import denoising_film

    return denoising_film(LatentDiffusion.from_pretrained("mnist"), labels=[2, 3, 5, 8], seed=4)


def guidance():
    """Notebook 06: how far guidance carries digits."""
    from ldmlib import LatentDiffusion, data
    from ldmlib.widgets import guidance_explorer

    model = LatentDiffusion.from_pretrained("mnist")
    x, y = (part[:2000] for part in data.mnist("test").as_tensors())
    return guidance_explorer(model, model.encode(x), y, label=3, weight=3.0)


def scores():
    """Notebook 07: real digits to spoil."""
    from ldmlib.data import mnist
    from ldmlib.evaluation.evaluator import mnist_evaluator
    from ldmlib.widgets import fid_explorer

    few = mnist("test").random_subset(200, seed=3).as_tensors()[0]
    return fid_explorer(mnist_evaluator(), few)


def explorer(name: str) -> Callable:
    """A widget of the library that needs no arguments."""

    def make():
        import ldmlib.widgets

        return getattr(ldmlib.widgets, name)()

    return make


def digits_walk():
    """Notebook 01: the first four principal components of a real 3."""
    from ldmlib import data
    from ldmlib.probability import pca
    from ldmlib.widgets import latent_walk

    digits, labels = data.mnist("train").random_subset(20_000, seed=0).as_tensors()
    space = pca.PCA.fit(digits, 32)
    z, three = space.encode(digits[:1500]), int((labels == 3).nonzero()[0])
    return latent_walk(space, z, labels[:1500], start=z[three])


# Page -> for each of its widget views, in order: what makes it, and the controls that are moved,
# by their label, with how many places each. A view that is not listed keeps its still picture.
WIDGETS: dict[str, list[tuple[Callable, dict[str, int]]]] = {
    "notebooks/00_start_here": [(film, {"step": 20})],
    "notebooks/01_probability_and_latent_spaces": [
        (explorer("posterior_explorer"), {"noise": 7, "x": 9}),
        (explorer("mixture_explorer"), {"weight 1": 5, "mean 2": 9}),
        (digits_walk, {"z1": 4, "z2": 4}),
    ],
    "notebooks/04_forward_diffusion": [
        (explorer("schedule_explorer"), {"schedule": 4, "t": 17}),
    ],
    "notebooks/06_training_a_latent_diffusion_model": [(guidance, {"class": 10, "w": 6})],
    "notebooks/07_evaluation_fid": [(scores, {"kinds": 8, "noise": 3, "blur": 3})],
}


def parts(widget) -> Iterator:
    """A widget and everything inside it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)


def places(control, n: int) -> list:
    """Up to n values of a control, evenly over its range, its present value among them."""
    if hasattr(control, "options"):
        return [option[-1] if isinstance(option, tuple) else option for option in control.options]
    low, high, step = control.min, control.max, control.step
    count = min(n, round((high - low) / step) + 1)
    values = [low + step * round(i * (high - low) / step / (count - 1)) for i in range(count)]
    nearest = min(range(count), key=lambda i: abs(values[i] - control.value))
    values[nearest] = control.value
    return values


def sweep(widget, moved: dict[str, int]) -> tuple[list[dict], list[bytes]]:
    """Move the controls named over their places; returns their descriptions, and all pictures.

    The last control changes fastest.

    Raises:
        LookupError: the widget has no control of that label.
    """
    inside = list(parts(widget))
    labels = {getattr(part, "description", ""): part for part in inside if hasattr(part, "value")}
    if not set(moved) <= set(labels):
        raise LookupError(f"no control {set(moved) - set(labels)}, only {sorted(labels)}")
    picture = next(part for part in inside if type(part).__name__ == "Image")
    controls = [labels[label] for label in moved]
    values = [places(control, n) for control, n in zip(controls, moved.values(), strict=True)]
    described = [
        {"label": label, "values": [written(v) for v in some], "start": some.index(control.value)}
        for label, some, control in zip(moved, values, controls, strict=True)
    ]
    pictures = []
    for setting in itertools.product(*values):
        for control, value in zip(controls, setting, strict=True):
            control.value = value
        pictures.append(bytes(picture.value))
    return described, pictures


def written(value: object) -> str:
    """A setting as the page says it."""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def webp(png: bytes) -> bytes:
    """A picture, smaller; figures with a few colours lose nothing that can be seen."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "WEBP", quality=60, method=6)
    return buffer.getvalue()


def fingerprint() -> str:
    """What the frames are made from, as a short hash."""
    paths = sorted(path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file())
    content = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)
    there = [page for page in WIDGETS if source_of(page)]
    return hashlib.sha256(content + repr(there).encode()).hexdigest()[:16]


def make_page(page: str) -> int:
    """Write frames and manifest of one page; returns the bytes of its pictures."""
    folder, manifest, size = FRAMES / Path(page).name, [], 0
    folder.mkdir(parents=True)
    for number, (make, moved) in enumerate(WIDGETS[page]):
        controls, pictures = sweep(make(), moved)
        for i, picture in enumerate(pictures):
            small = webp(picture)
            (folder / f"{number}_{i}.webp").write_bytes(small)
            size += len(small)
        manifest.append({"controls": controls, "files": f"{folder.name}/{number}_"})
    (FRAMES / f"{folder.name}.json").write_text(json.dumps(manifest))
    return size


def make() -> None:
    """Bring all frames up to date, the pages side by side: one core draws one page."""
    if MARK.is_file() and MARK.read_text() == fingerprint():
        return
    print("Drawing the frames of the notebooks' sliders ...", flush=True)
    shutil.rmtree(FRAMES, ignore_errors=True)
    pages = [page for page in WIDGETS if source_of(page)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for page, size in zip(pages, pool.map(make_page, pages), strict=True):
            print(f"{page}: {size / 1e6:.2f} MB of frames")
    MARK.write_text(fingerprint())


def manifest(page: str) -> list[dict]:
    """What site.js has to know about a page's frames; empty if it has none."""
    path = FRAMES / f"{Path(page).name}.json"
    return json.loads(path.read_text()) if page in WIDGETS and path.is_file() else []
