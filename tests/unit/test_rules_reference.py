"""The reference page of the rule language says what the code does."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from fcflow.rules.operators import OPERATORS
from fcflow.rules.reference import field_table, operator_table, truth_table
from fcflow.rules.shape import schema

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "rules.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", [field_table, operator_table, truth_table])
def test_the_tables_are_those_of_the_code(table) -> None:
    """
    A field, an operator or a verdict that changes has to change on the page.
    """
    assert table() in PAGE


def test_every_vector_file_proves_something_on_the_page() -> None:
    """
    The page names every file of vectors, and only files that there are.
    """
    named = set(re.findall(r"\b(\w+\.json)\b", PAGE)) - {"rules.json", "schema.json"}
    folder = files("fcflow.testing") / "vectors" / "rules"

    assert named == {file.name for file in folder.iterdir()}


def test_the_page_names_every_key_of_the_language() -> None:
    """
    Whatever the schema lets stand in a rule set is on the page.
    """
    definitions = schema()["$defs"]
    keys = {
        *schema()["properties"],
        *definitions["rule"]["properties"],
        *definitions["condition"]["then"]["properties"],
        *definitions["action"]["properties"],
        *definitions["action"]["properties"]["allocate"]["properties"],
    } - {"$schema"}

    assert {key for key in keys if key not in PAGE} == set()


def test_the_schema_names_every_operator() -> None:
    """
    An editor offers every operator.
    """
    offered = schema()["$defs"]["condition"]["then"]["properties"]["op"]["description"]

    assert [name for name in OPERATORS if not re.search(rf"\b{name}\b", offered)] == []
