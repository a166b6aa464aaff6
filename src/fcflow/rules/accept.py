"""
A quick yes: a JSON Schema turned into plain functions that accept nothing which the schema refuses.

The functions say neither what is wrong nor where; what they do not accept is for `jsonschema` to judge, and to tell.
They may be stricter than the schema, never laxer; a keyword that is not known here is an error while they are built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

__all__ = ["Accepts", "acceptor"]

Accepts = Callable[[Any], bool]
_ANNOTATIONS = frozenset(
    {"$schema", "$id", "$defs", "$comment", "title", "description", "default", "examples", "deprecated"}
    | {"readOnly", "writeOnly", "defaultSnippets", "markdownDescription", "enumDescriptions"}
)
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: value is True or value is False,
    "null": lambda value: value is None,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) is int or type(value) is Decimal,
}


def acceptor(schema: Mapping[str, Any], definition: str | None = None) -> Accepts:
    """
    The function that accepts values of *schema*, or of one *definition* of it.

    Args:
        schema: In Draft 2020-12; its numbers are met as `int` and `Decimal`.

    Raises:
        NotImplementedError: The schema has a keyword, or a form of one, that is not known here.

    Example:
        >>> accepts = acceptor({"type": "object", "required": ["id"], "additionalProperties": False,
        ...     "properties": {"id": {"type": "string", "minLength": 1}}})
        >>> accepts({"id": "a"}), accepts({"id": ""}), accepts({"id": "a", "x": 1})
        (True, False, False)
    """
    return _Builder(schema).of({"$ref": f"#/$defs/{definition}"} if definition else schema)


class _Builder:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._definitions: Mapping[str, Any] = schema.get("$defs", {})
        self._built: dict[str, Accepts] = {}

    def of(self, schema: Mapping[str, Any]) -> Accepts:
        """Every keyword of *schema* has to accept."""
        keys = [key for key in schema if key not in _ANNOTATIONS]
        unknown = [key for key in keys if key not in _KEYWORDS and key != "then"]
        if unknown:
            raise _refuse(unknown[0])
        taken_along = {"then", "patternProperties", "additionalProperties" if "properties" in schema else ""}
        return _all_of([_KEYWORDS[key](self, schema) for key in keys if key not in taken_along])

    def named(self, name: str) -> Accepts:
        """The function of a definition, which may speak of itself: it is looked up when it is called."""
        if name not in self._built:
            built = self._built
            built[name] = lambda value: built[name](value)
            built[name] = self.of(self._definitions[name])
        return self._built[name]


def _all_of(checks: list[Accepts]) -> Accepts:
    if not checks:
        return lambda value: True
    if len(checks) == 1:
        return checks[0]
    if len(checks) == 2:
        first, second = checks
        return lambda value: first(value) and second(value)

    def accepts(value: Any) -> bool:
        return all(check(value) for check in checks)

    return accepts


def _refuse(reason: str) -> NotImplementedError:
    return NotImplementedError(f"schema: {reason} has no quick form")


# ------------------------------------------------------------------ keywords

_Keyword = Callable[[_Builder, Mapping[str, Any]], Accepts]


def _type(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    wanted = schema["type"]
    if isinstance(wanted, str):
        return _TYPES[wanted]
    tests = [_TYPES[name] for name in wanted]
    return lambda value: any(test(value) for test in tests)


def _ref(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    return builder.named(schema["$ref"].removeprefix("#/$defs/"))


def _one_of_these(wanted: list[Any]) -> Accepts:
    words = {(type(each), each) for each in wanted}
    return lambda value: isinstance(value, str | bool) and (type(value), value) in words


def _enum(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    return _one_of_these(schema["enum"])


def _const(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    return _one_of_these([schema["const"]])


def _required(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    keys = tuple(schema["required"])
    if len(keys) == 1:
        (key,) = keys
        return lambda value: isinstance(value, dict) and key in value
    return lambda value: isinstance(value, dict) and all(key in value for key in keys)


def _properties(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    """``properties``, ``patternProperties`` and ``additionalProperties`` in one walk over what is there."""
    known = {key: builder.of(part) for key, part in schema.get("properties", {}).items()}
    more = schema.get("additionalProperties", True)
    other: Accepts = (lambda value: more) if isinstance(more, bool) else builder.of(more)

    patterns = [
        (re.compile(pattern), builder.of(part)) for pattern, part in schema.get("patternProperties", {}).items()
    ]

    def accepts(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        return all((known.get(key) or named(key))(item) for key, item in value.items())

    def named(key: str) -> Accepts:
        return next((accepts for pattern, accepts in patterns if pattern.search(key)), other)

    return accepts


def _dependent(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    needed = [(key, tuple(others)) for key, others in schema["dependentRequired"].items()]

    def accepts(value: Any) -> bool:
        return isinstance(value, dict) and all(
            other in value for key, others in needed if key in value for other in others
        )

    return accepts


def _items(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    each = builder.of(schema["items"])

    def accepts(value: Any) -> bool:
        if not isinstance(value, list):
            return False
        return all(each(item) for item in value)

    return accepts


def _unique(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    """Of texts; equality of other values is for `jsonschema` to say."""

    def accepts(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(each, str) for each in value) and len({*value}) == len(value)

    return accepts


def _at_least(kind: type[dict[Any, Any]] | type[list[Any]] | type[str], key: str) -> _Keyword:
    def build(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
        bound = schema[key]
        return lambda value: isinstance(value, kind) and len(value) >= bound

    return build


def _max_properties(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    bound = schema["maxProperties"]
    return lambda value: isinstance(value, dict) and len(value) <= bound


def _least(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    bound = schema["minimum"]
    return lambda value: type(value) is int and value >= bound


def _most(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    bound = schema["maximum"]
    return lambda value: type(value) is int and value <= bound


def _pattern(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    found = re.compile(schema["pattern"]).search
    return lambda value: isinstance(value, str) and found(value) is not None


def _any_of(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    parts = [builder.of(part) for part in schema["anyOf"]]
    return lambda value: any(part(value) for part in parts)


def _just_one(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    """Of branches that only require one key each: exact, since a branch wrongly refused would be one too few."""
    if any(branch.keys() != {"required"} or len(branch["required"]) != 1 for branch in schema["oneOf"]):
        raise _refuse("oneOf of anything but required keys")
    kinds = frozenset(branch["required"][0] for branch in schema["oneOf"])
    return lambda value: isinstance(value, dict) and len(kinds & value.keys()) == 1


def _when(builder: _Builder, schema: Mapping[str, Any]) -> Accepts:
    """*if* it is an object, *then*: exact, since what is wrongly refused there would be let through."""
    if schema["if"] != {"type": "object"} or "else" in schema:
        raise _refuse("if of anything but an object")
    then = builder.of(schema["then"])
    return lambda value: not isinstance(value, dict) or then(value)


_KEYWORDS: Mapping[str, _Keyword] = {
    "type": _type,
    "$ref": _ref,
    "const": _const,
    "enum": _enum,
    "required": _required,
    "oneOf": _just_one,
    "dependentRequired": _dependent,
    "minProperties": _at_least(dict, "minProperties"),
    "maxProperties": _max_properties,
    "minItems": _at_least(list, "minItems"),
    "minLength": _at_least(str, "minLength"),
    "uniqueItems": _unique,
    "pattern": _pattern,
    "minimum": _least,
    "maximum": _most,
    "properties": _properties,
    "additionalProperties": _properties,
    "patternProperties": _properties,
    "items": _items,
    "anyOf": _any_of,
    "if": _when,
}
