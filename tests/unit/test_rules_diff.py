"""
What a change of rules changes, and what examples and orders tried of a rule set.
"""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.errors import RuleError
from fcflow.model import Address, Order, OrderLine
from fcflow.rules import load_rules
from fcflow.rules.coverage import measure_coverage, run_examples
from fcflow.rules.diff import Case, diff, diff_cases, rule_edits

GB = {"field": "ship_to.country", "op": "eq", "value": "GB"}


def _rule(rule_id, when, *then, **more):
    return {"id": rule_id, "when": when, "then": list(then), **more}


def _to(place, **more):
    return {"allocate": {"to": [place], **more}}


def _rules(*rules, **more):
    return load_rules({"fcflow": "ruleset/1", "rules": list(rules), **more})


def _order(order_id, country="GB", **more):
    return Order(order_id=order_id, ship_to=Address(country=country), lines=more.pop("lines", ()), **more)


ORDERS = [_order("A1"), _order("A2", "FR"), _order("A3")]


def test_orders_that_go_elsewhere_are_named_and_counted():
    """
    A rule put in front takes its orders, and nobody else's.
    """
    old = _rules(_rule("rest", True, _to("leeds")))
    new = _rules(_rule("home", GB, _to("york")), _rule("rest", True, _to("leeds")))
    found = diff(old, new, ORDERS)

    assert [change.order_id for change in found.moved] == ["A1", "A3"]
    assert found.flows == {("leeds", "york"): 2}
    assert found.responsible == {"home": 2}
    assert found.edits == {"home": "added"}
    assert (found.old, found.new, found.orders) == (old.hash, new.hash, 3)


def test_a_rule_that_is_gone_is_responsible():
    """
    What a removed rule decided falls to the next, and the removed one is named.
    """
    old = _rules(_rule("home", GB, {"hold": {"reason": "look"}}), _rule("rest", True, _to("leeds")))
    found = diff(old, _rules(_rule("rest", True, _to("leeds"))), ORDERS)

    assert found.flows == {("hold", "leeds"): 2}
    assert found.responsible == {"home": 2}


def test_only_the_rule_that_changed_its_place_is_moved():
    """
    Of many rules, the fewest that explain the new order are said to have moved.
    """
    rules = [_rule(name, GB, _to(name)) for name in "abcdef"]

    assert rule_edits(_rules(*rules), _rules(rules[5], *rules[:5])) == {"f": "moved"}


def test_orders_that_trade_places_of_rules_blame_the_moved_rule():
    """
    Where no rule was edited but its place, it is the one that is named.
    """
    one, two = _rule("one", GB, _to("leeds")), _rule("two", GB, _to("york"))
    found = diff(_rules(one, two), _rules(two, one), ORDERS)

    assert found.flows == {("leeds", "york"): 2}
    assert set(found.responsible) <= {"one", "two"}
    assert sum(found.responsible.values()) == 2


def test_effects_and_terms_are_changes_but_move_nothing():
    """
    Another service or another way to split is told, and is no move.
    """
    old = _rules(_rule("tag", GB, {"set_service": "48"}), _rule("rest", True, _to("leeds")))
    new = _rules(_rule("tag", GB, {"set_service": "24"}), _rule("rest", True, _to("leeds", split="by_line")))
    found = diff(old, new, ORDERS)

    assert not found.moved
    assert {change.order_id: change.what for change in found.changes} == {
        "A1": ("terms", "effects"),
        "A2": ("terms",),
        "A3": ("terms", "effects"),
    }
    assert found.responsible == {"rest": 3, "tag": 2}


def test_prose_and_examples_change_nothing():
    """
    What cannot change a decision is no edit.
    """
    old = _rules(_rule("rest", True, _to("leeds")))
    new = _rules(_rule("rest", True, _to("leeds"), about="why", examples=[{"order": {}, "matches": True}]), name="n")

    assert rule_edits(old, new) == {}


def test_a_list_that_changed_changes_the_rules_that_use_it():
    """
    A rule stands in the lists and conditions that it uses.
    """
    rule = _rule("dear", {"field": "channel", "op": "in", "value": {"list": "ours"}}, _to("leeds"))
    others = _rule("rest", True, _to("york"))
    found = rule_edits(_rules(rule, others, lists={"ours": ["web"]}), _rules(rule, others, lists={"ours": ["shop"]}))

    assert found == {"dear": "changed"}


def test_cases_are_decided_by_the_rules_of_their_time():
    """
    Each case is compared as of its own instant, by its own old rules.
    """
    summer, winter = (datetime(2026, month, 1, tzinfo=UTC) for month in (6, 12))
    new = _rules(
        _rule("winter", True, _to("york"), effective={"from": "2026-11-01T00:00:00Z"}),
        _rule("rest", True, _to("leeds")),
    )
    old = _rules(_rule("rest", True, _to("leeds")))
    found = diff_cases([(old, Case(_order("A1"), now=summer)), (old, Case(_order("A2"), now=winter))], new)

    assert [change.order_id for change in found.changes] == ["A2"]


