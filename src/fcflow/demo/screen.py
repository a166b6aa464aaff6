"""What the demonstration shows while it runs and when it is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fcflow.demo.account import Day
from fcflow.demo.catalogue import PARTNERS, catalogue
from fcflow.reports import Progress as Step

__all__ = ["Steps", "console", "progress", "show"]

_MEANING = {
    "shipped": "closed: every unit left",
    "cancelled": "taken back",
    "held": "a rule holds them, with its reason",
    "backordered": "wait for stock, with the SKU",
    "waiting": "not paid yet",
    "person": "listed below",
    "unaccounted": "nobody knows",
}
_PHASES = {"status": "reading statuses of", "stock": "reading stock of", "orders": "sending to"}


def console() -> Console:
    """Standard output."""
    return Console(highlight=False)


class Steps:
    """The progress bar, in terms of the day."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._day: TaskID = bar.add_task("the day begins", total=None)
        self._text = ""

    def say(self, text: str) -> None:
        """Say what is done now."""
        self._bar.update(self._day, description=text)

    def begin(self, rounds: int) -> None:
        """From here on the rounds are counted."""
        self._bar.update(self._day, total=rounds)

    def round(self, number: int, text: str) -> None:
        """Say what is done in which round."""
        self._text = f"round {number}: {text}"
        self._bar.update(self._day, completed=number - 1, description=self._text)

    def report(self, step: Step) -> None:
        """Take a step of the synchronizer."""
        what = f"{_PHASES.get(step.phase, step.phase)} {step.partner or ''}".strip()
        of = f" {step.done}/{step.total}" if step.total else ""
        self._bar.update(self._day, description=f"{self._text}, {what}{of}")

    def end(self) -> None:
        """The day is over."""
        total = self._bar.tasks[0].total
        self._bar.update(self._day, completed=total, description="nothing moves any more")


@contextmanager
def progress(to: Console, *, shown: bool = True) -> Iterator[Steps]:
    """A progress bar on *to*."""
    columns = (SpinnerColumn(), BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=to, disable=not shown) as bar:
        yield Steps(bar)


def show(to: Console, day: Day, folder: Path) -> None:
    """Everything that happened, as tables."""
    to.print(_partners(day))
    to.print(_orders(day))
    to.print(_persons(day))
    to.print(_stock(day))
    to.print(f"[bold]{len(day.problems)}[/] things were wrong in partners' files and answers; each is in the report")
    if day.differences:
        to.print("[bold red]The partners' books and ours differ:[/]")
        for text in day.differences:
            to.print(f"  {text}", markup=False)
    else:
        to.print("[bold green]The partners' books and ours agree: nothing lost, nothing shipped twice.[/]")
    orders = len(day.orders) + len(day.left_out)
    to.print(f"{orders} orders in {day.rounds} rounds and {day.seconds:.1f} s; everything is in {folder}")
    to.print(f"  report: {folder / 'report.html'}", markup=False)
    to.print(f"  look on: {_program()} --config {folder / 'fcflow.json'} orders list", markup=False, soft_wrap=True)


def _program() -> str:
    """How this program is called from here: whoever ran ``scripts/demo`` does not have it on the path."""
    return os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).name == "fcflow" else "fcflow"


def _partners(day: Day) -> Table:
    table = Table("partner", "way in", title="What each partner did (fulfilment orders)", title_justify="left")
    for name in ("sent", "shipped", "in parts", "cancelled", "failed", "errors"):
        table.add_column(name, justify="right")
    for each in day.partners:
        counts = (each.sent, each.shipped, each.in_parts, each.cancelled, each.failed, each.errors)
        table.add_row(each.code, each.way_in, *(str(count) for count in counts))
    return table


def _orders(day: Day) -> Table:
    table = Table("orders", "meaning", title="Where the orders ended", title_justify="left")
    table.add_column("count", justify="right")
    for end, count in day.counts.items():
        table.add_row(end, _MEANING[end], str(count))
    if day.left_out:
        table.add_row("left out", "cancelled in the shop before the import", str(len(day.left_out)))
    return table


def _persons(day: Day) -> Table:
    table = Table("order", "why", title="Orders that need a person", title_justify="left")
    for end in day.for_a_person:
        table.add_row(Text(end.order_id), Text(end.why))
    return table


def _stock(day: Day) -> Table:
    table = Table("SKU", title="Stock before and after", title_justify="left")
    for partner in PARTNERS:
        table.add_column(partner, justify="right")
    for sku in catalogue():
        cells = [_change(day, partner, sku) for partner in PARTNERS]
        if any(cells):
            table.add_row(sku, *cells)
    return table


def _change(day: Day, partner: str, sku: str) -> str:
    before = day.stock_before.get(partner, {}).get(sku)
    after = day.stock_after.get(partner, {}).get(sku)
    return "" if before is None and after is None else f"{before} → {after}"
