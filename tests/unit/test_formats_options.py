"""Every option of a layout and of a codec, one by one."""

from __future__ import annotations

import gc
import io
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from fcflow.errors import EncodeError, FormatError, MissingExtraError
from fcflow.formats import Layout, load_layout
from fcflow.model import (
    Address,
    Order,
    OrderLine,
    Payment,
    Shipment,
    ShippingLine,
    ShippingOrder,
    Status,
    StatusLine,
    StatusUpdate,
    StockLevel,
)


def stock(*fields: dict[str, Any], **codec: Any) -> Layout:
    """A stock layout with a SKU column and *fields*."""
    placed = [{"at": "sku", "field": "sku"}, *fields]
    codec = {"type": "delimited", "line_end": "lf", **codec}
    return load_layout({"fcflow": "layout/1", "kind": "stock", "codec": codec, "fields": placed})


def status(*fields: dict[str, Any], codec: dict[str, Any] | None = None, **more: Any) -> Layout:
    """A status layout with a reference column and *fields*."""
    codec = {"type": "delimited", "line_end": "lf", **(codec or {})}
    placed = [{"at": "ref", "field": "reference"}, *fields]
    return load_layout({"fcflow": "layout/1", "kind": "status", "codec": codec, "fields": placed, **more})


def orders(*fields: dict[str, Any], codec: dict[str, Any] | None = None, **more: Any) -> Layout:
    """A layout of shipping orders with an id, a SKU, a quantity and *fields*."""
    codec = {"type": "delimited", "line_end": "lf", **(codec or {})}
    placed = [
        {"at": "id", "field": "fulfilment_id"},
        {"at": "sku", "field": "line.sku"},
        {"at": "qty", "field": "line.quantity"},
        *fields,
    ]
    return load_layout({"fcflow": "layout/1", "kind": "orders", "codec": codec, "fields": placed, **more})


def shipping_order(*lines: ShippingLine, order: dict[str, Any] | None = None, **more: Any) -> ShippingOrder:
    lines = lines or (ShippingLine(line_id="1", sku="MUG", quantity=2),)
    bought = [OrderLine(line_id=line.line_id, sku=line.sku, quantity=line.quantity) for line in lines]
    whole = Order(order_id="A1", lines=bought, **(order or {}))
    return ShippingOrder(**{"fulfilment_id": "A1", "order": whole, "location": "leeds", "lines": lines, **more})


def values(layout: Layout, payload: str | bytes) -> list[Any]:
    """The records of a payload that has no problems."""
    records, problems = layout.read(payload if isinstance(payload, bytes) else payload.encode())
    assert problems == []
    return [record.value for record in records]


def said(layout: Layout, payload: str | bytes) -> list[str]:
    """The problems of a payload, as text."""
    return [str(problem) for problem in layout.read(payload if isinstance(payload, bytes) else payload.encode())[1]]


ON_HAND = {"at": "qty", "field": "on_hand"}
STATUS = {"at": "status", "field": "status"}
NOTES = {"at": "notes", "field": "notes"}
MUG_5 = [StockLevel(sku="MUG", on_hand=5)]


# ------------------------------------------------------------------ delimited


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_any_line_end_is_read(end):
    """
    CRLF, LF and CR all end a line.
    """
    assert values(stock(ON_HAND), f"sku,qty{end}MUG,5{end}") == MUG_5


@pytest.mark.parametrize(("name", "end"), [("crlf", b"\r\n"), ("lf", b"\n"), ("cr", b"\r")])
def test_the_line_end_is_written_as_asked(name, end):
    """
    Every line written ends as the codec says.
    """
    assert stock(ON_HAND, line_end=name).encode(MUG_5) == b"sku,qty" + end + b"MUG,5" + end


def test_blank_lines_and_comments_are_skipped():
    """
    Blank lines, lines of delimiters and comments are no records; a comment sign inside quotes is text.
    """
    layout = status({"at": "note", "field": "message"}, codec={"comment": "#"})

    found = values(layout, '# made by WMS\nref,note\n\n  \n,,\nA1,"one\n# two"\n#A2,x\nA3,y\n')

    assert [(update.reference, update.message) for update in found] == [("A1", "one\n# two"), ("A3", "y")]


def test_lines_are_counted_through_quoted_breaks_and_comments():
    """
    A record knows the line on which it begins, whatever came before it.
    """
    layout = status({"at": "note", "field": "message"}, codec={"comment": "#"})

    records, _ = layout.read(b'ref,note\nA1,"one\ntwo"\n# three\n\nA2,x\n')

    assert [record.line for record in records] == [2, 6]


def test_a_header_is_matched_without_case_when_asked():
    """
    Case in headers counts unless the codec says otherwise.
    """
    assert values(stock(ON_HAND, header_ignore_case=True), "SKU,Qty\nMUG,5\n") == MUG_5
    with pytest.raises(FormatError, match="header: expected column 'sku', got 'SKU'"):
        stock(ON_HAND).read(b"SKU,Qty\nMUG,5\n")


def test_a_missing_column_is_named_with_the_nearest_one():
    """
    A mapped column that is not there refuses the payload, naming every one that is missing.
    """
    with pytest.raises(FormatError) as caught:
        stock(ON_HAND, {"at": "reserved", "field": "reserved"}).read(b"sku,qyt\nMUG,5\n")

    assert str(caught.value) == "header: expected column 'qty', got 'qyt'; expected column 'reserved', got 'sku', 'qyt'"

    with pytest.raises(FormatError) as caught:
        stock(ON_HAND, {"at": "reserved", "field": "reserved"}).read(b"{\n}\n")

    assert str(caught.value) == "header: expected columns 'sku', 'qty', 'reserved', got '{'"


