"""Tables of orders: what they may look like, what they refuse, and what comes out."""

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest

from fcflow.errors import AllocationError, OrderError
from fcflow.model import Address, Decision, Location, Order, OrderLine
from fcflow.rules import OperatorType, load_rules
from fcflow.rules.columns import prepare_table
from fcflow.rules.examples import ExampleView
from fcflow.rules.table import orders_to_table, table_schema, table_to_orders

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MUG = OrderLine(sku="MUG", quantity=2, weight_g=300, unit_price="7.50", properties={"colour": "red"})
ORDER = Order(
    order_id="A1",
    channel="web",
    received_at=NOW,
    payment="paid",
    currency="GBP",
    total="19.99",
    ship_to=Address(country="GB", postcode="LS1 4AP"),
    bill_to=Address(country="FR"),
    lines=[MUG],
    tags={"gift", "new"},
    properties={"colour": "blue"},
)
BARE = Order(order_id="A2", lines=())


def is_(field, value, op="eq", **more):
    return {"field": field, "op": op, "value": value, **more}


def rules_of(*conditions, then=({"keep": {}},)):
    """Rules r0, r1, ... that each keep what they match, in pounds."""
    rules = [{"id": f"r{number}", "when": when, "then": list(then)} for number, when in enumerate(conditions)]
    return load_rules({"fcflow": "ruleset/1", "currency": "GBP", "zone": "Europe/London", "rules": rules})


def decided(table, *conditions):
    """Which rule decided each row."""
    return rules_of(*conditions).decide_many(table, now=NOW).rule_index.tolist()


EVERY_FIELD = [
    is_("channel", "web"),
    is_("payment", "paid"),
    is_("ship_to.postcode_area", "LS"),
    is_("bill_to.country", "FR"),
    is_("total", "19.99"),
    is_("goods_total", 15),
    is_("total_weight_g", 600),
    is_("received_at", {"hours": 1}, "within_last"),
    is_("received_at", ["mon"], "weekday_in"),
    is_("tags", ["gift", "new"], "contains_all"),
    is_("properties.colour", "blue"),
    {"any_line": is_("line.properties.colour", "red")},
    {"any_line": is_("line.total_price", 15)},
    {"count_lines": {"op": "eq", "value": 1}},
    {"sum_lines": {"field": "line.quantity", "op": "eq", "value": 2, "where": is_("line.sku", "MUG")}},
]


@pytest.mark.parametrize("condition", EVERY_FIELD, ids=str)
@pytest.mark.parametrize("form", ["arrow", "polars", "chunks", "prepared"])
def test_a_table_of_any_library_is_read(condition, form):
    """
    Whether Arrow's own, in several chunks, of Polars, or prepared, every kind of field is found in it.
    """
    made = {
        "arrow": orders_to_table,
        "polars": lambda orders: pl.from_arrow(orders_to_table(orders)),
        "chunks": lambda orders: pa.concat_tables([orders_to_table([each]) for each in orders]),
        "prepared": lambda orders: prepare_table(orders_to_table(orders)),
    }[form]

    assert decided(made([ORDER, BARE]), condition) == [0, -1]


@pytest.mark.parametrize("form", [lambda table: table, pl.from_arrow], ids=["arrow", "polars"])
def test_a_table_gives_back_its_orders(form):
    """
    Every value of an order survives, and so does every absence.
    """
    table = orders_to_table([ORDER, BARE])

    assert table.schema == table_schema()
    assert table_to_orders(form(table)) == [ORDER, BARE]


def test_a_slice_of_a_table_is_a_table():
    """
    A table that begins in the middle of its memory is read from there.
    """
    table = orders_to_table([BARE, ORDER, BARE, ORDER]).slice(1, 2)

    for condition in EVERY_FIELD:
        assert decided(table, condition) == [0, -1]


WIDER = {
    "categorical": (pa.array(["web", None]).dictionary_encode(), is_("channel", "web"), "channel"),
    "large text": (pa.array(["web", ""], pa.large_string()), is_("channel", "web"), "channel"),
    "text view": (pa.array(["web", None], pa.string_view()), is_("channel", "web"), "channel"),
    "whole pounds": (pa.array([5, None]), is_("total", 5), "total"),
    "short decimals": (pa.array([Decimal("5.00"), None], pa.decimal128(5, 2)), is_("total", 5), "total"),
    "long decimals": (pa.array([Decimal("5.00"), None], pa.decimal256(60, 20)), is_("total", 5), "total"),
    "a map": (
        pa.array([[("a", "b")], None], pa.map_(pa.string(), pa.string())),
        is_("properties.a", "b"),
        "properties",
    ),
    "large lists": (pa.array([["t"], None], pa.large_list(pa.string())), is_("tags", "t", "contains"), "tags"),
}


