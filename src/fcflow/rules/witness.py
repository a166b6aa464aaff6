"""
Orders made to order: from what is wanted of single fields to a real `Order` that has it.

A witness is only proposed here. Whoever asks runs it through the rules and drops what does not do as it should.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from attrs import Factory, define, frozen

from fcflow.model import Address, Location, Order, OrderLine
from fcflow.rules.analysis import Box, Scalar
from fcflow.rules.examples import ExampleView
from fcflow.rules.fields import find_field, outward_code, postcode_area

__all__ = ["NOW", "Draft", "Witness", "draft_of"]

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
_PLENTY = 1_000_000


@frozen
class Witness:
    """An order with the world around it: what `RuleSet.decide` needs to say the same again."""

    order: Order
    view: ExampleView
    now: datetime


@define
class Draft:
    """
    What is wanted of an order.

    Args:
        values: By field name, ``properties.<name>`` and derived fields included; a missing field is absent.

        lines: Per line the same, with names that begin with ``line.``.

        stock: Per location whether it covers all lines (``True``), none (``False``), or nobody knows (``None``).

        stock_age: Per location how old its pictures are.

        measures: Per location and measure how it behaved; what is missing is unknown.
    """

    values: dict[str, Any] = Factory(dict)
    tags: set[str] = Factory(set)
    lines: list[dict[str, Any]] = Factory(list)
    stock: dict[str, bool | None] = Factory(dict)
    stock_age: dict[str, timedelta] = Factory(dict)
    measures: dict[tuple[str, str], Fraction] = Factory(dict)
    now: datetime = NOW

    def witness(self, locations: tuple[str, ...] | frozenset[str] = frozenset()) -> Witness | None:
        """The order, or ``None`` where there cannot be one; *locations* are known beside those with stock."""
        try:
            order = self._order()
        except (ValueError, TypeError, ArithmeticError):
            return None
        return Witness(order, self._view(order, locations), self.now)

    def _order(self) -> Order:
        lines = tuple(_line(number, line) for number, line in enumerate(self._filled_lines(), start=1))
        own: dict[str, Any] = {}
        properties: dict[str, Any] = {}
        for name, value in self.values.items():
            if name.startswith("properties."):
                properties[name.removeprefix("properties.")] = value
            elif "." not in name and name not in _DERIVED:
                own[name] = value
        own.setdefault("order_id", "W1")
        ship_to, bill_to = self._address("ship_to"), self._address("bill_to")
        own |= {"lines": lines, "tags": frozenset(self.tags), "properties": properties, "ship_to": ship_to or Address()}
        return Order(**own, bill_to=bill_to)

    def _address(self, prefix: str) -> Address | None:
        given = {name.removeprefix(f"{prefix}."): v for name, v in self.values.items() if name.startswith(f"{prefix}.")}
        area, outward = given.pop("postcode_area", None), given.pop("outward_code", None)
        if area is not None or outward is not None:
            given["postcode"] = _postcode(given.get("postcode"), area, outward)
        return Address(**given) if given else None

    def _filled_lines(self) -> list[dict[str, Any]]:
        """The lines wanted, and others that bring the order's sums to what is wanted."""
        lines = [dict(line) for line in self.lines]
        wanted: dict[str, Any] = {name: self.values[name] for name in _SUMS if name in self.values}
        if wanted and any("line.weight_g" in line or "line.unit_price" in line for line in lines):
            wanted = {name: value for name, value in wanted.items() if not _is_met(lines, name)}
        units, count = self.values.get("total_quantity"), self.values.get("line_count")
        least = max(len(lines), count or 0, 1 if wanted or units else 0)
        lines += [{} for _ in range(min(least, 50) - len(lines))]
        _bring_to_sum(lines, wanted)
        missing = (units or 0) - sum(line.get("line.quantity", 1) for line in lines)
        if missing > 0:
            _bring_to_units(lines, missing, wanted, may_add=count is None)
        return lines

    def _view(self, order: Order, locations: tuple[str, ...] | frozenset[str]) -> ExampleView:
        levels: dict[tuple[str, str], tuple[int | None, datetime | None]] = {}
        for code in {*self.stock, *self.stock_age}:
            taken = self.now - self.stock_age.get(code, timedelta(0))
            for line in order.lines:
                covers = self.stock.get(code, False)
                levels[code, line.sku] = (_PLENTY if covers else 0, None if covers is None else taken)
        known = [*self.stock, *self.stock_age, *sorted(locations)]
        places = {code: Location(code=code) for code in known if self.stock.get(code, 0) is not None}
        return ExampleView(levels, places, dict(self.measures))


_DERIVED = frozenset({"total_weight_g", "goods_total", "total_quantity", "line_count", "now", "tags"})
_SUMS = {"total_weight_g": "line.weight_g", "goods_total": "line.unit_price"}


def _is_met(lines: list[dict[str, Any]], name: str) -> bool:
    return all(_SUMS[name] in line for line in lines)


def _bring_to_sum(lines: list[dict[str, Any]], wanted: Mapping[str, Any]) -> None:
    for name, total in wanted.items():
        part = _SUMS[name]
        free = next((line for line in lines if part not in line and line.get("line.quantity", 1) == 1), None)
        if free is None:
            free = {}
            lines.append(free)
        zero = total * 0
        given = sum((line.get(part, zero) * line.get("line.quantity", 1) for line in lines), zero)
        for line in lines:
            line.setdefault(part, zero)
        free[part] = total - given


