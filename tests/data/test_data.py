"""Laws of `ldmlib.data`: MNIST is MNIST, every source obeys one interface, bad input is named."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ldmlib import data, images
from ldmlib.data import ImageData
from ldmlib.data.record import DataRecord, described, listed
from ldmlib.storage.places import expanded


def toy(n: int = 10, channels: int = 1, size: int = 8, labelled: bool = True) -> ImageData:
    generator = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, channels, size, size), generator=generator).byte()
    return ImageData(pixels, torch.arange(n) % 3 if labelled else None, name="toy")


def paint(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", (32, 32), (200, 40, 90 + i)).save(folder / name)


# The data set class


def test_items_and_tensors_agree() -> None:
    toys = toy(channels=3)
    x, labels = toys.as_tensors()
    images.check_images(x, channels=3, size=8)
    assert x.dtype == torch.float32 and labels.dtype == torch.int64
    for i, (picture, label) in enumerate(toys):
        assert torch.equal(picture, x[i]) and label == labels[i]
    assert i == len(toys) - 1


def test_attributes() -> None:
    toys = toy(channels=3)
    assert (toys.channels, toys.size, toys.num_classes, len(toys)) == (3, 8, 3, 10)
    assert toys.classes == ("0", "1", "2") and toys.name == "toy"
    assert repr(toys) == "ImageData('toy': 10 RGB pictures of 8 x 8, 3 classes)"


def test_without_labels() -> None:
    toys = toy(labelled=False)
    assert toys[0][1] == -1 and toys.num_classes == 0 and toys.classes == ()
    assert toys.as_tensors()[1] is None and "no labels" in repr(toys)


def test_works_with_a_data_loader() -> None:
    x, labels = next(iter(DataLoader(toy(), batch_size=4)))
    assert x.shape == (4, 1, 8, 8) and labels.tolist() == [0, 1, 2, 0]


def test_subset_keeps_order_labels_and_classes() -> None:
    toys = toy()
    part = toys.subset([7, 2])
    assert torch.equal(part.images, toys.images[[7, 2]]) and part.labels.tolist() == [1, 2]
    assert part.classes == toys.classes
    for same in (torch.tensor([7, 2]), np.array([7, 2]), (7, 2)):
        assert torch.equal(toys.subset(same).images, part.images)
    assert toys.subset(toys.labels == 0).labels.tolist() == [0, 0, 0, 0]
    assert torch.equal(toys.subset(3).images, toys.images[3:4])
    assert torch.equal(toys.subset([-1]).images, toys.images[9:])
    with pytest.raises(IndexError, match="toy: expected indices from 0 to 9, got 10"):
        toys.subset([10])
    with pytest.raises(IndexError, match="expected a mask for 10 pictures, got 3 values"):
        toys.subset([True, False, True])
    with pytest.raises(TypeError, match="expected whole numbers as indices, got torch.float32"):
        toys.subset([0.5])
    with pytest.raises(ValueError, match="at least one picture, got none"):
        toys.subset([])


@pytest.mark.parametrize("make", [list, np.array, torch.tensor, torch.ByteTensor, np.uint16])
def test_labels_and_pictures_may_come_in_many_forms(make) -> None:
    toys, labels = toy(6, channels=3), [0, 1, 2, 0, 1, 2]
    turned = toys.images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    same = ImageData(turned, make(labels), name="toy")
    assert not turned.is_contiguous() and same.images.is_contiguous()
    assert (same.sha256, same.copies) == (toys.sha256, 0) and torch.equal(same.keys, toys.keys)


def test_keys_go_with_their_pictures() -> None:
    toys = toy(6)
    assert torch.equal(toys.subset([4, 2]).keys, toys.keys[[4, 2]])
    with pytest.raises(ValueError, match=r"expected a key for each picture, \(6,\), got \(2,\)"):
        ImageData(toys.images, keys=toys.keys[:2])
    with pytest.raises(ValueError, match="division of an earlier training puts all of these 6"):
        toys.split_by_content(0.1, largest_key=1)


def keys(toys: ImageData) -> list[bytes]:
    return sorted(picture.numpy().tobytes() for picture in toys.images)


def test_split_is_a_partition() -> None:
    toys = toy(50)
    first, second = toys.split(0.3, seed=1)
    assert (len(first), len(second)) == (15, 35)
    assert sorted(keys(first) + keys(second)) == keys(toys)
    assert keys(first) == keys(toys.split(0.3, seed=1)[0]) != keys(toys.split(0.3, seed=2)[0])
    for fraction in (0, 1, -0.5, 0.001):
        with pytest.raises(ValueError, match="leaves a part empty"):
            toys.split(fraction, seed=1)


def test_random_subset_has_no_repeats_and_repeats_itself() -> None:
    toys = toy(50)
    part = toys.random_subset(20, seed=3)
    assert len(set(keys(part))) == 20 and set(keys(part)) <= set(keys(toys))
    assert torch.equal(part.images, toys.random_subset(20, seed=3).images)
    assert keys(toys.random_subset(50, seed=3)) == keys(toys)
    for n in (0, 51):
        with pytest.raises(ValueError, match=f"n from 1 to 50, got {n}"):
            toys.random_subset(n, seed=3)


def test_resized_goes_through_the_one_resize() -> None:
    toys = toy(channels=3, size=20)
    expected = images.to_uint8(images.resize(toys.as_tensors()[0], 8))
    assert torch.equal(toys.resized(8).images, expected)
    assert torch.equal(toys.resized(20).images, toys.images)


BAD_STORAGE = {
    "floats": (torch.zeros(2, 1, 8, 8), TypeError, "expected a uint8 tensor, got torch.float32"),
    "numpy": (np.zeros((2, 1, 8, 8), np.uint8), TypeError, "uint8 tensor, got ndarray"),
    "not square": (torch.zeros(2, 1, 8, 9).byte(), ValueError, "square pictures"),
    "three axes": (
        torch.zeros(2, 8, 8).byte(),
        ValueError,
        r"\(N, C, H, H\), got shape \(2, 8, 8\)",
    ),
    "none": (torch.zeros(0, 1, 8, 8).byte(), ValueError, "at least one picture"),
}


@pytest.mark.parametrize(("pixels", "error", "message"), BAD_STORAGE.values(), ids=BAD_STORAGE)
def test_bad_storage_is_named(pixels: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        ImageData(pixels)


def test_labels_must_fit() -> None:
    pixels = toy(3).images
    with pytest.raises(ValueError, match="expected 0 to 1, got 2"):
        ImageData(pixels, [0, 1, 2], classes=("a", "b"))
    with pytest.raises(ValueError, match=r"\(3,\), got \(2,\)"):
        ImageData(pixels, [0, 1])
    with pytest.raises(ValueError, match="expected 0 or more, got -1"):
        ImageData(pixels, [0, 1, -1])


def test_identity_numbers_are_no_labels() -> None:
    pixels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="expected class numbers 0, 1, 2.*got 1000000000000"):
        data.ImageData(pixels, torch.tensor([3, 10**12]))


# MNIST

PUBLISHED_COUNTS = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}
ORIGINAL_MD5 = {  # of the four uncompressed files as first published
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def idx_bytes(array: np.ndarray) -> bytes:
    """The IDX format: two zeros, 8 for unsigned bytes, number of axes, their lengths, the data."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def write_idx(folder: Path, split: str) -> dict[str, str]:
    """Write a split as torchvision expects it; returns the files' MD5."""
    folder.mkdir(parents=True, exist_ok=True)
    digits, prefix = data.mnist(split), {"train": "train", "test": "t10k"}[split]
    arrays = {
        f"{prefix}-images-idx3-ubyte": digits.images[:, 0, 2:-2, 2:-2].numpy(),
        f"{prefix}-labels-idx1-ubyte": digits.labels.byte().numpy(),
    }
    for name, array in arrays.items():
        (folder / name).write_bytes(idx_bytes(array))
    return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in arrays}


