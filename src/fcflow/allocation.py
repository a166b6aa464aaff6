"""
Which location ships which units of an order, and why every other one does not.

`route` walks what the rules decide until one decision can be met; `place` meets one. A strategy only proposes: what is
taken is checked here, so that no strategy, ours or a plugin's, can invent a unit, lose one, or promise one that is not
there. Everything is a pure function of its arguments, so the audit trail can replay it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from attrs import evolve, field, frozen
from immutabledict import immutabledict

from fcflow.errors import AllocationError
from fcflow.model import (
    Decision,
    FulfilmentLine,
    Location,
    Order,
    OrderLine,
    View,
    WorkingCalendar,
)

__all__ = [
    "STRATEGIES",
    "Decides",
    "Job",
    "Placement",
    "Plan",
    "Proposal",
    "Routing",
    "StrategyType",
    "available_now",
    "day_began",
    "place",
    "route",
    "working_day",
]

Proposal = Mapping[str, Mapping[str, int]]
"""Location code to line id to units: what a strategy proposes."""

_MOST_PROPOSALS = 1000
_MOST_STEPS = 20_000
_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({"type": "object", "additionalProperties": False})


class Decides(Protocol):
    """What `route` asks of a rule set; `fcflow.rules.RuleSet` is one."""

    def decisions(self, order: Order, view: View, now: datetime, /) -> Iterator[Decision]:
        """The first decision, then lazily what comes next if that one falls short."""
        ...


@frozen
class Placement:
    """What one location is to ship of an order."""

    location: str
    lines: tuple[FulfilmentLine, ...]


@frozen(kw_only=True)
class Plan:
    """
    How one decision can be met.

    Args:
        placements: In the order of the decision's locations; per line, placed plus short equal the units asked for.

        short: Line to units that found no place; empty when the plan is whole.

        locations: Code to what was made of it, for every location known or named.

        notes: What else a person should know.
    """

    decision: Decision
    placements: tuple[Placement, ...] = ()
    short: immutabledict[str, int] = field(factory=immutabledict, converter=immutabledict)
    locations: immutabledict[str, str] = field(factory=immutabledict, converter=immutabledict)
    notes: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every unit has a place."""
        return not self.short


@frozen(kw_only=True)
class Routing:
    """
    What becomes of one order.

    Args:
        decision: The one that holds; ``None`` where none could be met.

        action: ``allocate`` (every unit has a place), ``backorder`` (what splitting allows is placed, the rest waits),
            ``hold``, ``keep``, or ``none`` (no rule's locations can cover it; it stays as it is).

        placements: One fulfilment order each.

        short: Line to units without a place.

        reason: Why it is held, backordered or nowhere; ``None`` for the others.

        explanation: One clause per decision that was tried, in order, then its notes.

        locations: Every location known or named: code to what the last decision that could have used it made of it, or
            why none was asked.
    """

    order_id: str
    decision: Decision | None
    action: str
    placements: tuple[Placement, ...] = ()
    short: immutabledict[str, int] = field(factory=immutabledict, converter=immutabledict)
    reason: str | None = None
    explanation: tuple[str, ...] = ()
    locations: immutabledict[str, str] = field(factory=immutabledict, converter=immutabledict)


@frozen(kw_only=True)
class Job:
    """
    What a strategy is asked.

    Args:
        candidates: Locations that may be used, best first as the rule names them.

        lines: Of the order, those with units to place.

        units: Line to units to place, all positive.

        split: ``never``, ``by_line`` or ``by_unit``.

        stock: Location and SKU to units that may be promised; ``None`` never runs short.

        say: Leaves a note in the explanation.
    """

    order: Order
    candidates: tuple[Location, ...]
    lines: tuple[OrderLine, ...]
    units: Mapping[str, int]
    split: str
    options: Mapping[str, Any]
    stock: Callable[[str, str], int | None]
    say: Callable[[str], None]

    @property
    def skus(self) -> dict[str, int]:
        """SKU to units to place."""
        need: Counter[str] = Counter()
        for line in self.lines:
            need[line.sku] += self.units[line.line_id]
        return dict(need)

    def covers(self, location: str, sku: str, units: int) -> bool:
        """Whether *location* may promise that many."""
        free = self.stock(location, sku)
        return free is None or free >= units


