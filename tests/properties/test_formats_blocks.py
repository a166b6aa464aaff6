"""Reading many rows at once says the same as reading them one by one."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

import pytest
from attrs import asdict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fcflow.errors import EncodeError, FormatError
from fcflow.formats import Layout, builtin_layouts, delimited, load_layout, stock_table, text, writing
from fcflow.formats.codec import Batch
from fcflow.model import StatusUpdate
from fcflow.testing.strategies import orders, shipping_orders, status_updates, stock_levels

FIELDS = [
    {"at": "SKU", "field": "sku"},
    {"at": "Qty", "field": "on_hand"},
    {"at": "At", "field": "as_of", "pattern": "%Y-%m-%d %H:%M", "optional": True},
    {"at": "Place", "field": "location", "optional": True, "required": True, "default": "leeds"},
]
PLAIN = [
    "MUG",
    " CUP ",
    "",
    " ",
    "7",
    " 12",
    "007",
    "-3",
    "two",
    "1.5",
    "9" * 19,
    "9" * 81,
    "٣",
    "é",
    "2026-03-01 10:00",
    "#x",
]
QUOTED = ['"a, b"', '"two\nlines"', '"', 'x"y', '"a""b"', '"a"b']
ODD = ["\u00a0", "\x00", "\x1f", "\x1a", "\x85", "\u2028", "a\tb"]
CELLS = st.sampled_from([*PLAIN, *QUOTED, *ODD])
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\r\n"])
GOOD = st.tuples(st.sampled_from([["MUG", "7"], ["CUP", "0", "2026-03-01 10:00", "york"]]), ENDS)
NEARLY = st.tuples(st.one_of(CELLS.map(lambda sku: [sku, "7"]), CELLS.map(lambda count: ["MUG", count])), ENDS)
FILES = st.lists(st.one_of(GOOD, NEARLY, st.tuples(st.lists(CELLS, max_size=6), ENDS)), max_size=25)


def said(layout: Any, payload: bytes) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    try:
        found += ((item, dict(item.raw)) for item in layout.decode(io.BytesIO(payload)))
    except FormatError as error:
        found.append((str(error), {}))
    return found


@pytest.mark.parametrize("header", ["SKU,Qty", "SKU,Qty,At,Place", "Qty,Other,SKU", None])
@pytest.mark.parametrize("options", [{}, {"short_rows": "pad", "long_rows": "cut"}, {"quote": None}])
@given(rows=FILES, tail=st.sampled_from(["", "\x1a", "MUG,3", '"MUG']), size=st.sampled_from([7, 64, 65_536]))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_blocks_say_what_rows_say(
    monkeypatch: pytest.MonkeyPatch, header: str | None, options: dict[str, Any], rows: list[Any], tail: str, size: int
) -> None:
    """
    Where a layout has to look at every line, for a comment that never comes, it finds the same records and problems.
    """
    monkeypatch.setattr(delimited, "_BLOCK", 3)
    monkeypatch.setattr(text, "_SAMPLE", size)
    fields = FIELDS if header is not None else [{**each, "at": n} for n, each in enumerate(FIELDS[:2], start=1)]
    document = {"fcflow": "layout/1", "kind": "stock", "fields": fields}
    codec = {"type": "delimited", "header": header is not None, **options}
    fast = load_layout({**document, "codec": codec})
    slow = load_layout({**document, "codec": {**codec, "comment": "never"}})
    lines = [(header, "\n")] if header is not None else []
    lines += [(",".join(cells), end) for cells, end in rows]
    payload = ("".join(line + end for line, end in lines) + tail).encode("utf-8", "surrogatepass")

    assert said(fast, payload) == said(slow, payload)


@pytest.mark.parametrize("header", ["SKU,Qty", "SKU,Qty,At,Place", "Qty,Other,SKU", None])
@pytest.mark.parametrize(
    "options", [{}, {"encoding": "cp1252"}, {"quote": None}, {"encoding": "utf-16"}, {"max_line": 80}]
)
@given(
    rows=FILES, quoted=st.booleans(), tail=st.sampled_from(["", "\x1a", "MUG,3", '"MUG']), size=st.sampled_from([9, 50])
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_table_says_what_records_say(
    monkeypatch: pytest.MonkeyPatch,
    header: str | None,
    options: dict[str, Any],
    rows: list[Any],
    quoted: bool,
    tail: str,
    size: int,
) -> None:
    """
    Whatever piece of a file pyarrow may split: the rows, the problems and the fault of the whole file are the same.
    """
    monkeypatch.setattr(stock_table, "_PIECE", size)
    fields = FIELDS if header is not None else [{**each, "at": n} for n, each in enumerate(FIELDS[:2], start=1)]
    codec = {"type": "delimited", "header": header is not None, **options}
    layout = load_layout({"fcflow": "layout/1", "kind": "stock", "fields": fields, "codec": codec})
    lines = [(header, "\n")] if header is not None else []
    lines += [
        (",".join(f'"{each}"' if quoted and '"' not in each else each for each in cells), end) for cells, end in rows
    ]
    content = ("".join(line + end for line, end in lines) + tail).encode("utf-8", "surrogatepass")

    assert tabled(layout, content) == read(layout, content)


def read(layout: Layout, content: bytes) -> Any:
    try:
        records, problems = layout.read(content)
    except FormatError as error:
        return str(error)
    return [{"line": each.line, **asdict(each.value)} for each in records], problems


def tabled(layout: Layout, content: bytes) -> Any:
    try:
        table, problems = layout.read_table(content)
    except FormatError as error:
        return str(error)
    return table.to_pylist(), problems


def test_good_pieces_are_split_by_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The law above would hold if pyarrow never split anything; this says that it does, and what a bad row costs.
    """
    monkeypatch.setattr(stock_table, "_PIECE", 1_000)
    by_row: list[int] = []
    reads = delimited.DelimitedCodec.resumed

    def resumed(self: Any, stream: Any, block: Any, line: int) -> Any:
        by_row.append(line)
        return reads(self, stream, block, line)

    monkeypatch.setattr(delimited.DelimitedCodec, "resumed", resumed)
    good = b"SKU,Quantity\r\n" + b'"MUG",7\r\n' * 1_000

    table, problems = load_layout("linnworks-stock").read_table(good + b"CUP,x\r\n" + b"MUG,7\r\n" * 1_000)

    assert (table.num_rows, len(problems), problems[0].line) == (2_000, 1, 1_002)
    assert len(by_row) == 1


