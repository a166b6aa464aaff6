"""
Questions over HTTP all the way through: what a run takes, takes once, and asks for again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fcflow import Order, OrderLine, Synchronizer
from fcflow.testing.web import Asked, Said, WebService, web_service

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
STOCK = {"sku": "MUG", "on_hand": 5}


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def shop(answer: Callable[[Asked], Said], **partner: Any) -> Iterator[tuple[Synchronizer, WebService, Clock]]:
    clock = Clock()
    with web_service(answer) as service:
        document = {
            "fcflow": "config/1",
            "store": {"url": "sqlite://"},
            "rules": {
                "fcflow": "ruleset/1",
                "name": "all",
                "rules": [{"id": "all", "when": True, "then": [{"allocate": {"to": ["leeds"]}}]}],
            },
            "partners": {
                "leeds": {
                    "connection": {"url": service.url},
                    "limits": {"tries": 1, "timeout_s": 5},
                    "location": {} if "stock" in partner else {"stock": {"tracked": False}},
                    **partner,
                }
            },
        }
        with Synchronizer.from_config(document, clock=clock) as sync:
            yield sync, service, clock


def order(order_id: str) -> Order:
    return Order(order_id=order_id, reference=f"R-{order_id}", payment="paid", lines=[OrderLine(sku="MUG", quantity=1)])


def lines(*documents: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in documents)


class Marked:
    """Answers with the mark of its content, and 304 to whoever has that."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __call__(self, asked: Asked) -> Said:
        mark = f'"{hash(self.content)}"'
        return Said(304) if asked.headers.get("if-none-match") == mark else Said(200, self.content, {"ETag": mark})


def test_stock_that_did_not_change_is_taken_once() -> None:
    """
    And 5, 3, 5 ends at 5.
    """
    answer = Marked(lines(STOCK))
    with shop(answer, stock={"layout": "canonical", "path": "stock"}) as (sync, service, clock):
        for level, received in ((5, 1), (5, 1), (3, 2), (5, 3), (5, 3)):
            clock.now += timedelta(minutes=1)
            answer.content = lines({**STOCK, "on_hand": level})
            assert not sync.receive_stock().partner("leeds").problems
            assert len(sync.received()) == received
            assert sync.stock(sku="MUG")[0].locations[0].level == level
    assert "if-none-match" not in service.asked[0].headers
    assert "if-none-match" in service.asked[1].headers


def test_an_answer_with_problems_is_asked_for_again() -> None:
    """
    What could not be applied may be tomorrow: the same bytes are read again.
    """
    answer = Marked(lines({"reference": "A1", "status": "shipped"}))
    orders = {"layout": "canonical", "path": "orders"}
    with shop(answer, orders=orders, status={"layout": "canonical", "path": "status"}) as (sync, _, clock):
        assert sync.receive_statuses().partner("leeds").unmatched == 1
        sync.add_orders([order("A1")])
        sync.run()
        clock.now += timedelta(minutes=1)
        sync.receive_statuses()
        assert sync.order("A1").state.value == "closed"


def test_a_time_of_which_nothing_was_heard_is_asked_for_again() -> None:
    """
    A look that failed does not move "since": what the partner said meanwhile is not lost.
    """
    broken = [False, True, True, False, False]
    told = iter(broken)

    def answer(asked: Asked) -> Said:
        return Said(500) if next(told) else Said(200, lines(STOCK))

    stock = {"layout": "canonical", "path": "stock", "options": {"query": {"since": "{since}"}}}
    with shop(answer, stock=stock) as (sync, service, clock):
        for _ in broken:
            clock.now += timedelta(hours=1)
            sync.receive_stock()
    since = [asked.query.get("since", "")[11:13] for asked in service.asked]
    assert since == ["", "10", "10", "10", "13"]


def test_a_wrong_login_ends_the_phase() -> None:
    """
    It is a failure of the phase, and no further question is asked: many would lock us out.
    """
    with shop(
        lambda asked: Said(401) if asked.method == "GET" else Said(200),
        orders={"layout": "canonical", "path": "orders"},
        status={"layout": "canonical", "options": {"per": "order", "query": {"id": "{fulfilment_id}"}}},
    ) as (sync, service, _):
        sync.add_orders([order(f"A{n}") for n in range(5)])
        sync.run()
        report = sync.receive_statuses()
        assert [failure.code for failure in report.partner("leeds").failures] == ["transport.login"]
    assert [asked.method for asked in service.asked].count("GET") == 1


@pytest.mark.fault(row=16, invariants="I7")
def test_a_partner_that_wants_an_hour_is_asked_no_more_in_this_run() -> None:
    """
    The others of its orders are asked for by the next run.
    """
    with shop(
        lambda asked: Said(429, b"", {"Retry-After": "3600"}) if asked.method == "GET" else Said(200),
        orders={"layout": "canonical", "path": "orders"},
        status={"layout": "canonical", "options": {"per": "order", "query": {"id": "{fulfilment_id}"}}},
    ) as (sync, service, _):
        sync.add_orders([order(f"A{n}") for n in range(5)])
        sync.run()
        assert len(sync.receive_statuses().partner("leeds").problems) == 1
    assert [asked.method for asked in service.asked].count("GET") == 1


