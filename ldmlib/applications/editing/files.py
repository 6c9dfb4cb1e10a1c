"""``ldm edit``: pictures and masks from files, made to fit a model, edited and saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ldmlib import images as im
from ldmlib.applications.editing.edits import image_to_image, inpaint, super_resolve
from ldmlib.applications.editing.mask_files import GivenMask, fit_mask
from ldmlib.data.dataset import resize_uint8
from ldmlib.data.own_pictures import from_npz
from ldmlib.data.picture_folders import SUFFIXES
from ldmlib.latent.model import LatentDiffusion
from ldmlib.storage.files import check_writable
from ldmlib.storage.places import expanded

GREY = (0.299, 0.587, 0.114)  # how bright the eye finds red, green and blue


class Given(NamedTuple):
    """Pictures of a file as they came: uint8 (n, C, H, W), labels (n,) and names of classes."""

    images: Tensor
    name: str
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()


def read_given(path: Path) -> Given:
    """Pictures of a file, n = 1 unless it is an .npz; labels and classes only if it is.

    Raises:
        FileNotFoundError, IsADirectoryError: no such file, or a folder.
        TypeError, ValueError: it holds no pictures.
    """
    path = existing_file(path)
    if path.suffix.lower() == ".npz":
        data = from_npz(path)
        return Given(data.images, path.name, data.labels, data.classes)
    with readable(path):
        return Given(im.read_picture(path), path.name)


def existing_file(path: Path) -> Path:
    """The path, its home folder written out, if it is a file."""
    path = expanded(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder: name one picture in it, or an .npz file of pictures"
        )
    if not path.is_file():
        raise FileNotFoundError(f"expected a picture or an .npz file at {path}, found no such file")
    return path


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What decoders raise becomes a ValueError that names the file."""
    try:
        yield
    except Exception as error:  # errors of many kinds
        known = ", ".join(sorted(SUFFIXES))
        raise ValueError(
            f"{path}: no picture that can be read ({known} or .npz): {error}"
        ) from error


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


def edit_file(
    ldm: LatentDiffusion,
    given: Given,
    out: Path,
    mask: GivenMask | None = None,
    strength: float | None = None,
    labels=None,
    **options: object,
) -> None:
    """Edit the pictures of a file as the model can, and save them (.png or .npz, with labels).

    Image-to-image (strength .6 unless told otherwise); with a mask, inpainting; with a model for
    super-resolution, that.

    Args:
        given, mask: what `read_given` and `mask_files.read_mask` found.
        labels: a function that gives n labels, or None.
        options: of `editing.Options`.

    Raises:
        TypeError, ValueError, OSError: files, mask or options that do not fit.
    """
    if out.suffix.lower() not in (".png", ".npz"):
        raise ValueError(f"--out must end in .png or .npz, not {out.name!r}")
    check_writable(out)
    config, u = ldm.config, given.images
    x = fitted(u, config.enlarges or config.size, config.autoencoder.channels, given.name)
    options["labels"] = None if labels is None else labels(len(x))
    if config.enlarges:
        if mask is not None or strength is not None:
            raise ValueError("this model enlarges pictures: it takes neither --mask nor --strength")
        y = super_resolve(ldm, x, **options)
    elif mask is not None:
        hole = fit_mask(mask, u, config.size)
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
