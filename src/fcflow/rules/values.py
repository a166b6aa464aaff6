"""
From the values of a document to the typed values of a test; whatever does not fit is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from fcflow.rules.faults import Faults, Path, nearest
from fcflow.rules.fields import Field, FieldType
from fcflow.rules.operators import Operand
from fcflow.rules.patterns import PatternError, compile_pattern

__all__ = ["Bad", "Values", "duration", "instant", "money", "whole_number", "zone_of"]

_DAYS = {name: number for number, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), start=1)}
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?|24:00")


class Bad(Exception):
    """A value that does not fit; becomes a fault at the place where it stands."""

    def __init__(self, message: str, *, found: object = None, expected: str | None = None, at: Path = ()) -> None:
        super().__init__(message)
        self.message, self.found, self.expected, self.at = message, found, expected, at

    def below(self, *at: str | int) -> Bad:
        """The same fault, one step further down."""
        return Bad(self.message, found=self.found, expected=self.expected, at=(*at, *self.at))

    def note(self, faults: Faults, path: Path) -> None:
        """Note it in *faults*."""
        faults.add((*path, *self.at), self.message, found=self.found, expected=self.expected)


def _shown(value: Any) -> object:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, Decimal) else value


def _wrong(value: Any, expected: str) -> Bad:
    return Bad("wrong value", found=_shown(value), expected=expected)


# ------------------------------------------------------------------ single values


def whole_number(value: Any) -> int:
    """An int as it stands in JSON; neither ``true`` nor ``2.5``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _wrong(value, "a whole number")


def money(value: Any) -> Decimal:
    """An amount, as a number or as text: ``19.99`` or ``"19.99"``."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise _wrong(value, "an amount such as 19.99")
    try:
        amount = Decimal(value)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise _wrong(value, "an amount such as 19.99")
    return amount


def instant(value: Any) -> datetime:
    """An instant with a time zone, in RFC 3339."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _wrong(value, "an instant with a time zone such as 2026-12-24T12:00:00Z")
    return moment


def duration(value: Any) -> timedelta:
    """A duration such as ``{"hours": 48}``; parts add up."""
    units = ("weeks", "days", "hours", "minutes", "seconds")
    fits = isinstance(value, dict) and value and all(key in units for key in value)
    if not fits or not all(isinstance(count, int) and 0 <= count <= 1_000_000 for count in value.values()):
        raise _wrong(value, 'a duration such as {"hours": 48}')
    return timedelta(**value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "text")
    if not value:
        raise Bad("empty text is absent", expected="a text, or the operator absent")
    return value


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_of(name: str) -> ZoneInfo:
    """The zone of this IANA name."""
    if name not in _zones():
        raise Bad("unknown time zone", found=name, expected=nearest(name, _zones()) or "an IANA zone")
    return ZoneInfo(name)


def _weekday(value: Any) -> int:
    if isinstance(value, str) and value.lower() in _DAYS:
        return _DAYS[value.lower()]
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 7:
        return value
    raise _wrong(value, "a weekday, mon to sun or 1 (Monday) to 7")


def _time(value: Any) -> time:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise _wrong(value, "a time of day such as 09:30")
    return time(0) if value == "24:00" else time.fromisoformat(value)


# ------------------------------------------------------------------ the value of a test


