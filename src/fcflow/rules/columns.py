"""
Columns of a table of orders as the columnar path reads them: whole numbers (codes) with posting lists.

Every column gives each of its rows a **code**: 0 where the value is absent, else 1 and up in the order of the values.
A test then is a handful of ranges of codes, and the rows that fulfil it stand together in the rows sorted by code.
Needs the extra ``batch``.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from math import ceil, floor
from typing import Any, cast

from fcflow.errors import MissingExtraError
from fcflow.model import Order
from fcflow.rules.fields import FIELDS, Field, FieldType, outward_code, postcode_area
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
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as error:
    raise MissingExtraError("batch", error.name or "numpy") from error

__all__ = ["Coded", "Columns", "Members", "Numbers", "Ranges", "Text", "prepare_table", "scaled"]

Array = npt.NDArray[Any]
Ranges = list[tuple[int, int]]

ENDLESS = (1 << 63) - 1
_SMALL = 1 << 16
_LEAST, _MOST = -(1 << 63), ENDLESS

# ------------------------------------------------------------------ codes and posting lists


class Coded:
    """
    A column as codes.

    Args:
        codes: One a row; 0 is absent.

        count: How many codes there are, 0 included.

        order: The rows sorted by code, where that is known already.
    """

    def __init__(self, codes: Array, count: int, order: Array | None = None) -> None:
        self.codes = codes.astype(np.uint32, copy=False)
        self.count = count
        self._order = order

    @cached_property
    def starts(self) -> list[int]:
        """Where the rows of each code begin among the sorted rows; one more than there are codes."""
        counted = np.bincount(self.codes, minlength=self.count)
        return [0, *np.cumsum(counted).tolist()]

    @property
    def order(self) -> Array:
        """The rows, sorted by code."""
        if self._order is None:
            if self.count <= _SMALL:
                self._order = np.argsort(self.codes.astype(np.uint16), kind="stable")
            else:
                self._order = np.argsort(self.codes)
        order: Array = self._order
        return order

    def size(self, ranges: Ranges) -> int:
        """How many rows have a code in *ranges*."""
        starts = self.starts
        if len(ranges) == 1:
            low, high = ranges[0]
            return starts[high] - starts[low]
        return sum([starts[high] - starts[low] for low, high in ranges])

    def rows(self, ranges: Ranges) -> Array:
        """The rows that have a code in *ranges*, which do not overlap."""
        starts, order = self.starts, self.order
        parts = [order[starts[low] : starts[high]] for low, high in ranges]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else order[:0]

    def mask(self, ranges: Ranges, rows: Array) -> Array:
        """Which of *rows* have a code in *ranges*."""
        codes = self.codes.take(rows)
        if len(ranges) > 3:
            table = np.zeros(self.count, dtype=bool)
            for low, high in ranges:
                table[low:high] = True
            return table.take(codes)
        mask = _within(codes, *ranges[0]) if ranges else np.zeros(len(rows), dtype=bool)
        for low, high in ranges[1:]:
            mask |= _within(codes, low, high)
        return mask

    def through(self, parents: Array) -> Coded:
        """The same column seen from the lines of its rows."""
        return Coded(self.codes.take(parents), self.count)


def _within(codes: Array, low: int, high: int) -> Array:
    if high - low == 1:
        return cast(Array, codes == low)
    return cast(Array, (codes - np.uint32(low)) < np.uint32(high - low))


def complement(ranges: Ranges, low: int, high: int) -> Ranges:
    """What of *low* up to *high* is in none of *ranges*, which are sorted."""
    left, at = [], low
    for start, end in ranges:
        if start > at:
            left.append((at, start))
        at = max(at, end)
    return [*left, (at, high)] if at < high else left


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """*ranges* sorted, those that touch made one, empty ones left out."""
    kept = [each for each in ranges if each[0] < each[1]]
    if len(kept) < 2:
        return kept
    made: Ranges = []
    for low, high in sorted(kept):
        if made and low <= made[-1][1]:
            made[-1] = made[-1][0], max(high, made[-1][1])
        else:
            made.append((low, high))
    return made


# ------------------------------------------------------------------ text


class Text(Coded):
    """
    A column of texts.

    Args:
        words: The distinct texts, sorted; the first has code 1.
    """

    def __init__(self, codes: Array, words: list[str]) -> None:
        super().__init__(codes, len(words) + 1)
        self.words = words

    @classmethod
    def of(cls, array: pa.Array) -> Text:
        """From an Arrow array of texts; empty ones are absent."""
        coded = array.dictionary_encode()
        ranked = pc.sort_indices(coded.dictionary)
        words = coded.dictionary.take(ranked).to_pylist()
        ranks = np.zeros(len(words) + 1, dtype=np.uint32)
        is_blank = bool(words) and words[0] == ""
        ranks[ranked.to_numpy()] = np.arange(1 - is_blank, len(words) + 1 - is_blank, dtype=np.uint32)
        codes = ranks.take(pc.fill_null(coded.indices, len(words)).to_numpy(zero_copy_only=False))
        return cls(codes, words[1:] if is_blank else words)

    @classmethod
    def mapped(cls, codes: Array, made: Sequence[str | None]) -> Text:
        """From codes into *made*, texts that may stand there twice or be absent."""
        words = sorted({word for word in made if word})
        places = {word: place for place, word in enumerate(words, start=1)}
        ranks = np.fromiter((places.get(word or "", 0) for word in made), dtype=np.uint32, count=len(made))
        return cls(ranks.take(codes) if len(made) else codes, words)

    @cached_property
    def folded(self) -> Text:
        """The column without case."""
        return Text.mapped(self.codes, [None, *(word.casefold() for word in self.words)])

    def equal(self, word: str) -> tuple[int, int]:
        """The codes of *word*; an empty range where it stands nowhere."""
        place = bisect_left(self.words, word)
        found = place < len(self.words) and self.words[place] == word
        return place + 1, place + 1 + found

    def beginning(self, prefix: str) -> tuple[int, int]:
        """The codes of the words that begin with *prefix*."""
        low = bisect_left(self.words, prefix)
        high = bisect_right(self.words, prefix, lo=low, key=lambda word: word[: len(prefix)])
        return low + 1, high + 1

    def through(self, parents: Array) -> Text:
        """The same column seen from the lines of its rows."""
        return Text(self.codes.take(parents), self.words)


class Members:
    """
    A column of sets of texts.

    Args:
        text: All members, one after the other.

        parents: The row that each belongs to.
    """

    def __init__(self, text: Text, parents: Array) -> None:
        self.text = text
        self.parents = parents

    @cached_property
    def folded(self) -> Members:
        """The column without case."""
        return Members(self.text.folded, self.parents)

    def through(self, offsets: Array, lines: Array) -> Members:
        """The same column seen from the lines of its rows: *lines* of them each, from *offsets* on."""
        counts = lines.take(self.parents)
        places = spread_out(offsets.take(self.parents), counts)
        return Members(Text(np.repeat(self.text.codes, counts), self.text.words), places)


def spread_out(starts: Array, counts: Array) -> Array:
    """From each start on, as many numbers as its count says, one after the other."""
    ends = np.cumsum(counts)
    return cast(Array, np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts))


# ------------------------------------------------------------------ numbers


class Numbers(Coded):
    """
    A column of whole numbers: counts, grams, microseconds, or money in units of ``10 ** -scale``.

    Args:
        values: 64-bit; whatever where *present* is false.
    """

    def __init__(self, values: Array, present: Array, scale: int = 0) -> None:
        self.values, self.present, self.scale = values, present, scale
        there = values if bool(present.all()) else values[present]
        low, high = (int(there.min()), int(there.max())) if len(there) else (0, 0)
        self._low, self._points = low, None
        if high - low < max(_SMALL - 1, 2 * len(values)):
            codes = np.where(present, values - low + 1, 0)
            super().__init__(codes, high - low + 2)
            return
        codes, order, self._points = _ranked(values, present)
        super().__init__(codes, len(self._points) + 1, order)

    _points: Array | None

    def between(self, low: int | None, high: int | None) -> tuple[int, int]:
        """The codes of the values from *low* to *high*, both included; ``None`` has no bound."""
        if self._points is None:
            first = 1 if low is None else min(max(low - self._low + 1, 1), self.count)
            last = self.count if high is None else min(max(high - self._low + 2, 1), self.count)
            return first, last
        first = 1 if low is None or low <= _LEAST else self._place(low, "left")
        last = self.count if high is None or high >= _MOST else self._place(high, "right")
        return first, last

    def _place(self, value: int, side: Any) -> int:
        assert self._points is not None
        if not _LEAST <= value <= _MOST:
            return 1 if value < 0 else self.count
        return int(self._points.searchsorted(np.int64(value), side=side)) + 1

    def through(self, parents: Array) -> Coded:
        """The same column seen from the lines of its rows."""
        seen = _Seen(self.codes.take(parents), self.count)
        seen.between, seen.scale = self.between, self.scale
        return seen


class _Seen(Coded):
    """Numbers of orders, seen from their lines."""

    between: Callable[[int | None, int | None], tuple[int, int]]
    scale: int


def _ranked(values: Array, present: Array) -> tuple[Array, Array, Array]:
    """Codes in the order of the values, the rows sorted by them, and the distinct values."""
    absent, rows = np.flatnonzero(~present), np.flatnonzero(present)
    rows = rows.take(np.argsort(values.take(rows)))
    ordered = values.take(rows)
    is_new = np.empty(len(ordered), dtype=bool)
    is_new[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    codes = np.zeros(len(values), dtype=np.uint32)
    codes[rows] = np.cumsum(is_new)
    return codes, np.concatenate([absent, rows]), ordered[is_new]


@lru_cache(maxsize=65_536)
def scaled(value: Decimal | int, scale: int) -> tuple[int, int]:
    """The whole numbers of units of ``10 ** -scale`` next to *value*, below and above; both it, where it is whole."""
    amount = Decimal(value)
    if amount and not -40 < amount.adjusted() < 40:
        beyond = 0 if amount.adjusted() < 0 else 1 << 200
        return (-beyond - 1, -beyond) if amount < 0 else (beyond, beyond + 1)
    exact = Fraction(amount) * 10**scale
    return floor(exact), ceil(exact)


def _whole(array: pa.Array) -> tuple[Array, Array]:
    """Values (0 where null) and which are there."""
    present = np.ones(len(array), dtype=bool)
    if array.null_count:
        present = pc.is_valid(array).to_numpy(zero_copy_only=False)
        array = pc.fill_null(array, 0)
    return array.to_numpy(zero_copy_only=False), present


def _money(array: pa.Array) -> tuple[Array, Array, int] | None:
    """Values in units of ``10 ** -scale``, which are there, and the scale; ``None`` where 64 bits do not hold them."""
    if pa.types.is_decimal256(array.type):
        try:
            array = array.cast(pa.decimal128(38, array.type.scale))
        except pa.ArrowInvalid:
            return None
    scale, present = array.type.scale, pc.is_valid(array).to_numpy(zero_copy_only=False)
    words = np.frombuffer(array.buffers()[1] or b"", dtype=np.int64)
    words = words[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2)
    values = np.where(present, words[:, 0], 0)
    if scale < 0 or bool((present & (words[:, 1] != words[:, 0] >> 63)).any()):
        return None
    for digits in (8, 4, 2, 1):
        if scale >= digits and not (values % 10**digits).any():
            values, scale = values // 10**digits, scale - digits
    return values, present, scale


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
            return column.through(self.offsets, self.line_counts)
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
                return Numbers(*_whole(as_instant(self._array(name), name)))
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
        keys = as_text(self._member(entries, "key", name), name)
        chosen = np.flatnonzero(pc.fill_null(pc.equal(keys, key), False).to_numpy(zero_copy_only=False))
        values = Text.of(as_text(self._member(entries, "value", name), name).take(pa.array(chosen)))
        codes = np.zeros(count, dtype=np.uint32)
        codes[np.repeat(np.arange(count), lengths)[chosen]] = values.codes
        return Text(codes, values.words)

    def _set(self, name: str) -> Members:
        lengths, members = members_of(self._array(name), name)
        return Members(Text.of(as_text(members, name)), np.repeat(np.arange(self.rows), lengths))

    def _integer(self, name: str) -> Numbers | None:
        if name == "line_count":
            return Numbers(self.line_counts.astype(np.int64), np.ones(self.rows, dtype=bool))
        if name in ("total_quantity", "total_weight_g"):
            return self.sums(FIELDS["line.quantity" if name == "total_quantity" else "line.total_weight_g"])
        if name == "line.total_weight_g":
            return self._times_quantity("line.weight_g")
        values, present = _whole(as_integer(self._raw(name), name))
        least = 1 if name == "line.quantity" else 0
        if bool((present & (values < least)).any()) or (name == "line.quantity" and not present.all()):
            raise bad_table(name, "wrong value", expected=f"a whole number of at least {least}")
        return Numbers(values, present)

    def _amount(self, name: str) -> Numbers | None:
        if name == "goods_total":
            return self.sums(FIELDS["line.total_price"])
        if name == "line.total_price":
            return self._times_quantity("line.unit_price")
        read = _money(as_money(self._raw(name), name))
        return None if read is None else Numbers(*read)

    def _times_quantity(self, name: str) -> Numbers | None:
        each, quantity = self.field(FIELDS[name]), self.field(FIELDS["line.quantity"])
        if each is None or _greatest(each) * _greatest(quantity) > _MOST:
            return None
        return Numbers(each.values * quantity.values, each.present, each.scale)

    def _summed(self, column: Numbers | None) -> Numbers | None:
        if column is None or _greatest(column) * int(self.line_counts.max(initial=1)) > _MOST:
            return None
        present = np.ones(self.rows, dtype=bool)
        present[self.parents[~column.present]] = False
        return Numbers(added(column, self.parents, self.rows), present, column.scale)


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


def added(column: Numbers, parents: Array, count: int) -> Array:
    """The sums of a column's values by parent, exactly."""
    totals = np.zeros(count, dtype=np.int64)
    np.add.at(totals, parents, np.where(column.present, column.values, 0))
    return totals


