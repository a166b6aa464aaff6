"""Packs and bundles, from the order to the parcel, with a partner that knows only its own codes."""

from attrs import evolve

from fcflow.testing.partners import SimulatedPartner, World, order

ALIASES = {"EGG": {"sku": "L-EGG-6", "pack": 6}, "SET": {"parts": {"L-MUG": 2, "L-CUP": 1}}, "MUG": "L-MUG"}


def world():
    feed = evolve(SimulatedPartner("leeds").partner().stock, match_sku="partner")
    return World("leeds", tracked=True, changes={"leeds": {"aliases": ALIASES, "stock": feed}})


def test_an_order_leaves_in_the_partners_units_and_comes_back_in_ours():
    """
    Twelve eggs are two packs, a set is its parts; what is shipped of these closes the order.
    """
    with world() as made:
        leeds = made.partners["leeds"]
        leeds.stock({"L-EGG-6": 5, "L-MUG": 9, "L-CUP": 9})
        made.run()
        made.sync.add_orders([order("A1", EGG=12, SET=2)])
        made.run()
        sent = [(row["line"], row["sku"], row["quantity"]) for row in leeds.arrived()]
        assert sent == [("1", "L-EGG-6", "2"), ("2.1", "L-MUG", "4"), ("2.2", "L-CUP", "2")]

        leeds.answer([{"id": "A1", "status": "SHIPPED", "sku": sku, "shipped": n} for _, sku, n in sent])
        assert made.run().partners["leeds"].problems == []
        assert made.states("A1") == {"A1": "shipped"}
        [fulfilment] = made.sync.order("A1").fulfilments
        assert [line.shipped for line in fulfilment.progress.lines] == [12, 2]


def test_units_that_fill_no_pack_are_not_sent_and_say_so():
    """
    Seven eggs cannot leave in sixes; the order is refused with the pack's name, and others go on.
    """
    with world() as made:
        made.partners["leeds"].stock({"L-EGG-6": 5, "L-MUG": 9})
        made.run()
        made.sync.add_orders([order("A1", EGG=7), order("A2", MUG=1)])
        report = made.run().partners["leeds"]
        assert report.sent == ["A2"]
        assert report.send_failed == ["A1"]
        assert made.said("A1", "SEND_FAILED") == ["order A1: expected whole packs of 6 (L-EGG-6), got 7 of EGG"]
