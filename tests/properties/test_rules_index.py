"""
The predicate index finds what asking every rule finds, however rules share their predicates.
"""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.model import Address, Order, OrderLine
from fcflow.rules import load_rules
from fcflow.rules.compile import compile_node
from fcflow.rules.fields import Facts
from fcflow.rules.index import Index
from fcflow.testing.oracle import Oracle

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
COUNTRIES = ["GB", "FR", "DE"]
WORDS = ["ab", "AB", "abc", "b", "LS1"]
SKUS = ["MUG", "PEN", "mug"]


def _is(field, op, value, **more):
    return {"field": field, "op": op, "value": value, **more}


def _some(values):
    return st.lists(st.sampled_from(values), min_size=1, max_size=2)


FOLD = st.sampled_from([{}, {"ignore_case": True}])
NUMBERS = st.integers(0, 3)
RANGES = ["eq", "ne", "lt", "le", "gt", "ge"]
LEAVES = st.one_of(
    st.builds(_is, st.just("ship_to.country"), st.sampled_from(["eq", "ne"]), st.sampled_from(COUNTRIES)),
    st.builds(_is, st.just("ship_to.country"), st.sampled_from(["in", "not_in"]), _some(COUNTRIES)),
    st.builds(
        lambda op, value, more: _is("channel", op, value, **more),
        st.sampled_from(["eq", "ne", "starts_with"]),
        st.sampled_from(WORDS),
        FOLD,
    ),
    st.builds(lambda value, more: _is("channel", "starts_with", value, **more), _some(WORDS), FOLD),
    st.builds(_is, st.just("total_weight_g"), st.sampled_from(RANGES), NUMBERS),
    st.builds(lambda low, more: _is("total_weight_g", "between", [low, low + more]), NUMBERS, NUMBERS),
    st.builds(lambda op, value: _is("total", op, value, currency="GBP"), st.sampled_from(RANGES), NUMBERS),
    st.builds(lambda op, value: _is("total", op, value, currency="EUR"), st.sampled_from(RANGES), NUMBERS),
    st.builds(
        lambda op, value, more: _is("tags", op, value, **more),
        st.sampled_from(["contains_any", "contains_all"]),
        _some(WORDS),
        FOLD,
    ),
    st.builds(
        lambda kind, value, more: {kind: _is("line.sku", "in", value, **more)},
        st.sampled_from(["any_line", "no_line", "every_line"]),
        _some(SKUS),
        FOLD,
    ),
    st.builds(
        lambda kind, value, units: {kind: {"all": [_is("line.sku", "in", value), _is("line.weight_g", "ge", units)]}},
        st.sampled_from(["any_line", "no_line"]),
        _some(SKUS),
        NUMBERS,
    ),
)
CONDITIONS = st.recursive(
    LEAVES | LEAVES.map(lambda leaf: {"not": leaf}),
    lambda parts: st.one_of(
        st.lists(parts, min_size=1, max_size=4).map(lambda several: {"all": several}),
        st.lists(parts, min_size=1, max_size=3).map(lambda several: {"any": several}),
        parts.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)


@st.composite
def documents(draw):
    """Rule sets whose rules ask for much the same."""
    rules = []
    for number in range(draw(st.integers(2, 10))):
        if_unknown = draw(st.sampled_from(["match", "no_match", "no_match"]))
        then = draw(st.sampled_from([[{"tag": "t"}], [{"allocate": {"to": "x"}}], [{"keep": {}}]]))
        rules.append({"id": f"r{number}", "when": draw(CONDITIONS), "then": then, "if_unknown": if_unknown})
    return {"fcflow": "ruleset/1", "rules": rules}


@st.composite
def orders(draw):
    """Small orders in which anything may be absent."""
    lines = [
        OrderLine(
            line_id=str(number),
            sku=draw(st.sampled_from(SKUS)),
            quantity=1,
            weight_g=draw(st.none() | st.integers(0, 2)),
        )
        for number in range(draw(st.integers(0, 3)))
    ]
    return Order(
        order_id="A1",
        channel=draw(st.none() | st.sampled_from(WORDS)),
        currency=draw(st.sampled_from(["GBP", "EUR", None])),
        total=draw(st.none() | NUMBERS),
        ship_to=Address(country=draw(st.none() | st.sampled_from(COUNTRIES))),
        tags=draw(st.frozensets(st.sampled_from(WORDS), max_size=3)),
        lines=lines,
    )


def _one_by_one(rules, facts):
    """The positions of the rules that match, each asked by itself."""
    for position, rule in enumerate(rules):
        verdict = compile_node(rule.when)(facts)
        if verdict is True or (verdict is None and rule.if_unknown):
            yield position


@settings(max_examples=400, deadline=None)
@given(document=documents(), order=orders())
def test_the_index_finds_what_asking_every_rule_finds(document, order):
    """
    In the same order, without repeats.
    """
    rules = load_rules(document).rules
    facts = Facts(order)

    expected = list(_one_by_one(rules, facts))
    assert list(Index(rules).matching(facts)) == expected
    assert Index(rules).first(facts) == (expected[0] if expected else -1)


@settings(max_examples=150, deadline=None)
@given(document=documents(), order=orders())
def test_the_index_decides_as_the_oracle(document, order):
    """
    Decision after decision, rule sets that share predicates decide as a naive reading does.
    """
    decided = [each.rule_id for each in load_rules(document).decisions(order)]

    assert decided == [each["rule"] for each in Oracle(document).decisions(order)]


def test_every_kind_of_probe_is_built():
    """
    Rules of each kind are found through a probe: nothing is left to be tested where a probe settles it.
    """
    conditions = [
        _is("ship_to.country", "eq", "GB"),
        {"not": _is("ship_to.country", "in", ["GB", "FR"])},
        _is("total_weight_g", "between", [1, 5]),
        {"not": _is("total_weight_g", "lt", 2)},
        _is("channel", "starts_with", ["a", "b"]),
        _is("tags", "contains", "x"),
        {"not": _is("tags", "contains_any", ["x", "y"])},
        {"any_line": _is("line.sku", "eq", "MUG")},
        {"not": {"any_line": _is("line.sku", "in", ["MUG", "PEN"])}},
    ]
    twice = [*conditions, *conditions]
    document = {
        "fcflow": "ruleset/1",
        "rules": [{"id": str(n), "when": each, "then": [{"tag": "t"}]} for n, each in enumerate(twice)],
    }
    index = Index(load_rules(document).rules)

    assert [number for number, (_, _, rest) in enumerate(index._columns) if rest is not None] == []
    assert (len(index._hashed), len(index._probes)) == (1, 4)
