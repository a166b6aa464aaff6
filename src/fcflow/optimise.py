"""
A batch of orders allocated as a whole: more units placed, fewer parcels, less cost, shorter ways.

`optimise` begins with what `fcflow.allocation_many.allocate_many` gives, the greedy result, and looks for something
better under the same rules, stock and capacity. The greedy result is the floor, for the batch and for each order:
nobody gets fewer units, or goes by a later rule, so that others fare better. Where nothing better is found in time, the
greedy result is the answer.

Needs the extra ``optimise`` (HiGHS).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from attrs import evolve, field, frozen

from fcflow.allocation import STRATEGIES, Decides, Placement, Plan, Proposal, Routing, StrategyType, place
from fcflow.allocation_many import Priority, Reserving, allocate_many, in_turn
from fcflow.errors import MissingExtraError
from fcflow.model import Decision, Location, Order, View

__all__ = ["Optimised", "Score", "Weights", "optimise"]

_MOST_COLUMNS = 200_000
_FARTHEST_KM = 20_015.0
_CLOSE = 1e-6
_WHOLE: Mapping[str, Mapping[str, int]] = MappingProxyType({})

ParcelCost = Callable[[Order, Location], float]


# ------------------------------------------------------------------ what is asked, and what comes out


def _not_negative(instance: object, attribute: Any, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{attribute.name}: expected a number of at least 0, got {value!r}")


@frozen(kw_only=True)
class Weights:
    """
    What a parcel costs; the sum over all parcels is made as small as possible.

    Args:
        parcel: Of each parcel, wherever it comes from: what a split costs.

        km: Of each kilometre from the location to the destination. Where the destination is not known distance does not
            count; a location without coordinates is as far away as can be.

        cost: Of a parcel of this order from this location, on top; not negative.
    """

    parcel: float = field(default=1.0, validator=_not_negative)
    km: float = field(default=0.0, validator=_not_negative)
    cost: ParcelCost | None = None

    def of(self, order: Order, location: Location) -> float:
        """What one parcel costs."""
        extra = 0.0 if self.cost is None else float(self.cost(order, location))
        if not (math.isfinite(extra) and extra >= 0):
            raise ValueError(f"cost of {order.order_id} at {location.code}: expected at least 0, got {extra!r}")
        return self.parcel + self.km * _km(order, location) + extra


def _km(order: Order, location: Location) -> float:
    from fcflow.allocation import _coordinates, _distance_km

    here = _coordinates(order)
    return 0.0 if here is None else min(_distance_km(here, location), _FARTHEST_KM)


@frozen(kw_only=True)
class Score:
    """
    What a way to allocate a batch comes to.

    Args:
        units: That have a place.

        orders: Of which every unit has a place.

        parcels: One for each order and location.

        km: Over all parcels.

        cost: By the weights, over all parcels.
    """

    units: int
    orders: int
    parcels: int
    km: float
    cost: float

    def beats(self, other: Score) -> bool:
        """Whether more units have a place, or as many at less cost."""
        return self.units > other.units or (self.units == other.units and self.cost < other.cost - _CLOSE)


@frozen(kw_only=True)
class Optimised:
    """
    A batch allocated as a whole.

    Args:
        routings: One an order, in the order in which they would be served.

        score: Of *routings*.

        greedy: Of serving one after the other.

        proven: Whether nothing can be better; otherwise time ran out, or the batch was too large.

        note: What a person should know, or ``None``.
    """

    routings: tuple[Routing, ...]
    score: Score
    greedy: Score
    proven: bool
    note: str | None = None

    @property
    def saved(self) -> str:
        """What the optimisation gained over the greedy result, as text."""
        more, less = self.score.units - self.greedy.units, self.greedy.parcels - self.score.parcels
        km, cost = self.greedy.km - self.score.km, self.greedy.cost - self.score.cost
        said = [f"{more} more units placed"] if more else []
        said += [f"{abs(less)} parcels {'fewer' if less > 0 else 'more'}"] if less else []
        said += [f"{abs(km):.0f} km {'less' if km > 0 else 'more'}"] if abs(km) >= 0.5 else []
        said += [f"cost {self.greedy.cost:.2f} -> {self.score.cost:.2f}"] if abs(cost) > _CLOSE else []
        return ", ".join(said) or "nothing: the greedy result is as good"


def optimise(
    orders: Iterable[Order],
    rules: Decides,
    view: View,
    now: datetime,
    *,
    priority: Priority | None = None,
    lines: Mapping[str, Mapping[str, int]] = _WHOLE,
    strategies: Mapping[str, StrategyType] | None = None,
    weights: Weights | None = None,
    timeout_s: float = 10.0,
) -> Optimised:
    """
    Allocate *orders* as a whole: place as many units as can be, then at the least cost, then as the greedy result does.

    The rules are asked once, as the greedy result asks them; what they say about locations, splitting, ``max_km`` and
    ``max_locations`` is kept, while the choice among the locations of a rule is by cost instead of its strategy. An
    order for which a plugin's strategy was asked stays as that strategy placed it.

    Args:
        priority, lines, strategies: As in `allocate_many`, which gives the greedy result.

        weights: What a parcel costs; ``None`` counts parcels.

        timeout_s: Of the search; the best that was found until then is taken. Results that were proven do not depend on
            it.

    Raises:
        MissingExtraError: The extra ``optimise`` is not installed.

        AllocationError: As in `allocate_many`.

        ValueError: A parcel's cost is negative or no number.
    """
    _highs()
    asked = _Recorder(rules)
    orders = in_turn(orders, usual := priority or Priority())
    greedy = allocate_many(orders, asked, view, now, priority=usual, lines=lines, strategies=strategies)
    return _improved(_Batch(orders, greedy, asked.tried, view, now, lines, weights or Weights()), timeout_s)


def _improved(batch: _Batch, timeout_s: float) -> Optimised:
    floor = batch.score(batch.greedy)
    as_it_was = Optimised(routings=tuple(batch.greedy), score=floor, greedy=floor, proven=False)
    model = _Model(batch)
    if len(model.costs) > _MOST_COLUMNS:
        large = f"too large to search: {len(model.costs)} choices, {_MOST_COLUMNS} are the most"
        return evolve(as_it_was, note=large)
    chosen, proven = _search(model, timeout_s)
    routings = None if chosen is None else batch.routed(model.proposals(chosen))
    score = floor if routings is None else batch.score(routings)
    if routings is None or not score.beats(floor):
        return evolve(as_it_was, proven=proven, note=None if proven else "nothing better was found in time")
    note = None if proven else "time ran out; there may be something better"
    return Optimised(routings=tuple(routings), score=score, greedy=floor, proven=proven, note=note)


class _Recorder:
    """Rules that remember which allocations they proposed for which order."""

    def __init__(self, rules: Decides) -> None:
        self._rules = rules
        self.tried: dict[str, list[Decision]] = defaultdict(list)

    def decisions(self, order: Order, view: View, now: datetime, /) -> Iterator[Decision]:
        for decision in self._rules.decisions(order, view, now):
            if decision.action == "allocate":
                self.tried[order.order_id].append(decision)
            yield decision


# ------------------------------------------------------------------ the batch


class _Batch:
    """What is to be allocated, and how results become routings and scores."""

    def __init__(
        self,
        orders: Sequence[Order],
        greedy: Sequence[Routing],
        tried: Mapping[str, Sequence[Decision]],
        view: View,
        now: datetime,
        lines: Mapping[str, Mapping[str, int]],
        weights: Weights,
    ) -> None:
        self.orders, self.greedy, self.tried = orders, greedy, tried
        self.view, self.now, self.lines, self.weights = view, now, lines, weights
        self._bought = {order.order_id: order for order in orders}

    def units(self, order: Order) -> dict[str, int]:
        """Line to units to place."""
        asked = self.lines.get(order.order_id)
        return {
            line.line_id: units
            for line in order.lines
            if (units := line.quantity if asked is None else asked.get(line.line_id, 0))
        }

    def is_free(self, order: Order) -> bool:
        """Whether another place may be chosen for *order*: only strategies of ours are known well enough."""
        tried = self.tried.get(order.order_id, ())
        return bool(tried) and all(decision.strategy in STRATEGIES for decision in tried)

    def cost(self, order: Order, code: str) -> float:
        """Of one parcel."""
        return self.weights.of(order, self.view.locations[code])

    def score(self, routings: Iterable[Routing]) -> Score:
        """What *routings* come to."""
        parcels = [(self._bought[each.order_id], placement) for each in routings for placement in each.placements]
        places = self.view.locations
        return Score(
            units=sum(_count(placement) for _, placement in parcels),
            orders=sum(each.action == "allocate" for each in routings),
            parcels=len(parcels),
            km=math.fsum(_km(order, places[placement.location]) for order, placement in parcels),
            cost=math.fsum(self.cost(order, placement.location) for order, placement in parcels),
        )

    def routed(self, proposals: Mapping[str, tuple[Decision, Proposal]]) -> list[Routing] | None:
        """The routings of what was found, each checked as any strategy's proposal is; ``None`` if one is refused."""
        left, routings = Reserving(self.view), []
        for order, before in zip(self.orders, self.greedy, strict=True):
            if order.order_id in proposals:
                routing = self._rerouted(order, before, *proposals[order.order_id], left)
                if routing is None:
                    return None
            else:
                routing = before
            left.reserve(routing.placements)
            routings.append(routing)
        return routings

    def _rerouted(
        self, order: Order, before: Routing, decision: Decision, proposal: Proposal, left: View
    ) -> Routing | None:
        given = StrategyType(name="optimised", propose=lambda job: iter([proposal]))
        asked = evolve(decision, strategy="optimised", strategy_options={})
        lines = self.lines.get(order.order_id)
        plan = place(order, asked, left, lines=lines, now=self.now, strategies={"optimised": given})
        if sum(map(_count, plan.placements)) != sum(sum(units.values()) for units in proposal.values()):
            return None
        if {p.location: p for p in plan.placements} == {p.location: p for p in before.placements}:
            return before
        return _changed(before, decision, plan)


