"""Names and paths on a partner's server: what is safe, what is ours, what is still being written."""

from __future__ import annotations

import posixpath
import re
from datetime import datetime

from fcflow.errors import TransportRefusedError

__all__ = ["CLAIMED", "UNFINISHED", "archived_name", "fault_of_name", "joined", "safe_folder", "safe_name"]

CLAIMED = ".claimed"
"""Ending of a file that one of several takers has taken for itself."""

UNFINISHED = (".part", ".tmp", ".filepart", ".writing", ".partial", CLAIMED)
"""Endings of names that somebody is still writing to, or has taken already; in any case of letters."""

_LONGEST = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_AWKWARD = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f]')


def fault_of_name(name: str) -> str | None:
    """
    Why *name* is not a plain file name, or ``None`` when it is one.

    Example:
        >>> fault_of_name("../status.csv")
        'it is a path'
        >>> fault_of_name("status 1.csv") is None
        True
    """
    if name in ("", ".", ".."):
        return "it is no name"
    if "/" in name or "\\" in name or re.match(r"[A-Za-z]:", name):
        return "it is a path"
    if _CONTROL.search(name):
        return "it holds control characters"
    return _fault_of_bytes(name)


def _fault_of_bytes(name: str) -> str | None:
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is not in the connection's name_encoding"
    return f"it is longer than {_LONGEST} bytes" if length > _LONGEST else None


def safe_name(name: str) -> str:
    """
    *name*, when it stays one segment of a path.

    Raises:
        TransportRefusedError: It does not.
    """
    fault = fault_of_name(name)
    if fault is not None:
        raise TransportRefusedError(f"name {name!r} is not used: {fault}")
    return name


def safe_folder(path: str) -> str:
    """
    *path* below the connection's base folder, without slashes at its ends; empty for the base folder itself.

    Raises:
        TransportRefusedError: It leads out of the base folder.

    Example:
        >>> safe_folder("/in/leeds/")
        'in/leeds'
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for part in parts:
        fault = fault_of_name(part)
        if fault is not None:
            raise TransportRefusedError(f"folder {path!r} is not used: {part!r}: {fault}")
    return "/".join(parts)


def joined(*parts: str) -> str:
    """
    The parts as one path; empty ones fall away.

    Example:
        >>> joined("", "in", "a.csv")
        'in/a.csv'
    """
    return posixpath.join(*(part for part in parts if part)) if any(parts) else ""


def archived_name(name: str, at: datetime | None, attempt: int) -> str:
    """
    The name for *name* in the archive: itself first, then with the time, then with a number too.

    Example:
        >>> archived_name("a?.csv", None, 0), archived_name("stock.csv", datetime(2026, 3, 2, 7, 5), 1)
        ('a_.csv', 'stock-20260302T070500.csv')
        >>> archived_name("stock.csv", datetime(2026, 3, 2, 7, 5), 2)
        'stock-20260302T070500-2.csv'
    """
    clean = _AWKWARD.sub("_", name)
    if attempt == 0:
        return clean
    stem, ending = posixpath.splitext(clean)
    marks = [f"{at:%Y%m%dT%H%M%S}"] if at is not None else []
    marks += [str(attempt)] if attempt > 1 or at is None else []
    tail = f"-{'-'.join(marks)}{ending}"
    return stem.encode()[: _LONGEST - len(tail.encode())].decode("utf-8", "ignore") + tail
