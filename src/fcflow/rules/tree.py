"""
The typed condition tree: what a condition means, checked, immutable, free of any way to run it.

Everything that works on conditions (running, explaining, indexing, proving) reads this tree and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from attrs import frozen

from fcflow.model import Decision, Effect
from fcflow.rules.fields import Field
from fcflow.rules.operators import OperatorType

__all__ = [
    "AllOf",
    "AnyOf",
    "CountLines",
    "Effective",
    "Lines",
    "Measured",
    "Named",
    "Node",
    "Not",
    "Rule",
    "Stock",
    "StockAge",
    "SumLines",
    "Test",
    "Truth",
    "children",
    "walk",
]


@frozen
class Truth:
    """Always true."""

    path: str = "$"


@frozen
class AllOf:
    """Kleene's *and*."""

    parts: tuple[Node, ...]
    path: str = "$"


@frozen
class AnyOf:
    """Kleene's *or*."""

    parts: tuple[Node, ...]
    path: str = "$"


@frozen
class Not:
    """Kleene's *not*."""

    part: Node
    path: str = "$"


@frozen
class Named:
    """A condition of the rule set, used by its name."""

    name: str
    part: Node
    path: str = "$"


@frozen
class Test:
    """
    One test of one field.

    Args:
        value: Typed: text, int, `Decimal`, an aware instant, a `timedelta`, a tuple of these, a compiled
            pattern; ``None`` for ``exists`` and ``absent``.

        currency: Money only.

        zone: Weekday and time of day only.

        operator: A plugin's, or ``None`` for a built-in.

        written: The value as it stood in the document, for messages.
    """

    field: Field
    op: str
    value: Any = None
    ignore_case: bool = False
    currency: str | None = None
    zone: ZoneInfo | None = None
    operator: OperatorType | None = None
    written: Any = None
    path: str = "$"


@frozen
class Lines:
    """
    A condition over lines.

    Args:
        kind: ``any_line``, ``every_line`` or ``no_line``.
    """

    kind: str
    part: Node
    path: str = "$"


@frozen
class CountLines:
    """How many lines fulfil *where* (``None``: all of them), compared."""

    where: Node | None
    op: str
    value: Any
    path: str = "$"


@frozen
class SumLines:
    """The sum of *field* over the lines that fulfil *where* (``None``: all of them), compared."""

    field: Field
    where: Node | None
    op: str
    value: Any
    currency: str | None = None
    path: str = "$"


@frozen
class Stock:
    """
    Whether one of the locations *at* covers the order from its own stock.

    Args:
        covers: ``all`` its lines, or ``any`` of them.
    """

    at: tuple[str, ...]
    covers: str
    path: str = "$"


@frozen
class StockAge:
    """How old the oldest stock picture of the order's SKUs at a location is, compared."""

    at: str
    op: str
    value: timedelta
    path: str = "$"


@frozen
class Measured:
    """How a location behaved lately, by one measure, compared."""

    at: str
    measure: str
    op: str
    value: Fraction
    path: str = "$"


Node = Truth | AllOf | AnyOf | Not | Named | Test | Lines | CountLines | SumLines | Stock | StockAge | Measured


def children(node: Node) -> tuple[Node, ...]:
    """The conditions directly below *node*."""
    match node:
        case AllOf() | AnyOf():
            return node.parts
        case Not() | Named() | Lines():
            return (node.part,)
        case CountLines() | SumLines():
            return () if node.where is None else (node.where,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """*node* and everything below it."""
    yield node
    for child in children(node):
        yield from walk(child)


@frozen
class Effective:
    """
    When a rule is in force.

    Args:
        since: From this instant on; ``None``: it always was.

        until: Up to this instant, which is the first at which it is in force no more; ``None``: for ever.
    """

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, at: datetime) -> bool:
        """Whether it is in force at an instant."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


@frozen(kw_only=True)
class Rule:
    """
    One rule of a set.

    Args:
        effects: What it adds to every order that it matches.

        decision: What it decides, without effects; ``None`` where it decides nothing.

        if_unknown: Whether it matches where its condition is unknown.

        effective: When it is in force; ``None``: always.

        in_force: ``False`` only where a rule set was asked for as it stands at an instant, and this rule is not part
            of it then; it is not enabled then either.
    """

    id: str
    when: Node
    effects: tuple[Effect, ...] = ()
    decision: Decision | None = None
    about: str | None = None
    enabled: bool = True
    if_unknown: bool = False
    effective: Effective | None = None
    in_force: bool = True
