"""Limits for the process that runs a submission: time, memory, sizes of files, and closed doors.

The system's limits hold where there are any (not on Windows). An audit hook (PEP 578), which
cannot be taken off again, refuses what no exercise needs, in a sentence: the network, other
programs, and changes to files outside of the folder that the submission was given. Writers in C and
C++ raise no such event; the usual ones are announced here, and the rest is left to `walls`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

LARGEST_FILE = 32 * 2**20
REFUSED = {
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname"),
    *("socket.sendto", "socket.sendmsg", "subprocess.Popen", "os.system", "os.exec", "os.fork"),
    *("os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn", "os.killpg"),
}
# Events that change files: which of their arguments are paths, and which are folders as numbers.
CHANGES = {
    "os.remove": ((0,), (1,)),
    "os.rmdir": ((0,), (1,)),
    "os.mkdir": ((0,), (2,)),
    "os.rename": ((0, 1), (2, 3)),
    "os.link": ((0, 1), (2, 3)),
    "os.symlink": ((1,), (2,)),
    "os.chmod": ((0,), (2,)),
    "os.chown": ((0,), (3,)),
    "os.truncate": ((0,), ()),
    "os.utime": ((0,), (3,)),
    "shutil.rmtree": ((0,), (1,)),
    "sqlite3.connect": ((0,), ()),
}
IN_MEMORY = (":memory:", "")  # databases that are no files
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def close(folder: str, seconds: float, memory: int) -> None:
    """From here on the process may change files in `folder` only, and takes no more than it may.

    memory: bytes beyond what is in use now.
    """
    os.chdir(Path(folder) / "work")
    sys.path.append(os.getcwd())  # last, so that a file beside the notebook hides no library
    _limit(seconds, memory)
    _announce_writers()
    sys.addaudithook(_hook(os.path.realpath(folder)))


def _limit(seconds: float, memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {
        resource.RLIMIT_CPU: int(seconds) + 5,
        resource.RLIMIT_FSIZE: LARGEST_FILE,
        resource.RLIMIT_CORE: 0,
    }
    statm = Path("/proc/self/statm")  # Linux; elsewhere the system does not hold to RLIMIT_AS
    if statm.exists():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = used + memory
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _announce_writers() -> None:
    """Let PyTorch's and safetensors' writers say which file they open, as Python's own does."""
    import safetensors.torch
    import torch

    for owner, name in ((torch, "save"), (torch.jit, "save"), (safetensors.torch, "save_file")):
        setattr(owner, name, _announced(getattr(owner, name)))


def _announced(write: Callable) -> Callable:
    @functools.wraps(write)
    def announced(what: Any, *place: Any, **more: Any) -> Any:
        path = place[0] if place else more.get("f", more.get("filename"))
        if isinstance(path, (str, bytes, os.PathLike)):
            sys.audit("open", path, "w", 0)
        return write(what, *place, **more)

    return announced


def _path_of(folder: int) -> str:
    """The path of an open folder, on Linux and on a Mac."""
    if os.path.exists("/proc/self/fd"):
        return os.readlink(f"/proc/self/fd/{folder}")
    import fcntl

    return os.fsdecode(fcntl.fcntl(folder, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))


def _real(path: str) -> str:
    """The path without links. A name alone is looked up once, however deep the folder is."""
    if os.sep in path or path in (os.curdir, os.pardir) or os.path.islink(path):
        return os.path.realpath(path)
    return os.path.join(os.getcwd(), path)


def _hook(folder: str):
    def inside(path: Any, base: Any = -1) -> bool:
        if isinstance(path, int):  # a file that is open already
            return True
        path = os.fsdecode(path)
        if isinstance(base, int) and base >= 0:
            path = os.path.join(_path_of(base), path)
        if path in IN_MEMORY:
            return True
        real = _real(path)
        return real == os.devnull or real.startswith(folder + os.sep)

    def hook(event: str, arguments: tuple) -> None:
        if event in REFUSED or event == "os.kill" and arguments[0] != os.getpid():
            raise PermissionError(f"the grader refuses {event}")
        if event == "open":
            path, mode, flags = arguments
            writes = set("wax+") & set(mode or "") or (flags or 0) & WRITING
            allowed = not writes or inside(path)
        else:
            paths, bases = CHANGES.get(event, ((), ()))
            base = next((arguments[i] for i in bases if i < len(arguments)), -1)
            allowed = all(inside(arguments[i], base) for i in paths)
        if not allowed:
            raise PermissionError(f"the grader refuses {event} outside of the notebook's folder")

    return hook
