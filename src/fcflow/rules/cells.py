"""
One column of a decision table, and one of its cells: from their texts to a condition of the rule language, and back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

import attrs
from attrs import frozen
from immutabledict import immutabledict

from fcflow.rules.extensions import RuleField
from fcflow.rules.faults import nearest
from fcflow.rules.fields import FIELDS, Field, FieldType, find_field
from fcflow.rules.operators import OPERATORS, Operand, OperatorType
from fcflow.rules.values import Bad

__all__ = ["Column", "column_of", "condition_of", "items", "normal", "placed", "quoted", "read_heading", "unquoted"]

QUANTIFIERS = {"any": "any_line", "every": "every_line", "all": "every_line", "no": "no_line"}
_WORDS = {kind: word for word, kind in reversed(QUANTIFIERS.items())}
_NUMBERS = (FieldType.INTEGER, FieldType.MONEY)
_SIGNS = {"eq": "=", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_SPELT = {
    **{sign: name for name, sign in _SIGNS.items()},
    "==": "eq",
    "<>": "ne",
    "is": "eq",
    "is not": "ne",
    **{name.replace("_", " "): name for name in OPERATORS},
    **{name: name for name in OPERATORS},
}
_OPPOSITE = {"eq": "ne", "ne": "eq", "in": "not_in", "not_in": "in", "exists": "absent", "absent": "exists"}
_SEVERAL = {"eq": "in", "ne": "not_in", "contains": "contains_any"}
_SINGLE = {
    "in": "eq",
    "not_in": "ne",
    "contains_any": "contains",
    "contains_all": "contains",
    "starts_with": "starts_with",
    "ends_with": "ends_with",
}
_STOCK = {"stock covers all": "all", "stock covers any": "any"}


# ------------------------------------------------------------------ the text of a cell

_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*|([^|]*))(\||\Z)')
_NEEDS_QUOTES = re.compile(r'["|]|\.\.|^[<>=!+@\-(#*]|^(?:not\s|list:)|^\s|\s$', re.IGNORECASE)


@frozen
class Item:
    """One entry of a cell; a quoted one means what it says, letter by letter."""

    text: str
    is_quoted: bool


def items(text: str) -> list[Item]:
    """
    The entries of a cell, which stand between bars.

    Raises:
        Bad: An entry is empty, or a quotation mark is never closed.

    Example:
        >>> [item.text for item in items('GB | "A|B"|5" pipe')]
        ['GB', 'A|B', '5" pipe']
    """
    found: list[Item] = []
    position, more = 0, True
    while more:
        match = _ITEM.match(text, position)
        if match is None or (match[1] is None and match[2].lstrip().startswith('"')):
            raise Bad("a quotation mark that is never closed", found=text, expected='"..." around a whole entry')
        found.append(_item(match, text))
        position, more = match.end(), match[3] == "|"
    return found


def _item(match: re.Match[str], text: str) -> Item:
    if match[1] is not None:
        return Item(match[1].replace('""', '"'), True)
    if not match[2].strip():
        raise Bad("an empty entry", found=text, expected="a value on each side of |")
    return Item(match[2].strip(), False)


def quoted(text: str) -> str:
    """
    *text* as an entry of a cell, in quotation marks where it would mean something else without.

    Example:
        >>> quoted("GB"), quoted("=cmd|x")
        ('GB', '"=cmd|x"')
    """
    return '"' + text.replace('"', '""') + '"' if not text or _NEEDS_QUOTES.search(text) else text


def unquoted(text: str) -> str:
    """Free text of a cell; quotation marks around the whole of it fall away."""
    whole = re.fullmatch(r'\s*"((?:[^"]|"")*)"\s*', text)
    return whole[1].replace('""', '"') if whole else text.strip()


# ------------------------------------------------------------------ a heading


@frozen
class Column:
    """
    What a column asks.

    Args:
        kind: ``test``, ``use`` or ``stock``.

        field: Test only.

        op: A built-in operator, ``None`` where the cells say it themselves; of stock, what is to be covered.

        over: ``any_line``, ``every_line``, ``no_line``, ``sum_lines``, or ``None``.

        modifiers: ``ignore_case``, ``currency``, ``zone``.
    """

    kind: str
    field: Field | None = None
    op: str | None = None
    over: str | None = None
    modifiers: Mapping[str, Any] = attrs.field(factory=immutabledict, converter=immutabledict)
    operator: OperatorType | None = None

    @property
    def heading(self) -> str:
        """The text of its heading."""
        if self.kind == "use":
            return "use"
        if self.kind == "stock":
            return f"stock covers {self.op}"
        assert self.field is not None
        over = "sum" if self.over == "sum_lines" else _WORDS.get(self.over or "", "")
        word = _SIGNS.get(self.op or "", self.op or "")
        return " ".join(filter(None, [over, self.field.name, word, _bracketed(self.modifiers)]))


def _bracketed(modifiers: Mapping[str, Any]) -> str:
    words = ["ignore case" if name == "ignore_case" else str(value) for name, value in modifiers.items()]
    return f"[{', '.join(words)}]" if words else ""


def read_heading(
    text: str,
    operators: Mapping[str, OperatorType] = immutabledict(),
    fields: Mapping[str, RuleField] = immutabledict(),
) -> Column:
    """
    The column that a heading stands for.

    Raises:
        Bad: There is no such field or operator, or they do not fit.

    Example:
        >>> column = read_heading("any line.sku in")
        >>> column.over, column.field.name, column.op
        ('any_line', 'line.sku', 'in')
    """
    plain = " ".join(text.split())
    if plain.lower() == "use":
        return Column("use")
    if plain.lower() in _STOCK:
        return Column("stock", op=_STOCK[plain.lower()])
    modifiers, rest = _modifiers(plain)
    over, rest = _quantifier(rest, fields)
    name, op = _split_operator(rest, operators)
    found = fields[name].as_field() if name in fields else _field_of(name, fields)
    _check_scope(found, over)
    column = Column("test", found, op if ":" not in (op or "") else None, over, modifiers, operators.get(op or ""))
    _check_operator(column, op)
    return column


def _modifiers(text: str) -> tuple[dict[str, Any], str]:
    match = re.fullmatch(r"(.*\S)\s*\[([^\[\]]*)\]", text)
    if match is None:
        return {}, text
    found: dict[str, Any] = {}
    for word in (each.strip() for each in match[2].split(",")):
        if word.lower() == "ignore case":
            found["ignore_case"] = True
        elif re.fullmatch("[A-Z]{3}", word) and word != "UTC":
            found["currency"] = word
        else:
            found["zone"] = word
    return found, match[1]


def _quantifier(text: str, fields: Collection[str]) -> tuple[str | None, str]:
    word, _, rest = text.partition(" ")
    if not rest.lower().startswith("line.") and rest.partition(" ")[0] not in fields:
        return None, text
    if word.lower() == "sum":
        return "sum_lines", rest
    if word.lower() not in QUANTIFIERS:
        raise Bad("unknown word before a field of a line", found=word, expected="any, every, no or sum")
    return QUANTIFIERS[word.lower()], rest


def _split_operator(text: str, operators: Mapping[str, OperatorType]) -> tuple[str, str | None]:
    words = text.split(" ")
    for count in (2, 1):
        last = " ".join(words[-count:])
        if len(words) > count and (last.lower() in _SPELT or last in operators):
            return " ".join(words[:-count]), _SPELT.get(last.lower(), last)
    if len(words) > 1 and "properties." not in words[0].lower() and find_field(words[0]) is not None:
        said = " ".join(words[1:])
        raise Bad("unknown operator", found=said, expected=nearest(said, [*_SPELT, *operators]))
    return text, None


def _field_of(name: str, fields: Collection[str]) -> Field:
    found = find_field(name) or find_field(name.lower())
    if found is None:
        raise Bad("unknown field", found=name, expected=nearest(name, [*FIELDS, *fields, "properties.<name>"]))
    return found


def _check_scope(found: Field, over: str | None) -> None:
    if found.scope == "line" and over is None:
        raise Bad("a field of a line", found=found.name, expected=f"any {found.name}, every, no or sum before it")
    if over == "sum_lines" and found.type not in _NUMBERS:
        raise Bad("not a number of a line", found=found.name, expected="sum line.quantity")


def _check_operator(column: Column, op: str | None) -> None:
    assert column.field is not None
    fitting = [each.name for each in OPERATORS.values() if column.field.type in each.types]
    if column.operator is None and op is not None and op not in fitting:
        raise Bad(f"does not fit {column.field.name}", found=op, expected=f"one of {' '.join(fitting)}")
    if column.over == "sum_lines" and op not in (None, "between", *_SIGNS):
        raise Bad("does not fit a sum", found=op, expected=f"between {' '.join(_SIGNS.values())}, or none")
    if op is None and column.operator is None and column.field.type is FieldType.INSTANT:
        raise Bad(f"{column.field.name} without an operator", expected=f"one of {' '.join(fitting)}")


# ------------------------------------------------------------------ from a cell to a condition


def condition_of(column: Column, text: str) -> Any:
    """
    The condition that the cell *text* of *column* stands for.

    Raises:
        Bad: The text does not fit the column.

    Example:
        >>> condition_of(read_heading("ship_to.country"), "not GB|IE")
        {'field': 'ship_to.country', 'op': 'not_in', 'value': ['GB', 'IE']}
        >>> condition_of(read_heading("total >="), "19.99")
        {'field': 'total', 'op': 'ge', 'value': Decimal('19.99')}
    """
    negation = re.match(r"\s*not\s+(?=\S)", text, re.IGNORECASE)
    rest = text[negation.end() :] if negation else text
    if column.kind != "test":
        return _negated(_of_order(column, rest)) if negation else _of_order(column, rest)
    if column.over == "sum_lines":
        summed = _summed(column, rest)
        return _negated(summed) if negation else summed
    test = _test(column, rest)
    inner = _negated(test) if negation else test
    return {column.over: inner} if column.over else inner


def _of_order(column: Column, text: str) -> Any:
    if column.kind == "use":
        return {"use": unquoted(text)}
    places = [item.text for item in items(text)]
    return {"stock": {"at": places[0] if len(places) == 1 else places, "covers": column.op}}


def _negated(condition: Any) -> Any:
    if condition.get("sum_lines", {}).get("op") in ("eq", "ne"):
        return {"sum_lines": _negated(condition["sum_lines"])}
    opposite = _OPPOSITE.get(condition.get("op", ""))
    return {**condition, "op": opposite} if "field" in condition and opposite else {"not": condition}


def _summed(column: Column, text: str) -> Any:
    test = _test(column, text)
    if test["op"] not in (*_SIGNS, "between"):
        raise Bad("does not fit a sum", found=text, expected="one number, a comparison such as >=20, or a range")
    return {"sum_lines": test}


def _test(column: Column, text: str) -> dict[str, Any]:
    assert column.field is not None
    op, value = _asked(column, column.field, text)
    body: dict[str, Any] = {"field": column.field.name, "op": op}
    if value is None:
        return body
    return {**body, "value": value, **column.modifiers}


def _asked(column: Column, asked: Field, text: str) -> tuple[str, Any]:
    if column.operator is not None:
        return column.operator.name, _of_plugin(text)
    if column.op is None:
        return _self_said(asked, text)
    operator = OPERATORS[column.op]
    if operator.operand is Operand.NONE:
        return (column.op if _yes(text) else _OPPOSITE[column.op]), None
    return _several(column.op, _READERS[operator.operand](asked, text))


def _several(op: str, value: Any) -> tuple[str, Any]:
    if not isinstance(value, list | dict) or op not in _SEVERAL:
        return op, value
    return _SEVERAL[op], value


def _of_plugin(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        return unquoted(text)


_PLAIN = "a value, in quotes if it is meant so"
_COMPARED = re.compile(r"(<=|>=|<>|!=|<|>|=)\s*(.*)", re.DOTALL)


def _self_said(asked: Field, text: str) -> tuple[str, Any]:
    """A cell under a heading without an operator."""
    plain = text.strip()
    if plain.lower() in ("(exists)", "(absent)"):
        return plain.lower().strip("()"), None
    if asked.type is FieldType.SET:
        return _several("contains", _one_or_more(asked, text))
    compared = _COMPARED.fullmatch(plain)
    if asked.type in _NUMBERS:
        if compared:
            return _several(_SPELT[compared[1]], _one_or_more(asked, compared[2]))
        if ".." in plain:
            return _range(asked, plain)
    elif compared:
        raise Bad(
            f"a comparison does not fit {asked.name}", found=text, expected="a value, in quotes if it is meant so"
        )
    return _several("eq", _one_or_more(asked, text))


def _range(asked: Field, text: str) -> tuple[str, Any]:
    low, _, high = text.partition("..")
    if low.strip() and high.strip():
        return "between", [_value(asked, Item(low.strip(), False)), _value(asked, Item(high.strip(), False))]
    if low.strip() or high.strip():
        return ("ge" if low.strip() else "le"), _value(asked, Item((low + high).strip(), False))
    raise Bad("a range without an end", found=text, expected="10..20, 10.. or ..20")


def _one_or_more(asked: Field, text: str) -> Any:
    named = re.fullmatch(r"\s*list:\s*(.*\S)\s*", text, re.IGNORECASE)
    if named:
        return {"list": unquoted(named[1])}
    values = [_value(asked, item) for item in items(text)]
    return values[0] if len(values) == 1 else values


def _as_list(asked: Field, text: str) -> Any:
    value = _one_or_more(asked, text)
    return value if isinstance(value, list | dict) else [value]


def _value(asked: Field, item: Item) -> Any:
    if asked.type is FieldType.INTEGER:
        return _whole(item.text)
    if asked.type is FieldType.MONEY:
        return _amount(item.text)
    if not item.is_quoted and ".." in item.text:
        raise Bad(
            f"a range does not fit {asked.name}", found=item.text, expected="a value, in quotes if it is meant so"
        )
    return item.text


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise Bad("wrong value", found=text, expected="a whole number")
    return int(text)


def _amount(text: str) -> int | Decimal:
    if not re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{1,9})?", text):
        raise Bad("wrong value", found=text, expected="an amount such as 19.99")
    amount = Decimal(text)
    return amount if amount % 1 else int(amount)


def _two(asked: Field, text: str) -> list[Any]:
    low, separator, high = text.partition("..")
    if not separator or not low.strip() or not high.strip():
        raise Bad("wrong value", found=text, expected="two values, 10..20")
    return [_value(asked, Item(low.strip(), False)), _value(asked, Item(high.strip(), False))]


def _raw(asked: Field, text: str) -> str:
    return unquoted(text)


_DURATION = re.compile(r"([0-9]{1,7})\s*([a-z]+)")
_UNITS = {unit[0]: unit for unit in ("weeks", "days", "hours", "minutes", "seconds")}


def _duration(asked: Field, text: str) -> dict[str, int]:
    parts = _DURATION.findall(text.lower())
    units = [next((unit for unit in _UNITS.values() if unit.startswith(word)), None) for _, word in parts]
    rest = _DURATION.sub("", text.lower()).replace("and", "").strip(" ,")
    if not parts or rest or None in units or len(set(units)) < len(units):
        raise Bad("wrong value", found=text, expected="a duration such as 48 hours, or 1 day 12 hours")
    return {str(unit): int(count) for (count, _), unit in zip(parts, units, strict=True)}


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _weekdays(asked: Field, text: str) -> list[Any]:
    found: list[Any] = []
    for item in items(text):
        first, is_range, last = (part.strip() for part in item.text.lower().partition(".."))
        if not is_range:
            found.append(int(first) if first.isdecimal() and first.isascii() else first)
        elif first in _DAYS and last in _DAYS:
            start, end = _DAYS.index(first), _DAYS.index(last)
            found += _DAYS[start : end + 1] if start <= end else _DAYS[start:] + _DAYS[: end + 1]
        else:
            raise Bad("wrong value", found=item.text, expected="weekdays such as mon..fri or sat|sun")
    return found


def _yes(text: str) -> bool:
    word = text.strip().lower()
    if word not in _YES | _NO:
        raise Bad("wrong value", found=text, expected="yes or no")
    return word in _YES


_YES = frozenset({"yes", "true", "y", "x", "1"})
_NO = frozenset({"no", "false", "n", "0"})
_READERS: Mapping[Operand, Callable[[Field, str], Any]] = {
    Operand.ONE: _one_or_more,
    Operand.MANY: _as_list,
    Operand.SOME: _one_or_more,
    Operand.PAIR: _two,
    Operand.PATTERN: _raw,
    Operand.INSTANT: _raw,
    Operand.DURATION: _duration,
    Operand.WEEKDAYS: _weekdays,
    Operand.TIMES: _two,
}


# ------------------------------------------------------------------ from a condition to a cell


def normal(condition: Any) -> Any:
    """
    One spelling for conditions that are plainly the same: a list of one value, `not` of an equality, money as text.

    Example:
        >>> normal({"not": {"field": "channel", "op": "in", "value": ["ebay"]}})
        {'field': 'channel', 'op': 'ne', 'value': 'ebay'}
    """
    if not isinstance(condition, dict):
        return condition
    inner = {key: value for key, value in condition.items() if key != "about"}
    for kind in (*QUANTIFIERS.values(), "not", "sum_lines"):
        if kind in inner:
            inner[kind] = normal(inner[kind])
    if "not" in inner:
        return _without_not(inner["not"])
    return _normal_test(inner) if "field" in inner else inner


def _without_not(inner: Any) -> Any:
    if not isinstance(inner, dict):
        return {"not": inner}
    if "no_line" in inner:
        return {"any_line": inner["no_line"]}
    if "any_line" in inner:
        return {"no_line": inner["any_line"]}
    if "every_line" in inner:
        return {"any_line": normal({"not": inner["every_line"]})}
    return inner["not"] if "not" in inner else _negated(inner)


def _normal_test(test: dict[str, Any]) -> dict[str, Any]:
    op, value = test["op"], test.get("value")
    if op in _SINGLE and isinstance(value, list) and len(value) == 1:
        test = {**test, "op": _SINGLE[op], "value": value[0]}
    if test.get("ignore_case") is False:
        test = {key: each for key, each in test.items() if key != "ignore_case"}
    found = find_field(test["field"])
    if found is not None and found.type is FieldType.MONEY and "value" in test:
        test = {**test, "value": _normal_money(test["value"])}
    return test


def _normal_money(value: Any) -> Any:
    if isinstance(value, list):
        return [_normal_money(each) for each in value]
    return Decimal(str(value)) if isinstance(value, str | int | float | Decimal) else value


def column_of(condition: Any) -> Column | None:
    """The column under which the normal *condition* can stand, or ``None`` where there is none."""
    if not isinstance(condition, dict):
        return None
    if "use" in condition:
        return Column("use")
    if "stock" in condition:
        return Column("stock", op=condition["stock"]["covers"])
    if "not" in condition:
        return column_of(condition["not"])
    over = next((kind for kind in (*_WORDS, "sum_lines") if kind in condition), None)
    test = condition[over] if over else condition
    while isinstance(test, dict) and "not" in test:
        test = test["not"]
    return _column_of_test(test, over) if isinstance(test, dict) and "field" in test and "where" not in test else None


def _column_of_test(test: dict[str, Any], over: str | None) -> Column | None:
    found = find_field(test["field"])
    if found is None or ":" in test["op"]:
        return None
    modifiers: dict[str, Any] = {name: test[name] for name in ("ignore_case", "currency", "zone") if name in test}
    bare = _said_by_cell(found)
    return Column("test", found, None if test["op"] in bare else test["op"], over, modifiers)


def _said_by_cell(found: Field) -> tuple[str, ...]:
    match found.type:
        case FieldType.SET:
            return ("contains", "contains_any")
        case FieldType.INSTANT:
            return ()
        case FieldType.TEXT | FieldType.CHOICE:
            return ("eq", "ne", "in", "not_in", "exists", "absent")
        case _:
            return ("between", "in", "not_in", "exists", "absent", *_SIGNS)


def placed(condition: Any) -> tuple[Column, str] | None:
    """
    The column and the cell that stand for *condition*; ``None`` where it does not fit one.

    Example:
        >>> column, cell = placed({"field": "total", "op": "between", "value": [10, 20]})
        >>> column.heading, cell
        ('total', '10..20')
    """
    wanted = normal(condition)
    column = column_of(wanted)
    if column is None:
        return None
    cell = _cell(wanted, column)
    try:
        again = read_heading(column.heading)
        is_same = normal(condition_of(again, cell)) == wanted
    except Bad:
        return None
    return (column, cell) if is_same else None


def _cell(condition: Any, column: Column) -> str:
    if "not" in condition:
        return f"not {_cell(condition['not'], column)}"
    if "use" in condition:
        return quoted(condition["use"])
    if "stock" in condition:
        at = condition["stock"]["at"]
        return _joined([at] if isinstance(at, str) else at)
    if column.over in condition:
        return _cell(condition[column.over], column)
    return _cell_of_test(condition["op"], condition.get("value"), column)


def _cell_of_test(op: str, value: Any, column: Column) -> str:
    if op in ("exists", "absent"):
        return f"({op})" if column.op is None else "yes"
    if column.op is None:
        return _self_said_cell(op, value, column)
    return _WRITERS.get(OPERATORS[op].operand, _joined_value)(value)


def _self_said_cell(op: str, value: Any, column: Column) -> str:
    if op == "between":
        return _range_cell(value)
    if op in ("ne", "not_in"):
        return f"not {_joined_value(value)}"
    sign = _SIGNS[op] if op in ("lt", "le", "gt", "ge") else ""
    return sign + _joined_value(value)


def _joined_value(value: Any) -> str:
    if isinstance(value, dict):
        return f"list:{quoted(value['list'])}"
    return _joined(value if isinstance(value, list) else [value])


def _joined(values: Iterable[Any]) -> str:
    return "|".join(quoted(value) if isinstance(value, str) else _digits(value) for value in values)


def _digits(value: Any) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _range_cell(value: Any) -> str:
    return "..".join(each if isinstance(each, str) else _digits(each) for each in value)


def _duration_cell(value: Any) -> str:
    return " ".join(f"{count} {unit}" for unit, count in value.items())


def _text_cell(value: Any) -> str:
    return '"' + str(value).replace('"', '""') + '"'


_WRITERS: Mapping[Operand, Callable[[Any], str]] = {
    Operand.PAIR: _range_cell,
    Operand.PATTERN: _text_cell,
    Operand.INSTANT: str,
    Operand.DURATION: _duration_cell,
    Operand.TIMES: _range_cell,
}
