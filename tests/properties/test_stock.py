"""Laws of stock."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.model import (
    Feed,
    FulfilmentLine,
    FulfilmentOrder,
    FulfilmentState,
    Location,
    Record,
    StockLevel,
    StockPolicy,
)
from fcflow.stock import Demand, Picture, Shipped, StockView, merge_levels

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LOCATIONS = ("leeds", "corby")
SKUS = ("MUG", "CUP")

instants = st.integers(-5, 5).map(lambda hours: NOON + timedelta(hours=hours))
policies = st.builds(
    StockPolicy,
    tracked=st.sampled_from([True, True, True, False]),
    orders_count=st.booleans(),
    shipping_deducts=st.booleans(),
    picture_falls=st.sampled_from(["received", "shipped"]),
    buffer=st.integers(0, 3),
    max_age_s=st.sampled_from([None, None, 3600]),
)
places = st.fixed_dictionaries(
    {code: policies.map(lambda policy, code=code: Location(code=code, stock=policy)) for code in LOCATIONS}
)
pictures = st.lists(
    st.builds(
        Picture,
        location=st.sampled_from(LOCATIONS),
        sku=st.sampled_from(SKUS),
        on_hand=st.integers(-3, 12),
        reserved=st.integers(0, 3),
        as_of=instants,
        received_at=st.just(NOON),
    ),
    max_size=5,
)
demands = st.builds(
    Demand,
    location=st.sampled_from([*LOCATIONS, None]),
    sku=st.sampled_from(SKUS),
    units=st.integers(1, 4),
    state=st.none() | st.sampled_from(FulfilmentState),
    sent_at=st.none() | instants,
)
parcels = st.builds(
    Shipped,
    location=st.sampled_from(LOCATIONS),
    sku=st.sampled_from(SKUS),
    units=st.integers(1, 4),
    at=instants,
    sent_at=st.none() | instants,
)


def every(view):
    return {(code, sku): view.allocatable(code, sku) for code in LOCATIONS for sku in SKUS}


@settings(max_examples=100)
@given(places, pictures, st.lists(demands, max_size=4), st.lists(parcels, max_size=3))
def test_no_number_is_negative_and_nothing_is_promised_beyond_the_picture(locations, seen, wanted, left):
    """
    Allocatable is ``None`` where a location is not tracked, else between zero and what the latest picture holds.
    """
    view = StockView(locations, seen, wanted, left, now=NOON)
    latest = {}
    for picture in sorted(seen, key=lambda each: each.as_of):
        latest[picture.location, picture.sku] = max(0, picture.on_hand)

    for (code, sku), free in every(view).items():
        if not locations[code].stock.tracked:
            assert free is None
            assert view.sellable(code, sku) is None
        else:
            most = max((max(0, p.on_hand) for p in seen if (p.location, p.sku) == (code, sku)), default=0)
            assert 0 <= free <= most
            assert 0 <= view.sellable(code, sku) <= most
    for summary in view.levels():
        assert min(summary.level, summary.sellable, summary.allocatable) >= 0


@settings(max_examples=100)
@given(places, pictures, st.lists(demands, max_size=4), st.lists(parcels, max_size=3), demands, parcels)
def test_more_demand_or_shipments_never_free_a_unit(locations, seen, wanted, left, demand, parcel):
    """
    One more order or one more parcel leaves what may be promised or lowers it.
    """
    before = every(StockView(locations, seen, wanted, left, now=NOON))

    for view in (
        StockView(locations, seen, [*wanted, demand], left, now=NOON),
        StockView(locations, seen, wanted, [*left, parcel], now=NOON),
    ):
        after = every(view)
        assert all(free is None or after[key] <= free for key, free in before.items())


@settings(max_examples=100)
@given(places, pictures, st.integers(1, 4), instants, instants)
def test_shipping_alone_frees_nothing(locations, seen, units, sent_at, shipped_at):
    """
    An order that turns from sent to shipped, with no new picture taken since it was sent, frees none of its units.
    """
    sent_at = max([sent_at, *(picture.as_of for picture in seen)])
    shipped_at = max(sent_at + timedelta(minutes=1), shipped_at)
    order = Demand(location="leeds", sku="MUG", units=units, state=FulfilmentState.SENT, sent_at=sent_at)
    parcel = Shipped(location="leeds", sku="MUG", units=units, at=shipped_at, sent_at=sent_at)

    assert every(StockView(locations, seen, [order], now=NOON)) == every(
        StockView(locations, seen, [], [parcel], now=NOON)
    )


@settings(max_examples=100)
@given(places, pictures, st.lists(st.tuples(st.sampled_from(LOCATIONS), st.sampled_from(SKUS)), max_size=20))
def test_taking_what_is_free_never_takes_more_than_was_free(locations, seen, orders):
    """
    However many single units are asked for, no more are taken than were free at the start.
    """
    view = StockView(locations, seen, now=NOON)
    free, taken = every(view), dict.fromkeys(every(view), 0)

    for code, sku in orders:
        if view.allocatable(code, sku) in (None, 0):
            continue
        line = FulfilmentLine(line_id="1", sku=sku, quantity=1)
        view.take(FulfilmentOrder(fulfilment_id="A", order_id="A", location=code, lines=[line]))
        taken[code, sku] += 1

    assert all(free[key] is None or taken[key] <= free[key] for key in taken)


levels = st.lists(
    st.builds(
        StockLevel,
        location=st.sampled_from(["leeds", "corby", "york", None]),
        sku=st.sampled_from(["MUG", "CUP", "L-1", "XXL"]),
        on_hand=st.none() | st.integers(-2, 9),
        as_of=st.none() | instants,
    ),
    max_size=6,
)


@settings(max_examples=150)
@given(
    levels, pictures, st.booleans(), st.sampled_from(["refuse", "sum", "last"]), st.sampled_from(["either", "partner"])
)
def test_every_row_is_applied_or_explained(rows, held, complete, duplicates, match_sku):
    """
    A row with a quantity becomes (part of) a picture or has a problem with its line; a picture is made of rows, or is a
    zero for something that was held before; no picture is older than the one held.
    """
    feed = Feed(kind="stock", partner="p", layout="x", complete=complete, duplicates=duplicates, match_sku=match_sku)
    records = [Record(line=line, value=row) for line, row in enumerate(rows, 2)]
    before = {}
    for picture in held:
        before[picture.location, picture.sku] = max(
            before.get((picture.location, picture.sku), picture.as_of), picture.as_of
        )

    pictures, problems = merge_levels(
        feed,
        records,
        location_of=lambda code: {None: "leeds", "leeds": "leeds", "corby": "corby"}.get(code),
        received_at=NOON + timedelta(hours=6),
        known_skus={"MUG", "CUP"},
        aliases={"MUG": "L-1"},
        current=held,
    )

    reported = {problem.line for problem in problems}
    applied = {(picture.location, picture.sku) for picture in pictures}
    assert len(applied) == len(pictures)
    for record in records:
        level = record.value
        if level.on_hand is not None and record.line not in reported:
            assert (level.location or "leeds", {"L-1": "MUG"}.get(level.sku, level.sku)) in applied
    for picture in pictures:
        key = picture.location, picture.sku
        assert key not in before or picture.as_of >= before[key]
        assert picture.sku in SKUS
