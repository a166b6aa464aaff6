"""
A second reading of the rule language, to hold the first against: slow, naive, and sharing no code with it.

It walks the raw JSON of a rule set for every order. It takes every document as valid, and knows no operators of
plugins and no regular expressions but Python's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from fcflow.model import Order, View

__all__ = ["Oracle"]

_DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Oracle:
    """
    Evaluates one rule document, or the conditions of one.

    Example:
        >>> oracle = Oracle({"currency": "GBP"})
        >>> oracle.verdict({"field": "total", "op": "gt", "value": 5}, Order(order_id="A1", lines=()))
        'unknown'
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    def verdict(
        self, condition: Any, order: Order, *, view: View | None = None, now: datetime | None = None, line: Any = None
    ) -> bool | str:
        """``True``, ``False`` or ``"unknown"``."""
        found = self._condition(condition, {"order": order, "view": view, "now": now, "line": line})
        return "unknown" if found is None else found

    def decisions(self, order: Order, view: View | None = None, now: datetime | None = None) -> list[dict[str, Any]]:
        """Every decision in turn, as plain mappings with ``rule``, ``action``, ``locations`` and ``effects``."""
        made: list[dict[str, Any]] = []
        gathered: list[tuple[Any, ...]] = []
        for rule in self.document.get("rules", []):
            verdict = self.verdict(rule["when"], order, view=view, now=now)
            matches = verdict is True or (verdict == "unknown" and rule.get("if_unknown") == "match")
            in_force = self._in_force(rule.get("effective", {}), now)
            if not matches or not in_force or not rule.get("enabled", True):
                continue
            effects = [*gathered, *_effects(rule["id"], rule["then"])]
            decision = _decision(rule["id"], rule["then"], effects)
            if decision is None:
                gathered = effects
                continue
            made.append(decision)
            if decision["if_short"] != "next_rule":
                return made
        last = self.document.get("otherwise", [{"keep": {}}])
        return [*made, _decision(None, last, [*gathered, *_effects(None, last)]) or {}]

    def _in_force(self, effective: dict[str, str], now: datetime | None) -> bool:
        """A date is the midnight that begins it, in the zone of the document."""
        zone = ZoneInfo(self.document.get("zone", "UTC"))
        read = {key: datetime.fromisoformat(text) for key, text in effective.items()}
        ends = {key: at if at.tzinfo else at.replace(tzinfo=zone) for key, at in read.items()}
        begun = "from" not in ends or (now is not None and ends["from"] <= now)
        return begun and not ("until" in ends and now is not None and ends["until"] <= now)

    # -------------------------------------------------------------- conditions

    def _condition(self, condition: Any, at: dict[str, Any]) -> bool | None:
        if condition is True:
            return True
        if "all" in condition:
            return _least([self._condition(part, at) for part in condition["all"]])
        if "any" in condition:
            return _greatest([self._condition(part, at) for part in condition["any"]])
        if "not" in condition:
            return _opposite(self._condition(condition["not"], at))
        if "use" in condition:
            return self._condition(self.document["conditions"][condition["use"]], at)
        if "field" in condition:
            return self._test(condition, at)
        if "stock" in condition:
            return self._stock(condition["stock"], at)
        if "stock_age" in condition:
            return self._stock_age(condition["stock_age"], at)
        if "behaviour" in condition:
            return self._behaviour(condition["behaviour"], at)
        return self._over_lines(condition, at)

    def _over_lines(self, condition: dict[str, Any], at: dict[str, Any]) -> bool | None:
        ((kind, body),) = ((key, value) for key, value in condition.items() if key != "about")
        if kind in ("any_line", "every_line", "no_line"):
            each = [self._condition(body, {**at, "line": line}) for line in at["order"].lines]
            found = _least(each) if kind == "every_line" else _greatest(each)
            return _opposite(found) if kind == "no_line" else found
        where = [self._condition(body.get("where", True), {**at, "line": line}) for line in at["order"].lines]
        if kind == "count_lines":
            possible = range(where.count(True), where.count(True) + where.count(None) + 1)
            return _one_answer(_ordered(body["op"], count, body["value"]) for count in possible)
        return self._sum(body, where, at)

    def _sum(self, body: dict[str, Any], where: list[bool | None], at: dict[str, Any]) -> bool | None:
        is_money = body["field"] in ("line.unit_price", "line.total_price")
        if is_money and at["order"].currency != body.get("currency", self.document.get("currency")):
            return None
        inside = [line for line, found in zip(at["order"].lines, where, strict=True) if found is True]
        values = [self._value(body["field"], {**at, "line": line}) for line in inside]
        if None in where or None in values:
            return None
        return _ordered(body["op"], sum(values), body["value"])

    def _stock(self, body: dict[str, Any], at: dict[str, Any]) -> bool | None:
        places = [body["at"]] if isinstance(body["at"], str) else body["at"]
        return _greatest([self._covers(place, body["covers"], at) for place in places])

    def _covers(self, place: str, covers: str, at: dict[str, Any]) -> bool | None:
        lines, view = at["order"].lines, at["view"]
        if place not in view.locations:
            return None
        if covers == "any":
            return _greatest([_has(view, place, line.sku, line.quantity) for line in lines])
        wanted = {line.sku: sum(other.quantity for other in lines if other.sku == line.sku) for line in lines}
        return _least([_has(view, place, sku, units) for sku, units in wanted.items()])

    def _stock_age(self, body: dict[str, Any], at: dict[str, Any]) -> bool | None:
        taken = [at["view"].stock_as_of(body["at"], line.sku) for line in at["order"].lines]
        if not taken or None in taken:
            return None
        return _ordered(body["op"], at["now"] - min(taken), timedelta(**body["value"]))

    def _behaviour(self, body: dict[str, Any], at: dict[str, Any]) -> bool | None:
        found = at["view"].measured(body["at"], body["measure"]) if hasattr(at["view"], "measured") else None
        return None if found is None else _ordered(body["op"], found, Fraction(str(body["value"])))

    # -------------------------------------------------------------- tests of a field

    def _test(self, test: dict[str, Any], at: dict[str, Any]) -> bool | None:
        value = self._value(test["field"], at)
        if test["op"] in ("exists", "absent"):
            return bool((value is None) == (test["op"] == "absent"))
        if value is None:
            return None
        if isinstance(value, Decimal) and at["order"].currency != test.get("currency", self.document.get("currency")):
            return None
        wanted = test["value"]
        if isinstance(wanted, dict) and "list" in wanted:
            wanted = self.document["lists"][wanted["list"]]
        if isinstance(value, datetime):
            return _instant(test["op"], value, wanted, at["now"], test.get("zone", self.document.get("zone")))
        if test.get("ignore_case") and test["op"] == "matches":
            wanted = f"(?i:{wanted})"
        elif test.get("ignore_case"):
            value, wanted = _lower(value), _lower(wanted)
        return _ordered(test["op"], value, wanted)

    def _value(self, name: str, at: dict[str, Any]) -> Any:
        if name == "now":
            return at["now"]
        owner = at["line"] if name.startswith("line.") else at["order"]
        name = name.removeprefix("line.")
        if name.startswith("properties."):
            return owner.properties.get(name.removeprefix("properties.")) or None
        if name in _DERIVED:
            return _DERIVED[name](owner)
        for part in name.split("."):
            if part in ("postcode_area", "outward_code"):
                return _british(owner, part)
            owner = getattr(owner, part, None)
        return owner


