"""A process of its own for one exercise: a scratch folder, a time limit, no network.

    scratch/box/work   a copy of what lies beside the submission; the process runs here
    scratch/box/home   HOME, so that nobody's settings are read or written
    scratch/answer     where the answer arrives

On Linux `unshare` gives the process no network and no sight of other processes, where the system
lets it; elsewhere the hook of `guard` alone refuses connections.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).resolve().parents[2]
MEMORY = 2 * 2**30  # bytes, beyond what Python, torch and the library take
LARGEST_FOLDER = 50_000_000  # bytes of files beside a notebook that are copied with it
LONGEST_ANSWER = 100_000
UNSHARE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]
PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")


def ask(job: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Run the worker on a job ("master", "submission", "exercise"): {"passed", "message"}.

    Whatever the submission does, this returns, and leaves nothing behind.
    """
    with tempfile.TemporaryDirectory(prefix="ldm-grade-", ignore_cleanup_errors=True) as scratch:
        box, answer = Path(scratch, "box"), Path(scratch, "answer")
        _furnish(box, Path(job["submission"]))
        job = job | {"folder": str(box), "seconds": seconds, "memory": MEMORY}
        job |= {"token": secrets.token_hex(), "submission": str(Path(job["submission"]).resolve())}
        with open(answer, "wb") as file:
            ended = _run(job, box, file, seconds)
        with open(answer, "rb") as file:
            text = file.read(LONGEST_ANSWER)
    return _answer(text, job["token"]) or {"passed": False, "message": ended}


def _furnish(box: Path, submission: Path) -> None:
    """Make the folders of the box, and copy what lies beside the submission but other notebooks."""
    for name in ("home", "tmp", "work"):
        (box / name).mkdir(parents=True)
    beside = [path for path in submission.resolve().parent.iterdir() if path.is_file()]
    beside = [path for path in beside if path.suffix != ".ipynb" and not path.is_symlink()]
    if sum(path.stat().st_size for path in beside) <= LARGEST_FOLDER:
        for path in beside:
            shutil.copyfile(path, box / "work" / path.name)
    shutil.copyfile(submission, box / "work" / submission.name)


def _run(job: dict[str, Any], box: Path, answer: Any, seconds: float) -> str:
    """Start the worker and wait; returns how it ended, in words for a reader who got no answer."""
    process = subprocess.Popen(
        [*_no_network(), sys.executable, "-m", "ldmlib.grading.worker"],
        stdin=subprocess.PIPE,
        stdout=answer,
        stderr=subprocess.DEVNULL,
        cwd=LIBRARY,  # found first by Python, and holds no file of the submission
        env=_environment(box),
        start_new_session=True,
    )
    try:
        process.communicate(json.dumps(job).encode() + b"\n", timeout=seconds)
    except subprocess.TimeoutExpired:
        return (
            f"stopped after {seconds:g} seconds: a loop that does not end, or a training that the "
            "exercise does not need (--timeout gives more)."
        )
    finally:
        _kill(process)
    return _ending(process.returncode)


def _environment(box: Path) -> dict[str, str]:
    """The little that the worker is told: nothing of the grader's own settings and keys."""
    own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    home, temporary = str(box / "home"), str(box / "tmp")
    folders = {"HOME": home, "USERPROFILE": home} | dict.fromkeys(
        ("TMPDIR", "TEMP", "TMP"), temporary
    )
    settings = {"MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return own | folders | settings | {"PYTHONDONTWRITEBYTECODE": "1"}


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
    if code == -signal.SIGKILL.value or code == 128 + signal.SIGKILL.value:
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
def _no_network() -> list[str]:
    """The command that cuts a process off from the network, [] where the system does not let it."""
    if not shutil.which("unshare"):
        return []
    tried = subprocess.run([*UNSHARE, "true"], stdin=subprocess.DEVNULL, capture_output=True)
    return UNSHARE if tried.returncode == 0 else []
