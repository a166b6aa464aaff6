"""
The catalogue: what a layout may call a field, by what the layout holds.

Names are those of the rules and the model. A field belongs to the whole record or to one line of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from attrs import fields as attrs_fields
from attrs import frozen

from fcflow.formats.codec import Batch
from fcflow.model import Address, Status

__all__ = ["ASIDE", "TYPES", "FieldInfo", "Getter", "Said", "Written", "catalogue", "find_field", "nearest_field"]

TYPES = ("text", "integer", "amount", "weight", "datetime", "payment", "country", "currency", "status", "list")
"""How a field is read and written. ``weight`` is whole grams, ``amount`` a `Decimal`, ``datetime`` an aware instant."""

ASIDE = "aside."
"""Begins the name of what a row says and no value holds: only ``derive`` may ask for it."""

Getter = Callable[[Any, Any], Any]
"""From a value and its part (an order line, a shipment and a status line) to what a field says."""


@frozen
class Written:
    """
    Where writing has got to.

    Args:
        record: Number of the record in the payload, from 1.

        row: Number of the row in the payload, from 1.

        line: Number of the row in its record, from 1.
    """

    batch: Batch
    record: int
    row: int
    line: int


@frozen
class Said:
    """What a status cell says: the partner's word, and our status where the layout knows the word."""

    status: Status | None
    raw: str


@frozen(kw_only=True)
class FieldInfo:
    """
    One canonical field.

    Args:
        on_line: Whether it belongs to one line of the record.

        get: Takes the record's value and the line (``None`` where there is none).

        written_only: It follows from others and is not read back.

        read_only: It is made part of others on reading; nothing is written.

        of_payload: Takes where writing has got to, for what belongs to the payload and to no value.
    """

    name: str
    type: str
    on_line: bool
    get: Getter
    written_only: bool = False
    read_only: bool = False
    of_payload: Callable[[Written], Any] | None = None


def _of_order(name: str, *, holds: str) -> Getter:
    if holds == "order":
        return lambda value, line: getattr(value, name)
    return lambda value, line: getattr(value.order, name)


def _of_value(name: str) -> Getter:
    return lambda value, line: getattr(value, name)


def _of_line(name: str) -> Getter:
    return lambda value, line: None if line is None else getattr(line, name)


def _of_the_line(get: Callable[[Any], Any]) -> Getter:
    return lambda value, line: None if line is None else get(line)


def _of_address(owner: str, name: str, *, holds: str) -> Getter:
    address_of = _of_order(owner, holds=holds)

    def get(value: Any, line: Any) -> Any:
        address = address_of(value, line)
        return None if address is None else getattr(address, name)

    return get


def _partner_sku(value: Any, line: Any) -> str | None:
    return None if line is None else (line.partner_sku or line.sku)


def _total_weight(value: Any, line: Any) -> int | None:
    weights = [None if each.weight_g is None else each.weight_g * each.quantity for each in value.lines]
    return None if None in weights else sum(weight for weight in weights if weight is not None)


def _lines_total(value: Any, line: Any) -> Any:
    prices = [None if each.unit_price is None else each.unit_price * each.quantity for each in value.lines]
    return None if None in prices or not prices else sum(prices)


_ORDER_HEADER = {
    "order_id": "text",
    "reference": "text",
    "channel": "text",
    "sub_channel": "text",
    "received_at": "datetime",
    "dispatch_by": "datetime",
    "payment": "payment",
    "currency": "currency",
    "total": "amount",
    "postage": "amount",
}
_EFFECTS = {"shipping_service": "text", "tags": "list", "notes": "text"}
_SHIPPING_HEADER = {"fulfilment_id": "text", "location": "text", "partner_location": "text"}
_LINE = {
    "line_id": "text",
    "sku": "text",
    "quantity": "integer",
    "title": "text",
    "unit_price": "amount",
    "weight_g": "weight",
    "channel_sku": "text",
}
_DERIVED: dict[str, tuple[str, Getter]] = {
    "line_count": ("integer", lambda value, line: len(value.lines)),
    "total_quantity": ("integer", lambda value, line: sum(each.quantity for each in value.lines)),
    "total_weight_g": ("weight", _total_weight),
    "lines_total": ("amount", _lines_total),
}
_DERIVED_OF_LINE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "line.total": ("amount", lambda line: None if line.unit_price is None else line.unit_price * line.quantity),
    "line.total_weight_g": ("weight", lambda line: None if line.weight_g is None else line.weight_g * line.quantity),
}
_STATUS_HEADER = {
    "reference": "text",
    "status": "status",
    "message": "text",
    "at": "datetime",
    "event_id": "text",
}
_SHIPMENT = {
    "carrier": "text",
    "service": "text",
    "tracking_numbers": "list",
    "shipped_at": "datetime",
    "delivered_at": "datetime",
}
_STATUS_LINE = {"line_id": "text", "sku": "text", "shipped": "integer", "short": "integer"}
_STATUS_LINE |= {"cancelled": "integer", "returned": "integer"}
_STOCK = {"location": "text", "sku": "text", "on_hand": "integer", "reserved": "integer"}
_STOCK |= {"inbound": "integer", "as_of": "datetime"}
_OF_PAYLOAD: Mapping[str, tuple[str, Callable[[Written], Any]]] = {
    "batch.number": ("integer", lambda written: written.batch.number),
    "batch.at": ("datetime", lambda written: written.batch.at),
    "batch.partner": ("text", lambda written: written.batch.partner or None),
    "batch.key": ("text", lambda written: written.batch.key or None),
    "batch.test": ("text", lambda written: "true" if written.batch.test else "false"),
    "batch.record": ("integer", lambda written: written.record),
    "batch.row": ("integer", lambda written: written.row),
}


