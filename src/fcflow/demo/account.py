"""
The account of a day: where every order ended, and whether the partners' books say the same as ours.

The comparison reads the partners' books directly and trusts nothing of ours but what is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import asdict, frozen

from fcflow.audit import AuditEvent
from fcflow.demo.books import Booked, Books
from fcflow.demo.catalogue import aliases_of
from fcflow.demo.partners import SimulatedPartner
from fcflow.model import FulfilmentState, OrderState, Payment
from fcflow.stock import StockSummary
from fcflow.store import FulfilmentView, OrderView

__all__ = [
    "ENDS",
    "Day",
    "End",
    "PartnerDay",
    "differences",
    "end_of",
    "ends_of",
    "parcels_of",
    "partner_days",
    "story_of",
]

ENDS = ("shipped", "part shipped", "cancelled", "held", "backordered", "waiting", "person", "unaccounted")
"""Where an order can end the day; the last must not happen."""

_WITH_PARTNER = frozenset(
    {FulfilmentState.SENT, FulfilmentState.ACCEPTED, FulfilmentState.PART_SHIPPED, FulfilmentState.SHIPPED}
)
_NEVER_LEFT = frozenset({FulfilmentState.READY, FulfilmentState.SENDING, FulfilmentState.SEND_FAILED})


@frozen(kw_only=True)
class End:
    """Where one order ended, and why in one clause where somebody may ask."""

    order_id: str
    end: str
    why: str = ""


@frozen(kw_only=True)
class PartnerDay:
    """
    What one partner did, in fulfilment orders.

    Args:
        failed: Refused by the partner, or not to be written in its layout.

        states: State to number, as they ended.
    """

    code: str
    name: str
    way_in: str
    sent: int
    shipped: int
    in_parts: int
    cancelled: int
    failed: int
    errors: int
    states: Mapping[str, int]


@frozen(kw_only=True)
class Day:
    """
    Everything the screen and the report show.

    Args:
        left_out: Orders of the export that were not imported, with the reason.

        stock_before: Location to SKU to level, after the first stock files.

        problems: What was reported about partners' files, as it was reported.

        differences: Between the partners' books and ours; a good day has none.

        story: One order's audit trail, for the picture of its flow.
    """

    seed: int
    began: datetime
    seconds: float
    orders: Sequence[OrderView]
    left_out: Mapping[str, str]
    ends: Sequence[End]
    partners: Sequence[PartnerDay]
    stock_before: Mapping[str, Mapping[str, int]]
    stock_after: Mapping[str, Mapping[str, int]]
    problems: Sequence[str]
    differences: Sequence[str]
    rounds: int
    story: tuple[OrderView, Sequence[AuditEvent]] | None

    @property
    def counts(self) -> dict[str, int]:
        """Orders by where they ended, in the order of `ENDS`, without those nobody ended at."""
        found = Counter(end.end for end in self.ends)
        return {end: found[end] for end in ENDS if found[end]}

    @property
    def for_a_person(self) -> list[End]:
        """Orders that await a person."""
        return [end for end in self.ends if end.end == "person"]

    @property
    def is_accounted_for(self) -> bool:
        """Whether every order ended somewhere and both sides' books agree."""
        return not self.differences and not any(end.end == "unaccounted" for end in self.ends)

    def as_dict(self) -> dict[str, Any]:
        """The day as JSON values, without the orders themselves."""
        return {
            "accounted_for": self.is_accounted_for,
            "seed": self.seed,
            "began": self.began.isoformat(),
            "seconds": round(self.seconds, 3),
            "rounds": self.rounds,
            "orders": len(self.orders) + len(self.left_out),
            "ends": self.counts | {"left out": len(self.left_out)},
            "partners": [asdict(partner) for partner in self.partners],
            "for_a_person": {end.order_id: end.why for end in self.for_a_person},
            "stock_before": {place: dict(levels) for place, levels in self.stock_before.items()},
            "stock_after": {place: dict(levels) for place, levels in self.stock_after.items()},
            "problems": list(self.problems),
            "differences": list(self.differences),
        }


# ------------------------------------------------------------------ where orders ended


def ends_of(orders: Iterable[OrderView]) -> list[End]:
    """Where each order ended."""
    return [end_of(order) for order in orders]


def end_of(order: OrderView) -> End:
    """Where one order ended; what a person must look at comes before everything else."""
    end, why = _end(order)
    return End(order_id=order.order_id, end=end, why=why)


def _end(order: OrderView) -> tuple[str, str]:
    if order.needs_person:
        return "person", order.needs_person
    for view in order.fulfilments:
        if view.problem:
            return "person", f"{view.partner} says: {view.problem}"
    if order.state is OrderState.CLOSED:
        return "shipped", ""
    if order.state is OrderState.CANCELLED:
        return "cancelled", order.stored.reason or ""
    if order.state is OrderState.HELD:
        return ("held", order.held_reason) if order.held_reason else ("unaccounted", "held without a reason")
    if order.state is OrderState.BACKORDERED:
        return ("backordered", order.stored.reason) if order.stored.reason else ("unaccounted", "no reason")
    if order.state is OrderState.OPEN and order.order.payment is not Payment.PAID and not order.fulfilments:
        return "waiting", f"payment is {order.order.payment or 'not known'}"
    states = ", ".join(f"{view.fulfilment_id} {view.state.value}" for view in order.fulfilments)
    return "unaccounted", f"{order.state.value} {states}".strip()


def partner_days(partners: Sequence[SimulatedPartner], orders: Iterable[OrderView]) -> list[PartnerDay]:
    """What each partner did, by our books."""
    views = [view for order in orders for view in order.fulfilments]
    names = {
        "leeds": ("Leeds Warehousing", "FTP"),
        "dropco": ("Dropco Garden", "SFTP"),
        "postal": ("The Post Room", "HTTP"),
    }
    return [_partner_day(p.code, *names[p.code], [v for v in views if v.partner == p.code]) for p in partners]


