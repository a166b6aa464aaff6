"""The JSON Schema of rule sets is one that an editor can complete from."""

import json
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

from fcflow.allocation import STRATEGIES
from fcflow.rules.fields import FIELDS, FieldType
from fcflow.rules.operators import OPERATORS
from fcflow.rules.shape import schema

SCHEMA = schema()
CONDITION = SCHEMA["$defs"]["condition"]["then"]["properties"]


def resolved(node):
    """A schema with what it refers to."""
    return {**SCHEMA["$defs"][node["$ref"].rsplit("/", 1)[1]], **node} if "$ref" in node else node


def properties(node, path=()):
    """Every property anywhere in the schema, with its path."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from properties(item, (*path, number))
    elif isinstance(node, dict):
        for name, sub in node.get("properties", {}).items():
            if isinstance(sub, dict):
                yield (*path, name), resolved(sub)
        for key, item in node.items():
            yield from properties(item, (*path, key))


ALL = dict(properties(SCHEMA))


@pytest.mark.parametrize("path", ALL, ids=lambda path: "/".join(map(str, path)))
def test_every_property_says_what_it_is(path):
    """
    Whatever an editor proposes comes with a sentence.
    """
    assert ALL[path].get("description", "")[-1:] == "."


def completions(*steps):
    """What an editor proposes after these keys and positions: keys of an object, or words of a value."""
    node = SCHEMA
    for step in steps:
        node = resolved(node)
        known = {**node.get("properties", {}), **node.get("then", {}).get("properties", {})}
        node = node["items"] if isinstance(step, int) else known[step]
    node = resolved(node)
    words = [*node.get("enum", ()), *node.get("examples", ())]
    return words or [*node.get("properties", {}), *node.get("then", {}).get("properties", {})]


def test_an_editor_finds_its_way_from_the_first_key_to_a_value():
    """
    From the empty document on, each step proposes what can stand there: keys, conditions, fields, operators, words.
    """
    assert {"rules", "otherwise", "lists"} <= set(completions())
    assert {"id", "when", "then", "examples"} <= set(completions("rules", 0))
    assert {"all", "field", "any_line", "stock"} <= set(completions("rules", 0, "when"))
    assert "ship_to.country" in completions("rules", 0, "when", "all", 0, "field")
    assert "starts_with" in completions("rules", 0, "when", "any_line", "op")
    assert {"allocate", "hold", "keep", "tag"} <= set(completions("rules", 0, "then", 0))
    assert completions("rules", 0, "then", 0, "allocate", "split") == ["never", "by_line", "by_unit"]


def test_what_is_proposed_is_the_catalogue():
    """
    Fields, operators and strategies in the schema are those of the code.
    """
    numbers = [
        field.name
        for field in FIELDS.values()
        if field.scope == "line" and field.type in (FieldType.INTEGER, FieldType.MONEY)
    ]

    assert CONDITION["field"]["examples"] == [*FIELDS]
    assert CONDITION["op"]["examples"] == [*OPERATORS]
    assert all(name in CONDITION["op"]["description"] for name in OPERATORS)
    assert CONDITION["sum_lines"]["properties"]["field"]["examples"] == numbers
    strategy = SCHEMA["$defs"]["action"]["properties"]["allocate"]["properties"]["strategy"]
    assert set(strategy["examples"]) == set(STRATEGIES)


@pytest.mark.parametrize("path", ["cli/starter_files/rules.json", "demo/data/rules.json"])
def test_shipped_rule_sets_are_valid(path):
    """
    The rule sets that come with the package fulfil the schema as any validator reads it.
    """
    document = json.loads(files("fcflow").joinpath(path).read_text(encoding="utf-8"))

    Draft202012Validator.check_schema(SCHEMA)
    assert not list(Draft202012Validator(SCHEMA).iter_errors(document))
