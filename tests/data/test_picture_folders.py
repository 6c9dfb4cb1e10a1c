"""Laws of `data.picture_folders`: classes, parts and links of a folder, and what is warned of."""

from __future__ import annotations

import os
import unicodedata
import warnings
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from ldmlib import data
from ldmlib.data import own_pictures, picture_folders
from ldmlib.data.dataset import ImageData
from ldmlib.data.picture_folders import find_pictures, split_of


def paint(folder: Path, *names: str, colour: int | None = None) -> None:
    """A small picture at each of these places, all of them different unless a colour is given."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = zlib.crc32(os.fsencode(name)) if colour is None else colour
        Image.new("RGB", (32, 32), (seed % 256, seed // 256 % 256, 255)).save(path)


def read_quietly(folder: Path) -> ImageData:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return data.from_folder(folder)


def classes(folder: Path) -> dict[str, int]:
    """Pictures of each class."""
    found = read_quietly(folder)
    counts = torch.bincount(found.labels, minlength=found.num_classes).tolist()
    return dict(zip(found.classes, counts, strict=True))


ORDERS = [
    ["1", "2", "10", "11"],
    ["class2", "class10"],
    ["-1", "0.25", "0.5", "3"],
    ["apple", "Banana", "cherry"],
    ["1 one", "2 two", "10 ten"],
]


@pytest.mark.parametrize("names", ORDERS, ids=lambda names: names[0])
def test_classes_come_in_natural_order(tmp_path: Path, names: list[str]) -> None:
    paint(tmp_path, *(f"{name}/{i}.png" for name in reversed(names) for i in range(2)))
    found = read_quietly(tmp_path)
    assert list(found.classes) == names
    assert found.labels.bincount().tolist() == [2] * len(names)


WRAPPED = ["{}/1.png", "pets/{}/1.png", "a/b/c/{}/1.png", "pets/{}/deep/er/1.png"]


@pytest.mark.parametrize("where", WRAPPED)
def test_classes_are_found_below_wrappers(tmp_path: Path, where: str) -> None:
    paint(tmp_path, where.format("cat"), where.format("dog"))
    paint(tmp_path, "__MACOSX/pets/cat/1.png", "@eaDir/2.png", ".cache/3.png", "pets/._4.png")
    (tmp_path / "labels.csv").write_text("1,cat")
    assert classes(tmp_path) == {"cat": 1, "dog": 1}


def test_few_strays_are_left_out_and_many_are_not(tmp_path: Path) -> None:
    paint(tmp_path, *(f"pets/{name}/{i}.png" for name in ("cat", "dog") for i in range(4)))
    paint(tmp_path, "cover.png", "pets/back.jpg")
    with pytest.warns(UserWarning, match=r"2 pictures outside .*cover\.png.*the other 8 keep"):
        found = data.from_folder(tmp_path)
    assert found.labels.bincount().tolist() == [4, 4] and found.origin.left_out == 2
    paint(tmp_path, *(f"{i}.png" for i in range(8)))
    with pytest.warns(UserWarning, match="there are 10 pictures of 18 .*without classes"):
        found = data.from_folder(tmp_path)
    assert len(found) == 18 and found.labels is None


# Parts


NAMES = {
    "train": "train Train TRAINING train2017 seg_train training_set train_images",
    "test": "test Testing val Valid validation dev eval val2017 test-set held/out/test holdout",
    None: "cat trainer contest interval develop train_and_test",
}


@pytest.mark.parametrize("split", NAMES)
def test_names_of_parts(split: str | None) -> None:
    assert {split_of(name) for name in NAMES[split].split()} == {split}


LAYOUTS = {
    "plain": ("train/{}/{}.png", "test/{}/{}.png"),
    "capitals": ("Training/{}/{}.png", "VALID/{}/{}.png"),
    "wrapped": ("data/train/images/{}/{}.png", "data/val/images/{}/{}.png"),
    "doubled": ("training_set/training_set/{}/{}.png", "test_set/test_set/{}/{}.png"),
    "inside classes": ("{}/train/{}.png", "{}/test/{}.png"),
}


@pytest.mark.parametrize(("train", "test"), LAYOUTS.values(), ids=LAYOUTS)
def test_parts_are_no_classes(tmp_path: Path, train: str, test: str) -> None:
    paint(tmp_path, *(train.format(c, i) for c in ("cat", "dog") for i in range(3)))
    paint(tmp_path, *(test.format(c, i) for c in ("cat", "dog") for i in range(5, 7)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train, held_out, key = data.load_parts(tmp_path)
    assert key is None and train.classes == held_out.classes == ("cat", "dog")
    assert train.labels.bincount().tolist() == [3, 3]
    assert held_out.labels.bincount().tolist() == [2, 2]
    assert torch.equal(data.load(tmp_path).images, train.images)
    assert torch.equal(data.load(tmp_path, "test").images, held_out.images)
    assert len(data.from_folder(tmp_path)) == 10


def test_all_held_out_parts_count_and_need_not_be_sorted(tmp_path: Path) -> None:
    paint(tmp_path, "train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "test/4.png")
    with pytest.warns(UserWarning, match="1 picture of 2 in a held-out part .*without classes"):
        train, held_out, _ = data.load_parts(tmp_path)
    assert train.classes == ("cat", "dog") and len(held_out) == 2 and held_out.labels is None


def test_parts_without_classes(tmp_path: Path) -> None:
    paint(tmp_path, "train/1.png", "train/2.png", "test/3.png")
    train, held_out, _ = data.load_parts(tmp_path)
    assert (len(train), len(held_out), train.labels, held_out.labels) == (2, 1, None, None)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    paint(tmp_path, "car/1.png", "train/2.png")
    assert classes(tmp_path) == {"car": 1, "train": 1}
    paint(tmp_path, "test/3.png")
    with pytest.warns(UserWarning, match="folders test, train are taken for classes"):
        assert data.from_folder(tmp_path).classes == ("car", "test", "train")


def test_held_out_parts_alone_are_one_set(tmp_path: Path) -> None:
    paint(tmp_path, "val/cat/1.png", "val/dog/2.png", "test/cat/3.png", "test/dog/4.png")
    with pytest.warns(UserWarning, match="none called train beside them: .* read as one set"):
        found = data.from_folder(tmp_path)
    assert found.classes == ("cat", "dog") and found.labels.tolist() == [0, 1, 0, 1]
    (tmp_path / "val").rename(tmp_path / "train1")
    (tmp_path / "test").rename(tmp_path / "train2")
    with pytest.warns(UserWarning, match="none called test beside them"):
        assert data.load_parts(tmp_path)[0].classes == ("cat", "dog")


def test_a_models_own_division_comes_before_parts_made_later(tmp_path: Path) -> None:
    paint(
        tmp_path, *(f"train/{i}.png" for i in range(12)), *(f"test/{i}.png" for i in range(20, 24))
    )
    every = data.from_folder(tmp_path)
    held_out, train, key = every.split_by_content(0.25)
    parts = data.load_parts(tmp_path, None, key)
    assert torch.equal(parts[0].keys, train.keys) and torch.equal(parts[1].keys, held_out.keys)
    assert parts[2] == key


def test_copies_in_both_parts_are_said(tmp_path: Path) -> None:
    paint(tmp_path, "train/1.png", "train/22.png", "test/333.png")
    paint(tmp_path, "train/a.png", "test/b.png", colour=9)
    with pytest.warns(UserWarning, match="1 held-out picture of 2 can be found among"):
        data.load_parts(tmp_path)


def test_a_class_that_is_held_out_as_a_whole_is_said(tmp_path: Path) -> None:
    paint(tmp_path, *(f"a/{i}.png" for i in range(9)), "b/only one.png")
    lonely = int(data.from_folder(tmp_path).keys[-1])
    with pytest.warns(UserWarning, match=r"1 class are held out \(b\)|1 class .*\(b\)"):
        data.load_parts(tmp_path, None, lonely)


def test_labels_in_tables_do_not_go_unnoticed(tmp_path: Path) -> None:
    paint(tmp_path, "images/1.png", "images/2.png")
    (tmp_path / "labels.csv").write_text("1,cat")
    with pytest.warns(UserWarning, match=r"read without classes, .*labels\.csv may hold labels"):
        assert data.from_folder(tmp_path).labels is None


# Files that are no pictures, links, odd names


KINDS = ["png", "jpg", "JPEG", "jfif", "jp2", "webp", "gif", "bmp", "tif", "TIFF", "ppm", "pgm"]


@pytest.mark.parametrize("suffix", KINDS)
def test_classes_of_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    paint(tmp_path, "cat/1.png")
    (tmp_path / "dog").mkdir()
    formats = {"jfif": "JPEG", "pgm": "PPM", "jp2": "JPEG2000"}
    picture = Image.new("L" if suffix == "pgm" else "RGB", (32, 32), 120)
    picture.save(tmp_path / "dog" / f"1.{suffix}", formats.get(suffix))
    assert classes(tmp_path) == {"cat": 1, "dog": 1}


def test_pictures_without_suffix_are_found(tmp_path: Path) -> None:
    paint(tmp_path, "cat/1.png", "dog/1.jpg", "dog/2.png")
    for file in list(tmp_path.rglob("*.*")):
        file.rename(file.with_suffix(""))
    (tmp_path / "cat" / "README").write_text("about cats")
    assert classes(tmp_path) == {"cat": 1, "dog": 2}


def test_a_class_without_readable_pictures_is_named(tmp_path: Path) -> None:
    paint(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "eel").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.txt").write_text("about the pictures")
    for i in range(3):
        (tmp_path / "eel" / f"{i}.psd").write_bytes(b"layers")
    with pytest.warns(UserWarning, match=r"1 folder without .* \(eel: 3 \.psd\)"):
        assert data.from_folder(tmp_path).classes == ("cat", "dog")
    for file in (tmp_path / "eel").iterdir():
        file.rename(file.with_suffix(".png"))
    with pytest.warns(UserWarning) as seen:
        assert data.from_folder(tmp_path).classes == ("cat", "dog")
    said = [str(warning.message) for warning in seen]
    assert any("3 unreadable pictures (3 .png)" in text for text in said)
    assert any("no picture of 1 class can be read" in text and "(eel)" in text for text in said)


def test_archives_and_closed_folders_are_said(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "cats.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"it also holds 1 \.zip \(unpack archives first\)"):
        data.from_folder(tmp_path)
    paint(tmp_path, "cat/1.png", "dog/2.png", "eel/3.png")
    scan = os.scandir

    def guarded(path: Path):
        if Path(path).name == "eel":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(picture_folders.os, "scandir", guarded)
    with pytest.warns(UserWarning, match=r"1 folder may not be opened.*\(eel\)"):
        assert data.from_folder(tmp_path).classes == ("cat", "dog")
    with pytest.raises(PermissionError, match="eel cannot be opened: Permission denied"):
        data.from_folder(tmp_path / "eel")


needs_links = pytest.mark.skipif(os.name == "nt", reason="links need rights there")


@needs_links
def test_links_are_followed_once_and_loops_are_not(tmp_path: Path) -> None:
    home = tmp_path / "pictures"
    paint(tmp_path, "elsewhere/3.png", "one.png")
    paint(home, "cat/1.png", "dog/2.png")
    (home / "eel").symlink_to(tmp_path / "elsewhere")
    (home / "dog" / "linked.png").symlink_to(tmp_path / "one.png")
    assert classes(home) == {"cat": 1, "dog": 2, "eel": 1}
    (home / "cat" / "loop").symlink_to(home)
    (home / "cat" / "above").symlink_to(tmp_path)
    (home / "cat" / "again.png").symlink_to(home / "dog" / "2.png")
    (home / "dog" / "round.png").symlink_to("round.png")
    with pytest.warns(UserWarning) as seen:
        found = data.from_folder(home)
    assert found.classes == ("cat", "dog", "eel") and found.labels.tolist() == [0, 1, 1, 2]
    said = " ".join(str(warning.message) for warning in seen)
    assert "3 links lead to what is read already" in said
    assert "left out 1 link that leads nowhere" in said and "(round.png)" in said


@needs_links
def test_a_class_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        paint(folder, "1.png")
    except OSError:
        pytest.skip("this file system only takes UTF-8")
    paint(tmp_path, "tea/2.png")
    with pytest.raises(
        ValueError, match=r"class folder caf\\xe9 is not UTF-8 text.*rename"
    ) as seen:
        data.from_folder(tmp_path)
    str(seen.value).encode()  # can be printed
    paint(folder, "2.png")
    found = data.from_folder(folder)
    assert found.name == "caf\\xe9" and found.labels is None
    paint(tmp_path / "tea", os.fsdecode(b"th\xe9.png"))
    (tmp_path / "tea" / os.fsdecode(b"th\xe9.png")).write_bytes(b"")
    paint(tmp_path, "tea/3.png")
    with pytest.warns(UserWarning, match=r"th\\xe9\.png \(no picture\)"):
        own_pictures.from_folder(tmp_path / "tea")


def test_unicode_forms_and_capitals(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    paint(tmp_path, f"{apart}/1.png", "e/2.png")
    assert classes(tmp_path) == {"e": 1, composed: 1}
    paint(tmp_path, f"{composed}/3.png", "E/4.png")
    if len(list(tmp_path.iterdir())) < 4:
        pytest.skip("this file system keeps neither forms nor capitals apart")
    with pytest.warns(UserWarning) as seen:
        found = data.from_folder(tmp_path)
    assert found.classes == ("E", "e", composed) and found.labels.tolist().count(2) == 2
    said = " ".join(str(warning.message) for warning in seen)
    assert "differ only in their Unicode form" in said
    assert "'E' and 'e' differ only in capitals or spaces" in said


def test_line_breaks_in_names_are_written_out(tmp_path: Path) -> None:
    try:
        paint(tmp_path, "a\nb/1.png", "c/2.png")
    except OSError:
        pytest.skip("this file system takes no line breaks")
    assert read_quietly(tmp_path).classes == ("a\\nb", "c")


def test_files_come_in_one_order(tmp_path: Path) -> None:
    paint(tmp_path, "10.png", "9.png", "a/2.png", "a/10.png")
    files = find_pictures(tmp_path / "a").files
    assert [file.name for file in files] == ["2.png", "10.png"]
