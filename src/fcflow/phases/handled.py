"""
What became of the fulfilment orders that were sent since an instant, from what the store holds.

A partner that does not say when it shipped is taken to have shipped when we heard of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from fcflow.audit import AuditType
from fcflow.behaviour import Handled
from fcflow.lifecycle import Fact
from fcflow.model import FulfilmentState
from fcflow.store import FulfilmentView, Transaction

__all__ = ["handled_since"]

_CHUNK = 500
_REFUSED = ("cancelled", "short")
_LEFT = ("shipped", "delivered")
_LEAVING = (FulfilmentState.SHIPPED, FulfilmentState.PART_SHIPPED)


def handled_since(tx: Transaction, since: datetime) -> Iterator[Handled]:
    """Of each fulfilment order that was last sent at *since* or later; what we took back ourselves is left out."""
    events = tx.audit(type=AuditType.SENT, since=since)
    order_ids = list(dict.fromkeys(event.order_id for event in events if event.order_id is not None))
    heard = _heard(tx, since)
    for start in range(0, len(order_ids), _CHUNK):
        orders = tx.orders(order_ids[start : start + _CHUNK])
        sent = [
            (order.order.dispatch_by, view)
            for order in orders
            for view in order.fulfilments
            if view.sent_at is not None and view.sent_at >= since and not _taken_back(view)
        ]
        facts = tx.facts([view.fulfilment_id for _, view in sent])
        for dispatch_by, view in sent:
            yield _handled(view, facts.get(view.fulfilment_id, ()), dispatch_by, heard.get(view.fulfilment_id))


def _taken_back(view: FulfilmentView) -> bool:
    return view.state is FulfilmentState.CANCELLED and view.cancel_requested_at is not None


def _heard(tx: Transaction, since: datetime) -> dict[str, datetime]:
    """By fulfilment order, when we first heard that something left."""
    found: dict[str, datetime] = {}
    for event in tx.audit(type=AuditType.STATE_CHANGED, since=since):
        if event.fulfilment_id is not None and event.data.get("after") in _LEAVING:
            found.setdefault(event.fulfilment_id, event.at)
    return found


def _handled(
    view: FulfilmentView, facts: Iterable[Fact], dispatch_by: datetime | None, heard: datetime | None
) -> Handled:
    assert view.sent_at is not None
    told = list(facts)
    kinds = {fact.kind for fact in told}
    left = [parcel.shipped_at for parcel in view.shipments if parcel.shipped_at is not None]
    left += [fact.at for fact in told if fact.kind in _LEFT and fact.at is not None]
    return Handled(
        location=view.location,
        sent_at=view.sent_at,
        shipped_at=min(left, default=heard),
        dispatch_by=dispatch_by,
        rejected=view.cancel_requested_at is None and not kinds.isdisjoint(_REFUSED),
        erred="error" in kinds,
    )
