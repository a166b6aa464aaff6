"""dBase tables keep fcflow's contract for formats, and what is particular to them holds too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from fcflow.errors import FormatError, LayoutError
from fcflow.formats import Layout, load_layout
from fcflow.model import StockLevel
from fcflow.plugins import collect_plugins, plugin_manager
from fcflow.testing import FormatContract

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import fcflow_dbf
from fcflow_dbf import DBF


def document(kind: str, columns: dict[str, tuple[str, int]], **options: Any) -> dict[str, Any]:
    fields = [{"at": at, "width": width, "field": name} for at, (name, width) in columns.items()]
    return {"fcflow": "layout/1", "kind": kind, "codec": {"type": "dbf:table", **options}, "fields": fields}


STOCK = document("stock", {"ART_NO": ("sku", 30), "PLACE": ("location", 30), "QTY": ("on_hand", 20)})
STATUS = document("status", {"ORDER_NO": ("reference", 40), "NOTE": ("message", 100)}, encoding="utf-8")
ORDERS = document(
    "orders",
    {
        "ORDER_NO": ("fulfilment_id", 40),
        "NOTE": ("notes", 100),
        "LINE": ("line.line_id", 40),
        "ART_NO": ("line.sku", 40),
        "QTY": ("line.quantity", 20),
    },
)


class TestDbf(FormatContract):
    """What every format promises."""

    codec = DBF
    layouts = (STOCK, STATUS, ORDERS)


@pytest.fixture
def stock() -> Layout:
    """A layout that finds the codec as fcflow does."""
    manager = plugin_manager([])
    manager.register(fcflow_dbf, "dbf")
    return load_layout(STOCK, codecs=collect_plugins(manager).codecs)


def table(*columns: bytes, records: bytes, count: int, length: int) -> bytes:
    """A table as other programs write it."""
    head = bytes([3, 126, 3, 2]) + count.to_bytes(4, "little") + (33 + 32 * len(columns)).to_bytes(2, "little")
    return head + length.to_bytes(2, "little") + bytes(20) + b"".join(columns) + b"\r" + records + b"\x1a"


def column(name: str, kind: str, width: int) -> bytes:
    return name.encode().ljust(11, b"\0") + kind.encode() + bytes(4) + bytes([width, 0]) + bytes(14)


THREE = (column("ART_NO", "C", 8), column("PLACE", "C", 5), column("QTY", "N", 4))


def test_a_table_of_another_program_is_read(stock: Layout) -> None:
    """
    Numbers stand right, texts left; a deleted record is left out.
    """
    records = b" MUG     LEEDS  12" + b"*CUP     LEEDS   1" + b" S\x99FA    YORK    0"
    found, problems = stock.read(table(*THREE, records=records, count=3, length=18))

    assert [(each.line, each.value.sku, each.value.location, each.value.on_hand) for each in found] == [
        (1, "MUG", "LEEDS", 12),
        (3, "SÖFA", "YORK", 0),
    ]
    assert problems == []


def test_a_table_that_was_cut_is_refused(stock: Layout) -> None:
    """
    The header knows how many records there were.
    """
    with pytest.raises(FormatError, match="record 2: the header says 3 records, got 1"):
        stock.read(table(*THREE, records=b" MUG     LEEDS  12", count=3, length=18))


def test_a_bad_record_does_no_harm_to_others(stock: Layout) -> None:
    """
    A number that is none, and a record that is neither there nor deleted, are problems with their numbers.
    """
    records = b" MUG     LEEDS two" + b"?CUP     LEEDS   1" + b" PEN     LEEDS   5"
    found, problems = stock.read(table(*THREE, records=records, count=3, length=18))

    assert [each.value.sku for each in found] == ["PEN"]
    assert [str(each) for each in problems] == [
        "line 1, column 3 (on_hand): expected digits, got 'two'",
        "line 2: expected a blank or * before the record, got '?'",
    ]


def test_a_memo_is_refused(stock: Layout) -> None:
    """
    It lies in another file, and half of it would be worse than none.
    """
    columns = (column("ART_NO", "M", 10), *THREE[1:])
    with pytest.raises(FormatError, match="column 'ART_NO' is a memo"):
        stock.read(table(*columns, records=b"", count=0, length=20))


@pytest.mark.parametrize(
    "payload", [b"", b"SKU,Quantity\r\nMUG,1\r\n", bytes(32), table(*THREE, records=b"", count=0, length=9)]
)
def test_what_is_no_table_is_refused(stock: Layout, payload: bytes) -> None:
    """
    By its header.
    """
    with pytest.raises(FormatError, match="expected"):
        stock.read(payload)


def test_a_table_is_dated_by_its_batch(stock: Layout) -> None:
    """
    Equal batches give equal bytes, whatever day it is.
    """
    assert stock.encode([StockLevel(sku="MUG", on_hand=1)])[:8] == bytes([3, 0, 1, 1, 1, 0, 0, 0])


def test_a_column_needs_a_name_and_a_width_that_dbase_has() -> None:
    """
    With the path of each fault.
    """
    odd = document("stock", {"article number": ("sku", 300), "QTY": ("on_hand", 21)})
    with pytest.raises(LayoutError) as caught:
        load_layout(odd, codecs={DBF.name: DBF})

    assert [fault.path for fault in caught.value.faults] == [
        "$.fields[0].at",
        "$.fields[0].width",
        "$.fields[1].width",
    ]
