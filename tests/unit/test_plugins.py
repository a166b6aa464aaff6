"""Plugins: found by entry point, checked when loaded, collected without duplicates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from fcflow import plugins as module
from fcflow.allocation import StrategyType
from fcflow.audit import AuditEvent
from fcflow.errors import ConfigError, PluginError, SecretError
from fcflow.hookspecs import hookimpl
from fcflow.model import Connection, Partner
from fcflow.plugins import collect_plugins, endpoint_of, load_plugins, open_transport, plugin_manager
from fcflow.transports import Endpoint, Transport, TransportType

EVENT = AuditEvent(at=datetime(2026, 3, 2, tzinfo=UTC), type="SENT", sequence=7)


def _never(endpoint: Endpoint) -> Transport:
    raise AssertionError(endpoint)


class Pigeons:
    """A plugin with one transport, that counts the audit events it sees and resolves one kind of secret."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.asked: list[Mapping[str, Any]] = []

    @hookimpl
    def fcflow_transports(self) -> Iterable[TransportType]:
        return [TransportType(schemes=("pigeon",), summary="by pigeon", build=_never)]

    @hookimpl
    def fcflow_resolve_secret(self, reference: Mapping[str, Any]) -> str | None:
        self.asked.append(reference)
        return "coo" if "nest" in reference else None

    @hookimpl
    def fcflow_audit_event(self, event: AuditEvent) -> None:
        self.seen.append(event.sequence)


class Broken:
    """A plugin whose observer and resolver fail."""

    @hookimpl
    def fcflow_audit_event(self, event: AuditEvent) -> None:
        raise RuntimeError("observer fell over")

    @hookimpl
    def fcflow_resolve_secret(self, reference: Mapping[str, Any]) -> str | None:
        if "broken" in reference:
            raise RuntimeError("hunter2")
        return None


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that these entry points are installed, by name to ``module:attribute``."""

    def install(**values: str) -> None:
        entries = [EntryPoint(name=name, value=value, group="fcflow") for name, value in values.items()]
        monkeypatch.setattr(module, "entry_points", lambda group: entries)
        monkeypatch.delenv("FCFLOW_PLUGINS", raising=False)

    return install


def names(manager: Any) -> set[str]:
    return {name for name, _ in manager.list_name_plugin()}


def with_plugin(*plugins: object) -> Any:
    manager = plugin_manager([])
    for plugin in plugins:
        manager.register(plugin)
    return collect_plugins(manager)


def test_every_built_in_scheme_is_offered() -> None:
    """
    Without any plugin the documented schemes have a transport.
    """
    assert {"file", "memory", "ftp", "ftps", "sftp", "http", "https"} <= set(load_plugins([]).transports)


def test_unset_loads_every_plugin(installed: Callable[..., None]) -> None:
    """
    Without the environment variable all entry points of the group are loaded.
    """
    installed(one="colorsys", two="keyword")

    assert {"one", "two"} <= names(plugin_manager())


@pytest.mark.parametrize(("value", "expected"), [("", set()), ("two", {"two"}), (" two , one ", {"one", "two"})])
def test_the_variable_picks(
    installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch, value: str, expected: set[str]
) -> None:
    """
    An empty variable loads none, a list loads those.
    """
    installed(one="colorsys", two="keyword")
    monkeypatch.setenv("FCFLOW_PLUGINS", value)

    assert names(plugin_manager()) == expected | {"fcflow.built-in"}


def test_a_plugin_that_is_not_installed_is_named_with_the_nearest(installed: Callable[..., None]) -> None:
    """
    A wanted plugin that is not there is an error that names the nearest one.
    """
    installed(pigeons="colorsys")

    with pytest.raises(PluginError, match="'pigeon' is not installed; did you mean 'pigeons'"):
        plugin_manager(["pigeon"])


def test_a_plugin_that_cannot_be_imported_is_an_error_of_ours(installed: Callable[..., None]) -> None:
    """
    An import that fails names the plugin.
    """
    installed(lost="fcflow.there_is_no_such_module:thing")

    with pytest.raises(PluginError, match="'lost' cannot be imported: ModuleNotFoundError"):
        plugin_manager()


def test_a_misspelt_hook_is_refused(installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A hook that is not there is refused at load, marked or not, with the nearest name.
    """

    class Misspelt:
        def fcflow_transport(self) -> list[TransportType]:
            return []

    monkeypatch.setattr(module, "Misspelt", Misspelt, raising=False)
    installed(odd="fcflow.plugins:Misspelt")

    with pytest.raises(PluginError, match="no hook fcflow_transport; did you mean 'fcflow_transports'"):
        plugin_manager()


