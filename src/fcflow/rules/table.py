"""
Orders as an Arrow table: one row an order, its lines nested.

The schema is described in ``docs/reference/order-table.md``. Needs the extra ``batch``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from typing import Any

from fcflow.errors import Fault, MissingExtraError, OrderError
from fcflow.model import Address, Order, OrderLine

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as error:
    raise MissingExtraError("batch", "pyarrow") from error

__all__ = ["MONEY_SCALE", "OrderTable", "orders_to_table", "table_schema", "table_to_orders"]

MONEY_SCALE = 10

# ------------------------------------------------------------------ the schema

_ADDRESS = (
    *("name", "company", "address1", "address2", "address3", "town"),
    *("region", "postcode", "country", "phone", "email"),
)


def table_schema() -> pa.Schema:
    """
    The schema that `orders_to_table` writes.

    Example:
        >>> table_schema().field("tags").type
        ListType(list<item: string>)
    """
    return pa.schema([pa.field(name, kind, nullable=name != "order_id") for name, kind in _order_types().items()])


def _order_types() -> dict[str, Any]:
    text, money, instant = pa.string(), pa.decimal128(38, MONEY_SCALE), pa.timestamp("us", tz="UTC")
    properties = pa.list_(pa.struct([("key", text), ("value", text)]))
    line = [("line_id", text), ("sku", text), ("quantity", pa.int64()), ("title", text), ("unit_price", money)]
    line += [("weight_g", pa.int64()), ("channel_sku", text), ("properties", properties)]
    address = pa.struct([(name, text) for name in _ADDRESS])
    texts = dict.fromkeys(("order_id", "reference", "channel", "sub_channel"), text)
    return {
        **texts,
        "received_at": instant,
        "dispatch_by": instant,
        "payment": text,
        "currency": text,
        "total": money,
        "postage": money,
        "ship_to": address,
        "bill_to": address,
        "lines": pa.list_(pa.struct(line)),
        "shipping_service": text,
        "tags": pa.list_(text),
        "properties": properties,
        "notes": text,
    }


# ------------------------------------------------------------------ orders to a table


def orders_to_table(orders: Iterable[Order]) -> pa.Table:
    """
    One row an order, in their order.

    Returns:
        A table of the schema `table_schema`; what is absent is null.

    Raises:
        OrderError: A value does not fit its column: money of more than 28 digits before the point or 10 behind it,
            a whole number beyond 64 bits.

        MissingExtraError: The extra ``batch`` is not installed.

    Example:
        >>> mug = OrderLine(sku="MUG", quantity=2)
        >>> table = orders_to_table([Order(order_id="A1", channel="web", lines=(mug,))])
        >>> table.select(["order_id", "channel"]).to_pylist()
        [{'order_id': 'A1', 'channel': 'web'}]
    """
    orders = list(orders)
    types = _order_types()
    arrays = [_column(name, orders, kind) for name, kind in types.items()]
    return pa.Table.from_arrays(arrays, schema=table_schema())


def _column(name: str, orders: Sequence[Order], kind: Any) -> Any:
    get = attrgetter(name)
    write = _WRITERS.get(name, lambda value: value)
    values = [write(get(order)) for order in orders]
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise OrderError(
            "orders", list(_misfits(name, orders, values, kind)) or [Fault(str(error), path=name)]
        ) from error


def _misfits(name: str, orders: Sequence[Order], values: Sequence[Any], kind: Any) -> Iterable[Fault]:
    for order, value in zip(orders, values, strict=True):
        try:
            pa.array([value], type=kind)
        except (pa.ArrowInvalid, OverflowError) as error:
            yield Fault(f"order {order.order_id}: does not fit the table: {error}", path=name)


def _address(address: Address | None) -> dict[str, str | None] | None:
    return None if address is None else {name: getattr(address, name) for name in _ADDRESS}


def _properties(properties: Any) -> list[dict[str, str | None]]:
    return [{"key": key, "value": None if value is None else str(value)} for key, value in properties.items()]


def _lines(lines: Sequence[OrderLine]) -> list[dict[str, Any]]:
    return [
        {
            "line_id": line.line_id,
            "sku": line.sku,
            "quantity": line.quantity,
            "title": line.title,
            "unit_price": line.unit_price,
            "weight_g": line.weight_g,
            "channel_sku": line.channel_sku,
            "properties": _properties(line.properties),
        }
        for line in lines
    ]


def _instant(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)


_WRITERS: dict[str, Callable[[Any], Any]] = {
    "received_at": _instant,
    "dispatch_by": _instant,
    "ship_to": _address,
    "bill_to": _address,
    "lines": _lines,
    "tags": sorted,
    "properties": _properties,
}


# ------------------------------------------------------------------ a table to orders


def table_to_orders(table: Any) -> list[Order]:
    """
    The orders of a table, a row each.

    Args:
        table: Anything that speaks Arrow's C stream interface (pyarrow, Polars, DuckDB), in the schema of
            `table_schema`; a column that is not there is absent in every order, other columns are left alone.

    Raises:
        OrderError: A row is not an order, or a column has another type.

    Example:
        >>> table_to_orders(pa.table({"order_id": ["A1"], "total": [5]}))[0].total
        Decimal('5')
    """
    held = OrderTable(table)
    return held.orders(range(held.rows))


def _read_lines(lines: Iterable[dict[str, Any]] | None) -> tuple[OrderLine, ...]:
    made = []
    for line in lines or ():
        known = {name: value for name, value in line.items() if name in _LINE_NAMES and value is not None}
        made.append(OrderLine(**{**known, "properties": _read_properties(line.get("properties"))}))
    return tuple(made)


_LINE_NAMES = frozenset({"line_id", "sku", "quantity", "title", "unit_price", "weight_g", "channel_sku"})


def _read_address(address: dict[str, Any] | None) -> Address:
    return Address(**{name: value for name, value in (address or {}).items() if name in _ADDRESS})


def _read_properties(entries: Iterable[Any] | None) -> dict[str, Any]:
    return dict(each if isinstance(each, tuple) else (each["key"], each["value"]) for each in entries or ())


def _read_tags(tags: Iterable[str | None] | None) -> frozenset[str]:
    return frozenset(tag for tag in tags or () if tag is not None)


_READERS: dict[str, Callable[[Any], Any]] = {
    "ship_to": _read_address,
    "bill_to": lambda value: None if value is None else _read_address(value),
    "lines": _read_lines,
    "tags": _read_tags,
    "properties": _read_properties,
}


def _read_order(row: dict[str, Any]) -> Order:
    read = {name: _READERS[name](value) if name in _READERS else value for name, value in row.items()}
    return Order(**{"lines": (), **read})


# ------------------------------------------------------------------ reading columns


def bad_table(path: str, message: str, *, found: object = None, expected: str | None = None) -> OrderError:
    """What is raised where a table is not one of orders."""
    return OrderError("table", [Fault(message, path=path, found=found, expected=expected)])


class OrderTable:
    """
    The columns of a table of orders, each with the type that the schema gives it.

    Raises:
        OrderError: It has no column ``order_id``, or a row has no id.
    """

    def __init__(self, given: Any) -> None:
        self._table = pa.table(given)
        self.rows: int = self._table.num_rows
        if "order_id" not in self._table.column_names:
            raise bad_table("order_id", "the column is missing")
        if self._table.column("order_id").null_count:
            raise bad_table("order_id", "a value is missing", expected="one in every row")

    def __contains__(self, name: str) -> bool:
        return name in self._table.column_names

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)

    def array(self, name: str) -> pa.Array:
        """A column in one piece."""
        column = self._table.column(name)
        return column.chunk(0) if column.num_chunks == 1 else _joined(column)

    def orders(self, rows: Iterable[int]) -> list[Order]:
        """
        The orders of these rows.

        Raises:
            OrderError: One of them is not an order.
        """
        rows = list(rows)
        made, faults = [], []
        for row, values in zip(rows, self._values(rows), strict=True):
            try:
                made.append(_read_order(values))
            except (ValueError, TypeError) as error:
                faults.append(Fault(str(error), path=f"row {row}"))
        if faults:
            raise OrderError("table", faults)
        return made

    def _values(self, rows: list[int]) -> list[dict[str, Any]]:
        if rows == list(range(self.rows)):
            return list(self._known.to_pylist())
        parts = [self._known.slice(row, 1) for row in rows]
        return list(pa.concat_tables(parts).to_pylist()) if parts else []

    @cached_property
    def _known(self) -> pa.Table:
        """The columns of an order, their types checked."""
        known = {name: self.array(name) for name in _order_types() if name in self}
        for name in ("received_at", "dispatch_by"):
            if name in known:
                known[name] = as_instant(known[name], name).cast(pa.timestamp("us", tz="UTC"))
        for name in ("total", "postage"):
            if name in known:
                known[name] = as_money(known[name], name)
        if "lines" in known:
            _, lines = members_of(known["lines"], "lines")
            price = part_of(lines, "unit_price", "lines")
            as_money(pa.nulls(0) if price is None else price, "lines.unit_price")
        return pa.table(known)


def _joined(column: Any) -> pa.Array:
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def part_of(array: pa.Array, name: str, path: str) -> pa.Array | None:
    """A struct's member, null where the struct is; ``None`` where the struct has no such member."""
    if pa.types.is_null(array.type):
        return pa.nulls(len(array))
    if not pa.types.is_struct(array.type):
        raise bad_table(path, "wrong type", found=str(array.type), expected="struct")
    place = array.type.get_field_index(name)
    return None if place < 0 else array.flatten()[place]


