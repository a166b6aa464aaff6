"""
What plugins add to the rule language: operators, fields and effects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypedDict

from attrs import field, frozen
from immutabledict import immutabledict

from fcflow.errors import PluginError
from fcflow.rules.fields import Facts, Field, FieldType
from fcflow.rules.operators import OperatorType, namespaced

__all__ = ["NO_EXTENSIONS", "EffectType", "Extensions", "RuleField", "RuleKinds"]

Action = Mapping[str, Any]
"""What a rule's ``then`` may say: ``{"tag": "gift"}``, ``{"set_property": {"name": ..., "value": ...}}``, ..."""


# ------------------------------------------------------------------ fields


def _type(name: FieldType | str) -> FieldType:
    return FieldType(name)


def _words(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(words)


@frozen(kw_only=True)
class RuleField:
    """
    A field that a plugin brings: something more that a condition may ask of an order or of one of its lines.

    Args:
        name: With the plugin's namespace: ``acme:margin``.

        type: ``text``, ``choice``, ``integer``, ``money`` (in the order's currency), ``instant`` or ``set``.

        get: Pure. Called with the order; for a field of lines with the order and the line. Gives the value, or ``None``
            where it is absent, and then every test of it is unknown. Importable by its name, if rule sets are to be
            pickled.

        about: What it holds, for people.

        scope: ``order``, or ``line`` where it has a meaning only inside a condition over lines.

        always: It is never absent.

        choices: Choice only: the words it can hold.

    Raises:
        ValueError: The name has no namespace, or the type or scope is not one.

    Example:
        >>> weekend = RuleField(name="acme:is_weekend", type="choice", choices=("yes", "no"), always=True,
        ...     about="whether it was bought at a weekend",
        ...     get=lambda order: "yes" if order.received_at and order.received_at.isoweekday() > 5 else "no")
        >>> weekend.name
        'acme:is_weekend'
    """

    name: str = field(validator=namespaced)
    type: FieldType = field(converter=_type)
    get: Callable[..., Any]
    about: str
    scope: str = field(default="order")
    always: bool = False
    choices: tuple[str, ...] = field(default=(), converter=_words)

    @scope.validator
    def _is_a_scope(self, attribute: object, value: str) -> None:
        if value not in ("order", "line"):
            raise ValueError(f"scope: expected order or line, got {value!r}")

    def as_field(self) -> Field:
        """The field as the rule language knows it; what the getter gives is checked."""
        return Field(
            name=self.name,
            type=self.type,
            get=self._read,
            about=self.about,
            scope=self.scope,
            always=self.always,
            choices=self.choices,
        )

    def _read(self, facts: Facts) -> Any:
        try:
            value = self.get(facts.order) if self.scope == "order" else self.get(facts.order, facts.line)
        except Exception as error:
            raise self._broken(facts, f"{type(error).__name__}: {error}") from error
        if value is None:
            if self.always:
                raise self._broken(facts, "expected a value always, got None")
            return None
        expected, convert = _CONVERTERS[self.type]
        made = convert(value)
        if made is None or (self.choices and made not in self.choices):
            wanted = f"one of {', '.join(self.choices)}" if self.choices else expected
            raise self._broken(facts, f"expected {wanted}, got {value!r}")
        return made

    def _broken(self, facts: Facts, said: str) -> PluginError:
        return PluginError(f"field {self.name}: order {facts.order.order_id}: {said}")


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _money(value: Any) -> Decimal | None:
    return value if isinstance(value, Decimal) and value.is_finite() else None


def _instant(value: Any) -> datetime | None:
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else None


def _set(value: Any) -> frozenset[str] | None:
    members = isinstance(value, frozenset | set | list | tuple) and all(isinstance(each, str) for each in value)
    return frozenset(value) if members else None


_CONVERTERS: Mapping[FieldType, tuple[str, Callable[[Any], Any]]] = {
    FieldType.TEXT: ("a text", _text),
    FieldType.CHOICE: ("a text", _text),
    FieldType.INTEGER: ("a whole number", _integer),
    FieldType.MONEY: ("a finite Decimal", _money),
    FieldType.INSTANT: ("an aware datetime", _instant),
    FieldType.SET: ("a set of texts", _set),
}


# ------------------------------------------------------------------ effects


@frozen(kw_only=True)
class EffectType:
    """
    An effect that a plugin brings: a word of a rule's ``then`` that stands for built-in effects.

    It is written out once, when the rule set is loaded, so that everything behind it (audit trail, explanation,
    differences, tables) knows built-in effects only.

    Args:
        name: With the plugin's namespace: ``acme:gift_wrap``.

        options_schema: JSON Schema of what stands behind the name.

        expand: Pure. Called with the options; gives the effects, as a rule would write them.

    Raises:
        ValueError: The name has no namespace.

    Example:
        >>> wrap = EffectType(name="acme:gift_wrap", options_schema={"enum": ["red", "blue"]},
        ...     expand=lambda paper: [{"tag": "gift"}, {"set_property": {"name": "paper", "value": paper}}])
        >>> wrap.actions("red")
        [{'tag': 'gift'}, {'set_property': {'name': 'paper', 'value': 'red'}}]
    """

    name: str = field(validator=namespaced)
    options_schema: Mapping[str, Any] = field(converter=immutabledict)
    expand: Callable[[Any], Iterable[Action]]

    def actions(self, options: Any) -> list[Action]:
        """
        What *options* stand for.

        Raises:
            PluginError: The plugin failed.
        """
        try:
            return list(self.expand(options))
        except Exception as error:
            raise PluginError(f"effect {self.name}: {type(error).__name__}: {error}") from error


# ------------------------------------------------------------------ all of them


class RuleKinds(TypedDict):
    """The arguments by which `load_rules` and its like take what plugins offer."""

    operators: Mapping[str, OperatorType]
    fields: Mapping[str, RuleField]
    effects: Mapping[str, EffectType]


@frozen
class Extensions:
    """What plugins offer to one document, each by its own name."""

    operators: Mapping[str, OperatorType] = immutabledict()
    fields: Mapping[str, RuleField] = immutabledict()
    effects: Mapping[str, EffectType] = immutabledict()

    def field(self, name: str) -> Field | None:
        """The field of this name, or ``None``."""
        offered = self.fields.get(name)
        return None if offered is None else offered.as_field()


NO_EXTENSIONS = Extensions()
