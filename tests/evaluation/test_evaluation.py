"""Laws of `evaluation.evaluator`: real and generated pictures on one path, n with every score."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import tiny
from ldmlib.data import ImageData
from ldmlib.evaluation import evaluator as evaluator_module
from ldmlib.evaluation import metrics
from ldmlib.evaluation.evaluator import Evaluator, Report, evaluator_of, restoration_scores
from ldmlib.images import from_uint8, to_uint8
from ldmlib.networks.classifier import RandomFeatures


def data(n: int, seed: int, channels: int = 1, size: int = 8) -> ImageData:
    images = to_uint8(tiny.pictures(n, channels, size, seed))
    return ImageData(images, tiny.labels(n), ("a", "b", "c"), name=f"blobs {seed}")


def evaluator(cache: bool = False) -> Evaluator:
    network = tiny.classifier(features=6)
    return Evaluator(data(300, 0), data(100, 1), network, "tiny", cache)


EVALUATOR = evaluator()

# One path for all pictures


def test_real_and_generated_pictures_take_the_same_path() -> None:
    """Law 35: the training pictures, given as if they had been generated, score exactly 0."""
    real = from_uint8(data(300, 0).images)
    features, _ = EVALUATOR.features(real)
    assert torch.equal(features, EVALUATOR.train)
    assert EVALUATOR.fid(real) == pytest.approx(0, abs=1e-9)
    rounding = (real + 0.4 / 127.5).clamp(-1, 1)  # less than half a step of 8 bits
    assert torch.equal(EVALUATOR.features(rounding)[0], features)


def test_other_sizes_are_resized_as_data_sets_are() -> None:
    large = data(20, 3, size=16)
    small = from_uint8(large.resized(8).images)
    expected = EVALUATOR.features(small)[0]
    assert torch.equal(EVALUATOR.features(from_uint8(large.images))[0], expected)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(9, 3, 8, 8), "3 channels instead of 1"),
        (torch.full((9, 1, 8, 8), 255.0), r"\[-1, 1\]"),
        (torch.full((9, 1, 8, 8), torch.nan), "NaN"),
    ],
)
def test_bad_pictures_are_named(x, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EVALUATOR.report(x)


def test_too_few_pictures_are_an_error() -> None:
    with pytest.raises(ValueError, match="needs more than 6 samples.*got 5"):
        EVALUATOR.report(tiny.pictures(5))


def test_what_cannot_be_scored_is_known_before_it_is_drawn() -> None:
    EVALUATOR.check(7, channels=1)
    with pytest.raises(ValueError, match="needs more than 6 samples.*got 6"):
        EVALUATOR.check(6, channels=1)
    with pytest.raises(ValueError, match="3 channels cannot be compared with blobs 0.*--data"):
        EVALUATOR.check(100, channels=3)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_named(label: int) -> None:
    with pytest.raises(ValueError, match=f"labels: expected 0 to 2, got {label}"):
        EVALUATOR.report(tiny.pictures(60), torch.full((60,), label), repeats=2)


# The report


def test_a_report_prints_n_floor_and_ratio() -> None:
    """Law 31."""
    report = EVALUATOR.report(tiny.pictures(80, seed=5), tiny.labels(80), repeats=5)
    text = str(report)
    assert report.n == 80 and "n = 80 pictures against 300 of blobs 0, features tiny" in text
    floor = metrics.real_floor(EVALUATOR.train, EVALUATOR.held_out, 80)
    assert report.floor == EVALUATOR.floor(80) == floor
    assert report.ratio == report.fid.value / floor
    for number in (report.fid.value, report.floor, report.ratio, report.fid.low, report.fid.high):
        assert f"{number:.2f}" in text
    for word in ("floor", "ratio", "KID", "precision", "recall", "memorised", "IS", "agreement"):
        assert word in text
    assert "at the same n" in text


def test_the_scores_of_a_report_are_the_metrics() -> None:
    pictures, y = tiny.pictures(80, seed=5), tiny.labels(80)
    report = EVALUATOR.report(pictures, y, repeats=5)
    features, probabilities = EVALUATOR.features(pictures)
    assert report.fid.value == metrics.fid(features, EVALUATOR.train) == EVALUATOR.fid(pictures)
    assert report.kid == metrics.kid(features, EVALUATOR.train)
    assert report.inception_score == metrics.inception_score(probabilities)
    assert report.agreement == metrics.label_agreement(probabilities, y)
    assert EVALUATOR.report(pictures, repeats=5).agreement is None
    assert EVALUATOR.report(pictures, y, repeats=5) == report


def test_real_pictures_score_as_real_and_others_do_not() -> None:
    fresh = EVALUATOR.report(tiny.pictures(90, seed=6), repeats=5)
    assert 0.2 < fresh.ratio < 5 and 0.5 < fresh.memorisation < 2
    assert fresh.precision > 0.7 and fresh.recall > 0.7
    copied = EVALUATOR.report(from_uint8(data(300, 0).images[:90]), repeats=5)
    assert copied.memorisation < 0.05
    noisy = EVALUATOR.report(tiny.noise(90, 1, 8, 8).clamp(-1, 1), repeats=5)
    assert noisy.ratio > 10 and noisy.precision < 0.5


def test_a_floor_at_fewer_pictures_is_said_so() -> None:
    """There are only 100 held-out pictures: the floor at 200 cannot be known."""
    pictures = tiny.pictures(200, seed=7)
    report = EVALUATOR.report(pictures, repeats=5)
    assert report.floor == EVALUATOR.floor(100)
    assert "at n = 100" in str(report) and "same n" not in str(report)
    features, _ = EVALUATOR.features(pictures)  # the ratio compares like with like: n = 100 twice
    at_100 = metrics.real_floor(EVALUATOR.train, features, 100)
    assert at_100 > report.fid.value and report.ratio == at_100 / report.floor
    assert "FID / floor, both at n = 100" in str(report)


def test_pictures_without_classes_have_no_class_scores() -> None:
    pair = data(200, 0, channels=3, size=16), data(80, 1, channels=3, size=16)
    judge = evaluator_of(*pair, cache=False)
    assert isinstance(judge.network, RandomFeatures) and len(judge.train) == 200
    assert torch.equal(judge.train, evaluator_of(*pair, cache=False).train)
    assert judge.train.shape[1] < len(judge.held_out)  # so that the floor can be measured
    assert judge.train.mean(0).abs().max() < 0.1  # whitened
    report = judge.report(tiny.pictures(70, 3, 16, seed=2), tiny.labels(70), repeats=3)
    assert isinstance(report, Report) and report.inception_score is None
    assert report.agreement is None and "agreement" not in str(report)


# The cache


def cache_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


def test_a_cached_evaluator_equals_a_new_one(tmp_path: Path, monkeypatch) -> None:
    missed = evaluator(cache=True)
    assert len(cache_files(tmp_path)) == 2
    monkeypatch.setattr(evaluator_module, "extract", None)  # a hit computes nothing
    hit = evaluator(cache=True)
    for other in (hit, EVALUATOR):
        assert torch.equal(other.train, missed.train)
        assert torch.equal(other.held_out, missed.held_out)
    assert hit.train.dtype == torch.float64


@pytest.mark.parametrize("content", [b"", b"half of", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_broken_cache_is_made_anew(tmp_path: Path, content: bytes) -> None:
    evaluator(cache=True)
    good = [path.read_bytes() for path in cache_files(tmp_path)]
    for path in cache_files(tmp_path):
        path.write_bytes(content)
    assert torch.equal(evaluator(cache=True).train, EVALUATOR.train)
    assert [path.read_bytes() for path in cache_files(tmp_path)] == good


def test_another_network_or_other_pictures_have_their_own_cache(tmp_path: Path) -> None:
    evaluator(cache=True)
    Evaluator(data(300, 0), data(100, 1), tiny.classifier(seed=1, features=6), "other")
    assert len(cache_files(tmp_path)) == 4
    Evaluator(data(300, 2), data(100, 1), tiny.classifier(features=6), "tiny")
    assert len(cache_files(tmp_path)) == 5


def test_no_room_for_a_cache_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert torch.equal(evaluator(cache=True).train, EVALUATOR.train)
    assert os.path.isfile(tmp_path / "cache")


def test_no_cache_writes_nothing(tmp_path: Path) -> None:
    evaluator(cache=False)
    assert not (tmp_path / "cache").exists()


def test_restored_pictures_are_asked_in_three_ways() -> None:
    held_out = data(100, 1)
    x, labels = from_uint8(held_out.images), held_out.labels
    same = restoration_scores(EVALUATOR, x, x, labels)
    assert same["n"] == 100 and same["PSNR"] == float("inf")
    assert same["FID"] == pytest.approx(same["floor"])
    seen = EVALUATOR.features(x)[1].argmax(1)
    assert same["label read"] == pytest.approx(float((seen == labels).double().mean()))
    worse = restoration_scores(EVALUATOR, (x + 0.5).clamp(max=1), x, labels)
    assert worse["PSNR"] < 20 and worse["FID"] > same["FID"]
