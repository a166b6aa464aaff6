"""
A bounded fuzz run of the rule language: engine, naive oracle and columnar path on hundreds of thousands of decisions.

Run ``./scripts/fuzz [--seconds 40] [--seed 7]``. Each rule set is drawn once and asked about many orders; every
decision in turn, the first one, and the columnar one must be what the oracle reads out of the JSON. Documents are
broken at random: loading must end in a rule set or in a `RuleError`, quickly. A difference is printed with the seed of
its rule set, which ``--only`` draws again, and with the fewest rules that still show it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from fcflow.errors import RuleError
from fcflow.model import Address, Location, Order, OrderLine
from fcflow.rules import load_rules
from fcflow.rules.examples import ExampleView
from fcflow.rules.fields import FIELDS, Field, FieldType
from fcflow.rules.operators import OPERATORS, Operand
from fcflow.rules.table import orders_to_table
from fcflow.testing.oracle import Oracle

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ORDERS = 150
LOAD_S = 2.0

# ------------------------------------------------------------------ values that meet each other

TEXTS = [
    "shop",
    "ebay",
    "Shop",
    "A",
    "LS1 4AP",
    "IV27 4NP",
    "EH1 1YZ",
    "LS",
    "IV",
    "LS1",
    "10115",
    "ß",
    "a b",
    "express",
]
CODES = {"country": ["GB", "FR", "IE"], "currency": ["GBP", "EUR"]}
WHOLE = [0, 1, 2, 3, 5, 300, 600]
AMOUNTS = ["0", "5", "9.99", "19.98", "20"]
TAGS = ["gift", "new", "Gift", "x"]
SKUS = ["MUG", "CUP", "mug", "SOFA"]
PLACES = ["leeds", "corby", "york"]
DAYS = ["mon", "tue", "sat", "sun"]
INSTANTS = [NOW + timedelta(hours=hours) for hours in (-72, -24, -1, 0, 1, 24, 72)]


class Drawer:
    """Draws documents and orders from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def one(self, values: list[Any]) -> Any:
        return self.chance.choice(values)

    def some(self, values: list[Any], most: int = 3) -> list[Any]:
        return self.chance.sample(values, self.chance.randint(1, min(most, len(values))))

    def maybe(self, value: Any, odds: float = 0.25) -> Any:
        return None if self.chance.random() < odds else value

    # -------------------------------------------------------------- conditions

    def condition(self, depth: int, in_line: bool = False) -> Any:
        kinds = ["all", "any", "not"] if depth and self.chance.random() < 0.55 else ["test"]
        kind = self.one(
            kinds if in_line or self.chance.random() < 0.6 else ["over", "count", "sum", "stock", "age", "use"]
        )
        if kind in ("all", "any"):
            return {kind: [self.condition(depth - 1, in_line) for _ in range(self.chance.randint(1, 3))]}
        if kind == "not":
            return {"not": self.condition(depth - 1, in_line)}
        return getattr(self, f"_{kind}")(depth, in_line)

    def _test(self, depth: int, in_line: bool) -> Any:
        name = self.one(_LINE_NAMES if in_line and self.chance.random() < 0.8 else _ORDER_NAMES)
        field = FIELDS.get(name) or FIELDS["notes"]
        fitting = [
            op
            for op in OPERATORS.values()
            if field.type in op.types and not (field.always and op.name in ("exists", "absent"))
        ]
        op = self.one(fitting)
        test: dict[str, Any] = {"field": name, "op": op.name}
        fold = op.operand is not Operand.NONE and field.type in _FOLDS and self.chance.random() < 0.2
        if op.operand is not Operand.NONE:
            test["value"] = self._value(field, op.operand)
        return {**test, "ignore_case": True} if fold and op.name != "matches" else test

    def _value(self, field: Field, operand: Operand) -> Any:
        pool = _pool(field)
        match operand:
            case Operand.MANY:
                return self.some(pool)
            case Operand.SOME:
                return self.one([self.one(pool), self.some(pool)])
            case Operand.PAIR:
                low, high = self.one(pool), self.one(pool)
                return [low, high] if _order(low) <= _order(high) else [high, low]
            case Operand.PATTERN:
                return self.one(["^LS", "[0-9]+", "o", "^.{3}$", "(a|e)b"])
            case Operand.INSTANT:
                return self.one(["now", self.one(pool)])
            case Operand.DURATION:
                return {"hours": self.one([1, 24, 48])}
            case Operand.WEEKDAYS:
                return self.some(DAYS)
            case Operand.TIMES:
                return self.one([["09:00", "17:30"], ["22:00", "06:00"]])
            case _:
                return self.one(pool)

    def _over(self, depth: int, in_line: bool) -> Any:
        return {self.one(["any_line", "every_line", "no_line"]): self.condition(min(depth, 1), True)}

    def _count(self, depth: int, in_line: bool) -> Any:
        body = {"op": self.one(_ORDERED), "value": self.one([0, 1, 2])}
        return {"count_lines": {**body, "where": self.condition(0, True)} if self.chance.random() < 0.7 else body}

    def _sum(self, depth: int, in_line: bool) -> Any:
        money = self.chance.random() < 0.4
        field = "line.total_price" if money else self.one(["line.quantity", "line.weight_g", "line.total_weight_g"])
        body = {"field": field, "op": self.one(_ORDERED), "value": self.one(AMOUNTS if money else WHOLE)}
        return {"sum_lines": {**body, "where": self.condition(0, True)} if self.chance.random() < 0.5 else body}

    def _stock(self, depth: int, in_line: bool) -> Any:
        return {"stock": {"at": self.one([self.one(PLACES), self.some(PLACES)]), "covers": self.one(["all", "any"])}}

    def _age(self, depth: int, in_line: bool) -> Any:
        if self.chance.random() < 0.5:
            return {
                "stock_age": {
                    "at": self.one(PLACES),
                    "op": self.one(_RANGED),
                    "value": {"hours": self.one([1, 24, 48])},
                }
            }
        measure = self.one(["reject_rate", "median_hours"])
        return {
            "behaviour": {
                "at": self.one(PLACES),
                "measure": measure,
                "op": self.one(_RANGED),
                "value": self.one([0, "0.1", 1, 12]),
            }
        }

    def _use(self, depth: int, in_line: bool) -> Any:
        return {"use": "named"}

    # -------------------------------------------------------------- documents, orders, worlds

    def document(self) -> dict[str, Any]:
        named = self._test(0, False)
        rules = [self.rule(number) for number in range(self.chance.randint(1, 12))]
        made = {
            "fcflow": "ruleset/1",
            "currency": "GBP",
            "zone": "Europe/London",
            "conditions": {"named": named},
            "rules": rules,
        }
        return {**made, "otherwise": [{"hold": {"reason": "nobody"}}]} if self.chance.random() < 0.3 else made

    def rule(self, number: int) -> dict[str, Any]:
        when = True if self.chance.random() < 0.03 else self.condition(2)
        rule: dict[str, Any] = {"id": f"r{number}", "when": when, "then": self._then()}
        if self.chance.random() < 0.15:
            rule["if_unknown"] = "match"
        if self.chance.random() < 0.05:
            rule["enabled"] = False
        if self.chance.random() < 0.1:
            rule["effective"] = {self.one(["from", "until"]): self.one(INSTANTS).isoformat()}
        return rule

    def _then(self) -> list[Any]:
        effects = [{"tag": "t"}, {"set_property": {"name": "p", "value": "v"}}, {"set_service": "s"}, {"note": "n"}]
        found = self.some(effects, 2) if self.chance.random() < 0.4 else []
        decisions = [
            {"allocate": {"to": self.some(PLACES), "if_short": self.one(["next_rule", "backorder", "hold"])}},
            {"hold": {"reason": "why"}},
            {"keep": {}},
        ]
        decided = self.one(decisions) if not found or self.chance.random() < 0.6 else None
        return [*found, *([] if decided is None else [decided])]

    def order(self, number: int) -> Order:
        lines = tuple(self.line(place) for place in range(self.chance.choice([0, 1, 1, 2, 3])))
        country = self.maybe(self.one(CODES["country"]))
        return Order(
            order_id=f"A{number}",
            reference=self.maybe(self.one(TEXTS)),
            channel=self.maybe(self.one(TEXTS)),
            sub_channel=self.maybe(self.one(TEXTS), 0.5),
            received_at=self.maybe(self.one(INSTANTS)),
            dispatch_by=self.maybe(self.one(INSTANTS), 0.5),
            payment=self.one(["paid", "unpaid", "pending"]),
            currency=self.maybe(self.one(CODES["currency"]), 0.1),
            total=self.maybe(Decimal(self.one(AMOUNTS))),
            postage=self.maybe(Decimal(self.one(AMOUNTS)), 0.5),
            ship_to=Address(country=country, postcode=self.maybe(self.one(TEXTS)), town=self.maybe(self.one(TEXTS))),
            bill_to=self.maybe(Address(country=self.one(CODES["country"])), 0.5),
            shipping_service=self.maybe(self.one(TEXTS)),
            tags=frozenset(self.some(TAGS)) if self.chance.random() < 0.6 else frozenset(),
            properties={"a": self.one(TEXTS)} if self.chance.random() < 0.5 else {},
            notes=self.maybe(self.one(TEXTS), 0.5),
            lines=lines,
        )

    def line(self, place: int) -> OrderLine:
        return OrderLine(
            line_id=str(place),
            sku=self.one(SKUS),
            quantity=self.one([1, 2, 3]),
            title=self.maybe(self.one(TEXTS), 0.5),
            unit_price=self.maybe(Decimal(self.one(AMOUNTS))),
            weight_g=self.maybe(self.one(WHOLE)),
            properties={"a": self.one(TEXTS)} if self.chance.random() < 0.3 else {},
        )

    def view(self) -> ExampleView:
        levels = {
            (place, sku): (self.maybe(self.one([0, 1, 2, 5]), 0.1), self.maybe(self.one(INSTANTS), 0.2))
            for place in PLACES[:2]
            for sku in SKUS
            if self.chance.random() < 0.8
        }
        shares = [Fraction(0), Fraction(1, 10), Fraction(1)]
        measures = {(place, "reject_rate"): self.one(shares) for place in PLACES if self.chance.random() < 0.7}
        return ExampleView(levels, {code: Location(code=code) for code in PLACES[:2]}, measures)


