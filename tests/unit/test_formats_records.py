"""Record types and sections: lines of several kinds, trailers that hold, both ways."""

import pytest

from fcflow.errors import FormatError, LayoutError
from fcflow.formats import Batch, load_layout
from fcflow.model import Address, Order, OrderLine, Problem, Record, ShippingLine, ShippingOrder, StockLevel

TYPES = {
    "file": {"equals": "FH", "in": "file"},
    "order": {"equals": "H"},
    "item": {"equals": "D", "in": "order"},
    "serial": {"equals": "S", "in": "item"},
    "end": {"equals": "FT", "trailer": {"count_at": 2, "sum_at": 3, "sum_of": "item/3"}},
}
DELIMITED = {"type": "records", "types": TYPES, "delimiter": "|", "line_end": "lf"}
PLACES = (
    ("file/2", "batch.number"),
    ("order/2", "fulfilment_id"),
    ("order/3", "ship_to.name"),
    ("item/2", "line.sku"),
    ("item/3", "line.quantity"),
)


def layout(kind, codec, *places, **more):
    fields = [{"at": at, "field": name, **(rest[0] if rest else {})} for at, name, *rest in places]
    return load_layout({"fcflow": "layout/1", "kind": kind, "codec": codec, "fields": fields, **more})


def shipping_order(order_id, name, **skus):
    lines = [OrderLine(line_id=str(n), sku=sku, quantity=q) for n, (sku, q) in enumerate(skus.items(), 1)]
    order = Order(order_id=order_id, lines=lines, ship_to=Address(name=name))
    parts = [ShippingLine(line_id=line.line_id, sku=line.sku, quantity=line.quantity) for line in lines]
    return ShippingOrder(fulfilment_id=order_id, order=order, location="a", lines=parts)


ORDERS = [shipping_order("A1", "Ada | Byron", MUG=2, CUP=1), shipping_order("A2", "Bo", HAT=4)]


def lines_of(made):
    return [(each.value.fulfilment_id, [(line.sku, line.quantity) for line in each.value.lines]) for each in made]


def test_orders_are_written_with_heads_lines_and_a_trailer():
    """
    The head of the file once, a line for each order and each of its lines, counts and sums at the end.
    """
    made = layout("orders", DELIMITED, *PLACES)
    payload = made.encode(ORDERS, batch=Batch(number=7))

    assert payload.decode().splitlines() == [
        "FH|7",
        'H|A1|"Ada | Byron"',
        "D|MUG|2",
        "D|CUP|1",
        "H|A2|Bo",
        "D|HAT|4",
        "FT|2|7",
    ]
    records, problems = made.read(payload)
    assert not problems
    assert lines_of(records) == [("A1", [("MUG", 2), ("CUP", 1)]), ("A2", [("HAT", 4)])]


FIXED = {
    "type": "records",
    "fixed": True,
    "type_width": 3,
    "line_end": "lf",
    "types": {
        "order": {"equals": "ORD"},
        "item": {"equals": "LIN", "in": "order"},
        "end": {"equals": "END", "trailer": {"count_at": 4, "counts": "lines"}},
    },
}
FIXED_PLACES = (
    ("order/4", "fulfilment_id", {"width": 8}),
    ("order/12", "ship_to.name", {"width": 12}),
    ("item/4", "line.sku", {"width": 10, "align": "right", "pad": "0"}),
    ("item/14", "line.quantity", {"width": 5, "pad": "0"}),
)


def test_fixed_lines_keep_the_zeros_of_a_text():
    """
    A number's padding is taken off again; zeros before a code belong to it.
    """
    made = layout("orders", FIXED, *FIXED_PLACES)
    payload = made.encode([shipping_order("A1", "Ada", **{"0000501234": 2})])
    assert payload.decode().splitlines() == ["ORDA1      Ada         ", "LIN000050123400002", "END2"]
    assert lines_of(made.read(payload)[0]) == [("A1", [("0000501234", 2)])]


SECTIONS = {
    "type": "records",
    "line_end": "lf",
    "types": {
        "order": {"marker": "[ORDER]", "header": True},
        "item": {"marker": "[ITEMS]", "header": True, "in": "order"},
    },
}
SECTION_PLACES = (
    ("order/No", "fulfilment_id"),
    ("order/Name", "ship_to.name"),
    ("item/SKU", "line.sku"),
    ("item/Qty", "line.quantity"),
)


