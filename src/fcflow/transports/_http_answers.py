"""What an answer to a post or a question means, by the rules that the feed declares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from fcflow.errors import (
    TransientError,
    TransportError,
    TransportLoginError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTooLargeError,
    TransportUnavailableError,
    TransportUnclearError,
)
from fcflow.transports import _jsonpath as jsonpath
from fcflow.transports._faults import scrubbed
from fcflow.transports._wire import Answer
from fcflow.transports.base import Delivery, Receipt

__all__ = ["ANSWERED", "Said", "cleaned", "heard", "judged", "look_failure", "redirected", "retry_after_s"]

_ANSWER_BYTES = 64 * 1024
_DOCUMENT_BYTES = 4 * 1024 * 1024
_TEXT = 500
_RECEIPT_TEXT = 2000

ANSWERED = frozenset({200, 203, 204})
"""Answers to a question that are one."""

_NOT_TAKEN = frozenset({408, 425, 429, 503})
"""Answers that say: not now, and nothing was taken."""


def cleaned(text: str, limit: int) -> str:
    """A stranger's text as one line that can be shown."""
    clean = " ".join(re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f]", " ", text).split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


@frozen(kw_only=True)
class Said:
    """An answer to a post: *cut* is why its end is missing, or ``None``."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    cut: TransportError | None
    secrets: tuple[str, ...] = field(repr=False)

    @property
    def raw(self) -> str:
        """Its text, to be judged and never shown."""
        return self.body.decode("utf-8", "replace").removeprefix("\ufeff")

    @property
    def text(self) -> str:
        """Its text, without the secrets that the server may have said back."""
        return scrubbed(self.raw, self.secrets)

    @property
    def is_success(self) -> bool:
        """Whether its status is a 2xx."""
        return 200 <= self.status < 300

    def document(self) -> Any:
        """
        What it says, as JSON.

        Raises:
            ValueError: It is not JSON, or not whole.
        """
        if self.cut is not None:
            raise ValueError("cut")
        return jsonpath.parsed(self.raw)

    def line(self, error: str | None = None) -> str:
        """The answer as one message: its text, or what is at *error* in it, after its status where it is no success."""
        text = cleaned(self._error_at(error) or self.text, _TEXT)
        if self.is_success and text:
            return text
        head = f"HTTP {self.status} {cleaned(self.reason, 60) or _phrase(self.status)}".strip()
        return f"{head}: {text}" if text else f"{head}, without a text"

    def _error_at(self, path: str | None) -> str | None:
        if path is None:
            return None
        try:
            return scrubbed(jsonpath.text_at(self.document(), path) or "", self.secrets)
        except ValueError:
            return None


def heard(answer: Answer, secrets: tuple[str, ...], *, document: bool = False) -> Said:
    """
    Read an answer that is to be judged; of an endless one the beginning.

    Args:
        document: All of it counts, so it may be larger; what is cut is said to be.
    """
    cut: TransportError | None = None
    body, limit = bytearray(), _DOCUMENT_BYTES if document else _ANSWER_BYTES
    try:
        for piece in answer.pieces:
            body += piece
            if len(body) > limit:
                cut = TransportTooLargeError(f"expected an answer of at most {limit} bytes") if document else None
                break
    except TransportError as error:
        cut = error
    return Said(
        status=answer.status,
        reason=answer.reason,
        headers=answer.headers,
        body=bytes(body[:limit]),
        cut=cut,
        secrets=secrets,
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


# ------------------------------------------------------------------ the answer to a post


class _Verdict(Enum):
    """What a rule says of an answer: MIXED is yes of some orders in it and no of others; UNREADABLE: it cannot say."""

    YES = "yes"
    NO = "no"
    MIXED = "mixed"
    UNREADABLE = "unreadable"


def asks_for_document(options: Mapping[str, Any]) -> bool:
    """Whether a feed's rules read the answer as JSON."""
    rules = [options.get(name, {}) for name in ("accept", "known", "refuse")]
    return "error" in options or any("json" in rule for rule in rules)


def _verdict(rule: Mapping[str, Any], said: Said) -> _Verdict:
    """What *rule* says: every part of it must hold; without statuses it speaks of any 2xx."""
    if not (said.status in rule["status"] if "status" in rule else said.is_success):
        return _Verdict.NO
    if "body" in rule and (said.cut is not None or said.raw.strip() != rule["body"]):
        return _Verdict.NO if said.cut is None else _Verdict.UNREADABLE
    return _json_verdict(rule["json"], said) if "json" in rule else _Verdict.YES


