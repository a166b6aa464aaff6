"""How a configuration document becomes values: build what is sound, note every fault, never stop at the first."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, TypeVar

from immutabledict import immutabledict

from fcflow.allocation_many import Priority
from fcflow.behaviour import Lately
from fcflow.carriers import Carrier
from fcflow.config.aliases import read_aliases
from fcflow.config.checks import (
    check_aliases,
    check_connection,
    check_feed_options,
    check_folders,
    check_locations,
    check_name_template,
    check_partner_of,
    check_push,
    check_reply,
    check_shared_folders,
    check_status_words,
    check_zone,
)
from fcflow.config.schema import PlacedFaults, add_schema_faults, shown
from fcflow.documents import from_document
from fcflow.errors import DocumentError, Fault
from fcflow.formats import Layout, load_layout
from fcflow.model import Alias, Connection, Feed, FeedKind, Location, Partner, PartnerLimits
from fcflow.plugins import Plugins
from fcflow.rules import Condition, RuleSet, compile_condition, load_rules
from fcflow.rules import source as json_source
from fcflow.rules.faults import Faults, Path, nearest, path_text

__all__ = ["Loader"]

T = TypeVar("T")

_MOST_NAMES = 12
_SHIPS_FOR_US = {"kind": "fulfilment_centre"}
DEFAULT_STORE = "sqlite:///fcflow.db"


class Loader:
    """
    One document on its way to a `fcflow.config.Config`.

    Args:
        base: Relative paths are below it.
    """

    def __init__(self, document: dict[str, Any], base: FilePath, plugins: Plugins, faults: PlacedFaults) -> None:
        self.document = document
        self.base = base
        self.plugins = plugins
        self.faults = faults
        self.partners: dict[str, Partner] = {}
        self.locations: dict[str, Location] = {}
        self.places: dict[str, Path] = {}
        self.rule_set: RuleSet | None = None
        self.ready: Condition | None = None
        self._layouts: dict[tuple[str, FeedKind], Layout] = {}
        self._foreign: list[Fault] = []

    def run(self, schema: Mapping[str, Any]) -> list[Fault]:
        """Build and check everything; the faults in the order of the document, then those of the files it names."""
        add_schema_faults(schema, self.document, self.faults)
        for code, raw in self.section("partners").items():
            self._partner(code, _object(raw), ("partners", code))
        for code, raw in self.section("locations").items():
            run_by_other = isinstance(raw, dict) and raw.get("partner") is not None
            self._location(code, _object(raw), ("locations", code), _SHIPS_FOR_US if run_by_other else {})
        check_locations(self)
        check_shared_folders(self)
        self._store()
        self._rules()
        self._ready()
        return self.faults.sorted(self.document) + self._foreign

    def settings(self) -> dict[str, Any]:
        """The arguments of `fcflow.config.Config` that the document decides."""
        store = self._store_section()
        rules = self.document.get("rules")
        return {
            "store_url": _absolute_url(store.get("url", DEFAULT_STORE), self.base),
            "store_password": store.get("password"),
            "namespace": store.get("namespace", ""),
            "schema": store.get("schema"),
            "rules": self.base / rules if isinstance(rules, str) else rules,
            "ready": self.document.get("ready"),
            "priority": Priority(**_without_about(self.section("priority"))),
            "lately": self._lately(),
            "carriers": self._carriers(),
            "currency": self.document.get("currency"),
            "partners": self.partners,
            "locations": self._in_document_order(),
        }

    def _carriers(self) -> tuple[Carrier, ...]:
        made = [
            self.build(Carrier, {"name": code, **_without_about(_object(raw))}, ("carriers", code), code=code)
            for code, raw in self.section("carriers").items()
        ]
        return tuple(each for each in made if each is not None)

    def _lately(self) -> Lately:
        """What counts of a location's behaviour; the usual, where the section has a fault."""
        return Lately(**_without_about(self.section("behaviour"))) if self.sound(("behaviour",)) else Lately()

    # -------------------------------------------------------------- helpers that the checks use too

    def section(self, name: str) -> dict[str, Any]:
        """The object called *name*, empty where it is absent or of another type."""
        return _object(self.document.get(name))

    def fault(self, path: Path, message: str, *, found: object = None, expected: str | None = None) -> None:
        """Note a fault of the document."""
        self.faults.add(path, message, found=shown(path, found) if found is not None else None, expected=expected)

    def unknown(self, path: Path, what: str, name: object, known: Iterable[str]) -> None:
        """Note a name that nothing bears, with the nearest one that something does."""
        names = list(known)
        close = nearest(name, names) or _listed(names)
        self.fault(path, f"unknown {what}" if close else f"unknown {what}, there is none", found=name, expected=close)

    def sound(self, path: Path) -> bool:
        """Whether nothing at or below *path* has a fault so far."""
        return self.faults.is_sound(path)

    def adopt(self, error: DocumentError, path: Path) -> None:
        """Note the faults of the value at *path*."""
        for fault in error.faults:
            self.faults.add((*path, *_parts(fault.path)), fault.message, found=fault.found, expected=fault.expected)

    def adopt_file(self, name: str, error: DocumentError) -> None:
        """Note the faults of a file that the document names."""
        for fault in error.faults:
            self._foreign.append(
                Fault(
                    fault.message,
                    path=f"{name}: {fault.path}" if fault.path else name,
                    line=fault.line,
                    column=fault.column,
                    found=fault.found,
                    expected=fault.expected,
                )
            )

    def build(self, cls: type[T], raw: Mapping[str, Any], path: Path, **more: Any) -> T | None:
        """The value that *raw* describes, or ``None`` where it has faults, which are noted."""
        if not self.sound(path):
            return None
        try:
            return from_document(cls, {**_without_about(raw), **more})
        except DocumentError as error:
            self.adopt(error, path)
            return None

    def layout(self, name: str, kind: FeedKind) -> Layout:
        """The layout called *name*; loaded once. ``canonical`` is the one of *kind*."""
        if (name, kind) not in self._layouts:
            wanted = kind.layout_kind if name == "canonical" else None
            self._layouts[name, kind] = load_layout(name, base=self.base, kind=wanted, codecs=self.plugins.codecs)
        return self._layouts[name, kind]

    def loaded_layout(self, name: str, kind: FeedKind) -> Layout | None:
        """The layout called *name*, or ``None`` where it has faults, which were noted before."""
        return self._layouts.get((name, kind))

    # -------------------------------------------------------------- partners

    def _partner(self, code: str, raw: dict[str, Any], path: Path) -> None:
        connections = self._connections(raw, path)
        feeds = {kind.value: self._feed(kind, code, raw, path, connections) for kind in FeedKind}
        aliases = self._aliases(raw.get("aliases", {}), (*path, "aliases"))
        words = _texts(raw.get("status_words"))
        check_status_words(self, words, (*path, "status_words"))
        limits = self.build(PartnerLimits, _object(raw.get("limits")), (*path, "limits")) or PartnerLimits()
        self.partners[code] = partner = Partner(
            code=code,
            name=raw.get("name") if isinstance(raw.get("name"), str) else None,
            connections=immutabledict(connections),
            aliases=immutabledict(aliases),
            status_words=immutabledict(words),
            carriers=immutabledict(_texts(raw.get("carriers"))),
            limits=limits,
            **feeds,
        )
        check_aliases(self, partner, (*path, "aliases"))
        check_folders(self, partner, path)
        if isinstance(raw.get("location"), dict):
            self._own_location(code, raw["location"], (*path, "location"))

    def _connections(self, raw: dict[str, Any], path: Path) -> dict[str, Connection]:
        named = {
            name: (_object(each), (*path, "connections", name))
            for name, each in _object(raw.get("connections")).items()
        }
        if "connection" in raw:
            if "default" in named:
                self.fault((*path, "connection"), "stands twice: here and as connections.default")
            named["default"] = _object(raw["connection"]), (*path, "connection")
        connections: dict[str, Connection] = {}
        for name, (each, place) in named.items():
            built = self.build(Connection, each, place, name=name)
            check_connection(self, each, place)
            if built is not None:
                connections[name] = built
        return connections

    def _feed(
        self, kind: FeedKind, code: str, raw: dict[str, Any], partner_path: Path, connections: Mapping[str, Connection]
    ) -> Feed | None:
        if not isinstance(raw.get(kind.value), dict):
            return None
        path = (*partner_path, kind.value)
        only = next(iter(connections)) if len(connections) == 1 else "default"
        wanted = raw[kind.value].get("connection", only)
        more = {"matches": "delivery"} if kind is FeedKind.ACKNOWLEDGEMENT else {}
        feed = self.build(Feed, raw[kind.value], path, kind=kind, partner=code, connection=wanted, **more)
        if wanted in connections:
            check_feed_options(self, raw[kind.value], connections[wanted], path)
        elif feed is not None and not feed.is_polled and "connection" not in raw[kind.value]:
            pass  # only pushed: there is no way in to look at
        elif self.sound((*partner_path, "connections")) and self.sound((*partner_path, "connection")):
            self.unknown((*path, "connection"), "connection", wanted, connections)
        if feed is not None and kind is FeedKind.ORDERS:
            check_name_template(self, feed, path)
        self._check_layout(kind, raw[kind.value].get("layout"), (*path, "layout"))
        check_push(self, raw[kind.value], path)
        if feed is not None:
            check_reply(self, feed, connections, (*path, "reply"))
        return feed

    def _check_layout(self, kind: FeedKind, name: Any, path: Path) -> None:
        if not isinstance(name, str) or not name:
            return
        try:
            layout = self.layout(name, kind)
        except DocumentError as error:
            self.adopt_file(f"layout {name}", error)
            return
        if layout.kind != kind.layout_kind:
            self.fault(path, "layout of another kind", found=layout.kind, expected=kind.layout_kind)

    def _aliases(self, raw: Any, path: Path) -> dict[str, Alias | str]:
        if isinstance(raw, str):
            try:
                return read_aliases(self.base / raw)
            except DocumentError as error:
                self.adopt_file(f"aliases {raw}", error)
                return {}
        made: dict[str, Alias | str] = dict(_texts(raw))
        for sku, said in _object(raw).items():
            if isinstance(said, dict) and self.sound((*path, sku)):
                made[sku] = Alias.of(said)
        return made

    # -------------------------------------------------------------- locations

    def _own_location(self, partner: str, raw: dict[str, Any], path: Path) -> None:
        if raw.get("partner", partner) != partner:
            self.fault((*path, "partner"), "inside another partner", found=raw["partner"], expected=partner)
            self.places[partner] = path
            return
        self._location(raw.get("code", partner), raw, path, {"partner": partner, **_SHIPS_FOR_US})

    def _location(self, code: Any, raw: dict[str, Any], path: Path, defaults: Mapping[str, Any]) -> None:
        if path[0] == "locations" and raw.get("code", code) != code:
            self.fault((*path, "code"), "another code than its key", found=raw["code"], expected=code)
        if code in self.places:
            self.fault(path, f"location {code} stands twice: here and at {path_text(self.places[code])}")
            return
        if isinstance(code, str):
            self.places[code] = path
        raw = {**defaults, **_deep_without_about(raw)}
        check_zone(self, raw, path)
        check_partner_of(self, raw, path)
        location = self.build(Location, raw, path, code=code)
        if location is not None:
            self.locations[location.code] = location

    def _in_document_order(self) -> dict[str, Location]:
        order = list(self.document)
        written_first = "locations" if _index(order, "locations") < _index(order, "partners") else "partners"
        return dict(sorted(self.locations.items(), key=lambda item: self.places[item[0]][0] != written_first))

    # -------------------------------------------------------------- store, rules, ready

    def _store_section(self) -> dict[str, Any]:
        store = self.document.get("store", {})
        return {"url": store} if isinstance(store, str) else _object(store)

    def _store(self) -> None:
        url = self._store_section().get("url", DEFAULT_STORE)
        path: Path = ("store",) if isinstance(self.document.get("store"), str) else ("store", "url")
        if not isinstance(url, str) or not self.sound(path):
            return
        if re.match(r"[^/]*//[^/@]*:[^/@]+@", url):
            self.fault(path, "a password never stands in a URL", expected='"password": {"env": "NAME"} beside it')
        elif not re.match(r"(sqlite|postgresql)(\+\w+)?://", url):
            self.fault(path, "not a store", found=url, expected="sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME")

    def _rules(self) -> None:
        rules = self.document.get("rules")
        if rules is None or rules == {"store": True} or not self.sound(("rules",)):
            return
        name = rules if isinstance(rules, str) else None
        try:
            loaded = load_rules(self._with_currency(rules), **self.plugins.rule_kinds)
        except DocumentError as error:
            self.adopt_file(name, error) if name else self.adopt(error, ("rules",))
            return
        self.rule_set = loaded
        self._check_codes(loaded, name)
        self._check_strategies(loaded, name)

    def _with_currency(self, rules: str | dict[str, Any]) -> FilePath | dict[str, Any]:
        """What to load: the rule set with the seller's currency, where it names none of its own."""
        found: Any = rules
        if isinstance(rules, str):
            _, found = json_source.read(self.base / rules, unread := Faults())
            if len(unread):
                return self.base / rules
        currency = self.document.get("currency")
        if isinstance(found, dict) and isinstance(currency, str) and self.sound(("currency",)):
            return {"currency": currency, **found}
        return self.base / rules if isinstance(rules, str) else rules

    def _check_strategies(self, rules: RuleSet, name: str | None) -> None:
        for strategy in sorted(rules.strategies - set(self.plugins.strategies)):
            close = nearest(strategy, self.plugins.strategies) or _listed(sorted(self.plugins.strategies))
            path = f"{name}: $" if name else "$.rules"
            self._foreign.append(Fault("unknown strategy", path=path, found=strategy, expected=close))

    def _check_codes(self, rules: RuleSet, name: str | None) -> None:
        for code in sorted(set(rules.location_codes) - set(self.places)):
            close = nearest(code, self.places) or _listed(list(self.places)) or "a location"
            path = (f"{name}: $" if name else "$.rules") + _first_naming(rules, code)
            self._foreign.append(Fault("unknown location", path=path, found=code, expected=close))

    def _ready(self) -> None:
        ready = self.document.get("ready")
        if ready is None or not self.sound(("ready",)):
            return
        try:
            currency = self.document.get("currency") if self.sound(("currency",)) else None
            self.ready = compile_condition(ready, **self.plugins.rule_kinds, currency=currency)
        except DocumentError as error:
            self.adopt(error, ("ready",))


