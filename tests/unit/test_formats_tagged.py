"""Files of tagged lines."""

from __future__ import annotations

from typing import Any

import pytest

from fcflow.errors import FormatError, LayoutError
from fcflow.formats import Layout, load_layout

PLACES = {"ID": "fulfilment_id", "TO": "ship_to.name", "TAG": "tags"}
ITEMS = {"item[]/SKU": "line.sku", "item[]/QTY": "line.quantity"}
LOOPS = {"item": {"starts_with": "SKU", "tags": ["QTY"]}}


def layout(places: dict[str, str] | None = None, **codec: Any) -> Layout:
    fields = [{"at": at, "field": name} for at, name in (places or {**PLACES, **ITEMS}).items()]
    options = {"type": "tagged", "loops": LOOPS, **codec}
    return load_layout({"fcflow": "layout/1", "kind": "orders", "codec": options, "fields": fields})


def orders(found: Layout, payload: bytes) -> tuple[list[Any], list[str]]:
    records, problems = found.read(payload)
    shown = [
        (each.line, each.value.fulfilment_id, [(line.sku, line.quantity) for line in each.value.lines])
        for each in records
    ]
    return shown, list(map(str, problems))


def test_records_are_told_apart_by_their_first_tag() -> None:
    """
    Each begins where the tag comes again; lines of an item stay with it.
    """
    payload = b"ID;A1\nSKU;MUG\nQTY;2\nSKU;CUP\nQTY;1\nID;A2\nSKU;MUG\nQTY;3\n"

    assert orders(layout(begins_with="ID"), payload) == (
        [(1, "A1", [("MUG", 2), ("CUP", 1)]), (6, "A2", [("MUG", 3)])],
        [],
    )


def test_records_are_told_apart_by_their_last_line() -> None:
    """
    A line without a value may end a record; a file that stops before it is not whole.
    """
    found = layout(ends_with="END")
    payload = b"ID;A1\nSKU;MUG\nQTY;2\nEND\nID;A2\nSKU;MUG\nQTY;3\nEND\n"

    assert [each[1] for each in orders(found, payload)[0]] == ["A1", "A2"]
    with pytest.raises(FormatError, match=r"line 5: expected 'END' at its end, got the end of the file"):
        found.read(payload[:-4])


def test_records_are_told_apart_by_blank_lines() -> None:
    """
    However many there are.
    """
    payload = b"\n\nID;A1\nSKU;MUG\nQTY;2\n\n\nID;A2\nSKU;MUG\nQTY;3\n\n"

    assert [each[:2] for each in orders(layout(blank_lines="separate"), payload)[0]] == [(3, "A1"), (8, "A2")]


def test_what_stands_above_belongs_to_every_record() -> None:
    """
    A tag of the file counts where the record does not say it itself.
    """
    records, _ = layout(begins_with="ID").read(b"TO;Ada\nID;A1\nSKU;M\nQTY;1\nID;A2\nTO;Bob\nSKU;M\nQTY;1\n")

    assert [each.value.order.ship_to.name for each in records] == ["Ada", "Bob"]


def test_only_the_first_delimiter_counts_and_tags_may_be_in_any_case() -> None:
    """
    A value may hold the delimiter; blanks around tag and value mean nothing.
    """
    found = layout(begins_with="ID", ignore_case=True, delimiter=": ", comment="#")
    records, problems = found.read(b"# hello\n id : A1\nTo: Ada: Byron \nsku: M\nqty: 1\n")

    assert (records[0].value.order.ship_to.name, problems) == ("Ada: Byron", [])


def test_a_tag_that_comes_again_is_a_list() -> None:
    """
    To a field that is one; any other takes the first.
    """
    records, _ = layout(begins_with="ID").read(b"ID;A1\nTO;Ada\nTO;Bob\nTAG;gift\nTAG;new\nSKU;M\nQTY;1\n")

    assert (records[0].value.tags, records[0].value.order.ship_to.name) == (frozenset({"gift", "new"}), "Ada")


