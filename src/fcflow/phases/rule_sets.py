"""Rule sets in the store: drafts, going live, going back, and what another rule set would have decided."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from attrs import evolve, frozen
from sqlalchemy.engine import Connection

from fcflow.audit import AuditEvent, AuditType
from fcflow.errors import ConfigError, DocumentError, Fault, RuleError
from fcflow.model import Order
from fcflow.phases.context import Context, Writing, describe
from fcflow.phases.stock_view import stock_view
from fcflow.rules import RuleSet, load_rules
from fcflow.rules import source as json_source
from fcflow.rules.coverage import run_examples
from fcflow.rules.diff import Case, RuleDiff, Skipped, diff, diff_cases
from fcflow.rules.faults import Faults, nearest
from fcflow.stock import StockView
from fcflow.store import RuleSetState, StoredRuleSet, Transaction

__all__ = ["RuleSetCalls", "RuleSource", "keep_rule_set", "with_live_rules"]

RuleSource = RuleSet | str | os.PathLike[str] | Mapping[str, Any]

_CHUNK = 500
_DECISIONS = (AuditType.ALLOCATED, AuditType.BACKORDERED, AuditType.HELD, AuditType.NOT_ALLOCATED)
_SHORT = 12


class RuleSetCalls:
    """What a `fcflow.Synchronizer` does with the rule sets of its store."""

    _context: Context

    @property
    def rules(self) -> RuleSet | None:
        """The rule set that decides now; ``None``: orders go only where they are moved by hand."""
        self._context = with_live_rules(self._context)
        return self._context.rules

    def rule_sets(self, *, connection: Connection | None = None) -> list[StoredRuleSet]:
        """
        Every rule set in the store: the live one, those that were live (latest first), the others (newest first).

        Each one that ever decided is among them, so what the audit trail calls by its hash is found.
        """
        with self._context.store.reading(connection=connection) as tx:
            return tx.rule_sets()

    def rule_set(self, hash: str, *, connection: Connection | None = None) -> RuleSet:  # the audit trail's word
        """
        A rule set of the store.

        Args:
            hash: As it stands in the audit trail, or the beginning of it.

        Raises:
            RuleError: There is none, or more than one; or a plugin that it needs is not there.
        """
        with self._context.store.reading(connection=connection) as tx:
            found = _find(tx, hash)
            return _load(self._context, found.hash, tx)

    def draft_rules(
        self,
        source: RuleSource,
        *,
        note: str | None = None,
        actor: str = "host",
        connection: Connection | None = None,
    ) -> StoredRuleSet:
        """
        Keep a rule set in the store that is to go live later. Its examples may still fail.

        Args:
            source: As for `fcflow.load_rules`, or a rule set.

            note: For people.

        Raises:
            RuleError: It has faults.
        """
        name, document = _document(self._context, source)
        run_examples(document, **self._context.plugins.rule_kinds)
        with self._context.writing(connection=connection, actor=actor) as writing:
            return _keep(document, name, RuleSetState.DRAFT, note, writing)

    def publish_rules(
        self,
        source: RuleSource,
        *,
        note: str | None = None,
        actor: str = "host",
        connection: Connection | None = None,
    ) -> StoredRuleSet:
        """
        Let a rule set go live: the next run decides by it, in every process that works on this store.

        Args:
            source: As for `fcflow.load_rules`, a rule set, or the hash of one in the store (at least its first 6
                digits).

            note: Why, for the audit trail.

        Raises:
            RuleError: It has faults, an example fails, or it names a location or strategy that is not there; what was
                live stays live.

            ConfigError: The synchronizer does not take its rules from the store.
        """
        return _publish(self._context, source, note, actor, connection)

    def roll_back_rules(
        self,
        to: str | None = None,
        *,
        note: str | None = None,
        actor: str = "host",
        connection: Connection | None = None,
    ) -> StoredRuleSet:
        """
        Go back to a rule set that was live before.

        Args:
            to: Its hash, or the beginning of it; ``None`` is the one that was live last, so that going back twice
                changes nothing.

        Raises:
            RuleError: No rule set was live before, or it cannot go live any more.

            ConfigError: The synchronizer does not take its rules from the store.
        """
        with self._context.store.reading(connection=connection) as tx:
            was_live = tx.rule_sets(state=RuleSetState.PAST.value, beginning=to)
        if not was_live or (to is not None and len(was_live) > 1):
            raise _refused("rules", f"expected one rule set that was live before, got {len(was_live)}", to)
        return _publish(self._context, was_live[0].hash, note, actor, connection)

    def diff_rules(self, old: RuleSource, new: RuleSource, orders: Iterable[Order]) -> RuleDiff:
        """
        What *new* would decide about *orders* that *old* does not, now and with the stock of the store.

        Args:
            old, new: As for `publish_rules`.

        Raises:
            RuleError: One of them has faults.
        """
        return diff(self._resolved(old), self._resolved(new), orders, view=self.stock_view(), now=self._context.clock())

    def stock_view(self) -> StockView:
        """The stock as rules see it now."""
        with self._context.store.reading() as tx:
            return stock_view(self._context, tx, self._context.clock(), any_rules=True)

    def replay(self, rules: RuleSource, *, since: datetime | None = None) -> RuleDiff:
        """
        What *rules* would have decided about the store's own orders, beside what was decided.

        Each order is decided again as of the instant of its last decision, by the rule set that decided then and by
        *rules*. Orders and stock are as they are now: the store keeps no older ones.

        Args:
            rules: As for `publish_rules`.

            since: Only decisions from then on.

        Returns:
            ``drifted`` are the orders that the old rules would not decide now as the audit trail says they did:
            they were amended, or stock is another.

        Raises:
            RuleError: *rules* has faults.
        """
        return _replay(self._context, self._resolved(rules), since)

    def _resolved(self, source: RuleSource) -> RuleSet:
        if isinstance(source, RuleSet):
            return source
        if _is_hash(source):
            return self.rule_set(str(source))
        return load_rules(_document(self._context, source)[1], **self._context.plugins.rule_kinds)


# ------------------------------------------------------------------ the live one


def with_live_rules(context: Context) -> Context:
    """
    The context with the rule set that is live in the store now, where rules come from there.

    It is loaded whole before it is anybody's; a run goes on with the context that it began with.

    Raises:
        RuleError: It cannot be loaded here, as a plugin is not there.
    """
    if not context.live_rules:
        return context
    with context.store.reading() as tx:
        live = tx.live_rule_set()
        if live is None or (context.rules is not None and live == context.rules.hash):
            return context
        return evolve(context, rules=_load(context, live, tx))


def keep_rule_set(context: Context, writing: Writing) -> None:
    """Keep the rule set that decides, for those who read the audit trail one day."""
    rules = context.rules
    if rules is not None and not writing.tx.rule_sets(hashes=[rules.hash]):
        writing.tx.add_rule_set(_row(rules.hash, rules.name, RuleSetState.KEPT, None, writing), rules.text)


def _row(hash: str, name: str, state: RuleSetState, note: str | None, writing: Writing) -> StoredRuleSet:
    return StoredRuleSet(hash=hash, name=name, state=state, note=note, actor=writing.actor, added_at=writing.now)


def _keep(document: Any, name: str, state: RuleSetState, note: str | None, writing: Writing) -> StoredRuleSet:
    text, hash = json_source.canonical(document), json_source.digest(document)
    called = str(document.get("name", "") or name)
    writing.tx.add_rule_set(_row(hash, called, state, note, writing), text)
    [stored] = writing.tx.rule_sets(hashes=[hash])
    return stored


def _publish(
    context: Context, source: RuleSource, note: str | None, actor: str, connection: Connection | None
) -> StoredRuleSet:
    if not context.live_rules:
        said = 'rules do not come from the store, so none can go live there: say "rules": {"store": true}'
        raise ConfigError("rules", [Fault(said, path="$.rules")])
    with context.writing(connection=connection, actor=actor) as writing:
        if isinstance(source, str) and _is_hash(source):
            rules = _load(context, _find(writing.tx, source).hash, writing.tx)
        else:
            name, document = _document(context, source)
            rules = load_rules(document, **context.plugins.rule_kinds)
            _keep(document, name, RuleSetState.DRAFT, note, writing)
        _check_names(context, rules)
        before = writing.tx.live_rule_set()
        writing.tx.put_live(rules.hash, at=writing.now, actor=actor, note=note)
        message = note or f"{rules.name or 'rules'} {rules.hash[:_SHORT]} went live"
        writing.note(AuditType.RULES_LIVE, message, rule_set=rules.hash, before=before)
        [stored] = writing.tx.rule_sets(hashes=[rules.hash])
    return stored


def _check_names(context: Context, rules: RuleSet) -> None:
    """Refuse a rule set that names what this synchronizer does not know."""
    known = {"location": sorted(context.locations), "strategy": sorted(_strategies(context))}
    named = {"location": rules.location_codes, "strategy": rules.strategies}
    faults = [
        Fault(
            f"unknown {what}", path="$", found=name, expected=nearest(name, known[what]) or ", ".join(known[what][:12])
        )
        for what, names in named.items()
        for name in sorted(names - set(known[what]))
    ]
    if faults:
        raise RuleError(rules.name or "rules", faults)


def _strategies(context: Context) -> set[str]:
    from fcflow.allocation import STRATEGIES

    return {*STRATEGIES, *context.plugins.strategies}


# ------------------------------------------------------------------ finding, reading


def _is_hash(source: object) -> bool:
    return isinstance(source, str) and re.fullmatch(r"[0-9a-f]{6,64}", source) is not None


def _find(tx: Transaction, beginning: str) -> StoredRuleSet:
    found = tx.rule_sets(beginning=beginning)
    if len(found) == 1:
        return found[0]
    message = "several rule sets of the store begin so" if found else "the store has no such rule set"
    raise _refused("rules", message, beginning)


def _refused(name: str, message: str, found: object) -> RuleError:
    return RuleError(name, [Fault(message, found=found)])


def _load(context: Context, hash: str, tx: Transaction) -> RuleSet:
    text = tx.rule_set_text(hash)
    if text is None:
        raise _refused("rules", "the store has no such rule set", hash)
    try:
        return load_rules(text, **context.plugins.rule_kinds)
    except RuleError as error:
        error.add_note(f"rule set {hash[:_SHORT]} of the store")
        raise


def _document(context: Context, source: RuleSource) -> tuple[str, Any]:
    """What a rule set is called where it does not say, and its document, with the seller's currency if it has none."""
    if isinstance(source, RuleSet):
        source = source.text
    faults = Faults()
    name, document = json_source.read(source, faults)
    if len(faults) or not isinstance(document, dict):
        raise RuleError(name, faults.sorted(document) or [Fault("wrong type", path="$", expected="an object")])
    currency = {} if context.currency is None else {"currency": context.currency}
    return "" if name == "rules" else os.path.basename(name), {**currency, **document}


