"""What a page gets beyond its source: links to the glossary and to each formula's code, and words
for its figures.

Notebooks are read in JupyterLab and on GitHub too, where Sphinx's roles would be raw text. So they
are written without, and these links are made when the site is built.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx

import book_tables

GLOSSARY, EQUATIONS = "book/glossary", "book/equation_to_code"
EVERYBODY_KNOWS = ("Python",)
WITHOUT_TERMS = {GLOSSARY, EQUATIONS, "book/api", "book/bibliography", "book/contributing"}
UNTOUCHED = (
    nodes.reference,
    nodes.title,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.rubric,
    nodes.caption,
)
TOLD = re.compile(r"^(What happened|Explain|Symptom)\.\s+(.+?[.!?])(\s|$)", re.DOTALL)
NAMED = {"title", "suptitle", "xlabel", "ylabel", "label"}


# --------------------------------------------------------------------------- the glossary
def glossary(app: Sphinx) -> dict[str, str]:
    """Each term of the glossary, and the place in it."""
    objects = app.env.domaindata["std"]["objects"]
    return {
        name: place
        for (kind, name), (page, place) in objects.items()
        if kind == "term" and page == GLOSSARY and name not in EVERYBODY_KNOWS
    }


def pattern(term: str) -> str:
    """Where a term is used: abbreviations as they are, words with any capitals."""
    spelled = re.escape(term).replace("'", "['’]")
    if term[:1].islower():
        spelled = f"(?i:{spelled})"
    return rf"(?<![\w-]){spelled}(?![\w-])"


def first_use(text: str, terms: dict[str, str]) -> tuple[re.Match, str] | None:
    """The first term in a text, the longest where several begin there, and its place."""
    match = any_of(tuple(terms)).search(text)
    if match is None:
        return None
    spelled = {term.lower(): place for term, place in terms.items()}
    return match, spelled[match[0].lower().replace("’", "'")]


@functools.lru_cache(maxsize=256)
def any_of(terms: tuple[str, ...]) -> re.Pattern:
    """Finds any of these terms."""
    return re.compile("|".join(pattern(term) for term in sorted(terms, key=len, reverse=True)))


def link_terms(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """The first use of each term on a page leads to the glossary."""
    uri, terms = app.builder.get_relative_uri(page, GLOSSARY), glossary(app)
    for link in doctree.findall(nodes.reference):  # those that the page sets itself
        place = link.get("refuri", "").partition("#")[2]
        terms = {term: where for term, where in terms.items() if where != place}
    for text in [*doctree.findall(nodes.Text)]:
        if not terms or inside(text, UNTOUCHED) or not inside(text, (nodes.paragraph,)):
            continue
        parts, rest = [], text.astext()
        while found := first_use(rest, terms):
            match, place = found
            link = nodes.reference("", match[0], refuri=f"{uri}#{place}", internal=True)
            link["classes"].append("glossary-term")
            parts += [nodes.Text(rest[: match.start()]), link]
            rest = rest[match.end() :]
            terms = {term: where for term, where in terms.items() if where != place}
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(rest)])


def inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    """Whether a node stands in one of these kinds."""
    while (node := node.parent) is not None:
        if isinstance(node, kinds):
            return True
    return False


# --------------------------------------------------------------------------- formulas
def link_formulas(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Under each displayed formula that the list knows: a link to its code and its test."""
    uri, numbers = app.builder.get_relative_uri(page, EQUATIONS), book_tables.equation_numbers()
    for formula in [*doctree.findall(nodes.math_block)]:
        number = numbers.get(book_tables.plain_tex(formula.astext()))
        if number is None:
            continue
        link = nodes.reference(
            "", f"({number}) code and test", refuri=f"{uri}#equation-{number}", internal=True
        )
        place = formula.parent if isinstance(formula.parent, nodes.paragraph) else formula
        line = nodes.paragraph("", "", link, classes=["equation-link"])
        place.parent.insert(place.parent.index(place) + 1, line)


# --------------------------------------------------------------------------- figures
def plain(words: str) -> str:
    """A text without the signs of its formulas."""
    return " ".join(re.sub(r"\$|\\[a-zA-Z]+|[{}\\]", " ", words).split())


def spoken(node: ast.expr) -> str:
    """A text of the code, with three dots for what only running it would tell; else nothing."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return plain(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        return plain("".join(parts))
    return ""


def named(source: str) -> Iterator[str]:
    """What a cell's code calls its axes, lines, panels and rows of pictures, in order."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name.removeprefix("set_") in NAMED and node.args:
                yield spoken(node.args[0])
            yield from (spoken(k.value) for k in node.keywords if k.arg in NAMED)
            keys = [d.keys for d in node.args if isinstance(d, ast.Dict)]
            yield from (spoken(key) for some in keys for key in some if key is not None)
        if isinstance(node, ast.Assign):
            value = node.value
            listed = getattr(value, "keys", None) or getattr(value, "elts", None) or []
            yield from (word for word in map(spoken, filter(None, listed)) if len(word) > 3)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            yield spoken(node.slice)


def figure_words(source: str, told: str, section: str) -> str:
    """A figure's alternative text: its names in the code, and the sentence that explains it."""
    try:
        names = list(dict.fromkeys(word for word in named(source) if word.strip("… ")))
    except SyntaxError:  # a cell with a command of IPython
        names = []
    begin = f"Figure: {'; '.join(names[:12])}." if names else f"Figure in the section “{section}”."
    return f"{begin} {told}".strip()


def describe_figures(doctree: nodes.document) -> None:
    """Give every figure that code made, and that has no words of its own, an alternative text."""
    cells = [one for one in doctree.findall(nodes.container) if "cell" in one["classes"]]
    for cell in cells:
        source = next(iter(cell.findall(nodes.literal_block)), None)
        section = cell.parent
        title = next((c.astext() for c in section.children if isinstance(c, nodes.title)), "")
        after = section.index(cell) + 1
        follows = next(
            (c for c in section.children[after:] if "cell" not in c.get("classes", ())), None
        )
        match = TOLD.match(follows.astext()) if isinstance(follows, nodes.paragraph) else None
        told = plain(match[2]) if match else ""
        for image in cell.findall(nodes.image):
            if not image.get("alt"):
                image["alt"] = figure_words(source.astext() if source else "", told, title)


def on_resolved(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Sphinx hands over each page, before it is written."""
    if app.builder.format != "html":
        return
    if page.startswith("notebooks/"):
        describe_figures(doctree)
        link_formulas(app, doctree, page)
    if page not in WITHOUT_TERMS:
        link_terms(app, doctree, page)


def setup(app: Sphinx) -> dict:
    """Connect to Sphinx."""
    app.connect("doctree-resolved", on_resolved)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
