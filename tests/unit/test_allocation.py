"""Which location ships what, and why the others do not."""

from datetime import UTC, date, datetime, time

import pytest

from fcflow.allocation import STRATEGIES, StrategyType, available_now, place, route, working_day
from fcflow.errors import AllocationError
from fcflow.model import Decision, FulfilmentOrder, Location, Order, OrderLine, StockPolicy, WorkingCalendar
from fcflow.stock import Picture, StockView

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
CODES = ("leeds", "corby", "york")


def order(*lines, **more):
    """Lines of (SKU, quantity), with ids 1, 2, ..."""
    numbered = [OrderLine(line_id=str(n), sku=sku, quantity=q) for n, (sku, q) in enumerate(lines, 1)]
    return Order(order_id="A1", lines=numbered, **more)


def world(stock, *, places=(), **more):
    """A view of *stock*: location to SKU to units; *places* replace the plain locations."""
    locations = {code: Location(code=code) for code in CODES} | {each.code: each for each in places}
    pictures = [
        Picture(location=code, sku=sku, on_hand=units, as_of=NOON, received_at=NOON)
        for code, skus in stock.items()
        for sku, units in skus.items()
    ]
    return StockView(locations, pictures, now=NOON, **more)


def allocate(*locations, rule_id="r1", **more):
    return Decision(rule_id=rule_id, action="allocate", locations=locations, **more)


class Rules:
    """A rule set that decides as it is told."""

    def __init__(self, *decisions):
        self.asked = 0
        self._decisions = decisions

    def decisions(self, order, view, now):
        for decision in self._decisions:
            self.asked += 1
            yield decision


def shipped_from(plan):
    """Location to line to units."""
    return {each.location: {line.line_id: line.quantity for line in each.lines} for each in plan.placements}


# ------------------------------------------------------------------ strategies


def test_in_order_takes_the_first_location_that_covers_the_order():
    """
    Without splitting, the first one that has everything.
    """
    view = world({"leeds": {"MUG": 1, "CUP": 9}, "corby": {"MUG": 2, "CUP": 1}, "york": {"MUG": 9, "CUP": 9}})

    assert shipped_from(place(order(("MUG", 2), ("CUP", 1)), allocate(), view)) == {"corby": {"1": 2, "2": 1}}


def test_the_rules_order_comes_before_the_sellers():
    """
    Locations are tried as the rule names them; placements are listed in that order.
    """
    view = world({code: {"MUG": 1} for code in CODES})

    plan = place(order(("MUG", 3)), allocate("york", "leeds", "corby", split="by_unit"), view)

    assert [each.location for each in plan.placements] == ["york", "leeds", "corby"]


def test_by_line_keeps_each_line_whole():
    """
    Lines may go to different places, the units of a line may not.
    """
    view = world({"leeds": {"MUG": 1, "CUP": 1}, "corby": {"MUG": 2}, "york": {"MUG": 9, "CUP": 9}})

    plan = place(order(("MUG", 2), ("CUP", 1)), allocate(split="by_line"), view)

    assert shipped_from(plan) == {"leeds": {"2": 1}, "corby": {"1": 2}}


def test_by_unit_spreads_a_line():
    """
    Five mugs from three places.
    """
    view = world({"leeds": {"MUG": 2}, "corby": {"MUG": 2}, "york": {"MUG": 9}})

    plan = place(order(("MUG", 5)), allocate(split="by_unit"), view)

    assert shipped_from(plan) == {"leeds": {"1": 2}, "corby": {"1": 2}, "york": {"1": 1}}


def test_two_lines_of_one_sku_share_what_there_is():
    """
    A packing is found even where the first come would block it.
    """
    view = world({"leeds": {"MUG": 3}, "corby": {"MUG": 2}})

    plan = place(order(("MUG", 2), ("MUG", 3)), allocate(split="by_line"), view)

    assert shipped_from(plan) == {"leeds": {"2": 3}, "corby": {"1": 2}}
    assert plan.is_whole
    assert not place(order(("MUG", 3), ("MUG", 1)), allocate("leeds"), view).is_whole


