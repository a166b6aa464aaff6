"""Whatever a partner leaves for us: the good part is applied, the bad part reported and kept, the others go on."""

import pytest
from attrs import evolve

from fcflow.errors import TransportLoginError, TransportUntrustedError
from fcflow.formats import load_layout
from fcflow.testing.partners import LAYOUTS, World, order

HEADER = b"id;status;tracking;service;error;sku;shipped;cancelled\r\n"


@pytest.fixture
def world():
    with World("leeds", "corby") as made:
        made.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
        made.sync.add_orders([order("B1", MUG=1)], location="corby")
        made.run()
        yield made


def snapshot(world):
    """All that a run could change, but the clock."""
    return [
        (
            view.order_id,
            view.state,
            view.needs_person,
            [(f.fulfilment_id, f.state, f.problem) for f in view.fulfilments],
        )
        for view in world.sync.orders()
    ]


def check_second_run_changes_nothing(world):
    before, events = snapshot(world), len(world.sync.audit())
    world.run()
    assert snapshot(world) == before
    assert len(world.sync.audit()) == events


def test_good_rows_are_applied_and_bad_rows_reported_with_line_and_field(world):
    """
    A bad row in a status file does not keep the others from being applied; it is reported by line, and kept.
    """
    rows = b"A1;SHIPPED;T1;;;;;\r\nA2;SHIPPED;;;;MUG;two;\r\n;SHIPPED;;;;;;\r\n"
    world.partners["leeds"].put("status/mixed.csv", HEADER + rows)
    report = world.run().partners["leeds"]

    assert report.shipped == ["A1"]
    assert "line 3" in report.problems[0]
    assert "'two'" in report.problems[0]
    assert "line 4" in report.problems[1]
    [sighting] = world.sync.received()
    assert (sighting.state, sighting.records, sighting.problems) == ("applied", 1, 2)
    assert world.sync.received_content(sighting.sighting_id) == HEADER + rows
    assert [problem.line for problem in world.sync.problems(sighting.sighting_id)] == [3, 4]
    check_second_run_changes_nothing(world)


@pytest.mark.parametrize(
    "content",
    [b"\x00\xff\xfe\x9d garbage", b"<html><body>502 Bad Gateway</body></html>", b"wrong;columns\r\n1;2\r\n", b'"' * 50],
)
def test_a_file_of_garbage_is_refused_as_a_whole_kept_and_put_aside(world, content):
    """
    Garbage changes nothing, is kept byte for byte, and lies in the partner's failed folder afterwards.
    """
    before = snapshot(world)
    world.partners["leeds"].put("status/garbage.csv", content)
    world.partners["corby"].say("SHIPPED", "B1")
    report = world.run()

    assert report.partners["leeds"].files_refused == 1
    assert report.partners["corby"].shipped == ["B1"]
    [refused] = world.sync.received(state="refused")
    assert world.sync.received_content(refused.sighting_id) == content
    assert world.partners["leeds"].server.files("status/failed") == {"garbage.csv": content}
    assert [view for view in snapshot(world) if view[0] != "B1"] == [view for view in before if view[0] != "B1"]
    check_second_run_changes_nothing(world)


def test_an_unknown_order_id_is_reported_and_changes_nothing(world):
    """
    A status of an order that nobody knows is in the audit trail and in the report.
    """
    world.partners["leeds"].say("SHIPPED", "Z9", "A1")
    report = world.run().partners["leeds"]

    assert (report.unmatched, report.shipped) == (1, ["A1"])
    assert "'Z9'" in report.problems[0]
    check_second_run_changes_nothing(world)


def test_an_unknown_status_word_is_recorded_reported_and_changes_nothing(world):
    """
    A word that nobody knows leaves the state alone.
    """
    world.partners["leeds"].say("QUARANTINED", "A1")
    report = world.run().partners["leeds"]

    assert report.unknown_statuses == 1
    assert "'QUARANTINED'" in report.problems[0]
    assert world.states("A1") == {"A1": "sent"}
    assert "QUARANTINED" in world.said("A1", "FULFIL_STATUS")
    check_second_run_changes_nothing(world)


