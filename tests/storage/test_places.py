"""Every user has a cache, also one without a home folder; a path is what the user meant."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ldmlib.storage import files, places


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user number without an entry in the list of users, and no HOME."""
    for name in ("HOME", "USERPROFILE", "LDMLIB_CACHE", "LDMLIB_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: os.fspath(path))


def test_a_path_is_expanded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert places.expanded("~/runs") == tmp_path / "runs"
    assert places.expanded("runs/~") == Path("runs/~")
    files.save_json("~/new/a.json", {"a": 1})
    assert files.load_json("~/new/a.json") == {"a": 1} and (tmp_path / "new").is_dir()


def test_a_file_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    files.save_json("~$notes.json", {"a": 1})
    assert os.listdir() == ["~$notes.json"] and files.load_json("~$notes.json") == {"a": 1}


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("path", ["~", "~/runs"])
def test_a_missing_home_is_said_before_a_folder_of_that_name_is_made(
    path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for use in (places.expanded, files.check_writable, files.load_json):
        with pytest.raises(ValueError, match="has none. Set HOME"):
            use(path)
    assert not os.listdir()
    assert places.home_folder() is None and places.expanded("/a/b") == Path("/a/b")


@pytest.mark.usefixtures("homeless")
def test_the_cache_without_a_home_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = places.cache_folder()
    assert folder.parent == Path(tempfile.gettempdir()) and str(os.getuid()) in folder.name
    assert places.cache_folder("LDMLIB_DATA", "data") == folder / "data"
    monkeypatch.setenv("LDMLIB_CACHE", "/wished")
    assert places.cache_folder() == Path("/wished")


def test_the_usual_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("LDMLIB_CACHE", "")  # set to nothing is not set
    usual = tmp_path / ".cache" / "ldmlib"
    assert places.cache_folder() == usual and not usual.exists()
    monkeypatch.setenv("LDMLIB_CACHE", "~/mine")
    assert places.cache_folder() == tmp_path / "mine"


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("LDMLIB_CACHE")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert places.cache_folder().parent == Path(tempfile.gettempdir())
    (tmp_path / ".cache" / "ldmlib").mkdir(parents=True)  # what is there can be read
    assert places.cache_folder() == tmp_path / ".cache" / "ldmlib"


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root may do so")
def test_a_real_user_without_home_and_entry(tmp_path: Path) -> None:
    """The module is given as text, as such a user may not be able to read this checkout."""
    module = Path(places.__file__).read_text(encoding="utf-8")
    checks = (
        "assert home_folder() is None\n"
        "print(cache_folder())\n"
        f"os.environ['HOME'] = {str(tmp_path)!r}\n"  # of another user, who lets nobody in
        "print(cache_folder())\n"
    )
    tmp_path.chmod(0o700)
    start = "import os, pathlib, tempfile; os.environ.pop('HOME', None); os.setuid(54321)\n"
    code = f"{start}exec({module!r})\n{checks}"
    environment = {key: value for key, value in os.environ.items() if key != "LDMLIB_CACHE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    first, second = done.stdout.split()
    assert first == second and first.endswith("ldmlib-cache-54321")
