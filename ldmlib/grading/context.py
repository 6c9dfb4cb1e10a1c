"""Which statements of a notebook an exercise needs: a slice through it, from the answer backwards.

    model = load(...)        needed, since the answer reads `model`
    train(model, data)       left out: it defines nothing that is asked for
    answer = model(x)        the answer
    x = 3                    left out: the answer read an earlier `x`

So an exercise that needs no training is graded without one. Cells that the reader wrote or changed
are taken whole, as they may change what they do not define; of the course's own cells, single
statements are taken. Names are found with Python's own symbol tables.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

MAGIC = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)
# What a cell defines that is no valid Python, as far as one can see.
BINDING = re.compile(r"^(?:def |class )(\w+)|^(\w+)\s*=(?!=)", re.MULTILINE)


@dataclass(frozen=True)
class Piece:
    """Something to run: its source, the names that it defines, and those that it reads."""

    source: str
    binds: frozenset[str]
    reads: frozenset[str]


def cleaned(source: str) -> str:
    """The source without IPython's lines (`%magic`, `!shell`); nothing of a `%%` cell is left."""
    if source.lstrip().startswith("%%"):
        return ""
    return source if _parses(source) else MAGIC.sub(r"\1pass", source)


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


class _Generators(ast.NodeTransformer):
    """Comprehensions as generators: since Python 3.12 others share the scope that they stand in."""

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp) -> ast.GeneratorExp:
        return self.generic_visit(ast.GeneratorExp(node.elt, node.generators))

    visit_SetComp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> ast.GeneratorExp:
        pair = ast.Tuple([node.key, node.value], ast.Load())
        return self.generic_visit(ast.GeneratorExp(pair, node.generators))


def _names(source: str) -> symtable.SymbolTable:
    return symtable.symtable(ast.unparse(_Generators().visit(ast.parse(source))), "<cell>", "exec")


def bound(source: str) -> frozenset[str]:
    """Names that the source defines at its top level; guessed where it is no valid Python."""
    if not _parses(source):
        return frozenset(first or second for first, second in BINDING.findall(source))
    symbols = _names(source).get_symbols()
    return frozenset(s.get_name() for s in symbols if s.is_assigned() or s.is_imported())


def read(source: str) -> frozenset[str]:
    """Global names that the source reads, inside of its functions too."""
    if not _parses(source):
        return frozenset()
    names, tables = set(), [_names(source)]
    while tables:
        table = tables.pop()
        is_top = table.get_type() == "module"
        symbols = (s for s in table.get_symbols() if is_top or s.is_global())
        names |= {s.get_name() for s in symbols if s.is_referenced()}
        tables += table.get_children()
    return frozenset(names)


def pieces(cells: Iterable[str], known: Collection[str] = ()) -> list[Piece]:
    """Cells as pieces in order: a `known` cell by its statements, another one whole."""
    sources: list[str] = []
    for cell in cells:
        if cell in known and _parses(cell):
            sources += [ast.unparse(statement) for statement in ast.parse(cell).body]
        else:
            sources.append(cell)
    return [Piece(source, bound(source), read(source)) for source in sources]


def needed(notebook: Sequence[Piece], names: Iterable[str]) -> list[Piece]:
    """The pieces that give `names` their last values, with all that these need, in their order."""
    chosen: set[int] = set()
    asked = [(name, len(notebook)) for name in names]
    while asked:
        name, place = asked.pop()
        found = _definition(notebook, name, place)
        if found is not None and found not in chosen:
            chosen.add(found)
            asked += [(other, found) for other in notebook[found].reads]
    return [notebook[i] for i in sorted(chosen)]


def _definition(notebook: Sequence[Piece], name: str, place: int) -> int | None:
    """Where `name` was last defined before `place`; else where it is first defined after it."""
    places = [i for i, piece in enumerate(notebook) if name in piece.binds and i != place]
    before = [i for i in places if i < place]
    return before[-1] if before else next(iter(places), None)
