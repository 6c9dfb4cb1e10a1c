"""What a killed save leaves behind goes with the next save; what is being written never does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ldmlib.storage import files, temporaries
from ldmlib.storage.temporaries import sweep, temporary_beside

KILLED = (
    "import os, sys\n"
    "from pathlib import Path\n"
    "from ldmlib.storage.temporaries import temporary_beside\n"
    "path = temporary_beside(Path(sys.argv[1]))\n"
    "path.write_bytes(b'half')\n"
    "print(path.name, flush=True)\n"
    "sys.stdin.read()\n"
)
on_linux = pytest.mark.skipif(
    temporaries.host() == temporaries.UNKNOWN, reason="only Linux can be asked which processes live"
)


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@on_linux
def test_a_killed_writer_is_swept_after_and_a_living_one_is_not(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint.pt"
    command = [sys.executable, "-c", KILLED, str(target)]
    root = Path(__file__).resolve().parents[2]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, text=True) as writer:
        left = tmp_path / writer.stdout.readline().strip()
        age(left, 10 * temporaries.ABANDONED)  # it has hung for days, but it lives
        files.save_checkpoint(target, {"a": torch.ones(2)})
        assert left.exists()
        writer.kill()
        writer.wait()
        assert left.read_bytes() == b"half", "a killed process cleans nothing up"
        files.load_checkpoint(target)
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    left, link = tmp_path / "real" / ".0123abcd.a.pt", tmp_path / "link.pt"
    link.symlink_to(tmp_path / "real" / "a.pt")
    for use in (lambda: files.save_checkpoint(link, {}), lambda: files.load_checkpoint(link)):
        left.touch()
        age(left, temporaries.ABANDONED + 60)
        use()
        assert os.listdir(tmp_path / "real") == ["a.pt"]


@pytest.mark.parametrize("name", [".0123abcd-77-89abcdef.a.json", ".0123abcd.a.json"])
def test_of_another_host_or_an_earlier_version_only_the_old_go(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    files.save_json(tmp_path / "a.json", {})
    assert (tmp_path / name).exists()
    age(tmp_path / name, temporaries.ABANDONED + 60)
    files.save_json(tmp_path / "a.json", {})
    assert os.listdir(tmp_path) == ["a.json"]


@on_linux
def test_temporaries_of_temporaries_go_too(tmp_path: Path) -> None:
    """A pair of files is written through two layers; the process number is free again."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    writer = f"{temporaries.host()}-{gone.pid}-0123abcd"
    (tmp_path / f".{writer}..{writer}.a.json").touch()
    (tmp_path / f".{writer}.new.a.json").mkdir()
    files.save_json(tmp_path / "a.json", {})
    assert sorted(os.listdir(tmp_path)) == [f".{writer}.new.a.json", "a.json"]
    sweep(tmp_path / "a.json", "new.")
    assert os.listdir(tmp_path) == ["a.json"]


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    names = [
        *("a.json", ".a.json", "0123abcd.a.json", ".0123abcd.b.json", ".0123abcd.a.json.bak"),
        *(".0123abcX.a.json", ".0123abcd.xa.json", ".0123abcd-x-0123abcd.a.json"),
    ]
    for name in names:
        (tmp_path / name).touch()
        age(tmp_path / name, 10 * temporaries.ABANDONED)
    sweep(tmp_path / "a.json")
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_where_processes_cannot_be_asked_age_alone_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporaries, "host", lambda: temporaries.UNKNOWN)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("on Windows this would end a process"))
    path = temporary_beside(tmp_path / "a.json")
    path.touch()
    sweep(tmp_path / "a.json")
    assert path.exists()
    age(path, temporaries.ABANDONED + 60)
    sweep(tmp_path / "a.json")
    assert not path.exists()


def test_a_sweep_never_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path / "no" / "folder" / "a.json")
    path = tmp_path / ".0123abcd.a.json"
    path.touch()
    age(path, temporaries.ABANDONED + 60)

    def refuse(*_, **__) -> None:
        raise PermissionError("a disk that is read-only")

    monkeypatch.setattr(Path, "unlink", refuse)
    sweep(tmp_path / "a.json")
    assert path.exists()


def test_long_names_have_room_for_a_temporary(tmp_path: Path) -> None:
    name = "é" * 120 + ".json"  # 245 bytes
    files.save_json(tmp_path / name, {"a": 1})
    assert os.listdir(tmp_path) == [name]
    assert temporary_beside(tmp_path / name).suffix == ".json"
