"""``uk:districts``: whether a British postcode lies in a zone, written as carriers write it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from fcflow.model import Order
from fcflow.rules import OperatorType

__all__ = ["DISTRICTS", "in_districts"]

_POSTCODE = re.compile(r"([A-Z]{1,2})([0-9]{1,2})[A-Z]?(?:[0-9][A-Z]{2})?")
_ZONE = r"^[A-Z]{1,2}([0-9]{1,2}(-[0-9]{1,2})?)?$"
_PART = re.compile(r"([A-Z]{1,2})(?:([0-9]{1,2})(?:-([0-9]{1,2}))?)?")


@lru_cache(maxsize=1024)
def _ranges(zone: tuple[str, ...]) -> dict[str, list[tuple[int, int]]]:
    """Area to its districts, first and last; read once for each zone, however many orders there are."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    for area, first, last in (match.groups() for match in map(_PART.fullmatch, zone) if match):
        low, high = (int(first), int(last or first)) if first else (0, 99)
        ranges.setdefault(area, []).append((low, high))
    return ranges


def _district(postcode: str) -> tuple[str, int] | None:
    """
    Area and district.

    Half a postcode and a whole one may read alike without the blank between them (``IV1`` and ``IV1 1AA``), so the last
    three characters are taken for the second half wherever they can be one.
    """
    code = re.sub(r"\s", "", postcode).upper()
    inner = re.fullmatch(r"([A-Z]{1,2}[0-9][A-Z0-9]?)[0-9][A-Z]{2}", code)
    match = _POSTCODE.fullmatch(inner[1] if inner else code)
    return (match[1], int(match[2])) if match else None


def in_districts(value: str, argument: Sequence[str], order: Order) -> bool | None:
    """
    Whether the postcode *value* lies in one of the districts of *argument*; ``None`` where it is not a British one.

    Example:
        >>> in_districts("iv27 4np", ["IV1-28", "HS"], Order(order_id="A1", lines=()))
        True
    """
    district = _district(value)
    if district is None:
        return None
    area, number = district
    return _lies_in(number, _ranges(tuple(argument)).get(area, ()))


def _lies_in(number: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(low <= number <= high for low, high in ranges)


_VALUE_SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "pattern": _ZONE, "description": "districts such as HS, KW15 or KW15-17"},
}

DISTRICTS = OperatorType(name="uk:districts", field_types=("text",), value_schema=_VALUE_SCHEMA, test=in_districts)