def test_most_stock_prefers_the_fullest_location():
    """
    By what it has of the order's SKUs, a tie by the rule's order; when splitting, SKU by SKU.
    """
    view = world({"leeds": {"MUG": 5, "CUP": 2}, "corby": {"MUG": 9, "CUP": 1}, "york": {"MUG": 5, "CUP": 5}})

    assert list(shipped_from(place(order(("MUG", 1)), allocate(strategy="most_stock"), view))) == ["corby"]
    both = order(("MUG", 1), ("CUP", 1))
    assert list(shipped_from(place(both, allocate(strategy="most_stock"), view))) == ["corby"]
    split = place(both, allocate(strategy="most_stock", split="by_line"), view)
    assert shipped_from(split) == {"corby": {"1": 1}, "york": {"2": 1}}


def test_fewest_splits_finds_the_one_place_that_greed_passes_by():
    """
    In order takes two parcels, the fewest is one.
    """
    view = world({"leeds": {"MUG": 1}, "corby": {"CUP": 1}, "york": {"MUG": 1, "CUP": 1}})
    both = order(("MUG", 1), ("CUP", 1))

    assert len(place(both, allocate(split="by_line"), view).placements) == 2
    assert list(shipped_from(place(both, allocate(strategy="fewest_splits", split="by_line"), view))) == ["york"]


def test_fewest_splits_may_be_limited():
    """
    With ``max_locations`` an order that needs more parcels is short.
    """
    view = world({code: {"MUG": 1} for code in CODES})
    decision = allocate(strategy="fewest_splits", split="by_unit", strategy_options={"max_locations": 2})

    assert place(order(("MUG", 2)), decision, view).is_whole
    plan = place(order(("MUG", 3)), decision, view)
    assert dict(plan.short) == {"1": 3}
    assert plan.notes == ("fewest_splits: 2 locations cannot hold what may be placed",)


LEEDS = Location(code="leeds", latitude=53.80, longitude=-1.55)
CORBY = Location(code="corby", latitude=52.49, longitude=-0.69)
LONDON = {"latitude": "51.51", "longitude": "-0.13"}


def test_nearest_goes_by_the_great_circle():
    """
    Corby is nearer to London than Leeds; a place whose coordinates are not known comes last.
    """
    view = world({code: {"MUG": 1} for code in CODES}, places=[LEEDS, CORBY])
    decision = allocate("york", "leeds", "corby", strategy="nearest", split="by_unit")

    assert list(shipped_from(place(order(("MUG", 1), properties=LONDON), decision, view))) == ["corby"]
    two = place(order(("MUG", 2), properties=LONDON), decision, view)
    assert set(shipped_from(two)) == {"corby", "leeds"}


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"latitude": "51.51"},
        {"latitude": "north", "longitude": "0"},
        {"latitude": "nan", "longitude": "0"},
        {"latitude": "91", "longitude": "0"},
    ],
)
def test_nearest_without_a_destination_tries_in_order_and_says_so(properties):
    """
    Nothing is guessed from a bad coordinate.
    """
    view = world({code: {"MUG": 1} for code in CODES}, places=[LEEDS, CORBY])

    plan = place(order(("MUG", 1), properties=properties), allocate(strategy="nearest"), view)

    assert list(shipped_from(plan)) == ["leeds"]
    assert plan.notes == (
        "nearest: the destination's latitude and longitude are not known, so locations are tried in order",
    )


def test_nearest_may_have_a_radius():
    """
    Places further away than ``max_km`` are out, and the explanation says how far they are.
    """
    view = world({"leeds": {"MUG": 1}}, places=[LEEDS, CORBY])
    decision = allocate("leeds", "corby", strategy="nearest", strategy_options={"max_km": 200})

    plan = place(order(("MUG", 1), properties=LONDON), decision, view)

    assert not plan.is_whole
    assert plan.notes == ("nearest: leeds is 272 km away, 200 km is the most",)


