"""The parts of the teacher's pages that are made by `ldm assignment`: the sheet of "example".

    python tests/tools/teach.py      write them anew

Each stands between `<!-- made from ldm assignment ... -->` and `<!-- end -->`, and is held fresh by
tests/project/test_teach.py.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from book_project import BOOK, ROOT

TEACH = BOOK / "teach"
MADE = re.compile(
    r"(<!-- made from ldm assignment (\w+) --student (\w+)( --key)? -->\n).*?(<!-- end -->)",
    re.DOTALL,
)


def made_part(name: str, student: str, key: bool) -> str:
    """A sheet as a part of a page: a quotation, without its own title."""
    from ldmlib.teach import assignments

    sheet = assignments.make(name, student)
    body = sheet.markdown(key).split("\n\n", 1)[1].replace("## Numbers", "**Numbers**")
    if key:  # the questions stand above already
        body = "\n\n".join(key_line(question) for question in sheet.questions)
    return body.strip()


def key_line(question) -> str:
    """Number of the question, answer, way."""
    from ldmlib.teach.assignments.sheet import shown

    return f"**{question.name}** {shown(question.answer)} {question.key}"


def renewed(page: Path) -> str:
    """The text of a page with its made parts written anew."""

    def make(found: re.Match) -> str:
        part = made_part(found[2], found[3], bool(found[4]))
        return f"{found[1]}\n{part}\n\n{found[5]}"

    return MADE.sub(make, page.read_text(encoding="utf-8"))


def made_pages() -> list[Path]:
    """The pages that hold a made part."""
    return [page for page in sorted(TEACH.glob("*.md")) if MADE.search(page.read_text("utf-8"))]


def main() -> int:
    """Write every made part anew."""
    for page in made_pages():
        text = renewed(page)
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: written anew")
    return 0


if __name__ == "__main__":
    sys.exit(main())