def _json_verdict(tests: Any, said: Said) -> _Verdict:
    try:
        document = said.document()
    except ValueError:
        return _Verdict.UNREADABLE
    found = [jsonpath.holds(document, test) for test in (tests if isinstance(tests, list | tuple) else [tests])]
    if all(all(each) for each in found):
        return _Verdict.YES
    return _Verdict.MIXED if all(any(each) for each in found) else _Verdict.NO


def judged(delivery: Delivery, said: Said, place: str) -> Receipt:
    """
    What the answer to a post means; the status line decides, unless the feed asks for the text.

    Raises:
        TransportError: The delivery was refused, or nobody can know whether it was taken.
    """
    options = delivery.feed.options
    error, accepted = options.get("error"), _verdict(options.get("accept", {}), said)
    if accepted is _Verdict.YES or ("known" in options and _verdict(options["known"], said) is _Verdict.YES):
        return Receipt(name=delivery.name, size=delivery.size, answer=cleaned(said.text, _RECEIPT_TEXT) or None)
    if "refuse" in options and _verdict(options["refuse"], said) is _Verdict.YES:
        raise TransportRefusedError(said.line(error))
    if accepted is _Verdict.MIXED:
        raise TransportUnclearError(f"{place}: some of it was taken and some was not: {said.line(error)}")
    if accepted is _Verdict.UNREADABLE and said.is_success:
        why = f"the answer was lost: {said.cut}" if said.cut else f"the answer is not JSON: {said.line()}"
        raise TransportUnclearError(f"{place}: {why}")
    if said.status >= 500 and said.status not in _NOT_TAKEN:
        raise TransportUnclearError(f"{place}: the server failed with the order in hand: {said.line(error)}")
    raise _refusal(said, place, error)


def _refusal(said: Said, place: str, error: str | None = None) -> TransportError:
    if said.status in _NOT_TAKEN:
        return not_now(said.headers, f"{place}: {said.line(error)}")
    if said.status in (401, 403):
        return TransportLoginError(f"{place}: {said.line(error)}")
    if 300 <= said.status < 400:
        return redirected(said.status, said.headers, place)
    return TransportRefusedError(said.line(error))


# ------------------------------------------------------------------ later, elsewhere, not there


def not_now(headers: Mapping[str, str], message: str) -> TransportUnavailableError:
    """The error that waits as long as the server asked for."""
    error = TransportUnavailableError(message)
    wait = cleaned(headers.get("Retry-After", ""), 40)
    if wait:
        error.add_note(f"retry after {wait}{' s' if wait.isdecimal() else ''}")
    if isinstance(error, TransientError):
        error.retry_after_s = retry_after_s(headers)
    return error


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """
    How long a server asks us to wait, or ``None`` where it does not say: a number of seconds, or an instant.

    An instant is compared with the server's own clock, where it tells that too.

    Example:
        >>> retry_after_s({"Retry-After": "Mon, 02 Mar 2026 09:00:30 GMT", "Date": "Mon, 02 Mar 2026 09:00:00 GMT"})
        30.0
        >>> retry_after_s({"Retry-After": "soon"}) is None
        True
    """
    wait = headers.get("Retry-After", "").strip()
    if wait.isdecimal() and wait.isascii():
        return float(wait[:12])
    until = _instant(wait)
    if until is None:
        return None
    now = _instant(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _instant(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def redirected(status: int, headers: Mapping[str, str], place: str) -> TransportRefusedError:
    """The error that names the host of a redirect and nothing else of it."""
    try:
        host = urlsplit(headers.get("Location", "")).hostname
    except ValueError:
        host = None
    where = f" to {cleaned(host, 100)}" if host else " within the same server" if headers.get("Location") else ""
    return TransportRefusedError(f"{place}: HTTP {status}: redirected{where}, and redirects are not followed")


def look_failure(said: Said, place: str) -> TransportError:
    """Why an answer to a question is none."""
    if said.status in (404, 410):
        return TransportNotFoundError(f"{place}: {said.line()}")
    if said.status >= 500 or said.status in _NOT_TAKEN:
        return not_now(said.headers, f"{place}: {said.line()}")
    if said.status < 300:
        return TransportRefusedError(f"{place}: expected HTTP 200 or 204, got {said.status}")
    return _refusal(said, place)
