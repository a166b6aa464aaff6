"""Rows that belong together, columns that come again without names, and what is written in place of nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from fcflow.errors import FormatError, LayoutError
from fcflow.formats import Layout, load_layout
from fcflow.model import Address, Order, OrderLine, ShippingLine, ShippingOrder, StockLevel


def layout(kind: str, codec: dict[str, Any], *fields: Any, **more: Any) -> Layout:
    codec = {"type": "delimited", "line_end": "lf", **codec}
    made = [
        {"at": each[0], "field": each[1], **(each[2] if len(each) > 2 else {})} if isinstance(each, tuple) else each
        for each in fields
    ]
    return load_layout({"fcflow": "layout/1", "kind": kind, "codec": codec, "fields": made, **more})


def faults(*args: Any, **more: Any) -> str:
    with pytest.raises(LayoutError) as refused:
        layout(*args, **more)
    return str(refused.value)


def shipping_order(fulfilment_id: str, company: str | None = None, **skus: int) -> ShippingOrder:
    lines = [OrderLine(line_id=str(n), sku=sku, quantity=count) for n, (sku, count) in enumerate(skus.items(), 1)]
    order = Order(order_id=fulfilment_id, lines=lines, ship_to=Address(name="Ada", company=company))
    parts = [ShippingLine(line_id=line.line_id, sku=line.sku, quantity=line.quantity) for line in lines]
    return ShippingOrder(fulfilment_id=fulfilment_id, order=order, location="leeds", lines=parts)


def levels(made: Layout, payload: bytes) -> list[StockLevel]:
    records, problems = made.read(payload)
    assert problems == []
    return [each.value for each in records]


# ------------------------------------------------------------------ stock in several rows


LOTS = (("SKU", "sku"), ("Site", "location"), ("Qty", "on_hand"), ("Held", "frozen"), ("At", "as_of"))


def test_rows_of_one_sku_add_up():
    """
    By location; what no row says stays unsaid, and the earliest of their times counts.
    """
    made = layout("stock", {}, *LOTS, group="sku")
    found = levels(
        made,
        b"SKU,Site,Qty,Held,At\nMUG,A,5,,2026-03-02T10:00:00Z\nMUG,A,2,2,2026-03-02T09:00:00Z\nMUG,B,1,,\nCUP,B,,,\n",
    )
    assert found == [
        StockLevel(sku="MUG", location="A", on_hand=7, reserved=2, as_of=datetime(2026, 3, 2, 9, tzinfo=UTC)),
        StockLevel(sku="MUG", location="B", on_hand=1),
        StockLevel(sku="CUP", location="B"),
    ]


def test_rows_of_one_sku_may_stand_anywhere():
    """
    If the layout says so; else the second lot of rows is a problem that names the SKU.
    """
    payload = b"SKU,Site,Qty,Held,At\nMUG,A,5,,\nCUP,A,1,,\nMUG,A,2,,\n"
    anywhere = layout("stock", {}, *LOTS, group="sku", rows="anywhere")
    assert [(each.sku, each.on_hand) for each in levels(anywhere, payload)] == [("MUG", 7), ("CUP", 1)]

    _, problems = layout("stock", {}, *LOTS, group="sku").read(payload)
    said = "line 4: its rows do not stand together; it was read before, expected rows of a SKU together, got 'A MUG'"
    assert [str(each) for each in problems] == [said]


def test_a_sum_that_lacks_a_row_is_not_given():
    """
    A row that cannot be read leaves nothing of its SKU; rows that are left out are not counted.
    """
    made = layout("stock", {}, *LOTS, group="sku", skip=[{"at": "Site", "in": ["X"]}])
    records, problems = made.read(b"SKU,Site,Qty,Held,At\nMUG,A,5,,\nMUG,A,two,,\nCUP,X,9,,\nCUP,B,1,,\n")
    assert [(each.value.sku, each.value.on_hand) for each in records] == [("CUP", 1)]
    assert [str(each) for each in problems] == ["line 3, column 3 (on_hand): expected digits, got 'two'"]


def test_a_state_in_each_row_says_which_counter_it_is():
    """
    A number belongs to one counter or the other, as another cell of its row says.
    """
    blocked = {"field": "aside.state", "op": "in", "value": ["QUARANTINE", "DAMAGED"]}
    made = layout(
        "stock",
        {},
        ("SKU", "sku"),
        ("State", "aside.state"),
        ("Qty", "aside.qty", {"type": "integer"}),
        group="sku",
        derive=[
            {
                "field": "on_hand",
                "sum": ["aside.qty"],
                "when": {"not": {"field": "aside.state", "op": "eq", "value": "DUE"}},
            },
            {"field": "frozen", "first_of": ["aside.qty"], "when": blocked},
            {
                "field": "inbound",
                "first_of": ["aside.qty"],
                "when": {"field": "aside.state", "op": "eq", "value": "DUE"},
            },
        ],
    )
    payload = b"SKU,State,Qty\nMUG,OK,5\nMUG,DAMAGED,2\nMUG,DUE,9\nCUP,QUARANTINE,1\n"
    assert levels(made, payload) == [
        StockLevel(sku="MUG", on_hand=7, reserved=2, inbound=9),
        StockLevel(sku="CUP", on_hand=1, reserved=1),
    ]


def test_a_state_in_each_row_of_an_order_says_what_became_of_it():
    """
    The same in statuses, where the status of the order follows from the sums.
    """
    fields = [
        ("Order", "reference"),
        ("SKU", "line.sku"),
        ("Qty", "aside.qty", {"type": "integer"}),
        ("State", "aside.state"),
    ]
    states = {"line.shipped": "S", "line.cancelled": "C"}
    derive: list[dict[str, Any]] = [
        {"field": name, "first_of": ["aside.qty"], "when": {"field": "aside.state", "op": "eq", "value": word}}
        for name, word in states.items()
    ]
    some = {"field": "total.shipped", "op": "gt", "value": 0}
    derive += [{"field": "status", "cases": [{"when": some, "then": "shipped"}], "else": "cancelled"}]
    made = layout("status", {}, *fields, group="reference", derive=derive)
    records, problems = made.read(b"Order,SKU,Qty,State\nA1,MUG,2,S\nA1,CUP,1,C\nA2,CUP,1,C\n")
    assert not problems
    assert [
        (str(each.value.status), [(line.sku, line.shipped, line.cancelled) for line in each.value.lines])
        for each in records
    ] == [
        ("shipped", [("MUG", 2, None), ("CUP", None, 1)]),
        ("cancelled", [("CUP", None, 1)]),
    ]


@pytest.mark.parametrize(
    ("kind", "fields", "more", "said"),
    [
        ("stock", [("a", "sku")], {"group": "reference"}, "$.group: only for layouts of kind status"),
        ("status", [("a", "reference")], {"group": "sku"}, "$.group: only for layouts of kind stock"),
        ("stock", [("a", "sku"), ("b", "on_hand", {"location": "L"})], {"group": "sku"}, "$.group: does not go with"),
    ],
)
def test_groups_fit_their_kind(kind, fields, more, said):
    """
    A fault of the layout, with what it is for.
    """
    assert said in faults(kind, {}, *fields, **more)


# ------------------------------------------------------------------ columns without names


POSITIONS = ((1, "fulfilment_id"), (2, "ship_to.name"), (4, "line.sku"), (5, "line.quantity"))


def test_columns_come_again_by_their_position():
    """
    As often as a row is long, whether or not its last column is there.
    """
    made = layout("orders", {"header": False, "repeat": {"at": 4, "columns": 3, "most": 2}}, *POSITIONS)
    orders = [shipping_order("A1", MUG=2, CUP=1), shipping_order("A2", HAT=4)]
    assert made.encode(orders).decode().splitlines() == ["A1,Ada,,MUG,2,,CUP,1", "A2,Ada,,HAT,4,,,"]

    records, problems = made.read(b"A1,Ada,,MUG,2,7.50,CUP,1,3.00,HAT,3\nA2,Bo,,HAT,4\n")
    assert not problems
    assert [[(line.sku, line.quantity) for line in each.value.lines] for each in records] == [
        [("MUG", 2), ("CUP", 1), ("HAT", 3)],
        [("HAT", 4)],
    ]


def test_columns_that_come_again_may_have_others_behind_them():
    """
    Then they come as often as the layout says, and a shorter row is a problem.
    """
    codec = {"header": False, "repeat": {"at": 2, "columns": 2, "most": 3}}
    made = layout("orders", codec, (1, "fulfilment_id"), (2, "line.sku"), (3, "line.quantity"), (8, "notes"))
    assert made.encode([shipping_order("A1", MUG=2)]).decode() == "A1,MUG,2,,,,,\n"
    [record], problems = made.read(b"A1,MUG,2,CUP,1,,,fragile\n")
    assert (record.value.notes, len(record.value.lines), problems) == ("fragile", 2, [])
    assert [str(each) for each in made.read(b"A2,MUG,2\n")[1]] == ["line 1: 3 columns, expected 8 columns"]


@pytest.mark.parametrize(
    ("codec", "fields", "said"),
    [
        ({"repeat": {"at": 4, "columns": 3}}, [("SKU", "line.sku")], "$.codec.repeat.at: only without a header"),
        ({"header": False, "repeat": {"at": 4, "columns": 3}}, [(1, "line.sku")], "a place among those columns"),
        ({"header": False, "repeat": {"at": 4}}, [(4, "line.sku")], "$.codec.repeat"),
        (
            {"header": False, "repeat": {"at": 4, "columns": 3}},
            [(4, "line.sku"), (9, "notes")],
            "$.fields[1].at: lies among columns that come again: expected a place before column 4, or from 34 on",
        ),
    ],
)
def test_columns_that_come_again_are_checked_at_load(codec, fields, said):
    """
    Where they begin, and that nothing else stands among them.
    """
    assert said in faults("orders", codec, *fields)


# ------------------------------------------------------------------ one field for another


ORDER = (("Id", "fulfilment_id"), ("SKU", "line.sku"), ("Qty", "line.quantity"))


def test_another_field_is_written_where_one_says_nothing():
    """
    The company, else the name; it is read as what the column is.
    """
    made = layout("orders", {}, *ORDER, ("To", "ship_to.company", {"fallback": ["bill_to.company", "ship_to.name"]}))
    orders = [shipping_order("A1", "Acme", MUG=2), shipping_order("A2", MUG=1)]
    assert made.encode(orders).decode().splitlines() == ["Id,SKU,Qty,To", "A1,MUG,2,Acme", "A2,MUG,1,Ada"]
    assert [each.value for each in made.read(made.encode(orders))[0]] == [made.project(each) for each in orders]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fallback": ["ship_to.nmae"]}, "$.fields[3].fallback[0]: unknown field: expected ship_to.name"),
        ({"fallback": ["line.sku"]}, "a field of the whole record of type text, got 'line.sku, which is text'"),
        ({"fallback": ["total"]}, "a field of the whole record of type text, got 'total, which is amount'"),
        ({"at": ["a", "b"], "fallback": ["ship_to.name"]}, "$.fields[3].fallback: does not go with"),
        ({"field": "tags", "if_differs": "join"}, "$.fields[3].if_differs: does not fit a field of type list"),
        ({"field": "line.title", "if_differs": "first"}, "only for a field of a whole order"),
        ({"with": "/"}, "$.fields[3].with: only where several"),
    ],
)
def test_what_stands_in_is_of_the_same_kind(options, said):
    """
    A fault names the field, its type and the one that was expected.
    """
    assert said in faults("orders", {}, *ORDER, {"at": "To", "field": "ship_to.company", **options})


def test_rows_of_an_order_that_differ():
    """
    Are a problem; or the first counts, or their texts are joined.
    """
    payload = b"Id,SKU,Qty,Note\nA1,MUG,2,fragile\nA1,CUP,1,\nA1,HAT,1,urgent\nA1,CAP,1,fragile\n"
    _, problems = layout("orders", {}, *ORDER, ("Note", "notes")).read(payload)
    assert "expected the same in every row of the order, fragile, got 'urgent'" in str(problems[0])
    for options, notes in (
        ({"if_differs": "first"}, "fragile"),
        ({"if_differs": "join"}, "fragile urgent"),
        ({"if_differs": "join", "with": "; "}, "fragile; urgent"),
    ):
        [record], problems = layout("orders", {}, *ORDER, ("Note", "notes", options)).read(payload)
        assert not problems
        assert record.value.notes == notes


# ------------------------------------------------------------------ around the rows


def test_lines_above_the_header_are_written_and_skipped():
    """
    As they stand; a layout may skip another number of them on reading.
    """
    lines = ["TemplateType=Orders\tVersion=1", "Order number\tArticle\tUnits"]
    made = layout("orders", {"delimiter": "\t", "preamble": lines}, *ORDER)
    order = shipping_order("A1", MUG=2)
    assert made.encode([order]).decode().splitlines() == [*lines, "Id\tSKU\tQty", "A1\tMUG\t2"]
    assert [each.value for each in made.read(made.encode([order]))[0]] == [made.project(order)]
    other = layout("orders", {"delimiter": "\t", "preamble": lines, "skip_lines": 0}, *ORDER)
    assert len(other.read(b"Id\tSKU\tQty\nA1\tMUG\t2\n")[0]) == 1


def test_a_trailer_counts_in_the_spelling_of_its_file():
    """
    With a decimal comma, and zeros before its numbers.
    """
    trailer = {"equals": "T", "count_at": 2, "count_width": 5, "sum_at": 3, "sum_of": 2, "sum_width": 8, "decimal": ","}
    codec = {"delimiter": ";", "header": False, "trailer": trailer}
    made = layout("stock", codec, (1, "sku"), (2, "on_hand", {"decimal": ","}))
    found = [StockLevel(sku="MUG", on_hand=1500), StockLevel(sku="CUP", on_hand=2)]
    assert made.encode(found).decode().splitlines() == ["MUG;1500", "CUP;2", "T;00002;00001502"]
    assert levels(made, made.encode(found)) == found
    assert levels(made, b"MUG;1500,0\nCUP;2\nT;2;1502,00\n") == found
    with pytest.raises(FormatError, match="the trailer says '1502,5' in all, got 1502"):
        made.read(b"MUG;1500\nCUP;2\nT;2;1502,5\n")


def test_what_lines_cost_and_weigh_in_all_is_written():
    """
    Of a line, and of all lines; nothing where one of them says no price.
    """
    priced = OrderLine(line_id="1", sku="MUG", quantity=3, unit_price=Decimal("7.50"), weight_g=350)
    totals = (("Sum", "line.total"), ("Grams", "line.total_weight_g"), ("All", "lines_total"))
    made = layout("orders", {}, ("Id", "order_id"), *ORDER[1:], *totals, value="order")
    orders = [
        Order(order_id="A1", lines=[priced, OrderLine(line_id="2", sku="CUP", quantity=1, unit_price=Decimal(4))]),
        Order(order_id="A2", lines=[priced, OrderLine(line_id="2", sku="CUP", quantity=1)]),
    ]
    assert made.encode(orders).decode().splitlines()[1:] == [
        "A1,MUG,3,22.50,1050,26.50",
        "A1,CUP,1,4.00,,26.50",
        "A2,MUG,3,22.50,1050,",
        "A2,CUP,1,,,",
    ]


def test_blanks_that_do_not_break_stand_between_thousands():
    """
    As spreadsheets write them.
    """
    made = layout("stock", {"delimiter": ";"}, ("SKU", "sku"), ("Qty", "on_hand", {"thousands": " ", "decimal": ","}))
    found = levels(made, "SKU;Qty\nMUG;1\u00a0234,00\nCUP;1 234\nHAT;1\u202f234\n".encode())
    assert [each.on_hand for each in found] == [1234, 1234, 1234]


def test_a_header_of_one_column_asks_for_the_delimiter():
    """
    When it holds another one.
    """
    with pytest.raises(FormatError, match=r"it is one column, with ';' in it; is that the delimiter\?"):
        layout("stock", {}, ("SKU", "sku"), ("Qty", "on_hand")).read(b"SKU;Qty\nMUG;1\n")
