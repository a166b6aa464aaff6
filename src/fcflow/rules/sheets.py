"""
Files of rows, as spreadsheets write them: CSV in the usual spellings, and .xlsx with the extra ``xlsx``.

A cell that a person sees and a program does not (merged, or a formula that was never worked out) is a fault: read as
blank it would silently ask for less.
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from attrs import frozen

from fcflow.errors import Fault, MissingExtraError, RuleError

__all__ = ["MAX_BYTES", "MAX_COLUMNS", "MAX_ROWS", "Row", "csv_text", "read_rows", "rows_of", "write_rows"]

MAX_BYTES = 50_000_000
MAX_ROWS = 100_000
MAX_COLUMNS = 500
_DELIMITERS = (",", ";", "\t")


@frozen
class Row:
    """
    One row.

    Args:
        line: Of the file or the sheet, from 1.

        cells: As text without blanks around it; empty where nothing is said.
    """

    line: int
    cells: tuple[str, ...]


def read_rows(path: str | os.PathLike[str], *, sheet: str | None = None) -> list[Row]:
    """
    The rows of a file that are not blank.

    Args:
        sheet: Spreadsheet only; its first sheet, unless said.

    Raises:
        RuleError: The file cannot be read, is too large, or has cells that cannot be taken for what they show.

        MissingExtraError: A spreadsheet, and openpyxl is not installed.
    """
    name = os.fspath(path)
    try:
        content = Path(name).read_bytes()
    except OSError as error:
        raise RuleError(name, [Fault(f"cannot be read: {error.strerror}")]) from None
    if len(content) > MAX_BYTES:
        raise RuleError(name, [Fault("too large", found=f"{len(content)} bytes", expected=f"{MAX_BYTES} at most")])
    if Path(name).suffix.lower() in (".xlsx", ".xlsm"):
        return _bounded(name, _from_workbook(name, content, sheet))
    if sheet is not None:
        raise RuleError(name, [Fault("a text file has no sheets", found=sheet, expected="an .xlsx file")])
    return _bounded(name, _from_text(name, content))


def rows_of(table: Iterable[Sequence[object]]) -> list[Row]:
    """
    Rows that the caller has in hand; numbers, instants and ``None`` are written as text.

    Example:
        >>> rows_of([["rule", "total >="], ["r1", 20.0], [None, ""]])
        [Row(line=1, cells=('rule', 'total >=')), Row(line=2, cells=('r1', '20'))]
    """
    rows = (Row(line, tuple(map(_text, cells))) for line, cells in enumerate(table, start=1))
    return _bounded("table", [row for row in rows if any(row.cells)])


def _bounded(name: str, rows: Iterable[Row]) -> list[Row]:
    found: list[Row] = []
    for row in rows:
        if len(found) == MAX_ROWS or len(row.cells) > MAX_COLUMNS:
            expected = f"at most {MAX_ROWS} rows of {MAX_COLUMNS} columns"
            raise RuleError(name, [Fault("too large", line=row.line, expected=expected)])
        found.append(row)
    return found


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return str(value).strip()


# ------------------------------------------------------------------ text


def _from_text(name: str, content: bytes) -> Iterator[Row]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        expected = "a CSV file saved as UTF-8"
        raise RuleError(name, [Fault(f"byte {error.start} is not UTF-8", expected=expected)]) from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield Row(line, tuple(cell.strip() for cell in cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise RuleError(name, [Fault(f"not CSV: {error}", line=line)]) from None


def _delimiter(text: str) -> str:
    """The delimiter that gives the first rows most cells; a comma where none does."""
    begin = text[:10_000]
    return max(_DELIMITERS, key=lambda each: _cells_with(begin, each))


def _cells_with(text: str, delimiter: str) -> int:
    try:
        return max((len(cells) for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)), default=0)
    except csv.Error:
        return 0


def csv_text(rows: Iterable[Sequence[str]]) -> str:
    """*rows* as CSV with commas."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def write_rows(rows: Sequence[Sequence[str]], path: str | os.PathLike[str]) -> None:
    """
    Write *rows* as CSV, or as a spreadsheet where the name ends in ``.xlsx``; every cell is text.

    Raises:
        MissingExtraError: A spreadsheet, and openpyxl is not installed.
    """
    if Path(path).suffix.lower() != ".xlsx":
        Path(path).write_text(csv_text(rows), encoding="utf-8", newline="")
        return
    book = _openpyxl().Workbook()
    sheet = book.active
    sheet.title = "rules"
    for line, cells in enumerate(rows, start=1):
        for column, text in enumerate(cells, start=1):
            if text:
                cell = sheet.cell(line, column)
                _write(cell, text)
    book.save(path)


