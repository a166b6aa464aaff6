"""
A table is decided as its orders are: row by row the same as `decide`, and the same as the naive oracle.
"""

import importlib.util
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.model import Order, OrderLine
from fcflow.rules import OperatorType, load_rules
from fcflow.rules.codes import Numbers, scaled
from fcflow.rules.columns import local, micros
from fcflow.rules.table import orders_to_table, table_to_orders
from fcflow.testing.oracle import Oracle


def _strategies_of(name):
    """The strategies of a test module beside this one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ORACLE, INDEX = _strategies_of("test_rules_oracle"), _strategies_of("test_rules_index")
NOW = ORACLE.NOW


@st.composite
def tables_of(draw, orders, max_size=12):
    """Several orders, each with its own id."""
    drawn = draw(st.lists(orders, min_size=1, max_size=max_size))
    return [_renamed(order, f"A{number}") for number, order in enumerate(drawn)]


def _renamed(order, order_id):
    return evolve(order, order_id=order_id)


@settings(max_examples=250, deadline=None)
@given(document=ORACLE.rule_sets(max_rules=6), orders=tables_of(ORACLE.orders()), view=ORACLE.VIEWS)
def test_a_table_is_decided_as_its_orders_are(document, orders, view):
    """
    Whatever the rules ask, columns, `decide` and the oracle give the same decisions with the same effects.
    """
    rules, oracle = load_rules(document), Oracle(document)
    decisions = rules.decide_many(orders_to_table(orders), view=view, now=NOW)

    assert list(decisions) == [rules.decide(order, view=view, now=NOW) for order in orders]
    for order, decision in zip(orders, decisions, strict=True):
        wanted = oracle.decisions(order, view, NOW)[0]
        assert (decision.rule_id, decision.action) == (wanted["rule"], wanted["action"])
        assert [(e.rule_id, e.kind, e.name, e.value) for e in decision.effects] == wanted["effects"]


@settings(max_examples=200, deadline=None)
@given(document=INDEX.documents(), orders=tables_of(INDEX.orders(), max_size=20))
def test_rules_that_share_posting_lists_decide_as_one_by_one(document, orders):
    """
    Rules that ask for much the same, over many orders, take from each other what `decide` says.
    """
    rules = load_rules(document)
    decisions = rules.decide_many(orders_to_table(orders))

    assert list(decisions) == [rules.decide(order) for order in orders]
    named = [rules.rules[at].id if at >= 0 else None for at in decisions.rule_index]
    assert named == [decision.rule_id for decision in decisions]


def _size(value):
    return len(value) if isinstance(value, str) else value


ODD = OperatorType(
    name="test:longer_than",
    field_types=("text", "integer", "money"),
    value_schema={"type": "integer"},
    test=lambda value, argument, order: None if value == "AB" else _size(value) > argument,
)


def _with_plugin(parts):
    foreign = st.builds(
        lambda field, value: {"field": field, "op": "test:longer_than", "value": value},
        st.sampled_from(["channel", "total", "total_weight_g"]),
        st.integers(0, 3),
    )
    of_lines = st.builds(
        lambda kind, value: {kind: {"field": "line.sku", "op": "test:longer_than", "value": value}},
        st.sampled_from(["any_line", "every_line", "no_line"]),
        st.integers(0, 4),
    )
    both = st.tuples(foreign | of_lines, parts)
    return foreign | of_lines | both.map(lambda two: {"all": list(two)}) | both.map(lambda two: {"any": list(two)})


@settings(max_examples=80, deadline=None)
@given(conditions=st.lists(_with_plugin(INDEX.CONDITIONS), min_size=1, max_size=4), orders=tables_of(INDEX.orders()))
def test_operators_of_plugins_are_asked_order_by_order(conditions, orders):
    """
    Beside conditions that columns answer, in every place where a test may stand.
    """
    written = [{"id": f"r{n}", "when": when, "then": [{"keep": {}}]} for n, when in enumerate(conditions)]
    rules = load_rules({"fcflow": "ruleset/1", "rules": written}, operators={ODD.name: ODD})

    assert list(rules.decide_many(orders_to_table(orders))) == [rules.decide(order) for order in orders]


HUGE = st.sampled_from([0, 1, 5, 10**6, 2**40, 2**62, 2**63 - 1])
RICH = st.sampled_from(["0", "0.5", "19.99", "-3", "922337203685477580.7", "12345678901234567890.25", "0.0000000001"])


@settings(max_examples=120, deadline=None)
@given(
    weights=st.lists(st.none() | HUGE, max_size=3),
    amount=st.none() | RICH,
    limit=HUGE | st.integers(-(2**70), 2**70),
    price=RICH | st.sampled_from(["1E+30", "-1E+30", "1E-30", "0.05", "1E+500", "-1E-500"]),
    op=st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]),
)
def test_numbers_of_any_size_compare_exactly(weights, amount, limit, price, op):
    """
    Where 64 bits do not hold a sum or an amount, the decision is still the exact one.
    """
    lines = [OrderLine(line_id=str(n), sku="S", quantity=3, weight_g=each) for n, each in enumerate(weights)]
    order = Order(order_id="A1", currency="GBP", total=amount, lines=lines)
    tests = [
        {"field": "total_weight_g", "op": op, "value": limit},
        {"field": "total", "op": op, "value": price},
        {"any_line": {"field": "line.total_weight_g", "op": op, "value": limit}},
        {"sum_lines": {"field": "line.weight_g", "op": op, "value": limit}},
        {"not": {"sum_lines": {"where": {"field": "line.sku", "op": "eq", "value": "S"},
                               "field": "line.weight_g", "op": op, "value": limit}}},
    ]  # fmt: skip
    written = [{"id": f"r{n}", "when": test, "then": [{"tag": "t"}]} for n, test in enumerate(tests)]
    rules = load_rules({"fcflow": "ruleset/1", "currency": "GBP", "rules": written})
    other = Order(order_id="A2", currency="EUR", total="3", lines=())

    decided = list(rules.decide_many(orders_to_table([order, other])))
    assert decided == [rules.decide(order), rules.decide(other)]


@settings(max_examples=100, deadline=None)
@given(orders=tables_of(ORACLE.orders(), max_size=5))
def test_a_table_gives_back_its_orders(orders):
    """
    Nothing is lost on the way into a table and out of it, but that an instant is in UTC and an empty property stays.
    """
    assert table_to_orders(orders_to_table(orders)) == orders


INSTANTS = st.datetimes(datetime(1890, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
TURNS = st.builds(
    lambda turn, us: turn + timedelta(microseconds=us),
    st.sampled_from([datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)]),
    st.integers(-5, 5),
)


@settings(max_examples=150, deadline=None)
@given(
    moments=st.lists(INSTANTS | TURNS, min_size=1, max_size=6),
    zone=st.sampled_from(["Europe/London", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York", "UTC"]),
)
def test_weekday_and_time_of_day_are_those_of_the_zone(moments, zone):
    """
    Whatever the zone's history, and to the microsecond where the clocks change.
    """
    zone = ZoneInfo(zone)
    column = Numbers(np.array([micros(each) for each in moments]), np.ones(len(moments), dtype=bool))
    days, times = local(column, zone)
    there = [each.astimezone(zone) for each in moments]

    assert days.values.tolist() == [each.isoweekday() for each in there]
    midnight = datetime(1, 1, 1)
    since = [datetime.combine(midnight, each.time()) - midnight for each in there]
    assert times.values.tolist() == [each // timedelta(microseconds=1) for each in since]


@given(value=st.decimals(allow_nan=False, allow_infinity=False), scale=st.integers(0, 10))
def test_scaled_bounds_enclose_the_value(value, scale):
    """
    The two whole numbers are the value where it is whole, else its neighbours; far away they are only beyond all.
    """
    below, above = scaled(value, scale)

    assert below <= above <= below + 1
    if abs(value.adjusted()) < 40 or not value:
        exact = Fraction(value) * 10**scale
        assert below <= exact <= above
        assert (below == above) == (exact.denominator == 1)
