"""The stock view of one instant, from what the store holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from fractions import Fraction

from fcflow.allocation import day_began
from fcflow.behaviour import behaviour
from fcflow.lifecycle import is_final
from fcflow.model import OrderState
from fcflow.phases.context import ACTIVE, Context
from fcflow.phases.handled import handled_since
from fcflow.stock import Demand, StockView
from fcflow.store import FulfilmentView, Transaction

__all__ = ["stock_view"]

_WAITING = (OrderState.OPEN, OrderState.BACKORDERED, OrderState.HELD)


def stock_view(
    context: Context,
    tx: Transaction,
    now: datetime,
    *,
    excluded: Mapping[str, frozenset[str]] | None = None,
    any_rules: bool = False,
) -> StockView:
    """
    Pictures with every unit of ours laid over them, capacity used, and who must not have which order.

    Args:
        any_rules: Whether other rules than the context's own will ask; behaviour is measured only if one may.
    """
    asked = any_rules or context.ready.needs_behaviour or (context.rules is not None and context.rules.needs_behaviour)
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
        measures=_measures(context, tx, now) if asked else {},
    )


def _measures(context: Context, tx: Transaction, now: datetime) -> dict[tuple[str, str], Fraction]:
    found = behaviour(handled_since(tx, now - timedelta(days=context.lately.days)), now=now)
    return {
        (code, name): value
        for code, each in found.items()
        for name, value in each.measures(context.lately.least_orders).items()
    }


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
