"""
Spreadsheets (.xlsx), one row a record or a line; read row by row, in bounded memory. Needs the extra ``xlsx``.

A cell is read as what it holds, not as it is shown: a whole number without a point, a date as ISO 8601. Everything is
written as text but whole numbers, so that nothing runs as a formula and no postcode loses its zeros.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, BinaryIO

from fcflow.errors import Fault, FormatError, LayoutError, MissingExtraError
from fcflow.formats.codec import Batch, Cell, Place, Row
from fcflow.formats.columns import Columns, column_faults, is_blank
from fcflow.formats.text import TextOptions, whole
from fcflow.model import Problem

__all__ = ["XlsxCodec", "build_xlsx"]

MAX_BYTES = 64 * 1024 * 1024
MAX_UNPACKED = 512 * 1024 * 1024
_MOST_ABOVE = 50
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_WHOLE = re.compile("-?(0|[1-9][0-9]{0,14})")


class XlsxCodec:
    """Codec ``xlsx``: see `docs/reference/layouts.md` for its options."""

    content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    extension = "xlsx"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._places = places
        self._columns = Columns(places, {"short_rows": "pad", **options})
        self._sheet: str | None = options.get("sheet")
        self._header: bool = options.get("header", True)
        self._seeks: bool = options.get("find_header", False)
        self._skip: int = options.get("skip_lines", 0)
        self._text = TextOptions({}, keeps_breaks=True)

    # -------------------------------------------------------------- reading

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        book = _opened(stream)
        try:
            records = self._records(self._chosen(book))
            names = self._read_header(records) if self._header else None
            if self._header and names is None:
                return
            frame = self._columns.framer(names)
            for line, record in records:
                yield from frame(record, line)
        finally:
            book.close()

    def _chosen(self, book: Any) -> Any:
        if self._sheet is None:
            if not book.worksheets:
                raise FormatError("expected a sheet, got none")
            return book.worksheets[0]
        if self._sheet not in book.sheetnames:
            raise FormatError(f"expected a sheet {self._sheet!r}, got {', '.join(map(repr, book.sheetnames[:10]))}")
        return book[self._sheet]

    def _records(self, sheet: Any) -> Iterator[tuple[int, list[str]]]:
        rows = sheet.iter_rows(values_only=True)
        try:
            for line, values in enumerate(rows, start=1):
                record = [_shown(value) for value in values]
                if line > self._skip and not is_blank(record):
                    yield line, record
        except Exception as error:  # the library raises anything at all over a broken file
            raise FormatError(f"expected a spreadsheet that can be read: {type(error).__name__}: {error}") from error

    def _read_header(self, records: Iterator[tuple[int, list[str]]]) -> list[str] | None:
        above: list[str] | None = None
        for passed, (_, record) in enumerate(records):
            names = [name.strip() for name in record]
            while names and not names[-1]:
                names.pop()
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
        openpyxl = _openpyxl()
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet(self._sheet or "Sheet1")
        kinds = self._kinds()
        if self._header:
            sheet.append([_cell(openpyxl, sheet, name, "text") for name in self._columns.header()])
        for record in records:
            for row in self._columns.records(record):
                sheet.append([_cell(openpyxl, sheet, text, kind) for text, kind in zip(row, kinds, strict=True)])
        out = io.BytesIO()
        book.save(out)
        return _repacked(out.getvalue())

    def _kinds(self) -> list[str]:
        """The type of each column."""
        [kinds] = self._columns.records([[place.type for place in self._places]])
        return [kind or "text" for kind in kinds]

    def carry(self, place: int, text: str) -> str:
        return self._text.carry(text)


def _cell(openpyxl: Any, sheet: Any, text: str, kind: str) -> Any:
    if kind == "integer" and _WHOLE.fullmatch(text):
        return int(text)
    if not text:
        return None
    cell = openpyxl.cell.WriteOnlyCell(sheet, text)
    cell.data_type = "s"
    return cell


def _shown(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case float():
            return repr(value)
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return str(value)


def _openpyxl() -> Any:
    try:
        import openpyxl
        import openpyxl.cell
    except ImportError as error:
        raise MissingExtraError("xlsx", error.name or "openpyxl") from error
    return openpyxl


def _opened(stream: BinaryIO) -> Any:
    openpyxl = _openpyxl()
    content = whole(stream, MAX_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(each.file_size for each in archive.infolist())
    except Exception as error:  # the library raises anything at all over a broken file
        raise FormatError(f"expected a spreadsheet (.xlsx): {type(error).__name__}: {error}") from error
    if size > MAX_UNPACKED:
        raise FormatError(f"expected at most {MAX_UNPACKED} bytes when unpacked, got {size}")
    try:
        return openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except Exception as error:
        raise FormatError(f"expected a spreadsheet (.xlsx): {type(error).__name__}: {error}") from error


def _repacked(content: bytes) -> bytes:
    """The same workbook without the time of day at which it was made: equal values give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for each in given.infolist():
            part = given.read(each)
            if each.filename == "docProps/core.xml":
                part = re.sub(rb">[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+Z<", b">2000-01-01T00:00:00Z<", part)
            made.writestr(zipfile.ZipInfo(each.filename, _LONG_AGO), part, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def build_xlsx(options: Mapping[str, Any], places: Sequence[Place]) -> XlsxCodec:
    """The codec that *options* describe; raises `LayoutError` where places and options do not fit."""
    faults: list[Fault] = list(column_faults(places, options))
    if faults:
        raise LayoutError("layout", faults)
    return XlsxCodec(options, places)