@frozen(kw_only=True)
class StrategyType:
    """
    A way to pick places.

    Args:
        name: What rules call it; a plugin's carries its namespace, ``acme:cheapest``.

        options_schema: JSON Schema of ``strategy_options``.

        propose: Yields proposals, best first. The first one that is valid and whole is taken; where none is whole, the
            valid one that places most units.
    """

    name: str
    options_schema: Mapping[str, Any] = _NO_OPTIONS
    propose: Callable[[Job], Iterable[Proposal]]


# ------------------------------------------------------------------ one order, all decisions


def route(
    order: Order,
    rules: Decides,
    view: View,
    now: datetime,
    *,
    lines: Mapping[str, int] | None = None,
    strategies: Mapping[str, StrategyType] | None = None,
) -> Routing:
    """
    Walk the decisions of *rules* for *order* until one can be met.

    Args:
        lines: Line to units still to be placed; ``None`` is the whole order, an absent line has none.

        strategies: By name, the built-in ones included; ``None`` is `STRATEGIES`.

    Raises:
        AllocationError: A rule names a strategy that is not there, or gives it options it does not know.

    Example:
        >>> from datetime import UTC
        >>> from fcflow.stock import Picture, StockView
        >>> class Always:
        ...     def decisions(self, order, view, now):
        ...         yield Decision(rule_id="all", action="allocate", locations=("leeds",))
        >>> now = datetime(2026, 3, 2, 12, tzinfo=UTC)
        >>> mugs = Picture(location="leeds", sku="MUG", on_hand=5, as_of=now, received_at=now)
        >>> view = StockView({"leeds": Location(code="leeds")}, [mugs], now=now)
        >>> order = Order(order_id="A1", lines=[OrderLine(sku="MUG", quantity=2)])
        >>> routing = route(order, Always(), view, now)
        >>> routing.action, routing.placements[0].location
        ('allocate', 'leeds')
    """
    if not _units(order, lines):
        reason = "there is no unit to place"
        return Routing(
            order_id=order.order_id,
            decision=None,
            action="none",
            reason=reason,
            locations=dict.fromkeys(view.locations, reason),
        )
    walk = _Walk(order, view)
    for decision in rules.decisions(order, view, now):
        if decision.action != "allocate":
            return walk.ended(decision, decision.action, decision.reason)
        plan = place(order, decision, view, lines=lines, now=now, strategies=strategies)
        walk.note(plan)
        if plan.is_whole or decision.if_short != "next_rule":
            return walk.met(plan)
    return walk.ended(None, "none", walk.reason)


class _Walk:
    """What was said on the way through the decisions of one order."""

    def __init__(self, order: Order, view: View) -> None:
        self.order = order
        self.view = view
        self.reason = "no rule decided"
        self.said: list[str] = []
        self.locations: dict[str, str] = {}

    def note(self, plan: Plan) -> None:
        named = plan.decision.locations or tuple(plan.locations)
        self.locations = {**plan.locations, **self.locations, **{code: plan.locations[code] for code in named}}
        self.reason = _why_short(plan, self.order)
        self.said += _told(plan, self.order)

    def met(self, plan: Plan) -> Routing:
        decision = plan.decision
        if not plan.is_whole and decision.if_short == "hold":
            return self.ended(decision, "hold", self.reason)
        return Routing(
            order_id=self.order.order_id,
            decision=decision,
            action="allocate" if plan.is_whole else "backorder",
            placements=plan.placements,
            short=plan.short,
            reason=None if plan.is_whole else self.reason,
            explanation=tuple(self.said),
            locations=self.locations,
        )

    def ended(self, decision: Decision | None, action: str, reason: str | None) -> Routing:
        last = [] if decision is None or decision.action == "allocate" else [f"{_name(decision)}: {action}"]
        unasked = f"not asked: {last[0]}" if last else self.reason
        return Routing(
            order_id=self.order.order_id,
            decision=decision,
            action=action,
            reason=reason,
            explanation=(*self.said, *last),
            locations=self.locations or dict.fromkeys(self.view.locations, unasked),
        )


def _told(plan: Plan, order: Order) -> list[str]:
    head = _name(plan.decision)
    if plan.is_whole:
        return [f"{head}: {', '.join(p.location for p in plan.placements)}", *plan.notes]
    then = {"next_rule": "goes on to the next rule", "backorder": "backordered", "hold": "held"}
    return [f"{head}: {_why_short(plan, order)}; {then[plan.decision.if_short]}", *plan.notes]


