"""
The shape of a rule document, by the JSON Schema that is shipped in the package; its errors made readable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError

from fcflow.rules.accept import Accepts, acceptor
from fcflow.rules.faults import Faults, Path, nearest

__all__ = ["check_shape", "check_value", "is_schema", "schema"]

_EXTRA = "additionalProperties"
_FOLLOWS_FROM_EXTRA = frozenset({"oneOf", "dependentRequired", "required", "minProperties", "maxProperties"})
_TYPES = {
    "string": "text",
    "object": "an object",
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "null": "null",
}


@cache
def _schema_text() -> str:
    return files("fcflow.rules").joinpath("schema.json").read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    """
    The JSON Schema of a rule set, Draft 2020-12.

    Example:
        >>> schema()["title"]
        'fcflow rule set'
    """
    document: dict[str, Any] = json.loads(_schema_text())
    return document


@cache
def _validator(definition: str | None) -> Draft202012Validator:
    whole = schema()
    if definition is None:
        return Draft202012Validator(whole)
    return Draft202012Validator({"$ref": f"#/$defs/{definition}", "$defs": whole["$defs"]})


@cache
def _accepts(definition: str | None) -> Accepts:
    """Never a yes where the schema has a keyword without a quick form: then all is for `jsonschema` to judge."""
    try:
        return acceptor(schema(), definition)
    except NotImplementedError:
        return lambda value: False


def check_shape(document: Any, faults: Faults, definition: str | None = None, path: Path = ()) -> None:
    """
    Note every place where *document* has not the shape of a rule set, or of one *definition* of its schema.

    What is well-formed is accepted by plain functions; the rest is read again for words.
    """
    if _accepts(definition)(document):
        return
    _note(list(_validator(definition).iter_errors(document)), faults, path)


def check_value(value: Any, value_schema: Mapping[str, Any], faults: Faults, path: Path) -> None:
    """Note every place where *value* does not fulfil a plugin's *value_schema*."""
    _note(list(Draft202012Validator(_thawed(value_schema)).iter_errors(value)), faults, path)


def is_schema(value_schema: Mapping[str, Any]) -> bool:
    """Whether this is a JSON Schema at all."""
    try:
        Draft202012Validator.check_schema(_thawed(value_schema))
    except SchemaError:
        return False
    return True


def _thawed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thawed(item) for key, item in value.items()}
    return [_thawed(item) for item in value] if isinstance(value, list | tuple) else value


def _note(errors: list[ValidationError], faults: Faults, base: Path) -> None:
    errors = [leaf for error in errors for leaf in _leaves(error)]
    misspelt = {tuple(error.absolute_path) for error in errors if error.validator == _EXTRA}
    for error in errors:
        path = tuple(error.absolute_path)
        if path in misspelt and error.validator in _FOLLOWS_FROM_EXTRA:
            continue
        for at, message, found, expected in _readable(error):
            faults.add((*base, *path, *at), message, found=found, expected=expected)


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """Of alternatives, the errors of the branch that was meant: the one that got furthest."""
    if error.validator != "anyOf" or not error.context:
        yield error
        return
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    reached = [branch for branch in branches.values() if not any(_is_other_type(inner, error) for inner in branch)]
    if reached:
        yield from min(reached, key=len)
    else:
        yield error


def _is_other_type(inner: ValidationError, outer: ValidationError) -> bool:
    return inner.validator == "type" and list(inner.absolute_path) == list(outer.absolute_path)


Readable = tuple[Path, str, object, str | None]


def _readable(error: ValidationError) -> Iterable[Readable]:
    handler = _HANDLERS.get(str(error.validator))
    return handler(error) if handler else [((), "not allowed here", _shown(error.instance), None)]


def _shown(value: object) -> object:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return "null" if value is None else value


def _extra(error: Any) -> Iterator[Readable]:
    known = error.schema.get("properties", {})
    for key in error.instance:
        if key not in known:
            close = nearest(key, known)
            expected = close or (" or ".join(known) if len(known) < 8 else None) or None
            yield (key,), "unknown key", key, expected


def _required(error: Any) -> Iterator[Readable]:
    for key in error.validator_value:
        if key not in error.instance:
            yield (), f"{key} is missing", None, None


def _type(error: Any) -> Iterator[Readable]:
    wanted = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    yield (), "wrong type", _shown(error.instance), " or ".join(_TYPES[name] for name in wanted)


def _alternatives(error: Any) -> Iterator[Readable]:
    wanted = [inner.validator_value for inner in error.context or () if inner.validator == "type"]
    names = [_TYPES[name] for each in wanted for name in ([each] if isinstance(each, str) else each)]
    yield (), "wrong type", _shown(error.instance), " or ".join(dict.fromkeys(names))


def _one_condition(error: Any) -> Iterator[Readable]:
    kinds = [branch["required"][0] for branch in error.validator_value]
    found = [kind for kind in kinds if kind in error.instance]
    message = "more than one condition in one object" if found else "not a condition"
    yield (), message, " and ".join(found) or None, f"one of {' '.join(kinds)}"


def _dependent(error: Any) -> Iterator[Readable]:
    for key, needed in error.validator_value.items():
        for other in needed:
            if key in error.instance and other not in error.instance:
                yield (), f"{key} without {other}", None, None


def _enum(error: Any) -> Iterator[Readable]:
    wanted = [json.dumps(value) if not isinstance(value, str) else value for value in error.validator_value]
    close = nearest(error.instance, (word for word in error.validator_value if isinstance(word, str)))
    yield (), "not one of the words that fit", _shown(error.instance), close or " or ".join(wanted)


def _const(error: Any) -> Iterator[Readable]:
    yield (), "not this kind of document", _shown(error.instance), repr(error.validator_value)


def _empty(error: Any) -> Iterator[Readable]:
    yield (), "empty", None, "at least one entry" if error.validator != "minLength" else "a text"


def _limit(error: Any) -> Iterator[Readable]:
    word = {"maxProperties": "entry at most", "minimum": "at least", "maximum": "at most"}[str(error.validator)]
    bound = f"{error.validator_value} {word}" if word.startswith("entry") else f"{word} {error.validator_value}"
    yield (), "out of bounds", _shown(error.instance), bound


def _pattern(error: Any) -> Iterator[Readable]:
    yield (), "wrong form", error.instance, str(error.schema.get("description") or error.validator_value)


def _repeated(error: Any) -> Iterator[Readable]:
    yield (), "an entry stands twice", None, None


_HANDLERS = {
    _EXTRA: _extra,
    "required": _required,
    "type": _type,
    "anyOf": _alternatives,
    "oneOf": _one_condition,
    "dependentRequired": _dependent,
    "enum": _enum,
    "const": _const,
    "minItems": _empty,
    "minLength": _empty,
    "minProperties": _empty,
    "maxProperties": _limit,
    "minimum": _limit,
    "maximum": _limit,
    "pattern": _pattern,
    "uniqueItems": _repeated,
}
