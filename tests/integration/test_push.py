"""
What partners push: who is let in, what is taken once, and what they are answered, by real servers too.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import http.client
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from fcflow import Order, OrderLine, Synchronizer
from fcflow.errors import ConfigError, StoreBusyError, StoreError
from fcflow.reports import PushAnswer
from fcflow.signing import Signable, SignatureScheme, sign
from fcflow.transports.memory import MemoryPartner
from fcflow.web import asgi_app, wsgi_app

CANARY = "s3cret-canary"
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
SHIPPED = b'{"reference": "A1", "status": "shipped", "shipments": [{"tracking_numbers": ["T1"]}]}\n'
SIGNED = {"secrets": [{"env": "PUSHED"}], "signature": {}}


class Host:
    """A host whose partner `leeds` has order A1; its clock stands unless it is moved."""

    def __init__(self, push: dict[str, Any], store: str = "sqlite://", **feed: Any) -> None:
        self.now = NOW
        self.fails = False
        push = {"poll": False, **push}
        self.document = document = {
            "fcflow": "config/1",
            "store": {"url": store},
            "rules": {
                "fcflow": "ruleset/1",
                "name": "all",
                "rules": [{"id": "all", "when": True, "then": [{"allocate": {"to": ["leeds"]}}]}],
            },
            "partners": {
                "leeds": {
                    "connection": {"url": "memory://push/"},
                    "orders": {"layout": "canonical", "path": "in", "name": "orders-{counter}.json"},
                    "status": {"layout": "canonical", "push": push, **feed},
                    "stock": {"layout": "canonical", "push": push, **feed},
                    "location": {},
                }
            },
        }
        self.sync = Synchronizer.from_config(document, clock=lambda: self.now, in_transaction=self._in_transaction)
        mug = OrderLine(sku="MUG", quantity=1)
        self.sync.move(self.sync.add_orders([Order(order_id="A1", payment="paid", lines=[mug])]).added, to="leeds")
        self.sync.send_orders()

    def _in_transaction(self, connection: Any, events: Any) -> None:
        if self.fails:
            raise RuntimeError("the shop's own row cannot be written")

    def push(self, body: bytes = SHIPPED, kind: str = "status", partner: str = "leeds", **kwargs: Any) -> PushAnswer:
        """A push with a good signature, unless *headers* says otherwise."""
        headers = kwargs.pop("headers", None)
        signed = self.signed(body) if headers is None else headers
        return self.sync.receive_push(partner, kind, {**signed, **kwargs.pop("more", {})}, body, **kwargs)

    def signed(self, body: bytes, at: datetime | None = None, secret: str = CANARY) -> dict[str, str]:
        stamp = str(int((at or self.now).timestamp()))
        scheme = SignatureScheme(signed=["timestamp", "body"], separator=".")
        request = Signable(method="POST", target="", body=body, timestamp=stamp)
        return {"X-Timestamp": stamp, "X-Signature": sign(scheme, secret.encode(), request)}

    def level(self) -> Any:
        return self.sync.stock(sku="MUG")[0].locations[0].level

    def rows(self) -> list[Any]:
        return [*self.sync.received(), *self.sync.audit()]


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSHED", CANARY)
    monkeypatch.setenv("NEW", "another")
    monkeypatch.setenv("EMPTY", "")
    MemoryPartner.named("push").clear()


@contextmanager
def hosting(push: dict[str, Any] | None = None, **kwargs: Any) -> Iterator[Host]:
    host = Host(push or SIGNED, **kwargs)
    try:
        yield host
    finally:
        host.sync.close()


@pytest.fixture
def host() -> Iterator[Host]:
    with hosting() as made:
        yield made


def said(answer: PushAnswer) -> Any:
    assert answer.headers["Content-Type"] == "application/json"
    return json.loads(answer.body)


def stock(on_hand: int) -> bytes:
    return json.dumps({"sku": "MUG", "on_hand": on_hand}).encode()


# ------------------------------------------------------------------ what is taken


def test_a_status_that_is_pushed_moves_its_order(host: Host) -> None:
    """
    It goes the way of a file: the order is shipped, the bytes are kept, the audit trail names them.
    """
    answer = host.push()

    assert (answer.status, answer.is_taken, said(answer)) == (200, True, {"taken": True, "records": 1, "problems": []})
    assert host.sync.order("A1").state.value == "closed"
    [kept] = host.sync.received()
    assert host.sync.received_content(kept.sighting_id) == SHIPPED
    assert (kept.state, kept.settled, kept.modified_at) == ("applied", True, NOW)
    [event] = host.sync.audit(type="FILE_RECEIVED")
    assert event.actor == "leeds"


def test_stock_that_is_pushed_is_the_picture(host: Host) -> None:
    """
    By the same rules as a file.
    """
    assert host.push(stock(7), "stock").status == 200
    assert host.level() == 7


def test_a_push_that_comes_again_is_taken_once(host: Host) -> None:
    """
    The partner that lost our answer gets the same one; no row is written for it.
    """
    headers = host.signed(SHIPPED)
    first = host.push(headers=headers)
    before = host.rows()
    host.now += timedelta(seconds=60)
    again = host.push(headers=headers)

    assert (again.status, said(again)) == (200, {**said(first), "repeated": True})
    assert host.rows() == before


def test_equal_levels_at_another_time_are_another_picture(host: Host) -> None:
    """
    5, then 3, then 5 ends at 5, though the last one has the bytes of the first.
    """
    for level in (5, 3, 5):
        host.now += timedelta(minutes=1)
        assert host.push(stock(level), "stock").status == 200
        assert host.level() == level


@pytest.mark.parametrize("push", [{"header": "X-Token"}, {"signature": {"signed": ["body"]}}])
def test_without_instant_and_id_only_the_last_one_is_known(push: dict[str, Any]) -> None:
    """
    The same bytes twice in a row are one push; after something else they are a new one.
    """
    scheme = SignatureScheme(signed=["body"])
    with hosting({"secrets": [{"env": "PUSHED"}], **push}) as host:
        answers = []
        for level in (5, 5, 3, 5):
            signature = sign(scheme, CANARY.encode(), Signable(method="POST", target="", body=stock(level)))
            headers = {"X-Token": CANARY, "X-Signature": signature}
            answers.append(said(host.push(stock(level), "stock", headers=headers)).get("repeated", False))
        assert answers == [False, True, False, False]
        assert host.level() == 5
        assert [finding.level for finding in host.sync.check()][:2] == ["warning", "warning"]


def test_a_delivery_is_known_by_its_id() -> None:
    """
    The same id with the same bytes is one push, with other bytes a mistake that is said.
    """
    with hosting({**SIGNED, "id_header": "X-Delivery"}) as host:
        first = host.push(stock(5), "stock", more={"X-Delivery": "d-1"})
        host.now += timedelta(minutes=1)
        again = host.push(stock(5), "stock", more={"X-Delivery": "d-1"})
        other = host.push(stock(9), "stock", more={"X-Delivery": "d-1"})
        new = host.push(stock(5), "stock", more={"X-Delivery": "d-2"})

        assert [each.status for each in (first, again, other, new)] == [200, 200, 409, 200]
        assert said(again)["repeated"]
        assert len(host.sync.received()) == 2


@pytest.mark.parametrize("name", [{}, {"X-Delivery": ""}, {"X-Delivery": "a b"}, {"X-Delivery": "x" * 201}])
def test_a_delivery_without_its_id_is_refused(name: dict[str, str]) -> None:
    """
    Nobody could know it when it comes again.
    """
    with hosting({**SIGNED, "id_header": "X-Delivery"}) as host:
        assert host.push(more=name).status == 400
        assert host.sync.received() == []


def test_bad_records_do_not_lose_good_ones(host: Host) -> None:
    """
    Good ones are applied, and the partner is told of the others.
    """
    answer = host.push(SHIPPED + b'{"reference": "A1", "status": "teleported"}\nnonsense\n')

    assert answer.status == 200
    assert said(answer)["records"] == 1
    assert len(said(answer)["problems"]) == 2
    assert host.sync.order("A1").state.value == "closed"


@pytest.mark.parametrize("body", [b"<html>", b"nonsense\nmore\n", b"\xff\xfe\x00"])
def test_what_cannot_be_read_is_said(host: Host, body: bytes) -> None:
    """
    422 with what is wrong, the same when it comes again; the bytes are kept for a person.
    """
    answer = host.push(body)

    assert (answer.status, answer.is_taken) == (422, False)
    assert said(answer)["problems"]
    assert host.push(body).status == 422
    assert len(host.sync.received()) == 1
    assert host.sync.audit(type="STATE_CHANGED") == []


def test_what_was_mended_is_taken_under_the_same_id() -> None:
    """
    A partner repeats a delivery that it mended.
    """
    with hosting({**SIGNED, "id_header": "X-Delivery"}) as host:
        for broken in (b"nonsense", b"\xff\xfe\x00", b"\xff\xfe\x00"):
            assert host.push(broken, more={"X-Delivery": "d-1"}).status == 422
        assert host.push(more={"X-Delivery": "d-1"}).status == 200
        assert host.push(more={"X-Delivery": "d-1"}).status == 200
        assert host.sync.order("A1").state.value == "closed"
        assert len(host.sync.received()) == 3


def test_a_packed_push_is_unpacked(host: Host) -> None:
    """
    The signature is that of the bytes that came.
    """
    packed = gzip.compress(SHIPPED)
    assert host.push(packed, more={"Content-Encoding": "gzip"}).status == 200
    assert host.push(packed[:-9], more={"Content-Encoding": "gzip"}).status == 422
    assert host.push(b"no gzip", more={"Content-Encoding": "gzip"}).status == 422
    assert host.push(SHIPPED, more={"Content-Encoding": "br"}).status == 415
    assert host.sync.order("A1").state.value == "closed"


def test_too_much_is_refused() -> None:
    """
    Packed or not, and before anybody asks who sent it.
    """
    with hosting({**SIGNED, "max_bytes": 200}) as host:
        assert host.push(b"x" * 201, headers={}).status == 413
        bomb = gzip.compress(b"x" * 30_000)
        assert len(bomb) < 200
        assert host.push(bomb, more={"Content-Encoding": "gzip"}).status == 413
        assert host.sync.received() == []
        assert (host.sync.push_cap("leeds", "status"), host.sync.push_cap("leeds", "orders")) == (200, 0)


# ------------------------------------------------------------------ who is let in


@pytest.mark.parametrize(("partner", "kind"), [("corby", "status"), ("leeds", "orders"), ("leeds", "x"), ("", "")])
def test_nothing_is_taken_at_an_address_that_is_none(host: Host, partner: str, kind: str) -> None:
    """
    404, whatever is sent there.
    """
    assert host.push(partner=partner, kind=kind).status == 404


def _wrong(host: Host) -> list[Any]:
    good = host.signed(SHIPPED)
    return [
        {},
        {"X-Signature": good["X-Signature"]},
        {"X-Timestamp": good["X-Timestamp"]},
        host.signed(SHIPPED, secret="wrong"),
        host.signed(SHIPPED + b" "),
        host.signed(SHIPPED, at=host.now - timedelta(seconds=301)),
        host.signed(SHIPPED, at=host.now + timedelta(seconds=301)),
        {**good, "X-Timestamp": str(int(good["X-Timestamp"]) + 1)},
        {**good, "X-Timestamp": "yesterday"},
        {**good, "X-Signature": "ä" + good["X-Signature"]},
        {**good, "X-Signature": "\udc80"},
        [*good.items(), ("x-signature", good["X-Signature"])],
    ]


@pytest.mark.parametrize("number", range(12))
def test_who_is_not_the_partner_is_not_told_why(host: Host, number: int, caplog: Any) -> None:
    """
    Bad, missing, doubled, too old, or of the future: the same 401, no row in the store, and the reason in our log.
    """
    before = host.rows()
    answer = host.sync.receive_push("leeds", "status", _wrong(host)[number], SHIPPED)

    assert (answer.status, answer.body) == (401, b'{"error": "not authorised"}')
    assert host.rows() == before
    assert "kept out" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("push", "good", "bad"),
    [
        ({"header": "X-Token"}, {"x-token": CANARY}, {"x-token": CANARY[:-1]}),
        ({"header": "Authorization"}, {"Authorization": f"Bearer {CANARY}"}, {"Authorization": f"Basic {CANARY}"}),
        (
            {"user": "leeds"},
            {"Authorization": "Basic " + base64.b64encode(f"leeds:{CANARY}".encode()).decode()},
            {"Authorization": "Basic " + base64.b64encode(f"corby:{CANARY}".encode()).decode()},
        ),
        ({"user": "leeds"}, {"Authorization": "basic bGVlZHM6YW5vdGhlcg=="}, {"Authorization": "Basic ???"}),
    ],
)
def test_a_secret_may_stand_in_a_header(push: dict[str, Any], good: dict[str, str], bad: dict[str, str]) -> None:
    """
    Any of the secrets lets in, so that one can be changed without a gap.
    """
    with hosting({"secrets": [{"env": "NEW"}, {"env": "PUSHED"}], **push}) as host:
        refused = host.push(headers=bad)
        assert refused.status == 401
        assert ("WWW-Authenticate" in refused.headers) is ("user" in push)
        assert host.push(headers={}).status == 401
        assert host.push(headers=good).status == 200


def test_a_scheme_of_standard_webhooks() -> None:
    """
    Id, instant and body are signed, in base64, and the header holds two signatures while a key is changed.
    """
    key = base64.b64encode(b"a key of bytes \xff").decode()
    signature = {
        "header": "webhook-signature",
        "timestamp_header": "webhook-timestamp",
        "signed": ["id", "timestamp", "body"],
        "encoding": "base64",
        "prefix": "v1,",
        "key_form": "base64",
    }
    scheme = SignatureScheme.of(signature, separator=".")
    stamp = str(int(NOW.timestamp()))
    request = Signable(method="POST", target="/x", body=SHIPPED, timestamp=stamp, id="msg_1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUSHED", key)
        with hosting({"secrets": [{"env": "PUSHED"}], "signature": signature, "id_header": "webhook-id"}) as host:
            good = sign(scheme, base64.b64decode(key), request)
            headers = {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": f"v1,AAAA {good}"}
            assert host.push(headers={**headers, "webhook-id": "msg_2"}).status == 401
            assert host.push(headers=headers).status == 200


# ------------------------------------------------------------------ when it goes wrong on our side


def test_what_cannot_be_stored_is_asked_for_again(host: Host) -> None:
    """
    The host's own row fails: nothing of the push is kept, and the partner's next try brings it in.
    """
    before = host.rows()
    headers = host.signed(SHIPPED)
    host.fails = True
    answer = host.push(headers=headers)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
    assert host.rows() == before

    host.fails = False
    assert host.push(headers=headers).status == 200
    assert host.sync.order("A1").state.value == "closed"


@pytest.mark.parametrize("secrets", [[{"env": "MISSING"}], [{"env": "EMPTY"}], [{"env": "PUSHED"}, {"env": "EMPTY"}]])
def test_a_secret_that_is_not_there_lets_nobody_in(secrets: list[Any], caplog: Any) -> None:
    """
    An empty one least of all; it is ours to mend, so the partner is asked to repeat.
    """
    with hosting({"secrets": secrets, "header": "X-Token"}) as host:
        assert host.push(headers={"X-Token": ""}).status == 503
        assert host.push(headers={"X-Token": CANARY}).status == 503
        assert host.sync.received() == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [StoreError("disk full"), StoreBusyError("locked"), OSError("gone")])
def test_a_store_that_fails_is_no_error_of_the_partner(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: Exception, when: str
) -> None:
    """
    At every transaction of a push, before and after it took effect: the partner repeats it, and it is taken once.
    """
    monkeypatch.setattr("fcflow.phases.push._PATIENCE_S", 0.05)
    real, left = type(host.sync.store).transaction, [0]

    @contextmanager
    def failing(self: Any, **kwargs: Any) -> Iterator[Any]:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            raise error
        with real(self, **kwargs) as tx:
            yield tx
        if left[0] == 0 and when == "after":
            raise error

    headers, answers = host.signed(SHIPPED), []
    for nth in range(1, 10):
        left[0] = nth
        with monkeypatch.context() as patch:
            patch.setattr(type(host.sync.store), "transaction", failing)
            answers.append(host.push(headers=headers).status)
        if left[0] > 0:
            break
        host.now += timedelta(seconds=1)
    assert (answers[-1], set(answers[:-1]) <= {200, 503}) == (200, True)
    assert left[0] > 0
    assert [each.state for each in host.sync.received()] == ["applied"]


def test_a_feed_that_is_being_received_puts_a_push_off(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whoever writes the same partner's statuses just now is not disturbed; the partner repeats.
    """
    monkeypatch.setattr("fcflow.phases.push._PATIENCE_S", 0.05)
    with host.sync.store.lease("leeds:status", ttl_s=60, clock=lambda: host.now):
        assert host.push().status == 503
    assert host.push().status == 200


