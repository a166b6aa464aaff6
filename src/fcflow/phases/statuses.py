"""
Apply what a partner said: every word into the audit trail, every fact once, the state as the fold of all facts.

A partner's word touches only what was given to that partner. Nothing a partner can write stops the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from attrs import evolve

from fcflow.aliases import as_sent, in_sent_lines
from fcflow.audit import AuditType
from fcflow.errors import LifecycleError
from fcflow.lifecycle import Fact, Progress, advance, facts_of, is_final, parcel_identity
from fcflow.model import (
    Feed,
    FulfilmentState,
    OrderState,
    Partner,
    Problem,
    Record,
    Shipment,
    Status,
    StatusUpdate,
)
from fcflow.phases.context import Context, Writing
from fcflow.phases.progress import progress_of
from fcflow.phases.receive import Apply
from fcflow.phases.state import order_state, settle
from fcflow.reports import PartnerReport
from fcflow.status import resolve_status
from fcflow.stock import Shipped
from fcflow.store import FulfilmentView, OrderView, OutboxRow, OutboxState

__all__ = ["apply_statuses", "record_facts"]

_S = FulfilmentState
_MOST_FACTS = 1000
_MOST_FACTS_OF_A_LINE = 20
_NOT_KNOWN = (_S.UNCLEAR, _S.SENDING, _S.PUBLISHING)


def apply_statuses(context: Context, partner: Partner, feed: Feed, report: PartnerReport) -> Apply:
    """How the records of a status feed are applied."""

    def apply(writing: Writing, records: Sequence[Record], unread: int) -> list[Problem]:
        return _Batch(context, partner, feed, report, writing).apply(records)

    return apply


class _Batch:
    """The messages of one file, against the orders that they speak of."""

    def __init__(self, context: Context, partner: Partner, feed: Feed, report: PartnerReport, writing: Writing) -> None:
        self.context = context
        self.partner = partner
        self.feed = feed
        self.report = report
        self.writing = writing
        self.problems: list[Problem] = []
        self.orders: dict[str, OrderView] = {}
        self.home: dict[str, str] = {}
        self.deliveries: dict[int, tuple[str, ...]] = {}
        self.facts: dict[str, list[Fact]] = {}
        self.names: dict[str, list[str]] = defaultdict(list)

    def apply(self, records: Sequence[Record]) -> list[Problem]:
        updates = [self._named(record) for record in records]
        self._load([update.reference.strip() for update in updates])
        for record, update in zip(records, updates, strict=True):
            self._say(record, update)
        return self.problems

    def _named(self, record: Record) -> StatusUpdate:
        """The message with the partner and our word for its status."""
        said: StatusUpdate = record.value
        status = said.status or resolve_status(said.raw_status, self.partner.status_words)
        return evolve(said, partner=self.partner.code, status=status)

    # ---------------------------------------------------------------- whose it is

    def _load(self, references: Sequence[str]) -> None:
        """Read every order that the file speaks of, once."""
        tx = self.writing.tx
        if self.feed.matches == "delivery":
            numbers = {int(each) for each in references if each.isascii() and each.isdigit() and len(each) < 10}
            self.deliveries = {
                each.number: each.fulfilment_ids
                for each in tx.deliveries(partner=self.partner.code, numbers=numbers)
                if each.number is not None
            }
            ids = {each for listed in self.deliveries.values() for each in listed}
            order_ids = {view.order_id for view in tx.fulfilments(ids=ids, partner=self.partner.code)}
        elif self.feed.matches == "fulfilment_id":
            views = tx.fulfilments(ids=set(references), partner=self.partner.code)
            order_ids = {view.order_id for view in views}
        elif self.feed.matches == "order_id":
            order_ids = set(references)
        else:
            by_name = tx.orders_by_reference(set(references))
            order_ids = {order_id for listed in by_name.values() for order_id in listed}
        self.orders = {order.order_id: order for order in tx.orders(sorted(order_ids))}
        mine = [v for o in self.orders.values() for v in o.fulfilments if v.partner == self.partner.code]
        self.home = {view.fulfilment_id: view.order_id for view in mine}
        self.facts = tx.facts(list(self.home))
        for view in mine:
            self.names[self._name_of(view)].append(view.fulfilment_id)

    def _of_delivery(self, reference: str) -> list[FulfilmentView]:
        """What was in a delivery, by its running number."""
        number = int(reference) if reference.isascii() and reference.isdigit() and len(reference) < 10 else 0
        return [self._view(each) for each in self.deliveries.get(number, ()) if each in self.home]

    def _name_of(self, view: FulfilmentView) -> str:
        if self.feed.matches == "fulfilment_id":
            return view.fulfilment_id
        if self.feed.matches == "order_id":
            return view.order_id
        return self.orders[view.order_id].order.reference or ""

    def _view(self, fulfilment_id: str) -> FulfilmentView:
        order = self.orders[self.home[fulfilment_id]]
        return next(view for view in order.fulfilments if view.fulfilment_id == fulfilment_id)

    def _meant(self, update: StatusUpdate) -> list[FulfilmentView]:
        """The fulfilment orders that a message can speak of: those that left before the others, then those at work."""
        views = [self._view(each) for each in self.names.get(update.reference.strip(), ())]
        left = [view for view in views if view.state not in (_S.READY, _S.SEND_FAILED)] or views
        at_work = [view for view in left if not is_final(view.state)]
        return at_work or left[-1:]

    # ---------------------------------------------------------------- one message

    def _say(self, record: Record, update: StatusUpdate) -> None:
        self.report.statuses += 1
        if self.feed.matches == "delivery":
            self._say_of_delivery(record, update)
            return
        meant = self._meant(update)
        self._note(update, meant[0] if len(meant) == 1 else None)
        if len(meant) != 1:
            self.report.unmatched += 1
            expected = f"{self.feed.matches} of one fulfilment order at {self.partner.code}"
            self._problem(record, "reference", update.reference, expected)
            return
        if update.status is None and update.raw_status is not None:
            self.report.unknown_statuses += 1
            self._problem(record, "status", update.raw_status, "a status word that is known")
            return
        self._apply(record, update, meant[0])

    def _say_of_delivery(self, record: Record, update: StatusUpdate) -> None:
        """One word on all that was in a delivery; on what ended since, it says nothing new."""
        meant = self._of_delivery(update.reference.strip())
        self._note(update, meant[0] if len(meant) == 1 else None)
        if not meant:
            self.report.unmatched += 1
            self._problem(record, "reference", update.reference, f"the number of a delivery to {self.partner.code}")
        elif update.status is None:
            self.report.unknown_statuses += 1
            self._problem(record, "status", update.raw_status, "a status word that is known")
        else:
            for view in meant:
                if not is_final(view.state):
                    self._apply(record, update, self._view(view.fulfilment_id))

    def _note(self, update: StatusUpdate, view: FulfilmentView | None) -> None:
        """Every status received is in the audit trail, repeats and strangers' too."""
        tracking = [number for parcel in update.shipments for number in parcel.tracking_numbers]
        self.writing.note(
            AuditType.FULFIL_STATUS,
            " ".join(part for part in (update.raw_status or str(update.status or ""), update.message) if part),
            fulfilment=view,
            actor=self.partner.code,
            reference=update.reference,
            status=None if update.status is None else update.status.value,
            raw_status=update.raw_status,
            tracking_numbers=tracking or None,
            carriers=[parcel.carrier for parcel in update.shipments if parcel.carrier] or None,
            error=update.message,
            at=None if update.at is None else update.at.isoformat(),
            event_id=update.event_id,
        )

    def _problem(self, record: Record, field: str, found: str | None, expected: str) -> None:
        self.problems.append(Problem(line=record.line, field=field, found=found, expected=expected, raw=record.raw))

    def _apply(self, record: Record, update: StatusUpdate, view: FulfilmentView) -> None:
        sent = as_sent(self.partner, view.fulfilment)
        facts, messages = facts_of(in_sent_lines(self.partner, update, view.fulfilment), sent)
        known = self.facts.setdefault(view.fulfilment_id, [])
        if len(known) + len(facts) > _most_facts(view) and not set(facts) <= set(known):
            self._too_many(record, view)
            return
        for message in messages:
            self.problems.append(Problem(line=record.line, message=f"{view.fulfilment_id}: {message}", raw=record.raw))
        parcels = [
            evolve(
                each,
                fulfilment_id=view.fulfilment_id,
                shipped_at=each.shipped_at or update.at,
                carrier=self.context.carriers.name_of(each.carrier, self.partner.carriers),
            )
            for each in update.shipments
        ]
        order = self.orders[view.order_id]
        order, view = record_facts(
            self.context, self.writing, order, view, facts, parcels if _left(update) else [], known, self.partner.code
        )
        if messages:
            order = _for_a_person(order, f"{view.fulfilment_id}: {messages[0]}", self.writing)
        self.orders[order.order_id] = order
        if update.status is Status.ERROR:
            self.report.errors.append(view.fulfilment_id)
        self._count(view)

    def _too_many(self, record: Record, view: FulfilmentView) -> None:
        """The word stands in the audit trail and a person is asked: each further fact would cost more than the last."""
        text = f"{view.fulfilment_id}: expected at most {_most_facts(view)} different statuses of one fulfilment order"
        self.problems.append(Problem(line=record.line, message=f"{text}, got more", raw=record.raw))
        order = self.orders[view.order_id]
        self.orders[order.order_id] = _for_a_person(order, f"{text}, got more", self.writing)

    def _count(self, view: FulfilmentView) -> None:
        counted = {
            _S.SHIPPED: self.report.shipped,
            _S.PART_SHIPPED: self.report.part_shipped,
            _S.CANCELLED: self.report.cancelled,
        }.get(view.state)
        if counted is not None and view.fulfilment_id not in counted and view.updated_at == self.writing.now:
            counted.append(view.fulfilment_id)


