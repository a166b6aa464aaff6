"""``fcflow orders``: bring orders in, look at them, and change what happens to them by hand."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from fcflow.carriers import Carriers
from fcflow.cli.exit_codes import ExitCode
from fcflow.cli.layouts import named_layout
from fcflow.cli.output import clean, print_json, table
from fcflow.cli.session import Session, command
from fcflow.cli.shapes import explanation_document, facts, fulfilment_document, order_document, order_row
from fcflow.documents import orders_from_documents
from fcflow.errors import Fault, FormatError, OrderError
from fcflow.model import FulfilmentState, Order, OrderState, Problem

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fcflow.store import FulfilmentView, OrderView

__all__ = ["app"]

app = typer.Typer(name="orders", help="Bring orders in, look at them, move them by hand.", no_args_is_help=True)

Ids = Annotated[list[str], typer.Argument(metavar="ORDER...", help="Order ids.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why; it goes to the audit trail.", show_default=False)]
States = list(dict.fromkeys([*(state.value for state in OrderState), *(state.value for state in FulfilmentState)]))

_OVER = (OrderState.CANCELLED, OrderState.CLOSED)
_ASKED = "a partner has it, so it is only asked for: the order goes on until the partner says that it is cancelled"


@command(app, "import")
def import_orders(
    session: Session,
    file: Annotated[Path, typer.Argument(help="Orders: JSON (a list), JSON lines, or what the layout reads.")],
    layout: Annotated[
        str | None, typer.Option(help="Layout that reads the file, such as `shopify-orders`; default: fcflow's JSON.")
    ] = None,
    location: Annotated[str | None, typer.Option(help="Put them straight into this location.")] = None,
    fulfilled_elsewhere: Annotated[
        bool, typer.Option("--fulfilled-elsewhere", help="The location has them already: follow them, never send them.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Import the good orders where others have faults.")
    ] = False,
) -> ExitCode:
    """
    Import orders from a file.

    Where one order has a fault none is imported, unless `--skip-bad` is given. Importing the same file again changes
    nothing.
    """
    orders, problems = read_orders(file, layout, skip_bad=skip_bad)
    if problems and not skip_bad:
        raise OrderError(str(file), [_fault(problem) for problem in problems])
    with session.synchronizer() as sync:
        report = sync.add_orders(
            orders, location=location, fulfilled_elsewhere=fulfilled_elsewhere, actor=session.actor
        )
    counts = {name: len(getattr(report, name)) for name in ("added", "unchanged", "amended", "refused")}
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    bad = [{"what": "not imported", "why": str(problem)} for problem in problems]
    bad += [{"what": name, "why": why} for name, why in report.refused.items()]
    document = {**_lists(report), "problems": [str(problem) for problem in problems]}
    session.show(document, Text(said), *([table("", bad)] if bad else []))
    return ExitCode.NEEDS_PERSON if bad else ExitCode.FINE


def _lists(report: Any) -> dict[str, Any]:
    return {name: getattr(report, name) for name in ("added", "unchanged", "amended", "refused")}


def read_orders(file: Path, layout: str | None, *, skip_bad: bool = False) -> tuple[list[Order], list[Problem]]:
    """The orders of *file*, and what could not be read; without a layout a fault raises unless *skip_bad*."""
    try:
        payload = file.read_bytes()
    except OSError as error:
        raise OrderError(str(file), [Fault(f"cannot be read: {error.strerror}")]) from None
    if layout is None:
        documents = _read_json(file, payload)
        return _each(documents) if skip_bad else (orders_from_documents(documents, source=str(file)), [])
    loaded = named_layout(layout)
    if loaded.kind != "orders":
        raise OrderError(str(file), [Fault("the layout does not read orders", found=layout, expected="kind orders")])
    try:
        records, problems = loaded.read(payload)
    except FormatError as error:
        raise OrderError(str(file), [Fault(str(error))]) from None
    return [record.value for record in records if isinstance(record.value, Order)], problems


def _read_json(file: Path, payload: bytes) -> list[Any]:
    try:
        text = payload.decode("utf-8-sig")
        if text.lstrip().startswith("["):
            return list(json_module.loads(text))
        return [_line(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    except UnicodeDecodeError as error:
        raise OrderError(str(file), [Fault(f"byte {error.start} is not UTF-8")]) from None
    except json_module.JSONDecodeError as error:
        expected = "JSON or JSON lines; for another format name its layout by --layout"
        fault = Fault(f"not JSON: {error.msg}", line=error.lineno, column=error.colno, expected=expected)
        raise OrderError(str(file), [fault]) from None


def _each(documents: list[Any]) -> tuple[list[Order], list[Problem]]:
    """The orders that have no fault, and the faults of the others."""
    orders: dict[str, Order] = {}
    problems: list[Problem] = []
    for index, document in enumerate(documents):
        try:
            [order] = orders_from_documents([document])
        except OrderError as error:
            paths = [fault.path.removeprefix("$[0]") for fault in error.faults]
            problems += [_problem(fault, f"$[{index}]{path}") for fault, path in zip(error.faults, paths, strict=True)]
            continue
        if orders.setdefault(order.order_id, order) != order:
            problems.append(Problem(field=f"$[{index}].order_id", message="stands twice with different content"))
    return list(orders.values()), problems


def _problem(fault: Fault, path: str) -> Problem:
    found = None if fault.found is None else str(fault.found)
    return Problem(field=path, message=fault.message or None, found=found, expected=fault.expected)


def _line(number: int, line: str) -> Any:
    try:
        return json_module.loads(line)
    except json_module.JSONDecodeError as error:
        raise json_module.JSONDecodeError(error.msg, "\n" * (number - 1) + line, number - 1 + error.pos) from None


def _fault(problem: Problem) -> Fault:
    return Fault(
        problem.message or "",
        path=problem.field or "",
        line=problem.line,
        column=problem.column,
        found=problem.found,
        expected=problem.expected,
    )


@command(app, "list")
def list_orders(
    session: Session,
    location: Annotated[str | None, typer.Option("--location", "-l", help="Only those at this location.")] = None,
    state: Annotated[
        str | None, typer.Option("--state", "-s", help=f"Only those in this state: {', '.join(States)}.")
    ] = None,
    partner: Annotated[str | None, typer.Option("--partner", "-p", help="Only those at this partner.")] = None,
    needs_person: Annotated[bool, typer.Option("--needs-person", help="Only those that await a person.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="Rows to skip.")] = 0,
) -> None:
    """List orders, filtered by location and state."""
    if state is not None and state not in States:
        raise typer.BadParameter(f"there is no state {state!r}; there are {', '.join(States)}")
    with session.synchronizer() as sync:
        views = sync.orders(
            location=location,
            state=state,
            partner=partner,
            needs_person=needs_person or None,
            limit=limit,
            offset=offset,
        )
    if not views and location is not None and location not in session.config.locations:
        raise typer.BadParameter(f"there is no location {location!r}; there are {', '.join(session.config.locations)}")
    session.show([order_document(view) for view in views], table("orders", [order_row(view) for view in views]))


@command(app, "show")
def show(session: Session, order: Annotated[str, typer.Argument(help="Order id.")]) -> None:
    """Show one order: what was bought, how far it got, and what each location does with it."""
    with session.synchronizer() as sync:
        view, carriers = sync.order(order), sync.carriers
    document = order_document(view)
    lines = [
        {"line": line.line_id, "SKU": line.sku, "quantity": line.quantity, "title": line.title}
        for line in view.order.lines
    ]
    parcels = _parcels(view, carriers)
    session.show(
        document,
        table(f"order {order}", facts({**document, **document["order"]})),
        table("lines", lines),
        table("ships to", facts(document["order"].get("ship_to", {})), empty="no address"),
        *(shown for each in view.fulfilments for shown in _fulfilment(view, each)),
        *([table("shipments", parcels)] if parcels else []),
    )


def _fulfilment(view: OrderView, each: FulfilmentView) -> list[RenderableType]:
    """What one location is to ship, and what became of each line; columns in which nothing is counted are left out."""
    skus = {line.line_id: line.sku for line in view.order.lines}
    document = fulfilment_document(each)
    rows = [{"line": row["line_id"], "SKU": skus.get(row["line_id"]), **row} for row in document["lines"]]
    shown = [name for name in rows[0] if name != "line_id" and any(row[name] for row in rows)] if rows else []
    lines = [{name: row[name] for name in shown} for row in rows]
    return [table(f"fulfilment order {each.fulfilment_id}", facts(document)), table("", lines)]


def _parcels(view: OrderView, carriers: Carriers) -> list[dict[str, Any]]:
    return [
        {
            "fulfilment order": each.fulfilment_id,
            "carrier": parcel.carrier,
            "service": parcel.service,
            "tracking": ", ".join(parcel.tracking_numbers),
            "to follow": "\n".join(carriers.urls_of(parcel.carrier, parcel.tracking_numbers)) or None,
            "shipped": parcel.shipped_at,
        }
        for each in view.fulfilments
        for parcel in each.shipments
    ]


@command(app, "move")
def move(
    session: Session,
    orders: Ids,
    to: Annotated[str, typer.Option("--to", help="Code of the location.", show_default=False)],
    override: Annotated[
        str | None, typer.Option(help="Move it although the partner has it: the reason, kept in the audit trail.")
    ] = None,
) -> ExitCode:
    """Move orders to a location by hand; rules leave them there until they are released."""
    with session.synchronizer() as sync:
        return session.show_change(sync.move(orders, to, override=override, actor=session.actor), f"moved to {to}")


@command(app, "hold")
def hold(session: Session, orders: Ids, reason: Reason) -> ExitCode:
    """Hold orders back: they are not allocated until they are released; what a partner has already goes on."""
    with session.synchronizer() as sync:
        return session.show_change(sync.hold(orders, reason, actor=session.actor), "held")


@command(app, "release")
def release(session: Session, orders: Ids) -> ExitCode:
    """Release orders: from hold, from where they were moved by hand, from being given up."""
    with session.synchronizer() as sync:
        return session.show_change(sync.release(orders, actor=session.actor), "released")


@command(app, "cancel")
def cancel(session: Session, orders: Ids, reason: Reason) -> ExitCode:
    """Cancel orders: at once before they were sent, afterwards as a request that awaits the partner."""
    with session.synchronizer() as sync:
        report = sync.cancel(orders, reason, actor=session.actor)
        asked = [order for order in report.changed if sync.order(order).state not in _OVER]
    return session.show_change(report, "cancelled", dict.fromkeys(asked, _ASKED))


@command(app, "mark-shipped")
def mark_shipped(
    session: Session,
    fulfilments: Annotated[list[str], typer.Argument(metavar="FULFILMENT...", help="Fulfilment order ids.")],
    carrier: Annotated[str | None, typer.Option(help="Who carries it.")] = None,
    service: Annotated[str | None, typer.Option(help="The carrier's service.")] = None,
    tracking: Annotated[list[str] | None, typer.Option(help="A tracking number; may stand several times.")] = None,
) -> ExitCode:
    """Record that a location shipped, where no status will come."""
    with session.synchronizer() as sync:
        report = sync.mark_shipped(
            fulfilments, carrier=carrier, service=service, tracking_numbers=tuple(tracking or ()), actor=session.actor
        )
    return session.show_change(report, "shipped")


@command(app, "explain")
def explain(
    session: Session,
    order: Annotated[str, typer.Argument(help="Order id.")],
    why_not: Annotated[str | None, typer.Option(metavar="LOCATION", help="Say only why not there.")] = None,
) -> None:
    """Explain what the rules make of an order now: every rule's verdict, and why each location does or does not win."""
    with session.synchronizer() as sync:
        explanation, view = sync.explain(order), sync.order(order)
    if why_not is not None:
        said = explanation.why_not(why_not)
        if session.as_json:
            print_json({"order_id": explanation.order_id, "location": why_not, "why_not": said})
        else:
            session.show(None, *(Text(clean(line)) for line in said.splitlines()))
        return
    if session.as_json:
        print_json(explanation_document(explanation))
        return
    now = [f"  now: {each.fulfilment_id} {each.state.value} at {each.location}" for each in view.fulfilments]
    now = now or [f"  now: {view.state.value}" + (f", {note}" if (note := order_row(view)["note"]) else "")]
    session.show(None, *(Text(clean(line)) for line in [*str(explanation).splitlines(), *now]))
