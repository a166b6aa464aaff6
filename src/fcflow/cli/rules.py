"""``fcflow rules``: run a rule set's examples, try it on orders, explain a verdict."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from fcflow.cli.output import clean, print_json, table
from fcflow.cli.session import Session, command
from fcflow.cli.shapes import explanation_document

if TYPE_CHECKING:
    from fcflow.model import Decision
    from fcflow.rules import RuleSet

__all__ = ["app"]

app = typer.Typer(name="rules", help="Try a rule set.", no_args_is_help=True)

RulesFile = Annotated[
    Path | None, typer.Option("--rules", "-r", help="A rule set; default: that of the configuration.")
]
Layout = Annotated[str | None, typer.Option(help="Layout that reads the orders; default: fcflow's JSON.")]


def _loaded(session: Session, rules: Path | None) -> RuleSet:
    if rules is None:
        found = session.config.rule_set()
        if found is None:
            raise typer.BadParameter("the configuration has no rules")
        return found
    from fcflow.plugins import load_plugins
    from fcflow.rules import load_rules

    return load_rules(rules, operators=load_plugins().operators)


@command(app, "test")
def run_examples(
    session: Session,
    rules: RulesFile = None,
    orders: Annotated[Path | None, typer.Option(help="Decide these orders too, and count who ships them.")] = None,
    layout: Layout = None,
) -> None:
    """Check a rule set and run its examples; with `--orders` show where real orders would go."""
    loaded = _loaded(session, rules)
    written = loaded.document["rules"]
    examples = sum(len(rule.get("examples", ())) for rule in written)
    rows = _tried(loaded, orders, layout) if orders is not None else []
    document = {
        "name": loaded.name,
        "hash": loaded.hash,
        "rules": len(loaded.rules),
        "examples": examples,
        "orders": rows,
    }
    said = Text(f"{loaded.name or 'rules'}: {len(loaded.rules)} rules, {examples} examples hold")
    session.show(document, said, *([table("orders", rows)] if rows else []))


def _tried(rules: RuleSet, file: Path, layout: str | None) -> list[dict[str, object]]:
    from fcflow.cli.orders import read_orders

    orders, _ = read_orders(file, layout)
    counted = Counter(_outcome(decision) for decision in rules.decide_many(orders))
    return [
        {"rule": rule or "(otherwise)", "action": action, "to": to, "orders": count}
        for (rule, action, to), count in counted.most_common()
    ]


def _outcome(decision: Decision) -> tuple[str | None, str, str]:
    return decision.rule_id, decision.action, ", ".join(decision.locations) or decision.reason or ""


@command(app, "explain")
def explain(
    session: Session,
    order: Annotated[str | None, typer.Argument(help="Id of an order in the store.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Explain each order of this file instead.")] = None,
    layout: Layout = None,
    rules: RulesFile = None,
) -> None:
    """Explain what a rule set makes of an order: each rule's verdict and the test that made it so."""
    if (order is None) == (file is None):
        raise typer.BadParameter("give the id of an order, or --file")
    if file is None:
        from fcflow.cli.orders import explain as explain_stored

        explain_stored(session, str(order))
        return
    from fcflow.cli.orders import read_orders

    loaded = _loaded(session, rules)
    explanations = [loaded.explain(each) for each in read_orders(file, layout)[0]]
    if session.as_json:
        print_json([explanation_document(each) for each in explanations])
        return
    session.show(None, *(Text(clean(line)) for each in explanations for line in str(each).splitlines()))
