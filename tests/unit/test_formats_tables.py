"""Tables: headers as partners write them, columns that come again, encodings, spreadsheets, packed files."""

import gzip
import io
import zipfile
from datetime import date, datetime

import openpyxl
import pytest

from fcflow.errors import FormatError, LayoutError
from fcflow.formats import load_layout
from fcflow.model import Order, OrderLine, ShippingLine, ShippingOrder, StockLevel


def layout(kind, codec, *places, **more):
    fields = [{"at": at, "field": name} for at, name in places]
    return load_layout({"fcflow": "layout/1", "kind": kind, "codec": codec, "fields": fields, **more})


def stock(codec, payload, *places, **more):
    """SKU and units of each record."""
    made = layout("stock", codec, *(places or (("SKU", "sku"), ("Qty", "on_hand"))), **more)
    records, problems = made.read(payload if isinstance(payload, bytes) else payload.encode())
    return [(each.value.sku, each.value.on_hand) for each in records], [str(each) for each in problems]


def shipping_order(order_id, *skus):
    lines = [OrderLine(line_id=str(n), sku=sku, quantity=n) for n, sku in enumerate(skus, 1)]
    parts = [ShippingLine(line_id=line.line_id, sku=line.sku, quantity=line.quantity) for line in lines]
    return ShippingOrder(fulfilment_id=order_id, order=Order(order_id=order_id, lines=lines), location="a", lines=parts)


BOTH = ([("MUG", 5), ("CUP", 7)], [])


# ------------------------------------------------------------------ headers


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"header_match": "ignore_case"}, "sku,QTY\nMUG,5\nCUP,7\n"),
        ({"header_match": "loose"}, "S.K.U. ,qty_\nMUG,5\nCUP,7\n"),
        ({"also_called": {"SKU": ["Item Code", "Artikel"], "Qty": ["Menge"]}}, "Menge,Artikel\n5,MUG\n7,CUP\n"),
        ({"find_header": True}, "Stock report\nprinted,2026-03-02\n\nQty,SKU,Name\n5,MUG,x\n7,CUP,y\n"),
        ({"find_header": True, "header_match": "loose"}, "Report,,\nsku,qty\nMUG,5\nCUP,7\n"),
        ({"delimiter": "||"}, 'SKU||Qty\nMUG||5\n"CUP"||7\n'),
        ({"delimiter": "\x1f"}, "SKU\x1fQty\nMUG\x1f5\nCUP\x1f7\n"),
        ({"delimiter": ";"}, "sep=;\r\nSKU;Qty\r\nMUG;5\r\nCUP;7"),
        ({"long_rows": "cut"}, "SKU,Qty\nMUG,5,x\nCUP,7,,y\n"),
        ({}, "SKU,Qty,,\nMUG,5,,\nCUP,7,,\n"),
        ({"encoding": ["utf-8", "cp1252"]}, "SKU,Qty\nMUG,5\nCUP,7\n"),
        ({"encoding": "detect"}, "SKU,Qty\nMUG,5\nCUP,7\n"),
    ],
)
def test_a_table_is_read_as_partners_write_it(options, text):
    """
    Headers in any case or spelling, called otherwise, below a title; delimiters of any kind; rows with a tail.
    """
    assert stock({"type": "delimited", **options}, text) == BOTH


def test_a_delimiter_of_several_characters_may_stand_in_quotes():
    """
    There it is text, both ways.
    """
    made = layout("stock", {"type": "delimited", "delimiter": "||"}, ("SKU", "sku"), ("Qty", "on_hand"))
    payload = made.encode([StockLevel(sku="A||B", on_hand=1), StockLevel(sku="C|D", on_hand=2)])
    assert payload == b'SKU||Qty\r\n"A||B"||1\r\nC|D||2\r\n'
    assert [each.value.sku for each in made.read(payload)[0]] == ["A||B", "C|D"]


def test_a_header_that_is_not_found_is_refused_with_what_was_there():
    """
    The first row is named, and what it lacks.
    """
    with pytest.raises(FormatError, match="expected column 'Qty', got 'Qtty'"):
        stock({"type": "delimited", "find_header": True}, "SKU,Qtty\nMUG,5\n")
    with pytest.raises(FormatError, match="once, got it 2 times"):
        stock({"type": "delimited", "header_match": "loose"}, "SKU,sku,Qty\nMUG,MUG,5\n")


# ------------------------------------------------------------------ columns that come again

ORDERS = (
    ("Order", "fulfilment_id"),
    ("Item {n} SKU", "line.sku"),
    ("Item {n} Qty", "line.quantity"),
    ("Note", "notes"),
)