# ------------------------------------------------------------------ what rules a location out


def test_every_location_gets_a_reason():
    """
    Excluded, at capacity, short, not named, unknown, beaten, taken: each says so.
    """
    places = [Location(code=code) for code in ("full", "banned", "other", "late")]
    places[0] = Location(code="full", capacity_per_day=20)
    view = world(
        {code: {"MUG": 3} for code in ("leeds", "full", "banned", "other", "late")} | {"corby": {"MUG": 1}},
        places=places,
        orders_today={"full": 20},
        excluded={"A1": frozenset({"banned"})},
    )

    plan = place(order(("MUG", 3)), allocate("full", "banned", "corby", "york", "leeds", "late", "atlantis"), view)

    assert dict(plan.locations) == {
        "full": "at capacity: 20 of 20 orders",
        "banned": "excluded for this order",
        "corby": "short of MUG by 2",
        "york": "short of MUG by 3 (no stock picture)",
        "leeds": "takes 3 of MUG",
        "late": "beaten by leeds (in_order)",
        "atlantis": "not a known location",
        "other": "not named by rule r1",
    }


def test_taking_an_order_uses_up_capacity():
    """
    Two orders a day, two today: the third goes elsewhere.
    """
    view = world({"leeds": {"MUG": 9}, "corby": {"MUG": 9}}, places=[Location(code="leeds", capacity_per_day=2)])
    went = []
    for _ in range(3):
        plan = place(order(("MUG", 1)), allocate(), view)
        went.append(plan.placements[0].location)
        view.take(FulfilmentOrder(fulfilment_id="A", order_id="A", location=went[-1], lines=plan.placements[0].lines))

    assert went == ["leeds", "leeds", "corby"]


def test_buffers_are_kept_back():
    """
    What the view keeps back is not placed.
    """
    view = world({"leeds": {"MUG": 5}}, places=[Location(code="leeds", stock=StockPolicy(buffer=4))])

    assert dict(place(order(("MUG", 2)), allocate("leeds", split="by_unit"), view).short) == {"1": 1}


def test_a_location_that_never_runs_short_takes_all():
    """
    A drop shipper without a stock feed covers any quantity.
    """
    view = world({}, places=[Location(code="dropco", kind="drop_shipper", stock=StockPolicy(tracked=False))])

    assert shipped_from(place(order(("MUG", 99)), allocate("dropco"), view)) == {"dropco": {"1": 99}}


WEEKDAYS = WorkingCalendar(zone="Europe/London", days=(1, 2, 3, 4, 5), cut_off=time(14), holidays=(date(2026, 4, 3),))


@pytest.mark.parametrize(
    ("now", "day", "today"),
    [
        (datetime(2026, 3, 2, 14, 0, tzinfo=UTC), date(2026, 3, 2), True),
        (datetime(2026, 3, 2, 14, 0, 1, tzinfo=UTC), date(2026, 3, 3), False),
        (datetime(2026, 3, 6, 15, tzinfo=UTC), date(2026, 3, 9), False),
        (datetime(2026, 3, 8, 9, tzinfo=UTC), date(2026, 3, 9), False),
        (datetime(2026, 4, 3, 9, tzinfo=UTC), date(2026, 4, 6), False),
        (datetime(2026, 4, 1, 13, 30, tzinfo=UTC), date(2026, 4, 2), False),
        (datetime(2026, 3, 1, 23, 59, tzinfo=UTC), date(2026, 3, 2), False),
    ],
    ids=["at the cut-off", "past it", "friday past it", "sunday", "holiday", "summer time", "sunday night"],
)
def test_the_working_day_an_order_belongs_to(now, day, today):
    """
    Past the cut-off, on a free day or a holiday, it is the next working day in the location's own zone.
    """
    location = Location(code="leeds", calendar=WEEKDAYS)

    assert working_day(WEEKDAYS, now) == day
    assert available_now(location, now) is today


