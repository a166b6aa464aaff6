"""Row 21 and 6: whatever stalls, drips or floods, a call ends within its deadline and with an error of ours."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from fcflow.errors import TransportError, TransportTimeoutError
from fcflow.testing.faults import Channel, FaultProxy
from fcflow.testing.files import delivery, opened, place_on
from fcflow.testing.servers import Certificate, RunningServer

Speaking = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(speak: Speaking) -> Iterator[int]:
    """A server that treats each connection as *speak* does; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    held.append(connection)
                    with contextlib.suppress(OSError):
                        speak(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            for each in (listener, *held):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for each in held:
                each.close()


def dripping(first: bytes = b"") -> Speaking:
    """A byte now and then, so that no single read ever waits long."""

    def speak(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(b"\x16")
            time.sleep(0.05)

    return speak


def silent_after(*lines: bytes) -> Speaking:
    """Answers command after command, each so late that most of the time is over, then says nothing more."""

    def speak(connection: socket.socket) -> None:
        for line in lines:
            time.sleep(0.4)
            connection.sendall(line)
            if not connection.recv(65536):
                return

    return speak


def dripping_after(*lines: bytes) -> Speaking:
    """Answers command after command, then goes on byte by byte."""

    def speak(connection: socket.socket) -> None:
        silent_after(*lines)(connection)
        # The head of a TLS record that is as long as records may be.
        dripping(b"\x16\x03\x03\x40\x00")(connection)

    return speak


def nobody(identity: Certificate) -> RunningServer:
    """What a client knows of a server that is only played."""
    return RunningServer(
        scheme="ftps", port=0, user="leeds", password="pass-never-sent", root=identity.ca.parent, certificate=identity
    )


def ends_in_time(call: Callable[[], Any], timeout_s: float) -> None:
    """As a time-out, and not much later than promised."""
    began = time.monotonic()
    with pytest.raises(TransportTimeoutError):
        call()
    assert time.monotonic() - began < timeout_s + 0.5


@pytest.mark.fault(row=21, invariants="I7 I10")
@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
@pytest.mark.parametrize("ending", [silent_after, dripping_after], ids=["silent", "dripping"])
def test_a_handshake_of_ftps_that_never_ends_is_cut(
    identity: Certificate, implicit: bool, ending: Callable[..., Speaking]
) -> None:
    """
    The server takes the connection, agrees to TLS, and then says nothing, or a byte now and then.
    """
    said: Sequence[bytes] = () if implicit else (b"220 hello\r\n", b"234 go on\r\n")
    with (
        listening(ending(*said)) as port,
        opened(nobody(identity), port=port, timeout_s=1.0, implicit=implicit) as transport,
    ):
        ends_in_time(lambda: transport.send(delivery()), 1.0)


@pytest.mark.fault(row=21, invariants="I7 I10")
@pytest.mark.parametrize("server", ["pyftpdlib-explicit"], indirect=True)
@pytest.mark.parametrize("ending", [silent_after, dripping_after], ids=["silent", "dripping"])
def test_a_handshake_on_the_data_channel_that_never_ends_is_cut(
    server: RunningServer, ending: Callable[..., Speaking], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The same where control is protected already; the next call works on a new connection.
    """
    place = place_on(server)
    with opened(server, place.name, timeout_s=1.0) as transport, listening(ending()) as port:
        client = transport.server._open()  # type: ignore[attr-defined]
        monkeypatch.setattr(client, "makepasv", lambda: time.sleep(0.8) or ("127.0.0.1", port))
        ends_in_time(lambda: transport.send(delivery()), 1.0)
        transport.send(delivery())
    assert place.arrived() == {"orders-1.csv": b"A1;1\r\n"}


@pytest.mark.fault(row=6, invariants="I7")
@pytest.mark.parametrize("server", ["asyncssh", pytest.param("openssh", marks=pytest.mark.real_server)], indirect=True)
@pytest.mark.parametrize("how", ["stall", "rst"])
def test_a_login_over_ssh_that_is_cut_or_stands_still_ends(server: RunningServer, how: str) -> None:
    """
    At any answer of the server's from its banner on; the library would wait for some of them for ever.
    """
    place = place_on(server)
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        with opened(server, place.name, at=proxy) as transport:
            transport.send(delivery())
            passed = proxy.passed["down"]
        # The last few answers are to the login and to the delivery; each is some 50 to 150 bytes.
        for at in (10, passed // 2, *range(passed - 1300, passed - 100, 200)):
            proxy.control = Channel(cut_down_after=at, how=how)
            began = time.monotonic()
            with opened(server, place.name, at=proxy, timeout_s=0.4) as transport:
                with contextlib.suppress(TransportError):
                    transport.send(delivery())
                assert time.monotonic() - began < 2, at
