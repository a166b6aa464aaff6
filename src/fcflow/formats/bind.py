"""
Rows and values: how the rows of a layout become an order, a status or a stock level, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC
from itertools import repeat
from typing import Any, Protocol

from attrs import evolve, fields
from immutabledict import immutabledict

from fcflow.formats.bulk_reading import made
from fcflow.formats.codec import Unreadable, Unwritable
from fcflow.formats.fields import ASIDE, Said
from fcflow.model import (
    Address,
    Order,
    OrderLine,
    Shipment,
    ShippingLine,
    ShippingOrder,
    StatusLine,
    StatusUpdate,
    StockLevel,
)

__all__ = [
    "SKIPPED",
    "Binder",
    "ColumnsBinder",
    "CountersBinder",
    "FieldUnreadable",
    "OrderBinder",
    "StatusBinder",
    "StockBinder",
    "SummedStockBinder",
    "column_name",
    "is_good_stock",
]

Parsed = Mapping[str, Any]
BuildAll = Callable[[Mapping[str, Sequence[Any]], int], "list[Any] | None"]

SKIPPED = "\0skipped"
"""Stands in a parsed row whose line is left out while what it says of the whole order counts."""


class FieldUnreadable(Unreadable):
    """A row that lacks a field, or contradicts the rows before it."""

    def __init__(self, name: str, expected: str, found: object = None) -> None:
        super().__init__(expected, found)
        self.name = name


class Binder(Protocol):
    """Between the rows of one record and its value."""

    value_types: tuple[type, ...]
    grouped: bool
    whole_groups: bool
    """Whether a record that lacks one of its rows must not be used."""
    several: bool
    """Whether `build` gives a tuple of values."""

    build_all: BuildAll | None
    """From parsed columns and their length to a value a row, or ``None`` where `build` is to say what is wrong."""

    def parts(self, value: Any) -> Sequence[Any]:
        """What each row of *value* is written of, besides the value itself."""
        ...

    def key(self, parsed: Parsed) -> Hashable:
        """What rows of one record have in common."""
        ...

    def build(self, rows: Sequence[Parsed]) -> Any:
        """
        The value that *rows* describe.

        Raises:
            FieldUnreadable: Something is missing or contradicts itself.

            ValueError: The model refuses it.
        """
        ...

    def missing(self, names: frozenset[str]) -> str | None:
        """The field without which nothing can be read, if it is not among *names*."""
        ...


def _needed(parsed: Parsed, name: str, expected: str) -> Any:
    value = parsed.get(name)
    if value is None:
        raise FieldUnreadable(name, expected)
    return value


# ------------------------------------------------------------------ stock


_OF_STOCK = tuple(each.name for each in fields(StockLevel))


def is_good_stock(said: Mapping[str, Sequence[Any]]) -> bool:
    """Whether `StockLevel` takes these columns as they are: every SKU is there and printable, every instant in UTC."""
    if None in said["sku"] or not "".join(said["sku"]).isprintable():
        return False
    return all(each is None or each.tzinfo is UTC for each in said.get("as_of", ()))


def _stock_levels(said: Mapping[str, Sequence[Any]], count: int) -> list[StockLevel] | None:
    if not is_good_stock(said):
        return None
    return made(StockLevel, count, {name: said[name] if name in said else repeat(None) for name in _OF_STOCK})


class StockBinder:
    """One row, one `StockLevel`."""

    value_types: tuple[type, ...] = (StockLevel,)
    grouped = False
    whole_groups = False
    several = False
    build_all: BuildAll | None = staticmethod(_stock_levels)

    def parts(self, value: Any) -> Sequence[Any]:
        return (None,)

    def key(self, parsed: Parsed) -> Hashable:
        return None

    def build(self, rows: Sequence[Parsed]) -> StockLevel:
        parsed = rows[0]
        if parsed["sku"] is None:
            raise FieldUnreadable("sku", "a SKU")
        return StockLevel(**parsed)

    def missing(self, names: frozenset[str]) -> str | None:
        return None if "sku" in names else "sku"


class CountersBinder(StockBinder):
    """
    The same where the partner counts more than what is there: what it calls available, and what it has frozen.

    Frozen units are there and cannot be promised, so they are reserved. What is available is what is there less what is
    reserved: of the three, any two give the third. Where all three are said and do not agree, the lower of
    the two numbers that may be promised counts.
    """

    build_all: BuildAll | None = None

    def build(self, rows: Sequence[Parsed]) -> StockLevel:
        if rows[0]["sku"] is None:
            raise FieldUnreadable("sku", "a SKU")
        return StockLevel(**_counted_out(dict(rows[0])))


def _counted_out(said: dict[str, Any]) -> dict[str, Any]:
    """The counters of the model, of those that the partner has."""
    said = {name: value for name, value in said.items() if not name.startswith(ASIDE)}
    available, frozen = said.pop("available", None), said.pop("frozen", None)
    on_hand, reserved = said.get("on_hand"), said.get("reserved")
    if frozen is not None:
        reserved = (reserved or 0) + frozen
    if available is not None and on_hand is None:
        on_hand = available + (reserved or 0)
    elif available is not None and on_hand is not None and on_hand - (reserved or 0) > available:
        reserved = on_hand - available
    return said | {"on_hand": on_hand, "reserved": reserved}


class SummedStockBinder(CountersBinder):
    """
    All neighbouring rows of one SKU at one location, such as its lots, its bins or its states: their counters add up.

    A counter that no row says stays unsaid; of several times the earliest counts. As a sum that lacks a row is wrong, a
    row that cannot be read leaves nothing of its SKU.
    """

    grouped = True
    whole_groups = True

    def key(self, parsed: Parsed) -> Hashable:
        sku = parsed.get("sku")
        return None if sku is None else (parsed.get("location") or "", sku)

    def build(self, rows: Sequence[Parsed]) -> StockLevel:
        if rows[0]["sku"] is None:
            raise FieldUnreadable("sku", "a SKU")
        counted = [row for row in rows if SKIPPED not in row]
        said = {name: _together(name, [row[name] for row in counted if row[name] is not None]) for name in rows[0]}
        return StockLevel(**_counted_out(said))


def _together(name: str, values: Sequence[Any]) -> Any:
    if name.startswith(ASIDE) or not values:
        return None
    return values[0] if name in ("sku", "location") else min(values) if name == "as_of" else sum(values)


def column_name(name: str, location: str) -> str:
    """How messages call a counter that has a column for each location."""
    return f"{name} of {location}"


class ColumnsBinder(CountersBinder):
    """
    One row, a `StockLevel` for each location that has columns of its own and says something in them.

    A row that says nothing of any location is one level of no location, whose quantity is blank.

    Args:
        columns: By location, its counters.
    """

    several = True

    def __init__(self, columns: Mapping[str, Sequence[str]]) -> None:
        self._columns = columns

    def parts(self, value: Any) -> Sequence[Any]:
        if value.location not in self._columns and (value.location or value.on_hand is not None):
            raise Unwritable(f"location: expected one of {', '.join(self._columns)}, got {value.location!r}")
        return (None,)

    def build(self, rows: Sequence[Parsed]) -> Any:
        row = rows[0]
        if row["sku"] is None:
            raise FieldUnreadable("sku", "a SKU")
        own = {column_name(name, place) for place, names in self._columns.items() for name in names}
        shared = {name: value for name, value in row.items() if name not in own}
        levels = [self._level(shared, row, place, names) for place, names in self._columns.items()]
        return tuple(level for level in levels if level is not None) or (StockLevel(**_counted_out(shared)),)

    def _level(self, shared: Parsed, row: Parsed, location: str, names: Sequence[str]) -> StockLevel | None:
        said = {name: row.get(column_name(name, location)) for name in names}
        if all(value is None for value in said.values()):
            return None
        return StockLevel(**_counted_out({**shared, "location": location, **said}))


# ------------------------------------------------------------------ status

_SHIPMENT = ("carrier", "service", "tracking_numbers", "shipped_at", "delivered_at")
_COUNTS = ("shipped", "short", "cancelled", "returned")


class StatusBinder:
    """
    One row one `StatusUpdate`, or all neighbouring rows that quote the same reference and status.

    Args:
        grouped: Whether neighbouring rows are put together.

        on_lines: Whether the layout has fields of lines.
    """

    value_types: tuple[type, ...] = (StatusUpdate,)
    whole_groups = False
    several = False
    build_all: BuildAll | None = None

    def __init__(self, *, grouped: bool, on_lines: bool) -> None:
        self.grouped = grouped
        self._on_lines = on_lines

    def parts(self, value: Any) -> Sequence[Any]:
        """Pairs of a shipment and a line, either of which may be missing."""
        shipments: tuple[Shipment, ...] = value.shipments
        if not self._on_lines:
            return [(each, None) for each in shipments] if self.grouped and shipments else [(_merged(shipments), None)]
        own = {(line.line_id, line.sku): line for line in value.lines}
        pairs: list[tuple[Shipment | None, StatusLine | None]] = []
        for each in shipments:
            pairs += [(each, _packed(line, own.pop((line.line_id, line.sku), None))) for line in _counted(each)]
        bare = [each for each in shipments if not _counted(each)]
        carrier = bare.pop() if len(shipments) == 1 and bare and own else None
        pairs += [(each, None) for each in bare]
        pairs += [(carrier, line) for line in own.values()]
        return pairs or [(None, None)]

    def key(self, parsed: Parsed) -> Hashable:
        if parsed.get("reference") is None:
            return None
        return tuple(parsed.get(name) for name in ("reference", "status", "message", "at", "event_id"))

    def build(self, rows: Sequence[Parsed]) -> StatusUpdate:
        first = rows[0]
        said = first.get("status") or Said(None, "")
        return StatusUpdate(
            reference=_needed(first, "reference", "the order that the partner means"),
            status=said.status,
            raw_status=said.raw,
            shipments=_shipments(rows),
            lines=_summed([line for row in sorted(rows, key=_is_loose) if (line := _status_line(row)) is not None]),
            message=first.get("message"),
            at=first.get("at"),
            event_id=first.get("event_id"),
        )

    def missing(self, names: frozenset[str]) -> str | None:
        return None if "reference" in names else "reference"


def _counted(shipment: Shipment) -> list[StatusLine]:
    """The lines of a parcel that say how many units it holds."""
    return [line for line in shipment.lines if line.shipped is not None]


def _packed(line: StatusLine, own: StatusLine | None) -> StatusLine:
    """A line of a parcel, with what else was said of that line."""
    return line if own is None else evolve(own, shipped=line.shipped)


def _merged(shipments: Sequence[Shipment]) -> Shipment | None:
    """Several shipments as one, where the layout has room for one: every tracking number is kept."""
    if len(shipments) < 2:
        return shipments[0] if shipments else None
    numbers = dict.fromkeys(number for each in shipments for number in each.tracking_numbers)
    return evolve(shipments[0], tracking_numbers=tuple(numbers), lines=())


def _shipments(rows: Sequence[Parsed]) -> list[Shipment]:
    found: dict[tuple[Any, ...], list[StatusLine]] = {}
    for row in rows:
        key = tuple(row.get(name) for name in _SHIPMENT)
        if any(key):
            line = _status_line(row)
            found.setdefault(key, []).extend([line] if line is not None and line.shipped is not None else [])
    return [_shipment(key, lines) for key, lines in found.items()]


def _shipment(key: tuple[Any, ...], lines: list[StatusLine]) -> Shipment:
    said = {name: value for name, value in zip(_SHIPMENT, key, strict=True) if value}
    packed = [StatusLine(line_id=line.line_id, sku=line.sku, shipped=line.shipped) for line in lines]
    return Shipment(**said, lines=_summed(packed))


def _is_loose(row: Parsed) -> bool:
    """Whether the row's line is in no parcel; such lines come last, so that their order says nothing."""
    return row.get("line.shipped") is None or not any(row.get(name) for name in _SHIPMENT)


