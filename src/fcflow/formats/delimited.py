"""
Delimited text: cells between delimiters, quoted or not, a header or none.

Reading is Python's csv module under strict rules, fed line by line, so that memory stays bounded and every record
knows the line on which it begins.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal, InvalidOperation
from typing import Any, BinaryIO

from immutabledict import immutabledict

from fcflow.errors import Fault, FormatError, LayoutError
from fcflow.formats.codec import Batch, Cell, Place, Row, Unwritable
from fcflow.formats.text import MAX_LINE, Lines, TextOptions, problem_of_odd_text
from fcflow.model import Problem

__all__ = ["DelimitedCodec", "build_delimited"]

_ENDS = {"crlf": "\r\n", "lf": "\n", "cr": "\r"}


class _Trailer:
    """The last row of a file that says how many rows there were, and what they add up to."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.at: int = options.get("at", 1) - 1
        self.equals: str = options["equals"]
        self.count_at: int | None = options.get("count_at")
        self.sum_at: int | None = options.get("sum_at")
        self.sum_of: int | None = options.get("sum_of")

    def is_trailer(self, row: Sequence[str]) -> bool:
        return len(row) > self.at and row[self.at].strip() == self.equals

    def amount(self, row: Sequence[str]) -> Decimal:
        """What *row* adds to the sum; nothing where it is not a number, which is a problem of its own."""
        try:
            return Decimal(row[self.sum_of - 1].strip() or 0) if self.sum_of else Decimal(0)
        except (InvalidOperation, IndexError):
            return Decimal(0)

    def check(self, row: Sequence[str], count: int, total: Decimal, line: int) -> None:
        """
        Hold the trailer against what was read.

        Raises:
            FormatError: A total does not hold.
        """
        for at, found, what in ((self.count_at, Decimal(count), "rows"), (self.sum_at, total, "in all")):
            if at is None:
                continue
            said = row[at - 1].strip() if len(row) >= at else ""
            try:
                holds = Decimal(said) == found
            except InvalidOperation:
                holds = False
            if not holds:
                raise FormatError(f"line {line}, column {at}: the trailer says {said!r} {what}, got {found}")

    def written(self, rows: Sequence[Sequence[str]]) -> list[str]:
        cells: dict[int, str] = {self.at: self.equals}
        if self.count_at:
            cells[self.count_at - 1] = str(len(rows))
        if self.sum_at:
            cells[self.sum_at - 1] = f"{sum((self.amount(row) for row in rows), Decimal(0)):f}"
        return [cells.get(index, "") for index in range(max(cells) + 1)]


class _Feed:
    """Lines for the csv reader: skips comments between records, remembers where a record began."""

    def __init__(self, lines: Lines, comment: str | None) -> None:
        self._lines = lines
        self._comment = comment
        self.fresh = True
        self.began = 1
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        lines = self._lines
        for line in lines:
            if self.fresh:
                if self._comment is not None and line.startswith(self._comment):
                    continue
                self.fresh = False
                self.began = lines.number
                self._size = len(line)
            else:
                self._size += len(line)
                if self._size > lines.limit:
                    raise FormatError(f"line {self.began}: expected a closing quote within {lines.limit} characters")
            yield line


