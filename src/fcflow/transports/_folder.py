"""
What every transport to a folder does: publish, look up, list, fetch, settle.

A `FileServer` has the few primitive calls of one kind of server; `FolderTransport` makes the promises of
`fcflow.transports.base` out of them, the same way for all.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Protocol

from attrs import define, evolve, field, frozen

from fcflow.errors import (
    FcflowError,
    TransportCorruptError,
    TransportError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTooLargeError,
    TransportUnclearError,
    TransportUnsupportedError,
)
from fcflow.model import Feed, PartnerLimits
from fcflow.transports._limits import capped
from fcflow.transports._names import CLAIMED, UNFINISHED, archived_name, fault_of_name, joined, safe_folder, safe_name
from fcflow.transports.base import Capabilities, Delivery, Fetched, Finding, Offer, Outcome, Presence, Query, Receipt

__all__ = ["CONNECTION_OPTIONS", "FEED_OPTIONS", "Entry", "FileServer", "FolderTransport", "OneByOne", "Ways"]

_log = logging.getLogger("fcflow.transports")

_COMPARED = 8 * 1024 * 1024
_NO_ANSWER_LOST = (TransportRefusedError, TransportNotFoundError, TransportUnsupportedError)

CONNECTION_OPTIONS: Mapping[str, Any] = {
    "publish": {
        "enum": ["rename", "direct"],
        "default": "rename",
        "description": "How a file becomes visible: written under a temporary name and renamed, or, for a server that "
        "cannot rename, written under its final name at once. With direct a reader can see half a file.",
    },
    "verify": {
        "enum": ["size", "content", "none"],
        "default": "size",
        "description": "What is compared before a file becomes visible: its size at the partner, its whole content "
        "read back, or nothing, for a folder that can only be written to.",
    },
}

FEED_OPTIONS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "min_age_s": {
            "type": "number",
            "minimum": 0,
            "default": 0,
            "description": "Incoming: take a file only when it has not changed for so many seconds. 0 fits partners "
            "who rename finished files into place; others need more than their longest pause while writing.",
        },
        "done_marker": {
            "type": "string",
            "pattern": r"^[^/\\]*\{name\}[^/\\]*$|^[^/\\]*\{stem\}[^/\\]*$",
            "description": "Name of an empty file that says the file beside it is complete, such as {name}.done or "
            "{stem}.ok. Incoming: a file without its marker is not taken. Outgoing: written after the file.",
        },
        "lock_marker": {
            "type": "string",
            "pattern": r"^[^/\\]*\{name\}[^/\\]*$|^[^/\\]*\{stem\}[^/\\]*$",
            "description": "Incoming: name of a file that says somebody is still writing the file beside it, such as "
            "{name}.lck; that one is not taken while it lies there.",
        },
        "claim": {
            "type": "string",
            "pattern": "^[A-Za-z0-9-]{1,32}$",
            "description": "Incoming: name of this installation, where several take from one folder. A file is first "
            "renamed to {name}.{claim}.claimed, so that one of them gets it. Not for object stores, which cannot.",
        },
    },
}


@frozen(kw_only=True)
class Entry:
    """
    One thing in a folder.

    Args:
        size: Bytes, or ``None`` where the server does not say.

        modified_at: By the partner's clock, or ``None``.

        precision_s: How coarse *modified_at* is.

        is_file: A regular file; neither a folder nor a link nor anything else.

        mark: The server's own mark of the content, or ``None``.
    """

    name: str
    size: int | None = None
    modified_at: datetime | None = None
    precision_s: float = 1.0
    is_file: bool = True
    mark: str | None = None


@frozen(kw_only=True)
class Ways:
    """
    How a server is published to.

    Args:
        rename: Write under a temporary name and rename; else write the final name directly.

        atomic: Whoever reads a final name sees nothing or the whole content.

        verify: ``size``, ``content`` or ``none``.
    """

    rename: bool = True
    atomic: bool = True
    verify: str = "size"

    @classmethod
    def of(cls, option: Callable[..., Any]) -> Ways:
        """What the options of a connection say."""
        rename = option("publish", "rename") == "rename"
        return cls(rename=rename, atomic=rename, verify=option("verify", "size"))


class FileServer(Protocol):
    """
    The primitive calls of one kind of server. Paths are relative to its base folder.

    Every call raises `TransportError` only, and an error never looks like an answer.
    """

    @property
    def where(self) -> str:
        """The server as messages name it; no secret."""
        ...

    def within(self, timeout_s: float) -> AbstractContextManager[None]:
        """A deadline over all calls inside; also the moment to replace a dead connection."""
        ...

    def entries(self, folder: str) -> Sequence[Entry]:
        """Everything in *folder*; a folder that is not there raises `TransportNotFoundError`."""
        ...

    def stat(self, path: str, *, sure: bool = False) -> Entry | None:
        """What is at *path*; ``None`` where nothing is. *sure* spends another call to make certain of a ``None``."""
        ...

    def stats(self, *paths: str) -> Sequence[Entry | None]:
        """`stat` of several at once; `OneByOne` has it for servers that gain nothing by that."""
        ...

    def sha256(self, path: str) -> str | None:
        """The server's own hash of the file at *path*, in hex; ``None`` where it offers none."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Write *content* to *path*, over what is there."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give the file *old* the name *new*. The caller has seen that *new* is free."""
        ...

    def rename_and_look(self, old: str, new: str) -> Entry | None:
        """`rename`, and what is at *new* then; ``None`` where nothing is or where only that look failed."""
        ...

    def read(self, path: str, size: int | None) -> Iterator[bytes]:
        """The content of *path* in blocks; *size* is what it is expected to be."""
        ...

    def remove(self, path: str) -> None:
        """Remove the file at *path*; nothing there raises `TransportNotFoundError`."""
        ...

    def make_folder(self, path: str) -> None:
        """Make the folder; harmless where it is there."""
        ...

    def findings(self) -> Iterable[Finding]:
        """What there is to say about this connection, once it is open."""
        ...

    def close(self) -> None:
        """Let go of the connection; harmless twice."""
        ...


