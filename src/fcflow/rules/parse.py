"""
From a rule document to typed rules: names, types and references are checked, every fault is noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from attrs import evolve, frozen
from immutabledict import immutabledict

from fcflow.model import Decision, Effect
from fcflow.rules.effective import parse_effective
from fcflow.rules.extensions import NO_EXTENSIONS, Extensions, RuleField
from fcflow.rules.faults import Faults, Path, nearest, path_text
from fcflow.rules.fields import FIELDS, Field, FieldType, find_field
from fcflow.rules.operators import OPERATORS, Operand, Operator
from fcflow.rules.shape import check_shape, check_value
from fcflow.rules.source import MAX_DEPTH, plain
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
    Truth,
    children,
    walk,
)
from fcflow.rules.values import Bad, Values, duration, money, zone_of

__all__ = ["MAX_SIZE", "ConditionParser", "Parsed", "parse_document"]

MAX_SIZE = 20_000
_LINE_FIELD = Field(name="lines", type=FieldType.INTEGER, get=lambda facts: None, about="")
_QUANTIFIERS = ("any_line", "every_line", "no_line")
_DECISIONS = ("allocate", "hold", "keep")
_FOLDABLE = (FieldType.TEXT, FieldType.CHOICE, FieldType.SET)


class ConditionParser:
    """
    Reads conditions of one document.

    Args:
        document: The rule set's ``currency``, ``zone``, ``lists`` and ``conditions``, where it has them.

        faults: Where faults go; places that are noted already are not looked at again.

        extensions: What plugins add.
    """

    def __init__(self, document: Mapping[str, Any], faults: Faults, extensions: Extensions = NO_EXTENSIONS) -> None:
        self._faults = faults
        self._blocked = faults.blocked()
        self._extensions = extensions
        self._currency: str | None = document.get("currency")
        self._values = Values(_mapping(document.get("lists")))
        self._written = _mapping(document.get("conditions"))
        self._named: dict[str, Node] = {}
        self._extents: dict[str, tuple[int, int]] = {}
        self._open: list[str] = []
        self._zone = self._zone_at(document.get("zone"), ("zone",))

    @property
    def zone(self) -> ZoneInfo | None:
        """The zone of the document, for what names none of its own."""
        return self._zone

    def parse_named(self) -> None:
        """Read every named condition, used or not."""
        for name in self._written:
            self._resolve(name)

    def parse(self, raw: Any, path: Path, *, scope: str = "order") -> Node:
        """
        Read one condition.

        Args:
            scope: ``order``; ``line`` where a line is looked at; ``either`` in a named condition.
        """
        node = self._node(raw, path, scope)
        size, depth = self._extent(node)
        if size <= MAX_SIZE and depth <= MAX_DEPTH:
            return node
        bound = f"{MAX_SIZE} parts" if size > MAX_SIZE else f"{MAX_DEPTH} levels"
        self._faults.add(path, "too large", expected=f"at most {bound}, named conditions written out")
        return Truth()

    # -------------------------------------------------------------- composition

    def _node(self, raw: Any, path: Path, scope: str) -> Node:
        if path in self._blocked:
            return Truth()
        if raw is True:
            return Truth(self._at(path))
        if not isinstance(raw, dict):
            self._faults.add(path, "not a condition", expected="true, or an object")
            return Truth()
        kind = next((kind for kind in _KINDS if kind in raw), "")
        return _KINDS[kind](self, raw, path, scope) if kind else Truth()

    def _all(self, raw: dict[str, Any], path: Path, scope: str) -> Node:
        return AllOf(self._parts(raw["all"], (*path, "all"), scope), self._at(path))

    def _any(self, raw: dict[str, Any], path: Path, scope: str) -> Node:
        return AnyOf(self._parts(raw["any"], (*path, "any"), scope), self._at(path))

    def _parts(self, raw: Any, path: Path, scope: str) -> tuple[Node, ...]:
        items = raw if isinstance(raw, list) else []
        return tuple(self._node(item, (*path, index), scope) for index, item in enumerate(items))

    def _not(self, raw: dict[str, Any], path: Path, scope: str) -> Node:
        return Not(self._node(raw["not"], (*path, "not"), scope), self._at(path))

    def _use(self, raw: dict[str, Any], path: Path, scope: str) -> Node:
        name, at = raw["use"], (*path, "use")
        if name not in self._written:
            self._faults.add(at, "unknown condition", found=name, expected=nearest(name, self._written))
            return Truth()
        if name in self._open:
            circle = " -> ".join([*self._open[self._open.index(name) :], name])
            self._faults.add(at, f"a condition that uses itself: {circle}")
            return Truth()
        if len(self._open) > MAX_DEPTH:
            self._faults.add(at, "nested too deeply", expected=f"at most {MAX_DEPTH} levels")
            return Truth()
        part = self._resolve(name)
        if scope == "order" and _needs_line(part):
            self._faults.add(at, "a condition on a line", found=name, expected="its use inside any_line or the like")
        if scope == "line" and _is_of_order(part):
            self._faults.add(at, "a condition on all lines or stock inside a condition on a line", found=name)
        return Named(name, part, self._at(path))

    def _resolve(self, name: str) -> Node:
        if name not in self._named:
            self._open.append(name)
            part = self.parse(self._written[name], ("conditions", name), scope="either")
            self._open.pop()
            self._named[name] = part
            self._extents[name] = self._extent(part)
        return self._named[name]

    def _extent(self, node: Node) -> tuple[int, int]:
        """How many parts and how many levels there are, named conditions written out."""
        below = [
            self._extents.get(node.name, (0, 0)) if isinstance(node, Named) else self._extent(child)
            for child in children(node)
        ]
        return 1 + sum(size for size, _ in below), 1 + max((depth for _, depth in below), default=0)

    # -------------------------------------------------------------- over lines, stock

    def _quantified(self, raw: dict[str, Any], path: Path, scope: str) -> Node:
        kind = next(kind for kind in _QUANTIFIERS if kind in raw)
        self._refuse_in_line(kind, path, scope)
        return Lines(kind, self._node(raw[kind], (*path, kind), "line"), self._at(path))

    def _refuse_in_line(self, kind: str, path: Path, scope: str) -> None:
        if scope == "line":
            self._faults.add(path, f"{kind} inside a condition on a line", expected="it outside")

    def _where(self, body: dict[str, Any], path: Path) -> Node | None:
        return self._node(body["where"], (*path, "where"), "line") if "where" in body else None

    def _count_lines(self, raw: dict[str, Any], path: Path, scope: str) -> Node:
        self._refuse_in_line("count_lines", path, scope)
        body, at = raw["count_lines"], (*path, "count_lines")
        where, value = self._where(body, at), self._compared(_LINE_FIELD, body, at)
        return CountLines(where, body["op"], value, self._at(path))

    def _sum_lines(self, raw: dict[str, Any], path: Path, scope: str) -> Node:
        self._refuse_in_line("sum_lines", path, scope)
        body, at = raw["sum_lines"], (*path, "sum_lines")
        where, field = self._where(body, at), self._field(body["field"], (*at, "field"), "line")
        if field is None:
            return Truth()
        if field.scope != "line" or field.type not in (FieldType.INTEGER, FieldType.MONEY):
            self._faults.add((*at, "field"), "not a number of a line", found=field.name, expected="line.quantity")
            return Truth()
        value, currency = self._compared(field, body, at), self._currency_for(field, body, at)
        return SumLines(field, where, body["op"], value, currency, self._at(path))

    def _compared(self, field: Field, body: dict[str, Any], at: Path) -> Any:
        return self._typed(field, OPERATORS[body["op"]].operand, body["value"], (*at, "value"))

    def _stock(self, raw: dict[str, Any], path: Path, scope: str) -> Node:
        self._refuse_in_line("stock", path, scope)
        body = raw["stock"]
        return Stock(_codes(body["at"]), body["covers"], self._at(path))

    def _stock_age(self, raw: dict[str, Any], path: Path, scope: str) -> Node:
        self._refuse_in_line("stock_age", path, scope)
        body = raw["stock_age"]
        return StockAge(body["at"], body["op"], duration(body["value"]), self._at(path))

    def _behaviour(self, raw: dict[str, Any], path: Path, scope: str) -> Node:
        self._refuse_in_line("behaviour", path, scope)
        body = raw["behaviour"]
        try:
            value = Fraction(money(body["value"]))
        except Bad as bad:
            bad.note(self._faults, (*path, "behaviour", "value"))
            return Truth()
        return Measured(body["at"], body["measure"], body["op"], value, self._at(path))

    # -------------------------------------------------------------- tests of a field

    def _test(self, raw: dict[str, Any], path: Path, scope: str) -> Node:
        field = self._field(raw["field"], (*path, "field"), scope)
        if field is None:
            return Truth()
        if ":" in raw["op"]:
            return self._foreign(field, raw, path)
        operator = self._operator(field, raw["op"], (*path, "op"))
        if operator is None:
            return Truth()
        return self._built_in(field, operator, raw, path)

    def _built_in(self, field: Field, operator: Operator, raw: dict[str, Any], path: Path) -> Node:
        self._check_modifiers(field, operator, raw, path)
        if not self._value_stands(operator, raw, path):
            return Truth()
        fold = bool(raw.get("ignore_case"))
        return Test(
            field=field,
            op=operator.name,
            value=self._typed(field, operator.operand, raw.get("value"), (*path, "value"), ignore_case=fold),
            ignore_case=fold,
            currency=None if operator.operand is Operand.NONE else self._currency_for(field, raw, path),
            zone=self._zone_for(operator, raw, path),
            written=raw.get("value"),
            path=self._at(path),
        )

    def _field(self, name: str, path: Path, scope: str) -> Field | None:
        field = find_field(name) or self._extensions.field(name)
        if field is None:
            self._faults.add(path, "unknown field", found=name, expected=self._nearest_field(name, scope))
        elif field.scope == "line" and scope == "order":
            self._faults.add(path, "a field of a line", found=name, expected="any_line or the like around it")
        return field

    def _nearest_field(self, name: str, scope: str) -> str | None:
        known: list[Field | RuleField] = [*FIELDS.values(), *self._extensions.fields.values()]
        names = [each.name for each in known if scope != "order" or each.scope == "order"]
        return nearest(name, [*names, "properties.<name>"])

    def _operator(self, field: Field, name: str, path: Path) -> Operator | None:
        operator = OPERATORS.get(name)
        if operator is None:
            fitting = _fitting(field)
            self._faults.add(path, "unknown operator", found=name, expected=nearest(name, fitting) or _one_of(fitting))
            return None
        if field.always and name in ("exists", "absent"):
            self._faults.add(path, f"{field.name} is never absent", found=name)
            return None
        if field.type not in operator.types:
            message = f"does not fit {field.name}, which is {_A[field.type]}"
            self._faults.add(path, message, found=name, expected=_one_of(_fitting(field)))
            return None
        return operator

    def _value_stands(self, operator: Operator, raw: dict[str, Any], path: Path) -> bool:
        if operator.operand is Operand.NONE:
            if "value" in raw:
                self._faults.add((*path, "value"), f"{operator.name} takes no value", expected="no value")
            return True
        if "value" not in raw:
            self._faults.add(path, "value is missing", expected=operator.operand.value)
        return "value" in raw

    def _check_modifiers(self, field: Field, operator: Operator, raw: dict[str, Any], path: Path) -> None:
        folds = field.type in _FOLDABLE and operator.operand is not Operand.NONE
        if "ignore_case" in raw and not folds:
            self._faults.add((*path, "ignore_case"), f"does not fit {operator.name} on {field.name}")
        if "currency" in raw and field.type is not FieldType.MONEY:
            self._faults.add((*path, "currency"), f"{field.name} is not money")
        if "zone" in raw and operator.operand not in (Operand.WEEKDAYS, Operand.TIMES):
            self._faults.add((*path, "zone"), f"{operator.name} has no zone")

    def _typed(self, field: Field, operand: Operand, value: Any, path: Path, *, ignore_case: bool = False) -> Any:
        try:
            return self._values.typed(field, operand, value, ignore_case=ignore_case)
        except Bad as bad:
            bad.note(self._faults, path)
            return None

    def _currency_for(self, field: Field, raw: dict[str, Any], path: Path) -> str | None:
        if field.type is not FieldType.MONEY:
            return None
        currency = raw.get("currency", self._currency)
        if currency is None:
            self._faults.add(path, "money without a currency", expected="currency on the rule set or on the test")
        return currency

    def _zone_for(self, operator: Operator, raw: dict[str, Any], path: Path) -> ZoneInfo | None:
        if operator.operand not in (Operand.WEEKDAYS, Operand.TIMES):
            return None
        if "zone" in raw:
            return self._zone_at(raw["zone"], (*path, "zone"))
        if self._zone is None:
            self._faults.add(path, f"{operator.name} without a zone", expected="zone on the rule set or on the test")
        return self._zone

    def _zone_at(self, name: Any, path: Path) -> ZoneInfo | None:
        if not isinstance(name, str) or path in self._blocked:
            return None
        try:
            return zone_of(name)
        except Bad as bad:
            bad.note(self._faults, path)
            return None

    def _foreign(self, field: Field, raw: dict[str, Any], path: Path) -> Node:
        operator = self._extensions.operators.get(raw["op"])
        if operator is None:
            close = nearest(raw["op"], self._extensions.operators)
            self._faults.add((*path, "op"), "unknown operator of a plugin", found=raw["op"], expected=close)
            return Truth()
        if field.type not in operator.field_types:
            fitting = " or ".join(operator.field_types)
            message = f"does not fit {field.name}, which is {_A[field.type]}"
            self._faults.add((*path, "op"), message, found=raw["op"], expected=f"a field of type {fitting}")
        for key in ("ignore_case", "currency", "zone"):
            if key in raw:
                self._faults.add((*path, key), f"does not fit {operator.name}")
        value = plain(raw.get("value"))
        check_value(value, operator.value_schema, self._faults, (*path, "value"))
        return Test(field, operator.name, value, operator=operator, written=raw.get("value"), path=self._at(path))

    def _at(self, path: Path) -> str:
        return path_text(path, self._faults.root)


_KINDS = {
    "all": ConditionParser._all,
    "any": ConditionParser._any,
    "not": ConditionParser._not,
    "use": ConditionParser._use,
    "field": ConditionParser._test,
    **dict.fromkeys(_QUANTIFIERS, ConditionParser._quantified),
    "count_lines": ConditionParser._count_lines,
    "sum_lines": ConditionParser._sum_lines,
    "stock": ConditionParser._stock,
    "stock_age": ConditionParser._stock_age,
    "behaviour": ConditionParser._behaviour,
}
_A = {
    FieldType.TEXT: "text",
    FieldType.CHOICE: "one of a few words",
    FieldType.INTEGER: "a whole number",
    FieldType.MONEY: "money",
    FieldType.INSTANT: "an instant",
    FieldType.SET: "a set",
}


def _fitting(field: Field) -> list[str]:
    """The operators that a field of this type has."""
    return [each.name for each in OPERATORS.values() if field.type in each.types]


def _one_of(names: list[str]) -> str:
    return f"one of {' '.join(names)}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _codes(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _needs_line(node: Node) -> bool:
    if isinstance(node, Lines | CountLines | SumLines):
        return False
    if isinstance(node, Test):
        return node.field.scope == "line"
    return any(_needs_line(child) for child in children(node))


def _is_of_order(node: Node) -> bool:
    return any(isinstance(each, Lines | CountLines | SumLines | Stock | StockAge | Measured) for each in walk(node))


# ------------------------------------------------------------------ rules


@frozen
class Parsed:
    """The rules of a document, and what happens to an order that none of them decides."""

    rules: tuple[Rule, ...]
    otherwise: Decision


def parse_document(document: Any, faults: Faults, extensions: Extensions = NO_EXTENSIONS) -> Parsed:
    """Read a whole rule document; what cannot be read is noted in *faults* and left out."""
    document = _mapping(document)
    parser = ConditionParser(document, faults, extensions)
    parser.parse_named()
    written = document.get("rules")
    rules = tuple(
        _rule(raw, ("rules", index), parser, faults, extensions)
        for index, raw in enumerate(written if isinstance(written, list) else [])
        if isinstance(raw, dict)
    )
    _refuse_repeats(written, faults)
    return Parsed(rules, _otherwise(document.get("otherwise"), faults, extensions))


def _rule(raw: dict[str, Any], path: Path, parser: ConditionParser, faults: Faults, extensions: Extensions) -> Rule:
    rule_id = str(raw.get("id"))
    effects, decision = _actions(raw.get("then"), (*path, "then"), rule_id, faults, extensions)
    return Rule(
        id=rule_id,
        when=parser.parse(raw["when"], (*path, "when")) if "when" in raw else Truth(),
        effects=effects,
        decision=decision,
        about=raw.get("about"),
        enabled=raw.get("enabled", True),
        if_unknown=raw.get("if_unknown") == "match",
        effective=parse_effective(raw.get("effective"), parser.zone, faults, (*path, "effective")),
    )


def _refuse_repeats(written: Any, faults: Faults) -> None:
    seen: dict[Any, int] = {}
    for index, raw in enumerate(written if isinstance(written, list) else []):
        rule_id = raw.get("id") if isinstance(raw, dict) else None
        if not isinstance(rule_id, str):
            continue
        if rule_id in seen:
            faults.add(("rules", index, "id"), f"also the id of rules[{seen[rule_id]}]", found=rule_id)
        seen.setdefault(rule_id, index)


def _otherwise(written: Any, faults: Faults, extensions: Extensions) -> Decision:
    if written is None:
        return Decision(rule_id=None, action="keep")
    effects, decision = _actions(written, ("otherwise",), None, faults, extensions)
    if decision is None:
        faults.add(("otherwise",), "decides nothing", expected="one of allocate hold keep")
        return Decision(rule_id=None, action="keep")
    return evolve(decision, effects=effects)


def _actions(
    written: Any, path: Path, rule_id: str | None, faults: Faults, extensions: Extensions
) -> tuple[tuple[Effect, ...], Decision | None]:
    effects: list[Effect] = []
    decisions: list[Decision] = []
    blocked = faults.blocked()
    for index, raw in enumerate(written if isinstance(written, list) else []):
        if (*path, index) in blocked or not isinstance(raw, dict):
            continue
        ((kind, body),) = raw.items()
        if ":" in kind:
            effects += _foreign_effects(kind, body, rule_id, faults, (*path, index), extensions)
        elif kind not in _DECISIONS:
            effects.append(_effect(kind, body, rule_id))
        elif decisions:
            faults.add((*path, index), "a second decision", found=kind, expected="one of allocate hold keep at most")
        else:
            decisions.append(_decision(kind, body, rule_id))
    return tuple(effects), decisions[0] if decisions else None


def _foreign_effects(
    kind: str, body: Any, rule_id: str | None, faults: Faults, path: Path, extensions: Extensions
) -> Iterator[Effect]:
    """The built-in effects that an effect of a plugin stands for."""
    known = extensions.effects.get(kind)
    if known is None:
        close = nearest(kind, extensions.effects)
        faults.add((*path, kind), "unknown effect of a plugin", found=kind, expected=close)
        return
    before, options = len(faults), plain(body)
    check_value(options, known.options_schema, faults, (*path, kind))
    if len(faults) > before:
        return
    for action in known.actions(options):
        check_shape(action, faults, "effect", (*path, kind))
        if len(faults) == before:
            ((name, value),) = action.items()
            yield _effect(name, value, rule_id)


def _effect(kind: str, body: Any, rule_id: str | None) -> Effect:
    if kind == "set_property":
        return Effect(rule_id=rule_id, kind=kind, name=body["name"], value=body["value"])
    return Effect(rule_id=rule_id, kind=kind, value=body)


def _decision(kind: str, body: dict[str, Any], rule_id: str | None) -> Decision:
    if kind != "allocate":
        return Decision(rule_id=rule_id, action=kind, reason=body.get("reason"))
    return Decision(
        rule_id=rule_id,
        action=kind,
        locations=_codes(body.get("to", ())),
        strategy=body.get("strategy", "in_order"),
        strategy_options=immutabledict(plain(body.get("options", {}))),
        split=body.get("split", "never"),
        if_short=body.get("if_short", "next_rule"),
    )
