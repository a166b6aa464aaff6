"""
The ways in which partners' HTTP services differ: how they are posted to, what their answers mean, how they page, and
who they want us to be. Every service is a real one on loopback.
"""

from __future__ import annotations

import email
import email.policy
import io
import json
import logging
import re
import ssl
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme

from fcflow.errors import (
    ConfigError,
    TransportCorruptError,
    TransportError,
    TransportLoginError,
    TransportRefusedError,
    TransportTooLargeError,
    TransportUnavailableError,
    TransportUnclearError,
    TransportUnsupportedError,
    TransportUntrustedError,
)
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.signing import Signable, SignatureScheme, verify
from fcflow.testing.web import Asked, Said, WebService, web_service
from fcflow.transports import Delivery, Endpoint, Fetched, Offer, OpenFulfilment, Query, Transport, _http_login
from fcflow.transports.http import build

CANARY = "s3cret-canary"


@pytest.fixture(autouse=True)
def no_tokens() -> Iterator[None]:
    _http_login._TOKENS.clear()
    yield
    _http_login._TOKENS.clear()


@contextmanager
def opened(url: str, **kwargs: Any) -> Iterator[Transport]:
    limits = kwargs.pop("limits", PartnerLimits(timeout_s=5))
    connection = Connection(url=url, **kwargs)
    resolve: Callable[[Any], str] = lambda reference: str(reference["value"])  # noqa: E731
    transport = build(Endpoint(partner="postal", connection=connection, limits=limits, resolve=resolve))
    try:
        yield transport
    finally:
        transport.close()


def feed_of(kind: str = "orders", path: str = "orders", **options: Any) -> Feed:
    return Feed(kind=kind, partner="postal", layout="canonical", path=path, options=options)


def delivery_of(feed: Feed, content: bytes = b'{"id": "A1"}', **kwargs: Any) -> Delivery:
    ids = kwargs.pop("fulfilment_ids", ("A1",))
    return Delivery(
        key="key-1",
        feed=feed,
        name="A1.json",
        content=content,
        content_type="application/json",
        fulfilment_ids=ids,
        **kwargs,
    )


def sent(url: str, answer_to: Feed, **kwargs: Any) -> str | None:
    with opened(url, **kwargs) as transport:
        return transport.send(delivery_of(answer_to)).answer


def fetched(transport: Transport, offer: Offer) -> tuple[bytes, Fetched]:
    sink = io.BytesIO()
    took = transport.fetch(offer, sink)
    assert took.size == len(sink.getvalue())
    return sink.getvalue(), took


def asked_for(url: str, feed: Feed, query: Query | None = None, **kwargs: Any) -> list[bytes]:
    with opened(url, **kwargs) as transport:
        return [fetched(transport, offer)[0] for offer in transport.list(feed, query or Query())]


def secret(value: str) -> dict[str, str]:
    return {"value": value}


def said(document: Any, status: int = 200, **headers: str) -> Callable[[Asked], Said]:
    return lambda asked: Said(status, json.dumps(document).encode(), headers)


# ------------------------------------------------------------------ how they are posted to


def test_a_file_is_posted_in_a_form() -> None:
    """
    Fields and file arrive as a form has them, and a repeated post has the same bytes.
    """
    feed = feed_of(multipart={"file": "upload", "fields": {"kind": "orders", "name": "{name}"}})
    content = b'{"id": "A1"}\r\n--boundary\r\n\x00\xff'
    with web_service(said("OK")) as service, opened(service.url) as transport:
        for _ in range(2):
            transport.send(delivery_of(feed, content))
    first, second = service.asked

    assert first.body == second.body
    head = f"Content-Type: {first.headers['content-type']}\r\n\r\n".encode()
    parts = list(email.message_from_bytes(head + first.body, policy=email.policy.HTTP).iter_parts())
    names = [part.get_param("name", header="content-disposition") for part in parts]
    assert names == ["kind", "name", "upload"]
    assert [part.get_content().strip() for part in parts[:2]] == ["orders", "A1.json"]
    assert parts[2].get_filename() == "A1.json"
    assert parts[2].get_content_type() == "application/json"
    assert b"\r\n\r\n" + content + b"\r\n--fcflow-" in first.body


