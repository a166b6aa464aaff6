"""
Orders by HTTP post; statuses and stock by HTTP query.

A post is accepted when its answer says so: any 2xx by default, or the statuses or the exact text that the feed's
``accept`` names (the ancestor's protocol is ``{"body": "OK"}``). Everything else is refused with the answer's text, or
unclear where the server may have taken the order before something went wrong. Every attempt at one delivery carries
the same ``Idempotency-Key``. Redirects are never followed: a post that arrives somewhere else has not arrived.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, BinaryIO
from urllib.parse import quote, quote_plus, unquote, urlsplit

from attrs import field, frozen

from fcflow.errors import (
    SecretError,
    TransientError,
    TransportError,
    TransportLoginError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTooLargeError,
    TransportUnavailableError,
    TransportUnclearError,
    TransportUnsupportedError,
)
from fcflow.model import Feed, FeedKind
from fcflow.transports._limits import capped
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

_ANSWER_BYTES = 64 * 1024
_TEXT = 500
_RECEIPT_TEXT = 2000
_ANSWERED = frozenset({200, 203, 204})
_NOT_TAKEN = frozenset({408, 425, 429, 503})
"""Answers that say: not now, and nothing was taken."""


# ------------------------------------------------------------------ URLs and templates


@frozen(kw_only=True)
class _Base:
    """The connection's URL, taken apart."""

    scheme: str
    host: str
    path: str
    user: str | None

    def url(self, target: str) -> str:
        return f"{self.scheme}://{self.host}{target}"

    def place(self, target: str) -> str:
        """What may be shown of it: no query."""
        return self.url(target.partition("?")[0])

    def target(self, path: str, values: Mapping[str, Any] | None = None) -> str:
        """*path* below the base, its placeholders filled in; a query written in it is kept."""
        relative, _, query = path.partition("?")
        if values is not None:
            relative, query = _fill(relative, values, _segment), _fill(query, values, quote_plus)
        whole = "/".join([self.path.rstrip("/"), relative.lstrip("/")]) if relative else self.path or "/"
        if any(part in (".", "..") for part in unquote(whole).replace("\\", "/").split("/")):
            raise TransportUnsupportedError(f"path {path!r}: expected one below {self.place(self.path)}")
        return quote(whole, safe="/%:@!$&'()*+,;=~") + ("?" + quote(query, safe="%=&+,:/?@!$'()*;~") if query else "")


def _taken_apart(url: str) -> _Base:
    parts = urlsplit(url)
    if not parts.hostname or re.search(r"[\x00-\x20\x7f\\]", url):
        raise TransportUnsupportedError("connection url: expected scheme://host/path without blanks")
    if parts.query or parts.fragment:
        raise TransportUnsupportedError("connection url: expected no query, write it in the feed's path")
    host = parts.netloc.rpartition("@")[2]
    user = unquote(parts.username) if parts.username else None
    return _Base(scheme=parts.scheme.lower(), host=host, path=parts.path, user=user)


_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)(?::([^{}]*))?\}")


class _AbsentError(Exception):
    """A placeholder stands for a value that this order has not."""


def _fill(template: str, values: Mapping[str, Any], quoting: Any) -> str:
    return _PLACEHOLDER.sub(partial(_value, values, quoting), template)


def _value(values: Mapping[str, Any], quoting: Any, match: re.Match[str]) -> str:
    name, pattern = match.group(1), match.group(2)
    if name not in values:
        expected = " ".join(f"{{{known}}}" for known in values)
        raise TransportUnsupportedError(f"placeholder {{{name}}}: expected one of {expected}")
    value = values[name]
    if value is None:
        raise _AbsentError(name)
    if isinstance(value, datetime):
        value = value.astimezone(UTC).strftime(pattern or "%Y-%m-%dT%H:%M:%SZ")
    return str(quoting(str(value)))


