"""``fcflow audit``: everything that happened, in order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from fcflow.audit import AuditType
from fcflow.cli.output import table
from fcflow.cli.session import Session, command
from fcflow.cli.shapes import audit_row

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Put ``audit`` into *app*."""
    command(app, "audit")(audit)


def audit(
    session: Session,
    order: Annotated[str | None, typer.Option("--order", "-o", help="Only this order.")] = None,
    type: Annotated[
        AuditType | None, typer.Option("--type", "-t", case_sensitive=False, help="Only this type.")
    ] = None,
    location: Annotated[str | None, typer.Option("--location", "-l", help="Only this location.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only what happened since; UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 200,
) -> None:
    """Print the audit trail, every status that a partner sent among it (type FULFIL_STATUS)."""
    instant = since.replace(tzinfo=UTC) if since is not None else None
    with session.synchronizer() as synchronizer:
        events = synchronizer.audit(order_id=order, type=type, since=instant, location=location, limit=limit)
    session.show(events, table("audit trail", [audit_row(event) for event in events]))
