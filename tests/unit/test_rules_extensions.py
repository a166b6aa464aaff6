"""Fields, effects and indexed operators of plugins: checked at load, indexed, explained, and nobody's guess."""

import pickle
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from fcflow import Synchronizer, hookimpl
from fcflow.errors import PluginError, RuleError
from fcflow.model import Address, Order, OrderLine
from fcflow.plugins import collect_plugins, plugin_manager
from fcflow.rules import EffectType, OperatorType, RuleField, compile_condition, load_rules
from fcflow.rules.querybuilder import from_querybuilder, querybuilder_fields
from fcflow.rules.table import orders_to_table
from fcflow.rules.tables import from_table
from fcflow.testing import EffectContract, FieldContract, OperatorContract

ORDER = Order(
    order_id="A1",
    channel="shop",
    currency="GBP",
    total="9.50",
    ship_to=Address(country="GB"),
    lines=[OrderLine(sku="MUG", quantity=2, properties={"cost": "1.25"})],
)
BARE = Order(order_id="A2", lines=())


def cost(order):
    costs = [line.properties.get("cost") for line in order.lines]
    return sum(map(Decimal, costs), Decimal(0)) if costs and None not in costs else None


def units(order, line):
    return line.quantity * 10


def letters(order):
    return frozenset(order.channel or "")


def initial(value):
    return value[:1].upper() or None


def initials(argument):
    return frozenset(argument.upper())


def begins(value, argument, order):
    return None if initial(value) is None else initial(value) in initials(argument)


def wrapped(paper):
    return [{"tag": "gift"}, {"set_property": {"name": "paper", "value": paper}}]


COST = RuleField(name="acme:cost", type="money", get=cost, about="what it cost us")
UNITS = RuleField(name="acme:units", type="integer", get=units, about="pieces", scope="line", always=True)
LETTERS = RuleField(name="acme:letters", type="set", get=letters, about="letters of the channel", always=True)
BEGINS = OperatorType(
    name="acme:initial_in",
    field_types=["text"],
    value_schema={"type": "string", "minLength": 1},
    test=begins,
    key=initial,
    keys=initials,
)
WRAP = EffectType(name="acme:wrap", options_schema={"enum": ["red", "blue"]}, expand=wrapped)
KINDS = {
    "operators": {BEGINS.name: BEGINS},
    "fields": {each.name: each for each in (COST, UNITS, LETTERS)},
    "effects": {WRAP.name: WRAP},
}


def is_(field, value, op="eq", **more):
    return {"field": field, "op": op, "value": value, **more}


def rule_set(*conditions, then=({"keep": {}},), **kinds):
    rules = [{"id": f"r{number}", "when": when, "then": list(then)} for number, when in enumerate(conditions)]
    return load_rules({"fcflow": "ruleset/1", "currency": "GBP", "rules": rules}, **(kinds or KINDS))


def faults_of(*conditions, **more):
    with pytest.raises(RuleError) as refused:
        rule_set(*conditions, **more)
    return [str(fault) for fault in refused.value.faults]


