"""Faults that a JSON Schema finds, in words for people and without showing what may be a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from fcflow.errors import Fault
from fcflow.rules.faults import Faults, Path, nearest

__all__ = ["PlacedFaults", "add_schema_faults", "is_secret_name", "shown"]

_SECRET = re.compile(
    r"pass(word|wd|phrase)?$|pwd$|secret|token|(api|account|access|private|shared)_?key|credential|connection_string",
    re.IGNORECASE,
)
_TYPES = {"integer": "a whole number", "number": "a number", "string": "a text", "boolean": "true or false"}
_TYPES |= {"object": "an object", "array": "a list", "null": "null"}
_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
}
_LONGEST = 80


class PlacedFaults(Faults):
    """Faults of one document that remember where they are."""

    def __init__(self, root: str = "$") -> None:
        super().__init__(root)
        self._places: list[Path] = []

    def add(self, path: Path, message: str, *, found: object = None, expected: str | None = None) -> None:
        """Note one fault."""
        self._places.append(path)
        super().add(path, message, found=found, expected=expected)

    def is_sound(self, path: Path) -> bool:
        """Whether nothing at or below *path* has a fault so far."""
        return not any(place[: len(path)] == path for place in self._places)

    def sorted(self, document: Any) -> list[Fault]:
        """The faults in the order in which their places stand in *document*; in one pass, however many there are."""
        indexes: dict[int, dict[Any, int]] = {}
        found = sorted(self._found, key=lambda each: _position(document, each[0], indexes))
        return [fault for _, fault in found]


def _position(document: Any, path: Path, indexes: dict[int, dict[Any, int]]) -> tuple[int, ...]:
    """Where *path* stands; the positions of an object's keys are counted once and kept in *indexes*."""
    place: list[int] = []
    for part in path:
        keys = range(len(document)) if isinstance(document, list) else document if isinstance(document, dict) else ()
        if id(document) not in indexes:
            indexes[id(document)] = {key: number for number, key in enumerate(keys)}
        place.append(indexes[id(document)].get(part, len(keys)))
        document = document[part] if part in indexes[id(document)] else None
    return tuple(place)


def add_schema_faults(schema: Mapping[str, Any], document: Any, faults: Faults, path: Path = ()) -> None:
    """
    Note in *faults* whatever *schema* refuses in *document*.

    Args:
        path: Where *document* stands in the document that *faults* is about.

    Example:
        >>> faults = Faults()
        >>> schema = {"properties": {"delay_s": {"type": "integer"}}, "additionalProperties": False}
        >>> add_schema_faults(schema, {"delays": 3}, faults)
        >>> [str(fault) for fault in faults.sorted({"delays": 3})]
        ["$.delays: unknown key: expected delay_s, got 'delays'"]
    """
    seen: set[tuple[Path, str]] = set()
    for error in _validator(json.dumps(schema)).iter_errors(document):
        for place, message, found, expected in _explained(error):
            if (place, message) not in seen:
                seen.add((place, message))
                faults.add((*path, *place), message, found=found, expected=expected)


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema))


_Explained = tuple[Path, str, object, str | None]


def _explained(error: Any) -> Iterator[_Explained]:
    kind, path = str(error.validator), tuple(error.absolute_path)
    if kind == "additionalProperties":
        yield from _unknown_keys(error, path)
    elif kind == "required":
        yield from (
            (((*path, name)), "missing", None, None) for name in error.validator_value if name not in error.instance
        )
    elif kind in ("anyOf", "oneOf") and error.context:
        yield from _explained(best_match(error.context))
    elif "propertyNames" in error.absolute_schema_path:
        yield (*path, str(error.instance)), "not a code", None, "letters, digits, '.', '_' and '-', at most 64"
    else:
        yield path, _message(kind, path), shown(path, error.instance), _expected(kind, error)


def _unknown_keys(error: Any, path: Path) -> Iterator[_Explained]:
    known = [name for name in error.schema.get("properties", {}) if name != "about"]
    for key in error.instance:
        if key not in known and key != "about":
            instead = "a reference under secrets" if is_secret_name(key) else nearest(key, known)
            yield (*path, key), "unknown key", key, instead or f"one of {', '.join(known)}"


def _message(kind: str, path: Path) -> str:
    if kind == "type" and path and _within_secrets(path):
        return "a secret never stands in the document itself"
    return "" if kind in ("type", "enum", "const", "pattern", *_BOUNDS) else "not allowed"


def _expected(kind: str, error: Any) -> str | None:
    value = error.validator_value
    if kind == "type" and _within_secrets(tuple(error.absolute_path)):
        return 'a reference such as {"env": "NAME"}'
    if kind == "type":
        return " or ".join(_TYPES.get(name, name) for name in ([value] if isinstance(value, str) else value))
    if kind == "enum":
        close = nearest(error.instance, map(str, value))
        return close or "one of " + ", ".join(map(str, value))
    simple: dict[str, str] = {
        "const": str(value),
        "pattern": f"a text that matches {value}",
        "minItems": f"at least {value} items",
    }
    simple |= {
        "minLength": "a text that is not empty",
        "uniqueItems": "no item twice",
        "minProperties": "at least one key",
    }
    simple |= {bound: f"{words} {value}" for bound, words in _BOUNDS.items()}
    return simple.get(kind, f"{kind} {value}" if isinstance(value, str | int | float) else kind)


# ------------------------------------------------------------------ what must not show


def is_secret_name(name: object) -> bool:
    """
    Whether what is called *name* may be a secret.

    Example:
        >>> [is_secret_name(name) for name in ("password", "api_key", "key_file", "user")]
        [True, True, False, False]
    """
    return isinstance(name, str) and _SECRET.search(name) is not None


def shown(path: Iterable[str | int], value: Any) -> object:
    """*value* as a message may show it, or ``None`` where it may be a secret."""
    if _within_secrets(path) or (isinstance(value, str) and re.search(r":[^/@]*@", value)):
        return None
    if isinstance(value, Mapping | list | tuple):
        return "an object" if isinstance(value, Mapping) else "a list"
    return value if len(str(value)) <= _LONGEST else f"{str(value)[:_LONGEST]}..."


def _within_secrets(path: Iterable[str | int]) -> bool:
    return any(part == "secrets" or is_secret_name(part) for part in path)
