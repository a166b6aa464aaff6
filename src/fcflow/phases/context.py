"""What every phase works with, and the one way in which a phase writes to the store."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from attrs import field, frozen
from sqlalchemy.engine import Connection

from fcflow.allocation_many import Priority
from fcflow.audit import AuditEvent, AuditType
from fcflow.behaviour import Lately
from fcflow.carriers import Carriers
from fcflow.errors import FcflowError, LifecycleError, PluginError
from fcflow.formats import Layout
from fcflow.lifecycle import Fact
from fcflow.model import Feed, FulfilmentState, Location, Partner, Shipment
from fcflow.plugins import Plugins, endpoint_of, open_transport
from fcflow.reports import PhaseFailure, Progress, RunReport
from fcflow.rules import Condition, RuleSet
from fcflow.stock import Shipped
from fcflow.store import FulfilmentView, Lease, Store, StoredOrder, Transaction
from fcflow.transports import Transport, TransportPool

__all__ = ["ACTIVE", "Context", "Writing"]

LOG = logging.getLogger("fcflow")

ENDS_THE_PROCESS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""What is no failure of anybody."""

ACTIVE = tuple(state for state in FulfilmentState if state not in (FulfilmentState.SHIPPED, FulfilmentState.CANCELLED))
"""States in which a fulfilment order is still to be finished."""


class Writing:
    """
    One transaction of a phase: its `Transaction`, the instant, and what goes into it together.

    What is put here is written in bulk by `flush`, which the end of the transaction calls; whoever reads what was put
    before calls it first.
    """

    def __init__(
        self, tx: Transaction, now: datetime, actor: str, partners: Mapping[str, Partner] = MappingProxyType({})
    ) -> None:
        self.tx = tx
        self.now = now
        self.actor = actor
        self.partners = partners
        self.events: list[AuditEvent] = []
        self._orders: dict[str, StoredOrder] = {}
        self._new: dict[str, FulfilmentView] = {}
        self._changed: dict[str, FulfilmentView] = {}
        self._facts: dict[str, list[Fact]] = defaultdict(list)
        self._parcels: list[Shipment] = []
        self._movements: list[Shipped] = []
        self._taken: dict[str, bool] = {}

    def put_order(self, stored: StoredOrder) -> None:
        """Write an order's state."""
        self._orders[stored.order_id] = stored

    def new_fulfilments(self, views: Iterable[FulfilmentView]) -> None:
        """Add fulfilment orders."""
        for view in views:
            self._new[view.fulfilment_id] = view
            self._taken[view.fulfilment_id] = True

    def taken(self, fulfilment_ids: Collection[str]) -> set[str]:
        """Those of *fulfilment_ids* that stand for a fulfilment order already; asked in bulk they are read in bulk."""
        unknown = [each for each in fulfilment_ids if each not in self._taken]
        found = {view.fulfilment_id for view in self.tx.fulfilments(ids=unknown)} if unknown else set()
        self._taken.update((each, each in found) for each in unknown)
        return {each for each in fulfilment_ids if self._taken[each]}

    def put_fulfilments(self, views: Iterable[FulfilmentView]) -> None:
        """Write the state of fulfilment orders."""
        for view in views:
            into = self._new if view.fulfilment_id in self._new else self._changed
            into[view.fulfilment_id] = view

    def put_facts(self, facts: Iterable[Fact], actor: str) -> None:
        """Keep facts."""
        self._facts[actor] += facts

    def put_parcels(self, parcels: Iterable[Shipment]) -> None:
        """Keep parcels."""
        self._parcels += parcels

    def put_movements(self, movements: Iterable[Shipped]) -> None:
        """Keep units that left, until the pictures of the stock know of them."""
        self._movements += movements

    def flush(self) -> None:
        """Write what was put here until now."""
        self.tx.insert_fulfilments(self._new.values())
        self.tx.update_fulfilments(self._changed.values())
        self.tx.update_orders(self._orders.values())
        for actor, facts in self._facts.items():
            self.tx.add_facts(facts, actor=actor, received_at=self.now)
        self.tx.add_shipments(self._parcels, self.now)
        self.tx.add_movements(self._movements)
        for kept in (self._new, self._changed, self._orders, self._facts, self._parcels, self._movements):
            kept.clear()

    def note(
        self,
        type: AuditType,  # the event's own word
        message: str = "",
        *,
        order_id: str | None = None,
        fulfilment: FulfilmentView | None = None,
        location: str | None = None,
        actor: str | None = None,
        **data: Any,
    ) -> None:
        """Put an event into the audit trail, in this transaction."""
        self.events.append(
            AuditEvent(
                at=self.now,
                type=type,
                order_id=order_id if fulfilment is None else fulfilment.order_id,
                fulfilment_id=None if fulfilment is None else fulfilment.fulfilment_id,
                location=location if fulfilment is None else fulfilment.location,
                actor=actor or self.actor,
                message=message,
                data={key: value for key, value in data.items() if value is not None},
            )
        )


