"""A partner's word on whole deliveries, from the envelope that we sent to the orders that were in it."""

from io import BytesIO

import pytest
from attrs import evolve

from fcflow.formats import Batch, edifact, load_layout, x12
from fcflow.model import Feed, FeedKind
from fcflow.testing.partners import LAYOUTS, SimulatedPartner, World, order

PAIRS = [("x12-940", "x12-997", x12), ("edifact-orders", "edifact-contrl", edifact)]


def world(orders, acknowledgement):
    mine = SimulatedPartner("leeds").partner()
    feed = Feed(kind=FeedKind.ACKNOWLEDGEMENT, partner="leeds", layout=acknowledgement, path="acks", matches="delivery")
    made = World("leeds", changes={"leeds": {"orders": evolve(mine.orders, layout=orders), "acknowledgement": feed}})
    layouts = {**LAYOUTS, orders: load_layout(orders), acknowledgement: load_layout(acknowledgement)}
    made.sync._context = evolve(made.sync._context, layout_of=lambda feed: layouts[feed.layout])
    return made


def sent(made):
    [content] = made.partners["leeds"].server.files("in").values()
    return BytesIO(content)


def answered(made, content):
    made.partners["leeds"].put("acks/1.txt", content)
    return made.run().partners["leeds"]


@pytest.mark.parametrize(("orders", "acknowledgement", "codec"), PAIRS)
def test_a_delivery_that_was_taken_has_its_orders_accepted(orders, acknowledgement, codec):
    """
    Every order of the delivery that the number names, and no other.
    """
    with world(orders, acknowledgement) as made:
        made.sync.add_orders([order("A1", MUG=1), order("A2", CUP=1)])
        made.run()
        taken = codec.acknowledgement(sent(made), Batch(number=900, at=made.clock.now, partner="leeds"))
        made.sync.add_orders([order("A3", MUG=1)])
        made.run()
        report = answered(made, taken)
        assert (report.problems, report.unmatched) == ([], 0)
        states = {view.order_id: view.fulfilments[0].state for view in made.sync.orders()}
        assert states == {"A1": "accepted", "A2": "accepted", "A3": "sent"}


def test_a_delivery_that_was_rejected_goes_to_a_person_with_all_that_was_in_it():
    """
    The text says so for every order.
    """
    with world("x12-940", "x12-997") as made:
        made.sync.add_orders([order("A1", MUG=1), order("A2", CUP=1)])
        made.run()
        given = x12.envelopes(sent(made))
        rejected = {each.control: "no" for group in given[0].groups for each in group.transactions}
        batch = Batch(number=900, at=made.clock.now, partner="leeds")
        report = answered(made, x12.acknowledgement(sent(made), batch, rejected=rejected))
        assert report.errors == ["A1", "A2"]
        problems = {view.order_id: view.fulfilments[0].problem for view in made.sync.orders(needs_person=True)}
        assert problems == {"A1": "rejected", "A2": "rejected"}


def test_an_acknowledgement_of_a_delivery_that_never_was_is_reported():
    """
    And changes nothing.
    """
    with world("x12-940", "x12-997") as made:
        made.sync.add_orders([order("A1", MUG=1)])
        made.run()
        batch = Batch(number=900, at=made.clock.now, partner="leeds")
        strange = x12.acknowledgement(sent(made), batch).replace(b"AK1*OW*1~", b"AK1*OW*77~")
        report = answered(made, strange)
        assert report.unmatched == 1
        assert "expected the number of a delivery to leeds, got '77'" in report.problems[0]
