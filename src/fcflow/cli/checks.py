"""``fcflow check``: is everything as it should be, before a partner is touched."""

from __future__ import annotations

from typing import Annotated

import typer

from fcflow.cli.exit_codes import ExitCode
from fcflow.cli.output import table
from fcflow.cli.session import Session, command

__all__ = ["register"]

_BY_KIND = {"transport": ExitCode.PARTNER, "store": ExitCode.STORE}
_COUNTED = ("partner", "location", "rule")


def register(app: typer.Typer) -> None:
    """Put ``check`` into *app*."""
    command(app, "check")(check)


def check(
    session: Session,
    connect: Annotated[
        bool, typer.Option("--connect", help="Try each way in and look into its folders, without changing anything.")
    ] = False,
) -> ExitCode:
    """Check configuration, rules, layouts and store; with `--connect` every connection too."""
    config = session.config
    with session.synchronizer(touch=False) as synchronizer:
        findings = list(dict.fromkeys([*config.check(), *synchronizer.check(connect=connect)]))
    rows = [{"level": finding.level, "finding": finding.message} for finding in findings]
    rules = config.rule_set()
    counts: dict[str, int | str] = {
        "config": config.source,
        "partners": len(config.partners),
        "locations": len(config.locations),
        "rules": len(rules.rules) if rules is not None else 0,
    }
    said = f"{config.source}: " + ", ".join(_counted(int(counts[f"{noun}s"]), noun) for noun in _COUNTED)
    session.show({**counts, "findings": findings}, table(said, rows, empty="no faults"))
    errors = [finding for finding in findings if finding.level == "error"]
    if not errors:
        return ExitCode.FINE
    kinds = {each.code.split(".")[0] for each in errors}
    return _BY_KIND.get(kinds.pop(), ExitCode.INVALID) if len(kinds) == 1 else ExitCode.INVALID


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
