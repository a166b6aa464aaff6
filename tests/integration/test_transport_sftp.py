"""SFTP: whom it trusts, how it logs in, and what comes of lost answers."""

from __future__ import annotations

import contextlib
import io
import subprocess
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from fcflow.errors import (
    ConfigError,
    TransportError,
    TransportLoginError,
    TransportRefusedError,
    TransportTimeoutError,
    TransportUnavailableError,
    TransportUnclearError,
    TransportUntrustedError,
)
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing.faults import Channel, FaultProxy
from fcflow.testing.servers import RunningServer
from fcflow.transports import sftp
from fcflow.transports.base import Delivery, Endpoint, Outcome, Presence, Query, Transport

pytestmark = pytest.mark.parametrize("server", ["asyncssh"], indirect=True)
CANARY = "canary-7f3a"


@pytest.fixture
def folder(server: RunningServer, request: pytest.FixtureRequest) -> str:
    """A fresh folder on the server with ``in`` and ``out``."""
    name = f"sftp-{abs(hash(request.node.nodeid))}"
    for part in ("", "/in", "/out"):
        server.folder(name + part)
    return name


@contextlib.contextmanager
def opened(
    server: RunningServer, folder: str, *, port: int = 0, timeout_s: float = 10, secrets: Any = None, **options: Any
) -> Iterator[Transport]:
    known = {"password": server.password} if secrets is None else secrets
    options = {"host_key": server.host_key, **options}
    connection = Connection(
        url=f"sftp://{server.user}@127.0.0.1:{port or server.port}{server.base}{folder}",
        secrets={name: {"env": name} for name in known},
        options={name: value for name, value in options.items() if value is not None},
    )
    transport = sftp.build(
        Endpoint(
            partner="leeds",
            connection=connection,
            limits=PartnerLimits(timeout_s=timeout_s),
            resolve=lambda reference: known[reference["env"]],
        )
    )
    yield transport
    transport.close()


def feed(kind: str = "orders", **changes: Any) -> Feed:
    path = "in" if kind == "orders" else "out"
    return Feed(**{"kind": kind, "partner": "leeds", "layout": "canonical", "path": path, **changes})


def delivery(content: bytes = b"A1;1\r\n", **changes: Any) -> Delivery:
    return Delivery(**{"key": "k-1", "feed": feed(), "name": "orders-1.csv", "content": content, **changes})


def _repeated(call: Any) -> None:
    """Until the proxy has seen enough bytes."""
    for _ in range(3):
        call()


def public_key() -> str:
    """Of another host."""
    key = paramiko.ECDSAKey.generate()
    return f"{key.get_name()} {key.get_base64()}"


# ---------------------------------------------------------------------- whom to trust


def test_an_unknown_host_is_refused_and_says_how_to_pin_it(server: RunningServer, folder: str, tmp_path: Path) -> None:
    """With the fingerprint as ssh-keygen prints it, and a line that works."""
    (tmp_path / "known").touch()
    with (
        opened(server, folder, host_key=None, known_hosts=str(tmp_path / "known")) as transport,
        pytest.raises(TransportUntrustedError) as caught,
    ):
        transport.send(delivery())

    (tmp_path / "key.pub").write_text(f"{server.host_key}\n")
    printed = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
    assert printed.stdout.split()[1] in str(caught.value)
    pin = str(caught.value).rpartition("host_key to '")[2].rstrip("'")
    with opened(server, folder, host_key=pin) as transport:
        transport.send(delivery())


def test_a_changed_host_key_is_refused(server: RunningServer, folder: str, tmp_path: Path) -> None:
    """In known_hosts and pinned alike, of the same kind or another; nothing is sent."""
    other = public_key()
    same_kind = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAQZNMuqmF0pG1SAOSk6mI9cs0RLpeLbRNqgyr5"
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {same_kind}\n")
    for options in (
        {"host_key": other},
        {"host_key": same_kind},
        {"host_key": None, "known_hosts": str(tmp_path / "known")},
    ):
        with opened(server, folder, **options) as transport, pytest.raises(TransportUntrustedError):
            transport.send(delivery())


def test_a_known_host_is_trusted(server: RunningServer, folder: str, tmp_path: Path) -> None:
    """By a line of known_hosts, in clear or hashed, and by one of several pins while a key changes."""
    name = f"[127.0.0.1]:{server.port}"
    for shown in (name, paramiko.HostKeys.hash_host(name)):
        (tmp_path / "known").write_text(f"{shown} {server.host_key}\n")
        with opened(server, folder, host_key=None, known_hosts=str(tmp_path / "known")) as transport:
            transport.send(delivery())
    with opened(server, folder, host_key=[public_key(), server.host_key]) as transport:
        transport.send(delivery())