@pytest.fixture(scope="module")
def idx_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("torchvision")
    sums = write_idx(root / "MNIST/raw", "train") | write_idx(root / "MNIST/raw", "test")
    assert sums == ORIGINAL_MD5
    return root


@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_has_the_published_counts(split: str) -> None:
    digits = data.mnist(split)
    assert digits.labels.bincount().tolist() == PUBLISHED_COUNTS[split]
    assert digits.images.shape == (sum(PUBLISHED_COUNTS[split]), 1, 32, 32)
    assert digits.classes == tuple("0123456789") and digits.name == f"mnist {split}"


def test_mnist_border_is_background() -> None:
    x, _ = data.mnist("test").as_tensors()
    x[..., 2:-2, 2:-2] = -1
    assert (x == -1).all()


def test_mnist_equals_the_original_files_and_torchvision(idx_root: Path) -> None:
    from torchvision.datasets import MNIST

    for split in ("train", "test"):
        theirs, ours = MNIST(idx_root, train=split == "train", download=False), data.mnist(split)
        assert torch.equal(ours.images[:, 0, 2:-2, 2:-2], theirs.data)
        assert torch.equal(ours.labels, theirs.targets)


def test_mnist_copies_are_independent() -> None:
    spoiled = data.mnist("test")
    spoiled.images.zero_()
    spoiled.labels.zero_()
    assert data.mnist("test").images.any() and data.mnist("test").labels.any()