_ORDERED = ["eq", "ne", "lt", "le", "gt", "ge"]
_RANGED = ["lt", "le", "gt", "ge"]
_FOLDS = (FieldType.TEXT, FieldType.CHOICE, FieldType.SET)
_ORDER_NAMES = [*(each.name for each in FIELDS.values() if each.scope == "order"), "properties.a"]
_LINE_NAMES = [*(each.name for each in FIELDS.values() if each.scope == "line"), "line.properties.a"]


def _order(value: Any) -> Any:
    return Decimal(value) if isinstance(value, str) and value[:1].isdigit() and "T" not in value else value


def _pool(field: Field) -> list[Any]:
    match field.type:
        case FieldType.CHOICE:
            return list(map(str, field.choices))
        case FieldType.INTEGER:
            return list(WHOLE)
        case FieldType.MONEY:
            return list(AMOUNTS)
        case FieldType.INSTANT:
            return [each.isoformat() for each in INSTANTS]
        case FieldType.SET:
            return TAGS
        case _:
            return CODES.get(field.name.rpartition(".")[2], SKUS if field.name == "line.sku" else TEXTS)


# ------------------------------------------------------------------ engine, oracle and columns


def decided(document: dict[str, Any], order: Order, view: ExampleView) -> list[Any]:
    """Every decision in turn, as the engine gives it."""
    return [_plain(each) for each in load_rules(document).decisions(order, view, NOW)]