@pytest.mark.parametrize(
    ("condition", "of_order", "of_bare"),
    [
        (is_("acme:cost", "1.25"), True, None),
        (is_("acme:cost", 2, "gt"), False, None),
        ({"field": "acme:cost", "op": "exists"}, True, False),
        ({"any_line": is_("acme:units", 20, "ge")}, True, False),
        ({"sum_lines": is_("acme:units", 20)}, True, False),
        (is_("acme:letters", "s", "contains"), True, False),
        (is_("channel", "SX", "acme:initial_in"), True, None),
        ({"not": is_("channel", "X", "acme:initial_in")}, True, None),
    ],
)
def test_a_field_of_a_plugin_is_a_field(condition, of_order, of_bare):
    """
    It is compared, counted, and unknown where it is absent, alone, in the index and over a table.
    """
    asked = compile_condition(condition, currency="GBP", **KINDS)
    rules = rule_set(condition, {"all": [condition, is_("channel", "shop")]})

    assert (asked.verdict(ORDER), asked.verdict(BARE)) == (of_order, of_bare)
    for order, wanted in ((ORDER, of_order), (BARE, of_bare)):
        assert (rules.decide(order).rule_id == "r0") is (wanted is True)
        assert rules.decide_many(orders_to_table([order]))[0].rule_id == rules.decide(order).rule_id
        assert rules.explain(order).rules[0].verdict == {True: "true", False: "false", None: "unknown"}[wanted]
    assert pickle.loads(pickle.dumps(rules)).decide(ORDER) == rules.decide(ORDER)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (is_("acme:costs", 1), "expected acme:cost, got 'acme:costs'"),
        (is_("acme:units", 1), "a field of a line"),
        (is_("acme:cost", "x"), "expected an amount"),
        (is_("acme:cost", "x", "starts_with"), "does not fit acme:cost"),
        ({"any_line": {"field": "acme:units", "op": "exists"}}, "never absent"),
    ],
)
def test_a_field_is_checked_at_load(condition, said):
    """
    A misspelt name, an operator and a value that do not fit its type are faults, as with any field.
    """
    assert any(said in fault for fault in faults_of(condition))


@pytest.mark.parametrize(
    ("kind", "given_", "said"),
    [
        ("text", 5, "expected a text, got 5"),
        ("integer", True, "expected a whole number, got True"),
        ("money", 1.5, "expected a finite Decimal, got 1.5"),
        ("money", Decimal("NaN"), "expected a finite Decimal"),
        ("instant", datetime(2026, 3, 2), "expected an aware datetime"),
        ("set", "abc", "expected a set of texts"),
        ("choice", "z", "expected one of a, b, got 'z'"),
    ],
)
def test_a_value_of_another_type_is_refused(kind, given_, said):
    """
    The error names field and order; nothing is decided on a guess.
    """
    field = RuleField(
        name="acme:odd", type=kind, get=lambda order: given_, about="", choices=("a", "b") if kind == "choice" else ()
    )
    asked = compile_condition(
        {"field": "acme:odd", "op": "contains", "value": "a"}
        if kind == "set"
        else {"field": "acme:odd", "op": "exists"},
        fields={"acme:odd": field},
    )

    with pytest.raises(PluginError, match=f"field acme:odd: order A1: {said}"):
        asked.verdict(ORDER)


def test_a_getter_that_fails_or_breaks_its_word_is_named():
    """
    A crash, and an absence of what is never absent, are errors of the plugin.
    """
    for get, said in ((lambda order: 1 / 0, "ZeroDivisionError"), (lambda order: None, "expected a value always")):
        field = RuleField(name="acme:odd", type="integer", get=get, about="", always=True)
        with pytest.raises(PluginError, match=f"order A1: {said}"):
            rule_set(is_("acme:odd", 1), fields={"acme:odd": field}).decide(ORDER)


def test_names_and_scopes_are_checked():
    """
    A name needs a namespace, a scope is order or line, an index needs both halves, things go by their own names.
    """
    for make in (
        lambda: RuleField(name="cost", type="money", get=cost, about=""),
        lambda: RuleField(name="acme:cost", type="money", get=cost, about="", scope="parcel"),
        lambda: RuleField(name="acme:cost", type="number", get=cost, about=""),
        lambda: EffectType(name="wrap", options_schema={}, expand=wrapped),
        lambda: evolve(BEGINS, keys=None),
    ):
        with pytest.raises(ValueError, match=r"expected|not a valid"):
            make()
    with pytest.raises(PluginError, match="own name"):
        rule_set(True, fields={"acme:other": COST})
    with pytest.raises(PluginError, match="options_schema"):
        rule_set(True, effects={WRAP.name: evolve(WRAP, options_schema={"type": "odd"})})


