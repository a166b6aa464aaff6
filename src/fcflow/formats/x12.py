"""
X12: interchanges of functional groups of transaction sets, with the delimiters that the interchange itself names.

Read: counts and control numbers of transaction, group and interchange are checked; a transaction that does not hold is
a problem and the others are read, an envelope that does not hold refuses the payload. Written: every record is a
transaction set in one group of one interchange, numbered by the payload's own running number.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from attrs import field, frozen

from fcflow.errors import Fault, FormatError, LayoutError
from fcflow.formats.codec import Batch, Cell, Place, Row, Unwritable
from fcflow.formats.edi import MAX_SEGMENTS, CrowdedError, Places, Segment, check, says, turns
from fcflow.formats.json_lines import raw_of
from fcflow.formats.text import TextOptions
from fcflow.model import Problem

__all__ = ["Delimiters", "Group", "Interchange", "Transaction", "X12Codec", "acknowledgement", "build_x12", "envelopes"]

_CHUNK = 1 << 16
_MAX_SEGMENT = 1 << 20
_ISA = 106
_CONTROL = re.compile("[\x00-\x1f\x7f]")


@frozen
class Delimiters:
    """What separates elements, components and repetitions, and what ends a segment."""

    element: str = "*"
    component: str = ">"
    repetition: str = "^"
    segment: str = "~"

    @classmethod
    def of(cls, head: str) -> Delimiters:
        """
        Those of an interchange, by its first 106 characters.

        Raises:
            FormatError: It does not begin as one.
        """
        if not head.startswith("ISA") or len(head) < _ISA:
            raise FormatError(f"expected an interchange that begins with ISA, got {head[:20]!r}")
        parts = head[:_ISA].split(head[3])
        if len(parts) < 17 or len(parts[16]) < 2:
            raise FormatError("expected an ISA segment of 16 elements and 106 characters")
        repetition = parts[11] if not parts[11].isalnum() else "\0"
        return cls(head[3], parts[16][0], repetition, parts[16][1])


# ------------------------------------------------------------------ segments and envelopes


class _Segments:
    """The segments of a payload with their numbers, one by one; each interchange with delimiters of its own."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._text = ""
        self._ended = False
        self._number = 0
        self._delimiters: Delimiters | None = None

    def __iter__(self) -> Iterator[tuple[int, list[Segment], Delimiters]]:
        """Lots of segments, each with the number of its first; a blank one is an empty tag."""
        while not self._ended:
            self._read()
            while self._begun():
                yield self._whole()
                if self._delimiters is not None:
                    break
        if self._delimiters is not None:
            missing = repr(self._delimiters.segment) if self._text.strip() else "IEA"
            raise FormatError(f"segment {self._number + 1}: expected {missing}, got the end of the payload")

    def _read(self) -> None:
        chunk = self._stream.read(_CHUNK)
        self._ended = not chunk
        try:
            self._text += self._decoder.decode(chunk, self._ended)
        except UnicodeDecodeError as error:
            found = f"byte 0x{error.object[error.start]:02X}"
            raise FormatError(f"{found}: expected text in {self._encoding}") from None

    def _begun(self) -> bool:
        """Whether there is an interchange to read from; ``False`` asks for more, or for the end."""
        if self._delimiters is not None:
            return True
        self._text = self._text.lstrip("\r\n\t \ufeff\x1a")
        if not self._text or (len(self._text) < _ISA and not self._ended):
            return False
        self._delimiters = Delimiters.of(self._text)
        return True

    def _whole(self) -> tuple[int, list[Segment], Delimiters]:
        """The whole segments of what was read; behind IEA the next interchange may begin."""
        delimiters = self._delimiters
        assert delimiters is not None  # `_begun` said so
        first, element = self._number + 1, delimiters.element
        *whole, self._text = self._text.split(delimiters.segment)
        segments = [each.strip("\r\n \t").split(element) for each in whole]
        closing = next((at for at, each in enumerate(segments) if each[0] == "IEA"), None)
        if closing is not None:
            self._text = delimiters.segment.join([*whole[closing + 1 :], self._text])
            self._delimiters = None
            del segments[closing + 1 :]
        elif len(self._text) > _MAX_SEGMENT:
            said = f"expected {delimiters.segment!r} within {_MAX_SEGMENT} characters"
            raise FormatError(f"segment {first + len(whole)}: {said}")
        self._number += len(segments)
        return first, segments, delimiters


@frozen(kw_only=True)
class Transaction:
    """
    One transaction set.

    Args:
        number: Of its first segment in the payload.

        kind: ``945``, ``997``, ...

        control: Its control number.

        fault: What does not hold of it, or ``None``.
    """

    number: int
    kind: str
    control: str
    segments: list[Segment]
    delimiters: Delimiters
    fault: str | None = None


