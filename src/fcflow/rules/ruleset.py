"""
A rule set ready to decide, and a condition ready to be asked alone.
"""

from __future__ import annotations

import copy
import os
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, overload, runtime_checkable

from attrs import evolve, frozen

from fcflow.errors import AllocationError, PluginError, RuleError
from fcflow.model import Decision, Effect, Explanation, Order, OrderLine, RuleVerdict, ShippingLine, View
from fcflow.rules.compile import Verdict, compile_node
from fcflow.rules.effective import boundaries, in_force
from fcflow.rules.examples import example_now, example_order, example_view
from fcflow.rules.explain import because, verdict_word
from fcflow.rules.extensions import EffectType, Extensions, RuleField
from fcflow.rules.faults import Faults, Path
from fcflow.rules.fields import Facts
from fcflow.rules.index import Index
from fcflow.rules.operators import OperatorType
from fcflow.rules.parse import ConditionParser, parse_document
from fcflow.rules.shape import check_shape, is_schema
from fcflow.rules.source import canonical, digest, exact, plain, read
from fcflow.rules.tree import Measured, Named, Node, Rule, Stock, StockAge, Test, children

if TYPE_CHECKING:
    from fcflow.rules.batch import Decisions
    from fcflow.rules.check import RuleFinding

__all__ = ["Condition", "RuleSet", "compile_condition", "load_rules"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@runtime_checkable
class ArrowTable(Protocol):
    """A table of any library that speaks Arrow's C stream interface."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


# ------------------------------------------------------------------ what a condition asks for


@frozen
class Needs:
    """What must be handed over to evaluate conditions, and the locations that they name."""

    view: bool
    now: bool
    locations: frozenset[str]
    behaviour: bool = False

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> Needs:
        """What all of *nodes* need together."""
        every = [each for node in nodes for each in _walk_once(node)]
        stock = [each for each in every if isinstance(each, Stock | StockAge | Measured)]
        places = {code for each in stock for code in (each.at if isinstance(each, Stock) else (each.at,))}
        return cls(
            bool(stock),
            any(_asks_now(each) for each in every),
            frozenset(places),
            any(isinstance(each, Measured) for each in every),
        )

    def facts(self, order: Order, view: View | None, now: datetime | None, line: Any = None) -> Facts:
        """The facts of one order; refuses to begin where something is missing."""
        if self.view and view is None:
            raise AllocationError(f"order {order.order_id}: a rule asks for stock, expected view=, got None")
        if self.now and now is None:
            raise AllocationError(f"order {order.order_id}: a rule asks for the time, expected now=, got None")
        if now is not None and now.tzinfo is None:
            raise AllocationError(f"now: expected an instant with a time zone, got {now.isoformat()}")
        return Facts(order, view, None if now is None else now.astimezone(UTC), line)


def _walk_once(node: Node) -> Iterator[Node]:
    """Every distinct node; a named condition that is used often is visited once."""
    seen: set[str] = set()
    stack = [node]
    while stack:
        each = stack.pop()
        if isinstance(each, Named):
            if each.name in seen:
                continue
            seen.add(each.name)
        yield each
        stack.extend(children(each))


def _asks_now(node: Node) -> bool:
    if isinstance(node, StockAge):
        return True
    if not isinstance(node, Test):
        return False
    return node.field.name == "now" or node.op in ("within_last", "within_next") or node.value == "now"


# ------------------------------------------------------------------ a condition alone


class Condition:
    """
    A compiled condition, immutable and free of state.

    Example:
        >>> from fcflow.model import Order
        >>> heavy = compile_condition({"field": "total_weight_g", "op": "ge", "value": 20000})
        >>> order = Order(order_id="A1", lines=(OrderLine(sku="SOFA", quantity=1, weight_g=41000),))
        >>> heavy.matches(order)
        True
    """

    def __init__(self, node: Node, made_from: tuple[Any, ...]) -> None:
        self._node = node
        self._made_from = made_from
        self._verdict = compile_node(node)
        self._needs = Needs.of([node])

    @property
    def node(self) -> Node:
        """The typed condition tree."""
        return self._node

    @property
    def document(self) -> Any:
        """The condition as JSON; a copy."""
        return plain(self._made_from[0])

    @property
    def needs_view(self) -> bool:
        """Whether it asks for stock."""
        return self._needs.view

    @property
    def needs_now(self) -> bool:
        """Whether it asks for the time."""
        return self._needs.now

    @property
    def needs_behaviour(self) -> bool:
        """Whether it asks how locations behaved."""
        return self._needs.behaviour

    @property
    def location_codes(self) -> frozenset[str]:
        """Every location that it names."""
        return self._needs.locations

    def verdict(
        self,
        order: Order,
        *,
        line: OrderLine | ShippingLine | None = None,
        view: View | None = None,
        now: datetime | None = None,
    ) -> bool | None:
        """
        True, false, or ``None`` where a value that it depends on is absent.

        Args:
            line: Needed by a condition of scope ``line``.

        Raises:
            AllocationError: *view*, *now* or *line* is missing, and the condition asks for it.
        """
        return self._verdict(self._facts(order, line, view, now))

    def matches(
        self,
        order: Order,
        *,
        line: OrderLine | ShippingLine | None = None,
        view: View | None = None,
        now: datetime | None = None,
    ) -> bool:
        """Whether it is true; an unknown one does not match."""
        return self._verdict(self._facts(order, line, view, now)) is True

    def because(
        self,
        order: Order,
        *,
        line: OrderLine | ShippingLine | None = None,
        view: View | None = None,
        now: datetime | None = None,
    ) -> tuple[str, ...]:
        """The leaves that made the verdict what it is, each as one clause."""
        return because(self._node, self._facts(order, line, view, now))[1]

    def _facts(self, order: Order, line: Any, view: View | None, now: datetime | None) -> Facts:
        if line is None and self._made_from[1] == "line":
            raise AllocationError(f"order {order.order_id}: the condition asks for a line, expected line=, got None")
        return self._needs.facts(order, view, now, line)

    def __repr__(self) -> str:
        return f"Condition({self.document!r})"

    def __eq__(self, other: object) -> bool:
        return self._made_from[:-1] == other._made_from[:-1] if isinstance(other, Condition) else NotImplemented

    def __hash__(self) -> int:
        return hash(canonical(self._made_from[0]))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt_condition, self._made_from


def compile_condition(
    document: Any,
    *,
    scope: str = "order",
    currency: str | None = None,
    zone: str | None = None,
    lists: Mapping[str, Any] = _NOTHING,
    conditions: Mapping[str, Any] = _NOTHING,
    operators: Mapping[str, OperatorType] = _NOTHING,
    fields: Mapping[str, RuleField] = _NOTHING,
    effects: Mapping[str, EffectType] = _NOTHING,
    path: str = "$",
) -> Condition:
    """
    Check and compile one condition of the rule language.

    Args:
        document: ``True`` or a JSON object.

        scope: ``order``, or ``line`` where ``line.`` fields are allowed and a line is handed over.

        currency: Of money in tests that do not say their own.

        zone: Of weekdays and times of day in tests that do not say their own.

        lists: Named lists for ``{"list": name}``.

        conditions: Named conditions for ``{"use": name}``.

        operators, fields: Those of plugins, by name.

        effects: Those of plugins; taken so that all that plugins offer can be handed on as one, and not needed.

        path: Where the condition stands in a larger document, for messages.

    Raises:
        RuleError: With every fault at once.

    Example:
        >>> compile_condition({"field": "ship_to.contry", "op": "eq", "value": "GB"}, path="$.fields[2].when")
        Traceback (most recent call last):
        fcflow.errors.RuleError: condition: 1 fault
          $.fields[2].when.field: unknown field: expected ship_to.country, got 'ship_to.contry'
    """
    surroundings = {"currency": currency, "zone": zone, "lists": lists, "conditions": conditions}
    faults = Faults(path)
    written = exact(document, faults)
    around = exact({key: value for key, value in surroundings.items() if value}, faults)
    check_shape(written, faults, "condition")
    for part, definition in (("lists", "values"), ("conditions", "condition")):
        for name, value in around.get(part, {}).items():
            check_shape(value, faults, definition, (part, name))
    parser = ConditionParser(around, faults, Extensions(operators, fields))
    parser.parse_named()
    node = parser.parse(written, (), scope="either" if scope == "line" else scope)
    if len(faults):
        raise RuleError("condition", faults.sorted(written))
    return Condition(node, (written, scope, around, dict(operators), dict(fields), path))


def _rebuilt_condition(written: Any, scope: str, around: Any, operators: Any, fields: Any, path: str) -> Condition:
    return compile_condition(written, scope=scope, **around, operators=operators, fields=fields, path=path)


# ------------------------------------------------------------------ a rule set


@frozen
class _Ready:
    """
    What an enabled rule does, made once.

    Args:
        decision: With the rule's own effects.

        ends: Whether nothing may follow, even if the decision cannot be met.
    """

    effects: tuple[Effect, ...]
    decision: Decision | None
    ends: bool

    @classmethod
    def of(cls, rule: Rule) -> _Ready:
        if rule.decision is None:
            return cls(rule.effects, None, False)
        ends = rule.decision.action != "allocate" or rule.decision.if_short != "next_rule"
        return cls(rule.effects, evolve(rule.decision, effects=rule.effects), ends)


class RuleSet:
    """
    A rule set, checked and compiled: immutable, safe to share between threads, picklable.

    Made by `load_rules`.

    Example:
        >>> rules = load_rules({"fcflow": "ruleset/1", "name": "all to leeds", "rules": [
        ...     {"id": "all", "when": True, "then": [{"allocate": {"to": "leeds"}}]}]})
        >>> rules.decide(Order(order_id="A1", lines=())).locations
        ('leeds',)
    """

    def __init__(self, document: Any, rules: tuple[Rule, ...], otherwise: Decision, extensions: Extensions) -> None:
        self._document = document
        self._rules = rules
        self._otherwise = otherwise
        self._extensions = extensions
        self._hash = digest(document)
        enabled = tuple(rule for rule in rules if rule.enabled)
        self._ready = tuple(_Ready.of(rule) for rule in enabled)
        self._index = Index(enabled)
        self._needs = Needs.of(rule.when for rule in enabled)
        self._named = Needs.of(rule.when for rule in rules).locations
        self._boundaries = boundaries(rules)
        self._at_once = self._first_decisions() if not self._boundaries else None
        self._standing: dict[int, RuleSet] = {}
        self._instant: datetime | None = None

    def _first_decisions(self) -> tuple[Decision, ...] | None:
        """By position, ``otherwise`` last, where every rule decides; ``None`` where a rule only adds effects."""
        made = [ready.decision for ready in self._ready if ready.decision is not None]
        return (*made, self._otherwise) if len(made) == len(self._ready) else None

    # -------------------------------------------------------------- what it is

    @property
    def name(self) -> str:
        """What people call it; empty where the document does not say."""
        return str(self._document.get("name", ""))

    @property
    def hash(self) -> str:
        """SHA-256 of the document's canonical JSON: equal for documents that say the same in another order of keys."""
        return self._hash

    @property
    def text(self) -> str:
        """The document's canonical JSON: equal documents have one text; it loads again, and `hash` is its SHA-256."""
        return canonical(self._document)

    @property
    def document(self) -> dict[str, Any]:
        """The document as JSON; a copy."""
        made: dict[str, Any] = copy.deepcopy(plain(self._document))
        return made

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule, the disabled ones too, in the order in which they stand."""
        return self._rules

    @property
    def otherwise(self) -> Decision:
        """What happens to an order that no rule decides."""
        return self._otherwise

    @property
    def needs_view(self) -> bool:
        """Whether an enabled rule asks for stock."""
        return self._needs.view

    @property
    def needs_now(self) -> bool:
        """Whether an enabled rule asks for the time, or is in force at some time only."""
        return self._needs.now or bool(self._boundaries)

    @property
    def needs_behaviour(self) -> bool:
        """Whether an enabled rule asks how locations behaved."""
        return self._needs.behaviour

    @property
    def location_codes(self) -> frozenset[str]:
        """Every location that a rule names, as a target or in a condition."""
        return self._named.union(*(decision.locations for decision in self._decisions()))

    @property
    def strategies(self) -> frozenset[str]:
        """Every allocation strategy that a rule names."""
        return frozenset(each.strategy for each in self._decisions() if each.action == "allocate")

    def _decisions(self) -> list[Decision]:
        return [*(rule.decision for rule in self._rules if rule.decision is not None), self._otherwise]

    def __repr__(self) -> str:
        return f"RuleSet({self.name!r}, {len(self._rules)} rules, {self._hash[:12]})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RuleSet):
            return NotImplemented
        mine, theirs = ((each._hash, each._extensions, each._instant) for each in (self, other))
        return mine == theirs

    def __hash__(self) -> int:
        return hash(self._hash)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt_rules, (self._document, self._extensions, self._instant)

    # -------------------------------------------------------------- what it decides

    def in_force(self, at: datetime) -> RuleSet:
        """
        The rule set as it stands at an instant: rules that are not in force then match nothing.

        Args:
            at: Aware.

        Raises:
            AllocationError: *at* has no zone.
        """
        if at.tzinfo is None:
            raise AllocationError(f"as_of: expected an instant with a time zone, got {at.isoformat()}")
        if not self._boundaries:
            return self
        epoch = bisect_right(self._boundaries, at)
        if epoch not in self._standing:
            made = RuleSet(self._document, in_force(self._rules, at), self._otherwise, self._extensions)
            made._instant = at if epoch == 0 else self._boundaries[epoch - 1]
            self._standing[epoch] = made
        return self._standing[epoch]

    def _dated(self, order: Order, now: datetime | None, as_of: datetime | None) -> tuple[RuleSet, datetime | None]:
        """The rules in force for *order*, and the instant of the decision."""
        now = now or as_of
        if now is None and self._boundaries:
            said = "a rule is in force at some time only, expected now= or as_of=, got None"
            raise AllocationError(f"order {order.order_id}: {said}")
        return (self if now is None else self.in_force(as_of or now)), now

    def decide(
        self,
        order: Order,
        *,
        view: View | None = None,
        now: datetime | None = None,
        as_of: datetime | None = None,
    ) -> Decision:
        """
        What the first rule that decides says, with the effects of every rule that matched up to there.

        Args:
            as_of: The instant by whose rules it is decided; ``None`` is *now*.

        Raises:
            AllocationError: *view* or *now* is missing, and a rule asks for it.
        """
        if self._at_once is not None and as_of is None:
            plain = now is None and not self._needs.now and (view is not None or not self._needs.view)
            facts = Facts(order, view) if plain else self._needs.facts(order, view, now)
            return self._at_once[self._index.first(facts)]
        if self._boundaries or as_of is not None:
            rules, now = self._dated(order, now, as_of)
            return next(rules._walk(rules._needs.facts(order, view, now)))
        return next(self._walk(self._needs.facts(order, view, now)))

    def decisions(
        self,
        order: Order,
        view: View | None = None,
        now: datetime | None = None,
        *,
        as_of: datetime | None = None,
        lifted: Collection[str] = (),
    ) -> Iterator[Decision]:
        """
        Lazily, what comes next if the first decision cannot be met; ``otherwise`` comes last.

        Only an allocation whose ``if_short`` is ``next_rule`` is followed by another decision. Asking on passes its
        rule over, and that rule's own effects fall away.

        Args:
            as_of: The instant by whose rules it is decided; ``None`` is *now*.

            lifted: Rules whose hold a person lifted from this order: they hold it no more, their effects stay.

        Raises:
            AllocationError: *view* or *now* is missing, and a rule asks for it.
        """
        rules, now = self._dated(order, now, as_of)
        return rules._walk(rules._needs.facts(order, view, now), lifted)

    @overload
    def decide_many(
        self,
        orders: ArrowTable,
        *,
        view: View | None = None,
        now: datetime | None = None,
        as_of: datetime | None = None,
    ) -> Decisions: ...
    @overload
    def decide_many(
        self,
        orders: Iterable[Order],
        *,
        view: View | None = None,
        now: datetime | None = None,
        as_of: datetime | None = None,
    ) -> Iterator[Decision]: ...
    def decide_many(
        self,
        orders: ArrowTable | Iterable[Order],
        *,
        view: View | None = None,
        now: datetime | None = None,
        as_of: datetime | None = None,
    ) -> Decisions | Iterator[Decision]:
        """
        `decide` for each of *orders*, in their order.

        Args:
            orders: Orders, decided lazily one at a time; or a table of the schema in
                ``docs/reference/order-table.md`` (Arrow, Polars, whatever speaks Arrow's C stream interface), decided
                at once, column by column.

            as_of: The instant by whose rules all of them are decided; ``None`` is *now*.

        Returns:
            For a table a `fcflow.rules.batch.Decisions`: a sequence that also has ``rule_index`` and ``to_table()``.

        Raises:
            AllocationError: *view* or *now* is missing, and a rule asks for it.

            OrderError: The table is not one of orders.

            MissingExtraError: A table needs the extra ``batch``, which is not installed.
        """
        if isinstance(orders, ArrowTable):
            return self._decide_table(orders, view, now, as_of)
        return (self.decide(order, view=view, now=now, as_of=as_of) for order in orders)

    def _decide_table(
        self, table: ArrowTable, view: View | None, now: datetime | None, as_of: datetime | None
    ) -> Decisions:
        from fcflow.rules.batch import check_needs, decide_table

        now = now or as_of
        check_needs(self._needs.view, self._needs.now or bool(self._boundaries), view, now)
        rules = self._rules if now is None else self.in_force(as_of or now).rules
        return decide_table(rules, self._otherwise, table, view=view, now=now)

    def _walk(self, facts: Facts, lifted: Collection[str] = ()) -> Iterator[Decision]:
        effects: tuple[Effect, ...] = ()
        for position in self._index.matching(facts):
            ready = self._ready[position]
            if ready.decision is None or (ready.decision.action == "hold" and ready.decision.rule_id in lifted):
                effects += ready.effects
                continue
            yield ready.decision if not effects else evolve(ready.decision, effects=effects + ready.effects)
            if ready.ends:
                return
        yield self._otherwise if not effects else evolve(self._otherwise, effects=effects + self._otherwise.effects)

    # -------------------------------------------------------------- what can be proved

    def check(self, *, deep: bool | None = None, budget_s: float = 45.0) -> list[RuleFinding]:
        """
        What can be proved about the rules: which are never reached, which holds fail open, and more.

        Args:
            deep: Whether to ask a solver (extra ``analysis``); ``None``: where it is installed.

            budget_s: How long the solver may take in all; what it did not come to is said.

        Raises:
            MissingExtraError: *deep* is true, and the extra is not installed.

        Example:
            >>> rules = load_rules({"fcflow": "ruleset/1", "rules": [
            ...     {"id": "all", "when": True, "then": [{"keep": {}}]},
            ...     {"id": "uk", "when": {"field": "ship_to.country", "op": "eq", "value": "GB"},
            ...      "then": [{"allocate": {"to": "leeds"}}]}]})
            >>> for finding in rules.check(deep=False):
            ...     print(finding)
            $.rules[1]: rule uk is never reached: all decides every order that it matches
        """
        from fcflow.rules.check import check_rules

        return check_rules(self, deep=deep, budget_s=budget_s)

    # -------------------------------------------------------------- why

    def explain(
        self,
        order: Order,
        *,
        view: View | None = None,
        now: datetime | None = None,
        as_of: datetime | None = None,
    ) -> Explanation:
        """
        The first decision, and every rule's verdict with the leaves that made it so.

        Rules behind the one that decided are explained as well: what they would have said.

        Args:
            as_of: The instant by whose rules it is decided; ``None`` is *now*.

        Raises:
            AllocationError: *view* or *now* is missing, and a rule asks for it.
        """
        if self._boundaries or as_of is not None:
            rules, now = self._dated(order, now, as_of)
            if rules is not self:
                return rules.explain(order, view=view, now=now)
        facts = self._needs.facts(order, view, now)
        decision = next(self._walk(facts))
        verdicts = tuple(_explained(rule, facts, decision.rule_id) for rule in self._rules)
        return Explanation(order_id=order.order_id, decision=decision, rules=verdicts)


def _explained(rule: Rule, facts: Facts, decided_by: str | None) -> RuleVerdict:
    verdict = _verdict(rule, facts, decided_by)
    if rule.decision is None:
        return verdict
    return evolve(verdict, action=rule.decision.action, locations=rule.decision.locations)


def _verdict(rule: Rule, facts: Facts, decided_by: str | None) -> RuleVerdict:
    if not rule.in_force:
        return RuleVerdict(rule_id=rule.id, verdict="false", because=("the rule is not in force then",))
    if not rule.enabled:
        return RuleVerdict(rule_id=rule.id, verdict="false", because=("the rule is not enabled",))
    verdict, clauses = because(rule.when, facts)
    if verdict is None and rule.if_unknown:
        clauses = (*clauses, "matches, as if_unknown says")
    return RuleVerdict(rule_id=rule.id, verdict=verdict_word(verdict), decided=rule.id == decided_by, because=clauses)


# ------------------------------------------------------------------ loading


def load_rules(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    operators: Mapping[str, OperatorType] = _NOTHING,
    fields: Mapping[str, RuleField] = _NOTHING,
    effects: Mapping[str, EffectType] = _NOTHING,
) -> RuleSet:
    """
    Read, check and compile a rule set; its examples are run.

    Args:
        source: A path, a mapping, or the JSON text itself (a text that begins with a brace).

        operators, fields, effects: Those of plugins, by name; `fcflow.plugins.Plugins.rule_kinds` has all three.

    Raises:
        RuleError: With every fault at once, in the order in which they stand in the document.

        PluginError: An operator, a field or an effect breaks its contract.

    Example:
        >>> load_rules('{"fcflow": "ruleset/1", "rules": [{"id": "a", "then": [{"kep": {}}]}]}')
        Traceback (most recent call last):
        fcflow.errors.RuleError: rules: 2 faults
          $.rules[0]: when is missing
          $.rules[0].then[0].kep: unknown key: expected keep, got 'kep'
    """
    extensions = Extensions(dict(operators), dict(fields), dict(effects))
    _check_extensions(extensions)
    faults = Faults()
    name, document = read(source, faults)
    if document is None:
        raise RuleError(name, faults.sorted(None) or _no_document())
    check_shape(document, faults)
    parsed = parse_document(document, faults, extensions)
    if not len(faults):
        _run_examples(document, parsed.rules, faults)
    if len(faults):
        raise RuleError(name, faults.sorted(document))
    return RuleSet(document, parsed.rules, parsed.otherwise, extensions)


def _no_document() -> list[Any]:
    faults = Faults()
    faults.add((), "wrong type", found="null", expected="an object")
    return faults.sorted(None)


def _rebuilt_rules(document: Any, extensions: Extensions, at: datetime | None = None) -> RuleSet:
    parsed = parse_document(document, Faults(), extensions)
    rules = RuleSet(document, parsed.rules, parsed.otherwise, extensions)
    return rules if at is None else rules.in_force(at)


def _check_extensions(extensions: Extensions) -> None:
    kinds: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("operator", extensions.operators),
        ("field", extensions.fields),
        ("effect", extensions.effects),
    )
    for what, offered in kinds:
        for name, each in offered.items():
            if name != each.name:
                raise PluginError(f"{what} {each.name}: expected to be given by its own name, got {name!r}")
    for name, operator in extensions.operators.items():
        if not is_schema(operator.value_schema):
            raise PluginError(f"operator {name}: expected value_schema to be a JSON Schema")
    for name, effect in extensions.effects.items():
        if not is_schema(effect.options_schema):
            raise PluginError(f"effect {name}: expected options_schema to be a JSON Schema")


def _run_examples(document: Any, rules: tuple[Rule, ...], faults: Faults) -> None:
    for index, (raw, rule) in enumerate(zip(document["rules"], rules, strict=True)):
        written = raw.get("examples", [])
        if written:
            verdict, needs = compile_node(rule.when), Needs.of([rule.when])
            for number, example in enumerate(written):
                _run_example(example, rule, verdict, needs, faults, ("rules", index, "examples", number))


def _run_example(example: Any, rule: Rule, verdict: Verdict, needs: Needs, faults: Faults, path: Path) -> None:
    before = len(faults)
    order = example_order(example["order"], faults, (*path, "order"))
    now = example_now(example.get("now"), faults, (*path, "now"))
    view = example_view(example, now, faults, path)
    for what, needed, given in (("view", needs.view, view), ("now", needs.now, now)):
        if needed and given is None and len(faults) == before:
            faults.add(path, f"{what} is missing, and the rule asks for it")
    if order is None or len(faults) > before:
        return
    facts = Facts(order, view, now)
    found = verdict(facts)
    if found is not _wanted(example["matches"]):
        clauses = "; ".join(because(rule.when, facts)[1]) or "no condition"
        faults.add((*path, "matches"), f"the example fails: {clauses}", **_difference(example["matches"], found))


def _wanted(matches: Any) -> bool | None:
    return None if matches == "unknown" else bool(matches)


def _difference(matches: Any, found: bool | None) -> dict[str, Any]:
    return {"expected": verdict_word(_wanted(matches)), "found": verdict_word(found)}
