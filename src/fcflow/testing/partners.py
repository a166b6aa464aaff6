"""
A partner in memory, and a small world of them, for tests of a host's own rules and of fcflow itself.

The partner's side is played by hand: what arrived is parsed by other code than fcflow's, what is answered is written as
a partner would write it.
"""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, evolve, field

from fcflow.behaviour import Lately
from fcflow.formats import Layout, load_layout
from fcflow.model import Connection, Feed, FeedKind, Location, Order, OrderLine, Partner, PartnerLimits, StockPolicy
from fcflow.rules import Condition, RuleSet, load_rules
from fcflow.store import Store
from fcflow.synchronizer import Synchronizer
from fcflow.transports.memory import MemoryPartner

__all__ = ["Clock", "SimulatedPartner", "World", "order"]

_ORDERS = load_layout(
    {
        "fcflow": "layout/1",
        "name": "simulated-orders",
        "kind": "orders",
        "codec": {"type": "delimited", "delimiter": ";", "header": True},
        "fields": [
            {"at": "id", "field": "fulfilment_id", "required": True},
            {"at": "order", "field": "order_id"},
            {"at": "line", "field": "line.line_id"},
            {"at": "sku", "field": "line.partner_sku"},
            {"at": "quantity", "field": "line.quantity"},
            {"at": "service", "field": "shipping_service"},
        ],
    }
)
_STATUS = load_layout(
    {
        "fcflow": "layout/1",
        "name": "simulated-status",
        "kind": "status",
        "codec": {"type": "delimited", "delimiter": ";", "header": True},
        "fields": [
            {"at": "id", "field": "reference", "required": True},
            {"at": "status", "field": "status"},
            {"at": "tracking", "field": "tracking_numbers"},
            {"at": "service", "field": "service"},
            {"at": "error", "field": "message"},
            {"at": "sku", "field": "line.sku"},
            {"at": "shipped", "field": "line.shipped"},
            {"at": "cancelled", "field": "line.cancelled"},
        ],
    }
)
_STOCK = load_layout(
    {
        "fcflow": "layout/1",
        "name": "simulated-stock",
        "kind": "stock",
        "codec": {"type": "delimited", "delimiter": ";", "header": True},
        "fields": [
            {"at": "sku", "field": "sku", "required": True},
            {"at": "quantity", "field": "on_hand", "required": True},
        ],
    }
)
LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in (_ORDERS, _STATUS, _STOCK)}


class Clock:
    """
    A clock that stands still until it is told to go on.

    Example:
        >>> clock = Clock()
        >>> clock.advance(minutes=5) - clock.began
        datetime.timedelta(seconds=300)
    """

    def __init__(self, began: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)) -> None:
        self.began = began
        self.now = began

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> datetime:
        """Go on by so many ``seconds``, ``minutes``, ``hours`` or ``days``."""
        self.now += timedelta(**by)
        return self.now


@define
class SimulatedPartner:
    """
    The partner's side: orders arrive in ``in``, statuses lie in ``status``, stock in ``stock``.

    Example:
        >>> leeds = SimulatedPartner("leeds")
        >>> leeds.answer([{"id": "A1", "status": "SHIPPED", "tracking": "T1"}])
        'status-1.csv'
    """

    code: str
    clock: Clock = field(factory=Clock)
    server: MemoryPartner = field(init=False)
    answers: int = 0

    def __attrs_post_init__(self) -> None:
        self.server = MemoryPartner.named(f"{self.code}-{uuid.uuid4().hex}")

    def arrived(self) -> list[dict[str, str]]:
        """Every row of every order file that lies there."""
        return [row for _, rows in sorted(self.files().items()) for row in rows]

    def files(self) -> dict[str, list[dict[str, str]]]:
        """The rows of each finished order file, by its name."""
        return {
            name: list(csv.DictReader(io.StringIO(content.decode("utf-8")), delimiter=";"))
            for name, content in self.server.files("in").items()
            if not name.endswith(".part")
        }

    def collect(self) -> list[dict[str, str]]:
        """Take what arrived away, as partners do."""
        rows = self.arrived()
        for name in self.files():
            self.server.take(f"in/{name}")
        return rows

    def answer(self, rows: Iterable[Mapping[str, Any]], name: str | None = None) -> str:
        """Leave a status file; keys are ``id status tracking service error sku shipped cancelled``."""
        self.answers += 1
        name = name or f"status-{self.answers}.csv"
        columns = ["id", "status", "tracking", "service", "error", "sku", "shipped", "cancelled"]
        self.put(f"status/{name}", _table(columns, rows))
        return name

    def say(self, status: str, *references: str, **columns: Any) -> str:
        """Leave a status file that says *status* of each reference."""
        return self.answer([{"id": each, "status": status, **columns} for each in references])

    def stock(self, levels: Mapping[str, int | str], name: str = "stock.csv") -> None:
        """Leave a stock file."""
        rows = [{"sku": sku, "quantity": units} for sku, units in levels.items()]
        self.put(f"stock/{name}", _table(["sku", "quantity"], rows))

    def put(self, path: str, content: bytes) -> None:
        """Leave any file, with the clock's time."""
        self.server.put(path, content, self.clock.now)

    def partner(self, **changes: Any) -> Partner:
        """How fcflow sees it."""
        made = Partner(
            code=self.code,
            connections={"default": Connection(url=f"memory://{self.server.name}")},
            orders=Feed(kind=FeedKind.ORDERS, partner=self.code, layout="simulated-orders", path="in"),
            status=Feed(kind=FeedKind.STATUS, partner=self.code, layout="simulated-status", path="status"),
            stock=Feed(kind=FeedKind.STOCK, partner=self.code, layout="simulated-stock", path="stock"),
            limits=PartnerLimits(backoff_s=0),
        )
        return evolve(made, **changes)


