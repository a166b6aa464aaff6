"""
fcflow as a stranger's program uses it: mypy, in strict mode, must see every type and every mistake.

Checked by ``scripts/check``, never run. A line that is wrong on purpose says which error it must be; mypy complains
about such a comment where there is no error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, assert_type

import fcflow
from fcflow import (
    Address,
    AuditEvent,
    Config,
    ConfigError,
    Decision,
    Explanation,
    Fault,
    FcflowError,
    Feed,
    FulfilmentState,
    Layout,
    Location,
    Order,
    OrderLine,
    Partner,
    Plan,
    Problem,
    Record,
    RuleSet,
    RunReport,
    Shipment,
    Status,
    StatusUpdate,
    Store,
    Synchronizer,
    TransientError,
    Transport,
    TransportError,
    TransportType,
    TransportUnavailableError,
    hookimpl,
    load_config,
    load_layout,
    load_rules,
)
from fcflow.transports import (
    Capabilities,
    Delivery,
    Endpoint,
    Fetched,
    Finding,
    Offer,
    Outcome,
    Presence,
    Query,
    Receipt,
)


def an_order(rows: Iterable[Mapping[str, Any]]) -> Order:
    """A host's own rows to an order; texts and lists are taken where the value holds enums and tuples."""
    lines = [OrderLine(line_id=str(n), sku=row["sku"], quantity=row["quantity"]) for n, row in enumerate(rows, 1)]
    order = Order(order_id="A1", payment="paid", total="12.50", currency="GBP", lines=lines, tags=["gift"])
    assert_type(order.lines, tuple[OrderLine, ...])
    assert_type(order.total, Decimal | None)
    assert_type(order.ship_to, Address)
    assert_type(order.tags, frozenset[str])
    return order


def values_are_frozen(order: Order) -> None:
    """A value cannot be changed."""
    order.order_id = "A2"  # type: ignore[misc]


def mistakes_are_seen() -> None:
    """A misspelt name, a positional value, a value of the wrong type."""
    fcflow.Odrer  # type: ignore[attr-defined]
    Address("Ada Byron")  # type: ignore[call-arg]
    OrderLine(sku="MUG", quantity="2")  # type: ignore[arg-type]
    Order(order_id="A1")  # type: ignore[call-arg]


def decide(order: Order, path: Path) -> str:
    """Rules alone, without a store."""
    rules = load_rules(path)
    assert_type(rules, RuleSet)
    decision = rules.decide(order, now=datetime.now(UTC))
    assert_type(decision, Decision)
    assert_type(rules.decisions(order), Iterator[Decision])
    assert_type(rules.explain(order), Explanation)
    assert_type(decision.rule_id, str | None)
    return decision.action


def convert(payload: bytes) -> list[StatusUpdate]:
    """Layouts alone, without a transport."""
    layout = load_layout("linnworks-status")
    assert_type(layout, Layout)
    records, problems = layout.read(payload)
    assert_type(records, list[Record])
    assert_type(problems, list[Problem])
    assert_type(layout.encode([]), bytes)
    return [record.value for record in records]


def from_a_document(orders: Iterable[Order]) -> dict[str, Any]:
    """The usual way: everything from one document."""
    with Synchronizer.from_config("fcflow.json") as sync:
        assert_type(sync, Synchronizer)
        sync.add_orders(orders)
        plan = sync.plan()
        assert_type(plan, Plan)
        assert_type(plan.deliveries[0].content, bytes)
        report = sync.run()
        assert_type(report, RunReport)
        assert_type(report.ok, bool)
        return report.as_dict()


def by_hand(rules: RuleSet, layout: Layout, leeds: Location, partner: Partner) -> Synchronizer:
    """The parts put together by the host."""
    store = Store.open("sqlite://")
    assert_type(store, Store)

    def layout_of(feed: Feed) -> Layout:
        return layout

    return Synchronizer(store=store, rules=rules, locations=[leeds], partners=[partner], layouts=layout_of)


def what_a_shop_shows(sync: Synchronizer) -> list[str]:
    """Reading state back: every step has a type."""
    shown: list[str] = []
    for view in sync.orders(location="leeds", limit=50):
        assert_type(view.order, Order)
        assert_type(view.needs_person, str | None)
        for part in view.fulfilments:
            assert_type(part.state, FulfilmentState)
            assert_type(part.shipments, tuple[Shipment, ...])
            shown += [number for shipment in part.shipments for number in shipment.tracking_numbers]
    trail = sync.audit(order_id="A1")
    assert_type(trail, list[AuditEvent])
    assert_type(sync.explain("A1"), Explanation)
    return shown + [event.message for event in trail]


def changes(sync: Synchronizer) -> Mapping[str, str]:
    """Changes by hand: partial success, order by order."""
    sync.hold(["A1"], "fraud review")
    sync.release(["A1"])
    sync.cancel(["A2"], "the buyer asked")
    sync.mark_shipped(["A3"], carrier="Royal Mail", tracking_numbers=["JD0002"], shipped_at=datetime.now(UTC))
    done = sync.move(["A1", "A4"], "leeds", override="the partner lost it")
    assert_type(done.changed, tuple[str, ...])
    return done.refused


def what_went_wrong(path: Path) -> Sequence[Fault]:
    """Errors say where by their class, and whether to try again by a mix-in."""
    try:
        assert_type(load_config(path), Config)
    except ConfigError as error:
        assert_type(error.faults, Sequence[Fault])
        return error.faults
    except TransportError as error:
        if isinstance(error, TransientError):
            return ()
        raise FcflowError(error.code) from error
    return ()


class Pigeons:
    """A stranger's transport; it inherits nothing."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._loft = endpoint.option("loft", "roof")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(atomic_publish=True, verifies_size=False, looks_up=False, lists=True, settles=False)

    def send(self, delivery: Delivery) -> Receipt:
        delivery.publishing()
        if delivery.size > 30:
            raise TransportUnavailableError("too heavy for a pigeon")
        return Receipt(name=delivery.name, size=delivery.size)

    def look_up(self, delivery: Delivery) -> Presence:
        return Presence.UNKNOWN

    def list(self, feed: Feed, query: Query) -> Iterator[Offer]:
        yield Offer(feed=feed, name="note", token="note")

    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        sink.write(b"A1\n")
        return Fetched(size=3, sha256="0" * 64)

    def settle(self, offer: Offer, outcome: Outcome) -> None:
        """Pigeons keep nothing."""

    def check(self) -> Sequence[Finding]:
        return [Finding(level="ok", message="they are in")]

    def close(self) -> None:
        """Pigeons need no closing."""


class Plugin:
    """How it is offered."""

    @hookimpl
    def fcflow_transports(self) -> Iterable[TransportType]:
        return [TransportType(schemes=("pigeon",), summary="by pigeon", build=Pigeons)]


def is_a_transport(endpoint: Endpoint) -> Transport:
    """The protocol is met without inheriting from it."""
    return Pigeons(endpoint)


def words(update: StatusUpdate) -> str:
    """An enum's every member is known."""
    match update.status:
        case None:
            return update.raw_status or ""
        case Status.SHIPPED | Status.PART_SHIPPED | Status.DELIVERED:
            return "on its way"
        case _:
            return str(update.status)
