"""Every built-in codec keeps the contract that codecs of plugins are held to."""

from __future__ import annotations

from typing import Any

from fcflow.testing import FormatContract


def documents(codec: dict[str, Any], lines: str = "", **places: str) -> tuple[dict[str, Any], ...]:
    """Layouts of a codec: stock, statuses and orders with the places that it is given, or with names of columns."""
    stock = {"sku": "sku", "on_hand": "qty", "location": "place"}
    status = {"reference": "ref", "message": "note", "carrier": "by", "shipped_at": "left"}
    order = {"fulfilment_id": "id", "notes": "note", "ship_to.name": "name", "total": "total"}
    order |= {f"line.{name}": f"{lines}{name}" for name in ("line_id", "sku", "quantity")}
    return tuple(
        {
            "fcflow": "layout/1",
            "kind": kind,
            "codec": codec,
            "fields": [{"at": places.get(at, at), "field": name} for name, at in fields.items()],
        }
        for kind, fields in (("stock", stock), ("status", status), ("orders", order))
    )


def fixed(codec: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    made = documents(codec)
    for document in made:
        document["fields"] = [
            {**field, "at": 1 + 40 * place, "width": 40} for place, field in enumerate(document["fields"])
        ]
    return made


class TestDelimited(FormatContract):
    """Cells between delimiters."""

    layouts = (
        *documents({"type": "delimited"}),
        *documents({"type": "delimited", "delimiter": "|", "quote": None, "escape": "\\", "encoding": "cp1252"}),
        *documents({"type": "delimited", "delimiter": "\t", "quote_all": True, "comment": "#", "line_end": "lf"}),
    )


class TestFixedWidth(FormatContract):
    """Fields of fixed width."""

    layouts = (
        *fixed({"type": "fixed_width"}),
        *fixed({"type": "fixed_width", "unit": "bytes", "encoding": "cp932", "line_end": "none"}),
    )


class TestRecords(FormatContract):
    """Lines of several types."""

    layouts = (
        {
            "fcflow": "layout/1",
            "kind": "orders",
            "codec": {"type": "records", "types": {"h": {"equals": "H"}, "d": {"equals": "D", "in": "h"}}},
            "fields": [
                {"at": "h/2", "field": "fulfilment_id"},
                {"at": "h/3", "field": "notes"},
                {"at": "d/2", "field": "line.line_id"},
                {"at": "d/3", "field": "line.sku"},
                {"at": "d/4", "field": "line.quantity"},
            ],
        },
    )


class TestTagged(FormatContract):
    """Lines of a tag and a value."""

    layouts = (
        *documents({"type": "tagged", "blank_lines": "separate"})[:2],
        documents(
            {
                "type": "tagged",
                "begins_with": "id",
                "loops": {"item": {"starts_with": "line_id", "tags": ["sku", "quantity"]}},
            },
            lines="item[]/",
        )[2],
    )


class TestJsonLines(FormatContract):
    """One object a line."""

    layouts = documents({"type": "json_lines"}, lines="lines[].")


class TestJson(FormatContract):
    """One document."""

    streams = False
    most_read = 80 * 2**20
    layouts = documents({"type": "json", "records": "data.rows"}, lines="lines[].")


class TestXml(FormatContract):
    """An element a record."""

    layouts = documents({"type": "xml", "record": "/Rows/Row"}, lines="Lines/Line[]/")


class TestXlsx(FormatContract):
    """A spreadsheet, which is a zip file and so is read as a whole."""

    streams = False
    most_read = 80 * 2**20
    layouts = documents({"type": "xlsx"})[:2]


class TestForm(FormatContract):
    """A form post holds one order."""

    holds_many = False
    streams = False
    layouts = documents({"type": "form"}, lines="item{n}")[2:]


class TestX12(FormatContract):
    """Transaction sets."""

    layouts = (
        {
            "fcflow": "layout/1",
            "kind": "status",
            "codec": {"type": "x12", "transaction": "945", "replace_delimiters": " "},
            "fields": [
                {"at": "W06-02", "field": "reference", "required": True},
                {"at": "NTE-02", "field": "message"},
            ],
        },
    )


class TestEdifact(FormatContract):
    """Messages."""

    layouts = (
        {
            "fcflow": "layout/1",
            "kind": "status",
            "codec": {"type": "edifact", "message": "DESADV"},
            "fields": [
                {"at": "BGM-02", "field": "reference", "required": True},
                {"at": "FTX-04", "field": "message"},
            ],
        },
    )
