"""How a folder of pictures is arranged: which files belong to it, their classes, and its parts.

Classes are the folders of one level: the first one that holds more than one folder with pictures.
Folders that only wrap another one are passed over, and so are folders such as ``train`` and
``test``, which divide the pictures instead of naming what is on them.
"""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ldmlib.data.names import counted, in_natural_order, is_unicode, natural, printable, some

SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".webp", ".avif", ".gif"),
    *(".heic", ".heif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
}
NOTES = {  # files that lie beside pictures without being any: no reason for a warning
    *(".txt", ".md", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".html", ".log", ".ini"),
    *(".py", ".ipynb", ".db", ".lst", ".names", ""),
}
TABLES = {".csv", ".tsv", ".json", ".jsonl", ".xml", ".parquet", ".xlsx", ".mat"}
BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")  # of files whose name says nothing
NOT_OURS = {"__MACOSX", "@eaDir"}  # copies and thumbnails that computers add; so are hidden ones
TRAIN = {"train", "training", "trainset", "trn"}
HELD_OUT = {"test", "testing", "testset", "tst", "val", "valid", "validation", "valset", "dev"}
HELD_OUT |= {"eval", "evaluation", "heldout", "holdout"}
MOST_OUTSIDE = 0.25  # share of pictures outside of class folders that are left out for the others
Parts = tuple[str, ...]  # of the path of a file, from the folder of pictures on


@dataclass
class Layout:
    """The pictures of a folder, in natural order.

    Attributes:
        files: their paths.
        classes: class of each, None for one without.
        held_out: whether each belongs to a part such as ``test``; None in a folder without parts.
        others: number of files of other kinds, by suffix.
        left_out: pictures that were found and are not among the files.
    """

    files: list[Path] = field(default_factory=list)
    classes: list[str | None] = field(default_factory=list)
    held_out: list[bool] | None = None
    others: Counter = field(default_factory=Counter)
    left_out: int = 0

    def picked(self, places: Iterable[int]) -> Layout:
        """The pictures at these places, in their order."""
        places = list(places)
        held_out = None if self.held_out is None else [self.held_out[i] for i in places]
        files, classes = [self.files[i] for i in places], [self.classes[i] for i in places]
        return Layout(files, classes, held_out, self.others, self.left_out)


def find_pictures(folder: Path) -> Layout:
    """Every picture in a folder and the folders in it, with its class; warns about what is odd.

    Links are followed, each file is taken once. Hidden files and folders are left out.

    Raises:
        FileNotFoundError, NotADirectoryError, PermissionError: no such folder, or a closed one.
        ValueError: the name of a class folder is not text.
    """
    _check_folder(folder)
    files = [(path.relative_to(folder).parts, path) for path in _all_files(folder)]
    files.sort(key=lambda item: [natural(part) for part in item[0]])
    known = [_is_picture(path) for _, path in files]
    pictures = [item for item, is_one in zip(files, known, strict=True) if is_one]
    others = [item[0] for item, is_one in zip(files, known, strict=True) if not is_one]
    layout = _arranged([parts for parts, _ in pictures], others)
    layout.files = [path for _, path in pictures]
    layout.others = Counter(map(_suffix, others))
    _check_names(folder, layout.classes)
    layout.classes = _one_form(layout.classes)
    layout = _without_strays(folder, layout)
    _warn_of_similar(folder, layout.classes)
    _warn_of_tables(folder, layout.classes, others)
    return layout


def _is_picture(path: Path) -> bool:
    """By its suffix; a file without any is looked into."""
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    try:
        with open(path, "rb") as file:
            return file.read(12).startswith(BEGINNINGS)
    except OSError:
        return False


def _check_folder(folder: Path) -> None:
    name = printable(folder)
    if not folder.exists():
        raise FileNotFoundError(f"expected a folder of pictures at {name}, found nothing there")
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder of pictures, but {name} is a file")
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise PermissionError(f"{name} cannot be opened: {error.strerror}") from error


def _ignored(name: str) -> bool:
    return name.startswith(".") or name in NOT_OURS


def _all_files(folder: Path) -> list[Path]:
    """All files, each once. What lies in the folder itself comes before what links lead to."""
    root, seen, closed, twice = Path(os.path.realpath(folder)), set(), [], 0
    own, links = {}, []  # path of each file by where it really lies, and links to files
    inside, linked = [folder], []
    while inside or linked:
        here = inside.pop() if inside else linked.pop(0)
        real = Path(os.path.realpath(here))
        if real in seen or (seen and root.is_relative_to(real)):
            twice += 1  # a loop, or a second way to the same folder
            continue
        seen.add(real)
        try:
            entries = [entry for entry in os.scandir(here) if not _ignored(entry.name)]
        except OSError:
            closed.append(here.name)
            continue
        for entry in entries:
            path = Path(here, entry.name)
            if entry.is_symlink():
                (linked if os.path.isdir(path) else links).append(path)
            elif entry.is_dir(follow_symlinks=False):
                inside.append(path)
            elif entry.is_file(follow_symlinks=False):  # no pipes, on which reading would wait
                own[real / entry.name] = path
        linked.sort()
    return _with_links(folder, own, links, closed, twice)


