"""
``imap://`` and ``imaps://``: statuses and stock from the attachments of e-mail.

An offer is an attachment: its token names the folder, the folder's UIDVALIDITY, the message and the part. Looking
marks nothing as read. Whoever may write to the mailbox can send a message, so a feed names whom it takes files from.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from attrs import define, field, frozen

from fcflow.errors import (
    FcflowError,
    TransportCorruptError,
    TransportError,
    TransportNotFoundError,
    TransportTooLargeError,
    TransportUnsupportedError,
)
from fcflow.model import Feed, FeedKind
from fcflow.transports._address import address_of
from fcflow.transports._imapclient import (
    quoted,
)
from fcflow.transports._imapserver import MONTHS, PIECE, ImapMessage, ImapServer
from fcflow.transports._limits import capped
from fcflow.transports._mime import Attachment, decoder_of
from fcflow.transports._names import UNFINISHED, fault_of_name, joined, safe_folder
from fcflow.transports._tls import TLS_OPTIONS
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
_LEAST_DECODED = 0.7
"""Of base64 with its line ends at least so much is content."""
_KEYWORD = re.compile(r"fcflow-(applied|refused)-([0-9.]+)")
_SYSTEM_FLAGS = {"\\Seen": "UNSEEN", "\\Flagged": "UNFLAGGED", "\\Answered": "UNANSWERED"}


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
            words += ["SINCE", f"{first.day}-{MONTHS[first.month - 1].title()}-{first.year}"]
        return [*words, *self._search_from()]

    def _search_from(self) -> list[str]:
        allowed = self._from
        if not allowed or len(allowed) > 5 or not all(each.isascii() for each in allowed):
            return []
        return [*["OR"] * (len(allowed) - 1), *(word for each in allowed for word in ("FROM", quoted(each)))]

    def takes(self, message: ImapMessage) -> bool:
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

    server: ImapServer
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

    def _of_message(self, wish: _Wish, folder: str, validity: int, message: ImapMessage) -> Iterator[Offer]:
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

    def _is_good(self, wish: _Wish, folder: str, message: ImapMessage, each: Attachment) -> bool:
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

    def _note(self, folder: str, message: ImapMessage, text: str) -> None:
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
            ended = len(piece) < PIECE and start == token.octets
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
    return ImapTransport(server=ImapServer(endpoint, address))


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
