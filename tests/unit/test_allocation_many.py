"""Orders that compete for the same stock: who is served first, and what is left for the others."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from fcflow.allocation_many import Priority, allocate_many, in_turn
from fcflow.config import load_config
from fcflow.errors import AllocationError, ConfigError
from fcflow.model import Decision, Location, Order, OrderLine
from fcflow.rules import load_rules
from fcflow.stock import Picture, StockView
from fcflow.testing.partners import World, all_to, order

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TO_BOTH = load_rules(all_to("leeds", "corby"))


def level(location, sku, units):
    return Picture(location=location, sku=sku, on_hand=units, as_of=NOON, received_at=NOON)


def world(*levels, **places):
    """A view of (location, SKU, units); *places* change a location."""
    locations = {code: Location(code=code, **places.get(code, {})) for code in ("leeds", "corby")}
    return StockView(locations, [level(*each) for each in levels], now=NOON)


def mugs(order_id, units=1, **more):
    return Order(order_id=order_id, lines=[OrderLine(sku="MUG", quantity=units)], **more)


def went(routings):
    """Order id to the locations that ship it."""
    return {each.order_id: [placement.location for placement in each.placements] for each in routings}


# ------------------------------------------------------------------ who comes first


def test_tags_come_before_the_number_before_the_dispatch_before_the_age_before_the_id():
    """
    Each of them decides among those that the one before leaves equal; what is absent comes last.
    """
    day = timedelta(days=1)
    orders = [
        mugs("vip", tags={"vip"}),
        mugs("express", tags={"express"}, properties={"priority": "9"}),
        mugs("nine", properties={"priority": "9"}),
        mugs("soon", dispatch_by=NOON, received_at=NOON),
        mugs("later", dispatch_by=NOON + day, received_at=NOON - day),
        mugs("old", received_at=NOON - day),
        mugs("new", received_at=NOON),
        mugs("unknown-a"),
        mugs("unknown-b", properties={"priority": "soon"}),
        mugs("last", properties={"priority": "-1"}),
    ]

    served = in_turn(reversed(orders), Priority(tags=["vip", "express"]))

    assert [each.order_id for each in served] == [each.order_id for each in orders]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "", "x"])
def test_what_is_no_number_is_no_priority(text):
    """
    Nobody jumps the queue by a word.
    """
    assert Priority().rank(mugs("A1", properties={"priority": text})) == (0, 0)


# ------------------------------------------------------------------ what is left


def test_what_one_order_is_given_is_not_there_for_the_next():
    """
    The first takes the nearer stock, the second the rest, the third finds none and says what it lacks.
    """
    view = world(("leeds", "MUG", 1), ("corby", "MUG", 1))

    routings = allocate_many([mugs("A3"), mugs("A1"), mugs("A2")], TO_BOTH, view, NOON)

    assert went(routings) == {"A1": ["leeds"], "A2": ["corby"], "A3": []}
    assert routings[2].locations == {"leeds": "short of MUG by 1", "corby": "short of MUG by 1"}
    assert view.allocatable("leeds", "MUG") == 1


def test_a_locations_day_is_full_after_as_many_orders_as_it_can_do():
    """
    Capacity is reserved as stock is.
    """
    view = world(("leeds", "MUG", 9), ("corby", "MUG", 9), leeds={"capacity_per_day": 1})

    assert went(allocate_many([mugs("A1"), mugs("A2")], TO_BOTH, view, NOON)) == {"A1": ["leeds"], "A2": ["corby"]}


def test_only_the_units_that_have_no_place_are_placed():
    """
    The rest of an order asks for what is left of it.
    """
    view = world(("leeds", "MUG", 2))

    [routing] = allocate_many([mugs("A1", 5)], TO_BOTH, view, NOON, lines={"A1": {"1": 2}})

    assert routing.placements[0].lines[0].quantity == 2


def test_the_same_order_twice_is_refused():
    """
    Which of the two would be meant nobody can know.
    """
    with pytest.raises(AllocationError, match="expected each id once, got A1"):
        allocate_many([mugs("A1"), mugs("A1", 2)], TO_BOTH, world(), NOON)


# ------------------------------------------------------------------ every location has its reason


class Holds:
    """A rule set that holds everything."""

    def decisions(self, order, view, now):
        yield Decision(rule_id="fraud", action="hold", reason="looks odd")


def test_no_location_is_without_a_reason_where_none_was_asked():
    """
    An order that is held, or has nothing to place, says so of every location.
    """
    view = world(("leeds", "MUG", 9))

    [held] = allocate_many([mugs("A1")], Holds(), view, NOON)
    [done] = allocate_many([mugs("A1")], TO_BOTH, view, NOON, lines={"A1": {}})

    assert held.locations == dict.fromkeys(("leeds", "corby"), "not asked: rule fraud: hold")
    assert done.locations == dict.fromkeys(("leeds", "corby"), "there is no unit to place")


# ------------------------------------------------------------------ through a synchronizer


def scarce(**more):
    """One partner with a single mug."""
    made = World("leeds", tracked=True, **more)
    made.partners["leeds"].stock({"MUG": 1})
    made.run()
    return made


@pytest.mark.parametrize(
    "first",
    [
        {"properties": {"priority": "1"}},
        {"dispatch_by": NOON},
        {"received_at": NOON - timedelta(days=400)},
    ],
)
def test_a_run_gives_the_last_unit_to_who_comes_first(first):
    """
    Not to who was added first: a number, an instant of dispatch or greater age counts.
    """
    with scarce() as made:
        made.sync.add_orders([evolve(order("A1", MUG=1), received_at=NOON)])
        made.clock.advance(minutes=1)
        made.sync.add_orders([evolve(order("A2", MUG=1), **({"received_at": NOON} | first))])

        assert made.sync.allocate().allocation.allocated == {"leeds": ["A2"]}


def test_without_anything_to_tell_them_apart_the_first_that_came_is_served_first():
    """
    The instant at which we heard of an order stands in for an unknown age.
    """
    with scarce() as made:
        made.sync.add_orders([order("B1", MUG=1)])
        made.clock.advance(minutes=1)
        made.sync.add_orders([order("A1", MUG=1)])

        assert made.sync.allocate().allocation.allocated == {"leeds": ["B1"]}


CONFIG = {
    "fcflow": "config/1",
    "store": "sqlite://",
    "locations": {"studio": {"stock": {"tracked": False}, "capacity_per_day": 1}},
    "rules": all_to("studio"),
}


def test_the_configuration_says_who_comes_first():
    """
    ``priority`` names tags and the property.
    """
    from fcflow import Synchronizer

    config = load_config(CONFIG | {"priority": {"about": "vip first", "tags": ["vip"], "property": "urgency"}})

    assert config.priority == Priority(tags=["vip"], property="urgency")
    with Synchronizer.from_config(config) as sync:
        vip = evolve(order("A2", MUG=1), tags={"vip"})
        sync.add_orders([evolve(order("A1", MUG=1), properties={"urgency": "7"}), vip])
        assert sync.allocate().allocation.allocated == {"studio": ["A2"]}


def test_a_priority_that_is_misspelt_is_refused():
    """
    With the path at which it stands.
    """
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIG | {"priority": {"tag": ["vip"]}})

    assert [fault.path for fault in caught.value.faults] == ["$.priority.tag"]
