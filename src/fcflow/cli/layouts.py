"""``fcflow layout``: which layouts there are, and what one makes of a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from attrs import frozen
from rich.text import Text

from fcflow.cli.exit_codes import ExitCode
from fcflow.cli.output import plain, table
from fcflow.cli.session import Session, command
from fcflow.documents import to_document
from fcflow.errors import FormatError

if TYPE_CHECKING:
    from fcflow.formats import Layout

__all__ = ["app", "named_layout"]

app = typer.Typer(name="layout", help="See which layouts there are, and try one on a file.", no_args_is_help=True)


class Kind(StrEnum):
    """What a layout is of, as ``--kind`` names it."""

    ORDERS = "orders"
    STATUS = "status"
    STOCK = "stock"


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
    proof = written_and_read(loaded, [record.value for record in records])
    session.show(
        {
            "kind": loaded.kind,
            "records": documents,
            "problems": [str(problem) for problem in problems],
            "written_and_read": proof.document,
        },
        table(said, [{name: row.get(name) for name in columns} for row in rows]),
        *([table("problems", [{"problem": str(problem)} for problem in problems])] if problems else []),
        proof.text,
    )
    return ExitCode.NEEDS_PERSON if problems or proof.differs else ExitCode.FINE


@command(app, "infer")
def infer_layout(
    session: Session,
    sample: Annotated[Path, typer.Argument(help="A file of the partner's.")],
    kind: Annotated[Kind, typer.Option("--kind", "-k", help="What is in it.")],
    name: Annotated[str | None, typer.Option(help="Name of the layout; the file's own when left out.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the layout into this file.")] = None,
) -> ExitCode:
    """Propose a layout for a sample: how it is framed, which column is what, and what there is to decide."""
    from fcflow.formats.infer import infer

    try:
        payload = sample.read_bytes()
    except OSError as error:
        raise FormatError(f"{sample} cannot be read: {error.strerror}") from None
    found = infer(payload, kind.value, name=name or sample.stem)
    text = json.dumps(found.document, ensure_ascii=False, indent=2) + "\n"
    if output is not None:
        output.write_text(text, encoding="utf-8")
    rows = [
        {"column": each.name, "field": each.field, "sure": f"{each.sure:.0%}", "why": each.why}
        for each in found.columns
    ]
    session.show(
        {
            "layout": found.document,
            "sure": found.sure,
            "columns": [plain(each) for each in found.columns],
            "decisions": list(found.decisions),
        },
        table(f"{sample.name}: {found.sure:.0%} sure", rows),
        table("to decide", [{"decision": each} for each in found.decisions]),
        *([] if output is not None else [Text(text.rstrip())]),
    )
    return ExitCode.NEEDS_PERSON if found.decisions else ExitCode.FINE


@frozen
class _Proof:
    """What became of records that were written and read back."""

    text: str
    differs: bool
    document: dict[str, Any]


def written_and_read(layout: Layout, values: Sequence[Any]) -> _Proof:
    """Whether writing and reading agree for these values: what is read back is what `Layout.project` says."""
    if not values:
        return _Proof("nothing to write", differs=False, document={"agree": None, "why": "no records"})
    try:
        wanted = [each for value in values for each in layout.projections(value)]
        records, problems = layout.read(layout.encode(values))
    except FormatError as error:
        return _Proof(f"not written: {error}", differs=False, document={"agree": None, "why": str(error)})
    found = [record.value for record in records]
    if not problems and found == wanted:
        return _Proof(f"written and read back: all {len(found)} agree", differs=False, document={"agree": True})
    bad = next((str(each) for each in problems), None) or next(
        (f"{one!r} became {other!r}" for one, other in zip(wanted, found, strict=False) if one != other),
        f"{len(wanted)} records became {len(found)}",
    )
    return _Proof(f"written and read back: {bad}", differs=True, document={"agree": False, "why": bad})


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
