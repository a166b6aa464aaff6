"""
A simulated partner's own books: what it was sent, what it did with it, and what is left on its shelves.

Nothing here knows fcflow. What the partner does with an order hangs on its seed and the order's reference alone, so a
day can be run again. At the end the seller's books are compared with these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random

from attrs import define, field, frozen

__all__ = ["FATES", "Booked", "Books", "Parcel", "Report"]

FATES: Mapping[str, float] = {"part": 0.10, "cancel": 0.05, "error": 0.04, "stuck": 0.01}
"""What happens to an order, and how often; the rest is shipped whole."""


@frozen(kw_only=True)
class Parcel:
    """What left in one box: units by the partner's own SKU."""

    tracking: str
    contents: Mapping[str, int]


@frozen(kw_only=True)
class Report:
    """
    One thing that a partner says of one order.

    Args:
        word: ``accepted``, ``part``, ``shipped``, ``cancelled`` or ``error``; how it is spelt is the partner's dialect.

        shipped: Units so far, by the partner's own SKU.
    """

    reference: str
    word: str
    parcel: Parcel | None = None
    shipped: Mapping[str, int] = field(factory=dict)
    message: str = ""


@define(kw_only=True)
class Booked:
    """
    An order in the partner's books.

    Args:
        arrivals: How often it was sent to us; more than once is a fault of the sender.
    """

    reference: str
    lines: dict[str, int]
    fate: str
    arrivals: int = 1
    steps: int = 0
    parcels: list[Parcel] = field(factory=list)
    is_cancelled: bool = False
    problem: str = ""
    last: Report | None = None

    @property
    def shipped(self) -> dict[str, int]:
        """Units so far, by the partner's own SKU."""
        return dict(sum((Counter(parcel.contents) for parcel in self.parcels), Counter[str]()))

    @property
    def is_open(self) -> bool:
        """Whether there is still something to do."""
        return not self.is_cancelled and self.shipped != self.lines


class Books:
    """
    The books of one partner.

    Args:
        stock: Units on the shelves by the partner's own SKU.

        falls: ``received`` where a level falls when an order arrives, ``shipped`` where it falls when a parcel leaves.

        fates: What happens to an order to how often it does.
    """

    def __init__(
        self, code: str, *, seed: int, stock: Mapping[str, int], falls: str, fates: Mapping[str, float] = FATES
    ) -> None:
        self.code = code
        self.opening = dict(stock)
        self.orders: dict[str, Booked] = {}
        self.oversold: list[str] = []
        self._seed = seed
        self._falls = falls
        self._fates = fates

    def receive(self, reference: str, lines: Mapping[str, int]) -> Booked:
        """Write an order into the books; one that is there already is counted and changes nothing."""
        if reference in self.orders:
            self.orders[reference].arrivals += 1
            return self.orders[reference]
        booked = Booked(reference=reference, lines=dict(lines), fate=self._fate(reference, sum(lines.values())))
        self.orders[reference] = booked
        if any(self.promised(sku) > self.opening.get(sku, 0) for sku in lines):
            self.oversold.append(reference)
        return booked

    def promised(self, sku: str) -> int:
        """Units of all orders that were not cancelled."""
        return sum(booked.lines.get(sku, 0) for booked in self.orders.values() if not booked.is_cancelled)

    def level(self, sku: str) -> int:
        """What the partner says is there."""
        gone = sum(booked.shipped.get(sku, 0) for booked in self.orders.values())
        return self.opening[sku] - (self.promised(sku) if self._falls == "received" else gone)

    def levels(self) -> dict[str, int]:
        """What the partner says is there, by its own SKU."""
        return {sku: self.level(sku) for sku in self.opening}

    def work(self) -> Iterator[Report]:
        """Do one step of every order that is not done, and say what there is to say."""
        for booked in self.orders.values():
            if booked.is_open:
                booked.steps += 1
                booked.last = self._step(booked)
                if booked.last is not None:
                    yield booked.last

    def _fate(self, reference: str, units: int) -> str:
        chance = Random(f"{self._seed}:{self.code}:{reference}").random()  # noqa: S311  # invented events
        fate = "ship"
        for name, share in self._fates.items():
            if 0 <= chance < share:
                fate = name
            chance -= share
        if fate == "part" and units < 2:
            return "ship"
        # A second try of an order is not cancelled again, so that the day comes to an end.
        return "ship" if fate == "cancel" and "-" in reference else fate

    def _step(self, booked: Booked) -> Report | None:
        if booked.fate == "stuck":
            booked.problem = "address not found by the carrier"
            return self._said(booked, "error", message=booked.problem) if booked.steps == 1 else None
        if booked.fate == "error" and booked.steps == 1:
            booked.problem = "house number is missing, asking the customer"
            return self._said(booked, "error", message=booked.problem)
        booked.problem = ""
        if booked.fate == "cancel":
            booked.is_cancelled = True
            return self._said(booked, "cancelled", message="damaged on the shelf")
        if booked.fate == "ship" and booked.steps == 1 and self._takes_its_time(booked):
            return self._said(booked, "accepted")
        return self._shipped(booked)

    def _takes_its_time(self, booked: Booked) -> bool:
        return Random(f"{self._seed}:slow:{booked.reference}").random() < 0.3  # noqa: S311  # invented events

    def _shipped(self, booked: Booked) -> Report:
        rest = Counter(booked.lines) - Counter(booked.shipped)
        is_part = booked.fate == "part" and not booked.parcels
        contents = _half(rest) if is_part else dict(rest)
        parcel = Parcel(tracking=self._tracking(booked), contents=contents)
        booked.parcels.append(parcel)
        return self._said(booked, "part" if is_part else "shipped", parcel=parcel)

    def _tracking(self, booked: Booked) -> str:
        number = Random(f"{self._seed}:{self.code}:{booked.reference}:{len(booked.parcels)}")  # noqa: S311
        return f"{self.code[:2].upper()}{number.randrange(10**9):09}GB"

    def _said(self, booked: Booked, word: str, parcel: Parcel | None = None, message: str = "") -> Report:
        return Report(reference=booked.reference, word=word, parcel=parcel, shipped=booked.shipped, message=message)


def _half(units: Mapping[str, int]) -> dict[str, int]:
    """Some of the units, never all of them and never none."""
    wanted = sum(units.values()) // 2
    half: dict[str, int] = {}
    for sku, count in units.items():
        taken = min(count, wanted)
        wanted -= taken
        if taken:
            half[sku] = taken
    return half
