"""Row 33: an SSH server whose key is not known, or that knows no safe algorithm, gets no login and no order."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from fcflow.errors import TransportUntrustedError
from fcflow.testing import servers
from fcflow.testing.faults import FaultProxy
from fcflow.testing.files import Place, delivery, opened, place_on
from fcflow.testing.servers import RunningServer

pytestmark = pytest.mark.fault(row=33, invariants="I10")
every_server = pytest.mark.parametrize(
    "server", ["asyncssh", pytest.param("openssh", marks=pytest.mark.real_server)], indirect=True
)
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAQZNMuqmF0pG1SAOSk6mI9cs0RLpeLbRNqgyr5"


@pytest.fixture
def place(server: RunningServer) -> Place:
    return place_on(server)


def ecdsa() -> str:
    """A key of another kind than servers here have."""
    key = paramiko.ECDSAKey.generate()
    return f"{key.get_name()} {key.get_base64()}"


def printed(key: str, folder: Path) -> str:
    """The fingerprint as ssh-keygen shows it."""
    (folder / "shown.pub").write_text(f"{key}\n")
    done = subprocess.run(["ssh-keygen", "-lf", folder / "shown.pub"], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


@contextlib.contextmanager
def no_login(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Meanwhile nobody tries to log in: by the server's log where it has one, and never by the library."""
    tried: list[Any] = []
    real = paramiko.Transport.auth_password
    monkeypatch.setattr(
        paramiko.Transport, "auth_password", lambda self, *a, **k: tried.append(a) or real(self, *a, **k)
    )
    before = 0 if server.log is None else len(server.log.read_text())
    yield
    assert tried == []
    if server.log is not None:
        said = server.log.read_text()[before:]
        assert "Failed password" not in said
        assert "Accepted" not in said


def refused(place: Place, **options: Any) -> str:
    """What the error says; and that nothing arrived, soon."""
    began = time.monotonic()
    with opened(place.server, place.name, timeout_s=5, **options) as transport:
        with pytest.raises(TransportUntrustedError) as caught:
            transport.send(delivery())
        assert [finding.code for finding in transport.check()] == ["transport.untrusted"]
    assert time.monotonic() - began < 3
    assert place.arrived() == {}
    return str(caught.value)


Known = Callable[[RunningServer], bytes]


def line(name: str, key: str | None = None) -> Known:
    """A line of known_hosts; *name* may hold the port, *key* is the server's own where nothing else is said."""

    def made(server: RunningServer) -> bytes:
        shown = name.format(port=server.port)
        return f"{shown} {key or server.host_key}\n".encode()

    return made


def hashed(name: str, key: str | None = None) -> Known:
    """The same with the name hashed."""
    return lambda server: line(paramiko.HostKeys.hash_host(name.format(port=server.port)), key)(server)


