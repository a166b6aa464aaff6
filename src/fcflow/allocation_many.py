"""
Many orders that compete for the same stock: who comes first, and what is left for the next.

`allocate_many` routes orders one after the other in a documented order; what one was given is reserved, so that the
next sees what is left. It changes nothing that it was given, and its answer does not depend on how they were sorted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from attrs import field, frozen

from fcflow.allocation import Decides, Placement, Routing, StrategyType, route
from fcflow.errors import AllocationError
from fcflow.model import Location, Order, View

__all__ = ["Priority", "Reserving", "allocate_many", "in_turn", "turn"]

_WHOLE: Mapping[str, Mapping[str, int]] = MappingProxyType({})
_NEVER = datetime.max.replace(tzinfo=UTC)

Turn = tuple[int, float, datetime, datetime, str]
"""What orders are sorted by; the smallest is served first."""


def _words(value: Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@frozen(kw_only=True)
class Priority:
    """
    Which order is served first where there is not enough for all.

    First by *tags*, then by the number in *property*, then by the instant by which it must be dispatched, then by age,
    then by id.

    Args:
        tags: The first of them that an order bears gives its rank; orders that bear none come last.

        property: Name of the order's property that holds a number, the greatest first; absent or no number is 0.

    Example:
        >>> vip = Order(order_id="B", lines=(), tags={"vip"})
        >>> late = Order(order_id="C", lines=(), dispatch_by=datetime(2026, 3, 2, tzinfo=UTC))
        >>> urgent = Order(order_id="D", lines=(), properties={"priority": "5"})
        >>> served = in_turn([Order(order_id="A", lines=()), late, urgent, vip], Priority(tags="vip"))
        >>> [order.order_id for order in served]
        ['B', 'D', 'C', 'A']
    """

    tags: tuple[str, ...] = field(default=(), converter=_words)
    property: str = "priority"

    def rank(self, order: Order) -> tuple[int, float]:
        """Smaller is sooner."""
        tagged = next((place for place, tag in enumerate(self.tags) if tag in order.tags), len(self.tags))
        return tagged, -_number(order.properties.get(self.property))


def _number(text: str | None) -> float:
    try:
        value = float(text) if text is not None else 0.0
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


_USUAL = Priority()


def turn(order: Order, priority: Priority = _USUAL, *, added_at: datetime | None = None) -> Turn:
    """
    What orders are sorted by to be served; distinct for distinct ids.

    Args:
        added_at: Stands in where nobody knows when the order was received; without either the order comes last among
            its equals.
    """
    tagged, number = priority.rank(order)
    return tagged, number, order.dispatch_by or _NEVER, order.received_at or added_at or _NEVER, order.order_id


def in_turn(orders: Iterable[Order], priority: Priority = _USUAL) -> list[Order]:
    """*orders* in the order in which they are served."""
    return sorted(orders, key=lambda order: turn(order, priority))


class Reserving:
    """
    A view over another one, on which what was routed is reserved; the one beneath is left as it is.

    Example:
        >>> from fcflow.model import FulfilmentLine
        >>> from fcflow.allocation import Placement
        >>> from fcflow.stock import Picture, StockView
        >>> now = datetime(2026, 3, 2, 12, tzinfo=UTC)
        >>> mugs = Picture(location="leeds", sku="MUG", on_hand=5, as_of=now, received_at=now)
        >>> view = Reserving(StockView({"leeds": Location(code="leeds")}, [mugs], now=now))
        >>> view.reserve([Placement("leeds", (FulfilmentLine(line_id="1", sku="MUG", quantity=2),))])
        >>> view.allocatable("leeds", "MUG"), view.orders_today("leeds")
        (3, 1)
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._units: Counter[tuple[str, str]] = Counter()
        self._orders: Counter[str] = Counter()

    @property
    def locations(self) -> Mapping[str, Location]:
        """By code."""
        return self._view.locations

    def allocatable(self, location: str, sku: str) -> int | None:
        """Units that may be promised, less what is reserved; ``None`` where the location never runs short."""
        free = self._view.allocatable(location, sku)
        return None if free is None else max(0, free - self._units[location, sku])

    def stock_as_of(self, location: str, sku: str) -> datetime | None:
        """When the location's picture of *sku* was taken."""
        return self._view.stock_as_of(location, sku)

    def orders_today(self, location: str) -> int:
        """Orders that count against the location's capacity, those reserved here among them."""
        return self._view.orders_today(location) + self._orders[location]

    def excluded(self, order_id: str) -> frozenset[str]:
        """Locations this order must not go to."""
        return self._view.excluded(order_id)

    def reserve(self, placements: Iterable[Placement]) -> None:
        """Count what an order was given."""
        for placement in placements:
            self._orders[placement.location] += 1
            for line in placement.lines:
                self._units[placement.location, line.sku] += line.quantity


def allocate_many(
    orders: Iterable[Order],
    rules: Decides,
    view: View,
    now: datetime,
    *,
    priority: Priority = _USUAL,
    lines: Mapping[str, Mapping[str, int]] = _WHOLE,
    strategies: Mapping[str, StrategyType] | None = None,
) -> list[Routing]:
    """
    Route *orders* one after the other; what one is given is not there for the next.

    Args:
        orders: In any order; it makes no difference.

        view: Left as it is.

        priority: Who is served first.

        lines: Order id to line to units still to be placed; an absent order has all of its units to place.

        strategies: As in `route`.

    Returns:
        One routing an order, in the order in which they were served.

    Raises:
        AllocationError: Two orders have the same id, or as in `route`.

    Example:
        >>> from fcflow.model import OrderLine
        >>> from fcflow.rules import load_rules
        >>> from fcflow.stock import Picture, StockView
        >>> rules = load_rules({"fcflow": "ruleset/1", "rules": [
        ...     {"id": "all", "when": True, "then": [{"allocate": {"to": ["leeds"]}}]}]})
        >>> now = datetime(2026, 3, 2, 12, tzinfo=UTC)
        >>> mug = Picture(location="leeds", sku="MUG", on_hand=1, as_of=now, received_at=now)
        >>> view = StockView({"leeds": Location(code="leeds")}, [mug], now=now)
        >>> one = [OrderLine(sku="MUG", quantity=1)]
        >>> orders = [Order(order_id="A1", lines=one), Order(order_id="A2", lines=one, tags={"vip"})]
        >>> for routing in allocate_many(orders, rules, view, now, priority=Priority(tags=("vip",))):
        ...     print(routing.order_id, routing.action, routing.reason)
        A2 allocate None
        A1 keep None
    """
    served = in_turn(orders, priority)
    _refuse_twins(served)
    left = Reserving(view)
    routings = []
    for order in served:
        routing = route(order, rules, left, now, lines=lines.get(order.order_id), strategies=strategies)
        left.reserve(routing.placements)
        routings.append(routing)
    return routings


def _refuse_twins(orders: Iterable[Order]) -> None:
    counts = Counter(order.order_id for order in orders)
    twins = sorted(order_id for order_id, count in counts.items() if count > 1)
    if twins:
        raise AllocationError(f"orders: expected each id once, got {', '.join(twins)} more than once")