def test_an_effect_is_written_out():
    """
    The decision has the built-in effects, named after the rule.
    """
    rules = rule_set(True, then=[{"acme:wrap": "red"}, {"note": "fragile"}, {"keep": {}}])

    assert [(each.rule_id, each.kind, each.value) for each in rules.decide(ORDER).effects] == [
        ("r0", "tag", "gift"),
        ("r0", "set_property", "red"),
        ("r0", "note", "fragile"),
    ]


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ({"acme:warp": "red"}, "unknown effect of a plugin: expected acme:wrap, got 'acme:warp'"),
        ({"acme:wrap": "green"}, "then[0]"),
    ],
)
def test_an_effect_is_checked_at_load(then, said):
    """
    Its name and its options are checked before any order comes.
    """
    assert any(said in fault for fault in faults_of(True, then=[then]))


def test_an_effect_that_breaks_its_word_is_refused():
    """
    What it stands for must be what rules may write, and it must not fail.
    """
    decides = EffectType(name="acme:x", options_schema={}, expand=lambda options: [{"keep": {}}])
    assert any("unknown key" in fault for fault in faults_of(True, then=[{"acme:x": 1}], effects={"acme:x": decides}))
    fails = EffectType(name="acme:x", options_schema={}, expand=lambda options: options["y"])
    with pytest.raises(PluginError, match="effect acme:x: TypeError"):
        rule_set(True, then=[{"acme:x": 1}], effects={"acme:x": fails})


@given(st.lists(st.text("ABCxyz", min_size=1, max_size=3), min_size=2, max_size=12), st.text("ABCXYZ ", max_size=3))
def test_index_and_test_of_an_operator_agree(arguments, channel):
    """
    Looked up or tested one by one, the same rule decides.
    """
    plain = evolve(BEGINS, key=None, keys=None)
    conditions = [is_("channel", each, "acme:initial_in") for each in arguments]
    order = Order(order_id="A1", channel=channel or None, lines=())

    found = [rule_set(*conditions, operators={BEGINS.name: each}).decide(order).rule_id for each in (BEGINS, plain)]
    assert found[0] == found[1]


def test_a_key_that_fails_is_named():
    """
    An index that cannot be asked is an error of the plugin.
    """
    odd = evolve(BEGINS, key=lambda value: value[99])
    with pytest.raises(PluginError, match="operator acme:initial_in: IndexError"):
        rule_set(is_("channel", "A", BEGINS.name), operators={BEGINS.name: odd}).decide(ORDER)
    broken = evolve(BEGINS, keys=lambda argument: argument.nothing)
    with pytest.raises(PluginError, match="operator acme:initial_in: AttributeError"):
        rule_set(is_("channel", "A", BEGINS.name), operators={BEGINS.name: broken})


def test_nothing_is_proved_by_what_a_plugin_measures():
    """
    Two tests of a plugin's field that exclude each other are no dead rule, as the prover does not know the field.
    """
    rules = rule_set({"all": [is_("acme:cost", 1), is_("channel", "a")]}, is_("acme:cost", 2))

    assert not [each for each in rules.check() if each.kind in ("never_matches", "always_matches")]


def test_tables_and_editors_name_fields_of_plugins():
    """
    A column of a decision table, a rule of a visual editor, and the editor's list of fields.
    """
    table = [["rule", "acme:cost", "any acme:units", "hold"], ["dear", "> 1", ">= 20", "ask"], ["", "", "", ""]]
    base = {"currency": "GBP"}
    assert from_table(table, base=base, **KINDS).decide(ORDER).rule_id == "dear"
    query = {"combinator": "and", "rules": [{"field": "any acme:units", "operator": ">=", "value": "20"}]}
    assert from_querybuilder(query, **KINDS) == {
        "all": [{"any_line": {"field": "acme:units", "op": "ge", "value": 20}}]
    }
    names = [each["name"] for group in querybuilder_fields(**KINDS)[:2] for each in group["options"]]
    assert {"acme:cost", "acme:letters", "any acme:units"} <= set(names)


class Acme:
    @hookimpl
    def fcflow_fields(self):
        return [COST]

    @hookimpl
    def fcflow_effects(self):
        return [WRAP]


