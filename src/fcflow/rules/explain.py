"""
Why a condition came out as it did: the leaves that made it so, each as one clause.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from fcflow.rules.compile import compile_node, every, measure_of, negated, some
from fcflow.rules.fields import Facts
from fcflow.rules.tree import (
    AllOf,
    AnyOf,
    CountLines,
    Lines,
    Measured,
    Named,
    Node,
    Not,
    Stock,
    StockAge,
    SumLines,
    Test,
    Truth,
)

__all__ = ["MAX_CLAUSES", "because", "verdict_word"]

MAX_CLAUSES = 12
Reasons = tuple[bool | None, list[str]]


def verdict_word(verdict: bool | None) -> str:
    """``true``, ``false`` or ``unknown``."""
    return {True: "true", False: "false", None: "unknown"}[verdict]


def because(node: Node, facts: Facts) -> tuple[bool | None, tuple[str, ...]]:
    """
    The verdict of *node*, and the leaves that made it so.

    Example:
        >>> from fcflow.model import Address, Order
        >>> from fcflow.rules.fields import FIELDS
        >>> order = Order(order_id="A1", lines=(), ship_to=Address(country="FR"))
        >>> because(Test(FIELDS["ship_to.country"], "eq", "GB", written="GB"), Facts(order))
        (False, ("ship_to.country eq 'GB': got 'FR'",))
    """
    verdict, clauses = _why(node, facts)
    clauses = list(dict.fromkeys(clauses))
    if len(clauses) > MAX_CLAUSES:
        clauses = [*clauses[:MAX_CLAUSES], f"and {len(clauses) - MAX_CLAUSES} more"]
    return verdict, tuple(clauses)


def _why(node: Node, facts: Facts) -> Reasons:
    match node:
        case Truth():
            return True, []
        case AllOf():
            return _decisive([_why(part, facts) for part in node.parts], every, stops_at=False)
        case AnyOf():
            return _decisive([_why(part, facts) for part in node.parts], some, stops_at=True)
        case Not():
            verdict, clauses = _why(node.part, facts)
            return negated(verdict), clauses
        case Named():
            verdict, clauses = _why(node.part, facts)
            return verdict, [f"{node.name}: {clause}" for clause in clauses]
        case Test():
            return _why_test(node, facts)
        case Lines():
            return _why_lines(node, facts)
        case _:
            return compile_node(node)(facts), [_clause(node, facts)]


def _decisive(reasons: list[Reasons], join: Any, *, stops_at: bool) -> Reasons:
    """Of several parts, the clauses of those that settle it: the first that stops it, else all of its own kind."""
    verdict = join(found for found, _ in reasons)
    if verdict is stops_at:
        return verdict, next(clauses for found, clauses in reasons if found is stops_at)
    return verdict, [clause for found, clauses in reasons if found is verdict for clause in clauses]


def _why_lines(node: Lines, facts: Facts) -> Reasons:
    reasons = [_why_line(node.part, facts, line) for line in facts.order.lines]
    if node.kind == "every_line":
        verdict, clauses = _decisive(reasons, every, stops_at=False)
    else:
        verdict, clauses = _decisive(reasons, some, stops_at=True)
    if node.kind == "no_line":
        verdict = negated(verdict)
    return verdict, clauses if reasons else [f"{node.kind}: the order has no lines"]


def _why_line(part: Node, facts: Facts, line: Any) -> Reasons:
    outer, facts.line = facts.line, line
    try:
        verdict, clauses = _why(part, facts)
    finally:
        facts.line = outer
    return verdict, [f"line {line.line_id}: {clause}" for clause in clauses]


def _why_test(node: Test, facts: Facts) -> Reasons:
    said = f"{node.field.name} {node.op}" + ("" if node.written is None else f" {_literal(node.written)}")
    if node.currency is not None:
        said += f" {node.currency}"
    verdict, value = compile_node(node)(facts), node.field.get(facts)
    if value is None:
        got = f"{node.field.name} is absent" if node.op in ("exists", "absent") else f"{node.field.name} is unknown"
    elif verdict is None and node.currency is not None:
        got = f"the order is in {facts.order.currency or 'an unknown currency'}"
    else:
        got = f"got {_literal(value)}"
    return verdict, [f"{said}: {got}"]


def _literal(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"list"}:
        return f"list {value['list']!r}"
    if isinstance(value, dict):
        return " ".join(f"{count} {unit}" for unit, count in value.items())
    if isinstance(value, list | tuple | frozenset):
        return _shortened([_literal(each) for each in (sorted(value) if isinstance(value, frozenset) else value)])
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return repr(str(value))
    return str(value)


def _shortened(words: list[str], most: int = 5) -> str:
    shown = words if len(words) <= most else [*words[:most], f"... {len(words)} in all"]
    return "[" + ", ".join(shown) + "]"


def _clause(node: Node, facts: Facts) -> str:
    match node:
        case CountLines():
            return f"count_lines {node.op} {_numbers(node.value)}: {_counted(node.where, facts)}"
        case SumLines():
            return f"sum of {node.field.name} {node.op} {_numbers(node.value)}: {_summed(node, facts)}"
        case Stock():
            places = " or ".join(node.at)
            return f"{places} covers {node.covers}: {_stocked(node, facts)}"
        case StockAge():
            return f"stock age at {node.at} {node.op} {node.value}: {_aged(node.at, facts)}"
        case Measured():
            found = measure_of(facts.view, node.at, node.measure)
            said = "unknown" if found is None else f"got {_rounded(found)}"
            return f"{node.measure} of {node.at} {node.op} {_rounded(node.value)}: {said}"
        case _:
            raise TypeError(node)


def _rounded(value: Fraction) -> str:
    """With four decimals at most; what is shown of a share is no more than it is worth."""
    return f"{float(value):.4f}".rstrip("0").rstrip(".")


def _numbers(value: Any) -> str:
    return " and ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _fulfilling(where: Node | None, facts: Facts) -> Iterable[tuple[bool | None, Any]]:
    for line in facts.order.lines:
        yield (True if where is None else _why_line(where, facts, line)[0]), line


def _counted(where: Node | None, facts: Facts) -> str:
    found = [verdict for verdict, _ in _fulfilling(where, facts)]
    unknown = f", {found.count(None)} unknown" if None in found else ""
    return f"got {found.count(True)}{unknown}"


def _summed(node: SumLines, facts: Facts) -> str:
    if node.currency is not None and facts.order.currency != node.currency:
        return f"the order is in {facts.order.currency or 'an unknown currency'}"
    total: Any = 0
    for verdict, line in _fulfilling(node.where, facts):
        value = node.field.get(Facts(facts.order, facts.view, facts.now, line)) if verdict else 0
        if verdict is None or value is None:
            return f"unknown of line {line.line_id}"
        total += value
    return f"got {total}"


def _stocked(node: Stock, facts: Facts) -> str:
    needed: dict[str, int] = {}
    for line in facts.order.lines:
        needed[line.sku] = needed.get(line.sku, 0) + line.quantity
    words = [_at(location, sku, units, facts) for location in node.at for sku, units in needed.items()]
    return ", ".join(words[:MAX_CLAUSES]) or "the order has no lines"


def _at(location: str, sku: str, units: int, facts: Facts) -> str:
    view = facts.view
    if view is None or location not in view.locations:
        return f"{location} is unknown"
    free, as_of = view.allocatable(location, sku), view.stock_as_of(location, sku)
    if free is None:
        return f"{location} never runs short of {sku}"
    return f"{location} has {free} of {units} {sku}" if free or as_of else f"stock of {sku} at {location} is unknown"


def _aged(location: str, facts: Facts) -> str:
    oldest: timedelta | None = None
    for line in facts.order.lines:
        taken = facts.view.stock_as_of(location, line.sku) if facts.view else None
        if taken is None or facts.now is None:
            return f"stock of {line.sku} at {location} is unknown"
        oldest = max(oldest or timedelta.min, facts.now - taken)
    return f"got {oldest}" if oldest is not None else "the order has no lines"
