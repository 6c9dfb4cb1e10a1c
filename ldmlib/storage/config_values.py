"""Settings read from a file, compared with the dataclass that they are for, before they are used.

A ``config.json`` may come from anyone. A text where a number belongs, a negative width or a billion
blocks should end in a sentence that names the setting, not in a crash or in a full memory.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

# Bounds of whole numbers by the name of their setting, both included; LARGEST is for the others.
LARGEST, LARGEST_REAL = 1_000_000, 1e12
BOUNDS = {
    "size": (1, 16_384),
    "steps": (1, 100_000),
    "channels": (1, LARGEST),
    "latent_channels": (1, LARGEST),
    "in_channels": (1, LARGEST),
    "widths": (1, LARGEST),
    "judge_widths": (1, LARGEST),
    "features": (1, LARGEST),
    "noise": (1, LARGEST),
    "fold": (1, 1024),
    "blocks": (0, 100),
    "enlarges": (0, 16_384),
    "canvas": (0, 16_384),
    "count": (0, 10**12),
    "held_out": (0, 10**12),
    "largest_held_out_key": (0, 2**63 - 1),
    "text_length": (1, LARGEST),
    "text_width": (1, LARGEST),
}
MOST_LEVELS = 32  # entries in a list of widths
SHARES = ("dropout", "class_weights")  # real numbers that can't be negative


def from_values(kind: type, values: dict[str, Any], more_allowed: bool = False) -> Any:
    """A dataclass made from what was read from a file, all values checked first.

    `kind` may have a class method `from_dict`; else it is called with the values it knows.

    Args:
        more_allowed: other settings may stand among them, and are left out.

    Raises:
        ValueError: a setting is missing, unknown, of another type or out of bounds.
    """
    check_values(kind, values, more_allowed=more_allowed)
    known = {field.name for field in fields(kind)}
    own = {key: value for key, value in values.items() if key in known}
    try:
        return kind.from_dict(own) if hasattr(kind, "from_dict") else kind(**own)
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from error


def check_values(kind: type, values: object, name: str = "", more_allowed: bool = False) -> None:
    """Compare a dictionary with the fields of a dataclass, and so on inside.

    Raises:
        ValueError: as for `from_values`; `name` stands before the name of the setting.
    """
    if not isinstance(values, dict):
        raise _expected(name, "a dictionary", values)
    dot = f"{name}." if name else ""
    needed = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]
    if missing := [key for key in needed if key not in values]:
        raise ValueError(f"{', '.join(dot + key for key in missing)} is missing")
    types = get_type_hints(kind)
    if (unknown := [key for key in values if key not in types]) and not more_allowed:
        settings = ", ".join((dot + key)[:60] for key in unknown[:3])
        raise ValueError(f"{settings} is no setting that this version of ldmlib knows")
    for key in values.keys() & types.keys():
        _check(types[key], values[key], dot + key)


def _check(kind: Any, value: object, name: str) -> None:
    """Raise ValueError if `value`, read from JSON, doesn't fit the annotation `kind`."""
    if get_origin(kind) in (Union, UnionType):
        others = [option for option in get_args(kind) if option is not NoneType]
        if value is not None:
            _check(others[0], value, name)
    elif is_dataclass(kind):
        check_values(kind, value, name)
    elif kind is tuple or get_origin(kind) is tuple:
        _check_list(get_args(kind), value, name)
    elif kind is int:
        _check_whole(value, name)
    elif kind is float:
        _check_real(value, name)
    elif kind in (str, bool, dict) and not isinstance(value, kind):
        words = {str: "a text", bool: "true or false", dict: "a dictionary"}
        raise _expected(name, words[kind], value)


def _check_list(kinds: tuple, value: object, name: str) -> None:
    if not isinstance(value, list | tuple):
        raise _expected(name, "a list", value)
    if not kinds:
        return
    if kinds[-1] is not Ellipsis and len(value) != len(kinds):
        raise _expected(name, f"a list of {len(kinds)}", value)
    if kinds[0] is int and len(value) > MOST_LEVELS:
        raise ValueError(f"{name} has {len(value):,} entries, expected at most {MOST_LEVELS}")
    for i, item in enumerate(value):
        _check(kinds[0] if kinds[-1] is Ellipsis else kinds[i], item, name)


def _check_whole(value: object, name: str) -> None:
    low, high = BOUNDS.get(name.split(".")[-1], (0, LARGEST))
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _expected(name, f"a whole number from {low} to {high:,}", value)


def _check_real(value: object, name: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -LARGEST_REAL <= value <= LARGEST_REAL:  # neither is true of nan
        raise _expected(name, "a number", value)
    if value < 0 and name.split(".")[-1] in SHARES:
        raise _expected(name, "a number that is not negative", value)


def _expected(name: str, words: str, value: object) -> ValueError:
    text = repr(value)
    shown = text if len(text) <= 60 else f"{text[:60]}..."
    return ValueError(f"{name or 'the whole'}: expected {words}, found {shown}")