def _segment(value: str) -> str:
    if value in ("", ".", ".."):
        raise TransportUnsupportedError(f"{value!r} cannot be part of a URL path")
    return quote(value, safe="")


class _Hidden(str):
    """A text that shows itself to nobody who prints the variables of a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def _header(name: str, value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value) or not value.isascii():
        raise TransportUnsupportedError(f"header {name}: expected printable ASCII, got other characters")
    return value


# ------------------------------------------------------------------ what an answer means


def _cleaned(text: str, limit: int) -> str:
    clean = " ".join(re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f]", " ", text).split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


@frozen(kw_only=True)
class _Said:
    """An answer to a post: *cut* is why its end is missing, or ``None``."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    cut: TransportError | None
    secrets: tuple[str, ...] = field(repr=False)

    @property
    def text(self) -> str:
        text = self.body.decode("utf-8", "replace")
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text.removeprefix("\ufeff")

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def line(self) -> str:
        """The answer as one message: its text, after its status where that is no success."""
        text = _cleaned(self.text, _TEXT)
        if self.is_success and text:
            return text
        head = f"HTTP {self.status} {_cleaned(self.reason, 60) or _phrase(self.status)}".strip()
        return f"{head}: {text}" if text else f"{head}, without a text"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _accepts(accept: Mapping[str, Any], said: _Said) -> bool:
    if "status" in accept:
        return said.status in accept["status"]
    if "body" in accept:
        return said.is_success and said.cut is None and said.text.strip() == accept["body"]
    return said.is_success


def _judged(delivery: Delivery, said: _Said, place: str) -> Receipt:
    """What the answer to a post means; the status line decides, unless the feed asks for the text."""
    accept = delivery.feed.options.get("accept", {})
    if _accepts(accept, said):
        answer = _cleaned(said.text, _RECEIPT_TEXT) or None
        return Receipt(name=delivery.name, size=delivery.size, answer=answer)
    if "body" in accept and said.is_success and isinstance(said.cut, TransportError):
        raise TransportUnclearError(f"{place}: the answer was lost: {said.cut}")
    if said.status >= 500 and said.status not in _NOT_TAKEN:
        raise TransportUnclearError(f"{place}: the server failed with the order in hand: {said.line()}")
    raise _refusal(said, place)


def _refusal(said: _Said, place: str) -> TransportError:
    if said.status in _NOT_TAKEN:
        return _not_now(said.headers, f"{place}: {said.line()}")
    if said.status in (401, 403):
        return TransportLoginError(f"{place}: {said.line()}")
    if 300 <= said.status < 400:
        return _redirected(said.status, said.headers, place)
    return TransportRefusedError(said.line())


def _not_now(headers: Mapping[str, str], message: str) -> TransportUnavailableError:
    error = TransportUnavailableError(message)
    wait = _cleaned(headers.get("Retry-After", ""), 40)
    if wait:
        error.add_note(f"retry after {wait}{' s' if wait.isdecimal() else ''}")
    if wait.isdecimal() and isinstance(error, TransientError):
        error.retry_after_s = float(wait)
    return error


def _redirected(status: int, headers: Mapping[str, str], place: str) -> TransportRefusedError:
    try:
        host = urlsplit(headers.get("Location", "")).hostname
    except ValueError:
        host = None
    where = f" to {_cleaned(host, 100)}" if host else " within the same server" if headers.get("Location") else ""
    return TransportRefusedError(f"{place}: HTTP {status}: redirected{where}, and redirects are not followed")


def _look_failure(said: _Said, place: str) -> TransportError:
    """Why an answer to a query is none."""
    if said.status in (404, 410):
        return TransportNotFoundError(f"{place}: {said.line()}")
    if said.status >= 500 or said.status in _NOT_TAKEN:
        return _not_now(said.headers, f"{place}: {said.line()}")
    if said.status < 300:
        return TransportRefusedError(f"{place}: expected HTTP 200 or 204, got {said.status}")
    return _refusal(said, place)


