"""
What a transport is: the protocol, the values that cross it, and how one is registered.

A transport moves bytes between us and one partner's server. It knows nothing of orders, layouts or the store. It is
opened for one connection, used by one thread at a time, and closed.

The promises that every transport keeps, tested by `fcflow.testing.TransportContract`:

* a delivery arrives byte for byte, whole or not at all, under its name;
* `Delivery.publishing` is called once, right before the content can become visible to the partner;
* an error before that call means *not published*; after it, `TransportUnclearError` unless the outcome is certain;
* the same delivery sent twice leaves one file;
* a failed look is an error, never an empty answer;
* an offer that was not settled is offered again, a settled one is not;
* errors are `TransportError`; no secret shows in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from attrs import field, frozen
from immutabledict import immutabledict

from fcflow.model import Connection, Feed, PartnerLimits

__all__ = [
    "Capabilities",
    "Delivery",
    "Endpoint",
    "Fetched",
    "Finding",
    "Offer",
    "OpenFulfilment",
    "Outcome",
    "Presence",
    "Query",
    "Receipt",
    "Transport",
    "TransportType",
]


@frozen(kw_only=True)
class Capabilities:
    """
    What the partner's server can do, found out, not assumed.

    Args:
        atomic_publish: Whoever reads a final name sees nothing or the whole content.

        verifies_size: The size at the partner is compared before a delivery becomes visible.

        looks_up: `Transport.look_up` can tell present from absent.

        lists: `Transport.list` shows what lies there by itself (a folder), rather than asking for it (a URL).

        settles: A taken file can be archived or deleted.

        sends: `Transport.send` is there; a mailbox that is only read has none.

        receives: `Transport.list` and `Transport.fetch` are there; a way that only leads out has neither.
    """

    atomic_publish: bool
    verifies_size: bool
    looks_up: bool
    lists: bool
    settles: bool
    sends: bool = True
    receives: bool = True


def _tuple(value: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value)


def _nothing() -> None:
    """The default of `Delivery.publishing`."""


@frozen(kw_only=True)
class Delivery:
    """
    One indivisible publish: one file, or one post.

    Args:
        key: Minted once and kept over every attempt; the idempotency key of a post.

        name: The final name; already safe on every server.

        fulfilment_ids: What is in it.

        publishing: Call it once, right before the content can become visible.

    Example:
        >>> feed = Feed(kind="orders", partner="leeds", layout="canonical")
        >>> Delivery(key="k-1", feed=feed, name="orders-1.csv", content=b"A1\\n").size
        3
    """

    key: str
    feed: Feed
    name: str
    content: bytes = field(repr=False)
    content_type: str = "application/octet-stream"
    fulfilment_ids: tuple[str, ...] = field(default=(), converter=_tuple)
    publishing: Callable[[], None] = field(default=_nothing, eq=False, repr=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content)

    @property
    def sha256(self) -> str:
        """Of the content, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def temporary_name(self) -> str:
        """Where the content is put together before it is published; the same at every attempt."""
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:8]
        return f"{self.name}.{digest}.part"


@frozen(kw_only=True)
class Receipt:
    """
    The partner has it.

    Args:
        answer: What the partner said, shortened to 2,000 characters; ``None`` where servers of this kind say nothing.
    """

    name: str
    size: int
    answer: str | None = None


class Presence(StrEnum):
    """What a look for a delivery found."""

    PRESENT = "present"
    PARTLY = "partly"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class OpenFulfilment:
    """A fulfilment order that the partner has and has not finished; a URL may ask for each."""

    fulfilment_id: str
    order_id: str
    reference: str | None = None
    sent_at: datetime | None = None


@frozen(kw_only=True)
class Query:
    """
    What a listing may need to ask.

    Args:
        open: Sent and not finished.

        since: Instant of the last successful look, or ``None`` at the first.

        max_files: Offers wanted at most.
    """

    open: tuple[OpenFulfilment, ...] = field(default=(), converter=_tuple)
    since: datetime | None = None
    max_files: int = 1000