def test_an_optional_column_may_be_missing():
    """
    Without its optional column a payload is read as if every cell of it were empty.
    """
    layout = stock(ON_HAND, {"at": "reserved", "field": "reserved", "optional": True})

    assert values(layout, "sku,qty\nMUG,5\n") == MUG_5


def test_a_mapped_column_that_stands_twice_is_ambiguous():
    """
    Two columns of the mapped name refuse the payload; two of another name do not matter.
    """
    assert values(stock(ON_HAND), "sku,qty,x,x\nMUG,5,,\n") == MUG_5
    with pytest.raises(FormatError, match="column 'qty' once, got it 2 times"):
        stock(ON_HAND).read(b"sku,qty,qty\nMUG,5,6\n")


def test_positions_stand_for_columns_where_there_is_no_header():
    """
    Without a header, places are positions from 1; gaps are written empty.
    """
    fields = [{"at": 3, "field": "on_hand"}, {"at": 1, "field": "sku"}]
    codec = {"type": "delimited", "header": False, "line_end": "lf"}
    layout = load_layout({"fcflow": "layout/1", "kind": "stock", "codec": codec, "fields": fields})

    assert values(layout, "MUG,ignored,5,more\n") == MUG_5
    assert layout.encode(MUG_5) == b"MUG,,5\n"
    assert said(layout, "MUG,5\n") == ["line 1: 2 columns, expected 3 columns"]


def test_a_row_of_another_length_is_a_problem():
    """
    Too few cells, or more of them than headers with something in them, are reported; empty ones at the end are not.
    """
    payload = "sku,qty\nMUG\nMUG,5,6\nMUG,5,,\n"

    assert said(stock(ON_HAND), payload) == [
        "line 2: 1 columns, expected 2 columns",
        "line 3: 3 columns, expected 2 columns",
    ]
    assert [record.value for record in stock(ON_HAND).read(payload.encode())[0]] == MUG_5
    assert values(stock(ON_HAND, short_rows="pad"), "sku,qty\nMUG\n") == [StockLevel(sku="MUG")]


def test_quotes_that_do_not_pair_up_spoil_their_row_only():
    """
    Text after a closing quote is a problem of that row; the next row is read.
    """
    layout = stock(ON_HAND)

    assert said(layout, 'sku,qty\n"5" pipe",1\nMUG,5\n') == [
        "line 2: quotes do not pair up, expected a delimiter after a quoted cell"
    ]


def test_a_quote_that_is_never_closed_refuses_the_payload():
    """
    What follows an open quote cannot be told apart, so nothing is used.
    """
    with pytest.raises(FormatError, match="line 3: expected a closing quote, got the end of the file"):
        stock(ON_HAND).read(b'sku,qty\nMUG,5\n"SOFA,6\nLAMP,7\n')


def test_an_escape_stands_before_a_quote():
    """
    With an escape sign, quotes are escaped instead of doubled, in both directions.
    """
    layout = status({"at": "note", "field": "message"}, codec={"escape": "\\"})
    update = StatusUpdate(reference="A1", message='say "hi" \\ bye')

    assert layout.encode([update]) == b'ref,note\nA1,"say \\"hi\\" \\\\ bye"\n'
    assert values(layout, layout.encode([update])) == [update]


def test_without_quotes_a_delimiter_inside_a_text_is_refused_or_replaced():
    """
    A format without quotes cannot hold its delimiter: the order is named, or the sign is replaced where asked.
    """
    update = StatusUpdate(reference="A1", message="a;b")
    note = {"at": "note", "field": "message"}
    bare = {"delimiter": ";", "quote": None}

    with pytest.raises(EncodeError, match=r"status of A1, 'note' \(message\): expected text without the delimiter ';'"):
        status(note, codec=bare).encode([update])
    assert status(note, codec={**bare, "replace_delimiter": ","}).encode([update]) == b"ref;note\nA1;a,b\n"


def test_all_cells_are_quoted_when_asked():
    """
    ``quote_all`` encloses every cell, also in the header.
    """
    assert stock(ON_HAND, quote_all=True).encode(MUG_5) == b'"sku","qty"\n"MUG","5"\n'


def test_lines_before_the_header_are_skipped():
    """
    ``skip_lines`` leaves out what a partner writes above its table.
    """
    assert values(stock(ON_HAND, skip_lines=2), "Stock report\n2026-03-02\nsku,qty\nMUG,5\n") == MUG_5


def test_a_trailer_must_be_there_and_its_totals_must_hold():
    """
    A file that was cut off, or whose totals do not hold, is refused as a whole.
    """
    trailer = {"equals": "TOTAL", "count_at": 2, "sum_at": 3, "sum_of": 2}
    layout = stock(ON_HAND, trailer=trailer)

    assert layout.encode([*MUG_5, StockLevel(sku="SOFA", on_hand=7)]) == b"sku,qty\nMUG,5\nSOFA,7\nTOTAL,2,12\n"
    assert values(layout, "sku,qty,x\nMUG,5,\nTOTAL,1,5\n") == MUG_5
    for bad, message in {
        "sku,qty,x\nMUG,5,\n": "expected a trailer 'TOTAL', got the end of the file",
        "sku,qty,x\nMUG,5,\nTOTAL,2,5\n": "line 3, column 2: the trailer says '2' rows, got 1",
        "sku,qty,x\nMUG,5,\nTOTAL,1,6\n": "line 3, column 3: the trailer says '6' in all, got 5",
        "sku,qty,x\nTOTAL,0,0\nMUG,5,\n": "expected nothing after the trailer, got a row",
    }.items():
        with pytest.raises(FormatError, match=message):
            layout.read(bad.encode())


# ------------------------------------------------------------------ encodings and hostile input


