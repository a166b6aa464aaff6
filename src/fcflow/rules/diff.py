"""
What a change of the rules changes: the same orders decided by two rule sets, and the rules that made the difference.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from attrs import evolve, frozen
from immutabledict import immutabledict

from fcflow.model import Decision, Order, View
from fcflow.rules.ruleset import RuleSet

__all__ = ["Case", "RuleChange", "RuleDiff", "Skipped", "diff", "diff_cases", "rule_edits"]

_OTHERWISE = "otherwise"
_TERMS = ("strategy", "strategy_options", "split", "if_short")


@frozen
class Case:
    """
    One order to decide, and the world it is decided in.

    Args:
        as_of: The instant whose rules decide; ``None`` is *now*.

        lifted: Rules whose hold a person lifted from the order.
    """

    order: Order
    view: View | None = None
    now: datetime | None = None
    as_of: datetime | None = None
    lifted: tuple[str, ...] = ()


@frozen
class Skipped:
    """An order that was not compared, and why."""

    order_id: str
    reason: str


@frozen(kw_only=True)
class RuleChange:
    """
    One order that two rule sets decide differently.

    Args:
        what: What differs: ``action``, ``locations``, ``terms`` (strategy, split, what happens if it is short),
            ``reason``, ``effects``.

        rules: Ids of the rules that made the difference: edited ones that decided or had an effect, before or after;
            where there is none, the rules that decided, whose place among the others changed.
    """

    order_id: str
    before: Decision
    after: Decision
    what: tuple[str, ...]
    rules: tuple[str, ...]

    @property
    def moved(self) -> bool:
        """Whether the order goes somewhere else, or is allocated, held or kept where it was not before."""
        return "action" in self.what or "locations" in self.what


@frozen(kw_only=True)
class RuleDiff:
    """
    What the second rule set does to orders that the first does not.

    Args:
        old, new: The hashes of the rule sets; *old* is ``None`` where each order had one of its own.

        orders: How many orders were compared.

        edits: Rule id to ``added``, ``removed``, ``changed`` or ``moved``, whether it made a difference or not;
            ``otherwise`` stands for what happens to orders that no rule decides.

        skipped: Orders that could not be compared.

        drifted: Ids of orders that the old rules, asked again, do not decide as they did; of `Synchronizer.replay`.
    """

    old: str | None
    new: str
    orders: int
    changes: tuple[RuleChange, ...]
    edits: immutabledict[str, str] = immutabledict()
    skipped: tuple[Skipped, ...] = ()
    drifted: tuple[str, ...] = ()

    @property
    def moved(self) -> tuple[RuleChange, ...]:
        """The changes that send an order somewhere else, or decide about it in another way."""
        return tuple(change for change in self.changes if change.moved)

    @property
    def flows(self) -> dict[tuple[str, str], int]:
        """How many orders go from what to what, the most first."""
        pairs = Counter((outcome(change.before), outcome(change.after)) for change in self.moved)
        return dict(pairs.most_common())

    @property
    def responsible(self) -> dict[str, int]:
        """Rule id to how many orders it made a difference to, the most first."""
        return dict(Counter(rule for change in self.changes for rule in change.rules).most_common())

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        flows = [{"from": start, "to": end, "orders": count} for (start, end), count in self.flows.items()]
        return {
            "old": self.old,
            "new": self.new,
            "orders": self.orders,
            "changed": len(self.changes),
            "moved": len(self.moved),
            "edits": dict(self.edits),
            "flows": flows,
            "rules": self.responsible,
            "changes": [_change_document(change) for change in self.changes],
            "drifted": list(self.drifted),
            "skipped": [{"order": each.order_id, "reason": each.reason} for each in self.skipped],
        }

    def __str__(self) -> str:
        lines = [f"{self.orders} orders: {len(self.changes)} change, {len(self.moved)} of them go elsewhere"]
        lines += [f"  {start} -> {end}: {count}" for (start, end), count in self.flows.items()]
        for rule, count in self.responsible.items():
            lines.append(f"  by {rule} ({self.edits.get(rule, 'not edited')}): {count}")
        if self.drifted:
            shown = ", ".join(self.drifted[:5]) + (", ..." if len(self.drifted) > 5 else "")
            lines.append(f"  the old rules do not decide any more as they did: {len(self.drifted)} ({shown})")
        lines += [f"  not compared: {each.order_id}: {each.reason}" for each in self.skipped]
        return "\n".join(lines)


def outcome(decision: Decision) -> str:
    """
    In one word or two, what becomes of an order.

    Example:
        >>> outcome(Decision(rule_id="a", action="allocate", locations=("leeds", "york")))
        'leeds, york'
        >>> outcome(Decision(rule_id=None, action="keep"))
        'keep'
    """
    if decision.action != "allocate":
        return decision.action
    return ", ".join(decision.locations) or "any location"


def _change_document(change: RuleChange) -> dict[str, Any]:
    return {
        "order": change.order_id,
        "what": list(change.what),
        "before": _decision_document(change.before),
        "after": _decision_document(change.after),
        "rules": list(change.rules),
    }


def _decision_document(decision: Decision) -> dict[str, Any]:
    document: dict[str, Any] = {"rule": decision.rule_id, "action": decision.action}
    if decision.action == "allocate":
        document["locations"] = list(decision.locations)
        document |= {"strategy": decision.strategy, "split": decision.split, "if_short": decision.if_short}
    if decision.reason is not None:
        document["reason"] = decision.reason
    document["effects"] = [[each.rule_id, each.kind, each.name, each.value] for each in decision.effects]
    return document


# ------------------------------------------------------------------ comparing


def diff(
    old: RuleSet,
    new: RuleSet,
    orders: Iterable[Order],
    *,
    view: View | None = None,
    now: datetime | None = None,
) -> RuleDiff:
    """
    Decide *orders* by both rule sets, and say what is different.

    First decisions are compared: where stock is short, what comes after them is not looked at.

    Args:
        view: The stock that both see; needed where a rule asks for it.

        now: The instant of both; needed where a rule asks for it.

    Raises:
        AllocationError: *view* or *now* is missing, and a rule asks for it.

    Example:
        >>> from fcflow.rules import load_rules
        >>> def to(place):
        ...     return load_rules({"fcflow": "ruleset/1", "rules": [
        ...         {"id": "all", "when": True, "then": [{"allocate": {"to": place}}]}]})
        >>> print(diff(to("leeds"), to("york"), [Order(order_id="A1", lines=())]))
        1 orders: 1 change, 1 of them go elsewhere
          leeds -> york: 1
          by all (changed): 1
    """
    made = diff_cases(((old, Case(order, view, now)) for order in orders), new)
    return evolve(made, old=old.hash, edits=immutabledict(rule_edits(old, new)))


def diff_cases(cases: Iterable[tuple[RuleSet, Case]], new: RuleSet) -> RuleDiff:
    """
    As `diff`, where each order has the rule set that decided it before, and a world of its own.

    Raises:
        AllocationError: A view or an instant is missing, and a rule asks for it.
    """
    edits: dict[str, dict[str, str]] = {}
    changes: list[RuleChange] = []
    count = 0
    for old, case in cases:
        count += 1
        if old.hash not in edits:
            edits[old.hash] = rule_edits(old, new)
        before, after = _decided(old, case), _decided(new, case)
        what = tuple(_differences(before, after))
        if what:
            rules = _responsible(before, after, what, edits[old.hash])
            changes.append(RuleChange(order_id=case.order.order_id, before=before, after=after, what=what, rules=rules))
    only = next(iter(edits)) if len(edits) == 1 else None
    merged = {rule: how for each in edits.values() for rule, how in each.items()}
    return RuleDiff(old=only, new=new.hash, orders=count, changes=tuple(changes), edits=immutabledict(merged))


def _decided(rules: RuleSet, case: Case) -> Decision:
    if case.lifted:
        return next(rules.decisions(case.order, case.view, case.now, as_of=case.as_of, lifted=case.lifted))
    return rules.decide(case.order, view=case.view, now=case.now, as_of=case.as_of)


def _differences(before: Decision, after: Decision) -> Iterator[str]:
    if before.action != after.action:
        yield "action"
    if before.locations != after.locations:
        yield "locations"
    if before.action == after.action and any(getattr(before, term) != getattr(after, term) for term in _TERMS):
        yield "terms"
    if before.action == after.action and before.reason != after.reason:
        yield "reason"
    if _lasting(before) != _lasting(after):
        yield "effects"


def _lasting(decision: Decision) -> tuple[object, ...]:
    """What is left of the effects in the end, whichever rule they are of."""
    return decision.shipping_service, decision.tags, decision.properties, _others(decision)


def _others(decision: Decision) -> list[tuple[object, ...]]:
    known = ("set_service", "tag", "set_property")
    return [(each.kind, each.name, each.value) for each in decision.effects if each.kind not in known]


def _responsible(before: Decision, after: Decision, what: tuple[str, ...], edits: Mapping[str, str]) -> tuple[str, ...]:
    decided = [each.rule_id or _OTHERWISE for each in (before, after)] if what != ("effects",) else []
    shared = set(before.effects) & set(after.effects)
    acting = [each.rule_id or _OTHERWISE for each in (*before.effects, *after.effects) if each not in shared]
    ids = list(dict.fromkeys([*decided, *(acting if "effects" in what else [])]))
    return tuple(each for each in ids if each in edits) or tuple(ids)


def rule_edits(old: RuleSet, new: RuleSet) -> dict[str, str]:
    """
    Rule id to what was done to it: ``added``, ``removed``, ``changed``, or ``moved`` to another place among the rest.

    A rule counts as changed too where something changed that all rules may use: a list, a named condition, the
    currency or the zone. What cannot change a decision, such as ``about`` and examples, does not count.
    """
    before, after = _written(old), _written(new)
    edits = {rule: "removed" for rule in before if rule not in after}
    edits |= {rule: "added" for rule in after if rule not in before}
    shared = [rule for rule in after if rule in before]
    edits |= {rule: "changed" for rule in shared if before[rule] != after[rule]}
    for rule in _out_of_place([rule for rule in before if rule in after], shared):
        edits.setdefault(rule, "moved")
    return edits


def _written(rules: RuleSet) -> dict[str, object]:
    made: dict[str, object] = {
        rule.id: (_unplaced(rule.when), rule.effects, rule.decision, rule.enabled, rule.if_unknown, rule.effective)
        for rule in rules.rules
    }
    return {**made, _OTHERWISE: rules.otherwise}


def _unplaced(node: Any) -> object:
    """A condition without the paths at which its parts stand."""
    if hasattr(node, "__attrs_attrs__") and hasattr(node, "path"):
        names = (each.name for each in node.__attrs_attrs__ if each.name not in ("path", "written"))
        return (type(node).__name__, *(_unplaced(getattr(node, name)) for name in names))
    return tuple(map(_unplaced, node)) if isinstance(node, tuple) else node


def _out_of_place(before: list[str], after: list[str]) -> list[str]:
    """The fewest of *after* that have to be taken out for the rest to stand as in *before*."""
    places = {rule: place for place, rule in enumerate(before)}
    kept = set(_longest_rising([places[rule] for rule in after]))
    return [rule for rule in after if places[rule] not in kept]


def _longest_rising(numbers: list[int]) -> list[int]:
    ends: list[int] = []
    chains: list[tuple[int, Any]] = []
    for number in numbers:
        at = bisect_left(ends, number)
        chain = (number, chains[at - 1] if at else None)
        ends[at : at + 1], chains[at : at + 1] = [number], [chain]
    found: list[int] = []
    link: Any = chains[-1] if chains else None
    while link is not None:
        found.append(link[0])
        link = link[1]
    return found
