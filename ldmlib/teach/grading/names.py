"""What a piece of source does to global names: it binds, changes and reads them.

Found with Python's own symbol tables and syntax trees; nothing is run. Source that is no Python
binds what a regular expression finds, and does nothing else.
"""

from __future__ import annotations

import ast
import re
import symtable
import unicodedata
from collections.abc import Iterator, Mapping

from ldmlib.teach.grading.magics import WRITING, magic, parses

# What a cell defines that is no valid Python, as far as one can see.
BINDING = re.compile(r"^(?:async +)?(?:def |class )(\w+)|^(\w+)\s*=(?!=)", re.MULTILINE)
# Functions that change their first argument, besides those that end in "_" as PyTorch's do.
CHANGING = {"setattr", "delattr", "shuffle", "heappush", "heapify", "insort", "copyto", "put"}
WILD = {"exec", "globals", "locals", "vars"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
TRY = (ast.Try, getattr(ast, "TryStar", ast.Try))  # `except*` came with Python 3.11
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Match, ast.Delete, *TRY)


class _Plain(ast.NodeTransformer):
    """Source as symbol tables take it: no `await`, and no scope merged into the one around it.

    Comprehensions become generators: since Python 3.12 others share the scope that they stand in.
    """

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp) -> ast.AST:
        return self.generic_visit(ast.GeneratorExp(node.elt, node.generators))

    visit_SetComp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        pair = ast.Tuple([node.key, node.value], ast.Load())
        return self.generic_visit(ast.GeneratorExp(pair, node.generators))

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        node.is_async = 0
        return self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        return self.generic_visit(ast.For(node.target, node.iter, node.body, node.orelse))

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        return self.generic_visit(ast.With(node.items, node.body))