@frozen(kw_only=True)
class Group:
    """One functional group: its code (``SW`` of 945, ...), its control number, and its transactions."""

    code: str
    control: str
    version: str
    transactions: list[Transaction] = field(factory=list)


@frozen(kw_only=True)
class Interchange:
    """One interchange: the 16 elements of its ISA, and its groups."""

    elements: tuple[str, ...]
    groups: list[Group] = field(factory=list)


class _Envelope:
    """Where in the envelopes the reader is, and whether their counts hold."""

    def __init__(self) -> None:
        self.isa: Segment | None = None
        self.group: Segment | None = None
        self.opened: tuple[int, Segment] | None = None
        self.inside: list[Segment] = []
        self.groups = 0
        self.sets = 0

    def take(
        self, first: int, segments: Iterable[Segment], delimiters: Delimiters
    ) -> Iterator[tuple[Segment, Transaction | None]]:
        """Segments of the envelopes as they come, each with the transaction that it closes."""
        for number, segment in enumerate(segments, first):
            tag = segment[0]
            if not tag and len(segment) == 1:
                continue  # blanks behind the last one
            if self.opened is not None and tag not in _TAKES:
                self.inside.append(segment)
            else:
                yield segment, self._taken(number, segment, delimiters)
        if len(self.inside) > MAX_SEGMENTS:
            number = self.opened[0] if self.opened is not None else first
            raise FormatError(f"segment {number}: expected at most {MAX_SEGMENTS} segments in a transaction")

    def _taken(self, number: int, segment: Segment, delimiters: Delimiters) -> Transaction | None:
        take = _TAKES.get(segment[0])
        if take is None:
            raise FormatError(f"segment {number}: expected ST, SE, GS, GE or IEA, got {segment[0]!r}")
        return take(self, number, segment, delimiters)

    def _isa(self, number: int, segment: Segment, delimiters: Delimiters) -> None:
        _expect(self.isa is None, number, "IEA before the next ISA")
        _expect(len(segment) == 17, number, "ISA of 16 elements")
        self.isa, self.groups = segment, 0

    def _gs(self, number: int, segment: Segment, delimiters: Delimiters) -> None:
        _expect(self.isa is not None, number, "ISA before GS")
        _expect(self.group is None, number, "GE before the next GS")
        _expect(len(segment) >= 9, number, "GS of 8 elements")
        self.group, self.sets = segment, 0

    def _st(self, number: int, segment: Segment, delimiters: Delimiters) -> None:
        _expect(self.group is not None, number, "GS before ST")
        _expect(self.opened is None, number, "SE before the next ST")
        _expect(len(segment) >= 3, number, "ST of 2 elements")
        self.opened, self.inside = (number, segment), []

    def _se(self, number: int, segment: Segment, delimiters: Delimiters) -> Transaction:
        _expect(self.opened is not None, number, "ST before SE")
        began, opening = self.opened or (0, segment)
        self.opened, self.sets = None, self.sets + 1
        return Transaction(
            number=began,
            kind=opening[1],
            control=opening[2],
            segments=self.inside,
            delimiters=delimiters,
            fault=_set_fault(opening, segment, len(self.inside) + 2),
        )

    def _ge(self, number: int, segment: Segment, delimiters: Delimiters) -> None:
        _expect(self.group is not None and self.opened is None, number, "SE before GE")
        _holds(number, "GE", segment, self.sets, (self.group or [""] * 9)[6])
        self.group, self.groups = None, self.groups + 1

    def _iea(self, number: int, segment: Segment, delimiters: Delimiters) -> None:
        _expect(self.isa is not None and self.group is None, number, "GE before IEA")
        _holds(number, "IEA", segment, self.groups, (self.isa or [""] * 17)[13])
        self.isa = None


_TAKES = {
    "ISA": _Envelope._isa,
    "GS": _Envelope._gs,
    "ST": _Envelope._st,
    "SE": _Envelope._se,
    "GE": _Envelope._ge,
    "IEA": _Envelope._iea,
}


def _expect(holds: bool, number: int, what: str) -> None:
    if not holds:
        raise FormatError(f"segment {number}: expected {what}")


def _holds(number: int, tag: str, segment: Segment, count: int, control: str) -> None:
    said, closing = ([*segment[1:3], "", ""])[:2]
    if not says(said, count):
        raise FormatError(f"segment {number}: {tag} says {said!r}, got {count}")
    if closing.lstrip("0") != control.lstrip("0"):
        raise FormatError(f"segment {number}: expected {tag} to close {control!r}, got {closing!r}")


