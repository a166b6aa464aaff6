"""
React Query Builder's JSON becomes a condition, or is refused at its own path; our catalogue sets its editor up.
"""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.errors import RuleError
from fcflow.model import Order
from fcflow.rules import OperatorType, compile_condition
from fcflow.rules.fields import FIELDS, find_field
from fcflow.rules.querybuilder import from_querybuilder, querybuilder_fields


def rule(field, operator, value="", **more):
    """A rule as the editor writes it, with its own ids beside."""
    return {"id": "8f", "field": field, "operator": operator, "value": value, "valueSource": "value", **more}


def group(*rules, combinator="and", **more):
    """A group as the editor writes it."""
    return {"id": "1a", "combinator": combinator, "not": False, "rules": list(rules), **more}


def faults(query, **more):
    """The faults of a query, as path and text."""
    with pytest.raises(RuleError) as caught:
        from_querybuilder(query, **more)
    return [(fault.path, str(fault)) for fault in caught.value.faults]


def asked(field, op, *value):
    """A test as JSON."""
    return {"field": field, "op": op, **({"value": value[0]} if value else {})}


DEFAULT = {
    *("=", "!=", "<", ">", "<=", ">=", "contains", "beginsWith", "endsWith", "doesNotContain", "doesNotBeginWith"),
    *("doesNotEndWith", "null", "notNull", "in", "notIn", "between", "notBetween"),
}


@pytest.mark.parametrize(
    ("one", "condition"),
    [
        (rule("channel", "=", "ebay"), asked("channel", "eq", "ebay")),
        (rule("channel", "!=", "ebay"), asked("channel", "ne", "ebay")),
        (rule("total", "<", "19.99"), asked("total", "lt", "19.99")),
        (rule("line_count", ">", "2"), asked("line_count", "gt", 2)),
        (rule("line_count", "<=", 2), asked("line_count", "le", 2)),
        (rule("line_count", ">=", 2.0), asked("line_count", "ge", 2)),
        (rule("notes", "contains", "gift"), asked("notes", "contains", "gift")),
        (rule("tags", "contains", "vip"), asked("tags", "contains", "vip")),
        (rule("channel", "beginsWith", "e"), asked("channel", "starts_with", "e")),
        (rule("channel", "endsWith", "y"), asked("channel", "ends_with", "y")),
        (rule("tags", "doesNotContain", "vip"), {"not": asked("tags", "contains", "vip")}),
        (rule("channel", "doesNotBeginWith", "e"), {"not": asked("channel", "starts_with", "e")}),
        (rule("channel", "doesNotEndWith", "y"), {"not": asked("channel", "ends_with", "y")}),
        (rule("channel", "null"), asked("channel", "absent")),
        (rule("channel", "notNull"), asked("channel", "exists")),
        (rule("ship_to.country", "in", "GB,IE"), asked("ship_to.country", "in", ["GB", "IE"])),
        (rule("ship_to.country", "notIn", ["GB"]), asked("ship_to.country", "not_in", ["GB"])),
        (rule("tags", "in", "a,b"), asked("tags", "contains_any", ["a", "b"])),
        (rule("line_count", "between", "1,3"), asked("line_count", "between", [1, 3])),
        (rule("total", "notBetween", ["1", "3"]), {"not": asked("total", "between", ["1", "3"])}),
        (rule("received_at", "<", "2026-03-02T12:00:00Z"), asked("received_at", "before", "2026-03-02T12:00:00Z")),
        (
            rule("received_at", ">=", "2026-07-02T12:00"),
            {"not": asked("received_at", "before", "2026-07-02T12:00:00+01:00")},
        ),
        (rule("any line.sku", "=", "MUG"), {"any_line": asked("line.sku", "eq", "MUG")}),
        (rule("no line.sku", "beginsWith", "HAZ"), {"no_line": asked("line.sku", "starts_with", "HAZ")}),
        (
            rule("lines", "=", group(rule("line.sku", "=", "MUG")), match={"mode": "all"}),
            {"every_line": {"all": [asked("line.sku", "eq", "MUG")]}},
        ),
        (
            rule("lines", "=", group(rule("line.quantity", ">", 1)), match={"mode": "atLeast", "threshold": 2}),
            {"count_lines": {"where": {"all": [asked("line.quantity", "gt", 1)]}, "op": "ge", "value": 2}},
        ),
    ],
)
def test_an_operator_becomes_ours(one, condition):
    """
    Each default operator has one meaning here, and values take the type of their field.
    """
    made = from_querybuilder(group(one), currency="GBP", zone="Europe/London")

    assert made == {"all": [condition]}


