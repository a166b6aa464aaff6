"""
A table is decided as its orders are: row by row the same as `decide`, and the same as the naive oracle.
"""

import importlib.util
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.model import Order, OrderLine
from fcflow.rules import OperatorType, RuleField, load_rules
from fcflow.rules.codes import Text
from fcflow.rules.numeric import Numbers, local, micros, scaled
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


ASIDE = RuleField(
    name="test:digits",
    type="integer",
    get=lambda order: None if order.total is None else int(order.total),
    about="Whole pounds",
)


@settings(max_examples=60, deadline=None)
@given(
    beside=st.lists(INDEX.CONDITIONS, min_size=1, max_size=3),
    limit=st.integers(0, 60),
    orders=tables_of(INDEX.orders()),
)
def test_fields_of_plugins_are_asked_order_by_order(beside, limit, orders):
    """
    A field that no column holds is taken from the order, in the order's own way.
    """
    aside = {"field": ASIDE.name, "op": "ge", "value": limit}
    whens = [{"all": [aside, each]} for each in beside] + [{"not": aside}, aside]
    written = [{"id": f"r{n}", "when": when, "then": [{"keep": {}}]} for n, when in enumerate(whens)]
    rules = load_rules({"fcflow": "ruleset/1", "currency": "GBP", "rules": written}, fields={ASIDE.name: ASIDE})

    assert list(rules.decide_many(orders_to_table(orders))) == [rules.decide(order) for order in orders]


DAYS = st.sampled_from(["2026-02-28", "2026-03-01", "2026-03-02", "2026-03-03", "2026-03-29"])


@st.composite
def dated(draw):
    """Rule sets of which some rules are in force for a while only."""
    document = draw(ORACLE.rule_sets(max_rules=4))
    for rule in document["rules"]:
        since, until = sorted(draw(st.tuples(DAYS, DAYS)))
        span = {"from": since, "until": until} if since < until else {draw(st.sampled_from(["from", "until"])): since}
        if draw(st.booleans()):
            rule["effective"] = span
    return document


@settings(max_examples=120, deadline=None)
@given(
    document=dated(),
    orders=tables_of(ORACLE.orders(), max_size=6),
    view=ORACLE.VIEWS,
    now=st.none() | ORACLE.INSTANTS,
    as_of=ORACLE.INSTANTS,
)
def test_a_table_is_decided_by_the_rules_of_an_instant(document, orders, view, now, as_of):
    """
    With `as_of` as with `decide`, whether the orders come one by one or as a table.
    """
    rules = load_rules(document)
    wanted = [rules.decide(order, view=view, now=now, as_of=as_of) for order in orders]

    assert list(rules.decide_many(orders_to_table(orders), view=view, now=now, as_of=as_of)) == wanted
    assert list(rules.decide_many(orders, view=view, now=now, as_of=as_of)) == wanted


LABELS = [f"t{number}" for number in range(150)]
SOME_LABELS = st.lists(st.sampled_from(LABELS), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    sets=st.lists(st.frozensets(st.sampled_from(LABELS), max_size=12), min_size=4, max_size=12),
    asked=st.lists(st.tuples(st.sampled_from(["contains_any", "contains_all"]), SOME_LABELS), min_size=1, max_size=4),
    folds=st.booleans(),
)
def test_sets_of_many_members_are_told_apart(sets, asked, folds):
    """
    However many distinct members a column has: two that share a bit of a row's signature are not taken for each other.
    """
    orders = [
        Order(order_id=f"A{n}", channel="web" if n % 2 else None, tags=tags, lines=())
        for n, tags in enumerate([LABELS, *sets])
    ]
    tests = [{"field": "tags", "op": op, "value": value, "ignore_case": folds} for op, value in asked]
    web = {"field": "channel", "op": "exists"}
    whens = [each for test in tests for each in ({"all": [web, test]}, {"all": [web, {"not": test}]}, test)]
    written = [{"id": f"r{n}", "when": when, "then": [{"tag": f"r{n}"}]} for n, when in enumerate(whens)]
    rules = load_rules({"fcflow": "ruleset/1", "rules": written})

    assert list(rules.decide_many(orders_to_table(orders))) == [rules.decide(order) for order in orders]


STEMS = st.sampled_from(["", "A", "postcode", "postcodes", "LS1 4AP", "straße", "\0", "日本語テキスト"])
TEXTS = st.none() | st.builds(str.__add__, STEMS, st.text(max_size=4))


@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(TEXTS, max_size=30), kind=st.sampled_from([pa.string(), pa.large_string()]), cut=st.integers(0, 5)
)
def test_codes_of_texts_are_in_the_order_of_the_texts(texts, kind, cut):
    """
    Whatever letters they have and however they begin, in a slice too; every text is found, and by its beginning.
    """
    column = Text.of(pa.array(texts, kind).slice(cut))
    here = texts[cut:]

    assert column.words == sorted({each for each in here if each})
    assert [column.words[code - 1] if code else None for code in column.codes.tolist()] == [
        each or None for each in here
    ]
    for text in filter(None, here):
        assert sorted(column.rows(column.equal([text])).tolist()) == [n for n, each in enumerate(here) if each == text]
        [low, high] = column.beginning(text[:2])
        assert column.words[low - 1 : high - 1] == [word for word in column.words if word.startswith(text[:2])]


@settings(max_examples=150, deadline=None)
@given(words=st.lists(TEXTS, min_size=1, max_size=8), data=st.data())
def test_a_dictionary_of_texts_is_read_as_its_texts(words, data):
    """
    Though it holds words twice, or null, or words that no row has.
    """
    places = data.draw(st.lists(st.none() | st.integers(0, len(words) - 1), max_size=12))
    column = Text.of(pa.DictionaryArray.from_arrays(pa.array(places, pa.int8()), pa.array(words, pa.string())))
    plain = Text.of(pa.array([None if place is None else words[place] for place in places], pa.string()))

    assert (column.words, column.codes.tolist()) == (plain.words, plain.codes.tolist())


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=20),
    bounds=st.tuples(st.integers(-(2**63), 2**63), st.integers(-(2**63), 2**63)),
    absent=st.integers(0, 3),
)
def test_a_range_of_numbers_is_found_in_a_long_column(values, bounds, absent):
    """
    Where a column has more distinct numbers than a short code holds, its rows are still those between the bounds.
    """
    spread = np.append(np.array(values), np.arange(70_000) * 3)
    present = np.arange(len(spread)) >= absent
    column = Numbers(spread, present)
    low, high = min(bounds), max(bounds)
    ranges = [column.between(low, high)]

    wanted = [row for row, value in enumerate(spread.tolist()) if row >= absent and low <= value <= high]
    assert sorted(column.rows(ranges).tolist()) == wanted
    assert column.size(ranges) == len(wanted)


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
