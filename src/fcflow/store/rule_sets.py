"""The rule sets that a store keeps: drafts, the live one, those that were live, and all that ever decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from attrs import frozen

__all__ = ["RuleSetRows", "RuleSetState", "StoredRuleSet"]


class RuleSetState(StrEnum):
    """
    What a rule set in the store is.

    ``draft``: kept to go live one day. ``live``: decides now; at most one is. ``past``: was live. ``kept``: decided,
    but never went live in the store, as it came from the configuration or the host.
    """

    DRAFT = "draft"
    LIVE = "live"
    PAST = "past"
    KEPT = "kept"


@frozen(kw_only=True)
class StoredRuleSet:
    """
    A rule set in the store, without its document.

    Args:
        hash: That of `fcflow.rules.RuleSet`.

        name: Empty where the document does not say.

        note: Why it was drafted or went live, or ``None``.

        actor: Who brought it into this state.

        live_at: When it went live last; ``None`` if it never did.
    """

    hash: str
    name: str = ""
    state: RuleSetState
    note: str | None = None
    actor: str
    added_at: datetime
    live_at: datetime | None = None


class RuleSetRows:
    """What a `Transaction` does with rule sets."""

    connection: sa.Connection
    _tables: dict[str, sa.Table]

    def _own(self, table: sa.Table) -> sa.ColumnElement[bool]:
        raise NotImplementedError

    def _rows(self, query: sa.Select[Any]) -> Sequence[Any]:
        raise NotImplementedError

    def _value(self, query: sa.Select[Any]) -> Any:
        raise NotImplementedError

    def _insert(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        raise NotImplementedError

    def _update(self, name: str, keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        raise NotImplementedError

    def rule_sets(
        self, *, hashes: Sequence[str] | None = None, state: str | None = None, beginning: str | None = None
    ) -> list[StoredRuleSet]:
        """
        Rule sets: the live one and those that were live first, latest first; then the others, newest first.

        Args:
            beginning: Only those whose hash begins so.
        """
        table = self._tables["rule_set"]
        columns = [table.c[name] for name in ("hash", "name", "state", "note", "actor", "added_at", "live_at")]
        query = sa.select(*columns).where(self._own(table))
        if hashes is not None:
            query = query.where(table.c.hash.in_(hashes))
        if state is not None:
            query = query.where(table.c.state == state)
        if beginning is not None:
            query = query.where(table.c.hash.startswith(beginning, autoescape=True))
        order = (sa.func.coalesce(table.c.turn, 0).desc(), table.c.added_at.desc(), table.c.hash)
        return [_stored(row) for row in self._rows(query.order_by(*order))]

    def rule_set_text(self, hash: str) -> str | None:  # the column's own name
        """The canonical document of a rule set, or ``None`` where the store has none with this hash."""
        table = self._tables["rule_set"]
        found = self._value(sa.select(table.c.document).where(self._own(table), table.c.hash == hash))
        return None if found is None else str(found)

    def live_rule_set(self) -> str | None:
        """The hash of the live rule set, or ``None``."""
        table = self._tables["rule_set"]
        found = self._value(sa.select(table.c.hash).where(self._own(table), table.c.state == RuleSetState.LIVE))
        return None if found is None else str(found)

    def add_rule_set(self, stored: StoredRuleSet, text: str) -> None:
        """Keep a rule set that the store does not have; one that it has stays as it is."""
        table = self._tables["rule_set"]
        known = sa.select(table.c.hash).where(self._own(table), table.c.hash == stored.hash)
        if self._value(known) is None:
            row: dict[str, Any] = {"hash": stored.hash, "name": stored.name, "state": stored.state.value}
            more = {"note": stored.note, "actor": stored.actor, "added_at": stored.added_at, "document": text}
            self._insert("rule_set", [row | more])

    def put_live(self, hash: str, *, at: datetime, actor: str, note: str | None) -> None:  # the column's own name
        """Let the rule set *hash*, which the store has, be the live one; the one that was becomes past."""
        table = self._tables["rule_set"]
        before = self.live_rule_set()
        if before is not None and before != hash:
            self._update("rule_set", ["hash"], [{"hash": before, "state": RuleSetState.PAST.value}])
        turn = self._value(sa.select(sa.func.coalesce(sa.func.max(table.c.turn), 0)).where(self._own(table)))
        row: dict[str, Any] = {"hash": hash, "state": RuleSetState.LIVE.value, "live_at": at, "turn": int(turn) + 1}
        self._update("rule_set", ["hash"], [{**row, "actor": actor, "note": note}])


def _stored(row: Any) -> StoredRuleSet:
    return StoredRuleSet(
        hash=row.hash,
        name=row.name,
        state=RuleSetState(row.state),
        note=row.note,
        actor=row.actor,
        added_at=row.added_at,
        live_at=row.live_at,
    )
