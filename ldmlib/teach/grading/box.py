"""A process of its own for one exercise: a scratch folder, a time limit, walls around it.

    scratch/box/work   a copy of what lies beside the submission; the process runs here
    scratch/box/home   HOME, so that nobody's settings are read or written
    scratch/job        what the process is asked
    scratch/answer     where the answer arrives

On Linux `unshare` and `walls` leave the process no network, no sight of other processes, and no
file outside of the box that it could change. Where the system does not lend that, the hook of
`guard` alone refuses what Python is asked to do; `cover` says which it is.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldmlib.teach.grading.folders import copy_beside, remove, weigh
from ldmlib.teach.grading.walls import BOX_FILES, BOX_SIZE

LIBRARY = Path(__file__).resolve().parents[3]
WALLS = Path(__file__).resolve().with_name("walls.py")
MEMORY = 2 * 2**30  # bytes, beyond what Python, torch and the library take
LONGEST_ANSWER = 100_000
READY = b"ready\n"  # what the worker says first
KILLED = 9  # SIGKILL, which Windows does not know
GLANCE = 0.5  # seconds between two looks at how much the box holds
UNSHARE = ["unshare", "--map-root-user", "--net", "--pid", "--ipc", "--fork", "--kill-child"]
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")
# The same for everyone, so that marks depend on nobody's machine.
SETTINGS = {
    **{"PYTHONUTF8": "1", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
    **{"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "TZ": "UTC", "MPLBACKEND": "Agg"},
    **{"LDMLIB_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
}
NOT_STARTED = (
    "not graded, as the grader's own process ended before the notebook was looked at ({}). Read "
    "this one by hand, and run `ldm info` to see whether the library works on this machine."
)


@dataclass(frozen=True)
class Cover:
    """What the system lends: a command that others are put behind, and whether files are safe."""

    command: tuple[str, ...] = ()
    has_walls: bool = False

    def around(self, scratch: Path, command: list[str]) -> list[str]:
        """The command line that runs `command` under this cover, beside the box in `scratch`."""
        inner = [sys.executable, "-I", str(WALLS), str(scratch), str(LIBRARY), *sys.path, "--"]
        return [*self.command, *(inner if self.has_walls else []), *command]


def ask(job: dict[str, Any], beside: Path, seconds: float) -> dict[str, Any]:
    """Run the worker on a job ("master", "submission": cells; "exercise"): {"passed", "message"}.

    beside: the notebook that was handed in; the files in its folder are copied into the box.
    `passed` is None where the worker did not start. Whatever the submission does, this returns,
    and leaves nothing behind.
    """
    scratch = _scratch()
    try:
        left_out = copy_beside(beside, scratch / "box" / "work")
        job = job | {"folder": str(scratch / "box"), "seconds": seconds, "memory": MEMORY}
        job |= {"token": secrets.token_hex()}
        (scratch / "job").write_bytes(json.dumps(job).encode() + b"\n")
        ended = _run(scratch, seconds)
        with open(scratch / "answer", "rb") as file:
            said = file.read(LONGEST_ANSWER)
    finally:
        remove(scratch)
    answer = _answer(said.removeprefix(READY), job["token"])
    if answer is None and not said.startswith(READY) and not ended.startswith("stopped"):
        return {"passed": None, "message": NOT_STARTED.format(ended.rstrip("."))}
    answer = answer or {"passed": False, "message": ended}
    if left_out and not answer["passed"]:
        answer["message"] += f" ({left_out})"
    return answer


def _scratch() -> Path:
    """A new folder with an empty box in it."""
    scratch = Path(os.path.realpath(tempfile.mkdtemp(prefix="ldm-grade-")))
    for name in ("box/home", "box/tmp", "box/work", "stage"):
        (scratch / name).mkdir(parents=True)
    return scratch


def _run(scratch: Path, seconds: float) -> str:
    """Start the worker and wait; returns how it ended, in words for a reader who got no answer."""
    worker = [sys.executable, "-m", "ldmlib.teach.grading.worker"]
    with open(scratch / "job", "rb") as job, open(scratch / "answer", "wb") as answer:
        process = subprocess.Popen(
            cover().around(scratch, worker),
            stdin=job,
            stdout=answer,
            stderr=subprocess.DEVNULL,
            cwd=LIBRARY,  # found first by Python, and holds no file of the submission
            env=_environment(scratch / "box"),
            start_new_session=True,
        )
    try:
        return _wait(process, scratch / "box", seconds)
    finally:
        _kill(process)


def _wait(process: subprocess.Popen, box: Path, seconds: float) -> str:
    """Wait until it ends, its time is over or its box is full; returns which, in words."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            return _ending(process.wait(min(left, GLANCE)))
        except subprocess.TimeoutExpired:
            size, count = weigh(box)
        if size > BOX_SIZE or count > BOX_FILES:
            return (
                f"stopped, as it wrote {count:,} files of {size / 1e6:.0f} MB: one exercise may "
                f"write {BOX_FILES:,} files and {BOX_SIZE / 1e6:.0f} MB."
            )
    return (
        f"stopped after {seconds:g} seconds: a loop that does not end, or a training that the "
        "exercise does not need (--timeout gives more)."
    )


