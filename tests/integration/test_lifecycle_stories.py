"""Stories of orders that go an uncommon way: split, stopped half way, taken back, answered late, configured away."""

import json
from collections import Counter

import pytest
from attrs import evolve

from fcflow.errors import (
    AllocationError,
    EncodeError,
    StoreBusyError,
    TransportRefusedError,
    TransportUnavailableError,
    TransportUnclearError,
)
from fcflow.model import Location, StockPolicy
from fcflow.phases import allocate as allocation_phase
from fcflow.phases.outcomes import Outcomes
from fcflow.store import OutboxState
from fcflow.testing.partners import World, all_to, order


class Killed(SystemExit):
    """The process ends here, as by SIGKILL: nothing of ours may run any more."""


@pytest.fixture
def world():
    with World("leeds", "corby") as made:
        yield made


def killed(world, call="write", when="after", place="leeds"):
    """A run that is killed at a call of the partner's server; a new process stands ready after it."""
    world.partners[place].server.fail(call, 1, when=when, error=Killed())
    with pytest.raises(Killed):
        world.run()
    world.clock.advance(hours=1)
    world.restarted()


def with_orders_feed(world, place, **changes):
    """The same world, with another orders feed of one partner."""
    feed = evolve(world.partners[place].partner().orders, **changes)
    world._changes[place] = {**world._changes.get(place, {}), "orders": feed}
    world.restarted()


def arrived(world, place):
    """Fulfilment ids that lie at a partner's, in the order of the files."""
    return [row["id"] for row in world.partners[place].arrived()]


def split_between(first, second):
    """A world in which A1 is split: its mug is at *first*, its cup at *second*."""
    world = World(first, second, rules=all_to(first, second, split="by_line"), tracked=True)
    world.partners[first].stock({"MUG": 9})
    world.partners[second].stock({"CUP": 9})
    world.sync.add_orders([order("A1", MUG=1, CUP=1)])
    return world


# ------------------------------------------------------------------ between the outbox and the partner


def test_a_file_with_an_order_that_was_taken_away_does_not_leave_after_a_crash(world):
    """
    What a person took away while the file was not published goes to one partner only, and the rest is sent anew.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    killed(world)
    assert world.states("A1") == {"A1": "sending"}
    assert world.sync.move(["A1"], to="corby", override="leeds burnt down").ok
    world.run()

    assert arrived(world, "leeds") == ["A2"]
    assert arrived(world, "corby") == ["A1-2"]
    assert (world.states("A1"), world.states("A2")) == ({"A1": "cancelled", "A1-2": "sent"}, {"A2": "sent"})


def test_an_order_that_is_cancelled_before_its_file_is_published_ends_at_once(world):
    """
    Nothing left for certain, so there is nothing to wait for.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    killed(world)
    assert world.sync.cancel(["A1"], "the buyer changed her mind").ok
    world.run()

    assert arrived(world, "leeds") == ["A2"]
    assert (world.state("A1"), world.states("A1")) == ("cancelled", {"A1": "cancelled"})


def test_a_hold_stops_a_file_that_is_not_published_yet(world):
    """
    A hold between the outbox and the partner holds; a release lets the order go, once.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    killed(world)
    assert world.sync.hold(["A1"], "fraud check").ok
    world.run()
    assert (arrived(world, "leeds"), world.state("A1")) == (["A2"], "held")

    assert world.sync.release(["A1"]).ok
    world.run()
    assert sorted(arrived(world, "leeds")) == ["A1", "A2"]


def test_an_amendment_is_free_while_its_file_is_not_published(world):
    """
    The old content does not leave.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    killed(world)
    world.sync.add_orders([order("A1", MUG=3)])
    world.run()
    world.run()
    assert [row["quantity"] for row in world.partners["leeds"].arrived()] == ["3"]
    assert world.sync.order("A1").needs_person is None