def _why_short(plan: Plan, order: Order) -> str:
    short: Counter[str] = Counter()
    for line in order.lines:
        short[line.sku] += plan.short.get(line.line_id, 0)
    return "short of " + ", ".join(f"{sku} by {units}" for sku, units in short.items() if units)


def _name(decision: Decision) -> str:
    return "otherwise" if decision.rule_id is None else f"rule {decision.rule_id}"


# ------------------------------------------------------------------ one decision


def place(
    order: Order,
    decision: Decision,
    view: View,
    *,
    lines: Mapping[str, int] | None = None,
    now: datetime | None = None,
    strategies: Mapping[str, StrategyType] | None = None,
) -> Plan:
    """
    Find places for the units of *order* as *decision* says.

    Splitting ``never`` places all units at one location or none at all; ``by_line`` keeps each line whole; ``by_unit``
    spreads lines too. Where not everything finds a place the plan holds what does.

    Args:
        decision: One that allocates; without locations any that the view knows may be used.

        lines: Line to units to place; ``None`` is the whole order, an absent line has none.

        now: Asked for working days and cut-offs; ``None`` leaves calendars out.

        strategies: By name, the built-in ones included; ``None`` is `STRATEGIES`.

    Raises:
        AllocationError: The decision does not allocate, or its strategy or options are not known, or *lines* asks for a
            line or units that the order does not have.
    """
    if decision.action != "allocate":
        raise AllocationError(f"order {order.order_id}: expected a decision that allocates, got {decision.action!r}")
    strategy = _strategy(decision, STRATEGIES if strategies is None else strategies)
    units = _units(order, lines)
    notes: list[str] = []
    ruled_out = {code: why for code in _considered(decision, view) if (why := _bar(order, decision, view, code, now))}
    named = decision.locations or tuple(view.locations)
    job = Job(
        order=order,
        candidates=tuple(view.locations[code] for code in dict.fromkeys(named) if code not in ruled_out),
        lines=tuple(line for line in order.lines if line.line_id in units),
        units=MappingProxyType(units),
        split=decision.split,
        options=decision.strategy_options,
        stock=cache(view.allocatable),
        say=notes.append,
    )
    best = _best(job, strategy, notes)
    return _plan(job, decision, best, ruled_out, view, now, notes)


def _strategy(decision: Decision, strategies: Mapping[str, StrategyType]) -> StrategyType:
    strategy = strategies.get(decision.strategy)
    if strategy is None:
        known = ", ".join(sorted(strategies))
        raise AllocationError(f"{_name(decision)}: expected a strategy of {known}, got {decision.strategy!r}")
    if decision.split not in ("never", "by_line", "by_unit"):
        raise AllocationError(f"{_name(decision)}: expected split never, by_line or by_unit, got {decision.split!r}")
    if decision.strategy_options or "required" in strategy.options_schema:
        _check_options(decision, strategy)
    return strategy


def _check_options(decision: Decision, strategy: StrategyType) -> None:
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(dict(strategy.options_schema)).iter_errors(dict(decision.strategy_options)):
        raise AllocationError(f"{_name(decision)}: options of strategy {strategy.name}: {error.message}")


def _units(order: Order, lines: Mapping[str, int] | None) -> dict[str, int]:
    if lines is None:
        return {line.line_id: line.quantity for line in order.lines}
    for line_id, units in lines.items():
        line = order.line(line_id)
        if line is None or not 0 <= units <= line.quantity:
            most = "no such line" if line is None else f"at most {line.quantity} units"
            raise AllocationError(f"order {order.order_id}, line {line_id}: expected {most}, got {units}")
    return {line.line_id: lines[line.line_id] for line in order.lines if lines.get(line.line_id)}


def _considered(decision: Decision, view: View) -> dict[str, None]:
    return dict.fromkeys((*decision.locations, *view.locations))


def _bar(order: Order, decision: Decision, view: View, code: str, now: datetime | None) -> str | None:
    """Why a location may not be used at all, or ``None``."""
    location = view.locations.get(code)
    if location is None:
        return "not a known location"
    if decision.locations and code not in decision.locations:
        return f"not named by {_name(decision)}"
    if code in view.excluded(order.order_id):
        return "excluded for this order"
    if now is not None and working_day(location.calendar, now) is None:
        return "works on no day of the year to come"
    used, most = view.orders_today(code), location.capacity_per_day
    if most is not None and used >= most:
        return f"at capacity: {used} of {most} orders{_after_hours(location, now)}"
    return None


