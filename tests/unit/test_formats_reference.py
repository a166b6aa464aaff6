"""The reference page of layouts says what the schema and the code say."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcflow.formats.reference import tables

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "layouts.md"


@pytest.mark.parametrize("mark", sorted(tables()))
def test_the_page_holds_every_table(mark):
    """
    Each generated table stands behind its mark, letter for letter.
    """
    assert f"<!-- table: {mark} -->\n\n{tables()[mark]}\n\n<!-- end -->" in PAGE.read_text(encoding="utf-8")