def _status_line(row: Parsed) -> StatusLine | None:
    said = {name: row.get(f"line.{name}") for name in ("line_id", "sku", *_COUNTS)}
    return StatusLine(**said) if any(value is not None for value in said.values()) else None


def _summed(lines: Sequence[StatusLine]) -> tuple[StatusLine, ...]:
    """Counts of one line that stands in several rows are added up."""
    found: dict[tuple[str | None, str | None], StatusLine] = {}
    for line in lines:
        key = (line.line_id, line.sku)
        found[key] = _sum(found[key], line) if key in found else line
    return tuple(found.values())


def _sum(one: StatusLine, other: StatusLine) -> StatusLine:
    counts = {name: (getattr(one, name), getattr(other, name)) for name in _COUNTS}
    return evolve(one, **{name: a if b is None else b + (a or 0) for name, (a, b) in counts.items()})


# ------------------------------------------------------------------ orders

_ADDRESS = (
    "name", "company", "address1", "address2", "address3", "town", "region", "postcode", "country", "phone", "email",
)  # fmt: skip
_OF_ORDER = (
    "reference", "channel", "sub_channel", "received_at", "dispatch_by", "payment", "currency", "total", "postage",
)  # fmt: skip
_OF_LINE = ("line_id", "sku", "quantity", "title", "unit_price", "weight_g", "channel_sku")


