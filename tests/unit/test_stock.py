"""What may be sold, what may be promised, and what a partner's stock file changes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fcflow.model import (
    Feed,
    FulfilmentLine,
    FulfilmentOrder,
    FulfilmentState,
    Location,
    Record,
    StockLevel,
    StockPolicy,
)
from fcflow.stock import Demand, Picture, Shipped, StockView, merge_levels

S = FulfilmentState
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def at(hours):
    """So many hours after noon."""
    return NOON + timedelta(hours=hours)


def picture(location="leeds", sku="MUG", on_hand=10, as_of=NOON, **more):
    return Picture(location=location, sku=sku, on_hand=on_hand, as_of=as_of, received_at=as_of, **more)


def view(pictures=(), demands=(), shipped=(), *, now=NOON, policy=None, **more):
    places = {"leeds": Location(code="leeds", stock=policy or StockPolicy()), "corby": Location(code="corby")}
    return StockView(places, pictures, demands, shipped, now=now, **more)


def demand(units, location="leeds", state=S.READY, sent_at=None, sku="MUG"):
    return Demand(location=location, sku=sku, units=units, state=state, sent_at=sent_at)


# ------------------------------------------------------------------ the ancestor's published example

# Switches (open orders count, shipping deducts), then what all locations together may sell after each step. The
# feed is the partner's: its level falls from 5 to 4 with our order.
ANCESTOR = [
    # switches        ordered  moved  shipped  next feed
    ((False, False), (14, 15, 15, 14)),
    ((True, False), (14, 14, 15, 14)),
    ((False, True), (14, 15, 14, 14)),
    ((True, True), (14, 14, 14, 14)),
]

# The same, where the partner's level is read between the move and the shipment already.
EARLY_FEED = [
    # switches        moved, fed  shipped  next feed
    ((False, False), (14, 14, 14)),
    ((True, False), (13, 14, 14)),
    ((False, True), (14, 13, 14)),
    ((True, True), (13, 13, 14)),
]


def ancestor(switches, *, fulfilment_level=5, fed_at=0, demands=(), shipped=()):
    """PRODUCT A: 10 in Default and 5 in FULFILMENT, a fulfilment centre with these switches."""
    policy = StockPolicy(orders_count=switches[0], shipping_deducts=switches[1])
    centre = Location(code="fulfilment", kind="fulfilment_centre", stock=policy)
    pictures = [
        picture("default", "PRODUCT A", 10),
        picture("fulfilment", "PRODUCT A", fulfilment_level, as_of=at(fed_at)),
    ]
    places = {"default": Location(code="default"), "fulfilment": centre}
    return StockView(places, pictures, demands, shipped, now=at(9))


ORDERED = [demand(1, None, None, sku="PRODUCT A")]
MOVED = [demand(1, "fulfilment", S.SENT, sent_at=at(1), sku="PRODUCT A")]
SHIPPED = [Shipped(location="fulfilment", sku="PRODUCT A", units=1, at=at(3), sent_at=at(1))]


def totals(stock):
    (summary,) = stock.levels("PRODUCT A")
    return summary


@pytest.mark.parametrize(("switches", "expected"), ANCESTOR)
def test_the_ancestors_example(switches, expected):
    """
    10 + 5 in two locations, one ordered: 14 available; then moved, shipped, fed, for all settings of the two switches.
    """
    steps = [
        ancestor(switches, demands=ORDERED),
        ancestor(switches, demands=MOVED),
        ancestor(switches, shipped=SHIPPED),
        ancestor(switches, shipped=SHIPPED, fulfilment_level=4, fed_at=4),
    ]

    assert tuple(totals(step).sellable for step in steps) == expected


@pytest.mark.parametrize(("switches", "expected"), EARLY_FEED)
def test_the_ancestors_example_with_a_feed_before_the_shipment(switches, expected):
    """
    Where the partner takes an order off its level at once, a switch that is on counts the unit twice for a while.
    """
    steps = [
        ancestor(switches, demands=MOVED, fulfilment_level=4, fed_at=2),
        ancestor(switches, shipped=SHIPPED, fulfilment_level=4, fed_at=2),
        ancestor(switches, shipped=SHIPPED, fulfilment_level=4, fed_at=4),
    ]

    assert tuple(totals(step).sellable for step in steps) == expected


@pytest.mark.parametrize("switches", [switches for switches, _ in ANCESTOR])
def test_what_may_be_promised_does_not_follow_the_switches(switches):
    """
    Through all steps exactly four units at the centre are free to be promised, whenever the feed comes.
    """
    steps = [
        ancestor(switches, demands=MOVED),
        ancestor(switches, demands=MOVED, fulfilment_level=4, fed_at=2),
        ancestor(switches, shipped=SHIPPED),
        ancestor(switches, shipped=SHIPPED, fulfilment_level=4, fed_at=2),
        ancestor(switches, shipped=SHIPPED, fulfilment_level=4, fed_at=4),
    ]

    assert [step.allocatable("fulfilment", "PRODUCT A") for step in steps] == [4] * 5


def test_the_documentation_shows_the_same_tables():
    """
    Every row of both tables stands in docs/explanation/stock.md.
    """
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "stock.md").read_text(encoding="utf-8")

    for switches, numbers in [*ANCESTOR, *EARLY_FEED]:
        cells = [*("on" if switch else "off" for switch in switches), *(str(number) for number in numbers)]
        assert f"| {' | '.join(cells)} |\n" in page


# ------------------------------------------------------------------ allocatable


@pytest.mark.parametrize("state", [S.READY, S.SENDING, S.PUBLISHING, S.SEND_FAILED, S.UNCLEAR])
def test_units_that_were_not_sent_for_certain_are_never_free(state):
    """
    The picture cannot know an order that has not arrived, however late the picture is.
    """
    assert view([picture(as_of=at(5))], [demand(3, state=state, sent_at=NOON)]).allocatable("leeds", "MUG") == 7


@pytest.mark.parametrize(("sent", "free"), [(-1, 10), (0, 7), (1, 7)])
def test_a_picture_knows_what_was_sent_before_it(sent, free):
    """
    Sent before the picture: it knows. Sent at the same instant or later: it does not.
    """
    assert view([picture()], [demand(3, state=S.SENT, sent_at=at(sent))]).allocatable("leeds", "MUG") == free


@pytest.mark.parametrize(("left", "level"), [(-1, 10), (0, 10), (1, 9)])
def test_a_shipment_is_deducted_only_from_an_older_picture(left, level):
    """
    A run reads statuses before it reads stock, so at equal instants the picture is the younger one.
    """
    policy = StockPolicy(shipping_deducts=True)
    shipped = [Shipped(location="leeds", sku="MUG", units=1, at=at(left), sent_at=at(-9))]

    assert view([picture()], shipped=shipped, policy=policy).sellable("leeds", "MUG") == level


def test_where_the_level_falls_on_shipment_a_picture_knows_only_what_was_shipped_before_it():
    """
    Everything sent and unshipped comes off, and what was shipped after the picture.
    """
    policy = StockPolicy(picture_falls="shipped")
    demands = [demand(3, state=S.ACCEPTED, sent_at=at(-5))]
    shipped = [Shipped(location="leeds", sku="MUG", units=units, at=at(when)) for units, when in ((1, 1), (4, -1))]

    assert view([picture()], demands, shipped, policy=policy).allocatable("leeds", "MUG") == 10 - 3 - 1


def test_shipping_never_frees_units_before_the_next_picture():
    """
    Sent after the picture and shipped since: the unit has left, and the picture still counts it.
    """
    waiting = view([picture()], [demand(1, state=S.SENT, sent_at=at(1))])
    left = view([picture()], shipped=[Shipped(location="leeds", sku="MUG", units=1, at=at(2), sent_at=at(1))])

    assert waiting.allocatable("leeds", "MUG") == left.allocatable("leeds", "MUG") == 9


def test_the_partners_own_promises_and_the_buffer_come_off():
    """
    Reserved units and the buffer (one for a single SKU wins) are neither promised nor sold.
    """
    policy = StockPolicy(buffer=2, buffers={"CUP": 0})
    stock = view([picture(reserved=3), picture(sku="CUP", reserved=3)], policy=policy)

    assert (stock.allocatable("leeds", "MUG"), stock.sellable("leeds", "MUG")) == (5, 5)
    assert (stock.allocatable("leeds", "CUP"), stock.sellable("leeds", "CUP")) == (7, 7)


@pytest.mark.parametrize("on_hand", [-3, 0, 1])
def test_a_negative_level_offers_none(on_hand):
    """
    What is below zero after everything has come off is zero, here and in the sums.
    """
    stock = view([picture(on_hand=on_hand, reserved=1), picture("corby", on_hand=5)])

    assert stock.allocatable("leeds", "MUG") == stock.sellable("leeds", "MUG") == 0
    assert next(iter(stock.levels("MUG"))).sellable == 5


def test_a_location_that_is_not_tracked_never_runs_short():
    """
    ``None`` is no number: it never enters a sum.
    """
    stock = view([picture("corby")], [demand(2)], policy=StockPolicy(tracked=False))
    (summary,) = stock.levels("MUG")

    assert stock.allocatable("leeds", "MUG") is None
    assert stock.sellable("leeds", "MUG") is None
    assert (summary.sellable, summary.never_short) == (10, ("leeds",))


@pytest.mark.parametrize(("age", "free"), [(1, 10), (1.001, 0)])
def test_a_picture_that_is_too_old_offers_nothing(age, free):
    """
    The age itself is still good.
    """
    stock = view([picture()], now=at(age), policy=StockPolicy(max_age_s=3600))

    assert stock.allocatable("leeds", "MUG") == stock.sellable("leeds", "MUG") == free


def test_no_picture_offers_nothing():
    """
    A SKU that nobody spoke of, and a location that nobody knows, have none.
    """
    stock = view([picture()])

    assert stock.allocatable("leeds", "CUP") == stock.allocatable("atlantis", "MUG") == 0
    assert stock.sellable("leeds", "CUP") == stock.sellable("atlantis", "MUG") == 0
    assert stock.stock_as_of("leeds", "MUG") == NOON
    assert stock.stock_as_of("leeds", "CUP") is None


def test_unallocated_orders_do_not_hinder_each_other():
    """
    Orders without a location come off what may be sold in all, not off what one of them may be promised.
    """
    stock = view([picture()], [demand(4, None, None)])

    assert stock.allocatable("leeds", "MUG") == stock.sellable("leeds", "MUG") == 10
    assert next(iter(stock.levels("MUG"))).sellable == 6


def test_a_hundred_orders_cannot_be_allocated_against_one_unit():
    """
    Every order that is taken makes the next one see less, and counts against the capacity.
    """
    stock = view([picture(on_hand=1)], orders_today={"leeds": 7})
    taken = 0
    for number in range(100):
        if stock.allocatable("leeds", "MUG"):
            line = FulfilmentLine(line_id="1", sku="MUG", quantity=1)
            stock.take(
                FulfilmentOrder(fulfilment_id=f"A{number}", order_id=f"A{number}", location="leeds", lines=[line])
            )
            taken += 1

    assert taken == 1
    assert stock.orders_today("leeds") == 8
    assert stock.orders_today("corby") == 0


def test_exclusions_are_by_order():
    """
    Only the order that was cancelled there is kept away.
    """
    stock = view(excluded={"A1": frozenset({"leeds"})})

    assert stock.excluded("A1") == {"leeds"}
    assert stock.excluded("A2") == frozenset()


def test_the_levels_of_all_skus_come_in_one_call():
    """
    Every SKU of a picture or a demand, sorted, each with its locations in the seller's order.
    """
    stock = view([picture(), picture("corby", on_hand=2)], [demand(1, sku="ART"), demand(2, None, None, sku="ZIP")])

    summaries = {summary.sku: summary for summary in stock.levels()}

    assert list(summaries) == ["ART", "MUG", "ZIP"]
    assert [(row.location, row.level, row.open, row.as_of) for row in summaries["MUG"].locations] == [
        ("leeds", 10, 0, NOON),
        ("corby", 2, 0, NOON),
    ]
    assert (summaries["MUG"].level, summaries["ZIP"].unallocated, summaries["ZIP"].sellable) == (12, 2, 0)
    assert summaries["ART"].locations[0].open == 1


def test_the_latest_picture_counts():
    """
    Two pictures of one SKU in any order: the later one by its own instant.
    """
    old, new = picture(on_hand=9), picture(on_hand=4, as_of=at(1))

    assert view([old, new], now=at(2)).allocatable("leeds", "MUG") == 4
    assert view([new, old], now=at(2)).allocatable("leeds", "MUG") == 4


def test_instants_without_a_zone_are_refused():
    """
    A naive instant cannot be compared with ours.
    """
    with pytest.raises(ValueError, match="as_of: expected an instant with a time zone"):
        picture(as_of=datetime(2026, 3, 2))


# ------------------------------------------------------------------ merge_levels


def feed(**more):
    return Feed(kind="stock", partner="leeds", layout="linnworks-stock", **more)


def rows(*levels):
    """(SKU, on hand) or (SKU, on hand, location), in lines 2, 3, ..."""
    return [
        Record(line=line, value=StockLevel(sku=sku, on_hand=on_hand, location=place[0] if place else None))
        for line, (sku, on_hand, *place) in enumerate(levels, 2)
    ]


def merge(records, *, received_at=NOON, known=("MUG", "CUP", "HAT"), aliases=None, current=(), unread=0, **options):
    places = {None: "leeds", "LDS": "leeds", "COR": "corby"}
    return merge_levels(
        feed(**options),
        records,
        location_of=places.get,
        received_at=received_at,
        known_skus=None if known is None else set(known),
        aliases=aliases or {},
        current=current,
        unread=unread,
    )


def levels(pictures):
    return {(each.location, each.sku): each.on_hand for each in pictures}


def test_good_rows_become_pictures_of_the_instant_they_were_received():
    """
    A row without a time is a picture of now.
    """
    pictures, problems = merge(rows(("MUG", 5), ("CUP", 0)))

    assert levels(pictures) == {("leeds", "MUG"): 5, ("leeds", "CUP"): 0}
    assert {each.as_of for each in pictures} == {NOON}
    assert problems == []


def test_a_blank_quantity_skips_and_a_negative_one_is_kept():
    """
    Blank says nothing of its SKU; negative is kept as it was said.
    """
    assert levels(merge(rows(("MUG", None), ("CUP", -2)))[0]) == {("leeds", "CUP"): -2}


def test_five_three_five_ends_at_five_and_the_picture_gets_younger():
    """
    Equal content seen anew is a new picture.
    """
    held = []
    for hour, level in enumerate((5, 3, 5)):
        held, problems = merge(rows(("MUG", level)), received_at=at(hour), current=held)
        assert problems == []

    assert [(each.on_hand, each.as_of) for each in held] == [(5, at(2))]


def test_a_sku_is_matched_by_ours_or_by_the_partners_code():
    """
    Either by default; a row that is neither is reported by line.
    """
    pictures, problems = merge(rows(("L-1", 5), ("CUP", 3), ("XXL", 1)), aliases={"MUG": "L-1"})

    assert levels(pictures) == {("leeds", "MUG"): 5, ("leeds", "CUP"): 3}
    assert [str(each) for each in problems] == ["line 4 (sku): expected a SKU of ours or its alias, got 'XXL'"]


def test_a_feed_can_be_matched_by_the_partners_code_only():
    """
    Then our own SKU in the file is somebody else's.
    """
    pictures, problems = merge(rows(("L-1", 5), ("CUP", 3)), aliases={"MUG": "L-1"}, match_sku="partner")

    assert levels(pictures) == {("leeds", "MUG"): 5}
    assert problems[0].expected == "the partner's code of a SKU of ours"


def test_the_partners_code_wins_over_an_equal_sku_of_ours():
    """
    In the partner's file its own codes come first.
    """
    assert levels(merge(rows(("CUP", 5)), aliases={"MUG": "CUP"})[0]) == {("leeds", "MUG"): 5}


def test_a_code_that_stands_for_two_skus_is_reported():
    """
    The same units must not be counted for both.
    """
    pictures, problems = merge(rows(("L-1", 5)), aliases={"MUG": "L-1", "CUP": "L-1"})

    assert pictures == []
    assert "not for MUG and CUP" in str(problems[0])


def test_without_known_skus_every_sku_is_taken():
    """
    A host without a catalogue takes what comes.
    """
    assert levels(merge(rows(("XXL", 5)), known=None)[0]) == {("leeds", "XXL"): 5}


def test_the_same_sku_twice_is_refused():
    """
    Both rows are reported, the SKU is unchanged, the others are applied.
    """
    pictures, problems = merge(rows(("MUG", 5), ("CUP", 1), ("L-1", 3)), aliases={"MUG": "L-1"})

    assert levels(pictures) == {("leeds", "CUP"): 1}
    assert [each.line for each in problems] == [2, 4]
    assert "lines 2 and 4; MUG is unchanged" in str(problems[0])


@pytest.mark.parametrize(("duplicates", "level"), [("sum", 8), ("last", 3)])
def test_the_same_sku_twice_is_summed_or_the_last_counts(duplicates, level):
    """
    As the feed says.
    """
    pictures, problems = merge(rows(("MUG", 5), ("MUG", 3)), duplicates=duplicates)

    assert (levels(pictures), problems) == ({("leeds", "MUG"): level}, [])


def test_the_same_sku_at_two_locations_is_not_twice():
    """
    One file may speak of several places.
    """
    assert levels(merge(rows(("MUG", 5, "LDS"), ("MUG", 3, "COR")))[0]) == {("leeds", "MUG"): 5, ("corby", "MUG"): 3}


def test_an_unknown_location_is_reported():
    """
    Its row changes nothing.
    """
    pictures, problems = merge(rows(("MUG", 5, "YRK")))

    assert pictures == []
    assert str(problems[0]) == "line 2 (location): expected a location of this partner, got 'YRK'"


HELD = [picture(sku="MUG"), picture(sku="CUP"), picture(sku="HAT"), picture("corby", sku="CUP")]


def test_a_complete_file_zeroes_what_is_missing():
    """
    At the places it speaks of, and nowhere else; a blank row is not missing.
    """
    pictures, _ = merge(rows(("MUG", 5), ("HAT", None)), complete=True, current=HELD, received_at=at(1))

    assert levels(pictures) == {("leeds", "MUG"): 5, ("leeds", "CUP"): 0}


def test_a_blank_row_of_no_location_says_nothing_anywhere():
    """
    Where a file speaks of several places and a row of none, its SKU keeps its level at all of them, and is no problem.
    """
    records = rows(("MUG", 5, "LDS"), ("MUG", 2, "COR"), ("CUP", None), ("L-1", None))
    merged = merge_levels(
        feed(complete=True),
        records,
        location_of={"LDS": "leeds", "COR": "corby"}.get,
        received_at=at(1),
        aliases={"HAT": "L-1"},
        current=[*HELD, picture(sku="POT")],
    )

    assert levels(merged[0]) == {("leeds", "MUG"): 5, ("corby", "MUG"): 2, ("leeds", "POT"): 0}
    assert merged[1] == []


def test_a_refused_sku_is_not_missing():
    """
    A SKU that stood twice in a complete file keeps its level.
    """
    pictures, _ = merge(rows(("MUG", 5), ("CUP", 1), ("CUP", 2)), complete=True, current=HELD, received_at=at(1))

    assert levels(pictures) == {("leeds", "MUG"): 5, ("leeds", "HAT"): 0}


def test_a_code_that_stands_for_two_skus_makes_neither_missing():
    """
    The row of a complete file that was refused spoke of both, and both keep their level.
    """
    pictures, problems = merge(
        rows(("MUG", 5), ("L-1", 7)),
        aliases={"CUP": "L-1", "HAT": "L-1"},
        complete=True,
        current=HELD,
        received_at=at(1),
    )

    assert levels(pictures) == {("leeds", "MUG"): 5}
    assert len(problems) == 1


def test_an_empty_file_is_never_a_full_picture():
    """
    Header-only or empty: nothing changes, and somebody hears of it.
    """
    pictures, problems = merge([], complete=True, current=HELD)

    assert pictures == []
    assert [str(each) for each in problems] == ["a file without records is never a full picture; nothing changed"]
    assert merge([], current=HELD) == ([], [])


@pytest.mark.parametrize(("records", "unread"), [(rows(("MUG", 5)), 1), (rows(("MUG", 5), ("CUP", 1, "YRK")), 0)])
def test_a_file_with_rows_that_were_not_understood_zeroes_nothing(records, unread):
    """
    What seems to be missing may stand in the bad row.
    """
    pictures, problems = merge(records, complete=True, current=HELD, received_at=at(1), unread=unread)

    assert levels(pictures) == {("leeds", "MUG"): 5}
    assert "1 rows were not understood" in str(problems[0])


def test_a_picture_older_than_the_one_held_is_passed_over():
    """
    Files that come out of order do not turn the clock back.
    """
    stale = [Record(line=2, value=StockLevel(sku="MUG", on_hand=99, as_of=at(-1)))]

    pictures, problems = merge(stale, current=HELD)

    assert pictures == []
    assert problems[0].field == "as_of"


def test_a_picture_of_the_same_instant_replaces_the_one_held():
    """
    A corrected file for the same instant counts.
    """
    again = [Record(line=2, value=StockLevel(sku="MUG", on_hand=99, as_of=NOON))]

    assert levels(merge(again, current=HELD, received_at=at(1))[0]) == {("leeds", "MUG"): 99}


def test_a_clock_that_runs_ahead_is_not_believed():
    """
    A picture from the future would claim to know orders that have not been sent yet.
    """
    early = [Record(line=2, value=StockLevel(sku="MUG", on_hand=9, as_of=at(3)))]

    assert merge(early)[0][0].as_of == NOON


# ------------------------------------------------------------------ packs and bundles


BUNDLED = {"EGG": {"sku": "L-EGG-6", "pack": 6}, "SET": {"parts": {"L-MUG": 2, "L-CUP": 1}}, "MUG": "L-MUG"}


def test_a_pack_in_stock_is_as_many_units_as_are_in_it():
    """
    Their 3 are our 18.
    """
    assert levels(merge(rows(("L-EGG-6", 3)), aliases=BUNDLED)[0]) == {("leeds", "EGG"): 18}


def test_a_bundle_is_there_as_often_as_its_scarcest_part_allows():
    """
    Five mugs make two sets, however many cups there are; the mugs are there on their own too.
    """
    pictures, problems = merge(rows(("L-MUG", 5), ("L-CUP", 9)), aliases=BUNDLED)
    assert (levels(pictures), problems) == ({("leeds", "MUG"): 5, ("leeds", "SET"): 2}, [])


def test_a_bundle_of_which_a_part_is_not_told_is_unchanged_but_in_a_complete_picture():
    """
    A file of changes says nothing of what it leaves out; a complete one says that there is none.
    """
    pictures, problems = merge(rows(("L-CUP", 9)), aliases=BUNDLED)
    assert levels(pictures) == {}
    assert [problem.message for problem in problems] == ["bundle SET: L-MUG is not in the file; SET is unchanged"]
    pictures, problems = merge(rows(("L-CUP", 9)), aliases=BUNDLED, complete=True)
    assert (levels(pictures), problems) == ({("leeds", "SET"): 0}, [])