def test_lines_stand_in_columns_that_come_again():
    """
    As many as the layout says are written, as many as are there are read; empty ones are no lines.
    """
    made = layout("orders", {"type": "delimited", "repeat": {"most": 2}}, *ORDERS)
    payload = made.encode([shipping_order("A1", "MUG", "CUP"), shipping_order("A2", "HAT")])
    assert payload.decode().splitlines() == [
        "Order,Item 1 SKU,Item 1 Qty,Item 2 SKU,Item 2 Qty,Note",
        "A1,MUG,1,CUP,2,",
        "A2,HAT,1,,,",
    ]
    wide = b"Order,Note,Item 1 SKU,Item 1 Qty,Item 2 SKU,Item 2 Qty,Item 3 SKU,Item 3 Qty\nA1,x,MUG,1,,,HAT,3\n"
    [record], problems = made.read(wide)
    assert not problems
    assert [(line.sku, line.quantity) for line in record.value.lines] == [("MUG", 1), ("HAT", 3)]


def test_more_lines_than_columns_are_refused_or_go_on_in_the_next_row():
    """
    As the layout says; the order is named.
    """
    with pytest.raises(FormatError, match="expected at most 2 lines in one row, got 3"):
        layout("orders", {"type": "delimited", "repeat": {"most": 2}}, *ORDERS).encode([shipping_order("A1", *"abc")])
    going_on = layout("orders", {"type": "delimited", "repeat": {"most": 2, "if_more": "next_row"}}, *ORDERS)
    payload = going_on.encode([shipping_order("A1", *"abc")])
    assert payload.decode().splitlines()[1:] == ["A1,a,1,b,2,", "A1,c,3,,,"]
    assert [line.sku for line in going_on.read(payload)[0][0].value.lines] == ["a", "b", "c"]


# ------------------------------------------------------------------ encodings


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("detect", "cp1252"), ("detect", "utf-8"), (["utf-8", "cp1252"], "cp1252"), (["utf-8", "cp932"], "cp932")],
)
def test_an_encoding_is_found(encoding, written):
    """
    The first of several that fits, or the one that the text looks like.
    """
    name = "カップ" if written == "cp932" else "Tässchen für Käsespätzle, süß und schön"
    text = f'SKU;Name\nMUG;"{name}"\n' * 1 + "\n".join(
        f'X{n};"Größe {n} für Öl"' for n in range(30) if written != "cp932"
    )
    fields = (("SKU", "sku"), ("Name", "location"))
    made = layout("stock", {"type": "delimited", "delimiter": ";", "encoding": encoding}, *fields)
    records, problems = made.read(text.encode(written))
    assert not problems
    assert records[0].value.location == name


def test_detect_stands_alone():
    """
    A list of encodings is tried in turn, so guessing has no place in it.
    """
    for encoding, said in ((["utf-8", "detect"], "stands alone"), (["klingon"], "an encoding such as utf-8")):
        with pytest.raises(LayoutError) as refused:
            layout("stock", {"type": "delimited", "encoding": encoding}, ("SKU", "sku"))
        assert said in str(refused.value.faults[0])


# ------------------------------------------------------------------ spreadsheets


def workbook(*rows, title="Sheet1"):
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_a_spreadsheet_is_read_as_what_its_cells_hold():
    """
    Whole numbers without a point, dates as dates, a title above the header, blank rows passed over.
    """
    payload = workbook(
        ["Stock of today"],
        [],
        ["sku", "Qty", "At"],
        ["MUG", 5.0, datetime(2026, 3, 2, 9)],
        [],
        [501, "7", date(2026, 3, 2)],
    )
    codec = {"type": "xlsx", "find_header": True, "header_match": "loose"}
    made = layout("stock", codec, ("SKU", "sku"), ("Qty", "on_hand"), ("At", "as_of"))
    records, problems = made.read(payload)
    assert not problems
    assert [(each.line, each.value.sku, each.value.on_hand, each.value.as_of.hour) for each in records] == [
        (4, "MUG", 5, 9),
        (6, "501", 7, 0),
    ]