class OrderBinder:
    """
    Rows to an `Order` or a `ShippingOrder`.

    Args:
        holds: ``order`` or ``shipping_order``.

        per_line: Whether every line has a row of its own; otherwise its fields are joined in one.

        names: The fields that are read.

        lenient: Fields of the order that may differ between its rows: the first row counts.

        gathered: Fields whose texts are joined where they differ, by what stands between them.
    """

    whole_groups = True
    several = False
    build_all: BuildAll | None = None

    def __init__(
        self,
        *,
        holds: str,
        per_line: bool,
        names: frozenset[str],
        lenient: frozenset[str],
        gathered: Mapping[str, str] = immutabledict(),  # immutable
    ) -> None:
        self._holds = holds
        self.value_types: tuple[type, ...] = (Order if holds == "order" else ShippingOrder,)
        self.grouped = per_line
        self._key = next((name for name in ("fulfilment_id", "order_id", "reference") if name in names), "order_id")
        self._header = tuple(name for name in names if not name.startswith("line."))
        self._lines = tuple(name for name in names if name.startswith("line."))
        self._lenient = lenient | frozenset(gathered)
        self._gathered = gathered

    def parts(self, value: Any) -> Sequence[Any]:
        return value.lines if self.grouped and value.lines else (None,)

    def key(self, parsed: Parsed) -> Hashable:
        return parsed.get(self._key)

    def missing(self, names: frozenset[str]) -> str | None:
        if not names & {"fulfilment_id", "order_id", "reference"}:
            return "order_id"
        if not names & {"line.sku", "line.partner_sku"}:
            return "line.sku"
        return None if "line.quantity" in names else "line.quantity"

    def build(self, rows: Sequence[Parsed]) -> Order | ShippingOrder:
        header = self._merged(rows)
        found = list(enumerate(rows if self.grouped else self._unjoined(rows[0]), start=1))
        lines = [(number, line) for number, line in found if SKIPPED not in line]
        return self._order(header, lines) if self._holds == "order" else self._shipping_order(header, lines)

    def _merged(self, rows: Sequence[Parsed]) -> dict[str, Any]:
        """What the rows say of the whole order: the first that says something, if the others agree."""
        header: dict[str, Any] = {}
        for name in self._header:
            for row in rows:
                value = row[name]
                if value is None or value == ():
                    continue
                if header.setdefault(name, value) != value and name not in self._lenient:
                    raise FieldUnreadable(name, f"the same in every row of the order, {header[name]!s}", str(value))
        for name, between in self._gathered.items():
            if name in header:
                header[name] = between.join(dict.fromkeys(row[name] for row in rows if row[name]))
        return header

    def _unjoined(self, row: Parsed) -> list[dict[str, Any]]:
        columns = {name: row[name] for name in self._lines}
        counts = {name: len(values) for name, values in columns.items() if values}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise FieldUnreadable(next(iter(counts)), "as many entries as the other fields of the lines", said)
        size = max(counts.values(), default=0)
        return [{name: values[i] if values else None for name, values in columns.items()} for i in range(size)]

    def _order(self, header: Parsed, lines: Sequence[tuple[int, Parsed]]) -> Order:
        return Order(
            order_id=_needed(header, self._key, "the number of the order"),
            lines=[_order_line(line, number) for number, line in lines],
            **_order_parts(header),
            **_own_parts(header),
        )

    def _shipping_order(self, header: Parsed, lines: Sequence[tuple[int, Parsed]]) -> ShippingOrder:
        key = _needed(header, self._key, "the number of the order")
        made = [_shipping_line(line, number) for number, line in lines]
        order_id = header.get("order_id") or key
        order = Order(order_id=order_id, lines=[_bought(line) for line in made], **_order_parts(header))
        return ShippingOrder(
            fulfilment_id=header.get("fulfilment_id") or order_id,
            order=order,
            location=header.get("location") or "",
            partner_location=header.get("partner_location"),
            lines=made,
            **_own_parts(header),
        )