def _most_facts(view: FulfilmentView) -> int:
    """Facts of one fulfilment order that are applied: far more than any order has, however many lines."""
    return _MOST_FACTS + _MOST_FACTS_OF_A_LINE * len(view.lines)


def _left(update: StatusUpdate) -> bool:
    gone = (Status.SHIPPED, Status.PART_SHIPPED, Status.DELIVERED)
    return update.status in gone or any(parcel.shipped_at for parcel in update.shipments)


# ------------------------------------------------------------------ facts, whoever said them


def record_facts(
    context: Context,
    writing: Writing,
    order: OrderView,
    view: FulfilmentView,
    facts: Sequence[Fact],
    parcels: Sequence[Shipment],
    known: list[Fact],
    actor: str,
) -> tuple[OrderView, FulfilmentView]:
    """
    Keep facts about one fulfilment order and bring its state, and its order's, in line with all that is known.

    Args:
        known: Every fact kept before; the new ones are added to it.

    Returns:
        The order and the fulfilment order as they are now; both are written.
    """
    fresh = [fact for fact in dict.fromkeys(facts) if fact not in known]
    new_parcels = _new_parcels(view, parcels)
    writing.put_facts(fresh, actor)
    writing.put_parcels(new_parcels)
    for parcel in new_parcels:
        said = " ".join(part for part in (parcel.carrier, parcel.service, *parcel.tracking_numbers) if part)
        urls = context.carriers.urls_of(parcel.carrier, parcel.tracking_numbers)
        writing.note(AuditType.SHIPMENT, said, fulfilment=view, actor=actor, tracking_urls=urls or None)
    if not fresh and not new_parcels:
        return order, view
    known += fresh
    progress = progress_of(context.partners.get(view.partner or ""), view.fulfilment, known)
    if _overclaims(order, view, progress):
        return _contradicted(order, view, writing, actor)
    changed = _advanced(view, progress, fresh, writing, actor)
    changed = evolve(changed, shipments=(*view.shipments, *new_parcels))
    writing.put_fulfilments([changed])
    place = context.locations.get(view.location)
    if place is not None and place.stock.tracked:
        writing.put_movements(_left_now(view, changed, fresh, writing.now))
    if actor == view.partner and view.state in _NOT_KNOWN and changed.state not in _NOT_KNOWN:
        _prove_delivery(changed, writing)
    order = order.replacing(changed)
    order = _unpinned(order, changed, writing)
    if progress.conflicts:
        order = _for_a_person(order, f"{view.fulfilment_id}: {progress.conflicts[0]}", writing)
    return settle(order, writing), changed


