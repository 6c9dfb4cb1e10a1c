"""A program whose standard streams are closed works, and nothing else is written into its files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPENED = "from ldmlib.cli.streams import open_standard_streams as opened; opened()\n"
WRITES = OPENED + (
    "import os, subprocess, sys\n"
    "import tqdm\n"
    "file = open(sys.argv[1], 'w')\n"
    "for _ in tqdm.tqdm(range(2)): print('out')\n"
    "print('err', file=sys.stderr)\n"
    "print(sys.stdin.read(), end='')\n"
    "for number in (1, 2): os.write(number, b'from C')\n"
    "child = [sys.executable, '-c', 'import sys; print(1); print(2, file=sys.stderr)']\n"
    "subprocess.run(child, check=True)\n"
    "file.write('mine')\n"
)

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")


def run(arguments: list[str], closed: str, **settings) -> subprocess.CompletedProcess:
    """Run Python with `arguments` in a shell that closes streams first."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, **settings
    )


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_cost_nothing(closed: str, tmp_path: Path) -> None:
    done = run(["-c", WRITES, str(tmp_path / "file")], closed)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_text() == "mine"
    assert ("out" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))
    assert ("err" in done.stderr) == ("2>&-" not in closed)


def test_open_streams_stay_what_they_are() -> None:
    code = "import sys; before = sys.stdin, sys.stdout, sys.stderr\n" + OPENED
    code += "assert (sys.stdin, sys.stdout, sys.stderr) == before"
    assert run(["-c", code], "").returncode == 0


def test_a_character_that_a_terminal_lacks_is_no_error() -> None:
    done = run(["-c", OPENED + r"print('\u00e9 \u2192')"], "", env={**os.environ, **ASCII})
    assert (done.returncode, done.stdout.strip()) == (0, r"\xe9 \u2192")


ASCII = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}


@pytest.mark.slow
def test_the_command_draws_pictures_without_a_terminal(tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    arguments = ["sample", "mnist", "--n", "1", "--steps", "1", "--out", str(out)]
    assert run(["-m", "ldmlib", *arguments], ">&- 2>&-").returncode == 0
    assert out.read_bytes().startswith(b"\x89PNG")
