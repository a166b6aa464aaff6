"""
Values to plain JSON mappings and back, for every frozen value of fcflow.

Money becomes text (``"7.50"``), an instant ISO 8601 in UTC, a set a sorted list; what is ``None`` or empty is left
out. Equal values give equal documents, equal documents equal text, and so one hash.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum, StrEnum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from immutabledict import immutabledict

from fcflow.errors import DocumentError, Fault, OrderError
from fcflow.model import Order

__all__ = ["canonical_json", "content_hash", "from_document", "orders_from_documents", "to_document"]

T = TypeVar("T")

_MAX_DIGITS = 40


class _Wrong(ValueError):
    """A leaf of the wrong shape: what was expected, what was found."""

    def __init__(self, expected: str, found: object) -> None:
        super().__init__(f"expected {expected}, got {found!r}")
        self.expected = expected
        self.found = found


# ------------------------------------------------------------------ leaves, from JSON


def _text(value: Any, _: Any = None) -> str:
    if not isinstance(value, str):
        raise _Wrong("a text", value)
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise _Wrong("a text that is valid Unicode", value)
    return value


def _whole_number(value: Any, _: Any = None) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Wrong("a whole number", value)
    return value


def _number(value: Any, _: Any = None) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _Wrong("a number", value)
    return float(value)


def _flag(value: Any, _: Any = None) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("true or false", value)
    return value


def _amount(value: Any, _: Any = None) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise _Wrong('an amount as text, such as "7.50", or a whole number', value)
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise _Wrong('an amount such as "7.50"', value) from None
    if not amount.is_finite() or abs(amount.adjusted()) > _MAX_DIGITS or len(amount.as_tuple().digits) > _MAX_DIGITS:
        raise _Wrong(f"a finite amount of at most {_MAX_DIGITS} digits", value)
    return amount


def _instant(value: Any, _: Any = None) -> datetime:
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(_text(value))
    except ValueError:
        raise _Wrong("an instant such as 2026-03-02T09:30:00+00:00", value) from None
    if instant.tzinfo is None:
        raise _Wrong("an instant with an offset, such as 2026-03-02T09:30:00+00:00", value)
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise _Wrong("an instant between the years 1 and 9999", value) from None


def _date(value: Any, _: Any = None) -> date:
    try:
        return value if type(value) is date else date.fromisoformat(_text(value))
    except ValueError:
        raise _Wrong("a date such as 2026-03-02", value) from None


def _time(value: Any, _: Any = None) -> time:
    try:
        return value if isinstance(value, time) else time.fromisoformat(_text(value))
    except ValueError:
        raise _Wrong("a time of day such as 14:30", value) from None


def _member(value: Any, cls: type[Enum]) -> Enum:
    try:
        return cls(value)
    except ValueError:
        raise _Wrong("one of " + ", ".join(str(member.value) for member in cls), value) from None


# ------------------------------------------------------------------ leaves, to JSON


def _amount_text(value: Decimal) -> str:
    """
    One spelling for equal amounts: at least two decimals, no zeros after those.

    Example:
        >>> [_amount_text(Decimal(text)) for text in ("7.5", "7.50", "1E+2", "-0", "0.12500")]
        ['7.50', '7.50', '100.00', '0.00', '0.125']
    """
    whole, _, decimals = f"{value if value else abs(value):f}".partition(".")
    return f"{whole}.{decimals.rstrip('0'):0<2}"


def _instant_text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()


# ------------------------------------------------------------------ containers and classes


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


def _bare(kind: Any) -> Any:
    """The type inside ``X | None``."""
    inner = [argument for argument in get_args(kind) if argument is not type(None)]
    return inner[0] if len(inner) == 1 else Any


def _listed(value: Any) -> Sequence[Any] | AbstractSet[Any]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise _Wrong("a list", value)
    return value


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Wrong("an object", value)
    return value


def _tuple_hook(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    item = get_args(kind)[0]
    hook = converter.get_structure_hook(item)
    return lambda value, _: tuple([hook(each, item) for each in _listed(value)])


def _frozenset_hook(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    item = get_args(kind)[0]
    hook = converter.get_structure_hook(item)
    return lambda value, _: frozenset([hook(each, item) for each in _listed(value)])


def _mapping_hook(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    item = get_args(kind)[1]
    hook = converter.get_structure_hook(item)
    return lambda value, _: immutabledict({_text(key): hook(each, item) for key, each in _object(value).items()})


def _class_hook(cls: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    build = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True)
    return lambda value, _: build(_object(value), cls)


def _is_empty_default(attribute: attrs.Attribute[Any]) -> bool:
    default = attribute.default
    factory = getattr(default, "factory", None)
    if factory is not None:
        return factory in (immutabledict, tuple, frozenset) or attrs.has(factory)
    return default is not attrs.NOTHING and (default is None or default in ("", (), frozenset()))


def _class_unhook(cls: Any, converter: Converter) -> Callable[[Any], Any]:
    overrides = {each.name: override(omit_if_default=_is_empty_default(each)) for each in _fields(cls).values()}
    return make_dict_unstructure_fn(cls, converter, **overrides)  # type: ignore[arg-type]  # overrides by name


def _origin_is(origin: type) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) is origin


@cache
def _fields(cls: Any) -> dict[str, attrs.Attribute[Any]]:
    attrs.resolve_types(cls)
    return {each.name: each for each in attrs.fields(cls)}


_LEAVES: tuple[tuple[Any, Callable[[Any, Any], Any]], ...] = (
    (str, _text),
    (int, _whole_number),
    (float, _number),
    (bool, _flag),
    (Decimal, _amount),
    (datetime, _instant),
    (date, _date),
    (time, _time),
)


@cache
def _converter() -> Converter:
    converter = Converter(detailed_validation=False)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    converter.register_unstructure_hook_factory(attrs.has, _class_unhook)
    converter.register_structure_hook_factory(_origin_is(tuple), _tuple_hook)
    converter.register_structure_hook_factory(_origin_is(frozenset), _frozenset_hook)
    converter.register_structure_hook_factory(_origin_is(immutabledict), _mapping_hook)
    converter.register_structure_hook(StrEnum, _member)
    for kind, hook in _LEAVES:
        converter.register_structure_hook(kind, hook)
    converter.register_unstructure_hook(StrEnum, lambda value: value.value)
    converter.register_unstructure_hook_func(_origin_is(frozenset), sorted)
    converter.register_unstructure_hook_func(_origin_is(tuple), lambda value: [converter.unstructure(v) for v in value])
    converter.register_unstructure_hook_func(lambda kind: kind is tuple, list)
    converter.register_unstructure_hook_func(_origin_is(immutabledict), _plain_mapping)
    converter.register_unstructure_hook(immutabledict, _plain_mapping)
    converter.register_unstructure_hook(Decimal, _amount_text)
    for kind in (date, time):
        converter.register_unstructure_hook(kind, kind.isoformat)
    converter.register_unstructure_hook(datetime, _instant_text)
    return converter


def _plain_mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: each if isinstance(each, str) else _converter().unstructure(each) for key, each in value.items()}


# ------------------------------------------------------------------ what callers use


def to_document(value: Any) -> dict[str, Any]:
    """
    *value* as a mapping that `json.dumps` takes.

    Args:
        value: Any frozen attrs value of fcflow.

    Returns:
        ``None`` and empty parts are left out. `from_document` gives an equal value back.

    Example:
        >>> from fcflow.model import OrderLine
        >>> to_document(OrderLine(sku="MUG", quantity=2, unit_price="7.5"))
        {'line_id': '1', 'sku': 'MUG', 'quantity': 2, 'unit_price': '7.50'}
    """
    document: dict[str, Any] = _converter().unstructure(value)
    return document


def from_document(cls: type[T], document: Mapping[str, Any], *, source: str | None = None) -> T:
    """
    The value of class *cls* that *document* describes.

    Args:
        source: How messages call the document; the class's name when it is left out.

    Raises:
        DocumentError: The document has faults: all of them, with their paths. For an `Order` an `OrderError`.

    Example:
        >>> from fcflow.model import OrderLine
        >>> from_document(OrderLine, {"sku": "MUG", "quantity": 2}).quantity
        2
        >>> try:
        ...     from_document(OrderLine, {"sku": "MUG", "quantity": "2", "prize": "1.50"})
        ... except DocumentError as error:
        ...     print(error)
        OrderLine: 2 faults
          $.quantity: expected a whole number, got '2'
          $.prize: unknown key: expected unit_price, got 'prize'
    """
    try:
        return _converter().structure(document, cls)
    except Exception as error:  # noqa: BLE001  # whatever it was, the walk below names it with its path
        kind = OrderError if issubclass(cls, Order) else DocumentError
        raise kind(source or cls.__name__, _all_faults(cls, document, "$", error)) from None


def orders_from_documents(documents: Iterable[Mapping[str, Any]], *, source: str = "orders") -> list[Order]:
    """
    The orders that *documents* describe, in their order.

    Raises:
        OrderError: With every fault of every order; also when two different orders share an ``order_id``.

    Example:
        >>> mug = {"sku": "MUG", "quantity": 1}
        >>> [order.order_id for order in orders_from_documents([{"order_id": "A1", "lines": [mug]}])]
        ['A1']
        >>> try:
        ...     orders_from_documents([{"order_id": "A1", "lines": [{"sku": "MUG", "quantity": 0}]}])
        ... except OrderError as error:
        ...     print(error)
        orders: 1 fault
          $[0].lines[0].quantity: expected a whole number of at least 1, got 0
    """
    orders: dict[str, Order] = {}
    faults: list[Fault] = []
    structure = _converter().get_structure_hook(Order)
    for index, document in enumerate(documents):
        try:
            order = structure(document, Order)
        except Exception as error:  # noqa: BLE001  # whatever it was, the walk below names it with its path
            faults += _all_faults(Order, document, f"$[{index}]", error)
            continue
        if orders.setdefault(order.order_id, order) != order:
            expected = "one order of this id, got another with different content"
            faults.append(Fault(f"{order.order_id}: expected {expected}", path=f"$[{index}].order_id"))
    if faults:
        raise OrderError(source, faults)
    return list(orders.values())


def canonical_json(document: Any) -> str:
    """
    The one text of a JSON document: sorted keys, no spaces, Unicode as it is.

    Raises:
        ValueError: The document holds a NaN or an infinity.

    Example:
        >>> canonical_json({"b": 1, "a": ["é"]})
        '{"a":["é"],"b":1}'
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """
    SHA-256 of the canonical text, in lower-case hexadecimal: of a document, or of a value's document.

    Example:
        >>> content_hash({"a": 1}) == content_hash({"a": 1}) != content_hash({"a": 2})
        True
    """
    document = to_document(value) if attrs.has(type(value)) else value
    return hashlib.sha256(canonical_json(document).encode("utf-8", "surrogatepass")).hexdigest()