def test_a_spreadsheet_is_written_without_formulas_and_times():
    """
    Texts stay texts, whole numbers are numbers, and equal values give equal bytes.
    """
    made = layout("stock", {"type": "xlsx", "sheet": "Stock"}, ("SKU", "sku"), ("Qty", "on_hand"))
    levels = [StockLevel(sku="=1+1", on_hand=5), StockLevel(sku="007", on_hand=0)]
    payload = made.encode(levels)

    assert payload == made.encode(levels)
    sheet = openpyxl.load_workbook(io.BytesIO(payload))["Stock"]
    assert [[cell.value for cell in row] for row in sheet] == [["SKU", "Qty"], ["=1+1", 5], ["007", 0]]
    assert sheet["A2"].data_type == "s"
    assert [each.value for each in made.read(payload)[0]] == levels


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"SKU,Qty\nMUG,5\n", "expected a spreadsheet"),
        (workbook(["SKU", "Qty"])[:200], "expected a spreadsheet"),
        (workbook(["SKU", "Qty"], title="Other"), "expected a sheet 'Stock', got 'Other'"),
        (workbook(["SKU", "Quty"], title="Stock"), "expected column 'Qty', got 'Quty'"),
    ],
)
def test_a_spreadsheet_that_is_none_is_refused(payload, said):
    """
    As a whole.
    """
    with pytest.raises(FormatError, match=said):
        stock({"type": "xlsx", "sheet": "Stock"}, payload)


# ------------------------------------------------------------------ packed

CSV = {"type": "delimited"}
PLAIN = b"SKU,Qty\r\nMUG,5\r\nCUP,7\r\n"


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return out.getvalue()


def test_packed_payloads_are_read_and_written():
    """
    Gzip, and zip with the one file that is meant; equal values give equal bytes.
    """
    assert stock(CSV, gzip.compress(PLAIN), packed={"type": "gzip"}) == BOTH
    assert stock(CSV, zipped(a_csv=PLAIN), packed={"type": "zip"}) == BOTH
    member = {"type": "zip", "member": "stock*.csv"}
    assert stock(CSV, zipped(stock1_csv=PLAIN, readme_txt="x"), packed=member) == BOTH
    for packed, extension in (({"type": "gzip"}, "csv.gz"), ({"type": "zip", "member": "stock.csv"}, "zip")):
        made = layout("stock", CSV, ("SKU", "sku"), ("Qty", "on_hand"), packed=packed)
        payload = made.encode([StockLevel(sku="MUG", on_hand=5)])
        assert (payload, made.extension) == (made.encode([StockLevel(sku="MUG", on_hand=5)]), extension)
        assert made.read(payload)[0][0].value.on_hand == 5


@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        ("gzip", PLAIN, "expected a packed file that is whole: Not a gzipped file"),
        ("gzip", gzip.compress(PLAIN, mtime=0)[:-6], "expected a packed file that is whole"),
        (
            "gzip",
            gzip.compress(b"SKU,Qty\n" + b"MUG,5\n" * 10_000, mtime=0),
            "expected at most 4096 bytes when unpacked",
        ),
        ("zip", PLAIN, "expected a zip file"),
        ("zip", zipped(a_csv=b"MUG,5\n" * 10_000), "expected at most 4096 bytes when unpacked, got 60000"),
        ("zip", zipped(a_csv=PLAIN, b_csv=PLAIN), "expected one file '*' in the zip file, got 2 of 'a.csv', 'b.csv'"),
        ("zip", zipped(), "got 0 of nothing"),
    ],
    ids=["not-gzip", "gzip-cut", "gzip-bomb", "not-zip", "zip-bomb", "two-members", "no-member"],
)
def test_hostile_packages_are_refused(kind, payload, said):
    """
    What is broken, holds too much, or holds nothing.
    """
    with pytest.raises(FormatError) as refused:
        stock(CSV, payload, packed={"type": kind, "max_bytes": 4096})
    assert said in str(refused.value)


def test_a_member_that_lies_about_its_size_is_stopped():
    """
    What comes out is counted, whatever the directory of the archive says.
    """
    payload = bytearray(zipped(a_csv=b"SKU,Qty\n" + b"MUG,5\n" * 100_000))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = payload.index(signature) + offset
        payload[at : at + 4] = (100).to_bytes(4, "little")
    with pytest.raises(FormatError):
        stock(CSV, bytes(payload), packed={"type": "zip", "max_bytes": 4096})


@pytest.mark.parametrize(
    ("codec", "at", "said"),
    [
        ({"type": "delimited", "also_called": {"Item": ["x"]}}, "SKU", "no field stands there"),
        ({"type": "delimited", "repeat": {"most": 2}}, "SKU", "no column comes again"),
        ({"type": "delimited"}, "a{n}b{n}", "one {n} at most"),
        ({"type": "xlsx", "header": False}, "SKU", "a position, as the file has no header"),
    ],
)
def test_columns_are_checked_at_load(codec, at, said):
    """
    With the path of the fault in the layout.
    """
    with pytest.raises(LayoutError) as refused:
        layout("stock", codec, (at, "sku"))
    assert said in str(refused.value)
