"""The live page: the exported networks, the JavaScript sampler, and the page in a real browser.

What is missing on a machine (node, npm's packages, Chromium, onnx) skips the tests that need it,
with the reason; with LDM_REQUIRE_BROWSER=1 it fails them.
"""

from __future__ import annotations

import functools
import gzip
import http.server
import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import torch

from ldmlib.diffusion import samplers
from ldmlib.diffusion.guidance import predictor
from ldmlib.diffusion.process import Diffusion
from ldmlib.diffusion.schedule import Schedule
from ldmlib.diffusion.spacing import time_grid
from ldmlib.evaluation.features import accuracy
from ldmlib.export.onnx import export, is_large, main, rounded, to_int8, up_to_date, weights_hash
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.latent.model import LatentDiffusion
from ldmlib.networks.autoencoder import AutoencoderConfig
from ldmlib.networks.classifier import bundled_classifier
from ldmlib.networks.unet import UNetConfig

ROOT = Path(__file__).resolve().parents[2]
LIVE = ROOT / "book" / "_static" / "live"
MODULES = ROOT / "book" / "node_modules"
RUNTIME = MODULES / "onnxruntime-web" / "dist"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LARGEST_DOWNLOAD = 8e6  # gzipped
IN_THE_PAGE = ("ddpm", "ddim", "euler", "heun")  # the samplers that the page has
TOLERANCE = dict(atol=1e-4, rtol=1e-4)