def _table(columns: list[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, delimiter=";", restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def order(order_id: str = "A1", *, payment: str = "paid", **skus: int) -> Order:
    """
    A paid order of so many units of each SKU.

    Example:
        >>> [(line.sku, line.quantity) for line in order("A1", MUG=2, CUP=1).lines]
        [('MUG', 2), ('CUP', 1)]
    """
    lines = [OrderLine(line_id=str(n), sku=sku, quantity=units) for n, (sku, units) in enumerate(skus.items(), 1)]
    return Order(order_id=order_id, reference=f"#{order_id}", payment=payment, lines=lines)


class World:
    """
    Partners in memory, a store, a clock, and the synchronizer between them.

    Args:
        places: Codes of the partners, each with one location of the same code.

        rules: ``None`` sends every order to the first of *places* that has it all.

        store: A URL, or what opens one.

    Example:
        >>> with World("leeds") as world:
        ...     world.sync.add_orders([order("A1", MUG=1)]).added
        ...     world.run().partners["leeds"].sent
        ...     world.partners["leeds"].say("SHIPPED", "A1")
        ...     world.run().partners["leeds"].shipped
        ('A1',)
        ['A1']
        'status-1.csv'
        ['A1']
    """

    def __init__(
        self,
        *places: str,
        rules: RuleSet | Mapping[str, Any] | None = None,
        store: str | Callable[[], Store] = "sqlite://",
        tracked: bool = False,
        policies: Mapping[str, StockPolicy] | None = None,
        changes: Mapping[str, Mapping[str, Any]] | None = None,
        own: Iterable[Location] = (),
        ready: Condition | None = None,
        lately: Lately | None = None,
    ) -> None:
        self.clock = Clock()
        self.partners = {code: SimulatedPartner(code, self.clock) for code in places}
        self._store = store
        self._rules = rules if isinstance(rules, RuleSet) else load_rules(rules or all_to(*places))
        self._policies = dict(policies or {})
        self._tracked = tracked
        self._changes = dict(changes or {})
        self._own = tuple(own)
        self._ready = ready
        self._lately = lately
        self.sync = self.restarted()

    def restarted(self) -> Synchronizer:
        """A new synchronizer over the same store and partners, as after a restart."""
        self.sync = Synchronizer(
            store=self._opened(),
            rules=self._rules,
            locations=[*(self._location(code) for code in self.partners), *self._own],
            partners=[each.partner(**self._changes.get(code, {})) for code, each in self.partners.items()],
            layouts=LAYOUTS,
            ready=self._ready,
            lately=self._lately,
            clock=self.clock,
        )
        return self.sync

    def _opened(self) -> Store:
        """The store anew; one in memory lives as long as its object."""
        if callable(self._store):
            return self._store()
        kept = hasattr(self, "sync") and "///" not in self._store
        return self.sync.store if kept else Store.open(self._store)

    def _location(self, code: str) -> Location:
        policy = self._policies.get(code, StockPolicy(tracked=self._tracked))
        return Location(code=code, kind="fulfilment_centre", partner=code, stock=policy)

    def run(self, **by: float) -> Any:
        """Let time go on (a minute, where nothing is said), then run everything once."""
        self.clock.advance(**(by or {"minutes": 1}))
        return self.sync.run()

    def state(self, order_id: str) -> str:
        """The state of an order."""
        return self.sync.order(order_id).state.value

    def states(self, order_id: str) -> dict[str, str]:
        """The states of an order's fulfilment orders, by id."""
        return {view.fulfilment_id: view.state.value for view in self.sync.order(order_id).fulfilments}

    def said(self, order_id: str, type: str | None = None) -> list[str]:  # the event's own word
        """The audit trail of an order, as types or, of one type, as messages."""
        events = self.sync.audit(order_id=order_id, type=type)
        return [event.message if type else event.type.value for event in events]

    def __enter__(self) -> World:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sync.close()


def all_to(*places: str, split: str = "never", strategy: str = "in_order") -> dict[str, Any]:
    """A rule set of one rule: every order to the first of *places* that has it all."""
    allocate = {"to": list(places), "split": split, "strategy": strategy}
    rule = {"id": "all", "when": True, "then": [{"allocate": allocate}]}
    return {"fcflow": "ruleset/1", "name": "all", "rules": [rule] if places else []}
