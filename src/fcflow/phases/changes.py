"""What a person may do by hand, order by order, with the reason why not where it is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from attrs import evolve
from sqlalchemy.engine import Connection

from fcflow.audit import AuditType
from fcflow.errors import LifecycleError
from fcflow.lifecycle import Fact, advance, is_final, is_locked, parcel_identity
from fcflow.model import FulfilmentState, OrderState, Shipment
from fcflow.phases.allocate import OTHERWISE, place_at
from fcflow.phases.context import Context, Writing
from fcflow.phases.intake import differences
from fcflow.phases.state import ENDED, order_state, settle, withdraw
from fcflow.phases.statuses import record_facts
from fcflow.reports import ChangeReport
from fcflow.store import FulfilmentView, OrderView, OutboxState

__all__ = ["cancel", "hold", "mark_shipped", "move", "release", "resend", "resolve"]

_S = FulfilmentState
_NOT_KNOWN = (_S.UNCLEAR, _S.SENDING, _S.PUBLISHING)
_EACH = Callable[[Writing, str], None]


def _each(context: Context, ids: Iterable[str], actor: str, connection: Connection | None, act: _EACH) -> ChangeReport:
    """Do something to each id; a refusal is kept and the others go on, all in one transaction."""
    changed: list[str] = []
    refused: dict[str, str] = {}
    with context.writing(connection=connection, actor=actor) as writing:
        for each in dict.fromkeys(ids):
            try:
                act(writing, each)
                changed.append(each)
            except LifecycleError as error:
                refused[each] = str(error)
    return ChangeReport(changed=changed, refused=refused)


def _order(writing: Writing, order_id: str) -> OrderView:
    writing.flush()
    view = writing.tx.order(order_id)
    if view is None:
        raise LifecycleError(f"order {order_id} is not known")
    return view


def _going_on(writing: Writing, order_id: str) -> OrderView:
    view = _order(writing, order_id)
    if view.state in ENDED:
        raise LifecycleError(f"order {order_id} is {view.state}")
    return view


def _fulfilment(writing: Writing, fulfilment_id: str) -> tuple[OrderView, FulfilmentView]:
    writing.flush()
    found = writing.tx.fulfilments(ids=[fulfilment_id])
    if not found:
        raise LifecycleError(f"fulfilment order {fulfilment_id} is not known")
    order = _order(writing, found[0].order_id)
    return order, next(view for view in order.fulfilments if view.fulfilment_id == fulfilment_id)


# ------------------------------------------------------------------ move


def move(
    context: Context,
    order_ids: Iterable[str],
    to: str,
    *,
    override: str | None,
    actor: str,
    connection: Connection | None,
) -> ChangeReport:
    """Give whole orders to a location by hand; rules leave them there until they are released."""
    context.require_location(to)
    return _each(context, order_ids, actor, connection, lambda writing, i: _move(context, writing, i, to, override))


def _move(context: Context, writing: Writing, order_id: str, to: str, override: str | None) -> None:
    view = _going_on(writing, order_id)
    if view.held_reason:
        raise LifecycleError(f"order {order_id} cannot move: it is held ({view.held_reason}); release it first")
    out = [each for each in view.fulfilments if is_locked(each.state) and each.location != to]
    if out and override is None:
        raise LifecycleError(_locked(out[0]))
    for each in out:
        _refuse_vague(each)
    back = [each for each in view.fulfilments if not is_final(each.state) and each.location != to]
    if not back and not view.unplaced:
        raise LifecycleError(f"order {order_id} is at {to} already")
    before = ", ".join(each.location for each in back) or "nowhere"
    for each in withdraw(back, f"moved to {to}" + (f": {override}" if override else ""), writing):
        view = view.replacing(each)
    stored = evolve(
        view.stored, pinned=to, state=OrderState.OPEN, reason=None, needs_person=None, updated_at=writing.now
    )
    writing.put_order(stored)
    writing.note(AuditType.MOVED, f"{before} -> {to}", order_id=order_id, location=to, before=before, override=override)
    place_at(context, evolve(view, stored=stored), to, writing, reason="moved there by hand")


def _refuse_vague(view: FulfilmentView) -> None:
    """Units that may have been shipped can be given to nobody else."""
    if view.state is _S.PART_SHIPPED and not any(line.shipped for line in view.progress.lines):
        raise LifecycleError(
            f"order {view.order_id} cannot move: {view.location} shipped a part of {view.fulfilment_id} and did not "
            "say which units; await its word, or mark it shipped"
        )


def _locked(view: FulfilmentView) -> str:
    since = "" if view.sent_at is None else f" on {view.sent_at:%Y-%m-%d}"
    what = "it may have been sent" if view.state is _S.UNCLEAR else "it was sent"
    return (
        f"order {view.order_id} cannot move: {what} to {view.location}{since}; "
        "only the partner can cancel it, or use override with a reason"
    )


# ------------------------------------------------------------------ hold and release


def hold(
    context: Context, order_ids: Iterable[str], reason: str, *, actor: str, connection: Connection | None
) -> ChangeReport:
    """Keep orders from being allocated and sent; what is with a partner already goes on."""

    def act(writing: Writing, order_id: str) -> None:
        view = _going_on(writing, order_id)
        stored = evolve(view.stored, held_reason=reason, updated_at=writing.now)
        stored = evolve(stored, state=order_state(evolve(view, stored=stored)))
        writing.put_order(stored)
        writing.note(AuditType.HELD, reason, order_id=order_id)

    return _each(context, order_ids, actor, connection, act)


def release(context: Context, order_ids: Iterable[str], *, actor: str, connection: Connection | None) -> ChangeReport:
    """
    Lift what holds orders back: a hold, a hand-made move, parked deliveries, a question to a person.

    An error text of the partner is taken note of by it, and awaits nobody until the partner says it anew.

    An amendment that waits for a partner is given up: what the partner works by stays the order.
    """
    return _each(context, order_ids, actor, connection, _release)


def _current(view: OrderView, fulfilment: FulfilmentView) -> FulfilmentView:
    return next(each for each in view.fulfilments if each.fulfilment_id == fulfilment.fulfilment_id)


def _release(writing: Writing, order_id: str) -> None:
    view = _going_on(writing, order_id)
    stored = view.stored
    waiting = [each for each in view.fulfilments if each.parked or each.problem]
    if not (stored.held_reason or stored.pinned or stored.needs_person or waiting):
        raise LifecycleError(f"order {order_id} is neither held nor pinned nor parked, and awaits nobody")
    given_up = None if stored.amendment is None else differences(stored.order, stored.amendment)
    held_by_rule = stored.held_reason is not None and stored.held_reason == stored.reason
    lifted = (stored.rule_id or OTHERWISE,) if held_by_rule else ()
    if stored.pinned and not stored.held_reason:
        unsent = [each for each in view.fulfilments if each.state in (_S.READY, _S.SEND_FAILED)]
        for each in withdraw(unsent, "released from its location", writing):
            view = view.replacing(each)
        stored = evolve(stored, pinned=None)
    stored = evolve(
        stored,
        held_reason=None,
        needs_person=None,
        amendment=None,
        reason=None,
        state=OrderState.OPEN,
        released=tuple(dict.fromkeys((*stored.released, *lifted))),
        updated_at=writing.now,
    )
    writing.put_order(stored)
    for each in waiting:
        view = view.replacing(
            evolve(_current(view, each), parked=None, problem=None, attempts=0, updated_at=writing.now)
        )
    writing.put_fulfilments(view.fulfilments)
    writing.note(AuditType.RELEASED, order_id=order_id, lifted=list(lifted) or None, given_up=given_up)
    settle(evolve(view, stored=stored), writing)


# ------------------------------------------------------------------ cancel, ship, settle by hand


def cancel(
    context: Context, order_ids: Iterable[str], reason: str, *, actor: str, connection: Connection | None
) -> ChangeReport:
    """Take orders back: at once where nothing has left, else it is asked for and the partner's word awaited."""

    def act(writing: Writing, order_id: str) -> None:
        view = _going_on(writing, order_id)
        free = [each for each in view.fulfilments if not is_final(each.state) and not is_locked(each.state)]
        for each in withdraw(free, f"cancelled: {reason}", writing):
            view = view.replacing(each)
        out = [each for each in view.fulfilments if is_locked(each.state)]
        asked = [evolve(each, cancel_requested_at=writing.now, updated_at=writing.now) for each in out]
        writing.put_fulfilments(asked)
        for each in asked:
            view = view.replacing(each)
            writing.note(AuditType.CANCEL_REQUESTED, reason, fulfilment=each)
        if out:
            settle(view, writing)
        else:
            _end_cancelled(view, reason, writing)

    return _each(context, order_ids, actor, connection, act)


