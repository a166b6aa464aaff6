"""
One cell: from its text to a value, and back, as a layout's field says.

Reading: trim, take off what guards or prefixes it, `empty` words, `default`, `map`, the type. Writing is the way back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from fcflow.formats.codec import Cell, Unwritable
from fcflow.formats.fields import Said
from fcflow.model import Payment, Status

__all__ = ["Unreadable", "limited", "make_format", "make_parse"]

_DIGITS = 18
_GRAMS = {"g": Decimal(1), "kg": Decimal(1000), "lb": Decimal("453.59237"), "oz": Decimal("28.349523125")}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBERS = ("integer", "amount", "weight")


class Unreadable(ValueError):  # a signal inside formats; callers see a Problem
    """A cell that does not hold what its field needs; says what was expected."""

    def __init__(self, expected: str, found: object = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = found


Parse = Callable[[Cell], Any]
Format = Callable[[Any], str]
_Convert = Callable[[str], Any]


# ------------------------------------------------------------------ from text


def _number_pattern(options: Mapping[str, Any]) -> re.Pattern[str]:
    decimal, thousands = re.escape(options.get("decimal", ".")), re.escape(options.get("thousands", ""))
    whole = rf"(?:[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})+|[0-9]+)" if thousands else "[0-9]+"
    return re.compile(rf"([+-]?{whole})(?:{decimal}([0-9]*))?|([+-]?){decimal}([0-9]+)")


def _to_decimal(options: Mapping[str, Any], expected: str) -> Callable[[str], Decimal]:
    pattern, thousands = _number_pattern(options), options.get("thousands", "")

    def convert(text: str) -> Decimal:
        match = pattern.fullmatch(text)
        if match is None or len(text) > 2 * _DIGITS:
            raise Unreadable(expected)
        whole, decimals, sign, only = match.groups()
        if thousands and whole:
            whole = whole.replace(thousands, "")
        return Decimal(f"{whole}.{decimals or 0}" if whole is not None else f"{sign}0.{only}")

    return convert


def _integer(options: Mapping[str, Any]) -> _Convert:
    to_decimal = _to_decimal(options, "digits")

    def convert(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= _DIGITS:
            return int(text)
        value = to_decimal(text)
        if value != value.to_integral_value() or abs(value) >= 10**_DIGITS:
            raise Unreadable("a whole number")
        return int(value)

    return convert


def _amount(options: Mapping[str, Any]) -> _Convert:
    to_decimal = _to_decimal(options, f"an amount such as 7{options.get('decimal', '.')}50")
    if options.get("unit") == "cents":
        return lambda text: to_decimal(text) / 100
    return to_decimal


def _weight(options: Mapping[str, Any]) -> _Convert:
    unit = options.get("unit", "g")
    to_decimal, grams = _to_decimal(options, f"a weight in {unit}"), _GRAMS[unit]

    def convert(text: str) -> int:
        value = (to_decimal(text) * grams).quantize(Decimal(1), ROUND_HALF_UP)
        if not 0 <= value < 10**_DIGITS:
            raise Unreadable("a weight of at least 0")
        return int(value)

    return convert


def _datetime(options: Mapping[str, Any]) -> _Convert:
    zone = _zone(options)
    pattern: str | None = options.get("pattern")
    expected = f"a date and time like {pattern}" if pattern else "a date and time such as 2026-03-02T09:30:00+00:00"

    def convert(text: str) -> datetime:
        try:
            moment = datetime.strptime(text, pattern) if pattern else datetime.fromisoformat(text)  # noqa: DTZ007  # made aware below
            aware = moment.replace(tzinfo=zone) if moment.tzinfo is None else moment
            return aware.astimezone(UTC)
        except (ValueError, OverflowError):
            raise Unreadable(expected) from None

    return convert


def _zone(options: Mapping[str, Any]) -> Any:
    return UTC if options.get("zone", "UTC") == "UTC" else ZoneInfo(options["zone"])


def _payment(options: Mapping[str, Any]) -> _Convert:
    words = {member.value: member for member in Payment}

    def convert(text: str) -> Payment:
        found = words.get(text.lower())
        if found is None:
            raise Unreadable("one of " + ", ".join(words))
        return found

    return convert


def _code(pattern: str, expected: str) -> Callable[[Mapping[str, Any]], _Convert]:
    compiled = re.compile(pattern)

    def make(options: Mapping[str, Any]) -> _Convert:
        def convert(text: str) -> str:
            code = text.upper()
            if not compiled.fullmatch(code):
                raise Unreadable(expected)
            return code

        return convert

    return make


def _plain(options: Mapping[str, Any]) -> _Convert:
    return str


_CONVERTERS: Mapping[str, Callable[[Mapping[str, Any]], _Convert]] = {
    "text": _plain,
    "integer": _integer,
    "amount": _amount,
    "weight": _weight,
    "datetime": _datetime,
    "payment": _payment,
    "country": _code("[A-Z]{2}", "a country code such as GB"),
    "currency": _code("[A-Z]{3}", "a currency code such as GBP"),
}


def _mapper(options: Mapping[str, Any], convert: _Convert) -> _Convert:
    """*convert*, with the partner's words turned into ours before it."""
    fold: Callable[[str], str] = str.casefold if options.get("ignore_case") else str
    words = {fold(word): value for word, value in options["map"].items()}
    refuses = options.get("unmapped") == "refuse"

    def mapped(text: str) -> Any:
        key = fold(text)
        if key in words:
            value = words[key]
            return None if value is None else convert(value)
        if refuses:
            raise Unreadable("one of " + ", ".join(options["map"]))
        return convert(text)

    return mapped


