"""Train two small models and save what came out; alone, or as one of several processes.

torchrun --nproc_per_node 2 tests/tools/two_processes.py OUT.pt
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import tiny
from ldmlib.runtime import Runtime
from ldmlib.training.config import TrainConfig
from ldmlib.training.run import train

CONFIG = TrainConfig(steps=6, batch_size=8, precision="float32", log_every=2, lr=1e-3)


def run(path: Path, runtime: Runtime) -> None:
    """A denoiser and an autoencoder with discriminator: weights, averages and histories."""
    x, y, options = tiny.pictures(20), tiny.labels(20), {"runtime": runtime, "progress": False}
    # without attention: its key bias has no influence, so Adam would blow up rounding errors there
    denoiser = train(tiny.unet(heads=0), tiny.denoising(), (x, y), CONFIG, **options)
    loss = tiny.autoencoder_loss()
    first_stage = train(tiny.autoencoder(), loss, (x, None), CONFIG, **options)
    if runtime.is_main:
        torch.save({
            "processes": runtime.count,
            "denoiser": denoiser.model.state_dict(),
            "average": denoiser.ema.state_dict(),
            "first stage": first_stage.model.state_dict(),
            "discriminator": loss.discriminator.state_dict(),
            "history": [without_seconds(s.history) for s in (denoiser, first_stage)],
        }, path)  # fmt: skip


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """The history less the one thing that no two runs share."""
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


if __name__ == "__main__":
    run(Path(sys.argv[1]), Runtime.current())
