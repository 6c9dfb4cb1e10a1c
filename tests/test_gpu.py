"""A GPU is used where there is one, and nothing mixes what lies there with what lies on the CPU.

The same calls are made twice: on a device that is only pretended (`other_device`), which finds
every mixing on any machine, and on a real GPU where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tiny
from ldmlib.data import mnist
from ldmlib.data.dataset import ImageData
from ldmlib.evaluation.evaluator import Evaluator, evaluator_of
from ldmlib.gan.model import Gan, PlayersConfig
from ldmlib.gan.train import GanLossConfig, GanRecipe, build, train_gan
from ldmlib.images import to_uint8
from ldmlib.latent.model import LatentDiffusion
from ldmlib.latent.recipes import Recipe
from ldmlib.latent.stages import assemble, reconstruction_report, train_denoiser
from ldmlib.networks.classifier import ClassifierConfig, RandomFeatures, bundled_classifier
from ldmlib.runtime import best_device
from ldmlib.training.classifier import train_classifier
from ldmlib.training.config import TrainConfig
from ldmlib.training.run import describe_speed, fit, train
from other_device import MixedDevices, other_device

CPU = torch.device("cpu")
CONFIG = TrainConfig(steps=3, batch_size=6, precision="float32", lr=1e-3, log_every=1)
PLAYERS = PlayersConfig(size=8, noise=4, widths=(8, 8), judge_widths=(8, 8), fold=1, spectral=False)
GAN = GanRecipe(PLAYERS, GanLossConfig(r1_every=2), CONFIG)


def places(*networks: nn.Module) -> set[str]:
    """The kinds of devices on which parameters and buffers lie."""
    return {t.device.type for n in networks for t in (*n.parameters(), *n.buffers())}


def data(n: int = 80) -> ImageData:
    """Labelled pictures of 8 x 8."""
    return ImageData(to_uint8(tiny.pictures(n)), tiny.labels(n), name="tiny")


def diffusion_model() -> tuple[LatentDiffusion, Recipe]:
    """A small model of both stages, untrained but random in every layer."""
    first = tiny.autoencoder()
    config = replace(tiny.unet().config, in_channels=2)
    recipe = Recipe(first.config, unet=config, training=CONFIG)
    model = assemble(data(), first, recipe)
    tiny.randomised(model.denoiser)
    return model.eval(), recipe


# --------------------------------------------------------------------------- what is called
def training_a_denoiser(device: torch.device) -> Tensor:
    """The model is trained there and comes back, and so does its average."""
    model = tiny.unet(dropout=0.1)
    for state in fit(model, tiny.denoising(), (tiny.pictures(20), tiny.labels(20)), CONFIG):
        if state.step == 1:
            assert places(model) == {device.type}
    assert state.device.type == device.type and places(model, state.ema) == {"cpu"}
    return state.ema(tiny.pictures(4), torch.rand(4), tiny.labels(4)).detach()


def training_a_model_that_is_there(device: torch.device) -> None:
    """A model that was there already stays, also when the reader breaks off."""
    model = tiny.unet().to(device)
    for _ in fit(model, tiny.denoising(), (tiny.pictures(20), tiny.labels(20)), CONFIG):
        break
    assert places(model) == {device.type}


def training_an_autoencoder(device: torch.device) -> Tensor:
    """All four terms of the loss; the network of the perceptual term stays where it was."""
    loss, network = tiny.autoencoder_loss(adversarial_start=1), tiny.classifier()
    loss.features = network
    state = train(tiny.autoencoder(), loss, (tiny.pictures(20), None), CONFIG, progress=False)
    assert places(network) == {"cpu"} and places(loss.discriminator) == {device.type}
    return state.ema.decode(state.ema.encode(tiny.pictures(2)).mode()).detach()


def training_a_gan(device: torch.device) -> Tensor:
    """The game with its penalty, and drawing from what it made."""
    gan = build(GAN)
    train_gan(gan, tiny.pictures(20), GAN, progress=False)
    assert gan.device == CPU
    drawn = gan.to(device).sample(3)
    assert drawn.device == CPU and gan.decode(gan.encode(drawn)).device == CPU
    return drawn


def training_a_classifier(device: torch.device) -> Tensor:
    config = ClassifierConfig(1, tiny.CLASSES, (8, 8), 12)
    state = train_classifier(data(), config, steps=3, progress=False)
    return state.model.features(tiny.pictures(4)).detach()


def both_stages_in_a_row(device: torch.device) -> Tensor:
    """What `ldm train` does, without its checkpoints."""
    model, recipe = diffusion_model()
    model.to(device)
    z = model.fit_latent_scale(data().as_tensors()[0])
    train_denoiser(model, z, data().labels, recipe, progress=False)
    assert places(model) == {device.type}
    report = reconstruction_report(model, None, data(20))
    return torch.tensor(report["psnr"])


def drawing(device: torch.device) -> Tensor:
    """Every way to ask a `LatentDiffusion`: what is given comes back where it was."""
    model, _ = diffusion_model()
    model.to(device)
    x = tiny.pictures(3)
    z = model.encode(x)
    t, labels = torch.full((3,), 0.5), tiny.labels(3)
    answers = [model.decode(z), model.denoise(z, t, labels), model.denoise(z, t)]
    assert {answer.device for answer in (z, *answers)} == {CPU}
    assert model.encode(x.to(device)).device.type == device.type
    assert {state.x.device.type for state in model.film(2, [0, 1])} == {device.type}
    loss = model.diffusion.loss(model.denoise, z, labels, generator=torch.Generator())
    drawn = [
        model.sample(3, labels, guidance=w, sampler=s) for w, s in ((2.0, "ddpm"), (1, "heun"))
    ]
    return torch.cat([z.flatten(), loss, *[y.flatten() for y in (*answers, *drawn)]])


def bundled_models(device: torch.device) -> Tensor:
    """They go to the GPU by themselves; pictures come back."""
    model, gan = LatentDiffusion.from_pretrained("mnist"), Gan.from_pretrained("mnist_latent_gan")
    assert places(model, gan) == {device.type}
    pictures = torch.cat([model.sample(2, steps=2), gan.sample(2)])
    return torch.cat([pictures.flatten(), bundled_classifier()(pictures).flatten()])


def scores(device: torch.device) -> Tensor:
    """An evaluator whose network is there, and one that is made from nothing."""
    network = RandomFeatures(1, 8).to(device)
    network.fit_whitening(data().as_tensors()[0])
    evaluator = Evaluator(data(), data(40), network, "random", cache=False)
    report = evaluator.report(tiny.pictures(50, seed=1), tiny.labels(50), repeats=2)
    other = evaluator_of(data(), data(40), cache=False).fid(tiny.pictures(50, seed=1))
    return torch.tensor([report.fid.value, report.kid, report.recall, other])


def the_film(device: torch.device) -> None:
    from ldmlib.widgets import denoising_film

    model, _ = diffusion_model()
    assert denoising_film(model.to(device), labels=[0, 1]).children[1].value[:4] == b"\x89PNG"


CALLS = (
    training_a_denoiser,
    training_a_model_that_is_there,
    training_an_autoencoder,
    training_a_gan,
    training_a_classifier,
    both_stages_in_a_row,
    drawing,
    bundled_models,
    scores,
    the_film,
)
each_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)


# --------------------------------------------------------------------------- pretended
@pytest.mark.slow
@each_call
def test_nothing_mixes_devices(call: Callable) -> None:
    expected = call(CPU)
    with other_device() as device:
        found = call(device)
    if expected is not None:
        assert tiny.differences(found, expected, tolerance=1e-5) == []


def test_mixing_is_found() -> None:
    layer = nn.Linear(2, 3)
    with other_device() as device:
        moved = deepcopy(layer).to(device)
        with pytest.raises(MixedDevices, match=r"on the CPU: \[\(4, 2\)\]"):
            moved(torch.ones(4, 2))
        with pytest.raises(MixedDevices):
            torch.cat([torch.ones(2), torch.ones(2, device=device)])
        found = moved(torch.ones(4, 2).to(device)) * torch.tensor(2.0)  # a single number may mix
        assert found.device.type == device.type
        found = found.cpu()
    assert torch.equal(found, layer(torch.ones(4, 2)) * 2)


def test_a_machine_without_a_gpu_is_never_asked_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LDMLIB_DEVICE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("CUDA was asked")

    for name in ("_lazy_init", "synchronize", "is_bf16_supported", "get_device_properties"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    assert best_device() == CPU
    training_a_denoiser(CPU), training_a_gan(CPU), drawing(CPU), the_film(CPU)


def test_the_reader_may_choose_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDMLIB_DEVICE", "cpu")
    assert best_device() == torch.device("cpu")
    last = torch.cuda.device_count() - 1
    monkeypatch.setenv("LDMLIB_DEVICE", f"cuda:{last + 1}")
    with pytest.raises(ValueError, match="cannot be used on this machine"):
        best_device()
    if last >= 0:
        monkeypatch.setenv("LDMLIB_DEVICE", f"cuda:{last}")
        assert best_device() == torch.device("cuda", last)


@pytest.mark.slow
def test_speed_is_told_only_where_there_is_something_to_gain() -> None:
    x, y = tiny.pictures(20), tiny.labels(20)

    def sentence() -> str:
        objective = tiny.denoising()
        state = train(tiny.unet(), objective, (x, y), CONFIG, progress=False)
        return describe_speed(state, objective, (x, y), CONFIG)

    assert sentence() == "on the CPU in float32"
    with other_device():
        assert "times as fast as on this machine's CPU" in sentence()


# --------------------------------------------------------------------------- real
@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The machine's GPU."""
    monkeypatch.delenv("LDMLIB_DEVICE")
    if not torch.cuda.is_available():
        pytest.skip("this machine has no GPU that PyTorch can use")
    return torch.device("cuda")