def test_a_delivery_is_not_resent_with_an_order_that_is_elsewhere_since(world):
    """
    The bytes of a delivery cannot be changed, so one that carries a cancelled order stays.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    world.run()
    world.partners["leeds"].collect()
    [row] = world.sync.outbox()
    world.partners["leeds"].say("CANCELLED", "A1")
    world.run()

    refused = world.sync.resend([row.outbox_id], "leeds lost the file").refused
    assert list(refused) == [str(row.outbox_id)]
    assert "A1 is cancelled" in refused[str(row.outbox_id)]
    world.run()
    assert arrived(world, "leeds") == []


def test_a_resend_that_awaits_its_run_does_not_leave_with_an_order_that_is_taken_back(world):
    """
    Cancelled between the resend and the run: the delivery does not leave, and the report says so.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    world.run()
    world.partners["leeds"].collect()
    [row] = world.sync.outbox()
    assert world.sync.resend([row.outbox_id], "leeds lost the file").ok
    world.sync.move(["A1"], to="corby", override="leeds burnt down")
    report = world.run()

    assert arrived(world, "leeds") == []
    assert "A1 is cancelled" in report.partners["leeds"].problems[0]
    assert world.sync.outbox(partner="leeds")[0].state == OutboxState.FAILED
    assert world.states("A2") == {"A2": "sent"}


# ------------------------------------------------------------------ doubt stays doubt


@pytest.mark.parametrize("error", [TransportRefusedError("no"), TransportUnavailableError("away")])
def test_a_failed_second_try_does_not_prove_that_the_first_one_failed(world, error):
    """
    What was unclear once stays locked until somebody knows, whatever later tries say.
    """
    with_orders_feed(world, "leeds", repeats="recognised")
    world.sync.add_orders([order("A1", MUG=1)])
    server = world.partners["leeds"].server
    server.fail("rename", 1, when="after", error=TransportUnclearError("reset"))
    server.fail("stat", 3, error=TransportUnavailableError("reset"))
    world.run()
    assert world.states("A1") == {"A1": "unclear"}
    world.partners["leeds"].collect()
    for nth in (1, 2, 3):
        server.fail("write", nth, error=error)
    world.run()

    assert world.states("A1") == {"A1": "unclear"}
    assert not world.sync.move(["A1"], to="corby").ok


def test_a_refused_resend_of_an_unclear_delivery_leaves_it_unclear(world):
    """
    The partner may still have the first one.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    killed(world, "rename")
    world.partners["leeds"].collect()
    world.run()
    assert world.states("A1") == {"A1": "unclear"}
    [row] = world.sync.outbox()
    assert world.sync.resend([row.outbox_id], "try again").ok
    world.partners["leeds"].server.fail("write", 1, error=TransportRefusedError("no"))
    world.run()

    assert world.states("A1") == {"A1": "unclear"}
    assert not world.sync.move(["A1"], to="corby").ok
    assert world.sync.order("A1").needs_person is not None


def test_an_answer_proves_a_whole_file_even_before_anybody_looked_for_it(world):
    """
    A file arrives whole or not at all: a word about one of its orders settles all of them.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    killed(world, "rename")
    world.partners["leeds"].collect()
    world.partners["leeds"].say("ACCEPTED", "A1")
    world.run()

    assert (world.states("A1"), world.states("A2")) == ({"A1": "accepted"}, {"A2": "sent"})
    assert [row.state for row in world.sync.outbox()] == ["sent"]
    assert arrived(world, "leeds") == []


def test_a_person_who_settles_one_order_of_a_file_says_nothing_of_the_others(world):
    """
    One was cancelled by telephone; the other stays unclear, and the delivery open.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    killed(world, "rename")
    world.partners["leeds"].collect()
    world.run()
    assert world.sync.resolve(["A1"], "cancelled", "by phone").ok

    assert world.states("A2") == {"A2": "unclear"}
    assert [row.state for row in world.sync.outbox(partner="leeds")] == ["unclear"]


def test_settling_one_order_of_an_interrupted_delivery_does_not_strand_the_others(world):
    """
    The rest of the file is sent by the next run.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    killed(world)
    assert world.sync.resolve(["A1"], "cancelled", "by phone").ok
    world.run()
    assert arrived(world, "leeds") == ["A2"]
    assert world.states("A2") == {"A2": "sent"}


# ------------------------------------------------------------------ parts


