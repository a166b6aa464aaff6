"""
What can be proved about a rule set: rules that are never reached, holds that fail open, and with the extra
``analysis`` what only a solver finds.

Every finding that speaks of an order carries one, and that order has been decided by the rule set itself before the
finding is shown. Where the order does not do what was claimed, there is no finding.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from fcflow.errors import MissingExtraError, PluginError
from fcflow.model import Order, View
from fcflow.rules.analysis import Box, boxes_of, covered_by_one
from fcflow.rules.compile import Verdict, compile_node
from fcflow.rules.effective import boundaries
from fcflow.rules.fields import Facts
from fcflow.rules.tree import Measured, Node, Rule, Stock, StockAge, SumLines, Test, walk
from fcflow.rules.witness import Draft, Witness, draft_of

if TYPE_CHECKING:
    from fcflow.rules.ruleset import RuleSet

__all__ = ["Checked", "RuleFinding", "check_rules"]


@frozen(kw_only=True)
class RuleFinding:
    """
    Something that was proved about a rule set.

    Args:
        kind: Without extras ``never_reached``, ``fallback``, ``never_matches`` and ``fails_open``; with ``analysis``
            also ``always_matches``, ``overlap``, ``redundant``, ``undecided`` and ``not_examined``.

        level: ``warning`` where the rules hardly say what was meant, ``note`` where they may.

        rules: Ids: the rule that the finding is about, then the others that make it so.

        path: Of that rule, or of the part of it that is meant.

        witness: An order that shows it; ``None`` where no order can (a rule that never matches).

        view: The world that the witness was decided in; *now* likewise. Where rules have dates, the message says
            which of them were in force.
    """

    kind: str
    level: str
    rules: tuple[str, ...]
    message: str
    path: str
    witness: Order | None = None
    view: View | None = field(default=None, eq=False, repr=False)
    now: datetime | None = field(default=None, eq=False)

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class Checked:
    """
    A rule set while it is checked: its enabled rules with their places, and how each of them judges an order.

    Args:
        rules: The rule set.
    """

    def __init__(self, rules: RuleSet) -> None:
        self.ruleset = rules
        places = [number for number, rule in enumerate(rules.rules) if rule.enabled]
        self.rules: Sequence[Rule] = [rules.rules[number] for number in places]
        self.paths = [f"$.rules[{number}]" for number in places]
        self.position = {rule.id: place for place, rule in enumerate(self.rules)}
        self.locations = rules.location_codes
        self._verdicts: dict[int, Verdict] = {}

    def verdict(self, place: int, witness: Witness) -> bool | None:
        """What the rule at *place* makes of an order."""
        if place not in self._verdicts:
            self._verdicts[place] = compile_node(self.rules[place].when)
        return self._verdicts[place](Facts(witness.order, witness.view, witness.now))

    def matches(self, place: int, witness: Witness) -> bool:
        """Whether the rule at *place* matches an order."""
        found = self.verdict(place, witness)
        return found is True or (found is None and self.rules[place].if_unknown)

    def decided_at(self, witness: Witness) -> int | None:
        """The place of the rule that decides an order; ``None`` where ``otherwise`` does."""
        decision = self.ruleset.decide(witness.order, view=witness.view, now=witness.now)
        return None if decision.rule_id is None else self.position[decision.rule_id]

    def reaches(self, witness: Witness) -> set[int]:
        """The places of all rules that decide an order in turn, holds lifted."""
        holds = [rule.id for rule in self.rules if rule.decision is not None and rule.decision.action == "hold"]
        asked = self.ruleset.decisions(witness.order, witness.view, witness.now, lifted=holds)
        return {self.position[decision.rule_id] for decision in asked if decision.rule_id is not None}

    def ends(self, place: int) -> bool:
        """Whether nothing after the rule at *place* is ever asked about an order that it matches."""
        decision = self.rules[place].decision
        if decision is None or decision.action == "hold":
            return False
        return decision.action == "keep" or decision.if_short != "next_rule"

    def finding(
        self, kind: str, level: str, places: Sequence[int], message: str, witness: Witness | None, path: str = ""
    ) -> RuleFinding:
        """A finding about the first of *places*."""
        return RuleFinding(
            kind=kind,
            level=level,
            rules=tuple(self.rules[place].id for place in places),
            message=message,
            path=path or (self.paths[places[0]] if places else "$.rules"),
            witness=witness.order if witness else None,
            view=witness.view if witness else None,
            now=witness.now if witness else None,
        )


def check_rules(rules: RuleSet, *, deep: bool | None = None, budget_s: float = 45.0) -> list[RuleFinding]:
    """
    Everything that can be proved about *rules*, as the rules stand; disabled rules are left out.

    Args:
        deep: Whether to ask the solver; ``None``: where the extra ``analysis`` is installed.

        budget_s: How long the solver may take in all. What it did not come to is a finding ``not_examined``.

    Raises:
        MissingExtraError: *deep* is true, and the extra is not installed.
    """
    has_solver = importlib.util.find_spec("z3") is not None
    if deep and not has_solver:
        raise MissingExtraError("analysis", "z3")
    is_deep = deep or (deep is None and has_solver)
    periods = list(_periods(rules))
    found: dict[tuple[str, tuple[str, ...], str], RuleFinding] = {}
    for period, standing in periods:
        for each in _found(standing, is_deep, budget_s / len(periods)):
            message = f"{period}{each.message}"
            found.setdefault((each.kind, each.rules, each.path), evolve(each, message=message))
    place = {rule.id: number for number, rule in enumerate(rules.rules)}
    return sorted(found.values(), key=lambda each: place[each.rules[0]] if each.rules else len(place))


def _periods(rules: RuleSet) -> Iterator[tuple[str, RuleSet]]:
    """The rules in force before the first date, and from each date on; one set where no rule has dates."""
    dates = boundaries(rules.rules)
    if not dates:
        yield "", rules
        return
    yield f"before {dates[0].isoformat()}: ", rules.in_force(dates[0] - timedelta(seconds=1))
    for date in dates:
        yield f"from {date.isoformat()}: ", rules.in_force(date)


def _found(rules: RuleSet, is_deep: bool, budget_s: float) -> list[RuleFinding]:
    checked = Checked(rules)
    found = list(_structural(checked))
    if not is_deep:
        return found
    from fcflow.rules.proofs import prove

    return found + prove(checked, found, budget_s)


# ------------------------------------------------------------------ without a solver


def _structural(checked: Checked) -> Iterator[RuleFinding]:
    boxes = {place: boxes_of(rule.when) for place, rule in enumerate(checked.rules)}
    empty = {
        place
        for place, rule in enumerate(checked.rules)
        if all(box.is_empty for box in boxes[place]) and not rule.if_unknown
    }
    for place in sorted(empty):
        yield never_matches(checked, place)
    for place, covering in covered_by_one(checked.rules, boxes):
        if place not in empty:
            yield from _covered(checked, place, covering, boxes[place])
    for place, rule in enumerate(checked.rules):
        if rule.decision is not None and rule.decision.action == "hold" and not rule.if_unknown and place not in empty:
            yield from _fails_open(checked, place, boxes[place])


def never_matches(checked: Checked, place: int, because: str = "its demands contradict each other") -> RuleFinding:
    """The finding that no order at all is matched."""
    message = f"rule {checked.rules[place].id} can never match: {because}"
    return checked.finding("never_matches", "warning", [place], message, None)


def _covered(checked: Checked, place: int, covering: Sequence[int], boxes: Sequence[Box]) -> Iterator[RuleFinding]:
    for box in boxes:
        witness = draft_of(box).witness(checked.locations)
        if witness is None or not _is_matched(checked, place, witness):
            continue
        first = checked.decided_at(witness)
        if first is None or first >= place:
            continue
        ending = [each for each in covering if checked.ends(each)]
        yield shadow(checked, place, ending[:1] or covering[:1], witness)
        return


def _is_matched(checked: Checked, place: int, witness: Witness) -> bool:
    try:
        return checked.matches(place, witness)
    except PluginError:
        return False


def shadow(checked: Checked, place: int, covering: Sequence[int], witness: Witness) -> RuleFinding:
    """The finding that everything the rule at *place* matches is decided by *covering* before."""
    mine, theirs = checked.rules[place].id, " and ".join(checked.rules[each].id for each in covering)
    verb = "decides" if len(covering) == 1 else "together decide"
    if all(map(checked.ends, covering)):
        message = f"rule {mine} is never reached: {theirs} {verb} every order that it matches"
        return checked.finding("never_reached", "warning", [place, *covering], message, witness)
    when = "a hold is lifted" if _are_holds(checked, covering) else "their locations fall short or a hold is lifted"
    message = f"rule {mine} is reached only where {when}: {theirs} {verb} every order that it matches"
    return checked.finding("fallback", "note", [place, *covering], message, witness)


def _are_holds(checked: Checked, places: Sequence[int]) -> bool:
    decisions = [checked.rules[place].decision for place in places]
    return all(decision is not None and decision.action == "hold" for decision in decisions)


# ------------------------------------------------------------------ holds that fail open


def _fails_open(checked: Checked, place: int, boxes: Sequence[Box]) -> Iterator[RuleFinding]:
    rule = checked.rules[place]
    if not may_be_unknown(rule.when):
        return
    for draft in _with_gaps(boxes):
        witness = draft.witness(checked.locations)
        if witness is not None and is_open(checked, place, witness):
            yield open_hold(checked, place, witness)
            return


def may_be_unknown(node: Node) -> bool:
    """Whether a value that *node* asks for may be absent."""
    return any(_may_be_unknown(each) for each in walk(node))


def _may_be_unknown(node: Node) -> bool:
    match node:
        case Test():
            return node.operator is not None or not (node.field.always or node.op in ("exists", "absent"))
        case SumLines():
            return not node.field.always
        case Stock() | StockAge() | Measured():
            return True
        case _:
            return False


def _with_gaps(boxes: Sequence[Box]) -> Iterator[Draft]:
    """What each box demands of tags and lines, with everything else, or one thing after the other, left out."""
    for box in boxes:
        bare = draft_of(box)
        bare.values.clear()
        bare.lines = [_known(line) for line in bare.lines] or [{}]
        yield bare
        for name in [*draft_of(box).values]:
            less = draft_of(box)
            less.values.pop(name)
            yield less
        for number, line in enumerate(draft_of(box).lines):
            for name in line:
                less = draft_of(box)
                less.lines[number].pop(name)
                yield less


def _known(line: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in line.items() if name in ("line.sku", "line.quantity")}


def is_open(checked: Checked, place: int, witness: Witness) -> bool:
    """Whether the hold at *place* is unknown to an order that then goes elsewhere."""
    try:
        return checked.verdict(place, witness) is None and _passes(checked, place, witness)
    except PluginError:
        return False


def _passes(checked: Checked, place: int, witness: Witness) -> bool:
    decided = checked.decided_at(witness)
    return decided is None or decided > place


def open_hold(checked: Checked, place: int, witness: Witness) -> RuleFinding:
    """The finding that a hold lets orders pass about which too little is known."""
    name = checked.rules[place].id
    message = f"hold {name} lets an order pass whose values are absent; if_unknown set to match would hold it"
    return checked.finding("fails_open", "warning", [place], message, witness)
