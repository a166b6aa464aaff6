"""
``imap://`` and ``imaps://``: statuses and stock from the attachments of e-mail.

An offer is an attachment: its token names the folder, the folder's UIDVALIDITY, the message and the part. Looking
marks nothing as read. Whoever may write to the mailbox can send a message, so a feed names whom it takes files from.
"""

from __future__ import annotations

import fnmatch
import hashlib
import imaplib
import json
import logging
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, BinaryIO

from attrs import define, field, frozen

from fcflow.errors import (
    FcflowError,
    TransportCorruptError,
    TransportError,
    TransportLoginError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTooLargeError,
    TransportUnavailableError,
    TransportUnsupportedError,
    TransportUntrustedError,
)
from fcflow.model import Feed, FeedKind
from fcflow.transports._address import Address, address_of
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
from fcflow.transports._limits import capped
from fcflow.transports._login import Login
from fcflow.transports._mime import Attachment, attachments, decoder_of, parsed, senders, text_of
from fcflow.transports._names import UNFINISHED, fault_of_name, joined, safe_folder
from fcflow.transports._session import Session
from fcflow.transports._tls import TLS_OPTIONS, of_network, of_tls, one_line, tls_context
from fcflow.transports.base import (
    Capabilities,
    Delivery,
    Endpoint,
    Fetched,
    Finding,
    Offer,
    Outcome,
    Presence,
    Query,
    Receipt,
    TransportType,
)

__all__ = ["IMAPS_TYPE", "TYPE", "ImapTransport", "build"]

_log = logging.getLogger("fcflow.transports")