def test_a_configuration_finds_what_plugins_offer(tmp_path):
    """
    Rules and the condition of readiness of a configured synchronizer know the plugin's fields and effects.
    """
    manager = plugin_manager([])
    manager.register(Acme())
    then = [{"acme:wrap": "blue"}, {"allocate": {"to": "attic"}}]
    rules = [{"id": "a", "when": is_("acme:cost", 1, "gt"), "then": then}]
    config = {
        "fcflow": "config/1",
        "store": "sqlite://",
        "currency": "GBP",
        "ready": {"field": "acme:cost", "op": "exists"},
        "locations": {"attic": {"stock": {"tracked": False}}},
        "rules": {"fcflow": "ruleset/1", "rules": rules},
    }
    with Synchronizer.from_config(config, plugins=manager) as sync:
        sync.add_orders([ORDER, evolve(ORDER, order_id="A3", lines=[OrderLine(sku="MUG", quantity=1)])])
        assert sync.allocate().allocation.allocated == {"attic": ["A1"]}
        assert {each.value for each in sync.order("A1").fulfilments[0].effects} == {"gift", "blue"}


def test_two_of_one_name_and_bare_names_are_refused():
    """
    As with every offer of plugins.
    """
    manager = plugin_manager([])
    manager.register(Acme())
    manager.register(Acme())
    with pytest.raises(PluginError, match="field 'acme:cost' is offered twice"):
        collect_plugins(manager)


# ------------------------------------------------------------------ the contracts bite


class TestBegins(OperatorContract):
    operator, values, arguments = BEGINS, ("shop", "eBay", ""), ("s", "EX")


class TestCost(FieldContract):
    field, orders = COST, (ORDER, BARE)


class TestLetters(FieldContract):
    field, orders = LETTERS, (ORDER, BARE)


class TestUnits(FieldContract):
    field, orders = UNITS, (ORDER,)


class TestWrap(EffectContract):
    effect, options = WRAP, ("red", "blue")


COUNTER = iter(range(10**6))


BAD = {
    "test_its_index_says_what_it_says": (OperatorContract, evolve(BEGINS, keys=lambda argument: {"?"})),
    "test_its_schema_takes_the_arguments": (OperatorContract, evolve(BEGINS, value_schema={"type": "integer"})),
    "test_it_answers_true_false_or_none": (OperatorContract, evolve(BEGINS, test=lambda *given: 1.5)),
    "test_it_is_pure": (OperatorContract, evolve(BEGINS, test=lambda *given: next(COUNTER) % 2 == 0)),
    "test_its_values_are_of_its_type": (FieldContract, evolve(COST, get=lambda order: 1)),
    "test_rules_may_ask_for_it": (FieldContract, evolve(COST, get=lambda order: Decimal(next(COUNTER)))),
    "test_it_can_be_pickled": (FieldContract, evolve(COST, get=lambda order: Decimal(1))),
    "test_it_stands_for_effects_that_rules_may_write": (EffectContract, evolve(WRAP, expand=lambda p: [{"tag": ""}])),
}


@pytest.mark.parametrize("test", BAD)
def test_a_bad_offer_is_caught(test):
    """
    Each promise of a contract fails where it is broken.
    """
    given_ = {"values": ("shop",), "arguments": ("s",), "orders": (ORDER,), "options": ("red",)}
    contract, offer = BAD[test]
    tried = type("Tried", (contract,), {**given_, "operator": offer, "field": offer, "effect": offer})()

    with pytest.raises((AssertionError, PluginError, RuleError, AttributeError, pickle.PicklingError)):
        getattr(tried, test)()


def test_instants_are_taken_in_utc():
    """
    A getter may give any zone.
    """
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    field = RuleField(name="acme:at", type="instant", get=lambda order: at.astimezone(), about="")
    asked = compile_condition(is_("acme:at", "2026-03-02T12:00:01Z", "before"), fields={"acme:at": field})
    assert asked.matches(ORDER, now=at)