def test_a_letter_that_the_encoding_lacks_is_refused_or_replaced():
    """
    An order whose text does not fit the encoding is named with its field; replacing writes the nearest letters.
    """
    order = shipping_order(notes="Łódź – Straße")

    with pytest.raises(EncodeError) as caught:
        orders(NOTES, codec={"encoding": "ascii"}).encode([order])
    layout = orders(NOTES, codec={"encoding": "ascii", "if_unencodable": "replace"})

    assert str(caught.value).startswith("order A1, 'notes' (notes): expected text that ascii can hold, got 'Ł'")
    assert layout.encode([order]) == b"id,sku,qty,notes\nA1,MUG,2,Lodz - Strasse\n"
    assert layout.project(order).notes == "Lodz - Strasse"


@pytest.mark.parametrize(
    ("way", "encoding", "written"),
    [
        ("replace", "ascii", 'Zoe Muller, "?????"'),
        ("german", "ascii", 'Zoe Mueller, "?????"'),
        ("german", "latin-1", 'Zoë Müller, "?????"'),
        ("transliterate", "ascii", 'Zoe Muller, "Athina"'),
        ("transliterate", "iso-8859-7", 'Zoe Muller, "Αθήνα"'),
    ],
)
def test_the_nearest_letters_are_those_that_the_layout_asks_for(way, encoding, written):
    """
    Marks go, ä becomes ae where that is asked, other scripts become Latin letters with the extra for it.
    """
    layout = orders(NOTES, codec={"encoding": encoding, "if_unencodable": way, "delimiter": ";", "quote": None})

    payload = layout.encode([shipping_order(notes="Zoë Müller, „Αθήνα“")])

    assert payload.decode(encoding) == f"id;sku;qty;notes\nA1;MUG;2;{written}\n"


def test_without_its_extra_a_layout_that_transliterates_is_not_loaded(monkeypatch):
    """
    The message says what to install.
    """
    monkeypatch.setitem(sys.modules, "anyascii", None)

    with pytest.raises(MissingExtraError, match="anyascii is not installed"):
        orders(NOTES, codec={"if_unencodable": "transliterate"})


def test_bytes_of_another_encoding_spoil_their_row_only():
    """
    A byte that is no text in the layout's encoding is reported with its line; other rows are read.
    """
    layout = stock(ON_HAND)

    assert said(layout, b"sku,qty\nM\xfcG,5\nMUG,5\n") == ["line 2: expected text in utf-8, got 'byte 0xFC'"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_believed(encoding):
    """
    A payload that begins with a mark is read as the mark says, whatever the layout says.
    """
    payload = "sku,qty\nMÜG,5\n".encode(encoding)

    assert values(stock(ON_HAND, encoding="cp1252"), payload) == [StockLevel(sku="MÜG", on_hand=5)]


def test_a_mark_is_written_when_asked():
    """
    ``bom`` writes one mark, before the first cell.
    """
    assert stock(ON_HAND, bom=True).encode(MUG_5).startswith(b"\xef\xbb\xbfsku")
    assert stock(ON_HAND, encoding="utf-16").encode(MUG_5).startswith(b"\xff\xfes")


@pytest.mark.parametrize("sign", ["\0", "\x07", "\x1b", "\x7f"])
def test_a_control_character_is_a_problem_of_its_row(sign):
    """
    NUL and its kind are never taken in.
    """
    payload = f"sku,qty\nM{sign}UG,5\nSOFA,5\n"

    assert said(stock(ON_HAND), payload) == [f"line 2: expected text without control characters, got {sign!r}"]


def test_a_control_character_is_written_as_a_blank():
    """
    What nobody means does not keep an order from leaving.
    """
    assert b"A1,MUG,2,a b" in orders(NOTES).encode([shipping_order(notes="a\x0bb")])


def test_a_giant_line_refuses_the_payload():
    """
    A line over the cap is refused before it is held in memory as a whole.
    """
    with pytest.raises(FormatError, match="line 2: expected at most 1000 characters, got more"):
        stock(ON_HAND, max_line=1000).read(b"sku,qty\n" + b"x" * 5000)
    with pytest.raises(FormatError, match="line 2: expected a closing quote within 1000 characters"):
        stock(ON_HAND, max_line=1000).read(b'sku,qty\n"' + b"x\n" * 5000)


def test_a_giant_cell_refuses_the_payload():
    """
    A cell that the csv module does not take is a format error, not an error of that module.
    """
    with pytest.raises(FormatError, match="line 2: expected cells of at most"):
        stock(ON_HAND).read(b"sku,qty\n" + b"x" * 200_000 + b",5\n")


def test_formulas_are_guarded_when_asked():
    """
    A text that a spreadsheet would run gets an apostrophe, which is taken off again; numbers are not touched.
    """
    layout = orders(NOTES, {"at": "price", "field": "line.unit_price"}, guard_formulas=True)
    line = ShippingLine(line_id="1", sku="MUG", quantity=1, unit_price=Decimal("-1.50"))
    payload = layout.encode([shipping_order(line, notes="=cmd|x")])

    assert payload == b"id,sku,qty,notes,price\nA1,MUG,1,'=cmd|x,-1.50\n"
    assert values(layout, payload)[0].notes == "=cmd|x"


def test_an_empty_payload_holds_nothing():
    """
    Neither an empty file nor a lone header is an error or a record.
    """
    for payload in (b"", b"\n\n", b"sku,qty\n"):
        assert stock(ON_HAND).read(payload) == ([], [])


@pytest.mark.parametrize("whole", [True, False])
def test_the_stream_stays_open(whole, tmp_path):
    """
    A stream belongs to whoever opened it, read to its end or left early.
    """
    path = tmp_path / "stock.csv"
    path.write_bytes(b"sku,qty\nMUG,5\nSOFA,6\n")
    for stream in (io.BytesIO(path.read_bytes()), path.open("rb")):
        items = stock(ON_HAND).decode(stream)
        next(items)
        assert len(list(items)) == 1 if whole else items is not None
        del items
        gc.collect()
        assert not stream.closed
        stream.close()


# ------------------------------------------------------------------ fields


@pytest.mark.parametrize(
    ("options", "text", "amount"),
    [
        ({}, "7.50", "7.50"),
        ({}, "7", "7"),
        ({}, ".5", "0.5"),
        ({}, "-1234.5", "-1234.5"),
        ({"decimal": ","}, "7,50", "7.50"),
        ({"decimal": ",", "thousands": "."}, "1.234.567,89", "1234567.89"),
        ({"thousands": ","}, "1,234", "1234"),
        ({"unit": "cents"}, "750", "7.50"),
    ],
)
def test_amounts_are_read_as_they_are_spelt(options, text, amount):
    """
    Decimal mark, thousands mark and unit are the field's.
    """
    layout = orders({"at": "total", "field": "total", **options}, codec={"delimiter": "\t"})

    assert values(layout, f"id\tsku\tqty\ttotal\nA1\tMUG\t1\t{text}\n")[0].order.total == Decimal(amount)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "7,50"),
        ({}, "£7.50"),
        ({}, "1e3"),
        ({}, "NaN"),
        ({}, "٣"),
        ({"decimal": ","}, "7.50"),
        ({"decimal": ",", "thousands": "."}, "7.50"),
        ({"decimal": ",", "thousands": "."}, "12.34.567"),
        ({}, "9" * 50),
    ],
)
def test_an_amount_that_could_mean_something_else_is_a_problem(options, text):
    """
    Nothing is guessed: a number spelt another way is reported.
    """
    layout = orders({"at": "total", "field": "total", **options}, codec={"delimiter": "\t"})

    problems = said(layout, f"id\tsku\tqty\ttotal\nA1\tMUG\t1\t{text}\n")

    assert problems == [
        f"line 2, column 4 (total): expected an amount such as 7{options.get('decimal', '.')}50, got {text!r}"
    ]