_LENGTH_DIGITS = 20  # more than any file has; a number of thousands of digits is no number to Python


def _declared_size(headers: Mapping[str, str]) -> int:
    length = headers.get("Content-Length", "")
    return int(length[:_LENGTH_DIGITS]) if length.isdecimal() else 0


# ------------------------------------------------------------------ the transport


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
        self._base = _taken_apart(endpoint.connection.url)
        self._wire = Wire(
            timeout_s=endpoint.limits.timeout_s,
            connect_s=endpoint.option("connect_timeout_s", 10.0),
            ca_file=self._file("ca_file"),
            client=self._client_files(),
        )

    def send(self, delivery: Delivery) -> Receipt:
        """Post *delivery*; see the module for what counts as accepted."""
        options = delivery.feed.options
        safe_name(delivery.name)
        target = self._base.target(delivery.feed.path)
        headers, secrets = self._headers()
        headers["Content-Type"] = _header("Content-Type", delivery.content_type)
        headers["Idempotency-Key"] = _header("Idempotency-Key", delivery.key)
        call = Call(
            method=options.get("method", "POST"),
            url=self._base.url(target),
            place=self._base.place(target),
            headers=headers,
            body=delivery.content,
            began=delivery.publishing,
        )
        return _judged(delivery, self._posted(call, secrets), call.place)

    def _posted(self, call: Call, secrets: tuple[str, ...]) -> _Said:
        lost: TransportError | None = None
        try:
            with self._wire.call(call) as answer:
                return _said(answer, secrets)
        except TransportError as error:  # of whatever kind: a request that left may have been taken
            if not self._wire.begun:
                raise
            lost = error
        unclear = TransportUnclearError(f"the answer was lost: {lost}")
        unclear.__cause__ = lost.__cause__
        raise unclear

    def look_up(self, delivery: Delivery) -> Presence:
        """Ask the URL that the feed's ``look_up`` names for every fulfilment order of *delivery*."""
        template = delivery.feed.options.get("look_up")
        if template is None or not delivery.fulfilment_ids:
            return Presence.UNKNOWN
        found = {self._look_up_one(template, delivery, each) for each in delivery.fulfilment_ids}
        return found.pop() if len(found) == 1 else Presence.UNKNOWN

    def _look_up_one(self, template: str, delivery: Delivery, fulfilment_id: str) -> Presence:
        values = {"fulfilment_id": fulfilment_id, "key": delivery.key, "name": delivery.name}
        target = self._base.target(template, values)
        call, secrets = self._get(target)
        with self._wire.call(call) as answer:
            said = _said(answer, secrets)
        if said.status in (404, 410):
            return Presence.ABSENT
        if said.status not in _ANSWERED:
            raise _look_failure(said, call.place)
        return Presence.PRESENT if said.status == 200 else Presence.UNKNOWN

    def list(self, feed: Feed, query: Query) -> Iterator[Offer]:
        """What to ask for: one offer in all, or with ``"per": "order"`` one for every open fulfilment order."""
        if feed.kind is FeedKind.ORDERS:
            raise TransportUnsupportedError("an orders feed cannot be listed over HTTP")
        now = datetime.now(UTC)
        if feed.options.get("per", "feed") == "feed":
            yield self._offer(feed, feed.kind.value, {"since": query.since, "now": now}, now)
            return
        for each in _share(query):
            values = {
                "fulfilment_id": each.fulfilment_id,
                "order_id": each.order_id,
                "reference": each.reference,
                "since": each.sent_at if query.since is None else query.since,
                "now": now,
            }
            try:
                yield self._offer(feed, f"{feed.kind.value}-{each.fulfilment_id}", values, now)
            except _AbsentError as absent:
                _log.warning("%s: %s has no %s to ask by", feed.partner, each.fulfilment_id, absent)

    def _offer(self, feed: Feed, name: str, values: Mapping[str, Any], now: datetime) -> Offer:
        pairs = []
        for parameter, template in feed.options.get("query", {}).items():
            try:
                pairs.append(f"{quote_plus(parameter)}={_asked(template, values)}")
            except _AbsentError as absent:
                if absent.args[0] != "since":
                    raise
        target = self._base.target(feed.path, values)
        if pairs:
            target += ("&" if "?" in target else "?") + "&".join(pairs)
        # An answer is made when it is asked for: the instant tells two equal answers apart.
        return Offer(feed=feed, name=name, modified_at=now, token=json.dumps({"target": target}))

    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        """Ask; an answer without content (204, or empty) is *nothing new* and has zero bytes."""
        call, secrets = self._get(json.loads(offer.token)["target"])
        limit = self._endpoint.limits.max_bytes
        with self._wire.call(call) as answer:
            if answer.status not in _ANSWERED:
                raise _look_failure(_said(answer, secrets), call.place)
            declared = _declared_size(answer.headers)
            if declared > limit:
                raise TransportTooLargeError(f"{call.place}: expected at most {limit} bytes, got {declared}")
            return _poured(capped(answer.pieces, limit, call.place), sink)

    def settle(self, offer: Offer, outcome: Outcome) -> None:
        """Nothing to do: an answer does not lie anywhere."""

    def check(self) -> Sequence[Finding]:
        """Ask for the head of the connection's own URL, which changes nothing anywhere."""
        try:
            call, secrets = self._get(self._base.target(""), "HEAD")
            with self._wire.call(call) as answer:
                said = _said(answer, secrets)
        except (TransportError, SecretError) as error:
            return [Finding(level="error", message=str(error), code=error.code)]
        return [*self._findings(said, call.place), *self._in_clear()]

    def _findings(self, said: _Said, place: str) -> Iterator[Finding]:
        if said.status in (401, 403):
            yield Finding(level="error", message=f"{place}: {said.line()}", code=TransportLoginError.code)
        elif 300 <= said.status < 400:
            error = _redirected(said.status, said.headers, place)
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

    def _get(self, target: str, method: str = "GET") -> tuple[Call, tuple[str, ...]]:
        headers, secrets = self._headers()
        place = self._base.place(target)
        return Call(method=method, url=self._base.url(target), place=place, headers=headers), secrets

    def _headers(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """What every request says, and the secrets in it, which no message may repeat."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "fcflow"}
        for name, value in self._endpoint.option("headers", {}).items():
            headers[name] = _header(name, value)
        secret = {header: _Hidden(_header(header, value)) for header, value in self._secret_headers()}
        words = (_Hidden(word) for value in secret.values() for word in (value, value.partition(" ")[2]) if word)
        return headers | secret, (*words, *self._known("token"), *self._known("password"))

    def _secret_headers(self) -> Iterator[tuple[str, _Hidden]]:
        token, password, key = (self._known(name) for name in ("token", "password", "api_key"))
        if token and password:
            raise TransportUnsupportedError("secrets: expected token or password, got both")
        for each in token:
            yield "Authorization", _Hidden(f"Bearer {each}")
        for each in password:
            yield "Authorization", _basic(self._base.user or "", each)
        for each in key:
            yield self._endpoint.option("api_key_header", "X-Api-Key"), each

    def _known(self, name: str) -> tuple[_Hidden, ...]:
        """The secret called *name*; empty where there is none."""
        secret = self._endpoint.secret(name)
        return (_Hidden(secret.strip()),) if secret and secret.strip() else ()

    def _file(self, option: str) -> str | None:
        path = self._endpoint.option(option)
        return None if path is None else str(self._endpoint.base / path)

    def _client_files(self) -> tuple[str, str] | None:
        certificate, key = self._file("client_cert_file"), self._file("client_key_file")
        return (certificate, key) if certificate and key else None


def _asked(template: str, values: Mapping[str, Any]) -> str:
    """A parameter's value, quoted; what the template itself says is quoted too."""
    pieces, end = [], 0
    for match in _PLACEHOLDER.finditer(template):
        pieces += [quote_plus(template[end : match.start()]), _value(values, quote_plus, match)]
        end = match.end()
    return "".join([*pieces, quote_plus(template[end:])])


def _basic(user: str, password: str) -> _Hidden:
    return _Hidden("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii"))


