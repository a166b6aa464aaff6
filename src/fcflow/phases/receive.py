"""
Take in what a partner left for us, once, and keep it.

Fetch, hash, decode; then apply everything of one file in one transaction together with the mark that it was taken;
only then archive or delete it at the partner's. A crash in between is healed by the next run: what is applied and not
settled is settled, what is not applied is taken again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar, cast

from attrs import frozen

from fcflow.audit import AuditType
from fcflow.errors import FcflowError, FormatError, TransportError
from fcflow.formats import Layout
from fcflow.model import Feed, Partner, Problem, Record
from fcflow.phases.context import ACTIVE, Context, Writing, describe
from fcflow.phases.retry import attempt
from fcflow.reports import PartnerReport, RunReport
from fcflow.store import Lease, Sighting, Transaction
from fcflow.transports import Fetched, Offer, OpenFulfilment, Outcome, Query, Transport

__all__ = ["Apply", "receive"]

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
        intake = _Intake(context, partner, feed, lease, report.partner(partner.code), apply)
        transport = context.open(partner, feed.connection)
        try:
            intake.run(transport)
        finally:
            transport.close()


@frozen
class _Taken:
    """One thing that was fetched."""

    offer: Offer
    fetched: Fetched
    content: bytes


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

    def run(self, transport: Transport) -> None:
        began = self.context.clock()
        offers = self._attempt(lambda: self._offers(transport))
        for done, offer in enumerate(offers):
            self.context.tell(self.feed.kind.value, self.partner.code, done, len(offers), offer.name)
            self._take(transport, offer)
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
        try:
            taken = self._attempt(lambda: self._fetch(transport, offer))
        except TransportError as error:
            self.report.problems.append(f"{offer.name}: {describe(error)}")
            return
        if taken.fetched.size or transport.capabilities.lists:
            self._receive(transport, taken)

    def _seen(self, offer: Offer) -> Sighting | None:
        """The sighting that this offer is, where that can be told without fetching it."""
        if offer.modified_at is None and offer.etag is None:
            return None
        with self.context.store.reading() as tx:
            known = tx.sightings(partner=self.partner.code, feed=self.feed.kind.value, name=offer.name, limit=1)
        same = [s for s in known if (s.modified_at, s.etag) == (offer.modified_at, offer.etag)]
        return next((s for s in same if offer.size in (None, s.size)), None)

    def _fetch(self, transport: Transport, offer: Offer) -> _Taken:
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
            fetched = transport.fetch(offer, cast("BinaryIO", spool))
            spool.seek(0)
            return _Taken(offer, fetched, spool.read())

    def _receive(self, transport: Transport, taken: _Taken) -> None:
        repeated = self._repeated(transport, taken)
        if repeated is not None:
            self._settle(transport, taken.offer, repeated.sighting_id, repeated.state)
            return
        try:
            records, problems = self._decode(taken)
            sighting_id = self._applied(taken, records, problems)
            state = "applied"
        except FormatError as error:
            sighting_id = self._refused(taken, error)
            state = "refused"
        self._settle(transport, taken.offer, sighting_id, state)

    def _repeated(self, transport: Transport, taken: _Taken) -> Sighting | None:
        """Where the partner's server tells no time, the same content under the same name, if it still lies there."""
        if taken.offer.modified_at is not None or taken.offer.etag is not None:
            return None
        with self.context.store.reading() as tx:
            known = tx.sightings(partner=self.partner.code, feed=self.feed.kind.value, name=taken.offer.name, limit=1)
        left = self.feed.after == "leave" and transport.capabilities.lists
        same = [s for s in known if s.sha256 == taken.fetched.sha256]
        return next((s for s in same if not s.settled or (left and s.modified_at is None)), None)

    def _decode(self, taken: _Taken) -> tuple[list[Record], list[Problem]]:
        records: list[Record] = []
        problems: list[Problem] = []
        offer = taken.offer
        for item in self.layout.decode(taken.content, name=offer.name, modified_at=offer.modified_at):
            if isinstance(item, Problem):
                problems.append(item)
            else:
                records.append(item)
        return records, problems

    # ---------------------------------------------------------------- what became of it

    def _applied(self, taken: _Taken, records: Sequence[Record], problems: Sequence[Problem]) -> int:
        with self.context.writing(lease=self.lease, actor=self.partner.code) as writing:
            found = [*problems, *self.apply(writing, records, len(problems))]
            row = {**self._row(taken), "state": "applied", "records": len(records), "problems": len(found)}
            row["received_at"] = writing.now
            sighting_id = writing.tx.add_sighting(row, found[:_MOST_KEPT])
            told = [f"{taken.offer.name}: {said}" for said in _told(found)]
            self._note_received(writing, taken, sighting_id, (len(records), len(found)), told)
        self.report.files_received += 1
        self.report.problems += told
        return sighting_id

    def _note_received(
        self, writing: Writing, taken: _Taken, sighting_id: int, counts: tuple[int, int], told: Sequence[str]
    ) -> None:
        said = f"{taken.offer.name}: {counts[0]} records, {counts[1]} problems"
        writing.note(
            AuditType.FILE_RECEIVED, said, feed=self.feed.kind.value, sighting=sighting_id, sha256=taken.fetched.sha256
        )
        for each in told:
            writing.note(AuditType.RECORD_PROBLEM, each, sighting=sighting_id)

    def _refused(self, taken: _Taken, error: FcflowError) -> int:
        text = describe(error)
        with self.context.writing(lease=self.lease, actor=self.partner.code) as writing:
            row = {**self._row(taken), "state": "refused", "error": text, "received_at": writing.now}
            sighting_id = writing.tx.add_sighting(row, [Problem(message=text)])
            said = f"{taken.offer.name}: {text}"
            writing.note(AuditType.FILE_REFUSED, said, feed=self.feed.kind.value, sighting=sighting_id)
        self.report.files_refused += 1
        self.report.problems.append(f"{taken.offer.name}: refused: {text}")
        return sighting_id

    def _row(self, taken: _Taken) -> dict[str, Any]:
        offer = taken.offer
        return {
            "partner": self.partner.code,
            "feed": self.feed.kind.value,
            "name": offer.name,
            "size": taken.fetched.size if offer.size is None else offer.size,
            "modified_at": offer.modified_at,
            "etag": offer.etag,
            "sha256": taken.fetched.sha256,
            "token": offer.token,
            "layout_hash": self.layout.hash,
            "content": taken.content,
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
