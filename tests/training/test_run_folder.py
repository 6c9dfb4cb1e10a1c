"""Laws of `ldmlib.training.run_folder` and `ldmlib.storage.wrappers`: paths, locks and names."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
import torch
from torch import nn

import tiny
from ldmlib.gan.model import Gan, GanConfig, PlayersConfig
from ldmlib.networks.classifier import load_classifier, save_classifier
from ldmlib.storage.wrappers import load_plain, plain_name
from ldmlib.training import run_folder
from ldmlib.training.run_folder import LOCK, locked, shown


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *(("runs/mine", "runs/mine"), ("my runs", "'my runs'"), ("it's", shlex.quote("it's"))),
        *(("mnist", "./mnist"), ("-x", "./-x"), ("~", "'./~'"), ("/a/mnist", "/a/mnist")),
        ("$HOME;ls", "'$HOME;ls'"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="other shells, other quotes")
def test_paths_are_printed_so_that_a_shell_reads_them(path: str, expected: str) -> None:
    assert shown(path, ("mnist",)) == expected


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_a_path_that_is_no_text_can_be_printed() -> None:
    assert shown(os.fsdecode(b"caf\xe9")).encode()


def test_locks_leave_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / "new"), locked(tmp_path / "new"):
        assert (tmp_path / "new" / LOCK).is_file()
    assert not (tmp_path / "new").exists()  # made for the lock only
    (tmp_path / "old").mkdir()
    with pytest.raises(KeyError), locked(tmp_path / "old"):
        raise KeyError
    assert list((tmp_path / "old").iterdir()) == [] and run_folder._held == {}


def test_a_file_system_without_locks_is_used_without(tmp_path: Path, monkeypatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unknown(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with locked(tmp_path):
        pass


def test_a_lock_file_that_was_just_removed_counts_for_nothing(tmp_path: Path, monkeypatch) -> None:
    """Its last owner removed it after we opened it: a lock on it would keep nobody out."""
    fcntl, asked = pytest.importorskip("fcntl"), []
    flock = fcntl.flock

    def late(file, how):
        if not asked:
            (tmp_path / LOCK).unlink()
        asked.append(1)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path):
        assert len(asked) == 2 and (tmp_path / LOCK).read_text().startswith("process ")


@pytest.mark.parametrize(
    "name", ["a.weight", "_orig_mod.a.weight", "module._orig_mod.a.weight", "a.module.weight"]
)
def test_names_without_wrappers(name: str) -> None:
    assert plain_name(name) == "a.weight"


def test_weights_of_another_network_are_refused_in_wrappers_too() -> None:
    wrapped = nn.DataParallel(nn.Linear(2, 2))
    before = wrapped.module.weight.clone()
    with pytest.raises(ValueError, match="missing 1 .*unexpected 1"):
        load_plain(wrapped, {"weight": torch.ones(2, 2), "b": torch.ones(2)}, "line")
    assert torch.equal(wrapped.module.weight, before)
    load_plain(wrapped, nn.Linear(2, 2).state_dict(), "line")
    assert not torch.equal(wrapped.module.weight, before)


def test_classifiers_and_gans_are_saved_without_wrappers(tmp_path: Path) -> None:
    network = tiny.classifier()
    save_classifier(torch.compile(network, backend="eager"), tmp_path / "classifier")
    weights = load_classifier(tmp_path / "classifier").state_dict()
    assert tiny.differences(weights, network.state_dict()) == []
    players = PlayersConfig(1, 8, 4, widths=(8, 8), judge_widths=(8, 8))
    gan = Gan(GanConfig(players)).eval()
    before = gan.sample(2)
    gan.generator = nn.DataParallel(gan.generator)
    gan.save_pretrained(tmp_path / "gan")
    assert torch.equal(Gan.from_pretrained(tmp_path / "gan").sample(2), before)