@each_call
def test_on_a_real_gpu(call: Callable, gpu: torch.device) -> None:
    found = call(gpu)
    assert best_device().type == "cuda"
    assert found is None or bool(found.isfinite().all())


def test_drawing_on_a_gpu_gives_the_same_pictures(gpu: torch.device) -> None:
    here, there = (
        LatentDiffusion.from_pretrained("mnist", d).sample(8, seed=1) for d in ("cpu", gpu)
    )
    assert float((here - there).abs().mean()) < 0.01


def test_a_gpu_is_used_in_mixed_precision_where_that_is_faster(gpu: torch.device) -> None:
    x, y = mnist("test").as_tensors()
    recipe = Recipe(training=TrainConfig(steps=20))
    state = train(tiny.unet(channels=(64, 128), num_classes=10), tiny.denoising(), (x, y),
                  recipe.training, progress=False)  # fmt: skip
    assert state.precision in ("float32", "bfloat16") and state.history[-1]["loss"] < 3
    print(describe_speed(state, tiny.denoising(), (x, y), recipe.training))


def test_a_run_goes_on_after_the_gpu_is_gone(gpu: torch.device, tmp_path: Path) -> None:
    pictures = tiny.pictures(20), tiny.labels(20)
    options = {"folder": tmp_path, "progress": False}
    for state in fit(tiny.unet(), tiny.denoising(), pictures, CONFIG, **options):
        if state.step == 2:
            break
    config = replace(CONFIG, checkpoint_every=1)
    for _ in fit(tiny.unet(), tiny.denoising(), pictures, config, **options):
        break
    torch.cuda.empty_cache()
    state = train(tiny.unet(), tiny.denoising(), pictures, CONFIG, resume=True, **options)
    assert state.step == CONFIG.steps
