"""
Reading and writing partners' files, each beside the least that anyone could do in the same run.

Stock files beside a bare `csv.reader` loop that makes numbers of the quantities; order files beside a bare `csv.writer`
of the same cells; X12 beside pyx12, the fastest parser of X12 in plain Python that installs (``pip install --group
bench``). All times are of the processor, and every ratio is taken within a round.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from _measure import show_head, spread, table  # type: ignore[import-not-found]

from fcflow.formats import Layout, load_layout
from fcflow.formats.x12 import envelopes
from fcflow.model import (
    Address,
    Order,
    OrderLine,
    Record,
    Shipment,
    ShippingLine,
    ShippingOrder,
    StatusLine,
    StatusUpdate,
)

SEED = 20260302
Job = Callable[[], int]


# ------------------------------------------------------------------ stock


class Generated(io.RawIOBase):
    """A file that is made while it is read, so that only the reader's own memory is measured."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def stock_lines(rows: int) -> Iterator[bytes]:
    chance = random.Random(SEED)
    yield b"SKU,Quantity\r\n"
    for number in range(rows):
        yield b"SKU-%06d,%d\r\n" % (number, chance.randrange(0, 500))


def bare_csv(payload: bytes) -> int:
    """The least that any reader does: cells, and the quantity as a number."""
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(payload), "utf-8", newline=""))
    next(reader)
    return sum(1 for row in reader if int(row[1]) >= 0)


def decoded(layout: Layout, payload: bytes) -> int:
    return sum(1 for item in layout.decode(io.BytesIO(payload)) if isinstance(item, Record))


def tabled(layout: Layout, payload: bytes) -> int:
    return int(layout.read_table(payload)[0].num_rows)


def peak_mib(layout: Layout, rows: int) -> float:
    """Peak of what Python allocates while a generated file is read record by record."""
    tracemalloc.start()
    for _ in layout.decode(io.BufferedReader(Generated(stock_lines(rows)))):  # type: ignore[arg-type]
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


# ------------------------------------------------------------------ orders


def orders(count: int) -> list[ShippingOrder]:
    """Orders of three lines, no two of the same buyer."""
    chance = random.Random(SEED)
    return [order(number, chance) for number in range(count)]


def order(number: int, chance: random.Random) -> ShippingOrder:
    lines = [
        OrderLine(line_id=str(n), sku=f"SKU-{chance.randrange(10_000)}", quantity=n, unit_price="7.50", weight_g=250)
        for n in (1, 2, 3)
    ]
    address = Address(
        name=f"Ada Byron {number}",
        address1=f"{chance.randrange(300)} St James's Square",
        town="London",
        postcode=f"SW{chance.randrange(1, 20)}Y 4JH",
        country="GB",
        email=f"ada{number}@example.org",
    )
    bought = Order(
        order_id=f"A{number}",
        channel="shop",
        received_at=datetime(2026, 3, 2, chance.randrange(24), chance.randrange(60), chance.randrange(60), tzinfo=UTC),
        currency="GBP",
        total=f"{chance.randrange(10, 500)}.50",
        ship_to=address,
        lines=lines,
    )
    shipped = [ShippingLine(line_id=line.line_id, sku=line.sku, quantity=line.quantity) for line in lines]
    return ShippingOrder(fulfilment_id=f"A{number}", order=bought, location="leeds", lines=shipped)


def bare_writer(rows: list[list[str]]) -> int:
    """The least that any writer does: cells that are there already, as bytes."""
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return len(out.getvalue().encode())


# ------------------------------------------------------------------ X12


def advices(count: int) -> list[StatusUpdate]:
    """Shipping advices of three lines in one parcel."""
    chance = random.Random(SEED)
    at = datetime(2026, 3, 2, tzinfo=UTC)
    made = []
    for number in range(count):
        lines = [StatusLine(line_id=str(n), sku=f"SKU-{chance.randrange(9_999):04}", shipped=n) for n in (1, 2, 3)]
        parcel = Shipment(
            carrier="UPSN",
            service="Ground",
            tracking_numbers=[f"1Z{chance.randrange(10**9):016}"],
            shipped_at=at,
            lines=lines,
        )
        made.append(
            StatusUpdate(reference=f"A{number}", status="shipped", raw_status="F", shipments=[parcel], lines=lines)
        )
    return made