class DelimitedCodec:
    """Codec ``delimited``: see `docs/reference/layouts.md` for its options."""

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._places = places
        self._delimiter: str = options.get("delimiter", ",")
        self._quote: str | None = options.get("quote", '"')
        self._escape: str | None = options.get("escape")
        self._header: bool = options.get("header", True)
        self._folds: bool = options.get("header_ignore_case", False)
        self._comment: str | None = options.get("comment")
        self._skip: int = options.get("skip_lines", 0)
        self._pads: bool = options.get("short_rows", "refuse") == "pad"
        self._end = _ENDS[options.get("line_end", "crlf")]
        self._quotes_all: bool = options.get("quote_all", False)
        self._limit: int = options.get("max_line", MAX_LINE)
        self._replace: str | None = options.get("replace_delimiter")
        self._trailer = _Trailer(options["trailer"]) if "trailer" in options else None
        self._text = TextOptions(options, keeps_breaks=self._quote is not None)
        self._trim: bool = options.get("trim", True)
        special = self._delimiter + (self._quote or "") + (self._escape or "") + "\r\n"
        self._special = re.compile(f"[{re.escape(special)}]|^[\\s]|[\\s]$")
        self.content_type = f"{_media_type(self._delimiter)}; charset={self._text.encoding}"
        self.extension = "tsv" if self._delimiter == "\t" else "csv"

    # -------------------------------------------------------------- reading

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        lines = Lines(stream, self._text.encoding, self._limit)
        feed = _Feed(lines, self._comment)
        with closing(iter(feed)) as source:  # type: ignore[type-var]  # a generator
            records = self._records(source, feed)
            for _ in range(self._skip):
                next(source, None)
            yield from self._framed(records, feed, lines)

    def _records(self, source: Iterator[str], feed: _Feed) -> Iterator[list[str] | Problem]:
        """Records that are not blank; a record that breaks the rules of quoting is a problem."""
        reader = csv.reader(source, strict=True, **self._dialect())
        while True:
            feed.fresh = True
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._broken(error, feed.began)
                continue
            if record and (record[0].strip() or not _is_blank(record)):
                yield record

    def _dialect(self) -> dict[str, Any]:
        return {
            "delimiter": self._delimiter,
            "quotechar": self._quote,
            "quoting": csv.QUOTE_NONE if self._quote is None else csv.QUOTE_MINIMAL,
            "escapechar": self._escape,
            "doublequote": self._escape is None,
            "skipinitialspace": self._trim and self._delimiter != " ",
        }

    def _broken(self, error: csv.Error, line: int) -> Problem:
        said = str(error)
        if "unexpected end of data" in said:
            raise FormatError(f"line {line}: expected a closing quote, got the end of the file") from error
        if "field larger" in said:
            raise FormatError(f"line {line}: expected cells of at most {csv.field_size_limit()} characters") from error
        return Problem(line=line, expected="a delimiter after a quoted cell", message="quotes do not pair up")

    def _framed(self, records: Iterator[list[str] | Problem], feed: _Feed, lines: Lines) -> Iterator[Row | Problem]:
        names: list[str] | None = None
        if self._header:
            names = self._read_header(records, lines)
            if names is None:
                return
        frame = self._frame(names)
        count, total, ended = 0, Decimal(0), False
        for record in records:
            line = feed.began
            if isinstance(record, Problem):
                yield record
                count += 1
                continue
            if ended:
                raise FormatError(f"line {line}: expected nothing after the trailer, got a row")
            if self._trailer is not None:
                if self._trailer.is_trailer(record):
                    self._trailer.check(record, count, total, line)
                    ended = True
                    continue
                count += 1
                total += self._trailer.amount(record)
            row = frame(record, line)
            if lines.odd and (odd := self._odd(lines, line, record, row)):
                yield odd
            else:
                yield row
        if self._trailer is not None and not ended and (count or names is not None):
            raise FormatError(
                f"line {lines.number}: expected a trailer {self._trailer.equals!r}, got the end of the file"
            )

    def _odd(self, lines: Lines, line: int, record: list[str], row: Row | Problem) -> Problem | None:
        """The problem of a record one of whose lines holds characters that nobody means."""
        if not any(line <= number <= lines.number for number in lines.odd):
            return None
        return problem_of_odd_text("".join(record), line, lines.encoding, row.raw)

    def _read_header(self, records: Iterator[list[str] | Problem], lines: Lines) -> list[str] | None:
        for record in records:
            if isinstance(record, Problem):
                raise FormatError(f"line {record.line}: expected a header, got quotes that do not pair up")
            odd = problem_of_odd_text("".join(record), lines.number, lines.encoding, immutabledict())
            if odd is not None:
                raise FormatError(str(odd))
            return [cell.strip() for cell in record]
        return None

    def _frame(self, names: list[str] | None) -> Callable[[list[str], int], Row | Problem]:
        """The function from a record to a row, knowing where each place stands."""
        slots = self._slots(names)
        columns = [None if slot is None else slot + 1 for slot in slots]
        least = 1 + max((slot for slot in slots if slot is not None), default=0)
        width = least if names is None else len(names)
        keys = None if names is None else _unique(names)
        whole, gathers = None not in slots, [slot or 0 for slot in slots]

        def frame(record: list[str], line: int) -> Row | Problem:
            found = len(record)
            raw = immutabledict(zip(keys or map(str, range(1, found + 1)), record, strict=False))
            if found < width:
                if not self._pads:
                    return Problem(line=line, expected=f"{width} columns", message=f"{found} columns", raw=raw)
                record = record + [""] * (width - found)
            elif found > width and keys is not None and not _is_blank(record[width:]):
                return Problem(line=line, expected=f"{width} columns", message=f"{found} columns", raw=raw)
            if whole:
                return Row(line, [record[slot] for slot in gathers], raw, columns)
            return Row(line, [None if slot is None else record[slot] for slot in slots], raw, columns)

        return frame

    def _slots(self, names: list[str] | None) -> list[int | None]:
        """
        Where each place stands in a record.

        Raises:
            FormatError: A place is missing, or stands there twice.
        """
        fold: Callable[[str], str] = str.casefold if self._folds else str
        found: dict[str, list[int]] = {}
        for index, name in enumerate(names or ()):
            found.setdefault(fold(name), []).append(index)
        slots: list[int | None] = []
        missing: list[str] = []
        for place in self._places:
            if isinstance(place.at, int):
                slots.append(place.at - 1)
                continue
            at = found.get(fold(place.at.strip()), [])
            if len(at) > 1:
                raise FormatError(f"header: expected column {place.at!r} once, got it {len(at)} times")
            if not at and not place.optional:
                missing.append(place.at)
            slots.append(at[0] if at else None)
        if missing:
            raise FormatError("header: " + "; ".join(_missing(missing, names or ())))
        return slots

    # -------------------------------------------------------------- writing

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        order, width = self._order()
        rows = [_spread(row, order, width) for record in records for row in record]
        out = [self._header_row(order, width)] if self._header else []
        out += [self._joined(row) for row in rows]
        if self._trailer is not None:
            out.append(self._joined(self._trailer.written(rows)))
        return self._text.encode("".join(line + self._end for line in out))

    def _order(self) -> tuple[list[int], int]:
        """Column of each place: positions where they say so, headers in between in their order; and the width."""
        taken = {place.at - 1 for place in self._places if isinstance(place.at, int)}
        free = iter(index for index in range(10**6) if index not in taken)
        order = [place.at - 1 if isinstance(place.at, int) else next(free) for place in self._places]
        return order, max(order, default=-1) + 1

    def _header_row(self, order: list[int], width: int) -> str:
        names = [place.at if isinstance(place.at, str) else "" for place in self._places]
        return self._joined(_spread(names, order, width))

    def _joined(self, row: Sequence[str]) -> str:
        line = self._delimiter.join(map(self._cell, row))
        bare = not line.strip(self._delimiter + " \t") or (self._comment and line.startswith(self._comment))
        if bare and self._quote is not None and row:
            head = f"{self._quote}{self._doubled(row[0])}{self._quote}"
            return self._delimiter.join([head, *map(self._cell, row[1:])])
        return line

    def _cell(self, text: str) -> str:
        if self._quote is None:
            return self._escaped(text) if self._escape else text
        if not self._quotes_all and not self._special.search(text):
            return text
        return f"{self._quote}{self._doubled(text)}{self._quote}"

    def _doubled(self, text: str) -> str:
        quote = self._quote or ""
        if self._escape is None:
            return text.replace(quote, quote + quote)
        return text.replace(self._escape, self._escape * 2).replace(quote, self._escape + quote)

    def _escaped(self, text: str) -> str:
        escape = self._escape or ""
        return text.replace(escape, escape * 2).replace(self._delimiter, escape + self._delimiter)

    def carry(self, place: int, text: str) -> str:
        text = self._text.carry(text)
        if self._quote is None and self._escape is None and self._delimiter in text:
            if self._replace is None:
                raise Unwritable(f"expected text without the delimiter {self._delimiter!r}, got {text!r}")
            text = text.replace(self._delimiter, self._replace)
        if self._quote is None and place == 0 and self._comment and text.startswith(self._comment):
            raise Unwritable(f"expected text that does not begin like a comment, got {text!r}")
        return text.strip() if self._trim else text