def _environment(box: Path) -> dict[str, str]:
    """The little that the worker is told: nothing of the grader's own settings and keys."""
    own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    home, temporary = str(box / "home"), str(box / "tmp")
    folders = {"HOME": home, "USERPROFILE": home, "PYTHONUSERBASE": _user_packages(home)}
    folders |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if packages := [os.path.abspath(path) for path in paths if path]:
        folders["PYTHONPATH"] = os.pathsep.join(packages)
    return own | folders | SETTINGS


def _user_packages(otherwise: str) -> str:
    """Where `pip install --user` puts packages; it lies in the home that the worker is not told."""
    try:
        return site.getuserbase()
    except (OSError, RuntimeError, KeyError, TypeError):  # nobody has a home here
        return otherwise


def _kill(process: subprocess.Popen) -> None:
    """End the process with everything that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except AttributeError:  # Windows
        process.kill()
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def _ending(code: int) -> str:
    """An exit status in words."""
    if code in (-KILLED, 128 + KILLED):
        return "the process was killed by the system: too much memory, or too long a computation."
    how = signal.strsignal(-code) if code < 0 else f"exit status {code}"
    return (
        f"the process ended before the check was done ({how}): the code crashes Python or ends it."
    )


def _answer(text: bytes, token: str) -> dict[str, Any] | None:
    """The worker's answer, or None where it gave none."""
    try:
        answer = json.loads(text)
        return answer if answer.pop("token") == token else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


@functools.cache
def cover() -> Cover:
    """The best cover that the system lends; each kind is tried, since no setting tells for sure."""
    if not shutil.which("unshare"):
        return Cover()
    kinds = (Cover((*UNSHARE, "--mount"), has_walls=True), Cover(tuple(UNSHARE)))
    return next((kind for kind in kinds if _holds(kind)), Cover())


# Behind the walls the library is found, the box can be written, and nothing else can.
TRIAL = """
import importlib.util, pathlib, sys
for name in ("torch", "ldmlib"):
    open(importlib.util.find_spec(name).origin, "rb").close()
scratch = pathlib.Path(sys.argv[1])
(scratch / "box" / "work" / "mine").write_text("x")
try:
    (scratch / "others").write_text("x")
except OSError:
    sys.exit(0)
sys.exit("walls" in sys.argv)
"""


def _holds(kind: Cover) -> bool:
    """Whether the system lends this cover, and it does what it should."""
    scratch = _scratch()
    trial = [sys.executable, "-c", TRIAL, str(scratch), *["walls"] * kind.has_walls]
    try:
        tried = subprocess.run(
            kind.around(scratch, trial),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=LIBRARY,
            env=_environment(scratch / "box"),
            timeout=60,
        )
        return tried.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        remove(scratch)
