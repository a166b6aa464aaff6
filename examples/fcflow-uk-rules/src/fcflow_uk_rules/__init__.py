"""Rules for parcels in the United Kingdom: operators, a field, an effect and a strategy."""

from __future__ import annotations

from collections.abc import Iterable

from fcflow.allocation import StrategyType
from fcflow.hookspecs import hookimpl
from fcflow.rules import EffectType, OperatorType, RuleField
from fcflow_uk_rules.cheapest import CHEAPEST
from fcflow_uk_rules.districts import DISTRICTS
from fcflow_uk_rules.ferry import BY_FERRY
from fcflow_uk_rules.region import AREAS, NATION

__all__ = [
    "AREAS",
    "BY_FERRY",
    "CHEAPEST",
    "DISTRICTS",
    "NATION",
    "fcflow_effects",
    "fcflow_fields",
    "fcflow_operators",
    "fcflow_strategies",
]


@hookimpl
def fcflow_operators() -> Iterable[OperatorType]:
    """Offer the operators; fcflow finds this module by its entry point."""
    return [DISTRICTS, AREAS]


@hookimpl
def fcflow_fields() -> Iterable[RuleField]:
    """Offer the field."""
    return [NATION]


@hookimpl
def fcflow_effects() -> Iterable[EffectType]:
    """Offer the effect."""
    return [BY_FERRY]


@hookimpl
def fcflow_strategies() -> Iterable[StrategyType]:
    """Offer the strategy."""
    return [CHEAPEST]
