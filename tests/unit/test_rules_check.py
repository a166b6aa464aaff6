"""
What is found in rule sets made to have it, with an order that shows it.
"""

import sys
from datetime import UTC, datetime

import pytest

from fcflow.errors import MissingExtraError
from fcflow.rules import load_rules
from fcflow.rules.check import check_rules
from fcflow.testing.oracle import Oracle

UK = {"field": "ship_to.country", "op": "eq", "value": "GB"}
FRANCE = {"field": "ship_to.country", "op": "eq", "value": "FR"}
HEAVY = {"field": "total_weight_g", "op": "ge", "value": 20_000}
EBAY = {"field": "channel", "op": "eq", "value": "EBAY"}
TO_LEEDS = {"allocate": {"to": "leeds", "if_short": "backorder"}}
TO_CORBY = {"allocate": {"to": "corby", "if_short": "backorder"}}
KEEP = {"keep": {}}


def _document(*rules, **more):
    written = []
    for number, (when, then, *rest) in enumerate(rules):
        written.append({"id": f"r{number}", "when": when, "then": [then], **(rest[0] if rest else {})})
    return {"fcflow": "ruleset/1", "rules": written, **more}


def _found(document, *, deep=True):
    if deep:
        pytest.importorskip("z3")
    rules = load_rules(document)
    return rules, {(each.kind, each.rules): each for each in rules.check(deep=deep)}


def _decided(rules, finding):
    return rules.decide(finding.witness, view=finding.view, now=finding.now).rule_id


def test_a_rule_behind_a_wider_one_is_never_reached():
    """
    The witness matches the rule, and the rule before it decides the order.
    """
    document = _document((UK, TO_LEEDS), ({"all": [UK, HEAVY]}, TO_CORBY))
    rules, found = _found(document, deep=False)

    finding = found["never_reached", ("r1", "r0")]
    assert (finding.level, finding.path) == ("warning", "$.rules[1]")
    assert Oracle(document).verdict(document["rules"][1]["when"], finding.witness) is True
    assert _decided(rules, finding) == "r0"


def test_a_rule_behind_one_that_may_fall_short_is_a_fallback():
    """
    An allocation that goes on to the next rule where stock is short leaves something to the rule behind it.
    """
    _, found = _found(_document((UK, {"allocate": {"to": "leeds"}}), (UK, TO_CORBY)), deep=False)

    assert list(found) == [("fallback", ("r1", "r0"))]
    assert found["fallback", ("r1", "r0")].level == "note"


def test_a_rule_behind_a_hold_waits_until_it_is_lifted():
    """
    A hold can be lifted by a person, so nothing behind it is dead.
    """
    _, found = _found(_document((True, {"hold": {"reason": "stop"}}), (UK, TO_CORBY)), deep=False)

    assert "a hold is lifted" in found["fallback", ("r1", "r0")].message


def test_a_contradiction_needs_no_solver():
    """
    Demands on one field that exclude each other are found by their bounds.
    """
    light = {"field": "total_weight_g", "op": "lt", "value": 500}
    _, found = _found(_document(({"all": [HEAVY, light]}, KEEP)), deep=False)

    assert found["never_matches", ("r0",)].witness is None


def test_several_rules_together_shadow_one():
    """
    The solver names exactly the rules that leave nothing, and no other.
    """
    document = _document(
        (EBAY, KEEP), ({"all": [UK, HEAVY]}, TO_LEEDS), ({"all": [UK, {"not": HEAVY}]}, TO_CORBY), (UK_KNOWN, KEEP)
    )
    rules, found = _found(document)

    finding = found["never_reached", ("r3", "r1", "r2")]
    assert Oracle(document).verdict(UK_KNOWN, finding.witness) is True
    assert _decided(rules, finding) in ("r0", "r1", "r2")


UK_KNOWN = {"all": [UK, {"field": "total_weight_g", "op": "exists"}]}


def test_an_unknown_value_slips_between_a_condition_and_its_opposite():
    """
    Heavy and not heavy leave the parcels of unknown weight, so the rule behind them is alive.
    """
    _, found = _found(
        _document(({"all": [UK, HEAVY]}, TO_LEEDS), ({"all": [UK, {"not": HEAVY}]}, TO_CORBY), (UK, KEEP))
    )

    assert not [key for key in found if key[0] == "never_reached"]


def test_a_share_is_never_greater_than_one():
    """
    A rule that asks for more than every order refused never matches; one that asks for some has a witness.
    """
    refuses = {"at": "leeds", "measure": "reject_rate", "op": "gt"}
    _, found = _found(
        _document(({"behaviour": {**refuses, "value": 1}}, KEEP), ({"behaviour": {**refuses, "value": "0.05"}}, KEEP))
    )

    assert [key for key in found if key[0] == "never_matches"] == [("never_matches", ("r0",))]


def test_a_contradiction_between_fields_is_named_by_its_parts():
    """
    A postcode area of Leeds excludes France; the third part has nothing to do with it.
    """
    leeds = {"field": "ship_to.postcode_area", "op": "eq", "value": "LS"}
    _, found = _found(_document(({"all": [FRANCE, EBAY, leeds]}, KEEP)))

    message = found["never_matches", ("r0",)].message
    assert "$.rules[0].when.all[0] and $.rules[0].when.all[2] exclude each other" in message


def test_lines_are_counted_without_a_bound():
    """
    What every line weighs excludes less in all, however many lines there are; a weight that some order has is left.
    """
    every = {"every_line": {"field": "line.weight_g", "op": "ge", "value": 100}}
    some = {"field": "line_count", "op": "ge", "value": 3}
    light = {"field": "total_weight_g", "op": "lt", "value": 200}
    unsaid = {"field": "total_weight_g", "op": "lt", "value": 700}
    _, found = _found(_document(({"all": [every, some, light]}, KEEP), ({"all": [every, some, unsaid]}, KEEP)))

    assert [key for key in found if key[0] == "never_matches"] == [("never_matches", ("r0",))]


