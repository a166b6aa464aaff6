"""
The rule language: conditions over orders, rule sets that decide which location ships, and why.

The language itself is described in ``docs/reference/rules.md``; what it means is fixed by the vectors in
``fcflow.testing``.
"""

from __future__ import annotations

from fcflow.rules.extensions import EffectType, RuleField
from fcflow.rules.operators import OperatorType
from fcflow.rules.ruleset import Condition, RuleSet, compile_condition, load_rules

__all__ = ["Condition", "EffectType", "OperatorType", "RuleField", "RuleSet", "compile_condition", "load_rules"]
