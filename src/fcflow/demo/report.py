"""The report of a day: one HTML file that opens without a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from fcflow.audit import AuditEvent, AuditType
from fcflow.demo.account import ENDS, Day, parcels_of
from fcflow.demo.catalogue import PARTNERS, catalogue
from fcflow.demo.charts import Step, change_bar, sequence, stacked_bars

__all__ = ["write_report"]

_STATES = ("shipped", "part_shipped", "accepted", "sent", "cancelled", "ready", "unclear", "send_failed")
_GOOD = frozenset({"DESPATCHED", "PART DESPATCHED", "Shipped", "Partially Shipped", "SHIPPED"})
_SHOP, _US = "the shop", "fcflow"


def write_report(day: Day, path: Path) -> None:
    """Write the report of *day*; everything that came from outside is escaped."""
    path.write_text("\n".join(_page(day)), encoding="utf-8")


def _page(day: Day) -> Iterator[str]:
    style = files("fcflow.demo").joinpath("data/report.css").read_text(encoding="utf-8")
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>fcflow: a day with three partners</title><style>{style}</style></head><body><main>"
    yield from _head(day)
    yield from _orders(day)
    yield from _partners(day)
    yield from _story(day)
    yield from _rules(day)
    yield from _persons(day)
    yield from _waiting(day)
    yield from _stock(day)
    yield from _problems(day)
    when = f"{day.rounds} rounds in {day.seconds:.1f} s, {day.began:%Y-%m-%d %H:%M} UTC"
    yield f"<footer>Seed {day.seed}; {when}.</footer>"
    yield "</main></body></html>"


def _head(day: Day) -> Iterator[str]:
    yield "<h1>A day with three partners</h1>"
    yield "<p>An invented shop's orders, allocated by rules, sent over FTP, SFTP and HTTP, and answered for.</p>"
    if day.is_accounted_for:
        said = "Every order is accounted for. The partners' books and ours agree: nothing lost, nothing shipped twice."
        yield f'<div class="verdict"><strong>{said}</strong></div>'
    else:
        found = "".join(f"<li>{escape(text)}</li>" for text in day.differences)
        lost = "".join(f"<li>{escape(e.order_id)}: {escape(e.why)}</li>" for e in day.ends if e.end == "unaccounted")
        yield f'<div class="verdict bad"><strong>Not accounted for:</strong><ul>{found}{lost}</ul></div>'
    numbers = {
        "orders": len(day.orders) + len(day.left_out),
        "fulfilment orders sent": sum(partner.sent for partner in day.partners),
        "parcels": sum(len(parcels_of(view)) for order in day.orders for view in order.fulfilments),
        "orders closed": day.counts.get("shipped", 0),
        "for a person": len(day.for_a_person),
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{count}</dd></div>" for name, count in numbers.items())
    yield f'<dl class="numbers">{cells}</dl>'


def _orders(day: Day) -> Iterator[str]:
    counts = day.counts | ({"left out": len(day.left_out)} if day.left_out else {})
    yield "<h2>Where the orders ended</h2>"
    yield "<p>Closed orders left whole. Everything else has a reason, listed below.</p>"
    yield _card(stacked_bars("Orders by where they ended", {"orders": counts}, [*ENDS, "left out"]))


def _partners(day: Day) -> Iterator[str]:
    yield "<h2>Order states per partner</h2>"
    yield "<p>Fulfilment orders: the part of an order that one partner ships. A cancelled one was given elsewhere.</p>"
    rows = {f"{partner.code} ({partner.way_in})": partner.states for partner in day.partners}
    yield _card(stacked_bars("Fulfilment orders per partner by state", rows, _STATES))
    head = ["partner", "way in", "sent", "shipped", "in parts", "cancelled", "failed", "errors"]
    cells: list[list[str | int]] = [
        [each.name, each.way_in, each.sent, each.shipped, each.in_parts, each.cancelled, each.failed, each.errors]
        for each in day.partners
    ]
    yield _table(head, cells)


def _rules(day: Day) -> Iterator[str]:
    counts = Counter(order.rule_id or "no rule yet" for order in day.orders)
    rows = {rule: {"rule": count} for rule, count in counts.most_common()}
    yield "<h2>Which rule decided</h2>"
    yield "<p>The first matching rule that allocates or holds; they are in <code>rules.json</code>.</p>"
    yield _card(stacked_bars("Orders by the rule that decided", rows, ["rule"]))


def _persons(day: Day) -> Iterator[str]:
    yield "<h2>Orders that need a person</h2>"
    yield _table(["order", "why"], [[end.order_id, end.why] for end in day.for_a_person])


def _waiting(day: Day) -> Iterator[str]:
    yield "<h2>Orders that wait</h2>"
    for kind in ("held", "backordered", "waiting", "cancelled"):
        found = [[end.order_id, end.why] for end in day.ends if end.end == kind]
        if found:
            yield f"<details><summary>{kind}: {len(found)}</summary>{_table(['order', 'why'], found)}</details>"
    if day.left_out:
        listed = _table(["order", "why"], [[order_id, why] for order_id, why in day.left_out.items()])
        yield f"<details><summary>left out of the import: {len(day.left_out)}</summary>{listed}</details>"


def _stock(day: Day) -> Iterator[str]:
    yield "<h2>Stock before and after</h2>"
    yield "<p>As the partners said: pale is the morning, full is the evening.</p>"
    rows = [f"<tr><th>SKU</th>{''.join(f'<th>{partner}</th>' for partner in PARTNERS)}</tr>"]
    most = max((units for levels in day.stock_before.values() for units in levels.values()), default=1)
    for sku in catalogue():
        cells = [_level(day, partner, sku, most) for partner in PARTNERS]
        if any(cells):
            rows.append(f"<tr><td>{escape(sku)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    yield _wide("".join(rows))


def _level(day: Day, partner: str, sku: str, most: int) -> str:
    before = day.stock_before.get(partner, {}).get(sku)
    after = day.stock_after.get(partner, {}).get(sku)
    if before is None or after is None:
        return ""
    return f"{change_bar(before, after, most)} {before} → {after}"


def _problems(day: Day) -> Iterator[str]:
    yield "<h2>What was wrong in partners' files and answers</h2>"
    yield "<p>The good part of each was applied, the bad part is kept and listed. Nothing here stopped another.</p>"
    yield f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in day.problems)}</ul>"


# ------------------------------------------------------------------ the flow of one order


def _story(day: Day) -> Iterator[str]:
    if day.story is None:
        return
    order, events = day.story
    partners = list(dict.fromkeys(view.partner or view.location for view in order.fulfilments))
    steps = [step for event in events for step in _steps(event, partners)]
    what = ", ".join(f"{line.quantity} × {line.sku}" for line in order.order.lines)
    yield f"<h2>The flow of order {escape(order.order_id)}</h2>"
    yield f"<p>{escape(what)}. Every line is an entry of the audit trail.</p>"
    yield _card(sequence(f"The flow of order {order.order_id}", [_SHOP, _US, *partners], steps))


def _steps(event: AuditEvent, partners: Sequence[str]) -> Iterator[Step]:
    found = _step(event)
    if found is None:
        return
    source, target, text, tone = found
    if {source, target} <= {_SHOP, _US, *partners}:
        yield Step(at=f"{event.at:%H:%M:%S}", source=source, target=target, text=text, tone=tone)


def _step(event: AuditEvent) -> tuple[str, str, str, str] | None:
    which, place = event.fulfilment_id or event.order_id or "", event.location or _US
    said = _short(event.message)
    word = str(event.data.get("raw_status") or said)
    steps = {
        AuditType.ORDER_ADDED: (_SHOP, _US, "order taken over", "plain"),
        AuditType.ALLOCATED: (_US, _US, f"{which} is for {place}", "plain"),
        AuditType.BACKORDERED: (_US, _US, f"backordered: {said}", "bad"),
        AuditType.HELD: (_US, _US, f"held: {said}", "bad"),
        AuditType.SENT: (_US, place, f"{which} is sent", "sent"),
        AuditType.SEND_FAILED: (place, _US, f"{which} refused: {said}", "bad"),
        AuditType.UNCLEAR: (place, _US, f"{which} unclear", "bad"),
        AuditType.FULFIL_STATUS: (event.actor, _US, f"{which} {word}", "good" if word in _GOOD else "plain"),
        AuditType.ORDER_CLOSED: (_US, _SHOP, "closed", "good"),
    }
    return steps.get(event.type)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


# ------------------------------------------------------------------ pieces


def _card(content: str) -> str:
    return f'<div class="card">{content}</div>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    kinds = [' class="n"' if isinstance(cell, int) else "" for cell in rows[0]] if rows else [""] * len(head)
    lines = [("th", head), *(("td", row) for row in rows)]
    return _wide("".join(_row(tag, cells, kinds) for tag, cells in lines))


def _wide(rows: str) -> str:
    """A table that scrolls by itself where the page is narrow."""
    return f'<div class="wide"><table>{rows}</table></div>'


def _row(tag: str, cells: Sequence[str | int], kinds: Sequence[str]) -> str:
    inside = "".join(f"<{tag}{k}>{escape(str(cell))}</{tag}>" for k, cell in zip(kinds, cells, strict=True))
    return f"<tr>{inside}</tr>"
