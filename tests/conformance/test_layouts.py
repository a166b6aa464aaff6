"""The vectors of layouts, built-in ones and others: payloads as partners write them, and what they mean."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from fcflow.documents import to_document
from fcflow.errors import FormatError
from fcflow.formats import builtin_layouts, load_layout

VECTORS = [
    pytest.param(vector, id=f"{path.name.removesuffix('.json')}: {vector['description']}")
    for path in files("fcflow.testing").joinpath("vectors/layouts").iterdir()
    for vector in json.loads(path.read_text(encoding="utf-8"))
]


def plain(document: Any) -> Any:
    """A document with the codes of enumerations as texts, as JSON has them."""
    return json.loads(json.dumps(document))


@pytest.mark.parametrize("vector", VECTORS)
def test_a_payload_means_what_its_vector_says(vector):
    """
    Reading a payload gives exactly the records and problems of its vector, or the error.
    """
    payload = vector["payload"].encode(vector.get("encoding", "utf-8"))
    layout = load_layout(vector["layout"])

    if "error" in vector:
        with pytest.raises(FormatError) as caught:
            layout.read(payload, name=vector.get("name"))
        assert vector["error"] in str(caught.value)
        return

    records, problems = layout.read(payload, name=vector.get("name"))

    assert [plain(to_document(record.value)) for record in records] == vector["records"]
    assert [str(problem) for problem in problems] == vector["problems"]


def test_every_built_in_layout_has_a_vector():
    """
    No built-in layout goes without an example; the canonical ones are documents of the model, tested with it.
    """
    told = {str(vector.values[0]["layout"]) for vector in VECTORS}

    assert set(builtin_layouts()) - told <= {
        "canonical-orders",
        "canonical-status",
        "canonical-stock",
        "linnworks-orders",
    }
