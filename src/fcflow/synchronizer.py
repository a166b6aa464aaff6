"""
The one module that knows all parts: it takes orders, has them allocated, sent and answered for, and shows how far
they got.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pluggy
from attrs import evolve
from sqlalchemy.engine import Connection

from fcflow.allocation_many import Priority
from fcflow.audit import AuditEvent, AuditType
from fcflow.behaviour import Behaviour, Lately, behaviour
from fcflow.carriers import Carriers
from fcflow.errors import AllocationError, ConfigError, Fault, FcflowError, LifecycleError, StoreBusyError
from fcflow.formats import Layout, error_file, load_layout
from fcflow.lifecycle import is_locked
from fcflow.model import (
    Explanation,
    Feed,
    FeedKind,
    FulfilmentState,
    Location,
    Order,
    OrderState,
    Partner,
    Problem,
    RuleVerdict,
)
from fcflow.phases import changes, dry_run
from fcflow.phases.allocate import PAID, allocate, routing_of
from fcflow.phases.checks import check_partner
from fcflow.phases.context import ACTIVE, Context, describe
from fcflow.phases.handled import handled_since
from fcflow.phases.intake import add_orders
from fcflow.phases.push import PushRequest, push_of, receive_push
from fcflow.phases.receive import receive, receive_again
from fcflow.phases.rule_sets import RuleSetCalls, with_live_rules
from fcflow.phases.send import send_orders
from fcflow.phases.state import empty
from fcflow.phases.statuses import apply_statuses
from fcflow.phases.stock_levels import apply_stock
from fcflow.phases.stock_view import stock_view
from fcflow.plugins import Plugins, collect_plugins, load_plugins
from fcflow.reports import (
    AddReport,
    AllocationReport,
    ChangeReport,
    PhaseFailure,
    Plan,
    Progress,
    PushAnswer,
    RunReport,
)
from fcflow.rules import Condition, RuleSet, compile_condition
from fcflow.stock import StockSummary
from fcflow.store import OrderView, OutboxRow, Sighting, Store
from fcflow.transports import Finding

if TYPE_CHECKING:
    from fcflow.config import Config

__all__ = ["Synchronizer", "run_partner"]

_IN_TRANSACTION = Callable[[Connection, Sequence[AuditEvent]], None]


def _now() -> datetime:
    return datetime.now(UTC)


def _layouts(given: Mapping[str, Layout] | Callable[[Feed], Layout] | None, base: Path) -> Callable[[Feed], Layout]:
    if given is not None and not isinstance(given, Mapping):
        return given
    by_name = given or {}

    @cache
    def named(name: str) -> Layout:
        return by_name[name] if name in by_name else load_layout(name, base=base)

    return lambda feed: named(feed.layout)


class Synchronizer(RuleSetCalls):
    """
    Orders out to partners, statuses and stock back.

    Everything that happened is in the store and its audit trail; the object itself holds no state, so a host may make
    one for each run. Calls that only touch the store take the host's ``connection=`` and become true in the host's own
    transaction; calls that reach a partner never run inside one.

    Args:
        store: Where state, outbox, ledger and audit trail are.

        rules: ``None``: orders go only where they are moved by hand.

        live_rules: Decide by the rule set that is live in the store, as it is at the start of each run; *rules* only
            serves until one is.

        currency: What rule sets that go live in the store and name no currency compare money in.

        locations: In the seller's own order of preference.

        partners: Those who run locations.

        layouts: By the name that feeds use, or a function of the feed; names that are not given are built-in layouts
            or paths.

        ready: Rules run on orders for which this is true; ``None`` asks that they are paid.

        priority: Which order is served first where there is not enough for all; ``None`` goes by the number in the
            order's property ``priority``, then by the instant of dispatch, then by age.

        lately: What counts when a rule asks how a location behaves; ``None`` is the last 30 days, 20 orders at least.

        carriers: Who carries parcels; ``None`` are the usual ones.

        plugins: A plugin manager, or what was collected from one; ``None`` loads what is installed.

        clock: Gives the instant; aware.

        progress: Called with each step of a run.

        lease_s: How long a partner's phase stays taken after a synchronizer was killed in the middle of it; each write
            renews it. Longer than the slowest single call to a partner.

        in_transaction: Called with our connection and the audit events right before each commit, so that a host can
            write rows of its own with ours; what it raises rolls both back.

        base: Relative paths of connections and secrets are below it.

    Raises:
        ConfigError: A location changed its kind or partner, or is gone, while orders are locked in it.

    Example:
        >>> from fcflow import Location, Order, OrderLine, StockPolicy, load_rules
        >>> rules = load_rules({"fcflow": "ruleset/1", "name": "all to leeds", "rules": [
        ...     {"id": "all", "when": True, "then": [{"allocate": {"to": ["leeds"]}}]}]})
        >>> leeds = Location(code="leeds", stock=StockPolicy(tracked=False))
        >>> with Synchronizer(store=Store.open("sqlite://"), rules=rules, locations=[leeds]) as sync:
        ...     mug = OrderLine(sku="MUG", quantity=1)
        ...     sync.add_orders([Order(order_id="A1", payment="paid", lines=[mug])]).added
        ...     sync.run().allocation.allocated
        ...     sync.order("A1").state.value
        ('A1',)
        {'leeds': ['A1']}
        'in_fulfilment'
    """

    def __init__(
        self,
        *,
        store: Store,
        rules: RuleSet | None,
        locations: Iterable[Location],
        partners: Iterable[Partner] = (),
        layouts: Mapping[str, Layout] | Callable[[Feed], Layout] | None = None,
        ready: Condition | None = None,
        priority: Priority | None = None,
        lately: Lately | None = None,
        carriers: Carriers | None = None,
        plugins: pluggy.PluginManager | Plugins | None = None,
        clock: Callable[[], datetime] = _now,
        progress: Callable[[Progress], None] | None = None,
        in_transaction: _IN_TRANSACTION | None = None,
        base: Path | None = None,
        lease_s: float = 300,
        live_rules: bool = False,
        currency: str | None = None,
    ) -> None:
        folder = base or Path.cwd()
        self._context = Context(
            store=store,
            rules=rules,
            ready=ready or compile_condition(PAID),
            priority=priority or Priority(),
            lately=lately or Lately(),
            carriers=carriers or Carriers(),
            locations={location.code: location for location in locations},
            partners={partner.code: partner for partner in partners},
            layout_of=_layouts(layouts, folder),
            plugins=_plugins(plugins),
            clock=clock,
            base=folder,
            lease_s=lease_s,
            progress=progress,
            in_transaction=in_transaction,
            live_rules=live_rules,
            currency=currency,
        )
        self._remember_locations()

    @classmethod
    def from_config(
        cls,
        source: str | os.PathLike[str] | Mapping[str, Any] | Config,
        *,
        plugins: pluggy.PluginManager | Plugins | None = None,
        clock: Callable[[], datetime] = _now,
        progress: Callable[[Progress], None] | None = None,
        in_transaction: _IN_TRANSACTION | None = None,
        lease_s: float = 300,
    ) -> Self:
        """
        What a configuration describes, with its store open.

        Args:
            source: A path, a mapping, or a `fcflow.config.Config`.

        Raises:
            ConfigError: With every fault of the configuration.

            StoreError: The store cannot be opened.
        """
        from fcflow.config import Config, load_config

        config = source if isinstance(source, Config) else load_config(source, plugins=plugins)
        store = Store.open(config.store_address(), namespace=config.namespace, schema=config.schema)
        try:
            return cls(
                store=store,
                rules=config.rule_set(),
                locations=config.locations.values(),
                partners=config.partners.values(),
                layouts=config.layout,
                ready=config.ready_condition(),
                priority=config.priority,
                lately=config.lately,
                carriers=Carriers(config.carriers),
                plugins=config.plugins,
                clock=clock,
                progress=progress,
                in_transaction=in_transaction,
                base=config.base,
                live_rules=config.live_rules,
                currency=config.currency,
                lease_s=lease_s,
            )
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Close the store."""
        self._context.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        codes = ", ".join(self._context.partners)
        return f"Synchronizer({self._context.store!r}, partners: {codes or 'none'})"

    @property
    def store(self) -> Store:
        """The store it works on."""
        return self._context.store

    @property
    def locations(self) -> Mapping[str, Location]:
        """By code, in the seller's own order of preference."""
        return self._context.locations

    @property
    def carriers(self) -> Carriers:
        """Who carries parcels, and where these can be followed."""
        return self._context.carriers

    @property
    def partners(self) -> Mapping[str, Partner]:
        """By code."""
        return self._context.partners

    # ---------------------------------------------------------------- orders in

    def add_orders(
        self,
        orders: Iterable[Order],
        *,
        location: str | None = None,
        fulfilled_elsewhere: bool = False,
        actor: str = "host",
        connection: Connection | None = None,
    ) -> AddReport:
        """
        Take orders over: new ones are added, known ones with equal content are left alone, others are amended.

        An amendment is free until the order was sent; after that it waits until the partner lets go, and a person is
        told.

        Args:
            location: Put them there, whatever the rules say.

            fulfilled_elsewhere: The partner at *location* has them already: track them, never send them.

        Raises:
            OrderError: An order has no lines, or stands twice.

            LifecycleError: *location* is not known.
        """
        return add_orders(
            self._context,
            orders,
            location=location,
            fulfilled_elsewhere=fulfilled_elsewhere,
            actor=actor,
            connection=connection,
        )

    # ---------------------------------------------------------------- runs

    def run(self, *, partners: Collection[str] | None = None) -> RunReport:
        """
        Receive statuses, receive stock, allocate, send orders.

        Args:
            partners: Codes; ``None`` is every partner. Allocation always looks at all.

        Returns:
            Everything that happened. What failed with one partner stands in its report and stops nobody else.

        Raises:
            FcflowError: *partners* names one that is not configured; nothing was done.
        """
        return self._run(self._current(), partners)

    def receive_statuses(self, *, partners: Collection[str] | None = None) -> RunReport:
        """Take in what partners say of their orders."""
        with self._reported(self._context) as report:
            self._receive_statuses(self._context, partners, report)
        return report

    def receive_stock(self, *, partners: Collection[str] | None = None) -> RunReport:
        """Take in partners' stock levels."""
        with self._reported(self._context) as report:
            self._receive_stock(self._context, partners, report)
        return report

    def allocate(self) -> RunReport:
        """Decide for every open order who ships it."""
        with self._reported(self._context) as report:
            report.allocation = allocate(self._current())
        return report

    def send_orders(self, *, partners: Collection[str] | None = None) -> RunReport:
        """Send what is ready."""
        with self._reported(self._context) as report:
            self._send_orders(self._context, partners, report)
        return report

    def plan(self, *, partners: Collection[str] | None = None) -> Plan:
        """
        What `run` would do now: the exact bytes that would leave, and every change.

        The partners are asked, and nothing is changed anywhere: not at theirs, not in the store.
        """
        return dry_run.plan(self._current(), lambda context: self._run(context, partners))

    def _current(self) -> Context:
        """The context by the rules that are live now; one run keeps it to its end."""
        self._context = with_live_rules(self._context)
        return self._context

    def _run(self, context: Context, partners: Collection[str] | None) -> RunReport:
        with self._reported(context) as report:
            self._receive_statuses(context, partners, report)
            self._receive_stock(context, partners, report)
            report.allocation = self._allocated(context, report)
            self._send_orders(context, partners, report)
        return report

    def _allocated(self, context: Context, report: RunReport) -> AllocationReport | None:
        """Where another synchronizer is allocating, there is nothing to do for this one."""
        try:
            return allocate(context)
        except StoreBusyError as error:
            context.tell("allocate", None, 0, 0, describe(error))
            return None
        except FcflowError as error:
            return AllocationReport(failure=PhaseFailure("allocate", error.code, describe(error)))

    @contextmanager
    def _reported(self, context: Context) -> Iterator[RunReport]:
        report = RunReport(started_at=context.clock())
        try:
            yield report
        finally:
            context.pool.drain()
        with context.store.reading() as tx:
            report.needs_person = len(tx.order_ids(needs_person=True))
        report.finished_at = context.clock()

    def _receive_statuses(self, context: Context, partners: Collection[str] | None, report: RunReport) -> None:
        for partner in context.chosen(partners):
            for feed in (partner.acknowledgement, partner.status):
                if feed is not None:
                    with context.guarded(report, partner, feed.kind.value):
                        apply = apply_statuses(context, partner, feed, report.partner(partner.code))
                        receive(context, partner, feed, report, apply)

    def _receive_stock(self, context: Context, partners: Collection[str] | None, report: RunReport) -> None:
        for partner in context.chosen(partners):
            if partner.stock is not None:
                with context.guarded(report, partner, "stock"):
                    apply = apply_stock(context, partner, partner.stock, report.partner(partner.code))
                    receive(context, partner, partner.stock, report, apply)

    def _send_orders(self, context: Context, partners: Collection[str] | None, report: RunReport) -> None:
        for partner in context.chosen(partners):
            if partner.orders is not None:
                with context.guarded(report, partner, "orders"):
                    send_orders(context, partner, report)

    def receive_push(
        self,
        partner: str,
        kind: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        body: bytes,
        *,
        method: str = "POST",
        target: str = "",
    ) -> PushAnswer:
        """
        Take in what a partner pushes (a webhook), and say what to answer; `fcflow.web` mounts it.

        It is checked as ``push`` of the feed says, and goes the way of a file: into the same ledger and audit trail,
        once, in one transaction. It never raises for what a stranger sends, nor for a store that is not there: then the
        answer asks the partner to repeat.

        Args:
            kind: ``status``, ``stock`` or ``acknowledgement``.

            headers: In any case; as pairs where one may stand twice.

            body: As it came, packed or not; read no more than `push_cap` and one byte of it.

            target: Path and query, where the partner signs them.
        """
        context = self._context
        request = PushRequest(partner=partner, kind=kind, headers=headers, body=body, method=method, target=target)
        return receive_push(context, request, RunReport(started_at=context.clock()))

    def push_cap(self, partner: str, kind: str) -> int:
        """How many bytes *partner* may push at most; 0 where nothing is taken from it."""
        found = push_of(self._context, partner, kind)
        return 0 if found is None else found[2].max_bytes

    # ---------------------------------------------------------------- by hand

    def move(
        self,
        order_ids: Iterable[str],
        to: str,
        *,
        override: str | None = None,
        actor: str = "host",
        connection: Connection | None = None,
    ) -> ChangeReport:
        """
        Give whole orders to location *to*; rules leave them there until they are released.

        Args:
            override: Why an order that the partner has, or may have, is taken away all the same; recorded. Without it
                such an order is refused, and the others move.

        Raises:
            LifecycleError: *to* is not known.
        """
        return changes.move(self._context, order_ids, to, override=override, actor=actor, connection=connection)

    def hold(
        self, order_ids: Iterable[str], reason: str, *, actor: str = "host", connection: Connection | None = None
    ) -> ChangeReport:
        """Keep orders from being allocated and sent; what is with a partner already goes on."""
        return changes.hold(self._context, order_ids, reason, actor=actor, connection=connection)

    def release(
        self, order_ids: Iterable[str], *, actor: str = "host", connection: Connection | None = None
    ) -> ChangeReport:
        """Lift what holds orders back: a hold, a hand-made move, a delivery that was given up, a question."""
        return changes.release(self._context, order_ids, actor=actor, connection=connection)

    def cancel(
        self, order_ids: Iterable[str], reason: str, *, actor: str = "host", connection: Connection | None = None
    ) -> ChangeReport:
        """Take orders back: at once where nothing has left, else asked for, and the partner's word is awaited."""
        return changes.cancel(self._context, order_ids, reason, actor=actor, connection=connection)

    def mark_shipped(
        self,
        fulfilment_ids: Iterable[str],
        *,
        carrier: str | None = None,
        service: str | None = None,
        tracking_numbers: Iterable[str] = (),
        shipped_at: datetime | None = None,
        actor: str = "host",
        connection: Connection | None = None,
    ) -> ChangeReport:
        """Note that fulfilment orders were shipped whole: from a place of our own, or as a partner told by phone."""
        return changes.mark_shipped(
            self._context,
            fulfilment_ids,
            carrier=carrier,
            service=service,
            tracking_numbers=tracking_numbers,
            shipped_at=shipped_at,
            actor=actor,
            connection=connection,
        )

    def resolve(
        self,
        fulfilment_ids: Iterable[str],
        outcome: str,
        reason: str,
        *,
        actor: str = "host",
        connection: Connection | None = None,
    ) -> ChangeReport:
        """
        Settle what only a person can know.

        Args:
            outcome: ``sent`` (the partner has it), ``not_sent`` (it has not: send it again), or ``cancelled``.

        Raises:
            LifecycleError: *outcome* is another word.
        """
        return changes.resolve(self._context, fulfilment_ids, outcome, reason, actor=actor, connection=connection)

    def resend(
        self, outbox_ids: Iterable[int], reason: str, *, actor: str = "host", connection: Connection | None = None
    ) -> ChangeReport:
        """Send deliveries again, byte for byte, with the next run; each becomes a new row of the outbox."""
        return changes.resend(self._context, outbox_ids, reason, actor=actor, connection=connection)

    # ---------------------------------------------------------------- how far things are

    def orders(
        self,
        *,
        location: str | None = None,
        state: str | OrderState | FulfilmentState | None = None,
        partner: str | None = None,
        needs_person: bool | None = None,
        order_id: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        connection: Connection | None = None,
    ) -> list[OrderView]:
        """
        Orders as people see them, in the order in which they were added.

        Args:
            location, partner: With a fulfilment order there that is not cancelled.

            state: Of the order (``open``, ``held``, ...) or of one of its fulfilment orders (``sent``, ...).

            needs_person: Only those that await a person, or only those that do not.

            order_id: That order alone, whatever else is asked for.

            limit: ``None`` is all of them.

        Raises:
            LifecycleError: There is no such state.
        """
        order_states, fulfilment_states = _states(state)
        with self._context.store.reading(connection=connection) as tx:
            if order_id is not None:
                return tx.orders([order_id])
            ids = tx.order_ids(
                states=order_states,
                fulfilment_states=fulfilment_states,
                location=location,
                partner=partner,
                needs_person=needs_person,
                limit=limit,
                offset=offset,
            )
            return tx.orders(ids)

    def order(self, order_id: str, *, connection: Connection | None = None) -> OrderView:
        """
        One order.

        Raises:
            LifecycleError: It is not known.
        """
        found = self.orders(order_id=order_id, connection=connection)
        if not found:
            raise LifecycleError(f"order {order_id} is not known")
        return found[0]

    def counts(self, *, connection: Connection | None = None) -> dict[str | None, dict[str, int]]:
        """Fulfilment orders by location and state; under ``None`` the orders by state."""
        with self._context.store.reading(connection=connection) as tx:
            counted: dict[str | None, dict[str, int]] = {None: tx.order_counts()}
            for (location, state), number in tx.fulfilment_counts().items():
                counted.setdefault(location, {})[state] = number
        return counted

    def explain(self, order_id: str) -> Explanation:
        """
        Why the rules decide as they do for an order, and what they make of every location, by what is known now.

        Of an order whose units all have a place already the locations are told as they were when it was allocated.

        Raises:
            LifecycleError: The order is not known.

            AllocationError: There is no rule set.
        """
        context = self._current()
        if context.rules is None:
            raise AllocationError("there is no rule set to explain")
        view = self.order(order_id)
        with context.store.reading() as tx:
            now = context.clock()
            stock = stock_view(context, tx, now, excluded=tx.excluded([order_id]))
            told = {} if view.unplaced else _as_allocated(tx.audit(order_id=order_id, type=AuditType.ALLOCATED))
        said = context.rules.explain(view.order, view=stock, now=now)
        routing = routing_of(context, view, stock, now)
        verdicts = tuple(_with_lifted(verdict, view.stored.released) for verdict in said.rules)
        decision = routing.decision if view.stored.released and view.unplaced else said.decision
        return evolve(said, decision=decision, rules=verdicts, locations={**routing.locations, **told})

    def stock(
        self, *, sku: str | None = None, location: str | None = None, connection: Connection | None = None
    ) -> list[StockSummary]:
        """What is where, what may be sold and what may be promised, per SKU across all locations."""
        with self._context.store.reading(connection=connection) as tx:
            view = stock_view(self._context, tx, self._context.clock())
        levels = view.levels(sku)
        if location is None:
            return list(levels)
        return [
            evolve(level, locations=tuple(row for row in level.locations if row.location == location))
            for level in levels
            if any(row.location == location for row in level.locations)
        ]

    def behaviour(self, since: datetime) -> dict[str, Behaviour]:
        """How each location behaved with what it was sent since then: refusals, errors, lateness, hours to ship."""
        with self._context.store.reading() as tx:
            return behaviour(handled_since(tx, since), now=self._context.clock())

    def audit(
        self,
        *,
        order_id: str | None = None,
        type: str | AuditType | None = None,  # the event's own word
        since: datetime | None = None,
        location: str | None = None,
        limit: int | None = None,
        connection: Connection | None = None,
    ) -> list[AuditEvent]:
        """The audit trail, oldest first."""
        with self._context.store.reading(connection=connection) as tx:
            wanted = None if type is None else str(type)
            return tx.audit(order_id=order_id, type=wanted, since=since, location=location, limit=limit)

    def events(self, consumer: str, *, limit: int = 100, connection: Connection | None = None) -> list[AuditEvent]:
        """
        The events that *consumer* has not acknowledged yet, in order: a feed that survives restarts.

        They come again until `acknowledge`; in the host's own transaction (*connection*) each takes effect once.
        """
        store = self._context.store
        with store.reading() if connection is None else store.transaction(connection=connection) as tx:
            return tx.audit(after=tx.consumer_position(consumer), limit=limit)

    def acknowledge(self, consumer: str, sequence: int, *, connection: Connection | None = None) -> None:
        """Move *consumer* on to *sequence*; never back."""
        with self._context.store.transaction(connection=connection) as tx:
            tx.acknowledge(consumer, sequence)

    def outbox(
        self,
        *,
        outbox_id: int | None = None,
        partner: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        connection: Connection | None = None,
    ) -> list[OutboxRow]:
        """What was sent or is to be sent, newest first."""
        with self._context.store.reading(connection=connection) as tx:
            states = None if state is None else [state]
            ids = None if outbox_id is None else [outbox_id]
            return tx.deliveries(ids=ids, partner=partner, states=states, limit=limit, newest_first=True)

    def outbox_content(self, outbox_id: int) -> bytes:
        """
        The exact bytes of a delivery.

        Raises:
            LifecycleError: There is no such delivery.
        """
        with self._context.store.reading() as tx:
            content = tx.delivery_content(outbox_id)
        if content is None:
            raise LifecycleError(f"delivery {outbox_id} is not known")
        return content

    def received(
        self,
        *,
        sighting_id: int | None = None,
        partner: str | None = None,
        state: str | None = None,
        limit: int | None = None,
    ) -> list[Sighting]:
        """What was taken in, newest first; *state* is ``applied``, ``refused`` or ``parked``."""
        with self._context.store.reading() as tx:
            return tx.sightings(sighting_id=sighting_id, partner=partner, state=state, limit=limit)

    def received_content(self, sighting_id: int) -> bytes:
        """
        The exact bytes that were taken in.

        Raises:
            LifecycleError: There is no such sighting.
        """
        with self._context.store.reading() as tx:
            content = tx.sighting_content(sighting_id)
        if content is None:
            raise LifecycleError(f"sighting {sighting_id} is not known")
        return content

    def receive_again(self, sighting_id: int) -> RunReport:
        """
        Read what was refused or parked once more, from the kept bytes, by the layout as it is now, and apply it.

        Raises:
            LifecycleError: Nothing was received under that id, it is applied already, or its feed is gone.

            FormatError: It still cannot be read; nothing changed.

            StoreBusyError: The feed is being received just now.
        """
        context = self._current()
        kept = next(iter(self.received(sighting_id=sighting_id)), None)
        if kept is None:
            raise LifecycleError(f"nothing was received under the id {sighting_id}")
        partner, feed = self._feed_of(kept)
        with self._reported(context) as report:
            mine = report.partner(partner.code)
            if feed.kind is FeedKind.STOCK:
                apply = apply_stock(context, partner, feed, mine, kept.received_at)
            else:
                apply = apply_statuses(context, partner, feed, mine)
            receive_again(context, partner, feed, sighting_id, report, apply)
        return report

    def received_errors(self, sighting_id: int) -> bytes:
        """
        The bad rows of what was taken in, as a CSV file that the partner can mend; see `fcflow.formats.error_file`.

        Raises:
            LifecycleError: There is no such sighting, or its feed is gone.
        """
        kept = next(iter(self.received(sighting_id=sighting_id)), None)
        if kept is None:
            raise LifecycleError(f"nothing was received under the id {sighting_id}")
        return error_file(self._context.layout_of(self._feed_of(kept)[1]), self.problems(sighting_id))

    def _feed_of(self, kept: Sighting) -> tuple[Partner, Feed]:
        """The partner and the feed that something came in by."""
        partner = self._context.partners.get(kept.partner)
        for feed in () if partner is None else partner.feeds:
            if feed.kind == kept.feed and feed.kind is not FeedKind.ORDERS and partner is not None:
                return partner, feed
        raise LifecycleError(f"{kept.name}: partner {kept.partner} no longer has a {kept.feed} feed")

    def problems(self, sighting_id: int) -> list[Problem]:
        """The bad records of what was taken in."""
        with self._context.store.reading() as tx:
            return tx.problems(sighting_id)

    def check(self, *, connect: bool = False) -> list[Finding]:
        """
        Look for what would keep a run from working.

        Args:
            connect: Also try every way in, and look into the folders of the feeds; nothing is changed at the partners'.
        """
        partners = self._context.partners.values()
        return [found for partner in partners for found in check_partner(self._context, partner, connect=connect)]

    # ---------------------------------------------------------------- what was known before

    def _remember_locations(self) -> None:
        """A location keeps its kind and its partner for as long as orders are locked in it."""
        context = self._context
        with context.store.reading() as tx:
            known = tx.locations()
        wanted = {code: (place.kind.value, place.partner) for code, place in context.locations.items()}
        different = {code for code, before in known.items() if wanted.get(code) != before}
        if not different and known.keys() == wanted.keys():
            return
        with context.writing() as writing:
            faults = [
                fault
                for code in sorted(different)
                for fault in _locked_in(
                    code, known[code], wanted.get(code), writing.tx.fulfilments(location=code, states=ACTIVE)
                )
            ]
            if faults:
                raise ConfigError("locations", faults)
            for code in sorted(different):
                if code not in wanted or wanted[code][1] != known[code][1]:
                    empty(code, writing)
            for code in wanted:
                if known.get(code) != wanted[code]:
                    writing.tx.put_location(context.locations[code])
                    before = None if code not in known else f"{known[code][0]}, partner {known[code][1] or 'none'}"
                    after = f"{wanted[code][0]}, partner {wanted[code][1] or 'none'}"
                    writing.note(AuditType.LOCATION_CHANGED, f"{before or 'new'} -> {after}", location=code)