def _table(source: str) -> symtable.SymbolTable | None:
    try:
        plain = ast.unparse(ast.fix_missing_locations(_Plain().visit(ast.parse(source))))
        return symtable.symtable(plain, "<cell>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def bound(source: str) -> frozenset[str]:
    """Names that the source defines at its top level; guessed where it is no valid Python."""
    table = _table(source)
    if table is None:
        found = (first or second for first, second in BINDING.findall(source))
        return frozenset(unicodedata.normalize("NFKC", name) for name in found)
    return frozenset(
        s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()
    )


def read(source: str) -> frozenset[str]:
    """Global names that the source reads, inside of its functions too."""
    now, later = read_when(source)
    return now | later


def read_when(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """Global names that the source reads while it runs, and those that its functions read later."""
    now: set[str] = set()
    later: set[str] = set()
    top = _table(source)
    tables = [(top, now)] if top else []
    while tables:
        table, names = tables.pop()
        is_top = table.get_type() == "module"
        symbols = (s for s in table.get_symbols() if is_top or s.is_global())
        names |= {s.get_name() for s in symbols if s.is_referenced()}
        for inner in table.get_children():
            waits = inner.get_type() == "function" and inner.get_name() != "genexpr"
            tables.append((inner, later if waits else names))
    return frozenset(now), frozenset(later)


def from_outside(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """As `read_when`, without what an earlier statement of the source defined by itself."""
    now: set[str] = set()
    later: set[str] = set()
    defined: set[str] = set()
    for statement in ast.parse(source).body:
        text = ast.unparse(statement)
        reads, waiting = read_when(text)
        now |= reads - defined
        later |= waiting
        defined |= fresh(text)
    return frozenset(now), frozenset(later)


def fresh(source: str) -> frozenset[str]:
    """Names that the source surely defines, whatever they were before: not `a += 1`, no `if`."""
    statements = list(ast.parse(source).body)
    names: set[str] = set()
    while statements:
        statement = statements.pop()
        if isinstance(statement, (ast.With, ast.AsyncWith)):
            statements += statement.body
        elif not isinstance(statement, (*BLOCKS, ast.AugAssign)):
            names |= bound(ast.unparse(statement))
    return frozenset(names)


def _now(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that are evaluated when the source runs: not the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, FUNCTIONS):
            yield child
            yield from _now(child)


def _root(node: ast.AST) -> str | None:
    """The name at the left end of `name.attribute[index]...`; None for a name or a call alone."""
    inner = node
    while isinstance(inner, (ast.Attribute, ast.Subscript, ast.Starred)):
        inner = inner.value
    return inner.id if isinstance(inner, ast.Name) else None


def changed(source: str) -> frozenset[str]:
    """Names whose values the source changes in place, as `a[0] = 1` and `a.append(1)` do."""
    return _changed(ast.parse(source))


def _changed(tree: ast.AST) -> frozenset[str]:
    names: set[str | None] = set()
    for node in _now(tree):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            names.add(_root(node))
        elif isinstance(node, ast.AugAssign):
            names.add(_root(node.target))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            names |= _changed_by_call(node.value)
    return frozenset(name for name in names if name)


def _changed_by_call(call: ast.Call) -> set[str | None]:
    """Names that a call whose result is not used may change: `a.append(1)`, `zeros_(a)`."""
    function = call.func
    names: set[str | None] = set()
    if isinstance(function, ast.Attribute):
        names.add(_root(function))
    name = getattr(function, "attr", getattr(function, "id", ""))
    if call.args and (name.endswith("_") or name in CHANGING):
        names.add(_root(call.args[0]))
    return names


def aliased(source: str) -> frozenset[str]:
    """Names whose values get another name, as in `a = b`: a change of `b` changes `a`, too."""
    found = (node.value for node in ast.parse(source).body if isinstance(node, ast.Assign))
    return frozenset(value.id for value in found if isinstance(value, ast.Name))


def setters(source: str, known: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """The functions that the source defines, each with the global names that a call of it sets.

    known: such functions of earlier cells; a function that calls one of them sets its names, too.
    """
    found: dict[str, frozenset[str]] = {}
    if not parses(source):
        return found
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = list(ast.walk(node))
            declared = {name for n in inner if isinstance(n, ast.Global) for name in n.names}
            local = {n.id for n in inner if isinstance(n, ast.Name) and _is_store(n)}
            local |= {n.arg for n in inner if isinstance(n, ast.arg)}
            called = {n.id for n in inner if isinstance(n, ast.Name)} - {node.name}
            of_others = (names for name, names in (known | found).items() if name in called)
            names = (declared | (_changed(node) - local)).union(*of_others)
            if names:
                found[node.name] = frozenset(names)
    return found


def _is_store(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def is_wild(source: str) -> bool:
    """Whether the source may define names that nobody sees: `import *`, `exec`, `%run`."""
    for node in ast.walk(ast.parse(source)):
        if (call := magic(node)) and call[1] == "run":
            return True
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            return True
        if isinstance(node, ast.Name) and node.id in WILD:
            return True
    return False


def imported(source: str) -> frozenset[str]:
    """The files that the source may import or `%run`: "helpers.py" for `import helpers.a`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif (call := magic(node)) and call[1] == "run":
            names |= {word.removesuffix(".py") for word in call[2].split()[:1]}
    return frozenset(f"{name.split('.')[0]}.py" for name in names if name)


def written(source: str) -> frozenset[str]:
    """The files that the source writes with `%%writefile`."""
    found = (magic(node) for node in ast.walk(ast.parse(source)))
    return frozenset(c[2].split()[-1] for c in found if c and c[1] in WRITING and c[2].split())


def runs(source: str) -> bool:
    """Whether the source calls anything while it runs; its own functions may be among that."""
    return any(isinstance(node, ast.Call) for node in _now(ast.parse(source)))


def calls(source: str) -> frozenset[str]:
    """The calls of a check that the source makes, as text: "check.variance(variance)"."""
    if not parses(source):
        return frozenset()
    found = (n for n in _now(ast.parse(source)) if isinstance(n, ast.Call))
    found = (call for call in found if _root(call.func) == "check")
    return frozenset(map(ast.unparse, found))


def cut_after(source: str, wanted: frozenset[str]) -> str:
    """The source up to its last statement with a call that is `wanted`, which it must have."""
    body = ast.parse(source).body
    last = max(i for i, s in enumerate(body) if calls(ast.unparse(s)) & wanted)
    if last == len(body) - 1:
        return source
    return "\n".join(source.splitlines()[: body[last].end_lineno])
