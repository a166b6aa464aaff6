"""
The values that everything else speaks of: frozen, slotted, with no behaviour but to tell of themselves.

Text that is absent is ``None`` (an empty text given is taken as absent), quantities are ``int``, money is `Decimal`
in the order's currency, instants are aware. `Order` is what was bought; where it is and how far it got is state,
and lives in the store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any, Protocol, cast

from attrs import Attribute, asdict, field, frozen, has, validators
from immutabledict import immutabledict

from fcflow.errors import AllocationError

__all__ = [
    "Address",
    "Connection",
    "Decision",
    "Effect",
    "Explanation",
    "Feed",
    "FeedKind",
    "FulfilmentLine",
    "FulfilmentOrder",
    "FulfilmentState",
    "Location",
    "LocationKind",
    "MeasuredView",
    "Order",
    "OrderLine",
    "OrderState",
    "Partner",
    "PartnerLimits",
    "Payment",
    "Problem",
    "Record",
    "RuleVerdict",
    "Shipment",
    "ShippingLine",
    "ShippingOrder",
    "Status",
    "StatusLine",
    "StatusUpdate",
    "StockLevel",
    "StockPolicy",
    "View",
    "WorkingCalendar",
]

# ------------------------------------------------------------------ converters and validators


def _text(value: str | None) -> str | None:
    return value or None


def _money(value: Decimal | str | int | None) -> Decimal | None:
    return value if value is None or isinstance(value, Decimal) else Decimal(value)


def _mapping(value: Mapping[str, Any]) -> immutabledict[str, Any]:
    return value if isinstance(value, immutabledict) else immutabledict(value)


def _aware(instance: object, attribute: Attribute[datetime | None], value: datetime | None) -> None:
    if value is not None and value.tzinfo is None:
        raise ValueError(f"{attribute.name}: expected an instant with a time zone, got {value.isoformat()}")


def _instant(value: datetime | None) -> datetime | None:
    """In UTC, where comparing and subtracting know nothing of summer time; a naive one is left for the check."""
    if value is None or value.tzinfo is None:
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"expected an instant between the years 1 and 9999, got {value.isoformat()}") from None


def _finite(instance: object, attribute: Attribute[Decimal | None], value: Decimal | None) -> None:
    if value is not None and not value.is_finite():
        raise ValueError(f"{attribute.name}: expected a finite amount, got {value}")


def _whole(at_least: int) -> Callable[[Any, Any, Any], None]:
    def check(instance: object, attribute: Attribute[Any], value: object) -> None:
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < at_least):
            raise ValueError(f"{attribute.name}: expected a whole number of at least {at_least}, got {value!r}")

    return check


def _identifier(instance: object, attribute: Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not value.strip() or re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError(f"{attribute.name}: expected a text without control characters, got {value!r}")


def _country(instance: object, attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None and not re.fullmatch("[A-Z]{2}", value):
        raise ValueError(f"{attribute.name}: expected an ISO 3166-1 alpha-2 code such as GB, got {value!r}")


def _currency(instance: object, attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None and not re.fullmatch("[A-Z]{3}", value):
        raise ValueError(f"{attribute.name}: expected an ISO 4217 code such as GBP, got {value!r}")


def _tuple(value: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value)


def _set(value: Iterable[str]) -> frozenset[str]:
    return frozenset(value)


def _told(value: Any) -> Any:
    """What a record was made of: a mapping, or the names of its cells and the cells."""
    return value if isinstance(value, tuple) else _mapping(value)


def _raw() -> Any:
    return field(factory=immutabledict, converter=_mapping, eq=False)


# ------------------------------------------------------------------ what was bought


class Payment(StrEnum):
    """How far an order is paid."""

    PAID = "paid"
    UNPAID = "unpaid"
    PENDING = "pending"
    REFUNDED = "refunded"


def _payment(value: Payment | str | None) -> Payment | None:
    return None if value is None else Payment(value)


@frozen(kw_only=True)
class Address:
    """
    Where a parcel or an invoice goes; every part may be absent.

    Example:
        >>> Address(name="Ada Byron", town="London", postcode="SW1Y 4JH", country="GB").town
        'London'
    """

    name: str | None = field(default=None, converter=_text)
    company: str | None = field(default=None, converter=_text)
    address1: str | None = field(default=None, converter=_text)
    address2: str | None = field(default=None, converter=_text)
    address3: str | None = field(default=None, converter=_text)
    town: str | None = field(default=None, converter=_text)
    region: str | None = field(default=None, converter=_text)
    postcode: str | None = field(default=None, converter=_text)
    country: str | None = field(default=None, converter=_text, validator=_country)
    phone: str | None = field(default=None, converter=_text)
    email: str | None = field(default=None, converter=_text)


@frozen(kw_only=True)
class OrderLine:
    """
    One line of an order: *quantity* whole units of one SKU.

    Args:
        line_id: Unique within the order.

        sku: The seller's own code.

        unit_price: In the order's currency, or ``None`` where it is not known.

        weight_g: Of one unit, in grams, or ``None`` where it is not known.

        channel_sku: What the sales channel calls it.
    """

    line_id: str = field(default="1", validator=_identifier)
    sku: str = field(validator=_identifier)
    quantity: int = field(validator=_whole(1))
    title: str | None = field(default=None, converter=_text)
    unit_price: Decimal | None = field(default=None, converter=_money, validator=_finite)
    weight_g: int | None = field(default=None, validator=_whole(0))
    channel_sku: str | None = field(default=None, converter=_text)
    properties: immutabledict[str, str] = field(factory=immutabledict, converter=_mapping)


@frozen(kw_only=True)
class Order:
    """
    What was bought. It never changes but by an explicit amendment.

    Args:
        order_id: Ours; unique in a store.

        reference: The sales channel's own number.

        payment: ``None`` is *not known*, and such an order is not ready by default.

        total: What the buyer pays in all, *postage* included, in *currency*.

    Raises:
        ValueError: A part has the wrong shape, or two lines share a ``line_id``.

    Example:
        >>> mug = OrderLine(line_id="1", sku="MUG", quantity=2, unit_price="7.50")
        >>> Order(order_id="A1", lines=(mug,), currency="GBP").lines[0].unit_price
        Decimal('7.50')
    """

    order_id: str = field(validator=_identifier)
    reference: str | None = field(default=None, converter=_text)
    channel: str | None = field(default=None, converter=_text)
    sub_channel: str | None = field(default=None, converter=_text)
    received_at: datetime | None = field(default=None, converter=_instant, validator=_aware)
    dispatch_by: datetime | None = field(default=None, converter=_instant, validator=_aware)
    payment: Payment | None = field(default=None, converter=_payment)
    currency: str | None = field(default=None, converter=_text, validator=_currency)
    total: Decimal | None = field(default=None, converter=_money, validator=_finite)
    postage: Decimal | None = field(default=None, converter=_money, validator=_finite)
    ship_to: Address = field(factory=Address)
    bill_to: Address | None = None
    lines: tuple[OrderLine, ...] = field(converter=_tuple)
    shipping_service: str | None = field(default=None, converter=_text)
    tags: frozenset[str] = field(default=frozenset(), converter=_set)
    properties: immutabledict[str, str] = field(factory=immutabledict, converter=_mapping)
    notes: str | None = field(default=None, converter=_text)

    @lines.validator
    def _line_ids_are_unique(self, attribute: Attribute[tuple[OrderLine, ...]], value: tuple[OrderLine, ...]) -> None:
        seen: set[str] = set()
        for line in value:
            if line.line_id in seen:
                raise ValueError(f"lines: expected every line_id once, got {line.line_id!r} twice")
            seen.add(line.line_id)

    def line(self, line_id: str) -> OrderLine | None:
        """The line with this id, or ``None``."""
        return next((line for line in self.lines if line.line_id == line_id), None)


# ------------------------------------------------------------------ who ships


class LocationKind(StrEnum):
    """What a location is to us; the last two ship for us and lock what is sent to them."""

    WAREHOUSE = "warehouse"
    FULFILMENT_CENTRE = "fulfilment_centre"
    DROP_SHIPPER = "drop_shipper"


@frozen(kw_only=True)
class StockPolicy:
    """
    How a location's stock level is to be read.

    Args:
        tracked: ``False``: the location never runs short (a drop shipper without a stock feed).

        orders_count: The ancestor's switch: open orders at the location count against what is sellable.

        shipping_deducts: The ancestor's switch: a shipment takes its units off the level.

        picture_falls: When the partner's own level falls: when it has ``received`` an order, or when it has
            ``shipped`` it. Decides which of our units a picture cannot know yet.

        buffer: Units kept back of every SKU; *buffers* overrides it for single SKUs.

        max_age_s: A picture older than this offers nothing; ``None`` trusts any age.
    """

    tracked: bool = True
    orders_count: bool = False
    shipping_deducts: bool = False
    picture_falls: str = field(default="received", validator=validators.in_(("received", "shipped")))
    buffer: int = field(default=0, validator=_whole(0))
    buffers: immutabledict[str, int] = field(factory=immutabledict, converter=_mapping)
    max_age_s: int | None = field(default=None, validator=_whole(0))

    def buffer_of(self, sku: str) -> int:
        """Units of *sku* that are kept back."""
        return self.buffers.get(sku, self.buffer)


@frozen(kw_only=True)
class WorkingCalendar:
    """
    When a location works.

    Args:
        zone: IANA name of the zone that *cut_off* and the days are in.

        days: ISO weekdays on which it works, Monday is 1.

        holidays: Dates on which it does not.

        cut_off: Orders allocated later in the day belong to the next working day; ``None`` has no cut-off.
    """

    zone: str = "UTC"
    days: tuple[int, ...] = field(default=(1, 2, 3, 4, 5, 6, 7), converter=_tuple)
    holidays: tuple[date, ...] = field(default=(), converter=_tuple)
    cut_off: time | None = None


@frozen(kw_only=True)
class Location:
    """
    A place with stock.

    Args:
        code: Ours; what rules name.

        partner: Code of the partner who runs it, or ``None`` for a place of our own.

        partner_code: What that partner calls it in files.

        capacity_per_day: Orders it takes in one of its working days; ``None`` has no limit.
    """

    code: str = field(validator=_identifier)
    name: str | None = field(default=None, converter=_text)
    kind: LocationKind = field(default=LocationKind.WAREHOUSE, converter=LocationKind)
    partner: str | None = field(default=None, converter=_text)
    partner_code: str | None = field(default=None, converter=_text)
    address: Address = field(factory=Address)
    latitude: float | None = None
    longitude: float | None = None
    stock: StockPolicy = field(factory=StockPolicy)
    capacity_per_day: int | None = field(default=None, validator=_whole(0))
    calendar: WorkingCalendar = field(factory=WorkingCalendar)

    @property
    def is_fulfilment_centre(self) -> bool:
        """Whether others ship from here: what is sent to it is locked until they answer."""
        return self.kind is not LocationKind.WAREHOUSE


class FeedKind(StrEnum):
    """The flows between us and a partner."""

    ORDERS = "orders"
    STATUS = "status"
    STOCK = "stock"
    ACKNOWLEDGEMENT = "acknowledgement"

    @property
    def layout_kind(self) -> str:
        """What a layout of such a feed is of: an acknowledgement is a status of a delivery."""
        return "status" if self is FeedKind.ACKNOWLEDGEMENT else self.value


@frozen(kw_only=True)
class Connection:
    """
    A way in to a partner, secrets by reference only.

    Args:
        url: Scheme, host, port, user and base folder; never a password. May be relative for ``file``.

        secrets: Name (``password``, ``key``, ``token``, ...) to reference (``{"env": "LEEDS_PASSWORD"}``).

        options: What the transport's own schema describes.
    """

    name: str = "default"
    url: str
    secrets: immutabledict[str, Any] = field(factory=immutabledict, converter=_mapping)
    options: immutabledict[str, Any] = field(factory=immutabledict, converter=_mapping)

    @property
    def scheme(self) -> str:
        """The part of the URL before ``://``, in lower case; it picks the transport."""
        head, separator, _ = self.url.partition("://")
        return head.lower() if separator else "file"


