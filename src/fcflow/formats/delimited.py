"""
Delimited text: cells between delimiters, quoted or not, a header or none.

Reading is Python's csv module under strict rules, fed line by line, so that memory stays bounded and every record
knows the line on which it begins.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal, InvalidOperation
from typing import Any, BinaryIO

from attrs import evolve
from immutabledict import immutabledict

from fcflow.errors import Fault, FormatError, LayoutError
from fcflow.formats.codec import Batch, Block, Cell, Place, Row, TableDialect, Unwritable
from fcflow.formats.columns import Blocker, Columns, Framer, column_faults, is_blank
from fcflow.formats.text import LINE_ENDS, MAX_LINE, Lines, TextOptions, problem_of_odd_text
from fcflow.model import Problem

__all__ = ["DelimitedCodec", "build_delimited"]

_STAND_IN = "\U0010fffd"  # for a delimiter of several characters, which the csv module does not know
_SEP = re.compile(r"sep=.[\r\n]*")  # how Excel writes down the delimiter
_MOST_ABOVE = 50
_LIKE_ASCII = ("utf-8", "ascii", "cp1252", "iso8859-1", "iso8859-15")
_BLANKS = "\t\x0b\x0c\x1c\x1d\x1e\x1f"
_BLOCK = 200  # lines; more of them would be more values than Python makes between two looks for garbage


class _Trailer:
    """The last row of a file that says how many rows there were, and what they add up to."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.at: int = options.get("at", 1) - 1
        self.equals: str = options["equals"]
        self.count_at: int | None = options.get("count_at")
        self.sum_at: int | None = options.get("sum_at")
        self.sum_of: int | None = options.get("sum_of")
        self._widths: tuple[int, int] = (options.get("count_width", 0), options.get("sum_width", 0))
        self._decimal: str = options.get("decimal", ".")

    def _number(self, text: str) -> Decimal:
        return Decimal(text.strip().replace(self._decimal, ".") or 0)

    def is_trailer(self, row: Sequence[str]) -> bool:
        return len(row) > self.at and row[self.at].strip() == self.equals

    def amount(self, row: Sequence[str]) -> Decimal:
        """What *row* adds to the sum; nothing where it is not a number, which is a problem of its own."""
        try:
            return self._number(row[self.sum_of - 1]) if self.sum_of else Decimal(0)
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
                holds = bool(said) and self._number(said) == found
            except InvalidOperation:
                holds = False
            if not holds:
                raise FormatError(f"line {line}, column {at}: the trailer says {said!r} {what}, got {found}")

    def written(self, rows: Sequence[Sequence[str]]) -> list[str]:
        cells: dict[int, str] = {self.at: self.equals}
        if self.count_at:
            cells[self.count_at - 1] = str(len(rows)).rjust(self._widths[0], "0")
        if self.sum_at:
            total = f"{sum((self.amount(row) for row in rows), Decimal(0)):f}"
            cells[self.sum_at - 1] = total.replace(".", self._decimal).rjust(self._widths[1], "0")
        return [cells.get(index, "") for index in range(max(cells) + 1)]


