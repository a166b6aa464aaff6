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
        ({"types": {"a": {"equals": "A"}}, "fixed": True}, "a/2", "type_width"),
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
