"""Laws of `editing.mask_files`: what other tools write as a mask is read as they mean it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldmlib.applications.editing.mask_files import fit_mask, read_mask

HOLE = np.zeros((16, 16), np.uint8)
HOLE[4:10, 2:12] = 1
EXPECTED = torch.from_numpy(HOLE > 0)[None, None]
PICTURE = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)


def with_opacity(grey: np.ndarray, opacity: np.ndarray) -> Image.Image:
    return Image.fromarray(np.stack([grey, grey, grey, opacity], 2))


def palette(values: np.ndarray, *colours: int) -> Image.Image:
    image = Image.fromarray(values).convert("P")
    image.putpalette([c for colour in colours for c in (colour,) * 3] + [0] * (768 - 3 * 2))
    return image


PICTURES = {
    "255": Image.fromarray(255 * HOLE),
    "0 and 1": Image.fromarray(HOLE),
    "bits": Image.fromarray(HOLE > 0),
    "RGB": Image.fromarray(255 * HOLE).convert("RGB"),
    "16 bits": Image.fromarray(65535 * HOLE.astype(np.uint16)),
    "16 bits, 255": Image.fromarray(255 * HOLE.astype(np.uint16)),
    "16 bits, 0 and 1": Image.fromarray(HOLE.astype(np.uint16)),
    "inverted palette": palette(1 - HOLE, 255, 0),
    "white strokes": with_opacity(np.full_like(HOLE, 255), 255 * HOLE),
    "transparent hole": with_opacity(np.zeros_like(HOLE), 255 * (1 - HOLE)),
    "hole in a photograph": with_opacity(60 * (1 - HOLE), 255 * (1 - HOLE)),
}
ARRAYS = {
    "bool": HOLE > 0,
    "0 and 1": HOLE,
    "float": HOLE.astype(np.float64),
    "255": 255 * HOLE,
    "int64": 255 * HOLE.astype(np.int64),
    "one of one": HOLE[None] > 0,
    "last axis": HOLE[..., None] > 0,
    "both axes": HOLE[None, None] > 0,
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_of_every_kind_are_the_same_mask(kind: str, tmp_path: Path, capsys) -> None:
    PICTURES[kind].save(tmp_path / "m.PNG")
    assert torch.equal(fit_mask(read_mask(tmp_path / "m.PNG"), PICTURE, 16), EXPECTED)
    said = capsys.readouterr().out
    assert ("1 is taken for white" in said) == ("0 and 1" in kind)
    assert ("transparent ground" in said) == (kind == "white strokes")


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_every_kind_are_the_same_mask(kind: str, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", ARRAYS[kind])
    np.savez(tmp_path / "one.npz", hole=ARRAYS[kind])
    np.savez(tmp_path / "named.npz", other=np.zeros(3), mask=ARRAYS[kind])
    for name in ("m.npy", "one.npz", "named.npz"):
        assert torch.equal(fit_mask(read_mask(tmp_path / name), PICTURE, 16), EXPECTED)


def test_each_picture_may_have_its_own_mask(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.stack([HOLE, HOLE, 1 - HOLE]) > 0)
    given = read_mask(tmp_path / "m.npy")
    found = fit_mask(given, PICTURE.repeat(3, 1, 1, 1), 16)
    assert torch.equal(found, torch.cat([EXPECTED, EXPECTED, ~EXPECTED]))
    with pytest.raises(ValueError, match="one for all or 2, one for each.*not 3 masks of 16 x 16"):
        fit_mask(given, PICTURE.repeat(2, 1, 1, 1), 16)


def test_all_and_next_to_nothing_are_said(tmp_path: Path, capsys) -> None:
    everything, dot = np.ones((64, 64), bool), np.zeros((64, 64), bool)
    dot[30, 30] = True
    for mask, said in ((everything, "white everywhere"), (dot, "only 1 of 4,096 pixels are white")):
        np.save(tmp_path / "m.npy", mask)
        found = fit_mask(read_mask(tmp_path / "m.npy"), torch.zeros(1, 3, 64, 64), 16)
        assert said in capsys.readouterr().out and bool(found.any())


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (0 * HOLE, "black everywhere .its brightest value is 0 of 255.*paint white"),
        (40 * HOLE, "its brightest value is 40 of 255"),
        (np.stack([HOLE, 0 * HOLE]), "mask 2 of 2 is black everywhere"),
        (128 * HOLE, "of this picture is neither"),
        (0.0 - HOLE, "values from -1 to 0"),
        (np.full((16, 16), np.nan), "values from nan to nan"),
        (1000 * HOLE.astype(int), "values from 0 to 1000"),
        (HOLE[0], r"shape \(16,\)"),
        (HOLE.astype(str), "of bool or numbers, got <U"),
        (HOLE[:5], "16 x 16 pixels.*not 16 x 5"),
        (np.zeros((0, 16, 16)), r"shape \(0, 16, 16\)"),
    ],
)
def test_what_is_no_mask_is_named(array: np.ndarray, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", array)
    count = len(array) if array.ndim == 3 else 1
    with pytest.raises(ValueError, match=said):
        fit_mask(read_mask(tmp_path / "m.npy"), PICTURE.repeat(count or 1, 1, 1, 1), 16)


def test_a_mask_whose_white_is_cropped_away_is_named(tmp_path: Path) -> None:
    mask = np.zeros((16, 40), bool)
    mask[:, :5] = True
    np.save(tmp_path / "m.npy", mask)
    with pytest.raises(ValueError, match="white only at the sides, which are cropped"):
        fit_mask(read_mask(tmp_path / "m.npy"), torch.zeros(1, 3, 16, 40), 16)


def test_files_that_hold_no_mask_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=HOLE, b=HOLE)
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:90])
    said = {"pickle.npy": "no NumPy file", "two.npz": "called 'mask', found a, b",
            "text.npy": "no NumPy file", "text.png": "no picture that can be read",
            "cut.npz": "no NumPy file"}  # fmt: skip
    for name, message in said.items():
        with pytest.raises(ValueError, match=f"{name}.*{message}"):
            read_mask(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="none.png"):
        read_mask(tmp_path / "none.png")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_mask(tmp_path)
