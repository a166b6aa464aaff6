"""One connection to a server: opened when it is needed, replaced when it is dead, cut when the time is over."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from fcflow.transports._deadline import Deadline

__all__ = ["Client", "Session", "cut_below_tls", "has_something", "protected"]

_IDLE_S = 10.0


class Client(Protocol):
    """A client of a protocol with one connection."""

    @property
    def is_stale(self) -> bool:
        """Whether the server closed the connection or said something unasked."""
        ...

    def probe(self) -> None:
        """Ask for a sign of life; raises where there is none."""
        ...

    def cut(self) -> None:
        """Make whatever is blocked fail; from another thread."""
        ...

    def leave(self) -> None:
        """Say goodbye."""
        ...

    def hang_up(self) -> None:
        """Close the connection without a word."""
        ...


_C = TypeVar("_C", bound=Client)


class Session(Generic[_C]):
    """
    Holds a client's connection from call to call.

    Args:
        new: Makes a client that is not connected yet.

        opening: Connects it and logs in.
    """

    def __init__(self, new: Callable[[], _C], opening: Callable[[_C], None]) -> None:
        self._new, self._opening = new, opening
        self._client: _C | None = None
        self._owner = 0
        self._used_at = 0.0
        self._deadline = Deadline(self._abort)

    @property
    def is_late(self) -> bool:
        """Whether the last deadline was missed."""
        return self._deadline.passed

    @contextlib.contextmanager
    def within(self, timeout_s: float) -> Iterator[None]:
        """A deadline over everything inside; also the moment to let go of a dead connection."""
        with self._deadline.over(timeout_s):
            self._drop_if_dead()
            yield
        self._used_at = time.monotonic()

    def _drop_if_dead(self) -> None:
        client = self._client
        if client is None:
            return
        if self._owner != os.getpid():
            # The connection belongs to the process that we were forked from.
            self._client = None
        elif client.is_stale:
            self.drop()
        elif time.monotonic() - self._used_at > _IDLE_S:
            try:
                client.probe()
            except Exception:  # noqa: BLE001 - for whatever reason, it is not used again
                self.drop()

    def open(self) -> _C:
        """The client, connected."""
        if self._client is None:
            self._client, self._owner = self._new(), os.getpid()
            try:
                self._opening(self._client)
            except BaseException:
                self.drop()
                raise
        return self._client

    def _abort(self) -> None:
        client = self._client
        if client is not None:
            client.cut()

    def drop(self) -> None:
        """Let go without a word: the connection is out of step, or dead."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError):
                client.hang_up()

    def close(self) -> None:
        """Say goodbye, where the connection is ours."""
        client = self._client
        if client is None:
            return
        if self._owner == os.getpid():
            with contextlib.suppress(Exception), self._deadline.over(2.0):
                client.leave()
            self.drop()
        self._client = None


def protected(
    sock: socket.socket, context: ssl.SSLContext, server_name: str, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    """
    *sock* for TLS, before the handshake: so the one who cuts connections can reach it during that too.

    Args:
        session: Of another connection to the same server, to be taken up.
    """
    return context.wrap_socket(sock, server_hostname=server_name, session=session, do_handshake_on_connect=False)


def cut_below_tls(sock: socket.socket | None) -> None:
    """End a connection from another thread; TLS's own shutdown would wait for the peer."""
    if sock is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def has_something(sock: socket.socket | None) -> bool:
    """Whether something came that nobody asked for, or the end did."""
    if sock is None:
        return True
    try:
        return bool(select.select([sock], [], [], 0)[0])
    except (OSError, ValueError):
        return True
