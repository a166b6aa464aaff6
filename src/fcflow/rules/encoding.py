"""
Conditions for a solver: each becomes two formulas, when it is true and when it is false; unknown is neither.

The encoding never leaves an order out: whatever it cannot say exactly (regular expressions, operators of plugins,
what stands in the middle of a text) is free to be true or false. So *no solution* is a proof, and a solution is only a
proposal, to be run through the rules. Lines are witnesses: one for each condition over lines, and a rest that is
only counted and summed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Any

from attrs import frozen

from fcflow.errors import MissingExtraError
from fcflow.rules.analysis import content
from fcflow.rules.fields import Field, FieldType, find_field, postcode_area
from fcflow.rules.operators import checker
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
    walk,
)
from fcflow.rules.witness import NOW, Draft

try:
    import z3
except ImportError as error:  # this module is imported by functions that need the extra
    raise MissingExtraError("analysis", "z3") from error

__all__ = ["Encoding"]

MAX_LINES = 6
_TRUE, _FALSE = z3.BoolVal(True), z3.BoolVal(False)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UK = ("GB", "GG", "IM", "JE")
_EXACT = frozenset({"eq", "ne", "in", "not_in", "starts_with"})
_PRODUCTS = ("line.total_weight_g", "line.total_price")
_TEXTS = (FieldType.TEXT, FieldType.CHOICE)

Pair = tuple[Any, Any]


def _and(parts: Iterable[Any]) -> Any:
    left = [part for part in parts if part is not _TRUE]
    if any(part is _FALSE for part in left):
        return _FALSE
    return left[0] if len(left) == 1 else z3.And(left) if left else _TRUE


def _or(parts: Iterable[Any]) -> Any:
    left = [part for part in parts if part is not _FALSE]
    if any(part is _TRUE for part in left):
        return _TRUE
    return left[0] if len(left) == 1 else z3.Or(left) if left else _FALSE


def _not(part: Any) -> Any:
    if part is _TRUE or part is _FALSE:
        return _FALSE if part is _TRUE else _TRUE
    return z3.Not(part)


def _bool(value: bool) -> Any:
    return _TRUE if value else _FALSE


# ------------------------------------------------------------------ texts


@frozen
class _Text:
    """
    A kind of text that all tests of the field judge alike.

    Args:
        text: The text itself, or how it begins.

        is_open: Whether it goes on in a way that no literal does.
    """

    text: str
    is_open: bool


def _variants(word: str) -> Iterator[str]:
    """Ways to write *word* in other letters of the same case folding."""
    yield from (word, word.lower(), word.upper(), word.swapcase(), word.title())
    choices = ({letter.lower(), letter.upper()} for letter in word[:6])
    yield from ("".join(letters) + word[6:] for letters in product(*map(sorted, choices)))


def _texts_of(field: Field, tests: Sequence[Test], more: Iterable[str]) -> list[_Text]:
    if field.type is FieldType.CHOICE:
        return [_Text(choice, False) for choice in field.choices]
    literals: dict[str, None] = dict.fromkeys(more)
    stems: dict[str, None] = {"": None}
    for test in tests:
        values = test.value if isinstance(test.value, tuple) else (test.value,)
        into = stems if test.op == "starts_with" else literals if test.op in _EXACT else None
        if into is None:
            continue
        for value in values:
            into.update(dict.fromkeys(_variants(value)) if test.ignore_case else {value: None})
    kinds = [_Text(text, False) for text in literals if _fits(field, text)]
    return kinds + [_Text(stem, True) for stem in stems]


def _fits(field: Field, text: str) -> bool:
    return field.code is None or re.fullmatch(field.code, text) is not None


@frozen
class _Variable:
    """A field of the order or of one line: whether it is there, and its value."""

    field: Field
    present: Any
    value: Any
    kinds: tuple[_Text, ...] = ()


class Encoding:
    """
    Several conditions about the same order.

    Args:
        nodes: All conditions that will be asked for; their literals make the finite world of texts.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        every = [each for node in nodes for each in walk(node)]
        self.axioms: list[Any] = []
        self._tests: dict[str, list[Test]] = {}
        self._nodes = list(nodes)
        for each in every:
            if isinstance(each, Test):
                self._tests.setdefault(each.field.name, []).append(each)
        self._currencies = {each.currency for each in every if isinstance(each, Test | SumLines) and each.currency}
        self._variables: dict[tuple[str, int | None], _Variable] = {}
        self._atoms: dict[Any, Any] = {}
        self._pairs: dict[tuple[int, int | None], Pair] = {}
        self._owned: dict[Any, int] = {}
        over = [each for each in every if isinstance(each, Lines)]
        counted = [each for each in every if isinstance(each, CountLines | SumLines)]
        self.own_lines = min(MAX_LINES, max(1, len({content(each) for each in over})))
        self.line_count = min(MAX_LINES, self.own_lines + (3 if counted else 0)) + 1
        self._lines = [z3.Bool(f"line{number}") for number in range(self.line_count)]
        self.rest = z3.Int("rest")
        self._rest_units = z3.Int("rest.units")
        self.axioms += [
            z3.Implies(later, earlier) for earlier, later in zip(self._lines, self._lines[1:], strict=False)
        ]
        self.axioms += [self.rest >= 0, self._rest_units >= self.rest, (self.rest == 0) == (self._rest_units == 0)]
        self.axioms.append(z3.Implies(self.rest > 0, self._lines[-1]))

    # -------------------------------------------------------------- conditions

    def both(self, node: Node, line: int | None = None) -> Pair:
        """When *node* is true and when it is false."""
        key = (id(node), line)
        if key not in self._pairs:
            self._nodes.append(node)
            self._pairs[key] = self._both(node, line)
        return self._pairs[key]

    def matches(self, node: Node, if_unknown: bool) -> Any:
        """When a rule with this condition matches."""
        true, false = self.both(node)
        return _not(false) if if_unknown else true

    def _both(self, node: Node, line: int | None) -> Pair:
        match node:
            case Truth():
                return _TRUE, _FALSE
            case AllOf():
                pairs = [self.both(part, line) for part in node.parts]
                return _and(true for true, _ in pairs), _or(false for _, false in pairs)
            case AnyOf():
                pairs = [self.both(part, line) for part in node.parts]
                return _or(true for true, _ in pairs), _and(false for _, false in pairs)
            case Not():
                true, false = self.both(node.part, line)
                return false, true
            case Named():
                return self.both(node.part, line)
            case Test():
                return self._test(node, line)
            case Lines():
                return self._over_lines(node)
            case CountLines():
                return self._count(node)
            case SumLines():
                return self._sum(node)
            case Stock():
                pairs = [self._stock(place, node.covers) for place in node.at]
                return _or(true for true, _ in pairs), _and(false for _, false in pairs)
            case StockAge():
                return self._stock_age(node)
            case Measured():
                return self._measured(node)

    def _free(self, key: Any) -> Pair:
        """A condition of which nothing is known but that it is not true and false at once."""
        true, false = self.atom(("true", key)), self.atom(("false", key))
        if ("apart", key) not in self._atoms:
            self._atoms["apart", key] = None
            self.axioms.append(_not(z3.And(true, false)))
        return true, false

    def atom(self, key: Any, make: Callable[[str], Any] = z3.Bool) -> Any:
        """A variable of this solver for *key*, made when it is first asked for."""
        if key not in self._atoms:
            self._atoms[key] = make(f"atom{len(self._atoms)}")
        return self._atoms[key]

    # -------------------------------------------------------------- tests of a field

    def _test(self, test: Test, line: int | None) -> Pair:
        at = line if test.field.scope == "line" else None
        if ":" in test.field.name:
            return self._free((content(test), at))
        if test.field.type is FieldType.SET:
            return self._free((content(test), at)) if test.operator is not None else self._members(test)
        variable = self.variable(test.field, at)
        if test.op in ("exists", "absent"):
            there = variable.present, _not(variable.present)
            return there if test.op == "exists" else there[::-1]
        if test.operator is not None:
            true, false = self._free((content(test), at))
            return _and([variable.present, true]), _and([variable.present, false])
        if test.field.type in _TEXTS:
            return self._text_test(test, variable, at)
        present = variable.present
        if test.field.type is FieldType.MONEY:
            present = _and([present, self._in_currency(test.currency)])
        true = self._number_test(test, variable, at)
        return _and([present, true]), _and([present, _not(true)])

    def variable(self, field: Field, line: int | None) -> _Variable:
        """The variable of a field; made when it is first asked for."""
        key = (field.name, line)
        if key not in self._variables:
            name = field.name if line is None else f"{field.name}@{line}"
            present = _TRUE if field.always else z3.Bool(f"{name}?")
            if field.type in _TEXTS:
                more = sorted(self._currencies) if field.name == "currency" else ()
                kinds = tuple(_texts_of(field, self._tests.get(field.name, ()), more))
                value = z3.Int(name)
                self.axioms += [value >= 0, value < len(kinds)]
                self._variables[key] = _Variable(field, present, value, kinds)
            else:
                value = z3.Real(name) if field.type is FieldType.MONEY else z3.Int(name)
                self._variables[key] = _Variable(field, present, value)
                self._bound(field, line)
        return self._variables[key]

    def _in_currency(self, currency: str | None) -> Any:
        field = find_field("currency")
        assert field is not None  # it stands in the catalogue
        variable = self.variable(field, None)
        kinds = [number for number, kind in enumerate(variable.kinds) if kind == _Text(currency or "", False)]
        return _and([variable.present, _or(variable.value == number for number in kinds)])

    def _text_test(self, test: Test, variable: _Variable, at: int | None) -> Pair:
        check = checker(test.field.type, test.op, test.value, ignore_case=test.ignore_case)
        trues, falses = [], []
        for number, kind in enumerate(variable.kinds):
            true, false = self._judged(test, kind, check, at)
            here = variable.value == number
            trues.append(_and([here, true]))
            falses.append(_and([here, false]))
        return _and([variable.present, _or(trues)]), _and([variable.present, _or(falses)])

    def _judged(self, test: Test, kind: _Text, check: Any, at: int | None) -> Pair:
        if not kind.is_open:
            found = check(kind.text, None)
            return _bool(found is True), _bool(found is False)
        if test.op in ("eq", "in"):
            return _FALSE, _TRUE
        if test.op in ("ne", "not_in"):
            return _TRUE, _FALSE
        if test.op == "starts_with":
            found = bool(check(kind.text, None))
            return _bool(found), _bool(not found)
        if test.op == "matches":
            return self._free((content(test), at))
        pieces = test.value if isinstance(test.value, tuple) else (test.value,)
        inside = [self._piece(test, piece, kind, at) for piece in pieces]
        true = _and(inside) if test.op == "contains_all" else _or(inside)
        return true, _not(true)

    def _piece(self, test: Test, piece: str, kind: _Text, at: int | None) -> Any:
        stem = kind.text.casefold() if test.ignore_case else kind.text
        wanted = piece.casefold() if test.ignore_case else piece
        if test.op != "ends_with" and wanted in stem:
            return _TRUE
        how = "ends" if test.op == "ends_with" else "contains"
        return self.atom((how, test.field.name, at, wanted, test.ignore_case))

    def _members(self, test: Test) -> Pair:
        values = test.value if isinstance(test.value, tuple) else (test.value,)
        inside = [self._member(value, test.ignore_case) for value in values]
        true = _and(inside) if test.op == "contains_all" else _or(inside)
        return true, _not(true)

    def _member(self, value: str, fold: bool) -> Any:
        if not fold:
            return self.atom(("tag", value))
        folded = value.casefold()
        exact = [
            each
            for test in self._tests["tags"]
            if not test.ignore_case
            for each in (test.value if isinstance(test.value, tuple) else (test.value,))
            if each.casefold() == folded
        ]
        return _or([self.atom(("folded tag", folded)), *(self.atom(("tag", each)) for each in dict.fromkeys(exact))])

    def _number_test(self, test: Test, variable: _Variable, at: int | None) -> Any:
        value = variable.value
        if test.field.type is FieldType.INSTANT:
            return self._instant_test(test, value, at)
        if test.op in ("in", "not_in"):
            inside = _or(value == _number(each) for each in test.value)
            return inside if test.op == "in" else _not(inside)
        return _compared(test.op, value, test.value)

    def _instant_test(self, test: Test, value: Any, at: int | None) -> Any:
        now = find_field("now")
        assert now is not None  # it stands in the catalogue
        if test.op in ("before", "after"):
            wanted = self.variable(now, None).value if test.value == "now" else _number(test.value)
            return value < wanted if test.op == "before" else value > wanted
        if test.op in ("within_last", "within_next"):
            here, span = self.variable(now, None).value, _number(test.value)
            low, high = (here - span, here) if test.op == "within_last" else (here, here + span)
            return z3.And(value >= low, value <= high)
        zone = test.zone.key if test.zone is not None else "UTC"
        if test.op == "weekday_in":
            day = self._clock(("weekday", test.field.name, at, zone), 1, 7)
            return _or(day == number for number in test.value)
        if test.op == "time_between":
            clock = self._clock(("clock", test.field.name, at, zone), 0, 86_400_000_000 - 1)
            start, end = map(_of_day, test.value)
            parts = (clock >= start, clock < end)
            return z3.And(parts) if start < end else z3.Or(parts)
        return _compared(test.op, value, test.value)

    def _clock(self, key: Any, low: int, high: int) -> Any:
        is_new = key not in self._atoms
        made = self.atom(key, z3.Int)
        if is_new:
            self.axioms += [made >= low, made <= high]
        return made

    # -------------------------------------------------------------- numbers that hang together

    def _bound(self, field: Field, line: int | None) -> None:
        value = self._variables[field.name, line].value
        match field.name:
            case "line.quantity":
                self.axioms.append(value >= 1)
            case "line.weight_g":
                self.axioms.append(value >= 0)
            case "line.total_weight_g" | "line.total_price":
                self._bound_product(field, line)
            case "line_count":
                self.axioms.append(value == z3.Sum([z3.If(each, 1, 0) for each in self._lines]) + self.rest)
            case "total_quantity":
                units = [self.variable(_catalogued("line.quantity"), n).value for n in range(self.line_count)]
                self.axioms.append(value == self._sum_over(units) + self._rest_units)
            case "total_weight_g":
                self._bound_total(field, "line.total_weight_g")
            case "goods_total":
                self._bound_total(field, "line.total_price")

    def _sum_over(self, values: Sequence[Any]) -> Any:
        return z3.Sum([z3.If(line, value, 0) for line, value in zip(self._lines, values, strict=True)])

    def _bound_product(self, field: Field, line: int | None) -> None:
        """Price or weight of all units of a line; exact for one unit, else no more than its sign and size."""
        of_one = "line.weight_g" if field.name == "line.total_weight_g" else "line.unit_price"
        total, one = self._variables[field.name, line], self.variable(_catalogued(of_one), line)
        units = self.variable(_catalogued("line.quantity"), line).value
        self.axioms += [total.present == one.present, z3.Implies(units == 1, total.value == one.value)]
        self.axioms.append(z3.Implies(one.value == 0, total.value == 0))
        self.axioms.append(z3.Implies(one.value >= 0, total.value >= one.value))
        self.axioms.append(z3.Implies(one.value <= 0, total.value <= one.value))

    def _bound_total(self, field: Field, part: str) -> None:
        total = self._variables[field.name, None]
        lines = [self.variable(_catalogued(part), number) for number in range(self.line_count)]
        rest = z3.Real(f"{field.name}.rest") if field.type is FieldType.MONEY else z3.Int(f"{field.name}.rest")
        known = z3.Bool(f"{field.name}.rest?")
        everywhere = [z3.Implies(line, each.present) for line, each in zip(self._lines, lines, strict=True)]
        self.axioms.append(total.present == z3.And(*everywhere, known))
        self.axioms.append(total.value == self._sum_over([each.value for each in lines]) + rest)
        self.axioms.append(z3.Implies(self.rest == 0, z3.And(rest == 0, known)))
        if field.type is not FieldType.MONEY:
            self.axioms.append(rest >= 0)

    # -------------------------------------------------------------- lines

    def _over_lines(self, node: Lines) -> Pair:
        """Some line, or a line of the rest where there are more conditions over lines than lines of their own."""
        pairs = [self.both(node.part, number) for number in range(self.line_count)]
        if node.kind == "every_line":
            pairs = [(false, true) for true, false in pairs]
        place = self._owned.setdefault(content(node), len(self._owned))
        here = list(zip(self._lines, pairs, strict=True))
        some = [z3.And(line, true) for line, (true, _) in here if true is not _FALSE]
        none = [z3.Or(_not(line), false) for line, (_, false) in here]
        if place >= self.own_lines:
            true, false = self._free(("rest", content(node)))
            there = self.rest > 0
            some.append(z3.And(there, true))
            none.append(z3.Or(_not(there), false))
        pair = _or(some), _and(none)
        return pair if node.kind == "any_line" else pair[::-1]

    def _where(self, node: CountLines | SumLines) -> list[Pair]:
        if node.where is None:
            return [(_TRUE, _FALSE)] * self.line_count
        return [self.both(node.where, number) for number in range(self.line_count)]

    def _count(self, node: CountLines) -> Pair:
        where = self._where(node)
        key = ("count", None if node.where is None else content(node.where))
        is_new = ("surely", key) not in self._atoms
        rest, more = self.atom(("surely", key), z3.Int), self.atom(("maybe", key), z3.Int)
        if is_new:
            self.axioms += [rest >= 0, more >= 0, rest + more <= self.rest]
            self.axioms += [rest == self.rest] if node.where is None else []
        here = list(zip(self._lines, where, strict=True))
        surely = z3.Sum([z3.If(z3.And(line, true), 1, 0) for line, (true, _) in here]) + rest
        maybe = z3.Sum([z3.If(z3.And(line, _not(true), _not(false)), 1, 0) for line, (true, false) in here]) + more
        return _agreed(node.op, surely, surely + maybe, node.value)

    def _sum(self, node: SumLines) -> Pair:
        where = self._where(node)
        is_money = node.field.type is FieldType.MONEY
        key = ("sum", node.field.name, None if node.where is None else content(node.where))
        rest, known = self.atom(("rest", key), z3.Real if is_money else z3.Int), self.atom(("known", key))
        self.axioms.append(z3.Implies(self.rest == 0, z3.And(rest == 0, known)))
        self.axioms += [] if is_money else [rest >= 0]
        parts, sure = [], [known, self._in_currency(node.currency) if is_money else _TRUE]
        for number, (line, (true, false)) in enumerate(zip(self._lines, where, strict=True)):
            value = self.variable(node.field, number)
            parts.append(z3.If(z3.And(line, true), value.value, 0))
            sure.append(z3.Or(_not(line), false, _and([true, value.present])))
        true = _compared(node.op, z3.Sum(parts) + rest, node.value)
        return _and([*sure, true]), _and([*sure, _not(true)])

    # -------------------------------------------------------------- stock

    def _stock(self, place: str, covers: str) -> Pair:
        return self._free(("stock", place, covers))

    def _stock_age(self, node: StockAge) -> Pair:
        known = _and([self.atom(("aged", node.at)), self._lines[0]])
        true = _compared(node.op, self.atom(("age", node.at), z3.Int), node.value)
        return _and([known, true]), _and([known, _not(true)])

    def _measured(self, node: Measured) -> Pair:
        known = self.atom(("known", node.at, node.measure))
        value = self.atom(("measure", node.at, node.measure), z3.Real)
        self.axioms.append(value >= 0 if node.measure == "median_hours" else z3.And(value >= 0, value <= 1))
        true = _compared(node.op, value, node.value)
        return _and([known, true]), _and([known, _not(true)])

    # -------------------------------------------------------------- what hangs together

    def links(self) -> list[Any]:
        """What is known about fields that are made from others; to be asked for when all conditions are encoded."""
        return [each for prefix in ("ship_to", "bill_to") for each in self._postcode_links(prefix)]

    def _postcode_links(self, prefix: str) -> Iterator[Any]:
        area, outward, postcode, country = (
            self._variables.get((f"{prefix}.{name}", None))
            for name in ("postcode_area", "outward_code", "postcode", "country")
        )
        for part in (each for each in (area, outward) if each is not None):
            if postcode is not None:
                yield z3.Implies(part.present, postcode.present)
            if country is not None:
                uk = [country.value == n for n, kind in enumerate(country.kinds) if kind.is_open or kind.text in _UK]
                yield z3.Implies(z3.And(part.present, country.present), _or(uk))
        if area is not None and outward is not None:
            yield area.present == outward.present
            yield from _apart(area, outward, lambda one, two: _area_fits(two.text, one.text))
        if area is not None and postcode is not None:
            yield from _apart(area, postcode, lambda one, two: _area_fits(two.text, one.text, two.is_open))

    # -------------------------------------------------------------- from a solution to an order

    def plain_lines(self) -> list[Any]:
        """Every line is one of ours, one unit each."""
        units = [v.value == 1 for (name, _), v in self._variables.items() if name == "line.quantity"]
        return [self.rest == 0, *units]

    def exact_products(self) -> list[Any]:
        """Every line is one of ours, and of one unit where its units have a weight or a price."""
        made = [self.rest == 0]
        for (name, line), total in self._variables.items():
            if name in _PRODUCTS:
                units = self._variables["line.quantity", line].value
                made.append(z3.Or(units == 1, total.value == 0))
        return made

    def everything_present(self) -> list[Any]:
        """Every field that is asked for is there."""
        return [each.present for each in self._variables.values() if each.present is not _TRUE]

    def draft(self, model: Any) -> Draft:
        """The order that a solution describes, as far as it does."""
        draft = Draft(now=NOW)
        now = self._variables.get(("now", None))
        if now is not None:
            draft.now = _EPOCH + _MICROSECOND * _whole(model, now.value)
        count = sum(_holds(model, line) for line in self._lines)
        draft.lines = [{} for _ in range(count)]
        for (name, line), variable in self._variables.items():
            if name == "now" or not _holds(model, variable.present) or (line is not None and line >= count):
                continue
            value = self._value(model, variable, line)
            if line is None:
                draft.values[name] = value
            elif name not in _PRODUCTS:
                draft.lines[line][name] = value
        for name in ("total_weight_g", "goods_total", "total_quantity", "line_count"):
            draft.values.pop(name, None)
        self._world(model, draft)
        return draft

    def _value(self, model: Any, variable: _Variable, line: int | None) -> Any:
        field = variable.field
        if field.type in _TEXTS:
            kind = variable.kinds[_whole(model, variable.value)]
            return self._written(model, field, kind, line) if kind.is_open else kind.text
        if field.type is FieldType.MONEY:
            found = model.eval(variable.value, model_completion=True)
            return Decimal(found.numerator_as_long()) / Decimal(found.denominator_as_long())
        number = _whole(model, variable.value)
        if field.type is FieldType.INSTANT:
            return self._instant(model, field, line, _EPOCH + _MICROSECOND * number)
        return number

    def _written(self, model: Any, field: Field, kind: _Text, line: int | None) -> str:
        inside, end = "", ""
        for key, atom in self._atoms.items():
            if key[0] not in ("contains", "ends") or key[1:3] != (field.name, line) or not _holds(model, atom):
                continue
            if key[0] == "ends":
                end = key[3] if key[3].endswith(end) else end
            elif key[3] not in kind.text + inside:
                inside += key[3]
        tests = self._tests.get(field.name, ())
        taken = {each.text.casefold() for each in self._variables[field.name, line].kinds if not each.is_open}
        stems = [each.text for each in self._variables[field.name, line].kinds if each.is_open]
        longer = tuple(stem for stem in stems if len(stem) > len(kind.text))
        for stranger in _strangers(field, bool(tests)):
            made = kind.text + stranger + inside + end
            if made.casefold() not in taken and not made.startswith(longer) and _fits(field, made):
                return made
        return kind.text + "?"

    def _instant(self, model: Any, field: Field, line: int | None, near: datetime) -> datetime:
        """The instant nearest to *near* with the weekday and time of day of the solution."""
        from zoneinfo import ZoneInfo

        for key, atom in self._atoms.items():
            if key[0] not in ("weekday", "clock") or key[1:3] != (field.name, line):
                continue
            local, number = near.astimezone(ZoneInfo(key[3])), _whole(model, atom)
            if key[0] == "weekday":
                near = local + timedelta(days=(number - local.isoweekday()) % 7)
            else:
                midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
                near = midnight + timedelta(microseconds=number)
        return near.astimezone(UTC)

    def _world(self, model: Any, draft: Draft) -> None:
        for key, atom in self._atoms.items():
            if key[0] in ("tag", "folded tag") and _holds(model, atom):
                draft.tags.add(key[1] if key[0] == "tag" else self._stranger_tag(key[1]))
            elif key[0] == "true" and key[1][0] == "stock":
                false = self._atoms["false", key[1]]
                said = True if _holds(model, atom) else False if _holds(model, false) else None
                draft.stock[key[1][1]] = said
            elif key[0] == "age" and _holds(model, self._atoms["aged", key[1]]):
                draft.stock_age[key[1]] = _MICROSECOND * max(0, _whole(model, atom))
            elif key[0] == "measure" and _holds(model, self._atoms["known", key[1], key[2]]):
                draft.measures[key[1], key[2]] = model.eval(atom, model_completion=True).as_fraction()

    def _stranger_tag(self, folded: str) -> str:
        taken = {key[1] for key in self._atoms if key[0] == "tag"}
        return next((each for each in _variants(folded) if each not in taken), folded)


