"""
A stock file as an Arrow table, for files of a million rows: `Layout.read_table`. Needs the extra ``batch``.

The file is read in pieces of whole lines. A piece that is plain beyond doubt is split and converted by pyarrow, every
other one row by row; both say the same.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, BinaryIO, TypeAlias, cast

from fcflow.errors import MissingExtraError
from fcflow.formats.bind import is_good_stock
from fcflow.formats.codec import Block, Codec, Row, TableCodec, TableDialect, Unreadable
from fcflow.formats.numerals import DIGITS
from fcflow.formats.reading import Reader, Reading, ReadingPlan, Source
from fcflow.formats.text import ODD_BYTES
from fcflow.model import Problem, Record

try:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv
except ImportError as error:
    raise MissingExtraError("batch", "pyarrow") from error

__all__ = ["read_stock_table", "stock_schema"]

_HEAD = 65_536
_PIECE = 2_097_152
_MANY = 65_536
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Items: TypeAlias = Iterable[Row | Problem | Block]
Columns: TypeAlias = dict[str, Any]
"""By field a list of values, or an array that pyarrow has made."""


def stock_schema() -> pa.Schema:
    """
    The columns of a stock table: those of `fcflow.StockLevel`, after the line on which a row begins.

    Example:
        >>> stock_schema().names
        ['line', 'location', 'sku', 'on_hand', 'reserved', 'inbound', 'as_of']
    """
    counters = [(name, pa.int64()) for name in ("on_hand", "reserved", "inbound")]
    fields = [("location", pa.string()), ("sku", pa.string()), *counters, ("as_of", pa.timestamp("us", tz="UTC"))]
    return pa.schema([pa.field("line", pa.int64(), nullable=False), *(pa.field(*each) for each in fields)])


def read_stock_table(
    codec: Codec, plan: ReadingPlan, stream: BinaryIO, source: Source
) -> tuple[pa.Table, list[Problem]]:
    """The good rows of a stock file, and the problems with others."""
    reading = _TableReading(codec, plan, source)
    batches = list(reading.batches(stream))
    return pa.Table.from_batches(batches, schema=stock_schema()), reading.problems


class _TableReading:
    """One file being read."""

    def __init__(self, codec: Codec, plan: ReadingPlan, source: Source) -> None:
        self._codec = codec
        self._plan = plan
        self._reading = Reading(plan, source)
        self.problems: list[Problem] = []

    def batches(self, stream: BinaryIO) -> Iterator[pa.RecordBatch]:
        """The rows of the file, some at a time."""
        dialect: TableDialect | None = getattr(self._codec, "table_dialect", None)
        if dialect is None or self._plan.bulk is None:
            yield from self._by_row(getattr(self._codec, "blocks", self._codec.rows)(stream))
            return
        head = stream.read(_HEAD)
        items = cast("TableCodec", self._codec).blocks(_again(head, stream))
        first = next(items, None)
        at = None
        if isinstance(first, Block) and _lines_in(head) == head.count(b"\n") and not head.startswith(_WIDE_MARKS):
            at = _start_of(head, first.line)
        if at is None:
            yield from self._by_row(chain(() if first is None else (first,), items))
        else:
            yield from self._in_pieces(cast("Block", first), dialect, _again(head[at:], stream))

    def _in_pieces(self, first: Block, dialect: TableDialect, stream: BinaryIO) -> Iterator[pa.RecordBatch]:
        """Piece by piece; *first* says where the columns stand, and on which line *stream* begins."""
        splitter, line, codec = _Splitter(first, dialect), first.line, cast("TableCodec", self._codec)
        for content, left in _pieces(stream):
            cells = splitter.cells(content)
            said = None if cells is None else self._converted(first, cells)
            if said is not None:
                yield _batch(said, np.arange(line, line + said["count"]))
                line += said["count"]
            elif cells is None and splitter.is_quoted(content):
                # where such a piece ends, in the middle of a quoted cell or not, only reading on can tell
                yield from self._by_row(codec.resumed(_again(content + left, stream), first, line))
                return
            else:
                yield from self._by_row(codec.resumed(io.BytesIO(content), first, line))
                line += _lines_in(content)

    def _converted(self, first: Block, cells: _Cells) -> Columns | None:
        """The values of a piece; ``None`` where one of them is no good."""
        count = len(cells.table)
        said: Columns = {name: [value] * count for name, value in self._reading.fixed.items()}
        try:
            for reader in self._plan.readers:
                if reader.slot is not None:
                    slot = first.slots[reader.slot]
                    said[reader.name] = [reader.parse(None)] * count if slot is None else cells.values(slot, reader)
        except Unreadable:
            return None
        if any(_lacks(said[name]) for name in self._plan.required) or _lacks(said["sku"]):
            return None
        checked = {**said, "sku": ()} if isinstance(said["sku"], pa.Array) else said
        return {**said, "count": count} if is_good_stock(checked) else None

    def _by_row(self, items: Items) -> Iterator[pa.RecordBatch]:
        records: list[Record] = []
        for item in self._reading.records(iter(items)):
            if isinstance(item, Problem):
                self.problems.append(item)
                continue
            records.append(item)
            if len(records) == _MANY:
                yield _of_records(records)
                records = []
        if records:
            yield _of_records(records)


# ------------------------------------------------------------------ bytes to cells


def _again(head: bytes, stream: BinaryIO) -> BinaryIO:
    """What was read already, and then the rest of the stream."""
    return cast("BinaryIO", _Again(head, stream))


class _Again(io.RawIOBase):
    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._stream.read(size)
        content, self._head = (self._head, b"") if size < 0 else (self._head[:size], self._head[size:])
        return content


def _pieces(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Pieces of whole lines, each with the beginning of the next line."""
    left = b""
    while more := stream.read(_PIECE):
        end = more.rfind(b"\n") + 1
        if end:
            content, left = left + more[:end], more[end:]
            yield content, left
        else:
            left += more
    if left:
        yield left, b""