def members_of(array: pa.Array, path: str) -> tuple[Any, pa.Array]:
    """How many members each list has (numpy; a null list has none), and all members one after the other."""
    kind = array.type
    if pa.types.is_null(kind):
        array = array.cast(pa.list_(pa.null()))
    elif pa.types.is_map(kind):
        array = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    elif pa.types.is_fixed_size_list(kind):
        array = array.cast(pa.list_(kind.value_type))
    elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise bad_table(path, "wrong type", found=str(kind), expected="list")
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return lengths, array.flatten()


def as_text(array: pa.Array, path: str) -> pa.Array:
    """The column as text; a dictionary of texts stays one."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(array.indices, as_text(array.dictionary, path))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array
    if pa.types.is_null(kind) or pa.types.is_string_view(kind):
        return array.cast(pa.large_string())
    raise bad_table(path, "wrong type", found=str(kind), expected="string")


def as_integer(array: pa.Array, path: str) -> pa.Array:
    """The column as 64-bit whole numbers."""
    if not (pa.types.is_integer(array.type) or pa.types.is_null(array.type)):
        raise bad_table(path, "wrong type", found=str(array.type), expected="int64")
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise bad_table(path, str(error)) from error


def as_money(array: pa.Array, path: str) -> pa.Array:
    """The column as 128-bit decimals, or 256-bit ones where it has those."""
    kind = array.type
    if pa.types.is_decimal128(kind) or pa.types.is_decimal256(kind):
        return array
    if pa.types.is_null(kind):
        return array.cast(pa.decimal128(38, 0))
    if pa.types.is_integer(kind):
        return as_integer(array, path).cast(pa.decimal128(38, 0))
    if pa.types.is_decimal(kind):
        return array.cast(pa.decimal128(38, kind.scale))
    raise bad_table(path, "wrong type", found=str(kind), expected="decimal128")


def as_instant(array: pa.Array, path: str) -> pa.Array:
    """The column as microseconds since 1970 in UTC (int64)."""
    kind = array.type
    if pa.types.is_null(kind):
        return array.cast(pa.int64())
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        raise bad_table(path, "wrong type", found=str(kind), expected="timestamp[us, tz=UTC]")
    try:
        return array.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise bad_table(path, str(error)) from error


def as_decimals(array: pa.Array) -> list[Decimal | None]:
    """Money as Python's decimals."""
    decimals: list[Decimal | None] = array.to_pylist()
    return decimals