def test_a_put_names_the_order_in_its_path() -> None:
    """
    Placeholders in the path of an orders feed are quoted, so that they stay one segment.
    """
    feed = feed_of(path="orders/{fulfilment_id}", method="PUT")
    with web_service(said("OK")) as service, opened(service.url) as transport:
        transport.send(delivery_of(feed, fulfilment_ids=["A/1"]))
        with pytest.raises(TransportUnsupportedError, match="expected one of"):
            transport.send(delivery_of(feed, fulfilment_ids=["A1", "A2"]))

    assert [(asked.method, asked.target) for asked in service.asked] == [("PUT", "/orders/A%2F1")]


def test_the_key_may_have_another_header() -> None:
    """
    Partners call it differently.
    """
    with web_service(said("OK")) as service:
        sent(service.url, feed_of(), options={"idempotency_header": "X-Request-Id"})

    assert service.asked[0].headers["x-request-id"] == "key-1"
    assert "idempotency-key" not in service.asked[0].headers


# ------------------------------------------------------------------ what their answers mean

CODE = {"accept": {"json": {"at": "$.code", "equals": 0}}, "error": "$.message"}


@pytest.mark.parametrize(
    "accept",
    [
        {"json": {"at": "$.code", "equals": 0}},
        {"json": {"at": "$.code", "in": [1, 0]}},
        {"json": {"at": "$.id", "exists": True}},
        {"json": {"at": "$.error", "exists": False}},
        {"json": [{"at": "$.id", "exists": True}, {"at": "$.lines[*].ok", "equals": True}]},
        {"status": [201], "json": {"at": "$['the id']", "equals": "7"}},
    ],
)
def test_an_answer_is_accepted_by_what_it_says(accept: dict[str, Any]) -> None:
    """
    A value found, equal, one of some, or absent; several tests must all hold.
    """
    document = {"code": 0, "id": 7, "the id": "7", "error": None, "lines": [{"ok": True}, {"ok": True}]}
    with web_service(said(document, 201)) as service:
        assert sent(service.url, feed_of(accept=accept)) == json.dumps(document)


@pytest.mark.parametrize(
    ("document", "status", "message"),
    [
        ({"code": 7, "message": "no HAT"}, 200, "no HAT"),
        ({"code": False, "message": "no HAT"}, 200, "no HAT"),
        ({"code": "0", "message": "no HAT"}, 200, "no HAT"),
        ({"message": "no HAT"}, 200, "no HAT"),
        ({"code": 7}, 200, '{"code": 7}'),
        ({"code": 0, "message": "no HAT"}, 422, "HTTP 422 Unprocessable Entity: no HAT"),
        ([], 200, "[]"),
    ],
)
def test_a_refusal_has_the_text_that_its_place_holds(document: Any, status: int, message: str) -> None:
    """
    A 2xx whose document says no is a no, and the error is its text and not the whole document.
    """
    with web_service(said(document, status)) as service, pytest.raises(TransportRefusedError) as caught:
        sent(service.url, feed_of(**CODE))

    assert str(caught.value).replace("Content", "Entity") == message


@pytest.mark.parametrize(
    "body", [b"<html>Log in</html>", b"", b'{"code": 0', b"[" * 100_000, b'{"x": "' + b"y" * 5_000_000]
)
def test_a_success_that_cannot_be_read_is_unclear(body: bytes) -> None:
    """
    A 2xx of which nobody can say whether it means yes is not sent again by itself.
    """
    with web_service(lambda asked: Said(200, body)) as service, pytest.raises(TransportUnclearError):
        sent(service.url, feed_of(**CODE))


def test_a_success_that_was_cut_is_unclear() -> None:
    """
    The value may have stood in the part that is missing.
    """
    with web_service(lambda asked: Said(200, b'{"code": 0}', cut=6)) as service, pytest.raises(TransportUnclearError):
        sent(service.url, feed_of(**CODE))


