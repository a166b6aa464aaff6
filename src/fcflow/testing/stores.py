"""
What every store must do: a contract to inherit, a state machine to run, and the values both need.

A class that derives from `StoreContract` and gives the fixture ``open_store`` is held to the promises of the store; a
class made by `store_machine` compares long random histories of two tenants in one database with plain dictionaries.
"""

# ruff: noqa: PT012  # an exception leaves a transaction at its end, so its block is what raises

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from immutabledict import immutabledict

from fcflow.audit import AuditEvent, AuditType
from fcflow.documents import content_hash
from fcflow.errors import LeaseLostError, StoreBusyError, StoreError
from fcflow.lifecycle import FACT_KINDS, Fact, fold
from fcflow.model import (
    Effect,
    FulfilmentLine,
    FulfilmentOrder,
    FulfilmentState,
    Location,
    Order,
    OrderLine,
    OrderState,
    Problem,
    Shipment,
)
from fcflow.stock import Picture
from fcflow.store import FulfilmentView, Lease, OutboxState, Store, StoredOrder, Transaction
from fcflow.testing.strategies import orders, texts

__all__ = [
    "NOON",
    "StoreContract",
    "a_delivery",
    "a_fulfilment",
    "a_sighting",
    "an_order",
    "store_machine",
]

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

OpenStore = Callable[..., Store]


# ------------------------------------------------------------------ values


def an_order(order: Order | str = "A1", **changes: Any) -> StoredOrder:
    """
    An order as the store keeps it.

    Example:
        >>> an_order("A7", state=OrderState.HELD).order_id
        'A7'
    """
    if isinstance(order, str):
        order = Order(order_id=order, reference=f"R-{order}", lines=[OrderLine(sku="MUG", quantity=2)])
    fresh = StoredOrder(
        order=order, content_hash=content_hash(order), state=OrderState.OPEN, added_at=NOON, updated_at=NOON
    )
    return evolve(fresh, **changes)


def a_fulfilment(order_id: str = "A1", fulfilment_id: str | None = None, **changes: Any) -> FulfilmentView:
    """
    A fulfilment order of two mugs at leeds.

    Example:
        >>> a_fulfilment("A7").location
        'leeds'
    """
    location = changes.pop("location", "leeds")
    lines = [FulfilmentLine(line_id="1", sku="MUG", quantity=2)]
    fulfilment = FulfilmentOrder(
        fulfilment_id=fulfilment_id or order_id, order_id=order_id, location=location, lines=lines
    )
    fresh = FulfilmentView(
        fulfilment=fulfilment,
        partner="leeds",
        state=FulfilmentState.READY,
        progress=fold(fulfilment, []),
        created_at=NOON,
        updated_at=NOON,
    )
    return evolve(fresh, **changes)


def a_delivery(key: str = "k1", content: bytes = b"a;b\r\n", **changes: Any) -> dict[str, Any]:
    """
    A row for the outbox.

    Example:
        >>> a_delivery(content=b"abc")["size"]
        3
    """
    row = {
        "partner": "leeds",
        "delivery_key": key,
        "name": f"orders-{key}.csv",
        "target": "ftp://leeds.example/in",
        "content": content,
        "content_type": "text/csv",
        "size": len(content),
        "sha256": "0" * 64,
        "layout_hash": "1" * 64,
        "state": OutboxState.PENDING,
        "attempts": 0,
        "created_at": NOON,
        "updated_at": NOON,
    }
    return row | changes


def a_sighting(name: str = "status-1.csv", **changes: Any) -> dict[str, Any]:
    """
    A row for the ledger of what was taken in.

    Example:
        >>> a_sighting()["feed"]
        'status'
    """
    row = {
        "partner": "leeds",
        "feed": "status",
        "name": name,
        "size": 3,
        "modified_at": NOON,
        "etag": None,
        "sha256": "2" * 64,
        "token": '{"name":"x"}',
        "state": "applied",
        "settled": False,
        "records": 1,
        "problems": 0,
        "error": None,
        "layout_hash": "1" * 64,
        "content": b"abc",
        "received_at": NOON,
    }
    return row | changes


def an_event(message: str = "", **changes: Any) -> AuditEvent:
    """An event for the audit trail."""
    return evolve(AuditEvent(at=NOON, type=AuditType.ORDER_ADDED, order_id="A1", message=message), **changes)


# ------------------------------------------------------------------ the contract