def test_sections_have_headers_of_their_own():
    """
    A line begins a section, the next names its columns; sections come again for every order.
    """
    made = layout("orders", SECTIONS, *SECTION_PLACES)
    payload = made.encode(ORDERS)
    assert payload.decode().splitlines() == [
        "[ORDER]",
        "No;Name",
        "A1;Ada | Byron",
        "[ITEMS]",
        "SKU;Qty",
        "MUG;2",
        "CUP;1",
        "[ORDER]",
        "No;Name",
        "A2;Bo",
        "[ITEMS]",
        "SKU;Qty",
        "HAT;4",
    ]
    assert lines_of(made.read(payload)[0]) == [("A1", [("MUG", 2), ("CUP", 1)]), ("A2", [("HAT", 4)])]
    other = b"[ORDER]\nName;No;Extra\nAda;A1;x\n[ITEMS]\nQty;SKU\n2;MUG\n"
    assert lines_of(made.read(other)[0]) == [("A1", [("MUG", 2)])]


def test_lines_in_lines_and_what_the_file_says_of_all():
    """
    Serial numbers lie in items, items in orders; the head of the file is read with every record.
    """
    places = (
        ("file/2", "location"),
        ("order/2", "sku"),
        ("order/3", "on_hand"),
    )
    types = {**TYPES, "end": {"equals": "FT", "trailer": {"count_at": 2}}}
    made = layout("stock", {**DELIMITED, "types": types}, *places)
    records, problems = made.read(b"FH|L1\nH|MUG|5\nD|x|1\nS|1\nS|2\nH|CUP|7\nFT|2\n")
    assert not problems
    assert [(each.value.location, each.value.sku, each.value.on_hand) for each in records] == [
        ("L1", "MUG", 5),
        ("L1", "CUP", 7),
    ]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"H|A1|x\nD|MUG|2\nFT|2|2\n", "line 3: the trailer says '2' records, got 1"),
        (b"H|A1|x\nD|MUG|2\nFT|1|3\n", "line 3: the trailer says '3' item/3, got 2"),
        (b"H|A1|x\nD|MUG|2\n", "expected a trailer 'FT', got the end of the file"),
        (b"D|MUG|2\n", "line 1: expected 'H' before 'D'"),
        (b"H|A1|x\nS|1\nFT|1|0\n", "line 2: expected 'D' before 'S'"),
    ],
)
def test_a_file_that_does_not_hold_is_refused(payload, said):
    """
    As a whole: a total, or a line that belongs to nothing.
    """
    with pytest.raises(FormatError) as refused:
        layout("orders", DELIMITED, *PLACES).read(payload)
    assert said in str(refused.value)


def test_an_unknown_line_is_a_problem_and_so_is_its_record():
    """
    Or passed over, if the layout says so.
    """
    payload = b"H|A1|x\nD|MUG|2\nX|1\nH|A2|y\nD|CUP|1\nFT|2|3\n"
    found = list(layout("orders", DELIMITED, *PLACES).decode(payload))
    assert [str(each) for each in found if isinstance(each, Problem)] == [
        "line 3: an unknown type of line, expected one of FH, H, D, S, FT, got 'X'",
        "line 1: a line of this record cannot be read",
    ]
    assert lines_of(each for each in found if isinstance(each, Record)) == [("A2", [("CUP", 1)])]
    ignoring = layout("orders", {**DELIMITED, "unknown_types": "ignore"}, *PLACES)
    assert lines_of(ignoring.read(payload)[0]) == [("A1", [("MUG", 2)]), ("A2", [("CUP", 1)])]


@pytest.mark.parametrize(
    ("codec", "place", "said"),
    [
        ({"types": {"a": {"equals": "A"}, "b": {"equals": "B"}}}, "a/2", "one type that lies in no other"),
        ({"types": {"a": {"equals": "A"}, "b": {"equals": "A", "in": "a"}}}, "a/2", "also the mark of a"),
        ({"types": {"a": {"equals": "A"}, "b": {"equals": "B", "in": "c"}}}, "a/2", "unknown type"),
        ({"types": {"a": {"equals": "A"}}}, "a", "a type and a position"),
        ({"types": {"a": {"equals": "A"}}}, "b/2", "unknown type"),
        ({"types": {"a": {"equals": "A"}}}, "a/SKU", "have no header"),
        ({"types": {"a": {"equals": "A"}}, "fixed": True}, "a/2", "width: missing"),
        ({"types": {"a": {"header": False}}}, "a/2", "expected equals, marker, or a header that tells it"),
        ({"types": {"a": {"equals": "A", "totals": {"count_at": 2}}}}, "a/2", "totals: only in a line of the file"),
        (
            {"types": {"a": {"equals": "A"}, "z": {"equals": "Z", "trailer": {"count_at": 2, "counts": "b"}}}},
            "a/2",
            "counts: unknown type: got 'b'",
        ),
        ({"types": {"a": {"equals": "A"}}, "fixed": True, "type_width": 1}, "a/2", "width: missing"),
        ({"types": {"a": {"equals": "A", "marker": "B"}}}, "a/2", "$.codec.types.a"),
    ],
)
def test_types_and_places_are_checked_at_load(codec, place, said):
    """
    With the path of the fault in the layout.
    """
    with pytest.raises(LayoutError) as refused:
        layout("stock", {"type": "records", **codec}, (place, "sku"))
    assert said in str(refused.value)