def test_every_default_operator_is_known():
    """
    All operators that the editor has by default are offered for some field.
    """
    options = [option for part in querybuilder_fields() for option in part["options"] if "operators" in option]
    offered = {operator["name"] for option in options for operator in option["operators"]}

    assert offered == DEFAULT


def test_groups_nest_and_are_negated():
    """
    Combinators, `not` and independent combinators keep their meaning.
    """
    inner = {"rules": [rule("channel", "=", "a"), "or", rule("channel", "=", "b")], "not": True}

    made = from_querybuilder(json.dumps(group(inner, rule("payment", "=", "paid"))))

    assert made == {
        "all": [
            {"not": {"any": [asked("channel", "eq", "a"), asked("channel", "eq", "b")]}},
            asked("payment", "eq", "paid"),
        ]
    }


def test_what_is_muted_is_left_out():
    """
    A muted rule asks nothing, and faults behind it keep their own paths.
    """
    made = from_querybuilder(group(rule("nonsense", "?", muted=True), rule("channel", "=", "a")))
    found = faults(group(rule("channel", "=", "a", muted=True), rule("ship_to.country", "=", "UK")))

    assert made == {"all": [asked("channel", "eq", "a")]}
    assert [path for path, _ in found] == ["$.rules[1]"]


@pytest.mark.parametrize(
    ("query", "path", "said"),
    [
        (group(rule("ship_to.contry", "=", "GB")), "$.rules[0].field", "expected ship_to.country"),
        (group(rule("~", "=", "")), "$.rules[0].field", "no field is chosen"),
        (group(rule("channel", "~", "")), "$.rules[0].operator", "no operator is chosen"),
        (group(rule("channel", "startsWith", "a")), "$.rules[0].operator", "beginsWith"),
        (group(rule("channel", "notContains", "a")), "$.rules[0].operator", "doesNotContain"),
        (group(rule("channel", "<", "a")), "$.rules[0].operator", "does not fit channel"),
        (group(rule("tags", "null")), "$.rules[0].operator", "does not fit tags"),
        (group(rule("line.sku", "=", "a")), "$.rules[0].field", "any line.sku"),
        (group(rule("channel", "=", "notes", valueSource="field")), "$.rules[0].valueSource", "another field"),
        (group(rule("channel", "in", "")), "$.rules[0].value", "expected values"),
        (group(rule("line_count", "between", "1")), "$.rules[0].value", "two values"),
        (group(rule("line_count", "=", "two")), "$.rules[0]", "a whole number"),
        (group(rule("received_at", "<", "2026-03-02T12:00")), "$.rules[0].value", "without a zone"),
        (group(rule("received_at", "<", "2026-03-02")), "$.rules[0].value", "without a time"),
        (group(rule("total", "<", "5")), "$.rules[0]", "money without a currency"),
        (group(), "$.rules", "an empty group"),
        (group(group(), rule("channel", "=", "a")), "$.rules[0].rules", "an empty group"),
        (group(rule("channel", "=", "a", muted=True)), "$", "nothing is asked"),
        (group(rule("channel", "=", "a"), combinator="xor"), "$.combinator", "and or or"),
        ({"rules": [rule("channel", "=", "a"), "and", "x"]}, "$.rules[2]", "not a rule"),
        (group(rule("lines", "=", group(), match={"mode": "most"})), "$.rules[0].match", "atLeast"),
        (group(rule("lines", "=", "x", match={"mode": "all"})), "$.rules[0].value", "a group of rules"),
        ([], "$", "not a rule"),
        ("{", "", "not JSON"),
    ],
)
def test_what_cannot_be_said_is_refused_at_its_place(query, path, said):
    """
    Whatever has no exact meaning here is refused, with its path in the query.
    """
    ((found, text),) = faults(query)

    assert found == path
    assert said in text


