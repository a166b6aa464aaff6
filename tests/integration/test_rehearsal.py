"""A configuration rehearsed: partners played from its own layouts, golden files, and tests that users run."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pytest

from fcflow.config import load_config
from fcflow.errors import ConfigError
from fcflow.testing.golden import Golden
from fcflow.testing.rehearsal import Rehearsal

pytest_plugins = ["pytester"]

RULES = {
    "fcflow": "ruleset/1",
    "name": "two",
    "rules": [
        {
            "id": "mugs",
            "when": {"any_line": {"field": "line.sku", "op": "eq", "value": "MUG"}},
            "then": [{"allocate": {"to": ["leeds"]}}],
        },
        {"id": "rest", "when": True, "then": [{"allocate": {"to": ["york"]}}]},
    ],
}


def document(**changes: Any) -> dict[str, Any]:
    """Two partners: a file server with secrets, and a URL."""
    leeds = {
        "connection": {"url": "sftp://shop@sftp.leeds.example/base", "secrets": {"password": {"env": "NOT_SET"}}},
        "orders": {"layout": "linnworks-orders", "path": "in", "name": "L-{datetime}-{counter:03}.csv"},
        "status": {"layout": "linnworks-status", "path": "out", "match": "ST-*.csv"},
        "stock": {"layout": "linnworks-stock", "path": "stock", "match": "stock.csv"},
        "status_words": {"BOOKED": "accepted", "DESPATCHED": "shipped", "QUERY": "error"},
        "aliases": {"MUG": "LD-1"},
        "location": {"name": "Leeds"},
    }
    york = {
        "connection": {"url": "https://york.example/api", "secrets": {"token": {"command": ["false"]}}},
        "orders": {"layout": "linnworks-url-order", "path": "order", "batch": 1},
        "status": {"layout": "linnworks-url-status", "path": "status"},
        "location": {"name": "York", "stock": {"tracked": False}},
    }
    return {"fcflow": "config/1", "rules": RULES, "partners": {"leeds": leeds, "york": york}, **changes}


def order(order_id: str, **skus: int) -> dict[str, Any]:
    lines = [{"line_id": sku, "sku": sku, "quantity": units, "weight_g": 300} for sku, units in skus.items()]
    return {"order_id": order_id, "reference": f"#{order_id}", "payment": "paid", "lines": lines}


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    with Rehearsal(document()) as played:
        played.partners["leeds"].stocks({"MUG": 10})
        played.add([order("A1", MUG=2), order("A2", CUP=1)])
        yield played


def test_a_day_needs_no_network_no_secret_and_no_waiting(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partners of any kind take, accept and ship, each in its own words and codes."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a rehearsal opens no socket")

    monkeypatch.setattr(socket, "socket", refuse)
    for partner in rehearsal.partners.values():
        partner.ships(after_h=4)

    rehearsal.play(hours=6)

    assert rehearsal.decisions() == (
        "A1: 2 x MUG to leeds by rule mugs: shipped\nA2: 1 x CUP to york by rule rest: shipped"
    )
    assert rehearsal.problems() == []
    crossed = rehearsal.files()
    assert list(crossed) == [
        "leeds/stock/stock.csv",
        "leeds/orders/L-20260302-090000-001.csv",
        *(name for name in crossed if name.startswith("york/orders/")),
        "leeds/status/ST-0001.csv",
        "york/status/status-0001.tsv",
        "leeds/status/ST-0002.csv",
        "york/status/status-0002.tsv",
    ]
    assert b"LD-1" in crossed["leeds/orders/L-20260302-090000-001.csv"].content
    assert b"DESPATCHED" in crossed["leeds/status/ST-0002.csv"].content


def test_the_same_day_gives_the_same_bytes() -> None:
    """Names, numbers, keys and instants too."""

    def day() -> dict[str, bytes]:
        with Rehearsal(document()) as played:
            played.partners["leeds"].stocks({"MUG": 10})
            played.add([order("A1", MUG=2), order("A2", CUP=1), order("A3", CUP=2)])
            for partner in played.partners.values():
                partner.ships()
            played.play(hours=6)
            return {name: each.content for name, each in played.files().items()}

    assert day() == day()


def test_a_partner_who_ships_short_says_what_is_missing(tmp_path: Path) -> None:
    """In a layout that speaks of lines."""
    lines = {
        "fcflow": "layout/1",
        "name": "by-line",
        "kind": "status",
        "group": "reference",
        "codec": {"type": "delimited"},
        "fields": [
            {"at": "order", "field": "reference", "required": True},
            {"at": "state", "field": "status"},
            {"at": "tracking", "field": "tracking_numbers"},
            {"at": "sku", "field": "line.sku"},
            {"at": "shipped", "field": "line.shipped"},
        ],
    }
    changed = document()
    (tmp_path / "by-line.json").write_text(json.dumps(lines))
    changed["partners"]["leeds"]["status"]["layout"] = str(tmp_path / "by-line.json")
    with Rehearsal(changed) as played:
        leeds = played.partners["leeds"]
        leeds.stocks({"MUG": 10})
        leeds.ships()
        leeds.ships_short("MUG", 1)
        played.add([order("A1", MUG=3)])
        played.play(hours=6)

        assert played.decisions() == "A1: 3 x MUG to leeds by rule mugs: part_shipped"


def test_a_partner_who_does_not_know_an_article_says_so(rehearsal: Rehearsal) -> None:
    """Its text stands with the order, and other orders are shipped."""
    leeds = rehearsal.partners["leeds"]
    leeds.ships()
    leeds.rejects("MUG", "no such article")
    rehearsal.play(hours=6)

    assert "no such article" in rehearsal.decisions().splitlines()[0]


def test_a_silent_partner_leaves_orders_where_they_are(rehearsal: Rehearsal) -> None:
    """Sent, and nothing else."""
    rehearsal.play(hours=24)

    assert [line.rpartition(": ")[2] for line in rehearsal.decisions().splitlines()] == ["sent", "sent"]


def test_a_partner_who_is_down_gets_everything_later(rehearsal: Rehearsal) -> None:
    """Once, with the failure told; the other partner is not kept waiting."""
    rehearsal.step()
    rehearsal.add([order("B1", MUG=1), order("B2", CUP=1)])
    rehearsal.partners["leeds"].is_down = True
    rehearsal.step(hours=1)
    assert any("leeds" in line and "down" in line for line in rehearsal.problems())
    assert "B2: 1 x CUP to york by rule rest: sent" in rehearsal.decisions()
    assert "B1: 1 x MUG to leeds by rule mugs: sent" not in rehearsal.decisions()

    rehearsal.partners["leeds"].is_down = False
    rehearsal.step(hours=1)
    rehearsal.step(hours=1)
    assert "B1: 1 x MUG to leeds by rule mugs: sent" in rehearsal.decisions()
    assert len(rehearsal.partners["leeds"].arrived) == 2


def test_yesterdays_file_and_nonsense_change_nothing(rehearsal: Rehearsal) -> None:
    """The one is known, the other is reported."""
    leeds = rehearsal.partners["leeds"]
    rehearsal.step()
    name = leeds.says("shipped", "A1")
    rehearsal.step(hours=1)
    before = rehearsal.decisions()

    leeds.again(name)
    rehearsal.step(hours=1)
    leeds.lays("status", b"<html>Service unavailable</html>", "ST-odd.csv")
    rehearsal.step(hours=1)

    assert rehearsal.decisions() == before
    assert any("ST-odd.csv" in line for line in rehearsal.problems())


def test_what_it_cannot_play_is_said() -> None:
    """A feed that is not there, a name that does not fit, and rules that live in a store."""
    with Rehearsal(document()) as played:
        with pytest.raises(ValueError, match="has no stock feed"):
            played.partners["york"].stocks({"MUG": 1})
        with pytest.raises(ValueError, match="has no acknowledgement feed"):
            played.partners["york"].lays("acknowledgement", b"")
    with pytest.raises(ConfigError):
        Rehearsal(document(rules={"store": True}))
    with Rehearsal(document(rules={"store": True}), rules=RULES) as played:
        played.add([order("A2", CUP=1)])
        played.step()
        assert played.decisions() == "A2: 1 x CUP to york by rule rest: sent"


def test_the_demonstration_can_be_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three partners of three kinds, with layouts of files, aliases and words of their own."""
    source = files("fcflow.demo").joinpath("data")
    for part in ("rules.json", *(f"layouts/{each.name}" for each in source.joinpath("layouts").iterdir())):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_bytes(source.joinpath(part).read_bytes())
    (tmp_path / "aliases.json").write_text('{"MUG": "D-1", "CUP": "D-2"}')
    ports = {"leeds_port": "1", "dropco_port": "2", "postal_port": "3", "dropco_host_key": "ssh-ed25519 AAAA"}
    text = Template(source.joinpath("config.json").read_text(encoding="utf-8")).substitute(ports)
    (tmp_path / "fcflow.json").write_text(text, encoding="utf-8")

    with Rehearsal(load_config(tmp_path / "fcflow.json")) as played:
        for partner in played.partners.values():
            partner.stocks({"MUG": 100, "CUP": 100})
            partner.ships()
        to = {"name": "Jo", "address1": "1 Mill Lane", "town": "Leeds", "postcode": "LS1 1AA", "country": "GB"}
        more = {"currency": "GBP", "total": "20.00", "ship_to": to}
        played.add([{**order(f"A{n}", MUG=n, CUP=1), **more} for n in range(1, 5)])
        played.play(hours=8)

        assert [line.rpartition(": ")[2] for line in played.decisions().splitlines()] == ["shipped"] * 4
        assert played.problems() == []