def test_a_hook_with_a_wrong_argument_is_refused(
    installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A hook that asks for an argument which is not there is refused at load.
    """

    class Greedy:
        @hookimpl
        def fcflow_audit_event(self, evnt: AuditEvent) -> None:
            raise AssertionError(evnt)

    monkeypatch.setattr(module, "Greedy", Greedy, raising=False)
    installed(greedy="fcflow.plugins:Greedy")

    with pytest.raises(PluginError, match="evnt"):
        plugin_manager()


def test_two_transports_for_one_scheme_are_an_error() -> None:
    """
    A scheme that two plugins serve is refused, and both are named.
    """

    class Other:
        @hookimpl
        def fcflow_transports(self) -> Iterable[TransportType]:
            return [TransportType(schemes=("ftp",), summary="mine", build=_never)]

    manager = plugin_manager([])
    manager.register(Other(), name="other")

    with pytest.raises(PluginError, match=r"scheme 'ftp' is offered twice: by .*(other|fcflow.built-in)"):
        collect_plugins(manager)


def test_an_operator_needs_a_namespace() -> None:
    """
    An operator without a namespace would clash with ours of tomorrow, so it is refused.
    """

    class Operator:
        name = "within_km"

    class Operators:
        @hookimpl
        def fcflow_operators(self) -> Iterable[Any]:
            return [Operator()]

    with pytest.raises(PluginError, match="expected a namespace, as in 'acme:within_km'"):
        with_plugin(Operators())


def test_an_offer_of_the_wrong_kind_names_the_plugin() -> None:
    """
    What is not a transport type is an error of ours that names the hook.
    """

    class Nonsense:
        @hookimpl
        def fcflow_transports(self) -> Iterable[Any]:
            return ["pigeon"]

    with pytest.raises(PluginError, match="fcflow_transports failed: AttributeError"):
        with_plugin(Nonsense())


def test_a_plugin_resolves_before_the_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Plugins are asked first; what they pass on, the built-in resolver answers.
    """
    monkeypatch.setenv("PIGEON", "grey")
    pigeons = Pigeons()
    offered = with_plugin(pigeons)

    assert offered.resolve_secret({"nest": 3}) == "coo"
    assert offered.resolve_secret({"env": "PIGEON"}) == "grey"
    assert len(pigeons.asked) == 2


def test_secret_files_are_below_the_base(tmp_path: Path) -> None:
    """
    A relative secret file is read below the folder that the caller names.
    """
    (tmp_path / "leeds.txt").write_text("s3cret\n")

    assert load_plugins([]).resolve_secret({"file": "leeds.txt"}, tmp_path) == "s3cret"


def test_a_secret_nobody_knows_is_an_error() -> None:
    """
    A reference of an unknown kind says its kind, not its value.
    """
    with pytest.raises(SecretError, match=r"of the kind vault$"):
        load_plugins([]).resolve_secret({"vault": "leeds/ftp"})


def test_a_resolver_that_fails_shows_no_secret() -> None:
    """
    A plugin's own exception text may hold the secret, so it is not passed on, not even as a cause.
    """
    with pytest.raises(SecretError) as caught:
        with_plugin(Broken()).resolve_secret({"broken": "x"})

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_observer_cannot_veto(caplog: pytest.LogCaptureFixture) -> None:
    """
    An observer that fails is logged, and the others still see the event.
    """
    pigeons, broken = Pigeons(), Broken()

    with caplog.at_level(logging.ERROR, logger="fcflow"):
        with_plugin(pigeons, broken).notify(EVENT)
        with_plugin(broken, pigeons).notify(EVENT)

    assert pigeons.seen == [7, 7]
    assert sum("failed on audit event 7" in record.getMessage() for record in caplog.records) == 2


def test_managers_share_nothing() -> None:
    """
    What is registered with one manager is not seen by the next.
    """
    assert "pigeon" in with_plugin(Pigeons()).transports
    assert "pigeon" not in load_plugins([]).transports


def test_an_unknown_scheme_names_the_nearest() -> None:
    """
    A URL that no transport serves is an error of the configuration, with its path and the nearest scheme.
    """
    partner = Partner(code="leeds", connections={"default": Connection(url="pigeno://loft")})
    offered = with_plugin(Pigeons())

    with pytest.raises(ConfigError) as caught:
        open_transport(offered, endpoint_of(offered, partner))

    assert caught.value.faults[0].path == "$.partners.leeds.connections.default.url"
    assert "did you mean 'pigeon'" in str(caught.value)


def test_built_in_strategies_are_among_them_and_keep_their_names() -> None:
    """
    A plugin's strategy stands beside the built-in ones, and cannot take the name of one.
    """

    class Strategies:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def fcflow_strategies(self) -> Iterable[StrategyType]:
            return [StrategyType(name=self.name, propose=lambda job: [])]

    assert {"acme:cheapest", "in_order", "nearest"} <= with_plugin(Strategies("acme:cheapest")).strategies.keys()
    with pytest.raises(PluginError, match="strategy 'nearest' is offered twice"):
        with_plugin(Strategies("nearest"))


def test_a_secret_is_a_text() -> None:
    """
    A resolver that answers with something else breaks its contract, and the answer is not shown.
    """

    class Bytes:
        @hookimpl
        def fcflow_resolve_secret(self, reference: Mapping[str, Any]) -> Any:
            return b"hunter2"

    with pytest.raises(SecretError) as caught:
        with_plugin(Bytes()).resolve_secret({"vault": "x"})

    assert "hunter2" not in str(caught.value)
