"""
The meaning of the rule language: every vector holds for the compiled engine, and for the naive oracle.
"""

import json
from importlib.resources import files

import pytest

from fcflow.errors import RuleError
from fcflow.rules import load_rules
from fcflow.rules.examples import example_now, example_order, example_view
from fcflow.rules.faults import Faults
from fcflow.testing.oracle import Oracle

PARTS = ("currency", "zone", "lists", "conditions", "otherwise")


def _vectors():
    folder = files("fcflow.testing") / "vectors" / "rules"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        for number, vector in enumerate(json.loads(file.read_text(encoding="utf-8"))):
            yield pytest.param(vector, id=f"{file.name}[{number}] {vector['description']}")


def _document(vector):
    """The whole rule set of a vector, which may write a single condition or rule only."""
    rule = {"id": "vector", "when": vector.get("condition"), "then": [{"keep": {}}], **vector.get("rule", {})}
    document = {part: vector[part] for part in PARTS if part in vector}
    return {"fcflow": "ruleset/1", **document, "rules": vector.get("rules", [rule])}


def _world(vector):
    faults = Faults()
    now = example_now(vector.get("now"), faults, ())
    order = example_order(vector["order"], faults, ())
    view = example_view(vector, now, faults, ())
    assert not faults.sorted(None)
    return order, view, now


def _plain(decision):
    effects = [[effect.rule_id, effect.kind, effect.name, effect.value] for effect in decision.effects]
    return {
        "rule": decision.rule_id,
        "action": decision.action,
        "locations": list(decision.locations),
        "effects": effects,
    }


VECTORS = list(_vectors())


def test_there_are_vectors():
    """
    The package ships its vectors.
    """
    assert len(VECTORS) >= 150


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "matches" in vector.values[0]])
def test_engine_and_oracle_give_the_verdict(vector):
    """
    A condition is true, false or unknown of an order, as the vector says.
    """
    document = _document(vector)
    order, view, now = _world(vector)
    explanation = load_rules(document).explain(order, view=view, now=now)
    wanted = {True: "true", False: "false", "unknown": "unknown"}[vector["matches"]]

    assert explanation.rules[0].verdict == wanted
    assert (explanation.decision.rule_id == "vector") is (vector["matches"] is True)
    verdict = Oracle(document).verdict(document["rules"][0]["when"], order, view=view, now=now)
    assert verdict == vector["matches"]


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "decisions" in vector.values[0]])
def test_engine_and_oracle_decide(vector):
    """
    A rule set decides an order as the vector says, decision after decision.
    """
    document = _document(vector)
    order, view, now = _world(vector)
    decided = [_plain(decision) for decision in load_rules(document).decisions(order, view, now)]
    foretold = [
        {**each, "effects": [list(effect) for effect in each["effects"]]}
        for each in Oracle(document).decisions(order, view, now)
    ]

    assert len(decided) == len(vector["decisions"]) == len(foretold)
    for wanted, *found in zip(vector["decisions"], decided, foretold, strict=True):
        assert [{key: each[key] for key in wanted} for each in found] == [wanted, wanted]


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "error" in vector.values[0]])
def test_a_fault_is_found_where_it_stands(vector):
    """
    A rule set that is not valid is refused, with the place and what was expected.
    """
    with pytest.raises(RuleError) as refusal:
        load_rules(_document(vector))

    assert [fault.path for fault in refusal.value.faults if vector["error"] in str(fault)] == [vector["path"]]
