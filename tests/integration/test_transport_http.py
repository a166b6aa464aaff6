"""
The HTTP transport against a real server on loopback, with what servers do on bad days.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import trustme

from fcflow.errors import (
    TransportCorruptError,
    TransportError,
    TransportLoginError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTimeoutError,
    TransportTooLargeError,
    TransportUnavailableError,
    TransportUnclearError,
    TransportUnsupportedError,
    TransportUntrustedError,
)
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing import servers
from fcflow.testing.faults import Channel, FaultProxy
from fcflow.testing.transports import TransportContract, TransportHarness
from fcflow.transports import (
    Delivery,
    Endpoint,
    Offer,
    OpenFulfilment,
    Outcome,
    Presence,
    Query,
    Transport,
)
from fcflow.transports.http import TYPE, build

CANARY = "s3cret-canary"


class Service(ThreadingHTTPServer):
    """A partner's service: keeps posts by their idempotency key and answers as *fault* says."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: Any = ("127.0.0.1", 0)) -> None:
        super().__init__(address, _Handler)
        self.orders: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.answer: tuple[int, bytes, dict[str, str]] = (200, b"OK", {})
        self.fault = ""
        self.done = threading.Event()
        self.links: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.links.append(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        """Close every connection, kept alive or not."""
        for link in self.links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the service."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.answer[0] < 300:
            self.server.orders.setdefault(self.headers["Idempotency-Key"], body)
        self._answer()

    do_PUT = do_POST  # noqa: N815

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_GET  # noqa: N815

    def _answer(self) -> None:
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        getattr(self, "_" + (self.server.fault or "plain"))(*self.server.answer)

    def _head(self, status: int, length: int | None, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        elif status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _plain(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, len(body), headers)
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)

    def _late(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.server.done.wait(5)
        self.close_connection = True

    def _drop(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _half(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, len(body), headers)
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True

    def _slow(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, 1000, headers)
        self._drip(b"x")

    def _slow_head(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self._drip(b"x")

    def _drip(self, byte: bytes) -> None:
        for _ in range(100):
            self.wfile.write(byte)
            if self.server.done.wait(0.05):
                break
        self.close_connection = True

    def _endless(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, None, headers)
        while not self.server.done.is_set():
            self.wfile.write(b"x" * 65536)

    def _half_head(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Ty")
        self.close_connection = True

    def _chunks(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nSKU\tQ\r\n")
        self.close_connection = True

    def _garbage(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.wfile.write(b"220 ProFTPD Server ready.\r\n")
        self.close_connection = True


@contextmanager
def _serving(context: ssl.SSLContext | None = None, address: Any = ("127.0.0.1", 0)) -> Iterator[Service]:
    service = Service(address)
    if context is not None:
        service.socket = context.wrap_socket(service.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.done.set()
        service.shutdown()
        service.server_close()
        thread.join()


@pytest.fixture
def service() -> Iterator[Service]:
    with _serving() as running:
        yield running


@contextmanager
def _opened(service: Service, path: str = "/api/", scheme: str = "http", **kwargs: Any) -> Iterator[Transport]:
    limits = kwargs.pop("limits", PartnerLimits(timeout_s=2))
    host = kwargs.pop("host", "127.0.0.1")
    user = kwargs.pop("user", "")
    url = f"{scheme}://{user}{host}:{service.server_address[1]}{path}"
    endpoint = Endpoint(
        partner="postal",
        connection=Connection(url=url, **kwargs),
        limits=limits,
        resolve=lambda reference: str(reference["value"]),
    )
    transport = build(endpoint)
    try:
        yield transport
    finally:
        transport.close()


def _feed(kind: str = "orders", path: str = "orders", **options: Any) -> Feed:
    return Feed(kind=kind, partner="postal", layout="canonical", path=path, options=options)


def _delivery(content: bytes = b"order_id=A1", feed: Feed | None = None, **kwargs: Any) -> Delivery:
    kwargs.setdefault("key", "key-1")
    return Delivery(
        feed=feed or _feed(),
        name="A1",
        content=content,
        content_type="application/x-www-form-urlencoded",
        fulfilment_ids=("A1",),
        **kwargs,
    )


def _looked(transport: Transport, feed: Feed, query: Query | None = None) -> list[Offer]:
    return list(transport.list(feed, query or Query()))


def _fetched(transport: Transport, feed: Feed) -> bytes:
    sink = io.BytesIO()
    [offer] = _looked(transport, feed)
    fetched = transport.fetch(offer, sink)
    assert fetched.size == len(sink.getvalue())
    return sink.getvalue()


# ------------------------------------------------------------------ posting


def test_a_post_arrives_byte_for_byte_with_its_key(service: Service) -> None:
    """
    The body, its type and the idempotency key reach the URL below the connection's own.
    """
    with _opened(service) as transport:
        receipt = transport.send(_delivery(b"\x00\xff=A1"))

    assert service.orders == {"key-1": b"\x00\xff=A1"}
    [(method, path, headers)] = service.requests
    assert (method, path) == ("POST", "/api/orders")
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert (receipt.size, receipt.answer) == (5, "OK")


@pytest.mark.fault(row=15, invariants="I3")
def test_the_same_delivery_twice_leaves_one_order(service: Service) -> None:
    """
    Every attempt carries the same key, so a server that honours it keeps one.
    """
    with _opened(service) as transport:
        transport.send(_delivery())
        transport.send(_delivery())

    assert list(service.orders) == ["key-1"]
    assert len(service.requests) == 2


def test_publishing_is_called_once_after_connecting_and_before_the_request(service: Service) -> None:
    """
    When `publishing` is called the server has seen nothing; afterwards it has.
    """
    seen: list[int] = []
    with _opened(service) as transport:
        transport.send(_delivery(publishing=lambda: seen.append(len(service.requests))))

    assert seen == [0]
    assert len(service.requests) == 1


def test_a_failure_to_mark_stops_the_post(service: Service) -> None:
    """
    What `publishing` raises comes out as it is, and nothing is sent.
    """

    def fails() -> None:
        raise OSError("disk full")

    with _opened(service) as transport, pytest.raises(OSError, match="disk full"):
        transport.send(_delivery(publishing=fails))

    assert service.requests == []


@pytest.mark.parametrize("body", [b"OK", b" OK\r\n", b"\xef\xbb\xbfOK"])
def test_ok_is_accepted_where_the_feed_asks_for_it(service: Service, body: bytes) -> None:
    """
    The ancestor's promise: `OK` means accepted.
    """
    service.answer = (200, body, {})
    with _opened(service) as transport:
        assert transport.send(_delivery(feed=_feed(accept={"body": "OK"}))).answer is not None


@pytest.mark.parametrize("body", [b"Unknown SKU MUG", b"ok", b"OK, but", b"<html>OK</html>", b""])
@pytest.mark.fault(row=16, invariants="I1")
def test_any_other_text_is_the_error(service: Service, body: bytes) -> None:
    """
    The ancestor's promise: any answer but `OK` is the error's text.
    """
    service.answer = (200, body, {})
    with _opened(service) as transport, pytest.raises(TransportRefusedError) as caught:
        transport.send(_delivery(feed=_feed(accept={"body": "OK"})))

    assert str(caught.value) == (body.decode() or "HTTP 200 OK, without a text")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, TransportRefusedError),
        (404, TransportRefusedError),
        (409, TransportRefusedError),
        (422, TransportRefusedError),
        (401, TransportLoginError),
        (403, TransportLoginError),
        (408, TransportUnavailableError),
        (429, TransportUnavailableError),
        (503, TransportUnavailableError),
        (500, TransportUnclearError),
        (502, TransportUnclearError),
        (504, TransportUnclearError),
        (301, TransportRefusedError),
    ],
)
@pytest.mark.fault(row=16, invariants="I1")
def test_each_status_has_its_meaning(service: Service, status: int, error: type[TransportError]) -> None:
    """
    A refusal, a wrong login, a *not now* and an unknown outcome are told apart.
    """
    service.answer = (status, b"no room", {})
    with _opened(service) as transport, pytest.raises(error) as caught:
        transport.send(_delivery())

    assert type(caught.value) is error


def test_declared_statuses_alone_are_accepted(service: Service) -> None:
    """
    A feed may name its statuses, also one that says *known already*.
    """
    feed = _feed(accept={"status": [201, 409]})
    with _opened(service) as transport:
        service.answer = (409, b"known", {})
        assert transport.send(_delivery(feed=feed)).answer == "known"
        service.answer = (202, b"later", {})
        with pytest.raises(TransportRefusedError, match="later"):
            transport.send(_delivery(feed=feed))


@pytest.mark.fault(row=16, invariants="I7")
def test_retry_after_is_kept_as_a_note(service: Service) -> None:
    """
    The server's own wish is not lost.
    """
    service.answer = (503, b"", {"Retry-After": "7"})
    with _opened(service) as transport, pytest.raises(TransportUnavailableError) as caught:
        transport.send(_delivery())

    assert caught.value.__notes__ == ["retry after 7 s"]


def test_the_text_of_an_answer_is_cleaned_and_shortened(service: Service) -> None:
    """
    Control characters and length of a stranger's text do not reach a terminal or the audit trail.
    """
    service.answer = (400, b"\x1b[31mbad\r\n\x00order " + b"y" * 5000, {})
    with _opened(service) as transport, pytest.raises(TransportRefusedError) as caught:
        transport.send(_delivery())

    text = str(caught.value)
    assert text.startswith("HTTP 400 Bad Request: [31mbad order yyy")
    assert text.isprintable()
    assert len(text) < 600


@pytest.mark.fault(row=16, invariants="I10")
@pytest.mark.fault(row=26, invariants="I8 I10")
def test_a_redirect_is_refused_and_names_the_host_alone(service: Service) -> None:
    """
    Nothing is sent on to another host, and what its URL holds is not shown.
    """
    service.answer = (302, b"", {"Location": "http://u:pw@other.example/x?token=t"})
    with _opened(service) as transport, pytest.raises(TransportRefusedError) as caught:
        transport.send(_delivery())

    assert "other.example" in str(caught.value)
    assert not {"pw", "token=", "/x"} & set(str(caught.value).split())
    assert "token" not in str(caught.value)
    assert len(service.requests) == 1


@pytest.mark.parametrize("fault", ["late", "drop", "slow_head", "half_head", "garbage"])
@pytest.mark.fault(row=15, invariants="I1 I3")
def test_a_lost_answer_to_a_post_is_unclear(service: Service, fault: str) -> None:
    """
    The server has the order; whoever cannot read its answer must not say *not sent*.
    """
    service.fault = fault
    with _opened(service, limits=PartnerLimits(timeout_s=0.3)) as transport, pytest.raises(TransportUnclearError):
        transport.send(_delivery())

    assert service.orders


@pytest.mark.parametrize("fault", ["half", "slow"])
@pytest.mark.fault(row=15, invariants="I1")
def test_half_an_answer_is_unclear_where_its_text_counts(service: Service, fault: str) -> None:
    """
    A text that was cut is neither `OK` nor an error's text.
    """
    service.fault, service.answer = fault, (200, b"OKOK", {})
    with _opened(service, limits=PartnerLimits(timeout_s=0.3)) as transport, pytest.raises(TransportUnclearError):
        transport.send(_delivery(feed=_feed(accept={"body": "OK"})))


@pytest.mark.parametrize("fault", ["half", "slow", "endless"])
def test_the_status_is_enough_where_only_it_counts(service: Service, fault: str) -> None:
    """
    An answer whose status says accepted is accepted, whatever becomes of its text.
    """
    service.fault, service.answer = fault, (201, b"thank you", {})
    with _opened(service, limits=PartnerLimits(timeout_s=0.3)) as transport:
        assert transport.send(_delivery()).size == 11


@pytest.mark.fault(row=15, invariants="I7")
def test_the_deadline_bounds_the_whole_call(service: Service) -> None:
    """
    A server that says a byte now and then does not hold us longer than the limit.
    """
    service.fault = "slow_head"
    begin = time.monotonic()
    with _opened(service, limits=PartnerLimits(timeout_s=0.3)) as transport, pytest.raises(TransportUnclearError):
        transport.send(_delivery())

    assert time.monotonic() - begin < 2


def test_nobody_listening_is_unavailable_and_not_published() -> None:
    """
    A refused connection comes before `publishing`.
    """
    with _serving() as gone:
        pass
    called: list[str] = []
    with _opened(gone) as transport, pytest.raises(TransportUnavailableError, match="refused"):
        transport.send(_delivery(publishing=lambda: called.append("published")))

    assert called == []


@pytest.mark.fault(row=22, invariants="I1 I3")
def test_a_connection_that_the_server_closed_is_replaced(service: Service) -> None:
    """
    Keep-alive never makes an order unclear when the server hung up in between.
    """
    with _opened(service) as transport:
        transport.send(_delivery(key="key-1"))
        service.fault = "garbage"
        with pytest.raises(TransportUnclearError):
            transport.send(_delivery(key="key-2"))
        service.fault = ""
        transport.send(_delivery(key="key-3"))

    assert set(service.orders) == {"key-1", "key-2", "key-3"}


# ------------------------------------------------------------------ trust and secrets


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Service]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with _serving(context) as running:
        yield running


@pytest.mark.fault(row=32, invariants="I10")
def test_an_unknown_certificate_is_refused(secure: Service) -> None:
    """
    No byte of ours is sent to a server that we do not trust.
    """
    with _opened(secure, scheme="https", host="localhost") as transport:
        with pytest.raises(TransportUntrustedError, match="certificate"):
            transport.send(_delivery())
        assert transport.check()[0].code == "transport.untrusted"

    assert secure.requests == []


def test_a_named_authority_is_trusted(secure: Service, authority: trustme.CA, tmp_path: Any) -> None:
    """
    The option `ca_file` names whom to trust, and the name in the certificate still counts.
    """
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = {"ca_file": str(tmp_path / "ca.pem")}
    with _opened(secure, scheme="https", host="localhost", options=options) as transport:
        assert transport.send(_delivery()).answer == "OK"
    with _opened(secure, scheme="https", options=options) as transport, pytest.raises(TransportUntrustedError):
        transport.send(_delivery())


def test_plain_http_on_a_tls_port_is_no_success(secure: Service) -> None:
    """
    Speaking to the wrong port ends in an error of ours.
    """
    with _opened(secure) as transport, pytest.raises(TransportError):
        transport.send(_delivery())


def _secret(value: str) -> dict[str, str]:
    return {"value": value}


@pytest.mark.parametrize(
    ("kwargs", "header", "expected"),
    [
        ({"user": "shop@", "secrets": {"password": _secret("pä:ss")}}, "Authorization", "Basic c2hvcDpww6Q6c3M="),
        ({"secrets": {"token": _secret("tok")}}, "Authorization", "Bearer tok"),
        ({"secrets": {"api_key": _secret("k")}}, "X-Api-Key", "k"),
        ({"secrets": {"api_key": _secret("k")}, "options": {"api_key_header": "X-Shop"}}, "X-Shop", "k"),
    ],
)
def test_secrets_travel_in_their_headers(service: Service, kwargs: Any, header: str, expected: str) -> None:
    """
    Basic, bearer and an own header, each as configured.
    """
    with _opened(service, **kwargs) as transport:
        transport.send(_delivery())

    assert service.requests[0][2][header] == expected


@pytest.mark.fault(row=26, invariants="I9 I10")
def test_nothing_comes_from_the_environment(service: Service, monkeypatch: Any, tmp_path: Any) -> None:
    """
    Neither a netrc file nor a proxy variable changes what is sent where.
    """
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with _opened(service) as transport:
        transport.send(_delivery())

    assert "Authorization" not in service.requests[0][2]


def test_cookies_are_not_kept(service: Service) -> None:
    """
    What one answer sets, the next request does not carry.
    """
    service.answer = (200, b"OK", {"Set-Cookie": "session=1"})
    with _opened(service) as transport:
        transport.send(_delivery())
        transport.send(_delivery())

    assert "Cookie" not in service.requests[1][2]


def _all_text(error: BaseException) -> str:
    """The error with everything that hangs on it, whether Python shows it or not."""
    texts, todo, seen = [], [error], set()
    while todo:
        each = todo.pop()
        seen.add(id(each))
        texts.append("".join(traceback.format_exception(each)) + repr(each))
        todo += [e for e in (each.__cause__, each.__context__) if e is not None and id(e) not in seen]
    return "\n".join(texts)


@pytest.mark.parametrize("fault", ["plain", "drop", "late", "half", "garbage"])
@pytest.mark.fault(row=31, invariants="I9")
def test_no_secret_shows_anywhere(service: Service, fault: str, caplog: Any) -> None:
    """
    Neither in an error, nor in what it came from, nor in a log at DEBUG, even where the server says it back.
    """
    caplog.set_level(logging.DEBUG)
    service.fault, service.answer = fault, (400, f"bad login {CANARY}".encode(), {})
    secrets = {"password": _secret(CANARY), "api_key": _secret(CANARY + "2")}
    limits = PartnerLimits(timeout_s=0.3)
    with _opened(service, user="shop@", secrets=secrets, limits=limits) as transport:
        with pytest.raises(TransportError) as caught:
            transport.send(_delivery())
        shown = repr(transport) + str(transport.check())

    assert CANARY not in _all_text(caught.value) + caplog.text + shown
    assert "c2hvcDpz" not in _all_text(caught.value) + caplog.text


def test_a_query_string_does_not_show(service: Service) -> None:
    """
    What a URL asks for stays out of errors and of what they came from.
    """
    service.fault = "drop"
    with _opened(service) as transport, pytest.raises(TransportUnclearError) as caught:
        transport.send(_delivery(feed=_feed(path=f"orders?customer={CANARY}")))

    assert CANARY not in _all_text(caught.value)
    assert service.requests[0][1] == f"/api/orders?customer={CANARY}"


@pytest.mark.parametrize(
    "kwargs",
    [
        {"secrets": {"token": _secret("a\r\nX: y")}},
        {"secrets": {"token": _secret("a"), "password": _secret("b")}},
        {"options": {"headers": {"X-Shop": "a\nb"}}},
    ],
)
@pytest.mark.fault(row=25, invariants="I8")
def test_a_header_cannot_be_broken_out_of(service: Service, kwargs: Any) -> None:
    """
    A line end in a header's value is refused before anything is sent.
    """
    with _opened(service, **kwargs) as transport, pytest.raises(TransportUnsupportedError):
        transport.send(_delivery())

    assert service.requests == []


# ------------------------------------------------------------------ asking


def test_one_question_for_every_open_fulfilment_order(service: Service) -> None:
    """
    Ids of any spelling are quoted, so that they stay one value.
    """
    feed = _feed("status", "status.php", per="order", query={"order": "{fulfilment_id}", "ref": "#{reference}"})
    opened = [OpenFulfilment(fulfilment_id=f, order_id="A", reference="R&1") for f in ("A1", "a b&c=d#é")]
    with _opened(service) as transport:
        for offer in _looked(transport, feed, Query(open=opened)):
            transport.fetch(offer, io.BytesIO())

    asked = [parse_qsl(urlsplit(path).query) for _, path, _ in service.requests]
    assert asked == [[("order", "A1"), ("ref", "#R&1")], [("order", "a b&c=d#é"), ("ref", "#R&1")]]


def test_an_offer_can_be_fetched_by_another_process(service: Service) -> None:
    """
    The token is text that is enough.
    """
    service.answer = (200, b"A1\tSHIPPED", {})
    feed = _feed("status", "{fulfilment_id}/status", per="order")
    with _opened(service) as transport:
        [offer] = _looked(transport, feed, Query(open=[OpenFulfilment(fulfilment_id="A/1", order_id="A")]))
    sink = io.BytesIO()
    with _opened(service) as transport:
        transport.fetch(Offer(feed=feed, name=offer.name, token=offer.token), sink)
        transport.settle(offer, Outcome.APPLIED)

    assert sink.getvalue() == b"A1\tSHIPPED"
    assert service.requests[0][1] == "/api/A%2F1/status"


def test_an_order_without_what_is_asked_by_is_left_out(service: Service) -> None:
    """
    Asking by an empty reference would ask for everything.
    """
    feed = _feed("status", per="order", query={"ref": "{reference}"})
    opened = [
        OpenFulfilment(fulfilment_id="A1", order_id="A1"),
        OpenFulfilment(fulfilment_id="A2", order_id="A2", reference="7"),
    ]
    with _opened(service) as transport:
        assert [offer.name for offer in _looked(transport, feed, Query(open=opened))] == ["status-A2"]


def test_since_is_left_out_at_the_first_look(service: Service) -> None:
    """
    A feed that asks *since when* asks for everything first.
    """
    from datetime import UTC, datetime

    feed = _feed("stock", "stock.php", query={"since": "{since:%d/%m/%Y}", "all": "0"})
    with _opened(service) as transport:
        _fetched(transport, feed)
        [offer] = _looked(transport, feed, Query(since=datetime(2026, 3, 2, tzinfo=UTC)))
        transport.fetch(offer, io.BytesIO())

    assert [path for _, path, _ in service.requests] == [
        "/api/stock.php?all=0",
        "/api/stock.php?since=02%2F03%2F2026&all=0",
    ]


def test_a_share_of_many_open_orders_is_asked_for(service: Service) -> None:
    """
    No more offers than wanted.
    """
    opened = [OpenFulfilment(fulfilment_id=f"A{n}", order_id="A") for n in range(50)]
    with _opened(service) as transport:
        assert len(_looked(transport, _feed("status", per="order"), Query(open=opened, max_files=7))) == 7


@pytest.mark.parametrize("answer", [(204, b"", {}), (200, b"", {})])
def test_an_empty_answer_is_nothing_new(service: Service, answer: Any) -> None:
    """
    Zero bytes, and no error.
    """
    service.answer = answer
    with _opened(service) as transport:
        assert _fetched(transport, _feed("stock", "stock")) == b""


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, TransportNotFoundError),
        (401, TransportLoginError),
        (400, TransportRefusedError),
        (202, TransportRefusedError),
        (302, TransportRefusedError),
        (429, TransportUnavailableError),
        (500, TransportUnavailableError),
        (503, TransportUnavailableError),
    ],
)
def test_a_failed_look_is_an_error(service: Service, status: int, error: type[TransportError]) -> None:
    """
    It is never an empty answer.
    """
    service.answer = (status, b"", {"Location": "http://other.example/"})
    with _opened(service) as transport, pytest.raises(error):
        _fetched(transport, _feed("stock", "stock"))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("late", TransportTimeoutError),
        ("slow", TransportTimeoutError),
        ("slow_head", TransportTimeoutError),
        ("half", TransportCorruptError),
        ("half_head", TransportCorruptError),
        ("drop", TransportUnavailableError),
        ("garbage", TransportUnavailableError),
        ("endless", TransportTooLargeError),
    ],
)
@pytest.mark.fault(row=15, invariants="I6 I7")
def test_a_broken_answer_to_a_question_is_an_error(service: Service, fault: str, error: type[TransportError]) -> None:
    """
    Late, slow, cut, dropped, foreign and endless answers each have their error, within the deadline.
    """
    service.fault, service.answer = fault, (200, b"SKU\tQuantity", {})
    limits = PartnerLimits(timeout_s=0.4, max_bytes=1_000_000)
    with _opened(service, limits=limits) as transport, pytest.raises(error):
        _fetched(transport, _feed("stock", "stock"))


