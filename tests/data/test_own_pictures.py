"""Laws of `data.own_pictures`: folders and NumPy files become data sets; what is odd is said."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldmlib import data, images
from ldmlib.data import own_pictures
from ldmlib.data.dataset import ImageData
from ldmlib.data.record import described


def toy(n: int = 10, channels: int = 1, size: int = 8) -> ImageData:
    generator = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, channels, size, size), generator=generator).byte()
    return ImageData(pixels, torch.arange(n) % 3, name="toy")


# Folders


def paint(path: Path, colour: object = (200, 40, 90), size: tuple = (40, 40), mode="RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_folder_reads_every_kind_recursively(tmp_path: Path) -> None:
    for i, suffix in enumerate(["png", "jpg", "JPEG", "webp", "bmp", "gif"]):
        paint(tmp_path / ("deep/er" if i % 2 else "") / f"a.{suffix}")
    paint(tmp_path / ".hidden" / "a.png")
    paint(tmp_path / "._a.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    found = data.from_folder(tmp_path)
    assert len(found) == 6 and (found.channels, found.size) == (3, 32)
    assert found.labels is None and found.name == tmp_path.name
    distance = found.images.int() - torch.tensor([200, 40, 90]).view(3, 1, 1)
    assert distance.abs().max() <= 8  # lossy formats


def test_folder_equals_crop_and_the_one_resize(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    for i in range(2):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    square = images.from_uint8(torch.from_numpy(pixels[:, 15:65]).permute(2, 0, 1)[None])
    expected = images.to_uint8(images.resize(square, 32))
    assert torch.equal(data.from_folder(tmp_path).images, expected.repeat(2, 1, 1, 1))


def test_folder_of_several_sizes_takes_the_typical_one(tmp_path: Path) -> None:
    for i, side in enumerate([20, 100, 110, 120, 900]):
        paint(tmp_path / f"{i}.png", size=(side + 30, side))
    assert data.from_folder(tmp_path).size == 64
    assert data.from_folder(tmp_path, size=48).size == 48


@pytest.mark.parametrize(("side", "size"), [(16, 32), (32, 32), (64, 64), (127, 64), (300, 128)])
def test_folder_default_size(tmp_path: Path, side: int, size: int) -> None:
    for i in range(2):
        paint(tmp_path / f"{i}.png", size=(side, side + 5))
    assert data.from_folder(tmp_path).size == size


def test_subfolders_are_classes(tmp_path: Path) -> None:
    for name in ("dog/1", "cat/1", "cat/deeper/2"):
        paint(tmp_path / f"{name}.png")
    found = data.from_folder(tmp_path)
    assert found.classes == ("cat", "dog") and found.labels.tolist() == [0, 0, 1]


def test_one_subfolder_is_no_class(tmp_path: Path) -> None:
    for i in range(2):
        paint(tmp_path / "all" / f"{i}.png")
    assert data.from_folder(tmp_path).num_classes == 0


def test_grey_only_where_all_are_grey(tmp_path: Path) -> None:
    paint(tmp_path / "1.png", (70, 70, 70))
    paint(tmp_path / "2.jpg", 70, mode="L")
    assert data.from_folder(tmp_path).channels == 1
    paint(tmp_path / "3.png", (70, 70, 71))
    assert data.from_folder(tmp_path).channels == 3


def test_transparent_is_laid_on_white(tmp_path: Path) -> None:
    for i in range(2):
        paint(tmp_path / f"{i}.png", (255, 0, 0, 0), mode="RGBA")
    assert (data.from_folder(tmp_path).images == 255).all()


def test_limit_is_spread_over_the_classes(tmp_path: Path) -> None:
    for i in range(20):
        paint(tmp_path / f"{i % 2}" / f"{i}.png", size=(32, 32))
    found = data.from_folder(tmp_path, limit=6)
    assert found.labels.bincount().tolist() == [3, 3]
    assert len(data.from_folder(tmp_path, limit=99)) == 20


def test_unreadable_pictures_are_skipped_and_named(tmp_path: Path) -> None:
    for i in range(3):
        paint(tmp_path / f"{i}.png", size=(64, 64))
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:60])
    for name in "wxyz":
        (tmp_path / f"{name}.jpg").write_bytes(b"not a picture")
    with pytest.warns(
        UserWarning, match=r"skipped 5 unreadable pictures \(4 \.jpg, 1 \.png\): cut\.png.*, \.\.\."
    ) as seen:
        assert len(data.from_folder(tmp_path)) == 3
    assert "x.jpg" in str(seen[0].message) and "y.jpg" not in str(seen[0].message)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a folder of pictures at .*nowhere"):
        data.from_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"at least 2 pictures.*found 0 .*\.png"):
        data.from_folder(tmp_path)
    paint(tmp_path / "a.png")
    with pytest.raises(NotADirectoryError, match=r"a\.png is a file"):
        data.from_folder(tmp_path / "a.png")
    with pytest.raises(ValueError, match="at least 2 pictures to learn from, found 1"):
        data.from_folder(tmp_path)
    (tmp_path / "b.png").write_bytes(b"broken")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="found 2 and could read 1"):
        data.from_folder(tmp_path)


def test_tiny_pictures_are_refused_unless_a_size_is_given(tmp_path: Path) -> None:
    for i in range(2):
        paint(tmp_path / f"{i}.png", size=(40, 9))
    with pytest.raises(ValueError, match="pictures of 9 pixels are too small, expected 16 or more"):
        data.from_folder(tmp_path)
    assert data.from_folder(tmp_path, size=32).size == 32


@pytest.mark.parametrize("size", [0, -4])
def test_a_size_is_positive(tmp_path: Path, size: int) -> None:
    for i in range(2):
        paint(tmp_path / f"{i}.png", size=(40, 40))
    with pytest.raises(ValueError, match=f"size of 1 or more, got {size}"):
        data.from_folder(tmp_path, size=size)


# NumPy files


@pytest.mark.parametrize("labels", [None, [2, 0, 1]])
@pytest.mark.parametrize("channels", [1, 3])
def test_npz_reads_what_save_npz_wrote(tmp_path: Path, channels: int, labels: list | None) -> None:
    x = toy(3, channels).as_tensors()[0]
    images.save_npz(tmp_path / "a.npz", x, labels)
    back = data.from_npz(tmp_path / "a.npz")
    assert torch.equal(back.as_tensors()[0], x) and back.name == "a"
    assert (back.labels is None) if labels is None else back.labels.tolist() == labels


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 3, 1)], ids=["nchw", "nhwc"])
def test_npz_layouts(tmp_path: Path, axes: tuple) -> None:
    pixels = toy(5, channels=3).images
    path = save(tmp_path / "a.npz", images=pixels.permute(axes).numpy())
    assert torch.equal(data.from_npz(path).images, pixels)


def test_npz_grey_without_a_channel_axis(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=toy(5).images[:, 0].numpy())
    assert torch.equal(data.from_npz(path).images, toy(5).images)


def test_npz_crops_resizes_and_lays_on_white(tmp_path: Path) -> None:
    pixels = torch.zeros(2, 20, 30, 4).byte().numpy()
    found = data.from_npz(save(tmp_path / "a.npz", images=pixels), size=8)
    assert found.images.shape == (2, 3, 8, 8) and (found.images == 255).all()
    wide = toy(2, channels=3, size=20).images
    path = save(tmp_path / "b.npz", images=wide[:, :, 4:16].permute(0, 2, 3, 1).numpy())
    assert torch.equal(data.from_npz(path).images, wide[:, :, 4:16, 4:16])


PIXELS = np.zeros((3, 8, 8), np.uint8)
BAD_ARRAYS = {
    "no images": ({"a": PIXELS, "b": PIXELS}, ValueError, r"'images', found \['a', 'b'\]"),
    "empty": ({}, ValueError, "found nothing"),
    "floats": ({"images": PIXELS / 2 + 0.5}, TypeError, r"got float64 from 0.5 to 0.5; .*x \* 255"),
    "int64": ({"images": PIXELS.astype(int)}, TypeError, "expected uint8 images, got int64"),
    "two axes": ({"images": PIXELS[0]}, ValueError, r"C = 1, 3 or 4, got shape \(8, 8\)"),
    "channels": ({"images": np.zeros((2, 8, 8, 7), np.uint8)}, ValueError, "C = 1, 3 or 4"),
    "no pictures": ({"images": PIXELS[:0]}, ValueError, "at least one picture"),
    "few labels": (
        {"images": PIXELS, "labels": np.array([1, 2])},
        ValueError,
        r"\(3,\), got \(2,\)",
    ),
    "float labels": ({"images": PIXELS, "labels": np.ones(3) / 2}, TypeError, "whole numbers"),
    "negative": ({"images": PIXELS, "labels": np.array([0, -4, 1])}, ValueError, "got -4"),
    "pickles": ({"images": np.array([{}, []], object)}, ValueError, "plain arrays"),
}


@pytest.mark.parametrize(("arrays", "error", "text"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays_are_named(tmp_path: Path, arrays: dict, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        data.from_npz(save(tmp_path / "a.npz", **arrays))


@pytest.mark.parametrize("kept", [0, 30, 0.5, -1])
def test_npz_cut_short(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "a.npz"
    images.save_npz(path, toy().as_tensors()[0])
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match="a damaged or other file"):
        data.from_npz(path)


def test_npz_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a \.npz file at"):
        data.from_npz(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", PIXELS)
    os.rename(tmp_path / "a.npy", tmp_path / "a.npz")
    with pytest.raises(ValueError, match="a damaged or other file"):
        data.from_npz(tmp_path / "a.npz")


# One picture stays on its side


def noise(path: Path, seed: int, size: tuple[int, int] = (40, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


def test_a_picture_stays_on_its_side_whatever_the_size_is(tmp_path: Path) -> None:
    for i in range(20):
        noise(tmp_path / f"{i}.png", i, (50, 40))
    every, small = data.from_folder(tmp_path), data.from_folder(tmp_path, size=16)
    assert torch.equal(every.keys, small.keys) and len(every.keys.unique()) == 20
    parts, small_parts = data.load_parts(tmp_path, 48), data.load_parts(tmp_path, 16)
    assert all(torch.equal(a.keys, b.keys) for a, b in zip(parts[:2], small_parts[:2], strict=True))
    one = data.from_folder(tmp_path, limit=5)
    assert torch.equal(one.keys, every.keys[::4])

    wide = np.random.default_rng(0).integers(0, 256, (12, 20, 30, 3), dtype=np.uint8)
    path = save(tmp_path / "a.npz", images=wide)
    assert torch.equal(data.from_npz(path).keys, data.from_npz(path, 8).keys)
    wide[:, :, 0] = 0  # outside of the central square: other pictures all the same
    assert not torch.isin(data.from_npz(save(path, images=wide)).keys, every.keys).any()


# Pictures of more than 8 bits


def deep(path: Path, brightest: int, dtype: str = "uint16") -> np.ndarray:
    values = np.linspace(0, brightest, 32 * 32).round().reshape(32, 32)
    Image.fromarray(values.astype(dtype)).save(path)
    return values


def test_twelve_bits_in_sixteen_are_scaled_alike_and_said_once(tmp_path: Path) -> None:
    bright, dim = deep(tmp_path / "1.png", 4000), deep(tmp_path / "2.tif", 2000)
    paint(tmp_path / "3.png", 255, (32, 32), "L")
    with pytest.warns(
        UserWarning, match="in 2 pictures of 16 bits no value is above 4,000"
    ) as seen:
        found = data.from_folder(tmp_path)
    assert len(seen) == 1 and "12 bits: 4,095 is taken for white" in str(seen[0].message)
    for picture, values in zip(found.images, (bright, dim), strict=False):
        assert np.array_equal(picture[0].numpy(), (values * 255 / 4095).round())


def test_a_dark_picture_among_bright_ones_of_sixteen_bits_is_kept_and_named(tmp_path: Path) -> None:
    deep(tmp_path / "1.png", 65_535), deep(tmp_path / "2.png", 4000)
    with pytest.warns(UserWarning, match="in 1 picture of 16 bits .*looks nearly black"):
        found = data.from_folder(tmp_path)
    assert found.images.amax((1, 2, 3)).tolist() == [255, 16]


def test_nearly_black_sets_are_said(tmp_path: Path) -> None:
    for i in range(2):
        paint(tmp_path / f"{i}.png", i, (32, 32), "L")  # a mask of zeros and ones
    with pytest.warns(UserWarning, match="brightest value in all pictures is 1 of 255"):
        data.from_folder(tmp_path)
    with pytest.warns(UserWarning, match="brightest value in all pictures is 1 of 255"):
        data.from_npz(save(tmp_path / "a.npz", images=np.ones((2, 8, 8), np.uint8)))


# What is said about it


def test_the_line_says_what_was_read_and_changed(tmp_path: Path) -> None:
    for i in range(16):
        noise(tmp_path / f"class {'a' if i < 12 else 'b'}" / f"{i}.png", i, (60, 40))
    noise(tmp_path / "class a" / "small.png", 99, (20, 20))
    noise(tmp_path / "stray.png", 98)
    with pytest.warns(UserWarning, match="stray.png"):
        line = described(*data.load_pair(tmp_path))
    assert line.startswith(f"Read {tmp_path.name}: 15 RGB pictures of 32 x 32 (typically 60 x 40, ")
    assert (
        "cropped to the central square and resized; 1 smaller picture enlarged; 1 file left" in line
    )
    assert "; 2 more held out; 2 classes: 0 class a (11), 1 class b (4)." in line
    every = own_pictures.from_folder(tmp_path / "class b")
    assert described(every, every).endswith(
        "(read as 60 x 40, cropped to the central square and resized); 4 more held out; no classes."
    )


def test_copies_are_counted_and_said() -> None:
    several = toy(3)
    many = several.subset(torch.arange(30) % 3)
    assert (several.copies, many.copies) == (0, 27)
    assert "27 of them are copies of others" in described(many, several)
    assert "copies" not in described(several, many)


def test_one_picture_is_said_in_the_singular() -> None:
    one = toy(3).subset(torch.arange(1))
    assert described(one, one).startswith(f"Read {one.name}: 1 grey picture of ")
