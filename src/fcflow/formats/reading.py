"""
Reading: the rows of a codec to records and problems, one payload at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

from attrs import Factory, field, frozen

from fcflow.errors import FormatError
from fcflow.formats.bind import SKIPPED, Binder, FieldUnreadable, Parsed
from fcflow.formats.bulk_reading import BulkReading
from fcflow.formats.cells import Parse, ParseAll, each_by
from fcflow.formats.codec import Block, Cell, Row, Unreadable
from fcflow.formats.derive import Derived
from fcflow.model import Problem, Record

__all__ = ["FromSource", "PlacesReader", "Reader", "Reading", "ReadingPlan", "Skip", "Source"]


_MOST_ROWS = 20_000  # of one record; they are held until it ends


@frozen(kw_only=True)
class Source:
    """
    Where a payload comes from, for layouts that ask for it.

    Args:
        name: Of the file, without its folder; ``None`` where there is none.

        modified_at: When it was written, by the partner's server.
    """

    name: str | None = None
    modified_at: datetime | None = None


@frozen(kw_only=True)
class Reader:
    """
    One field on its way in.

    Args:
        slot: Which cell of a row; ``None`` where the field is a constant.

        parse_all: The same as *parse* for many cells at once.

        plain: ``text`` or ``integer`` where the field asks for nothing but that, else ``None``.

        carries: Whether an empty cell means what stands in the row above.
    """

    name: str
    slot: int | None
    parse: Parse
    parse_all: ParseAll = field(default=Factory(lambda self: each_by(self.parse), takes_self=True))
    plain: str | None = None
    required: bool = False
    constant: str | None = None
    carries: bool = False


class PlacesReader(Protocol):
    """Fields on their way in that have not one place each."""

    names: Sequence[str]
    slots: Sequence[int]

    def read(self, cells: Sequence[Cell]) -> dict[str, Any]:
        """
        The values of the fields.

        Raises:
            Unreadable: The cells do not hold what a field needs.
        """
        ...


@frozen(kw_only=True)
class FromSource:
    """
    A field that is the same in the whole payload, by where the payload comes from.

    Args:
        part: ``file_name`` or ``modified_at``.

        find: From the name of a file to the value; it raises `Unreadable`.

        optional: Whether a name that does not hold it is taken as well.
    """

    name: str
    part: str
    find: Callable[[str], Any]
    optional: bool

    def value(self, source: Source) -> Any:
        if self.part == "modified_at":
            return source.modified_at
        if source.name is None:
            return None
        try:
            return self.find(source.name)
        except Unreadable as error:
            if self.optional:
                return None
            said = f"file name ({self.name}): expected {error.expected}, got {source.name!r}"
            raise FormatError(said) from error


@frozen(kw_only=True)
class Skip:
    """Rows that are left out: those whose cell is among *words*, or that hold anything where there are none."""

    slot: int
    words: frozenset[str]
    whole_record: bool

    def applies(self, cell: Cell) -> bool:
        text = cell.strip().casefold() if isinstance(cell, str) else ""
        return text in self.words if self.words else bool(text)


_MOST_SAME = 20  # what is wrong with the head of an order is wrong in each of its rows


class ReadingPlan:
    """
    All that is known before a payload is seen; immutable, and shared by every `Reading`.

    Args:
        max_rows: Rows that are held where those of one record stand anywhere; ``None`` where they are neighbours.

        whole_records: Whether a row that cannot be read leaves no doubt about the records beside it.
    """

    def __init__(
        self,
        *,
        binder: Binder,
        readers: Sequence[Reader],
        several: Sequence[PlacesReader] = (),
        sources: Sequence[FromSource] = (),
        required: Sequence[str] = (),
        derived: Sequence[Derived] = (),
        skips: Sequence[Skip] = (),
        max_rows: int | None = None,
        whole_records: bool = False,
    ) -> None:
        self.binder = binder
        self.readers = readers
        self.several = several
        self.sources = sources
        self.derived = derived
        self.skips = skips
        self.max_rows = max_rows
        self.whole_records = whole_records
        self.cells = [(reader.name, reader.slot, reader.parse) for reader in readers if reader.slot is not None]
        self.constants = {reader.name: reader.parse(reader.constant) for reader in readers if reader.slot is None}
        self.required = [*(reader.name for reader in readers if reader.required), *required]
        self.carried = [reader for reader in readers if reader.carries]
        self.slots = {name: reader.slots[0] for reader in several for name in reader.names}
        self.slots |= {reader.name: reader.slot for reader in readers if reader.slot is not None}
        of_lines = [slot for name, slot in self.slots.items() if name.startswith("line.")]
        self.line_slots = of_lines if binder.whole_groups and whole_records else []
        self.required_without_line = [name for name in self.required if not name.startswith("line.")]
        self.bulk = BulkReading.of(self)


def _one_by_one(items: Iterator[Row | Problem | Block]) -> Iterator[Row | Problem]:
    for item in items:
        if isinstance(item, Block):
            yield from item.rows()
        else:
            yield item


class _Group:
    """The rows of one record, as far as they have come."""

    def __init__(self, key: Hashable, row: Row) -> None:
        self.key = key
        self.row = row
        self.rows: list[dict[str, Any]] = []
        self.problems: list[Problem] = []
        self.skipped = False
        self.lines_skipped = 0
        self.count = 0
        self.lineless: set[int] = set()
        self.harmed = False


def _lineless_last(rows: list[dict[str, Any]], lineless: set[int]) -> list[dict[str, Any]]:
    """Rows with lines before those that only say something of the order; an order with none of the first lacks them."""
    if not 0 < len(lineless) < len(rows):
        return rows
    lines = [row for index, row in enumerate(rows) if index not in lineless]
    return lines + [{**rows[index], SKIPPED: True} for index in sorted(lineless)]


def _called(key: Hashable) -> str:
    """What the rows of a record belong to: an order, or a SKU at a location."""
    return "a SKU" if isinstance(key, tuple) else "an order"


class Reading:
    """
    One payload being read.

    Raises:
        FormatError: The name of the file does not say what the layout looks for in it.
    """

    def __init__(self, plan: ReadingPlan, source: Source) -> None:
        self._plan = plan
        self._spreads = not plan.whole_records
        self.fixed = plan.constants | {each.name: each.value(source) for each in plan.sources}
        self._above: dict[str, Any] = {}
        self._above_unknown = False

    def records(self, items: Iterator[Row | Problem | Block]) -> Iterator[Record | Problem]:
        """The records of *items* and the problems with others."""
        bulk = self._plan.bulk
        if bulk is not None:
            return self._in_bulk(items, bulk)
        rows = _one_by_one(items)
        if not self._plan.binder.grouped:
            return self._single(rows)
        return self._neighbours(rows) if self._plan.max_rows is None else self._anywhere(rows, self._plan.max_rows)

    def _in_bulk(self, items: Iterator[Row | Problem | Block], bulk: BulkReading) -> Iterator[Record | Problem]:
        for item in items:
            if not isinstance(item, Block):
                yield from self._single(iter((item,)))
                continue
            found = bulk.records(item, self.fixed)
            yield from self._single(item.rows()) if found is None else found

    # -------------------------------------------------------------- rows to records

    def _single(self, rows: Iterator[Row | Problem]) -> Iterator[Record | Problem]:
        plan = self._plan
        build, skips, derived, several = plan.binder.build, plan.skips, plan.derived, plan.binder.several
        for row in rows:
            if isinstance(row, Problem):
                self._above_unknown = True
                yield row
                continue
            if skips and any(skip.applies(row.cells[skip.slot]) for skip in skips):
                continue
            parsed = self._parsed(row)
            if isinstance(parsed, list):
                yield from parsed
                continue
            try:
                if derived:
                    self._derive([parsed])
                value = build((parsed,))
                if several:
                    yield from (Record(line=row.line, value=each, raw=row.raw) for each in value)
                else:
                    yield Record(line=row.line, value=value, raw=row.raw)
            except ValueError as error:
                yield self._problem(row, error)

    def _neighbours(self, rows: Iterator[Row | Problem]) -> Iterator[Record | Problem]:
        """
        Records of neighbouring rows.

        A row that cannot be read may belong to the record before it or after it: where a record must be whole, neither
        is used.
        """
        group: _Group | None = None
        harmed, done = False, set[Hashable]()
        for row in rows:
            found = self._keyed(row)
            if isinstance(found, list):
                yield from found
                harmed = self._spreads
                if group is not None:
                    group.harmed = group.harmed or self._spreads
                continue
            key, framed, parsed = found
            if group is None or group.key != key:
                if group is not None:
                    yield from self._closed(group, done)
                group = _Group(key, framed)
                group.harmed = harmed
            harmed = False
            self._take(group, framed, parsed)
        if group is not None:
            yield from self._closed(group, done)

    def _anywhere(self, rows: Iterator[Row | Problem], most: int) -> Iterator[Record | Problem]:
        """
        Records whose rows stand anywhere; all are held until the end.

        A row that cannot be read may belong to any record: where a record must be whole, none is used.
        """
        groups: dict[Hashable, _Group] = {}
        harmed, held = False, 0
        for row in rows:
            found = self._keyed(row)
            if isinstance(found, list):
                yield from found
                harmed = self._spreads
                continue
            key, framed, parsed = found
            held += 1
            if held > most:
                raise FormatError(f"line {framed.line}: expected at most {most} rows, as they are held until the end")
            self._take(groups.setdefault(key, _Group(key, framed)), framed, parsed)
        done = set[Hashable]()
        for group in groups.values():
            group.harmed = harmed
            yield from self._closed(group, done)

    def _keyed(self, row: Row | Problem) -> list[Problem] | tuple[Hashable, Row, dict[str, Any] | list[Problem]]:
        """What a row belongs to and says; problems where that cannot be told."""
        if isinstance(row, Problem):
            self._above_unknown = True
            return [row]
        parsed = self._parsed(row)
        key = self._plan.binder.key(self._readable(row) if isinstance(parsed, list) else parsed)
        if key is None:
            return parsed if isinstance(parsed, list) else self._keyless(row, parsed)
        return key, row, parsed

    def _readable(self, row: Row) -> dict[str, Any]:
        """Those cells of a bad row that can be read."""
        readable: dict[str, Any] = {}
        for name, slot, parse in self._plan.cells:
            try:
                readable[name] = parse(row.cells[slot])
            except Unreadable:
                readable[name] = None
        for reader in self._plan.carried:
            if readable.get(reader.name) is None and not self._above_unknown:
                readable[reader.name] = self._above.get(reader.name)
        return readable

    def _keyless(self, row: Row, parsed: Parsed) -> list[Problem]:
        try:
            self._plan.binder.build((parsed,))
        except ValueError as error:
            return [self._problem(row, error)]
        return []

    def _take(self, group: _Group, row: Row, parsed: dict[str, Any] | list[Problem]) -> None:
        group.count += 1
        if group.count > _MOST_ROWS:
            raise FormatError(f"line {group.row.line}: expected at most {_MOST_ROWS} rows of {group.key}, got more")
        if isinstance(parsed, list):
            group.problems += [each for each in parsed if each not in group.problems[-_MOST_SAME:]]
            return
        met = [skip for skip in self._plan.skips if skip.applies(row.cells[skip.slot])]
        group.skipped = group.skipped or any(skip.whole_record for skip in met)
        if met:
            group.lines_skipped += 1
            header = {name: None if name.startswith("line.") else value for name, value in parsed.items()}
            group.rows.append({**header, SKIPPED: True})
        else:
            if self._is_lineless(row):
                group.lineless.add(len(group.rows))
            group.rows.append(parsed)

    def _is_lineless(self, row: Row) -> bool:
        """Whether a row comes from a list that stands beside the lines of the order, such as its addresses."""
        slots = self._plan.line_slots
        return bool(slots) and all(row.cells[slot] is None for slot in slots)

    def _closed(self, group: _Group, done: set[Hashable]) -> Iterator[Record | Problem]:
        whole = self._plan.binder.whole_groups
        if whole and group.key in done:
            said = "its rows do not stand together; it was read before"
            key = " ".join(map(str, group.key)).strip() if isinstance(group.key, tuple) else str(group.key)
            yield Problem(
                line=group.row.line, found=key, expected=f"rows of {_called(group.key)} together", message=said
            )
            return
        done.add(group.key)
        if group.skipped or (group.lines_skipped and group.lines_skipped == len(group.rows) and not group.problems):
            return
        yield from group.problems
        if whole and group.problems:
            return
        if whole and group.harmed:
            which = "the one before or after it" if self._plan.max_rows is None else "one of this file"
            name = group.key[-1] if isinstance(group.key, tuple) else group.key
            said = f"{name} may lack a row: {which} cannot be read"
            yield Problem(line=group.row.line, message=said, raw=group.row.raw)
            return
        if group.rows:
            yield self._record(group)

    def _record(self, group: _Group) -> Record | Problem:
        try:
            self._derive(group.rows)
            value = self._plan.binder.build(_lineless_last(group.rows, group.lineless))
        except ValueError as error:
            return self._problem(group.row, error)
        return Record(line=group.row.line, value=value, raw=group.row.raw)

    def _derive(self, rows: Sequence[dict[str, Any]]) -> None:
        for each in self._plan.derived:
            each.apply(rows)

    # -------------------------------------------------------------- cells to fields

    def _parsed(self, row: Row) -> dict[str, Any] | list[Problem]:
        cells, plan = row.cells, self._plan
        try:
            parsed = {name: parse(cells[slot]) for name, slot, parse in plan.cells}
            for reader in plan.several:
                parsed.update(reader.read(cells))
        except Unreadable:
            self._note_above(row)
            return self._faults(row)
        if self.fixed:
            parsed.update(self.fixed)
        if plan.carried and not self._carry(parsed):
            return self._faults(row)
        for name in plan.required_without_line if self._is_lineless(row) else plan.required:
            if parsed[name] is None or parsed[name] == ():
                return self._faults(row)
        return parsed

    def _carry(self, parsed: dict[str, Any]) -> bool:
        """Fill in what stands in the row above; false where that row could not be read."""
        empty = [each.name for each in self._plan.carried if parsed[each.name] is None or parsed[each.name] == ()]
        if len(empty) < len(self._plan.carried):
            self._above_unknown = self._above_unknown and bool(empty)
        if empty and self._above_unknown:
            return False
        for reader in self._plan.carried:
            if reader.name in empty:
                parsed[reader.name] = self._above.get(reader.name)
            else:
                self._above[reader.name] = parsed[reader.name]
        return True

    def _note_above(self, row: Row) -> None:
        """What a bad row leaves to the rows below it, as far as it can be read."""
        for reader in self._plan.carried:
            try:
                found = reader.parse(row.cells[reader.slot])  # type: ignore[index]  # what is carried has a place
            except Unreadable:
                self._above_unknown = True
                continue
            if found is not None:
                self._above[reader.name] = found

    def _faults(self, row: Row) -> list[Problem]:
        """Every cell of a bad row that cannot be read."""
        faults = [*self._cell_faults(row), *self._places_faults(row), *self._fixed_faults(row)]
        said = "what it carries on from the row above is not known"
        return faults or [Problem(line=row.line, message=said, raw=row.raw)]

    def _fixed_faults(self, row: Row) -> Iterator[Problem]:
        for name in self._plan.required:
            if name in self.fixed and self.fixed[name] is None:
                yield self._at(row, name, "something in the name of the file, or in its time", None)

    def _cell_faults(self, row: Row) -> Iterator[Problem]:
        for reader in self._plan.readers:
            if reader.slot is None:
                continue
            cell = row.cells[reader.slot]
            try:
                value = reader.parse(cell)
                carried = self._above.get(reader.name) if reader.carries else None
                if reader.required and (value is None or value == ()) and carried is None:
                    raise Unreadable("something here", "")
            except Unreadable as error:
                found = error.found if error.found is not None else cell
                yield self._at(row, reader.name, error.expected, str(found))

    def _places_faults(self, row: Row) -> Iterator[Problem]:
        for several in self._plan.several:
            try:
                several.read(row.cells)
            except Unreadable as error:
                name = error.name if isinstance(error, FieldUnreadable) else several.names[0]
                yield self._at(row, name, error.expected, None if error.found is None else str(error.found))

    def _at(self, row: Row, name: str, expected: str, found: str | None) -> Problem:
        slot = self._plan.slots.get(name)
        column = None if slot is None else row.columns[slot]
        line = row.line if slot is None or row.lines is None else row.lines[slot]
        return Problem(line=line, column=column, field=name, expected=expected, found=found, raw=row.raw)

    def _problem(self, row: Row, error: ValueError) -> Problem:
        if isinstance(error, FieldUnreadable):
            found = "" if error.found is None else str(error.found)
            return self._at(row, error.name, error.expected, found)
        return Problem(line=row.line, message=str(error), raw=row.raw)
