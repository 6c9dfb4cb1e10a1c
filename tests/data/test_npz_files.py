"""Laws of `data.npz_files`: arrays under other names, labels of every kind, and false headers."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ldmlib import data
from ldmlib.data import npz_files

N = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
THREE = np.arange(N) % 3


def save(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


def read(folder: Path, **arrays: np.ndarray) -> data.ImageData:
    """Without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return data.from_npz(save(folder, **arrays))


# Names of arrays


OTHER_NAMES = [("images", "y"), ("x", "y"), ("X", "Y"), ("data", "targets"), ("imgs", "label")]
OTHER_NAMES += [("arr_0", "arr_1"), ("x_train", "y_train"), ("anything", "labels")]


@pytest.mark.parametrize(("images", "labels"), OTHER_NAMES)
def test_arrays_under_other_names_are_found_and_said(
    tmp_path: Path, images: str, labels: str
) -> None:
    path = save(tmp_path, **{images: PIXELS, labels: THREE, "scores": np.zeros((2, 2))})
    with pytest.warns(UserWarning, match=f"taken from '{images}', labels from '{labels}'"):
        found = data.from_npz(path)
    assert found.labels.tolist() == THREE.tolist()
    assert np.array_equal(found.images.permute(0, 2, 3, 1), PIXELS)


PARTS = [
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("Xtrain", "ytrain", "Xval", "yval"),
]


@pytest.mark.parametrize("keys", PARTS, ids=lambda keys: keys[0])
def test_parts_of_a_file(tmp_path: Path, keys: tuple[str, ...]) -> None:
    arrays = PIXELS[:8], THREE[:8], PIXELS[8:], THREE[8:]
    path = save(tmp_path, **dict(zip(keys, arrays, strict=True)))
    with pytest.warns(UserWarning, match=f"Held out: pictures are taken from '{keys[2]}'"):
        train, held_out, key = data.load_parts(path)
    assert key is None and (len(train), len(held_out)) == (8, 4)
    assert train.labels.tolist() + held_out.labels.tolist() == THREE.tolist()
    with pytest.warns(UserWarning):
        assert len(data.from_npz(path)) == N and len(data.load(path, "test")) == 4


def test_a_file_with_three_parts(tmp_path: Path) -> None:
    arrays = {
        f"{name}_{what}": array[i : i + 4]
        for i, name in ((0, "train"), (4, "val"), (8, "test"))
        for what, array in (("images", PIXELS), ("labels", THREE[:, None]))
    }
    with pytest.warns(UserWarning, match="Held out: .*'val_images'.*; .*'test_labels'"):
        train, held_out, _ = data.load_parts(save(tmp_path, **arrays))
    assert train.labels.tolist() == THREE[:4].tolist()
    assert held_out.labels.tolist() == THREE[4:].tolist()


def test_arrays_that_may_be_labels_are_named(tmp_path: Path) -> None:
    path = save(tmp_path, images=PIXELS, fine=THREE, coarse=THREE)
    with pytest.warns(UserWarning, match="fine, coarse not used; .*call it 'labels'"):
        assert data.from_npz(path).labels is None
    path = save(tmp_path, images=PIXELS, y=PIXELS)
    with pytest.warns(UserWarning, match="y not used"):
        assert data.from_npz(path).labels is None
    path = save(tmp_path, x=PIXELS, data=PIXELS)
    with pytest.raises(ValueError, match=r"expected the key 'images', found \['data', 'x'\]"):
        data.from_npz(path)


# Labels


GOOD_LABELS = {
    "column": (THREE[:, None], ("0", "1", "2")),
    "one-hot": (np.eye(3)[THREE], ("0", "1", "2")),
    "one-hot truths": (np.eye(3, dtype=bool)[THREE], ("0", "1", "2")),
    "whole floats": (THREE.astype("float32"), ("0", "1", "2")),
    "uint16": (THREE.astype("uint16"), ("0", "1", "2")),
    "text": (np.array(["k1", "k2", "k10"])[THREE], ("k1", "k2", "k10")),
    "bytes": (np.array([b"cat", b"dog", "é".encode()])[THREE], ("cat", "dog", "é")),
}


@pytest.mark.parametrize(("labels", "classes"), GOOD_LABELS.values(), ids=GOOD_LABELS)
def test_labels_of_every_kind(tmp_path: Path, labels: np.ndarray, classes: tuple) -> None:
    found = read(tmp_path, images=PIXELS, labels=labels)
    assert found.classes == classes and found.labels.tolist() == THREE.tolist()


@pytest.mark.parametrize("numbers", [(1, 2, 3), (0, 500, 99_999), (7, 8, 10**12)])
def test_only_classes_that_exist_are_classes(tmp_path: Path, numbers: tuple) -> None:
    path = save(tmp_path, images=PIXELS, labels=np.array(numbers)[THREE])
    with pytest.warns(
        UserWarning, match=r"not 0, 1, 2, .*names of the classes \(" + str(numbers[0])
    ):
        found = data.from_npz(path)
    assert found.classes == tuple(map(str, numbers)) and found.labels.tolist() == THREE.tolist()


