"""A batch allocated as a whole: what it gains over serving one order after the other."""

import sys
from datetime import UTC, datetime

import pytest

from fcflow.allocation import STRATEGIES, StrategyType
from fcflow.errors import AllocationError, MissingExtraError
from fcflow.model import Location, Order, OrderLine
from fcflow.optimise import Weights, optimise
from fcflow.rules import load_rules
from fcflow.stock import Picture, StockView

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CODES = ("leeds", "corby", "york")
LONDON = {"latitude": "51.5", "longitude": "-0.1"}


def world(*levels, **places):
    """A view of (location, SKU, units); *places* change a location."""
    locations = {code: Location(code=code, **places.get(code, {})) for code in CODES}
    pictures = [
        Picture(location=code, sku=sku, on_hand=units, as_of=NOON, received_at=NOON) for code, sku, units in levels
    ]
    return StockView(locations, pictures, now=NOON)


def bought(order_id, properties=None, **skus):
    lines = [OrderLine(line_id=sku, sku=sku, quantity=units) for sku, units in skus.items()]
    return Order(order_id=order_id, lines=lines, properties=properties or {})


def rules(*targets, **more):
    """One rule a target list, in order; all match."""
    made = [
        {"id": f"r{n}", "when": True, "then": [{"allocate": {"to": list(to), **more}}]}
        for n, to in enumerate(targets, 1)
    ]
    return load_rules({"fcflow": "ruleset/1", "rules": made})


def went(result):
    return {each.order_id: [placement.location for placement in each.placements] for each in result.routings}


def test_the_last_unit_goes_to_who_can_get_it_nowhere_else():
    """
    In turn, A1 takes the mug that A2 needs; as a whole, A1 is served from elsewhere, and both are.
    """
    view = world(("leeds", "MUG", 1), ("corby", "MUG", 1), ("leeds", "CUP", 1))
    orders = [bought("A1", MUG=1), bought("A2", MUG=1, CUP=1)]

    found = optimise(orders, rules(CODES), view, NOON)

    assert went(found) == {"A1": ["corby"], "A2": ["leeds"]}
    assert (found.greedy.orders, found.score.orders, found.proven) == (1, 2, True)
    assert found.saved == "2 more units placed, 1 parcels more, cost 1.00 -> 2.00"
    assert found.routings[0].explanation == ("rule r1: corby (optimised with the batch; served in turn: leeds)",)
    assert found.routings[0].locations["leeds"] == "beaten by corby (optimised)"


def test_a_split_is_saved_where_another_order_can_give_way():
    """
    One parcel fewer, nobody worse off.
    """
    view = world(("leeds", "MUG", 1), ("corby", "MUG", 1), ("leeds", "CUP", 1))
    orders = [bought("A1", MUG=1), bought("A2", MUG=1, CUP=1)]

    found = optimise(orders, rules(CODES, split="by_line"), view, NOON)

    assert (found.greedy.parcels, found.score.parcels) == (3, 2)
    assert found.saved == "1 parcels fewer, cost 3.00 -> 2.00"


def test_distance_and_cost_count_by_their_weights():
    """
    Nothing but the parcels counts by itself; then the nearer, then the cheaper location wins.
    """
    near, far = {"latitude": 51.4, "longitude": -0.1}, {"latitude": 55.9, "longitude": -3.2}
    view = world(("leeds", "MUG", 1), ("corby", "MUG", 1), leeds=far, corby=near)
    orders = [bought("A1", LONDON, MUG=1)]

    plain = optimise(orders, rules(CODES), view, NOON)
    short = optimise(orders, rules(CODES), view, NOON, weights=Weights(km=0.1))
    cheap = optimise(
        orders, rules(CODES), view, NOON, weights=Weights(km=0.1, cost=lambda o, p: 99.0 * (p.code == "corby"))
    )

    assert [went(each)["A1"] for each in (plain, short, cheap)] == [["leeds"], ["corby"], ["leeds"]]
    assert short.greedy.km - short.score.km > 500


