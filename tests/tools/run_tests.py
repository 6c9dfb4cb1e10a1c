"""Everything that `make test` checks: ruff, the unit tests, every notebook; then a summary.

Each notebook runs in a pytest of its own, so that one dead kernel cannot spoil the others. Two run
side by side, each with half of the processor's cores: small networks leave a second core idle for
much of the time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import ldmlib  # noqa: F401  (sets GOMP_SPINCOUNT, which the parts below inherit)

ROOT = Path(__file__).resolve().parents[2]
RUFF_CHECKS = {"ruff check": ["check"], "ruff format": ["format", "--check"]}
NBVAL = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=2700"]
SLOWEST = 10
MESSAGE = 300  # characters of a fault in the summary
SIDE_BY_SIDE = min(2, os.cpu_count() or 1)
THREADS = max(1, (os.cpu_count() or 1) // SIDE_BY_SIDE)  # of each part
ONE_LINE_AT_A_TIME = threading.Lock()


@dataclass
class Part:
    """What one run of pytest came to: the time of each test, and what was wrong with some."""

    name: str
    closing_line: str
    passed: int
    failed: int
    skipped: int
    seconds: dict[str, float]
    wrong: dict[str, str]


def run_ruff(arguments: list[str]) -> bool:
    """Run ruff over the project; True if it has nothing to say against it."""
    return subprocess.run([sys.executable, "-m", "ruff", *arguments, "."], cwd=ROOT).returncode == 0


def run_pytest(name: str, arguments: list[str]) -> Part:
    """Run pytest with `arguments`, showing its output line by line as it comes."""
    show(name, ">>> begins")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = [f"--junit-xml={report}", f"--color={'yes' if sys.stdout.isatty() else 'no'}"]
        command = [sys.executable, "-m", "pytest", *options, *arguments]
        settings = os.environ | {"OMP_NUM_THREADS": str(THREADS)}
        pipe, closing_line = subprocess.PIPE, ""
        with subprocess.Popen(command, cwd=ROOT, env=settings, stdout=pipe) as pytest:
            for line in pytest.stdout:
                closing_line = line.decode(errors="replace").rstrip() or closing_line
                show(name, line.decode(errors="replace").rstrip())
        return read_report(name, report, pytest.returncode, closing_line)


def show(name: str, line: str) -> None:
    """Print a line of a part's output, with the part's name before it."""
    with ONE_LINE_AT_A_TIME:
        print(f"[{name[:10]}] {line}", flush=True)


def read_report(name: str, report: Path, exit_code: int, closing_line: str) -> Part:
    """Read pytest's JUnit report; a pytest that ended badly without one counts as one failure."""
    suites = ElementTree.parse(report).getroot() if report.is_file() else []
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds: dict[str, float] = {}
    wrong: dict[str, str] = {}
    for suite in suites:
        counts = {key: counts[key] + int(suite.get(key, 0)) for key in counts}
        for case in suite.iter("testcase"):
            test = f"{case.get('classname')}::{case.get('name')}"
            seconds[test] = seconds.get(test, 0.0) + float(case.get("time", 0))
            for fault in (*case.iter("failure"), *case.iter("error")):
                wrong[test] = " ".join(fault.get("message", "").split())[:MESSAGE]
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    if exit_code != 0:
        failed = max(failed, 1)
    return Part(name, closing_line, passed, failed, counts["skipped"], seconds, wrong)


def print_summary(parts: list[Part], ruff: dict[str, bool]) -> int:
    """Print times and outcomes; return how many checks failed."""
    tests = [(seconds, test) for part in parts for test, seconds in part.seconds.items()]
    print(f"\nSlowest {SLOWEST} tests and notebook cells")
    for seconds, test in sorted(tests, reverse=True)[:SLOWEST]:
        print(f"{seconds:8.1f} s  {test}")
    print("\nSeconds of each part")
    for part in parts:
        print(f"{sum(part.seconds.values()):8.1f} s  {part.name}")
    print("\nWhat pytest and ruff said")
    for part in parts:
        print(f"{part.name}: {part.closing_line}")
    for test, message in [item for part in parts for item in part.wrong.items()]:
        print(f"FAILED {test}: {message}")
    for check, fine in ruff.items():
        print(f"{check}: {'passed' if fine else 'failed (`make lint` mends most of it)'}")
    failed = sum(part.failed for part in parts) + list(ruff.values()).count(False)
    passed = sum(part.passed for part in parts) + list(ruff.values()).count(True)
    print(f"\n{passed} passed, {failed} failed, {sum(part.skipped for part in parts)} skipped")
    return failed


def longest_first(notebooks: list[Path]) -> list[Path]:
    """Notebooks by the seconds that they took when they were stored; unknown ones first."""
    timings = json.loads((ROOT / "notebooks" / "timings.json").read_text(encoding="utf-8"))
    seconds = {name: run["seconds"] for name, run in timings.items()}
    return sorted(notebooks, key=lambda path: -seconds.get(path.stem, float("inf")))


def main() -> int:
    """Run every check, also after one has failed; the exit status is 1 if any did."""
    os.environ.pop("LDMLIB_RUNS", None)  # trainings in notebooks start anew
    ruff = {name: run_ruff(arguments) for name, arguments in RUFF_CHECKS.items()}
    notebooks = longest_first(list((ROOT / "notebooks").glob("*.ipynb")))
    names = ["unit tests", *(notebook.stem for notebook in notebooks)]
    arguments = [["--durations=10"]]
    arguments += [[*NBVAL, str(notebook.relative_to(ROOT))] for notebook in notebooks]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        parts = list(pool.map(run_pytest, names, arguments))
    parts.sort(key=lambda part: (part.name != "unit tests", part.name))
    return 1 if print_summary(parts, ruff) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted: the tests did not run to the end.")
