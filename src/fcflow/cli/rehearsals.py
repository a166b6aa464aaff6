"""``fcflow rehearsal``: tests of one's own configuration, begun."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from fcflow.cli.exit_codes import ExitCode
from fcflow.cli.output import console, table
from fcflow.cli.session import Session, command

if TYPE_CHECKING:
    from fcflow.config import Config

__all__ = ["app"]

app = typer.Typer(name="rehearsal", help="Test your configuration with played partners.", no_args_is_help=True)

_NAMES = ("conftest.py", "test_rehearsal.py")


@command(app, "new")
def new(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="Where to put the tests.")] = Path("tests"),
    orders: Annotated[
        Path | None, typer.Option(help="Orders to rehearse with, as JSON; else three are made up.")
    ] = None,
) -> ExitCode:
    """Write tests that play a day with every partner of the configuration; pytest runs them."""
    config = session.config
    there = [str(folder / name) for name in (*_NAMES, "orders.json") if (folder / name).exists()]
    if there:
        console(stderr=True).print(f"nothing was written, there is already {', '.join(there)}", markup=False)
        return ExitCode.REFUSED
    given = _made_up(config) if orders is None else json.loads(orders.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    source = files("fcflow.cli").joinpath("rehearsal_files")
    words = {"config": Path(os.path.relpath(config.source, folder)).as_posix()}
    for name in _NAMES:
        text = source.joinpath(f"{name}.template").read_text(encoding="utf-8")
        (folder / name).write_text(Template(text).substitute(words), encoding="utf-8")
    (folder / "orders.json").write_text(json.dumps(given, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    written = [str(folder / name) for name in (*_NAMES, "orders.json")]
    steps = f"next: pytest {folder} --fcflow-update; look at {folder / 'golden'}; then pytest {folder} in your CI"
    session.show({"written": written}, table("written", [{"file": each} for each in written]), Text(steps))
    return ExitCode.FINE


def _made_up(config: Config) -> list[dict[str, Any]]:
    """Orders of articles that the partners have names for, or of any."""
    known = [sku for partner in config.partners.values() for sku in partner.aliases]
    skus = [*dict.fromkeys(known), "SKU-1", "SKU-2", "SKU-3"][:3]
    address = {"name": "Jo Sample", "address1": "1 Mill Lane", "town": "Leeds", "postcode": "LS1 1AA", "country": "GB"}
    return [
        {
            "order_id": f"R{number}",
            "reference": f"#{1000 + number}",
            "payment": "paid",
            "received_at": "2026-03-02T08:00:00+00:00",
            "ship_to": address,
            "lines": [
                {"line_id": str(place), "sku": sku, "quantity": number} for place, sku in enumerate(skus[:number], 1)
            ],
        }
        for number in (1, 2, 3)
    ]
