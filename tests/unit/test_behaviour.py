"""How locations behave, measured."""

from datetime import UTC, datetime, timedelta

from attrs import evolve

from fcflow.behaviour import Handled, Lately, behaviour
from fcflow.testing.partners import World, order

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def sent(**more):
    return Handled(location="leeds", sent_at=NOON, **more)


def test_late_is_what_left_late_or_has_not_left_by_its_time():
    """
    What may still leave in time, has no time, or was refused is neither late nor in time.
    """
    told = [
        sent(dispatch_by=NOON + HOUR, shipped_at=NOON + HOUR),
        sent(dispatch_by=NOON + HOUR, shipped_at=NOON + 2 * HOUR),
        sent(dispatch_by=NOON + HOUR),
        sent(dispatch_by=NOON + 9 * HOUR),
        sent(dispatch_by=NOON + HOUR, rejected=True),
        sent(),
    ]

    leeds = behaviour(told, now=NOON + 3 * HOUR)["leeds"]

    assert (leeds.orders, leeds.due, leeds.late, leeds.late_rate) == (6, 3, 2, 2 / 3)
    assert leeds.median_hours == 1.5


def test_nothing_known_is_nothing_said():
    """
    A location that was sent nothing is not there; without a shipment there are no hours, without a due one no rate.
    """
    leeds = behaviour([sent()], now=NOON)["leeds"]

    assert behaviour([], now=NOON) == {}
    assert (leeds.median_hours, leeds.late_rate, leeds.reject_rate, leeds.error_rate) == (None, None, 0, 0)


def test_the_synchronizer_measures_what_partners_said():
    """
    One ships after two hours, one is refused, one errs, one we took back ourselves, which is not counted.
    """
    with World("leeds") as world:
        began = world.clock.now
        due = began + HOUR
        names = ("A1", "A2", "A3", "A4")
        world.sync.add_orders([evolve(order(name, MUG=1), dispatch_by=due) for name in names])
        world.run()
        world.sync.cancel(["A4"], "changed their mind")
        world.clock.advance(hours=2)
        world.partners["leeds"].say("SHIPPED", "A1", tracking="T1")
        world.partners["leeds"].say("CANCELLED", "A2", "A4")
        world.partners["leeds"].say("ERROR", "A3", error="no such SKU")
        world.sync.receive_statuses()

        leeds = world.sync.behaviour(began)["leeds"]

        assert (leeds.orders, leeds.rejected, leeds.erred) == (3, 1, 1)
        assert (leeds.shipped, leeds.median_hours, leeds.late) == (1, 2.0, 2)
        assert world.sync.behaviour(world.clock.now) == {}


def test_a_place_that_refuses_too_often_is_passed_over_once_enough_is_known():
    """
    Two of four orders refused are too many; before there are four orders, nothing is known and Leeds is served first.
    """
    refuses = {"behaviour": {"at": "leeds", "measure": "reject_rate", "op": "ge", "value": "0.5"}}
    to_corby = {"id": "spare-leeds", "when": refuses, "then": [{"allocate": {"to": ["corby"]}}]}
    to_leeds = {"id": "usual", "when": True, "then": [{"allocate": {"to": ["leeds"]}}]}
    rules = {"fcflow": "ruleset/1", "rules": [to_corby, to_leeds]}
    with World("leeds", "corby", rules=rules, lately=Lately(days=7, least_orders=4)) as world:
        world.sync.add_orders([order(name, MUG=1) for name in ("A1", "A2", "A3", "A4")])
        world.run()
        world.partners["leeds"].say("CANCELLED", "A1", "A2")
        world.sync.add_orders([order("A5", MUG=1)])
        world.run(hours=1)

        assert world.sync.order("A5").rule_id == "spare-leeds"
        assert "reject_rate of leeds ge 0.5: got 0.5" in str(world.sync.explain("A5"))
        world.sync.add_orders([order("A6", MUG=1)])
        world.run(hours=24 * 8)
        assert world.sync.order("A6").rule_id == "usual"