def test_an_order_moves_to_an_earlier_rule_never_to_a_later_one():
    """
    A later rule would be cheaper, but the rules said otherwise.
    """
    view = world(("leeds", "MUG", 1), ("corby", "MUG", 1))
    dear = Weights(cost=lambda order, location: 9.0 * (location.code == "leeds"))

    found = optimise([bought("A1", MUG=1)], rules(["leeds"], ["corby"]), view, NOON, weights=dear)

    assert went(found) == {"A1": ["leeds"]}


def test_what_a_rule_bars_stays_barred():
    """
    ``max_km`` and ``max_locations`` hold for the batch as well.
    """
    far = {"latitude": 55.9, "longitude": -3.2}
    view = world(("leeds", "MUG", 1), ("corby", "MUG", 1), leeds=far)
    near = rules(CODES, strategy="nearest", options={"max_km": 100})
    one = rules(CODES, strategy="fewest_splits", split="by_unit", options={"max_locations": 1})

    assert went(optimise([bought("A1", LONDON, MUG=1)], near, view, NOON)) == {"A1": []}
    assert went(optimise([bought("A1", MUG=2)], one, view, NOON)) == {"A1": []}


def test_the_choice_of_a_plugins_strategy_stays():
    """
    Nobody knows what it is after; what it took is not there for the others.
    """
    last = StrategyType(name="acme:last", propose=lambda job: [{job.candidates[-1].code: dict(job.units)}])
    view = world(("leeds", "MUG", 1), ("york", "MUG", 1))
    dear = Weights(cost=lambda order, location: 9.0 * (location.code == "york"))

    found = optimise(
        [bought("A1", MUG=1), bought("A2", MUG=1)],
        rules(CODES, strategy="acme:last"),
        view,
        NOON,
        weights=dear,
        strategies={**STRATEGIES, "acme:last": last},
    )

    assert went(found) == {"A1": ["york"], "A2": []}


def test_where_time_is_up_the_greedy_result_is_the_answer():
    """
    With no time at all nothing is lost and nothing is claimed.
    """
    orders = [bought(f"A{number}", MUG=1 + number % 3, CUP=1) for number in range(40)]
    view = world(*((code, sku, 19) for code in CODES for sku in ("MUG", "CUP")))

    found = optimise(orders, rules(CODES, split="by_unit"), view, NOON, timeout_s=0.0)

    assert found.score == found.greedy or found.score.beats(found.greedy)
    assert found.proven or found.note


def test_an_empty_batch_is_optimal():
    """
    Nothing to place is nothing to search.
    """
    found = optimise([], rules(CODES), world(), NOON)

    assert (found.routings, found.proven, found.saved) == ((), True, "nothing: the greedy result is as good")


def test_nothing_is_printed(capfd):
    """
    The solver's banner stays out of the host's output.
    """
    optimise([bought("A1", MUG=1)], rules(CODES), world(("leeds", "MUG", 1)), NOON)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("wrong", [{"parcel": -1.0}, {"km": float("nan")}, {"km": float("inf")}])
def test_a_weight_is_a_number_of_at_least_nothing(wrong):
    """
    A negative price would make parcels out of nothing.
    """
    with pytest.raises(ValueError, match="expected a number of at least 0"):
        Weights(**wrong)


def test_a_cost_that_is_no_cost_is_refused():
    """
    The message names the order and the location.
    """
    wrong = Weights(cost=lambda order, location: -1.0)

    with pytest.raises(ValueError, match="cost of A1 at leeds: expected at least 0"):
        optimise([bought("A1", MUG=1)], rules(CODES), world(("leeds", "MUG", 1)), NOON, weights=wrong)


def test_twins_are_refused_here_too():
    """
    As in `allocate_many`.
    """
    with pytest.raises(AllocationError, match="expected each id once"):
        optimise([bought("A1", MUG=1)] * 2, rules(CODES), world(), NOON)


def test_a_missing_extra_says_what_to_install(monkeypatch):
    """
    Before anything is computed.
    """
    monkeypatch.setitem(sys.modules, "highspy", None)

    with pytest.raises(MissingExtraError, match="optimise"):
        optimise([], rules(CODES), world(), NOON)
