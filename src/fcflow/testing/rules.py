"""
Contracts for what plugins add to the rule language: inherit one, name what is to be tried, and run pytest.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, ClassVar

from fcflow.model import Order
from fcflow.rules import EffectType, OperatorType, RuleField, load_rules
from fcflow.rules.compile import compile_node
from fcflow.rules.extensions import Extensions
from fcflow.rules.faults import Faults
from fcflow.rules.fields import Facts, FieldType
from fcflow.rules.parse import ConditionParser
from fcflow.rules.shape import check_value, is_schema

__all__ = ["EffectContract", "FieldContract", "OperatorContract"]

_ORDER = Order(order_id="A1", lines=())


class OperatorContract:
    """
    What every operator keeps.

    Args:
        operator: The one to be tried.

        values: Values of its fields, some that it holds for, some that it does not.

        arguments: What rules may compare with.
    """

    operator: ClassVar[OperatorType]
    values: ClassVar[Sequence[Any]]
    arguments: ClassVar[Sequence[Any]]

    def _cases(self) -> list[tuple[Any, Any]]:
        assert self.values, "expected values to try"
        assert self.arguments, "expected arguments to try"
        return [(value, argument) for value in self.values for argument in self.arguments]

    def test_its_schema_takes_the_arguments(self) -> None:
        """The schema of the value is one, and lets through what rules are to write."""
        assert is_schema(self.operator.value_schema)
        for argument in self.arguments:
            faults = Faults()
            check_value(argument, self.operator.value_schema, faults, ())
            assert not len(faults), f"the schema refuses {argument!r}"

    def test_it_answers_true_false_or_none(self) -> None:
        """Nothing else is a verdict."""
        for value, argument in self._cases():
            assert self.operator.test(value, argument, _ORDER) in (True, False, None)

    def test_it_is_pure(self) -> None:
        """The same question has the same answer."""
        for value, argument in self._cases():
            assert self.operator.test(value, argument, _ORDER) is self.operator.test(value, argument, _ORDER)

    def test_its_index_says_what_it_says(self) -> None:
        """Where it tells how it is looked up, the look-up is its test."""
        if self.operator.key is None or self.operator.keys is None:
            return
        for value, argument in self._cases():
            key, said = self.operator.key(value), self.operator.test(value, argument, _ORDER)
            found = None if key is None else key in frozenset(self.operator.keys(argument))
            assert found is said, f"{value!r}, {argument!r}: the test says {said}, the look-up {found}"

    def test_it_can_be_pickled(self) -> None:
        """Rule sets go to other processes with it."""
        assert pickle.loads(pickle.dumps(self.operator)).name == self.operator.name  # noqa: S301  # our own bytes


class FieldContract:
    """
    What every field keeps.

    Args:
        field: The one to be tried.

        orders: Orders that show its values.
    """

    field: ClassVar[RuleField]
    orders: ClassVar[Sequence[Order]]

    def _values(self) -> list[Any]:
        assert self.orders, "expected orders to try"
        read = self.field.as_field().get
        lines = [(order, line) for order in self.orders for line in order.lines]
        if self.field.scope == "line":
            return [read(Facts(order, line=line)) for order, line in lines]
        return [read(Facts(order)) for order in self.orders]

    def test_its_values_are_of_its_type(self) -> None:
        """A value of another type, or none where there always is one, is refused when it is read."""
        assert any(value is not None for value in self._values()), "expected an order that shows a value"

    def test_it_is_pure(self) -> None:
        """The same order has the same value."""
        assert self._values() == self._values()

    def test_rules_may_ask_for_it(self) -> None:
        """Its value equals itself in a rule, by the index and without it."""
        if self.field.type in (FieldType.INSTANT, FieldType.SET) or self.field.scope == "line":
            return
        for order, value in zip(self.orders, self._values(), strict=True):
            currency = {"currency": order.currency or "GBP"} if self.field.type is FieldType.MONEY else {}
            wanted = str(value) if self.field.type is FieldType.MONEY else value
            if value is not None and (self.field.type is not FieldType.MONEY or order.currency):
                _both_ways({"field": self.field.name, "op": "eq", "value": wanted, **currency}, self.field, order)

    def test_it_can_be_pickled(self) -> None:
        """Rule sets go to other processes with it."""
        assert pickle.loads(pickle.dumps(self.field)).name == self.field.name  # noqa: S301  # our own bytes


def _both_ways(condition: dict[str, Any], field: RuleField, order: Order) -> None:
    rules: list[dict[str, Any]] = [{"id": each, "when": condition, "then": [{"keep": {}}]} for each in ("a", "b")]
    made = load_rules({"fcflow": "ruleset/1", "rules": rules}, fields={field.name: field})
    assert made.decide(order).rule_id == "a"
    parser = ConditionParser({}, Faults(), Extensions(fields={field.name: field}))
    assert compile_node(parser.parse(condition, ()))(Facts(order)) is True


class EffectContract:
    """
    What every effect keeps.

    Args:
        effect: The one to be tried.

        options: What rules may write behind its name.
    """

    effect: ClassVar[EffectType]
    options: ClassVar[Sequence[Any]]

    def test_it_stands_for_effects_that_rules_may_write(self) -> None:
        """Every option gives a rule set that loads, with the effects that it stands for."""
        assert self.options, "expected options to try"
        for options in self.options:
            then = [{self.effect.name: options}, {"keep": {}}]
            document: dict[str, Any] = {"fcflow": "ruleset/1", "rules": [{"id": "a", "when": True, "then": then}]}
            rules = load_rules(document, effects={self.effect.name: self.effect})
            assert len(rules.decide(_ORDER).effects) == len(self.effect.actions(options))

    def test_it_is_pure(self) -> None:
        """The same options stand for the same effects."""
        for options in self.options:
            assert self.effect.actions(options) == self.effect.actions(options)

    def test_it_can_be_pickled(self) -> None:
        """Rule sets go to other processes with it."""
        assert pickle.loads(pickle.dumps(self.effect)).name == self.effect.name  # noqa: S301  # our own bytes
