"""
What examples and real orders have tried of a rule set: which rules matched, and which leaves were ever true and ever
false.

Examples are run one by one, as tests are; a leaf is a condition with no other condition below it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from attrs import define, field, frozen

from fcflow.errors import RuleError
from fcflow.model import Order
from fcflow.rules.compile import compile_node
from fcflow.rules.diff import Case
from fcflow.rules.examples import example_now, example_order, example_view
from fcflow.rules.explain import because, verdict_word
from fcflow.rules.extensions import EffectType, RuleField
from fcflow.rules.faults import Faults
from fcflow.rules.fields import Facts
from fcflow.rules.operators import OperatorType
from fcflow.rules.ruleset import Needs, RuleSet, load_rules
from fcflow.rules.shape import check_shape
from fcflow.rules.source import plain, read
from fcflow.rules.tree import (
    AllOf,
    AnyOf,
    CountLines,
    Lines,
    Measured,
    Named,
    Node,
    Not,
    Rule,
    Stock,
    StockAge,
    SumLines,
    Test,
)

__all__ = ["Coverage", "ExampleResult", "LeafCoverage", "RuleCoverage", "measure_coverage", "run_examples"]


# ------------------------------------------------------------------ examples, as tests are run


@frozen(kw_only=True)
class ExampleResult:
    """
    One example of a rule, run.

    Args:
        number: From 1, in the order in which they stand in the rule.

        expected, found: ``true``, ``false`` or ``unknown``; *found* is ``error`` where it could not be run.

        because: The leaves that made the verdict what it is, or what kept it from being found.
    """

    rule_id: str
    number: int
    about: str = ""
    expected: str
    found: str
    because: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the condition said what the example expects."""
        return self.expected == self.found


def run_examples(
    source: Any,
    *,
    operators: Mapping[str, OperatorType] | None = None,
    fields: Mapping[str, RuleField] | None = None,
    effects: Mapping[str, EffectType] | None = None,
) -> tuple[RuleSet, tuple[ExampleResult, ...]]:
    """
    Load a rule set and run its examples; unlike `load_rules`, one that fails stops nothing.

    Args:
        source: As for `load_rules`.

    Returns:
        The rule set without its examples, and what became of each.

    Raises:
        RuleError: The document has other faults.

    Example:
        >>> _, [result] = run_examples({"fcflow": "ruleset/1", "rules": [
        ...     {"id": "all", "when": True, "then": [{"keep": {}}], "examples": [{"order": {}, "matches": False}]}]})
        >>> result.passed, result.found
        (False, 'true')
    """
    faults = Faults()
    name, document = read(source, faults)
    if not len(faults):
        check_shape(document, faults)
    if len(faults):
        raise RuleError(name, faults.sorted(document))
    rules = load_rules(
        _without_examples(document), operators=operators or {}, fields=fields or {}, effects=effects or {}
    )
    results = [
        _run(rule, number, example)
        for raw, rule in zip(document["rules"], rules.rules, strict=True)
        for number, example in enumerate(raw.get("examples", []), 1)
    ]
    return rules, tuple(results)


def _without_examples(document: dict[str, Any]) -> dict[str, Any]:
    rules = [{key: value for key, value in raw.items() if key != "examples"} for raw in document["rules"]]
    return {**document, "rules": rules}


def _run(rule: Rule, number: int, example: dict[str, Any]) -> ExampleResult:
    wanted = verdict_word(None if example["matches"] == "unknown" else bool(example["matches"]))
    facts, faults = _example_facts(example)
    found, clauses = "error", tuple(str(fault) for fault in faults.sorted(None))
    if facts is not None:
        clauses = tuple(_missing(rule, facts))
        if not clauses:
            verdict, clauses = because(rule.when, facts)
            found = verdict_word(verdict)
    about = str(example.get("about", ""))
    return ExampleResult(rule_id=rule.id, number=number, about=about, expected=wanted, found=found, because=clauses)


def _missing(rule: Rule, facts: Facts) -> Iterator[str]:
    needs = Needs.of([rule.when])
    for what, needed, given in (("view", needs.view, facts.view), ("now", needs.now, facts.now)):
        if needed and given is None:
            yield f"{what} is missing, and the rule asks for it"


