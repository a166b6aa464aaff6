"""Rules for parcels in the United Kingdom: the operator ``uk:districts`` and the strategy ``uk:cheapest``."""

from __future__ import annotations

from collections.abc import Iterable

from fcflow.allocation import StrategyType
from fcflow.hookspecs import hookimpl
from fcflow.rules import OperatorType
from fcflow_uk_rules.cheapest import CHEAPEST
from fcflow_uk_rules.districts import DISTRICTS

__all__ = ["CHEAPEST", "DISTRICTS", "fcflow_operators", "fcflow_strategies"]


@hookimpl
def fcflow_operators() -> Iterable[OperatorType]:
    """Offer the operator; fcflow finds this module by its entry point."""
    return [DISTRICTS]


@hookimpl
def fcflow_strategies() -> Iterable[StrategyType]:
    """Offer the strategy."""
    return [CHEAPEST]