class OneByOne:
    """The calls of a `FileServer` that do several things at once, done one after the other."""

    stat: Any
    rename: Any

    def stats(self, *paths: str) -> Sequence[Entry | None]:
        """`stat` of each."""
        return [self.stat(path) for path in paths]

    def sha256(self, path: str) -> str | None:
        """Such servers offer none."""
        return None

    def rename_and_look(self, old: str, new: str) -> Entry | None:
        """Only the rename can fail."""
        self.rename(old, new)
        with contextlib.suppress(TransportError):
            return self.stat(new)  # type: ignore[no-any-return]
        return None


@define
class _Sight:
    """A file as it was seen at an earlier look."""

    size: int | None
    modified_at: datetime | None
    since: float


def _utc_now() -> datetime:
    return datetime.now(UTC)


@define(kw_only=True)
class FolderTransport:
    """
    A `Transport` over a `FileServer`.

    Args:
        now: The clock that ages are measured with.

        monotonic: The clock that looks are told apart with.
    """

    server: FileServer
    limits: PartnerLimits = field(factory=PartnerLimits)
    ways: Ways = field(factory=Ways)
    now: Callable[[], datetime] = _utc_now
    monotonic: Callable[[], float] = time.monotonic
    _seen: dict[str, _Sight] = field(factory=dict, init=False)
    _made: set[str] = field(factory=set, init=False)
    _refused_names: dict[str, str] = field(factory=dict, init=False)

    @property
    def capabilities(self) -> Capabilities:
        """What the ways of this connection promise."""
        looks = self.ways.verify != "none"
        return Capabilities(
            atomic_publish=self.ways.atomic, verifies_size=looks, looks_up=looks, lists=True, settles=True
        )

    def sibling(self) -> FolderTransport | None:
        """Another transport that shares the connection, where such servers can; for another thread."""
        share = getattr(self.server, "sibling", None)
        return None if share is None else evolve(self, server=share())

    # ------------------------------------------------------------------ out

    def send(self, delivery: Delivery) -> Receipt:
        """Publish *delivery*: whole or not at all. Sending the same one again is harmless."""
        path = joined(safe_folder(delivery.feed.path), safe_name(delivery.name))
        with self.server.within(self.limits.timeout_s):
            if self.ways.rename:
                self._publish_by_rename(delivery, path)
            else:
                self._publish_directly(delivery, path)
        return Receipt(name=delivery.name, size=delivery.size)

    def _publish_by_rename(self, delivery: Delivery, path: str) -> None:
        temporary = joined(safe_folder(delivery.feed.path), delivery.temporary_name)
        self.server.write(temporary, delivery.content)
        if self._is_free(delivery, temporary, path):
            delivery.publishing()
            self._rename(delivery, temporary, path)
        else:
            self._remove_quietly(temporary)
        self._mark_done(delivery, path)

    def _is_free(self, delivery: Delivery, temporary: str, path: str) -> bool:
        """Whether the final name is free for what was written whole; not where our own content has it already."""
        if self.ways.verify == "none":
            return True
        written, there = self.server.stats(temporary, path)
        try:
            self._compare(delivery, temporary, written)
            if there is not None and not self._is_mine(delivery, path, there):
                raise TransportRefusedError(f"{self._at(path)}: other content is there, nothing was overwritten")
        except (TransportCorruptError, TransportRefusedError):
            self._remove_quietly(temporary)
            raise
        return there is None

    def _compare(self, delivery: Delivery, path: str, found: Entry | None) -> None:
        found = found or self.server.stat(path, sure=True)
        size = None if found is None else found.size
        if size != delivery.size:
            got = "nothing" if found is None else f"{size} bytes"
            raise TransportCorruptError(f"{self._at(path)}: expected {delivery.size} bytes, got {got}")
        if self.ways.verify == "content" and self._digest(path, delivery.size) != delivery.sha256:
            raise TransportCorruptError(f"{self._at(path)}: the content read back is not what was sent")
        said = self.server.sha256(path) if self.ways.verify == "size" else None
        if said is not None and said != delivery.sha256:
            raise TransportCorruptError(f"{self._at(path)}: the server's hash is not that of what was sent")

    def _rename(self, delivery: Delivery, temporary: str, path: str) -> None:
        lost = f"{self._at(path)}: the answer to the rename was lost"
        try:
            with _unclear_if_lost(lost):
                self._put_in_place(delivery, temporary, path)
        except _NO_ANSWER_LOST:
            if not self._is_there(delivery, path, lost):
                raise

    def _put_in_place(self, delivery: Delivery, temporary: str, path: str) -> None:
        """Once it was answered only a size that differs can cast doubt on it: a partner may collect at once."""
        if self.ways.verify == "none":
            self.server.rename(temporary, path)
            return
        found = self.server.rename_and_look(temporary, path)
        if found is not None and found.size not in (None, delivery.size):
            message = f"{self._at(path)}: published, but expected {delivery.size} bytes, got {found.size}"
            raise TransportUnclearError(message)

    def _is_there(self, delivery: Delivery, path: str, lost: str) -> bool:
        """After a refused rename: a twin of ours may have been faster."""
        with _unclear_if_lost(lost):
            found = self.server.stat(path, sure=True)
            return found is not None and self._is_mine(delivery, path, found)

    def _confirm(self, delivery: Delivery, path: str) -> None:
        """The rename was answered; only a size that differs can cast doubt on it, a partner may collect at once."""
        if self.ways.verify == "none":
            return
        found = None
        with contextlib.suppress(TransportError):
            found = self.server.stat(path)
        if found is not None and found.size not in (None, delivery.size):
            message = f"{self._at(path)}: published, but expected {delivery.size} bytes, got {found.size}"
            raise TransportUnclearError(message)

    def _publish_directly(self, delivery: Delivery, path: str) -> None:
        if self.ways.verify == "none" or not self._already_whole(delivery, path):
            delivery.publishing()
            with _unclear_if_lost(f"{self._at(path)}: the upload was cut"):
                self.server.write(path, delivery.content)
            with _unclear_if_lost(f"{self._at(path)}: written, but it could not be looked at"):
                self._compare_visible(delivery, path)
        self._mark_done(delivery, path)

    def _compare_visible(self, delivery: Delivery, path: str) -> None:
        if self.ways.verify == "none":
            return
        try:
            self._compare(delivery, path, None)
        except TransportCorruptError as error:
            raise TransportUnclearError(f"{error}; it is visible to the partner") from error

    def _already_whole(self, delivery: Delivery, path: str) -> bool:
        found = self.server.stat(path)
        if found is None:
            return False
        if self._is_mine(delivery, path, found):
            return True
        if self._is_beginning(delivery, path, found):
            return False
        raise TransportRefusedError(f"{self._at(path)}: other content is there, nothing was overwritten")

    def _mark_done(self, delivery: Delivery, path: str) -> None:
        marker = _marker_name(delivery.feed, delivery.name)
        if marker is None:
            return
        try:
            self.server.write(joined(safe_folder(delivery.feed.path), marker), b"")
        except TransportError as error:
            message = f"{self._at(path)}: published, but its marker {marker!r} may be missing: {error}"
            raise TransportUnclearError(message) from error

    def _is_mine(self, delivery: Delivery, path: str, found: Entry) -> bool:
        """Size and content agree; where reading is forbidden or dear, the size alone decides."""
        if not found.is_file or found.size not in (None, delivery.size):
            return False
        if found.size is not None and delivery.size > _COMPARED:
            return True
        try:
            return self._digest(path, delivery.size) == delivery.sha256
        except _NO_ANSWER_LOST:
            return found.size is not None

    def _is_beginning(self, delivery: Delivery, path: str, found: Entry) -> bool:
        if found.size is None or found.size >= delivery.size:
            return False
        content = b"".join(capped(self.server.read(path, found.size), delivery.size, self._at(path)))
        return delivery.content.startswith(content)

    def _digest(self, path: str, size: int) -> str:
        digest = hashlib.sha256()
        for block in capped(self.server.read(path, size), max(size, 1), self._at(path)):
            digest.update(block)
        return digest.hexdigest()

    def _remove_quietly(self, path: str) -> None:
        with contextlib.suppress(TransportError):
            self.server.remove(path)

    def look_up(self, delivery: Delivery) -> Presence:
        """Whether *delivery* is at the partner."""
        if self.ways.verify == "none":
            return Presence.UNKNOWN
        folder = safe_folder(delivery.feed.path)
        path = joined(folder, safe_name(delivery.name))
        with self.server.within(self.limits.timeout_s):
            found = self.server.stat(path, sure=True)
            if found is None and self.server.stat(joined(folder, delivery.temporary_name), sure=True) is not None:
                return Presence.PARTLY
            # It may have been renamed between the two looks.
            found = found or self.server.stat(path, sure=True)
            return Presence.ABSENT if found is None else self._presence(delivery, path, found)

    def _presence(self, delivery: Delivery, path: str, found: Entry) -> Presence:
        if self._is_mine(delivery, path, found):
            return self._marked(delivery)
        if not self.ways.rename and self._is_beginning(delivery, path, found):
            return Presence.PARTLY
        return Presence.UNKNOWN

    def _marked(self, delivery: Delivery) -> Presence:
        marker = _marker_name(delivery.feed, delivery.name)
        if marker is None:
            return Presence.PRESENT
        found = self.server.stat(joined(safe_folder(delivery.feed.path), marker), sure=True)
        return Presence.PARTLY if found is None else Presence.PRESENT

    # ------------------------------------------------------------------ in

    def list(self, feed: Feed, query: Query) -> Iterator[Offer]:
        """Complete files of *feed*, oldest first; one listing, made before this returns."""
        folder = safe_folder(feed.path)
        self._check_claim(feed)
        with self.server.within(self.limits.timeout_s):
            entries = self.server.entries(folder)
        files = [entry for entry in entries if entry.is_file and self._is_named_well(folder, entry.name)]
        mine = [entry for entry in files if _claimed_name(feed, entry.name) is not None]
        names = {_claimed_name(feed, entry.name) for entry in mine}
        chosen = [entry for entry in _belonging(feed, files) if entry.name not in names]
        complete = [*mine, *(entry for entry in chosen if self._is_complete(feed, folder, entry))]
        complete.sort(key=lambda entry: (entry.modified_at or datetime.min.replace(tzinfo=UTC), entry.name))
        # Files that are left there were taken already: they must not keep new ones from being seen.
        most = None if feed.after == "leave" else min(query.max_files, self.limits.max_files)
        return iter([_offer(feed, folder, entry) for entry in complete[:most]])

    def _check_claim(self, feed: Feed) -> None:
        if feed.options.get("claim") is not None and not self.ways.rename:
            raise TransportUnsupportedError(f"{self.server.where}: nothing is renamed here, so nothing can be claimed")

    def _is_named_well(self, folder: str, name: str) -> bool:
        fault = fault_of_name(name)
        if fault is None:
            return True
        if name not in self._refused_names and len(self._refused_names) < self.limits.max_files:
            self._refused_names[name] = f"{self._at(folder)}: the file {name!r} is not taken: {fault}"
            _log.warning("%s", self._refused_names[name])
        return False

    def _is_complete(self, feed: Feed, folder: str, entry: Entry) -> bool:
        """Old enough by the partner's clock; where that clock is silent or ahead, unchanged for as long by ours."""
        least = float(feed.options.get("min_age_s", 0))
        if least <= 0:
            return True
        if entry.modified_at is not None:
            age = self.now() - entry.modified_at - timedelta(seconds=entry.precision_s)
            if age >= timedelta(seconds=least):
                return True
        return self._unchanged_for(joined(folder, entry.name), entry) >= least

    def _unchanged_for(self, path: str, entry: Entry) -> float:
        before = self._seen.get(path)
        if before is None or (before.size, before.modified_at) != (entry.size, entry.modified_at):
            self._seen[path] = before = _Sight(entry.size, entry.modified_at, self.monotonic())
        return self.monotonic() - before.since

    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        """Write the whole content into *sink*; its size before, after and as received must be one."""
        path, size, _ = self._token(offer)
        self._refuse_large(path, size)
        with self.server.within(self.limits.timeout_s):
            path = self._claimed(offer.feed, path)
            before = self._stat_for_fetch(path, size)
            fetched = self._copy(path, before.size, sink)
            after = self.server.stat(path)
            said = self.server.sha256(path)
        if before.size not in (None, fetched.size):
            raise TransportCorruptError(f"{self._at(path)}: expected {before.size} bytes, got {fetched.size}")
        if after is None or (after.size, after.modified_at) != (before.size, before.modified_at):
            raise TransportCorruptError(f"{self._at(path)}: it changed while it was read")
        if said not in (None, fetched.sha256):
            raise TransportCorruptError(f"{self._at(path)}: the server's hash is not that of what was received")
        return fetched

    def _claimed(self, feed: Feed, path: str) -> str:
        """The path of a file once it is ours; where several take from one folder, all but one find it gone."""
        claimed = _claim_path(feed, path)
        if claimed == path or self.server.stat(claimed, sure=True) is not None:
            # Looked at first, as on some servers a rename replaces what is there.
            return claimed
        try:
            self.server.rename(path, claimed)
        except TransportNotFoundError:
            raise TransportNotFoundError(f"{self._at(path)}: another installation has taken it") from None
        return claimed

    def _stat_for_fetch(self, path: str, offered: int | None) -> Entry:
        found = self.server.stat(path)
        if found is None:
            raise TransportNotFoundError(f"{self._at(path)}: the file is gone")
        if offered is not None and found.size is not None and found.size != offered:
            raise TransportCorruptError(f"{self._at(path)}: expected {offered} bytes as listed, got {found.size}")
        self._refuse_large(path, found.size)
        return found

    def _refuse_large(self, path: str, size: int | None) -> None:
        if size is not None and size > self.limits.max_bytes:
            most = self.limits.max_bytes
            raise TransportTooLargeError(f"{self._at(path)}: expected at most {most} bytes, got {size}")

    def _copy(self, path: str, size: int | None, sink: BinaryIO) -> Fetched:
        digest, count = hashlib.sha256(), 0
        for block in capped(self.server.read(path, size), self.limits.max_bytes, self._at(path)):
            count += len(block)
            if size is not None and count > size:
                raise TransportCorruptError(f"{self._at(path)}: expected {size} bytes, got more")
            sink.write(block)
            digest.update(block)
        return Fetched(size=count, sha256=digest.hexdigest())

    def settle(self, offer: Offer, outcome: Outcome) -> None:
        """
        Archive, delete or leave what was taken; harmless where it was settled before.

        A file that changed after it was offered stays: its new content will be offered.
        """
        if offer.feed.after == "leave":
            return
        path, size, modified_at = self._token(offer)
        with self.server.within(self.limits.timeout_s):
            path = _claim_path(offer.feed, path)
            found = self.server.stat(path, sure=True)
            if found is not None and _differs(found, size, modified_at):
                _log.warning("%s: it changed after it was taken, so it stays", self._at(path))
                return
            if found is not None:
                self._put_away(offer, path, outcome)
            self._unmark(offer)

    def _put_away(self, offer: Offer, path: str, outcome: Outcome) -> None:
        if outcome is Outcome.APPLIED and offer.feed.after == "delete":
            with contextlib.suppress(TransportNotFoundError):
                self.server.remove(path)
            return
        folder = self._made_folder(offer.feed, outcome)
        with contextlib.suppress(TransportNotFoundError):
            self.server.rename(path, self._free_path(folder, offer))

    def _made_folder(self, feed: Feed, outcome: Outcome) -> str:
        name = feed.archive if outcome is Outcome.APPLIED else feed.failed
        folder = safe_folder(name) if name.startswith("/") else joined(safe_folder(feed.path), safe_folder(name))
        if folder not in self._made:
            self.server.make_folder(folder)
            self._made.add(folder)
        return folder

    def _free_path(self, folder: str, offer: Offer) -> str:
        for attempt in range(100):
            path = joined(folder, archived_name(offer.name, self.now(), attempt))
            if self.server.stat(path) is None:
                return path
        raise TransportRefusedError(f"{self._at(folder)}: no free name for {offer.name!r}")

    def _unmark(self, offer: Offer) -> None:
        marker = _marker_name(offer.feed, offer.name)
        if marker is not None:
            with contextlib.suppress(TransportNotFoundError):
                self.server.remove(joined(safe_folder(offer.feed.path), marker))

    def _token(self, offer: Offer) -> tuple[str, int | None, datetime | None]:
        try:
            data = json.loads(offer.token)
            folder, name, size, modified = (data[key] for key in ("folder", "name", "size", "modified_at"))
            when = None if modified is None else datetime.fromisoformat(modified)
        except (ValueError, KeyError, TypeError) as error:
            raise TransportError(f"{self.server.where}: token {offer.token!r} is not one of ours") from error
        return joined(safe_folder(folder), safe_name(name)), size, when

    # ------------------------------------------------------------------ about

    def check(self) -> Sequence[Finding]:
        """Open the connection and look into its base folder; changes nothing."""
        try:
            with self.server.within(self.limits.timeout_s):
                count = len(self.server.entries(""))
            first = Finding(level="ok", message=f"{self.server.where}: reached, {count} entries in the folder")
            return [first, *self.server.findings(), *self._warnings()]
        except FcflowError as error:
            return [Finding(level="error", message=str(error), code=error.code)]

    def _warnings(self) -> Iterator[Finding]:
        if not self.ways.atomic:
            message = f"{self.server.where}: a reader can see half a file, as it is not renamed into place"
            yield Finding(level="warning", message=message, code="transport.not_atomic")
        if self.ways.verify == "none":
            message = f"{self.server.where}: sizes are not compared, so a short upload goes unseen"
            yield Finding(level="warning", message=message, code="transport.not_verified")
        for message in self._refused_names.values():
            yield Finding(level="warning", message=message, code="transport.name")

    def close(self) -> None:
        """Let go of the connection; harmless twice."""
        self.server.close()

    def _at(self, path: str) -> str:
        return f"{self.server.where} {path or '.'}"