def _lines_in(content: bytes) -> int:
    """How many line ends there are, of whatever kind."""
    return content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")


def _start_of(head: bytes, line: int) -> int | None:
    """Where *line* begins; ``None`` where that is not in *head*."""
    at = 0
    for _ in range(line - 1):
        at = head.find(b"\n", at) + 1
        if not at:
            return None
    return at


class _Splitter:
    """Pieces of a file to cells."""

    def __init__(self, first: Block, dialect: TableDialect) -> None:
        self._dialect = dialect
        self._width = len(first.records[0] if first.names is None else first.names)
        names = list(map(str, range(self._width)))
        wanted = sorted({str(slot) for slot in first.slots if slot is not None}, key=int)
        self._names = names
        self._parse = csv.ParseOptions(
            delimiter=dialect.delimiter, quote_char=dialect.quote or False, escape_char=False, ignore_empty_lines=False
        )
        self._convert = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), include_columns=wanted, strings_can_be_null=False
        )

    def is_quoted(self, content: bytes) -> bool:
        return self._dialect.quote is not None and self._dialect.quote.encode() in content

    def cells(self, content: bytes) -> _Cells | None:
        """The cells of a piece; ``None`` where it is not plain beyond doubt."""
        lines = self._plain_lines(content)
        if lines is None or (self.is_quoted(content) and not self._is_simply_quoted(content, lines)):
            return None
        read = csv.ReadOptions(column_names=self._names, use_threads=False, block_size=len(content) + 1)
        try:
            table = csv.read_csv(
                pa.BufferReader(content), read_options=read, parse_options=self._parse, convert_options=self._convert
            )
        except pa.ArrowInvalid:
            return None
        return _Cells(table, content) if len(table) == lines else None

    def _plain_lines(self, content: bytes) -> int | None:
        """How many lines there are; ``None`` where there are characters, or a length, that must be looked at."""
        if len(content.translate(None, ODD_BYTES)) < len(content):
            return None
        if not content.isascii() and self._dialect.encoding != "utf-8":
            return None
        if b"\t" in content and self._dialect.delimiter != "\t":
            return None
        octets = np.frombuffer(content, np.uint8)
        ends = np.flatnonzero(octets == ord("\n"))
        returns = content.count(b"\r")
        if returns and (returns > len(ends) or np.count_nonzero(octets[ends - 1] == ord("\r")) < returns):
            return None
        if np.diff(ends, prepend=-1, append=len(content)).max() > self._dialect.max_line:
            return None
        return len(ends) + (not content.endswith(b"\n"))

    def _is_simply_quoted(self, content: bytes, lines: int) -> bool:
        """
        Whether quotes stand around whole cells and nowhere else, and none of these cells holds a delimiter.

        As no delimiter stands inside of quotes, each quote that is next to one, or to a line's end, begins or ends a
        cell.
        """
        mark, delimiter = (self._dialect.quote or "").encode(), self._dialect.delimiter.encode()
        if content.count(delimiter) != lines * (self._width - 1):
            return False
        begin = content.count(delimiter + mark) + content.count(b"\n" + mark) + content.startswith(mark)
        end = content.count(mark + delimiter) + content.count(mark + b"\r\n") + content.count(mark + b"\n")
        return begin == end + content.endswith(mark) and 2 * begin == content.count(mark)


