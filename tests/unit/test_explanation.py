"""Why a location does not ship an order: what the explanation says of it."""

import json
from datetime import UTC, datetime

import pytest
from attrs import evolve

from fcflow.errors import AllocationError
from fcflow.model import Address
from fcflow.rules import load_rules
from fcflow.testing.partners import World, order


def rule(name, when, *then):
    return {"id": name, "when": when, "then": list(then)}


def to(*codes, **more):
    return {"allocate": {"to": list(codes), **more}}


FRANCE = {"field": "ship_to.country", "op": "eq", "value": "FR"}
RULES = load_rules(
    {
        "fcflow": "ruleset/1",
        "name": "three places",
        "rules": [
            rule("review", {"field": "tags", "op": "contains", "value": "review"}, {"hold": {"reason": "look at it"}}),
            rule("fr", FRANCE, to("york")),
            rule("uk", True, to("leeds", "corby")),
            rule("last", True, to("york", "corby")),
        ],
    }
)
BRITISH = evolve(order("A1", MUG=3), ship_to=Address(country="GB"))


@pytest.fixture
def world():
    with World("leeds", "corby", "york", rules=RULES, tracked=True) as made:
        for code, units in {"leeds": 1, "corby": 5, "york": 9}.items():
            made.partners[code].stock({"MUG": units})
        made.run()
        yield made


def explained(world, bought=BRITISH):
    world.sync.add_orders([bought])
    return world.sync.explain(bought.order_id)


def test_a_location_that_is_short_says_by_how_many(world):
    """
    The rule that decided offers it; allocation says what it lacks.
    """
    assert explained(world).why_not("leeds").splitlines() == [
        "leeds: short of MUG by 2",
        "  rule uk decides, and offers it",
    ]


def test_a_location_that_no_deciding_rule_offers_says_which_rules_would_have(world):
    """
    With the leaf that failed, and the rule that stands before.
    """
    assert explained(world).why_not("york").splitlines() == [
        "york: not named by rule uk",
        "  rule fr offers it, but is false: ship_to.country eq 'FR': got 'GB'",
        "  rule uk decides, and does not offer it",
        "  rule last offers it, but rule uk stands before it",
    ]


def test_a_location_that_wins_says_what_it_takes(world):
    """
    Nobody who asks about the winner is told a reason against it.
    """
    assert explained(world).why_not("corby").splitlines()[0] == "corby: takes 3 of MUG"


def test_a_held_order_says_so_of_every_location(world):
    """
    Where no location was asked, the hold is the reason, for each of them.
    """
    said = explained(world, evolve(BRITISH, tags={"review"}))

    assert dict(said.locations) == dict.fromkeys(("leeds", "corby", "york"), "not asked: rule review: hold")
    assert "  rule review decides: hold" in said.why_not("leeds").splitlines()


def test_an_allocated_order_is_explained_as_it_was_allocated(world):
    """
    Stock that came later does not change why it went where it went.
    """
    world.sync.add_orders([BRITISH])
    world.run()
    allocated = world.clock.now
    world.partners["leeds"].stock({"MUG": 99})
    world.run(hours=1)

    said = world.sync.explain("A1")

    assert said.locations["leeds"] == f"short of MUG by 2 (on {allocated:%Y-%m-%d %H:%M} UTC)"
    assert said.locations["corby"].startswith("takes 3 of MUG (on ")
    assert set(said.locations) == {"leeds", "corby", "york"}


def test_an_order_that_was_moved_by_hand_says_so(world):
    """
    No rule sent it there.
    """
    world.sync.add_orders([BRITISH])
    world.sync.move(["A1"], to="york")

    assert "by hand" in world.sync.explain("A1").why_not("york").splitlines()[0]


def test_rules_alone_explain_a_location_too():
    """
    Without stock and allocation, the rules' verdicts are the whole reason.
    """
    said = RULES.explain(BRITISH, now=datetime(2026, 3, 2, tzinfo=UTC))

    assert said.why_not("leeds").splitlines() == ["leeds", "  rule uk decides, and offers it"]


def test_a_location_that_nobody_knows_is_refused(world):
    """
    A misspelt code never reads as a reason.
    """
    with pytest.raises(AllocationError, match="expected a location among corby, leeds, york, got 'leads'"):
        explained(world).why_not("leads")


def test_an_explanation_is_json(world):
    """
    What it says as text is there as values too.
    """
    said = explained(world)

    assert json.loads(said.to_json()) == said.as_dict()
    assert said.as_dict()["locations"] == dict(said.locations)
    assert said.as_dict()["rules"][1] == {
        "rule_id": "fr",
        "verdict": "false",
        "decided": False,
        "because": ["ship_to.country eq 'FR': got 'GB'"],
        "action": "allocate",
        "locations": ["york"],
    }