@frozen(kw_only=True)
class Reply:
    """
    What a partner is sent when a file of its came in.

    Args:
        kind: ``acknowledgement`` (X12 997, EDIFACT CONTRL) of everything received, or ``errors``: the rows that were
            not taken, with what is wrong with each.

        connection: Name of the way out; ``None`` is the feed's own.

        path: Folder or URL path below the connection's own.

        name: Template of the file name (`fcflow.formats.names`).
    """

    kind: str = field(validator=validators.in_(("acknowledgement", "errors")))
    connection: str | None = None
    path: str = ""
    name: str = "reply-{datetime}-{counter}.txt"


@frozen(kw_only=True)
class Push:
    """
    How a partner may hand something to us by itself (a webhook), and how we know that it is the partner.

    One of *signature*, *header* and *user* says what is checked.

    Args:
        secrets: References; any of them is right, so that a secret can be changed without a gap.

        signature: The body is signed: options of a `fcflow.signing.SignatureScheme`, and ``tolerance_s``, how far the
            signed instant may be from now.

        header: A header that carries the secret itself.

        user: The secret is the password of this user (basic authentication).

        id_header: A header that names the delivery, so that one that comes again is known.

        max_bytes: A larger push is refused.

        poll: Whether runs ask for the feed besides.
    """

    secrets: tuple[immutabledict[str, Any], ...]
    signature: immutabledict[str, Any] | None = None
    header: str | None = None
    user: str | None = None
    id_header: str | None = None
    max_bytes: int = field(default=4 * 1024 * 1024, validator=_whole(1))
    poll: bool = True