def _set_fault(opening: Segment, closing: Segment, count: int) -> str | None:
    said, control = ([*closing[1:3], "", ""])[:2]
    if not says(said, count):
        return f"SE says {said!r} segments, got {count}"
    return None if control == opening[2] else f"expected SE to close {opening[2]!r}, got {control!r}"


def envelopes(payload: BinaryIO, encoding: str = "utf-8") -> list[Interchange]:
    """
    The interchanges of a payload with all that they hold; for acknowledgements.

    Raises:
        FormatError: An envelope does not hold.
    """
    found: list[Interchange] = []
    envelope = _Envelope()
    for lot in _Segments(payload, encoding):
        for segment, closed in envelope.take(*lot):
            if segment[0] == "ISA":
                found.append(Interchange(elements=tuple(segment[1:])))
            elif segment[0] == "GS":
                found[-1].groups.append(Group(code=segment[1], control=segment[6], version=segment[8]))
            elif closed is not None:
                found[-1].groups[-1].transactions.append(closed)
    return found


# ------------------------------------------------------------------ the codec


class X12Codec:
    """Codec ``x12``: see `docs/reference/layouts.md` for its options."""

    content_type = "application/edi-x12"
    extension = "edi"

    def __init__(self, options: Mapping[str, Any], places: Sequence[Place]) -> None:
        self._options = options
        self._places = places
        self._loops = check(places, options)
        self._out = _delimiters(options)
        self._text = TextOptions(options, keeps_breaks=False)
        self._special = re.compile("[" + re.escape("".join(_four(self._out))) + "]")
        self._replace: str | None = options.get("replace_delimiters")
        self._spots = self._spots_of(self._out)

    def _spots_of(self, delimiters: Delimiters) -> Places:
        component = delimiters.component
        return Places(self._places, self._loops, lambda text: text.split(component), component.join)

    # -------------------------------------------------------------- reading

    def rows(self, stream: BinaryIO) -> Iterator[Row | Problem]:
        envelope, kind = _Envelope(), self._options["transaction"]
        spots, known, is_empty = self._spots, self._out, True
        for lot in _Segments(stream, self._text.encoding):
            is_empty = False
            for _, closed in envelope.take(*lot):
                if closed is None or closed.kind != kind:
                    continue
                if closed.delimiters is not known:
                    spots, known = self._spots_of(closed.delimiters), closed.delimiters
                yield from self._rows_of(closed, spots)
        if is_empty:
            raise FormatError("expected an interchange that begins with ISA, got nothing")

    def _rows_of(self, transaction: Transaction, spots: Places) -> Iterator[Row | Problem]:
        if transaction.fault is not None:
            said = f"transaction {transaction.control}: {transaction.fault}"
            yield Problem(line=transaction.number, message=said)
            return
        try:
            found = list(spots.rows(turns(transaction.segments, list(self._loops.values()))))
        except CrowdedError as error:
            yield Problem(line=transaction.number, message=f"transaction {transaction.control}: {error}")
            return
        for cells in found:
            yield Row(transaction.number, cells, raw_of(self._places, cells), [None] * len(cells))

    # -------------------------------------------------------------- writing

    def write(self, records: Iterable[Sequence[Sequence[Cell]]], batch: Batch) -> bytes:
        out: list[Segment] = []
        sets = 0
        for record in records:
            for twig in self._spots.nest.twigs(record):
                sets += 1
                control = f"{sets:04}"
                inside = list(self._spots.segments(twig))
                out.append(["ST", self._options["transaction"], control])
                out += inside
                out.append(["SE", str(len(inside) + 2), control])
        return self._enveloped(out, sets, batch)

    def _enveloped(self, inside: list[Segment], sets: int, batch: Batch) -> bytes:
        envelope = self._options.get("envelope", {})
        version = envelope.get("version", "004010")
        head = _isa(envelope, version, batch, self._out)
        names = [envelope.get(f"group_{who}", envelope.get(f"{who}_id", "")) for who in ("sender", "receiver")]
        opening = ["GS", envelope.get("group", _GROUPS.get(self._options["transaction"], "")), *names]
        opening += [f"{batch.at:%Y%m%d}", f"{batch.at:%H%M}", str(batch.number), "X", version]
        closing = [["GE", str(sets), str(batch.number)], ["IEA", "1", f"{batch.number % 10**9:09}"]]
        end = self._out.segment + ("\n" if self._options.get("line_breaks", True) else "")
        lines = [head, *(self._joined(each) for each in [opening, *inside, *closing])]
        return self._text.encode("".join(line + end for line in lines))

    def _joined(self, segment: Segment) -> str:
        return self._out.element.join(segment).rstrip(self._out.element)

    def carry(self, place: int, text: str) -> str:
        text = self._text.carry(text)
        if self._special.search(text) is not None:
            if self._replace is None:
                raise Unwritable(f"expected text without the delimiters {''.join(_four(self._out))}, got {text!r}")
            text = self._special.sub(self._replace, text)
        return text