class Drip(io.RawIOBase):
    """A stream that gives a few bytes at a time."""

    def __init__(self, content: bytes, size: int) -> None:
        self._inner, self._size = io.BytesIO(content), size

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(size, self._size))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252", "cp932", "utf-7"])
@given(
    lines=st.lists(st.sampled_from(["a", "é", "bc\x85d", "\n", "\r", "\r\n", "日本", "x" * 50]), max_size=40),
    size=st.sampled_from([1, 2, 3, 16, 99]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_are_those_of_the_standard_library(
    monkeypatch: pytest.MonkeyPatch, encoding: str, lines: list[str], size: int
) -> None:
    """
    However the bytes arrive, the lines are what Python's own text files give; and no line is seen twice or never.
    """
    monkeypatch.setattr(text, "_SAMPLE", size)
    content = "".join(lines).encode(encoding, "ignore")
    wanted = io.TextIOWrapper(io.BytesIO(content), encoding, newline="").readlines()

    found = text.Lines(Drip(content, size), encoding)  # type: ignore[arg-type]  # all it needs is read

    assert list(found) == wanted
    assert found.number == len(wanted)


def test_a_block_of_good_rows_is_read_by_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The law above would hold if nothing were ever read by column; this says that it is.
    """
    from fcflow.formats.bind import StockBinder

    layout = load_layout("linnworks-stock")
    monkeypatch.setattr(StockBinder, "build", lambda *args: pytest.fail("row by row"))

    records, problems = layout.read(b"SKU,Quantity\r\n" + b"MUG,7\r\n" * 1_000)

    assert (len(records), problems, records[999].line, dict(records[0].raw)) == (
        1_000,
        [],
        1_001,
        {"SKU": "MUG", "Quantity": "7"},
    )


# ------------------------------------------------------------------ writing

BATCH = Batch(number=7, partner="leeds", key="k")
CODECS: list[dict[str, Any]] = [
    {"type": "delimited"},
    {"type": "delimited", "delimiter": ";", "encoding": "cp1252", "if_unencodable": "replace"},
    {"type": "delimited", "delimiter": "|", "quote": None, "replace_delimiter": "/", "comment": "#"},
    {"type": "delimited", "delimiter": "\t", "quote": None, "escape": "\\", "quote_all": True},
    {"type": "delimited", "delimiter": "~|~", "escape": "\\", "line_breaks": "space", "final_line_end": False},
]
ORDER_FIELDS: list[dict[str, Any]] = [
    {"at": "id", "field": "fulfilment_id"},
    {"at": "row", "field": "batch.row"},
    {"at": "batch", "field": "batch.number"},
    {"at": "name", "field": "ship_to.name", "max_length": 5, "if_too_long": "truncate"},
    {"at": "town", "field": "ship_to.town", "case": "upper"},
    {"at": "tags", "field": "tags", "join": "+"},
    {"at": "notes", "field": "notes"},
    {"at": "ref", "field": "reference", "fallback": ["order_id"], "direction": "write"},
    {"at": "title", "field": "line.title", "fallback": ["line.sku"], "direction": "write"},
    {"at": ["street", "more"], "field": "ship_to.address1", "with": ", ", "direction": "write"},
    {"at": "kind", "when": {"field": "ship_to.country", "op": "eq", "value": "GB"}, "then": "home", "else": "abroad"},
    {"at": "big", "when": {"field": "line.quantity", "op": "gt", "value": 3}, "then": "yes", "else": "no"},
    {"at": "sku", "field": "line.sku"},
    {"at": "units", "field": "line.quantity"},
    {"at": "price", "field": "line.unit_price"},
    {"at": "weight", "field": "line.weight_g", "unit": "kg", "places": 3},
]
VALUES = {
    "orders": shipping_orders(),
    "status": status_updates(),
    "stock": stock_levels(),
}


def written(layout: Layout, values: list[Any]) -> bytes | str:
    try:
        return layout.encode(values, batch=BATCH)
    except (EncodeError, FormatError) as error:
        return str(error)


@cache
def both(source: str) -> tuple[Layout, Layout]:
    """A layout that writes many at once, and the same that looks at each value."""
    document = source if source in builtin_layouts() else json.loads(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "bulk_writing", lambda *given: None)
        one_by_one = load_layout(document)
    return load_layout(document), one_by_one


def delimited_layouts() -> list[str]:
    return [name for name in builtin_layouts() if load_layout(name).document["codec"]["type"] == "delimited"]


@pytest.mark.parametrize("name", delimited_layouts())
@given(data=st.data())
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_built_in_layouts_write_the_same_many_at_once(
    monkeypatch: pytest.MonkeyPatch, name: str, data: st.DataObject
) -> None:
    """
    The bytes, and the order that does not fit, are those of writing one value after the other.
    """
    monkeypatch.setattr(writing, "_BLOCK", 3)
    many, one_by_one = both(name)
    kind = many.document["kind"]
    holds_orders = kind == "orders" and many.document.get("value") == "order"
    values = data.draw(st.lists(orders() if holds_orders else VALUES[kind], max_size=8))

    assert written(many, values) == written(one_by_one, values)


@pytest.mark.parametrize("more", [{}, {"trim": False}, {"guard_formulas": True}])
@pytest.mark.parametrize("codec", CODECS)
@given(values=st.lists(shipping_orders(), max_size=8))
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_dialect_writes_the_same_many_at_once(
    monkeypatch: pytest.MonkeyPatch, codec: dict[str, Any], more: dict[str, Any], values: list[Any]
) -> None:
    """
    The same for fields of every sort: running numbers, conditions, lists, cut texts, one text over two columns.
    """
    document = {
        "fcflow": "layout/1",
        "kind": "orders",
        "one_row_per": "line",
        "codec": codec,
        "fields": ORDER_FIELDS,
        **more,
    }
    monkeypatch.setattr(writing, "_BLOCK", 3)
    many, one_by_one = both(json.dumps(document))

    assert written(many, values) == written(one_by_one, values)


@pytest.mark.parametrize("more", [{}, {"trim": False}])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("note", ["", " a", "b ", "\tc", 'q"', "x,y", "#d", "~|~", "two\nlines", "é", "\\"])
def test_every_odd_note_is_written_the_same(codec: dict[str, Any], more: dict[str, Any], note: str) -> None:
    """
    Where the only column, or the first, holds nothing, or what has to be quoted.
    """
    document = {"fcflow": "layout/1", "kind": "status", "codec": {**codec, "header": False}, **more}
    document["fields"] = [{"at": 1, "field": "message"}]
    many, one_by_one = both(json.dumps(document))
    values = [StatusUpdate(reference="A", message=text) for text in ("plain", note, "plain")]

    for each in (values, values[1:], values[:2]):
        assert written(many, each) == written(one_by_one, each)


def test_good_orders_are_written_by_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The laws above would hold if nothing were ever written by column; this says that it is.
    """
    from fcflow.model import Order, OrderLine, ShippingLine, ShippingOrder

    line = OrderLine(line_id="1", sku="MUG", quantity=2)
    shipped = ShippingLine(line_id="1", sku="MUG", quantity=2)
    order = ShippingOrder(fulfilment_id="A1", order=Order(order_id="A1", lines=[line]), location="l", lines=[shipped])
    layout = load_layout("linnworks-orders")
    monkeypatch.setattr(writing.Writing, "rows", lambda *args: pytest.fail("one by one"))

    assert layout.encode([order] * 1_000).count(b"MUG") == 1_000
