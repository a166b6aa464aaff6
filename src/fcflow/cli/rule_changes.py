"""``fcflow rules diff|replay|draft|publish|history|show|rollback``: change rules, and see first what that changes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from fcflow.cli.output import clean, print_json, table
from fcflow.cli.rules import app
from fcflow.cli.session import Session, command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fcflow.rules.diff import RuleDiff
    from fcflow.store import StoredRuleSet

__all__ = ["app"]

_MOST = 50
_SHORT = 12

Source = Annotated[
    str,
    typer.Argument(metavar="RULES", help="A file, `live`, or the hash of a rule set in the store (or its beginning)."),
]
Note = Annotated[str | None, typer.Option("--note", help="Why; for people, and for the audit trail.")]


@command(app, "diff")
def diff(
    session: Session,
    old: Source,
    new: Source,
    orders: Annotated[Path, typer.Option(help="The orders to decide by both.", show_default=False)],
    layout: Annotated[str | None, typer.Option(help="Layout that reads the orders; default: fcflow's JSON.")] = None,
) -> None:
    """Decide orders by two rule sets, and show which go elsewhere, from where to where, and by which rules."""
    from fcflow.cli.orders import read_orders

    read = read_orders(orders, layout)[0]
    if not session.path.exists() and all(Path(each).is_file() for each in (old, new)):
        _show(session, _diff_of_files(old, new, read))
        return
    with session.synchronizer(touch=False) as sync:
        _show(session, sync.diff_rules(_source(sync, old), _source(sync, new), read))


def _diff_of_files(old: str, new: str, orders: list[Any]) -> RuleDiff:
    from fcflow.plugins import load_plugins
    from fcflow.rules import load_rules
    from fcflow.rules.diff import diff as compare

    before, after = (load_rules(Path(each), **load_plugins().rule_kinds) for each in (old, new))
    return compare(before, after, orders, now=datetime.now(UTC))


@command(app, "replay")
def replay(
    session: Session,
    rules: Source,
    since: Annotated[str | None, typer.Option(help="Only decisions from then on: a date, or an instant.")] = None,
) -> None:
    """Decide the store's own orders again, each as of its last decision, and show what RULES would have done."""
    start = None if since is None else _instant(since)
    with session.synchronizer(touch=False) as sync:
        _show(session, sync.replay(_source(sync, rules), since=start))


@command(app, "draft")
def draft(session: Session, file: Annotated[Path, typer.Argument(help="The rule set.")], note: Note = None) -> None:
    """Keep a rule set in the store that is to go live later; its examples may still fail."""
    with session.synchronizer() as sync:
        stored = sync.draft_rules(file, note=note, actor=session.actor)
    session.show(_document(stored), Text(f"{stored.hash[:_SHORT]} is kept as {stored.state.value}"))


@command(app, "publish")
def publish(session: Session, rules: Source, note: Note = None) -> None:
    """Let a rule set go live, if it has no fault and its examples hold; the next run decides by it."""
    with session.synchronizer() as sync:
        stored = sync.publish_rules(_source(sync, rules), note=note, actor=session.actor)
    session.show(_document(stored), Text(f"{stored.hash[:_SHORT]} is live"))


@command(app, "rollback")
def roll_back(
    session: Session,
    to: Annotated[str | None, typer.Option("--to", help="Hash of the rule set; default: the one live before.")] = None,
    note: Note = None,
) -> None:
    """Go back to a rule set that was live before."""
    with session.synchronizer() as sync:
        stored = sync.roll_back_rules(to, note=note, actor=session.actor)
    session.show(_document(stored), Text(f"{stored.hash[:_SHORT]} is live again"))


@command(app, "history")
def history(session: Session) -> None:
    """List the rule sets of the store: the live one, those that were live, then drafts and all others that decided."""
    with session.synchronizer(touch=False) as sync:
        found = sync.rule_sets()
    rows = [
        {**_document(each), "hash": each.hash[:_SHORT], "added": each.added_at, "live": each.live_at} for each in found
    ]
    shown = [{key: value for key, value in row.items() if key not in ("added_at", "live_at")} for row in rows]
    session.show([_document(each) for each in found], table("rule sets", shown))


@command(app, "show")
def show(session: Session, rules: Source) -> None:
    """Print a rule set of the store, such as one that the audit trail names."""
    with session.synchronizer(touch=False) as sync:
        found = sync.rules if rules == "live" else sync.rule_set(rules)
    if found is None:
        raise typer.BadParameter("no rule set is live")
    print_json(found.document)


# ------------------------------------------------------------------ small things


def _source(sync: Any, given: str) -> Any:
    """A file is a file, even if it is called like a hash."""
    if given == "live":
        live = sync.rules
        if live is None:
            raise typer.BadParameter("no rule set is live")
        return live
    return Path(given) if Path(given).is_file() or not _is_hash(given) else given


def _is_hash(given: str) -> bool:
    return 6 <= len(given) <= 64 and all(character in "0123456789abcdef" for character in given)


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"expected a date or an instant such as 2026-03-02, got {text!r}") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _document(stored: StoredRuleSet) -> dict[str, Any]:
    return {
        "hash": stored.hash,
        "name": stored.name,
        "state": stored.state.value,
        "actor": stored.actor,
        "note": stored.note,
        "added_at": stored.added_at,
        "live_at": stored.live_at,
    }


def _show(session: Session, found: RuleDiff) -> None:
    lines: list[RenderableType] = [Text(clean(line)) for line in str(found).splitlines()]
    rows = [
        {
            "order": change.order_id,
            "before": outcome_of(change.before),
            "after": outcome_of(change.after),
            "what": ", ".join(change.what),
            "by": ", ".join(change.rules),
        }
        for change in found.changes[:_MOST]
    ]
    more = len(found.changes) - len(rows)
    tail = [Text(f"and {more} more; --json has them all")] if more else []
    session.show(found.to_document(), *lines, *([table("changes", rows)] if rows else []), *tail)


def outcome_of(decision: Any) -> str:
    """A decision in a cell: what becomes of the order, and by which rule."""
    from fcflow.rules.diff import outcome

    return f"{outcome(decision)} ({decision.rule_id or 'otherwise'})"
