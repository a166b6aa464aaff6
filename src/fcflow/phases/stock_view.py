"""The stock view of one instant, from what the store holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from fcflow.lifecycle import is_final
from fcflow.model import Location, OrderState
from fcflow.phases.context import ACTIVE, Context
from fcflow.stock import Demand, Picture, Shipped, StockView
from fcflow.store import FulfilmentView, Transaction

__all__ = ["stock_view"]

_WAITING = (OrderState.OPEN, OrderState.BACKORDERED, OrderState.HELD)


def stock_view(
    context: Context, tx: Transaction, now: datetime, *, excluded: Mapping[str, frozenset[str]] | None = None
) -> StockView:
    """Pictures with every unit of ours laid over them, capacity used, and who must not have which order."""
    pictures = tx.pictures()
    return StockView(
        context.locations,
        pictures,
        [*_demands_placed(tx), *_demands_waiting(tx)],
        _shipped(tx, pictures),
        now=now,
        orders_today={
            code: tx.orders_at(code, _day_began(place, now))
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


def _shipped(tx: Transaction, pictures: list[Picture]) -> list[Shipped]:
    """Units that left after the oldest picture; older ones no picture can have missed."""
    if not pictures:
        return []
    oldest = min(picture.as_of for picture in pictures)
    return [
        Shipped(location=view.location, sku=line.sku, units=units, at=shipped_at, sent_at=view.sent_at)
        for view, shipped_at in tx.shipped_since(oldest)
        for line in view.lines
        for units in [sum(each.shipped for each in view.progress.lines if each.line_id == line.line_id)]
        if units > 0
    ]


def _day_began(place: Location, now: datetime) -> datetime:
    """When the working day began that an order of now would count to: after the cut-off it is the next one."""
    local = now.astimezone(ZoneInfo(place.calendar.zone))
    began = datetime.combine(local.date(), time.min, tzinfo=local.tzinfo)
    cut_off = place.calendar.cut_off
    if cut_off is None:
        return began.astimezone(UTC)
    at_cut_off = datetime.combine(local.date(), cut_off, tzinfo=local.tzinfo)
    return (at_cut_off if local >= at_cut_off else at_cut_off - timedelta(days=1)).astimezone(UTC)
