"""What a field means, both ways: spelling, words, several fields or places, what follows from other fields."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from fcflow.errors import EncodeError, FormatError, LayoutError
from fcflow.formats import Batch, Layout, load_layout
from fcflow.model import (
    Address,
    Order,
    OrderLine,
    Shipment,
    ShippingLine,
    ShippingOrder,
    Status,
    StatusLine,
    StatusUpdate,
    StockLevel,
)

KEYS: dict[str, list[dict[str, Any]]] = {
    "stock": [{"at": "sku", "field": "sku"}],
    "status": [{"at": "ref", "field": "reference"}],
    "orders": [
        {"at": "id", "field": "fulfilment_id"},
        {"at": "sku", "field": "line.sku"},
        {"at": "qty", "field": "line.quantity"},
    ],
}


def layout(kind: str, *fields: dict[str, Any], **more: Any) -> Layout:
    """A layout of CSV with what every value needs, and *fields*."""
    codec = {"type": "delimited", "line_end": "lf"}
    return load_layout({"fcflow": "layout/1", "kind": kind, "codec": codec, "fields": [*KEYS[kind], *fields], **more})


def read(layout: Layout, payload: str, **source: Any) -> list[Any]:
    """The values of a payload that has no problems."""
    records, problems = layout.read(payload.encode(), **source)
    assert problems == []
    return [record.value for record in records]


def said(layout: Layout, payload: str) -> list[str]:
    """The problems of a payload, as text."""
    return [str(problem) for problem in layout.read(payload.encode())[1]]


def faults(kind: str, *fields: dict[str, Any], **more: Any) -> str:
    """What is wrong with a layout, in one text."""
    with pytest.raises(LayoutError) as caught:
        layout(kind, *fields, **more)
    return str(caught.value)


def shipping_order(ship_to: dict[str, Any] | None = None, **more: Any) -> ShippingOrder:
    lines = more.pop("lines", [ShippingLine(line_id="1", sku="MUG", quantity=2)])
    bought = [OrderLine(line_id=line.line_id, sku=line.sku, quantity=line.quantity) for line in lines]
    own = {key: more.pop(key) for key in ("total", "postage", "currency", "received_at") if key in more}
    order = Order(order_id="A1", lines=bought, ship_to=Address(**(ship_to or {})), **own)
    return ShippingOrder(**{"fulfilment_id": "A1", "order": order, "location": "leeds", "lines": lines, **more})


def row(layout: Layout, value: Any, **batch: Any) -> str:
    """The only row of a payload, after its header, without the keys."""
    keys = len(KEYS[layout.kind])
    return layout.encode([value], batch=Batch(**batch)).decode().splitlines()[1].split(",", keys)[keys]


# ------------------------------------------------------------------ one cell, one value

NUMBERS: list[tuple[str, dict[str, Any], str, Any, str]] = [
    ("reserved", {"negative": "after"}, "12-", -12, "12-"),
    ("reserved", {"negative": "after"}, "-12", -12, "12-"),
    ("reserved", {"negative": "after"}, "12+", 12, "12"),
    ("reserved", {"negative": "brackets"}, "(12)", -12, "(12)"),
    ("reserved", {"negative": "brackets", "zero_pad": 6}, "(0012)", -12, "(0012)"),
    ("reserved", {"zero_pad": 6}, "000012", 12, "000012"),
    ("reserved", {"zero_pad": 6}, "-12", -12, "-00012"),
    ("reserved", {"pack": 6}, "3", 18, "3"),
    ("reserved", {"pack": 6, "decimal": ","}, "0,5", 3, ""),
    ("reserved", {"implied_decimals": 2}, "001200", 12, "1200"),
    ("reserved", {"map": {"sold out": "0", "in stock": "99"}, "ignore_case": True}, "SOLD OUT", 0, "sold out"),
    ("reserved", {"strip_suffix": ["+", " pcs"], "strip_prefix": ">"}, ">50+", 50, "50"),
    ("reserved", {"strip_suffix": ["+", " pcs"]}, "10 pcs", 10, "10"),
    ("reserved", {"suffix": " pcs"}, "10 pcs", 10, "10 pcs"),
    ("reserved", {"map": {"few": "3"}, "map_else": "0"}, "who knows", 0, "0"),
    ("reserved", {"map": {"few": "3"}, "unmapped": "empty"}, "who knows", None, ""),
]


@pytest.mark.parametrize(("name", "options", "text", "value", "written"), NUMBERS)
def test_a_number_is_read_and_written_as_the_partner_spells_it(name, options, text, value, written):
    """
    Signs, zeros, packs, implied decimals and words for quantities are read, and written the partner's way.
    """
    one = layout("stock", {"at": "n", "field": name, **options})

    assert [getattr(each, name) for each in read(one, f'sku,n\nMUG,"{text}"\n')] == [value]
    if value is None or not (options.get("pack") and value % options["pack"]):
        assert row(one, StockLevel(sku="MUG", reserved=value)) == written


AMOUNTS: list[tuple[str, dict[str, Any], str, Any, str]] = [
    ("total", {"implied_decimals": 2}, "1250", Decimal("12.50"), "1250"),
    ("total", {"implied_decimals": 2, "zero_pad": 8}, "00001250", Decimal("12.50"), "00001250"),
    ("total", {"unit": "cents"}, "1250", Decimal("12.50"), "1250"),
    ("total", {"unit": {"factor": "0.001"}}, "12500", Decimal("12.50"), "12500"),
    ("total", {"prefix": "GBP "}, "GBP 12.50", Decimal("12.50"), "GBP 12.50"),
    ("total", {"decimal": ",", "thousands": ".", "negative": "after"}, "1.250,00-", Decimal(-1250), '"1.250,00-"'),
]


@pytest.mark.parametrize(("name", "options", "text", "value", "written"), AMOUNTS)
def test_money_is_read_and_written_as_the_partner_spells_it(name, options, text, value, written):
    """
    Fixed point, smaller units and marks lose nothing of an amount either way.
    """
    one = layout("orders", {"at": "n", "field": name, **options})
    (order,) = read(one, f'id,sku,qty,n\nA1,MUG,1,"{text}"\n')

    assert order.order.total == value
    assert row(one, shipping_order(total=value)) == written


@pytest.mark.parametrize(
    ("options", "text", "grams"),
    [
        ({"unit": "hg"}, "3", 300),
        ({"unit": {"factor": "100"}}, "2.5", 250),
        ({"unit": "kg", "implied_decimals": 3}, "1250", 1250),
        ({"unit": "t"}, "0.002", 2000),
        ({"unit": "mg"}, "1500000", 1500),
        ({"unit": "oz", "places": 2}, "8.00", 227),
    ],
)
def test_a_weight_is_whole_grams_of_any_unit(options, text, grams):
    """
    Units by name, or how many grams one of theirs is, turn a weight into grams.
    """
    one = layout("orders", {"at": "w", "field": "line.weight_g", **options})
    (order,) = read(one, f"id,sku,qty,w\nA1,MUG,1,{text}\n")

    assert order.lines[0].weight_g == grams
    assert read(one, one.encode([order]).decode()) == [order]


def test_what_fills_no_whole_case_is_refused():
    """
    Seven units are no number of cases of six; the message names the order and the field.
    """
    one = layout("stock", {"at": "n", "field": "on_hand", "pack": 6})

    with pytest.raises(EncodeError, match=r"stock of MUG, 'n' \(on_hand\): expected a multiple of 6, got 7"):
        one.encode([StockLevel(sku="MUG", on_hand=7)])


MOMENTS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"pattern": ["%d/%m/%Y %H:%M", "%d/%m/%Y"]}, "02/03/2026", "2026-03-02T00:00:00+00:00", "02/03/2026 00:00"),
    ({"pattern": "%d.%m.%y"}, "02.03.26", "2026-03-02T00:00:00+00:00", "02.03.26"),
    ({"pattern": "%d.%m.%y", "pivot": 20}, "02.03.26", "1926-03-02T00:00:00+00:00", "02.03.26"),
    ({"pattern": "epoch"}, "1772443800", "2026-03-02T09:30:00+00:00", "1772443800"),
    ({"pattern": "epoch_ms"}, "1772443800000", "2026-03-02T09:30:00+00:00", "1772443800000"),
    ({"pattern": "%-d/%-m/%Y"}, "2/3/2026", "2026-03-02T00:00:00+00:00", "2/3/2026"),
    ({"pattern": "%Y-%m-%d", "zone": "Asia/Tokyo"}, "2026-03-02", "2026-03-01T15:00:00+00:00", "2026-03-02"),
    ({"pattern": "%Y%m%dT%H%M%S%z"}, "20260302T093000+0200", "2026-03-02T07:30:00+00:00", "20260302T073000+0000"),
]


@pytest.mark.parametrize(("options", "text", "instant", "written"), MOMENTS)
def test_a_moment_is_read_by_the_first_pattern_that_fits(options, text, instant, written):
    """
    Several patterns, two-digit years, seconds since 1970, days without a time, zones: all become instants, and back.
    """
    one = layout("stock", {"at": "t", "field": "as_of", **options})
    (level,) = read(one, f"sku,t\nMUG,{text}\n")

    assert level.as_of.isoformat() == instant
    assert row(one, level) == written


def test_a_moment_that_fits_no_pattern_names_them_all():
    """
    The problem says what was expected.
    """
    one = layout("stock", {"at": "t", "field": "as_of", "pattern": ["%d/%m/%Y", "epoch"]})

    assert said(one, "sku,t\nMUG,soon\n") == [
        "line 2, column 2 (as_of): expected a date and time like %d/%m/%Y or seconds since 1970, got 'soon'"
    ]


TEXTS: list[tuple[dict[str, Any], str, str | None, str]] = [
    ({"case": "upper"}, "leeds", "LEEDS", "LEEDS"),
    ({"case": "lower"}, "LEEDS", "leeds", "leeds"),
    ({"zero_pad": 5}, "00042", "00042", "00042"),
    ({"zero_pad": 5, "strip_zeros": True}, "00042", "42", "00042"),
    ({"prefix": "WH-"}, "WH-7", "7", "WH-7"),
    ({"strip_prefix": ["WH-", "W"]}, "WH-7", "7", "7"),
    ({"suffix": "#"}, "7#", "7", "7#"),
    ({"empty": ["N/A", "Not Shipped"], "ignore_case": True}, "n/a", None, ""),
]


@pytest.mark.parametrize(("options", "text", "value", "written"), TEXTS)
def test_a_text_is_brought_to_the_form_that_is_asked(options, text, value, written):
    """
    Case, leading zeros and what surrounds a text are taken off and put on; words that mean nothing are nothing.
    """
    one = layout("stock", {"at": "x", "field": "location", **options})
    (level,) = read(one, f"sku,x\nMUG,{text}\n")

    assert level.location == value
    assert row(one, level) == written


@pytest.mark.parametrize(
    "text", ["DE", "de", "DEU", "276", "Germany", "Deutschland", "Allemagne", "ALEMANIA", "Niemcy"]
)
def test_a_country_is_read_by_any_code_or_name(text):
    """
    Where a field says how countries are written, every code and the names of ten languages are read.
    """
    one = layout("orders", {"at": "c", "field": "ship_to.country", "country": "alpha_3"})
    (order,) = read(one, f"id,sku,qty,c\nA1,MUG,1,{text}\n")

    assert order.order.ship_to.country == "DE"
    assert row(one, order) == "DEU"


@pytest.mark.parametrize(("form", "written"), [("alpha_2", "GB"), ("numeric", "826"), ("fr", "Royaume-Uni")])
def test_a_country_is_written_in_the_form_that_is_asked(form, written):
    """
    A code, or the name in a language.
    """
    one = layout("orders", {"at": "c", "field": "ship_to.country", "country": form})

    assert row(one, shipping_order({"country": "GB"})) == written
    assert said(one, "id,sku,qty,c\nA1,MUG,1,Atlantis\n") == [
        "line 2, column 4 (ship_to.country): expected a country, by its code or its name, got 'Atlantis'"
    ]


@pytest.mark.parametrize(
    ("word", "truth"), [("Y", "true"), ("yes", "true"), ("1", "true"), ("NEIN", "false"), ("", None)]
)
def test_words_for_yes_and_no_are_built_in(word, truth):
    """
    Any word for yes or no becomes true or false; the partner's own spelling is written.
    """
    one = layout("orders", {"at": "gift", "field": "properties.gift", "map": "y_n"})
    (order,) = read(one, f"id,sku,qty,gift\nA1,MUG,1,{word}\n")

    assert order.properties.get("gift") == truth
    assert row(one, order) == {"true": "Y", "false": "N", None: ""}[truth]


@pytest.mark.parametrize(
    ("word", "status"),
    [("Versandt", "shipped"), ("EXPÉDIÉE", "shipped"), ("geannuleerd", "cancelled"), ("In Bearbeitung", "in_work"),
     ("Livré", "delivered"), ("Part Despatched", "part_shipped"), ("lost at sea", None)],
)  # fmt: skip
def test_status_words_of_several_languages_are_built_in(word, status):
    """
    The map `status` knows the usual words; others stay what the partner said.
    """
    one = layout("status", {"at": "s", "field": "status", "map": "status"})
    (update,) = read(one, f"ref,s\nA1,{word}\n")

    assert (update.status, update.raw_status) == (None if status is None else Status(status), word)


def test_a_status_word_that_would_be_refused_is_not_written():
    """
    What cannot be read back does not leave either.
    """
    one = layout("status", {"at": "s", "field": "status", "map": {"OUT": "shipped"}, "unmapped": "refuse"})

    assert row(one, StatusUpdate(reference="A1", status="shipped")) == "OUT"
    with pytest.raises(EncodeError, match=r"status of A1, 's' \(status\): expected one of OUT, got 'gone'"):
        one.encode([StatusUpdate(reference="A1", raw_status="gone")])


# ------------------------------------------------------------------ several fields, several places


def test_a_name_in_two_columns_is_one_name():
    """
    First and last name are joined on reading and divided on writing; a single word is a last name if asked.
    """
    one = layout("orders", {"at": ["first", "last"], "field": "ship_to.name", "split_at": "last"})

    (order,) = read(one, "id,sku,qty,first,last\nA1,MUG,1,Anna Maria,Schmidt\n")

    assert order.order.ship_to.name == "Anna Maria Schmidt"
    assert row(one, order) == "Anna Maria,Schmidt"
    assert row(one, shipping_order({"name": "Cher"})) == ",Cher"


def test_postcode_and_town_in_one_column_are_told_apart_by_an_expression():
    """
    The groups of an expression give the fields; a text that it does not fit is a problem.
    """
    joined = {"at": "city", "join_fields": ["ship_to.postcode", "ship_to.town"]}
    one = layout("orders", {**joined, "capture": "(?P<postcode>[0-9]{4,5}) (?P<town>.+)"})

    (order,) = read(one, "id,sku,qty,city\nA1,MUG,1,61348 Bad Homburg\n")

    assert (order.order.ship_to.postcode, order.order.ship_to.town) == ("61348", "Bad Homburg")
    assert row(one, order) == "61348 Bad Homburg"
    assert said(one, "id,sku,qty,city\nA1,MUG,1,Bad Homburg\n")[0].startswith(
        "line 2, column 4 (ship_to.postcode): expected text like (?P<postcode>[0-9]{4,5}) (?P<town>.+), got"
    )
    with pytest.raises(EncodeError, match=r"order A1, 'city'.*: expected text like"):
        one.encode([shipping_order({"town": "Leeds"})])


def test_several_fields_in_one_place_are_only_written_unless_it_says_how_they_are_divided():
    """
    A place that joins fields gives nothing on reading without `split_at`, `capture` or `if_absent`.
    """
    one = layout("orders", {"at": "city", "join_fields": ["ship_to.postcode", "ship_to.town"], "with": " / "})
    order = shipping_order({"postcode": "LS1", "town": "Leeds"})

    assert row(one, order) == "LS1 / Leeds"
    assert one.project(order).order.ship_to == Address()


def test_an_absent_text_keeps_its_place_if_asked():
    """
    With `if_absent` keep there are always as many pieces; a text that holds the separator is refused.
    """
    names = ["ship_to.name", "ship_to.company", "ship_to.town"]
    one = layout("orders", {"at": "who", "join_fields": names, "with": "|", "if_absent": "keep"})

    (order,) = read(one, "id,sku,qty,who\nA1,MUG,1,Ada||London\n")

    assert order.order.ship_to == Address(name="Ada", town="London")
    assert row(one, order) == "Ada||London"
    with pytest.raises(EncodeError, match=r"expected texts without '\|', got 'A\|B'"):
        one.encode([shipping_order({"name": "A|B"})])
    assert "at most 3 texts" in said(one, "id,sku,qty,who\nA1,MUG,1,a|b|c|d\n")[0]


def test_date_and_time_in_two_columns_are_one_instant():
    """
    The pattern is of both together; a missing time falls to the next pattern.
    """
    times = {
        "at": ["date", "time"],
        "field": "as_of",
        "pattern": ["%d/%m/%Y %H:%M", "%d/%m/%Y"],
        "zone": "Europe/Paris",
    }
    one = layout("stock", times)

    levels = read(one, "sku,date,time\nMUG,02/03/2026,09:30\nCUP,02/03/2026,\nPOT,,\n")

    assert [level.as_of and level.as_of.isoformat() for level in levels] == [
        "2026-03-02T08:30:00+00:00", "2026-03-01T23:00:00+00:00", None,
    ]  # fmt: skip
    assert row(one, levels[0]) == "02/03/2026,09:30"
    assert said(one, "sku,date,time\nMUG,02/03/2026,9am\n") == [
        "line 2, column 2 (as_of): expected a date and time like %d/%m/%Y %H:%M or %d/%m/%Y, got '02/03/2026 9am'"
    ]


BLOCK = {
    "at": ["a1", "a2", "a3"],
    "join_fields": ["ship_to.address1", "ship_to.address2", "ship_to.address3"],
    "max_length": 20,
}


@pytest.mark.parametrize(
    ("lines", "written"),
    [
        (("1 High St", None, "Flat 2"), "1 High St,Flat 2,"),
        (("The Old Grain Warehouse, Mill Lane", "Unit 4"), 'The Old Grain,"Warehouse, Mill Lane",Unit 4'),
        ((None, None, "Flat 2"), "Flat 2,,"),
    ],
)
def test_the_lines_of_an_address_are_packed_and_wrapped(lines, written):
    """
    Lines move up where one is missing, and a long one goes on in the next place.
    """
    one = layout("orders", BLOCK)
    address = dict(zip(("address1", "address2", "address3"), lines, strict=False))

    assert row(one, shipping_order(address)) == written
    projected = one.project(shipping_order(address))
    assert one.project(projected) == projected


def test_an_address_of_too_many_lines_is_refused_or_joined():
    """
    Lines that have no place are refused, unless `with` says how two of them share one.
    """
    long = {"address1": "Unit 4 Mill Lane", "address2": "Trading Estate East", "address3": "Gate 2 By The Canal Bridge"}
    with pytest.raises(EncodeError, match=r"order A1, 'a1', 'a2', 'a3'.*: expected texts that fit 3 places of 20"):
        layout("orders", BLOCK).encode([shipping_order(long)])

    short = {"address1": "Unit 4", "address2": "Gate 2", "address3": "Mill Lane"}
    two = layout("orders", {**BLOCK, "at": ["a1", "a2"], "with": ", "})
    assert row(two, shipping_order(short)) == '"Unit 4, Gate 2",Mill Lane'


def test_a_long_text_goes_on_in_the_next_place():
    """
    With `wrap` one field fills several places, and is one text again on reading.
    """
    one = layout("orders", {"at": ["n1", "n2"], "field": "notes", "wrap": True, "max_length": 12})
    order = shipping_order(notes="leave with the porter")

    assert row(one, order) == "leave with,the porter"
    assert one.project(order).notes == "leave with the porter"


# ------------------------------------------------------------------ layout, payload, conditions


def test_a_payload_numbers_its_rows_and_says_what_it_is():
    """
    Batch number, instant, partner and running numbers of rows and records come from the payload.
    """
    one = layout(
        "orders",
        {"at": "file", "field": "batch.number", "zero_pad": 6},
        {"at": "day", "field": "batch.at", "pattern": "%d.%m.%Y", "zone": "Europe/Berlin"},
        {"at": "to", "field": "batch.partner"},
        {"at": "test", "field": "batch.test", "map": "one_zero"},
        {"at": "record", "field": "batch.record"},
        {"at": "row", "field": "batch.row"},
        {"at": "line", "field": "line.number"},
        {"at": "kind", "constant": "ORD"},
    )
    lines = [ShippingLine(line_id=str(n), sku=f"S{n}", quantity=1) for n in (1, 2)]
    orders = [shipping_order(lines=lines), shipping_order(fulfilment_id="A2")]
    batch = Batch(number=42, at=datetime(2026, 3, 2, 23, 30, tzinfo=UTC), partner="leeds", test=True)

    assert [each.split(",", 3)[3] for each in one.encode(orders, batch=batch).decode().splitlines()[1:]] == [
        "000042,03.03.2026,leeds,1,1,1,1,ORD",
        "000042,03.03.2026,leeds,1,1,2,2,ORD",
        "000042,03.03.2026,leeds,1,2,3,1,ORD",
    ]


def test_what_a_payload_is_may_be_joined_and_asked_too():
    """
    A reference of batch and row, a number that is only written for some.
    """
    when = {"field": "ship_to.country", "op": "eq", "value": "GB"}
    one = layout(
        "orders",
        {"at": "ref", "join_fields": ["batch.number", "batch.row", "order_id"], "with": "-", "zero_pad": 3},
        {"at": "gb", "field": "batch.number", "when": when, "else": "none"},
    )

    assert row(one, shipping_order({"country": "GB"}), number=42) == "42-1-A1,42"
    assert row(one, shipping_order({"country": "FR"}), number=42) == "42-1-A1,none"


def test_places_of_fixed_width_have_a_width_each():
    """
    Date and time stand apart in a line of fixed width.
    """
    times = {"at": [11, 19], "width": [8, 4], "field": "as_of", "pattern": "%Y%m%d %H%M"}
    fields = [{"at": 1, "width": 10, "field": "sku"}, times]
    document = {"fcflow": "layout/1", "kind": "stock", "codec": {"type": "fixed_width", "line_end": "lf"}}
    one = load_layout({**document, "fields": fields})
    level = StockLevel(sku="MUG", as_of=datetime(2026, 3, 2, 9, 30, tzinfo=UTC))

    assert one.encode([level]) == b"MUG       202603020930\n"
    assert read(one, "MUG       202603020930\n") == [level]
    with pytest.raises(LayoutError) as caught:
        load_layout({**document, "fields": [fields[0], {**times, "width": [8, 4, 2]}]})
    assert "$.fields[1].width: expected 2 widths, one a place, got 3" in str(caught.value)


def test_a_block_of_fixed_width_is_wrapped_at_its_width():
    """
    Where places have a width, no other limit needs to be said.
    """
    fields = [
        {"at": 1, "width": 4, "field": "fulfilment_id"},
        {"at": [5, 15], "width": 10, "join_fields": ["ship_to.address1", "ship_to.address2"]},
        {"at": 25, "width": 5, "field": "line.sku"},
        {"at": 30, "width": 3, "field": "line.quantity", "pad": "0"},
    ]
    codec = {"type": "fixed_width", "line_end": "lf"}
    one = load_layout({"fcflow": "layout/1", "kind": "orders", "codec": codec, "fields": fields})

    assert one.encode([shipping_order({"address1": "12 Old Mill Lane"})]) == b"A1  12 Old    Mill Lane MUG  002\n"


def test_the_first_case_that_is_true_is_written():
    """
    Cases are conditions of the rule language, tried in their order; `else` is what remains.
    """
    cases = [
        {"when": {"field": "ship_to.country", "op": "eq", "value": "GB"}, "then": "UK"},
        {"when": {"field": "ship_to.country", "op": "in", "value": ["FR", "DE"]}, "then": "EU"},
        {"when": {"field": "ship_to.country", "op": "eq", "value": "US"}},
    ]
    one = layout("orders", {"at": "zone", "field": "ship_to.country", "cases": cases, "else": "ROW"})

    written = [row(one, shipping_order({"country": code})) for code in ("GB", "DE", "US", "JP")]

    assert written == ["UK", "EU", "US", "ROW"]


# ------------------------------------------------------------------ rows


def test_an_empty_cell_means_the_row_above_if_asked():
    """
    A value is carried forward until another one stands there; it is always written.
    """
    one = layout("stock", {"at": "place", "field": "location", "carry_forward": True})

    levels = read(one, "sku,place\nMUG,leeds\nCUP,\nPOT,york\nPAN,\n")

    assert [level.location for level in levels] == ["leeds", "leeds", "york", "york"]
    with pytest.raises(EncodeError, match="expected something, got nothing"):
        one.encode([StockLevel(sku="MUG")])


@pytest.mark.parametrize("bad", ["CUP,york,7\n", "CUP,y\x01ork\n"])
def test_nothing_is_carried_past_a_row_that_cannot_be_read(bad):
    """
    A bad row may have said another location: what stands below it is not known until one is said.
    """
    one = layout("stock", {"at": "place", "field": "location", "carry_forward": True})

    records, problems = one.read(f"sku,place\nMUG,leeds\n{bad}POT,\nPAN,hull\nLID,\n".encode())

    assert [(r.value.sku, r.value.location) for r in records] == [("MUG", "leeds"), ("PAN", "hull"), ("LID", "hull")]
    assert str(problems[1]) == "line 4: what it carries on from the row above is not known"


ROWS = "id,sku,qty\nA1,MUG,1\nA2,CUP,2\nA1,POT,3\n"


def test_rows_of_one_order_may_stand_anywhere():
    """
    They are one order, in the place of its first row; the neighbour rule reports them.
    """
    found = read(layout("orders", rows="anywhere"), ROWS)

    assert [(o.fulfilment_id, [line.sku for line in o.lines]) for o in found] == [
        ("A1", ["MUG", "POT"]),
        ("A2", ["CUP"]),
    ]
    assert "do not stand together" in said(layout("orders"), ROWS)[0]


def test_rows_that_stand_anywhere_are_bounded():
    """
    A payload of more rows than may be held is refused, with the number.
    """
    with pytest.raises(FormatError, match="line 4: expected at most 2 rows, as they are held until the end"):
        layout("orders", rows="anywhere", max_rows=2).read(ROWS.encode())


def test_a_row_without_an_owner_harms_every_order_where_rows_stand_anywhere():
    """
    It may have belonged to any of them; a bad row whose order is known harms that order only.
    """
    one = layout("orders", rows="anywhere")

    records, problems = one.read((ROWS + "A2,x,y,z\n").encode())
    assert (records, len(problems)) == ([], 3)

    records, problems = one.read((ROWS + "A2,PAN,two\n").encode())
    assert [record.value.fulfilment_id for record in records] == ["A1"]
    assert [str(problem) for problem in problems] == ["line 5, column 3 (line.quantity): expected digits, got 'two'"]


# ------------------------------------------------------------------ what follows

TRACKED = [
    {"at": "tracking", "field": "tracking_numbers"},
    {"at": "sku", "field": "line.sku"},
    {"at": "ordered", "field": "line.ordered"},
    {"at": "shipped", "field": "line.shipped"},
]
FOLLOWS = {
    "field": "status",
    "cases": [
        {"when": {"field": "total.ordered", "op": "le", "than": "total.shipped"}, "then": "shipped"},
        {"when": {"field": "total.shipped", "op": "gt", "value": 0}, "then": "part_shipped"},
    ],
    "else": "in_work",
}


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        (["T1,MUG,2,2", "T1,CUP,1,1"], "shipped"),
        (["T1,MUG,2,2", "T1,CUP,1,0"], "part_shipped"),
        (["T1,MUG,5,2", "T2,MUG,5,3"], "shipped"),
        (["T1,MUG,5,2", "T2,MUG,5,2"], "part_shipped"),
        ([",MUG,2,0"], "in_work"),
        ([",MUG,,"], "in_work"),
    ],
)
def test_a_status_follows_from_the_counts_of_all_rows(rows, status):
    """
    Counts are added up over the rows of the record, parcels of one line too; what was ordered is said once a line.
    """
    one = layout("status", *TRACKED, group="reference", derive=[FOLLOWS])

    (update,) = read(one, "ref,tracking,sku,ordered,shipped\n" + "".join(f"A1,{each}\n" for each in rows))

    assert update.status == Status(status)


def test_a_status_follows_from_a_tracking_number():
    """
    A word that the layout knows counts; where it says nothing, what follows does, and keeps the partner's word.
    """
    derive = [{"field": "status", "cases": [
        {"when": {"field": "tracking_numbers", "op": "exists"}, "then": "shipped"}]}]  # fmt: skip
    one = layout("status", {"at": "s", "field": "status", "map": {"X": "cancelled"}}, TRACKED[0], derive=derive)

    updates = read(one, "ref,s,tracking\nA1,X,T1\nA2,ok,T2\nA3,,T3\nA4,ok,\n")

    assert [(u.status, u.raw_status) for u in updates] == [
        (Status.CANCELLED, "X"), (Status.SHIPPED, "ok"), (Status.SHIPPED, None), (None, "ok"),
    ]  # fmt: skip


def test_what_is_short_follows_from_what_was_ordered():
    """
    Ordered less shipped, added up over the parcels of a line, and never below zero.
    """
    derive = [{"field": "line.short", "difference": ["line.ordered", "line.shipped"]}]
    one = layout("status", *TRACKED, group="reference", derive=derive)

    (update,) = read(one, "ref,tracking,sku,ordered,shipped\nA1,T1,MUG,5,2\nA1,T2,MUG,5,1\nA1,T2,CUP,1,2\n")

    assert update.lines == (StatusLine(sku="MUG", shipped=3, short=2), StatusLine(sku="CUP", shipped=2, short=0))
    assert update.shipments == (
        Shipment(tracking_numbers=["T1"], lines=[StatusLine(sku="MUG", shipped=2)]),
        Shipment(tracking_numbers=["T2"], lines=[StatusLine(sku="MUG", shipped=1), StatusLine(sku="CUP", shipped=2)]),
    )
    whole = StatusUpdate(reference="A1", lines=[StatusLine(sku="MUG", shipped=3, short=2)])
    assert one.project(whole) == whole


def test_values_that_stand_aside_are_only_asked():
    """
    What no field holds can be read, typed, added up and asked, and is no part of the value.
    """
    derive = [
        {"field": "on_hand", "sum": ["aside.shelf", "aside.bulk"]},
        {"field": "location", "first_of": ["aside.aisle", "aside.site"]},
        {"field": "reserved", "cases": [{"when": {"field": "aside.state", "op": "eq", "value": "QC"}, "then": "1"}]},
    ]
    numbers = [{"at": name, "field": f"aside.{name}", "type": "integer"} for name in ("shelf", "bulk")]
    texts = [{"at": name, "field": f"aside.{name}"} for name in ("aisle", "site", "state")]

    levels = read(
        layout("stock", *numbers, *texts, derive=derive),
        "sku,shelf,bulk,aisle,site,state\nMUG,2,40,,leeds,QC\nCUP,,3,7,leeds,OK\n",
    )

    assert levels == [
        StockLevel(sku="MUG", on_hand=42, location="leeds", reserved=1),
        StockLevel(sku="CUP", on_hand=3, location="7"),
    ]


def test_cases_of_a_size_that_the_row_says_are_units():
    """
    Cases times units in a case, where any one is missing nothing is known.
    """
    numbers = [{"at": name, "field": f"aside.{name}", "type": "integer"} for name in ("cases", "size")]
    derive = [{"field": "on_hand", "product": ["aside.cases", "aside.size"]}]

    levels = read(layout("stock", *numbers, derive=derive), "sku,cases,size\nMUG,7,6\nCUP,7,\n")

    assert [level.on_hand for level in levels] == [42, None]


def test_fields_of_orders_follow_from_others_too():
    """
    An import that lacks a number takes another, and a case that asks of the lines holds if it does for every line.
    """
    derive = [
        {"field": "reference", "first_of": ["reference", "aside.webshop"]},
        {
            "field": "notes",
            "cases": [{"when": {"field": "line.sku", "op": "starts_with", "value": "X"}, "then": "cut"}],
        },
        {"field": "shipping_service", "cases": [{"when": True, "then": "24h"}], "overrule": True},
    ]
    fields = [{"at": "ref", "field": "reference"}, {"at": "shop", "field": "aside.webshop"}]
    service = {"at": "service", "field": "shipping_service"}

    found = read(
        layout("orders", *fields, service, derive=derive),
        "id,sku,qty,ref,shop,service\nA1,X1,1,,W1,48h\nA1,X2,1,,W1,48h\nA2,X1,1,R2,W2,\nA2,Y,1,R2,W2,\n",
    )

    assert [(o.order.reference, o.notes, o.shipping_service) for o in found] == [
        ("W1", "cut", "24h"),
        ("R2", None, "24h"),
    ]


@pytest.mark.parametrize(
    ("ask", "holds"),
    [
        (
            {
                "all": [
                    {"field": "carrier", "op": "eq", "value": "DHL"},
                    {"field": "line.shipped", "op": "ge", "value": 2},
                ]
            },
            True,
        ),
        ({"any": [{"field": "carrier", "op": "in", "value": ["UPS"]}, {"field": "message", "op": "absent"}]}, True),
        ({"not": {"field": "carrier", "op": "ne", "value": "DHL"}}, True),
        ({"not": {"field": "message", "op": "eq", "value": "x"}}, False),
        ({"field": "message", "op": "ne", "value": "x"}, False),
        ({"field": "carrier", "op": "starts_with", "value": "D"}, True),
        ({"field": "carrier", "op": "ends_with", "value": "D"}, False),
        ({"field": "tracking_numbers", "op": "contains", "value": "T2"}, True),
        ({"field": "carrier", "op": "not_in", "value": ["UPS", "DPD"]}, True),
        ({"field": "line.shipped", "op": "lt", "value": 3}, False),
        ({"field": "at", "op": "le", "value": "2026-03-02T00:00:00Z"}, True),
        (True, True),
    ],
)
def test_a_condition_on_what_was_said_holds_or_does_not(ask, holds):
    """
    A test of lines holds if it does in every row; a test of what is absent is unknown, and so is its opposite.
    """
    fields = [
        {"at": "c", "field": "carrier"},
        {"at": "t", "field": "tracking_numbers", "split": "|"},
        {"at": "m", "field": "message"},
        {"at": "at", "field": "at"},
        {"at": "n", "field": "line.shipped"},
        {"at": "s", "field": "line.sku"},
    ]
    derive = [{"field": "status", "cases": [{"when": ask, "then": "shipped"}]}]
    one = layout("status", *fields, group="reference", derive=derive)

    (update,) = read(
        one, "ref,c,t,m,at,n,s\nA1,DHL,T1|T2,,2026-03-01T00:00:00Z,2,A\nA1,DHL,T1|T2,,2026-03-01T00:00:00Z,3,B\n"
    )

    assert (update.status is Status.SHIPPED) is holds


# ------------------------------------------------------------------ stock


def counters(**said: int | None) -> StockLevel:
    names = list(said)
    fields = [{"at": name, "field": name} for name in names]
    cells = ",".join("" if said[name] is None else str(said[name]) for name in names)
    (level,) = read(layout("stock", *fields), f"sku,{','.join(names)}\nMUG,{cells}\n")
    return level


@pytest.mark.parametrize(
    ("said", "on_hand", "reserved"),
    [
        ({"available": 7}, 7, None),
        ({"available": 7, "reserved": 3}, 10, 3),
        ({"available": 7, "on_hand": 10}, 10, 3),
        ({"on_hand": 10, "frozen": 4}, 10, 4),
        ({"on_hand": 10, "reserved": 3, "frozen": 4}, 10, 7),
        ({"available": 7, "frozen": 4}, 11, 4),
        ({"available": 7, "on_hand": 10, "reserved": 1}, 10, 3),
        ({"available": 9, "on_hand": 10, "reserved": 3}, 10, 3),
        ({"available": None, "on_hand": 10, "reserved": None}, 10, None),
        ({"available": None}, None, None),
        ({"available": -2}, -2, None),
    ],
)
def test_any_two_counters_give_the_third(said, on_hand, reserved):
    """
    Frozen units are reserved; where the counters do not agree, the lower number that may be promised counts.
    """
    level = counters(**said)

    assert (level.on_hand, level.reserved) == (on_hand, reserved)


def test_what_is_available_is_written_as_what_may_be_promised():
    """
    On hand less reserved; nothing where nothing is known.
    """
    one = layout("stock", {"at": "free", "field": "available"})

    assert row(one, StockLevel(sku="MUG", on_hand=10, reserved=3)) == "7"
    assert row(one, StockLevel(sku="MUG")) == ""


COLUMNS = [
    {"at": "leeds", "field": "on_hand", "location": "leeds"},
    {"at": "leeds held", "field": "reserved", "location": "leeds"},
    {"at": "york", "field": "available", "location": "york"},
]


def test_a_row_with_a_column_for_each_warehouse_is_several_levels():
    """
    Each location that says something has a level; a row that says nothing is one blank level.
    """
    levels = read(layout("stock", *COLUMNS), "sku,leeds,leeds held,york\nMUG,5,1,7\nCUP,,,0\nPOT,,,\n")

    assert levels == [
        StockLevel(sku="MUG", location="leeds", on_hand=5, reserved=1),
        StockLevel(sku="MUG", location="york", on_hand=7),
        StockLevel(sku="CUP", location="york", on_hand=0),
        StockLevel(sku="POT"),
    ]
    assert said(layout("stock", *COLUMNS), "sku,leeds,leeds held,york\nMUG,x,1,7\n") == [
        "line 2, column 2 (on_hand of leeds): expected digits, got 'x'"
    ]


def test_a_level_of_a_location_without_a_column_is_refused():
    """
    The message says which locations the layout has.
    """
    with pytest.raises(EncodeError, match="stock of MUG, location: expected one of leeds, york, got 'hull'"):
        layout("stock", *COLUMNS).encode([StockLevel(sku="MUG", location="hull", on_hand=1)])


@pytest.mark.parametrize(
    ("field", "source", "instant"),
    [
        (
            {"from": "file_name", "pattern": "%Y%m%d%H%M"},
            {"name": "STOCK_0042_202603020930.csv"},
            "2026-03-02T09:30:00+00:00",
        ),
        (
            {"from": "file_name", "pattern": ["%d-%m-%Y", "%Y%m%d"], "zone": "Europe/Berlin"},
            {"name": "bestand 20260302.txt"},
            "2026-03-01T23:00:00+00:00",
        ),
        (
            {"from": "file_name", "pattern": "%H%M-%d%m%y", "capture": "_([0-9]{4}-[0-9]{6})_"},
            {"name": "a_0930-020326_b.csv"},
            "2026-03-02T09:30:00+00:00",
        ),
        ({"from": "file_name", "pattern": "epoch"}, {"name": "inv-1772443800.csv"}, "2026-03-02T09:30:00+00:00"),
        (
            {"from": "modified_at"},
            {"modified_at": datetime(2026, 3, 2, 9, 30, tzinfo=UTC)},
            "2026-03-02T09:30:00+00:00",
        ),
        ({"from": "modified_at"}, {}, None),
        ({"from": "file_name", "pattern": "%Y%m%d"}, {}, None),
        ({"from": "file_name", "pattern": "%Y%m%d", "optional": True}, {"name": "stock.csv"}, None),
    ],
)
def test_the_time_of_a_picture_comes_from_the_file(field, source, instant):
    """
    From its name, or from the partner's server; nothing where there is none.
    """
    (level,) = read(layout("stock", {"field": "as_of", **field}), "sku\nMUG\n", **source)

    assert (level.as_of and level.as_of.isoformat()) == instant


def test_a_file_whose_name_does_not_say_its_time_is_refused():
    """
    Another time would be a guess, unless the layout says that it may be missing.
    """
    one = layout("stock", {"field": "as_of", "from": "file_name", "pattern": "%Y%m%d"})

    with pytest.raises(
        FormatError, match=r"file name \(as_of\): expected a date and time like %Y%m%d, got 'stock-20261399.csv'"
    ):
        one.read(b"sku\nMUG\n", name="stock-20261399.csv")


def test_a_text_is_found_in_the_name_of_a_file():
    """
    The group of an expression is the value, and goes through the field's own options.
    """
    one = layout("stock", {"field": "location", "from": "file_name", "capture": "^inv_([a-z]+)_", "case": "upper"})

    assert read(one, "sku\nMUG\n", name="inv_leeds_7.csv") == [StockLevel(sku="MUG", location="LEEDS")]


# ------------------------------------------------------------------ faults of a layout

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("stock", {"at": "x", "field": "on_hand", "pack": 1}, "$.fields[1].pack: expected at least 2"),
    ("stock", {"at": "x", "field": "on_hand", "unit": "kg"}, "$.fields[1].unit: does not fit a field of type integer"),
    (
        "orders",
        {"at": "x", "field": "line.weight_g", "unit": "stone"},
        "$.fields[3].unit: expected mg or g or dag or hg",
    ),
    ("orders", {"at": "x", "field": "total", "unit": {"factor": "0"}}, "$.fields[3].unit: expected units or cents, or"),
    ("orders", {"at": "x", "field": "total", "implied_decimals": 2, "places": 2}, "$.fields[3].implied_decimals"),
    ("stock", {"at": "x", "field": "as_of", "pattern": ["%Y-%m-%d", "%H"]}, "$.fields[1].pattern: expected a pattern"),
    ("stock", {"at": "x", "field": "as_of", "pivot": 50}, "$.fields[1].pivot: without a pattern of two-digit years"),
    ("stock", {"at": "x", "field": "location", "map": "yes-no"}, "$.fields[1].map: expected yes_no, got 'yes-no'"),
    ("stock", {"at": "x", "field": "on_hand", "map": "y_n"}, "$.fields[1].map: expected digits, got 'true'"),
    (
        "stock",
        {"at": "x", "field": "on_hand", "map": {"a": "1"}, "map_else": "b"},
        "$.fields[1].map_else: expected digits",
    ),
    ("stock", {"at": "x", "field": "on_hand", "map_else": "1"}, "$.fields[1].map_else: without map"),
    ("stock", {"at": "x", "field": "sku", "country": "de"}, "$.fields[1].country: does not fit a field of type text"),
    ("orders", {"at": "x", "field": "ship_to.country", "country": "xx"}, "$.fields[3].country: expected"),
    ("stock", {"at": "x", "field": "location", "with": "-"}, "$.fields[1].with: only where several fields or places"),
    ("stock", {"at": ["x", "y"], "field": "as_of"}, "$.fields[1].pattern: missing: expected how date and time"),
    (
        "stock",
        {"at": ["x", "y"], "field": "location", "constant": "a"},
        "$.fields[1].constant: does not go with several",
    ),
    (
        "orders",
        {"at": "x", "join_fields": ["ship_to.name", "ship_to.nme"]},
        "$.fields[3].join_fields[1]: unknown field: expected ship_to.name",
    ),
    (
        "orders",
        {"at": "x", "join_fields": ["ship_to.name", "notes"], "direction": "read"},
        "$.fields[3]: cannot be read",
    ),
    (
        "orders",
        {"at": "x", "join_fields": ["ship_to.name", "notes"], "capture": "(a)"},
        "$.fields[3].capture: expected a group for each of",
    ),
    ("orders", {"at": "x", "join_fields": ["ship_to.name", "notes"], "capture": "((a)"}, "$.fields[3].capture: "),
    ("orders", {"at": "x", "join_fields": ["ship_to.name", "tags"]}, "$.fields[3]: lists, statuses and joined lines"),
    (
        "orders",
        {"at": "x", "field": "notes", "join_fields": ["notes", "tags"]},
        "$.fields[3].field: has join_fields too",
    ),
    (
        "orders",
        {"at": ["x", "y"], "field": "notes", "wrap": True},
        "$.fields[3].wrap: needs several places and a max_length",
    ),
    ("stock", {"at": "x", "field": "as_of", "from": "modified_at"}, "$.fields[1].from: has a place, or a constant"),
    ("stock", {"field": "location", "from": "modified_at"}, "$.fields[1].from: is a date and time"),
    ("stock", {"field": "as_of", "from": "file_name"}, "$.fields[1].pattern: missing"),
    ("stock", {"field": "location", "from": "file_name", "capture": "a"}, "$.fields[1].capture: expected one group"),
    ("stock", {"at": "x", "field": "location", "capture": "(a)"}, "$.fields[1].capture: only with several fields"),
    ("stock", {"at": "x", "field": "sku", "location": "leeds"}, "$.fields[1].field: expected a counter of stock"),
    ("stock", {"at": "x", "field": "location", "carry_forward": True, "default": "a"}, "$.fields[1].carry_forward"),
    (
        "stock",
        {"at": "x", "cases": [{"when": True, "then": "a"}]},
        "$.fields[1].cases: only for layouts of kind orders",
    ),
    (
        "orders",
        {"at": "x", "cases": [{"when": {"field": "totl", "op": "exists"}}]},
        "$.fields[3].cases[0].when.field: unknown field",
    ),
    ("orders", {"at": "x", "when": True, "then": "a", "cases": [{"when": True}]}, "$.fields[3].when: has cases too"),
    ("orders", {"at": "x", "constant": "a", "else": "b"}, "$.fields[3].else: without when"),
]


@pytest.mark.parametrize(("kind", "field", "message"), BAD)
def test_a_field_that_makes_no_sense_is_refused_when_the_layout_is_loaded(kind, field, message):
    """
    The fault says where it stands and what was expected there.
    """
    assert message in faults(kind, field)


BAD_DERIVED: list[tuple[dict[str, Any], str]] = [
    ({"field": "statuz", "first_of": ["status", "message"]}, "$.derive[0].field: unknown field: expected status"),
    ({"field": "status"}, "$.derive[0]: expected one of cases, sum, difference, product, first_of"),
    (
        {"field": "line.short", "difference": ["line.orderd", "line.shipped"]},
        "$.derive[0].difference[0]: unknown field: expected line.ordered",
    ),
    ({"field": "status", "cases": [{"when": True, "then": "shiped"}]}, "$.derive[0].cases[0].then: expected shipped"),
    ({"field": "status", "cases": [{"when": True, "then": "shipped"}], "else": "done"}, "$.derive[0].else: expected"),
    (
        {"field": "status", "cases": [{"when": {"field": "total.x", "op": "exists"}, "then": "shipped"}]},
        "$.derive[0].cases[0].when.field: unknown field",
    ),
    (
        {
            "field": "status",
            "cases": [{"when": {"field": "line.shipped", "op": "gt", "value": "x"}, "then": "shipped"}],
        },
        "$.derive[0].cases[0].when.value: expected digits, got 'x'",
    ),
    (
        {
            "field": "status",
            "cases": [{"when": {"all": [{"not": {"field": "message", "op": "eq"}}]}, "then": "shipped"}],
        },
        "$.derive[0].cases[0].when.all[0].not: expected either value or than",
    ),
    (
        {"field": "status", "cases": [{"when": {"field": "message"}, "then": "shipped"}]},
        "$.derive[0].cases[0].when: expected one of all, any, not; or field and op",
    ),
    (
        {"field": "message", "sum": ["message", "event_id"]},
        "$.derive[0].field: expected a number, got 'message'",
    ),
    (
        {"field": "line.short", "sum": ["line.shipped", "message"]},
        "$.derive[0].sum[1]: expected a field of type integer, got 'message, which is text'",
    ),
    (
        {
            "field": "status",
            "cases": [{"when": {"field": "line.shipped", "op": "contains", "value": 1}, "then": "shipped"}],
        },
        "$.derive[0].cases[0].when.op: expected an operator that fits a field of type integer, got 'contains'",
    ),
    (
        {"field": "status", "cases": [{"when": {"field": "message", "op": "eq", "value": ["a"]}, "then": "shipped"}]},
        "$.derive[0].cases[0].when.op: expected in or not_in for several values, got 'eq'",
    ),
]


@pytest.mark.parametrize(("derived", "message"), BAD_DERIVED)
def test_what_cannot_follow_is_refused_when_the_layout_is_loaded(derived, message):
    """
    The fault says where it stands and what was expected there.
    """
    assert message in faults("status", derive=[derived])


def test_what_stands_aside_has_a_name_that_is_read():
    """
    A misspelt one is named with the right one; what is derived aside has the type that it says.
    """
    ask = {"field": "aside.finl", "op": "exists"}
    derive = [{"field": "status", "cases": [{"when": ask, "then": "shipped"}]}]
    assert "when.field: unknown field: expected aside.final, got 'aside.finl'" in faults(
        "status", {"at": "f", "field": "aside.final"}, derive=derive
    )

    numbers = [{"at": name, "field": f"aside.{name}", "type": "integer"} for name in ("a", "b")]
    total = {"field": "aside.all", "type": "integer", "sum": ["aside.a", "aside.b"]}
    many = {"when": {"field": "aside.all", "op": "gt", "value": 9}, "then": "1"}
    one = layout("stock", *numbers, derive=[total, {"field": "on_hand", "cases": [many], "else": "0"}])
    assert [level.on_hand for level in read(one, "sku,a,b\nMUG,4,5\nCUP,5,5\n")] == [0, 1]
    assert "$.derive[0].type: expected integer" in faults(
        "stock", derive=[{**total, "field": "on_hand", "type": "text"}]
    )


def test_without_fields_nothing_is_derived_or_left_out():
    """
    A layout of whole documents has no cells to ask.
    """
    derive = [{"field": "on_hand", "cases": [{"when": True, "then": "1"}]}]
    with pytest.raises(LayoutError) as caught:
        load_layout({"fcflow": "layout/1", "kind": "stock", "codec": {"type": "json_lines"}, "derive": derive})

    assert "$.derive: without fields" in str(caught.value)


def test_rows_anywhere_need_a_record_of_several_rows():
    """
    Where every row is a record of its own, nothing has to be put together.
    """
    assert "$.rows: only where a record has several rows" in faults("stock", rows="anywhere")
    assert "$.max_rows: only with rows anywhere" in faults("orders", max_rows=5)
