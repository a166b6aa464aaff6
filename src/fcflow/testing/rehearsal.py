"""
A configuration of one's own, rehearsed: its rules, layouts and feeds against partners that are played from them.

Nothing leaves the process, no secret is looked up, the store is in memory, and time goes on only when it is told to:
two rehearsals of the same day give the same bytes.

    >>> rehearsal = Rehearsal({
    ...     "fcflow": "config/1",
    ...     "partners": {"leeds": {
    ...         "connection": {"url": "sftp://seller@sftp.leeds.example", "secrets": {"password": {"env": "LEEDS"}}},
    ...         "orders": {"layout": "linnworks-orders", "path": "in", "name": "orders-{counter:04}.csv"},
    ...         "status": {"layout": "linnworks-status", "path": "out"},
    ...         "location": {"stock": {"tracked": False}}}},
    ...     "rules": {"fcflow": "ruleset/1", "name": "all", "rules": [
    ...         {"id": "all", "when": True, "then": [{"allocate": {"to": ["leeds"]}}]}]}})
    >>> rehearsal.partners["leeds"].ships(after_h=3)
    >>> rehearsal.add([{"order_id": "A1", "payment": "paid", "lines": [{"sku": "MUG", "quantity": 1}]}])
    >>> _ = rehearsal.play(hours=6)
    >>> print(rehearsal.decisions())
    A1: 1 x MUG to leeds by rule all: shipped
    >>> [exchanged.name for exchanged in rehearsal.exchanged]
    ['orders-0001.csv', 'status-0001.csv', 'status-0002.csv']
    >>> rehearsal.close()
"""

from __future__ import annotations

import fnmatch
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from attrs import define, evolve, field, frozen

from fcflow.carriers import Carriers
from fcflow.config import Config, load_config
from fcflow.documents import orders_from_documents
from fcflow.errors import ConfigError, Fault, FormatError, TransportUnavailableError
from fcflow.formats import Layout
from fcflow.model import (
    Feed,
    FulfilmentState,
    Order,
    Partner,
    Shipment,
    ShippingOrder,
    Status,
    StatusLine,
    StatusUpdate,
    StockLevel,
)
from fcflow.phases.shipping import shipping_order
from fcflow.reports import RunReport
from fcflow.rules import RuleSet, load_rules
from fcflow.status import ANCESTOR_WORDS, resolve_status
from fcflow.store import FulfilmentView, OrderView, Store
from fcflow.synchronizer import Synchronizer
from fcflow.testing.partners import Clock
from fcflow.transports import (
    Capabilities,
    Delivery,
    Fetched,
    Finding,
    Offer,
    Outcome,
    Presence,
    Query,
    Receipt,
    Transport,
)

__all__ = ["Exchanged", "Rehearsal", "RehearsedPartner"]

_BEGAN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_AT_WORK = (FulfilmentState.SENT, FulfilmentState.ACCEPTED, FulfilmentState.PART_SHIPPED)


@frozen(kw_only=True)
class Exchanged:
    """
    One file or post that crossed.

    Args:
        direction: ``out`` to the partner, ``in`` from it.

        feed: ``orders``, ``status``, ``stock``, ``acknowledgement``, or ``reply``.

        at: By the rehearsal's clock.

        layout: What it was written by, or ``None`` for bytes that a test laid there.
    """

    direction: str
    partner: str
    feed: str
    name: str
    content: bytes = field(repr=False)
    at: datetime
    layout: Layout | None = field(default=None, repr=False, eq=False)


