"""The bad rows of a partner's file, as a file that the partner can mend and send again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from fcflow.formats.layout import Layout
from fcflow.model import Problem

__all__ = ["PROBLEM_COLUMN", "error_file"]

PROBLEM_COLUMN = "fcflow_problem"
_PLAIN = ("line", "column", "field", "found", "expected", "message")
_RISKY = ("=", "+", "-", "@", "\t", "\r")


def error_file(layout: Layout, problems: Sequence[Problem]) -> bytes:
    """
    A CSV file in UTF-8 of what was not taken from a file, a row for each bad record.

    Where records are rows under a header, their cells stand as they came, with what is wrong in a last column
    `fcflow_problem`; the delimiter is the layout's. Of other formats, and of what is wrong with a file as a whole, each
    row tells the line, column, field, what was found and what was expected.

    Args:
        layout: The one that read the file.

        problems: In the file's order; empty gives a file of a header alone.

    Example:
        >>> from fcflow.formats import load_layout
        >>> layout = load_layout("linnworks-stock")
        >>> _, problems = layout.read(b"SKU,Location,Quantity\\r\\nMUG,Leeds,two\\r\\n")
        >>> print(error_file(layout, problems).decode("utf-8-sig").replace("\\r", ""))
        SKU,Location,Quantity,fcflow_problem
        MUG,Leeds,two,"line 2, column 3 (on_hand): expected digits, got 'two'"
        <BLANKLINE>
    """
    codec = layout.document.get("codec", {})
    delimiter = codec.get("delimiter", ",")
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter if len(delimiter) == 1 else ",")
    columns = list(dict.fromkeys(name for problem in problems for name in problem.raw))
    if columns:
        writer.writerow([*columns, PROBLEM_COLUMN])
        writer.writerows(_rows(columns, problems))
    else:
        writer.writerow(_PLAIN)
        writer.writerows([_safe(getattr(problem, name)) for name in _PLAIN] for problem in problems)
    return text.getvalue().encode("utf-8-sig", "replace")


def _rows(columns: Sequence[str], problems: Sequence[Problem]) -> Iterator[list[str]]:
    """One row for each bad record, whatever is wrong with it; what is wrong with the file has no cells."""
    rows: dict[object, tuple[Problem, list[str]]] = {}
    for problem in problems:
        key = (problem.line, problem.raw) if problem.raw else id(problem)
        rows.setdefault(key, (problem, []))[1].append(str(problem))
    for problem, said in rows.values():
        yield [*(problem.raw.get(name, "") for name in columns), "; ".join(said)]


def _safe(value: object) -> str:
    """A cell that a spreadsheet takes for a text; only what we say ourselves is changed."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_RISKY) else text
