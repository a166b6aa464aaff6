"""What became of a delivery, written into the outbox, its fulfilment orders and the audit trail together."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from fcflow.audit import AuditType
from fcflow.errors import FcflowError, TransportUnclearError
from fcflow.lifecycle import advance
from fcflow.model import Feed, FulfilmentState, Partner
from fcflow.phases.context import Context, Writing, describe
from fcflow.reports import PartnerReport
from fcflow.store import FulfilmentView, Lease, OutboxState
from fcflow.transports import Delivery, Receipt

__all__ = ["RESTATED", "WAITING", "Minted", "Outcomes"]

_S = FulfilmentState

WAITING = (_S.READY, _S.SEND_FAILED)
"""What is still to leave."""

RESTATED = (_S.SENT, _S.ACCEPTED, _S.PART_SHIPPED)
"""What the partner has, and a feed of all open orders says again."""

_ARRIVED = (*RESTATED, _S.SHIPPED)
_PAST_SENDING = (*_ARRIVED, _S.CANCELLED)
"""What becomes of a delivery changes nothing about these: the partner has them, or has let them go."""


@frozen
class Minted:
    """
    A delivery that stands in the outbox.

    Args:
        doubtful: An earlier attempt may have arrived, so that no later failure proves that the partner has nothing.
    """

    outbox_id: int
    delivery: Delivery
    attempts: int
    doubtful: bool = False


class Outcomes:
    """Writes down what became of one partner's deliveries."""

    def __init__(self, context: Context, partner: Partner, feed: Feed, lease: Lease, report: PartnerReport) -> None:
        self.context = context
        self.partner = partner
        self.feed = feed
        self.lease = lease
        self.report = report

    def move(self, writing: Writing, views: Sequence[FulfilmentView], state: FulfilmentState) -> None:
        """Advance those that the delivery is about to bring; one that is already further stays where it is."""
        moved = [
            evolve(view, state=advance(view.state, state), updated_at=writing.now)
            for view in views
            if view.state not in _PAST_SENDING
        ]
        writing.put_fulfilments(moved)

    def mark_publishing(self, minted: Minted) -> None:
        with self.context.writing(lease=self.lease) as writing:
            writing.tx.update_delivery(minted.outbox_id, state=OutboxState.PUBLISHING, updated_at=writing.now)
            self.move(writing, writing.tx.fulfilments(ids=minted.delivery.fulfilment_ids), _S.PUBLISHING)

    def sent(self, minted: Minted, receipt: Receipt) -> None:
        with self.context.writing(lease=self.lease) as writing:
            writing.tx.update_delivery(
                minted.outbox_id,
                state=OutboxState.SENT,
                answer=receipt.answer,
                error_code=None,
                sent_at=writing.now,
                updated_at=writing.now,
            )
            views = writing.tx.fulfilments(ids=minted.delivery.fulfilment_ids)
            writing.put_fulfilments([_as_sent(view, writing) for view in views])
            for view in views:
                writing.note(
                    AuditType.SENT,
                    f"in {minted.delivery.name}",
                    fulfilment=view,
                    delivery=minted.outbox_id,
                    answer=receipt.answer,
                )
        self.report.deliveries += 1
        self.report.sent += [view.fulfilment_id for view in views if view.state not in _ARRIVED]

    def failed(self, minted: Minted, error: FcflowError, *, counts: bool) -> None:
        text = describe(error)
        if minted.doubtful:
            self.unclear(minted, f"{text} (an earlier attempt may have arrived)")
            return
        with self.context.writing(lease=self.lease) as writing:
            writing.tx.update_delivery(
                minted.outbox_id,
                state=OutboxState.FAILED,
                answer=text,
                error_code=error.code,
                updated_at=writing.now,
            )
            for view in writing.tx.fulfilments(ids=minted.delivery.fulfilment_ids):
                if view.state not in _PAST_SENDING:
                    self.refused(writing, view, error, counts=counts, delivery=minted.outbox_id)

    def refused(
        self,
        writing: Writing,
        view: FulfilmentView,
        error: FcflowError,
        *,
        counts: bool = True,
        delivery: int | None = None,
    ) -> None:
        """The label error of the ancestor: it did not leave, and this is why; given up after so many refusals."""
        text = describe(error)
        attempts = view.attempts + (1 if counts else 0)
        spent = attempts >= self.partner.limits.max_attempts
        failed = evolve(
            view,
            state=advance(view.state, _S.SENDING if view.state in WAITING else view.state),
            attempts=attempts,
            label_error=text,
            parked=f"refused {attempts} times: {text}" if spent else None,
            updated_at=writing.now,
        )
        failed = evolve(failed, state=advance(failed.state, _S.SEND_FAILED))
        writing.put_fulfilments([failed])
        writing.note(
            AuditType.SEND_FAILED, text, fulfilment=failed, code=error.code, attempts=attempts, delivery=delivery
        )
        if spent:
            writing.note(AuditType.PARKED, failed.parked or "", fulfilment=failed)
        self.report.send_failed.append(view.fulfilment_id)

    def unclear(self, minted: Minted, text: str) -> None:
        """Nobody can know whether it arrived; a person settles it, unless the partner recognises repeats."""
        again = self.feed.repeats == "recognised" and minted.attempts < self.partner.limits.max_attempts
        state = OutboxState.PENDING if again else OutboxState.UNCLEAR
        with self.context.writing(lease=self.lease) as writing:
            writing.tx.update_delivery(
                minted.outbox_id,
                state=state,
                answer=text,
                error_code=TransportUnclearError.code,
                updated_at=writing.now,
            )
            for view in writing.tx.fulfilments(ids=minted.delivery.fulfilment_ids):
                if view.state in _PAST_SENDING:
                    continue
                unclear = evolve(view, state=advance(view.state, _S.UNCLEAR), label_error=text, updated_at=writing.now)
                writing.put_fulfilments([unclear])
                writing.note(AuditType.UNCLEAR, text, fulfilment=unclear, delivery=minted.outbox_id)
                self.report.unclear.append(view.fulfilment_id)

    def put_off(self, ids: Sequence[str], error: BaseException) -> None:
        """Not tried, since the partner cannot be reached: they stay as they are, and say why."""
        if not ids:
            return
        text = f"not tried: {describe(error)}"
        with self.context.writing(lease=self.lease) as writing:
            views = writing.tx.fulfilments(ids=ids)
            late = [evolve(each, label_error=text, updated_at=writing.now) for each in views if each.state in WAITING]
            writing.put_fulfilments(late)


def _as_sent(view: FulfilmentView, writing: Writing) -> FulfilmentView:
    if view.state in _PAST_SENDING:
        return view
    return evolve(
        view,
        state=advance(view.state, _S.SENT),
        label_printed_at=writing.now,
        label_error=None,
        attempts=0,
        sent_at=writing.now,
        updated_at=writing.now,
    )