@pytest.mark.fault(row=27, invariants="I7")
def test_a_declared_size_over_the_cap_is_refused_at_once(service: Service) -> None:
    """
    Nothing of it is written.
    """
    service.answer = (200, b"x" * 2000, {})
    sink = io.BytesIO()
    with _opened(service, limits=PartnerLimits(timeout_s=2, max_bytes=1000)) as transport:
        [offer] = _looked(transport, _feed("stock", "stock"))
        with pytest.raises(TransportTooLargeError):
            transport.fetch(offer, sink)

    assert sink.getvalue() == b""


def test_a_packed_answer_is_unpacked(service: Service) -> None:
    """
    Some servers pack whether they were asked or not.
    """
    service.answer = (200, gzip.compress(b"SKU\tQuantity\n"), {"Content-Encoding": "gzip"})
    with _opened(service) as transport:
        assert _fetched(transport, _feed("stock", "stock")) == b"SKU\tQuantity\n"

    assert service.requests[0][2]["Accept-Encoding"] == "identity"


@pytest.mark.fault(row=27, invariants="I7")
def test_the_cap_counts_unpacked_bytes(service: Service) -> None:
    """
    A small answer that unpacks to a huge one stops at the cap.
    """
    service.answer = (200, gzip.compress(b"x" * 50_000_000), {"Content-Encoding": "gzip"})
    sink = io.BytesIO()
    with _opened(service, limits=PartnerLimits(timeout_s=5, max_bytes=1_000_000)) as transport:
        [offer] = _looked(transport, _feed("stock", "stock"))
        with pytest.raises(TransportTooLargeError):
            transport.fetch(offer, sink)

    assert len(sink.getvalue()) <= 1_000_000


