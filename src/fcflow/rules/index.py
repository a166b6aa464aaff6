"""
The predicate index: which rules can still match an order, found without asking them one by one.

Every rule is written as alternatives (an *or* of *ands*), and each alternative is a **column**: a bit in a whole
number. A **probe** looks once at one value of the order and gives the columns that this value still allows: by hash
for equality and membership, by sorted bounds for ranges, by length for prefixes, by tag and by SKU. The
intersection of what all probes allow leaves the candidates. What the probes have settled is not tested again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from attrs import evolve, field, frozen, mutable

from fcflow.rules.compile import Verdict, all_of, compile_node, key_reader, keys_of
from fcflow.rules.fields import Facts, FieldType
from fcflow.rules.operators import OperatorType
from fcflow.rules.tree import AllOf, AnyOf, Lines, Named, Node, Not, Rule, Test, Truth

__all__ = ["Index"]

MAX_ALTERNATIVES = 16
MIN_COLUMNS = 2
MAX_KNOWN = 4_096

# ------------------------------------------------------------------ normal form

_OPPOSITES = {"eq": "ne", "ne": "eq", "in": "not_in", "not_in": "in", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}


def _negation_normal(node: Node, positive: bool = True) -> Node:
    """*node*, or its negation, with *not* only around what cannot be written without it."""
    match node:
        case Named():
            return _negation_normal(node.part, positive)
        case Not():
            return _negation_normal(node.part, not positive)
        case AllOf() | AnyOf():
            parts = tuple(_negation_normal(part, positive) for part in node.parts)
            return AllOf(parts) if isinstance(node, AllOf) is positive else AnyOf(parts)
        case Lines("any_line" | "no_line") if not positive:
            return evolve(node, kind="no_line" if node.kind == "any_line" else "any_line")
        case Test() if not positive and node.op in _OPPOSITES:
            return evolve(node, op=_OPPOSITES[node.op])
        case _:
            return node if positive else Not(node)


def _alternatives(node: Node) -> list[tuple[Node, ...]]:
    """An *or* of *ands* of leaves; a part that would give too many stays a leaf."""
    if isinstance(node, AnyOf):
        found = [each for part in node.parts for each in _alternatives(part)]
        return found if len(found) <= MAX_ALTERNATIVES else [(node,)]
    if not isinstance(node, AllOf):
        return [()] if isinstance(node, Truth) else [(node,)]
    joined: list[tuple[Node, ...]] = [()]
    for part in node.parts:
        choices = _alternatives(part)
        if len(joined) * len(choices) > MAX_ALTERNATIVES:
            choices = [(part,)]
        joined = [(*each, *choice) for each in joined for choice in choices]
    return joined


# ------------------------------------------------------------------ what a leaf asks of a probe


@frozen
class _Ask:
    """
    What one leaf asks of one probe.

    Args:
        probe: Kind of the probe, and what tells it from others of its kind.

        leaf: A test of the field that the probe looks at.

        settles: Whether the probe's answer is the leaf's, so that the leaf need not be tested.
    """

    probe: tuple[str, str, Any]
    leaf: Test
    settles: bool = True
    positive: bool = True


_HASHED = frozenset({"eq", "ne", "in", "not_in"})
_RANGED = frozenset({"lt", "le", "gt", "ge", "between"})
_NUMBERS = (FieldType.INTEGER, FieldType.MONEY)


def _ask_of(node: Node) -> _Ask | None:
    positive = not isinstance(node, Not)
    inner = node.part if isinstance(node, Not) else node
    if isinstance(inner, Lines):
        return _ask_of_lines(inner) if positive else None
    if not isinstance(inner, Test) or inner.field.scope == "line":
        return None
    if inner.operator is not None:
        return _ask_of_operator(inner, inner.operator) if positive else None
    if inner.field.type is FieldType.SET:
        return _ask_of_set(inner, positive)
    return _ask_of_value(inner) if positive else None


def _ask_of_operator(test: Test, operator: OperatorType) -> _Ask | None:
    return _Ask(("hash", test.field.name, operator.name), test) if operator.indexed else None


def _ask_of_value(test: Test) -> _Ask | None:
    key = (test.field.name, test.currency if test.field.type is FieldType.MONEY else test.ignore_case)
    if test.op in _HASHED:
        return _Ask(("hash", *key), test)
    if test.op in _RANGED and test.field.type in _NUMBERS:
        return _Ask(("range", *key), test)
    return _Ask(("prefix", *key), test) if test.op == "starts_with" else None


def _ask_of_set(test: Test, positive: bool) -> _Ask | None:
    probe = ("member", test.field.name, test.ignore_case)
    if test.op != "contains_all":
        return _Ask(probe, test, positive=positive)
    return _Ask(probe, evolve(test, op="contains", value=test.value[0]), settles=False) if positive else None


def _ask_of_lines(node: Lines) -> _Ask | None:
    """*any_line* and *no_line* by SKU; of several tests on the line, the SKU only narrows."""
    part = _negation_normal(node.part)
    tests = part.parts if isinstance(part, AllOf) else (part,)
    by_sku = [each for each in tests if isinstance(each, Test) and each.field.name == "line.sku"]
    named = [each for each in by_sku if each.op in ("eq", "in")]
    if not named or node.kind == "every_line" or (node.kind == "no_line" and len(tests) > 1):
        return None
    probe = ("member", "line.sku", named[0].ignore_case)
    return _Ask(probe, named[0], settles=len(tests) == 1, positive=node.kind == "any_line")


# ------------------------------------------------------------------ probes

Probe = Callable[[Facts], int]
_Hashed = tuple[Callable[[Facts], Any], dict[Any, int], int]


def _bits(numbers: Iterable[int]) -> int:
    """The whole number with these bits; built from bytes, since adding bits one by one is quadratic."""
    numbers = list(numbers)
    if not numbers:
        return 0
    made = bytearray(max(numbers) // 8 + 1)
    for number in numbers:
        made[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(made, "little")


def _folded(value: Any, fold: bool) -> Any:
    return value.casefold() if fold and isinstance(value, str) else value


def _wanted(test: Test) -> tuple[Any, ...]:
    if test.operator is not None:
        return tuple(keys_of(test.operator, test.value))
    values = test.value if isinstance(test.value, tuple) else (test.value,)
    return tuple(_folded(value, test.ignore_case) for value in values)


def _reader(test: Test) -> Callable[[Facts], Any]:
    """The value that the probe looks at, as the test would see it; ``None`` is unknown."""
    get, currency = test.field.get, test.currency
    if test.operator is not None:
        return key_reader(test.operator, get)
    if test.field.type is FieldType.MONEY:
        return lambda facts: get(facts) if facts.order.currency == currency else None
    if not test.ignore_case:
        return get

    def folded(facts: Facts) -> Any:
        value = get(facts)
        return None if value is None else value.casefold()

    return folded


@frozen
class _Asked:
    """Everything that columns ask of one probe; *others* are the columns that ask nothing of it."""

    asks: Sequence[tuple[int, _Ask]]
    others: int
    if_absent: int

    @property
    def first(self) -> Test:
        return self.asks[0][1].leaf


def _hash_rows(asked: _Asked) -> _Hashed:
    allowed: dict[int, set[Any] | None] = {}
    refused: dict[int, set[Any]] = {}
    for column, ask in asked.asks:
        values = set(_wanted(ask.leaf))
        if ask.leaf.op in ("eq", "in") or ask.leaf.operator is not None:
            before = allowed.get(column)
            allowed[column] = values if before is None else before & values
        else:
            allowed.setdefault(column, None)
            refused.setdefault(column, set()).update(values)
    table, default = _hash_table(allowed, refused)
    rows = {value: row | asked.others for value, row in table.items()}
    return _reader(asked.first), {**rows, None: asked.if_absent}, default | asked.others


def _hash_table(allowed: dict[int, set[Any] | None], refused: dict[int, set[Any]]) -> tuple[dict[Any, int], int]:
    """Per value the columns that allow it, and the columns that allow every value that stands nowhere."""
    positive: dict[Any, list[int]] = {}
    negative: dict[Any, list[int]] = {value: [] for values in refused.values() for value in values}
    for column, values in allowed.items():
        for value in values if values is not None else ():
            if value not in refused.get(column, ()):
                positive.setdefault(value, []).append(column)
    open_columns = [column for column, values in allowed.items() if values is None]
    for column in open_columns:
        for value in refused[column]:
            negative[value].append(column)
    default = _bits(open_columns)
    values_named = positive.keys() | negative.keys()
    table = {v: _bits(positive.get(v, ())) | (default & ~_bits(negative.get(v, ()))) for v in values_named}
    return table, default


def _range_probe(asked: _Asked) -> Probe:
    """Between two neighbouring bounds, and on each of them, the same columns hold."""
    points = sorted({value for _, ask in asked.asks for value in _wanted(ask.leaf)})
    places = {point: 2 * number + 1 for number, point in enumerate(points)}
    spans: dict[int, tuple[int, int]] = {}
    for column, ask in asked.asks:
        low, high = _span(ask.leaf, places, 2 * len(points))
        before = spans.get(column, (0, 2 * len(points)))
        spans[column] = max(low, before[0]), min(high, before[1])
    rows = [row | asked.others for row in _rows(spans, 2 * len(points) + 1)]
    absent, get = asked.if_absent, _reader(asked.first)

    def row_of(value: Any) -> int:
        place = bisect_left(points, value)
        on_a_bound = place < len(points) and points[place] == value
        return rows[2 * place + on_a_bound]

    if asked.first.field.type is FieldType.MONEY:
        return _remembering(get, row_of, absent)

    def probe(facts: Facts) -> int:
        value = get(facts)
        if value is None:
            return absent
        place = bisect_left(points, value)
        on_a_bound = place < len(points) and points[place] == value
        return rows[2 * place + on_a_bound]

    return probe


def _remembering(get: Callable[[Facts], Any], row_of: Callable[[Any], int], absent: int) -> Probe:
    """Amounts are slow to compare, and come again: so many of them are kept, and no long ones."""
    known: dict[Any, int] = {}

    def probe(facts: Facts) -> int:
        value = get(facts)
        if value is None:
            return absent
        row = known.get(value)
        if row is None:
            row = row_of(value)
            if len(known) < MAX_KNOWN and -12 < value.adjusted() < 12 and len(value.as_tuple().digits) < 16:
                known[value] = row
        return row

    return probe


def _span(test: Test, places: dict[Any, int], last: int) -> tuple[int, int]:
    match test.op:
        case "lt":
            return 0, places[test.value] - 1
        case "le":
            return 0, places[test.value]
        case "gt":
            return places[test.value] + 1, last
        case "ge":
            return places[test.value], last
        case _:
            return places[test.value[0]], places[test.value[1]]


def _rows(spans: dict[int, tuple[int, int]], count: int) -> Iterator[int]:
    starts: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for column, (low, high) in spans.items():
        if low <= high:
            starts.setdefault(low, []).append(column)
            ends.setdefault(high + 1, []).append(column)
    row = 0
    for place in range(count):
        row = (row & ~_bits(ends.get(place, ()))) | _bits(starts.get(place, ()))
        yield row


def _prefix_probe(asked: _Asked) -> Probe:
    """The longest prefix that fits says it all: its row holds the columns of the shorter ones too."""
    columns: dict[str, list[int]] = {}
    for column, ask in asked.asks:
        for prefix in _wanted(ask.leaf):
            columns.setdefault(prefix, []).append(column)
    rows = {prefix: _bits(_of_all_beginnings(prefix, columns)) | asked.others for prefix in columns}
    lengths = sorted({len(prefix) for prefix in rows}, reverse=True)
    others, absent, get = asked.others, asked.if_absent, _reader(asked.first)

    def probe(facts: Facts) -> int:
        value = get(facts)
        if value is None:
            return absent
        for length in lengths:
            row = rows.get(value[:length])
            if row is not None:
                return row
        return others

    return probe


def _of_all_beginnings(prefix: str, columns: dict[str, list[int]]) -> list[int]:
    return [column for length in range(len(prefix) + 1) for column in columns.get(prefix[:length], ())]


def _member_probe(asked: _Asked) -> Probe:
    wanted: dict[str, list[int]] = {}
    refused: dict[str, list[int]] = {}
    for column, ask in asked.asks:
        for value in _wanted(ask.leaf):
            (wanted if ask.positive else refused).setdefault(value, []).append(column)
    rows = {value: _bits(columns) for value, columns in wanted.items()}
    barred = {value: _bits(columns) for value, columns in refused.items()}
    start = asked.others | _bits(column for column, ask in asked.asks if not ask.positive)
    members = _members(asked.first)
    if not barred:
        return _any_member(members, rows, start)

    def probe(facts: Facts) -> int:
        row, out = start, 0
        for member in members(facts):
            if member in rows:
                row |= rows[member]
            if member in barred:
                out |= barred[member]
        return row & ~out if out else row

    return probe


def _any_member(members: Callable[[Facts], Iterable[str]], rows: dict[str, int], start: int) -> Probe:
    def probe(facts: Facts) -> int:
        row = start
        for member in members(facts):
            if member in rows:
                row |= rows[member]
        return row

    return probe


def _members(test: Test) -> Callable[[Facts], Iterable[str]]:
    if test.field.name == "line.sku":
        if test.ignore_case:
            return lambda facts: [line.sku.casefold() for line in facts.order.lines]
        return lambda facts: [line.sku for line in facts.order.lines]
    get = test.field.get
    if test.ignore_case:
        return lambda facts: [member.casefold() for member in get(facts)]
    return get


_PROBES = {"range": _range_probe, "prefix": _prefix_probe, "member": _member_probe}
_ONE_ASK_A_COLUMN = frozenset({"prefix", "member"})

# ------------------------------------------------------------------ columns


@mutable
class _Column:
    """One alternative of one rule, while the index is built."""

    number: int
    rule: int
    leaves: tuple[Node, ...]
    asks: dict[int, _Ask] = field(factory=dict)

    def choose(self) -> None:
        """What each leaf can ask; of two that a probe cannot join, the second is left to be tested."""
        taken: set[tuple[str, str, Any]] = set()
        for place, leaf in enumerate(self.leaves):
            ask = _ask_of(leaf)
            if ask is None or (ask.probe in taken and ask.probe[0] in _ONE_ASK_A_COLUMN):
                continue
            taken.add(ask.probe)
            self.asks[place] = ask

    def rest(self, probes: Collection[tuple[str, str, Any]]) -> Verdict | None:
        """What is left to be tested behind these *probes*; ``None`` where they settle everything."""
        left = [
            compile_node(leaf)
            for place, leaf in enumerate(self.leaves)
            if place not in self.asks or self.asks[place].probe not in probes or not self.asks[place].settles
        ]
        return all_of(left) if left else None


class Index:
    """
    Finds the rules that match an order.

    Args:
        rules: In the order in which they are tried; a rule with ``if_unknown`` matches where it is not false.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        columns = _columns(rules)
        asked: dict[tuple[str, str, Any], list[tuple[int, _Ask]]] = {}
        for column in columns:
            for ask in column.asks.values():
                asked.setdefault(ask.probe, []).append((column.number, ask))
        kept = {key: asks for key, asks in asked.items() if len({number for number, _ in asks}) >= MIN_COLUMNS}
        self._everything = (1 << len(columns)) - 1
        self._unknown_matches = _bits(column.number for column in columns if rules[column.rule].if_unknown)
        self._hashed = [_hash_rows(self._asked(asks)) for key, asks in kept.items() if key[0] == "hash"]
        others = sorted((key for key in kept if key[0] != "hash"), key=lambda key: -len(kept[key]))
        self._probes = [_PROBES[key[0]](self._asked(kept[key])) for key in others]
        self._floor = 1 if columns and not columns[-1].asks else 0
        self._columns = [_ready(column, rules, kept) for column in reversed(columns)]
        self._siblings = _siblings(columns)

    def _asked(self, asks: list[tuple[int, _Ask]]) -> _Asked:
        others = self._everything & ~_bits(number for number, _ in asks)
        return _Asked(asks, others, others | self._unknown_matches)

    def matching(self, facts: Facts) -> Iterator[int]:
        """Lazily, the positions of the rules that match, lowest first."""
        left, columns, siblings = self._candidates(facts), self._columns, self._siblings
        while left:
            number = left.bit_length() - 1
            rule, if_unknown, rest = columns[number]
            found = True if rest is None else rest(facts)
            left ^= 1 << number
            if found is True or (found is None and if_unknown):
                yield rule
                left &= ~siblings.get(number, 0)

    def first(self, facts: Facts) -> int:
        """The position of the first rule that matches, or -1."""
        left, columns = self._candidates(facts), self._columns
        while left:
            number = left.bit_length() - 1
            rule, if_unknown, rest = columns[number]
            if rest is None:
                return rule
            found = rest(facts)
            if found is True or (found is None and if_unknown):
                return rule
            left ^= 1 << number
        return -1

    def _candidates(self, facts: Facts) -> int:
        """The columns that are left; a last one that asks nothing of any probe, the catch-all, is left in any case."""
        left = self._everything
        for get, rows, unlisted in self._hashed:
            left &= rows.get(get(facts), unlisted)
        floor = self._floor
        for probe in self._probes:
            if left == floor:
                return left
            left &= probe(facts)
        return left


def _columns(rules: Sequence[Rule]) -> list[_Column]:
    """The columns in the order of their rules, numbered downwards: the first of a set is its highest bit."""
    written = [
        (position, leaves)
        for position, rule in enumerate(rules)
        for leaves in _alternatives(_negation_normal(rule.when))
    ]
    columns = [_Column(len(written) - 1 - place, *each) for place, each in enumerate(written)]
    for column in columns:
        column.choose()
    return columns


_Ready = tuple[int, bool, Verdict | None]


def _ready(column: _Column, rules: Sequence[Rule], probes: Collection[Any]) -> _Ready:
    return column.rule, rules[column.rule].if_unknown, column.rest(probes)


def _siblings(columns: Sequence[_Column]) -> dict[int, int]:
    """For a rule of several columns: all of them, to be dropped once it matches."""
    by_rule: dict[int, list[int]] = {}
    for column in columns:
        by_rule.setdefault(column.rule, []).append(column.number)
    return {number: _bits(numbers) for numbers in by_rule.values() if len(numbers) > 1 for number in numbers}