# ------------------------------------------------------------------ three values

_RANK = {False: 0, None: 1, True: 2}


def _least(values: Iterable[bool | None]) -> bool | None:
    return min(values, key=_RANK.__getitem__, default=True)


def _greatest(values: Iterable[bool | None]) -> bool | None:
    return max(values, key=_RANK.__getitem__, default=False)


def _opposite(value: bool | None) -> bool | None:
    return {True: False, False: True, None: None}[value]


def _one_answer(values: Iterable[bool]) -> bool | None:
    answers = list(values)
    return answers[0] if all(answer == answers[0] for answer in answers) else None


# ------------------------------------------------------------------ operators


def _number(wanted: Any, like: Any) -> Any:
    if isinstance(wanted, list):
        return [_number(each, like) for each in wanted]
    is_number = isinstance(like, int | Decimal) and isinstance(wanted, int | float | str)
    return Decimal(str(wanted)) if is_number else wanted


def _ordered(op: str, value: Any, wanted: Any) -> bool:
    wanted = _number(wanted, value)
    several = wanted if isinstance(wanted, list) else [wanted]
    answers: dict[str, Callable[[], Any]] = {
        "eq": lambda: value == wanted,
        "ne": lambda: value != wanted,
        "lt": lambda: value < wanted,
        "le": lambda: value <= wanted,
        "gt": lambda: value > wanted,
        "ge": lambda: value >= wanted,
        "between": lambda: wanted[0] <= value <= wanted[1],
        "in": lambda: any(value == each for each in several),
        "not_in": lambda: all(value != each for each in several),
        "contains": lambda: wanted in value,
        "contains_any": lambda: any(each in value for each in several),
        "contains_all": lambda: all(each in value for each in several),
        "starts_with": lambda: any(value[: len(each)] == each for each in several),
        "ends_with": lambda: any(
            value[len(value) - len(each) :] == each for each in several if len(each) <= len(value)
        ),
        "matches": lambda: re.search(re.sub(r"\$$", r"\\Z", wanted), value) is not None,
    }
    return bool(answers[op]())