def _with_links(
    folder: Path, own: dict[Path, Path], links: list[Path], closed: list[str], twice: int
) -> list[Path]:
    """Files and what links to files lead to; warns about links and folders that are left out."""
    broken = []
    for link in sorted(links):
        real = Path(os.path.realpath(link))
        if not os.path.isfile(link):
            broken.append(link.name)
        elif real in own:
            twice += 1
        else:
            own[real] = link
    name = printable(folder)
    if twice:
        what = counted(twice, "link leads", "links lead")
        _warn(f"{name}: {what} to what is read already; it is read once")
    if broken:
        what = counted(len(broken), "link that leads", "links that lead")
        _warn(f"{name}: left out {what} nowhere ({some(broken)})")
    if closed:
        what = counted(len(closed), "folder")
        _warn(f"{name}: pictures may be missing, as {what} may not be opened ({some(closed)})")
    return list(own.values())


def split_of(name: str) -> str | None:
    """ "train" or "test" for the name of a folder (or array) that is one part of a data set."""
    words = set(re.findall("[a-z]+", name.casefold()))
    train, test = bool(words & TRAIN), bool(words & HELD_OUT)
    return None if train == test else "train" if train else "test"


def _names_at(files: list[Parts], depth: int) -> set[str]:
    """The folders at a level, of files that lie in one."""
    return {parts[depth] for parts in files if len(parts) > depth + 1}


def _level(files: list[Parts], depth: int = 0) -> int:
    """The first level from `depth` on that does not consist of a single folder."""
    while len(_names_at(files, depth)) == 1:
        depth += 1
    return depth


def _at(parts: Parts, depth: int) -> str | None:
    return parts[depth] if len(parts) > depth + 1 else None


def _arranged(files: list[Parts], others: list[Parts]) -> Layout:
    """Classes and parts from the paths alone."""
    depth = _level(files)
    names = _names_at(files, depth)
    _warn_of_empty(files, others)
    splits = {split_of(name) for name in names}
    if splits == {"train", "test"}:
        return _of_parts(files, depth)
    if {"train", "test"} < splits:
        known = in_natural_order(name for name in names if split_of(name))
        _warn(
            f"the folders {some(known, 9)} are taken for classes, as other folders of pictures lie "
            "beside them; if they divide the pictures, move the others away"
        )
    elif len(splits) == 1 and None not in splits:  # val and test alone, or train1 and train2
        missing = "train" if "test" in splits else "test"
        _warn(
            f"the folders {some(in_natural_order(names), 9)} look like parts of one set, and there "
            f"is none called {missing} beside them: all pictures are read as one set"
        )
        return Layout(classes=_classes_below(files, names, depth))
    classes = [_at(parts, depth) for parts in files] if len(names) > 1 else [None] * len(files)
    return Layout(classes=classes, held_out=_divided_below(files, classes, depth + 1))


def _divided_below(files: list[Parts], classes: list, depth: int) -> list[bool] | None:
    """Held-out pictures of a folder like cat/train, cat/test, dog/train, dog/test."""
    if None in classes:
        return None
    splits = [split_of(_at(parts, depth) or "") for parts in files]
    return [s == "test" for s in splits] if set(splits) == {"train", "test"} else None


def _of_parts(files: list[Parts], depth: int) -> Layout:
    """The layout of train/cat, train/dog, test/cat, test/dog; all held-out parts count as one.

    Classes are those of the training part.
    """
    splits = [split_of(_at(parts, depth) or "") for parts in files]
    names = {name for name in _names_at(files, depth) if split_of(name) == "train"}
    train = [p if s == "train" else () for p, s in zip(files, splits, strict=True)]
    classes = _classes_below(train, names, depth)
    known = {_composed(name) for name in classes if name}
    for i, (parts, split) in enumerate(zip(files, splits, strict=True)):
        if split == "test":
            below = [part for part in parts[depth + 1 : -1] if _composed(part) in known]
            classes[i] = below[0] if below else None
    held_out = [split == "test" for split in splits]
    return Layout(classes=classes, held_out=held_out)


