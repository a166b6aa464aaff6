"""
Record types: lines of several kinds, told apart by a mark in a cell or at a position, or by the section they stand in.

A place is a type and where in its lines: ``order/2`` the second cell, ``order/11`` the eleventh character of a fixed
line, ``item/SKU`` a column of a section with a header. One type begins a record; types that lie *in* another come again
for each of its lines; types of the *file* stand once before the records, or once behind them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, BinaryIO

from attrs import define, field, frozen
from immutabledict import immutabledict

from fcflow.errors import Fault, FormatError, LayoutError
from fcflow.formats.codec import Batch, Cell, Place, Row, Unwritable
from fcflow.formats.fixed_width import Ruler, Slot, ruler_faults
from fcflow.formats.json_lines import raw_of
from fcflow.formats.nesting import MAX_LEVELS, Nest, Twig
from fcflow.formats.text import LINE_ENDS, MAX_LINE, Lines, TextOptions, problem_of_odd_text
from fcflow.model import Problem

__all__ = ["RecordsCodec", "build_records"]

_MOST_LINES = 100_000


@frozen
class _Type:
    """
    A kind of line.

    Args:
        mark: What tells it, or the line that begins its section.

        within: The type that it lies in, ``None`` for the type that begins a record, ``file`` for lines of the file.

        has_header: Whether its section begins with a row of names.

        trailer: What its line counts and adds up, where it is a trailer.
    """

    name: str
    mark: str
    within: str | None
    has_header: bool = False
    trailer: Mapping[str, Any] | None = None


@define
class _Line:
    """One line of a type, and the lines that lie in it."""

    type: _Type
    number: int
    text: str
    cells: list[str]
    names: list[str]
    below: dict[str, list[_Line]] = field(factory=dict)


@frozen
class _Spot:
    """Where a place lies: a type, and a position or the name of a column."""

    type: _Type
    at: int | str
    slot: Slot | None


@define
class _Tally:
    """What was read or written so far, for trailers."""

    records: int = 0
    lines: int = 0
    by_type: dict[str, int] = field(factory=dict)
    sums: dict[str, Decimal] = field(factory=dict)

    def count(self, name: str) -> None:
        self.lines += 1
        self.by_type[name] = self.by_type.get(name, 0) + 1

    def of(self, what: str) -> int:
        """``records``, ``lines`` (trailers left out), or the lines of a type."""
        return {"records": self.records, "lines": self.lines}.get(what, self.by_type.get(what, 0))


class RecordsCodec:
    """Codec ``records``: see `docs/reference/layouts.md` for its options."""

    extension = "txt"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._places = places
        self._types = _types(options)
        self._fixed = bool(options.get("fixed", False))
        self._at: int = options.get("type_at", 1)
        self._width: int = options.get("type_width", 0)
        self._delimiter: str = options.get("delimiter", ";")
        self._quote: str | None = options.get("quote", '"')
        self._comment: str | None = options.get("comment")
        self._end = LINE_ENDS[options.get("line_end", "crlf")]
        self._limit: int = options.get("max_line", MAX_LINE)
        self._strict = options.get("unknown_types", "refuse") == "refuse"
        self._text = TextOptions(options, keeps_breaks=False)
        self._sections = any("marker" in each for each in options["types"].values())
        self._by_mark = {each.mark: each for each in self._types.values()}
        self._ruler = Ruler.of(options, self._text)
        self._spots = [_spot(place, self._types, self._ruler if self._fixed else None) for place in places]
        self._first = next(each for each in self._types.values() if each.within is None)
        self._nest = Nest.of([self._chain(spot.type) for spot in self._spots])
        self._summed = [
            each.trailer["sum_of"] for each in self._types.values() if each.trailer and "sum_of" in each.trailer
        ]
        self.content_type = f"text/plain; charset={self._text.encoding}"

    def _chain(self, kind: _Type) -> tuple[str, ...]:
        """The types from the one that begins a record down to *kind*."""
        if kind.within in (None, "file"):
            return ()
        return (*self._chain(self._types[kind.within or ""]), kind.name)

    # -------------------------------------------------------------- reading

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        file: dict[str, _Line] = {}
        record: _Line | None = None
        tally, harmed = _Tally(), False
        for item in self._lines(stream, tally):
            if isinstance(item, Problem):
                yield item
                harmed = True
            elif item.type.within == "file":
                self._take_file(item, file, tally)
            elif item.type is self._first:
                yield from self._rows_of(record, file, harmed)
                record, harmed, tally.records = item, False, tally.records + 1
            elif record is None:
                raise FormatError(f"line {item.number}: expected {self._first.mark!r} before {item.type.mark!r}")
            else:
                self._attach(item, record)
        yield from self._rows_of(record, file, harmed)
        self._refuse_untold(file, tally)

    def _lines(self, stream: BinaryIO, tally: _Tally) -> Iterator[_Line | Problem]:
        lines = Lines(stream, self._text.reads, self._limit)
        section: _Type | None = None
        names: list[str] = []
        for text in lines:
            bare = text.rstrip("\r\n")
            if not bare.strip() or (self._comment is not None and bare.startswith(self._comment)):
                continue
            number = lines.number
            if number in lines.odd and (odd := problem_of_odd_text(bare, number, lines.encoding, immutabledict())):
                yield odd
                continue
            cells = [bare] if self._fixed else self._split(bare)
            if self._sections and bare.strip() in self._by_mark:
                section, names = self._by_mark[bare.strip()], []
                continue
            kind = section if self._sections else self._by_mark.get(self._mark_of(bare, cells))
            if kind is None:
                yield from self._unknown(number, bare, cells)
                continue
            if kind.has_header and not names:
                names = [cell.strip() for cell in cells]
                continue
            line = _Line(kind, number, bare, cells, names)
            self._tell(line, tally)
            yield line

    def _split(self, text: str) -> list[str]:
        if self._quote is None or self._quote not in text:
            return text.split(self._delimiter)
        try:
            return next(csv.reader([text], delimiter=self._delimiter, quotechar=self._quote))
        except (csv.Error, StopIteration):
            return text.split(self._delimiter)

    def _mark_of(self, text: str, cells: Sequence[str]) -> str:
        if self._fixed:
            return self._ruler.cut(self._ruler.measured(text), self._at - 1, self._at - 1 + self._width).strip()
        return cells[self._at - 1].strip() if len(cells) >= self._at else ""

    def _unknown(self, number: int, text: str, cells: Sequence[str]) -> Iterator[Problem]:
        if self._strict:
            found = None if self._sections else self._mark_of(text, cells)
            expected = "one of " + ", ".join(self._by_mark)
            yield Problem(line=number, expected=expected, found=found, message="an unknown type of line")

    def _tell(self, line: _Line, tally: _Tally) -> None:
        if line.type.trailer is None:
            tally.count(line.type.name)
        for place in self._summed:
            spot = _spot_of(place, self._types, self._fixed)
            if spot.type is line.type:
                tally.sums[place] = tally.sums.get(place, Decimal(0)) + _decimal(self._text_at(line, spot))

    def _take_file(self, line: _Line, file: dict[str, _Line], tally: _Tally) -> None:
        file[line.type.name] = line
        trailer = line.type.trailer
        for key, at in (trailer or {}).items():
            if not key.endswith("_at"):
                continue
            what = (trailer or {}).get("counts", "records") if key == "count_at" else (trailer or {})["sum_of"]
            found = Decimal(tally.of(what)) if key == "count_at" else tally.sums.get(what, Decimal(0))
            said = self._told(line, at)
            if _decimal(said, None) != found:
                raise FormatError(f"line {line.number}: the trailer says {said!r} {what}, got {found}")

    def _told(self, line: _Line, at: int) -> str:
        """The number that a trailer says; in a fixed line it goes on to the next blank."""
        if self._fixed:
            measured = self._ruler.measured(line.text)
            return (self._ruler.cut(measured, at - 1, len(measured)).split() or [""])[0]
        return self._text_at(line, _Spot(line.type, at, None)).strip()

    def _refuse_untold(self, file: Mapping[str, _Line], tally: _Tally) -> None:
        for each in self._types.values():
            if each.trailer is not None and each.name not in file and tally.lines:
                raise FormatError(f"expected a trailer {each.mark!r}, got the end of the file")

    def _attach(self, line: _Line, record: _Line) -> None:
        """Into the last line of the type that it lies in."""
        parent = record
        for name in self._chain(line.type)[:-1]:
            if not parent.below.get(name):
                mark = self._types[name].mark
                raise FormatError(f"line {line.number}: expected {mark!r} before {line.type.mark!r}")
            parent = parent.below[name][-1]
        entries = parent.below.setdefault(line.type.name, [])
        entries.append(line)
        if len(entries) > _MOST_LINES:
            raise FormatError(f"line {line.number}: expected at most {_MOST_LINES} lines of a record")

    def _rows_of(self, record: _Line | None, file: Mapping[str, _Line], harmed: bool) -> Iterator[Row | Problem]:
        if record is None:
            return
        if harmed:
            yield Problem(line=record.number, message="a line of this record cannot be read")
            return

        def cell(line: _Line, slot: int) -> Cell:
            spot = self._spots[slot]
            source = file.get(spot.type.name) if spot.type.within == "file" else line
            return None if source is None else self._text_at(source, spot)

        for cells in self._nest.rows(record, cell, lambda line, level: line.below.get(level, ()), len(self._spots)):
            yield Row(record.number, cells, raw_of(self._places, cells), [None] * len(cells))

    def _text_at(self, line: _Line, spot: _Spot) -> str:
        if spot.slot is not None:
            return spot.slot.bare(self._ruler.cut(self._ruler.measured(line.text), spot.slot.start, spot.slot.end))
        if isinstance(spot.at, str):
            index = line.names.index(spot.at) if spot.at in line.names else -1
            if index < 0:
                raise FormatError(f"line {line.number}: expected column {spot.at!r} in section {line.type.mark!r}")
        else:
            index = spot.at - 1
        return line.cells[index] if len(line.cells) > index else ""

    # -------------------------------------------------------------- writing

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        twigs = [twig for record in records for twig in self._nest.twigs(record)]
        tally, out = _Tally(), list[str]()
        heads = [each for each in self._types.values() if each.within == "file" and each.trailer is None]
        for kind in heads if twigs else []:
            out += self._begun(kind, self._filled(kind, twigs[0].cells, tally))
        for twig in twigs:
            tally.records += 1
            out += self._of(self._first, twig, tally)
        for kind in self._types.values():
            if kind.trailer is not None:
                out.append(self._trailer(kind, twigs[0].cells if twigs else {}, tally))
        return self._text.encode("".join(line + self._end for line in out))

    def _of(self, kind: _Type, twig: Twig, tally: _Tally) -> Iterator[str]:
        yield from self._begun(kind, self._filled(kind, twig.cells, tally))
        for each in self._types.values():
            if each.within == kind.name:
                entries = twig.below.get(each.name, [])
                lines = [list(self._of(each, entry, tally)) for entry in entries]
                head = len(self._begun(each, "")) - 1
                yield from lines[0][:head] if lines else []
                for line in lines:
                    yield from line[head:]

    def _begun(self, kind: _Type, line: str) -> list[str]:
        """A line with what begins its section, where lines stand in sections."""
        if not self._sections:
            return [line]
        names = self._delimiter.join(str(spot.at) for spot in self._spots if spot.type is kind)
        return [kind.mark, *([names] if kind.has_header else []), line]

    def _filled(self, kind: _Type, cells: Mapping[int, Cell], tally: _Tally) -> str:
        mine = {slot: cells.get(slot) for slot, spot in enumerate(self._spots) if spot.type is kind}
        for place in self._summed:
            spot = _spot_of(place, self._types, self._fixed)
            for slot, cell in mine.items():
                if spot.type is kind and self._spots[slot].at == spot.at:
                    tally.sums[place] = tally.sums.get(place, Decimal(0)) + _decimal(str(cell or ""))
        tally.count(kind.name)
        return self._line(kind, {slot: cell if isinstance(cell, str) else "" for slot, cell in mine.items()}, {})

    def _trailer(self, kind: _Type, cells: Mapping[int, Cell], tally: _Tally) -> str:
        trailer = kind.trailer or {}
        told: dict[int, str] = {}
        if "count_at" in trailer:
            told[trailer["count_at"]] = str(tally.of(trailer.get("counts", "records")))
        if "sum_at" in trailer:
            told[trailer["sum_at"]] = f"{tally.sums.get(trailer['sum_of'], Decimal(0)):f}"
        mine = {slot: cells.get(slot) for slot, spot in enumerate(self._spots) if spot.type is kind}
        return self._line(kind, {slot: cell if isinstance(cell, str) else "" for slot, cell in mine.items()}, told)

    def _line(self, kind: _Type, mine: Mapping[int, str], told: Mapping[int, str]) -> str:
        if self._fixed:
            return self._fixed_line(kind, mine, told)
        named = [spot for spot in self._spots if spot.type is kind]
        cells: dict[int, str] = dict(told) if self._sections else {self._at: kind.mark, **told}
        for slot, text in mine.items():
            spot = self._spots[slot]
            cells[named.index(spot) + 1 if isinstance(spot.at, str) else spot.at] = text
        width = max(cells, default=0)
        return self._delimiter.join(self._quoted(cells.get(index, "")) for index in range(1, width + 1))

    def _fixed_line(self, kind: _Type, mine: Mapping[int, str], told: Mapping[int, str]) -> str:
        ends = [spot.slot.end for spot in self._spots if spot.slot is not None and spot.type is kind]
        length = max([self._at - 1 + self._width, *ends, *(at + len(text) - 1 for at, text in told.items())])
        parts = [(self._at - 1, kind.mark.ljust(self._width)), *((at - 1, text) for at, text in told.items())]
        for index, text in mine.items():
            slot = self._spots[index].slot
            assert slot is not None  # every place of a fixed line has one
            parts.append((slot.start, slot.filled(text)))
        return self._ruler.laid(length, parts)

    def _quoted(self, text: str) -> str:
        quote = self._quote
        if quote is None or not (self._delimiter in text or quote in text):
            return text
        return quote + text.replace(quote, quote * 2) + quote

    def carry(self, place: int, text: str) -> str:
        text = self._text.carry(text).strip()
        slot = self._spots[place].slot
        if slot is not None:
            text = self._ruler.limited(text, slot.width, slot.options)
            return slot.bare(slot.filled(text)) if text else ""
        if self._quote is None and self._delimiter in text:
            raise Unwritable(f"expected text without the delimiter {self._delimiter!r}, got {text!r}")
        return text


def _decimal(text: str, otherwise: Any = Decimal(0)) -> Any:
    try:
        return Decimal(text.strip() or 0)
    except InvalidOperation:
        return otherwise


# ------------------------------------------------------------------ checks


def _types(options: Mapping[str, Any]) -> dict[str, _Type]:
    return {
        name: _Type(
            name=name,
            mark=each.get("marker", each.get("equals", "")),
            within="file" if "trailer" in each else each.get("in"),
            has_header=bool(each.get("header", False)),
            trailer=each.get("trailer"),
        )
        for name, each in options["types"].items()
    }


def _spot(place: Place, types: Mapping[str, _Type], ruler: Ruler | None) -> _Spot:
    """With *ruler* where the lines are fixed."""
    spot = _spot_of(str(place.at), types, ruler is not None)
    return spot if ruler is None else _Spot(spot.type, spot.at, Slot(place, int(spot.at), ruler))


def _spot_of(at: str, types: Mapping[str, _Type], fixed: bool) -> _Spot:
    name, _, where = at.partition("/")
    return _Spot(types[name], int(where) if where.isdigit() else where, None)


def build_records(options: Mapping[str, Any], places: Sequence[Place]) -> RecordsCodec:
    """The codec that *options* describe; raises `LayoutError` where places and types do not fit."""
    types = _types(options)
    faults = [*_type_faults(types, options), *ruler_faults(places, options)]
    for place in places:
        faults += _place_faults(place, types, options)
    if faults:
        raise LayoutError("layout", faults)
    return RecordsCodec(options, places)


def _type_faults(types: Mapping[str, _Type], options: Mapping[str, Any]) -> Iterator[Fault]:
    first = [each.name for each in types.values() if each.within is None]
    if len(first) != 1:
        yield Fault(
            "", path="$.codec.types", expected="one type that lies in no other: it begins a record", found=first
        )
    marks: dict[str, str] = {}
    for name, each in types.items():
        path = f"$.codec.types.{name}"
        if marks.setdefault(each.mark, name) != name:
            yield Fault(f"also the mark of {marks[each.mark]}", path=path, found=each.mark)
        seen, above = {name}, each.within
        while above is not None and above != "file" and above in types and above not in seen:
            seen.add(above)
            above = types[above].within
        if above not in (None, "file"):
            said = "lies in itself" if above in types else "unknown type"
            yield Fault(said, path=f"{path}.in", found=above)
        if len(seen) > MAX_LEVELS:
            yield Fault(f"more than {MAX_LEVELS} types in each other", path=path)
        sum_of = (each.trailer or {}).get("sum_of")
        if sum_of is not None and sum_of.partition("/")[0] not in types:
            yield Fault("unknown type", path=f"{path}.trailer.sum_of", found=sum_of)
    if "unit" in options and not options.get("fixed"):
        yield Fault("only fixed lines are measured", path="$.codec.unit")
    if options.get("fixed") and not options.get("type_width"):
        yield Fault("missing", path="$.codec.type_width", expected="how many characters the mark has")
    if options.get("fixed") and any("marker" in each for each in options["types"].values()):
        yield Fault("sections have cells between delimiters", path="$.codec.fixed")


def _place_faults(place: Place, types: Mapping[str, _Type], options: Mapping[str, Any]) -> Iterator[Fault]:
    path = f"{place.path}.at"
    name, separator, where = str(place.at).partition("/")
    if isinstance(place.at, int) or not separator or not where:
        yield Fault("", path=path, expected="a type and a position, such as order/2", found=place.at)
    elif name not in types:
        yield Fault("unknown type", path=path, found=name, expected=" or ".join(types))
    elif not where.isdigit() and not types[name].has_header:
        yield Fault("", path=path, expected=f"a position, as lines of {name} have no header", found=place.at)
    elif options.get("fixed") and "width" not in place.options:
        yield Fault("missing", path=f"{place.path}.width")
