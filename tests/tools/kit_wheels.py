"""The wheels of an offline kit: ldmlib's own, and what it needs, for this system or another."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import setup_env

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT_OF_WHEEL = shutil.ignore_patterns("__pycache__", ".*")
# Name -> what uv and pip call it; pip wants every tag that the system accepts.
SYSTEMS = {
    "windows": ("x86_64-pc-windows-msvc", ["win_amd64"]),
    "macos": ("aarch64-apple-darwin", ["macosx_14_0_arm64"]),
    "linux": (
        "x86_64-manylinux_2_28",
        [f"manylinux_2_{n}_x86_64" for n in range(28, 4, -1)] + ["manylinux2014_x86_64"],
    ),
}


class KitError(Exception):
    """What is missing, and what to do about it, in one sentence."""


def check_space(folder: Path, gigabytes: float) -> None:
    """Raise `KitError` where the disk of `folder` has less room."""
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes:
        raise KitError(
            f"The kit needs about {gigabytes:.0f} GB, and the disk of {folder} has {free:.1f} GB "
            "free: make room, or put it elsewhere with --out /other/disk/offline-kit."
        )


def pip(*arguments: str) -> None:
    """Run pip; `KitError` in one sentence where it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    run = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        sys.stderr.write(run.stderr)
        raise KitError(explain(run.stderr))


def explain(said: str) -> str:
    """One sentence for what pip or uv `said` when it failed."""
    if "No space left on device" in said:
        return "The disk is full: make room, then run the same command again."
    if any(sign in said for sign in (*setup_env.NO_NETWORK_SIGNS, "error sending request")):
        return (
            "The network is missing: making the kit needs one (installing from it does not); "
            "connect and run the same command again."
        )
    errors = [line for line in said.splitlines() if line.lower().startswith("error")]
    return f"The wheels could not be fetched ({errors[-1] if errors else 'see above'})."


def own_wheel(folder: Path) -> Path:
    """Build ldmlib's wheel into `folder`, from a copy, so that nothing is left in the project."""
    with tempfile.TemporaryDirectory() as copy:
        source = Path(copy) / "source"
        shutil.copytree(ROOT / "ldmlib", source / "ldmlib", ignore=LEFT_OUT_OF_WHEEL)
        for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
            shutil.copy(ROOT / name, source)
        pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source))
    return max(folder.glob("ldmlib-*.whl"), key=os.path.getmtime)


def fetch(requirements: list[str], wheels: Path, system: str | None, python: str | None) -> None:
    """Bring wheels of `requirements`, and of what these need, into a folder."""
    wheels.mkdir(parents=True, exist_ok=True)
    if system is None and python is None:
        pip("wheel", "--wheel-dir", str(wheels), "--find-links", str(wheels), *requirements)
        return
    uv_name, tags = SYSTEMS[system or this_system()]
    python = python or this_python()
    pinned = resolve(requirements, uv_name, python)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(pinned, encoding="utf-8")
        for_tags = [word for tag in tags for word in ("--platform", tag)]
        pip("download", "--no-deps", "--only-binary=:all:", "--python-version", python, *for_tags,
            "--implementation", "cp", "--dest", str(wheels), "-r", str(file))  # fmt: skip


def resolve(requirements: list[str], system: str, python: str) -> str:
    """Which versions another system needs, one a line; pip would choose for the one it runs on."""
    uv = shutil.which(
        "uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if uv is None:
        raise KitError(
            "A kit for another system or Python needs uv, which knows what others need: install it "
            f"with `{sys.executable} -m pip install uv`, or make the kit on such a machine."
        )
    command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "-"]
    command += ["--python-platform", system, "--python-version", python, "--only-binary", ":all:"]
    run = subprocess.run(command, input="\n".join(requirements), capture_output=True, text=True)
    if run.returncode:
        sys.stderr.write(run.stderr)
        raise KitError(explain(run.stderr))
    return run.stdout


def whole_course() -> list[str]:
    """What `ldmlib[lab]` needs, without ldmlib."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["lab"]]


def this_system() -> str:
    """The name of the system that runs this."""
    return {"Windows": "windows", "Darwin": "macos"}.get(platform.system(), "linux")


def this_python() -> str:
    """Its Python, as in "3.12"."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