# ---------------------------------------------------------------------- golden files


def test_a_difference_is_told_by_line_column_and_byte(tmp_path: Path, rehearsal: Rehearsal) -> None:
    """Line ends and blanks at the end are seen; a file that is gone or new is a difference too."""
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo \r\n")
    (tmp_path / "gone.txt").write_bytes(b"")

    with pytest.raises(AssertionError) as caught:
        Golden(tmp_path).check({"a.txt": b"one\r\ntwo\n", "new.txt": "x"})

    said = str(caught.value)
    assert "a.txt is not what it was, at line 2" in said
    assert "- 'two '" in said
    assert "+ 'two\\n'" in said
    assert "gone.txt is not written any more" in said
    assert "new.txt is new" in said


def test_a_name_from_a_partner_leads_nowhere(tmp_path: Path) -> None:
    """Golden files stay in their folder."""
    golden = Golden(tmp_path / "in", update=True)
    golden.check({"../../x": b"", "/etc/x": b"", "..\\y:z": b""})

    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        "in/etc/x",
        "in/x",
        "in/y_z",
    ]


def begin(pytester: pytest.Pytester) -> pytest.RunResult:
    """``fcflow rehearsal new`` for the configuration that lies there."""
    return pytester.run(sys.executable, "-m", "fcflow.cli", "rehearsal", "new", "tests")


