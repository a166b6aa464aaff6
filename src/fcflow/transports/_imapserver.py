"""The calls that a mailbox is read and tidied by: folders, messages, their attachments, in pieces."""

from __future__ import annotations

import imaplib
import logging
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from attrs import define, field, frozen

from fcflow.errors import (
    TransportLoginError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTooLargeError,
    TransportUnavailableError,
    TransportUnsupportedError,
    TransportUntrustedError,
)
from fcflow.transports._address import Address
from fcflow.transports._faults import Failure, guarded, of_os_error, without_frames
from fcflow.transports._imapclient import (
    ImapClient,
    ImapLoginError,
    ImapNoError,
    ImapTooMuchError,
    ImapUntrustedError,
    answers,
    mailbox_name,
    quoted,
)
from fcflow.transports._login import Login
from fcflow.transports._mime import Attachment, attachments, parsed, senders, text_of
from fcflow.transports._session import Session
from fcflow.transports._tls import of_network, of_tls, one_line, tls_context
from fcflow.transports.base import Endpoint

__all__ = ["MONTHS", "PIECE", "ImapMessage", "ImapServer", "TooMuchError"]

_log = logging.getLogger("fcflow.transports")

PIECE = 1024 * 1024
_MOST_OF_ONE = 4 * 1024 * 1024
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_INTERNAL = re.compile(rb"\s*(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")


@frozen(kw_only=True)
class ImapMessage:
    """
    What a look at a message says of it.

    Args:
        fault: Why its structure cannot be read, or ``None``.
    """

    uid: int
    arrived_at: datetime | None = None
    flags: frozenset[str] = frozenset()
    senders: tuple[str, ...] = ()
    subject: str = ""
    attachments: tuple[Attachment, ...] = ()
    fault: str | None = None