def _plain(decision: Any) -> tuple[Any, ...]:
    effects = [(effect.rule_id, effect.kind, effect.name, effect.value) for effect in decision.effects]
    return decision.rule_id, decision.action, tuple(decision.locations), effects


def foretold(document: dict[str, Any], order: Order, view: ExampleView) -> list[Any]:
    """The same, as the oracle reads it out of the JSON."""
    return [
        (each["rule"], each["action"], tuple(each["locations"]), [tuple(effect) for effect in each["effects"]])
        for each in Oracle(document).decisions(order, view, NOW)
    ]


def differences(seed: int) -> Iterator[str]:
    """What does not agree on one rule set."""
    drawer = Drawer(seed)
    document, view = drawer.document(), drawer.view()
    orders = [drawer.order(number) for number in range(ORDERS)]
    rules, oracle = load_rules(document), Oracle(document)
    columnar = rules.decide_many(orders_to_table(orders), view=view, now=NOW)
    for order, by_column in zip(orders, columnar, strict=True):
        found = [_plain(each) for each in rules.decisions(order, view, NOW)]
        wanted = [
            (each["rule"], each["action"], tuple(each["locations"]), [tuple(effect) for effect in each["effects"]])
            for each in oracle.decisions(order, view, NOW)
        ]
        first = _plain(rules.decide(order, view=view, now=NOW))
        if found != wanted:
            yield shown(seed, "engine and oracle", smallest(document, order, view), order, found, wanted)
        elif first != found[0] or _plain(by_column) != first:
            yield shown(seed, "decide, decisions and columns", document, order, (first, _plain(by_column)), found[:1])