def test_a_batch_of_which_some_was_taken_is_unclear() -> None:
    """
    Neither is it refused, which would send all of it again, nor is it taken.
    """
    feed = feed_of(accept={"json": {"at": "$.orders[*].ok", "equals": True}}, error="$.orders[*].error")
    orders = [{"ok": True}, {"ok": False, "error": "no HAT"}]
    with web_service(said({"orders": orders})) as service, pytest.raises(TransportUnclearError, match="no HAT"):
        sent(service.url, feed)
    with web_service(said({"orders": orders[1:]})) as service, pytest.raises(TransportRefusedError, match="no HAT"):
        sent(service.url, feed)


def test_what_the_partner_has_already_is_a_success() -> None:
    """
    Only the 409 that says so: another one is a refusal.
    """
    known = {"status": [409], "json": {"at": "$.code", "equals": "duplicate"}}
    feed = feed_of(accept={"status": [201]}, known=known, error="$.text")
    with web_service(said({"code": "duplicate"}, 409)) as service:
        assert sent(service.url, feed) == '{"code": "duplicate"}'
    with (
        web_service(said({"code": "closed", "text": "no more orders"}, 409)) as service,
        pytest.raises(TransportRefusedError, match=r"HTTP 409 Conflict: no more orders$"),
    ):
        sent(service.url, feed)


def test_a_server_error_may_be_a_definite_no() -> None:
    """
    Some services answer 500 to a bad order; where the feed says so it is refused, and else unclear.
    """
    feed = feed_of(refuse={"status": [500], "json": {"at": "$.fault", "equals": "client"}}, error="$.text")
    client, server = {"fault": "client", "text": "no postcode"}, {"fault": "server", "text": "oops"}
    with web_service(said(client, 500)) as service, pytest.raises(TransportRefusedError, match="no postcode"):
        sent(service.url, feed)
    with web_service(said(server, 500)) as service, pytest.raises(TransportUnclearError, match="oops"):
        sent(service.url, feed)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "Mon, 02 Mar 2026 09:00:30 GMT", "Date": "Mon, 02 Mar 2026 09:00:00 GMT"}, 30),
        ({"Retry-After": "Mon, 02 Mar 1998 09:00:30 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "Mon, 99 Mar 2026 09:00:30 GMT"}, None),
    ],
)
def test_a_server_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    """
    In seconds or as an instant, which is read by the server's own clock.
    """

    def busy(asked: Asked) -> Said:
        return Said(429, b"slower", headers)

    with web_service(busy) as service, pytest.raises(TransportUnavailableError) as caught:
        sent(service.url, feed_of())

    if "Date" not in headers or seconds != 30:
        assert caught.value.retry_after_s == seconds
    else:  # the test server puts a Date of its own before ours
        assert caught.value.retry_after_s is not None


# ------------------------------------------------------------------ questions


def test_many_orders_are_asked_for_at_a_time() -> None:
    """
    No more in one question than the feed allows, none twice, none without what is asked by.
    """
    feed = feed_of("status", "status", per="batch", batch_size=2, separator=";", query={"refs": "{references}"})
    opened_orders = [OpenFulfilment(fulfilment_id=f"A{n}", order_id=f"A{n}", reference=f"R;{n}") for n in range(3)]
    opened_orders.append(OpenFulfilment(fulfilment_id="A9", order_id="A9"))
    with web_service(said([])) as service:
        asked_for(service.url, feed, Query(open=opened_orders))

    assert [asked.query["refs"] for asked in service.asked] == ["R;0;R;1", "R;2"]


def test_nothing_open_asks_nothing() -> None:
    """
    A question for no order would be one for all of them.
    """
    feed = feed_of("status", "status", per="batch", query={"ids": "{fulfilment_ids}"})
    with web_service(said([])) as service:
        assert asked_for(service.url, feed) == []

    assert service.asked == []


