"""Where the browser tests find Chromium and node; what happens where they are missing."""

from __future__ import annotations

import os
import shutil

import pytest

import book

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")


def missing(what: str) -> None:
    """Skip, or fail where the browser tests are required (LDM_REQUIRE_BROWSER, as in .ci/run)."""
    if os.environ.get("LDM_REQUIRE_BROWSER"):
        pytest.fail(f"{what}, but LDM_REQUIRE_BROWSER is set")
    pytest.skip(what)


def node_path(purpose: str) -> str:
    """The path of node, with the packages of book/package-lock.json installed."""
    node = shutil.which("node")
    if node is None:
        missing(f"node is missing: {purpose}")
    if not book.npm_install(dev=True):
        missing(f"npm could not install book/package-lock.json: {purpose}")
    return node


def chromium_path(purpose: str) -> str:
    """The path of Chromium or Chrome."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        missing(f"Chromium is missing: {purpose}")
    return found