def test_a_part_that_one_partner_cancels_leaves_the_other_part_alone():
    """
    Only the cancelled units look for a new place.
    """
    with split_between("leeds", "corby") as world:
        world.run()
        assert world.states("A1") == {"A1": "sent", "A1-2": "sent"}
        world.partners["corby"].say("CANCELLED", "A1-2")
        world.partners["leeds"].say("SHIPPED", "A1", tracking="T1")
        world.run()
        assert world.states("A1") == {"A1": "shipped", "A1-2": "cancelled"}
        assert world.sync.order("A1").unplaced == {"2": 1}
        assert world.state("A1") == "open"

        world.partners["leeds"].stock({"MUG": 8, "CUP": 1})
        world.run()
        assert world.states("A1") == {"A1": "shipped", "A1-2": "cancelled", "A1-3": "sent"}
        assert [(row["id"], row["sku"]) for row in world.partners["leeds"].arrived()][-1] == ("A1-3", "CUP")


def test_parts_can_be_gathered_where_one_of_them_is_already(world):
    """
    What is at the destination does not keep the rest from coming there.
    """
    with split_between("leeds", "corby") as world:
        world.partners["corby"].server.fail("write", 1, error=TransportRefusedError("no"))
        world.run()
        assert world.states("A1") == {"A1": "sent", "A1-2": "send_failed"}
        assert world.sync.move(["A1"], to="leeds").refused == {}
        world.run()
        assert world.states("A1") == {"A1": "sent", "A1-2": "cancelled", "A1-3": "sent"}
        assert sorted(arrived(world, "leeds")) == ["A1", "A1-3"]


def test_a_part_that_has_not_left_waits_while_an_amendment_waits():
    """
    Nothing more of an order leaves once the seller wants it otherwise and a partner works by the old one.
    """
    with split_between("leeds", "corby") as world:
        world.partners["corby"].server.fail("write", 1, error=TransportRefusedError("no"))
        world.run()
        world.sync.add_orders([order("A1", MUG=1)])
        world.run()
        assert arrived(world, "corby") == []
        assert "changed after it was sent to leeds" in world.sync.order("A1").needs_person

        assert world.sync.release(["A1"]).ok
        world.run()
        assert arrived(world, "corby") == ["A1-2"]
        assert world.sync.order("A1").stored.amendment is None