def _changed(before: Routing, decision: Decision, plan: Plan) -> Routing:
    places = ", ".join(placement.location for placement in plan.placements)
    alone = ", ".join(placement.location for placement in before.placements) or "nowhere"
    rule = "otherwise" if decision.rule_id is None else f"rule {decision.rule_id}"
    return evolve(
        before,
        decision=decision,
        action="allocate" if plan.is_whole else "backorder",
        placements=plan.placements,
        short=plan.short,
        reason=None if plan.is_whole else before.reason,
        explanation=(f"{rule}: {places} (optimised with the batch; served in turn: {alone})",),
        locations=plan.locations,
    )


def _count(placement: Placement) -> int:
    return sum(line.quantity for line in placement.lines)


# ------------------------------------------------------------------ the model


Terms = dict[int, float]


class _Model:
    """
    The batch as a mixed integer program.

    Of each order at most one of the decisions that were tried is chosen. A parcel is a binary for (order, decision,
    location), what is in it are integers; stock and capacity bound them across orders.
    """

    def __init__(self, batch: _Batch) -> None:
        self.batch = batch
        self.costs: list[float] = []
        self.upper: list[float] = []
        self.rows: list[tuple[float, float, Terms]] = []
        self.placed: Terms = {}
        self.changed: Terms = {}
        self.start: list[float] = []
        self._content: list[tuple[str, Decision, str, dict[str, int], int]] = []
        self._drawn: dict[tuple[str, str], Terms] = defaultdict(dict)
        self._parcels: dict[str, Terms] = defaultdict(dict)
        self._fixed_units: Counter[tuple[str, str]] = Counter()
        self._fixed_parcels: Counter[str] = Counter()
        for order, greedy in zip(batch.orders, batch.greedy, strict=True):
            if batch.is_free(order):
                self._add_order(order, greedy)
            else:
                self._fix(greedy)
        self._add_bounds()

    def proposals(self, values: Sequence[float]) -> dict[str, tuple[Decision, Proposal]]:
        """Order id to decision and proposal, of each order that was given something."""
        found: dict[str, tuple[Decision, dict[str, dict[str, int]]]] = {}
        for order_id, decision, code, lines, column in self._content:
            times = round(values[column])
            if times:
                proposal = found.setdefault(order_id, (decision, {}))[1].setdefault(code, {})
                for line_id, units in lines.items():
                    proposal[line_id] = units * times
        return {order_id: (decision, proposal) for order_id, (decision, proposal) in found.items()}

    # -------------------------------------------------------------- columns and rows

    def _column(self, upper: float, cost: float = 0.0, start: float = 0.0) -> int:
        self.costs.append(cost)
        self.upper.append(upper)
        self.start.append(start)
        return len(self.costs) - 1

    def _fix(self, greedy: Routing) -> None:
        for placement in greedy.placements:
            self._fixed_parcels[placement.location] += 1
            for line in placement.lines:
                self._fixed_units[placement.location, line.sku] += line.quantity

    def _add_order(self, order: Order, greedy: Routing) -> None:
        chosen: Terms = {}
        placed: Terms = {}
        for number, decision in enumerate(self.batch.tried[order.order_id]):
            is_last = number == len(self.batch.tried[order.order_id]) - 1
            option = _Option(self, order, decision, greedy if is_last and greedy.placements else None)
            chosen[option.column] = 1.0
            placed |= option.placed
        served = 1.0 if greedy.placements else 0.0
        self.rows.append((served, 1.0, chosen))
        self.rows.append((sum(map(_count, greedy.placements)), math.inf, placed))
        self.placed |= placed

    def _add_bounds(self) -> None:
        view = self.batch.view
        for (code, sku), terms in self._drawn.items():
            free = view.allocatable(code, sku)
            if free is not None:
                self.rows.append((-math.inf, free - self._fixed_units[code, sku], terms))
        for code, terms in self._parcels.items():
            most = view.locations[code].capacity_per_day
            if most is not None:
                used = view.orders_today(code) + self._fixed_parcels[code]
                self.rows.append((-math.inf, most - used, terms))

    def add_parcel(self, order: Order, code: str, upper: float, is_greedy: bool) -> int:
        """A binary: whether *order* gets a parcel from there."""
        column = self._column(upper, self.batch.cost(order, code), float(is_greedy))
        self._parcels[code][column] = 1.0
        self.changed[column] = 0.0 if is_greedy else 1.0
        return column

    def add_content(
        self,
        order: Order,
        decision: Decision,
        code: str,
        lines: dict[str, int],
        upper: int,
        start: int,
        column: int = -1,
    ) -> int:
        """How often *lines* are in the parcel; a column of its own, or the parcel's own where it is always once."""
        column = self._column(upper, 0.0, start) if column < 0 else column
        self._content.append((order.order_id, decision, code, lines, column))
        for line_id, units in lines.items():
            line = order.line(line_id)
            assert line is not None
            drawn = self._drawn[code, line.sku]
            drawn[column] = drawn.get(column, 0.0) + units
        return column


