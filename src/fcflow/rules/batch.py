"""
Deciding a whole table of orders at once: rule after rule, each on the rows that can still match it.

A rule starts from the shortest of its posting lists and tests its other conditions on those rows only; rows that are
decided already are left out. What cannot be asked of columns (operators of plugins, stock) is asked order by order, of
the rows that everything else has left over. Needs the extra ``batch``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, cast, overload

from attrs import evolve

from fcflow.errors import AllocationError, MissingExtraError
from fcflow.model import Decision, Effect, View
from fcflow.rules.codes import Array, Coded, Members, Ranges, Text, complement, joined, scaled
from fcflow.rules.columns import Columns, local, micros, prepare_table
from fcflow.rules.compile import compile_node
from fcflow.rules.fields import FIELDS, Facts, FieldType
from fcflow.rules.operators import checker
from fcflow.rules.plans import (
    And,
    AnyLine,
    Asker,
    Codes,
    Everything,
    Frame,
    HasMember,
    InStock,
    Nothing,
    OneByOne,
    Or,
    OverLines,
    Plan,
    Shelves,
    Without,
    Words,
)
from fcflow.rules.table import OrderTable
from fcflow.rules.tree import (
    AllOf,
    AnyOf,
    CountLines,
    Lines,
    Named,
    Node,
    Not,
    Rule,
    Stock,
    SumLines,
    Test,
    Truth,
)

try:
    import numpy as np
    import pyarrow as pa
except ImportError as error:
    raise MissingExtraError("batch", error.name or "numpy") from error

__all__ = ["Decisions", "decide_table"]

# ------------------------------------------------------------------ from the condition tree to plans

_OPPOSITE = frozenset({"ne", "not_in"})
_BY_FOLD = frozenset({"eq", "ne", "in", "not_in", "starts_with"})
_MANY_WORDS = 1_000


class _Planner:
    """
    Makes plans of conditions.

    Every method takes the polarity in which a condition is wanted: *negate* asks where it is false instead of true,
    *unknown* says whether the rows where it is unknown are wanted too.
    """

    def __init__(self, columns: Columns, view: View | None, now: datetime | None) -> None:
        self.columns, self.now = columns, now
        self._currencies: dict[tuple[str | None, bool, bool], Plan] = {}
        self._texts: dict[tuple[Any, ...], Plan] = {}
        self._shelves = None if view is None else Shelves(columns, view)
        self.frame = Frame(columns.rows)
        self._lines: Frame | None = None
        self.asker = Asker(columns, view, now)

    def plan(self, node: Node, negate: bool, unknown: bool, of_lines: bool = False) -> Plan:
        """The plan of *node*."""
        match node:
            case Test():
                return self._test(node, negate, unknown, of_lines)
            case AllOf() | AnyOf():
                parts = [self.plan(part, negate, unknown, of_lines) for part in node.parts]
                return self._join(isinstance(node, AllOf) is not negate, parts, of_lines)
            case Not():
                return self.plan(node.part, not negate, unknown, of_lines)
            case Named():
                return self.plan(node.part, negate, unknown, of_lines)
            case Truth():
                return self._always(not negate, of_lines)
            case Lines():
                return self._any_line(node, negate, unknown)
            case CountLines():
                return self._count(node, negate, unknown)
            case SumLines():
                return self._sum(node, negate, unknown)
            case Stock():
                return self._stock(node, negate, unknown)
            case _:
                return self._one_by_one(node, negate, unknown, of_lines)

    def _frame(self, of_lines: bool) -> Frame:
        if not of_lines:
            return self.frame
        if self._lines is None:
            self._lines = Frame(len(self.columns.parents))
        return self._lines

    def _always(self, holds: bool, of_lines: bool) -> Plan:
        frame = self._frame(of_lines)
        return Everything(frame) if holds else Nothing(frame)

    def _one_by_one(self, node: Node, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        return OneByOne(self._frame(of_lines), node, self.asker, of_lines, (negate, unknown))

    def _join(self, is_all: bool, parts: Sequence[Plan], of_lines: bool) -> Plan:
        """All of *parts*, or any of them; those that settle nothing are left out."""
        neutral, decisive = (Everything, Nothing) if is_all else (Nothing, Everything)
        parts = [part for part in parts if type(part) is not neutral]
        if any(type(part) is decisive for part in parts):
            return self._always(not is_all, of_lines)
        if len(parts) < 2:
            return parts[0] if parts else self._always(is_all, of_lines)
        return (And if is_all else Or)(self._frame(of_lines), parts)

    def _codes(self, column: Coded, ranges: Ranges, of_lines: bool) -> Plan:
        size, frame = column.size(ranges), self._frame(of_lines)
        if size in (0, frame.count):
            return self._always(size > 0, of_lines)
        return Codes(frame, column, ranges, size)

    def _ranged(self, column: Coded, ranges: Ranges, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        """Where a value is in *ranges* (or, negated, is there and is not)."""
        ranges = joined(ranges)
        wanted = complement(ranges, 1, column.count) if negate else ranges
        return self._codes(column, joined([(0, 1), *wanted]) if unknown else wanted, of_lines)

    # -------------------------------------------------------------- tests of a field

    def _test(self, test: Test, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        if test.field.name == "now" and test.operator is None:
            verdict = compile_node(test)(cast(Facts, _Now(self.now)))
            return self._always(unknown if verdict is None else verdict is not negate, of_lines)
        column = self.columns.field(test.field, of_lines=of_lines)
        if column is None or test.operator is not None:
            return self._one_by_one(test, negate, unknown, of_lines)
        if test.op in ("exists", "absent"):
            is_there = (test.op == "exists") is not negate
            return self._codes(column, [(1, column.count)] if is_there else [(0, 1)], of_lines)
        match test.field.type:
            case FieldType.SET:
                return self._members(test, column, negate, of_lines)
            case FieldType.INTEGER:
                ranges = [column.between(*each) for each in _intervals(test.op, test.value, 0)]
                return self._ranged(column, ranges, (test.op in _OPPOSITE) is not negate, unknown, of_lines)
            case FieldType.MONEY:
                return self._money(test, column, negate, unknown, of_lines)
            case FieldType.INSTANT:
                return self._instant(test, column, negate, unknown, of_lines)
            case _:
                return self._text(test, column, negate, unknown, of_lines)

    def _text(self, test: Test, column: Text, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        if test.op == "eq":
            key = test.field.name, test.value, test.ignore_case, negate, unknown, of_lines
            if key not in self._texts:
                self._texts[key] = self._words(test, column, negate, unknown, of_lines)
            return self._texts[key]
        return self._words(test, column, negate, unknown, of_lines)

    def _words(self, test: Test, column: Text, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        if test.op in _BY_FOLD:
            make = column.beginning if test.op == "starts_with" else column.equal
            wanted = test.value if isinstance(test.value, tuple) else (test.value,)
            if test.ignore_case:
                column = self.columns.derived(test.field, "folded", of_lines, lambda: column.folded)
                make = column.beginning if test.op == "starts_with" else column.equal
                wanted = tuple(each.casefold() for each in wanted)
            ranges = [make(each) for each in wanted]
            return self._ranged(column, ranges, (test.op in _OPPOSITE) is not negate, unknown, of_lines)
        check = checker(test.field.type, test.op, test.value, ignore_case=test.ignore_case)

        def passes(word: str) -> bool:
            found = check(word, cast(Facts, None))
            return unknown if found is None else found is not negate

        if len(column.words) > _MANY_WORDS:
            return Words(self._frame(of_lines), column, passes, unknown)
        ranges = [(code, code + 1) for code, word in enumerate(column.words, start=1) if passes(word)]
        return self._codes(column, joined([(0, int(unknown)), *ranges]), of_lines)

    def _members(self, test: Test, column: Members, negate: bool, of_lines: bool) -> Plan:
        wanted = test.value if isinstance(test.value, tuple) else (test.value,)
        if test.ignore_case:
            column = self.columns.derived(test.field, "folded", of_lines, lambda: column.folded)
            wanted = tuple(each.casefold() for each in wanted)
        ranges = [column.text.equal(each) for each in wanted]
        groups = [[each] for each in ranges] if test.op == "contains_all" else [ranges]
        plans = [self._member(column, joined(group), negate, of_lines) for group in groups]
        return self._join(not negate, plans, of_lines)

    def _member(self, column: Members, ranges: Ranges, negate: bool, of_lines: bool) -> Plan:
        if not ranges:
            return self._always(negate, of_lines)
        plan = HasMember(self._frame(of_lines), column, ranges)
        return Without(plan) if negate else plan

    def _money(self, test: Test, column: Any, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        ranges = [column.between(*each) for each in _intervals(test.op, test.value, column.scale)]
        amount = self._ranged(column, ranges, (test.op in _OPPOSITE) is not negate, unknown, of_lines)
        return self._in_currency(amount, test.currency, unknown, of_lines)

    def _in_currency(self, plan: Plan, currency: str | None, unknown: bool, of_lines: bool) -> Plan:
        """*plan* where the order is in *currency*; elsewhere it is unknown."""
        key = currency, unknown, of_lines
        if key not in self._currencies:
            text = self.columns.field(FIELDS["currency"], of_lines=of_lines)
            ranges = joined([text.equal(currency)])
            wanted = complement(ranges, 0, text.count) if unknown else ranges
            self._currencies[key] = self._codes(text, wanted, of_lines)
        return self._join(not unknown, [plan, self._currencies[key]], of_lines)

    def _instant(self, test: Test, column: Any, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        if test.op in ("weekday_in", "time_between"):
            column = self._local(test, of_lines)[test.op == "time_between"]
        ranges = [column.between(*each) for each in _spans(test, self.now)]
        return self._ranged(column, ranges, negate, unknown, of_lines)

    def _local(self, test: Test, of_lines: bool) -> tuple[Any, Any]:
        zone = test.zone
        assert zone is not None  # the parser gives these operators a zone

        def make() -> tuple[Any, Any]:
            if not of_lines:
                return local(self.columns.field(test.field), zone)
            days, times = self._local(test, False)
            return days.through(self.columns.parents), times.through(self.columns.parents)

        made: tuple[Any, Any] = self.columns.derived(test.field, f"local {zone.key}", of_lines, make)
        return made

    # -------------------------------------------------------------- over lines

    def _any_line(self, node: Lines, negate: bool, unknown: bool) -> Plan:
        """*every_line* is *no line that is not*, and *no_line* is *not any line*; in Kleene's logic too."""
        is_any = (node.kind == "any_line") is not negate
        if node.kind == "every_line":
            is_any = negate
        inner = self.plan(node.part, node.kind == "every_line", unknown is is_any, of_lines=True)
        plan = self._of_lines(inner)
        if is_any:
            return plan
        if isinstance(plan, Nothing | Everything):
            return self._always(isinstance(plan, Nothing), False)
        return Without(plan)

    def _of_lines(self, inner: Plan) -> Plan:
        if isinstance(inner, Nothing):
            return Nothing(self.frame)
        return AnyLine(self.frame, self.columns, inner)

    def _count(self, node: CountLines, negate: bool, unknown: bool) -> Plan:
        negate = (node.op in _OPPOSITE) is not negate
        [bounds] = _intervals(node.op, node.value, 0)
        if node.where is None:
            column = self.columns.field(FIELDS["line_count"])
            return self._ranged(column, [column.between(*bounds)], negate, unknown, False)
        return self._over_lines(node.where, None, bounds, negate, unknown)

    def _sum(self, node: SumLines, negate: bool, unknown: bool) -> Plan:
        column, sums = self.columns.field(node.field), self.columns.sums(node.field)
        if column is None or sums is None:
            return self._one_by_one(node, negate, unknown, False)
        opposite = (node.op in _OPPOSITE) is not negate
        [bounds] = _intervals(node.op, node.value, column.scale)
        if node.where is None:
            plan = self._ranged(sums, [sums.between(*bounds)], opposite, unknown, False)
        else:
            plan = self._over_lines(node.where, column, bounds, opposite, unknown)
        if node.field.type is FieldType.MONEY:
            plan = self._in_currency(plan, node.currency, unknown, False)
        return plan

    def _stock(self, node: Stock, negate: bool, unknown: bool) -> Plan:
        if self._shelves is None or self.columns.sums(FIELDS["line.quantity"]) is None:
            return self._one_by_one(node, negate, unknown, False)
        return InStock(self.frame, self.columns, self._shelves, node, (negate, unknown))

    def _over_lines(self, where: Node, value: Any, bounds: Any, negate: bool, unknown: bool) -> Plan:
        sure, maybe = (self.plan(where, False, each, of_lines=True) for each in (False, True))
        return OverLines(self.frame, self.columns, sure, maybe, value, bounds, (negate, unknown))


