"""
Find, check and collect what plugins offer: one manager per `fcflow.synchronizer.Synchronizer`, nothing global.

Packages join through the entry-point group ``fcflow``. The environment variable ``FCFLOW_PLUGINS`` picks among them:
unset loads all, empty none, a list separated by commas those. The built-in transports, strategies, codecs and the
resolver of secrets are a plugin like any other.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy
from attrs import field, frozen
from immutabledict import immutabledict

from fcflow import hookspecs
from fcflow.errors import ConfigError, Fault, FcflowError, PluginError, SecretError
from fcflow.hookspecs import hookimpl
from fcflow.secrets import resolve_reference
from fcflow.transports.base import Endpoint, Transport, TransportType

if TYPE_CHECKING:
    from fcflow.allocation import StrategyType
    from fcflow.audit import AuditEvent
    from fcflow.formats import CodecType
    from fcflow.model import Partner
    from fcflow.rules import EffectType, OperatorType, RuleField
    from fcflow.rules.extensions import RuleKinds

__all__ = ["Plugins", "collect_plugins", "endpoint_of", "load_plugins", "open_transport", "plugin_manager"]

GROUP = "fcflow"
VARIABLE = "FCFLOW_PLUGINS"

_LOG = logging.getLogger("fcflow.plugins")

_BUILT_IN_TRANSPORTS = (
    ("fcflow.transports.file", "TYPE"),
    ("fcflow.transports.memory", "TYPE"),
    ("fcflow.transports.ftp", "TYPE"),
    ("fcflow.transports.ftp", "FTPS_TYPE"),
    ("fcflow.transports.sftp", "TYPE"),
    ("fcflow.transports.http", "TYPE"),
    ("fcflow.transports.smtp", "TYPE"),
    ("fcflow.transports.smtp", "SMTPS_TYPE"),
    ("fcflow.transports.imap", "TYPE"),
    ("fcflow.transports.imap", "IMAPS_TYPE"),
)


class _BuiltIn:
    """What fcflow itself offers; its modules are imported when they are asked for."""

    @hookimpl
    def fcflow_transports(self) -> Iterable[TransportType]:
        return [getattr(importlib.import_module(module), name) for module, name in _BUILT_IN_TRANSPORTS]

    @hookimpl
    def fcflow_strategies(self) -> Iterable[StrategyType]:
        from fcflow.allocation import STRATEGIES

        return list(STRATEGIES.values())

    @hookimpl(trylast=True)
    def fcflow_resolve_secret(self, reference: Mapping[str, Any]) -> str | None:
        return resolve_reference(reference)


# ------------------------------------------------------------------ find and check


def plugin_manager(names: Iterable[str] | None = None) -> pluggy.PluginManager:
    """
    A new plugin manager with the built-ins and the plugins that are installed.

    Args:
        names: Entry points to load; ``None`` asks the environment variable ``FCFLOW_PLUGINS``.

    Raises:
        PluginError: A name is not installed, a plugin cannot be imported, or it implements a hook that is not there.

    Example:
        >>> [name for name, _ in plugin_manager([]).list_name_plugin()]
        ['fcflow.built-in']
    """
    manager = pluggy.PluginManager("fcflow")
    manager.add_hookspecs(hookspecs)
    manager.register(_BuiltIn(), name="fcflow.built-in")
    for entry in _chosen(_wanted() if names is None else tuple(names)):
        _register(manager, _loaded(entry), entry.name)
    _check_pending(manager)
    return manager


def _wanted() -> tuple[str, ...] | None:
    listed = os.environ.get(VARIABLE)
    return None if listed is None else tuple(name.strip() for name in listed.split(",") if name.strip())


def _chosen(names: tuple[str, ...] | None) -> list[EntryPoint]:
    installed = {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}
    if names is None:
        return list(installed.values())
    for name in names:
        if name not in installed:
            raise PluginError(f"plugin {name!r} is not installed{_instead(name, installed)}")
    return [installed[name] for name in dict.fromkeys(names)]


def _loaded(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:
        raise PluginError(f"plugin {entry.name!r} cannot be imported: {type(error).__name__}: {error}") from error


def _register(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    try:
        manager.register(plugin() if isinstance(plugin, type) else plugin, name=name)
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginError(f"plugin {name!r}: {_first_line(error)}") from error


def _check_pending(manager: pluggy.PluginManager) -> None:
    known = [name for name in vars(hookspecs) if name.startswith("fcflow_")]
    for name, plugin in manager.list_name_plugin():
        for attribute in dir(plugin):
            if attribute.startswith("fcflow_") and attribute not in known:
                raise PluginError(f"plugin {name!r}: there is no hook {attribute}{_instead(attribute, known)}")
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _instead(name: str, known: Collection[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    if nearest:
        return f"; did you mean {nearest[0]!r}"
    return f"; there are {', '.join(sorted(known))}" if known else "; none is installed"


# ------------------------------------------------------------------ collect


@frozen(kw_only=True)
class Plugins:
    """
    All that the plugins of one manager offer.

    Args:
        transports: By URL scheme.

        strategies: By name, the built-in ones among them.

        operators, fields, effects, codecs: By name; those of plugins only, the built-in ones are part of the languages.
    """

    manager: pluggy.PluginManager = field(repr=False, eq=False)
    transports: Mapping[str, TransportType] = field(converter=immutabledict)
    strategies: Mapping[str, StrategyType] = field(converter=immutabledict)
    operators: Mapping[str, OperatorType] = field(converter=immutabledict)
    fields: Mapping[str, RuleField] = field(converter=immutabledict)
    effects: Mapping[str, EffectType] = field(converter=immutabledict)
    codecs: Mapping[str, CodecType] = field(converter=immutabledict)
    observers: Mapping[str, Callable[..., Any]] = field(converter=immutabledict, repr=False)

    @property
    def rule_kinds(self) -> RuleKinds:
        """What they add to the rule language, as `fcflow.rules.load_rules` takes it."""
        return {"operators": self.operators, "fields": self.fields, "effects": self.effects}

    def transport(self, scheme: str) -> TransportType | None:
        """The transport that serves *scheme*, or ``None``."""
        return self.transports.get(scheme)

    def resolve_secret(self, reference: Mapping[str, Any], base: Path | None = None) -> str:
        """
        The secret that *reference* stands for.

        Args:
            base: Relative ``file`` references are below it; ``None`` is the current folder.

        Raises:
            SecretError: Nobody knows the reference, or it stands for nothing.
        """
        try:
            secret = self.manager.hook.fcflow_resolve_secret(reference=_absolute(reference, base))
        except FcflowError:
            raise
        except Exception as error:  # noqa: BLE001  # a stranger's resolver; its text could show the secret
            raise SecretError(f"secret reference {_kinds(reference)} failed: {type(error).__name__}") from None
        if not isinstance(secret, str):
            raise SecretError(f"nobody knows secret references of the kind {_kinds(reference)}")
        return secret

    def notify(self, event: AuditEvent) -> None:
        """Show *event* to every observer, one at a time; what they raise is logged."""
        for name, observe in self.observers.items():
            try:
                observe(event=event)
            except Exception:  # noqa: BLE001  # an observer cannot veto
                _LOG.exception("plugin %s failed on audit event %s", name, event.sequence)


def load_plugins(names: Iterable[str] | None = None) -> Plugins:
    """
    A new manager, and all that its plugins offer.

    Args:
        names: As for `plugin_manager`.

    Raises:
        PluginError: A plugin breaks its contract, or two offer the same thing.

    Example:
        >>> "ftp" in load_plugins([]).transports
        True
    """
    return collect_plugins(plugin_manager(names))


def collect_plugins(manager: pluggy.PluginManager) -> Plugins:
    """
    All that the plugins of *manager* offer; a host may have registered its own before.

    Raises:
        PluginError: Two offer the same thing, or one offers something of the wrong kind.
    """
    transports = _collected(manager, "fcflow_transports", "scheme", lambda kind: kind.schemes)
    strategies = _collected(manager, "fcflow_strategies", "strategy", lambda kind: (kind.name,))
    operators = _collected(manager, "fcflow_operators", "operator", lambda kind: (kind.name,))
    fields = _collected(manager, "fcflow_fields", "field", lambda kind: (kind.name,))
    effects = _collected(manager, "fcflow_effects", "effect", lambda kind: (kind.name,))
    codecs = _collected(manager, "fcflow_codecs", "codec", lambda kind: (kind.name,))
    for what, names in (("operator", operators), ("field", fields), ("effect", effects)):
        for name in names:
            if ":" not in name:
                raise PluginError(f"{what} {name!r}: expected a namespace, as in 'acme:{name}'")
    return Plugins(
        manager=manager,
        transports=transports,
        strategies=strategies,
        operators=operators,
        fields=fields,
        effects=effects,
        codecs=codecs,
        observers=_callers(manager, "fcflow_audit_event"),
    )


def _collected(
    manager: pluggy.PluginManager, hook: str, what: str, names_of: Callable[[Any], Iterable[str]]
) -> dict[str, Any]:
    """What each plugin answers to *hook*, by name; two answers for one name are an error."""
    offered: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for plugin, ask in _callers(manager, hook).items():
        for kind, name in _answers(plugin, hook, ask, names_of):
            if name in offered:
                raise PluginError(f"{what} {name!r} is offered twice: by {owner[name]} and by {plugin}")
            offered[name], owner[name] = kind, plugin
    return offered


def _answers(
    plugin: str, hook: str, ask: Callable[..., Any], names_of: Callable[[Any], Iterable[str]]
) -> list[tuple[Any, str]]:
    try:
        kinds = [kind for answer in ask() for kind in answer]
        return [(kind, name) for kind in kinds for name in names_of(kind)]
    except FcflowError:
        raise
    except Exception as error:
        raise PluginError(f"plugin {plugin!r}: {hook} failed: {type(error).__name__}: {error}") from error


def _callers(manager: pluggy.PluginManager, hook: str) -> dict[str, Callable[..., Any]]:
    """By plugin that implements *hook*, a caller that reaches this plugin only."""
    callers: dict[str, Callable[..., Any]] = {}
    implementing = [implementation.plugin for implementation in getattr(manager.hook, hook).get_hookimpls()]
    for plugin in implementing:
        others = [other for other in implementing if other is not plugin]
        callers[manager.get_name(plugin) or repr(plugin)] = manager.subset_hook_caller(hook, others)
    return callers


def _absolute(reference: Mapping[str, Any], base: Path | None) -> Mapping[str, Any]:
    if base is None:
        return reference
    match reference:
        case {"file": str(path)}:
            return {**reference, "file": str(base / path)}
        case {"command": [str(program), *arguments]} if "/" in program:
            return {**reference, "command": [str(base / program), *arguments]}
    return reference


def _kinds(reference: Mapping[str, Any]) -> str:
    return ", ".join(sorted(reference)) or "(empty)"


# ------------------------------------------------------------------ open


def endpoint_of(
    plugins: Plugins, partner: Partner, connection: str = "default", *, base: Path | None = None
) -> Endpoint:
    """
    What a transport to *partner* is built from.

    Args:
        connection: Name of one of the partner's connections.

        base: Relative paths and secret files are below it; ``None`` is the current folder.
    """
    folder = base or Path.cwd()
    return Endpoint(
        partner=partner.code,
        connection=partner.connections[connection],
        limits=partner.limits,
        base=folder,
        resolve=lambda reference: plugins.resolve_secret(reference, folder),
    )


def open_transport(plugins: Plugins, endpoint: Endpoint) -> Transport:
    """
    The way in that *endpoint* describes.

    Raises:
        ConfigError: No transport serves the URL's scheme.

        MissingExtraError: The transport needs a package that is not installed.

        TransportError: From the transport.
    """
    scheme = endpoint.connection.scheme
    kind = plugins.transport(scheme)
    if kind is None:
        fault = Fault(
            f"no transport for {scheme!r}{_instead(scheme, plugins.transports)}",
            path=f"$.partners.{endpoint.partner}.connections.{endpoint.connection.name}.url",
        )
        raise ConfigError(f"partner {endpoint.partner}", [fault])
    return kind.build(endpoint)