class Values:
    """
    Types the values of tests of one document.

    Args:
        lists: Its named lists, as they stand.
    """

    def __init__(self, lists: Mapping[str, Any]) -> None:
        self._lists = lists

    def typed(self, field: Field, operand: Operand, value: Any, *, ignore_case: bool = False) -> Any:
        """
        *value* as a test of *field* needs it.

        Raises:
            Bad: It does not fit.
        """
        one = self._one_of(field, operand, ignore_case)
        match operand:
            case Operand.NONE:
                return None
            case Operand.ONE | Operand.DURATION:
                return one(value)
            case Operand.MANY:
                return self._many(value, one)
            case Operand.SOME:
                return one(value) if isinstance(value, str) else self._many(value, one)
            case Operand.PAIR:
                return _pair(value, one)
            case Operand.TIMES:
                return _times(value)
            case Operand.WEEKDAYS:
                return frozenset(self._many(value, _weekday))
            case Operand.INSTANT:
                return value if value == "now" else instant(value)
            case Operand.PATTERN:
                return _pattern(_text(value), ignore_case)

    def _one_of(self, field: Field, operand: Operand, ignore_case: bool) -> Callable[[Any], Any]:
        if operand is Operand.DURATION:
            return duration
        if field.type is FieldType.CHOICE:
            return lambda value: _choice(value, field, ignore_case)
        if field.code is not None and operand in (Operand.ONE, Operand.MANY) and not ignore_case:
            return lambda value: _code(value, field)
        return _BY_TYPE[field.type]

    def _many(self, value: Any, one: Callable[[Any], Any]) -> tuple[Any, ...]:
        if isinstance(value, dict) and set(value) == {"list"}:
            return self._named(value["list"], one)
        if not isinstance(value, list):
            raise _wrong(value, 'a list of values, or {"list": name}')
        if not value:
            raise Bad("empty list", expected="at least one value")
        return tuple(_each(value, one))

    def _named(self, name: Any, one: Callable[[Any], Any]) -> tuple[Any, ...]:
        if not isinstance(name, str) or name not in self._lists:
            raise Bad("unknown list", found=name, expected=nearest(name, self._lists), at=("list",))
        values = self._lists[name]
        try:
            return tuple(_each(values if isinstance(values, list) else [], one))
        except Bad as bad:
            message = f"list {name!r} does not fit: {bad.message}"
            raise Bad(message, found=bad.found, expected=bad.expected, at=("list",)) from bad


def _each(values: list[Any], one: Callable[[Any], Any]) -> Iterable[Any]:
    for index, value in enumerate(values):
        try:
            yield one(value)
        except Bad as bad:
            raise bad.below(index) from bad


def _choice(value: Any, field: Field, ignore_case: bool) -> str:
    text = _text(value)
    if (text.casefold() if ignore_case else text) in field.choices:
        return text
    close = nearest(text, field.choices)
    raise Bad(f"{field.name} never holds this", found=text, expected=close or " or ".join(field.choices))


def _code(value: Any, field: Field) -> str:
    text = _text(value)
    if field.code == "[A-Z]{2}" and text == "UK":
        raise Bad("not an ISO 3166-1 alpha-2 code", found=text, expected="GB")
    if not re.fullmatch(field.code or "", text):
        kind = "an ISO 3166-1 alpha-2 code such as GB" if field.code == "[A-Z]{2}" else "an ISO 4217 code such as GBP"
        raise _wrong(text, kind)
    return text


def _pair(value: Any, one: Callable[[Any], Any]) -> tuple[Any, Any]:
    if not isinstance(value, list) or len(value) != 2:
        raise _wrong(value, "two values, the lower first")
    low, high = _each(value, one)
    if low > high:
        raise Bad("the first is greater than the second", expected="the lower first")
    return low, high


def _times(value: Any) -> tuple[time, time]:
    if not isinstance(value, list) or len(value) != 2:
        raise _wrong(value, 'two times of day such as ["09:00", "17:30"]')
    start, end = _each(value, _time)
    if start == end:
        raise Bad("both times are the same", expected="two different times of day")
    return start, end


def _pattern(value: str, ignore_case: bool) -> Any:
    try:
        return compile_pattern(value, ignore_case=ignore_case)
    except PatternError as error:
        raise Bad(f"not a usable regular expression: {error}", found=value) from error


_BY_TYPE: Mapping[FieldType, Callable[[Any], Any]] = {
    FieldType.TEXT: _text,
    FieldType.SET: _text,
    FieldType.CHOICE: _text,
    FieldType.INTEGER: whole_number,
    FieldType.MONEY: money,
    FieldType.INSTANT: instant,
}
