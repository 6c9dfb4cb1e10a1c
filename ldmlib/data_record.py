"""What a model remembers about its data, and the line that says what was read."""

from __future__ import annotations

from dataclasses import dataclass

from ldmlib.image_data import ImageData

MOST_NAMED = 12  # classes listed by name in a message


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
        """The inverse of `dataclasses.asdict`, for what was read from ``config.json``."""
        return cls(**{**values, "classes": tuple(values["classes"])})

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.count:,} {colour(self.channels)} pictures of {self.size} x "
            f"{self.size}, {self.held_out:,} more held out; {listed(self.classes)}"
        )


def described(train: ImageData, held_out: ImageData) -> str:
    """One line about data that were read, so that a wrong folder is seen before the first step."""
    return f"Read {DataRecord.of(train, held_out)}."


def colour(channels: int) -> str:
    """ "grey" or "RGB"."""
    return {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")


def listed(classes: tuple[str, ...]) -> str:
    """Classes with their numbers: "3 classes: 0 cat, 1 dog, 2 eel", or "10 classes: 0 to 9"."""
    if not classes:
        return "no classes"
    if classes == tuple(map(str, range(len(classes)))):
        return f"{len(classes)} classes: 0 to {len(classes) - 1}"
    named = ", ".join(f"{i} {name}" for i, name in enumerate(classes[:MOST_NAMED]))
    more = f", ... {len(classes) - 1} {classes[-1]}" if len(classes) > MOST_NAMED else ""
    return f"{len(classes)} classes: {named}{more}"
