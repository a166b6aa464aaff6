"""What the ancestor, Linnworks' Fulfilment Centre, promised its users; each test names the promise."""

import pytest
from attrs import evolve

from fcflow.errors import ConfigError, LifecycleError, TransportRefusedError, TransportUnavailableError
from fcflow.model import Location, StockPolicy
from fcflow.rules import load_rules
from fcflow.synchronizer import Synchronizer
from fcflow.testing.partners import LAYOUTS, World, all_to, order


@pytest.fixture
def world():
    with World("leeds", "corby") as made:
        yield made


def ids_sent_to(world, code):
    return sorted({row["id"] for row in world.partners[code].arrived()})


def reopened(world, locations):
    """Open the same store with other locations, as after a change of the configuration."""
    return Synchronizer(
        store=world.sync.store,
        rules=load_rules(all_to("leeds")),
        locations=locations,
        partners=[each.partner() for each in world.partners.values()],
        layouts=LAYOUTS,
        clock=world.clock,
    )


def test_the_fulfilment_centre_flag_cannot_be_taken_away_while_orders_are_locked_in_it(world):
    """
    A location stays a fulfilment centre for as long as orders are locked in it; afterwards it may change.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    plain = Location(code="leeds")
    corby = world.sync.locations["corby"]

    with pytest.raises(ConfigError) as refused:
        reopened(world, [plain, corby])
    assert "orders are locked in it: got 'A1'" in str(refused.value)

    world.partners["leeds"].say("SHIPPED", "A1")
    world.run()
    assert not reopened(world, [plain, corby]).locations["leeds"].is_fulfilment_centre


def test_a_location_with_locked_orders_cannot_be_removed_or_change_its_partner(world):
    """
    Nor may such a location vanish from the configuration, or go to another partner.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    leeds, corby = world.sync.locations["leeds"], world.sync.locations["corby"]

    for locations, reason in (
        ([corby], "cannot be removed"),
        ([evolve(leeds, partner="corby"), corby], "cannot become"),
    ):
        with pytest.raises(ConfigError) as refused:
            reopened(world, locations)
        assert reason in str(refused.value)


def test_orders_are_moved_by_hand_in_bulk_with_success_reported_per_order(world):
    """
    Of many orders those that can move do, and each that cannot says why.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    world.run()
    world.sync.add_orders([order("A3", MUG=1), order("A4", MUG=1, payment="unpaid")])

    report = world.sync.move(["A1", "A3", "A4", "A9"], to="corby")

    assert report.changed == ("A3", "A4")
    assert set(report.refused) == {"A1", "A9"}
    assert "order A1 cannot move: it was sent to leeds on 2026-03-02" in report.refused["A1"]
    assert "not known" in report.refused["A9"]
    world.run()
    assert ids_sent_to(world, "corby") == ["A3", "A4"]


def test_moving_to_an_unknown_location_is_refused_as_a_whole(world):
    """
    A misspelt location moves nothing.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    with pytest.raises(LifecycleError, match="expected a location among corby, leeds, got 'leedz'"):
        world.sync.move(["A1"], to="leedz")


def test_orders_are_moved_by_rule():
    """
    A rule gives an order to the location that it names.
    """
    document = all_to("leeds")
    big = {"field": "total_quantity", "op": "ge", "value": 10}
    document["rules"].insert(0, {"id": "big", "when": big, "then": [{"allocate": {"to": "corby"}}]})
    with World("leeds", "corby", rules=document) as world:
        world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=10)])
        world.run()
        assert ids_sent_to(world, "leeds") == ["A1"]
        assert ids_sent_to(world, "corby") == ["A2"]