@every_server
@pytest.mark.parametrize(
    "known",
    [
        lambda server: b"",
        line("[127.0.0.2]:{port}"),
        line("127.0.0.1"),
        line("[127.0.0.1]:1"),
        hashed("[127.0.0.1]:1"),
        hashed("127.0.0.1"),
        lambda server: b"# nobody\n\n",
    ],
    ids=[
        "empty",
        "another host",
        "without the port",
        "another port",
        "hashed, another port",
        "hashed, no port",
        "about",
    ],
)
def test_an_unknown_key_is_refused_with_its_fingerprint_and_how_to_pin_it(
    place: Place, tmp_path: Path, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What the message says to set is what then lets us in.
    """
    (tmp_path / "known").write_bytes(known(place.server))
    with no_login(place.server, monkeypatch):
        said = refused(place, host_key=None, known_hosts=str(tmp_path / "known"))
    assert place.server.host_key is not None
    assert "unknown host key" in said
    assert printed(place.server.host_key, tmp_path) in said
    pin = said.rpartition("host_key to '")[2].rstrip("'")
    with opened(place.server, place.name, host_key=pin) as transport:
        transport.send(delivery())
    assert place.arrived() == {"orders-1.csv": b"A1;1\r\n"}


@every_server
@pytest.mark.parametrize("known", [line("[127.0.0.1]:{port}"), hashed("[127.0.0.1]:{port}")], ids=["clear", "hashed"])
def test_a_known_key_is_trusted(place: Place, tmp_path: Path, known: Known) -> None:
    """
    By a line with the port, hashed or not, beside lines about others.
    """
    (tmp_path / "known").write_bytes(line("[127.0.0.1]:1", OTHER)(place.server) + known(place.server))
    with opened(place.server, place.name, host_key=None, known_hosts=str(tmp_path / "known")) as transport:
        transport.send(delivery())
    assert place.arrived() == {"orders-1.csv": b"A1;1\r\n"}


@every_server
@pytest.mark.parametrize("key", [OTHER, ecdsa()], ids=["same kind", "another kind"])
@pytest.mark.parametrize("where", ["pinned", "clear", "hashed"])
def test_a_changed_key_is_refused_with_both_fingerprints(
    place: Place, tmp_path: Path, key: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Whether it was pinned or in known_hosts; the message says that it may be an attack.
    """
    options: dict[str, Any] = {"host_key": key}
    if where != "pinned":
        known = (line if where == "clear" else hashed)("[127.0.0.1]:{port}", key)
        (tmp_path / "known").write_bytes(known(place.server))
        options = {"host_key": None, "known_hosts": str(tmp_path / "known")}
    with no_login(place.server, monkeypatch):
        said = refused(place, **options)
    assert place.server.host_key is not None
    assert printed(place.server.host_key, tmp_path) in said
    assert printed(key, tmp_path) in said
    assert "may be an attack" in said
    assert "option host_key" in said


@pytest.mark.parametrize("server", ["asyncssh"], indirect=True)
@pytest.mark.parametrize(
    "known",
    [
        None,
        "a folder",
        b"\xff\xfe\0\1\n",
        b"[127.0.0.1]:{port} ssh-ed25519 !!!\n",
        b"[127.0.0.1]:{port} ssh-ed25519 AAAA\n",
        b"[127.0.0.1]:{port} ssh-rsa AAAAB3NzaC1yc2E\n",
        b"[127.0.0.1]:{port}\n",
        b"|1|bad|hash ssh-ed25519 AAAA\n",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
    ],
)
def test_known_hosts_that_cannot_be_read_trust_nobody(place: Place, tmp_path: Path, known: Any) -> None:
    """
    A file that is missing, is none, or is broken: an error that says so, and never a connection.
    """
    path = tmp_path / "known"
    if known == "a folder":
        path.mkdir()
    elif known is not None:
        path.write_bytes(known.replace(b"{port}", str(place.server.port).encode()))
    refused(place, host_key=None, known_hosts=str(path))


@pytest.mark.parametrize("server", ["asyncssh"], indirect=True)
@pytest.mark.parametrize(
    "pin", ["", "ssh-ed25519", "ssh-ed25519 !", "ssh-ed25519 AAAA", "what ever", "ssh-rsa AAAAB3NzaC1yc2E"]
)
def test_a_pin_that_is_no_key_trusts_nobody(place: Place, pin: str) -> None:
    """
    It is not left aside.
    """
    refused(place, host_key=pin)


@pytest.mark.parametrize("server", ["asyncssh"], indirect=True)
def test_without_a_pin_the_users_own_known_hosts_count(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    And where there are none nobody is known.
    """
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "unknown host key" in refused(place, host_key=None)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").write_bytes(line("[127.0.0.1]:{port}")(place.server))
    with opened(place.server, place.name, host_key=None) as transport:
        transport.send(delivery())


@pytest.mark.parametrize("server", ["asyncssh"], indirect=True)
def test_a_key_is_known_by_the_port_that_we_connect_to(place: Place, tmp_path: Path) -> None:
    """
    Somebody in between, on another port, is somebody else.
    """
    (tmp_path / "known").write_bytes(line("[127.0.0.1]:{port}")(place.server))
    with FaultProxy(("127.0.0.1", place.server.port)) as proxy:
        said = refused(place, at=proxy, host_key=None, known_hosts=str(tmp_path / "known"))
    assert "unknown host key" in said


@pytest.mark.parametrize("known", ["pinned", "known_hosts"])
def test_a_server_with_several_keys_shows_the_one_that_is_known(tmp_path: Path, known: str) -> None:
    """
    Be it not the one that it would have chosen.
    """
    kinds = ("ecdsa-sha2-nistp256", "ssh-ed25519", "ssh-rsa")
    with servers.asyncssh_server(tmp_path, host_keys=kinds) as server:
        place = place_on(server)
        options: dict[str, Any] = {"host_key": server.host_key}
        if known == "known_hosts":
            (tmp_path / "known").write_bytes(line("[127.0.0.1]:{port}")(server))
            options = {"host_key": None, "known_hosts": str(tmp_path / "known")}
        with opened(server, place.name, **options) as transport:
            transport.send(delivery())
        assert place.arrived() == {"orders-1.csv": b"A1;1\r\n"}


WEAK = {
    "group 1": {"kex_algs": ["diffie-hellman-group1-sha1"]},
    "group 14 with SHA-1": {"kex_algs": ["diffie-hellman-group14-sha1"]},
    "group exchange with SHA-1": {"kex_algs": ["diffie-hellman-group-exchange-sha1"]},
    "signatures with SHA-1": {"host_keys": ["ssh-rsa"]},
    "3DES": {"encryption_algs": ["3des-cbc"]},
    "CBC": {"encryption_algs": ["aes256-cbc"]},
    "MD5": {"mac_algs": ["hmac-md5"], "encryption_algs": ["aes128-ctr"]},
    "SHA-1 cut off": {"mac_algs": ["hmac-sha1-96"], "encryption_algs": ["aes128-ctr"]},
}


@pytest.mark.parametrize("weak", WEAK.values(), ids=WEAK)
def test_a_server_that_knows_weak_algorithms_only_is_refused(
    tmp_path: Path, weak: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    With its key known: what it would agree to protects nothing. The message says what it is about.
    """
    # This server would sign with better ones too.
    monkeypatch.setattr("asyncssh.rsa.RSAKey.sig_algorithms", (b"ssh-rsa",))
    with servers.asyncssh_server(tmp_path, **weak) as server:
        place = place_on(server)
        with no_login(server, monkeypatch):
            assert "no algorithm in common" in refused(place)
