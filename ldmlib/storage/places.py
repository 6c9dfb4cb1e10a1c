"""Where files lie: the home folder, and the cache, also for users who have no home folder.

In a container a program may run under a user number that has no entry in the list of users. Python
then finds no home folder, and `Path.home` and `Path.expanduser` raise a RuntimeError.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PathLike = str | os.PathLike[str]


def home_folder() -> Path | None:
    """The user's home folder; None if the system knows none. It need not exist."""
    found = os.path.expanduser("~")
    return None if found.startswith("~") else Path(found)


def expanded(path: PathLike) -> Path:
    """The path with a leading ``~`` or ``~name`` replaced by that user's home folder.

    A name that no user has, as in ``~$notes.npz``, is a file's own name. Expanding a path again
    changes nothing, so ``./~/x`` stays inside the present folder.

    Raises:
        ValueError: the path begins with ``~`` alone and there is no home folder: with a folder
            named ``~`` nobody would be served.
    """
    text = os.path.expanduser(os.fspath(path))
    if Path(text).parts[:1] == ("~",) and text.startswith("~"):
        raise ValueError(
            f"{path}: ~ stands for the home folder, but this user has none. Set HOME to a folder, "
            "or give a path without ~"
        )
    begins_with_tilde = Path(text).parts[:1] and Path(text).parts[0].startswith("~")
    return Path(text).absolute() if begins_with_tilde else Path(text)


def cache_folder(variable: str = "LDMLIB_CACHE", part: str = "") -> Path:
    """The folder for what can be fetched or computed again. It is not made, and nothing is raised.

    It is ``$variable`` if that is set, else ``~/.cache/ldmlib`` and `part` in it. Where there is no
    home folder, or none that can be written, it is a folder of this user's own among the system's
    temporary files: everything works, but it may be gone after a restart.

    Args:
        variable: environment variable with which a user names another folder.
        part: folder inside the cache, "" for the cache itself.
    """
    home = home_folder()
    if wished := os.environ.get(variable):
        return Path(os.path.expanduser(wished))
    usual = home / ".cache" / "ldmlib" / part if home else None
    if usual and (os.path.isdir(usual) or _can_be_made(usual)):
        return usual
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"ldmlib-cache-{user}" / part


def _can_be_made(folder: Path) -> bool:
    # Path.exists would raise a PermissionError inside a folder that may not be entered.
    nearest = next((parent for parent in folder.parents if os.path.exists(parent)), None)
    return nearest is not None and nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