def _greatest(column: Numbers) -> int:
    there = column.values[column.present]
    return max(abs(int(there.min())), abs(int(there.max()))) if len(there) else 0


# ------------------------------------------------------------------ local time

_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def local(column: Numbers, zone: tzinfo) -> tuple[Numbers, Numbers]:
    """The ISO weekdays and the microseconds since midnight of instants in *zone*."""
    hours, places = np.unique(column.values[column.present] // _HOUR_US, return_inverse=True)
    offsets = np.zeros(len(column.values), dtype=np.int64)
    firsts = [_offset(hour * _HOUR_US, zone) for hour in hours.tolist()]
    lasts = [_offset(hour * _HOUR_US + _HOUR_US - 1, zone) for hour in hours.tolist()]
    offsets[column.present] = np.array(firsts, dtype=np.int64).take(places) if firsts else 0
    turning = np.array([first != last for first, last in zip(firsts, lasts, strict=True)], dtype=bool)
    if turning.any():
        for row in np.flatnonzero(column.present)[turning.take(places)].tolist():
            offsets[row] = _offset(int(column.values[row]), zone)
    local_us = column.values + offsets
    weekdays = (local_us // _DAY_US + 3) % 7 + 1
    return Numbers(weekdays, column.present), Numbers(local_us % _DAY_US, column.present)


def _offset(instant_us: int, zone: tzinfo) -> int:
    moment = (_EPOCH + timedelta(microseconds=instant_us)).astimezone(zone)
    return (moment.utcoffset() or timedelta()) // timedelta(microseconds=1)
