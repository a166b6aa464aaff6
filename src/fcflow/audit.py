"""The audit trail: what happened, once, for ever. Events are appended in the transaction that makes them true."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from attrs import field, frozen
from immutabledict import immutabledict

__all__ = ["AuditEvent", "AuditType"]


class AuditType(StrEnum):
    """Every type of audit event; stable names, part of the public contract."""

    ORDER_ADDED = "ORDER_ADDED"
    ORDER_AMENDED = "ORDER_AMENDED"
    AMENDMENT_REQUESTED = "AMENDMENT_REQUESTED"
    ALLOCATED = "ALLOCATED"
    NOT_ALLOCATED = "NOT_ALLOCATED"
    BACKORDERED = "BACKORDERED"
    HELD = "HELD"
    RELEASED = "RELEASED"
    MOVED = "MOVED"
    SENDING = "SENDING"
    SENT = "SENT"
    SEND_FAILED = "SEND_FAILED"
    UNCLEAR = "UNCLEAR"
    RESENT = "RESENT"
    PARKED = "PARKED"
    FULFIL_STATUS = "FULFIL_STATUS"
    STATE_CHANGED = "STATE_CHANGED"
    SHIPMENT = "SHIPMENT"
    CONFLICT = "CONFLICT"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    ORDER_CANCELLED = "ORDER_CANCELLED"
    ORDER_CLOSED = "ORDER_CLOSED"
    MARKED_SHIPPED = "MARKED_SHIPPED"
    RESOLVED = "RESOLVED"
    FILE_RECEIVED = "FILE_RECEIVED"
    FILE_REFUSED = "FILE_REFUSED"
    FILE_PARKED = "FILE_PARKED"
    REPLIED = "REPLIED"
    RECORD_PROBLEM = "RECORD_PROBLEM"
    STOCK_RECEIVED = "STOCK_RECEIVED"
    LOCATION_CHANGED = "LOCATION_CHANGED"
    RULES_LIVE = "RULES_LIVE"


@frozen(kw_only=True)
class AuditEvent:
    """
    One line of the audit trail.

    Args:
        sequence: Given by the store; rises by at least one; 0 before it is stored.

        at: By our clock, UTC.

        actor: Who did it: ``synchronizer``, a partner's code, or what a host passed.

        data: JSON values; never a secret.
    """

    sequence: int = 0
    at: datetime
    type: AuditType = field(converter=AuditType)
    order_id: str | None = None
    fulfilment_id: str | None = None
    location: str | None = None
    actor: str = "synchronizer"
    message: str = ""
    data: immutabledict[str, Any] = field(factory=immutabledict, converter=immutabledict)