def test_an_answer_that_did_not_change_is_not_taken_again() -> None:
    """
    The server's mark goes back to it, and its 304 has no bytes.
    """

    def marked(asked: Asked) -> Said:
        same = asked.headers.get("if-none-match") == '"v1"'
        return Said(304) if same else Said(200, b"SKU\tQuantity\n", {"ETag": '"v1"'})

    with web_service(marked) as service, opened(service.url) as transport:
        [offer] = transport.list(feed_of("stock", "stock"), Query())
        content, took = fetched(transport, offer)
        again = Offer(feed=offer.feed, name=offer.name, token=offer.token, unless=took.etag)
        assert (content, took.etag) == (b"SKU\tQuantity\n", '"v1"')
        assert fetched(transport, again)[0] == b""
        unmarked = Offer(feed=feed_of("stock", "stock", etag=False), name="x", token=offer.token, unless=took.etag)
        assert fetched(transport, unmarked) == (content, Fetched(size=len(content), sha256=took.sha256))


def test_a_304_that_nobody_asked_for_is_an_error() -> None:
    """
    It is never an empty answer.
    """
    with web_service(lambda asked: Said(304)) as service, pytest.raises(TransportRefusedError):
        asked_for(service.url, feed_of("stock", "stock"))


@pytest.mark.parametrize("mark", ["no quotes", '"a\tb"', '"' + "x" * 500 + '"', ""])
def test_a_mark_that_is_none_is_not_kept(mark: str) -> None:
    """
    Nothing that a server says gets into a header of ours unless it is a mark.
    """
    with web_service(lambda asked: Said(200, b"x", {"ETag": mark})) as service, opened(service.url) as transport:
        [offer] = transport.list(feed_of("stock", "stock"), Query())
        assert fetched(transport, offer)[1].etag is None


# ------------------------------------------------------------------ pages

ORDERS = [{"id": f"A{n}", "price": 7.5} for n in range(5)]


def page_of(number: int, size: int = 2) -> list[dict[str, Any]]:
    return ORDERS[number * size : (number + 1) * size]


def by_link(asked: Asked) -> Said:
    n = int(asked.query.get("page", 0))
    link = {"Link": f'</orders?page={n + 1}>; rel="next", </orders>; rel="first"'} if n < 2 else {}
    return Said(200, json.dumps(page_of(n)).encode(), link)


def by_body(asked: Asked) -> Said:
    n = int(asked.query.get("page", 0))
    following = f"http://{asked.headers['host']}/orders?page={n + 1}" if n < 2 else None
    return Said(200, json.dumps({"data": {"orders": page_of(n)}, "links": {"next": following}}).encode())


def by_cursor(asked: Asked) -> Said:
    n = {"": 0, "c&1": 1, "c&2": 2}[asked.query.get("after", "")]
    return Said(200, json.dumps({"orders": page_of(n), "next": f"c&{n + 1}" if n < 2 else ""}).encode())


def by_number(asked: Asked) -> Said:
    return Said(200, json.dumps({"orders": page_of(int(asked.query["page"]) - 1)}).encode())


def by_offset(asked: Asked) -> Said:
    at = int(asked.query["offset"])
    return Said(200, json.dumps({"orders": ORDERS[at : at + 2]}).encode())


def by_more(asked: Asked) -> Said:
    n = int(asked.query["page"])
    return Said(200, json.dumps({"orders": page_of(n), "more": n < 2}).encode())


@pytest.mark.parametrize(
    ("answer", "pages", "questions"),
    [
        (by_link, {"by": "link", "items": "$"}, 3),
        (by_body, {"by": "body", "items": "$.data.orders", "next": "$.links.next"}, 3),
        (by_cursor, {"by": "cursor", "items": "$.orders", "next": "$.next", "parameter": "after"}, 3),
        (by_number, {"by": "number", "items": "$.orders", "parameter": "page"}, 4),
        (by_number, {"by": "number", "items": "$.orders", "parameter": "page", "size": 2}, 3),
        (by_offset, {"by": "offset", "items": "$.orders", "parameter": "offset"}, 4),
        (by_more, {"by": "number", "items": "$.orders", "parameter": "page", "first": 0, "more": "$.more"}, 3),
    ],
)
def test_pages_are_put_together(answer: Callable[[Asked], Said], pages: dict[str, Any], questions: int) -> None:
    """
    One document comes out, as if there had been one page; what was asked besides is asked of every page.
    """
    with web_service(answer) as service:
        [whole] = asked_for(service.url, feed_of("status", "orders", pages=pages, query={"state": "new"}))

    document = json.loads(whole)
    found = document if isinstance(document, list) else document.get("orders") or document["data"]["orders"]
    assert found == ORDERS
    assert len(service.asked) == questions
    assert service.asked[0].query["state"] == "new"


