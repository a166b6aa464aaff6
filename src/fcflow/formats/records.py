"""
Record types: lines of several kinds, told apart by a mark in a cell or at a position, or by the section they stand in.

A place is a type and where in its lines: ``order/2`` the second cell, ``order/11`` the eleventh character of a fixed
line, ``item/SKU`` a column of a section with a header. One type begins a record; types that lie *in* another come again
for each of its lines; types of the *file* stand once before the records, or once behind them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain, count, groupby
from typing import Any, BinaryIO

from attrs import define, field, frozen
from immutabledict import immutabledict

from fcflow.errors import FormatError, LayoutError
from fcflow.formats.codec import Batch, Cell, Place, Row, Unwritable
from fcflow.formats.columns import FOLDS, is_blank
from fcflow.formats.fixed_width import Ruler, Slot, ruler_faults
from fcflow.formats.json_lines import raw_of
from fcflow.formats.nesting import Nest, Twig
from fcflow.formats.record_types import LineType, Tally, Total, line_types, place_faults, split_place, type_faults
from fcflow.formats.text import LINE_ENDS, MAX_LINE, Lines, TextOptions, problem_of_odd_text
from fcflow.model import Problem

__all__ = ["RecordsCodec", "build_records"]

_MOST_LINES = 100_000
_STAND_IN = "\U0010fffd"  # for a delimiter of several characters, which the csv module does not know


@define
class _Line:
    """One line of a type, and the lines that lie in it; a fixed line as what positions count."""

    type: LineType
    number: int
    text: str | bytes
    cells: list[str]
    names: list[str]
    below: dict[str, list[_Line]] = field(factory=dict)


@frozen
class _Spot:
    """Where a place lies: a type, and a position or the name of a column."""

    type: LineType
    at: int | str
    slot: Slot | None


@frozen
class _Draft:
    """A line on its way out: the texts of its places, and what stands above it because it begins a section."""

    type: LineType
    texts: Mapping[int, str]
    above: Sequence[str] = ()


class _Numbers:
    """Lines that carry their running number."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.at: int = options["at"]
        self.width: int = options.get("width", 0)
        self._first: int = options.get("first", 1)

    def all(self) -> Iterator[int]:
        return count(self._first)

    def check(self, said: str, expected: int, line: int) -> None:
        """
        Hold a line's number against its place in the file.

        Raises:
            FormatError: A line is missing, or one too many.
        """
        if said.strip().lstrip("0") != str(expected).lstrip("0"):
            raise FormatError(f"line {line}: expected the running number {expected}, got {said.strip()!r}")


