"""Decide for every open order who ships it, and note why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from attrs import evolve

from fcflow.allocation import STRATEGIES, Placement, Routing, route
from fcflow.allocation_many import Turn, turn
from fcflow.audit import AuditType
from fcflow.errors import AllocationError
from fcflow.lifecycle import fold, next_fulfilment_id
from fcflow.model import (
    Decision,
    Effect,
    FulfilmentLine,
    FulfilmentOrder,
    FulfilmentState,
    Order,
    OrderState,
    View,
)
from fcflow.phases.context import Context, Writing, describe
from fcflow.phases.rule_sets import keep_rule_set
from fcflow.phases.state import settle
from fcflow.phases.stock_view import stock_view
from fcflow.reports import AllocationReport
from fcflow.rules import RuleSet
from fcflow.stock import StockView
from fcflow.store import FulfilmentView, OrderView, Transaction

__all__ = ["OTHERWISE", "PAID", "allocate", "place_at", "routing_of"]

PAID = {"field": "payment", "op": "eq", "value": "paid"}
"""The condition for which an order is ready where the configuration names no other."""

OTHERWISE = "otherwise"
"""How a hold by the rule set's ``otherwise`` is remembered when a person lifts it."""

_CHUNK = 500
_CANDIDATES = (OrderState.OPEN, OrderState.BACKORDERED)


def allocate(context: Context) -> AllocationReport:
    """Run the rules on every order that has units without a place and is ready."""
    report = AllocationReport()
    with context.store.lease("allocate", ttl_s=context.lease_s, clock=context.clock) as lease:
        with context.store.reading() as tx:
            candidates = _in_turn(context, tx)
            view = stock_view(context, tx, context.clock(), excluded=tx.excluded(candidates))
        for start in range(0, len(candidates), _CHUNK):
            context.tell("allocate", None, start, len(candidates))
            with context.writing(lease=lease) as writing:
                keep_rule_set(context, writing)
                writing.taken(candidates[start : start + _CHUNK])
                for order in writing.tx.orders(candidates[start : start + _CHUNK]):
                    _allocate_one(context, order, view, writing, report)
        context.tell("allocate", None, len(candidates), len(candidates))
    return report


def _in_turn(context: Context, tx: Transaction) -> list[str]:
    """Who is served first where there is not enough for all; the ids alone, as there may be very many orders."""
    candidates = tx.order_ids(states=_CANDIDATES)
    turns: list[Turn] = []
    for start in range(0, len(candidates), _CHUNK):
        stored = (view.stored for view in tx.orders(candidates[start : start + _CHUNK]))
        turns += [turn(each.order, context.priority, added_at=each.added_at) for each in stored]
    return [order_id for *_, order_id in sorted(turns)]


def _allocate_one(
    context: Context, order: OrderView, view: StockView, writing: Writing, report: AllocationReport
) -> None:
    if order.state not in _CANDIDATES or not order.unplaced:
        return
    waits = _why_a_person(context, order)
    if waits is not None:
        stored = evolve(order.stored, needs_person=order.stored.needs_person or waits)
        _keep(evolve(order, stored=stored), waits, None, writing, report)
        return
    if order.pinned is not None:
        made = place_at(context, order, order.pinned, writing, reason="moved there by hand")
        _count(made.fulfilments[len(order.fulfilments) :], view, report)
        return
    unready = _why_not_ready(context, order, writing.now)
    if unready is not None:
        _keep(order, unready, None, writing, report)
        return
    try:
        routing = routing_of(context, order, view, writing.now)
    except AllocationError as error:
        _keep(order, f"cannot be allocated: {describe(error)}", None, writing, report)
        return
    _apply(context, order, routing, view, writing, report)


