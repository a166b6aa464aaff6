"""
Fixed width: every field has its place and width in a line.

A place is the 1-based position of a field's first character, or of its first byte where the layout counts bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, BinaryIO

from immutabledict import immutabledict

from fcflow.errors import Fault, FormatError, LayoutError
from fcflow.formats.codec import Batch, Cell, Place, Row, Unwritable
from fcflow.formats.text import LINE_ENDS, MAX_LINE, Lines, TextOptions, problem_of_odd_text
from fcflow.model import Problem

__all__ = ["FixedWidthCodec", "Ruler", "Slot", "build_fixed_width", "ruler_faults"]

_PIECE = 65_536
_NUMBERS = ("integer", "amount", "weight")


class Ruler:
    """
    What positions and widths count: characters, or the bytes of an encoding.

    Args:
        encoding: Whose bytes are counted; ``None`` for characters.

    Example:
        >>> ruler = Ruler("cp932")
        >>> ruler.size("茶 250g"), ruler.cut(ruler.measured("茶 250g"), 0, 2)
        (7, '茶')
    """

    def __init__(self, encoding: str | None) -> None:
        self._encoding = encoding
        self.unit = "characters" if encoding is None else "bytes"

    @classmethod
    def of(cls, options: Mapping[str, Any], text: TextOptions) -> Ruler:
        """The one that a codec's options ask for."""
        return cls(text.encoding if options.get("unit") == "bytes" else None)

    def refuse_other(self, encoding: str) -> None:
        """
        Where bytes are counted, a text must be in the encoding that they are counted by.

        Raises:
            FormatError: A byte order mark says that it is in another.
        """
        if self._encoding is not None and encoding != self._encoding:
            raise FormatError(f"line 1: expected text in {self._encoding}, got a byte order mark of {encoding}")

    def size(self, text: str) -> int:
        return len(self.measured(text))

    def measured(self, text: str) -> str | bytes:
        """*text* as what is counted, for `cut`."""
        return text if self._encoding is None else text.encode(self._encoding, "surrogateescape")

    def cut(self, measured: str | bytes, start: int, end: int) -> str:
        """A part of a line; half a character comes out as its bytes, which nobody means."""
        part = measured[start:end]
        return part if isinstance(part, str) else part.decode(self._encoding or "ascii", "surrogateescape")

    def laid(self, length: int, parts: Iterable[tuple[int, str]]) -> str:
        """A line of *length* with *parts* laid over it, each from where it starts."""
        if self._encoding is None:
            line = [" "] * length
            for start, text in parts:
                line[start : start + len(text)] = text
            return "".join(line)
        octets = bytearray(b" " * length)
        for start, text in parts:
            content = text.encode(self._encoding)
            octets[start : start + len(content)] = content
        return octets.decode(self._encoding)

    def limited(self, text: str, width: int, options: Mapping[str, Any]) -> str:
        """
        *text* within *width*: cut off behind a whole character where the field says so, refused where it does not.

        Raises:
            Unwritable: It is longer.
        """
        measured = self.measured(text)
        if len(measured) <= width:
            return text
        if options.get("if_too_long") != "truncate":
            raise Unwritable(f"expected at most {width} {self.unit}, got {len(measured)} in {text!r}")
        cut = measured[:width]
        return cut if isinstance(cut, str) else cut.decode(self._encoding or "ascii", "ignore")


class Slot:
    """
    Where a field stands in a line, and how it is filled up.

    Args:
        at: Position of its first character or byte, from 1.
    """

    def __init__(self, place: Place, at: int, ruler: Ruler) -> None:
        self._ruler = ruler
        self.start = at - 1
        self.width: int = place.options["width"]
        self.end = self.start + self.width
        number = place.type in _NUMBERS
        self._is_number = number
        self.right = place.options.get("align", "right" if number else "left") == "right"
        self.pad: str = place.options.get("pad", " ")
        self.key = place.name or str(place.at)
        self.options = place.options
        self.is_only_read = place.is_only_read

    def filled(self, text: str) -> str:
        """*text* at its full width."""
        padding = self.pad * (self.width - self._ruler.size(text))
        if self.pad == "0" and self.right and text.startswith("-"):
            return "-" + padding + text[1:]
        return padding + text if self.right else text + padding

    def bare(self, text: str) -> str:
        """The text without what fills it up; zeros before a text are part of it, and of a number one stays."""
        text = text.strip()
        if self.pad != " " and not (self.pad == "0" and self.right and not self._is_number):
            bare = text.lstrip(self.pad) if self.right else text.rstrip(self.pad)
            text = bare or (self.pad if self.pad == "0" and text else "")
        return text.strip()