def test_many_at_once_follow_each_other(tmp_path: Any) -> None:
    """
    Twelve pushes from four threads, three of each: each is taken once, and every answer is a success.
    """
    with hosting(store=f"sqlite:///{tmp_path}/push.db") as host:
        bodies = [SHIPPED + b" " * n for n in range(4)] * 3
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(host.push, bodies))
        assert {answer.status for answer in answers} == {200}
        assert len(host.sync.received()) == 4


def test_runs_do_not_ask_where_there_is_nothing_to_ask(host: Host) -> None:
    """
    ``poll: false`` leaves the feed out of runs, and of the look that a check takes.
    """
    report = host.sync.run()
    assert not [each for each in report.partners.values() if each.failures or each.problems]
    assert not [finding for finding in host.sync.check(connect=True) if finding.level == "error"]


def test_what_was_refused_can_be_received_again(host: Host) -> None:
    """
    By the same call as a file.
    """
    host.push(b"<html>")
    [kept] = host.sync.received()
    assert (kept.name[:5], host.sync.received_content(kept.sighting_id)) == ("push-", b"<html>")


_KILLED = """
import json, os, sys
from datetime import UTC, datetime
from fcflow import Synchronizer

document, headers, body = json.loads(sys.stdin.read())
kill = lambda connection, events: os._exit(9)
now = datetime(2026, 3, 2, 9, tzinfo=UTC)
sync = Synchronizer.from_config(document, clock=lambda: now, in_transaction=kill, lease_s=5)
sync.receive_push("leeds", "status", headers, body.encode())
"""


