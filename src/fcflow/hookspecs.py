"""
Where plugins join.

``fcflow_<plural>`` offers something, ``fcflow_<verb>_<noun>`` decides something (the first answer that is not ``None``
counts), ``fcflow_<noun>_event`` observes and cannot veto. Arguments may be added at any time, so a plugin takes only
the ones it needs. A package joins through the entry-point group ``fcflow``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from fcflow.allocation import StrategyType
    from fcflow.audit import AuditEvent
    from fcflow.formats import CodecType
    from fcflow.rules import EffectType, OperatorType, RuleField
    from fcflow.transports import TransportType

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("fcflow")
hookimpl = pluggy.HookimplMarker("fcflow")


@hookspec
def fcflow_transports() -> Iterable[TransportType]:  # type: ignore[empty-body]  # a specification
    """Offer transports. All answers are collected; two for one scheme are an error."""


@hookspec
def fcflow_codecs() -> Iterable[CodecType]:  # type: ignore[empty-body]  # a specification
    """Offer codecs for layouts. Two of one name are an error."""


@hookspec
def fcflow_strategies() -> Iterable[StrategyType]:  # type: ignore[empty-body]  # a specification
    """Offer allocation strategies. Two of one name are an error; the core validates every plan they propose."""


@hookspec
def fcflow_operators() -> Iterable[OperatorType]:  # type: ignore[empty-body]  # a specification
    """Offer rule operators; their names carry a namespace, ``acme:within_km``."""


@hookspec
def fcflow_fields() -> Iterable[RuleField]:  # type: ignore[empty-body]  # a specification
    """Offer fields that rules may ask for; their names carry a namespace, ``acme:margin``."""


@hookspec
def fcflow_effects() -> Iterable[EffectType]:  # type: ignore[empty-body]  # a specification
    """Offer effects that rules may name; their names carry a namespace, ``acme:gift_wrap``."""


@hookspec(firstresult=True)
def fcflow_resolve_secret(reference: Mapping[str, Any]) -> str | None:
    """Decide what a secret *reference* stands for. ``None`` passes it on."""


@hookspec
def fcflow_audit_event(event: AuditEvent) -> None:
    """Observe an audit event after it was committed. Called one observer at a time; errors are logged, never raised."""