def test_an_amendment_that_is_taken_back_asks_nobody(world):
    """
    The host hands the order over as it was: there is nothing to wait for any more.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    world.sync.add_orders([order("A1", MUG=2)])
    assert world.sync.order("A1").needs_person is not None
    world.sync.add_orders([order("A1", MUG=1)])
    assert world.sync.order("A1").needs_person is None
    assert world.sync.order("A1").stored.amendment is None
    assert world.sync.add_orders([order("A1", MUG=1)]).unchanged == ("A1",)


def test_what_shipped_in_part_ends_shipped_when_a_person_takes_the_rest_away(world):
    """
    Shipped beats cancelled: one mug left leeds, the other goes to corby.
    """
    world.sync.add_orders([order("A1", MUG=2)])
    world.run()
    world.partners["leeds"].answer([{"id": "A1", "status": "PART SHIPPED", "sku": "MUG", "shipped": 1}])
    world.run()
    assert world.sync.move(["A1"], to="corby", override="leeds has no more").ok
    world.run()
    assert world.states("A1") == {"A1": "shipped", "A1-2": "sent"}
    assert [row["quantity"] for row in world.partners["corby"].arrived()] == ["1"]


def test_nothing_is_moved_by_override_while_nobody_knows_what_left(world):
    """
    Leeds shipped something and did not say what: what is to move is not known, so no unit may vanish.
    """
    world.sync.add_orders([order("A1", MUG=2)])
    world.run()
    world.partners["leeds"].say("PART SHIPPED", "A1", tracking="T1")
    world.run()
    refused = world.sync.move(["A1"], to="corby", override="leeds is slow").refused
    assert "did not say which units" in refused["A1"]
    assert world.state("A1") == "in_fulfilment"
    assert world.states("A1") == {"A1": "part_shipped"}


@pytest.mark.parametrize("ids", [("A1", "A1-2"), ("A1-2", "A1")])
def test_an_order_may_be_called_like_a_part_of_another(world, ids):
    """
    Channels number orders as they like; two parts never share an id, whoever comes first.
    """
    first, second = ids
    world.sync.add_orders([order(first, MUG=1)])
    world.run()
    world.partners["leeds"].say("CANCELLED", first)
    world.run()
    world.sync.add_orders([order(second, CUP=1)])
    world.run()
    world.partners["leeds"].say("CANCELLED", world.sync.order(second).fulfilments[0].fulfilment_id)
    report = world.run()

    assert report.ok
    sent = arrived(world, "leeds") + arrived(world, "corby")
    assert len(sent) == len(set(sent)) == 4
    assert all(world.state(each) == "in_fulfilment" for each in ids)


# ------------------------------------------------------------------ what was configured away


def test_orders_that_have_not_left_go_elsewhere_when_their_location_is_gone():
    """
    A location that is not configured any more keeps nothing that was not sent.
    """
    with World("leeds", "corby") as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.sync.allocate()
        del world.partners["leeds"]
        world._rules = World("corby")._rules
        world.restarted()
        world.run()
        assert world.states("A1") == {"A1": "cancelled", "A1-2": "sent"}
        assert arrived(world, "corby") == ["A1-2"]


def test_a_location_that_changes_its_partner_sends_nothing_to_the_old_one():
    """
    What was allocated and not sent goes where the location is now.
    """
    with World("leeds", "corby") as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.sync.allocate()
        old = world._location
        world._location = lambda code: evolve(old(code), partner="corby")
        world.restarted()
        world.run()
        assert arrived(world, "leeds") == []
        assert len(arrived(world, "corby")) == 1


def test_an_order_that_was_moved_to_a_location_that_is_gone_waits_and_says_why():
    """
    The hand-made move is not undone, and one such order does not keep the others from being allocated.
    """
    with World("leeds", "corby") as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.sync.move(["A1"], to="corby")
        world.sync.add_orders([order("A2", MUG=1)])
        del world.partners["corby"]
        world.restarted()
        report = world.run()
        assert arrived(world, "leeds") == ["A2"]
        assert "corby" in report.allocation.kept["A1"]
        assert world.sync.move(["A1"], to="leeds").ok
        world.run()
        assert sorted(arrived(world, "leeds")) == ["A1-2", "A2"]


# ------------------------------------------------------------------ nonsense


@pytest.mark.parametrize("units", ["99999999999999999999999", "-99999999999999999999999"])
def test_a_level_beyond_all_measure_is_a_bad_row_and_stops_nothing(units):
    """
    A number that no store can hold is reported; the good rows and the other partners go on.
    """
    with World("leeds", "corby", tracked=True) as world:
        world.partners["leeds"].stock({"MUG": units, "CUP": 3})
        world.partners["corby"].stock({"MUG": 5})
        report = world.run()
        assert [(p.location, p.sku, p.on_hand) for p in pictures(world)] == [("leeds", "CUP", 3), ("corby", "MUG", 5)]
        assert any("MUG" in problem or units in problem for problem in report.problems)


def pictures(world):
    with world.sync.store.reading() as tx:
        return tx.pictures()


def test_a_count_beyond_all_measure_is_taken_up_to_the_order(world):
    """
    More units than anybody ordered, by far: a person is asked.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    world.partners["leeds"].answer([{"id": "A1", "status": "SHIPPED", "sku": "MUG", "shipped": "9" * 9}])
    world.run()
    assert world.states("A1") == {"A1": "shipped"}
    assert world.sync.order("A1").needs_person is not None


