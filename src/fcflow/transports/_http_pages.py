"""
An answer in pages, put together: what was asked for is one thing, taken whole or not at all.

Pages of JSON become one document: the first page, with the entries of all pages in its list. Pages of text become one
text. So a layout reads them as it reads an answer without pages, and a stock list in pages is one full picture.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from requests.utils import parse_header_links

from fcflow.errors import TransportRefusedError, TransportTooLargeError
from fcflow.transports import _jsonpath as jsonpath
from fcflow.transports._faults import scrubbed
from fcflow.transports._http_answers import cleaned
from fcflow.transports._http_urls import Base, with_parameter

__all__ = ["Pages"]

_MOST = 100
_LONGEST_CURSOR = 4000


class _Number:
    """A number as it is written: 7.50 stays 7.50, and never becomes 7.499999."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content, parse_float=_Number, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _written(document: Any) -> bytes:
    """The document as text, every number as it was."""
    mark = secrets.token_hex(16)
    text = json.dumps(document, default=lambda number: mark + number.text)
    return re.sub(f'"{mark}([^"]*)"', r"\1", text).encode("ascii")


class Pages:
    """
    The pages of one answer: what to ask for next, and all of them put together.

    Args:
        options: After ``pages`` of the feed's schema.

        target: What is asked for, without a page.

        error: Where a page that is none says what is wrong, or ``None``.

    Example:
        >>> from fcflow.transports._http_urls import taken_apart
        >>> options = {"by": "cursor", "next": "$.next", "parameter": "after", "items": "$.orders"}
        >>> pages = Pages(options, taken_apart("https://postal.example/"), "/orders")
        >>> pages.took(b'{"orders": [1.50], "next": "c2"}', {})
        '/orders?after=c2'
        >>> pages.took(b'{"orders": [2], "next": null}', {}) is None
        True
        >>> pages.whole()
        b'{"orders": [1.50, 2], "next": "c2"}'
    """

    def __init__(self, options: Mapping[str, Any], base: Base, target: str, error: str | None = None) -> None:
        self._options = options
        self._error = error
        self._base = base
        self._target = target
        self._place = base.place(target)
        self._asked: set[str] = set()
        self._digest = b""
        self._secrets: tuple[str, ...] = ()
        self._count = 0
        self._position = int(options.get("first", 0 if options["by"] == "offset" else 1))
        self._document: Any = None
        self._entries: list[Any] = []
        self._texts: list[bytes] = []

    @property
    def first(self) -> str:
        """What to ask for first."""
        counted = self._options["by"] in ("number", "offset")
        first = self._at_position() if counted else self._target
        self._asked.add(first)
        return first

    def took(self, content: bytes, headers: Mapping[str, str], secrets: Iterable[str] = ()) -> str | None:
        """
        Take in a page; returns the target of the next one, or ``None`` after the last.

        Args:
            secrets: What no message may repeat.

        Raises:
            TransportRefusedError: It is not such a page, comes again, or leads to another server.

            TransportTooLargeError: There are more pages than the feed allows.
        """
        self._count += 1
        self._secrets = tuple(secrets)
        if not content.strip():
            return None
        if self._options["by"] in ("number", "offset"):
            self._check_new(content)
        document, entries = self._read(content)
        following = self._following(document, entries, headers)
        if following is not None:
            self._check_going_on(following)
        return following

    def whole(self) -> bytes:
        """All pages as one; empty where there was nothing."""
        return _written(self._document) if self._document is not None else b"".join(self._texts)

    # ---------------------------------------------------------------- one page

    def _read(self, content: bytes) -> tuple[Any, int]:
        """The page as a document (``None`` for text), and how many entries it has."""
        if "items" not in self._options:
            return self._read_text(content), len(self._lines(content))
        document = self._parsed(content)
        found = jsonpath.select(document, self._options["items"])
        if len(found) != 1 or not isinstance(found[0], list):
            said = jsonpath.text_at(document, self._error) if self._error else None
            raise self._refused(
                f"expected a list at {self._options['items']}"
                + (f": {cleaned(scrubbed(said, self._secrets), 200)}" if said else "")
            )
        if self._document is None:
            self._document, self._entries = document, found[0]
            return document, len(found[0])
        self._entries += found[0]
        return document, len(found[0])

    def _read_text(self, content: bytes) -> Any:
        """Keep a page of text; where the next one is told in the body, it is read as JSON by `_following` alone."""
        if self._texts:
            if not self._texts[-1].endswith(b"\n"):
                self._texts.append(b"\r\n" if b"\r\n" in self._texts[0] else b"\n")
            content = content.split(b"\n", self._headings)[-1] if content.count(b"\n") >= self._headings else b""
        self._texts.append(content)
        return None

    @property
    def _headings(self) -> int:
        return int(self._options.get("header_lines", 0))

    def _lines(self, content: bytes) -> list[bytes]:
        return [line for line in content.split(b"\n")[self._headings :] if line.strip()]

    def _parsed(self, content: bytes) -> Any:
        try:
            return _parsed(content)
        except ValueError:
            raise self._refused("the page is not JSON") from None

    # ---------------------------------------------------------------- the next one

    def _following(self, document: Any, entries: int, headers: Mapping[str, str]) -> str | None:
        if "more" in self._options and not any(jsonpath.select(document, self._options["more"])):
            return None
        by = self._options["by"]
        if by in ("number", "offset"):
            return self._counted(entries)
        if by == "link":
            link = _next_link(headers.get("Link", ""))
        else:
            link = self._said(document)
        if not link:
            return None
        if by == "cursor":
            return with_parameter(self._target, self._options["parameter"], link)
        return self._base.follow(self._target, link)

    def _said(self, document: Any) -> str | None:
        """The link or the cursor that the page names."""
        found = next(iter(jsonpath.select(document, self._options["next"])), None)
        if isinstance(found, _Number | list | dict | bool) or (isinstance(found, str) and len(found) > _LONGEST_CURSOR):
            raise self._refused(f"expected a text at {self._options['next']}")
        return None if found is None else str(found)

    def _counted(self, entries: int) -> str | None:
        """The next page by number or offset; a page that is empty or not full is the last."""
        if entries < self._options.get("size", 1):
            return None
        self._position += 1 if self._options["by"] == "number" else entries
        return self._at_position()

    def _at_position(self) -> str:
        return with_parameter(self._target, self._options["parameter"], str(self._position))

    # ---------------------------------------------------------------- an end to it

    def _check_new(self, content: bytes) -> None:
        """A server that does not know the parameter gives the same page for ever."""
        digest = hashlib.sha256(content).digest()
        if digest == self._digest:
            raise self._refused("it is the page before it again")
        self._digest = digest

    def _check_going_on(self, following: str) -> None:
        most = self._options.get("most", _MOST)
        if following in self._asked:
            raise self._refused("it leads back to a page that was there before")
        if self._count >= most:
            raise TransportTooLargeError(f"{self._place}: expected at most {most} pages, got more")
        self._asked.add(following)

    def _refused(self, why: str) -> TransportRefusedError:
        return TransportRefusedError(f"{self._place}, page {self._count}: {why}")


def _next_link(header: str) -> str | None:
    """
    The address of ``rel="next"`` in a Link header.

    Example:
        >>> _next_link('<https://x.example/?page=1>; rel="prev", <https://x.example/?page=3>; rel="next"')
        'https://x.example/?page=3'
    """
    found: Iterator[str] = (
        link.get("url", "") for link in parse_header_links(header) if "next" in link.get("rel", "").lower().split()
    )
    return next(found, None)