@define(eq=False)
class ImapServer:
    """The few calls that a folder of messages is read and tidied by."""

    endpoint: Endpoint
    address: Address
    _secrets: tuple[str, ...] = field(default=(), init=False, repr=False)
    _session: Session[ImapClient] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._session = Session(self._new, self._opened)

    @property
    def where(self) -> str:
        return str(self.address)

    @property
    def is_protected(self) -> bool:
        return self.address.scheme == "imaps" or self.endpoint.option("tls", "required") == "required"

    def within(self, timeout_s: float) -> AbstractContextManager[None]:
        return self._session.within(timeout_s)

    def _new(self) -> ImapClient:
        return ImapClient(
            context=tls_context(self.endpoint) if self.is_protected else None,
            server_name=self.endpoint.option("server_name", self.address.host),
            implicit=self.address.scheme == "imaps",
            timeout_s=self.endpoint.limits.timeout_s,
        )

    def _opened(self, client: ImapClient) -> None:
        login = Login.of(self.endpoint, self.address.user)
        self._secrets = login.texts
        client.connect(self.address.host, self.address.port)
        without_frames(client.log_in, login)

    def close(self) -> None:
        self._session.close()

    # ------------------------------------------------------------------ errors

    def secrets(self) -> Iterable[str | None]:
        return self._secrets

    def broken(self, error: Exception) -> None:
        """Only a connection whose last answer was read to its end is still in step."""
        if not isinstance(error, ImapNoError):
            self._session.drop()

    def failure(self, error: Exception) -> Failure:
        if self._session.is_late:
            return of_os_error(TimeoutError())
        if isinstance(error, ImapNoError):
            return _of_no(error)
        if isinstance(error, ImapLoginError):
            return TransportLoginError, str(error)
        if isinstance(error, ImapUntrustedError):
            return TransportUntrustedError, str(error)
        if isinstance(error, ssl.SSLError):
            return of_tls(error)
        if isinstance(error, OSError):
            return of_network(error)
        if isinstance(error, imaplib.IMAP4.error) and not isinstance(error, imaplib.IMAP4.abort):
            return TransportUnsupportedError, one_line(str(error))
        return TransportUnavailableError, f"{one_line(str(error)) or type(error).__name__}"

    # ------------------------------------------------------------------ looking

    @guarded
    def look(self, folder: str) -> int:
        """Open *folder* to read, as it is now; gives its UIDVALIDITY."""
        client = self._session.open()
        client.choose(folder, readonly=True)
        return client.validity

    @guarded
    def search(self, folder: str, criteria: Sequence[str]) -> list[int]:
        """Numbers of the messages, oldest first."""
        said = self._open_at(folder).ask("UID", "SEARCH", *criteria)
        return sorted({int(word) for line in said.get("SEARCH", ()) for word in (line or b"").split()})

    def messages(self, folder: str, uids: Sequence[int]) -> Iterator[ImapMessage]:
        """What is to be known of messages; one that says too much stops none of the others."""
        most = _MOST_OF_ONE * (8 if len(uids) > 1 else 1)
        try:
            found = self._messages(folder, uids, most)
        except TooMuchError:
            if len(uids) == 1:
                yield ImapMessage(uid=uids[0], fault="its structure has no end")
                return
            half = len(uids) // 2
            yield from self.messages(folder, uids[:half])
            yield from self.messages(folder, uids[half:])
            return
        yield from sorted(found, key=lambda message: message.uid)

    @guarded
    def _messages(self, folder: str, uids: Sequence[int], most: int) -> list[ImapMessage]:
        numbers = ",".join(map(str, uids))
        try:
            client = self._open_at(folder)
            said = client.ask("UID", "FETCH", numbers, "(UID INTERNALDATE FLAGS ENVELOPE BODYSTRUCTURE)", most=most)
        except ImapTooMuchError:
            self._session.drop()
            raise TooMuchError(f"{self.where} {folder}: a message says more of itself than it may") from None
        found = [_message(pieces) for pieces in answers(said.get("FETCH", ()))]
        return [message for message in found if message is not None and message.uid in set(uids)]

    @guarded
    def piece(self, folder: str, validity: int, uid: int, part: str, start: int) -> bytes | None:
        """A part's content from *start*, as it is written; ``None`` where the message or the part is gone."""
        client = self._open_at(folder)
        if client.validity != validity:
            return None
        wanted = f"BODY.PEEK[{part}]<{start}.{PIECE}>"
        said = client.ask("UID", "FETCH", str(uid), f"(UID {wanted})", most=PIECE + 64 * 1024)
        for found in _fetched(said):
            if found.get("UID") == str(uid).encode():
                return next((value for name, value in found.items() if name.startswith("BODY[")), None)
        return None

    def _open_at(self, folder: str, *, readonly: bool = True) -> ImapClient:
        client = self._session.open()
        if client.selected not in ((folder, False), (folder, readonly)):
            client.choose(folder, readonly=readonly)
        return client

    # ------------------------------------------------------------------ tidying

    @guarded
    def flags(self, folder: str, validity: int, uid: int) -> frozenset[str] | None:
        """A message's flags; ``None`` where it is gone, or the folder was numbered anew."""
        client = self._open_at(folder, readonly=False)
        if client.validity != validity:
            return None
        return _flags_in(client.ask("UID", "FETCH", str(uid), "(UID FLAGS)"), uid)

    @guarded
    def can_keep(self, folder: str, flag: str) -> bool:
        """Whether a flag of ours stays with a message."""
        allowed = self._open_at(folder, readonly=False).permanent_flags
        return b"\\*" in allowed or flag.lower().encode() in {each.lower() for each in allowed}

    @guarded
    def mark(self, folder: str, uid: int, flag: str) -> frozenset[str]:
        """Give a message a flag; gives all that it has then."""
        client = self._open_at(folder, readonly=False)
        client.ask("UID", "STORE", str(uid), "+FLAGS.SILENT", f"({flag})")
        return _flags_in(client.ask("UID", "FETCH", str(uid), "(UID FLAGS)"), uid) or frozenset()

    @guarded
    def unmark(self, folder: str, uid: int, flags: Iterable[str]) -> None:
        """Take flags from a message."""
        self._open_at(folder, readonly=False).ask("UID", "STORE", str(uid), "-FLAGS.SILENT", f"({' '.join(flags)})")

    @guarded
    def move(self, folder: str, uid: int, target: str) -> None:
        """Into another folder; where the server cannot, copy and delete."""
        client, to = self._open_at(folder, readonly=False), quoted(mailbox_name(target))
        if "MOVE" in client.capabilities:
            client.ask("UID", "MOVE", str(uid), to)
        else:
            client.ask("UID", "COPY", str(uid), to)
            self._delete(client, uid)

    @guarded
    def delete(self, folder: str, uid: int) -> None:
        """For good where the server can delete one message alone; else it is marked, and not looked at again."""
        self._delete(self._open_at(folder, readonly=False), uid)

    def _delete(self, client: ImapClient, uid: int) -> None:
        client.ask("UID", "STORE", str(uid), "+FLAGS.SILENT", "(\\Deleted)")
        if "UIDPLUS" in client.capabilities:
            client.ask("UID", "EXPUNGE", str(uid))

    @guarded
    def delimiter(self) -> str:
        """What stands between a folder and one below it."""
        client = self._session.open()
        if client.delimiter is None:
            said = client.ask("LIST", '""', '""').get("LIST", ())
            client.delimiter = next((_delimiter(pieces) for pieces in answers(said)), "/")
        return client.delimiter

    @guarded
    def make(self, folder: str) -> None:
        """Make a folder that people see too; harmless where it is there."""
        client, name = self._session.open(), quoted(mailbox_name(folder))
        if client.ask("LIST", '""', name).get("LIST"):
            return
        try:
            client.ask("CREATE", name)
        except ImapNoError as error:
            if "[ALREADYEXISTS]" not in str(error).upper():
                raise
        try:
            client.ask("SUBSCRIBE", name)
        except ImapNoError:
            _log.debug("%s %s: made, but not subscribed to", self.where, folder)

    @guarded
    def capabilities(self) -> frozenset[str]:
        """What the server says that it can."""
        return frozenset(self._session.open().capabilities)