def test_a_location_past_its_cut_off_is_used_and_says_for_which_day():
    """
    Late is not out.
    """
    view = world({"leeds": {"MUG": 1}}, places=[Location(code="leeds", calendar=WEEKDAYS)])

    plan = place(order(("MUG", 1)), allocate("leeds"), view, now=datetime(2026, 3, 6, 15, tzinfo=UTC))

    assert plan.locations["leeds"] == "takes 1 of MUG; an order now belongs to 2026-03-09"


def test_a_picture_that_is_too_old_is_the_reason():
    """
    Short because the partner fell silent is not short because there is none.
    """
    places = [Location(code="leeds", stock=StockPolicy(max_age_s=60))]
    now = datetime(2026, 3, 2, 13, tzinfo=UTC)
    stale = StockView(
        {"leeds": places[0]}, [Picture(location="leeds", sku="MUG", on_hand=9, as_of=NOON, received_at=NOON)], now=now
    )

    plan = place(order(("MUG", 1)), allocate("leeds"), stale, now=now)

    assert plan.locations["leeds"] == "short of MUG by 1 (its stock picture of 2026-03-02T12:00:00+00:00 is too old)"


def test_a_location_that_never_works_is_ruled_out():
    """
    A calendar without days has no working day.
    """
    view = world({"leeds": {"MUG": 1}}, places=[Location(code="leeds", calendar=WorkingCalendar(days=()))])

    plan = place(order(("MUG", 1)), allocate("leeds"), view, now=NOON)

    assert not plan.is_whole
    assert plan.locations["leeds"] == "works on no day of the year to come"


# ------------------------------------------------------------------ what is asked for


def test_only_the_units_asked_for_are_placed():
    """
    The rest of a partly cancelled order: one mug of three, no cup.
    """
    view = world({"leeds": {"MUG": 9, "CUP": 9}})

    plan = place(order(("MUG", 3), ("CUP", 1)), allocate(), view, lines={"1": 1, "2": 0})

    assert shipped_from(plan) == {"leeds": {"1": 1}}
    assert plan.is_whole


@pytest.mark.parametrize("lines", [{"9": 1}, {"1": 4}, {"1": -1}])
def test_units_that_the_order_does_not_have_are_refused(lines):
    """
    Asking for more than was bought is a fault of the caller.
    """
    with pytest.raises(AllocationError, match="order A1, line"):
        place(order(("MUG", 3)), allocate(), world({}), lines=lines)


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (Decision(rule_id="r1", action="hold"), "expected a decision that allocates, got 'hold'"),
        (allocate(strategy="nearset"), "rule r1: expected a strategy of .*nearest.*, got 'nearset'"),
        (allocate(split="by_box"), "rule r1: expected split never, by_line or by_unit, got 'by_box'"),
        (allocate(strategy_options={"max_km": 1}), "rule r1: options of strategy in_order: .*max_km"),
        (allocate(strategy="nearest", strategy_options={"max_km": 0}), "options of strategy nearest"),
    ],
)
def test_a_decision_that_cannot_be_followed_is_an_error(decision, message):
    """
    Never a guess at what was meant.
    """
    with pytest.raises(AllocationError, match=message):
        place(order(("MUG", 1)), decision, world({"leeds": {"MUG": 1}}))


# ------------------------------------------------------------------ strategies of plugins


def plugin(*proposals):
    return {"acme:odd": StrategyType(name="acme:odd", propose=lambda job: iter(proposals))}