# ------------------------------------------------------------------ what it would have been


@frozen
class _Decided:
    """The last decision that the audit trail has of an order."""

    at: datetime
    rule_set: str
    rule: str | None


def _replay(context: Context, new: RuleSet, since: datetime | None) -> RuleDiff:
    skipped: list[Skipped] = []
    drifted: list[str] = []
    with context.store.reading() as tx:
        decided = _last_decisions(tx, since)
        old = _rule_sets(context, {each.rule_set for each in decided.values()}, tx)
        cases = _cases(context, tx, decided, old, skipped, drifted)
        made = diff_cases(cases, new)
    return evolve(made, skipped=tuple(skipped), drifted=tuple(drifted))


def _last_decisions(tx: Transaction, since: datetime | None) -> dict[str, _Decided]:
    latest: dict[str, _Decided] = {}
    for type in _DECISIONS:  # the event's own word
        for event in _events(tx, type, since):
            rule_set, known = event.data.get("rule_set"), latest.get(event.order_id or "")
            if event.order_id is not None and rule_set is not None and (known is None or known.at <= event.at):
                latest[event.order_id] = _Decided(event.at, rule_set, event.data.get("rule"))
    return latest


def _events(tx: Transaction, type: str, since: datetime | None) -> Iterator[AuditEvent]:  # the event's own word
    after = 0
    while found := tx.audit(type=type, since=since, after=after, limit=_CHUNK):
        yield from found
        after = found[-1].sequence


def _rule_sets(context: Context, hashes: set[str], tx: Transaction) -> dict[str, RuleSet | str]:
    """Each of *hashes*, or why it is not there."""
    found: dict[str, RuleSet | str] = {}
    for each in hashes:
        try:
            found[each] = _load(context, each, tx)
        except DocumentError as error:
            found[each] = describe(error)
    return found


def _cases(
    context: Context,
    tx: Transaction,
    decided: Mapping[str, _Decided],
    old: Mapping[str, RuleSet | str],
    skipped: list[Skipped],
    drifted: list[str],
) -> Iterator[tuple[RuleSet, Case]]:
    view = stock_view(context, tx, context.clock(), any_rules=True)
    ids = list(decided)
    for start in range(0, len(ids), _CHUNK):
        for order in tx.orders(ids[start : start + _CHUNK]):
            was = decided[order.order_id]
            rules = old[was.rule_set]
            if isinstance(rules, str):
                skipped.append(Skipped(order.order_id, rules))
                continue
            case = Case(order.order, view, was.at, lifted=tuple(order.stored.released))
            again = rules.decisions(case.order, view, was.at, lifted=case.lifted)
            if was.rule not in {each.rule_id for each in again}:
                drifted.append(order.order_id)
            yield rules, case
