"""
From one JSON document to partners, locations, rules and a store; every fault of it at once.

A document has ``"fcflow": "config/1"`` and is described by the JSON Schema `SCHEMA`. Relative paths in it are below its
own folder. Secrets stand in it by reference only. Loading touches no partner, no store and no secret.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pluggy
from attrs import field, frozen
from immutabledict import immutabledict

from fcflow.allocation_many import Priority
from fcflow.behaviour import Lately
from fcflow.carriers import Carrier
from fcflow.config.build import Loader
from fcflow.config.schema import PlacedFaults
from fcflow.errors import ConfigError, FcflowError
from fcflow.formats import Layout
from fcflow.model import Feed, Location, Partner
from fcflow.plugins import Plugins, collect_plugins, endpoint_of, load_plugins
from fcflow.rules import Condition, RuleSet
from fcflow.rules import source as json_source
from fcflow.rules.faults import Faults
from fcflow.transports.base import Endpoint, Finding

__all__ = ["Config", "config_schema", "load_config"]


@frozen(kw_only=True)
class Config:
    """
    What a configuration document says, checked.

    Args:
        source: How messages call the document: its path, or ``config``.

        store_url: SQLAlchemy URL without a password; a relative SQLite file has become absolute. `store_address`
            puts the password in.

        namespace: Keeps several sellers apart in one database; empty is a name like any other.

        schema: Database schema of the tables, or ``None``.

        rules: Path of the rule set, the rule set itself, ``{"store": True}`` for the one that is live in the store, or
            ``None``: orders wait until they are moved by hand.

        ready: Condition that an order must meet before it is allocated, or ``None`` for the usual one.

        priority: Which order is served first where there is not enough for all.

        lately: What counts when a rule asks how a location behaves.

        carriers: The configuration's own, beside the usual ones.

        currency: What rule sets that name no currency compare money in.

        base: Relative paths are below it.

        document: As it was read.
    """

    source: str = "config"
    store_url: str
    store_password: Mapping[str, Any] | None = None
    namespace: str = ""
    schema: str | None = None
    rules: Path | Mapping[str, Any] | None = None
    ready: Mapping[str, Any] | bool | None = None
    priority: Priority = field(factory=Priority)
    lately: Lately = field(factory=Lately)
    carriers: tuple[Carrier, ...] = ()
    currency: str | None = None
    partners: immutabledict[str, Partner] = field(converter=immutabledict)
    locations: immutabledict[str, Location] = field(converter=immutabledict)
    base: Path
    document: Mapping[str, Any] = field(repr=False)
    plugins: Plugins = field(repr=False, eq=False)
    _loader: Loader = field(repr=False, eq=False)

    def layout(self, feed: Feed) -> Layout:
        """The layout of *feed*; loaded once."""
        return self._loader.layout(feed.layout, feed.kind)

    @property
    def live_rules(self) -> bool:
        """Whether the rule set that is live in the store decides."""
        return self.rules == {"store": True}

    def rule_set(self) -> RuleSet | None:
        """The rule set; compiled once. ``None`` where the configuration has none, or the store has it."""
        return self._loader.rule_set

    def ready_condition(self) -> Condition | None:
        """The compiled ``ready`` condition, or ``None`` where the usual one holds."""
        return self._loader.ready

    def endpoint(self, feed: Feed) -> Endpoint:
        """What the transport of *feed* is built from."""
        return endpoint_of(self.plugins, self.partners[feed.partner], feed.connection, base=self.base)

    def locations_of(self, partner: str) -> tuple[Location, ...]:
        """The locations that *partner* runs, in the order of the document."""
        return tuple(location for location in self.locations.values() if location.partner == partner)

    def check(self) -> list[Finding]:
        """
        What is not a fault, but will stop work: secrets that stand for nothing, locations that never get stock, a
        store that has no folder.

        Nothing is connected to; secrets are looked up and thrown away.
        """
        return [*self._missing_secrets(), *self._without_stock(), *self._without_folder()]

    def _missing_secrets(self) -> Iterator[Finding]:
        wanted = [
            (f"partner {code}: secret {name}", reference)
            for code, partner in self.partners.items()
            for connection in partner.connections.values()
            for name, reference in connection.secrets.items()
        ]
        for what, reference in [*wanted, *([("store", self.store_password)] if self.store_password else [])]:
            try:
                self.plugins.resolve_secret(reference, self.base)
            except FcflowError as error:
                yield Finding(level="error", code=error.code, message=f"{what}: {error}")

    def _without_folder(self) -> Iterator[Finding]:
        path = Path(self.store_url.removeprefix("sqlite:///").split("?", 1)[0])
        if self.store_url.startswith("sqlite:///") and not path.parent.is_dir():
            said = f"store: the folder {path.parent} is not there: the SQLite file cannot be made in it"
            yield Finding(level="error", code="store.error", message=said)

    def _without_stock(self) -> Iterator[Finding]:
        for location in self.locations.values():
            partner = self.partners.get(location.partner or "")
            if location.stock.tracked and partner is not None and partner.stock is None:
                said = (
                    f"location {location.code} tracks stock, but partner {partner.code} has no stock feed: nothing can"
                )
                untracked = 'be allocated to it; give it one, or say "stock": {"tracked": false}'
                yield Finding(level="warning", code="config.no_stock", message=f"{said} {untracked}")

    def store_address(self) -> str:
        """
        The store's URL with its password; ask for it as late as possible, and never log it.

        Raises:
            SecretError: The password's reference stands for nothing.
        """
        if self.store_password is None:
            return self.store_url
        from sqlalchemy import make_url

        password = self.plugins.resolve_secret(self.store_password, self.base)
        return make_url(self.store_url).set(password=password).render_as_string(hide_password=False)


def load_config(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    plugins: Plugins | pluggy.PluginManager | None = None,
    base: Path | None = None,
) -> Config:
    """
    Read and check a configuration.

    Args:
        source: A path, or the document itself as a mapping.

        plugins: What was collected, or a manager to collect from; ``None`` loads what is installed.

        base: Relative paths are below it; ``None`` is the document's folder, for a mapping the current one.

    Raises:
        ConfigError: The document, or a rule set, layout or alias file that it names, has faults: all of them, with
            JSON paths, or with line and column where the text is not JSON.

        PluginError: A plugin breaks its contract.

    Example:
        >>> config = load_config({
        ...     "fcflow": "config/1",
        ...     "partners": {"leeds": {
        ...         "connection": {"url": "ftp://fcflow@ftp.leeds.example", "secrets": {"password": {"env": "LEEDS"}}},
        ...         "orders": {"layout": "linnworks-orders", "path": "in"},
        ...         "location": {"name": "Leeds"}}}})
        >>> config.locations["leeds"].kind.value, config.partners["leeds"].orders.path
        ('fulfilment_centre', 'in')
    """
    faults = PlacedFaults()
    name, document = _read(source, faults)
    if len(faults):
        raise ConfigError(name, faults.sorted(document))
    loader = Loader(document, folder := _folder(source, base), _collected(plugins), faults)
    found = loader.run(config_schema())
    if found:
        raise ConfigError(name, found)
    return Config(
        source=name, base=folder, document=document, plugins=loader.plugins, loader=loader, **loader.settings()
    )


def config_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a configuration; a copy that the caller may change."""
    schema: dict[str, Any] = json.loads(_schema_text())
    return schema


@cache
def _schema_text() -> str:
    return files("fcflow").joinpath("config/schema.json").read_text(encoding="utf-8")


def _read(source: str | os.PathLike[str] | Mapping[str, Any], faults: Faults) -> tuple[str, Any]:
    name, value = json_source.read(source, faults)
    document = json_source.plain(value)
    if not len(faults) and not isinstance(document, dict):
        faults.add((), "", expected="an object", found=type(document).__name__)
    return "config" if isinstance(source, Mapping) else name, document


def _folder(source: str | os.PathLike[str] | Mapping[str, Any], base: Path | None) -> Path:
    if base is not None:
        return base.absolute()
    return Path.cwd() if isinstance(source, Mapping) else Path(source).absolute().parent


def _collected(plugins: Plugins | pluggy.PluginManager | None) -> Plugins:
    if plugins is None:
        return load_plugins()
    return plugins if isinstance(plugins, Plugins) else collect_plugins(plugins)