class StoreContract:
    """
    The promises of a store. A derived class gives the fixture ``open_store``: a callable that opens the same, at first
    empty database each time it is called, with the keyword arguments ``namespace`` and, where it has them, ``schema``.
    """

    @pytest.fixture
    def store(self, open_store: OpenStore) -> Iterator[Store]:
        with open_store() as store:
            yield store

    # -------------------------------------------------------------- orders

    def test_an_order_comes_back_as_it_went_in(self, store: Store) -> None:
        """
        Every part of an order and of its state survives.
        """
        amended = Order(order_id="A1", reference="R", lines=[OrderLine(sku="MUG", quantity=9)])
        stored = an_order(
            amendment=amended, state=OrderState.HELD, held_reason="fraud", needs_person="look", pinned="leeds"
        )
        stored = evolve(stored, rule_id="r1", reason="short", fulfilled_elsewhere=True, released=("hold-review",))
        with store.transaction() as tx:
            tx.insert_orders([stored])
        with store.reading() as tx:
            view = tx.order("A1")
        assert view is not None
        assert (view.stored, view.fulfilments) == (stored, ())

    def test_an_updated_order_is_replaced_whole(self, store: Store) -> None:
        """
        What is read after an update is the new value, nothing of the old one.
        """
        with store.transaction() as tx:
            tx.insert_orders([an_order(held_reason="fraud", state=OrderState.HELD)])
            tx.update_orders([an_order(state=OrderState.OPEN)])
            view = tx.order("A1")
        assert view is not None
        assert view.stored == an_order()

    def test_what_is_not_there_cannot_be_changed(self, store: Store) -> None:
        """
        Updating an unknown order is an error, and undoes its transaction.
        """
        with pytest.raises(StoreError, match="order A2 cannot be changed: it is not there"), store.transaction() as tx:
            tx.insert_orders([an_order()])
            tx.update_orders([an_order("A2")])
        with store.reading() as tx:
            assert tx.order_ids() == []

    def test_the_same_order_is_not_added_twice(self, store: Store) -> None:
        """
        A second insert of one id is an error.
        """
        with store.transaction() as tx:
            tx.insert_orders([an_order()])
        with pytest.raises(StoreError), store.transaction() as tx:
            tx.insert_orders([an_order()])

    def test_orders_are_listed_as_they_were_added(self, store: Store) -> None:
        """
        Oldest first, ids break ties; limit and offset cut the list.
        """
        with store.transaction() as tx:
            late = an_order("A0", added_at=NOON + timedelta(seconds=1))
            tx.insert_orders([an_order("A2"), late, an_order("A1")])
            assert tx.order_ids() == ["A1", "A2", "A0"]
            assert tx.order_ids(limit=1, offset=1) == ["A2"]

    def test_orders_are_found_by_what_people_ask_for(self, store: Store) -> None:
        """
        State, location, partner, state of a fulfilment order, and whether a person must look.
        """
        with store.transaction() as tx:
            tx.insert_orders([an_order("A1"), an_order("A2"), an_order("A3", needs_person="?"), an_order("A4")])
            tx.update_orders([an_order("A4", state=OrderState.CLOSED)])
            parked = a_fulfilment("A1", parked="refused 5 times", state=FulfilmentState.SEND_FAILED)
            gone = a_fulfilment("A2", state=FulfilmentState.CANCELLED)
            elsewhere = a_fulfilment("A2", "A2-2", location="corby", partner="x", state=FulfilmentState.UNCLEAR)
            tx.insert_fulfilments([parked, gone, elsewhere])
            assert tx.order_ids(states=[OrderState.CLOSED]) == ["A4"]
            assert tx.order_ids(location="leeds") == ["A1"]
            assert tx.order_ids(location="corby") == ["A2"]
            assert tx.order_ids(partner="x") == ["A2"]
            assert tx.order_ids(partner=gone.partner) == ["A1"]
            assert tx.order_ids(location="leeds", fulfilment_states=[FulfilmentState.CANCELLED]) == ["A2"]
            assert tx.order_ids(needs_person=True) == ["A1", "A2", "A3"]
            assert tx.order_ids(needs_person=False) == ["A4"]
            assert tx.order_counts() == {"open": 3, "closed": 1}
            assert tx.orders_by_reference(["R-A2", "R-no"]) == {"R-A2": ["A2"]}

    def test_many_ids_are_asked_for_at_once(self, store: Store) -> None:
        """
        More ids than one statement takes parameters come back complete and in the order asked for.
        """
        asked = [f"A{n}" for n in range(1201)]
        with store.transaction() as tx:
            tx.insert_orders([an_order(order_id) for order_id in asked])
            tx.insert_fulfilments([a_fulfilment(order_id) for order_id in asked])
            backwards = asked[::-1]
            assert [view.order_id for view in tx.orders([*backwards, "no", "A3"])] == backwards
            assert set(tx.hashes(asked)) == set(asked)
            assert len(tx.fulfilments(ids=asked)) == 1201

    # -------------------------------------------------------------- fulfilment orders

    def test_a_fulfilment_order_comes_back_as_it_went_in(self, store: Store) -> None:
        """
        Every flag, the effects of the rules, the progress and the parcels survive.
        """
        view = a_fulfilment(
            effects=(Effect(rule_id="r", kind="tag", value="two-man"),),
            rule_id="r",
            attempts=3,
            label_printed_at=NOON,
            label_error="450 busy",
            problem="no such SKU",
            parked="given up",
            cancel_requested_at=NOON,
            amend_requested_at=NOON,
            sent_at=NOON,
            excluded=True,
        )
        parcel = Shipment(fulfilment_id="A1", carrier="DPD", tracking_numbers=("T1", "T2"), shipped_at=NOON)
        with store.transaction() as tx:
            tx.insert_orders([an_order()])
            tx.insert_fulfilments([a_fulfilment()])
            tx.update_fulfilments([view])
            assert tx.add_shipments([parcel, parcel], NOON) == [parcel]
            assert tx.add_shipments([parcel], NOON) == []
            found = tx.order("A1")
            assert found is not None
            assert found.fulfilments == (evolve(view, shipments=(parcel,)),)
            assert tx.excluded(["A1", "A2"]) == {"A1": frozenset({"leeds"})}
            assert tx.fulfilment_counts() == {("leeds", "ready"): 1}
            assert (tx.orders_at("leeds", NOON - timedelta(seconds=1)), tx.orders_at("leeds", NOON)) == (1, 0)

    def test_a_fulfilment_order_belongs_to_an_order(self, store: Store) -> None:
        """
        Nothing is written of an order that is not there.
        """
        with pytest.raises(StoreError), store.transaction() as tx:
            tx.insert_fulfilments([a_fulfilment()])
        with pytest.raises(StoreError), store.transaction() as tx:
            tx.add_facts([Fact(fulfilment_id="A1", kind="accepted")], actor="leeds", received_at=NOON)

    def test_a_fact_is_kept_once(self, store: Store) -> None:
        """
        Only what was never said before is returned as new, in one call and across calls.
        """
        shipped = Fact(fulfilment_id="A1", kind="shipped", line_id="1", quantity=1, shipment="T1", at=NOON)
        with store.transaction() as tx:
            tx.insert_orders([an_order()])
            tx.insert_fulfilments([a_fulfilment()])
            assert tx.add_facts([shipped, shipped], actor="leeds", received_at=NOON) == [shipped]
        more = evolve(shipped, quantity=2)
        with store.transaction() as tx:
            assert tx.add_facts([shipped, more], actor="leeds", received_at=NOON) == [more]
            assert tx.facts(["A1", "A2"]) == {"A1": [shipped, more]}

    # -------------------------------------------------------------- exchange

    def test_a_delivery_keeps_its_exact_bytes(self, store: Store) -> None:
        """
        The outbox gives back what was minted, and what became of it.
        """
        content = bytes(range(256))
        with store.transaction() as tx:
            tx.insert_orders([an_order("A1"), an_order("A2")])
            tx.insert_fulfilments([a_fulfilment("A1"), a_fulfilment("A2")])
            outbox_id = tx.add_delivery(a_delivery(content=content), ["A2", "A1", "A2"])
            tx.update_delivery(outbox_id, state=OutboxState.SENT, answer="OK", sent_at=NOON, attempts=1)
        with store.reading() as tx:
            [row] = tx.deliveries(partner="leeds", states=[OutboxState.SENT])
            assert tx.deliveries_with(["A2"]) == [row] == tx.deliveries(ids=[outbox_id], newest_first=True, limit=9)
            assert tx.delivery_content(outbox_id) == content
            assert tx.delivery_content(outbox_id + 1) is None
        assert row.fulfilment_ids == ("A1", "A2")
        assert (row.answer, row.attempts, row.size) == ("OK", 1, 256)

    def test_a_delivery_key_is_used_once(self, store: Store) -> None:
        """
        Two rows of the outbox never share a delivery key.
        """
        with pytest.raises(StoreError), store.transaction() as tx:
            tx.add_delivery(a_delivery("k1"), [])
            tx.add_delivery(a_delivery("k1"), [])

    def test_a_sighting_keeps_content_and_problems(self, store: Store) -> None:
        """
        What was taken in can be read again, with every bad record.
        """
        bad = Problem(
            line=2, column=1, field="qty", found="two", expected="digits", message="m", raw=immutabledict(qty="two")
        )
        with store.transaction() as tx:
            first = tx.add_sighting(a_sighting(), [bad, Problem(message="whole file")])
            second = tx.add_sighting(a_sighting(state="refused"), [])
            tx.settle_sighting(first)
        with store.reading() as tx:
            assert tx.problems(first) == [bad, Problem(message="whole file")]
            assert [(s.sighting_id, s.settled) for s in tx.sightings(name="status-1.csv")] == [
                (second, False),
                (first, True),
            ]
            assert [s.sighting_id for s in tx.sightings(partner="leeds", feed="status", state="refused")] == [second]
            assert tx.sighting_content(first) == b"abc"

    def test_what_no_database_can_hold_is_replaced_in_what_partners_say(self, store: Store) -> None:
        """
        NUL and broken Unicode in a partner's words never keep the rest of a file from being stored.
        """
        odd = Problem(line=1, found="a\0b", expected="c\udc80d", raw=immutabledict({"\ud800": "\0"}))
        with store.transaction() as tx:
            sighting = tx.add_sighting(a_sighting("bad\0name\udcff.csv"), [odd])
            tx.append([an_event("said \0 and \udc80")])
            [found] = tx.problems(sighting)
            assert (found.found, found.expected) == ("a\ufffdb", "c\ufffdd")
            assert [s.sighting_id for s in tx.sightings(name="bad\0name\udcff.csv")] == [sighting]
            assert tx.audit()[0].message == "said \ufffd and \ufffd"

    def test_what_cannot_be_stored_is_refused_whole(self, store: Store) -> None:
        """
        A code that is no text, or an instant without a zone, is a `StoreError` and nothing of it is kept.
        """
        broken = Order(order_id="A\udc80", lines=[OrderLine(sku="MUG", quantity=1)])
        with pytest.raises(StoreError), store.transaction() as tx:
            tx.insert_orders([an_order(), an_order(broken)])
        with pytest.raises(StoreError, match="instant with a time zone"), store.transaction() as tx:
            tx.insert_orders([an_order(added_at=datetime(2026, 3, 2))])  # noqa: DTZ001  # what is wrong with it
        with store.reading() as tx:
            assert tx.order_ids() == []

    def test_stock_pictures_replace_each_other(self, store: Store) -> None:
        """
        5, 3, 5 ends at 5 and `as_of` moves on; other SKUs stay.
        """
        fives = [Picture(location="leeds", sku="MUG", on_hand=n, as_of=NOON, received_at=NOON) for n in (5, 3)]
        later = evolve(fives[0], as_of=NOON + timedelta(hours=1))
        cup = Picture(location="corby", sku="CUP", on_hand=-2, reserved=1, inbound=2**40, as_of=NOON, received_at=NOON)
        with store.transaction() as tx:
            for picture in [*fives, later, cup]:
                tx.put_pictures([picture])
            assert tx.pictures() == [cup, later]
            assert tx.pictures(location="leeds") == tx.pictures(sku="MUG") == [later]

    def test_small_things_are_remembered(self, store: Store) -> None:
        """
        Looks, locations and counters; a counter goes 1, 2, 3 and is rolled back with its transaction.
        """
        with store.transaction() as tx:
            assert tx.looked_at("leeds", "stock") is None
            tx.mark_look("leeds", "stock", NOON)
            tx.put_location(Location(code="leeds", kind="drop_shipper", partner="p"))
            assert [tx.counter("orders"), tx.counter("orders"), tx.counter("other")] == [1, 2, 1]
        with pytest.raises(ZeroDivisionError), store.transaction() as tx:
            tx.counter("orders")
            raise ZeroDivisionError
        with store.transaction() as tx:
            assert tx.counter("orders") == 3
            assert tx.looked_at("leeds", "stock") == NOON
            assert tx.locations() == {"leeds": ("drop_shipper", "p")}

    # -------------------------------------------------------------- audit trail and its feed

    def test_the_audit_trail_is_ordered_and_filtered(self, store: Store) -> None:
        """
        Events come back in the order in which they were appended, each with a number of its own.
        """
        events = [
            an_event("a", data={"n": 1, "deep": {"list": [1, None, "x"]}}),
            an_event("b", order_id="A2", location="leeds", type=AuditType.FULFIL_STATUS),
            an_event("c", at=NOON + timedelta(hours=1), fulfilment_id="A1-2", actor="leeds"),
        ]
        with store.transaction() as tx:
            tx.append(events)
            trail = tx.audit()
            assert [evolve(event, sequence=0) for event in trail] == events
            assert trail[0].sequence < trail[1].sequence < trail[2].sequence
            assert [event.message for event in tx.audit(order_id="A1")] == ["a", "c"]
            assert [event.message for event in tx.audit(type="FULFIL_STATUS")] == ["b"]
            assert [event.message for event in tx.audit(location="leeds")] == ["b"]
            assert [event.message for event in tx.audit(since=NOON + timedelta(minutes=1))] == ["c"]
            assert [event.message for event in tx.audit(after=trail[0].sequence, limit=1)] == ["b"]

    def test_a_consumer_sees_every_event_at_least_once_and_in_order(self, store: Store) -> None:
        """
        What was read and not acknowledged, or acknowledged in a transaction that failed, comes again.
        """

        def take(*, fail: bool = False) -> list[str]:
            with store.transaction() as tx:
                events = tx.audit(after=tx.consumer_position("shop"), limit=2)
                if events:
                    tx.acknowledge("shop", events[-1].sequence)
                if fail:
                    raise ZeroDivisionError
                return [event.message for event in events]

        with store.transaction() as tx:
            tx.append([an_event(letter) for letter in "abc"])
        with pytest.raises(ZeroDivisionError):
            take(fail=True)
        assert [take(), take(), take()] == [["a", "b"], ["c"], []]
        with store.transaction() as tx:
            tx.acknowledge("shop", 1)
            assert tx.audit(after=tx.consumer_position("shop")) == []
            assert tx.consumer_position("another") == 0

    # -------------------------------------------------------------- transactions

    def test_a_transaction_happens_whole_or_not_at_all(self, store: Store) -> None:
        """
        An exception takes back everything that was done inside.
        """
        with pytest.raises(ZeroDivisionError), store.transaction() as tx:
            tx.insert_orders([an_order()])
            tx.append([an_event()])
            raise ZeroDivisionError
        with store.reading() as tx:
            assert (tx.order_ids(), tx.audit()) == ([], [])

    def test_reading_writes_nothing(self, store: Store) -> None:
        """
        A write where only reading was asked for is refused, and writing works afterwards.
        """
        with pytest.raises(StoreError), store.reading() as tx:
            tx.append([an_event()])
        with store.transaction() as tx:
            tx.append([an_event()])

    def test_a_second_transaction_of_the_same_thread_is_refused_at_once(self, store: Store) -> None:
        """
        What would wait for itself says so instead.
        """
        with store.transaction() as tx:
            with pytest.raises(StoreError, match="open already"), store.transaction():
                pass
            tx.append([an_event()])
        with store.transaction() as tx:
            assert len(tx.audit()) == 1

    def test_tenants_never_see_each_other(self, open_store: OpenStore) -> None:
        """
        Two namespaces in one database hold the same ids side by side.
        """
        with open_store(namespace="a") as ours, open_store(namespace="b") as theirs:
            for store in (ours, theirs):
                _fill(store)
            with theirs.transaction() as tx:
                tx.update_orders([an_order(state=OrderState.CLOSED)])
                tx.acknowledge("shop", 99)
                sighting = tx.sightings()[0].sighting_id
                outbox_id = tx.deliveries()[0].outbox_id
            with ours.reading() as tx:
                assert tx.order_counts() == {"open": 1}
                assert [len(tx.audit()), len(tx.facts(["A1"])["A1"]), len(tx.deliveries_with(["A1"]))] == [1, 1, 1]
                assert tx.consumer_position("shop") == 0
                assert (tx.problems(sighting), tx.sighting_content(sighting)) == ([], None)
                assert (tx.deliveries(ids=[outbox_id]), tx.delivery_content(outbox_id)) == ([], None)
            with pytest.raises(StoreError), ours.transaction() as tx:
                tx.settle_sighting(sighting)
            with ours.lease("leeds"), theirs.lease("leeds"):
                pass

    # -------------------------------------------------------------- leases

    def test_a_lease_is_held_by_one(self, store: Store) -> None:
        """
        It is refused while it is held, free once it was given back, and each holder has a higher fence.
        """
        with store.lease("leeds/orders") as first:
            with pytest.raises(StoreBusyError, match="leeds/orders is worked on"), store.lease("leeds/orders"):
                pass
            with store.lease("leeds/stock"):
                pass
        with store.lease("leeds/orders") as second:
            assert second.fence > first.fence

    def test_who_lost_a_lease_writes_nothing(self, store: Store) -> None:
        """
        After another took over an expired lease, its slow holder writes nothing and frees nothing.
        """
        clock = [NOON]
        with ExitStack() as stack:
            slow = stack.enter_context(store.lease("leeds", ttl_s=60, clock=lambda: clock[0]))
            clock[0] += timedelta(seconds=61)
            with ExitStack() as inner:
                quick = inner.enter_context(store.lease("leeds", ttl_s=60, clock=lambda: clock[0]))
                with pytest.raises(LeaseLostError), store.transaction(lease=slow) as tx:
                    tx.append([an_event()])
                with pytest.raises(LeaseLostError):
                    store.renew(slow)
                stack.close()
                with pytest.raises(StoreBusyError), store.lease("leeds", clock=lambda: clock[0]):
                    pass
                with store.transaction(lease=quick) as tx:
                    assert tx.audit() == []

    def test_a_transaction_renews_its_lease(self, store: Store) -> None:
        """
        Whoever keeps writing keeps the lease; one that ran out and that nobody took is still its holder's.
        """
        clock = [NOON]
        with store.lease("leeds", ttl_s=60, clock=lambda: clock[0]) as held:
            for _ in range(3):
                clock[0] += timedelta(seconds=59)
                with store.transaction(lease=held):
                    pass
                with pytest.raises(StoreBusyError), store.lease("leeds", clock=lambda: clock[0]):
                    pass
            clock[0] += timedelta(seconds=61)
            store.renew(held)

    # -------------------------------------------------------------- snapshot

    def test_a_snapshot_lives_its_own_life(self, store: Store) -> None:
        """
        It knows what the store knew, and what is done to either leaves the other alone.
        """
        _fill(store)
        with store.snapshot() as copied:
            with copied.reading() as tx, store.reading() as original:
                assert tx.orders(["A1"]) == original.orders(["A1"])
                assert tx.facts(["A1"]) == original.facts(["A1"])
                assert tx.deliveries() == original.deliveries()
                assert tx.sightings() == original.sightings()
                assert tx.pictures() == original.pictures()
            with copied.transaction() as tx:
                tx.update_orders([an_order(state=OrderState.CLOSED)])
                assert tx.counter("orders") == 2
        with store.transaction() as tx:
            assert tx.order_counts() == {"open": 1}
            assert tx.counter("orders") == 2