def _with_lifted(verdict: RuleVerdict, lifted: Collection[str]) -> RuleVerdict:
    if not verdict.decided or verdict.rule_id not in lifted:
        return verdict
    return evolve(verdict, decided=False, because=(*verdict.because, "a person lifted its hold"))


def _as_allocated(events: Sequence[AuditEvent]) -> dict[str, str]:
    """What the last allocation made of every location, as the audit trail has it."""
    if not events:
        return {}
    last = events[-1]
    told: Mapping[str, str] = last.data.get("locations", {})
    by_hand = {} if told or last.location is None else {last.location: last.message}
    return {code: f"{said} (on {last.at:%Y-%m-%d %H:%M} UTC)" for code, said in (told or by_hand).items()}


def run_partner(source: str | os.PathLike[str] | Mapping[str, Any], partner: str | None, phase: str) -> RunReport:
    """
    One phase of one partner, for workers: nothing alive and no secret has to be pickled.

    Args:
        source: Reference to the configuration: a path, or the document. The worker opens its own store by it, so a
            store in memory serves nobody.

        partner: Code; ``None`` for ``allocate``, which looks at all.

        phase: ``receive_statuses``, ``receive_stock``, ``allocate`` or ``send_orders``.

    Raises:
        FcflowError: There is no such partner or phase.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> config = {"fcflow": "config/1", "store": {"url": "sqlite://"}}
        >>> with ThreadPoolExecutor() as pool:
        ...     pool.submit(run_partner, config, None, "allocate").result().ok
        True
    """
    phases = ("receive_statuses", "receive_stock", "allocate", "send_orders")
    if phase not in phases:
        raise FcflowError(f"expected a phase among {', '.join(phases)}, got {phase!r}")
    with Synchronizer.from_config(source) as sync:
        if phase == "allocate":
            return sync.allocate()
        chosen = None if partner is None else [partner]
        report: RunReport = getattr(sync, phase)(partners=chosen)
        return report


