"""
Hypothesis strategies for the values of fcflow: small, valid, and as odd as real data is.

Most take the strategy of their free texts: a codec that cannot carry line breaks is tested with
``orders(text=texts(line_breaks=False))``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fcflow.model import (
    Address,
    Location,
    LocationKind,
    Order,
    OrderLine,
    Payment,
    Shipment,
    ShippingLine,
    ShippingOrder,
    Status,
    StatusLine,
    StatusUpdate,
    StockLevel,
)

__all__ = [
    "addresses",
    "amounts",
    "identifiers",
    "instants",
    "locations",
    "order_lines",
    "orders",
    "quantities",
    "shipping_orders",
    "skus",
    "status_updates",
    "stock_levels",
    "texts",
]

_COUNTRIES = ("GB", "IE", "DE", "FR", "US")
_CURRENCIES = ("GBP", "EUR", "USD")


def identifiers() -> SearchStrategy[str]:
    """
    Codes as people make them: ASCII letters, digits and a little punctuation, no blanks at either end.

    Example:
        >>> import warnings; warnings.simplefilter("ignore")
        >>> isinstance(identifiers().example(), str)
        True
    """
    return st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_#/-]{0,11}", fullmatch=True)


def skus() -> SearchStrategy[str]:
    """SKUs: drawn from a handful half of the time, so that the same one turns up twice."""
    return st.sampled_from(("MUG", "SOFA", "LAMP-2", "0042")) | identifiers()


def texts(*, line_breaks: bool = True, max_size: int = 20) -> SearchStrategy[str]:
    """
    Free text: any letters, quotes, delimiters, formula signs; never empty, no blanks at either end.

    Args:
        line_breaks: Whether line breaks may stand inside.
    """
    odd = st.sampled_from(('say "hi"', "a;b,c|d\te", "=SUM(A1)", "Łódź", "O'Brien & Co", "x" * max_size, "-1", "N/A"))
    letters = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\ufeff")
    free = st.text(letters, min_size=1, max_size=max_size) | odd
    if line_breaks:
        free |= st.sampled_from(("two\nlines", "and\r\nmore", "end\rless"))
    return free.map(lambda text: text[:max_size].strip()).filter(bool)


def amounts() -> SearchStrategy[Decimal]:
    """Money: at least zero, two decimals, now and then large."""
    return st.decimals(min_value=0, max_value=10**6, places=2, allow_nan=False, allow_infinity=False)


def quantities() -> SearchStrategy[int]:
    """Whole units, at least one."""
    return st.integers(min_value=1, max_value=999)


def instants() -> SearchStrategy[datetime]:
    """Aware instants in UTC between 2000 and 2037, whole seconds."""
    naive = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2037, 1, 1))  # noqa: DTZ001  # made aware below
    return naive.map(lambda instant: instant.replace(microsecond=0, tzinfo=UTC))


def addresses(text: SearchStrategy[str] | None = None) -> SearchStrategy[Address]:
    """Addresses with any part missing."""
    part = st.none() | (texts() if text is None else text)
    names = ("name", "company", "address1", "address2", "address3", "town", "region", "postcode", "phone", "email")
    return st.builds(
        Address,
        **dict.fromkeys(names, part),
        country=st.none() | st.sampled_from(_COUNTRIES),
    )


def _properties(text: SearchStrategy[str]) -> SearchStrategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from(("gift", "zone", "batch")), text, max_size=2)


@st.composite
def order_lines(draw: Any, line_id: str | None = None, text: SearchStrategy[str] | None = None) -> OrderLine:
    """One line; *line_id* where it must be unique within an order."""
    text = texts() if text is None else text
    return OrderLine(
        line_id=line_id or draw(identifiers()),
        sku=draw(skus()),
        quantity=draw(quantities()),
        title=draw(st.none() | text),
        unit_price=draw(st.none() | amounts()),
        weight_g=draw(st.none() | st.integers(0, 50_000)),
        channel_sku=draw(st.none() | identifiers()),
        properties=draw(_properties(text)),
    )


@st.composite
def orders(
    draw: Any, *, order_id: str | None = None, text: SearchStrategy[str] | None = None, max_lines: int = 4
) -> Order:
    """
    Orders of one to *max_lines* lines; everything optional is missing now and then.

    Args:
        order_id: Fixed; drawn when it is left out.

        text: Strategy of every free text.
    """
    text = texts() if text is None else text
    optional = st.none() | text
    return Order(
        order_id=order_id or draw(identifiers()),
        reference=draw(st.none() | identifiers()),
        channel=draw(st.none() | st.sampled_from(("ebay", "shopify", "amazon"))),
        sub_channel=draw(optional),
        received_at=draw(st.none() | instants()),
        dispatch_by=draw(st.none() | instants()),
        payment=draw(st.none() | st.sampled_from(Payment)),
        currency=draw(st.none() | st.sampled_from(_CURRENCIES)),
        total=draw(st.none() | amounts()),
        postage=draw(st.none() | amounts()),
        ship_to=draw(addresses(text)),
        bill_to=draw(st.none() | addresses(text)),
        lines=[draw(order_lines(str(n + 1), text)) for n in range(draw(st.integers(1, max_lines)))],
        shipping_service=draw(optional),
        tags=draw(st.frozensets(st.sampled_from(("gift", "review", "two-man")))),
        properties=draw(_properties(text)),
        notes=draw(optional),
    )


@st.composite
def shipping_orders(draw: Any, *, text: SearchStrategy[str] | None = None, order: Order | None = None) -> ShippingOrder:
    """What a layout writes: an order, or part of its lines, with effects of rules on top."""
    text = texts() if text is None else text
    order = order or draw(orders(text=text))
    kept = draw(st.lists(st.sampled_from(order.lines), min_size=1, unique_by=lambda line: line.line_id))
    return ShippingOrder(
        fulfilment_id=order.order_id + draw(st.sampled_from(("", "-2", "-3"))),
        order=order,
        location=draw(identifiers()),
        partner_location=draw(st.none() | identifiers()),
        lines=[draw(_shipping_lines(line)) for line in kept],
        shipping_service=draw(st.none() | text),
        tags=order.tags | draw(st.frozensets(st.sampled_from(("fragile", "two-man")))),
        properties=draw(_properties(text)),
        notes=draw(st.none() | text),
    )


@st.composite
def _shipping_lines(draw: Any, line: OrderLine) -> ShippingLine:
    return ShippingLine(
        line_id=line.line_id,
        sku=line.sku,
        quantity=draw(st.integers(1, line.quantity)),
        partner_sku=draw(st.none() | identifiers()),
        title=line.title,
        unit_price=line.unit_price,
        weight_g=line.weight_g,
        channel_sku=line.channel_sku,
        properties=line.properties,
    )


def _status_lines() -> SearchStrategy[StatusLine]:
    count = st.none() | st.integers(0, 99)
    return st.builds(
        StatusLine,
        line_id=st.none() | identifiers(),
        sku=skus(),
        shipped=count,
        short=count,
        cancelled=count,
        returned=count,
    )


def _shipments(text: SearchStrategy[str]) -> SearchStrategy[Shipment]:
    return st.builds(
        Shipment,
        carrier=st.none() | text,
        service=st.none() | text,
        tracking_numbers=st.lists(identifiers(), max_size=3),
        shipped_at=st.none() | instants(),
        delivered_at=st.none() | instants(),
    )


def status_updates(*, text: SearchStrategy[str] | None = None) -> SearchStrategy[StatusUpdate]:
    """What partners say, words we know and words we do not."""
    text = texts() if text is None else text
    return st.builds(
        StatusUpdate,
        reference=identifiers(),
        status=st.none() | st.sampled_from(Status),
        raw_status=st.none() | text,
        shipments=st.lists(_shipments(text), max_size=1),
        lines=st.lists(_status_lines(), max_size=2),
        message=st.none() | text,
        at=st.none() | instants(),
        event_id=st.none() | identifiers(),
    )


def stock_levels() -> SearchStrategy[StockLevel]:
    """What partners say of one SKU; a blank quantity now and then, a negative one too."""
    return st.builds(
        StockLevel,
        location=st.none() | identifiers(),
        sku=skus(),
        on_hand=st.none() | st.integers(-5, 10_000),
        reserved=st.none() | st.integers(0, 100),
        inbound=st.none() | st.integers(0, 100),
        as_of=st.none() | instants(),
    )


def locations() -> SearchStrategy[Location]:
    """Places with stock, of every kind."""
    return st.builds(
        Location,
        code=identifiers(),
        name=st.none() | texts(line_breaks=False),
        kind=st.sampled_from(LocationKind),
        partner=st.none() | identifiers(),
        partner_code=st.none() | identifiers(),
    )