def _said(options: Mapping[str, Any]) -> _Convert:
    """A status word; without a map nothing is known of it but the word."""
    fold: Callable[[str], str] = str.casefold if options.get("ignore_case") else str
    words = {fold(word): value for word, value in options.get("map", {}).items()}
    refuses = options.get("unmapped") == "refuse"

    def convert(text: str) -> Said:
        value = words.get(fold(text))
        if value is None and refuses and fold(text) not in words:
            raise Unreadable("one of " + ", ".join(options["map"]))
        return Said(None if value is None else Status(value), text)

    return convert


def make_parse(type_: str, options: Mapping[str, Any]) -> Parse:
    """
    The function from a cell to a value; ``None`` is *nothing there*.

    Example:
        >>> make_parse("amount", {"decimal": ",", "thousands": "."})("1.234,50")
        Decimal('1234.50')
    """
    if type_ == "list":
        return _parse_list(options)
    convert = _said(options) if type_ == "status" else _CONVERTERS[type_](options)
    if "map" in options and type_ != "status":
        convert = _mapper(options, convert)
    return _trimmed(options, convert)


def _trimmed(options: Mapping[str, Any], convert: _Convert) -> Parse:
    default, trims = options.get("default"), options.get("trim", True)
    bare = _stripper(options)
    if trims and bare is str and default is None:
        return _plain_parse(convert)

    def parse(cell: Cell) -> Any:
        if cell is None or cell == "":
            text = ""
        elif isinstance(cell, str):
            text = bare(cell.strip() if trims else cell)
        else:
            raise Unreadable("one text", str(cell))
        if not text:
            if default is None:
                return None
            text = default
        return convert(text)

    return parse


def _plain_parse(convert: _Convert) -> Parse:
    """The same for a field that asks for nothing special, as most do; large files spend their time here."""

    def parse(cell: Cell) -> Any:
        if not cell:
            return None
        if not isinstance(cell, str):
            raise Unreadable("one text", str(cell))
        text = cell.strip()
        return convert(text) if text else None

    def parse_text(cell: Cell) -> str | None:
        if cell and not isinstance(cell, str):
            raise Unreadable("one text", str(cell))
        return cell.strip() or None if cell else None  # type: ignore[union-attr]  # a text, as seen above

    return parse_text if convert is str else parse


def _stripper(options: Mapping[str, Any]) -> Callable[[str], str]:
    """The function that takes off guards and prefixes, and makes the words that mean nothing empty."""
    prefix, guarded = options.get("strip_prefix", ""), options.get("guard", False)
    fold: Callable[[str], str] = str.casefold if options.get("ignore_case") else str
    empty = frozenset(map(fold, options.get("empty", ())))
    if not prefix and not guarded and not empty:
        return str

    def bare(text: str) -> str:
        if guarded and text[:1] == "'" and text[1:].startswith(_FORMULA):
            text = text[1:]
        text = text.removeprefix(prefix)
        return "" if fold(text) in empty else text

    return bare


def _parse_list(options: Mapping[str, Any]) -> Parse:
    separator = options.get("split") or options.get("join") or ","
    parse_one = _trimmed({**options, "default": None}, _mapper(options, str) if "map" in options else str)
    default = options.get("default")

    def parse(cell: Cell) -> tuple[str, ...]:
        if cell is None or cell == "":
            cell = default or ""
        parts = cell.split(separator) if isinstance(cell, str) else cell
        return tuple(dict.fromkeys(one for part in parts if (one := parse_one(part)) is not None))

    return parse


# ------------------------------------------------------------------ to text


def _grouped(digits: str, mark: str) -> str:
    sign, digits = (digits[0], digits[1:]) if digits[:1] == "-" else ("", digits)
    head = len(digits) % 3
    groups = [digits[:head]] if head else []
    return sign + mark.join(groups + [digits[i : i + 3] for i in range(head, len(digits), 3)])


