"""Decision tables, visual editors and pictures on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from fcflow.cli import main
from fcflow.rules import load_rules

TABLE = "currency:,GBP\nrule,ship_to.country,total >=,allocate to\nbig,GB|IE,200,leeds\nrest,not US,,york\n"


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs one command in a folder that has a table; gives exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    Path("rules.csv").write_text(TABLE)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_table_becomes_rules_and_rules_a_table(run: Callable[..., tuple[int, str, str]]) -> None:
    """
    What from-table writes, other commands read; to-table gives the table back, as CSV and as a spreadsheet.
    """
    pytest.importorskip("openpyxl")

    assert run("rules", "from-table", "rules.csv", "--out", "rules.json")[0] == 0
    code, table, _ = run("rules", "to-table", "--rules", "rules.json")
    assert (code, run("rules", "to-table", "--rules", "rules.json", "--out", "back.xlsx")[0]) == (0, 0)
    code, printed, _ = run("rules", "from-table", "back.xlsx")

    assert table.splitlines()[1:] == [
        "rule,ship_to.country,total,allocate to",
        "big,GB|IE,>=200,leeds",
        "rest,not US,,york",
    ]
    assert load_rules(json.loads(printed)).hash == load_rules("rules.json").hash


def test_a_fault_of_a_table_is_named_with_its_cell(run: Callable[..., tuple[int, str, str]]) -> None:
    """
    Exit code 3, and every fault with line and column.
    """
    Path("rules.csv").write_text(TABLE.replace("GB|IE", "UK"))

    code, out, err = run("rules", "from-table", "rules.csv")

    assert (code, out) == (3, "")
    assert "line 3, column 2 (ship_to.country)" in err


def test_a_file_that_cannot_be_read_or_written_is_a_fault(run: Callable[..., tuple[int, str, str]]) -> None:
    """
    A wrong path is said as such, without a traceback.
    """
    for words in (
        ("from-table", "none.csv"),
        ("from-querybuilder", "none.json"),
        ("from-table", "rules.csv", "--out", "no/such/folder.json"),
    ):
        code, _, err = run("rules", *words)
        assert code == 3
        assert "cannot be" in err


def test_a_query_becomes_a_condition(run: Callable[..., tuple[int, str, str]]) -> None:
    """
    A query of the editor is printed as a condition, its fields are offered from the catalogue.
    """
    rule = {"field": "total", "operator": ">", "value": "20"}
    Path("query.json").write_text(json.dumps({"combinator": "and", "rules": [rule]}))

    code, out, _ = run("rules", "from-querybuilder", "query.json", "--currency", "GBP")
    _, offered, _ = run("rules", "querybuilder-fields", "--property", "gift")

    assert (code, json.loads(out)) == (0, {"all": [{"field": "total", "op": "gt", "value": "20"}]})
    assert json.loads(offered)[0]["options"][-1]["name"] == "properties.gift"
    assert run("rules", "from-querybuilder", "query.json")[0] == 3


def test_rules_are_drawn(run: Callable[..., tuple[int, str, str]]) -> None:
    """
    Mermaid is printed, SVG goes to a file that ends so.
    """
    run("rules", "from-table", "rules.csv", "--out", "rules.json")

    code, out, _ = run("rules", "graph", "--rules", "rules.json")
    assert (code, out.splitlines()[0]) == (0, "flowchart TD")
    assert run("rules", "graph", "--rules", "rules.json", "--out", "rules.svg")[0] == 0
    assert ET.parse("rules.svg").getroot().tag.endswith("svg")
    assert run("rules", "graph", "--rules", "rules.json", "--format", "svg")[1].startswith("<svg")