MATCHES = ("fulfilment_id", "order_id", "reference", "delivery")
"""What a partner may quote."""


@frozen(kw_only=True)
class Feed:
    """
    One flow between us and a partner.

    Args:
        layout: Name of a built-in layout, or a path to one.

        path: Folder or URL path below the connection's own.

        name: Outgoing only: template of the file name (`fcflow.formats.names`).

        match: Incoming only: glob of the file names that belong to this feed.

        mode: Orders only: ``new`` sends what was never sent, ``all_open`` every open order each time.

        batch: Orders only: fulfilment orders in one file or post at most; ``None`` has no limit, 1 is a post per order.

        repeats: Orders only: ``recognised`` when the partner knows a repeated order by its id, so that an unclear
            delivery may be sent again; ``unknown`` leaves it to a person.

        after: Incoming only: ``archive``, ``delete`` or ``leave`` a file once its effect is stored.

        archive: Folder for files that were applied; *failed* for files that were refused.

        complete: Stock only: the file is a full picture: a SKU that is missing from it has none.

        duplicates: Stock only: the same SKU twice in a file is ``refuse``\\ d, ``sum``\\ med, or the ``last`` counts.

        on_header_change: Stock and status: what happens to a file whose header is not that of the last one: ``park`` it
            for a person, ``warn``, or ``ignore``. A column that the layout needs must be there in any case.

        match_sku: Stock and status: ``either`` our SKU or the partner's, or the ``partner``'s only.

        matches: Status only: what the partner quotes: ``fulfilment_id``, ``order_id``, the channel's ``reference``, or
            the running number of a ``delivery``, which speaks of all that was in it.

        reply: Stock and status: what the partner is sent when a file came in; ``None`` is nothing.

        push: Incoming only: how the partner may push it; ``None`` does not let it.

        options: What the transport's schema says of a feed (URL parameters, minimum age, ...).
    """

    kind: FeedKind = field(converter=FeedKind)
    partner: str
    connection: str = "default"
    layout: str
    path: str = ""
    name: str = "orders-{datetime}-{counter}.csv"
    match: str = "*"
    mode: str = field(default="new", validator=validators.in_(("new", "all_open")))
    batch: int | None = field(default=None, validator=_whole(1))
    repeats: str = field(default="unknown", validator=validators.in_(("unknown", "recognised")))
    after: str = field(default="archive", validator=validators.in_(("archive", "delete", "leave")))
    archive: str = "archive"
    failed: str = "failed"
    complete: bool = False
    duplicates: str = field(default="refuse", validator=validators.in_(("refuse", "sum", "last")))
    on_header_change: str = field(default="warn", validator=validators.in_(("park", "warn", "ignore")))
    match_sku: str = field(default="either", validator=validators.in_(("either", "partner")))
    matches: str = field(default="fulfilment_id", validator=validators.in_(MATCHES))
    reply: Reply | None = None
    push: Push | None = None
    options: immutabledict[str, Any] = field(factory=immutabledict, converter=_mapping)

    @property
    def is_polled(self) -> bool:
        """Whether runs look for it at the partner's."""
        return self.push is None or self.push.poll


