"""
A synchronisation end to end: orders in, files out, statuses back, at growing numbers of orders.

Each round runs in a process of its own, so that its peak memory is its own. The baseline is what a script without any
promise would do with the same orders: `csv.writer`, one transaction of `sqlite3`, `csv.reader`, another transaction.
"""

from __future__ import annotations

import csv
import json
import math
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from _measure import is_quick, show_head, spread, table

SKUS = [f"SKU-{number:04}" for number in range(500)]
PHASES = ("add", "stock", "allocate", "send", "statuses", "quiet run")
STATUS_HEAD = ("OrderId", "Status", "TrackingNumber", "ShippingService", "Error")


def order_facts(count: int) -> Iterator[dict[str, Any]]:
    """The same *count* orders at every call, as plain values."""
    random = Random(7)
    for number in range(count):
        lines = random.choices((1, 2, 3), (6, 3, 1))[0]
        yield {
            "order_id": f"A{number:06}",
            "country": random.choices(("GB", "DE", "FR"), (80, 12, 8))[0],
            "postcode": f"{random.choice(('LS', 'M', 'EH', 'IV'))}{random.randint(1, 40)} {random.randint(1, 9)}AA",
            "lines": [(random.choice(SKUS), random.randint(1, 4)) for _ in range(lines)],
        }


def orders(count: int) -> list[Any]:
    """The same orders as fcflow's values."""
    from fcflow import Address, Order, OrderLine

    def address(fact: dict[str, Any]) -> Address:
        place = {"postcode": fact["postcode"], "country": fact["country"]}
        return Address(name="Ada Byron", address1="1 High Street", town="Leeds", **place)

    return [
        Order(
            order_id=fact["order_id"],
            reference=f"#{fact['order_id']}",
            channel="shop",
            payment="paid",
            currency="GBP",
            total="25.00",
            ship_to=address(fact),
            lines=[
                OrderLine(line_id=str(place), sku=sku, quantity=quantity, title="A mug", weight_g=350)
                for place, (sku, quantity) in enumerate(fact["lines"], 1)
            ],
        )
        for fact in order_facts(count)
    ]


def configuration(folder: Path) -> dict[str, Any]:
    """Two partners in folders: one with a stock file, one that never runs short; four rules."""

    def partner(name: str, tracked: bool) -> dict[str, Any]:
        feeds = {
            "orders": {"layout": "linnworks-orders", "path": "in", "name": "orders-{counter}.csv"},
            "status": {"layout": "linnworks-status", "path": "out"},
        }
        stock = {"stock": {"layout": "linnworks-stock", "path": "stock", "complete": True}} if tracked else {}
        place = {"location": {"stock": {"tracked": tracked}}}
        return {"connection": {"url": str(folder / name)}, **feeds, **stock, **place}

    def rule(name: str, when: Any, *then: Any) -> dict[str, Any]:
        return {"id": name, "when": when, "then": list(then)}

    def to(*codes: str) -> dict[str, Any]:
        return {"allocate": {"to": list(codes), "strategy": "in_order", "if_short": "next_rule"}}

    highlands = {"field": "ship_to.postcode_area", "op": "in", "value": ["IV", "HS", "KW"]}
    abroad = {"field": "ship_to.country", "op": "ne", "value": "GB"}
    heavy = {"field": "total_weight_g", "op": "ge", "value": 3000}
    rules = [
        rule("heavy", heavy, {"tag": "heavy"}),
        rule("abroad", abroad, {"set_service": "International"}, to("dropco")),
        rule("highlands", highlands, to("dropco", "leeds")),
        rule("all-others", True, to("leeds", "dropco")),
    ]
    return {
        "fcflow": "config/1",
        "store": f"sqlite:///{folder / 'orders.db'}",
        "partners": {"leeds": partner("leeds", True), "dropco": partner("dropco", False)},
        "rules": {"fcflow": "ruleset/1", "name": "bench", "rules": rules},
    }


