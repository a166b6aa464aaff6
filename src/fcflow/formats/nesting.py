"""
Formats that nest: from a tree of elements to rows of one cell a place, and back.

A place has a chain of *levels*, the lists that it lies in, outermost first. Reading, the outer cells are repeated on
every row; levels inside each other multiply along the chain, and two lists side by side give rows of each with the
other's cells missing, never a product of both. Writing is the way back: rows that agree in what lies outside a list are
one element with a longer list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeAlias

from attrs import field, frozen

from fcflow.formats.codec import Cell

__all__ = ["MAX_LEVELS", "Nest", "Twig"]

MAX_LEVELS = 6
"""How deep lists may lie in lists."""

Level: TypeAlias = str
Cells: TypeAlias = Sequence[Cell]


@frozen
class Twig:
    """
    One element on its way out.

    Args:
        cells: What stands in it, by place.

        below: For each list in it, the entries.
    """

    cells: dict[int, Cell]
    below: dict[Level, list[Twig]]


@frozen
class Nest:
    """
    The places of a layout by the lists that they lie in.

    Args:
        slots: The places at this level.

        below: For each list at this level, the same.

    Example:
        >>> nest = Nest.of([(), ("lines",), ("lines", "lots")])
        >>> order = {0: "A1", "lines": [{1: "MUG", "lots": [{2: "x"}, {2: "y"}]}, {1: "CUP", "lots": []}]}
        >>> get = lambda element, slot: element.get(slot)
        >>> rows = list(nest.rows(order, get, lambda element, level: element.get(level, []), 3))
        >>> rows
        [['A1', 'MUG', 'x'], ['A1', 'MUG', 'y'], ['A1', 'CUP', None]]
        >>> [twig] = nest.twigs(rows)
        >>> [line.cells[1] for line in twig.below["lines"]]
        ['MUG', 'CUP']
    """

    slots: tuple[int, ...]
    below: dict[Level, Nest] = field(factory=dict)

    @classmethod
    def of(cls, chains: Sequence[Sequence[Level]]) -> Nest:
        """The nest of places with these chains, in their order."""
        return cls._of([(slot, tuple(chain)) for slot, chain in enumerate(chains)])

    @classmethod
    def _of(cls, placed: Sequence[tuple[int, tuple[Level, ...]]]) -> Nest:
        here = tuple(slot for slot, chain in placed if not chain)
        levels = dict.fromkeys(chain[0] for _, chain in placed if chain)
        inner = {
            level: cls._of([(slot, chain[1:]) for slot, chain in placed if chain and chain[0] == level])
            for level in levels
        }
        return cls(here, inner)

    # -------------------------------------------------------------- reading

    def rows(
        self,
        element: Any,
        get: Callable[[Any, int], Cell],
        entries: Callable[[Any, Level], Iterable[Any]],
        width: int,
    ) -> Iterator[list[Cell]]:
        """
        The rows of one element.

        Args:
            get: The cell of a place that lies directly in an element.

            entries: The entries of a list that lies directly in an element.

            width: How many places there are in all.
        """
        yield from self._rows(element, get, entries, [None] * width)

    def _rows(self, element: Any, get: Any, entries: Any, outer: list[Cell]) -> Iterator[list[Cell]]:
        cells = list(outer)
        for slot in self.slots:
            cells[slot] = get(element, slot)
        is_alone = True
        for level, nest in self.below.items():
            for entry in entries(element, level):
                is_alone = False
                yield from nest._rows(entry, get, entries, cells)
        if is_alone:
            yield cells

    # -------------------------------------------------------------- writing

    def twigs(self, rows: Sequence[Cells]) -> list[Twig]:
        """The elements that *rows* stand for: neighbours that agree in what lies outside every list are one."""
        if not self.below:
            return [self._twig(row, {}) for row in rows]
        lots = [list(lot) for _, lot in groupby(rows, key=lambda row: [row[slot] for slot in self.slots])]
        return [self._twig(lot[0], self._entries(lot)) for lot in lots]

    def _twig(self, row: Cells, below: dict[Level, list[Twig]]) -> Twig:
        return Twig({slot: row[slot] for slot in self.slots}, below)

    def _entries(self, rows: Sequence[Cells]) -> dict[Level, list[Twig]]:
        """For each list, its entries; a row that says nothing of a list has no entry in it."""
        return {
            level: nest.twigs([row for row in rows if nest._says_something(row)]) for level, nest in self.below.items()
        }

    def _says_something(self, row: Cells) -> bool:
        here = any(row[slot] not in (None, "", []) for slot in self.slots)
        return here or any(nest._says_something(row) for nest in self.below.values())