@pytest.mark.parametrize(
    ("options", "amount", "text"),
    [
        ({}, "7.5", "7.50"),
        ({}, "7.125", "7.125"),
        ({}, "-0", "0.00"),
        ({"places": 3}, "7.5", "7.500"),
        ({"places": 0}, "7.00", "7"),
        ({"decimal": ",", "thousands": "."}, "1234567.8", "1.234.567,80"),
        ({"thousands": ","}, "-1234", "-1,234.00"),
        ({"unit": "cents"}, "7.5", "750"),
    ],
)
def test_amounts_are_written_as_asked(options, amount, text):
    """
    At least two decimals, or exactly as many as the field says; equal amounts are written alike.
    """
    layout = orders({"at": "total", "field": "total", **options}, codec={"delimiter": "\t"})

    payload = layout.encode([shipping_order(order={"total": amount, "currency": "GBP"})])

    assert payload.decode().splitlines()[1].split("\t")[3] == text


@pytest.mark.parametrize(("options", "amount"), [({"places": 1}, "7.25"), ({"unit": "cents"}, "7.125")])
def test_an_amount_is_never_rounded(options, amount):
    """
    Money that does not fit the field is refused.
    """
    layout = orders({"at": "total", "field": "total", **options})

    with pytest.raises(EncodeError, match=r"order A1, 'total' \(total\): expected"):
        layout.encode([shipping_order(order={"total": amount})])


@pytest.mark.parametrize(
    ("unit", "text", "grams"), [("g", "250", 250), ("kg", "0.25", 250), ("lb", "1", 454), ("oz", "8", 227)]
)
def test_weights_are_grams_in_any_unit(unit, text, grams):
    """
    A weight is read to the nearest gram.
    """
    layout = orders({"at": "w", "field": "line.weight_g", "unit": unit})

    assert values(layout, f"id,sku,qty,w\nA1,MUG,1,{text}\n")[0].lines[0].weight_g == grams
    line = ShippingLine(line_id="1", sku="MUG", quantity=1, weight_g=grams)
    assert layout.project(shipping_order(line)).lines[0].weight_g == grams


@pytest.mark.parametrize(("text", "quantity"), [("5", 5), ("5.0", 5), ("-3", -3), (" 7 ", 7), ("", None)])
def test_whole_numbers(text, quantity):
    """
    Zeros behind the point do no harm; a blank is nothing.
    """
    assert values(stock(ON_HAND), f"sku,qty\nMUG,{text}\n") == [StockLevel(sku="MUG", on_hand=quantity)]


@pytest.mark.parametrize("text", ["two", "5.5", "0x10", "1_000", "1e3", "9" * 30])
def test_what_is_no_whole_number_is_a_problem(text):
    """
    Half a unit, words and other notations are reported with line and column.
    """
    (problem,) = said(stock(ON_HAND), f"sku,qty\nMUG,{text}\n")

    assert problem.startswith("line 2, column 2 (on_hand): expected ")