@frozen(kw_only=True)
class PartnerLimits:
    """
    How patient we are with a partner.

    Args:
        max_attempts: A fulfilment order that was refused this often is parked: it awaits a person.

        tries: Attempts within one run where a fault may go away by itself.

        timeout_s: Deadline of a single call.

        max_bytes: A larger file or answer is not taken in.

        max_files: Files taken in a run and feed.

        parallel: Deliveries that leave at once, each by a connection of its own (SFTP: a channel of one). With more
            than 1 a later number may arrive before an earlier one.
    """

    max_attempts: int = field(default=5, validator=_whole(1))
    tries: int = field(default=3, validator=_whole(1))
    backoff_s: float = 1.0
    timeout_s: float = 60.0
    max_bytes: int = field(default=256 * 1024 * 1024, validator=_whole(1))
    max_files: int = field(default=1000, validator=_whole(1))
    parallel: int = field(default=1, validator=_whole(1))


@frozen(kw_only=True)
class Alias:
    """
    What a partner calls one SKU of ours, where its code alone does not say it.

    Args:
        parts: The partner's SKUs, each with how many of them one of ours is made of.

        pack: How many of ours one of the partner's is; more than 1 only where there is one part, and one of it.

    Example:
        >>> Alias.of({"sku": "L-MUG-6", "pack": 6})
        Alias(parts=immutabledict({'L-MUG-6': 1}), pack=6)
        >>> Alias.of({"parts": {"L-MUG": 2, "L-CUP": 1}}).is_bundle
        True
        >>> Alias.of("L-MUG").sku
        'L-MUG'
    """

    parts: immutabledict[str, int] = field(converter=_mapping)
    pack: int = field(default=1, validator=_whole(1))

    def __attrs_post_init__(self) -> None:
        if not self.parts or not all(sku and isinstance(units, int) and units > 0 for sku, units in self.parts.items()):
            raise ValueError("parts: expected the partner's SKUs with whole numbers above 0")
        if self.is_bundle and self.pack != 1:
            raise ValueError("pack: expected one of one SKU of the partner's, got a bundle")

    @classmethod
    def of(cls, said: str | Alias | Mapping[str, Any]) -> Alias:
        """From a SKU, ``{"sku", "pack"}`` or ``{"parts"}``."""
        if isinstance(said, Alias):
            return said
        if isinstance(said, str):
            return cls(parts={said: 1})
        rest = {name: value for name, value in said.items() if name != "sku"}
        return cls(parts={said["sku"]: 1}, **rest) if "sku" in said else cls(**rest)

    @property
    def is_bundle(self) -> bool:
        """Whether one of ours leaves as something else than one of the partner's, or a part of it."""
        return list(self.parts.values()) != [1]

    @property
    def sku(self) -> str:
        """The partner's SKU; of a bundle the first."""
        return next(iter(self.parts))


