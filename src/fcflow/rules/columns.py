"""
The columns of a table of orders as the columnar path reads them, by the names of the rules' fields.

Needs the extra ``batch``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from fcflow.errors import MissingExtraError
from fcflow.model import Order
from fcflow.rules.codes import ENDLESS, Array, Members, Text
from fcflow.rules.fields import FIELDS, Field, FieldType, outward_code, postcode_area
from fcflow.rules.numeric import Numbers, money_of, whole_of
from fcflow.rules.table import (
    OrderTable,
    as_instant,
    as_integer,
    as_money,
    as_text,
    bad_table,
    members_of,
    part_of,
)

try:
    import numpy as np
    import pyarrow as pa
except ImportError as error:
    raise MissingExtraError("batch", error.name or "numpy") from error

__all__ = ["Columns", "prepare_table"]

# ------------------------------------------------------------------ the columns of a table

_DERIVED = {"postcode_area": postcode_area, "outward_code": outward_code}


class Columns:
    """
    The columns of a table by the names of the rules' fields, each made when it is first asked for.

    A field without a column here gives ``None``: it has to be asked order by order. Made by `prepare_table`.
    """

    def __init__(self, table: OrderTable) -> None:
        self.table = table
        self.rows = table.rows
        self._made: dict[tuple[Any, ...], Any] = {}
        self._orders: dict[int, Order] = {}

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)

    def orders(self, rows: Sequence[int]) -> list[Order]:
        """The orders of these rows, each made once."""
        missing = [row for row in dict.fromkeys(rows) if row not in self._orders]
        self._orders.update(zip(missing, self.table.orders(missing), strict=True))
        return [self._orders[row] for row in rows]

    def field(self, field: Field, *, of_lines: bool = False) -> Any:
        """The column of *field*; seen from the lines where *of_lines*."""
        made = self._made.get(("lines" if of_lines and field.scope != "line" else "field", field.name))
        if made is not None:
            return made
        if field.scope == "line" or not of_lines:
            return self._once(("field", field.name), lambda: self._read(field))
        column = self.field(field)
        return self._once(("lines", field.name), lambda: self._through(column))

    def derived(self, field: Field, what: str, of_lines: bool, make: Callable[[], Any]) -> Any:
        """Something made of a column, once: *what* tells it from others of the same field."""
        return self._once((what, field.name, of_lines), make)

    def sums(self, field: Field) -> Numbers | None:
        """Per order the sum of a line's *field* over all lines; absent where one line's is."""
        made: Numbers | None = self._once(("sum", field.name), lambda: self._summed(self.field(field)))
        return made

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _through(self, column: Any) -> Any:
        if isinstance(column, Members):
            return column.through(self.line_counts)
        return None if column is None else column.through(self.parents)

    # -------------------------------------------------------------- lines

    @cached_property
    def _lines(self) -> tuple[Array, pa.Array]:
        return members_of(self._array("lines"), "lines")

    @property
    def line_counts(self) -> Array:
        """How many lines each order has."""
        return self._lines[0]

    @cached_property
    def offsets(self) -> Array:
        """The first line of each order."""
        return np.cumsum(self.line_counts) - self.line_counts

    @cached_property
    def parents(self) -> Array:
        """The order of each line."""
        return np.repeat(np.arange(self.rows), self.line_counts)

    @cached_property
    def has_twins(self) -> Array:
        """Which orders have two lines of the same SKU."""
        skus = self.field(FIELDS["line.sku"])
        pairs = np.sort(self.parents * skus.count + skus.codes)
        found = np.zeros(self.rows, dtype=bool)
        found[pairs[1:][pairs[1:] == pairs[:-1]] // skus.count] = True
        return found

    # -------------------------------------------------------------- reading

    def _array(self, name: str) -> pa.Array:
        if name not in self.table:
            raise bad_table(name, "the column is missing, and a rule asks for it")
        return self.table.array(name)

    def _member(self, array: pa.Array, name: str, path: str) -> pa.Array:
        found = part_of(array, name, path)
        if found is None:
            raise bad_table(f"{path}.{name}", "the column is missing, and a rule asks for it")
        return found

    def _read(self, field: Field) -> Any:
        name = field.name
        if ".properties." in f".{name}":
            return self._property(name)
        if name not in FIELDS or name == "now":
            return None
        match field.type:
            case FieldType.TEXT | FieldType.CHOICE:
                return self._text(field)
            case FieldType.INTEGER:
                return self._integer(name)
            case FieldType.MONEY:
                return self._amount(name)
            case FieldType.INSTANT:
                return Numbers(*whole_of(as_instant(self._array(name), name)))
            case FieldType.SET:
                return self._set(name)

    def _raw(self, name: str) -> pa.Array:
        owner, dot, part = name.partition(".")
        if owner == "line":
            return self._member(self._lines[1], part, "lines")
        return self._member(self._array(owner), part, owner) if dot else self._array(name)

    def _text(self, field: Field) -> Text:
        owner, _, part = field.name.partition(".")
        if part in _DERIVED:
            return self._derived_text(owner, _DERIVED[part])
        text = Text.of(as_text(self._raw(field.name), field.name))
        shape = field.code if not field.choices else "|".join(map(re.escape, field.choices))
        if shape is not None:
            for word in text.words:
                if not re.fullmatch(shape, word):
                    raise bad_table(field.name, "wrong value", found=word, expected=shape)
        if field.always and 0 in text.codes:
            raise bad_table(field.name, "a value is missing", expected="one in every row")
        return text

    def _derived_text(self, owner: str, derive: Callable[[str | None, str | None], str | None]) -> Text:
        postcode, country = self.field(FIELDS[f"{owner}.postcode"]), self.field(FIELDS[f"{owner}.country"])
        pairs, codes = np.unique(postcode.codes.astype(np.int64) * country.count + country.codes, return_inverse=True)
        postcodes, countries = [None, *postcode.words], [None, *country.words]
        made = [derive(postcodes[pair // country.count], countries[pair % country.count]) for pair in pairs.tolist()]
        return Text.mapped(codes, made)

    def _property(self, name: str) -> Text:
        is_line = name.startswith("line.")
        key = name.split("properties.", 1)[1]
        count = len(self.parents) if is_line else self.rows
        lengths, entries = members_of(self._raw("line.properties" if is_line else "properties"), name)
        owner = name.removesuffix(f".{key}")
        keys = self._once(("keys", owner), lambda: Text.of(as_text(self._member(entries, "key", name), name)))
        chosen = np.sort(keys.rows(keys.equal([key])))
        values = Text.of(as_text(self._member(entries, "value", name), name).take(pa.array(chosen)))
        codes = np.zeros(count, dtype=np.uint32)
        codes[np.repeat(np.arange(count), lengths)[chosen]] = values.codes
        return Text(codes, values.words)

    def _set(self, name: str) -> Members:
        lengths, members = members_of(self._array(name), name)
        return Members(Text.of(as_text(members, name)), np.repeat(np.arange(self.rows), lengths), self.rows)

    def _integer(self, name: str) -> Numbers | None:
        if name == "line_count":
            return Numbers(self.line_counts.astype(np.int64), np.ones(self.rows, dtype=bool))
        if name in ("total_quantity", "total_weight_g"):
            return self.sums(FIELDS["line.quantity" if name == "total_quantity" else "line.total_weight_g"])
        if name == "line.total_weight_g":
            return self._times_quantity("line.weight_g")
        values, present = whole_of(as_integer(self._raw(name), name))
        least = 1 if name == "line.quantity" else 0
        if bool((present & (values < least)).any()) or (name == "line.quantity" and not present.all()):
            raise bad_table(name, "wrong value", expected=f"a whole number of at least {least}")
        return Numbers(values, present)

    def _amount(self, name: str) -> Numbers | None:
        if name == "goods_total":
            return self.sums(FIELDS["line.total_price"])
        if name == "line.total_price":
            return self._times_quantity("line.unit_price")
        read = money_of(as_money(self._raw(name), name))
        return None if read is None else Numbers(*read)

    def _times_quantity(self, name: str) -> Numbers | None:
        each, quantity = self.field(FIELDS[name]), self.field(FIELDS["line.quantity"])
        if each is None or _greatest(each) * _greatest(quantity) > ENDLESS:
            return None
        return Numbers(each.values * quantity.values, each.present, each.scale)

    def _summed(self, column: Numbers | None) -> Numbers | None:
        if column is None or _greatest(column) * int(self.line_counts.max(initial=1)) > ENDLESS:
            return None
        present = np.ones(self.rows, dtype=bool)
        if not column.present.all():
            present[self.parents[~column.present]] = False
        return Numbers(self._added(column), present, column.scale)

    def _added(self, column: Numbers) -> Array:
        """The sums of a column's values by order, exactly."""
        sums = np.zeros(len(column.values) + 1, dtype=np.int64)
        np.cumsum(np.where(column.present, column.values, 0), out=sums[1:])
        return sums.take(self.offsets + self.line_counts) - sums.take(self.offsets)


def prepare_table(table: Any) -> Columns:
    """
    A table to be decided more than once: what one rule set needed of it is there for the next.

    Args:
        table: Anything that speaks Arrow's C stream interface, in the schema of `fcflow.rules.table.table_schema`.

    Raises:
        OrderError: It has no column ``order_id``, or a row has no id.

    Example:
        >>> from fcflow.rules import load_rules
        >>> prepared = prepare_table(pa.table({"order_id": ["A1"], "channel": ["web"]}))
        >>> web = {"field": "channel", "op": "eq", "value": "web"}
        >>> for reason in ("first", "second"):
        ...     rules = load_rules({"fcflow": "ruleset/1", "rules": [
        ...         {"id": "web", "when": web, "then": [{"hold": {"reason": reason}}]}]})
        ...     print([decision.reason for decision in rules.decide_many(prepared)])
        ['first']
        ['second']
    """
    return table if isinstance(table, Columns) else Columns(OrderTable(table))


def _greatest(column: Numbers) -> int:
    there = column.values[column.present]
    return max(abs(int(there.min())), abs(int(there.max()))) if len(there) else 0
