"""
What a solver proves about a rule set.

Each question begins with one rule alone. The solver proposes an order, the rule set decides it, and whichever other
rule took it is ruled out next: so a proof names the few rules that matter, and every order shown was really decided.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

from attrs import define, evolve, field

from fcflow.errors import MissingExtraError, PluginError
from fcflow.rules.analysis import Box, boxes_of
from fcflow.rules.check import Checked, RuleFinding, is_open, may_be_unknown, never_matches, open_hold, shadow
from fcflow.rules.compile import compile_node
from fcflow.rules.encoding import Encoding
from fcflow.rules.fields import Facts
from fcflow.rules.tree import AllOf, AnyOf, Named, Node, Not, Rule, Truth
from fcflow.rules.witness import Draft, Witness

try:
    import z3
except ImportError as error:  # this module is imported by functions that need the extra
    raise MissingExtraError("analysis", "z3") from error

__all__ = ["prove"]

_ONE_AT_A_TIME = threading.Lock()
QUESTION_MS = 2_000
MAX_BLOCKERS = 40
MAX_OVERLAPS = 200

Formula = Callable[[Encoding], Any]
Fits = Callable[[Witness], bool]


def prove(checked: Checked, known: Sequence[RuleFinding], budget_s: float) -> list[RuleFinding]:
    """
    The findings beyond those that are *known* already.

    Args:
        budget_s: When it is over, the rest is named in one finding ``not_examined``.
    """
    with _ONE_AT_A_TIME:
        return list(_Prover(checked, known, time.monotonic() + budget_s).findings())


@define
class _Answer:
    """*witness* where there is an order; *is_proof* where there is none; neither where nobody knows."""

    witness: Witness | None = None
    is_proof: bool = False
    core: tuple[int, ...] = ()


@define
class _Prover:
    checked: Checked
    known: Sequence[RuleFinding]
    until: float
    orders: dict[int, Witness] = field(factory=dict)
    unexamined: dict[str, int] = field(factory=dict)

    def findings(self) -> Iterator[RuleFinding]:
        settled = {each.rules[0] for each in self.known if each.kind in ("never_reached", "fallback", "never_matches")}
        places = [place for place, rule in enumerate(self.checked.rules) if rule.id not in settled]
        dead: set[int] = set()
        for found in self._each("reach", places, self._reach):
            dead.add(self.checked.position[found.rules[0]])
            yield found
        alive = [place for place in places if place not in dead]
        yield from self._each("always", alive, self._always)
        yield from self._undecided()
        open_already = {each.rules[0] for each in self.known if each.kind == "fails_open"}
        yield from self._each("open", [p for p in alive if self.checked.rules[p].id not in open_already], self._open)
        yield from self._each("redundant", alive, self._redundant)
        yield from self._overlaps(alive)
        yield from self._not_examined()

    def _each(
        self, what: str, places: Sequence[int], prove_one: Callable[[int], Iterator[RuleFinding]]
    ) -> Iterator[RuleFinding]:
        for number, place in enumerate(places):
            if self._is_over():
                self._leave(what, len(places) - number)
                return
            yield from prove_one(place)

    def _is_over(self) -> bool:
        return time.monotonic() > self.until

    def _leave(self, what: str, count: int = 1) -> None:
        self.unexamined[what] = self.unexamined.get(what, 0) + count

    def _not_examined(self) -> Iterator[RuleFinding]:
        if self.unexamined:
            left = ", ".join(f"{_QUESTIONS[what]} ({count})" for what, count in self.unexamined.items())
            message = f"not examined, or without an answer: {left}"
            yield self.checked.finding("not_examined", "note", [], message, None)

    # -------------------------------------------------------------- asking

    def _matched(self, encoding: Encoding, place: int) -> Any:
        rule = self.checked.rules[place]
        return encoding.matches(rule.when, rule.if_unknown)

    def _ask(self, nodes: Sequence[Node], formula: Formula, fits: Fits, blockers: Sequence[int] = ()) -> _Answer:
        """An order that fulfils *formula*, *fits* by running it, and that no blocker matches."""
        encoding = Encoding([*nodes, *(self.checked.rules[place].when for place in blockers)])
        solver = z3.SimpleSolver()
        solver.set("timeout", QUESTION_MS)
        solver.add(formula(encoding))
        tracked = {place: z3.Bool(f"not rule {place}") for place in blockers}
        for place, name in tracked.items():
            solver.add(z3.Implies(name, z3.Not(self._matched(encoding, place))))
        links = encoding.links()
        solver.add(*encoding.axioms, *links)
        names = list(tracked.values())
        plain = encoding.plain_lines()
        for more in (
            [*plain, *encoding.everything_present()],
            plain,
            encoding.exact_products(),
            [encoding.rest == 0],
            [],
        ):
            said = solver.check(*names, *more)
            if said == z3.sat:
                witness = self._run(encoding.draft(solver.model()), fits)
                if witness is not None:
                    return _Answer(witness)
            elif said == z3.unsat and not more:
                return _Answer(is_proof=True, core=_core(solver, tracked))
        return _Answer()

    def _run(self, draft: Draft, fits: Fits) -> Witness | None:
        witness = draft.witness(self.checked.locations)
        try:
            return witness if witness is not None and fits(witness) else None
        except PluginError:
            return None

    def _search(
        self, nodes: Sequence[Node], formula: Formula, fits: Fits, taker: Callable[[Witness], int | None]
    ) -> tuple[_Answer, Witness | None]:
        """An order that no rule takes before, ruling out one taker after the other; and the last that was taken."""
        blockers: list[int] = []
        last: Witness | None = None
        while len(blockers) <= MAX_BLOCKERS and not self._is_over():
            answer = self._ask(nodes, formula, fits, blockers)
            if answer.witness is None:
                return answer, last
            taken = taker(answer.witness)
            if taken is None:
                return answer, last
            if taken in blockers:
                break
            last = answer.witness
            blockers.append(taken)
        return _Answer(), last

    # -------------------------------------------------------------- is it ever reached

    def _reach(self, place: int) -> Iterator[RuleFinding]:
        rule = self.checked.rules[place]

        def taker(witness: Witness) -> int | None:
            found = self.checked.decided_at(witness)
            return found if found is not None and found < place else None

        answer, last = self._search_for(place, taker)
        if answer.witness is not None:
            self.orders[place] = answer.witness
        elif not answer.is_proof:
            self._leave("reach")
        elif last is None:
            yield never_matches(self.checked, place, self._contradiction(rule))
        else:
            yield self._shadowed(place, answer.core, last)

    def _search_for(self, place: int, taker: Callable[[Witness], int | None]) -> tuple[_Answer, Witness | None]:
        fits: Fits = lambda witness: self.checked.matches(place, witness)  # noqa: E731
        nodes = [self.checked.rules[place].when]
        return self._search(nodes, lambda encoding: self._matched(encoding, place), fits, taker)

    def _shadowed(self, place: int, core: Sequence[int], last: Witness) -> RuleFinding:
        if not all(map(self.checked.ends, core)):

            def taker(witness: Witness) -> int | None:
                before = [each for each in self.checked.reaches(witness) if each < place and self.checked.ends(each)]
                return min(before, default=None)

            answer, taken = self._search_for(place, taker)
            if answer.is_proof and taken is not None:
                return shadow(self.checked, place, answer.core, taken)
        return shadow(self.checked, place, core, last)

    def _contradiction(self, rule: Rule) -> str:
        """Which parts of the condition exclude each other."""
        parts = rule.when.parts if isinstance(rule.when, AllOf) else (rule.when,)
        if rule.if_unknown or len(parts) < 2:
            return "its condition is never true"
        encoding = Encoding([rule.when])
        solver = z3.SimpleSolver()
        names = {number: z3.Bool(f"part {number}") for number in range(len(parts))}
        for number, name in names.items():
            solver.add(z3.Implies(name, encoding.both(parts[number])[0]))
        solver.add(*encoding.links(), *encoding.axioms)
        solver.check(*names.values())
        paths = [parts[number].path for number in _core(solver, names)]
        return f"{' and '.join(paths)} exclude each other" if len(paths) > 1 else f"{paths[0]} is never true"

    # -------------------------------------------------------------- other questions about one rule

    def _always(self, place: int) -> Iterator[RuleFinding]:
        rule = self.checked.rules[place]
        bare = Draft().witness(self.checked.locations)
        if isinstance(rule.when, Truth) or bare is None or not self._is_matched(place, bare):
            return
        fits: Fits = lambda witness: not self.checked.matches(place, witness)  # noqa: E731
        answer = self._ask([rule.when], lambda encoding: z3.Not(self._matched(encoding, place)), fits)
        if answer.is_proof:
            message = f"rule {rule.id} matches every order; its condition could be true"
            yield self.checked.finding("always_matches", "warning", [place], message, bare)

    def _is_matched(self, place: int, witness: Witness) -> bool:
        try:
            return self.checked.matches(place, witness)
        except PluginError:
            return False

    def _undecided(self) -> Iterator[RuleFinding]:
        deciding = [rule for rule in self.checked.rules if rule.decision is not None]
        if any(isinstance(rule.when, Truth) for rule in deciding):
            return
        answer, _ = self._search([], lambda encoding: True, lambda witness: True, self.checked.decided_at)
        if answer.witness is None and not answer.is_proof:
            bare = Draft().witness(self.checked.locations)
            answer.witness = bare if bare is not None and self.checked.decided_at(bare) is None else None
        if answer.witness is not None:
            message = (
                f"no rule decides some orders; otherwise they are decided as {self.checked.ruleset.otherwise.action}"
            )
            yield self.checked.finding("undecided", "note", [], message, answer.witness)
        elif not answer.is_proof:
            self._leave("undecided")

    def _open(self, place: int) -> Iterator[RuleFinding]:
        rule = self.checked.rules[place]
        is_hold = rule.decision is not None and rule.decision.action == "hold"
        if not is_hold or rule.if_unknown or not may_be_unknown(rule.when):
            return

        def unknown(encoding: Encoding) -> Any:
            true, false = encoding.both(rule.when)
            return z3.And(z3.Not(true), z3.Not(false))

        def taker(witness: Witness) -> int | None:
            found = self.checked.decided_at(witness)
            return found if found is not None and found < place else None

        fits: Fits = lambda witness: self.checked.verdict(place, witness) is None  # noqa: E731
        answer, _ = self._search([rule.when], unknown, fits, taker)
        if answer.witness is not None and is_open(self.checked, place, answer.witness):
            yield open_hold(self.checked, place, answer.witness)
        elif not answer.is_proof:
            self._leave("open")

    # -------------------------------------------------------------- parts that could be left out

    def _redundant(self, place: int) -> Iterator[RuleFinding]:
        rule = self.checked.rules[place]
        smaller = list(_smaller(rule.when))
        if not smaller:
            return
        encoding = Encoding([rule.when])
        solver = z3.SimpleSolver()
        solver.set("timeout", QUESTION_MS)
        mine = self._matched(encoding, place)
        names = []
        for number, (_, made) in enumerate(smaller):
            names.append(z3.Bool(f"differs {number}"))
            solver.add(z3.Implies(names[-1], mine != encoding.matches(made, rule.if_unknown)))
        solver.add(*encoding.links(), *encoding.axioms)
        for name, (left_out, made) in zip(names, smaller, strict=True):
            said = solver.check(name)
            if said == z3.unsat and self._judge_alike(rule, made):
                message = f"rule {rule.id} matches the same orders without {left_out.path}"
                yield self.checked.finding("redundant", "note", [place], message, self.orders.get(place), left_out.path)
                return
            if said == z3.unknown:
                self._leave("redundant")

    def _judge_alike(self, rule: Rule, made: Node) -> bool:
        """Whether the rule and its shorter form agree on every order that was made so far."""
        mine, theirs = compile_node(rule.when), compile_node(made)
        wanted = (True, None) if rule.if_unknown else (True,)
        for witness in list(self.orders.values())[:200]:
            facts = Facts(witness.order, witness.view, witness.now)
            if (mine(facts) in wanted) is not (theirs(facts) in wanted):
                return False
        return True

    # -------------------------------------------------------------- overlaps

    def _overlaps(self, alive: Sequence[int]) -> Iterator[RuleFinding]:
        deciding = [place for place in alive if self._may_overlap(self.checked.rules[place])]
        boxes = {place: boxes_of(self.checked.rules[place].when) for place in deciding}
        found = asked = 0
        for one, two in combinations(deciding, 2):
            if not self._outcomes_differ(one, two) or _are_disjoint(boxes[one], boxes[two]):
                continue
            asked += 1
            if self._is_over() or found >= MAX_OVERLAPS:
                self._leave("overlap")
                continue
            for overlap in self._overlap(one, two):
                found += 1
                yield overlap

    def _may_overlap(self, rule: Rule) -> bool:
        return rule.decision is not None and not isinstance(rule.when, Truth)

    def _outcomes_differ(self, one: int, two: int) -> bool:
        first, second = self.checked.rules[one].decision, self.checked.rules[two].decision
        assert first is not None
        assert second is not None
        return evolve(first, rule_id=None, effects=()) != evolve(second, rule_id=None, effects=())

    def _overlap(self, one: int, two: int) -> Iterator[RuleFinding]:
        """An overlap where neither rule is the other's exception: each also matches orders of its own."""
        nodes = [self.checked.rules[one].when, self.checked.rules[two].when]
        witnesses = []
        for first, second in ((True, True), (True, False), (False, True)):
            wanted = (first, second)

            def formula(encoding: Encoding, wanted: tuple[bool, bool] = wanted) -> Any:
                asked = zip((one, two), wanted, strict=True)
                return z3.And(
                    *(self._matched(encoding, p) if w else z3.Not(self._matched(encoding, p)) for p, w in asked)
                )

            def fits(witness: Witness, wanted: tuple[bool, bool] = wanted) -> bool:
                return (self.checked.matches(one, witness), self.checked.matches(two, witness)) == wanted

            answer = self._ask(nodes, formula, fits)
            if answer.witness is None:
                if not answer.is_proof:
                    self._leave("overlap")
                return
            witnesses.append(answer.witness)
        ours, theirs = self.checked.rules[one].id, self.checked.rules[two].id
        message = f"rules {ours} and {theirs} overlap with different outcomes; the order decides for {ours}"
        yield self.checked.finding("overlap", "note", [one, two], message, witnesses[0])


