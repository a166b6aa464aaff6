"""
Orders decided per second at 10, 100 and 1,000 rules, against the naive oracle in the same run.

Run ``python bench/bench_rules.py [--quick] [--peers]``. Every answer of the engine on the oracle's share of the orders
is compared with the oracle's before anything is timed. The workload is seeded: orders of a general shop, and rules
grown around real orders, a few orders each; how many of the orders a rule takes is in the table.

With ``--peers`` it compares fcflow with other rule engines instead, over the workload of ``bench/rules``.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
from typing import Any

from _measure import show_head, spread, table

from fcflow.model import Address, Order, OrderLine
from fcflow.rules import RuleSet, load_rules
from fcflow.testing.oracle import Oracle

SEED = 20260302
CHANNELS = [f"channel-{number}" for number in range(12)]
COUNTRIES = ["GB"] * 12 + ["DE", "FR", "IE", "US", "NL", "ES", "IT", "SE", "PL", "AT", "BE", "DK", "CH", "NO", "PT"]
AREAS = ["LS", "IV", "HS", "KW", "ZE", "M", "B", "E", "SW", "BT", "EH", "G", "CF", "PL", "NE", "OX"]
TAGS = [f"tag-{number}" for number in range(60)]
SKUS = [f"SKU-{number:04}" for number in range(5_000)]
PLACES = [f"place-{number}" for number in range(8)]


# ------------------------------------------------------------------ workload


def make_order(number: int, chance: random.Random) -> Order:
    """One order of a general shop."""
    country = chance.choice(COUNTRIES)
    postcode = f"{chance.choice(AREAS)}{chance.randint(1, 28)} {chance.randint(1, 9)}AB"
    return Order(
        order_id=f"A{number}",
        channel=chance.choice(CHANNELS),
        payment="paid",
        currency="GBP",
        total=f"{chance.lognormvariate(3.5, 0.9):.2f}",
        ship_to=Address(country=country, postcode=postcode if country == "GB" else str(chance.randint(10000, 99999))),
        tags=frozenset(chance.sample(TAGS, chance.choice([0, 0, 1, 1, 2, 4]))),
        lines=tuple(make_line(place, chance) for place in range(chance.choice([1, 1, 1, 2, 2, 3, 5, 8]))),
    )


def make_line(place: int, chance: random.Random) -> OrderLine:
    """A line; a few SKUs sell most, and one weight in twenty is not known."""
    sku = SKUS[min(int(chance.paretovariate(0.6)) - 1, len(SKUS) - 1)]
    weight = None if chance.random() < 0.05 else int(chance.lognormvariate(6.5, 1.2))
    return OrderLine(line_id=str(place), sku=sku, quantity=chance.choice([1, 1, 1, 2, 3]), weight_g=weight)


def make_rule(number: int, order: Order, chance: random.Random) -> dict[str, Any]:
    """A rule that fits *order* and few others."""
    when = {"all": chance.choice(SHAPES)(order, chance)}
    return {"id": f"r{number}", "when": when, "then": [{"allocate": {"to": chance.choice(PLACES), "if_short": "hold"}}]}


def _is(field: str, value: Any) -> dict[str, Any]:
    return {"field": field, "op": "eq", "value": value}


def _near(field: str, value: Any, chance: random.Random, spread: float) -> dict[str, Any]:
    low, high = float(value) * (1 - spread * chance.random()), float(value) * (1 + spread * chance.random())
    pair = [int(low), int(high) + 1] if field != "total" else [f"{low:.2f}", f"{high:.2f}"]
    return {"field": field, "op": "between", "value": pair}


def _weight(order: Order) -> int:
    return sum((line.weight_g or 0) * line.quantity for line in order.lines)


def _by_country(order: Order, chance: random.Random) -> list[Any]:
    return [_is("ship_to.country", order.ship_to.country), _near("total", order.total, chance, 0.05)]


def _by_postcode(order: Order, chance: random.Random) -> list[Any]:
    prefix = (order.ship_to.postcode or "")[:3]
    return [
        _is("channel", order.channel),
        _is("ship_to.country", order.ship_to.country),
        {"field": "ship_to.postcode", "op": "starts_with", "value": prefix},
    ]


def _by_tag(order: Order, chance: random.Random) -> list[Any]:
    tag = next(iter(sorted(order.tags)), "tag-0")
    return [
        _is("channel", order.channel),
        {"field": "tags", "op": "contains", "value": tag},
        _near("total_weight_g", _weight(order), chance, 0.3),
    ]


def _by_sku(order: Order, chance: random.Random) -> list[Any]:
    skus = [order.lines[0].sku, *chance.sample(SKUS, 5)]
    line = {
        "all": [{"field": "line.sku", "op": "in", "value": skus}, {"field": "line.quantity", "op": "ge", "value": 2}]
    }
    return [{"any_line": line}, _near("total", order.total, chance, 0.2)]


def _by_countries(order: Order, chance: random.Random) -> list[Any]:
    countries = sorted({order.ship_to.country or "GB", *chance.sample(COUNTRIES, 3)})
    return [
        {"field": "ship_to.country", "op": "in", "value": countries},
        _near("total", order.total, chance, 0.03),
        {"not": {"field": "tags", "op": "contains_any", "value": chance.sample(TAGS, 3)}},
    ]


def _by_either(order: Order, chance: random.Random) -> list[Any]:
    either = [_is("channel", order.channel), {"field": "tags", "op": "contains", "value": chance.choice(TAGS)}]
    return [{"any": either}, _near("total", order.total, chance, 0.03), {"not": _is("ship_to.country", "US")}]


def _by_sum(order: Order, chance: random.Random) -> list[Any]:
    most = sum(line.quantity for line in order.lines)
    lines = {"sum_lines": {"field": "line.quantity", "op": "ge", "value": most}}
    return [lines, _near("total", order.total, chance, 0.01)]


SHAPES = [_by_country] * 4 + [_by_postcode] * 5 + [_by_tag] * 4 + [_by_sku] * 3 + [_by_countries] * 2
SHAPES += [_by_either, _by_sum]


def make_document(count: int, orders: list[Order], chance: random.Random) -> dict[str, Any]:
    """A rule set of *count* rules, each grown around one of *orders*."""
    rules = [make_rule(number, chance.choice(orders), chance) for number in range(count)]
    return {"fcflow": "ruleset/1", "currency": "GBP", "rules": rules, "otherwise": [{"allocate": {"to": "place-0"}}]}


# ------------------------------------------------------------------ measuring


def rate(work: Any, items: int, repeats: int) -> list[float]:
    """Items per second of process time, once per repeat."""
    found = []
    for _ in range(repeats):
        gc.collect()
        begun = time.process_time()
        work()
        found.append(items / (time.process_time() - begun))
    return found


def compare(rules: RuleSet, oracle: Oracle, orders: list[Order]) -> int:
    """How many orders a rule of the list decides; stops the run at the first different answer."""
    taken = 0
    for order in orders:
        decided, wanted = rules.decide(order), oracle.decisions(order)[0]
        if (decided.rule_id, list(decided.locations)) != (wanted["rule"], wanted["locations"]):
            sys.exit(f"order {order.order_id}: engine {decided.rule_id}, oracle {wanted['rule']}")
        taken += decided.rule_id is not None
    return taken


def measure(count: int, orders: list[Order], repeats: int) -> dict[str, Any]:
    """One row of the table."""
    document = make_document(count, orders, random.Random(SEED + count))
    begun = time.process_time()
    rules = load_rules(document)
    load_s = time.process_time() - begun
    oracle = Oracle(document)
    share = orders[: max(20, min(len(orders), 40_000 // count))]
    taken = compare(rules, oracle, share)
    engine = rate(lambda: sum(1 for _ in rules.decide_many(orders)), len(orders), repeats)
    naive = rate(lambda: [oracle.decisions(order) for order in share], len(share), max(1, repeats // 2))
    return {"rules": count, "load_s": load_s, "engine": engine, "naive": naive, "taken": taken / len(share)}


def row(found: dict[str, Any]) -> list[str]:
    """A row of the table."""
    engine, naive = statistics.median(found["engine"]), statistics.median(found["naive"])
    return [
        f"{found['rules']:,}",
        spread(found["engine"], 1 / 1000),
        spread(found["naive"], 1 / 1000, 2),
        f"{engine / naive:,.0f}x",
        f"{found['taken']:.0%}",
        f"{found['load_s']:.2f}",
    ]


HEAD = ["rules", "thousand orders/s", "naive oracle", "ratio", "taken by a rule", "load, s"]


def compare_with_peers(given: argparse.Namespace) -> None:
    """The other benchmark."""
    from rules.compare import run
    from rules.figure import draw

    show_head("fcflow", "attrs")
    found = run(given.rules or [10, 100, 1_000, 10_000], quick=given.quick)
    if given.figure:
        draw(found, given.figure)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer orders and repeats")
    parser.add_argument("--rules", type=int, nargs="*", help="lengths of the rule list")
    parser.add_argument("--peers", action="store_true", help="beside other engines: pip install --group bench")
    parser.add_argument("--figure", help="with --peers: draw the cost of an order against rules into this SVG")
    given = parser.parse_args()
    if given.peers:
        compare_with_peers(given)
        return
    count, repeats = (4_000, 3) if given.quick else (20_000, 7)
    chance = random.Random(SEED)
    orders = [make_order(number, chance) for number in range(count)]
    show_head("fcflow", "attrs", "jsonschema")
    print(
        f"{count:,} orders, seed {SEED}; process time of one core, median of {repeats} (least-greatest)\n", flush=True
    )
    print(table(HEAD, [row(measure(size, orders, repeats)) for size in given.rules or [10, 100, 1_000]]))


if __name__ == "__main__":
    main()