def test_a_chunked_answer_that_is_cut_is_an_error(service: Service) -> None:
    """
    Without its last chunk an answer is not whole.
    """
    service.fault = "chunks"
    with _opened(service) as transport, pytest.raises(TransportCorruptError):
        _fetched(transport, _feed("stock", "stock"))


@pytest.mark.fault(row=39, invariants="I1")
def test_a_forked_process_opens_a_connection_of_its_own(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Two processes never speak over one connection.
    """
    with _opened(service) as transport:
        transport.send(_delivery())
        monkeypatch.setattr("fcflow.transports._wire.os.getpid", lambda: -1)
        transport.send(_delivery())

    assert len(service.links) == 2


# ------------------------------------------------------------------ looking up and checking


@pytest.mark.parametrize(
    ("status", "presence"), [(200, Presence.PRESENT), (404, Presence.ABSENT), (204, Presence.UNKNOWN)]
)
def test_a_delivery_is_looked_up_where_the_feed_says_how(service: Service, status: int, presence: Presence) -> None:
    """
    200 is present, 404 absent; without a URL nobody can know.
    """
    service.answer = (status, b"", {})
    with _opened(service) as transport:
        assert transport.look_up(_delivery(feed=_feed(look_up="orders/{fulfilment_id}?key={key}"))) is presence
        assert transport.look_up(_delivery()) is Presence.UNKNOWN

    assert [path for _, path, _ in service.requests] == ["/api/orders/A1?key=key-1"]


def test_a_failed_look_up_is_an_error(service: Service) -> None:
    """
    A server that is down says nothing about the delivery.
    """
    service.answer = (503, b"", {})
    with _opened(service) as transport, pytest.raises(TransportUnavailableError):
        transport.look_up(_delivery(feed=_feed(look_up="orders/{fulfilment_id}")))


@pytest.mark.parametrize(
    ("status", "level"), [(200, "ok"), (404, "ok"), (405, "ok"), (401, "error"), (302, "warning"), (500, "warning")]
)
def test_check_tells_what_the_server_says(service: Service, status: int, level: str) -> None:
    """
    It asks for a head alone, so it changes nothing.
    """
    service.answer = (status, b"", {})
    with _opened(service) as transport:
        assert transport.check()[0].level == level

    assert [method for method, _, _ in service.requests] == ["HEAD"]


def test_check_never_raises() -> None:
    """
    A server that is not there is a finding, and so is a secret in clear.
    """
    with _serving() as gone:
        pass
    with _opened(gone) as transport:
        assert [finding.code for finding in transport.check()] == ["transport.unavailable"]


def test_check_warns_of_secrets_in_clear(service: Service) -> None:
    """
    Plain http with a password is pointed at.
    """
    with _opened(service, secrets={"password": _secret("x")}) as transport:
        assert [finding.level for finding in transport.check()] == ["ok", "warning"]


# ------------------------------------------------------------------ URLs


@pytest.mark.parametrize("path", ["../admin", "a/../../b", "..", "%2e%2e/x", "a\\..\\..\\b"])
def test_a_path_stays_below_its_connection(service: Service, path: str) -> None:
    """
    A feed's path cannot climb out.
    """
    with _opened(service) as transport, pytest.raises(TransportUnsupportedError):
        transport.send(_delivery(feed=_feed(path=path)))

    assert service.requests == []


@pytest.mark.parametrize("path", ["http://other.example/x", "//other.example/x", "@other.example", "ä b", "x#y"])
@pytest.mark.fault(row=26, invariants="I8")
def test_a_path_stays_on_its_host(service: Service, path: str) -> None:
    """
    Whatever a path looks like, the post reaches the connection's own server.
    """
    with _opened(service) as transport:
        transport.send(_delivery(feed=_feed(path=path)))

    assert service.requests[0][1].startswith("/api/")


@pytest.mark.parametrize("url", ["http://", "http://h ost/", "http:///x", "http://h/x?key=1", "http://h\\@x/"])
def test_a_url_that_cannot_be_used_is_refused_at_once(url: str) -> None:
    """
    Before anything connects.
    """
    with pytest.raises(TransportUnsupportedError):
        build(Endpoint(partner="p", connection=Connection(url=url), resolve=lambda reference: ""))


def test_an_unknown_placeholder_is_refused(service: Service) -> None:
    """
    A misspelt placeholder does not ask for its own name.
    """
    with _opened(service) as transport, pytest.raises(TransportUnsupportedError, match="expected one of"):
        _looked(transport, _feed("stock", query={"x": "{sinse}"}))


def test_the_transport_fulfils_the_protocol() -> None:
    """
    It can be checked at run time, and is registered for both schemes.
    """
    connection = Connection(url="https://x.example/")
    assert isinstance(TYPE.build(Endpoint(partner="p", connection=connection, resolve=lambda _: "")), Transport)
    assert TYPE.schemes == ("http", "https")


# ------------------------------------------------------------------ the contract


class _HttpHarness(TransportHarness):
    """The partner's side: a service that keeps posts by their key and gives one answer to every question."""

    secret = CANARY

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._service = self._stack.enter_context(_serving())
        self._service.answer = (204, b"", {})
        self._names: dict[str, str] = {}

    def close(self) -> None:
        self._stack.close()

    def open(self, limits: PartnerLimits | None = None) -> Transport:
        host, port = self._service.server_address[:2]
        connection = Connection(url=f"http://shop@{host!s}:{port}/api", secrets={"password": _secret(CANARY)})
        return build(
            Endpoint(
                partner="postal",
                connection=connection,
                limits=limits or PartnerLimits(timeout_s=20),
                resolve=lambda reference: str(reference["value"]),
            )
        )

    def feed(self, kind: str, **changes: Any) -> Feed:
        return Feed(**{"kind": kind, "partner": "postal", "layout": "canonical", "path": kind, **changes})

    def arrived(self) -> Mapping[str, bytes]:
        return {f"orders-{key.partition('-')[2]}.csv": body for key, body in self._service.orders.items()}

    def place(self, name: str, content: bytes) -> None:
        self._service.orders[name] = content

    def collect(self, name: str) -> None:
        raise NotImplementedError("an HTTP service takes posts at once")

    def answer(self, name: str, content: bytes) -> None:
        self._service.answer = (200, content, {})

    def answers(self, folder: str = "") -> Mapping[str, bytes]:
        return {"status.csv": self._service.answer[1]}

    @contextmanager
    def down(self) -> Iterator[None]:
        address = self._service.server_address
        self._stack.close()
        self._service.hang_up()
        try:
            yield
        finally:
            orders, answer = self._service.orders, self._service.answer
            self._service = self._stack.enter_context(_serving(address=address))
            self._service.orders, self._service.answer = orders, answer


class TestContract(TransportContract):
    """
    What every transport promises, as far as it speaks of posts and of answers to questions.

    `Capabilities` says that this one neither lists nor settles: an answer lies nowhere, so the promises about files
    that lie in folders have nothing to speak of. They are named here, one by one.
    """

    @pytest.fixture
    def harness(self) -> Iterator[TransportHarness]:
        running = _HttpHarness()
        yield running
        running.close()

    test_a_file_is_offered_and_fetched_byte_for_byte = None
    test_an_empty_folder_offers_nothing = None
    test_only_what_matches_and_is_complete_is_offered = None
    test_hostile_names_are_not_offered_and_stop_nothing = None
    test_no_more_is_offered_than_asked_for = None
    test_what_was_not_settled_is_offered_again = None
    test_what_was_settled_stays_away = None
    test_leave_leaves = None
    test_a_refused_file_goes_to_the_failed_folder = None
    test_the_archive_keeps_every_file = None
    test_what_changed_after_it_was_taken_is_offered_again = None
    test_what_changed_after_it_was_offered_is_not_taken = None
    test_a_file_that_is_gone_is_an_error = None

    def test_a_failed_look_is_an_error(self, harness: TransportHarness) -> None:
        """
        The look is the question itself, so it is the question that fails.
        """
        transport = harness.open(PartnerLimits(timeout_s=5))
        harness.answer("status.csv", b"x")
        with harness.down(), pytest.raises(TransportUnavailableError):
            _fetched(transport, harness.feed("status"))
        transport.close()

    def test_it_says_that_it_neither_lists_nor_settles(self, transport: Transport) -> None:
        """
        Which is why those promises are not asked of it.
        """
        assert not transport.capabilities.lists
        assert not transport.capabilities.settles

    def test_an_answer_is_fetched_byte_for_byte(self, harness: TransportHarness, transport: Transport) -> None:
        """
        Size and hash are those of the content, and asking again gives the answer of then.
        """
        for content in (bytes(range(256)) * 1000, b"5", b"3", b"5"):
            harness.answer("status.csv", content)
            [offer] = _looked(transport, harness.feed("status"))
            sink = io.BytesIO()
            fetched = transport.fetch(offer, sink)
            transport.settle(offer, Outcome.APPLIED)
            assert sink.getvalue() == content
            assert (fetched.size, fetched.sha256) == (len(content), hashlib.sha256(content).hexdigest())


class _NginxHarness(_HttpHarness):
    """The same service behind nginx, which speaks TLS."""

    def __init__(self, folder: Path, identity: servers.Certificate) -> None:
        super().__init__()
        upstream = f"http://127.0.0.1:{self._service.server_address[1]}"
        lines = (f"location / {{ proxy_pass {upstream}; proxy_http_version 1.1; }}", "client_max_body_size 8m;")
        self._server = self._stack.enter_context(servers.nginx(folder, *lines, identity=identity))
        self._proxy = self._stack.enter_context(FaultProxy(("127.0.0.1", self._server.port)))

    def open(self, limits: PartnerLimits | None = None) -> Transport:
        assert self._server.certificate is not None
        connection = Connection(
            url=f"https://shop@127.0.0.1:{self._proxy.port}/api",
            secrets={"password": _secret(CANARY)},
            options={"ca_file": str(self._server.certificate.ca)},
        )
        return build(
            Endpoint(
                partner="postal",
                connection=connection,
                limits=limits or PartnerLimits(timeout_s=20),
                base=Path("/"),
                resolve=lambda reference: str(reference["value"]),
            )
        )

    @contextmanager
    def down(self) -> Iterator[None]:
        self._proxy.control = Channel(refuse=True)
        self._proxy.cut_all()
        yield
        self._proxy.heal()


@pytest.mark.real_server
class TestContractThroughNginx(TestContract):
    """The same promises through a real HTTP server with TLS."""

    @pytest.fixture
    def harness(self, tmp_path: Path, identity: servers.Certificate, nginx_program: None) -> Iterator[TransportHarness]:
        running = _NginxHarness(tmp_path / "nginx", identity)
        yield running
        running.close()
