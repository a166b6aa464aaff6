"""What a JSON Schema cannot say of a configuration: names that must exist, options, secrets, one-to-one tables."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import combinations
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from fcflow.config.schema import add_schema_faults, is_secret_name
from fcflow.formats.acknowledgements import ACKNOWLEDGED
from fcflow.formats.names import ORDER_TAG, name_faults, render_name
from fcflow.model import Alias, Connection, Feed, FeedKind, Location, LocationKind, Partner, Status
from fcflow.secrets import KINDS

if TYPE_CHECKING:
    from fcflow.config.build import Loader
    from fcflow.rules.faults import Path
    from fcflow.transports.base import TransportType

__all__ = [
    "check_aliases",
    "check_connection",
    "check_feed_options",
    "check_folders",
    "check_locations",
    "check_name_template",
    "check_partner_of",
    "check_push",
    "check_reply",
    "check_shared_folders",
    "check_status_words",
    "check_zone",
]


# ------------------------------------------------------------------ connections


def check_connection(loader: Loader, raw: Mapping[str, Any], path: Path) -> None:
    """The URL names a transport and holds no secret; options and secrets are such as the transport knows."""
    options, secrets, url = raw.get("options"), raw.get("secrets"), raw.get("url")
    for name, reference in secrets.items() if isinstance(secrets, dict) else ():
        if isinstance(reference, dict):
            _check_reference(loader, reference, (*path, "secrets", name))
    _check_no_secret(loader, options, (*path, "options"))
    if not isinstance(url, str) or not url:
        return
    _check_url(loader, url, (*path, "url"))
    scheme = Connection(url=url).scheme
    kind = loader.plugins.transport(scheme)
    if kind is None:
        loader.unknown((*path, "url"), "scheme", scheme, sorted(loader.plugins.transports))
        return
    for name in secrets if isinstance(secrets, dict) else ():
        if name not in kind.secrets:
            loader.unknown((*path, "secrets", name), f"secret of {scheme}", name, kind.secrets)
    check_options(loader, kind.options_schema, options, (*path, "options"))


def _check_no_secret(loader: Loader, options: Any, path: Path) -> None:
    for name, value in options.items() if isinstance(options, dict) else ():
        if is_secret_name(name) and isinstance(value, str):
            expected = "a reference under the connection's secrets"
            loader.fault((*path, name), "a secret never stands in the document itself", expected=expected)
        _check_no_secret(loader, value, (*path, name))


def check_options(loader: Loader, schema: Mapping[str, Any], options: Any, path: Path) -> None:
    """*options* are such as a transport knows, but for those that were pointed at already."""
    if isinstance(options, dict):
        fresh = {name: value for name, value in options.items() if name != "about" and loader.sound((*path, name))}
        add_schema_faults(schema, fresh, loader.faults, path)
    elif options is None:
        add_schema_faults(schema, {}, loader.faults, path)


def _check_url(loader: Loader, url: str, path: Path) -> None:
    try:
        parts = urlsplit(url if "://" in url else "file:")
        secret = parts.password is not None
        _ = parts.port
    except ValueError:
        loader.fault(path, "not a URL", expected="scheme://user@host:port/folder")
        return
    if secret:
        loader.fault(path, "a password never stands in a URL", expected='"secrets": {"password": {"env": "NAME"}}')
    elif any(is_secret_name(name) for name, _ in parse_qsl(parts.query)):
        loader.fault(path, "a secret never stands in a URL", expected='"secrets": {"token": {"env": "NAME"}}')


def _check_reference(loader: Loader, reference: Mapping[str, Any], path: Path) -> None:
    resolvers = loader.plugins.manager.hook.fcflow_resolve_secret.get_hookimpls()
    if len(resolvers) > 1:
        return
    for kind in reference:
        if kind not in KINDS:
            loader.unknown((*path, kind), "kind of secret reference", kind, KINDS)
    if len(reference) > 1:
        loader.fault(path, "a secret reference has one key", expected=f"one of {', '.join(KINDS)}")


# ------------------------------------------------------------------ feeds


def check_feed_options(loader: Loader, raw: Mapping[str, Any], connection: Connection, path: Path) -> None:
    """The feed's options are such as its transport knows, and hold no secret; the transport goes its way."""
    _check_no_secret(loader, raw.get("options"), (*path, "options"))
    kind = loader.plugins.transport(connection.scheme)
    if kind is not None:
        _check_way(loader, kind, connection, (*path, "connection"), out=path[-1] == FeedKind.ORDERS)
        check_options(loader, kind.feed_options_schema, raw.get("options"), (*path, "options"))


