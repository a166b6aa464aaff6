"""What hostile files do not do: each of these was found by damage at random."""

from __future__ import annotations

import io
import time
import zipfile
from typing import Any

import pytest

from fcflow.errors import EncodeError, FormatError
from fcflow.formats import Layout, load_layout
from fcflow.model import StatusUpdate, StockLevel


def stock(codec: dict[str, Any], **more: Any) -> Layout:
    fields = [{"at": "sku", "field": "sku"}, {"at": "qty", "field": "on_hand"}]
    return load_layout({"fcflow": "layout/1", "kind": "stock", "codec": codec, "fields": fields, **more})


@pytest.mark.parametrize("sku", ["MUG~", "MUG~|", "~|~", "~MUG", "|~MUG", "~"])
def test_a_cell_may_end_like_a_long_delimiter(sku: str) -> None:
    """
    With the delimiter behind it, it would hold a delimiter that begins sooner; so it is quoted, or refused.
    """
    quoted = stock({"type": "delimited", "delimiter": "~|~"})
    level = StockLevel(sku=sku, on_hand=1)
    assert quoted.read(quoted.encode([level] * 2))[0][1].value == level

    bare = stock({"type": "delimited", "delimiter": "~|~", "quote": None})
    try:
        payload = bare.encode([level])
    except EncodeError:
        return
    assert bare.read(payload)[0][0].value == level


@pytest.mark.parametrize("kind", ["delimited", "xlsx"])
def test_rows_are_not_lost_while_a_header_is_looked_for(kind: str) -> None:
    """
    A layout that could do without every column finds a header with one of them, or says that there is none.
    """
    fields = [
        {"at": "ref", "field": "reference", "optional": True},
        {"at": "note", "field": "message", "optional": True},
    ]
    layout = load_layout(
        {"fcflow": "layout/1", "kind": "status", "codec": {"type": kind, "find_header": True}, "fields": fields}
    )
    update = StatusUpdate(reference="A1", message="gone")

    assert layout.read(layout.encode([update]))[0][0].value == update
    other = stock({"type": kind}).encode([StockLevel(sku="MUG", on_hand=1)])
    with pytest.raises(FormatError, match="expected a row with 'ref' or 'note', got 'sku', 'qty'"):
        layout.read(other)


def test_a_segment_without_an_end_takes_no_time() -> None:
    """
    The search for its end looks at every byte once.
    """
    payload = b"UNA:+.? '\nUNB" + b"A" * 400_000
    began = time.process_time()

    with pytest.raises(FormatError, match="expected UNZ, got the end of the payload"):
        load_layout("edifact-desadv").read(payload)

    assert time.process_time() - began < 5  # it was minutes


def test_a_tag_without_an_end_is_refused() -> None:
    """
    The parser would hold it until it ends.
    """

    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            assert self.given < 2**24
            return b"x" * size

    layout = stock({"type": "xml", "record": "/Rows/Row"})
    with pytest.raises(FormatError, match="expected the end of a tag within 4194304 bytes"):
        list(layout.decode(Endless()))  # type: ignore[arg-type]  # all it needs is read


def test_a_zip_file_whose_names_are_broken_is_refused() -> None:
    """
    The standard library fails on an empty name, and on versions that it does not know.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("stock.csv", b"sku,qty\r\nMUG,1\r\n")
    content = out.getvalue()
    at = content.index(b"PK\x01\x02")
    nameless = content[: at + 28] + b"\0\0" + content[at + 30 :]
    unknown = content[: at + 6] + b"\xff" + content[at + 7 :]

    packed = stock({"type": "delimited"}, packed={"type": "zip"})
    for broken in (nameless, unknown):
        with pytest.raises(FormatError):
            packed.read(broken)
        with pytest.raises(FormatError):
            stock({"type": "xlsx"}).read(broken)


def test_a_text_that_begins_like_a_byte_order_mark_is_refused() -> None:
    """
    Every reader would take the file for UTF-16.
    """
    fields = [{"at": 1, "field": "sku"}]
    codec = {"type": "delimited", "encoding": "latin-1", "header": False}
    layout = load_layout({"fcflow": "layout/1", "kind": "stock", "codec": codec, "fields": fields})

    with pytest.raises(FormatError, match="begins with 'ÿþ', which every reader takes for a byte order mark"):
        layout.encode([StockLevel(sku="ÿþMUG")])


def test_a_mark_of_another_encoding_is_refused_where_bytes_are_counted() -> None:
    """
    Positions would count the bytes of the wrong one.
    """
    fields = [{"at": 1, "width": 8, "field": "sku"}]
    codec = {"type": "fixed_width", "encoding": "cp932", "unit": "bytes"}
    layout = load_layout({"fcflow": "layout/1", "kind": "stock", "codec": codec, "fields": fields})

    with pytest.raises(FormatError, match="expected text in cp932, got a byte order mark of utf-16"):
        layout.read("MUG     \r\n".encode("utf-16"))


def test_an_order_of_endless_rows_is_refused() -> None:
    """
    Its rows are held until it ends.
    """
    fields = [{"at": 1, "field": "fulfilment_id"}, {"at": 2, "field": "line.sku"}, {"at": 3, "field": "line.quantity"}]
    codec = {"type": "delimited", "header": False}
    layout = load_layout({"fcflow": "layout/1", "kind": "orders", "codec": codec, "fields": fields})

    with pytest.raises(FormatError, match="line 1: expected at most 20000 rows of A1, got more"):
        layout.read(b"A1,MUG,1\r\n" * 20_001)


@pytest.mark.parametrize("said", ["¹¹", "9" * 5_000, "1.0", "", "-1"])
def test_a_count_that_is_no_number_is_a_fault_of_the_message(said: str) -> None:
    """
    Digits of other sorts, and more of them than Python reads, are no numbers.
    """
    transaction = f"ST*945*0001~W06*F*A1~SE*{said}*0001~"
    isa = "ISA*00*          *00*          *ZZ*A              *ZZ*B              *260302*0930*U*00401*000000001*0*P*>~"
    payload = f"{isa}GS*SW*A*B*20260302*0930*1*X*004010~{transaction}GE*1*1~IEA*1*000000001~"
    records, problems = load_layout("x12-945").read(payload.encode())
    assert (records, len(problems)) == ([], 1)

    message = f"UNB+UNOC:3+A+B+260302:0930+1'UNH+1+DESADV:D:96A:UN'BGM+351+X+9'RFF+ON:A1'UNT+{said}+1'UNZ+1+1'"
    records, problems = load_layout("edifact-desadv").read(message.encode("latin-1"))
    assert (records, len(problems)) == ([], 1)


def test_a_row_that_would_be_taken_for_the_trailer_is_refused() -> None:
    """
    The file would end there.
    """
    layout = stock({"type": "delimited", "trailer": {"equals": "EOF", "count_at": 2}})

    with pytest.raises(EncodeError, match=r"stock of EOF.*expected text that is not that of a trailer, got 'EOF'"):
        layout.encode([StockLevel(sku="EOF", on_hand=1)])
    assert layout.read(layout.encode([StockLevel(sku="EOF1", on_hand=1)]))[0][0].value.sku == "EOF1"
