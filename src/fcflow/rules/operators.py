"""
The operators: which field types each fits, what it is compared with, and how it tests a value that is there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import datetime, time, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, cast

from attrs import field, frozen
from immutabledict import immutabledict

from fcflow.model import Order
from fcflow.rules.fields import Facts, FieldType

__all__ = ["OPERATORS", "Operand", "Operator", "OperatorTest", "OperatorType", "checker", "compare", "namespaced"]

Check = Callable[[Any], bool | None]
FactsCheck = Callable[[Any, Facts], bool | None]


class Operand(StrEnum):
    """What an operator is compared with."""

    NONE = "nothing"
    ONE = "a value"
    MANY = "a list of values, or a named list"
    PAIR = "two values, the lower first"
    SOME = "a text, a list of texts, or a named list"
    PATTERN = "a regular expression in RE2 syntax"
    INSTANT = 'an instant with a time zone, or "now"'
    DURATION = 'a duration such as {"hours": 48}'
    WEEKDAYS = "weekdays, mon to sun or 1 (Monday) to 7"
    TIMES = 'two times of day, ["09:00", "17:30"]'


@frozen
class Operator:
    """
    A built-in operator.

    Args:
        types: The field types it fits.

        about: What makes it true, for the reference.
    """

    name: str
    operand: Operand
    types: tuple[FieldType, ...]
    about: str


_TEXT, _CHOICE, _INTEGER, _MONEY = FieldType.TEXT, FieldType.CHOICE, FieldType.INTEGER, FieldType.MONEY
_INSTANT, _SET = FieldType.INSTANT, FieldType.SET
_EQUATED = (_TEXT, _CHOICE, _INTEGER, _MONEY)
_ORDERED = (_INTEGER, _MONEY)

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        each.name: each
        for each in (
            Operator("eq", Operand.ONE, _EQUATED, "equal"),
            Operator("ne", Operand.ONE, _EQUATED, "not equal"),
            Operator("lt", Operand.ONE, _ORDERED, "less than"),
            Operator("le", Operand.ONE, _ORDERED, "at most"),
            Operator("gt", Operand.ONE, _ORDERED, "greater than"),
            Operator("ge", Operand.ONE, _ORDERED, "at least"),
            Operator("between", Operand.PAIR, (*_ORDERED, _INSTANT), "from the first to the second, both included"),
            Operator("in", Operand.MANY, _EQUATED, "equal to one of them"),
            Operator("not_in", Operand.MANY, _EQUATED, "equal to none of them"),
            Operator("contains", Operand.ONE, (_TEXT, _SET), "the text stands in it; the set has it as a member"),
            Operator("contains_any", Operand.MANY, (_TEXT, _SET), "contains at least one of them"),
            Operator("contains_all", Operand.MANY, (_TEXT, _SET), "contains every one of them"),
            Operator("starts_with", Operand.SOME, (_TEXT,), "begins with it, or with one of them"),
            Operator("ends_with", Operand.SOME, (_TEXT,), "ends with it, or with one of them"),
            Operator("matches", Operand.PATTERN, (_TEXT,), "the expression is found in it; `^` and `$` anchor it"),
            Operator("exists", Operand.NONE, (*_EQUATED, _INSTANT), "a value is there"),
            Operator("absent", Operand.NONE, (*_EQUATED, _INSTANT), "no value is there"),
            Operator("before", Operand.INSTANT, (_INSTANT,), "earlier than it"),
            Operator("after", Operand.INSTANT, (_INSTANT,), "later than it"),
            Operator("within_last", Operand.DURATION, (_INSTANT,), "not in the future and not longer ago"),
            Operator("within_next", Operand.DURATION, (_INSTANT,), "not in the past and not further ahead"),
            Operator("weekday_in", Operand.WEEKDAYS, (_INSTANT,), "on one of these days in the test's zone"),
            Operator(
                "time_between",
                Operand.TIMES,
                (_INSTANT,),
                "from the first to just before the second in the test's zone, over midnight if the second is earlier",
            ),
        )
    }
)


class OperatorTest(Protocol):
    """How a plugin's operator tests a value that is there; ``None`` is *unknown*."""

    def __call__(self, value: Any, argument: Any, order: Order) -> bool | None: ...


def namespaced(instance: object, attribute: object, value: str) -> None:
    """A validator: what plugins bring into the language has their namespace in its name."""
    namespace, separator, name = value.partition(":")
    if not (namespace and separator and name):
        raise ValueError(f"name: expected a namespace and a colon, as in acme:within_km, got {value!r}")


def _field_types(names: Iterable[FieldType | str]) -> tuple[FieldType, ...]:
    return tuple(FieldType(name) for name in names)


