"""``fcflow sync`` and ``fcflow plan``: run all phases or one, once or again and again, or see what would happen."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from fcflow.cli.exit_codes import ExitCode, code_of_error, code_of_run
from fcflow.cli.output import clean, print_error, print_json, table
from fcflow.cli.session import Session, command
from fcflow.errors import FcflowError, TransientError

if TYPE_CHECKING:
    from fcflow.reports import Plan as PlanReport
    from fcflow.reports import PlannedDelivery, RunReport
    from fcflow.synchronizer import Synchronizer

__all__ = ["register"]

Partners = Annotated[
    list[str] | None, typer.Option("--partner", "-p", help="Only this partner; may stand several times.")
]

_ALWAYS = ("partner", "sent", "shipped")


class Phase(StrEnum):
    """What ``--phase`` names."""

    STATUSES = "statuses"
    STOCK = "stock"
    ALLOCATE = "allocate"
    SEND = "send"


def register(app: typer.Typer) -> None:
    """Put ``sync`` and ``plan`` into *app*."""
    command(app, "sync")(sync)
    command(app, "plan")(plan)


def sync(
    session: Session,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would happen; change nothing anywhere.")
    ] = False,
    partner: Partners = None,
    phase: Annotated[Phase | None, typer.Option(help="Only this phase.")] = None,
    watch: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.1, help="Again and again, with this pause between runs.")
    ] = None,
) -> ExitCode:
    """
    Synchronise: receive statuses and stock, allocate, send.

    With `--watch` it goes on until it is interrupted (or told to end: SIGTERM), and a run that has begun is finished.
    """
    if dry_run:
        return plan(session, partner)
    _known(session, partner)
    if watch is None:
        with session.synchronizer() as synchronizer:
            return _once(session, synchronizer, partner, phase, compact=False)
    return _watch(session, partner, phase, watch)


def _watch(session: Session, partner: list[str] | None, phase: Phase | None, pause_s: float) -> ExitCode:
    code = ExitCode.FINE
    with session.synchronizer() as synchronizer, _until_told() as told:
        while True:
            code = _again(session, synchronizer, partner, phase)
            if told.wait(pause_s):
                return code


def _again(session: Session, synchronizer: Synchronizer, partner: list[str] | None, phase: Phase | None) -> ExitCode:
    """One run of many: what may go away by itself is reported, and the next run tries again."""
    try:
        return _once(session, synchronizer, partner, phase, compact=True)
    except FcflowError as error:
        if not isinstance(error, TransientError):
            raise
        print_error(error, as_json=session.as_json, debug=session.debug)
        return code_of_error(error)


@contextmanager
def _until_told() -> Iterator[Event]:
    """An event that SIGINT and SIGTERM set, so that a run is never cut in the middle."""
    told = Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: told.set()) for number in signals}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _once(
    session: Session, synchronizer: Synchronizer, partner: list[str] | None, phase: Phase | None, *, compact: bool
) -> ExitCode:
    with session.progress():
        report = _phase(synchronizer, partner, phase)()
    if session.as_json:
        print_json(report.as_dict(), compact=compact)
    elif compact and _is_quiet(report):
        session.show(None, Text(f"{clean(report.finished_at)}: nothing new"))
    else:
        session.show(None, *_report(report))
    return code_of_run(report)


def _is_quiet(report: RunReport) -> bool:
    allocated = report.allocation is not None and report.allocation.count
    return not allocated and all(partner.is_quiet for partner in report.partners.values())


def _phase(synchronizer: Synchronizer, partner: list[str] | None, phase: Phase | None) -> Callable[[], RunReport]:
    calls: dict[Phase | None, Callable[[], RunReport]] = {
        None: lambda: synchronizer.run(partners=partner or None),
        Phase.STATUSES: lambda: synchronizer.receive_statuses(partners=partner or None),
        Phase.STOCK: lambda: synchronizer.receive_stock(partners=partner or None),
        Phase.ALLOCATE: synchronizer.allocate,
        Phase.SEND: lambda: synchronizer.send_orders(partners=partner or None),
    }
    return calls[phase]


def _known(session: Session, partner: list[str] | None) -> None:
    for code in partner or ():
        if code not in session.config.partners:
            raise typer.BadParameter(f"there is no partner {code!r}; there are {', '.join(session.config.partners)}")


def _report(report: RunReport) -> list[RenderableType]:
    shown: list[RenderableType] = []
    if report.allocation is not None:
        rows = [{"location": code, "allocated": len(ids)} for code, ids in sorted(report.allocation.allocated.items())]
        rest = ("held", "backordered", "kept")
        rows += [{"location": f"({name})", "allocated": len(getattr(report.allocation, name))} for name in rest]
        shown.append(table("allocated", [row for row in rows if row["allocated"]]))
    if report.partners:
        shown.append(table("partners", _narrow(report.rows())))
    shown += [
        Text(clean(f"{code}: {failed.phase} failed: {failed.message}"), "red") for code, failed in report.failures
    ]
    shown += [Text(clean(problem), "yellow") for problem in report.problems]
    if report.needs_person:
        said = "1 order needs" if report.needs_person == 1 else f"{report.needs_person} orders need"
        shown.append(Text(f"{said} a person: fcflow orders list --needs-person", "yellow"))
    return shown


def _narrow(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without the columns in which nothing is counted, so that they fit a terminal."""
    kept = [name for name in rows[0] if name in _ALWAYS or any(row[name] for row in rows)]
    return [{name: row[name] for name in kept} for row in rows]


# ------------------------------------------------------------------ plan


def plan(
    session: Session,
    partner: Partners = None,
    show_bytes: Annotated[bool, typer.Option("--bytes", help="Show the exact content of each delivery.")] = False,
    write: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write each delivery into this folder, byte for byte.")
    ] = None,
) -> ExitCode:
    """Show all that a synchronisation would do now, down to the bytes; nothing is changed anywhere."""
    _known(session, partner)
    with session.synchronizer() as synchronizer, session.progress():
        planned = synchronizer.plan(partners=partner or None)
    if write is not None:
        _write(planned, write)
    session.show(planned.as_dict(), *_planned(planned, show_bytes=show_bytes))
    return code_of_run(planned.report)


def _planned(planned: PlanReport, *, show_bytes: bool) -> list[RenderableType]:
    deliveries = [
        {"partner": d.partner, "name": d.name, "to": d.target, "bytes": len(d.content), "orders": len(d.fulfilment_ids)}
        for d in planned.deliveries
    ]
    changes: list[dict[str, Any]] = [
        {"order": c.fulfilment_id or c.order_id, "what": c.what, "before": c.before, "after": c.after}
        for c in planned.changes
    ]
    shown: list[RenderableType] = [table("would be sent", deliveries), table("would change", changes)]
    for delivery in planned.deliveries if show_bytes else ():
        shown += [Text(f"--- {delivery.name}", "bold"), *_content(delivery)]
    return shown


def _content(delivery: PlannedDelivery) -> list[Text]:
    text = delivery.content.decode("utf-8", "backslashreplace")
    return [Text("".join(map(_visible, line.rstrip("\r")))) for line in text.split("\n")]


def _visible(character: str) -> str:
    """The character, or where it could steer a terminal its escape."""
    shown = character.isprintable() or character == "\t"
    return character if shown else character.encode("unicode_escape").decode("ascii")


def _write(planned: PlanReport, folder: Path) -> None:
    for delivery in planned.deliveries:
        place = folder / delivery.partner
        place.mkdir(parents=True, exist_ok=True)
        (place / Path(delivery.name).name).write_bytes(delivery.content)
