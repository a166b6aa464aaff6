"""
Where the places of a layout stand in a table with a header or without one, and how a row is cut off and filled up.

A place whose header holds ``{n}`` stands in columns that come again, ``item_1_sku``, ``item_2_sku``: a row of the file
is then a row for each number, with the other cells repeated.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

from immutabledict import immutabledict

from fcflow.errors import Fault, FormatError
from fcflow.formats.codec import Block, Cell, Place, Row
from fcflow.model import Problem

__all__ = ["FOLDS", "Blocker", "Columns", "Framer", "column_faults", "is_blank"]

Framer: TypeAlias = Callable[[list[str], int], Sequence[Row | Problem]]
"""From a record and its line to its rows."""

_Frame: TypeAlias = Callable[[list[str], int], Row | Problem]

Blocker: TypeAlias = Callable[[Sequence[list[str]], int], Block]
"""From neighbouring records and the line of the first to their block."""

MOST_NUMBERS = 1_000
_LOOSE = re.compile(r"[\W_]+")


def is_blank(record: Sequence[str]) -> bool:
    """Whether a row says nothing."""
    return not any(cell.strip() for cell in record)


class Columns:
    """
    The columns of one layout.

    Args:
        options: The codec's: ``header_match``, ``also_called``, ``short_rows``, ``long_rows``, ``repeat``.
    """

    def __init__(self, places: Sequence[Place], options: Mapping[str, Any]) -> None:
        self._places = places
        old = "ignore_case" if options.get("header_ignore_case") else "exact"
        self._fold = FOLDS[options.get("header_match", old)]
        self._called: Mapping[str, Sequence[str]] = options.get("also_called", immutabledict())
        self._pads = options.get("short_rows", "refuse") == "pad"
        self._cuts = options.get("long_rows", "refuse") == "cut"
        repeat = options.get("repeat", immutabledict())
        self._first: int = repeat.get("first", 1)
        self._most: int = repeat.get("most", 10)
        self._overflows = repeat.get("if_more", "refuse") == "next_row"
        self._at, self._stride = repeat.get("at"), repeat.get("columns", 0)
        self._numbered = [_is_numbered(place, repeat) for place in places]
        self.repeats = any(self._numbered)

    # -------------------------------------------------------------- reading

    def are_there(self, names: Sequence[str]) -> bool:
        """Whether *names* holds every column that must be there; how a header is told from what stands above it."""
        found = set(map(self._fold, names))
        named = [place for place in self._places if isinstance(place.at, str)]
        needed = [place for place in named if not place.optional]
        there = (any(each in found for each in self._names_of(place)) for place in needed or named)
        return all(there) if needed else any(there)

    def refuse_lost(self, names: Sequence[str]) -> None:
        """
        Where a header was looked for and not found, and the layout could do without every column.

        Raises:
            FormatError: Else all rows that were looked at would be lost.
        """
        if all(place.optional for place in self._places):
            expected = " or ".join(repr(str(place.at)) for place in self._places)
            raise FormatError(f"header: expected a row with {expected}, got {', '.join(map(repr, names[:20]))}")

    def _names_of(self, place: Place, number: int | None = None) -> list[str]:
        """How the header of *place* may be called, folded; of a numbered one the first, unless *number* says which."""
        at = str(place.at).strip()
        names = [at, *self._called.get(at, ())]
        text = str(self._first if number is None else number)
        return [self._fold(name.replace("{n}", text)) for name in names]

    def framer(self, names: Sequence[str] | None) -> Framer:
        """
        The function from a record and its line to its rows.

        Raises:
            FormatError: A place is missing, or stands there twice.
        """
        if self._at is not None and names is None:
            return self._framer_by_position()
        numbers = self._numbers(names) if self.repeats else [None]
        slots = [self._slots(names, number) for number in numbers]
        if names is not None:
            self._refuse_missing(slots, names)
        frames = [self._frame(names, each) for each in slots]
        if not self.repeats:
            [frame] = frames
            return lambda record, line: [frame(record, line)]
        return lambda record, line: self._rows_by(frames, record, line)

    def _rows_by(self, frames: Iterable[_Frame], record: list[str], line: int) -> list[Row | Problem]:
        """A row for each number that says something, and for the first at least."""
        rows = [frame(record, line) for frame in frames]
        if not isinstance(rows[0], Row):
            return rows[:1]
        numbered = [index for index, is_numbered in enumerate(self._numbered) if is_numbered]
        said = [row for row in rows if isinstance(row, Row) and any(_says(row.cells[i]) for i in numbered)]
        return list(said) or rows[:1]

    def _framer_by_position(self) -> Framer:
        """Where columns that come again have no names, the length of a record says how often they do."""
        start, stride, frames = (self._at or 1) - 1, self._stride, list[_Frame]()

        def framed(record: list[str], line: int) -> list[Row | Problem]:
            times = self._most if self._ends_fixed else max(1, -(-(len(record) - start) // stride))
            if times > MOST_NUMBERS:
                return [Problem(line=line, expected=f"at most {start + MOST_NUMBERS * stride} columns")]
            if start < len(record) < start + times * stride and not self._ends_fixed:
                record = record + [""] * (start + times * stride - len(record))
            for number in range(self._first + len(frames), self._first + times):
                frames.append(self._frame(None, self._slots(None, number)))
            return self._rows_by(frames[:times], record, line)

        return framed

    @property
    def _ends_fixed(self) -> bool:
        """Whether something stands behind the columns that come again."""
        end = (self._at or 1) + self._stride
        return any(isinstance(place.at, int) and place.at >= end for place in self._places)

    def blocker(self, names: Sequence[str] | None, frame: Framer) -> Blocker | None:
        """The function from many records to a block; ``None`` where columns come again."""
        if self.repeats:
            return None
        slots, keys = self._slots(names, None), None if names is None else tuple(_unique(names))
        return lambda records, line: Block(line, records, keys, slots, frame)

    def _numbers(self, names: Sequence[str] | None) -> list[int | None]:
        """The numbers for which there are columns; at least the first."""
        found = set(map(self._fold, names or ()))
        numbered = [place for place, is_numbered in zip(self._places, self._numbered, strict=True) if is_numbered]
        there = [
            number
            for number in range(self._first, self._first + MOST_NUMBERS)
            if any(each in found for place in numbered for each in self._names_of(place, number))
        ]
        return list(there) or [self._first]

    def _slots(self, names: Sequence[str] | None, number: int | None) -> list[int | None]:
        """Where each place stands in a record; ``None`` where it does not."""
        found: dict[str, list[int]] = {}
        for index, name in enumerate(names or ()):
            found.setdefault(self._fold(name), []).append(index)
        return [self._slot(place, found, number) for place in self._places]

    def _slot(self, place: Place, found: Mapping[str, list[int]], number: int | None) -> int | None:
        if isinstance(place.at, int):
            is_numbered = number is not None and self._at is not None and self._at <= place.at < self._at + self._stride
            return place.at - 1 + (((number or 0) - self._first) * self._stride if is_numbered else 0)
        at = [index for name in dict.fromkeys(self._names_of(place, number)) for index in found.get(name, ())]
        if len(at) > 1:
            raise FormatError(f"header: expected column {place.at!r} once, got it {len(at)} times")
        return at[0] if at else None

    def _refuse_missing(self, slots: Sequence[Sequence[int | None]], names: Sequence[str]) -> None:
        missing = [
            str(place.at)
            for index, place in enumerate(self._places)
            if not place.optional and all(each[index] is None for each in slots)
        ]
        if missing:
            raise FormatError("header: " + "; ".join([*_missing(missing, names), *_undivided(names)]))

    def _frame(
        self, names: Sequence[str] | None, slots: Sequence[int | None]
    ) -> Callable[[list[str], int], Row | Problem]:
        columns = [None if slot is None else slot + 1 for slot in slots]
        least = 1 + max((slot for slot in slots if slot is not None), default=0)
        width = least if names is None else len(names)
        keys = None if names is None else _unique(names)
        whole, gathers = None not in slots, [slot or 0 for slot in slots]
        pads, cuts = self._pads, self._cuts

        def frame(record: list[str], line: int) -> Row | Problem:
            found = len(record)
            raw = immutabledict(zip(keys or map(str, range(1, found + 1)), record, strict=False))
            if found < width:
                if not pads:
                    return Problem(line=line, expected=f"{width} columns", message=f"{found} columns", raw=raw)
                record = record + [""] * (width - found)
            elif found > width and keys is not None and not cuts and not is_blank(record[width:]):
                return Problem(line=line, expected=f"{width} columns", message=f"{found} columns", raw=raw)
            if whole:
                return Row(line, [record[slot] for slot in gathers], raw, columns)
            return Row(line, [None if slot is None else record[slot] for slot in slots], raw, columns)

        return frame

    # -------------------------------------------------------------- writing

    def header(self) -> list[str]:
        """The names of the columns, in their order; empty where a place has a position instead."""
        order, width = self._order()
        names = [""] * width
        for (index, number), column in order.items():
            at = self._places[index].at
            names[column] = at.replace("{n}", str(number)) if isinstance(at, str) else ""
        return names

    def places_at(self, column: int) -> set[int]:
        """The places that are written into a column, counted from 0."""
        order, _ = self._order()
        return {index for (index, _), found in order.items() if found == column}

    def records(self, rows: Sequence[Sequence[Cell]]) -> Iterator[list[str]]:
        """
        The rows of the file that hold the rows of one record.

        Raises:
            FormatError: There are more of them than columns that come again.
        """
        order, width = self._order()
        for lot in self._lots(rows):
            cells = [""] * width
            for offset, row in enumerate(lot):
                for index, cell in enumerate(row):
                    number = self._first + offset if self._numbered[index] else None
                    cells[order[index, number]] = cell if isinstance(cell, str) else ""
            yield cells

    def arranged(self, columns: Sequence[Sequence[str]]) -> list[Sequence[str]]:
        """Columns by place as columns of the file, where none comes again."""
        order, width = self._order()
        made: list[Sequence[str]] = [[""] * len(columns[0])] * width
        for (index, _), column in order.items():
            made[column] = columns[index]
        return made

    def _lots(self, rows: Sequence[Sequence[Cell]]) -> Iterator[list[Sequence[Cell]]]:
        """Rows that go into one row of the file: those that agree in all that does not come again."""
        if not self.repeats:
            yield from ([row] for row in rows)
            return
        outer = [index for index, is_numbered in enumerate(self._numbered) if not is_numbered]
        for _, each in groupby(rows, key=lambda row: [row[index] for index in outer]):
            lot = list(each)
            if len(lot) > self._most and not self._overflows:
                raise FormatError(f"expected at most {self._most} lines in one row, got {len(lot)}")
            yield from (lot[start : start + self._most] for start in range(0, len(lot), self._most))

    def _order(self) -> tuple[dict[tuple[int, int | None], int], int]:
        """
        Column of each place and number, and the width.

        Places that say so stand at their positions, headers in between in their order; what comes again stands
        together where the first of it stands.
        """
        taken = {place.at - 1 for place in self._places if isinstance(place.at, int)}
        free = iter(index for index in range(10**6) if index not in taken)
        order: dict[tuple[int, int | None], int] = {}
        for index, place in enumerate(self._places):
            if isinstance(place.at, int) and self._numbered[index]:
                for number in range(self._first, self._first + self._most):
                    order[index, number] = place.at - 1 + (number - self._first) * self._stride
            elif isinstance(place.at, int):
                order[index, None] = place.at - 1
            elif not self._numbered[index]:
                order[index, None] = next(free)
            elif (index, self._first) not in order:
                again = [each for each, is_numbered in enumerate(self._numbered) if is_numbered]
                for number in range(self._first, self._first + self._most):
                    order |= {(each, number): next(free) for each in again}
        return order, max(order.values(), default=-1) + 1


def _is_numbered(place: Place, repeat: Mapping[str, Any]) -> bool:
    """Whether a place comes again: by its name, or because it lies where columns do."""
    if isinstance(place.at, str):
        return "{n}" in place.at
    return "at" in repeat and repeat["at"] <= place.at < repeat["at"] + repeat["columns"]


def _says(cell: Cell) -> bool:
    return bool(cell.strip() if isinstance(cell, str) else cell)


def _loose(name: str) -> str:
    return _LOOSE.sub("", name.casefold())


FOLDS: Mapping[str, Callable[[str], str]] = {"exact": str, "ignore_case": str.casefold, "loose": _loose}
"""What is left of the name of a column when names are compared, by ``header_match``."""


def _unique(names: Sequence[str]) -> list[str]:
    """Headers as keys: a repeated or empty one gets its position."""
    seen: set[str] = set()
    keys = []
    for index, name in enumerate(names, start=1):
        key = name if name and name not in seen else f"{name}#{index}"
        seen.add(key)
        keys.append(key)
    return keys


def _undivided(names: Sequence[str]) -> Iterator[str]:
    """A hint where the header looks as if it had another delimiter."""
    marks = [mark for mark in (";", "\t", "|", ",") if len(names) == 1 and mark in names[0]]
    yield from (f"it is one column, with {mark!r} in it; is that the delimiter?" for mark in marks[:1])


def _missing(places: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Each place with the nearest name that is there; those that nothing is near to are named together."""
    folded = {name.casefold(): name for name in names}
    nearest = {at: difflib.get_close_matches(at.casefold(), folded, n=1, cutoff=0.6) for at in places}
    yield from (f"expected column {at!r}, got {folded[near[0]]!r}" for at, near in nearest.items() if near)
    if far := [repr(at) for at, near in nearest.items() if not near]:
        there = ", ".join(map(repr, names[:20])) or "nothing"
        yield f"expected column{'s' * (len(far) > 1)} {', '.join(far)}, got {there}"


