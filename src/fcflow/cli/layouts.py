"""``fcflow layout``: which layouts there are, and what one makes of a file."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fcflow.cli.exit_codes import ExitCode
from fcflow.cli.output import table
from fcflow.cli.session import Session, command
from fcflow.documents import to_document
from fcflow.errors import FormatError

if TYPE_CHECKING:
    from fcflow.formats import Layout

__all__ = ["app", "named_layout"]

app = typer.Typer(name="layout", help="See which layouts there are, and try one on a file.", no_args_is_help=True)


def named_layout(name: str) -> Layout:
    """The built-in layout of this name, or the one at this path; plugins' codecs are known."""
    from fcflow.formats import load_layout
    from fcflow.plugins import load_plugins

    return load_layout(name, codecs=load_plugins().codecs)


@command(app, "list")
def list_layouts(session: Session) -> None:
    """List the built-in layouts, and those of the configuration where there is one."""
    from fcflow.formats import builtin_layouts, load_layout

    rows = [{"layout": name, "kind": load_layout(name).kind, "used by": None} for name in builtin_layouts()]
    if session.path.exists():
        rows += [
            {"layout": feed.layout, "kind": session.config.layout(feed).kind, "used by": f"{code} {feed.kind.value}"}
            for code, partner in session.config.partners.items()
            for feed in partner.feeds
        ]
    session.show(rows, table("layouts", rows))


@command(app, "show")
def show(
    session: Session, layout: Annotated[str, typer.Argument(help="Name of a built-in layout.", show_default=False)]
) -> None:
    """Print a built-in layout, to begin a partner's own from: `fcflow layout show linnworks-orders > leeds.json`."""
    from fcflow.formats import builtin_layouts

    if layout not in builtin_layouts():
        raise typer.BadParameter(f"there is no built-in layout {layout!r}; there are {', '.join(builtin_layouts())}")
    sys.stdout.write(files("fcflow.formats").joinpath("layouts", f"{layout}.json").read_text(encoding="utf-8"))


@command(app, "test")
def try_layout(
    session: Session,
    layout: Annotated[str, typer.Argument(help="Name of a built-in layout, or path of a layout.")],
    file: Annotated[Path, typer.Argument(help="A file to read with it.")],
    limit: Annotated[int, typer.Option(min=1, help="Records to show at most.")] = 20,
) -> ExitCode:
    """Read a file with a layout: the records it gives, and every row that is wrong, with line and column."""
    loaded = named_layout(layout)
    try:
        payload = file.read_bytes()
    except OSError as error:
        raise FormatError(f"{file} cannot be read: {error.strerror}") from None
    records, problems = loaded.read(payload)
    documents = [{"line": record.line, **to_document(record.value)} for record in records]
    rows = [_flat(document) for document in documents[:limit]]
    columns = dict.fromkeys(name for row in rows for name in row)
    said = f"{len(records)} records, {len(problems)} problems"
    session.show(
        {"kind": loaded.kind, "records": documents, "problems": [str(problem) for problem in problems]},
        table(said, [{name: row.get(name) for name in columns} for row in rows]),
        *([table("problems", [{"problem": str(problem)} for problem in problems])] if problems else []),
    )
    return ExitCode.NEEDS_PERSON if problems else ExitCode.FINE


def _flat(document: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": each for key, each in _flat(value).items()}
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            flat[name] = "; ".join(" ".join(map(_said, each.values())) for each in value)
        else:
            flat[name] = _said(value) if isinstance(value, list) else value
    return flat


def _said(value: Any) -> str:
    return ", ".join(map(_said, value)) if isinstance(value, list) else str(value)
