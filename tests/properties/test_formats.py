"""Laws of every codec and every built-in layout."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fcflow.errors import EncodeError, FormatError, LayoutError
from fcflow.formats import Layout, builtin_layouts, load_layout
from fcflow.formats.fields import find_field
from fcflow.model import Problem, Record, StatusLine, StatusUpdate
from fcflow.testing.strategies import orders, shipping_orders, status_updates, stock_levels

MODERATE = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

CODECS: dict[str, dict[str, Any]] = {
    "comma": {"type": "delimited"},
    "semicolon-cp1252": {"type": "delimited", "delimiter": ";", "encoding": "cp1252", "if_unencodable": "replace"},
    "quoted-all-escaped": {"type": "delimited", "quote_all": True, "escape": "\\", "line_end": "lf"},
    "pipe-unquoted": {"type": "delimited", "delimiter": "|", "quote": None, "replace_delimiter": "/"},
    "tab-escaped": {"type": "delimited", "delimiter": "\t", "quote": None, "escape": "\\", "line_end": "cr"},
    "utf-16": {"type": "delimited", "encoding": "utf-16"},
    "bom-trailer": {"type": "delimited", "bom": True, "comment": "#", "trailer": {"equals": "EOF", "count_at": 2}},
    "long-delimiter": {"type": "delimited", "delimiter": "~|~", "final_line_end": False, "header_match": "loose"},
    "xlsx": {"type": "xlsx", "sheet": "Data"},
    "json": {"type": "json_lines"},
    "json-document": {"type": "json", "records": "data.rows", "indent": 2},
    "xml": {"type": "xml", "record": "/Rows/Row", "namespaces": {"": "urn:example"}},
    "latin-xml": {"type": "xml", "record": "/a/b/c", "encoding": "latin-1", "indent": False},
    "latin-json": {"type": "json_lines", "encoding": "latin-1", "if_unencodable": "replace"},
}

STOCK = ["location", "sku", "on_hand", "reserved", "inbound", "as_of"]
STATUS = ["reference", "status", "message", "at", "event_id", "carrier", "service", "tracking_numbers", "shipped_at"]
STATUS_LINES = ["line.line_id", "line.sku", "line.shipped", "line.short", "line.cancelled", "line.returned"]
HEADER = [
    "fulfilment_id",
    "order_id",
    "reference",
    "channel",
    "sub_channel",
    "received_at",
    "payment",
    "currency",
    "total",
    "shipping_service",
    "tags",
    "notes",
    "location",
    "partner_location",
    "properties.gift",
    "ship_to.name",
    "ship_to.country",
    "bill_to.name",
    "bill_to.postcode",
]
LINES = [
    "line.line_id",
    "line.sku",
    "line.partner_sku",
    "line.quantity",
    "line.unit_price",
    "line.weight_g",
    "line.title",
]


def document(kind: str, codec: dict[str, Any], fields: list[str], **more: Any) -> dict[str, Any]:
    placed = [{"at": name, "field": name} for name in fields]
    if codec["type"] in ("json_lines", "json"):
        placed = [{**each, "at": each["at"].replace("line.", "lines[].", 1)} for each in placed]
    if codec["type"] == "xml":
        placed = [{**each, "at": each["at"].replace("line.", "Lines/Line[]/", 1)} for each in placed]
        placed[0]["at"] = "@" + placed[0]["at"]
    return {"fcflow": "layout/1", "kind": kind, "codec": codec, "fields": placed, **more}


def layouts_of(codec: dict[str, Any]) -> list[Layout]:
    order_fields = [name for name in HEADER if name.startswith(("fulfil", "order", "not", "ship_to", "tot"))]
    return [
        load_layout(document("stock", codec, STOCK)),
        load_layout(document("status", codec, STATUS)),
        load_layout(document("status", codec, STATUS + STATUS_LINES, group="reference")),
        load_layout(document("orders", codec, HEADER + LINES)),
        load_layout(document("orders", codec, order_fields + LINES[:4], guard_formulas=True)),
    ]


def fixed(kind: str, fields: dict[str, int], codec: dict[str, Any] | None = None, **more: Any) -> Layout:
    placed, at = [], 1
    for name, width in fields.items():
        cut = {"if_too_long": "truncate"} if name in ("notes", "message") else {}
        placed.append({"at": at, "width": width, "field": name, **cut})
        at += width
    options = {"type": "fixed_width", "line_end": "lf", **(codec or {})}
    return load_layout({"fcflow": "layout/1", "kind": kind, "codec": options, "fields": placed, **more})


def form() -> Layout:
    placed = [{"at": name, "field": name} for name in HEADER]
    placed += [{"at": name.replace("line.", "Item{n}_"), "field": name} for name in LINES]
    return load_layout({"fcflow": "layout/1", "kind": "orders", "codec": {"type": "form"}, "fields": placed})


IN_BYTES = {"unit": "bytes", "encoding": "cp932", "if_unencodable": "replace"}
FIXED = [
    fixed("stock", {"location": 14, "sku": 24, "on_hand": 8, "as_of": 25}, {"line_end": "none"}),
    fixed("stock", {"location": 14, "sku": 24, "on_hand": 8}, {"line_end": "none", "unit": "bytes"}),
    fixed("status", {"reference": 24, "status": 22, "message": 9, "carrier": 22}, IN_BYTES),
    fixed("stock", {"location": 14, "sku": 14, "on_hand": 8, "reserved": 6, "as_of": 25}),
    fixed("status", {"reference": 14, "status": 22, "message": 10, "carrier": 22}),
    fixed(
        "orders",
        {
            "fulfilment_id": 16,
            "ship_to.name": 22,
            "notes": 8,
            "line.sku": 14,
            "line.quantity": 5,
            "line.unit_price": 12,
        },
    ),
]

MEANT: dict[str, list[dict[str, Any]]] = {
    "numbers": [
        {"at": "sku", "field": "sku", "case": "upper", "zero_pad": 6},
        {"at": "place", "field": "location", "prefix": "W-", "suffix": "#"},
        {"at": "qty", "field": "on_hand", "negative": "after", "zero_pad": 7},
        {"at": "held", "field": "reserved", "implied_decimals": 2, "negative": "brackets"},
        {"at": "due", "field": "inbound", "map": {"none": "0", "many": "99"}, "ignore_case": True, "unmapped": "empty"},
        {"at": ["day", "time"], "field": "as_of", "pattern": ["%d.%m.%y %H:%M:%S", "%d.%m.%y"], "pivot": 60,
         "zone": "Europe/Berlin"},
    ],
    "counters": [
        {"at": "sku", "field": "sku", "strip_zeros": True},
        {"at": "place", "field": "location", "carry_forward": True},
        {"at": "free", "field": "available", "thousands": ",", "negative": "brackets"},
        {"at": "held", "field": "reserved"},
        {"at": "broken", "field": "frozen"},
        {"at": "as_of", "field": "as_of", "pattern": "epoch_ms"},
        {"at": "payload", "field": "batch.number", "zero_pad": 6},
        {"at": "row", "field": "batch.row"},
    ],
    "packs": [
        {"at": "sku", "field": "sku", "strip_prefix": ["00", "'"], "strip_suffix": "+"},
        {"at": "cases", "field": "on_hand", "pack": 6, "default": "0"},
        {"at": "as_of", "field": "as_of", "pattern": "epoch", "optional": True},
    ],
    "columns": [
        {"at": "sku", "field": "sku"},
        {"at": "leeds", "field": "on_hand", "location": "leeds"},
        {"at": "leeds free", "field": "available", "location": "leeds"},
        {"at": "york", "field": "available", "location": "york"},
    ],
}  # fmt: skip

MEANT_STATUS: list[dict[str, Any]] = [
    {"at": "ref", "field": "reference"},
    {"at": "tracking", "field": "tracking_numbers", "join": "|", "case": "upper"},
    {"at": ["carrier", "service"], "join_fields": ["carrier", "service"]},
    {"at": "left", "join_fields": ["shipped_at", "delivered_at"], "with": "/", "if_absent": "keep",
     "pattern": "%Y-%m-%d %H.%M.%S"},
    {"at": "item", "field": "line.line_id"},
    {"at": "sku", "field": "line.sku"},
    {"at": "ordered", "field": "line.ordered"},
    {"at": "shipped", "field": "line.shipped"},
    {"at": "aside", "field": "aside.weight", "type": "weight"},
]  # fmt: skip
DERIVED: list[dict[str, Any]] = [
    {"field": "line.short", "difference": ["line.ordered", "line.shipped"]},
    {"field": "status", "else": "accepted", "cases": [
        {"when": {"field": "total.ordered", "op": "le", "than": "total.shipped"}, "then": "shipped"},
        {"when": {"any": [{"field": "total.shipped", "op": "gt", "value": 0},
                          {"field": "tracking_numbers", "op": "exists"}]}, "then": "part_shipped"}]},
]  # fmt: skip

MEANT_ORDER: list[dict[str, Any]] = [
    {"at": "id", "field": "fulfilment_id"},
    {"at": ["first", "last"], "field": "ship_to.name", "split_at": "last"},
    {"at": "city", "join_fields": ["ship_to.postcode", "ship_to.town"], "with": ", ", "split_at": "first"},
    {"at": "bill", "join_fields": ["bill_to.name", "bill_to.company", "bill_to.town"], "with": "^",
     "if_absent": "keep"},
    {"at": ["a1", "a2", "a3"], "join_fields": ["ship_to.address1", "ship_to.address2", "ship_to.address3"],
     "max_length": 16, "with": ", "},
    {"at": ["n1", "n2"], "field": "notes", "wrap": True, "max_length": 24, "if_too_long": "truncate"},
    {"at": "country", "field": "ship_to.country", "country": "de"},
    {"at": "land", "field": "bill_to.country", "country": "numeric"},
    {"at": "phone", "join_fields": ["ship_to.phone", "ship_to.email"]},
    {"at": "total", "field": "total", "unit": {"factor": "0.001"}},
    {"at": "postage", "field": "postage", "implied_decimals": 2, "zero_pad": 9},
    {"at": "gift", "field": "properties.gift", "map": "y_n"},
    {"at": "zone", "cases": [
        {"when": {"field": "ship_to.country", "op": "eq", "value": "GB"}, "then": "domestic"},
        {"when": {"field": "total", "op": "gt", "value": "50", "currency": "GBP"}, "then": "dear"}], "else": "abroad"},
    {"at": "file", "field": "batch.number"},
    {"at": "row", "field": "batch.row"},
    {"at": "item", "field": "line.line_id"},
    {"at": "sku", "field": "line.partner_sku", "strip_zeros": True},
    {"at": "qty", "field": "line.quantity", "map": {"one": "1", "pair": "2"}},
    {"at": "weight", "field": "line.weight_g", "unit": {"factor": "100"}, "places": 1},
]  # fmt: skip


def meant() -> list[Layout]:
    """Layouts that use every option of a field."""
    codec = {"type": "delimited"}
    made = [{"kind": "stock", "fields": fields} for fields in MEANT.values()]
    made += [
        {"kind": "status", "group": "reference", "rows": rows, "fields": MEANT_STATUS, "derive": DERIVED}
        for rows in ("neighbours", "anywhere")
    ]
    made += [{"kind": "status", "fields": MEANT_STATUS[:4], "derive": DERIVED[1:]}]
    made += [{"kind": "orders", "rows": rows, "fields": MEANT_ORDER} for rows in ("neighbours", "anywhere")]
    return [load_layout({"fcflow": "layout/1", "codec": codec, **each}) for each in made]


NUMBERED = [
    {"at": name.replace("line.", "item_{n}_", 1), "field": name}
    for name in ("fulfilment_id", "ship_to.name", "notes", "line.sku", "line.quantity", "line.unit_price")
]
REPEAT = {"most": 40}
TABLES = [
    load_layout({"fcflow": "layout/1", "kind": "orders", "codec": {"type": kind, "repeat": REPEAT}, "fields": NUMBERED})
    for kind in ("delimited", "xlsx")
]
POSITIONS = [{"at": at, "field": each["field"]} for at, each in zip((1, 2, 165, 5, 6, 8), NUMBERED, strict=True)]
BY_POSITION = {"type": "delimited", "header": False, "repeat": {"at": 5, "columns": 4, "most": 40}}
TABLES += [
    load_layout({"fcflow": "layout/1", "kind": "orders", "codec": BY_POSITION, "fields": fields})
    for fields in (POSITIONS, [*POSITIONS[:2], *POSITIONS[3:]])
]
TOTALS = {"equals": "T", "count_at": 2, "count_width": 6, "sum_at": 3, "sum_of": 3, "sum_width": 9, "decimal": ","}
SUMMED = [
    load_layout(
        document("stock", {"type": "delimited", "trailer": TOTALS, "preamble": ["#", "a;b"]}, STOCK, group="sku")
    ),
    load_layout(document("stock", {"type": "delimited", "preamble": [""]}, STOCK, group="sku", rows="anywhere")),
]
RECORD_TYPES = {
    "delimited": {
        "types": {
            "h": {"equals": "H"},
            "d": {"equals": "D", "in": "h"},
            "t": {"equals": "T", "trailer": {"count_at": 2}},
        }
    },
    "quoted": {
        "types": {
            "f": {"equals": "F", "in": "file", "totals": {"count_at": 3, "count_width": 5}},
            "h": {"equals": ["H", "K"], "where": {"9": "|"}},
            "d": {"equals": "D", "in": "h"},
            "t": {"equals": "T", "trailer": [{"count_at": 2, "counts": "all_lines"}, {"sum_at": 3, "sum_of": "d/6"}]},
        },
        "delimiter": "||",
        "escape": "^",
        "quote_all": True,
        "line_breaks": "keep",
        "numbered": {"at": 12, "first": 0},
    },
    "headed": {
        "types": {"h": {"equals": "H", "header": True}, "d": {"equals": "D", "in": "h", "header": True}},
        "header_match": "loose",
    },
    "told by their headers": {"types": {"h": {"header": True}, "d": {"header": True, "in": "h"}}, "delimiter": "\t"},
    "fixed": {
        "types": {"h": {"equals": "H"}, "d": {"equals": "D", "in": "h"}},
        "fixed": True,
        "type_width": 2,
        "unit": "bytes",
    },
    "sections": {
        "types": {"h": {"marker": "[H]", "header": True}, "d": {"marker": "[D]", "header": True, "in": "h"}},
        "delimiter": ",",
    },
}


def record_types(options: dict[str, Any]) -> Layout:
    names = ["fulfilment_id", "ship_to.name", "notes", "line.sku", "line.quantity", "line.unit_price"]
    headed, wide = "header" in options["types"]["h"], {"width": 60} if options.get("fixed") else {}
    placed = [
        {"at": f"{'d' if name.startswith('line.') else 'h'}/{name if headed else number}", "field": name, **wide}
        for number, name in zip(range(3, 999, 60) if wide else range(2, 99), names, strict=False)
    ]
    codec = {"type": "records", **options}
    return load_layout({"fcflow": "layout/1", "kind": "orders", "codec": codec, "fields": placed})


RECORDS = [record_types(options) for options in RECORD_TYPES.values()]
TAGGED: list[dict[str, Any]] = [
    {"begins_with": "ID", "count_tag": "COUNT"},
    {"ends_with": "END", "delimiter": "=", "line_end": "lf", "comment": "#"},
    {"blank_lines": "separate", "delimiter": ": ", "ignore_case": True, "encoding": "utf-16"},
]


def tagged(options: dict[str, Any]) -> list[Layout]:
    loops = {"item": {"starts_with": "SKU", "tags": ["QTY", "PRICE"]}}
    order = {"ID": "fulfilment_id", "NAME": "ship_to.name", "NOTE": "notes", "TAG": "tags"}
    order |= {"item[]/SKU": "line.sku", "item[]/QTY": "line.quantity", "item[]/PRICE": "line.unit_price"}
    status = {"ID": "reference", "STATUS": "status", "NOTE": "message", "LEFT": "shipped_at"}
    status |= {"CARRIER": "carrier", "TRACKING": "tracking_numbers"}
    stock = {"ID": "sku", "PLACE": "location", "QTY": "on_hand", "AT": "as_of"}
    made = [("orders", order, loops), ("status", status, {}), ("stock", stock, {})]
    return [
        load_layout(
            {
                "fcflow": "layout/1",
                "kind": kind,
                "codec": {"type": "tagged", "loops": inner, **options},
                "fields": [{"at": at, "field": name} for at, name in places.items()],
            }
        )
        for kind, places, inner in made
    ]


PACKED = [
    load_layout({**document("stock", {"type": "delimited"}, STOCK), "packed": packed})
    for packed in ({"type": "gzip"}, {"type": "zip", "member": "stock.csv"})
]

ALL: dict[str, list[Layout]] = {name: layouts_of(codec) for name, codec in CODECS.items()}
ALL |= {"records": RECORDS, "numbered": TABLES, "packed": PACKED, "summed": SUMMED}
ALL |= {"tagged": [layout for options in TAGGED for layout in tagged(options)]}
ALL |= {"records": RECORDS, "numbered": TABLES, "packed": PACKED}
ALL |= {"fixed": FIXED, "form": [form()], "meant": meant()} | {name: [load_layout(name)] for name in builtin_layouts()}


def values_of(layout: Layout) -> st.SearchStrategy[Any]:
    if layout.kind == "stock":
        placed = st.sampled_from((None, "leeds", "york"))
        return stock_levels() | st.builds(lambda level, place: evolve(level, location=place), stock_levels(), placed)
    if layout.kind == "status":
        return status_updates() | status_updates().map(packed)
    return orders() if layout.document.get("value") == "order" else shipping_orders()


def packed(update: StatusUpdate) -> StatusUpdate:
    """The same update with its first line packed in a parcel."""
    lines = [StatusLine(line_id=line.line_id, sku=line.sku, shipped=line.shipped) for line in update.lines[:1]]
    return evolve(update, shipments=[evolve(each, lines=lines) for each in update.shipments])


def key_of(value: Any) -> str:
    names = ("fulfilment_id", "order_id", "reference", "sku")
    return next(found for name in names if (found := getattr(value, name, None)))


def writable(layout: Layout, values: list[Any]) -> list[Any]:
    """Those of *values* that fit the layout; a form holds one."""
    kept, keys = [], set()
    for value in values:
        try:
            layout.projections(value)
        except EncodeError:
            continue
        if key_of(value) not in keys:
            keys.add(key_of(value))
            kept.append(value)
    return kept[:1] if "urlencoded" in layout.content_type else kept


@pytest.mark.parametrize("name", ALL)
@MODERATE
@given(data=st.data())
def test_what_is_written_is_read_back(name, data):
    """
    Reading a payload gives the projections of what was written, no problems, and the same payload when written again.
    """
    layout = data.draw(st.sampled_from(ALL[name]))
    values = writable(layout, data.draw(st.lists(values_of(layout), min_size=1, max_size=4)))
    assume(values)

    payload = layout.encode(values)
    records, problems = layout.read(payload)

    assert problems == []
    assert [record.value for record in records] == [each for value in values for each in layout.projections(value)]
    assert layout.encode(values) == payload


@pytest.mark.parametrize("name", ALL)
@MODERATE
@given(data=st.data())
def test_a_projection_is_its_own_projection(name, data):
    """
    What survived one journey survives every other.
    """
    layout = data.draw(st.sampled_from(ALL[name]))
    for value in writable(layout, [data.draw(values_of(layout))]):
        for once in layout.projections(value):
            assert layout.projections(once) == [once]


def mutations(payload: bytes) -> st.SearchStrategy[bytes]:
    """*payload* with a piece replaced by anything, a piece left out, or its end missing."""
    places = st.integers(0, len(payload))
    odd = st.binary(max_size=6) | st.sampled_from(
        (b'"', b"\r\n", b"\0", b"\xff\xfe", b",,,", b"'", b"{", b"\n\n", b"\x1a")
    )
    return st.builds(
        lambda at, drop, piece: payload[:at] + piece + payload[at + drop :], places, st.integers(0, 9), odd
    )


@pytest.mark.parametrize("name", ALL)
@MODERATE
@given(data=st.data())
def test_garbage_is_a_problem_or_a_format_error(name, data):
    """
    Whatever bytes come, reading gives records and problems or raises `FormatError`, and nothing else.
    """
    layout = data.draw(st.sampled_from(ALL[name]))
    values = writable(layout, data.draw(st.lists(values_of(layout), max_size=2)))
    payload = data.draw(mutations(layout.encode(values)) | st.binary(max_size=80))

    items: list[Any] = []
    with contextlib.suppress(FormatError):
        items += layout.decode(io.BytesIO(payload))

    for item in items:
        assert isinstance(item, Record | Problem)
        assert str(item)


@settings(max_examples=40, deadline=None)
@given(levels=st.lists(stock_levels(), min_size=1, max_size=8, unique_by=lambda level: level.sku), data=st.data())
def test_a_bad_row_does_no_harm_to_good_ones(levels, data):
    """
    A row that cannot be read is reported with its line; every other row is read as if it were not there.
    """
    layout = load_layout("linnworks-stock")
    lines = layout.encode(levels).decode().splitlines(keepends=True)
    at = data.draw(st.integers(1, len(lines)))
    bad = data.draw(st.sampled_from(("MUG,two\r\n", ",5\r\n", "MUG,1,2\r\n", "MUG\r\n", "MUG,1.5\r\n", "A\x01,1\r\n")))

    records, problems = layout.read("".join([*lines[:at], bad, *lines[at:]]).encode())

    assert [record.value for record in records] == [layout.project(level) for level in levels]
    assert [problem.line for problem in problems] == [at + 1]


@settings(max_examples=15, deadline=None)
@given(
    found=st.lists(shipping_orders(), min_size=2, max_size=5, unique_by=lambda order: order.fulfilment_id),
    data=st.data(),
)
def test_an_order_is_read_whole_or_not_at_all(found, data):
    """
    When a row of an order file is destroyed, no order that could have owned the row is read.
    """
    layout = load_layout("linnworks-orders")
    rows = [layout.encode([order]).decode() for order in found]
    header = load_layout("linnworks-orders").encode([]).decode()
    broken = data.draw(st.integers(0, len(found) - 1))
    bodies = [row.removeprefix(header) for row in rows]
    bodies[broken] = 'A,"b"c\r\n' + bodies[broken]

    records, problems = layout.read((header + "".join(bodies)).encode())

    whole = [layout.project(order) for order in found]
    assert all(record.value in whole for record in records)
    assert whole[broken] not in [record.value for record in records]
    assert len(problems) >= 2


OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "pattern": st.sampled_from(
        ("%d.%m.%y %H:%M:%S", "epoch", "epoch_ms", ["%Y%m%d %H%M%S", "%Y%m%d"], "%-d/%-m/%Y %X")
    ),
    "pivot": st.integers(0, 100),
    "zone": st.sampled_from(("Europe/London", "America/New_York", "Asia/Kolkata")),
    "decimal": st.sampled_from((".", ",")),
    "thousands": st.sampled_from((",", ".", " ", "'")),
    "negative": st.sampled_from(("before", "after", "brackets")),
    "implied_decimals": st.integers(1, 4),
    "places": st.integers(0, 4),
    "unit": st.sampled_from(("kg", "hg", "oz", "cents", {"factor": "100"}, {"factor": "0.001"}, {"factor": "7"})),
    "pack": st.integers(2, 12),
    "zero_pad": st.integers(2, 12),
    "strip_zeros": st.booleans(),
    "case": st.sampled_from(("upper", "lower")),
    "country": st.sampled_from(("alpha_3", "numeric", "en", "pl")),
    "map": st.sampled_from(("y_n", "status", {"few": "3"}, {"few": "3", "none": None}, {"a": "paid"})),
    "map_else": st.sampled_from(("1", "paid")),
    "unmapped": st.sampled_from(("keep", "empty", "refuse")),
    "ignore_case": st.booleans(),
    "default": st.sampled_from(("0", "few", "n/a")),
    "empty": st.just(["n/a", "0"]),
    "prefix": st.sampled_from(("#", "W-", "=")),
    "suffix": st.sampled_from(("#", " pcs")),
    "strip_prefix": st.sampled_from(("'", ["00", "W"])),
    "strip_suffix": st.sampled_from(("+", [" x", "x"])),
    "max_length": st.integers(1, 30),
    "if_too_long": st.sampled_from(("refuse", "truncate")),
    "required": st.booleans(),
    "optional": st.booleans(),
    "carry_forward": st.booleans(),
    "direction": st.sampled_from(("both", "read", "write")),
    "with": st.sampled_from((" ", ", ", "/", "-")),
    "split_at": st.sampled_from(("first", "last")),
    "if_absent": st.sampled_from(("omit", "keep")),
    "capture": st.sampled_from(("(.*) (.+)", "([a-zA-Z]*)([^a-zA-Z].*)")),
    "wrap": st.booleans(),
    "from": st.sampled_from(("file_name", "modified_at")),
    "location": st.sampled_from(("leeds", "york")),
    "join": st.sampled_from(("|", ";")),
    "fallback": st.sampled_from((["ship_to.name"], ["notes", "bill_to.name"], ["line.title"], ["location", "sku"])),
    "if_differs": st.sampled_from(("refuse", "first", "join")),
}
FIXED_KEYS = {"stock": ["sku"], "status": ["reference"], "orders": ["fulfilment_id", "line.sku", "line.quantity"]}
DRAWN = {
    "stock": [*STOCK[:1], *STOCK[2:], "available", "frozen", "aside.x", "batch.number", "batch.at"],
    "status": [*STATUS[1:], *STATUS_LINES, "line.ordered", "aside.x", "batch.row"],
    "orders": [*HEADER[1:], *LINES[:1], *LINES[4:], "ship_to.address1", "ship_to.address2", "batch.key", "line.number"],
}


OF_TYPE = {
    "datetime": ("pattern", "pivot", "zone"),
    "integer": ("decimal", "thousands", "negative", "implied_decimals", "pack", "zero_pad"),
    "amount": ("decimal", "thousands", "negative", "implied_decimals", "places", "unit", "zero_pad"),
    "weight": ("decimal", "thousands", "implied_decimals", "places", "unit", "zero_pad"),
    "text": ("zero_pad", "strip_zeros", "case", "max_length", "if_too_long"),
    "list": ("join", "zero_pad", "case", "max_length"),
    "country": ("country",),
}
OF_SEVERAL = ("with", "split_at", "if_absent", "capture", "wrap", "max_length")
OF_ANY = ("map", "map_else", "unmapped", "ignore_case", "default", "empty", "prefix", "suffix", "strip_prefix")
OF_ANY += (
    "strip_suffix",
    "required",
    "optional",
    "carry_forward",
    "direction",
    "from",
    "location",
    "fallback",
    "if_differs",
)


@st.composite
def any_fields(draw: Any, kind: str) -> list[dict[str, Any]]:
    """Fields with options that may fit them, or may not."""
    holds = {"stock": "stock_level", "status": "status_update", "orders": "shipping_order"}[kind]
    made: list[dict[str, Any]] = [{"at": name, "field": name} for name in FIXED_KEYS[kind]]
    for number in range(draw(st.integers(1, 5))):
        count = draw(st.sampled_from((1, 1, 1, 2, 3)))
        names = draw(st.lists(st.sampled_from(DRAWN[kind]), min_size=count, max_size=count, unique=True))
        places = [f"{number}.{n}" for n in range(draw(st.sampled_from((1, 1, 1, 2, 3))))]
        spec: dict[str, Any] = {"field": names[0]} if count == 1 else {"join_fields": names}
        spec["at"] = places[0] if len(places) == 1 else places
        types = {info.type for name in names if (info := find_field(kind, holds, name))}
        fitting = [key for type_ in sorted(types) for key in OF_TYPE.get(type_, ())]
        several = OF_SEVERAL if count > 1 or len(places) > 1 else ()
        chosen = draw(st.lists(st.sampled_from([*fitting, *several, *OF_ANY]), max_size=6, unique=True))
        made.append({**spec, **{key: draw(OPTIONS[key]) for key in chosen}})
    return made


def mended(field: dict[str, Any], paths: list[str]) -> dict[str, Any] | None:
    """A field without the options that faults speak of, or nothing where the whole field is one."""
    keys = {path.partition("].")[2].partition(".")[0].partition("[")[0] for path in paths}
    bad = keys & set(OPTIONS) & set(field)
    return {key: value for key, value in field.items() if key not in bad} if bad else None


def loaded(kind: str, codec: dict[str, Any], fields: list[dict[str, Any]], **more: Any) -> Layout:
    """The layout of those fields and options that go together; what is wrong with the others is told at load."""
    while True:
        document = {"fcflow": "layout/1", "kind": kind, "codec": codec, "fields": fields, **more}
        try:
            return load_layout(document)
        except LayoutError as error:
            paths = [str(fault.path) for fault in error.faults]
            told = [[path for path in paths if path.startswith(f"$.fields[{i}]")] for i in range(len(fields))]
            assert any(told), paths
            kept = [mended(field, about) if about else field for field, about in zip(fields, told, strict=True)]
            fields = [field for field in kept if field is not None]


@pytest.mark.parametrize("kind", FIXED_KEYS)
@settings(MODERATE, max_examples=60)
@given(data=st.data())
def test_any_layout_that_loads_keeps_the_law(kind, data):
    """
    Whatever options fields have: a layout says at load what is wrong, or what it writes it reads as it projected.
    """
    more = {"guard_formulas": True} if data.draw(st.booleans()) else {}
    more |= {"group": "reference"} if kind == "status" and data.draw(st.booleans()) else {}
    layout = loaded(kind, {"type": "delimited"}, data.draw(any_fields(kind)), **more)
    values = writable(layout, data.draw(st.lists(values_of(layout), min_size=1, max_size=3)))
    assume(values)

    records, problems = layout.read(layout.encode(values))

    assert problems == []
    assert [record.value for record in records] == [each for value in values for each in layout.projections(value)]