def test_a_process_that_is_killed_in_a_push_leaves_nothing_behind(tmp_path: Any) -> None:
    """
    Right before its commit: no row of it, and when the lease has run out the partner's next try brings it in.
    """
    with hosting(store=f"sqlite:///{tmp_path}/p.db") as host:
        before, headers = host.rows(), host.signed(SHIPPED)
        given = json.dumps([host.document, headers, SHIPPED.decode()])
        done = subprocess.run([sys.executable, "-c", _KILLED], input=given, text=True, check=False, capture_output=True)
        assert done.returncode == 9, done.stderr
        assert host.rows() == before
        host.now += timedelta(seconds=6)
        assert host.push(headers=headers).status == 200
        assert host.sync.order("A1").state.value == "closed"


# ------------------------------------------------------------------ mounted


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def served(host: Host) -> Iterator[http.client.HTTPConnection]:
    with make_server("127.0.0.1", 0, wsgi_app(host.sync), handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()
            thread.join()


def test_a_wsgi_server_takes_pushes(tmp_path: Any) -> None:
    """
    Mounted anywhere, on a real server; the target that a partner signs is the one that it asked for.
    """
    signature = {"signed": ["timestamp", "method", "target", "body"], "separator": "\n"}
    with hosting({**SIGNED, "signature": signature}, store=f"sqlite:///{tmp_path}/p.db") as host:
        target, stamp = "/hooks/leeds/status?shop=a%20b", str(int(NOW.timestamp()))
        request = Signable(method="POST", target=target, body=SHIPPED, timestamp=stamp)
        headers = {"X-Timestamp": stamp, "X-Signature": sign(SignatureScheme(), CANARY.encode(), request)}
        with served(host) as client:
            for method, path, status in (
                ("POST", target, 200),
                ("POST", "/hooks/leeds/status?shop=other", 401),
                ("POST", "/hooks/corby/status", 404),
                ("GET", "/hooks/leeds/status", 405),
            ):
                client.request(method, path, SHIPPED, headers)
                answer = client.getresponse()
                assert (answer.status, bool(json.loads(answer.read()))) == (status, True)
    assert host.now == NOW


def test_a_wsgi_server_takes_no_more_than_it_must(host: Host) -> None:
    """
    A cut body is not taken for a whole one, one without length not at all, and of a huge one only the cap is read.
    """
    import io

    class Body(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            read.append(size)
            return super().read(size)

    read: list[int | None] = []
    cap = host.sync.push_cap("leeds", "status")
    answers = []
    for length, body in (("500", b"x" * 10), ("", b"x"), ("x", b"x"), (str(10**12), b"x" * (cap + 10))):
        environ = {"PATH_INFO": "/leeds/status", "REQUEST_METHOD": "POST", "wsgi.input": Body(body)}
        environ["CONTENT_LENGTH"] = length
        wsgi_app(host.sync)(environ, lambda status, headers: answers.append(int(status[:3])))
    assert answers == [400, 411, 411, 413]
    assert sum(size or 0 for size in read) <= cap + 1 + 1000


def _asked_of_asgi(host: Host, scope: dict[str, Any], messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(asgi_app(host.sync)(scope, receive, send))
    return sent


def test_an_asgi_server_takes_pushes(tmp_path: Any) -> None:
    """
    In pieces; one whose sender went away is not taken.
    """
    with hosting(store=f"sqlite:///{tmp_path}/p.db") as host:
        headers = [(name.lower().encode(), value.encode()) for name, value in host.signed(SHIPPED).items()]
        scope = {"type": "http", "method": "POST", "path": "/hooks/leeds/status", "headers": headers}
        pieces = [
            {"type": "http.request", "body": SHIPPED[:10], "more_body": True},
            {"type": "http.request", "body": SHIPPED[10:], "more_body": False},
        ]
        gone = [pieces[0], {"type": "http.disconnect"}]
        huge = [{"type": "http.request", "body": b"x" * 5_000_000, "more_body": True}]
        for messages, status in ((gone, 400), (huge, 413), (pieces, 200), (pieces, 200)):
            start, body = _asked_of_asgi(host, scope, messages)
            assert (start["status"], "error" in json.loads(body["body"])) == (status, status > 299)
        assert _asked_of_asgi(host, {**scope, "path": "/"}, [])[0]["status"] == 404
        assert host.sync.order("A1").state.value == "closed"


def test_an_asgi_server_starts_and_ends() -> None:
    """
    The life of the server is none of ours, and it is not kept waiting.
    """
    with hosting() as host:
        sent = _asked_of_asgi(host, {"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# ------------------------------------------------------------------ what a configuration may say


@pytest.mark.parametrize(
    ("push", "message"),
    [
        ({"secrets": [{"env": "PUSHED"}]}, "push"),
        ({"secrets": [{"env": "PUSHED"}], "signature": {}, "header": "X"}, "push"),
        ({"secrets": [], "signature": {}}, "secrets"),
        ({"secrets": ["s3cret-canary"], "signature": {}}, "a secret never stands"),
        ({"secrets": [{"vault": "x"}], "signature": {}}, "kind of secret reference"),
        ({"secrets": [{"env": "PUSHED"}], "signature": {"signed": ["timestamp"]}}, "signed"),
        ({"secrets": [{"env": "PUSHED"}], "signature": {"signed": ["id", "body"]}}, "id_header"),
        ({"secrets": [{"env": "PUSHED"}], "user": "a:b"}, "user"),
    ],
)
def test_a_push_that_cannot_be_checked_is_refused_with_the_document(push: dict[str, Any], message: str) -> None:
    """
    Before anybody pushes anything; no secret shows.
    """
    with pytest.raises(ConfigError) as caught:
        Host(push)
    assert message in str(caught.value)
    assert CANARY not in str(caught.value)


def test_no_secret_shows(host: Host, caplog: Any) -> None:
    """
    Neither in what describes the configuration nor in a log at DEBUG.
    """
    caplog.set_level(logging.DEBUG)
    host.push()
    host.push(headers=host.signed(SHIPPED, secret="x"))
    assert CANARY not in caplog.text + repr(host.sync.partners) + repr(host.sync)
