"""
Send what is ready to the partner who ships it.

Each delivery is one row of the outbox, written with its bytes before anything leaves, marked *publishing* right before
it can become visible, and *sent* when the partner has it. Whatever interrupts, the next run reads from the row what may
be done: send again, note that it arrived, or leave it to a person.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import RLock

from attrs import evolve, frozen

from fcflow.audit import AuditType
from fcflow.errors import (
    FcflowError,
    FormatError,
    TransportError,
    TransportRefusedError,
    TransportUnclearError,
)
from fcflow.formats import Batch, Layout
from fcflow.formats.names import render_name
from fcflow.lifecycle import advance, is_final
from fcflow.model import Feed, FulfilmentState, OrderState, Partner, ShippingOrder
from fcflow.phases.context import LOG, Context, Writing, describe
from fcflow.phases.outcomes import RESTATED, WAITING, Minted, Outcomes
from fcflow.phases.retry import attempt
from fcflow.phases.shipping import shipping_order
from fcflow.phases.state import settle, withdraw
from fcflow.reports import PartnerReport, PhaseFailure, RunReport
from fcflow.store import FulfilmentView, Lease, OrderView, OutboxRow, OutboxState
from fcflow.transports import Delivery, Presence, Receipt, Transport

__all__ = ["send_orders", "target_of"]

_S = FulfilmentState
_UNDER_WAY = (_S.SENDING, _S.PUBLISHING)
_UNFINISHED = (OutboxState.PENDING, OutboxState.SENDING, OutboxState.PUBLISHING)


def send_orders(context: Context, partner: Partner, report: RunReport) -> None:
    """Send what is ready to *partner*; what an interrupted run left behind comes first."""
    feed = partner.orders
    if feed is None:
        return
    name = f"{partner.code}:orders"
    with context.store.lease(name, ttl_s=context.lease_s, clock=context.clock) as lease:
        with context.store.reading() as tx:
            left = tx.deliveries(partner=partner.code, states=_UNFINISHED)
            views = tx.fulfilments(partner=partner.code, states=WAITING)
        waiting = [view.fulfilment_id for view in views if _may_leave(view)]
        if left or waiting:
            _Sender(context, partner, feed, lease, report.partner(partner.code)).run(left, waiting)


def _may_leave(view: FulfilmentView) -> bool:
    return not view.parked and not view.cancel_requested_at


def _kept_back(order: OrderView, view: FulfilmentView) -> bool:
    """Whether the seller keeps an order back; of what the partner has already a changed order is no reason."""
    changes = order.stored.amendment is not None and view.state not in RESTATED
    return order.state is OrderState.HELD or changes


def target_of(partner: Partner, feed: Feed, name: str) -> str:
    """Where a delivery goes, for people."""
    url = partner.connections[feed.connection].url.rstrip("/")
    return "/".join(part for part in (url, feed.path.strip("/"), name) if part)


class _Stop(Exception):
    """The partner cannot be reached: nothing more is tried in this run."""


class _Once:
    """Calls through at the first call only, and knows whether it was called."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self.called = False

    def __call__(self) -> None:
        if not self.called:
            self._call()
            self.called = True


@frozen
class _Written:
    """What goes into one delivery."""

    views: tuple[FulfilmentView, ...]
    values: tuple[ShippingOrder, ...]
    content: bytes


