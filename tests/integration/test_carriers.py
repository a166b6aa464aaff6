"""Carriers, from a partner's word to the address where a parcel can be followed."""

from attrs import evolve

from fcflow.formats import load_layout
from fcflow.testing.partners import LAYOUTS, World, order


def test_a_partners_word_for_a_carrier_becomes_its_name_and_an_unknown_one_ships_all_the_same():
    """
    The word as it was said is in the audit trail, and so is the address.
    """
    document = dict(LAYOUTS["simulated-status"].document)
    document["fields"] = [*document["fields"], {"at": "carrier", "field": "carrier"}]
    layouts = {**LAYOUTS, "simulated-status": load_layout(document)}
    with World("leeds", changes={"leeds": {"carriers": {"van 7": "dpd-uk"}}}) as made:
        made.sync._context = evolve(made.sync._context, layout_of=lambda feed: layouts[feed.layout])
        made.sync.add_orders([order("A1", MUG=1), order("A2", MUG=1)])
        made.run()
        rows = b"id;status;tracking;service;error;sku;shipped;cancelled;carrier\r\n"
        rows += b"A1;SHIPPED;T 1;;;;;;VAN 7\r\nA2;SHIPPED;T2;;;;;;My Nephew\r\n"
        made.partners["leeds"].put("status/1.csv", rows)
        assert made.run().partners["leeds"].shipped == ["A1", "A2"]
        parcels = [made.sync.order(each).fulfilments[0].shipments[0] for each in ("A1", "A2")]
        assert [parcel.carrier for parcel in parcels] == ["DPD UK", "My Nephew"]
        told = {event.order_id: event.data for event in made.sync.audit() if event.type == "SHIPMENT"}
        assert list(told["A1"]["tracking_urls"]) == ["https://track.dpd.co.uk/search?reference=T%201"]
        assert "tracking_urls" not in told["A2"]
        said = {event.order_id: event.data for event in made.sync.audit() if event.type == "FULFIL_STATUS"}
        assert list(said["A1"]["carriers"]) == ["VAN 7"]