def test_text_with_nul_and_lone_parts_of_characters_stops_nothing(world):
    """
    Whatever a partner writes, the next file is read.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    world.run()
    world.partners["leeds"].answer([{"id": "A1", "status": "ERROR", "error": "a\x00b \U0001f4a9"}])
    world.partners["leeds"].answer([{"id": "A2", "status": "SHIPPED", "tracking": "T1"}])
    world.run()
    assert world.states("A2") == {"A2": "shipped"}


@pytest.mark.fault(row=40, invariants="I9")
def test_a_way_in_that_breaks_its_promises_stops_nobody_else(world, caplog):
    """
    What is no error of ours is in the report and the log, and the other partners are served.
    """
    world.sync.add_orders([order("A1", MUG=1)], location="leeds")
    world.sync.add_orders([order("A2", MUG=1)], location="corby")
    real = world.sync._context.open

    def broken(partner, name):
        if partner.code == "leeds":
            raise ValueError("password hunter2")
        return real(partner, name)

    world.sync._context = evolve(world.sync._context, open_way=broken)
    report = world.run()

    assert arrived(world, "corby") == ["A2"]
    assert {failure.code for _, failure in report.failures} == {"plugin.invalid"}
    assert "hunter2" not in str(report.as_dict())
    assert "Traceback" in caplog.text


def test_one_order_that_cannot_be_routed_does_not_keep_the_others(world, monkeypatch):
    """
    A strategy that fails for one order is told at that order.
    """

    def some_fail(context, each, view, now, real=allocation_phase.routing_of):
        if each.order_id == "A1":
            raise AllocationError("strategy acme:moon: no moon tonight")
        return real(context, each, view, now)

    monkeypatch.setattr(allocation_phase, "routing_of", some_fail)
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    report = world.run()
    assert report.allocation.kept == {"A1": "cannot be allocated: strategy acme:moon: no moon tonight"}
    assert arrived(world, "leeds") == ["A2"]


def test_two_skus_of_ours_may_share_a_partners_code(world):
    """
    Which of them a partner means is told by what it was sent.
    """
    partner = world.partners["leeds"].partner()
    world._changes["leeds"] = {"aliases": {"MUG": "L-1", "MUG-OLD": "L-1"}, "status": partner.status}
    world.restarted()
    world.sync.add_orders([order("A1", MUG=1), order("A2", **{"MUG-OLD": 1})])
    world.run()
    for each in ("A1", "A2"):
        world.partners["leeds"].answer([{"id": each, "status": "SHIPPED", "sku": "L-1", "shipped": 1}])
    report = world.run()
    assert report.problems == []
    assert (world.states("A1"), world.states("A2")) == ({"A1": "shipped"}, {"A2": "shipped"})


# ------------------------------------------------------------------ what a partner quotes


def quoting(world, place, matches):
    feed = evolve(world.partners[place].partner().status, matches=matches)
    world._changes[place] = {**world._changes.get(place, {}), "status": feed}
    world.restarted()


@pytest.mark.parametrize(("matches", "quoted"), [("order_id", "A1"), ("reference", "#A1"), ("reference", " #A1 ")])
def test_a_repeat_about_a_part_that_ended_does_not_touch_one_that_has_not_left(matches, quoted):
    """
    A partner that quotes orders repeats its cancellation; the new part at the same partner was never with it.
    """
    places = [
        Location(code=c, kind="fulfilment_centre", partner="leeds", stock=StockPolicy(tracked=False)) for c in "nm"
    ]
    with World("leeds", rules=all_to("n", "m"), own=places) as world:
        quoting(world, "leeds", matches)
        world.sync.add_orders([order("A1", MUG=1)])
        world.run()
        world.partners["leeds"].say("CANCELLED", quoted)
        world.sync.receive_statuses()
        world.sync.allocate()
        assert world.states("A1") == {"A1": "cancelled", "A1-2": "ready"}
        world.clock.advance(minutes=1)
        world.partners["leeds"].say("CANCELLED", quoted)
        world.sync.receive_statuses()
        assert world.states("A1") == {"A1": "cancelled", "A1-2": "ready"}


def test_an_order_number_that_means_two_parts_at_work_is_left_to_a_person():
    """
    Nobody can know which part is meant, so nothing changes, and the report says so.
    """
    places = [Location(code=c, kind="fulfilment_centre", partner="leeds", stock=StockPolicy()) for c in "nm"]
    with World("leeds", rules=all_to("n", "m", split="by_line"), own=places) as world:
        quoting(world, "leeds", "order_id")
        world.sync.add_orders([order("A1", MUG=1, CUP=1)], location="n", fulfilled_elsewhere=True)
        world.run()
        world.partners["leeds"].say("SHIPPED", "A1")
        world.run()
        assert world.states("A1") == {"A1": "shipped"}


def test_an_order_that_is_fulfilled_elsewhere_and_cancelled_there_asks_a_person(world):
    """
    It is not ours to send, and it is not forgotten.
    """
    world.sync.add_orders([order("A1", MUG=1)], location="leeds", fulfilled_elsewhere=True)
    world.partners["leeds"].say("CANCELLED", "A1")
    world.run()
    assert arrived(world, "corby") == []
    assert [each.order_id for each in world.sync.orders(needs_person=True)] == ["A1"]


# ------------------------------------------------------------------ files that stay


def test_files_that_are_left_do_not_keep_new_ones_from_being_taken():
    """
    However many were read before, a new one is taken.
    """
    with World("leeds") as world:
        made = world.partners["leeds"].partner()
        world._changes["leeds"] = {
            "status": evolve(made.status, after="leave"),
            "limits": evolve(made.limits, max_files=2),
        }
        world.restarted()
        world.sync.add_orders([order(each, MUG=1) for each in ("A1", "A2", "A3")])
        world.run()
        for each in ("A1", "A2", "A3"):
            world.clock.advance(minutes=1)
            world.partners["leeds"].say("SHIPPED", each)
        world.run()
        world.run()
        assert [world.state(each) for each in ("A1", "A2", "A3")] == ["closed"] * 3


def test_a_layout_that_no_longer_fits_what_is_sent_already_stops_nothing():
    """
    All open orders go out each time; one that does not fit any more stays as it is.
    """
    with World("leeds") as world:
        with_orders_feed(world, "leeds", mode="all_open")
        world.sync.add_orders([order("A1", MUG=1)])
        world.run()
        sender = world.sync._context.layout_of
        strict = _Strict(sender(world.sync.partners["leeds"].orders), "A1")
        world.sync._context = evolve(
            world.sync._context, layout_of=lambda f: strict if f.kind == "orders" else sender(f)
        )
        world.sync.add_orders([order("A2", MUG=1)])
        report = world.run()
        assert report.partners["leeds"].sent == ["A2"]
        assert world.states("A1") == {"A1": "sent"}


class _Strict:
    """A layout that refuses one order."""

    def __init__(self, layout, bad):
        self._layout, self._bad = layout, bad

    def __getattr__(self, name):
        return getattr(self._layout, name)

    def encode(self, values, **batch):
        if any(value.fulfilment_id == self._bad for value in values):
            raise EncodeError("order A1: too long")
        return self._layout.encode(values, **batch)


# ------------------------------------------------------------------ plans


def test_a_plan_over_what_a_crash_left_behind_changes_nothing_at_the_partner(world):
    """
    The plan looks, and neither renames nor removes.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    killed(world)
    server = world.partners["leeds"].server
    before, calls = dict(server._files), Counter(server.calls)
    plan = world.sync.plan()
    made = {call: n - calls[call] for call, n in server.calls.items()}
    assert [each.fulfilment_ids for each in plan.deliveries] == [("A1",)]
    assert dict(server._files) == before
    assert not any(made[call] for call in made if call in ("write", "rename", "remove"))
    assert world.states("A1") == {"A1": "sending"}


