"""Docstrings written for reading in an editor, made into reStructuredText.

They are plain text in Google style: `name` is code, an indented block or a Markdown table is shown
as it stands, and `*`, `|` and `name_` mean themselves.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx

SECTION = re.compile(r"^\s*(Args|Returns|Raises|Yields|Attributes|Example|Examples|Note):\s*$")
LITERAL = re.compile(r"(``[^`]+``|`[^`\n]+`)")
SPECIAL = re.compile(r"([*|\\])|(?<=\w)_(?=\W|$)")


def plain(text: str) -> str:
    """One line of prose: `code` becomes ``code``, and signs of the markup lose their meaning."""
    parts = LITERAL.split(text)
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = f"``{part.strip('`')}``"
        else:
            parts[i] = SPECIAL.sub(lambda sign: "\\" + sign[0], part)
    return "".join(parts)


def indent(line: str) -> int:
    """How many spaces a line begins with."""
    return len(line) - len(line.lstrip())


def convert(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText; sections such as Args are left to napoleon."""
    out: list[str] = []
    block = in_section = False
    for i, line in enumerate(lines):
        blank = not line.strip()
        if SECTION.match(line):
            in_section = True
        elif not blank and indent(line) == 0:
            in_section = False
        after_blank = i > 0 and not lines[i - 1].strip()
        shown = not blank and not in_section and (indent(line) >= 4 or line.startswith("|"))
        if shown and not block and (after_blank or line.startswith("|")):
            out += ["", "::", ""]
            block = True
        elif not blank and not shown:
            if block and not after_blank:
                out.append("")
            block = False
        out.append("    " + line if block and not blank else plain(line))
    return out


def on_docstring(app: Sphinx, what: str, name: str, thing: object, options, lines) -> None:
    """Sphinx hands over each docstring, before napoleon reads it."""
    lines[:] = convert(lines)


def setup(app: Sphinx) -> dict:
    """Connect to Sphinx, before napoleon does its part."""
    app.connect("autodoc-process-docstring", on_docstring, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