def test_names_of_classes_in_the_file(tmp_path: Path) -> None:
    names = np.array(["cat", "dog", "eel", "fox"])
    assert read(tmp_path, images=PIXELS, labels=THREE, class_names=names).classes == tuple(names)


BAD_LABELS = {
    "negative": (THREE - 1, ValueError, r"got -1 \(4 of 12 are negative\)\. If -1 stands"),
    "fractions": (THREE / 2, TypeError, "whole numbers or names, got float64"),
    "nan": (np.full(N, np.nan), TypeError, "whole numbers or names"),
    "several a picture": (np.ones((N, 3), int), ValueError, "a single 1 and zeros"),
    "too many axes": (np.ones((N, 3, 3), int), ValueError, r"\(12,\), got \(12, 3, 3\)"),
    "single": (np.array(3), ValueError, r"\(12,\), got \(\)"),
    "dates": (np.full(N, "2020", "M8[D]"), TypeError, "whole numbers or names"),
    "odd bytes": (np.array([b"caf\xe9", b"tea"])[THREE // 2], ValueError, r"caf\\xe9 is not UTF-8"),
}


@pytest.mark.parametrize(("labels", "error", "text"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_bad_labels_are_named(tmp_path: Path, labels: np.ndarray, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        data.from_npz(save(tmp_path, images=PIXELS, labels=labels))


def test_all_minus_one_means_no_labels_and_identity_numbers_are_doubted(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="read as no labels at all"):
        found = data.from_npz(save(tmp_path, images=PIXELS, labels=np.full(N, -1)))
    assert found.labels is None
    many = np.zeros((150, 8, 8), np.uint8)
    with pytest.warns(UserWarning, match="150 pictures have 150 different labels"):
        data.from_npz(save(tmp_path, images=many, labels=np.arange(150)))


# Pictures


def test_truths_and_whole_numbers_of_eight_bits_are_pictures(tmp_path: Path) -> None:
    found = read(tmp_path, images=PIXELS.astype(np.int64))
    assert np.array_equal(found.images.permute(0, 2, 3, 1), PIXELS)
    found = read(tmp_path, images=PIXELS[..., 0] > 127)
    assert found.images.unique().tolist() == [0, 255]


BAD_IMAGES = {
    "12 bits": (PIXELS.astype(int) * 16, TypeError, r"x \* \(255 / 4095\)"),
    "8-bit floats": (PIXELS.astype(float), TypeError, r"convert them: x\.round"),
    "nan": (np.full((2, 8, 8), np.nan), TypeError, "values that are no numbers"),
    "complex": (PIXELS.astype(complex), TypeError, "got complex128; these are no pixels"),
    "text": (np.array(["a", "b"]), TypeError, "got text; these are no pixels"),
    "flat": (PIXELS.reshape(N, -1), ValueError, r"array\.reshape\(n, H, W\)"),
    "one picture": (PIXELS[0], ValueError, r"one picture, and a set needs array\[None\]"),
    "last": (np.zeros((8, 8, 3, 5), np.uint8), ValueError, r"transpose\(3, 0, 1, 2\)"),
}


@pytest.mark.parametrize(("images", "error", "text"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_bad_pictures_are_named(tmp_path: Path, images: np.ndarray, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        data.from_npz(save(tmp_path, images=images))


# False headers


def forge(path: Path, shape: tuple[int, ...], content: bytes, dtype: str = "|u1") -> Path:
    """An .npz whose array `images` declares a shape, and holds `content`."""
    header = io.BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header.getvalue() + content)
    return path


def test_a_header_that_declares_too_much_is_refused_at_once(tmp_path: Path, monkeypatch) -> None:
    path = forge(tmp_path / "a.npz", (10**6, 185, 185, 3), bytes(99))
    with pytest.raises(ValueError, match="declares 102,675,000,000 bytes, but the file holds 99"):
        data.from_npz(path)
    monkeypatch.setattr(npz_files, "MOST_BYTES", 2**20)
    path = forge(tmp_path / "b.npz", (1000, 64, 64), bytes(1000 * 64 * 64))
    with pytest.raises(ValueError, match=r"shape \(1000, 64, 64\) would take .* of memory"):
        data.from_npz(path)


@pytest.mark.parametrize("shape", [(-2, 8, 8), (10**30, 8, 8)])
def test_impossible_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="damaged"):
        data.from_npz(forge(tmp_path / "a.npz", shape, bytes(64)))


def test_other_archives_and_single_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("cat/1.png", b"")
    with pytest.raises(ValueError, match="found nothing to read in it, it holds cat/1.png"):
        data.from_npz(tmp_path / "a.npz")
    with open(tmp_path / "b.npz", "wb") as file:
        np.save(file, PIXELS)
    with pytest.raises(ValueError, match=r"a single array \(\.npy\).*numpy\.savez"):
        data.from_npz(tmp_path / "b.npz")


def test_capital_letters_in_the_suffix(tmp_path: Path) -> None:
    save(tmp_path, images=PIXELS).rename(tmp_path / "A.NPZ")
    assert len(data.load(tmp_path / "A.NPZ")) == N
    assert torch.is_tensor(data.load_parts(str(tmp_path / "A.NPZ"))[0].images)