def peer_segments(text: str) -> int:
    """What pyx12 makes of it: segments, and the counts of the envelopes checked."""
    from pyx12.x12file import X12Reader  # type: ignore[import-not-found]

    return sum(1 for segment in X12Reader(io.StringIO(text)) if segment.get_seg_id() == "ST")


def our_segments(payload: bytes) -> int:
    """The same with ours."""
    found = envelopes(io.BytesIO(payload))
    return sum(len(group.transactions) for each in found for group in each.groups)


# ------------------------------------------------------------------ the run


def rounds(jobs: Mapping[str, Job], times: int) -> dict[str, list[float]]:
    """Seconds of the processor by job, round by round, in another order each time."""
    chance, taken = random.Random(SEED), {name: list[float]() for name in jobs}
    for _ in range(times):
        for name in chance.sample(list(jobs), len(jobs)):
            began = time.process_time()
            jobs[name]()
            taken[name].append(time.process_time() - began)
    return taken


def show(rows: int, jobs: Mapping[str, Job], asked: Mapping[str, str], times: int) -> None:
    """A table of the jobs beside the first of them."""
    taken = rounds(jobs, times)
    base = taken[next(iter(jobs))]
    lines = []
    for name, seconds in taken.items():
        ratios = [each / bare for each, bare in zip(seconds, base, strict=True)]
        lines.append([name, f"{rows:,}", spread(seconds, digits=3), spread(ratios, digits=2), asked.get(name, "")])
    print()
    print(table(["what", "rows", "seconds", "beside the first", "asked"], lines), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and rough")
    quick = parser.parse_args().quick
    rows, count, sets, times = (50_000, 2_000, 2_000, 3) if quick else (1_000_000, 100_000, 50_000, 5)
    show_head("fcflow", "attrs", "pyarrow", "pyx12")
    print(f"{times} rounds in random order, process time, median (least-greatest)")

    stock = show_stock(rows, times)
    show_orders(count, times)
    show_x12(sets, times)
    print()
    sizes = [[f"{size:,}", f"{peak_mib(stock, size):.2f}"] for size in (rows // 10, rows)]
    print(table(["rows of a stock file read record by record", "peak MiB"], sizes))


def show_stock(rows: int, times: int) -> Layout:
    layout = load_layout("linnworks-stock")
    payload = b"".join(stock_lines(rows))
    assert decoded(layout, payload) == tabled(layout, payload) == bare_csv(payload) == rows
    jobs: dict[str, Job] = {
        "bare csv.reader, quantity as int": lambda: bare_csv(payload),
        "decode, record by record": lambda: decoded(layout, payload),
        "read_table, as an Arrow table": lambda: tabled(layout, payload),
    }
    show(rows, jobs, {"decode, record by record": "4", "read_table, as an Arrow table": "0.7"}, times)
    return layout


def show_orders(count: int, times: int) -> None:
    layout, values = load_layout("linnworks-orders"), orders(count)
    written = layout.encode(values)
    cells = list(csv.reader(io.StringIO(written.decode(), newline="")))
    assert bare_writer(cells) == len(written)
    jobs: dict[str, Job] = {
        "bare csv.writer of the same cells": lambda: bare_writer(cells),
        "encode orders of three lines": lambda: len(layout.encode(values)),
        "read them back": lambda: decoded(layout, written),
    }
    show(len(cells) - 1, jobs, {"encode orders of three lines": "3"}, times)


def show_x12(sets: int, times: int) -> None:
    layout = load_layout("x12-945")
    interchange = layout.encode(advices(sets))
    text = interchange.decode()
    assert our_segments(interchange) == peer_segments(text) == decoded(layout, interchange) == sets
    jobs: dict[str, Job] = {
        "pyx12, segments and counts": lambda: peer_segments(text),
        "envelopes, the same": lambda: our_segments(interchange),
        "decode 945 to status updates": lambda: decoded(layout, interchange),
    }
    show(sets, jobs, {"envelopes, the same": "0.2"}, times)


if __name__ == "__main__":
    main()
