"""
What a rule set's structure alone proves: rules that one earlier rule covers, rules that contradict themselves.

A condition is written as alternatives (an *or* of *ands*), and each alternative as a **box**: per field what is
allowed, per tag whether it must be there, and so on. One box lies in another where each demand of the second follows
from the first. A bit set over all boxes leaves few pairs to be compared. Nothing here guesses: what cannot be put
into a box is a demand that only the same text meets.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen, mutable

from fcflow.rules.fields import FieldType
from fcflow.rules.index import _alternatives, _bits, _negation_normal
from fcflow.rules.tree import Lines, Named, Node, Not, Rule, Test, Truth, children

__all__ = ["Box", "Scalar", "Tags", "boxes_of", "content", "covered_by_one", "lies_in"]

Key = tuple[str, Any]


# ------------------------------------------------------------------ demands


@frozen
class Scalar:
    """
    What is demanded of one field; it is there, and

    Args:
        allowed: one of these; ``None`` where that is not demanded.

        barred: none of these.

        low: at least this, or more if not *low_in*; the same for *high*.

        prefixes: of each tuple, it begins with one.
    """

    allowed: frozenset[Any] | None = None
    barred: frozenset[Any] = frozenset()
    low: Any = None
    low_in: bool = True
    high: Any = None
    high_in: bool = True
    prefixes: tuple[tuple[str, ...], ...] = ()

    def admits(self, value: Any) -> bool:
        """Whether the field may hold *value*."""
        if value in self.barred or (self.allowed is not None and value not in self.allowed):
            return False
        if self.low is not None and (value < self.low or (value == self.low and not self.low_in)):
            return False
        if self.high is not None and (value > self.high or (value == self.high and not self.high_in)):
            return False
        return all(value.startswith(each) for each in self.prefixes)

    def joined(self, other: Scalar) -> Scalar:
        """Both at once."""
        allowed = other.allowed if self.allowed is None else self.allowed
        low, low_in = max(_bound(self.low, self.low_in, other.low, other.low_in), key=lambda b: (b[0], not b[1]))
        high, high_in = min(_bound(self.high, self.high_in, other.high, other.high_in), key=lambda b: (b[0], b[1]))
        made = Scalar(allowed, self.barred | other.barred, low, low_in, high, high_in, self.prefixes + other.prefixes)
        if allowed is None:
            return made
        return Scalar(frozenset(value for value in allowed if self.admits(value) and other.admits(value)))

    @property
    def is_empty(self) -> bool:
        """Whether no value fulfils it; ``False`` where that is not plain to see."""
        if self.allowed is not None:
            return not self.allowed
        if self.low is not None and self.high is not None:
            return bool(self.low > self.high or (self.low == self.high and not (self.low_in and self.high_in)))
        return any(_are_apart(one, two) for one in self.prefixes for two in self.prefixes)

    def follows_from(self, other: Scalar) -> bool:
        """Whether every value that *other* admits is admitted."""
        if other.allowed is not None:
            return all(map(self.admits, other.allowed))
        if self.allowed is not None or not _is_within(other, self):
            return False
        if any(map(other.admits, self.barred)):
            return False
        return all(any(_all_begin(theirs, ours) for theirs in other.prefixes) for ours in self.prefixes)


def _bound(one: Any, one_in: bool, two: Any, two_in: bool) -> list[tuple[Any, bool]]:
    found = [(value, inside) for value, inside in ((one, one_in), (two, two_in)) if value is not None]
    return found or [(None, True)]


def _are_apart(one: Sequence[str], two: Sequence[str]) -> bool:
    return not any(a.startswith(b) or b.startswith(a) for a in one for b in two)


def _all_begin(theirs: Sequence[str], ours: tuple[str, ...]) -> bool:
    return all(each.startswith(ours) for each in theirs)


def _is_within(inner: Scalar, outer: Scalar) -> bool:
    if outer.low is not None:
        if inner.low is None or inner.low < outer.low:
            return False
        if inner.low == outer.low and inner.low_in and not outer.low_in:
            return False
    if outer.high is not None:
        if inner.high is None or inner.high > outer.high:
            return False
        if inner.high == outer.high and inner.high_in and not outer.high_in:
            return False
    return True


@frozen
class Tags:
    """What is demanded of a set: these members, of each tuple at least one, none of those."""

    required: frozenset[str] = frozenset()
    some: tuple[frozenset[str], ...] = ()
    barred: frozenset[str] = frozenset()

    def joined(self, other: Tags) -> Tags:
        """Both at once."""
        return Tags(self.required | other.required, self.some + other.some, self.barred | other.barred)

    @property
    def is_empty(self) -> bool:
        """Whether no set fulfils it."""
        return bool(self.required & self.barred) or any(each <= self.barred for each in self.some)

    def follows_from(self, other: Tags) -> bool:
        """Whether every set that fulfils *other* fulfils this."""
        if not (self.required <= other.required and self.barred <= other.barred):
            return False
        return all(each & other.required or any(theirs <= each for theirs in other.some) for each in self.some)


@mutable
class Box:
    """
    One alternative of a condition.

    Args:
        any_line: Boxes, each of which some line lies in.

        every_line: Boxes, each of which every line lies in.

        others: What cannot be put into a box, by its `content`.
    """

    scalars: dict[Key, Scalar]
    tags: dict[Key, Tags]
    any_line: list[Box]
    every_line: list[Box]
    others: dict[Any, Node]
    is_empty: bool = False

    @classmethod
    def of(cls, leaves: Iterable[Node]) -> Box:
        """The box of all *leaves* together."""
        box = cls({}, {}, [], [], {})
        for leaf in leaves:
            _demand(box, leaf)
        parts: Iterable[Scalar | Tags | Box] = (*box.scalars.values(), *box.tags.values(), *box.any_line)
        box.is_empty = any(part.is_empty for part in parts)
        return box


def boxes_of(node: Node) -> list[Box]:
    """
    *node* as alternatives: it is true where one of them is.

    Example:
        >>> from fcflow.rules.ruleset import compile_condition
        >>> node = compile_condition({"any": [{"field": "total_quantity", "op": "gt", "value": 3},
        ...     {"field": "channel", "op": "eq", "value": "EBAY"}]}).node
        >>> [list(box.scalars) for box in boxes_of(node)]
        [[('total_quantity', None)], [('channel', False)]]
    """
    return [Box.of(leaves) for leaves in _alternatives(_negation_normal(node))]


def _demand(box: Box, leaf: Node) -> None:
    scalar = _scalar_of(leaf)
    if scalar is not None:
        key, wanted = scalar
        before = box.scalars.get(key)
        box.scalars[key] = wanted if before is None else before.joined(wanted)
        return
    tags = _tags_of(leaf)
    if tags is not None:
        member, demanded = tags
        box.tags[member] = box.tags.get(member, Tags()).joined(demanded)
    elif isinstance(leaf, Lines) and _demand_lines(box, leaf):
        return
    else:
        box.others[content(leaf)] = leaf


def _demand_lines(box: Box, leaf: Lines) -> bool:
    inner = boxes_of(leaf.part if leaf.kind != "no_line" else Not(leaf.part))
    if len(inner) != 1:
        return False
    (box.any_line if leaf.kind == "any_line" else box.every_line).append(inner[0])
    return True


def _scalar_of(leaf: Node) -> tuple[Key, Scalar] | None:
    if not isinstance(leaf, Test) or leaf.operator is not None or leaf.field.type is FieldType.SET:
        return None
    fold = leaf.ignore_case if leaf.field.type in (FieldType.TEXT, FieldType.CHOICE) else leaf.currency
    wanted = _wanted_of(leaf)
    return None if wanted is None else ((leaf.field.name, fold), wanted)


def _wanted_of(test: Test) -> Scalar | None:
    value = _folded(test.value) if test.ignore_case else test.value
    if value == "now" and test.field.type is FieldType.INSTANT:
        return None
    step = 1 if test.field.type is FieldType.INTEGER else 0
    match test.op:
        case "eq":
            return Scalar(allowed=frozenset((value,)))
        case "ne":
            return Scalar(barred=frozenset((value,)))
        case "in":
            return Scalar(allowed=frozenset(value))
        case "not_in":
            return Scalar(barred=frozenset(value))
        case "starts_with":
            return Scalar(prefixes=(value if isinstance(value, tuple) else (value,),))
        case "lt" | "before":
            return Scalar(high=value - 1 if step else value, high_in=bool(step))
        case "gt" | "after":
            return Scalar(low=value + 1 if step else value, low_in=bool(step))
        case "le":
            return Scalar(high=value)
        case "ge":
            return Scalar(low=value)
        case "between":
            return Scalar(low=value[0], high=value[1])
        case _:
            return None


def _folded(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(each.casefold() for each in value)
    return value.casefold() if isinstance(value, str) else value


def _tags_of(leaf: Node) -> tuple[Key, Tags] | None:
    test = leaf.part if isinstance(leaf, Not) else leaf
    if not isinstance(test, Test) or test.operator is not None or test.field.type is not FieldType.SET:
        return None
    value = _folded(test.value) if test.ignore_case else test.value
    members = frozenset(value if isinstance(value, tuple) else (value,))
    key = (test.field.name, test.ignore_case)
    if not isinstance(leaf, Not):
        return key, Tags(some=(members,)) if test.op == "contains_any" and len(members) > 1 else Tags(required=members)
    if test.op == "contains_all" and len(members) > 1:
        return None
    return key, Tags(barred=members)


def content(node: Node) -> Any:
    """What *node* says, wherever it stands: equal for equal conditions, hashable."""
    if isinstance(node, Named):
        return content(node.part)
    if isinstance(node, Test):
        zone = node.zone.key if node.zone is not None else None
        return ("test", node.field.name, node.op, repr(node.written), node.ignore_case, node.currency, zone)
    parts = tuple(map(content, children(node)))
    if isinstance(node, Lines):
        return (node.kind, *parts)
    field = getattr(node, "field", None)
    said = [getattr(node, name, None) for name in ("op", "value", "currency", "at", "covers")]
    return (type(node).__name__, field.name if field is not None else None, *said, *parts)


# ------------------------------------------------------------------ one box in another


def lies_in(inner: Box, outer: Box) -> bool:
    """Whether every order in *inner* is in *outer*; ``False`` where that is not plain to see."""
    if inner.is_empty:
        return True
    return (
        all(_scalar_follows(inner, key, wanted) for key, wanted in outer.scalars.items())
        and all(_tags_follow(inner, key, wanted) for key, wanted in outer.tags.items())
        and all(any(lies_in(ours, theirs) for ours in inner.any_line) for theirs in outer.any_line)
        and all(any(lies_in(ours, theirs) for ours in inner.every_line) for theirs in outer.every_line)
        and all(_other_follows(inner, key, node) for key, node in outer.others.items())
    )


def _scalar_follows(inner: Box, key: Key, wanted: Scalar) -> bool:
    given = inner.scalars.get(key)
    if given is None and key[1] is True:
        exact = inner.scalars.get((key[0], False))
        if exact is None or exact.allowed is None:
            return False
        given = Scalar(allowed=frozenset(map(str.casefold, exact.allowed)))
    return given is not None and wanted.follows_from(given)


def _tags_follow(inner: Box, key: Key, wanted: Tags) -> bool:
    given = inner.tags.get(key)
    return given is not None and wanted.follows_from(given)


def _other_follows(inner: Box, key: Any, node: Node) -> bool:
    if key in inner.others:
        return True
    asks = isinstance(node, Test) and node.op == "exists"
    return asks and isinstance(node, Test) and any(field == node.field.name for field, _ in inner.scalars)


# ------------------------------------------------------------------ all boxes at once


@frozen
class _Ranges:
    """The boxes that demand a lowest or highest value of one field, sorted by it, as cumulated bit sets."""

    points: list[Any]
    rows: list[int]
    all: int

    @classmethod
    def of(cls, found: Iterable[tuple[Any, int]], *, up: bool) -> _Ranges:
        by_point: dict[Any, list[int]] = {}
        for point, column in found:
            by_point.setdefault(point, []).append(column)
        points = sorted(by_point)
        rows, row = [], 0
        for point in points if up else reversed(points):
            row |= _bits(by_point[point])
            rows.append(row)
        return cls(points, rows if up else rows[::-1], row)

    def below(self, value: Any) -> int:
        """Boxes whose lowest value is at most *value*."""
        place = bisect_right(self.points, value)
        return self.rows[place - 1] if place else 0

    def above(self, value: Any) -> int:
        """Boxes whose highest value is at least *value*."""
        place = bisect_left(self.points, value)
        return self.rows[place] if place < len(self.points) else 0


class Covers:
    """
    Finds the boxes that a box may lie in, of those that came before.

    Args:
        boxes: All boxes of the deciding rules, in the order of their rules.
    """

    def __init__(self, boxes: Sequence[Box]) -> None:
        self._boxes = boxes
        asked: dict[Any, list[int]] = {}
        rows: dict[Any, dict[Any, list[int]]] = {}
        lows: dict[Key, list[tuple[Any, int]]] = {}
        highs: dict[Key, list[tuple[Any, int]]] = {}
        for column, box in enumerate(boxes):
            for probe, values in _pins(box):
                asked.setdefault(probe, []).append(column)
                for value in values:
                    rows.setdefault(probe, {}).setdefault(value, []).append(column)
            for key, wanted in box.scalars.items():
                if wanted.low is not None:
                    lows.setdefault(key, []).append((wanted.low, column))
                if wanted.high is not None:
                    highs.setdefault(key, []).append((wanted.high, column))
        self._asked = {probe: _bits(columns) for probe, columns in asked.items()}
        self._rows = {p: {v: _bits(columns) for v, columns in row.items()} for p, row in rows.items()}
        self._lows = {key: _Ranges.of(found, up=True) for key, found in lows.items()}
        self._highs = {key: _Ranges.of(found, up=False) for key, found in highs.items()}

    def of(self, box: Box, before: int) -> Iterator[int]:
        """Lazily, the numbers of the boxes below *before* that *box* lies in."""
        left = self._filtered(box, (1 << before) - 1)
        while left:
            lowest = left & -left
            left ^= lowest
            number = lowest.bit_length() - 1
            if lies_in(box, self._boxes[number]):
                yield number

    def _filtered(self, box: Box, left: int) -> int:
        given: dict[Any, list[Any]] = {}
        for probe, values in _offers(box):
            given.setdefault(probe, []).extend(values)
        for probe, asked in self._asked.items():
            if not left:
                return 0
            rows, allowed = self._rows.get(probe, {}), 0
            for value in given.get(probe, ()):
                allowed |= rows.get(value, 0)
            left &= allowed | ~asked
        return self._in_ranges(box, left)

    def _in_ranges(self, box: Box, left: int) -> int:
        for key, ranges in self._lows.items():
            low = _lowest(box.scalars.get(key))
            left &= ~ranges.all | (ranges.below(low) if low is not None else 0)
        for key, ranges in self._highs.items():
            high = _highest(box.scalars.get(key))
            left &= ~ranges.all | (ranges.above(high) if high is not None else 0)
        return left


def _lowest(wanted: Scalar | None) -> Any:
    if wanted is None:
        return None
    return min(wanted.allowed) if wanted.allowed else wanted.low


def _highest(wanted: Scalar | None) -> Any:
    if wanted is None:
        return None
    return max(wanted.allowed) if wanted.allowed else wanted.high


def _pins(box: Box) -> Iterator[tuple[Any, Iterable[Any]]]:
    """What a box inside this one has to offer: per probe, one of the values."""
    for key, wanted in box.scalars.items():
        if wanted.allowed is not None:
            yield ("value", *key), wanted.allowed
        elif wanted.prefixes:
            yield ("prefix", *key), wanted.prefixes[0]
    for key, tags in box.tags.items():
        if tags.required:
            yield ("tag", *key), (min(tags.required),)
    for line in box.any_line[:1]:
        sku = line.scalars.get(("line.sku", False))
        if sku is not None and sku.allowed is not None:
            yield ("sku",), sku.allowed
    for other, node in box.others.items():
        if not (isinstance(node, Test) and node.op == "exists"):
            yield ("other",), (other,)
            return


def _offers(box: Box) -> Iterator[tuple[Any, Iterable[Any]]]:
    for (field, fold), given in box.scalars.items():
        if given.allowed:
            value = next(iter(given.allowed))
            yield ("value", field, fold), (value,)
            if isinstance(value, str) and fold is False:
                yield ("value", field, True), (value.casefold(),)
                yield ("prefix", field, True), _beginnings(value.casefold())
            if isinstance(value, str):
                yield ("prefix", field, fold), _beginnings(value)
        for several in given.prefixes:
            yield ("prefix", field, fold), _beginnings(several[0])
    for key, tags in box.tags.items():
        yield ("tag", *key), tags.required
    for line in box.any_line:
        sku = line.scalars.get(("line.sku", False))
        if sku is not None and sku.allowed:
            yield ("sku",), (next(iter(sku.allowed)),)
    yield ("other",), box.others


def _beginnings(text: str) -> list[str]:
    return [text[:length] for length in range(1, len(text) + 1)]


# ------------------------------------------------------------------ rules


def covered_by_one(rules: Sequence[Rule], boxes: Mapping[int, list[Box]]) -> Iterator[tuple[int, list[int]]]:
    """
    Lazily, each rule that lies in earlier deciding rules, with all of these that contain it by themselves.

    Args:
        boxes: Of each rule, by its position, as `boxes_of` gives them.
    """
    owners = [place for place, rule in enumerate(rules) if rule.decision is not None for _ in boxes[place]]
    covers = Covers([box for place, rule in enumerate(rules) if rule.decision is not None for box in boxes[place]])
    before = 0
    for place, rule in enumerate(rules):
        found: set[int] | None = None
        for box in boxes[place]:
            mine = {owners[number] for number in covers.of(box, before)}
            found = mine if found is None else found & mine
            if not found:
                break
        surely = [each for each in sorted(found or ()) if not rule.if_unknown or _takes_unknown(rules, each, place)]
        if surely:
            yield place, surely
        before += len(boxes[place]) if rule.decision is not None else 0


def _takes_unknown(rules: Sequence[Rule], outer: int, inner: int) -> bool:
    """A rule that matches where it is unknown is covered by *true*, or by the same condition that does so too."""
    one = rules[outer]
    if isinstance(one.when, Truth):
        return True
    return one.if_unknown and content(one.when) == content(rules[inner].when)