class Rehearsal:
    """
    A configuration with every partner played in memory.

    Args:
        config: A path, a document as a mapping, or a `Config`.

        rules: Instead of the configuration's own; needed where those are the ones that are live in a store.

        began: Where the clock stands at first.

    Raises:
        ConfigError: As `load_config`, or the rules are in a store and none are given.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Mapping[str, Any] | Config,
        *,
        rules: RuleSet | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        began: datetime = _BEGAN,
    ) -> None:
        self.config = config if isinstance(config, Config) else load_config(config)
        self.clock = Clock(began)
        self.exchanged: list[Exchanged] = []
        self.reports: list[RunReport] = []
        self.sync = self._synchronizer(rules)
        self.partners = {code: RehearsedPartner(self, partner) for code, partner in self.config.partners.items()}

    def _synchronizer(self, rules: Any) -> Synchronizer:
        config = self.config
        if rules is None and config.live_rules:
            fault = Fault("live in a store, which a rehearsal has not", path="$.rules", expected="the argument rules")
            raise ConfigError(config.source, [fault])
        kinds = config.plugins.rule_kinds
        given = rules if rules is None or isinstance(rules, RuleSet) else load_rules(rules, **kinds)
        sync = Synchronizer(
            store=Store.open("sqlite://"),
            rules=config.rule_set() if given is None else given,
            locations=config.locations.values(),
            partners=[_in_no_hurry(partner) for partner in config.partners.values()],
            layouts=config.layout,
            ready=config.ready_condition(),
            priority=config.priority,
            lately=config.lately,
            carriers=Carriers(config.carriers),
            plugins=config.plugins,
            clock=self.clock,
            base=config.base,
            currency=config.currency,
        )
        keys = (hashlib.sha256(b"%d" % number).hexdigest()[:32] for number in itertools.count(1))
        sync._context = evolve(sync._context, open_way=self._way, new_key=lambda: next(keys))
        return sync

    def _way(self, partner: Partner, connection: str) -> Transport:
        return _RehearsedTransport(self.partners[partner.code])

    # ------------------------------------------------------------------ what a test does

    def add(self, orders: Iterable[Order | Mapping[str, Any]]) -> None:
        """Orders of the shop, as values or as documents."""
        given = list(orders)
        made = [order for order in given if isinstance(order, Order)]
        documents = [order for order in given if not isinstance(order, Order)]
        self.sync.add_orders([*made, *orders_from_documents(documents)])

    def step(self, **by: float) -> RunReport:
        """Let time go on (``hours=1``, ``minutes=15``), let every partner do its work, and run everything once."""
        self.clock.advance(**by)
        for partner in self.partners.values():
            partner.work()
        self.reports.append(self.sync.run())
        return self.reports[-1]

    def play(self, *, hours: float = 24, every_h: float = 1) -> list[RunReport]:
        """So many hours, with a run at the beginning and then again and again; the report of each."""
        reports = [self.step()]
        until = self.clock.now + timedelta(hours=hours)
        while self.clock.now < until:
            reports.append(self.step(hours=min(every_h, (until - self.clock.now) / timedelta(hours=1))))
        return reports

    def orders(self) -> list[OrderView]:
        """Every order, by id."""
        with self.sync.store.reading() as tx:
            return sorted(tx.orders(tx.order_ids()), key=lambda order: order.order_id)

    def decisions(self) -> str:
        """Where each order went, by which rule, and how far it got: a line a fulfilment order, or one of its order."""
        return "\n".join(line for order in self.orders() for line in _told(order))

    def problems(self) -> list[str]:
        """Every problem and every failure that a run reported, with the partner before it."""
        return [line for report in self.reports for line in (*report.problems, *_failures(report))]

    def files(self, *, direction: str | None = None) -> dict[str, Exchanged]:
        """What crossed, by ``partner/feed/name``; a name that was used again has its number behind it."""
        found: dict[str, Exchanged] = {}
        for each in self.exchanged:
            if direction in (None, each.direction):
                place = f"{each.partner}/{each.feed}/{each.name}"
                again = sum(other == place or other.startswith(f"{place}#") for other in found)
                found[f"{place}#{again + 1}" if again else place] = each
        return found

    def close(self) -> None:
        """End it."""
        self.sync.close()

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _in_no_hurry(partner: Partner) -> Partner:
    """Nothing here gets better by waiting."""
    return evolve(partner, limits=evolve(partner.limits, backoff_s=0))


def _failures(report: RunReport) -> Iterator[str]:
    for code, failure in report.failures:
        yield f"{code}: {failure.phase}: {failure.message}"


def _told(order: OrderView) -> Iterator[str]:
    for view in order.fulfilments:
        what = ", ".join(f"{line.quantity} x {line.sku}" for line in view.lines)
        trouble = view.problem or view.label_error or view.parked
        state = view.state.value if trouble is None else f"{view.state.value} ({trouble})"
        yield f"{view.fulfilment_id}: {what} to {view.location} by rule {view.rule_id or '-'}: {state}"
    if not order.fulfilments:
        yield f"{order.order_id}: {order.state.value}"


# ---------------------------------------------------------------------- the other side


@define
class _Lying:
    """A file of the partner's that lies there for us."""

    feed: Feed
    name: str
    content: bytes
    at: datetime