def _new_parcels(view: FulfilmentView, parcels: Sequence[Shipment]) -> list[Shipment]:
    """Those that were not known: a parcel said again, with another instant, is the same parcel."""
    known = {_parcel_key(each) for each in view.shipments}
    return [each for key, each in {_parcel_key(each): each for each in parcels}.items() if key not in known]


def _parcel_key(parcel: Shipment) -> object:
    arrived = parcel.delivered_at is not None
    if parcel.tracking_numbers:
        return parcel_identity(parcel.tracking_numbers), arrived, parcel.lines
    return parcel.carrier, parcel.service, arrived, parcel.lines


def _open_problem(view: FulfilmentView, progress: Progress, fresh: Sequence[Fact]) -> str | None:
    """The error text that stands; one that a person took note of comes back only when it is said anew."""
    if progress.problem is None:
        return None
    said_now = [fact.message for fact in fresh if fact.kind == "error"]
    return said_now[-1] if said_now else view.problem


def _advanced(
    view: FulfilmentView, progress: Progress, fresh: Sequence[Fact], writing: Writing, actor: str
) -> FulfilmentView:
    state = progress.state or view.state
    try:
        state = advance(view.state, state)
    except LifecycleError:
        state = view.state
    changed = evolve(
        view,
        state=state,
        progress=progress,
        problem=_open_problem(view, progress, fresh),
        excluded=view.excluded or (bool(progress.released) and view.cancel_requested_at is None),
        parked=None if is_final(state) else view.parked,
        sent_at=view.sent_at or (writing.now if view.partner else None),
        updated_at=writing.now,
    )
    if state is not view.state:
        before, after = view.state.value, state.value
        writing.note(
            AuditType.STATE_CHANGED, f"{before} -> {after}", fulfilment=changed, actor=actor, before=before, after=after
        )
    return changed


