"""
EDIFACT: interchanges of messages, with the marks that UNA names, or the usual ones, and a release character.

Read: counts and references of message, group and interchange are checked; a message that does not hold is a problem and
the others are read, an envelope that does not hold refuses the payload. Written: every record is a message of one
interchange, which bears the payload's own running number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from attrs import field, frozen

from fcflow.errors import FormatError
from fcflow.formats.codec import Batch, Cell, Place, Row
from fcflow.formats.edi import MAX_SEGMENTS, CrowdedError, Places, Segment, check, says, turns
from fcflow.formats.json_lines import raw_of
from fcflow.formats.text import TextOptions
from fcflow.model import Problem

__all__ = ["EdifactCodec", "Interchange", "Marks", "Message", "acknowledgement", "build_edifact", "interchanges"]

_CHUNK = 1 << 16
_MAX_SEGMENT = 1 << 20
_ENCODINGS = {
    "UNOA": "ascii", "UNOB": "ascii", "UNOC": "iso-8859-1", "UNOD": "iso-8859-2", "UNOE": "iso-8859-5",
    "UNOF": "iso-8859-7", "UNOG": "iso-8859-3", "UNOH": "iso-8859-4", "UNOI": "iso-8859-6", "UNOJ": "iso-8859-8",
    "UNOK": "iso-8859-9", "UNOW": "utf-8", "UNOY": "utf-8",
}  # fmt: skip


@frozen
class Marks:
    """
    What separates components and elements, releases the mark behind it, and ends a segment.

    Example:
        >>> marks = Marks()
        >>> marks.components("O?'Neill:Ada?+")
        ["O'Neill", 'Ada+']
        >>> marks.joined(["O'Neill", "", "x", ""])
        "O?'Neill::x"
    """

    component: str = ":"
    element: str = "+"
    release: str = "?"
    segment: str = "'"
    decimal: str = "."

    def _pieces(self, text: str, mark: str) -> list[str]:
        if self.release == " " or self.release not in text:
            return text.split(mark)
        pieces = [""]
        for number, part in enumerate(re.split(rf"({re.escape(self.release)}.)", text, flags=re.S)):
            first, *others = [part] if number % 2 else part.split(mark)
            pieces[-1] += first
            pieces += others
        return pieces

    def elements(self, text: str) -> list[str]:
        """The elements of a segment, as they stand."""
        return self._pieces(text, self.element)

    def components(self, text: str) -> list[str]:
        """The components of an element, without their release characters."""
        return [self.bare(piece) for piece in self._pieces(text, self.component)]

    def bare(self, text: str) -> str:
        """*text* without its release characters."""
        if self.release == " " or self.release not in text:
            return text
        return re.sub(rf"{re.escape(self.release)}(.)", r"\1", text, flags=re.S)

    def escaped(self, text: str) -> str:
        """*text* with a release character before every mark."""
        marks = re.escape(self.component + self.element + self.release + self.segment)
        return re.sub(rf"([{marks}])", lambda found: self.release + found[1], text)

    def joined(self, components: Sequence[str]) -> str:
        """An element of these components; empty ones at its end fall away."""
        parts = list(components)
        while parts and not parts[-1]:
            parts.pop()
        return self.component.join(map(self.escaped, parts))


# ------------------------------------------------------------------ segments


class _Segments:
    """The segments of a payload, one by one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._rest = b""
        self._ended = False
        self.marks = Marks()
        self.encoding = "iso-8859-1"
        self.number = 0

    def __iter__(self) -> Iterator[Segment]:
        self._fill(9)
        self._rest = self._rest.removeprefix(b"\xef\xbb\xbf").lstrip()
        while self._start():
            yield from self._interchange()

    def _fill(self, least: int) -> None:
        while not self._ended and len(self._rest) < least:
            chunk = self._stream.read(_CHUNK)
            self._ended = not chunk
            self._rest += chunk

    def _skip_blanks(self, least: int) -> None:
        """Go on to what says something, and have *least* bytes of it."""
        while True:
            self._rest = self._rest.lstrip(b"\r\n\t \x1a")
            if self._ended or len(self._rest) >= least:
                return
            self._fill(len(self._rest) + 1)

    def _start(self) -> bool:
        """Go to the beginning of the next interchange; ``False`` where there is none."""
        self._skip_blanks(9)
        if not self._rest:
            return False
        self.marks = Marks()
        if self._rest.startswith(b"UNA"):
            given = self._rest[3:9].decode("iso-8859-1")
            if len(given) < 6 or len({given[0], given[1], given[3], given[5]}) < 4:
                raise FormatError(f"expected UNA with six marks, got {given!r}")
            self.marks = Marks(given[0], given[1], given[3], given[5], given[2])
            self._rest = self._rest[9:]
            self._skip_blanks(2)
        if not self._rest.startswith(b"UN"):
            raise FormatError(f"expected an interchange that begins with UNA or UNB, got {self._rest[:20]!r}")
        return True

    def _interchange(self) -> Iterator[Segment]:
        end, release = re.escape(self.marks.segment), re.escape(self.marks.release)
        plain = self.marks.release == " "
        pattern = rf"[^{end}]*+{end}" if plain else rf"(?:[^{end}{release}]|{release}.)*+{end}"
        find = re.compile(pattern.encode("iso-8859-1"), re.S)
        while True:
            at = 0
            while (match := find.match(self._rest, at)) is not None:
                at = match.end()
                segment = self._read(match[0][:-1].strip(b"\r\n"))
                if segment is not None:
                    yield segment
                    if segment[0] == "UNZ":
                        self._rest = self._rest[at:]
                        return
            self._rest = self._rest[at:]
            if len(self._rest) > _MAX_SEGMENT:
                raise FormatError(f"segment {self.number + 1}: expected its end within {_MAX_SEGMENT} bytes")
            if self._ended:
                raise FormatError(f"segment {self.number + 1}: expected UNZ, got the end of the payload")
            self._fill(len(self._rest) + 1)

    def _read(self, content: bytes) -> Segment | None:
        self.number += 1
        if not content:
            return None
        if content.startswith(b"UNB"):
            syntax = content[4:8].decode("iso-8859-1")
            self.encoding = _ENCODINGS.get(syntax, "")
            if not self.encoding:
                raise FormatError(f"segment {self.number}: expected a set of letters such as UNOC, got {syntax!r}")
        try:
            return self.marks.elements(content.decode(self.encoding))
        except UnicodeDecodeError as error:
            found = f"byte 0x{content[error.start]:02X}"
            raise FormatError(f"segment {self.number}: expected text in {self.encoding}, got {found}") from None


