"""``fcflow outbox``: every delivery, its exact bytes and outcome; send again, or settle what is unclear."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fcflow.cli.exit_codes import ExitCode
from fcflow.cli.output import plain, table
from fcflow.cli.session import Session, command
from fcflow.cli.shapes import facts, outbox_row
from fcflow.errors import LifecycleError

__all__ = ["app"]

app = typer.Typer(name="outbox", help="Every delivery: its bytes and what became of it.", no_args_is_help=True)

Reason = Annotated[str, typer.Option("--reason", help="Why; it goes to the audit trail.", show_default=False)]


class State(StrEnum):
    """How far a delivery got, as ``--state`` names it."""

    PENDING = "pending"
    SENDING = "sending"
    PUBLISHING = "publishing"
    SENT = "sent"
    FAILED = "failed"
    UNCLEAR = "unclear"
    SETTLED = "settled"


class Settled(StrEnum):
    """How a person settles what is unclear."""

    SENT = "sent"
    NOT_SENT = "not_sent"
    CANCELLED = "cancelled"


@command(app, "list")
def list_outbox(
    session: Session,
    partner: Annotated[str | None, typer.Option("--partner", "-p", help="Only this partner.")] = None,
    state: Annotated[
        State | None,
        typer.Option("--state", "-s", help="Only this state."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 100,
) -> None:
    """List deliveries."""
    with session.synchronizer() as synchronizer:
        rows = synchronizer.outbox(partner=partner, state=state, limit=limit)
    session.show(rows, table("outbox", [outbox_row(row) for row in rows]))


@command(app, "show")
def show(
    session: Session,
    delivery: Annotated[int, typer.Argument(help="Id of the delivery.")],
    content: Annotated[
        bool, typer.Option("--content", help="Write its bytes to standard output, nothing else.")
    ] = False,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write its bytes into this file.")] = None,
) -> None:
    """Show one delivery; its bytes on request."""
    with session.synchronizer() as synchronizer:
        row = next(iter(synchronizer.outbox(outbox_id=delivery)), None)
        if row is None:
            raise LifecycleError(f"there is no delivery {delivery}")
        held = synchronizer.outbox_content(delivery) if content or output is not None else b""
    if output is not None:
        output.write_bytes(held)
    if content:
        sys.stdout.buffer.write(held)
        return
    ids = [{"fulfilment order": each} for each in row.fulfilment_ids]
    session.show(row, table(f"delivery {delivery}", facts(plain(row))), table("holds", ids))


@command(app, "resend")
def resend(
    session: Session,
    deliveries: Annotated[list[int], typer.Argument(metavar="DELIVERY...", help="Ids of deliveries.")],
    reason: Reason,
) -> ExitCode:
    """Send deliveries again, as new ones: only when the partner is known not to have them."""
    with session.synchronizer() as synchronizer:
        return session.show_change(synchronizer.resend(deliveries, reason, actor=session.actor), "will be sent again")


@command(app, "resolve")
def resolve(
    session: Session,
    fulfilments: Annotated[list[str], typer.Argument(metavar="FULFILMENT...", help="Fulfilment order ids.")],
    outcome: Annotated[Settled, typer.Option("--outcome", help="What is true.", show_default=False)],
    reason: Reason,
) -> ExitCode:
    """Settle what is unclear or was given up: a person says what is true."""
    with session.synchronizer() as synchronizer:
        report = synchronizer.resolve(fulfilments, outcome.value, reason, actor=session.actor)
    return session.show_change(report, f"settled as {outcome.value}")