def test_success_marks_the_label_printed_and_nothing_is_sent_again(world):
    """
    A successful export marks the label printed, and the order never leaves again.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    [view] = world.sync.order("A1").fulfilments
    assert view.label_printed_at == world.clock.now
    assert view.label_error is None

    assert world.partners["leeds"].collect()
    world.run()
    world.run()
    assert world.partners["leeds"].arrived() == []


def test_failure_shows_the_error_at_the_label_and_the_order_is_sent_again_next_time(world):
    """
    Any answer but OK is the error, shown at the label; the next run sends the order again.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.partners["leeds"].server.fail("write", error=TransportRefusedError("unknown postcode"))
    report = world.run()

    [view] = world.sync.order("A1").fulfilments
    assert report.partners["leeds"].send_failed == ["A1"]
    assert (view.state.value, view.label_printed_at) == ("send_failed", None)
    assert "unknown postcode" in view.label_error

    world.run()
    [view] = world.sync.order("A1").fulfilments
    assert (view.state.value, view.label_error) == ("sent", None)
    assert ids_sent_to(world, "leeds") == ["A1"]


def test_an_order_that_is_refused_too_often_is_parked_for_a_person():
    """
    After max_attempts refusals an order is given up until a person releases it.
    """
    with World("leeds") as world:
        world.sync.add_orders([order("A1", MUG=1)])
        for _ in range(5):
            world.partners["leeds"].server.fail("write", error=TransportRefusedError("no such service"))
            world.run()
        view = world.sync.order("A1")
        assert "refused 5 times" in view.needs_person
        assert world.run().needs_person == 1
        assert world.partners["leeds"].arrived() == []

        assert world.sync.release(["A1"]).ok
        world.run()
        assert ids_sent_to(world, "leeds") == ["A1"]


def test_once_exported_an_order_cannot_leave_unless_the_partner_cancels_it(world):
    """
    Exported, an order moves neither by hand nor by rule; the partner's CANCELLED sets it free, to go elsewhere.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    assert not world.sync.move(["A1"], to="corby").ok

    world.partners["leeds"].say("CANCELLED", "A1")
    world.run()

    assert world.states("A1") == {"A1": "cancelled", "A1-2": "sent"}
    assert ids_sent_to(world, "corby") == ["A1-2"]


def test_a_person_may_override_the_lock_with_a_reason_that_is_recorded(world):
    """
    With a reason a person takes an exported order away, and the audit trail says so.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    assert world.sync.move(["A1"], to="corby", override="leeds burnt down", actor="ann").ok
    world.run()

    assert world.states("A1") == {"A1": "cancelled", "A1-2": "sent"}
    [moved] = world.sync.audit(order_id="A1", type="MOVED")
    assert (moved.actor, moved.data["override"]) == ("ann", "leeds burnt down")


@pytest.mark.parametrize("late", ["CANCELLED", "SHIPPED", "ERROR", "ACCEPTED"])
def test_a_late_answer_from_the_first_partner_does_no_harm(world, late):
    """
    Whatever the first partner says later, the order stays with the second one; a contradiction asks a person.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    world.partners["leeds"].say("CANCELLED", "A1")
    world.run()
    world.partners["leeds"].say(late, "A1", tracking="LATE1" if late == "SHIPPED" else "")
    world.run()

    assert world.states("A1") == {"A1": "cancelled", "A1-2": "sent"}
    assert world.state("A1") == "in_fulfilment"
    assert (world.sync.order("A1").needs_person is not None) is (late == "SHIPPED")

    world.partners["corby"].say("SHIPPED", "A1-2", tracking="T2")
    world.run()
    assert world.state("A1") == "closed"
    assert len(world.partners["corby"].arrived()) == 1


def test_a_partner_cannot_touch_what_was_given_to_another(world):
    """
    A partner's word counts for its own fulfilment orders only, whatever it quotes.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    world.partners["corby"].say("SHIPPED", "A1")
    report = world.run()

    assert world.states("A1") == {"A1": "sent"}
    assert report.partners["corby"].unmatched == 1


