"""
Orders by HTTP post; statuses and stock by HTTP query.

A post is accepted when its answer says so: any 2xx by default, or what the feed's ``accept`` and ``known`` declare (the
ancestor's protocol is ``{"body": "OK"}``). Everything else is refused with the answer's text, or unclear where the
server may have taken the order before something went wrong. Every attempt at one delivery carries the same
``Idempotency-Key``. Redirects are never followed: a post that arrives somewhere else has not arrived.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO

from fcflow.errors import (
    SecretError,
    TransportError,
    TransportLoginError,
    TransportTooLargeError,
    TransportUnavailableError,
    TransportUnclearError,
    TransportUnsupportedError,
)
from fcflow.model import Feed, FeedKind
from fcflow.signing import Signable
from fcflow.transports._faults import frameless
from fcflow.transports._http_answers import (
    ANSWERED,
    Said,
    asks_for_document,
    heard,
    judged,
    look_failure,
    redirected,
)
from fcflow.transports._http_login import Login, checked_header
from fcflow.transports._http_options import FEED_OPTIONS, OPTIONS
from fcflow.transports._http_pages import Pages
from fcflow.transports._http_urls import AbsentError, fill, names_in, query_of, taken_apart
from fcflow.transports._limits import capped
from fcflow.transports._multipart import multipart
from fcflow.transports._names import safe_name
from fcflow.transports._wire import Answer, Call, Wire
from fcflow.transports.base import (
    Capabilities,
    Delivery,
    Endpoint,
    Fetched,
    Finding,
    Offer,
    OpenFulfilment,
    Outcome,
    Presence,
    Query,
    Receipt,
    TransportType,
)

__all__ = ["TYPE", "HttpTransport", "build"]

_log = logging.getLogger("fcflow")

_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,200}"')
_LENGTH_DIGITS = 20  # more than any file has; a number of thousands of digits is no number to Python


def _nothing() -> None:
    """What happens before a request that publishes nothing."""


def _declared_size(headers: Mapping[str, str]) -> int:
    length = headers.get("Content-Length", "")
    return int(length[:_LENGTH_DIGITS]) if length.isdecimal() else 0


class HttpTransport:
    """
    The way in to one partner's HTTP service.

    Example:
        >>> from fcflow.model import Connection
        >>> url = Connection(url="https://shop@postal.example/api")
        >>> transport = build(Endpoint(partner="postal", connection=url, resolve=lambda reference: ""))
        >>> transport.capabilities.lists
        False
        >>> transport.close()
    """

    capabilities = Capabilities(atomic_publish=True, verifies_size=False, looks_up=False, lists=False, settles=False)

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._base = taken_apart(endpoint.connection.url)
        self._wire = self._new_wire(endpoint.limits.timeout_s)
        self._login = Login(endpoint, self._base, self._new_wire)

    def _new_wire(self, timeout_s: float) -> Wire:
        return Wire(
            timeout_s=timeout_s,
            connect_s=self._endpoint.option("connect_timeout_s", 10.0),
            ca_file=self._file("ca_file"),
            client=self._client_files(),
        )

    # ---------------------------------------------------------------- orders

    @frameless
    def send(self, delivery: Delivery) -> Receipt:
        """Post *delivery*; see the module for what counts as accepted."""
        options = delivery.feed.options
        safe_name(delivery.name)
        target = self._base.target(delivery.feed.path, _names_of(delivery))
        body, content_type = _body(delivery)
        header = self._endpoint.option("idempotency_header", "Idempotency-Key")
        headers = {
            "Content-Type": checked_header("Content-Type", content_type),
            header: checked_header(header, delivery.key),
        }
        post = partial(self._call, options.get("method", "POST"), target, headers=headers, body=body, key=delivery.key)
        document = asks_for_document(options)
        said = self._posted(*post(began=delivery.publishing), document)
        if said.status == 401 and self._login.renew():
            said = self._posted(*post(), document)  # what was refused for its token was not taken
        return judged(delivery, said, self._base.place(target))

    def _posted(self, call: Call, secrets: tuple[str, ...], document: bool) -> Said:
        lost: TransportError | None = None
        try:
            with self._wire.call(call) as answer:
                return heard(answer, secrets, document=document)
        except TransportError as error:  # of whatever kind: a request that left may have been taken
            if not self._wire.begun:
                raise
            lost = error
        unclear = TransportUnclearError(f"the answer was lost: {lost}")
        unclear.__cause__ = lost.__cause__
        raise unclear

    @frameless
    def look_up(self, delivery: Delivery) -> Presence:
        """Ask the URL that the feed's ``look_up`` names for every fulfilment order of *delivery*."""
        template = delivery.feed.options.get("look_up")
        if template is None or not delivery.fulfilment_ids:
            return Presence.UNKNOWN
        found = {self._look_up_one(template, delivery, each) for each in delivery.fulfilment_ids}
        return found.pop() if len(found) == 1 else Presence.UNKNOWN

    def _look_up_one(self, template: str, delivery: Delivery, fulfilment_id: str) -> Presence:
        values = {"fulfilment_id": fulfilment_id, "key": delivery.key, "name": delivery.name}
        with self._asked(self._base.target(template, values)) as (answer, call, secrets):
            said = heard(answer, secrets)
        if said.status in (404, 410):
            return Presence.ABSENT
        if said.status not in ANSWERED:
            raise look_failure(said, call.place)
        return Presence.PRESENT if said.status == 200 else Presence.UNKNOWN

    # ---------------------------------------------------------------- statuses and stock

    def list(self, feed: Feed, query: Query) -> Iterator[Offer]:
        """
        What to ask for: one offer in all, or one for every open fulfilment order (``"per": "order"``), or for every so
        many of them (``"per": "batch"``).
        """
        if feed.kind is FeedKind.ORDERS:
            raise TransportUnsupportedError("an orders feed cannot be listed over HTTP")
        now, per = datetime.now(UTC), feed.options.get("per", "feed")
        if per == "feed":
            yield self._offer(feed, feed.kind.value, {"since": query.since, "now": now}, now)
        elif per == "order":
            yield from self._per_order(feed, query, now)
        else:
            yield from self._per_batch(feed, query, now)

    def _per_order(self, feed: Feed, query: Query, now: datetime) -> Iterator[Offer]:
        for each in _share(query, query.max_files):
            values = {
                "fulfilment_id": each.fulfilment_id,
                "order_id": each.order_id,
                "reference": each.reference,
                "since": each.sent_at if query.since is None else query.since,
                "now": now,
            }
            try:
                yield self._offer(feed, f"{feed.kind.value}-{each.fulfilment_id}", values, now)
            except AbsentError as absent:
                _log.warning("%s: %s has no %s to ask by", feed.partner, each.fulfilment_id, absent)

    def _per_batch(self, feed: Feed, query: Query, now: datetime) -> Iterator[Offer]:
        size, asked = feed.options.get("batch_size", 50), names_in([feed.path, *feed.options.get("query", {}).values()])
        wanted = list(_share(query, query.max_files * size))
        if "references" in asked:
            for each in wanted:
                if each.reference is None:
                    _log.warning("%s: %s has no reference to ask by", feed.partner, each.fulfilment_id)
            wanted = [each for each in wanted if each.reference is not None]
        for start in range(0, len(wanted), size):
            values = {**_joined(feed, wanted[start : start + size]), "since": query.since, "now": now}
            yield self._offer(feed, f"{feed.kind.value}-batch-{start // size + 1}", values, now)

    def _offer(self, feed: Feed, name: str, values: Mapping[str, Any], now: datetime) -> Offer:
        asked = query_of(feed.options.get("query", {}), values)
        target = self._base.target(feed.path, values)
        if asked:
            target += ("&" if "?" in target else "?") + asked
        # An answer is made when it is asked for: the instant tells two equal answers apart.
        return Offer(feed=feed, name=name, modified_at=now, token=json.dumps({"target": target}))

    @frameless
    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        """Ask; an answer without content (204, empty, or unchanged) is *nothing new* and has zero bytes."""
        target, pages = json.loads(offer.token)["target"], offer.feed.options.get("pages")
        if pages is not None:
            return self._fetch_pages(Pages(pages, self._base, target, offer.feed.options.get("error")), sink)
        marks = offer.feed.options.get("etag", True)
        unless = {"If-None-Match": offer.unless} if marks and offer.unless and _is_etag(offer.unless) else {}
        with self._asked(target, unless) as (answer, call, secrets):
            if unless and answer.status == 304:
                return _poured(iter(()), sink)
            etag = answer.headers.get("ETag", "").strip()
            content = self._content(answer, call, secrets, self._endpoint.limits.max_bytes)
            return _poured(content, sink, etag if marks and _is_etag(etag) else None)

    def _content(self, answer: Answer, call: Call, secrets: tuple[str, ...], limit: int) -> Iterator[bytes]:
        if answer.status not in ANSWERED:
            raise look_failure(heard(answer, secrets), call.place)
        declared = _declared_size(answer.headers)
        if declared > limit:
            raise TransportTooLargeError(f"{call.place}: expected at most {limit} bytes, got {declared}")
        return capped(answer.pieces, limit, call.place)

    def _fetch_pages(self, pages: Pages, sink: BinaryIO) -> Fetched:
        """Every page, or an error: a part of an answer is never taken for the whole."""
        target: str | None = pages.first
        left = self._endpoint.limits.max_bytes
        while target is not None:
            with self._asked(target) as (answer, call, secrets):
                content = b"".join(self._content(answer, call, secrets, left))
                headers = answer.headers
            left -= len(content)
            target = pages.took(content, headers, secrets)
        return _poured(iter([pages.whole()]), sink)

    def settle(self, offer: Offer, outcome: Outcome) -> None:
        """Nothing to do: an answer does not lie anywhere."""

    # ---------------------------------------------------------------- checking

    def check(self) -> Sequence[Finding]:
        """Ask for the head of the connection's own URL, which changes nothing anywhere."""
        try:
            with self._asked(self._base.target(""), method="HEAD") as (answer, call, secrets):
                said = heard(answer, secrets)
        except (TransportError, SecretError) as error:
            return [Finding(level="error", message=str(error), code=error.code)]
        return [*self._findings(said, call.place), *self._in_clear()]

    def _findings(self, said: Said, place: str) -> Iterator[Finding]:
        if said.status in (401, 403):
            yield Finding(level="error", message=f"{place}: {said.line()}", code=TransportLoginError.code)
        elif 300 <= said.status < 400:
            error = redirected(said.status, said.headers, place)
            yield Finding(level="warning", message=str(error), code=error.code)
        elif said.status >= 500:
            yield Finding(level="warning", message=f"{place}: {said.line()}", code=TransportUnavailableError.code)
        else:
            yield Finding(level="ok", message=f"{place}: the server answers (HTTP {said.status})")

    def _in_clear(self) -> Iterator[Finding]:
        if self._base.scheme == "http" and self._endpoint.connection.secrets:
            yield Finding(level="warning", message="the secret and the orders cross the network in clear, use https")

    def close(self) -> None:
        """Let go of the connection."""
        self._wire.close()

    # ---------------------------------------------------------------- one request

    @contextmanager
    def _asked(
        self, target: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> Iterator[tuple[Answer, Call, tuple[str, ...]]]:
        """Ask, and once more where the token was no longer good."""
        for last in (False, True):
            call, secrets = self._call(method, target, headers=headers or {})
            with self._wire.call(call) as answer:
                if last or answer.status != 401 or not self._login.renew():
                    yield answer, call, secrets
                    return

    def _call(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        key: str = "",
        began: Callable[[], None] = _nothing,
    ) -> tuple[Call, tuple[str, ...]]:
        """One request, and the secrets in it, which no message may repeat."""
        said = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "fcflow"}
        for name, value in self._endpoint.option("headers", {}).items():
            said[name] = checked_header(name, value)
        login, secrets = self._login.headers(Signable(method=method, target=target, body=body or b"", id=key))
        call = Call(
            method=method,
            url=self._base.url(target),
            place=self._base.place(target),
            headers={**said, **headers, **login},
            body=body,
            began=began,
        )
        return call, secrets

    def _file(self, option: str) -> str | None:
        path = self._endpoint.option(option)
        return None if path is None else str(self._endpoint.base / path)

    def _client_files(self) -> tuple[str, str] | None:
        certificate, key = self._file("client_cert_file"), self._file("client_key_file")
        return (certificate, key) if certificate and key else None


