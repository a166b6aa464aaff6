"""A partner's file that changed over night: noticed, put aside or warned of, and received again."""

import pytest
from attrs import evolve

from fcflow.errors import FormatError, LifecycleError
from fcflow.formats import load_layout
from fcflow.testing.partners import LAYOUTS, SimulatedPartner, World, order

KNOWN = b"sku;quantity\r\nMUG;5\r\n"
WIDER = b"sku;quantity;colour\r\nMUG;9;red\r\n"
RENAMED = b"sku;quantiti\r\nMUG;9\r\n"


def world(policy):
    feed = evolve(SimulatedPartner("leeds").partner().stock, on_header_change=policy)
    return World("leeds", changes={"leeds": {"stock": feed}})


def come_in(made, content, name):
    """The report of a run that finds one stock file."""
    made.partners["leeds"].put(f"stock/{name}", content)
    made.clock.advance(hours=1)
    return made.sync.receive_stock().partners["leeds"]


def on_hand(made):
    with made.sync.store.reading() as tx:
        return [picture.on_hand for picture in tx.pictures(location="leeds")]


def mend(made):
    """The layout's column is called as the partner calls it now."""
    document = dict(LAYOUTS["simulated-stock"].document)
    document["fields"] = [
        {**each, "at": "quantiti"} if each["at"] == "quantity" else dict(each) for each in document["fields"]
    ]
    mended = load_layout(document)
    made.sync._context = evolve(made.sync._context, layout_of=lambda feed: mended)


def test_a_file_whose_header_changed_is_parked_whole_if_the_feed_says_so():
    """
    Nothing of it is applied, a person reads what changed, it lies in the failed folder, and is asked for no more.
    """
    with world("park") as made:
        come_in(made, KNOWN, "monday.csv")
        report = come_in(made, WIDER, "tuesday.csv")
        assert (report.files_parked, report.files_received, report.stock_levels) == (1, 0, 0)
        assert report.problems == ["tuesday.csv: parked: the header changed: column 'colour' is new"]
        assert on_hand(made) == [5]
        assert made.partners["leeds"].server.files("stock/failed") == {"tuesday.csv": WIDER}
        assert [event.message for event in made.sync.audit() if event.type == "FILE_PARKED"] == [
            "tuesday.csv: the header changed: column 'colour' is new"
        ]
        assert made.sync.receive_stock().partners["leeds"].is_quiet


def test_a_file_whose_header_changed_is_received_with_a_warning_by_default():
    """
    The warning comes once: the new header is the one that later files are held against.
    """
    with World("leeds") as made:
        come_in(made, KNOWN, "monday.csv")
        report = come_in(made, WIDER, "tuesday.csv")
        assert (report.files_received, on_hand(made)) == (1, [9])
        assert report.problems == ["tuesday.csv: the header changed: column 'colour' is new"]
        assert come_in(made, WIDER.replace(b"9", b"8"), "wednesday.csv").problems == []


def test_a_feed_that_ignores_its_header_says_nothing_of_it():
    """
    The file counts as any other.
    """
    with world("ignore") as made:
        come_in(made, KNOWN, "monday.csv")
        assert come_in(made, WIDER, "tuesday.csv").problems == []
        assert on_hand(made) == [9]


def test_the_order_of_columns_is_no_change():
    """
    Columns are found by name.
    """
    with world("park") as made:
        come_in(made, KNOWN, "monday.csv")
        assert come_in(made, b"quantity;sku\r\n7;MUG\r\n", "tuesday.csv").files_parked == 0
        assert on_hand(made) == [7]


