"""Layouts are found, checked with every fault at once, and compiled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fcflow.errors import FormatError, LayoutError
from fcflow.formats import CodecType, builtin_codecs, builtin_layouts, load_layout
from fcflow.formats.shape import schema
from fcflow.model import StockLevel

GOOD: dict[str, Any] = {
    "fcflow": "layout/1",
    "kind": "stock",
    "codec": {"type": "delimited"},
    "fields": [{"at": "SKU", "field": "sku"}, {"at": "Qty", "field": "on_hand"}],
}


def faults(document: Any, **how: Any) -> list[str]:
    """What is said of a document that is refused."""
    with pytest.raises(LayoutError) as caught:
        load_layout(document, **how)
    return [str(fault) for fault in caught.value.faults]


def with_field(**field: Any) -> dict[str, Any]:
    return {**GOOD, "fields": [*GOOD["fields"], field]}


def test_every_builtin_layout_loads():
    """
    What comes with fcflow is valid, and named after its file.
    """
    for name in builtin_layouts():
        assert load_layout(name).name == name


def test_canonical_is_the_one_of_its_kind():
    """
    ``canonical`` needs a kind; a layout of another kind than was asked for is refused.
    """
    assert load_layout("canonical", kind="stock").name == "canonical-stock"
    assert faults("linnworks-stock", kind="status") == ["$.kind: expected status, got 'stock'"]
    assert "no such layout" in faults("canonical")[0]


def test_a_path_is_taken_from_the_base(tmp_path):
    """
    A relative path starts at the base folder, and gives the layout its name.
    """
    (tmp_path / "leeds-stock.json").write_text(json.dumps(GOOD), encoding="utf-8")

    assert load_layout("leeds-stock.json", base=tmp_path).name == "leeds-stock"
    assert load_layout(tmp_path / "leeds-stock.json").kind == "stock"


def test_a_name_that_is_not_there_brings_the_nearest():
    """
    A misspelt name says which layout was meant.
    """
    assert faults("linworks-stock") == [
        (
            "no such layout, and no file that can be read (No such file or directory): "
            "expected linnworks-stock, got 'linworks-stock'"
        )
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"fcflow": ', "line 1, column 12: Expecting value"),
        ('{"kind": "stock", "kind": "stock"}', "key 'kind' stands twice in one object"),
        ("[]", "$: expected an object, got []"),
    ],
)
def test_a_file_that_is_no_layout_says_why(tmp_path, text, message):
    """
    JSON that cannot be read says where; other JSON says what was expected.
    """
    (tmp_path / "x.json").write_text(text, encoding="utf-8")

    assert faults("x.json", base=tmp_path) == [message]


def test_all_faults_of_the_shape_come_at_once():
    """
    Misspelt keys, wrong types and missing parts are all named, with paths and the nearest right name.
    """
    document = {
        "fcflow": "layout/1",
        "kind": "stok",
        "codec": {"type": "delimited", "delimeter": ";", "header": "yes"},
        "fields": [{"at": 0, "feild": "sku"}, {"at": "Qty", "field": "on_hand", "decimal": ".."}],
    }

    assert faults(document) == [
        "$.kind: expected stock, got 'stok'",
        "$.codec.delimeter: unknown key: expected delimiter, got 'delimeter'",
        "$.codec.header: expected true or false, got 'yes'",
        "$.fields[0].feild: unknown key: expected field, got 'feild'",
        "$.fields[0].at: expected at least 1, got 0",
        "$.fields[1].decimal: expected at most 1 characters, got '..'",
    ]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"at": "x", "field": "onhand"}, "$.fields[2].field: unknown field: expected on_hand, got 'onhand'"),
        ({"at": "x"}, "$.fields[2]: says nothing to write: expected field or constant"),
        ({"field": "reserved"}, "$.fields[2].at: missing: expected a place, or a field with a constant"),
        (
            {"at": "x", "field": "reserved", "constant": "1"},
            "$.fields[2].constant: has a place and a field: one of the three is too many",
        ),
        ({"at": "x", "field": "reserved", "type": "text"}, "$.fields[2].type: expected integer, got 'text'"),
        (
            {"at": "x", "field": "reserved", "pattern": "%d"},
            "$.fields[2].pattern: does not fit a field of type integer",
        ),
        ({"at": "x", "field": "location", "unit": "kg"}, "$.fields[2].unit: does not fit a field of type text"),
        (
            {"at": "x", "field": "reserved", "max_length": 2, "if_too_long": "truncate"},
            "$.fields[2].if_too_long: a field of type integer cannot be cut off",
        ),
        ({"at": "x", "field": "location", "unmapped": "keep"}, "$.fields[2].unmapped: without map"),
        (
            {"at": "x", "field": "reserved", "map": {"few": "some"}},
            "$.fields[2].map.few: expected digits, got 'some'",
        ),
        (
            {"at": "x", "field": "reserved", "thousands": "."},
            "$.fields[2].thousands: the same as the decimal mark: got '.'",
        ),
        (
            {"at": "x", "field": "reserved", "decimal": "5"},
            "$.fields[2].decimal: expected a mark that is no part of a number, got '5'",
        ),
        (
            {"at": "x", "field": "as_of", "zone": "Europe/Leeds"},
            "$.fields[2].zone: expected a zone such as Europe/London, got 'Europe/Leeds'",
        ),
        (
            {"at": "x", "field": "as_of", "pattern": "%H:%M"},
            (
                "$.fields[2].pattern: expected a pattern such as %d/%m/%Y %H:%M that holds at least year, month "
                "and day, got '%H:%M'"
            ),
        ),
        (
            {"at": "SKU", "field": "location"},
            '$.fields[2].at: is written twice; say "direction": "read" here or at $.fields[0]: got \'SKU\'',
        ),
        ({"at": "x", "constant": "1", "when": True}, "$.fields[2].when: only for layouts of kind orders"),
        ({"at": "x", "constant": "1", "else": "2"}, "$.fields[2].else: without when"),
    ],
)
def test_a_field_that_makes_no_sense_says_why(field, message):
    """
    Each fault of a field names its path, what is wrong, and what would be right.
    """
    assert message in faults(with_field(**field))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codec": {"type": "delimitd"}}, "$.codec.type: no such codec: expected delimited, got 'delimitd'"),
        (
            {"codec": {"type": "delimited", "encoding": "utf-9"}},
            "$.codec.encoding: expected an encoding such as utf-8 or cp1252, got 'utf-9'",
        ),
        (
            {"codec": {"type": "delimited", "delimiter": '"'}},
            "$.codec: expected delimiter, quote and escape that differ, none of them a line break, got ['\"', '\"']",
        ),
        (
            {"codec": {"type": "delimited", "header": False}},
            "$.fields[0].at: expected a position, as the file has no header, got 'SKU'",
        ),
        ({"codec": {"type": "fixed_width"}}, "$.fields[0].at: expected the position of a character, got 'SKU'"),
        ({"value": "order"}, "$.value: only for layouts of kind orders: got 'order'"),
        ({"group": "reference"}, "$.group: only for layouts of kind status: got 'reference'"),
        ({"fields": []}, "$.fields: expected at least 1 entries, got []"),
    ],
)
def test_a_codec_that_does_not_fit_says_why(change, message):
    """
    Faults of the codec, and places that it cannot have, are named with their paths.
    """
    assert message in faults({**GOOD, **change})


def test_fixed_width_checks_its_places():
    """
    Fields of fixed width need a width, and must not overlap.
    """
    fields = [
        {"at": 1, "width": 5, "field": "sku"},
        {"at": 4, "width": 3, "field": "on_hand"},
        {"at": 9, "field": "location"},
    ]
    document = {**GOOD, "codec": {"type": "fixed_width"}, "fields": fields}

    assert faults(document) == ["$.fields[2].width: missing", "$.fields[1].at: overlaps $.fields[0]: got 4"]


def test_json_lines_checks_its_paths():
    """
    Paths must be paths, not lie inside one another, and repeat over one list only.
    """
    fields = [
        {"at": "id", "field": "order_id"},
        {"at": "id.x", "field": "reference"},
        {"at": "a[].sku", "field": "line.sku"},
        {"at": "b[].n", "field": "line.quantity"},
        {"at": "c..d", "field": "notes"},
    ]
    document = {"fcflow": "layout/1", "kind": "orders", "codec": {"type": "json_lines"}, "fields": fields}

    assert faults(document) == [
        "$.fields[3].at: expected one repeating list, got 'b[].n'",
        "$.fields[4].at: expected a path such as lines[].sku, got 'c..d'",
        "$.fields[1].at: lies inside a place that holds a text: got 'id.x'",
    ]


def test_a_condition_is_checked_with_the_layout():
    """
    A misspelt field in a condition is a fault of the layout, with the path of the condition.
    """
    fields = [
        {"at": "id", "field": "order_id"},
        {"at": "t", "when": {"field": "ship_to.contry", "op": "eq", "value": "GB"}, "then": "x"},
    ]
    document = {"fcflow": "layout/1", "kind": "orders", "codec": {"type": "delimited"}, "fields": fields}

    (fault,) = faults(document)

    assert fault.startswith("$.fields[1].when")
    assert "ship_to.country" in fault


def test_a_layout_without_what_reading_needs_can_only_be_written():
    """
    A layout that lacks the SKU writes well, and says what is missing when it is to read.
    """
    document = {**GOOD, "fields": [{"at": "Qty", "field": "on_hand"}]}
    layout = load_layout(document)

    assert layout.encode([StockLevel(sku="MUG", on_hand=1)]) == b"Qty\r\n1\r\n"
    with pytest.raises(FormatError, match="this layout can only be written: expected a field 'sku' to read it"):
        layout.read(b"Qty\r\n1\r\n")


def test_the_hash_follows_the_document():
    """
    Equal documents have equal hashes, whatever the order of their keys; another document another.
    """
    turned = dict(reversed(GOOD.items()))

    assert load_layout(turned).hash == load_layout(GOOD).hash
    assert load_layout({**GOOD, "trim": False}).hash != load_layout(GOOD).hash


def test_content_type_and_extension_can_be_said():
    """
    The codec's media type and extension hold unless the layout says otherwise.
    """
    plain = load_layout(GOOD)
    other = load_layout({**GOOD, "content_type": "text/plain", "extension": "dat"})

    assert (plain.content_type, plain.extension) == ("text/csv; charset=utf-8", "csv")
    assert (other.content_type, other.extension) == ("text/plain", "dat")


def test_a_plugins_codec_is_used_and_its_options_checked():
    """
    A codec of a plugin is named like a built-in one; its own schema checks its options before it is built.
    """
    options = {
        "type": "object",
        "properties": {"type": {"type": "string"}, "sheet": {"type": "string"}},
        "additionalProperties": False,
    }
    built: list[Any] = []

    def build(options, places):
        built.append((options["sheet"], [place.at for place in places]))
        return builtin_codecs()["delimited"].build({}, places)

    codecs = {"acme": CodecType(name="acme", options_schema=options, build=build)}

    layout = load_layout({**GOOD, "codec": {"type": "acme", "sheet": "1"}}, codecs=codecs)

    assert built == [("1", ["SKU", "Qty"])]
    assert layout.read(b"SKU,Qty\r\nMUG,1\r\n")[0][0].value.on_hand == 1
    assert "$.codec.shet: unknown key: expected sheet, got 'shet'" in faults(
        {**GOOD, "codec": {"type": "acme", "shet": "1"}}, codecs=codecs
    )


def test_the_schema_is_a_schema():
    """
    What is shipped for editors is valid, and describes every option.
    """
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(schema())
    for part in (schema()["properties"], schema()["$defs"]["field"]["properties"], schema()["$defs"]["options"]):
        assert all("description" in option for option in part.values())


def test_garbage_is_a_layout_error():
    """
    Whatever JSON stands in the place of a layout, it is refused with faults.
    """
    for garbage in ({}, {"fcflow": 1}, {**GOOD, "fields": {}}, {**GOOD, "codec": 5}, {**GOOD, "fields": [None]}):
        assert faults(garbage)