_LOT = 100
_MOST_LOOKED = 10_000
"""Messages of a folder that are looked at; older ones are not."""
_PIECE = 1024 * 1024
_MOST_OF_ONE = 4 * 1024 * 1024
_LEAST_DECODED = 0.7
"""Of base64 with its line ends at least so much is content."""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_INTERNAL = re.compile(rb"\s*(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_KEYWORD = re.compile(r"fcflow-(applied|refused)-([0-9.]+)")
_SYSTEM_FLAGS = {"\\Seen": "UNSEEN", "\\Flagged": "UNFLAGGED", "\\Answered": "UNANSWERED"}


@frozen(kw_only=True)
class _Message:
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


@frozen(kw_only=True)
class _Token:
    """
    What an offer is fetched and settled by.

    Args:
        parts: The parts of the message that must be settled before it is put away.
    """

    folder: str
    validity: int
    uid: int
    part: str
    encoding: str
    octets: int
    parts: tuple[str, ...]

    @property
    def etag(self) -> str:
        """The attachment's mark; a message never changes."""
        return f"{self.validity}/{self.uid}/{self.part}"

    @property
    def text(self) -> str:
        names = ("folder", "validity", "uid", "part", "encoding", "octets", "parts")
        return json.dumps({name: getattr(self, name) for name in names})

    @classmethod
    def of(cls, text: str) -> _Token:
        data = json.loads(text)
        found = cls(**{**data, "parts": tuple(data["parts"])})
        if not all(re.fullmatch(r"\d+(\.\d+)*", part) for part in (found.part, *found.parts)):
            raise ValueError("expected numbers of parts")
        return found


# ------------------------------------------------------------------ the calls


@define(eq=False)
class _ImapServer:
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

    def messages(self, folder: str, uids: Sequence[int]) -> Iterator[_Message]:
        """What is to be known of messages; one that says too much stops none of the others."""
        most = _MOST_OF_ONE * (8 if len(uids) > 1 else 1)
        try:
            found = self._messages(folder, uids, most)
        except _TooMuchError:
            if len(uids) == 1:
                yield _Message(uid=uids[0], fault="its structure has no end")
                return
            half = len(uids) // 2
            yield from self.messages(folder, uids[:half])
            yield from self.messages(folder, uids[half:])
            return
        yield from sorted(found, key=lambda message: message.uid)

    @guarded
    def _messages(self, folder: str, uids: Sequence[int], most: int) -> list[_Message]:
        numbers = ",".join(map(str, uids))
        try:
            client = self._open_at(folder)
            said = client.ask("UID", "FETCH", numbers, "(UID INTERNALDATE FLAGS ENVELOPE BODYSTRUCTURE)", most=most)
        except ImapTooMuchError:
            self._session.drop()
            raise _TooMuchError(f"{self.where} {folder}: a message says more of itself than it may") from None
        found = [_message(pieces) for pieces in answers(said.get("FETCH", ()))]
        return [message for message in found if message is not None and message.uid in set(uids)]

    @guarded
    def piece(self, folder: str, validity: int, uid: int, part: str, start: int) -> bytes | None:
        """A part's content from *start*, as it is written; ``None`` where the message or the part is gone."""
        client = self._open_at(folder)
        if client.validity != validity:
            return None
        wanted = f"BODY.PEEK[{part}]<{start}.{_PIECE}>"
        said = client.ask("UID", "FETCH", str(uid), f"(UID {wanted})", most=_PIECE + 64 * 1024)
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


class _TooMuchError(TransportTooLargeError):
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


def _message(pieces: Sequence[bytes | tuple[bytes]]) -> _Message | None:
    """One message; ``None`` for an answer that is about nothing that was asked."""
    try:
        found = _items(pieces)
        if not {"UID", "ENVELOPE", "BODYSTRUCTURE"} <= found.keys():
            return None
        return _Message(
            uid=int(found["UID"]),
            arrived_at=_instant(found.get("INTERNALDATE") or b"", int(found["UID"])),
            flags=_flags(found.get("FLAGS") or ()),
            senders=tuple(senders(found["ENVELOPE"])),
            subject=text_of(found["ENVELOPE"][1]),
            attachments=tuple(attachments(found["BODYSTRUCTURE"])),
        )
    except (ValueError, TypeError, IndexError, AttributeError, KeyError, RecursionError) as error:
        uid = next((match[1] for piece in pieces if isinstance(piece, bytes) and (match := _UID.search(piece))), None)
        return None if uid is None else _Message(uid=int(uid), fault=f"its structure cannot be read: {error}")


def _instant(said: bytes, uid: int) -> datetime | None:
    """
    When a message arrived. Servers know it to the second: the number of the message keeps those of one second in order.

    Example:
        >>> print(_instant(b" 2-Mar-2026 07:05:01 +0100", 42))
        2026-03-02 06:05:01.000042+00:00
    """
    match = _INTERNAL.fullmatch(said)
    if match is None or match[2].decode().lower() not in _MONTHS:
        return None
    day, year, hour, minute, second, hours, minutes = (int(match[each]) for each in (1, 3, 4, 5, 6, 8, 9))
    month = _MONTHS.index(match[2].decode().lower()) + 1
    east = timedelta(hours=hours, minutes=minutes) * (-1 if match[7] == b"-" else 1)
    try:
        local = datetime(year, month, day, hour, minute, min(second, 59), uid % 1_000_000, timezone(east))
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# ------------------------------------------------------------------ what a feed wants


@frozen(kw_only=True)
class _Wish:
    """Which messages and attachments belong to a feed."""

    feed: Feed

    def _option(self, name: str, default: Any = None) -> Any:
        return self.feed.options.get(name, default)

    @property
    def done_flag(self) -> str | None:
        """What marks a message that was settled and left."""
        return self._option("done_flag") if self.feed.after == "leave" else None

    @property
    def _from(self) -> list[str]:
        said = self._option("from", ())
        return [each.strip().lower() for each in ([said] if isinstance(said, str) else said)]

    def criteria(self, today: datetime) -> list[str]:
        """What the server sorts out; all of it is looked at again, since servers search in their own ways."""
        words = ["UNDELETED"]
        if self.done_flag is not None:
            word = _SYSTEM_FLAGS.get(self.done_flag)
            words += [word] if word else ["UNKEYWORD", self.done_flag]
        days = self._option("max_age_days")
        if days is not None:
            # A day more, as servers count days in their own zone.
            first = today - timedelta(days=days + 1)
            words += ["SINCE", f"{first.day}-{_MONTHS[first.month - 1].title()}-{first.year}"]
        return [*words, *self._search_from()]

    def _search_from(self) -> list[str]:
        allowed = self._from
        if not allowed or len(allowed) > 5 or not all(each.isascii() for each in allowed):
            return []
        return [*["OR"] * (len(allowed) - 1), *(word for each in allowed for word in ("FROM", quoted(each)))]

    def takes(self, message: _Message) -> bool:
        """Whether a message is from whom it must be, and about what it must be."""
        if any(flag.lower() == "\\deleted" for flag in message.flags):
            return False
        subject = self._option("subject")
        if subject is not None and not fnmatch.fnmatchcase(message.subject.casefold(), subject.casefold()):
            return False
        return not self._from or (bool(message.senders) and all(map(self._is_allowed, message.senders)))

    def _is_allowed(self, sender: str) -> bool:
        return any(sender == each or (each.startswith("@") and sender.endswith(each)) for each in self._from)

    def wants(self, name: str) -> bool:
        """Whether an attachment is one of the feed's."""
        return self._fits(name) and not _is_unfinished(name)

    def _fits(self, name: str) -> bool:
        return fnmatch.fnmatchcase(name, self.feed.match)

    def waits_for(self, name: str) -> bool:
        """Whether a message stays until this attachment is settled."""
        return self._fits(name) or any(fnmatch.fnmatchcase(name, each) for each in self._option("also", ()))


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.lower().endswith(UNFINISHED)


def _utc_now() -> datetime:
    return datetime.now(UTC)


# ------------------------------------------------------------------ the transport


@define(kw_only=True)
class ImapTransport:
    """
    The way in from one mailbox; orders leave by another connection.

    Args:
        now: The clock that ages are measured with.

    Example:
        >>> from fcflow.model import Connection
        >>> connection = Connection(url="imaps://shop@mail.example/INBOX/acme")
        >>> transport = build(Endpoint(partner="acme", connection=connection, resolve=str))
        >>> transport.capabilities.sends, transport.capabilities.receives
        (False, True)
    """

    server: _ImapServer
    now: Callable[[], datetime] = _utc_now
    _told: dict[tuple[str, int, int], dict[str, Outcome]] = field(factory=dict, init=False, repr=False)
    _made: set[str] = field(factory=set, init=False)
    _refused: dict[str, str] = field(factory=dict, init=False)

    @property
    def capabilities(self) -> Capabilities:
        """A mailbox shows what lies in it, and nothing of ours is put there."""
        return Capabilities(
            atomic_publish=True, verifies_size=False, looks_up=False, lists=True, settles=True, sends=False
        )

    def _within(self) -> AbstractContextManager[None]:
        return self.server.within(self.server.endpoint.limits.timeout_s)

    # ------------------------------------------------------------------ out

    def send(self, delivery: Delivery) -> Receipt:
        """Raises: nothing is sent by IMAP."""
        raise TransportUnsupportedError(f"{self.server.where}: IMAP only receives; orders leave by smtp or smtps")

    def look_up(self, delivery: Delivery) -> Presence:
        """Never known."""
        return Presence.UNKNOWN

    # ------------------------------------------------------------------ in

    def list(self, feed: Feed, query: Query) -> Iterator[Offer]:
        """Attachments of *feed*, in the order their messages arrived; one look, made before this returns."""
        if feed.kind is FeedKind.ORDERS:
            raise TransportUnsupportedError(f"{self.server.where}: an orders feed cannot be listed over IMAP")
        wish = _Wish(feed=feed)
        # What is left without a mark was taken already: it must not keep new messages from being seen.
        endless = feed.after == "leave" and wish.done_flag is None
        most = None if endless else min(query.max_files, self.server.endpoint.limits.max_files)
        with self._within():
            folder = self._folder(feed.path)
            return iter(self._offers(wish, folder, self.server.look(folder), most))

    def _offers(self, wish: _Wish, folder: str, validity: int, most: int | None) -> Sequence[Offer]:
        found: list[Offer] = []
        uids = self._newest(folder, self.server.search(folder, wish.criteria(self.now())))
        for start in range(0, len(uids), _LOT):
            for message in self.server.messages(folder, uids[start : start + _LOT]):
                found += self._of_message(wish, folder, validity, message)
            if most is not None and len(found) >= most:
                break
        return found[:most]

    def _newest(self, folder: str, uids: Sequence[int]) -> Sequence[int]:
        if len(uids) > _MOST_LOOKED:
            _log.warning("%s: %d messages, only the last %d are looked at", self._at(folder), len(uids), _MOST_LOOKED)
        return uids[-_MOST_LOOKED:]

    def _of_message(self, wish: _Wish, folder: str, validity: int, message: _Message) -> Iterator[Offer]:
        if message.fault is not None:
            self._note(folder, message, message.fault)
        if not wish.takes(message):
            return
        good = [each for each in message.attachments if self._is_good(wish, folder, message, each)]
        parts = [each.part for each in good]
        told = self._outcomes((folder, validity, message.uid), message.flags)
        mine = [each for each in good if wish.wants(each.name)]
        # A message with nothing left to settle was about to be put away: its last attachment leads there.
        waiting = [each for each in mine if each.part not in told] or (mine[-1:] if told.keys() >= set(parts) else [])
        for each in waiting:
            token = _Token(
                folder=folder,
                validity=validity,
                uid=message.uid,
                part=each.part,
                encoding=each.encoding,
                octets=each.octets,
                parts=tuple(parts),
            )
            yield Offer(
                feed=wish.feed,
                name=each.name,
                modified_at=message.arrived_at,
                etag=token.etag,
                token=token.text,
            )

    def _is_good(self, wish: _Wish, folder: str, message: _Message, each: Attachment) -> bool:
        if not wish.waits_for(each.name):
            return False
        fault = fault_of_name(each.name)
        if fault is None and _is_unfinished(each.name):
            return False
        if fault is None and decoder_of(each.encoding) is None:
            fault = f"its encoding {each.encoding!r} is not known"
        if fault is not None:
            self._note(folder, message, f"the attachment {each.name!r} is not taken: {fault}")
        return fault is None

    def _note(self, folder: str, message: _Message, text: str) -> None:
        """Warn once."""
        said = f"{self._at(folder)}: message {message.uid}: {text}"
        if said not in self._refused and len(self._refused) < self.server.endpoint.limits.max_files:
            self._refused[said] = said
            _log.warning("%s", said)

    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        """Write the whole attachment into *sink*, piece by piece, decoded strictly."""
        token = self._token(offer)
        at = f"{self._at(token.folder)}, message {token.uid}, {offer.name}"
        limit = self.server.endpoint.limits.max_bytes
        if token.octets * _LEAST_DECODED > limit and token.encoding == "base64":
            raise TransportTooLargeError(f"{at}: expected at most {limit} bytes, got {token.octets} in base64")
        digest, size = hashlib.sha256(), 0
        with self._within():
            for block in capped(self._decoded(token, at), limit, at):
                sink.write(block)
                digest.update(block)
                size += len(block)
        return Fetched(size=size, sha256=digest.hexdigest())

    def _decoded(self, token: _Token, at: str) -> Iterator[bytes]:
        decoder = decoder_of(token.encoding)
        if decoder is None:
            raise TransportUnsupportedError(f"{at}: its encoding {token.encoding!r} is not known")
        try:
            for piece in self._pieces(token, at):
                yield decoder.feed(piece)
            yield decoder.end()
        except ValueError as error:
            raise TransportCorruptError(f"{at}: it is not whole, or not what it says: {error}") from error

    def _pieces(self, token: _Token, at: str) -> Iterator[bytes]:
        """To the end, which a short piece is; where sizes differ, which some servers only estimate, ask once more."""
        start, ended = 0, False
        while not ended:
            piece = self.server.piece(token.folder, token.validity, token.uid, token.part, start)
            if piece is None and start == 0:
                raise TransportNotFoundError(f"{at}: the message is gone")
            if not piece:
                return
            start += len(piece)
            ended = len(piece) < _PIECE and start == token.octets
            yield piece

    # ------------------------------------------------------------------ settling

    def settle(self, offer: Offer, outcome: Outcome) -> None:
        """
        Put the message away once all its attachments of the feed are settled; harmless where it is gone.

        Until then each settled one is marked on the message, so that another process knows.
        """
        wish, token = _Wish(feed=offer.feed), self._token(offer)
        if offer.feed.after == "leave" and wish.done_flag is None:
            return
        with self._within():
            flags = self.server.flags(token.folder, token.validity, token.uid)
            if flags is None or any(flag.lower() == "\\deleted" for flag in flags):
                return
            told = self._told_now(token, outcome, flags)
            if told.keys() >= set(token.parts):
                self._put_away(wish, token, told)

    def _told_now(self, token: _Token, outcome: Outcome, flags: frozenset[str]) -> dict[str, Outcome]:
        """What became of each part; the last one is not marked, as the message goes at once."""
        key = token.folder, token.validity, token.uid
        self._told.setdefault(key, {})[token.part] = outcome
        told = self._outcomes(key, flags)
        keyword = f"fcflow-{outcome.value}-{token.part}"
        if not told.keys() >= set(token.parts) and self.server.can_keep(token.folder, keyword):
            told = self._outcomes(key, self.server.mark(token.folder, token.uid, keyword))
        return told

    def _outcomes(self, key: tuple[str, int, int], flags: Iterable[str]) -> dict[str, Outcome]:
        """By part, from what the message bears and from what this process knows."""
        marks = [match for flag in flags if (match := _KEYWORD.fullmatch(flag.lower()))]
        told = {match[2]: Outcome(match[1]) for match in marks if match[1] == "applied"}
        told |= {match[2]: Outcome(match[1]) for match in marks if match[1] == "refused"}
        return {**told, **self._told.get(key, {})}

    def _put_away(self, wish: _Wish, token: _Token, told: Mapping[str, Outcome]) -> None:
        refused = any(told[part] is Outcome.REFUSED for part in token.parts)
        folder, uid = token.folder, token.uid
        if wish.done_flag is not None:
            self._leave_marked(folder, uid, wish.done_flag)
        elif wish.feed.after == "delete" and not refused:
            self.server.delete(folder, uid)
        else:
            target = self._made_folder(wish.feed, wish.feed.failed if refused else wish.feed.archive)
            self._forget_marks(token)
            self.server.move(folder, uid, target)
        self._told.pop((folder, token.validity, uid), None)

    def _leave_marked(self, folder: str, uid: int, flag: str) -> None:
        if not self.server.can_keep(folder, flag):
            raise TransportUnsupportedError(f"{self._at(folder)}: the server keeps no flag {flag}")
        self.server.mark(folder, uid, flag)

    def _forget_marks(self, token: _Token) -> None:
        """Whoever moves the message back wants all of it read again."""
        if len(token.parts) > 1:
            flags = self.server.flags(token.folder, token.validity, token.uid) or ()
            ours = [flag for flag in flags if _KEYWORD.fullmatch(flag.lower())]
            if ours:
                self.server.unmark(token.folder, token.uid, ours)

    def _made_folder(self, feed: Feed, name: str) -> str:
        folder = self._absolute(name) if name.startswith("/") else self._folder(joined(feed.path, name))
        if folder not in self._made:
            self.server.make(folder)
            self._made.add(folder)
        return folder

    def _folder(self, path: str) -> str:
        """The folder of a feed as the server names it; the inbox where nothing else is said."""
        return self._absolute(joined(self.server.address.base.strip("/"), safe_folder(path)) or "INBOX")

    def _absolute(self, path: str) -> str:
        return safe_folder(path).replace("/", self.server.delimiter())

    def _token(self, offer: Offer) -> _Token:
        try:
            return _Token.of(offer.token)
        except (ValueError, KeyError, TypeError) as error:
            raise TransportError(f"{self.server.where}: token {offer.token!r} is not one of ours") from error

    # ------------------------------------------------------------------ about

    def check(self) -> Sequence[Finding]:
        """Log in and open the base folder to read; changes nothing."""
        try:
            with self._within():
                folder = self._folder("")
                self.server.look(folder)
                known = self.server.capabilities()
        except FcflowError as error:
            return [Finding(level="error", message=str(error), code=error.code)]
        first = Finding(level="ok", message=f"{self.server.where}: reached, {folder} can be read")
        return [first, *self._warnings(known)]

    def _warnings(self, known: frozenset[str]) -> Iterator[Finding]:
        if not self.server.is_protected:
            message = f"{self.server.where}: the password and all messages cross the network in clear, use imaps"
            yield Finding(level="warning", message=message, code="transport.in_clear")
        if not {"MOVE", "UIDPLUS"} & known:
            message = f"{self.server.where}: settled messages are only marked as deleted, it cannot expunge one alone"
            yield Finding(level="warning", message=message, code="transport.unsupported")
        for message in self._refused.values():
            yield Finding(level="warning", message=message, code="transport.name")

    def close(self) -> None:
        """Let go of the connection; harmless twice."""
        self.server.close()

    def _at(self, folder: str) -> str:
        return f"{self.server.where} {folder}"


def build(endpoint: Endpoint) -> ImapTransport:
    """
    A transport for *endpoint*; nothing is connected yet.

    Raises:
        ConfigError: The URL cannot be used.
    """
    address = address_of(endpoint, 993 if endpoint.connection.scheme == "imaps" else 143)
    return ImapTransport(server=_ImapServer(endpoint, address))


_ADDRESSES = {"type": ["string", "array"], "items": {"type": "string", "pattern": "@"}, "pattern": "@", "minItems": 1}

_FEED_OPTIONS: Mapping[str, Any] = {
    "from": {
        **_ADDRESSES,
        "description": "Only messages from these addresses, or from all of a domain as @acme.example. The sender of a "
        "message is easily forged: let your mail server refuse those that fail SPF, DKIM and DMARC.",
    },
    "subject": {"type": "string", "description": "Only messages whose subject fits, such as *stock*; in any case."},
    "also": {
        "type": "array",
        "items": {"type": "string"},
        "description": "File names of other attachments, of another feed, that must be settled before the message is "
        "put away, such as stock*.csv where a message brings statuses and stock together.",
    },
    "done_flag": {
        "type": "string",
        "pattern": r"^(\\(Seen|Flagged|Answered)|[A-Za-z$][A-Za-z0-9$_.-]{0,49})$",
        "description": "With after leave: a flag that settled messages get; messages with it are not looked at again.",
    },
    "max_age_days": {
        "type": "integer",
        "minimum": 1,
        "description": "Only messages that arrived in the last so many days; for a folder that is never emptied.",
    },
}

_IMAPS_OPTIONS: Mapping[str, Any] = {
    "user": {"type": "string", "description": "Login name, where the URL has none."},
    **TLS_OPTIONS,
}

_IMAP_OPTIONS: Mapping[str, Any] = {
    **_IMAPS_OPTIONS,
    "tls": {
        "enum": ["required", "none"],
        "default": "required",
        "description": "By STARTTLS, or nothing is said; none reads in clear, for a server on a machine of your own.",
    },
}


def _type(scheme: str, summary: str, properties: Mapping[str, Any]) -> TransportType:
    return TransportType(
        schemes=(scheme,),
        summary=summary,
        options_schema={"type": "object", "additionalProperties": False, "properties": properties},
        feed_options_schema={"type": "object", "additionalProperties": False, "properties": _FEED_OPTIONS},
        secrets=("password", "token"),
        sends=False,
        build=build,
    )


TYPE = _type("imap", "Statuses and stock from attachments of e-mail, over verified TLS by STARTTLS", _IMAP_OPTIONS)
IMAPS_TYPE = _type(
    "imaps", "Statuses and stock from attachments of e-mail, over verified TLS from the first byte", _IMAPS_OPTIONS
)