def test_unknown_split() -> None:
    for make in (data.mnist, data.cifar10):
        with pytest.raises(ValueError, match="'train' or 'test', got 'valid'"):
            make("valid")


def test_data_imports_neither_torchvision_nor_scipy() -> None:
    code = (
        "import sys; from ldmlib import data; data.mnist('test'); "
        "print([m for m in 'torchvision scipy matplotlib ipywidgets'.split() if m in sys.modules])"
    )
    root = Path(data.__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert out.stdout.strip() == "[]", out.stderr


# torchvision's sets


@pytest.mark.parametrize(
    ("name", "folder"), [("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_grey_sets_of_torchvision(idx_root: Path, name: str, folder: str, monkeypatch) -> None:
    """MNIST's files stand in for those of its two siblings, which have the same format."""
    shutil.copytree(idx_root / "MNIST", idx_root / folder)
    monkeypatch.setenv("LDMLIB_DATA", str(idx_root))
    loaded = data.load(name, "test")
    assert torch.equal(loaded.images, data.mnist("test").images)
    assert torch.equal(loaded.labels, data.mnist("test").labels)
    assert loaded.num_classes == 10 and loaded.name == f"{name} test"


def stand_in(monkeypatch, name: str, **attributes: object) -> None:
    monkeypatch.setattr(
        f"torchvision.datasets.{name}", lambda *_, **__: SimpleNamespace(**attributes)
    )


def test_colour_sets_of_torchvision(monkeypatch, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    expected, labels = torch.from_numpy(pixels).permute(0, 3, 1, 2), [3, 1, 4, 9]
    names = [f"thing {i}" for i in range(10)]
    stand_in(monkeypatch, "CIFAR10", data=pixels, targets=labels, classes=names)
    stand_in(monkeypatch, "SVHN", data=expected.numpy(), labels=np.array(labels))
    for loaded in (data.cifar10("test", tmp_path), data.svhn("test", tmp_path)):
        assert torch.equal(loaded.images, expected) and loaded.labels.tolist() == labels
    assert data.cifar10(root=tmp_path).classes == tuple(names)
    assert data.svhn(root=tmp_path).classes == tuple("0123456789")


PLACES = {
    "fashion_mnist": ("FashionMNIST", "FashionMNIST/raw/.*idx3"),
    "kmnist": ("KMNIST", "KMNIST/raw/.*idx3"),
    "cifar10": ("CIFAR10", "cifar-10-python.tar.gz"),
    "svhn": ("SVHN", "32x32.mat"),
}


@pytest.mark.parametrize(("name", "place"), PLACES.items(), ids=PLACES)
def test_offline_says_which_files_go_where(name: str, place: tuple, monkeypatch, tmp_path) -> None:
    def offline(self) -> None:
        raise URLError("no network")

    class_name, files = place
    monkeypatch.setattr(f"torchvision.datasets.{class_name}.download", offline)
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}.*no network.*put there .*{files}"):
        data.KNOWN[name]("train", tmp_path)


def test_unknown_set_of_torchvision() -> None:
    with pytest.raises(ValueError, match="'cifar': expected one of fashion_mnist, .*cifar10"):
        data.from_torchvision("cifar")


# One call for all


def test_load_dispatches(tmp_path: Path) -> None:
    assert data.load("mnist", "test").name == "mnist test"
    for i in range(2):
        paint(tmp_path / "mine", f"{i}.png")
    images.save_npz(tmp_path / "a.npz", toy().as_tensors()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(data.load(tmp_path / "mine")) == 2
        assert data.load(str(tmp_path / "mine"), size=16).size == 16
        assert len(data.load(tmp_path / "a.npz")) == 10


def test_unknown_source_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="'minst': expected mnist, emoji, fashion_mnist, .*no such folder"
    ):
        data.load("minst")
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(ValueError, match="a file of another kind"):
        data.load(tmp_path / "a.zip")
    with pytest.raises(FileNotFoundError, match="expected a .npz file"):
        data.load("missing.npz")


def test_the_same_pictures_are_held_out_when_others_are_added() -> None:
    images = torch.randint(0, 256, (60, 3, 8, 8), generator=torch.manual_seed(0)).to(torch.uint8)
    held_out, train, largest = ImageData(images[:50]).split_by_content(0.1)
    assert (len(held_out), len(train)) == (5, 45)
    more_held_out, more_train, _ = ImageData(images.flip(0)).split_by_content(0.1, largest)
    assert set(held_out.keys.tolist()) <= set(more_held_out.keys.tolist())
    assert set(train.keys.tolist()) <= set(more_train.keys.tolist())
    assert torch.equal(ImageData(images).resized(4).keys, ImageData(images).keys)


def test_copies_of_a_picture_are_held_out_together() -> None:
    images = torch.randint(0, 256, (3, 1, 8, 8), generator=torch.manual_seed(0)).to(torch.uint8)
    held_out, train, _ = ImageData(images[torch.arange(30) % 3]).split_by_content(0.1)
    assert not set(held_out.keys.tolist()) & set(train.keys.tolist())
    with pytest.raises(ValueError, match="all 30 pictures are the same"):
        ImageData(images[torch.zeros(30, dtype=torch.long)]).split_by_content(0.1)


# Names and paths


def test_a_folder_called_like_a_bundled_set(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "emoji", "1.png", "2.png")
    with pytest.warns(
        UserWarning, match=r"means the bundled data set.*write \./emoji for the fold"
    ):
        assert data.load("emoji", "test").name == "emoji test"
    with pytest.warns(UserWarning, match=r"write \./emoji") as seen:
        assert data.load_parts("emoji")[0].name == "emoji train"
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(data.load("mnist", "test")) == 10_000
        for path in ("./emoji", "emoji/", str(tmp_path / "emoji"), Path("emoji")):
            assert len(data.load(path)) == 2
    (tmp_path / "mnist").write_text("a file")
    with pytest.warns(
        UserWarning, match=r"a file of that name here, too; write \./mnist for the f"
    ):
        data.load("mnist", "test")


def test_nearly_right_names_are_guessed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, meant in (("MNIST", "mnist"), ("minst", "mnist"), ("Fashion-MNIST", "fashion_mnist")):
        with pytest.raises(ValueError, match=f"no such folder; did you mean '{meant}'"):
            data.load(name)
    with pytest.raises(ValueError, match="no such folder$"):
        data.load("holidays")
    paint(tmp_path / "MNIST", "1.png", "2.png")
    if not Path("mnist").exists():
        with pytest.warns(UserWarning, match="MNIST is read as a folder"):
            assert len(data.load("MNIST")) == 2


def test_the_home_folder_is_put_in_once(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "home" / "mine", "1.png", "2.png")
    paint(tmp_path / "~" / "mine", "1.png", "2.png", "3.png")
    images.save_npz(tmp_path / "home" / "a.npz", toy().as_tensors()[0])
    for load in (data.load, data.from_folder, lambda path: data.load_parts(path)[0]):
        assert len(load("./~/mine")) == len(load("~/mine")) + 1
    assert len(data.load("~/a.npz")) == len(data.from_npz("~/a.npz")) == 10
    assert expanded(expanded("./~/mine")) == expanded("./~/mine")
    with pytest.raises(ValueError, match="unknown data '~nobody/x'"):
        data.load("~nobody/x")


def test_neither_nothing_nor_an_address_is_a_path() -> None:
    with pytest.raises(ValueError, match="got an empty text"):
        data.load("")
    with pytest.raises(ValueError, match="fetch the files first"):
        data.load("https://example.org/cats")


WRONG_FILES = {
    "a.zip": "unpack it and give the folder",
    "a.TGZ": "unpack it and give the folder",
    "a.npy": r"numpy\.savez\('pictures\.npz'",
    "a.png": "a single picture is not enough",
    "a.docx": "a file of another kind$",
}


@pytest.mark.parametrize(("name", "hint"), WRONG_FILES.items(), ids=WRONG_FILES)
def test_files_of_other_kinds_are_explained(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=hint):
        data.load_parts(tmp_path / name)


# The record of the data, and the line about them


def test_a_record_of_the_data_survives_json() -> None:
    data = ImageData(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), [0, 1, 0, 1], ("cat", "dog"), "x")
    record = DataRecord.of(data, data, 7)
    assert DataRecord.from_dict(json.loads(json.dumps(asdict(record)))) == record
    assert str(record) == ("x: 4 grey pictures of 8 x 8, 4 more held out; 2 classes: 0 cat, 1 dog")
    assert DataRecord.from_dict({**asdict(record), "of a later version": 1}) == record
    with pytest.raises(ValueError, match="record of the data lacks count, sha256"):
        DataRecord.from_dict(
            {k: v for k, v in asdict(record).items() if k not in ("count", "sha256")}
        )
    other = ImageData(data.images, [0, 1, 0, 1], ("dog", "cat"), "x")
    assert other.sha256 != data.sha256


def test_classes_are_listed_with_counts_where_these_differ() -> None:
    assert listed(("cat", "dog"), [9, 5]) == "2 classes: 0 cat, 1 dog"
    assert listed(("cat", "dog"), [1100, 5]) == "2 classes: 0 cat (1,100), 1 dog (5)"
    assert listed(("0", "1"), [9, 1]) == "2 classes: 0 (9), 1 (1)"
    assert listed(("1", "2"), [5, 5]) == "2 classes: 0 '1', 1 '2'"
    many = tuple(f"c{i}" for i in range(20))
    assert listed(many).endswith("11 c11, ... 19 c19") and listed(()) == "no classes"


def test_the_line_about_bundled_digits() -> None:
    digits = data.mnist("test")
    line = described(digits, digits)
    assert line.startswith("Read mnist test: 10,000 grey pictures of 32 x 32; 10,000 more held out")
    assert line.endswith("held out; 10 classes: 0 to 9.")
