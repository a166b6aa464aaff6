"""
Take in what a partner left for us, once, and keep it.

Fetch, hash, decode; then apply everything of one file in one transaction together with the mark that it was taken;
only then archive or delete it at the partner's. A crash in between is healed by the next run: what is applied and not
settled is settled, what is not applied is taken again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import IO, Any, BinaryIO, TypeVar, cast

from attrs import evolve, frozen

from fcflow.audit import AuditType
from fcflow.errors import (
    FcflowError,
    FormatError,
    LifecycleError,
    TransientError,
    TransportCorruptError,
    TransportError,
    TransportLoginError,
    TransportNotFoundError,
    TransportTooLargeError,
    TransportUnavailableError,
    TransportUntrustedError,
)
from fcflow.formats import Layout
from fcflow.model import Feed, Partner, Problem, Record
from fcflow.phases.context import ACTIVE, Context, Writing, describe
from fcflow.phases.drift import drift, shape_of
from fcflow.phases.reply import DUE, is_due, reply_counter, send_replies
from fcflow.phases.retry import LONGEST_S, attempt
from fcflow.reports import PartnerReport, RunReport
from fcflow.store import Lease, Sighting, Transaction
from fcflow.transports import Fetched, Offer, OpenFulfilment, Outcome, Query, Transport

__all__ = ["Apply", "Pushed", "receive", "receive_again", "receive_pushed"]

Apply = Callable[[Writing, Sequence[Record], int], list[Problem]]
"""Applies good records inside the transaction; gets the number of bad ones, gives back what it could not apply."""

T = TypeVar("T")

_MOST_KEPT = 10_000
"""Bad records of one file that are kept singly; the file itself is kept whole."""

_MOST_TOLD = 200
"""Of these, those that the report and the audit trail name."""

_SPOOL_BYTES = 8 * 1024 * 1024


def receive(context: Context, partner: Partner, feed: Feed, report: RunReport, apply: Apply) -> None:
    """Take in everything that *feed* offers now."""
    name = f"{partner.code}:{feed.kind}"
    with context.store.lease(name, ttl_s=context.lease_s, clock=context.clock) as lease:
        if feed.is_polled:
            intake = _Intake(context, partner, feed, lease, report.partner(partner.code), apply)
            with context.way(partner, feed.connection) as transport:
                intake.run(transport)
        send_replies(context, partner, feed, lease, report.partner(partner.code))


def receive_pushed(
    context: Context, partner: Partner, feed: Feed, lease: Lease, pushed: Pushed, report: RunReport, apply: Apply
) -> int:
    """
    Take in what the partner handed to us; returns the id under which it is kept.

    It goes the way of a file: everything of it in one transaction, together with the mark that it was taken.
    """
    return _Intake(context, partner, feed, lease, report.partner(partner.code), apply).pushed(pushed)


def receive_again(
    context: Context, partner: Partner, feed: Feed, sighting_id: int, report: RunReport, apply: Apply
) -> None:
    """
    Read the kept bytes of what was not applied by the layout as it is now, and apply them.

    Raises:
        LifecycleError: They are applied already.

        FormatError: They still cannot be read; nothing changed.
    """
    with context.store.lease(f"{partner.code}:{feed.kind}", ttl_s=context.lease_s, clock=context.clock) as lease:
        _Intake(context, partner, feed, lease, report.partner(partner.code), apply).again(sighting_id)


@frozen
class Pushed:
    """What was pushed: the name that tells it from others, the instant that is signed, and its bytes."""

    name: str
    at: datetime | None
    content: bytes


@frozen
class _Read:
    """What the layout made of one payload."""

    records: list[Record]
    problems: list[Problem]
    shape: list[str] | None


class _Sink:
    """What a transport writes to: no more than the limits say, and a full disk here is an error with its reason."""

    def __init__(self, spool: IO[bytes], most: int, name: str) -> None:
        self._spool, self._most, self._name = spool, most, name
        self._count = 0

    def write(self, block: bytes) -> int:
        self._count += len(block)
        if self._count > self._most:
            raise TransportTooLargeError(f"{self._name}: expected at most {self._most} bytes, got more")
        try:
            return self._spool.write(block)
        except OSError as error:
            message = f"{self._name}: there is no room for it here: {error.strerror or type(error).__name__}"
            raise TransportUnavailableError(message) from error

    def flush(self) -> None:
        """Nothing waits anywhere."""


@frozen
class _Taken:
    """One thing that was fetched; *pushed* where it was handed to us, so that nothing is left at the partner's."""

    offer: Offer
    fetched: Fetched
    content: bytes
    pushed: bool = False


