"""
Numbers: whole ones, amounts and weights, from a partner's spelling to ours and back.

A number is digits with the marks that the field names; nothing is guessed, and nothing but a weight is rounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from fcflow.formats.codec import Unreadable, Unwritable

__all__ = ["DIGITS", "NUMBERS", "UNITS", "factor_of", "number_format", "number_parse"]

NUMBERS = ("integer", "amount", "weight")
"""The types that are numbers."""

UNITS: Mapping[str, Mapping[str, Decimal]] = {
    "weight": {
        "mg": Decimal("0.001"),
        "g": Decimal(1),
        "dag": Decimal(10),
        "hg": Decimal(100),
        "kg": Decimal(1000),
        "t": Decimal(1_000_000),
        "oz": Decimal("28.349523125"),
        "lb": Decimal("453.59237"),
    },
    "amount": {"units": Decimal(1), "cents": Decimal("0.01")},
}
"""What one of the partner's units is in ours: grams, and whole units of the currency."""

DIGITS = 18
"""As many as a whole number may have."""

_BLANKS = " \u00a0\u2009\u202f"  # spreadsheets set thousands off with blanks that do not break
_NO_BLANKS = str.maketrans(dict.fromkeys(_BLANKS))
_Convert = Callable[[str], Any]
_Format = Callable[[Any], str]


def factor_of(type_: str, options: Mapping[str, Any]) -> Decimal | None:
    """
    What one of the partner's is in ours; ``None`` where a unit does not fit the type, or is no number above zero.

    Example:
        >>> factor_of("weight", {"unit": {"factor": "100"}}), factor_of("integer", {"pack": 6})
        (Decimal('100'), Decimal('6'))
    """
    if type_ == "integer":
        return Decimal(options.get("pack", 1))
    known = UNITS[type_]
    unit = options.get("unit", next(iter(known)) if type_ == "amount" else "g")
    if isinstance(unit, str):
        return known.get(unit)
    try:
        factor = Decimal(unit["factor"])
    except InvalidOperation:
        return None
    return factor if factor.is_finite() and factor > 0 else None


# ------------------------------------------------------------------ reading


def _pattern(options: Mapping[str, Any]) -> re.Pattern[str]:
    decimal, thousands = re.escape(options.get("decimal", ".")), re.escape(options.get("thousands", ""))
    if options.get("thousands") == " ":
        thousands = f"[{_BLANKS}]"
    whole = rf"(?:[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})+|[0-9]+)" if thousands else "[0-9]+"
    return re.compile(rf"([+-]?{whole})(?:{decimal}([0-9]*))?|([+-]?){decimal}([0-9]+)")


def _sign_first(options: Mapping[str, Any]) -> Callable[[str], str]:
    """Brings the sign to the front, from where the partner puts it."""
    where = options.get("negative", "before")

    def after(text: str) -> str:
        return text[-1:] + text[:-1].rstrip() if text.endswith(("-", "+")) and text[0].isdigit() else text

    def in_brackets(text: str) -> str:
        inner = text[1:-1].strip()
        return "-" + inner if text[:1] == "(" and text[-1:] == ")" and inner[:1] not in ("-", "+") else text

    places: Mapping[str, Callable[[str], str]] = {"before": str, "after": after, "brackets": in_brackets}
    return places[where]


def _to_decimal(options: Mapping[str, Any], expected: str) -> Callable[[str], Decimal]:
    pattern, thousands, implied = _pattern(options), options.get("thousands", ""), options.get("implied_decimals", 0)
    sign_first = _sign_first(options)

    def convert(text: str) -> Decimal:
        match = pattern.fullmatch(sign_first(text))
        if match is None or len(text) > 2 * DIGITS:
            raise Unreadable(expected)
        whole, decimals, sign, only = match.groups()
        if thousands and whole:
            whole = whole.translate(_NO_BLANKS) if thousands == " " else whole.replace(thousands, "")
        found = Decimal(f"{whole}.{decimals or 0}" if whole is not None else f"{sign}0.{only}")
        return found.scaleb(-implied) if implied else found

    return convert


def _integer(options: Mapping[str, Any]) -> _Convert:
    to_decimal, factor = _to_decimal(options, "digits"), factor_of("integer", options) or 1
    is_plain = factor == 1 and not options.get("implied_decimals")

    def convert(text: str) -> int:
        if is_plain and text.isascii() and text.isdigit() and len(text) <= DIGITS:
            return int(text)
        value = to_decimal(text) * factor
        if value != value.to_integral_value() or abs(value) >= 10**DIGITS:
            raise Unreadable("a whole number")
        return int(value)

    return convert


