"""
Orders and views as examples and vectors write them: only what matters is said, the rest is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from attrs import field, fields, frozen
from immutabledict import immutabledict

from fcflow.model import Address, Location, Order, OrderLine
from fcflow.rules.faults import Faults, Path, nearest
from fcflow.rules.values import Bad, instant, money, whole_number

__all__ = ["ExampleView", "example_now", "example_order", "example_view"]

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class ExampleView:
    """
    The world of an example, as a `fcflow.model.View`.

    Args:
        levels: Location and SKU to units and the instant of the picture; ``None`` units never run short.

        measures: Location and measure to what was measured.
    """

    levels: Mapping[tuple[str, str], tuple[int | None, datetime | None]]
    locations: Mapping[str, Location] = field(factory=immutabledict)
    measures: Mapping[tuple[str, str], Fraction] = field(factory=immutabledict)

    def allocatable(self, location: str, sku: str) -> int | None:
        """Units that may be promised; none where the example says nothing."""
        return self.levels.get((location, sku), (0, None))[0]

    def stock_as_of(self, location: str, sku: str) -> datetime | None:
        """When the picture was taken; ``None`` where the example says nothing."""
        return self.levels.get((location, sku), (0, None))[1]

    def orders_today(self, location: str) -> int:
        """None."""
        return 0

    def excluded(self, order_id: str) -> frozenset[str]:
        """None."""
        return frozenset()

    def measured(self, location: str, measure: str) -> Fraction | None:
        """How the location behaved; ``None`` where the example says nothing."""
        return self.measures.get((location, measure))


def example_now(written: Any, faults: Faults, path: Path) -> datetime | None:
    """The instant of an example; ``None`` where it has none."""
    return None if written is None else _typed(instant, written, faults, path)


def example_view(example: Mapping[str, Any], now: datetime | None, faults: Faults, path: Path) -> ExampleView | None:
    """
    What an example says of the world in ``view`` and ``behaviour``; ``None`` where it says nothing.

    A bare number of units was taken at *now*.
    """
    stock, behaviour = example.get("view"), example.get("behaviour")
    if not isinstance(stock, Mapping) and not isinstance(behaviour, Mapping):
        return None
    levels: dict[tuple[str, str], tuple[int | None, datetime | None]] = {}
    for location, skus in (stock or {}).items():
        for sku, level in skus.items():
            levels[location, sku] = _level(level, now or _LONG_AGO, faults, (*path, "view", location, sku))
    measures = dict(_measures(behaviour or {}, faults, (*path, "behaviour")))
    return ExampleView(levels, {code: Location(code=code) for code in (stock or behaviour or {})}, measures)


def _measures(written: Mapping[str, Any], faults: Faults, path: Path) -> Iterator[tuple[tuple[str, str], Fraction]]:
    for location, measures in written.items():
        for measure, value in measures.items():
            number = _typed(money, value, faults, (*path, location, measure))
            if number is not None:
                yield (location, measure), Fraction(number)


def _level(written: Any, now: datetime, faults: Faults, path: Path) -> tuple[int | None, datetime | None]:
    if written is None:
        return None, None
    if isinstance(written, Mapping):
        for key in set(written) - {"units", "as_of"}:
            faults.add((*path, key), "unknown key", found=key, expected="units or as_of")
        taken = example_now(written.get("as_of"), faults, (*path, "as_of")) or now
        return _typed(whole_number, written.get("units", 0), faults, (*path, "units")), taken
    return _typed(whole_number, written, faults, path), now


def example_order(written: Mapping[str, Any], faults: Faults, path: Path) -> Order | None:
    """
    An order of which only a part is written; ``None`` where that part is at fault.

    A missing order id is ``EXAMPLE``, a missing SKU ``SKU``, a missing quantity 1, and lines are numbered from 1.

    Example:
        >>> order = example_order({"ship_to": {"country": "GB"}, "lines": [{"weight_g": 500}]}, Faults(), ())
        >>> order.order_id, order.lines[0].line_id, order.lines[0].quantity
        ('EXAMPLE', '1', 1)
    """
    before = len(faults)
    given = _values(Order, written, faults, path)
    if len(faults) > before:
        return None
    made: Order | None = _made(Order, {"order_id": "EXAMPLE", "lines": (), **given}, faults, path)
    return made


def _values(kind: type[Any], written: Any, faults: Faults, path: Path) -> dict[str, Any]:
    if not isinstance(written, Mapping):
        faults.add(path, "wrong type", found=written, expected="an object")
        return {}
    known = {each.name for each in fields(kind)}
    for key in (key for key in written if key not in known):
        faults.add((*path, key), "unknown key", found=key, expected=nearest(key, known))
    return {
        key: _READERS.get(key, _text)(value, faults, (*path, key))
        for key, value in written.items()
        if key in known and value is not None
    }


def _made(kind: type[Any], given: Mapping[str, Any], faults: Faults, path: Path) -> Any:
    try:
        return kind(**given)
    except (ValueError, TypeError) as error:
        faults.add(path, str(error))
        return None


def _typed(read: Callable[[Any], Any], value: Any, faults: Faults, path: Path) -> Any:
    try:
        return read(value)
    except Bad as bad:
        bad.note(faults, path)
        return None


def _text(value: Any, faults: Faults, path: Path) -> Any:
    if not isinstance(value, str):
        faults.add(path, "wrong type", found=value, expected="text")
    return value


def _reader(read: Callable[[Any], Any]) -> Callable[[Any, Faults, Path], Any]:
    return lambda value, faults, path: _typed(read, value, faults, path)


def _address(value: Any, faults: Faults, path: Path) -> Any:
    return _made(Address, _values(Address, value, faults, path), faults, path)


def _lines(value: Any, faults: Faults, path: Path) -> Any:
    if not isinstance(value, list | tuple):
        faults.add(path, "wrong type", found=value, expected="a list")
        return ()
    return tuple(_line(each, index, faults, (*path, index)) for index, each in enumerate(value))


def _line(value: Any, index: int, faults: Faults, path: Path) -> Any:
    given = {"line_id": str(index + 1), "sku": "SKU", "quantity": 1, **_values(OrderLine, value, faults, path)}
    return _made(OrderLine, given, faults, path)


def _tags(value: Any, faults: Faults, path: Path) -> Any:
    if not isinstance(value, list | tuple):
        faults.add(path, "wrong type", found=value, expected="a list of texts")
        return frozenset()
    return frozenset(_text(each, faults, (*path, index)) for index, each in enumerate(value))


def _properties(value: Any, faults: Faults, path: Path) -> Any:
    if not isinstance(value, Mapping):
        faults.add(path, "wrong type", found=value, expected="an object of texts")
        return {}
    return {key: _text(each, faults, (*path, key)) for key, each in value.items()}


_READERS: Mapping[str, Callable[[Any, Faults, Path], Any]] = {
    "received_at": _reader(instant),
    "dispatch_by": _reader(instant),
    "total": _reader(money),
    "postage": _reader(money),
    "unit_price": _reader(money),
    "quantity": _reader(whole_number),
    "weight_g": _reader(whole_number),
    "ship_to": _address,
    "bill_to": _address,
    "lines": _lines,
    "tags": _tags,
    "properties": _properties,
}