# ------------------------------------------------------------------ two at once


class _While:
    """A way in that lets something happen right before each delivery is sent."""

    def __init__(self, real, happens):
        self._real, self._happens = real, happens

    def __getattr__(self, name):
        return getattr(self._real, name)

    def send(self, delivery):
        self._happens()
        return self._real.send(delivery)


def test_a_synchronizer_that_was_too_slow_publishes_nothing(world):
    """
    While it slept another one took its lease over and sent the file; its own attempt ends before it is visible.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    slow = world.sync
    quick = world.restarted()
    real, reports = slow._context.open, []

    def sleep():
        world.clock.advance(hours=1)
        reports.append(quick.run())

    slow._context = evolve(slow._context, open_way=lambda p, name: _While(open_plainly(real, p, name), sleep))
    report = slow.run()

    assert reports[0].partners["leeds"].sent == ["A1"]
    assert [failure.code for _, failure in report.failures] == ["store.lease_lost"]
    assert arrived(world, "leeds") == ["A1"]
    assert world.states("A1") == {"A1": "sent"}


def open_plainly(open_way, partner, name):
    return open_way(partner, name)


def test_nothing_is_published_before_the_store_says_so(world, monkeypatch):
    """
    The mark could not be written at first; it is written before the file becomes visible, so that a crash right after
    leaves the order unclear, and not to be sent again.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    marks = []

    def busy_once(self, minted, real=Outcomes.mark_publishing):
        marks.append(minted)
        if len(marks) == 1:
            raise StoreBusyError("another writer")
        real(self, minted)

    monkeypatch.setattr(Outcomes, "mark_publishing", busy_once)
    world.partners["leeds"].server.fail("rename", 1, when="after", error=Killed())
    with pytest.raises(Killed):
        world.run()
    world.partners["leeds"].collect()
    world.clock.advance(hours=1)
    world.restarted()
    world.run()

    assert len(marks) == 2
    assert arrived(world, "leeds") == []
    assert world.states("A1") == {"A1": "unclear"}


