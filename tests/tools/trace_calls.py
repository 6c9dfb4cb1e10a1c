"""The road of one picture through the library: which functions are entered, in which files.

    python tests/tools/trace_calls.py sample      from `LatentDiffusion.sample` to the UNet
    python tests/tools/trace_calls.py train       one step of the denoiser's training

Python's profiler hook notes each call of a function that is defined in ldmlib, in order. What a
comprehension or a generator expression does belongs to the function in which it stands.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
PACKAGE = ROOT / "ldmlib"
INSIDE_ANOTHER = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


class Reached(Exception):
    """The function at which the road ends was called."""


def road(walk: Callable[[], object], end: str | None = None) -> list[tuple[str, str]]:
    """(file, function) of each call that `walk()` makes into ldmlib, in order.

    Args:
        end: qualified name of the function at which to stop, such as "UNet.forward".
    """
    calls: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event != "call" or code.co_name in INSIDE_ANOTHER:
            return
        path = Path(code.co_filename)
        if not path.is_relative_to(PACKAGE):
            return
        name = getattr(code, "co_qualname", code.co_name)  # qualified from Python 3.11 on
        calls.append((path.relative_to(PACKAGE).as_posix(), name))
        if name == end:
            raise Reached

    sys.setprofile(note)
    try:
        walk()
    except Reached:
        pass
    finally:
        sys.setprofile(None)
    return calls


def counts(calls: list[tuple[str, str]]) -> tuple[int, int, int]:
    """Distinct functions, distinct files, and changes from one file to another."""
    files = [file for file, _ in calls]
    changes = sum(a != b for a, b in zip(files, files[1:], strict=False))
    return len(set(calls)), len(set(files)), changes


def sampling() -> list[tuple[str, str]]:
    """From `LatentDiffusion.sample(1, steps=2)` to the first call of the UNet's `forward`."""
    from ldmlib import LatentDiffusion

    model = LatentDiffusion.from_pretrained("mnist", "cpu")
    model.sample(1, steps=2)  # what is imported or kept at the first call is no part of the road
    return road(lambda: model.sample(1, steps=2), "UNet.forward")


def training() -> list[tuple[str, str]]:
    """One step of the denoiser's training, from the second of two on."""
    import tiny

    steps = tiny.denoiser_steps()
    next(steps)
    return road(lambda: next(steps))


def main() -> None:
    """Print the road and its counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=["sample", "train"])
    calls = {"sample": sampling, "train": training}[parser.parse_args().which]()
    for file, name in calls:
        print(f"{file:40} {name}")
    functions, files, changes = counts(calls)
    print(f"{functions} functions in {files} files, {changes} changes of file")


if __name__ == "__main__":
    main()