def _number_text(value: Decimal, options: Mapping[str, Any], least: int) -> str:
    """*value* with at least *least* decimals, or exactly ``places``."""
    places = options.get("places")
    text = f"{value if value else abs(value):f}"
    whole, _, decimals = text.partition(".")
    decimals = decimals.rstrip("0")
    if places is not None and len(decimals) > places:
        raise Unwritable(f"expected at most {places} decimals, got {value}")
    decimals = decimals.ljust(least if places is None else places, "0")
    whole = _grouped(whole, options["thousands"]) if options.get("thousands") else whole
    return f"{whole}{options.get('decimal', '.')}{decimals}" if decimals else whole


def _amount_text(options: Mapping[str, Any]) -> Format:
    if options.get("unit") != "cents":
        return lambda value: _number_text(value, options, 2)

    def cents(value: Decimal) -> str:
        whole = value * 100
        if whole != whole.to_integral_value():
            raise Unwritable(f"expected whole cents, got {value}")
        return _number_text(whole, {**options, "places": 0}, 0)

    return cents


def _weight_text(options: Mapping[str, Any]) -> Format:
    grams = _GRAMS[options.get("unit", "g")]
    places = options.get("places", 0 if grams == 1 else 3)
    step = Decimal(1).scaleb(-places)
    return lambda value: _number_text((Decimal(value) / grams).quantize(step, ROUND_HALF_UP), options, 0)


def _datetime_text(options: Mapping[str, Any]) -> Format:
    zone, pattern = _zone(options), options.get("pattern")
    if pattern is None:
        return lambda value: value.astimezone(zone).isoformat()
    return lambda value: value.astimezone(zone).strftime(pattern)


def _list_text(options: Mapping[str, Any]) -> Format:
    separator = options.get("join") or options.get("split") or ","

    def joined(value: Any) -> str:
        items = sorted(value) if isinstance(value, frozenset) else list(value)
        for item in items:
            if separator in item:
                raise Unwritable(f"expected texts without {separator!r}, got {item!r}")
        return separator.join(items)

    return joined


def _plain_text(options: Mapping[str, Any]) -> Format:
    return str


_WRITERS: Mapping[str, Callable[[Mapping[str, Any]], Format]] = {
    "integer": lambda options: lambda value: _number_text(Decimal(value), options, 0),
    "amount": _amount_text,
    "weight": _weight_text,
    "datetime": _datetime_text,
    "list": _list_text,
    "payment": lambda options: lambda value: str(value.value),
}


def _unmapper(options: Mapping[str, Any], write: Format) -> Format:
    """*write*, with our words turned into the partner's after it: the first that means ours."""
    words: dict[str, str] = {}
    for word, value in options["map"].items():
        if value is not None:
            words.setdefault(value, word)
    refuses = options.get("unmapped") == "refuse"

    def unmapped(value: Any) -> str:
        text = write(value)
        if text not in words and refuses:
            raise Unwritable("expected one of " + ", ".join(words) + f", got {text!r}")
        return words.get(text, text)

    return unmapped


def _said_text(options: Mapping[str, Any]) -> Format:
    """The partner's own word where it is there, else the first word that means our status."""
    words: dict[str, str] = {}
    for word, value in options.get("map", {}).items():
        words.setdefault(str(value), word)

    def write(value: Said) -> str:
        if value.raw:
            return value.raw
        return words.get(value.status.value, value.status.value) if value.status is not None else ""

    return write


def make_format(type_: str, options: Mapping[str, Any]) -> Format:
    """
    The function from a value to a cell's text; ``None`` becomes the default, or nothing.

    Raises:
        Unwritable: By the function, where the value does not fit the field.

    Example:
        >>> from decimal import Decimal
        >>> make_format("amount", {"decimal": ",", "thousands": "."})(Decimal("1234.5"))
        '1.234,50'
    """
    write = _said_text(options) if type_ == "status" else _WRITERS.get(type_, _plain_text)(options)
    if "map" in options and type_ != "status":
        write = _unmapper(options, write)
    default = options.get("default") or ""
    guards = options.get("guard", False) and type_ not in _NUMBERS

    def format_(value: Any) -> str:
        text = default if value is None else write(value)
        return "'" + text if guards and text.startswith(_FORMULA) else text

    return format_


def limited(text: str, limit: int | None, options: Mapping[str, Any]) -> str:
    """
    *text* within *limit* characters: cut off where the field says so, refused where it does not.

    Raises:
        Unwritable: It is longer.
    """
    if limit is None or len(text) <= limit:
        return text
    if options.get("if_too_long") != "truncate":
        raise Unwritable(f"expected at most {limit} characters, got {len(text)} in {text!r}")
    return text[:limit]
