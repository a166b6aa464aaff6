"""Laws of allocating many orders that compete."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import product

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.allocation import route
from fcflow.allocation_many import Priority, allocate_many, in_turn
from fcflow.model import Decision, Location, Order, OrderLine, StockPolicy
from fcflow.optimise import Weights, optimise
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


# ------------------------------------------------------------------ the batch as a whole


def ways_of_order(order, decision, codes):
    """Every way to place *order* by *decision*, whole or not: as {(code, line): units}."""
    if decision.split == "never":
        for code in codes:
            yield {(code, line.line_id): line.quantity for line in order.lines}
        return
    yield from _ways_of_lines(list(order.lines), decision, codes)


def _ways_of_lines(lines, decision, codes):
    if not lines:
        yield {}
        return
    for rest in _ways_of_lines(lines[1:], decision, codes):
        for line_way in _ways_of_line(lines[0], decision, codes):
            yield rest | line_way


def _ways_of_line(line, decision, codes):
    if decision.split == "by_line":
        yield from ({(code, line.line_id): line.quantity} for code in codes)
        counts = []
    else:
        counts = product(range(line.quantity + 1), repeat=len(codes))
    for split in counts:
        if sum(split) == line.quantity or (decision.if_short == "backorder" and 0 < sum(split) < line.quantity):
            yield {(code, line.line_id): units for code, units in zip(codes, split, strict=True) if units}
    if decision.if_short == "backorder":
        yield {}


def brute_force(orders, decision, view, floor):
    """The most units and then the least parcels over every way to place all *orders*; by trying them all."""
    codes = decision.locations or CODES
    ways = []
    for order in orders:
        found = [way for way in ways_of_order(order, decision, codes) if sum(way.values()) >= floor[order.order_id]]
        ways.append([(order, way) for way in ([] if floor[order.order_id] else [{}]) + found])
    return max(filter(None, (_worth(chosen, view) for chosen in product(*ways))))


def _worth(chosen, view):
    drawn, parcels, units = Counter(), Counter(), 0
    for order, way in chosen:
        parcels.update({code for code, _ in way})
        for (code, line_id), count in way.items():
            drawn[code, order.line(line_id).sku] += count
            units += count
    if any(count > (view.allocatable(*key)) for key, count in drawn.items()):
        return None
    most = {code: view.locations[code].capacity_per_day for code in parcels}
    if any(most[code] is not None and count > most[code] for code, count in parcels.items()):
        return None
    return units, -sum(parcels.values())


@settings(max_examples=60, deadline=None)
@given(batches(max_size=3), decisions, stocks, capacities)
def test_the_optimum_is_what_brute_force_finds(orders, decision, stock, capacities):
    """
    On tiny batches every way is tried: as many units, and as few parcels, under the same stock and capacity.
    """
    orders = [evolve(order, lines=order.lines[:2]) for order in orders]
    orders = [
        evolve(order, lines=[evolve(line, quantity=min(2, line.quantity)) for line in order.lines]) for order in orders
    ]
    view = world(stock, capacities)
    greedy = allocate_many(orders, Rules([decision]), view, NOON)
    floor = {each.order_id: sum(line.quantity for p in each.placements for line in p.lines) for each in greedy}

    found = optimise(orders, Rules([decision]), view, NOON)

    assert found.proven
    assert (found.score.units, -found.score.parcels) == brute_force(orders, decision, view, floor)


@settings(max_examples=100, deadline=None)
@given(
    batches(),
    st.lists(decisions, min_size=1, max_size=3),
    stocks,
    capacities,
    st.frozensets(st.sampled_from(CODES), max_size=1),
    st.randoms(use_true_random=False),
)
def test_the_optimum_keeps_every_law_and_the_greedy_result_is_its_floor(
    orders, rules, stock, capacities, endless, random
):
    """
    Units are conserved and none is promised twice; nobody gets fewer units than in turn, the batch is never worse; and
    the order of the input makes no difference.
    """
    view = world(stock, capacities, endless)
    weights = Weights(parcel=1, km=0.01, cost=lambda order, location: len(location.code))

    found = optimise(orders, Rules(rules), view, NOON, priority=PRIORITY, weights=weights)

    check_batch(orders, view, found.routings)
    greedy = allocate_many(orders, Rules(rules), view, NOON, priority=PRIORITY)
    for before, after in zip(greedy, found.routings, strict=True):
        assert before.order_id == after.order_id
        assert sum(before.short.values()) >= sum(after.short.values()) or before.action not in ("allocate", "backorder")
        assert before.action != "allocate" or after.action == "allocate"
        assert not before.placements or after.placements
        assert not after.placements or after.decision in rules[: rules.index(before.decision or rules[-1]) + 1]
        used = {placement.location for placement in after.placements}
        assert not used or used <= set(after.decision.locations or CODES)
        assert not used or after.decision.split != "never" or len(used) == 1
    assert found.score == found.greedy or found.score.beats(found.greedy)
    assert (found.score == found.greedy) == (list(found.routings) == greedy)
    again = optimise(random.sample(orders, len(orders)), Rules(rules), view, NOON, priority=PRIORITY, weights=weights)
    assert again == found
