"""What a run would do: the real phases, on a copy of the store, over ways in that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from attrs import evolve

from fcflow.model import Feed, Partner
from fcflow.phases.context import Context
from fcflow.phases.send import target_of
from fcflow.plugins import Plugins
from fcflow.reports import Change, Plan, PlannedDelivery, RunReport
from fcflow.store import OrderView, Store
from fcflow.transports import (
    Capabilities,
    Delivery,
    Fetched,
    Finding,
    Offer,
    Outcome,
    Presence,
    Query,
    Receipt,
    Transport,
)

__all__ = ["plan"]


def plan(context: Context, run: Callable[[Context], RunReport]) -> Plan:
    """Run *run* on a copy of the store; the partners are asked, and nothing is written to them."""
    copy = context.store.snapshot()
    deliveries: list[PlannedDelivery] = []

    def open_way(partner: Partner, connection: str) -> Transport:
        return _DryTransport(context.open(partner, connection), partner, deliveries)

    try:
        before = _all_orders(copy)
        dry = evolve(context, store=copy, open_way=open_way, in_transaction=None, plugins=_deaf(context))
        report = run(dry)
        changes = _changes(before, _all_orders(copy))
    finally:
        copy.close()
    return Plan(report=report, deliveries=tuple(deliveries), changes=tuple(changes))


def _deaf(context: Context) -> Plugins:
    """The plugins without their observers: nobody is told of what did not happen."""
    return evolve(context.plugins, observers={})


class _DryTransport:
    """A way in through which nothing leaves."""

    def __init__(self, real: Transport, partner: Partner, deliveries: list[PlannedDelivery]) -> None:
        self._real = real
        self._partner = partner
        self._deliveries = deliveries

    @property
    def capabilities(self) -> Capabilities:
        return self._real.capabilities

    def send(self, delivery: Delivery) -> Receipt:
        planned = PlannedDelivery(
            partner=self._partner.code,
            name=delivery.name,
            target=target_of(self._partner, delivery.feed, delivery.name),
            content=delivery.content,
            content_type=delivery.content_type,
            fulfilment_ids=delivery.fulfilment_ids,
        )
        self._deliveries.append(planned)
        return Receipt(name=delivery.name, size=delivery.size)

    def look_up(self, delivery: Delivery) -> Presence:
        return self._real.look_up(delivery)

    def list(self, feed: Feed, query: Query) -> Iterator[Offer]:
        return self._real.list(feed, query)

    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        return self._real.fetch(offer, sink)

    def settle(self, offer: Offer, outcome: Outcome) -> None:
        """Nothing is put away."""

    def check(self) -> Sequence[Finding]:
        return self._real.check()

    def close(self) -> None:
        self._real.close()


# ------------------------------------------------------------------ what would be different


def _all_orders(store: Store) -> dict[str, OrderView]:
    with store.reading() as tx:
        return {order.order_id: order for order in tx.orders(tx.order_ids())}


def _changes(before: dict[str, OrderView], after: dict[str, OrderView]) -> Iterator[Change]:
    for order_id, order in after.items():
        earlier = before[order_id]
        if order != earlier:
            yield from _order_changes(earlier, order)
            yield from _fulfilment_changes(earlier, order)


def _order_changes(before: OrderView, after: OrderView) -> Iterator[Change]:
    for what in ("state", "held_reason", "needs_person"):
        old, new = getattr(before.stored, what), getattr(after.stored, what)
        if old != new:
            yield _change(after.order_id, None, what, old, new)


def _fulfilment_changes(before: OrderView, after: OrderView) -> Iterator[Change]:
    earlier = {view.fulfilment_id: view for view in before.fulfilments}
    for view in after.fulfilments:
        old = earlier.get(view.fulfilment_id)
        if old is None:
            yield _change(after.order_id, view.fulfilment_id, "location", None, view.location)
        for what in ("state", "label_error", "problem", "parked"):
            was, is_now = None if old is None else getattr(old, what), getattr(view, what)
            if was != is_now:
                yield _change(after.order_id, view.fulfilment_id, what, was, is_now)


def _change(order_id: str, fulfilment_id: str | None, what: str, before: object, after: object) -> Change:
    old, new = (None if each is None else str(each) for each in (before, after))
    return Change(order_id=order_id, fulfilment_id=fulfilment_id, what=what, before=old, after=new)
