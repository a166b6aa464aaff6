"""
The compiled engine and the naive oracle agree on whatever rule sets and orders there can be.
"""

import json
import pickle
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.model import Address, Location, Order, OrderLine
from fcflow.rules import compile_condition, load_rules
from fcflow.rules.examples import ExampleView
from fcflow.testing.oracle import Oracle

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
WORDS = st.sampled_from(["GB", "FR", "A", "B", "ab", "Ab", "straße", "STRASSE", "LS1 4AP", "IV27 4NP"])
COUNTRIES = st.sampled_from(["GB", "FR", "DE"])
SKUS = st.sampled_from(["MUG", "PEN", "SOFA", "mug"])
PLACES = st.sampled_from(["leeds", "corby", "york"])
AMOUNTS = st.sampled_from([0, 5, 20, "19.99", 20.5])
HOURS = st.sampled_from([0, 1, 24, 48])
INSTANTS = st.sampled_from([NOW + timedelta(hours=hours) for hours in (-72, -48, -24, -1, 0, 1, 24, 100)])


def _maybe(values):
    return st.none() | values


def _some(values):
    return st.lists(values, min_size=1, max_size=3)


def _test(fields, ops, values, **more):
    made = {"field": st.sampled_from(fields), "op": st.sampled_from(ops), "value": values}
    return st.fixed_dictionaries(made, optional=more)


TEXTS = ["channel", "ship_to.town", "ship_to.postcode", "properties.a", "bill_to.postcode_area", "ship_to.outward_code"]
NUMBERS = ["total_weight_g", "total_quantity", "line_count"]
MONEY = ["total", "postage", "goods_total"]
NUMBER = st.integers(0, 6)
FOLD = {"ignore_case": st.booleans()}
CURRENCY = {"currency": st.sampled_from(["GBP", "EUR"])}
ORDERED = ["eq", "ne", "lt", "le", "gt", "ge"]
ONE_TEXT = ["eq", "ne", "contains", "starts_with", "ends_with"]
MANY_TEXTS = ["in", "not_in", "contains_any", "contains_all", "starts_with", "ends_with"]
ORDER_TESTS = st.one_of(
    _test(TEXTS, ONE_TEXT, WORDS, **FOLD),
    _test(TEXTS, MANY_TEXTS, _some(WORDS), **FOLD),
    _test(TEXTS, ["in", "not_in", "starts_with"], st.just({"list": "words"}), **FOLD),
    _test(["ship_to.country", "bill_to.country"], ["eq", "ne"], COUNTRIES),
    _test(["ship_to.country"], ["in", "not_in"], _some(COUNTRIES)),
    _test(["channel"], ["matches"], st.sampled_from(["^A", "b$", "[a-z]+"]), **FOLD),
    _test(["payment"], ["in", "not_in"], _some(st.sampled_from(["paid", "unpaid"]))),
    _test(["tags"], ["contains_any", "contains_all"], _some(WORDS), **FOLD),
    _test(["tags"], ["contains"], WORDS, **FOLD),
    _test(NUMBERS, ORDERED, NUMBER),
    _test(NUMBERS, ["in", "not_in"], _some(NUMBER)),
    _test(NUMBERS, ["between"], st.just([1, 3])),
    _test(MONEY, ORDERED, AMOUNTS, **CURRENCY),
    _test(MONEY, ["between"], st.just([5, "19.99"]), **CURRENCY),
    _test(["received_at", "dispatch_by"], ["before", "after"], st.just("now") | INSTANTS.map(datetime.isoformat)),
    _test(["received_at", "dispatch_by"], ["within_last", "within_next"], HOURS.map(lambda n: {"hours": n})),
    _test(["received_at", "now"], ["weekday_in"], _some(st.sampled_from(["sat", "sun", 1, 2]))),
    _test(["received_at", "now"], ["time_between"], st.sampled_from([["09:00", "17:00"], ["22:00", "12:30"]])),
    st.fixed_dictionaries({"field": st.sampled_from([*TEXTS, "total"]), "op": st.sampled_from(["exists", "absent"])}),
)
LINE_TESTS = st.one_of(
    _test(["line.sku"], ["eq", "ne", "starts_with"], SKUS, **FOLD),
    _test(["line.sku", "line.title"], ["in", "not_in"], _some(SKUS), **FOLD),
    _test(["line.quantity", "line.weight_g", "line.total_weight_g"], ORDERED, NUMBER),
    _test(["line.unit_price", "line.total_price"], ORDERED, AMOUNTS, **CURRENCY),
    st.fixed_dictionaries({"field": st.just("line.weight_g"), "op": st.sampled_from(["exists", "absent"])}),
)


