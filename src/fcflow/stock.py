"""
What may be sold, and what may be promised, from pictures that are always a little old.

A `Picture` is what a location said of one SKU at one instant. `StockView` lays our own demand and shipments over the
pictures; `merge_levels` turns a partner's file into new pictures. Nothing here knows a clock: *now* is handed in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from attrs import Attribute, evolve, field, frozen, validators

from fcflow.aliases import shared_codes
from fcflow.model import Alias, Feed, FulfilmentOrder, FulfilmentState, Location, Problem, Record, StockLevel

__all__ = ["Demand", "LocationStock", "Picture", "Shipped", "StockSummary", "StockView", "merge_levels"]

_EMPTY: Mapping[str, int] = MappingProxyType({})
_NOBODY: Mapping[str, frozenset[str]] = MappingProxyType({})
_UNMEASURED: Mapping[tuple[str, str], Fraction] = MappingProxyType({})
_NOT_SENT = (
    FulfilmentState.READY,
    FulfilmentState.SENDING,
    FulfilmentState.PUBLISHING,
    FulfilmentState.SEND_FAILED,
    FulfilmentState.UNCLEAR,
)
_LONGEST_SKU = 500  # in any script it fits the key of any database
_MOST_UNITS = 10**18
_AT_THE_BEGINNING = datetime.min.replace(tzinfo=UTC)


def _aware(instance: object, attribute: Attribute[Any], value: Any) -> None:
    if value is not None and value.tzinfo is None:
        raise ValueError(f"{attribute.name}: expected an instant with a time zone, got {value.isoformat()}")


# ------------------------------------------------------------------ what goes in


@frozen(kw_only=True)
class Picture:
    """
    What a location said of one SKU.

    Args:
        location: Our code.

        sku: Ours.

        on_hand: May be negative, as it was said; a negative level offers none.

        reserved: Of these, units that the partner has promised to others.

        inbound: On their way there, or ``None`` where nothing was said; never offered.

        as_of: The instant of the picture.

        received_at: When it was read.
    """

    location: str
    sku: str
    on_hand: int
    reserved: int = 0
    inbound: int | None = None
    as_of: datetime = field(validator=_aware)
    received_at: datetime = field(validator=_aware)


@frozen(kw_only=True)
class Demand:
    """
    Units of ours that are to leave and have not been shipped.

    Args:
        location: ``None`` while the order is not allocated.

        state: Of the fulfilment order; ``None`` where there is none.

        sent_at: When it was sent, or ``None`` where it was not, or nobody can know.
    """

    location: str | None
    sku: str
    units: int = field(validator=validators.gt(0))
    state: FulfilmentState | None = None
    sent_at: datetime | None = field(default=None, validator=_aware)


@frozen(kw_only=True)
class Shipped:
    """
    Units of ours that left a location.

    Args:
        at: When they were shipped.

        sent_at: When the partner was sent the order; ``None`` where it was not sent, or that is not known.
    """

    location: str
    sku: str
    units: int = field(validator=validators.gt(0))
    at: datetime = field(validator=_aware)
    sent_at: datetime | None = field(default=None, validator=_aware)


# ------------------------------------------------------------------ what comes out


@frozen(kw_only=True)
class LocationStock:
    """
    One SKU at one location.

    Args:
        level: Units by the picture, less what was shipped since where shipments deduct; never negative. ``None`` where
            the location is not tracked.

        open: Units of ours that it is still to ship.

        sellable: Units that may be offered for sale; ``None`` where the location never runs short.

        allocatable: Units that may be promised to an order; ``None`` likewise.

        as_of: Of the picture, or ``None`` where there is none.
    """

    location: str
    level: int | None
    reserved: int
    open: int
    sellable: int | None
    allocatable: int | None
    as_of: datetime | None


@frozen(kw_only=True)
class StockSummary:
    """
    One SKU across all locations.

    Args:
        locations: In the view's order, each location that tracks stock or was asked for this SKU.

        unallocated: Units ordered that no location has been asked for yet.

        level, sellable, allocatable: Sums over the tracked locations, the last two less *unallocated*; never negative.

        never_short: Codes of the locations that track no stock; no sum counts them.
    """

    sku: str
    locations: tuple[LocationStock, ...]
    unallocated: int
    level: int
    sellable: int
    allocatable: int
    never_short: tuple[str, ...] = ()


class StockView:
    """
    The usual `fcflow.model.View`: pictures with our own demand and shipments laid over them.

    Mutable in one way only: `take` counts a fulfilment order that was just allocated.

    Args:
        locations: By code, in the seller's own order of preference.

        pictures: One per location and SKU; the latest wins where there are more.

        demands: Every unit of ours that is to leave and was not shipped.

        shipped: Shipments; only those after the picture matter, older ones do no harm.

        now: The instant this view is of.

        orders_today: Location to orders counted on its current working day; absent is none.

        excluded: Order id to locations it must not go to.

        measures: Location and measure to how the location behaved lately; what is missing is unknown.

    Example:
        >>> now = datetime(2026, 3, 2, 12, tzinfo=UTC)
        >>> picture = Picture(location="leeds", sku="MUG", on_hand=5, as_of=now, received_at=now)
        >>> view = StockView({"leeds": Location(code="leeds")}, [picture], [], [], now=now)
        >>> view.allocatable("leeds", "MUG"), view.allocatable("leeds", "CUP")
        (5, 0)
    """

    def __init__(
        self,
        locations: Mapping[str, Location],
        pictures: Iterable[Picture] = (),
        demands: Iterable[Demand] = (),
        shipped: Iterable[Shipped] = (),
        *,
        now: datetime,
        orders_today: Mapping[str, int] = _EMPTY,
        excluded: Mapping[str, frozenset[str]] = _NOBODY,
        measures: Mapping[tuple[str, str], Fraction] = _UNMEASURED,
    ) -> None:
        self.now = now
        self._measures = measures
        self._locations = MappingProxyType(dict(locations))
        self._pictures = _latest(pictures)
        self._orders_today = Counter(orders_today)
        self._excluded = excluded
        self._unallocated: Counter[str] = Counter()
        self._open: Counter[tuple[str, str]] = Counter()
        self._unseen: Counter[tuple[str, str]] = Counter()
        self._deducted: Counter[tuple[str, str]] = Counter()
        self._taken: Counter[tuple[str, str]] = Counter()
        self._count_demands(demands)
        self._count_shipped(shipped)

    # -------------------------------------------------------------- what rules and allocation ask

    @property
    def locations(self) -> Mapping[str, Location]:
        """By code; the order is the seller's own preference."""
        return self._locations

    def measured(self, location: str, measure: str) -> Fraction | None:
        """How *location* behaved lately; ``None`` where too little is known of it."""
        return self._measures.get((location, measure))

    def allocatable(self, location: str, sku: str) -> int | None:
        """
        Units that may be promised to an order now.

        Always less our own units that the picture cannot know yet, the units the partner has promised to others, and
        the buffer; whatever the switches say. ``None`` where the location never runs short; 0 where there is no
        picture, or only one that is too old; never negative.
        """
        place = self._locations.get(location)
        if place is None:
            return 0
        if not place.stock.tracked:
            return None
        picture = self._fresh(place, sku)
        if picture is None:
            return 0
        key = location, sku
        known = max(0, picture.on_hand) - picture.reserved - place.stock.buffer_of(sku)
        return max(0, known - self._unseen.get(key, 0) - self._taken.get(key, 0))

    def stock_as_of(self, location: str, sku: str) -> datetime | None:
        """When the location's picture of *sku* was taken; ``None`` where there is none."""
        picture = self._pictures.get((location, sku))
        return None if picture is None else picture.as_of

    def orders_today(self, location: str) -> int:
        """Orders that count against the location's capacity on its current working day."""
        return self._orders_today[location]

    def excluded(self, order_id: str) -> frozenset[str]:
        """Locations this order must not go to."""
        return self._excluded.get(order_id, frozenset())

    def take(self, fulfilment: FulfilmentOrder) -> None:
        """Count a fulfilment order that was just allocated: its units are no longer free, its location has one more."""
        self._orders_today[fulfilment.location] += 1
        for line in fulfilment.lines:
            self._taken[fulfilment.location, line.sku] += line.quantity

    # -------------------------------------------------------------- what the seller asks

    def sellable(self, location: str, sku: str) -> int | None:
        """
        Units at *location* that may be offered for sale, by the location's two switches.

        ``None`` where the location never runs short; never negative.
        """
        place = self._locations.get(location)
        if place is None:
            return 0
        if not place.stock.tracked:
            return None
        picture = self._fresh(place, sku)
        if picture is None:
            return 0
        counted = self._open[location, sku] if place.stock.orders_count else 0
        return max(0, self._level(place, picture) - picture.reserved - counted - place.stock.buffer_of(sku))

    def levels(self, sku: str | None = None) -> Iterator[StockSummary]:
        """
        Each SKU across all locations, sorted by SKU.

        Args:
            sku: Only this one, even where nothing is known of it; ``None`` is every SKU that a picture or a demand
                names.
        """
        skus = [sku] if sku is not None else sorted(self._known_skus())
        return (self._summary(each) for each in skus)

    # -------------------------------------------------------------- counting

    def _count_demands(self, demands: Iterable[Demand]) -> None:
        for demand in demands:
            if demand.location is None:
                self._unallocated[demand.sku] += demand.units
                continue
            key = demand.location, demand.sku
            self._open[key] += demand.units
            if self._is_unseen(demand):
                self._unseen[key] += demand.units

    def _count_shipped(self, shipped: Iterable[Shipped]) -> None:
        for parcel in shipped:
            key = parcel.location, parcel.sku
            as_of = self._as_of(key)
            if parcel.at > as_of:
                self._deducted[key] += parcel.units
            if self._left_unseen(parcel, as_of):
                self._unseen[key] += parcel.units

    def _is_unseen(self, demand: Demand) -> bool:
        if demand.sent_at is None or demand.location is None or demand.state in _NOT_SENT:
            return True
        if self._falls(demand.location) == "shipped":
            return True
        # A run reads stock before it sends, so at equal instants the picture is the older one.
        return demand.sent_at >= self._as_of((demand.location, demand.sku))

    def _left_unseen(self, parcel: Shipped, as_of: datetime) -> bool:
        if parcel.sent_at is None or self._falls(parcel.location) == "shipped":
            return parcel.at > as_of
        return parcel.sent_at >= as_of

    def _falls(self, location: str) -> str:
        place = self._locations.get(location)
        return "received" if place is None else place.stock.picture_falls

    def _as_of(self, key: tuple[str, str]) -> datetime:
        picture = self._pictures.get(key)
        return _AT_THE_BEGINNING if picture is None else picture.as_of

    def _fresh(self, place: Location, sku: str) -> Picture | None:
        picture = self._pictures.get((place.code, sku))
        if picture is None or place.stock.max_age_s is None:
            return picture
        return picture if (self.now - picture.as_of).total_seconds() <= place.stock.max_age_s else None

    def _level(self, place: Location, picture: Picture) -> int:
        left = self._deducted[place.code, picture.sku] if place.stock.shipping_deducts else 0
        return max(0, picture.on_hand - left)

    # -------------------------------------------------------------- summing up

    def _known_skus(self) -> set[str]:
        return {sku for _, sku in self._pictures} | {sku for _, sku in self._open} | set(self._unallocated)

    def _summary(self, sku: str) -> StockSummary:
        rows = tuple(self._row(place, sku) for place in self._locations.values() if self._concerns(place, sku))
        waiting = self._unallocated[sku]
        return StockSummary(
            sku=sku,
            locations=rows,
            unallocated=waiting,
            level=sum(row.level or 0 for row in rows),
            sellable=max(0, sum(row.sellable or 0 for row in rows) - waiting),
            allocatable=max(0, sum(row.allocatable or 0 for row in rows) - waiting),
            never_short=tuple(code for code, place in self._locations.items() if not place.stock.tracked),
        )

    def _concerns(self, place: Location, sku: str) -> bool:
        return place.stock.tracked or self._open[place.code, sku] > 0

    def _row(self, place: Location, sku: str) -> LocationStock:
        picture = self._pictures.get((place.code, sku))
        tracked = 0 if picture is None else self._level(place, picture)
        return LocationStock(
            location=place.code,
            level=tracked if place.stock.tracked else None,
            reserved=0 if picture is None else picture.reserved,
            open=self._open[place.code, sku],
            sellable=self.sellable(place.code, sku),
            allocatable=self.allocatable(place.code, sku),
            as_of=None if picture is None else picture.as_of,
        )