@pytest.mark.parametrize(
    ("proposal", "fault"),
    [
        ({"leeds": {"1": 3}}, "3 units of line 1 placed, 2 asked for"),
        ({"york": {"1": 2}}, "2 units of MUG at york, 0 may be promised"),
        ({"atlantis": {"1": 2}}, "atlantis may not be used"),
        ({"leeds": {"9": 1}}, "1 units of line 9 placed, 0 asked for"),
        ({"leeds": {"1": -1}}, "expected whole units for line 1, got -1"),
        ({"leeds": {"1": 1.5}}, "expected whole units for line 1, got 1.5"),
        ({"leeds": {"1": 1}, "corby": {"1": 1}}, "line 1 may not be split, and 1 of 2 units are placed"),
        (["leeds"], r"expected locations to lines to units, got ['leeds']"),
    ],
)
def test_a_strategy_cannot_break_the_rules_of_allocation(proposal, fault):
    """
    A proposal that invents, loses or overdraws is refused with the reason, and the next one is tried.
    """
    view = world({"leeds": {"MUG": 9}, "corby": {"MUG": 9}})
    decision = allocate(strategy="acme:odd", split="by_line")

    plan = place(order(("MUG", 2)), decision, view, strategies=plugin(proposal, {"corby": {"1": 2}}))

    assert shipped_from(plan) == {"corby": {"1": 2}}
    assert plan.notes == (f"strategy acme:odd: proposal 1 refused: {fault}",)


def test_options_that_a_strategy_requires_are_asked_for():
    """
    A decision without options is checked too where the strategy needs some.
    """
    schema = {"type": "object", "required": ["rate"]}
    needy = {"acme:odd": StrategyType(name="acme:odd", options_schema=schema, propose=lambda job: iter(()))}

    with pytest.raises(AllocationError, match="'rate' is a required property"):
        place(order(("MUG", 1)), allocate(strategy="acme:odd"), world({}), strategies=needy)


def test_the_search_for_fewest_splits_is_bounded():
    """
    Forty places with two of forty SKUs each cannot all be tried: the search ends, says so, and the order is placed.
    """
    places = [Location(code=f"l{n}") for n in range(40)]
    pairs = {f"l{n}": {f"S{n}": 1, f"S{(n + 1) % 40}": 1} for n in range(40)}
    wanted = order(*((f"S{n}", 1) for n in range(40)))

    plan = place(wanted, allocate(strategy="fewest_splits", split="by_line"), world(pairs, places=places))

    assert plan.is_whole
    assert plan.notes == ("fewest_splits: too many ways to try them all, so locations are tried in order",)


def test_an_order_that_may_not_be_split_is_never_placed_in_part():
    """
    Neither over two places nor half of it.
    """
    view = world({"leeds": {"MUG": 9, "CUP": 9}, "corby": {"MUG": 9, "CUP": 9}})
    proposals = [{"leeds": {"1": 1}, "corby": {"2": 1}}, {"leeds": {"1": 1}}]

    plan = place(order(("MUG", 1), ("CUP", 1)), allocate(strategy="acme:odd"), view, strategies=plugin(*proposals))

    assert plan.placements == ()
    assert dict(plan.short) == {"1": 1, "2": 1}
    assert len(plan.notes) == 2


def test_a_strategy_that_never_ends_is_stopped():
    """
    Proposals without end do not hang a run.
    """

    def forever(job):
        while True:
            yield {}

    endless = {"acme:odd": StrategyType(name="acme:odd", propose=forever)}
    plan = place(order(("MUG", 1)), allocate(strategy="acme:odd"), world({"leeds": {"MUG": 1}}), strategies=endless)

    assert not plan.is_whole


def test_the_built_in_strategies_are_the_four_of_the_rules():
    """
    Their names are part of the rule language.
    """
    assert set(STRATEGIES) == {"in_order", "most_stock", "fewest_splits", "nearest"}


# ------------------------------------------------------------------ route


