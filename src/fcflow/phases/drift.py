"""What changed in the header of a partner's file since the last one that was taken in."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence

from fcflow.formats import Layout
from fcflow.formats.error_file import PROBLEM_COLUMN
from fcflow.model import Record
from fcflow.store import Transaction

__all__ = ["drift", "shape_of"]

_HEADED = ("delimited", "xlsx")


def shape_of(layout: Layout, records: Sequence[Record]) -> list[str] | None:
    """
    The header of a file with one; ``None`` where there is none, or no record to tell it by.

    The column that our own error files add is none of the partner's.
    """
    codec = layout.document.get("codec", {})
    if codec.get("type") not in _HEADED or not codec.get("header", True) or not records:
        return None
    return [name for name in records[0].raw if name != PROBLEM_COLUMN]


def drift(tx: Transaction, partner: str, feed: str, layout: Layout, shape: Sequence[str] | None) -> str | None:
    """
    What a person is told of a header that is not the last one's; ``None`` where nothing changed.

    Only files read by the same layout are compared, and the order of columns says nothing.
    """
    if shape is None:
        return None
    last = tx.last_shape(partner, feed, layout.hash)
    return None if last is None else _told(json.loads(last), shape)


def _told(before: Sequence[str], now: Sequence[str]) -> str | None:
    gone = [name for name in before if name not in now]
    new = [name for name in now if name not in before]
    said = []
    for name in gone:
        near = difflib.get_close_matches(name.casefold(), [each.casefold() for each in new], n=1, cutoff=0.6)
        found = next((each for each in new if near and each.casefold() == near[0]), None)
        if found is None:
            said.append(f"column {name!r} is gone")
        else:
            new.remove(found)
            said.append(f"column {name!r} is gone, {found!r} is new and looks like it")
    said += [f"column {name!r} is new" for name in new]
    return "; ".join(said) if said else None
