"""The quick yes of a rule document accepts nothing that its schema refuses, and all that is well-formed."""

import copy
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import fcflow.testing
from fcflow.rules.accept import acceptor
from fcflow.rules.faults import Faults
from fcflow.rules.shape import schema
from fcflow.rules.source import exact

SCHEMA = schema()
VALIDATOR = Draft202012Validator(SCHEMA)
ACCEPTS = acceptor(SCHEMA)

TEST = {"field": "ship_to.country", "op": "in", "value": ["GB", "FR"], "ignore_case": True}
WHOLE: dict[str, Any] = {
    "fcflow": "ruleset/1",
    "$schema": "urn:fcflow:ruleset:1",
    "name": "whole",
    "about": "every part of the language once",
    "currency": "GBP",
    "zone": "Europe/London",
    "lists": {"islands": ["IV", "HS", 3, Decimal("2.5")]},
    "conditions": {"heavy": {"field": "total_weight_g", "op": "ge", "value": 20000, "about": "two people"}},
    "rules": [
        {
            "id": "a",
            "about": "all kinds",
            "enabled": True,
            "if_unknown": "match",
            "when": {
                "all": [
                    True,
                    TEST,
                    {"any": [{"use": "heavy"}, {"not": {"field": "total", "op": "gt", "value": 5, "currency": "EUR"}}]},
                    {"any_line": {"field": "line.sku", "op": "eq", "value": "MUG"}},
                    {"every_line": True},
                    {"no_line": {"field": "line.title", "op": "exists"}},
                    {"count_lines": {"where": TEST, "op": "between", "value": [1, 2]}},
                    {"sum_lines": {"field": "line.unit_price", "op": "le", "value": 9, "currency": "GBP"}},
                    {"stock": {"at": ["leeds", "york"], "covers": "any"}},
                    {"stock": {"at": "leeds", "covers": "all"}},
                    {"stock_age": {"at": "leeds", "op": "gt", "value": {"hours": 4, "minutes": 30}}},
                    {"behaviour": {"at": "leeds", "measure": "late_rate", "op": "gt", "value": "0.1"}},
                    {"field": "received_at", "op": "weekday_in", "value": ["sat"], "zone": "Europe/Paris"},
                ]
            },
            "then": [
                {"tag": "seen"},
                {"set_property": {"name": "n", "value": ""}},
                {"set_service": "express"},
                {"note": "fragile"},
                {"allocate": {"to": ["leeds"], "strategy": "in_order", "options": {}, "split": "never"}},
            ],
            "examples": [
                {
                    "about": "x",
                    "order": {},
                    "view": {"leeds": {}},
                    "behaviour": {"leeds": {"late_rate": 1}},
                    "now": "2026",
                    "matches": "unknown",
                }
            ],
        },
        {"id": "b", "when": False, "then": [{"hold": {"reason": "why"}}]},
    ],
    "otherwise": [{"keep": {}}],
}
ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, 1_000_001, 2.0, Decimal("1"), Decimal("0.5")]),
    st.sampled_from(["", "x", "GBP", "GBP\n", "match"]),
    st.sampled_from([[], [""], ["a", "a"], [1, True], {}, {"x": 1}, {"all": []}, {"any": [True], "all": [True]}]),
    st.sampled_from([TEST, [TEST], {"keep": {}}, {"tag": "a", "note": "b"}, {"hours": 1}]),
)
KEYS = st.sampled_from(
    ["field", "op", "value", "about", "id", "zone", "all", "use", "x", "when", "where", "hours", "to", "where"]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in *value*."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(below for key, item in items for below in places(item, (*path, key)))]


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """The whole document with one to three parts replaced, dropped, doubled or added."""
    document = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(document)[1:]))
        holder, key = at(document, path[:-1]), path[-1]
        action = draw(st.sampled_from(["replace", "replace", "drop", "add"]))
        if action == "replace":
            holder[key] = copy.deepcopy(draw(ODD))
        elif action == "drop":
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw(KEYS)] = copy.deepcopy(draw(ODD))
        else:
            holder.append(copy.deepcopy(draw(ODD)))
        if not document:
            break
    return document


def test_a_document_with_every_part_is_accepted() -> None:
    """
    No part of the language needs the second look.
    """
    assert VALIDATOR.is_valid(WHOLE)
    assert ACCEPTS(WHOLE)


@settings(max_examples=1500, deadline=None)
@given(document=mutated())
def test_nothing_is_accepted_that_the_schema_refuses(document: Any) -> None:
    """
    Whatever is wrong somewhere, the quick yes is never given where `jsonschema` says no.
    """
    if ACCEPTS(document):
        assert VALIDATOR.is_valid(document)


@settings(max_examples=500, deadline=None)
@given(document=mutated())
def test_what_reaches_the_parser_is_accepted_where_the_schema_accepts(document: Any) -> None:
    """
    Of what a file can hold, nothing well-formed is read twice: both say the same.
    """
    faults = Faults()
    read = exact(document, faults)

    assert ACCEPTS(read) == VALIDATOR.is_valid(read)


def test_the_vectors_are_judged_alike() -> None:
    """
    Each condition of the conformance vectors is accepted exactly where the schema accepts it.
    """
    folder = Path(fcflow.testing.__file__).parent / "vectors" / "rules"
    cases = [case for file in folder.glob("*.json") for case in json.loads(file.read_text("utf-8"))]
    conditions = [exact(case["condition"], Faults()) for case in cases if "condition" in case]
    accepts = acceptor(SCHEMA, "condition")
    validator = Draft202012Validator({"$ref": "#/$defs/condition", "$defs": SCHEMA["$defs"]})

    assert len(conditions) > 300
    assert [accepts(each) for each in conditions] == [validator.is_valid(each) for each in conditions]


@pytest.mark.parametrize(
    "part",
    [
        {"format": "date"},
        {"if": {"type": "string"}, "then": {"minLength": 1}},
        {"if": {"type": "object"}, "else": {"type": "string"}},
        {"oneOf": [{"type": "string"}, {"minLength": 3}]},
        {"properties": {"a": {"not": {}}}},
    ],
)
def test_what_is_not_known_is_an_error_when_it_is_built(part: dict[str, Any]) -> None:
    """
    A keyword that the schema gains one day is noticed here, not passed over.
    """
    with pytest.raises(NotImplementedError, match="has no quick form"):
        acceptor(part)


def test_every_definition_of_the_schema_has_a_quick_form() -> None:
    """
    All of them can be built, those of single conditions too.
    """
    assert all(callable(acceptor(SCHEMA, name)) for name in SCHEMA["$defs"])
