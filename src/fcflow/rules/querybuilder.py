"""
React Query Builder: its JSON to a condition of the rule language, and our field catalogue as its ``fields``.

So an existing visual editor can be used. Fields of lines are offered as ``any line.sku``, ``every line.sku``,
``no line.sku``, and below ``lines`` for editors that have match modes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from attrs import define, field
from immutabledict import immutabledict

from fcflow.errors import Fault, RuleError
from fcflow.rules.cells import QUANTIFIERS
from fcflow.rules.extensions import EffectType, RuleField
from fcflow.rules.faults import nearest, path_text
from fcflow.rules.fields import FIELDS, Field, FieldType, find_field
from fcflow.rules.operators import OperatorType
from fcflow.rules.ruleset import compile_condition
from fcflow.rules.source import MAX_DEPTH, plain
from fcflow.rules.values import Bad, zone_of

__all__ = ["from_querybuilder", "querybuilder_fields"]

Path = tuple[str | int, ...]

_TEXT, _CHOICE, _INTEGER, _MONEY = FieldType.TEXT, FieldType.CHOICE, FieldType.INTEGER, FieldType.MONEY
_INSTANT, _SET = FieldType.INSTANT, FieldType.SET
_EQUATED, _ORDERED = (_TEXT, _CHOICE, _INTEGER, _MONEY), (_INTEGER, _MONEY)

# Their operator: the field types it fits here, our operator, whether it is negated.
_OPERATORS: Mapping[str, tuple[tuple[tuple[FieldType, ...], str, bool], ...]] = {
    "=": ((_EQUATED, "eq", False),),
    "!=": ((_EQUATED, "ne", False),),
    "<": ((_ORDERED, "lt", False), ((_INSTANT,), "before", False)),
    ">": ((_ORDERED, "gt", False), ((_INSTANT,), "after", False)),
    "<=": ((_ORDERED, "le", False), ((_INSTANT,), "after", True)),
    ">=": ((_ORDERED, "ge", False), ((_INSTANT,), "before", True)),
    "contains": (((_TEXT, _SET), "contains", False),),
    "beginsWith": (((_TEXT,), "starts_with", False),),
    "endsWith": (((_TEXT,), "ends_with", False),),
    "doesNotContain": (((_TEXT, _SET), "contains", True),),
    "doesNotBeginWith": (((_TEXT,), "starts_with", True),),
    "doesNotEndWith": (((_TEXT,), "ends_with", True),),
    "null": (((*_EQUATED, _INSTANT), "absent", False),),
    "notNull": (((*_EQUATED, _INSTANT), "exists", False),),
    "in": ((_EQUATED, "in", False), ((_SET,), "contains_any", False)),
    "notIn": ((_EQUATED, "not_in", False), ((_SET,), "contains_any", True)),
    "between": (((*_ORDERED, _INSTANT), "between", False),),
    "notBetween": (((*_ORDERED, _INSTANT), "between", True),),
}
_LABELS = {
    "beginsWith": "begins with",
    "endsWith": "ends with",
    "doesNotContain": "does not contain",
    "doesNotBeginWith": "does not begin with",
    "doesNotEndWith": "does not end with",
    "null": "is absent",
    "notNull": "exists",
    "notIn": "not in",
    "notBetween": "not between",
}
_LISTS = ("in", "not_in", "contains_any", "between")
_COMBINATORS = {"and": "all", "or": "any"}
_COUNTED = {"atleast": "ge", "atmost": "le", "exactly": "eq"}
_MATCH = {"all": "every_line", "some": "any_line", "none": "no_line"}


# ------------------------------------------------------------------ their JSON to a condition


def from_querybuilder(
    query: Mapping[str, Any] | str,
    *,
    currency: str | None = None,
    zone: str | None = None,
    operators: Mapping[str, OperatorType] = immutabledict(),
    fields: Mapping[str, RuleField] = immutabledict(),
    effects: Mapping[str, EffectType] = immutabledict(),
) -> dict[str, Any]:
    """
    The condition that a query of React Query Builder stands for, checked.

    Muted rules and groups are left out, as the editor leaves them out. A rule about an absent value is unknown here, as
    in SQL, which the editor's own exports are made for.

    Args:
        query: As the editor holds it: ``{"combinator", "not", "rules"}``, or the same as JSON text.

        currency: Of money.

        zone: Of dates with a time but no zone, as the editor's ``datetime-local`` gives them.

        operators, fields: Those of plugins, by name; in the editor they have the same names.

        effects: Those of plugins; a condition needs none of them.

    Returns:
        A condition for a rule's ``when``. Money is in the rule set's currency: say the same one there.

    Raises:
        RuleError: With every fault at once, each with its path in the query.

    Example:
        >>> from_querybuilder({"combinator": "and", "rules": [
        ...     {"field": "ship_to.country", "operator": "in", "value": "GB, IE"},
        ...     {"field": "any line.sku", "operator": "beginsWith", "value": "HAZ-"}]})
        {'all': [{'field': 'ship_to.country', 'op': 'in', 'value': ['GB', 'IE']},
                 {'any_line': {'field': 'line.sku', 'op': 'starts_with', 'value': 'HAZ-'}}]}
        >>> from_querybuilder({"combinator": "and", "rules": [
        ...     {"field": "channel", "operator": "startsWith", "value": "e"}]})
        Traceback (most recent call last):
        fcflow.errors.RuleError: query: 1 fault
          $.rules[0].operator: unknown operator: expected beginsWith or endsWith, got 'startsWith'
    """
    reader = _Reader(zone, operators, fields)
    condition = reader.read(_parsed(query), (), ())
    if condition is None and not reader.faults:
        reader.refuse((), Bad("nothing is asked", expected="at least one rule that is not muted"))
    if reader.faults:
        raise RuleError("query", reader.faults)
    try:
        compile_condition(condition, currency=currency, zone=zone, operators=operators, fields=fields)
    except RuleError as error:
        raise RuleError("query", [reader.of_query(fault) for fault in error.faults]) from None
    made: dict[str, Any] = plain(condition)
    return made


def _parsed(query: Any) -> Any:
    if not isinstance(query, str):
        return query
    try:
        return json.loads(query, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise RuleError("query", [Fault(f"not JSON: {error}")]) from None


@define
class _Reader:
    """
    A query on its way to a condition.

    Args:
        places: Path of each test in the condition to the path of its rule in the query.
    """

    zone: str | None
    operators: Mapping[str, OperatorType]
    fields: Mapping[str, RuleField]
    faults: list[Fault] = field(factory=list)
    places: dict[str, Path] = field(factory=dict)

    def refuse(self, path: Path, bad: Bad) -> None:
        self.faults.append(Fault(bad.message, path=path_text((*path, *bad.at)), found=bad.found, expected=bad.expected))

    def of_query(self, fault: Fault) -> Fault:
        """*fault* of the condition at the place in the query that it came from."""
        path = fault.path
        while path and path not in self.places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        where = path_text(self.places[path]) if path else "$"
        return Fault(fault.message, path=where, found=fault.found, expected=fault.expected)

    def read(self, raw: Any, at: Path, to: Path, *, in_lines: bool = False) -> Any:
        """
        One rule or group; ``None`` where it is muted, or at fault.

        Args:
            at: Where it stands in the query.

            to: Where its condition will stand.
        """
        if not isinstance(raw, Mapping):
            self.refuse(at, Bad("not a rule", expected="an object"))
            return None
        if len(at) > MAX_DEPTH:
            self.refuse(at, Bad("nested too deeply", expected=f"at most {MAX_DEPTH // 2} groups"))
            return None
        if raw.get("muted"):
            return None
        return self._group(raw, at, to, in_lines) if "rules" in raw else self._rule(raw, at, to, in_lines)

    # -------------------------------------------------------------- groups

    def _group(self, raw: Mapping[str, Any], at: Path, to: Path, in_lines: bool) -> Any:
        is_not = raw.get("not", False) is True
        try:
            kind, places = _combined(raw)
        except Bad as bad:
            self.refuse(at, bad)
            return None
        inner = (*to, "not") if is_not else to
        parts: list[Any] = []
        for index in places:
            part = self.read(raw["rules"][index], (*at, "rules", index), (*inner, kind, len(parts)), in_lines=in_lines)
            parts += [] if part is None else [part]
        if not parts:
            return None
        self.places[path_text(inner)] = at
        return {"not": {kind: parts}} if is_not else {kind: parts}

    # -------------------------------------------------------------- rules

    def _rule(self, raw: Mapping[str, Any], at: Path, to: Path, in_lines: bool) -> Any:
        self.places[path_text(to)] = at
        try:
            if raw.get("field") == "lines":
                return self._over_lines(raw, at, to, in_lines)
            return self._test(raw, in_lines)
        except Bad as bad:
            self.refuse(at, bad)
            return None

    def _over_lines(self, raw: Mapping[str, Any], at: Path, to: Path, in_lines: bool) -> Any:
        if in_lines:
            raise Bad("a rule on lines inside a rule on lines", expected="it outside").below("field")
        kind, count = _matched(raw.get("match"))
        inner = (*to, kind) if count is None else (*to, "count_lines", "where")
        value = raw.get("value")
        if not isinstance(value, Mapping) or "rules" not in value:
            raise Bad("wrong value", expected="a group of rules on fields of a line").below("value")
        part = self.read(value, (*at, "value"), inner, in_lines=True)
        if part is None and not self.faults:
            raise Bad("nothing is asked of the lines", expected="at least one rule").below("value")
        return {kind: part} if count is None else {"count_lines": {"where": part, "op": kind, "value": count}}

    def _test(self, raw: Mapping[str, Any], in_lines: bool) -> Any:
        over, asked = _field_of(raw.get("field"), in_lines, self.fields)
        if raw.get("valueSource", "value") != "value":
            found = raw["valueSource"]
            raise Bad("a field is compared with another field", found=found, expected="value").below("valueSource")
        test, is_negated = self._compared(raw, asked)
        inner = {"not": test} if is_negated else test
        return {over: inner} if over else inner

    def _compared(self, raw: Mapping[str, Any], asked: Field) -> tuple[dict[str, Any], bool]:
        theirs = raw.get("operator")
        if isinstance(theirs, str) and theirs in self.operators:
            return {"field": asked.name, "op": theirs, "value": raw.get("value")}, False
        op, is_negated = _operator_of(theirs, asked, self.operators)
        body: dict[str, Any] = {"field": asked.name, "op": op}
        if op in ("exists", "absent"):
            return body, is_negated
        try:
            return {**body, "value": self._value(raw.get("value"), op, asked)}, is_negated
        except Bad as bad:
            raise bad.below("value") from None

    def _value(self, raw: Any, op: str, asked: Field) -> Any:
        if op not in _LISTS:
            return _BY_TYPE.get(asked.type, _same)(raw, self.zone)
        given = [each.strip() for each in raw.split(",") if each.strip()] if isinstance(raw, str) else raw
        if not isinstance(given, list | tuple) or not given:
            raise Bad("wrong value", found=_shown(raw), expected="values, as a list or with commas between them")
        if op == "between" and len(given) != 2:
            raise Bad("wrong value", found=_shown(raw), expected="two values, the lower first")
        return [_BY_TYPE.get(asked.type, _same)(each, self.zone) for each in given]


def _combined(raw: Mapping[str, Any]) -> tuple[str, list[int]]:
    """``all`` or ``any``, and which entries are rules: with independent combinators, every other one."""
    rules = raw["rules"]
    if not isinstance(rules, list | tuple):
        raise Bad("wrong type", found=_shown(rules), expected="a list of rules").below("rules")
    if not rules:
        raise Bad("an empty group", expected="at least one rule").below("rules")
    if "combinator" in raw:
        return _combinator(raw["combinator"], ("combinator",)), list(range(len(rules)))
    kinds = {_combinator(word, ("rules", 2 * place + 1)) for place, word in enumerate(rules[1::2])}
    if len(kinds) > 1:
        raise Bad("and beside or", expected="a group of its own around one of them").below("rules")
    return next(iter(kinds), "all"), list(range(0, len(rules), 2))


def _combinator(word: Any, at: Path) -> str:
    kind = _COMBINATORS.get(word.lower()) if isinstance(word, str) else None
    if kind is None:
        raise Bad("unknown combinator", found=_shown(word), expected="and or or", at=at)
    return kind


def _matched(match: Any) -> tuple[str, int | None]:
    """What is asked of the lines: a quantifier, or a comparison and how many."""
    mode = str(match.get("mode")).lower() if isinstance(match, Mapping) else ""
    if mode in _MATCH:
        return _MATCH[mode], None
    if mode not in _COUNTED:
        expected = "all, some, none, atLeast, atMost or exactly"
        raise Bad("unknown match mode", found=_shown(match), expected=expected).below("match")
    count = match.get("threshold")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise Bad("wrong value", found=_shown(count), expected="a whole number of lines").below("match", "threshold")
    return _COUNTED[mode], count


def _field_of(name: Any, in_lines: bool, fields: Mapping[str, RuleField]) -> tuple[str | None, Field]:
    if not isinstance(name, str) or name in ("", "~"):
        raise Bad("no field is chosen", found=_shown(name)).below("field")
    word, _, rest = name.partition(" ")
    over = QUANTIFIERS.get(word) if rest.startswith("line.") or rest in fields else None
    asked = rest if over else name
    found = fields[asked].as_field() if asked in fields else find_field(asked)
    if found is None:
        known = [*FIELDS, *fields, "lines", "properties.<name>"]
        raise Bad("unknown field", found=name, expected=nearest(name, known)).below("field")
    if over and in_lines:
        raise Bad("a rule on lines inside a rule on lines", found=name, expected=found.name).below("field")
    if found.scope == "line" and not over and not in_lines:
        expected = f"any {name}, every {name} or no {name}"
        raise Bad("a field of a line", found=name, expected=expected).below("field")
    return over, found


def _operator_of(theirs: Any, asked: Field, operators: Iterable[str]) -> tuple[str, bool]:
    if not isinstance(theirs, str) or theirs in ("", "~"):
        raise Bad("no operator is chosen", found=_shown(theirs)).below("operator")
    if theirs not in _OPERATORS:
        raise Bad("unknown operator", found=theirs, expected=_near(theirs, [*_OPERATORS, *operators])).below("operator")
    for types, op, is_negated in _OPERATORS[theirs]:
        if asked.type in types and not (asked.always and op in ("exists", "absent")):
            return op, is_negated
    fitting = f"one of {' '.join(_fitting(asked))}"
    raise Bad(f"does not fit {asked.name}", found=theirs, expected=fitting).below("operator")


def _near(word: str, known: Iterable[str]) -> str:
    """The operators that share a word with *word*, or look like it; else all."""
    names = list(known)
    wanted = _tokens(word)
    close = [name for name in names if any(_alike(one, other) for one in wanted for other in _tokens(name))]
    same = [name for name in close if ("not" in name.lower()) == ("not" in word.lower())]
    return " or ".join(same or close) or nearest(word, names) or f"one of {' '.join(names)}"


def _tokens(name: str) -> set[str]:
    return {token.lower() for token in re.findall("[A-Za-z][a-z]*", name[:100])} - {"does", "not", "is"}


def _alike(one: str, other: str) -> bool:
    return min(len(one), len(other)) > 1 and (one.startswith(other) or other.startswith(one))


def _fitting(asked: Field) -> list[str]:
    return [
        name
        for name, meanings in _OPERATORS.items()
        if any(asked.type in types for types, _, _ in meanings) and not (asked.always and name in ("null", "notNull"))
    ]


# ------------------------------------------------------------------ values


def _shown(value: Any) -> object:
    return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else value


def _same(value: Any, zone: str | None) -> Any:
    return value


def _whole(value: Any, zone: str | None) -> Any:
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value):
        return int(value)
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value.adjusted() < 18 and not value % 1 else value
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _amount(value: Any, zone: str | None) -> Any:
    return value.strip() if isinstance(value, str) else value


def _moment(value: Any, zone: str | None) -> Any:
    if not isinstance(value, str) or value == "now":
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    if moment.tzinfo is not None:
        return value
    if "T" not in value and " " not in value:
        raise Bad("a date without a time", found=value, expected="a time too, such as 2026-12-24T00:00")
    if zone is None:
        raise Bad("a time without a zone", found=value, expected="2026-12-24T12:00:00Z, or zone= for all of them")
    return moment.replace(tzinfo=zone_of(zone)).isoformat()


_BY_TYPE: Mapping[FieldType, Callable[[Any, str | None], Any]] = {
    FieldType.INTEGER: _whole,
    FieldType.MONEY: _amount,
    FieldType.INSTANT: _moment,
}


# ------------------------------------------------------------------ our fields for their editor


def querybuilder_fields(
    properties: Iterable[str] = (),
    *,
    operators: Mapping[str, OperatorType] = immutabledict(),
    fields: Mapping[str, RuleField] = immutabledict(),
    effects: Mapping[str, EffectType] = immutabledict(),
) -> list[dict[str, Any]]:
    """
    The field catalogue as the editor's ``fields``: groups of options with label, operators, input type and values.

    Args:
        properties: Names of the properties that orders carry; they are offered as ``properties.<name>``.

        operators: Those of plugins, by name; offered for the field types that they fit.

        fields: Those of plugins, by name.

        effects: Those of plugins; the editor knows conditions only.

    Example:
        >>> groups = querybuilder_fields(["gift"])
        >>> [group["label"] for group in groups]
        ['Order', 'Any line', 'Every line', 'No line', 'Lines']
        >>> groups[0]["options"][-1]["name"]
        'properties.gift'
    """
    named = [find_field(f"properties.{name}") for name in properties]
    offered = [each.as_field() for each in fields.values()]
    order = [each for each in (*FIELDS.values(), *named, *offered) if each is not None and each.scope == "order"]
    lines = [each for each in (*FIELDS.values(), *offered) if each.scope == "line"]
    groups: list[dict[str, Any]] = [{"label": "Order", "options": [_option(each, "", operators) for each in order]}]
    for word in ("any", "every", "no"):
        options = [_option(each, f"{word} ", operators) for each in lines]
        groups.append({"label": f"{word.capitalize()} line", "options": options})
    below = {"fields": [_option(each, "", operators) for each in lines]}
    modes = ["all", "some", "none", "atLeast", "atMost", "exactly"]
    nested = {"name": "lines", "value": "lines", "label": "lines", "matchModes": modes, "subproperties": below}
    return [*groups, {"label": "Lines", "options": [nested]}]


def _option(asked: Field, prefix: str, operators: Mapping[str, OperatorType]) -> dict[str, Any]:
    theirs = [{"name": name, "value": name, "label": _LABELS.get(name, name)} for name in _fitting(asked)]
    foreign = [each.name for each in operators.values() if asked.type in each.field_types]
    made: dict[str, Any] = {
        "name": prefix + asked.name,
        "value": prefix + asked.name,
        "label": prefix + asked.name,
        "title": asked.about,
        "datatype": asked.type.value,
        "operators": [*theirs, *({"name": name, "value": name, "label": name} for name in foreign)],
        "defaultOperator": theirs[0]["name"],
        "valueSources": ["value"],
    }
    return {**made, **_editor(asked)}


def _editor(asked: Field) -> dict[str, Any]:
    if asked.type is FieldType.CHOICE:
        values = [{"name": word, "value": word, "label": word} for word in map(str, asked.choices)]
        return {"valueEditorType": "select", "values": values}
    inputs = {FieldType.INTEGER: "number", FieldType.MONEY: "number", FieldType.INSTANT: "datetime-local"}
    return {"inputType": inputs.get(asked.type, "text")}