def _end_cancelled(view: OrderView, reason: str, writing: Writing) -> None:
    shipped = any(each.state is _S.SHIPPED for each in view.fulfilments)
    state = OrderState.CLOSED if shipped else OrderState.CANCELLED
    stored = evolve(view.stored, state=state, held_reason=None, needs_person=None, updated_at=writing.now)
    writing.put_order(stored)
    kind = AuditType.ORDER_CLOSED if shipped else AuditType.ORDER_CANCELLED
    writing.note(kind, reason, order_id=view.order_id)


def mark_shipped(
    context: Context,
    fulfilment_ids: Iterable[str],
    *,
    carrier: str | None,
    service: str | None,
    tracking_numbers: Iterable[str],
    shipped_at: datetime | None,
    actor: str,
    connection: Connection | None,
) -> ChangeReport:
    """Note that fulfilment orders were shipped whole, for places of our own or on a partner's word by telephone."""
    numbers = tuple(tracking_numbers)

    def act(writing: Writing, fulfilment_id: str) -> None:
        order, view = _fulfilment(writing, fulfilment_id)
        if is_final(view.state):
            raise LifecycleError(f"fulfilment order {fulfilment_id} is {view.state}")
        at = shipped_at or writing.now
        fact = Fact(fulfilment_id=fulfilment_id, kind="shipped", shipment=parcel_identity(numbers), at=at)
        parcel = Shipment(
            fulfilment_id=fulfilment_id,
            carrier=context.carriers.name_of(carrier),
            service=service,
            tracking_numbers=numbers,
            shipped_at=at,
        )
        known = writing.tx.facts([fulfilment_id]).get(fulfilment_id, [])
        writing.note(AuditType.MARKED_SHIPPED, " ".join(numbers), fulfilment=view)
        record_facts(context, writing, order, view, [fact], [parcel], known, actor)

    return _each(context, fulfilment_ids, actor, connection, act)


