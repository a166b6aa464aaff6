"""Golden files: what was written before and looked at by a person, held against what is written now."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from fcflow.testing.rehearsal import Exchanged

__all__ = ["Golden"]

_MOST_LINES = 40


@define(eq=False)
class Golden:
    """
    The golden files of one test.

    Args:
        folder: Where they are.

        update: Write them instead of comparing; `written` says which.

    Example:
        >>> import tempfile
        >>> golden = Golden(Path(tempfile.mkdtemp()), update=True)
        >>> golden.check({"orders.csv": b"A1;1"})
        >>> golden.written
        ['orders.csv']
        >>> Golden(golden.folder).check({"orders.csv": b"A1;2"})
        Traceback (most recent call last):
        AssertionError: orders.csv is not what it was, at line 1:
          - 'A1;1'
          + 'A1;2'
        run pytest --fcflow-update to accept what is written now
    """

    folder: Path
    update: bool = False
    written: list[str] = field(factory=list)

    def check(self, found: Mapping[str, bytes | str | Exchanged]) -> None:
        """
        Hold *found*, by name, against the files of the folder: each must be there, equal, and none may be left over.

        Raises:
            AssertionError: With every difference.
        """
        content = {_file_name(name): each for name, each in found.items()}
        if self.update:
            self._write(content)
            return
        kept = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}
        gone = [f"{name} is not written any more" for name in sorted(kept - set(content))]
        said = [*self._differences(content, kept), *gone]
        if said:
            raise AssertionError("\n".join([*said, "run pytest --fcflow-update to accept what is written now"]))

    def _differences(self, content: Mapping[str, Any], kept: set[str]) -> Iterator[str]:
        for name, each in content.items():
            if name not in kept:
                yield f"{name} is new: there is no golden file of it in {self.folder}"
            elif (before := (self.folder / name).read_bytes()) != (now := _bytes(each)):
                yield _difference(name, before, now, each)

    def _write(self, content: Mapping[str, Any]) -> None:
        for path in sorted(self.folder.rglob("*"), reverse=True):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and name not in content:
                path.unlink()
                self.written.append(f"{name} (removed)")
        for name, each in content.items():
            path = self.folder / name
            if not path.is_file() or path.read_bytes() != _bytes(each):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_bytes(each))
                self.written.append(name)


def _file_name(name: str) -> str:
    """Fit for any file system; no name leads out of the folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join("".join(char if char.isalnum() or char in "-_.#" else "_" for char in part) for part in parts)


def _bytes(each: bytes | str | Exchanged) -> bytes:
    if isinstance(each, str):
        return (each.rstrip("\n") + "\n").encode()
    return each.content if isinstance(each, Exchanged) else each


def _difference(name: str, before: bytes, now: bytes, each: Any) -> str:
    encoding = _encoding(each)
    old, new = (content.decode(encoding, "backslashreplace").splitlines(keepends=True) for content in (before, now))
    first = next((n for n, (a, b) in enumerate(zip(old, new, strict=False), 1) if a != b), min(len(old), len(new)) + 1)
    lines = [f"{name} is not what it was, at line {first}{_column(old, new, first, each)}:"]
    usual = _usual_end(old)
    shown = [line for line in difflib.ndiff(_seen(old, usual), _seen(new, usual)) if line[0] in "+-"]
    lines += [f"  {line}" for line in shown[:_MOST_LINES]]
    if len(shown) > _MOST_LINES:
        lines.append(f"  ... and {len(shown) - _MOST_LINES} lines more")
    return "\n".join(lines)


def _usual_end(lines: list[str]) -> str:
    ends = [line[len(line.rstrip("\r\n")) :] for line in lines]
    return max(set(ends), key=ends.count, default="")


def _seen(lines: list[str], usual: str) -> list[str]:
    """Blanks at the end, odd line ends and control characters made visible."""
    return [repr(line.removesuffix(usual) if usual else line) for line in lines]


def _encoding(each: Any) -> str:
    options = _codec(each)
    said = options.get("encoding", "utf-8")
    return said if isinstance(said, str) else str(next(iter(said), "utf-8"))


def _codec(each: Any) -> Mapping[str, Any]:
    layout = each.layout if isinstance(each, Exchanged) else None
    options = {} if layout is None else layout.document.get("codec", {})
    return options if isinstance(options, Mapping) else {}


def _column(old: list[str], new: list[str], line: int, each: Any) -> str:
    """The first cell that differs, with its header, where the file is a table."""
    codec = _codec(each)
    if codec.get("type") != "delimited" or line > min(len(old), len(new)):
        return ""
    delimiter = codec.get("delimiter", ",")
    if len(delimiter) != 1:
        return ""
    texts = (new[0], old[line - 1], new[line - 1])
    header, before, now = (next(csv.reader(io.StringIO(text), delimiter=delimiter), []) for text in texts)
    for place, (was, is_now) in enumerate(zip(before, now, strict=False)):
        if was != is_now:
            name = f" ({header[place]})" if place < len(header) and line > 1 else ""
            return f", column {place + 1}{name}: expected {was!r}, got {is_now!r}"
    return ""