@frozen(kw_only=True)
class Message:
    """
    One message.

    Args:
        number: Of its first segment in the payload.

        kind: ``DESADV``, ``CONTRL``, ...

        identifier: The components of its identifier in UNH: type, version, release, agency, association.

        fault: What does not hold of it, or ``None``.
    """

    number: int
    kind: str
    reference: str
    identifier: tuple[str, ...]
    segments: list[Segment]
    marks: Marks
    fault: str | None = None


@frozen(kw_only=True)
class Interchange:
    """One interchange: the elements of its UNB, each as its components, and its messages."""

    unb: tuple[tuple[str, ...], ...]
    messages: list[Message] = field(factory=list)

    @property
    def reference(self) -> str:
        """Its control reference."""
        return self.unb[4][0] if len(self.unb) > 4 else ""


class _Envelope:
    """Where in the interchange the reader is, and whether its counts hold."""

    def __init__(self, segments: _Segments) -> None:
        self._segments = segments
        self.unb: tuple[tuple[str, ...], ...] | None = None
        self._opened: tuple[int, Segment] | None = None
        self._inside: list[Segment] = []
        self._messages = 0
        self._groups = 0
        self._in_group = 0

    def take(self, segment: Segment) -> Message | None:
        """One segment more; the message that it closes, if it closes one."""
        tag = segment[0]
        if self._opened is not None and not tag.startswith("UN"):
            self._inside.append(segment)
            self._expect(len(self._inside) <= MAX_SEGMENTS, f"at most {MAX_SEGMENTS} segments in a message")
            return None
        if tag == "UNT":
            return self._closed(segment)
        if tag == "UNS" and self._opened is not None:
            self._inside.append(segment)
            return None
        self._outside(tag, segment)
        return None

    def _outside(self, tag: str, segment: Segment) -> None:
        marks = self._segments.marks
        if tag == "UNB":
            self._expect(self.unb is None, "UNZ before the next UNB")
            self._expect(len(segment) >= 6, "UNB of 5 elements")
            self.unb = tuple(tuple(marks.components(each)) for each in segment[1:])
            self._messages = self._groups = 0
        elif tag == "UNG":
            self._expect(self.unb is not None, "UNB before UNG")
            self._in_group = 0
        elif tag == "UNH":
            self._expect(self.unb is not None, "UNB before UNH")
            self._expect(self._opened is None, "UNT before the next UNH")
            self._expect(len(segment) >= 3, "UNH of 2 elements")
            self._opened, self._inside = (self._segments.number, segment), []
        elif tag == "UNE":
            self._count(tag, segment, self._in_group)
            self._groups += 1
        elif tag == "UNZ":
            self._expect(self.unb is not None and self._opened is None, "UNT before UNZ")
            self._count(tag, segment, self._groups or self._messages)
            closing = marks.bare(segment[2]) if len(segment) > 2 else ""
            opening = self.unb[4][0] if self.unb is not None else ""
            self._expect(closing == opening, f"UNZ to close {opening!r}, got {closing!r}")
            self.unb = None
        else:
            self._expect(False, f"UNH, UNT or UNZ, got {tag!r}")

    def _closed(self, segment: Segment) -> Message:
        self._expect(self._opened is not None, "UNH before UNT")
        marks = self._segments.marks
        number, opening = self._opened or (0, segment)
        self._opened, self._messages, self._in_group = None, self._messages + 1, self._in_group + 1
        identifier = tuple(marks.components(opening[2]))
        said, closing = ([*segment[1:3], "", ""])[:2]
        count = len(self._inside) + 2
        fault = None
        if not says(said, count):
            fault = f"UNT says {said!r} segments, got {count}"
        elif closing != opening[1]:
            fault = f"expected UNT to close {opening[1]!r}, got {closing!r}"
        return Message(
            number=number,
            kind=identifier[0],
            reference=marks.bare(opening[1]),
            identifier=identifier,
            segments=self._inside,
            marks=marks,
            fault=fault,
        )

    def _count(self, tag: str, segment: Segment, count: int) -> None:
        said = segment[1] if len(segment) > 1 else ""
        self._expect(says(said, count), f"{tag} to say {count}, got {said!r}")

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            raise FormatError(f"segment {self._segments.number}: expected {what}")


