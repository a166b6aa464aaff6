"""
The shape of a layout document, by the JSON Schema that is shipped; its errors in our words.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from fcflow.errors import Fault

__all__ = ["codec_schema", "json_path", "nearest", "schema", "shape_faults"]

_TYPES = {
    "string": "a text",
    "object": "an object",
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "null": "null",
}
_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "minProperties": "at least {} entries",
    "pattern": "text like {}",
}


@cache
def schema() -> Mapping[str, Any]:
    """
    The JSON Schema of a layout, Draft 2020-12.

    Example:
        >>> schema()["title"]
        'fcflow layout'
    """
    document: dict[str, Any] = json.loads(files("fcflow.formats").joinpath("schema.json").read_text(encoding="utf-8"))
    return document


def codec_schema(name: str) -> Mapping[str, Any]:
    """The options of a built-in codec, as a schema that stands alone."""
    defs = schema()["$defs"]
    return {**defs["codecs"][name], "$defs": {name: defs[name] for name in ("options", "loops")}}


def json_path(parts: Sequence[str | int]) -> str:
    """
    A JSON path of its parts.

    Example:
        >>> json_path(["fields", 3, "at"])
        '$.fields[3].at'
    """
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def nearest(word: str, known: Sequence[str]) -> str:
    """The known word that is nearest to a wrong one, or all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return close[0] if close else "one of " + ", ".join(known)


def shape_faults(document: Any, against: Mapping[str, Any] | None = None, at: Sequence[str | int] = ()) -> list[Fault]:
    """Every place where *document* has not the shape of the schema; *at* is where it stands in a larger one."""
    from jsonschema import Draft202012Validator  # slow to import, and only needed here

    errors = Draft202012Validator(against if against is not None else schema()).iter_errors(document)
    found = sorted(errors, key=lambda error: _position(document, error.absolute_path))
    return [fault for error in found for fault in _faults(error, at)]


def _position(document: Any, path: Iterable[str | int]) -> list[int]:
    """Where a path stands in the document, so that faults come in the order in which a person meets them."""
    position: list[int] = []
    for part in path:
        position.append(part if isinstance(part, int) else list(document).index(part))
        document = document[part]
    return position


def _faults(error: Any, at: Sequence[str | int]) -> Iterator[Fault]:
    path = json_path([*at, *error.absolute_path])
    rule, limit, found = error.validator, error.validator_value, error.instance
    if rule == "additionalProperties":
        known = list(error.schema.get("properties", ()))
        for key in found:
            if key not in known:
                yield Fault("unknown key", path=f"{path}.{key}", expected=nearest(str(key), known), found=key)
    elif rule == "required":
        yield from (Fault("missing", path=f"{path}.{key}") for key in limit if key not in found)
    elif rule == "type":
        wanted = [limit] if isinstance(limit, str) else limit
        yield Fault("", path=path, expected=" or ".join(_TYPES[name] for name in wanted), found=found)
    elif rule in ("enum", "const"):
        words = [str(word) for word in (limit if rule == "enum" else [limit])]
        yield Fault("", path=path, expected=nearest(str(found), words), found=found)
    elif rule in _BOUNDS:
        yield Fault("", path=path, expected=_BOUNDS[rule].format(limit), found=found)
    else:
        yield Fault(str(error.message), path=path)
