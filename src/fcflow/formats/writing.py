"""
Writing: values to the cells that a codec frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen
from immutabledict import immutabledict

from fcflow.errors import EncodeError
from fcflow.formats.bind import Binder
from fcflow.formats.cells import Format, limited
from fcflow.formats.codec import NO_BATCH, Batch, Codec, Unwritable
from fcflow.formats.fields import Getter, Written

__all__ = ["PlacesWriter", "Writer", "Writing", "called"]


@frozen(kw_only=True)
class Writer:
    """
    One place on its way out.

    Args:
        name: How messages call it: the place, and the canonical field.

        of_payload: For what belongs to the payload; takes the place of *get*.
    """

    name: str
    slot: int
    get: Getter
    format: Format
    required: bool = False
    limit: int | None = None
    options: Mapping[str, Any] = immutabledict()
    of_payload: Callable[[Written], Any] | None = None


@frozen(kw_only=True)
class PlacesWriter:
    """
    Several places on their way out.

    Args:
        texts: From what *get* gives, and what the codec carries of a text, to one text a place.
    """

    name: str
    slots: Sequence[int]
    get: Getter
    texts: Callable[[Any, Callable[[str], str]], Sequence[str]]
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

    def payload(self, values: Iterable[Any], batch: Batch) -> bytes:
        """
        The bytes of *values*.

        Raises:
            EncodeError: A value does not fit.
        """
        records: list[list[list[str]]] = []
        row = 1
        for number, value in enumerate(values, start=1):
            records.append(self.rows(value, Written(batch, number, row, 1)))
            row += len(records[-1])
        return self._codec.write(records, batch)

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
                found = writer.get(value, part) if writer.of_payload is None else writer.of_payload(at)
                text = limited(carry(writer.slot, writer.format(found)), writer.limit, writer.options)
            except Unwritable as error:
                raise EncodeError(f"{called(value)}, {writer.name}: {error}") from error
            if writer.required and not text:
                raise EncodeError(f"{called(value)}, {writer.name}: expected something, got nothing")
            cells[writer.slot] = text
        for several in self._several:
            self._fill(cells, several, value, part)
        return cells

    def _fill(self, cells: list[str], writer: PlacesWriter, value: Any, part: Any) -> None:
        carry, slots = self._codec.carry, writer.slots
        try:
            found = writer.texts(writer.get(value, part), lambda text: carry(slots[0], text))
            for slot, text in zip(slots, found, strict=True):
                cells[slot] = limited(carry(slot, text), writer.limit, writer.options)
        except Unwritable as error:
            raise EncodeError(f"{called(value)}, {writer.name}: {error}") from error
        if writer.required and not any(cells[slot] for slot in slots):
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