@cache
def catalogue(kind: str, holds: str) -> Mapping[str, FieldInfo]:
    """
    The fields of a layout, by name; properties are not among them, as they have any name.

    Args:
        kind: ``orders``, ``status`` or ``stock``.

        holds: For orders ``order`` or ``shipping_order``; otherwise the kind's only value.

    Example:
        >>> [name for name in catalogue("stock", "stock_level") if not name.startswith("batch.")]
        ['location', 'sku', 'on_hand', 'reserved', 'inbound', 'as_of', 'available', 'frozen']
    """
    fields = _orders(holds) if kind == "orders" else _status() if kind == "status" else _stock()
    return {field.name: field for field in (*fields, *_of_payload())}


def _nothing(value: Any, part: Any) -> None:
    return None


def _of_payload() -> Iterable[FieldInfo]:
    for name, (type_, get) in _OF_PAYLOAD.items():
        yield FieldInfo(name=name, type=type_, on_line=False, get=_nothing, written_only=True, of_payload=get)


def _orders(holds: str) -> Iterable[FieldInfo]:
    for name, type_ in _ORDER_HEADER.items():
        yield FieldInfo(name=name, type=type_, on_line=False, get=_of_order(name, holds=holds))
    own = _EFFECTS | (_SHIPPING_HEADER if holds == "shipping_order" else {})
    for name, type_ in own.items():
        yield FieldInfo(name=name, type=type_, on_line=False, get=_of_value(name))
    for owner in ("ship_to", "bill_to"):
        for part in attrs_fields(Address):
            type_ = "country" if part.name == "country" else "text"
            get = _of_address(owner, part.name, holds=holds)
            yield FieldInfo(name=f"{owner}.{part.name}", type=type_, on_line=False, get=get)
    for name, type_ in _LINE.items():
        yield FieldInfo(name=f"line.{name}", type=type_, on_line=True, get=_of_line(name))
    if holds == "shipping_order":
        yield FieldInfo(name="line.partner_sku", type="text", on_line=True, get=_partner_sku)
    for name, (type_, get) in _DERIVED.items():
        yield FieldInfo(name=name, type=type_, on_line=False, get=get, written_only=True)
    for name, (type_, of_line) in _DERIVED_OF_LINE.items():
        yield FieldInfo(name=name, type=type_, on_line=True, get=_of_the_line(of_line), written_only=True)
    number = FieldInfo(name="line.number", type="integer", on_line=True, get=_line_number, written_only=True)
    yield number


def _line_number(value: Any, line: Any) -> int | None:
    return None if line is None else 1 + next(n for n, each in enumerate(value.lines) if each is line)


def _status() -> Iterable[FieldInfo]:
    for name, type_ in _STATUS_HEADER.items():
        get = _said if type_ == "status" else _of_value(name)
        yield FieldInfo(name=name, type=type_, on_line=False, get=get)
    for name, type_ in _SHIPMENT.items():
        yield FieldInfo(name=name, type=type_, on_line=False, get=_of_shipment(name))
    for name, type_ in _STATUS_LINE.items():
        yield FieldInfo(name=f"line.{name}", type=type_, on_line=True, get=_of_status_line(name))
    yield FieldInfo(name="line.ordered", type="integer", on_line=True, get=_ordered)


def _ordered(value: Any, part: Any) -> int | None:
    """As many units as the counts of a line speak of, where it says how many left."""
    line = part[1]
    if line is None or line.shipped is None:
        return None
    return int(line.shipped) + (line.short or 0) + (line.cancelled or 0)


def _said(value: Any, part: Any) -> Said | None:
    return Said(value.status, value.raw_status or "") if value.status or value.raw_status else None


def _of_shipment(name: str) -> Getter:
    return lambda value, part: None if part[0] is None else getattr(part[0], name)


def _of_status_line(name: str) -> Getter:
    return lambda value, part: None if part[1] is None else getattr(part[1], name)


def _stock() -> Iterable[FieldInfo]:
    for name, type_ in _STOCK.items():
        yield FieldInfo(name=name, type=type_, on_line=False, get=_of_value(name))
    yield FieldInfo(name="available", type="integer", on_line=False, get=_available)
    yield FieldInfo(name="frozen", type="integer", on_line=False, get=_nothing, read_only=True)


def _available(value: Any, part: Any) -> int | None:
    return None if value.on_hand is None else value.on_hand - (value.reserved or 0)


def find_field(kind: str, holds: str, name: str) -> FieldInfo | None:
    """
    The field of this name, or ``None``; ``aside.``, ``properties.`` and ``line.properties.`` may begin any name.

    Example:
        >>> find_field("orders", "order", "properties.gift").type
        'text'
    """
    known = catalogue(kind, holds).get(name)
    if known is None and name.startswith(ASIDE) and name != ASIDE:
        return FieldInfo(name=name, type="text", on_line=False, get=_nothing, read_only=True)
    if known is not None or kind != "orders":
        return known
    head, _, key = name.partition("properties.")
    if head not in ("", "line.") or not key:
        return None
    if head:
        get: Getter = lambda value, line: None if line is None else line.properties.get(key)  # noqa: E731  # one of two
    else:
        get = lambda value, line: value.properties.get(key)  # noqa: E731  # one of two
    return FieldInfo(name=name, type="text", on_line=bool(head), get=get)


def nearest_field(kind: str, holds: str, name: str) -> str:
    """The right name that is nearest to a wrong one, or all of them."""
    known = [*catalogue(kind, holds), *(("properties.<name>", "line.properties.<name>") if kind == "orders" else ())]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return close[0] if close else "one of " + ", ".join(known)