class _Now:
    """Facts of which only the time is known."""

    order = view = line = None

    def __init__(self, now: datetime | None) -> None:
        self.now = now


Interval = tuple[int | None, int | None]


def _intervals(op: str, value: Any, scale: int) -> list[Interval]:
    """The whole numbers that the value of a test stands for; for ``ne`` and ``not_in`` those that it refuses."""
    if op in ("in", "not_in"):
        return [(above, below) for below, above in (scaled(each, scale) for each in value)]
    if op == "between":
        return [(scaled(value[0], scale)[1], scaled(value[1], scale)[0])]
    below, above = scaled(value, scale)
    match op:
        case "lt":
            return [(None, above - 1)]
        case "le":
            return [(None, below)]
        case "gt":
            return [(below + 1, None)]
        case "ge":
            return [(above, None)]
        case _:
            return [(above, below)]


def _spans(test: Test, now: datetime | None) -> list[Interval]:
    """The same for a test of an instant; weekdays and times of day are numbers of their own."""
    value, now_us = test.value, 0 if now is None else micros(now)
    match test.op:
        case "before":
            return [(None, (now_us if value == "now" else micros(value)) - 1)]
        case "after":
            return [((now_us if value == "now" else micros(value)) + 1, None)]
        case "within_last":
            return [(now_us - _micros_of(value), now_us)]
        case "within_next":
            return [(now_us, now_us + _micros_of(value))]
        case "between":
            return [(micros(value[0]), micros(value[1]))]
        case "weekday_in":
            return [(day, day) for day in value]
        case _:
            start, end = (_since_midnight(each) for each in value)
            return [(start, end - 1)] if start < end else [(start, None), (None, end - 1)]


def _micros_of(duration: Any) -> int:
    return int(duration.days * 86_400 + duration.seconds) * 1_000_000 + int(duration.microseconds)


def _since_midnight(time: Any) -> int:
    return int((time.hour * 60 + time.minute) * 60 + time.second) * 1_000_000 + int(time.microsecond)


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
    table, planner = columns.table, _Planner(columns, view, now)
    decided, left = np.full(table.rows, -1, dtype=np.int64), np.ones(table.rows, dtype=bool)
    extras, open_rows = _Extras(table.rows), table.rows
    for position, rule in enumerate(rules):
        if not open_rows:
            break
        rows = planner.plan(rule.when, False, rule.if_unknown).rows(left) if rule.enabled else np.arange(0)
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
        distinct, self._kinds = np.unique(keys, return_inverse=True)
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
