"""Districts are read as carriers mean them, the cheapest location wins, and fcflow finds both."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fcflow.allocation import Routing, route
from fcflow.errors import RuleError
from fcflow.model import Address, Location, Order, OrderLine
from fcflow.plugins import Plugins, collect_plugins, plugin_manager
from fcflow.rules import RuleSet, load_rules
from fcflow.stock import Picture, StockView
from fcflow.testing import EffectContract, FieldContract, OperatorContract

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import fcflow_uk_rules
from fcflow_uk_rules import AREAS, BY_FERRY, NATION

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
RATES = {
    "leeds": {"*": "3.20", "IV": "9.80"},
    "corby": {"*": "2.95", "IV": "11.40"},
    "inverness": {"IV": 2.5},
}


@pytest.fixture
def plugins() -> Plugins:
    """What fcflow collects when the package is installed."""
    manager = plugin_manager([])
    manager.register(fcflow_uk_rules, "uk-rules")
    return collect_plugins(manager)


def order(postcode: str | None, country: str | None = "GB", **units: int) -> Order:
    """An order to this postcode."""
    lines = tuple(OrderLine(line_id=sku, sku=sku, quantity=count) for sku, count in units.items())
    return Order(order_id="A1", ship_to=Address(postcode=postcode, country=country), lines=lines)


def rule_set(plugins: Plugins, zone: list[str], **options: Any) -> RuleSet:
    """Orders into *zone* are held, all others go where it is cheapest."""
    districts = {"field": "ship_to.postcode", "op": "uk:districts", "value": zone}
    cheapest = {"strategy": "uk:cheapest", "options": {"rates": RATES}, "if_short": "hold", **options}
    rules = [
        {"id": "far", "when": districts, "then": [{"hold": {"reason": "by boat"}}]},
        {"id": "rest", "when": True, "then": [{"allocate": cheapest}]},
    ]
    return load_rules({"fcflow": "ruleset/1", "rules": rules}, **plugins.rule_kinds)


def routed(plugins: Plugins, asked: Order, stock: Mapping[str, Mapping[str, int]], **options: Any) -> Routing:
    """Where the order goes, with this stock."""
    places = {code: Location(code=code) for code in RATES}
    pictures = [
        Picture(location=code, sku=sku, on_hand=units, as_of=NOW, received_at=NOW)
        for code, skus in stock.items()
        for sku, units in skus.items()
    ]
    view = StockView(places, pictures, now=NOW)
    rules = rule_set(plugins, ["ZE"], **options)
    return route(asked, rules, view, NOW, strategies=plugins.strategies)


@pytest.mark.parametrize(
    ("postcode", "verdict"),
    [
        ("IV27 4NP", "true"),
        ("iv1 1aa", "true"),
        ("IV1", "true"),
        ("IV28 3AA", "true"),
        ("IV30 1AA", "false"),
        ("IV11AA", "true"),
        ("KW15 1AA", "true"),
        ("KW14 7AA", "false"),
        ("HS9 5XD", "true"),
        ("H1 1AA", "false"),
        ("W1A 1AA", "false"),
        ("10115", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_postcode_lies_in_its_zone(plugins: Plugins, postcode: str | None, verdict: str) -> None:
    """
    Areas, districts and ranges mean what carriers' lists mean; what is no British postcode is unknown.
    """
    rules = rule_set(plugins, ["IV1-28", "KW15", "HS"])

    assert rules.explain(order(postcode)).rules[0].verdict == verdict


@pytest.mark.parametrize("zone", [["IV1-"], ["iv1"], ["1-2"], [], ["IV1 - 28"]])
def test_a_zone_that_cannot_be_read_is_refused(plugins: Plugins, zone: list[str]) -> None:
    """
    A misspelt zone is a fault at load, with its place in the document.
    """
    with pytest.raises(RuleError) as caught:
        rule_set(plugins, zone)

    assert caught.value.faults[0].path.startswith("$.rules[0].when.value")


def test_rules_with_the_operator_can_be_pickled(plugins: Plugins) -> None:
    """
    A rule set goes to another process with its operators.
    """
    rules = pickle.loads(pickle.dumps(rule_set(plugins, ["HS"])))

    assert rules.decide(order("HS9 5XD")).action == "hold"


@pytest.mark.parametrize(
    ("postcode", "stock", "places"),
    [
        ("LS1 4AP", {"leeds": {"MUG": 9}, "corby": {"MUG": 9}}, ["corby"]),
        ("LS1 4AP", {"leeds": {"MUG": 9}, "corby": {"MUG": 1}}, ["leeds"]),
        ("IV27 4NP", {"leeds": {"MUG": 9}, "corby": {"MUG": 9}, "inverness": {"MUG": 2}}, ["inverness"]),
        ("LS1 4AP", {"inverness": {"MUG": 9}}, []),
    ],
)
def test_the_cheapest_location_that_has_it_ships(
    plugins: Plugins, postcode: str, stock: Mapping[str, Mapping[str, int]], places: list[str]
) -> None:
    """
    Of the locations with stock and a rate, the one with the lowest rate to the order's area ships.
    """
    routing = routed(plugins, order(postcode, MUG=2), stock)

    assert [placement.location for placement in routing.placements] == places


def test_two_parcels_only_where_one_cannot_do(plugins: Plugins) -> None:
    """
    Splitting takes as few parcels as it can, then the cheapest, and loses no unit.
    """
    stock = {"leeds": {"MUG": 2, "PEN": 1}, "corby": {"MUG": 2}, "inverness": {"PEN": 1}}

    alone = routed(plugins, order("IV1", MUG=2, PEN=1), stock, split="by_line")
    parted = routed(plugins, order("IV1", MUG=4, PEN=1), stock, split="by_unit")

    assert [placement.location for placement in alone.placements] == ["leeds"]
    assert sum(line.quantity for placement in parted.placements for line in placement.lines) == 5
    assert {placement.location for placement in parted.placements} == {"leeds", "corby"}


def test_what_has_no_rate_is_named(plugins: Plugins) -> None:
    """
    The explanation says which location was left out for want of a rate.
    """
    routing = routed(plugins, order("LS1 4AP", MUG=1), {"leeds": {"MUG": 1}})

    assert "uk:cheapest: inverness has no rate for LS" in " ".join(routing.explanation)


class TestAreas(OperatorContract):
    """Look-up and test of ``uk:areas`` say the same."""

    operator = AREAS
    values = ("EH1 1YZ", "iv27 4np", "LS1", "10115", "GY1 1AA")
    arguments = (["EH"], ["iv", "KW"], ["GY", "LS"])


class TestNation(FieldContract):
    """Every nation, and none for a foreign address."""

    field = NATION
    orders = (order("EH1 1YZ"), order("CF10 1AA"), order("BT1 1AA"), order("LS1"), order("GY1 1AA"), order("10115"))


class TestByFerry(EffectContract):
    """What the effect stands for is what rules may write."""

    effect = BY_FERRY
    options = ({"days": 2}, {"days": 1, "service": "surface"})


def test_field_effect_and_indexed_operator_work_together(plugins: Plugins) -> None:
    """
    An order to the isles is tagged and goes by the service that the effect names; others are left alone.
    """
    isles = {"field": "ship_to.postcode", "op": "uk:areas", "value": ["HS", "ZE"]}
    ferry = {"uk:by_ferry": {"days": 2, "service": "sea"}}
    scots = {"field": "uk:nation", "op": "eq", "value": "scotland"}
    rules = load_rules(
        {
            "fcflow": "ruleset/1",
            "rules": [
                {
                    "id": "isles",
                    "when": {"all": [isles, scots]},
                    "then": [ferry],
                },
                {"id": "rest", "when": True, "then": [{"keep": {}}]},
            ],
        },
        **plugins.rule_kinds,
    )

    shetland, leeds = rules.decide(order("ZE1 0AA")), rules.decide(order("LS1 4AP"))

    assert (shetland.tags, shetland.shipping_service, shetland.properties) == ({"ferry"}, "sea", {"ferry_days": "2"})
    assert leeds.effects == ()
    assert pickle.loads(pickle.dumps(rules)).decide(order("HS9 5XD")).tags == {"ferry"}
