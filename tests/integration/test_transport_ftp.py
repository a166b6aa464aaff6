"""FTP and FTPS: what goes wrong with servers, networks and certificates, and what comes of it."""

from __future__ import annotations

import contextlib
import io
import logging
import ssl
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import attrs
import pytest

from fcflow.errors import (
    ConfigError,
    TransportCorruptError,
    TransportError,
    TransportLoginError,
    TransportNotFoundError,
    TransportRefusedError,
    TransportTimeoutError,
    TransportUnavailableError,
    TransportUnsupportedError,
    TransportUntrustedError,
)
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing import servers
from fcflow.testing.faults import Channel, FaultProxy
from fcflow.testing.servers import Certificate, RunningServer
from fcflow.transports import ftp
from fcflow.transports._tls import tls_context
from fcflow.transports.base import Delivery, Endpoint, Outcome, Presence, Query, Transport

Start = Callable[..., RunningServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts pyftpdlib with switches; ``in`` and ``out`` are there."""
    with contextlib.ExitStack() as stack:

        def started(**switches: Any) -> RunningServer:
            for name in ("in", "out"):
                (tmp_path / name).mkdir()
            return stack.enter_context(servers.pyftpdlib_server(tmp_path, **switches))

        yield started


@contextlib.contextmanager
def opened(
    server: RunningServer, *, at: FaultProxy | None = None, timeout_s: float = 10, password: str = "", **options: Any
) -> Iterator[Transport]:
    host, port = ("127.0.0.1", server.port) if at is None else (at.host, at.port)
    if server.certificate is not None:
        options = {"ca_file": str(server.certificate.ca), **options}
    connection = Connection(
        url=f"{server.scheme}://{server.user}@{host}:{port}/",
        secrets={"password": {"env": "X"}},
        options={name: value for name, value in options.items() if value is not None},
    )
    transport = ftp.build(
        Endpoint(
            partner="leeds",
            connection=connection,
            limits=PartnerLimits(timeout_s=timeout_s),
            base=Path("/"),
            resolve=lambda reference: password or server.password,
        )
    )
    yield transport
    transport.close()


def feed(kind: str = "orders", **changes: Any) -> Feed:
    path = "in" if kind == "orders" else "out"
    return Feed(**{"kind": kind, "partner": "leeds", "layout": "canonical", "path": path, **changes})


def delivery(content: bytes = b"A1;1\r\n", **changes: Any) -> Delivery:
    return Delivery(**{"key": "k-1", "feed": feed(), "name": "orders-1.csv", "content": content, **changes})


def proxied(server: RunningServer) -> AbstractContextManager[FaultProxy]:
    return FaultProxy(("127.0.0.1", server.port), server.passive_ports)


# ---------------------------------------------------------------------- logging in


@pytest.mark.fault(row=31, invariants="I9")
def test_a_wrong_password_is_a_login_error_without_the_password(start: Start, caplog: Any) -> None:
    """Neither its text, nor its causes, nor the local variables of its frames, nor the log show it."""
    caplog.set_level(logging.DEBUG)
    canary = "canary-7f3a"
    with (
        opened(start(replies={"PASS": f"530 {canary} is wrong."}), password=canary) as transport,
        pytest.raises(TransportLoginError, match=r"530 \*\*\* is wrong") as caught,
    ):
        transport.send(delivery())

    assert caught.value.__traceback__ is not None
    below = caught.value.__traceback__.tb_next  # this frame knows the canary
    shown = traceback.TracebackException(type(caught.value), caught.value, below, capture_locals=True)
    assert canary not in "".join(shown.format()) + caplog.text + repr(transport)


def test_a_password_in_the_url_is_a_fault() -> None:
    """It belongs to the secrets; the fault does not show it."""
    connection = Connection(url="ftp://leeds:canary-7f3a@127.0.0.1/")
    with pytest.raises(ConfigError) as caught:
        ftp.build(Endpoint(partner="leeds", connection=connection, resolve=str))
    assert "canary" not in str(caught.value)


def test_nobody_there_is_unavailable() -> None:
    """A refused connection may go away by itself."""
    nobody = RunningServer(scheme="ftp", port=servers.free_port(), user="x", password="y", root=Path("/"))
    with opened(nobody) as transport, pytest.raises(TransportUnavailableError):
        transport.send(delivery())


# ---------------------------------------------------------------------- cut uploads and downloads


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("cut_at", [0, 1, 30_000, 99_999])
@pytest.mark.fault(row=5, invariants="I2")
def test_a_short_upload_is_never_published(start: Start, how: str, cut_at: int) -> None:
    """The server keeps a short file and may even call it a success; it does not get its name."""
    server = start(ports=servers.free_ports(30))
    with proxied(server) as proxy, opened(server, at=proxy) as transport:
        proxy.data = Channel(cut_up_after=cut_at, how=how)
        with pytest.raises((TransportCorruptError, TransportUnavailableError)):
            transport.send(delivery(b"x" * 100_000))
        assert not (server.root / "in" / "orders-1.csv").exists()

        proxy.heal()
        transport.send(delivery(b"x" * 100_000))
    assert [path.name for path in (server.root / "in").iterdir()] == ["orders-1.csv"]


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("cut_at", [0, 1, 30_000, 99_999])
@pytest.mark.fault(row=6, invariants="I2")
def test_a_cut_download_is_noticed(start: Start, how: str, cut_at: int) -> None:
    """The end of the data connection is no end of the file."""
    server = start(ports=servers.free_ports(30))
    (server.root / "out" / "s.csv").write_bytes(b"x" * 100_000)
    with proxied(server) as proxy, opened(server, at=proxy) as transport:
        [offer] = transport.list(feed("status"), Query())
        proxy.data = Channel(cut_down_after=cut_at, how=how)
        with pytest.raises((TransportCorruptError, TransportUnavailableError)):
            transport.fetch(offer, io.BytesIO())

        proxy.heal()
        assert transport.fetch(offer, io.BytesIO()).size == 100_000


@pytest.mark.parametrize("call", ["send", "fetch", "list"])
@pytest.mark.fault(row=6, invariants="I7")
def test_a_stall_ends_within_the_deadline(start: Start, call: str) -> None:
    """Each call ends, as a time-out, and the next one works."""
    server = start(ports=servers.free_ports(30))
    (server.root / "out" / "s.csv").write_bytes(b"x" * 100_000)
    with proxied(server) as proxy, opened(server, at=proxy, timeout_s=0.6) as transport:
        [offer] = transport.list(feed("status"), Query())
        calls: dict[str, Callable[[], Any]] = {
            "send": lambda: transport.send(delivery(b"x" * 100_000)),
            "fetch": lambda: transport.fetch(offer, io.BytesIO()),
            "list": lambda: list(transport.list(feed("status"), Query())),
        }
        proxy.data = Channel(cut_up_after=10, cut_down_after=10, how="stall")
        began = time.monotonic()
        with pytest.raises(TransportTimeoutError):
            calls[call]()
        assert time.monotonic() - began < 3

        proxy.heal()
        assert calls[call]() is not None


@pytest.mark.parametrize(
    "channel",
    [
        Channel(silent=True),
        Channel(banner=b"\x00\xff\xfe\r\n"),
        Channel(banner=b"220-" + b"x" * 9000 + b"\r\n"),
        Channel(banner=b"2"),
        Channel(banner=b"hello\r\n"),
        Channel(banner=b"421 too many\r\n"),
    ],
    ids=["silent", "garbage", "endless", "slow", "no code", "421"],
)
@pytest.mark.fault(row=21, invariants="I7")
def test_whatever_the_server_says_first_the_error_is_ours(start: Start, channel: Channel) -> None:
    """And it comes within the deadline."""
    server = start()
    with proxied(server) as proxy, opened(server, at=proxy, timeout_s=0.5) as transport:
        proxy.control = channel
        with pytest.raises((TransportUnavailableError, TransportTimeoutError)):
            transport.send(delivery())


@pytest.mark.fault(row=22, invariants="I1")
def test_a_closed_idle_connection_is_replaced(start: Start) -> None:
    """The server ends the session between two calls; nothing is lost."""
    server = start(attributes={"timeout": 0.3})
    with opened(server) as transport:
        transport.send(delivery())
        time.sleep(0.7)
        transport.send(delivery(key="k-2", name="orders-2.csv"))
    assert len(list((server.root / "in").iterdir())) == 2


@pytest.mark.parametrize("tls", [None, "explicit"])
def test_one_connection_serves_a_run(start: Start, identity: Certificate, tls: str | None) -> None:
    """Ten deliveries and a listing log in once."""
    server = start(tls=tls, identity=identity if tls else None)
    with FaultProxy(("127.0.0.1", server.port)) as proxy, opened(server, at=proxy) as transport:
        for number in range(10):
            transport.send(delivery(key=f"k-{number}", name=f"orders-{number}.csv"))
        list(transport.list(feed("status"), Query()))
        assert proxy.connections == 1


# ---------------------------------------------------------------------- looking


@pytest.mark.parametrize("reply", ["450 busy", "425 no data connection", "550 denied", "500 what?", "999 ?", "ok"])
@pytest.mark.fault(row=23, invariants="I6")
def test_a_refused_listing_is_an_error(start: Start, reply: str) -> None:
    """Never an empty folder, whatever the server says."""
    server = start(replies={"MLSD": reply, "LIST": reply})
    (server.root / "out" / "s.csv").write_bytes(b"x")
    with opened(server) as transport, pytest.raises(TransportError):
        list(transport.list(feed("status"), Query()))


@pytest.mark.fault(row=23, invariants="I6")
def test_a_missing_folder_is_an_error(start: Start) -> None:
    """A misspelt path must not read as no news."""
    with opened(start()) as transport, pytest.raises((TransportNotFoundError, TransportRefusedError)):
        list(transport.list(feed("status", path="nowhere"), Query()))


@pytest.mark.real_server
@pytest.mark.parametrize("server", ["vsftpd"], indirect=True)
@pytest.mark.fault(row=23, invariants="I6")
def test_a_missing_folder_that_lists_as_empty_is_an_error(server: RunningServer) -> None:
    """Vsftpd answers LIST of a missing folder with success and nothing."""
    with opened(server) as transport, pytest.raises(TransportNotFoundError):
        list(transport.list(feed("status", path="nowhere"), Query()))


@pytest.mark.fault(row=23, invariants="I6")
def test_a_server_that_says_550_for_empty_can_be_told(start: Start) -> None:
    """With ``empty_reply`` that one answer, and no other, is an empty folder."""
    replies = {"MLSD": "550 No files found"}
    server = start(replies=replies)
    with opened(server, empty_reply="550 No files") as transport:
        assert list(transport.list(feed("status"), Query())) == []
        replies["MLSD"] = "550 Permission denied"
        with pytest.raises(TransportError):
            list(transport.list(feed("status"), Query()))


@pytest.mark.parametrize("listing", ["unix", "dos"])
@pytest.mark.fault(row=14, invariants="I4")
@pytest.mark.fault(row=23, invariants="I6")
def test_listings_without_facts_are_understood(start: Start, listing: str) -> None:
    """Names with spaces, sizes and times come out of LIST."""
    server = start(listing=listing)
    (server.root / "out" / "a b.csv").write_bytes(b"xyz")
    (server.root / "out" / "folder").mkdir()
    with opened(server) as transport:
        [offer] = transport.list(feed("status"), Query())
        assert (offer.name, offer.size) == ("a b.csv", 3)
        assert offer.modified_at is not None
        assert abs(offer.modified_at.timestamp() - time.time()) < 120
        transport.settle(offer, Outcome.APPLIED)
        assert list(transport.list(feed("status"), Query())) == []


@pytest.mark.fault(row=26, invariants="I8 I10")
def test_an_address_in_the_answer_to_pasv_is_ignored(start: Start) -> None:
    """A server behind a gateway names an address that nobody reaches, an evil one somebody else's."""
    server = start(attributes={"masquerade_address": "10.255.255.1"}, replies={"EPSV": "500 no"})
    with opened(server) as transport:
        transport.send(delivery())
    assert (server.root / "in" / "orders-1.csv").exists()


def test_active_mode(start: Start) -> None:
    """The server connects to us, both ways."""
    server = start(replies={"EPSV": "500 no", "PASV": "500 no"})
    (server.root / "out" / "s.csv").write_bytes(b"xyz")
    with opened(server, active=True) as transport:
        transport.send(delivery())
        [offer] = transport.list(feed("status"), Query())
        assert transport.fetch(offer, io.BytesIO()).size == 3


@pytest.mark.fault(row=24, invariants="I8")
@pytest.mark.fault(row=35, invariants="I2")
def test_names_in_another_encoding(start: Start) -> None:
    """A server that speaks cp1252 is told so by an option; told nothing, its names are refused, not mangled."""
    server = start(attributes={"encoding": "cp1252"})
    (server.root / "out" / "grün.csv").write_bytes(b"xyz")
    with opened(server, name_encoding="cp1252") as transport:
        [offer] = transport.list(feed("status"), Query())
        assert offer.name == "grün.csv"
        assert transport.fetch(offer, io.BytesIO()).size == 3
    with opened(server) as transport:
        assert list(transport.list(feed("status"), Query())) == []
        assert "transport.name" in [finding.code for finding in transport.check()]


# ---------------------------------------------------------------------- what a server cannot do


@pytest.mark.fault(row=8, invariants="I2")
def test_a_server_without_rename_refuses_before_anything_is_visible(start: Start) -> None:
    """And can be written to directly, which is reported."""
    server = start(replies={"RNFR": "502 not here"})
    with opened(server) as transport:
        with pytest.raises(TransportUnsupportedError):
            transport.send(delivery())
        assert not (server.root / "in" / "orders-1.csv").exists()
    with opened(server, publish="direct") as transport:
        transport.send(delivery())
        assert "transport.not_atomic" in [finding.code for finding in transport.check()]
    assert (server.root / "in" / "orders-1.csv").exists()


@pytest.mark.parametrize("reply", ["500 what?", "550 not allowed"])
@pytest.mark.fault(row=8, invariants="I2")
def test_without_size_a_listing_tells(start: Start, reply: str) -> None:
    """A server that does not know SIZE, or forbids it, still has its sizes compared and nothing overwritten."""
    server = start(listing="unix", replies={"SIZE": reply})
    with opened(server) as transport:
        transport.send(delivery())
        assert transport.look_up(delivery()) is Presence.PRESENT
        (server.root / "in" / "orders-2.csv").write_bytes(b"foreign")
        with pytest.raises(TransportRefusedError):
            transport.send(delivery(key="k-2", name="orders-2.csv"))
    assert (server.root / "in" / "orders-2.csv").read_bytes() == b"foreign"


@pytest.mark.fault(row=8, invariants="I1")
def test_a_folder_that_can_only_be_written_to(start: Start) -> None:
    """Unverified on demand only; then a look knows nothing."""
    server = start(permissions="ewfad", replies=dict.fromkeys(("SIZE", "MLST", "MLSD", "LIST"), "550 denied"))
    with opened(server) as transport, pytest.raises(TransportError):
        transport.send(delivery())
    with opened(server, verify="none") as transport:
        transport.send(delivery())
        assert transport.look_up(delivery()) is Presence.UNKNOWN
        assert not transport.capabilities.looks_up
    assert (server.root / "in" / "orders-1.csv").exists()


@pytest.mark.fault(row=19, invariants="I1")
def test_a_full_disk_is_an_error_with_its_reason(start: Start) -> None:
    """The server's own words, and nothing under the final name."""
    server = start(replies={"STOR": "552 disk full"})
    with opened(server) as transport, pytest.raises(TransportRefusedError, match="552 disk full"):
        transport.send(delivery())


# ---------------------------------------------------------------------- TLS


@pytest.mark.fault(row=32, invariants="I10")
def test_a_certificate_of_nobody_known_is_refused(start: Start, identity: Certificate) -> None:
    """No byte of ours is sent, and the message says how to trust it."""
    with (
        opened(start(tls="explicit", identity=identity), ca_file=None) as transport,
        pytest.raises(TransportUntrustedError, match="ca_file"),
    ):
        transport.send(delivery())


@pytest.mark.fault(row=32, invariants="I10")
def test_a_certificate_for_another_host_is_refused(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Unless the options name it."""
    other = servers.certificate(tmp_path_factory.mktemp("tls"), "ftp.example.com")
    server = start(tls="explicit", identity=other)
    with opened(server) as transport, pytest.raises(TransportUntrustedError):
        transport.send(delivery())
    with opened(server, server_name="ftp.example.com") as transport:
        transport.send(delivery())


@pytest.mark.parametrize("replies", [{"AUTH": "500 what?"}, {"PROT": "536 no"}], ids=["AUTH", "PROT"])
@pytest.mark.fault(row=32, invariants="I9 I10")
def test_there_is_no_way_back_to_clear(start: Start, identity: Certificate, replies: dict[str, str]) -> None:
    """A server, or somebody between, that refuses TLS gets neither password nor orders."""
    server = start(tls="explicit", identity=identity, replies=replies)
    with FaultProxy(("127.0.0.1", server.port)) as proxy, opened(server, at=proxy) as transport:
        with pytest.raises(TransportUntrustedError):
            transport.send(delivery())
        assert not [line for line in proxy.commands if line.startswith((b"USER", b"PASS", b"STOR"))]


def test_an_old_protocol_is_refused(start: Start, identity: Certificate) -> None:
    """TLS 1.1 is not spoken."""
    server = start(tls="explicit", identity=identity)
    with opened(server) as transport:
        context = tls_context(transport.server.endpoint)  # type: ignore[attr-defined]
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.real_server
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("server", ["vsftpd-reuse"], indirect=True)
@pytest.mark.fault(row=32, invariants="I10")
def test_the_session_is_taken_up_in_both_versions_of_tls(server: RunningServer, version: str) -> None:
    """A server that insists on it takes a file of some size."""
    name = f"tls-{version}"
    server.folder(f"{name}/in").parent.chmod(0o755)
    with opened(server, tls_version=version) as transport:
        sent = delivery(b"x" * 1_000_000, feed=feed(path=f"{name}/in"))
        transport.send(sent)
        assert transport.look_up(sent) is Presence.PRESENT


@pytest.mark.fault(row=5, invariants="I2")
def test_a_cut_upload_over_tls_is_never_published(start: Start, identity: Certificate) -> None:
    """As in clear."""
    server = start(tls="explicit", identity=identity, ports=servers.free_ports(30))
    with proxied(server) as proxy, opened(server, at=proxy) as transport:
        proxy.data = Channel(cut_up_after=30_000, how="fin")
        with pytest.raises(TransportError):
            transport.send(delivery(b"x" * 100_000))
        assert not (server.root / "in" / "orders-1.csv").exists()


@pytest.mark.fault(row=34, invariants="I2")
def test_a_flipped_bit_in_clear_is_found_by_reading_back(start: Start) -> None:
    """Sizes agree; only ``verify: content`` notices."""
    server = start(ports=servers.free_ports(30))
    with proxied(server) as proxy, opened(server, at=proxy, verify="content") as transport:
        proxy.data = Channel(flip_at=3)
        with pytest.raises(TransportCorruptError):
            transport.send(delivery())
    assert list((server.root / "in").iterdir()) == []


def test_the_archive_is_made_where_it_is_missing(start: Start) -> None:
    """Nested below the feed, or from the base when it begins with a slash."""
    server = start()
    with opened(server) as transport:
        for number, archive in enumerate(("done/leeds", "/all/leeds")):
            (server.root / "out" / f"s{number}.csv").write_bytes(b"x")
            [offer] = transport.list(feed("status", archive=archive), Query())
            transport.settle(attrs.evolve(offer), Outcome.APPLIED)
    assert (server.root / "out/done/leeds/s0.csv").exists()
    assert (server.root / "all/leeds/s1.csv").exists()