def _write(cell: Any, text: str) -> None:
    try:
        cell.value = text
    except ValueError:
        fault = Fault("a control character, which a spreadsheet cannot hold", path=cell.coordinate, found=text)
        raise RuleError("table", [fault]) from None
    cell.data_type, cell.number_format = "s", "@"


# ------------------------------------------------------------------ spreadsheets


def _openpyxl() -> Any:
    try:
        import openpyxl
    except ImportError:
        raise MissingExtraError("xlsx", "openpyxl") from None
    return openpyxl


def _from_workbook(name: str, content: bytes, sheet: str | None) -> list[Row]:
    openpyxl = _openpyxl()
    _check_size(name, content)
    written = _sheet(name, _opened(name, openpyxl, content, values=False), sheet)
    shown = _sheet(name, _opened(name, openpyxl, content, values=True), sheet)
    faults = [*_merged(written), *_unseen(written, shown)]
    if faults:
        raise RuleError(name, faults)
    rows = (
        Row(line, tuple(map(_text, cells))) for line, cells in enumerate(shown.iter_rows(values_only=True), start=1)
    )
    return [row for row in rows if any(row.cells)]


def _check_size(name: str, content: bytes) -> None:
    try:
        size = sum(each.file_size for each in zipfile.ZipFile(io.BytesIO(content)).infolist())
    except zipfile.BadZipFile:
        raise RuleError(name, [Fault("not a spreadsheet", expected="an .xlsx file")]) from None
    if size > 4 * MAX_BYTES:
        raise RuleError(name, [Fault("too large", found=f"{size} bytes unpacked", expected=f"{4 * MAX_BYTES} at most")])


def _opened(name: str, openpyxl: Any, content: bytes, *, values: bool) -> Any:
    try:
        return openpyxl.load_workbook(io.BytesIO(content), data_only=values)
    except Exception as error:
        fault = Fault(f"not a spreadsheet: {type(error).__name__}", expected="an .xlsx file")
        raise RuleError(name, [fault]) from error


def _sheet(name: str, book: Any, sheet: str | None) -> Any:
    names = [each.title for each in book.worksheets]
    if sheet is not None and sheet not in names:
        raise RuleError(name, [Fault("there is no such sheet", found=sheet, expected=" or ".join(names))])
    found = book[sheet] if sheet is not None else book.worksheets[0]
    if found.max_row > MAX_ROWS or found.max_column > MAX_COLUMNS:
        expected = f"at most {MAX_ROWS} rows of {MAX_COLUMNS} columns"
        raise RuleError(name, [Fault("too large", found=found.dimensions, expected=expected)])
    return found


def _merged(sheet: Any) -> Iterator[Fault]:
    for area in sheet.merged_cells.ranges:
        yield Fault("merged cells", path=str(area), line=area.min_row, column=area.min_col, expected="one value a cell")


def _unseen(written: Any, shown: Any) -> Iterator[Fault]:
    for cells in written.iter_rows():
        for cell in cells:
            value = shown[cell.coordinate].value if cell.data_type == "f" else cell.value
            place = {"path": cell.coordinate, "line": cell.row, "column": cell.column}
            if cell.data_type == "f" and value is None:
                yield Fault("a formula that was never worked out", expected="a value, or the file saved anew", **place)
            elif isinstance(value, str) and value.startswith("#") and value in _ERRORS:
                yield Fault("a formula that fails", found=value, expected="a value", **place)


_ERRORS = frozenset({"#N/A", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!", "#SPILL!", "#CALC!"})
