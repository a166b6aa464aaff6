"""
From the condition tree to closures: each takes the `Facts` of one order and gives true, false or ``None`` (unknown).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from fcflow.errors import PluginError
from fcflow.model import View
from fcflow.rules.fields import Facts, FieldType
from fcflow.rules.operators import OperatorType, checker, compare
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

__all__ = ["Verdict", "all_of", "compile_node", "key_reader", "keys_of", "measure_of"]

Verdict = Callable[[Facts], bool | None]


def compile_node(node: Node) -> Verdict:
    """
    The closure that says what *node* makes of one order.

    Example:
        >>> from fcflow.model import Order
        >>> compile_node(Not(Truth()))(Facts(Order(order_id="A1", lines=())))
        False
    """
    match node:
        case Truth():
            return _true
        case AllOf():
            return all_of([compile_node(part) for part in node.parts])
        case AnyOf():
            return _any_of([compile_node(part) for part in node.parts])
        case Not():
            return _not(compile_node(node.part))
        case Named():
            return compile_node(node.part)
        case Test():
            return _test(node)
        case Lines():
            return _lines(node)
        case CountLines():
            return _count(node)
        case SumLines():
            return _sum(node)
        case Stock():
            return _stock(node)
        case StockAge():
            return _stock_age(node)
        case Measured():
            return _measured(node)


def _true(facts: Facts) -> bool | None:
    return True


def every(verdicts: Iterable[bool | None]) -> bool | None:
    """Kleene's *and* over any number; true over none."""
    result: bool | None = True
    for verdict in verdicts:
        if verdict is False:
            return False
        if verdict is None:
            result = None
    return result


def some(verdicts: Iterable[bool | None]) -> bool | None:
    """Kleene's *or* over any number; false over none."""
    result: bool | None = False
    for verdict in verdicts:
        if verdict is True:
            return True
        if verdict is None:
            result = None
    return result


def negated(verdict: bool | None) -> bool | None:
    """Kleene's *not*."""
    return None if verdict is None else not verdict


def all_of(parts: list[Verdict]) -> Verdict:
    """The closure of Kleene's *and* of these."""
    if len(parts) == 1:
        return parts[0]

    def verdict(facts: Facts) -> bool | None:
        result: bool | None = True
        for part in parts:
            found = part(facts)
            if found is False:
                return False
            if found is None:
                result = None
        return result

    return verdict


def _any_of(parts: list[Verdict]) -> Verdict:
    if len(parts) == 1:
        return parts[0]

    def verdict(facts: Facts) -> bool | None:
        result: bool | None = False
        for part in parts:
            found = part(facts)
            if found is True:
                return True
            if found is None:
                result = None
        return result

    return verdict


def _not(part: Verdict) -> Verdict:
    def verdict(facts: Facts) -> bool | None:
        found = part(facts)
        return None if found is None else not found

    return verdict


# ------------------------------------------------------------------ tests of a field


def _test(node: Test) -> Verdict:
    get = node.field.get
    if node.op == "exists":
        return lambda facts: get(facts) is not None
    if node.op == "absent":
        return lambda facts: get(facts) is None
    if node.operator is not None:
        return _foreign(node, node.operator)
    check = checker(node.field.type, node.op, node.value, ignore_case=node.ignore_case, zone=node.zone)
    if node.field.type is FieldType.MONEY:
        return _in_currency(node, check)

    def verdict(facts: Facts) -> bool | None:
        value = get(facts)
        return None if value is None else check(value, facts)

    return verdict


def _in_currency(node: Test, check: Callable[[Any, Facts], bool | None]) -> Verdict:
    get, currency = node.field.get, node.currency

    def verdict(facts: Facts) -> bool | None:
        value = get(facts)
        return None if value is None or facts.order.currency != currency else check(value, facts)

    return verdict


def key_reader(operator: OperatorType, get: Callable[[Facts], Any]) -> Callable[[Facts], Any]:
    """From the field's value to the key by which an indexed operator is looked up."""
    key = operator.key
    assert key is not None  # only asked of operators that are indexed

    def read(facts: Facts) -> Any:
        value = get(facts)
        if value is None:
            return None
        try:
            return key(value)
        except Exception as error:
            raise PluginError(f"operator {operator.name}: {type(error).__name__}: {error}") from error

    return read


def keys_of(operator: OperatorType, argument: Any) -> frozenset[Any]:
    """The keys for which an indexed operator holds."""
    assert operator.keys is not None  # only asked of operators that are indexed
    try:
        return frozenset(operator.keys(argument))
    except Exception as error:
        raise PluginError(f"operator {operator.name}: {type(error).__name__}: {error}") from error


def _indexed(node: Test, operator: OperatorType) -> Verdict:
    key, wanted = key_reader(operator, node.field.get), keys_of(operator, node.value)

    def verdict(facts: Facts) -> bool | None:
        found = key(facts)
        return None if found is None else found in wanted

    return verdict


def _foreign(node: Test, operator: OperatorType) -> Verdict:
    if operator.indexed:
        return _indexed(node, operator)
    get, argument = node.field.get, node.value

    def verdict(facts: Facts) -> bool | None:
        value = get(facts)
        if value is None:
            return None
        try:
            found = operator.test(value, argument, facts.order)
        except Exception as error:
            raise PluginError(f"operator {operator.name}: {type(error).__name__}: {error}") from error
        if found is not None and not isinstance(found, bool):
            raise PluginError(f"operator {operator.name}: expected true, false or None, got {found!r}")
        return found

    return verdict


