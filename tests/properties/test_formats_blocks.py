"""Reading many rows at once says the same as reading them one by one."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fcflow.errors import FormatError
from fcflow.formats import delimited, load_layout, text

FIELDS = [
    {"at": "SKU", "field": "sku"},
    {"at": "Qty", "field": "on_hand"},
    {"at": "At", "field": "as_of", "pattern": "%Y-%m-%d %H:%M", "optional": True},
    {"at": "Place", "field": "location", "optional": True, "required": True, "default": "leeds"},
]
PLAIN = ["MUG", " CUP ", "", " ", "7", " 12", "007", "-3", "two", "1.5", "9" * 19, "٣", "é", "2026-03-01 10:00", "#x"]
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
        for item in layout.decode(io.BytesIO(payload)):
            found.append((item, dict(item.raw)))
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