@pytest.mark.parametrize("size", [1, 2, 10])
def test_statuses_of_many_orders_come_in_batches(size: int) -> None:
    """
    However many are asked for at a time, every order is heard of.
    """

    def answer(asked: Asked) -> Said:
        if asked.method == "POST":
            return Said(201)
        ids = asked.query["refs"].split(",")
        return Said(200, lines(*({"reference": each, "status": "shipped"} for each in ids)))

    options = {"per": "batch", "batch_size": size, "query": {"refs": "{references}"}}
    with shop(
        answer,
        orders={"layout": "canonical", "path": "orders", "batch": 1},
        status={"layout": "canonical", "matches": "reference", "options": options},
    ) as (sync, service, _):
        sync.add_orders([order(f"A{n}") for n in range(5)])
        sync.run()
        assert len(sync.receive_statuses().partner("leeds").shipped) == 5
    assert [asked.method for asked in service.asked].count("GET") == -(-5 // size)


def test_a_full_picture_in_pages_is_one_picture(tmp_path: Any) -> None:
    """
    What stands on the second page is not missing from the first; what stands on none is gone; a page that fails
    changes nothing.
    """
    pages: dict[str, Any] = {"1": [{"sku": "MUG", "qty": 5}], "2": [{"sku": "CUP", "qty": 3}], "3": []}

    def answer(asked: Asked) -> Said:
        page = pages[asked.query["page"]]
        return Said(500) if page is None else Said(200, json.dumps({"data": page}).encode())

    layout = {
        "fcflow": "layout/1",
        "kind": "stock",
        "codec": {"type": "json", "records": "data"},
        "fields": [{"at": "sku", "field": "sku"}, {"at": "qty", "field": "on_hand"}],
    }
    (tmp_path / "stock.json").write_text(json.dumps(layout))
    options = {"pages": {"by": "number", "items": "$.data", "parameter": "page"}}
    stock = {"layout": str(tmp_path / "stock.json"), "path": "stock", "complete": True, "options": options}

    def levels(sync: Synchronizer) -> dict[str, Any]:
        return {each.sku: each.locations[0].level for each in sync.stock()}

    with shop(answer, stock=stock) as (sync, _, clock):
        assert not sync.receive_stock().partner("leeds").problems
        assert levels(sync) == {"MUG": 5, "CUP": 3}
        pages["2"] = None
        clock.now += timedelta(minutes=1)
        assert sync.receive_stock().partner("leeds").problems
        assert levels(sync) == {"MUG": 5, "CUP": 3}
        pages["2"] = [{"sku": "HAT", "qty": 1}]
        clock.now += timedelta(minutes=1)
        sync.receive_stock()
        assert levels(sync) == {"MUG": 5, "CUP": 0, "HAT": 1}


@pytest.mark.fault(row=15, invariants="I3")
def test_every_attempt_at_an_order_has_the_key_that_was_stored_before() -> None:
    """
    A partner that is busy twice sees one key three times; it stands in the outbox.
    """
    answers = iter([Said(503), Said(429), Said(200)])
    with shop(
        lambda asked: next(answers),
        orders={"layout": "canonical", "path": "orders", "batch": 1},
        limits={"tries": 3, "backoff_s": 0, "timeout_s": 5},
    ) as (sync, service, _):
        sync.add_orders([order("A1")])
        assert sync.run().partner("leeds").sent == ["A1"]
        [row] = sync.outbox()
    assert [asked.headers["idempotency-key"] for asked in service.asked] == [row.delivery_key] * 3


@pytest.mark.parametrize("batch", [1, None])
@pytest.mark.parametrize(
    ("codec", "content_type", "bodies"),
    [
        (
            {"type": "json", "records": "orders"},
            "application/json",
            {
                1: ['{"orders":[{"id":"A0"}]}', '{"orders":[{"id":"A1"}]}'],
                None: ['{"orders":[{"id":"A0"},{"id":"A1"}]}'],
            },
        ),
        (
            {"type": "xml", "record": "/orders/order"},
            "application/xml",
            {
                1: ["<order><id>A0</id></order>", "<order><id>A1</id></order>"],
                None: ["<order><id>A0</id></order><order><id>A1</id></order>"],
            },
        ),
    ],
)
def test_orders_are_posted_one_by_one_or_together(
    tmp_path: Any, codec: dict[str, Any], content_type: str, bodies: dict[Any, list[str]], batch: int | None
) -> None:
    """
    In the layout's own form and type, each post with a key of its own.
    """
    layout = {
        "fcflow": "layout/1",
        "kind": "orders",
        "codec": codec,
        "one_row_per": "order",
        "fields": [{"at": "id", "field": "fulfilment_id"}],
    }
    (tmp_path / "orders.json").write_text(json.dumps(layout))
    orders = {"layout": str(tmp_path / "orders.json"), "path": "orders", **({"batch": batch} if batch else {})}
    with shop(lambda asked: Said(201), orders=orders) as (sync, service, _):
        sync.add_orders([order("A0"), order("A1")])
        assert sync.run().partner("leeds").sent == ["A0", "A1"]
    plain = ["".join(asked.body.decode().split()) for asked in service.asked]
    assert all(want in got for want, got in zip(bodies[batch], plain, strict=True))
    assert {asked.headers["content-type"].partition(";")[0] for asked in service.asked} == {content_type}
    assert len({asked.headers["idempotency-key"] for asked in service.asked}) == len(plain)
