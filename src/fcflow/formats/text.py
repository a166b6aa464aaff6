"""
Bytes to physical lines of text, and text to bytes: encodings, byte order marks, caps, characters nobody means.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from immutabledict import immutabledict

from fcflow.errors import FormatError
from fcflow.formats.codec import Unwritable
from fcflow.formats.letters import nearest_letters
from fcflow.model import Problem

__all__ = [
    "DETECT",
    "LINE_ENDS",
    "MAX_LINE",
    "ODD_BYTES",
    "Lines",
    "TextOptions",
    "decoded_whole",
    "detected_encoding",
    "normal_encoding",
    "problem_of_odd_text",
    "whole",
]

DETECT = "detect"
LINE_ENDS = {"crlf": "\r\n", "lf": "\n", "cr": "\r"}
_SAMPLE = 65_536
_PIECE = 1_048_576

MAX_LINE = 1_048_576
"""Characters that a line, or one record of several lines, may have unless the layout says otherwise."""

_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
ODD_BYTES = bytes(code for code in (*range(32), 127) if code not in b"\t\n\r")
"""Bytes of characters that nobody means, in any encoding that ASCII is part of."""

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff]")
_BREAKS = re.compile("\r\n|[\r\n\x0b\x0c\x85\u2028\u2029]")
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_END_OF_FILE = "\x1a"  # old systems close a text with it
_OF_NAMES = ("idna", "punycode", "undefined")  # Python calls them encodings; no file is in one
_WIDE = ("utf-16", "utf-32", "utf_16", "utf_32")


def normal_encoding(name: str) -> str | None:
    """
    Python's name of an encoding of text, or ``None`` when there is none.

    Example:
        >>> normal_encoding("Windows-1252"), normal_encoding("base64"), normal_encoding("klingon")
        ('cp1252', None, None)
    """
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    return info.name if getattr(info, "_is_text_encoding", True) and info.name not in _OF_NAMES else None


def problem_of_odd_text(text: str, line: int, encoding: str, raw: immutabledict[str, str]) -> Problem | None:
    """The problem with a text that holds undecodable bytes or control characters, if it does."""
    found = _ODD.search(text)
    if found is None:
        return None
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        return Problem(line=line, found=f"byte 0x{code - 0xDC00:02X}", expected=f"text in {encoding}", raw=raw)
    return Problem(line=line, found=found[0], expected="text without control characters", raw=raw)


def _chosen(wanted: str | Sequence[str], head: bytes) -> str:
    """The encoding of a text that begins with *head*; the last of several where it is valid in none."""
    if wanted == DETECT:
        return detected_encoding(head)
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names[:-1]:
        try:
            codecs.getincrementaldecoder(name)().decode(head)
        except UnicodeError:
            continue
        return name
    return names[-1]


def detected_encoding(head: bytes) -> str:
    """The encoding that a text beginning with *head* is most likely in; UTF-8 wherever it is valid."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeError:
        from charset_normalizer import from_bytes  # slow to import, and only needed here

        best = from_bytes(head[: head.rfind(b"\n") + 1] or head).best()
        return "utf-8" if best is None else best.encoding
    return "utf-8"