class _Sender:
    """One partner's deliveries of one run."""

    def __init__(self, context: Context, partner: Partner, feed: Feed, lease: Lease, report: PartnerReport) -> None:
        self.context = context
        self.partner = partner
        self.feed = feed
        self.lease = lease
        self.report = report
        self.outcomes = Outcomes(context, partner, feed, lease, report)
        self.layout: Layout = context.layout_of(feed)
        self.done = 0
        self.total = 0
        self.freed: list[str] = []
        self.stopped = False
        self.desk = RLock()
        """Whoever writes or reports holds it; lanes are side by side only while they talk to the partner."""

    def run(self, left: Sequence[OutboxRow], waiting: Sequence[str]) -> None:
        self.total = len(left) + len(waiting)
        with ExitStack() as stack:
            try:
                transport = stack.enter_context(self.context.way(self.partner, self.feed.connection))
            except FcflowError as error:
                self.outcomes.put_off(waiting, error)
                raise
            with suppress(_Stop):
                self._finish_all(transport, left, waiting)
                self._send_all(transport, [*waiting, *self.freed])

    def _finish_all(self, transport: Transport, left: Sequence[OutboxRow], waiting: Sequence[str]) -> None:
        for row in left:
            try:
                self._finish(transport, row)
            except _Stop as stop:
                self.outcomes.put_off([*waiting, *self.freed], stop.__cause__ or stop)
                raise

    # ---------------------------------------------------------------- what is new

    def _send_all(self, transport: Transport, waiting: Sequence[str]) -> None:
        ids = self._everything_open(waiting) if self.feed.mode == "all_open" and waiting else list(waiting)
        size = self.feed.batch or max(1, len(ids))
        batches = deque(ids[start : start + size] for start in range(0, len(ids), size))
        try:
            self._in_lanes(transport, batches)
        except _Stop as stop:
            self.outcomes.put_off([each for batch in batches for each in batch], stop.__cause__ or stop)
            raise

    def _in_lanes(self, transport: Transport, batches: deque[list[str]]) -> None:
        """One lane a connection; each takes the next batch until there is none, or one of them failed."""
        more = min(self.partner.limits.parallel, len(batches)) - 1
        if more <= 0:
            self._lane(transport, batches)
            return
        with ThreadPoolExecutor(more, thread_name_prefix=f"fcflow-{self.partner.code}") as pool:
            others = [pool.submit(self._lane_beside, transport, batches) for _ in range(more)]
            try:
                self._lane(transport, batches)
            except BaseException:
                self.stopped = True
                raise
            for other in others:
                other.result()

    def _lane_beside(self, transport: Transport, batches: deque[list[str]]) -> None:
        with ExitStack() as stack:
            mine = self._further_way(stack, transport)
            if mine is not None:
                self._lane(mine, batches)

    def _further_way(self, stack: ExitStack, transport: Transport) -> Transport | None:
        """A connection more; ``None`` where the partner allows none, so that the other lanes do the work."""
        try:
            mine = stack.enter_context(self.context.way(self.partner, self.feed.connection, beside=transport))
            refusal = next((found.message for found in mine.check() if found.level == "error"), None)
        except FcflowError as error:
            mine, refusal = None, describe(error)
        if refusal is not None:
            LOG.info("%s: no further connection: %s", self.partner.code, refusal)
            return None
        return mine

    def _lane(self, transport: Transport, batches: deque[list[str]]) -> None:
        while not self.stopped:
            with self.desk:
                minted = self._mint(batches.popleft()) if batches else None
                if minted is None and not batches:
                    return
            if minted is not None:
                self._send_or_stop(transport, minted)

    def _send_or_stop(self, transport: Transport, minted: Minted) -> None:
        try:
            self._send(transport, minted)
        except BaseException:
            self.stopped = True
            raise

    def _everything_open(self, waiting: Sequence[str]) -> list[str]:
        with self.context.store.reading() as tx:
            restated = tx.fulfilments(partner=self.partner.code, states=RESTATED)
        return [*(view.fulfilment_id for view in restated), *waiting]

    def _mint(self, ids: Sequence[str]) -> Minted | None:
        """Write one delivery into the outbox; what cannot be written is marked and left out."""
        with self.context.writing(lease=self.lease) as writing:
            wanted = self._still_wanted(writing, ids)
            batch = self._batch(writing)
            written = self._encode(writing, wanted, batch)
            return self._put(writing, written, batch) if written.views else None

    @property
    def _counter(self) -> str:
        return f"{self.partner.code}:orders"

    def _batch(self, writing: Writing) -> Batch:
        """What the next delivery is; its number is taken once something is in it."""
        number = writing.tx.next_number(self._counter)
        return Batch(number=number, at=writing.now, partner=self.partner.code, key=self.context.new_key())

    def _still_wanted(self, writing: Writing, ids: Sequence[str]) -> list[tuple[OrderView, FulfilmentView]]:
        views = writing.tx.fulfilments(ids=ids)
        orders = {order.order_id: order for order in writing.tx.orders([view.order_id for view in views])}
        wanted = WAITING if self.feed.mode == "new" else (*WAITING, *RESTATED)
        return [
            (orders[view.order_id], view)
            for view in views
            if view.state in wanted and _may_leave(view) and not _kept_back(orders[view.order_id], view)
        ]

    def _encode(self, writing: Writing, wanted: list[tuple[OrderView, FulfilmentView]], batch: Batch) -> _Written:
        """The bytes of a batch; one order that does not fit its layout does not keep the others from leaving."""
        while wanted:
            try:
                values = tuple(shipping_order(self.context, self.partner, order, view) for order, view in wanted)
                return _Written(tuple(view for _, view in wanted), values, self.layout.encode(values, batch=batch))
            except FormatError as error:
                bad = self._misfits(wanted) or {view.fulfilment_id: error for _, view in wanted}
                for _, view in wanted:
                    if view.fulfilment_id in bad:
                        self._left_out(writing, view, bad[view.fulfilment_id])
                wanted = [each for each in wanted if each[1].fulfilment_id not in bad]
        return _Written((), (), b"")

    def _left_out(self, writing: Writing, view: FulfilmentView, error: FormatError) -> None:
        """What the partner has already only stays out of this file."""
        if view.state in RESTATED:
            self.report.problems.append(f"{view.fulfilment_id}: not repeated: {describe(error)}")
        else:
            self.outcomes.refused(writing, view, error)

    def _misfits(self, views: Sequence[tuple[OrderView, FulfilmentView]]) -> dict[str, FormatError]:
        found: dict[str, FormatError] = {}
        for order, view in views:
            try:
                self.layout.encode([shipping_order(self.context, self.partner, order, view)])
            except FormatError as error:
                found[view.fulfilment_id] = error
        return found

    def _put(self, writing: Writing, written: _Written, batch: Batch) -> Minted:
        views, content, key = written.views, written.content, batch.key
        number = writing.tx.counter(self._counter)
        alone = written.values[0] if len(views) == 1 else None
        name = render_name(
            self.feed.name, partner=self.partner.code, now=writing.now, counter=number, key=key, order=alone
        )
        ids = tuple(view.fulfilment_id for view in views)
        delivery = Delivery(
            key=key,
            feed=self.feed,
            name=name,
            content=content,
            content_type=self.layout.content_type,
            fulfilment_ids=ids,
        )
        row = {
            "partner": self.partner.code,
            "delivery_key": key,
            "name": name,
            "target": target_of(self.partner, self.feed, name),
            "content": content,
            "content_type": self.layout.content_type,
            "size": delivery.size,
            "sha256": delivery.sha256,
            "layout_hash": self.layout.hash,
            "state": OutboxState.SENDING,
            "attempts": 1,
            "number": number,
            "created_at": writing.now,
            "updated_at": writing.now,
        }
        outbox_id = writing.tx.add_delivery(row, ids)
        self.outcomes.move(writing, views, _S.SENDING)
        for view in views:
            writing.note(AuditType.SENDING, f"in {name}", fulfilment=view, delivery=outbox_id)
        return Minted(outbox_id, delivery, 1)

    # ---------------------------------------------------------------- one delivery

    def _send(self, transport: Transport, minted: Minted) -> None:
        """Send one delivery, and again while it is certain that the partner has not got it."""
        for last in (*[False] * (self.partner.limits.tries - 1), True):
            if self._send_once(transport, minted, last):
                break
        with self.desk:
            self.done += len(minted.delivery.fulfilment_ids)
            self.context.tell("orders", self.partner.code, self.done, self.total, minted.delivery.name)

    def _send_once(self, transport: Transport, minted: Minted, last: bool) -> bool:
        """Send and write down what became of it; ``False`` asks to be called again."""
        published = _Once(lambda: self._at_desk(lambda: self.outcomes.mark_publishing(minted)))
        delivery = evolve(minted.delivery, publishing=published)
        try:
            receipt = attempt(lambda: transport.send(delivery), self.partner.limits)
        except TransportUnclearError as error:
            return self._look(transport, minted, error, last)
        except TransportRefusedError as error:
            with self.desk:
                self.outcomes.failed(minted, error, counts=True)
        except TransportError as error:
            self._give_up(minted, error)
            raise _Stop from error
        else:
            # The partner has it: a store that is busy for a moment must not make that unclear.
            attempt(lambda: self._at_desk(lambda: self.outcomes.sent(minted, receipt)), self.partner.limits)
        return True

    def _at_desk(self, call: Callable[[], None]) -> None:
        with self.desk:
            call()

    def _give_up(self, minted: Minted, error: TransportError) -> None:
        with self.desk:
            self.outcomes.failed(minted, error, counts=False)
            self.report.failures.append(PhaseFailure("orders", error.code, describe(error)))

    def _look(self, transport: Transport, minted: Minted, error: FcflowError, last: bool) -> bool:
        """
        The answer was lost: look what the partner has before anything is done again.

        What lies there under its temporary name was not published, so it may be sent again. What is absent may have
        been collected, or the partner's server may be working on it still: that proves nothing.
        """
        presence = self._presence(transport, minted.delivery)
        missing = presence is Presence.PARTLY
        if missing and not last:
            return False
        with self.desk:
            if presence is Presence.PRESENT:
                self.outcomes.sent(minted, Receipt(name=minted.delivery.name, size=minted.delivery.size))
            elif missing:
                self.report.failures.append(PhaseFailure("orders", error.code, describe(error)))
            else:
                self.outcomes.unclear(minted, f"{describe(error)} (looked: {presence})")
        return True

    def _presence(self, transport: Transport, delivery: Delivery) -> Presence:
        try:
            return transport.look_up(delivery)
        except FcflowError:
            return Presence.UNKNOWN

    def _finish(self, transport: Transport, row: OutboxRow) -> None:
        """Go on with a delivery that an earlier run left behind."""
        with self.context.store.reading() as tx:
            content = tx.delivery_content(row.outbox_id) or b""
        doubtful = row.error_code == TransportUnclearError.code
        minted = Minted(row.outbox_id, _delivery_of(self.feed, row, content), row.attempts + 1, doubtful)
        if row.state == OutboxState.PUBLISHING:
            presence = self._presence(transport, minted.delivery)
            if presence is Presence.PRESENT:
                self.outcomes.sent(minted, Receipt(name=row.name, size=row.size))
                return
            if not _is_missing(transport, presence) and self.feed.repeats != "recognised":
                self.outcomes.unclear(minted, f"interrupted while it was published (looked: {presence})")
                return
            minted = evolve(minted, doubtful=minted.doubtful or not _is_missing(transport, presence))
        again = self._again(minted, row)
        if again is not None:
            self._send(transport, again)

    def _again(self, minted: Minted, row: OutboxRow) -> Minted | None:
        """Mark a delivery as being sent again; ``None`` where something in it must not leave any more."""
        with self.context.writing(lease=self.lease) as writing:
            views = writing.tx.fulfilments(ids=row.fulfilment_ids)
            minted = evolve(minted, doubtful=minted.doubtful or any(view.state is _S.UNCLEAR for view in views))
            orders = {order.order_id: order for order in writing.tx.orders(view.order_id for view in views)}
            why_not = self._why_not(minted, row, [(orders[view.order_id], view) for view in views])
            if why_not is not None:
                self._abandon(writing, minted, row, orders, why_not)
                return None
            writing.tx.update_delivery(
                minted.outbox_id,
                state=OutboxState.SENDING,
                attempts=minted.attempts,
                error_code=TransportUnclearError.code if minted.doubtful else None,
                updated_at=writing.now,
            )
            self.outcomes.move(writing, views, _S.SENDING)
            for view in views:
                writing.note(AuditType.RESENT, f"{row.name} again", fulfilment=view, delivery=row.outbox_id)
        return minted

    def _why_not(self, minted: Minted, row: OutboxRow, parts: Sequence[tuple[OrderView, FulfilmentView]]) -> str | None:
        """Why the bytes of a delivery must not leave as they are, or ``None``."""
        repeats = row.replaces is not None or minted.doubtful or self.feed.mode == "all_open"
        for order, view in parts:
            if is_final(view.state):
                return f"{view.fulfilment_id} is {view.state}"
            if view.cancel_requested_at is not None:
                return f"{view.fulfilment_id} is to be cancelled"
            if view.state in RESTATED and not repeats:
                return f"{view.fulfilment_id} is {view.state} already"
            if _kept_back(order, view):
                return f"order {order.order_id} is held, or waits for its amendment"
        return None

    def _abandon(
        self, writing: Writing, minted: Minted, row: OutboxRow, orders: Mapping[str, OrderView], why_not: str
    ) -> None:
        """
        Give a delivery up before it leaves.

        Where nothing of it left for certain its fulfilment orders are free again; the next delivery takes those that
        may still go.
        """
        text = f"not sent: {why_not}"
        code = TransportUnclearError.code if minted.doubtful else None
        state = OutboxState.UNCLEAR if minted.doubtful else OutboxState.FAILED
        writing.tx.update_delivery(row.outbox_id, state=state, answer=text, error_code=code, updated_at=writing.now)
        for order in orders.values():
            mine = [each for each in order.fulfilments if each.fulfilment_id in row.fulfilment_ids]
            for view in mine:
                writing.note(AuditType.SEND_FAILED, f"{row.name}: {text}", fulfilment=view, delivery=row.outbox_id)
            under_way = [view for view in mine if view.state in _UNDER_WAY]
            if minted.doubtful:
                self._locked_again(writing, under_way, text)
            else:
                self._free(writing, order, under_way)
        if minted.doubtful or row.replaces is not None:
            self.report.problems.append(f"{row.name}: {text}")

    def _locked_again(self, writing: Writing, views: Sequence[FulfilmentView], text: str) -> None:
        unclear = [
            evolve(view, state=advance(view.state, _S.UNCLEAR), label_error=text, updated_at=writing.now)
            for view in views
        ]
        writing.put_fulfilments(unclear)
        self.report.unclear += [view.fulfilment_id for view in unclear]

    def _free(self, writing: Writing, order: OrderView, views: Sequence[FulfilmentView]) -> None:
        for view in views:
            ready = advance(advance(view.state, _S.SENDING), _S.READY)
            free = evolve(view, state=ready, updated_at=writing.now)
            writing.put_fulfilments([free])
            if view.cancel_requested_at is not None:
                [free] = withdraw([free], "cancelled before it left", writing)
            else:
                self.freed.append(view.fulfilment_id)
            order = order.replacing(free)
        settle(order, writing)


def _is_missing(transport: Transport, presence: Presence) -> bool:
    """
    Whether the partner has not got what an earlier run began to publish.

    A file that is absent may have been collected; nobody collects posts.
    """
    return presence is Presence.PARTLY or (presence is Presence.ABSENT and not transport.capabilities.lists)


def _delivery_of(feed: Feed, row: OutboxRow, content: bytes) -> Delivery:
    return Delivery(
        key=row.delivery_key,
        feed=feed,
        name=row.name,
        content=content,
        content_type=row.content_type,
        fulfilment_ids=row.fulfilment_ids,
    )