def test_numbers_stay_as_they_were_written() -> None:
    """
    7.50 is not 7.5, and a number of thirty digits keeps them.
    """
    pages = [b'[{"price": 7.50, "id": 123456789012345678901234567890}]', b'[{"price": 1e2}]', b"[]"]
    options = {"by": "number", "items": "$", "parameter": "p", "first": 0}
    with web_service(lambda asked: Said(200, pages[int(asked.query["p"])])) as service:
        [whole] = asked_for(service.url, feed_of("status", "orders", pages=options))

    assert whole == b'[{"price": 7.50, "id": 123456789012345678901234567890}, {"price": 1e2}]'


def test_pages_of_text_have_their_header_once() -> None:
    """
    Page after page, with a line end between them.
    """
    pages = [b"sku,on_hand\nMUG,1\nCUP,2", b"sku,on_hand\nHAT,3\n", b"sku,on_hand\n"]
    options = {"by": "number", "parameter": "p", "first": 0, "header_lines": 1}
    with web_service(lambda asked: Said(200, pages[int(asked.query["p"])])) as service:
        [whole] = asked_for(service.url, feed_of("stock", "stock", pages=options))

    assert whole == b"sku,on_hand\nMUG,1\nCUP,2\nHAT,3\n"


def test_no_page_at_all_is_nothing_new() -> None:
    """
    As an empty answer is.
    """
    with web_service(lambda asked: Said(204)) as service:
        assert asked_for(service.url, feed_of("stock", "stock", pages={"by": "link"})) == [b""]


@pytest.mark.parametrize(
    "link",
    [
        "http://other.example/orders",
        "//other.example/x",
        "https://127.0.0.1/x",
        "http://127.0.0.1:1/x",
        "http://u:p@127.0.0.1/x",
        "file:///etc/passwd",
        "http://[",
    ],
)
def test_a_page_on_another_server_is_not_asked_for(link: str) -> None:
    """
    A link is a stranger's word: our secrets do not follow it.
    """
    document = {"orders": [], "next": link}
    options = {"by": "body", "items": "$.orders", "next": "$.next"}
    with web_service(said(document)) as service, pytest.raises(TransportRefusedError, match="another server"):
        asked_for(service.url, feed_of("status", "orders", pages=options))

    assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("answer", "options", "error", "message"),
    [
        (said({"orders": [1], "next": "c"}), {"next": "$.next", "parameter": "p"}, TransportRefusedError, "leads back"),
        (said({"orders": "x", "next": "c"}), {"next": "$.next", "parameter": "p"}, TransportRefusedError, "a list at"),
        (said({"orders": [], "next": {}}), {"next": "$.next", "parameter": "p"}, TransportRefusedError, "a text at"),
        (said({"error": "no"}), {"next": "$.next", "parameter": "p"}, TransportRefusedError, "a list at .*: no"),
        (lambda asked: Said(200, b"<html>"), {"next": "$.n", "parameter": "p"}, TransportRefusedError, "not JSON"),
        (lambda asked: Said(200, b"[" * 90_000), {"next": "$.n", "parameter": "p"}, TransportRefusedError, "not JSON"),
        (said({"orders": [1]}), {"by": "number", "parameter": "p"}, TransportRefusedError, "before it again"),
        (
            lambda asked: Said(200, json.dumps({"orders": [asked.query["p"]]}).encode()),
            {"by": "number", "parameter": "p", "most": 3},
            TransportTooLargeError,
            "at most 3 pages",
        ),
    ],
)
def test_pages_come_to_an_end(
    answer: Callable[[Asked], Said], options: dict[str, Any], error: type[TransportError], message: str
) -> None:
    """
    A circle, a page that is none, and pages without end are errors that say so.
    """
    options = {"by": "cursor", "items": "$.orders", **options}
    with web_service(answer) as service, pytest.raises(error, match=message):
        asked_for(service.url, feed_of("status", "orders", pages=options, error="$.error"))

    assert len(service.asked) <= 4