def test_tests_are_begun_by_a_command_and_find_what_changed(pytester: pytest.Pytester) -> None:
    """First they fail as nothing was looked at; once that is accepted, a change of rules or articles fails them."""
    config = pytester.path / "fcflow.json"
    config.write_text(json.dumps(document()))
    assert begin(pytester).ret == 0
    run = lambda *more: pytester.runpytest_subprocess("tests", *more)  # noqa: E731

    first = run()
    first.assert_outcomes(failed=1)
    first.stdout.fnmatch_lines(["*decisions.txt is new*"])

    written = run("--fcflow-update")
    written.assert_outcomes(passed=1)
    written.stdout.fnmatch_lines(["*golden files written*", "*decisions.txt"])

    text = config.read_text()
    config.write_text(text.replace('"LD-1"', '"LD-2"'))
    changed = run()
    changed.assert_outcomes(failed=1)
    changed.stdout.fnmatch_lines(["*expected 'LD-1', got 'LD-2'*"])

    config.write_text(text.replace('["leeds"]', '["york"]'))
    changed = run()
    changed.assert_outcomes(failed=1)
    changed.stdout.fnmatch_lines(["*- 'R1: 1 x MUG to leeds by rule mugs: shipped'*", "*+ 'R1: 1 x MUG to york*"])


def test_nothing_is_written_over(pytester: pytest.Pytester) -> None:
    """Tests that are there stay."""
    (pytester.path / "fcflow.json").write_text(json.dumps(document()))
    (pytester.path / "tests").mkdir()
    (pytester.path / "tests" / "conftest.py").write_text("mine = True\n")

    again = begin(pytester)

    assert again.ret != 0
    again.stderr.fnmatch_lines(["*already*"])
    assert (pytester.path / "tests" / "conftest.py").read_text() == "mine = True\n"


def test_without_a_configuration_the_fixture_says_what_to_do(pytester: pytest.Pytester) -> None:
    """And with the setting it needs no conftest."""
    pytester.makeconftest('pytest_plugins = ["fcflow.testing.plugin"]')
    pytester.makepyfile("def test_it(rehearsal):\n    assert rehearsal.play(hours=1)[-1].ok\n")
    missing = pytester.runpytest_subprocess()
    missing.assert_outcomes(errors=1)
    missing.stdout.fnmatch_lines(["*fcflow_config = fcflow.json*"])

    (pytester.path / "shop.json").write_text(json.dumps(document()))
    pytester.makeini("[pytest]\nfcflow_config = shop.json\n")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
