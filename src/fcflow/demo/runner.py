"""
Runs the demonstration: imports the orders, synchronises, lets the partners work, until nothing moves any more.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from fcflow.demo import screen
from fcflow.demo.account import Day, differences, ends_of, partner_days, story_of
from fcflow.demo.catalogue import aliases_of, weighed
from fcflow.demo.orders_csv import ORDERS, SEED
from fcflow.demo.partners import SimulatedPartner, partners_at_work
from fcflow.demo.report import write_report
from fcflow.documents import canonical_json
from fcflow.errors import FcflowError, StoreError
from fcflow.formats import load_layout
from fcflow.model import Order
from fcflow.stock import StockSummary
from fcflow.synchronizer import Synchronizer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run_demo"]

_MARK = ".fcflow-demo"
_MOST_ROUNDS = 12
_SECRETS = {"leeds": "FCFLOW_DEMO_LEEDS", "dropco": "FCFLOW_DEMO_DROPCO", "postal": "FCFLOW_DEMO_POSTAL"}


def run_demo(folder: Path, *, console: Console | None = None, seed: int = SEED, as_json: bool = False) -> int:
    """
    Run a day with three partners and leave everything in *folder*.

    Args:
        folder: Made anew; one of an earlier run is replaced, any other folder that holds something is left alone.

        console: Where tables and progress go; ``None`` is standard output.

        seed: What the partners do with which order.

        as_json: Show the day as one JSON document instead of tables and progress; it is in ``day.json`` in any case.

    Returns:
        0 where every order is accounted for and the partners' books agree with ours, else 1.

    Raises:
        StoreError: *folder* holds something else.
    """
    console = console or screen.console()
    _make_folder(folder)
    with screen.progress(console, shown=not as_json) as steps:
        day = _day(folder, seed, steps)
    text = json.dumps(day.as_dict(), indent=2, ensure_ascii=False)
    (folder / "day.json").write_text(text + "\n", encoding="utf-8")
    write_report(day, folder / "report.html")
    if as_json:
        console.file.write(text + "\n")
    else:
        screen.show(console, day, folder)
    return 0 if day.is_accounted_for else 1


def _make_folder(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).is_file():
            raise StoreError(f"{folder} holds files that are not of an earlier demonstration, name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_text("This folder is replaced by the next demonstration.\n", encoding="utf-8")


def _day(folder: Path, seed: int, steps: screen.Steps) -> Day:
    began, clock = datetime.now(UTC), time.monotonic()
    passwords = {partner: secrets.token_urlsafe(16) for partner in _SECRETS}
    with (
        _environment(passwords),
        partners_at_work(folder, seed=seed, passwords=passwords) as (partners, found),
        Synchronizer.from_config(_configuration(folder, found), progress=steps.report) as sync,
    ):
        left_out = _import_orders(sync, folder, steps)
        before, problems, rounds = _work_through(sync, partners, steps)
        orders = sync.orders()
        stock = sync.stock()
        events = sync.audit()
        return Day(
            seed=seed,
            began=began,
            seconds=time.monotonic() - clock,
            orders=orders,
            left_out=left_out,
            ends=ends_of(orders),
            partners=partner_days(partners, orders),
            stock_before=before,
            stock_after=_levels(stock),
            problems=problems,
            differences=[*_lost(orders, left_out), *differences(partners, orders, stock)],
            rounds=rounds,
            story=story_of(orders, events),
        )


@contextmanager
def _environment(passwords: Mapping[str, str]) -> Iterator[None]:
    """The secrets, where the configuration refers to them, and nowhere else."""
    os.environ.update({_SECRETS[partner]: password for partner, password in passwords.items()})
    try:
        yield
    finally:
        for name in _SECRETS.values():
            os.environ.pop(name, None)


def _configuration(folder: Path, found: Mapping[str, str]) -> Path:
    """Write the configuration with its rules and layouts where people can look at them."""
    data = files("fcflow.demo").joinpath("data")
    (folder / "layouts").mkdir()
    for layout in data.joinpath("layouts").iterdir():
        (folder / "layouts" / layout.name).write_bytes(layout.read_bytes())
    (folder / "rules.json").write_bytes(data.joinpath("rules.json").read_bytes())
    (folder / "aliases.json").write_text(canonical_json(aliases_of("dropco")) + "\n", encoding="utf-8")
    text = Template(data.joinpath("config.json").read_text(encoding="utf-8")).substitute(found)
    path = folder / "fcflow.json"
    path.write_text(text, encoding="utf-8")
    return path


# ------------------------------------------------------------------ orders in


def _import_orders(sync: Synchronizer, folder: Path, steps: screen.Steps) -> dict[str, str]:
    """Import the shop's export; returns the orders that it left out, and why."""
    content = files("fcflow.demo").joinpath("data/shopify-orders.csv").read_bytes()
    (folder / "shopify-orders.csv").write_bytes(content)
    steps.say("importing the shop's orders")
    records, problems = load_layout("shopify-orders").read(content)
    if problems:
        raise FcflowError(f"shopify-orders.csv: {problems[0]}")
    orders = [weighed(record.value) for record in records]
    sync.add_orders(orders, actor="demo")
    return _left_out(content, orders)


def _left_out(content: bytes, orders: Iterable[Order]) -> dict[str, str]:
    """What the export holds and the import left out, read with another parser than the import's."""
    imported = {order.order_id for order in orders}
    left: dict[str, str] = {}
    for row in csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")):
        if row["Name"] not in imported and row["Name"] not in left:
            left[row["Name"]] = "cancelled in the shop" if row["Cancelled at"] else ""
    return left


def _lost(orders: Sequence[Any], left_out: Mapping[str, str]) -> Iterator[str]:
    """Orders of the export that are nowhere."""
    for order_id, why in left_out.items():
        if not why:
            yield f"order {order_id}: in the export, and not imported"
    total = len(orders) + len(left_out)
    if total != ORDERS:
        yield f"expected {ORDERS} orders, got {total}"


# ------------------------------------------------------------------ the day


def _work_through(
    sync: Synchronizer, partners: Sequence[SimulatedPartner], steps: screen.Steps
) -> tuple[dict[str, dict[str, int]], list[str], int]:
    """Synchronise and let the partners work, in turns, until nothing moves; levels before, problems, rounds."""
    for partner in partners:
        partner.open_day()
    steps.begin(_MOST_ROUNDS)
    problems = sync.receive_stock().problems
    before = _levels(sync.stock())
    for number in range(1, _MOST_ROUNDS + 1):
        steps.round(number, "synchronising")
        report = sync.run()
        problems += [
            *report.problems,
            *(f"{code}: {failure.phase}: {failure.message}" for code, failure in report.failures),
        ]
        steps.round(number, "the partners work")
        worked = sum(partner.work() for partner in partners)
        sent = sum(len(each.sent) + len(each.send_failed) + len(each.unclear) for each in report.partners.values())
        if not worked and not sent:
            break
    problems += sync.receive_stock().problems
    steps.end()
    return before, problems, number


def _levels(stock: Iterable[StockSummary]) -> dict[str, dict[str, int]]:
    levels: dict[str, dict[str, int]] = {}
    for each in stock:
        for place in each.locations:
            if place.level is not None and place.as_of is not None:
                levels.setdefault(place.location, {})[each.sku] = place.level
    return levels
