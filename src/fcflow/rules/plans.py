"""
How the rows of a condition are found: a plan for every kind of condition, over columns and posting lists.

Needs the extra ``batch``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from operator import attrgetter
from typing import Any, cast

from fcflow.errors import MissingExtraError
from fcflow.model import View
from fcflow.rules.codes import ENDLESS, Array, Coded, Members, Ranges, Text, bits_of, spread_out
from fcflow.rules.columns import Columns
from fcflow.rules.compile import compile_node
from fcflow.rules.fields import FIELDS, Facts
from fcflow.rules.numeric import Numbers
from fcflow.rules.tree import Node, Stock

try:
    import numpy as np
except ImportError as error:
    raise MissingExtraError("batch", "numpy") from error

__all__ = [
    "And",
    "AnyLine",
    "Asker",
    "Codes",
    "Everything",
    "Frame",
    "HasMember",
    "InStock",
    "Nothing",
    "OneByOne",
    "Or",
    "OverLines",
    "Plan",
    "Shelves",
    "Without",
    "Words",
]


CHEAP, DEAR = 3.0, 10.0
_COST, _SIZE = attrgetter("cost", "size"), attrgetter("size", "cost")


class Frame:
    """The rows that plans speak of: orders, or the lines of them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._flags = np.zeros(count, dtype=bool)

    def which(self, rows: Array, posting: Array) -> Array:
        """Which of *rows* are in *posting*."""
        self._flags[posting] = True
        found = self._flags.take(rows)
        self._flags[posting] = False
        return found

    def distinct(self, rows: Array) -> Array:
        """*rows* without repeats."""
        if len(rows) * 8 < self.count:
            rows = np.sort(rows)
            is_new = np.ones(len(rows), dtype=bool)
            np.not_equal(rows[1:], rows[:-1], out=is_new[1:])
            return rows[is_new]
        self._flags[rows] = True
        found = np.flatnonzero(self._flags)
        self._flags[found] = False
        return found


class Plan:
    """
    A condition, ready to find its rows.

    Args:
        size: How many rows it has at most.

        cost: What testing a row costs, roughly; the cheap ones go first.

        repeats: Whether `rows` may give a row more than once.
    """

    cost = 1.0
    repeats = False

    def __init__(self, frame: Frame, size: int) -> None:
        self.frame, self.size = frame, size

    def mask(self, rows: Array) -> Array:
        """Which of *rows* fulfil it."""
        raise NotImplementedError

    def rows(self, left: Array | None = None) -> Array:
        """The rows that fulfil it, in any order; only those where *left* is true."""
        rows = np.arange(self.frame.count) if left is None else np.flatnonzero(left)
        return rows[self.mask(rows)]


def _still(rows: Array, left: Array | None) -> Array:
    return rows if left is None else rows[left.take(rows)]


class Everything(Plan):
    cost = 0.0

    def __init__(self, frame: Frame) -> None:
        super().__init__(frame, frame.count)

    def mask(self, rows: Array) -> Array:
        return np.ones(len(rows), dtype=bool)


class Nothing(Plan):
    cost = 0.0

    def __init__(self, frame: Frame) -> None:
        super().__init__(frame, 0)

    def mask(self, rows: Array) -> Array:
        return np.zeros(len(rows), dtype=bool)

    def rows(self, left: Array | None = None) -> Array:
        return np.arange(0)


class Codes(Plan):
    """The rows of a column with certain codes."""

    def __init__(self, frame: Frame, column: Coded, ranges: Ranges, size: int) -> None:
        self.frame, self.size, self.column, self.ranges = frame, size, column, ranges

    def mask(self, rows: Array) -> Array:
        return self.column.mask(self.ranges, rows)

    def rows(self, left: Array | None = None) -> Array:
        return _still(self.column.rows(self.ranges), left)


