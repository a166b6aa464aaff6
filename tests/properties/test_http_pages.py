"""
Laws of answers in pages, and of places in answers: whatever a server says, what comes out is what went in, or an error.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fcflow.errors import TransportError
from fcflow.transports._http_pages import Pages
from fcflow.transports._http_urls import taken_apart
from fcflow.transports._jsonpath import holds, select

_BASE = taken_apart("https://postal.example/")
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_JSON = st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(pages=st.lists(st.lists(_JSON, min_size=1), max_size=6))
def test_entries_come_out_as_they_went_in(pages: list[list[Any]]) -> None:
    """
    All of them, in order, every number and every text as it was.
    """
    made = Pages({"by": "cursor", "items": "$.all", "next": "$.next", "parameter": "c"}, _BASE, "/orders")
    target: str | None = made.first
    for number, entries in enumerate(pages):
        assert target is not None
        following = None if number == len(pages) - 1 else f"c{number}"
        target = made.took(json.dumps({"all": entries, "next": following}).encode(), {})
    whole = made.whole()

    assert (json.loads(whole)["all"] if whole else []) == [each for entries in pages for each in entries]
    assert target is None or not pages


@given(
    rows=st.lists(st.text(st.characters(codec="ascii", exclude_characters="\r\n"), min_size=1)), size=st.integers(1, 4)
)
def test_lines_come_out_as_they_went_in(rows: list[str], size: int) -> None:
    """
    Below one header, however many stand on a page; blank ones at the end of a page may be the end.
    """
    rows = [f"r{row}" for row in rows]
    made = Pages({"by": "number", "parameter": "p", "header_lines": 1}, _BASE, "/stock")
    target: str | None = made.first
    for start in range(0, len(rows) + size, size):
        if target is None:
            break
        page = [f"head {start}", *rows[start : start + size]]
        target = made.took("\n".join(page).encode(), {})

    assert made.whole().decode().rstrip("\n").split("\n") == ["head 0", *rows]


@given(content=st.binary(max_size=60) | _JSON.map(lambda each: json.dumps(each).encode()), link=st.text(max_size=40))
def test_any_page_is_a_page_or_an_error_of_ours(content: bytes, link: str) -> None:
    """
    And what is asked for next is on the same server.
    """
    for options in ({"by": "link"}, {"by": "body", "items": "$.x", "next": "$.y"}, {"by": "link", "items": "$"}):
        made = Pages(options, _BASE, "/orders")
        try:
            following = made.took(content, {"Link": f'<{link}>; rel="next"'})
        except TransportError:
            continue
        assert following is None or following.startswith("/")
        assert following is None or following.isprintable()


@given(document=_JSON, path=st.lists(st.sampled_from([".a", "[0]", "[*]", "['b c']"]), max_size=4))
def test_any_document_has_something_or_nothing_at_a_place(document: Any, path: list[str]) -> None:
    """
    And a test of it always has an answer.
    """
    at = "$" + "".join(path)
    assert isinstance(select(document, at), list)
    assert holds(document, {"at": at, "equals": 1})
    assert len(holds(document, {"at": at, "exists": True})) == 1