@frozen(kw_only=True)
class OperatorType:
    """
    An operator that a plugin brings.

    Args:
        name: With the plugin's namespace: ``acme:within_km``.

        field_types: Names of the types it fits: ``text``, ``choice``, ``integer``, ``money``, ``instant``, ``set``.

        value_schema: JSON Schema that the rule's ``value`` has to fulfil.

        test: Pure. Called with the field's value, the rule's ``value`` and the order; never with an absent value.
            Importable by its name, if rule sets are to be pickled.

        key, keys: How the operator is indexed, where it is a membership: it holds exactly if ``key(value)`` is among
            ``keys(argument)``, and is unknown exactly if ``key(value)`` is ``None``. Both or neither; `test` is then
            asked for explanations only. `fcflow.testing.OperatorContract` tries whether they say the same.

    Raises:
        ValueError: The name has no namespace, or a field type is not one.

    Example:
        >>> longer = OperatorType(name="acme:longer_than", field_types=("text",), value_schema={"type": "integer"},
        ...     test=lambda value, argument, order: len(value) > argument)
        >>> longer.name
        'acme:longer_than'
    """

    name: str = field(validator=namespaced)
    field_types: tuple[FieldType, ...] = field(converter=_field_types)
    value_schema: Mapping[str, Any] = field(converter=immutabledict)
    test: OperatorTest
    key: Callable[[Any], Hashable] | None = None
    keys: Callable[[Any], Iterable[Hashable]] | None = None

    def __attrs_post_init__(self) -> None:
        if (self.key is None) is not (self.keys is None):
            raise ValueError(f"operator {self.name}: expected key and keys, or neither")

    @property
    def indexed(self) -> bool:
        """Whether it says how it is indexed."""
        return self.key is not None


# ------------------------------------------------------------------ testing a value that is there

_ORDERINGS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def compare(op: str, wanted: Any) -> Callable[[Any], bool]:
    """The comparison *op* with *wanted* (two values for ``between``)."""
    if op == "between":
        low, high = wanted
        return lambda value: bool(low <= value <= high)
    ordering = _ORDERINGS[op]
    return lambda value: ordering(value, wanted)


def _contains(wanted: tuple[str, ...], quantify: Callable[[Any], bool]) -> Check:
    return lambda value: quantify(each in value for each in wanted)


def _text_test(op: str, wanted: Any) -> Check:
    match op:
        case "in":
            members = frozenset(wanted)
            return lambda value: value in members
        case "not_in":
            strangers = frozenset(wanted)
            return lambda value: value not in strangers
        case "contains":
            return lambda value: wanted in value
        case "contains_any":
            return _contains(wanted, any)
        case "contains_all":
            return _contains(wanted, all)
        case "starts_with":
            return lambda value: bool(value.startswith(wanted))
        case "ends_with":
            return lambda value: bool(value.endswith(wanted))
        case "matches":
            return lambda value: cast("bool | None", wanted.found_in(value))
        case _:
            return compare(op, wanted)


def _folded(wanted: Any) -> Any:
    if isinstance(wanted, tuple):
        return tuple(each.casefold() for each in wanted)
    return wanted.casefold() if isinstance(wanted, str) else wanted


def _folding(check: Check) -> Check:
    def folded(value: Any) -> bool | None:
        if isinstance(value, frozenset):
            return check(frozenset(each.casefold() for each in value))
        return check(value.casefold())

    return folded


def _in_times(value: time, start: time, end: time) -> bool:
    return start <= value < end if start < end else value >= start or value < end


def _instant_test(op: str, wanted: Any, zone: Any) -> FactsCheck:
    match op:
        case "before":
            return lambda value, facts: value < (facts.now if wanted == "now" else wanted)
        case "after":
            return lambda value, facts: value > (facts.now if wanted == "now" else wanted)
        case "within_last":
            return lambda value, facts: _ago(value, facts) <= wanted and value <= facts.now
        case "within_next":
            return lambda value, facts: -_ago(value, facts) <= wanted and value >= facts.now
        case "weekday_in":
            return lambda value, facts: value.astimezone(zone).isoweekday() in wanted
        case "time_between":
            return lambda value, facts: _in_times(value.astimezone(zone).time(), *wanted)
        case _:
            between = compare(op, wanted)
            return lambda value, facts: between(value)


def _ago(value: datetime, facts: Facts) -> timedelta:
    assert facts.now is not None  # the rule set asks for it before anything is evaluated
    return facts.now - value


def checker(kind: FieldType, op: str, wanted: Any, *, ignore_case: bool = False, zone: Any = None) -> FactsCheck:
    """How *op* tests a value of this *kind* that is there; *wanted* is typed as `fcflow.rules.tree.Test` says."""
    if kind is FieldType.INSTANT:
        return _instant_test(op, wanted, zone)
    if not ignore_case or op == "matches":
        check = _text_test(op, wanted)
    else:
        check = _folding(_text_test(op, _folded(wanted)))
    return lambda value, facts: check(value)
