"""``fcflow stock``: what may be sold and promised, per SKU and location."""

from __future__ import annotations

from typing import Annotated

import typer

from fcflow.cli.output import table
from fcflow.cli.session import Session, command
from fcflow.cli.shapes import stock_document, stock_rows

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Put ``stock`` into *app*."""
    command(app, "stock")(stock)


def stock(
    session: Session,
    sku: Annotated[str | None, typer.Option("--sku", help="Only this SKU.")] = None,
    location: Annotated[str | None, typer.Option("--location", "-l", help="Only this location.")] = None,
) -> None:
    """Show stock: each location's level, what may be sold, what may be promised to an order."""
    with session.synchronizer() as synchronizer:
        summaries = synchronizer.stock(sku=sku, location=location)
    rows = [row for summary in summaries for row in stock_rows(summary)]
    session.show([stock_document(summary) for summary in summaries], table("stock", rows))