def test_dates_are_read_in_their_zone():
    """
    A date without an offset is in the field's zone, summer time or not, and held in UTC.
    """
    layout = status({"at": "at", "field": "at", "pattern": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"})

    summer, winter = values(layout, "ref,at\nA1,01.07.2026 12:00\nA2,01.12.2026 12:00\n")

    assert summer.at == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert winter.at == datetime(2026, 12, 1, 11, tzinfo=UTC)
    assert layout.encode([summer]) == b"ref,at\nA1,01.07.2026 12:00\n"


def test_a_date_that_does_not_fit_its_pattern_is_a_problem():
    """
    The pattern is named, so that the partner can be told.
    """
    layout = status({"at": "at", "field": "at", "pattern": "%d.%m.%Y"})

    assert said(layout, "ref,at\nA1,2026-03-02\n") == [
        "line 2, column 2 (at): expected a date and time like %d.%m.%Y, got '2026-03-02'"
    ]


def test_defaults_spell_every_field_that_says_nothing():
    """
    What the layout says of all fields, a field may still say otherwise.
    """
    layout = orders(
        {"at": "total", "field": "total"},
        {"at": "postage", "field": "postage", "decimal": "."},
        codec={"delimiter": ";"},
        defaults={"decimal": ",", "empty": ["-"]},
    )

    found = values(layout, "id;sku;qty;total;postage\nA1;MUG;1;7,50;-\n")[0].order

    assert (found.total, found.postage) == (Decimal("7.50"), None)


def test_words_are_mapped_both_ways():
    """
    The partner's word becomes ours, and ours the first of theirs.
    """
    words = {"PD": "paid", "OK": "paid", "NO": "unpaid", "??": None}
    layout = orders({"at": "pay", "field": "payment", "map": words, "ignore_case": True})

    found = values(layout, "id,sku,qty,pay\nA1,MUG,1,ok\nA2,MUG,1,??\nA3,MUG,1,refunded\n")

    assert [each.order.payment for each in found] == [Payment.PAID, None, Payment.REFUNDED]
    assert layout.encode([shipping_order(order={"payment": "paid"})]).endswith(b"A1,MUG,2,PD\n")


def test_a_word_that_is_not_mapped_can_be_refused():
    """
    ``unmapped`` refuse reports the word on reading and names the order on writing.
    """
    layout = orders({"at": "svc", "field": "shipping_service", "map": {"24": "next day"}, "unmapped": "refuse"})

    assert said(layout, "id,sku,qty,svc\nA1,MUG,1,48\n") == [
        "line 2, column 4 (shipping_service): expected one of 24, got '48'"
    ]
    with pytest.raises(EncodeError, match="expected one of next day, got 'slow'"):
        layout.encode([shipping_order(shipping_service="slow")])


def test_empty_words_mean_nothing():
    """
    What the partner writes for nothing is nothing.
    """
    layout = status({"at": "nr", "field": "tracking_numbers", "split": "|", "empty": ["N/A"], "ignore_case": True})

    found = values(layout, "ref,nr\nA1,n/a\nA2,X1|n/a|X2\n")

    assert [each.shipments for each in found] == [(), (Shipment(tracking_numbers=("X1", "X2")),)]


def test_default_fills_in_both_directions():
    """
    An empty cell reads as the default, an absent value is written as it.
    """
    layout = orders({"at": "svc", "field": "shipping_service", "default": "standard"})

    assert values(layout, "id,sku,qty,svc\nA1,MUG,1,\n")[0].shipping_service == "standard"
    assert layout.encode([shipping_order()]).endswith(b"A1,MUG,2,standard\n")


def test_required_is_required_in_both_directions():
    """
    An empty cell is a problem, an absent value names its order.
    """
    layout = orders({"at": "zip", "field": "ship_to.postcode", "required": True})

    assert "line 2, column 4 (ship_to.postcode): expected something here, got ''" in said(
        layout, "id,sku,qty,zip\nA1,MUG,1,\n"
    )
    with pytest.raises(EncodeError, match=r"order A1, 'zip' \(ship_to.postcode\): expected something, got nothing"):
        layout.encode([shipping_order()])


def test_constants_are_written_and_believed():
    """
    A constant with a place is always written, one with a field is what the field is taken to be.
    """
    written = orders({"at": "client", "constant": "ACME"})
    believed = status({"field": "status", "constant": "SHIPPED"}, {"field": "carrier", "constant": "DPD"})

    assert written.encode([shipping_order()]) == b"id,sku,qty,client\nA1,MUG,2,ACME\n"
    assert values(believed, "ref\nA1\n") == [
        StatusUpdate(reference="A1", raw_status="SHIPPED", shipments=(Shipment(carrier="DPD"),))
    ]


def test_a_prefix_is_taken_off():
    """
    An apostrophe that a spreadsheet left before a postcode is not part of it.
    """
    layout = orders({"at": "zip", "field": "ship_to.postcode", "strip_prefix": "'"})

    assert values(layout, "id,sku,qty,zip\nA1,MUG,1,'01067\n")[0].order.ship_to.postcode == "01067"


def test_a_text_that_is_too_long_is_refused_or_cut_off():
    """
    The partner's limit names the order, or cuts the text where the field says so.
    """
    order = shipping_order(order={"ship_to": Address(name="Bartholomew Featherstone")})
    name = {"at": "name", "field": "ship_to.name", "max_length": 11}

    with pytest.raises(EncodeError, match="expected at most 11 characters, got 24 in 'Bartholomew Featherstone'"):
        orders(name).encode([order])
    assert orders({**name, "if_too_long": "truncate"}).encode([order]).endswith(b"A1,MUG,2,Bartholomew\n")


def test_one_place_may_feed_two_fields():
    """
    Two fields may be read from one column; only one of them is written to it.
    """
    layout = orders({"at": "id", "field": "reference", "direction": "read"})

    assert values(layout, "id,sku,qty\nA1,MUG,1\n")[0].order.reference == "A1"
    assert layout.encode([shipping_order(order={"reference": "other"})]) == b"id,sku,qty\nA1,MUG,2\n"


def test_one_field_may_fill_two_places():
    """
    A field that is written to two columns is read from the first.
    """
    layout = orders({"at": "again", "field": "fulfilment_id"})

    assert layout.encode([shipping_order()]) == b"id,sku,qty,again\nA1,MUG,2,A1\n"
    assert values(layout, "id,sku,qty,again\nA1,MUG,1,other\n")[0].fulfilment_id == "A1"


def test_conditions_choose_what_is_written():
    """
    A condition of the rule language on the order picks one text or the other.
    """
    domestic = {"field": "ship_to.country", "op": "eq", "value": "GB"}
    layout = orders(
        {"at": "type", "when": domestic, "then": "DOM", "else": "INT"},
        {"at": "phone", "field": "ship_to.phone", "when": {"not": domestic}},
    )
    home = shipping_order(order={"ship_to": Address(country="GB", phone="1")})
    away = shipping_order(order={"ship_to": Address(country="FR", phone="2")})

    assert layout.encode([home, away]) == b"id,sku,qty,type,phone\nA1,MUG,2,DOM,\nA1,MUG,2,INT,2\n"


def test_conditions_may_ask_of_the_line():
    """
    Where every line has a row, a condition may ask of that line.
    """
    heavy = {"field": "line.weight_g", "op": "ge", "value": 1000}
    layout = orders({"at": "handling", "when": heavy, "then": "HEAVY"})
    lines = [ShippingLine(line_id=str(n), sku=f"S{n}", quantity=1, weight_g=n * 900) for n in (1, 2)]

    assert layout.encode([shipping_order(*lines)]) == b"id,sku,qty,handling\nA1,S1,1,\nA1,S2,1,HEAVY\n"


# ------------------------------------------------------------------ orders


def test_one_row_for_each_order_joins_its_lines():
    """
    With a row an order, the fields of its lines stand joined in one cell, and come apart again.
    """
    fields = [
        {"at": "id", "field": "fulfilment_id"},
        {"at": "skus", "field": "line.sku", "join": "|"},
        {"at": "qtys", "field": "line.quantity", "join": "|"},
    ]
    codec = {"type": "delimited", "line_end": "lf"}
    layout = load_layout(
        {"fcflow": "layout/1", "kind": "orders", "codec": codec, "one_row_per": "order", "fields": fields}
    )
    order = shipping_order(
        ShippingLine(line_id="1", sku="MUG", quantity=2), ShippingLine(line_id="2", sku="SOFA", quantity=1)
    )

    assert layout.encode([order]) == b"id,skus,qtys\nA1,MUG|SOFA,2|1\n"
    assert [(line.sku, line.quantity) for line in values(layout, layout.encode([order]))[0].lines] == [
        ("MUG", 2),
        ("SOFA", 1),
    ]
    assert said(layout, "id,skus,qtys\nA1,MUG|SOFA,2\n")[0].startswith("line 2, column")


def test_the_partners_sku_falls_back_to_ours():
    """
    ``line.partner_sku`` writes the alias, and our SKU where there is none; ``line.sku`` always ours.
    """
    layout = orders({"at": "theirs", "field": "line.partner_sku"})
    lines = [
        ShippingLine(line_id="1", sku="MUG", quantity=1, partner_sku="4711"),
        ShippingLine(line_id="2", sku="SOFA", quantity=1),
    ]

    assert layout.encode([shipping_order(*lines)]) == b"id,sku,qty,theirs\nA1,MUG,1,4711\nA1,SOFA,1,SOFA\n"


def test_rows_of_an_order_must_agree():
    """
    Two rows that say different things of one order are a problem, and the order is not read.
    """
    layout = orders({"at": "town", "field": "ship_to.town"})

    assert said(layout, "id,sku,qty,town\nA1,MUG,1,Leeds\nA1,SOFA,1,Corby\nA2,MUG,1,York\n") == [
        "line 2, column 4 (ship_to.town): expected the same in every row of the order, Leeds, got 'Corby'"
    ]


def test_rows_of_an_order_must_stand_together():
    """
    Rows of an order that turn up again later are reported, as the order was given out already.
    """
    problems = said(orders(), "id,sku,qty\nA1,MUG,1\nA2,MUG,1\nA1,SOFA,1\n")

    assert problems == [
        "line 4: its rows do not stand together; it was read before, expected rows of an order together, got 'A1'"
    ]


def test_an_order_next_to_a_broken_row_is_not_used():
    """
    A row that cannot be told to belong to an order harms the orders on both sides of it, and no other.
    """
    records, problems = orders().read(b"id,sku,qty\nA1,MUG,1\nA2,MUG,1\nA2,SOFA\nA3,MUG,1\nA4,MUG,1\n")

    assert [record.value.fulfilment_id for record in records] == ["A1", "A4"]
    assert [problem.line for problem in problems] == [4, 3, 5]


def test_a_bad_line_spoils_its_order():
    """
    An order one of whose lines cannot be read is not read at all; every fault of it is reported.
    """
    records, problems = orders().read(b"id,sku,qty\nA1,MUG,1\nA1,,two\nA2,MUG,1\n")

    assert [record.value.fulfilment_id for record in records] == ["A2"]
    assert [str(problem) for problem in problems] == ["line 3, column 3 (line.quantity): expected digits, got 'two'"]


def test_derived_fields_are_written():
    """
    Counts and weights that follow from the lines can be written; they are not read back.
    """
    layout = orders(
        {"at": "lines", "field": "line_count"},
        {"at": "units", "field": "total_quantity"},
        {"at": "kg", "field": "total_weight_g", "unit": "kg"},
        {"at": "n", "field": "line.number"},
    )
    lines = [ShippingLine(line_id=n, sku=n, quantity=2, weight_g=300) for n in ("a", "b")]

    assert layout.encode([shipping_order(*lines)]).decode().splitlines()[1:] == [
        "A1,a,2,2,4,1.2,1",
        "A1,b,2,2,4,1.2,2",
    ]


def test_an_order_of_the_wrong_kind_cannot_be_written():
    """
    Handing over another value than the layout writes is named.
    """
    with pytest.raises(EncodeError, match="expected ShippingOrder, got Order"):
        orders().encode([shipping_order().order])


# ------------------------------------------------------------------ status


def test_a_word_that_is_not_known_is_kept():
    """
    An unmapped word gives no status; the word itself is kept for the partner's own list.
    """
    layout = status({**STATUS, "map": {"versandt": "shipped"}, "ignore_case": True})

    found = values(layout, "ref,status\nA1,VERSANDT\nA2,verloren\n")

    assert [(each.status, each.raw_status) for each in found] == [(Status.SHIPPED, "VERSANDT"), (None, "verloren")]


def test_a_status_is_written_in_the_partners_word():
    """
    The word that was read is written back; without one, the first that means the status.
    """
    layout = status({**STATUS, "map": {"versandt": "shipped", "raus": "shipped"}})

    assert layout.encode([StatusUpdate(reference="A1", status="shipped")]) == b"ref,status\nA1,versandt\n"
    assert (
        layout.encode([StatusUpdate(reference="A1", status="shipped", raw_status="raus")]) == b"ref,status\nA1,raus\n"
    )


def test_lines_and_parcels_of_a_status():
    """
    Line columns make a status line, parcel columns a shipment that holds it.
    """
    layout = status(
        STATUS,
        {"at": "nr", "field": "tracking_numbers"},
        {"at": "sku", "field": "line.sku"},
        {"at": "sent", "field": "line.shipped"},
    )

    (update,) = values(layout, "ref,status,nr,sku,sent\nA1,part,X1,MUG,2\n")

    assert update.lines == (StatusLine(sku="MUG", shipped=2),)
    assert update.shipments == (Shipment(tracking_numbers=("X1",), lines=(StatusLine(sku="MUG", shipped=2),)),)


def test_rows_of_one_reference_are_grouped_only_when_asked():
    """
    By default every row is an update; grouped, neighbours with the same reference and status are one.
    """
    fields = (STATUS, {"at": "nr", "field": "tracking_numbers"}, {"at": "sku", "field": "line.sku"})
    fields += ({"at": "sent", "field": "line.shipped"},)
    payload = "ref,status,nr,sku,sent\nA1,out,X1,MUG,1\nA1,out,X2,MUG,1\nA1,out,X2,SOFA,1\nA1,void,,LAMP,\n"

    grouped = values(status(*fields, group="reference"), payload)

    assert len(values(status(*fields), payload)) == 4
    assert [each.raw_status for each in grouped] == ["out", "void"]
    assert grouped[0].lines == (StatusLine(sku="MUG", shipped=2), StatusLine(sku="SOFA", shipped=1))
    assert [(each.tracking_numbers, len(each.lines)) for each in grouped[0].shipments] == [(("X1",), 1), (("X2",), 2)]


def test_a_bad_row_does_not_spoil_its_neighbours_in_a_status_file():
    """
    Statuses are facts by themselves: grouped or not, the good rows count.
    """
    layout = status(STATUS, {"at": "sent", "field": "line.shipped"}, group="reference")

    records, problems = layout.read(b"ref,status,sent\nA1,out,1\nA1,out,many\nA2,out,1\n,out,1\n")

    assert [record.value.reference for record in records] == ["A1", "A2"]
    assert [(problem.line, problem.field) for problem in problems] == [(3, "line.shipped"), (5, "reference")]


# ------------------------------------------------------------------ fixed width


def fixed_stock(**codec: Any) -> Layout:
    fields = [
        {"at": 1, "width": 6, "field": "sku"},
        {"at": 8, "width": 5, "field": "on_hand", "pad": "0"},
    ]
    codec = {"type": "fixed_width", "line_end": "lf", **codec}
    return load_layout({"fcflow": "layout/1", "kind": "stock", "codec": codec, "fields": fields})


def test_fixed_width_fills_and_strips():
    """
    Texts stand left, numbers right, filled up as the field says; zeros of a number are stripped, those of a SKU stay.
    """
    levels = [StockLevel(sku="0042", on_hand=7), StockLevel(sku="MUG", on_hand=0), StockLevel(sku="X", on_hand=-3)]

    assert fixed_stock().encode(levels) == b"0042   00007\nMUG    00000\nX      -0003\n"
    assert values(fixed_stock(), fixed_stock().encode(levels)) == levels


def test_a_short_line_lacks_what_is_missing():
    """
    Blanks at the end that were cut off are blanks; a line must be whole only where the codec says so.
    """
    assert values(fixed_stock(), "MUG\n") == [StockLevel(sku="MUG")]
    assert said(fixed_stock(exact_length=True), "MUG\n") == ["line 1: 3 characters, expected 12 characters"]


def test_a_line_that_is_too_long_is_a_problem():
    """
    Text behind the last field means that the columns have moved.
    """
    assert said(fixed_stock(), "MUG    000071\n") == ["line 1: 13 characters, expected 12 characters"]
    assert values(fixed_stock(), "MUG    00007  \n") == [StockLevel(sku="MUG", on_hand=7)]


def test_fixed_width_names_what_does_not_fit():
    """
    A SKU that is wider than its field names itself and the field.
    """
    with pytest.raises(EncodeError, match=r"stock of LONG-SKU, 1 \(sku\): expected at most 6 characters, got 8"):
        fixed_stock().encode([StockLevel(sku="LONG-SKU", on_hand=1)])


# ------------------------------------------------------------------ JSON lines


def test_json_lines_reads_paths_and_lists():
    """
    A place is a path; a list in it gives a line for each entry; numbers may be numbers or texts.
    """
    fields = [
        {"at": "order.id", "field": "fulfilment_id"},
        {"at": "items[].code", "field": "line.sku"},
        {"at": "items[].qty", "field": "line.quantity"},
        {"at": "items[].price", "field": "line.unit_price"},
    ]
    layout = load_layout({"fcflow": "layout/1", "kind": "orders", "codec": {"type": "json_lines"}, "fields": fields})
    line = '{"order":{"id":"A1"},"items":[{"code":"MUG","qty":2,"price":7.10},{"code":"X","qty":"1"}]}'

    (order,) = values(layout, line)

    assert [(each.sku, each.quantity, each.unit_price) for each in order.lines] == [
        ("MUG", 2, Decimal("7.10")),
        ("X", 1, None),
    ]
    assert layout.encode([order]) == (
        b'{"order":{"id":"A1"},"items":[{"code":"MUG","qty":2,"price":"7.10"},{"code":"X","qty":1}]}\n'
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "line 1, column 1: expected a JSON object, got '[1]'"),
        ('{"sku":"A","sku":"B"}', "line 1: key 'sku' stands twice in one object, expected a JSON object"),
        ('{"sku":NaN}', "line 1: NaN is not a number of JSON, expected a JSON object"),
        ('{"sku":', "line 1, column 8: Expecting value, expected a JSON object"),
        ('{"sku":{"a":1}}', "line 1 (sku): expected a text or a number, got \"{'a': '1'}\""),
        ("{" * 3000, "line 1, column 2: Expecting property name enclosed in double quotes, expected a JSON object"),
    ],
)
def test_json_that_is_not_a_record_is_a_problem(line, message):
    """
    A line that is no object, or no plain one, is reported with its line; others are read.
    """
    fields = [{"at": "sku", "field": "sku"}]
    layout = load_layout({"fcflow": "layout/1", "kind": "stock", "codec": {"type": "json_lines"}, "fields": fields})

    records, problems = layout.read(f'{line}\n{{"sku":"MUG"}}\n'.encode())

    assert [str(problem) for problem in problems] == [message]
    assert [record.value.sku for record in records] == ["MUG"]


