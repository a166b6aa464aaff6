"""Laws of allocating many orders that compete."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.allocation import route
from fcflow.allocation_many import Priority, allocate_many, in_turn
from fcflow.model import Decision, Location, Order, OrderLine, StockPolicy
from fcflow.stock import Picture, StockView

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CODES = ("leeds", "corby", "york")
SKUS = ("MUG", "CUP")
PRIORITY = Priority(tags=("vip", "express"))

instants = st.none() | st.integers(0, 2).map(lambda days: NOON + timedelta(days=days))
lines = st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 4)), min_size=1, max_size=3)


@st.composite
def batches(draw, max_size=6):
    """Orders A1, A2, ... that differ in what decides who comes first."""
    return [
        Order(
            order_id=f"A{number}",
            lines=[OrderLine(line_id=str(n), sku=sku, quantity=q) for n, (sku, q) in enumerate(draw(lines), 1)],
            tags=draw(st.frozensets(st.sampled_from(("vip", "express")), max_size=1)),
            properties=draw(st.sampled_from(({}, {"priority": "1"}, {"priority": "x"}))),
            dispatch_by=draw(instants),
            received_at=draw(instants),
        )
        for number in range(1, draw(st.integers(0, max_size)) + 1)
    ]


stocks = st.dictionaries(st.tuples(st.sampled_from(CODES), st.sampled_from(SKUS)), st.integers(0, 6), max_size=6)
capacities = st.dictionaries(st.sampled_from(CODES), st.integers(0, 3), max_size=2)
decisions = st.builds(
    Decision,
    rule_id=st.just("r1"),
    action=st.just("allocate"),
    locations=st.lists(st.sampled_from(CODES), max_size=3, unique=True).map(tuple),
    strategy=st.sampled_from(["in_order", "most_stock", "fewest_splits", "nearest"]),
    split=st.sampled_from(["never", "by_line", "by_unit"]),
    if_short=st.sampled_from(["next_rule", "backorder", "hold"]),
)


class Rules:
    def __init__(self, decisions):
        self._decisions = decisions

    def decisions(self, order, view, now):
        yield from self._decisions


def world(stock, capacities=None, endless=frozenset()):
    places = {
        code: Location(
            code=code,
            latitude=50.0 + number,
            longitude=-1.0,
            capacity_per_day=(capacities or {}).get(code),
            stock=StockPolicy(tracked=code not in endless),
        )
        for number, code in enumerate(CODES)
    }
    pictures = [
        Picture(location=code, sku=sku, on_hand=units, as_of=NOON, received_at=NOON)
        for (code, sku), units in stock.items()
    ]
    return StockView(places, pictures, now=NOON)


def check_batch(orders, view, routings):
    """Every law that a batch must keep: nothing lost, nothing promised that is not there, no day over its capacity."""
    bought = {order.order_id: order for order in orders}
    drawn, parcels = Counter(), Counter()
    for routing in routings:
        placed = Counter()
        for placement in routing.placements:
            parcels[placement.location] += 1
            for line in placement.lines:
                placed[line.line_id] += line.quantity
                drawn[placement.location, line.sku] += line.quantity
        if routing.action in ("allocate", "backorder"):
            for line in bought[routing.order_id].lines:
                assert placed[line.line_id] + routing.short.get(line.line_id, 0) == line.quantity
        else:
            assert not placed
    for (code, sku), units in drawn.items():
        free = view.allocatable(code, sku)
        assert free is None or units <= free
    for code, count in parcels.items():
        most = view.locations[code].capacity_per_day
        assert most is None or count <= most


@settings(max_examples=150)
@given(batches(), st.lists(decisions, min_size=1, max_size=2), stocks, capacities, st.randoms(use_true_random=False))
def test_a_batch_is_conserved_and_does_not_depend_on_how_it_was_sorted(orders, rules, stock, capacities, random):
    """
    No unit is lost or promised twice, each order is routed once and every location has its reason; shuffled orders get
    the same answer.
    """
    view = world(stock, capacities)

    routings = allocate_many(orders, Rules(rules), view, NOON, priority=PRIORITY)

    check_batch(orders, view, routings)
    assert [each.order_id for each in routings] == [each.order_id for each in in_turn(orders, PRIORITY)]
    assert all(set(routing.locations) == set(CODES) for routing in routings)
    shuffled = random.sample(orders, len(orders))
    assert allocate_many(shuffled, Rules(rules), view, NOON, priority=PRIORITY) == routings


@settings(max_examples=100)
@given(batches(), st.lists(decisions, min_size=1, max_size=2), stocks, capacities)
def test_who_comes_first_is_served_as_if_it_were_alone(orders, rules, stock, capacities):
    """
    Nobody behind an order takes anything from it: every beginning of the queue is routed as it would be without the
    rest.
    """
    view = world(stock, capacities)
    routings = allocate_many(orders, Rules(rules), view, NOON, priority=PRIORITY)

    served = in_turn(orders, PRIORITY)
    half = served[: len(served) // 2]
    assert allocate_many(half, Rules(rules), view, NOON, priority=PRIORITY) == routings[: len(half)]
    if served:
        assert route(served[0], Rules(rules), view, NOON) == routings[0]
