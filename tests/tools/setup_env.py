"""Make the course's virtual environment, or find in a moment that it is ready.

    python3 tests/tools/setup_env.py --venv .venv lab,test

Only the standard library is used, and only syntax that old Pythons read too: one that is too old
must get as far as saying so. A stamp in the environment holds a hash of what pyproject.toml asks
for, so that a second run has nothing to do; a failed run leaves no stamp, and the next one resumes.
"""

import argparse
import glob
import hashlib
import os
import shutil
import subprocess
import sys
from collections import deque

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OLDEST_PYTHON = (3, 10)
# PyTorch for Linux comes with its GPU libraries; with PyTorch in place the rest is small.
FIRST_INSTALL_GB, RESUMED_INSTALL_GB = 8, 1
NO_NETWORK_SIGNS = (
    "name resolution",
    "nodename nor servname",
    "getaddrinfo failed",
    "Network is unreachable",
    "Connection refused",
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "Could not fetch URL",
)


class SetupError(Exception):
    """What is missing, and what to do about it, in one sentence."""


def check_python(version: tuple = sys.version_info, name: str = sys.executable) -> None:
    """Raise `SetupError` for a Python that the library does not run on."""
    if tuple(version[:2]) < OLDEST_PYTHON:
        raise SetupError(
            f"Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer is needed, but {name} is "
            f"{version[0]}.{version[1]}: install a newer one and name it, for example "
            "`make lab PYTHON=python3.12`."
        )


def check_space(venv: str) -> None:
    """Raise `SetupError` if the disk of `venv` has no room for the install."""
    has_torch = glob.glob(os.path.join(venv, "lib", "python*", "site-packages", "torch"))
    needed = RESUMED_INSTALL_GB if has_torch else FIRST_INSTALL_GB
    disk = os.path.abspath(venv)
    while not os.path.isdir(disk):
        disk = os.path.dirname(disk)
    free = shutil.disk_usage(disk).free / 1e9
    if free < needed:
        raise SetupError(
            f"The install needs about {needed} GB, but the disk of {disk} has {free:.1f} GB free: "
            "make room, or put the environment elsewhere with `make lab VENV=/other/disk/venv`."
        )


def fingerprint() -> str:
    """A hash of pyproject.toml down to its tool tables, which do not change what is installed."""
    with open(os.path.join(ROOT, "pyproject.toml"), encoding="utf-8") as file:
        return hashlib.sha256(file.read().split("\n[tool.")[0].encode()).hexdigest()[:16]


def read_stamp(stamp: str) -> set:
    """The extras installed for the present pyproject.toml; none if that has changed since."""
    try:
        with open(stamp, encoding="utf-8") as file:
            made_for, extras = file.read().split()
    except (OSError, ValueError):
        return set()
    return set(extras.split(",")) if made_for == fingerprint() else set()


def has_pip(python: str) -> bool:
    """Whether `python` is a Python that starts and has pip."""
    try:
        asked = subprocess.run([python, "-m", "pip", "--version"], capture_output=True)
    except OSError:  # there is no such file, or it leads nowhere
        return False
    return asked.returncode == 0


def make_venv(venv: str, python: str) -> None:
    """Make the virtual environment `venv`, or complete one whose making was interrupted."""
    print(f"Making a virtual environment in {venv} ...", flush=True)
    if subprocess.run([sys.executable, "-m", "venv", venv]).returncode or not has_pip(python):
        raise SetupError(
            f"Python's venv module could not make {venv}: remove that folder if it exists, install "
            "the module if it is missing (Debian, Ubuntu: `sudo apt install python3-venv`), and "
            "run the same command again."
        )


def install(python: str, extras: set) -> None:
    """Install the project, editable, with `extras`; what pip says is shown as it comes."""
    names = ",".join(sorted(extras))
    print(f"Installing ldmlib[{names}]: the first time this takes some minutes ...", flush=True)
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "-e", f".[{names}]"]
    pip = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    last_words = deque(maxlen=60)
    for line in pip.stderr:
        print(line, end="", file=sys.stderr)  # which is None where the stream is closed
        last_words.append(line)
    if pip.wait() != 0:
        raise SetupError(explain("".join(last_words)))


def explain(said: str) -> str:
    """One sentence for what pip `said` when it failed."""
    if "No space left on device" in said:
        return "The disk is full: make room, then run the same command again."
    if any(sign in said for sign in NO_NETWORK_SIGNS):
        return (
            "The network is missing: the first install downloads PyTorch and JupyterLab (about "
            "3 GB), so connect and run the same command again; what has arrived is kept."
        )
    errors = [line for line in said.splitlines() if line.lower().startswith("error")]
    cause = errors[-1] if errors else "its messages stand above"
    return f"pip could not install the project ({cause}): mend that and run the same command again."


def main() -> None:
    """Bring the environment up to date with the extras asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=".venv", help="folder of the environment")
    parser.add_argument("extras", help="extras of pyproject.toml, separated by commas")
    args = parser.parse_args()
    check_python()
    python = os.path.abspath(os.path.join(args.venv, "bin", "python"))
    stamp = os.path.join(args.venv, "ldmlib-stamp.txt")
    wanted, present = set(args.extras.split(",")), read_stamp(stamp)
    if wanted <= present and os.path.exists(python):
        return
    check_space(args.venv)
    if os.path.exists(stamp):
        os.remove(stamp)
    if not has_pip(python):
        make_venv(args.venv, python)
    install(python, wanted | present)
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(f"{fingerprint()}\n{','.join(sorted(wanted | present))}\n")


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"ldmlib: {error}")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted: run the same command again to go on.")