# ------------------------------------------------------------------ small things


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(names: Sequence[str]) -> str | None:
    shown_names = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    return f"one of {shown_names}" if names else None


def _texts(value: Any) -> dict[str, str]:
    return {key: text for key, text in _object(value).items() if isinstance(text, str)}


def _without_about(raw: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in raw.items() if key != "about"}
    if isinstance(kept.get("options"), dict):
        kept["options"] = {key: value for key, value in kept["options"].items() if key != "about"}
    return kept


def _deep_without_about(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _deep_without_about(value) if isinstance(value, dict) and key != "buffers" else value
        for key, value in raw.items()
        if key != "about"
    }


def _index(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


def _absolute_url(url: str, base: FilePath) -> str:
    """
    *url* with a relative SQLite file put below *base*.

    Example:
        >>> _absolute_url("sqlite:///shop.db", FilePath("/srv/shop"))
        'sqlite:////srv/shop/shop.db'
        >>> _absolute_url("sqlite://", FilePath("/srv/shop"))
        'sqlite://'
    """
    found = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^?]+)(\?.*)?", url)
    if found is None or found[2] == ":memory:" or found[2].startswith("file:"):
        return url
    return f"{found[1]}{os.fspath((base / found[2]).absolute())}{found[3] or ''}"


def _parts(text: str) -> Path:
    """
    The parts of a JSON path.

    Example:
        >>> _parts("$.rules[3].when['a b']")
        ('rules', 3, 'when', 'a b')
    """
    found = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]", text)
    return tuple(int(number) if number else name or quoted for name, number, quoted in found)


def _first_naming(rules: RuleSet, code: str) -> str:
    """The place of the first rule that names a location as a target; empty where only a condition does."""
    for index, rule in enumerate(rules.rules):
        if rule.decision is not None and code in rule.decision.locations:
            return f".rules[{index}]"
    return ""