def test_a_bad_line_costs_its_record_only() -> None:
    """
    A line without a delimiter, and one of odd characters, are reported with their lines; the next record is read.
    """
    payload = b"ID;A1\nnonsense\nSKU;M\nQTY;1\nID;A2\nTO;\x01\nSKU;M\nQTY;1\nID;A3\nSKU;M\nQTY;1\n"
    shown, problems = orders(layout(begins_with="ID"), payload)

    assert [each[1] for each in shown] == ["A3"]
    assert problems == [
        "line 2: expected a tag and a value with ';' between them, got 'nonsense'",
        "line 1: a line of this record cannot be read",
        "line 6: expected text without control characters, got '\\x01'",
        "line 5: a line of this record cannot be read",
    ]


def test_an_unknown_tag_is_passed_over_unless_the_layout_refuses_it() -> None:
    """
    Refused, it says what is known.
    """
    payload = b"ID;A1\nSHOE;9\nSKU;M\nQTY;1\n"

    assert orders(layout(begins_with="ID"), payload)[1] == []
    said = orders(layout(begins_with="ID", unknown_tags="refuse"), payload)[1]
    assert said[0] == "line 2: expected one of ID, QTY, SKU, TAG, TO, got 'SHOE'"


def test_the_count_is_checked_and_written() -> None:
    """
    A count that does not hold, or is not there, refuses the file.
    """
    found = layout(begins_with="ID", count_tag="COUNT")
    payload = b"ID;A1\r\nSKU;M\r\nQTY;1\r\nCOUNT;1\r\n"
    records, _ = found.read(payload)

    assert found.encode([records[0].value]) == payload
    with pytest.raises(FormatError, match=r"line 4: COUNT says '2' records, got 1"):
        found.read(payload.replace(b"COUNT;1", b"COUNT;2"))
    with pytest.raises(FormatError, match=r"expected 'COUNT' at the end, got the end of the file"):
        found.read(payload[:-9])


def test_nothing_stands_before_what_begins_a_record() -> None:
    """
    An end before any beginning, and a line above that cannot be read, refuse the file.
    """
    found = layout(begins_with="ID", ends_with="END")

    with pytest.raises(FormatError, match=r"line 1: expected 'ID' before 'END'"):
        found.read(b"END\n")
    with pytest.raises(FormatError, match=r"expected 'ID' before anything else: line 1: expected a tag and a value"):
        found.read(b"hello\n")


def test_what_is_written_is_one_value_a_line() -> None:
    """
    What begins a record, or an item, is always there; the rest only if it says something.
    """
    found = layout(ends_with="END", line_end="lf")
    records, _ = found.read(b"ID;A1\nTO;Ada\nSKU;M\nQTY;1\nSKU;N\nQTY;2\nEND\n")

    assert found.encode([records[0].value]) == b"ID;A1\nTO;Ada\nSKU;M\nQTY;1\nSKU;N\nQTY;2\nEND\n"


@pytest.mark.parametrize(
    ("codec", "places", "said"),
    [
        ({}, None, "$.codec: missing: expected begins_with, ends_with, or blank_lines that separate"),
        ({"begins_with": "I;D"}, None, "$.codec.begins_with: expected a tag without ';', got 'I;D'"),
        (
            {"begins_with": "ID"},
            {"ID": "fulfilment_id", "box[]/SKU": "line.sku"},
            "unknown loop",
        ),
        ({"begins_with": "ID"}, {"ID": "fulfilment_id", "SKU": "line.sku"}, "SKU belongs to loop item: got 'SKU'"),
        ({"begins_with": "ID"}, {"item[]/ID": "fulfilment_id"}, "ID belongs to no loop: got 'item[]/ID'"),
        ({"begins_with": "ID", "loops": {"a": {"starts_with": "S", "in": "b"}}}, {"ID": "order_id"}, "unknown loop"),
        (
            {"begins_with": "ID", "loops": {"a": {"starts_with": "S"}, "b": {"starts_with": "S"}}},
            {"ID": "order_id"},
            "S belongs to loop a already",
        ),
    ],
)
def test_a_layout_that_cannot_work_is_refused(codec: dict[str, Any], places: dict[str, str] | None, said: str) -> None:
    """
    With the place of the fault.
    """
    with pytest.raises(LayoutError) as caught:
        layout(places, **codec)

    assert any(said in str(fault) for fault in caught.value.faults)
