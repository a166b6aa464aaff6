"""
fcflow beside other rule engines: the same orders, the same answers, one process, in random order.

In each round every engine decides its share of the orders once, in an order that is drawn anew; a ratio is taken within
a round, between neighbours in time, so that a busy machine slows both. An engine whose answer differs from that of
fcflow on any order it is timed on ends the run, as does fcflow where it differs from the naive oracle.
"""

from __future__ import annotations

import gc
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from _measure import spread, table
from attrs import field, frozen

from fcflow.model import Decision
from fcflow.rules import RuleSet, load_rules
from fcflow.testing.oracle import Oracle
from rules.peers import PEERS, Peer
from rules.workload import SEED, Cond, Workload

OURS = "fcflow"


@frozen
class Entry:
    """
    One engine, ready to be timed.

    Args:
        work: Decides *count* orders, each answer as the engine gives it.

        rates: Orders per second of process time, one a round.
    """

    name: str
    count: int
    work: Callable[[], list[Any]]
    rates: list[float] = field(factory=list)

    def time(self) -> None:
        """One round more."""
        gc.collect()
        begun = time.process_time()
        self.work()
        self.rates.append(self.count / (time.process_time() - begun))


def ours(rules: RuleSet, made: Workload) -> list[Decision]:
    """What fcflow decides, one order at a time."""
    decide, view = rules.decide, made.shelves
    return [decide(order, view=view) for order in made.orders]


def check_oracle(document: dict[str, Any], made: Workload, answers: list[int], count: int) -> None:
    """Stops the run where the naive oracle decides otherwise."""
    oracle = Oracle(document)
    for order, answer in list(zip(made.orders, answers, strict=True))[:count]:
        wanted = oracle.decisions(order, made.shelves)[0]["rule"]
        if wanted != f"r{answer}":
            sys.exit(f"order {order.order_id}: fcflow r{answer}, oracle {wanted}")


def share(decide: Callable[[Any], int], made: Workload, budget_s: float) -> int:
    """How many orders an engine decides in about *budget_s*; all of them, if it can."""
    begun, count = time.process_time(), 0
    while count < len(made.data) and (time.process_time() - begun < budget_s or count < 10):
        decide(made.data[count])
        count += 1
    return count


def entry_of(peer: Peer, rules: Sequence[Cond], made: Workload, answers: list[int], budget_s: float) -> Entry:
    """A peer that has shown that it decides as fcflow does."""
    decide = peer.make(rules)
    data = made.data[: share(decide, made, budget_s)]
    entry = Entry(peer.name, len(data), lambda: [decide(each) for each in data])
    for order, answer, found in zip(made.orders, answers, entry.work(), strict=False):
        if answer != found:
            sys.exit(f"order {order.order_id}: {peer.name} rule {found}, fcflow rule {answer}")
    return entry


def measure(count: int, made: Workload, peers: Sequence[Peer], rounds: int, budget_s: float) -> list[Entry]:
    """All engines at one length of the list; fcflow first."""
    written = made.rules(count)
    document = made.document(written)
    rules = load_rules(document)
    answers = [int((decision.rule_id or "r-1")[1:]) for decision in ours(rules, made)]
    check_oracle(document, made, answers, max(10, 40_000 // count))
    entries = [Entry(OURS, len(made.orders), lambda: ours(rules, made))]
    entries += [entry_of(peer, written, made, answers, budget_s) for peer in peers if count <= peer.most]
    run_rounds(entries, rounds)
    return entries


def run_rounds(entries: Sequence[Entry], rounds: int) -> None:
    """Every engine once a round, in an order that is drawn anew."""
    chance = random.Random(SEED)
    for _ in range(rounds):
        for entry in chance.sample(entries, len(entries)):
            entry.time()


# ------------------------------------------------------------------ the tables


def rows_of(count: int, entries: Sequence[Entry]) -> Iterator[list[str]]:
    """A row for each engine."""
    best = entries[0].rates
    for entry in entries:
        ratios = [mine / theirs for mine, theirs in zip(best, entry.rates, strict=True)]
        shown = "1" if entry.name == OURS else spread(ratios, digits=1)
        yield [f"{count:,}", entry.name, f"{entry.count:,}", spread(entry.rates, 1 / 1000, 2), shown]


HEAD = ["rules", "engine", "orders", "thousand orders/s", "fcflow is faster by"]


def growth(found: dict[int, list[Entry]]) -> str:
    """How the time for an order grows from the shortest list to the longest, engine by engine."""
    rows = []
    for name in [OURS, *(peer.name for peer in PEERS)]:
        rates = {size: e.rates for size, entries in found.items() for e in entries if e.name == name}
        if len(rates) > 1:
            times = {size: 1e6 / statistics.median(each) for size, each in rates.items()}
            least, most = min(times), max(times)
            row = [f"{times[size]:,.1f}" if size in times else "" for size in found]
            rows.append([name, *row, f"{times[most] / times[least]:,.1f}x"])
    head = ["microseconds an order", *(f"{size:,} rules" for size in found), "first to last"]
    return table(head, rows)


LOADING = Path(__file__).with_name("loading.py")


def loading(sizes: Sequence[int]) -> str:
    """Seconds and memory of loading, each in a fresh process."""
    rows = []
    for size in sizes:
        said = subprocess.run([sys.executable, LOADING, str(size)], capture_output=True, text=True, check=True).stdout
        rows.append([f"{size:,}", *said.split()])
    return table(["rules", "load and compile, s", "memory that it adds at its peak, MiB"], rows)


def present() -> list[Peer]:
    """The peers that are installed; the others are named."""
    missing = [peer.package for peer in PEERS if peer.version() is None]
    if missing:
        print(f"missing, left out: {' '.join(missing)}; run: pip install {' '.join(missing)}\n")
    return [peer for peer in PEERS if peer.version() is not None]


def run(sizes: Sequence[int], *, quick: bool) -> dict[int, list[Entry]]:
    """Measure and print."""
    peers = present()
    count, rounds, budget_s = (4_000, 3, 0.3) if quick else (20_000, 5, 1.0)
    print(f"{count:,} orders, seed {SEED}; {rounds} rounds, process time of one core; median (least-greatest)")
    print(f"peers: {', '.join(f'{peer.package} {peer.version()}' for peer in peers) or 'none'}\n", flush=True)
    made = Workload.of(count)
    found = {size: measure(size, made, peers, rounds, budget_s) for size in sizes}
    print(table(HEAD, [row for size, entries in found.items() for row in rows_of(size, entries)]), "\n")
    print(growth(found), "\n")
    print(loading(sizes))
    return found