@pytest.mark.parametrize("case", WIDER)
def test_columns_may_be_of_wider_types(case):
    """
    Other types of the same kind are read as the schema's own.
    """
    column, condition, name = WIDER[case]
    table = pa.table({"order_id": ["A1", "A2"], name: column, "currency": ["GBP", "GBP"]})

    assert decided(table, condition) == [0, -1]


def test_instants_may_have_another_unit_and_zone():
    """
    An instant is the same instant in seconds and in another zone.
    """
    column = pa.array([NOW, None], pa.timestamp("s", "Europe/Paris"))
    table = pa.table({"order_id": ["A1", "A2"], "received_at": column})

    assert decided(
        table, is_("received_at", NOW.isoformat(), "before"), is_("received_at", {"hours": 0}, "within_last")
    ) == [1, -1]


REFUSED = {
    "no ids": (pa.table({"channel": ["web"]}), "order_id: the column is missing"),
    "no id": (pa.table({"order_id": pa.array([None], pa.string())}), "order_id: a value is missing"),
    "missing": (pa.table({"order_id": ["A1"]}), "channel: the column is missing, and a rule asks for it"),
    "number": (pa.table({"order_id": ["A1"], "channel": [1]}), "channel: wrong type: expected string, got 'int64'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_table_of_orders_is_refused(case):
    """
    The error names the column.
    """
    table, said = REFUSED[case]
    with pytest.raises(OrderError) as caught:
        decided(table, is_("channel", "web"))

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("column", "condition", "said"),
    [
        ({"ship_to": [{"country": "England"}]}, is_("ship_to.country", "GB"), "ship_to.country: wrong value"),
        ({"ship_to": [{"town": "York"}]}, is_("ship_to.country", "GB"), "ship_to.country: the column is missing"),
        ({"payment": ["perhaps"]}, is_("payment", "paid"), "payment: wrong value"),
        ({"total": [1.5], "currency": ["GBP"]}, is_("total", 1), "total: wrong type: expected decimal128"),
        ({"received_at": [datetime(2026, 1, 1)]}, is_("received_at", "now", "before"), "received_at: wrong type"),
        ({"lines": [[{"quantity": 0}]]}, {"any_line": is_("line.quantity", 1)}, "line.quantity: wrong value"),
        ({"lines": [[{"sku": None}]]}, {"any_line": is_("line.sku", "A")}, "line.sku: "),
        ({"tags": ["gift"]}, is_("tags", "gift", "contains"), "tags: wrong type: expected list"),
    ],
)
def test_what_an_order_cannot_hold_is_refused(column, condition, said):
    """
    Codes, counts and types are checked as `Order` checks them, where a rule asks for them.
    """
    with pytest.raises(OrderError) as caught:
        decided(pa.table({"order_id": ["A1"], **column}), condition)

    assert said in str(caught.value)


def test_an_order_that_does_not_fit_a_table_is_named():
    """
    An amount beyond the column's digits is refused, not rounded.
    """
    odd = Order(order_id="B7", currency="GBP", total="0.12345678901", lines=())
    with pytest.raises(OrderError) as caught:
        orders_to_table([ORDER, odd])

    assert "order B7" in str(caught.value)


def test_rows_that_are_not_orders_are_named():
    """
    Each bad row is a fault of its own.
    """
    with pytest.raises(OrderError) as caught:
        table_to_orders(pa.table({"order_id": ["A1", "A2"], "currency": ["GBP", "pounds"]}))

    assert [fault.path for fault in caught.value.faults] == ["row 1"]


def test_decisions_are_a_sequence():
    """
    Length, places, slices; rows that are decided alike share one object; nothing is decided of no rows.
    """
    rules = rules_of(is_("channel", "web"))
    found = rules.decide_many(orders_to_table([ORDER, BARE, ORDER]))

    assert len(found) == 3
    assert found[0] is found[2] is found[-1]
    assert found[1:] == [rules.decide(BARE), rules.decide(ORDER)]
    assert repr(found) == "Decisions(3 rows, 2 different)"
    assert list(rules.decide_many(orders_to_table([]))) == []


def test_effects_come_from_every_rule_up_to_the_decision():
    """
    As a table too: what a rule adds stands in the order of the rules, and what stands behind the decision is left out.
    """
    rules = load_rules(
        {
            "fcflow": "ruleset/1",
            "rules": [
                {"id": "a", "when": True, "then": [{"tag": "all"}]},
                {"id": "off", "enabled": False, "when": True, "then": [{"tag": "never"}]},
                {"id": "b", "when": is_("channel", "web"), "then": [{"tag": "web"}, {"hold": {"reason": "look"}}]},
                {"id": "c", "when": True, "then": [{"set_service": "slow"}]},
            ],
            "otherwise": [{"tag": "rest"}, {"allocate": {"to": "leeds"}}],
        }
    )
    found = rules.decide_many(orders_to_table([ORDER, BARE]))

    assert list(found) == [rules.decide(ORDER), rules.decide(BARE)]
    held, allocated = found.to_table().to_pylist()
    assert (held["rule_index"], held["rule_id"], held["reason"]) == (2, "b", "look")
    assert [effect["value"] for effect in held["effects"]] == ["all", "web"]
    assert (allocated["rule_id"], allocated["locations"]) == (None, ["leeds"])
    assert [effect["value"] for effect in allocated["effects"]] == ["all", "slow", "rest"]


def test_what_a_rule_asks_for_must_be_handed_over():
    """
    A table is refused as an order is, where a rule asks for stock or the time.
    """
    table = orders_to_table([ORDER])
    with pytest.raises(AllocationError, match="expected view="):
        rules_of({"stock": {"at": "leeds", "covers": "all"}}).decide_many(table)
    with pytest.raises(AllocationError, match="expected now="):
        rules_of(is_("received_at", "now", "before")).decide_many(table)


def test_only_rows_that_are_left_over_are_asked_one_by_one():
    """
    A plugin's operator is called for the orders that the rest of the rule has left.
    """
    seen = []

    def test(value, argument, order):
        seen.append(order.order_id)
        return True

    odd = OperatorType(name="acme:odd", field_types=("text",), value_schema={}, test=test)
    when = {"all": [is_("channel", 1, "acme:odd"), is_("ship_to.country", "GB")]}
    rules = load_rules(
        {"fcflow": "ruleset/1", "rules": [{"id": "a", "when": when, "then": [{"keep": {}}]}]}, operators={odd.name: odd}
    )
    orders = [
        Order(order_id=f"A{n}", channel="web", ship_to=Address(country=c), lines=()) for n, c in enumerate(["GB", "FR"])
    ]

    assert rules.decide_many(orders_to_table(orders)).rule_index.tolist() == [0, -1]
    assert seen == ["A0"]


def test_many_distinct_texts_are_asked_only_where_they_come_up():
    """
    A column of more texts than are worth asking all is asked by the rows; the answers are the same.
    """
    orders = [Order(order_id=f"A{n}", notes=f"note {n}" if n % 5 else None, lines=()) for n in range(1_500)]
    conditions = [
        is_("notes", "7", "ends_with"),
        {"not": is_("notes", ["1", "2"], "contains_any")},
        is_("notes", "NOTE 1", "starts_with", ignore_case=True),
        is_("notes", "^note [3-4]", "matches"),
    ]
    rules = rules_of(*conditions)

    assert list(rules.decide_many(orders_to_table(orders))) == [rules.decide(order) for order in orders]


def test_stock_is_asked_once_for_each_sku():
    """
    However many orders ask for it.
    """
    asked = []

    class View(ExampleView):
        def allocatable(self, location, sku):
            asked.append((location, sku))
            return super().allocatable(location, sku)

    view = View({("leeds", "MUG"): (3, NOW)}, {"leeds": Location(code="leeds")})
    rules = rules_of({"stock": {"at": "leeds", "covers": "all"}})
    twice = Order(order_id="A3", lines=[MUG, OrderLine(line_id="2", sku="MUG", quantity=2)])
    orders = [ORDER, BARE, twice]

    assert list(rules.decide_many(orders_to_table(orders), view=view)) == [rules.decide(o, view=view) for o in orders]
    asked.clear()
    assert rules.decide_many(orders_to_table(orders), view=view).rule_index.tolist() == [0, 0, -1]
    assert asked == [("leeds", "MUG")]


def test_orders_that_are_not_a_table_are_decided_lazily():
    """
    A list of orders is what it was: an iterator of decisions.
    """
    found = rules_of(is_("channel", "web")).decide_many(iter([ORDER]))

    assert isinstance(next(found), Decision)
    assert next(found, None) is None


def test_many_rules_that_only_add_are_kept_apart():
    """
    However many different sets of tagging rules match, each row keeps its own, in order.
    """
    bits = [is_("total_weight_g", [n for n in range(64) if n >> bit & 1], "in") for bit in range(6)]
    rules = rules_of(*bits * 20, then=[{"tag": "t"}])
    lines = [[OrderLine(sku="A", quantity=1, weight_g=n)] for n in range(64)]
    orders = [Order(order_id=f"A{n}", lines=each) for n, each in enumerate(lines)]

    assert list(rules.decide_many(orders_to_table(orders))) == [rules.decide(order) for order in orders]
