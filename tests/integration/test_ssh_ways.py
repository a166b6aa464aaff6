"""SSH on other ways: with a certificate, by a jump host, and on servers that allow few channels."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fcflow.errors import TransportLoginError, TransportUntrustedError
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing import servers
from fcflow.testing.faults import FaultProxy
from fcflow.testing.servers import RunningServer
from fcflow.transports import sftp
from fcflow.transports._folder import FolderTransport
from fcflow.transports.base import Delivery, Endpoint

pytestmark = pytest.mark.real_server


def connect(server: RunningServer, known: dict[str, str], port: int | None = None, **options: Any) -> FolderTransport:
    connection = Connection(
        url=f"sftp://{server.user}@127.0.0.1:{port or server.port}{server.base}",
        secrets={name: {"env": name} for name in known},
        options={"host_key": server.host_key, **options},
    )
    endpoint = Endpoint(
        partner="leeds",
        connection=connection,
        limits=PartnerLimits(timeout_s=10),
        resolve=lambda reference: known[reference["env"]],
    )
    return sftp.build(endpoint)  # type: ignore[return-value]  # it is one


def send(transport: FolderTransport, folder: str = "", number: int = 1) -> None:
    feed = Feed(kind="orders", partner="leeds", layout="canonical", path=folder)
    transport.send(Delivery(key=f"k-{number}", feed=feed, name=f"orders-{number}.csv", content=b"A1;1\r\n"))


def keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *map(str, arguments)], check=True, capture_output=True)


# ---------------------------------------------------------------------- certificates


@pytest.fixture
def certified(tmp_path: Path, system_user: Any) -> Iterator[tuple[RunningServer, Path]]:
    """A server that trusts an authority and no single key; the authority's key beside it."""
    authority = tmp_path / "authority"
    keygen("-t", "ed25519", "-N", "", "-f", authority)
    with servers.scratch() as folder:
        own = {"TrustedUserCAKeys": f"{authority}.pub", "AuthorizedKeysFile": "none", "PasswordAuthentication": "no"}
        with servers.openssh(folder, system_user, **own) as server:
            yield server, authority


def signed(server: RunningServer, authority: Path, *more: str, kind: str = "ed25519") -> tuple[Path, Path]:
    """A new key and its certificate."""
    key = authority.with_name(f"key-{kind}")
    keygen("-t", kind, "-N", "", "-f", key)
    keygen("-s", authority, "-I", "shop", "-n", server.user, *more, f"{key}.pub")
    return key, key.with_name(f"{key.name}-cert.pub")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_certified_key_logs_in(certified: tuple[RunningServer, Path], kind: str) -> None:
    """As a file and as a secret; the key alone does not."""
    server, authority = certified
    key, certificate = signed(server, authority, kind=kind)
    for known, options in (({}, {"key_file": str(key)}), ({"key": key.read_text()}, {})):
        transport = connect(server, known, certificate_file=str(certificate), **options)
        send(transport)
        transport.close()

        bare = connect(server, known, **options)
        with pytest.raises(TransportLoginError):
            send(bare)
        bare.close()


def test_a_certificate_that_is_over_or_of_another_key_does_not_log_in(certified: tuple[RunningServer, Path]) -> None:
    """The first is the server's refusal, the second is seen before anything is sent."""
    server, authority = certified
    key, over = signed(server, authority, "-V", "-2h:-1h")
    other, _ = signed(server, authority, kind="ecdsa")
    for certificate, own, message in ((over, key, "login refused"), (over, other, "does not certify this key")):
        transport = connect(server, {}, key_file=str(own), certificate_file=str(certificate))
        with pytest.raises(TransportLoginError, match=message):
            send(transport)
        transport.close()


# ---------------------------------------------------------------------- a host to go through


@pytest.fixture(scope="module")
def gate(system_user: Any) -> Iterator[RunningServer]:
    """A host that lets connections through."""
    with servers.scratch() as folder, servers.openssh(folder, system_user, AllowTcpForwarding="yes") as server:
        yield server


def through(gate: RunningServer, port: int | None = None) -> dict[str, Any]:
    return {"jump": f"{gate.user}@127.0.0.1:{port or gate.port}", "jump_host_key": gate.host_key}