# ------------------------------------------------------------------ over lines


def _each_line(part: Verdict, facts: Facts) -> Iterator[bool | None]:
    outer = facts.line
    try:
        for line in facts.order.lines:
            facts.line = line
            yield part(facts)
    finally:
        facts.line = outer


def _lines(node: Lines) -> Verdict:
    if node.kind == "every_line":
        part = compile_node(node.part)
        return lambda facts: every(_each_line(part, facts))
    any_line = _any_sku(node.part) or _any_line(compile_node(node.part))
    return any_line if node.kind == "any_line" else _not(any_line)


def _any_sku(part: Node) -> Verdict | None:
    """Whether a line has one of these SKUs: much asked, and never unknown."""
    if not isinstance(part, Test) or part.field.name != "line.sku" or part.op not in ("eq", "in") or part.ignore_case:
        return None
    wanted = frozenset(part.value if isinstance(part.value, tuple) else (part.value,))

    def verdict(facts: Facts) -> bool | None:
        for line in facts.order.lines:  # noqa: SIM110  # a generator would cost more than all it tests
            if line.sku in wanted:
                return True
        return False

    return verdict


def _any_line(part: Verdict) -> Verdict:
    def verdict(facts: Facts) -> bool | None:
        outer = facts.line
        result: bool | None = False
        try:
            for line in facts.order.lines:
                facts.line = line
                found = part(facts)
                if found is True:
                    return True
                if found is None:
                    result = None
        finally:
            facts.line = outer
        return result

    return verdict


def _count(node: CountLines) -> Verdict:
    where = _true if node.where is None else compile_node(node.where)
    check = compare(node.op, node.value)

    def verdict(facts: Facts) -> bool | None:
        found = list(_each_line(where, facts))
        surely, maybe = found.count(True), found.count(None)
        return _agreed(check(count) for count in range(surely, surely + maybe + 1))

    return verdict


def _agreed(verdicts: Iterable[bool]) -> bool | None:
    said = set(verdicts)
    return said.pop() if len(said) == 1 else None


def _sum(node: SumLines) -> Verdict:
    where = _true if node.where is None else compile_node(node.where)
    check, get = compare(node.op, node.value), node.field.get
    is_money = node.field.type is FieldType.MONEY

    def value(facts: Facts) -> Any:
        found = where(facts)
        return None if found is None else get(facts) if found else 0

    def verdict(facts: Facts) -> bool | None:
        if is_money and facts.order.currency != node.currency:
            return None
        total: int | Decimal = 0
        for each in _each_line(value, facts):
            if each is None:
                return None
            total += each
        return check(total)

    return verdict


# ------------------------------------------------------------------ stock


def _needed(facts: Facts) -> dict[str, int]:
    needed: dict[str, int] = {}
    for line in facts.order.lines:
        needed[line.sku] = needed.get(line.sku, 0) + line.quantity
    return needed


def _covered(view: View, location: str, sku: str, units: int) -> bool | None:
    """Whether *units* are there; unknown where they are not and nobody has ever said how many there are."""
    free = view.allocatable(location, sku)
    if free is None or free >= units:
        return True
    return None if view.stock_as_of(location, sku) is None else False


def _covers_all(view: View, location: str, facts: Facts) -> bool | None:
    return every(_covered(view, location, sku, units) for sku, units in _needed(facts).items())


def _covers_any(view: View, location: str, facts: Facts) -> bool | None:
    return some(_covered(view, location, line.sku, line.quantity) for line in facts.order.lines)


def _stock(node: Stock) -> Verdict:
    covers = _covers_all if node.covers == "all" else _covers_any

    def at(location: str, facts: Facts) -> bool | None:
        view = facts.view
        assert view is not None  # the rule set asks for it before anything is evaluated
        return covers(view, location, facts) if location in view.locations else None

    return lambda facts: some(at(location, facts) for location in node.at)


def _stock_age(node: StockAge) -> Verdict:
    check = compare(node.op, node.value)

    def verdict(facts: Facts) -> bool | None:
        taken = list(_pictures(node.at, facts))
        if not taken or None in taken:
            return None
        assert facts.now is not None  # the rule set asks for it before anything is evaluated
        return check(facts.now - min(each for each in taken if each is not None))

    return verdict


def _measured(node: Measured) -> Verdict:
    check = compare(node.op, node.value)

    def verdict(facts: Facts) -> bool | None:
        value = measure_of(facts.view, node.at, node.measure)
        return None if value is None else check(value)

    return verdict


def measure_of(view: View | None, location: str, measure: str) -> Fraction | None:
    """What *view* knows of the location's behaviour; ``None`` where it knows nothing."""
    measured: Callable[[str, str], Fraction | None] | None = getattr(view, "measured", None)
    return None if measured is None else measured(location, measure)


def _pictures(location: str, facts: Facts) -> Iterator[datetime | None]:
    assert facts.view is not None
    for sku in _needed(facts):
        yield facts.view.stock_as_of(location, sku)