def _amount(options: Mapping[str, Any]) -> _Convert:
    to_decimal = _to_decimal(options, f"an amount such as 7{options.get('decimal', '.')}50")
    factor = factor_of("amount", options) or Decimal(1)
    return to_decimal if factor == 1 else lambda text: to_decimal(text) * factor


def _weight(options: Mapping[str, Any]) -> _Convert:
    unit, factor = options.get("unit", "g"), factor_of("weight", options) or Decimal(1)
    to_decimal = _to_decimal(options, f"a weight in {unit if isinstance(unit, str) else f'{factor} g'}")

    def convert(text: str) -> int:
        value = (to_decimal(text) * factor).quantize(Decimal(1), ROUND_HALF_UP)
        if not 0 <= value < 10**DIGITS:
            raise Unreadable("a weight of at least 0")
        return int(value)

    return convert


def number_parse(type_: str, options: Mapping[str, Any]) -> _Convert:
    """
    The function from a text that is there to a number; it raises `Unreadable`.

    Example:
        >>> number_parse("amount", {"decimal": ",", "thousands": ".", "negative": "after"})("1.234,50-")
        Decimal('-1234.50')
    """
    return {"integer": _integer, "amount": _amount, "weight": _weight}[type_](options)


# ------------------------------------------------------------------ writing


def _in_threes(digits: str, mark: str) -> str:
    head = len(digits) % 3
    groups = [digits[:head]] if head else []
    return mark.join(groups + [digits[i : i + 3] for i in range(head, len(digits), 3)])


def _spelt(value: Decimal, options: Mapping[str, Any], least: int) -> str:
    """*value* with at least *least* decimals, or exactly ``places``."""
    places, implied = options.get("places"), options.get("implied_decimals", 0)
    if implied:
        value, places = value.scaleb(implied), 0
    whole, _, decimals = f"{abs(value):f}".partition(".")
    decimals = decimals.rstrip("0")
    if places is not None and len(decimals) > places:
        raise Unwritable(f"expected at most {implied or places} decimals, got {value.scaleb(-implied)}")
    decimals = decimals.ljust(least if places is None else places, "0")
    whole = _in_threes(whole, options["thousands"]) if options.get("thousands") else whole
    text = f"{whole}{options.get('decimal', '.')}{decimals}" if decimals else whole
    return _signed(text, options) if value < 0 else text.rjust(options.get("zero_pad", 0), "0")


def _signed(text: str, options: Mapping[str, Any]) -> str:
    where = options.get("negative", "before")
    text = text.rjust(options.get("zero_pad", 0) - (2 if where == "brackets" else 1), "0")
    return {"before": f"-{text}", "after": f"{text}-", "brackets": f"({text})"}[where]


def _integer_text(options: Mapping[str, Any]) -> _Format:
    pack = options.get("pack", 1)

    def write(value: int) -> str:
        if value % pack:
            raise Unwritable(f"expected a multiple of {pack}, got {value}")
        return _spelt(Decimal(value // pack), options, 0)

    return write


def _amount_text(options: Mapping[str, Any]) -> _Format:
    factor = factor_of("amount", options) or Decimal(1)
    if factor == 1:
        return lambda value: _spelt(value, options, 2)
    whole = {**options, "places": options.get("places", 0)} if options.get("unit") == "cents" else options

    def write(value: Decimal) -> str:
        found = value / factor
        if found * factor != value:
            raise Unwritable(f"expected a multiple of {factor}, got {value}")
        if options.get("unit") == "cents" and found != found.to_integral_value():
            raise Unwritable(f"expected whole cents, got {value}")
        return _spelt(found, whole, 0)

    return write


def _weight_text(options: Mapping[str, Any]) -> _Format:
    factor = factor_of("weight", options) or Decimal(1)
    places = options.get("implied_decimals") or options.get("places", 0 if factor <= 1 else 3)
    step = Decimal(1).scaleb(-places)
    return lambda value: _spelt((Decimal(value) / factor).quantize(step, ROUND_HALF_UP), options, 0)


def number_format(type_: str, options: Mapping[str, Any]) -> _Format:
    """
    The function from a number to its text; it raises `Unwritable` where the number does not fit.

    Example:
        >>> number_format("integer", {"pack": 6, "zero_pad": 5})(18)
        '00003'
    """
    return {"integer": _integer_text, "amount": _amount_text, "weight": _weight_text}[type_](options)