def _aliases(value: Mapping[str, Any]) -> immutabledict[str, str | Alias]:
    return immutabledict({sku: said if isinstance(said, str) else Alias.of(said) for sku, said in value.items()})


@frozen(kw_only=True)
class Partner:
    """
    A business that ships for us: how it is reached and what it speaks.

    Args:
        connections: By name; a feed picks one.

        acknowledgement: The partner's word on whole deliveries (X12 997, EDIFACT CONTRL): taken, or why not.

        aliases: Our SKU to the partner's, or to an `Alias` of packs or parts; used in both directions.

        status_words: The partner's word, in any case, to a `Status` value.

        carriers: The partner's word for a carrier, in any case, to a code or name of one.
    """

    code: str = field(validator=_identifier)
    name: str | None = field(default=None, converter=_text)
    connections: immutabledict[str, Connection] = field(factory=immutabledict, converter=_mapping)
    orders: Feed | None = None
    status: Feed | None = None
    stock: Feed | None = None
    acknowledgement: Feed | None = None
    aliases: immutabledict[str, str | Alias] = field(factory=immutabledict, converter=_aliases)
    status_words: immutabledict[str, str] = field(factory=immutabledict, converter=_mapping)
    carriers: immutabledict[str, str] = field(factory=immutabledict, converter=_mapping)
    limits: PartnerLimits = field(factory=PartnerLimits)

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The feeds that are set up."""
        feeds = (self.orders, self.status, self.stock, self.acknowledgement)
        return tuple(feed for feed in feeds if feed is not None)

    def alias(self, sku: str) -> Alias | None:
        """What the partner calls *sku* of ours; ``None`` where it has no other name for it."""
        said = self.aliases.get(sku)
        return None if said is None else Alias.of(said)


# ------------------------------------------------------------------ what is where


@frozen(kw_only=True)
class StockLevel:
    """
    What a partner said of one SKU at one location.

    Args:
        location: Our code; in a decoded record the partner's code, or ``None`` where the feed has only one place.

        on_hand: Units there; ``None`` in a record whose quantity was blank: nothing is known, nothing changes.

        reserved: Of these, units that the partner has promised already.

        as_of: The instant of the picture; ``None`` in a record: when it was received.
    """

    location: str | None = None
    sku: str = field(validator=_identifier)
    on_hand: int | None = None
    reserved: int | None = None
    inbound: int | None = None
    as_of: datetime | None = field(default=None, converter=_instant, validator=_aware)


class View(Protocol):
    """
    What rules and allocation may know of the world at one instant.

    A rule set that asks for stock needs one; `fcflow.stock.StockView` is the usual one.
    """

    @property
    def locations(self) -> Mapping[str, Location]:
        """By code; the order is the seller's own preference."""
        ...

    def allocatable(self, location: str, sku: str) -> int | None:
        """Units that may be promised; ``None`` where the location never runs short. Never negative."""
        ...

    def stock_as_of(self, location: str, sku: str) -> datetime | None:
        """When the location's picture of *sku* was taken; ``None`` where there is none."""
        ...

    def orders_today(self, location: str) -> int:
        """Orders that count against the location's capacity on its current working day."""
        ...

    def excluded(self, order_id: str) -> frozenset[str]:
        """Locations this order must not go to: they cancelled it, or a person said so."""
        ...