def _plugins(given: pluggy.PluginManager | Plugins | None) -> Plugins:
    if given is None:
        return load_plugins()
    return collect_plugins(given) if isinstance(given, pluggy.PluginManager) else given


def _locked_in(
    code: str, before: tuple[str, str | None], after: tuple[str, str | None] | None, views: Sequence[Any]
) -> Iterator[Fault]:
    locked = [view.fulfilment_id for view in views if is_locked(view.state) and view.partner is not None]
    if locked:
        wish = "be removed" if after is None else f"become {after[0]}, partner {after[1] or 'none'}"
        shown = ", ".join(locked[:5]) + (f" and {len(locked) - 5} more" if len(locked) > 5 else "")
        said = (
            f"location {code} is {before[0]}, partner {before[1] or 'none'}, and cannot {wish}: orders are locked in it"
        )
        yield Fault(said, path=f"$.locations.{code}", found=shown)


def _states(
    state: str | OrderState | FulfilmentState | None,
) -> tuple[list[OrderState] | None, list[FulfilmentState] | None]:
    if state is None:
        return None, None
    if str(state) == "cancelled":
        return [OrderState.CANCELLED], None
    if str(state) in list(OrderState):
        return [OrderState(str(state))], None
    if str(state) in list(FulfilmentState):
        return None, [FulfilmentState(str(state))]
    known = ", ".join(dict.fromkeys([*OrderState, *FulfilmentState]))
    raise LifecycleError(f"expected a state among {known}, got {state!r}")
