"""
Fixed width: every field has its place and width in a line.

A place is the 1-based position of a field's first character; widths count characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, BinaryIO

from immutabledict import immutabledict

from fcflow.errors import Fault, LayoutError
from fcflow.formats.cells import limited
from fcflow.formats.codec import Batch, Cell, Place, Row, Unwritable
from fcflow.formats.text import MAX_LINE, Lines, TextOptions, problem_of_odd_text
from fcflow.model import Problem

__all__ = ["FixedWidthCodec", "build_fixed_width"]

_ENDS = {"crlf": "\r\n", "lf": "\n", "cr": "\r"}
_NUMBERS = ("integer", "amount", "weight")


class _Slot:
    """Where a field stands, and how it is filled up."""

    def __init__(self, place: Place) -> None:
        self.start = int(place.at) - 1
        self.width: int = place.options["width"]
        self.end = self.start + self.width
        number = place.type in _NUMBERS
        self.right = place.options.get("align", "right" if number else "left") == "right"
        self.pad: str = place.options.get("pad", " ")
        self.key = place.name or str(place.at)
        self.options = place.options

    def filled(self, text: str) -> str:
        if self.pad == "0" and self.right and text.startswith("-"):
            return "-" + text[1:].rjust(self.width - 1, "0")
        return text.rjust(self.width, self.pad) if self.right else text.ljust(self.width, self.pad)

    def bare(self, text: str) -> str:
        """The text without what fills it up; of a run of padding zeros one stays."""
        text = text.strip()
        if self.pad != " ":
            bare = text.lstrip(self.pad) if self.right else text.rstrip(self.pad)
            text = bare or (self.pad if self.pad == "0" and text else "")
        return text.strip()


class FixedWidthCodec:
    """Codec ``fixed_width``: see `docs/reference/layouts.md` for its options."""

    extension = "txt"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._slots = [_Slot(place) for place in places]
        self._columns = [slot.start + 1 for slot in self._slots]
        self._end = _ENDS[options.get("line_end", "crlf")]
        self._skip: int = options.get("skip_lines", 0)
        self._comment: str | None = options.get("comment")
        self._limit: int = options.get("max_line", MAX_LINE)
        self._length: int = options.get("length", max((slot.end for slot in self._slots), default=0))
        self._exact: bool = options.get("exact_length", False)
        self._text = TextOptions(options, keeps_breaks=False)
        self.content_type = f"text/plain; charset={self._text.encoding}"

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        lines = Lines(stream, self._text.reads, self._limit)
        for line in lines:
            text = line.rstrip("\r\n")
            if lines.number <= self._skip or not text.strip():
                continue
            if self._comment is not None and text.startswith(self._comment):
                continue
            yield self._row(lines, text)

    def _row(self, lines: Lines, text: str) -> Row | Problem:
        number = lines.number
        raw = immutabledict((slot.key, text[slot.start : slot.end]) for slot in self._slots)
        if number in lines.odd and (odd := problem_of_odd_text(text, number, lines.encoding, raw)):
            return odd
        found = len(text)
        if found < self._length if self._exact else False:
            return Problem(line=number, expected=f"{self._length} characters", message=f"{found} characters", raw=raw)
        if found > self._length and text[self._length :].strip():
            return Problem(line=number, expected=f"{self._length} characters", message=f"{found} characters", raw=raw)
        return Row(number, [slot.bare(text[slot.start : slot.end]) for slot in self._slots], raw, self._columns)

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        lines = [self._line(row) + self._end for record in records for row in record]
        return self._text.encode("".join(lines))

    def _line(self, row: Sequence[Cell]) -> str:
        line = [" "] * self._length
        for slot, cell in zip(self._slots, row, strict=True):
            line[slot.start : slot.end] = slot.filled(cell if isinstance(cell, str) else "")
        return "".join(line)

    def carry(self, place: int, text: str) -> str:
        slot = self._slots[place]
        text = limited(self._text.carry(text).strip(), slot.width, slot.options)
        if slot.start == 0 and self._comment and slot.filled(text).startswith(self._comment):
            raise Unwritable(f"expected text that does not begin like a comment, got {text!r}")
        return slot.bare(slot.filled(text)) if text else ""


def build_fixed_width(options: Mapping[str, Any], places: Sequence[Place]) -> FixedWidthCodec:
    """The codec that *options* describe; raises `LayoutError` where a place has no width, or two overlap."""
    faults: list[Fault] = []
    taken: list[tuple[int, int, Place]] = []
    for place in places:
        if isinstance(place.at, str):
            faults.append(Fault("", path=f"{place.path}.at", expected="the position of a character", found=place.at))
        elif "width" not in place.options:
            faults.append(Fault("missing", path=f"{place.path}.width"))
        else:
            taken.append((place.at, place.at + place.options["width"], place))
    taken.sort(key=lambda each: each[:2])
    for (_, end, before), (start, _, place) in pairwise(taken):
        if start < end:
            faults.append(Fault(f"overlaps {before.path}", path=f"{place.path}.at", found=place.at))
    if not faults and options.get("length", 10**9) < max((end - 1 for _, end, _ in taken), default=0):
        faults.append(Fault("shorter than its fields", path="$.codec.length", found=options["length"]))
    if faults:
        raise LayoutError("layout", faults)
    return FixedWidthCodec(options, places)