_GROUPS = {
    "850": "PO", "855": "PR", "856": "SH", "860": "PC", "870": "RS", "810": "IN", "846": "IB", "940": "OW", "943": "AR",
    "944": "RE", "945": "SW", "947": "AW", "997": "FA",
}  # fmt: skip


def _four(delimiters: Delimiters) -> tuple[str, ...]:
    return delimiters.element, delimiters.component, delimiters.repetition, delimiters.segment


def _delimiters(options: Mapping[str, Any]) -> Delimiters:
    return Delimiters(
        element=options.get("element", "*"),
        component=options.get("component", ">"),
        repetition=options.get("repetition", "^"),
        segment=options.get("segment", "~"),
    )


def _isa(envelope: Mapping[str, Any], version: str, batch: Batch, delimiters: Delimiters) -> str:
    """The segment whose elements all have their widths."""
    repeats = delimiters.repetition if version >= "004020" else "U"
    elements = [
        "00", " " * 10, "00", " " * 10,
        envelope.get("sender_qualifier", "ZZ"), f"{envelope.get('sender_id', ''):<15.15}",
        envelope.get("receiver_qualifier", "ZZ"), f"{envelope.get('receiver_id', ''):<15.15}",
        f"{batch.at:%y%m%d}", f"{batch.at:%H%M}", repeats, version[:5], f"{batch.number % 10**9:09}",
        "1" if envelope.get("acknowledge") else "0", "T" if batch.test or envelope.get("test") else "P",
        delimiters.component,
    ]  # fmt: skip
    return delimiters.element.join(["ISA", *elements])


def build_x12(options: Mapping[str, Any], places: Sequence[Place]) -> X12Codec:
    """The codec that *options* describe; raises `LayoutError` where places and options do not fit."""
    four = _four(_delimiters(options))
    if len(set(four)) < 4 or any(mark.isalnum() or mark == " " for mark in four):
        expected = "four marks that differ, none of them a letter, a digit or a blank"
        raise LayoutError("layout", [Fault("", path="$.codec", expected=expected, found="".join(four))])
    return X12Codec(options, places)


# ------------------------------------------------------------------ acknowledgements


def acknowledgement(
    payload: BinaryIO, batch: Batch, *, rejected: Mapping[str, str] | None = None, encoding: str = "utf-8"
) -> bytes:
    """
    The functional acknowledgement (997) of what was received: every group of every interchange, every transaction.

    Sender and receiver change places. Acknowledgements are not acknowledged: groups of code ``FA`` are left out.

    Args:
        rejected: Control number of a transaction to why it was not taken; those that do not hold are rejected anyway.

    Returns:
        Nothing where there is nothing to acknowledge.

    Raises:
        FormatError: An envelope does not hold: there is nobody to answer.
    """
    out: list[bytes] = []
    for place, interchange in enumerate(envelopes(payload, encoding)):
        groups = [group for group in interchange.groups if group.code != "FA"]
        if groups:
            out.append(_answer(interchange, groups, batch, place, rejected or {}))
    return b"".join(out)


def _answer(
    interchange: Interchange, groups: Sequence[Group], batch: Batch, place: int, rejected: Mapping[str, str]
) -> bytes:
    given = interchange.elements
    number = batch.number + place
    envelope = {
        "sender_qualifier": given[6], "sender_id": given[7].strip(), "receiver_qualifier": given[4],
        "receiver_id": given[5].strip(), "version": f"{given[11]}0", "group": "FA", "test": given[14] == "T",
    }  # fmt: skip
    codec = X12Codec({"transaction": "997", "envelope": envelope}, [])
    inside: list[Segment] = []
    for count, group in enumerate(groups, start=1):
        body = list(_of_group(group, rejected))
        inside += [["ST", "997", f"{count:04}"], *body, ["SE", str(len(body) + 2), f"{count:04}"]]
    return codec._enveloped(inside, len(groups), Batch(number=number, at=batch.at, partner=batch.partner))


def _of_group(group: Group, rejected: Mapping[str, str]) -> Iterator[Segment]:
    yield ["AK1", group.code, group.control]
    taken = 0
    for each in group.transactions:
        bad = each.fault is not None or each.control in rejected
        taken += not bad
        yield ["AK2", each.kind, each.control]
        yield ["AK5", "R", _WHY if each.fault is not None else "5"] if bad else ["AK5", "A"]
    count = len(group.transactions)
    verdict = "A" if taken == count else "P" if taken else "R"
    yield ["AK9", verdict, str(count), str(count), str(taken)]


_WHY = "4"  # the number of segments that it says does not match, or its control numbers differ
