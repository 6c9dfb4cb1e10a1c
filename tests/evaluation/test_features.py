"""Laws of `evaluation.features`: one picture, one set of features; weights that can be trusted."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

import tiny
from ldmlib.data import mnist
from ldmlib.evaluation.features import accuracy, extract
from ldmlib.networks.batches import in_batches
from ldmlib.networks.classifier import (
    Classifier,
    ClassifierConfig,
    RandomFeatures,
    bundled_classifier,
    load_classifier,
    save_classifier,
)

X = tiny.pictures(7)
NETWORKS = {"classifier": tiny.classifier, "random": lambda: RandomFeatures(1, features=8)}


@pytest.mark.parametrize("kind", NETWORKS)
def test_features_of_a_picture_do_not_depend_on_the_batch(kind: str) -> None:
    network = NETWORKS[kind]()
    features, probabilities = extract(network, X)
    assert features.shape == (7, 8) and features.dtype == probabilities.dtype == torch.float64
    torch.testing.assert_close(probabilities.sum(1), torch.ones(7).double(), atol=1e-6, rtol=0)
    alone = torch.cat([extract(network, x[None])[0] for x in X])
    torch.testing.assert_close(alone, features, atol=1e-5, rtol=1e-4)
    assert torch.equal(extract(network, X)[0], features)
    assert (features[0] - features[1:]).abs().max() > 0.01 * features.max()


def test_probabilities_belong_to_the_features() -> None:
    network = tiny.classifier()
    _features, probabilities = extract(network, X)
    torch.testing.assert_close(probabilities, network(X).softmax(1).double(), atol=1e-6, rtol=0)


def test_feature_maps_halve() -> None:
    network = tiny.classifier()
    shapes = [tuple(m.shape) for m in network.feature_maps(tiny.pictures(2, size=32))]
    assert shapes == [(2, 8, 16, 16), (2, 8, 8, 8)]


@pytest.mark.parametrize("kind", NETWORKS)
def test_whitened_features_have_mean_zero_and_unit_covariance(kind: str) -> None:
    network, x = NETWORKS[kind](), tiny.noise(700, 1, 8, 8).clamp(-1, 1)
    network.fit_whitening(x)
    features, probabilities = extract(network, x)
    torch.testing.assert_close(features.mean(0), torch.zeros(8).double(), atol=1e-2, rtol=0)
    torch.testing.assert_close(features.T.cov(), torch.eye(8).double(), atol=2e-2, rtol=0)
    again = NETWORKS[kind]()
    torch.testing.assert_close(extract(again, x)[1], probabilities)  # verdicts do not change
    with pytest.raises(ValueError, match="at least 2"):
        again.fit_whitening(x[:1])


def test_whitening_travels_with_the_weights(tmp_path: Path) -> None:
    network = tiny.classifier()
    network.fit_whitening(tiny.noise(50, 1, 8, 8).clamp(-1, 1))
    save_classifier(network, tmp_path)
    assert torch.equal(load_classifier(tmp_path).features(X), network.features(X))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 3, 8, 8), "3 channels instead of 1"),
        (torch.full((2, 1, 8, 8), 2.0), r"in \[-1, 1\]"),
        (torch.full((2, 1, 8, 8), torch.nan), "NaN"),
    ],
)
def test_bad_pictures_are_named(kind: str, x, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        extract(NETWORKS[kind](), x)


def test_in_batches_is_the_function() -> None:
    torch.testing.assert_close(in_batches(lambda x: 2 * x, X, batch_size=3), 2 * X)
    assert not in_batches(tiny.autoencoder().decode, tiny.noise(3, 2, 4, 4)).requires_grad


def test_accuracy_counts() -> None:
    logits = torch.eye(4)
    assert accuracy(lambda x: x, logits, torch.tensor([0, 1, 2, 0])) == 0.75


# Random features


def test_random_features_are_the_same_everywhere_and_see_differences() -> None:
    torch.manual_seed(1)
    one = RandomFeatures(3)
    torch.manual_seed(2)
    assert tiny.differences(one.state_dict(), RandomFeatures(3).state_dict()) == []
    assert tiny.differences(one.state_dict(), RandomFeatures(3, seed=1).state_dict()) != []
    x = tiny.pictures(20, 3, 16)
    sharp, _ = extract(one, x)
    rough, _ = extract(one, (x + 0.2 * tiny.noise(20, 3, 16, 16)).clamp(-1, 1))
    assert (sharp - rough).norm(dim=1).mean() > 0.1 * sharp.std(0).norm()


# Files


def test_saving_and_loading_keeps_every_bit(tmp_path: Path) -> None:
    network = tiny.randomised(tiny.classifier()).eval()
    save_classifier(network, tmp_path, accuracy=0.5)
    loaded = load_classifier(tmp_path)
    assert torch.equal(loaded(X), network(X)) and loaded.config == network.config
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert json.loads((tmp_path / "config.json").read_text())["accuracy"] == 0.5


def test_broken_classifiers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_classifier(tmp_path)
    save_classifier(tiny.classifier(), tmp_path)
    weights, good = tmp_path / "model.safetensors", (tmp_path / "model.safetensors").read_bytes()
    for bad in (good[:-100], pickle.dumps({"a": 1})):
        weights.write_bytes(bad)
        with pytest.raises(ValueError, match="SHA-256"):
            load_classifier(tmp_path)
    save_classifier(Classifier(ClassifierConfig(1, 3, (8,), 8)), tmp_path / "other")
    weights.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    other = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "sha256": other["sha256"]}))
    with pytest.raises(ValueError, match="another architecture"):
        load_classifier(tmp_path)


# The bundled ones

BUNDLED = ("mnist_features", "mnist_perceptual")


def test_the_judge_is_not_the_teacher() -> None:
    judge, teacher = map(bundled_classifier, BUNDLED)
    own = judge.state_dict(), teacher.state_dict()
    if own[0].keys() == own[1].keys():
        assert tiny.differences(*own) != []
    assert bundled_classifier(BUNDLED[0]) is judge and not judge.training
    with pytest.raises(FileNotFoundError, match="mnist_features"):
        bundled_classifier("imagenet")


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_classifiers_know_the_digits(name: str) -> None:
    x, y = mnist("test").random_subset(1000, seed=0).as_tensors()
    assert accuracy(bundled_classifier(name), x, y) >= 0.985


@pytest.mark.slow
def test_the_judge_names_993_of_1000_digits() -> None:
    x, y = mnist("test").as_tensors()
    assert accuracy(bundled_classifier("mnist_features"), x, y) >= 0.993
