"""
Whatever stands in an order or a feed, a request stays where the configuration sent it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcflow.errors import TransportError, TransportUnsupportedError
from fcflow.model import Connection, Feed
from fcflow.transports import Endpoint, OpenFulfilment, Query
from fcflow.transports.http import HttpTransport, build

_TEXT = st.text(min_size=1, max_size=40)
_AWKWARD = st.sampled_from(["a/../../b", "..", ".", "a\r\nX: y", "?x", "#x", "%2e%2e", "%00", "é", "a" * 300, "{now}"])


@pytest.fixture(scope="module")
def transport() -> Any:
    connection = Connection(url="https://shop@postal.example:8443/api/v1")
    opened = build(Endpoint(partner="postal", connection=connection, resolve=lambda reference: ""))
    yield opened
    opened.close()


def _asked(transport: HttpTransport, path: str, query: dict[str, str], name: str) -> str:
    """The target of the only question of a status feed."""
    options = {"per": "order", "query": query}
    feed = Feed(kind="status", partner="postal", layout="canonical", path=path, options=options)
    opened = [OpenFulfilment(fulfilment_id=name, order_id=name)]
    [offer] = transport.list(feed, Query(open=opened))
    return str(json.loads(offer.token)["target"])


@settings(max_examples=200)
@given(name=_TEXT | _AWKWARD)
@pytest.mark.fault(row=25, invariants="I8")
def test_an_id_in_a_query_stays_one_value(transport: HttpTransport, name: str) -> None:
    """
    It comes out at the other end as it went in, and adds no parameter.
    """
    target = _asked(transport, "status", {"order": "{fulfilment_id}", "x": "1"}, name)

    assert target.isprintable()
    assert parse_qsl(urlsplit(target).query, keep_blank_values=True) == [("order", name), ("x", "1")]


@settings(max_examples=200)
@given(name=_TEXT | _AWKWARD)
@pytest.mark.fault(row=25, invariants="I8")
def test_an_id_in_a_path_stays_one_segment(transport: HttpTransport, name: str) -> None:
    """
    Or it is refused, where no server would read it as one.
    """
    with suppress(TransportUnsupportedError):
        target = _asked(transport, "orders/{fulfilment_id}/status", {}, name)
        parts = urlsplit(target).path.split("/")

        assert [*parts[:4], parts[5]] == ["", "api", "v1", "orders", "status"]
        assert unquote(parts[4]) == name
        assert target.isprintable()


@settings(max_examples=200)
@given(path=_TEXT | _AWKWARD | st.sampled_from(["//other.example", "http://other.example", "@other.example", "\\\\x"]))
def test_a_feeds_path_stays_below_the_connection(transport: HttpTransport, path: str) -> None:
    """
    No path reaches another host or climbs out of the connection's own.
    """
    with suppress(TransportError):
        whole = "https://postal.example:8443" + _asked(transport, path.replace("{", "("), {}, "A1")
        parts = urlsplit(whole)

        assert parts.netloc == "postal.example:8443"
        assert parts.path.startswith("/api/v1")
        assert ".." not in unquote(parts.path).replace("\\", "/").split("/")
        assert parts.fragment == ""
        assert whole.isprintable()
