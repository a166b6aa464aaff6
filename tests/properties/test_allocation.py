"""Laws of allocation."""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from itertools import combinations

from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fcflow.allocation import STRATEGIES, StrategyType, day_began, place, route, working_day
from fcflow.model import Decision, FulfilmentOrder, Location, Order, OrderLine, StockPolicy, WorkingCalendar
from fcflow.stock import Picture, StockView

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CODES = ("leeds", "corby", "york", "dover")
SKUS = ("MUG", "CUP", "HAT")

orders = st.builds(
    lambda lines, properties: Order(
        order_id="A1",
        lines=[OrderLine(line_id=str(n), sku=sku, quantity=q) for n, (sku, q) in enumerate(lines, 1)],
        properties=properties,
    ),
    st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 4)), min_size=1, max_size=4),
    st.sampled_from([{}, {"latitude": "51.5", "longitude": "-0.1"}]),
)
stocks = st.dictionaries(st.tuples(st.sampled_from(CODES), st.sampled_from(SKUS)), st.integers(0, 6), max_size=12)
decisions = st.builds(
    Decision,
    rule_id=st.just("r1"),
    action=st.just("allocate"),
    locations=st.lists(st.sampled_from([*CODES, "atlantis"]), max_size=5).map(tuple),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    split=st.sampled_from(["never", "by_line", "by_unit"]),
    if_short=st.sampled_from(["next_rule", "backorder", "hold"]),
)
excluded = st.frozensets(st.sampled_from(CODES), max_size=2)
full = st.frozensets(st.sampled_from(CODES), max_size=1)


def world(stock, excluded=frozenset(), full=frozenset(), endless=frozenset()):
    places = {
        code: Location(
            code=code,
            latitude=50.0 + number,
            longitude=None if code == "york" else -1.0,
            capacity_per_day=10,
            stock=StockPolicy(tracked=code not in endless, buffer=number % 2),
        )
        for number, code in enumerate(CODES)
    }
    pictures = [
        Picture(location=code, sku=sku, on_hand=units, as_of=NOON, received_at=NOON)
        for (code, sku), units in stock.items()
    ]
    return StockView(places, pictures, now=NOON, orders_today=dict.fromkeys(full, 10), excluded={"A1": excluded})


def check(order, decision, view, plan, barred):
    """Every law that a plan must keep, whoever proposed it."""
    placed, drawn = Counter(), Counter()
    for placement in plan.placements:
        assert placement.lines
        for line in placement.lines:
            placed[line.line_id] += line.quantity
            drawn[placement.location, line.sku] += line.quantity
    for line in order.lines:
        assert placed[line.line_id] + plan.short.get(line.line_id, 0) == line.quantity
    for (code, sku), units in drawn.items():
        free = view.allocatable(code, sku)
        assert free is None or units <= free
    used = {placement.location for placement in plan.placements}
    assert not used & barred
    assert used <= set(decision.locations or CODES)
    if decision.split == "never":
        assert len(used) <= 1
        assert not used or plan.is_whole
    if decision.split == "by_line":
        assert all(line.quantity == order.line(line.line_id).quantity for p in plan.placements for line in p.lines)


@settings(max_examples=300)
@given(orders, decisions, stocks, excluded, full, st.frozensets(st.sampled_from(CODES), max_size=1))
def test_units_are_conserved_and_nothing_is_promised_that_is_not_there(order, decision, stock, banned, busy, endless):
    """
    Placed plus short is what was ordered, line by line; no location ships more than it may promise, none that is
    excluded or full ships at all, and the splitting is kept.
    """
    view = world(stock, banned, busy, endless)

    plan = place(order, decision, view, now=NOON)

    check(order, decision, view, plan, banned | busy)
    assert set(plan.locations) == set(CODES) | set(decision.locations)
    assert all(plan.locations.values())
    assert place(order, decision, world(stock, banned, busy, endless), now=NOON) == plan


@settings(max_examples=150)
@given(
    orders,
    decisions,
    stocks,
    excluded,
    st.lists(
        st.dictionaries(
            st.sampled_from([*CODES, "atlantis"]),
            st.dictionaries(st.sampled_from("1239"), st.integers(-1, 5)),
            max_size=3,
        ),
        max_size=5,
    ),
)
def test_no_strategy_can_break_the_laws(order, decision, stock, banned, proposals):
    """
    Whatever a strategy proposes, what is taken keeps every law.
    """
    wild = {"acme:wild": StrategyType(name="acme:wild", propose=lambda job: iter(proposals))}
    view = world(stock, banned)
    decision = evolve(decision, strategy="acme:wild")

    check(order, decision, view, place(order, decision, view, strategies=wild), banned)


