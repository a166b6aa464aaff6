"""Every call of a run is broken once, before and after it took effect; the next runs complete the work."""

from collections import Counter

import pytest
from attrs import evolve

from fcflow.errors import TransportRefusedError, TransportUnavailableError, TransportUnclearError
from fcflow.testing.partners import World, order

IDS = ["A1", "A2", "A3"]


class Killed(SystemExit):
    """The process ends here, as by SIGKILL: nothing of ours may run any more."""


def run_until_quiet(world, rounds=5):
    for _ in range(rounds):
        world.run(hours=1)


def play(world):
    """A day: three orders leave in one file, are shipped, and a stock file comes in."""
    world.sync.add_orders([order(each, MUG=1) for each in IDS])
    yield
    world.partners["leeds"].say("ACCEPTED", *IDS)
    world.partners["leeds"].say("SHIPPED", *IDS, tracking="T1")
    world.partners["leeds"].stock({"MUG": 7})
    yield


def count_calls(play_day):
    with World("leeds") as world:
        for _ in play_day(world):
            world.run(hours=1)
        return sum(world.partners["leeds"].server.calls.values())


CALLS = count_calls(play)


def check_nothing_lost_nothing_twice(world):
    """Each order is with the partner exactly once, and closed; or it says that nobody can know."""
    sent = Counter(row["id"] for row in world.partners["leeds"].arrived())
    for each in IDS:
        view = world.sync.order(each)
        assert sent[each] == 1
        assert view.state.value == "closed", (each, view)
    assert not [name for name in world.partners["leeds"].server.files("in") if name.endswith(".part")]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, CALLS + 1))
@pytest.mark.fault(row=1, invariants="I1 I2 I3 I4")
def test_a_call_that_fails_once_loses_nothing_and_doubles_nothing(nth, when):
    """
    Whichever call of the partner's server breaks, before or after it took effect, the day ends as it should.
    """
    with World("leeds") as world:
        world.partners["leeds"].server.fail("*", nth, when=when)
        for _ in play(world):
            run_until_quiet(world, 3)
        check_nothing_lost_nothing_twice(world)
        with world.sync.store.reading() as tx:
            assert [picture.on_hand for picture in tx.pictures()] == [7]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, CALLS + 1))
@pytest.mark.fault(row=1, invariants="I1 I2 I3 I4")
@pytest.mark.fault(row=2, invariants="I2")
@pytest.mark.fault(row=3, invariants="I3")
def test_a_process_that_is_killed_at_any_call_is_healed_by_the_next_run(nth, when, tmp_path):
    """
    Killed at any call, before or after it took effect, a new process on the same store brings the day to its end.
    """
    with World("leeds", store=f"sqlite:///{tmp_path}/fcflow.db") as world:
        world.partners["leeds"].server.fail("*", nth, when=when, error=Killed())
        for _ in play(world):
            for _ in range(3):
                try:
                    world.run(hours=1)
                except Killed:
                    world.sync.close()
                    world.restarted()
        check_nothing_lost_nothing_twice(world)
        assert len(world.sync.audit(order_id="A1", type="SHIPMENT")) == 1


@pytest.mark.fault(row=3, invariants="I1 I3")
def test_a_partner_that_collects_while_we_are_killed_leaves_an_order_unclear(tmp_path):
    """
    Killed after the rename, and the file collected: nobody can know, so nothing is sent again without a person.
    """
    with World("leeds", store=f"sqlite:///{tmp_path}/fcflow.db") as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.partners["leeds"].server.fail("rename", 1, when="after", error=Killed())
        with pytest.raises(Killed):
            world.run()
        assert len(world.partners["leeds"].collect()) == 1
        world.sync.close()
        world.restarted()
        run_until_quiet(world, 2)

        assert world.states("A1") == {"A1": "unclear"}
        assert world.partners["leeds"].arrived() == []
        assert world.sync.orders(needs_person=True)[0].order_id == "A1"

        assert world.sync.resolve(["A1"], "sent", "leeds told us by phone").ok
        assert world.states("A1") == {"A1": "sent"}


def test_a_status_proves_that_an_unclear_delivery_arrived():
    """
    The partner's own word about an unclear order settles it.
    """
    with World("leeds") as world:
        world.sync.add_orders([order("A1", MUG=1)])
        world.partners["leeds"].server.fail("rename", 1, when="after", error=TransportUnclearError("reset"))
        world.partners["leeds"].server.fail("stat", 3, error=TransportUnavailableError("reset"))
        world.run()
        if world.states("A1") == {"A1": "sent"}:
            pytest.fail("the look-up was meant to fail")
        world.partners["leeds"].say("ACCEPTED", "A1")
        world.run()
        assert world.states("A1") == {"A1": "accepted"}
        assert [row.state for row in world.sync.outbox()] == ["sent"]


def test_a_partner_who_recognises_repeats_gets_an_unclear_delivery_again():
    """
    Where the feed says so, an unclear delivery is sent again with the same key, a bounded number of times.
    """
    with World("leeds") as world:
        feed = evolve(world.partners["leeds"].partner().orders, repeats="recognised")
        world._changes["leeds"] = {"orders": feed}
        world.restarted()
        world.sync.add_orders([order("A1", MUG=1)])
        server = world.partners["leeds"].server
        server.fail("rename", 1, when="before", error=TransportUnclearError("reset"))
        world.run()
        world.run()
        assert world.states("A1") == {"A1": "sent"}
        assert len(world.sync.outbox()) == 1


def test_one_order_that_is_refused_does_not_keep_the_others():
    """
    In single posts each order has its own fate.
    """
    with World("leeds") as world:
        feed = evolve(world.partners["leeds"].partner().orders, batch=1)
        world._changes["leeds"] = {"orders": feed}
        world.restarted()
        world.sync.add_orders([order(each, MUG=1) for each in IDS])
        world.partners["leeds"].server.fail("write", 2, error=TransportRefusedError("no"))
        report = world.run().partners["leeds"]
        assert (report.sent, report.send_failed) == (["A1", "A3"], ["A2"])


@pytest.mark.fault(row=17, invariants="I3")
def test_the_work_of_another_synchronizer_is_left_alone():
    """
    While one synchronizer holds a partner's phase, a second one reports it and touches nothing.
    """
    with World("leeds") as world:
        world.sync.add_orders([order("A1", MUG=1)])
        with world.sync.store.lease("leeds:orders", clock=world.clock):
            report = world.run()
            assert [failure.code for _, failure in report.failures] == ["store.busy"]
            assert world.partners["leeds"].arrived() == []
        assert world.run().ok
        assert world.states("A1") == {"A1": "sent"}
