"""Everything that `make test` checks: ruff, the unit tests, every notebook; then a summary.

Each notebook runs in a pytest of its own, so that one dead kernel cannot spoil the others.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUFF_CHECKS = {"ruff check": ["check"], "ruff format": ["format", "--check"]}
NBVAL = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=900"]
SLOWEST = 10


@dataclass
class Part:
    """What one run of pytest came to; `seconds` is the time of each test."""

    name: str
    closing_line: str
    passed: int
    failed: int
    skipped: int
    seconds: dict[str, float]


def run_ruff(arguments: list[str]) -> bool:
    """Run ruff over the project; True if it has nothing to say against it."""
    return subprocess.run([sys.executable, "-m", "ruff", *arguments, "."], cwd=ROOT).returncode == 0


def run_pytest(name: str, arguments: list[str]) -> Part:
    """Run pytest with `arguments`, showing its output as it comes."""
    print(f"\n>>> {name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = [f"--junit-xml={report}", f"--color={'yes' if sys.stdout.isatty() else 'no'}"]
        command = [sys.executable, "-m", "pytest", *options, *arguments]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as pytest:
            closing_line = show(pytest)
        return read_report(name, report, pytest.returncode, closing_line)


def show(process: subprocess.Popen[bytes]) -> str:
    """Copy what the process prints to standard output as it comes; return its last line."""
    tail = b""
    while chunk := process.stdout.read1(4096):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        tail = (tail + chunk)[-4096:]
    lines = tail.decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")


def read_report(name: str, report: Path, exit_code: int, closing_line: str) -> Part:
    """Read pytest's JUnit report; a pytest that ended badly without one counts as one failure."""
    suites = ElementTree.parse(report).getroot() if report.is_file() else []
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds: dict[str, float] = {}
    for suite in suites:
        counts = {key: counts[key] + int(suite.get(key, 0)) for key in counts}
        for case in suite.iter("testcase"):
            test = f"{case.get('classname')}::{case.get('name')}"
            seconds[test] = seconds.get(test, 0.0) + float(case.get("time", 0))
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    if exit_code != 0:
        failed = max(failed, 1)
    return Part(name, closing_line, passed, failed, counts["skipped"], seconds)


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
    for check, fine in ruff.items():
        print(f"{check}: {'passed' if fine else 'failed (`make lint` mends most of it)'}")
    failed = sum(part.failed for part in parts) + list(ruff.values()).count(False)
    passed = sum(part.passed for part in parts) + list(ruff.values()).count(True)
    print(f"\n{passed} passed, {failed} failed, {sum(part.skipped for part in parts)} skipped")
    return failed


def main() -> int:
    """Run every check, also after one has failed; the exit status is 1 if any did."""
    ruff = {name: run_ruff(arguments) for name, arguments in RUFF_CHECKS.items()}
    parts = [run_pytest("unit tests", ["--durations=10"])]
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        parts.append(run_pytest(notebook.stem, [*NBVAL, str(notebook.relative_to(ROOT))]))
    return 1 if print_summary(parts, ruff) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted: the tests did not run to the end.")
