"""The state of an order, from the states of its fulfilment orders: one place decides it, for every phase."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from fcflow.audit import AuditType
from fcflow.lifecycle import Fact, is_final, is_locked
from fcflow.model import FulfilmentState, OrderState
from fcflow.phases.context import Writing
from fcflow.phases.progress import progress_of
from fcflow.store import FulfilmentView, OrderView

__all__ = ["ENDED", "amend_if_free", "empty", "order_state", "settle", "withdraw"]

ENDED = (OrderState.CLOSED, OrderState.CANCELLED)
"""States in which an order has nothing more to come."""


def order_state(view: OrderView) -> OrderState:
    """
    How far an order got.

    Held beats all but the end. Units without a place leave it open (or backordered), unless the seller asked for the
    order back: then it waits for what is still out, and ends cancelled, or closed where something was shipped.
    """
    stored = view.stored
    recalled = any(each.cancel_requested_at for each in view.fulfilments)
    active = any(not is_final(each.state) for each in view.fulfilments)
    if stored.state is OrderState.CANCELLED and not active:
        return OrderState.CANCELLED
    if view.unplaced and not recalled:
        return _unplaced_state(view)
    if active:
        return OrderState.HELD if stored.held_reason else OrderState.IN_FULFILMENT
    shipped = any(each.state is FulfilmentState.SHIPPED for each in view.fulfilments)
    return OrderState.CLOSED if shipped or not recalled else OrderState.CANCELLED


def _unplaced_state(view: OrderView) -> OrderState:
    if view.stored.held_reason:
        return OrderState.HELD
    return OrderState.BACKORDERED if view.stored.state is OrderState.BACKORDERED else OrderState.OPEN


def settle(view: OrderView, writing: Writing) -> OrderView:
    """
    Bring an order's state in line with its fulfilment orders, and note what ended.

    The order itself is written; its fulfilment orders are the caller's to write.
    """
    view = amend_if_free(view, writing)
    state = order_state(view)
    if state is OrderState.BACKORDERED or state is view.stored.state:
        stored = view.stored
    else:
        stored = evolve(view.stored, state=state, updated_at=writing.now)
        _note_end(view, state, writing)
    if state is OrderState.CLOSED:
        stored = evolve(stored, reason=None)
    if stored is not view.stored:
        writing.put_order(stored)
    return evolve(view, stored=stored)


def _note_end(view: OrderView, state: OrderState, writing: Writing) -> None:
    if state is OrderState.CLOSED:
        writing.note(AuditType.ORDER_CLOSED, "every unit is accounted for", order_id=view.order_id)
    elif state is OrderState.CANCELLED:
        writing.note(AuditType.ORDER_CANCELLED, "cancelled as the seller asked", order_id=view.order_id)


def amend_if_free(view: OrderView, writing: Writing) -> OrderView:
    """An amendment that waited becomes the order as soon as no partner has anything of it any more."""
    stored = view.stored
    locked = any(is_locked(each.state) or each.state is FulfilmentState.SHIPPED for each in view.fulfilments)
    if stored.amendment is None or locked:
        return view
    views = [each for each in view.fulfilments if not is_final(each.state)]
    withdrawn = withdraw(views, "the order was amended", writing)
    stored = evolve(stored, order=stored.amendment, amendment=None, needs_person=None, updated_at=writing.now)
    writing.put_order(stored)
    writing.note(AuditType.ORDER_AMENDED, "the amendment that waited is the order now", order_id=view.order_id)
    view = evolve(view, stored=stored)
    for each in withdrawn:
        view = view.replacing(each)
    return view


def withdraw(views: Iterable[FulfilmentView], reason: str, writing: Writing) -> list[FulfilmentView]:
    """
    Take fulfilment orders back: cancelled by us, their units are free again, their ids are never used again.

    Units that were shipped stay shipped; a fulfilment order with such units ends so.
    """
    taken: list[FulfilmentView] = []
    views = list(views)
    known = writing.tx.facts([view.fulfilment_id for view in views])
    for view in views:
        fact = Fact(fulfilment_id=view.fulfilment_id, kind="cancelled", at=writing.now, message=reason)
        writing.put_facts([fact], writing.actor)
        partner = writing.partners.get(view.partner or "")
        progress = progress_of(partner, view.fulfilment, [*known.get(view.fulfilment_id, ()), fact])
        shipped = progress.state is FulfilmentState.SHIPPED
        gone = evolve(
            view,
            state=FulfilmentState.SHIPPED if shipped else FulfilmentState.CANCELLED,
            progress=progress,
            label_error=None,
            parked=None,
            updated_at=writing.now,
        )
        writing.note(AuditType.STATE_CHANGED, reason, fulfilment=gone, before=view.state.value, after=gone.state.value)
        taken.append(gone)
    writing.put_fulfilments(taken)
    return taken


def empty(location: str, writing: Writing) -> None:
    """Take back what waits at a location that is gone or run by somebody else now; it is allocated anew."""
    waiting = writing.tx.fulfilments(location=location, states=(FulfilmentState.READY, FulfilmentState.SEND_FAILED))
    ids = {view.fulfilment_id for view in waiting}
    for order in writing.tx.orders(view.order_id for view in waiting):
        mine = [view for view in order.fulfilments if view.fulfilment_id in ids]
        for view in withdraw(mine, f"{location} is gone, or run by somebody else now", writing):
            order = order.replacing(view)
        settle(order, writing)
