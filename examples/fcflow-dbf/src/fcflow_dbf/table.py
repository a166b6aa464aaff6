"""
The codec ``dbf:table``: dBase III tables.

A header of 32 bytes, 32 more for each column, then records of one length: a byte that says whether the record is
deleted, and the columns one after the other, texts filled up on their right and numbers on their left.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from attrs import frozen
from immutabledict import immutabledict

from fcflow.errors import Fault, FormatError, LayoutError
from fcflow.formats import Batch, Cell, CodecType, Place, Row, Unwritable
from fcflow.model import Problem

__all__ = ["DBF", "DbfCodec"]

_HEADER = struct.Struct("<BBBBIHH20x")
_COLUMN = struct.Struct("<11sc4xBB14x")
_NAME = re.compile("[A-Z][A-Z0-9_]{0,9}")
_END_OF_HEADER, _END_OF_FILE = b"\r", b"\x1a"
_MOST_WIDTH = {"C": 254, "N": 20}
_NUMBERS = ("integer", "amount", "weight")


@frozen
class _Column:
    """A column: its name, its type (C, N, D, L, M), and where it stands in a record."""

    name: str
    type: str
    start: int
    width: int


class DbfCodec:
    """Reads and writes one table."""

    content_type = "application/vnd.dbf"
    extension = "dbf"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._places = places
        self._encoding: str = options.get("encoding", "cp850")
        self._types = ["N" if place.type in _NUMBERS else "C" for place in places]
        self._widths = [int(place.options.get("width", 0)) for place in places]

    # -------------------------------------------------------------- reading

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        """The records that are not deleted, by number."""
        count, length, columns = self._header(stream)
        chosen = self._chosen(columns)
        for number in range(1, count + 1):
            record = _exactly(stream, length)
            if len(record) < length:
                raise FormatError(f"record {number}: the header says {count} records, got {number - 1}")
            if record[:1] == b" ":
                yield self._row(number, record, columns, chosen)
            elif record[:1] != b"*":
                yield Problem(line=number, expected="a blank or * before the record", found=repr(record[:1])[2:-1])

    def _header(self, stream: BinaryIO) -> tuple[int, int, list[_Column]]:
        head = _exactly(stream, _HEADER.size)
        if len(head) < _HEADER.size or head[0] & 7 != 3:
            raise FormatError(f"expected the header of a dBase III table, got {head[:8]!r}")
        _, _, _, _, count, size, length = _HEADER.unpack(head)
        described, _, rest = _exactly(stream, max(0, size - _HEADER.size)).partition(_END_OF_HEADER)
        if len(described) % _COLUMN.size or not described or (size - _HEADER.size) != len(described) + 1 + len(rest):
            raise FormatError("expected a header that describes whole columns, and its end")
        columns = list(_described(described))
        if length != 1 + sum(column.width for column in columns):
            raise FormatError(f"expected records as long as their columns, got {length} bytes")
        return count, length, columns

    def _chosen(self, columns: Sequence[_Column]) -> list[int | None]:
        """For each place the index of its column."""
        names = [column.name for column in columns]
        chosen: list[int | None] = []
        for place in self._places:
            at = names.index(str(place.at)) if place.at in names else None
            if at is None and not place.optional:
                raise FormatError(f"header: expected column {place.at!r}, got {', '.join(names)}")
            if at is not None and columns[at].type == "M":
                raise FormatError(f"header: column {place.at!r} is a memo, which lies in a file of its own")
            chosen.append(at)
        return chosen

    def _row(
        self, number: int, record: bytes, columns: Sequence[_Column], chosen: Sequence[int | None]
    ) -> Row | Problem:
        cells: list[str] = []
        for place, column in enumerate(columns, start=1):
            try:
                text = record[column.start : column.start + column.width].decode(self._encoding)
            except UnicodeDecodeError as error:
                expected, found = f"text in {self._encoding}", f"byte 0x{error.object[error.start]:02X}"
                return Problem(line=number, column=place, expected=expected, found=found)
            bare = text.strip("\0 ")
            if not bare.isprintable():
                return Problem(line=number, column=place, expected="printable text", found=bare)
            cells.append(bare)
        raw = immutabledict({column.name: cell for column, cell in zip(columns, cells, strict=True)})
        taken = [None if at is None else cells[at] for at in chosen]
        return Row(number, taken, raw, [None if at is None else at + 1 for at in chosen])

    # -------------------------------------------------------------- writing

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        """The table, dated by its batch."""
        rows = [row for record in records for row in record]
        columns = zip(self._places, self._types, self._widths, strict=True)
        described = b"".join(
            _COLUMN.pack(str(place.at).encode(), kind.encode(), width, 0) for place, kind, width in columns
        )
        size, length = _HEADER.size + len(described) + 1, 1 + sum(self._widths)
        head = _HEADER.pack(3, batch.at.year % 100, batch.at.month, batch.at.day, len(rows), size, length)
        return b"".join([head, described, _END_OF_HEADER, *map(self._record, rows), _END_OF_FILE])

    def _record(self, row: Sequence[Cell]) -> bytes:
        filled = []
        for cell, kind, width in zip(row, self._types, self._widths, strict=True):
            content = (cell if isinstance(cell, str) else "").encode(self._encoding)
            filled.append(content.rjust(width) if kind == "N" else content.ljust(width))
        return b" " + b"".join(filled)

    def carry(self, place: int, text: str) -> str:
        """What is read back: the text without blanks around it; refused where the column cannot hold it."""
        text = text.strip()
        try:
            size = len(text.encode(self._encoding))
        except UnicodeEncodeError as error:
            raise Unwritable(f"expected text that {self._encoding} can hold, got {text!r}") from error
        if not text.isprintable():
            raise Unwritable(f"expected text without control characters, got {text!r}")
        if size > self._widths[place]:
            raise Unwritable(f"expected at most {self._widths[place]} bytes, got {size} in {text!r}")
        return text


def _exactly(stream: BinaryIO, size: int) -> bytes:
    """*size* bytes, or fewer at the end, however little the stream gives at a time."""
    pieces, left = list[bytes](), size
    while left and (piece := stream.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _described(content: bytes) -> Iterator[_Column]:
    start = 1
    for name, kind, width, _ in _COLUMN.iter_unpack(content):
        column = _Column(name.partition(b"\0")[0].decode("ascii", "replace"), kind.decode("latin-1"), start, width)
        start += width
        yield column


def _build(options: Mapping[str, Any], places: Sequence[Place]) -> DbfCodec:
    faults = []
    for place in places:
        most = _MOST_WIDTH["N" if place.type in _NUMBERS else "C"]
        if not isinstance(place.at, str) or not _NAME.fullmatch(place.at):
            expected = "the name of a column: at most 10 capitals, digits and underscores"
            faults.append(Fault("", path=f"{place.path}.at", expected=expected, found=place.at))
        if not 1 <= place.options.get("width", 0) <= most:
            expected = f"a width from 1 to {most}"
            faults.append(Fault("", path=f"{place.path}.width", expected=expected, found=place.options.get("width")))
    if faults:
        raise LayoutError("layout", faults)
    return DbfCodec(options, places)


DBF = CodecType(
    name="dbf:table",
    summary="dBase III tables",
    options_schema={
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "type": {"const": "dbf:table"},
            "encoding": {"type": "string", "description": "Encoding of texts, such as cp850 (the default) or cp1252."},
        },
    },
    build=_build,
)
