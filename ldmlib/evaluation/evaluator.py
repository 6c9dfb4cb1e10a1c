"""One evaluator for everything: the report that ``ldm evaluate`` and the notebooks print."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ldmlib.data import load, load_parts
from ldmlib.data.dataset import ImageData
from ldmlib.data.record import DataRecord
from ldmlib.evaluation import metrics
from ldmlib.evaluation.features import extract
from ldmlib.evaluation.metrics import Interval
from ldmlib.images import check_images, from_uint8, resize, to_uint8
from ldmlib.networks.classifier import RandomFeatures, bundled_classifier
from ldmlib.rng import seeded
from ldmlib.storage.files import load_tensors, save_tensors
from ldmlib.storage.places import cache_folder

MANIFOLD_POINTS = 5000  # precision and recall compare every point with every other
BORDERED = ("mnist", "fashion_mnist", "kmnist")  # 28 x 28 in their files, padded to 32 x 32
BORDERED_FROM = 28
FEWEST_HELD_OUT = 20  # real pictures that no model has seen; below that, scores say nothing


@dataclass(frozen=True)
class Report:
    """All scores of one set of pictures, with what is needed to read them.

    `agreement` is None where no labels were asked for, `inception_score` where the feature network
    is no classifier, `memorisation` where held-out pictures are copies of training pictures.
    `floor_n` is the floor's own n where there are fewer held-out pictures than n, and
    `fid_at_floor_n` the mean FID of so many of the pictures, to compare like with like.
    """

    n: int
    fid: Interval
    floor: float
    kid: float
    precision: float
    recall: float
    floor_precision: float
    floor_recall: float
    memorisation: float | None
    reference: str
    features: str
    inception_score: float | None = None
    agreement: float | None = None
    floor_n: int | None = None
    fid_at_floor_n: float | None = None

    @property
    def ratio(self) -> float:
        """FID over the floor, both at one n: 1 is as close as real held-out pictures are."""
        return self._fid_like_floor / self.floor if self.floor > 0 else math.inf

    @property
    def excess(self) -> float:
        """FID minus the floor, both at one n: 0 is as close as real held-out pictures are.

        Unlike the ratio it hardly changes with n, as the bias of FID is added to both.
        """
        return self._fid_like_floor - self.floor

    @property
    def _fid_like_floor(self) -> float:
        return self.fid.value if self.floor_n is None else self.fid_at_floor_n

    def __str__(self) -> str:
        floor_n = "the same n" if self.floor_n is None else f"n = {self.floor_n:,}, all there are"
        both = "" if self.floor_n is None else f", both at n = {self.floor_n:,}"
        lines = [
            f"n = {self.n:,} pictures against {self.reference}, features {self.features}",
            f"FID        {self.fid.value:8.2f}   95 % interval {self.fid.low:.2f} to "
            f"{self.fid.high:.2f}",
            f"floor      {self.floor:8.2f}   real held-out pictures at {floor_n}",
            f"ratio      {self.ratio:8.2f}   FID / floor{both}"
            if self.floor > 0
            else "ratio      no score: the floor is 0",
            f"KID x 1000 {1000 * self.kid:8.2f}   unbiased, 0 is best, may be negative",
            f"precision  {self.precision:8.3f}   real: {self.floor_precision:.3f}",
            f"recall     {self.recall:8.3f}   real: {self.floor_recall:.3f}",
        ]
        if self.memorisation is None:
            lines.append("memorised  no score: held-out pictures are copies of training pictures")
        else:
            lines.append(
                f"memorised  {self.memorisation:8.2f}   distance to training set / that of held-out"
            )
        if self.inception_score is not None:
            lines.append(f"IS         {self.inception_score:8.2f}")
        if self.agreement is not None:
            lines.append(f"agreement  {self.agreement:8.1%}   classifier sees the asked label")
        return "\n".join(lines)


class Evaluator:
    """Scores pictures against a data set's training split; its held-out split makes the floor.

    Args:
        train, held_out: real pictures of one kind.
        network: see `extract`; MNIST's own classifier for MNIST.
        name: of the network, for the report.
        cache: keep the real pictures' features on disk (``~/.cache/ldmlib``).
    """

    def __init__(
        self, train: ImageData, held_out: ImageData, network: nn.Module, name: str, cache=True
    ) -> None:
        self.name, self.network, self.train_data = name, network, train
        self.train = self._real(train, cache)
        self.held_out = self._real(held_out, cache)
        self._floors: dict[int, float] = {}

    def _real(self, data: ImageData, cache: bool) -> Tensor:
        path = _cache_path(data, self.network)
        if cache and path.is_file():
            try:
                return load_tensors(path)["features"].double()
            except (ValueError, KeyError, OSError):
                pass  # a broken cache is made anew
        features = torch.cat(
            [extract(self.network, from_uint8(part))[0] for part in data.images.split(2000)]
        )
        if cache:
            _try_save(path, features)
        return features

    def features(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Features and class probabilities of pictures (n, C, H, W) in [-1, 1].

        Pictures go through the same resize and 8-bit rounding as the real ones.
        """
        check_images(pictures, channels=self.train_data.channels)
        size = self.train_data.size
        if pictures.shape[-1] != size or pictures.shape[-2] != size:
            pictures = resize(pictures, size)
        return extract(self.network, from_uint8(to_uint8(pictures)))

    def check(self, n: int, channels: int) -> None:
        """Find out before n pictures are drawn whether they can be scored.

        Raises:
            ValueError: too few for FID on these features, or other channels than the real ones.
        """
        name, expected = self.train_data.name, self.train_data.channels
        if channels != expected:
            raise ValueError(
                f"pictures with {channels} channels cannot be compared with {name}, which have "
                f"{expected}; name pictures of their own kind (--data)"
            )
        metrics.check_enough(n, len(self.train), self.train.shape[1])

    def floor(self, n: int) -> float:
        """FID of n held-out real pictures, drawn at random; calculated once for each n."""
        n = min(n, len(self.held_out))
        if n not in self._floors:
            self._floors[n] = metrics.real_floor(self.train, self.held_out, n)
        return self._floors[n]

    def fid(self, pictures: Tensor) -> float:
        """FID of pictures against the training split."""
        return metrics.fid(self.features(pictures)[0], self.train)

    def report(self, pictures: Tensor, labels: Tensor | None = None, repeats: int = 20) -> Report:
        """All scores of pictures (n, C, H, W) in [-1, 1]; labels are those asked for."""
        fake, probabilities = self.features(pictures)
        n, most = len(fake), len(self.held_out)
        m = min(MANIFOLD_POINTS, n, len(self.held_out))
        some = _pick(self.train, m, 0)
        precision, recall = metrics.precision_recall(some, _pick(fake, m, 1))
        real_precision, real_recall = metrics.precision_recall(some, _pick(self.held_out, m, 2))
        has_classes = probabilities.shape[1] > 1
        return Report(
            n=n,
            fid=metrics.bootstrap(metrics.fid, fake, self.train, repeats),
            floor=self.floor(n),
            kid=metrics.kid(fake, self.train),
            precision=precision,
            recall=recall,
            floor_precision=real_precision,
            floor_recall=real_recall,
            memorisation=metrics.memorisation(_pick(fake, m, 1), _pick(self.held_out, m, 2),
                                              self.train),
            reference=f"{len(self.train):,} of {self.train_data.name}",
            features=self.name,
            inception_score=metrics.inception_score(probabilities) if has_classes else None,
            floor_n=None if n <= most else most,
            fid_at_floor_n=None if n <= most else metrics.real_floor(self.train, fake, most),
            agreement=None if labels is None or not has_classes
            else metrics.label_agreement(probabilities, labels),
        )  # fmt: skip


