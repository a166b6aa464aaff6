"""What a server says of a message's structure, and how the content of an attachment is written."""

from __future__ import annotations

import binascii
import email.errors
import email.header
import email.utils
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from attrs import frozen

__all__ = ["Attachment", "Decoder", "attachments", "decoder_of", "parsed", "senders", "text_of"]

_TOKEN = re.compile(rb'\s*(?:(\()|(\))|"([^"\\]*(?:\\.[^"\\]*)*)"|([^\s()"]+))', re.DOTALL)
_DEEPEST = 60
_DEEPEST_PART = 20
_MOST_PARTS = 500
_CARRIED = 64 * 1024
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*\r?\n|[ \t]*\Z)")


# ------------------------------------------------------------------ answers of a server


def parsed(pieces: Sequence[bytes | tuple[bytes]]) -> list[Any]:
    """
    An answer of nested lists as lists of bytes; ``NIL`` is ``None``.

    Args:
        pieces: Its text; a literal is a tuple of its own.

    Raises:
        ValueError: It is not well formed, or nested too deeply.

    Example:
        >>> parsed([b'1 (UID 5 X ("a" NIL ', (b'lit"eral',), b" ()))"])
        [b'1', [b'UID', b'5', b'X', [b'a', None, b'lit"eral', []]]]
    """
    stack: list[list[Any]] = [[]]
    for piece in pieces:
        if isinstance(piece, tuple):
            stack[-1].append(piece[0])
        else:
            _read(piece, stack)
    if len(stack) != 1:
        raise ValueError("a list without an end")
    return stack[0]


def _read(text: bytes, stack: list[list[Any]]) -> None:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            if text[at:].strip():
                raise ValueError(f"expected an atom, a text or a list at {text[at : at + 20]!r}")
            return
        at = match.end()
        if match[1]:
            _opened(stack)
        elif match[2]:
            _closed(stack)
        elif match[4] is not None:
            stack[-1].append(None if match[4].upper() == b"NIL" else match[4])
        else:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", match[3], flags=re.DOTALL))


def _opened(stack: list[list[Any]]) -> None:
    if len(stack) > _DEEPEST:
        raise ValueError("lists nested too deeply")
    below: list[Any] = []
    stack[-1].append(below)
    stack.append(below)


def _closed(stack: list[list[Any]]) -> None:
    if len(stack) == 1:
        raise ValueError("a list that was not begun")
    stack.pop()


def senders(envelope: Any) -> list[str]:
    """
    The addresses that a message says it is from, in small letters.

    Example:
        >>> senders([None, None, [[b"A. Desk", None, b"Desk", b"ACME.example"]]])
        ['desk@acme.example']
    """
    found = envelope[2] or []
    return [f"{_plain(local)}@{_plain(host)}".lower() for _, _, local, host in found]


def text_of(raw: bytes | None) -> str:
    """
    The text of a header, its encoded words spelt out.

    Example:
        >>> text_of(b"=?utf-8?q?Bestell=C3=BCbersicht?= 7")
        'Bestellübersicht 7'
    """
    text = _plain(raw)
    try:
        return str(email.header.make_header(email.header.decode_header(text)))
    except (email.errors.MessageError, LookupError, ValueError):
        return text


def _plain(raw: bytes | None) -> str:
    if raw is None:
        return ""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


# ------------------------------------------------------------------ the parts of a message


@frozen(kw_only=True)
class Attachment:
    """
    A part of a message that has a file name.

    Args:
        part: Its number, as ``2`` or ``1.2``.

        encoding: How its content is written, in small letters.

        octets: Bytes as written; some servers only estimate it.
    """

    part: str
    name: str
    encoding: str
    octets: int


def attachments(structure: Any) -> list[Attachment]:
    """
    The parts with a file name, those of nested multiparts too; a message inside the message is not opened.

    Raises:
        ValueError: The structure is not what a server may say, or holds too many parts.

    Example:
        >>> text = parsed([b'"text" "plain" NIL NIL NIL "7bit" 3 1'])
        >>> csv = parsed([b'"text" "csv" NIL NIL NIL "base64" 8 1 NIL ("attachment" ("filename" "b.csv"))'])
        >>> attachments([text, csv, b"mixed"])
        [Attachment(part='2', name='b.csv', encoding='base64', octets=8)]
    """
    found: list[Attachment] = []
    for count, (part, leaf) in enumerate(_leaves(structure, "", 0)):
        if count >= _MOST_PARTS:
            raise ValueError(f"more than {_MOST_PARTS} parts")
        each = _attachment(part, leaf)
        if each is not None:
            found.append(each)
    return found