def _classes_below(files: list[Parts], names: set[str], depth: int) -> list[str | None]:
    """Class of each file in the folders `names` at a level, each of which may have wrappers."""
    levels = {}
    for name in names:
        levels[name] = _level([p for p in files if len(p) > depth + 1 and p[depth] == name], depth)
        levels[name] = max(levels[name], depth + 1)
    classes = [_at(p, levels[p[depth]]) if _at(p, depth) in names else None for p in files]
    return classes if len(set(classes) - {None}) > 1 else [None] * len(files)


def _suffix(parts: Parts) -> str:
    return Path(parts[-1]).suffix.lower()


def _warn_of_empty(files: list[Parts], others: list[Parts]) -> None:
    """Name the folders that hold only files of other kinds: a class may be missing for it."""
    with_pictures = {parts[:n] for parts in files for n in range(1, len(parts))}
    empty: dict[Parts, Counter] = {}
    for parts in others:
        above = [parts[:n] for n in range(1, len(parts)) if parts[:n] not in with_pictures]
        if above and _suffix(parts) not in NOTES:
            empty.setdefault(above[0], Counter())[_suffix(parts)] += 1
    if empty and files:
        found = [f"{printable('/'.join(k))}: {kinds(v)}" for k, v in empty.items()]
        more = f"; and {len(empty) - 5} more" if len(empty) > 5 else ""
        _warn(
            f"{counted(len(empty), 'folder')} without a single picture of a known kind "
            f"({'; '.join(found[:5])}{more}): nothing is learned from there; convert the files to "
            ".png if they are pictures"
        )


def kinds(counts: Counter) -> str:
    """``8 .psd, 1 .zip``."""
    named = [f"{n:,} {printable(suffix) or 'without suffix'}" for suffix, n in counts.most_common()]
    return ", ".join(named[:6]) + (", ..." if len(named) > 6 else "")


def _check_names(folder: Path, classes: list[str | None]) -> None:
    odd = [name for name in set(classes) if name and not is_unicode(name)]
    if odd:
        raise ValueError(
            f"{printable(folder)}: the name of the class folder {printable(odd[0])} is not UTF-8 "
            "text (an archive from another system, perhaps); rename the folder"
        )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _one_form(classes: list[str | None]) -> list[str | None]:
    """Class names in the composed form of Unicode, so that they are the same on every system."""
    names = Counter(_composed(name) for name in set(classes) if name)
    double = [name for name, n in names.items() if n > 1]
    if double:
        _warn(
            f"some class folders have names that look the same and differ only in their Unicode "
            f"form ({some(double)}): they are read as one class"
        )
    return [name and printable(_composed(name)) for name in classes]


def _without_strays(folder: Path, layout: Layout) -> Layout:
    """Without the few pictures that lie outside of class folders; of many, nothing is left out."""
    held_out = layout.held_out or [False] * len(layout.files)
    train = [i for i, held in enumerate(held_out) if not held]
    outside = [i for i in train if layout.classes[i] is None]
    if not outside or len(outside) == len(train):
        return layout
    count, name = counted(len(outside), "picture"), printable(folder)
    names = some((layout.files[i].name for i in outside), 3)
    if len(outside) > MOST_OUTSIDE * len(layout.files):
        _warn(
            f"{name}: outside of the class folders there are {count} of {len(train):,} ({names}), "
            "so that all are read without classes; move these into class folders, or away"
        )
        layout.classes = [None] * len(layout.files)
        return layout
    _warn(
        f"{name}: left out {count} outside of the class folders ({names}); the other "
        f"{len(layout.files) - len(outside):,} keep their classes"
    )
    layout.left_out = len(outside)
    return layout.picked(sorted(set(range(len(layout.files))) - set(outside)))


def _warn_of_similar(folder: Path, classes: list[str | None]) -> None:
    names: dict[str, list[str]] = {}
    for name in in_natural_order({name for name in classes if name}):
        names.setdefault(" ".join(name.casefold().split()), []).append(name)
    for similar in names.values():
        if len(similar) > 1:
            _warn(
                f"{printable(folder)}: the class folders {' and '.join(map(repr, similar))} differ "
                "only in capitals or spaces and are different classes; rename one if they are not"
            )


def _warn_of_tables(folder: Path, classes: list[str | None], others: list[Parts]) -> None:
    """Labels in a table are not read, which should not go unnoticed."""
    tables = [parts[-1] for parts in others if _suffix(parts) in TABLES]
    if tables and classes and not any(classes):
        _warn(
            f"{printable(folder)}: read without classes, as these come from sub-folders alone; "
            f"{some(tables)} may hold labels and is not read"
        )


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=4)
