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

A check of several cases calls `judge_cases`, or `find_fault` for each case and hands the first
fault to `verdict`. A function is tried on at least two inputs, so that a result that was written
down for the first one does not pass.
"""

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, ValuesView
from typing import Any, NamedTuple

import numpy as np
import torch

NOT_FILLED = "not filled in yet: replace the `...` in the cell above, run it, then run this check."
NOTHING_RETURNED = (
    "not filled in yet, or the `return` is missing: your function returns None. Printing a result "
    "does not return it."
)
CONSTANT = (
    "your function returns the same result for every input. Compute it from the arguments instead "
    "of writing it down."
)


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


class Case(NamedTuple):
    """One input of a check, with the truth and with the mistakes that can be told apart by it."""

    truth: Any
    mistakes: Mapping[str, Any]
    args: tuple[Any, ...]
    name: str = "the answer"
    tolerance: float = 1e-4


def judge(answer: Any, truth: Any, mistakes: Any = None, *, right: str = "", **options) -> Verdict:
    """`find_fault` (options: args, name, not_filled, tolerance), then `verdict`."""
    return verdict(find_fault(answer, truth, mistakes, **options), right)


def judge_cases(
    answer: Any, cases: Iterable[Case], *, right: str = "", in_place: bool = False
) -> Verdict:
    """The verdict on a function that must be right in every case; the first fault is named."""
    passed: Case | None = None
    for case in cases:
        fault = find_fault(
            answer,
            case.truth,
            case.mistakes,
            args=case.args,
            name=case.name,
            tolerance=case.tolerance,
            in_place=in_place,
        )
        if fault is None:
            passed = case
            continue
        if passed is None:
            return verdict(fault)
        if find_fault(answer, passed.truth, args=case.args, tolerance=passed.tolerance) is None:
            return verdict(CONSTANT)
        return verdict(f"it works for one input, but not for another: {fault}")
    return verdict(None, right)


def find_fault(
    answer: Any,
    truth: Any,
    mistakes: Mapping[str, Any] | None = None,
    *,
    args: Sequence[Any] = (),
    name: str = "the answer",
    not_filled: str = NOT_FILLED,
    tolerance: float = 1e-4,
    in_place: bool = True,
) -> str | None:
    """The first fault of `answer` in words, or None where it equals `truth`. Prints nothing.

    answer: a value, or a function that is called with copies of `args`. truth: a number, string,
    bool, tensor, or a tuple of these. mistakes: message -> the wrong value it names, or a predicate
    of the answer. Values are equal within `tolerance` (absolute for small, relative for large).
    in_place: whether the function may change its arguments.
    """
    if args and not callable(answer):
        return not_filled if answer is None or answer is ... else _no_function(answer)
    if callable(answer) and not args:
        return f"{name} is a function: hand in its result."
    given = [_copy(a) for a in args]
    value, fault = _call(answer, given) if callable(answer) else (answer, None)
    if fault:
        return fault
    if value is None and callable(answer):
        return NOTHING_RETURNED
    if value is None or any(part is ... for part in _parts(value)):
        return not_filled
    value = _like(value, truth)
    if same(value, truth, tolerance):
        kind = _kind_fault(value, truth, name)
        return kind or (None if in_place else _changed_fault(answer, args, given))
    for message, wrong in (mistakes or {}).items():
        if callable(wrong):  # a predicate that cannot read the value does not recognise it
            recognised = attempt(lambda v, test=wrong: bool(test(v)), value)[0]
        else:
            recognised = same(value, wrong, tolerance)
        if recognised:
            return message
    return _unlike(value, truth, name, tolerance)


def _no_function(answer: Any) -> str:
    came = _show(answer)
    return f"the check needs your function itself, without brackets after its name, not {came}."


def _kind_fault(value: Any, truth: Any, name: str) -> str | None:
    """Whole numbers, such as labels, must stay whole numbers: others cannot index a table."""
    both = isinstance(value, torch.Tensor) and isinstance(truth, torch.Tensor)
    if both and value.is_floating_point() and truth.dtype == torch.int64:
        return f"{name} has the right values, but should hold whole numbers, not {value.dtype}."
    return None


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    return list(value) if isinstance(value, list) else value


def _changed_fault(function: Callable, args: Sequence[Any], given: Sequence[Any]) -> str | None:
    """The result is right: was an argument changed on the way to it?"""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    for i, (before, after) in enumerate(zip(args, given, strict=True)):
        if isinstance(before, torch.Tensor):
            kept = before.shape == after.shape and torch.equal(
                before.nan_to_num(), after.nan_to_num()
            )
        else:
            kept = not isinstance(before, list) or before == after
        if not kept:
            name = f"`{names[i]}`" if len(names) == len(args) else f"argument {i + 1}"
            return (
                f"the result is right, but {name} was changed in place, and the caller still needs "
                "it. Work on a copy, or compute a new value (no `+=`, no method that ends in `_`)."
            )
    return None


def attempt(function: Callable, *args: Any) -> tuple[Any, str | None]:
    """(value, None), or (None, what went wrong in words, with the reader's line where known)."""
    return _call(function, [_copy(a) for a in args])


def _call(function: Callable, args: Sequence[Any]) -> tuple[Any, str | None]:
    """What `attempt` does, with these very arguments."""
    try:
        value = function(*args)
        lazy = isinstance(value, (Iterator, range, ValuesView))
        return list(value) if lazy else value, None
    except NotImplementedError:
        return None, NOT_FILLED
    except Exception as error:  # whatever the reader's code raises becomes a sentence
        file = getattr(getattr(function, "__code__", None), "co_filename", None)
        lines = [f.line for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        where = f" at the line `{lines[-1].strip()}`" if lines and lines[-1] else ""
        hint = ". In Python, a power is written `**`, not `^`" if "for ^" in str(error) else ""
        return None, f"your code stopped{where} with {type(error).__name__}: {error}{hint}"


def _like(value: Any, truth: Any) -> Any:
    """`value` in the form of `truth`: numbers and arrays as tensors, parts in a tuple or list."""
    if isinstance(truth, (tuple, list)):
        parts = _parts(value)
        if isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim and len(parts) == 1:
            parts = list(value)  # a stack of the parts, in place of a tuple
        if len(parts) != len(truth):
            return value
        return type(truth)(map(_like, parts, truth))
    number, wanted = _tensor(value), _tensor(truth)
    if number is None or wanted is None:
        return value
    return number.reshape(()) if wanted.ndim == 0 and number.numel() == 1 else number


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
    if callable(value):
        return f"{name} is a function: call it, with brackets after its name."
    if y is not None and isinstance(value, str) and value.strip().replace(".", "").isdigit():
        return f"{name} is the text {value!r}: leave out the quotes, so that it is a number."
    if x is None or y is None:
        return f"{name} should be {_show(truth)}, but is {_show(value)}."
    if x.shape != y.shape:
        shapes = f"{name} should have shape {tuple(y.shape)}, but has {tuple(x.shape)}"
        if x.ndim == 2 and same(x.T, y, tolerance):
            return f"{shapes}: rows and columns have changed places."
        alike = x.numel() == y.numel() and same(x.reshape(y.shape), y, tolerance)
        return f"{shapes}, with the right numbers in it." if alike else f"{shapes}."
    kinds = [(v.is_floating_point() or not v.ndim, v.dtype == torch.bool) for v in (x, y)]
    if kinds[0] != kinds[1]:
        return f"{name} should hold {y.dtype}, but holds {x.dtype}."
    if bool(x.double().isnan().any()):
        return f"{name} contains NaN (0/0, or the root or logarithm of a negative number)."
    hint = _hint(x, y, tolerance)
    if hint:
        return f"{name} should be {_show(y)}, but is {_show(x)}: {hint}."
    return f"{name} should be {_show(y)}, but is {_show(x)}."


def _hint(x: torch.Tensor, y: torch.Tensor, tolerance: float) -> str | None:
    """A slip that is made everywhere: a sign, a factor 2, a root or square too many."""
    if not bool((y.abs() > 10 * tolerance).any()) or y.dtype == torch.bool:
        return None
    x, y = x.double(), y.double()
    slips = {
        "the sign is wrong": -y,
        "that is twice as large": 2 * y,
        "that is half as large": y / 2,
        "that is the square of it": y**2,
        "that is the root of it": y.clamp(min=0).sqrt(),
        "that is upside down, 1 over it": 1 / y,
    }
    return next((words for words, slip in slips.items() if same(x, slip, tolerance)), None)


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)


def _tensor(value: Any) -> torch.Tensor | None:
    if isinstance(value, str):
        return None
    try:
        if isinstance(value, np.ndarray):  # a copy: torch refuses reversed and read-only arrays
            value = np.array(value)
        elif isinstance(value, (list, tuple)) and not all(isinstance(v, float) for v in value):
            return torch.stack([_tensor(v) for v in value])
        return torch.as_tensor(value).detach().cpu()
    except Exception:  # a list of unlike things, an object: nothing to compare as numbers
        return None


def _show(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    flat = [f"{v:.4g}" for v in value.flatten()[:4].tolist()]
    return flat[0] if value.ndim == 0 else f"[{', '.join(flat)}{', ...' * (value.numel() > 4)}]"
