"""
A table of orders decided at once: fcflow's columnar path, one pyarrow mask a rule, and DuckDB's CASE.

Run ``python bench/bench_rules_columns.py [--quick] [--rules 10 1000] [--orders 200000]``. The workload is that of
``bench_rules``. All begin with columns. What the peers would have to work out is given to them: sums over lines, whole
pence, and which location covers which order stand in columns of their own; DuckDB has the table in its own storage,
and its query is prepared. fcflow works all that out itself, within its time, from the table that `orders_to_table`
makes; *prepared* is the same with what `prepare_table` keeps between two rule sets. The engines run round by round in
random order; a ratio is taken within a round. Each answer is compared with fcflow's, and fcflow's with `decide` on some
of the orders. The peers get fewer rows of the same table where they would take minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from _measure import show_head, spread, table
from rules.compare import Entry, run_rounds
from rules.workload import PLACES, SEED, Cond, Workload

from fcflow.rules import RuleSet, load_rules

FIELDS = ("channel", "group", "method", "country", "postcode", "total", "weight", "quantity")
OURS = ("fcflow", "prepared")
Answer = Callable[[], Any]

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
    """One CASE over all rules, on one core, prepared, over a table in DuckDB's own storage."""
    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    connection.register("given", data)
    connection.execute("CREATE TABLE orders AS SELECT * FROM given")
    arms = " ".join(f"WHEN {sql(rule)} THEN {number}" for number, rule in enumerate(rules))
    connection.execute(f"PREPARE decide AS SELECT CASE {arms} END AS found FROM orders ORDER BY rowid")
    return lambda: connection.execute("EXECUTE decide").fetchnumpy()["found"]


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


def ours(rules: RuleSet, made: Workload) -> tuple[Sequence[int], list[Entry]]:
    """fcflow's answers, after they have shown that they are those of `decide`; and how it is timed."""
    from fcflow.rules.columns import prepare_table
    from fcflow.rules.table import orders_to_table

    table, view = orders_to_table(made.orders), made.shelves
    decisions = rules.decide_many(table, view=view)
    for order, decision in zip(made.orders[:2_000], decisions, strict=False):
        if rules.decide(order, view=view) != decision:
            sys.exit(f"order {order.order_id}: decide and decide_many differ")
    prepared = prepare_table(table)
    rules.decide_many(prepared, view=view)
    works = {each: lambda given=given: rules.decide_many(given, view=view).rule_index
             for each, given in zip(OURS, (table, prepared), strict=True)}  # fmt: skip
    return decisions.rule_index, [Entry(name, len(made.orders), work) for name, work in works.items()]


TESTS = 400_000_000
PEERS: dict[str, tuple[str, Callable[[Any, Sequence[Cond]], Answer]]] = {
    "pyarrow masks": ("pyarrow", lambda data, rules: Masks(data, rules).answer),
    "DuckDB CASE": ("duckdb", duckdb_case),
}


def entries_of(count: int, made: Workload, missing: Collection[str]) -> list[Entry]:
    """All engines with *count* rules; one that answers otherwise than fcflow ends the run."""
    conds = made.rules(count)
    answers, entries = ours(load_rules(made.document(conds)), made)
    rows = min(len(made.orders), TESTS // count)
    data = as_columns(made, rows)
    for name, (package, make) in PEERS.items():
        if package not in missing:
            answer = make(data, conds)
            for row, (mine, other) in enumerate(zip(answers, answer(), strict=False)):
                if mine != other:
                    sys.exit(f"row {row}: fcflow {mine}, {name} {other}")
            entries.append(Entry(name, rows, answer))
    return entries


def rows_of(count: int, entries: Sequence[Entry]) -> Iterator[list[str]]:
    """A row for each engine; a ratio is taken within a round."""
    for entry in entries:
        ratios = [_ratios(mine, entry) if entry.name not in OURS else "" for mine in entries[: len(OURS)]]
        yield [f"{count:,}", entry.name, f"{entry.count:,}", spread(entry.rates, 1 / 1000), *ratios]


def _ratios(mine: Entry, other: Entry) -> str:
    return spread([one / another for one, another in zip(mine.rates, other.rates, strict=True)])


HEAD = ["rules", "engine", "rows", "thousand orders/s", "fcflow is faster by", "prepared is faster by"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer orders and rounds, and not the longest list")
    parser.add_argument("--rules", type=int, nargs="*", help="lengths of the lists of rules")
    parser.add_argument("--orders", type=int, default=200_000)
    given = parser.parse_args()
    missing = [name for name in ("numpy", "pyarrow", "duckdb") if find_spec(name) is None]
    show_head("fcflow", *(name for name in ("numpy", "pyarrow", "duckdb") if name not in missing))
    if missing:
        print(f"missing, left out: {' '.join(missing)}; run: pip install --group bench")
    if {"numpy", "pyarrow"} & set(missing):
        return
    count, rounds = (20_000, 3) if given.quick else (given.orders, 5)
    sizes = given.rules or ([10, 100, 1_000] if given.quick else [10, 100, 1_000, 10_000])
    made = Workload.of(count)
    print(f"{count:,} orders, seed {SEED}; {rounds} rounds, process time of one core; median (least-greatest)\n")
    print(table(HEAD, []), flush=True)
    for size in sizes:
        entries = entries_of(size, made, missing)
        run_rounds(entries, rounds)
        print(table(HEAD, rows_of(size, entries)).split("\n", 2)[2], flush=True)


if __name__ == "__main__":
    main()
