"""What people and programs read: tables, JSON, and errors with all their faults."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

import attrs
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from fcflow.errors import DocumentError, Fault, FcflowError

__all__ = ["clean", "console", "error_document", "plain", "print_error", "print_json", "table"]

_PIPE_WIDTH = 200
_LEAST = 10  # for a column whose cells are broken


def console(*, stderr: bool = False) -> Console:
    """A console on the stream that is in place now; wide where it is not a terminal, so that nothing is cut."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False)


def clean(value: object) -> str:
    """
    *value* on one line without control characters: what a partner said must not steer a terminal.

    Example:
        >>> clean("OK\\x1b[2J\\nA1")
        'OK [2J A1'
    """
    if value is None:
        return ""
    text = value.strftime("%Y-%m-%d %H:%M") if isinstance(value, datetime) else str(value)
    return "".join(character if character.isprintable() else " " for character in text)


def table(title: str, rows: Sequence[Mapping[str, Any]], *, empty: str = "nothing") -> RenderableType:
    """*rows* as a table with the keys of the first as columns; numbers stand to the right."""
    if not rows:
        return Text(f"{title}: {empty}" if title else empty)
    width = console().width
    names = list(rows[0])
    gap = 3
    if _widths(rows, names) + gap * len(names) > width:
        names = [name for name in names if any(row.get(name) is not None for row in rows)]
        gap = 2
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, gap - 2))
    unbroken = _unbroken(rows, names, width - gap * len(names))
    for name in names:
        justify: JustifyMethod = "right" if _is_count([row.get(name) for row in rows]) else "left"
        made.add_column(name, justify=justify, overflow="fold", no_wrap=name in unbroken)
    for row in rows:
        made.add_row(*(Text(clean(row.get(name))) for name in names))
    return Group(Text(title, "bold"), made) if title else made


def _cells(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return [name, *(clean(row.get(name)) for row in rows)]


def _widths(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> int:
    return sum(max(map(cell_len, _cells(rows, name))) for name in names)


def _unbroken(rows: Sequence[Mapping[str, Any]], names: Sequence[str], room: int) -> set[str]:
    """
    The columns whose cells stay on one line: as many as leave room for the others.

    Single words come first, the shortest first: they look worst when they are broken.
    """
    ranked = sorted((any(" " in cell for cell in _cells(rows, name)), _widths(rows, [name]), name) for name in names)
    taken, kept = 0, set()
    for index, (_, wide, name) in enumerate(ranked):
        if taken + wide + sum(min(_LEAST, other) for _, other, _ in ranked[index + 1 :]) > room:
            break
        taken += wide
        kept.add(name)
    return kept


def _is_count(values: Sequence[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, int) and not isinstance(value, bool) for value in known)


# ------------------------------------------------------------------ JSON


def plain(value: Any) -> Any:
    """
    *value* as JSON values: frozen values become objects, instants ISO 8601, money text.

    Example:
        >>> plain({"when": (datetime(2026, 3, 2), None)})
        {'when': ['2026-03-02T00:00:00', None]}
    """
    if attrs.has(type(value)):
        return {name: plain(each) for name, each in attrs.asdict(value, recurse=False).items() if name[0] != "_"}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, frozenset | set):
        return sorted(plain(each) for each in value)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [plain(each) for each in value]
    return _leaf(value)


def _leaf(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def print_json(document: Any, *, compact: bool = False) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(_json(document, None if compact else 2))
    sys.stdout.flush()


def _json(document: Any, indent: int | None) -> str:
    """*document* as JSON in which whatever could steer a terminal is escaped, as ``json.loads`` undoes it."""
    text = json.dumps(plain(document), ensure_ascii=False, indent=indent)
    return "\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n")) + "\n"


def _escaped(text: str) -> str:
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text).replace("\x7f", "\\u007f")


# ------------------------------------------------------------------ errors


def error_document(error: Exception) -> dict[str, Any]:
    """
    An error as JSON values: its code, its message, and every fault of a document.

    Example:
        >>> error_document(DocumentError("a.json", [Fault("not an object", path="$")]))["error"]["faults"]
        [{'message': 'not an object', 'path': '$'}]
    """
    code = error.code if isinstance(error, FcflowError) else "internal"
    document: dict[str, Any] = {"code": code, "message": str(error)}
    if isinstance(error, DocumentError):
        document |= {"source": error.source, "faults": [_fault(fault) for fault in error.faults]}
    if notes := getattr(error, "__notes__", None):
        document["notes"] = list(notes)
    return {"error": document}


def _fault(fault: Fault) -> dict[str, Any]:
    parts = {name: getattr(fault, name) for name in ("message", "path", "line", "column", "found", "expected")}
    return {name: plain(value) for name, value in parts.items() if value not in (None, "")}


def print_error(error: Exception, *, as_json: bool, debug: bool) -> None:
    """Write *error* to standard error, with every fault; a traceback only where *debug* is asked for."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if as_json:
        sys.stderr.write(_json(error_document(error), 2))
        return
    said = "\n".join([str(error), *(f"  {note}" for note in getattr(error, "__notes__", ()))])
    sys.stderr.write("\n".join(clean(line) for line in said.splitlines()) + "\n")
