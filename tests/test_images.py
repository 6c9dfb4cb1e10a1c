"""Laws of `ldmlib.images`: exact round trips, and a door that says what is wrong."""

from __future__ import annotations

import errno
import math
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldmlib import images


def pictures(n: int = 3, channels: int = 1, size: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, size, size, generator=generator) * 2 - 1


# Ranges


def test_every_8_bit_value_survives_the_round_trip() -> None:
    u = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(images.to_uint8(images.from_uint8(u)), u)
    assert images.from_uint8(u).aminmax() == (torch.tensor(-1.0), torch.tensor(1.0))


def test_to_uint8_rounds_to_the_nearest() -> None:
    x = pictures(n=20).double()
    error = images.from_uint8(images.to_uint8(x)) - x
    assert error.abs().max() <= 1 / 255 + 1e-6


def test_to_uint8_clamps() -> None:
    x = torch.tensor([-math.inf, -1.2, -1.0, 1.0, 1.2, math.inf])
    assert images.to_uint8(x).tolist() == [0, 0, 0, 255, 255, 255]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_to_uint8_takes_every_float(dtype: torch.dtype) -> None:
    assert images.to_uint8(torch.tensor([-1, 1], dtype=dtype)).tolist() == [0, 255]


def test_conversions_leave_their_input_alone() -> None:
    x = pictures()
    before = x.clone()
    images.to_uint8(x)
    assert torch.equal(x, before)


def test_conversion_the_wrong_way_is_refused() -> None:
    with pytest.raises(TypeError, match="already 8-bit"):
        images.to_uint8(torch.zeros(3, dtype=torch.uint8))
    with pytest.raises(TypeError, match="converted already"):
        images.from_uint8(torch.zeros(3))
    with pytest.raises(TypeError, match="from_numpy"):
        images.from_uint8(np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="NaN has no colour"):
        images.to_uint8(torch.tensor([math.nan]))


# The door


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_good_images_pass_unchanged(dtype: torch.dtype) -> None:
    x = pictures(channels=3).to(dtype)
    assert images.check_images(x, channels=3, size=8) is x


def test_tolerance() -> None:
    x = torch.full((1, 1, 2, 2), 1.0005)
    images.check_images(x)
    images.check_images(x * 5, tolerance=math.inf)
    with pytest.raises(ValueError, match="clamp or rescale"):
        images.check_images(x, tolerance=0)


BAD_IMAGES = {
    "a list": ([[0.0]], TypeError, "expected a torch.Tensor, got list"),
    "numpy": (np.zeros((1, 1, 8, 8)), TypeError, "torch.from_numpy"),
    "uint8": (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), TypeError, "use images.from_uint8"),
    "int64": (torch.zeros(1, 1, 8, 8, dtype=torch.int64), TypeError, "expected floats"),
    "one picture": (torch.zeros(1, 8, 8), ValueError, r"add a batch axis: x\[None\]"),
    "flat": (torch.zeros(5, 64), ValueError, r"expected shape \(N, C, H, W\), got \(5, 64\)"),
    "empty": (torch.zeros(0, 1, 8, 8), ValueError, "nothing in it"),
    "nhwc": (torch.zeros(2, 8, 8, 3), ValueError, r"x.permute\(0, 3, 1, 2\)"),
    "8-bit floats": (torch.full((1, 1, 8, 8), 255.0), ValueError, "8-bit: use images.from_uint8"),
    "too wide": (torch.full((1, 1, 8, 8), -1.5), ValueError, r"got \[-1.5, -1.5\]; clamp"),
    "nan": (torch.full((1, 1, 8, 8), math.nan), ValueError, "64 of 64 are NaN"),
    "infinite": (torch.full((1, 1, 8, 8), -math.inf), ValueError, "64 of 64 are NaN or inf"),
}