# ------------------------------------------------------------------ proposals


def _best(job: Job, strategy: StrategyType, notes: list[str]) -> Proposal:
    best: Proposal = {}
    proposals = islice(strategy.propose(job), _MOST_PROPOSALS) if job.candidates else ()
    for number, proposal in enumerate(proposals, 1):
        fault = _fault(job, proposal)
        if fault is not None:
            notes.append(f"strategy {strategy.name}: proposal {number} refused: {fault}")
        elif _count(proposal) == sum(job.units.values()):
            return proposal
        elif _count(proposal) > _count(best):
            best = proposal
    return best


def _count(proposal: Proposal) -> int:
    return sum(units for lines in proposal.values() for units in lines.values())


def _fault(job: Job, proposal: Proposal) -> str | None:
    """What is wrong with a proposal, or ``None``."""
    if not isinstance(proposal, Mapping) or not all(isinstance(lines, Mapping) for lines in proposal.values()):
        return f"expected locations to lines to units, got {proposal!r}"
    allowed = {location.code for location in job.candidates}
    placed: Counter[str] = Counter()
    for code, lines in proposal.items():
        if code not in allowed:
            return f"{code} may not be used"
        for line_id, units in lines.items():
            if isinstance(units, bool) or not isinstance(units, int) or units < 0:
                return f"expected whole units for line {line_id}, got {units!r}"
            placed[line_id] += units
    for line_id, units in placed.items():
        if units > job.units.get(line_id, 0):
            return f"{units} units of line {line_id} placed, {job.units.get(line_id, 0)} asked for"
    return _overdrawn(job, proposal) or _badly_split(job, proposal)


def _overdrawn(job: Job, proposal: Proposal) -> str | None:
    skus = {line.line_id: line.sku for line in job.lines}
    for code, lines in proposal.items():
        need: Counter[str] = Counter()
        for line_id, units in lines.items():
            if units:
                need[skus[line_id]] += units
        for sku, units in need.items():
            if not job.covers(code, sku, units):
                return f"{units} units of {sku} at {code}, {job.stock(code, sku)} may be promised"
    return None


def _badly_split(job: Job, proposal: Proposal) -> str | None:
    used = [code for code, lines in proposal.items() if any(lines.values())]
    if job.split == "never" and (len(used) > 1 or (used and _count(proposal) < sum(job.units.values()))):
        return f"the order may not be split, and {len(used)} locations ship {_count(proposal)} units"
    if job.split == "by_line":
        for line_id, units in ((line, units) for lines in proposal.values() for line, units in lines.items()):
            if units not in (0, job.units.get(line_id)):
                return f"line {line_id} may not be split, and {units} of {job.units[line_id]} units are placed"
    return None


def _plan(
    job: Job,
    decision: Decision,
    proposal: Proposal,
    ruled_out: Mapping[str, str],
    view: View,
    now: datetime | None,
    notes: Sequence[str],
) -> Plan:
    placements = tuple(
        Placement(location=location.code, lines=lines)
        for location in job.candidates
        if (lines := _lines(job, proposal.get(location.code, {})))
    )
    placed = Counter({line.line_id: 0 for line in job.lines})
    for line in (line for placement in placements for line in placement.lines):
        placed[line.line_id] += line.quantity
    verdicts = {
        code: ruled_out.get(code) or _verdict(job, view.locations[code], placements, view, now, decision)
        for code in _considered(decision, view)
    }
    return Plan(
        decision=decision,
        placements=placements,
        short={line_id: rest for line_id, units in job.units.items() if (rest := units - placed[line_id])},
        locations=verdicts,
        notes=tuple(notes),
    )


def _lines(job: Job, units: Mapping[str, int]) -> tuple[FulfilmentLine, ...]:
    return tuple(
        FulfilmentLine(line_id=line.line_id, sku=line.sku, quantity=units[line.line_id])
        for line in job.lines
        if units.get(line.line_id)
    )


