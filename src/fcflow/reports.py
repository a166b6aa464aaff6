"""What a run did, what a plan would do, what a change did: values, JSON and tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from attrs import asdict, define, field, frozen

__all__ = [
    "AddReport",
    "AllocationReport",
    "Change",
    "ChangeReport",
    "PartnerReport",
    "PhaseFailure",
    "Plan",
    "PlannedDelivery",
    "Progress",
    "PushAnswer",
    "RunReport",
]


def _tuple(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen
class Progress:
    """
    How far a phase is; handed to the host's callback.

    Args:
        total: Steps in all, or ``None`` where it is not known yet.
    """

    phase: str
    partner: str | None
    done: int
    total: int | None
    message: str = ""


@frozen
class PhaseFailure:
    """A phase of one partner that could not be finished; *code* is an error code of `fcflow.errors`."""

    phase: str
    code: str
    message: str


@frozen(kw_only=True)
class PushAnswer:
    """
    What to answer a partner who pushed something, by any framework.

    Args:
        status: 200 it is taken (now or before), 202 it is kept for a person, 400 its id is missing, 401 it is not the
            partner, 404 nothing is taken at this address, 409 the id was used for something else, 413 it is too
            large, 415 it is packed in an unknown way, 422 nothing of it can be read, 503 not now: repeat it.

        body: JSON, as the headers say.
    """

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""

    @property
    def is_taken(self) -> bool:
        """Whether the partner need not send it again."""
        return self.status in (200, 202)


@define
class PartnerReport:
    """
    What happened with one partner in a run.

    Args:
        sent, send_failed, unclear: Fulfilment ids.

        deliveries: Files or posts that the partner has now.

        shipped, part_shipped, cancelled, errors: Fulfilment ids that came to this state, or got an error text.

        statuses: Messages received; of these *unknown_statuses* had a word nobody knows, *unmatched* a reference that
            is not this partner's.

        stock_levels: SKUs whose level is known anew.

        problems: One clause for each bad record or file.

        failures: Phases that could not be finished.
    """

    sent: list[str] = field(factory=list)
    send_failed: list[str] = field(factory=list)
    unclear: list[str] = field(factory=list)
    deliveries: int = 0
    files_received: int = 0
    files_refused: int = 0
    files_parked: int = 0
    replies: int = 0
    statuses: int = 0
    unknown_statuses: int = 0
    unmatched: int = 0
    shipped: list[str] = field(factory=list)
    part_shipped: list[str] = field(factory=list)
    cancelled: list[str] = field(factory=list)
    errors: list[str] = field(factory=list)
    stock_levels: int = 0
    problems: list[str] = field(factory=list)
    failures: list[PhaseFailure] = field(factory=list)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing moved: nothing sent, nothing received, nothing failed."""
        files = (self.deliveries, self.files_received, self.files_refused, self.files_parked)
        lists = (self.send_failed, self.unclear, self.failures)
        return not any((*files, self.statuses, self.stock_levels, *lists))


@define
class AllocationReport:
    """
    What allocation did in a run.

    Args:
        allocated: Fulfilment ids by location.

        held, backordered: Order id to reason.

        kept: Order id to the reason why it stays: kept by a rule, no rule decided, or not ready.

        failure: Why allocation could not be finished; else ``None``.
    """

    allocated: dict[str, list[str]] = field(factory=dict)
    held: dict[str, str] = field(factory=dict)
    backordered: dict[str, str] = field(factory=dict)
    kept: dict[str, str] = field(factory=dict)
    failure: PhaseFailure | None = None

    @property
    def count(self) -> int:
        """Fulfilment orders made."""
        return sum(len(ids) for ids in self.allocated.values())


