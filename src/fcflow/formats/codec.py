"""
What a codec is: the way a payload is framed into rows of cells, and rows into a payload.

A codec knows nothing of orders. It is told the *places* that a layout names and gives one cell a place
for every row.
Where the format nests (a form with numbered items, an object with a list), the outer cells are repeated on every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias

from attrs import frozen
from immutabledict import immutabledict

from fcflow.model import Problem

__all__ = ["NO_BATCH", "Batch", "Cell", "Codec", "CodecType", "Place", "Row", "Unreadable", "Unwritable"]

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
    """

    line: int
    cells: Sequence[Cell]
    raw: immutabledict[str, str]
    columns: Sequence[int | None]


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


@frozen(kw_only=True)
class CodecType:
    """
    A codec that layouts may name.

    Args:
        name: What stands in ``codec.type``.

        options_schema: JSON Schema of the ``codec`` object; options are validated before *build* is called.

        build: Takes the ``codec`` object and the places; raises `LayoutError` where the two do not fit.
    """

    name: str
    options_schema: Mapping[str, Any]
    build: Callable[[Mapping[str, Any], Sequence[Place]], Codec]
    summary: str = ""