def _verdict(
    job: Job, location: Location, placements: Sequence[Placement], view: View, now: datetime | None, decision: Decision
) -> str:
    hours = _after_hours(location, now)
    for placement in placements:
        if placement.location == location.code:
            return "takes " + ", ".join(f"{line.quantity} of {line.sku}" for line in placement.lines) + hours
    short = {sku: need for sku, need in job.skus.items() if not job.covers(location.code, sku, need)}
    if short:
        return "short of " + ", ".join(_lack(job, view, location, sku, short[sku], now) for sku in short) + hours
    winners = ", ".join(placement.location for placement in placements)
    return f"beaten by {winners} ({decision.strategy})" if winners else f"not proposed by strategy {decision.strategy}"


def _lack(job: Job, view: View, location: Location, sku: str, need: int, now: datetime | None) -> str:
    free = job.stock(location.code, sku) or 0
    as_of, most = view.stock_as_of(location.code, sku), location.stock.max_age_s
    if as_of is None:
        why = " (no stock picture)"
    elif now is not None and most is not None and (now - as_of).total_seconds() > most:
        why = f" (its stock picture of {as_of.isoformat()} is too old)"
    else:
        why = ""
    return f"{sku} by {need - free}{why}"


# ------------------------------------------------------------------ calendars


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=1024)
def working_day(calendar: WorkingCalendar, now: datetime) -> date | None:
    """
    The working day that orders allocated at *now* belong to.

    Today while the location works and the cut-off is not past, else its next working day; ``None`` where it works on no
    day of the year to come. The cut-off itself is still in time; on the day the clocks change it is passed once: at the
    first of two such times, and by the old clock where the new one skips it.

    Example:
        >>> from datetime import UTC, time
        >>> weekdays = WorkingCalendar(days=(1, 2, 3, 4, 5), cut_off=time(14))
        >>> working_day(weekdays, datetime(2026, 3, 6, 15, tzinfo=UTC))
        datetime.date(2026, 3, 9)
    """
    local = now.astimezone(_zone(calendar.zone))
    late = calendar.cut_off is not None and now > _ends(calendar, local.date())
    days = (local.date() + timedelta(days=ahead) for ahead in range(1 if late else 0, 367))
    return next((day for day in days if _works(calendar, day)), None)


def day_began(calendar: WorkingCalendar, now: datetime) -> datetime:
    """
    The instant after which orders belong to the same working day as one allocated at *now*; it itself does not.

    That is the cut-off of the working day before, or its last midnight where there is no cut-off, in UTC. What was
    allocated since then counts against a location's capacity.

    Example:
        >>> from datetime import UTC, time
        >>> weekdays = WorkingCalendar(days=(1, 2, 3, 4, 5), cut_off=time(14))
        >>> day_began(weekdays, datetime(2026, 3, 8, 9, tzinfo=UTC)).isoformat()
        '2026-03-06T14:00:00+00:00'
    """
    today = now.astimezone(_zone(calendar.zone)).date()
    belongs_to = working_day(calendar, now) or today
    earlier = (belongs_to - timedelta(days=back) for back in range(1, 367))
    return _ends(calendar, next((day for day in earlier if _works(calendar, day)), today - timedelta(days=367)))


def _ends(calendar: WorkingCalendar, day: date) -> datetime:
    """The last instant that belongs to *day*, in UTC."""
    return datetime.combine(day, calendar.cut_off or time.max, tzinfo=_zone(calendar.zone)).astimezone(UTC)


def available_now(location: Location, now: datetime) -> bool:
    """Whether an order allocated at *now* belongs to the present day: *location* works, and its cut-off is not past."""
    return working_day(location.calendar, now) == now.astimezone(_zone(location.calendar.zone)).date()


@lru_cache(maxsize=1024)
def _next_day(calendar: WorkingCalendar, now: datetime) -> str:
    day = working_day(calendar, now)
    today = now.astimezone(_zone(calendar.zone)).date()
    return "" if day is None or day == today else f"; an order now belongs to {day.isoformat()}"


def _after_hours(location: Location, now: datetime | None) -> str:
    return "" if now is None else _next_day(location.calendar, now)


def _works(calendar: WorkingCalendar, day: date) -> bool:
    return day.isoweekday() in calendar.days and day not in calendar.holidays


# ------------------------------------------------------------------ the built-in strategies


def _in_order(job: Job) -> Iterator[Proposal]:
    codes = [location.code for location in job.candidates]
    yield from _fill(job, _always(codes))


