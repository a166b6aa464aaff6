"""
A table of orders decided at once: fcflow's columnar path, one pyarrow mask a rule, and DuckDB's CASE.

Run ``python bench/bench_rules_columns.py [--quick] [--rules 10 1000]``. The workload is that of ``bench_rules``. All
begin with columns. What the peers would have to work out is given to them: sums over lines, whole pence, and which
location covers which order stand in columns of their own; DuckDB has the table in its own storage. fcflow works all
that out itself, within its time, from the table that `orders_to_table` makes; *prepared* is the same with what
`prepare_table` keeps between two rule sets. The engines run in random order, each
answer is compared with fcflow's, and fcflow's with `decide` on some of the orders. The peers get fewer rows of the
same table where they would take minutes.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from _measure import show_head, spread, table
from rules.workload import PLACES, SEED, Cond, Workload

from fcflow.rules import load_rules

FIELDS = ("channel", "group", "method", "country", "postcode", "total", "weight", "quantity")
OURS = ("fcflow", "prepared")
Answer = Callable[[], Sequence[int]]

# ------------------------------------------------------------------ pyarrow: a mask a rule


class Masks:
    """The rules one after the other, each as a mask over all rows."""

    def __init__(self, data: Any, rules: Sequence[Cond]) -> None:
        import numpy as np

        self.rules, self.rows = rules, data.num_rows
        self.columns = {name: data[name].combine_chunks() for name in data.column_names}
        self.lists = {}
        for name in ("tags", "skus", "units"):
            lengths = self.columns[name].value_lengths().to_numpy()
            self.lists[name] = self.columns[name].flatten(), np.repeat(np.arange(self.rows), lengths)

    def answer(self) -> Sequence[int]:
        import numpy as np

        found = np.full(self.rows, -1)
        for number, rule in enumerate(self.rules):
            mask = self.mask(rule).to_numpy(zero_copy_only=False)
            found[(found < 0) & mask] = number
        return found

    def mask(self, cond: Cond) -> Any:
        """A mask over all rows."""
        import pyarrow as pa
        import pyarrow.compute as pc

        match cond:
            case ("all", []):
                return pa.array([True]).take(pa.array([0] * self.rows))
            case ("all" | "any" as kind, parts):
                masks = [self.mask(part) for part in parts]
                mask = masks[0]
                for each in masks[1:]:
                    mask = pc.and_(mask, each) if kind == "all" else pc.or_(mask, each)
                return mask
            case ("not", part):
                return pc.invert(self.mask(part))
            case ("is", field, value):
                return pc.equal(self.columns[field], value)
            case ("in", field, values):
                return pc.is_in(self.columns[field], value_set=pa.array(values))
            case ("range", field, low, high):
                column = self.columns[field]
                return pc.and_(pc.greater_equal(column, low), pc.less_equal(column, high))
            case ("prefix", text):
                return pc.starts_with(self.columns["postcode"], text)
            case ("stock", place):
                return self.columns[place]
            case ("tags", tags):
                return self.any_member("tags", tags, 1)
            case ("skus", skus, least):
                return self.any_member("skus", skus, least)
        raise ValueError(cond)

    def any_member(self, name: str, values: Sequence[str], least: int) -> Any:
        """Rows of which one member is among *values* (and its line has *least* units)."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        members, parents = self.lists[name]
        mask = pc.is_in(members, value_set=pa.array(values))
        if least > 1:
            mask = pc.and_(mask, pc.greater_equal(self.lists["units"][0], least))
        rows = np.zeros(self.rows, dtype=bool)
        rows[parents[mask.to_numpy(zero_copy_only=False)]] = True
        return pa.array(rows)


# ------------------------------------------------------------------ DuckDB: one CASE


def sql(cond: Cond) -> str:
    """*cond* as an expression of DuckDB."""
    match cond:
        case ("all", []):
            return "true"
        case ("all" | "any" as kind, parts):
            return "(" + (" AND " if kind == "all" else " OR ").join(map(sql, parts)) + ")"
        case ("not", part):
            return f"NOT {sql(part)}"
        case ("is", field, value):
            return f'"{field}" = {value!r}'
        case ("in", field, values):
            return f'"{field}" IN ({", ".join(map(repr, values))})'
        case ("range", field, low, high):
            return f'"{field}" BETWEEN {low} AND {high}'
        case ("prefix", text):
            return f"starts_with(postcode, {text!r})"
        case ("stock", place):
            return f'"{place}"'
        case ("tags", tags):
            return f"list_has_any(tags, {list(tags)!r})"
        case ("skus", skus, 1):
            return f"list_has_any(skus, {list(skus)!r})"
        case ("skus", skus, least):
            inside = ", ".join(map(repr, skus))
            return f"len(list_filter(lines, lambda x: x.sku IN ({inside}) AND x.quantity >= {least})) > 0"
    raise ValueError(cond)


def duckdb_case(data: Any, rules: Sequence[Cond]) -> Answer:
    """One CASE over all rules, on one core, over a table in DuckDB's own storage."""
    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    connection.register("given", data)
    connection.execute("CREATE TABLE orders AS SELECT * FROM given")
    arms = " ".join(f"WHEN {sql(rule)} THEN {number}" for number, rule in enumerate(rules))
    query = f"SELECT CASE {arms} END AS found FROM orders ORDER BY rowid"
    return lambda: connection.execute(query).fetchnumpy()["found"]