def _share(query: Query) -> Sequence[OpenFulfilment]:
    """All that is open; where that is too much for one look another share each time, so that none is left out."""
    if len(query.open) <= query.max_files:
        return query.open
    return random.sample(query.open, query.max_files)


def _said(answer: Answer, secrets: tuple[str, ...]) -> _Said:
    body, cut = bytearray(), None
    try:
        for piece in answer.pieces:
            body += piece
            if len(body) >= _ANSWER_BYTES:
                break
    except TransportError as error:
        cut = error
    return _Said(
        status=answer.status,
        reason=answer.reason,
        headers=answer.headers,
        body=bytes(body[:_ANSWER_BYTES]),
        cut=cut,
        secrets=secrets,
    )


def _poured(pieces: Iterator[bytes], sink: BinaryIO) -> Fetched:
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        sink.write(piece)
        digest.update(piece)
        size += len(piece)
    return Fetched(size=size, sha256=digest.hexdigest())


def build(endpoint: Endpoint) -> HttpTransport:
    """
    A transport for *endpoint*; nothing is connected yet.

    Raises:
        TransportUnsupportedError: The URL cannot be used.
    """
    return HttpTransport(endpoint)


_OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "ca_file": {"type": "string", "description": "PEM file of certificates to trust instead of the usual ones"},
        "client_cert_file": {"type": "string", "description": "PEM file of the certificate that we show"},
        "client_key_file": {"type": "string", "description": "PEM file of its private key"},
        "api_key_header": {
            "type": "string",
            "pattern": "^[A-Za-z0-9-]+$",
            "default": "X-Api-Key",
            "description": "header that carries the secret `api_key`",
        },
        "connect_timeout_s": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 10,
            "description": "for connecting alone; the partner's `timeout_s` bounds the whole call",
        },
        "headers": {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9-]+$"},
            "additionalProperties": {"type": "string"},
            "description": "sent with every request; never secrets",
        },
    },
    "dependentRequired": {"client_cert_file": ["client_key_file"], "client_key_file": ["client_cert_file"]},
}

