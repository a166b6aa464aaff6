"""Every fault has its tests, or the area that it belongs to has."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    path = Path(__file__).parents[2] / "docs" / "_faults.py"
    spec = importlib.util.spec_from_file_location("docs_faults", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_row_is_shown_by_a_test_or_is_of_another_area(faults: ModuleType) -> None:
    """
    One to forty, each once in words; none is both here and elsewhere.
    """
    assert list(faults.ROWS) == list(range(1, 41))
    marked = {each.row for each in faults.shown()}
    assert marked | faults.ELSEWHERE.keys() == faults.ROWS.keys()
    assert marked & faults.ELSEWHERE.keys() == set()


def test_a_mark_names_a_row_and_invariants_that_there_are(faults: ModuleType) -> None:
    """
    And every invariant is held by some test of transports, but the one of the lifecycle.
    """
    for each in faults.shown():
        assert each.row in faults.ROWS, each.test
        assert each.invariants, each.test
        assert set(each.invariants) <= faults.INVARIANTS.keys(), each.test
        assert each.sentence, each.test
    held = {name for each in faults.shown() for name in each.invariants}
    assert faults.INVARIANTS.keys() - held == {"I5"}


def test_what_is_shown_elsewhere_is_there(faults: ModuleType) -> None:
    """
    By tests of these names, and for a reason that is said.
    """
    named = [name for _, tests in faults.ELSEWHERE.values() for name in tests]
    assert all(reason for reason, _ in faults.ELSEWHERE.values())
    assert len(named) >= len(faults.ELSEWHERE)
    assert set(named) <= faults.names()


def test_marks_are_what_the_collected_tests_carry(faults: ModuleType, request: pytest.FixtureRequest) -> None:
    """
    What is read from the text of this folder's tests is what pytest sees.
    """
    root = Path(__file__).parents[1]
    collected = {
        (Path(item.path).relative_to(root).as_posix() + f"::{item.originalname}", mark.kwargs["row"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and root in Path(item.path).parents
        for mark in item.iter_markers("fault")
    }
    assert collected <= {(each.test, each.row) for each in faults.shown()}
