"""
Columns of whole numbers (counts, grams, money, instants) and what a test of a number or an instant asks of them.

Needs the extra ``batch``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from typing import Any

from fcflow.errors import MissingExtraError
from fcflow.rules.codes import ENDLESS, SMALL, Array, Coded, Ranges
from fcflow.rules.tree import Test

try:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as error:
    raise MissingExtraError("batch", error.name or "numpy") from error

__all__ = ["Numbers", "intervals", "local", "micros", "money_of", "ranges_of", "scaled", "spans", "whole_of"]

_LEAST, _MOST = -(1 << 63), ENDLESS


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
        if high - low < max(SMALL - 1, 2 * len(values)):
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


def whole_of(array: pa.Array) -> tuple[Array, Array]:
    """Values (0 where null) and which are there."""
    present = np.ones(len(array), dtype=bool)
    if array.null_count:
        present = pc.is_valid(array).to_numpy(zero_copy_only=False)
        array = pc.fill_null(array, 0)
    return array.to_numpy(zero_copy_only=False), present


def money_of(array: pa.Array) -> tuple[Array, Array, int] | None:
    """Values in units of ``10 ** -scale``, which are there, and the scale; ``None`` where 64 bits do not hold them."""
    if pa.types.is_decimal256(array.type):
        try:
            array = array.cast(pa.decimal128(38, array.type.scale))
        except pa.ArrowInvalid:
            return None
    scale, present = array.type.scale, np.ones(len(array), dtype=bool)
    if array.null_count:
        present = pc.is_valid(array).to_numpy(zero_copy_only=False)
    words = np.frombuffer(array.buffers()[1] or b"", dtype=np.int64)
    words = words[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2)
    values = np.where(present, words[:, 0], 0) if array.null_count else words[:, 0]
    if scale < 0 or bool((present & (words[:, 1] != words[:, 0] >> 63)).any()):
        return None
    return _shortened(values, present, scale)


def _shortened(values: Array, present: Array, scale: int) -> tuple[Array, Array, int]:
    """Without the digits at the end that are 0 in all values; some of them tell most often that they are not."""
    for digits in (8, 4, 2, 1):
        if scale >= digits and not (values[:256] % 10**digits).any():
            shorter = values // 10**digits
            if bool((shorter * 10**digits == values).all()):
                values, scale = shorter, scale - digits
    return values, present, scale


# ------------------------------------------------------------------ what a test asks

Interval = tuple[int | None, int | None]


def ranges_of(test: Test, column: Any, scale: int) -> Ranges:
    """The codes of what a test of a number names."""
    if test.op == "between":
        low, high = test.value
        return [column.between(scaled(low, scale)[1], scaled(high, scale)[0])]
    return [column.between(*each) for each in intervals(test.op, test.value, scale)]


def intervals(op: str, value: Any, scale: int) -> list[Interval]:
    """The whole numbers that the value of a test stands for; for ``ne`` and ``not_in`` those that it refuses."""
    if op in ("in", "not_in"):
        return [(above, below) for below, above in (scaled(each, scale) for each in value)]
    if op == "between":
        return [(scaled(value[0], scale)[1], scaled(value[1], scale)[0])]
    below, above = scaled(value, scale)
    match op:
        case "lt":
            return [(None, above - 1)]
        case "le":
            return [(None, below)]
        case "gt":
            return [(below + 1, None)]
        case "ge":
            return [(above, None)]
        case _:
            return [(above, below)]


def spans(test: Test, now: datetime | None) -> list[Interval]:
    """The same for a test of an instant; weekdays and times of day are numbers of their own."""
    value, now_us = test.value, 0 if now is None else micros(now)
    match test.op:
        case "before":
            return [(None, (now_us if value == "now" else micros(value)) - 1)]
        case "after":
            return [((now_us if value == "now" else micros(value)) + 1, None)]
        case "within_last":
            return [(now_us - _micros_of(value), now_us)]
        case "within_next":
            return [(now_us, now_us + _micros_of(value))]
        case "between":
            return [(micros(value[0]), micros(value[1]))]
        case "weekday_in":
            return [(day, day) for day in value]
        case _:
            start, end = (_since_midnight(each) for each in value)
            return [(start, end - 1)] if start < end else [(start, None), (None, end - 1)]


def _micros_of(duration: Any) -> int:
    return int(duration.days * 86_400 + duration.seconds) * 1_000_000 + int(duration.microseconds)


def _since_midnight(time: Any) -> int:
    return int((time.hour * 60 + time.minute) * 60 + time.second) * 1_000_000 + int(time.microsecond)


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
