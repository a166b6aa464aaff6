"""
Many rows at once: values to cells, column by column, as large order files need it.

What belongs to a whole value is worked out once and repeated on its rows. It gives exactly what writing value by
value gives, or nothing where anything is odd: then each value is looked at, and the one that does not fit is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from fcflow.formats.codec import NO_BATCH, Batch, BlockCodec, Codec
from fcflow.formats.fields import Written

if TYPE_CHECKING:
    from fcflow.formats.bind import Binder
    from fcflow.formats.writing import PlacesWriter, Writer

__all__ = ["BulkWriting", "Columns", "bulk_writing"]

_NOWHERE = Written(NO_BATCH, 1, 1, 1)
_ODD = (ValueError, TypeError, ArithmeticError, AttributeError, LookupError)

Columns = list[Sequence[str]]


class BulkWriting:
    """
    A layout whose values can be written many at once.

    Args:
        width: How many places the codec was built with.
    """

    def __init__(
        self,
        codec: BlockCodec,
        binder: Binder,
        writers: Sequence[Writer],
        several: Sequence[PlacesWriter],
        width: int,
    ) -> None:
        self._codec = codec
        self._binder = binder
        self._writers = writers
        self._several = several
        self._width = width
        self._counts_rows = any(each.asks_where for each in writers) or any(each.asks_where for each in several)

    def columns(self, values: Sequence[Any], batch: Batch, record: int, row: int) -> Columns | None:
        """
        By place the cells of *values*; ``None`` where one of them is odd.

        Args:
            record, row: Numbers of the first in the payload.
        """
        if not set(map(type, values)) <= set(self._binder.value_types):
            return None
        try:
            return self._filled(_Block(self._binder, values, Written(batch, record, row, 1), self._counts_rows))
        except _ODD:
            return None

    def _filled(self, block: _Block) -> Columns | None:
        columns: Columns = [[""] * block.count] * self._width
        for writer in self._writers:
            texts = self._carried(writer, writer.slot, writer.format_all(block.found(writer)))
            if texts is None or (writer.required and not all(texts)):
                return None
            columns[writer.slot] = block.spread(writer, texts)
        for several in self._several:
            filled = [several.texts(found) for found in block.found(several)]
            if several.required and not all(map(any, filled)):
                return None
            for slot, texts in zip(several.slots, zip(*filled, strict=True), strict=True):
                carried = self._carried(several, slot, texts)
                if carried is None:
                    return None
                columns[slot] = block.spread(several, carried)
        return columns

    def _carried(self, writer: Writer | PlacesWriter, slot: int, texts: Sequence[str]) -> Sequence[str] | None:
        carried = self._codec.carry_all(slot, texts)
        return None if writer.limit is not None and max(map(len, carried), default=0) > writer.limit else carried


class _Block:
    """Some values being written, and the rows that they become."""

    def __init__(self, binder: Binder, values: Sequence[Any], at: Written, counts_rows: bool) -> None:
        parts = list(map(binder.parts, values))
        counts = list(map(len, parts))
        self.values = values
        self.parts = list(chain.from_iterable(parts))
        self.count = len(self.parts)
        self._owners = (
            None if set(counts) == {1} else list(chain.from_iterable(map(repeat, range(len(values)), counts)))
        )
        self._of_rows = values if self._owners is None else [values[owner] for owner in self._owners]
        self._at: Sequence[Written] = list(_places(at, counts)) if counts_rows else ()

    def found(self, writer: Writer | PlacesWriter) -> list[Any]:
        """What the writer finds: once a value, or once a row."""
        get = writer.get
        if writer.is_of_value:
            return [get(value, None, _NOWHERE) for value in self.values]
        at = self._at if writer.asks_where else repeat(_NOWHERE)
        return list(map(get, self._of_rows, self.parts, at))

    def spread(self, writer: Writer | PlacesWriter, texts: Sequence[str]) -> Sequence[str]:
        """One text a row."""
        if self._owners is None or not writer.is_of_value:
            return texts
        return list(map(texts.__getitem__, self._owners))


def _places(at: Written, counts: Sequence[int]) -> Iterator[Written]:
    row = at.row
    for record, count in enumerate(counts, at.record):
        yield from (Written(at.batch, record, row + index, 1 + index) for index in range(count))
        row += count


def bulk_writing(
    codec: Codec, binder: Binder, writers: Sequence[Writer], several: Sequence[PlacesWriter], width: int
) -> BulkWriting | None:
    """The way to write many at once; ``None`` where the codec has none."""
    if not getattr(codec, "writes_columns", False) or not width:
        return None
    return BulkWriting(codec, binder, writers, several, width)  # type: ignore[arg-type]  # it says so