def _most_stock(job: Job) -> Iterator[Proposal]:
    codes = [location.code for location in job.candidates]

    def stock_of(code: str, skus: Iterable[str]) -> float:
        return sum(math.inf if (free := job.stock(code, sku)) is None else free for sku in skus)

    if job.split == "never":
        by_all = sorted(codes, key=lambda code: -stock_of(code, job.skus))
        yield from _fill(job, _always(by_all))
    else:
        yield from _fill(job, lambda sku: sorted(codes, key=lambda code: -stock_of(code, [sku])))


def _nearest(job: Job) -> Iterator[Proposal]:
    here = _coordinates(job.order)
    if here is None:
        job.say("nearest: the destination's latitude and longitude are not known, so locations are tried in order")
        yield from _in_order(job)
        return
    far = {location.code: _distance_km(here, location) for location in job.candidates}
    limit = job.options.get("max_km", math.inf)
    for code, km in far.items():
        if km > limit:
            job.say(
                f"nearest: {code} is {km:.0f} km away, {limit} km is the most"
                if km < math.inf
                else f"nearest: where {code} is, is not known"
            )
    codes = sorted((code for code, km in far.items() if km <= limit), key=lambda code: far[code])
    yield from _fill(job, _always(codes))


def _fewest_splits(job: Job) -> Iterator[Proposal]:
    for proposal in _in_order(job):
        most = min(job.options.get("max_locations", len(job.candidates)), len(job.candidates))
        reduced = _reduced(job, proposal)
        search = _CoverSearch(reduced, [location.code for location in job.candidates])
        chosen = search.smallest(most)
        if chosen is not None:
            yield from _fill(reduced, _always(chosen))
        elif not search.is_spent:
            job.say(f"fewest_splits: {most} locations cannot hold what may be placed")
        else:
            job.say("fewest_splits: too many ways to try them all, so locations are tried in order")
            yield from () if len(proposal) > most else (proposal,)


# ------------------------------------------------------------------ filling


def _fill(job: Job, ranking: Callable[[str], Sequence[str]]) -> Iterator[Proposal]:
    """Propose what filling places in the order of *ranking* (which may differ by SKU) gives."""
    if job.split == "never":
        yield from _one_place(job, ranking)
        return
    proposal: dict[str, dict[str, int]] = {}
    for sku in job.skus:
        lines = [line for line in job.lines if line.sku == sku]
        free = {code: job.stock(code, sku) for code in ranking(sku)}
        fill = _spread_units if job.split == "by_unit" else _pack_lines
        for code, line_id, units in fill([(line.line_id, job.units[line.line_id]) for line in lines], free):
            proposal.setdefault(code, {})[line_id] = units
    yield proposal


def _always(codes: Sequence[str]) -> Callable[[str], Sequence[str]]:
    return lambda sku: codes


def _one_place(job: Job, ranking: Callable[[str], Sequence[str]]) -> Iterator[Proposal]:
    skus = job.skus
    for code in ranking(next(iter(skus))) if skus else ():
        if all(job.covers(code, sku, units) for sku, units in skus.items()):
            yield {code: dict(job.units)}
            return


def _spread_units(lines: Sequence[tuple[str, int]], free: dict[str, int | None]) -> Iterator[tuple[str, str, int]]:
    rest = dict(lines)
    for code, units in free.items():
        left = sum(rest.values()) if units is None else units
        for line_id, _ in lines:
            taken = min(left, rest[line_id])
            if taken:
                rest[line_id] -= taken
                left -= taken
                yield code, line_id, taken


def _pack_lines(lines: Sequence[tuple[str, int]], free: dict[str, int | None]) -> Iterator[tuple[str, str, int]]:
    """Whole lines of one SKU to places: the first way in the ranking's order that fits all, else first come."""
    chosen = _pack_all(list(lines), free) if len(lines) > 1 else None
    left = dict(free)
    for line_id, units in lines:
        places = [chosen[line_id]] if chosen else left
        for code in places:
            have = left[code]
            if have is None or have >= units:
                left[code] = None if have is None else have - units
                yield code, line_id, units
                break


def _pack_all(lines: list[tuple[str, int]], free: Mapping[str, int | None]) -> dict[str, str] | None:
    left = dict(free)
    chosen: dict[str, str] = {}
    steps = 0

    def pack(index: int) -> bool:
        nonlocal steps
        if index == len(lines):
            return True
        line_id, units = lines[index]
        for code, have in list(left.items()):
            steps += 1
            if steps > _MOST_STEPS or (have is not None and have < units):
                continue
            left[code] = None if have is None else have - units
            chosen[line_id] = code
            if pack(index + 1):
                return True
            left[code] = have
        return False

    return chosen if pack(0) else None


