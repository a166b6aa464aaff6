"""Laws of the fold over facts."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.lifecycle import FACT_KINDS, Fact, advance, facts_of, fold
from fcflow.model import (
    FulfilmentLine,
    FulfilmentOrder,
    FulfilmentState,
    Shipment,
    Status,
    StatusLine,
    StatusUpdate,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
RANK = (None, *(FulfilmentState(s) for s in ("accepted", "cancelled", "part_shipped", "shipped")))

instants = st.none() | st.integers(0, 3).map(lambda hours: NOON + timedelta(hours=hours))
fulfilments = st.lists(st.tuples(st.sampled_from(["MUG", "CUP"]), st.integers(1, 3)), min_size=1, max_size=3).map(
    lambda lines: FulfilmentOrder(
        fulfilment_id="A1",
        order_id="A1",
        location="leeds",
        lines=[FulfilmentLine(line_id=str(n), sku=sku, quantity=q) for n, (sku, q) in enumerate(lines, 1)],
    )
)
facts = st.builds(
    Fact,
    fulfilment_id=st.just("A1"),
    kind=st.sampled_from(FACT_KINDS),
    line_id=st.none() | st.sampled_from(["1", "2", "3"]),
    quantity=st.none() | st.integers(0, 4),
    shipment=st.sampled_from(["", "T1", "T2", "T1|T2", "T2|T3"]),
    at=instants,
    message=st.sampled_from([None, "no stock"]),
)
parcels = st.builds(
    Fact,
    fulfilment_id=st.just("A1"),
    kind=st.just("shipped"),
    line_id=st.sampled_from(["1", "2", "3"]),
    quantity=st.integers(1, 4),
    shipment=st.sampled_from(["", "T1", "T2", "T1|T2"]),
)
histories = st.lists(facts, max_size=7)

counts = st.none() | st.integers(0, 4)
status_lines = st.builds(
    StatusLine,
    line_id=st.none() | st.sampled_from(["1", "2", "9"]),
    sku=st.none() | st.sampled_from(["MUG", "CUP", "HAT"]),
    shipped=counts,
    short=counts,
    cancelled=counts,
    returned=counts,
)
shipments = st.builds(
    Shipment,
    tracking_numbers=st.lists(st.sampled_from(["T1", "T2"]), max_size=2, unique=True),
    lines=st.lists(status_lines, max_size=2),
    shipped_at=instants,
    delivered_at=instants,
)
updates = st.builds(
    StatusUpdate,
    reference=st.just("A1"),
    status=st.none() | st.sampled_from(Status),
    raw_status=st.sampled_from([None, "WORD"]),
    shipments=st.lists(shipments, max_size=2),
    lines=st.lists(status_lines, max_size=3),
    at=instants,
)


@settings(max_examples=150)
@given(fulfilments, histories, st.randoms(use_true_random=False))
def test_neither_order_nor_repeats_matter(fulfilment, history, random):
    """
    Any permutation of the facts, some of them said again, gives the same progress.
    """
    again = history + random.sample(history, k=len(history) // 2)
    random.shuffle(again)

    assert fold(fulfilment, again) == fold(fulfilment, history)


@settings(max_examples=200)
@given(fulfilments, histories, facts)
def test_the_state_never_goes_back(fulfilment, history, more):
    """
    One more fact leaves the state or takes it on, in the order nothing, accepted, cancelled, part shipped, shipped.
    """
    before, after = fold(fulfilment, history), fold(fulfilment, [*history, more])

    assert RANK.index(before.state) <= RANK.index(after.state)
    if before.state is not None and after.state is not None:
        assert advance(before.state, after.state) is after.state


@settings(max_examples=150)
@given(fulfilments, histories)
def test_no_unit_is_two_things(fulfilment, history):
    """
    Per line, shipped, short, cancelled and open units are the units ordered, and only units not shipped are free.
    """
    progress = fold(fulfilment, history)

    for line, ordered in zip(progress.lines, fulfilment.lines, strict=True):
        parts = (line.shipped, line.short, line.cancelled, line.open)
        assert min(parts) >= 0
        assert sum(parts) == ordered.quantity == line.quantity
        assert 0 <= line.returned <= line.shipped
        assert progress.released.get(line.line_id, 0) <= line.quantity - line.shipped


@settings(max_examples=150)
@given(fulfilments, histories)
def test_the_state_says_what_the_lines_say(fulfilment, history):
    """
    Shipped has no open unit and some shipped; cancelled has none shipped and everything free.
    """
    progress = fold(fulfilment, history)

    if progress.state is FulfilmentState.SHIPPED:
        assert any(line.shipped for line in progress.lines)
        assert all(line.open == 0 for line in progress.lines)
    if progress.state is FulfilmentState.CANCELLED:
        assert dict(progress.released) == {line.line_id: line.quantity for line in fulfilment.lines}


@settings(max_examples=150)
@given(fulfilments, histories, parcels)
def test_counted_shipments_only_grow(fulfilment, history, more):
    """
    One more counted parcel never takes a shipped unit back.
    """
    before, after = fold(fulfilment, history), fold(fulfilment, [*history, more])

    shipped = [sum(line.shipped for line in progress.lines) for progress in (before, after)]
    assert shipped[0] <= shipped[1]


@settings(max_examples=200)
@given(fulfilments, updates)
def test_every_message_is_read_without_a_crash_and_within_the_order(fulfilment, update):
    """
    Whatever a partner says, each fact names a line that was sent and no more units than it has.
    """
    found, messages = facts_of(update, fulfilment)
    ordered = {line.line_id: line.quantity for line in fulfilment.lines}

    for each in found:
        assert each.fulfilment_id == "A1"
        assert each.line_id is None or (each.quantity or 0) <= ordered[each.line_id]
    assert all(message and not message.endswith(".") for message in messages)
    assert fold(fulfilment, found) == fold(fulfilment, found * 2)