class MeasuredView(View, Protocol):
    """A view that also knows how locations behaved; of another view every measure is unknown."""

    def measured(self, location: str, measure: str) -> Fraction | None:
        """
        One measure of how *location* behaved lately; ``None`` where too little is known of it.

        Args:
            measure: ``reject_rate``, ``error_rate``, ``late_rate`` (shares from 0 to 1) or ``median_hours``.
        """
        ...


# ------------------------------------------------------------------ what goes to a partner


@frozen(kw_only=True)
class FulfilmentLine:
    """The units of one order line that one location is to ship."""

    line_id: str
    sku: str
    quantity: int = field(validator=_whole(1))


@frozen(kw_only=True)
class FulfilmentOrder:
    """
    The part of an order that one location is to ship: what is sent, locked and shipped.

    Its id is never used again: the first of order A1 is ``A1``, the next ``A1-2``, ``A1-3``.
    """

    fulfilment_id: str
    order_id: str
    location: str
    lines: tuple[FulfilmentLine, ...] = field(converter=_tuple)


@frozen(kw_only=True)
class ShippingLine:
    """A line as a layout writes it: *sku* is ours, *partner_sku* what the partner calls it."""

    line_id: str
    sku: str
    quantity: int = field(validator=_whole(1))
    partner_sku: str | None = field(default=None, converter=_text)
    title: str | None = field(default=None, converter=_text)
    unit_price: Decimal | None = field(default=None, converter=_money, validator=_finite)
    weight_g: int | None = field(default=None, validator=_whole(0))
    channel_sku: str | None = field(default=None, converter=_text)
    properties: immutabledict[str, str] = field(factory=immutabledict, converter=_mapping)


@frozen(kw_only=True)
class ShippingOrder:
    """
    What a layout writes: a fulfilment order with its order's data and the effects of the rules.

    Args:
        order: What was bought, unchanged.

        lines: What this location is to ship of it.

        shipping_service, tags, properties, notes: The order's own, with the rules' effects on top.
    """

    fulfilment_id: str
    order: Order
    location: str
    partner_location: str | None = field(default=None, converter=_text)
    lines: tuple[ShippingLine, ...] = field(converter=_tuple)
    shipping_service: str | None = field(default=None, converter=_text)
    tags: frozenset[str] = field(default=frozenset(), converter=_set)
    properties: immutabledict[str, str] = field(factory=immutabledict, converter=_mapping)
    notes: str | None = field(default=None, converter=_text)


# ------------------------------------------------------------------ what comes back


class Status(StrEnum):
    """What a partner can say of a fulfilment order, in our words."""

    ACCEPTED = "accepted"
    IN_WORK = "in_work"
    PART_SHIPPED = "part_shipped"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    RETURNED = "returned"
    ERROR = "error"


def _status(value: Status | str | None) -> Status | None:
    return None if value is None else Status(value)


@frozen(kw_only=True)
class StatusLine:
    """Per line, what a partner said; ``None`` where it said nothing of that count."""

    line_id: str | None = field(default=None, converter=_text)
    sku: str | None = field(default=None, converter=_text)
    shipped: int | None = field(default=None, validator=_whole(0))
    short: int | None = field(default=None, validator=_whole(0))
    cancelled: int | None = field(default=None, validator=_whole(0))
    returned: int | None = field(default=None, validator=_whole(0))


@frozen(kw_only=True)
class Shipment:
    """
    A parcel, or several under one despatch.

    Args:
        lines: Units in it; empty is everything that the fulfilment order asked for.
    """

    fulfilment_id: str = ""
    carrier: str | None = field(default=None, converter=_text)
    service: str | None = field(default=None, converter=_text)
    tracking_numbers: tuple[str, ...] = field(default=(), converter=_tuple)
    lines: tuple[StatusLine, ...] = field(default=(), converter=_tuple)
    shipped_at: datetime | None = field(default=None, converter=_instant, validator=_aware)
    delivered_at: datetime | None = field(default=None, converter=_instant, validator=_aware)


@frozen(kw_only=True)
class StatusUpdate:
    """
    What a partner said once.

    Args:
        partner: Filled in by the synchronizer; a layout leaves it empty.

        reference: What the partner quotes: a fulfilment id, or what the feed's ``matches`` says.

        status: ``None`` where the word is not known: recorded, reported, changes nothing.

        raw_status: The partner's own word.

        lines: Per line; empty speaks of the whole fulfilment order.

        at: When it happened by the partner's clock, or ``None``.

        event_id: The partner's own id of this message, or ``None``.
    """

    partner: str = ""
    reference: str
    status: Status | None = field(default=None, converter=_status)
    raw_status: str | None = field(default=None, converter=_text)
    shipments: tuple[Shipment, ...] = field(default=(), converter=_tuple)
    lines: tuple[StatusLine, ...] = field(default=(), converter=_tuple)
    message: str | None = field(default=None, converter=_text)
    at: datetime | None = field(default=None, converter=_instant, validator=_aware)
    event_id: str | None = field(default=None, converter=_text)