# ------------------------------------------------------------------ every fault of a bad document


def _all_faults(cls: Any, document: Any, path: str, error: Exception) -> list[Fault]:
    return _faults(cls, document, path) or [Fault(str(error) or type(error).__name__, path=path)]


def _faults(kind: Any, value: Any, path: str) -> list[Fault]:
    if _is_optional(kind):
        return [] if value is None else _faults(_bare(kind), value, path)
    try:
        if attrs.has(kind):
            return _faults_of_class(kind, _object(value), path)
        if get_origin(kind) in (tuple, frozenset):
            item = get_args(kind)[0]
            return [fault for i, each in enumerate(_listed(value)) for fault in _faults(item, each, f"{path}[{i}]")]
        if get_origin(kind) is immutabledict:
            return _faults_of_mapping(get_args(kind)[1], _object(value), path)
        _converter().get_structure_hook(kind)(value, kind)
    except _Wrong as wrong:
        return [Fault("", path=path, expected=wrong.expected, found=wrong.found)]
    return []


def _faults_of_mapping(item: Any, value: Mapping[str, Any], path: str) -> list[Fault]:
    wrong = [key for key in value if not isinstance(key, str)]
    faults = [Fault("", path=path, expected="texts as keys", found=key) for key in wrong]
    return faults + [fault for key, each in value.items() for fault in _faults(item, each, f"{path}.{key}")]


def _faults_of_class(cls: Any, value: Mapping[str, Any], path: str) -> list[Fault]:
    known = _fields(cls)
    faults: list[Fault] = []
    for name, attribute in known.items():
        if name in value:
            faults += _faults(attribute.type, value[name], f"{path}.{name}") or _refused(attribute, value[name], path)
        elif attribute.default is attrs.NOTHING:
            faults.append(Fault("missing", path=f"{path}.{name}"))
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5) or ["one of " + ", ".join(known)]
            faults.append(Fault("unknown key", path=f"{path}.{key}", expected=near[0], found=key))
    return faults


def _refused(attribute: attrs.Attribute[Any], value: Any, path: str) -> list[Fault]:
    """What the model's own validator says of a value of the right type."""
    try:
        structured = _converter().structure(value, attribute.type)  # type: ignore[arg-type]  # a resolved type
        convert: Any = attribute.converter
        converted = convert(structured) if convert else structured
        if attribute.validator is not None:
            attribute.validator(None, attribute, converted)
    except ValueError as error:
        said = str(error).removeprefix(f"{attribute.name}: ")
        return [Fault(said, path=f"{path}.{attribute.name}")]
    return []
