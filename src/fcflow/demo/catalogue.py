"""
What the demonstration's shop sells: titles, prices, weights, and who begins the day with how many.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files

from attrs import evolve, field, frozen
from immutabledict import immutabledict

from fcflow.model import Order

__all__ = ["PARTNERS", "Article", "aliases_of", "catalogue", "stock_of", "weighed"]

PARTNERS = ("leeds", "dropco", "postal")


@frozen(kw_only=True)
class Article:
    """
    One thing that the shop sells.

    Args:
        weight_g: Of one unit, or ``None`` where nobody has weighed it.

        sold_as: Which kind of basket it lands in.

        stock: Partner to units there at the beginning of the day.

        partner_sku: What *dropco* calls it, or ``None`` where it uses our code.
    """

    sku: str
    title: str
    price: Decimal
    weight_g: int | None
    sold_as: str
    stock: immutabledict[str, int] = field(converter=immutabledict)
    partner_sku: str | None = None


@cache
def catalogue() -> Mapping[str, Article]:
    """By SKU, in the order in which the catalogue lists them."""
    text = files("fcflow.demo").joinpath("data/catalogue.json").read_text(encoding="utf-8")
    return {entry["sku"]: _article(entry) for entry in json.loads(text)}


def _article(entry: Mapping[str, object]) -> Article:
    weight = entry.get("weight_g")
    partner_sku = entry.get("dropco_sku")
    return Article(
        sku=str(entry["sku"]),
        title=str(entry["title"]),
        price=Decimal(str(entry["price"])),
        weight_g=weight if isinstance(weight, int) else None,
        sold_as=str(entry["sold_as"]),
        stock={partner: units for partner in PARTNERS if isinstance(units := entry.get(partner), int)},
        partner_sku=str(partner_sku) if partner_sku else None,
    )


def stock_of(partner: str) -> dict[str, int]:
    """Units at the beginning of the day, by our SKU."""
    return {article.sku: article.stock[partner] for article in catalogue().values() if partner in article.stock}


def aliases_of(partner: str) -> dict[str, str]:
    """Our SKU to the partner's."""
    if partner != "dropco":
        return {}
    return {article.sku: article.partner_sku for article in catalogue().values() if article.partner_sku}


def weighed(order: Order) -> Order:
    """The same order with the catalogue's weights, which a shop's export does not have."""
    goods = catalogue()
    lines = (
        evolve(line, weight_g=goods[line.sku].weight_g) if line.weight_g is None and line.sku in goods else line
        for line in order.lines
    )
    return evolve(order, lines=tuple(lines))