# ------------------------------------------------------------------ single values


def _catalogued(name: str) -> Field:
    field = find_field(name)
    assert field is not None  # it stands in the catalogue
    return field


def _number(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    if isinstance(value, timedelta):
        return value // _MICROSECOND
    if isinstance(value, Fraction):
        return z3.Q(value.numerator, value.denominator)
    return z3.RealVal(format(value, "f")) if isinstance(value, Decimal) else value


def _of_day(value: time) -> int:
    seconds = value.hour * 3600 + value.minute * 60 + value.second
    return seconds * 1_000_000 + value.microsecond


def _compared(op: str, value: Any, wanted: Any) -> Any:
    match op:
        case "eq":
            return value == _number(wanted)
        case "ne":
            return value != _number(wanted)
        case "lt":
            return value < _number(wanted)
        case "le":
            return value <= _number(wanted)
        case "gt":
            return value > _number(wanted)
        case "ge":
            return value >= _number(wanted)
        case _:
            return z3.And(value >= _number(wanted[0]), value <= _number(wanted[1]))


def _agreed(op: str, low: Any, high: Any, wanted: Any) -> Pair:
    """When every whole number from *low* to *high* passes the comparison, and when none does."""
    match op:
        case "lt" | "le":
            return _compared(op, high, wanted), _not(_compared(op, low, wanted))
        case "gt" | "ge":
            return _compared(op, low, wanted), _not(_compared(op, high, wanted))
        case "eq":
            return z3.And(low == wanted, high == wanted), z3.Or(high < wanted, low > wanted)
        case "ne":
            return z3.Or(high < wanted, low > wanted), z3.And(low == wanted, high == wanted)
        case _:
            least, most = wanted
            return z3.And(low >= least, high <= most), z3.Or(high < least, low > most)


def _area_fits(text: str, area: str, is_open: bool = False) -> bool:
    """Whether a postcode, or an outward code, that is or begins with *text* can lie in *area*."""
    normal = re.sub(r"\s", "", text).upper()
    if not is_open:
        return (postcode_area(normal) or "") == area
    if len(normal) <= len(area):
        return area.startswith(normal)
    return normal.startswith(area) and normal[len(area)].isdigit()


def _apart(area: _Variable, other: _Variable, fits: Callable[[_Text, _Text], bool]) -> Iterator[Any]:
    """Which kinds of *area* and *other* cannot stand together; an open outward code may lie in any area."""
    for number, one in enumerate(area.kinds):
        if one.is_open:
            continue
        for place, two in enumerate(other.kinds):
            if two.is_open and other.field.name.endswith("outward_code"):
                continue
            if not fits(one, two):
                here = z3.And(area.present, other.present, area.value == number)
                yield z3.Implies(here, other.value != place)


def _strangers(field: Field, is_tested: bool) -> Iterator[str]:
    if field.code is not None or field.name.endswith("postcode_area"):
        letters = "XQZJVWYKUHFBCDEGILMNOPRSTA"
        yield from letters
        yield from (one + two for one in letters for two in letters)
        yield from (one + two + "X" for one in letters for two in letters)
    elif field.name.endswith("outward_code"):
        yield from (f"{letters}{digit}" for letters in ("", "ZX", "QX", "X") for digit in range(1, 10))
    else:
        yield from ("x", "y", "1", "-z", "~", "x1", "#", "_", "0", "q")


def _holds(model: Any, formula: Any) -> bool:
    return formula is _TRUE or z3.is_true(model.eval(formula, model_completion=True))


def _whole(model: Any, value: Any) -> int:
    return int(model.eval(value, model_completion=True).as_long())
