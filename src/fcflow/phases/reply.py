"""
Answer a partner's files: a functional acknowledgement of what was received, or a file of the rows that were not taken.

That a reply is due is stored with what was taken in; it is made from the kept bytes, under a number and a name that
never change, so that a reply that is sent again is the same one.
"""

from __future__ import annotations

from attrs import evolve

from fcflow.audit import AuditType
from fcflow.errors import FormatError, TransportError, TransportUnclearError
from fcflow.formats import Batch, error_file, render_name
from fcflow.formats.acknowledgements import acknowledge
from fcflow.model import Feed, Partner, Reply
from fcflow.phases.context import Context, describe
from fcflow.phases.retry import attempt
from fcflow.reports import PartnerReport
from fcflow.store import Lease, Sighting
from fcflow.transports import Delivery, Presence, Transport

__all__ = ["DUE", "is_due", "reply_counter", "send_replies"]

DUE = "due"
SENT = "sent"


def is_due(feed: Feed, problems: int) -> bool:
    """Whether what came in by *feed* is to be answered; rows are sent back only where some are bad."""
    return feed.reply is not None and (feed.reply.kind == "acknowledgement" or problems > 0)


def reply_counter(partner: Partner) -> str:
    """The running number of all that a partner is sent, which envelopes quote."""
    return f"{partner.code}:orders"


def send_replies(context: Context, partner: Partner, feed: Feed, lease: Lease, report: PartnerReport) -> None:
    """Send what is due; what cannot be sent now stays due."""
    if feed.reply is None:
        return
    with context.store.reading() as tx:
        due = tx.sightings(partner=partner.code, feed=feed.kind.value, reply=DUE)
    if not due:
        return
    with context.way(partner, feed.reply.connection or feed.connection) as transport:
        try:
            for sighting in reversed(due):
                _send(context, partner, (feed, feed.reply), lease, report, sighting, transport)
        except TransportError as error:
            report.problems.append(f"replies are put off: {describe(error)}")


def _send(
    context: Context,
    partner: Partner,
    how: tuple[Feed, Reply],
    lease: Lease,
    report: PartnerReport,
    sighting: Sighting,
    transport: Transport,
) -> None:
    feed, reply = how
    try:
        content = _content(context, partner, feed, reply, sighting)
    except FormatError as error:
        content = b""
        report.problems.append(f"{sighting.name}: no reply: {describe(error)}")
    said = f"{sighting.name}: nothing to reply"
    if content:
        delivery = _delivery(partner, how, sighting, content)
        try:
            attempt(lambda: transport.send(delivery), partner.limits)
        except TransportUnclearError:
            if transport.look_up(delivery) is not Presence.PRESENT:
                raise
        report.replies += 1
        said = f"{sighting.name}: {reply.kind} in {delivery.name}"
    with context.writing(lease=lease) as writing:
        writing.tx.update_sighting(sighting.sighting_id, reply=SENT)
        if content:
            writing.note(AuditType.REPLIED, said, feed=feed.kind.value, sighting=sighting.sighting_id)


def _content(context: Context, partner: Partner, feed: Feed, reply: Reply, sighting: Sighting) -> bytes:
    layout = context.layout_of(feed)
    with context.store.reading() as tx:
        kept = tx.sighting_content(sighting.sighting_id) or b""
        problems = tx.problems(sighting.sighting_id)
    if reply.kind == "errors":
        return error_file(layout, problems)
    batch = Batch(number=sighting.reply_number or 1, at=sighting.received_at, partner=partner.code)
    return acknowledge(layout, kept, batch)


def _delivery(partner: Partner, how: tuple[Feed, Reply], sighting: Sighting, content: bytes) -> Delivery:
    feed, reply = how
    key = f"reply-{sighting.sighting_id}"
    name = render_name(
        reply.name, partner=partner.code, now=sighting.received_at, counter=sighting.reply_number or 1, key=key
    )
    to = evolve(feed, path=reply.path, connection=reply.connection or feed.connection)
    kind = "text/csv" if reply.kind == "errors" else "text/plain"
    return Delivery(key=key, feed=to, name=name, content=content, content_type=kind)