def _check_way(loader: Loader, kind: TransportType, connection: Connection, path: Path, *, out: bool) -> None:
    """Nothing leaves by a way that only leads in, nor the other way round."""
    if not (kind.sends if out else kind.receives):
        only = "receives" if out else "sends"
        loader.fault(path, f"{connection.scheme} only {only}", expected="the name of another connection")


def check_name_template(loader: Loader, feed: Feed, path: Path) -> None:
    """The template of an outgoing file name can be filled in."""
    faults = name_faults(feed.name)
    for fault in faults:
        loader.fault((*path, "name"), fault.message, found=fault.found, expected=fault.expected)
    if ORDER_TAG.search(feed.name) and feed.batch != 1 and not faults:
        loader.fault((*path, "name"), "a file of several orders cannot bear the id of one", expected='"batch": 1')


def check_reply(loader: Loader, feed: Feed, connections: Mapping[str, Connection], path: Path) -> None:
    """A reply has a way out, a name, and a layout that can be acknowledged."""
    reply = feed.reply
    if reply is None:
        return
    if reply.connection is not None and reply.connection not in connections:
        loader.unknown((*path, "connection"), "connection", reply.connection, connections)
    way = connections.get(reply.connection or feed.connection)
    kind = None if way is None else loader.plugins.transport(way.scheme)
    if way is not None and kind is not None:
        _check_way(loader, kind, way, (*path, "connection"), out=True)
    for fault in name_faults(reply.name):
        loader.fault((*path, "name"), fault.message, found=fault.found, expected=fault.expected)
    if ORDER_TAG.search(reply.name):
        loader.fault((*path, "name"), "a reply is of no order", found=reply.name)
    layout = loader.loaded_layout(feed.layout, feed.kind)
    if reply.kind == "acknowledgement" and layout is not None:
        codec = layout.document["codec"]["type"]
        if codec not in ACKNOWLEDGED:
            expected = f"a layout of {' or '.join(ACKNOWLEDGED)}"
            loader.fault((*path, "kind"), "nothing that can be acknowledged", found=codec, expected=expected)


def check_push(loader: Loader, raw: Mapping[str, Any], path: Path) -> None:
    """The secrets of what is pushed can be looked up, and what is signed is there to be checked."""
    push = raw.get("push")
    if not isinstance(push, dict):
        return
    secrets, signature = push.get("secrets"), push.get("signature")
    for number, reference in enumerate(secrets if isinstance(secrets, list) else ()):
        if isinstance(reference, dict):
            _check_reference(loader, reference, (*path, "push", "secrets", number))
    signed = signature.get("signed") if isinstance(signature, dict) else None
    if isinstance(signed, list) and "id" in signed and "id_header" not in push:
        loader.fault((*path, "push", "id_header"), "missing", expected="the header of the id, since it is signed")


def _sample_name(feed: Feed) -> str:
    now = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    return render_name(ORDER_TAG.sub("A1", feed.name), partner=feed.partner, now=now, counter=1, key="k1")


def check_folders(loader: Loader, partner: Partner, path: Path) -> None:
    """No two feeds of a partner would take the same file."""
    incoming = [feed for feed in partner.feeds if feed.kind is not FeedKind.ORDERS and feed.is_polled]
    for one, other in combinations(incoming, 2):
        if _place(one) == _place(other) and one.match == other.match and one.options == other.options:
            where = (*path, other.kind.value, "match")
            loader.fault(where, f"the same files as the {one.kind.value} feed", expected="another path or match")
    for feed in incoming:
        if partner.orders is not None and _takes_orders(loader, feed, partner.orders, partner):
            loader.fault((*path, feed.kind.value, "match"), "our own order files would be taken", found=feed.match)


def _place(feed: Feed) -> tuple[str, str]:
    return feed.connection, feed.path.strip("/")


def _takes_orders(loader: Loader, feed: Feed, orders: Feed, partner: Partner) -> bool:
    connection = partner.connections.get(orders.connection)
    if connection is None or connection.scheme in ("http", "https") or _place(feed) != _place(orders):
        return False
    return not name_faults(orders.name) and fnmatchcase(_sample_name(orders), feed.match)


def check_shared_folders(loader: Loader) -> None:
    """No two partners' feeds would take the same file."""
    seen: dict[tuple[Any, ...], str] = {}
    for code, partner in loader.partners.items():
        for feed in partner.feeds:
            connection = partner.connections.get(feed.connection)
            if connection is None or feed.kind is FeedKind.ORDERS or not feed.is_polled:
                continue
            way = connection.url.rstrip("/"), repr(connection.secrets), repr(connection.options)
            place = *way, feed.path.strip("/"), feed.match, repr(feed.options), feed.kind
            if seen.setdefault(place, code) != code:
                path = ("partners", code, feed.kind.value, "match")
                loader.fault(path, f"the same files as partner {seen[place]}", expected="another path or match")


# ------------------------------------------------------------------ words and codes