@pytest.mark.parametrize(("x", "error", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_bad_images_are_named(x: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        images.check_images(x, what="training images")
    assert str(caught.value).startswith("training images: ")


def test_wrong_channels_or_size() -> None:
    with pytest.raises(ValueError, match=r"\(N, 3, 8, 8\), got \(3, 1, 8, 8\): 1 channels instead"):
        images.check_images(pictures(), channels=3, size=8)
    with pytest.raises(ValueError, match=r"images.resize\(x, 32\)"):
        images.check_images(pictures(), size=32)
    with pytest.raises(ValueError, match="permute"):
        images.check_images(torch.zeros(2, 8, 8, 1), channels=1)


GOOD_LABELS = [
    [0, 9, 3],
    (0, 9, 3),
    torch.tensor([0, 9, 3], dtype=torch.uint8),
    np.array([0, 9, 3]),
]


@pytest.mark.parametrize("labels", GOOD_LABELS, ids=lambda x: type(x).__name__)
def test_labels_become_int64(labels: object) -> None:
    checked = images.check_labels(labels, 10, 3)
    assert checked.dtype == torch.int64 and checked.tolist() == [0, 9, 3]


def test_one_label_for_all_and_none_for_none() -> None:
    assert images.check_labels(4, 10, 3).tolist() == [4, 4, 4]
    assert images.check_labels(torch.tensor(4), 10, 2).tolist() == [4, 4]
    assert images.check_labels(4, 10).tolist() == [4]
    assert images.check_labels(None, 10, 3) is None
    assert images.check_labels(None, 0) is None
    assert images.check_labels([123456], None).tolist() == [123456]


BAD_LABELS = {
    "too large": ([0, 10, 11], 10, ValueError, r"expected 0 to 9, got 10 \(2 of 3"),
    "negative": ([0, -1, 2], 10, ValueError, r"expected 0 to 9, got -1 \(1 of 3"),
    "negative, any": ([0, -1, 2], None, ValueError, "expected 0 or more, got -1"),
    "too few": ([0, 1], 10, ValueError, r"\(3,\), got \(2,\)"),
    "two axes": ([[0, 1, 2]], 10, ValueError, r"\(3,\), got \(1, 3\)"),
    "no classes": ([0, 0, 0], 0, ValueError, "there are no classes here; leave them out"),
    "fractions": ([0.5, 1.0, 2.0], 10, TypeError, "whole numbers, got torch.float32"),
    "truths": ([True, False, True], 10, TypeError, "whole numbers, got torch.bool"),
    "names": (["a", "b", "c"], 10, TypeError, "whole numbers, got \\['a', 'b', 'c'\\]"),
}


@pytest.mark.parametrize(
    ("labels", "classes", "error", "text"), BAD_LABELS.values(), ids=BAD_LABELS
)
def test_bad_labels_are_named(labels: list, classes: int, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        images.check_labels(labels, classes, 3)


# Geometry


def test_resize_keeps_constants_and_the_same_size() -> None:
    x = pictures()
    assert images.resize(x, 8) is x
    for size in (3, 16):
        torch.testing.assert_close(
            images.resize(torch.full((1, 3, 8, 8), 0.3), size).unique().mean(), torch.tensor(0.3)
        )


def test_resize_commutes_with_mirroring_and_stays_in_range() -> None:
    x = pictures(channels=3, size=32).sign()
    small = images.resize(x, 12)
    torch.testing.assert_close(images.resize(x.flip(3), 12), small.flip(3), rtol=0, atol=1e-5)
    assert small.abs().max() <= 1


def test_resize_is_antialiased() -> None:
    """A checkerboard finer than the new pixels becomes grey; without antialiasing it would not."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    board = ((rows + columns) % 2 * 2.0 - 1)[None, None]
    assert images.resize(board, 16)[..., 4:-4, 4:-4].abs().max() < 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_resize_keeps_the_type(dtype: torch.dtype) -> None:
    x = pictures().to(dtype)
    assert images.resize(x, 4).dtype == dtype


def test_resize_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(TypeError, match="resize: expected floats"):
        images.resize(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), 4)
    with pytest.raises(ValueError, match="resize: expected a size of 1 or more, got 0"):
        images.resize(pictures(), 0)


def test_pad_then_crop_is_the_identity() -> None:
    x = images.to_uint8(pictures(size=28))
    padded = images.pad_to(x, 32, 7)
    assert torch.equal(padded[..., 2:30, 2:30], x)
    assert padded.long().sum() == x.long().sum() + 3 * 7 * (32**2 - 28**2)
    with pytest.raises(ValueError, match="28 x 28 does not fit in 20 x 20"):
        images.pad_to(x, 20, 0)


def test_center_crop_keeps_the_middle() -> None:
    x = torch.arange(6 * 10).view(1, 1, 6, 10)
    assert torch.equal(images.center_crop(x), x[..., 2:8])
    assert torch.equal(images.center_crop(x.mT), x[..., 2:8].mT)


def test_over_white_is_the_colour_where_opaque_and_white_where_not() -> None:
    u = torch.randint(0, 256, (2, 4, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    u[0, 3], u[1, 3] = 255, 0
    assert torch.equal(images.over_white(u)[0], u[0, :3])
    assert (images.over_white(u)[1] == 255).all()


# Files


GRIDS = [(1, None, (8, 8)), (3, None, (18, 18)), (5, 3, (18, 28)), (2, 9, (8, 18))]


@pytest.mark.parametrize(("n", "columns", "shape"), GRIDS)
def test_grid_shape(n: int, columns: int | None, shape: tuple[int, int]) -> None:
    assert images.grid(pictures(n, channels=3), columns).shape == (3, *shape)


def test_grid_holds_every_picture_in_reading_order_on_white() -> None:
    x = pictures(5)
    sheet = images.grid(x, columns=3)
    for i in range(5):
        top, left = i // 3 * 10, i % 3 * 10
        assert torch.equal(sheet[:, top : top + 8, left : left + 8], x[i])
    assert (sheet[:, 8:10] == 1).all() and (sheet[:, 10:, 20:] == 1).all()


def test_grid_clamps_noised_pictures_but_refuses_nan() -> None:
    assert images.grid(pictures() * 4).abs().max() == 1
    with pytest.raises(ValueError, match="grid: expected finite"):
        images.grid(pictures() * math.nan)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_holds_the_grid(tmp_path: Path, channels: int) -> None:
    x = pictures(5, channels).requires_grad_()
    images.save_png(x, tmp_path / "a.png", columns=2)
    with Image.open(tmp_path / "a.png") as file:
        array = np.array(file).reshape(28, 18, channels)
    expected = images.to_uint8(images.grid(x, 2)).permute(1, 2, 0)
    assert np.array_equal(array, expected.numpy())


def test_png_of_latents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1, 3 or 4 channels, got 8"):
        images.save_png(pictures(1, channels=8), tmp_path / "a.png")
    assert not os.listdir(tmp_path)


def test_npz_round_trip(tmp_path: Path) -> None:
    x = images.from_uint8(images.to_uint8(pictures(4, channels=3)))
    images.save_npz(tmp_path / "a.npz", x, [3, 1, 4, 1])
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["images", "labels"]
        assert file["images"].shape == (4, 8, 8, 3) and file["images"].dtype == np.uint8
        assert file["labels"].tolist() == [3, 1, 4, 1] and file["labels"].dtype == np.int64
        back = images.from_uint8(torch.from_numpy(file["images"]).permute(0, 3, 1, 2))
    assert torch.equal(back, x)


def test_npz_without_labels_has_none(tmp_path: Path) -> None:
    images.save_npz(tmp_path / "a.npz", pictures())
    with np.load(tmp_path / "a.npz") as file:
        assert file.files == ["images"]


def disk_full(path: Path, data: bytes) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_failed_saves_keep_the_earlier_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match=r"save_npz: expected values in \[-1, 1\]"):
        images.save_npz(path, pictures() * 3)
    with pytest.raises(ValueError, match=r"expected one a picture"):
        images.save_npz(path, pictures(), [1])
    monkeypatch.setattr(Path, "write_bytes", disk_full)
    for save in (
        lambda: images.save_npz(path, pictures()),
        lambda: images.save_png(pictures(), path),
    ):
        with pytest.raises(OSError, match="no space left while saving .*intact"):
            save()
    assert path.read_bytes() == b"earlier" and os.listdir(tmp_path) == ["a"]


def colour_square(mode: str) -> Image.Image:
    return Image.new("RGB", (6, 4), (200, 40, 90)).convert(mode)


MODES = "RGB.png P.png P.gif L.png 1.png LA.png RGBA.webp CMYK.jpg RGB.bmp"


@pytest.mark.parametrize("kind", MODES.split())
def test_pictures_of_every_mode(tmp_path: Path, kind: str) -> None:
    mode, suffix = kind.split(".")
    picture, path = colour_square(mode), tmp_path / f"a.{suffix}"
    picture.save(path, **({"lossless": True} if suffix == "webp" else {}))
    expected = np.array(picture.convert("RGB"), dtype=int).transpose(2, 0, 1)[None]
    read = images.read_picture(path)
    assert read.shape == (1, 3, 4, 6) and read.dtype == torch.uint8
    assert np.abs(read.numpy() - expected).max() <= (6 if suffix == "jpg" else 0)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    wide = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert images.read_picture(tmp_path / "a.png")[0, 0].flatten().tolist() == list(range(256))


def test_transparent_is_white_and_turned_is_upright(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (images.read_picture(tmp_path / "a.png") == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    Image.new("RGB", (6, 4)).save(tmp_path / "b.jpg", exif=exif)
    assert images.read_picture(tmp_path / "b.jpg").shape == (1, 3, 6, 4)


# Pictures that are not simply 8-bit RGB


def read_quietly(path: Path) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return images.read_picture(path)[0]


RAMP = np.arange(256).reshape(16, 16)
SAVED = {  # values in the file, and what 0 to 255 they mean
    "16-bit tif": ((RAMP * 257).astype(np.uint16), RAMP),
    "big-endian": ((RAMP * 257).astype(">u2"), RAMP),
    "32-bit": ((RAMP * 257).astype(np.int32), RAMP),
    "floats to 1": ((RAMP / 255).astype(np.float32), RAMP),
    "floats to 255": (RAMP.astype(np.float32), RAMP),
    "black": (np.zeros((16, 16), np.uint16), RAMP * 0),
}


@pytest.mark.parametrize(("values", "meant"), SAVED.values(), ids=SAVED)
def test_tif_of_many_bits(tmp_path: Path, values: np.ndarray, meant: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.array_equal(read_quietly(tmp_path / "a.tif")[0].numpy(), meant)


@pytest.mark.parametrize(("brightest", "white"), [(255, 255), (900, 1023), (4080, 4095)])
def test_fewer_bits_in_sixteen_are_scaled_and_said(
    tmp_path: Path, brightest: int, white: int
) -> None:
    values = np.linspace(0, brightest, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.png")
    with pytest.warns(
        UserWarning, match=f"brightest value is {brightest:,} .*; {white:,} is taken"
    ):
        read = images.read_picture(tmp_path / "a.png")
    assert np.array_equal(read[0, 0].numpy(), (values * 255.0 / white).round())


BAD_NUMBERS = [(-1.0, 1.0), (0.0, math.nan), (0.0, 300.0), (-3, 9), (0, 70_000)]


@pytest.mark.parametrize("ends", BAD_NUMBERS, ids=str)
def test_numbers_that_are_no_brightness_are_named(tmp_path: Path, ends: tuple) -> None:
    kind = np.float32 if isinstance(ends[0], float) else np.int32
    Image.fromarray(np.array([ends, ends], kind)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="its values go from .* expected 0 to"):
        images.read_picture(tmp_path / "a.tif")


def rgb16_png(path: Path, value: int) -> None:
    """A 16-bit RGB PNG of one colour, which Pillow reads and does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    rows = b"".join(b"\0" + np.full((8, 3), value, ">u2").tobytes() for _ in range(8))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)


def test_16_bit_colour_is_scaled(tmp_path: Path) -> None:
    rgb16_png(tmp_path / "a.png", 200 * 257)
    assert (read_quietly(tmp_path / "a.png") == 200).all()


def test_transparent_colours_of_a_palette_are_white(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([200, 0, 0, 0, 200, 0])
    picture.putpixel((0, 0), 1)
    picture.save(tmp_path / "a.png", transparency=bytes([0, 255]))
    read = read_quietly(tmp_path / "a.png")
    assert read[:, 0, 0].tolist() == [0, 200, 0] and (read[:, 1:] == 255).all()


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_the_first_of_several_frames_is_read(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if suffix == "webp" else {}
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
    assert read_quietly(path)[:, 4, 4].tolist() == [255, 0, 0]


def test_damaged_notes_of_a_camera_do_not_matter(tmp_path: Path, monkeypatch) -> None:
    def broken(picture: Image.Image) -> Image.Image:
        raise SyntaxError("not a TIFF file")

    Image.new("RGB", (6, 4), "red").save(tmp_path / "a.jpg")
    monkeypatch.setattr(images.ImageOps, "exif_transpose", broken)
    assert images.read_picture(tmp_path / "a.jpg").shape == (1, 3, 4, 6)
