"""
Tagged lines: ``tag;value``, one value a line.

A place is a tag, ``ORDER``, or a tag in the lines that come again, ``item[]/SKU``. Such lists are the option ``loops``:
a tag that begins a turn, and the others that belong to it. A record begins with a tag, ends with one, or stands between
blank lines; what stands above the first record belongs to them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from attrs import field, frozen
from immutabledict import immutabledict

from fcflow.errors import Fault, FormatError, LayoutError
from fcflow.formats.codec import Batch, Cell, Place, Row, Unwritable
from fcflow.formats.edi import Loop, Segment, Turn, turns
from fcflow.formats.json_lines import raw_of
from fcflow.formats.nesting import MAX_LEVELS, Nest, Twig
from fcflow.formats.text import LINE_ENDS, MAX_LINE, Lines, TextOptions, problem_of_odd_text
from fcflow.model import Problem

__all__ = ["TaggedCodec", "build_tagged"]

_MOST_LINES = 100_000
_PLACE = re.compile(r"((?:[a-z][a-z0-9_]*\[\]/)*)([^/]+)")


@frozen
class _Spot:
    """Where a place lies: the loops that lead to it, outermost first, and its tag."""

    loops: tuple[str, ...]
    tag: str
    is_list: bool


@frozen
class _Record:
    """The lines of one record: tag and value, and the number of its first line."""

    number: int
    segments: list[Segment] = field(factory=list)
    problems: list[Problem] = field(factory=list)


class TaggedCodec:
    """Codec ``tagged``: see `docs/reference/layouts.md` for its options."""

    extension = "txt"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._places = places
        self._delimiter: str = options.get("delimiter", ";")
        self._fold: Callable[[str], str] = str.casefold if options.get("ignore_case") else str
        self._begin: str | None = options.get("begins_with")
        self._ends: str | None = options.get("ends_with")
        self._by_blanks: bool = options.get("blank_lines", "ignore") == "separate"
        self._refuses = options.get("unknown_tags", "ignore") == "refuse"
        self._count: str | None = options.get("count_tag")
        self._comment: str | None = options.get("comment")
        self._end = LINE_ENDS[options.get("line_end", "crlf")]
        self._limit: int = options.get("max_line", MAX_LINE)
        self._text = TextOptions(options, keeps_breaks=False)
        self._spots = [_spot(place) for place in places]
        self._loops = _loops(options)
        self._folded = [_folded(loop, self._fold) for loop in self._loops.values()]
        self._known = {self._fold(tag) for tag in self._tags()}
        self._nest = Nest.of([spot.loops for spot in self._spots])
        self.content_type = f"text/plain; charset={self._text.encoding}"

    def _tags(self) -> Iterator[str]:
        yield from (spot.tag for spot in self._spots)
        yield from (tag for loop in self._loops.values() for tag in (loop.start, *loop.tags))
        yield from (tag for tag in (self._begin, self._ends, self._count) if tag is not None)

    # -------------------------------------------------------------- reading

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        head: list[Segment] = []
        for record in self._records(stream, head):
            yield from record.problems
            if record.problems:
                yield Problem(line=record.number, message="a line of this record cannot be read")
            else:
                yield from self._rows_of(record, head)

    def _rows_of(self, record: _Record, head: list[Segment]) -> Iterator[Row]:
        def cell(turn: Turn, slot: int) -> Cell:
            spot = self._spots[slot]
            found = _values(turn.segments, self._fold(spot.tag))
            if not found and not spot.loops:
                found = _values(head, self._fold(spot.tag))
            return found if spot.is_list and len(found) > 1 else found[0] if found else None

        root = turns(record.segments, self._folded)
        entries: Callable[[Turn, str], Sequence[Turn]] = lambda turn, loop: turn.below.get(loop, [])  # noqa: E731  # short
        for cells in self._nest.rows(root, cell, entries, len(self._spots)):
            yield Row(record.number, cells, raw_of(self._places, cells), [None] * len(cells))

    def _records(self, stream: BinaryIO, head: list[Segment]) -> Iterator[_Record]:
        """Record by record; what stands above the first, where a tag begins it, goes into *head*."""
        lines = Lines(stream, self._text.reads, self._limit)
        record: _Record | None = None
        count, said = 0, None
        begin, end, total = (None if tag is None else self._fold(tag) for tag in (self._begin, self._ends, self._count))
        for text in lines:
            bare = text.rstrip("\r\n")
            if self._comment is not None and bare.startswith(self._comment):
                continue
            if not bare.strip():
                if self._by_blanks and record is not None:
                    yield record
                    record, count = None, count + 1
                continue
            segment = self._segment(lines, bare)
            tag = None if isinstance(segment, Problem) else segment[0]
            if tag is not None and tag == total:
                said = (lines.number, segment[1])  # type: ignore[index]  # it has a tag
                continue
            if tag is not None and tag == begin and record is not None:
                yield record
                record, count = None, count + 1
            if record is None and begin is not None and tag != begin:
                self._above(segment, lines.number, head)
                continue
            record = record or _Record(lines.number)
            self._take(record, segment, lines.number)
            if tag is not None and tag == end:
                yield record
                record, count = None, count + 1
        if record is not None and end is not None:
            raise FormatError(f"line {record.number}: expected {self._ends!r} at its end, got the end of the file")
        if record is not None:
            yield record
            count += 1
        self._check_count(count, said)

    def _segment(self, lines: Lines, text: str) -> Segment | Problem:
        number = lines.number
        if number in lines.odd and (odd := problem_of_odd_text(text, number, lines.encoding, immutabledict())):
            return odd
        tag, delimiter, value = text.partition(self._delimiter)
        tag = self._fold(tag.strip())
        if tag in self._known:
            return [tag, value.strip()]
        if not delimiter:
            expected = f"a tag and a value with {self._delimiter!r} between them"
            return Problem(line=number, expected=expected, found=text[:60])
        if self._refuses:
            return Problem(line=number, expected="one of " + ", ".join(sorted(self._known)), found=tag)
        return [tag, value.strip()]

    def _above(self, segment: Segment | Problem, number: int, head: list[Segment]) -> None:
        if isinstance(segment, Problem):
            raise FormatError(f"expected {self._begin!r} before anything else: {segment}")
        if segment[0] == (self._ends and self._fold(self._ends)):
            raise FormatError(f"line {number}: expected {self._begin!r} before {self._ends!r}")
        head.append(segment)
        _refuse_more(head, number)

    def _take(self, record: _Record, segment: Segment | Problem, number: int) -> None:
        if isinstance(segment, Problem):
            record.problems.append(segment)
        else:
            record.segments.append(segment)
        _refuse_more(record.segments, number)
        _refuse_more(record.problems, number)

    def _check_count(self, count: int, said: tuple[int, str] | None) -> None:
        if self._count is None:
            return
        if said is None and count:
            raise FormatError(f"expected {self._count!r} at the end, got the end of the file")
        if said is not None and not (said[1].isascii() and said[1].isdigit() and int(said[1][:18]) == count):
            raise FormatError(f"line {said[0]}: {self._count} says {said[1]!r} records, got {count}")

    # -------------------------------------------------------------- writing

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        made = [list(self._of(twig, None)) for record in records for twig in self._nest.twigs(record)]
        out: list[str] = []
        for number, lines in enumerate(made):
            if number and self._by_blanks:
                out.append("")
            out += [*lines, *([] if self._ends is None else [self._line(self._ends, "")])]
        if self._count is not None:
            out.append(self._line(self._count, str(len(made))))
        return self._text.encode("".join(line + self._end for line in out))

    def _of(self, twig: Twig, loop: Loop | None) -> Iterator[str]:
        """The lines of a record, or of a turn of *loop*: what begins it always, the others if they say something."""
        first = self._begin if loop is None else loop.start
        mine = [(self._spots[slot].tag, cell) for slot, cell in twig.cells.items()]
        own = next((cell for tag, cell in mine if tag == first), None)
        if first is not None:
            yield self._line(first, own if isinstance(own, str) else "")
        yield from (self._line(tag, cell) for tag, cell in mine if tag != first and isinstance(cell, str) and cell)
        for name, entries in twig.below.items():
            for entry in entries:
                yield from self._of(entry, self._loops[name])

    def _line(self, tag: str, value: str) -> str:
        return f"{tag}{self._delimiter}{value}" if value or tag != self._ends else tag

    def carry(self, place: int, text: str) -> str:
        text = self._text.carry(text).strip()
        if self._begin is None and text == "" and self._spots[place].tag == self._ends:
            raise Unwritable("expected something, as this tag ends the record")
        return text


def _values(segments: Sequence[Segment], tag: str) -> list[str]:
    return [value for found, value in segments if found == tag and value]


def _refuse_more(lines: Sequence[Any], number: int) -> None:
    if len(lines) > _MOST_LINES:
        raise FormatError(f"line {number}: expected at most {_MOST_LINES} lines of a record")


# ------------------------------------------------------------------ checks


def _spot(place: Place) -> _Spot:
    match = _PLACE.fullmatch(str(place.at))
    assert match is not None  # `build_tagged` has looked
    loops = tuple(part.removesuffix("[]") for part in match[1].split("/") if part)
    return _Spot(loops, match[2], place.type == "list")


def _loops(options: Mapping[str, Any]) -> dict[str, Loop]:
    return {
        name: Loop(name, each["starts_with"], None, frozenset(each.get("tags", ())), each.get("in"))
        for name, each in options.get("loops", {}).items()
    }


def _folded(loop: Loop, fold: Callable[[str], str]) -> Loop:
    return Loop(loop.name, fold(loop.start), None, frozenset(map(fold, loop.tags)), loop.parent)


def build_tagged(options: Mapping[str, Any], places: Sequence[Place]) -> TaggedCodec:
    """The codec that *options* describe; raises `LayoutError` where places and loops do not fit."""
    loops = _loops(options)
    faults = [*_option_faults(options), *_loop_faults(loops)]
    for place in places:
        faults += _place_faults(place, loops, options)
    if faults:
        raise LayoutError("layout", faults)
    return TaggedCodec(options, places)


def _option_faults(options: Mapping[str, Any]) -> Iterator[Fault]:
    ways = [options.get("begins_with"), options.get("ends_with"), options.get("blank_lines") == "separate"]
    if not any(ways):
        expected = "begins_with, ends_with, or blank_lines that separate: what tells one record from the next"
        yield Fault("missing", path="$.codec", expected=expected)
    delimiter = options.get("delimiter", ";")
    for name in ("begins_with", "ends_with", "count_tag"):
        if delimiter in options.get(name, ""):
            yield Fault("", path=f"$.codec.{name}", expected=f"a tag without {delimiter!r}", found=options[name])


def _loop_faults(loops: Mapping[str, Loop]) -> Iterator[Fault]:
    taken: dict[str, str] = {}
    for name, loop in loops.items():
        path = f"$.codec.loops.{name}"
        for tag in (loop.start, *sorted(loop.tags)):
            if taken.setdefault(tag, name) != name:
                yield Fault(f"{tag} belongs to loop {taken[tag]} already", path=path)
        seen, parent = {name}, loop.parent
        while parent is not None and parent in loops and parent not in seen:
            seen.add(parent)
            parent = loops[parent].parent
        if parent is not None:
            yield Fault("lies in itself" if parent in loops else "unknown loop", path=f"{path}.in", found=parent)
        if len(seen) > MAX_LEVELS:
            yield Fault(f"more than {MAX_LEVELS} loops in each other", path=path)


def _place_faults(place: Place, loops: Mapping[str, Loop], options: Mapping[str, Any]) -> Iterator[Fault]:
    path, match = f"{place.path}.at", _PLACE.fullmatch(str(place.at))
    if isinstance(place.at, int) or match is None or options.get("delimiter", ";") in match[2]:
        yield Fault("", path=path, expected="a tag such as ORDER, or one of a loop, item[]/SKU", found=place.at)
        return
    above: str | None = None
    for name in (part.removesuffix("[]") for part in match[1].split("/") if part):
        if name not in loops:
            yield Fault("unknown loop", path=path, found=name, expected=" or ".join(loops) or "one in codec.loops")
            return
        if loops[name].parent != above:
            yield Fault(f"loop {name} lies in {loops[name].parent or 'the record'}", path=path, found=place.at)
            return
        above = name
    owner = next((name for name, loop in loops.items() if match[2] in (loop.start, *loop.tags)), None)
    if owner != above:
        where = f"loop {owner}" if owner else "no loop"
        yield Fault(f"{match[2]} belongs to {where}", path=path, found=place.at)
