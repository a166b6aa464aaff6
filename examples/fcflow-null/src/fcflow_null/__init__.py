"""``null://name``: a partner that takes everything and ships nothing."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from attrs import define, field

from fcflow.errors import (
    TransportCorruptError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTooLargeError,
    TransportUnavailableError,
)
from fcflow.hookspecs import hookimpl
from fcflow.model import Feed, PartnerLimits
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

__all__ = ["TYPE", "NullPartner", "NullTransport", "build", "fcflow_transports"]

_UNFINISHED = (".part", ".tmp", ".filepart", ".writing", ".partial")


@define
class NullPartner:
    """What lies at the partner: (folder, name) to content. Shared by all transports to one name."""

    name: str
    is_away: bool = False
    files: dict[tuple[str, str], bytes] = field(factory=dict)

    def reached(self) -> dict[tuple[str, str], bytes]:
        """The files, if anybody is there."""
        if self.is_away:
            raise TransportUnavailableError(f"null://{self.name}: nobody answers")
        return self.files


partners: dict[str, NullPartner] = {}


@define
class NullTransport:
    """A `fcflow.transports.Transport`; nobody must inherit anything."""

    partner: NullPartner
    limits: PartnerLimits

    @property
    def capabilities(self) -> Capabilities:
        """Everything: a dictionary is easy."""
        return Capabilities(atomic_publish=True, verifies_size=True, looks_up=True, lists=True, settles=True)

    def send(self, delivery: Delivery) -> Receipt:
        """Publish by one assignment, which nobody sees half of."""
        place = _place(delivery.feed.path, delivery.name)
        files = self.partner.reached()
        there = files.get(place)
        if there not in (None, delivery.content):
            raise TransportRefusedError(f"null://{self.partner.name} {delivery.name}: other content is there")
        if there is None:
            delivery.publishing()
            files[place] = delivery.content
        files.pop(_place(delivery.feed.path, delivery.temporary_name), None)
        return Receipt(name=delivery.name, size=delivery.size)

    def look_up(self, delivery: Delivery) -> Presence:
        """Compare the content, not the name alone."""
        files = self.partner.reached()
        there = files.get(_place(delivery.feed.path, delivery.name))
        if there is not None:
            return Presence.PRESENT if there == delivery.content else Presence.UNKNOWN
        is_begun = _place(delivery.feed.path, delivery.temporary_name) in files
        return Presence.PARTLY if is_begun else Presence.ABSENT

    def list(self, feed: Feed, query: Query) -> Iterator[Offer]:
        """The token holds what fetching and settling need later, in another process."""
        folder, _ = _place(feed.path, "x")
        found = sorted((name, content) for (at, name), content in self.partner.reached().items() if at == folder)
        wanted = [(name, content) for name, content in found if _is_wanted(feed, name)]
        most = min(query.max_files, self.limits.max_files)
        return iter(
            [Offer(feed=feed, name=name, size=len(content), token=_digest(content)) for name, content in wanted[:most]]
        )

    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        """Take what was offered, or nothing."""
        content = self.partner.reached().get(_place(offer.feed.path, offer.name))
        if content is None:
            raise TransportNotFoundError(f"null://{self.partner.name} {offer.name}: it is gone")
        if _digest(content) != offer.token:
            raise TransportCorruptError(f"null://{self.partner.name} {offer.name}: it changed after it was listed")
        if len(content) > self.limits.max_bytes:
            most = self.limits.max_bytes
            raise TransportTooLargeError(f"null://{self.partner.name} {offer.name}: {len(content)} of {most} bytes")
        return Fetched(size=sink.write(content), sha256=_digest(content))

    def settle(self, offer: Offer, outcome: Outcome) -> None:
        """Put away what was taken; what changed meanwhile stays, what is gone is gone."""
        files = self.partner.reached()
        place = _place(offer.feed.path, offer.name)
        if offer.feed.after == "leave" or _digest(files.get(place, b"")) != offer.token:
            return
        content = files.pop(place)
        if outcome is Outcome.REFUSED or offer.feed.after == "archive":
            folder = offer.feed.archive if outcome is Outcome.APPLIED else offer.feed.failed
            files[self._free_place(f"{place[0]}/{folder}", offer.name)] = content

    def _free_place(self, folder: str, name: str) -> tuple[str, str]:
        numbers = iter(range(2, 1_000_000))
        free = name
        while (folder, free) in self.partner.files:
            free = f"{next(numbers)}-{name}"
        return folder, free

    def check(self) -> Sequence[Finding]:
        """A finding, never an error."""
        if self.partner.is_away:
            return [Finding(level="error", message=f"null://{self.partner.name}: nobody answers")]
        return [Finding(level="ok", message=f"null://{self.partner.name}: takes everything, ships nothing")]

    def close(self) -> None:
        """Nothing to let go of."""


def _place(path: str, name: str) -> tuple[str, str]:
    """Folder and name; both are refused where they could lead elsewhere."""
    parts = [part for part in path.split("/") if part]
    for part in (*parts, name):
        if part in ("", ".", "..") or len(part) > 255 or not part.isprintable() or "/" in part or "\\" in part:
            raise TransportRefusedError(f"{part!r} is no name of a file or folder")
    return "/".join(parts), name


def _is_wanted(feed: Feed, name: str) -> bool:
    is_finished = not name.startswith(".") and not name.lower().endswith(_UNFINISHED)
    return is_finished and fnmatch.fnmatchcase(name, feed.match)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def build(endpoint: Endpoint) -> NullTransport:
    """A transport to the partner that the URL names; nothing is connected before the first call."""
    name = endpoint.connection.url.partition("://")[2].strip("/")
    return NullTransport(partners.setdefault(name, NullPartner(name)), endpoint.limits)


TYPE = TransportType(
    schemes=("null",),
    summary="A partner that takes everything and ships nothing, for rehearsals",
    options_schema={"type": "object", "additionalProperties": False, "properties": {}},
    feed_options_schema={"type": "object", "additionalProperties": False, "properties": {}},
    build=build,
)


@hookimpl
def fcflow_transports() -> Iterable[TransportType]:
    """Offer the transport; fcflow finds this module by its entry point."""
    return [TYPE]