def test_all_pages_together_stay_below_the_cap() -> None:
    """
    Many small pages are as large as one big answer.
    """
    page = {"orders": ["x" * 1000]}
    options = {"by": "number", "items": "$.orders", "parameter": "p"}
    pages = lambda asked: Said(200, json.dumps({**page, "n": asked.query["p"]}).encode())  # noqa: E731
    limits = PartnerLimits(timeout_s=5, max_bytes=5000)
    with web_service(pages) as service, pytest.raises(TransportTooLargeError):
        asked_for(service.url, feed_of("status", "orders", pages=options), limits=limits)

    assert len(service.asked) == 5


@pytest.mark.parametrize(
    ("last", "error"), [(Said(500), TransportUnavailableError), (Said(200, b"[1]", cut=1), TransportCorruptError)]
)
def test_a_page_that_fails_fails_the_whole(last: Said, error: type[TransportError]) -> None:
    """
    A part of an answer is never taken for the whole.
    """
    pages = [Said(200, b"[1]"), last]
    options = {"by": "number", "items": "$", "parameter": "p", "first": 0}
    with web_service(lambda asked: pages[int(asked.query["p"])]) as service, pytest.raises(error):
        asked_for(service.url, feed_of("status", "orders", pages=options))


# ------------------------------------------------------------------ who they want us to be


class Issuer:
    """Gives tokens and lets in who has the newest one."""

    def __init__(self, **changes: Any) -> None:
        self.given = 0
        self.valid = ""
        self.answer: Said | None = None
        self.changes = changes

    def __call__(self, asked: Asked) -> Said:
        if asked.target == "/token":
            return self.answer or self._token()
        allowed = asked.headers.get("authorization") == f"Bearer {self.valid}"
        return Said(200, b"OK") if allowed else Said(401, b"who are you")

    def _token(self) -> Said:
        self.given += 1
        self.valid = f"{CANARY}-token-{self.given}"
        token = {"access_token": self.valid, "token_type": "Bearer", "expires_in": 3600, **self.changes}
        return Said(200, json.dumps(token).encode())


def oauth_of(service: WebService, **changes: Any) -> dict[str, Any]:
    oauth = {"url": service.url + "token", "client_id": "shop", "scope": "orders stock", **changes}
    return {"options": {"oauth": oauth}, "secrets": {"client_secret": secret(CANARY)}}


def test_a_token_is_asked_for_once() -> None:
    """
    By client credentials, and then kept in memory, over transports too.
    """
    issuer = Issuer()
    with web_service(issuer) as service:
        for _ in range(2):
            sent(service.url, feed_of(), **oauth_of(service))
    tokens = [asked for asked in service.asked if asked.target == "/token"]

    assert len(tokens) == 1
    assert parse_qs(tokens[0].body.decode()) == {"grant_type": ["client_credentials"], "scope": ["orders stock"]}
    assert tokens[0].headers["authorization"].startswith("Basic ")
    assert len(service.asked) == 3


def test_the_client_may_stand_in_the_body() -> None:
    """
    Some servers read it only there.
    """
    with web_service(Issuer()) as service:
        sent(service.url, feed_of(), **oauth_of(service, client_in="body", audience="https://postal.example"))

    assert "authorization" not in service.asked[0].headers
    assert parse_qs(service.asked[0].body.decode())["client_secret"] == [CANARY]
    assert parse_qs(service.asked[0].body.decode())["audience"] == ["https://postal.example"]


def test_another_secret_asks_for_another_token() -> None:
    """
    A token belongs to the secret that it was given for.
    """
    issuer = Issuer()
    with web_service(issuer) as service:
        sent(service.url, feed_of(), **oauth_of(service))
        sent(service.url, feed_of(), **{**oauth_of(service), "secrets": {"client_secret": secret("new")}})

    assert issuer.given == 2