class _Option:
    """One order by one decision: its columns and rows."""

    def __init__(self, model: _Model, order: Order, decision: Decision, greedy: Routing | None) -> None:
        self.model, self.order, self.decision = model, order, decision
        self.units = model.batch.units(order)
        self.before = {} if greedy is None else {p.location: p for p in greedy.placements}
        self.column = model._column(1.0, 0.0, float(greedy is not None))
        self.placed: Terms = {}
        self.is_partial = decision.if_short == "backorder" and decision.split != "never"
        codes = list(_candidates(model.batch, order, decision))
        if decision.split == "never":
            self._at_one(codes)
        else:
            self._at_many(codes)

    def _at_one(self, codes: Sequence[str]) -> None:
        total = sum(self.units.values())
        parcels = {}
        for code in codes:
            if all(self._free(code, sku) >= units for sku, units in self._skus().items()):
                column = self.model.add_parcel(self.order, code, 1.0, code in self.before)
                self.model.add_content(self.order, self.decision, code, dict(self.units), 1, 0, column)
                parcels[column], self.placed[column] = 1.0, float(total)
        self.model.rows.append((0.0, 0.0, {**parcels, self.column: -1.0}))

    def _at_many(self, codes: Sequence[str]) -> None:
        parcels = {code: self.model.add_parcel(self.order, code, 1.0, code in self.before) for code in codes}
        for line_id, units in self.units.items():
            in_line: Terms = {}
            for code, parcel in parcels.items():
                in_line |= self._line_at(line_id, units, code, parcel)
            self.placed |= in_line
            least = -math.inf if self.is_partial else 0.0
            self.model.rows.append((least, 0.0, {**in_line, self.column: -float(units)}))
        most = self.decision.strategy_options.get("max_locations")
        if most is not None and self.decision.strategy == "fewest_splits":
            self.model.rows.append((-math.inf, float(most), dict.fromkeys(parcels.values(), 1.0)))

    def _line_at(self, line_id: str, units: int, code: str, parcel: int) -> Terms:
        line = self.order.line(line_id)
        assert line is not None
        step = units if self.decision.split == "by_line" else 1
        most = int(min(self._free(code, line.sku), units)) // step
        if not most:
            return {}
        placement = self.before.get(code)
        was = sum(each.quantity for each in placement.lines if each.line_id == line_id) if placement else 0
        column = self.model.add_content(self.order, self.decision, code, {line_id: step}, most, was // step)
        self.model.rows.append((-math.inf, 0.0, {column: 1.0, parcel: -float(most)}))
        return {column: float(step)}

    def _skus(self) -> Counter[str]:
        need: Counter[str] = Counter()
        for line in self.order.lines:
            need[line.sku] += self.units.get(line.line_id, 0)
        return need

    def _free(self, code: str, sku: str) -> float:
        free = self.model.batch.view.allocatable(code, sku)
        return math.inf if free is None else free


def _candidates(batch: _Batch, order: Order, decision: Decision) -> Iterator[str]:
    """The locations that may be used, best first as the rule names them."""
    from fcflow.allocation import _bar, _coordinates, _distance_km

    here = _coordinates(order) if decision.strategy == "nearest" else None
    most_km = decision.strategy_options.get("max_km", math.inf)
    for code in dict.fromkeys(decision.locations or tuple(batch.view.locations)):
        if _bar(order, decision, batch.view, code, batch.now) is None and (
            here is None or _distance_km(here, batch.view.locations[code]) <= most_km
        ):
            yield code


# ------------------------------------------------------------------ the search


def _search(model: _Model, timeout_s: float) -> tuple[Sequence[float] | None, bool]:
    """First most units, then least cost, then fewest changes; what was found, and whether the first two are proven."""
    if not model.placed:
        return None, True
    most = {column: -units for column, units in model.placed.items()}
    values, proven = _solve(model, most, [], model.start, timeout_s / 3)
    rows = [(-math.inf, _worth(most, values), most)]
    cost = dict(enumerate(model.costs))
    values, cheapest = _solve(model, cost, rows, values, timeout_s / 3)
    least = _worth(cost, values)
    rows.append((-math.inf, least + _CLOSE * max(1.0, least) / 10, cost))
    values, _ = _solve(model, model.changed, rows, values, timeout_s / 3)
    return values, proven and cheapest


def _worth(terms: Terms, values: Sequence[float]) -> float:
    return math.fsum(weight * values[column] for column, weight in terms.items())


def _solve(
    model: _Model, wanted: Terms, more: Sequence[tuple[float, float, Terms]], start: Sequence[float], timeout_s: float
) -> tuple[Sequence[float], bool]:
    """The values with the least of *wanted*, or *start* where none were found in time; and whether they are proven."""
    highspy = _highs()
    solver = _silent(highspy)
    for option, value in _OPTIONS.items():
        solver.setOptionValue(option, value)
    solver.setOptionValue("time_limit", timeout_s)
    solver.passModel(_program(highspy, model, wanted, [*model.rows, *more]))
    begin = highspy.HighsSolution()
    begin.col_value = list(start)
    solver.setSolution(begin)
    solver.run()
    proven = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    values = [round(value) for value in solver.getSolution().col_value]
    if len(values) != len(model.costs) or not _holds(model, values, more):
        return start, False
    return values, proven


_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {"threads": 1, "random_seed": 0, "mip_rel_gap": 0.0, "mip_abs_gap": _CLOSE / 10}
)