def _why_a_person(context: Context, order: OrderView) -> str | None:
    """What keeps units from being placed until a person says how it goes on, or ``None``."""
    stored = order.stored
    if stored.amendment is not None:
        return "it waits for its amendment"
    if order.pinned is not None and order.pinned not in context.locations:
        return f"it was moved to {order.pinned} by hand, which is not configured any more"
    if stored.fulfilled_elsewhere and order.pinned is None:
        return "it was to be fulfilled elsewhere, and was cancelled there; move it by hand"
    return None


def _why_not_ready(context: Context, order: OrderView, now: datetime) -> str | None:
    if context.rules is None:
        return "there is no rule set"
    if context.ready.matches(order.order, now=now):
        return None
    if context.ready.document == PAID:
        return f"not ready: payment is {order.order.payment or 'unknown'}"
    return "not ready: " + "; ".join(context.ready.because(order.order, now=now))


class _Lifted:
    """A rule set in which the holds of some rules do not hold any more."""

    def __init__(self, rules: RuleSet, lifted: Collection[str]) -> None:
        self._rules = rules
        self._lifted = lifted

    def decisions(self, order: Order, view: View, now: datetime, /) -> Iterator[Decision]:
        """As the rule set decides, without the holds that were lifted."""
        for decision in self._rules.decisions(order, view, now, lifted=self._lifted):
            if decision.action == "hold" and decision.rule_id is None and OTHERWISE in self._lifted:
                yield evolve(decision, action="keep", reason=None)
            else:
                yield decision


def routing_of(context: Context, order: OrderView, view: View, now: datetime) -> Routing:
    """What the rules make of the units of *order* that have no place."""
    assert context.rules is not None
    rules = _Lifted(context.rules, order.stored.released)
    strategies = {**STRATEGIES, **context.plugins.strategies}
    return route(order.order, rules, view, now, lines=order.unplaced, strategies=strategies)


def _apply(
    context: Context,
    order: OrderView,
    routing: Routing,
    view: StockView,
    writing: Writing,
    report: AllocationReport,
) -> None:
    decision = routing.decision
    effects = () if decision is None else decision.effects
    rule_id = None if decision is None else decision.rule_id
    made = _make(context, order, routing.placements, effects, rule_id, writing)
    _count(made, view, report)
    for each in made:
        _note_allocated(context, each, routing, writing)
    changed = evolve(order, fulfilments=(*order.fulfilments, *made))
    if routing.action == "hold":
        _hold(context, changed, routing, writing, report)
    elif routing.action == "backorder":
        _backorder(context, changed, routing, writing, report)
    elif routing.action == "allocate":
        stored = evolve(order.stored, rule_id=rule_id, reason=None, state=OrderState.OPEN, updated_at=writing.now)
        writing.put_order(stored)
        settle(evolve(changed, stored=stored), writing)
    else:
        reason = "; ".join(routing.explanation) or routing.reason or "no rule decided"
        _keep(order, reason, rule_id, writing, report, rule_set=_rule_set(context))


def _rule_set(context: Context) -> str | None:
    """The version that every decision names in the audit trail."""
    return None if context.rules is None else context.rules.hash


def _make(
    context: Context,
    order: OrderView,
    placements: Sequence[Placement],
    effects: tuple[Effect, ...],
    rule_id: str | None,
    writing: Writing,
) -> list[FulfilmentView]:
    used = {view.fulfilment_id for view in order.fulfilments}
    made: list[FulfilmentView] = []
    for placement in placements:
        fulfilment_id = _free_id(order.order_id, used, writing)
        fulfilment = FulfilmentOrder(
            fulfilment_id=fulfilment_id, order_id=order.order_id, location=placement.location, lines=placement.lines
        )
        made.append(
            FulfilmentView(
                fulfilment=fulfilment,
                partner=context.locations[placement.location].partner,
                state=FulfilmentState.READY,
                effects=effects,
                progress=fold(fulfilment, ()),
                rule_id=rule_id,
                created_at=writing.now,
                updated_at=writing.now,
            )
        )
    writing.new_fulfilments(made)
    return made


