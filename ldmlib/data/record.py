"""What a model remembers about its data, and the line that says what was read."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields

from ldmlib.data.dataset import ImageData
from ldmlib.data.names import counted

MOST_NAMED = 12  # classes listed by name in a message
UNEVEN = 2  # times as many pictures in the largest class as in the smallest: then counts are said
MANY_COPIES = 0.02  # share of pictures that are copies of others and are worth a word


@dataclass(frozen=True)
class DataRecord:
    """The data that a model was trained on, as kept in its ``config.json``.

    Args:
        name: of the data set or folder.
        count: pictures that it was trained on.
        held_out: pictures that were kept apart.
        size: height and width of the pictures as they were read.
        channels: 1 for grey, 3 for RGB.
        classes: their names.
        sha256: of the training pictures, see `ImageData.sha256`.
        largest_held_out_key: pictures with `ImageData.keys` up to this number were held out; None
            for a set with an official test split.
    """

    name: str
    count: int
    held_out: int
    size: int
    channels: int
    classes: tuple[str, ...]
    sha256: str
    largest_held_out_key: int | None = None

    @classmethod
    def of(
        cls, train: ImageData, held_out: ImageData, largest_key: int | None = None
    ) -> DataRecord:
        """The record of a training on `train` that keeps `held_out` apart."""
        name = train.name.removesuffix(" train")
        return cls(
            name=name
            if held_out.name == f"{name} test"
            else train.name,  # the parts of a known set
            count=len(train),
            held_out=len(held_out),
            size=train.size,
            channels=train.channels,
            classes=train.classes,
            sha256=train.sha256,
            largest_held_out_key=largest_key,
        )

    @classmethod
    def from_dict(cls, values: dict) -> DataRecord:
        """The inverse of `dataclasses.asdict`, for what was read from ``config.json``.

        Entries that a later version may have added are passed over.

        Raises:
            ValueError: an entry is missing.
        """
        known = {field.name: field for field in fields(cls)}
        missing = [k for k, f in known.items() if f.default is MISSING and k not in values]
        if missing:
            raise ValueError(f"the record of the data lacks {', '.join(missing)}; was it edited?")
        kept = {key: value for key, value in values.items() if key in known}
        return cls(**{**kept, "classes": tuple(kept["classes"])})

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.count:,} {colour(self.channels)} pictures of {self.size} x "
            f"{self.size}, {self.held_out:,} more held out; {listed(self.classes)}"
        )


def described(train: ImageData, held_out: ImageData) -> str:
    """One line about data that were read, so that a wrong folder is seen before the first step.

    It says how many pictures there are to learn from and held out, of which size and colour, what
    was changed, which classes there are, with counts where these differ much, and whether many
    pictures are copies.
    """
    side = f"{train.size} x {train.size}"
    counts = None if train.labels is None else train.labels.bincount(minlength=train.num_classes)
    parts = [
        f"{counted(len(train), f'{colour(train.channels)} picture')} of {side}{_changes(train)}",
        f"{len(held_out):,} more held out",
        listed(train.classes, None if counts is None else counts.tolist()),
        _copies(train),
    ]
    return f"Read {train.name}: {'; '.join(filter(None, parts))}."


def _changes(data: ImageData) -> str:
    """What was done to pictures before they had their size, in brackets; empty for nothing."""
    origin = data.origin
    if origin is None:
        return ""
    width, height = origin.width, origin.height
    done = ["cropped to the central square"] * (width != height or not origin.alike)
    every = origin.enlarged == len(data)
    changed = min(width, height) != data.size or not origin.alike
    done += ["enlarged" if every else "resized"] * changed
    came = f"{'read as' if origin.alike else 'typically'} {width} x {height}"
    notes = [f"{came}, {' and '.join(done)}"] if done else []
    if origin.enlarged and not every:
        notes.append(f"{counted(origin.enlarged, 'smaller picture')} enlarged")
    if origin.left_out:
        notes.append(f"{counted(origin.left_out, 'file')} left out")
    return f" ({'; '.join(notes)})" if notes else ""


def _copies(data: ImageData) -> str:
    """A few pictures twice are no matter; many are, as their number says less than it seems to."""
    copies = data.copies
    return f"{copies:,} of them are copies of others" if copies > MANY_COPIES * len(data) else ""


def colour(channels: int) -> str:
    """ "grey" or "RGB"."""
    return {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")


def listed(classes: tuple[str, ...], counts: list[int] | None = None) -> str:
    """Classes with their numbers: "3 classes: 0 cat, 1 dog, 2 eel", or "10 classes: 0 to 9".

    Names that are numbers themselves stand in quotes where they differ: 0 '1', 1 '2'.

    Args:
        counts: pictures of each; they are said if the most are more than twice the fewest.
    """
    if not classes:
        return "no classes"
    uneven = counts is not None and max(counts) > UNEVEN * min(counts)
    plain = classes == tuple(map(str, range(len(classes))))
    if plain and not uneven:
        return f"{len(classes)} classes: 0 to {len(classes) - 1}"
    quoted = any(name.strip("+-").isdigit() for name in classes) and not plain
    names = [repr(name) if quoted else name for name in classes]
    named = [str(i) if plain else f"{i} {name}" for i, name in enumerate(names)]
    if uneven:
        named = [f"{name} ({n:,})" for name, n in zip(named, counts, strict=True)]
    more = f", ... {named[-1]}" if len(named) > MOST_NAMED else ""
    return f"{len(classes)} classes: {', '.join(named[:MOST_NAMED])}{more}"