class OrderState(StrEnum):
    """How far an order got."""

    OPEN = "open"
    HELD = "held"
    BACKORDERED = "backordered"
    IN_FULFILMENT = "in_fulfilment"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class FulfilmentState(StrEnum):
    """How far a fulfilment order got."""

    READY = "ready"
    SENDING = "sending"
    PUBLISHING = "publishing"
    SENT = "sent"
    ACCEPTED = "accepted"
    PART_SHIPPED = "part_shipped"
    SHIPPED = "shipped"
    SEND_FAILED = "send_failed"
    UNCLEAR = "unclear"
    CANCELLED = "cancelled"


# ------------------------------------------------------------------ what formats give


@frozen(kw_only=True)
class Record:
    """
    One good record of a payload.

    Args:
        line: 1-based line on which it begins.

        value: An `Order`, `StatusUpdate`, `StockLevel` or `ShippingOrder`, by the layout's kind.

        raw: The record's cells as they stood, by header or position.
    """

    line: int
    value: Any
    _raw: Any = field(factory=immutabledict, converter=_told, eq=False, repr=False, alias="raw")

    @property
    def raw(self) -> immutabledict[str, str]:
        """The record's cells as they stood; the mapping is made when it is asked for, as few ask."""
        if isinstance(self._raw, tuple):
            names, cells = self._raw
            return immutabledict(zip(names, cells, strict=True))
        return cast("immutabledict[str, str]", self._raw)


@frozen(kw_only=True)
class Problem:
    """
    One bad record, or a fault of the whole payload.

    Example:
        >>> print(Problem(line=14, column=23, field="quantity", found="two", expected="digits"))
        line 14, column 23 (quantity): expected digits, got 'two'
    """

    line: int | None = None
    column: int | None = None
    field: str | None = None
    found: str | None = None
    expected: str | None = None
    message: str | None = None
    raw: immutabledict[str, str] = _raw()

    def __str__(self) -> str:
        places = [f"line {self.line}"] if self.line is not None else []
        places += [f"column {self.column}"] if self.column is not None else []
        where = ", ".join(places) + (f" ({self.field})" if self.field else "")
        said = [self.message] if self.message else []
        said += [f"expected {self.expected}"] if self.expected is not None else []
        said += [f"got {_shown(self.found)!r}"] if self.found is not None else []
        return f"{where.strip()}: {', '.join(said)}" if where else ", ".join(said)


def _shown(text: str) -> str:
    """As much of *text* as a message holds; a partner may have sent a megabyte."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


_LONGEST_SHOWN = 200


# ------------------------------------------------------------------ what the rules decide


@frozen(kw_only=True)
class Decision:
    """
    What a rule set decided for one order.

    Args:
        rule_id: The rule that decided; ``None`` when ``otherwise`` did.

        action: ``allocate``, ``hold`` or ``keep``.

        locations: Allocate only: codes, best first; empty means any location the view knows.

        strategy: Allocate only: how a place is picked among them.

        split: ``never``, ``by_line`` or ``by_unit``.

        if_short: ``next_rule``, ``backorder`` or ``hold``.

        reason: Hold only: why.

        effects: Those of every rule that matched up to here, in the order in which the rules stand.
    """

    rule_id: str | None
    action: str
    locations: tuple[str, ...] = ()
    strategy: str = "in_order"
    strategy_options: immutabledict[str, Any] = field(factory=immutabledict, converter=_mapping)
    split: str = "never"
    if_short: str = "next_rule"
    reason: str | None = None
    effects: tuple[Effect, ...] = ()

    @property
    def shipping_service(self) -> str | None:
        """The last service that a rule set, or ``None``."""
        return next((e.value for e in reversed(self.effects) if e.kind == "set_service"), None)

    @property
    def tags(self) -> frozenset[str]:
        """Every tag that a rule added."""
        return frozenset(effect.value for effect in self.effects if effect.kind == "tag")

    @property
    def properties(self) -> dict[str, str]:
        """The properties that rules set; a later rule overwrites."""
        return {e.name: e.value for e in self.effects if e.kind == "set_property" and e.name is not None}

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes that rules added, in order."""
        return tuple(effect.value for effect in self.effects if effect.kind == "note")


