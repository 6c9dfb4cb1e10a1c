"""What this machine offers, in one sentence: for notebook 00, ``ldm info`` and bug reports."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ldmlib import __version__
from ldmlib.runtime import GIB, best_device, device_name, has_bfloat16

CGROUP = Path("/sys/fs/cgroup")  # the limits of a container on Linux
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # how long idle OpenMP threads spin
READERS_PACKAGES = ("numpy", "matplotlib", "ipywidgets")


def describe_environment() -> str:
    """One human sentence: versions, device, cores, memory, threads, what is missing."""
    versions = {name: _version(name) for name in READERS_PACKAGES}
    found = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    missing = " and ".join(name for name, number in versions.items() if not number)
    device = best_device()
    sentence = (
        f"ldmlib {__version__} runs on Python {platform.python_version()} with torch "
        f"{torch.__version__}{', ' + found if found else ''}, and computes on "
        f"{device_name(device)} {'with' if has_bfloat16(device) else 'without'} bfloat16 "
        f"arithmetic; this machine offers {_count(cores(), 'CPU core')} and {_memory()}; PyTorch "
        f"uses {_threads()}"
    )
    return f"{sentence}{f'; missing for the notebooks: {missing}' if missing else ''}."


def cores() -> int:
    """CPU cores that this process may use, as the system or a container's quota allows."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = _read(CGROUP / "cpu.max").partition(" ")
    return max(1, min(count, round(int(quota) / int(period)))) if quota.isdigit() else count


def memory_bytes() -> int | None:
    """Main memory in bytes, or a container's smaller limit; None where the system does not say."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
    limit = _read(CGROUP / "memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _memory() -> str:
    size = memory_bytes()
    return f"{size / GIB:.0f} GB of memory" if size else "memory of unknown size"


def _threads() -> str:
    """How many threads PyTorch uses, and what makes them spin or sleep while they wait."""
    set_here = [f"{name}={os.environ[name]}" for name in WAITING if os.environ.get(name)]
    setting = ", ".join(set_here) or f"{WAITING[0]} is not set"
    return f"{_count(torch.get_num_threads(), 'thread')} ({setting})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