def test_a_token_is_renewed_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    And one that is good still is used where no other is given.
    """
    issuer, now = Issuer(), [1000.0]
    monkeypatch.setattr("fcflow.transports._http_login.time.monotonic", lambda: now[0])
    with web_service(issuer) as service:
        for now[0], given in ((1000.0, 1), (4530.0, 1), (4545.0, 2)):
            sent(service.url, feed_of(), **oauth_of(service))
            assert issuer.given == given
        issuer.answer, now[0] = Said(503), 4545.0 + 3550
        sent(service.url, feed_of(), **oauth_of(service))
        now[0] += 100
        with pytest.raises(TransportUnavailableError):
            sent(service.url, feed_of(), **oauth_of(service))


def test_a_401_asks_for_another_token_once() -> None:
    """
    A token that was called back is replaced; the delivery is published once, and asked about no more often than twice.
    """
    issuer, marks = Issuer(), []
    with web_service(issuer) as service, opened(service.url, **oauth_of(service)) as transport:
        transport.send(delivery_of(feed_of()))
        issuer.valid = "called back"
        transport.send(delivery_of(feed_of(), publishing=lambda: marks.append("published")))
        issuer.valid = "called back"
        assert [fetched(transport, offer)[0] for offer in transport.list(feed_of("stock"), Query())] == [b"OK"]
        assert transport.check()[0].level == "ok"

    assert marks == ["published"]
    assert issuer.given == 3


def test_a_login_that_stays_wrong_is_tried_twice() -> None:
    """
    Not for ever.
    """
    issuer = Issuer()

    def never(asked: Asked) -> Said:
        return issuer(asked) if asked.target == "/token" else Said(401, b"no")

    with web_service(never) as service, pytest.raises(TransportLoginError):
        sent(service.url, feed_of(), **oauth_of(service))

    assert [asked.target for asked in service.asked] == ["/token", "/orders", "/token", "/orders"]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            Said(400, b'{"error": "invalid_scope", "error_description": "no stock"}'),
            TransportLoginError,
            "invalid_scope: no",
        ),
        (Said(401, f"bad {CANARY}".encode()), TransportLoginError, r"no token: HTTP 401 Unauthorized: bad \*\*\*"),
        (Said(200, b"<html>"), TransportLoginError, "expected an access_token"),
        (Said(200, b'{"access_token": "a b"}'), TransportLoginError, "expected an access_token"),
        (Said(200, b'{"access_token": "a", "token_type": "mac"}'), TransportLoginError, "type bearer, got mac"),
        (Said(200, b"[]"), TransportLoginError, "expected an access_token"),
        (Said(302, b"", {"Location": "http://other.example/"}), TransportRefusedError, "redirects are not followed"),
        (Said(503, b"", {"Retry-After": "5"}), TransportUnavailableError, "503"),
        (Said(404), TransportError, "404"),
    ],
)
def test_no_token_means_nothing_was_published(
    answer: Said, error: type[TransportError], message: str, caplog: Any
) -> None:
    """
    The error says what the server of tokens said, and no secret shows, even where that says it back.
    """
    caplog.set_level(logging.DEBUG)
    issuer, marks = Issuer(), []
    issuer.answer = answer
    with web_service(issuer) as service, opened(service.url, **oauth_of(service)) as transport:
        with pytest.raises(error, match=message) as caught:
            transport.send(delivery_of(feed_of(), publishing=lambda: marks.append("published")))
        assert transport.check()[0].level == "error"

    assert marks == []
    assert all(asked.target == "/token" for asked in service.asked)
    assert CANARY not in "".join(traceback.format_exception(caught.value)) + caplog.text


def test_a_server_of_tokens_that_is_slow_has_a_limit_of_its_own() -> None:
    """
    It does not use up the time of the order.
    """
    import threading

    done = threading.Event()

    def slow(asked: Asked) -> Said:
        done.wait(5)
        return Said(200)

    with web_service(slow) as service:
        with pytest.raises(TransportError, match=r"within 0\.2 s|in time"):
            sent(service.url, feed_of(), **oauth_of(service, timeout_s=0.2), limits=PartnerLimits(timeout_s=30))
        done.set()


@pytest.mark.parametrize("url", ["http://tokens.example/token", "ftp://127.0.0.1/token", "http://127.0.0.1.example/"])
def test_a_clients_secret_does_not_cross_a_network_in_clear(url: str) -> None:
    """
    Refused when the connection is opened.
    """
    options = {"oauth": {"url": url, "client_id": "shop"}}
    with pytest.raises(TransportUnsupportedError, match="https"), opened("https://postal.example/", options=options):
        pass


def test_a_token_is_asked_for_over_tls(tmp_path: Any) -> None:
    """
    With the authority that the connection names, and of no stranger.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    with web_service(Issuer(), tls) as service:
        oauth = oauth_of(service)
        with pytest.raises(TransportUntrustedError):
            sent(service.url, feed_of(), **oauth)
        oauth["options"]["ca_file"] = str(tmp_path / "ca.pem")
        assert sent(service.url, feed_of(), **oauth) == "OK"