def check_status_words(loader: Loader, words: Mapping[str, str], path: Path) -> None:
    """Every word stands for a status, and no word for two."""
    spelt: dict[str, str] = {}
    for word, status in words.items():
        if status not in list(Status):
            loader.unknown((*path, word), "status", status, [each.value for each in Status])
        plain = " ".join(word.casefold().split())
        if words.get(spelt.setdefault(plain, word)) != status:
            loader.fault((*path, word), f"the same word as {spelt[plain]!r} stands for another status", found=status)


def check_aliases(loader: Loader, partner: Partner, path: Path) -> None:
    """Aliases are one to one but for parts of bundles, and what the partner says is never another SKU of ours."""
    ours: dict[str, str] = {}
    for sku, theirs in _codes(partner):
        if ours.setdefault(theirs, sku) != sku:
            loader.fault((*path, sku), f"{theirs!r} is the alias of {ours[theirs]!r} already", expected="one to one")
    either = [feed for feed in (partner.status, partner.stock) if feed is not None and feed.match_sku == "either"]
    for theirs in sorted(ours.keys() & partner.aliases.keys()) if either else ():
        if ours[theirs] != theirs:
            said = f"{theirs!r} may mean ours, or the partner's for {ours[theirs]!r}"
            loader.fault((*path, ours[theirs]), said, expected='"match_sku": "partner" on the status and stock feeds')


def _codes(partner: Partner) -> Iterator[tuple[str, str]]:
    for sku, said in partner.aliases.items():
        alias = Alias.of(said)
        if not alias.is_bundle:
            yield sku, alias.sku


# ------------------------------------------------------------------ locations


def check_locations(loader: Loader) -> None:
    """Partners have the locations that they need, and tell them apart."""
    run_by = defaultdict(list)
    for location in loader.locations.values():
        run_by[location.partner].append(location)
    named = [_named_partner(loader, path) for path in loader.places.values()]
    for partner in loader.partners.values():
        _check_codes(loader, run_by[partner.code])
        _check_stock_layout(loader, partner, run_by[partner.code])
        if partner.orders is not None and partner.code not in named:
            loader.fault(("partners", partner.code), "has an orders feed, but no location", expected="a location")


def _check_stock_layout(loader: Loader, partner: Partner, locations: list[Location]) -> None:
    """Where a partner has several locations, its stock file says which one a level is of."""
    if partner.stock is None or len(locations) < 2:
        return
    path = ("partners", partner.code, "stock", "layout")
    layout = loader.loaded_layout(partner.stock.layout, FeedKind.STOCK)
    fields = layout.document.get("fields") if layout is not None else None
    if fields and all(written.get("field") != "location" for written in fields):
        said = f"the partner runs {len(locations)} locations, and the layout has no field for them"
        loader.fault(path, said, found=partner.stock.layout, expected="a field location")


def _named_partner(loader: Loader, path: Path) -> object:
    """The partner that the location at *path* names, even if the location has faults."""
    if path[0] == "partners":
        return path[1]
    raw = loader.section("locations").get(str(path[1]))
    return raw.get("partner") if isinstance(raw, dict) else None


def check_partner_of(loader: Loader, raw: Mapping[str, Any], path: Path) -> None:
    """Whoever runs a location is a partner of the document; who ships for us is one."""
    partner, kind = raw.get("partner"), raw.get("kind")
    if isinstance(partner, str) and partner not in loader.section("partners"):
        loader.unknown((*path, "partner"), "partner", partner, loader.partners)
    if partner is None and kind in (LocationKind.FULFILMENT_CENTRE, LocationKind.DROP_SHIPPER):
        loader.fault((*path, "partner"), f"a {kind} needs a partner", expected="a partner's code")


def check_zone(loader: Loader, raw: Mapping[str, Any], path: Path) -> None:
    """The zone of a calendar exists."""
    calendar = raw.get("calendar")
    zone = calendar.get("zone", "UTC") if isinstance(calendar, dict) else "UTC"
    if not isinstance(zone, str):
        return
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        known = available_timezones()
        last = zone.rsplit("/", 1)[-1].lower()
        near = [name for name in known if name.lower().endswith(last)] if re.search(r"\w", last) else []
        loader.unknown((*path, "calendar", "zone"), "time zone", zone, near[:1] or _likely(known))


def _likely(zones: Iterable[str]) -> list[str]:
    return sorted(zone for zone in zones if "/" in zone)


def _check_codes(loader: Loader, locations: list[Location]) -> None:
    seen: dict[str, str] = {}
    for location in locations:
        code = location.partner_code or location.code
        if seen.setdefault(code, location.code) != location.code:
            path = (*loader.places[location.code], "partner_code")
            loader.fault(path, f"the partner calls {seen[code]} the same", found=code)
