"""
Orders of a general shop, and rule lists grown around them, from one seed.

A rule is written as a small tree of tuples, which `Workload.document` makes a rule set of and `fcflow`'s peers
translate for themselves. Sixty rules in a hundred have a test of equality at the top; every rule is narrowed until it
matches about one order in as many as there are rules. The catch-all comes last.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import accumulate
from types import MappingProxyType
from typing import Any

from attrs import frozen

from fcflow.model import Address, Location, Order, OrderLine

SEED = 20260302
CHANNELS = [f"channel-{number}" for number in range(12)]
COUNTRIES = ["GB"] * 40 + ["DE", "FR", "IE", "US", "NL", "ES"] * 4 + ["IT", "SE", "PL", "AT", "BE", "DK"] * 2
COUNTRIES += ["CH", "NO", "PT", "FI", "CZ", "HU", "GR", "RO", "CA", "AU", "JP", "NZ", "LU", "SK", "SI", "HR", "EE"]
AREAS = ["LS", "IV", "HS", "KW", "ZE", "M", "B", "E", "SW", "BT", "EH", "G", "CF", "PL", "NE", "OX", "YO", "S", "L"]
METHODS = ["economy", "standard", "tracked", "express", "next-day", "pallet"]
GROUPS = [f"group-{number}" for number in range(10)]
TAGS = [f"tag-{number}" for number in range(60)]
SKUS = [f"SKU-{number:04}" for number in range(5_000)]
PLACES = [f"place-{number}" for number in range(8)]
SHARE = 0.5

Cond = tuple[Any, ...]

# ------------------------------------------------------------------ orders

_SKU_WEIGHTS = list(accumulate(1 / (rank + 3) for rank in range(len(SKUS))))
_TAG_WEIGHTS = list(accumulate(1 / (rank + 2) for rank in range(len(TAGS))))


def make_order(number: int, chance: random.Random) -> Order:
    """One order, every value known."""
    country = chance.choice(COUNTRIES)
    british = f"{chance.choice(AREAS)}{chance.randint(1, 28)} {chance.randint(1, 9)}{chance.choice('ABDEFGH')}B"
    return Order(
        order_id=f"A{number}",
        channel=chance.choice(CHANNELS),
        sub_channel=chance.choice(GROUPS),
        shipping_service=chance.choice(METHODS),
        payment="paid",
        currency="GBP",
        total=Decimal(int(chance.lognormvariate(8.0, 0.9)) + 100) / 100,
        ship_to=Address(country=country, postcode=british if country == "GB" else str(chance.randint(10000, 99999))),
        tags=frozenset(chance.choices(TAGS, cum_weights=_TAG_WEIGHTS, k=chance.choice([0, 0, 1, 1, 2, 3, 4]))),
        lines=tuple(_line(place, chance) for place in range(chance.choice([1, 1, 1, 2, 2, 3, 5, 8]))),
    )


def _line(place: int, chance: random.Random) -> OrderLine:
    sku = chance.choices(SKUS, cum_weights=_SKU_WEIGHTS)[0]
    weight = int(chance.lognormvariate(6.5, 1.0)) + 1
    return OrderLine(line_id=str(place), sku=sku, quantity=chance.choice([1, 1, 1, 1, 2, 2, 3, 6]), weight_g=weight)


class Shelves:
    """The stock of eight locations, as a `fcflow.model.View`; every level is known."""

    locations: Mapping[str, Location] = MappingProxyType({code: Location(code=code) for code in PLACES})
    taken = datetime(2026, 3, 2, 12, tzinfo=UTC)

    def __init__(self, chance: random.Random) -> None:
        self._units = {(place, sku): chance.choice([0, 1, 3, 10, 50]) for place in PLACES for sku in SKUS}

    def allocatable(self, location: str, sku: str) -> int | None:
        return self._units[location, sku]

    def stock_as_of(self, location: str, sku: str) -> datetime | None:
        return self.taken

    def orders_today(self, location: str) -> int:
        return 0

    def excluded(self, order_id: str) -> frozenset[str]:
        return frozenset()

    def covers(self, place: str, order: Order) -> bool:
        """Whether *place* has every unit of *order*."""
        needed: Counter[str] = Counter()
        for line in order.lines:
            needed[line.sku] += line.quantity
        return all(self._units[place, sku] >= units for sku, units in needed.items())


def as_data(order: Order, shelves: Shelves) -> dict[str, Any]:
    """
    *order* as the plain value that other engines read.

    Sums and stock are worked out beforehand, which spares those engines work that fcflow does for every order.
    """
    return {
        "channel": order.channel,
        "group": order.sub_channel,
        "method": order.shipping_service,
        "country": order.ship_to.country,
        "postcode": order.ship_to.postcode,
        "total": int((order.total or Decimal(0)) * 100),
        "weight": sum((line.weight_g or 0) * line.quantity for line in order.lines),
        "quantity": sum(line.quantity for line in order.lines),
        "tags": sorted(order.tags),
        "lines": [{"sku": line.sku, "quantity": line.quantity} for line in order.lines],
        "stock": {place: shelves.covers(place, order) for place in PLACES},
    }


# ------------------------------------------------------------------ how often a value is met


@frozen
class Frequencies:
    """How often each value stands in the orders, and their numbers in order of size."""

    count: int
    equal: Mapping[tuple[str, Any], int]
    numbers: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, data: Sequence[Mapping[str, Any]]) -> Frequencies:
        """Those of these orders."""
        met: Counter[tuple[str, Any]] = Counter()
        for each in data:
            met.update((field, each[field]) for field in ("channel", "group", "method", "country"))
            met.update(("prefix", each["postcode"][:length]) for length in range(1, len(each["postcode"]) + 1))
            met.update(("tag", tag) for tag in each["tags"])
            met.update(("sku", sku) for sku in {line["sku"] for line in each["lines"]})
        numbers = {field: sorted(each[field] for each in data) for field in ("total", "weight", "quantity")}
        return cls(len(data), met, numbers)

    def share(self, field: str, *values: Any) -> float:
        """The share of orders that hold one of *values*, taken as independent."""
        return min(1.0, sum(self.equal.get((field, value), 0) for value in values) / self.count)

    def window(self, field: str, value: int, share: float) -> Cond:
        """A range around *value* that holds about this *share* of the orders."""
        numbers = self.numbers[field]
        half = max(0, int(share * len(numbers) / 2))
        place = bisect_left(numbers, value)
        low, high = numbers[max(0, place - half)], numbers[min(len(numbers) - 1, place + half)]
        return ("range", field, min(low, value), max(high, value))


# ------------------------------------------------------------------ rules


@frozen
class Grower:
    """Grows rules around orders; each is to match one order in *rules* or fewer."""

    rules: int
    met: Frequencies
    chance: random.Random

    def grow(self, order: Mapping[str, Any]) -> Cond:
        """One rule that matches *order*."""
        return self.chance.choices(_SHAPES, cum_weights=_SHAPE_WEIGHTS)[0](self, order)

    def narrowed(self, share: float, order: Mapping[str, Any], *parts: Cond) -> Cond:
        """All of *parts*, which hold together of this *share*, and ranges until that is few enough."""
        few, conditions = SHARE / self.rules, list(parts)
        for field in self.chance.sample(("total", "weight"), 2):
            if share > few:
                part = max(few / share, 20 / self.met.count)
                conditions.append(self.met.window(field, order[field], part))
                share *= part
        return ("all", conditions)

    def _prefix(self, order: Mapping[str, Any], share: float) -> Cond:
        """The shortest beginning of the postcode that is rare enough, three characters at most."""
        code = order["postcode"]
        lengths = range(1, min(len(code), 5) + 1)
        fits = [n for n in lengths if share * self.met.share("prefix", code[:n]) <= SHARE / self.rules]
        return ("prefix", code[: fits[0] if fits else max(lengths)])

    def _skus(self, order: Mapping[str, Any], more: int) -> list[str]:
        return sorted({self.chance.choice(order["lines"])["sku"], *self.chance.sample(SKUS[200:], more)})

    def _other_tags(self, order: Mapping[str, Any]) -> list[str]:
        return self.chance.sample([tag for tag in TAGS if tag not in order["tags"]], 3)

    def country_and_range(self, order: Mapping[str, Any]) -> Cond:
        return self.narrowed(self.met.share("country", order["country"]), order, _is("country", order))

    def channel_country_prefix(self, order: Mapping[str, Any]) -> Cond:
        share = self.met.share("channel", order["channel"])
        prefix = self._prefix(order, share)
        share *= self.met.share("prefix", prefix[1])
        return self.narrowed(share, order, _is("channel", order), _is("country", order), prefix)

    def country_prefix(self, order: Mapping[str, Any]) -> Cond:
        prefix = self._prefix(order, 1.0)
        return self.narrowed(self.met.share("prefix", prefix[1]), order, _is("country", order), prefix)

    def channel_tag(self, order: Mapping[str, Any]) -> Cond:
        tag = self.chance.choice(order["tags"] or TAGS)
        share = self.met.share("channel", order["channel"]) * self.met.share("tag", tag)
        return self.narrowed(share, order, _is("channel", order), ("tags", [tag]))

    def channel_skus(self, order: Mapping[str, Any]) -> Cond:
        skus = self._skus(order, 7)
        share = self.met.share("channel", order["channel"]) * self.met.share("sku", *skus)
        return self.narrowed(share, order, _is("channel", order), ("skus", skus, 1))

    def countries_and_range(self, order: Mapping[str, Any]) -> Cond:
        countries = sorted({order["country"], *self.chance.sample(COUNTRIES, 4)})
        return self.narrowed(self.met.share("country", *countries), order, ("in", "country", countries))

    def skus_and_weight(self, order: Mapping[str, Any]) -> Cond:
        skus = self._skus(order, 11)
        share = self.met.share("sku", *skus)
        return self.narrowed(share * 0.5, order, ("skus", skus, 1), self.met.window("weight", order["weight"], 0.5))

    def nested(self, order: Mapping[str, Any]) -> Cond:
        either = ("any", [_is("group", order), ("all", [_is("method", order), ("not", ("tags", TAGS[:2]))])])
        return self.narrowed(0.25, order, either, ("not", ("is", "country", "US")))

    def numbers_only(self, order: Mapping[str, Any]) -> Cond:
        quantity = ("range", "quantity", max(1, order["quantity"] - 1), order["quantity"] + 1)
        return self.narrowed(0.4, order, quantity)

    def no_tag_in_stock(self, order: Mapping[str, Any]) -> Cond:
        held = [place for place, covered in order["stock"].items() if covered] or PLACES
        parts = (("not", ("tags", self._other_tags(order))), ("stock", self.chance.choice(held)))
        return self.narrowed(0.4, order, *parts)

    def line_pair(self, order: Mapping[str, Any]) -> Cond:
        skus = self._skus(order, 5)
        pair = ("skus", skus, 2)
        share = min(1.0, self.met.share("sku", *skus) / 2)
        grouped = self.narrowed(self.met.share("group", order["group"]), order, _is("group", order))
        return ("any", [self.narrowed(share, order, pair), grouped])


def _is(field: str, order: Mapping[str, Any]) -> Cond:
    return ("is", field, order[field])


_MIX: list[tuple[int, Callable[[Grower, Mapping[str, Any]], Cond]]] = [
    (20, Grower.country_and_range),
    (12, Grower.channel_country_prefix),
    (12, Grower.country_prefix),
    (8, Grower.channel_tag),
    (8, Grower.channel_skus),
    (10, Grower.countries_and_range),
    (10, Grower.skus_and_weight),
    (6, Grower.nested),
    (6, Grower.numbers_only),
    (4, Grower.no_tag_in_stock),
    (4, Grower.line_pair),
]
_SHAPES = [shape for _, shape in _MIX]
_SHAPE_WEIGHTS = list(accumulate(weight for weight, _ in _MIX))

# ------------------------------------------------------------------ the rule set

_FIELDS = {
    "channel": "channel",
    "group": "sub_channel",
    "method": "shipping_service",
    "country": "ship_to.country",
    "total": "total",
    "weight": "total_weight_g",
    "quantity": "total_quantity",
}


def condition(cond: Cond) -> dict[str, Any]:
    """*cond* in the rule language of fcflow."""
    match cond:
        case ("all" | "any" as kind, parts):
            return {kind: [condition(part) for part in parts]}
        case ("not", part):
            return {"not": condition(part)}
        case ("is", field, value):
            return {"field": _FIELDS[field], "op": "eq", "value": value}
        case ("in", field, values):
            return {"field": _FIELDS[field], "op": "in", "value": values}
        case ("range", field, low, high):
            return {"field": _FIELDS[field], "op": "between", "value": [_amount(field, low), _amount(field, high)]}
        case ("prefix", text):
            return {"field": "ship_to.postcode", "op": "starts_with", "value": text}
        case ("tags", tags):
            return {"field": "tags", "op": "contains_any", "value": tags}
        case ("stock", place):
            return {"stock": {"at": place, "covers": "all"}}
        case ("skus", skus, least):
            return {"any_line": _line_condition(skus, least)}
    raise ValueError(f"not a condition of the workload: {cond!r}")


def _amount(field: str, value: int) -> Any:
    return f"{Decimal(value) / 100:.2f}" if field == "total" else value


def _line_condition(skus: Iterable[str], least: int) -> dict[str, Any]:
    by_sku = {"field": "line.sku", "op": "in", "value": list(skus)}
    if least == 1:
        return by_sku
    return {"all": [by_sku, {"field": "line.quantity", "op": "ge", "value": least}]}


@frozen
class Workload:
    """
    The orders, and rule lists of any length grown around them.

    Example:
        >>> made = Workload.of(50)
        >>> len(made.document(made.rules(10))["rules"])
        10
    """

    orders: Sequence[Order]
    data: Sequence[dict[str, Any]]
    shelves: Shelves
    met: Frequencies

    @classmethod
    def of(cls, count: int, seed: int = SEED) -> Workload:
        """*count* orders of this *seed*."""
        chance = random.Random(seed)
        orders = [make_order(number, chance) for number in range(count)]
        shelves = Shelves(chance)
        data = [as_data(order, shelves) for order in orders]
        return cls(orders, data, shelves, Frequencies.of(data))

    def rules(self, count: int, seed: int = SEED) -> list[Cond]:
        """*count* rules; the last of them takes every order that the others leave."""
        chance = random.Random(seed + count)
        grower = Grower(count, self.met, chance)
        return [*(grower.grow(chance.choice(self.data)) for _ in range(count - 1)), ("all", [])]

    def document(self, rules: Sequence[Cond]) -> dict[str, Any]:
        """The rule set of fcflow."""
        return {"fcflow": "ruleset/1", "currency": "GBP", "rules": list(map(_rule, range(len(rules)), rules))}


def _rule(number: int, cond: Cond) -> dict[str, Any]:
    when = condition(cond) if cond != ("all", []) else True
    to = {"to": PLACES[number % len(PLACES)], "if_short": "hold"}
    return {"id": f"r{number}", "when": when, "then": [{"allocate": to}]}