def test_nothing_is_written_for_nothing():
    """
    A file without records has its trailer only.
    """
    types = {"a": {"equals": "A"}, "z": {"equals": "Z", "trailer": {"count_at": 2}}}
    made = layout("stock", {**DELIMITED, "types": types}, ("a/2", "sku"))
    assert made.encode([]) == b"Z|0\n"
    assert made.encode([StockLevel(sku="MUG")]) == b"A|MUG\nZ|1\n"


def test_lines_beside_the_order_lines_are_said_once():
    """
    Addresses told apart by a second cell, and the totals of an order behind its lines.
    """
    types = {
        "order": {"equals": "H"},
        "to": {"equals": "A", "where": {"2": "ST"}, "in": "order"},
        "bill": {"equals": "A", "where": {"2": "BT"}, "in": "order"},
        "item": {"equals": ["D", "E"], "in": "order"},
        "sums": {"equals": "S", "in": "order"},
    }
    places = (
        ("order/2", "fulfilment_id", {"required": True}),
        ("to/3", "ship_to.name"),
        ("bill/3", "bill_to.name"),
        ("item/2", "line.sku", {"required": True}),
        ("item/3", "line.quantity"),
        ("sums/2", "total_quantity"),
    )
    made = layout("orders", {**DELIMITED, "types": types}, *places)
    written = made.encode(ORDERS[:1])
    assert written.decode().splitlines() == ["H|A1", 'A|ST|"Ada | Byron"', "D|MUG|2", "D|CUP|1", "S|3"]
    assert [each.value for each in made.read(written)[0]] == [made.project(ORDERS[0])]

    records, problems = made.read(b"H|A1\nA|BT|Bo\nD|MUG|2\nA|ST|Ada\nE|CUP|1\nS|3\nH|A2\nA|ST|Ada\n")
    assert [str(each) for each in problems] == ["line 7, column 2 (line.sku): expected a SKU, got ''"]
    [order] = [each.value for each in records]
    assert (order.order.ship_to.name, order.order.bill_to.name) == ("Ada", "Bo")
    assert [(line.line_id, line.sku) for line in order.lines] == [("1", "MUG"), ("2", "CUP")]


def test_a_problem_names_its_own_line_and_position():
    """
    Once, even where it is in the head of an order of several lines.
    """
    made = layout("orders", DELIMITED, *PLACES, ("order/4", "received_at"))
    _, problems = made.read(b"H|A1|Ada|soon\nD|MUG|2\nD|CUP|1\nH|A2|Bo\nD|HAT|1\nD|CAP|x\nFT|2|4\n")
    assert [(each.line, each.column, each.field) for each in problems] == [
        (1, 4, "received_at"),
        (6, 3, "line.quantity"),
    ]


NUMBERED = {
    **DELIMITED,
    "types": {
        "file": {"equals": "FH", "in": "file", "totals": {"count_at": 3}},
        "order": {"equals": "H"},
        "item": {"equals": "D", "in": "order"},
        "end": {
            "equals": "FT",
            "trailer": [
                {"count_at": 3, "counts": ["order", "item"], "count_width": 4},
                {"count_at": 4, "counts": "all_lines"},
                {"sum_at": 5, "sum_of": "item/4", "decimal": ",", "sum_width": 6},
            ],
        },
    },
    "numbered": {"at": 2, "width": 3},
}
NUMBERED_PLACES = (("order/3", "fulfilment_id"), ("item/3", "line.sku"), ("item/4", "line.quantity", {"decimal": ","}))


