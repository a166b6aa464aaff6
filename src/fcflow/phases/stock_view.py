"""The stock view of one instant, from what the store holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from fcflow.allocation import day_began
from fcflow.lifecycle import is_final
from fcflow.model import OrderState
from fcflow.phases.context import ACTIVE, Context
from fcflow.stock import Demand, StockView
from fcflow.store import FulfilmentView, Transaction

__all__ = ["stock_view"]

_WAITING = (OrderState.OPEN, OrderState.BACKORDERED, OrderState.HELD)


def stock_view(
    context: Context, tx: Transaction, now: datetime, *, excluded: Mapping[str, frozenset[str]] | None = None
) -> StockView:
    """Pictures with every unit of ours laid over them, capacity used, and who must not have which order."""
    return StockView(
        context.locations,
        tx.pictures(),
        [*_demands_placed(tx), *_demands_waiting(tx)],
        tx.movements(),
        now=now,
        orders_today={
            code: tx.orders_at(code, day_began(place.calendar, now))
            for code, place in context.locations.items()
            if place.capacity_per_day is not None
        },
        excluded=excluded or {},
    )


def _demands_placed(tx: Transaction) -> list[Demand]:
    found: list[Demand] = []
    for view in tx.fulfilments(states=ACTIVE):
        found += _demands_of(view)
    return found


def _demands_of(view: FulfilmentView) -> list[Demand]:
    left = {line.line_id: line.open for line in view.progress.lines}
    return [
        Demand(location=view.location, sku=line.sku, units=units, state=view.state, sent_at=view.sent_at)
        for line in view.lines
        if (units := left.get(line.line_id, line.quantity)) > 0
    ]


def _demands_waiting(tx: Transaction) -> list[Demand]:
    found: list[Demand] = []
    for order in tx.orders(tx.order_ids(states=_WAITING)):
        if any(view.cancel_requested_at for view in order.fulfilments if not is_final(view.state)):
            continue
        skus = {line.line_id: line.sku for line in order.order.lines}
        found += [Demand(location=None, sku=skus[i], units=units) for i, units in order.unplaced.items()]
    return found