def test_a_deeply_nested_line_is_a_problem():
    """
    Nesting that would exhaust the stack is reported, not raised.
    """
    problems = said(load_layout("canonical-stock"), '{"a":' * 100_000 + "\n")

    assert len(problems) == 1


def test_a_canonical_line_names_its_fault():
    """
    A document of the model that is not valid is reported with the path inside it.
    """
    assert said(load_layout("canonical-stock"), '{"sku":"MUG","on_hand":"five"}') == [
        "line 1 (on_hand): expected a whole number, got 'five'"
    ]


# ------------------------------------------------------------------ forms


def form(**codec: Any) -> Layout:
    fields = [
        {"at": "OrderId", "field": "fulfilment_id"},
        {"at": "Note", "field": "notes", "optional": True},
        {"at": "Item{n}SKU", "field": "line.sku"},
        {"at": "Item{n}Qty", "field": "line.quantity"},
    ]
    codec = {"type": "form", **codec}
    return load_layout({"fcflow": "layout/1", "kind": "orders", "codec": codec, "fields": fields})


def test_a_form_numbers_the_lines():
    """
    Fields of the order stand once, those of lines with a number.
    """
    order = shipping_order(
        ShippingLine(line_id="1", sku="MUG", quantity=2), ShippingLine(line_id="2", sku="A&B", quantity=1), notes="é"
    )

    assert form().encode([order]) == b"OrderId=A1&Note=%C3%A9&Item1SKU=MUG&Item1Qty=2&Item2SKU=A%26B&Item2Qty=1"
    assert form(first=0, encoding="latin-1").encode([order]).startswith(b"OrderId=A1&Note=%E9&Item0SKU=MUG")
    assert [line.sku for line in values(form(), form().encode([order]))[0].lines] == ["MUG", "A&B"]


