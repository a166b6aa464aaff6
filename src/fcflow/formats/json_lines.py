"""
JSON lines: one object a line. A place is a path of keys, ``order.id``; ``lines[].sku`` repeats over a list.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, BinaryIO

from immutabledict import immutabledict

from fcflow.errors import Fault, FormatError, LayoutError
from fcflow.formats.codec import Batch, Cell, Place, Row
from fcflow.formats.text import MAX_LINE, Lines, TextOptions, problem_of_odd_text
from fcflow.model import Problem

__all__ = [
    "JsonLinesCodec",
    "build_json_lines",
    "cell_of",
    "json_value",
    "raw_of",
    "read_objects",
    "refuse_constant",
    "without_repeats",
]


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def refuse_constant(word: str) -> Any:
    """For ``parse_constant``: what Python reads beyond JSON is refused."""
    raise ValueError(f"{word} is not a number of JSON")


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """
    An object of its pairs, for ``object_pairs_hook``.

    Raises:
        ValueError: A key stands twice; JSON itself would keep the last and say nothing.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"key {repeated[:60]!r} stands twice in one object")
    return made


def read_objects(stream: BinaryIO, options: Mapping[str, Any], **numbers: Any) -> Iterator[tuple[int, Any] | Problem]:
    """
    Line numbers and their JSON values; a line that is no JSON object is a problem.

    Args:
        numbers: ``parse_float`` and ``parse_int``, as `json.loads` takes them.

    Raises:
        FormatError: A line is longer than ``max_line``, or the text is in another encoding.
    """
    encoding = options.get("encoding", "utf-8")
    lines = Lines(stream, encoding, options.get("max_line", MAX_LINE))
    load = json.JSONDecoder(
        parse_constant=refuse_constant, object_pairs_hook=without_repeats, strict=True, **numbers
    ).decode
    for line in lines:
        text = line.strip()
        if not text:
            continue
        number = lines.number
        if number in lines.odd and (odd := problem_of_odd_text(text, number, lines.encoding, immutabledict())):
            yield odd
            continue
        try:
            value = load(text)
        except json.JSONDecodeError as error:
            yield Problem(line=number, column=error.colno, expected="a JSON object", message=error.msg)
        except (ValueError, RecursionError) as error:
            yield Problem(line=number, expected="a JSON object", message=_said(error))
        else:
            if isinstance(value, dict):
                yield number, value
            else:
                yield Problem(line=number, column=1, expected="a JSON object", found=text[:60])