def _pick(features: Tensor, n: int, seed: int) -> Tensor:
    return features[torch.randperm(len(features), generator=seeded(seed, 8))[:n]]


def _cache_path(data: ImageData, network: nn.Module) -> Path:
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    digest.update(data.images.contiguous().numpy().tobytes())
    return cache_folder() / f"features-{digest.hexdigest()[:16]}.safetensors"


def _try_save(path: Path, features: Tensor) -> None:
    """Keep features for next time, unless the disk will not have them."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(path, {"features": features.float()})
    except OSError:
        pass


def restoration_scores(
    evaluator: Evaluator, restored: Tensor, x: Tensor, labels: Tensor
) -> dict[str, float]:
    """How good restored pictures are, asked in three ways that need not agree.

    Args:
        restored: pictures (n, C, H, W) in [-1, 1].
        x: what they were before they were damaged; labels: of these, (n,).

    Returns:
        ``PSNR`` in dB (near the original?), ``FID`` with its ``floor`` at the same ``n`` (like real
        pictures?), and ``label read``, the share whose label the classifier still sees.
    """
    features, probabilities = evaluator.features(restored)
    return {
        "n": float(len(x)),
        "PSNR": metrics.psnr(restored, x),
        "FID": metrics.fid(features, evaluator.train),
        "floor": evaluator.floor(len(x)),
        "label read": metrics.label_agreement(probabilities, labels),
    }


def evaluator_for(
    source: str,
    size: int | None = None,
    record: DataRecord | None = None,
    enlarge: bool = False,
) -> Evaluator:
    """The evaluator for a data set by name, a folder, or an .npz file.

    MNIST is judged by its own classifier, everything else by `RandomFeatures`.

    Args:
        size: of the pictures to be judged; real ones are read at that size if they are larger.
            MNIST stays as it is, 32 x 32, and so do sets that got their border (`borders`).
        record: the data of the model that is judged. None of the pictures that it was trained on
            counts as held out, even if others were added, or their folder has another name by now.
        enlarge: read real pictures at `size` even if they are smaller, as a training did.
    """
    if source == "mnist":
        return mnist_evaluator()
    key = None if record is None else record.largest_held_out_key
    train, held_out = _divided(source, None, key)
    other = size is not None and (size < train.size or (enlarge and size > train.size))
    if other and not borders(source, size):
        train, held_out = _divided(source, size, key)
    return evaluator_of(train, held_out)


def borders(source: str, size: int) -> bool:
    """Whether pictures of that size lack only the black border that this data set got when read."""
    return source in BORDERED and size == BORDERED_FROM


def _divided(source: str, size: int | None, largest_key: int | None) -> tuple[ImageData, ImageData]:
    """Training and held-out pictures, divided by a model's key unless that leaves one part empty.

    Then they are other pictures than the model's.
    """
    try:
        return load_parts(source, size, largest_key)[:2]
    except ValueError:
        if largest_key is None:
            raise
        return load_parts(source, size)[:2]


def evaluator_of(train: ImageData, held_out: ImageData, cache: bool = True) -> Evaluator:
    """An evaluator of pictures that no classifier here knows.

    Raises:
        ValueError: too few held-out pictures to say anything.
    """
    if len(held_out) < FEWEST_HELD_OUT:
        raise ValueError(
            f"scores need at least {FEWEST_HELD_OUT} held-out pictures, and there are "
            f"{len(held_out)}; a folder or file should hold {10 * FEWEST_HELD_OUT} or more"
        )
    different = len(held_out.keys.unique())
    if different < FEWEST_HELD_OUT:
        verb = "is" if different == 1 else "are"
        raise ValueError(
            f"scores need at least {FEWEST_HELD_OUT} different held-out pictures, and only "
            f"{different} of the {len(held_out)} here {verb} different; the others are copies. "
            "Remove the copies, and add pictures"
        )
    network = RandomFeatures(train.channels, min(64, len(held_out) // 4))
    network.fit_whitening(train.as_tensors()[0])
    return Evaluator(train, held_out, network, "random filters", cache)


@lru_cache
def mnist_evaluator() -> Evaluator:
    """The course's evaluator: MNIST's training split, the official test split as the floor."""
    return Evaluator(load("mnist"), load("mnist", "test"), bundled_classifier(), "mnist_features")
