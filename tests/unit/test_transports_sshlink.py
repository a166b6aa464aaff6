"""Whether an SSH connection is there, seen without waiting."""

from __future__ import annotations

import socket

import pytest

from fcflow.transports._sshlink import _has_ended


@pytest.mark.timeout(10)
def test_a_quiet_connection_is_not_waited_for() -> None:
    """Whatever time limit the library has put on it: a look costs nothing, and a thousand files cost a thousand."""
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(60)
        assert not _has_ended(near)
        far.sendall(b"x")
        assert not _has_ended(near)
        assert near.recv(1) == b"x"


def test_an_end_is_seen_at_once() -> None:
    """By the other side, and by ourselves."""
    near, far = socket.socketpair()
    far.close()
    assert _has_ended(near)
    near.close()
    assert _has_ended(near)