def _leaves(structure: Any, part: str, depth: int) -> Iterator[tuple[str, list[Any]]]:
    if not isinstance(structure, list) or not structure or depth > _DEEPEST_PART:
        raise ValueError("expected a list of what a part is")
    if not isinstance(structure[0], list):
        yield part or "1", structure
        return
    for number, below in enumerate(structure, 1):
        if not isinstance(below, list):
            return
        yield from _leaves(below, f"{part}.{number}" if part else str(number), depth + 1)


def _attachment(part: str, leaf: list[Any]) -> Attachment | None:
    if len(leaf) < 7:
        raise ValueError("expected seven words on a part")
    kind, _, parameters, _, _, encoding, octets = leaf[:7]
    if _plain(kind).lower() == "message":
        return None
    name = _parameter(_disposition(leaf), "filename") or _parameter(parameters, "name")
    if not name:
        return None
    return Attachment(part=part, name=name, encoding=_plain(encoding).lower() or "7bit", octets=int(octets))


def _disposition(leaf: list[Any]) -> Any:
    """Its parameters; it stands behind the checksum, and a text says its lines before that."""
    at = 9 if _plain(leaf[0]).lower() == "text" else 8
    said = leaf[at] if len(leaf) > at else None
    return said[1] if isinstance(said, list) and len(said) > 1 else None


def _parameter(said: Any, wanted: str) -> str:
    """A parameter, be it plain, in encoded words, or in pieces and another alphabet by RFC 2231."""
    if not isinstance(said, list):
        return ""
    pairs = [(_plain(name).lower(), _plain(value)) for name, value in zip(said[::2], said[1::2], strict=True)]
    plain = dict(pairs)
    if wanted in plain:
        return text_of(plain[wanted].encode())
    pieces = [("", ""), *(pair for pair in pairs if pair[0].startswith(f"{wanted}*"))]
    for name, value in email.utils.decode_params(pieces)[1:]:
        if name == wanted:
            return email.utils.collapse_rfc2231_value(value).strip('"')
    return ""


# ------------------------------------------------------------------ contents


class Decoder(Protocol):
    """Undoes a transfer encoding, block by block."""

    def feed(self, block: bytes) -> bytes:
        """What is certain by now; raises `ValueError` where the content is not in this encoding."""
        ...

    def end(self) -> bytes:
        """The rest; raises `ValueError` where the content was cut."""
        ...


class _Plain:
    def feed(self, block: bytes) -> bytes:
        return block

    def end(self) -> bytes:
        return b""


class _Base64:
    """Strict, blanks apart: a lenient reader takes half a file for a whole one."""

    def __init__(self) -> None:
        self._rest = b""
        self._ended = False

    def feed(self, block: bytes) -> bytes:
        data = self._rest + block.translate(None, b" \t\r\n")
        if self._ended and data:
            raise ValueError("base64 goes on behind its end")
        whole = len(data) // 4 * 4
        self._rest = data[whole:]
        self._ended = data[:whole].endswith(b"=")
        return binascii.a2b_base64(data[:whole], strict_mode=True) if whole else b""

    def end(self) -> bytes:
        if self._rest:
            raise ValueError("base64 was cut")
        return b""


class _QuotedPrintable:
    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> bytes:
        data = self._rest + block
        whole = data.rfind(b"\n") + 1
        if len(data) - whole > _CARRIED:
            raise ValueError("quoted-printable with a line that has no end")
        self._rest = data[whole:]
        return _unquoted(data[:whole])

    def end(self) -> bytes:
        return _unquoted(self._rest)


def _unquoted(data: bytes) -> bytes:
    if _BAD_ESCAPE.search(data):
        raise ValueError("quoted-printable with an escape that is none")
    return binascii.a2b_qp(data)


def decoder_of(encoding: str) -> Decoder | None:
    """
    What undoes *encoding*, or ``None`` where nothing does.

    Example:
        >>> decoder = decoder_of("base64")
        >>> decoder.feed(b"QTE7"), decoder.feed(b"MQ0K"), decoder.end()
        (b'A1;', b'1\\r\\n', b'')
    """
    if encoding == "base64":
        return _Base64()
    if encoding == "quoted-printable":
        return _QuotedPrintable()
    return _Plain() if encoding in ("7bit", "8bit", "binary") else None
