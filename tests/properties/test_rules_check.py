"""
What is proved about a rule set holds for every order of a universe that is tried out.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fcflow.model import Address, Order, OrderLine
from fcflow.rules import load_rules
from fcflow.rules.analysis import Covers, boxes_of, lies_in
from fcflow.rules.check import Checked, check_rules
from fcflow.rules.witness import Witness
from fcflow.testing.oracle import Oracle

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
COUNTRIES = ["GB", "FR"]
WORDS = ["ab", "AB", "abc", "b"]
SKUS = ["MUG", "PEN"]
SMALL = st.integers(0, 3)
RANGES = ["eq", "ne", "lt", "le", "gt", "ge"]


def _is(field, op, value, **more):
    return {"field": field, "op": op, "value": value, **more}


def _some(values):
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


FOLD = st.sampled_from([{}, {"ignore_case": True}])
LINE_LEAVES = st.one_of(
    st.builds(_is, st.just("line.sku"), st.just("in"), _some(SKUS)),
    st.builds(_is, st.just("line.weight_g"), st.sampled_from(RANGES), SMALL),
    st.builds(_is, st.just("line.quantity"), st.sampled_from(RANGES), SMALL),
)
LINE_PARTS = LINE_LEAVES | st.lists(LINE_LEAVES, min_size=1, max_size=2).map(lambda parts: {"all": parts})
LEAVES = st.one_of(
    st.builds(_is, st.just("ship_to.country"), st.sampled_from(["eq", "ne"]), st.sampled_from(COUNTRIES)),
    st.builds(_is, st.just("ship_to.country"), st.sampled_from(["in", "not_in"]), _some(COUNTRIES)),
    st.builds(
        lambda op, value, more: _is("channel", op, value, **more),
        st.sampled_from(["eq", "ne", "starts_with", "ends_with", "contains"]),
        st.sampled_from(WORDS),
        FOLD,
    ),
    st.builds(lambda op: {"field": "channel", "op": op}, st.sampled_from(["exists", "absent"])),
    st.builds(_is, st.just("ship_to.postcode_area"), st.just("in"), _some(["LS", "L"])),
    st.builds(_is, st.just("ship_to.postcode"), st.just("starts_with"), st.sampled_from(["L", "LS", "LS1", "LS2"])),
    st.builds(_is, st.just("total_weight_g"), st.sampled_from(RANGES), SMALL),
    st.builds(_is, st.just("total_quantity"), st.sampled_from(RANGES), SMALL),
    st.builds(_is, st.just("line_count"), st.sampled_from(RANGES), SMALL),
    st.builds(lambda low, more: _is("total", "between", [low, low + more], currency="GBP"), SMALL, SMALL),
    st.builds(lambda op, value: _is("total", op, value, currency="EUR"), st.sampled_from(RANGES), SMALL),
    st.builds(
        lambda op, value, more: _is("tags", op, value, **more),
        st.sampled_from(["contains_any", "contains_all"]),
        _some(WORDS),
        FOLD,
    ),
    st.builds(lambda kind, part: {kind: part}, st.sampled_from(["any_line", "no_line", "every_line"]), LINE_PARTS),
    st.builds(
        lambda part, op, value: {"count_lines": {"where": part, "op": op, "value": value}},
        LINE_LEAVES,
        st.sampled_from(RANGES),
        SMALL,
    ),
    st.builds(
        lambda field, part, op, value: {"sum_lines": {"field": field, "where": part, "op": op, "value": value}},
        st.sampled_from(["line.quantity", "line.weight_g", "line.total_weight_g"]),
        LINE_LEAVES,
        st.sampled_from(RANGES),
        SMALL,
    ),
    st.builds(_is, st.just("received_at"), st.just("weekday_in"), _some(["mon", "tue"]).map(list)).map(
        lambda leaf: {**leaf, "zone": "Europe/London"}
    ),
    st.builds(_is, st.just("received_at"), st.sampled_from(["before", "after"]), st.just("now")),
)
CONDITIONS = st.recursive(
    LEAVES | LEAVES.map(lambda leaf: {"not": leaf}),
    lambda parts: st.one_of(
        st.lists(parts, min_size=1, max_size=3).map(lambda several: {"all": several}),
        st.lists(parts, min_size=1, max_size=3).map(lambda several: {"any": several}),
        parts.map(lambda part: {"not": part}),
    ),
    max_leaves=4,
)
ACTIONS = st.sampled_from(
    [
        {"allocate": {"to": "leeds"}},
        {"allocate": {"to": "corby", "if_short": "backorder"}},
        {"hold": {"reason": "review"}},
        {"keep": {}},
        {"tag": "seen"},
    ]
)


@st.composite
def documents(draw, conditions=CONDITIONS):
    rules = draw(st.lists(st.tuples(conditions, ACTIONS, st.booleans()), min_size=1, max_size=4))
    return {
        "fcflow": "ruleset/1",
        "rules": [
            {"id": f"r{number}", "when": when, "then": [then], **({"if_unknown": "match"} if unknown else {})}
            for number, (when, then, unknown) in enumerate(rules)
        ],
    }


def _lines():
    single = [
        OrderLine(sku=sku, quantity=units, weight_g=weight)
        for sku, units, weight in product([*SKUS, "CUP"], [1, 3], [None, 0, 2])
    ]
    twos = [(single[0], single[8]), (single[4], single[5]), (single[2], single[14]), (single[1], single[1])]
    threes = [(single[1], single[7], single[13]), (single[5], single[5], single[2])]
    several = [
        tuple(
            OrderLine(line_id=str(n), sku=line.sku, quantity=line.quantity, weight_g=line.weight_g)
            for n, line in enumerate(lines)
        )
        for lines in (*twos, *threes)
    ]
    return [(), *((line,) for line in single), *several]


def _universe():
    lines = _lines()
    addresses = [
        Address(country=country, postcode=postcode)
        for country, postcode in product([None, "GB", "FR", "DE"], [None, "LS1 4AP", "LS2 1AA", "L1", "75001"])
    ]
    channels = [None, "ab", "AB", "abc", "b", "Ab", "xb", "aBx"]
    tags = [(), ("ab",), ("AB",), ("b", "abc"), ("aB", "b"), ("ab", "AB", "abc", "b")]
    totals = [None, "0", "1.5", "2", "3", "7"]
    moments = [None, NOW, NOW.replace(day=3), NOW.replace(day=4), NOW.replace(day=1)]
    for number in range(900):
        yield Order(
            order_id=f"U{number}",
            lines=lines[number % len(lines)],
            ship_to=addresses[(number * 7) % len(addresses)],
            channel=channels[(number * 5 + number // 8) % len(channels)],
            tags=frozenset(tags[(number * 11 + number // 6) % len(tags)]),
            currency=[None, "GBP", "EUR", "USD"][(number // 3) % 4],
            total=None if totals[(number // 2) % 6] is None else Decimal(totals[(number // 2) % 6]),
            received_at=moments[(number // 5) % len(moments)],
        )


UNIVERSE = [Witness(order, None, NOW) for order in _universe()]


def _parts(path):
    return [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]$]+", path)]


def _without(document, path):
    import copy

    made = copy.deepcopy(document)
    *above, last = _parts(path)
    at = made
    for part in above:
        at = at[part]
    del at[last]
    return made


def _agrees(checked, document, finding, universe):
    place = checked.position[finding.rules[0]] if finding.rules else 0
    match finding.kind:
        case "never_matches":
            return not any(checked.matches(place, each) for each in universe)
        case "always_matches":
            return all(checked.matches(place, each) for each in universe)
        case "never_reached":
            return not any(checked.matches(place, e) and _comes_to(checked, place, e) for e in universe)
        case "fallback":
            return not any(checked.matches(place, e) and _is_first(checked, place, e) for e in universe)
        case "redundant":
            other = Checked(load_rules(_without(document, finding.path)))
            return all(checked.matches(place, each) == other.matches(place, each) for each in universe)
    return True


def _is_first(checked, place, witness):
    decided = checked.decided_at(witness)
    return decided is None or decided >= place


def _comes_to(checked, place, witness):
    return not any(each < place and checked.ends(each) for each in checked.reaches(witness))


def _shown(checked, document, finding):
    """Whether the witness does what the finding says, matching judged by the oracle."""
    if finding.witness is None:
        return finding.kind in ("never_matches", "not_examined", "redundant")
    verdicts = {
        rule["id"]: Oracle(document).verdict(rule["when"], finding.witness, view=finding.view, now=finding.now)
        for rule in document["rules"]
    }
    taking = {rule["id"]: rule.get("if_unknown") == "match" for rule in document["rules"]}
    matched = {name for name, said in verdicts.items() if said is True or (said == "unknown" and taking[name])}
    decided = checked.ruleset.decide(finding.witness, view=finding.view, now=finding.now).rule_id
    match finding.kind:
        case "never_reached" | "fallback":
            return finding.rules[0] in matched and checked.position[decided] < checked.position[finding.rules[0]]
        case "overlap":
            return set(finding.rules) <= matched
        case "undecided":
            return decided is None
        case "fails_open":
            return verdicts[finding.rules[0]] == "unknown" and decided != finding.rules[0]
        case _:
            return finding.rules[0] in matched


def _hold(document, *, deep):
    checked = Checked(load_rules(document))
    for finding in check_rules(checked.ruleset, deep=deep, budget_s=20):
        assert _agrees(checked, document, finding, UNIVERSE), finding
        assert _shown(checked, document, finding), finding


@given(document=documents())
@settings(max_examples=60, deadline=None)
def test_what_structure_proves_holds_for_every_order(document):
    """
    No order of the universe contradicts a finding made without a solver, and every witness shows what is claimed.
    """
    _hold(document, deep=False)


@given(document=documents())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_the_solver_proves_holds_for_every_order(document):
    """
    No order of the universe contradicts a finding of the solver, and every witness shows what is claimed.
    """
    pytest.importorskip("z3")
    _hold(document, deep=True)


@given(several=st.lists(CONDITIONS, min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_the_bit_sets_lose_no_box(several):
    """
    The boxes found through the bit sets are those found by comparing every pair.
    """
    document = {
        "fcflow": "ruleset/1",
        "rules": [{"id": f"r{n}", "when": w, "then": [{"keep": {}}]} for n, w in enumerate(several)],
    }
    boxes = [box for rule in load_rules(document).rules for box in boxes_of(rule.when)]
    covers = Covers(boxes)

    for number, box in enumerate(boxes):
        if not box.is_empty:
            pairs = [other for other in range(number) if lies_in(box, boxes[other])]
            assert list(covers.of(box, number)) == pairs