def _composed(leaves):
    return st.recursive(
        leaves,
        lambda parts: st.one_of(
            st.fixed_dictionaries({"all": st.lists(parts, min_size=1, max_size=3)}),
            st.fixed_dictionaries({"any": st.lists(parts, min_size=1, max_size=3)}),
            st.fixed_dictionaries({"not": parts}),
        ),
        max_leaves=5,
    )


LINE_CONDITIONS = _composed(st.just(True) | LINE_TESTS | st.just({"use": "mugs"}) | ORDER_TESTS)
NUMBERS_OF_LINES = st.sampled_from(["line.quantity", "line.weight_g", "line.total_weight_g", "line.total_price"])
OVER_LINES = st.one_of(
    *(st.fixed_dictionaries({kind: LINE_CONDITIONS}) for kind in ("any_line", "every_line", "no_line")),
    st.fixed_dictionaries(
        {
            "count_lines": st.fixed_dictionaries(
                {"op": st.sampled_from(ORDERED), "value": NUMBER}, optional={"where": LINE_CONDITIONS}
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "sum_lines": st.fixed_dictionaries(
                {"field": NUMBERS_OF_LINES, "op": st.sampled_from(ORDERED), "value": NUMBER},
                optional={"where": LINE_CONDITIONS},
            )
        }
    ),
)
STOCK = st.one_of(
    st.fixed_dictionaries(
        {
            "stock": st.fixed_dictionaries(
                {"at": PLACES | st.just(["leeds", "york"]), "covers": st.sampled_from(["all", "any"])}
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "stock_age": st.fixed_dictionaries(
                {"at": PLACES, "op": st.sampled_from(["lt", "ge"]), "value": st.just({"hours": 24})}
            )
        }
    ),
)
BEHAVIOUR = st.fixed_dictionaries(
    {
        "behaviour": st.fixed_dictionaries(
            {
                "at": PLACES,
                "measure": st.sampled_from(["reject_rate", "median_hours"]),
                "op": st.sampled_from(["lt", "le", "gt", "ge"]),
                "value": st.sampled_from([0, "0.1", "0.5", 12]),
            }
        )
    }
)
CONDITIONS = _composed(st.just(True) | ORDER_TESTS | OVER_LINES | STOCK | BEHAVIOUR | st.just({"use": "named"}))
EFFECTS = st.one_of(
    WORDS.map(lambda word: {"tag": word}),
    WORDS.map(lambda word: {"set_service": word}),
    WORDS.map(lambda word: {"set_property": {"name": "p", "value": word}}),
)
DECISIONS = st.one_of(
    st.fixed_dictionaries(
        {
            "allocate": st.fixed_dictionaries(
                {}, optional={"to": PLACES, "if_short": st.sampled_from(["next_rule", "backorder"])}
            )
        }
    ),
    st.just({"hold": {"reason": "r"}}),
    st.just({"keep": {}}),
)


@st.composite
def rule_sets(draw, max_rules=5):
    """Valid rule documents with named lists and conditions."""
    rules = []
    for number in range(draw(st.integers(0, max_rules))):
        then = draw(st.lists(EFFECTS, max_size=2)) + draw(st.lists(DECISIONS, max_size=1))
        rule = {"id": f"r{number}", "when": draw(CONDITIONS), "then": then or [{"tag": "t"}]}
        extra = {"enabled": st.booleans(), "if_unknown": st.sampled_from(["match", "no_match"])}
        rules.append({**rule, **draw(st.fixed_dictionaries({}, optional=extra))})
    return {
        "fcflow": "ruleset/1",
        "currency": "GBP",
        "zone": "Europe/London",
        "lists": {"words": ["GB", "ab", "LS"]},
        "conditions": {
            "named": draw(_composed(ORDER_TESTS)),
            "mugs": {"field": "line.sku", "op": "eq", "value": "MUG"},
        },
        "rules": rules,
        "otherwise": [*draw(st.lists(EFFECTS, max_size=1)), draw(DECISIONS)],
    }


ADDRESSES = st.builds(
    Address,
    country=_maybe(COUNTRIES),
    town=_maybe(WORDS),
    postcode=_maybe(st.sampled_from(["LS1 4AP", "IV1", "10115"])),
)
LINES = st.builds(
    OrderLine,
    sku=SKUS,
    quantity=st.integers(1, 3),
    title=_maybe(SKUS),
    weight_g=_maybe(st.integers(0, 4)),
    unit_price=_maybe(st.sampled_from(["0", "5", "19.99"])),
)


@st.composite
def orders(draw):
    """Orders in which anything may be absent."""
    lines = draw(st.lists(LINES, max_size=3))
    return Order(
        order_id="A1",
        channel=draw(_maybe(WORDS)),
        payment=draw(_maybe(st.sampled_from(["paid", "unpaid"]))),
        currency=draw(st.sampled_from(["GBP", "GBP", "EUR", None])),
        total=draw(_maybe(AMOUNTS.map(str))),
        postage=draw(_maybe(AMOUNTS.map(str))),
        received_at=draw(_maybe(INSTANTS)),
        dispatch_by=draw(_maybe(INSTANTS)),
        ship_to=draw(ADDRESSES),
        bill_to=draw(_maybe(ADDRESSES)),
        tags=draw(st.frozensets(WORDS, max_size=3)),
        properties=draw(st.dictionaries(st.just("a"), WORDS | st.just(""))),
        lines=tuple(
            OrderLine(
                line_id=str(number),
                sku=line.sku,
                quantity=line.quantity,
                title=line.title,
                weight_g=line.weight_g,
                unit_price=line.unit_price,
            )
            for number, line in enumerate(lines)
        ),
    )


LEVELS = st.one_of(
    st.just((None, None)),
    st.tuples(st.integers(0, 5), INSTANTS),
    st.just((0, None)),
    st.tuples(st.integers(0, 5), INSTANTS),
)
MEASURES = st.dictionaries(
    st.tuples(st.sampled_from(["leeds", "corby"]), st.sampled_from(["reject_rate", "median_hours"])),
    st.fractions(0, 1, max_denominator=10),
)
VIEWS = st.builds(
    lambda levels, measures: ExampleView(levels, {code: Location(code=code) for code in ("leeds", "corby")}, measures),
    st.dictionaries(st.tuples(st.sampled_from(["leeds", "corby"]), SKUS), LEVELS),
    MEASURES,
)


@settings(max_examples=300, deadline=None)
@given(document=rule_sets(), order=orders(), view=VIEWS)
def test_engine_and_oracle_agree(document, order, view):
    """
    Every verdict and every decision, in turn, is what a naive reading of the JSON gives.
    """
    rules, oracle = load_rules(document), Oracle(document)

    for verdict, rule in zip(rules.explain(order, view=view, now=NOW).rules, document["rules"], strict=True):
        if rule.get("enabled", True):
            wanted = oracle.verdict(rule["when"], order, view=view, now=NOW)
            assert verdict.verdict == {True: "true", False: "false"}.get(wanted, "unknown")
    decided = [
        {
            "rule": each.rule_id,
            "action": each.action,
            "locations": list(each.locations),
            "effects": [(effect.rule_id, effect.kind, effect.name, effect.value) for effect in each.effects],
        }
        for each in rules.decisions(order, view, NOW)
    ]
    wanted = oracle.decisions(order, view, NOW)
    assert decided == [{key: each[key] for key in decided[0]} for each in wanted]


@settings(max_examples=60, deadline=None)
@given(document=rule_sets(), order=orders(), view=VIEWS)
def test_the_first_decision_is_the_decision(document, order, view):
    """
    `decide` and `decide_many` give the first of `decisions`, and `explain` names the same.
    """
    rules = load_rules(document)
    first = next(rules.decisions(order, view, NOW))

    assert rules.decide(order, view=view, now=NOW) == first
    assert list(rules.decide_many([order, order], view=view, now=NOW)) == [first, first]
    explanation = rules.explain(order, view=view, now=NOW)
    assert explanation.decision == first
    assert [verdict.rule_id for verdict in explanation.rules if verdict.decided] == [first.rule_id] * (
        first.rule_id is not None
    )


@settings(max_examples=40, deadline=None)
@given(document=rule_sets(max_rules=3), order=orders(), view=VIEWS)
def test_a_rule_set_survives_pickle_and_json(document, order, view):
    """
    Pickled, or written as JSON and read again, a rule set has the same hash and decides the same.
    """
    rules = load_rules(document)
    for again in (pickle.loads(pickle.dumps(rules)), load_rules(json.dumps(rules.document))):
        assert again.hash == rules.hash
        assert list(again.decisions(order, view, NOW)) == list(rules.decisions(order, view, NOW))


@settings(max_examples=150, deadline=None)
@given(condition=_composed(ORDER_TESTS | OVER_LINES), order=orders())
def test_not_exchanges_true_and_false_and_leaves_unknown(condition, order):
    """
    The verdict of a condition's negation is Kleene's *not* of its verdict.
    """
    around = {"currency": "GBP", "zone": "UTC", "lists": {"words": ["GB"]}}
    around["conditions"] = {"mugs": {"field": "line.sku", "op": "eq", "value": "MUG"}}
    verdict = compile_condition(condition, **around).verdict(order, now=NOW)
    opposite = compile_condition({"not": condition}, **around).verdict(order, now=NOW)

    assert opposite is (None if verdict is None else not verdict)