def smallest(document: dict[str, Any], order: Order, view: ExampleView) -> dict[str, Any]:
    """The fewest rules of *document* that still show a difference."""
    for number in reversed(range(len(document["rules"]))):
        less = {**document, "rules": [*document["rules"][:number], *document["rules"][number + 1 :]]}
        if less["rules"] and decided(less, order, view) != foretold(less, order, view):
            document = less
    return document


def shown(seed: int, what: str, document: Any, order: Order, found: Any, wanted: Any) -> str:
    text = json.dumps(document, default=str)
    return f"seed {seed}: {what} differ\n  {text}\n  {order}\n  found  {found}\n  wanted {wanted}"


# ------------------------------------------------------------------ documents that are broken

ODD: list[Any] = [
    None, True, False, 0, -1, 10**400, 1e308, float("nan"), "", "\0", "\ud800", "x" * 5_000, [], {}, [[]], {"a": {}},
    "1e400", Decimal("1e999999"), Decimal("NaN"), {"list": "nowhere"}, {"hours": 10**12}, "(a+)+$",
    "(?:a|aa){1,99}" * 9, "\N{ZERO WIDTH SPACE}",
]  # fmt: skip


def broken(seed: int) -> dict[str, Any]:
    """A rule set that was damaged in a few places."""
    drawer = Drawer(seed)
    document = drawer.document()
    for _ in range(drawer.chance.randint(1, 4)):
        key = drawer.chance.choice(list(document))
        document = {**document, key: _damaged(document[key], drawer.chance)}
    return document


def _damaged(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        return {**value, key: _damaged(value[key], chance)} if chance.random() < 0.9 else {**value, "odd": value[key]}
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        return [*value[:place], _damaged(value[place], chance), *value[place + 1 :]]
    deep: Any = True
    for _ in range(chance.choice([10, 200, 3_000])):
        deep = {"not": deep}
    wide = {"all": [{"any": [{"field": "channel", "op": "eq", "value": str(n)} for n in range(9)]} for _ in range(30)]}
    return chance.choice([*ODD, deep, wide])


def badly_loaded(seed: int) -> Iterator[str]:
    """What loading a broken document did that it must not do."""
    document, began = broken(seed), time.process_time()
    try:
        load_rules(document).decide(Drawer(seed).order(1), view=Drawer(seed).view(), now=NOW)
    except RuleError as error:
        if not error.faults:
            yield f"seed {seed}: refused without a fault"
    except Exception as error:  # noqa: BLE001  # anything else is the finding
        yield f"seed {seed}: {type(error).__name__}: {error!s:.300}"
    took = time.process_time() - began
    if took > LOAD_S:
        yield f"seed {seed}: {took:.1f} s of processor to load a broken document"


# ------------------------------------------------------------------ the run


def work(first: int, step: int, seconds: float, most: int) -> tuple[int, int, list[str]]:
    """Rule sets and broken documents by turns, at most *most*; how many decisions and documents, and what was found."""
    until, seed, documents, found = time.monotonic() + seconds, first, 0, list[str]()
    while time.monotonic() < until and len(found) < 5 and documents < most:
        found += differences(seed)
        found += badly_loaded(seed)
        documents, seed = documents + 1, seed + step
    return documents * ORDERS, documents, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0, help="how long (40)")
    parser.add_argument("--seed", type=int, help="where to begin; drawn from the clock when left out")
    parser.add_argument(
        "--most", type=int, default=10**9, help="rule sets of a core, for a run that is the same everywhere"
    )
    parser.add_argument("--only", type=int, help="one rule set, to see it again")
    given = parser.parse_args()
    if given.only is not None:
        found = [*differences(given.only), *badly_loaded(given.only)]
        print("\n".join(found) or "no difference")
        return 1 if found else 0
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**9)
    workers = max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        parts = pool.starmap(work, [(seed + number, workers, given.seconds, given.most) for number in range(workers)])
    decisions, documents = sum(part[0] for part in parts), sum(part[1] for part in parts)
    found = [each for part in parts for each in part[2]]
    print("\n".join(found))
    print(
        f"rules: {decisions:,} orders decided by engine, oracle and columns, {documents:,} broken documents loaded, "
        f"in {given.seconds:g} s on {workers} cores from seed {seed}: {len(found)} differences"
    )
    return 1 if found or not documents else 0


if __name__ == "__main__":
    sys.exit(main())
