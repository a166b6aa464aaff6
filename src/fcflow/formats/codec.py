"""
What a codec is: the way a payload is framed into rows of cells, and rows into a payload.

A codec knows nothing of orders. It is told the *places* that a layout names and gives one cell a place
for every row.
Where the format nests (a form with numbered items, an object with a list), the outer cells are repeated on every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias

from attrs import frozen
from immutabledict import immutabledict

from fcflow.model import Problem

__all__ = [
    "NO_BATCH",
    "Batch",
    "Block",
    "BlockCodec",
    "Cell",
    "Codec",
    "CodecType",
    "Place",
    "Row",
    "Unreadable",
    "Unwritable",
]

Cell: TypeAlias = str | list[str] | None
"""A cell's text, a list of texts where the format has lists, or ``None`` where the place is missing."""


@frozen(kw_only=True)
class Batch:
    """
    What a payload is, beside the values that it holds: envelopes, running numbers and headers are made of it.

    Args:
        number: Of the feed's payloads, from 1; a payload that is sent again keeps its own.

        at: Aware; when it was written.

        partner: The partner's code.

        key: The delivery key; empty where nothing is delivered.

        test: Whether the partner is to check it and do nothing.
    """

    number: int = 1
    at: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    partner: str = ""
    key: str = ""
    test: bool = False


NO_BATCH = Batch()
"""Of a payload that leaves for nowhere: number 1 at the beginning of 2000, so that equal values give equal bytes."""


class Row(NamedTuple):
    """
    One framed row.

    Args:
        line: 1-based line on which it begins.

        cells: One a place, in the order of the places the codec was built with.

        raw: Every cell of the row as it stood, by header or position.

        columns: Of each place, the 1-based column that messages name, or ``None``.

        lines: Of each place, the line that messages name, where a row is made of several lines.
    """

    line: int
    cells: Sequence[Cell]
    raw: immutabledict[str, str]
    columns: Sequence[int | None]
    lines: Sequence[int] | None = None


@frozen
class Block:
    """
    Neighbouring records of a table, one a line: what can be read column by column where nothing is odd about it.

    Args:
        line: 1-based line of the first.

        names: Of the cells of a record, as `Row.raw` has them; ``None`` where there is no header.

        slots: Of each place, where it stands in a record, or ``None``.

        frame: From a record and its line to its rows.

    """

    line: int
    records: Sequence[list[str]]
    names: Sequence[str] | None
    slots: Sequence[int | None]
    frame: Callable[[list[str], int], Sequence[Row | Problem]]

    def rows(self) -> Iterator[Row | Problem]:
        """The same, row by row; blank ones are left out."""
        for line, record in enumerate(self.records, self.line):
            if record and (record[0].strip() or any(map(str.strip, record))):
                yield from self.frame(record, line)

    def columns(self) -> list[Sequence[str] | None] | None:
        """By place its cells; ``None`` where the records are not all of the right width. Blank rows are among them."""
        try:
            columns = list(zip(*self.records, strict=True))
        except ValueError:
            return None
        found, least = len(columns), 1 + max((slot for slot in self.slots if slot is not None), default=0)
        if found < least if self.names is None else found != len(self.names):
            return None
        return [None if slot is None else columns[slot] for slot in self.slots]

    def raws(self) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        """Of each record the names of its cells, and the cells."""
        names = self.names or tuple(map(str, range(1, len(self.records[0]) + 1)))
        return zip(repeat(names), self.records)  # the names come again


@frozen(kw_only=True)
class Place:
    """
    Where a field stands.

    Args:
        at: What the layout says: a header, a position, a path.

        type: The field's type, for formats that tell numbers from text.

        path: The field's JSON path in the layout, for messages.

        name: The canonical field, or ``None`` for a constant.

        optional: Whether the place may be missing from a payload.

        options: The field's own options (``width``, ``align``, ``pad``).
    """

    at: str | int
    type: str
    path: str
    name: str | None
    optional: bool
    options: Mapping[str, Any]

    @property
    def is_only_read(self) -> bool:
        """Whether nothing is ever written there; such places may lie over others."""
        return self.options.get("direction") == "read"


class Unreadable(ValueError):  # a signal inside formats; callers see a Problem
    """A cell that does not hold what its field needs; says what was expected."""

    def __init__(self, expected: str, found: object = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = found


class Unwritable(ValueError):  # a signal inside formats; callers see EncodeError
    """A text that the codec cannot carry; says what is wrong with it."""


class Codec(Protocol):
    """Frames one payload. Immutable, and safe to share between threads."""

    content_type: str
    extension: str

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        """
        The rows of *stream*, one by one, in bounded memory.

        Raises:
            FormatError: The payload cannot be framed, a place is missing, or a total does not hold.
        """
        ...

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        """
        The payload that holds *records*, each one or more rows of one cell a place.

        Args:
            batch: For what stands around the records.

        Raises:
            FormatError: The format holds fewer records than were given.
        """
        ...

    def carry(self, place: int, text: str) -> str:
        """
        What is read back when *text* is written at *place*.

        Raises:
            Unwritable: The format cannot hold the text.
        """
        ...


class BlockCodec(Codec, Protocol):
    """A codec that can take many rows at once as well."""

    writes_columns: bool
    """Whether it does on the way out; on the way in it may give a block whenever it likes."""

    def blocks(self, stream: BinaryIO) -> Iterator[Row | Problem | Block]:
        """The same as `rows`, where some rows come as blocks."""
        ...

    def write_columns(self, blocks: Iterable[Sequence[Sequence[str]]], batch: Batch) -> bytes:
        """The same as `write`; a block has one column a place."""
        ...

    def carry_all(self, place: int, texts: Sequence[str]) -> Sequence[str]:
        """The same as `carry` for many texts."""
        ...


@frozen
class TableDialect:
    """
    How a table is written, where its lines can be split without knowing more.

    Args:
        encoding: By Python's name; in any but UTF-8 only ASCII is known to be the same.

        max_line: Characters a line may have.
    """

    delimiter: str
    quote: str | None
    encoding: str
    max_line: int


class TableCodec(BlockCodec, Protocol):
    """A codec whose payloads may be split by something else than itself."""

    table_dialect: TableDialect | None

    def resumed(self, stream: BinaryIO, block: Block, line: int) -> Iterator[Row | Problem | Block]:
        """The rows of a payload from *line* on, which *stream* begins with; its columns stand as in *block*."""
        ...


@frozen(kw_only=True)
class CodecType:
    """
    A codec that layouts may name.

    Args:
        name: What stands in ``codec.type``.

        options_schema: JSON Schema of the ``codec`` object; options are validated before *build* is called.

        build: Takes the ``codec`` object and the places; raises `LayoutError` where the two do not fit.

        whole_records: Whether the rows between two problems are all of their records, as in formats that nest: a
            problem then does not put the records beside it in doubt.
    """

    name: str
    options_schema: Mapping[str, Any]
    build: Callable[[Mapping[str, Any], Sequence[Place]], Codec]
    summary: str = ""
    whole_records: bool = False