@frozen(kw_only=True)
class Effect:
    """
    Something a matching rule adds to an order on its way.

    Args:
        kind: ``tag``, ``set_property``, ``set_service`` or ``note``.

        name: The property's name; ``None`` for the others.
    """

    rule_id: str | None
    kind: str
    value: str
    name: str | None = None


@frozen(kw_only=True)
class RuleVerdict:
    """
    What one rule made of one order.

    Args:
        verdict: ``true``, ``false`` or ``unknown``.

        decided: Whether this rule ended the evaluation.

        because: The leaves that made it so, each as one clause: ``ship_to.country eq 'GB': got 'FR'``.

        action: What the rule decides when it matches; ``None`` where it only adds effects.

        locations: Those that it allocates to; none, where it allocates, stands for any.
    """

    rule_id: str
    verdict: str
    decided: bool = False
    because: tuple[str, ...] = ()
    action: str | None = None
    locations: tuple[str, ...] = ()

    def offers(self, location: str) -> bool:
        """Whether the rule, when it matches, allocates to *location*."""
        return self.action == "allocate" and (not self.locations or location in self.locations)


@frozen(kw_only=True)
class Explanation:
    """
    Why a rule set decided as it did: every rule's verdict, then every location's.

    Args:
        locations: Every location known, and what allocation made of it; empty where allocation was not asked.
    """

    order_id: str
    decision: Decision | None
    rules: tuple[RuleVerdict, ...] = ()
    locations: immutabledict[str, str] = field(factory=immutabledict, converter=_mapping)

    def why_not(self, location: str) -> str:
        """
        Why *location* does not ship the order: what allocation made of it, then the rules that offer it and why they
        did not come to it.

        Raises:
            AllocationError: No such location is known.

        Example:
            >>> gb = RuleVerdict(rule_id="gb", verdict="true", decided=True, action="allocate", locations=("corby",))
            >>> fr = RuleVerdict(rule_id="fr", verdict="false", because=("ship_to.country eq 'FR': got 'GB'",),
            ...                  action="allocate", locations=("leeds",))
            >>> print(Explanation(order_id="A1", decision=None, rules=(fr, gb)).why_not("leeds"))
            leeds
              rule fr offers it, but is false: ship_to.country eq 'FR': got 'GB'
              rule gb decides, and does not offer it
        """
        known = {*self.locations, *(code for rule in self.rules for code in rule.locations)}
        if known and location not in known:
            expected = ", ".join(sorted(known))
            raise AllocationError(f"order {self.order_id}: expected a location among {expected}, got {location!r}")
        said = self.locations.get(location)
        head = location if said is None else f"{location}: {said}"
        return "\n  ".join([head, *self._kept_out(location)])

    def _kept_out(self, location: str) -> Iterator[str]:
        decider: str | None = None
        for rule in self.rules:
            if rule.decided:
                decider = rule.rule_id
                yield f"rule {decider} decides{_how(rule, location)}"
            elif rule.offers(location) and rule.verdict != "true":
                because = ": " + "; ".join(rule.because) if rule.because else ""
                yield f"rule {rule.rule_id} offers it, but is {rule.verdict}{because}"
            elif rule.offers(location) and decider is not None:
                yield f"rule {rule.rule_id} offers it, but rule {decider} stands before it"
        if self.decision is not None and self.decision.rule_id is None:
            yield f"otherwise: {self.decision.action}"

    def as_dict(self) -> dict[str, Any]:
        """The same in plain JSON types."""
        document: dict[str, Any] = _json(self)
        return document

    def to_json(self, *, indent: int | None = None) -> str:
        """The same as JSON text."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=indent)

    def __str__(self) -> str:
        lines = [f"order {self.order_id}"]
        for rule in self.rules:
            mark = "decides" if rule.decided else rule.verdict
            lines.append(f"  {rule.rule_id}: {mark}" + "".join(f"\n    {clause}" for clause in rule.because))
        for code, said in self.locations.items():
            lines.append(f"  {code}: {said}")
        if self.decision is not None and self.decision.rule_id is None:
            lines.append(f"  otherwise: {self.decision.action}")
        return "\n".join(lines)


def _how(rule: RuleVerdict, location: str) -> str:
    if rule.offers(location):
        return ", and offers it"
    return ", and does not offer it" if rule.action == "allocate" else f": {rule.action}"


def _json(value: Any) -> Any:
    if has(type(value)):
        return {name: _json(each) for name, each in asdict(value, recurse=False).items()}
    if isinstance(value, Mapping):
        return {str(key): _json(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_json(each) for each in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)
