"""FTP and SFTP through a proxy: every connection goes there, data channels too, and refusals say who refused."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define, field

from fcflow.errors import ConfigError, TransportUnavailableError
from fcflow.model import Connection, Feed, PartnerLimits
from fcflow.testing.servers import RunningServer
from fcflow.transports import ftp, sftp
from fcflow.transports.base import Delivery, Endpoint, Query, Transport

PASSWORD = "canary-5c1d"


@define(eq=False)
class Relay:
    """A proxy for SOCKS 5 and CONNECT that asks for a password where it has one."""

    password: str | None = None
    reached: list[int] = field(factory=list)
    refuses: bool = False

    def serve(self, near: socket.socket) -> None:
        with near, near.makefile("rb") as said:
            first = said.peek(1)[:1]
            target = self._socks(near, said) if first == b"\x05" else self._http(near, said)
            if target is None:
                return
            self.reached.append(target[1])
            with socket.create_connection(target) as far:
                near.sendall(
                    b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00" if first == b"\x05" else b"HTTP/1.1 200 OK\r\n\r\n"
                )
                back = threading.Thread(target=_pump, args=(far, near), daemon=True)
                back.start()
                _pump(near, far)
                back.join(10)

    def _socks(self, near: socket.socket, said: Any) -> tuple[str, int] | None:
        methods = said.read(said.read(2)[1])
        if self.password is not None:
            assert 2 in methods
            near.sendall(b"\x05\x02")
            user = said.read(said.read(2)[1])
            given = said.read(said.read(1)[0])
            is_right = (user, given) == (b"shop", self.password.encode())
            near.sendall(b"\x01\x00" if is_right else b"\x01\x01")
            if not is_right:
                return None
        else:
            near.sendall(b"\x05\x00")
        kind = said.read(4)[3]
        host = socket.inet_ntoa(said.read(4)) if kind == 1 else said.read(said.read(1)[0]).decode()
        (port,) = struct.unpack(">H", said.read(2))
        if self.refuses:
            near.sendall(b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00")
            return None
        return host, port

    def _http(self, near: socket.socket, said: Any) -> tuple[str, int] | None:
        method, place, _ = said.readline().split()
        assert method == b"CONNECT"
        head = iter(said.readline, b"\r\n")
        logins = [line.split()[2] for line in head if line.startswith(b"Proxy-Authorization")]
        if self.password is not None and logins != [base64.b64encode(f"shop:{self.password}".encode())]:
            near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return None
        if self.refuses:
            near.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            return None
        host, _, port = place.decode().rpartition(":")
        return host, int(port)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def listening(relay: Relay) -> Iterator[int]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            relay.serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(10)


def transport_to(server: RunningServer, proxy: str, password: str = PASSWORD, **options: Any) -> Transport:
    options = {"proxy": proxy, **options}
    if server.host_key:
        options["host_key"] = server.host_key
    if server.certificate:
        options["ca_file"] = str(server.certificate.ca)
    secrets = {"password": server.password, "proxy_password": password}
    endpoint = Endpoint(
        partner="leeds",
        connection=Connection(url=server.url, secrets={name: {"env": name} for name in secrets}, options=options),
        limits=PartnerLimits(timeout_s=10),
        resolve=lambda reference: secrets[reference["env"]],
    )
    return (sftp if server.scheme == "sftp" else ftp).build(endpoint)


def feed(path: str) -> Feed:
    return Feed(kind="orders", partner="leeds", layout="canonical", path=path)


def delivery(path: str) -> Delivery:
    return Delivery(key="k-1", feed=feed(path), name="orders-1.csv", content=b"A1;1\r\n")


@pytest.mark.parametrize("server", ["pyftpdlib", "pyftpdlib-explicit", "asyncssh"], indirect=True)
@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "http"])
def test_every_connection_goes_through_the_proxy(server: RunningServer, scheme: str) -> None:
    """Control and data: a file goes out and comes back, and the proxy saw all of it."""
    relay, path = Relay(PASSWORD), f"through-{scheme}"
    server.folder(path)
    with listening(relay) as port:
        transport = transport_to(server, f"{scheme}://shop@127.0.0.1:{port}")
        transport.send(delivery(path))
        [offer] = transport.list(feed(path), Query())
        sink = io.BytesIO()
        transport.fetch(offer, sink)
        transport.close()

    assert sink.getvalue() == b"A1;1\r\n"
    assert relay.reached[0] == server.port
    assert len(relay.reached) == (1 if server.scheme == "sftp" else 4), "upload, listing and download have channels"


@pytest.mark.parametrize("server", ["pyftpdlib", "asyncssh"], indirect=True)
@pytest.mark.parametrize("scheme", ["socks5h", "http"])
def test_a_refusal_of_the_proxy_says_who_refused(server: RunningServer, scheme: str) -> None:
    """It is nobody's answer to a delivery, so it may be tried again."""
    with listening(Relay(refuses=True)) as port:
        transport = transport_to(server, f"{scheme}://127.0.0.1:{port}")
        with pytest.raises(TransportUnavailableError, match=f"the proxy 127.0.0.1:{port} says"):
            transport.send(delivery("nowhere"))
        transport.close()


@pytest.mark.parametrize("server", ["pyftpdlib", "asyncssh"], indirect=True)
@pytest.mark.parametrize("scheme", ["socks5h", "http"])
def test_a_wrong_password_of_the_proxy_shows_nowhere(server: RunningServer, scheme: str) -> None:
    """Not in the error, nor in what the check finds."""
    with listening(Relay("another")) as port:
        transport = transport_to(server, f"{scheme}://shop@127.0.0.1:{port}")
        with pytest.raises(TransportUnavailableError) as caught:
            transport.send(delivery("nowhere"))
        found = transport.check()
        transport.close()

    assert [each.level for each in found] == ["error"]
    assert PASSWORD not in f"{caught.value!r} {caught.value.__cause__!r} {found} {transport!r}"


@pytest.mark.parametrize("server", ["pyftpdlib"], indirect=True)
def test_a_server_cannot_connect_back_through_a_proxy(server: RunningServer) -> None:
    """Active mode with a proxy is a fault of the configuration."""
    with pytest.raises(ConfigError) as caught:
        transport_to(server, "socks5h://127.0.0.1:1", active=True)

    assert [fault.path for fault in caught.value.faults] == ["$.options.active"]