def resolve(
    context: Context,
    fulfilment_ids: Iterable[str],
    outcome: str,
    reason: str,
    *,
    actor: str,
    connection: Connection | None,
) -> ChangeReport:
    """Settle by hand what nobody can know: it was ``sent``, it was ``not_sent``, or the partner ``cancelled`` it."""
    acts: dict[str, Callable[[Writing, OrderView, FulfilmentView], None]] = {
        "sent": _resolve_sent,
        "not_sent": _resolve_not_sent,
        "cancelled": lambda writing, order, view: _resolve_cancelled(context, writing, order, view, reason),
    }
    if outcome not in acts:
        raise LifecycleError(f"expected one of {', '.join(acts)}, got {outcome!r}")

    def act(writing: Writing, fulfilment_id: str) -> None:
        order, view = _fulfilment(writing, fulfilment_id)
        if is_final(view.state):
            raise LifecycleError(f"fulfilment order {fulfilment_id} is {view.state}")
        acts[outcome](writing, order, view)
        writing.note(AuditType.RESOLVED, f"{outcome}: {reason}", fulfilment=view, before=view.state.value)

    return _each(context, fulfilment_ids, actor, connection, act)


def _settle_outbox(writing: Writing, view: FulfilmentView, state: str) -> None:
    """The delivery is settled when nothing in it is unclear any more."""
    open_states = (OutboxState.UNCLEAR, OutboxState.PENDING, OutboxState.PUBLISHING, OutboxState.SENDING)
    for row in writing.tx.deliveries_with([view.fulfilment_id]):
        others = writing.tx.fulfilments(ids=[i for i in row.fulfilment_ids if i != view.fulfilment_id])
        if row.state in open_states and not any(each.state in _NOT_KNOWN for each in others):
            writing.tx.update_delivery(row.outbox_id, state=state, updated_at=writing.now)


