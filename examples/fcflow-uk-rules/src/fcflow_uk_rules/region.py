"""``uk:nation``, the nation that a British parcel goes to, and ``uk:areas``, an operator that is indexed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fcflow.model import Order
from fcflow.rules import OperatorType, RuleField
from fcflow.rules.fields import postcode_area

__all__ = ["AREAS", "NATION", "nation"]

_SCOTLAND = frozenset({"AB", "DD", "DG", "EH", "FK", "G", "HS", "IV", "KA", "KW", "KY", "ML", "PA", "PH", "ZE"})
_WALES = frozenset({"CF", "LD", "LL", "NP", "SA"})
_NATIONS = ("england", "scotland", "wales", "northern_ireland", "crown_dependency")


def nation(order: Order) -> str | None:
    """
    The nation that the order goes to; ``None`` where the postcode is not a British one.

    Areas on a border count for the nation that most of them lies in.

    Example:
        >>> from fcflow.model import Address
        >>> nation(Order(order_id="A1", ship_to=Address(postcode="EH1 1YZ", country="GB"), lines=()))
        'scotland'
    """
    area = postcode_area(order.ship_to.postcode, order.ship_to.country)
    if area is None:
        return None
    if area in ("GY", "JE", "IM"):
        return "crown_dependency"
    if area == "BT":
        return "northern_ireland"
    return "scotland" if area in _SCOTLAND else "wales" if area in _WALES else "england"


NATION = RuleField(
    name="uk:nation", type="choice", choices=_NATIONS, get=nation, about="the nation of a British delivery address"
)


def _area(value: str) -> str | None:
    """The key of a postcode; without one the operator is unknown."""
    return postcode_area(value)


def _areas(argument: Iterable[str]) -> frozenset[str]:
    """The keys for which the operator holds."""
    return frozenset(each.upper() for each in argument)


def _in_areas(value: str, argument: Any, order: Order) -> bool | None:
    area = _area(value)
    return None if area is None else area in _areas(argument)


AREAS = OperatorType(
    name="uk:areas",
    field_types=("text",),
    value_schema={"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^[A-Za-z]{1,2}$"}},
    test=_in_areas,
    key=_area,
    keys=_areas,
)
