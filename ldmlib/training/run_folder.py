"""The folder of a training: its path, how it is called in printed commands, and its lock."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

LOCK = ".training.lock"
FAR = 2**30  # the byte that Windows locks, behind the text, so that the text can still be read
_held: dict[Path, list] = {}  # locks of this process: file, number of users, if the folder is new


def shown(path: str | os.PathLike[str], names: tuple[str, ...] = ()) -> str:
    """A path as it can be pasted into a command.

    It is quoted where that is needed, and begins with ``./`` where it would be taken for one of
    `names`, an option or a home folder.
    """
    text = os.fsencode(path).decode("utf-8", "replace")
    if text in names or text.startswith(("-", "~")):
        text = os.path.join(".", text)
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)


@contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other processes from training into `folder` meanwhile.

    The operating system holds the lock and gives it up when the process ends, however it ends. So a
    lock file that a crash has left behind blocks nobody. The process itself may lock twice. Where
    the file system knows no locks, nothing is locked.

    Raises:
        OSError: another process has the lock, and the message says which; or the folder cannot be
            written.
    """
    path = Path(os.path.realpath(folder)) / LOCK
    if path in _held:
        _held[path][1] += 1
    else:
        new = not path.parent.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        _held[path] = [_taken(path), 1, new]
    try:
        yield
    finally:
        _held[path][1] -= 1
        if not _held[path][1]:
            file, _, new = _held.pop(path)
            _released(path, file)
            if new:  # and still empty: nothing came of it
                with suppress(OSError):
                    path.parent.rmdir()


def _taken(path: Path) -> IO[str]:
    """The open lock file, locked, with this process's number and machine in it."""
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            if not _lock(file):
                raise BlockingIOError(_who_has_it(path, file))
            if _is_still(file, path):  # else its last owner removed it just now: try again
                file.seek(0), file.truncate()
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: IO[str]) -> bool:
    """Try to lock an open file; False if another process has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is_still(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _who_has_it(path: Path, file: IO[str]) -> str:
    file.seek(0)
    owner = file.read().strip() or "another process"
    return (
        f"{path.parent} is in use: {owner} is training there. Wait until it has ended, or choose "
        "another folder"
    )


def _released(path: Path, file: IO[str]) -> None:
    if os.name == "nt":  # where an open file cannot be removed
        file.close()
        with suppress(OSError):
            path.unlink()
        return
    with suppress(OSError):
        path.unlink()
    file.close()