class Words(Plan):
    """The rows of a column whose text passes a check; asked of the distinct texts that come up."""

    cost = 20.0

    def __init__(self, frame: Frame, column: Text, check: Any, if_absent: bool) -> None:
        super().__init__(frame, frame.count)
        self.column, self.check, self.if_absent = column, check, if_absent

    def mask(self, rows: Array) -> Array:
        distinct, places = np.unique(self.column.codes.take(rows), return_inverse=True)
        words, check = self.column.words, self.check
        passed = [check(words[code - 1]) if code else self.if_absent for code in distinct.tolist()]
        return np.array(passed, dtype=bool).take(places)


class HasMember(Plan):
    """The rows whose set has a member with certain codes."""

    cost = 3.0
    repeats = True

    def __init__(self, frame: Frame, column: Members, ranges: Ranges) -> None:
        super().__init__(frame, min(frame.count, column.text.size(ranges)))
        self.column, self.ranges, self.bits = column, ranges, np.uint64(bits_of(ranges))

    def mask(self, rows: Array) -> Array:
        mask = (self.column.signature.take(rows) & self.bits) != 0
        if self.column.is_exact:
            return cast(Array, mask)
        places = np.flatnonzero(mask)
        mask[places] = self.frame.which(rows.take(places), self._posting())
        return cast(Array, mask)

    def rows(self, left: Array | None = None) -> Array:
        return _still(self._posting(), left)

    def _posting(self) -> Array:
        return self.column.parents.take(self.column.text.rows(self.ranges))


