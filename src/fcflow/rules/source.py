"""
From a file, a text or a mapping to a plain JSON value with exact numbers, and from it to its canonical text.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from pathlib import Path as FilePath
from typing import Any

from fcflow.rules.faults import Faults, Path

__all__ = ["MAX_DEPTH", "canonical", "digest", "plain", "read"]

MAX_DEPTH = 60
_HALVES = re.compile("[\ud800-\udfff]")

_MARKED = re.compile(r'"\\u0000([-+.0-9E]+)"')
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


class _Object(dict[str, Any]):
    """A JSON object some of whose keys stood twice."""

    twice: tuple[str, ...] = ()


def read(source: str | os.PathLike[str] | Mapping[str, Any], faults: Faults) -> tuple[str, Any]:
    """
    The name of *source* for messages, and its JSON value with fractions as `Decimal`.

    A text that begins with a brace is the document itself, any other text is a path.
    """
    if isinstance(source, Mapping):
        return "rules", exact(source, faults)
    if isinstance(source, str) and source.lstrip("\ufeff \t\r\n").startswith("{"):
        return "rules", _parsed(source, faults)
    name = os.fspath(source)
    try:
        text = FilePath(name).read_bytes().decode("utf-8-sig")
    except OSError as error:
        faults.add((), f"cannot be read: {error.strerror}", found=name)
        return name, None
    except UnicodeDecodeError as error:
        faults.add((), f"byte {error.start} is not UTF-8")
        return name, None
    except ValueError as error:
        faults.add((), f"cannot be read: {error}", found=name)
        return name, None
    return name, _parsed(text, faults)


def _parsed(text: str, faults: Faults) -> Any:
    try:
        value = json.loads(
            text.removeprefix("\ufeff"), parse_float=Decimal, parse_constant=_refused, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        faults.add_at(error.lineno, error.colno, f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}")
    except RecursionError:
        faults.add((), "nested too deeply", expected=f"at most {MAX_DEPTH} levels")
    except ValueError as error:
        faults.add((), f"not JSON: {error}")
    else:
        return value if _is_sound(text, value) else exact(value, faults)
    return None


def _is_sound(text: str, value: Any) -> bool:
    """Whether a parsed text is plain and exact as it is; a quick look, which doubts rather too much."""
    if type(value) is _Object or "\\u" in text or not (text.isascii() or _HALVES.search(text) is None):
        return False
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return True
        if any(type(item) is _Object for item in level):
            return False
    return False


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is not a number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    doubtful = _Object(made)
    keys = [key for key, _ in pairs]
    doubtful.twice = tuple(sorted({key for key in keys if keys.count(key) > 1}))
    return doubtful


def exact(value: Any, faults: Faults, path: Path = ()) -> Any:
    """*value* as plain JSON types with fractions as `Decimal`; what JSON cannot say is a fault."""
    if len(path) > MAX_DEPTH:
        faults.add(path, "nested too deeply", expected=f"at most {MAX_DEPTH} levels")
        return None
    if isinstance(value, Mapping):
        for key in getattr(value, "twice", ()):
            faults.add((*path, key), "stands twice in one object")
        for key in (key for key in value if not isinstance(key, str)):
            faults.add(path, "a key that is not text", found=key)
        return {
            _whole_text(key, faults, path): exact(item, faults, (*path, key))
            for key, item in value.items()
            if isinstance(key, str)
        }
    if isinstance(value, list | tuple):
        return [exact(item, faults, (*path, index)) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _whole_text(str(value), faults, path)
    return _fraction(value, faults, path)


def _whole_text(text: str, faults: Faults, path: Path) -> str:
    """*text*, unless it holds half of a surrogate pair, which no file can hold and nothing can equal."""
    if not text.isascii() and _HALVES.search(text):
        faults.add(path, "half of a surrogate pair", found=ascii(text[:40]), expected="text that UTF-8 can hold")
        return ""
    return text


def _fraction(value: Any, faults: Faults, path: Path) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        return Decimal(repr(value))
    if isinstance(value, Decimal) and value.is_finite():
        return value
    faults.add(path, "not a JSON value", found=value)
    return None


def plain(value: Any) -> Any:
    """*value* as `json.dumps` takes it; a fraction that a float would change becomes text."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Decimal):
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    return value


def canonical(value: Any) -> str:
    """
    One text for equal documents: sorted keys, no blanks, numbers without needless digits.

    Example:
        >>> canonical({"b": Decimal("2.50"), "a": [1, Decimal("1.0"), "x"]})
        '{"a":[1,1,"x"],"b":2.5}'
    """
    fractions = 0

    def number(each: Any) -> Any:
        """A whole number as itself, a fraction as a text that is marked, for the encoder knows none."""
        nonlocal fractions
        said = _digits(each)
        if isinstance(said, str):
            fractions += 1
            return f"\x00{said}"
        return said

    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=number)
    if not fractions:
        return text
    text, found = _MARKED.subn(r"\1", text)
    return text if found == fractions else _spelt(value)


def _digits(value: Decimal) -> int | str:
    whole = value == value.to_integral_value() and value.adjusted() <= 40
    return int(value) if whole else str(_EXACT.normalize(value))


def _spelt(value: Any) -> str:
    """The same, piece by piece, for a document with texts that look like marked fractions."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_spelt(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spelt, value)) + "]"
    return str(_digits(value)) if isinstance(value, Decimal) else json.dumps(value)


def digest(value: Any) -> str:
    """SHA-256 of the canonical text, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
