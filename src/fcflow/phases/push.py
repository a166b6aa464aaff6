"""
Take in what a partner pushes (a webhook): find out that it is the partner, then hand it to the same ledger as a file.

Whoever mounts it gives headers and bytes, and gets status and bytes to answer with. Whoever is not let in is not told
why; the log is. A push that cannot be taken now is answered by 503, so that the partner repeats it; one that was taken
is answered alike however often it comes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any

from attrs import field, frozen
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from fcflow.errors import FcflowError, SecretError, StoreBusyError
from fcflow.model import Feed, FeedKind, Partner, Push
from fcflow.phases.context import LOG, Context, describe
from fcflow.phases.receive import Apply, Pushed, receive_pushed
from fcflow.phases.statuses import apply_statuses
from fcflow.phases.stock_levels import apply_stock
from fcflow.reports import PushAnswer, RunReport
from fcflow.signing import Signable, SignatureScheme, read_timestamp, signing_key, verify
from fcflow.store import Lease, Sighting

__all__ = ["PushRequest", "is_dated", "push_of", "receive_push", "scheme_of"]

_ID = re.compile(r"[\x21-\x7e]{1,200}")
_MOST_TOLD = 50
_TOLERANCE_S = 300
_PATIENCE_S = 5
_AGAIN_S = 30
_INCOMING = (FeedKind.STATUS, FeedKind.STOCK, FeedKind.ACKNOWLEDGEMENT)


def _by_name(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found: dict[str, list[str]] = defaultdict(list)
    for name, value in pairs:
        found[name.lower()].append(value)
    return dict(found)


@frozen(kw_only=True)
class PushRequest:
    """One request, as it came in."""

    partner: str
    kind: str
    headers: Mapping[str, Sequence[str]] = field(converter=_by_name, repr=False)
    body: bytes = field(repr=False)
    method: str = "POST"
    target: str = ""

    def header(self, name: str) -> str:
        """The header called *name*; empty where it is absent, or stands twice so that nobody can say which counts."""
        found = self.headers.get(name.lower(), ())
        return found[0].strip() if len(found) == 1 else ""


class _Answered(Exception):
    """The request is answered already."""

    def __init__(self, answer: PushAnswer) -> None:
        self.answer = answer


class _KeptOutError(Exception):
    """It is not the partner, or not now; the text is for our own log."""


def receive_push(context: Context, request: PushRequest, report: RunReport) -> PushAnswer:
    """Take in *request*; whatever happens there is an answer to give."""
    try:
        partner, feed, push = _meant(context, request)
        return _received(context, partner, feed, push, request, report)
    except _Answered as answered:
        return answered.answer
    except FcflowError as error:
        LOG.warning("%s: a push of %s is put off: %s", request.partner, request.kind, describe(error))
    except Exception:  # noqa: BLE001  # of a plugin or of the host; the partner is to repeat it
        LOG.exception("%s: a push of %s is put off", request.partner, request.kind)
    return _answer(503, {"error": "not now, please repeat"}, {"Retry-After": str(_AGAIN_S)})


def push_of(context: Context, partner: str, kind: str) -> tuple[Partner, Feed, Push] | None:
    """Who may push what, by the names in an address; ``None`` where nobody may."""
    found = context.partners.get(partner)
    for feed in () if found is None else found.feeds:
        if feed.kind == kind and feed.kind in _INCOMING and feed.push is not None and found is not None:
            return found, feed, feed.push
    return None


def _meant(context: Context, request: PushRequest) -> tuple[Partner, Feed, Push]:
    found = push_of(context, request.partner, request.kind)
    if found is None:
        raise _Answered(_answer(404, {"error": "nothing is taken here"}))
    if len(request.body) > found[2].max_bytes:
        raise _Answered(_too_large(found[2]))
    return found


def _received(
    context: Context, partner: Partner, feed: Feed, push: Push, request: PushRequest, report: RunReport
) -> PushAnswer:
    pushed = Pushed(*_let_in(context, feed, push, request), _unpacked(push, request))
    with _leased(context, f"{partner.code}:{feed.kind}") as lease:
        known = _known(context, feed, push, pushed)
        if known is not None:
            return _repeated(context, known, pushed)
        sighting_id = receive_pushed(
            context, partner, feed, lease, pushed, report, _apply(context, partner, feed, report)
        )
    [kept] = _sightings(context, feed, sighting_id=sighting_id)
    return _told(context, kept)


def _apply(context: Context, partner: Partner, feed: Feed, report: RunReport) -> Apply:
    mine = report.partner(partner.code)
    if feed.kind is FeedKind.STOCK:
        return apply_stock(context, partner, feed, mine)
    return apply_statuses(context, partner, feed, mine)


@contextmanager
def _leased(context: Context, name: str) -> Iterator[Lease]:
    """Two pushes at once follow each other; one that meets a run that takes its time is put off."""
    waiting = Retrying(
        stop=stop_after_delay(_PATIENCE_S),
        wait=wait_random(0.01, 0.1),
        retry=retry_if_exception_type(StoreBusyError),
        reraise=True,
    )
    with ExitStack() as held:
        yield waiting(lambda: held.enter_context(context.store.lease(name, ttl_s=context.lease_s, clock=context.clock)))


# ------------------------------------------------------------------ who it is


def scheme_of(push: Push) -> SignatureScheme | None:
    """How a push is signed; ``None`` where it is not."""
    if push.signature is None:
        return None
    return SignatureScheme.of(push.signature, signed=("timestamp", "body"), separator=".")


def is_dated(push: Push) -> bool:
    """Whether a push tells when it was made, in a way that nobody else can change."""
    scheme = scheme_of(push)
    return scheme is not None and scheme.is_dated


def _let_in(context: Context, feed: Feed, push: Push, request: PushRequest) -> tuple[str, datetime | None]:
    """The name that tells this push from others, and its instant; who is not let in is not told why."""
    secrets = [context.plugins.resolve_secret(each, context.base).strip() for each in push.secrets]
    if not all(secrets):
        raise SecretError("a secret of a push is empty")
    try:
        at = _checked(push, request, secrets, context.clock())
    except _KeptOutError as reason:
        LOG.warning("%s: a push of %s was kept out: %s", feed.partner, feed.kind, reason)
        asked = {"WWW-Authenticate": 'Basic realm="push"'} if push.user is not None else {}
        raise _Answered(_answer(401, {"error": "not authorised"}, asked)) from None
    return f"push-{_id_of(push, request, at)}", at


def _checked(push: Push, request: PushRequest, secrets: Sequence[str], now: datetime) -> datetime | None:
    """
    The signed instant, if there is one.

    Raises:
        _KeptOutError: It is not the partner, or it was the partner long ago.
    """
    scheme = scheme_of(push)
    if scheme is not None:
        return _check_signature(push, scheme, request, secrets, now)
    if push.header is not None:
        _check_equal(_token(push.header, request.header(push.header)), secrets)
    elif push.user is not None:
        _check_equal(_login(request.header("Authorization")), [f"{push.user}:{each}" for each in secrets])
    else:
        raise _KeptOutError("nothing says how to know the partner")
    return None


def _check_signature(
    push: Push, scheme: SignatureScheme, request: PushRequest, secrets: Sequence[str], now: datetime
) -> datetime | None:
    written = request.header(scheme.timestamp_header) if scheme.is_dated else ""
    signable = Signable(
        method=request.method,
        target=request.target,
        body=request.body,
        timestamp=written,
        id=request.header(push.id_header) if push.id_header else "",
    )
    keys = [signing_key(each, scheme.key_form) for each in secrets]
    if not verify(scheme, keys, signable, request.header(scheme.header)):
        raise _KeptOutError(f"header {scheme.header} is not the signature")
    if not scheme.is_dated:
        return None
    at, tolerance_s = read_timestamp(scheme, written), _tolerance_s(push)
    if at is None:
        raise _KeptOutError(f"header {scheme.timestamp_header} is not an instant")
    if abs((now - at).total_seconds()) > tolerance_s:
        raise _KeptOutError(f"it is of {at:%Y-%m-%d %H:%M:%S} UTC, more than {tolerance_s} s from now")
    return at


def _tolerance_s(push: Push) -> int:
    return _TOLERANCE_S if push.signature is None else int(push.signature.get("tolerance_s", _TOLERANCE_S))


def _check_equal(claimed: str, expected: Iterable[str]) -> None:
    """Compare in a time that does not tell how much of it is right."""
    given, found = claimed.encode("utf-8", "replace"), False
    for each in expected:
        found |= hmac.compare_digest(given, each.encode("utf-8", "replace"))
    if not found:
        raise _KeptOutError("the secret is missing or wrong")


def _token(header: str, value: str) -> str:
    scheme, _, token = value.partition(" ")
    return token.strip() if header.lower() == "authorization" and scheme.lower() == "bearer" else value


def _login(value: str) -> str:
    """User and password of basic authentication; empty where there are none."""
    scheme, _, coded = value.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(coded.strip(), validate=True).decode()
    except ValueError:
        return ""


# ------------------------------------------------------------------ what it is


def _id_of(push: Push, request: PushRequest, at: datetime | None) -> str:
    if push.id_header is None:
        instant = "" if at is None else at.isoformat()
        return hashlib.sha256(instant.encode() + b"\n" + request.body).hexdigest()[:32]
    found = request.header(push.id_header)
    if not _ID.fullmatch(found):
        expected = f"expected a header {push.id_header} of 1 to 200 printable characters without blanks"
        raise _Answered(_answer(400, {"error": expected}))
    return found


def _unpacked(push: Push, request: PushRequest) -> bytes:
    """The content; packed content grows no further than the feed allows."""
    packing = request.header("Content-Encoding").lower()
    if packing in ("", "identity"):
        return request.body
    if packing != "gzip":
        raise _Answered(_answer(415, {"error": "expected the content as it is, or packed by gzip"}))
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(request.body, push.max_bytes + 1)
    except zlib.error:
        content = b""
    if len(content) > push.max_bytes:
        raise _Answered(_too_large(push))
    if not unpacker.eof or unpacker.unused_data:
        raise _Answered(_answer(422, {"error": "the content is not packed by gzip"}))
    return content


def _sightings(context: Context, feed: Feed, **wanted: Any) -> list[Sighting]:
    with context.store.reading() as tx:
        return tx.sightings(partner=feed.partner, feed=feed.kind.value, **wanted)


def _known(context: Context, feed: Feed, push: Push, pushed: Pushed) -> Sighting | None:
    """
    The same push, if it was here before.

    One without id and instant is known by its bytes, as long as nothing else came in between: a level of 5, 3, and
    5 again must end at 5.
    """
    if push.id_header is not None or pushed.at is not None:
        found = _sightings(context, feed, name=pushed.name, limit=1)
    else:
        found = [each for each in _sightings(context, feed, limit=1) if each.name == pushed.name]
    return next((each for each in found if not _is_mended(context, feed, each, pushed)), None)


def _is_mended(context: Context, feed: Feed, known: Sighting, pushed: Pushed) -> bool:
    """What could not be read is read anew where the partner mended it, or we our layout."""
    if known.state != "refused" and not _has_nothing_good(known):
        return False
    return known.sha256 != _sha256(pushed) or known.layout_hash != context.layout_of(feed).hash


def _has_nothing_good(known: Sighting) -> bool:
    return known.state == "applied" and not known.records and known.problems > 0


def _sha256(pushed: Pushed) -> str:
    return hashlib.sha256(pushed.content).hexdigest()


# ------------------------------------------------------------------ what is answered


def _answer(status: int, said: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> PushAnswer:
    content = json.dumps(said, ensure_ascii=False).encode()
    return PushAnswer(
        status=status,
        headers={"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})},
        body=content,
    )


def _too_large(push: Push) -> PushAnswer:
    return _answer(413, {"error": f"expected at most {push.max_bytes} bytes"})


def _repeated(context: Context, known: Sighting, pushed: Pushed) -> PushAnswer:
    if known.sha256 != _sha256(pushed):
        LOG.warning("%s: %s came again with other content and was not taken", known.partner, known.name)
        return _answer(409, {"error": "a delivery with this id was here before, with other content"})
    return _told(context, known, repeated=True)


def _told(context: Context, kept: Sighting, *, repeated: bool = False) -> PushAnswer:
    """What the partner is told of its push: the same, however often it comes."""
    with context.store.reading() as tx:
        problems = [str(each) for each in tx.problems(kept.sighting_id)]
    unread = kept.state == "refused" or _has_nothing_good(kept)
    status = 422 if unread else 202 if kept.state == "parked" else 200
    said: dict[str, Any] = {"taken": status == 200, "records": kept.records, "problems": problems[:_MOST_TOLD]}
    if kept.problems > _MOST_TOLD:
        said["more_problems"] = kept.problems - _MOST_TOLD
    return _answer(status, {**said, "repeated": True} if repeated else said)
