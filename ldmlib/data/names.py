"""Names that people give: paths with ``~``, folders named like bundled things, numbers in order."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

PathLike = str | os.PathLike[str]
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")


def printable(name: PathLike) -> str:
    """A name that can be printed and stored: odd bytes and control characters become escapes."""
    return "".join(map(_printable_character, os.fspath(name)))


def _printable_character(c: str) -> str:
    if "\udc80" <= c <= "\udcff":  # Python's stand-in for a byte that is no UTF-8
        return f"\\x{ord(c) - 0xDC00:02x}"
    return ascii(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs") else c


def is_unicode(name: str) -> bool:
    """Whether a name is text; a file name of other bytes (latin-1, say) holds surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def natural(name: str) -> tuple[list[str | int], str]:
    """A key for sorting names as a person would: class2 before class10, capitals like others."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Names sorted by `natural`; if all of them are numbers (-1, 0.5, 10), by their size."""
    names = list(names)
    if all(NUMBER.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (float(name), name))
    return sorted(names, key=natural)


def clash(name: PathLike, known: Collection[str], what: str) -> str | None:
    """A sentence for a warning if `name` is a bundled one and a file or folder is called so, too.

    Args:
        name: as it was typed; only a plain string can mean something bundled.
        known: names of what is bundled.
        what: how to call it ("data set", "model").
    """
    if not isinstance(name, str) or name not in known or not Path(name).exists():
        return None
    kind = "folder" if Path(name).is_dir() else "file"
    return (
        f"{name!r} means the bundled {what}, although there is a {kind} of that name here, too; "
        f"write ./{name} for the {kind}"
    )


def did_you_mean(name: PathLike, known: Collection[str]) -> str:
    """``did you mean 'mnist'?`` for a name that is nearly a known one, else an empty string."""
    plain = os.fspath(name).casefold().replace("-", "_").strip()
    near = difflib.get_close_matches(plain, known, 1, 0.75)
    return f"did you mean {near[0]!r}?" if near else ""


def counted(n: int, one: str, many: str | None = None) -> str:
    """``1 picture``, ``1,200 pictures``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def some(names: Iterable[str], shown: int = 3) -> str:
    """The first few of many names, made printable: ``a.png, b.png, c.png, ...``."""
    names = [printable(name) for name in names]
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