# --------------------------------------------------------------------------- what is needed
def missing(reason: str) -> None:
    """Skip, or fail where the machine was promised to have everything."""
    if os.environ.get("LDM_REQUIRE_BROWSER") == "1":
        pytest.fail(f"LDM_REQUIRE_BROWSER=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def node() -> str:
    """The node executable."""
    return shutil.which("node") or missing("node is not installed")


@pytest.fixture(scope="module")
def runtime() -> Path:
    """The folder of onnxruntime-web."""
    if not all((RUNTIME / name).is_file() for name in RUNTIME_FILES):
        missing("onnxruntime-web is not in book/node_modules (npm ci in book/)")
    return RUNTIME


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser, where what drives it is there too."""
    if not (MODULES / "playwright-core").is_dir():
        missing("playwright-core is not in book/node_modules (npm ci in book/)")
    found = (shutil.which(name) for name in BROWSERS)
    return next(filter(None, found), None) or missing("Chromium is not installed")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh export of the bundled model."""
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            missing(f"the package {package} is not installed")
    folder = tmp_path_factory.mktemp("model")
    main(["--out", str(folder)])
    return folder


@pytest.fixture(scope="module")
def model() -> LatentDiffusion:
    """The bundled model with the weights that the export holds."""
    return rounded(LatentDiffusion.from_pretrained("mnist"))


def ask(node: str, folder: Path, runtime: Path | None = None, **questions) -> dict:
    """Put questions to the page's own modules, run by node."""
    asked, answered = folder / "questions.json", folder / "answers.json"
    asked.write_text(json.dumps(questions))
    command = [node, str(ROOT / "tests" / "live" / "sampler.mjs"), str(asked), str(answered)]
    done = subprocess.run(
        [*command, *([str(runtime)] if runtime else [])], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(answered.read_text())


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers of a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def flat(x: torch.Tensor) -> list[float]:
    """All numbers of a tensor, for JSON."""
    return x.flatten().tolist()


# --------------------------------------------------------------------------- weights in 8 bits
def test_8_bits_are_half_a_scale_off_at_most_and_stay_as_they_are() -> None:
    weight = noise(6, 5, 3, 3) * torch.logspace(-3, 2, 6).reshape(-1, 1, 1, 1)
    weight[4] = 0
    numbers, scale = to_int8(weight)
    again = numbers.float() * scale
    assert numbers.dtype == torch.int8 and scale.shape == (6, 1, 1, 1)
    assert bool(((again - weight).abs() <= 0.5001 * scale).all())
    assert int(numbers.abs().amax()) == 127 and not again[4].any()
    torch.testing.assert_close(to_int8(again)[0], numbers)


def test_rounding_leaves_the_model_itself_alone(model: LatentDiffusion) -> None:
    original = LatentDiffusion.from_pretrained("mnist")
    before = {name: value.clone() for name, value in original.state_dict().items()}
    changed = rounded(original).state_dict()
    assert all(torch.equal(before[k], v) for k, v in original.state_dict().items())
    large = {k for k, v in original.named_parameters() if is_large(v)}
    assert {k for k in before if not torch.equal(before[k], changed[k])} <= large
    assert sum(before[k].numel() for k in large) > 0.9 * sum(v.numel() for v in before.values())


def a_model(widths: tuple[int, ...] = (8,), classes: tuple[str, ...] = ("a", "b")):
    """An untrained model, too small for anything but a question of form."""
    first = AutoencoderConfig(latent_channels=1, widths=widths)
    net = UNetConfig(first.latent_channels, (8, 16), 1, heads=2, num_classes=len(classes))
    return LatentDiffusion(LatentDiffusionConfig(first, net, size=8, classes=classes))


def test_models_that_the_page_cannot_show_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="works on pixels"):
        export(a_model(widths=()), tmp_path)
    with pytest.raises(ValueError, match="has no classes"):
        export(a_model(classes=()), tmp_path)
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------- the exported files
@pytest.mark.slow
def test_an_export_is_made_once(exported: Path, tmp_path: Path, capsys) -> None:
    source = weights_hash("mnist")
    assert up_to_date(exported, source)
    main(["--out", str(exported)])
    assert "is up to date" in capsys.readouterr().out
    assert not up_to_date(exported, "other weights")
    assert not up_to_date(exported, None)
    assert not up_to_date(tmp_path, source)
    cut = shutil.copytree(exported, tmp_path / "cut")
    (cut / "decoder.onnx").write_bytes((cut / "decoder.onnx").read_bytes()[:-1])
    assert not up_to_date(cut, source)


@pytest.mark.slow
def test_networks_equal_torch_at_any_batch_size(
    node: str, runtime: Path, exported: Path, model: LatentDiffusion, tmp_path: Path
) -> None:
    calls, expected = [], []
    for n in (1, 2, 5):
        z, t = noise(n, *model.latent_shape, seed=n), torch.linspace(0, 1, n)
        x = noise(n, 1, 32, 32, seed=n).clamp(-1, 1)
        label = torch.arange(n) * 3 % 11 - 1
        pairs = [
            ("x", ["float32", flat(z), list(z.shape)]),
            ("t", ["float32", flat(t), [n]]),
            ("label", ["int32", flat(label), [n]]),
        ]
        calls.append(["denoiser", dict(pairs)])
        calls.append(["decoder", {"z": ["float32", flat(z), list(z.shape)]}])
        calls.append(["encoder", {"x": ["float32", flat(x), list(x.shape)]}])
        expected += [model.denoise(z, t, label), model.decode(z), model.encode(x)]
    answers = ask(node, tmp_path, runtime, network=str(exported), calls=calls)["calls"]
    for answer, right in zip(answers, expected, strict=True):
        torch.testing.assert_close(torch.tensor(answer), right.flatten(), **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["heun", "euler", "ddim", "ddpm"])
def test_sampler_equals_the_library_on_the_same_noise_and_network(
    sampler: str, node: str, runtime: Path, exported: Path, model: LatentDiffusion,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    labels, guidance, steps = torch.tensor([3, -1, 8]), 2.0, 5
    run = a_run(sampler, model.diffusion, model.latent_shape, labels, guidance, steps)
    expected = library_states(run, model.diffusion, model.denoise, monkeypatch)
    answer = ask(node, tmp_path, runtime, network=str(exported), runs=[run])["runs"][0]
    compare(answer, expected)


@pytest.mark.slow
def test_plain_export_facts(exported: Path, model: LatentDiffusion) -> None:
    facts = json.loads((exported / "model.json").read_text())
    assert tuple(facts["latent_shape"]) == model.latent_shape
    assert tuple(facts["classes"]) == model.config.classes
    assert facts["schedule"] == model.config.diffusion.schedule
    assert facts["steps"] == model.config.steps
    for name, file in facts["files"].items():
        data = (exported / file).read_bytes()
        assert facts["gzipped_bytes"][name] == pytest.approx(len(gzip.compress(data)), rel=0.01)


# --------------------------------------------------------------------------- pure JavaScript
def a_run(sampler, diffusion: Diffusion, shape, labels, guidance: float, steps: int, first=1.0):
    """A question to the JavaScript sampler: all that decides what it draws."""
    x = noise(len(labels), *shape)
    fresh = [noise(len(labels), *shape, seed=i + 1) for i in range(steps)]
    return {
        "sampler": sampler, "schedule": diffusion.schedule, "steps": steps, "first": first,
        "parametrisation": diffusion.parametrisation, "guidance": guidance, "shape": list(shape),
        "labels": flat(labels), "noise": flat(x), "fresh": [flat(f) for f in fresh],
    }  # fmt: skip


def library_states(run: dict, diffusion: Diffusion, denoiser, monkeypatch) -> list:
    """The same question, put to `ldmlib.diffusion.samplers`."""
    labels, shape = torch.tensor(run["labels"]), (len(run["labels"]), *run["shape"])
    fresh = iter(torch.tensor(f).reshape(shape) for f in run["fresh"])
    monkeypatch.setattr(samplers, "randn_like", lambda x, generator: next(fresh))
    predict = predictor(diffusion, denoiser, labels, run["guidance"])
    times, x = time_grid(run["steps"], run["first"]), torch.tensor(run["noise"]).reshape(shape)
    with torch.no_grad():
        return list(samplers.SAMPLERS[run["sampler"]](predict, x, times, diffusion.curves))


def compare(answer: list[dict], expected: list) -> None:
    """Every state of a film, to 1e-4."""
    assert len(answer) == len(expected)
    for state, right in zip(answer, expected, strict=True):
        assert state["t"] == pytest.approx(right.t, abs=1e-12)
        assert state["evaluations"] == right.evaluations
        torch.testing.assert_close(torch.tensor(state["x"]), right.x.flatten(), **TOLERANCE)
        torch.testing.assert_close(torch.tensor(state["x0"]), right.x0.flatten(), **TOLERANCE)


def formula(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
    """The denoiser that tests/live/sampler.mjs uses where no network is given."""
    shape = (-1, *[1] * (x.ndim - 1))
    return torch.sin(3 * x + 2 * t.reshape(shape) + 0.3 * cond.reshape(shape))


@pytest.mark.parametrize(
    ("schedule", "parametrisation"),
    [("flow", "flow"), ("flow", "x0"), ("flow", "v"), ("cosine", "v"), ("cosine", "flow"),
     ("linear", "x0"), ("scaled_linear", "eps"), ("linear", "eps")],
)  # fmt: skip
def test_every_schedule_and_parametrisation_equals_the_library(
    schedule: str, parametrisation: str, node: str, tmp_path: Path, monkeypatch
) -> None:
    diffusion = Diffusion(schedule, parametrisation)
    labels, runs = torch.tensor([0, 2]), []
    for i, name in enumerate(IN_THE_PAGE):
        first = 0.7 if parametrisation == "eps" else 1.0  # at 1 eps divides by almost nothing
        guidance = (0.0, 1.0, 1.5, 3.0)[i]
        runs.append(a_run(name, diffusion, (2, 3), labels, guidance, 4 + i, first))
    answers = ask(node, tmp_path, runs=runs)["runs"]
    for run, answer in zip(runs, answers, strict=True):
        compare(answer, library_states(run, diffusion, formula, monkeypatch))


@pytest.mark.parametrize("name", ["flow", "cosine", "linear", "scaled_linear"])
def test_schedules_equal_the_library(name: str, node: str, tmp_path: Path) -> None:
    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    answer = ask(node, tmp_path, curves=[{"name": name, "times": flat(times)}])["curves"][0]
    expected = torch.stack(Schedule(name).alpha_sigma(times), 1)
    torch.testing.assert_close(
        torch.tensor(answer, dtype=torch.float64), expected, atol=1e-9, rtol=1e-9
    )


def test_noise_is_normal_repeats_and_differs_between_seeds(node: str, tmp_path: Path) -> None:
    n = 20_000
    draws = [{"seed": seed, "length": n} for seed in (1, 1, 2)] + [{"seed": 1, "length": 7}]
    a, again, b, short = map(torch.tensor, ask(node, tmp_path, draws=draws)["draws"])
    assert torch.equal(a, again) and torch.equal(short, a[:7])
    for x in (a, b):
        assert abs(float(x.mean())) < 4 / math.sqrt(n)
        assert abs(float(x.std()) - 1) < 4 / math.sqrt(2 * n)
        assert abs(float((x.abs() < 1).double().mean()) - 0.6827) < 0.014
        assert abs(float((x[1:] * x[:-1]).mean())) < 4 / math.sqrt(n)
    assert abs(float((a * b).mean())) < 4 / math.sqrt(n)


def test_uniform_numbers_are_mulberry32s(node: str, tmp_path: Path) -> None:
    draws = [{"seed": 12345, "length": 5, "uniform": True}]
    state, expected, mask = 12345, [], 2**32 - 1
    for _ in range(5):
        state = z = (state + 0x6D2B79F5) & mask
        z = (z ^ z >> 15) * (z | 1) & mask
        z ^= (z + ((z ^ z >> 7) * (z | 61) & mask)) & mask
        expected.append((z ^ z >> 14) / 2**32)
    assert ask(node, tmp_path, draws=draws)["draws"][0] == pytest.approx(expected, abs=1e-15)


def test_the_way_between_two_noises_keeps_their_size(node: str, tmp_path: Path) -> None:
    a, b = noise(256, seed=1), noise(256, seed=2)
    b = b - a * (a @ b) / (a @ a)  # at right angles, so that the arc is a quarter of a circle
    b = b * a.norm() / b.norm()
    places = [0.0, 0.25, 0.5, 1.0]
    ways = [{"a": flat(a), "b": flat(b), "u": u} for u in places]
    ways.append({"a": flat(a), "b": flat(a), "u": 0.5})
    *way, still = map(torch.tensor, ask(node, tmp_path, ways=ways)["ways"])
    for u, x in zip(places, way, strict=True):
        expected = math.cos(u * math.pi / 2) * a + math.sin(u * math.pi / 2) * b
        torch.testing.assert_close(x, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(still, a)


# --------------------------------------------------------------------------- the page
class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder quietly, modules and WebAssembly with the types that browsers ask for."""

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


def plain_page() -> str:
    """The parts of book/live.md, and the one for the first page, in a bare HTML page."""
    text = (ROOT / "book" / "live.md").read_text(encoding="utf-8")
    blocks = re.findall(r'^<div class="ldm-live".*</div>$', text, re.M)
    script = re.findall(r"^<script.*</script>$", text, re.M)
    assert len(blocks) == 3 and len(script) == 1
    embed = '<div class="ldm-live" data-part="embed"></div>'
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    icon = '<link rel="icon" href="data:,"><title>live</title>'
    body = "\n".join([*blocks, embed, *script])
    return f'<!DOCTYPE html><html lang="en"><head>{head}{icon}</head><body>{body}</body></html>'


@pytest.fixture(scope="module")
def seen(node, chromium, runtime, exported, tmp_path_factory) -> dict:
    """What the browser showed and asked for, from tests/live/page.mjs."""
    folder = tmp_path_factory.mktemp("site")
    static = folder / "_static"
    shutil.copytree(LIVE, static / "live", ignore=shutil.ignore_patterns("model"))
    shutil.copytree(exported, static / "live" / "model")
    (static / "vendor" / "onnxruntime-web").mkdir(parents=True)
    for name in RUNTIME_FILES:
        shutil.copy(runtime / name, static / "vendor" / "onnxruntime-web")
    (folder / "book").mkdir()
    (folder / "book" / "live.html").write_text(plain_page(), encoding="utf-8")
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/book/live.html"
        shots = os.environ.get("LDM_SCREENSHOTS")
        command = [node, str(ROOT / "tests" / "live" / "page.mjs"), chromium, str(MODULES), url]
        command += [str(folder / "seen.json"), *([shots] if shots else [])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "seen.json").read_text())
    files = {path for path in result["paths"] if path.startswith("/_static/")}
    result["gzipped"] = sum(len(gzip.compress((folder / p[1:]).read_bytes())) for p in files)
    return result


def as_pictures(pixels: list) -> torch.Tensor:
    """Grey values 0..255 of canvases as (n, 1, 32, 32) in [-1, 1]."""
    return torch.tensor(pixels).float().reshape(-1, 1, 32, 32) / 127.5 - 1


@pytest.mark.slow
def test_page_draws_the_digit_that_was_asked_for(seen: dict) -> None:
    pictures = as_pictures([drawn["pixels"] for drawn in seen["drawn"]])
    labels = torch.tensor([drawn["label"] for drawn in seen["drawn"]])
    assert len(labels) == 30
    assert accuracy(bundled_classifier(), pictures, labels) >= 0.9
    assert "seed 3" in seen["status"] and "9 times" in seen["status"]
    embedded = as_pictures([seen["embed"]])
    assert float(embedded.max()) > 0.5  # one random seed may fail to be a 5, but is a picture


@pytest.mark.slow
def test_page_has_no_errors_and_asks_no_other_host(seen: dict) -> None:
    assert seen["problems"] == []
    assert seen["outside"] == []


@pytest.mark.slow
def test_page_loads_the_model_only_when_pressed_and_stays_small(seen: dict) -> None:
    before = [path for path in seen["before"]["paths"] if path.endswith((".onnx", ".wasm"))]
    assert before == []
    assert len(set(seen["before"]["noise"])) > 20  # the noise is shown before anything is loaded
    assert seen["gzipped"] < LARGEST_DOWNLOAD


@pytest.mark.slow
def test_page_samples_20_steps_in_two_seconds(seen: dict) -> None:
    """Of its own thread, whatever else this machine does."""
    assert seen["seconds20"]["thread"] < 2


@pytest.mark.slow
def test_page_works_by_keyboard_and_says_what_it_shows(seen: dict) -> None:
    assert seen["byKeyboard"] == "8"  # one to the left of 9
    assert seen["first"]["label"].endswith("decoded at 0 of 20, t = 1.00")
    assert seen["last"]["label"].endswith("decoded at 20 of 20, t = 0.00")
    assert seen["first"]["value"] == "0 of 20, t = 1.00"
    assert sum(value > 128 for value in seen["padByKeyboard"]) > 15


@pytest.mark.slow
def test_page_walks_from_one_seed_to_the_other(seen: dict) -> None:
    """Its ends are the pictures of the two seeds, but for rounding."""
    for plain, end in seen["between"].values():
        assert max(abs(a - b) for a, b in zip(plain, end, strict=True)) <= 1
    strip = as_pictures(seen["strip"])
    steps = (strip[1:] - strip[:-1]).square().mean((1, 2, 3))
    assert bool((steps > 0).all())
    assert float(steps.mean()) < float((strip[0] - strip[-1]).square().mean())


@pytest.mark.slow
def test_page_edits_a_scribble(seen: dict) -> None:
    """Law 20: strength 0 returns the input, 1 is plain generation."""
    scribble = seen["scribble"]
    assert sum(value > 128 for value in scribble["drawn"]) > 40
    assert scribble["zero"] == scribble["drawn"]
    assert max(abs(a - b) for a, b in zip(scribble["one"], scribble["plain"], strict=True)) <= 1
    drawn, some, one = as_pictures([scribble[name] for name in ("drawn", "some", "one")])
    assert 0 < float((some - drawn).square().mean()) < float((one - drawn).square().mean())
    assert "draw something first" in seen["emptyPad"]


@pytest.mark.slow
def test_page_fits_a_phone_and_a_finger(seen: dict) -> None:
    assert seen["phone"]["page"] <= seen["phone"]["window"] == 390
    assert seen["phone"]["small"] == []
    assert any(value > 128 for value in seen["phone"]["touched"])


@pytest.mark.slow
def test_page_says_that_webassembly_is_missing(seen: dict) -> None:
    assert "no WebAssembly" in seen["withoutWasm"]