def test_two_ways_to_log_in_are_refused() -> None:
    """
    Nobody could tell which one the partner saw.
    """
    with web_service(Issuer()) as service:
        both = oauth_of(service)
        both["secrets"]["token"] = secret("x")
        with pytest.raises(TransportUnsupportedError, match="token and oauth"):
            sent(service.url, feed_of(), **both)

    assert service.asked == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"algorithm": "sha512", "encoding": "base64", "header": "X-Shop-Sign", "prefix": "v1="},
        {
            "signed": ["id", "timestamp", "body_hash"],
            "separator": ".",
            "timestamp": "iso",
            "timestamp_header": "X-When",
        },
        {"signed": ["path", "query", "body"], "separator": ""},
    ],
)
def test_requests_are_signed(options: dict[str, Any]) -> None:
    """
    Posts and questions, as the partner wants it; it can check them by what arrived alone.
    """
    scheme = SignatureScheme.of(options)
    feed = feed_of("status", "status", query={"since": "{now}"})
    kwargs = {"options": {"sign": options}, "secrets": {"signing_key": secret(CANARY)}}
    with web_service(said("OK")) as service, opened(service.url, **kwargs) as transport:
        transport.send(delivery_of(feed_of(path="orders?shop=1")))
        [offer] = transport.list(feed, Query())
        fetched(transport, offer)

    for asked in service.asked:
        request = Signable(
            method=asked.method,
            target=asked.target,
            body=asked.body,
            timestamp=asked.headers.get(scheme.timestamp_header.lower(), ""),
            id=asked.headers.get("idempotency-key", ""),
        )
        claimed = asked.headers[scheme.header.lower()]
        assert verify(scheme, [CANARY.encode()], request, claimed)
        assert not verify(scheme, [b"other"], request, claimed)
        assert (scheme.timestamp_header.lower() in asked.headers) is scheme.is_dated


def test_a_signature_needs_its_key() -> None:
    """
    Nothing leaves unsigned.
    """
    with web_service(said("OK")) as service, pytest.raises(TransportUnsupportedError, match="signing_key"):
        sent(service.url, feed_of(), options={"sign": {}})

    assert service.asked == []


# ------------------------------------------------------------------ what a configuration may say


@pytest.mark.parametrize(
    ("options", "feed_options", "message"),
    [
        ({"oauth": {"url": "https://x.example/t"}}, {}, "client_id"),
        ({"sign": {"signed": ["timestamp"]}}, {}, "signed"),
        ({"sign": {"algorithm": "md5"}}, {}, "sha256"),
        ({}, {"pages": {"by": "cursor", "items": "$"}}, "next|parameter"),
        ({}, {"pages": {"by": "link", "items": "orders"}}, "items"),
        ({}, {"accept": {}}, "accept"),
        ({}, {"accept": {"json": {"at": "$.code"}}}, "accept"),
        ({}, {"per": "batch", "batch_size": 0}, "batch_size"),
        ({}, {"multipart": {}}, "file"),
    ],
)
def test_what_cannot_work_is_refused_with_the_document(
    options: dict[str, Any], feed_options: dict[str, Any], message: str
) -> None:
    """
    Before anything is asked of a partner.
    """
    from fcflow.config import load_config

    document = {
        "fcflow": "config/1",
        "partners": {
            "postal": {
                "connection": {"url": "https://postal.example/", "options": options},
                "status": {"layout": "canonical", "options": feed_options},
            }
        },
    }
    with pytest.raises(ConfigError) as caught:
        load_config(document)

    assert re.search(message, str(caught.value))