def _free_id(order_id: str, used: set[str], writing: Writing) -> str:
    """The next id for a part of an order; another order may be called as one of our parts would be."""
    while True:
        fulfilment_id = next_fulfilment_id(order_id, used)
        used.add(fulfilment_id)
        if not writing.taken([fulfilment_id]):
            return fulfilment_id


def _count(made: Sequence[FulfilmentView], view: StockView, report: AllocationReport) -> None:
    for each in made:
        view.take(each.fulfilment)
        report.allocated.setdefault(each.location, []).append(each.fulfilment_id)


def _note_allocated(context: Context, view: FulfilmentView, routing: Routing, writing: Writing) -> None:
    writing.note(
        AuditType.ALLOCATED,
        "; ".join(routing.explanation),
        fulfilment=view,
        rule=view.rule_id,
        rule_set=_rule_set(context),
        lines={line.line_id: line.quantity for line in view.lines},
        effects=[f"{e.kind} {e.name or ''} {e.value} (rule {e.rule_id})".replace("  ", " ") for e in view.effects]
        or None,
        locations=dict(routing.locations),
    )


def _hold(context: Context, order: OrderView, routing: Routing, writing: Writing, report: AllocationReport) -> None:
    reason = routing.reason or "held by a rule"
    rule_id = None if routing.decision is None else routing.decision.rule_id
    stored = evolve(
        order.stored, state=OrderState.HELD, held_reason=reason, rule_id=rule_id, reason=reason, updated_at=writing.now
    )
    writing.put_order(stored)
    writing.note(AuditType.HELD, reason, order_id=order.order_id, rule=rule_id, rule_set=_rule_set(context))
    report.held[order.order_id] = reason


def _backorder(
    context: Context, order: OrderView, routing: Routing, writing: Writing, report: AllocationReport
) -> None:
    reason = routing.reason or "short"
    report.backordered[order.order_id] = reason
    if order.stored.state is OrderState.BACKORDERED and order.stored.reason == reason:
        return
    rule_id = None if routing.decision is None else routing.decision.rule_id
    stored = evolve(order.stored, state=OrderState.BACKORDERED, reason=reason, rule_id=rule_id, updated_at=writing.now)
    writing.put_order(stored)
    writing.note(
        AuditType.BACKORDERED,
        reason,
        order_id=order.order_id,
        rule=rule_id,
        rule_set=_rule_set(context),
        short=dict(routing.short),
    )


def _keep(
    order: OrderView,
    reason: str,
    rule_id: str | None,
    writing: Writing,
    report: AllocationReport,
    *,
    rule_set: str | None = None,
) -> None:
    report.kept[order.order_id] = reason
    if order.stored.reason == reason and order.stored.state is OrderState.OPEN:
        return
    stored = evolve(order.stored, state=OrderState.OPEN, reason=reason, rule_id=rule_id, updated_at=writing.now)
    writing.put_order(stored)
    writing.note(AuditType.NOT_ALLOCATED, reason, order_id=order.order_id, rule=rule_id, rule_set=rule_set)


def place_at(
    context: Context,
    order: OrderView,
    location: str,
    writing: Writing,
    *,
    reason: str,
) -> OrderView:
    """Give every unit without a place to *location*, whatever the rules and the stock say."""
    skus = {line.line_id: line.sku for line in order.order.lines}
    lines = tuple(FulfilmentLine(line_id=i, sku=skus[i], quantity=units) for i, units in order.unplaced.items())
    earlier = next((view.effects for view in reversed(order.fulfilments) if view.effects), ())
    made = _make(context, order, [Placement(location, lines)] if lines else [], tuple(earlier), None, writing)
    for each in made:
        taken = {line.line_id: line.quantity for line in each.lines}
        writing.note(AuditType.ALLOCATED, reason, fulfilment=each, lines=taken)
    return settle(evolve(order, fulfilments=(*order.fulfilments, *made)), writing)
