"""How far a fulfilment order got, counted in the lines that its partner was sent, and told in ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve

from fcflow.aliases import SentLine, as_sent, sent_lines
from fcflow.lifecycle import Fact, LineProgress, Progress, fold
from fcflow.model import FulfilmentLine, FulfilmentOrder, Partner

__all__ = ["progress_of"]


def progress_of(partner: Partner | None, fulfilment: FulfilmentOrder, facts: Iterable[Fact]) -> Progress:
    """
    Everything that was said of a fulfilment order, added up.

    A bundle has left as often as the scarcest of its parts did, and is short or cancelled as often as any part is.
    Where all its parts are accounted for, and what has left of them makes no whole ones, a person is to look, and none
    of the bundle is released to be sent again.

    Args:
        partner: ``None`` where nobody's codes count.

        facts: In the lines of `fcflow.aliases.as_sent`.
    """
    if partner is None or not any(each.is_part for each in sent_lines(partner, fulfilment.lines)):
        return fold(fulfilment if partner is None else as_sent(partner, fulfilment), facts)
    counted = fold(as_sent(partner, fulfilment), facts)
    done = {line.line_id: line for line in counted.lines}
    parts: dict[str, list[SentLine]] = {line.line_id: [] for line in fulfilment.lines}
    for sent in sent_lines(partner, fulfilment.lines):
        parts[sent.of].append(sent)
    lines = [_line(line, parts[line.line_id], done) for line in fulfilment.lines]
    loose = [sent for own in parts.values() if _is_loose(own, done) for sent in own[:1]]
    kept = {sent.of for sent in loose}
    released = {
        line.line_id: line.short + line.cancelled
        for line in lines
        if line.line_id not in kept and any(sent.line_id in counted.released for sent in parts[line.line_id])
    }
    said = [f"bundle {sent.sku}: what was shipped of its parts makes no whole ones" for sent in loose]
    return evolve(
        counted,
        lines=tuple(lines),
        released={line_id: units for line_id, units in released.items() if units},
        conflicts=tuple(sorted([*counted.conflicts, *said])),
    )


def _line(line: FulfilmentLine, parts: Sequence[SentLine], done: dict[str, LineProgress]) -> LineProgress:
    if not parts[0].is_part:
        return done[line.line_id]
    shipped = min(done[part.line_id].shipped // part.per for part in parts)
    short = min(line.quantity - shipped, max(-(-done[part.line_id].short // part.per) for part in parts))
    most = line.quantity - shipped - short
    cancelled = min(most, max(-(-done[part.line_id].cancelled // part.per) for part in parts))
    returned = min(shipped, max(-(-done[part.line_id].returned // part.per) for part in parts))
    return LineProgress(
        line_id=line.line_id,
        quantity=line.quantity,
        shipped=shipped,
        short=short,
        cancelled=cancelled,
        returned=returned,
    )


def _is_loose(parts: Sequence[SentLine], done: dict[str, LineProgress]) -> bool:
    """Whether nothing more is to come of the parts of a bundle, and more of one has left than whole ones need."""
    progress = [done[part.line_id] for part in parts]
    if not parts[0].is_part or any(each.open for each in progress):
        return False
    whole = min(each.shipped // part.per for each, part in zip(progress, parts, strict=True))
    return any(each.shipped != whole * part.per for each, part in zip(progress, parts, strict=True))