# ------------------------------------------------------------------ the smallest set of places


def _reduced(job: Job, proposal: Proposal) -> Job:
    """The same job for only those units that can be placed at all."""
    placed: Counter[str] = Counter()
    for lines in proposal.values():
        placed.update(lines)
    units = {line_id: placed[line_id] for line_id in job.units if placed[line_id]}
    return evolve(job, units=units, lines=tuple(line for line in job.lines if line.line_id in units))


class _CoverSearch:
    """Tries sets of locations in ranking order, leaving out those that cannot hold enough."""

    def __init__(self, job: Job, codes: Sequence[str]) -> None:
        self.job = job
        self.codes = codes
        self.need = job.skus
        self.free = {code: {sku: self._capped(code, sku) for sku in self.need} for code in codes}
        self.steps = 0
        self._most: dict[tuple[int, int], dict[str, int]] = {}

    @property
    def is_spent(self) -> bool:
        return self.steps > _MOST_STEPS

    def smallest(self, most: int) -> tuple[str, ...] | None:
        """The fewest that cover the job, first in ranking order among equals; ``None`` where none was found."""
        sets = (self._extend((), 0, size) for size in range(1, most + 1))
        return next((found for found in sets if found is not None), None)

    def _capped(self, code: str, sku: str) -> int:
        free = self.job.stock(code, sku)
        return self.need[sku] if free is None else min(free, self.need[sku])

    def _extend(self, chosen: tuple[str, ...], start: int, more: int) -> tuple[str, ...] | None:
        self.steps += 1
        if self.is_spent or not self._may_cover(chosen, start, more):
            return None
        if not more:
            return chosen if self._covers(chosen) else None
        for index in range(start, len(self.codes) - more + 1):
            found = self._extend((*chosen, self.codes[index]), index + 1, more - 1)
            if found is not None:
                return found
        return None

    def _may_cover(self, chosen: Sequence[str], start: int, more: int) -> bool:
        most = self._most_of(start, more)
        return all(sum(self.free[code][sku] for code in chosen) + most[sku] >= need for sku, need in self.need.items())

    def _most_of(self, start: int, more: int) -> dict[str, int]:
        """By SKU, what any *more* of the locations from *start* on hold at best."""
        if (start, more) not in self._most:
            rows = [self.free[code] for code in self.codes[start:]]
            self._most[start, more] = {
                sku: sum(sorted((row[sku] for row in rows), reverse=True)[:more]) for sku in self.need
            }
        return self._most[start, more]

    def _covers(self, chosen: Sequence[str]) -> bool:
        return any(_count(proposal) == sum(self.job.units.values()) for proposal in _fill(self.job, _always(chosen)))


# ------------------------------------------------------------------ distance


def _coordinates(order: Order) -> tuple[float, float] | None:
    try:
        latitude, longitude = float(order.properties["latitude"]), float(order.properties["longitude"])
    except (KeyError, ValueError):
        return None
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def _distance_km(here: tuple[float, float], location: Location) -> float:
    """Along a great circle; infinite where the location's coordinates are not known."""
    if location.latitude is None or location.longitude is None:
        return math.inf
    a, b = math.radians(here[0]), math.radians(location.latitude)
    across = math.radians(location.longitude - here[1])
    haversine = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(across / 2) ** 2
    return 2 * 6371.0088 * math.asin(min(1.0, math.sqrt(haversine)))


def _options(**properties: Any) -> Mapping[str, Any]:
    return MappingProxyType({"type": "object", "additionalProperties": False, "properties": properties})


STRATEGIES: Mapping[str, StrategyType] = MappingProxyType(
    {
        strategy.name: strategy
        for strategy in (
            StrategyType(name="in_order", propose=_in_order),
            StrategyType(name="most_stock", propose=_most_stock),
            StrategyType(
                name="fewest_splits",
                propose=_fewest_splits,
                options_schema=_options(max_locations={"type": "integer", "minimum": 1}),
            ),
            StrategyType(
                name="nearest",
                propose=_nearest,
                options_schema=_options(max_km={"type": "number", "exclusiveMinimum": 0}),
            ),
        )
    }
)
"""The built-in strategies by name; a plugin's are added by whoever collects them."""