class Without(Plan):
    """The rows that another plan has not."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.frame, plan.frame.count)
        self.plan, self.cost = plan, plan.cost

    def mask(self, rows: Array) -> Array:
        return ~self.plan.mask(rows)


class And(Plan):
    """The rows that all parts have."""

    def __init__(self, frame: Frame, parts: list[Plan]) -> None:
        self.parts, self.frame = sorted(parts, key=_COST), frame
        self.first = min(parts, key=_SIZE)
        self.size, self.repeats = self.first.size, self.first.repeats
        self.cost = sum([part.cost for part in parts])

    def mask(self, rows: Array) -> Array:
        mask = self.parts[0].mask(rows)
        for part in self.parts[1:]:
            places = np.flatnonzero(mask)
            if not len(places):
                break
            mask[places] = part.mask(rows.take(places))
        return mask

    def rows(self, left: Array | None = None) -> Array:
        """From the shortest list on; what is decided already goes before anything dear is tested."""
        first = self.first
        rows = first.rows(left if first.cost > CHEAP else None)
        for part in self.parts:
            if part is first:
                continue
            if part.cost > CHEAP and left is not None:
                rows, left = rows[left.take(rows)], None
            if not len(rows):
                return rows
            if part.cost > DEAR and first.repeats:
                rows = self.frame.distinct(rows)
            rows = rows[part.mask(rows)]
        return _still(rows, left)


class Or(Plan):
    """The rows that one of the parts has."""

    def __init__(self, frame: Frame, parts: list[Plan]) -> None:
        self.parts = sorted(parts, key=lambda part: (part.cost, -part.size))
        super().__init__(frame, min(frame.count, sum(part.size for part in parts)))
        self.cost = sum(part.cost for part in parts)

    def mask(self, rows: Array) -> Array:
        mask = self.parts[0].mask(rows)
        for part in self.parts[1:]:
            places = np.flatnonzero(~mask)
            if not len(places):
                break
            mask[places] = part.mask(rows.take(places))
        return mask

    def rows(self, left: Array | None = None) -> Array:
        if self.size >= self.frame.count:
            return super().rows(left)
        return self.frame.distinct(np.concatenate([part.rows(left) for part in self.parts]))


class AnyLine(Plan):
    """The orders of which one line fulfils a plan over lines."""

    cost = 5.0
    repeats = True

    def __init__(self, frame: Frame, columns: Columns, part: Plan) -> None:
        super().__init__(frame, min(frame.count, part.size))
        self.columns, self.part = columns, part

    def mask(self, rows: Array) -> Array:
        if self.part.size <= 4 * len(rows):
            return self.frame.which(rows, self.columns.parents.take(self.part.rows()))
        lines, places = lines_of(self.columns, rows)
        mask = np.zeros(len(rows), dtype=bool)
        mask[places[self.part.mask(lines)]] = True
        return mask

    def rows(self, left: Array | None = None) -> Array:
        return _still(self.columns.parents.take(self.part.rows()), left)


def lines_of(columns: Columns, rows: Array) -> tuple[Array, Array]:
    """The lines of *rows*, and for each the place of its order in *rows*."""
    counts = columns.line_counts.take(rows)
    return spread_out(columns.offsets.take(rows), counts), np.repeat(np.arange(len(rows)), counts)


class OverLines(Plan):
    """
    The orders for which a number over their lines lies between two bounds.

    Args:
        sure, maybe: The lines that count for sure, and those that may.

        value: What is added up; ``None`` counts.

        bounds: Both included; ``None`` has no bound.

        polarity: Whether the opposite is asked for, and whether what is not known will do.
    """

    cost = 12.0

    def __init__(
        self,
        frame: Frame,
        columns: Columns,
        sure: Plan,
        maybe: Plan,
        value: Numbers | None,
        bounds: tuple[int | None, int | None],
        polarity: tuple[bool, bool],
    ) -> None:
        super().__init__(frame, frame.count)
        self.columns, self.sure, self.maybe, self.value = columns, sure, maybe, value
        self.low, self.high = bounds
        self.negate, self.unknown = polarity

    def mask(self, rows: Array) -> Array:
        lines, places = lines_of(self.columns, rows)
        sure, maybe = self.sure.mask(lines), self.maybe.mask(lines)
        if self.value is None:
            inside, outside = self._counted(len(rows), places, sure, maybe)
        else:
            inside, outside = self._summed(len(rows), lines, places, sure, maybe)
        wanted, refused = (outside, inside) if self.negate else (inside, outside)
        return ~refused if self.unknown else wanted

    def _counted(self, count: int, places: Array, sure: Array, maybe: Array) -> tuple[Array, Array]:
        least = np.bincount(places[sure], minlength=count)
        most = np.bincount(places[maybe], minlength=count)
        if self.low is not None and self.high is not None and self.low > self.high:
            return np.zeros(count, dtype=bool), np.ones(count, dtype=bool)
        return _above(least, self.low) & _below(most, self.high), ~_above(most, self.low) | ~_below(least, self.high)

    def _summed(self, count: int, lines: Array, places: Array, sure: Array, maybe: Array) -> tuple[Array, Array]:
        assert self.value is not None
        known = np.ones(count, dtype=bool)
        known[places[sure != maybe]] = False
        known[places[sure & ~self.value.present.take(lines)]] = False
        totals = np.zeros(count, dtype=np.int64)
        np.add.at(totals, places[sure], self.value.values.take(lines[sure]))
        inside = _above(totals, self.low) & _below(totals, self.high)
        return known & inside, known & ~inside


def _above(values: Array, low: int | None) -> Array:
    return np.ones(len(values), dtype=bool) if low is None else cast(Array, values >= low)


def _below(values: Array, high: int | None) -> Array:
    return np.ones(len(values), dtype=bool) if high is None else cast(Array, values <= high)


class OneByOne(Plan):
    """What only the order itself can be asked."""

    cost = 1000.0

    def __init__(self, frame: Frame, node: Node, asker: Asker, of_lines: bool, polarity: tuple[bool, bool]) -> None:
        super().__init__(frame, frame.count)
        self.verdict, self.asker, self.of_lines, self.polarity = compile_node(node), asker, of_lines, polarity

    def mask(self, rows: Array) -> Array:
        negate, unknown = self.polarity
        verdicts = map(self.verdict, self.asker.facts(rows, self.of_lines))
        wanted = (unknown if found is None else found is not negate for found in verdicts)
        return np.fromiter(wanted, dtype=bool, count=len(rows))


class Asker:
    """Makes the facts of single orders and lines."""

    def __init__(self, columns: Columns, view: View | None, now: datetime | None) -> None:
        self.columns, self.view, self.now = columns, view, now

    def facts(self, rows: Array, of_lines: bool) -> Iterator[Facts]:
        """The facts of each row."""
        if not of_lines:
            return (Facts(order, self.view, self.now) for order in self.columns.orders(rows.tolist()))
        parents = self.columns.parents.take(rows)
        places = (rows - self.columns.offsets.take(parents)).tolist()
        orders = self.columns.orders(parents.tolist())
        return (Facts(o, self.view, self.now, o.lines[place]) for o, place in zip(orders, places, strict=True))


class Shelves:
    """What a view says of each location and SKU, asked once."""

    def __init__(self, columns: Columns, view: View) -> None:
        self.view, self._skus = view, columns.field(FIELDS["line.sku"])
        self._free: dict[str, tuple[Array, Array, Array]] = {}

    def free(self, location: str, codes: Array) -> tuple[Array, Array]:
        """For each SKU, units that may be promised, and whether anybody ever said how many there are."""
        count = self._skus.count
        if location not in self._free:
            asked, known = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
            self._free[location] = np.zeros(count, dtype=np.int64), known, asked
        units, known, asked = self._free[location]
        new = codes[~asked.take(codes)]
        for code in np.unique(new).tolist() if len(new) else ():
            sku = self._skus.words[code - 1]
            free = self.view.allocatable(location, sku)
            units[code] = ENDLESS if free is None else min(free, ENDLESS)
            known[code], asked[code] = self.view.stock_as_of(location, sku) is not None, True
        return units.take(codes), known.take(codes)


class InStock(Plan):
    """The orders that one of several locations covers from its own stock."""

    cost = 30.0

    def __init__(
        self, frame: Frame, columns: Columns, shelves: Shelves, node: Stock, polarity: tuple[bool, bool]
    ) -> None:
        super().__init__(frame, frame.count)
        self.columns, self.shelves, self.node, self.polarity = columns, shelves, node, polarity

    def mask(self, rows: Array) -> Array:
        negate, unknown = self.polarity
        places, codes, needed = self._needed(rows)
        inside, outside = np.zeros(len(rows), dtype=bool), np.ones(len(rows), dtype=bool)
        for location in self.node.at:
            covered, short = self._at(location, len(rows), places, codes, needed)
            inside |= covered
            outside &= short
        wanted, refused = (outside, inside) if negate else (inside, outside)
        return ~refused if unknown else wanted

    def _needed(self, rows: Array) -> tuple[Array, Array, Array]:
        """Per place in *rows* and SKU the units needed; each line by itself where any line will do."""
        lines, places = lines_of(self.columns, rows)
        skus = self.columns.field(FIELDS["line.sku"])
        codes, units = skus.codes.take(lines), self.columns.field(FIELDS["line.quantity"]).values.take(lines)
        if self.node.covers == "any" or not self.columns.has_twins.take(rows).any():
            return places, codes, units
        pairs, which = np.unique(places * skus.count + codes, return_inverse=True)
        needed = np.zeros(len(pairs), dtype=np.int64)
        np.add.at(needed, which, units)
        return pairs // skus.count, pairs % skus.count, needed

    def _at(self, location: str, count: int, places: Array, codes: Array, needed: Array) -> tuple[Array, Array]:
        """Which orders the location covers, and which it does not; the others are unknown."""
        inside, outside = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        if location not in self.shelves.view.locations:
            return inside, outside
        free, known = self.shelves.free(location, codes)
        covered = free >= needed
        if self.node.covers == "any":
            inside[places[covered]] = True
            uncertain = np.zeros(count, dtype=bool)
            uncertain[places[~covered & ~known]] = True
            return inside, ~inside & ~uncertain
        outside[places[~covered & known]] = True
        lacking = np.zeros(count, dtype=bool)
        lacking[places[~covered]] = True
        return ~lacking, outside