def test_combinators_do_not_mix():
    """
    `a and b or c` without a group has two readings, so it has none here.
    """
    rules = [rule("channel", "=", "a"), "and", rule("channel", "=", "b"), "or", rule("channel", "=", "c")]

    assert [path for path, _ in faults({"rules": rules})] == ["$.rules"]


def test_all_faults_come_at_once():
    """
    Every rule at fault is named.
    """
    found = faults(group(rule("a", "="), group(rule("channel", "?"), combinator="or"), rule("line_count", "=", "1")))

    assert [path for path, _ in found] == ["$.rules[0].field", "$.rules[1].rules[0].operator"]


def test_the_catalogue_offers_what_is_taken():
    """
    Every field with each operator that is offered for it can be imported.
    """
    values = {"text": "AB", "choice": "paid", "integer": "1", "money": "1", "instant": "2026-03-02T12:00", "set": "a"}
    for part in querybuilder_fields(["gift wrap"]):
        for option in part["options"]:
            for operator in option.get("operators", ()):
                value = values[option["datatype"]]
                text = "GBP" if option["name"].endswith("currency") else value
                several = ",".join([text, text]) if operator["name"] in ("between", "notBetween") else text
                query = group(rule(option["name"], operator["name"], several))
                assert from_querybuilder(query, currency="GBP", zone="Europe/London")["all"]


def test_the_catalogue_is_whole():
    """
    Each field of the rule language is offered with its meaning, choices with their words.
    """
    options = {option["name"]: option for part in querybuilder_fields() for option in part["options"]}

    assert set(FIELDS) <= {name.removeprefix("any ") for name in options}
    assert [value["name"] for value in options["payment"]["values"]] == list(find_field("payment").choices)
    assert all(option["title"] for name, option in options.items() if name != "lines")
    json.dumps(querybuilder_fields())


def test_operators_of_plugins_are_offered_and_taken():
    """
    A plugin's operator stands in the editor under its own name.
    """
    longer = OperatorType(
        name="acme:longer_than",
        field_types=("text",),
        value_schema={"type": "integer"},
        test=lambda value, argument, order: len(value) > argument,
    )
    operators = {longer.name: longer}

    made = from_querybuilder(group(rule("channel", "acme:longer_than", 3)), operators=operators)

    names = [each["name"] for each in querybuilder_fields(operators=operators)[0]["options"][0]["operators"]]
    assert "acme:longer_than" in names
    assert compile_condition(made, operators=operators).matches(Order(order_id="A1", channel="ebay", lines=()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.dictionaries(
            st.sampled_from(["combinator", "rules", "not", "field", "operator", "value", "match", "mode"]),
            parts,
            max_size=5,
        )
    ),
    max_leaves=12,
)
RULES = st.fixed_dictionaries(
    {
        "field": st.sampled_from([*FIELDS, "lines", "any line.sku", "properties.a"]) | JSON,
        "operator": st.sampled_from(["=", "in", "between", "null", "<", "contains"]) | JSON,
        "value": JSON,
    }
)


@settings(max_examples=200, deadline=None)
@given(JSON | st.lists(RULES, max_size=3).map(lambda rules: {"combinator": "or", "rules": rules}))
def test_no_query_does_more_than_be_refused(query):
    """
    Whatever a browser sends, it is a condition or a `RuleError`.
    """
    try:
        made = from_querybuilder(query, currency="GBP")
    except RuleError as error:
        assert error.faults  # noqa: PT017  # most of these are refused, not all
    else:
        assert compile_condition(made, currency="GBP").document == made