def _left_now(before: FulfilmentView, after: FulfilmentView, facts: Sequence[Fact], now: datetime) -> Iterator[Shipped]:
    """The units that new facts say have left; at the partner's instant, or where it tells none at ours."""
    at = max((fact.at for fact in facts if fact.at is not None and fact.kind == "shipped"), default=now)
    known = {line.line_id: line.shipped for line in before.progress.lines}
    skus = {line.line_id: line.sku for line in after.lines}
    for line in after.progress.lines:
        more = line.shipped - known.get(line.line_id, 0)
        if more > 0:
            yield Shipped(
                location=after.location, sku=skus[line.line_id], units=more, at=min(at, now), sent_at=after.sent_at
            )


def _overclaims(order: OrderView, view: FulfilmentView, progress: Progress) -> bool:
    """Whether units that were set free, and given to another location since, are claimed again."""
    mine = evolve(view, progress=progress).claimed
    before = view.claimed
    others: dict[str, int] = defaultdict(int)
    for other in order.fulfilments:
        if other.fulfilment_id != view.fulfilment_id:
            for line_id, units in other.claimed.items():
                others[line_id] += units
    ordered = {line.line_id: line.quantity for line in order.order.lines}
    return any(
        units > before.get(line_id, 0) and units + others[line_id] > ordered.get(line_id, 0)
        for line_id, units in mine.items()
    )


def _contradicted(
    order: OrderView, view: FulfilmentView, writing: Writing, actor: str
) -> tuple[OrderView, FulfilmentView]:
    """What was acted on stands: the word is kept, a person is asked, and what has not left yet is held back."""
    now_at = ", ".join(
        v.location for v in order.fulfilments if v.fulfilment_id != view.fulfilment_id and any(v.claimed.values())
    )
    text = f"{view.fulfilment_id}: {view.location} speaks of units that were given to {now_at} since"
    writing.note(AuditType.CONFLICT, text, fulfilment=view, actor=actor)
    order = _for_a_person(order, text, writing)
    unsent = any(each.state in (_S.READY, _S.SEND_FAILED) for each in order.fulfilments)
    if unsent and order.stored.held_reason is None:
        held = evolve(order.stored, held_reason=text, updated_at=writing.now)
        order = evolve(order, stored=held)
        order = evolve(order, stored=evolve(held, state=order_state(order)))
        writing.put_order(order.stored)
        writing.note(AuditType.HELD, text, order_id=order.order_id)
    return order, view


def _for_a_person(order: OrderView, text: str, writing: Writing) -> OrderView:
    if order.stored.needs_person is not None:
        return order
    stored = evolve(order.stored, needs_person=text, updated_at=writing.now)
    writing.put_order(stored)
    return evolve(order, stored=stored)


def _unpinned(order: OrderView, view: FulfilmentView, writing: Writing) -> OrderView:
    """A location that cancelled does not keep the order because a person once moved it there."""
    if view.state is not _S.CANCELLED or order.pinned != view.location:
        return order
    stored = evolve(order.stored, pinned=None, state=OrderState.OPEN, updated_at=writing.now)
    writing.put_order(stored)
    return evolve(order, stored=stored)


def _prove_delivery(view: FulfilmentView, writing: Writing) -> None:
    """The partner's answer proves that an unclear delivery arrived, and as it arrived whole, all that is in it."""
    open_states = (OutboxState.UNCLEAR, OutboxState.PENDING, OutboxState.PUBLISHING)
    for row in writing.tx.deliveries_with([view.fulfilment_id]):
        if row.state in open_states:
            writing.tx.update_delivery(
                row.outbox_id, state=OutboxState.SENT, answer="proved by a status", updated_at=writing.now
            )
            _prove_others(row, view, writing)


def _prove_others(row: OutboxRow, view: FulfilmentView, writing: Writing) -> None:
    writing.flush()
    for other in writing.tx.fulfilments(ids=row.fulfilment_ids):
        if other.state in _NOT_KNOWN and other.fulfilment_id != view.fulfilment_id:
            sent = evolve(
                other,
                state=advance(other.state, _S.SENT),
                label_printed_at=writing.now,
                label_error=None,
                sent_at=other.sent_at or writing.now,
                updated_at=writing.now,
            )
            writing.put_fulfilments([sent])
            writing.note(AuditType.SENT, f"in {row.name}, as {view.fulfilment_id} proves", fulfilment=sent)
