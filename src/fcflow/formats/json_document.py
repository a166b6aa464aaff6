"""
JSON documents: one value for the whole payload, with the records in a list, in an object by their keys, or alone.

A place is a path from the record: ``ship_to.name``, ``lines[].sku`` over a list, ``notes[0]`` one entry of it,
``addresses[type=ship].town`` the entry that says so, ``$key`` and ``$value`` of a record that stands in an object, and
``$.sent_at`` from the root of the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from attrs import frozen

from fcflow.errors import Fault, FormatError, LayoutError
from fcflow.formats.codec import Batch, Cell, Place, Row
from fcflow.formats.json_lines import cell_of, json_value, raw_of, refuse_constant, without_repeats
from fcflow.formats.nesting import MAX_LEVELS, Nest, Twig
from fcflow.formats.text import TextOptions, decoded_whole
from fcflow.model import Problem

__all__ = ["JsonCodec", "build_json"]

MAX_BYTES = 64 * 1024 * 1024
_STEP = re.compile(r"(?P<key>[^.\[\]]+)(?:\[(?P<inside>[^\[\]]*)\])?")


@frozen
class _Step:
    """
    One step of a path.

    Args:
        index: Of the entry that is meant, or ``None``.

        where: A key and the text that the entry has there, or ``None``.

        repeats: Whether every entry is meant.
    """

    key: str
    index: int | None = None
    where: tuple[str, str] | None = None
    repeats: bool = False

    def into(self, value: Any) -> Any:
        """What the step leads to from *value*; ``None`` where it leads nowhere."""
        found = value.get(self.key) if isinstance(value, dict) else None
        if self.index is not None:
            return found[self.index] if isinstance(found, list) and len(found) > self.index else None
        if self.where is not None:
            key, text = self.where
            entries = found if isinstance(found, list) else []
            return next((each for each in entries if isinstance(each, dict) and str(each.get(key)) == text), None)
        return found


def _steps(text: str) -> list[_Step] | None:
    """The steps of a path; ``None`` where it is none."""
    steps, at = list[_Step](), 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            return None
        inside = match["inside"]
        if inside is None:
            steps.append(_Step(match["key"]))
        elif inside == "":
            steps.append(_Step(match["key"], repeats=True))
        elif inside.isascii() and inside.isdigit() and len(inside) < 5:
            steps.append(_Step(match["key"], index=int(inside)))
        elif "=" in inside:
            key, _, wanted = inside.partition("=")
            steps.append(_Step(match["key"], where=(key, wanted)))
        else:
            return None
        at = match.end()
        if at < len(text):
            if text[at] != "." or at + 1 == len(text):
                return None
            at += 1
    return steps or None


@frozen
class _Path:
    """
    Where a place lies.

    Args:
        root: Whether the path begins at the root of the document.

        special: ``$key`` or ``$value``, else empty.

        chain: The lists that it lies in, each as the text of its path from the list outside it.

        outer: For each of them the steps that lead to the list.

        leaf: The steps from the innermost element.
    """

    root: bool
    special: str
    chain: tuple[str, ...]
    outer: tuple[tuple[_Step, ...], ...]
    leaf: tuple[_Step, ...]


def _path(at: str | int) -> _Path | None:
    text = str(at)
    if text in ("$key", "$value"):
        return _Path(False, text, (), (), ())
    steps = _steps(text.removeprefix("$."))
    if steps is None or isinstance(at, int):
        return None
    chain, outer, leaf = list[str](), list[tuple[_Step, ...]](), list[_Step]()
    for step in steps:
        leaf.append(step)
        if step.repeats:
            chain.append(".".join(each.key for each in leaf))
            outer.append(tuple(leaf))
            leaf = []
    if text.startswith("$.") and chain:
        return None
    return _Path(text.startswith("$."), "", tuple(chain), tuple(outer), tuple(leaf))


@frozen
class _Record:
    """One record on its way in: its key, its value, and the document around it."""

    key: str | None
    value: Any
    document: Any


class JsonCodec:
    """Codec ``json``: see `docs/reference/layouts.md` for its options."""

    content_type = "application/json"
    extension = "json"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._places = places
        self._paths = [path for place in places if (path := _path(place.at)) is not None]
        self._nest = Nest.of([path.chain for path in self._paths])
        self._lists = {level: steps for path in self._paths for level, steps in _levels(path)}
        self._records = _steps(options["records"]) if options.get("records") else None
        self._keyed = bool(options.get("keyed", False))
        self._alone = bool(options.get("alone", False))
        self._most: int = options.get("max_bytes", MAX_BYTES)
        self._indent: int | None = options.get("indent")
        self._numbers = bool(options.get("numbers", True))
        self._text = TextOptions(options, keeps_breaks=True)

    # -------------------------------------------------------------- reading

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        document = self._loaded(stream)
        for number, record in enumerate(self._found(document), start=1):
            yield from self._rows_of(number, record)

    def _loaded(self, stream: BinaryIO) -> Any:
        text = decoded_whole(stream, self._text.encoding, self._most)
        try:
            return json.loads(
                text,
                parse_float=str,
                parse_int=str,
                parse_constant=refuse_constant,
                object_pairs_hook=without_repeats,
            )
        except json.JSONDecodeError as error:
            raise FormatError(f"line {error.lineno}, column {error.colno}: expected JSON: {error.msg}") from error
        except RecursionError:
            raise FormatError("expected JSON that is not nested too deeply") from None
        except ValueError as error:
            raise FormatError(f"expected JSON: {error}") from error

    def _found(self, document: Any) -> Iterator[_Record]:
        value = document
        for step in self._records or ():
            value = step.into(value)
        if value is None:
            where = ".".join(step.key for step in self._records or ())
            raise FormatError(f"expected records at {where or 'the root'}, got nothing")
        if self._keyed:
            if not isinstance(value, dict):
                raise FormatError(f"expected an object of records by their keys, got {_kind(value)}")
            yield from (_Record(key, each, document) for key, each in value.items())
        elif isinstance(value, list):
            yield from (_Record(None, each, document) for each in value)
        elif isinstance(value, dict):
            yield _Record(None, value, document)
        else:
            raise FormatError(f"expected a list of records, got {_kind(value)}")

    def _rows_of(self, number: int, record: _Record) -> Iterator[Row | Problem]:
        if not isinstance(record.value, dict) and not self._keyed:
            found = str(record.value)[:60]
            yield Problem(line=number, expected="an object", found=found, message=f"record {number}")
            return
        try:
            made = list(self._nest.rows(record, self._cell, self._entries, len(self._paths)))
        except _OddCell as odd:
            at = str(self._places[odd.slot].at)
            yield Problem(line=number, field=at, expected="a text or a number", found=odd.found)
            return
        for cells in made:
            yield Row(number, cells, raw_of(self._places, cells), [None] * len(cells))

    def _cell(self, element: Any, slot: int) -> Cell:
        path = self._paths[slot]
        if isinstance(element, _Record):
            if path.special:
                return self._checked(element.key if path.special == "$key" else element.value, slot)
            element = element.document if path.root else element.value
        for step in path.leaf:
            element = step.into(element)
        return self._checked(element, slot)

    def _checked(self, value: Any, slot: int) -> Cell:
        try:
            return cell_of(value)
        except ValueError:
            raise _OddCell(slot, str(value)[:60]) from None

    def _entries(self, element: Any, level: str) -> Iterable[Any]:
        value = element.value if isinstance(element, _Record) else element
        for step in self._lists[level]:
            value = step.into(value)
        return value if isinstance(value, list) else [] if value is None else [value]

    # -------------------------------------------------------------- writing

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        twigs = [twig for record in records for twig in self._nest.twigs(record)]
        if self._alone and len(twigs) != 1:
            raise FormatError(f"expected one record for one document, got {len(twigs)}; set the feed's batch to 1")
        root: dict[str, Any] = {}
        made = [self._made(twig, root) for twig in twigs]
        value: Any = (
            dict(self._keys(made)) if self._keyed else made[0][1] if self._alone else [each for _, each in made]
        )
        document = value if self._records is None and not root else self._placed(root, value)
        text = json.dumps(
            document,
            ensure_ascii=False,
            indent=self._indent,
            separators=(",", ":") if self._indent is None else None,
        )
        return self._text.encode(text)

    def _keys(self, made: Sequence[tuple[str | None, Any]]) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key, value in made:
            if key is None or key in seen:
                raise FormatError(f"expected a key of its own for every record, got {key!r}")
            seen.add(key)
            yield key, value

    def _placed(self, root: dict[str, Any], value: Any) -> dict[str, Any]:
        steps = self._records or [_Step("records")]
        _put(root, steps, value)
        return root

    def _made(self, twig: Twig, root: dict[str, Any]) -> tuple[str | None, Any]:
        """The key and the value of a record; what belongs to the document goes there."""
        key, value = None, None
        made: dict[str, Any] = {}
        for slot, cell in twig.cells.items():
            path = self._paths[slot]
            if cell in (None, "", []):
                continue
            if path.special == "$key":
                key = cell if isinstance(cell, str) else None
            elif path.special == "$value":
                value = self._value(slot, cell)
            else:
                _put(root if path.root else made, path.leaf, self._value(slot, cell))
        self._fill(made, twig)
        return key, made if value is None else value

    def _fill(self, made: dict[str, Any], twig: Twig) -> None:
        for level, entries in twig.below.items():
            found = []
            for entry in entries:
                one: dict[str, Any] = {}
                for slot, cell in entry.cells.items():
                    if cell not in (None, "", []):
                        _put(one, self._paths[slot].leaf, self._value(slot, cell))
                self._fill(one, entry)
                found.append(one)
            _put(made, self._lists[level], found)

    def _value(self, slot: int, cell: Cell) -> Any:
        return json_value(self._places[slot], cell) if self._numbers else cell

    def carry(self, place: int, text: str) -> str:
        return self._text.carry(text)


class _OddCell(Exception):  # a signal inside this module
    """A place that holds an object or a list of them."""

    def __init__(self, slot: int, found: str) -> None:
        super().__init__(found)
        self.slot = slot
        self.found = found


def _levels(path: _Path) -> Iterator[tuple[str, tuple[_Step, ...]]]:
    """Each list of a path, without its mark of repetition."""
    for level, steps in zip(path.chain, path.outer, strict=True):
        yield level, (*steps[:-1], _Step(steps[-1].key))


def _put(target: dict[str, Any], steps: Sequence[_Step], value: Any) -> None:
    """Put *value* where *steps* lead, making what is missing on the way."""
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if last and step.index is not None:
            entries = target.setdefault(step.key, [])
            entries.extend([None] * (step.index + 1 - len(entries)))
            entries[step.index] = value
        elif step.index is not None or step.where is not None:
            target = _entry(target.setdefault(step.key, []), step)
        elif last:
            target[step.key] = value
        else:
            target = target.setdefault(step.key, {})


def _entry(entries: list[Any], step: _Step) -> dict[str, Any]:
    if step.where is not None:
        key, text = step.where
        for each in entries:
            if each.get(key) == text:
                return each  # type: ignore[no-any-return]  # made here
        entries.append({key: text})
        return entries[-1]  # type: ignore[no-any-return]  # made here
    while len(entries) <= (step.index or 0):
        entries.append({})
    return entries[step.index or 0]  # type: ignore[no-any-return]  # made here


def _kind(value: Any) -> str:
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)[:60]


def build_json(options: Mapping[str, Any], places: Sequence[Place]) -> JsonCodec:
    """The codec that *options* describe; raises `LayoutError` where places and options do not fit."""
    faults = [*_option_faults(options)]
    seen: dict[tuple[Any, ...], str] = {}
    for place in places:
        path = _path(place.at)
        fault = _place_fault(place, path, options)
        if fault is not None or path is None:
            faults.append(fault or Fault("", path=f"{place.path}.at", expected="a path", found=place.at))
            continue
        seen[(path.root, path.special, *path.chain, *((step.key, step.index, step.where) for step in path.leaf))] = (
            place.path
        )
    for keys, where in seen.items():
        if any(keys[:size] in seen for size in range(3, len(keys))):
            faults.append(Fault("lies inside a place that holds a text", path=f"{where}.at"))
    if faults:
        raise LayoutError("layout", faults)
    return JsonCodec(options, places)


def _option_faults(options: Mapping[str, Any]) -> Iterator[Fault]:
    steps = _steps(options["records"]) if options.get("records") else []
    if steps is None or any(step.repeats for step in steps):
        yield Fault("", path="$.codec.records", expected="a path such as data.orders", found=options["records"])
    if options.get("alone") and options.get("keyed"):
        yield Fault("does not go with keyed", path="$.codec.alone")


def _place_fault(place: Place, path: _Path | None, options: Mapping[str, Any]) -> Fault | None:
    def fault(expected: str) -> Fault:
        return Fault("", path=f"{place.path}.at", expected=expected, found=place.at)

    if path is None:
        return fault("a path such as ship_to.name, lines[].sku, notes[0] or addresses[type=ship].town")
    if path.special and not options.get("keyed"):
        return fault("a path; $key and $value belong to records that stand in an object (keyed)")
    if len(path.chain) > MAX_LEVELS:
        return fault(f"at most {MAX_LEVELS} lists in each other")
    if path.leaf and path.leaf[-1].where is not None:
        return fault("a key behind the entry that says so")
    return None
