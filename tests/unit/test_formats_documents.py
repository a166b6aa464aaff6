"""JSON and XML documents: where records and places lie, both ways, and what is refused."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcflow.errors import FormatError, LayoutError
from fcflow.formats import load_layout
from fcflow.formats.nesting import Nest
from fcflow.model import Address, Order, OrderLine, Problem, Record, ShippingLine, ShippingOrder, StockLevel


def layout(kind, codec, *places, **more):
    fields = [{"at": at, "field": name, **(rest[0] if rest else {})} for at, name, *rest in places]
    return load_layout({"fcflow": "layout/1", "kind": kind, "codec": codec, "fields": fields, **more})


def read(kind, codec, payload, *places, **more):
    return layout(kind, codec, *places, **more).read(payload if isinstance(payload, bytes) else payload.encode())


def shipping_order(order_id="A1", *skus):
    lines = [OrderLine(line_id=str(n), sku=sku, quantity=n) for n, sku in enumerate(skus or ("MUG",), 1)]
    order = Order(order_id=order_id, lines=lines, ship_to=Address(name="Ada & Co", town="Leeds", country="GB"))
    parts = [ShippingLine(line_id=line.line_id, sku=line.sku, quantity=line.quantity) for line in lines]
    return ShippingOrder(fulfilment_id=order_id, order=order, location="leeds", lines=parts)


# ------------------------------------------------------------------ nesting

KEYS = st.sampled_from("abc")
LOTS = st.lists(KEYS, max_size=3, unique=True)
LINES = st.dictionaries(KEYS, LOTS, max_size=3)
PARCELS = st.lists(KEYS, max_size=3, unique=True)


@given(LINES, PARCELS)
def test_rows_give_the_tree_back(lines, parcels):
    """
    A tree with lists in lists and lists side by side comes back from its rows, and no row joins two lists.
    """
    nest = Nest.of([(), ("lines",), ("lines", "lots"), ("parcels",)])
    tree = {0: "A1", "lines": [{1: k, "lots": [{2: x} for x in v]} for k, v in lines.items()]}
    tree["parcels"] = [{3: each} for each in parcels]

    rows = list(nest.rows(tree, lambda e, slot: e.get(slot), lambda e, level: e.get(level, []), 4))
    [twig] = nest.twigs(rows)

    assert all(row[1] is None or row[3] is None for row in rows)
    assert [(line.cells[1], [lot.cells[2] for lot in line.below["lots"]]) for line in twig.below["lines"]] == [
        (key, lots) for key, lots in lines.items()
    ]
    assert [each.cells[3] for each in twig.below["parcels"]] == parcels


# ------------------------------------------------------------------ JSON


def test_records_of_a_json_document_lie_anywhere():
    """
    In a list at a path, in an object by their keys, as the document itself, or alone.
    """
    stock = (("sku", "sku"), ("qty", "on_hand"))
    rows = [{"sku": "MUG", "qty": 5}, {"sku": "CUP", "qty": "7"}]
    wanted = [("MUG", 5), ("CUP", 7)]
    for codec, document in (
        ({"type": "json"}, rows),
        ({"type": "json", "records": "data.items"}, {"data": {"items": rows}, "page": 1}),
        ({"type": "json"}, rows[0]),
    ):
        records, problems = read("stock", codec, json.dumps(document), *stock)
        assert [(each.value.sku, each.value.on_hand) for each in records] == wanted[: len(records)]
        assert not problems
    keyed = {"type": "json", "records": "stock", "keyed": True}
    records, _ = read("stock", keyed, '{"stock": {"MUG": 5, "CUP": 7}}', ("$key", "sku"), ("$value", "on_hand"))
    assert [(each.value.sku, each.value.on_hand) for each in records] == wanted
    records, _ = read("stock", keyed, '{"stock": {"MUG": {"n": {"free": 5}}}}', ("$key", "sku"), ("n.free", "on_hand"))
    assert [(each.value.sku, each.value.on_hand) for each in records] == wanted[:1]


def test_a_json_object_by_keys_is_written_and_read_back():
    """
    Every record needs a key of its own.
    """
    keyed = layout("stock", {"type": "json", "keyed": True}, ("$key", "sku"), ("$value", "on_hand"))
    levels = [StockLevel(sku="MUG", on_hand=5), StockLevel(sku="CUP", on_hand=0)]
    payload = keyed.encode(levels)

    assert json.loads(payload) == {"MUG": 5, "CUP": 0}
    assert [each.value for each in keyed.read(payload)[0]] == levels
    with pytest.raises(FormatError, match="a key of its own"):
        keyed.encode([levels[0], levels[0]])


def test_entries_of_a_json_list_are_told_apart():
    """
    By their place, or by what one of their keys says; and what stands around the records is read with each.
    """
    document = {
        "sent": "2026-03-02T09:00:00Z",
        "levels": [{"codes": ["MUG", "50123"], "counts": [{"kind": "free", "n": 4}, {"kind": "held", "n": 1}]}],
    }
    places = (
        ("codes[0]", "sku"),
        ("counts[kind=free].n", "on_hand"),
        ("counts[kind=held].n", "reserved"),
        ("$.sent", "as_of"),
    )
    made = layout("stock", {"type": "json", "records": "levels"}, *places)
    [record], _ = made.read(json.dumps(document).encode())

    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert record.value == StockLevel(sku="MUG", on_hand=4, reserved=1, as_of=at)
    written = json.loads(made.encode([record.value]))
    assert written["levels"] == [{"codes": ["MUG"], "counts": [{"kind": "free", "n": 4}, {"kind": "held", "n": 1}]}]
    assert [each.value for each in made.read(json.dumps(written).encode())[0]] == [record.value]


def test_parcels_and_lines_side_by_side_are_one_status():
    """
    Tracking numbers of parcels and counts of lines of one order are put together.
    """
    document = [
        {
            "id": "A1",
            "state": "OUT",
            "parcels": [{"no": "T1", "by": "DPD"}, {"no": "T2", "by": "DPD"}],
            "lines": [{"sku": "MUG", "sent": 2}, {"sku": "CUP", "missing": 1}],
        }
    ]
    places = (
        ("id", "reference"),
        ("state", "status", {"map": {"OUT": "shipped"}}),
        ("parcels[].no", "tracking_numbers"),
        ("parcels[].by", "carrier"),
        ("lines[].sku", "line.sku"),
        ("lines[].sent", "line.shipped"),
        ("lines[].missing", "line.short"),
    )
    [record], problems = read("status", {"type": "json"}, json.dumps(document), *places, group="reference")

    assert not problems
    assert [(each.carrier, each.tracking_numbers) for each in record.value.shipments] == [
        ("DPD", ("T1",)),
        ("DPD", ("T2",)),
    ]
    assert [(each.sku, each.shipped, each.short) for each in record.value.lines] == [("MUG", 2, None), ("CUP", None, 1)]


ORDER_PLACES = (
    ("id", "fulfilment_id"),
    ("to.name", "ship_to.name"),
    ("to.country", "ship_to.country"),
    ("lines[].sku", "line.sku"),
    ("lines[].qty", "line.quantity"),
)


def test_one_order_a_json_document():
    """
    Alone, the document is the order; two orders do not fit.
    """
    alone = layout("orders", {"type": "json", "alone": True, "records": "order"}, *ORDER_PLACES)
    assert json.loads(alone.encode([shipping_order("A1", "MUG", "CUP")])) == {
        "order": {
            "id": "A1",
            "to": {"name": "Ada & Co", "country": "GB"},
            "lines": [{"sku": "MUG", "qty": 1}, {"sku": "CUP", "qty": 2}],
        }
    }
    with pytest.raises(FormatError, match="expected one record for one document, got 2"):
        alone.encode([shipping_order("A1"), shipping_order("A2")])


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b'{"a": 1', "line 1, column 8: expected JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'[{"sku": "A", "sku": "B"}]', "stands twice"),
        (b"[NaN]", "not a number of JSON"),
        (b"5", "expected a list of records, got '5'"),
        (b"\xff\xfe\x00", "expected text in"),
        (b'[{"sku": "\xff"}]', "expected text in utf-8"),
        (b"[" + b" " * 2000 + b"]", "expected at most 1024 bytes"),
    ],
)
def test_a_json_document_that_is_none_is_refused(payload, said):
    """
    As a whole, with what was expected.
    """
    with pytest.raises(FormatError, match=said):
        read("stock", {"type": "json", "max_bytes": 1024 if len(payload) < 3000 else 10**6}, payload, ("sku", "sku"))


def test_a_bad_record_of_a_json_document_is_a_problem():
    """
    The records beside it are read.
    """
    found = list(
        layout("stock", {"type": "json"}, ("sku", "sku"), ("qty", "on_hand")).decode(
            b'[{"sku": "MUG", "qty": 5}, 7, {"sku": {"a": 1}}, {"sku": "CUP", "qty": "x"}, {"sku": "HAT"}]'
        )
    )
    assert [each.value.sku for each in found if isinstance(each, Record)] == ["MUG", "HAT"]
    assert [str(each) for each in found if isinstance(each, Problem)] == [
        "line 2: record 2, expected an object, got '7'",
        "line 3 (sku): expected a text or a number, got \"{'a': '1'}\"",
        "line 4 (on_hand): expected digits, got 'x'",
    ]


# ------------------------------------------------------------------ XML

XML = {"type": "xml", "record": "/Message/Orders/Order"}
XML_PLACES = (
    ("@id", "fulfilment_id"),
    ("Address[@type='ship']/Name", "ship_to.name"),
    ("Address[@type='ship']/Country", "ship_to.country"),
    ("Address[@type='bill']/Name", "bill_to.name"),
    ("Lines/Line[]/@sku", "line.sku"),
    ("Lines/Line[]/Qty", "line.quantity"),
)


def test_orders_are_written_as_xml_and_read_back():
    """
    Attributes, elements told apart by an attribute, repeated elements; what XML cannot hold bare is escaped.
    """
    made = layout("orders", XML, *XML_PLACES)
    payload = made.encode([shipping_order("A1", "MUG", "C<P"), shipping_order("A2")])

    assert payload.decode().splitlines()[:12] == [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<Message>",
        "  <Orders>",
        '    <Order id="A1">',
        '      <Address type="ship">',
        "        <Name>Ada &amp; Co</Name>",
        "        <Country>GB</Country>",
        "      </Address>",
        "      <Lines>",
        '        <Line sku="MUG">',
        "          <Qty>1</Qty>",
        "        </Line>",
    ]
    again = [each.value for each in made.read(payload)[0]]
    assert [(each.fulfilment_id, [line.sku for line in each.lines]) for each in again] == [
        ("A1", ["MUG", "C<P"]),
        ("A2", ["MUG"]),
    ]


def test_namespaces_go_by_the_prefixes_of_the_layout():
    """
    Whatever prefix the partner writes; what stands before the records is read with each.
    """
    payload = (
        b'<?xml version="1.0"?><x:Inv xmlns:x="urn:stock" xmlns:y="urn:more"><x:At>2026-03-02T09:00:00Z</x:At>'
        b'<x:Item y:sku="MUG"><x:Ref><x:Kind>EAN</x:Kind><x:No>501</x:No></x:Ref><x:Free>4</x:Free></x:Item>'
        b'<x:Item y:sku="CUP"><x:Free/></x:Item></x:Inv>'
    )
    codec = {"type": "xml", "record": "/Inv/Item", "namespaces": {"": "urn:stock", "m": "urn:more"}}
    places = (("@m:sku", "sku"), ("Free", "on_hand"), ("/Inv/At", "as_of"))
    records, problems = read("stock", codec, payload, *places)

    assert not problems
    assert [(each.value.sku, each.value.on_hand, each.value.as_of.hour) for each in records] == [
        ("MUG", 4, 9),
        ("CUP", None, 9),
    ]
    by_kind = (("Ref[Kind='EAN']/No", "sku"), ("Free", "on_hand"))
    assert read("stock", codec, payload, *by_kind)[0][0].value.sku == "501"


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"<Message><Orders>", "expected XML: no element found"),
        (b"<Message></Orders>", "mismatched tag"),
        (b'<!DOCTYPE Message [<!ENTITY a "b">]><Message/>', "expected XML without a document type"),
        (b'<!DOCTYPE Message SYSTEM "http://127.0.0.1/x.dtd"><Message/>', "expected XML without a document type"),
        (b"<Other/>", "expected the root element 'Message', got 'Other'"),
        (b"<Message>" + b"<a>" * 100, "at most 60 elements in each other"),
        (b"<Message><Orders><Order><x>" + b"y" * 9000, "records of at most 8000 characters"),
        (b"<Message>&undefined;</Message>", "undefined entity"),
        (b'<?xml version="1.0" encoding="klingon"?><Message/>', "unknown encoding"),
        (b"", "no element found"),
    ],
)
def test_hostile_xml_is_refused(payload, said):
    """
    Broken, endless, deep, with a document type or an entity: as a whole, with the line.
    """
    with pytest.raises(FormatError, match=said):
        read("orders", {**XML, "max_record": 8000}, payload, *XML_PLACES)


def test_xml_is_read_record_by_record():
    """
    The first records are there before the document ends, and a million of them are not kept.
    """
    made = layout("stock", {"type": "xml", "record": "/S/I"}, ("@s", "sku"), ("@q", "on_hand"))
    body = b"<S>" + b'<I s="MUG" q="1"/>' * 20_000
    found = made.decode(body)
    assert next(found).value.sku == "MUG"
    with pytest.raises(FormatError, match="no element found"):
        list(found)


def test_what_is_written_is_held_against_an_xsd(tmp_path):
    """
    A document that the partner's schema refuses does not leave.
    """
    xsd = tmp_path / "stock.xsd"
    xsd.write_text(
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="S"><xs:complexType><xs:sequence>'
        '<xs:element name="I" maxOccurs="unbounded"><xs:complexType><xs:attribute name="s" use="required"/>'
        '<xs:attribute name="q" type="xs:positiveInteger"/></xs:complexType></xs:element></xs:sequence>'
        "</xs:complexType></xs:element></xs:schema>"
    )
    made = layout("stock", {"type": "xml", "record": "/S/I", "xsd": str(xsd)}, ("@s", "sku"), ("@q", "on_hand"))

    assert b's="MUG"' in made.encode([StockLevel(sku="MUG", on_hand=1)])
    with pytest.raises(FormatError, match=r"line \d+: .*'0' is not a valid value"):
        made.encode([StockLevel(sku="MUG", on_hand=0)])


@pytest.mark.parametrize(
    ("codec", "at", "said"),
    [
        ({"type": "xml", "record": "/a b/c"}, "x", "$.codec.record"),
        ({"type": "xml", "record": "/a/b"}, "x[", "expected a path such as"),
        ({"type": "xml", "record": "/a/b"}, "@x/y", "expected a path such as"),
        ({"type": "xml", "record": "/a/b"}, "/c/x", "a path from /a"),
        ({"type": "xml"}, "x", "$.codec.record: missing"),
        ({"type": "json"}, "a..b", "expected a path such as"),
        ({"type": "json"}, "a[x]", "expected a path such as"),
        ({"type": "json"}, "$key", "keyed"),
        ({"type": "json"}, "a[k=v]", "a key behind the entry"),
        ({"type": "json", "records": "a[]"}, "x", "$.codec.records"),
        ({"type": "json", "keyed": True, "alone": True}, "x", "does not go with keyed"),
    ],
)
def test_places_are_checked_at_load(codec, at, said):
    """
    With the path of the fault in the layout.
    """
    with pytest.raises(LayoutError) as refused:
        layout("stock", codec, (at, "sku"))
    assert said in str(refused.value)