class _Intake:
    """One feed of one partner in one run."""

    def __init__(
        self, context: Context, partner: Partner, feed: Feed, lease: Lease, report: PartnerReport, apply: Apply
    ) -> None:
        self.context = context
        self.partner = partner
        self.feed = feed
        self.lease = lease
        self.report = report
        self.apply = apply
        self.layout: Layout = context.layout_of(feed)
        self.missed = False
        self.told_to_wait = False

    def run(self, transport: Transport) -> None:
        began = self.context.clock()
        offers = self._attempt(lambda: self._offers(transport))
        for done, offer in enumerate(offers):
            self.context.tell(self.feed.kind.value, self.partner.code, done, len(offers), offer.name)
            self._take(transport, offer)
            if self.told_to_wait:
                break
        if not self.missed:
            # Who is asked "since then" must be asked again for the time of which nothing was heard.
            with self.context.writing(lease=self.lease) as writing:
                writing.tx.mark_look(self.partner.code, self.feed.kind.value, began)
        self.context.tell(self.feed.kind.value, self.partner.code, len(offers), len(offers))

    def _offers(self, transport: Transport) -> list[Offer]:
        """What could be taken, oldest first, so that a later word is read after an earlier one."""
        offers = list(transport.list(self.feed, self._query(transport)))
        return sorted(
            offers, key=lambda o: (o.modified_at is not None, o.modified_at and o.modified_at.timestamp(), o.name)
        )

    def _query(self, transport: Transport) -> Query:
        """What there is to ask; a folder shows by itself what lies in it."""
        with self.context.store.reading() as tx:
            since = tx.looked_at(self.partner.code, self.feed.kind.value)
            asked = [] if transport.capabilities.lists else list(_open_fulfilments(tx, self.partner))
        return Query(open=asked, since=since, max_files=self.partner.limits.max_files)

    def _attempt(self, call: Callable[[], T]) -> T:
        return attempt(call, self.partner.limits)

    # ---------------------------------------------------------------- one offer

    def _take(self, transport: Transport, offer: Offer) -> None:
        seen = self._seen(offer)
        if seen is not None and seen.settled and self.feed.after == "leave":
            return
        if seen is not None and not seen.settled:
            self._settle(transport, offer, seen.sighting_id, seen.state)
            return
        if not transport.capabilities.lists:
            offer = evolve(offer, unless=self._mark_of(offer))
        try:
            taken = self._attempt(lambda: self._fetch(transport, offer))
        except TransportError as error:
            if isinstance(error, TransportNotFoundError) and self.feed.options.get("claim") is not None:
                return  # another installation was faster, as it may be
            self.missed = True
            self.told_to_wait = isinstance(error, TransientError) and (error.retry_after_s or 0) > LONGEST_S
            if isinstance(error, TransportLoginError | TransportUntrustedError):
                raise  # it is about the server and not about what was asked for: asking on would lock us out
            self.report.problems.append(f"{offer.name}: {describe(error)}")
            return
        if taken.fetched.size or transport.capabilities.lists:
            self._receive(transport, taken)

    def _seen(self, offer: Offer) -> Sighting | None:
        """The sighting that this offer is, where that can be told without fetching it."""
        if offer.modified_at is None and offer.etag is None:
            return None
        # Messages that bring files of one name lie there together; of a file in a folder the last sighting counts.
        etag = None if offer.modified_at is None else offer.etag
        feed = self.feed.kind.value
        with self.context.store.reading() as tx:
            known = tx.sightings(partner=self.partner.code, feed=feed, name=offer.name, etag=etag, limit=1)
        same = [s for s in known if (s.modified_at, s.etag) == (offer.modified_at, offer.etag)]
        return next((s for s in same if offer.size in (None, s.size)), None)

    def _mark_of(self, offer: Offer) -> str | None:
        """The server's mark of its last answer to the same question, if nothing of that has to be read again."""
        with self.context.store.reading() as tx:
            known = tx.sightings(partner=self.partner.code, feed=self.feed.kind.value, name=offer.name, limit=1)
        same = [s for s in known if (s.token, s.layout_hash) == (offer.token, self.layout.hash)]
        return next((s.etag for s in same if s.state == "applied" and not s.problems), None)

    def _fetch(self, transport: Transport, offer: Offer) -> _Taken:
        """Into a file of our own; what a transport says of it is held against what came."""
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
            fetched = transport.fetch(offer, cast("BinaryIO", _Sink(spool, self.partner.limits.max_bytes, offer.name)))
            spool.seek(0)
            content = spool.read()
        if (fetched.size, fetched.sha256) != (len(content), hashlib.sha256(content).hexdigest()):
            raise TransportCorruptError(f"{offer.name}: expected {fetched.size} bytes as fetched, got {len(content)}")
        return _Taken(offer, fetched, content)

    def _receive(self, transport: Transport, taken: _Taken) -> None:
        repeated = self._repeated(transport, taken)
        if repeated is not None:
            self._settle(transport, taken.offer, repeated.sighting_id, repeated.state)
            return
        try:
            sighting_id, state = self._judged(taken)
        except FormatError as error:
            sighting_id, state = self._refused(taken, error), "refused"
        self._settle(transport, taken.offer, sighting_id, state)

    def _judged(self, taken: _Taken) -> tuple[int, str]:
        """Apply what was taken, unless its header changed and the feed parks such files."""
        read = self._read(taken.content, taken.offer.name, taken.offer.modified_at)
        changed = self._drift(read)
        if changed is not None and self.feed.on_header_change == "park":
            return self._parked(taken, changed), "parked"
        return self._applied(taken, read, changed), "applied"

    def _drift(self, read: _Read) -> str | None:
        if self.feed.on_header_change == "ignore":
            return None
        with self.context.store.reading() as tx:
            return drift(tx, self.partner.code, self.feed.kind.value, self.layout, read.shape)

    def _repeated(self, transport: Transport, taken: _Taken) -> Sighting | None:
        """Where the partner's server tells no time, the same content under the same name, if it still lies there."""
        if taken.offer.modified_at is not None or taken.offer.etag is not None:
            return None
        with self.context.store.reading() as tx:
            known = tx.sightings(partner=self.partner.code, feed=self.feed.kind.value, name=taken.offer.name, limit=1)
        left = self.feed.after == "leave" and transport.capabilities.lists
        same = [s for s in known if s.sha256 == taken.fetched.sha256]
        return next((s for s in same if not s.settled or (left and s.modified_at is None)), None)

    def _read(self, content: bytes, name: str, modified_at: datetime | None) -> _Read:
        records: list[Record] = []
        problems: list[Problem] = []
        for item in self.layout.decode(content, name=name, modified_at=modified_at):
            if isinstance(item, Problem):
                problems.append(item)
            else:
                records.append(item)
        return _Read(records, problems, shape_of(self.layout, records))

    # ---------------------------------------------------------------- handed to us

    def pushed(self, pushed: Pushed) -> int:
        """Take in what did not have to be fetched."""
        offer = Offer(feed=self.feed, name=pushed.name, modified_at=pushed.at, token="pushed")  # noqa: S106
        fetched = Fetched(size=len(pushed.content), sha256=hashlib.sha256(pushed.content).hexdigest())
        taken = _Taken(offer, fetched, pushed.content, pushed=True)
        try:
            return self._judged(taken)[0]
        except FormatError as error:
            return self._refused(taken, error)

    # ---------------------------------------------------------------- once more

    def again(self, sighting_id: int) -> None:
        """Apply what was kept."""
        with self.context.store.reading() as tx:
            [kept] = tx.sightings(sighting_id=sighting_id)
            content = tx.sighting_content(sighting_id)
        if kept.state == "applied" or content is None:
            raise LifecycleError(f"{kept.name} (received as {sighting_id}) is {kept.state}, and is not applied again")
        read = self._read(content, kept.name, kept.modified_at or kept.received_at)
        with self.context.writing(lease=self.lease) as writing:
            found = [*read.problems, *self.apply(writing, read.records, len(read.problems))]
            row = {**self._said(read, found), "error": None, "layout_hash": self.layout.hash}
            writing.tx.replace_sighting(sighting_id, row, found[:_MOST_KEPT])
            told = self._note_received(writing, kept.name, kept.sha256, sighting_id, (len(read.records), found))
        self.report.files_received += 1
        self.report.problems += told

    # ---------------------------------------------------------------- what became of it

    def _applied(self, taken: _Taken, read: _Read, changed: str | None) -> int:
        with self.context.writing(lease=self.lease, actor=self.partner.code) as writing:
            found = [*read.problems, *self.apply(writing, read.records, len(read.problems))]
            if changed is not None:
                found.append(Problem(message=f"the header changed: {changed}"))
            row = {**self._row(taken), **self._said(read, found), "received_at": writing.now}
            row |= self._reply(writing, len(found))
            sighting_id = writing.tx.add_sighting(row, found[:_MOST_KEPT])
            counts = (len(read.records), found)
            told = self._note_received(writing, taken.offer.name, taken.fetched.sha256, sighting_id, counts)
        self.report.files_received += 1
        self.report.problems += told
        return sighting_id

    def _said(self, read: _Read, found: Sequence[Problem]) -> dict[str, Any]:
        """What a sighting says of records that were applied."""
        shape = None if read.shape is None else json.dumps(read.shape)
        return {"state": "applied", "records": len(read.records), "problems": len(found), "shape": shape}

    def _note_received(
        self, writing: Writing, name: str, sha256: str, sighting_id: int, counts: tuple[int, Sequence[Problem]]
    ) -> list[str]:
        """Write into the audit trail how many records were good and which were bad; what people are told of these."""
        records, found = counts
        said = f"{name}: {records} records, {len(found)} problems"
        writing.note(AuditType.FILE_RECEIVED, said, feed=self.feed.kind.value, sighting=sighting_id, sha256=sha256)
        told = [f"{name}: {each}" for each in _told(found)]
        for each in told:
            writing.note(AuditType.RECORD_PROBLEM, each, sighting=sighting_id)
        return told

    def _refused(self, taken: _Taken, error: FcflowError) -> int:
        self.report.files_refused += 1
        return self._put_aside(taken, "refused", AuditType.FILE_REFUSED, describe(error))

    def _parked(self, taken: _Taken, changed: str) -> int:
        self.report.files_parked += 1
        return self._put_aside(taken, "parked", AuditType.FILE_PARKED, f"the header changed: {changed}")

    def _put_aside(self, taken: _Taken, state: str, event: AuditType, text: str) -> int:
        """Keep what was taken and apply nothing of it."""
        with self.context.writing(lease=self.lease, actor=self.partner.code) as writing:
            row = {**self._row(taken), "state": state, "error": text, "received_at": writing.now}
            row |= self._reply(writing, 1)
            sighting_id = writing.tx.add_sighting(row, [Problem(message=text)])
            said = f"{taken.offer.name}: {text}"
            writing.note(event, said, feed=self.feed.kind.value, sighting=sighting_id)
        self.report.problems.append(f"{taken.offer.name}: {state}: {text}")
        return sighting_id

    def _reply(self, writing: Writing, problems: int) -> dict[str, Any]:
        """Whether the partner is to be answered, and under which number."""
        if not is_due(self.feed, problems):
            return {}
        return {"reply": DUE, "reply_number": writing.tx.counter(reply_counter(self.partner))}

    def _row(self, taken: _Taken) -> dict[str, Any]:
        offer = taken.offer
        return {
            "partner": self.partner.code,
            "feed": self.feed.kind.value,
            "name": offer.name,
            "size": taken.fetched.size if offer.size is None else offer.size,
            "modified_at": offer.modified_at,
            "etag": offer.etag or taken.fetched.etag,
            "sha256": taken.fetched.sha256,
            "token": offer.token,
            "layout_hash": self.layout.hash,
            "content": taken.content,
            "settled": taken.pushed,
        }

    def _settle(self, transport: Transport, offer: Offer, sighting_id: int, state: str) -> None:
        """Archive, delete or leave; what fails here is tried again by the next run, its effect is stored already."""
        try:
            self._attempt(lambda: transport.settle(offer, Outcome.APPLIED if state == "applied" else Outcome.REFUSED))
        except TransportError as error:
            self.report.problems.append(f"{offer.name}: taken in, but not put away: {describe(error)}")
            return
        with self.context.writing(lease=self.lease) as writing:
            writing.tx.settle_sighting(sighting_id)


def _open_fulfilments(tx: Transaction, partner: Partner) -> Iterator[OpenFulfilment]:
    """What the partner has and has not finished."""
    views = tx.fulfilments(partner=partner.code, states=ACTIVE)
    orders = {order.order_id: order.order for order in tx.orders([view.order_id for view in views])}
    for view in views:
        if view.sent_at is not None:
            yield OpenFulfilment(
                fulfilment_id=view.fulfilment_id,
                order_id=view.order_id,
                reference=orders[view.order_id].reference,
                sent_at=view.sent_at,
            )


def _told(problems: Sequence[Problem]) -> Iterator[str]:
    """What people are told of a file's problems: enough to see what is wrong with it."""
    yield from (str(problem) for problem in problems[:_MOST_TOLD])
    if len(problems) > _MOST_TOLD:
        yield f"and {len(problems) - _MOST_TOLD} more; the file is kept"
