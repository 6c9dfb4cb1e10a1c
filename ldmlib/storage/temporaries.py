"""Temporary files of `files.atomic_path`: their names, and the removal of what was left behind.

A save that is killed (SIGKILL, a power cut, a batch system's time limit) can't remove its temporary
file. The name says who was writing, so that the next save of the same file can clean up:

    .1f0c9a3e-4711-9b2d6c58.checkpoint.pt = .HOST-PROCESS-RANDOM.NAME

It is removed when the process no longer exists on this host, and for other hosts, which may share
the disk, when nothing was written to it for a day. A file of a process that lives is never removed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import time
import uuid
from functools import cache
from pathlib import Path

ABANDONED = 24 * 3600  # seconds without a single byte, after which no save is still going on
UNKNOWN = "0" * 8  # a host that can't be asked which processes it has
LONGEST_NAME = 160  # bytes
# HOST-PROCESS-RANDOM; the first two are missing in names of earlier versions.
WRITER = r"(?:([0-9a-f]{8})-(\d+)-)?[0-9a-f]{8}"


def temporary_beside(target: Path, mark: str = "") -> Path:
    """A new name beside `target` that says which process on which host uses it; nothing is made.

    Args:
        mark: goes between the two, for several temporaries of one target.
    """
    writer = f"{host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return target.with_name(f".{writer}.{mark}{_short(target.name)}")


def sweep(target: Path, mark: str = "") -> None:
    """Remove temporaries (files or folders) that dead writers of `target` have left beside it.

    Nothing is raised: what can't be listed or removed stays.
    """
    ours = re.compile(rf"\.{WRITER}\.(?:\.{WRITER}\.)*{re.escape(mark + _short(target.name))}")
    try:
        names = [name for one in os.listdir(target.parent) if (name := ours.fullmatch(one))]
    except OSError:
        return
    for name in names:
        path = target.with_name(name[0])
        try:
            if is_abandoned(path, name[1], name[2]):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError:
            continue


def _short(name: str) -> str:
    """The name, or a digest in place of one that leaves no room for more: 255 bytes are allowed."""
    if len(os.fsencode(name)) <= LONGEST_NAME:
        return name
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:32] + Path(name).suffix[:16]


def is_abandoned(path: Path, writers_host: str | None, process: str | None) -> bool:
    """Whether the writer of a temporary is known to be gone.

    Raises:
        OSError: the file is gone already.
    """
    if writers_host and process and writers_host == host() != UNKNOWN:
        return not is_alive(int(process))
    return time.time() - path.stat().st_mtime > ABANDONED


def is_alive(process: int) -> bool:
    """Whether this host has a process of that number. Only for Linux: see `host`."""
    try:
        os.kill(process, 0)  # sends no signal, and only asks
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no number of a process
        return True
    return True


@cache
def host() -> str:
    """Eight hexadecimal digits for what shares its process numbers with us: machine, start of its
    system, and container. `UNKNOWN` except on Linux, where alone a process can be asked about
    safely (on Windows the same call would end it).
    """
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text()
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        return UNKNOWN
    return hashlib.sha256(f"{platform.node()} {start} {container}".encode()).hexdigest()[:8]
