"""
JSON lines without fields: every line is a whole document of the model, so nothing is lost either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from immutabledict import immutabledict

from fcflow.documents import from_document, to_document
from fcflow.errors import DocumentError, EncodeError
from fcflow.formats.codec import Batch
from fcflow.formats.json_lines import one_line, read_objects
from fcflow.formats.reading import Source
from fcflow.model import Order, Problem, Record, ShippingOrder, StatusUpdate, StockLevel

__all__ = ["DocumentEngine"]

_CLASSES: Mapping[str, tuple[type, ...]] = {
    "orders": (Order, ShippingOrder),
    "order": (Order,),
    "shipping_order": (ShippingOrder,),
    "status": (StatusUpdate,),
    "stock": (StockLevel,),
}


class DocumentEngine:
    """
    The engine of the ``canonical`` layouts.

    Args:
        holds: ``status``, ``stock``, ``order``, ``shipping_order``, or ``orders`` for both of the latter: a document
            with a ``fulfilment_id`` is a `ShippingOrder`.
    """

    content_type = "application/x-ndjson"
    extension = "jsonl"

    def __init__(self, options: Mapping[str, Any], holds: str) -> None:
        self._options = options
        self._classes = _CLASSES[holds]

    def decode(self, stream: BinaryIO, source: Source) -> Iterator[Record | Problem]:
        for item in read_objects(stream, self._options):
            if isinstance(item, Problem):
                yield item
                continue
            line, document = item
            raw = immutabledict({key: str(value) for key, value in document.items()})
            try:
                yield Record(line=line, value=from_document(self._class_of(document), document), raw=raw)
            except DocumentError as error:
                yield from (_problem(line, fault, raw) for fault in error.faults)

    def _class_of(self, document: Mapping[str, Any]) -> type:
        return self._classes[-1] if "fulfilment_id" in document else self._classes[0]

    def encode(self, values: Iterable[Any], batch: Batch) -> bytes:
        return b"".join(one_line(to_document(self._checked(value))) for value in values)

    def projections(self, value: Any) -> list[Any]:
        return [self._checked(value)]

    def _checked(self, value: Any) -> Any:
        if not isinstance(value, self._classes):
            wanted = " or ".join(each.__name__ for each in self._classes)
            raise EncodeError(f"expected {wanted}, got {type(value).__name__}")
        return value


def _problem(line: int, fault: Any, raw: immutabledict[str, str]) -> Problem:
    name = fault.path.removeprefix("$.") or None
    found = None if fault.found is None else str(fault.found)
    return Problem(line=line, field=name, message=fault.message or None, expected=fault.expected, found=found, raw=raw)