def _is_blank(record: list[str]) -> bool:
    return not any(cell.strip() for cell in record)


def _media_type(delimiter: str) -> str:
    return "text/tab-separated-values" if delimiter == "\t" else "text/csv"


def _unique(names: list[str]) -> list[str]:
    """Headers as keys: a repeated or empty one gets its position."""
    seen: set[str] = set()
    keys = []
    for index, name in enumerate(names, start=1):
        key = name if name and name not in seen else f"{name}#{index}"
        seen.add(key)
        keys.append(key)
    return keys


def _missing(places: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Each place with the nearest name that is there; those that nothing is near to are named together."""
    folded = {name.casefold(): name for name in names}
    nearest = {at: difflib.get_close_matches(at.casefold(), folded, n=1, cutoff=0.6) for at in places}
    yield from (f"expected column {at!r}, got {folded[near[0]]!r}" for at, near in nearest.items() if near)
    if far := [repr(at) for at, near in nearest.items() if not near]:
        there = ", ".join(map(repr, names[:20])) or "nothing"
        yield f"expected column{'s' * (len(far) > 1)} {', '.join(far)}, got {there}"


def _spread(row: Sequence[Cell], order: Sequence[int], width: int) -> list[str]:
    cells = [""] * width
    for index, cell in zip(order, row, strict=True):
        cells[index] = cell if isinstance(cell, str) else ""
    return cells


def build_delimited(options: Mapping[str, Any], places: Sequence[Place]) -> DelimitedCodec:
    """The codec that *options* describe; raises `LayoutError` where places and options do not fit."""
    faults: list[Fault] = []
    marks = [options.get("delimiter", ","), options.get("quote", '"'), options.get("escape")]
    given = [mark for mark in marks if mark is not None]
    if len(set(given)) < len(given) or any(mark in "\r\n" for mark in given):
        expected = "delimiter, quote and escape that differ, none of them a line break"
        faults.append(Fault("", path="$.codec", expected=expected, found=given))
    if not options.get("header", True):
        faults += [
            Fault("", path=f"{place.path}.at", expected="a position, as the file has no header", found=place.at)
            for place in places
            if isinstance(place.at, str)
        ]
    if faults:
        raise LayoutError("layout", faults)
    return DelimitedCodec(options, places)
