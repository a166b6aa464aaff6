"""Values to documents and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.documents import canonical_json, content_hash, from_document, orders_from_documents, to_document
from fcflow.errors import DocumentError, OrderError
from fcflow.model import (
    Address,
    Connection,
    Decision,
    Effect,
    Feed,
    Location,
    Order,
    OrderLine,
    Partner,
    Payment,
    ShippingOrder,
    StatusUpdate,
    StockLevel,
    WorkingCalendar,
)
from fcflow.testing.strategies import locations, orders, shipping_orders, status_updates, stock_levels

MUG = {"sku": "MUG", "quantity": 1}


def fault_texts(document: Any, cls: type = Order) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        from_document(cls, document)
    return [str(fault) for fault in caught.value.faults]


@settings(max_examples=60, deadline=None)
@given(value=orders() | shipping_orders() | status_updates() | stock_levels() | locations())
def test_a_value_comes_back_from_its_document(value):
    """
    Every value survives the way to a document, to text, and back.
    """
    text = canonical_json(to_document(value))

    assert from_document(type(value), json.loads(text)) == value


@settings(max_examples=40, deadline=None)
@given(order=orders())
def test_equal_orders_have_equal_text(order):
    """
    Amounts and instants that are equal have one spelling, whatever they were written like.
    """
    total = None if order.total is None else order.total + Decimal("0.000")
    moved = None if order.received_at is None else order.received_at.astimezone(timezone(timedelta(hours=5)))
    twin = from_document(Order, {**to_document(order), "total": total, "received_at": moved})

    assert twin == order
    assert content_hash(twin) == content_hash(order)


@pytest.mark.parametrize(
    "value",
    [
        Partner(
            code="leeds",
            connections={"default": Connection(url="ftp://leeds", secrets={"password": {"env": "LEEDS"}})},
            orders=Feed(kind="orders", partner="leeds", layout="linnworks-orders", batch=5),
            aliases={"MUG": "4711"},
        ),
        Location(
            code="corby", latitude=52.5, calendar=WorkingCalendar(days=(1, 2), holidays=[datetime(2026, 12, 25).date()])
        ),
        Decision(
            rule_id=None,
            action="keep",
            effects=(Effect(rule_id="a", kind="tag", value="x"),),
            strategy_options={"n": [1, {"k": None}]},
        ),
    ],
)
def test_nested_values_come_back(value):
    """
    Partners, locations and decisions survive the way to a document and back.
    """
    assert from_document(type(value), to_document(value)) == value


def test_absent_and_empty_parts_are_left_out():
    """
    A document holds what there is, and nothing else.
    """
    order = Order(order_id="A1", lines=[OrderLine(sku="MUG", quantity=1)])

    assert to_document(order) == {"order_id": "A1", "lines": [{"line_id": "1", "sku": "MUG", "quantity": 1}]}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"order_id": 5}, "$.order_id: expected a text, got 5"),
        ({"quantity": 0}, "$.lines[0].quantity: expected a whole number of at least 1, got 0"),
        ({"quantity": True}, "$.lines[0].quantity: expected a whole number, got True"),
        ({"total": 7.5}, '$.total: expected an amount as text, such as "7.50", or a whole number, got 7.5'),
        ({"total": "1e999"}, "$.total: expected a finite amount of at most 40 digits, got '1e999'"),
        ({"total": "cheap"}, "$.total: expected an amount such as \"7.50\", got 'cheap'"),
        ({"payment": "maybe"}, "$.payment: expected one of paid, unpaid, pending, refunded, got 'maybe'"),
        ({"tags": "gift"}, "$.tags: expected a list, got 'gift'"),
        ({"ship_to": {"contry": "GB"}}, "$.ship_to.contry: unknown key: expected country, got 'contry'"),
        (
            {"ship_to": {"country": "UKK"}},
            "$.ship_to.country: expected an ISO 3166-1 alpha-2 code such as GB, got 'UKK'",
        ),
        ({"properties": {"gift": 1}}, "$.properties.gift: expected a text, got 1"),
        ({"notes": "\ud800"}, "$.notes: expected a text that is valid Unicode, got '\\ud800'"),
        (
            {"received_at": "2026-03-02T09:30:00"},
            (
                "$.received_at: expected an instant with an offset, such as 2026-03-02T09:30:00+00:00, "
                "got '2026-03-02T09:30:00'"
            ),
        ),
    ],
)
def test_a_fault_says_where_and_what_was_expected(document, said):
    """
    Every fault names its path, what was expected and what was found.
    """
    line = {**MUG, **{key: document.pop(key) for key in list(document) if key == "quantity"}}

    assert fault_texts({"order_id": "A1", "lines": [line], **document}) == [said]


def test_all_faults_of_all_orders_come_at_once():
    """
    Two bad orders among three raise one error with every fault of both.
    """
    documents = [
        {"order_id": "A1", "lines": [MUG]},
        {"order_id": "A2", "lines": [{"sku": "MUG", "quantity": 0}], "currency": "pounds"},
        {"lines": [MUG, MUG]},
    ]

    with pytest.raises(OrderError) as caught:
        orders_from_documents(documents, source="orders.json")

    assert str(caught.value).splitlines() == [
        "orders.json: 4 faults",
        "  $[1].currency: expected an ISO 4217 code such as GBP, got 'pounds'",
        "  $[1].lines[0].quantity: expected a whole number of at least 1, got 0",
        "  $[2].order_id: missing",
        "  $[2].lines: expected every line_id once, got '1' twice",
    ]


def test_one_id_with_two_contents_is_a_fault():
    """
    The same order twice counts once; the same id with other content is refused.
    """
    first = {"order_id": "A1", "lines": [MUG]}

    assert len(orders_from_documents([first, dict(first)])) == 1
    with pytest.raises(OrderError) as caught:
        orders_from_documents([first, {**first, "notes": "gift"}])
    assert "$[1].order_id: A1: expected one order of this id" in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    cls=st.sampled_from((Order, ShippingOrder, StatusUpdate, StockLevel, Partner, Location, Address)),
    document=json_values
    | st.dictionaries(st.sampled_from(("order_id", "lines", "ship_to", "sku", "feeds")), json_values),
)
def test_garbage_is_refused_with_faults(cls, document):
    """
    Whatever JSON is given, the outcome is a value or a document error with at least one fault under ``$``.
    """
    faults, value = [], None
    try:
        value = from_document(cls, document)
    except DocumentError as error:
        faults = error.faults

    assert isinstance(value, cls) or faults
    assert all(fault.path.startswith("$") for fault in faults)


def test_instants_become_utc():
    """
    An instant of any zone is held and written in UTC.
    """
    order = from_document(
        Order, {"order_id": "A1", "lines": [MUG], "received_at": "2026-06-01T10:00:00+02:00", "payment": "paid"}
    )

    assert order.received_at == datetime(2026, 6, 1, 8, tzinfo=UTC)
    assert order.payment is Payment.PAID
    assert to_document(order)["received_at"] == "2026-06-01T08:00:00+00:00"
