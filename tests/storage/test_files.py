"""Laws of `ldmlib.storage.files`: round trips are exact, and no failure costs an earlier file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from ldmlib.storage import files


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A file that was saved before and must survive whatever happens."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"earlier")
    return path


def assert_untouched(path: Path) -> None:
    assert path.read_bytes() == b"earlier"
    assert os.listdir(path.parent) == [path.name]


def raise_disk_full(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data[:3])
    raise OSError(errno.ENOSPC, "No space left on device")


# Atomic saving


def test_atomic_path_replaces_on_success(earlier: Path) -> None:
    with files.atomic_path(earlier) as temporary:
        assert temporary.parent == earlier.parent
        temporary.write_bytes(b"later")
        assert earlier.read_bytes() == b"earlier"
    assert earlier.read_bytes() == b"later"
    assert os.listdir(earlier.parent) == [earlier.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError, OSError])
def test_atomic_path_keeps_the_earlier_file_on_any_error(earlier: Path, error: type) -> None:
    with pytest.raises(error), files.atomic_path(earlier) as temporary:
        temporary.write_bytes(b"half of")
        raise error()
    assert_untouched(earlier)


def test_ctrl_c_during_the_replacement_leaves_no_temporary(earlier: Path, monkeypatch) -> None:
    def interrupted(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.save_bytes(earlier, b"later")
    assert_untouched(earlier)


def test_atomic_path_follows_links_and_makes_folders(tmp_path: Path) -> None:
    real, link = tmp_path / "deep" / "real.txt", tmp_path / "link.txt"
    link.symlink_to(real)
    files.save_bytes(link, b"x")
    assert link.is_symlink() and real.read_bytes() == b"x"


def test_saving_over_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder"):
        files.save_bytes(tmp_path, b"x")


def test_what_cannot_be_written_is_known_before_the_work(earlier: Path, monkeypatch) -> None:
    assert files.check_writable(earlier) == earlier.resolve()
    new = earlier.parent / "new" / "er" / "file"
    assert files.check_writable(new) == new.resolve() and not (earlier.parent / "new").exists()
    for save in (files.check_writable, lambda path: files.save_bytes(path, b"x")):
        with pytest.raises(IsADirectoryError, match="name a file in it"):
            save(earlier.parent)
        with pytest.raises(NotADirectoryError, match=r"model.bin is a file, not a folder"):
            save(earlier / "model" / "config.json")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(PermissionError, match="may not be written"):
        files.check_writable(new)
    assert_untouched(earlier)


SAVERS = {
    "json": lambda path: files.save_json(path, {"a": 1}),
    "tensors": lambda path: files.save_tensors(path, {"a": torch.ones(3)}),
    "checkpoint": lambda path: files.save_checkpoint(path, {"a": torch.ones(3)}),
}


@pytest.mark.parametrize("save", SAVERS.values(), ids=SAVERS)
def test_full_disk_is_explained_and_costs_nothing(earlier: Path, monkeypatch, save) -> None:
    monkeypatch.setattr(Path, "write_bytes", raise_disk_full)
    with pytest.raises(OSError, match=r"no space.*model.bin.*MiB are free.*is intact") as caught:
        save(earlier)
    assert caught.value.errno == errno.ENOSPC
    assert_untouched(earlier)


def test_full_disk_without_an_earlier_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", raise_disk_full)
    with pytest.raises(OSError, match="nothing was left behind"):
        files.save_bytes(tmp_path / "new", b"12345")
    assert not os.listdir(tmp_path)


# JSON


def test_json_round_trip(tmp_path: Path) -> None:
    content = {"name": "Zahlen äöü", "sizes": [1, 2.5], "none": None, "nested": {"on": True}}
    files.save_json(tmp_path / "a.json", content)
    assert files.load_json(tmp_path / "a.json") == content


def test_json_of_an_unknown_type_writes_nothing(earlier: Path) -> None:
    with pytest.raises(TypeError):
        files.save_json(earlier, {"a": torch.ones(1)})
    assert_untouched(earlier)


def test_missing_file_lists_what_is_there(earlier: Path) -> None:
    for load in (files.load_json, files.load_tensors, files.load_checkpoint, files.sha256_of):
        with pytest.raises(FileNotFoundError, match=r"expected .* at .*other.*model\.bin"):
            load(earlier.parent / "other")
        with pytest.raises(FileNotFoundError, match=r"no-folder.*holds .*model\.bin"):
            load(earlier.parent / "no-folder" / "other")
        with pytest.raises(IsADirectoryError, match="found a folder"):
            load(earlier.parent)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_in_other_tools_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_bytes('{"name": "ä"}'.encode(encoding))
    assert files.load_json(tmp_path / "a.json") == {"name": "ä"}


def test_json_that_is_deep_or_large_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}")
    with pytest.raises(ValueError, match=r"a\.json: lists are nested too deeply"):
        files.load_json(path)
    with open(path, "wb") as file:
        file.truncate(100 * files.LARGEST_JSON)  # takes no space on the disk
    with pytest.raises(ValueError, match=r"a\.json has 6,710,886,400 bytes; .* another file"):
        files.load_json(path)


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00", b"[1, 2]"])
def test_broken_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json.*(not valid JSON|found a list)"):
        files.load_json(tmp_path / "a.json")


# Weights


def example_tensors() -> dict[str, torch.Tensor]:
    wide = torch.arange(12.0).view(3, 4)
    return {
        "plain": wide,
        "transposed": wide.T,
        "a view of the same": wide[:, 1],
        "half": wide.bfloat16(),
        "scalar": torch.tensor(7),
        "trained": nn.Parameter(torch.ones(2)),
        "empty": torch.zeros(0, 3),
    }


def test_tensors_round_trip(tmp_path: Path) -> None:
    path, tensors = tmp_path / "a.safetensors", example_tensors()
    files.save_tensors(path, tensors, {"made": "by a test"})
    loaded = files.load_tensors(path, files.sha256_of(path))
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor)


def test_sha256_equals_hashlib(earlier: Path) -> None:
    assert files.sha256_of(earlier) == hashlib.sha256(b"earlier").hexdigest()


def test_wrong_hash_names_both(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    files.save_tensors(path, example_tensors())
    with pytest.raises(ValueError, match=f"expected SHA-256 {'0' * 64}, found") as caught:
        files.load_tensors(path, "0" * 64)
    assert files.sha256_of(path) in str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_tensors_cut_short(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.safetensors"
    files.save_tensors(path, example_tensors())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="cut short or not a safetensors file"):
        files.load_tensors(path)


def write_safetensors(path: Path, header: object, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("kind", ["F7", "F4", "F8_E8M0"])
def test_a_number_format_that_is_unknown(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": {"dtype": kind, "shape": [2], "data_offsets": [0, 2]}}, b"12")
    for load in (files.load_tensors, files.tensor_shapes):
        with pytest.raises(ValueError, match=f"a.safetensors .*{kind}|not a safetensors file"):
            load(path)


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[1]",
        b"\xff",
        {"a": {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}},
        {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
    ],
    ids=["deep", "a list", "no text", "more than there is", "overflow", "negative"],
)
def test_a_header_that_promises_something_else(tmp_path: Path, header: object) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, header, b"1234")
    for load in (files.load_tensors, files.tensor_shapes):
        with pytest.raises(ValueError, match="cut short or not a safetensors file") as caught:
            load(path)
        assert len(str(caught.value)) < 600


def test_shapes_are_known_without_reading_the_numbers(tmp_path: Path, monkeypatch) -> None:
    path, tensors = tmp_path / "a.safetensors", example_tensors()
    files.save_tensors(path, tensors)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("all of it is read"))
    found = files.tensor_shapes(path)
    assert {k: (t.shape, t.dtype) for k, t in found.items()} == {
        k: (t.shape, t.dtype) for k, t in tensors.items()
    }
    assert all(tensor.is_meta for tensor in found.values())


@pytest.mark.parametrize("sha256", [5, "", "xyz", "0" * 63, "g" * 64, ["0" * 64]], ids=repr)
def test_what_is_no_hash_is_not_compared(earlier: Path, sha256: object) -> None:
    with pytest.raises(ValueError, match="a SHA-256 is 64 hexadecimal digits, not"):
        files.load_tensors(earlier, sha256)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.ones(2, 3, dtype=torch.int32)}, "wrong kind 1 .weight torch.int32 for"),
        ({"weight": torch.ones(2, 3, dtype=torch.complex64)}, "wrong kind 1 .weight torch.complex"),
        ({"weight": [1.0]}, r"no tensor 1 \(weight\)"),
        ({5: torch.ones(1)}, r"unexpected 1 \(5\)"),
        (None, "expected weights by name, found a NoneType"),
    ],
)
def test_load_into_takes_tensors_of_the_same_kind(tensors: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        files.load_into(nn.Linear(3, 2), tensors, "layer")


def test_load_into_takes_half_precision() -> None:
    layer, half = nn.BatchNorm1d(3), nn.BatchNorm1d(3).half().state_dict()
    half["num_batches_tracked"] = torch.tensor(7.0).half()  # as earlier versions saved it
    files.load_into(layer, half, "layer")
    assert layer.weight.dtype == torch.float32 and int(layer.num_batches_tracked) == 7


def test_load_into_copies_exactly() -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    files.load_into(target, source.state_dict(), "layer")
    assert all(
        torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True)
    )


def test_load_into_names_every_kind_of_difference() -> None:
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(ValueError) as caught:
        files.load_into(module, {"weight": torch.ones(5, 3), "gain": torch.ones(2)}, "denoiser")
    for part in (
        "denoiser: the checkpoint is from another architecture",
        "missing 1 (bias)",
        "unexpected 1 (gain)",
        "wrong shape 1 (weight 5x3 for 2x3)",
    ):
        assert part in str(caught.value)
    assert torch.equal(module.weight, before)


def test_load_into_stays_brief() -> None:
    many = {f"layers.{i}.weight": torch.ones(1) for i in range(500)}
    with pytest.raises(ValueError, match=r"unexpected 500 \(.*, \.\.\.\)") as caught:
        files.load_into(nn.Linear(1, 1), many, "denoiser")
    assert len(str(caught.value)) < 400


# Checkpoints


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    state = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "step": 3,
        "history": [{"loss": 0.5}],
    }
    files.save_checkpoint(tmp_path / "a.pt", state)
    loaded = files.load_checkpoint(tmp_path / "a.pt")
    assert loaded["step"] == 3 and loaded["history"] == state["history"]
    assert torch.equal(loaded["random"], state["random"])
    torch.testing.assert_close(loaded["model"], state["model"], rtol=0, atol=0)
    torch.testing.assert_close(loaded["optimiser"], state["optimiser"], rtol=0, atol=0)


@pytest.mark.parametrize("value", [Path("x"), nn.Linear(1, 1), lambda: 0], ids=type)
def test_checkpoint_that_could_not_be_loaded_is_not_saved(earlier: Path, value: object) -> None:
    with pytest.raises(TypeError, match="tensors and plain values only"):
        files.save_checkpoint(earlier, {"value": value})
    assert_untouched(earlier)


@pytest.mark.parametrize("kept", [0, 10, 0.5, -1])
def test_checkpoint_cut_short(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "a.pt"
    files.save_checkpoint(path, {"a": torch.ones(1000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match="cut short or not a checkpoint"):
        files.load_checkpoint(path)


def test_a_checkpoint_damaged_inside_is_refused(tmp_path: Path) -> None:
    """Whatever byte of its index is another one, the message names the file."""
    files.save_checkpoint(tmp_path / "a.pt", {"a": torch.ones(3), "b": [{"c": 0.5}]})
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    [index] = [name for name in parts if name.endswith("data.pkl")]
    refused = 0
    for i in range(0, len(parts[index]), 3):
        changed = bytearray(parts[index])
        changed[i] ^= 0x55
        with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
            for name, content in {**parts, index: bytes(changed)}.items():
                archive.writestr(name, content)
        try:
            files.load_checkpoint(tmp_path / "b.pt")
        except ValueError as error:
            assert str(error).startswith(str(tmp_path / "b.pt"))
            refused += 1
    assert refused > 20


class Exploit:
    """Unpickled, it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_loading_runs_no_code(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"a": Exploit(trace)}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match="not loaded, as that could run code.*mkdir"):
        files.load_checkpoint(tmp_path / "bad.pt")
    assert not trace.exists()


# Assets


def test_asset_finds_what_ships() -> None:
    assert files.asset("data", "mnist", "LICENSE.txt").is_file()
    assert files.asset("data", "mnist").is_dir()


def test_missing_asset_lists_the_others() -> None:
    with pytest.raises(FileNotFoundError, match=r"no data/mnist/nope.*LICENSE\.txt, mnist_full"):
        files.asset("data", "mnist", "nope")


def test_saved_json_ends_with_a_newline(tmp_path: Path) -> None:
    files.save_json(tmp_path / "a.json", {"a": 1})
    text = (tmp_path / "a.json").read_text()
    assert text.endswith("}\n") and json.loads(text) == {"a": 1}
