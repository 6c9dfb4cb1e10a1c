"""The bundled model as ONNX files, for the page that draws digits in the reader's browser.

    python -m ldmlib.export.onnx --out book/_static/live/model      (part of `make book`)

writes ``denoiser.onnx``, ``decoder.onnx``, ``encoder.onnx`` and ``model.json``, which tells the
page everything it must not guess: shapes, classes, schedule, parametrisation, default sampler.
All three take any batch size. Large weights are stored in 8 bits, a scale for each output
channel (arXiv 1712.05877, section 2.1, without zero points), and are float32 again when they
are used: the download is half of float16's, the arithmetic is unchanged.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ldmlib.latent.model import LatentDiffusion
from ldmlib.storage.files import load_json, save_bytes, save_json

FORMAT = 1  # raise it when this file writes something else for the same weights
LARGE = (
    4096  # numbers from which on a weight is stored in 8 bits; first and last layers are smaller
)
LEVELS = 127  # int8 from -127 to 127
LICENSE = "CC BY-SA 3.0, as the MNIST pictures that the weights were learned from"


# --------------------------------------------------------------------------- weights in 8 bits
def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers (int8, shape of `weight`) and a scale for each output channel, (c, 1, ...).

    ``weight`` is about ``numbers * scale``, with an error of at most half a scale.
    """
    largest = weight.flatten(1).abs().amax(1).clamp(min=1e-12)
    scale = (largest / LEVELS).reshape(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round().to(torch.int8), scale


def is_large(weight: Tensor) -> bool:
    """Whether a weight is stored in 8 bits."""
    return weight.ndim > 1 and weight.numel() >= LARGE


def rounded(model: LatentDiffusion) -> LatentDiffusion:
    """A copy of the model with the weights that the exported files hold."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for weight in filter(is_large, model.parameters()):
        numbers, scale = to_int8(weight.data)
        weight.data = numbers.float() * scale
    return model


# --------------------------------------------------------------------------- the three graphs
class DenoiserGraph(nn.Module):
    """x_t (n, c, h, w), t (n,), label (n,) int32 with -1 for the null class -> output like x_t."""

    inputs, output = ("x", "t", "label"), "output"

    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.net = copy.deepcopy(model.denoiser)
        self.net._check = lambda *inputs: None  # its questions about values have no ONNX form

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        return self.net(x, t, label.long())


class DecoderGraph(nn.Module):
    """Scaled latents (n, c, h, w) -> pictures (n, C, H, W) in [-1, 1], as `decode` does."""

    inputs, output = ("z",), "x"

    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.decoder, self.config = model.autoencoder.decoder, model.config
        self.mean, self.std = model.latent_mean, model.latent_std

    def forward(self, z: Tensor) -> Tensor:
        return self.config.cropped(self.decoder(z * self.std + self.mean)).clamp(-1, 1)


class EncoderGraph(nn.Module):
    """Pictures (n, C, H, W) in [-1, 1] -> scaled latents (n, c, h, w), as `encode` does."""

    inputs, output = ("x",), "z"

    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.encoder, self.config = model.autoencoder.encoder, model.config
        self.mean, self.std = model.latent_mean, model.latent_std

    def forward(self, x: Tensor) -> Tensor:
        return (self.encoder(self.config.padded(x)).chunk(2, dim=1)[0] - self.mean) / self.std


def graphs(model: LatentDiffusion) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """The networks to export, by name, each with an example of its inputs."""
    z = torch.zeros(2, *model.latent_shape)
    x = torch.zeros(2, model.config.autoencoder.channels, *[model.config.size] * 2)
    label = torch.zeros(2, dtype=torch.int32)
    return {
        "denoiser": (DenoiserGraph(model), (z, torch.full((2,), 0.5), label)),
        "decoder": (DecoderGraph(model), (z,)),
        "encoder": (EncoderGraph(model), (x,)),
    }


def to_onnx(graph: nn.Module, example: tuple[Tensor, ...]) -> bytes:
    """One network as an ONNX file of any batch size, its large weights in 8 bits."""
    batch = torch.export.Dim("n", min=1, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own internals
        program = torch.onnx.export(
            graph.eval(), example, dynamo=True, external_data=False, verbose=False,
            input_names=list(graph.inputs), output_names=[graph.output],
            dynamic_shapes=tuple({0: batch} for _ in example),
        )  # fmt: skip
    return packed(program.model_proto).SerializeToString()


def packed(proto):
    """Replace each large weight by ``Cast(int8) * scale``, and drop notes of the exporter.

    The runtime works both out once, when the file is loaded.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph, kept, nodes = proto.graph, [], []
    for initializer in graph.initializer:
        weight = torch.tensor(numpy_helper.to_array(initializer))
        if not weight.is_floating_point() or not is_large(weight):
            kept.append(initializer)
            continue
        name = initializer.name
        numbers, scale = to_int8(weight)
        kept.append(numpy_helper.from_array(numbers.numpy(), f"{name}.int8"))
        kept.append(numpy_helper.from_array(scale.numpy(), f"{name}.scale"))
        cast = helper.make_node("Cast", [f"{name}.int8"], [f"{name}.float"], to=TensorProto.FLOAT)
        product = helper.make_node("Mul", [f"{name}.float", f"{name}.scale"], [name])
        nodes += [cast, product]
    nodes += list(graph.node)
    del graph.initializer[:], graph.node[:], graph.value_info[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    for item in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    return proto


# --------------------------------------------------------------------------- files
def facts(model: LatentDiffusion, files: dict[str, bytes], source: str | None) -> dict:
    """The content of ``model.json``."""
    config = model.config
    return {
        "format": FORMAT,
        "source": source,
        "license": LICENSE,
        "latent_shape": list(model.latent_shape),
        "picture_shape": [config.autoencoder.channels, config.size, config.size],
        "classes": list(config.classes),
        "schedule": config.diffusion.schedule,
        "parametrisation": config.diffusion.parametrisation,
        "sampler": config.sampler,
        "steps": config.steps,
        "files": {name: f"{name}.onnx" for name in files},
        "bytes": {name: len(data) for name, data in files.items()},
        "gzipped_bytes": {name: len(gzip.compress(data)) for name, data in files.items()},
    }


def export(model: LatentDiffusion, folder: str | Path, source: str | None = None) -> dict:
    """Write the three networks and ``model.json`` (last) to `folder`; returns its content.

    Args:
        source: hash of the weights, so that `up_to_date` can tell.

    Raises:
        ImportError: onnx or onnxscript is missing.
        ValueError: a model without a first stage (f = 1), or without classes.
    """
    _need_onnx()
    if model.autoencoder.decoder is None:
        raise ValueError("this model works on pixels (f = 1), and the page shows latents")
    if not model.config.classes:
        raise ValueError("this model has no classes, and the page asks for one")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    files = {name: to_onnx(*parts) for name, parts in graphs(model).items()}
    for name, data in files.items():
        save_bytes(Path(folder) / f"{name}.onnx", data)
    content = facts(model, files, source)
    save_json(Path(folder) / "model.json", content)
    return content


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"the export needs the packages onnx and onnxscript ({error}); "
            "`pip install onnx onnxscript` or the extra `book` brings them"
        ) from error


def up_to_date(folder: str | Path, source: str | None) -> bool:
    """Whether `folder` holds a complete export of the weights with this hash, by this code."""
    folder = Path(folder)
    try:
        content = load_json(folder / "model.json")
        sizes = {
            name: (folder / content["files"][name]).stat().st_size for name in content["files"]
        }
    except (OSError, ValueError, KeyError):
        return False
    known = (content.get("format"), content.get("source"), content.get("bytes"))
    return source is not None and known == (FORMAT, source, sizes)


def weights_hash(name: str) -> str | None:
    """The hash of a model's weights, from its ``config.json``."""
    from ldmlib.latent.model import BUNDLED
    from ldmlib.storage.files import asset

    folder = asset("weights", name) if name in BUNDLED else Path(name)
    return load_json(folder / "config.json").get("sha256")


def main(arguments: list[str] | None = None) -> None:
    """Export a model, unless the folder already holds the export of the same weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--model", default="mnist", help="bundled name, or folder of a model")
    parser.add_argument("--force", action="store_true", help="also if nothing has changed")
    options = parser.parse_args(arguments)
    source = weights_hash(options.model)
    if not options.force and up_to_date(options.out, source):
        print(f"{options.out} is up to date")
        return
    content = export(LatentDiffusion.from_pretrained(options.model, "cpu"), options.out, source)
    total = sum(content["gzipped_bytes"].values()) / 1e6
    print(f"{json.dumps(content['files'])} in {options.out}: {total:.1f} MB gzipped")


if __name__ == "__main__":
    try:
        main()
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(f"onnx_export: {error}") from None