def interchanges(payload: BinaryIO) -> list[Interchange]:
    """
    The interchanges of a payload with their messages; for acknowledgements.

    Raises:
        FormatError: An envelope does not hold.
    """
    found: list[Interchange] = []
    segments = _Segments(payload)
    envelope = _Envelope(segments)
    for segment in segments:
        message = envelope.take(segment)
        if segment[0] == "UNB" and envelope.unb is not None:
            found.append(Interchange(unb=envelope.unb))
        elif message is not None:
            found[-1].messages.append(message)
    return found


# ------------------------------------------------------------------ the codec


class EdifactCodec:
    """Codec ``edifact``: see `docs/reference/layouts.md` for its options."""

    content_type = "application/edifact"
    extension = "edi"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._options = options
        self._places = places
        self._loops = check(places, options)
        self._envelope: Mapping[str, Any] = options.get("envelope", {})
        encoding = _ENCODINGS[self._envelope.get("syntax", "UNOC")]
        self._text = TextOptions({**options, "encoding": encoding}, keeps_breaks=False)
        self._marks = Marks()
        self._spots = self._spots_of(self._marks)

    def _spots_of(self, marks: Marks) -> Places:
        return Places(self._places, self._loops, marks.components, marks.joined, marks.bare)

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        segments = _Segments(stream)
        envelope = _Envelope(segments)
        spots, marks = self._spots, self._marks
        for segment in segments:
            message = envelope.take(segment)
            if message is None or message.kind != self._options["message"]:
                continue
            if message.marks != marks:
                spots, marks = self._spots_of(message.marks), message.marks
            yield from self._rows_of(message, spots)
        if not segments.number:
            raise FormatError("expected an interchange that begins with UNA or UNB, got nothing")

    def _rows_of(self, message: Message, spots: Places) -> Iterator[Row | Problem]:
        if message.fault is not None:
            yield Problem(line=message.number, message=f"message {message.reference}: {message.fault}")
            return
        try:
            found = list(spots.rows(turns(message.segments, list(self._loops.values()))))
        except CrowdedError as error:
            yield Problem(line=message.number, message=f"message {message.reference}: {error}")
            return
        for cells in found:
            yield Row(message.number, cells, raw_of(self._places, cells), [None] * len(cells))

    # -------------------------------------------------------------- writing

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        given, inside, count = self._envelope, list[Segment](), 0
        identifier = [self._options["message"], given.get("version", "D"), given.get("release", "96A")]
        identifier += [given.get("agency", "UN"), given.get("association", "")]
        for record in records:
            for twig in self._spots.nest.twigs(record):
                count += 1
                body = list(self._spots.segments(twig))
                inside.append(["UNH", str(count), self._marks.joined(identifier)])
                inside += body
                inside.append(["UNT", str(len(body) + 2), str(count)])
        return self.enveloped(inside, count, batch)

    def enveloped(self, inside: Iterable[Segment], count: int, batch: Batch) -> bytes:
        """The interchange around messages."""
        given, joined = self._envelope, self._marks.joined
        reference = str(batch.number)
        opening = ["UNB", joined([given.get("syntax", "UNOC"), given.get("syntax_version", "3")])]
        opening += [joined([given.get(f"{who}_id", ""), given.get(f"{who}_qualifier", "")]) for who in _WHO]
        opening += [joined([f"{batch.at:%y%m%d}", f"{batch.at:%H%M}"]), reference, "", "", ""]
        opening += ["1" if given.get("acknowledge") else "", "", "1" if batch.test or given.get("test") else ""]
        lines = [self._joined(each) for each in [opening, *inside, ["UNZ", str(count), reference]]]
        end = self._marks.segment + ("\n" if self._options.get("line_breaks", True) else "")
        una = "UNA:+.? '" + end[1:] if self._options.get("una", True) else ""
        return self._text.encode(una + "".join(line + end for line in lines))

    def _joined(self, segment: Segment) -> str:
        parts = list(segment)
        while not parts[-1]:
            parts.pop()
        return self._marks.element.join(parts)

    def carry(self, place: int, text: str) -> str:
        return self._text.carry(text)


