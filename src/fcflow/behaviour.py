"""
How locations behave, measured: how often they refuse, err or are late, and how long they take.

A pure function of what became of the fulfilment orders that were sent to them; nothing here knows a clock or a store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from fractions import Fraction
from statistics import median

from attrs import field as attrs_field
from attrs import frozen, validators

__all__ = ["Behaviour", "Handled", "Lately", "behaviour"]


@frozen(kw_only=True)
class Handled:
    """
    What became of one fulfilment order that was sent.

    Args:
        shipped_at: When the first parcel left; ``None`` where none did, or nobody said when.

        dispatch_by: When it had to leave at the latest; ``None`` where it could take its time.

        rejected: Whether the location cancelled units of it, or was short of them, unasked.

        erred: Whether it ever reported an error with it.
    """

    location: str
    sent_at: datetime
    shipped_at: datetime | None = None
    dispatch_by: datetime | None = None
    rejected: bool = False
    erred: bool = False


@frozen(kw_only=True)
class Behaviour:
    """
    How one location behaved.

    Args:
        orders: Fulfilment orders that it was sent.

        shipped: Of these, known when.

        rejected: Of these, refused in whole or in part.

        erred: Of these, with an error reported.

        due: Of these, that had to leave by now or have left, and had an instant to leave by.

        late: Of those due, that left later or have not left yet.

        median_hours: From sent to shipped; ``None`` where nothing was shipped.
    """

    location: str
    orders: int
    shipped: int
    rejected: int
    erred: int
    due: int
    late: int
    median_hours: float | None

    @property
    def reject_rate(self) -> float:
        """Share of its orders that it refused in whole or in part."""
        return self.rejected / self.orders

    @property
    def error_rate(self) -> float:
        """Share of its orders with an error."""
        return self.erred / self.orders

    @property
    def late_rate(self) -> float | None:
        """Share of the due ones that were late; ``None`` where none was due."""
        return self.late / self.due if self.due else None

    def measures(self, least_orders: int) -> dict[str, Fraction]:
        """
        What rules may ask for, exactly; a measure of fewer than *least_orders* is left out.

        Example:
            >>> leeds = Behaviour(
            ...     location="leeds", orders=40, shipped=30, rejected=4, erred=0, due=10, late=1, median_hours=6.5)
            >>> leeds.measures(least_orders=20)
            {'reject_rate': Fraction(1, 10), 'error_rate': Fraction(0, 1), 'median_hours': Fraction(13, 2)}
        """
        counted: dict[str, tuple[int, float, int]] = {
            "reject_rate": (self.orders, self.rejected, self.orders),
            "error_rate": (self.orders, self.erred, self.orders),
            "late_rate": (self.due, self.late, self.due),
            "median_hours": (self.shipped, self.median_hours or 0, 1),
        }
        return {
            name: Fraction(value) / of for name, (size, value, of) in counted.items() if size >= max(1, least_orders)
        }


@frozen(kw_only=True)
class Lately:
    """
    What counts when a rule asks how a location behaves.

    Args:
        days: How far back.

        least_orders: With fewer of them a measure is unknown.
    """

    days: int = attrs_field(default=30, validator=validators.ge(1))
    least_orders: int = attrs_field(default=20, validator=validators.ge(1))


def behaviour(handled: Iterable[Handled], *, now: datetime) -> dict[str, Behaviour]:
    """
    How each location behaved that was sent anything, by its code.

    Args:
        now: What has not left by its time counts as late from then on.

    Example:
        >>> from datetime import UTC
        >>> at = lambda hour: datetime(2026, 3, 2, hour, tzinfo=UTC)
        >>> told = [
        ...     Handled(location="leeds", sent_at=at(8), shipped_at=at(12), dispatch_by=at(11)),
        ...     Handled(location="leeds", sent_at=at(8), shipped_at=at(10), dispatch_by=at(11)),
        ...     Handled(location="leeds", sent_at=at(9), rejected=True),
        ... ]
        >>> leeds = behaviour(told, now=at(18))["leeds"]
        >>> leeds.median_hours, leeds.late_rate, round(leeds.reject_rate, 2)
        (3.0, 0.5, 0.33)
    """
    by_location: dict[str, list[Handled]] = defaultdict(list)
    for each in handled:
        by_location[each.location].append(each)
    return {code: _of(code, by_location[code], now) for code in sorted(by_location)}


def _of(location: str, handled: list[Handled], now: datetime) -> Behaviour:
    hours = [(each.shipped_at - each.sent_at).total_seconds() / 3600 for each in handled if each.shipped_at]
    lateness = [late for each in handled if (late := _is_late(each, now)) is not None]
    return Behaviour(
        location=location,
        orders=len(handled),
        shipped=len(hours),
        rejected=sum(each.rejected for each in handled),
        erred=sum(each.erred for each in handled),
        due=len(lateness),
        late=sum(lateness),
        median_hours=median(hours) if hours else None,
    )


def _is_late(handled: Handled, now: datetime) -> bool | None:
    """``None`` where it need not have left yet, or was refused as a whole."""
    if handled.dispatch_by is None or (handled.shipped_at is None and handled.rejected):
        return None
    if handled.shipped_at is not None:
        return handled.shipped_at > handled.dispatch_by
    return True if now > handled.dispatch_by else None
