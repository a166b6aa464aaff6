"""
The tables of the reference page of layouts, made from the schema and the catalogue of fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fcflow.formats.fields import FieldInfo, catalogue
from fcflow.formats.load import builtin_layouts, load_layout
from fcflow.formats.shape import schema

__all__ = ["tables"]

_CATALOGUES = (
    ("fields-orders", "orders", "shipping_order"),
    ("fields-status", "status", "status_update"),
    ("fields-stock", "stock", "stock_level"),
)


def tables() -> dict[str, str]:
    """
    Every generated table of the page, by the mark that it stands behind.

    Example:
        >>> sorted(tables())[:3]
        ['ask', 'builtin', 'codec-delimited']
    """
    document = schema()
    made = {"layout": _options(document), "field": _options(document["$defs"]["field"]), "builtin": _builtin()}
    made |= {f"codec-{name}": _options(codec) for name, codec in document["$defs"]["codecs"].items()}
    shared = document["$defs"]["options"]
    made |= {"line-type": _options(shared["line_type"]), "total": _options(shared["total"])}
    made["repeat"] = _options(document["$defs"]["codecs"]["delimited"]["properties"]["repeat"])
    made["numbered"] = _options(document["$defs"]["codecs"]["records"]["properties"]["numbered"])
    made["trailer"] = _options(document["$defs"]["codecs"]["delimited"]["properties"]["trailer"])
    made |= {"derived": _options(document["$defs"]["derived"]), "ask": _options(document["$defs"]["ask"])}
    made["skip"] = _options(document["properties"]["skip"]["items"])
    return made | {mark: _fields(catalogue(kind, holds).values()) for mark, kind, holds in _CATALOGUES}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _options(part: Mapping[str, Any]) -> str:
    needed = part.get("required", ())
    options = (
        (name, _resolved(option)) for name, option in part["properties"].items() if name not in ("$schema", "type")
    )
    rows = [
        (f"`{name}`" + (" (needed)" if name in needed else ""), _values(option), str(option.get("description", "")))
        for name, option in options
    ]
    return _table(("option", "values", "meaning"), rows)


def _resolved(option: Mapping[str, Any]) -> Mapping[str, Any]:
    """An option with what it refers to."""
    if "$ref" not in option:
        return option
    target: Any = schema()
    for part in option["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return {**_resolved(target), **{key: value for key, value in option.items() if key != "$ref"}}


def _values(option: Mapping[str, Any]) -> str:
    if "const" in option:
        return f"`{option['const']}`"
    if "enum" in option:
        return ", ".join(f"`{word}`" for word in option["enum"])
    kinds = option.get("type") or [kind["type"] for kind in option.get("anyOf", ({"type": "object"},))]
    names = {"string": "text", "integer": "whole number", "array": "list", "boolean": "true, false", "null": "null"}
    return " or ".join(names.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _fields(fields: Iterable[FieldInfo]) -> str:
    rows = [
        (
            f"`{field.name}`",
            field.type,
            "line" if field.on_line else "record",
            "written only" if field.written_only else "",
        )
        for field in fields
    ]
    return _table(("field", "type", "of", ""), rows)


def _builtin() -> str:
    rows = []
    for name in builtin_layouts():
        layout = load_layout(name)
        about = str(layout.document.get("about", ""))
        rows.append((f"`{name}`", layout.kind, f"`{layout.document['codec']['type']}`", about))
    return _table(("layout", "holds", "codec", "what it is"), rows)
