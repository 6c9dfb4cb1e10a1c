"""What only a notebook understands, as Python: `%magic`, `%%magic`, `!shell`, `name?`.

IPython's own input transformer turns these lines into calls of `get_ipython()`. Calls that run
Python (`%time x = f()`, `%%capture`) are replaced by the code that they run, so that its names are
seen; the other calls stay, and go to a `Shell` that does next to nothing. Where IPython is not
installed, such lines are left out. IPython is asked only about cells that are no Python as they
stand.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

LINE = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)
HEAD = re.compile(r"\s*%%(\w+)[^\n]*\n?")
RUNNING = ("time", "capture", "prun", "python", "python3", "pypy", "memit", "mprun", "lprun")
WRITING = ("writefile", "file")
OPTION = re.compile(r"\s*-\S+\s+(?:\d+\s+)?")  # of a magic: `%prun -l 5 train()`


class Shell:
    """In place of IPython's shell: of what it is asked, little is done, and nothing outside."""

    def __init__(self, names: dict[str, Any] | None = None) -> None:
        self.user_ns = {} if names is None else names

    def getoutput(self, *_: Any, **__: Any) -> list[str]:
        """What a command printed: no line, since no command is run."""
        return []

    def run_line_magic(self, name: str, line: str = "", *_: Any) -> None:
        """`%run file.py` runs a file that was handed in; other magics do nothing."""
        if name == "run" and line.split():
            file = Path(line.split()[0])
            exec(compile(file.read_text(encoding="utf-8-sig"), str(file), "exec"), self.user_ns)

    def run_cell_magic(self, name: str, line: str, text: str = "") -> None:
        """`%%writefile file.py` writes the file, unless it was handed in; others do nothing."""
        if name in WRITING and line.split() and not Path(line.split()[-1]).exists():
            Path(line.split()[-1]).write_text(text, encoding="utf-8")

    def __getattr__(self, name: str) -> Nothing:
        return Nothing()


class Nothing:
    """Any other part of the shell (`events.register`, say): it can be called, to no effect."""

    def __call__(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Nothing:
        return self


def parses(source: str) -> bool:
    """Whether the source is Python as it stands."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def cleaned(source: str) -> str:
    """The source as Python as far as possible; Python is returned as it is."""
    source = source.lstrip("\ufeff").replace("\r\n", "\n")
    if parses(source):
        return source
    transformed = _transformed(source)
    return _without_ipython(source) if transformed is None else _unwrapped(transformed)


def _transformed(source: str) -> str | None:
    """What IPython makes of a cell; None where it is not installed or makes no Python of it."""
    try:
        from IPython.core.inputtransformer2 import TransformerManager

        text = TransformerManager().transform_cell(source)
    except Exception:  # not installed, or code so broken that IPython gives up
        return None
    return text if parses(text) else None


def _without_ipython(source: str) -> str:
    """Without the lines that are not Python; of a `%%` cell only if its body runs as Python."""
    if head := HEAD.match(source):
        return cleaned(source[head.end() :]) if head[1] in RUNNING else ""
    return LINE.sub(_line, source)


def _line(match: re.Match[str]) -> str:
    """A line that begins with % or !: the code that `%time` runs, else a pass."""
    words = match[0].strip().lstrip("%").split(maxsplit=1)
    if len(words) == 2 and match[0].lstrip()[0] == "%" and words[0] in RUNNING:
        code = _without_options(words[1])
        return match[1] + (code if parses(code) else "pass")
    return f"{match[1]}pass"


class _Unwrap(ast.NodeTransformer):
    """Calls of magics that run Python, replaced by the statements that they run."""

    def visit_Expr(self, node: ast.Expr) -> Any:
        call = magic(node.value)
        if call is None:
            return node
        kind, name, *texts = call
        if name not in RUNNING:
            return node
        code = texts[-1] if kind == "run_cell_magic" else _without_options(texts[0])
        code = cleaned(code)
        body = ast.parse(code).body if parses(code) else []
        return [*_captured(name, texts), *body] or ast.Pass()


def magic(node: ast.AST) -> list[str] | None:
    """[method, name, text, ...] of `get_ipython().run_..._magic(name, text, ...)`, else None."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    is_magic = node.func.attr in ("run_line_magic", "run_cell_magic") and len(texts) >= 2
    return [node.func.attr, *texts] if is_magic and len(texts) == len(node.args) else None


def _without_options(text: str) -> str:
    while match := OPTION.match(text):
        text = text[match.end() :]
    return text


def _captured(name: str, texts: list[str]) -> list[ast.stmt]:
    """`%%capture out` defines `out`; nothing is captured here."""
    word = texts[0].split()[-1:] if name == "capture" else []
    return ast.parse(f"{word[0]} = None").body if word and word[0].isidentifier() else []


def _unwrapped(source: str) -> str:
    tree = _Unwrap().visit(ast.parse(source))
    return ast.unparse(ast.fix_missing_locations(tree))
