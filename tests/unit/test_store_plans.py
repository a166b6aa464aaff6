"""Statements of the store find their rows through an index: a store that grew for years answers as on its first day."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fcflow.lifecycle import Fact
from fcflow.model import FulfilmentState, OrderState, Shipment
from fcflow.stock import Picture
from fcflow.store import OutboxState, Store, Transaction
from fcflow.testing.stores import NOON, a_delivery, a_fulfilment, a_sighting, an_event, an_order

_READY = [FulfilmentState.READY, FulfilmentState.SEND_FAILED]
_PICTURE = Picture(location="leeds", sku="MUG", on_hand=1, as_of=NOON, received_at=NOON)

_CALLS: dict[str, Callable[[Transaction], Any]] = {
    "update_orders": lambda tx: tx.update_orders([an_order()]),
    "update_fulfilments": lambda tx: tx.update_fulfilments([a_fulfilment()]),
    "hashes": lambda tx: tx.hashes(["A1"]),
    "order_ids by state": lambda tx: tx.order_ids(states=[OrderState.OPEN]),
    "order_ids by states": lambda tx: tx.order_ids(states=[OrderState.OPEN, OrderState.BACKORDERED]),
    "order_ids, a page": lambda tx: tx.order_ids(limit=10, offset=20),
    "order_ids by location": lambda tx: tx.order_ids(location="leeds", fulfilment_states=_READY),
    "order_ids by partner": lambda tx: tx.order_ids(partner="leeds", fulfilment_states=_READY),
    "order_ids by a person": lambda tx: tx.order_ids(needs_person=True),
    "orders": lambda tx: tx.orders(["A1", "A2"]),
    "orders_by_reference": lambda tx: tx.orders_by_reference(["R"]),
    "fulfilments by id": lambda tx: tx.fulfilments(ids=["A1"]),
    "fulfilments by partner": lambda tx: tx.fulfilments(partner="leeds", states=_READY),
    "fulfilments by location": lambda tx: tx.fulfilments(location="leeds", states=_READY),
    "fulfilments by state": lambda tx: tx.fulfilments(states=_READY),
    "excluded": lambda tx: tx.excluded(["A1"]),
    "orders_at": lambda tx: tx.orders_at("leeds", NOON),
    "facts": lambda tx: tx.facts(["A1"]),
    "movements": lambda tx: tx.movements(),
    "add_facts": lambda tx: tx.add_facts([Fact(fulfilment_id="A1", kind="in_work")], actor="x", received_at=NOON),
    "add_shipments": lambda tx: tx.add_shipments([Shipment(fulfilment_id="A1")], NOON),
    "deliveries by state": lambda tx: tx.deliveries(partner="leeds", states=[OutboxState.PENDING]),
    "deliveries by id": lambda tx: tx.deliveries(ids=[1, 2]),
    "deliveries, the latest": lambda tx: tx.deliveries(newest_first=True, limit=10),
    "deliveries_with": lambda tx: tx.deliveries_with(["A1"]),
    "delivery_content": lambda tx: tx.delivery_content(1),
    "update_delivery": lambda tx: tx.update_delivery(1, state=OutboxState.SENT),
    "sightings by name": lambda tx: tx.sightings(partner="leeds", feed="status", name="x"),
    "sighting by id": lambda tx: tx.sightings(sighting_id=1),
    "sightings, the latest": lambda tx: tx.sightings(limit=10),
    "settle_sighting": lambda tx: tx.settle_sighting(1),
    "problems": lambda tx: tx.problems(1),
    "looked_at": lambda tx: tx.looked_at("leeds", "status"),
    "pictures of a location": lambda tx: tx.pictures(location="leeds"),
    "pictures of a SKU": lambda tx: tx.pictures(sku="MUG"),
    "put_pictures": lambda tx: tx.put_pictures([_PICTURE]),
    "audit of an order": lambda tx: tx.audit(order_id="A1"),
    "audit of a type": lambda tx: tx.audit(type="FULFIL_STATUS"),
    "audit since": lambda tx: tx.audit(since=NOON),
    "audit after": lambda tx: tx.audit(after=5, limit=100),
    "consumer": lambda tx: tx.acknowledge("shop", 1),
    "counter": lambda tx: tx.counter("x"),
}


# Indexes that hold few rows, by their condition or since each new picture of stock takes rows out; and pages: read in
# the order asked for until the limit ends it.
_FEW = ("order_person", "fulfilment_parked", "fulfilment_problem", "movement_sku")
_PAGES = {
    "order_ids, a page": "order_added",
    "deliveries, the latest": "outbox_latest",
    "sightings, the latest": "sighting_latest",
}


def _is_a_walk(name: str, step: str) -> bool:
    whole = step.startswith("SCAN fcflow_") or step.endswith("(namespace=?)")
    return whole and not any(f"ix_fcflow_{index} " in step for index in (*_FEW, _PAGES.get(name)))


def _filled(path: Path) -> Store:
    store = Store.open(f"sqlite:///{path}", namespace="shop")
    with store.transaction() as tx:
        tx.insert_orders([an_order()])
        tx.insert_fulfilments([a_fulfilment()])
        tx.add_facts([Fact(fulfilment_id="A1", kind="shipped")], actor="leeds", received_at=NOON)
        tx.add_delivery(a_delivery(), ["A1"])
        tx.add_sighting(a_sighting(), [])
        tx.append([an_event()])
    return store


@pytest.mark.parametrize("name", _CALLS)
def test_a_statement_reads_what_it_needs_and_no_whole_table(name: str, tmp_path: Path) -> None:
    """
    SQLite's plan of every statement searches; it never walks a table, nor all rows of a tenant.
    """
    statements: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
            statements.append((statement, parameters[0] if many else parameters))

    with _filled(tmp_path / "fcflow.db") as store, store.transaction() as tx:
        sa.event.listen(tx.connection, "before_cursor_execute", note)
        _CALLS[name](tx)
        sa.event.remove(tx.connection, "before_cursor_execute", note)
        assert statements
        for statement, parameters in statements:
            plan = tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [row.detail for row in plan]
            walks = [step for step in steps if _is_a_walk(name, step)]
            assert walks == [], statement
