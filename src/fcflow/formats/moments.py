"""
Dates and times: from a partner's spelling to an instant in UTC, and back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from fcflow.formats.codec import Unreadable

__all__ = ["is_pattern", "is_zone", "moment_format", "moment_in", "moment_parse", "patterns_of"]

_SINCE_1970: Mapping[str, int] = {"epoch": 1, "epoch_ms": 1000}
_UNPADDED = re.compile("%-([dmHIMSjyU])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?")
_SHAPES: Mapping[str, str] = {
    "Y": "[0-9]{4}", "m": "[0-9]{2}", "d": "[0-9]{2}", "y": "[0-9]{2}", "H": "[0-9]{2}", "I": "[0-9]{2}",
    "M": "[0-9]{2}", "S": "[0-9]{2}", "j": "[0-9]{3}", "f": "[0-9]{1,6}", "b": "[A-Za-z]{3}", "B": "[A-Za-z]{3,9}",
    "p": "[AaPp][Mm]", "a": "[A-Za-z]{3}", "A": "[A-Za-z]{6,9}", "z": "(?:Z|[+-][0-9]{2}:?[0-9]{2})", "%": "%",
}  # fmt: skip


def patterns_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The patterns of a field, the one that is written first; none where it is ISO 8601."""
    pattern = options.get("pattern")
    return () if pattern is None else (pattern,) if isinstance(pattern, str) else tuple(pattern)


def _zone(options: Mapping[str, Any]) -> Any:
    return UTC if options.get("zone", "UTC") == "UTC" else ZoneInfo(options["zone"])


def is_zone(name: str) -> bool:
    """Whether there is a zone of this IANA name."""
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True


def is_pattern(pattern: str) -> bool:
    """
    Whether a day that is written by *pattern* is read back as the same day.

    Example:
        >>> is_pattern("%d.%m.%y"), is_pattern("epoch_ms"), is_pattern("%H:%M")
        (True, True, False)
    """
    day = datetime(2031, 11, 23, 22, 58, 57, tzinfo=UTC)
    try:
        return _parse_by(pattern, None)(_format_by(pattern)(day)).date() == day.date()
    except ValueError:
        return False


# ------------------------------------------------------------------ reading


def _parse_by(pattern: str, pivot: int | None) -> Callable[[str], datetime]:
    """The function that reads one pattern; it raises `ValueError`, and gives a naive time where none is said."""
    if pattern in _SINCE_1970:
        return _since_1970(_SINCE_1970[pattern])
    padded = _UNPADDED.sub(r"%\1", pattern)
    if pivot is None or "%y" not in padded.replace("%%", ""):
        return lambda text: datetime.strptime(text, padded)  # noqa: DTZ007  # made aware by who calls

    def in_century(text: str) -> datetime:
        found = datetime.strptime(text, padded)  # noqa: DTZ007  # made aware by who calls
        year = found.year % 100
        return found.replace(year=year + (2000 if year < pivot else 1900))

    return in_century


def _since_1970(per_second: int) -> Callable[[str], datetime]:
    def convert(text: str) -> datetime:
        if not _NUMBER.fullmatch(text):
            raise ValueError(text)
        return _EPOCH + timedelta(microseconds=int(Decimal(text) * 1_000_000 / per_second))

    return convert


def _expected(patterns: tuple[str, ...]) -> str:
    if not patterns:
        return "a date and time such as 2026-03-02T09:30:00+00:00"
    words = {"epoch": "seconds since 1970", "epoch_ms": "milliseconds since 1970"}
    if len(patterns) == 1 and patterns[0] in words:
        return words[patterns[0]]
    return "a date and time like " + " or ".join(words.get(each, each) for each in patterns)


def moment_parse(options: Mapping[str, Any]) -> Callable[[str], datetime]:
    """
    The function from a text to an instant in UTC: the first of the patterns that fits; it raises `Unreadable`.

    Example:
        >>> moment_parse({"pattern": ["%d/%m/%y %H:%M", "%d/%m/%y"], "zone": "Europe/London"})("01/07/26").isoformat()
        '2026-06-30T23:00:00+00:00'
    """
    zone, patterns = _zone(options), patterns_of(options)
    parsers = [_parse_by(each, options.get("pivot")) for each in patterns] or [datetime.fromisoformat]
    expected = _expected(patterns)

    @lru_cache(1024)  # one file says the same day again and again
    def convert(text: str) -> datetime:
        for parse in parsers:
            try:
                moment = parse(text)
                return (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment).astimezone(UTC)
            except (ValueError, OverflowError):
                continue
        raise Unreadable(expected)

    return convert


def moment_in(options: Mapping[str, Any]) -> Callable[[str], datetime]:
    """
    The function that finds a moment inside a longer text, such as the name of a file; it raises `Unreadable`.

    Example:
        >>> moment_in({"pattern": "%Y%m%d-%H%M"})("stock_0042_20260302-0930.csv").isoformat()
        '2026-03-02T09:30:00+00:00'
    """
    patterns, convert = patterns_of(options), moment_parse(options)
    shapes = [(pattern, re.compile(_shape_of(pattern))) for pattern in patterns]

    def find(text: str) -> datetime:
        for pattern, shape in shapes:
            for match in shape.finditer(text):
                try:
                    return moment_parse({**options, "pattern": pattern})(match[1])
                except Unreadable:
                    continue
        raise Unreadable(_expected(patterns))

    return find if patterns else convert


def _shape_of(pattern: str) -> str:
    """What a moment looks like, as an expression that tries every place of a text once."""
    if pattern in _SINCE_1970:
        return "(?=(?<![0-9])([0-9]{9,13})(?![0-9]))"
    padded = _UNPADDED.sub(r"%\1", pattern)
    pieces = re.findall("%.|[^%]+", padded)
    shape = "".join(_SHAPES.get(piece[1:], "[0-9]+") if piece[0] == "%" else re.escape(piece) for piece in pieces)
    return f"(?=({shape}))"


# ------------------------------------------------------------------ writing


def _format_by(pattern: str) -> Callable[[datetime], str]:
    if pattern in _SINCE_1970:
        unit = timedelta(microseconds=1_000_000 // _SINCE_1970[pattern])
        return lambda moment: str((moment - _EPOCH) // unit)
    if not _UNPADDED.search(pattern):
        return lambda moment: moment.strftime(pattern)
    return lambda moment: moment.strftime(_UNPADDED.sub(lambda tag: _unpadded(moment, tag[1]), pattern))


def _unpadded(moment: datetime, directive: str) -> str:
    return moment.strftime(f"%{directive}").lstrip("0") or "0"


def moment_format(options: Mapping[str, Any]) -> Callable[[datetime], str]:
    """The function from an instant to its text, by the first pattern, in the field's zone."""
    zone, patterns = _zone(options), patterns_of(options)
    if not patterns:
        return lambda moment: moment.astimezone(zone).isoformat()
    write = _format_by(patterns[0])
    return lambda moment: write(moment.astimezone(zone))