class Lines:
    """
    The physical lines of a stream with their ends, whatever the ends are; one pass.

    A byte order mark is believed: it overrules the encoding that the layout names.

    Args:
        encoding: One; several, of which the first is taken that the beginning of the text is valid in; or ``detect``.

        limit: Characters a line may have.

        start: Number of the line above the first, where the stream begins in the middle of a text.

    Attributes:
        encoding: What the text is in, known once the first line was given.

        number: Lines given so far.

        odd: Numbers of lines, as far as they are read, that hold undecodable bytes or control characters.
    """

    def __init__(self, stream: BinaryIO, encoding: str | Sequence[str], limit: int = MAX_LINE, start: int = 0) -> None:
        self._stream = stream
        self._wanted = encoding
        self.encoding = encoding if isinstance(encoding, str) else encoding[0]
        self.limit = limit
        self.number = start
        self.odd: set[int] = set()
        self._pieces = self._split()
        self._lines: list[str] = []
        self._at = 0
        self._is_marred = False

    def __iter__(self) -> Iterator[str]:
        while self._is_more():
            line = self._lines[self._at]
            self.passed(1)
            if line:
                yield line

    def ahead(self, most: int) -> list[str]:
        """
        The next lines without giving them: at most *most*, all of them free of odd characters.

        None at the end of the text, and where odd characters are near; there is then only one line after the other.
        """
        return self._lines[self._at : self._at + most] if self._is_more() and not self._is_marred else []

    def passed(self, count: int) -> None:
        """Count *count* of the lines `ahead` as given."""
        self._at += count
        self.number += count

    def _is_more(self) -> bool:
        while self._at == len(self._lines):
            lines = next(self._pieces, None)
            if lines is None:
                return False
            self._lines, self._at = lines, 0
        return True

    def _split(self) -> Iterator[list[str]]:
        """The lines, as many at a time as are read at a time."""
        piece = self._head()
        decoder = self._decoder(piece)
        rest, size, read = list[str](), 0, self.number
        while True:
            text = self._decoded(decoder, piece, read)
            unfinished, size = rest, size + len(text)
            if piece and not (_has_break(text) or (rest and rest[-1].endswith("\r"))):
                self._refuse_longer(size, read + 1)
                rest.append(text)
            else:
                lines = io.StringIO("".join([*unfinished, text]), newline="").readlines()
                rest = [lines.pop()] if piece and lines and not lines[-1].endswith("\n") else []
                size = sum(map(len, rest))
                self._mark(lines, read)
                yield lines
                read += len(lines)
            if not piece:
                return
            piece = self._stream.read(_SAMPLE)

    def _head(self) -> bytes:
        """Enough of the beginning to tell the encoding by."""
        pieces, left = list[bytes](), _SAMPLE
        while left and (piece := self._stream.read(left)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _decoder(self, head: bytes) -> codecs.IncrementalDecoder:
        marks = () if self.number else _MARKS
        marked = next((name for mark, name in marks if head.startswith(mark)), None)
        self.encoding = marked or _chosen(self._wanted, head)
        errors = "strict" if self.encoding.startswith(_WIDE) else "surrogateescape"
        return codecs.getincrementaldecoder(self.encoding)(errors)

    def _decoded(self, decoder: codecs.IncrementalDecoder, piece: bytes, read: int) -> str:
        try:
            return decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(self.encoding, "ignore")
            line = read + 1 + before.count("\n")
            raise FormatError(f"line {line}: expected text in {self.encoding}, got {error}") from error
        except UnicodeError as error:
            raise FormatError(f"line {read + 1}: expected text in {self.encoding}, got {error}") from error

    def _mark(self, lines: list[str], read: int) -> None:
        """Hold the lines that follow line *read* against the limit, and note which hold what nobody means."""
        if not read and lines:
            lines[:1] = filter(None, [lines[0].removeprefix("\ufeff")])
        if sum(map(len, lines)) > self.limit:
            for number, line in enumerate(lines, read + 1):
                self._refuse_longer(len(line), number)
        self._is_marred = _is_odd("".join(lines))
        if not self._is_marred:
            return
        for index, line in enumerate(lines):
            if _ODD.search(line):
                lines[index] = line = line.rstrip(_END_OF_FILE)
                if _ODD.search(line):
                    self.odd.add(read + index + 1)

    def _refuse_longer(self, size: int, number: int) -> None:
        if size > self.limit:
            raise FormatError(f"line {number}: expected at most {self.limit} characters, got more")


def _has_break(text: str) -> bool:
    return "\n" in text or "\r" in text


def _is_odd(text: str) -> bool:
    """The same as ``_ODD.search``, ten times as fast."""
    try:
        content = text.encode()
    except UnicodeEncodeError:
        return True
    return len(content.translate(None, ODD_BYTES)) < len(content)


def whole(stream: BinaryIO, most: int) -> bytes:
    """
    Everything that a stream gives, however little it gives at a time.

    Raises:
        FormatError: It is more than *most* bytes.
    """
    pieces, left = list[bytes](), most + 1
    while left and (piece := stream.read(min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        raise FormatError(f"expected at most {most} bytes, got more")
    return b"".join(pieces)


def decoded_whole(stream: BinaryIO, encoding: str, most: int) -> str:
    """
    The whole text of a stream, for formats that cannot be read line by line; a byte order mark is believed.

    Args:
        most: Bytes that it may have.

    Raises:
        FormatError: It is longer, or not in its encoding.
    """
    content = whole(stream, most)
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), encoding)
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        at = getattr(error, "start", 0)
        line = content.count(b"\n", 0, at) + 1
        raise FormatError(f"line {line}, byte {at}: expected text in {encoding}, got {error}") from error


class TextOptions:
    """
    How texts become bytes: what a text codec shares with the others.

    Args:
        options: The codec's options: ``encoding``, ``bom``, ``if_unencodable``, ``line_breaks``.

    Attributes:
        encoding: What is written; of several, the first.

        reads: What `Lines` is to read: one encoding, several to be tried in turn, or ``detect``.

        keeps_breaks: Whether the format can hold a line break inside a cell.
    """

    def __init__(self, options: Mapping[str, Any], *, keeps_breaks: bool) -> None:
        given = options.get("encoding", "utf-8")
        self.reads: str | tuple[str, ...] = tuple(given) if isinstance(given, list | tuple) else given
        first = self.reads if isinstance(self.reads, str) else self.reads[0]
        self.encoding = normal_encoding(first) or "utf-8"
        if isinstance(self.reads, str) and self.reads != DETECT:
            self.reads = self.encoding
        self.bom = bool(options.get("bom", False))
        way = options.get("if_unencodable", "refuse")
        self._nearest = None if way == "refuse" else nearest_letters(self.encoding, way)
        wanted = options.get("line_breaks", "keep" if keeps_breaks else "space")
        self.keeps_breaks = keeps_breaks and wanted == "keep"

    def carry(self, text: str) -> str:
        """What is read back of *text*: control characters become blanks, so do breaks that cannot be kept."""
        if text.isprintable() and text.isascii():
            return text
        text = _CONTROL.sub(" ", text)
        if not self.keeps_breaks:
            text = _BREAKS.sub(" ", text)
        return self._encodable(text)

    def carry_all(self, texts: Sequence[str]) -> Sequence[str]:
        """The same for many texts, quick where nothing is to be looked for."""
        together = "".join(texts)
        return texts if together.isprintable() and together.isascii() else list(map(self.carry, texts))

    def _encodable(self, text: str) -> str:
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError as error:
            if self._nearest is not None:
                return "".join(map(self._nearest, text))
            odd = text[error.start]
            raise Unwritable(f"expected text that {self.encoding} can hold, got {odd!r} in {text!r}") from error
        return text

    def encode(self, text: str) -> bytes:
        """The bytes of a whole payload, with a byte order mark where the layout asks for one."""
        mark = "\ufeff" if self.bom and not self.encoding.startswith(("utf-8-sig", "utf-16", "utf-32")) else ""
        encoding = "utf-16-le" if self.encoding == "utf-16" else self.encoding
        if self.encoding == "utf-16":
            mark = "\ufeff"
        content = (mark + text).encode(encoding)
        if not mark and any(content.startswith(each) for each, _ in _MARKS):
            raise FormatError(f"the text begins with {text[:2]!r}, which every reader takes for a byte order mark")
        return content
