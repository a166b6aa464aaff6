"""URLs of a partner's HTTP service: whatever stands in an order or an answer, they stay on its own server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urljoin, urlsplit

from attrs import frozen

from fcflow.errors import TransportRefusedError, TransportUnsupportedError

__all__ = ["AbsentError", "Base", "fill", "query_of", "taken_apart", "with_parameter"]

_PORTS = {"http": 80, "https": 443}
_LONGEST = 8000


@frozen(kw_only=True)
class Base:
    """The connection's URL, taken apart."""

    scheme: str
    host: str
    path: str
    user: str | None

    def url(self, target: str) -> str:
        """The whole URL of *target*."""
        return f"{self.scheme}://{self.host}{target}"

    def place(self, target: str) -> str:
        """What may be shown of it: no query."""
        return self.url(target.partition("?")[0])

    def target(self, path: str, values: Mapping[str, Any] | None = None) -> str:
        """*path* below the base, its placeholders filled in; a query written in it is kept."""
        relative, _, query = path.partition("?")
        if values is not None:
            relative, query = fill(relative, values, _segment), fill(query, values, quote_plus)
        whole = "/".join([self.path.rstrip("/"), relative.lstrip("/")]) if relative else self.path or "/"
        if any(part in (".", "..") for part in unquote(whole).replace("\\", "/").split("/")):
            raise TransportUnsupportedError(f"path {path!r}: expected one below {self.place(self.path)}")
        return quote(whole, safe="/%:@!$&'()*+,;=~") + ("?" + quote(query, safe="%=&+,:/?@!$'()*;~") if query else "")

    def follow(self, target: str, link: str) -> str:
        """
        The target of a link that stood in the answer to *target*.

        Raises:
            TransportRefusedError: It leads to another server.

        Example:
            >>> base = taken_apart("https://postal.example/api")
            >>> base.follow("/api/orders?page=1", "?page=2")
            '/api/orders?page=2'
            >>> base.follow("/api/orders", "https://other.example/x")
            Traceback (most recent call last):
            fcflow.errors.TransportRefusedError: https://postal.example/api/orders: the next page is on another server
        """
        try:
            parts = urlsplit(urljoin(self.url(target), link.strip()))
            own = urlsplit(self.url(""))
            same = (parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme), "@" in parts.netloc) == (
                own.scheme,
                own.hostname,
                own.port or _PORTS.get(own.scheme),
                False,
            )
        except ValueError:
            same = False
        if not same:
            raise TransportRefusedError(f"{self.place(target)}: the next page is on another server")
        if len(link) > _LONGEST:
            raise TransportRefusedError(f"{self.place(target)}: the link to the next page is too long")
        path, query = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~"), quote(parts.query, safe="%=&+,:/?@!$'()*;~")
        return path + ("?" + query if query else "")


def taken_apart(url: str, what: str = "connection url") -> Base:
    """
    The parts of *url*, which is called *what* where it cannot be used.

    Raises:
        TransportUnsupportedError: It cannot.
    """
    parts = urlsplit(url)
    if not parts.hostname or re.search(r"[\x00-\x20\x7f\\]", url):
        raise TransportUnsupportedError(f"{what}: expected scheme://host/path without blanks")
    if parts.query or parts.fragment:
        raise TransportUnsupportedError(f"{what}: expected no query, write it in the feed's path")
    if parts.password is not None:
        raise TransportUnsupportedError(f"{what}: it holds a password, which belongs to the secrets")
    host = parts.netloc.rpartition("@")[2]
    user = unquote(parts.username) if parts.username else None
    return Base(scheme=parts.scheme.lower(), host=host, path=parts.path, user=user)


# ------------------------------------------------------------------ placeholders

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)(?::([^{}]*))?\}")


class AbsentError(Exception):
    """A placeholder stands for a value that this order has not."""


def fill(template: str, values: Mapping[str, Any], quoting: Callable[[str], str]) -> str:
    """*template* with its placeholders filled in; the values are quoted, the rest stays as it is."""
    return _PLACEHOLDER.sub(partial(_value, values, quoting), template)


def _value(values: Mapping[str, Any], quoting: Callable[[str], str], match: re.Match[str]) -> str:
    name, pattern = match.group(1), match.group(2)
    if name not in values:
        expected = " ".join(f"{{{known}}}" for known in values)
        raise TransportUnsupportedError(f"placeholder {{{name}}}: expected one of {expected}")
    value = values[name]
    if value is None:
        raise AbsentError(name)
    if isinstance(value, datetime):
        value = value.astimezone(UTC).strftime(pattern or "%Y-%m-%dT%H:%M:%SZ")
    return str(quoting(str(value)))


def _segment(value: str) -> str:
    if value in ("", ".", ".."):
        raise TransportUnsupportedError(f"{value!r} cannot be part of a URL path")
    return quote(value, safe="")


def names_in(templates: Iterable[str]) -> set[str]:
    """The placeholders that *templates* hold."""
    return {match.group(1) for template in templates for match in _PLACEHOLDER.finditer(template)}


# ------------------------------------------------------------------ queries


def query_of(parameters: Mapping[str, str], values: Mapping[str, Any], optional: Sequence[str] = ("since",)) -> str:
    """
    URL parameters, quoted; one whose placeholder is *optional* and absent is left out.

    Raises:
        AbsentError: Another is absent.

    Example:
        >>> query_of({"refs": "{references}", "since": "{since}"}, {"references": "R&1,R2", "since": None})
        'refs=R%261%2CR2'
    """
    pairs = []
    for parameter, template in parameters.items():
        try:
            pairs.append(f"{quote_plus(parameter)}={_asked(template, values)}")
        except AbsentError as absent:
            if absent.args[0] not in optional:
                raise
    return "&".join(pairs)


def _asked(template: str, values: Mapping[str, Any]) -> str:
    """A parameter's value, quoted; what the template itself says is quoted too."""
    pieces, end = [], 0
    for match in _PLACEHOLDER.finditer(template):
        pieces += [quote_plus(template[end : match.start()]), _value(values, quote_plus, match)]
        end = match.end()
    return "".join([*pieces, quote_plus(template[end:])])


def with_parameter(target: str, name: str, value: str) -> str:
    """
    *target* with the URL parameter *name*, in place of one that was there.

    Example:
        >>> with_parameter("/orders?page=1&all=0", "page", "2")
        '/orders?all=0&page=2'
    """
    path, _, query = target.partition("?")
    kept = [pair for pair in query.split("&") if pair and unquote_plus(pair.partition("=")[0]) != name]
    return f"{path}?{'&'.join([*kept, f'{quote_plus(name)}={quote_plus(value)}'])}"