def _example_facts(example: dict[str, Any]) -> tuple[Facts | None, Faults]:
    faults = Faults()
    order = example_order(example["order"], faults, ("order",))
    now = example_now(example.get("now"), faults, ("now",))
    view = example_view(example, now, faults, ())
    return (None if order is None or len(faults) else Facts(order, view, now)), faults


# ------------------------------------------------------------------ coverage


@frozen(kw_only=True)
class LeafCoverage:
    """
    How often a leaf came out as what.

    Args:
        path: Where it stands in the document; a leaf of a named condition stands there, for all rules that use it.

        text: The leaf in short.
    """

    path: str
    text: str
    true: int = 0
    false: int = 0
    unknown: int = 0

    @property
    def missing(self) -> tuple[str, ...]:
        """Of ``true`` and ``false``, what it never was."""
        return tuple(word for word, count in (("true", self.true), ("false", self.false)) if not count)


@frozen(kw_only=True)
class RuleCoverage:
    """
    What was tried of one rule.

    Args:
        reached: How many cases were decided by no rule before it; examples reach their own rule.

        matched: How many of them it matched.

        decided: How many orders it decided; examples decide nothing.
    """

    rule_id: str
    reached: int
    matched: int
    decided: int
    leaves: tuple[LeafCoverage, ...]

    @property
    def covered(self) -> bool:
        """Whether it matched at least once, and no leaf was always true or always false."""
        return self.matched > 0 and not any(leaf.missing for leaf in self.leaves)


@frozen
class Coverage:
    """What examples and orders tried of a rule set; rules that are not enabled are left out."""

    rules: tuple[RuleCoverage, ...]

    @property
    def never_matched(self) -> tuple[str, ...]:
        """Ids of rules that matched nothing."""
        return tuple(rule.rule_id for rule in self.rules if not rule.matched)

    @property
    def uncovered(self) -> tuple[LeafCoverage, ...]:
        """Leaves that were never true, or never false; each once."""
        return tuple({leaf.path: leaf for rule in self.rules for leaf in rule.leaves if leaf.missing}.values())

    @property
    def share(self) -> float:
        """Of the two outcomes of each leaf, and of each rule's matching, the part that was seen; 1 if there is none."""
        leaves = {leaf.path: leaf for rule in self.rules for leaf in rule.leaves}.values()
        wanted = 2 * len(leaves) + len(self.rules)
        missing = sum(len(leaf.missing) for leaf in leaves) + len(self.never_matched)
        return 1.0 if not wanted else (wanted - missing) / wanted

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "share": round(self.share, 4),
            "never_matched": list(self.never_matched),
            "rules": [_rule_document(rule) for rule in self.rules],
        }


def _rule_document(rule: RuleCoverage) -> dict[str, Any]:
    leaves = [
        {"path": leaf.path, "leaf": leaf.text, "true": leaf.true, "false": leaf.false, "unknown": leaf.unknown}
        for leaf in rule.leaves
    ]
    counts = {"reached": rule.reached, "matched": rule.matched, "decided": rule.decided}
    return {"rule": rule.rule_id, **counts, "leaves": leaves}


@define
class _Watched:
    """A rule under measurement."""

    rule: Rule
    verdict: Callable[[Facts], bool | None]
    leaves: list[tuple[Node, bool, Callable[[Facts], bool | None]]]
    counts: Counter[str] = field(factory=Counter)

    @classmethod
    def of(cls, rule: Rule) -> _Watched:
        leaves = [(leaf, of_line, compile_node(leaf)) for leaf, of_line in _leaves(rule.when, False)]
        return cls(rule, compile_node(rule.when), leaves)