def test_a_hand_made_move_is_not_undone_by_a_rule(world):
    """
    An order moved by hand stays where it was moved until it is released.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.sync.move(["A1"], to="corby")
    world.sync.allocate()
    assert [view.location for view in world.sync.order("A1").fulfilments] == ["corby"]

    world.sync.release(["A1"])
    world.sync.allocate()
    assert [view.location for view in world.sync.order("A1").fulfilments if view.state == "ready"] == ["leeds"]


def test_a_feed_can_write_all_open_orders_each_time_as_the_ancestor_does():
    """
    In the mode all_open every file holds every open order, and finished ones drop out.
    """
    with World("leeds") as world:
        feed = evolve(world.partners["leeds"].partner().orders, mode="all_open")
        world._changes["leeds"] = {"orders": feed}
        world.restarted()
        world.sync.add_orders([order("A1", MUG=1)])
        world.run()
        world.sync.add_orders([order("A2", MUG=1)])
        world.run()
        world.partners["leeds"].say("SHIPPED", "A1")
        world.sync.add_orders([order("A3", MUG=1)])
        world.run()

        files = [sorted(row["id"] for row in rows) for _, rows in sorted(world.partners["leeds"].files().items())]
        assert files == [["A1"], ["A1", "A2"], ["A2", "A3"]]


def test_by_default_a_file_holds_what_is_new():
    """
    Without that mode each order stands in one file.
    """
    with World("leeds") as world:
        for each in ("A1", "A2"):
            world.sync.add_orders([order(each, MUG=1)])
            world.run()
        assert [[row["id"] for row in rows] for rows in world.partners["leeds"].files().values()] == [["A1"], ["A2"]]


def test_status_service_tracking_numbers_and_error_text_come_in_from_a_file(world):
    """
    A status file brings the state, the service, the tracking number and the error text.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    world.run()
    world.partners["leeds"].say("ERROR", "A2", error="address unknown")
    world.partners["leeds"].say("SHIPPED", "A1", tracking="T1", service="Next Day")
    world.run()

    [shipped], [failed] = world.sync.order("A1").fulfilments, world.sync.order("A2").fulfilments
    [parcel] = shipped.shipments
    assert (shipped.state.value, parcel.service, parcel.tracking_numbers) == ("shipped", "Next Day", ("T1",))
    assert (failed.state.value, failed.problem) == ("sent", "address unknown")


@pytest.mark.parametrize("word", ["SHIPPED", "shipped", "Complete", "COMPLETE"])
def test_shipped_and_complete_mean_the_same_in_any_case(world, word):
    """
    The ancestor's words work without any set-up.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    world.partners["leeds"].say(word, "A1")
    world.run()
    assert world.state("A1") == "closed"


def test_every_status_received_is_in_the_audit_trail_as_fulfil_status(world):
    """
    Known, repeated, unknown and stray: each word stands in the audit trail once for each time it was said.
    """
    world.sync.add_orders([order("A1", MUG=1)])
    world.run()
    for word, reference in (("ACCEPTED", "A1"), ("ACCEPTED", "A1"), ("PROCESSING", "A1"), ("SHIPPED", "Z9")):
        world.partners["leeds"].say(word, reference)
    world.run()

    said = [(event.data["reference"], event.data["raw_status"]) for event in world.sync.audit(type="FULFIL_STATUS")]
    assert said == [("A1", "ACCEPTED"), ("A1", "ACCEPTED"), ("A1", "PROCESSING"), ("Z9", "SHIPPED")]
    assert world.states("A1") == {"A1": "accepted"}


def test_stock_levels_follow_the_partners_file():
    """
    What the partner's file says is the level, and orders are allocated against it.
    """
    with World("leeds", tracked=True) as world:
        world.sync.add_orders([order("A1", MUG=2)])
        world.run()
        assert world.state("A1") == "open"
        world.partners["leeds"].stock({"MUG": 2})
        world.run()
        assert world.state("A1") == "in_fulfilment"


def test_a_hundred_orders_cannot_be_allocated_against_one_unit():
    """
    One unit is promised once.
    """
    with World("leeds", tracked=True) as world:
        world.partners["leeds"].stock({"MUG": 1})
        world.sync.add_orders([order(f"A{n}", MUG=1) for n in range(100)])
        report = world.run()
        assert report.allocation.count == 1
        assert world.run().allocation.count == 0


def test_equal_stock_seen_anew_is_a_new_picture():
    """
    Levels of 5, 3 and 5 end at 5, and the instant of the picture moves on.
    """
    with World("leeds", tracked=True) as world:
        seen = []
        for level in (5, 3, 5):
            world.partners["leeds"].stock({"MUG": level})
            world.run(hours=1)
            [row] = world.sync.stock(sku="MUG")[0].locations
            seen.append((row.level, row.as_of))
        assert [level for level, _ in seen] == [5, 3, 5]
        assert sorted({as_of for _, as_of in seen}) == [as_of for _, as_of in seen]


@pytest.mark.parametrize("content", [b"", b"sku;quantity\r\n"])
def test_an_empty_stock_file_is_never_a_full_picture(content):
    """
    A file without rows changes no level, even where a file is said to be complete.
    """
    with World("leeds", tracked=True) as world:
        feed = evolve(world.partners["leeds"].partner().stock, complete=True)
        world._changes["leeds"] = {"stock": feed}
        world.restarted()
        world.partners["leeds"].stock({"MUG": 5})
        world.run()
        world.partners["leeds"].put("stock/stock.csv", content)
        report = world.run()

        assert world.sync.stock(sku="MUG")[0].level == 5
        assert report.partners["leeds"].problems


def example(orders_count, shipping_deducts):
    """The ancestor's published example: 10 at our own place, 5 at the fulfilment centre."""
    policy = StockPolicy(orders_count=orders_count, shipping_deducts=shipping_deducts)
    own = [Location(code="default")]
    return World("fulfilment", policies={"fulfilment": policy}, own=own, rules=all_to())