def test_the_first_decision_that_can_be_met_is_taken():
    """
    Short at the first rule's places, so the next rule's turn; the third is never asked.
    """
    view = world({"leeds": {"MUG": 1}, "corby": {"MUG": 2}})
    rules = Rules(allocate("leeds"), allocate("corby", rule_id="r2"), allocate("york", rule_id="r3"))

    routing = route(order(("MUG", 2)), rules, view, NOON)

    assert (routing.action, routing.decision.rule_id) == ("allocate", "r2")
    assert shipped_from(routing) == {"corby": {"1": 2}}
    assert routing.explanation == ("rule r1: short of MUG by 2; goes on to the next rule", "rule r2: corby")
    assert rules.asked == 2


def test_what_an_earlier_rule_made_of_a_location_is_kept():
    """
    The verdict of the last decision that could have used a location stands, not that a later one does not name it.
    """
    view = world({"leeds": {"MUG": 1}, "corby": {"MUG": 2}})

    routing = route(order(("MUG", 2)), Rules(allocate("leeds"), allocate("corby", rule_id="r2")), view, NOON)

    assert dict(routing.locations) == {
        "leeds": "short of MUG by 1",
        "corby": "takes 2 of MUG",
        "york": "not named by rule r1",
    }


def test_nobody_can_cover_it():
    """
    No rule's locations suffice: nothing is placed, and the reason is the last rule's.
    """
    routing = route(order(("MUG", 2)), Rules(allocate("leeds")), world({"leeds": {"MUG": 1}}), NOON)

    assert (routing.action, routing.decision, routing.reason) == ("none", None, "short of MUG by 2")
    assert routing.placements == ()
    assert route(order(("MUG", 2)), Rules(), world({}), NOON).reason == "no rule decided"


def test_short_and_backordered():
    """
    What splitting allows is placed, the rest waits; without splitting all of it waits.
    """
    view = world({"leeds": {"MUG": 1, "CUP": 1}})
    wanted = order(("MUG", 2), ("CUP", 1))

    split = route(wanted, Rules(allocate("leeds", split="by_unit", if_short="backorder")), view, NOON)
    whole = route(wanted, Rules(allocate("leeds", if_short="backorder")), view, NOON)

    assert (split.action, dict(split.short), split.reason) == ("backorder", {"1": 1}, "short of MUG by 1")
    assert shipped_from(split) == {"leeds": {"1": 1, "2": 1}}
    assert (whole.action, dict(whole.short), whole.placements) == ("backorder", {"1": 2, "2": 1}, ())


def test_short_and_held():
    """
    Held with what is missing as the reason, nothing placed.
    """
    rules = Rules(allocate("leeds", split="by_unit", if_short="hold"), allocate("corby"))

    routing = route(order(("MUG", 2)), rules, world({"leeds": {"MUG": 1}, "corby": {"MUG": 9}}), NOON)

    assert (routing.action, routing.reason, routing.placements) == ("hold", "short of MUG by 1", ())
    assert rules.asked == 1


@pytest.mark.parametrize(("action", "reason"), [("hold", "fraud review"), ("keep", None)])
def test_hold_and_keep_place_nothing(action, reason):
    """
    The rule's own reason is handed on.
    """
    decision = Decision(rule_id="r1", action=action, reason=reason)

    routing = route(order(("MUG", 1)), Rules(decision), world({"leeds": {"MUG": 9}}), NOON)

    assert (routing.action, routing.reason, routing.placements) == (action, reason, ())
    assert routing.decision is decision
    assert routing.explanation == (f"rule r1: {action}",)


def test_an_order_without_units_is_nowhere():
    """
    An order without lines, or with nothing left to place, asks no rule.
    """
    rules = Rules(allocate("leeds"))

    assert route(order(), rules, world({}), NOON).reason == "there is no unit to place"
    assert route(order(("MUG", 1)), rules, world({}), NOON, lines={}).action == "none"
    assert rules.asked == 0
