"""What the store gives back: rows as frozen values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from attrs import evolve, field, frozen

from fcflow.lifecycle import Progress
from fcflow.model import (
    Effect,
    FulfilmentLine,
    FulfilmentOrder,
    FulfilmentState,
    Order,
    OrderState,
    Shipment,
)

__all__ = ["FulfilmentView", "Lease", "OrderView", "OutboxRow", "OutboxState", "Sighting", "StoredOrder"]


@frozen(kw_only=True)
class StoredOrder:
    """
    An order and its state.

    Args:
        amendment: What the host would rather have, while the partner works by the old order; else ``None``.

        needs_person: Why a person must look; else ``None``.

        pinned: Location a person moved it to; rules leave it alone until it is released.

        reason: Why it is not allocated, in one clause; else ``None``.

        released: Rules whose hold a person lifted; they do not hold it again.
    """

    order: Order
    content_hash: str
    state: OrderState
    amendment: Order | None = None
    held_reason: str | None = None
    needs_person: str | None = None
    pinned: str | None = None
    rule_id: str | None = None
    reason: str | None = None
    fulfilled_elsewhere: bool = False
    released: tuple[str, ...] = ()
    added_at: datetime
    updated_at: datetime

    @property
    def order_id(self) -> str:
        """Of the order."""
        return self.order.order_id


@frozen(kw_only=True)
class FulfilmentView:
    """
    A fulfilment order, how far it got, and its flags.

    Args:
        partner: Who runs the location; ``None`` for a place of our own.

        effects: What the rules added on its way.

        label_printed_at: When its delivery succeeded, as the ancestor's label flag.

        label_error: Why the last delivery failed; else ``None``.

        problem: The partner's error text; else ``None``.

        parked: Why it was given up and awaits a person; else ``None``.

        attempts: Deliveries that were refused.

        excluded: Its location is ruled out for this order from now on.
    """

    fulfilment: FulfilmentOrder
    partner: str | None
    state: FulfilmentState
    effects: tuple[Effect, ...] = ()
    progress: Progress
    rule_id: str | None = None
    attempts: int = 0
    label_printed_at: datetime | None = None
    label_error: str | None = None
    problem: str | None = None
    parked: str | None = None
    cancel_requested_at: datetime | None = None
    amend_requested_at: datetime | None = None
    sent_at: datetime | None = None
    excluded: bool = False
    created_at: datetime
    updated_at: datetime
    shipments: tuple[Shipment, ...] = ()

    @property
    def fulfilment_id(self) -> str:
        """Of the fulfilment order."""
        return self.fulfilment.fulfilment_id

    @property
    def order_id(self) -> str:
        """Of its order."""
        return self.fulfilment.order_id

    @property
    def location(self) -> str:
        """Code of the location that ships it."""
        return self.fulfilment.location

    @property
    def lines(self) -> tuple[FulfilmentLine, ...]:
        """What the location is to ship."""
        return self.fulfilment.lines

    @property
    def claimed(self) -> dict[str, int]:
        """Per line, units that no other fulfilment order may have: ordered here less those set free."""
        released = self.progress.released
        return {line.line_id: line.quantity - released.get(line.line_id, 0) for line in self.lines}

    @property
    def needs_person(self) -> str | None:
        """Why a person must look at it, or ``None``."""
        if self.parked:
            return self.parked
        if self.state is FulfilmentState.UNCLEAR:
            return self.label_error or "unclear whether the partner has it"
        return f"{self.partner} says: {self.problem}" if self.problem else None


@frozen(kw_only=True)
class OrderView:
    """An order as people see it: what was bought, how far it got, and its fulfilment orders, oldest first."""

    stored: StoredOrder
    fulfilments: tuple[FulfilmentView, ...] = ()

    @property
    def order(self) -> Order:
        """What was bought."""
        return self.stored.order

    @property
    def order_id(self) -> str:
        """Of the order."""
        return self.stored.order.order_id

    @property
    def state(self) -> OrderState:
        """How far it got."""
        return self.stored.state

    @property
    def held_reason(self) -> str | None:
        """Why it is held, or ``None``."""
        return self.stored.held_reason

    @property
    def pinned(self) -> str | None:
        """Where a person moved it, or ``None``."""
        return self.stored.pinned

    @property
    def rule_id(self) -> str | None:
        """The rule that decided last, or ``None``."""
        return self.stored.rule_id

    @property
    def needs_person(self) -> str | None:
        """Why a person must look, at the order or at one of its fulfilment orders; or ``None``."""
        if self.stored.needs_person:
            return self.stored.needs_person
        return next((view.needs_person for view in self.fulfilments if view.needs_person), None)

    @property
    def unplaced(self) -> dict[str, int]:
        """Per line, units that no fulfilment order has; lines without any are left out."""
        left = {line.line_id: line.quantity for line in self.order.lines}
        for view in self.fulfilments:
            for line_id, units in view.claimed.items():
                left[line_id] = left.get(line_id, 0) - units
        return {line_id: units for line_id, units in left.items() if units > 0}

    def replacing(self, view: FulfilmentView) -> OrderView:
        """The same with one fulfilment order exchanged."""
        swapped = tuple(view if old.fulfilment_id == view.fulfilment_id else old for old in self.fulfilments)
        return evolve(self, fulfilments=swapped)


class OutboxState:
    """How far a delivery got."""

    PENDING = "pending"
    SENDING = "sending"
    PUBLISHING = "publishing"
    SENT = "sent"
    FAILED = "failed"
    UNCLEAR = "unclear"
    SETTLED = "settled"


@frozen(kw_only=True)
class OutboxRow:
    """
    One indivisible publish.

    Args:
        state: ``pending``, ``sending``, ``publishing``, ``sent``, ``failed``, ``unclear``, or ``settled`` by a person.

        target: Where it goes, for people; never a secret.

        answer: What the partner said, or the error text.

        replaces: The row that this one sends again, or ``None``.

        number: The running number of its feed, which envelopes quote; ``None`` in rows of older stores.
    """

    outbox_id: int
    partner: str
    delivery_key: str
    name: str
    target: str
    content_type: str
    size: int
    sha256: str
    layout_hash: str
    state: str
    attempts: int
    answer: str | None = None
    error_code: str | None = None
    replaces: int | None = None
    created_at: datetime
    updated_at: datetime
    sent_at: datetime | None = None
    number: int | None = None
    fulfilment_ids: tuple[str, ...] = ()


@frozen(kw_only=True)
class Sighting:
    """
    One thing taken in: a file or an answer.

    Args:
        state: ``applied``, ``refused``, or ``parked`` where its header changed and a person is to look.

        shape: Its header, as JSON; ``None`` where it has none.

        reply: Whether the partner is answered: ``due`` or ``sent``; ``None`` where no answer is asked for.

        reply_number: The running number that the answer quotes.

        settled: Whether it was archived, deleted or left at the partner's, as the feed says.

        records: Good records; *problems*: bad ones.
    """

    sighting_id: int
    partner: str
    feed: str
    name: str
    size: int | None
    modified_at: datetime | None
    etag: str | None
    sha256: str
    token: str
    state: str
    settled: bool
    records: int
    problems: int
    error: str | None
    layout_hash: str
    received_at: datetime
    shape: str | None = None
    reply: str | None = None
    reply_number: int | None = None


@frozen(kw_only=True)
class Lease:
    """The right to work on something; *fence* rises with each new holder."""

    name: str
    holder: str
    fence: int
    ttl_s: float
    clock: Callable[[], datetime] = field(eq=False, repr=False)