def _partner_day(code: str, name: str, way_in: str, views: Sequence[FulfilmentView]) -> PartnerDay:
    states = Counter(view.state.value for view in views)
    return PartnerDay(
        code=code,
        name=name,
        way_in=way_in,
        sent=sum(view.sent_at is not None for view in views),
        shipped=states["shipped"],
        in_parts=sum(len(parcels_of(view)) > 1 or view.state is FulfilmentState.PART_SHIPPED for view in views),
        cancelled=states["cancelled"],
        failed=states["send_failed"] + states["unclear"],
        errors=sum(view.problem is not None for view in views),
        states=dict(states),
    )


# ------------------------------------------------------------------ both sides' books


def differences(
    partners: Iterable[SimulatedPartner], orders: Sequence[OrderView], stock: Iterable[StockSummary]
) -> list[str]:
    """
    Compare the partners' books with ours.

    Returns:
        One clause for each thing on which they do not agree: an order that only one side knows, or that arrived twice,
        other units, other tracking numbers, a unit shipped twice or not at all, another level on a shelf.
    """
    levels = {(place.location, each.sku): place.level for each in stock for place in each.locations}
    found: list[str] = []
    for partner in partners:
        ours = {v.fulfilment_id: v for order in orders for v in order.fulfilments if v.partner == partner.code}
        theirs_to_ours = {their: our for our, their in aliases_of(partner.code).items()}
        found += [f"{partner.code}: {text}" for text in partner.complaints]
        found += [f"{partner.code}: {r}: more than the shelf held" for r in partner.books.oversold]
        found += [f"{partner.code}: {text}" for text in _compared(partner.books, ours, theirs_to_ours)]
        found += [f"{partner.code}: {text}" for text in _levels(partner.books, levels, theirs_to_ours)]
    return found + [f"order {order.order_id}: {text}" for order in orders for text in _units(order)]


def _compared(books: Books, ours: Mapping[str, FulfilmentView], names: Mapping[str, str]) -> Iterator[str]:
    for reference in sorted({*books.orders, *ours}):
        booked, view = books.orders.get(reference), ours.get(reference)
        if view is None:
            yield f"{reference}: they have it, we never sent it"
        elif booked is None:
            if view.state in _WITH_PARTNER:
                yield f"{reference}: we say {view.state}, they never had it"
        else:
            for text in _one(booked, view, names):
                yield f"{reference}: {text}"


def _one(booked: Booked, view: FulfilmentView, names: Mapping[str, str]) -> Iterator[str]:
    if view.state in _NEVER_LEFT:
        yield f"they have it, we say {view.state}"
    if booked.arrivals != 1:
        yield f"it arrived {booked.arrivals} times"
    if _ours(booked.lines, names) != _by_sku(view, "quantity"):
        yield f"they read {booked.lines}, we sent {_by_sku(view, 'quantity')}"
    if _ours(booked.shipped, names) != _by_sku(view, "shipped"):
        yield f"they shipped {booked.shipped}, we count {_by_sku(view, 'shipped')}"
    if booked.is_cancelled != (view.state is FulfilmentState.CANCELLED):
        yield f"cancelled there: {booked.is_cancelled}, here: {view.state}"
    tracking = parcels_of(view)
    if tracking != {parcel.tracking for parcel in booked.parcels}:
        yield f"tracking numbers differ: {sorted(tracking)}"


def _ours(units: Mapping[str, int], names: Mapping[str, str]) -> dict[str, int]:
    return {names.get(sku, sku): count for sku, count in units.items() if count}


def parcels_of(view: FulfilmentView) -> set[str]:
    """Tracking numbers of everything that left."""
    return {number for parcel in view.shipments for number in parcel.tracking_numbers}


def _by_sku(view: FulfilmentView, count: str) -> dict[str, int]:
    skus = {line.line_id: line.sku for line in view.lines}
    units: Counter[str] = Counter()
    for line in view.progress.lines:
        units[skus[line.line_id]] += getattr(line, count)
    return {sku: n for sku, n in units.items() if n}


def _levels(books: Books, levels: Mapping[tuple[str, str], int | None], names: Mapping[str, str]) -> Iterator[str]:
    for sku, units in books.levels().items():
        level = levels.get((books.code, names.get(sku, sku)))
        if level != units:
            yield f"{sku}: {units} on their shelf, {level} by our books"


def _units(order: OrderView) -> Iterator[str]:
    """No unit leaves twice, and a closed order leaves whole."""
    for line in order.order.lines:
        shipped = sum(
            each.shipped for view in order.fulfilments for each in view.progress.lines if each.line_id == line.line_id
        )
        if shipped > line.quantity or (order.state is OrderState.CLOSED and shipped != line.quantity):
            yield f"line {line.line_id} ({line.sku}): {shipped} of {line.quantity} units shipped, order {order.state}"


# ------------------------------------------------------------------ one order's story


def story_of(
    orders: Sequence[OrderView], events: Sequence[AuditEvent]
) -> tuple[OrderView, Sequence[AuditEvent]] | None:
    """The shipped order with the most eventful way, and its part of the audit trail."""
    by_order: dict[str, list[AuditEvent]] = {}
    for event in events:
        if event.order_id is not None:
            by_order.setdefault(event.order_id, []).append(event)
    closed = [order for order in orders if order.state is OrderState.CLOSED]
    if not closed:
        return None
    best = max(closed, key=lambda o: (len({v.partner for v in o.fulfilments}), len(by_order.get(o.order_id, ()))))
    return best, by_order.get(best.order_id, [])
