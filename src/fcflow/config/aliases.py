"""SKU aliases from a file: a JSON object, or a CSV file with the columns ``sku`` and ``partner_sku``."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fcflow.errors import ConfigError, Fault
from fcflow.model import Alias
from fcflow.rules import source
from fcflow.rules.faults import Faults

__all__ = ["read_aliases"]

COLUMNS = ("sku", "partner_sku")
COUNTS = ("pack", "quantity")


def read_aliases(path: Path) -> dict[str, str | Alias]:
    """
    Our SKU to the partner's, to packs of it, or to parts.

    Args:
        path: ``.json`` is an object of texts, ``{"sku", "pack"}`` and ``{"parts": {sku: quantity}}``; anything else is
            CSV in UTF-8, with a comma, semicolon or tab. There, ``pack`` is how many of ours one of the partner's is,
            and ``quantity`` how many of the partner's one of ours is; a SKU of ours on several rows that have a
            ``quantity`` leaves as all of them.

    Raises:
        ConfigError: The file cannot be read, a column is missing, a row is not whole, or a SKU of ours stands twice.
    """
    return _from_json(path) if path.suffix.lower() == ".json" else _from_csv(path)


def _from_json(path: Path) -> dict[str, str | Alias]:
    faults = Faults()
    _, value = source.read(path, faults)
    if not len(faults) and not isinstance(value, dict):
        faults.add((), "", expected="an object of our SKU to the partner's")
    aliases: dict[str, str | Alias] = {}
    for sku, said in value.items() if isinstance(value, dict) else ():
        if isinstance(said, str) and said:
            aliases[sku] = said
            continue
        try:
            aliases[sku] = Alias.of(_known(said))
        except (TypeError, ValueError) as error:
            expected = "the partner's SKU as a text" if not isinstance(said, dict) else str(error)
            faults.add((sku,), "", expected=expected, found=said)
    if len(faults):
        raise ConfigError(str(path), faults.sorted(value))
    return aliases


def _known(said: Any) -> Mapping[str, Any]:
    """One alias as it may stand."""
    if not isinstance(said, dict) or set(said) not in ({"sku"}, {"sku", "pack"}, {"parts"}):
        raise ValueError('{"sku", "pack"} or {"parts"}')
    if "sku" in said and not (isinstance(said["sku"], str) and said["sku"]):
        raise ValueError("sku: the partner's SKU as a text")
    if "parts" in said and not isinstance(said["parts"], dict):
        raise ValueError("parts: an object of the partner's SKU to a whole number")
    return said


def _from_csv(path: Path) -> dict[str, str | Alias]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(str(path), [Fault(f"cannot be read: {reason}")]) from None
    aliases: dict[str, str | Alias] = {}
    faults = []
    for line, row in _rows(path, text):
        try:
            aliases[row["sku"]] = _with_row(aliases.get(row["sku"]), row)
        except ValueError as error:
            faults.append(Fault(str(error), line=line, found=row["sku"] or None))
    if faults:
        raise ConfigError(str(path), faults)
    return aliases


def _with_row(before: str | Alias | None, row: Mapping[str, str]) -> str | Alias:
    """What a SKU of ours stands for, with one row more."""
    if not row["sku"] or not row["partner_sku"]:
        raise ValueError("a SKU is missing")
    pack, quantity = (_whole(name, row[name]) for name in COUNTS)
    if before is None and quantity is None:
        return row["partner_sku"] if pack in (None, 1) else Alias(parts={row["partner_sku"]: 1}, pack=pack)
    if pack not in (None, 1):
        raise ValueError("pack: expected none beside a quantity")
    parts = dict(before.parts) if isinstance(before, Alias) and before.pack == 1 else {}
    if quantity is None or (before is not None and not parts) or row["partner_sku"] in parts:
        raise ValueError("a SKU of ours stands twice")
    return Alias(parts={**parts, row["partner_sku"]: quantity})


def _whole(name: str, said: str) -> int | None:
    if not said:
        return None
    if not (said.isascii() and said.isdigit()) or int(said) < 1:
        raise ValueError(f"{name}: expected a whole number above 0, got {said!r}")
    return int(said)


def _rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    header = [cell.strip().lower() for cell in next(reader, [])]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise ConfigError(str(path), [Fault("a column is missing", line=1, expected=name) for name in missing])
    places = {name: header.index(name) for name in (*COLUMNS, *COUNTS) if name in header}
    for row in reader:
        if any(cell.strip() for cell in row):
            cells = row + [""] * len(header)
            found = {name: cells[place].strip() for name, place in places.items()}
            yield reader.line_num, {**dict.fromkeys(COUNTS, ""), **found}