Answering = Callable[[ShippingOrder, float], StatusUpdate | None]
"""What is said of a fulfilment order that is so many hours old; ``None`` is nothing yet. The reference is filled in."""


class RehearsedPartner:
    """
    A partner's side: takes what is sent, and answers in its own layouts, words and codes.

    At first it says nothing. `accepts`, `ships` and `rejects` tell it what to do from now on; `says`, `stocks` and
    `lays` do it once.

    Args:
        lying: Its files that are there to be taken in, by feed and name.

        arrived: What it was sent, by name.

        is_down: While it is true, nobody answers.
    """

    def __init__(self, rehearsal: Rehearsal, partner: Partner) -> None:
        self._rehearsal = rehearsal
        self.partner = partner
        self.lying: dict[tuple[str, str], _Lying] = {}
        self.arrived: dict[str, Delivery] = {}
        self.is_down = False
        self._since: dict[str, datetime] = {}
        self._said: dict[str, set[Status]] = {}
        self._plan: list[tuple[Status, float]] = []
        self._short: dict[str, int] = {}
        self._rejected: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._words: dict[tuple[str, Status], str] = {}

    # ------------------------------------------------------------------ from now on

    def accepts(self, *, after_h: float = 0) -> None:
        """Say of everything that arrived, after so many hours, that it was accepted."""
        self._plan = [*(each for each in self._plan if each[0] is not Status.ACCEPTED), (Status.ACCEPTED, after_h)]

    def ships(self, *, after_h: float = 4, accepts_after_h: float | None = 1) -> None:
        """Accept, then ship in one parcel; ``None`` says nothing before it ships."""
        self._plan = [] if accepts_after_h is None else [(Status.ACCEPTED, accepts_after_h)]
        self._plan.append((Status.SHIPPED, after_h))

    def ships_short(self, sku: str, units: int) -> None:
        """Of *sku* (ours) only so many units of an order are shipped; the rest is said to be missing."""
        self._short[sku] = units

    def rejects(self, sku: str, message: str = "not in our range") -> None:
        """Answer an order that has *sku* (ours) in it with an error."""
        self._rejected[sku] = message

    def is_silent(self) -> None:
        """Say nothing more by itself."""
        self._plan.clear()

    # ------------------------------------------------------------------ once

    def says(self, status: Status | str, *fulfilment_ids: str, **fields: Any) -> str:
        """
        A status file of so many fulfilment orders, at once; the name it got.

        Args:
            fields: Of `StatusUpdate`, such as ``message="out of stock"``.
        """
        found = {view.fulfilment_id: (order, view) for order, view in self._views()}
        wanted = [found[each] for each in fulfilment_ids]
        updates = [self._update(order, view, Status(status), **fields) for order, view in wanted]
        return self._write(self._status_feed(), updates)

    def stocks(self, levels: Mapping[str, int]) -> str:
        """
        A stock file with so many units of each SKU (ours) at each of the partner's locations; the name it got.
        """
        feed = self.partner.stock
        if feed is None:
            raise ValueError(f"partner {self.partner.code} has no stock feed")
        places = self._rehearsal.config.locations_of(self.partner.code)
        values = [
            StockLevel(location=place.partner_code or place.code, sku=sku, on_hand=units, as_of=self._now)
            for place in places
            for sku, units in self._in_their_codes(levels).items()
        ]
        return self._write(feed, values)

    def lays(self, kind: str, content: bytes, name: str | None = None) -> str:
        """Any bytes as a file of the feed *kind* (``status``, ``stock``): a sample of the real partner, or nonsense."""
        feed = next((feed for feed in self.partner.feeds if feed.kind == kind), None)
        if feed is None:
            raise ValueError(f"partner {self.partner.code} has no {kind} feed")
        return self._lay(feed, content, name, None)

    def again(self, name: str) -> str:
        """Lay a file that crossed before once more, as partners do that send yesterday's folder again."""
        old = next(each for each in reversed(self._rehearsal.exchanged) if each.name == name and each.direction == "in")
        return self.lays(old.feed, old.content, name)

    # ------------------------------------------------------------------ its work

    def work(self) -> None:
        """What is due by now is said, in one file."""
        if not self._plan:
            return
        updates = [update for order, view in self._views() for update in self._due(order, view)]
        if updates:
            self._write(self._status_feed(), updates)

    def _views(self) -> Iterator[tuple[OrderView, FulfilmentView]]:
        for order in self._rehearsal.orders():
            for view in order.fulfilments:
                if view.partner == self.partner.code:
                    yield order, view

    def _due(self, order: OrderView, view: FulfilmentView) -> Iterator[StatusUpdate]:
        if view.state not in _AT_WORK or view.fulfilment_id not in self._since:
            return
        age_h = (self._now - self._since[view.fulfilment_id]) / timedelta(hours=1)
        said = self._said.setdefault(view.fulfilment_id, set())
        if Status.ERROR in said:
            return
        rejected = next((self._rejected[line.sku] for line in view.lines if line.sku in self._rejected), None)
        for status, after_h in self._plan:
            if age_h >= after_h and status not in said:
                said.add(status)
                if rejected is not None:
                    said.add(Status.ERROR)
                    yield self._update(order, view, Status.ERROR, message=rejected)
                    return
                yield self._update(order, view, status)

    def _update(self, order: OrderView, view: FulfilmentView, status: Status, **fields: Any) -> StatusUpdate:
        shipped = self._shipped(order, view) if status in (Status.SHIPPED, Status.PART_SHIPPED) else {}
        if shipped.get("lines"):
            status = Status.PART_SHIPPED
        told = {"reference": self._reference(order, view), "status": status, "at": self._now, **shipped, **fields}
        return StatusUpdate(**told, raw_status=self._word(StatusUpdate(**told)))

    def _shipped(self, order: OrderView, view: FulfilmentView) -> dict[str, Any]:
        """A parcel; with lines only where some units are missing."""
        sent = shipping_order(self._rehearsal.sync._context, self.partner, order, view).lines
        tracking = "T" + re.sub(r"\W", "", view.fulfilment_id)
        parcel = Shipment(tracking_numbers=(tracking,), shipped_at=self._now)
        if not any(line.sku in self._short and self._short[line.sku] < line.quantity for line in sent):
            return {"shipments": (parcel,)}
        lines = []
        for line in sent:
            units = min(line.quantity, self._short.get(line.sku, line.quantity))
            sku = line.partner_sku or line.sku
            lines.append(StatusLine(line_id=line.line_id, sku=sku, shipped=units, short=line.quantity - units))
        return {"shipments": (evolve(parcel, lines=tuple(lines)),), "lines": tuple(lines)}

    def _reference(self, order: OrderView, view: FulfilmentView) -> str:
        match self._status_feed().matches:
            case "order_id":
                return order.order_id
            case "reference":
                return order.order.reference or ""
            case "delivery":
                rows = self._rehearsal.sync.outbox(partner=self.partner.code)
                return str(next(row.number for row in rows if view.fulfilment_id in row.fulfilment_ids))
            case _:
                return view.fulfilment_id

    def _status_feed(self) -> Feed:
        feed = self.partner.status or self.partner.acknowledgement
        if feed is None:
            raise ValueError(f"partner {self.partner.code} has no status feed")
        return feed

    def _word(self, update: StatusUpdate) -> str | None:
        """The partner's word for a status: the first that its layout writes and that is read back as that status."""
        status = update.status
        assert status is not None
        layout = self._rehearsal.config.layout(self._status_feed())
        key = (layout.hash, status)
        if key not in self._words:
            self._words[key] = self._found_word(layout, update, status)
        return self._words[key]

    def _found_word(self, layout: Layout, update: StatusUpdate, status: Status) -> str:
        words = self.partner.status_words
        own = [word for word in words if resolve_status(word, words) is status]
        usual = [word.upper() for word, meaning in ANCESTOR_WORDS.items() if meaning is status]
        for word in (*own, *usual, status.value):
            try:
                payload = layout.encode([evolve(update, raw_status=word)])
                read = layout.read(payload)[0]
            except FormatError:
                continue
            if all((each.value.status or resolve_status(each.value.raw_status, words)) is status for each in read):
                return word
        raise ValueError(f"partner {self.partner.code} has no word for {status.value} that layout {layout.name} writes")

    def _in_their_codes(self, levels: Mapping[str, int]) -> dict[str, int]:
        found: dict[str, int] = {}
        for sku, units in levels.items():
            alias = self.partner.alias(sku)
            parts = {sku: 1} if alias is None else alias.parts
            for part, count in parts.items():
                found[part] = max(found.get(part, 0), units * count // (1 if alias is None else alias.pack))
        return found

    # ------------------------------------------------------------------ files

    @property
    def _now(self) -> datetime:
        return self._rehearsal.clock.now

    def _write(self, feed: Feed, values: Sequence[Any]) -> str:
        layout = self._rehearsal.config.layout(feed)
        return self._lay(feed, layout.encode(values), None, layout)

    def _lay(self, feed: Feed, content: bytes, name: str | None, layout: Layout | None) -> str:
        if not feed.is_polled:
            raise ValueError(f"partner {self.partner.code} pushes its {feed.kind} feed: hand it to sync.receive_push")
        name = name or self._next_name(feed, layout)
        self.lying[feed.kind.value, name] = _Lying(feed, name, content, self._now)
        self._note("in", feed.kind.value, name, content, layout)
        return name

    def _next_name(self, feed: Feed, layout: Layout | None) -> str:
        """One that the feed matches, and that was not there before unless it must be."""
        number = self._numbers[feed.kind.value] = self._numbers.get(feed.kind.value, 0) + 1
        extension = "txt" if layout is None else layout.extension
        usual = f"{feed.kind.value}-{number:04}.{extension}"
        made = feed.match.replace("*", f"{number:04}").replace("?", "1") if feed.match != "*" else usual
        if not fnmatch.fnmatchcase(made, feed.match):
            raise ValueError(f"give a name that {feed.match!r} matches: {made!r} does not")
        return made

    def _note(self, direction: str, feed: str, name: str, content: bytes, layout: Layout | None) -> None:
        self._rehearsal.exchanged.append(
            Exchanged(
                direction=direction,
                partner=self.partner.code,
                feed=feed,
                name=name,
                content=content,
                at=self._now,
                layout=layout,
            )
        )

    def take(self, delivery: Delivery) -> None:
        """What arrives."""
        self.arrived[delivery.name] = delivery
        for each in delivery.fulfilment_ids:
            self._since[each] = self._now
        is_orders = delivery.feed.kind == "orders" and bool(delivery.fulfilment_ids)
        layout = self._rehearsal.config.layout(delivery.feed) if is_orders else None
        self._note("out", "orders" if is_orders else "reply", delivery.name, delivery.content, layout)


@define(eq=False)
class _RehearsedTransport:
    """The way in to a rehearsed partner."""

    _partner: RehearsedPartner

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(atomic_publish=True, verifies_size=True, looks_up=True, lists=True, settles=True)

    def _reached(self) -> RehearsedPartner:
        if self._partner.is_down:
            raise TransportUnavailableError(f"partner {self._partner.partner.code} is down")
        return self._partner

    def send(self, delivery: Delivery) -> Receipt:
        partner = self._reached()
        delivery.publishing()
        partner.take(delivery)
        return Receipt(name=delivery.name, size=delivery.size)

    def look_up(self, delivery: Delivery) -> Presence:
        there = self._reached().arrived.get(delivery.name)
        return Presence.PRESENT if there is not None and there.key == delivery.key else Presence.ABSENT

    def list(self, feed: Feed, query: Query) -> Iterator[Offer]:
        lying = [each for (kind, _), each in self._reached().lying.items() if kind == feed.kind.value]
        found = [each for each in lying if fnmatch.fnmatchcase(each.name, feed.match)]
        return iter([_offer(feed, each) for each in found][: query.max_files])

    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        lying = self._reached().lying[offer.feed.kind.value, offer.name]
        sink.write(lying.content)
        return Fetched(size=len(lying.content), sha256=hashlib.sha256(lying.content).hexdigest())

    def settle(self, offer: Offer, outcome: Outcome) -> None:
        if offer.feed.after != "leave" or outcome is Outcome.REFUSED:
            self._reached().lying.pop((offer.feed.kind.value, offer.name), None)

    def check(self) -> Sequence[Finding]:
        return [Finding(level="ok", message="rehearsed")]

    def close(self) -> None:
        """Nothing to let go of."""


def _offer(feed: Feed, lying: _Lying) -> Offer:
    token = json.dumps([feed.kind.value, lying.name, lying.at.isoformat()])
    return Offer(feed=feed, name=lying.name, size=len(lying.content), modified_at=lying.at, token=token)