def _bring_to_units(lines: list[dict[str, Any]], missing: int, wanted: Mapping[str, Any], *, may_add: bool) -> None:
    nothing = {_SUMS[name]: total * 0 for name, total in wanted.items()}
    free = next((line for line in lines if "line.quantity" not in line and not any(map(line.get, nothing))), None)
    if free is not None:
        free["line.quantity"] = 1 + missing
    elif may_add:
        lines.append({"line.quantity": missing, **nothing})


def _line(number: int, wanted: Mapping[str, Any]) -> OrderLine:
    given = {name.removeprefix("line."): value for name, value in wanted.items()}
    units = given.setdefault("quantity", 1)
    price, weight = given.pop("total_price", None), given.pop("total_weight_g", None)
    if price is not None:
        given.setdefault("unit_price", price / units)
    if weight is not None:
        given.setdefault("weight_g", weight // units)
    properties = {name: given.pop(name) for name in list(given) if name.startswith("properties.")}
    given["properties"] = {name.removeprefix("properties."): value for name, value in properties.items()}
    given.setdefault("sku", "SKU")
    given.setdefault("line_id", str(number))
    return OrderLine(**given)


def _postcode(postcode: str | None, area: str | None, outward: str | None) -> str | None:
    """A British postcode in *area* and *outward*, the written one if it fits."""
    beginnings = [text for text in (postcode, outward, area) if text]
    for text in beginnings:
        for rest in ("", "1", "11", " 1AA", "1 1AA", "11 1AA", "1A 1AA", "2 1AA", "9 1AA"):
            made = text + rest
            if area not in (None, postcode_area(made)) or outward not in (None, outward_code(made)):
                continue
            if postcode is None or made.startswith(postcode):
                return made
    return postcode


# ------------------------------------------------------------------ from a box


def draft_of(box: Box) -> Draft:
    """
    What lies in *box* and, as far as that goes, nowhere else: fields that it does not name are absent.

    Example:
        >>> from fcflow.rules.analysis import boxes_of
        >>> from fcflow.rules.ruleset import compile_condition
        >>> heavy = compile_condition({"field": "total_weight_g", "op": "ge", "value": 20000}).node
        >>> draft_of(boxes_of(heavy)[0]).witness().order.lines[0].weight_g
        20000
    """
    draft = Draft()
    for (name, fold), wanted in box.scalars.items():
        value = _pick(wanted)
        field = find_field(name)
        if value is None or field is None:
            continue
        draft.values[name] = value
        if field.type == "money":
            draft.values.setdefault("currency", fold)
        if name == "now":
            draft.now = value
    for tags in box.tags.values():
        draft.tags |= tags.required | {min(each - tags.barred) for each in tags.some if each - tags.barred}
    draft.lines = [dict(_line_values(line, box.every_line, draft)) for line in box.any_line]
    if not draft.lines and box.every_line:
        draft.lines = [dict(_line_values(None, box.every_line, draft))]
    return draft


def _line_values(line: Box | None, every: list[Box], draft: Draft) -> Iterator[tuple[str, Any]]:
    wanted: dict[Any, Scalar] = {}
    for box in (*([line] if line is not None else []), *every):
        for key, scalar in box.scalars.items():
            wanted[key] = wanted[key].joined(scalar) if key in wanted else scalar
    for (name, fold), scalar in wanted.items():
        value = _pick(scalar)
        if value is None:
            continue
        if name.startswith("line."):
            yield name, value
            if isinstance(value, Decimal):
                draft.values.setdefault("currency", fold)
        else:
            draft.values.setdefault(name, value)


def _pick(wanted: Scalar) -> Any:
    """A value that *wanted* admits, or ``None``."""
    return next((value for value in _candidates(wanted) if wanted.admits(value)), None)


def _candidates(wanted: Scalar) -> Iterator[Any]:
    if wanted.allowed is not None:
        yield from sorted(wanted.allowed)
        return
    if wanted.prefixes:
        for several in wanted.prefixes:
            for prefix in several:
                yield from (prefix, prefix + "1", prefix + "1 1AA", prefix + "-x")
        return
    low, high = wanted.low, wanted.high
    yield from (value for value in (low, high) if value is not None)
    edge = low if low is not None else high
    if edge is None:
        sample = next(iter(wanted.barred), None)
        yield from _strangers(sample)
        return
    if low is not None and high is not None:
        yield low + (high - low) / 2
    yield from _neighbours(edge, up=low is not None)


def _neighbours(edge: Any, *, up: bool) -> Iterator[Any]:
    if isinstance(edge, datetime):
        steps: list[Any] = [timedelta(microseconds=1), timedelta(seconds=1), timedelta(days=1)]
    else:
        steps = [edge * 0 + 1, edge * 0 + 2, edge * 0 + 3]
    for step in steps:
        yield edge + step if up else edge - step


def _strangers(sample: Any) -> Iterator[Any]:
    if isinstance(sample, str):
        yield from ("XX", "XY", "QZ", "Another", "Something else")
        yield from ("paid", "unpaid", "pending", "refunded")
    elif sample is not None:
        yield from (sample * 0 + number for number in range(50))