def test_first_use_keeps_a_key_and_refuses_another(
    server: RunningServer, folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only where it is asked for: the file of known hosts is made, a warning names the key, and it is held to."""
    known = tmp_path / "ssh" / "known"
    options: dict[str, Any] = {"host_key": None, "known_hosts": str(known), "first_use": True}
    for _ in range(2):
        with opened(server, folder, **options) as transport:
            transport.send(delivery())
    assert known.read_text() == f"[127.0.0.1]:{server.port} {server.host_key}\n"
    assert [record.levelname for record in caplog.records if "first use" in record.message] == ["WARNING"]

    known.write_text(f"[127.0.0.1]:{server.port} {public_key()}\n")
    with opened(server, folder, **options) as transport, pytest.raises(TransportUntrustedError):
        transport.send(delivery())


def test_a_key_that_cannot_be_kept_is_not_trusted(server: RunningServer, folder: str, tmp_path: Path) -> None:
    """Else every use would be the first."""
    (tmp_path / "file").touch()
    options: dict[str, Any] = {"host_key": None, "known_hosts": str(tmp_path / "file" / "known"), "first_use": True}
    with opened(server, folder, **options) as transport, pytest.raises(TransportUntrustedError, match="cannot be kept"):
        transport.send(delivery())


def test_what_cannot_be_read_trusts_nobody(server: RunningServer, folder: str, tmp_path: Path) -> None:
    """A missing file of known hosts and a pin that is no key."""
    for options in ({"host_key": None, "known_hosts": str(tmp_path / "none")}, {"host_key": "ssh-ed25519 !"}):
        with opened(server, folder, **options) as transport, pytest.raises(TransportUntrustedError):
            transport.send(delivery())


# ---------------------------------------------------------------------- logging in


def test_an_answer_that_comes_at_once_is_not_missed(
    server: RunningServer, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's word on the login is here before we begin to wait for it."""
    send = paramiko.Transport._send_message

    def slow(self: paramiko.Transport, message: paramiko.Message) -> None:
        send(self, message)
        time.sleep(0.05)

    monkeypatch.setattr(paramiko.Transport, "_send_message", slow)
    with opened(server, folder) as transport:
        transport.send(delivery())


def test_a_password_comes_after_a_key_that_is_not_taken(server: RunningServer, folder: str) -> None:
    """On one connection, as some partners have it while they move from one to the other."""
    text = io.StringIO()
    paramiko.ECDSAKey.generate().write_private_key(text)
    with opened(server, folder, secrets={"password": server.password, "key": text.getvalue()}) as transport:
        transport.send(delivery())


@pytest.mark.fault(row=31, invariants="I9")
def test_a_wrong_password_is_a_login_error_that_shows_nothing(
    server: RunningServer, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither do passphrase and key."""
    caplog.set_level("DEBUG")
    for secrets in ({"password": CANARY}, {"key": f"-----BEGIN {CANARY}", "passphrase": CANARY}):
        with opened(server, folder, secrets=secrets) as transport:
            with pytest.raises(TransportLoginError) as caught:
                transport.send(delivery())
            assert caught.value.__traceback__ is not None
            below = caught.value.__traceback__.tb_next  # this frame knows the canary
            shown = traceback.TracebackException(type(caught.value), caught.value, below, capture_locals=True)
            assert CANARY not in "".join(shown.format()) + caplog.text + repr(transport) + repr(transport.check())


def test_a_url_without_a_user_is_a_fault(server: RunningServer) -> None:
    """The name of whoever runs us is nobody's login at a partner."""
    with pytest.raises(ConfigError):
        sftp.build(Endpoint(partner="leeds", connection=Connection(url="sftp://127.0.0.1/in"), resolve=str))


# ---------------------------------------------------------------------- trouble on the way


@pytest.mark.parametrize("call", ["send", "fetch", "list"])
def test_a_stall_ends_within_the_deadline(server: RunningServer, folder: str, call: str) -> None:
    """Each call ends, as a time-out, and the next one works."""
    (server.root / folder / "out" / "s.csv").write_bytes(b"x" * 300_000)
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        with opened(server, folder, port=proxy.port) as transport:
            [offer] = transport.list(feed("status"), Query())
        with opened(server, folder, port=proxy.port, timeout_s=1.0) as transport:
            calls: dict[str, Any] = {
                "send": lambda: transport.send(delivery(b"x" * 300_000)),
                "fetch": lambda: transport.fetch(offer, io.BytesIO()),
                "list": lambda: list(transport.list(feed("status"), Query())),
            }
            proxy.control = Channel(cut_up_after=3200, how="stall")
            began = time.monotonic()
            with pytest.raises(TransportTimeoutError):
                _repeated(calls[call])
            assert time.monotonic() - began < 6

            proxy.heal()
            assert calls[call]() is not None


@pytest.mark.parametrize("channel", [Channel(silent=True), Channel(banner=b"\0\xff\r\n"), Channel(banner=b"hello\r\n")])
def test_whatever_the_server_says_first_the_error_is_ours(server: RunningServer, folder: str, channel: Channel) -> None:
    """And it comes within the deadline."""
    with (
        FaultProxy(("127.0.0.1", server.port)) as proxy,
        opened(server, folder, port=proxy.port, timeout_s=0.5) as transport,
    ):
        proxy.control = channel
        with pytest.raises((TransportUnavailableError, TransportTimeoutError)):
            transport.send(delivery())


@pytest.mark.fault(row=2, invariants="I2 I3")
@pytest.mark.fault(row=4, invariants="I3")
def test_a_lost_connection_after_publishing_began_is_unclear(server: RunningServer, folder: str) -> None:
    """Cut between leave to publish and the rename: a look finds the temporary name, and sending again ends it."""
    with FaultProxy(("127.0.0.1", server.port)) as proxy, opened(server, folder, port=proxy.port) as transport:
        with pytest.raises(TransportUnclearError):
            transport.send(delivery(publishing=proxy.cut_all))
        assert transport.look_up(delivery()) is Presence.PARTLY
        transport.send(delivery())
        assert transport.look_up(delivery()) is Presence.PRESENT


def test_a_run_uses_one_connection(server: RunningServer, folder: str) -> None:
    """Ten deliveries and a listing log in once."""
    with FaultProxy(("127.0.0.1", server.port)) as proxy, opened(server, folder, port=proxy.port) as transport:
        for number in range(10):
            transport.send(delivery(key=f"k-{number}", name=f"orders-{number}.csv"))
        list(transport.list(feed("status"), Query()))
        assert proxy.connections == 1


@pytest.mark.fault(row=7, invariants="I1 I3")
def test_a_rename_never_replaces(server: RunningServer, folder: str) -> None:
    """A file that appears under the final name in the last moment is kept."""
    late = server.root / folder / "in" / "orders-1.csv"
    with opened(server, folder) as transport, pytest.raises(TransportRefusedError):
        transport.send(delivery(publishing=lambda: late.write_bytes(b"late") and None))
    assert late.read_bytes() == b"late"


@pytest.mark.fault(row=24, invariants="I8")
def test_links_are_not_offered(server: RunningServer, folder: str) -> None:
    """They could lead anywhere."""
    (server.root / folder / "out" / "link.csv").symlink_to("/etc/passwd")
    with opened(server, folder) as transport:
        assert list(transport.list(feed("status"), Query())) == []


def test_a_large_file_is_fetched_and_archived(server: RunningServer, folder: str) -> None:
    """With read-ahead, byte for byte."""
    content = bytes(range(256)) * 8192
    (server.root / folder / "out" / "s.csv").write_bytes(content)
    sink = io.BytesIO()
    with opened(server, folder) as transport:
        [offer] = transport.list(feed("status", archive="done/deep"), Query())
        transport.fetch(offer, sink)
        transport.settle(offer, Outcome.APPLIED)
    assert sink.getvalue() == content
    assert (server.root / folder / "out/done/deep/s.csv").exists()


def test_the_folder_of_the_login_is_the_default(server: RunningServer, folder: str) -> None:
    """A URL without a path, and one with ``~``, mean what the server says is home."""
    connection = Connection(
        url=f"sftp://{server.user}@127.0.0.1:{server.port}/~/{folder}",
        secrets={"password": {"env": "X"}},
        options={"host_key": server.host_key},
    )
    transport = sftp.build(Endpoint(partner="leeds", connection=connection, resolve=lambda reference: server.password))
    transport.send(delivery())
    transport.close()
    assert (server.root / folder / "in" / "orders-1.csv").exists()


def test_a_missing_folder_is_an_error(server: RunningServer, folder: str) -> None:
    """For a listing, for a look, and for sending."""
    nowhere = feed(path="nowhere")
    with opened(server, folder) as transport:
        for call in (
            lambda: list(transport.list(nowhere, Query())),
            lambda: transport.look_up(delivery(feed=nowhere)),
            lambda: transport.send(delivery(feed=nowhere)),
        ):
            with pytest.raises(TransportError):
                call()
