"""
A partner's stock file taken in, at growing numbers of rows: decoded, merged, kept with its bytes, put away.

Each round runs in a process of its own, so that its peak memory is its own. The baseline reads the same file with
`csv.reader` and upserts it into a table of `sqlite3` in one transaction.
"""

from __future__ import annotations

import csv
import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _measure import is_quick, show_head, spread, table


def configuration(folder: Path) -> dict[str, Any]:
    """One partner in a folder, with a stock feed."""
    feeds = {
        "orders": {"layout": "linnworks-orders", "path": "in"},
        "stock": {"layout": "linnworks-stock", "path": "stock"},
    }
    leeds = {"connection": {"url": str(folder / "leeds")}, **feeds, "location": {}}
    return {"fcflow": "config/1", "store": f"sqlite:///{folder / 'stock.db'}", "partners": {"leeds": leeds}}


def write_stock(folder: Path, count: int, most: int) -> Path:
    """The partner's file: *count* SKUs."""
    path = folder / "leeds" / "stock" / "stock.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = ((f"SKU-{number:07}", number % most) for number in range(count))
        csv.writer(stream).writerows([("SKU", "Quantity"), *rows])
    return path


def received(folder: Path, count: int) -> list[float]:
    """Processor seconds of the first file and of the next one; fails unless every row was taken."""
    from fcflow import Synchronizer

    taken = []
    with Synchronizer.from_config(configuration(folder)) as sync:
        for most in (50, 49):
            write_stock(folder, count, most)
            begin = time.process_time()
            report = sync.receive_stock()
            taken.append(time.process_time() - begin)
            if report.partners["leeds"].stock_levels != count:
                sys.exit(f"expected {count} levels, got {report}")
    return taken


def baseline(folder: Path, count: int) -> float:
    """Processor seconds of a script that does the same with no promise at all."""
    path = write_stock(folder, count, 50)
    begin = time.process_time()
    with sqlite3.connect(folder / "baseline.db") as db, path.open(newline="", encoding="utf-8") as stream:
        db.execute("create table stock (sku text primary key, on_hand integer)")
        rows = csv.reader(stream)
        next(rows)
        db.executemany("insert or replace into stock values (?, ?)", ((sku, int(units)) for sku, units in rows))
    db.close()
    return time.process_time() - begin


def child(count: int) -> None:
    """One round: everything measured, as JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("in", "stock"):
            (folder / "leeds" / each).mkdir(parents=True)
        first, again = received(folder, count)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        plain = baseline(folder, count)
    print(json.dumps({"first": first, "again": again, "peak_mib": memory, "baseline": plain}))


def one_round(count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", str(count)]
    measured: dict[str, float] = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    return measured


def row_of(count: int, rounds: list[dict[str, float]]) -> tuple[str, ...]:
    first = statistics.median(measured["first"] for measured in rounds)
    return (
        f"{count:,}",
        spread([measured["first"] for measured in rounds], digits=2),
        spread([measured["again"] for measured in rounds], digits=2),
        f"{first / count * 1e6:.0f}",
        spread([measured["peak_mib"] for measured in rounds], digits=0),
        spread([measured["baseline"] for measured in rounds], digits=2),
        f"{statistics.median(measured['first'] / measured['baseline'] for measured in rounds):.0f}",
    )


def main() -> None:
    if "--child" in sys.argv:
        child(int(sys.argv[-1]))
        return
    sizes, times = ((2_000, 20_000), 1) if is_quick() else ((20_000, 60_000, 200_000), 3)
    show_head("fcflow", "sqlalchemy", "attrs")
    print(
        f"SQLite {sqlite3.sqlite_version} in a file; {times} processes a size; "
        "processor seconds, median (least-greatest)\n"
    )
    rows = [row_of(count, [one_round(count) for _ in range(times)]) for count in sizes]
    head = ("rows", "first file", "next file", "µs a row", "peak MiB", "baseline", "first / baseline")
    print(table(head, rows))


if __name__ == "__main__":
    main()
