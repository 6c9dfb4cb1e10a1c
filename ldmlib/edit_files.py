"""``ldm edit``: pictures and masks from files, made to fit a model, edited and saved."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ldmlib import images as im
from ldmlib.conditioning import check_mask
from ldmlib.editing import image_to_image, inpaint, super_resolve
from ldmlib.files import check_writable
from ldmlib.image_data import resize_uint8
from ldmlib.latent import LatentDiffusion
from ldmlib.own_pictures import SUFFIXES, from_npz
from ldmlib.places import expanded

GREY = (0.299, 0.587, 0.114)  # how bright the eye finds red, green and blue
MOST_GREY = 0.05  # share of a mask that may be neither black nor white: soft edges


def read_any(path: Path) -> Tensor:
    """Pictures of a file, as they are: uint8 (n, C, H, W), n = 1 unless it is an .npz.

    Raises:
        FileNotFoundError, IsADirectoryError: no such file, or a folder.
        TypeError, ValueError: it holds no pictures.
    """
    path = expanded(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder: name one picture in it, or an .npz file of pictures"
        )
    if not path.is_file():
        raise FileNotFoundError(f"expected a picture or an .npz file at {path}, found no such file")
    if path.suffix.lower() == ".npz":
        return from_npz(path).images
    try:
        return im.read_picture(path)
    except Exception as error:  # decoders raise errors of many kinds
        known = ", ".join(sorted(SUFFIXES))
        raise ValueError(
            f"{path}: no picture that can be read ({known} or .npz): {error}"
        ) from error


class Given(NamedTuple):
    """Labels (n,) of pictures as they came, and the names of their classes."""

    labels: Tensor | None = None
    classes: tuple[str, ...] = ()


def labels_of(path: Path) -> Given:
    """What an .npz file of pictures says of their classes; other files say nothing."""
    path = expanded(path)
    if path.suffix.lower() != ".npz":
        return Given()
    data = from_npz(path)
    return Given(data.labels, data.classes)


def fitted(u: Tensor, size: int, channels: int, name: str) -> Tensor:
    """uint8 pictures (n, C, H, W) -> float (n, channels, size, size); says what had to change."""
    height, width = u.shape[2:]
    if (height, width) != (size, size):
        crop = "" if height == width else "cropped to the central square and "
        print(f"{name} is {width} x {height} pixels: {crop}resized to {size} x {size}.")
        u = resize_uint8(im.center_crop(u), size)
    if channels == 1 and u.shape[1] == 3:
        if not bool((u == u[:, :1]).all()):
            print(f"{name} is in colour, the model draws in grey: turned into grey.")
        weights = torch.tensor(GREY, dtype=torch.float64).view(1, 3, 1, 1)
        u = (u * weights).sum(1, keepdim=True).round().to(torch.uint8)
    return im.from_uint8(u.expand(-1, channels, -1, -1))


def read_mask(path: Path, height: int, width: int, size: int) -> Tensor:
    """The mask of a picture that came as height x width, bool (1, 1, size, size): white is True.

    It is cropped as the picture was; where several of its pixels become one, any white one counts.

    A mask of the values 0 and 1 is read as 0 and 255.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no picture, one of another size than the picture, one that is not black and
            white, or one with nothing white in it.
    """
    u = read_any(path)
    if len(u) != 1 or u.shape[2:] != (height, width):
        came = f"{u.shape[3]} x {u.shape[2]}" if len(u) == 1 else f"{len(u)} pictures"
        raise ValueError(
            f"{path}: a mask is one picture as large as the one to edit, {width} x {height} "
            f"pixels, not {came}"
        )
    brightness = u.float().mean(1, keepdim=True)
    brightest = float(brightness.max())
    if brightest == 1:
        print(f"{path.name} has the values 0 and 1: 1 is taken for white.")
        brightness = 255 * brightness
    between = float(((brightness > 64) & (brightness < 191)).float().mean())
    if between > MOST_GREY:
        raise ValueError(
            f"{path}: a mask is white where to draw anew and black where to keep; {between:.0%} "
            "of this picture is neither"
        )
    white = im.center_crop(brightness > 127).float()
    if not bool(white.any()):
        cropped = bool((brightness > 127).any())
        why = (
            "white only at the sides, which are cropped"
            if cropped
            else (f"black everywhere (its brightest value is {brightest:.0f} of 255)")
        )
        raise ValueError(
            f"{path}: the mask is {why}, so nothing would be drawn anew; paint white what should be"
        )
    if bool(white.all()):
        print(f"{path.name} is white everywhere: the whole picture is drawn anew.")
    return check_mask(F.adaptive_max_pool2d(white, size) > 0, 1, size)


def edit_file(
    ldm: LatentDiffusion,
    source: Path,
    out: Path,
    mask: Path | None = None,
    strength: float | None = None,
    labels=None,
    **options: object,
) -> None:
    """Edit the pictures of a file as the model can, and save them (.png or .npz, with labels).

    Image-to-image (strength .6 unless told otherwise); with a mask, inpainting; with a model for
    super-resolution, that.

    Args:
        labels: a function that gives n labels, or None.
        options: of `editing.Options`.

    Raises:
        TypeError, ValueError, OSError: files, mask or options that do not fit.
    """
    if out.suffix.lower() not in (".png", ".npz"):
        raise ValueError(f"--out must end in .png or .npz, not {out.name!r}")
    check_writable(out)
    config, u, given = ldm.config, read_any(source), labels_of(source)
    x = fitted(u, config.enlarges or config.size, config.autoencoder.channels, source.name)
    options["labels"] = None if labels is None else labels(len(x))
    if config.enlarges:
        if mask is not None or strength is not None:
            raise ValueError("this model enlarges pictures: it takes neither --mask nor --strength")
        y = super_resolve(ldm, x, **options)
    elif mask is not None:
        hole = read_mask(mask, *u.shape[2:], config.size)
        y = inpaint(ldm, x, hole, 1.0 if strength is None else strength, **options)
    elif config.fills_holes:
        raise ValueError("this model fills holes: say where with --mask MASK.png")
    else:
        y = image_to_image(ldm, x, 0.6 if strength is None else strength, **options)
    if out.suffix.lower() == ".png":
        im.save_png(y, out)
    else:  # the classes that were asked for, or else those that the pictures came with
        asked = options["labels"]
        is_open = asked is None or bool((asked < 0).any())
        names = () if is_open else config.classes
        im.save_npz(out, y, given.labels if is_open else asked, names or given.classes)
    print(f"{len(y)} picture{'s' * (len(y) > 1)} in {out}")