_FEED_OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "accept": {
            "description": 'orders: which answer means accepted, `{"body": "OK"}` or `{"status": [200, 201]}`; '
            "without it, any 2xx",
            "oneOf": [
                {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["body"],
                    "properties": {"body": {"type": "string", "description": "the whole text, blanks around it apart"}},
                },
                {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["status"],
                    "properties": {
                        "status": {"type": "array", "minItems": 1, "items": {"type": "integer"}},
                    },
                },
            ],
        },
        "method": {"enum": ["POST", "PUT"], "default": "POST", "description": "orders: how they are handed over"},
        "look_up": {
            "type": "string",
            "description": "orders: URL path that answers 200 where the order is known and 404 where it is not; "
            "may hold {fulfilment_id} {key} {name}",
        },
        "per": {
            "enum": ["feed", "order"],
            "default": "feed",
            "description": "status, stock: ask once, or once for every open fulfilment order",
        },
        "query": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "status, stock: URL parameters; their values may hold {since} {now}, and per order also "
            "{fulfilment_id} {order_id} {reference}; {since:%Y-%m-%d} picks a pattern",
        },
    },
}

TYPE = TransportType(
    schemes=("http", "https"),
    summary="HTTP: one post per delivery; statuses and stock by query",
    options_schema=_OPTIONS,
    feed_options_schema=_FEED_OPTIONS,
    secrets=("password", "token", "api_key"),
    build=build,
)
