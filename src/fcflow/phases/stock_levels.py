"""Apply a partner's stock file: new pictures, and what could not be placed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from fcflow.audit import AuditType
from fcflow.model import Feed, Partner, Problem, Record
from fcflow.phases.context import Context, Writing
from fcflow.phases.receive import Apply
from fcflow.reports import PartnerReport
from fcflow.stock import merge_levels

__all__ = ["apply_stock"]


def apply_stock(
    context: Context, partner: Partner, feed: Feed, report: PartnerReport, received_at: datetime | None = None
) -> Apply:
    """How the records of a stock feed are applied; *received_at* is now where it is ``None``."""
    location_of = _location_of(context, partner)

    def apply(writing: Writing, records: Sequence[Record], unread: int) -> list[Problem]:
        current = [each for code in context.locations_of(partner) for each in writing.tx.pictures(location=code)]
        pictures, problems = merge_levels(
            feed,
            records,
            location_of=location_of,
            received_at=received_at or writing.now,
            aliases=partner.aliases,
            current=current,
            unread=unread,
        )
        writing.tx.put_pictures(pictures)
        report.stock_levels += len(pictures)
        for code in sorted({picture.location for picture in pictures}):
            mine = [picture for picture in pictures if picture.location == code]
            writing.note(
                AuditType.STOCK_RECEIVED, f"{len(mine)} SKUs", location=code, units=sum(p.on_hand for p in mine)
            )
        return problems

    return apply


def _location_of(context: Context, partner: Partner) -> Callable[[str | None], str | None]:
    places = context.locations_of(partner)
    by_their_code = {place.partner_code or code: code for code, place in places.items()}
    only = next(iter(places)) if len(places) == 1 else None
    return lambda said: only if said is None else by_their_code.get(said)
