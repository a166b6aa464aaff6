"""How things look in JSON and in tables: the documented shapes of ``--json``, one function each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fcflow.cli.output import plain
from fcflow.documents import to_document

if TYPE_CHECKING:
    from fcflow.audit import AuditEvent
    from fcflow.model import Explanation
    from fcflow.rules.check import RuleFinding
    from fcflow.stock import LocationStock, StockSummary
    from fcflow.store import FulfilmentView, OrderView, OutboxRow, Sighting

__all__ = [
    "audit_row",
    "explanation_document",
    "finding_document",
    "fulfilment_document",
    "order_document",
    "order_row",
    "outbox_row",
    "received_row",
    "stock_document",
    "stock_rows",
]


def order_row(view: OrderView) -> dict[str, Any]:
    """One row of ``orders list``."""
    return {
        "order": view.order_id,
        "state": view.state.value,
        "location": ", ".join(sorted({each.location for each in view.fulfilments})) or None,
        "fulfilment": ", ".join(f"{each.fulfilment_id} {each.state.value}" for each in view.fulfilments) or None,
        "tracking": ", ".join(_tracking(view)) or None,
        "note": view.needs_person or view.held_reason or _refusal(view) or view.stored.reason,
    }


def _refusal(view: OrderView) -> str | None:
    """What the partner said when it did not take the order; it is tried again."""
    return next((f"{each.partner}: {each.label_error}" for each in view.fulfilments if each.label_error), None)


def _tracking(view: OrderView) -> list[str]:
    return [number for each in view.fulfilments for parcel in each.shipments for number in parcel.tracking_numbers]


def order_document(view: OrderView) -> dict[str, Any]:
    """An order in JSON: what was bought, how far it got, and its fulfilment orders."""
    stored = view.stored
    return {
        "order_id": view.order_id,
        "state": view.state.value,
        "held_reason": view.held_reason,
        "needs_person": view.needs_person,
        "reason": stored.reason,
        "pinned": view.pinned,
        "rule_id": view.rule_id,
        "fulfilled_elsewhere": stored.fulfilled_elsewhere,
        "added_at": plain(stored.added_at),
        "updated_at": plain(stored.updated_at),
        "unplaced": dict(view.unplaced),
        "fulfilments": [fulfilment_document(each) for each in view.fulfilments],
        "order": to_document(view.order),
    }


def fulfilment_document(view: FulfilmentView) -> dict[str, Any]:
    """A fulfilment order in JSON, with what became of each line."""
    flags = ("label_printed_at", "label_error", "problem", "parked", "cancel_requested_at", "amend_requested_at")
    return {
        "fulfilment_id": view.fulfilment_id,
        "location": view.location,
        "partner": view.partner,
        "state": view.state.value,
        "rule_id": view.rule_id,
        "attempts": view.attempts,
        "sent_at": plain(view.sent_at),
        **{name: plain(getattr(view, name)) for name in flags},
        "lines": [plain(line) for line in view.progress.lines],
        "shipments": [to_document(parcel) for parcel in view.shipments],
    }


def explanation_document(explanation: Explanation) -> dict[str, Any]:
    """Why a rule set decided as it did."""
    return explanation.as_dict()


def finding_document(finding: RuleFinding) -> dict[str, Any]:
    """What was proved about a rule set; the order that shows it without what is absent."""
    return {
        "kind": finding.kind,
        "level": finding.level,
        "rules": list(finding.rules),
        "message": finding.message,
        "path": finding.path,
        "witness": to_document(finding.witness) if finding.witness is not None else None,
        "now": finding.now.isoformat() if finding.now is not None else None,
    }


def stock_document(summary: StockSummary) -> dict[str, Any]:
    """One SKU across all locations."""
    document: dict[str, Any] = plain(summary)
    return document


def stock_rows(summary: StockSummary) -> list[dict[str, Any]]:
    """The rows of ``stock`` for one SKU: each location, then all of them."""
    rows = [_stock_row(summary.sku, place) for place in summary.locations]
    if len(rows) == 1 and not summary.unallocated:
        return rows
    totals = {"level": summary.level, "open": summary.unallocated}
    totals |= {"sellable": summary.sellable, "allocatable": summary.allocatable}
    return [
        *rows,
        {**dict.fromkeys(rows[0] if rows else _STOCK_COLUMNS), "SKU": summary.sku, "location": "all", **totals},
    ]


_STOCK_COLUMNS = ("SKU", "location", "level", "reserved", "open", "sellable", "allocatable", "as of")


def _stock_row(sku: str, place: LocationStock) -> dict[str, Any]:
    endless = "no limit" if place.allocatable is None else None
    values = (
        sku,
        place.location,
        place.level,
        place.reserved,
        place.open,
        endless or place.sellable,
        endless or place.allocatable,
        place.as_of,
    )
    return dict(zip(_STOCK_COLUMNS, values, strict=True))


def audit_row(event: AuditEvent) -> dict[str, Any]:
    """One row of ``audit``."""
    return {
        "#": event.sequence,
        "at": event.at,
        "type": event.type.value,
        "order": event.fulfilment_id or event.order_id,
        "location": event.location,
        "actor": event.actor,
        "message": event.message,
    }


def outbox_row(row: OutboxRow) -> dict[str, Any]:
    """One row of ``outbox list``."""
    return {
        "id": row.outbox_id,
        "partner": row.partner,
        "name": row.name,
        "bytes": row.size,
        "state": row.state,
        "attempts": row.attempts,
        "orders": len(row.fulfilment_ids),
        "sent": row.sent_at,
        "answer": row.answer,
    }


def received_row(sighting: Sighting) -> dict[str, Any]:
    """One row of ``received list``."""
    return {
        "id": sighting.sighting_id,
        "at": sighting.received_at,
        "partner": sighting.partner,
        "feed": sighting.feed,
        "name": sighting.name,
        "state": sighting.state,
        "records": sighting.records,
        "problems": sighting.problems,
        "error": sighting.error,
    }


def facts(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A flat object as rows of name and value; without what is absent, zero or false; texts in a list are joined."""
    rows = ((name, _for_people(name, value)) for name, value in document.items())
    return [{"what": name, "is": value} for name, value in rows if value and not isinstance(value, dict | list)]


def _for_people(name: str, value: Any) -> Any:
    if name.endswith(("_at", "_by")) and isinstance(value, str):
        return datetime.fromisoformat(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return value