def _resolve_sent(writing: Writing, order: OrderView, view: FulfilmentView) -> None:
    if view.state not in (_S.UNCLEAR, _S.SEND_FAILED, _S.READY):
        raise LifecycleError(f"fulfilment order {view.fulfilment_id} is {view.state}: there is nothing to settle")
    sent = evolve(
        view,
        state=advance(view.state, _S.SENT),
        sent_at=view.sent_at or writing.now,
        label_printed_at=writing.now,
        label_error=None,
        parked=None,
        updated_at=writing.now,
    )
    writing.put_fulfilments([sent])
    _settle_outbox(writing, view, OutboxState.SETTLED)
    settle(order.replacing(sent), writing)


def _resolve_not_sent(writing: Writing, order: OrderView, view: FulfilmentView) -> None:
    if view.state not in (_S.UNCLEAR, _S.SEND_FAILED):
        raise LifecycleError(f"fulfilment order {view.fulfilment_id} is {view.state}: there is nothing to settle")
    free = evolve(view, state=advance(view.state, _S.READY), attempts=0, parked=None, updated_at=writing.now)
    writing.put_fulfilments([free])
    _settle_outbox(writing, view, OutboxState.SETTLED)
    settle(order.replacing(free), writing)


def _resolve_cancelled(context: Context, writing: Writing, order: OrderView, view: FulfilmentView, reason: str) -> None:
    fact = Fact(fulfilment_id=view.fulfilment_id, kind="cancelled", at=writing.now, message=reason)
    known = writing.tx.facts([view.fulfilment_id]).get(view.fulfilment_id, [])
    _settle_outbox(writing, view, OutboxState.SETTLED)
    record_facts(context, writing, order, view, [fact], [], known, writing.actor)


def resend(
    context: Context, outbox_ids: Iterable[int], reason: str, *, actor: str, connection: Connection | None
) -> ChangeReport:
    """Put deliveries into the outbox again, byte for byte, as new rows; the next run sends them."""

    def act(writing: Writing, outbox_id: str) -> None:
        rows = writing.tx.deliveries(ids=[int(outbox_id)])
        if not rows:
            raise LifecycleError(f"delivery {outbox_id} is not known")
        [row] = rows
        if row.state in (OutboxState.PENDING, OutboxState.SENDING, OutboxState.PUBLISHING):
            raise LifecycleError(f"delivery {outbox_id} is {row.state}: it is being sent")
        for view in writing.tx.fulfilments(ids=row.fulfilment_ids):
            _refuse_resend(outbox_id, view)
        names = ("partner", "name", "target", "content_type", "size", "sha256", "layout_hash", "number")
        again = {name: getattr(row, name) for name in names}
        again |= {"content": writing.tx.delivery_content(row.outbox_id), "delivery_key": context.new_key()}
        again |= {"state": OutboxState.PENDING, "attempts": 0, "replaces": row.outbox_id}
        writing.tx.add_delivery({**again, "created_at": writing.now, "updated_at": writing.now}, row.fulfilment_ids)
        if row.state == OutboxState.UNCLEAR:
            writing.tx.update_delivery(row.outbox_id, state=OutboxState.SETTLED, updated_at=writing.now)
        for view in writing.tx.fulfilments(ids=row.fulfilment_ids):
            writing.note(AuditType.RESENT, reason, fulfilment=view, delivery=row.outbox_id)

    return _each(context, [str(each) for each in outbox_ids], actor, connection, act)


def _refuse_resend(outbox_id: str, view: FulfilmentView) -> None:
    """The bytes of a delivery cannot be changed, so nothing in it may have ended or be on its way back."""
    back = "is to be cancelled" if view.cancel_requested_at and not is_final(view.state) else f"is {view.state}"
    if is_final(view.state) or view.cancel_requested_at:
        raise LifecycleError(f"delivery {outbox_id} cannot be sent again: {view.fulfilment_id} {back}")