def _said(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


class _Path:
    """``a.b`` or ``a.list[].b``: the keys before the list, and those inside its entries."""

    def __init__(self, at: str) -> None:
        outer, repeats, inner = at.partition("[]")
        self.repeats = bool(repeats)
        self.outer = outer.split(".")
        self.inner = inner.removeprefix(".").split(".") if repeats else []

    def fault(self) -> str | None:
        keys = self.outer + self.inner
        return None if all(keys) and not any("[" in key or "]" in key for key in keys) else "a path such as lines[].sku"


class JsonLinesCodec:
    """Codec ``json_lines``: see `docs/reference/layouts.md` for its options."""

    content_type = "application/x-ndjson"
    extension = "jsonl"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._options = options
        self._places = places
        self._paths = [_Path(str(place.at)) for place in places]
        self._list = next((path.outer for path in self._paths if path.repeats), None)
        self._text = TextOptions(options, keeps_breaks=True)

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        for item in read_objects(stream, self._options, parse_float=str, parse_int=str):
            if isinstance(item, Problem):
                yield item
            else:
                yield from self._rows_of(*item)

    def _rows_of(self, line: int, value: dict[str, Any]) -> Iterator[Row | Problem]:
        entries = _get(value, self._list) if self._list is not None else None
        if self._list is not None and entries is not None and not isinstance(entries, list):
            yield Problem(line=line, field=".".join(self._list), expected="a list", found=str(entries)[:60])
            return
        for entry in entries or [None]:
            cells: list[Cell] = []
            for place, path in zip(self._places, self._paths, strict=True):
                found = _get(entry, path.inner) if path.repeats else _get(value, path.outer)
                try:
                    cells.append(cell_of(found))
                except ValueError:
                    yield Problem(line=line, field=str(place.at), expected="a text or a number", found=str(found)[:60])
                    return
            yield Row(line, cells, raw_of(self._places, cells), [None] * len(cells))

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        lines = [dump(self._object(rows)) + "\n" for record in records for rows in self._alike(record)]
        return self._text.encode("".join(lines))

    def _alike(self, rows: Sequence[Sequence[Cell]]) -> list[list[Sequence[Cell]]]:
        """Neighbouring rows that agree in all that stands outside the list: each lot is one object."""
        if self._list is None:
            return [[row] for row in rows]
        outer = [index for index, path in enumerate(self._paths) if not path.repeats]
        return [list(lot) for _, lot in groupby(rows, key=lambda row: [row[index] for index in outer])]

    def _object(self, rows: Sequence[Sequence[Cell]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        entries: list[dict[str, Any]] = [{} for _ in rows]
        for index, row in enumerate(rows):
            for place, path, cell in zip(self._places, self._paths, row, strict=True):
                if path.repeats and not index:
                    _put(made, path.outer, entries)
                if cell in (None, "", []) or (index and not path.repeats):
                    continue
                _put(entries[index] if path.repeats else made, path.inner or path.outer, json_value(place, cell))
        return made

    def carry(self, place: int, text: str) -> str:
        return self._text.carry(text)


def _get(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _put(target: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        target = target.setdefault(key, {})
    target[keys[-1]] = value


def cell_of(value: Any) -> Cell:
    """
    The cell of a JSON value whose numbers were read as text.

    Raises:
        ValueError: It is an object, or a list of anything but texts.
    """
    if isinstance(value, str):
        return _storable(value)
    if value is None:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return [_storable(each) for each in value]
    raise ValueError("not a scalar")


def _storable(text: str) -> str:
    """*text*; an escaped NUL or half of a surrogate pair, which no database or file can hold, is replaced."""
    return text if text.isprintable() else _UNSTORABLE.sub("\ufffd", text)


def json_value(place: Place, cell: Cell) -> Any:
    """A whole number as a number, where it is spelt as JSON spells one; all else as text."""
    plain = place.type == "integer" and isinstance(cell, str) and re.fullmatch("-?[1-9][0-9]{0,17}|0", cell)
    return int(plain[0]) if plain else cell


def raw_of(places: Sequence[Place], cells: Sequence[Cell]) -> immutabledict[str, str]:
    """The cells that are there by their places, as text."""
    return immutabledict(
        (str(place.at), cell if isinstance(cell, str) else json.dumps(cell))
        for place, cell in zip(places, cells, strict=True)
        if cell is not None
    )


def build_json_lines(options: Mapping[str, Any], places: Sequence[Place]) -> JsonLinesCodec:
    """The codec that *options* describe; raises `LayoutError` where places and options do not fit."""
    faults: list[Fault] = []
    lists: set[str] = set()
    seen: dict[tuple[str, ...], str] = {}
    for place in places:
        path = _Path(str(place.at))
        expected = path.fault()
        if expected or isinstance(place.at, int):
            faults.append(Fault("", path=f"{place.path}.at", expected=expected or "a path", found=place.at))
            continue
        if path.repeats:
            lists.add(".".join(path.outer))
            if len(lists) > 1:
                faults.append(Fault("", path=f"{place.path}.at", expected="one repeating list", found=place.at))
        seen[(*path.outer, *(("[]",) if path.repeats else ()), *path.inner)] = place.path
    for keys, where in seen.items():
        if any(keys[:size] in seen for size in range(1, len(keys))):
            faults.append(Fault("lies inside a place that holds a text", path=f"{where}.at", found=".".join(keys)))
    if faults:
        raise LayoutError("layout", faults)
    return JsonLinesCodec(options, places)


def one_line(value: Mapping[str, Any]) -> bytes:
    """A JSON object as one line of UTF-8."""
    return (json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n").encode()


def as_stream(payload: bytes | BinaryIO) -> BinaryIO:
    """*payload* as a stream."""
    if isinstance(payload, bytes | bytearray | memoryview):
        return io.BytesIO(payload)
    if not hasattr(payload, "read"):
        raise FormatError(f"expected bytes or a binary stream, got {type(payload).__name__}")
    return payload