def column_faults(places: Sequence[Place], options: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with places as columns."""
    headless = not options.get("header", True)
    for place in places:
        if headless and isinstance(place.at, str):
            yield Fault("", path=f"{place.path}.at", expected="a position, as the file has no header", found=place.at)
        elif isinstance(place.at, str) and place.at.count("{n}") > 1:
            yield Fault("", path=f"{place.path}.at", expected="one {n} at most", found=place.at)
    known = {place.at for place in places}
    for name in options.get("also_called", ()):
        if name not in known:
            yield Fault("no field stands there", path=f"$.codec.also_called.{name}", found=name)
    repeat = options.get("repeat", immutabledict())
    if "repeat" in options and not any(_is_numbered(place, repeat) for place in places):
        expected = "a place among those columns" if "at" in repeat else "a place such as item_{n}_sku"
        yield Fault("no column comes again", path="$.codec.repeat", expected=expected)
    if "at" in repeat and not headless:
        yield Fault("only without a header", path="$.codec.repeat.at", expected="places such as item_{n}_sku")
    end = repeat.get("at", 0) + repeat.get("columns", 0) * repeat.get("most", 10)
    for place in places if "at" in repeat else ():
        if isinstance(place.at, int) and not _is_numbered(place, repeat) and repeat["at"] <= place.at < end:
            expected = f"a place before column {repeat['at']}, or from {end} on"
            yield Fault(
                "lies among columns that come again", path=f"{place.path}.at", expected=expected, found=place.at
            )