def test_a_condition_that_no_order_escapes_always_matches():
    """
    A channel is there or it is not.
    """
    either = {"any": [{"field": "channel", "op": "exists"}, {"field": "channel", "op": "absent"}]}
    _, found = _found(_document((either, KEEP)))

    assert ("always_matches", ("r0",)) in found


def test_a_part_that_follows_from_another_can_be_left_out():
    """
    The finding points at the part.
    """
    _, found = _found(_document(({"all": [UK, {"field": "ship_to.country", "op": "ne", "value": "FR"}]}, KEEP)))

    assert found["redundant", ("r0",)].path == "$.rules[0].when.all[1]"


def test_rules_that_cross_with_different_outcomes_overlap():
    """
    Neither is the other's exception, and the witness matches both.
    """
    document = _document((UK, TO_LEEDS), (EBAY, TO_CORBY), (True, KEEP))
    rules, found = _found(document)

    finding = found["overlap", ("r0", "r1")]
    assert (finding.witness.ship_to.country, finding.witness.channel) == ("GB", "EBAY")
    assert _decided(rules, finding) == "r0"


def test_an_exception_before_its_rule_is_no_overlap():
    """
    The narrow rule before the wide one is how exceptions are written.
    """
    _, found = _found(_document(({"all": [UK, HEAVY]}, TO_LEEDS), (UK, TO_CORBY)))

    assert not [key for key in found if key[0] == "overlap"]


def test_orders_that_nobody_decides_are_shown():
    """
    The witness goes by otherwise; a catch-all leaves none.
    """
    rules, found = _found(_document((UK, TO_LEEDS), (EBAY, TO_CORBY)))
    _, closed = _found(_document((UK, TO_LEEDS), (True, KEEP)))

    assert _decided(rules, found["undecided", ()]) is None
    assert ("undecided", ()) not in closed


@pytest.mark.parametrize("deep", [False, True])
def test_a_hold_that_fails_open_is_pointed_at(deep):
    """
    An order whose total nobody knows passes the hold; one that says if_unknown does not let it.
    """
    dear = {"field": "total", "op": "gt", "value": 500}
    open_rules, found = _found(_document((dear, {"hold": {"reason": "dear"}}), currency="GBP"), deep=deep)
    closed = _document((dear, {"hold": {"reason": "dear"}}, {"if_unknown": "match"}), currency="GBP")

    assert _decided(open_rules, found["fails_open", ("r0",)]) is None
    assert ("fails_open", ("r0",)) not in _found(closed, deep=deep)[1]


def test_a_hold_on_tags_cannot_fail_open():
    """
    Tags are never absent.
    """
    _, found = _found(
        _document(({"field": "tags", "op": "contains", "value": "review"}, {"hold": {"reason": "look"}})), deep=False
    )

    assert not found


def test_a_disabled_rule_shadows_nothing():
    """
    Only enabled rules are looked at, and paths count the disabled ones.
    """
    _, found = _found(_document((True, KEEP, {"enabled": False}), (UK, TO_LEEDS), (UK, KEEP)), deep=False)

    assert [(each.rules, each.path) for each in found.values()] == [(("r2", "r1"), "$.rules[2]")]


def test_rules_of_different_seasons_do_not_shadow_each_other():
    """
    A rule shadows another only while it is in force.
    """
    spring = {"effective": {"until": "2026-06-01T00:00:00Z"}}
    summer = {"effective": {"from": "2026-06-01T00:00:00Z"}}
    apart = _document((UK, TO_LEEDS, spring), (UK, TO_CORBY, summer))
    together = _document((UK, TO_LEEDS, spring), (UK, TO_CORBY))

    assert not _found(apart, deep=False)[1]
    assert _found(together, deep=False)[1]["never_reached", ("r1", "r0")].message.startswith("before 2026-06-01")


def test_what_does_not_fit_the_time_is_said(monkeypatch):
    """
    With no time at all the solver is asked nothing, and that is a finding.
    """
    pytest.importorskip("z3")
    found = load_rules(_document((UK, TO_LEEDS), (EBAY, TO_CORBY))).check(deep=True, budget_s=-1)

    assert [each.kind for each in found if each.kind == "not_examined"]


def test_a_missing_solver_is_named(monkeypatch):
    """
    Asked for deep proofs without the extra, the error says what to install; unasked, structure has to do.
    """
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    rules = load_rules(_document((UK, TO_LEEDS)))

    with pytest.raises(MissingExtraError, match=r"fcflow\[analysis\]"):
        check_rules(rules, deep=True)
    assert check_rules(rules) == []


def test_stock_and_time_are_part_of_the_witness():
    """
    A rule that asks for stock and the hour is shown with a view and a now that decide it.
    """
    soon = {"field": "dispatch_by", "op": "within_next", "value": {"hours": 4}}
    document = _document(({"all": [soon, {"stock": {"at": "leeds", "covers": "all"}}]}, TO_LEEDS), (soon, KEEP))
    rules, found = _found(document)

    finding = found["undecided", ()]
    assert isinstance(finding.now, datetime)
    assert finding.now.tzinfo is UTC
    assert _decided(rules, finding) is None


def test_the_solver_is_not_loaded_unless_it_is_asked():
    """
    Structure needs no extra.
    """
    before = "z3" in sys.modules
    load_rules(_document((UK, TO_LEEDS))).check(deep=False)

    assert ("z3" in sys.modules) is before
