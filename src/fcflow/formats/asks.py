"""
Conditions on the rows of a record, on reading: the rule language's form, asking what the partner said.

``all``, ``any``, ``not`` and tests of a field, which may be compared with a value or with another field (``than``).
A test of an absent value is unknown, and so is its ``not``; an unknown condition does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from fcflow.errors import Fault
from fcflow.formats.cells import make_parse
from fcflow.formats.codec import Unreadable
from fcflow.formats.fields import Said

__all__ = ["TESTS", "Ask", "RowFacts", "compile_ask"]

TESTS = (
    "eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "contains", "starts_with", "ends_with", "exists", "absent",
)  # fmt: skip


_TEXTS = ("status", "list", "text", "payment", "country", "currency")
_OF_TEXTS = ("contains", "starts_with", "ends_with")


class RowFacts:
    """
    What a condition may look at: one row, or all rows of a record.

    A field of the whole record is what the first row that says something says of it. A field of lines has the values
    of all rows. ``total.<count>`` adds up what the rows say of a count; how many units were ordered is said
    once a line.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = rows

    def all_of(self, name: str) -> list[Any]:
        """The values of a field, one a row where it belongs to lines, else one."""
        if name.startswith("total."):
            return [self._total(name.removeprefix("total."))]
        found = [_bare(row.get(name)) for row in self.rows]
        if name.startswith("line."):
            return found
        return [next((value for value in found if value is not None), None)]

    def _total(self, count: str) -> int | None:
        known: dict[Any, int] = {}
        for index, row in enumerate(self.rows):
            value = row.get(f"line.{count}")
            if value is None:
                continue
            line = (row.get("line.line_id"), row.get("line.sku"))
            key = line if any(line) else index
            known[key] = max(known.get(key, 0), value) if count == "ordered" else known.get(key, 0) + value
        return sum(known.values()) if known else None


def _bare(value: Any) -> Any:
    """A value as conditions compare it; what is empty is absent."""
    if isinstance(value, Said):
        return value.status.value if value.status is not None else value.raw or None
    if isinstance(value, Enum):
        return value.value
    return None if value in ((), [], "", frozenset()) else value


Ask = Callable[[RowFacts], bool | None]
"""Whether a condition holds; ``None`` is *unknown*."""


def compile_ask(
    document: Any, path: str, type_of: Callable[[str], str | None], faults: list[Fault], nearest: Callable[[str], str]
) -> Ask:
    """
    The condition that *document* describes; what is wrong with it is added to *faults*.

    Args:
        type_of: The type of a field, or ``None`` where there is no such field.

        nearest: The right name that is nearest to a wrong one.
    """
    if isinstance(document, bool):
        return lambda facts: document
    forms = [word for word in ("all", "any", "not", "field") if word in document]
    if len(forms) != 1 or (forms == ["field"]) != ("op" in document):
        faults.append(Fault("", path=path, expected="one of all, any, not; or field and op", found=document))
        return lambda facts: None
    for word, put in (("all", _all), ("any", _any)):
        if word in document:
            parts = [
                compile_ask(part, f"{path}.{word}[{i}]", type_of, faults, nearest)
                for i, part in enumerate(document[word])
            ]
            return put(parts)
    if "not" in document:
        inner = compile_ask(document["not"], f"{path}.not", type_of, faults, nearest)
        return lambda facts: None if (found := inner(facts)) is None else not found
    return _test(document, path, type_of, faults, nearest)


def _all(parts: Sequence[Ask]) -> Ask:
    return lambda facts: _worst([part(facts) for part in parts])


def _any(parts: Sequence[Ask]) -> Ask:
    def ask(facts: RowFacts) -> bool | None:
        found = [part(facts) for part in parts]
        return True if True in found else None if None in found else False

    return ask


def _worst(found: Iterable[bool | None]) -> bool | None:
    told = list(found)
    return False if False in told else None if None in told else True


def _test(
    test: Mapping[str, Any],
    path: str,
    type_of: Callable[[str], str | None],
    faults: list[Fault],
    nearest: Callable[[str], str],
) -> Ask:
    for key in ("field", "than"):
        if key in test and type_of(test[key]) is None:
            faults.append(Fault("unknown field", path=f"{path}.{key}", expected=nearest(test[key]), found=test[key]))
            return lambda facts: None
    name, op = test["field"], test["op"]
    if op in ("exists", "absent"):
        wanted = op == "exists"
        return lambda facts: all((value is not None) == wanted for value in facts.all_of(name))
    if ("value" in test) == ("than" in test):
        faults.append(Fault("", path=path, expected="either value or than"))
        return lambda facts: None
    type_ = type_of(name) or "text"
    misfit = _misfit(op, test, type_)
    if misfit is not None:
        faults.append(Fault("", path=f"{path}.op", expected=misfit, found=op))
        return lambda facts: None
    if "than" in test:
        return _between_fields(name, op, test["than"])
    value = _typed(test["value"], type_, f"{path}.value", faults)
    return lambda facts: _worst(_compared(op, found, value) for found in facts.all_of(name))


def _misfit(op: str, test: Mapping[str, Any], type_: str) -> str | None:
    """What else was expected of an operator, where it does not fit what it tests."""
    if op in _OF_TEXTS and (type_ not in _TEXTS or "than" in test):
        return "an operator that fits a field of type " + type_
    if op in ("in", "not_in") and "than" in test:
        return "a list of values"
    if isinstance(test.get("value"), list) and op not in ("in", "not_in", "starts_with", "ends_with"):
        return "in or not_in for several values"
    return None


def _between_fields(name: str, op: str, other: str) -> Ask:
    def ask(facts: RowFacts) -> bool | None:
        ones, others = facts.all_of(name), facts.all_of(other)
        if len(others) == 1:
            others = others * len(ones)
        elif len(ones) == 1:
            ones = ones * len(others)
        return _worst(_compared(op, one, than) for one, than in zip(ones, others, strict=True))

    return ask


def _typed(value: Any, type_: str, path: str, faults: list[Fault]) -> Any:
    """The value of a test as the field's type has it."""
    if isinstance(value, list):
        return tuple(_typed(each, type_, f"{path}[{i}]", faults) for i, each in enumerate(value))
    if type_ in _TEXTS:
        return value if isinstance(value, str) else str(value)
    try:
        return make_parse(type_, {})(str(value))
    except Unreadable as error:
        faults.append(Fault("", path=path, expected=error.expected, found=value))
        return None


def _compared(op: str, found: Any, wanted: Any) -> bool | None:
    if found is None or wanted is None:
        return None
    if op in ("in", "not_in"):
        among = found in (wanted if isinstance(wanted, tuple) else (wanted,))
        return among if op == "in" else not among
    if op == "contains":
        return bool(wanted in found) if isinstance(found, str | tuple | list | frozenset) else None
    if op in ("starts_with", "ends_with"):
        return str(found).startswith(wanted) if op == "starts_with" else str(found).endswith(wanted)
    if op in ("eq", "ne"):
        return bool(found == wanted) == (op == "eq")
    return _ordered(op, found, wanted)


def _ordered(op: str, found: Any, wanted: Any) -> bool | None:
    numbers = isinstance(found, int | Decimal) and isinstance(wanted, int | Decimal)
    if not numbers and not (isinstance(found, datetime) and isinstance(wanted, datetime)):
        return None
    return bool({"lt": found < wanted, "le": found <= wanted, "gt": found > wanted, "ge": found >= wanted}[op])