class FixedWidthCodec:
    """Codec ``fixed_width``: see `docs/reference/layouts.md` for its options."""

    extension = "txt"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._text = TextOptions(options, keeps_breaks=False)
        self._ruler = Ruler.of(options, self._text)
        self._slots = [Slot(place, int(place.at), self._ruler) for place in places]
        self._columns = [slot.start + 1 for slot in self._slots]
        self._end = {**LINE_ENDS, "none": ""}[options.get("line_end", "crlf")]
        self._skip: int = options.get("skip_lines", 0)
        self._comment: str | None = options.get("comment")
        self._limit: int = options.get("max_line", MAX_LINE)
        self._length: int = options.get("length", max((slot.end for slot in self._slots), default=0))
        self._exact: bool = options.get("exact_length", False)
        self.content_type = f"text/plain; charset={self._text.encoding}"

    # -------------------------------------------------------------- reading

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        for number, text, encoding in self._lines(stream) if self._end else self._records(stream):
            if number <= self._skip or not text.strip():
                continue
            if self._comment is not None and text.startswith(self._comment):
                continue
            yield self._row(number, text, encoding)

    def _lines(self, stream: BinaryIO) -> Iterator[tuple[int, str, str | None]]:
        """Numbers and texts of lines; the encoding with those that hold what nobody means."""
        lines = Lines(stream, self._text.reads, self._limit)
        for line in lines:
            self._ruler.refuse_other(lines.encoding)
            yield lines.number, line.rstrip("\r\n"), lines.encoding if lines.number in lines.odd else None

    def _records(self, stream: BinaryIO) -> Iterator[tuple[int, str, str | None]]:
        """The same where records of one length follow each other without line ends; they are numbered instead."""
        encoding, number = self._text.encoding, 0
        for number, text in enumerate(self._cut(stream, encoding), start=1):
            if "\n" in text or "\r" in text:
                raise FormatError(
                    f"record {number}: expected no line ends in {self._length} {self._ruler.unit}, got one"
                )
            yield number, text, encoding if not text.isprintable() else None

    def _cut(self, stream: BinaryIO, encoding: str) -> Iterator[str]:
        """Texts of one length; a shorter last one, if it is no more than what closes a file, is left out."""
        decoder = codecs.getincrementaldecoder(encoding if self._ruler.unit == "characters" else "latin-1")
        decode, left = decoder("surrogateescape").decode, ""
        for piece in _unmarked(stream):
            left += decode(piece, not piece)
            whole = len(left) - len(left) % self._length
            yield from (self._text_of(left[at : at + self._length], encoding) for at in range(0, whole, self._length))
            left = left[whole:]
        if left.strip("\r\n \x1a"):
            yield self._text_of(left.rstrip("\r\n\x1a"), encoding)

    def _text_of(self, record: str, encoding: str) -> str:
        """Bytes are carried as Latin-1 until they are cut."""
        return (
            record if self._ruler.unit == "characters" else record.encode("latin-1").decode(encoding, "surrogateescape")
        )

    def _row(self, number: int, text: str, encoding: str | None) -> Row | Problem:
        measured = self._ruler.measured(text)
        cells = [self._ruler.cut(measured, slot.start, slot.end) for slot in self._slots]
        raw = immutabledict(zip((slot.key for slot in self._slots), cells, strict=True))
        if encoding is not None and (odd := problem_of_odd_text(text, number, encoding, raw)):
            return odd
        found, unit = len(measured), self._ruler.unit
        is_short = found < self._length and (self._exact or not self._end)
        if is_short or (found > self._length and self._ruler.cut(measured, self._length, found).strip()):
            return Problem(line=number, expected=f"{self._length} {unit}", message=f"{found} {unit}", raw=raw)
        if unit == "bytes" and not text.isascii():
            split = (problem_of_odd_text(cell, number, self._text.encoding, raw) for cell in cells)
            if problem := next(filter(None, split), None):
                return problem
        return Row(number, [slot.bare(cell) for slot, cell in zip(self._slots, cells, strict=True)], raw, self._columns)

    # -------------------------------------------------------------- writing

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        lines = [self._line(row) + self._end for record in records for row in record]
        return self._text.encode("".join(lines))

    def _line(self, row: Sequence[Cell]) -> str:
        filled = (
            (slot.start, slot.filled(cell if isinstance(cell, str) else ""))
            for slot, cell in zip(self._slots, row, strict=True)
            if not slot.is_only_read
        )
        return self._ruler.laid(self._length, filled)

    def carry(self, place: int, text: str) -> str:
        slot = self._slots[place]
        text = self._ruler.limited(self._text.carry(text).strip(), slot.width, slot.options)
        if slot.start == 0 and self._comment and slot.filled(text).startswith(self._comment):
            raise Unwritable(f"expected text that does not begin like a comment, got {text!r}")
        return slot.bare(slot.filled(text)) if text else ""


def _unmarked(stream: BinaryIO) -> Iterator[bytes]:
    """What the stream gives, without a byte order mark, and nothing at its end."""
    head = b""
    while len(head) < len(codecs.BOM_UTF8) and (piece := stream.read(_PIECE)):
        head += piece
    if head := head.removeprefix(codecs.BOM_UTF8):
        yield head
    while piece := stream.read(_PIECE):
        yield piece
    yield b""


def ruler_faults(places: Sequence[Place], options: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with an encoding, or with paddings, where bytes are counted."""
    if options.get("unit") != "bytes":
        return
    given = options.get("encoding", "utf-8")
    names = [given] if isinstance(given, str) else given
    odd = [name for name in names if name == "detect" or _is_wide(name)]
    if odd or len(names) > 1:
        expected = "one encoding in which ASCII has one byte, as bytes are counted"
        yield Fault("", path="$.codec.encoding", expected=expected, found=given)
    for place in places:
        if not str(place.options.get("pad", " ")).isascii():
            yield Fault("", path=f"{place.path}.pad", expected="a character of one byte", found=place.options["pad"])


def _is_wide(name: str) -> bool:
    try:
        return " ".encode(name) != b" "
    except LookupError:
        return False  # a fault of its own


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
        if start < end and not (before.is_only_read or place.is_only_read):
            faults.append(Fault(f"overlaps {before.path}", path=f"{place.path}.at", found=place.at))
    faults += ruler_faults(places, options)
    if not faults and options.get("length", 10**9) < max((end - 1 for _, end, _ in taken), default=0):
        faults.append(Fault("shorter than its fields", path="$.codec.length", found=options["length"]))
    if faults:
        raise LayoutError("layout", faults)
    return FixedWidthCodec(options, places)
