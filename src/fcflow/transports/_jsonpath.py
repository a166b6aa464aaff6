"""Places in a JSON document, as far as an answer needs them: ``$.errors[0].text``, ``$.orders[*].ok``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fcflow.errors import TransportUnsupportedError

__all__ = ["PATTERN", "holds", "parsed", "select", "text_at"]

_STEP = re.compile(r"\.([A-Za-z_@][\w@-]*)|\[(\d{1,6})\]|\[(\*)\]|\['([^']*)'\]")

PATTERN = r"^\$(\.[A-Za-z_@][A-Za-z0-9_@-]*|\[\d{1,6}\]|\[\*\]|\['[^']*'\])*$"
"""What a path looks like, for schemas."""

_DEEPEST = 200


class _All:
    """Every entry of a list."""


_ALL = _All()
_Steps = tuple[str | int | _All, ...]


def _steps(path: str) -> _Steps:
    if not re.fullmatch(PATTERN, path):
        raise TransportUnsupportedError(f"{path!r}: expected a JSON path such as $.result.code or $.orders[*].ok")
    found: list[str | int | _All] = []
    for name, number, every, quoted in _STEP.findall(path[1:]):
        found.append(_ALL if every else int(number) if number else name or quoted)
    return tuple(found)


def parsed(text: str) -> Any:
    """
    The document that *text* is.

    Raises:
        ValueError: It is none.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def select(document: Any, path: str) -> list[Any]:
    """
    Everything at *path*; nothing where there is no such place.

    Example:
        >>> select({"orders": [{"ok": True}, {"ok": False}]}, "$.orders[*].ok")
        [True, False]
        >>> select({"orders": []}, "$.result['the code']")
        []
    """
    return list(_walk(document, _steps(path)))


def _walk(value: Any, steps: _Steps) -> Iterator[Any]:
    if not steps:
        yield value
        return
    first, rest = steps[0], steps[1:]
    if isinstance(first, _All):
        for each in value if isinstance(value, list) else ():
            yield from _walk(each, rest)
    elif isinstance(first, int):
        if isinstance(value, list) and first < len(value):
            yield from _walk(value[first], rest)
    elif isinstance(value, dict) and first in value:
        yield from _walk(value[first], rest)


def text_at(document: Any, path: str) -> str | None:
    """
    What stands at *path* as one text, or ``None`` where nothing does.

    Example:
        >>> text_at({"errors": [{"text": "no HAT"}, {"text": "no CAP"}]}, "$.errors[*].text")
        'no HAT; no CAP'
    """
    found = [each for each in select(document, path) if each not in (None, "", [], {})]
    return "; ".join(each if isinstance(each, str) else json.dumps(each) for each in found) or None


def holds(document: Any, test: Mapping[str, Any]) -> list[bool]:
    """
    Whether *test* holds, for every place that its path names; one answer where it names none.

    Example:
        >>> holds({"code": 0}, {"at": "$.code", "equals": 0})
        [True]
        >>> holds({"code": False}, {"at": "$.code", "equals": 0})
        [False]
        >>> holds({}, {"at": "$.error", "exists": False})
        [True]
    """
    found = select(document, test["at"])
    if "exists" in test:
        return [any(each is not None for each in found) is test["exists"]]
    wanted = test["in"] if "in" in test else [test["equals"]]
    return [any(_same(each, one) for one in wanted) for each in found] or [False]


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: ``true`` is not 1."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)