def test_a_parked_file_that_a_person_accepts_is_received_from_the_kept_bytes_and_its_header_is_known():
    """
    It is applied once, and the next file with that header comes in by itself.
    """
    with world("park") as made:
        come_in(made, KNOWN, "monday.csv")
        come_in(made, WIDER, "tuesday.csv")
        [parked] = made.sync.received(state="parked")
        report = made.sync.receive_again(parked.sighting_id).partners["leeds"]
        assert (report.files_received, report.stock_levels, on_hand(made)) == (1, 1, [9])
        assert made.sync.received(state="parked") == []
        with pytest.raises(LifecycleError, match="is applied, and is not applied again"):
            made.sync.receive_again(parked.sighting_id)
        assert come_in(made, WIDER.replace(b"9", b"8"), "wednesday.csv").files_parked == 0
        assert on_hand(made) == [8]


def test_a_file_without_a_needed_column_is_received_again_when_the_layout_is_mended():
    """
    While the layout is not mended, trying again changes nothing; afterwards the sighting names the mended layout.
    """
    with World("leeds") as made:
        come_in(made, KNOWN, "monday.csv")
        report = come_in(made, RENAMED, "tuesday.csv")
        assert (report.files_refused, on_hand(made)) == (1, [5])
        assert "'quantity'" in report.problems[0]
        [refused] = made.sync.received(state="refused")
        with pytest.raises(FormatError, match="quantity"):
            made.sync.receive_again(refused.sighting_id)
        assert made.sync.received(sighting_id=refused.sighting_id) == [evolve(refused, settled=True)]

        mend(made)
        made.sync.receive_again(refused.sighting_id)
        [taken] = made.sync.received(sighting_id=refused.sighting_id)
        assert (taken.state, taken.error, taken.records, on_hand(made)) == ("applied", None, 1, [9])
        assert taken.layout_hash != refused.layout_hash
        assert made.sync.problems(taken.sighting_id) == []


def test_an_old_picture_received_again_does_not_replace_a_newer_one():
    """
    A stock file counts as of when it came, not as of when it was understood.
    """
    with world("park") as made:
        come_in(made, KNOWN, "monday.csv")
        come_in(made, WIDER, "tuesday.csv")
        come_in(made, KNOWN.replace(b"5", b"3"), "wednesday.csv")
        [parked] = made.sync.received(state="parked")
        made.sync.receive_again(parked.sighting_id)
        assert on_hand(made) == [3]


def test_a_full_picture_received_again_takes_nothing_away_that_came_later():
    """
    What a later file first spoke of is not missing from the older one.
    """
    feed = evolve(SimulatedPartner("leeds").partner().stock, on_header_change="park", complete=True)
    with World("leeds", changes={"leeds": {"stock": feed}}) as made:
        come_in(made, KNOWN, "monday.csv")
        come_in(made, WIDER, "tuesday.csv")
        come_in(made, KNOWN + b"CUP;4\r\n", "wednesday.csv")
        [parked] = made.sync.received(state="parked")
        made.sync.receive_again(parked.sighting_id)
        assert sorted(on_hand(made)) == [4, 5]


def test_a_status_file_received_again_tells_what_it_told():
    """
    Statuses as well as stock.
    """
    with World("leeds") as made:
        made.sync.add_orders([order("A1", MUG=1)])
        made.run()
        made.partners["leeds"].put("status/tuesday.csv", b"ref;status\r\nA1;SHIPPED\r\n")
        made.run()
        assert made.states("A1") == {"A1": "sent"}
        [refused] = made.sync.received(state="refused")
        document = dict(LAYOUTS["simulated-status"].document)
        fields = [{"at": "ref", "field": "reference", "required": True}, {"at": "status", "field": "status"}]
        mended = load_layout({**document, "fields": fields})
        made.sync._context = evolve(made.sync._context, layout_of=lambda feed: mended)
        assert made.sync.receive_again(refused.sighting_id).partners["leeds"].shipped == ["A1"]


def test_what_was_never_received_is_not_received_again():
    """
    An id that nobody knows.
    """
    with World("leeds") as made, pytest.raises(LifecycleError, match="nothing was received under the id 7"):
        made.sync.receive_again(7)
