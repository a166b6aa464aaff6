"""Loading a rule set: where it comes from, what is refused, what it says of itself."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fcflow.errors import AllocationError, PluginError, RuleError
from fcflow.model import Address, Order, OrderLine
from fcflow.rules import OperatorType, compile_condition, load_rules
from fcflow.rules.examples import ExampleView
from fcflow.rules.shape import schema
from fcflow.rules.source import canonical

ORDER = Order(order_id="A1", lines=(), channel="shop", ship_to=Address(country="GB"))
RULE = {"id": "gb", "when": {"field": "ship_to.country", "op": "eq", "value": "GB"}, "then": [{"keep": {}}]}


def document(*rules, **more):
    return {"fcflow": "ruleset/1", "rules": list(rules), **more}


def faults_of(source, **more):
    with pytest.raises(RuleError) as refusal:
        load_rules(source, **more)
    return [str(fault) for fault in refusal.value.faults]


def longer_than(value, argument, order):
    return len(value) > argument


LONGER = OperatorType(
    name="acme:longer_than", field_types=("text",), value_schema={"type": "integer", "minimum": 1}, test=longer_than
)
OPERATORS = {LONGER.name: LONGER}
LONG = {**RULE, "when": {"field": "channel", "op": "acme:longer_than", "value": 3}}


# ------------------------------------------------------------------ sources


def test_a_path_a_mapping_and_a_text_are_the_same(tmp_path: Path) -> None:
    """
    A rule set from a file (with or without a BOM), a mapping or a text has one hash.
    """
    text = json.dumps(document(RULE, name="one"))
    plain, marked = tmp_path / "plain.json", tmp_path / "marked.json"
    plain.write_text(text, encoding="utf-8")
    marked.write_text(text, encoding="utf-8-sig")

    loaded = [load_rules(source) for source in (plain, str(plain), marked, text, json.loads(text))]

    assert len({rules.hash for rules in loaded}) == 1
    assert {rules.name for rules in loaded} == {"one"}


def test_the_hash_looks_at_meaning_of_json_only() -> None:
    """
    The order of keys and needless digits do not change the hash; any value does.
    """
    test = {"field": "total", "op": "gt", "value": 2.5}
    one = load_rules(document({**RULE, "when": test}, currency="GBP"))
    same = load_rules(
        '{"currency": "GBP", "rules": [{"then": [{"keep": {}}], "when": '
        '{"value": 2.50, "op": "gt", "field": "total"}, "id": "gb"}], "fcflow": "ruleset/1"}'
    )
    other = load_rules(document({**RULE, "when": {**test, "value": 2.51}}, currency="GBP"))

    assert one.hash == same.hash != other.hash
    assert one == same != other


def test_broken_json_is_reported_with_line_and_column() -> None:
    """
    The place in the text is said.
    """
    assert faults_of('{\n  "fcflow": "ruleset/1",\n  "rules": [}') == ["line 3, column 13: not JSON: expecting value"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"rules": NaN}', "NaN is not a number of JSON"),
        ('{"a": 1, "rules": [], "a": 2}', "$.a: stands twice in one object"),
        ('{"rules": ' + "[" * 100_000, "nested too deeply"),
        ('{"rules": ' + "[" * 200 + "]" * 200 + "}", "nested too deeply"),
        ('{"rules": ' + "9" * 5_000 + "}", "not JSON"),
    ],
)
def test_json_that_is_not_data_is_refused(text: str, said: str) -> None:
    """
    Not a number, a key twice, endless nesting and endless digits are faults, not crashes.
    """
    assert any(said in fault for fault in faults_of(text))


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """
    A missing file and one that is not UTF-8 are named.
    """
    latin = tmp_path / "latin.json"
    latin.write_bytes(b'{"name": "\xe9"}')

    assert "cannot be read" in faults_of(tmp_path / "none.json")[0]
    assert faults_of(latin) == ["$: byte 10 is not UTF-8"]


@pytest.mark.parametrize("source", [{}, {"fcflow": "ruleset/1"}, {"fcflow": "ruleset/1", "rules": 5}, "{}"])
def test_what_is_no_rule_set_is_refused(source: object) -> None:
    """
    A document without its parts is a fault, whatever else it is.
    """
    assert faults_of(source)


def test_all_faults_come_at_once_in_the_order_of_the_document() -> None:
    """
    Faults of shape and of meaning stand together, sorted by place.
    """
    bad = [
        {"id": "a", "when": {"field": "chanel", "op": "eq", "value": "x"}, "then": [{"keep": {}}]},
        {"id": "b", "when": {"fild": "channel"}, "then": [{"hold": {}}]},
        {"id": "a", "when": {"use": "c"}, "then": [{"keep": {}}], "examples": [{"order": {}}]},
    ]

    assert faults_of(document(*bad, curency="GBP")) == [
        "$.rules[0].when.field: unknown field: expected channel, got 'chanel'",
        "$.rules[1].when.fild: unknown key: expected field, got 'fild'",
        "$.rules[1].then[0].hold: reason is missing",
        "$.rules[2].id: also the id of rules[0]: got 'a'",
        "$.rules[2].when.use: unknown condition: got 'c'",
        "$.rules[2].examples[0]: matches is missing",
        "$.curency: unknown key: expected currency, got 'curency'",
    ]


def test_conditions_that_grow_by_being_used_are_refused() -> None:
    """
    A short document cannot stand for an endless condition, neither in width nor in depth.
    """
    width = {f"c{n}": {"all": [{"use": f"c{n - 1}"}] * 10} for n in range(1, 12)}
    depth = {f"c{n}": {"not": {"use": f"c{n - 1}"}} for n in range(1, 300)}

    for conditions in (width, depth, dict(reversed(depth.items()))):
        said = faults_of(document(conditions={**conditions, "c0": True}))
        assert any("too large" in fault or "nested too deeply" in fault for fault in said)


def test_a_fault_deep_inside_an_action_keeps_the_whole_action_from_being_read() -> None:
    """
    An action that nests too deeply is a fault, even where its keys are called like conditions.
    """
    deep: object = True
    for _ in range(100):
        deep = {"not": deep}
    action = {"set_property": deep}

    for made in (document({**RULE, "then": [action]}), document(RULE, otherwise=[action])):
        assert any("nested too deeply" in fault for fault in faults_of(made))


def test_the_schema_is_one_and_takes_what_is_taken() -> None:
    """
    The shipped schema is valid Draft 2020-12, and editors accept what `load_rules` accepts.
    """
    Draft202012Validator.check_schema(schema())
    accepted = document(RULE, {**RULE, "id": "b", "when": True, "examples": [{"order": {}, "matches": True}]})

    load_rules(accepted)
    assert list(Draft202012Validator(schema()).iter_errors(accepted)) == []


# ------------------------------------------------------------------ what it says of itself


def test_a_rule_set_names_what_it_needs() -> None:
    """
    Locations, strategies, and whether stock and the time are asked for, are known without an order.
    """
    stock = {"stock": {"at": ["york", "corby"], "covers": "all"}}
    cut_off = {"field": "now", "op": "time_between", "value": ["00:00", "14:00"], "zone": "Europe/London"}
    rules = load_rules(
        document(
            {**RULE, "when": stock, "then": [{"allocate": {"to": "leeds", "strategy": "nearest"}}]},
            {"id": "b", "when": cut_off, "then": [{"allocate": {"to": ["hull"]}}], "enabled": False},
        )
    )

    assert rules.location_codes == {"york", "corby", "leeds", "hull"}
    assert rules.strategies == {"nearest", "in_order"}
    assert (rules.needs_view, rules.needs_now) == (True, False)
    assert [rule.id for rule in rules.rules] == ["gb", "b"]


def test_the_document_is_a_copy() -> None:
    """
    Neither the mapping that was loaded nor the one that is given back is the rule set's own.
    """
    given = document({**RULE, "when": True})
    rules = load_rules(given)
    given["rules"].clear()
    rules.document["rules"].clear()

    assert rules.document == document({**RULE, "when": True})
    assert rules.decide(ORDER).rule_id == "gb"


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"stock": {"at": "leeds", "covers": "all"}}, "asks for stock"),
        ({"field": "received_at", "op": "within_last", "value": {"days": 1}}, "asks for the time"),
        ({"field": "dispatch_by", "op": "before", "value": "now"}, "asks for the time"),
        ({"field": "now", "op": "after", "value": "2026-01-01T00:00:00Z"}, "asks for the time"),
    ],
)
def test_what_a_rule_asks_for_must_be_there(when: object, said: str) -> None:
    """
    A view or an instant that a rule needs is never taken as absent, even where another rule would decide first.
    """
    rules = load_rules(document(RULE, {**RULE, "id": "b", "when": when}))

    for ask in (rules.decide, rules.explain, rules.decisions):
        with pytest.raises(AllocationError, match=said):
            ask(ORDER)


def test_now_has_a_time_zone() -> None:
    """
    An instant without a zone is refused, not guessed.
    """
    with pytest.raises(AllocationError, match="time zone"):
        load_rules(document(RULE)).decide(ORDER, now=datetime(2026, 3, 2))


def test_decisions_are_lazy() -> None:
    """
    A rule behind the decision that was met is not looked at.
    """

    def never(value, argument, order):
        raise AssertionError("looked at")

    operators = {"acme:never": OperatorType(name="acme:never", field_types=("text",), value_schema={}, test=never)}
    first = {"id": "a", "when": True, "then": [{"allocate": {"to": "leeds"}}]}
    second = {**RULE, "when": {"field": "channel", "op": "acme:never", "value": 1}}
    decisions = load_rules(document(first, second), operators=operators).decisions(ORDER)

    assert next(decisions).locations == ("leeds",)
    with pytest.raises(PluginError, match="looked at"):
        next(decisions)


def test_a_lifted_hold_holds_no_more() -> None:
    """
    A hold that a person lifted decides nothing for that order; its effects stay, and other holds hold.
    """
    hold = {"hold": {"reason": "review"}}
    rules = load_rules(
        document(
            {"id": "a", "when": True, "then": [{"tag": "seen"}, hold]},
            {"id": "b", "when": True, "then": [{"allocate": {"to": "leeds"}}]},
            {"id": "c", "when": True, "then": [hold]},
        )
    )

    found = [(each.rule_id, sorted(each.tags)) for each in rules.decisions(ORDER, lifted={"a"})]

    assert found == [("b", ["seen"]), ("c", ["seen"])]
    assert [each.rule_id for each in rules.decisions(ORDER)] == ["a"]


def test_threads_share_a_rule_set() -> None:
    """
    Many threads that decide different orders with one rule set do not disturb each other.
    """
    heavy = {"any_line": {"all": [{"field": "line.weight_g", "op": "ge", "value": 100}]}}
    rules = load_rules(document({**RULE, "when": heavy}))
    orders = [
        Order(
            order_id=str(n),
            lines=[OrderLine(line_id=str(m), sku="S", quantity=1, weight_g=n % 2 * 100) for m in range(9)],
        )
        for n in range(400)
    ]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda order: rules.decide(order).rule_id, orders))

    assert found == [None, "gb"] * 200


# ------------------------------------------------------------------ explanations


def test_the_explanation_names_the_leaf() -> None:
    """
    Every rule's verdict stands with the leaves that made it so, in words a person reads.
    """
    line = {
        "all": [{"field": "line.sku", "op": "eq", "value": "MUG"}, {"field": "line.weight_g", "op": "lt", "value": 5}]
    }
    rules = load_rules(
        document(
            {"id": "fr", "when": {"field": "ship_to.country", "op": "eq", "value": "FR"}, "then": [{"keep": {}}]},
            {"id": "mug", "when": {"any_line": line}, "then": [{"keep": {}}]},
            {
                "id": "euro",
                "when": {"field": "total", "op": "gt", "value": 5, "currency": "EUR"},
                "then": [{"keep": {}}],
            },
            {"id": "off", "when": True, "then": [{"keep": {}}], "enabled": False},
            {
                "id": "gb",
                "when": {"not": {"field": "ship_to.country", "op": "in", "value": ["FR"]}},
                "then": [{"keep": {}}],
            },
        )
    )
    order = Order(
        order_id="A1",
        ship_to=Address(country="GB"),
        currency="GBP",
        total=Decimal(9),
        lines=[OrderLine(sku="MUG", quantity=1)],
    )

    assert str(rules.explain(order)).splitlines() == [
        "order A1",
        "  fr: false",
        "    ship_to.country eq 'FR': got 'GB'",
        "  mug: unknown",
        "    line 1: line.weight_g lt 5: line.weight_g is unknown",
        "  euro: unknown",
        "    total gt 5 EUR: the order is in GBP",
        "  off: false",
        "    the rule is not enabled",
        "  gb: decides",
        "    ship_to.country in ['FR']: got 'GB'",
    ]


def test_the_explanation_speaks_of_counts_sums_and_stock() -> None:
    """
    What was counted, summed and found in stock stands in the clause.
    """
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    view = ExampleView({("leeds", "MUG"): (1, now)}, {"leeds": None})
    order = Order(order_id="A1", lines=[OrderLine(sku="MUG", quantity=2)])
    parts = [
        {"count_lines": {"op": "ge", "value": 1}},
        {"sum_lines": {"field": "line.quantity", "op": "between", "value": [1, 2]}},
        {"not": {"stock": {"at": ["leeds", "hull"], "covers": "any"}}},
        {"stock_age": {"at": "leeds", "op": "le", "value": {"hours": 1}}},
    ]

    said = compile_condition({"all": parts}).because(order, view=view, now=now)

    assert said == ("leeds or hull covers any: leeds has 1 of 2 MUG, hull is unknown",)
    said = compile_condition({"all": [*parts[:2], parts[3]]}).because(order, view=view, now=now)
    assert said == (
        "count_lines ge 1: got 1",
        "sum of line.quantity between 1 and 2: got 2",
        "stock age at leeds le 1:00:00: got 0:00:00",
    )


def test_a_long_explanation_is_cut() -> None:
    """
    A rule over hundreds of lines is explained by the first few.
    """
    lines = [OrderLine(line_id=str(number), sku="S", quantity=1) for number in range(300)]
    condition = compile_condition({"any_line": {"field": "line.sku", "op": "eq", "value": "T"}})
    said = condition.because(Order(order_id="A1", lines=lines))

    assert len(said) == 13
    assert said[-1] == "and 288 more"


# ------------------------------------------------------------------ operators of plugins


def test_a_plugin_operator_is_asked_about_what_is_there() -> None:
    """
    True, false, and unknown of an absent value, of which the operator never hears.
    """
    condition = compile_condition(LONG["when"], operators=OPERATORS)

    assert condition.verdict(ORDER) is True
    assert condition.verdict(Order(order_id="A1", lines=(), channel="b2b")) is False
    assert condition.verdict(Order(order_id="A1", lines=())) is None


def test_a_plugin_operator_survives_pickle() -> None:
    """
    A rule set and a condition whose operator can be imported by name are picklable.
    """
    rules = pickle.loads(pickle.dumps(load_rules(document(LONG), operators=OPERATORS)))
    condition = pickle.loads(pickle.dumps(compile_condition(LONG["when"], operators=OPERATORS)))

    assert rules.decide(ORDER).rule_id == "gb"
    assert condition.matches(ORDER)


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"field": "channel", "op": "acme:longer_then", "value": 3}, "expected acme:longer_than"),
        ({"field": "total_weight_g", "op": "acme:longer_than", "value": 3}, "expected a field of type text"),
        ({"field": "channel", "op": "acme:longer_than", "value": "3"}, "expected a whole number, got '3'"),
        ({"field": "channel", "op": "acme:longer_than", "value": 0}, "expected at least 1, got 0"),
        ({"field": "channel", "op": "acme:longer_than", "value": 3, "ignore_case": True}, "does not fit"),
    ],
)
def test_a_plugin_operator_is_checked_at_load(when: object, said: str) -> None:
    """
    Its name, its field and its value are checked before any order comes.
    """
    assert any(said in fault for fault in faults_of(document({**RULE, "when": when}), operators=OPERATORS))


def test_a_plugin_operator_keeps_its_contract() -> None:
    """
    A name without a namespace, a schema that is none, a foreign answer and a crash are told apart from false.
    """
    with pytest.raises(ValueError, match="namespace"):
        OperatorType(name="longer", field_types=("text",), value_schema={}, test=longer_than)
    broken = OperatorType(name="acme:a", field_types=("text",), value_schema={"type": "nonsense"}, test=longer_than)
    with pytest.raises(PluginError, match="JSON Schema"):
        load_rules(document(RULE), operators={"acme:a": broken})
    with pytest.raises(PluginError, match="own name"):
        load_rules(document(RULE), operators={"acme:b": LONGER})
    for test, said in ((lambda *given: 1, "got 1"), (lambda *given: 1 / 0, "ZeroDivisionError")):
        operator = OperatorType(name=LONGER.name, field_types=("text",), value_schema={}, test=test)
        with pytest.raises(PluginError, match=said):
            load_rules(document(LONG), operators={LONGER.name: operator}).decide(ORDER)


# ------------------------------------------------------------------ a condition alone


def test_a_condition_on_a_line_is_given_one() -> None:
    """
    A condition of scope line looks at the line that is handed over, and never guesses one.
    """
    condition = compile_condition({"field": "line.sku", "op": "eq", "value": "MUG"}, scope="line")
    mug, pen = OrderLine(sku="MUG", quantity=1), OrderLine(line_id="2", sku="PEN", quantity=1)
    order = Order(order_id="A1", lines=(mug, pen))

    assert condition.matches(order, line=mug)
    assert not condition.matches(order, line=pen)
    with pytest.raises(AllocationError, match="asks for a line"):
        condition.matches(order)


def test_a_condition_reports_its_place_in_a_larger_document() -> None:
    """
    The faults of a condition inside a layout stand at their place in the layout.
    """
    with pytest.raises(RuleError) as refusal:
        compile_condition({"all": [{"field": "line.sku", "op": "eq", "value": "A"}]}, path="$.fields[3].when")

    assert [fault.path for fault in refusal.value.faults] == ["$.fields[3].when.all[0].field"]


def test_conditions_are_equal_by_what_they_say() -> None:
    """
    Two conditions compiled from equal documents are equal, wherever they stood.
    """
    made = [
        compile_condition({"field": "total", "op": "gt", "value": 5}, currency=currency, path=path)
        for currency, path in (("GBP", "$.a"), ("GBP", "$.b"), ("EUR", "$.a"))
    ]

    assert made[0] == made[1] != made[2]
    assert hash(made[0]) == hash(made[1])
    assert made[0].document == {"field": "total", "op": "gt", "value": 5}


def test_the_hour_that_the_clocks_repeat_is_not_confused() -> None:
    """
    Two instants an hour and a half apart that a zone writes half an hour apart are told apart.
    """
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fcflow.model import Order
    from fcflow.rules import compile_condition

    london = ZoneInfo("Europe/London")
    received = datetime(2026, 10, 25, 1, 15, fold=0, tzinfo=london)
    now = datetime(2026, 10, 25, 1, 45, fold=1, tzinfo=london)
    fresh = compile_condition({"field": "received_at", "op": "within_last", "value": {"hours": 1}})
    order = Order(order_id="A1", received_at=received, lines=())

    assert not fresh.matches(order, now=now)


@pytest.mark.parametrize("text", ["1E+30", "1E+300", "123456789012345678901234567890123456789.5", "1E-300"])
def test_numbers_of_any_size_have_one_text_in_a_rule_sets_hash(text):
    """
    As long as it takes: two numbers are one text when they are equal, and never otherwise.
    """
    number = Decimal(text)
    assert canonical(number) == canonical(Decimal(f"{number:f}"))
    assert Decimal(canonical(number)) == number


def test_a_text_that_looks_like_a_number_inside_stays_a_text():
    """
    Whatever stands in a document, texts and numbers never have one spelling.
    """
    odd, plain = {"a": Decimal("2.5"), "b": "\x002.5"}, {"a": Decimal("2.5"), "b": Decimal("2.5")}
    assert canonical(plain) == '{"a":2.5,"b":2.5}'
    assert canonical(odd) == '{"a":2.5,"b":"\\u00002.5"}'