_QUESTIONS = {
    "reach": "whether rules are reached",
    "always": "whether rules always match",
    "undecided": "whether every order is decided",
    "open": "whether holds fail open",
    "redundant": "parts that could be left out",
    "overlap": "pairs that may overlap",
}


def _core(solver: Any, tracked: dict[int, Any]) -> tuple[int, ...]:
    """Of what cannot hold together, as little as still cannot."""
    core = {str(name) for name in solver.unsat_core()}
    left = [place for place, name in tracked.items() if str(name) in core]
    for place in list(left):
        others = [tracked[each] for each in left if each != place]
        if solver.check(*others) == z3.unsat:
            left.remove(place)
    return tuple(sorted(left))


def _smaller(node: Node) -> Iterator[tuple[Node, Node]]:
    """Each part of *node*, outside of lines, with what is left of *node* without it."""
    match node:
        case AllOf() | AnyOf():
            for number, part in enumerate(node.parts):
                others = node.parts[:number] + node.parts[number + 1 :]
                if others:
                    yield part, evolve(node, parts=others)
                for left_out, made in _smaller(part):
                    yield left_out, evolve(node, parts=(*node.parts[:number], made, *node.parts[number + 1 :]))
        case Not() | Named():
            for left_out, made in _smaller(node.part):
                yield left_out, evolve(node, part=made)


def _are_disjoint(one: Sequence[Box], two: Sequence[Box]) -> bool:
    return all(_box_disjoint(ours, theirs) for ours in one for theirs in two)


def _box_disjoint(one: Box, two: Box) -> bool:
    if any(wanted.joined(two.scalars[key]).is_empty for key, wanted in one.scalars.items() if key in two.scalars):
        return True
    return any(wanted.joined(two.tags[key]).is_empty for key, wanted in one.tags.items() if key in two.tags)
