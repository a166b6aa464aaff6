"""What would keep a run from working, found before the first order waits for it."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from fcflow.errors import FcflowError, PluginError, TransportNotFoundError
from fcflow.model import Feed, FeedKind, Partner
from fcflow.phases.context import ENDS_THE_PROCESS, LOG, Context, describe, unexpected
from fcflow.phases.push import is_dated
from fcflow.transports import Finding, Query, Transport

__all__ = ["check_partner"]


def check_partner(context: Context, partner: Partner, *, connect: bool) -> Iterator[Finding]:
    """
    Look whether *partner* can be worked with; nothing is changed there.

    Args:
        connect: Also try every way in, and look into the folders of the feeds.
    """
    faults = [*_missing_secrets(context, partner), *_without_transport(context, partner)]
    yield from _pushes(partner)
    yield from faults or [Finding(level="ok", message=f"partner {partner.code} is set up")]
    if connect and not faults:
        for name in partner.connections:
            yield from _contained(partner, name, _way_in(context, partner, name))


def _contained(partner: Partner, name: str, found: Iterator[Finding]) -> Iterator[Finding]:
    """What a plugin raises against its word is a finding, and the other partners are looked at."""
    try:
        yield from found
    except (FcflowError, *ENDS_THE_PROCESS):
        raise
    except BaseException as error:  # noqa: BLE001 - of a plugin, and logged
        LOG.exception("%s, connection %s: the check failed", partner.code, name)
        message = f"partner {partner.code}, connection {name}: {unexpected(error)}"
        yield Finding(level="error", code=PluginError.code, message=message)


def _missing_secrets(context: Context, partner: Partner) -> Iterator[Finding]:
    named = [each for connection in partner.connections.values() for each in connection.secrets.items()]
    for feed in partner.feeds:
        named += [(f"of the {feed.kind} push", each) for each in (feed.push.secrets if feed.push else ())]
    for name, reference in named:
        try:
            context.plugins.resolve_secret(reference, context.base)
        except FcflowError as error:
            message = f"partner {partner.code}: secret {name}: {error}"
            yield Finding(level="error", code=error.code, message=message)


def _pushes(partner: Partner) -> Iterator[Finding]:
    """Who sees a push with neither a signed instant nor an id can send it again later, and nobody can tell."""
    for feed in partner.feeds:
        if feed.push is not None and feed.push.id_header is None and not is_dated(feed.push):
            where = f"{partner.code}, {feed.kind} feed"
            yield Finding(level="warning", message=f"{where}: an old push that comes again is taken for a new one")


def _without_transport(context: Context, partner: Partner) -> Iterator[Finding]:
    """Transports are built without connecting: a package or an option that is missing shows now."""
    for name in partner.connections:
        yield from _contained(partner, name, _built(context, partner, name))


def _built(context: Context, partner: Partner, name: str) -> Iterator[Finding]:
    try:
        context.open(partner, name).close()
    except FcflowError as error:
        message = f"partner {partner.code}, connection {name}: {describe(error)}"
        yield Finding(level="error", code=error.code, message=message)


def _way_in(context: Context, partner: Partner, name: str) -> Iterator[Finding]:
    where = f"{partner.code}, connection {name}"
    transport = context.open(partner, name)
    try:
        found = [*transport.check()]
        yield from (evolve(each, message=f"{where}: {each.message}") for each in found)
        if transport.capabilities.lists and all(each.level != "error" for each in found):
            for feed in partner.feeds:
                if feed.connection == name and feed.is_polled:
                    yield from _folder(partner, feed, transport)
    finally:
        transport.close()


def _folder(partner: Partner, feed: Feed, transport: Transport) -> Iterator[Finding]:
    """
    A look into the folder of a feed.

    Many servers let us write where we may not look, so only a folder that is not there counts against the orders feed;
    even that is no fault where the transport makes it.
    """
    where = f"{partner.code}, {feed.kind} feed"
    try:
        waiting = len(list(transport.list(feed, Query())))
    except FcflowError as error:
        if feed.kind is not FeedKind.ORDERS or _is_never_there(partner, feed, error):
            yield Finding(level="error", code=error.code, message=f"{where}: {describe(error)}")
        return
    if feed.kind is not FeedKind.ORDERS:
        files = "1 file waits" if waiting == 1 else f"{waiting} files wait"
        yield Finding(level="ok", message=f"{where}: {files} in {feed.path or '.'}")


def _is_never_there(partner: Partner, feed: Feed, error: FcflowError) -> bool:
    made = bool(partner.connections[feed.connection].options.get("create"))
    return isinstance(error, TransportNotFoundError) and not made
