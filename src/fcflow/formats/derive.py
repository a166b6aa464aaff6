"""
What follows from other fields of a record, on reading: a status, a count, a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from attrs import frozen

from fcflow.formats.asks import Ask, RowFacts
from fcflow.formats.fields import Said

__all__ = ["Cases", "Derived", "Difference", "FirstOf", "Product", "Sum"]

Row = dict[str, Any]
Value = Callable[[RowFacts], Any]


@frozen
class Cases:
    """The value of the first case whose condition holds, else *otherwise*."""

    cases: Sequence[tuple[Ask, Any]]
    otherwise: Any

    def __call__(self, facts: RowFacts) -> Any:
        return next((value for ask, value in self.cases if ask(facts) is True), self.otherwise)


@frozen
class FirstOf:
    """The first field that says something."""

    names: Sequence[str]

    def __call__(self, facts: RowFacts) -> Any:
        found = (facts.rows[0].get(name) for name in self.names)
        return next((value for value in found if value is not None and value != ()), None)


@frozen
class Sum:
    """The sum of the fields that say something."""

    names: Sequence[str]

    def __call__(self, facts: RowFacts) -> Any:
        known = [value for name in self.names if (value := facts.rows[0].get(name)) is not None]
        return sum(known[1:], known[0]) if known else None


@frozen
class Difference:
    """The first field less the others, at least zero; nothing where the first says nothing."""

    names: Sequence[str]

    def __call__(self, facts: RowFacts) -> Any:
        first, *others = (facts.rows[0].get(name) for name in self.names)
        if first is None or others[0] is None:
            return None
        return max(first - sum(other for other in others if other is not None), 0)


@frozen
class Product:
    """The product of the fields; nothing where one of them says nothing."""

    names: Sequence[str]

    def __call__(self, facts: RowFacts) -> Any:
        values = [facts.rows[0].get(name) for name in self.names]
        return None if None in values else prod(values)


@frozen(kw_only=True)
class Derived:
    """
    One field that follows from others.

    Args:
        per_row: Whether each row has its own value; otherwise the record has one.

        by_line: Whether rows that speak of the same line are added up before, and the first of them gets the value.

        overrules: Whether it counts even where the partner said something.

        when: What must hold for it to count.
    """

    name: str
    value: Value
    per_row: bool
    by_line: bool
    overrules: bool
    when: Ask | None = None

    def apply(self, rows: Sequence[Row]) -> None:
        """Fill in the field, in place."""
        if not self.per_row:
            self._fill(rows, rows)
            return
        for group in _lines_of(rows) if self.by_line else [[row] for row in rows]:
            self._fill(group[:1], [_added(group)])

    def _fill(self, rows: Sequence[Row], asked: Sequence[Mapping[str, Any]]) -> None:
        if not self.overrules and any(_says(row.get(self.name)) for row in asked):
            return
        facts = RowFacts(asked)
        if self.when is not None and self.when(facts) is not True:
            return
        found = self.value(facts)
        if found is not None or self.overrules:
            for row in rows:
                row[self.name] = _with_word(found, row.get(self.name))


def _says(value: Any) -> bool:
    if isinstance(value, Said):
        return value.status is not None
    return value is not None and value != ()


def _with_word(found: Any, said: Any) -> Any:
    """A status that follows, with the partner's word where there is one."""
    return Said(found.status, said.raw) if isinstance(found, Said) and isinstance(said, Said) else found


def _lines_of(rows: Sequence[Row]) -> list[list[Row]]:
    found: dict[Any, list[Row]] = {}
    for index, row in enumerate(rows):
        line = (row.get("line.line_id"), row.get("line.sku"))
        found.setdefault(line if any(line) else index, []).append(row)
    return list(found.values())


def _added(rows: Sequence[Row]) -> Row:
    """One row of several that speak of the same line: counts are added up, but what was ordered is said each time."""
    if len(rows) == 1:
        return rows[0]
    added = dict(rows[0])
    for name in {name for row in rows for name in row if name.startswith("line.")}:
        known = [row[name] for row in rows if isinstance(row.get(name), int)]
        if known:
            added[name] = max(known) if name == "line.ordered" else sum(known)
    return added