def test_a_form_holds_one_order():
    """
    Two orders do not go into one post.
    """
    with pytest.raises(FormatError, match="a form holds one order, got 2"):
        form().encode([shipping_order(), shipping_order(fulfilment_id="A2")])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"OrderId", "expected a form"),
        (b"Item1SKU=MUG&Item1Qty=1", "expected form field 'OrderId'"),
        (b"OrderId=1&OrderId=2", "expected form field 'OrderId' once, got it twice"),
        (b"OrderId=%FF", "expected a form in utf-8"),
        ("OrderId=é".encode(), "expected a form in utf-8"),
        (b"a=1&" * 11_000, "expected a form"),
    ],
)
def test_a_body_that_is_no_form_is_refused(body, message):
    """
    A form holds one order, so that a fault in its frame refuses it as a whole.
    """
    with pytest.raises(FormatError, match=message):
        form().read(body)


def test_a_form_that_lacks_a_cell_is_a_problem():
    """
    A numbered line without its quantity is a fault of that order.
    """
    assert said(form(), b"OrderId=A1&Item1SKU=MUG") == ["line 1 (line.quantity): expected a quantity, got ''"]


def test_a_parcel_holds_the_lines_that_say_how_many():
    """
    A line of a parcel without a count says nothing of its contents, however often it is written and read.
    """
    fields = (STATUS, {"at": "svc", "field": "service"}, {"at": "sku", "field": "line.sku"})
    layout = status(*fields, {"at": "sent", "field": "line.shipped"}, group="reference")
    lines = (StatusLine(sku="SOFA"), StatusLine(sku="MUG", shipped=0))
    update = StatusUpdate(reference="A1", lines=lines, shipments=(Shipment(service="DPD", lines=lines[:1]),))

    once = layout.project(update)

    assert once.shipments[0].lines == lines[1:]
    assert layout.project(once) == once
