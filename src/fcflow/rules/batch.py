"""
Deciding a whole table of orders at once: rule after rule, each on the rows that can still match it.

A rule starts from the shortest of its posting lists and tests its other conditions on those rows only; rows that are
decided already are left out. What cannot be asked of columns (operators of plugins, stock) is asked order by order, of
the rows that everything else has left over. Needs the extra ``batch``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, overload

from attrs import evolve

from fcflow.errors import AllocationError, MissingExtraError
from fcflow.model import Decision, Effect, View
from fcflow.rules.codes import Array
from fcflow.rules.columns import prepare_table
from fcflow.rules.planner import Planner
from fcflow.rules.table import OrderTable
from fcflow.rules.tree import Rule

try:
    import numpy as np
    import pyarrow as pa
except ImportError as error:
    raise MissingExtraError("batch", error.name or "numpy") from error

__all__ = ["Decisions", "decide_table"]

# ------------------------------------------------------------------ deciding


def decide_table(
    rules: Sequence[Rule], otherwise: Decision, given: Any, *, view: View | None = None, now: datetime | None = None
) -> Decisions:
    """
    The decision for every row of a table.

    Args:
        rules: All rules of the set, in the order in which they stand.

        given: Anything that speaks Arrow's C stream interface.
    """
    columns = prepare_table(given)
    table, planner = columns.table, Planner(columns, view, now)
    decided, left = np.full(table.rows, -1, dtype=np.int64), np.ones(table.rows, dtype=bool)
    extras, open_rows = _Extras(table.rows), table.rows
    for position, rule in enumerate(rules):
        if not open_rows:
            break
        if not rule.enabled:
            continue
        plan = planner.plan(rule.when, False, rule.if_unknown)
        rows = planner.frame.distinct(plan.rows(left)) if plan.repeats else plan.rows(left)
        if rule.decision is None:
            extras.add(position, rows)
        else:
            decided[rows], left[rows] = position, False
            open_rows -= len(rows)
    return Decisions(rules, otherwise, table, decided, extras)


Chain = tuple[Any, int] | None


class _Extras:
    """Which rules that decide nothing matched each row: the number of a chain, last rule first."""

    def __init__(self, count: int) -> None:
        self.chain_of = np.zeros(count, dtype=np.int64)
        self._chains: list[Chain] = [None]

    @property
    def count(self) -> int:
        """How many chains there are, the empty one included."""
        return len(self._chains)

    def add(self, position: int, rows: Array) -> None:
        """Note that the rule at *position* matched *rows*."""
        if not len(rows):
            return
        before, places = np.unique(self.chain_of.take(rows), return_inverse=True)
        first = len(self._chains)
        self._chains += [(self._chains[chain], position) for chain in before.tolist()]
        self.chain_of[rows] = first + places
        if len(self._chains) > 4 * len(self.chain_of) + 1_000:
            kept, self.chain_of = np.unique(self.chain_of, return_inverse=True)
            self._chains = [self._chains[chain] for chain in kept.tolist()]

    def rules(self, number: int) -> list[int]:
        """The rules of a chain, in the order in which they stand."""
        found, chain = [], self._chains[number]
        while chain is not None:
            chain, position = chain
            found.append(position)
        return found[::-1]


class Decisions(Sequence[Decision]):
    """
    The decisions for the rows of a table, in their order; equal ones are one object.

    Args:
        rule_index: Per row the position, in `RuleSet.rules`, of the rule that decided; -1 where ``otherwise`` did.
    """

    def __init__(
        self, rules: Sequence[Rule], otherwise: Decision, table: OrderTable, rule_index: Array, extras: _Extras
    ) -> None:
        self.rule_index = rule_index
        self._rules, self._otherwise, self._table = rules, otherwise, table
        keys = extras.chain_of * (len(rules) + 1) + rule_index + 1
        distinct, self._kinds = _kinds_of(keys, extras.count * (len(rules) + 1))
        parts = [divmod(key, len(rules) + 1) for key in distinct.tolist()]
        self._made = [self._decision(extras.rules(chain), position - 1) for chain, position in parts]

    def _decision(self, chain: Sequence[int], position: int) -> Decision:
        before: tuple[Effect, ...] = tuple(effect for each in chain for effect in self._rules[each].effects)
        if position < 0:
            return evolve(self._otherwise, effects=before + self._otherwise.effects) if before else self._otherwise
        rule = self._rules[position]
        assert rule.decision is not None  # only rules that decide are noted as deciding
        effects = before + rule.effects
        return evolve(rule.decision, effects=effects) if effects else rule.decision

    def __len__(self) -> int:
        return len(self.rule_index)

    @overload
    def __getitem__(self, at: int) -> Decision: ...
    @overload
    def __getitem__(self, at: slice) -> list[Decision]: ...
    def __getitem__(self, at: int | slice) -> Decision | list[Decision]:
        if isinstance(at, slice):
            return [self._made[kind] for kind in self._kinds[at].tolist()]
        return self._made[int(self._kinds[at])]

    def __iter__(self) -> Iterator[Decision]:
        return map(self._made.__getitem__, self._kinds.tolist())

    def __repr__(self) -> str:
        return f"Decisions({len(self)} rows, {len(self._made)} different)"

    def to_table(self) -> Any:
        """
        The decisions as a `pyarrow.Table`, a row each: the order's id, then what `Decision` holds.

        ``effects`` is a list of structs; ``strategy_options`` is left out.
        """
        made = pa.Table.from_pylist([_row(each) for each in self._made], schema=_schema())
        taken = made.take(pa.array(self._kinds, pa.int64()))
        index = pa.chunked_array([pa.array(self.rule_index)])
        ids = self._table.array("order_id")
        return taken.add_column(0, "order_id", ids).add_column(1, "rule_index", index)


def _kinds_of(keys: Array, limit: int) -> tuple[Array, Array]:
    """The distinct ones of *keys*, all below *limit*, and which of them each is."""
    if limit > len(keys) + 65_536:
        distinct, kinds = np.unique(keys, return_inverse=True)
        return distinct, kinds
    used = np.bincount(keys, minlength=limit) > 0
    return np.flatnonzero(used), (np.cumsum(used) - 1).take(keys)


def _schema() -> Any:
    text = pa.string()
    effect = pa.struct([("rule_id", text), ("kind", text), ("name", text), ("value", text)])
    texts = [(name, text) for name in ("rule_id", "action", "strategy", "split", "if_short", "reason")]
    return pa.schema([*texts, ("locations", pa.list_(text)), ("effects", pa.list_(effect))])


def _row(decision: Decision) -> dict[str, Any]:
    names = ("rule_id", "action", "strategy", "split", "if_short", "reason")
    effects = [{name: getattr(e, name) for name in ("rule_id", "kind", "name", "value")} for e in decision.effects]
    return {**{name: getattr(decision, name) for name in names}, "locations": decision.locations, "effects": effects}


def check_needs(needs_view: bool, needs_now: bool, view: View | None, now: datetime | None) -> None:
    """Refuse to begin where something is missing that a rule asks for."""
    if needs_view and view is None:
        raise AllocationError("table: a rule asks for stock, expected view=, got None")
    if needs_now and now is None:
        raise AllocationError("table: a rule asks for the time, expected now=, got None")
    if now is not None and now.tzinfo is None:
        raise AllocationError(f"now: expected an instant with a time zone, got {now.isoformat()}")
