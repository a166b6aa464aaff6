"""Logging in to OpenSSH with a key."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import paramiko
import pytest

from fcflow.errors import TransportLoginError
from fcflow.model import Connection, Feed
from fcflow.testing.servers import RunningServer
from fcflow.transports import sftp
from fcflow.transports.base import Endpoint, Query, Transport

pytestmark = [pytest.mark.real_server, pytest.mark.parametrize("server", ["openssh"], indirect=True)]
FEED = Feed(kind="status", partner="leeds", layout="canonical")


def connect(server: RunningServer, known: dict[str, str], **options: Any) -> Transport:
    connection = Connection(
        url=f"sftp://{server.user}@127.0.0.1:{server.port}{server.base}",
        secrets={name: {"env": name} for name in known},
        options={"host_key": server.host_key, **options},
    )
    return sftp.build(
        Endpoint(partner="leeds", connection=connection, resolve=lambda reference: known[reference["env"]])
    )


def locked(key: Path) -> str:
    """The same key under a passphrase."""
    text = io.StringIO()
    paramiko.RSAKey.generate(2048).write_private_key(text, password="open sesame")
    assert key.exists()
    return text.getvalue()


def test_a_key_as_a_secret_and_as_a_file(server: RunningServer) -> None:
    """Both log in without a password."""
    assert server.user_key is not None
    for transport in (
        connect(server, {"key": server.user_key.read_text()}),
        connect(server, {}, key_file=str(server.user_key)),
    ):
        list(transport.list(FEED, Query()))
        transport.close()


def test_a_key_that_cannot_be_used_is_a_login_error(server: RunningServer, tmp_path: Path) -> None:
    """Without its passphrase, with a wrong one, of nobody known, and in no file."""
    assert server.user_key is not None
    key = locked(server.user_key)
    for known, options in (
        ({"key": key}, {}),
        ({"key": key, "passphrase": "wrong"}, {}),
        ({"key": key, "passphrase": "open sesame"}, {}),
        ({}, {"key_file": str(tmp_path / "none")}),
        ({}, {}),
    ):
        transport = connect(server, known, **options)
        with pytest.raises(TransportLoginError):
            list(transport.list(FEED, Query()))
        transport.close()
