"""The generated reference pages are current, and say something about everything."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from fcflow import errors

DOCS = Path(__file__).parents[2] / "docs"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "_generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "page",
    [
        "reference/configuration.md",
        "reference/command-line.md",
        "reference/hooks.md",
        "reference/errors.md",
        "explanation/faults.md",
    ],
)
def test_the_page_is_current(page: str) -> None:
    """
    What is checked in is what ``python docs/_generate.py --write`` writes.
    """
    assert (DOCS / page).read_text(encoding="utf-8") == generator().pages()[page]


def test_every_error_code_has_advice() -> None:
    """
    No error is raised without a word on what to do, and no word is left over.
    """
    kinds = [getattr(errors, name) for name in errors.__all__]
    codes = {kind.code for kind in kinds if issubclass(kind, errors.FcflowError)}

    assert generator().ADVICE.keys() == codes
