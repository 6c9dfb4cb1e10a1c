"""Laws of `ldmlib.pretrained`: weights and config belong together, whatever happens."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
import torch

from ldmlib.files import load_json, load_tensors
from ldmlib.pretrained import CONFIG, WEIGHTS, save_pair


def save(folder: Path, value: float, **options) -> None:
    save_pair(folder, {"a": torch.full((3,), value)}, {"value": value}, **options)


def load(folder: Path) -> float:
    """The value that both files agree on; a hash that does not fit raises."""
    config = load_json(folder / CONFIG)
    tensor = load_tensors(folder / WEIGHTS, sha256=config["sha256"])["a"]
    assert os.listdir(folder) in ([CONFIG, WEIGHTS], [WEIGHTS, CONFIG])
    assert tensor.tolist() == [config["value"]] * 3
    return config["value"]


def test_round_trip_and_half(tmp_path: Path) -> None:
    save(tmp_path / "deep" / "er", 1.0)
    assert load(tmp_path / "deep" / "er") == 1.0
    save(tmp_path / "deep" / "er", 2.0, half=True)
    assert load_tensors(tmp_path / "deep" / "er" / WEIGHTS)["a"].dtype == torch.float16


@pytest.mark.parametrize("writes", [0, 1])
def test_a_disk_full_before_either_file_keeps_the_earlier_pair(
    writes: int, tmp_path: Path, monkeypatch
) -> None:
    save(tmp_path, 1.0)
    inner, done = Path.write_bytes, []

    def filling(path: Path, data: bytes) -> int:
        if len(done) == writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(path)
        return inner(path, data)

    monkeypatch.setattr(Path, "write_bytes", filling)
    with pytest.raises(OSError, match="no space left.*the earlier file is intact"):
        save(tmp_path, 2.0)
    assert load(tmp_path) == 1.0


@pytest.mark.parametrize("at", range(4))
def test_ctrl_c_at_any_replacement_waits_for_the_other_file(
    at: int, tmp_path: Path, monkeypatch
) -> None:
    save(tmp_path, 1.0)
    inner, done = os.replace, []

    def interrupted(source: Path, target: Path) -> None:
        inner(source, target)
        if len(done) == at:
            signal.raise_signal(signal.SIGINT)
        done.append(target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2.0)
    assert load(tmp_path) == 2.0