def _fill(store: Store) -> None:
    with store.transaction() as tx:
        tx.insert_orders([an_order()])
        tx.insert_fulfilments([a_fulfilment()])
        tx.add_facts([Fact(fulfilment_id="A1", kind="accepted")], actor="leeds", received_at=NOON)
        tx.add_shipments([Shipment(fulfilment_id="A1", tracking_numbers=("T1",))], NOON)
        tx.add_delivery(a_delivery(), ["A1"])
        tx.add_sighting(a_sighting(), [Problem(line=1, message="odd")])
        tx.put_pictures([Picture(location="leeds", sku="MUG", on_hand=5, as_of=NOON, received_at=NOON)])
        tx.append([an_event()])
        tx.counter("orders")
        tx.mark_look("leeds", "stock", NOON)


# ------------------------------------------------------------------ the state machine

_ORDER_IDS = ("A1", "A2", "łódź 3")
_TENANTS = ("", "other")
_MOMENTS = st.integers(0, 10_000).map(lambda minutes: NOON + timedelta(minutes=minutes))


class _Tenant:
    """What one tenant's store should hold."""

    def __init__(self) -> None:
        self.orders: dict[str, StoredOrder] = {}
        self.fulfilments: dict[str, FulfilmentView] = {}
        self.facts: dict[str, list[Fact]] = {}
        self.deliveries: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {}
        self.sightings: list[tuple[dict[str, Any], list[Problem]]] = []
        self.audit: list[AuditEvent] = []
        self.pictures: dict[tuple[str, str], Picture] = {}
        self.counters: dict[str, int] = {}
        self.positions: dict[str, int] = {}


