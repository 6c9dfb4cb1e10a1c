"""Small things about the site: its first page, its glossary, the pictures of its sliders."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sphinx.application import Sphinx

import book_frames

FIRST_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"><title>{title}</title>
<meta http-equiv="refresh" content="0; url={page}"><link rel="canonical" href="{page}">
</head>
<body><p><a href="{page}">{title}</a></p></body>
</html>
"""


def write_first_page(app: Sphinx, error: Exception | None) -> None:
    """index.html at the top leads to the first page; .nojekyll lets GitHub serve _static."""
    if error is None and app.builder.name == "html":
        page = f"{app.config.root_doc}.html"
        folder = Path(app.outdir)
        html = FIRST_PAGE.format(title=app.config.project, page=page)
        (folder / "index.html").write_text(html, encoding="utf-8")
        (folder / ".nojekyll").touch()


def read_glossary(app: Sphinx, page: str, source: list[str]) -> None:
    """The glossary is written as a Markdown definition list, as Jupyter Book 2 wants it.

    Sphinx wants the definition indented below its term, without the colon.
    """
    if page == "book/glossary":
        source[0] = re.sub(r"^: ", "  ", source[0], flags=re.MULTILINE)


def add_frames(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Tell a notebook's page which pictures of its sliders there are."""
    if frames := book_frames.manifest(page):
        app.add_js_file(None, body=f"window.LDM_FRAMES = {json.dumps(frames)};")


def setup(app: Sphinx) -> dict:
    """Connect to Sphinx."""
    app.connect("source-read", read_glossary)
    app.connect("html-page-context", add_frames)
    app.connect("build-finished", write_first_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