def test_lines_are_numbered_and_counted():
    """
    In the head of the file as well as at its end, over several types, with zeros before the numbers.
    """
    made = layout("orders", NUMBERED, *NUMBERED_PLACES)
    written = made.encode(ORDERS)
    assert written.decode().splitlines() == [
        "FH|001|2",
        "H|002|A1",
        "D|003|MUG|2",
        "D|004|CUP|1",
        "H|005|A2",
        "D|006|HAT|4",
        "FT|007|0005|7|000007",
    ]
    assert lines_of(made.read(written)[0]) == [("A1", [("MUG", 2), ("CUP", 1)]), ("A2", [("HAT", 4)])]
    assert made.read(b"FH|1|1\nH|2|A1\nD|3|MUG|2,0\nFT|4|2|4|2,00\n")[1] == []


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"FH|1|1\nH|2|A1\nD|4|MUG|2\nFT|5|2|4|2\n", "line 3: expected the running number 3, got '4'"),
        (b"FH|1|2\nH|2|A1\nD|3|MUG|2\nFT|4|2|4|2\n", "line 1: the header says '2' records, got 1"),
        (b"FH|1|1\nH|2|A1\nD|3|MUG|2\nFT|4|3|4|2\n", "line 4: the trailer says '3' order and item, got 2"),
        (b"FH|1|1\nH|2|A1\nD|3|MUG|2\nFT|4|2|4|2,5\n", "line 4: the trailer says '2,5' item/4, got 2"),
        (b"FH|1|1\nFT|2|2|4|2\nH|3|A1\n", "line 3: expected nothing after the trailer, got 'H'"),
        (b'FH|1|1\nH|2|"A1\nD|3|MUG|2\n', "line 2: expected a closing quote, got the end of the file"),
    ],
)
def test_numbers_that_do_not_hold_refuse_the_file(payload, said):
    """
    Each with its line, what it says and what there was.
    """
    with pytest.raises(FormatError) as refused:
        layout("orders", NUMBERED, *NUMBERED_PLACES).read(payload)
    assert said in str(refused.value)


def test_totals_of_fixed_lines_stand_next_to_each_other():
    """
    A count of eight digits and a sum of twelve, with nothing between them; every line has the same length.
    """
    trailer = {"count_at": 3, "counts": "row", "count_width": 8, "sum_at": 11, "sum_of": "row/13", "sum_width": 12}
    types = {"row": {"equals": "01"}, "end": {"equals": "99", "trailer": trailer}}
    codec = {"type": "records", "fixed": True, "length": 24, "types": types, "line_end": "lf"}
    made = layout("stock", codec, ("row/3", "sku", {"width": 10}), ("row/13", "on_hand", {"width": 6, "pad": "0"}))
    levels = [StockLevel(sku="MUG", on_hand=1500), StockLevel(sku="CUP", on_hand=2)]
    written = made.encode(levels)
    assert written.decode().splitlines() == [
        "01MUG       001500      ",
        "01CUP       000002      ",
        "9900000002000000001502  ",
    ]
    assert [each.value for each in made.read(written)[0]] == levels


def test_the_longest_mark_counts_where_none_has_a_width():
    """
    ``30``, ``300`` and ``310`` are three types, and a number may stand right behind.
    """
    types = {
        "order": {"equals": "30"},
        "bare": {"equals": "300", "in": "order"},
        "item": {"equals": "310", "in": "order"},
    }
    places = (
        ("order/3", "fulfilment_id", {"width": 7}),
        ("item/4", "line.sku", {"width": 5}),
        ("item/9", "line.quantity", {"width": 3, "pad": "0"}),
    )
    made = layout("orders", {"type": "records", "fixed": True, "types": types}, *places)
    records, problems = made.read(b"301234567\n3001234567\n310MUG  002\n")
    assert not problems
    assert lines_of(records) == [("1234567", [("MUG", 2)])]


def test_cells_are_quoted_and_escaped_both_ways():
    """
    Always quoted if the layout says so; a break inside quotes stands in two lines of the file.
    """
    codec = {**DELIMITED, "delimiter": "||", "quote_all": True, "escape": "\\", "line_breaks": "keep"}
    types = {"order": {"equals": "H"}, "item": {"equals": "D", "in": "order"}}
    made = layout("orders", {**codec, "types": types}, *PLACES[1:])
    order = shipping_order("A1", 'Ada "Countess"\nByron || Co \\', MUG=2)
    written = made.encode([order])
    assert written.decode() == '"H"||"A1"||"Ada \\"Countess\\"\nByron || Co \\\\"\n"D"||"MUG"||"2"\n'
    assert [each.value for each in made.read(written)[0]] == [made.project(order)]
    doubled = layout("orders", {**DELIMITED, "types": types}, *PLACES[1:])
    _, problems = doubled.read(b'"H"|"A1"x|"Ada"\n"D"|"MUG"|"2"\n')
    assert "line 1: quotes do not pair up" in str(problems[0])


