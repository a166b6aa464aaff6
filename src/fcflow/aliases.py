"""
What a partner calls our SKUs, in both directions: by another code, in packs, or as the parts of a bundle.

Orders leave in the partner's units, statuses and stock levels come back in ours. `sent_lines` says what leaves, and
statuses are read against that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from fcflow.model import Alias, FulfilmentLine, FulfilmentOrder, Partner, StatusLine, StatusUpdate

__all__ = ["SentLine", "as_sent", "in_sent_lines", "sent_lines", "shared_codes"]

_UNITS = ("shipped", "short", "cancelled", "returned")


@frozen(kw_only=True)
class SentLine:
    """
    One line as it leaves.

    Args:
        line_id: What the partner is told; a part's is made of our line's and its number.

        of: The line id of ours.

        sku: Ours.

        partner_sku: The partner's, or ``None`` where it has no other.

        quantity: Of the partner's units.

        per: The partner's units in one of ours.

        pack: Our units in one of the partner's.

        is_part: Whether it is a part of a bundle.
    """

    line_id: str
    of: str
    sku: str
    partner_sku: str | None
    quantity: int
    per: int = 1
    pack: int = 1
    is_part: bool = False


def sent_lines(partner: Partner, lines: Sequence[FulfilmentLine]) -> list[SentLine]:
    """
    What a partner is sent of *lines*, in its own codes and units; packs that are not full are rounded up.

    Example:
        >>> partner = Partner(code="leeds", aliases={"SET": {"parts": {"L-MUG": 2, "L-CUP": 1}}})
        >>> line = FulfilmentLine(line_id="1", sku="SET", quantity=3)
        >>> [(sent.line_id, sent.partner_sku, sent.quantity) for sent in sent_lines(partner, [line])]
        [('1.1', 'L-MUG', 6), ('1.2', 'L-CUP', 3)]
    """
    taken = {line.line_id for line in lines}
    return [sent for line in lines for sent in _sent(line, partner.alias(line.sku), taken)]


def _sent(line: FulfilmentLine, alias: Alias | None, taken: set[str]) -> Iterator[SentLine]:
    if alias is None or not alias.is_bundle:
        theirs, pack = (None, 1) if alias is None else (alias.sku, alias.pack)
        yield SentLine(
            line_id=line.line_id,
            of=line.line_id,
            sku=line.sku,
            partner_sku=theirs,
            quantity=-(-line.quantity // pack),
            pack=pack,
        )
        return
    dot = "."
    while any(f"{line.line_id}{dot}{number}" in taken for number in range(1, len(alias.parts) + 1)):
        dot += "."
    for number, (theirs, per) in enumerate(alias.parts.items(), 1):
        yield SentLine(
            line_id=f"{line.line_id}{dot}{number}",
            of=line.line_id,
            sku=line.sku,
            partner_sku=theirs,
            quantity=line.quantity * per,
            per=per,
            is_part=True,
        )


def shared_codes(aliases: Mapping[str, str | Alias]) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """The partner's codes, to our SKUs that they stand for, and to our bundles that they are parts of."""
    whole: dict[str, tuple[str, ...]] = {}
    parts: dict[str, tuple[str, ...]] = {}
    for sku, said in aliases.items():
        alias = Alias.of(said)
        for theirs in alias.parts:
            table = parts if alias.is_bundle else whole
            table[theirs] = (*table.get(theirs, ()), sku)
    return whole, parts


# ------------------------------------------------------------------ statuses


def as_sent(partner: Partner, fulfilment: FulfilmentOrder) -> FulfilmentOrder:
    """
    A fulfilment order in the lines that its partner speaks of: bundles as their parts, all under the partner's codes.

    Units of packs stay ours.
    """
    if not partner.aliases:
        return fulfilment
    units = {line.line_id: line.quantity for line in fulfilment.lines}
    lines = [
        FulfilmentLine(
            line_id=sent.line_id,
            sku=sent.partner_sku or sent.sku,
            quantity=sent.quantity if sent.is_part else units[sent.of],
        )
        for sent in sent_lines(partner, fulfilment.lines)
    ]
    return evolve(fulfilment, lines=lines)


def in_sent_lines(partner: Partner, update: StatusUpdate, fulfilment: FulfilmentOrder) -> StatusUpdate:
    """
    A partner's message as it speaks of `as_sent`: packs counted in our units, our own SKUs under the partner's codes.

    What names a bundle of ours names all its parts.
    """
    if not partner.aliases or not (update.lines or any(parcel.lines for parcel in update.shipments)):
        return update
    sent = sent_lines(partner, fulfilment.lines)
    parcels = tuple(evolve(each, lines=_told(each.lines, sent)) for each in update.shipments)
    return evolve(update, lines=_told(update.lines, sent), shipments=parcels)


def _told(lines: Sequence[StatusLine], sent: Sequence[SentLine]) -> tuple[StatusLine, ...]:
    return tuple(each for line in lines for each in _line(line, sent))


def _line(line: StatusLine, sent: Sequence[SentLine]) -> Iterator[StatusLine]:
    by_id = [each for each in sent if line.line_id is not None and each.line_id == line.line_id]
    theirs = [each for each in sent if line.sku is not None and each.partner_sku == line.sku]
    if by_id or theirs:
        pack = (by_id or theirs)[0].pack
        ours = bool(by_id) and line.sku == by_id[0].sku
        yield _counted(line, 1 if ours and not theirs else pack, sku=by_id[0].partner_sku if ours else line.sku)
        return
    named = [each for each in sent if line.line_id is not None and each.of == line.line_id]
    named = named or [each for each in sent if line.sku is not None and each.sku == line.sku]
    parts = [each for each in named if each.is_part and each.of == named[0].of]
    for part in parts:
        yield _counted(line, part.per, line_id=part.line_id, sku=None)
    if not parts:
        yield evolve(line, sku=named[0].partner_sku or line.sku) if named else line


def _counted(line: StatusLine, times: int, **changes: Any) -> StatusLine:
    said = {kind: getattr(line, kind) for kind in _UNITS}
    return evolve(line, **changes, **{kind: units * times for kind, units in said.items() if units is not None})
