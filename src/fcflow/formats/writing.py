"""
Writing: values to the cells that a codec frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from attrs import frozen
from immutabledict import immutabledict

from fcflow.errors import EncodeError
from fcflow.formats.bind import Binder
from fcflow.formats.bulk_writing import BulkWriting, Columns, bulk_writing
from fcflow.formats.cells import Format, FormatAll, limited
from fcflow.formats.codec import NO_BATCH, Batch, BlockCodec, Codec, Unwritable
from fcflow.formats.fields import Written

__all__ = ["Get", "PlacesWriter", "Writer", "Writing", "called"]


_BLOCK = 500

Get = Callable[[Any, Any, Written], Any]


@frozen(kw_only=True)
class Writer:
    """
    One place on its way out.

    Args:
        name: How messages call it: the place, and the canonical field.

        get: Takes the value, its part, and where writing has got to.

        format_all: The same as *format* for many at once.

        is_of_value: Whether the text is the same in every row of the value.

        asks_where: Whether it depends on where writing has got to.
    """

    name: str
    slot: int
    get: Get
    format: Format
    format_all: FormatAll
    is_of_value: bool = False
    asks_where: bool = True
    required: bool = False
    limit: int | None = None
    options: Mapping[str, Any] = immutabledict()


@frozen(kw_only=True)
class PlacesWriter:
    """
    Several places on their way out.

    Args:
        texts: From what *get* gives to one text a place.
    """

    name: str
    slots: Sequence[int]
    get: Get
    texts: Callable[[Any], Sequence[str]]
    is_of_value: bool = False
    asks_where: bool = True
    required: bool = False
    limit: int | None = None
    options: Mapping[str, Any] = immutabledict()


class Writing:
    """
    How values are written; immutable.

    Args:
        width: How many places the codec was built with.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        binder: Binder,
        writers: Sequence[Writer],
        several: Sequence[PlacesWriter] = (),
        width: int,
    ) -> None:
        self._codec = codec
        self._binder = binder
        self._writers = writers
        self._several = several
        self._width = width
        self._bulk = bulk_writing(codec, binder, writers, several, width)

    def payload(self, values: Iterable[Any], batch: Batch) -> bytes:
        """
        The bytes of *values*.

        Raises:
            EncodeError: A value does not fit.
        """
        if self._bulk is not None:
            return cast("BlockCodec", self._codec).write_columns(self._blocks(values, batch, self._bulk), batch)
        records: list[list[list[str]]] = []
        row = 1
        for number, value in enumerate(values, start=1):
            records.append(self.rows(value, Written(batch, number, row, 1)))
            row += len(records[-1])
        return self._codec.write(records, batch)

    def _blocks(self, values: Iterable[Any], batch: Batch, bulk: BulkWriting) -> Iterator[Columns]:
        """The cells of the values by place, some values at a time."""
        left, record, row = iter(values), 1, 1
        while block := list(islice(left, _BLOCK)):
            columns = bulk.columns(block, batch, record, row) or self._by_place(block, batch, record, row)
            yield columns
            record, row = record + len(block), row + len(columns[0])

    def _by_place(self, values: Sequence[Any], batch: Batch, record: int, row: int) -> Columns:
        """The same, one value after the other."""
        rows: list[list[str]] = []
        for number, value in enumerate(values, record):
            rows += self.rows(value, Written(batch, number, row + len(rows), 1))
        return list(zip(*rows, strict=True))

    def rows(self, value: Any, at: Written = Written(NO_BATCH, 1, 1, 1)) -> list[list[str]]:  # noqa: B008  # immutable
        """The cells of *value*, by place, one or more rows; *at* is where its first row stands."""
        if not isinstance(value, self._binder.value_types):
            wanted = " or ".join(each.__name__ for each in self._binder.value_types)
            raise EncodeError(f"expected {wanted}, got {type(value).__name__}")
        try:
            parts = self._binder.parts(value)
        except Unwritable as error:
            raise EncodeError(f"{called(value)}, {error}") from error
        return [
            self._cells(value, part, Written(at.batch, at.record, at.row + index, at.line + index))
            for index, part in enumerate(parts)
        ]

    def _cells(self, value: Any, part: Any, at: Written) -> list[str]:
        cells = [""] * self._width
        carry = self._codec.carry
        for writer in self._writers:
            try:
                found = writer.format(writer.get(value, part, at))
                text = limited(carry(writer.slot, found), writer.limit, writer.options)
            except Unwritable as error:
                raise EncodeError(f"{called(value)}, {writer.name}: {error}") from error
            if writer.required and not text:
                raise EncodeError(f"{called(value)}, {writer.name}: expected something, got nothing")
            cells[writer.slot] = text
        for several in self._several:
            self._fill(cells, several, several.get(value, part, at), value)
        return cells

    def _fill(self, cells: list[str], writer: PlacesWriter, said: Any, value: Any) -> None:
        try:
            for slot, text in zip(writer.slots, writer.texts(said), strict=True):
                cells[slot] = limited(self._codec.carry(slot, text), writer.limit, writer.options)
        except Unwritable as error:
            raise EncodeError(f"{called(value)}, {writer.name}: {error}") from error
        if writer.required and not any(cells[slot] for slot in writer.slots):
            raise EncodeError(f"{called(value)}, {writer.name}: expected something, got nothing")


_CALLED: Mapping[str, Callable[[Any], str]] = {
    "Order": lambda value: f"order {value.order_id}",
    "ShippingOrder": lambda value: f"order {value.fulfilment_id}",
    "StatusUpdate": lambda value: f"status of {value.reference}",
    "StockLevel": lambda value: f"stock of {value.sku}",
}


def called(value: Any) -> str:
    """How messages call a value."""
    return _CALLED[type(value).__name__](value)
