"""Reading stock files and writing order files: rows a second beside the bare csv module, and peak memory."""

from __future__ import annotations

import argparse
import csv
import io
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator

from _measure import machine  # type: ignore[import-not-found]

from fcflow.formats import Layout, load_layout
from fcflow.model import Address, Order, OrderLine, Record, ShippingLine, ShippingOrder


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
    chance = random.Random(20260302)
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


def peak_mib(layout: Layout, rows: int) -> float:
    """Peak of what Python allocates while a generated file is read record by record."""
    tracemalloc.start()
    for _ in layout.decode(io.BufferedReader(Generated(stock_lines(rows)))):  # type: ignore[arg-type]
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def orders(count: int) -> list[ShippingOrder]:
    made = []
    for number in range(count):
        lines = [OrderLine(line_id=str(n), sku=f"SKU-{n}", quantity=n, unit_price="7.50") for n in (1, 2)]
        address = Address(name="Ada Byron", address1="12 St James's Square", town="London", country="GB")
        order = Order(order_id=f"A{number}", lines=lines, currency="GBP", total="22.50", ship_to=address)
        shipped = [ShippingLine(line_id=line.line_id, sku=line.sku, quantity=line.quantity) for line in lines]
        made.append(ShippingOrder(fulfilment_id=f"A{number}", order=order, location="leeds", lines=shipped))
    return made


def median_s(call: Callable[[], object], times: int) -> tuple[float, float]:
    """Median and spread, in seconds of the processor: nothing here waits for anything else."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return statistics.median(taken), max(taken) - min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and rough")
    quick = parser.parse_args().quick
    rows, count, times = (20_000, 500, 3) if quick else (200_000, 5_000, 5)
    layout, writer = load_layout("linnworks-stock"), load_layout("linnworks-orders")
    payload, batch = b"".join(stock_lines(rows)), orders(count)
    assert decoded(layout, payload) == bare_csv(payload) == rows
    written = writer.encode(batch)
    bare, bare_spread = median_s(lambda: bare_csv(payload), times)
    full, full_spread = median_s(lambda: decoded(layout, payload), times)
    encode, encode_spread = median_s(lambda: writer.encode(batch), times)
    decode, decode_spread = median_s(lambda: writer.read(written), times)

    print(machine())
    print()
    print("| what | rows | median s | spread s | rows a second | beside bare csv |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    print(
        f"| bare csv.reader, quantity as int | {rows:,} | {bare:.3f} | {bare_spread:.3f} | {rows / bare:,.0f} | 1.0 |"
    )
    print(
        f"| stock file decoded and checked | {rows:,} | {full:.3f} | {full_spread:.3f} | {rows / full:,.0f} "
        f"| {full / bare:.1f} |"
    )
    for what, took, spread in (("written", encode, encode_spread), ("read back", decode, decode_spread)):
        print(f"| orders of two lines {what} | {2 * count:,} | {took:.3f} | {spread:.3f} | {2 * count / took:,.0f} | |")
    print()
    print("| stock file read record by record | peak MiB |")
    print("| ---: | ---: |")
    for size in (rows // 10, rows):
        print(f"| {size:,} rows | {peak_mib(layout, size):.2f} |")


if __name__ == "__main__":
    main()
