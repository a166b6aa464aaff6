"""HTTP through nginx, a real server: what it adds to a partner's service, and takes away."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fcflow.errors import (
    TransportError,
    TransportRefusedError,
    TransportUnavailableError,
    TransportUnclearError,
    TransportUntrustedError,
)
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing import servers
from fcflow.testing.servers import RunningServer
from fcflow.testing.web import Asked, Said, WebService, web_service
from fcflow.transports import http
from fcflow.transports.base import Delivery, Endpoint, Query, Transport

pytestmark = [pytest.mark.real_server, pytest.mark.usefixtures("nginx_program")]


@contextmanager
def opened(server: RunningServer, **options: Any) -> Iterator[Transport]:
    if server.certificate is not None:
        options.setdefault("ca_file", str(server.certificate.ca))
    transport = http.build(
        Endpoint(
            partner="postal",
            connection=Connection(url=f"{server.scheme}://127.0.0.1:{server.port}/", options=options),
            limits=PartnerLimits(timeout_s=5),
            base=Path("/"),
            resolve=lambda reference: "",
        )
    )
    yield transport
    transport.close()


def feed(kind: str, **changes: Any) -> Feed:
    return Feed(**{"kind": kind, "partner": "postal", "layout": "canonical", "path": kind, **changes})


def delivery(number: int, content: bytes = b"A1;1\r\n", published: list[int] | None = None) -> Delivery:
    told = (lambda: published.append(number)) if published is not None else (lambda: None)
    return Delivery(key=f"k-{number}", feed=feed("orders"), name=f"o-{number}.csv", content=content, publishing=told)


def keys(service: WebService) -> list[str]:
    return [asked.headers["idempotency-key"] for asked in service.asked]


def passing(port: int, *more: str) -> str:
    return " ".join([f"location / {{ proxy_pass http://127.0.0.1:{port};", *more, "}"])


def took(asked: Asked) -> Said:
    return Said(200, b"OK")


def test_a_connection_that_it_ends_is_replaced_and_nothing_is_posted_twice(tmp_path: Path) -> None:
    """It ends every connection after two requests, and tells nobody beforehand."""
    with (
        web_service(took) as service,
        servers.nginx(tmp_path / "n", passing(service.port), "keepalive_requests 2;") as server,
        opened(server) as transport,
    ):
        for number in range(7):
            transport.send(delivery(number))

    assert keys(service) == [f"k-{number}" for number in range(7)]


def test_too_large_a_post_is_a_refusal_that_says_so(tmp_path: Path) -> None:
    """413 by nginx: the service never saw it, and sending it again is no use."""
    with (
        web_service(took) as service,
        servers.nginx(tmp_path / "n", passing(service.port), "client_max_body_size 1k;") as server,
        opened(server) as transport,
        pytest.raises(TransportRefusedError, match="413"),
    ):
        transport.send(delivery(1, b"x" * 5000))

    assert service.asked == []


@pytest.mark.parametrize("gone", ["away", "silent"])
def test_a_service_that_is_gone_behind_it_is_no_success(tmp_path: Path, gone: str) -> None:
    """502 and 504: whether the service had the post by then, nobody can know."""
    with web_service(took) as service:
        more = () if gone == "away" else ("proxy_read_timeout 1s;",)
        port = servers.free_port() if gone == "away" else _silent(tmp_path)
        with servers.nginx(tmp_path / "n", passing(port, *more)) as server, opened(server) as transport:
            published: list[int] = []
            with pytest.raises(TransportError) as caught:
                transport.send(delivery(1, published=published))

    assert published == [1]
    assert isinstance(caught.value, TransportUnclearError), caught.value
    assert service.asked == []


def _silent(tmp_path: Path) -> int:
    """A port where connections are taken and nothing is said, until the test ends."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0), backlog=8)
    _KEPT.append(listener)
    return int(listener.getsockname()[1])


_KEPT: list[Any] = []


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    while _KEPT:
        _KEPT.pop().close()


def test_too_many_posts_are_put_off_and_each_arrives_once(tmp_path: Path) -> None:
    """429 by nginx's own limit of rates: certainly not taken, so it may be sent again."""
    zone = "limit_req_zone $binary_remote_addr zone=slow:1m rate=5r/s;"
    limit = "limit_req zone=slow; limit_req_status 429;"
    with (
        web_service(took) as service,
        servers.nginx(tmp_path / "n", passing(service.port, limit), outside=(zone,)) as server,
        opened(server) as transport,
    ):
        transport.send(delivery(1))
        with pytest.raises(TransportUnavailableError):
            transport.send(delivery(2))
        for _ in range(100):
            time.sleep(0.05)
            with suppress(TransportUnavailableError):
                transport.send(delivery(2))
                break

    assert keys(service) == ["k-1", "k-2"]


def fetched(transport: Transport, of: Feed) -> list[bytes]:
    found = []
    for offer in transport.list(of, Query()):
        sink = io.BytesIO()
        transport.fetch(offer, sink)
        found.append(sink.getvalue())
    return found


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_it_serves_is_fetched_whole_by_tls(
    tmp_path: Path, identity: servers.Certificate, compressed: bool
) -> None:
    """In clear on its disk or compressed on the way: the same bytes."""
    content = b"sku;quantity\r\n" + b"".join(b"SKU-%d;%d\r\n" % (n, n % 9) for n in range(5000))
    lines = ("gzip on;", "gzip_types *;", "gzip_min_length 1;") if compressed else ()
    with servers.nginx(tmp_path / "n", *lines, identity=identity) as server:
        (server.root / "stock").write_bytes(content)
        with opened(server) as transport:
            assert fetched(transport, feed("stock")) == [content]
        with opened(server, ca_file=None) as transport, pytest.raises(TransportUntrustedError):
            fetched(transport, feed("stock"))


def test_what_did_not_change_is_not_sent_again(tmp_path: Path) -> None:
    """Its own ETag: asked with the one of before, it answers 304 and nothing is there to take."""
    from attrs import evolve

    with servers.nginx(tmp_path / "n") as server, opened(server) as transport:
        (server.root / "stock").write_bytes(b"sku;quantity\r\nMUG;1\r\n")
        [offer] = transport.list(feed("stock"), Query())
        first = transport.fetch(offer, io.BytesIO())
        assert first.etag is not None

        again = transport.fetch(evolve(offer, unless=first.etag), io.BytesIO())

        assert again.size == 0
        (server.root / "stock").write_bytes(b"sku;quantity\r\nMUG;22\r\n")
        assert transport.fetch(evolve(offer, unless=first.etag), io.BytesIO()).size > first.size
