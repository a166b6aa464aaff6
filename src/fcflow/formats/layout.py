"""
A layout at work: payloads to values and values to payloads, one way for orders, statuses and stock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

from attrs import field, frozen
from immutabledict import immutabledict

from fcflow.errors import EncodeError, FormatError
from fcflow.formats.bind import SKIPPED, Binder, FieldUnreadable, Parsed
from fcflow.formats.cells import Format, Parse, Unreadable, limited
from fcflow.formats.codec import NO_BATCH, Batch, Cell, Codec, Row, Unwritable
from fcflow.formats.fields import Getter
from fcflow.formats.json_lines import as_stream
from fcflow.model import Problem, Record

__all__ = ["Engine", "Layout", "MappedEngine", "Reader", "Skip", "Writer"]


class Engine(Protocol):
    """What does the work of a layout."""

    content_type: str
    extension: str

    def decode(self, stream: BinaryIO) -> Iterator[Record | Problem]: ...

    def encode(self, values: Iterable[Any], batch: Batch) -> bytes: ...

    def projections(self, value: Any) -> list[Any]: ...


@frozen(kw_only=True)
class Layout:
    """
    A partner's layout, checked and compiled by `load_layout`. Immutable, and safe to share between threads.

    Args:
        name: How messages call it.

        kind: ``orders``, ``status`` or ``stock``.

        hash: SHA-256 of its document, so that what was written can be told from what would be written now.

        content_type: Media type of a payload.

        extension: End of a file's name, without the point.

        document: The layout as it was loaded.

    Example:
        >>> from fcflow.formats import load_layout
        >>> layout = load_layout("linnworks-stock")
        >>> records, problems = layout.read(b"SKU,Quantity\\r\\nMUG,12\\r\\nSOFA,two\\r\\n")
        >>> records[0].value.on_hand
        12
        >>> print(problems[0])
        line 3, column 2 (on_hand): expected digits, got 'two'
    """

    name: str
    kind: str
    hash: str
    content_type: str
    extension: str
    document: Mapping[str, Any] = field(eq=False, repr=False)
    _engine: Engine = field(eq=False, repr=False)

    def decode(self, stream: BinaryIO | bytes) -> Iterator[Record | Problem]:
        """
        The records of a payload and the problems with others, one by one, in bounded memory.

        Nothing may be kept of a payload whose decoding raises: its totals are only known at its end.

        Raises:
            FormatError: It cannot be framed, a mapped column is missing, or a total does not hold.
        """
        return self._engine.decode(as_stream(stream))

    def read(self, payload: bytes | BinaryIO) -> tuple[list[Record], list[Problem]]:
        """
        The same, collected: good records and problems.

        Raises:
            FormatError: As `decode`.
        """
        records: list[Record] = []
        problems: list[Problem] = []
        for item in self.decode(payload):
            if isinstance(item, Record):
                records.append(item)
            else:
                problems.append(item)
        return records, problems

    def encode(self, values: Iterable[Any], *, batch: Batch = NO_BATCH) -> bytes:
        """
        The payload that holds *values*; equal values of equal batches give equal bytes.

        Args:
            values: Of the layout's kind: `ShippingOrder` or `Order`, `StatusUpdate`, `StockLevel`.

            batch: What the payload is, for layouts whose envelope, header or running numbers say so.

        Raises:
            EncodeError: A value does not fit the layout; says which, and which field.

            FormatError: The format holds fewer values than were given.
        """
        return self._engine.encode(values, batch)

    def project(self, value: Any) -> Any:
        """
        What survives of *value* when it is written and read back.

        Raises:
            EncodeError: It does not fit the layout.

            FormatError: The layout makes several records of it; see `projections`.
        """
        found = self._engine.projections(value)
        if len(found) != 1:
            raise FormatError(f"layout {self.name}: expected one record of one value, got {len(found)}")
        return found[0]

    def projections(self, value: Any) -> list[Any]:
        """
        The records that *value* becomes when it is written and read back; several where every line is one.

        Raises:
            EncodeError: It does not fit the layout.
        """
        return self._engine.projections(value)


# ------------------------------------------------------------------ fields at work


@frozen(kw_only=True)
class Reader:
    """
    One field on its way in.

    Args:
        slot: Which cell of a row; ``None`` where the field is a constant.
    """

    name: str
    slot: int | None
    parse: Parse
    required: bool = False
    constant: str | None = None


@frozen(kw_only=True)
class Writer:
    """
    One place on its way out.

    Args:
        name: How messages call it: the place, and the canonical field.
    """

    name: str
    slot: int
    get: Getter
    format: Format
    required: bool = False
    limit: int | None = None
    options: Mapping[str, Any] = immutabledict()


@frozen(kw_only=True)
class Skip:
    """Rows that are left out: those whose cell is among *words*, or that hold anything where there are none."""

    slot: int
    words: frozenset[str]
    whole_record: bool

    def applies(self, cell: Cell) -> bool:
        text = cell.strip().casefold() if isinstance(cell, str) else ""
        return text in self.words if self.words else bool(text)


class _Group:
    """The rows of one record, as far as they have come."""

    def __init__(self, key: Hashable, row: Row) -> None:
        self.key = key
        self.row = row
        self.rows: list[Parsed] = []
        self.problems: list[Problem] = []
        self.skipped = False
        self.lines_skipped = 0
        self.harmed = False


class MappedEngine:
    """
    Rows by a codec, cells by fields, values by a binder.

    Args:
        width: How many places the codec was built with.

        unreadable: The field without which nothing can be read, or ``None``.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        binder: Binder,
        readers: Sequence[Reader],
        writers: Sequence[Writer],
        skips: Sequence[Skip],
        width: int,
        unreadable: str | None,
    ) -> None:
        self.content_type = codec.content_type
        self.extension = codec.extension
        self._codec = codec
        self._binder = binder
        self._readers = readers
        self._writers = writers
        self._skips = skips
        self._width = width
        self._unreadable = unreadable
        self._plan = [(reader.name, reader.slot, reader.parse) for reader in readers if reader.slot is not None]
        self._constants = {r.name: r.parse(r.constant) for r in readers if r.slot is None}
        self._required = [reader for reader in readers if reader.required]

    # -------------------------------------------------------------- reading

    def decode(self, stream: BinaryIO) -> Iterator[Record | Problem]:
        if self._unreadable is not None:
            raise FormatError(f"this layout can only be written: expected a field {self._unreadable!r} to read it")
        rows = self._codec.rows(stream)
        return self._grouped(rows) if self._binder.grouped else self._single(rows)

    def _single(self, rows: Iterator[Row | Problem]) -> Iterator[Record | Problem]:
        build = self._binder.build
        for row in rows:
            if isinstance(row, Problem):
                yield row
                continue
            if self._skips and any(skip.applies(row.cells[skip.slot]) for skip in self._skips):
                continue
            parsed = self._parsed(row)
            if isinstance(parsed, list):
                yield from parsed
                continue
            try:
                yield Record(line=row.line, value=build((parsed,)), raw=row.raw)
            except ValueError as error:
                yield self._problem(row, error)

    def _grouped(self, rows: Iterator[Row | Problem]) -> Iterator[Record | Problem]:
        """
        Records of neighbouring rows.

        A row that cannot be read may belong to the record before it or after it: where a record must be whole, neither
        is used.
        """
        group: _Group | None = None
        harmed, done = False, set[Hashable]()
        for row in rows:
            if isinstance(row, Problem):
                yield row
                harmed = True
                if group is not None:
                    group.harmed = True
                continue
            parsed = self._parsed(row)
            key = self._key(row, parsed)
            if key is None:
                yield from self._keyless(row, parsed)
                harmed = True
                if group is not None:
                    group.harmed = True
                continue
            if group is None or group.key != key:
                if group is not None:
                    yield from self._closed(group, done)
                group = _Group(key, row)
                group.harmed = harmed
            harmed = False
            self._take(group, row, parsed)
        if group is not None:
            yield from self._closed(group, done)

    def _key(self, row: Row, parsed: Parsed | list[Problem]) -> Hashable:
        """What the row belongs to; where it cannot be read as a whole, of the cells that can."""
        if not isinstance(parsed, list):
            return self._binder.key(parsed)
        readable: dict[str, Any] = {}
        for name, slot, parse in self._plan:
            try:
                readable[name] = parse(row.cells[slot])
            except Unreadable:
                readable[name] = None
        return self._binder.key(readable)

    def _keyless(self, row: Row, parsed: Parsed | list[Problem]) -> Iterator[Problem]:
        if isinstance(parsed, list):
            yield from parsed
            return
        try:
            self._binder.build((parsed,))
        except ValueError as error:
            yield self._problem(row, error)

    def _take(self, group: _Group, row: Row, parsed: Parsed | list[Problem]) -> None:
        if isinstance(parsed, list):
            group.problems += parsed
            return
        met = [skip for skip in self._skips if skip.applies(row.cells[skip.slot])]
        group.skipped = group.skipped or any(skip.whole_record for skip in met)
        if met:
            group.lines_skipped += 1
            header = {name: None if name.startswith("line.") else value for name, value in parsed.items()}
            group.rows.append({**header, SKIPPED: True})
        else:
            group.rows.append(parsed)

    def _closed(self, group: _Group, done: set[Hashable]) -> Iterator[Record | Problem]:
        if self._binder.whole_groups and group.key in done:
            said = "its rows do not stand together; it was read before"
            yield Problem(line=group.row.line, found=str(group.key), expected="rows of an order together", message=said)
            return
        done.add(group.key)
        if group.skipped or (group.lines_skipped and group.lines_skipped == len(group.rows) and not group.problems):
            return
        yield from group.problems
        if self._binder.whole_groups and group.problems:
            return
        if self._binder.whole_groups and group.harmed:
            said = f"{group.key} may lack a row: the one before or after it cannot be read"
            yield Problem(line=group.row.line, message=said, raw=group.row.raw)
            return
        if not group.rows:
            return
        try:
            value = self._binder.build(group.rows)
        except ValueError as error:
            yield self._problem(group.row, error)
        else:
            yield Record(line=group.row.line, value=value, raw=group.row.raw)

    def _parsed(self, row: Row) -> dict[str, Any] | list[Problem]:
        cells = row.cells
        try:
            parsed = {name: parse(cells[slot]) for name, slot, parse in self._plan}
        except Unreadable:
            return self._faults(row)
        if self._constants:
            parsed.update(self._constants)
        for reader in self._required:
            if parsed[reader.name] is None or parsed[reader.name] == ():
                return self._faults(row)
        return parsed

    def _faults(self, row: Row) -> list[Problem]:
        """Every cell of a bad row that cannot be read."""
        problems: list[Problem] = []
        for reader in self._readers:
            if reader.slot is None:
                continue
            cell = row.cells[reader.slot]
            try:
                value = reader.parse(cell)
                if reader.required and (value is None or value == ()):
                    raise Unreadable("something here", "")
            except Unreadable as error:
                found = error.found if error.found is not None else cell
                problems.append(self._at(row, reader.name, error.expected, str(found)))
        return problems

    def _at(self, row: Row, name: str, expected: str, found: str | None) -> Problem:
        slot = next((reader.slot for reader in self._readers if reader.name == name), None)
        column = None if slot is None else row.columns[slot]
        return Problem(line=row.line, column=column, field=name, expected=expected, found=found, raw=row.raw)

    def _problem(self, row: Row, error: ValueError) -> Problem:
        if isinstance(error, FieldUnreadable):
            found = "" if error.found is None else str(error.found)
            return self._at(row, error.name, error.expected, found)
        return Problem(line=row.line, message=str(error), raw=row.raw)

    # -------------------------------------------------------------- writing

    def encode(self, values: Iterable[Any], batch: Batch) -> bytes:
        return self._codec.write([self._rows(value) for value in values], batch)

    def _rows(self, value: Any) -> list[list[str]]:
        """The cells of *value*, by place, one or more rows."""
        if not isinstance(value, self._binder.value_types):
            wanted = " or ".join(each.__name__ for each in self._binder.value_types)
            raise EncodeError(f"expected {wanted}, got {type(value).__name__}")
        return [self._cells(value, part) for part in self._binder.parts(value)]

    def _cells(self, value: Any, part: Any) -> list[str]:
        cells = [""] * self._width
        carry = self._codec.carry
        for writer in self._writers:
            try:
                found = writer.get(value, part)
                text = limited(carry(writer.slot, writer.format(found)), writer.limit, writer.options)
            except Unwritable as error:
                raise EncodeError(f"{_called(value)}, {writer.name}: {error}") from error
            if writer.required and not text:
                raise EncodeError(f"{_called(value)}, {writer.name}: expected something, got nothing")
            cells[writer.slot] = text
        return cells

    def projections(self, value: Any) -> list[Any]:
        if self._unreadable is not None:
            raise FormatError(f"this layout can only be written: expected a field {self._unreadable!r} to read it")
        rows = [Row(1, cells, immutabledict(), [None] * self._width) for cells in self._rows(value)]
        found = list(self._grouped(iter(rows)) if self._binder.grouped else self._single(iter(rows)))
        for item in found:
            if isinstance(item, Problem):
                raise EncodeError(f"{_called(value)} cannot be read back: {item}")
        return [item.value for item in found if isinstance(item, Record)]


_CALLED: Mapping[str, Callable[[Any], str]] = {
    "Order": lambda value: f"order {value.order_id}",
    "ShippingOrder": lambda value: f"order {value.fulfilment_id}",
    "StatusUpdate": lambda value: f"status of {value.reference}",
    "StockLevel": lambda value: f"stock of {value.sku}",
}


def _called(value: Any) -> str:
    """How messages call a value."""
    return _CALLED[type(value).__name__](value)