def test_a_repeated_file_changes_nothing_and_is_in_the_audit_trail_again(world):
    """
    The same words under another name, or the same name again, repeat nothing but the audit trail.
    """
    for name in ("first.csv", "second.csv", "first.csv"):
        world.partners["leeds"].answer([{"id": "A1", "status": "SHIPPED", "tracking": "T1"}], name)
        world.run()

    [view] = world.sync.order("A1").fulfilments
    assert len(view.shipments) == 1
    assert len(world.said("A1", "FULFIL_STATUS")) == 3
    assert len(world.said("A1", "STATE_CHANGED")) == 1


def test_an_older_status_that_comes_late_does_not_undo_a_newer_one(world):
    """
    Accepted after shipped leaves it shipped.
    """
    world.partners["leeds"].say("SHIPPED", "A1")
    world.run()
    world.partners["leeds"].say("ACCEPTED", "A1")
    world.run()
    assert world.states("A1") == {"A1": "shipped"}


def test_more_units_shipped_than_ordered_are_taken_up_to_the_order_and_a_person_is_asked(world):
    """
    Excess never counts; somebody has to look.
    """
    world.partners["leeds"].say("SHIPPED", "A1", sku="MUG", shipped=5)
    report = world.run().partners["leeds"]

    assert world.states("A1") == {"A1": "shipped"}
    assert "at most 1 units, got 5" in report.problems[0]
    assert world.sync.order("A1").needs_person


def test_a_half_written_file_is_not_taken_before_it_is_complete(world):
    """
    A file under a temporary name waits until the partner renames it.
    """
    content = HEADER + b"A1;SHIPPED;T1;;;;;\r\n"
    world.partners["leeds"].put("status/day.csv.part", content[:60])
    assert world.run().partners["leeds"].files_received == 0
    world.partners["leeds"].server.take("status/day.csv.part")
    world.partners["leeds"].put("status/day.csv", content)
    assert world.run().partners["leeds"].shipped == ["A1"]


@pytest.mark.parametrize(
    "error", [TransportLoginError("530 login incorrect"), TransportUntrustedError("unknown host key")]
)
def test_a_refused_way_in_is_reported_and_the_others_go_on(error):
    """
    Wrong password or unknown host key: nothing is sent there, the reason is shown, the other partner's orders leave.
    """
    with World("leeds", "corby") as world:
        world.sync.add_orders([order("A1", MUG=1)], location="leeds")
        world.sync.add_orders([order("B1", MUG=1)], location="corby")
        for n in range(1, 20):
            world.partners["leeds"].server.fail("*", n, error=error)
        report = world.run()

        assert not report.ok
        assert {failure.code for _, failure in report.failures} == {error.code}
        assert world.partners["corby"].arrived()
        [view] = world.sync.order("A1").fulfilments
        assert str(error) in (view.label_error or "")
        assert view.attempts == 0
        world.partners["leeds"].server.clear()
        world.run()
        assert world.states("A1") == {"A1": "sent"}


def test_an_order_for_an_unknown_sku_waits_and_says_why():
    """
    A SKU that no stock file names cannot be allocated; the other orders are.
    """
    with World("leeds", tracked=True) as world:
        world.partners["leeds"].stock({"MUG": 5})
        world.sync.add_orders([order("A1", MUG=1), order("A2", UNICORN=1)])
        report = world.run()

        assert report.allocation.allocated == {"leeds": ["A1"]}
        said = "rule all: short of UNICORN by 1; goes on to the next rule; otherwise: keep"
        assert report.allocation.kept == {"A2": said}
        assert world.sync.order("A2").stored.reason == said
        assert "short of UNICORN by 1" in str(world.sync.explain("A2"))


def test_a_sku_that_stands_twice_in_a_stock_file_is_refused_and_unchanged():
    """
    Nobody can know which of the two rows holds; the others are applied.
    """
    with World("leeds", tracked=True) as world:
        world.partners["leeds"].stock({"MUG": 5, "CUP": 1})
        world.run()
        world.partners["leeds"].put("stock/stock.csv", b"sku;quantity\r\nMUG;7\r\nMUG;9\r\nCUP;2\r\n")
        report = world.run().partners["leeds"]

        levels = {summary.sku: summary.level for summary in world.sync.stock()}
        assert levels == {"MUG": 5, "CUP": 2}
        assert len(report.problems) == 2


