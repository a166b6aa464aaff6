"""``fcflow rules from-table|to-table|from-querybuilder|querybuilder-fields|graph``: ways in for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from fcflow.cli.output import print_json
from fcflow.cli.rule_changes import app
from fcflow.cli.rules import RulesFile, loaded_rules
from fcflow.cli.session import Session, command
from fcflow.errors import Fault, RuleError

__all__ = ["Picture", "app"]

Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file; default: print it.")]


class Picture(StrEnum):
    """How a rule set is drawn."""

    MERMAID = "mermaid"
    SVG = "svg"


@command(app, "from-table")
def from_table(
    session: Session,
    table: Annotated[Path, typer.Argument(help="A decision table: .csv, or .xlsx with the extra xlsx.")],
    out: Out = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of a spreadsheet; default: its first.")] = None,
) -> None:
    """Read a decision table, one rule a row, and write it as a rule set; every fault is named with its cell."""
    from fcflow.plugins import load_plugins
    from fcflow.rules.tables import from_table as read_table

    rules = read_table(table, sheet=sheet, **load_plugins().rule_kinds)
    _write(session, json.dumps(rules.document, indent=2, ensure_ascii=False) + "\n", out, f"{len(rules.rules)} rules")


@command(app, "to-table")
def to_table(session: Session, rules: RulesFile = None, out: Out = None) -> None:
    """Write a rule set as a decision table: CSV, or a spreadsheet where the file ends in .xlsx."""
    from fcflow.rules.sheets import csv_text, write_rows
    from fcflow.rules.tables import to_table as table_of

    loaded = loaded_rules(session, rules)
    rows = table_of(loaded)
    if out is None:
        sys.stdout.write(csv_text(rows))
        return
    with _writing(out):
        write_rows(rows, out)
    _say(session, out, f"{len(loaded.rules)} rules")


@command(app, "from-querybuilder")
def from_querybuilder(
    session: Session,
    query: Annotated[Path, typer.Argument(help="What React Query Builder holds, as JSON.")],
    out: Out = None,
    currency: Annotated[str | None, typer.Option(help="Of money in the query, such as GBP.")] = None,
    zone: Annotated[str | None, typer.Option(help="Of times without one, such as Europe/London.")] = None,
) -> None:
    """Turn a query of React Query Builder into a condition, for a rule's `when`."""
    from fcflow.plugins import load_plugins
    from fcflow.rules.querybuilder import from_querybuilder as condition_of

    condition = condition_of(_read(query), currency=currency, zone=zone, **load_plugins().rule_kinds)
    _write(session, json.dumps(condition, indent=2, ensure_ascii=False) + "\n", out, "the condition")


@command(app, "querybuilder-fields")
def querybuilder_fields(
    session: Session,
    names: Annotated[
        list[str] | None, typer.Option("--property", help="A property that orders carry; repeat it.")
    ] = None,
) -> None:
    """Print the fields of the rule language as React Query Builder's `fields`, with operators and values."""
    from fcflow.plugins import load_plugins
    from fcflow.rules.querybuilder import querybuilder_fields as fields_of

    print_json(fields_of(names or (), **load_plugins().rule_kinds))


@command(app, "graph")
def graph(
    session: Session,
    rules: RulesFile = None,
    form: Annotated[Picture | None, typer.Option("--format", help="Default: as the file ends, else Mermaid.")] = None,
    out: Out = None,
) -> None:
    """Draw a rule set, from the first rule to the last: a Mermaid flowchart, or SVG."""
    from fcflow.rules.graph import to_mermaid, to_svg

    loaded = loaded_rules(session, rules)
    is_svg = form is Picture.SVG or (form is None and out is not None and out.suffix.lower() == ".svg")
    _write(session, (to_svg if is_svg else to_mermaid)(loaded) + "\n", out, f"{len(loaded.rules)} rules")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise RuleError(str(path), [Fault(f"cannot be read: {why}")]) from None


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """A file that cannot be written is a fault like any other."""
    try:
        yield
    except OSError as error:
        raise RuleError(str(path), [Fault(f"cannot be written: {error.strerror}")]) from None


def _write(session: Session, text: str, out: Path | None, what: str) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    with _writing(out):
        out.write_text(text, encoding="utf-8")
    _say(session, out, what)


def _say(session: Session, out: Path, what: str) -> None:
    document: dict[str, Any] = {"written": str(out)}
    session.show(document, Text(f"{out}: {what} written"))