@pytest.mark.parametrize("server", ["asyncssh"], indirect=True)
def test_a_partner_is_reached_by_a_jump_host(server: RunningServer, gate: RunningServer) -> None:
    """Logged in there with a password, with a key of its own, and with the very key of the partner."""
    server.folder("by-jump")
    assert gate.user_key is not None
    key = gate.user_key.read_text()
    ways: tuple[tuple[dict[str, str], dict[str, Any]], ...] = (
        ({"jump_password": gate.password}, {}),
        ({"jump_key": key}, {}),
        ({"key": key}, {}),
        ({}, {"key_file": str(gate.user_key)}),
    )
    for number, (known, options) in enumerate(ways):
        transport = connect(server, {"password": server.password, **known}, **through(gate), **options)
        send(transport, "by-jump", number)
        transport.close()

    assert len(list((server.root / "by-jump").iterdir())) == len(ways)


@pytest.mark.parametrize("server", ["asyncssh"], indirect=True)
def test_both_hosts_must_be_known(server: RunningServer, gate: RunningServer, tmp_path: Path) -> None:
    """A jump host with another key gets no login, a partner behind it neither; the message says which of them it is."""
    (tmp_path / "known").touch()
    known = {"password": server.password, "jump_password": gate.password}
    for options, who in (
        ({"jump_host_key": server.host_key}, "jump host"),
        ({"host_key": gate.host_key}, "sftp://"),
        ({"jump_host_key": None, "known_hosts": str(tmp_path / "known")}, "jump host .*unknown host key"),
    ):
        chosen = {name: value for name, value in {**through(gate), **options}.items() if value is not None}
        transport = connect(server, known, **chosen)
        with pytest.raises(TransportUntrustedError, match=who):
            send(transport)
        transport.close()


@pytest.mark.parametrize("server", ["asyncssh"], indirect=True)
def test_the_partners_password_is_not_for_the_jump_host(server: RunningServer, gate: RunningServer) -> None:
    """Without a login of its own there is none, even where the password would fit."""
    transport = connect(gate, {"password": gate.password}, **through(gate))
    with pytest.raises(TransportLoginError, match="login refused"):
        send(transport)
    transport.close()


@pytest.mark.parametrize("server", ["asyncssh"], indirect=True)
def test_a_way_that_was_cut_is_opened_anew(server: RunningServer, gate: RunningServer) -> None:
    """Jump host and all."""
    server.folder("cut-jump")
    known = {"password": server.password, "jump_password": gate.password}
    with FaultProxy(("127.0.0.1", gate.port)) as proxy:
        transport = connect(server, known, **through(gate, proxy.port))
        send(transport, "cut-jump", 1)
        proxy.cut_all()
        send(transport, "cut-jump", 2)
        assert proxy.connections == 2
        transport.close()


def test_a_certificate_is_for_the_partners_key_and_not_for_the_jump_hosts(
    gate: RunningServer, certified: tuple[RunningServer, Path]
) -> None:
    """Each host is logged in to in its own way."""
    server, authority = certified
    key, certificate = signed(server, authority)
    assert gate.user_key is not None
    known = {"key": key.read_text(), "jump_key": gate.user_key.read_text()}
    transport = connect(server, known, certificate_file=str(certificate), **through(gate))
    send(transport)
    transport.close()

    assert len(list(server.root.iterdir())) == 1


# ---------------------------------------------------------------------- few channels


def test_a_server_that_allows_few_channels_gets_more_connections(system_user: Any) -> None:
    """The lanes that find no room on the first have each their own, and all of them work."""
    with (
        servers.scratch() as folder,
        servers.openssh(folder, system_user, MaxSessions=2) as server,
        FaultProxy(("127.0.0.1", server.port)) as proxy,
    ):
        first = connect(server, {"password": server.password}, proxy.port)
        lanes = [first, *(first.sibling() for _ in range(3))]
        for number, lane in enumerate(lanes):
            assert lane is not None
            send(lane, number=number)

        assert proxy.connections == 3
        assert len(list(server.root.iterdir())) == 4
        for lane in lanes:
            lane.close()  # type: ignore[union-attr]  # it is one