def _latest(pictures: Iterable[Picture]) -> dict[tuple[str, str], Picture]:
    latest: dict[tuple[str, str], Picture] = {}
    for picture in pictures:
        key = picture.location, picture.sku
        if key not in latest or (picture.as_of, picture.received_at) >= (latest[key].as_of, latest[key].received_at):
            latest[key] = picture
    return latest


# ------------------------------------------------------------------ a partner's file


def merge_levels(
    feed: Feed,
    records: Sequence[Record],
    *,
    location_of: Callable[[str | None], str | None],
    received_at: datetime,
    known_skus: Collection[str] | None = None,
    aliases: Mapping[str, str | Alias] = MappingProxyType({}),
    current: Iterable[Picture] = (),
    unread: int = 0,
) -> tuple[list[Picture], list[Problem]]:
    """
    Turn the good records of one stock file into new pictures.

    A blank quantity says nothing of its SKU. A negative one is kept as it was said. A SKU that stands twice is refused,
    summed, or its last row counts, as the feed says. Where the feed is a complete picture, SKUs of *current* that are
    missing have none from now on, at every location that the file speaks of; but an empty file is never a full picture,
    nor is one with rows that could not be placed.

    Args:
        feed: Its ``complete``, ``duplicates`` and ``match_sku`` decide.

        records: `fcflow.model.StockLevel` records, in the file's order.

        location_of: The partner's code, or ``None`` where the row has none, to our code; ``None`` where it is not
            known.

        received_at: The ``as_of`` of rows that state none. A row's own ``as_of`` in the future is taken for this.

        known_skus: Ours; ``None`` takes every SKU that is no alias for ours.

        aliases: Our SKU to the partner's. Of packs there are so many units in each; of a bundle there are as many as
            the scarcest of its parts allows, and where a part is not in the file the bundle is unchanged, unless the
            file is a complete picture.

        current: The pictures held of the partner's locations; a row older than its picture is reported and passed over.

        unread: Rows of the file that could not be decoded at all.

    Returns:
        The new pictures, and one problem per row that was not applied. A SKU without a new picture is unchanged.

    Example:
        >>> feed = Feed(kind="stock", partner="leeds", layout="linnworks-stock")
        >>> rows = [Record(line=2, value=StockLevel(sku="L-MUG", on_hand=4))]
        >>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
        >>> merge_levels(
        ...     feed, rows, location_of=lambda code: "leeds", received_at=noon, aliases={"MUG": "L-MUG"}
        ... )[0][0].sku
        'MUG'
    """
    merge = _Merge(feed, location_of, received_at, known_skus, aliases, current)
    for record in records:
        merge.add(record)
    whole = feed.complete and not unread and not merge.unplaced
    pictures = merge.pictures() + merge.bundles(missing_is_none=whole)
    if feed.complete:
        pictures += merge.missing(len(records), unread)
    return pictures, sorted(merge.problems, key=lambda problem: problem.line or 0)