# ------------------------------------------------------------------ measuring


def as_columns(workload: Workload, rows: int) -> Any:
    """The first *rows* orders with everything that a peer needs in a column."""
    import pyarrow as pa

    data = workload.data[:rows]
    columns: dict[str, Any] = {name: [each[name] for each in data] for name in (*FIELDS, "tags", "lines")}
    columns |= {place: [each["stock"][place] for each in data] for place in PLACES}
    columns["skus"] = [[line["sku"] for line in each["lines"]] for each in data]
    columns["units"] = [[line["quantity"] for line in each["lines"]] for each in data]
    return pa.table(columns)


def rates(engines: dict[str, tuple[Answer, int]], repeats: int) -> dict[str, list[float]]:
    """Per engine the orders a second of process time, in random order."""
    turns = [name for name in engines for _ in range(repeats if name in OURS else max(1, repeats // 2))]
    random.Random(SEED).shuffle(turns)
    found: dict[str, list[float]] = {name: [] for name in engines}
    for name in turns:
        answer, rows = engines[name]
        gc.collect()
        begun = time.process_time()
        answer()
        found[name].append(rows / (time.process_time() - begun))
    return found


def agree(name: str, ours: Sequence[int], theirs: Sequence[int]) -> None:
    """Stop at the first different answer."""
    for row, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if mine != other:
            sys.exit(f"row {row}: fcflow {mine}, {name} {other}")


def measure(count: int, workload: Workload, share: int, repeats: int, peers: Sequence[str]) -> dict[str, Any]:
    """All engines with *count* rules."""
    from fcflow.rules.columns import prepare_table
    from fcflow.rules.table import orders_to_table

    conds = workload.rules(count)
    rules, orders = load_rules(workload.document(conds)), orders_to_table(workload.orders)
    decisions = rules.decide_many(orders, view=workload.shelves)
    for order, decision in zip(workload.orders[:2_000], decisions, strict=False):
        if rules.decide(order, view=workload.shelves) != decision:
            sys.exit(f"order {order.order_id}: decide and decide_many differ")
    prepared = prepare_table(orders)
    engines: dict[str, tuple[Answer, int]] = {
        "fcflow": (lambda: rules.decide_many(orders, view=workload.shelves).rule_index, len(workload.orders)),
        "prepared": (lambda: rules.decide_many(prepared, view=workload.shelves).rule_index, len(workload.orders)),
    }
    data = as_columns(workload, share)
    if "pyarrow" in peers:
        engines["pyarrow masks"] = (Masks(data, conds).answer, share)
    if "duckdb" in peers:
        engines["DuckDB CASE"] = (duckdb_case(data, conds), share)
    for name, (answer, _) in engines.items():
        agree(name, decisions.rule_index.tolist(), list(answer()))
    return {"rules": count, "share": share, "rates": rates(engines, repeats)}


def row(found: dict[str, Any]) -> list[str]:
    """A row of the table."""
    rates = found["rates"]
    cells = [f"{found['rules']:,}", spread(rates["fcflow"], 1 / 1000), spread(rates["prepared"], 1 / 1000)]
    for name in ("pyarrow masks", "DuckDB CASE"):
        theirs = rates.get(name)
        ratios = [statistics.median(rates[each]) / statistics.median(theirs) for each in OURS] if theirs else []
        cells += [spread(theirs, 1 / 1000, 2), " / ".join(f"{each:,.1f}x" for each in ratios)] if theirs else ["-", "-"]
    return [*cells, f"{found['share']:,}"]


HEAD = [
    "rules",
    "thousand orders/s",
    "prepared",
    "pyarrow masks",
    "ratios",
    "DuckDB CASE",
    "ratios",
    "rows of the peers",
]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer orders and repeats")
    parser.add_argument("--rules", type=int, nargs="*", default=[10, 100, 1_000])
    parser.add_argument("--orders", type=int, default=100_000)
    given = parser.parse_args()
    missing = [name for name in ("numpy", "pyarrow", "duckdb") if find_spec(name) is None]
    peers = [name for name in ("pyarrow", "duckdb") if name not in missing]
    show_head("fcflow", *(name for name in ("numpy", "pyarrow", "duckdb") if name not in missing))
    if missing:
        print(f"not installed: {', '.join(missing)}")
    if {"numpy", "pyarrow"} & set(missing):
        return
    count, repeats = (20_000, 3) if given.quick else (given.orders, 7)
    workload = Workload.of(count)
    print(
        f"{count:,} orders, seed {SEED}; process time of one core, median of {repeats} (least-greatest)\n", flush=True
    )
    shares = {size: min(count, max(5_000, 20_000_000 // size)) for size in given.rules}
    print(table(HEAD, []), flush=True)
    for size in given.rules:
        print(table(row(measure(size, workload, shares[size], repeats, peers)), []).splitlines()[0], flush=True)


if __name__ == "__main__":
    main()