def test_an_order_that_does_not_fit_its_layout_does_not_keep_the_others_from_leaving():
    """
    What cannot be written is marked with the reason; the rest of the file leaves.
    """
    document = {
        "fcflow": "layout/1",
        "name": "simulated-orders",
        "kind": "orders",
        "codec": {"type": "delimited", "delimiter": ";", "header": True, "encoding": "ascii"},
        "fields": [{"at": "id", "field": "fulfilment_id"}, {"at": "name", "field": "ship_to.name"}],
    }
    with World("leeds") as world:
        world.sync._context = evolve(
            world.sync._context,
            layout_of=lambda feed: {**LAYOUTS, "simulated-orders": load_layout(document)}[feed.layout],
        )
        named = evolve(order("A1", MUG=1), ship_to=evolve(order("A1", MUG=1).ship_to, name="Zoë"))
        world.sync.add_orders([named, order("A2", MUG=1)])
        report = world.run().partners["leeds"]

        assert (report.sent, report.send_failed) == (["A2"], ["A1"])
        [view] = world.sync.order("A1").fulfilments
        assert "A1" in view.label_error
        assert "ascii" in view.label_error


def test_a_file_of_thousands_of_bad_rows_is_told_in_short(world):
    """
    The good row is applied; of the bad ones the first are named and the rest counted, and the file is kept.
    """
    bad = b"".join(b"Z%d;SHIPPED;;;;;;\r\n" % number for number in range(3000))
    world.partners["leeds"].put("status/flood.csv", HEADER + b"A1;SHIPPED;T1;;;;;\r\n" + bad)
    report = world.run().partners["leeds"]

    assert report.shipped == ["A1"]
    assert report.unmatched == 3000
    assert len(report.problems) == 201
    assert report.problems[-1] == "flood.csv: and 2800 more; the file is kept"
    assert world.sync.received()[0].problems == 3000


def speaks_stock(world, **field):
    """The partner's stock files are read with this field for their time."""
    fields = [{"at": "sku", "field": "sku"}, {"at": "quantity", "field": "on_hand"}, {"field": "as_of", **field}]
    codec = {"type": "delimited", "delimiter": ";"}
    layout = load_layout({"fcflow": "layout/1", "kind": "stock", "codec": codec, "fields": fields})
    layouts = {**LAYOUTS, "simulated-stock": layout}
    world.sync._context = evolve(world.sync._context, layout_of=lambda feed: layouts[feed.layout])


@pytest.mark.parametrize(
    ("field", "as_of"),
    [
        ({"from": "file_name", "pattern": "%Y%m%d-%H%M"}, "2026-03-02T08:30:00+00:00"),
        ({"from": "modified_at"}, "2026-03-02T09:00:00+00:00"),
    ],
)
def test_a_stock_picture_has_the_time_of_its_file(field, as_of):
    """
    The name of the file, or the time that the partner's server gives it, says how old the picture is.
    """
    with World("leeds", tracked=True) as world:
        speaks_stock(world, **field)
        world.partners["leeds"].stock({"MUG": 5}, name="stock-20260302-0830.csv")
        world.run()

        [row] = world.sync.stock(sku="MUG")[0].locations

    assert (row.level, row.as_of.isoformat()) == (5, as_of)


def test_a_stock_file_whose_name_tells_no_time_is_refused():
    """
    Nothing of it counts, and the report says what was looked for.
    """
    with World("leeds", tracked=True) as world:
        speaks_stock(world, **{"from": "file_name", "pattern": "%Y%m%d-%H%M"})
        world.partners["leeds"].stock({"MUG": 5}, name="stock.csv")
        report = world.run().partners["leeds"]

        assert world.sync.stock() == []
    assert "file name (as_of): expected a date and time like %Y%m%d-%H%M, got 'stock.csv'" in " ".join(report.problems)