_WHO = ("sender", "receiver")


def build_edifact(options: Mapping[str, Any], places: Sequence[Place]) -> EdifactCodec:
    """The codec that *options* describe; raises `LayoutError` where places and options do not fit."""
    return EdifactCodec(options, places)


# ------------------------------------------------------------------ acknowledgements


def acknowledgement(payload: BinaryIO, batch: Batch, *, rejected: Mapping[str, str] | None = None) -> bytes:
    """
    The acknowledgement (CONTRL) of what was received: every interchange, and every message that was not taken.

    Sender and receiver change places. Acknowledgements are not acknowledged.

    Args:
        rejected: Reference of a message to why it was not taken; those that do not hold are rejected anyway.

    Returns:
        Nothing where there is nothing to acknowledge.

    Raises:
        FormatError: An envelope does not hold: there is nobody to answer.
    """
    out: list[bytes] = []
    for place, each in enumerate(interchanges(payload)):
        if any(message.kind != "CONTRL" for message in each.messages):
            out.append(_answer(each, Batch(number=batch.number + place, at=batch.at), rejected or {}))
    return b"".join(out)


def _answer(given: Interchange, batch: Batch, rejected: Mapping[str, str]) -> bytes:
    marks = Marks()
    sender, receiver = ((*each, "")[:2] for each in (given.unb[1], given.unb[2]))
    syntax = given.unb[0]
    envelope = {
        "syntax": syntax[0], "syntax_version": (*syntax, "3")[1], "sender_id": receiver[0],
        "sender_qualifier": receiver[1], "receiver_id": sender[0], "receiver_qualifier": sender[1],
        "test": len(given.unb) > 10 and given.unb[10][:1] == ("1",),
    }  # fmt: skip
    codec = EdifactCodec({"message": "CONTRL", "envelope": envelope}, [])
    body: list[Segment] = [["UCI", given.reference, marks.joined(given.unb[1]), marks.joined(given.unb[2]), "7"]]
    for message in given.messages:
        bad = message.fault is not None or message.reference in rejected
        ucm = ["UCM", marks.escaped(message.reference), marks.joined(message.identifier), "4" if bad else "7"]
        body.append([*ucm, "29"] if message.fault is not None else ucm)
    unh = ["UNH", "1", marks.joined(["CONTRL", "2", "2", "UN"])]
    return codec.enveloped([unh, *body, ["UNT", str(len(body) + 2), "1"]], 1, batch)
