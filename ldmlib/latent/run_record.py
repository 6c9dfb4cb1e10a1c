"""What a run's folder remembers in ``run.json``: data, settings and model, from before step 1.

run.json                      the run: written first
first_stage/checkpoint.pt     the autoencoder's training
second_stage/checkpoint.pt    the denoiser's training
model.safetensors, config.json    the model: written last
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ldmlib.data.record import DataRecord, colour, listed
from ldmlib.latent.config import LatentDiffusionConfig
from ldmlib.storage.files import load_checkpoint, load_json, load_tensors, save_json, sha256_of
from ldmlib.storage.saved_models import CONFIG, WEIGHTS
from ldmlib.storage.wrappers import plain_names
from ldmlib.training.run import CHECKPOINT

RUN = "run.json"
STAGES = ("first_stage", "second_stage")
OPTIONS = {  # settings that `ldm train` has an option for
    "training.steps": "--steps",
    "autoencoder_training.steps": "--first-stage-steps",
    "training.batch_size": "--batch-size",
    "training.seed": "--seed",
    "autoencoder_training.seed": "--seed",
    "training.precision": "--precision",
    "autoencoder_training.precision": "--precision",
}


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that a run's folder holds, the first stage's first."""
    paths = [folder / stage / CHECKPOINT for stage in STAGES]
    return [path for path in paths if path.is_file()]


def record_of(config: LatentDiffusionConfig, recipe: object, perceptual: nn.Module | None) -> dict:
    """The content of ``run.json``, as it comes back from JSON.

    Args:
        config: of the model to come, with its `DataRecord`.
        recipe: a dataclass with the settings of both stages.
        perceptual: the network that the first stage is held to.

    Raises:
        ValueError: a name of a class or of the data cannot be written.
    """
    judge = None if perceptual is None else weights_hash(perceptual)
    content = {"model": asdict(config), "recipe": asdict(recipe), "perceptual": judge}
    for name in (config.data.name, *config.classes):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the name {name!r} cannot be written as UTF-8: rename that folder or class"
            ) from error
    return json.loads(json.dumps(content))


def weights_hash(network: nn.Module) -> str:
    """A hash of a network's weights."""
    digest = hashlib.sha256()
    for name, value in plain_names(network.state_dict()).items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def save_record(folder: Path, record: dict) -> None:
    """Write ``run.json``."""
    save_json(folder / RUN, record)


def load_record(folder: Path) -> dict | None:
    """Read ``run.json``; None if there is none, as in folders of earlier versions."""
    return load_json(folder / RUN) if (folder / RUN).is_file() else None


def check_same_run(folder: Path, then: dict, now: dict) -> None:
    """Refuse to go on with other data or settings than the run began with.

    Raises:
        ValueError: they are others; the message says in what they differ.
    """
    try:
        before = DataRecord.from_dict(then["model"]["data"])
        settings = flat(then["recipe"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / RUN} does not describe a run of `ldm train`") from error
    found = DataRecord.from_dict(now["model"]["data"])
    if before.sha256 != found.sha256:
        raise ValueError(
            f"{folder} holds a run on other data ({data_difference(before, found)}); resume with "
            "the same data, or choose another folder"
        )
    here = flat(now["recipe"])
    other = [
        f"{OPTIONS.get(key, key)}: {settings.get(key)} there, {here.get(key)} here"
        for key in sorted(settings.keys() | here.keys())
        if settings.get(key) != here.get(key) and not key.endswith("_every")
    ]
    if then.get("perceptual") != now["perceptual"]:
        other.append("another network for the perceptual loss")
    if other:
        differences = "; ".join(dict.fromkeys(other))  # each once: both stages share options
        raise ValueError(
            f"{folder} holds a run with other settings ({differences}); resume with the same "
            "ones, or choose another folder"
        )


def data_difference(before: DataRecord, found: DataRecord) -> str:
    """What differs between two sets of pictures with different hashes, in words."""
    parts = []
    if before.count != found.count:
        parts.append(f"{before.count:,} training pictures there, {found.count:,} here")
    if (before.size, before.channels) != (found.size, found.channels):
        parts.append(
            f"{colour(before.channels)} pictures of {before.size} x {before.size} there, "
            f"{colour(found.channels)} ones of {found.size} x {found.size} here"
        )
    if before.classes != found.classes:
        parts.append(f"{listed(before.classes)} there, {listed(found.classes)} here")
    return "; ".join(parts) or (
        f"{found.count:,} training pictures and the same classes, but other pictures, labels or "
        "another order"
    )


def flat(values: dict, before: str = "") -> dict[str, Any]:
    """Nested dictionaries as one: ``{"training.steps": 3}``."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = flat(value, f"{before}{key}.") if isinstance(value, dict) else None
        found |= {f"{before}{key}": value} if inner is None else inner
    return found


def is_finished(folder: Path, steps: list[int]) -> bool:
    """Whether the folder's model is what its finished checkpoints hold.

    Args:
        steps: of each stage that is trained, the second stage's last.

    Raises:
        ValueError: a checkpoint is damaged.
    """
    states = [load_checkpoint(path) for path in checkpoints(folder)]
    reached = [state.get("step") if isinstance(state, dict) else None for state in states]
    if reached != steps or not all((folder / name).is_file() for name in (CONFIG, WEIGHTS)):
        return False
    if load_json(folder / CONFIG).get("sha256") != sha256_of(folder / WEIGHTS):
        return False  # stopped between the two files
    weights = load_tensors(folder / WEIGHTS)
    parts = ("autoencoder.", "denoiser.")[-len(states) :]
    return all(
        _equal(weights, part, plain_names(state["ema"] or state["model"]))
        for part, state in zip(parts, states, strict=True)
    )


def _equal(weights: dict[str, Tensor], part: str, expected: dict[str, Tensor]) -> bool:
    found = {k.removeprefix(part): v for k, v in weights.items() if k.startswith(part)}
    return found.keys() == expected.keys() and all(
        torch.equal(value, expected[name]) for name, value in found.items()
    )


def recorded_precisions(folder: Path) -> list[str] | None:
    """Precisions of both stages of the run in a folder; None if there is no run.

    Raises:
        ValueError: ``run.json`` does not say them.
    """
    if not checkpoints(folder):
        return None
    if (then := load_record(folder)) is None:  # an earlier version: as each checkpoint says
        return ["auto", "auto"]
    try:
        recipe = then["recipe"]
        return [recipe[stage]["precision"] for stage in ("autoencoder_training", "training")]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / RUN} does not describe a run of `ldm train`") from error


def check_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder whose run or model would be lost."""
    model = (folder / CONFIG).exists()
    if not resume and (checkpoints(folder) or model):
        raise FileExistsError(
            f"{folder} already holds a run; add --resume to go on with it, or choose another folder"
        )
    if model and not checkpoints(folder):
        raise FileExistsError(
            f"{folder} holds a model but no checkpoint to resume from, and the model would be "
            "replaced; choose another folder"
        )


def check_record(
    folder: Path, config: LatentDiffusionConfig, recipe: object, perceptual: nn.Module | None
) -> None:
    """Compare with the run that the folder holds; a new run is written down.

    Raises:
        ValueError: see `check_same_run` and `record_of`.
    """
    now = record_of(config, recipe, perceptual)
    if not (paths := checkpoints(folder)):
        save_record(folder, now)
        return
    then = load_record(folder)
    if then is None:
        print(f"{paths[0]} is of an earlier version, which did not write down its data.")
    else:
        check_same_run(folder, then, now)
