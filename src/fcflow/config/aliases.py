"""SKU aliases from a file: a JSON object, or a CSV file with the columns ``sku`` and ``partner_sku``."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from fcflow.errors import ConfigError, Fault
from fcflow.rules import source
from fcflow.rules.faults import Faults

__all__ = ["read_aliases"]

COLUMNS = ("sku", "partner_sku")


def read_aliases(path: Path) -> dict[str, str]:
    """
    Our SKU to the partner's.

    Args:
        path: ``.json`` is an object of texts; anything else is CSV in UTF-8, with a comma, semicolon or tab.

    Raises:
        ConfigError: The file cannot be read, a column is missing, a row is not whole, or a SKU of ours stands twice.
    """
    return _from_json(path) if path.suffix.lower() == ".json" else _from_csv(path)


def _from_json(path: Path) -> dict[str, str]:
    faults = Faults()
    _, value = source.read(path, faults)
    if not len(faults) and not isinstance(value, dict):
        faults.add((), "", expected="an object of our SKU to the partner's")
    for sku, theirs in value.items() if isinstance(value, dict) else ():
        if not isinstance(theirs, str) or not theirs:
            faults.add((sku,), "", expected="the partner's SKU as a text", found=theirs)
    if len(faults):
        raise ConfigError(str(path), faults.sorted(value))
    return dict(value)


def _from_csv(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(str(path), [Fault(f"cannot be read: {reason}")]) from None
    aliases: dict[str, str] = {}
    faults = []
    for line, row in _rows(path, text):
        sku, theirs = (cell.strip() for cell in row)
        if not sku or not theirs:
            faults.append(Fault("a SKU is missing", line=line))
        elif sku in aliases:
            faults.append(Fault("a SKU of ours stands twice", line=line, found=sku))
        aliases[sku] = theirs
    if faults:
        raise ConfigError(str(path), faults)
    return aliases


def _rows(path: Path, text: str) -> Iterator[tuple[int, tuple[str, str]]]:
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    header = [cell.strip().lower() for cell in next(reader, [])]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise ConfigError(str(path), [Fault("a column is missing", line=1, expected=name) for name in missing])
    ours, theirs = (header.index(name) for name in COLUMNS)
    for row in reader:
        if any(cell.strip() for cell in row):
            cells = row + [""] * len(header)
            yield reader.line_num, (cells[ours], cells[theirs])