def measure_coverage(rules: RuleSet, cases: Iterable[Case | Order] = ()) -> Coverage:
    """
    What the examples of *rules*, and the given cases, try of them.

    A leaf inside a condition on lines is asked of every line.

    Args:
        cases: Orders, or orders with a view and an instant; each goes through the rules up to the one that decides it.

    Raises:
        AllocationError: A case lacks the view or the instant that a rule asks for.

    Example:
        >>> rules = load_rules({"fcflow": "ruleset/1", "rules": [{"id": "gb", "then": [{"keep": {}}],
        ...     "when": {"field": "ship_to.country", "op": "eq", "value": "GB"},
        ...     "examples": [{"order": {"ship_to": {"country": "GB"}}, "matches": True}]}]})
        >>> [(leaf.text, leaf.missing) for leaf in measure_coverage(rules).uncovered]
        [("ship_to.country eq 'GB'", ('false',))]
    """
    seen: dict[str, Counter[str]] = {}
    watched = {rule.id: _Watched.of(rule) for rule in rules.rules if rule.enabled}
    for raw in rules.document["rules"]:
        for example in raw.get("examples", []) if raw["id"] in watched else []:
            facts, _ = _example_facts(example)
            if facts is not None:
                _try(watched[raw["id"]], facts, seen)
    for case in cases:
        _walk(rules, case if isinstance(case, Case) else Case(case), watched, seen)
    return Coverage(tuple(_covered(each, seen) for each in watched.values()))


def _walk(rules: RuleSet, case: Case, watched: Mapping[str, _Watched], seen: dict[str, Counter[str]]) -> None:
    decision = rules.decide(case.order, view=case.view, now=case.now, as_of=case.as_of)
    at = case.as_of or case.now
    facts = Facts(case.order, case.view, case.now or case.as_of)
    for rule in rules.rules if at is None else rules.in_force(at).rules:
        if rule.enabled:
            _try(watched[rule.id], facts, seen)
        if rule.id == decision.rule_id:
            watched[rule.id].counts["decided"] += 1
            return


def _try(watched: _Watched, facts: Facts, seen: dict[str, Counter[str]]) -> None:
    verdict = watched.verdict(facts)
    watched.counts["reached"] += 1
    watched.counts["matched"] += verdict is True or (verdict is None and watched.rule.if_unknown)
    for leaf, of_line, ask in watched.leaves:
        counts = seen.setdefault(leaf.path, Counter())
        for line in facts.order.lines if of_line else (None,):
            facts.line = line
            counts[verdict_word(ask(facts))] += 1
        facts.line = None


def _covered(watched: _Watched, seen: Mapping[str, Counter[str]]) -> RuleCoverage:
    counts, nothing = watched.counts, Counter[str]()
    leaves = tuple(
        LeafCoverage(path=leaf.path, text=_text(leaf), **{word: each[word] for word in ("true", "false", "unknown")})
        for leaf, _, _ in watched.leaves
        for each in (seen.get(leaf.path, nothing),)
    )
    return RuleCoverage(
        rule_id=watched.rule.id,
        reached=counts["reached"],
        matched=counts["matched"],
        decided=counts["decided"],
        leaves=leaves,
    )


# ------------------------------------------------------------------ leaves


def _leaves(node: Node, of_line: bool) -> list[tuple[Node, bool]]:
    """The leaves below *node*, and whether each is asked of a line."""
    match node:
        case AllOf() | AnyOf():
            return [each for part in node.parts for each in _leaves(part, of_line)]
        case Not() | Named():
            return _leaves(node.part, of_line)
        case Lines():
            return _leaves(node.part, True)
        case CountLines() | SumLines():
            return [(node, of_line), *([] if node.where is None else _leaves(node.where, True))]
        case Test() | Stock() | StockAge() | Measured():
            return [(node, of_line)]
        case _:
            return []


def _text(node: Node) -> str:
    match node:
        case Test():
            return " ".join([node.field.name, node.op, *([] if node.written is None else [_literal(node.written)])])
        case CountLines():
            return f"count_lines {node.op} {_literal(node.value)}"
        case SumLines():
            return f"sum of {node.field.name} {node.op} {_literal(node.value)}"
        case Stock():
            return f"{' or '.join(node.at)} covers {node.covers}"
        case StockAge():
            return f"stock age at {node.at} {node.op} {node.value}"
        case Measured():
            return f"{node.measure} of {node.at} {node.op} {float(node.value):g}"
        case _:
            return type(node).__name__


def _literal(value: Any) -> str:
    text = repr(plain(value)) if isinstance(value, str | list | dict) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