def _silent(highspy: Any) -> Any:
    """A solver that prints nothing: HiGHS shows its banner while callbacks are enabled, before options can be set."""

    class Silent(highspy.Highs):  # type: ignore[misc]
        def enableCallbacks(self) -> None:  # noqa: N802
            self.setOptionValue("output_flag", False)
            super().enableCallbacks()

    return Silent()


def _holds(model: _Model, values: Sequence[float], more: Sequence[tuple[float, float, Terms]]) -> bool:
    """Whether rounded values keep every bound; a solver that stopped early may leave some that do not."""
    return all(
        least - _CLOSE <= _worth(terms, values) <= most + _CLOSE * max(1.0, abs(most))
        for least, most, terms in (*model.rows, *more)
    )


def _program(highspy: Any, model: _Model, wanted: Terms, rows: Sequence[tuple[float, float, Terms]]) -> Any:
    program = highspy.HighsLp()
    columns = len(model.costs)
    program.num_col_, program.num_row_ = columns, len(rows)
    program.col_cost_ = [wanted.get(column, 0.0) for column in range(columns)]
    program.col_lower_, program.col_upper_ = [0.0] * columns, model.upper
    program.row_lower_ = [least for least, _, _ in rows]
    program.row_upper_ = [most for _, most, _ in rows]
    program.integrality_ = [highspy.HighsVarType.kInteger] * columns
    starts = [0]
    for _, _, terms in rows:
        starts.append(starts[-1] + len(terms))
    matrix = program.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    matrix.num_col_, matrix.num_row_, matrix.start_ = columns, len(rows), starts
    matrix.index_ = [column for _, _, terms in rows for column in terms]
    matrix.value_ = [weight for _, _, terms in rows for weight in terms.values()]
    return program


def _highs() -> Any:
    try:
        import highspy
    except ImportError as error:
        raise MissingExtraError("optimise", "highspy") from error
    return highspy