@pytest.mark.parametrize(
    "payload",
    [
        b"delivery id,Company\n1,Acme\n,,,\nDelivery ID,ITEM-ID,Amount\n1,MUG,2\n1,CUP,1\n",
        b"# two tables\n\nCompany,Delivery ID\nAcme,1\nAmount,Item_ID\n2,MUG\n1,CUP\n",
    ],
)
def test_a_section_may_begin_with_its_row_of_names(payload):
    """
    Told by its columns, in any order and any case; rows of nothing but delimiters are blank.
    """
    types = {"order": {"header": True}, "item": {"header": True, "in": "order"}}
    codec = {**DELIMITED, "delimiter": ",", "types": types, "header_match": "loose", "comment": "#"}
    places = (
        ("order/Delivery ID", "fulfilment_id"),
        ("order/Company", "ship_to.company"),
        ("item/Item ID", "line.sku"),
        ("item/Amount", "line.quantity"),
    )
    made = layout("orders", codec, *places)
    records, problems = made.read(payload)
    assert not problems
    assert lines_of(records) == [("1", [("MUG", 2), ("CUP", 1)])]
    [order] = [each.value for each in records]
    assert [each.value for each in made.read(made.encode([order]))[0]] == [order]


def test_rows_of_names_for_each_type_stand_above_all():
    """
    Then a row says by its first cell which of them it goes by.
    """
    types = {"row": {"equals": "Balance", "header": True}, "lot": {"equals": "Lot", "header": True, "in": "row"}}
    codec = {**DELIMITED, "delimiter": ",", "types": types}
    made = layout("stock", codec, ("row/Item", "sku"), ("row/Quantity", "on_hand"), ("lot/Lot Number", "aside.lot"))
    levels = [StockLevel(sku="MUG", on_hand=5), StockLevel(sku="CUP", on_hand=1)]
    payload = b"Balance,Item,Quantity\nLot,Lot Number,Quantity\nBalance,MUG,5\nLot,L1,2\nBalance,CUP,1\n"
    assert [each.value for each in made.read(payload)[0]] == levels
    written = made.encode(levels)
    assert written == b"Balance,Item,Quantity\nLot,Lot Number\nBalance,MUG,5\nBalance,CUP,1\n"
    assert [each.value for each in made.read(written)[0]] == levels


def test_fields_do_not_lie_over_each_other():
    """
    Characters that two fields would write, and one place with two widths; what is only read may overlap.
    """
    codec = {"type": "records", "fixed": True, "types": {"row": {"equals": "R"}}}
    sku = ("row/2", "sku", {"width": 10})
    for at, width, said in (
        ("row/8", 5, "$.fields[1].at: overlaps $.fields[0]: got 'row/8'"),
        ("row/2", 5, "$.fields[1].width: another field stands there: expected 10, got 5"),
    ):
        with pytest.raises(LayoutError) as refused:
            layout("stock", codec, sku, (at, "on_hand", {"width": width}))
        assert said in str(refused.value)
    read = layout("stock", codec, sku, ("row/8", "aside.tail", {"width": 4, "direction": "read"}))
    assert read.read(b"RMUG-000-77\n")[0][0].value.sku == "MUG-000-77"
    assert read.encode([StockLevel(sku="MUG-000-77")]) == b"RMUG-000-77\r\n"


def test_a_mark_may_be_read_as_a_field():
    """
    It is written as the mark that it is.
    """
    codec = {**DELIMITED, "types": {"row": {"equals": ["S", "C"]}}}
    words = {"map": {"S": "shipped", "C": "cancelled"}, "direction": "read"}
    made = layout("status", codec, ("row/1", "status", words), ("row/2", "reference"))
    records, _ = made.read(b"S|A1\nC|A2\n")
    assert [str(each.value.status) for each in records] == ["shipped", "cancelled"]
    assert made.encode([each.value for each in records]) == b"S|A1\nS|A2\n"
    both = layout("status", codec, ("row/1", "status", {"map": words["map"]}), ("row/2", "reference"))
    assert both.encode([each.value for each in records]) == b"S|A1\nC|A2\n"