@pytest.mark.parametrize(
    ("orders_count", "shipping_deducts", "expected"),
    [
        (False, False, [15, 14, 15, 15, 14]),
        (True, False, [15, 14, 14, 15, 14]),
        (False, True, [15, 14, 15, 14, 14]),
        (True, True, [15, 14, 14, 14, 14]),
    ],
)
def test_the_published_stock_example_for_all_four_settings_of_the_switches(orders_count, shipping_deducts, expected):
    """
    10 + 5 in two locations, one ordered: 14 available; then moved, shipped, and the partner's next feed says 4.
    """
    from fcflow.stock import Picture

    with example(orders_count, shipping_deducts) as world:
        now = world.clock.now
        ten = Picture(location="default", sku="A", on_hand=10, as_of=now, received_at=now)
        with world.sync.store.transaction() as tx:
            tx.put_pictures([ten])
        world.partners["fulfilment"].stock({"A": 5})
        world.run()
        seen = [world.sync.stock(sku="A")[0].sellable]
        world.sync.add_orders([order("A1", A=1)])
        seen.append(world.sync.stock(sku="A")[0].sellable)
        world.sync.move(["A1"], to="fulfilment")
        world.run()
        seen.append(world.sync.stock(sku="A")[0].sellable)
        world.partners["fulfilment"].say("SHIPPED", "A1")
        world.run()
        seen.append(world.sync.stock(sku="A")[0].sellable)
        world.clock.advance(minutes=1)
        world.partners["fulfilment"].stock({"A": 4})
        world.run()
        seen.append(world.sync.stock(sku="A")[0].sellable)
    assert seen == expected


def test_a_partner_that_is_down_does_not_stop_the_others(world):
    """
    One partner's failure stands in the report, and the others' orders leave.
    """
    world.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
    world.sync.move(["A2"], to="corby")
    world.partners["leeds"].server.down = True
    report = world.run()

    assert not report.ok
    assert {failure.code for _, failure in report.failures} == {TransportUnavailableError.code}
    assert ids_sent_to(world, "corby") == ["A2"]

    world.partners["leeds"].server.down = False
    assert world.run().ok
    assert ids_sent_to(world, "leeds") == ["A1"]


def test_orders_already_at_the_partner_are_tracked_and_never_sent(world):
    """
    Orders that reached the partner another way are followed, and not sent.
    """
    world.sync.add_orders([order("A1", MUG=1)], location="leeds", fulfilled_elsewhere=True)
    world.run()
    assert world.partners["leeds"].arrived() == []
    world.partners["leeds"].say("SHIPPED", "A1")
    world.run()
    assert world.state("A1") == "closed"
