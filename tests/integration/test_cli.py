"""The command line, run as a person runs it: in a folder, against a partner's folder."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from fcflow.cli import main
from fcflow.cli.output import clean
from fcflow.formats import load_layout

STATUS = "OrderNo;Status;Carrier;Tracking;Date;Message\r\n{rows}"


@frozen
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def fcflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command in the test's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FCFLOW_ACTOR", "ada")
    monkeypatch.delenv("FCFLOW_CONFIG", raising=False)

    def run(*arguments: str) -> Ran:
        code = main(arguments)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


def _prepared(folder: Path, *commands: Sequence[str]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert [main(command) for command in commands] == [0] * len(commands)
    return folder


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter's folder with its orders in the store, to copy from."""
    return _prepared(tmp_path_factory.mktemp("imported"), ["init"], ["orders", "import", "orders.json"])


@pytest.fixture(scope="session")
def synchronised(imported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after a first run, to copy from."""
    folder = tmp_path_factory.mktemp("synchronised")
    return _prepared(shutil.copytree(imported, folder, dirs_exist_ok=True), ["sync"])


@pytest.fixture
def shop(fcflow: Callable[..., Ran], imported: Path, tmp_path: Path) -> Path:
    """The starter's folder, with its three orders in the store."""
    return shutil.copytree(imported, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def busy_shop(fcflow: Callable[..., Ran], synchronised: Path, tmp_path: Path) -> Path:
    """The starter's folder after a first run: A1 is at Leeds, A2 held, A3 unpaid."""
    return shutil.copytree(synchronised, tmp_path, dirs_exist_ok=True)


def answer(shop: Path, *rows: str) -> None:
    """Leeds writes a status file."""
    folder = shop / "partners/leeds/out/status"
    name = f"status-{len(list(folder.rglob('*.csv')))}.csv"
    (folder / name).write_text(STATUS.format(rows="\r\n".join(rows)), newline="")


def sent_files(shop: Path) -> list[Path]:
    return sorted((shop / "partners/leeds/in").glob("*.csv"))


def states(fcflow: Callable[..., Ran]) -> dict[str, str]:
    return {each["order_id"]: each["state"] for each in fcflow("orders", "list", "--json").json}


# ------------------------------------------------------------------ the whole way


def test_the_starter_goes_the_whole_way(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    From an empty folder: the starter's order leaves, Leeds answers, the order is closed with its tracking number.
    """
    assert fcflow("check").code == 0
    assert fcflow("sync").code == 0
    [file] = sent_files(shop)
    assert b"A1;1001;Tracked 48;Ada Byron" in file.read_bytes()

    answer(shop, "A1;Despatched;Royal Mail;RM123;03/03/2026 10:00;")
    ran = fcflow("sync", "--json")

    assert ran.json["partners"]["leeds"]["shipped"] == ["A1"]
    assert states(fcflow) == {"A1": "closed", "A2": "held", "A3": "open"}
    assert "RM123" in fcflow("orders", "list", "--state", "shipped").out
    assert "FULFIL_STATUS" in fcflow("audit", "--order", "A1").out
    assert sent_files(shop) == [file]


def test_a_second_run_does_nothing_again(fcflow: Callable[..., Ran], busy_shop: Path) -> None:
    """
    Importing and synchronising again adds nothing and sends nothing.
    """
    assert fcflow("orders", "import", "orders.json", "--json").json["unchanged"] == ["A1", "A2", "A3"]
    assert fcflow("sync", "--json").json["partners"].get("leeds", {}).get("deliveries", 0) == 0
    assert len(sent_files(busy_shop)) == 1


def _everything(folder: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in files.items() if not name.startswith("fcflow.db")}


@pytest.mark.parametrize("command", [["plan"], ["sync", "--dry-run"]])
def test_a_plan_shows_the_bytes_and_changes_nothing(fcflow: Callable[..., Ran], shop: Path, command: list[str]) -> None:
    """
    A plan holds exactly what a run then sends, and leaves folders and orders as they are.
    """
    before, orders = _everything(shop), fcflow("orders", "list", "--json").json

    [delivery] = fcflow(*command, "--json").json["deliveries"]

    assert _everything(shop) == before
    assert fcflow("orders", "list", "--json").json == orders
    fcflow("sync")
    [file] = sent_files(shop)
    assert file.read_bytes().decode() == delivery["content"]


def test_planned_bytes_can_be_written_and_shown(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    A plan's deliveries are written byte for byte where that is asked for, and shown on request only.
    """
    shown = fcflow("plan", "--bytes", "--write", "planned")
    [written] = (shop / "planned/leeds").iterdir()

    assert "A1;1001;Tracked 48" in shown.out
    assert "A1;1001;Tracked 48" not in fcflow("plan").out
    assert b"\r\nA1;1001;Tracked 48" in written.read_bytes()


@pytest.mark.parametrize(("phase", "keys"), [("stock", {"stock_levels": 2}), ("send", {"deliveries": 0})])
def test_one_phase_runs_alone(fcflow: Callable[..., Ran], shop: Path, phase: str, keys: dict[str, int]) -> None:
    """
    A single phase does its own work and no other.
    """
    report = fcflow("sync", "--phase", phase, "--json").json

    assert report["allocation"] is None
    assert {name: report["partners"].get("leeds", {}).get(name, 0) for name in keys} == keys
    assert states(fcflow)["A1"] == "open"


# ------------------------------------------------------------------ orders by hand


def test_orders_are_listed_by_location_and_state(fcflow: Callable[..., Ran], busy_shop: Path) -> None:
    """
    The ancestor's drop-down: which orders are at a location, and in which state.
    """

    def listed(*filters: str) -> list[str]:
        return [each["order_id"] for each in fcflow("orders", "list", *filters, "--json").json]

    assert listed("--location", "leeds") == ["A1"]
    assert listed("--state", "held") == ["A2"]
    assert listed("--state", "sent", "--location", "leeds") == ["A1"]
    assert listed("--partner", "leeds") == ["A1"]
    assert listed("--location", "leeds", "--state", "shipped") == []
    assert listed("--limit", "1", "--offset", "1") == ["A2"]


def test_moving_succeeds_in_part(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    Orders are moved in bulk; one that cannot move is refused with its reason, and the others move.
    """
    ran = fcflow("orders", "move", "A2", "ZZ", "--to", "leeds")

    assert (ran.code, ran.out.strip()) == (1, "A2: moved to leeds")
    assert ran.err.startswith("ZZ: ")
    assert fcflow("orders", "show", "A2", "--json").json["pinned"] == "leeds"


def test_what_was_sent_stays_but_with_a_reason(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    A sent order is refused with the code for a refusal; with a reason given it moves.
    """
    config = json.loads((shop / "fcflow.json").read_text())
    (shop / "fcflow.json").write_text(json.dumps({**config, "locations": {"studio": {}}}))
    fcflow("sync")

    refused = fcflow("orders", "move", "A1", "--to", "studio")
    moved = fcflow("orders", "move", "A1", "--to", "studio", "--override", "Leeds rang: it fell off the van")

    assert (refused.code, moved.code) == (6, 0)
    assert "A1" in refused.err


def test_hold_release_and_cancel(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    A held order is not sent, a released one is, a cancelled one never.
    """
    fcflow("orders", "hold", "A1", "--reason", "the buyer rang")
    fcflow("sync")
    assert (states(fcflow)["A1"], sent_files(shop)) == ("held", [])

    fcflow("orders", "release", "A1")
    assert fcflow("orders", "cancel", "A2", "A3", "--reason", "sold out").code == 0
    fcflow("sync")

    assert states(fcflow) == {"A1": "in_fulfilment", "A2": "cancelled", "A3": "cancelled"}
    held = [event for event in fcflow("audit", "--type", "HELD", "--json").json if event["order_id"] == "A1"]
    assert [(event["actor"], event["message"]) for event in held] == [("ada", "the buyer rang")]


def test_a_person_may_mark_as_shipped(fcflow: Callable[..., Ran], busy_shop: Path) -> None:
    """
    Where no status comes, a person says that it was shipped, with the tracking number.
    """
    assert fcflow("orders", "mark-shipped", "A1", "--carrier", "DPD", "--tracking", "D1", "--tracking", "D2").code == 0
    [fulfilment] = fcflow("orders", "show", "A1", "--json").json["fulfilments"]
    assert (fulfilment["state"], fulfilment["shipments"][0]["tracking_numbers"]) == ("shipped", ["D1", "D2"])


def test_an_order_is_explained(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    The explanation names every rule with its verdict, for stored orders and for a file alike.
    """
    assert "hold-review: decides" in fcflow("orders", "explain", "A2").out
    assert "uk-to-leeds: decides" in fcflow("rules", "explain", "A1").out
    from_file = fcflow("rules", "explain", "--file", "orders.json", "--json").json
    assert [each["decision"]["rule_id"] for each in from_file] == ["uk-to-leeds", "hold-review", "uk-to-leeds"]


# ------------------------------------------------------------------ orders in


def test_a_faulty_order_stops_the_import(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    Where orders have faults all of them are reported with their paths, and nothing is imported.
    """
    good = {"order_id": "B1", "lines": [{"sku": "MUG", "quantity": 1}]}
    bad = {"order_id": "B2", "lines": [{"sku": "MUG", "quantity": 0}], "prize": "1"}
    (shop / "new.json").write_text(json.dumps([good, bad]))

    ran = fcflow("orders", "import", "new.json")

    assert ran.code == 3
    assert "$[1].lines[0].quantity: expected a whole number of at least 1, got 0" in ran.err
    assert "$[1].prize: unknown key" in ran.err
    assert "B1" not in states(fcflow)


def test_the_good_orders_are_imported_where_that_is_asked_for(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    With ``--skip-bad`` good orders come in, and the exit code says that others did not.
    """
    lines = ['{"order_id": "B1", "lines": [{"sku": "MUG", "quantity": 1}]}', '{"order_id": "B2", "lines": []}', "{}"]
    (shop / "new.jsonl").write_text("\n".join(lines[::2]))

    ran = fcflow("orders", "import", "new.jsonl", "--skip-bad", "--json")

    assert (ran.code, ran.json["added"]) == (1, ["B1"])
    assert any("$[1].order_id" in problem for problem in ran.json["problems"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[\n{"order_id": "B1",}\n]', "line 2, column"),
        ('{"order_id": "B1", "lines": [{"sku": "M", "quantity": 1}]}\n{nonsense}', "line 2, column 2"),
        ("\xff", "UTF-8"),
    ],
)
def test_a_text_that_is_no_order_says_where(fcflow: Callable[..., Ran], shop: Path, text: str, said: str) -> None:
    """
    A file that is not JSON is reported with line and column.
    """
    (shop / "new.json").write_bytes(text.encode("latin-1"))

    ran = fcflow("orders", "import", "new.json")

    assert ran.code == 3
    assert said in ran.err


def test_orders_come_in_through_a_layout(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    A layout reads a sales channel's own export.
    """
    columns = [each["at"] for each in load_layout("shopify-orders").document["fields"] if "at" in each]
    row = {"Name": "#1004", "Financial Status": "paid", "Currency": "GBP", "Shipping Country": "GB"}
    mug = {"Lineitem quantity": "2", "Lineitem name": "Blue mug", "Lineitem sku": "MUG-BLUE"}
    tray = {"Name": "#1004", "Lineitem quantity": "1", "Lineitem name": "Tray", "Lineitem sku": "TRAY"}
    with (shop / "export.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(columns)), extrasaction="ignore")
        writer.writeheader()
        writer.writerows([row | mug, tray])

    ran = fcflow("orders", "import", "export.csv", "--layout", "shopify-orders", "--json")

    assert ran.code == 0, ran.err
    [order_id] = ran.json["added"]
    assert len(fcflow("orders", "show", order_id, "--json").json["order"]["lines"]) == 2


# ------------------------------------------------------------------ what comes back


def test_bad_rows_are_kept_and_shown(fcflow: Callable[..., Ran], busy_shop: Path) -> None:
    """
    Of a file with a bad row the good rows are applied; the bad one is kept and shown with its line.
    """
    answer(busy_shop, "A1;despatched;DPD;D1;03/03/2026 10:00;", "A9;despatched;DPD;D2;yesterday;")

    ran = fcflow("sync")
    received = fcflow("received", "list", "--json").json
    [status] = [each for each in received if each["feed"] == "status"]
    shown = fcflow("received", "show", str(status["sighting_id"]), "--json").json

    assert ran.code == 1
    assert states(fcflow)["A1"] == "closed"
    assert any(fault["line"] == 3 for fault in shown["faults"])
    assert "yesterday" in fcflow("received", "show", str(status["sighting_id"])).out


def test_the_outbox_holds_the_exact_bytes(fcflow: Callable[..., Ran], busy_shop: Path) -> None:
    """
    What was sent can be had again, byte for byte, in a file or on standard output.
    """
    fcflow("outbox", "show", "1", "--output", "again.csv")
    command = [sys.executable, "-m", "fcflow.cli", "outbox", "show", "1", "--content"]
    printed = subprocess.run(command, cwd=busy_shop, check=True, capture_output=True).stdout

    [file] = sent_files(busy_shop)
    assert (busy_shop / "again.csv").read_bytes() == file.read_bytes() == printed


def test_a_delivery_is_sent_again_as_a_new_one(fcflow: Callable[..., Ran], busy_shop: Path) -> None:
    """
    A resend leaves the old row as it was and makes another.
    """
    sent_files(busy_shop)[0].unlink()

    assert fcflow("outbox", "resend", "1", "--reason", "Leeds lost it").code == 0
    fcflow("sync")

    rows = fcflow("outbox", "list", "--json").json
    assert [(row["outbox_id"], row["state"], row["replaces"]) for row in rows] == [(2, "sent", 1), (1, "sent", None)]
    assert len(sent_files(busy_shop)) == 1


def test_what_was_given_up_awaits_a_person(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    After as many refusals as the limits allow an order is parked; released, or resolved as not sent, it is sent.
    """
    config = json.loads((shop / "fcflow.json").read_text())
    config["partners"]["leeds"]["limits"] = {"max_attempts": 1}
    (shop / "fcflow.json").write_text(json.dumps(config))
    layout = shop / "layouts/leeds-orders.json"
    good = layout.read_text()
    layout.write_text(good.replace('"field": "ship_to.town"', '"field": "ship_to.town", "max_length": 3'))

    assert fcflow("sync").code == 1
    [parked] = fcflow("orders", "list", "--needs-person", "--json").json
    assert "A1" in parked["fulfilments"][0]["parked"]

    layout.write_text(good)
    assert fcflow("outbox", "resolve", "A1", "--outcome", "not_sent", "--reason", "the layout is mended").code == 0
    assert fcflow("sync").code == 0
    assert len(sent_files(shop)) == 1


def test_a_layout_is_tried_on_a_file(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    Records and problems are shown; the code tells a good file from one with bad rows and one that cannot be read.
    """
    layout = "layouts/leeds-status.json"
    answer(shop, "A1;despatched;DPD;D1;03/03/2026 10:00;", "A2;despatched;DPD;D2;yesterday;")
    [file] = (shop / "partners/leeds/out/status").glob("*.csv")
    ran = fcflow("layout", "test", layout, str(file))

    assert (ran.code, "1 records, 1 problems" in ran.out, "line 3" in ran.out) == (1, True, True)
    assert fcflow("layout", "test", layout, str(file), "--json").json["records"][0]["status"] == "shipped"
    file.write_text("Nonsense\nA1\n")
    assert fcflow("layout", "test", layout, str(file)).code == 3
    assert fcflow("layout", "test", layout, "gone.csv").code == 3
    assert fcflow("layout", "test", "linnworks-statsu", str(file)).code == 3


def test_a_failing_example_is_shown(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    A rule set whose example fails is refused, with the test that failed.
    """
    rules = json.loads((shop / "rules.json").read_text())
    rules["rules"][1]["examples"][0]["order"]["ship_to"]["country"] = "DE"
    (shop / "rules.json").write_text(json.dumps(rules))

    ran = fcflow("rules", "test")

    assert ran.code == 3
    assert "ship_to.country" in ran.err
    assert "$.rules[1].examples[0].matches" in ran.err


def test_progress_erases_nothing_that_was_printed(shop: Path) -> None:
    """
    On a terminal the bars are gone before the tables are printed, so that all of these stay.
    """
    master, slave = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-m", "fcflow.cli", "sync"]
    with subprocess.Popen(command, cwd=shop, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        said = b"".join(iter(lambda: _read(master), b"")).decode()
        os.close(master)

    assert process.returncode == 0
    assert "leeds: stock" in said
    assert said.rindex("\x1b[2K") < said.index("allocated") < said.index("partners")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the other end was closed
        return b""


def test_a_closed_pipe_is_no_accident(shop: Path) -> None:
    """
    A reader that goes away early, as ``head`` does, gets no traceback.
    """
    script = f"{sys.executable} -m fcflow.cli audit --json | head -c 1"
    done = subprocess.run(["bash", "-c", script], cwd=shop, capture_output=True, text=True, check=False)

    assert (done.stdout, "Traceback" in done.stderr) == ("[", False)


def test_a_partners_words_do_not_steer_the_terminal() -> None:
    """
    Control characters of a partner's text are shown as blanks.
    """
    assert clean("\x1b]0;owned\x07 done\r\n") == " ]0;owned  done  "


# ------------------------------------------------------------------ JSON


JSON_KEYS: list[tuple[list[str], set[str]]] = [
    (["check"], {"config", "partners", "locations", "rules", "findings"}),
    (["orders", "import", "orders.json"], {"added", "unchanged", "amended", "refused", "problems"}),
    (["orders", "list"], {"order_id", "state", "fulfilments", "order", "needs_person", "held_reason", "unplaced"}),
    (["orders", "show", "A1"], {"order_id", "state", "fulfilments", "order", "rule_id", "pinned"}),
    (["orders", "move", "A2", "--to", "leeds"], {"changed", "refused"}),
    (["orders", "explain", "A1"], {"order_id", "decision", "rules", "locations"}),
    (["sync"], {"started_at", "finished_at", "ok", "needs_person", "allocation", "partners"}),
    (["plan"], {"report", "deliveries", "changes"}),
    (["stock"], {"sku", "locations", "unallocated", "level", "sellable", "allocatable", "never_short"}),
    (["audit"], {"sequence", "at", "type", "order_id", "fulfilment_id", "location", "actor", "message", "data"}),
    (["outbox", "list"], {"outbox_id", "partner", "name", "target", "size", "sha256", "state", "fulfilment_ids"}),
    (["outbox", "show", "1"], {"outbox_id", "delivery_key", "content_type", "attempts", "answer", "replaces"}),
    (["received", "list"], {"sighting_id", "partner", "feed", "name", "state", "records", "problems", "error"}),
    (["received", "show", "1"], {"sighting_id", "faults"}),
    (["rules", "test", "--orders", "orders.json"], {"name", "hash", "rules", "examples", "orders"}),
    (["rules", "check", "--quick"], {"name", "hash", "rules", "findings"}),
    (["layout", "list"], {"layout", "kind", "used by"}),
    (
        ["layout", "test", "layouts/leeds-stock.json", "partners/leeds/out/stock/archive/stock-1.csv"],
        {"kind", "records", "problems"},
    ),
    (["store", "migrate"], {"version"}),
    (["store", "sql"], {"sql"}),
]


@pytest.mark.parametrize(("command", "keys"), JSON_KEYS, ids=[" ".join(command[:2]) for command, _ in JSON_KEYS])
def test_every_command_speaks_json(
    fcflow: Callable[..., Ran], busy_shop: Path, command: list[str], keys: set[str]
) -> None:
    """
    With ``--json`` a command prints one JSON document of the documented shape, before or after its name.
    """
    after, before = fcflow(*command, "--json"), fcflow("--json", *command)

    for ran in (after, before):
        document = ran.json[0] if isinstance(ran.json, list) else ran.json
        assert keys <= document.keys(), ran.err
        assert ran.code in (0, 1, 6)


@pytest.mark.parametrize(
    "command",
    [
        ["check"],
        ["orders", "list"],
        ["orders", "show", "A1"],
        ["stock"],
        ["audit"],
        ["outbox", "list"],
        ["layout", "list"],
    ],
)
def test_every_table_shows_what_there_is(fcflow: Callable[..., Ran], busy_shop: Path, command: list[str]) -> None:
    """
    Without ``--json`` a command prints a table with a head and rows.
    """
    assert len(fcflow(*command).out.splitlines()) >= 4


# ------------------------------------------------------------------ exit codes and errors


def test_faults_come_all_at_once_without_a_traceback(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    A faulty configuration ends with code 3, every fault on standard error, and the store untouched.
    """
    config = json.loads((shop / "fcflow.json").read_text())
    config["partners"]["leeds"]["orders"]["pth"] = "in"
    config["partners"]["leeds"]["connection"]["url"] = "fpt://leeds"
    (shop / "fcflow.json").write_text(json.dumps(config))

    ran = fcflow("sync")

    assert (ran.code, ran.out) == (3, "")
    assert "$.partners.leeds.orders.pth: unknown key: expected path" in ran.err
    assert "$.partners.leeds.connection.url: unknown scheme: expected ftp" in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in fcflow("sync", "--debug").err


def test_an_error_is_json_where_that_is_asked_for(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    With ``--json`` an error is a JSON document on standard error, with its code and faults.
    """
    (shop / "fcflow.json").write_text('{\n"fcflow": }')

    error = json.loads(fcflow("sync", "--json").err)["error"]

    assert error["code"] == "config.invalid"
    assert (error["faults"][0]["line"], error["faults"][0]["column"]) == (2, 11)


@pytest.mark.parametrize(
    "command",
    [["nonsense"], ["orders", "move", "A1"], ["sync", "--partner", "york"], ["orders", "list", "--state", "lost"], []],
)
def test_a_wrong_command_line_ends_with_2(fcflow: Callable[..., Ran], shop: Path, command: list[str]) -> None:
    """
    What cannot be understood is a usage error.
    """
    assert fcflow(*command).code == 2


def test_a_partner_that_is_down_ends_with_4_and_some_with_1(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    Where no partner can be reached the code is 4; where others went on it is 1.
    """
    config = json.loads((shop / "fcflow.json").read_text())
    down = {
        **config["partners"]["leeds"],
        "connection": {"url": "partners/york"},
        "orders": None,
        "location": {"stock": {"tracked": False}},
    }
    down = {name: value for name, value in down.items() if value is not None}

    (shop / "fcflow.json").write_text(json.dumps({**config, "partners": {**config["partners"], "york": down}}))
    some = fcflow("sync")
    (shop / "partners/leeds").rename(shop / "partners/gone")
    none = fcflow("sync")

    assert (some.code, none.code) == (1, 4)
    assert "york: " in some.out
    assert len(list((shop / "partners/gone/in").glob("*.csv"))) == 1


def test_check_connects_only_when_asked(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    A partner that is down does not trouble ``check``; with ``--connect`` it ends with 4.
    """
    (shop / "partners/leeds").rename(shop / "partners/gone")

    assert fcflow("check").code == 0
    assert fcflow("check", "--connect").code == 4


def test_check_makes_no_store(fcflow: Callable[..., Ran], tmp_path: Path) -> None:
    """
    Checking a fresh configuration leaves no file behind.
    """
    fcflow("init")

    assert fcflow("check").code == 0
    assert not (tmp_path / "fcflow.db").exists()


def test_a_broken_store_ends_with_5(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    A store that is no database is a store error.
    """
    for file in shop.glob("fcflow.db*"):
        file.unlink()
    (shop / "fcflow.db").write_bytes(b"not a database, surely" * 200)

    ran = fcflow("orders", "list")

    assert (ran.code, "Traceback" in ran.err) == (5, False)


def test_an_unknown_order_ends_with_6(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    Asking for an order that is not there is refused.
    """
    ran = fcflow("orders", "show", "ZZ")

    assert (ran.code, ran.err.strip()) == (6, "order ZZ is not known")


def test_a_missing_configuration_says_how_to_start(fcflow: Callable[..., Ran]) -> None:
    """
    In an empty folder the error points at ``fcflow init``.
    """
    ran = fcflow("orders", "list")

    assert ran.code == 3
    assert "fcflow init" in ran.err


def test_init_replaces_nothing_unless_forced(fcflow: Callable[..., Ran], tmp_path: Path) -> None:
    """
    Files that are there stay as they are.
    """
    (tmp_path / "rules.json").write_text("mine")

    refused = fcflow("init")
    assert (refused.code, (tmp_path / "fcflow.json").exists()) == (6, False)
    assert (tmp_path / "rules.json").read_text() == "mine"
    assert fcflow("init", "--force").code == 0
    assert (tmp_path / "rules.json").read_text() != "mine"


def test_the_configuration_is_found_by_variable(
    fcflow: Callable[..., Ran], shop: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    ``FCFLOW_CONFIG`` names the configuration, and ``--config`` goes before it.
    """
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    monkeypatch.setenv("FCFLOW_CONFIG", str(shop / "fcflow.json"))
    assert len(fcflow("orders", "list", "--json").json) == 3
    assert fcflow("orders", "list", "--config", "gone.json").code == 3


def test_without_the_extra_the_line_that_mends_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Without typer the program says which ``pip install`` line is needed.
    """
    monkeypatch.setitem(sys.modules, "typer", None)

    assert main(["check"]) == 2
    assert "pip install 'fcflow[cli]'" in capsys.readouterr().err


# ------------------------------------------------------------------ watch


@pytest.fixture
def watching(shop: Path) -> Iterator[subprocess.Popen[str]]:
    """``fcflow sync --watch`` in a process of its own."""
    command = [sys.executable, "-m", "fcflow.cli", "sync", "--watch", "0.1", "--json"]
    process = subprocess.Popen(command, cwd=shop, stdout=subprocess.PIPE, text=True, env={**os.environ})
    yield process
    process.kill()
    process.communicate()


def test_watch_goes_on_until_it_is_told_to_end(shop: Path, watching: subprocess.Popen[str]) -> None:
    """
    Runs follow each other, one JSON line each; on SIGTERM the run that has begun is finished and the program ends.
    """
    assert watching.stdout is not None
    reports = [json.loads(watching.stdout.readline()) for _ in range(2)]
    watching.send_signal(signal.SIGTERM)

    assert watching.wait(timeout=30) == 0
    assert [report["partners"].get("leeds", {}).get("sent", []) for report in reports] == [["A1"], []]


def test_a_cancelled_order_that_a_partner_has_is_said_to_be_asked_for(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    Nobody may think that a parcel was stopped while the partner may still send it.
    """
    fcflow("sync")
    said = fcflow("orders", "cancel", "A1", "A3", "--reason", "the buyer rang").out

    assert "A1: a partner has it" in said
    assert "A3: cancelled" in said


def test_what_is_not_there_to_filter_by_is_a_mistake(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    A misspelt location or state never looks like an empty answer.
    """
    assert fcflow("orders", "list", "--location", "leds").code == 2
    assert fcflow("orders", "list", "--location", "leeds").code == 0
    assert fcflow("outbox", "list", "--state", "snet").code == 2


def test_check_finds_a_store_that_cannot_be_made(fcflow: Callable[..., Ran], shop: Path) -> None:
    """
    A folder that is not there is found before the first run, with the exit code that the run would have.
    """
    config = json.loads((shop / "fcflow.json").read_text())
    (shop / "fcflow.json").write_text(json.dumps({**config, "store": f"sqlite:///{shop}/nowhere/fcflow.db"}))

    checked = fcflow("check")
    assert checked.code == fcflow("sync").code == 5
    assert "nowhere is not there" in checked.out


def test_a_built_in_layout_is_a_file_to_begin_from(fcflow: Callable[..., Ran], tmp_path: Path) -> None:
    """
    What ``layout show`` prints loads as a layout of one's own; a name that is not there lists those that are.
    """
    (tmp_path / "own.json").write_text(fcflow("layout", "show", "linnworks-orders").out)

    assert load_layout("own.json", base=tmp_path).kind == "orders"
    unknown = fcflow("layout", "show", "linnworks")
    assert (unknown.code, "linnworks-orders" in unknown.err) == (2, True)


def test_a_layout_is_proposed_written_and_proved(fcflow, tmp_path):
    """
    From a sample to a layout that reads it and writes the same.
    """
    sample = tmp_path / "status.csv"
    sample.write_text("Auftragsnr;Status;Sendungsnummer\nA1;Versandt;JD000123456\nA2;Unterwegs;\n")
    made = tmp_path / "leeds.json"
    asked = fcflow("layout", "infer", str(sample), "--kind", "status", "--output", str(made), "--json")
    assert (asked.code, asked.json["decisions"]) == (1, ["column 'Status': what does 'Unterwegs' mean?"])
    assert json.loads(made.read_text()) == asked.json["layout"]
    assert "sure" in fcflow("layout", "infer", str(sample), "--kind", "status").out
    tried = fcflow("layout", "test", str(made), str(sample), "--json")
    assert (tried.code, tried.json["written_and_read"]) == (0, {"agree": True})
    assert fcflow("layout", "infer", "gone.csv", "--kind", "status").code == 3