def _operations() -> st.SearchStrategy[tuple[str, Any]]:
    order_ids = st.sampled_from(_ORDER_IDS)
    stored = st.builds(
        an_order,
        order_ids.flatmap(lambda order_id: orders(order_id=order_id, max_lines=2)),
        state=st.sampled_from(OrderState),
        held_reason=st.none() | texts(),
        needs_person=st.none() | texts(),
        pinned=st.none() | st.just("leeds"),
        released=st.lists(texts(), max_size=2).map(tuple),
        added_at=_MOMENTS,
        updated_at=_MOMENTS,
    )
    flags = {
        "state": st.sampled_from(FulfilmentState),
        "attempts": st.integers(0, 9),
        "parked": st.none() | texts(),
        "problem": st.none() | texts(),
        "sent_at": st.none() | _MOMENTS,
        "excluded": st.booleans(),
        "location": st.sampled_from(("leeds", "corby")),
    }
    facts = st.builds(
        Fact,
        fulfilment_id=order_ids,
        kind=st.sampled_from(FACT_KINDS),
        line_id=st.none() | st.just("1"),
        quantity=st.none() | st.integers(0, 2),
        at=st.none() | _MOMENTS,
        message=st.none() | texts(),
    )
    states = st.sampled_from((OutboxState.SENDING, OutboxState.SENT, OutboxState.UNCLEAR))
    pictures = st.builds(
        Picture,
        location=st.sampled_from(("leeds", "corby")),
        sku=st.sampled_from(("MUG", "CUP")),
        on_hand=st.integers(-5, 2**40),
        inbound=st.none() | st.integers(0, 9),
        as_of=_MOMENTS,
        received_at=_MOMENTS,
    )
    return st.one_of(
        st.tuples(st.just("order"), stored),
        st.tuples(st.just("fulfilment"), st.tuples(order_ids, st.fixed_dictionaries(flags))),
        st.tuples(st.just("facts"), st.lists(facts, max_size=3)),
        st.tuples(st.just("delivery"), st.tuples(st.sampled_from(("k1", "k2", "k3")), st.binary(max_size=9), states)),
        st.tuples(st.just("sighting"), st.lists(texts().map(lambda found: Problem(line=1, found=found)), max_size=2)),
        st.tuples(st.just("event"), st.builds(an_event, texts(), at=_MOMENTS, order_id=order_ids)),
        st.tuples(st.just("picture"), pictures),
        st.tuples(st.just("counter"), st.sampled_from(("a", "b"))),
        st.tuples(st.just("acknowledge"), st.tuples(st.sampled_from(("shop", "crm")), st.integers(0, 20))),
    )