@frozen(kw_only=True)
class Offer:
    """
    Something that could be taken.

    Args:
        size: Bytes, or ``None`` where only fetching tells.

        modified_at: By the partner's clock, or ``None``.

        etag: The server's own mark of this content, or ``None``.

        token: Text that is enough to fetch and settle it later, in another process.

        unless: The `Fetched.etag` of what was taken from the same place before, or ``None``: a transport that can ask
            *unless it is still that* may answer with zero bytes.
    """

    feed: Feed
    name: str
    size: int | None = None
    modified_at: datetime | None = None
    etag: str | None = None
    token: str
    unless: str | None = None


@frozen(kw_only=True)
class Fetched:
    """What was taken: its size in bytes, SHA-256 in hex, and the server's mark of it where only fetching told."""

    size: int
    sha256: str
    etag: str | None = None


class Outcome(StrEnum):
    """What became of an offer: ``applied`` follows the feed's ``after``, ``refused`` goes to its ``failed`` folder."""

    APPLIED = "applied"
    REFUSED = "refused"


@frozen(kw_only=True)
class Finding:
    """What a check of a connection found; *level* is ``ok``, ``warning`` or ``error``."""

    level: str
    message: str
    code: str = ""


@runtime_checkable
class Transport(Protocol):
    """The way in to one partner's server."""

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do."""
        ...

    def send(self, delivery: Delivery) -> Receipt:
        """Publish *delivery*: whole or not at all. Sending the same one again is harmless."""
        ...

    def look_up(self, delivery: Delivery) -> Presence:
        """Whether *delivery* is at the partner: whole, partly (its temporary name), absent, or cannot be known."""
        ...

    def list(self, feed: Feed, query: Query) -> Iterator[Offer]:
        """What could be taken for *feed*; complete files only. A failed look raises."""
        ...

    def fetch(self, offer: Offer, sink: BinaryIO) -> Fetched:
        """Write the whole content into *sink*; raises `TransportCorruptError` where it is not what was offered."""
        ...

    def settle(self, offer: Offer, outcome: Outcome) -> None:
        """Archive, delete or leave what was taken; harmless where it was settled before."""
        ...

    def check(self) -> Sequence[Finding]:
        """Try the way in without changing anything; never raises `TransportError`."""
        ...

    def close(self) -> None:
        """Let go of connections; harmless twice."""
        ...


@frozen(kw_only=True)
class Endpoint:
    """
    What a transport is built from.

    Args:
        base: Relative local paths are below it.

        resolve: Turns a secret reference into the secret; called as late as possible.

    Raises:
        SecretError: From `secret`, for a reference that stands for nothing.
    """

    partner: str
    connection: Connection
    limits: PartnerLimits = field(factory=PartnerLimits)
    base: Path = field(factory=Path.cwd)
    resolve: Callable[[Mapping[str, Any]], str] = field(repr=False, eq=False)

    def secret(self, name: str) -> str | None:
        """The secret called *name*, or ``None`` where the connection has none."""
        reference = self.connection.secrets.get(name)
        return None if reference is None else self.resolve(reference)

    def option(self, name: str, default: Any = None) -> Any:
        """An option of the connection."""
        return self.connection.options.get(name, default)


@frozen(kw_only=True)
class TransportType:
    """
    How a transport is registered: frozen data and one function.

    Args:
        schemes: URL schemes it serves; two plugins for one scheme are an error.

        options_schema: JSON Schema of a connection's ``options``.

        feed_options_schema: JSON Schema of a feed's ``options``.

        secrets: Names of the secrets it knows.

        sends: Whether orders can leave by it; *receives*, whether statuses and stock can come in. A feed that asks for
            more is a fault of the configuration.

        extra: The extra of fcflow that it needs, or ``None``.
    """

    schemes: tuple[str, ...] = field(converter=_tuple)
    summary: str
    options_schema: Mapping[str, Any] = field(factory=immutabledict)
    feed_options_schema: Mapping[str, Any] = field(factory=immutabledict)
    secrets: tuple[str, ...] = field(default=(), converter=_tuple)
    sends: bool = True
    receives: bool = True
    extra: str | None = None
    build: Callable[[Endpoint], Transport] = field(eq=False)
