"""
The field catalogue: what a condition may ask of an order and its lines, and of which type each answer is.

A getter takes the `Facts` of one evaluation and gives the value, or ``None`` where it is absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from attrs import define, frozen

from fcflow.model import Order, OrderLine, Payment, ShippingLine, View

__all__ = ["FIELDS", "Facts", "Field", "FieldType", "find_field", "outward_code", "postcode_area"]


@define(slots=True)
class Facts:
    """
    What one evaluation may look at; made anew for every order, so nothing is shared between threads.

    Args:
        line: The line that a condition over lines looks at just now.
    """

    order: Order
    view: View | None = None
    now: datetime | None = None
    line: OrderLine | ShippingLine | None = None


class FieldType(StrEnum):
    """What kind of value a field holds; it says which operators fit."""

    TEXT = "text"
    CHOICE = "choice"
    INTEGER = "integer"
    MONEY = "money"
    INSTANT = "instant"
    SET = "set"


@frozen(kw_only=True)
class Field:
    """
    One thing a condition may ask for.

    Args:
        scope: ``order``, or ``line`` where it has a meaning only inside a condition over lines.

        always: It is never absent, so `exists` and `absent` do not fit it.

        choices: Choice only: the words it can hold.

        code: Text only: the pattern of a code (country, currency); other literals are refused at load.
    """

    name: str
    type: FieldType
    get: Callable[[Facts], Any]
    about: str
    scope: str = "order"
    always: bool = False
    choices: tuple[str, ...] = ()
    code: str | None = None


# ------------------------------------------------------------------ derived values

_UK = frozenset({"GB", "GG", "IM", "JE"})
_UK_POSTCODE = re.compile(r"(([A-Z]{1,2})[0-9][A-Z0-9]?)(?:[0-9][A-Z]{2})?")


def _uk_postcode(postcode: str | None, country: str | None) -> re.Match[str] | None:
    if postcode is None or (country is not None and country not in _UK):
        return None
    return _UK_POSTCODE.fullmatch(re.sub(r"\s", "", postcode).upper())


def outward_code(postcode: str | None, country: str | None = None) -> str | None:
    """
    The first half of a British postcode; ``None`` elsewhere and where it has not the shape of one.

    Example:
        >>> outward_code("sw1y 4jh", "GB"), outward_code("10115", "DE")
        ('SW1Y', None)
    """
    match = _uk_postcode(postcode, country)
    return match[1] if match else None


def postcode_area(postcode: str | None, country: str | None = None) -> str | None:
    """
    The letters that begin a British postcode; ``None`` elsewhere and where it has not the shape of one.

    Example:
        >>> postcode_area("IV27 4NP", "GB"), postcode_area("LS1")
        ('IV', 'LS')
    """
    match = _uk_postcode(postcode, country)
    return match[2] if match else None


def _total(values: Iterable[Any], zero: Any) -> Any:
    total = zero
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _line_weight(line: Any) -> int | None:
    return None if line.weight_g is None else line.weight_g * line.quantity


def _line_price(line: Any) -> Decimal | None:
    return None if line.unit_price is None else line.unit_price * line.quantity


def _total_weight_g(facts: Facts) -> Any:
    total = 0
    for line in facts.order.lines:
        if line.weight_g is None:
            return None
        total += line.weight_g * line.quantity
    return total


def _goods_total(facts: Facts) -> Any:
    return _total(map(_line_price, facts.order.lines), Decimal(0))


def _total_quantity(facts: Facts) -> int:
    total = 0
    for line in facts.order.lines:
        total += line.quantity
    return total


def _line_count(facts: Facts) -> int:
    return len(facts.order.lines)


# ------------------------------------------------------------------ the catalogue

_COUNTRY = "[A-Z]{2}"
_CURRENCY = "[A-Z]{3}"
_ADDRESS = {
    "name": "the person's name",
    "company": "the company",
    "address1": "first address line",
    "address2": "second address line",
    "address3": "third address line",
    "town": "the town",
    "region": "county, state or province",
    "postcode": "as it was written",
    "country": "ISO 3166-1 alpha-2 code",
    "phone": "as it was written",
    "email": "as it was written",
}
_POSTCODE_PARTS = {
    "postcode_area": (postcode_area, "letters that begin a British postcode (`LS`); absent elsewhere"),
    "outward_code": (outward_code, "first half of a British postcode (`LS1`); absent elsewhere"),
}


def _order(name: str, kind: FieldType, about: str, **more: Any) -> Field:
    return Field(name=name, type=kind, get=attrgetter(f"order.{name}"), about=about, **more)


def _line(name: str, kind: FieldType, about: str, **more: Any) -> Field:
    return Field(name=f"line.{name}", type=kind, get=attrgetter(f"line.{name}"), about=about, scope="line", **more)


def _derived(name: str, kind: FieldType, get: Callable[[Facts], Any], about: str, **more: Any) -> Field:
    return Field(name=name, type=kind, get=get, about=about, **more)


def _address(prefix: str, whose: str) -> Iterable[Field]:
    for name, about in _ADDRESS.items():
        code = _COUNTRY if name == "country" else None
        get = attrgetter(f"order.{prefix}.{name}") if prefix == "ship_to" else _billed(name)
        yield _derived(f"{prefix}.{name}", FieldType.TEXT, get, f"{whose}: {about}", code=code)
    for name, (part, about) in _POSTCODE_PARTS.items():
        yield _derived(f"{prefix}.{name}", FieldType.TEXT, _part_of(prefix, part), f"{whose}: {about}")


def _billed(name: str) -> Callable[[Facts], Any]:
    def get(facts: Facts) -> Any:
        return getattr(facts.order.bill_to, name, None)

    return get


def _part_of(prefix: str, part: Callable[[str | None, str | None], str | None]) -> Callable[[Facts], Any]:
    def get(facts: Facts) -> Any:
        address = getattr(facts.order, prefix)
        return None if address is None else part(address.postcode, address.country)

    return get


def _catalogue() -> Iterable[Field]:
    text, integer, money, instant = FieldType.TEXT, FieldType.INTEGER, FieldType.MONEY, FieldType.INSTANT
    yield _order("order_id", text, "ours", always=True)
    yield _order("reference", text, "the sales channel's own number")
    yield _order("channel", text, "the sales channel")
    yield _order("sub_channel", text, "the part of the channel")
    yield _order("received_at", instant, "when it was bought")
    yield _order("dispatch_by", instant, "when it has to leave")
    yield _order("payment", FieldType.CHOICE, "how far it is paid", choices=tuple(Payment))
    yield _order("currency", text, "ISO 4217 code", code=_CURRENCY)
    yield _order("total", money, "what the buyer pays in all, postage included")
    yield _order("postage", money, "what the buyer pays for postage")
    yield _derived("goods_total", money, _goods_total, "sum of unit price times quantity; unknown if one is")
    yield from _address("ship_to", "delivery")
    yield from _address("bill_to", "invoice")
    yield _order("shipping_service", text, "the service that the buyer chose")
    yield _order("tags", FieldType.SET, "the order's tags; never absent, maybe none", always=True)
    yield _order("notes", text, "free text")
    yield _derived("total_weight_g", integer, _total_weight_g, "grams of all units; unknown if one is")
    yield _derived("total_quantity", integer, _total_quantity, "units of all lines", always=True)
    yield _derived("line_count", integer, _line_count, "how many lines there are", always=True)
    yield _derived("now", instant, attrgetter("now"), "the instant of the decision", always=True)
    yield _line("line_id", text, "unique within the order", always=True)
    yield _line("sku", text, "the seller's own code", always=True)
    yield _line("quantity", integer, "units of the line", always=True)
    yield _line("title", text, "what it is called")
    yield _line("unit_price", money, "of one unit")
    yield _line("weight_g", integer, "grams of one unit")
    yield _line("channel_sku", text, "what the sales channel calls it")
    yield _derived("line.total_price", money, lambda f: _line_price(f.line), "price of all its units", scope="line")
    yield _derived(
        "line.total_weight_g", integer, lambda f: _line_weight(f.line), "grams of all its units", scope="line"
    )


FIELDS: Mapping[str, Field] = MappingProxyType({field.name: field for field in _catalogue()})


def _property_of(owner: str, name: str) -> Callable[[Facts], Any]:
    holder = attrgetter(f"{owner}.properties")

    def get(facts: Facts) -> Any:
        value = holder(facts).get(name)
        return None if value is None or value == "" else str(value)

    return get


def find_field(name: str) -> Field | None:
    """
    The field of this name, ``properties.<name>`` and ``line.properties.<name>`` included; ``None`` where there is none.

    Example:
        >>> find_field("line.properties.colour").scope
        'line'
        >>> find_field("ship_to.contry") is None
        True
    """
    for prefix, owner in (("properties.", "order"), ("line.properties.", "line")):
        if name.startswith(prefix) and len(name) > len(prefix):
            get = _property_of(owner, name.removeprefix(prefix))
            return Field(name=name, type=FieldType.TEXT, get=get, about="free property", scope=owner)
    return FIELDS.get(name)
