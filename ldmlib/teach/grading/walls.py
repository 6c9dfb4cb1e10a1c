"""Walls around the process of one exercise, on Linux: a launcher that runs before the worker.

    unshare --map-root-user --mount ... python -I walls.py SCRATCH KEPT... -- COMMAND...

In the namespaces that `unshare` made it

1. makes every mount read-only, those inside other mounts too;
2. gives the box (SCRATCH/box) a file system of its own, in memory and of limited size, with a copy
   of what lay in it;
3. replaces /dev by the few devices that programs need, and hides the shared folders for temporary
   files and sockets, except those that hold one of the folders KEPT;
4. gives up all capabilities, so that nothing that runs from here on can take a wall down again.

Writers in C and C++, child processes and other programs are held by it just as Python is. It is run
by its path and imports the standard library only. If a step fails, it ends with status 1 and runs
nothing. Constants are the kernel's, from linux/mount.h, linux/prctl.h and linux/capability.h.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

BOX_SIZE = 200_000_000  # bytes that the box may hold, copied and written together
BOX_FILES = 5_000
DEVICES = ("null", "zero", "full", "random", "urandom")
SHARED = ("/run", "/var/tmp", "/tmp")  # places where programs meet: sockets, locks, temporary files

BIND, MOVE = 4096, 8192  # flags of mount(2)
MOUNT_SETATTR, HERE, RECURSIVE = 442, -100, 0x8000  # the number is the same on x86, Arm and RISC-V
READ_ONLY, NO_SUID, NO_DEVICES, NO_PROGRAMS = 1, 2, 4, 8
NO_NEW_PRIVILEGES, DROP_FROM_BOUNDING_SET = 38, 24
CAPABILITIES_VERSION = 0x20080522


def main() -> None:
    """Build the walls, then become the command."""
    scratch, *kept = sys.argv[1 : sys.argv.index("--")]
    command = sys.argv[sys.argv.index("--") + 1 :]
    build(Path(os.path.realpath(scratch)), [*kept, sys.prefix, sys.base_prefix, *sys.path])
    give_up_capabilities()
    os.execv(command[0], command)


def build(scratch: Path, kept: list[str]) -> None:
    """Make all but `scratch`/box read-only. `scratch` holds the folders "box" and "stage".

    Raises:
        OSError: the system does not let us.
    """
    box, stage = scratch / "box", scratch / "stage"
    _set("/", READ_ONLY | NO_SUID | NO_DEVICES, flags=RECURSIVE)
    _mount("tmpfs", stage, f"size={BOX_SIZE},nr_inodes={BOX_FILES},mode=700")
    shutil.copytree(box, stage, dirs_exist_ok=True)
    (stage / "shm").mkdir()
    _mount(stage, box, flags=MOVE)
    _replace_devices(stage, box / "shm")
    with suppress(OSError):  # a view of this process alone, which many containers do not allow
        _mount("proc", "/proc", flags=READ_ONLY | NO_SUID | NO_DEVICES | NO_PROGRAMS)
    _hide_shared(scratch, [Path(os.path.realpath(path)) for path in kept])


def _replace_devices(stage: Path, shared_memory: Path) -> None:
    """A /dev with harmless devices only: the disks of the machine are files there, too."""
    _mount("tmpfs", stage, "size=64k,mode=755")
    for name in DEVICES:
        (stage / name).touch()
        _mount(f"/dev/{name}", stage / name, flags=BIND)
        _set(stage / name, clear=NO_DEVICES)
    (stage / "shm").mkdir()
    _mount(shared_memory, stage / "shm", flags=BIND)
    (stage / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (stage / name).symlink_to(f"/proc/self/fd/{number}")
    _set(stage, READ_ONLY)
    _mount(stage, "/dev", flags=MOVE)


def _hide_shared(scratch: Path, kept: list[Path]) -> None:
    """Put an empty folder in place of each shared one; the one that holds the box comes last."""
    places = {Path(os.path.realpath(place)) for place in SHARED if os.path.isdir(place)}
    places -= {place for place in places if any(place in (p, *p.parents) for p in kept)}
    for place in sorted(places, key=lambda place: place in scratch.parents):
        stage = scratch / "stage"
        _mount("tmpfs", stage, "size=64k,mode=755")
        if place in scratch.parents:
            inner = stage / scratch.relative_to(place) / "box"
            inner.mkdir(parents=True)
            _mount(scratch / "box", inner, flags=BIND)
        _set(stage, READ_ONLY)
        _mount(stage, place, flags=MOVE)


def give_up_capabilities() -> None:
    """Give up all capabilities for good, for this process and whatever it starts.

    Raises:
        OSError: the system does not let us.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    number = 0
    while libc.prctl(DROP_FROM_BOUNDING_SET, number, 0, 0, 0) == 0:  # until there is none left
        number += 1
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION, 0)
    _check(libc.capset(header, (ctypes.c_uint32 * 6)()), "give up capabilities")
    _check(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "give up new privileges")


def _mount(
    source: str | Path, target: str | Path, options: str | None = None, *, flags: int = 0
) -> None:
    """mount(2). A source that is no path is the kind of a new file system: "tmpfs", "proc"."""
    libc = ctypes.CDLL(None, use_errno=True)
    kind = None if flags & (BIND | MOVE) else str(source).encode()
    data = None if options is None else options.encode()
    done = libc.mount(os.fsencode(source), os.fsencode(target), kind, ctypes.c_ulong(flags), data)
    _check(done, f"mount {source} on {target}")


def _set(path: str | Path, add: int = 0, clear: int = 0, flags: int = 0) -> None:
    """mount_setattr(2): change the attributes of a mount, or of all below it (RECURSIVE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = (ctypes.c_uint64 * 4)(add, clear, 0, 0)
    done = libc.syscall(
        ctypes.c_long(MOUNT_SETATTR),
        ctypes.c_int(HERE),
        os.fsencode(path),
        ctypes.c_uint(flags),
        attributes,
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _check(done, f"change the mount at {path}")


def _check(done: int, what: str) -> None:
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot {what}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