class _Feed:
    """Lines for the csv reader: skips comments between records, remembers where a record began."""

    def __init__(self, lines: Lines, comment: str | None, delimiter: str) -> None:
        self._lines = lines
        self._comment = comment
        self._delimiter = delimiter
        self.fresh = True
        self.began = 1
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        lines = self._lines
        long = len(self._delimiter) > 1
        for line in lines:
            if lines.number == 1 and _SEP.fullmatch(line):
                continue
            if long:
                line = line.replace(self._delimiter, _STAND_IN)
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
        self._delimiter: str = options.get("delimiter", ",")
        self._mark = self._delimiter if len(self._delimiter) == 1 else _STAND_IN
        self._quote: str | None = options.get("quote", '"')
        self._escape: str | None = options.get("escape")
        self._header: bool = options.get("header", True)
        self._seeks: bool = options.get("find_header", False)
        self._ends_last: bool = options.get("final_line_end", True)
        self._columns = Columns(places, options)
        self._comment: str | None = options.get("comment")
        self._preamble: list[str] = list(options.get("preamble", ()))
        self._skip: int = options.get("skip_lines", len(self._preamble))
        self._end = LINE_ENDS[options.get("line_end", "crlf")]
        self._quotes_all: bool = options.get("quote_all", False)
        self._limit: int = options.get("max_line", MAX_LINE)
        self._replace: str | None = options.get("replace_delimiter")
        self._trailer = _Trailer(options["trailer"]) if "trailer" in options else None
        self._marked = self._columns.places_at(self._trailer.at) if self._trailer is not None else set()
        self._text = TextOptions(options, keeps_breaks=self._quote is not None)
        self._trim: bool = options.get("trim", True)
        special = (self._quote or "") + (self._escape or "") + "\r\n"
        self._marks = [*special.replace("\n", ""), self._delimiter, " \n", "\n ", *_BLANKS]
        self._marks += self._delimiter if len(self._delimiter) > 1 else ""
        self.writes_columns = self._trailer is None and not self._columns.repeats
        self._is_plain = self._mark == self._delimiter and self._comment is None and self._trailer is None
        self._special = re.compile(f"[{re.escape(special)}]|{re.escape(self._delimiter)}|^[\\s]|[\\s]$")
        self.content_type = f"{_media_type(self._delimiter)}; charset={self._text.encoding}"
        self.extension = "tsv" if self._delimiter == "\t" else "csv"

    # -------------------------------------------------------------- reading

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        for item in self.blocks(stream):
            if isinstance(item, Block):
                yield from item.rows()
            else:
                yield item

    def blocks(self, stream: BinaryIO) -> Iterator[Row | Problem | Block]:
        """The rows, many at once wherever every line is a record of its own."""
        lines = Lines(stream, self._text.reads, self._limit)
        feed = _Feed(lines, self._comment, self._delimiter)
        with closing(iter(feed)) as source:  # type: ignore[type-var]  # a generator
            records = self._records(source, feed)
            for _ in range(self._skip):
                next(source, None)
            yield from self._framed(records, feed, lines)

    def resumed(self, stream: BinaryIO, block: Block, line: int) -> Iterator[Row | Problem | Block]:
        """The rows of a plain payload from *line* on, whose columns stand as in *block*."""
        lines = Lines(stream, self._text.reads, self._limit, line - 1)
        feed = _Feed(lines, self._comment, self._delimiter)
        with closing(iter(feed)) as source:  # type: ignore[type-var]  # a generator
            records = self._records(source, feed)
            again: Blocker = lambda found, at: evolve(block, records=found, line=at)  # noqa: E731  # two lines
            yield from self._in_blocks(records, again, block.frame, feed, lines)

    @property
    def table_dialect(self) -> TableDialect | None:
        """How to split a payload without the codec; ``None`` where only the codec can."""
        encoding = self._text.reads
        if not self._is_plain or not self._trim or self._columns.repeats or self._escape is not None:
            return None
        if encoding not in _LIKE_ASCII or not (self._delimiter + (self._quote or "")).isascii():
            return None
        return TableDialect(self._delimiter, self._quote, str(encoding), self._limit)

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
            if record and (record[0].strip() or not is_blank(record)):
                yield record if self._mark == self._delimiter else self._restored(record)

    def _restored(self, record: list[str]) -> list[str]:
        """The cells with what looks like a delimiter inside quotes as it was written."""
        return [cell.replace(_STAND_IN, self._delimiter) for cell in record]

    def _dialect(self) -> dict[str, Any]:
        return {
            "delimiter": self._mark,
            "quotechar": self._quote,
            "quoting": csv.QUOTE_NONE if self._quote is None else csv.QUOTE_MINIMAL,
            "escapechar": self._escape,
            "doublequote": self._escape is None,
            "skipinitialspace": self._trim and self._mark != " ",
        }

    def _broken(self, error: csv.Error, line: int) -> Problem:
        said = str(error)
        if "unexpected end of data" in said:
            raise FormatError(f"line {line}: expected a closing quote, got the end of the file") from error
        if "field larger" in said:
            raise FormatError(f"line {line}: expected cells of at most {csv.field_size_limit()} characters") from error
        return Problem(line=line, expected="a delimiter after a quoted cell", message="quotes do not pair up")

    def _framed(
        self, records: Iterator[list[str] | Problem], feed: _Feed, lines: Lines
    ) -> Iterator[Row | Problem | Block]:
        names: list[str] | None = None
        if self._header:
            names = self._read_header(records, lines)
            if names is None:
                return
        frame = self._columns.framer(names)
        block = self._columns.blocker(names, frame) if self._is_plain else None
        if block is not None:
            yield from self._in_blocks(records, block, frame, feed, lines)
        elif self._trailer is None:
            for record in records:
                yield from self._rows_of(record, frame, feed, lines)
        else:
            yield from self._up_to_trailer(self._trailer, records, frame, feed, lines, needed=names is not None)

    def _in_blocks(
        self, records: Iterator[list[str] | Problem], block: Blocker, frame: Framer, feed: _Feed, lines: Lines
    ) -> Iterator[Row | Problem | Block]:
        """Blocks as long as it goes, and the next rows one by one where it does not."""
        until = 1
        while True:
            if lines.number >= until:
                while found := self._ahead(lines):
                    yield block(found, lines.number - len(found) + 1)
                until = lines.number + _BLOCK
            record = next(records, None)
            if record is None:
                return
            yield from self._rows_of(record, frame, feed, lines)

    def _ahead(self, lines: Lines) -> list[list[str]] | None:
        """The next records, where each is a line; blank ones among them."""
        ahead = lines.ahead(_BLOCK)
        try:
            found = list(csv.reader(ahead, strict=True, **self._dialect()))
        except csv.Error:
            return None
        if len(found) < len(ahead):
            return None
        lines.passed(len(ahead))
        return found

    def _rows_of(
        self, record: list[str] | Problem, frame: Framer, feed: _Feed, lines: Lines
    ) -> Sequence[Row | Problem]:
        if isinstance(record, Problem):
            return [record]
        rows = frame(record, feed.began)
        odd = self._odd(lines, feed.began, record, rows[0]) if lines.odd else None
        return [odd] if odd else rows

    def _up_to_trailer(
        self,
        trailer: _Trailer,
        records: Iterator[list[str] | Problem],
        frame: Framer,
        feed: _Feed,
        lines: Lines,
        *,
        needed: bool,
    ) -> Iterator[Row | Problem]:
        count, total, ended = 0, Decimal(0), False
        for record in records:
            if ended and not isinstance(record, Problem):
                raise FormatError(f"line {feed.began}: expected nothing after the trailer, got a row")
            if not isinstance(record, Problem):
                if trailer.is_trailer(record):
                    trailer.check(record, count, total, feed.began)
                    ended = True
                    continue
                total += trailer.amount(record)
            count += 1
            yield from self._rows_of(record, frame, feed, lines)
        if not ended and (count or needed):
            raise FormatError(f"line {lines.number}: expected a trailer {trailer.equals!r}, got the end of the file")

    def _odd(self, lines: Lines, line: int, record: list[str], row: Row | Problem) -> Problem | None:
        """The problem of a record one of whose lines holds characters that nobody means."""
        if not any(line <= number <= lines.number for number in lines.odd):
            return None
        return problem_of_odd_text("".join(record), line, lines.encoding, row.raw)

    def _read_header(self, records: Iterator[list[str] | Problem], lines: Lines) -> list[str] | None:
        """The header; where it has to be found, the first row that holds all columns that must be there."""
        above: list[str] | None = None
        for passed, record in enumerate(records):
            if isinstance(record, Problem):
                raise FormatError(f"line {record.line}: expected a header, got quotes that do not pair up")
            odd = problem_of_odd_text("".join(record), lines.number, lines.encoding, immutabledict())
            if odd is not None:
                raise FormatError(str(odd))
            names = [cell.strip() for cell in record]
            if not self._seeks or self._columns.are_there(names):
                return names
            above = above or names
            if passed == _MOST_ABOVE:
                break
        if above is not None:
            self._columns.refuse_lost(above)
        return above

    # -------------------------------------------------------------- writing

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        rows = [each for record in records for each in self._columns.records(record)]
        out = [*self._preamble, *([self._joined(self._columns.header())] if self._header else [])]
        out += [self._joined(row) for row in rows]
        if self._trailer is not None:
            out.append(self._joined(self._trailer.written(rows)))
        text = self._end.join(out) + (self._end if out and self._ends_last else "")
        return self._text.encode(text)

    def write_columns(self, blocks: Iterable[Sequence[Sequence[str]]], batch: Batch) -> bytes:
        """The same as `write` for what has neither a trailer nor columns that come again."""
        out = [*self._preamble, *([self._joined(self._columns.header())] if self._header else [])]
        for block in blocks:
            out += self._lines(self._columns.arranged(block))
        text = self._end.join(out) + (self._end if out and self._ends_last else "")
        return self._text.encode(text)

    def _lines(self, columns: Sequence[Sequence[str]]) -> list[str]:
        lines = list(map(self._delimiter.join, zip(*map(self._cells, columns), strict=True)))
        if all(columns[0]) and self._comment is None:
            return lines
        return [self._joined(row) for row in zip(*columns, strict=True)]

    def _cells(self, column: Sequence[str]) -> Sequence[str]:
        """What `_cell` makes of each; most columns hold nothing that must be looked at."""
        together = "\n".join(column)
        is_bare = together.isascii() and together.count("\n") == len(column) - 1 and together.strip(" ") == together
        if is_bare and not self._quotes_all and not any(mark in together for mark in self._marks):
            return column
        return list(map(self._cell, column))

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
        if not self._quotes_all and not self._special.search(text) and not self._runs_into(text):
            return text
        return f"{self._quote}{self._doubled(text)}{self._quote}"

    def _runs_into(self, text: str) -> bool:
        """Whether *text* and the delimiter behind it hold one that begins sooner, as ``a~|`` and ``~|~`` do."""
        return (text + self._delimiter).find(self._delimiter) < len(text)

    def _doubled(self, text: str) -> str:
        quote = self._quote or ""
        if self._escape is None:
            return text.replace(quote, quote + quote)
        return text.replace(self._escape, self._escape * 2).replace(quote, self._escape + quote)

    def _escaped(self, text: str) -> str:
        escape = self._escape or ""
        return text.replace(escape, escape * 2).replace(self._delimiter, escape + self._delimiter)

    def carry_all(self, place: int, texts: Sequence[str]) -> Sequence[str]:
        """What `carry` makes of each."""
        needs_each = self._quote is None and (self._escape is None or self._comment is not None)
        if needs_each or self._text.carry_all(texts) is not texts:
            return [self.carry(place, text) for text in texts]
        return list(map(str.strip, texts)) if self._trim else texts

    def carry(self, place: int, text: str) -> str:
        text = self._text.carry(text)
        if self._quote is None and self._escape is None and (self._delimiter in text or self._runs_into(text)):
            if self._replace is None:
                raise Unwritable(f"expected text without the delimiter {self._delimiter!r}, got {text!r}")
            text = text.replace(self._delimiter, self._replace)
            if self._runs_into(text):
                raise Unwritable(
                    f"expected text that does not run into the delimiter {self._delimiter!r}, got {text!r}"
                )
        if self._trailer is not None and place in self._marked and text.strip() == self._trailer.equals:
            raise Unwritable(f"expected text that is not that of a trailer, got {text!r}")
        if self._quote is None and place == 0 and self._comment and text.startswith(self._comment):
            raise Unwritable(f"expected text that does not begin like a comment, got {text!r}")
        return text.strip() if self._trim else text


def _media_type(delimiter: str) -> str:
    return "text/tab-separated-values" if delimiter == "\t" else "text/csv"


def build_delimited(options: Mapping[str, Any], places: Sequence[Place]) -> DelimitedCodec:
    """The codec that *options* describe; raises `LayoutError` where places and options do not fit."""
    faults: list[Fault] = []
    marks = [options.get("delimiter", ","), options.get("quote", '"'), options.get("escape")]
    given = [mark for mark in marks if mark is not None]
    if len(set(given)) < len(given) or any(set(mark) & set("\r\n") for mark in given):
        expected = "delimiter, quote and escape that differ, none of them a line break"
        faults.append(Fault("", path="$.codec", expected=expected, found=given))
    faults += column_faults(places, options)
    if faults:
        raise LayoutError("layout", faults)
    return DelimitedCodec(options, places)
