"""
The tables of the reference page, made from the catalogue, so that they cannot say anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fcflow.rules.compile import every, negated, some
from fcflow.rules.explain import verdict_word
from fcflow.rules.fields import FIELDS, Field, FieldType
from fcflow.rules.operators import OPERATORS, Operator

__all__ = ["field_table", "operator_table", "truth_table"]

_VERDICTS = (True, False, None)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def field_table() -> str:
    """
    Every field with its type and what it holds.

    Example:
        >>> print(field_table().splitlines()[2])
        | `order_id` | text | never | ours |
    """
    free = Field(
        name="properties.<name>",
        type=FieldType.TEXT,
        get=lambda facts: None,
        about="a property of the order, whatever its name",
    )
    free_line = Field(
        name="line.properties.<name>", type=FieldType.TEXT, get=lambda facts: None, about="a property of the line"
    )
    return _table(["field", "type", "absent", "holds"], map(_field_row, [*FIELDS.values(), free, free_line]))


def _field_row(field: Field) -> list[str]:
    about = field.about + (f" ({', '.join(field.choices)})" if field.choices else "")
    return [f"`{field.name}`", field.type, "never" if field.always else "maybe", about]


def operator_table() -> str:
    """
    Every operator with the field types it fits.

    Example:
        >>> print(operator_table().splitlines()[2])
        | `eq` | text, choice, integer, money | a value | equal |
    """
    return _table(["operator", "field types", "value", "true if"], map(_operator_row, OPERATORS.values()))


def _operator_row(operator: Operator) -> list[str]:
    operand = operator.operand.value
    return [f"`{operator.name}`", ", ".join(operator.types), operand, operator.about]


def truth_table() -> str:
    """
    Kleene's *all*, *any* and *not*, from the functions that evaluate them.

    Example:
        >>> print(truth_table().splitlines()[4])
        | true | unknown | unknown | true | false |
    """
    rows = [
        [verdict_word(verdict) for verdict in (left, right, every([left, right]), some([left, right]), negated(left))]
        for left in _VERDICTS
        for right in _VERDICTS
    ]
    return _table(["a", "b", "all: a, b", "any: a, b", "not: a"], rows)
