"""
A layout at work: payloads to values and values to payloads, one way for orders, statuses and stock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO, Protocol

from attrs import field, frozen
from immutabledict import immutabledict

from fcflow.errors import EncodeError, FormatError
from fcflow.formats.codec import NO_BATCH, Batch, Codec, Row
from fcflow.formats.json_lines import as_stream
from fcflow.formats.reading import Reading, ReadingPlan, Source
from fcflow.formats.writing import Writing, called
from fcflow.model import Problem, Record

__all__ = ["Engine", "Layout", "MappedEngine"]


class Engine(Protocol):
    """What does the work of a layout."""

    content_type: str
    extension: str

    def decode(self, stream: BinaryIO, source: Source) -> Iterator[Record | Problem]: ...

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

    def decode(
        self, stream: BinaryIO | bytes, *, name: str | None = None, modified_at: datetime | None = None
    ) -> Iterator[Record | Problem]:
        """
        The records of a payload and the problems with others, one by one, in bounded memory.

        Nothing may be kept of a payload whose decoding raises: its totals are only known at its end.

        Args:
            name: Of the file, for layouts that find a time or a text in it.

            modified_at: When the partner's server says that the file was written, for layouts that ask for it.

        Raises:
            FormatError: It cannot be framed, a mapped column is missing, or a total does not hold.
        """
        return self._engine.decode(as_stream(stream), Source(name=name, modified_at=modified_at))

    def read(
        self, payload: bytes | BinaryIO, *, name: str | None = None, modified_at: datetime | None = None
    ) -> tuple[list[Record], list[Problem]]:
        """
        The same, collected: good records and problems.

        Raises:
            FormatError: As `decode`.
        """
        records: list[Record] = []
        problems: list[Problem] = []
        for item in self.decode(payload, name=name, modified_at=modified_at):
            if isinstance(item, Record):
                records.append(item)
            else:
                problems.append(item)
        return records, problems

    def read_table(
        self, payload: bytes | BinaryIO, *, name: str | None = None, modified_at: datetime | None = None
    ) -> tuple[Any, list[Problem]]:
        """
        The good rows of a stock file as an Arrow table, and the problems with others; the same as `read`, only sooner.

        Its columns are ``line`` and the fields of `fcflow.StockLevel`: ``location`` and ``sku`` texts; ``on_hand``,
        ``reserved`` and ``inbound`` whole units; ``as_of`` an instant in UTC. What the file does not say is null.
        Needs the extra ``batch``.

        Raises:
            FormatError: As `decode`; or the layout holds no stock, or has no fields.

            MissingExtraError: The extra is not installed.

        Example:
            >>> from fcflow.formats import load_layout
            >>> table, problems = load_layout("linnworks-stock").read_table(b"SKU,Quantity\\r\\nMUG,12\\r\\n")
            >>> table.select(["line", "sku", "on_hand"]).to_pylist()
            [{'line': 2, 'sku': 'MUG', 'on_hand': 12}]
        """
        if self.kind != "stock" or not isinstance(self._engine, MappedEngine):
            raise FormatError(f"layout {self.name}: expected a layout of stock with fields, got one of {self.kind}")
        return self._engine.decode_table(as_stream(payload), Source(name=name, modified_at=modified_at))

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


class MappedEngine:
    """
    Rows by a codec, cells by fields, values by a binder.

    Args:
        width: How many places the codec was built with.

        unreadable: The field without which nothing can be read, or ``None``.
    """

    def __init__(
        self, *, codec: Codec, reading: ReadingPlan, writing: Writing, width: int, unreadable: str | None
    ) -> None:
        self.content_type = codec.content_type
        self.extension = codec.extension
        self._codec = codec
        self._plan = reading
        self._writing = writing
        self._width = width
        self._unreadable = unreadable

    def decode(self, stream: BinaryIO, source: Source) -> Iterator[Record | Problem]:
        self._check_readable()
        frame = getattr(self._codec, "blocks", self._codec.rows)
        return Reading(self._plan, source).records(frame(stream))

    def decode_table(self, stream: BinaryIO, source: Source) -> tuple[Any, list[Problem]]:
        from fcflow.formats.stock_table import read_stock_table  # needs an extra

        self._check_readable()
        return read_stock_table(self._codec, self._plan, stream, source)

    def encode(self, values: Iterable[Any], batch: Batch) -> bytes:
        return self._writing.payload(values, batch)

    def projections(self, value: Any) -> list[Any]:
        self._check_readable()
        columns: list[int | None] = [None] * self._width
        rows = [Row(1, cells, immutabledict(), columns) for cells in self._writing.rows(value)]
        found = list(Reading(self._plan, Source()).records(iter(rows)))
        for item in found:
            if isinstance(item, Problem):
                raise EncodeError(f"{called(value)} cannot be read back: {item}")
        return [item.value for item in found if isinstance(item, Record)]

    def _check_readable(self) -> None:
        if self._unreadable is not None:
            raise FormatError(f"this layout can only be written: expected a field {self._unreadable!r} to read it")