# ------------------------------------------------------------------ small things


def _names_of(delivery: Delivery) -> dict[str, str]:
    """What the path of a post may hold."""
    names = {"name": delivery.name, "key": delivery.key}
    if len(delivery.fulfilment_ids) == 1:
        names["fulfilment_id"] = delivery.fulfilment_ids[0]
    return names


def _body(delivery: Delivery) -> tuple[bytes, str]:
    """What is posted, and its type: the content as it is, or a form with the content as a file in it."""
    form = delivery.feed.options.get("multipart")
    if form is None:
        return delivery.content, delivery.content_type
    values = {"name": delivery.name, "key": delivery.key}
    fields = {name: fill(text, values, str) for name, text in form.get("fields", {}).items()}
    return multipart(delivery.key, fields, form["file"], delivery.name, delivery.content_type, delivery.content)


def _joined(feed: Feed, asked: Sequence[OpenFulfilment]) -> dict[str, str]:
    """What a question for many orders may hold; none stands in it twice."""
    separator = feed.options.get("separator", ",")
    found = {
        "fulfilment_ids": [each.fulfilment_id for each in asked],
        "order_ids": [each.order_id for each in asked],
        "references": [each.reference or "" for each in asked],
    }
    return {name: separator.join(dict.fromkeys(values)) for name, values in found.items()}


def _share(query: Query, most: int) -> Sequence[OpenFulfilment]:
    """All that is open; where that is too much for one look another share each time, so that none is left out."""
    return query.open if len(query.open) <= most else random.sample(query.open, most)


def _is_etag(mark: str) -> bool:
    return _ETAG.fullmatch(mark) is not None


def _poured(pieces: Iterator[bytes], sink: BinaryIO, etag: str | None = None) -> Fetched:
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        sink.write(piece)
        digest.update(piece)
        size += len(piece)
    return Fetched(size=size, sha256=digest.hexdigest(), etag=etag)


def build(endpoint: Endpoint) -> HttpTransport:
    """
    A transport for *endpoint*; nothing is connected yet.

    Raises:
        TransportUnsupportedError: The URL cannot be used.
    """
    return HttpTransport(endpoint)


TYPE = TransportType(
    schemes=("http", "https"),
    summary="HTTP: one post per delivery; statuses and stock by query",
    options_schema=OPTIONS,
    feed_options_schema=FEED_OPTIONS,
    secrets=("password", "token", "api_key", "client_secret", "signing_key"),
    build=build,
)
