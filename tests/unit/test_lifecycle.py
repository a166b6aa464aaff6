"""From a partner's words to facts, from facts to progress, and the table of the states."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from fcflow.errors import LifecycleError
from fcflow.lifecycle import (
    TRANSITIONS,
    Fact,
    advance,
    facts_of,
    fold,
    is_final,
    is_locked,
    is_movable,
    next_fulfilment_id,
)
from fcflow.model import (
    FulfilmentLine,
    FulfilmentOrder,
    FulfilmentState,
    Shipment,
    Status,
    StatusLine,
    StatusUpdate,
)

S = FulfilmentState
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def sent(*lines):
    """A fulfilment order of (SKU, quantity) lines with ids 1, 2, ..."""
    return FulfilmentOrder(
        fulfilment_id="A1",
        order_id="A1",
        location="leeds",
        lines=[FulfilmentLine(line_id=str(n), sku=sku, quantity=q) for n, (sku, q) in enumerate(lines, 1)],
    )


def said(status=None, **more):
    return StatusUpdate(partner="leeds", reference="A1", status=status, **more)


def fact(kind, line_id=None, quantity=None, **more):
    return Fact(fulfilment_id="A1", kind=kind, line_id=line_id, quantity=quantity, **more)


def brief(facts):
    return [(each.kind, each.line_id, each.quantity, each.shipment) for each in facts]


def read(update, order):
    """The progress and the messages of one update."""
    facts, messages = facts_of(update, order)
    return fold(order, facts), messages


TWO = sent(("MUG", 2), ("CUP", 1))


# ------------------------------------------------------------------ facts_of


def test_an_unknown_word_changes_nothing():
    """
    A status that nobody explained yields no fact, counts or not, and is reported.
    """
    update = said(raw_status="VERPACKT", lines=[StatusLine(line_id="1", shipped=2)])

    assert facts_of(update, TWO) == ([], ["status 'VERPACKT' is not known; nothing changes"])


@pytest.mark.parametrize("status", [Status.ACCEPTED, Status.IN_WORK])
def test_accepted_and_in_work_speak_of_the_whole(status):
    """
    Both words mean that the partner has the order.
    """
    assert brief(facts_of(said(status), TWO)[0]) == [(status.value, None, None, "")]
    assert read(said(status), TWO)[0].state is S.ACCEPTED


def test_shipped_without_lines_ships_everything():
    """
    A bare SHIPPED with a tracking number is the whole fulfilment order.
    """
    progress, messages = read(said("shipped", shipments=[Shipment(tracking_numbers=["T1"])], at=NOON), TWO)

    assert progress.state is S.SHIPPED
    assert [line.shipped for line in progress.lines] == [2, 1]
    assert messages == []


def test_shipped_with_counts_ships_what_is_counted():
    """
    SHIPPED with fewer units than were ordered is a part shipment, whatever the word says.
    """
    progress, _ = read(said("shipped", lines=[StatusLine(line_id="1", shipped=1)]), TWO)

    assert progress.state is S.PART_SHIPPED
    assert [line.shipped for line in progress.lines] == [1, 0]


def test_a_line_that_is_only_named_ships_whole():
    """
    One row a line without a quantity column: each named line is shipped, the others are not.
    """
    progress, _ = read(said("shipped", lines=[StatusLine(sku="MUG")]), TWO)

    assert progress.state is S.PART_SHIPPED
    assert [line.shipped for line in progress.lines] == [2, 0]


def test_shipped_with_a_short_count_ships_the_rest_of_the_line():
    """
    SHIPPED, one short: the other units of that line left, and the short one is free again.
    """
    progress, _ = read(said("shipped", lines=[StatusLine(line_id="1", short=1)]), sent(("MUG", 3)))

    assert (progress.lines[0].shipped, progress.lines[0].short) == (2, 1)
    assert progress.state is S.SHIPPED
    assert dict(progress.released) == {"1": 1}


def test_part_shipped_without_counts_says_only_that_something_left():
    """
    No unit is taken for shipped, and no unit is free.
    """
    progress, _ = read(said("part_shipped", shipments=[Shipment(tracking_numbers=["T1"])]), TWO)

    assert progress.state is S.PART_SHIPPED
    assert all(line.shipped == 0 for line in progress.lines)
    assert not progress.released


def test_parcels_with_contents_add_up():
    """
    Two parcels with one mug each are two mugs.
    """
    parcels = [Shipment(tracking_numbers=[number], lines=[StatusLine(sku="MUG", shipped=1)]) for number in ("T1", "T2")]

    progress, _ = read(said("part_shipped", shipments=parcels), TWO)

    assert [line.shipped for line in progress.lines] == [2, 0]


def test_counts_beside_parcels_with_contents_are_not_counted_twice():
    """
    A message that lists its lines and what is in its parcels says the same units once.
    """
    parcel = Shipment(tracking_numbers=["T1"], lines=[StatusLine(sku="MUG", shipped=1)])

    progress, _ = read(said("shipped", shipments=[parcel], lines=[StatusLine(line_id="1", shipped=1)]), TWO)

    assert [line.shipped for line in progress.lines] == [1, 0]


def test_two_rows_of_one_line_add_up():
    """
    A line in two rows of one message (two lots) is the sum of both.
    """
    rows = [StatusLine(sku="MUG", shipped=1), StatusLine(sku="MUG", shipped=1)]

    assert read(said("shipped", lines=rows), TWO)[0].line("1").shipped == 2


def test_a_sku_on_two_lines_is_spread_in_line_order():
    """
    Three of five mugs: the first line is filled before the second.
    """
    order = sent(("MUG", 2), ("CUP", 1), ("MUG", 3))

    facts, messages = facts_of(said("shipped", lines=[StatusLine(sku="MUG", shipped=3)]), order)

    assert brief(facts) == [("shipped", "1", 2, ""), ("shipped", "3", 1, "")]
    assert messages == []


def test_a_sku_on_two_lines_in_two_parcels_fills_both_lines():
    """
    Parcels that each name the SKU only do not pile up on its first line.
    """
    order = sent(("MUG", 1), ("MUG", 1))
    facts = [
        found
        for number in ("T1", "T2")
        for found in facts_of(
            said(
                "part_shipped",
                shipments=[Shipment(tracking_numbers=[number], lines=[StatusLine(sku="MUG", shipped=1)])],
            ),
            order,
        )[0]
    ]

    progress = fold(order, facts)

    assert [line.shipped for line in progress.lines] == [1, 1]
    assert progress.state is S.SHIPPED
    assert progress.conflicts == ()


def test_more_units_than_were_ordered_are_reported():
    """
    The units ordered are taken, the excess goes to a person.
    """
    progress, messages = read(said("shipped", lines=[StatusLine(sku="MUG", shipped=5)]), sent(("MUG", 2)))

    assert progress.lines[0].shipped == 2
    assert messages == ["line 1 (shipped): expected at most 2 units, got 5"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (StatusLine(line_id="9"), "line '9'"),
        (StatusLine(sku="HAT"), "SKU 'HAT'"),
        (StatusLine(line_id="1", sku="CUP"), "line '1' with SKU 'CUP'"),
        (StatusLine(shipped=1), "a line without id and SKU"),
    ],
)
def test_a_line_that_cannot_be_found_is_reported_and_nothing_ships(line, named):
    """
    An unknown line or SKU, or an id and a SKU that contradict each other, is no fact.
    """
    facts, messages = facts_of(said("shipped", lines=[line]), TWO)

    assert facts == []
    assert messages == [f"{named} is not in A1: expected one of 1 (MUG), 2 (CUP)"]


def test_an_unknown_line_id_with_a_known_sku_is_found_by_the_sku():
    """
    Partners number lines as they like; the SKU still tells which it is.
    """
    assert brief(facts_of(said("shipped", lines=[StatusLine(line_id="0001", sku="CUP", shipped=1)]), TWO)[0]) == [
        ("shipped", "2", 1, "")
    ]


def test_shipped_with_counts_of_nothing_is_reported():
    """
    SHIPPED with zero units of every line contradicts itself and changes nothing.
    """
    facts, messages = facts_of(said("shipped", lines=[StatusLine(line_id="1", shipped=0)]), TWO)

    assert facts == []
    assert messages == ["status shipped counts no unit of any line; nothing changes"]


def test_cancelled_with_shipped_counts_cancels_the_rest_of_the_line():
    """
    CANCELLED, one shipped of two: the other one is free.
    """
    progress, _ = read(said("cancelled", lines=[StatusLine(line_id="1", shipped=1)]), sent(("MUG", 2)))

    assert (progress.lines[0].shipped, progress.lines[0].cancelled) == (1, 1)
    assert progress.state is S.SHIPPED
    assert dict(progress.released) == {"1": 1}


def test_an_announced_parcel_has_not_left():
    """
    A tracking number with ACCEPTED is a label, not a shipment; with a despatch time it is a shipment.
    """
    announced = Shipment(tracking_numbers=["T1"])
    left = Shipment(tracking_numbers=["T1"], shipped_at=NOON)

    assert read(said("accepted", shipments=[announced]), TWO)[0].state is S.ACCEPTED
    assert read(said("accepted", shipments=[left]), TWO)[0].state is S.SHIPPED


def test_counts_without_a_status_count():
    """
    A feed without a status column: the counts speak for themselves, and a bare tracking number says nothing.
    """
    assert read(said(lines=[StatusLine(line_id="1", shipped=2)]), TWO)[0].line("1").shipped == 2
    assert read(said(shipments=[Shipment(tracking_numbers=["T1"])]), TWO)[0].state is None
    assert facts_of(said(), TWO) == ([], ["the message has no status; nothing changes"])


def test_delivered_ships_and_arrives():
    """
    DELIVERED without a SHIPPED before it means both.
    """
    progress, _ = read(said("delivered"), TWO)

    assert progress.state is S.SHIPPED
    assert progress.delivered


def test_one_of_two_parcels_delivered_is_not_delivered():
    """
    Delivered is said of parcels; only all of them are the order.
    """
    lines = [StatusLine(line_id="1", shipped=1)]
    parcels = [Shipment(tracking_numbers=[n], lines=lines, delivered_at=d) for n, d in (("T1", NOON), ("T2", None))]
    order = sent(("MUG", 2))

    assert not read(said("shipped", shipments=parcels), order)[0].delivered
    arrived = [Shipment(tracking_numbers=["T2"], lines=lines, delivered_at=NOON)]
    facts = [
        *facts_of(said("shipped", shipments=parcels), order)[0],
        *facts_of(said("shipped", shipments=arrived), order)[0],
    ]
    assert fold(order, facts).delivered


def test_returned_units_were_shipped():
    """
    A return is counted among the shipped; a return of what never left is a conflict.
    """
    shipped, returned = fact("shipped"), fact("returned", "1", 1)

    assert fold(TWO, [shipped, returned]).line("1").returned == 1
    assert fold(TWO, [shipped, returned]).conflicts == ()
    assert fold(TWO, [returned]).conflicts == ("line 1: 1 units returned, 0 shipped",)
    assert fold(TWO, [shipped, fact("returned")]).line("1").returned == 2


def test_an_error_keeps_its_text():
    """
    ERROR attaches its text and changes no state; without a text the partner's word stands in.
    """
    progress, _ = read(said("error", message="address unknown"), TWO)

    assert (progress.state, progress.problem) == (None, "address unknown")
    assert read(said("error", raw_status="E17"), TWO)[0].problem == "E17"


# ------------------------------------------------------------------ fold


def test_nothing_said_is_nothing():
    """
    Without facts there is no state beyond what we know ourselves.
    """
    progress = fold(TWO, [])

    assert (progress.state, progress.problem, dict(progress.released)) == (None, None, {})
    assert [line.open for line in progress.lines] == [2, 1]


def test_a_parcel_said_twice_counts_once_and_the_greatest_counts():
    """
    Repeats and corrections of one parcel replace each other.
    """
    facts = [fact("shipped", "1", q, shipment="T1") for q in (1, 2, 2)]

    assert fold(sent(("MUG", 5)), facts).lines[0].shipped == 2


def test_a_growing_list_of_tracking_numbers_is_not_added_to_itself():
    """
    T1 with one unit, then T1 and T2 with two: two units left, not three.
    """
    facts = [fact("shipped", "1", 1, shipment="T1"), fact("shipped", "1", 2, shipment="T1|T2")]

    assert fold(sent(("MUG", 5)), facts).lines[0].shipped == 2


def test_parcels_beyond_the_order_are_capped_and_reported():
    """
    Two parcels of two, three ordered: three shipped, and a person hears of the fourth.
    """
    progress = fold(sent(("MUG", 3)), [fact("shipped", "1", 2, shipment=number) for number in ("T1", "T2")])

    assert progress.lines[0].shipped == 3
    assert progress.conflicts == ("1 units of MUG shipped beyond those ordered",)


def test_units_of_no_parcel_fill_up_without_a_conflict():
    """
    The same units first without, then with a tracking number, are no excess.
    """
    facts = [fact("shipped", "1", 2), fact("shipped", "1", 2, shipment="T1")]

    progress = fold(sent(("MUG", 2)), facts)

    assert progress.lines[0].shipped == 2
    assert progress.conflicts == ()


def test_shipped_beats_cancelled():
    """
    A whole order cancelled and shipped is shipped, nothing is free, and a person hears of it.
    """
    progress = fold(TWO, [fact("cancelled"), fact("shipped")])

    assert progress.state is S.SHIPPED
    assert not progress.released
    assert progress.conflicts == ("the whole order is cancelled, and all units are shipped: taken as shipped",)


@pytest.mark.parametrize("kind", ["cancelled", "short"])
def test_a_line_given_up_whole_and_shipped_whole_is_shipped(kind):
    """
    The same for a line that is named without a count, and for the whole order said to be short.
    """
    line = fold(TWO, [fact(kind, "1"), fact("shipped", "1", 2, shipment="T1")])
    whole = fold(TWO, [fact(kind), fact("shipped")])

    assert line.conflicts == ("line 1: units shipped that were cancelled or short; taken as shipped",)
    assert whole.conflicts == (f"the whole order is {kind}, and all units are shipped: taken as shipped",)
    assert not line.released
    assert not whole.released


def test_a_cancelled_line_stays_out_of_a_whole_shipment():
    """
    One line cancelled by count, then SHIPPED: the rest left, the line is free.
    """
    progress = fold(TWO, [fact("cancelled", "2", 1), fact("shipped")])

    assert progress.state is S.SHIPPED
    assert [(line.shipped, line.cancelled) for line in progress.lines] == [(2, 0), (0, 1)]
    assert dict(progress.released) == {"2": 1}
    assert progress.conflicts == ()


def test_a_cancellation_after_everything_was_shipped_frees_nothing():
    """
    Where both have a time, a unit that had left cannot be cancelled: it would be shipped twice.
    """
    facts = [fact("shipped", at=NOON), fact("cancelled", "2", 1, at=NOON + timedelta(hours=1))]

    progress = fold(TWO, facts)

    assert [line.shipped for line in progress.lines] == [2, 1]
    assert not progress.released
    assert progress.conflicts == ("line 2: cancelled after all of it was shipped; taken as shipped",)


def test_a_cancellation_at_the_same_time_is_left_out_of_the_shipment():
    """
    One message may say both: all left but the unit that was cancelled.
    """
    progress = fold(TWO, [fact("shipped", at=NOON), fact("cancelled", "2", 1, at=NOON)])

    assert dict(progress.released) == {"2": 1}
    assert progress.conflicts == ()


@pytest.mark.parametrize("kind", ["cancelled", "short"])
def test_everything_counted_out_and_everything_shipped_is_shipped(kind):
    """
    A whole shipment against counts that cancel every unit: nothing is free, and a person hears of it.
    """
    progress = fold(TWO, [fact("shipped"), fact(kind, "1", 2), fact(kind, "2", 1)])

    assert progress.state is S.SHIPPED
    assert not progress.released
    assert progress.conflicts == ("all units are cancelled or short, and all are shipped: taken as shipped",)


def test_a_line_counted_out_and_shipped_is_shipped():
    """
    The same for a single line: named as shipped, and all of it counted as cancelled.
    """
    progress = fold(TWO, [fact("shipped", "1"), fact("cancelled", "1", 2)])

    assert [line.shipped for line in progress.lines] == [2, 0]
    assert not progress.released
    assert progress.conflicts == ("line 1: units shipped that were cancelled or short; taken as shipped",)


def test_the_rest_cancelled_closes_a_part_shipment():
    """
    Some shipped and the rest cancelled or short is shipped, the rest is free.
    """
    progress = fold(TWO, [fact("shipped", "1", 1, shipment="T1"), fact("short", "1", 1), fact("cancelled")])

    assert progress.state is S.SHIPPED
    assert dict(progress.released) == {"1": 1, "2": 1}
    assert progress.conflicts == ()


def test_all_cancelled_or_short_is_cancelled():
    """
    Nothing shipped and nothing left to ship: the whole of it may be allocated again.
    """
    progress = fold(TWO, [fact("cancelled", "1", 2), fact("short", "2", 1)])

    assert progress.state is S.CANCELLED
    assert dict(progress.released) == {"1": 2, "2": 1}


def test_one_line_cancelled_is_accepted():
    """
    A partner that cancels a line has the rest in hand.
    """
    progress = fold(TWO, [fact("cancelled", "2", 1)])

    assert progress.state is S.ACCEPTED
    assert dict(progress.released) == {"2": 1}


def test_something_left_and_all_cancelled_frees_nothing():
    """
    Part shipped without counts, then cancelled: nobody can know which units are free.
    """
    progress = fold(TWO, [fact("shipped", quantity=0, shipment="T1"), fact("cancelled")])

    assert progress.state is S.PART_SHIPPED
    assert not progress.released
    assert progress.conflicts == ("everything is cancelled or short, but something was shipped: nothing is released",)


def test_a_later_word_settles_an_older_error():
    """
    With times on both, accepted after the error settles it and before does not.
    """
    error = fact("error", at=NOON, message="no stock")

    assert fold(TWO, [error, fact("accepted", at=NOON + timedelta(minutes=1))]).problem is None
    assert fold(TWO, [error, fact("accepted", at=NOON - timedelta(minutes=1))]).problem == "no stock"
    assert fold(TWO, [error, fact("accepted", at=NOON)]).problem == "no stock"


@pytest.mark.parametrize("closing", [fact("shipped"), fact("cancelled")])
def test_without_times_an_error_stands_until_the_order_is_shipped_or_cancelled(closing):
    """
    Accepted does not settle an error that has no time; the end does.
    """
    error = fact("error", message="no stock")

    assert fold(TWO, [error, fact("accepted")]).problem == "no stock"
    assert fold(TWO, [error, closing]).problem is None
    assert fold(TWO, [fact("error", at=NOON, message="no stock"), fact("accepted", at=NOON), closing]).problem is None


def test_the_latest_of_several_errors_is_shown():
    """
    The latest by the partner's clock.
    """
    errors = [fact("error", at=NOON + timedelta(hours=h), message=f"error {h}") for h in (2, 3, 1)]

    assert fold(TWO, errors).problem == "error 3"


def test_facts_of_other_fulfilment_orders_and_unknown_lines_do_no_harm():
    """
    A stranger's fact is passed over; one of a line that was never sent is a conflict.
    """
    other = Fact(fulfilment_id="B7", kind="shipped")

    assert fold(TWO, [other]).state is None
    assert fold(TWO, [fact("shipped", "9", 1)]).conflicts == ("line 9: shipped, but no such line was sent",)
    assert fold(TWO, [fact("shipped", "9", 1)]).state is None


def test_a_fact_of_an_unknown_kind_is_refused():
    """
    A kind outside the list would be silently ignored by the fold.
    """
    with pytest.raises(ValueError, match="kind"):
        fact("lost")


# ------------------------------------------------------------------ the table


@pytest.mark.parametrize("current", list(S))
@pytest.mark.parametrize("wanted", list(S))
def test_the_table_decides_every_change(current, wanted):
    """
    A change is made when the table has it or nothing changes, and refused with both states named otherwise.
    """
    if wanted is current or wanted in TRANSITIONS[current]:
        assert advance(current, wanted) is wanted
    else:
        with pytest.raises(LifecycleError, match=f"{current} cannot become {wanted}"):
            advance(current, wanted)


def test_the_way_of_an_order_is_in_the_table():
    """
    Ready, sending, publishing, sent, accepted, part shipped, shipped, one after the other.
    """
    way = [S.READY, S.SENDING, S.PUBLISHING, S.SENT, S.ACCEPTED, S.PART_SHIPPED, S.SHIPPED]

    for current, wanted in pairwise(way):
        assert advance(current, wanted) is wanted


def test_what_was_sent_never_becomes_ready_again():
    """
    Once exported an order cannot leave the centre: no way leads from sent or later back to ready or sending.
    """
    for state in (S.SENT, S.ACCEPTED, S.PART_SHIPPED, S.SHIPPED):
        assert not TRANSITIONS[state] & {S.READY, S.SENDING, S.PUBLISHING, S.SEND_FAILED, S.UNCLEAR}


@pytest.mark.parametrize("state", [S.SENDING, S.PUBLISHING, S.SENT, S.SEND_FAILED, S.UNCLEAR])
def test_an_answer_may_follow_any_state_that_may_have_reached_the_partner(state):
    """
    Whatever the facts amount to proves that the order arrived, and is in the table.
    """
    assert TRANSITIONS[state] >= {S.ACCEPTED, S.PART_SHIPPED, S.SHIPPED, S.CANCELLED}


@pytest.mark.parametrize("state", list(S))
def test_the_documentation_shows_the_same_table(state):
    """
    Each state's row in docs/explanation/lifecycle.md names what may follow it.
    """
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "lifecycle.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{state}` |")]
    said = row.split("|")[2].replace("or any answer", "accepted, part_shipped, shipped, cancelled")
    said = said.replace("any answer", "accepted, part_shipped, shipped, cancelled")

    assert {word.strip() for word in said.split(",") if word.strip()} == set(TRANSITIONS[state])


def test_every_state_is_movable_locked_or_final():
    """
    Exactly one of the three, and shipped is the end of the table.
    """
    for state in S:
        assert is_movable(state) + is_locked(state) + is_final(state) == 1
    assert {state for state in S if is_movable(state)} == {S.READY, S.SEND_FAILED}
    assert {state for state in S if is_final(state)} == {S.SHIPPED, S.CANCELLED}
    assert TRANSITIONS[S.SHIPPED] == frozenset()


def test_an_id_is_never_used_again():
    """
    A1, then A1-2, A1-3; an order that is called A1-2 itself is stepped over.
    """
    assert next_fulfilment_id("A1", []) == "A1"
    assert next_fulfilment_id("A1", ["A1"]) == "A1-2"
    assert next_fulfilment_id("A1", ["A1", "A1-2", "A1-3"]) == "A1-4"
    assert next_fulfilment_id("A1", ["A1-2"]) == "A1"
