"""
From when and until when a rule is in force.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from attrs import evolve

from fcflow.rules.faults import Faults, Path
from fcflow.rules.tree import Effective, Rule
from fcflow.rules.values import Bad, instant

__all__ = ["boundaries", "in_force", "parse_effective"]


def parse_effective(written: Any, zone: ZoneInfo | None, faults: Faults, path: Path) -> Effective | None:
    """
    When a rule is in force, as its document says.

    Args:
        zone: In which a date without a time of day begins.
    """
    if not isinstance(written, dict):
        return None
    since, until = (_begin(written.get(key), zone, faults, (*path, key)) for key in ("from", "until"))
    if since is not None and until is not None and since >= until:
        faults.add(path, "never in force", found=written["until"], expected="until after from")
    return Effective(since, until)


def _begin(written: Any, zone: ZoneInfo | None, faults: Faults, path: Path) -> datetime | None:
    if not isinstance(written, str) or path in faults.blocked():
        return None
    try:
        day = date.fromisoformat(written)
    except ValueError:
        return _instant(written, faults, path)
    if zone is None:
        faults.add(path, "a date without a zone", found=written, expected="zone on the rule set, or an instant")
        return None
    try:
        return datetime.combine(day, time(), zone).astimezone(UTC)
    except OverflowError:
        faults.add(path, "out of bounds", found=written, expected="a date between the years 1 and 9999")
        return None


def _instant(written: str, faults: Faults, path: Path) -> datetime | None:
    try:
        found: datetime = instant(written)
    except Bad as bad:
        bad.note(faults, path)
        return None
    return found.astimezone(UTC)


def boundaries(rules: Iterable[Rule]) -> tuple[datetime, ...]:
    """Every instant at which an enabled rule comes into force or leaves it, in order."""
    dated = [rule.effective for rule in rules if rule.enabled and rule.effective is not None]
    return tuple(sorted({at for each in dated for at in (each.since, each.until) if at is not None}))


def in_force(rules: Iterable[Rule], at: datetime) -> tuple[Rule, ...]:
    """*rules* as they stand at an instant: those that are not in force then are not enabled."""
    return tuple(rule if rule.effective is None else _standing(rule, rule.effective.holds(at)) for rule in rules)


def _standing(rule: Rule, holds: bool) -> Rule:
    return evolve(rule, effective=None, in_force=holds, enabled=rule.enabled and holds)