class TooMuchError(TransportTooLargeError):
    """A look was cut off because a message says too much of itself."""


def _of_no(error: ImapNoError) -> Failure:
    text = str(error)
    if error.is_temporary:
        return TransportUnavailableError, text
    if error.command in ("EXAMINE", "SELECT") and not re.search(r"\[(NOPERM|AUTHORIZATIONFAILED)\]|only be read", text):
        return TransportNotFoundError, text
    return TransportRefusedError, text


def _fetched(said: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """The items of each answer by name; answers that are not well formed are none."""
    for pieces in answers(said.get("FETCH", ())):
        try:
            yield _items(pieces)
        except (ValueError, TypeError, IndexError):
            continue


def _items(pieces: Sequence[bytes | tuple[bytes]]) -> dict[str, Any]:
    words = parsed(pieces)[1]
    return {name.decode("ascii").upper(): value for name, value in zip(words[::2], words[1::2], strict=True)}


def _flags_in(said: Mapping[str, Sequence[Any]], uid: int) -> frozenset[str] | None:
    for found in _fetched(said):
        if found.get("UID") == str(uid).encode() and "FLAGS" in found:
            return _flags(found["FLAGS"])
    return None


def _flags(said: Sequence[bytes]) -> frozenset[str]:
    return frozenset(flag.decode("ascii", "replace") for flag in said)


def _delimiter(pieces: Sequence[bytes | tuple[bytes]]) -> str:
    said = parsed(pieces)
    return said[1].decode("ascii") if len(said) > 1 and said[1] else "/"


_UID = re.compile(rb"[ (]UID (\d+)[ )]", re.IGNORECASE)


def _message(pieces: Sequence[bytes | tuple[bytes]]) -> ImapMessage | None:
    """One message; ``None`` for an answer that is about nothing that was asked."""
    try:
        found = _items(pieces)
        if not {"UID", "ENVELOPE", "BODYSTRUCTURE"} <= found.keys():
            return None
        return ImapMessage(
            uid=int(found["UID"]),
            arrived_at=_instant(found.get("INTERNALDATE") or b"", int(found["UID"])),
            flags=_flags(found.get("FLAGS") or ()),
            senders=tuple(senders(found["ENVELOPE"])),
            subject=text_of(found["ENVELOPE"][1]),
            attachments=tuple(attachments(found["BODYSTRUCTURE"])),
        )
    except (ValueError, TypeError, IndexError, AttributeError, KeyError, RecursionError) as error:
        uid = next((match[1] for piece in pieces if isinstance(piece, bytes) and (match := _UID.search(piece))), None)
        return None if uid is None else ImapMessage(uid=int(uid), fault=f"its structure cannot be read: {error}")


def _instant(said: bytes, uid: int) -> datetime | None:
    """
    When a message arrived. Servers know it to the second: the number of the message keeps those of one second in order.

    Example:
        >>> print(_instant(b" 2-Mar-2026 07:05:01 +0100", 42))
        2026-03-02 06:05:01.000042+00:00
    """
    match = _INTERNAL.fullmatch(said)
    if match is None or match[2].decode().lower() not in MONTHS:
        return None
    day, year, hour, minute, second, hours, minutes = (int(match[each]) for each in (1, 3, 4, 5, 6, 8, 9))
    month = MONTHS.index(match[2].decode().lower()) + 1
    east = timedelta(hours=hours, minutes=minutes) * (-1 if match[7] == b"-" else 1)
    try:
        local = datetime(year, month, day, hour, minute, min(second, 59), uid % 1_000_000, timezone(east))
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
