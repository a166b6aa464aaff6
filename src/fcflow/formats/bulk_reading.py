"""
Many rows at once: what a block of plain rows says, read column by column, as large stock files need it.

It gives exactly what reading row by row gives, or nothing where anything is odd about the block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from fcflow.formats.codec import Block, Unreadable
from fcflow.model import Record

if TYPE_CHECKING:
    from fcflow.formats.reading import Reader, ReadingPlan

__all__ = ["BulkReading", "made"]

Value = TypeVar("Value")


def made(kind: type[Value], count: int, parts: Mapping[str, Iterable[Any]]) -> list[Value]:
    """
    *count* values of a slotted class, each part filled in for all of them at once.

    Nothing is converted or checked: that is the caller's, who sees whole columns.

    Example:
        >>> from fcflow.model import Record
        >>> [each.line for each in made(Record, 2, {"line": range(2, 4), "value": "ab", "_raw": ({}, {})})]
        [2, 3]
    """
    values = list(map(object.__new__, repeat(kind, count)))
    for name, column in parts.items():
        deque(map(getattr(kind, name).__set__, values, column), maxlen=0)
    return values


class BulkReading:
    """A layout whose rows can be read many at once."""

    def __init__(self, readers: Sequence[Reader], required: Sequence[str], build: Any) -> None:
        self._readers = readers
        self._required = required
        self._build = build

    @classmethod
    def of(cls, plan: ReadingPlan) -> BulkReading | None:
        """The one of *plan*; ``None`` where rows have to be looked at one by one."""
        build = plan.binder.build_all
        if build is None or plan.several or plan.derived or plan.skips or plan.carried:
            return None
        return cls([reader for reader in plan.readers if reader.slot is not None], plan.required, build)

    def records(self, block: Block, fixed: Mapping[str, Any]) -> list[Record] | None:
        """
        The records of *block*; ``None`` where one of its rows is no good record.

        Args:
            fixed: What holds for every row.
        """
        columns, count = block.columns(), len(block.records)
        if columns is None:
            return None
        said = {name: [value] * count for name, value in fixed.items()}
        try:
            for reader in self._readers:
                cells = columns[reader.slot]  # type: ignore[index]  # those without one are left out
                said[reader.name] = [reader.parse(None)] * count if cells is None else reader.parse_all(cells)
        except Unreadable:
            return None
        if any(None in said[name] or () in said[name] for name in self._required):
            return None
        values = self._build(said, count)
        if values is None:
            return None
        lines = range(block.line, block.line + count)
        return made(Record, count, {"line": lines, "value": values, "_raw": block.raws()})
