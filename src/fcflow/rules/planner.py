"""
From the conditions of rules to plans over the columns of a table.

Needs the extra ``batch``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, cast

from fcflow.model import View
from fcflow.rules.codes import Coded, Members, Ranges, Text, complement, joined
from fcflow.rules.columns import Columns
from fcflow.rules.compile import compile_node
from fcflow.rules.fields import FIELDS, Facts, Field, FieldType
from fcflow.rules.numeric import intervals, local, ranges_of, spans
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
from fcflow.rules.tree import (
    AllOf,
    AnyOf,
    CountLines,
    Lines,
    Named,
    Node,
    Not,
    Stock,
    SumLines,
    Test,
    Truth,
)

__all__ = ["Planner"]

_OPPOSITE = frozenset({"ne", "not_in"})
_BY_FOLD = frozenset({"eq", "ne", "in", "not_in", "starts_with"})
_MANY_WORDS = 1_000

_Ask = Callable[[Test, bool, bool], Plan]


class _Constants(dict[tuple[bool, bool], Plan]):
    """The plans of all rows and of none, of orders and of lines, each made once."""

    def __init__(self, frame: Callable[[bool], Frame]) -> None:
        super().__init__()
        self._frame = frame

    def __missing__(self, key: tuple[bool, bool]) -> Plan:
        holds, of_lines = key
        frame = self._frame(of_lines)
        made: Plan = Everything(frame) if holds else Nothing(frame)
        self[key] = made
        return made


class Planner:
    """
    Makes plans of conditions.

    Every method takes the polarity in which a condition is wanted: *negate* asks where it is false instead of true,
    *unknown* says whether the rows where it is unknown are wanted too.
    """

    def __init__(self, columns: Columns, view: View | None, now: datetime | None) -> None:
        self.columns, self.now = columns, now
        self._currencies: dict[tuple[str | None, bool, bool], Plan] = {}
        self._texts: dict[tuple[Any, ...], Plan] = {}
        self._asked: dict[tuple[str, bool], _Ask] = {}
        self._shelves = None if view is None else Shelves(columns, view)
        self.frame = Frame(columns.rows)
        self._constant = _Constants(self._frame)
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
            case _:
                return self._of_order(node, negate, unknown, of_lines)

    def _of_order(self, node: Node, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        match node:
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

    @cached_property
    def _lines(self) -> Frame:
        return Frame(len(self.columns.parents))

    def _frame(self, of_lines: bool) -> Frame:
        return self._lines if of_lines else self.frame

    def _always(self, holds: bool, of_lines: bool) -> Plan:
        return self._constant[holds, of_lines]

    def _one_by_one(self, node: Node, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        return OneByOne(self._frame(of_lines), node, self.asker, of_lines, (negate, unknown))

    def _join(self, is_all: bool, parts: Sequence[Plan], of_lines: bool) -> Plan:
        """All of *parts*, or any of them; those that settle nothing are left out."""
        neutral, decisive = (Everything, Nothing) if is_all else (Nothing, Everything)
        kept = []
        for part in parts:
            kind = type(part)
            if kind is decisive:
                return part
            if kind is not neutral:
                kept.append(part)
        if len(kept) < 2:
            return kept[0] if kept else self._always(is_all, of_lines)
        return (And if is_all else Or)(self._frame(of_lines), kept)

    def _codes(self, column: Coded, ranges: Ranges, of_lines: bool) -> Plan:
        size, frame = column.size(ranges), self._lines if of_lines else self.frame
        if size == 0 or size == frame.count:
            return self._always(size > 0, of_lines)
        return Codes(frame, column, ranges, size)

    def _ranged(self, column: Coded, ranges: Ranges, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        """Where a value is in *ranges* (or, negated, is there and is not)."""
        if len(ranges) > 1 or negate or unknown:
            ranges = joined(ranges)
            wanted = complement(ranges, 1, column.count) if negate else ranges
            ranges = joined([(0, 1), *wanted]) if unknown else wanted
        elif not ranges or ranges[0][0] >= ranges[0][1]:
            return self._always(False, of_lines)
        return self._codes(column, ranges, of_lines)

    # -------------------------------------------------------------- tests of a field

    def _test(self, test: Test, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        if test.operator is not None:
            return self._one_by_one(test, negate, unknown, of_lines)
        key = test.field.name, of_lines
        ask = self._asked.get(key)
        if ask is None:
            ask = self._asked[key] = self._ask(test.field, of_lines)
        return ask(test, negate, unknown)

    def _ask(self, field: Field, of_lines: bool) -> _Ask:
        """What makes the plan of a test of *field*."""
        if field.name == "now":
            return lambda test, negate, unknown: self._of_now(test, negate, unknown, of_lines)
        column = self.columns.field(field, of_lines=of_lines)
        if column is None:
            return lambda test, negate, unknown: self._one_by_one(test, negate, unknown, of_lines)
        make = self._makers()[field.type]

        def ask(test: Test, negate: bool, unknown: bool) -> Plan:
            if test.op == "exists" or test.op == "absent":
                is_there = (test.op == "exists") is not negate
                return self._codes(column, [(1, column.count)] if is_there else [(0, 1)], of_lines)
            return make(test, column, negate, unknown, of_lines)

        return ask

    def _makers(self) -> dict[FieldType, Callable[..., Plan]]:
        return {
            FieldType.SET: self._members,
            FieldType.INTEGER: self._integer,
            FieldType.MONEY: self._money,
            FieldType.INSTANT: self._instant,
            FieldType.TEXT: self._text,
            FieldType.CHOICE: self._text,
        }

    def _of_now(self, test: Test, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        verdict = compile_node(test)(cast(Facts, _Now(self.now)))
        return self._always(unknown if verdict is None else verdict is not negate, of_lines)

    def _integer(self, test: Test, column: Any, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        ranges = ranges_of(test, column, 0)
        return self._ranged(column, ranges, (test.op in _OPPOSITE) is not negate, unknown, of_lines)

    def _text(self, test: Test, column: Text, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        if test.op == "eq":
            key = test.field.name, test.value, test.ignore_case, negate, unknown, of_lines
            if key not in self._texts:
                self._texts[key] = self._words(test, column, negate, unknown, of_lines)
            return self._texts[key]
        return self._words(test, column, negate, unknown, of_lines)

    def _words(self, test: Test, column: Text, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        if test.op in _BY_FOLD:
            wanted = test.value if isinstance(test.value, tuple) else (test.value,)
            if test.ignore_case:
                column = self.columns.derived(test.field, "folded", of_lines, lambda: column.folded)
                wanted = tuple(each.casefold() for each in wanted)
            is_stem = test.op == "starts_with"
            ranges = [column.beginning(each) for each in wanted] if is_stem else column.equal(wanted)
            return self._ranged(column, ranges, (test.op in _OPPOSITE) is not negate, unknown, of_lines)
        check = checker(test.field.type, test.op, test.value, ignore_case=test.ignore_case)

        def passes(word: str) -> bool:
            found = check(word, cast(Facts, None))
            return unknown if found is None else found is not negate

        if len(column.words) > _MANY_WORDS:
            return Words(self._frame(of_lines), column, passes, unknown)
        ranges = [(code, code + 1) for code, word in enumerate(column.words, start=1) if passes(word)]
        return self._codes(column, joined([(0, int(unknown)), *ranges]), of_lines)

    def _members(self, test: Test, column: Members, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        """A set is always known."""
        wanted = test.value if isinstance(test.value, tuple) else (test.value,)
        if test.ignore_case:
            column = self.columns.derived(test.field, "folded", of_lines, lambda: column.folded)
            wanted = tuple(each.casefold() for each in wanted)
        groups = [[each] for each in wanted] if test.op == "contains_all" else [wanted]
        plans = [self._member(column, column.text.equal(group), negate, of_lines) for group in groups]
        return self._join(not negate, plans, of_lines)

    def _member(self, column: Members, ranges: Ranges, negate: bool, of_lines: bool) -> Plan:
        if not ranges:
            return self._always(negate, of_lines)
        plan = HasMember(self._frame(of_lines), column, ranges)
        return Without(plan) if negate else plan

    def _money(self, test: Test, column: Any, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        ranges = ranges_of(test, column, column.scale)
        amount = self._ranged(column, ranges, (test.op in _OPPOSITE) is not negate, unknown, of_lines)
        return self._in_currency(amount, test.currency, unknown, of_lines)

    def _in_currency(self, plan: Plan, currency: str | None, unknown: bool, of_lines: bool) -> Plan:
        """*plan* where the order is in *currency*; elsewhere it is unknown."""
        key = currency, unknown, of_lines
        if key not in self._currencies:
            text = self.columns.field(FIELDS["currency"], of_lines=of_lines)
            ranges = text.equal([currency])
            wanted = complement(ranges, 0, text.count) if unknown else ranges
            self._currencies[key] = self._codes(text, wanted, of_lines)
        wanted = self._currencies[key]
        if type(wanted) is Everything and not unknown:
            return plan
        return self._join(not unknown, [plan, wanted], of_lines)

    def _instant(self, test: Test, column: Any, negate: bool, unknown: bool, of_lines: bool) -> Plan:
        if test.op in ("weekday_in", "time_between"):
            column = self._local(test, of_lines)[test.op == "time_between"]
        ranges = [column.between(*each) for each in spans(test, self.now)]
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
        [bounds] = intervals(node.op, node.value, 0)
        if node.where is None:
            column = self.columns.field(FIELDS["line_count"])
            return self._ranged(column, [column.between(*bounds)], negate, unknown, False)
        return self._over_lines(node.where, None, bounds, negate, unknown)

    def _sum(self, node: SumLines, negate: bool, unknown: bool) -> Plan:
        column, sums = self.columns.field(node.field), self.columns.sums(node.field)
        if column is None or sums is None:
            return self._one_by_one(node, negate, unknown, False)
        opposite = (node.op in _OPPOSITE) is not negate
        [bounds] = intervals(node.op, node.value, column.scale)
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