def _instant(op: str, value: datetime, wanted: Any, now: datetime, zone: Any) -> bool:
    if op in ("weekday_in", "time_between"):
        local = value.astimezone(ZoneInfo(zone))
        if op == "weekday_in":
            return local.weekday() in [_DAYS.index(each) if isinstance(each, str) else each - 1 for each in wanted]
        start, end = (time(0) if each == "24:00" else time.fromisoformat(each) for each in wanted)
        clock = local.replace(tzinfo=None).time()
        return (start <= clock < end) if start < end else not (end <= clock < start)
    if op in ("within_last", "within_next"):
        span = timedelta(**wanted)
        return now - span <= value <= now if op == "within_last" else now <= value <= now + span
    limits = [now if each == "now" else datetime.fromisoformat(each) for each in _listed(wanted)]
    if op == "between":
        return bool(limits[0] <= value <= limits[1])
    return value < limits[0] if op == "before" else value > limits[0]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _lower(value: Any) -> Any:
    if isinstance(value, list | frozenset):
        return [_lower(each) for each in value]
    return value.casefold() if isinstance(value, str) else value


def _has(view: View, place: str, sku: str, units: int) -> bool | None:
    free = view.allocatable(place, sku)
    if free is None or free >= units:
        return True
    return False if view.stock_as_of(place, sku) else None


# ------------------------------------------------------------------ derived fields


def _british(address: Any, part: str) -> str | None:
    if address is None or not address.postcode or address.country not in (None, "GB", "GG", "IM", "JE"):
        return None
    code = "".join(address.postcode.upper().split())
    whole = re.fullmatch(r"([A-Z][A-Z]?)([0-9][A-Z0-9]?)([0-9][A-Z][A-Z])", code)
    found = whole or re.fullmatch(r"([A-Z][A-Z]?)([0-9][A-Z0-9]?)", code)
    return None if found is None else found[1] if part == "postcode_area" else found[1] + found[2]


def _line_total(line: Any, name: str) -> Any:
    each = getattr(line, name)
    return None if each is None else each * line.quantity


def _order_total(order: Order, name: str, zero: Any) -> Any:
    each = [_line_total(line, name) for line in order.lines]
    return None if None in each else sum(each, zero)


def _total_weight(owner: Any) -> Any:
    is_order = isinstance(owner, Order)
    return _order_total(owner, "weight_g", 0) if is_order else _line_total(owner, "weight_g")


_DERIVED: dict[str, Callable[[Any], Any]] = {
    "total_weight_g": _total_weight,
    "goods_total": lambda order: _order_total(order, "unit_price", Decimal(0)),
    "total_price": lambda line: _line_total(line, "unit_price"),
    "total_quantity": lambda order: sum(line.quantity for line in order.lines),
    "line_count": lambda order: len(order.lines),
}


# ------------------------------------------------------------------ actions


def _effects(rule_id: str | None, actions: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    found = []
    for action in actions:
        ((kind, body),) = action.items()
        if kind == "set_property":
            found.append((rule_id, kind, body["name"], body["value"]))
        elif kind not in ("allocate", "hold", "keep"):
            found.append((rule_id, kind, None, body))
    return found


def _decision(rule_id: str | None, actions: list[dict[str, Any]], effects: list[Any]) -> dict[str, Any] | None:
    for action in actions:
        ((kind, body),) = action.items()
        if kind in ("allocate", "hold", "keep"):
            return {
                "rule": rule_id,
                "action": kind,
                "locations": _listed(body.get("to", [])),
                "if_short": body.get("if_short", "next_rule") if kind == "allocate" else "",
                "effects": effects,
            }
    return None