@frozen(kw_only=True)
class Context:
    """
    What a synchronizer is made of.

    Args:
        ready: Rules run only on orders for which it is true.

        priority: Which of them is served first.

        lately: What counts when a rule asks how a location behaves.

        live_rules: Whether the rule set that is live in the store replaces *rules*.

        currency: What rule sets that go live there and name no currency compare money in.

        layout_of: The layout of a feed.

        in_transaction: The host's callback, called with our connection and the events right before every commit.

        open_way: Opens the way in to a partner by the name of a connection.

        new_key: Makes the idempotency key of a delivery; never the same one twice.

        pool: Ways in that stay open from one feed to the next, until the run ends.
    """

    store: Store
    rules: RuleSet | None
    ready: Condition
    locations: Mapping[str, Location]
    partners: Mapping[str, Partner]
    layout_of: Callable[[Feed], Layout]
    plugins: Plugins
    clock: Callable[[], datetime]
    base: Path
    progress: Callable[[Progress], None] | None = None
    in_transaction: Callable[[Connection, Sequence[AuditEvent]], None] | None = None
    open_way: Callable[[Partner, str], Transport] | None = None
    new_key: Callable[[], str] = lambda: uuid4().hex
    pool: TransportPool = field(factory=TransportPool)
    lease_s: float = 300
    priority: Priority = field(factory=Priority)
    lately: Lately = field(factory=Lately)
    carriers: Carriers = field(factory=Carriers)
    live_rules: bool = False
    currency: str | None = None
    actor: str = field(default="synchronizer")

    def open(self, partner: Partner, connection: str) -> Transport:
        """The way in to *partner*."""
        if self.open_way is not None:
            return self.open_way(partner, connection)
        return open_transport(self.plugins, endpoint_of(self.plugins, partner, connection, base=self.base))

    def way(
        self, partner: Partner, connection: str, *, beside: Transport | None = None
    ) -> AbstractContextManager[Transport]:
        """
        The way in to *partner*, one that is open already where there is one.

        Args:
            beside: A way that is in use and may share its connection with the new one.
        """
        if self.open_way is not None:
            return closing(self.open(partner, connection))
        share = getattr(beside, "sibling", lambda: None)
        return self.pool.lent((partner.code, connection), lambda: share() or self.open(partner, connection))

    @contextmanager
    def writing(
        self, *, lease: Lease | None = None, connection: Connection | None = None, actor: str | None = None
    ) -> Iterator[Writing]:
        """
        A transaction in which state and audit trail change together.

        The host's callback runs inside it; observers hear of its events after the commit, and never in a transaction
        of the host's own, which may still be rolled back.
        """
        with self.store.transaction(lease=lease, connection=connection) as tx:
            writing = Writing(tx, self.clock(), actor or self.actor, self.partners)
            yield writing
            writing.flush()
            tx.append(writing.events)
            if self.in_transaction is not None and writing.events:
                self.in_transaction(tx.connection, tuple(writing.events))
        if connection is None:
            for event in writing.events:
                self.plugins.notify(event)

    def tell(self, phase: str, partner: str | None, done: int, total: int | None, message: str = "") -> None:
        """Report progress to the host, where it asked for it."""
        if self.progress is not None:
            self.progress(Progress(phase, partner, done, total, message))

    def chosen(self, partners: Collection[str] | None) -> list[Partner]:
        """The partners to work with; all without a choice."""
        unknown = sorted(set(partners or ()) - set(self.partners))
        if unknown:
            raise FcflowError(f"expected partners among {', '.join(sorted(self.partners))}, got {', '.join(unknown)}")
        return [partner for code, partner in self.partners.items() if partners is None or code in partners]

    def require_location(self, code: str) -> None:
        """
        Refuse a location that is not configured.

        Raises:
            LifecycleError: It is not.
        """
        if code not in self.locations:
            raise LifecycleError(f"expected a location among {', '.join(sorted(self.locations))}, got {code!r}")

    def locations_of(self, partner: Partner) -> dict[str, Location]:
        """The locations that *partner* runs, by code."""
        return {code: place for code, place in self.locations.items() if place.partner == partner.code}

    @contextmanager
    def guarded(self, report: RunReport, partner: Partner, phase: str) -> Iterator[None]:
        """
        One partner's failure is written into the report and stops nobody else.

        That holds for what a plugin or a host's callback raises too, be it no `Exception` even, as panics of compiled
        extensions are not; its traceback goes to the log, and its text stays out of the report, as nobody has looked
        whether a secret shows in it. Only what ends the process goes through.
        """
        try:
            yield
        except FcflowError as error:
            text = describe(error)
            LOG.warning("%s: %s failed: %s", partner.code, phase, text, extra={"reported": True})
            report.partner(partner.code).failures.append(PhaseFailure(phase, error.code, text))
        except ENDS_THE_PROCESS:
            raise
        except BaseException as error:
            LOG.exception("%s: %s failed", partner.code, phase)
            text = unexpected(error)
            report.partner(partner.code).failures.append(PhaseFailure(phase, PluginError.code, text))


def unexpected(error: BaseException) -> str:
    """What people are told of an error that is not ours."""
    return f"unexpected {type(error).__name__}, see the log"


def describe(error: BaseException) -> str:
    """An error as one line, with the notes that were added on its way."""
    notes: Iterable[str] = getattr(error, "__notes__", ())
    return "; ".join([" ".join(str(error).split()) or type(error).__name__, *notes])
