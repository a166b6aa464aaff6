"""
Allocating a batch: orders served in turn, and the batch optimised as a whole.

Orders of one to three lines ask five locations for fifteen SKUs, of which there is less than is asked for. Every
result is checked: no unit is promised twice. The optimum is never worse; the table shows what it gained.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import UTC, datetime
from random import Random

from _measure import is_quick, show_head, spread, table

from fcflow import Location, Order, OrderLine, load_rules
from fcflow.allocation import Routing
from fcflow.allocation_many import allocate_many
from fcflow.errors import MissingExtraError
from fcflow.optimise import Optimised, optimise
from fcflow.rules import RuleSet
from fcflow.stock import Picture, StockView

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CODES = ("leeds", "corby", "york", "dover", "bath")
SKUS = [f"SKU-{number:02}" for number in range(15)]


def rules(split: str, strategy: str) -> RuleSet:
    """One rule: every order to any of the five."""
    allocate = {"to": list(CODES), "split": split, "strategy": strategy}
    rule = {"id": "all", "when": True, "then": [{"allocate": allocate}]}
    return load_rules({"fcflow": "ruleset/1", "name": "bench", "rules": [rule]})


def batch(count: int, seed: int) -> tuple[list[Order], StockView]:
    """*count* orders, and about nine tenths of what they ask for, spread over the locations."""
    random = Random(seed)
    orders = []
    for number in range(count):
        skus = random.sample(SKUS, random.choices((1, 2, 3), (5, 3, 2))[0])
        lines = [OrderLine(line_id=str(n), sku=sku, quantity=random.randint(1, 3)) for n, sku in enumerate(skus, 1)]
        orders.append(Order(order_id=f"A{number:05}", lines=lines))
    asked: Counter[str] = Counter()
    for order in orders:
        for line in order.lines:
            asked[line.sku] += line.quantity
    held: Counter[tuple[str, str]] = Counter()
    for sku, units in asked.items():
        for _ in range(units * 9 // 10):
            held[random.choice(CODES), sku] += 1
    pictures = [
        Picture(location=code, sku=sku, on_hand=units, as_of=NOW, received_at=NOW)
        for (code, sku), units in held.items()
    ]
    return orders, StockView({code: Location(code=code) for code in CODES}, pictures, now=NOW)


def check(routings: list[Routing] | tuple[Routing, ...], view: StockView) -> None:
    """No unit is promised twice; ends the benchmark otherwise."""
    drawn: Counter[tuple[str, str]] = Counter()
    for routing in routings:
        for placement in routing.placements:
            for line in placement.lines:
                drawn[placement.location, line.sku] += line.quantity
    for key, units in drawn.items():
        if units > (view.allocatable(*key) or 0):
            sys.exit(f"{key}: {units} units promised, {view.allocatable(*key)} are there")


def greedy_row(count: int, repeats: int) -> tuple[str, ...]:
    """Orders a second, served in turn."""
    decides, taken = rules("by_line", "fewest_splits"), []
    for seed in range(repeats):
        orders, view = batch(count, seed)
        begin = time.perf_counter()
        routings = allocate_many(orders, decides, view, NOW)
        taken.append(time.perf_counter() - begin)
        check(routings, view)
    return f"{count:,}", spread([count / seconds for seconds in taken], digits=0)


def optimum_row(count: int, split: str, repeats: int, timeout_s: float) -> tuple[str, ...]:
    """Seconds and gain of the optimum."""
    decides, taken, found = rules(split, "in_order" if split == "never" else "fewest_splits"), [], []
    for seed in range(repeats):
        orders, view = batch(count, seed)
        begin = time.perf_counter()
        result: Optimised = optimise(orders, decides, view, NOW, timeout_s=timeout_s)
        taken.append(time.perf_counter() - begin)
        check(result.routings, view)
        if result.greedy.beats(result.score):
            sys.exit(f"{split}, {count} orders: the optimum is worse than the greedy result")
        found.append(result)
    whole = spread([each.score.orders - each.greedy.orders for each in found], digits=0)
    units = spread([each.score.units - each.greedy.units for each in found], digits=0)
    each_order = [
        each.score.parcels / max(1, each.score.orders) - each.greedy.parcels / max(1, each.greedy.orders)
        for each in found
    ]
    proven = f"{sum(each.proven for each in found)} of {len(found)}"
    greedy = spread([each.greedy.orders for each in found], digits=0)
    seconds = spread(taken, digits=2)
    return split, f"{count:,}", greedy, whole, units, spread(each_order, digits=3), seconds, proven


def main() -> None:
    sizes, repeats, timeout_s = ((50,), 2, 3.0) if is_quick() else ((50, 200, 500), 3, 15.0)
    show_head("fcflow", "attrs")
    print("five locations, 15 SKUs, stock for nine tenths of what is asked")
    print(f"{repeats} batches a row, median (least-greatest)")
    print(f"the search is given {timeout_s:.0f} s", end="\n\n", flush=True)
    served = [greedy_row(count, repeats) for count in ((1_000,) if is_quick() else (1_000, 10_000))]
    print(table(("orders served in turn", "orders a second"), served), end="\n\n", flush=True)
    try:
        rows = [optimum_row(count, split, repeats, timeout_s) for split in ("never", "by_line") for count in sizes]
    except MissingExtraError as error:
        print(f"the optimum was left out: {error}")
        return
    head = ("split", "orders", "whole in turn", "more whole", "more units", "parcels an order", "seconds", "proven")
    print(table(head, rows))


if __name__ == "__main__":
    main()
