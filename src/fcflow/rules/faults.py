"""
Where faults of a document gather, so that all of them are reported at once and in the order in which they stand.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from fcflow.errors import Fault

__all__ = ["Faults", "Path", "nearest", "path_text"]

Path = tuple[str | int, ...]


def path_text(path: Path, root: str = "$") -> str:
    """
    A path as JSON path.

    Example:
        >>> path_text(("rules", 3, "when", "a b"))
        "$.rules[3].when['a b']"
    """
    return root + "".join([f"[{part}]" if isinstance(part, int) else _key(part) for part in path])


@lru_cache(1024)
def _key(part: str) -> str:
    return f".{part}" if re.fullmatch(r"\w+", part) else f"[{part!r}]"


def nearest(name: object, names: Iterable[str]) -> str | None:
    """The name most like *name*, or ``None`` where nothing is near."""
    known = {known.lower(): known for known in names}
    close = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.6)
    return known[close[0]] if close else None


class Faults:
    """
    The faults found so far in one document.

    Args:
        root: Where the document itself stands: ``$``, or the path of a condition inside a larger document.
    """

    def __init__(self, root: str = "$") -> None:
        self.root = root
        self._found: list[tuple[Path, Fault]] = []

    def add(self, path: Path, message: str, *, found: object = None, expected: str | None = None) -> None:
        """Note one fault."""
        fault = Fault(message, path=path_text(path, self.root), found=found, expected=expected)
        self._found.append((path, fault))

    def add_at(self, line: int, column: int, message: str) -> None:
        """Note a fault of the text itself; *line* and *column* count from 1."""
        self._found.append(((), Fault(message, line=line, column=column)))

    def __len__(self) -> int:
        return len(self._found)

    def blocked(self) -> frozenset[Path]:
        """
        The places that must not be read further: from each fault up to the condition or action that holds it.

        Example:
            >>> faults = Faults()
            >>> faults.add(("rules", 0, "when", "not", "op"), "wrong type")
            >>> ("rules", 0, "when", "not") in faults.blocked(), ("rules", 0, "when") in faults.blocked()
            (True, False)
        """
        return frozenset(place for path, _ in self._found for place in _up_to_unit(path))

    def sorted(self, document: Any) -> list[Fault]:
        """The faults in the order in which their places stand in *document*."""
        return [fault for _, fault in sorted(self._found, key=lambda found: _position(document, found[0]))]


_CONDITION_KEYS = frozenset({"when", "not", "any_line", "every_line", "no_line", "where"})
_HOLDERS = frozenset({"all", "any", "then", "otherwise"})
_BODIES = frozenset({"stock", "stock_age", "behaviour", "count_lines", "sum_lines"})


def _up_to_unit(path: Path) -> Iterator[Path]:
    action = _action_length(path)
    for length in range(len(path), 0, -1):
        yield path[:length]
        if length > action > 0:
            continue  # an action holds no conditions, whatever its keys are called
        last, above = path[length - 1], path[length - 2] if length > 1 else None
        if above in _BODIES and last != "where":
            continue  # a key that is out of place there, whatever it means elsewhere
        if last in _CONDITION_KEYS or (isinstance(last, int) and above in _HOLDERS) or path[:-1] == ("conditions",):
            return
    yield ()


def _action_length(path: Path) -> int:
    """How much of *path* leads to the action that it is inside of; 0 where it is in none."""
    if path[:1] == ("otherwise",):
        return 2
    return 4 if path[:1] == ("rules",) and path[2:3] == ("then",) else 0


def _position(document: Any, path: Path) -> tuple[int, ...]:
    place: list[int] = []
    for part in path:
        if isinstance(part, int):
            place.append(part)
            document = document[part] if isinstance(document, list) and part < len(document) else None
        else:
            keys = list(document) if isinstance(document, dict) else []
            place.append(keys.index(part) if part in keys else len(keys))
            document = document.get(part) if isinstance(document, dict) else None
    return tuple(place)
