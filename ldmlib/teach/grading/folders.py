"""Folders that somebody else filled: copied with limits, weighed, and removed however deep."""

from __future__ import annotations

import os
import shutil
import stat
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path

LARGEST_FOLDER = 50_000_000  # bytes of files beside a notebook that are copied with it
MOST_FILES = 500


def copy_beside(notebook: Path, target: Path) -> str:
    """Copy the files that lie beside a notebook but other notebooks, the smallest ones first.

    Pipes, devices, links and folders are no files. Returns which files were left out, and why; ""
    where none was.
    """
    folder = Path(os.path.realpath(notebook)).parent
    files = sorted(_files(folder), key=lambda file: (file[0], os.fsencode(file[1])))
    size, copied, refused = 0, 0, []
    for bytes_of_file, name in files:
        size += bytes_of_file
        if size > LARGEST_FOLDER or copied == MOST_FILES:
            rest = len(files) - copied - len(refused)
            limit = f"{MOST_FILES} files and {LARGEST_FOLDER / 1e6:.0f} MB are copied at most"
            return f"{rest} of {len(files)} files beside the notebook were left out: {limit}"
        try:
            _copy(folder / name, target)
            copied += 1
        except OSError:
            refused.append(name)
    named = ", ".join(refused[:3]) + ", ..." * (len(refused) > 3)
    return f"beside the notebook, this could not be read: {named}" if refused else ""


def _files(folder: Path) -> Iterator[tuple[int, str]]:
    """(size, name) of the regular files in a folder; of what is gone or hidden, none."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            state = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISREG(state.st_mode) and not entry.name.lower().endswith(".ipynb"):
            yield state.st_size, entry.name


def _copy(file: Path, folder: Path) -> None:
    """Copy a file, under its name as code would write it, too: a Mac stores accents apart."""
    shutil.copyfile(file, folder / file.name, follow_symlinks=False)
    composed = unicodedata.normalize("NFC", file.name)
    if not (folder / composed).exists():
        shutil.copyfile(file, folder / composed, follow_symlinks=False)


def weigh(folder: Path) -> tuple[int, int]:
    """Bytes and number of all that a folder holds; what cannot be seen weighs nothing."""
    size, count, waiting = 0, 0, [os.fspath(folder)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            count += 1
            try:
                size += entry.stat(follow_symlinks=False).st_size
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
            except OSError:
                continue
    return size, count


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, nested a thousand deep or closed to its owner.

    Inner folders are moved up before they are emptied, so that no path gets long. Like
    `shutil.rmtree(ignore_errors=True)`, what cannot be removed is left.
    """
    try:
        while inner := [e.path for e in os.scandir(folder) if e.is_dir(follow_symlinks=False)]:
            for path in inner:
                _flatten(path, folder)
        shutil.rmtree(folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def _flatten(path: str, top: Path) -> None:
    """Remove a folder; the folders in it are moved to `top`."""
    os.chmod(path, stat.S_IRWXU)
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.path, stat.S_IRWXU)
            os.rename(entry.path, top / uuid.uuid4().hex)
        else:
            os.unlink(entry.path)
    os.rmdir(path)