@define
class RunReport:
    """
    Everything that a run did.

    Args:
        partners: By code.

        allocation: ``None`` where the run did not allocate.

        needs_person: Orders that await a person, in the whole store.
    """

    started_at: datetime
    finished_at: datetime | None = None
    partners: dict[str, PartnerReport] = field(factory=dict)
    allocation: AllocationReport | None = None
    needs_person: int = 0

    def partner(self, code: str) -> PartnerReport:
        """The report of one partner, made when it is first asked for."""
        return self.partners.setdefault(code, PartnerReport())

    @property
    def problems(self) -> list[str]:
        """Every problem of every partner, with the partner's code before it."""
        return [f"{code}: {problem}" for code, report in self.partners.items() for problem in report.problems]

    @property
    def failures(self) -> list[tuple[str, PhaseFailure]]:
        """Partner (or ``allocation``) and phase failure, for every phase that could not be finished."""
        own = None if self.allocation is None else self.allocation.failure
        found = [] if own is None else [("allocation", own)]
        return found + [(code, failure) for code, report in self.partners.items() for failure in report.failures]

    @property
    def ok(self) -> bool:
        """Whether every phase of every partner was finished, and every delivery arrived for certain."""
        return not self.failures and not any(p.send_failed or p.unclear for p in self.partners.values())

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values; instants are ISO 8601."""
        document = asdict(self, value_serializer=_plain)
        document["ok"] = self.ok
        return document

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False)

    def rows(self) -> list[dict[str, Any]]:
        """One row a partner, for tables."""
        return [_row(code, report) for code, report in sorted(self.partners.items())]

    def __str__(self) -> str:
        return "\n".join([*_allocation_lines(self.allocation), *_table(self.rows()), *_trouble_lines(self)])


@frozen(kw_only=True)
class PlannedDelivery:
    """What would leave: the exact bytes."""

    partner: str
    name: str
    target: str
    content: bytes = field(repr=False)
    content_type: str
    fulfilment_ids: tuple[str, ...]


@frozen(kw_only=True)
class Change:
    """One thing that would change; ``None`` before is *new*."""

    order_id: str
    fulfilment_id: str | None
    what: str
    before: str | None
    after: str | None


@frozen(kw_only=True)
class Plan:
    """What a run would do now; nothing was changed anywhere."""

    report: RunReport
    deliveries: tuple[PlannedDelivery, ...]
    changes: tuple[Change, ...]

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON values; contents are text where they are UTF-8, else Base64."""
        document = asdict(self, recurse=True, value_serializer=_plain)
        document["report"] = self.report.as_dict()
        return document

    def __str__(self) -> str:
        would = [
            f"would send {d.name} to {d.target}: {len(d.content)} bytes, {len(d.fulfilment_ids)} orders"
            for d in self.deliveries
        ]
        changed = [
            f"{c.fulfilment_id or c.order_id}: {c.what}: {c.before or '-'} -> {c.after or '-'}" for c in self.changes
        ]
        return "\n".join([*would, *changed] or ["nothing would change"])


@frozen(kw_only=True)
class ChangeReport:
    """
    What a change by hand did, order by order.

    Args:
        changed: Ids for which it was done.

        refused: Id to reason, for the others; nothing of theirs was changed.
    """

    changed: tuple[str, ...] = field(default=(), converter=_tuple)
    refused: Mapping[str, str] = field(factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing was refused."""
        return not self.refused


@frozen(kw_only=True)
class AddReport:
    """
    What became of orders that a host handed over.

    Args:
        amended: Known with other content, and changed.

        refused: Order id to reason: it cannot be changed any more, or the change awaits a person.
    """

    added: tuple[str, ...] = field(default=(), converter=_tuple)
    unchanged: tuple[str, ...] = field(default=(), converter=_tuple)
    amended: tuple[str, ...] = field(default=(), converter=_tuple)
    refused: Mapping[str, str] = field(factory=dict)


# ------------------------------------------------------------------ text


def _plain(instance: Any, attribute: Any, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return _text_or_base64(value)
    return value


def _text_or_base64(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        import base64

        return "base64:" + base64.b64encode(content).decode("ascii")


def _row(code: str, report: PartnerReport) -> dict[str, Any]:
    return {
        "partner": code,
        "sent": len(report.sent),
        "failed": len(report.send_failed),
        "unclear": len(report.unclear),
        "statuses": report.statuses,
        "shipped": len(report.shipped),
        "part shipped": len(report.part_shipped),
        "cancelled": len(report.cancelled),
        "errors": len(report.errors),
        "stock": report.stock_levels,
        "problems": len(report.problems) + len(report.failures),
    }


def _table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    widths = {name: max(len(name), *(len(str(row[name])) for row in rows)) for name in rows[0]}
    lines = ["  ".join(f"{name:<{width}}" for name, width in widths.items())]
    lines += ["  ".join(f"{row[name]!s:<{width}}" for name, width in widths.items()) for row in rows]
    return [line.rstrip() for line in lines]


def _allocation_lines(allocation: AllocationReport | None) -> list[str]:
    if allocation is None:
        return []
    places = [f"{len(ids)} to {location}" for location, ids in sorted(allocation.allocated.items())]
    rest = [f"{len(listed)} {name}" for name, listed in _leftovers(allocation) if listed]
    return ["allocated: " + (", ".join([*places, *rest]) or "nothing")]


def _leftovers(allocation: AllocationReport) -> list[tuple[str, dict[str, str]]]:
    return [("held", allocation.held), ("backordered", allocation.backordered), ("kept", allocation.kept)]


def _trouble_lines(report: RunReport) -> list[str]:
    lines = [f"{code}: {failure.phase} failed: {failure.message}" for code, failure in report.failures]
    lines += report.problems
    return lines + ([f"{report.needs_person} orders need a person"] if report.needs_person else [])
