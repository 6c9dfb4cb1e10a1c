"""Pictures as tensors: the one place where ranges are converted, checked, resized and saved.

Inside the library a batch of pictures is a float tensor (N, C, H, W) with values in [-1, 1]: -1 is
black, 1 is white. Files and data sets hold 8-bit numbers, 0 to 255. `from_uint8` and `to_uint8` are
the only bridge between the two.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from ldmlib.storage.files import save_bytes
from ldmlib.storage.places import PathLike

CHANNELS = (1, 3, 4)  # grey, RGB, RGB with opacity


def from_uint8(u: Tensor) -> Tensor:
    """uint8 0..255, any shape -> float32 in [-1, 1]: x = u / 127.5 - 1.

    Raises:
        TypeError: `u` is not a uint8 tensor.
    """
    _expect_tensor(u, "from_uint8")
    if u.dtype != torch.uint8:
        raise TypeError(f"from_uint8: expected uint8, got {u.dtype}; is it converted already?")
    return u.float().div_(127.5).sub_(1)  # in place: whole data sets pass here


def to_uint8(x: Tensor) -> Tensor:
    """Float in [-1, 1], any shape -> uint8: u = round(127.5 (x + 1)), clamped to 0..255.

    Raises:
        TypeError: `x` is not a floating tensor.
        ValueError: `x` contains NaN.
    """
    _expect_tensor(x, "to_uint8")
    if not x.is_floating_point():
        raise TypeError(f"to_uint8: expected floats in [-1, 1], got {x.dtype}; already 8-bit?")
    if x.isnan().any():
        raise ValueError("to_uint8: NaN has no colour; look for where it first appears")
    return (x.detach().float() + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def check_images(
    x: Tensor,
    *,
    channels: int | None = None,
    size: int | None = None,
    what: str = "images",
    tolerance: float = 1e-3,
) -> Tensor:
    """Return `x` unchanged if it is a float tensor (N, C, H, W), finite and in [-1, 1].

    Args:
        channels: the C expected; None allows any.
        size: the H and W expected; None allows any.
        what: how the message calls `x`.
        tolerance: how far outside [-1, 1] a value may lie; `math.inf` for noised pictures.

    Raises:
        TypeError: not a tensor, or not floating.
        ValueError: another shape or range, empty, NaN or infinite.
    """
    _check_layout(x, channels, size, what)
    _check_range(x, what, tolerance)
    return x


def _expect_tensor(x: object, what: str) -> None:
    if not isinstance(x, Tensor):
        hint = "; use torch.from_numpy" if isinstance(x, np.ndarray) else ""
        raise TypeError(f"{what}: expected a torch.Tensor, got {type(x).__name__}{hint}")


def _check_layout(x: Tensor, channels: int | None, size: int | None, what: str) -> None:
    _expect_tensor(x, what)
    shape, expected = tuple(x.shape), f"(N, {channels or 'C'}, {size or 'H'}, {size or 'W'})"
    wrong = f"{what}: expected shape {expected}, got {shape}"
    if not x.is_floating_point():
        hint = "use images.from_uint8" if x.dtype == torch.uint8 else "convert them"
        raise TypeError(f"{what}: expected floats in [-1, 1], got {x.dtype}; {hint}")
    if x.ndim != 4:
        raise ValueError(wrong + ("; add a batch axis: x[None]" if x.ndim == 3 else ""))
    if x.numel() == 0:
        raise ValueError(f"{wrong}: there is nothing in it")
    if _looks_nhwc(shape, channels):
        raise ValueError(f"{wrong}; looks like (N, H, W, C): use x.permute(0, 3, 1, 2)")
    if channels not in (None, shape[1]):
        raise ValueError(f"{wrong}: {shape[1]} channels instead of {channels}")
    if size is not None and shape[2:] != (size, size):
        raise ValueError(f"{wrong}; use images.resize(x, {size}) or images.pad_to")


def _looks_nhwc(shape: tuple[int, ...], channels: int | None) -> bool:
    expected = CHANNELS if channels is None else (channels,)
    return shape[1] not in expected and shape[3] in expected and shape[1] == shape[2]


def _check_range(x: Tensor, what: str, tolerance: float) -> None:
    low, high = (bound.item() for bound in torch.aminmax(x.detach()))
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~x.isfinite()).sum())
        raise ValueError(f"{what}: expected finite values, {bad} of {x.numel()} are NaN or inf")
    if low < -1 - tolerance or high > 1 + tolerance:
        eight_bit = low >= 0 and 2 < high <= 255
        hint = "looks like 8-bit: use images.from_uint8" if eight_bit else "clamp or rescale them"
        raise ValueError(f"{what}: expected values in [-1, 1], got [{low:.4g}, {high:.4g}]; {hint}")


def check_labels(
    labels: Tensor | Sequence[int] | int | None,
    num_classes: int | None,
    n: int | None = None,
    what: str = "labels",
) -> Tensor | None:
    """Class labels as an int64 tensor (n,), each in 0 .. num_classes - 1; None stays None.

    Args:
        labels: one for each of `n` pictures, or a single one for all of them.
        num_classes: None allows any label from 0.
        n: how many pictures there are; None takes the labels as they come.
        what: how the message calls them.

    Raises:
        TypeError: labels are not whole numbers.
        ValueError: labels where there are no classes, another number of labels, one out of range.
    """
    if labels is None:
        return None
    if num_classes == 0:
        raise ValueError(f"{what}: expected none, as there are no classes here; leave them out")
    values = _whole_numbers(labels, what)
    values = values.repeat(1 if n is None else n) if values.ndim == 0 else values
    if values.ndim != 1 or (n is not None and len(values) != n):
        expected = "(n,)" if n is None else f"({n},)"
        raise ValueError(f"{what}: expected one a picture, {expected}, got {tuple(values.shape)}")
    outside = values[(values < 0) | (values >= (num_classes or math.inf))]
    if len(outside):
        valid = f"0 to {num_classes - 1}" if num_classes else "0 or more"
        count = f"{len(outside)} of {len(values)} are outside"
        raise ValueError(f"{what}: expected {valid}, got {int(outside[0])} ({count})")
    return values


def _whole_numbers(labels: object, what: str) -> Tensor:
    try:
        values = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{what}: expected whole numbers, got {labels!r:.60}") from error
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"{what}: expected whole numbers, got {values.dtype}; use labels.long()")
    return values.to(torch.int64)


def check_size(size: int) -> int:
    """Return `size` unchanged if a picture can have so many pixels a side.

    Raises:
        ValueError: it is not positive.
    """
    if size < 1:
        raise ValueError(f"resize: expected a size of 1 or more, got {size}")
    return size


def resize(x: Tensor, size: int) -> Tensor:
    """Resize float pictures (N, C, H, W) in [-1, 1] to (N, C, size, size): bicubic, antialiased.

    The only resize of the library: training data, super-resolution and metrics share it.

    Raises:
        TypeError, ValueError: `x` is not a float batch, or `size` is not positive.
    """
    _check_layout(x, None, None, "resize")
    check_size(size)
    if tuple(x.shape[2:]) == (size, size):
        return x
    precise = x if x.dtype == torch.float64 else x.float()  # the CPU has no 16-bit version
    smooth = F.interpolate(precise, size=(size, size), mode="bicubic", antialias=True)
    return smooth.clamp(-1, 1).to(x.dtype)


def pad_to(x: Tensor, size: int, value: float) -> Tensor:
    """Centre pictures (..., H, W) of any type on a (..., size, size) canvas filled with `value`.

    Raises:
        ValueError: a picture is larger than the canvas.
    """
    height, width = x.shape[-2:]
    if height > size or width > size:
        raise ValueError(f"pad_to: {height} x {width} does not fit in {size} x {size}; use resize")
    canvas = x.new_full((*x.shape[:-2], size, size), value)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[..., top : top + height, left : left + width] = x
    return canvas


def center_crop(x: Tensor) -> Tensor:
    """The largest central square of pictures (..., H, W) of any type."""
    height, width = x.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return x[..., top : top + side, left : left + side]


def over_white(u: Tensor) -> Tensor:
    """Lay uint8 pictures with opacity (N, 4, H, W) on white: uint8 (N, 3, H, W)."""
    if (u[:, 3] == 255).all():
        return u[:, :3]
    colour, opacity = u[:, :3].int(), u[:, 3:].int()
    return ((colour * opacity + 255 * (255 - opacity) + 127) // 255).to(torch.uint8)


WHITE = (255, 1023, 4095, 65_535)  # in files of 16 bits, which may hold 8, 10 or 12 of them


def read_picture(path: PathLike) -> Tensor:
    """A picture file as uint8 (1, 3, H, W): first frame, upright, transparent parts white.

    Grey pictures of 16 bits are scaled to 8. If only the lowest 12 are used, as by many cameras and
    scanners, the largest number of 12 bits becomes white, and a warning says so.

    Raises:
        OSError or another error of Pillow's: the file is damaged or not a picture.
        ValueError: its numbers are no brightness.
    """
    array = decode(path)
    if array.ndim == 3:
        return scaled(array)
    white = white_of(int(array.max()))
    if white != WHITE[-1]:
        warnings.warn(
            f"{Path(path).name}: a picture of 16 bits whose brightest value is {array.max():,} of "
            f"65,535; {white:,} is taken for white",
            stacklevel=2,
        )
    return scaled(array, white)


def decode(path: PathLike) -> np.ndarray:
    """First frame of a picture file, upright: uint8 (H, W, 4), or int32 (H, W) of 16-bit grey.

    Raises:
        OSError, ValueError: as of `read_picture`.
    """
    with Image.open(path) as file:
        picture = _upright(file)
        if picture.mode.startswith("I"):
            return _checked_range(np.asarray(picture), 65_535).astype(np.int32)
        if picture.mode == "F":
            values = _checked_range(np.asarray(picture), 255)
            values = values * 255 if values.max() <= 1 else values
            picture = Image.fromarray(values.round().astype(np.uint8))
        if picture.mode == "La":
            picture = picture.convert("LA")
        return np.array(picture.convert("RGBA"))


def _upright(file: Image.Image) -> Image.Image:
    file.load()  # a damaged picture is an error; damaged notes about it are not
    try:
        return ImageOps.exif_transpose(file)
    except Exception:  # Pillow raises errors of many kinds
        return file


def _checked_range(values: np.ndarray, most: int) -> np.ndarray:
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= most):  # NaN, too
        expected = "0 to 1 or 0 to 255" if most == 255 else "0 to 65,535"
        raise ValueError(f"its values go from {low:.4g} to {high:.4g}, expected {expected}")
    return values


def white_of(brightest: int) -> int:
    """The number of `WHITE` that pictures of 16 bits reach up to, all of which may be black."""
    return next(white for white in WHITE if white >= brightest) if brightest > 0 else WHITE[-1]


def scaled(array: np.ndarray, white: int = WHITE[-1]) -> Tensor:
    """What `decode` returned, as uint8 (1, 3, H, W) on white; `white` counts for 16-bit grey."""
    if array.ndim == 2:
        grey = (array * (255 / white)).round().clip(0, 255).astype(np.uint8)
        return torch.from_numpy(grey).expand(1, 3, *grey.shape).contiguous()
    return over_white(torch.from_numpy(array).permute(2, 0, 1)[None])


def grid(x: Tensor, columns: int | None = None, padding: int = 2) -> Tensor:
    """Lay pictures (N, C, H, W) row by row in one picture (C, rows H', columns W') on white.

    Values are clamped to [-1, 1], so noised pictures may be shown too. Default: nearly square.

    Raises:
        TypeError, ValueError: `x` is not a finite float batch.
    """
    check_images(x, what="grid", tolerance=math.inf)
    n, channels, height, width = x.shape
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    cells = x.new_ones(rows * columns, channels, height + padding, width + padding)
    cells[:n, :, :height, :width] = x.clamp(-1, 1)
    cells = cells.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)
    sheet = cells.flatten(3, 4).flatten(1, 2)
    return sheet[:, : sheet.shape[1] - padding, : sheet.shape[2] - padding]


def save_png(x: Tensor, path: PathLike, columns: int | None = None) -> None:
    """Save pictures (N, C, H, W), C = 1, 3 or 4, as one PNG, laid out by `grid`; atomic.

    Raises:
        TypeError, ValueError: `x` is not a finite float batch with 1, 3 or 4 channels.
    """
    sheet = to_uint8(grid(x, columns)).cpu()
    if sheet.shape[0] not in CHANNELS:
        raise ValueError(f"save_png: expected 1, 3 or 4 channels, got {sheet.shape[0]}; pick some")
    array, buffer = sheet.permute(1, 2, 0).numpy(), io.BytesIO()
    Image.fromarray(array.squeeze(2) if sheet.shape[0] == 1 else array).save(buffer, "PNG")
    save_bytes(path, buffer.getvalue())


def save_npz(
    path: PathLike,
    x: Tensor,
    labels: Tensor | Sequence[int] | int | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Save pictures (N, C, H, W) as uint8 `images` (N, H, W, C) and int64 `labels`; atomic.

    Args:
        classes: names of the classes in their order, kept as `classes` if there are labels.

    Raises:
        TypeError, ValueError: pictures or labels fail `check_images` or `check_labels`.
    """
    check_images(x, what="save_npz")
    arrays = {"images": to_uint8(x).permute(0, 2, 3, 1).cpu().numpy()}
    known = check_labels(labels, None, len(x))
    if known is not None:
        arrays["labels"] = known.cpu().numpy()
        if classes:
            arrays["classes"] = np.array(classes)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    save_bytes(path, buffer.getvalue())