def _order_parts(header: Parsed) -> dict[str, Any]:
    parts = {name: header[name] for name in _OF_ORDER if name in header}
    ship_to, bill_to = _address(header, "ship_to"), _address(header, "bill_to")
    return parts | ({"ship_to": ship_to} if ship_to else {}) | ({"bill_to": bill_to} if bill_to else {})


def _own_parts(header: Parsed) -> dict[str, Any]:
    return {
        "shipping_service": header.get("shipping_service"),
        "tags": frozenset(header.get("tags") or ()),
        "properties": _properties(header, "properties."),
        "notes": header.get("notes"),
    }


def _address(header: Parsed, owner: str) -> Address | None:
    parts = {name: header.get(f"{owner}.{name}") for name in _ADDRESS}
    return Address(**parts) if any(parts.values()) else None


def _properties(parsed: Parsed, prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in parsed.items() if name.startswith(prefix) and value}


def _line_parts(line: Parsed, number: int) -> dict[str, Any]:
    parts = {name: value for name in _OF_LINE if (value := line.get(f"line.{name}")) is not None}
    parts.setdefault("line_id", str(number))
    if "sku" not in parts:
        parts["sku"] = _needed(line, "line.partner_sku" if "line.partner_sku" in line else "line.sku", "a SKU")
    _needed(line, "line.quantity", "a quantity")
    return parts | {"properties": _properties(line, "line.properties.")}


def _order_line(line: Parsed, number: int) -> OrderLine:
    return OrderLine(**_line_parts(line, number))


def _shipping_line(line: Parsed, number: int) -> ShippingLine:
    return ShippingLine(**_line_parts(line, number), partner_sku=line.get("line.partner_sku"))


def _bought(line: ShippingLine) -> OrderLine:
    parts = {name: getattr(line, name) for name in (*_OF_LINE, "properties")}
    return OrderLine(**parts)
