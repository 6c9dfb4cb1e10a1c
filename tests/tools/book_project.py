"""What the site's builder, its Sphinx settings and its tests all ask of the project's files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
BUILD = BOOK / "_build"
TOC = BOOK / "_toc.yml"
SOURCES = (".md", ".ipynb")
REPOSITORY = re.compile(r'^Repository = "https://github\.com/([\w.-]+/[\w.-]+)"$', re.MULTILINE)


def repository() -> str:
    """OWNER/NAME of the project's repository, from pyproject.toml: the one place where it is set.

    Raises:
        ValueError: there is no such line.
    """
    found = REPOSITORY.search((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(
            'pyproject.toml needs a line `Repository = "https://github.com/OWNER/NAME"` '
            "under [project.urls]"
        )
    return found[1]


def repository_url() -> str:
    """The address of the project's repository."""
    return f"https://github.com/{repository()}"


def package_version(name: str) -> str:
    """The version of an npm package that book/package.json asks for."""
    return json.loads((BOOK / "package.json").read_text(encoding="utf-8"))["dependencies"][name]


def source_of(page: str) -> Path | None:
    """The file of a page that the table of contents names without suffix; None if not there."""
    return next((ROOT / (page + end) for end in SOURCES if (ROOT / (page + end)).is_file()), None)


def toc_pages(toc: dict) -> list[str]:
    """All pages of a table of contents in format jb-book, the first page included."""
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *chapters]


def read_toc() -> dict:
    """The table of contents, as it is written."""
    return yaml.safe_load(TOC.read_text(encoding="utf-8"))


def pages() -> list[str]:
    """The pages that are listed and there, in order."""
    return [page for page in toc_pages(read_toc()) if source_of(page)]


def complete() -> bool:
    """Whether every page that the table of contents lists is there."""
    return len(pages()) == len(toc_pages(read_toc()))


def existing_toc() -> Path:
    """Write the table of contents without pages that are still to come; returns its path."""
    toc = read_toc()
    for part in toc["parts"]:
        part["chapters"] = [chapter for chapter in part["chapters"] if source_of(chapter["file"])]
    toc["parts"] = [part for part in toc["parts"] if part["chapters"]]
    BUILD.mkdir(exist_ok=True)
    path = BUILD / "toc.yml"
    path.write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf-8")
    return path