def test_a_store_that_is_busy_right_after_a_delivery_does_not_make_it_unclear(world, monkeypatch):
    """
    The partner has it, and the store hears of it as soon as it can.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    tried = []

    def busy_once(self, minted, receipt, real=Outcomes.sent):
        tried.append(minted)
        if len(tried) == 1:
            raise StoreBusyError("another writer")
        real(self, minted, receipt)

    monkeypatch.setattr(Outcomes, "sent", busy_once)
    assert world.run().ok
    assert world.states("A1") == {"A1": "sent"}


def test_what_waits_says_why_while_an_interrupted_delivery_cannot_go_on(world):
    """
    The partner is away when the delivery of before is to be finished; nothing else is tried, and it shows.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    killed(world)
    world.sync.add_orders([order("A2", MUG=1)])
    for nth in (1, 2, 3):
        world.partners["leeds"].server.fail("write", nth, error=TransportUnavailableError("away"))
    world.run()
    [view] = world.sync.order("A2").fulfilments
    assert (view.state, view.label_error) == ("ready", "not tried: away")
    world.run()
    assert sorted(arrived(world, "leeds")) == ["A1", "A2"]


class _NoSizes:
    """A server that tells times and no sizes."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    def list(self, feed, query):
        for offer in self._real.list(feed, query):
            token = {**json.loads(offer.token), "size": None}
            yield evolve(offer, size=None, token=json.dumps(token))


def test_a_file_that_is_left_is_taken_once_where_the_server_tells_no_sizes(world):
    """
    Its time is enough to know it again.
    """
    feed = evolve(world.partners["leeds"].partner().status, after="leave")
    world._changes["leeds"] = {"status": feed}
    world.restarted()
    real = world.sync._context.open
    world.sync._context = evolve(world.sync._context, open_way=lambda p, name: _NoSizes(real(p, name)))
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    world.partners["leeds"].say("ACCEPTED", "A1")
    assert world.run().partners["leeds"].files_received == 1
    assert world.run().partners["leeds"].files_received == 0


def test_an_error_that_a_person_took_note_of_awaits_nobody_until_it_is_said_anew():
    """
    Released, the partner's error text is gone; an acceptance does not bring it back, the same error said again does.
    """
    with World("leeds") as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.run()
        world.partners["leeds"].say("ERROR", "A1", error="address unknown")
        world.run()
        assert "address unknown" in world.sync.order("A1").needs_person
        assert world.sync.release(["A1"]).ok
        assert world.sync.order("A1").needs_person is None
        world.partners["leeds"].say("ACCEPTED", "A1")
        world.run()
        assert world.sync.order("A1").needs_person is None
        world.partners["leeds"].say("ERROR", "A1", error="address still unknown")
        world.run()
        assert "address still unknown" in world.sync.order("A1").needs_person


def test_a_parcel_said_again_is_the_same_parcel():
    """
    The same tracking number in two files is one parcel.
    """
    with World("leeds") as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.run()
        for service in ("DPD", "DPD"):
            world.partners["leeds"].say("SHIPPED", "A1", tracking="T1", service=service)
            world.run()
        assert len(world.sync.order("A1").fulfilments[0].shipments) == 1


def test_an_allocation_that_fails_as_a_whole_does_not_keep_what_is_ready_from_leaving(monkeypatch):
    """
    The failure stands in the report, and orders that are allocated already are sent.
    """
    from fcflow.errors import StoreError
    from fcflow.phases import allocate as phase

    with World("leeds") as world:
        world.sync.add_orders([order("A1", MUG=1)], location="leeds")

        def broken(*args, **kwargs):
            raise StoreError("the disk hiccuped")

        monkeypatch.setattr(phase, "stock_view", broken)
        report = world.run()
        assert [(where, failure.code) for where, failure in report.failures] == [("allocation", "store.error")]
        assert not report.ok
        assert world.states("A1") == {"A1": "sent"}
