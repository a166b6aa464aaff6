"""``fcflow rules``: run a rule set's examples, try it on orders, explain a verdict."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from fcflow.cli.exit_codes import ExitCode
from fcflow.cli.output import clean, print_json, table
from fcflow.cli.session import Session, command
from fcflow.cli.shapes import explanation_document, finding_document

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fcflow.model import Decision, Order
    from fcflow.rules import RuleSet
    from fcflow.rules.coverage import Coverage, ExampleResult

__all__ = ["app", "loaded_rules", "world"]

app = typer.Typer(name="rules", help="Try a rule set.", no_args_is_help=True)

RulesFile = Annotated[
    Path | None, typer.Option("--rules", "-r", help="A rule set; default: that of the configuration.")
]
Layout = Annotated[str | None, typer.Option(help="Layout that reads the orders; default: fcflow's JSON.")]


def loaded_rules(session: Session, rules: Path | None) -> RuleSet:
    """The rule set in the file *rules*, or that of the configuration, which may be the live one of the store."""
    if rules is not None:
        from fcflow.plugins import load_plugins
        from fcflow.rules import load_rules

        return load_rules(rules, **load_plugins().rule_kinds)
    found = session.config.rule_set()
    if session.config.live_rules:
        with session.synchronizer(touch=False) as sync:
            found = sync.rules
    if found is None:
        missing = "no rule set is live in the store" if session.config.live_rules else "the configuration has no rules"
        raise typer.BadParameter(missing)
    return found


@command(app, "test")
def run_examples(
    session: Session,
    rules: RulesFile = None,
    orders: Annotated[Path | None, typer.Option(help="Decide these orders too, and count who ships them.")] = None,
    layout: Layout = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Say what no example, and none of the orders, ever tried.")
    ] = False,
) -> ExitCode:
    """Check a rule set and run its examples; with `--orders` show where real orders would go."""
    results = _results(session, rules)
    failed = [result for result in results if not result.passed]
    if failed:
        session.show({"failed": len(failed), "results": _result_rows(results)}, *_run_lines(results))
        return ExitCode.INVALID
    loaded = loaded_rules(session, rules)
    read = [] if orders is None else _read(orders, layout)
    rows = _tried(session, loaded, read)
    document: dict[str, Any] = {
        "name": loaded.name,
        "hash": loaded.hash,
        "rules": len(loaded.rules),
        "examples": len(results),
        "results": _result_rows(results),
        "orders": rows,
    }
    shown = [
        *_run_lines(results),
        Text(f"{loaded.name or 'rules'}: {len(loaded.rules)} rules, {len(results)} examples hold"),
    ]
    shown += [table("orders", rows)] if rows else []
    if coverage:
        measured = _measured(session, loaded, read)
        document["coverage"] = measured.to_document()
        shown += _coverage_lines(measured)
    session.show(document, *shown)
    return ExitCode.FINE


def _results(session: Session, rules: Path | None) -> tuple[ExampleResult, ...]:
    from fcflow.plugins import load_plugins
    from fcflow.rules.coverage import run_examples as run

    source = loaded_rules(session, None).text if rules is None else rules
    return run(source, **load_plugins().rule_kinds)[1]


def _result_rows(results: tuple[ExampleResult, ...]) -> list[dict[str, Any]]:
    return [
        {
            "rule": each.rule_id,
            "example": each.number,
            "about": each.about,
            "passed": each.passed,
            "expected": each.expected,
            "found": each.found,
            "because": list(each.because),
        }
        for each in results
    ]


def _run_lines(results: tuple[ExampleResult, ...]) -> list[RenderableType]:
    lines: list[RenderableType] = [Text(clean(_line(each)), "" if each.passed else "bold red") for each in results]
    failed = sum(not each.passed for each in results)
    return [*lines, Text(f"{failed} of {len(results)} examples fail", "bold red")] if failed else lines


def _line(result: ExampleResult) -> str:
    named = f"{result.rule_id} {result.number}" + (f": {result.about}" if result.about else "")
    if result.passed:
        return f"ok    {named}"
    return f"FAIL  {named}: expected {result.expected}, got {result.found}; {'; '.join(result.because)}"


def _read(file: Path, layout: str | None) -> list[Order]:
    from fcflow.cli.orders import read_orders

    return read_orders(file, layout)[0]


def world(session: Session, rules: RuleSet) -> dict[str, Any]:
    """The instant, and the stock of the store where *rules* ask for it."""
    now: dict[str, Any] = {"now": datetime.now(UTC)}
    if not rules.needs_view:
        return now
    with session.synchronizer(touch=False) as sync:
        return {**now, "view": sync.stock_view()}


def _measured(session: Session, rules: RuleSet, orders: list[Order]) -> Coverage:
    from fcflow.rules.coverage import measure_coverage
    from fcflow.rules.diff import Case

    about = world(session, rules) if orders else {}
    return measure_coverage(rules, [Case(order, **about) for order in orders])


def _coverage_lines(coverage: Coverage) -> list[RenderableType]:
    rows = [{"where": f"rule {rule}", "never tried": "it never matched"} for rule in coverage.never_matched]
    rows += [
        {"where": leaf.path, "never tried": f"{leaf.text}: never {' nor '.join(leaf.missing)}"}
        for leaf in coverage.uncovered
    ]
    shown = table("never tried", rows) if rows else Text("everything was tried")
    return [Text(f"coverage: {coverage.share:.0%}", "bold"), shown]


def _tried(session: Session, rules: RuleSet, orders: list[Order]) -> list[dict[str, object]]:
    about = world(session, rules) if orders else {}
    counted = Counter(_outcome(rules.decide(order, **about)) for order in orders)
    return [
        {"rule": rule or "(otherwise)", "action": action, "to": to, "orders": count}
        for (rule, action, to), count in counted.most_common()
    ]


def _outcome(decision: Decision) -> tuple[str | None, str, str]:
    return decision.rule_id, decision.action, ", ".join(decision.locations) or decision.reason or ""


@command(app, "check")
def check(
    session: Session,
    rules: RulesFile = None,
    deep: Annotated[
        bool | None,
        typer.Option("--deep/--quick", help="Ask a solver too (extra `analysis`); default: where it is installed."),
    ] = None,
    budget_s: Annotated[float, typer.Option("--budget", help="Seconds that the solver may take in all.")] = 45.0,
) -> ExitCode:
    """Prove what can be proved about a rule set: rules never reached, holds that fail open, overlaps."""
    loaded = loaded_rules(session, rules)
    found = loaded.check(deep=deep, budget_s=budget_s)
    findings = [finding_document(each) for each in found]
    document = {"name": loaded.name, "hash": loaded.hash, "rules": len(loaded.rules), "findings": findings}
    rows = [{"level": each.level, "kind": each.kind, "path": each.path, "message": each.message} for each in found]
    session.show(document, table("", rows, empty="nothing found"))
    return ExitCode.NEEDS_PERSON if any(each.level == "warning" for each in found) else ExitCode.FINE


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
    loaded = loaded_rules(session, rules)
    explanations = [loaded.explain(each, **world(session, loaded)) for each in _read(file, layout)]
    if session.as_json:
        print_json([explanation_document(each) for each in explanations])
        return
    session.show(None, *(Text(clean(line)) for each in explanations for line in str(each).splitlines()))