class RecordsCodec:
    """Codec ``records``: see `docs/reference/layouts.md` for its options."""

    extension = "txt"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._places = places
        self._types = line_types(options)
        self._fixed = bool(options.get("fixed", False))
        self._at: int = options.get("type_at", 1)
        self._width: int = options.get("type_width", 0)
        self._delimiter: str = options.get("delimiter", ";")
        self._quote: str | None = options.get("quote", '"')
        self._escape: str | None = options.get("escape")
        self._quotes_all: bool = options.get("quote_all", False)
        self._comment: str | None = options.get("comment")
        self._skip: int = options.get("skip_lines", 0)
        self._end = LINE_ENDS[options.get("line_end", "crlf")]
        self._limit: int = options.get("max_line", MAX_LINE)
        self._strict = options.get("unknown_types", "refuse") == "refuse"
        self._fold = FOLDS[options.get("header_match", "exact")]
        self._numbers = _Numbers(options["numbered"]) if "numbered" in options else None
        keeps = not self._fixed and self._quote is not None and "line_breaks" in options
        self._text = TextOptions(options, keeps_breaks=keeps)
        self._ruler = Ruler.of(options, self._text)
        self._know_types(options["types"])
        self._know_places(places)
        self.content_type = f"text/plain; charset={self._text.encoding}"

    def _know_types(self, given: Mapping[str, Mapping[str, Any]]) -> None:
        kinds = self._types.values()
        self._marked = {each.name for each in kinds if "equals" in given[each.name]}
        self._markers = {mark: each for each in kinds if each.name not in self._marked for mark in each.marks}
        self._by_mark: dict[str, list[LineType]] = {}
        for each in kinds:
            for mark in each.marks if each.name in self._marked else ():
                self._by_mark.setdefault(mark, []).append(each)
        self._longest_first = sorted(self._by_mark, key=len, reverse=True)
        self._first = next(each for each in kinds if each.within is None)

    def _know_places(self, places: Sequence[Place]) -> None:
        self._spots = [_spot(place, self._types, self._ruler if self._fixed else None) for place in places]
        self._nest = Nest.of([self._chain(spot.type) for spot in self._spots])
        self._positions = [spot.at if isinstance(spot.at, int) else None for spot in self._spots]
        self._columns = {name: self._columns_of(each) for name, each in self._types.items()}
        self._sums = {
            total.sum_of: self._spot_at(total.sum_of)
            for each in self._types.values()
            for total in each.totals
            if total.sum_of is not None
        }
        told = [each for each in self._types.values() if not each.marks]
        needed = {each.name: {str(self._spots[i].at) for i in self._needed(each)} for each in told}
        self._headed = [(each, set(map(self._fold, needed[each.name]))) for each in told]
        self._headed.sort(key=lambda pair: len(pair[1]), reverse=True)
        on_lines = {spot.type.name for spot, place in zip(self._spots, places, strict=True) if _is_of_line(place)}
        beside = {self._types[name].within for name in on_lines}
        inner = {each.within for each in self._types.values()}
        leaves = [each for each in self._types.values() if each.name not in inner | on_lines]
        self._said_once = {each.name for each in leaves if each.within in beside}

    def _needed(self, kind: LineType) -> Iterator[int]:
        for index, (spot, place) in enumerate(zip(self._spots, self._places, strict=True)):
            if spot.type is kind and isinstance(spot.at, str) and not place.optional:
                yield index

    def _chain(self, kind: LineType) -> tuple[str, ...]:
        """The types from the one that begins a record down to *kind*."""
        if kind.within in (None, "file"):
            return ()
        return (*self._chain(self._types[kind.within or ""]), kind.name)

    def _spot_at(self, at: str) -> _Spot:
        """Where a sum stands: at a place of the layout, or one that only the sum asks."""
        name, where = split_place(at)
        known = (spot for spot in self._spots if (spot.type.name, spot.at) == (name, where))
        return next(known, _Spot(self._types[name], where, None))

    def _columns_of(self, kind: LineType) -> dict[int, int]:
        """By place the column of its cell; columns with names stand in the order of the layout."""
        mine = {slot: spot.at for slot, spot in enumerate(self._spots) if spot.type is kind}
        taken = {at for at in mine.values() if isinstance(at, int)} | set(kind.where)
        taken |= {self._at} if kind.name in self._marked else set()
        taken |= {self._numbers.at} if self._numbers else set()
        free = (at for at in count(1) if at not in taken)
        return {slot: at if isinstance(at, int) else next(free) for slot, at in mine.items()}

    # -------------------------------------------------------------- reading

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        file: dict[str, _Line] = {}
        record: _Line | None = None
        tally, harmed = Tally(), False
        for item in self._lines(stream, tally):
            if isinstance(item, Problem):
                yield item
                harmed = True
            elif item.type.within == "file":
                file[item.type.name] = item
            elif any(each.type.closes for each in file.values()):
                raise FormatError(f"line {item.number}: expected nothing after the trailer, got {item.type.called!r}")
            elif item.type is self._first:
                yield from self._rows_of(record, file, harmed)
                record, harmed, tally.records = item, False, tally.records + 1
            elif record is None and not harmed:
                raise FormatError(f"line {item.number}: expected {self._first.called!r} before {item.type.called!r}")
            elif record is not None:
                self._attach(item, record)
        yield from self._rows_of(record, file, harmed)
        self._check_totals(file, tally)

    def _lines(self, stream: BinaryIO, tally: Tally) -> Iterator[_Line | Problem]:
        lines = Lines(stream, self._text.reads, self._limit)
        section: LineType | None = None
        names: dict[str, list[str]] = {}
        running = self._numbers.all() if self._numbers else count()
        for text in lines:
            self._ruler.refuse_other(lines.encoding)
            number, bare = lines.number, text.rstrip("\r\n")
            if number <= self._skip or not bare.strip() or (self._comment and bare.startswith(self._comment)):
                continue
            if bare.strip() in self._markers:
                section = self._markers[bare.strip()]
                names.pop(section.name, None)
                continue
            cells = self._cells_of(text, lines)
            if isinstance(cells, Problem):
                tally.count(None)
                next(running)
                yield cells
                continue
            if not self._fixed and is_blank(cells):
                continue
            headed = self._headed_by(cells)
            measured = self._ruler.measured(bare) if self._fixed else bare
            kind = headed or self._kind_of(measured, cells) or section
            if kind is not None and kind.has_header and (headed or kind.name not in names):
                section, names[kind.name] = (
                    section if kind.marks else kind,
                    [self._fold(each.strip()) for each in cells],
                )
                continue
            expected = next(running)
            if kind is None:
                tally.count(None)
                yield from self._unknown(number, measured, cells)
                continue
            line = _Line(kind, number, measured, cells, names.get(kind.name, []))
            if self._numbers:
                self._numbers.check(self._told(line, self._numbers.at, self._numbers.width), expected, number)
            self._tell(line, tally)
            yield line

    def _cells_of(self, text: str, lines: Lines) -> list[str] | Problem:
        """The cells of a line, which goes on in the next where a quote is open; a fixed line is one cell."""
        number, bare = lines.number, text.rstrip("\r\n")
        try:
            cells = [bare] if self._fixed else self._split(text, bare, lines)
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise FormatError(f"line {number}: expected a closing quote, got the end of the file") from error
            return Problem(line=number, expected="a delimiter after a quoted cell", message="quotes do not pair up")
        if lines.odd and any(number <= each <= lines.number for each in lines.odd):
            return problem_of_odd_text("".join(cells), number, lines.encoding, immutabledict()) or cells
        return cells

    def _split(self, text: str, bare: str, lines: Lines) -> list[str]:
        if self._escape is None and (self._quote is None or self._quote not in text):
            return bare.split(self._delimiter)
        mark = self._delimiter if len(self._delimiter) == 1 else _STAND_IN
        reader = csv.reader(
            (line.replace(self._delimiter, mark) for line in self._following(text, lines)),
            delimiter=mark,
            quotechar=self._quote,
            quoting=csv.QUOTE_NONE if self._quote is None else csv.QUOTE_MINIMAL,
            escapechar=self._escape,
            doublequote=self._escape is None,
            skipinitialspace=mark != " ",
            strict=True,
        )
        return [cell.replace(mark, self._delimiter) for cell in next(reader)]

    def _following(self, text: str, lines: Lines) -> Iterator[str]:
        began, size = lines.number, 0
        for line in chain([text], lines):
            size += len(line)
            if size > self._limit:
                raise FormatError(f"line {began}: expected a closing quote within {self._limit} characters")
            yield line

    def _headed_by(self, cells: Sequence[str]) -> LineType | None:
        """The type whose section begins with this row of names."""
        if not self._headed:
            return None
        found = {self._fold(cell.strip()) for cell in cells}
        return next((kind for kind, needed in self._headed if needed and needed <= found), None)

    def _kind_of(self, text: str | bytes, cells: Sequence[str]) -> LineType | None:
        if self._fixed and not self._width:
            marks = [mark for mark in self._longest_first if self._stands(text, self._at, mark)]
        else:
            marks = [self._mark_of(text, cells)]
        known = (kind for mark in marks for kind in self._by_mark.get(mark, ()))
        return next((kind for kind in known if not kind.where or self._holds(kind, text, cells)), None)

    def _stands(self, text: str | bytes, at: int, said: str) -> bool:
        return self._ruler.cut(text, at - 1, at - 1 + self._ruler.size(said)) == said

    def _holds(self, kind: LineType, text: str | bytes, cells: Sequence[str]) -> bool:
        if self._fixed:
            return all(self._stands(text, at, said) for at, said in kind.where.items())
        return all(len(cells) >= at and cells[at - 1].strip() == said for at, said in kind.where.items())

    def _mark_of(self, text: str | bytes, cells: Sequence[str]) -> str:
        if self._fixed:
            width = self._width or max(map(self._ruler.size, self._by_mark), default=1)
            return self._ruler.cut(text, self._at - 1, self._at - 1 + width).strip()
        return cells[self._at - 1].strip() if len(cells) >= self._at else ""

    def _unknown(self, number: int, text: str | bytes, cells: Sequence[str]) -> Iterator[Problem]:
        if self._strict:
            found = self._mark_of(text, cells) if self._by_mark else None
            expected = "one of " + ", ".join([*self._by_mark, *self._markers])
            yield Problem(line=number, expected=expected, found=found, message="an unknown type of line")

    def _tell(self, line: _Line, tally: Tally) -> None:
        tally.count(line.type)
        for total in self._totals_asking(line.type):
            at = total.sum_of or ""
            found = total.number(self._text_at(line, self._sums[at])) or Decimal(0)
            tally.sums[at] = tally.sums.get(at, Decimal(0)) + found

    def _totals_asking(self, kind: LineType) -> Iterator[Total]:
        """One total for each place in lines of *kind* that is added up."""
        totals = {total.sum_of: total for each in self._types.values() for total in each.totals}
        for at, spot in self._sums.items():
            if spot.type is kind:
                yield totals[at]

    def _check_totals(self, file: Mapping[str, _Line], tally: Tally) -> None:
        for each in self._types.values():
            if each.closes and each.name not in file and tally.lines:
                raise FormatError(f"expected a trailer {each.called!r}, got the end of the file")
        for line in file.values():
            for total in line.type.totals:
                said, found = self._told(line, total.at, total.width), tally.of(total)
                if total.number(said) != found:
                    what = "trailer" if line.type.closes else "header"
                    raise FormatError(f"line {line.number}: the {what} says {said!r} {total.called}, got {found}")

    def _told(self, line: _Line, at: int, width: int | None) -> str:
        """A number that a line says; where a fixed line has no width for it, it goes on to the next blank."""
        if not self._fixed:
            return self._text_at(line, _Spot(line.type, at, None)).strip()
        found = self._ruler.cut(line.text, at - 1, at - 1 + width if width else len(line.text))
        return found.strip() if width else (found.split() or [""])[0]

    def _attach(self, line: _Line, record: _Line) -> None:
        """Into the last line of the type that it lies in."""
        parent = record
        for name in self._chain(line.type)[:-1]:
            if not parent.below.get(name):
                above = self._types[name].called
                raise FormatError(f"line {line.number}: expected {above!r} before {line.type.called!r}")
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

        at = [record.number] * len(self._spots)

        def cell(line: _Line, slot: int) -> Cell:
            spot = self._spots[slot]
            source = file.get(spot.type.name) if spot.type.within == "file" else line
            if source is None:
                return None
            at[slot] = source.number
            return self._text_at(source, spot, optional=self._places[slot].optional)

        for cells in self._nest.rows(record, cell, lambda line, level: line.below.get(level, ()), len(self._spots)):
            yield Row(record.number, cells, raw_of(self._places, cells), self._positions, at.copy())

    def _text_at(self, line: _Line, spot: _Spot, *, optional: bool = False) -> str:
        if spot.slot is not None:
            return spot.slot.bare(self._ruler.cut(line.text, spot.slot.start, spot.slot.end))
        if isinstance(spot.at, str):
            name = self._fold(spot.at)
            if name not in line.names and not optional:
                called = line.type.called
                raise FormatError(f"line {line.number}: expected column {spot.at!r} in section {called!r}")
            index = line.names.index(name) if name in line.names else len(line.cells)
        else:
            index = spot.at - 1
        return line.cells[index] if len(line.cells) > index else ""

    # -------------------------------------------------------------- writing

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        twigs = self._nest.twigs([row for record in records for row in record])
        around = twigs[0].cells if twigs else {}
        of_file = [each for each in self._types.values() if each.within == "file"]
        drafts = [self._draft(kind, around) for kind in of_file if twigs and not kind.closes]
        drafts += [draft for twig in twigs for draft in self._of(self._first, twig)]
        drafts += [self._draft(kind, around) for kind in of_file if kind.closes]
        tally = self._tallied(drafts, len(twigs))
        headed = [each for each in self._types.values() if each.has_header and each.name in self._marked and twigs]
        out = [self._header(each) for each in headed]
        for draft, number in zip(drafts, self._numbers.all() if self._numbers else count(), strict=False):
            out += [*draft.above, self._line(draft, tally, number)]
        return self._text.encode("".join(line + self._end for line in out))

    def _of(self, kind: LineType, twig: Twig) -> Iterator[_Draft]:
        """The lines of an element and of all that lies in it; above the first of a section stands what begins it."""
        yield self._draft(kind, twig.cells, self._above(kind))
        for each in self._types.values():
            if each.within == kind.name:
                for number, entry in enumerate(self._entries(each, twig)):
                    first, *others = self._of(each, entry)
                    yield _Draft(first.type, first.texts, () if number else first.above)
                    yield from others

    def _entries(self, kind: LineType, twig: Twig) -> Sequence[Twig]:
        """The lines of a type in an element: what is not of an order line is written once, however many there are."""
        entries = twig.below.get(kind.name, [])
        if kind.name not in self._said_once:
            return entries
        return [next(same) for _, same in groupby(entries, key=lambda entry: entry.cells)]

    def _draft(self, kind: LineType, cells: Mapping[int, Cell], above: Sequence[str] = ()) -> _Draft:
        slots = (slot for slot in self._columns[kind.name] if not self._places[slot].is_only_read)
        found = {slot: cells.get(slot) for slot in slots}
        return _Draft(kind, {slot: cell if isinstance(cell, str) else "" for slot, cell in found.items()}, above)

    def _tallied(self, drafts: Iterable[_Draft], records: int) -> Tally:
        tally = Tally(records=records)
        for draft in drafts:
            tally.count(draft.type)
            for total in self._totals_asking(draft.type):
                at = total.sum_of or ""
                slots = (slot for slot, spot in enumerate(self._spots) if spot == self._sums[at])
                said = next((draft.texts[slot] for slot in slots), "")
                tally.sums[at] = tally.sums.get(at, Decimal(0)) + (total.number(said) or Decimal(0))
        return tally

    def _above(self, kind: LineType) -> Sequence[str]:
        """What begins the section of *kind*, where lines stand in sections."""
        if kind.name in self._marked:
            return ()
        return (*kind.marks, *([self._header(kind)] if kind.has_header else []))

    def _header(self, kind: LineType) -> str:
        names = {column: str(self._spots[slot].at) for slot, column in self._columns[kind.name].items()}
        return self._joined(names | ({self._at: kind.marks[0]} if kind.name in self._marked else {}))

    def _line(self, draft: _Draft, tally: Tally, number: int) -> str:
        kind = draft.type
        said = {total.at: total.text(tally.of(total)) for total in kind.totals}
        if self._numbers:
            said[self._numbers.at] = str(number).rjust(self._numbers.width, "0")
        said |= kind.where
        if kind.name in self._marked:
            said[self._at] = kind.marks[0]
        if self._fixed:
            return self._fixed_line(draft, said)
        return self._joined(said | {self._columns[kind.name][slot]: text for slot, text in draft.texts.items()})

    def _joined(self, cells: Mapping[int, str]) -> str:
        width = max(cells, default=0)
        return self._delimiter.join(self._quoted(cells.get(index, "")) for index in range(1, width + 1))

    def _fixed_line(self, draft: _Draft, said: Mapping[int, str]) -> str:
        slots = [(slot, text) for index, text in draft.texts.items() if (slot := self._spots[index].slot) is not None]
        parts = [(at - 1, text) for at, text in said.items()] + [
            (slot.start, slot.filled(text)) for slot, text in slots
        ]
        ends = [start + self._ruler.size(text) for start, text in parts]
        return self._ruler.laid(max([draft.type.length, self._at - 1 + self._width, *ends]), parts)

    def _quoted(self, text: str) -> str:
        quote, escape = self._quote or "", self._escape or ""
        if escape:
            text = text.replace(escape, escape * 2)
        if not quote:
            return text.replace(self._delimiter, escape + self._delimiter) if escape else text
        special = (self._delimiter, quote, "\r", "\n", *([escape] if escape else []))
        if not self._quotes_all and not any(mark in text for mark in special):
            return text
        return quote + text.replace(quote, (escape or quote) + quote) + quote

    def carry(self, place: int, text: str) -> str:
        text = self._text.carry(text).strip()
        slot = self._spots[place].slot
        if slot is not None:
            text = self._ruler.limited(text, slot.width, slot.options)
            return slot.bare(slot.filled(text)) if text else ""
        if self._quote is None and self._escape is None and self._delimiter in text:
            raise Unwritable(f"expected text without the delimiter {self._delimiter!r}, got {text!r}")
        return text


def _is_of_line(place: Place) -> bool:
    return place.name is not None and place.name.startswith("line.")


def _spot(place: Place, types: Mapping[str, LineType], ruler: Ruler | None) -> _Spot:
    """With *ruler* where the lines are fixed."""
    name, where = split_place(str(place.at))
    return _Spot(types[name], where, Slot(place, int(where), ruler) if ruler is not None else None)


# ------------------------------------------------------------------ checks


def build_records(options: Mapping[str, Any], places: Sequence[Place]) -> RecordsCodec:
    """The codec that *options* describe; raises `LayoutError` where places and types do not fit."""
    types = line_types(options)
    faults = [*type_faults(types, options, places), *ruler_faults(places, options)]
    for place in places:
        faults += place_faults(place, types, options)
    if faults:
        raise LayoutError("layout", faults)
    return RecordsCodec(options, places)
