"""Fixed width, counted in bytes, and without line ends."""

from __future__ import annotations

from typing import Any

import pytest

from fcflow.errors import EncodeError, FormatError, LayoutError
from fcflow.formats import Layout, fixed_width, load_layout
from fcflow.model import StockLevel


def in_bytes(**codec: Any) -> Layout:
    fields = [{"at": 1, "width": 8, "field": "sku"}, {"at": 9, "width": 4, "field": "on_hand"}]
    options = {"type": "fixed_width", "encoding": "cp932", "unit": "bytes", **codec}
    return load_layout({"fcflow": "layout/1", "kind": "stock", "codec": options, "fields": fields})


def test_bytes_are_counted_where_the_layout_says_so() -> None:
    """
    A wide character takes two of the eight bytes.
    """
    payload = "茶碗大  0012\r\nMUG        7\r\n".encode("cp932")
    records, problems = in_bytes().read(payload)

    assert [(each.value.sku, each.value.on_hand) for each in records] == [("茶碗大", 12), ("MUG", 7)]
    assert problems == []
    assert in_bytes().encode([each.value for each in records]) == payload.replace(b"0012", b"  12")


def test_half_a_character_is_a_problem() -> None:
    """
    A border inside a character says that positions do not count what the layout thinks.
    """
    records, problems = in_bytes().read("1茶碗大茶12\r\n".encode("cp932"))

    assert (records, [str(each) for each in problems]) == ([], ["line 1: expected text in cp932, got 'byte 0x92'"])


def test_a_text_is_cut_behind_a_whole_character() -> None:
    """
    Where it is too long in bytes and may be cut; else it is refused.
    """
    level = StockLevel(sku="1茶碗大茶", on_hand=1)
    with pytest.raises(EncodeError, match=r"expected at most 8 bytes, got 9 in '1茶碗大茶'"):
        in_bytes().encode([level])

    fields = [{"at": 1, "width": 8, "field": "sku", "if_too_long": "truncate"}]
    options = {"type": "fixed_width", "encoding": "cp932", "unit": "bytes", "line_end": "lf"}
    cut = load_layout({"fcflow": "layout/1", "kind": "stock", "codec": options, "fields": fields})
    assert cut.encode([level]) == "1茶碗大 \n".encode("cp932")


@pytest.mark.parametrize("encoding", ["utf-16", "detect", ["utf-8", "cp1252"]])
def test_bytes_need_one_encoding_like_ascii(encoding: Any) -> None:
    """
    Others have no byte to count by.
    """
    with pytest.raises(LayoutError) as caught:
        in_bytes(encoding=encoding)

    assert "$.codec.encoding: expected one encoding in which ASCII has one byte" in str(caught.value.faults[0])


@pytest.mark.parametrize("unit", ["bytes", "characters"])
@pytest.mark.parametrize("tail", [b"", b"\r\n", b"\x1a", b"\r\n\x1a"])
def test_records_may_follow_each_other_without_line_ends(unit: str, tail: bytes) -> None:
    """
    They are numbered; what closes a file is no record.
    """
    records, problems = in_bytes(unit=unit, line_end="none").read(b"MUG        7CUP     0012" + tail)

    assert ([(each.line, each.value.on_hand) for each in records], problems) == ([(1, 7), (2, 12)], [])


def test_a_short_last_record_is_a_problem() -> None:
    """
    The file was cut, or its records have another length.
    """
    records, problems = in_bytes(line_end="none").read(b"MUG        7CUP   ")

    assert len(records) == 1
    assert [str(each) for each in problems] == ["line 2: 6 bytes, expected 12 bytes"]


def test_a_line_end_where_there_is_none_refuses_the_file() -> None:
    """
    All that follows would be shifted.
    """
    with pytest.raises(FormatError, match="record 2: expected no line ends in 12 bytes, got one"):
        in_bytes(line_end="none").read(b"MUG        7\r\nCUP     0012\r\n")


def test_records_are_read_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    However the bytes arrive, and however long the file is.
    """
    monkeypatch.setattr(fixed_width, "_PIECE", 7)
    content = "茶碗大  0012MUG        7".encode("cp932") * 50

    records, problems = in_bytes(line_end="none").read(content)

    assert ([each.value.on_hand for each in records], problems) == ([12, 7] * 50, [])


def test_a_part_of_a_field_may_be_read_as_another() -> None:
    """
    Characters that are only read once more may lie over a field that is written.
    """
    fields = [
        {"at": 1, "width": 8, "field": "sku"},
        {"at": 9, "width": 12, "field": "as_of", "pattern": "%y%m%d%H%M%S"},
        {"at": 1, "width": 8, "field": "aside.again", "direction": "read"},
        {"at": 15, "width": 6, "field": "aside.time", "direction": "read"},
    ]
    made = load_layout({"fcflow": "layout/1", "kind": "stock", "codec": {"type": "fixed_width"}, "fields": fields})
    payload = b"MUG     260302093000\r\n"
    assert made.encode([each.value for each in made.read(payload)[0]]) == payload