@contextlib.contextmanager
def _unclear_if_lost(message: str) -> Iterator[None]:
    """After publishing began, an error that is not the server's own answer leaves the outcome open."""
    try:
        yield
    except (TransportUnclearError, *_NO_ANSWER_LOST):
        raise
    except TransportError as error:
        raise TransportUnclearError(f"{message}: {error}") from error


def _claim_path(feed: Feed, path: str) -> str:
    """Where a file lies once it is ours."""
    claim = feed.options.get("claim")
    if claim is None or path.endswith(ending := f".{claim}{CLAIMED}"):
        return path
    return f"{path}{ending}"


def _claimed_name(feed: Feed, name: str) -> str | None:
    """The own name of a file that is ours; ``None`` of any other."""
    claim = feed.options.get("claim")
    if claim is None:
        return None
    own = name.removesuffix(f".{claim}{CLAIMED}")
    return own if own != name and _is_wanted(feed, own) else None


def _marker_name(feed: Feed, name: str, option: str = "done_marker") -> str | None:
    template = feed.options.get(option)
    if template is None:
        return None
    stem = name.rpartition(".")[0] or name
    return safe_name(template.replace("{name}", name).replace("{stem}", stem))


def _belonging(feed: Feed, files: Sequence[Entry]) -> Sequence[Entry]:
    """The files that the feed asks for and nobody is still writing; with a done marker only those that have it."""
    names = {entry.name for entry in files}
    locks = {_marker_name(feed, entry.name, "lock_marker") for entry in files}
    wanted = [
        entry
        for entry in files
        if _is_wanted(feed, entry.name)
        and _marker_name(feed, entry.name, "lock_marker") not in names
        and entry.name not in locks
    ]
    if feed.options.get("done_marker") is None:
        return wanted
    markers = {entry.name: _marker_name(feed, entry.name) for entry in files}
    own = {marker for name, marker in markers.items() if marker != name}
    return [
        entry
        for entry in wanted
        if entry.name not in own and markers[entry.name] in names and markers[entry.name] != entry.name
    ]


def _is_wanted(feed: Feed, name: str) -> bool:
    if name.startswith(".") or name.lower().endswith(UNFINISHED):
        return False
    return fnmatch.fnmatchcase(name, feed.match)


def _offer(feed: Feed, folder: str, entry: Entry) -> Offer:
    modified = None if entry.modified_at is None else entry.modified_at.isoformat()
    token = json.dumps({"folder": folder, "name": entry.name, "size": entry.size, "modified_at": modified})
    name = _claimed_name(feed, entry.name) or entry.name
    return Offer(feed=feed, name=name, size=entry.size, modified_at=entry.modified_at, etag=entry.mark, token=token)


def _differs(found: Entry, size: int | None, modified_at: datetime | None) -> bool:
    if size is not None and found.size is not None and found.size != size:
        return True
    if modified_at is None or found.modified_at is None:
        return False
    return abs(found.modified_at - modified_at) > timedelta(seconds=found.precision_s)