def fits(order, view, chosen, split):
    """Whether *chosen* locations can ship all of *order*: by trying every way."""
    free = {(code, sku): view.allocatable(code, sku) for code in chosen for sku in SKUS}
    if split == "by_unit":
        need = Counter()
        for line in order.lines:
            need[line.sku] += line.quantity
        return all(sum(free[code, sku] for code in chosen) >= units for sku, units in need.items())
    return _fits_lines(list(order.lines), free, chosen)


def _fits_lines(lines, free, chosen):
    if not lines:
        return True
    line, rest = lines[0], lines[1:]
    for code in chosen:
        if free[code, line.sku] >= line.quantity:
            left = free | {(code, line.sku): free[code, line.sku] - line.quantity}
            if _fits_lines(rest, left, chosen):
                return True
    return False


@settings(max_examples=200)
@given(orders, stocks, st.sampled_from(["by_line", "by_unit"]))
def test_fewest_splits_is_minimal(order, stock, split):
    """
    Brute force over every set of locations finds none smaller, and where it finds none at all the plan is short.
    """
    view = world(stock)
    sizes = [
        size
        for size in range(1, len(CODES) + 1)
        if any(fits(order, view, chosen, split) for chosen in combinations(CODES, size))
    ]

    plan = place(order, Decision(rule_id="r1", action="allocate", strategy="fewest_splits", split=split), view)

    assert plan.is_whole == bool(sizes)
    if sizes:
        assert len(plan.placements) == sizes[0]


@settings(max_examples=150)
@given(orders, stocks, decisions)
def test_what_can_be_covered_is_covered(order, stock, decision):
    """
    A plan is short only where no way exists within the splitting that the rule allows.
    """
    view = world(stock)
    named = tuple(dict.fromkeys(code for code in decision.locations if code in CODES)) or CODES
    if decision.locations and not set(decision.locations) & set(CODES):
        named = ()
    if decision.split == "never":
        possible = any(fits(order, view, (code,), "by_unit") for code in named)
    else:
        possible = bool(named) and fits(order, view, named, decision.split)

    assert place(order, decision, view).is_whole == possible


class Rules:
    def __init__(self, decisions):
        self._decisions = decisions

    def decisions(self, order, view, now):
        yield from self._decisions


@settings(max_examples=100)
@given(st.lists(orders, max_size=6), st.lists(decisions, min_size=1, max_size=3), stocks)
def test_many_orders_never_take_more_than_there_was(batch, rules, stock):
    """
    Orders routed one after the other, each taken from the view, together stay within what was free at the start.
    """
    view, start, taken = world(stock), world(stock), Counter()

    for order in batch:
        routing = route(order, Rules(rules), view, NOON)
        assert routing.action in ("allocate", "backorder", "hold", "none")
        assert not routing.placements or routing.action in ("allocate", "backorder")
        for placement in routing.placements:
            view.take(
                FulfilmentOrder(fulfilment_id="A", order_id="A", location=placement.location, lines=placement.lines)
            )
            for line in placement.lines:
                taken[placement.location, line.sku] += line.quantity

    assert all(units <= start.allocatable(*key) for key, units in taken.items())


calendars = st.builds(
    WorkingCalendar,
    zone=st.sampled_from(["UTC", "Europe/London", "America/New_York", "Asia/Kolkata"]),
    days=st.sets(st.integers(1, 7), min_size=1).map(sorted).map(tuple),
    holidays=st.lists(st.dates(date(2026, 3, 20), date(2026, 4, 10)), max_size=4),
    cut_off=st.none() | st.times(),
)


SUNDAYS = WorkingCalendar(zone="Europe/London", days=(7,), cut_off=time(1))
AUTUMN = WorkingCalendar(zone="Europe/London", days=(7,), cut_off=time(1, 30))


@settings(max_examples=200)
@example(SUNDAYS, datetime(2026, 4, 1), 0.0)  # the cut-off falls into the hour that the clocks skipped
@example(AUTUMN, datetime(2026, 10, 25, 1, 15), 0.5)  # a second quarter past one, after the first half past one
@given(calendars, st.datetimes(datetime(2026, 3, 20), datetime(2026, 11, 10)), st.floats(0, 1))
def test_the_beginning_of_a_working_day_is_where_orders_begin_to_belong_to_it(calendar, wall, share):
    """
    Everything after `day_began` and up to now belongs to the same working day, and what came before it does not.
    """
    now = wall.replace(tzinfo=UTC)
    began = day_began(calendar, now)
    between = began + max((now - began) * share, timedelta(microseconds=1))

    assert began < now
    assert working_day(calendar, min(between, now)) == working_day(calendar, now)
    assert working_day(calendar, began) != working_day(calendar, now)