class _Machine(RuleBasedStateMachine):
    """Histories of two tenants in one database, each compared with plain dictionaries after every step."""

    def open_store(self, stack: ExitStack, namespace: str) -> Store:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.held: list[tuple[AbstractContextManager[Lease], Lease]] = []
        self.right: tuple[int, datetime] | None = None
        self.now = NOON

    @initialize()
    def begin(self) -> None:
        self.models = {tenant: _Tenant() for tenant in _TENANTS}
        self.stores = {tenant: self.open_store(self.stack, tenant) for tenant in _TENANTS}

    def teardown(self) -> None:
        while self.held:
            self._leave(0)
        self.stack.close()

    # -------------------------------------------------------------- transactions

    @rule(tenant=st.sampled_from(_TENANTS), operations=st.lists(_operations(), max_size=6), fails=st.booleans())
    def transact(self, tenant: str, operations: list[tuple[str, Any]], fails: bool) -> None:
        model = copy.deepcopy(self.models[tenant])
        try:
            with self.stores[tenant].transaction() as tx:
                for name, argument in operations:
                    getattr(self, f"_do_{name}")(tx, model, argument)
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            return
        self.models[tenant] = model

    def _do_order(self, tx: Transaction, model: _Tenant, stored: StoredOrder) -> None:
        known = stored.order_id in model.orders
        (tx.update_orders if known else tx.insert_orders)([stored])
        model.orders[stored.order_id] = stored

    def _do_fulfilment(self, tx: Transaction, model: _Tenant, argument: tuple[str, dict[str, Any]]) -> None:
        order_id, flags = argument
        if order_id not in model.orders:
            return
        view = a_fulfilment(order_id, **flags)
        (tx.update_fulfilments if order_id in model.fulfilments else tx.insert_fulfilments)([view])
        model.fulfilments[order_id] = view

    def _do_facts(self, tx: Transaction, model: _Tenant, said: list[Fact]) -> None:
        facts = [fact for fact in said if fact.fulfilment_id in model.fulfilments]
        fresh = tx.add_facts(facts, actor="leeds", received_at=NOON)
        expected = [f for f in dict.fromkeys(facts) if f not in model.facts.get(f.fulfilment_id, [])]
        assert fresh == expected
        for fact in fresh:
            model.facts.setdefault(fact.fulfilment_id, []).append(fact)

    def _do_delivery(self, tx: Transaction, model: _Tenant, argument: tuple[str, bytes, str]) -> None:
        key, content, state = argument
        known = {row.delivery_key: row.outbox_id for row in tx.deliveries()}
        assert set(known) == set(model.deliveries)
        if key in known:
            tx.update_delivery(known[key], state=state, answer="said")
            row, items = model.deliveries[key]
            model.deliveries[key] = row | {"state": state, "answer": "said"}, items
            return
        items = tuple(sorted(model.fulfilments))
        tx.add_delivery(a_delivery(key, content), items)
        model.deliveries[key] = a_delivery(key, content) | {"answer": None}, items

    def _do_sighting(self, tx: Transaction, model: _Tenant, problems: list[Problem]) -> None:
        row = a_sighting(problems=len(problems))
        sighting_id = tx.add_sighting(row, problems)
        if len(problems) % 2:
            tx.settle_sighting(sighting_id)
        model.sightings.append((row | {"settled": bool(len(problems) % 2)}, problems))

    def _do_event(self, tx: Transaction, model: _Tenant, event: AuditEvent) -> None:
        tx.append([event])
        model.audit.append(event)

    def _do_picture(self, tx: Transaction, model: _Tenant, picture: Picture) -> None:
        tx.put_pictures([picture])
        model.pictures[picture.sku, picture.location] = picture

    def _do_counter(self, tx: Transaction, model: _Tenant, name: str) -> None:
        model.counters[name] = model.counters.get(name, 0) + 1
        assert tx.counter(name) == model.counters[name]

    def _do_acknowledge(self, tx: Transaction, model: _Tenant, argument: tuple[str, int]) -> None:
        consumer, sequence = argument
        tx.acknowledge(consumer, sequence)
        model.positions[consumer] = max(sequence, model.positions.get(consumer, 0))

    # -------------------------------------------------------------- leases

    @rule(seconds=st.integers(1, 90))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def take(self) -> None:
        manager = self.stores[""].lease("leeds", ttl_s=60, clock=lambda: self.now)
        free = self.right is None or self.right[1] <= self.now
        try:
            lease = manager.__enter__()
        except StoreBusyError:
            assert not free
            return
        assert free
        self.held.append((manager, lease))
        self.right = lease.fence, self.now + timedelta(seconds=60)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def write_under_a_lease(self, data: st.DataObject) -> None:
        _, lease = data.draw(st.sampled_from(self.held))
        mine = self.right is not None and self.right[0] == lease.fence
        try:
            with self.stores[""].transaction(lease=lease) as tx:
                self._do_counter(tx, self.models[""], "leased")
        except LeaseLostError:
            assert not mine
            return
        assert mine
        self.right = lease.fence, self.now + timedelta(seconds=60)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        self._leave(data.draw(st.integers(0, len(self.held) - 1)))

    def _leave(self, index: int) -> None:
        manager, lease = self.held.pop(index)
        manager.__exit__(None, None, None)
        if self.right is not None and self.right[0] == lease.fence:
            self.right = None

    # -------------------------------------------------------------- what must hold

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        for tenant in _TENANTS if hasattr(self, "stores") else ():
            with self.stores[tenant].reading() as tx:
                self._compare(tx, self.models[tenant])

    def _compare(self, tx: Transaction, model: _Tenant) -> None:
        by_age = sorted(model.orders.values(), key=lambda each: (each.added_at, each.order_id))
        assert tx.order_ids() == [each.order_id for each in by_age]
        views = tx.orders(_ORDER_IDS)
        assert {view.order_id: view.stored for view in views} == model.orders
        assert {v.order_id: v.fulfilments[0] for v in views if v.fulfilments} == model.fulfilments
        awaited = [view.order_id for view in views if view.needs_person]
        assert sorted(tx.order_ids(needs_person=True)) == sorted(awaited)
        assert tx.facts(_ORDER_IDS) == model.facts
        assert list(tx.pictures()) == [model.pictures[key] for key in sorted(model.pictures)]
        assert [evolve(event, sequence=0) for event in tx.audit()] == model.audit
        assert {name: tx.consumer_position(name) for name in model.positions} == model.positions
        self._compare_exchange(tx, model)

    def _compare_exchange(self, tx: Transaction, model: _Tenant) -> None:
        found = {row.delivery_key: row for row in tx.deliveries()}
        assert set(found) == set(model.deliveries)
        for key, (row, items) in model.deliveries.items():
            delivery = found[key]
            assert (delivery.state, delivery.answer, delivery.fulfilment_ids) == (row["state"], row["answer"], items)
            assert tx.delivery_content(delivery.outbox_id) == row["content"]
        sightings = tx.sightings()[::-1]
        assert [(each.settled, tx.problems(each.sighting_id)) for each in sightings] == [
            (row["settled"], problems) for row, problems in model.sightings
        ]


def store_machine(open_store: Callable[[ExitStack, str], Store]) -> type[RuleBasedStateMachine]:
    """
    A Hypothesis state machine over two tenants of one database.

    Args:
        open_store: Called with an exit stack for cleaning up and a namespace; both tenants of one history must come to
            lie in one database that is empty when the history begins.

    Example:
        >>> def open_one(stack, namespace):
        ...     return stack.enter_context(Store.open("sqlite://", namespace=namespace))
        >>> store_machine(open_one).__name__
        'StoreMachine'
    """

    class StoreMachine(_Machine):
        def open_store(self, stack: ExitStack, namespace: str) -> Store:
            return open_store(stack, namespace)

    return StoreMachine