class _Merge:
    """One stock file while it is read."""

    def __init__(
        self,
        feed: Feed,
        location_of: Callable[[str | None], str | None],
        received_at: datetime,
        known_skus: Collection[str] | None,
        aliases: Mapping[str, str | Alias],
        current: Iterable[Picture],
    ) -> None:
        self.feed = feed
        self.location_of = location_of
        self.received_at = received_at
        self.known_skus = known_skus
        self.aliases = {sku: Alias.of(said) for sku, said in aliases.items()}
        self.ours, self.parts = shared_codes(aliases)
        self.part_rows: dict[tuple[str, str], list[Record]] = defaultdict(list)
        self.current = _latest(current)
        self.rows: dict[tuple[str, str], list[Record]] = defaultdict(list)
        self.mentioned: set[tuple[str, str]] = set()
        self.blank: set[str] = set()
        self.unplaced = 0
        self.problems: list[Problem] = []

    def add(self, record: Record) -> None:
        level: StockLevel = record.value
        location = self.location_of(level.location)
        if location is None and level.location is None and level.on_hand is None:
            self.blank.update({self._our_sku(record) or level.sku, *self.ours.get(level.sku, ())})
            return
        if location is None:
            self.unplaced += 1
            self._report(record, "location", level.location, "a location of this partner")
            return
        if len(level.sku) > _LONGEST_SKU:
            self.unplaced += 1
            self._report(record, "sku", level.sku, f"at most {_LONGEST_SKU} characters")
            return
        self.mentioned.update((location, sku) for sku in self.ours.get(level.sku, ()))
        if level.sku in self.parts:
            self.mentioned.update((location, sku) for sku in self.parts[level.sku])
            if level.on_hand is not None:
                self.part_rows[location, level.sku].append(record)
            if level.sku not in self.ours:
                return
        our_sku = self._our_sku(record)
        if our_sku is None:
            return
        self.mentioned.add((location, our_sku))
        if level.on_hand is not None:
            self.rows[location, our_sku].append(self._in_our_units(record, our_sku))

    def _in_our_units(self, record: Record, our_sku: str) -> Record:
        alias = self.aliases.get(our_sku)
        if alias is None or alias.pack == 1 or record.value.sku not in alias.parts:
            return record
        counters = ("on_hand", "reserved", "inbound")
        said = {name: getattr(record.value, name) for name in counters}
        ours = {name: units * alias.pack for name, units in said.items() if units is not None}
        return evolve(record, value=evolve(record.value, **ours))

    def pictures(self) -> list[Picture]:
        found = (self._picture(key, rows) for key, rows in self.rows.items())
        return [picture for picture in found if picture is not None]

    def bundles(self, *, missing_is_none: bool) -> list[Picture]:
        """Pictures of what leaves in parts; every place that a part is told of has the bundle, or lacks it."""
        parts = {key: self._level(key, self.part_rows[key]) for key in self.part_rows}
        wanted = dict.fromkeys((place, sku) for place, theirs in parts for sku in self.parts[theirs])
        found = (self._bundle(place, sku, parts, missing_is_none) for place, sku in wanted)
        return [picture for picture in found if picture is not None]

    def _bundle(
        self, place: str, sku: str, parts: Mapping[tuple[str, str], Picture | None], missing_is_none: bool
    ) -> Picture | None:
        needed = self.aliases[sku].parts
        gone = [theirs for theirs in needed if (place, theirs) not in parts]
        if gone and not missing_is_none:
            said = f"bundle {sku}: {' and '.join(gone)} is not in the file; {sku} is unchanged"
            self.problems.append(Problem(field="sku", message=said))
            return None
        levels = [(parts[place, theirs], per) for theirs, per in needed.items() if theirs not in gone]
        known = [(level, per) for level, per in levels if level is not None]
        if len(known) < len(levels):
            return None
        as_of = min(level.as_of for level, _ in known)
        held = self.current.get((place, sku))
        if held is not None and as_of < held.as_of:
            expected = f"a picture of {sku} later than {held.as_of.isoformat()}"
            self.problems.append(Problem(field="as_of", found=as_of.isoformat(), expected=expected))
            return None
        units = 0 if gone else min((level.on_hand - level.reserved) // per for level, per in known)
        return self._made((place, sku), units, 0, None, as_of)

    def missing(self, count: int, unread: int) -> list[Picture]:
        """Pictures of zero for what a complete file leaves out."""
        if not count and not unread:
            self.problems.append(Problem(message="a file without records is never a full picture; nothing changed"))
            return []
        if unread or self.unplaced:
            bad = unread + self.unplaced
            said = f"{bad} rows were not understood, so what is missing from this file is not taken for zero"
            self.problems.append(Problem(message=said))
            return []
        spoken_of = {location for location, _ in (*self.rows, *self.part_rows)}
        kept = self.mentioned
        older = {key for key, held in self.current.items() if held.as_of <= self.received_at and key[0] in spoken_of}
        gone = [key for key in self.current if key in older and key not in kept and key[1] not in self.blank]
        return [self._made(key, 0, 0, None, self.received_at) for key in gone]

    def _our_sku(self, record: Record) -> str | None:
        said = record.value.sku
        ours = self.ours.get(said, ())
        if len(ours) > 1:
            self._report(record, "sku", said, f"a code that stands for one SKU of ours, not for {' and '.join(ours)}")
            return None
        if ours:
            return ours[0]
        if self.feed.match_sku == "either" and (self.known_skus is None or said in self.known_skus):
            return str(said)
        expected = (
            "the partner's code of a SKU of ours" if self.feed.match_sku == "partner" else "a SKU of ours or its alias"
        )
        self._report(record, "sku", said, expected)
        return None

    def _picture(self, key: tuple[str, str], rows: list[Record]) -> Picture | None:
        return self._level(key, rows, self.current.get(key))

    def _level(self, key: tuple[str, str], rows: list[Record], held: Picture | None = None) -> Picture | None:
        """What the rows of one SKU say; *held* is what was known of it before."""
        if len(rows) > 1 and self.feed.duplicates == "refuse":
            lines = " and ".join(str(row.line) for row in rows)
            for row in rows:
                self._report(row, "sku", row.value.sku, f"every SKU once, not in lines {lines}; {key[1]} is unchanged")
            return None
        used = rows if self.feed.duplicates == "sum" else rows[-1:]
        as_of = min(self._as_of(row) for row in used)
        if held is not None and as_of < held.as_of:
            expected = f"a picture of {key[1]} later than {held.as_of.isoformat()}"
            for row in rows:
                self._report(row, "as_of", as_of.isoformat(), expected)
            return None
        if any(self._units(used, name) >= _MOST_UNITS for name in ("on_hand", "reserved", "inbound")):
            self._report(rows[-1], "sku", key[1], f"fewer than {_MOST_UNITS} units in all; it is unchanged")
            return None
        inbound = [row.value.inbound for row in used if row.value.inbound is not None]
        return self._made(
            key,
            sum(row.value.on_hand for row in used),
            sum(row.value.reserved or 0 for row in used),
            sum(inbound) if inbound else None,
            as_of,
        )

    def _units(self, rows: list[Record], name: str) -> int:
        return abs(sum(int(getattr(row.value, name) or 0) for row in rows))

    def _made(self, key: tuple[str, str], on_hand: int, reserved: int, inbound: int | None, as_of: datetime) -> Picture:
        return Picture(
            location=key[0],
            sku=key[1],
            on_hand=on_hand,
            reserved=reserved,
            inbound=inbound,
            as_of=as_of,
            received_at=self.received_at,
        )

    def _as_of(self, row: Record) -> datetime:
        # A partner's clock that runs ahead would make units of ours look known to the picture.
        said: datetime | None = row.value.as_of
        return self.received_at if said is None else min(said, self.received_at)

    def _report(self, record: Record, name: str, found: str | None, expected: str) -> None:
        self.problems.append(Problem(line=record.line, field=name, found=found, expected=expected, raw=record.raw))
