"""What every exercise check is made of: compare, recognise the usual mistakes, say it in words.

    def variance(answer) -> bool:
        x = torch.tensor([1.0, 2.0, 4.0])
        return judge(
            answer,                       # the reader's function (called with args) or value
            x.var(unbiased=False),        # the truth
            {
                "that is the standard deviation: square it": x.std(unbiased=False),
                "a variance is never negative": lambda value: value < 0,
            },
            args=(x,),
            right="the mean squared distance from the mean.",
        )

A check of several cases calls `find_fault` for each and hands the first fault to `verdict`.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

NOT_FILLED = "not filled in yet: replace the `...` in the cell above, run it, then run this check."


class Verdict:
    """True or False, as `bool` is, but silent: a notebook shows what was printed and no more.

    `said` is the printed sentence, for those who did not see it: `ldm grade` puts it into a table.
    """

    def __init__(self, right: bool, said: str = "") -> None:
        self.right, self.said = right, said

    def __bool__(self) -> bool:
        return self.right

    def _ipython_display_(self) -> None:
        """Show nothing below the cell."""


def verdict(fault: str | None, right: str = "") -> Verdict:
    """Print "Right: ..." where `fault` is None, "Not yet: <fault>" elsewhere; true when right."""
    said = f"Not yet: {fault}" if fault else f"Right: {right}".rstrip(": ")
    print(said)
    return Verdict(not fault, said)


def judge(answer: Any, truth: Any, mistakes: Any = None, *, right: str = "", **options) -> Verdict:
    """`find_fault` (options: args, name, not_filled, tolerance), then `verdict`."""
    return verdict(find_fault(answer, truth, mistakes, **options), right)


def find_fault(
    answer: Any,
    truth: Any,
    mistakes: Mapping[str, Any] | None = None,
    *,
    args: Sequence[Any] = (),
    name: str = "the answer",
    not_filled: str = NOT_FILLED,
    tolerance: float = 1e-4,
) -> str | None:
    """The first fault of `answer` in words, or None where it equals `truth`. Prints nothing.

    answer: a value, or a function that is called with copies of `args`. truth: a number, string,
    bool, tensor, or a tuple of these. mistakes: message -> the wrong value it names, or a predicate
    of the answer. Values are equal within `tolerance` (absolute for small, relative for large).
    """
    value, fault = attempt(answer, *args) if callable(answer) else (answer, None)
    if fault:
        return fault
    if value is None or any(part is ... for part in _parts(value)):
        return not_filled
    if same(value, truth, tolerance):
        return None
    for message, wrong in (mistakes or {}).items():
        if callable(wrong):  # a predicate that cannot read the value does not recognise it
            recognised = attempt(lambda v, test=wrong: bool(test(v)), value)[0]
        else:
            recognised = same(value, wrong, tolerance)
        if recognised:
            return message
    return _unlike(value, truth, name, tolerance)


def attempt(function: Callable, *args: Any) -> tuple[Any, str | None]:
    """(value, None), or (None, what went wrong in words, with the reader's line where known)."""
    try:
        return function(*[a.clone() if isinstance(a, torch.Tensor) else a for a in args]), None
    except NotImplementedError:
        return None, NOT_FILLED
    except Exception as error:  # whatever the reader's code raises becomes a sentence
        file = getattr(getattr(function, "__code__", None), "co_filename", None)
        lines = [f.line for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        where = f" at the line `{lines[-1].strip()}`" if lines and lines[-1] else ""
        return None, f"your code stopped{where} with {type(error).__name__}: {error}"


def same(a: Any, b: Any, tolerance: float = 1e-4) -> bool:
    """Equal in kind, shape and (within `tolerance`) value; False where they cannot be compared."""
    if isinstance(b, (tuple, list)):
        a = _parts(a)
        return len(a) == len(b) and all(map(same, a, b, [tolerance] * len(b)))
    x, y = _tensor(a), _tensor(b)
    if x is None or y is None:
        return type(a) is type(b) and bool(a == b)
    if x.shape != y.shape or (x.dtype == torch.bool) != (y.dtype == torch.bool):
        return False
    return torch.allclose(x.double(), y.double(), rtol=tolerance, atol=tolerance)


def _unlike(value: Any, truth: Any, name: str, tolerance: float) -> str:
    """What was expected and what came: the answer to a mistake that nobody foresaw."""
    x, y, parts = _tensor(value), _tensor(truth), _parts(value)
    if isinstance(truth, (tuple, list)):
        if len(parts) != len(truth):
            return f"{name} should have {len(truth)} parts, but has {len(parts)}."
        i = next(i for i in range(len(truth)) if not same(parts[i], truth[i], tolerance))
        return _unlike(parts[i], truth[i], f"part {i + 1} of {name}", tolerance)
    if x is None or y is None:
        return f"{name} should be {_show(truth)}, but is {_show(value)}."
    if x.shape != y.shape:
        return f"{name} should have shape {tuple(y.shape)}, but has {tuple(x.shape)}."
    kinds = [(v.is_floating_point() or not v.ndim, v.dtype == torch.bool) for v in (x, y)]
    if kinds[0] != kinds[1]:
        return f"{name} should hold {y.dtype}, but holds {x.dtype}."
    if bool(x.double().isnan().any()):
        return f"{name} contains NaN (0/0, or the root or logarithm of a negative number)."
    return f"{name} should be {_show(y)}, but is {_show(x)}."


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)


def _tensor(value: Any) -> torch.Tensor | None:
    try:
        return None if isinstance(value, str) else torch.as_tensor(value).detach().cpu()
    except Exception:  # a list of unlike things, an object: nothing to compare as numbers
        return None


def _show(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    flat = [f"{v:.4g}" for v in value.flatten()[:4].tolist()]
    return flat[0] if value.ndim == 0 else f"[{', '.join(flat)}{', ...' * (value.numel() > 4)}]"