def write_stock(folder: Path) -> None:
    """A stock file of the partner that has stock, in place of the last one."""
    with (folder / "leeds" / "stock" / "stock.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("SKU", "Quantity"), *((sku, 1_000_000) for sku in SKUS)])


def make_folders(folder: Path) -> None:
    for partner in ("leeds", "dropco"):
        for name in ("in", "out", "stock"):
            (folder / partner / name).mkdir(parents=True)


def answer(folder: Path, partner: str) -> int:
    """The partner's side: ship every order of every file that lies there; how many it shipped."""
    place = folder / partner
    seen: dict[str, None] = {}
    for path in sorted((place / "in").glob("*.csv")):
        with path.open(newline="", encoding="utf-8-sig") as stream:
            seen.update(dict.fromkeys(row["OrderId"] for row in csv.DictReader(stream)))
    with (place / "out" / "statuses.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = ((name, "SHIPPED", f"JD{name}", "Next day", "") for name in seen)
        csv.writer(stream).writerows([STATUS_HEAD, *rows])
    return len(seen)


def timed(taken: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    begin, used = time.perf_counter(), time.process_time()
    value = call()
    taken[name] = time.perf_counter() - begin
    taken["cpu"] = taken.get("cpu", 0) + time.process_time() - used
    return value


def synchronise(count: int, folder: Path) -> dict[str, float]:
    """Seconds of every phase, and processor seconds of all; fails unless every order was shipped."""
    from fcflow import Synchronizer

    taken: dict[str, float] = {}
    make_folders(folder)
    write_stock(folder)
    bought = orders(count)
    with Synchronizer.from_config(configuration(folder)) as sync:
        timed(taken, "add", lambda: sync.add_orders(bought))
        timed(taken, "stock", sync.receive_stock)
        timed(taken, "allocate", sync.allocate)
        timed(taken, "send", sync.send_orders)
        shipped = answer(folder, "leeds") + answer(folder, "dropco")
        timed(taken, "statuses", sync.receive_statuses)
        write_stock(folder)
        sync.receive_stock()  # a picture that knows what has left
        timed(taken, "quiet run", sync.run)
        closed = sum(counts.get("shipped", 0) for counts in sync.counts().values())
    if not shipped == closed == count:
        sys.exit(f"expected {count} orders shipped, the partners shipped {shipped}, the store says {closed}")
    return taken


def baseline(count: int, folder: Path) -> float:
    """Seconds of a script that does the same work with no promise at all."""
    facts = list(order_facts(count))
    begin = time.perf_counter()
    with sqlite3.connect(folder / "baseline.db") as db:
        db.execute("create table orders (order_id text primary key, document text, state text, tracking text)")
        db.executemany(
            "insert into orders values (?, ?, 'open', null)", ((fact["order_id"], json.dumps(fact)) for fact in facts)
        )
    with (folder / "orders.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = ([f["order_id"], f["country"], f["postcode"], *line] for f in facts for line in f["lines"])
        csv.writer(stream).writerows([("OrderId", "Country", "Postcode", "SKU", "Quantity"), *rows])
    paused = time.perf_counter()
    with (folder / "statuses.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows((f["order_id"], "SHIPPED", f"JD{f['order_id']}") for f in facts)
    resumed = time.perf_counter()
    with (folder / "statuses.csv").open(newline="", encoding="utf-8") as stream, db:
        answers = ((state.lower(), tracking, name) for name, state, tracking in csv.reader(stream))
        db.executemany("update orders set state = ?, tracking = ? where order_id = ?", answers)
    db.close()
    return time.perf_counter() - begin - (resumed - paused)


def peak_mib() -> float:
    """Greatest memory that this process held, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def child(count: int) -> None:
    """One round: everything measured, as JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taken = synchronise(count, folder)
        memory = peak_mib()
        plain = baseline(count, folder)
    cpu = taken.pop("cpu")
    print(json.dumps({"taken": taken, "cpu": cpu, "peak_mib": memory, "baseline": plain}))


def one_round(count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def row_of(count: int, rounds: list[dict[str, Any]]) -> tuple[str, ...]:
    totals = [sum(measured["taken"].values()) for measured in rounds]
    ratios = [total / measured["baseline"] for total, measured in zip(totals, rounds, strict=True)]
    phases = (f"{statistics.median(measured['taken'][phase] for measured in rounds):.2f}" for phase in PHASES)
    each = f"{statistics.median(totals) / count * 1000:.2f}"
    memory = spread([measured["peak_mib"] for measured in rounds], digits=0)
    plain = spread([measured["baseline"] for measured in rounds], digits=3)
    cpu = spread([measured["cpu"] for measured in rounds], digits=2)
    return (
        f"{count:,}",
        *phases,
        spread(totals, digits=2),
        cpu,
        each,
        memory,
        plain,
        f"{statistics.median(ratios):.0f}",
    )


def growth(middle: dict[int, float]) -> str:
    """By which power of the number of orders the processor time grows; 1.00 is in proportion."""
    least, most = min(middle), max(middle)
    power = math.log(middle[most] / middle[least]) / math.log(most / least)
    times = f"{middle[most] / middle[least]:.1f} times as long"
    return (
        f"growth: {most / least:.0f} times the orders took the processor {times}, the power {power:.2f} of their number"
    )


def main() -> None:
    sizes, repeats = ((200, 600, 2_000), 1) if is_quick() else ((1_000, 3_000, 10_000), 3)
    show_head("fcflow", "sqlalchemy", "attrs")
    print(f"SQLite {sqlite3.sqlite_version} in a file; {repeats} processes a size; seconds, median (least-greatest)")
    print(f"an idle process with no orders peaks at {one_round(0)['peak_mib']:.0f} MiB", flush=True)
    measured: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes}
    for _ in range(repeats):
        for size in sizes:
            measured[size].append(one_round(size))
    middle = {n: statistics.median(r["cpu"] for r in rounds) for n, rounds in measured.items()}
    print(growth(middle), end="\n\n")
    head = ("orders", *PHASES, "all", "processor", "ms an order", "peak MiB", "baseline", "all / baseline")
    print(table(head, [row_of(count, rounds) for count, rounds in measured.items()]))


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(int(sys.argv[-1]))
    else:
        main()