def test_a_diff_is_readable_and_json():
    """
    The text and the JSON say the same counts.
    """
    found = diff(_rules(_rule("all", True, _to("leeds"))), _rules(_rule("all", True, _to("york"))), ORDERS)
    document = json.loads(json.dumps(found.to_document()))

    assert "leeds -> york: 3" in str(found)
    assert "by all (changed): 3" in str(found)
    assert document["flows"] == [{"from": "leeds", "to": "york", "orders": 3}]
    assert document["changes"][0]["before"]["locations"] == ["leeds"]


PLACES = st.sampled_from(["leeds", "york", "hull"])
RULES = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["GB", "FR", "DE"]), PLACES),
    max_size=4,
    unique_by=lambda r: r[0],
)


@settings(max_examples=150, deadline=None)
@given(RULES, RULES, st.lists(st.sampled_from(["GB", "FR", "DE"]), max_size=6))
def test_a_diff_finds_exactly_what_decides_differently(old, new, countries):
    """
    An order is in the diff if and only if the two rule sets decide it differently, and then some edited rule is named.
    """

    def made(written):
        return _rules(*(_rule(name, {**GB, "value": country}, _to(place)) for name, country, place in written))

    before, after = made(old), made(new)
    orders = [_order(f"A{number}", country) for number, country in enumerate(countries)]
    found = diff(before, after, orders)
    different = [order.order_id for order in orders if before.decide(order).locations != after.decide(order).locations]

    assert [change.order_id for change in found.moved] == different
    assert sum(found.flows.values()) == len(different)
    for change in found.moved:
        assert set(change.rules) <= set(found.edits)
    assert not diff(before, before, orders).changes


# ------------------------------------------------------------------ coverage


EXAMPLE = {"order": {"ship_to": {"country": "GB"}}, "matches": True}


def test_examples_try_their_own_rule():
    """
    A leaf that examples saw true but never false is not covered.
    """
    rules = _rules(_rule("home", GB, _to("leeds"), examples=[EXAMPLE]), _rule("rest", True, _to("york")))
    found = measure_coverage(rules)

    assert found.never_matched == ("rest",)
    assert [(leaf.text, leaf.missing) for leaf in found.uncovered] == [("ship_to.country eq 'GB'", ("false",))]
    assert found.share == pytest.approx(2 / 4)


def test_orders_try_the_rules_up_to_the_one_that_decides():
    """
    Behind the rule that decides, nothing was tried.
    """
    rules = _rules(_rule("home", GB, _to("leeds")), _rule("rest", {"not": GB}, _to("york")))
    found = measure_coverage(rules, ORDERS)

    assert [(rule.reached, rule.matched, rule.decided) for rule in found.rules] == [(3, 2, 2), (1, 1, 1)]
    assert found.rules[1].leaves[0].missing == ("true",)


def test_leaves_are_found_below_lines_and_names():
    """
    A leaf on lines is asked of each line, one of a named condition stands where it is written.
    """
    mug = {"field": "line.sku", "op": "eq", "value": "MUG"}
    rules = _rules(_rule("mugs", {"all": [{"use": "home"}, {"any_line": mug}]}, _to("leeds")), conditions={"home": GB})
    lines = [OrderLine(sku="MUG", quantity=1), OrderLine(line_id="2", sku="CUP", quantity=1)]
    found = measure_coverage(rules, [_order("A1", lines=lines), _order("A2", "FR", lines=lines)])

    paths = {leaf.path: (leaf.true, leaf.false) for leaf in found.rules[0].leaves}
    assert paths == {"$.conditions.home": (1, 1), "$.rules[0].when.all[1].any_line": (2, 2)}
    assert found.share == 1


def test_a_failing_example_stops_no_other():
    """
    Every example has a result of its own, with the leaves that made it so.
    """
    document = {"fcflow": "ruleset/1", "rules": [_rule("home", GB, _to("leeds"), examples=[])]}
    document["rules"][0]["examples"] = [EXAMPLE, {**EXAMPLE, "matches": False, "about": "wrong"}, EXAMPLE]
    _, results = run_examples(document)

    assert [(each.number, each.passed) for each in results] == [(1, True), (2, False), (3, True)]
    assert results[1].because == ("ship_to.country eq 'GB': got 'GB'",)


def test_an_example_without_its_view_is_an_error_of_its_own():
    """
    What an example lacks is said of it, and does not keep the others from being run.
    """
    stock = {"stock": {"at": "leeds", "covers": "all"}}
    document = {
        "fcflow": "ruleset/1",
        "rules": [_rule("a", stock, _to("leeds"), examples=[{"order": {}, "matches": True}])],
    }
    _, [result] = run_examples(document)

    assert (result.passed, result.found) == (False, "error")
    assert result.because == ("view is missing, and the rule asks for it",)


def test_faults_of_the_document_are_still_refused():
    """
    Running examples one by one makes no unsound rule set acceptable.
    """
    with pytest.raises(RuleError) as refusal:
        run_examples({"fcflow": "ruleset/1", "rules": [_rule("a", True, _to("leeds"), examples=[{"order": {}}])]})

    assert [fault.path for fault in refusal.value.faults] == ["$.rules[0].examples[0]"]
