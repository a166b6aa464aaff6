"""Take over orders from the host: new, known, or amended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve, fields
from sqlalchemy.engine import Connection

from fcflow.audit import AuditType
from fcflow.documents import content_hash
from fcflow.errors import Fault, LifecycleError, OrderError
from fcflow.lifecycle import is_final, is_locked
from fcflow.model import FulfilmentState, Order, OrderState
from fcflow.phases.allocate import place_at
from fcflow.phases.context import Context, Writing
from fcflow.phases.state import ENDED, settle, withdraw
from fcflow.reports import AddReport
from fcflow.store import FulfilmentView, OrderView, StoredOrder

__all__ = ["add_orders"]


def add_orders(
    context: Context,
    orders: Iterable[Order],
    *,
    location: str | None,
    fulfilled_elsewhere: bool,
    actor: str,
    connection: Connection | None,
) -> AddReport:
    """Add what is new, amend what is known with other content, leave the rest alone; all in one transaction."""
    listed = list(orders)
    _check(listed)
    if location is not None:
        context.require_location(location)
    if fulfilled_elsewhere and location is None:
        raise LifecycleError("orders that are fulfilled elsewhere need the location where")
    with context.writing(connection=connection, actor=actor) as writing:
        known = writing.tx.hashes([order.order_id for order in listed])
        fresh = [order for order in listed if order.order_id not in known]
        other = [o for o in listed if o.order_id in known and known[o.order_id] != content_hash(o)]
        _add(context, fresh, location, fulfilled_elsewhere, writing)
        amended, refused = _amend(other, writing)
    same = {order.order_id for order in listed} - {o.order_id for o in fresh} - {o.order_id for o in other}
    return AddReport(
        added=tuple(order.order_id for order in fresh),
        unchanged=tuple(order.order_id for order in listed if order.order_id in same),
        amended=tuple(amended),
        refused=refused,
    )


def _check(orders: Sequence[Order]) -> None:
    faults: list[Fault] = []
    seen: dict[str, Order] = {}
    for index, order in enumerate(orders):
        if not order.lines:
            faults.append(Fault(f"order {order.order_id}: expected at least one line", path=f"$[{index}].lines"))
        if order.order_id in seen:
            faults.append(Fault(f"order {order.order_id} stands twice", path=f"$[{index}].order_id"))
        seen[order.order_id] = order
    if faults:
        raise OrderError("orders", faults)


def _add(
    context: Context, orders: Sequence[Order], location: str | None, fulfilled_elsewhere: bool, writing: Writing
) -> None:
    stored = [
        StoredOrder(
            order=order,
            content_hash=content_hash(order),
            state=OrderState.OPEN,
            pinned=location,
            fulfilled_elsewhere=fulfilled_elsewhere,
            added_at=writing.now,
            updated_at=writing.now,
        )
        for order in orders
    ]
    writing.tx.insert_orders(stored)
    if location is not None:
        writing.taken([each.order_id for each in stored])
    for each in stored:
        writing.note(AuditType.ORDER_ADDED, _brief(each.order), order_id=each.order_id, hash=each.content_hash)
        if location is not None:
            placed = place_at(context, OrderView(stored=each), location, writing, reason="added there by the host")
            if fulfilled_elsewhere:
                _already_there(placed, writing)


def _already_there(order: OrderView, writing: Writing) -> None:
    """The partner has it by another way: track it, never send it."""
    sent = [
        evolve(view, state=FulfilmentState.SENT, sent_at=writing.now, updated_at=writing.now)
        for view in order.fulfilments
    ]
    writing.put_fulfilments(sent)
    for view in sent:
        writing.note(AuditType.SENT, "the partner has it already", fulfilment=view)


def _brief(order: Order) -> str:
    units = sum(line.quantity for line in order.lines)
    return f"{len(order.lines)} lines, {units} units"


# ------------------------------------------------------------------ amendments


def _amend(orders: Sequence[Order], writing: Writing) -> tuple[list[str], dict[str, str]]:
    views = {view.order_id: view for view in writing.tx.orders([order.order_id for order in orders])}
    amended: list[str] = []
    refused: dict[str, str] = {}
    for order in orders:
        reason = _amend_one(views[order.order_id], order, writing)
        if reason is None:
            amended.append(order.order_id)
        else:
            refused[order.order_id] = reason
    return amended, refused


def _amend_one(view: OrderView, order: Order, writing: Writing) -> str | None:
    if view.state in ENDED:
        return f"order {order.order_id} is {view.state} and cannot be amended"
    if content_hash(order) == content_hash(view.order):
        _as_it_was(view, writing)
        return None
    out = [each for each in view.fulfilments if is_locked(each.state) or each.state is FulfilmentState.SHIPPED]
    if out:
        return _wait(view, order, out, writing)
    _replace(view, order, writing)
    return None


def _as_it_was(view: OrderView, writing: Writing) -> None:
    """The host wants the order as it is: an amendment that waited is taken back, and its question to a person."""
    asked = view.stored.needs_person or ""
    stored = evolve(
        view.stored,
        amendment=None,
        content_hash=content_hash(view.order),
        needs_person=None if asked.startswith(_changed_after(view.order)) else view.stored.needs_person,
        updated_at=writing.now,
    )
    writing.put_order(stored)
    writing.note(AuditType.ORDER_AMENDED, "the amendment that waited was taken back", order_id=view.order_id)


def _changed_after(order: Order) -> str:
    return f"order {order.order_id} changed after it was sent"


def _wait(view: OrderView, order: Order, out: Sequence[FulfilmentView], writing: Writing) -> str:
    """A partner has it already: keep the wish, tell a person, and wait for the partner to let go."""
    where = ", ".join(f"{each.location} ({each.state})" for each in out)
    text = f"{_changed_after(order)} to {where}"
    stored = evolve(
        view.stored, amendment=order, content_hash=content_hash(order), needs_person=text, updated_at=writing.now
    )
    writing.put_order(stored)
    writing.put_fulfilments([evolve(each, amend_requested_at=writing.now) for each in out])
    writing.note(
        AuditType.AMENDMENT_REQUESTED, text, order_id=order.order_id, differences=differences(view.order, order)
    )
    return text


def _replace(view: OrderView, order: Order, writing: Writing) -> None:
    """Nothing has left: what was allocated is taken back, and the rules run on the order as it is now."""
    free = withdraw([each for each in view.fulfilments if not is_final(each.state)], "the order was amended", writing)
    stored = evolve(
        view.stored,
        order=order,
        content_hash=content_hash(order),
        amendment=None,
        reason=None,
        rule_id=None,
        state=OrderState.HELD if view.held_reason else OrderState.OPEN,
        updated_at=writing.now,
    )
    writing.put_order(stored)
    said = differences(view.order, order)
    writing.note(AuditType.ORDER_AMENDED, "; ".join(said), order_id=order.order_id, differences=said)
    changed = evolve(view, stored=stored)
    for each in free:
        changed = changed.replacing(each)
    settle(changed, writing)


def differences(before: Order, after: Order) -> list[str]:
    """What an amendment changes, one clause each, without the values of address fields."""
    names = [each.name for each in fields(Order) if getattr(before, each.name) != getattr(after, each.name)]
    return [_difference(name, before, after) for name in names]


def _difference(name: str, before: Order, after: Order) -> str:
    if name != "lines":
        return f"{name} changed"
    old = {line.line_id: f"{line.quantity} x {line.sku}" for line in before.lines}
    new = {line.line_id: f"{line.quantity} x {line.sku}" for line in after.lines}
    changed = [
        f"line {i}: {old.get(i, 'none')} -> {new.get(i, 'none')}" for i in {**old, **new} if old.get(i) != new.get(i)
    ]
    return "; ".join(changed) or "lines changed"
