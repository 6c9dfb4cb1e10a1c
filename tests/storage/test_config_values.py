"""Settings from a file are what their dataclass says, or the message names the one that isn't."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import pytest

from ldmlib.storage.config_values import LARGEST, MOST_LEVELS, check_values, from_values


@dataclass(frozen=True)
class Inner:
    widths: tuple[int, ...] = (8, 16)
    pair: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))


@dataclass(frozen=True)
class Outer:
    inner: Inner
    size: int = 32
    guidance: float = 1.0
    dropout: float = 0.0
    name: str = "heun"
    on: bool = False
    maybe: Inner | None = None
    merges: tuple[tuple[str, str], ...] = ()
    facts: dict = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: dict) -> Outer:
        return cls(**{**values, "inner": Inner(**values["inner"])})


GOOD = {**asdict(Outer(Inner())), "facts": {"anything": [None, -5]}, "guidance": 2}


def test_good_settings_pass() -> None:
    assert from_values(Outer, GOOD).inner == Inner()
    assert from_values(Outer, {"inner": {}}) == Outer(Inner())
    assert from_values(Outer, {**GOOD, "maybe": {"widths": [1]}, "merges": [["a", "b"]]})
    assert from_values(Inner, {"widths": [3], "note": 1}, more_allowed=True).widths == (3,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "size: expected a whole number from 1 to 16,384, found 0"),
        ({"size": -32}, "size: .*found -32"),
        ({"size": 10**9}, "size: .*found 1000000000"),
        ({"size": 32.0}, "size: .*found 32.0"),
        ({"size": True}, "size: .*found True"),
        ({"size": "32"}, "size: .*found '32'"),
        ({"size": None}, "size: .*found None"),
        ({"guidance": float("nan")}, "guidance: expected a number, found nan"),
        ({"guidance": float("inf")}, "guidance: "),
        ({"guidance": 10**400}, "guidance: "),
        ({"guidance": False}, "guidance: "),
        ({"dropout": -0.1}, "dropout: expected a number that is not negative"),
        ({"name": 5}, "name: expected a text, found 5"),
        ({"on": 1}, "on: expected true or false, found 1"),
        ({"facts": []}, "facts: expected a dictionary"),
        ({"inner": None}, "inner: expected a dictionary, found None"),
        ({"inner": {"widths": 8}}, "inner.widths: expected a list, found 8"),
        ({"inner": {"widths": [8, 0]}}, "inner.widths: expected a whole number from 1"),
        ({"inner": {"widths": [LARGEST + 1]}}, "inner.widths: "),
        ({"inner": {"widths": [8] * (MOST_LEVELS + 1)}}, "33 entries, expected at most 32"),
        ({"inner": {"pair": [0.0]}}, "inner.pair: expected a list of 2"),
        ({"inner": {"depth": 3}}, "inner.depth is no setting that this version of ldmlib knows"),
        ({"maybe": {"widths": "8"}}, "maybe.widths: expected a list"),
        ({"merges": [["a", 1]]}, "merges: expected a text, found 1"),
        ({"merges": [["a"]]}, "merges: expected a list of 2"),
        ({"x" * 9999: 1}, "x{60} is no setting"),
    ],
)
def test_bad_settings_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        from_values(Outer, {**GOOD, **changes})
    assert len(str(caught.value)) < 200


def test_missing_and_foreign_settings() -> None:
    with pytest.raises(ValueError, match="^inner is missing"):
        from_values(Outer, {"size": 3})
    with pytest.raises(ValueError, match="the whole: expected a dictionary, found \\[1\\]"):
        check_values(Outer, [1])
    with pytest.raises(ValueError, match="found '9{50}.*\\.\\.\\.") as caught:
        from_values(Outer, {**GOOD, "size": "9" * 10_000})
    assert len(str(caught.value)) < 200
