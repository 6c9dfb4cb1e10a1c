"""Which statements of a notebook an exercise needs: a slice through it, from the answer backwards.

    model = load(...)        needed, since the answer reads `model`
    train(model, data)       left out: it defines nothing that is asked for
    answer = model(x)        the answer
    answer["more"] = 1       needed: it changes the answer
    check.answer(answer)     what is asked for, is asked for here
    x = answer = 3           left out: it stands below the check

So an exercise that needs no training is graded without one. Cells that the reader wrote or changed
are taken whole, as they may change what they do not define; of the course's own cells, single
statements are taken. Names are found with Python's own symbol tables (`names`).
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ldmlib.teach.grading import names as names_of
from ldmlib.teach.grading.magics import parses


@dataclass(frozen=True)
class Piece:
    """Something to run, and what it does to global names.

    Files that are imported and written count as names, such as "helpers.py".
    binds: names that it defines or changes; fresh: those that it defines whatever they were before.
    reads: names that it reads while it runs; later: names that its functions read when called.
    aliases: names whose values it gives to others too, as `a = b` does with b.
    is_wild: it may define names that nobody sees, as `from torch import *` does.
    calls: it calls something while it runs, which may be a function of its own.
    is_own: it stands in the course's notebook as it is here.
    """

    source: str
    binds: frozenset[str] = frozenset()
    fresh: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()
    is_wild: bool = False
    calls: bool = False
    is_own: bool = False


def pieces(cells: Iterable[str], known: Collection[str] = ()) -> list[Piece]:
    """Cells as pieces in order: a `known` cell by its statements, another one whole."""
    return [piece for cell in _by_cell(cells, known) for piece in cell]


def _by_cell(cells: Iterable[str], known: Collection[str]) -> list[list[Piece]]:
    found: list[list[Piece]] = []
    setters: dict[str, frozenset[str]] = {}
    for cell in cells:
        if cell in known and parses(cell):
            own = [_piece(ast.unparse(s), is_own=True) for s in ast.parse(cell).body]
            found.append(own)
        else:
            setters |= names_of.setters(cell, setters)
            piece = _piece(cell)
            used = names_of.read_when(cell)[0]
            called = (setters.get(name, frozenset()) for name in used)
            found.append([replace(piece, binds=piece.binds.union(*called))])
    return found


def _piece(source: str, is_own: bool = False) -> Piece:
    binds = names_of.bound(source)
    if not parses(source):
        return Piece(source, binds, binds)
    reads, later = names_of.from_outside(source)
    fresh, files = names_of.fresh(source), names_of.written(source)
    changed = frozenset() if is_own else names_of.changed(source)
    return Piece(
        source,
        binds=binds | changed | files,
        fresh=fresh | files,
        reads=reads | (changed - fresh) | names_of.imported(source),
        later=later,
        aliases=frozenset() if is_own else names_of.aliased(source),
        is_wild=names_of.is_wild(source),
        calls=names_of.runs(source),
        is_own=is_own,
    )


def until_check(
    cells: Sequence[str], known: Collection[str], check: str
) -> tuple[list[Piece], int]:
    """A notebook's pieces, and the number of those that had run when `check` was evaluated.

    The check is found by its calls; the last such cell counts. What follows a call within its own
    cell is cut off. A notebook without the check counts as a whole.
    """
    calls = names_of.calls(check)
    places = [i for i, cell in enumerate(cells) if calls & names_of.calls(cell)]
    if not places:
        found = pieces(cells, known)
        return found, len(found)
    last = places[-1]
    cells = [*cells[:last], names_of.cut_after(cells[last], calls), *cells[last + 1 :]]
    by_cell = _by_cell(cells, known)
    return [p for cell in by_cell for p in cell], sum(map(len, by_cell[: last + 1]))


def needed(
    notebook: Sequence[Piece], names: Iterable[str], limit: int | None = None
) -> list[Piece]:
    """The pieces that give `names` their values after the first `limit` pieces, in their order.

    A name that is defined further down only, or until then by the course's stub only, is taken
    from there.
    """
    end = len(notebook) if limit is None else limit
    places = ((name, _state(notebook, name, end)) for name in names)
    asked = [(name, place, place) for name, place in places]
    chosen: set[tuple[int, int]] = set()  # a piece, and the place where its functions are called
    done: set[tuple[str, int, int]] = set()
    while asked:
        if (now := asked.pop()) in done:
            continue
        done.add(now)
        name, place, called = now
        for found in _definitions(notebook, name, place):
            if (found, called) not in chosen:
                chosen.add((found, called))
                asked += _asks(notebook[found], found, called)
                asked += [(other, place, called) for other in notebook[found].aliases]
    return [notebook[i] for i in sorted({i for i, _ in chosen})]


def _state(notebook: Sequence[Piece], name: str, end: int) -> int:
    """`end`; the end of all where the reader defined `name` below it and above it did not."""
    above = any(name in piece.binds and not piece.is_own for piece in notebook[:end])
    below = any(name in piece.binds and not piece.is_own for piece in notebook[end:])
    return len(notebook) if below and not above else end


def _asks(piece: Piece, found: int, called: int) -> list[tuple[str, int, int]]:
    """(name, place, called) of what a piece at place `found` needs."""
    now = [(name, found, found) for name in piece.reads]
    later = [(name, called, called) for name in piece.later]
    if piece.calls:
        later += [(name, found, found) for name in piece.later - piece.fresh]
    return now + later


def _definitions(notebook: Sequence[Piece], name: str, place: int) -> list[int]:
    """Where `name` got its value before `place`; else where it is first defined after it.

    The last definition, with all changes since. A name that nothing defines may come from wild
    pieces, so these are it then.
    """
    found = []
    for i in reversed(range(min(place, len(notebook)))):
        if name in notebook[i].binds:
            found.append(i)
            if name in notebook[i].fresh:
                return found
    if not found:
        after = (i for i in range(place + 1, len(notebook)) if name in notebook[i].binds)
        found = [i for i in after][:1]
    if not name.isidentifier():  # a file
        return found
    anywhere = not found and not hasattr(builtins, name)
    wild = (i for i, piece in enumerate(notebook) if piece.is_wild and i != place)
    return found + [i for i in wild if i < place or anywhere]
