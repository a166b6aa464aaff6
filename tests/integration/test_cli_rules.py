"""Changing rules on the command line: what it would change first, then drafts, going live and going back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from fcflow.cli import main


@frozen
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Fcflow = Callable[..., Ran]


@pytest.fixture
def fcflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fcflow:
    """Runs a command in a folder with the starter, whose rules come from the store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FCFLOW_ACTOR", "ada")
    monkeypatch.delenv("FCFLOW_CONFIG", raising=False)

    def run(*arguments: str) -> Ran:
        code = main(arguments)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    run("init", ".")
    config = json.loads(Path("fcflow.json").read_text())
    config["rules"] = {"store": True}
    config["locations"] = {"studio": {"stock": {"tracked": False}}}
    Path("fcflow.json").write_text(json.dumps(config))
    rules = json.loads(Path("rules.json").read_text())
    rules["rules"][1]["then"][1]["allocate"]["to"] = ["studio"]
    Path("studio.json").write_text(json.dumps({**rules, "name": "studio"}))
    return run


def test_rules_go_live_and_back(fcflow: Fcflow) -> None:
    """
    Each command says what is live now, and the history keeps all of it.
    """
    assert "is live" in fcflow("rules", "publish", "studio.json", "--note", "begin").out
    fcflow("rules", "publish", "rules.json")
    back = fcflow("rules", "rollback", "--json").json
    history = fcflow("rules", "history", "--json").json

    assert (back["name"], back["state"], back["actor"]) == ("studio", "live", "ada")
    assert [(each["name"], each["state"]) for each in history] == [("studio", "live"), ("starter", "past")]
    assert "studio" in fcflow("rules", "history").out
    assert fcflow("rules", "show", "live").json["name"] == "studio"
    assert fcflow("rules", "show", history[1]["hash"][:8]).json["name"] == "starter"


def test_a_draft_goes_live_by_its_hash(fcflow: Fcflow) -> None:
    """
    A draft decides nothing until it is published.
    """
    draft = fcflow("rules", "draft", "studio.json", "--json").json
    assert draft["state"] == "draft"
    assert fcflow("rules", "show", "live").code == 2
    assert fcflow("rules", "publish", draft["hash"][:10]).code == 0
    fcflow("orders", "import", "orders.json")
    fcflow("sync", "--phase", "allocate")

    assert [row["order_id"] for row in fcflow("orders", "list", "--location", "studio", "--json").json] == ["A1"]


def test_a_failing_example_is_printed_and_blocks_going_live(fcflow: Fcflow) -> None:
    """
    The test run names the example and the leaf; publishing is refused with exit code 3.
    """
    rules = json.loads(Path("studio.json").read_text())
    rules["rules"][1]["examples"][0]["matches"] = False
    Path("wrong.json").write_text(json.dumps(rules))
    tested = fcflow("rules", "test", "--rules", "wrong.json")
    refused = fcflow("rules", "publish", "wrong.json")

    assert tested.code == refused.code == 3
    assert "FAIL  uk-to-leeds 1: expected false, got true; ship_to.country eq 'GB': got 'GB'" in tested.out
    assert "ok    hold-review 1" in tested.out
    assert "1 of 3 examples fail" in tested.out
    assert fcflow("rules", "history", "--json").json == []


def test_coverage_tells_what_was_never_tried(fcflow: Fcflow) -> None:
    """
    The examples of the starter never saw an order that is not tagged; its orders did.
    """
    alone = fcflow("rules", "test", "--rules", "studio.json", "--coverage", "--json").json
    both = fcflow("rules", "test", "--rules", "studio.json", "--coverage", "--orders", "orders.json", "--json").json

    assert alone["coverage"]["share"] < both["coverage"]["share"] == 1
    said = fcflow("rules", "test", "--rules", "studio.json", "--coverage").out
    assert "tags contains 'review': never false" in said
    assert (
        "everything was tried"
        in fcflow("rules", "test", "--rules", "studio.json", "--coverage", "--orders", "orders.json").out
    )


def test_a_diff_shows_who_goes_elsewhere(fcflow: Fcflow) -> None:
    """
    With files, with what is live, and without a configuration alike.
    """
    fcflow("rules", "publish", "studio.json")
    with_store = fcflow("rules", "diff", "live", "rules.json", "--orders", "orders.json", "--json").json
    shown = fcflow("rules", "diff", "live", "rules.json", "--orders", "orders.json").out
    Path("fcflow.json").unlink()
    alone = fcflow("rules", "diff", "studio.json", "rules.json", "--orders", "orders.json", "--json").json

    assert with_store["flows"] == alone["flows"] == [{"from": "studio", "to": "leeds", "orders": 2}]
    assert "studio -> leeds: 2" in shown
    assert "by uk-to-leeds (changed): 2" in shown


def test_a_replay_decides_the_orders_of_the_store_again(fcflow: Fcflow) -> None:
    """
    Only orders that rules decided about; and nothing in the store is changed.
    """
    fcflow("rules", "publish", "studio.json")
    fcflow("orders", "import", "orders.json")
    fcflow("sync", "--phase", "allocate")
    replayed = fcflow("rules", "replay", "rules.json", "--json").json

    assert (replayed["orders"], replayed["flows"]) == (2, [{"from": "studio", "to": "leeds", "orders": 1}])
    assert replayed["drifted"] == replayed["skipped"] == []
    assert fcflow("rules", "replay", "live", "--json").json["changed"] == 0
    assert fcflow("rules", "replay", "rules.json", "--since", "2100-01-01", "--json").json["orders"] == 0
    assert fcflow("rules", "replay", "rules.json", "--since", "soon").code == 2


def test_what_is_not_there_is_said(fcflow: Fcflow) -> None:
    """
    A hash that the store has not, a file that is not there, a store in which nothing is live.
    """
    assert "the store has no such rule set" in fcflow("rules", "publish", "abcdef12").err
    assert fcflow("rules", "publish", "gone.json").code == 3
    assert fcflow("rules", "rollback").code == 3
    assert fcflow("rules", "test").code == 2