class _Cells:
    """The cells of one piece, all of them texts."""

    def __init__(self, table: pa.Table, content: bytes) -> None:
        self.table = table
        self._is_ascii = content.isascii()
        self._has_blanks = b" " in content or b"\t" in content

    def values(self, slot: int, reader: Reader) -> Any:
        """The values of one column; raises `Unreadable`."""
        cells = self.table.column(str(slot)).combine_chunks()
        if self._is_ascii and reader.plain == "text":
            texts = self._trimmed(cells)
            return pc.if_else(pc.equal(texts, ""), None, texts) if _shortest(texts) == 0 else texts
        if self._is_ascii and reader.plain == "integer":
            texts = self._trimmed(cells)
            if _are_digits(texts):
                return texts.cast(pa.int64())
        return reader.parse_all(cells.to_pylist())

    def _trimmed(self, cells: pa.Array) -> pa.Array:
        return pc.ascii_trim_whitespace(cells) if self._has_blanks else cells


def _shortest(texts: pa.Array) -> int:
    return int(pc.min(pc.binary_length(texts)).as_py())


def _are_digits(texts: pa.Array) -> bool:
    lengths = pc.min_max(pc.binary_length(texts)).as_py()
    if lengths["min"] < 1 or lengths["max"] > DIGITS:
        return False
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return not bytes(memoryview(data)[bounds[0] : bounds[-1]]).translate(None, b"0123456789")


# ------------------------------------------------------------------ values to a table


def _lacks(values: Any) -> bool:
    """Whether one of the values is not there."""
    return bool(values.null_count) if isinstance(values, pa.Array) else None in values


def _of_records(records: Sequence[Record]) -> pa.RecordBatch:
    levels = [record.value for record in records]
    columns = {name: list(map(attrgetter(name), levels)) for name in stock_schema().names[1:]}
    return _batch(columns, np.array([record.line for record in records]))


def _batch(said: Mapping[str, Any], lines: np.ndarray[Any, Any]) -> pa.RecordBatch:
    schema = stock_schema()
    numbers = pa.array(lines, pa.int64())
    columns = [_column(said.get(field.name), field.type, len(lines)) for field in list(schema)[1:]]
    return pa.RecordBatch.from_arrays([numbers, *columns], schema=schema)


def _column(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    return values if isinstance(values, pa.Array) else pa.array(values, kind)
